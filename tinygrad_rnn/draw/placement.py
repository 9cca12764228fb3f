"""The positions of all that stands in a figure, and the ways of its lines.

Both figures of a graph are placed by this one computation, and no node moves between them. Graphviz's own layered
layout does not know what a time step is: its columns differ, and it moves nodes between the figures. Lengths are in
points; x grows to the right and y upwards.
"""

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from itertools import accumulate, pairwise

from tinygrad_rnn.draw.drawing import Box, Point, level
from tinygrad_rnn.draw.grid import CUT, Grid, Joint, Kind, Line, Row, Spot
from tinygrad_rnn.draw.states import Role
from tinygrad_rnn.draw.style import CORNER, MARGIN
from tinygrad_rnn.draw.unfolding import Link, Place, Unfolded
from tinygrad_rnn.tensor import Tensor

# The heights of all spots: rows of spots that are level, in an order with short ways from row to row

APART = 8.0  # between spots that are not just lines
ROUNDS = 4  # in which the order of rows is improved
THICK = 20.0  # it costs 1 if a line passes a spot so thick
RISE = 1.5  # what it costs if a line goes down to the right
SIGMA = 12.0  # half the width of a Σ,
GAP = 32.0  # and from its middle to what it makes
FEW, CLOSE = 5, 13.0  # of so many sums over time the lanes are as far apart as what they make is high; of more, close


