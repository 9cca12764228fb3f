"""Where everything in a figure stands, and how its lines run.

Both figures of a graph are placed by this one computation, and no node moves between them. Graphviz's own layered
layout does not know what a time step is: its columns differ, and it moves nodes between the figures. Lengths are in
points; x grows to the right and y upwards.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from tinygrad_rnn.draw.grid import Box, Chain, Grid, Joint, Kind, Link, Place, Point, Spot
from tinygrad_rnn.draw.routes import level
from tinygrad_rnn.draw.rows import Rows
from tinygrad_rnn.draw.style import CORNER, MARGIN
from tinygrad_rnn.draw.unfolding import Unfolded
from tinygrad_rnn.tensor import Tensor

BEND = 14.0  # how far aside a line goes to change its height
AFTER = 5.0  # free on the left of everything
ROOM = 9.0  # for an arrow's head
BETWEEN = 6.0  # columns
PORTS = 0.6  # of the height of a variable, where lines leave and enter it
HEADING = 18.0  # at the top of a panel
TURN = 22.0  # how far aside a loop turns
SIGMA = 12.0  # half the width of a Σ,
GAP = 32.0  # and from its middle to what it makes

Run = list[float]  # a level piece of a line: where it begins and ends, and its depth


@dataclass
class Lane:
    """The sum of the terms of a parameter over time: where its Σ stands, and the ways of the terms to it."""

    x: float
    y: float
    terms: dict[Place, tuple[Point, ...]]


@dataclass
class Placement:
    """What of a figure belongs to no node and no link: the lanes of sums, the loops, the panels, and all around."""

    lanes: list[Lane]
    loops: list[tuple[tuple[Point, ...], Point]]
    panels: dict[float, Box]
    frame: Box


def arrange(unfolded: Unfolded, room: Callable[[Link], float], totals: dict[Tensor, Point]) -> Placement:
    """Set x and y of every place, and how every link runs; gates stand upright where columns are wider than high.

    Args:
        room: how wide a link's label is.
        totals: the width and height of what each sum makes.
    """
    figure = _figure(unfolded, room, totals, upright=False)
    top, bottom = figure.height
    if any(kind.is_step and kind.width > bottom - top for kind in figure.grid.kinds):
        figure = _figure(unfolded, room, totals, upright=True)
    return figure.placement()


def _figure(unfolded: Unfolded, room: Callable[[Link], float], totals: dict[Tensor, Point], upright: bool) -> "_Figure":
    """A figure in which nothing is to stand where there is no room for it."""
    rows, crowded = None, set()
    while rows is None or rows.crowded:
        of = unfolded.places, unfolded.links, unfolded.steps, unfolded.shared, unfolded.loops
        grid = Grid(*of, room, upright, crowded)
        rows = Rows(grid, totals)
        crowded |= rows.crowded
    return _Figure(unfolded, grid, rows)


class _Figure:
    """A grid whose spots have depths, placed column by column."""

    def __init__(self, unfolded: Unfolded, grid: Grid, rows: Rows):
        self.unfolded, self.grid, self.rows = unfolded, grid, rows
        for kind in dict.fromkeys(grid.kinds):
            _spread(kind)
            _across(kind, TURN if unfolded.loops else 0.0)
        self.left, x = [], 0.0
        for kind in grid.kinds:
            self.left.append(x)
            x += kind.width + BETWEEN

    def placement(self) -> Placement:
        """Place all, and say what else there is."""
        grid = self.grid
        for p in self.unfolded.places:
            spot, left = self.grid.spot(p), self.left[grid.number[p.column]]
            aside, down = spot.hung.get(grid.role[p], (0.0, 0.0))
            p.x, p.y = left + spot.x + aside, -spot.depth - down
        for link in self.unfolded.links:
            self._draw(link)
        lanes = [self._lane(x) for x in grid.shared]
        loops = [self._way((state, start)) for state, start, _ in self.unfolded.loops]
        frame = self._frame()
        panels = {
            column: (self.left[n], frame[1], self.left[n] + grid.kinds[n].width, frame[3])
            for column, n in grid.number.items()
            if column in self.unfolded.steps or column in self.unfolded.hidden
        }
        return Placement(lanes, loops, panels, frame)

    def _draw(self, link: Link) -> None:
        p, q, room = link.source, link.target, self.grid.room(link)
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

    def _way(self, link: Link | tuple[Place, Place]) -> tuple[tuple[Point, ...], Point | None]:
        """The curve of a link or a loop along its pieces, and the middle of its label."""
        runs, middle = [], None
        for number, key in self.grid.pieces[link]:
            kind, (sign, a, b) = self.grid.kinds[number], key
            piece = self._runs(number, kind.chains[key])
            begin, end = kind.layer_of.get(a, -1 if sign > 0 else 999), kind.layer_of.get(b, 999 if sign > 0 else -1)
            runs += piece if begin < end else _reversed(piece)
            label = kind.chains[key].label
            if label and middle is None and (not isinstance(link, Link) or self.grid.is_labelled(link, kind, key)):
                middle = self.left[number] + label.x, 9.0 - label.depth
        return _curve(_joined(runs)), middle

    def _runs(self, number: int, line: Chain) -> list[Run]:
        """The level pieces of a line in a column, from the left: where each begins and ends, and its depth."""
        left, width = self.left[number], self.grid.kinds[number].width + BETWEEN
        first, last = line.joints[0], line.joints[-1]
        begin = left + (first.left.x if first.left.is_node else 0.0)
        end = left + (last.right.x if last.right.is_node else width)
        runs = [[begin, end, first.depths[0]]]
        for joint in line.joints:
            if joint.is_bent:
                runs[-1][1] = left + joint.start
                runs.append([left + joint.end, end, joint.depths[1]])
        return runs

    def _lane(self, x: Tensor) -> Lane:
        """The lane of the sum of a parameter's terms."""
        end, off = self.rows.totals[x]
        lane = Lane(self.left[0] + end.x + end.core[0] / 2 - SIGMA, -end.depth - off, {})
        spots = {p: self.grid.spot(p) for p in self.grid.shared[x]}
        spots |= dict.fromkeys(self._dots(x, lane.y), next(iter(spots.values())))
        for p, spot in spots.items():
            runs = _reversed(self._runs(0, self.rows.lanes[x, spot]))
            y, runs[0][0], runs[-1][1] = -runs[0][2], p.x, lane.x
            near = y + (CORNER if p.y > y else -CORNER)
            runs[0][0] -= CORNER
            corner = ((p.x, p.y), *level((p.x, p.y), (p.x, near)), (p.x, y), (p.x, y))
            lane.terms[p] = (*corner, *_curve(runs))
        return lane

    def _dots(self, x: Tensor, y: float) -> list[Place]:
        """The dots whose steps use a parameter too: those next to the lane of its sum."""
        if not self.unfolded.gap.intersection(self.unfolded.used[x]):
            return []
        dots = [p for p in self.unfolded.places if p.kind == "elided"]
        return sorted(dots, key=lambda p: abs(p.y - y))[:1]

    def _frame(self) -> Box:
        """Around all that stands in either figure."""
        top, bottom = self.height
        right = self.left[-1] + self.grid.kinds[-1].width
        return 0.0, -bottom, right, HEADING * bool(self.unfolded.steps) - top

    @property
    def height(self) -> Point:
        """The depths of its upper and lower end."""
        spots = self.rows.of
        return min(spot.depth - spot.up for spot in spots), max(spot.depth + spot.down for spot in spots)


