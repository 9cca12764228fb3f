"""Where everything in a figure stands, and how its lines run.

Both figures of a graph are placed by this one computation, and no node moves between them. Graphviz's own layered
layout does not know what a time step is: its columns differ, and it moves nodes between the figures. Lengths are in
points; x grows to the right and y upwards.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from tinygrad_rnn.draw.drawing import Box, Point, level
from tinygrad_rnn.draw.grid import Grid, Joint, Kind, Spot
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
TURN = 22.0  # how far aside a loop turns


@dataclass
class Lane:
    """The sum of the terms of a parameter over time: what it makes, where its Σ stands, and the ways of the terms."""

    total: Place
    x: float
    terms: dict[Place, tuple[Point, ...]]


class Placement:
    """The x and y of every place, the curves of all links, and what belongs to none of these.

    Attributes:
        lanes: of sums. panels: of columns. frame: around all.
    """

    def __init__(self, unfolded: Unfolded):
        self.unfolded, self.grid = unfolded, Grid(unfolded)
        grid, self.rows = self.grid, Rows(self.grid)
        for kind in dict.fromkeys(grid.kinds):
            _spread(kind)
            _across(kind, [grid.layers[kind, n] for n in range(kind.last)], TURN if unfolded.loops else 0.0)
        self.left = [0.0, *accumulate(kind.width + BETWEEN for kind in grid.kinds)]
        for p in unfolded.places:
            spot, left = grid.spot(p), self.left[grid.number[p.column]]
            aside, down = spot.at[grid.role[p]]
            p.x, p.y = left + spot.x + aside, -spot.depth - down
        for link in (*unfolded.links, *unfolded.loops):
            self._draw(link)
        self.lanes = [self._lane(x) for x in unfolded.shared]
        top = min(spot.depth - spot.up for spot in self.rows.of)
        bottom = max(spot.depth + spot.down for spot in self.rows.of)
        self.frame: Box = 0.0, -bottom, self.left[-2] + grid.kinds[-1].width, HEADING * bool(unfolded.steps) - top
        self.panels: dict[float, Box] = {
            column: (self.left[n], self.frame[1], self.left[n] + grid.kinds[n].width, self.frame[3])
            for column, n in grid.number.items()
            if column in unfolded.steps or column in unfolded.hidden
        }

    def _draw(self, link: Link) -> None:
        p, q, room = link.source, link.target, link.room
        number, (_, a, b) = self.grid.pieces[link][0]
        kind = self.grid.kinds[number]
        if kind.hangs.get(a) == b:
            link.curve = _hanging(p, q)
            sign = 1 if p.y < q.y else -1
            link.middle = (p.x + 5.0 + room / 2, p.y + sign * (p.height / 2 + 10.0))
        elif kind.stands.get(b) == a:
            link.curve = ((p.x, p.y), *level((p.x, p.y), (q.x, q.y)))
            link.middle = (q.x + 5.0 + room / 2, q.y - q.height / 2 - 12.0)
        else:
            link.curve, link.middle = self._way(link)

    def _way(self, link: Link) -> tuple[tuple[Point, ...], Point | None]:
        """The curve of a link along its pieces, and the middle of its label."""
        points: list[Point] = []
        for number, key in self.grid.pieces[link]:
            kind = self.grid.kinds[number]
            piece = self._points(number, kind.lines[key])
            points += piece[::-1] if key in kind.turned else piece
        number, key = self.grid.labelled[link]
        label = self.grid.kinds[number].labels.get(key)
        return _curve(points), (self.left[number] + label.x, 9.0 - label.depth) if label else None

    def _points(self, number: int, line: Sequence[Joint]) -> list[Point]:
        """The ends and the bends of a line in a column, from the left, with their depths."""
        left, width = self.left[number], self.grid.kinds[number].width + BETWEEN
        begin, end = line[0].left, line[-1].right
        bends = [(left + x, y) for j in line if j.is_bent for x, y in zip((j.start, j.end), j.depths, strict=True)]
        first = left + begin.x * (begin.core[0] > 0.0), line[0].depths[0]
        return [first, *bends, (left + (end.x if end.core[0] else width), line[-1].depths[1])]

    def _lane(self, x: Tensor) -> Lane:
        """The lane of the sum of a parameter's terms."""
        end, off = self.rows.totals[x]
        total, at = self.unfolded.totals[x], self.left[0] + end.x + end.core[0] / 2 - SIGMA
        total.x, total.y = at - GAP - total.width / 2, -end.depth - off
        lane = Lane(total, at, {})
        spots = {p: self.grid.spot(p) for p in self.unfolded.shared[x]}
        hides = self.unfolded.gap & self.unfolded.used[x]  # the dots next to the lane stand for terms too
        dots = sorted((p for p in self.unfolded.places if p.kind == "elided"), key=lambda p: abs(p.y - total.y))
        spots |= dict.fromkeys(dots[:1] if hides else [], next(iter(spots.values())))
        for p, spot in spots.items():
            (_, depth), *bends, (_, last) = self._points(0, self.rows.lanes[x, spot])[::-1]
            near = CORNER - depth if p.y > -depth else -CORNER - depth
            corner = ((p.x, p.y), *level((p.x, p.y), (p.x, near)), (p.x, -depth), (p.x, -depth))
            lane.terms[p] = (*corner, *_curve([(p.x - CORNER, depth), *bends, (lane.x, last)]))
        return lane


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


