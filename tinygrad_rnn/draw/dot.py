"""A diagram as Graphviz DOT.

Where the nodes have places, the DOT text holds every coordinate, for Graphviz's `nop2` layout, which only draws.
Straight lines join the nodes, from border to border; a label stands above a level line, and beside a steep one, on the
side to which it leans. A graph without time steps is laid out by `dot`.
"""

from __future__ import annotations

import html
import math
import re
from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING

import graphviz

from tinygrad_rnn.draw.style import (
    ARROW,
    CORNER,
    EDGE_FONT,
    EDGES,
    FAINT,
    FONT,
    MARGIN,
    NODE_FONT,
    NODES,
    NOTE_FONT,
    PALE,
    PANEL,
    PANEL_FONT,
    SCALE,
    size,
    text_width,
)

if TYPE_CHECKING:
    from tinygrad_rnn.draw.diagram import Diagram, Edge, Node

__all__ = ["APART", "digraph"]


BACKSLASH = "\\"
APART = "\u2060"  # without width; keeps Graphviz from reading a backslash and a letter as a command, even in markup


def digraph(diagram: Diagram) -> graphviz.Digraph:
    """The diagram as a `graphviz.Digraph`, whose `.source` is the DOT text."""
    placed = diagram.frame is not None
    graph = graphviz.Digraph(
        diagram.title,
        graph_attr={
            "layout": "nop2" if placed else "dot",
            "rankdir": diagram.direction,
            "pad": "0.15",
            "outputorder": "edgesfirst",
            "bgcolor": "white",
            "fontname": FONT,
            "tooltip": diagram.title,
        },
        node_attr={
            "fontname": FONT,
            "fontsize": f"{NODE_FONT:g}",
            "style": "filled",
            "fixedsize": "true",
            "margin": "0",
        },
        edge_attr={"fontname": FONT, "fontsize": f"{EDGE_FONT:g}", "arrowsize": "0.7"},
    )
    if placed:
        for step, (left, bottom, right, top) in _panels(diagram).items():
            title, width = _title(diagram, step)
            with graph.subgraph(name=f"cluster_{step}") as panel:
                panel.attr(
                    label=title,
                    bb=f"{left:.2f},{bottom:.2f},{right:.2f},{top:.2f}",
                    lp=f"{max(right - 8 - width / 2, (left + right) / 2):.2f},{top - 13:.2f}",
                    tooltip=f"time step {step}",
                    fontsize=f"{PANEL_FONT:g}",
                    **PANEL,
                )
    for node in diagram.nodes:
        graph.node(node.id, **_node_attributes(node, placed))
    by_id = {node.id: node for node in diagram.nodes}
    for edge in diagram.edges:
        attributes = {**EDGES[edge.kind], "label": _html(edge.markup, EDGE_FONT)}
        attributes |= {"penwidth": "2.2"} if edge.bold else PALE if edge.faint else {}
        if placed:
            attributes |= _route(edge, by_id[edge.source], by_id[edge.target])
        graph.edge(edge.source, edge.target, **attributes)
    legend = f"<{_legend(diagram)}>"
    if placed:
        left, bottom, right, top = diagram.frame
        centre, half = (left + right) / 2, _legend_width(diagram) / 2
        graph.node("legend", legend, shape="plain", style="", pos=f"{centre:.2f},{bottom - 42:.2f}")
        # What Graphviz would cut off: a wide legend, and what only the other figure has.
        for i, (x, y) in enumerate([(min(left, centre - half), bottom - 72), (max(right, centre + half), top)]):
            graph.node(f"corner{i}", "", shape="point", style="invis", pos=f"{x:.2f},{y:.2f}")
    else:
        graph.attr(label=legend, labelloc="b")
    return graph


