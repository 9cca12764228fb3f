"""Where each node of an unrolled net stands: one column per time step, and the spine on one straight line.

    dW ← Σ ←─────╮                    lines on which the terms of a sum over time gather: `buses`
                 W   x(t)             a tree above: what comes in with the data
                  ╲ ╱
    h(t-1) ────── ĥ(t) ────── h(t)    the spine: the longest path through the graph, back to the first column
                  ╱ ╲
                 U   b                a tree below: the other parameters
    dU ← Σ ←─────╯   │
    db ← Σ ←─────────╯

Everything that is not on the spine hangs from it by its shortest way, as trees whose widths make the widths of the
columns, so that columns of the same make are equally wide. Both figures of a graph are placed by this one computation,
and no node moves between them. Graphviz's own layered layout does not know what a time step is: its columns differ in
width with their contents, it moves nodes between the two figures, and it routes the sums through the columns.

Lengths are in points, 1/72 inch; x grows to the right and y upwards.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tinygrad_rnn.draw.style import MARGIN
from tinygrad_rnn.tensor import Tensor

__all__ = ["TOTAL", "Link", "Place", "arcs", "buses", "place"]

SPACE = 14.0  # between neighbours in a tree
ROW = 76.0  # between a tree's rows
BETWEEN = 26.0  # between panels
LANE = 38.0  # between the lines on which the sums over time gather
ARC = 54.0  # an arc's control points lie so far off its line
TOTAL = 60.0  # from a Σ to what it makes


@dataclass(eq=False)
class Place:
    """One drawn occurrence of a Tensor, in a column; a parameter has one in every column that uses it.

    `width` is that of its shape, in whichever figure it is wider.
    """

    tensor: Tensor
    column: int
    id: str
    kind: str
    width: float = 0.0
    x: float = 0.0
    y: float = 0.0


@dataclass(frozen=True, eq=False)
class Link:
    """A drawn use of `source` by `target`; `user` is the primitive that takes the source in, itself drawn or folded."""

    source: Place
    target: Place
    user: Tensor
    paths: list | None = None


def place(places: Sequence[Place], links: Sequence[Link], room: Callable[[Place, Place], float]) -> None:
    """Set x and y of every place.

    Args:
        places: in topological order, the output last.
        room: the least distance between the borders of two neighbours on the spine, such that their label fits.
    """
    spine = _spine(places, links)
    hung, parent = _hang(spine, places, links)
    above = _above(spine, hung, parent, links)
    children = {p: {True: [], False: []} for p in hung}
    for p in hung:
        if p in parent:
            children[parent[p]][above[p]].append(p)
    width: dict[Place, float] = {}
    for p in reversed(hung):
        width[p] = max(p.width + SPACE, *[sum(width[c] for c in side) for side in children[p].values()])

    before = None
    for p in hung:
        if p not in parent and before is not None:
            apart = (width[before] + width[p]) / 2 + (2 * MARGIN + BETWEEN if p.column != before.column else 0)
            p.x = before.x + max(apart, (before.width + p.width) / 2 + room(before, p))
        if p not in parent:
            before = p
        if p not in parent and p not in spine:  # it gathers what the columns made: above them all
            p.y = ROW + max(q.y for q in hung)
        for up, side in children[p].items():
            left = p.x - sum(width[c] for c in side) / 2
            for c in side:
                c.x, c.y = left + width[c] / 2, p.y + (ROW if up else -ROW)
                left += width[c]


def _spine(places: Sequence[Place], links: Sequence[Link]) -> dict[Place, None]:
    """The longest path to the output that goes back farthest in time, from its beginning, as an ordered set.

    Where the path leaves the recurrence inside the last column (a loss at every step), what it passes from there on
    hangs from the spine, as it does in the other columns.
    """
    inputs = defaultdict(list)
    for link in links:
        inputs[link.target].append(link.source)
    reach: dict[Place, tuple[int, int]] = {}  # minus the column that a place's path begins in, and the path's length
    for p in places:
        begin, length = max((reach[q] for q in inputs[p]), default=(-p.column, 0))
        reach[p] = (begin, length + 1)
    path = [places[-1]]
    while inputs[path[-1]]:
        path.append(max(inputs[path[-1]], key=reach.__getitem__))
    path.reverse()
    last = max((i for i, p in enumerate(path) if p.tensor.step is not None), default=0)
    leaves_inside = any(p.column == path[last].column for p in path[last + 1 :])
    return dict.fromkeys(path[: last + 1] if leaves_inside else path)


def _hang(
    spine: dict[Place, None], places: Sequence[Place], links: Sequence[Link]
) -> tuple[list[Place], dict[Place, Place]]:
    """Hang every place, breadth first, from the nearest in its column: the order reached, and what each hangs from.

    What nothing in its column leads to stands for itself, after the spine.
    """
    neighbours = defaultdict(list)
    for link in links:
        if link.source.column == link.target.column:
            neighbours[link.target].append(link.source)
            neighbours[link.source].append(link.target)
    hung, parent = dict.fromkeys(spine), {}
    for roots in (spine, *([p] for p in places)):
        queue = deque(roots)
        hung |= dict.fromkeys(queue)
        while queue:
            p = queue.popleft()
            for q in neighbours[p]:
                if q not in hung:
                    parent[q], hung[q] = p, None
                    queue.append(q)
    return list(hung), parent


def _above(
    spine: dict[Place, None], hung: Sequence[Place], parent: dict[Place, Place], links: Sequence[Link]
) -> dict[Place, bool]:
    """Whether each place stands above what it hangs from: all but parameters do, and those that meet data with it.

    Places of one parameter stand on one side, so that the line on which their gradients gather meets nothing else.
    """
    up = {p for p in hung if p.kind != "parameter" and p not in spine}
    with_data = {link.user for link in links if link.source in up}
    up |= {link.source for link in links if link.user in with_data}
    parameters = {p.tensor for p in up if p.kind == "parameter"}
    up |= {p for p in hung if p.tensor in parameters}
    for p in reversed(hung):
        if p in up and p in parent:
            up.add(parent[p])
    above: dict[Place, bool] = {}
    for p in hung:
        above[p] = above[parent[p]] if parent.get(p) in parent else p in up
    return above


def arcs(links: Sequence[Link], places: Sequence[Place]) -> dict[Link, float]:
    """The links along a level line that pass other places on it, and how far each bends off the line, downwards."""
    rows = defaultdict(list)
    for p in places:
        rows[p.y].append(p.x)
    for xs in rows.values():
        xs.sort()
    bends = {}
    for link in links:
        left, right = sorted((link.source.x, link.target.x))
        passed = bisect_left(rows[link.source.y], right) - bisect_right(rows[link.source.y], left)
        if link.source.y == link.target.y and passed > 0:
            bends[link] = -ARC - 3.0 * min(passed, 4)
    return bends


def buses(
    sums: Sequence[Sequence[Place]], places: Sequence[Place]
) -> Iterator[tuple[Sequence[Place], tuple[float, float]]]:
    """Where the terms of each sum gather: (terms, (x, y) of their Σ), at the left end of a line of its own.

    The lines run outside of everything, above for terms above the spine and below for the others; the leftmost terms
    have the nearest line, which makes the fewest crossings. A line is at the height of its Σ.
    """
    left = min((p.x for p in places), default=0.0)
    for sign in (1, -1):
        y = max((sign * p.y for p in places), default=0.0) + ROW
        on_side = [terms for terms in sums if (terms[0].y > 0) == (sign > 0)]
        for terms in sorted(on_side, key=lambda terms: terms[0].x):
            yield terms, (left, sign * y)
            y += LANE
