"""A diagram as Graphviz DOT.

The DOT text holds every coordinate, for Graphviz's `nop2` layout, which only draws.
"""

import html
import re

import graphviz

from tinygrad_rnn.draw import legend, style
from tinygrad_rnn.draw.drawing import Drawing, Edge, Node
from tinygrad_rnn.draw.routes import Route, routes
from tinygrad_rnn.tables import counted

ROW = 26.0  # the height of a line of the legend
BACKSLASH = "\\"
APART = "\u2060"  # without width; keeps Graphviz from reading a backslash and a letter as a command, even in markup


def digraph(diagram: Drawing, dpi: float | None = None) -> graphviz.Digraph:
    """The diagram as a `graphviz.Digraph`, whose `.source` is the DOT text; for a bitmap, with its dots per inch."""
    own = {"layout": "nop2", "rankdir": diagram.direction, "tooltip": diagram.title}
    if dpi is not None or diagram.font_size != style.NODE_FONT:
        own["dpi"] = f"{(dpi or 72.0) * diagram.font_size / style.NODE_FONT:g}"
    graph = graphviz.Digraph(diagram.title, graph_attr=style.GRAPH | own, node_attr=style.NODE, edge_attr=style.EDGE)
    for step, (left, bottom, right, top) in diagram.panels.items():
        title = _title(diagram, step)
        middle = max(right - 8 - style.text_width(title, style.PANEL_FONT) / 2, (left + right) / 2)
        with graph.subgraph(name=f"cluster_{step}") as panel:
            label = _html(re.sub(r"\bt\b", "<I>t</I>", title), style.PANEL_FONT)
            box = f"{left:.2f},{bottom:.2f},{right:.2f},{top:.2f}"
            panel.attr(label=label, lp=f"{middle:.2f},{top - 13:.2f}", bb=box, tooltip=title, **style.PANEL)
    lit = {edge.source for edge in diagram.edges if edge.bold}
    for node in sorted(diagram.nodes, key=lambda node: node.id in lit):  # Graphviz draws edges in the order of sources
        graph.node(node.id, **_node_attributes(node))
    found = zip(diagram.edges, routes(diagram), strict=True)
    for edge, route in sorted(found, key=lambda pair: (not pair[0].faint, pair[0].bold)):  # the faint ones below
        attributes = {**style.EDGES[edge.kind], "label": _html(edge.markup, style.EDGE_FONT)}
        attributes |= {"penwidth": "2.2"} if edge.bold else style.PALE if edge.faint else {}
        graph.edge(edge.source, edge.target, **attributes, **_positions(edge, route))
    left, bottom, right, top = diagram.frame
    centre, y = (left + right) / 2, bottom - 29
    for i, row in enumerate(legend.rows(diagram)):
        y -= ROW
        x = centre - sum(part.width for part in row) / 2
        for j, part in enumerate(row):
            at = f"{x + part.middle:.2f},{y + ROW / 2:.2f}"
            graph.node(f"legend{i}_{j}", _html(part.markup, style.LEGEND_FONT), pos=at, **part.look)
            x += part.width
    # What Graphviz would cut off: wide words, and what only the other figure has.
    half = legend.width(diagram) / 2
    for i, (x, height) in enumerate([(min(left, centre - half), y), (max(right, centre + half), top)]):
        graph.node(f"corner{i}", "", shape="point", style="invis", pos=f"{x:.2f},{height:.2f}")
    return graph


def _title(diagram: Drawing, step: int) -> str:
    """The title of a panel, at its top."""
    if step in diagram.hidden:
        return counted(diagram.hidden[step], "more step")
    return "t" if diagram.rolled else f"t = {step}"


def _html(markup: str, font_size: float) -> str:
    """Markup as a label, with its indices in a smaller font."""
    markup = markup.replace(" ", "&#160;")  # which Graphviz would drop at the end of a piece
    small = f'<FONT POINT-SIZE="{style.SMALLER * font_size:.4g}">'
    for tag in ("SUB", "SUP"):
        markup = markup.replace(f"<{tag}>", f"{small}<{tag}>").replace(f"</{tag}>", f"</{tag}></FONT>")
    return f"<{markup.replace(BACKSLASH, BACKSLASH + APART)}>" if markup else ""


def _literal(text: str) -> str:
    """Text that stays text: no escape sequence, no HTML-like label, no entity."""
    return graphviz.escape(text.replace("&", "&amp;"))


def _node_attributes(node: Node) -> dict[str, str]:
    look = style.NODES[node.kind]
    width, height = node.extent or style.size(node.kind, node.label, node.note)
    note = "".join(f"<BR/>{html.escape(line)}" for line in node.note.split("\n") if line)
    apart = f'<BR/><FONT POINT-SIZE="{style.NOTE_GAP:g}">&#160;</FONT>'  # from the indices of the label
    note = f'{apart}<FONT POINT-SIZE="{style.NOTE_FONT:g}">{note}</FONT>' if note else ""
    rings = 2 * style.RING * (look.rings - 1)  # around what Graphviz takes for the node
    attributes = look.attributes | {
        "label": _html(node.markup, style.NODE_FONT)[:-1] + f"{note}>" if node.markup else "",
        "tooltip": _literal(node.tooltip),
        "width": f"{(width - rings) / 72:.4f}",
        "height": f"{(height - rings) / 72:.4f}",
        "pos": f"{node.x:.2f},{node.y:.2f}",
    }
    if look.shape == "plain":  # words without a border, of which Graphviz would draw one of no numbers
        attributes["style"] = ""
    if node.image:
        attributes |= {"image": node.image, "imagescale": "both"}
    if node.fill:
        attributes |= {"fillcolor": node.fill, "fontcolor": style.ink(node.fill)}
    return attributes | (style.FAINT if node.faint else {}) | (style.BOLD if node.bold else {})


def _positions(edge: Edge, route: Route) -> dict[str, str]:
    """`pos`, the curve, with the tip of its arrow first, and `lp`, the middle of the label."""
    tip = "" if style.EDGES[edge.kind].get("arrowhead") == "none" else "e,{:.2f},{:.2f} ".format(*route.tip)
    attributes = {"pos": tip + " ".join(f"{x:.2f},{y:.2f}" for x, y in route.curve)}
    return attributes if route.label is None else attributes | {"lp": "{:.2f},{:.2f}".format(*route.label)}
