"""The legend below a diagram: the meaning of its colours and signs, and the caption."""

from collections.abc import Collection
from dataclasses import replace

from tinygrad_rnn.algebra.typesetting import MARKUP, PLAIN
from tinygrad_rnn.draw.drawing import Drawing, Node
from tinygrad_rnn.draw.style import LEGEND_FONT, NODES, ZERO, text_width

ROW = 26.0  # the height of a row
SIDE = 14.0  # of a patch
MANY = 7  # colours, of which only every second is told
SIGNS = {"cut": ("✂", "✂"), "added": ("+", "<B>+</B>")}  # of what has no colour


Part = tuple[Node, float]  # a patch of colour or words, at its place in its room, and how wide that is


def nodes(diagram: Drawing) -> list[Node]:
    """The legend's nodes, row by row, and two without words, in corners: Graphviz cuts off what is beyond all nodes.

    With those the picture is as wide as that of the graph's other figure, or as its own in a tight frame.
    """
    left, bottom, right, top = diagram.frame
    centre, y, found, rows = (left + right) / 2, bottom - 16.0, [], _rows(diagram)
    for i, row in enumerate(rows):
        x, y = centre - _width(row) / 2, y - ROW
        for j, (node, room) in enumerate(row):
            found.append(replace(node, id=f"legend{i}_{j}", x=x + node.x, y=y))
            x += room
    either = [] if diagram.tight else _kinds({*(node.kind for node in diagram.nodes), "sum", "added"})
    half = max(map(_width, [either, *rows])) / 2
    corners = (min(left, centre - half), y - ROW / 2), (max(right, centre + half), top)
    blank = [Node(f"legend_corner{i}", "", "words", x=x, y=y, extent=(0.0, 0.0)) for i, (x, y) in enumerate(corners)]
    return found + blank


def _rows(diagram: Drawing) -> list[list[Part]]:
    """The kinds of nodes, the scale, the caption; as far as there are any."""
    shown = {node.kind for node in diagram.nodes if not node.faint} | ({"added"} if diagram.added else set())
    lines = zip(diagram.caption.splitlines(), diagram.caption_markup.splitlines(), strict=True)
    rows = [_kinds(diagram.explained or shown), _scale(diagram), *([_words(*line)] for line in lines)]
    return [row for row in rows if row]


def _width(row: list[Part]) -> float:
    return sum(room for _, room in row)


def _patch(kind: str, fill: str = "", width: float = SIDE) -> Part:
    return Node("", "", kind, fill=fill, extent=(width, SIDE), x=width / 2), width


def _words(text: str, markup: str, after: float = 6.0) -> Part:
    """Words with a space on either side; most fonts are narrower than the room for them."""
    width = text_width(text, LEGEND_FONT)
    return Node("", text, "words", markup, extent=(0.92 * width, SIDE), x=4.0 + 0.46 * width), 4.0 + width + after


def _kinds(kinds: Collection[str]) -> list[Part]:
    found: list[Part] = []
    for kind, style in NODES.items():
        if kind in kinds and style.meaning:
            found.append(_words(*SIGNS[kind], after=0.0) if kind in SIGNS else _patch(kind))
            found.append(_words(style.meaning, style.meaning, after=14.0))
    return found


def _scale(diagram: Drawing) -> list[Part]:
    if diagram.scale is None:
        return []
    name, markup, low, high, colours = diagram.scale
    found, last = [_words(name, markup)], len(colours)
    for i, fill in enumerate(colours):
        power = low + i * (high - low) / last
        if i == 0 or (power.is_integer() and (last < MANY or i % 2 == 0)):
            found.append(_power(round(power)))
        found.append(_patch("colour", fill, 30.0))
    found.append(_power(high))
    if any(node.fill == ZERO for node in diagram.nodes):
        found += [_patch("operation", ZERO), _words("0", "0")]
    return found


def _power(power: int) -> Part:
    return _words(PLAIN.power_of_ten(power), MARKUP.power_of_ten(power))