def _spread(kind: Kind) -> None:
    """Let lines leave and enter a variable one above the other."""
    ends: dict[tuple[Spot, bool], list[Joint]] = defaultdict(list)
    for joint in kind.joints:
        for side, spot in enumerate((joint.left, joint.right)):
            if spot.is_node and not joint.off[side]:
                ends[spot, side].append(joint)
    for (spot, side), joints in ends.items():
        for sign in (-1, 1):
            far = {joint: sign * (joint.depths[1 - side] - spot.depth) for joint in joints if len(joints) > 1}
            group = sorted((joint for joint in far if far[joint] > 1.0), key=far.__getitem__)
            for i, joint in enumerate(group, 1):
                joint.off[side] = sign * PORTS * spot.core[1] / 2 * i / len(group)


def _across(kind: Kind, aside: float) -> None:
    """Set the x of every spot, layer by layer: each on the right of all before it that is on its height."""
    taken: list[Box] = []
    margin = aside + (MARGIN + 2.0 if kind.is_step else 2.0)
    number = {spot: i for i, layer in enumerate(kind.layers) for spot in layer}
    into: dict[int, list[Joint]] = defaultdict(list)
    for joint in kind.joints:
        into[number.get(joint.right, len(kind.layers))].append(joint)
    reach: dict[Spot, float] = defaultdict(lambda: aside)  # where lines go on from a spot

    def free(top: float, bottom: float) -> float:
        return max([right for _, above, right, below in taken if above < bottom and below > top], default=0.0)

    for i, layer in enumerate([*kind.layers, []]):
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
            if spot.is_node:
                least = [margin - min(box[0] for box in spot.boxes)]
                least += [begins[spot] + ROOM + spot.core[0] / 2] * (spot in begins)
            elif spot.boxes:
                least = [begins[spot] + 4.0 - spot.boxes[0][0]]
            for left, top, _, bottom in spot.boxes:
                least.append(free(spot.depth + top - 1.0, spot.depth + bottom + 1.0) + AFTER - left)
            spot.x = max(least)
        common = max([spot.x for spot in layer if spot.is_node], default=0.0)
        for spot in layer:
            spot.x = common if spot.is_node else spot.x
            reach[spot] = spot.x + (spot.core[0] / 2 if spot.is_node else spot.boxes[0][2] if spot.boxes else 0.0)
            taken += [
                (spot.x + box[0], spot.depth + box[1], spot.x + box[2], spot.depth + box[3]) for box in spot.boxes
            ]
    last = [spot.x + box[2] for layer in kind.layers for spot in layer for box in spot.boxes]
    bends = [joint.end for joint in kind.joints if joint.is_bent]
    kind.width = max([right + margin for right in last] + bends, default=0.0)


