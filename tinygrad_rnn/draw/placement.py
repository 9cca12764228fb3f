"""Where everything in a figure stands, and how its lines run.

Both figures of a graph are placed by this one computation, and no node moves between them. Graphviz's own layered
layout does not know what a time step is: its columns differ, and it moves nodes between the figures. Lengths are in
points; x grows to the right and y upwards.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import accumulate

from tinygrad_rnn.draw.drawing import Box, Point, level
from tinygrad_rnn.draw.grid import CUT, Grid, Joint, Kind, Spot
from tinygrad_rnn.draw.rows import GAP, SIGMA, Rows
from tinygrad_rnn.draw.style import CORNER, MARGIN
from tinygrad_rnn.draw.unfolding import Link, Place, Unfolded
from tinygrad_rnn.tensor import Tensor

BEND = 14.0  # how far aside a line goes to change its height
AFTER = 5.0  # free on the left of everything
ROOM = 9.0  # for an arrow's head
BETWEEN = 6.0  # columns
PORTS = 0.6  # of the height of a variable, where lines leave and enter it
HEADING = 18.0  # at the top of a panel


class Placement:
    """The x and y of every place, the curves of all links, and what belongs to none of these.

    Attributes:
        sums: the lines of the sums over time, from each term to its Σ, and from there to what it makes.
        panels: of columns. frame: around all.
    """

    def __init__(self, unfolded: Unfolded):
        self.unfolded, self.grid = unfolded, Grid(unfolded)
        grid, self.rows = self.grid, Rows(self.grid)
        for kind in dict.fromkeys(grid.kinds):
            _spread(kind)
            _across(kind, [grid.layers[kind, n] for n in range(kind.last)])
        self.left = [0.0, *accumulate(kind.width + BETWEEN for kind in grid.kinds)]
        for p in unfolded.places:
            spot, left = grid.spot(p), self.left[grid.number[p.column]]
            aside, down = spot.at[grid.role[p]]
            p.x, p.y = left + spot.x + aside, -spot.depth - down
        for link in (*unfolded.links, *unfolded.loops):
            self._draw(link)
        self.sums = [link for x, total in unfolded.totals.items() for link in self._sum(x, total)]
        for cut in unfolded.cuts:
            cut.source.x, cut.source.y = cut.target.x - cut.target.width / 2 - CUT, cut.target.y
        top = min(spot.depth - spot.up for spot in self.rows.spots)
        bottom = max(spot.depth + spot.down for spot in self.rows.spots)
        self.frame: Box = 0.0, -bottom, self.left[-2] + grid.kinds[-1].width, HEADING * bool(unfolded.steps) - top
        shown = {column: grid.number[column] for column in sorted([*unfolded.steps, *unfolded.hidden])}
        _, low, _, high = self.frame
        self.panels = {c: (self.left[n], low, self.left[n] + grid.kinds[n].width, high) for c, n in shown.items()}

    def _draw(self, link: Link) -> None:
        """Set the curve of a link, along its pieces or from what hangs or stands, and the middle of its label."""
        p, q, (number, key) = link.source, link.target, self.grid.labelled[link]
        kind = self.grid.kinds[number]
        if key in kind.lines:
            link.curve = _curve([point for piece in self.grid.pieces[link] for point in self._points(*piece)])
            label = kind.labels.get(key)
            link.middle = (self.left[number] + label.x, 9.0 - label.depth) if label else None
        else:
            near, far = (p, q) if key[1] in kind.hangs else (q, p)
            link.curve, away = _hanging(p, q), math.copysign(near.height / 2 + 11.0, far.y - near.y)
            link.middle = near.x + 5.0 + link.room / 2, near.y + away

    def _points(self, number: int, key: tuple) -> list[Point]:
        """The ends and the bends of a line in a column, with their depths."""
        kind, left = self.grid.kinds[number], self.left[number]
        line = kind.lines[key]
        begin, end = line[0].left, line[-1].right
        bends = [(left + x, y) for j in line if j.is_bent for x, y in zip((j.start, j.end), j.depths, strict=True)]
        first = left + begin.x * (begin.core[0] > 0.0), line[0].depths[0]
        last = left + (end.x if end.core[0] else kind.width + BETWEEN), line[-1].depths[1]
        return [first, *bends, last][:: -1 if key in kind.turned else 1]

    def _sum(self, x: Tensor, total: Place) -> list[Link]:
        """The lines of the sum of a parameter's terms over time."""
        end, off = self.rows.totals[x]
        at = self.left[0] + end.x + end.core[0] / 2 - SIGMA
        total.x, total.y = at - GAP - total.width / 2, -end.depth - off
        sigma, found = Place(x, None, total.id.replace("total", "sum"), "sum", x=at, y=total.y), []
        spots = {p: self.grid.spot(p) for p in self.unfolded.shared[x]}
        hides = self.unfolded.gap & self.unfolded.used[x]  # the dots next to the lane stand for terms too
        dots = sorted((p for p in self.unfolded.places if p.kind == "elided"), key=lambda p: abs(p.y - total.y))
        spots |= dict.fromkeys(dots[:1] if hides else [], next(iter(spots.values())))
        for p, spot in spots.items():
            (_, depth), *bends, (_, last) = self._points(0, self.rows.lanes[x, spot])[::-1]
            near = CORNER - depth if p.y > -depth else -CORNER - depth
            corner = ((p.x, p.y), *level((p.x, p.y), (p.x, near)), (p.x, -depth), (p.x, -depth))
            curve = (*corner, *_curve([(p.x - CORNER, depth), *bends, (at, last)]))
            found.append(Link(p, sigma, x, x, curve=curve, kind="term"))
        return [*found, Link(sigma, total, x, x, kind="term")]


