"""Drawings: nodes and edges as plain data, which knows neither graphs nor pictures."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from tinygrad_rnn.draw.style import AROUND, ARROW, EDGE_FONT, EDGES, NODE_FONT, NODES, size, text_width
from tinygrad_rnn.tables import counted

Point = tuple[float, float]
Box = tuple[float, float, float, float]  # left, bottom, right, top


@dataclass(frozen=True)
class Node:
    """A drawn Tensor. `label` is the text in it, plain, and `markup` the same with its fonts.

    `kind` is what it is to the reader: "parameter", "input", "state", "variable", "output", "operation", "sum",
    "elided" (the states of hidden steps) or "cut" (where the past of a state was cut off); in a table "heading",
    "entry" (with its number) or "cell" (without). `note` stands below the label: a value or a shape; `fill` is the
    colour of a value or gradient, if nodes are coloured by these. `step` is the time step in whose column it stands, if
    any. `x` and `y` are its centre, in points, y upwards. A faint node takes no part; a bold one is pointed at. `image`
    is the data URI of a picture that the node is, and `extent` how wide and high that is.

    >>> x = tg.Tensor(0.5, requires_grad=True, name="x")
    >>> [(node.label, node.kind) for node in tg.draw.forward(tg.tanh(x)).nodes]
    [('x', 'parameter'), ('L', 'output')]
    """

    id: str
    label: str
    kind: str
    markup: str = ""
    step: float | None = None
    x: float = 0.0
    y: float = 0.0
    tooltip: str = ""
    bold: bool = False
    faint: bool = False
    note: str = ""
    fill: str = ""
    image: str = ""
    extent: Point | None = None


@dataclass(frozen=True)
class Edge:
    """An arrow from `source` to `target`, node ids, going the way that its `kind` flows.

    Kinds: "value" forward; "gradient" backward, labelled with the local derivative; "term" of a sum over time; "none"
    where no gradient flows; "loop" from a state of a rolled graph to where the next step starts; "cut" to a state whose
    past was cut off. `curve` is the Bézier curve from one to the other, which begins and ends with a straight piece
    within their shapes, or nothing, where it is straight; `middle` is that of the label.

    >>> x = tg.Tensor(0.5, requires_grad=True, name="x")
    >>> [(edge.label, edge.kind) for edge in tg.draw.backward(tg.tanh(x)).edges]
    [('f′(x)', 'gradient')]
    """

    source: str
    target: str
    label: str = ""
    kind: str = "value"
    markup: str = ""
    curve: tuple[Point, ...] = ()
    middle: Point | None = None
    bold: bool = False
    faint: bool = False

    @property
    def id(self) -> str:
        """The id of its group in an SVG."""
        return f"{self.source}->{self.target}"

    def reversed(self) -> "Edge":
        """The same line from its target to its source."""
        return replace(self, source=self.target, target=self.source, curve=self.curve[::-1])


class Scale(NamedTuple):
    """The quantity that colours nodes, plain and as markup, the powers of ten at the ends, and the colours."""

    name: str
    markup: str
    low: int
    high: int
    colours: tuple[str, ...]


@dataclass(frozen=True, repr=False)
class Drawing:
    """A drawn graph. `steps` are the time steps that have a column; `caption` stands below the legend, and
    `caption_markup` is how it is set.

    `frame` (left, bottom, right, top) is around all of both figures of a graph, so that they lie on each other; or, if
    it is `tight`, around its own. `panels` are behind the columns of steps.
    `hidden` says for a column of dots how many steps it stands for, `rolled` whether one step stands for all, and
    `scale` what nodes are coloured by.
    `explained` are the kinds in the legend: its own if none are given. `font_size` is that of nodes, and scales all.
    """

    title: str
    nodes: list[Node]
    edges: list[Edge]
    steps: list[int] = field(default_factory=list)
    caption: str = ""
    caption_markup: str = ""
    hidden: dict[float, int] = field(default_factory=dict)
    rolled: bool = False
    scale: Scale | None = None
    frame: Box = (0.0, 0.0, 0.0, 0.0)
    panels: dict[float, Box] = field(default_factory=dict)
    tight: bool = False
    explained: frozenset[str] = frozenset()
    font_size: float = NODE_FONT

    @property
    def added(self) -> set[str]:
        """The ids of the nodes in which several gradients meet, and are added up."""
        arriving = Counter(edge.target for edge in self.edges if edge.kind in ("gradient", "loop"))
        return {node.id for node in self.nodes if arriving[node.id] > 1 and node.kind != "elided"}

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of its nodes that take part, and "added" for the + of those in which gradients are added up."""
        return frozenset(node.kind for node in self.nodes if not node.faint) | ({"added"} if self.added else set())

    @property
    def description(self) -> str:
        """The drawing in words, for readers who cannot see it."""
        kinds = Counter(NODES[node.kind].meaning for node in self.nodes) + Counter(edge=len(self.edges))
        parts = [counted(count, meaning) for meaning, count in kinds.items() if meaning]
        over = f" over time steps {self.steps[0]} to {self.steps[-1]}" if self.steps else ""
        if len(self.steps) == 1:
            over = " of one time step, which stands for all" if self.rolled else f" over time step {self.steps[0]}"
        over += f", {sum(self.hidden.values())} of them hidden" if self.hidden else ""
        return f"The {self.title}{over}{': ' if parts else ''}{', '.join(parts)}. {self.caption}".strip()

    def __repr__(self) -> str:
        return f"<{self.description}>"


