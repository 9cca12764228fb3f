"""A diagram as Graphviz DOT: the one place where colours, shapes and sizes are chosen.

Where the nodes have places, the DOT text holds every coordinate, for Graphviz's `nop2` layout, which only draws.
Straight lines join the nodes, from border to border; a label stands above a level line, and beside a steep one, on the
side to which it leans. A graph without time steps is laid out by `dot`.
"""

from __future__ import annotations

import html
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import graphviz

from tinygrad_rnn.draw.notation import SUPERSCRIPTS

if TYPE_CHECKING:
    from tinygrad_rnn.draw.diagram import Diagram, Edge, Node

__all__ = ["digraph", "size"]


@dataclass(frozen=True)
class Style:
    """How a kind of node looks, and what the legend calls it."""

    shape: str
    width: float
    height: float
    fill: str
    line: str
    meaning: str = ""


# fmt: off
NODES = {
    "parameter": Style("box",     32, 32, "#ffe8c7", "#b36b00", "parameter"),
    "input":     Style("ellipse", 40, 40, "#ececec", "#6b6b6b", "input"),
    "state":     Style("ellipse", 46, 46, "#d6e8ff", "#2860a8", "hidden state"),
    "variable":  Style("ellipse", 46, 46, "#ffffff", "#444444", "variable"),
    "output":    Style("ellipse", 46, 46, "#ffd9d6", "#b3261e", "output"),
    "operation": Style("box",     40, 32, "#ffffff", "#8a8a8a", "primitive"),
    "sum":       Style("ellipse", 24, 24, "#fff6e6", "#b36b00", "sum over time"),
}
EDGES = {
    "value":    {"color": "#3c3c3c", "fontcolor": "#3c3c3c"},
    "gradient": {"color": "#b3261e", "fontcolor": "#8c1d18"},
    "none":     {"color": "#cfcfcf", "fontcolor": "#cfcfcf", "style": "dashed", "arrowhead": "none"},
}
FAINT = {"color": "#cfcfcf", "fontcolor": "#a9a9a9", "fillcolor": "#fafafa"}
PANEL = {"style": "rounded,filled", "color": "#f1f4f9", "fontcolor": "#5a6575", "fontsize": "13"}
# fmt: on

FONT = "Times-Italic"
NODE_FONT, EDGE_FONT = 16.0, 13.0
ARROW = 7.0
MARGIN = 14.0
CORNER = 12.0  # the radius of a turn


