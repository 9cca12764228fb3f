"""Where each node of an unrolled net stands: one column per time step, and the spine on one straight line.

The spine is the longest path through the graph: h(0), ĥ(1), h(1), ..., y, L. Everything else hangs from it as trees:
what comes in with the data above, the other parameters below. A column's width follows from its trees, so columns of
the same make are equally wide. Both figures of a graph are placed by this one computation, so no node moves between
them.

Lengths are in points, 1/72 inch; x grows to the right and y upwards.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tinygrad_rnn.tensor import Tensor

__all__ = ["TOTAL", "Link", "Place", "buses", "place"]

SPACE = 14.0  # between neighbours in a tree
ROW = 76.0  # between a tree's rows
MARGIN = 14.0  # from a column's outermost slots to its panel's edge
BETWEEN = 26.0  # between panels
LANE = 38.0  # between the lines on which the sums over time gather
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
    above = _above(hung, parent, links)
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
    """The longest path to the output, from its beginning, as an ordered set; of equals the one from the past.

    Where the path leaves the recurrence inside a column (a loss at every step), what it passes from there on hangs
    from the spine, as it does in the other columns.
    """
    inputs = defaultdict(list)
    for link in links:
        inputs[link.target].append(link.source)
    length: dict[Place, tuple[int, int]] = {}  # of the longest path to each place, and minus the column it begins in
    for p in places:
        before, column = max((length[q] for q in inputs[p]), default=(0, -p.column))
        length[p] = (before + 1, column)
    path = [places[-1]]
    while inputs[path[-1]]:
        path.append(max(inputs[path[-1]], key=length.__getitem__))
    path.reverse()
    steps = [p.tensor.step for p in path]
    left = next((i for i, p in enumerate(path) if steps[i] is None and p.column in steps), len(path))
    return dict.fromkeys(path[:left])


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
    for roots in (list(spine), places):
        queue = deque(roots)
        while queue:
            p = queue.popleft()
            hung.setdefault(p)
            for q in neighbours[p]:
                if q not in hung:
                    parent[q] = p
                    hung[q] = None
                    queue.append(q)
    return list(hung), parent


def _above(hung: Sequence[Place], parent: dict[Place, Place], links: Sequence[Link]) -> dict[Place, bool]:
    """Whether each place stands above what it hangs from: data, what meets data in one primitive, and results do.

    Places of one parameter stand on one side, so that the line on which their gradients gather meets nothing else.
    """
    with_data = {link.user for link in links if link.source.kind == "input"}
    up = {p for p in hung if p.kind == "input"}
    up |= {link.source for link in links if link.user in with_data}
    up |= {link.target for link in links if parent.get(link.target) is link.source}
    parameters = {p.tensor for p in up if p.kind == "parameter"}
    up |= {p for p in hung if p.tensor in parameters}
    for p in reversed(hung):
        if p in up and p in parent:
            up.add(parent[p])
    above: dict[Place, bool] = {}
    for p in hung:
        above[p] = above[parent[p]] if parent.get(p) in parent else p in up
    return above


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
