"""Where each node of an unrolled net stands: `grid` says what belongs where, and this how far apart it is.

Equal slots make equally wide columns, and a row is one straight line, whatever hangs from it. Both figures of a graph
are placed by this one computation, and no node moves between them. Graphviz's own layered layout does not know what a
time step is: its columns differ in width with their contents, it moves nodes between the two figures, and it routes the
sums through the columns. Lengths are in points; x grows to the right and y upwards.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, groupby, zip_longest
from typing import NamedTuple

from tinygrad_rnn.draw.grid import Grid, Link, Place, Point, Row
from tinygrad_rnn.draw.style import ARROW, MARGIN, NODES
from tinygrad_rnn.draw.unfolding import Unfolded

SPACE = 14.0  # between neighbours in a tree
LEVEL = 76.0  # between a tree's levels
APART = 24.0  # between what belongs to one row and to the next
BETWEEN = 26.0  # between panels
LANE = 38.0  # between the lanes of sums, at least,
TOTALS_APART = 6.0  # and between what they make
HALF = 25.0  # about half the height of a node
CUT = 40.0  # before a state whose past is cut off
RAIL = 18.0  # between rails
TAP = 46.0  # how high above a row a rail's tap runs, where it does not come in level
ARC = 54.0  # an arc's control points lie so far off its line


class Heights(NamedTuple):
    """Vertical distances, which grow where nodes are taller than usual, as is what the sums make."""

    half: float
    level: float
    tap: float
    lane: float


@dataclass(frozen=True)
class Lane:
    """The line on which the terms of one sum gather; its Σ stands at (x, y), its left end."""

    terms: Sequence[Place]
    x: float
    y: float


def arrange(unfolded: Unfolded, room: Callable[[Link], float], tallest_sum: float) -> list[Lane]:
    """Set x and y of every place, and how every link runs; returns the lanes of the sums.

    Args:
        room: how wide a link's label is.
        tallest_sum: the height of what the sums make, at the ends of their lanes.
    """
    places, links = unfolded.places, unfolded.links
    grid = Grid(places, links, unfolded.steps)
    for terms in unfolded.shared.values():
        grid.row_of(terms[0]).lanes[grid.up.get(terms[0], True)].append(terms)
    rail_x = _across(grid, room)
    more = max(p.height - NODES[p.kind].height for p in places)
    heights = Heights(HALF + more / 2, LEVEL + more, TAP + more / 2, max(LANE, tallest_sum + TOTALS_APART))
    under, lanes = _upwards(grid, heights)
    _turn(grid, rail_x, under, heights)
    _detour(grid, [lane.y for lane in lanes])
    _bend(links, places)
    _choose_sides(grid)
    return lanes


def _choose_sides(grid: Grid) -> None:
    """Outside of the fan that a tree is; and of lines that come up to one place, on the right of the last only."""
    for link in grid.links:
        p, q = link.source, link.target
        if p in grid.parent or q in grid.parent:
            child, parent = (p, q) if grid.parent.get(p) is q else (q, p)
            link.side = -1 if grid.parent.get(child) is parent and child.x < parent.x else 1
        else:
            rising = [other.source for other in grid.into[q] if other.source in grid.row and other.source.y < q.y]
            link.side = -1 if p in rising and p is not min(rising, key=lambda r: (q.x - r.x) / (q.y - r.y)) else 1


def _across(grid: Grid, room: Callable[[Link], float]) -> dict[tuple[int, Place], float]:
    """Set every x, column by column, each as wide as what is in its slots; returns that of the rails."""
    width: dict[Place, float] = {}
    label = {link.source: room(link) for link in grid.links if grid.parent.get(link.source) is link.target}
    label |= {link.target: room(link) for link in grid.links if grid.parent.get(link.target) is link.source}
    for p in reversed(grid.reached):
        branches = [grid.branches.get((p, up), []) for up in (True, False)]
        for c in chain.from_iterable(branch[1:-1] for branch in branches):
            # labels between two lines need room, and the lines are half as far apart there
            width[c] = max(width[c], 2.7 * label.get(c, 0.0) + SPACE)
        width[p] = max(p.width + SPACE, *[sum(width[c] for c in branch) for branch in branches])
    alike = {column: 0 if column in grid.steps else column + 1 for column in grid.columns}  # by kinds of columns
    slots: dict[tuple[int, int], float] = defaultdict(float)
    apart: dict[tuple[int, int], float] = defaultdict(float)  # the least from the slot before to this one
    rails: dict[int, list[float]] = defaultdict(list)  # the widths that rails take
    for column, entering in grid.rails.items():
        widths = [width[p] if p in grid.hubs else RAIL for p in entering]
        rails[alike[column]] = [max(pair) for pair in zip_longest(rails[alike[column]], widths, fillvalue=0.0)]
    for p, slot in grid.slot.items():
        slots[alike[p.column], slot] = max(slots[alike[p.column], slot], width[p])
        for link in grid.into[p]:
            q = link.source
            need = (p.width + q.width) / 2 + room(link) + 3 * ARROW
            if grid.taps.get(link) == 0:
                slots_apart, need = slot == 0, need - q.width / 2
            else:
                slots_apart = q.column == p.column and q in grid.slot and slot == grid.slot[q] + 1
            if slots_apart:
                apart[alike[p.column], slot] = max(apart[alike[p.column], slot], need)

    rail_x: dict[tuple[int, Place], float] = {}
    edge, before = None, None
    for column, inside in grid.columns.items():
        kind, centres = alike[column], []
        for slot in range(1 + max([grid.slot[p] for p in inside if p in grid.slot], default=-1)):
            half = slots[kind, slot] / 2
            start = centres[-1] + slots[kind, slot - 1] / 2 if centres else sum(rails[kind])
            centres.append(max(start + half, (centres[-1] if centres else start) + apart[kind, slot]))
        left = 0.0 if edge is None else edge + BETWEEN + 2 * MARGIN
        if edge is not None and any(p.carried and p.tensor.is_leaf for p in inside):
            left += CUT
        for p in inside:
            for link in grid.into[p]:
                q = link.source
                level = p in grid.slot and q.column == before and q in grid.row and grid.row[q] is grid.row[p]
                if level and link not in grid.taps:
                    need = (q.width + p.width) / 2 + room(link) + 3 * ARROW
                    left = max(left, q.x + need - centres[grid.slot[p]])
        at = left
        for p, taken in zip(grid.rails[column], rails[kind], strict=False):
            rail_x[column, p] = at + taken / 2
            at += taken
        for p in inside:
            if p in grid.slot:
                p.x = left + centres[grid.slot[p]]
            elif p in grid.hubs:
                p.x = rail_x[column, p]
        edge, before = left + centres[-1] + slots[kind, len(centres) - 1] / 2, column
    for (p, _), branch in grid.branches.items():  # each after what it hangs from
        from_left = p.x - sum(width[c] for c in branch) / 2
        for c in branch:
            c.x = from_left + width[c] / 2
            from_left += width[c]
    return rail_x


def _upwards(grid: Grid, heights: Heights) -> tuple[dict[int, float], list[Lane]]:
    """Set every y, row by row; returns the line below each layer by which lower ones come in, and the lanes."""
    _reach(grid, heights)
    gathering: dict[Row, tuple[Row, float]] = {}  # the row that such a row belongs to, and how far it is above that
    for link in filter(grid.gathers, grid.links):
        of = grid.row_of(link.source)
        gathering[grid.row[link.target]] = of, of.reach[True] + MARGIN + heights.half
    for of, distance in gathering.values():
        of.extend(True, distance)
    lanes: list[tuple[Sequence[Place], Row, float]] = []  # and how far each is off its row
    under: dict[int, float] = {}
    bottom = APART
    for layer, rows in groupby(grid.rows, key=lambda row: row.layer):
        for row in rows:
            if row in gathering:
                continue
            for above, reach in row.reach.items():
                y = reach
                for terms in sorted(row.lanes[above], key=lambda terms: terms[0].x):
                    y += heights.lane if y > reach else LEVEL - HALF
                    lanes.append((terms, row, y if above else -y))
                row.extend(above, y + heights.half)
            row.y = bottom - APART - row.reach[True]
            bottom = row.y - row.reach[False]
        hubs = [p for p in grid.hubs if grid.layer[p] == layer]
        for p in hubs:
            p.y = bottom - APART - heights.half
        bottom -= APART + 2 * heights.half if hubs else 0.0
        under[layer] = bottom - APART / 2
        bottom -= APART
    for row, (of, distance) in gathering.items():
        row.y = of.y + distance
    lowest = min((row.layer for row in grid.rows if row.layer > 0), default=0)
    zero = next(row.y for row in grid.rows if row.layer == lowest)
    for p in grid.reached:  # each after what it hangs from
        if p in grid.row:
            p.y = grid.row[p].y - zero
        elif p in grid.hubs:
            p.y -= zero
        else:
            p.y = grid.parent[p].y + (heights.level if grid.up[p] else -heights.level)
    left = min(p.x for p in grid.places)
    return (
        {layer: y - zero for layer, y in under.items()},
        [Lane(terms, left, row.y - zero + y) for terms, row, y in lanes],
    )


def _reach(grid: Grid, heights: Heights) -> None:
    """Set how far each row reaches, with its trees, and with what enters it from a rail or from below."""
    for row in grid.rows:
        row.reach = {True: heights.half, False: heights.half}
    depth: dict[Place, int] = {}
    for p in grid.reached:
        depth[p] = depth[grid.parent[p]] + 1 if p in grid.parent else 0
        if p in grid.parent and grid.root(p) in grid.row:
            grid.row[grid.root(p)].extend(grid.up[p], depth[p] * heights.level + heights.half)
    for link, tap in grid.taps.items():
        if tap:
            grid.row[link.target].extend(True, heights.tap + RAIL * tap)
    for link in filter(grid.rises, grid.links):
        grid.row[link.target].extend(False, 2.5 * heights.half)


def _turn(grid: Grid, rail_x: dict[tuple[int, Place], float], under: dict[int, float], heights: Heights) -> None:
    """Set the corners of links that run along rails, from layer to layer, and on the line where read-outs gather."""
    several = {link.target for link, tap in grid.taps.items() if tap > 1}
    for link in grid.links:
        p, q = link.source, link.target
        if link in grid.taps:
            x, tap = rail_x[q.column, p], grid.taps[link]
            way: list[Point] = [] if p in grid.hubs else [(x, p.y)]
            if p.column == q.column and p not in grid.hubs:
                way = [(p.x, under[grid.layer[q]]), (x, under[grid.layer[q]])]
            if tap:
                y, aside = q.y + heights.tap + RAIL * (tap - 1), 9.0 * (2 * tap - 3) if q in several else 0.0
                way += [(x, y), (q.x + aside, y)]
            else:
                way += [(x, q.y)]
            link.via, link.at = tuple(way), len(way) - min(1, tap)
        elif grid.rises(link):
            y = q.y - 2 * heights.half
            link.via, link.at = ((p.x, y), (q.x, y)), 1
        elif grid.gathers(link):
            link.via = ((p.x, q.y),)


def _detour(grid: Grid, taken: list[float]) -> None:
    """Lead what enters something after all columns from afar over everything, or below it."""
    last = max(grid.steps)
    for q in grid.places:
        if q.column <= last:
            continue
        for sign in (1, -1):
            far = [link for link in grid.into[q] if not link.via and link.source.column < q.column]
            far = [link for link in far if _passes(grid, link)]
            free = [link for link in far if all(is_free(p, grid.columns[p.column], sign) for p in (link.source, q))]
            if free:
                y = sign * (max([sign * p.y + p.height / 2 for p in grid.places] + [sign * y for y in taken]) + LANE)
                taken.append(y)
                for link in free:
                    link.via = ((link.source.x, y), (q.x, y))


def _passes(grid: Grid, link: Link) -> bool:
    """Whether a straight line would pass other places, or could."""
    p, q = link.source, link.target
    between = any(p.x < r.x < q.x and abs(r.y - p.y) < 1 for r in grid.places)
    return between or (abs(p.y - q.y) > 1 and q not in grid.parent and p not in grid.parent)


def is_free(p: Place, column: Sequence[Place], sign: int) -> bool:
    """Whether nothing of its column stands above a place (sign 1), or below it (-1)."""
    return not any(sign * (q.y - p.y) > 1 and abs(q.x - p.x) < (q.width + p.width) / 2 for q in column)


def _bend(links: Sequence[Link], places: Sequence[Place]) -> None:
    """Bend the links along a level line that pass other places on it off the line.

    Downwards; or upwards, and higher than the lines that reach a place from above, if only below there are places near.
    """
    rows = defaultdict(list)
    for p in places:
        rows[p.y].append(p.x)
    for link in links:
        left, right = sorted((link.source.x, link.target.x))
        passed = sum(left < x < right for x in rows[link.source.y])
        if not link.via and link.source.y == link.target.y and passed > 0:
            between = [p.y - link.source.y for p in places if left < p.x < right]
            below, above = (any(0 < sign * y < 2 * ARC for y in between) for sign in (-1, 1))
            link.bend = (1.6 if below and not above else -1.0) * (ARC + 3.0 * min(passed, 4))
