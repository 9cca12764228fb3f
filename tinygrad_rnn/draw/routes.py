"""How edges run from border to border: lines are cut off at the shapes that they join, and arrows put on."""

import math

from tinygrad_rnn.draw.drawing import Edge, Node, Point
from tinygrad_rnn.draw.style import ARROW, EDGES, NODES, size


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
    """Where a straight line leaves a shape, and the two points between there and its end."""
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
