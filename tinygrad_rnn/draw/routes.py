"""How edges run, from border to border, and where their labels stand.

Straight lines join the nodes, around rounded corners. A label stands above a level line, and beside a steep one, on the
side to which it leans; where a node, another label, or another line of its fan is in the way, it moves along the line,
or to the other side.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np

from tinygrad_rnn.draw.drawing import Drawing, Edge, Node
from tinygrad_rnn.draw.style import ARROW, CORNER, EDGE_FONT, EDGES, NODES, size, text_width

ALONG = (0.58, 0.5, 0.66, 0.42, 0.74, 0.34)  # where beside a line, nearest to what is best: fans spread out

Point = tuple[float, float]
Box = tuple[float, float, float, float]  # left, bottom, right, top


class Route(NamedTuple):
    """An edge's Bézier curve, the tip of its arrow, and the middle of its label, if it has one."""

    curve: list[Point]
    tip: Point
    label: Point | None


def routes(diagram: Drawing) -> list[Route]:
    """The routes of all edges of a diagram whose nodes have places."""
    nodes = {node.id: node for node in diagram.nodes}
    # What is there already: the nodes, and the labels as they find their places.
    taken = np.array([*map(box_of, diagram.nodes), *[(np.nan,) * 4] * len(diagram.edges)])
    fans = defaultdict(list)
    for edge in diagram.edges:
        if not (edge.via or edge.curve or edge.bend):
            for end in (edge.source, edge.target):
                fans[end].append(edge)
    found = []
    for number, edge in enumerate(diagram.edges, len(nodes)):
        source, target = nodes[edge.source], nodes[edge.target]
        curve, tip = (_curved if edge.curve or edge.bend else _angular)(edge, source, target)
        label = None
        if edge.label:
            beside = [e for e in (*fans[edge.source], *fans[edge.target]) if e is not edge]
            lines = [[(nodes[id].x, nodes[id].y) for id in (e.source, e.target)] for e in beside]
            width = text_width(edge.label, EDGE_FONT)
            taken[number] = _freest(_middles(edge, [curve[0], *edge.via, tip], width), width, taken, lines)
            label = tuple((taken[number, :2] + taken[number, 2:]) / 2)
        found.append(Route(curve, tip, label))
    return found


def box_of(node: Node) -> Box:
    """What a node covers."""
    return _box((node.x, node.y), *size(node.kind, node.label, node.note))


def _freest(middles: Iterable[Point], width: float, taken: np.ndarray, lines: list) -> Box:
    """The first box for a label where nothing is in the way, or else the one where the least is."""
    best, least = None, math.inf
    for middle in middles:
        box = _box(middle, width, 1.1 * EDGE_FONT)
        overlaps = np.all((taken[:, :2] < box[2:]) & (taken[:, 2:] > box[:2]), axis=1)
        count = np.count_nonzero(overlaps) + sum(_crosses(line, box) for line in lines)
        if count < least:
            best, least = box, count
        if count == 0:
            break
    return best


def _middles(edge: Edge, points: list[Point], width: float) -> Iterator[Point]:
    """Where the middle of an edge's label can be, the best first."""
    if edge.middle is not None:
        yield edge.middle
        return
    start, end = points[edge.at : edge.at + 2]
    dx, dy = end[0] - start[0], end[1] - start[1]
    level = edge.bend or abs(dx) > 2 * abs(dy)
    parts = (0.5, *ALONG[2:]) if level else (0.5, *ALONG) if edge.via else ALONG
    sides = (math.copysign(1, edge.bend),) if edge.bend else (1, -1) if level else (edge.side, -edge.side)
    for side, part in product(sides, parts):
        x, y = _between(start, end, part)
        if edge.bend:
            yield x, y + 3 * part * (1 - part) * edge.bend + side * 0.85 * EDGE_FONT
        elif level:
            yield x, y + side * (0.85 * EDGE_FONT + abs(dy / dx) * width / 2)
        else:
            yield x + side * (width / 2 + 5 + (0.35 * EDGE_FONT * abs(dx / dy) if dy else 0.0)), y


def _box(middle: Point, width: float, height: float) -> Box:
    return middle[0] - width / 2, middle[1] - height / 2, middle[0] + width / 2, middle[1] + height / 2


def _crosses(line: tuple[Point, Point], box: Box) -> bool:
    """Whether a straight line passes through a box."""
    (x0, y0), (x1, y1) = line
    left, bottom, right, top = box
    if y0 == y1:
        return bottom < y0 < top and min(x0, x1) < right and left < max(x0, x1)
    first, last = sorted(((bottom - y0) / (y1 - y0), (top - y0) / (y1 - y0)))
    ends = [x0 + (x1 - x0) * min(max(part, 0.0), 1.0) for part in (first, last)]
    return first < 1.0 and last > 0.0 and min(ends) < right and left < max(ends)


def _angular(edge: Edge, source: Node, target: Node) -> tuple[list[Point], Point]:
    """Straight lines with rounded corners, as a Bézier curve, and the tip of the arrow."""
    points = [(source.x, source.y), *edge.via, (target.x, target.y)]
    tip = _border(target, points[-2])
    curve = [_border(source, points[1])]
    for corner, after in pairwise(points[1:]):
        into, out = _towards(corner, curve[-1], CORNER), _towards(corner, after, CORNER)
        curve += [*_straight(curve[-1], into), corner, corner, out]
    return curve + _straight(curve[-1], _before(tip, points[-2], edge)), tip


def _curved(edge: Edge, source: Node, target: Node) -> tuple[list[Point], Point]:
    """The curve of the edge, or an arc off the level line by three quarters of its bend; and the tip of the arrow."""
    x, y, width = source.x, source.y + edge.bend, target.x - source.x
    inner = edge.curve[1:-1] or [(x + 0.2 * width, y), (x + 0.8 * width, y)]
    tip = _border(target, inner[-1])
    return [_border(source, inner[0]), *inner, _before(tip, inner[-1], edge)], tip


def _before(tip: Point, point: Point, edge: Edge) -> Point:
    """Where the line ends and the arrow's head begins."""
    return tip if EDGES[edge.kind].get("arrowhead") == "none" else _towards(tip, point, ARROW)


def _straight(a: Point, b: Point) -> list[Point]:
    """The rest of a Bézier segment from a to b that is a straight line."""
    return [_between(a, b, 1 / 3), _between(a, b, 2 / 3), b]


def _between(a: Point, b: Point, part: float) -> Point:
    return a[0] + part * (b[0] - a[0]), a[1] + part * (b[1] - a[1])


def _towards(a: Point, b: Point, distance: float) -> Point:
    """The point at a distance from a on the way to b."""
    length = math.dist(a, b)
    return _between(a, b, distance / length) if length else a


def _border(node: Node, point: Point) -> Point:
    """Where the line from a node's centre to a point leaves its shape."""
    width, height = size(node.kind, node.label, node.note)
    dx, dy = (point[0] - node.x) / (width / 2), (point[1] - node.y) / (height / 2)
    reach = max(abs(dx), abs(dy)) if NODES[node.kind].shape == "box" else math.hypot(dx, dy)
    return _between((node.x, node.y), point, min(1.0, 1.0 / reach) if reach else 0.0)
