"""The heights of all spots: rows of spots that are level, in an order with short ways from row to row.

A row runs through the layers of all kinds of columns and through the gap between these, and no two rows cross. The
lanes of the sums over time whose terms hang from a row's variables run along with it, on its outside; and what stands
upon a row is one with it.
"""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from itertools import accumulate, pairwise

from tinygrad_rnn.draw.grid import Grid, Joint, Row, Spot
from tinygrad_rnn.tensor import Tensor

APART = 8.0  # between spots that are not just lines
ROUNDS = 10  # in which the order of rows is improved
SWEEPS = 24
THICK = 20.0  # it costs 1 if a line passes a spot so thick
RISE = 1.5  # what it costs if a line goes down to the right
SIGMA = 12.0  # half the width of a Σ,
GAP = 32.0  # and from its middle to what it makes
FEW, CLOSE = 5, 13.0  # of so many sums over time the lanes are as far apart as what they make is high; of more, close


class Rows:
    """The rows of a grid, whose spots have their depths.

    Attributes:
        totals: of each parameter with a sum over time, the spot of what it makes, and how far below its middle that is.
        lanes: of each, and a spot whose term it has, the line in the first column.
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
        self.lanes: dict[tuple[Tensor, Spot], tuple] = {}
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
        terms: dict[tuple[Row, int], dict[Tensor, list[tuple[int, Spot]]]] = defaultdict(lambda: defaultdict(list))
        for x, places in self.grid.unfolded.shared.items():
            for p in places:
                spot = self.grid.spot(p)
                side = -1 if spot.at[self.grid.role[p]][1] < 0.0 else 1
                terms[spot.row, side][x].append((self.grid.number[p.column], spot))
        totals = self.grid.unfolded.totals.values()
        width = max([total.width for total in totals], default=0.0) + GAP + SIGMA
        high = max([total.height for total in totals], default=0.0)
        apart, first = high + 4.0 if len(totals) <= FEW else CLOSE, self.kinds[0]
        for (row, side), summed in terms.items():
            half = apart * len(summed) / 2
            off = side * ((row.bottom if side > 0 else -row.top) + max(CLOSE - apart / 2, 0.0) + half)
            offs = {x: off + side * (apart * (i + 0.5) - half) for i, x in enumerate(summed)}
            self._add_totals(row, {x: offs[x] for x in list(summed)[::side] if x not in self.totals}, width, high + 4.0)
            beyond = max(number for used in summed.values() for number, _ in used) + 1
            layers = [(kind, n) for kind in dict.fromkeys(self.grid.kinds[1:beyond]) for n in range(kind.last)]
            layers = [(first, 2), None, *((first, n) for n in range(3, first.last)), *layers]
            lanes = [self.grid.add(Spot(half, half), layer) for layer in layers]
            self.spots += lanes
            for lane in lanes:
                row.take(lane.row, off)
            for x, used in summed.items():
                end, height = self.totals[x]
                key = x, row, side
                first.lines[key] = [Joint(end, lanes[0], 0.5, [height, offs[x] - off])]
                for _, spot in used:
                    self.lanes[x, spot] = key
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

    def _ordered(self) -> list[Row]:
        """The rows in an order in which lines pass little of other rows: each in turn is put where that costs least."""
        thick: dict[tuple[Row, Hashable], float] = defaultdict(float)
        for spot in self.spots:
            thick[spot.row, spot.layer] += (spot.up + spot.down) / THICK
        tilt = {joint: joint.strength * self._tilt(joint) for joint in self.joints}

        def passing(joint: Joint, row: Row) -> float:
            return joint.strength * (thick[row, joint.left.layer] + thick[row, joint.right.layer] + 0.1)

        def worse(row: Row, passed: Row, index: dict[Row, int]) -> float:
            """How much worse it is if a row stands below another than above it, all else being in order."""
            change, at = 0.0, index[passed]
            for joint, other, sign in self.joined[row]:
                side = 1 if index[other] < at else -1
                change += sign * tilt[joint] if other is passed else passing(joint, passed) * side
            for joint, other, _ in self.joined[passed]:
                if other is not row:
                    change += passing(joint, row) * (1 if index[other] > at else -1)
            return change

        order, before = list(dict.fromkeys(spot.row for spot in self.spots)), list[Row]()
        for _ in range(ROUNDS):
            if order == before:
                break
            before = list(order)
            for row in before:
                at = order.index(row)
                order.remove(row)
                index = {other: i for i, other in enumerate(order)}
                costs = list(accumulate((worse(row, other, index) for other in order), initial=0.0))
                best = min(range(len(costs)), key=costs.__getitem__)
                order.insert(best if costs[best] < costs[at] - 1e-6 else at, row)
        return order

    def _tilt(self, joint: Joint) -> float:
        """What it costs if the left end is in the lower row and not in the upper: what it passes of its own rows."""
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
        for sweep in range(SWEEPS):
            for row in rows if sweep % 2 else reversed(rows):
                least = max([upper.depth + apart for upper, apart in above[row]] + [-row.top])
                most = min([lower.depth - apart for lower, apart in below[row]] + [lowest - row.bottom])
                wanted = sorted(row.depth - sign * joint.rise for joint, _, sign in self.joined[row])
                if wanted:
                    middle = (wanted[(len(wanted) - 1) // 2] + wanted[len(wanted) // 2]) / 2
                    row.depth = min(max(middle, least), most)


def _apart(a: Spot, b: Spot) -> float:
    """How far below a spot another has to be."""
    return a.down + b.up + (APART if a.boxes or b.boxes else 0.0)