def _legend(diagram: Diagram) -> str:
    """What the colours mean, and what the title and the letters do, as one line of an HTML-like label."""
    kinds = {node.kind for node in diagram.nodes if not node.faint}
    cells = [
        f'<TD BGCOLOR="{style.fill}" COLOR="{style.line}" BORDER="1" WIDTH="14" HEIGHT="14" FIXEDSIZE="TRUE"></TD>'
        f'<TD ALIGN="LEFT">{style.meaning}&nbsp;&nbsp;&nbsp;</TD>'
        for kind, style in NODES.items()
        if kind in kinds and style.meaning
    ]
    cells += [f"<TD>{html.escape(diagram.caption)}</TD>"] if diagram.caption else []
    font = 'FACE="Times-Roman" POINT-SIZE="13" COLOR="#444444"'
    table = f'<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="4"><TR>{"".join(cells)}</TR></TABLE>'
    if diagram.scale is not None:
        name, low, high = diagram.scale
        first = f'<TD ALIGN="RIGHT">{html.escape(name)} &nbsp; 10{_raised(low)}</TD>'
        last = f'<TD ALIGN="LEFT">10{_raised(high)}</TD>'
        bar = "".join(f'<TD BGCOLOR="{colour}" WIDTH="30" HEIGHT="12"></TD>' for colour in SCALE)
        scale = f'<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0"><TR>{first}{bar}{last}</TR></TABLE>'
        table = f'<TABLE BORDER="0" CELLBORDER="0"><TR><TD>{table}</TD></TR><TR><TD>{scale}</TD></TR></TABLE>'
    return f"<FONT {font}>{table}</FONT>"


def _legend_width(diagram: Diagram) -> float:
    meanings = {NODES[node.kind].meaning for node in diagram.nodes} | {NODES["sum"].meaning}
    return sum(40 + text_width(meaning, 13) for meaning in meanings) + text_width(diagram.caption, 13)


def _raised(power: float) -> str:
    return f'<FONT POINT-SIZE="9"><SUP>{f"{power:.0f}".replace("-", "−")}</SUP></FONT>'


def _title(diagram: Diagram, step: int) -> tuple[str, float]:
    """What stands at the top of a panel, and how wide it is."""
    if step in diagram.hidden:
        title = f"{diagram.hidden[step]} more steps"
    else:
        title = "t" if any(edge.kind == "loop" for edge in diagram.edges) else f"t = {step}"
    return _html(re.sub(r"\bt\b", "<I>t</I>", title), PANEL_FONT), text_width(title, PANEL_FONT)


def _html(markup: str, font_size: float) -> str:
    """Markup as a label, with its indices in a smaller font."""
    markup = markup.replace(" ", "&#160;")  # which Graphviz would drop at the end of a piece
    small = f'<FONT POINT-SIZE="{0.68 * font_size:.4g}">'
    for tag in ("SUB", "SUP"):
        markup = markup.replace(f"<{tag}>", f"{small}<{tag}>").replace(f"</{tag}>", f"</{tag}></FONT>")
    return f"<{markup.replace(BACKSLASH, BACKSLASH + APART)}>" if markup else ""


def _literal(text: str) -> str:
    """Text that stays text: no escape sequence, no HTML-like label, no entity."""
    return graphviz.escape(text.replace("&", "&amp;"))


def _node_attributes(node: Node, placed: bool) -> dict[str, str]:
    style = NODES[node.kind]
    width, height = size(node.kind, node.label, node.note)
    note = "".join(f"<BR/>{html.escape(line)}" for line in node.note.split("\n") if line)
    note = f'<FONT POINT-SIZE="{NOTE_FONT:g}">{note}</FONT>' if note else ""
    attributes = {
        "label": _html(node.markup, NODE_FONT)[:-1] + f"{note}>" if node.markup else "",
        "tooltip": _literal(node.tooltip),
        "shape": style.shape,
        "fillcolor": style.fill,
        "color": style.line,
        "width": f"{width / 72:.4f}",
        "height": f"{height / 72:.4f}",
    }
    if placed:
        attributes["pos"] = f"{node.x:.2f},{node.y:.2f}"
    if node.fill:
        attributes |= {"fillcolor": node.fill, "fontcolor": "white" if SCALE.index(node.fill) < 4 else "black"}
    return attributes | (FAINT if node.faint else {})


def _panels(diagram: Diagram) -> dict[int, tuple[float, float, float, float]]:
    """Per time step, the rectangle (left, bottom, right, top) behind its column; all are equally high."""
    columns = defaultdict(list)  # per step, (left, bottom, right, top) of each node
    for node in diagram.nodes:
        if node.step is not None:
            width, height = size(node.kind, node.label, node.note)
            box = (node.x - width / 2, node.y - height / 2, node.x + width / 2, node.y + height / 2)
            columns[node.step].append(box)
    if not columns:
        return {}
    bottom = min(box[1] for boxes in columns.values() for box in boxes) - MARGIN
    top = max(box[3] for boxes in columns.values() for box in boxes) + MARGIN + 16
    return {
        step: (min(box[0] for box in boxes) - MARGIN, bottom, max(box[2] for box in boxes) + MARGIN, top)
        for step, boxes in sorted(columns.items())
    }