def _across(kind: Kind, layers: list[list[Spot]], aside: float) -> None:
    """Set the x of every spot, layer by layer: each on the right of all before it that is on its height."""
    taken: list[Box] = []
    margin = aside + (MARGIN + 2.0 if kind.is_step else 2.0)
    into: dict[int, list[Joint]] = defaultdict(list)  # by the number of the layer in which they end
    for joint in kind.joints:
        into[joint.right.layer[1] if joint.right.layer else len(layers)].append(joint)
    reach: dict[Spot, float] = defaultdict(lambda: aside)  # where lines go on from a spot

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
    last = [spot.x + box[2] for layer in layers for spot in layer for box in spot.boxes]
    bends = [joint.end for joint in kind.joints if joint.is_bent]
    kind.width = max([right + margin for right in last] + bends, default=0.0)


def _curve(points: Sequence[Point]) -> tuple[Point, ...]:
    """The Bézier curve through the ends of level pieces, given with their depths; it turns aside where it goes back."""
    bends = [b for a, b, c in zip(points, points[1:], points[2:], strict=False) if not a[1] == b[1] == c[1]]
    (x, depth), *others = points[0], *bends, points[-1]
    curve, aside = [(x, -depth)], 0.0
    for to, deep in others:
        if abs(deep - depth) < 0.6:
            curve += level((x, -depth), (to, -deep))
            aside = TURN if to > x else -TURN
        else:
            middle = x + aside if to == x else (x + to) / 2
            curve += [(middle, -depth), (middle, -deep), (to, -deep)]
        x, depth = to, deep
    return tuple(curve)


def _hanging(p: Place, q: Place) -> tuple[Point, ...]:
    """The curve from what hangs from a variable to that: up or down, and then to its middle."""
    sign = 1 if p.y < q.y else -1
    border, edge = p.y + sign * p.height / 2, q.y - sign * q.height / 2
    if abs(p.x - q.x) < 1.0:
        return ((p.x, p.y), *level((p.x, p.y), (q.x, q.y)))
    at = q.x + max(-0.3 * q.width, min(0.3 * q.width, 0.4 * (p.x - q.x)))
    gap, into = abs(edge - border), (at, edge - sign * 2.0)
    bend = (p.x, border + 0.7 * sign * gap), (at + 0.35 * (at - q.x), edge - sign * 0.3 * gap), into
    straight = level((p.x, p.y), (p.x, border + 0.3 * sign * gap))
    return ((p.x, p.y), *straight, *bend, *level(into, (q.x, q.y)))
