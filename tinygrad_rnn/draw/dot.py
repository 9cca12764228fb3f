"""A diagram as Graphviz DOT.

The DOT text holds every coordinate, for Graphviz's `nop2` layout, which only draws.
"""

import html
import re
from collections.abc import Collection
from dataclasses import replace
from itertools import chain

import graphviz

from tinygrad_rnn.algebra.typesetting import MARKUP, PLAIN
from tinygrad_rnn.draw import style
from tinygrad_rnn.draw.drawing import Box, Drawing, Edge, Node, route
from tinygrad_rnn.draw.style import size
from tinygrad_rnn.tables import counted

PLUS = "<SUB><B>+</B></SUB>"  # behind a gradient that several are added up to
APART = "\u2060"  # without width; keeps Graphviz from reading a backslash and a letter as a command, even in markup


def digraph(diagram: Drawing, dpi: float | None = None) -> graphviz.Digraph:
    """The diagram as a `graphviz.Digraph`, whose `.source` is the DOT text; for a bitmap, with its dots per inch."""
    key, (left, bottom, right, top) = legend(diagram)
    view = f"{right - left:.2f},{top - bottom:.2f},1,{(left + right) / 2:.2f},{(bottom + top) / 2:.2f}"
    own = {"layout": "nop2", "viewport": view}
    if dpi is not None or diagram.font_size != style.NODE_FONT:
        own["dpi"] = f"{(dpi or 72.0) * diagram.font_size / style.NODE_FONT:g}"
    graph = graphviz.Digraph(diagram.title, graph_attr=style.GRAPH | own, node_attr=style.NODE, edge_attr=style.EDGE)
    for step, (left, bottom, right, top) in diagram.panels.items():
        title = "t" if diagram.rolled else f"t = {step}"
        title = counted(diagram.hidden[step], "more step") if step in diagram.hidden else title
        middle = max(right - 8 - style.text_width(title, style.PANEL_FONT) / 2, (left + right) / 2)
        with graph.subgraph(name=f"cluster_{step}") as panel:
            label = _html(re.sub(r"\bt\b", "<I>t</I>", title), style.PANEL_FONT)
            box = f"{left:.2f},{bottom:.2f},{right:.2f},{top:.2f}"
            panel.attr(label=label, lp=f"{middle:.2f},{top - 13:.2f}", bb=box, **style.PANEL)
    # Graphviz draws edges in the order of sources; a bold term comes last, above the pale ones of dots that it passes.
    added, rank = diagram.added, {edge.source: 1 + (edge.kind == "term") for edge in diagram.edges if edge.bold}
    nodes = sorted(diagram.nodes, key=lambda node: rank.get(node.id, 0))
    for node in [*nodes, *key]:
        graph.node(node.id, **_node_attributes(node, PLUS if node.id in added else ""))
    by_id = {node.id: node for node in nodes}
    for edge in sorted(diagram.edges, key=lambda edge: (not edge.faint, edge.bold)):  # the faint ones below
        attributes = {**style.EDGES[edge.kind], "label": _html(edge.markup, style.EDGE_FONT)}
        attributes |= {"penwidth": "2.2"} if edge.bold else style.PALE if edge.faint else {}
        graph.edge(edge.source, edge.target, **attributes, **_positions(edge, by_id))
    return graph


def _html(markup: str, font_size: float, note: str = "") -> str:
    """Markup as a label, with its indices in a smaller font."""
    markup = markup.replace(" ", "&#160;")  # which Graphviz would drop at the end of a piece
    small = f'<FONT POINT-SIZE="{style.SMALLER * font_size:.4g}">'
    for tag in ("SUB", "SUP"):
        markup = markup.replace(f"<{tag}>", f"{small}<{tag}>").replace(f"</{tag}>", f"</{tag}></FONT>")
    markup = markup.replace("\\", "\\" + APART)
    return f"<{markup}{note}>" if markup else ""


def _node_attributes(node: Node, plus: str) -> dict[str, str]:
    look, note, (width, height) = style.NODES[node.kind], "", node.extent or size(node.kind, node.label, node.note)
    if node.note:
        apart = f'<BR/><FONT POINT-SIZE="{style.NOTE_GAP:g}">&#160;</FONT>'  # from the indices of the label
        lines = "".join(f"<BR/>{html.escape(line)}" for line in node.note.replace(" ", "\u00a0").split("\n"))
        note = f'{apart}<FONT POINT-SIZE="{style.NOTE_FONT:g}">{lines}</FONT>'
    rings = 2 * style.RING * (look.rings - 1)
    attributes = {
        "shape": look.shape, "width": f"{(width - rings) / 72:.4f}", "height": f"{(height - rings) / 72:.4f}",
        "label": _html(node.markup + plus, look.font, note), "pos": f"{node.x:.2f},{node.y:.2f}",
        "color": look.line, "fillcolor": look.fill, "fontsize": f"{look.font:g}",
        "penwidth": f"{look.border:g}", "peripheries": f"{look.rings}",
    }  # fmt: skip
    if look.shape == "plain":
        attributes |= {"style": "", "peripheries": "0", "fontcolor": look.line}
    if node.image:
        attributes |= {"image": node.image, "imagescale": "both"}
    if node.fill:
        attributes |= {"fillcolor": node.fill, "fontcolor": style.ink(node.fill)}
    return attributes | (style.FAINT if node.faint else {}) | (style.BOLD if node.bold else {})