class Heights:
    """The depths of all spots of a grid, by those of its rows.

    Attributes:
        totals: of each parameter with a sum over time, the spot of what it makes, and how far below its middle that is.
        lanes: of each term, the line in the first column.
    """

    def __init__(self, grid: Grid):
        self.grid = grid
        self.kinds = list(dict.fromkeys(grid.kinds))
        self.spots = [spot for layer in grid.layers.values() for spot in layer]
        self.upon = {kind.spots[a]: kind.spots[b] for kind in self.kinds for b, a in kind.stands.items()}
        joints = [joint for kind in self.kinds for joint in kind.joints]
        for joint in sorted(joints, key=lambda joint: -joint.strength):
            self._join(joint.left.row, joint.right.row, joint.left.off - joint.right.off)
        self.totals: dict[Tensor, tuple[Spot, float]] = {}
        self.lanes: dict[Place, Line] = {}
        self._lay_lanes()
        for lower, upper in sorted(self.upon.items(), key=lambda pair: sum(len(spot.row.spots) for spot in pair)):
            self._stack(lower, upper)
        joints = [joint for kind in self.kinds for joint in kind.joints]
        self.joints = [joint for joint in joints if joint.left.row is not joint.right.row]
        self.joined: dict[Row, list[tuple[Joint, Row, int]]] = defaultdict(list)
        for joint in self.joints:  # from row to row
            a, b = joint.left.row, joint.right.row
            self.joined[a].append((joint, b, 1))
            self.joined[b].append((joint, a, -1))
        self._settle(self._ordered())

    def _join(self, a: Row, b: Row, shift: float) -> None:
        """Make two rows one, if there is room, with nothing between what stands on something and that."""
        inside: dict[Hashable, list[tuple[float, Spot]]] = defaultdict(list)
        for spot in (*a.spots, *b.spots):
            inside[spot.layer].append((spot.off + shift * (spot.row is b), spot))
        for found in inside.values():
            found.sort(key=lambda pair: pair[0])
            for (x, upper), (y, lower) in pairwise(found):
                if y - x < _apart(upper, lower) - 0.1 or lower in self.upon or upper in self.upon.values():
                    return
        if a not in self._above(b) and b not in self._above(a):
            a.take(b, shift)

    def _above(self, row: Row) -> list[Row]:
        """A row, the rows of what stands on it, of what stands on that, and so on."""
        above = [row]
        for lower in above:  # which grows
            above += [upper.row for spot, upper in self.upon.items() if spot.row is lower]
        return above

    def _lay_lanes(self) -> None:
        """Lead the terms of each sum over time along the outside of their row, to what the sum makes on the left."""
        terms: dict[tuple[Row, int], dict[Tensor, list[Place]]] = defaultdict(lambda: defaultdict(list))
        for x, places in self.grid.unfolded.shared.items():
            for p in places:
                spot = self.grid.spot(p)
                side = -1 if spot.at[self.grid.role[p]][1] < 0.0 else 1
                terms[spot.row, side][x].append(p)
        totals = self.grid.unfolded.totals.values()
        width = max([total.width for total in totals], default=0.0) + GAP + SIGMA
        high = max([total.height for total in totals], default=0.0)
        apart, first = high + 4.0 if len(totals) <= FEW else CLOSE, self.kinds[0]
        for (row, side), summed in terms.items():
            half = apart * len(summed) / 2
            off = side * ((row.bottom if side > 0 else -row.top) + max(CLOSE - apart / 2, 0.0) + half)
            offs = {x: off + side * (apart * (i + 0.5) - half) for i, x in enumerate(summed)}
            self._add_totals(row, {x: offs[x] for x in list(summed)[::side] if x not in self.totals}, width, high + 4.0)
            beyond = max(self.grid.number[p.column] for places in summed.values() for p in places) + 1
            layers = [(kind, n) for kind in dict.fromkeys(self.grid.kinds[1:beyond]) for n in range(kind.last)]
            layers = [(first, 2), None, *((first, n) for n in range(3, first.last)), *layers]
            lanes = [self.grid.add(Spot(half, half), layer) for layer in layers]
            self.spots += lanes
            for lane in lanes:
                row.take(lane.row, off)
            for x, places in summed.items():
                end, height = self.totals[x]
                line = first.lines[x, row, side]
                line.joints.append(Joint(end, lanes[0], 0.5, [height, offs[x] - off]))
                for p in places:
                    spot, self.lanes[p] = self.grid.spot(p), line
                    lane = offs[x] - spot.off
                    left, right = min(box[0] for box in spot.boxes), max(box[2] for box in spot.boxes)
                    top, bottom = sorted((lane, spot.down if lane > 0.0 else -spot.up))
                    spot.boxes.append((left, top, right, bottom))
                    spot.up, spot.down = max(spot.up, apart / 2 - lane), max(spot.down, apart / 2 + lane)

    def _add_totals(self, row: Row, lanes: dict[Tensor, float], width: float, high: float) -> None:
        """Put what sums make into the first column, one below the other, level with the lane in the middle."""
        if lanes:
            half, middle = high * len(lanes) / 2, list(lanes)[len(lanes) // 2]
            spot = Spot(half, half, (width, 0.0), [(-width / 2, -half, width / 2, half)])
            self.spots.append(self.grid.add(spot, (self.kinds[0], 1)))
            self.totals |= {x: (spot, high * (i + 0.5) - half) for i, x in enumerate(lanes)}
            self._join(row, spot.row, lanes[middle] - self.totals[middle][1])

    def _stack(self, lower: Spot, upper: Spot) -> None:
        """Put the row of what stands on something right above the row of that."""
        row, above = lower.row, upper.row
        if row is not above:
            pairs = [(a, b) for a in above.spots for b in row.spots if a.layer == b.layer]
            row.take(above, min(b.off - _apart(a, b) - a.off for a, b in pairs))
        upper.boxes.append((-2.0, 0.0, 2.0, lower.off - upper.off))

    def parted(self) -> set[Role]:
        """The roles of what has something between it and what it should stand on."""
        stacked = [(upper, lower, self.grid.layers[lower.layer]) for lower, upper in self.upon.items()]
        parted = [a for a, b, layer in stacked if any(x.core[0] and a.depth < x.depth < b.depth for x in layer)]
        return {next(iter(spot.at)) for spot in parted}

    def _ordered(self) -> list[Row]:
        """The rows in an order in which lines pass little of other rows: each in turn is put where that costs least."""
        thick: dict[tuple[Row, Hashable], float] = defaultdict(float)
        for spot in self.spots:
            thick[spot.row, spot.layer] += (spot.up + spot.down) / THICK
        tilt = {joint: joint.strength * self._tilt(joint) for joint in self.joints}

        def passing(joint: Joint, row: Row) -> float:
            return joint.strength * (thick[row, joint.left.layer] + thick[row, joint.right.layer] + 0.1)

        def worse(row: Row, passed: Row, index: dict[Row, int]) -> float:
            """The cost of a row below another, less that of the row above it, all else being in order."""
            change, at = 0.0, index[passed]
            for joint, other, sign in self.joined[row]:
                side = 1 if index[other] < at else -1
                change += sign * tilt[joint] if other is passed else passing(joint, passed) * side
            for joint, other, _ in self.joined[passed]:
                if other is not row:
                    change += passing(joint, row) * (1 if index[other] > at else -1)
            return change

        order = list(dict.fromkeys(spot.row for spot in self.spots))
        for _ in range(ROUNDS):
            for row in list(order):
                at = order.index(row)
                order.remove(row)
                index = {other: i for i, other in enumerate(order)}
                costs = list(accumulate((worse(row, other, index) for other in order), initial=0.0))
                best = min(range(len(costs)), key=costs.__getitem__)
                order.insert(best if costs[best] < costs[at] - 1e-6 else at, row)
        return order

    def _tilt(self, joint: Joint) -> float:
        """The cost of the left end in the lower row, less that in the upper: what it passes of its own rows."""
        cost = -RISE
        for spot, off, sign in zip((joint.left, joint.right), joint.off, (-1, 1), strict=True):
            end = spot.off + off
            for other in spot.row.spots:
                if other.layer in (joint.left.layer, joint.right.layer):
                    cost += sign * (other.up + other.down) / THICK * ((other.off > end) - (other.off < end))
        return cost

    def _settle(self, rows: Sequence[Row]) -> None:
        """Set depths: as near as can be to each other, and then each row to where most of what it joins is."""
        number = {row: i for i, row in enumerate(rows)}
        above: dict[Row, list[tuple[Row, float]]] = defaultdict(list)  # with how far off they have to be at least
        below: dict[Row, list[tuple[Row, float]]] = defaultdict(list)
        for layer in self.grid.layers.values():
            layer.sort(key=lambda spot: (number[spot.row], spot.off))
            for a, b in pairwise(layer):
                if a.row is not b.row:
                    apart = _apart(a, b) + a.off - b.off
                    above[b.row].append((a.row, apart))
                    below[a.row].append((b.row, apart))
        for row in rows:
            row.depth = max([upper.depth + apart for upper, apart in above[row]] + [-row.top])
        lowest = max(row.depth + row.bottom for row in rows)
        for ordered in (rows[::-1], rows):
            for row in ordered:
                least = max([upper.depth + apart for upper, apart in above[row]] + [-row.top])
                most = min([lower.depth - apart for lower, apart in below[row]] + [lowest - row.bottom])
                wanted = sorted(row.depth - sign * joint.rise for joint, _, sign in self.joined[row])
                if wanted:
                    middle = (wanted[(len(wanted) - 1) // 2] + wanted[len(wanted) // 2]) / 2
                    row.depth = min(max(middle, least), most)


def _apart(a: Spot, b: Spot) -> float:
    """The least distance of a spot from the next one below it."""
    return a.down + b.up + (APART if a.boxes or b.boxes else 0.0)


# The widths of columns, the x of all spots, and the curves of lines

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
        grid = Grid(unfolded)
        while parted := (heights := Heights(grid)).parted():
            grid = Grid(unfolded, {*grid.apart, *parted})
        self.unfolded, self.grid, self.heights = unfolded, grid, heights
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
        top = min(spot.depth - spot.up for spot in self.heights.spots)
        bottom = max(spot.depth + spot.down for spot in self.heights.spots)
        self.frame: Box = 0.0, -bottom, self.left[-2] + grid.kinds[-1].width, HEADING * bool(unfolded.steps) - top
        shown = {column: grid.number[column] for column in sorted([*unfolded.steps, *unfolded.hidden])}
        _, low, _, high = self.frame
        self.panels = {c: (self.left[n], low, self.left[n] + grid.kinds[n].width, high) for c, n in shown.items()}

    def _draw(self, link: Link) -> None:
        """Set the curve of a link, along its pieces or from what hangs or stands, and the middle of its label."""
        p, q, (number, line) = link.source, link.target, self.grid.labelled[link]
        if line.joints:
            link.curve = _curve([point for piece in self.grid.pieces[link] for point in self._points(*piece)])
            link.middle = (self.left[number] + line.label.x, 9.0 - line.label.depth) if line.label else None
        else:
            near, far = (p, q) if self.grid.role[p] in self.grid.kinds[number].hangs else (q, p)
            link.curve, away = _hanging(p, q), math.copysign(near.height / 2 + 11.0, far.y - near.y)
            link.middle = near.x + 5.0 + link.room / 2, near.y + away

    def _points(self, number: int, line: Line) -> list[Point]:
        """The ends and the bends of a line in a column, with their depths."""
        left, first, last = self.left[number], line.joints[0], line.joints[-1]
        begin = left + first.left.x * (first.left.core[0] > 0.0), first.depths[0]
        end = left + last.right.x if last.right.core[0] else self.left[number + 1], last.depths[1]
        bent = [joint for joint in line.joints if joint.is_bent]
        bends = [(left + x, y) for j in bent for x, y in zip((j.start, j.end), j.depths, strict=True)]
        return [begin, *bends, end][:: -1 if line.is_turned else 1]

    def _sum(self, x: Tensor, total: Place) -> list[Link]:
        """The lines of the sum of a parameter's terms over time."""
        end, off = self.heights.totals[x]
        at = self.left[0] + end.x + end.core[0] / 2 - SIGMA
        total.x, total.y = at - GAP - total.width / 2, -end.depth - off
        sigma, found = Place(x, None, total.id.replace("total", "sum"), "sum", x=at, y=total.y), []
        lanes = {p: self.heights.lanes[p] for p in self.unfolded.shared[x]}
        hides = self.unfolded.gap & self.unfolded.used[x]  # the dots next to the lane stand for terms too
        dots = sorted((p for p in self.unfolded.places if p.kind == "elided"), key=lambda p: abs(p.y - total.y))
        lanes |= dict.fromkeys(dots[:1] if hides else [], next(iter(lanes.values())))
        for p, lane in lanes.items():
            (_, depth), *bends, (_, last) = self._points(0, lane)[::-1]
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
