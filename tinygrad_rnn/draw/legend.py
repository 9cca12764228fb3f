"""What stands below a diagram: what the colours of kinds and of a scale mean, and the caption."""

from collections.abc import Collection
from typing import NamedTuple

from tinygrad_rnn.draw.drawing import Drawing
from tinygrad_rnn.draw.style import LEGEND, LEGEND_FONT, NODES, RING, ZERO, Style, text_width

SIDE = 14.0  # of a patch
MANY = 7  # colours, of which only every second is told


class Part(NamedTuple):
    """A patch of colour, or words in markup: how wide it is, where its middle is from the left end, and its look."""

    width: float
    middle: float
    markup: str
    look: dict[str, str]


def _patch(look: Style, width: float = SIDE) -> Part:
    inner = [f"{(side - 2 * RING * (look.rings - 1)) / 72:.4f}" for side in (width, SIDE)]
    return Part(width, width / 2, "", look.attributes | {"width": inner[0], "height": inner[1]})


def _colour(fill: str, line: str, width: float) -> Part:
    return _patch(Style("box", width, SIDE, fill, line), width)


def _words(text: str, markup: str, after: float = 6.0) -> Part:
    """Words with some space on the left, and what is wanted on the right; most fonts are narrower than their room."""
    width = text_width(text, LEGEND_FONT)
    return Part(4.0 + width + after, 4.0 + 0.46 * width, markup, {"shape": "plain", "style": "", **LEGEND})


def rows(diagram: Drawing) -> list[list[Part]]:
    """The rows, from the top: the kinds of nodes, the scale, the caption; as far as there are any."""
    kinds = diagram.explained or {node.kind for node in diagram.nodes if not node.faint}
    found = [_kinds(kinds), _scale(diagram)]
    lines = zip(diagram.caption.splitlines(), diagram.caption_markup.splitlines(), strict=True)
    found += [[_words(text, markup)] for text, markup in lines]
    return [row for row in found if row]


def width(diagram: Drawing) -> float:
    """The legend's width: the wider of the forward and the backward figure's."""
    both = [_kinds({node.kind for node in diagram.nodes} | {"sum"}), *rows(diagram)]
    return max(sum(part.width for part in row) for row in both)


def _kinds(kinds: Collection[str]) -> list[Part]:
    found: list[Part] = []
    for kind, style in NODES.items():
        if kind in kinds and style.meaning:
            found.append(_words("✂", "✂", 0.0) if kind == "cut" else _patch(style))
            found.append(_words(style.meaning, style.meaning, 14.0))
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
        found.append(_colour(fill, fill, 30.0))
    found.append(_power(high))
    if any(node.fill == ZERO for node in diagram.nodes):
        found += [_colour(ZERO, NODES["operation"].line, SIDE), _words("0", "0")]
    return found


def _power(power: int) -> Part:
    text = str(power).replace("-", "−")
    return _words(f"10{text}", f"10<SUP>{text}</SUP>")
