"""The heights of all spots: rows of spots that are level, in an order with short ways from row to row.

A row runs through the layers of all kinds of columns and through the gap between these, and no two rows cross. The
lanes of the sums over time whose terms hang from a row's variables run along with it, on its outside; and what stands
upon a row is one with it.
"""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from itertools import pairwise

from tinygrad_rnn.draw.grid import Chain, Grid, Joint, Kind, Point, Role, Spot
from tinygrad_rnn.tensor import Tensor

APART = 8.0  # between spots that are not just lines
ROUNDS = 10  # in which the order of rows is improved
SWEEPS = 24
RISE = 1.5  # what it costs if a line goes down to the right
FEW, CLOSE = 5, 13.0  # of so many sums over time the lanes are as far apart as what they make is high; of more, close


class Row:
    """Spots at fixed distances below a common depth.

    `pulls` are the joints to other rows, with how far below this one each should be; `limits` the rows above (True) and
    below, with how far off they have to be at least.
    """

    def __init__(self, spot: Spot):
        self.spots = {spot: 0.0}
        self.depth = 0.0
        self.pulls: list[tuple[Row, Joint, float]] = []
        self.limits: dict[bool, list[tuple[Row, float]]] = {True: [], False: []}

    @property
    def top(self) -> float:
        """Its upper end, from its depth downwards."""
        return min(off - spot.up for spot, off in self.spots.items())

    @property
    def bottom(self) -> float:
        """Its lower end."""
        return max(off + spot.down for spot, off in self.spots.items())