def _route(edge: Edge, source: Node, target: Node) -> dict[str, str]:
    """`pos`, the edge's line from border to border, and `lp`, where its label stands."""
    draw = _curved if edge.curve else _bent if edge.bend else _angular
    curve, tip = draw(edge, source, target)
    head = "" if EDGES[edge.kind].get("arrowhead") == "none" else f"e,{tip[0]:.2f},{tip[1]:.2f} "
    attributes = {"pos": head + " ".join(f"{x:.2f},{y:.2f}" for x, y in curve)}
    if edge.label and edge.middle is not None:
        attributes["lp"] = f"{edge.middle[0]:.2f},{edge.middle[1]:.2f}"
    elif edge.label:
        points = [curve[0], *edge.via, tip]
        (x0, y0), (x1, y1) = points[edge.at : edge.at + 2]
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        if edge.bend:
            y += 0.75 * edge.bend + math.copysign(0.85 * EDGE_FONT, edge.bend)
        elif abs(x1 - x0) > abs(y1 - y0):
            y += 0.85 * EDGE_FONT + abs((y1 - y0) / (x1 - x0)) * text_width(edge.label, EDGE_FONT) / 2
        else:
            along = 0.58 if not edge.via else 0.5  # nearer to where it goes, since such lines spread out
            x, y = _between((x0, y0), (x1, y1), along)
            x += edge.side * (text_width(edge.label, EDGE_FONT) / 2 + 5)
        attributes["lp"] = f"{x:.2f},{y:.2f}"
    return attributes


def _angular(edge: Edge, source: Node, target: Node) -> tuple[list[tuple[float, float]], tuple[float, float]]:
    """Straight lines with rounded corners, as a Bézier curve, and the tip of the arrow."""
    points = [(source.x, source.y), *edge.via, (target.x, target.y)]
    tip = _border(target, points[-2])
    curve = [_border(source, points[1])]
    for corner, after in pairwise(points[1:]):
        into, out = _towards(corner, curve[-1], CORNER), _towards(corner, after, CORNER)
        curve += [*_straight(curve[-1], into), corner, corner, out]
    return curve + _straight(curve[-1], _before(tip, points[-2], edge)), tip


def _bent(edge: Edge, source: Node, target: Node) -> tuple[list[tuple[float, float]], tuple[float, float]]:
    """One arc that leaves the level line by three quarters of the bend, and the tip of the arrow."""
    leave, arrive = (source.x + (target.x - source.x) * part for part in (0.2, 0.8))
    leave, arrive = (leave, source.y + edge.bend), (arrive, target.y + edge.bend)
    tip = _border(target, arrive)
    return [_border(source, leave), leave, arrive, _before(tip, arrive, edge)], tip


def _curved(edge: Edge, source: Node, target: Node) -> tuple[list[tuple[float, float]], tuple[float, float]]:
    """The curve of the edge, to where these two shapes begin, and the tip of the arrow."""
    tip = _border(target, edge.curve[-2])
    return [_border(source, edge.curve[1]), *edge.curve[1:-1], _before(tip, edge.curve[-2], edge)], tip


def _before(tip: tuple[float, float], point: tuple[float, float], edge: Edge) -> tuple[float, float]:
    """Where the line ends and the arrow's head begins."""
    return tip if EDGES[edge.kind].get("arrowhead") == "none" else _towards(tip, point, ARROW)


def _straight(a: tuple[float, float], b: tuple[float, float]) -> list[tuple[float, float]]:
    """The rest of a Bézier segment from a to b that is a straight line."""
    return [_between(a, b, 1 / 3), _between(a, b, 2 / 3), b]


def _between(a: tuple[float, float], b: tuple[float, float], part: float) -> tuple[float, float]:
    return a[0] + part * (b[0] - a[0]), a[1] + part * (b[1] - a[1])


def _towards(a: tuple[float, float], b: tuple[float, float], distance: float) -> tuple[float, float]:
    """The point at a distance from a on the way to b."""
    length = math.dist(a, b)
    return _between(a, b, distance / length) if length else a


def _border(node: Node, point: tuple[float, float]) -> tuple[float, float]:
    """Where the line from a node's centre to a point leaves its shape."""
    width, height = size(node.kind, node.label, node.note)
    dx, dy = (point[0] - node.x) / (width / 2), (point[1] - node.y) / (height / 2)
    reach = max(abs(dx), abs(dy)) if NODES[node.kind].shape == "box" else math.hypot(dx, dy)
    return _between((node.x, node.y), point, min(1.0, 1.0 / reach) if reach else 0.0)