def _reversed(runs: list[Run]) -> list[Run]:
    return [[end, begin, depth] for begin, end, depth in reversed(runs)]


def _joined(runs: list[Run]) -> list[Run]:
    """The same pieces, those that go on at one height as one."""
    joined = [list(runs[0])]
    for run in runs[1:]:
        if abs(run[2] - joined[-1][2]) < 0.6:
            joined[-1][1] = run[1]
        else:
            joined.append(list(run))
    return joined


def _curve(runs: list[Run]) -> tuple[Point, ...]:
    """The Bézier curve along level pieces, which turns aside where it goes back."""
    curve = [(runs[0][0], -runs[0][2])]
    for i, (begin, end, depth) in enumerate(runs):
        if i:
            (x, y), forth = curve[-1], runs[i - 1][1] > runs[i - 1][0]
            middle = (x + begin) / 2 if forth == (end > begin) else x + (TURN if forth else -TURN)
            curve += [(middle, y), (middle, -depth), (begin, -depth)]
        curve += level((begin, -depth), (end, -depth))
    return tuple(curve)


def _hanging(p: Place, q: Place) -> tuple[Point, ...]:
    """The curve from what hangs from a variable to that: up or down, and then to its middle."""
    sign = 1 if p.y < q.y else -1
    border, edge = p.y + sign * p.height / 2, q.y - sign * q.height / 2
    if abs(p.x - q.x) < 1.0:
        return ((p.x, p.y), *level((p.x, p.y), (q.x, q.y)))
    at = q.x + max(-0.3 * q.width, min(0.3 * q.width, 0.4 * (p.x - q.x)))
    out, gap = (p.x, border + 0.3 * sign * abs(edge - border)), abs(edge - border)
    into = (at, edge - sign * 2.0)
    beyond = (at + 0.35 * (at - q.x), edge - sign * 0.3 * gap)
    return (
        (p.x, p.y),
        *level((p.x, p.y), out),
        (p.x, border + 0.7 * sign * gap),
        beyond,
        into,
        *level(into, (q.x, q.y)),
    )