def _spread(kind: Kind) -> None:
    """Let lines leave and enter a variable one above the other."""
    ends: dict[tuple[Spot, int], list[Joint]] = defaultdict(list)
    for joint in kind.joints:
        for side, spot in enumerate((joint.left, joint.right)):
            if spot.core[0] and not joint.off[side]:
                ends[spot, side].append(joint)
    for (spot, side), joints in ends.items():
        for sign in (-1, 1):
            far = {joint: sign * (joint.depths[1 - side] - spot.depth) for joint in joints if len(joints) > 1}
            group = sorted((joint for joint in far if far[joint] > 1.0), key=far.__getitem__)
            for i, joint in enumerate(group, 1):
                joint.off[side] = sign * PORTS * spot.core[1] / 2 * i / len(group)


def _across(kind: Kind, layers: list[list[Spot]]) -> None:
    """Set the x of every spot, layer by layer: each on the right of all before it that is on its height."""
    taken: list[Box] = []
    margin = MARGIN + 2.0 if kind.is_step else 2.0
    into: dict[int, list[Joint]] = defaultdict(list)  # by the number of the layer in which they end
    for joint in kind.joints:
        into[joint.right.layer[1] if joint.right.layer else len(layers)].append(joint)
    reach: dict[Spot, float] = defaultdict(float)  # where lines go on from a spot

    def free(top: float, bottom: float) -> float:
        return max([right for _, above, right, below in taken if above < bottom and below > top], default=0.0)

    for i, layer in enumerate([*layers, []]):
        bent = [joint for joint in into[i] if joint.is_bent]
        for joint in bent:
            joint.start = free(min(joint.depths) - 3.0, max(joint.depths) + 3.0) + 3.0
            joint.end = joint.start + BEND
        taken += [(j.start, min(j.depths) - 2.0, j.end, max(j.depths) + 2.0) for j in bent]
        begins: dict[Spot, float] = defaultdict(float)
        for joint in into[i]:
            begins[joint.right] = max(begins[joint.right], joint.end if joint.is_bent else reach[joint.left])
        for spot in layer:
            least = [begins[spot]]
            if spot.core[0]:
                least = [margin - min(box[0] for box in spot.boxes)]
                least += [begins[spot] + ROOM + spot.core[0] / 2] * (spot in begins)
            elif spot.boxes:
                least = [begins[spot] + 4.0 - spot.boxes[0][0]]
            for left, top, _, bottom in spot.boxes:
                least.append(free(spot.depth + top - 1.0, spot.depth + bottom + 1.0) + AFTER - left)
            spot.x = max(least)
        common = max([spot.x for spot in layer if spot.core[0]], default=0.0)
        for spot in layer:
            spot.x = common if spot.core[0] else spot.x
            reach[spot] = spot.x + (spot.boxes[0][2] if spot.boxes else 0.0)
            for left, top, right, bottom in spot.boxes:
                taken.append((spot.x + left, spot.depth + top, spot.x + right, spot.depth + bottom))
    last = [spot.x + box[2] + margin for layer in layers for spot in layer for box in spot.boxes]
    kind.width = max([*last, *(joint.end for joint in kind.joints if joint.is_bent)], default=0.0)


def _curve(points: Sequence[Point]) -> tuple[Point, ...]:
    """The Bézier curve through the ends of level pieces, given with their depths."""
    bends = [b for a, b, c in zip(points, points[1:], points[2:], strict=False) if not a[1] == b[1] == c[1]]
    (x, depth), *others = points[0], *bends, points[-1]
    curve = [(x, -depth)]
    for to, deep in others:
        if abs(deep - depth) < 0.6:
            curve += level((x, -depth), (to, -deep))
        else:
            curve += [((x + to) / 2, -depth), ((x + to) / 2, -deep), (to, -deep)]
        x, depth = to, deep
    return tuple(curve)


def _hanging(p: Place, q: Place) -> tuple[Point, ...]:
    """The curve from what hangs from a variable to that: up or down, and then to its middle."""
    sign = 1 if p.y < q.y else -1
    border, edge = p.y + sign * p.height / 2, q.y - sign * q.height / 2
    at = q.x + max(-0.3 * q.width, min(0.3 * q.width, 0.4 * (p.x - q.x)))
    begin, bend, into = border + 0.3 * (edge - border), border + 0.7 * (edge - border), (at, edge - sign * 2.0)
    straight = level((p.x, p.y), (p.x, begin))
    return ((p.x, p.y), *straight, (p.x, bend), (at + 0.35 * (at - q.x), bend), into, *level(into, (q.x, q.y)))