def digraph(diagram: Diagram) -> graphviz.Digraph:
    """The diagram as a `graphviz.Digraph`, whose `.source` is the DOT text."""
    placed = bool(diagram.steps)
    graph = graphviz.Digraph(
        diagram.title,
        graph_attr={
            "layout": "nop2" if placed else "dot",
            "rankdir": "LR" if diagram.title == "forward" else "RL",
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
            with graph.subgraph(name=f"cluster_{step}") as panel:
                panel.attr(
                    label=f"t = {step}",
                    bb=f"{left:.2f},{bottom:.2f},{right:.2f},{top:.2f}",
                    lp=f"{right - 26:.2f},{top - 13:.2f}",
                    tooltip=f"time step {step}",
                    **PANEL,
                )
    for node in diagram.nodes:
        graph.node(node.id, **_node_attributes(node, placed))
    by_id = {node.id: node for node in diagram.nodes}
    for edge in diagram.edges:
        attributes = {**EDGES[edge.kind], "label": _literal(edge.label)}
        if placed:
            attributes |= _route(edge, by_id[edge.source], by_id[edge.target])
        graph.edge(edge.source, edge.target, **attributes)
    legend = f"<{_legend(diagram)}>"
    if placed:
        xs, bottom = [node.x for node in diagram.nodes], min(node.y for node in diagram.nodes)
        graph.node("legend", legend, shape="plain", style="", pos=f"{(min(xs) + max(xs)) / 2:.2f},{bottom - 62:.2f}")
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
        if kind in kinds
    ]
    cells += [f"<TD>{html.escape(diagram.caption)}</TD>"] if diagram.caption else []
    font = 'FACE="Times-Roman" POINT-SIZE="13" COLOR="#444444"'
    return f'<FONT {font}><TABLE BORDER="0" CELLBORDER="0" CELLSPACING="4"><TR>{"".join(cells)}</TR></TABLE></FONT>'


def size(kind: str, label: str) -> tuple[float, float]:
    """Width and height of a node; those with more than a symbol in them widen with their text."""
    style = NODES[kind]
    lines = label.split("\n")
    text = 10 + max(_text_width(line, NODE_FONT) for line in lines)
    return max(style.width, text), max(style.height, 25.0 * len(lines))


def _text_width(text: str, font_size: float) -> float:
    """About how wide a text is set."""
    small, large = sum(c in SUPERSCRIPTS for c in text), sum(c.isupper() for c in text)
    return font_size * (0.36 * small + 0.75 * large + 0.54 * (len(text) - small - large))


def _literal(text: str) -> str:
    """Text that stays text: no escape sequence, no HTML-like label, no entity."""
    return graphviz.escape(text.replace("&", "&amp;"))


def _node_attributes(node: Node, placed: bool) -> dict[str, str]:
    style = NODES[node.kind]
    width, height = size(node.kind, node.label)
    attributes = {
        "label": _literal(node.label),
        "tooltip": _literal(node.tooltip),
        "shape": style.shape,
        "fillcolor": style.fill,
        "color": style.line,
        "width": f"{width / 72:.4f}",
        "height": f"{height / 72:.4f}",
    }
    if placed:
        attributes["pos"] = f"{node.x:.2f},{node.y:.2f}"
    return attributes | (FAINT if node.faint else {})


def _panels(diagram: Diagram) -> dict[int, tuple[float, float, float, float]]:
    """Per time step, the rectangle (left, bottom, right, top) behind its column; all are equally high."""
    inside = [node for node in diagram.nodes if node.step is not None]
    bottom = min(node.y - size(node.kind, node.label)[1] / 2 for node in inside) - MARGIN
    top = max(node.y + size(node.kind, node.label)[1] / 2 for node in inside) + MARGIN + 16
    panels = {}
    for step in diagram.steps:
        column = [node for node in inside if node.step == step]
        left = min(node.x - size(node.kind, node.label)[0] / 2 for node in column) - MARGIN
        right = max(node.x + size(node.kind, node.label)[0] / 2 for node in column) + MARGIN
        panels[step] = (left, bottom, right, top)
    return panels


def _route(edge: Edge, source: Node, target: Node) -> dict[str, str]:
    """`pos`, a line from border to border with rounded corners on its way, and `lp`, where its label stands."""
    points = [(source.x, source.y), *edge.via, (target.x, target.y)]
    start = _border(source, points[1])
    tip = _border(target, points[-2])
    end = _towards(tip, points[-2], ARROW) if EDGES[edge.kind].get("arrowhead") != "none" else tip
    curve = [start]
    for corner, after in pairwise(points[1:]):
        into, out = _towards(corner, curve[-1], CORNER), _towards(corner, after, CORNER)
        curve += [*_straight(curve[-1], into), corner, corner, out]
    curve += _straight(curve[-1], end)
    attributes = {"pos": f"e,{tip[0]:.2f},{tip[1]:.2f} " + " ".join(f"{x:.2f},{y:.2f}" for x, y in curve)}
    if end == tip:
        attributes["pos"] = attributes["pos"].split(" ", 1)[1]
    if edge.label:
        x, y = (start[0] + tip[0]) / 2, (start[1] + tip[1]) / 2
        if abs(tip[0] - start[0]) > abs(tip[1] - start[1]):
            y += 0.85 * EDGE_FONT
        else:
            inner, outer = sorted((start, tip), key=lambda point: abs(point[1]))  # seen from the spine, where y is 0
            x += (_text_width(edge.label, EDGE_FONT) / 2 + 5) * (-1 if outer[0] < inner[0] else 1)
        attributes["lp"] = f"{x:.2f},{y:.2f}"
    return attributes


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
    width, height = size(node.kind, node.label)
    dx, dy = (point[0] - node.x) / (width / 2), (point[1] - node.y) / (height / 2)
    reach = max(abs(dx), abs(dy)) if NODES[node.kind].shape == "box" else math.hypot(dx, dy)
    return _between((node.x, node.y), point, min(1.0, 1.0 / reach) if reach else 0.0)