def around(nodes: Sequence[Node], edges: Sequence[Edge] = ()) -> Box:
    """A frame around nodes, and edges with their labels: left, bottom, right, top."""
    points = [point for edge in edges for point in edge.curve]
    boxes = [(node.x, node.y, *(node.extent or size(node.kind, node.label, node.note))) for node in nodes]
    boxes += [(*e.middle, text_width(e.label, EDGE_FONT), EDGE_FONT) for e in edges if e.label and e.middle]
    points += [(x + sign * w / 2, y + sign * h / 2) for x, y, w, h in boxes for sign in (-1, 1)]
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys) - AROUND, max(xs), max(ys) + AROUND


# How edges run from border to border: lines are cut off at the shapes that they join, and arrows put on


def route(edge: Edge, source: Node, target: Node) -> tuple[list[Point], Point]:
    """The curve of an edge, or a straight line, and the tip of its arrow; it begins and ends with a straight piece
    within a shape.
    """
    curve = list(edge.curve) or [(source.x, source.y), *level((source.x, source.y), (target.x, target.y))]
    curve[:3] = _cut(source, curve[0], curve[3])
    tip = _cut(target, curve[-1], curve[-4])[0]
    arrow = 0.0 if EDGES[edge.kind].get("arrowhead") == "none" else ARROW
    end = _between(tip, curve[-4], arrow / (math.dist(tip, curve[-4]) or math.inf))
    curve[-3:] = level(curve[-4], end)
    return curve, tip


def level(a: Point, b: Point) -> list[Point]:
    """The rest of a Bézier segment from a to b that is a straight line."""
    return [_between(a, b, 1 / 3), _between(a, b, 2 / 3), b]


def _between(a: Point, b: Point, part: float) -> Point:
    return a[0] + part * (b[0] - a[0]), a[1] + part * (b[1] - a[1])


def _cut(node: Node, inside: Point, outside: Point) -> list[Point]:
    """The point where a straight line leaves a shape, and the two points between there and its end."""
    width, height = size(node.kind, node.label, node.note)
    x, y = (inside[0] - node.x) / (width / 2), (inside[1] - node.y) / (height / 2)
    dx, dy = (outside[0] - inside[0]) / (width / 2), (outside[1] - inside[1]) / (height / 2)
    if NODES[node.kind].shape == "box":
        reach = min((math.copysign(1, d) - at) / d for at, d in ((x, dx), (y, dy)) if d)
    else:
        a, b, c = dx * dx + dy * dy, x * dx + y * dy, x * x + y * y - 1
        reach = (math.sqrt(max(b * b - a * c, 0.0)) - b) / a
    border = _between(inside, outside, min(max(reach, 0.0), 1.0))
    return [border, *level(border, outside)[:2]]