def _positions(edge: Edge, nodes: dict[str, Node]) -> dict[str, str]:
    """`pos`, the curve, with the tip of its arrow first, and `lp`, the middle of the label."""
    curve, tip = route(edge, nodes[edge.source], nodes[edge.target])
    arrow = "" if style.EDGES[edge.kind].get("arrowhead") == "none" else "e,{:.2f},{:.2f} ".format(*tip)
    middle = {"lp": "{:.2f},{:.2f}".format(*edge.middle)} if edge.label and edge.middle else {}
    return {"pos": arrow + " ".join(f"{x:.2f},{y:.2f}" for x, y in curve)} | middle


# The legend below a diagram: the meaning of its colours and signs, and the caption


ROW, SIDE, MANY = 26.0, 14.0, 7  # a row's height, a patch's side; so many colours that every second is told


Part = tuple[Node, float]  # a patch of colour or words, at its place in its room, and how wide that is


def legend(diagram: Drawing) -> tuple[list[Node], Box]:
    """The legend's nodes, row by row; and the frame of the whole picture, with a margin around the diagram and them.

    It has room for the legend of the graph's other figure too, unless it is tight.
    """
    left, bottom, right, top = diagram.frame
    lines = zip(diagram.caption.splitlines(), diagram.caption_markup.splitlines(), strict=True)
    rows = [_kinds(diagram.explained or diagram.kinds), _scale(diagram), *([_words(*line)] for line in lines)]
    centre, y, found = (left + right) / 2, bottom - 16.0, list[Node]()
    for i, row in enumerate(filter(None, rows)):
        x, y = centre - sum(room for _, room in row) / 2, y - ROW
        for j, (node, room) in enumerate(row):
            found.append(replace(node, id=f"legend{i}_{j}", x=x + node.x, y=y))
            x += room
    either = [] if diagram.tight else _kinds({*(node.kind for node in diagram.nodes), "sum", "added"})
    half = max(sum(room for _, room in row) for row in (either, *rows)) / 2
    left, right = min(left, centre - half), max(right, centre + half)
    return found, (left - style.PAD, y - ROW / 2 - style.PAD, right + style.PAD, top + style.PAD)


def _patch(kind: str, fill: str = "", width: float = SIDE) -> Part:
    return Node("", "", kind, fill=fill, extent=(width, SIDE), x=width / 2), width


def _words(text: str, markup: str, after: float = 6.0) -> Part:
    """Words with a space on either side; most fonts are narrower than the room for them."""
    width = style.text_width(text, style.LEGEND_FONT)
    return Node("", text, "words", markup, extent=(0.92 * width, SIDE), x=4.0 + 0.46 * width), 4.0 + width + after


def _kinds(kinds: Collection[str]) -> list[Part]:
    meanings = {kind: look.meaning for kind, look in style.NODES.items() if kind in kinds and look.meaning}
    plain = {kind: style.NODES[kind].sign for kind in meanings if style.NODES[kind].shape == "plain"}
    signs = [_words(plain[kind], f"<B>{plain[kind]}</B>", 0.0) if kind in plain else _patch(kind) for kind in meanings]
    words = [_words(meaning, meaning, after=14.0) for meaning in meanings.values()]
    return list(chain(*zip(signs, words, strict=True)))


def _scale(diagram: Drawing) -> list[Part]:
    if diagram.scale is None:
        return []
    name, markup, low, high, colours = diagram.scale
    found, last = [_words(name, markup)], len(colours)
    for i in range(last + 1):
        power = low + i * (high - low) / last
        if i in (0, last) or (power.is_integer() and (last < MANY or i % 2 == 0)):
            found.append(_words(PLAIN.power_of_ten(round(power)), MARKUP.power_of_ten(round(power))))
        found += [_patch("colour", fill, 30.0) for fill in colours[i : i + 1]]
    if any(node.fill == style.ZERO for node in diagram.nodes):
        found += [_patch("operation", style.ZERO), _words("0", "0")]
    return found