class Rows:
    """The rows of a grid, whose spots have their depths.

    Attributes:
        totals: of each parameter with a sum over time, the spot of what it makes, and how far below its middle that is.
        lanes: of each, and a spot whose term it has, the line in the first column.
        crowded: what cannot stand where it should.
    """

    def __init__(self, grid: Grid, totals: dict[Tensor, Point]):
        self.grid = grid
        self.kinds = list(dict.fromkeys(grid.kinds))
        self.of: dict[Spot, Row] = {}
        self.layer: dict[Spot, Hashable] = {}
        for kind in self.kinds:
            for number, layer in enumerate(kind.layers):
                for spot in layer:
                    self._add(spot, (kind, number))
        for spot in grid.gap:
            self._add(spot, None)
        self._straighten()
        self.totals: dict[Tensor, tuple[Spot, float]] = {}
        self.lanes: dict[tuple[Tensor, Spot], Chain] = {}
        self._lay_lanes(totals)
        self.crowded = {role for kind in self.kinds for role in kind.stands if not self._stack(kind, role)}
        if not self.crowded:
            self._settle(self._ordered())

    def _add(self, spot: Spot, layer: Hashable, row: Row | None = None, off: float = 0.0) -> None:
        """Put a spot into a row, or make one of it."""
        self.of[spot], self.layer[spot] = row or Row(spot), layer
        self.of[spot].spots[spot] = off

    def _merge(self, a: Row, b: Row, shift: float) -> None:
        """Make two rows one, the second so far below the first."""
        a.spots |= {spot: off + shift for spot, off in b.spots.items()}
        self.of |= dict.fromkeys(b.spots, a)

    def _fit(self, a: Row, b: Row, shift: float) -> bool:
        """Make two rows one where there is room."""
        inside: dict[Hashable, list[tuple[float, Spot]]] = defaultdict(list)
        for spots, down in ((a.spots, 0.0), (b.spots, shift)):
            for spot, off in spots.items():
                inside[self.layer[spot]].append((off + down, spot))
        for found in inside.values():
            found.sort(key=lambda pair: pair[0])
            if any(y - x < _apart(s, t) - 0.1 for (x, s), (y, t) in pairwise(found)):
                return False
        self._merge(a, b, shift)
        return True

    def _straighten(self) -> None:
        """Make rows of spots whose joint can be level, the strongest first."""
        taken = set()
        joints = [joint for kind in self.kinds for joint in kind.joints]
        for joint in sorted(joints, key=lambda joint: -joint.strength):
            a, b = self.of[joint.left], self.of[joint.right]
            ends = {(joint.left, True, joint.kind), (joint.right, False, joint.kind)}
            level = a.spots[joint.left] - b.spots[joint.right]
            if a is not b and taken.isdisjoint(ends) and self._fit(a, b, level):
                taken |= ends

    def _lay_lanes(self, totals: dict[Tensor, Point]) -> None:
        """Lead the terms of each sum over time along the outside of their row, to what the sum makes on the left."""
        terms: dict[tuple[Row, int], dict[Tensor, list[tuple[int, Spot]]]] = defaultdict(lambda: defaultdict(list))
        for x, places in self.grid.shared.items():
            for p in places:
                number, spot = self.grid.number[p.column], self.grid.spot(p)
                terms[self.of[spot], spot.lanes[x]][x].append((number, spot))
        high = max([height for _, height in totals.values()], default=0.0) + 4.0
        apart = high if len(totals) <= FEW else CLOSE
        for (row, side), summed in terms.items():
            reach = (row.bottom if side > 0 else -row.top) + max(CLOSE, apart / 2)
            offs = {x: side * (reach + apart * i) for i, x in enumerate(summed)}
            self._stack_totals(
                row, sorted((x for x in offs if x not in self.totals), key=offs.__getitem__), offs, totals
            )
            for x, used in summed.items():
                self._lay_lane(x, row, offs[x], apart / 2, used)

    def _stack_totals(
        self, row: Row, summed: list[Tensor], offs: dict[Tensor, float], totals: dict[Tensor, Point]
    ) -> None:
        """Put what sums make into the first column, one below the other, level with the lane in the middle."""
        if summed:
            width, high = (max(size) for size in zip(*(totals[x] for x in totals), strict=True))
            half = len(summed) * (high + 4.0) / 2
            spot = Spot(half, half, (width, high), [(-width / 2, -half, width / 2, half)])
            self.grid.kinds[0].layers[1].append(spot)
            self._add(spot, (self.grid.kinds[0], 1))
            self.totals |= {x: (spot, (high + 4.0) * (i + 0.5) - half) for i, x in enumerate(summed)}
            middle = summed[len(summed) // 2]
            self._fit(row, self.of[spot], offs[middle] - self.totals[middle][1])

    def _lay_lane(self, x: Tensor, row: Row, off: float, half: float, used: list[tuple[int, Spot]]) -> None:
        """Lead a lane through all columns up to that of its last term."""
        first, track = self.grid.kinds[0], Spot(half, half)
        self.grid.gap.append(track)
        self._add(track, None, row, off)
        for kind in {self.grid.kinds[n]: None for n in range(1, max(number for number, _ in used) + 1)}:
            for number, layer in enumerate(kind.layers):
                layer.append(Spot(half, half))
                self._add(layer[-1], (kind, number), row, off)
        end, height = self.totals[x]
        line = first.chain((x, row, off), (end, track), 1, len(first.layers), 0.5)
        line.joints[0].off[0] = height
        for number, joint in enumerate(line.joints[1:], 2):
            self._add(joint.left, (first, number), row, off)
        for _, spot in used:
            spot.lanes[x] = off - row.spots[spot]
            spot.extend(spot.lanes[x], half)
            self.lanes[x, spot] = line

    def _stack(self, kind: Kind, role: Role) -> bool:
        """Put the row of what stands on something right above the row of that; False if something were between."""
        lower, upper = kind.spots[kind.stands[role]], kind.spots[role]
        row, above = self.of[lower], self.of[upper]
        beside = [spot for spot in (*row.spots, *above.spots) if self.layer[spot] == self.layer[lower] and spot.boxes]
        free = all(
            row.spots[s] >= row.spots[lower] if s in row.spots else above.spots[s] <= above.spots[upper] for s in beside
        )
        if row is above or not free:
            return False
        highest: dict[Hashable, list[Spot]] = defaultdict(list)
        for spot in row.spots:
            highest[self.layer[spot]].append(spot)
        shift = min(row.spots[r] - _apart(s, r) - above.spots[s] for s in above.spots for r in highest[self.layer[s]])
        self._merge(row, above, shift)
        upper.boxes.append((-2.0, 0.0, 2.0, row.spots[lower] - row.spots[upper]))
        return True

    def _ordered(self) -> list[Row]:
        """The rows in an order in which what joins them passes little, and sort the layers accordingly."""
        rows = list(dict.fromkeys(self.of.values()))
        for kind in self.kinds:
            for joint in kind.joints:
                a, b = self.of[joint.left], self.of[joint.right]
                if a is not b:
                    distance = a.spots[joint.left] + joint.off[0] - b.spots[joint.right] - joint.off[1]
                    a.pulls.append((b, joint, distance))
                    b.pulls.append((a, joint, -distance))
        thick: dict[tuple[Row, Hashable], float] = defaultdict(float)
        near: dict[Row, list[tuple[Row, float, tuple, float]]] = defaultdict(list)
        for row in rows:
            for spot in row.spots:
                thick[row, self.layer[spot]] += (spot.up + spot.down) / 20
            for other, joint, _ in row.pulls:
                layers = self.layer[joint.left], self.layer[joint.right]
                side = joint.left not in row.spots
                height = row.spots[joint.right if side else joint.left] + joint.off[side]
                inside = [(off > height) - (off < height) for s, off in row.spots.items() if self.layer[s] in layers]
                near[row].append((other, joint.strength, layers, 0.65 * sum(inside) + (-RISE if side else RISE) / 2))

        def passes(strength: float, layers: tuple, row: Row) -> float:
            return strength * (thick[row, layers[0]] + thick[row, layers[1]] + 0.1)

        def more(row: Row, index: dict[Row, int], at: int, passed: Row) -> float:
            """How much worse it is if a row stands below another than above it, all else being in order."""
            worse = 0.0
            for one, two, sign in ((row, passed, -1), (passed, row, 1)):
                for other, strength, layers, inside in near[one]:
                    if other is two:
                        worse += sign * strength * inside
                    else:
                        between = index[other] < at if one is row else index[other] > at
                        worse += (1 if between else -1) * passes(strength, layers, two)
            return worse

        order = list(rows)
        for _ in range(ROUNDS):
            before = list(order)
            for row in rows:
                at = order.index(row)
                others = order[:at] + order[at + 1 :]
                index = {r: i for i, r in enumerate(others)}
                costs = [0.0]
                for i, other in enumerate(others):
                    costs.append(costs[-1] + more(row, index, i, other))
                to = min(range(len(costs)), key=costs.__getitem__)
                if costs[to] < costs[at] - 1e-6:
                    order = [*others[:to], row, *others[to:]]
            if order == before:
                break
        number = {row: i for i, row in enumerate(order)}
        for layer in [*(layer for kind in self.kinds for layer in kind.layers), self.grid.gap]:
            layer.sort(key=lambda spot: (number[self.of[spot]], self.of[spot].spots[spot]))
            for a, b in pairwise(layer):
                row, below = self.of[a], self.of[b]
                if row is not below:
                    apart = _apart(a, b) + row.spots[a] - below.spots[b]
                    row.limits[False].append((below, apart))
                    below.limits[True].append((row, apart))
        return order

    def _settle(self, rows: Sequence[Row]) -> None:
        """Set depths: as near as can be to each other, and then each row to where most of what it joins is."""
        for row in rows:
            row.depth = max([above.depth + apart for above, apart in row.limits[True]] + [-row.top])
        lowest = max(row.depth + row.bottom for row in rows)
        for sweep in range(SWEEPS):
            for row in rows if sweep % 2 else reversed(rows):
                least = max([above.depth + apart for above, apart in row.limits[True]] + [-row.top])
                most = min([below.depth - apart for below, apart in row.limits[False]] + [lowest - row.bottom])
                wanted = sorted(other.depth - distance for other, _, distance in row.pulls)
                if wanted:
                    middle = (wanted[(len(wanted) - 1) // 2] + wanted[len(wanted) // 2]) / 2
                    row.depth = min(max(middle, least), most)
        for row in rows:
            for spot, off in row.spots.items():
                spot.depth = row.depth + off


def _apart(a: Spot, b: Spot) -> float:
    """How far below a spot another has to be."""
    return a.down + b.up + (APART if a.boxes or b.boxes else 0.0)
