"""The structure of an unrolled net's picture: columns, layers, rows, slots, trees and rails. It chooses no lengths.

    dW ← Σ ←─────╮                    lanes, on which the terms of a sum over time gather
                 W   x(t)             a tree above: what comes in with the data
                  ╲ ╱
    h(t-1) ────── ĥ(t) ────── h(t)    a row: from left to right a path of variables, to a state or what a state needs
                  ╱ ╲
                 U   b                a tree below: the other parameters
    dU ← Σ ←─────╯   │
    db ← Σ ←─────────╯

- A column is a time step. Its `slots`, from left to right, are how many variables lie before one in the step.
- The rows of a layer, from its output downwards, are paths: a plain cell is one, ĥ h; an LSTM cell has five, ô o h and
  c and f̂ f and so on. A state that is carried on by itself (c, and h of a GRU) has a row, a straight line, of its own.
- Layers lie one upon the other, the first below.
- Gradients in a recorded backward graph have rows of their own, each above what it is the gradient of.
- What enters several rows, x(t) and h(t-1) of a gated cell, does so from a vertical `rail` at the column's left.
- Everything else hangs from a row as a tree. What is read out of a column joins what comes after on a line above.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, count, pairwise

from tinygrad_rnn.naming import GradientName
from tinygrad_rnn.tensor import Tensor

Point = tuple[float, float]
Role = tuple[str | None, int | None, str]  # what is the same of a variable in every column


@dataclass(eq=False)
class Place:
    """One drawn occurrence of a Tensor, in a column; a parameter has one in every column that uses it.

    `width` and `height` are those of its shape, in whichever figure it is larger; `carried` says whether it is a state
    that goes on to another column.
    """

    tensor: Tensor
    column: float
    id: str
    kind: str
    carried: bool = False
    role: Role = (None, None, "")
    width: float = 0.0
    height: float = 0.0
    x: float = 0.0
    y: float = 0.0


@dataclass(eq=False)
class Link:
    """A drawn use of `source` by `target`; `user` is the primitive that takes the source in, itself drawn or folded.

    `paths` are the ways between them, those of the last use first; None if they are too many to be written. How it runs
    is said as of an `Edge`: by its corners `via`, of which `at` is the piece that it has for itself, `side` and `bend`;
    or, in a graph without time steps, by `curve` and `middle` alone.
    """

    source: Place
    target: Place
    user: Tensor
    paths: list | None = None
    via: tuple[Point, ...] = ()
    at: int = 0
    side: int = 1
    bend: float = 0.0
    curve: tuple[Point, ...] = ()
    middle: Point | None = None


@dataclass(eq=False)
class Row:
    """A row of a layer, through all columns, at a height.

    `reach` is how far what belongs to it goes, above it (True) and below it (False); `lanes` are the sums whose terms
    hang from it, above and below.
    """

    layer: int
    y: float = 0.0
    reach: dict[bool, float] = field(default_factory=dict)
    lanes: dict[bool, list[Sequence[Place]]] = field(default_factory=lambda: {True: [], False: []})

    def extend(self, above: bool, distance: float) -> None:
        """Let the row reach at least so far."""
        self.reach[above] = max(self.reach[above], distance)


class Grid:
    """Columns, rows, slots and trees, found one after the other."""

    def __init__(self, places: Sequence[Place], links: Sequence[Link], steps: Sequence[int]):
        self.places, self.links, self.steps = places, links, set(steps)
        self.order = {p: i for i, p in enumerate(places)}
        self.into: dict[Place, list[Link]] = defaultdict(list)
        self.out: dict[Place, list[Link]] = defaultdict(list)
        for link in links:
            self.into[link.target].append(link)
            self.out[link.source].append(link)
        self.columns: dict[int, list[Place]] = {column: [] for column in sorted({p.column for p in places})}
        for p in places:
            self.columns[p.column].append(p)
        self.before = {after: before for before, after in pairwise(self.columns)}
        self.layer = self._layers()
        self.gradient_of = self._gradients()
        self.hubs, self.trunk = self._trunk()
        self.slot = self._slots()
        self.rows: list[Row] = []  # from the top
        self.row: dict[Place, Row] = {}
        self.above: dict[Row, Row] = {}  # of rows, those of the gradients
        self._find_rows()
        entered = {(link.source, link.target.column) for link in links if link.target in self.trunk}
        self.hubs = {p for p in self.hubs if (p, p.column) in entered}  # what enters no row hangs, as all else does
        self.rows_of_steps = {row for p, row in self.row.items() if p.column in self.steps}
        self.parent, self.reached = self._hang()
        self.up = self._sides()
        self._leave_exits_free()
        self.branches: dict[tuple[Place, bool], list[Place]] = defaultdict(list)  # what hangs above a place, or below
        for p, parent_of_p in self.parent.items():
            self.branches[parent_of_p, self.up[p]].append(p)
        self.rails, self.taps = self._find_rails()

    # What is where: layer, trunk, slot, row, tree

    def _layers(self) -> dict[Place, int]:
        """Of a node its own, or that of what it was made of; of a leaf that of its first use."""
        layer: dict[Place, int] = {}
        for p in self.places:
            if p.tensor.layer is not None:
                layer[p] = p.tensor.layer
            elif not p.tensor.is_leaf:
                layer[p] = max([layer[link.source] for link in self.into[p] if link.source in layer], default=1)
        self._raise_other_nets(layer)
        for p in self.places:
            if p not in layer:
                layer[p] = min([layer.get(link.target, 1) for link in self.out[p]], default=1)
        return layer

    def _raise_other_nets(self, layer: dict[Place, int]) -> None:
        """Where several nets run over the same steps, as the two of a bidirectional one, each has layers of its own."""
        recurrent: set[Place] = set()  # the states and what they are made of; what reads two nets does not join them
        for p in reversed(self.places):
            if p.carried or any(link.target in recurrent for link in self.out[p]):
                recurrent.add(p)
        net: dict[Place, set[Place]] = {p: {p} for p in layer if p in recurrent and p.column in self.steps}
        for link in self.links:
            p, q = link.source, link.target
            if p in net and q in net and layer[p] == layer[q] and net[p] is not net[q]:
                small, large = sorted((net[p], net[q]), key=len)
                large |= small
                net |= dict.fromkeys(small, large)
        height, taken = max(layer.values(), default=1), defaultdict(set)  # the columns of the nets in a layer
        nets = {id(net[p]): (layer[p], net[p]) for p in self.places if p in net and p.carried}
        for lowest, places in nets.values():
            columns = {p.column for p in places}
            own = next(layer for layer in count(lowest, height) if not taken[layer] & columns)
            taken[own] |= columns
            layer |= dict.fromkeys(places, own)

    def _gradients(self) -> dict[Place, Place]:
        """What a node of a recorded backward graph is the gradient of: dh(t) of h(t)."""
        place = {(p.tensor.name, p.tensor.step, p.tensor.layer, p.column): p for p in self.places}
        made = [p for p in self.places if isinstance(p.tensor.name, GradientName)]
        of = {p: place.get((p.tensor.name.of, p.tensor.step, p.tensor.layer, p.column)) for p in made}
        return {p: q for p, q in of.items() if q is not None}

    def _trunk(self) -> tuple[set[Place], set[Place]]:
        """The hubs: data that several nodes of a column use. The trunk: what a state of the column is made of, and is
        itself made of hubs or of other columns."""
        users = {p: {link.target for link in self.out[p] if link.target.column == p.column} for p in self.places}
        fed: set[Place] = set()
        hubs: set[Place] = set()
        for p in self.places:
            sources = [link.source for link in self.into[p]]
            if any(q.column != p.column or q in fed or q in hubs for q in sources):
                fed.add(p)
            elif len(users[p]) > 1 and p.kind != "parameter" and not p.carried and p.column in self.steps:
                hubs.add(p)
        roles = {p.role for p in fed if p.tensor.name is not None}
        with_state = {p.column for p in self.places if p.carried}
        trunk: set[Place] = set()
        for p in reversed(self.places):
            wanted = p.carried or p.column not in with_state or any(q in trunk for q in users[p])
            ours = p.carried or p is self.places[-1] or (not p.tensor.is_leaf and (p in fed or p.role in roles))
            if wanted and ours and p not in hubs and p not in self.gradient_of:
                trunk.add(p)
        return hubs, trunk

    def _slots(self) -> dict[Place, int]:
        slot: dict[Place, int] = {}
        for p in self.places:
            if p in self.trunk:
                before = [link.source for link in self.into[p] if link.source.column == p.column]
                slot[p] = 1 + max([slot[q] for q in before if q in slot and self.layer[q] == self.layer[p]], default=-1)
        return slot

    def _find_rows(self) -> None:
        """Put every place of the trunk into a row: those of the steps first, which make the rows; then the others."""
        found: dict[tuple, list[Place]] = defaultdict(list)  # the rows of one role
        for column in self.columns:
            if column in self.steps:
                for i, path in enumerate(self._paths(column)):
                    end = path[-1]
                    found[self.layer[end], end.tensor.name or i] += path
        for layer, name in sorted(found, key=lambda key: -key[0]):
            self._new_row(layer, found[layer, name])
        self._mirror()
        for column in self.columns:
            if column not in self.steps:
                for path in self._paths(column):
                    self._join(path, column)
        self._mirror()

    def _mirror(self) -> None:
        """Give the gradients in a recorded backward graph rows of their own: each right above what it is that of."""
        for p, of in self.gradient_of.items():
            if of not in self.row or p in self.row:
                continue
            row = self.row[of]
            if row not in self.above:
                self.above[row] = Row(row.layer)
                self.rows.insert(self.rows.index(row), self.above[row])
            self.row[p], self.slot[p] = self.above[row], self.slot[of]
            self.trunk.add(p)

    def _new_row(self, layer: int, path: Sequence[Place]) -> None:
        self.rows.append(Row(layer))
        self.row |= dict.fromkeys(path, self.rows[-1])

    def _join(self, path: list[Place], column: int) -> None:
        """Continue a row by a path of a column that is no step."""
        beside = [link.source for link in self.into[path[0]]] + [link.target for link in self.out[path[-1]]]
        if path[0].carried:
            beside = [p for p in self.row if (p.role, self.layer[p]) == (path[0].role, self.layer[path[0]])]
        taken = {self.row[p] for p in self.columns[column] if p in self.row}
        for row in (self.row[p] for p in beside if p in self.row):
            if row not in taken:
                self.row |= dict.fromkeys(path, row)
                return
        self._new_row(0, path)

    def _paths(self, column: int) -> list[list[Place]]:
        """The trunk of a column as paths: that to the output first, each after the one that it comes into."""
        trunk = [p for p in self.columns[column] if p in self.trunk]
        free, paths = {p for p in trunk if not p.carried}, []
        for end in sorted(reversed(trunk), key=lambda p: (-self.layer[p], not p.carried, -self.slot[p])):
            if end.carried or end in free:
                path = []
                before = [end]
                while before:
                    path.append(max(before, key=self.slot.__getitem__))
                    free.discard(path[-1])
                    before = [link.source for link in self.into[path[-1]] if not self._carries_on(path[-1])]
                    before = [q for q in before if q in free and self.layer[q] == self.layer[end]]
                paths.append(path[::-1])
        return self._in_order(paths)

    def _in_order(self, paths: list[list[Place]]) -> list[list[Place]]:
        """Paths so that each comes after the one that it enters, with those that enter it in turn after itself."""
        of = {p: path[-1] for path in paths for p in path}
        entering: dict[Place | None, list[tuple]] = defaultdict(list)
        for number, path in enumerate(paths):
            end = path[-1]
            used = next((link for link in self.out[end] if of.get(link.target, end) is not end), None)
            # A state's own row first; then short ones; then as they stand in the expression that they enter.
            where = (-1, number) if used is None else (self.order[used.target], self.into[used.target].index(used))
            into = None if used is None or self.layer[end] != self.layer[used.target] else of[used.target]
            entering[into].append((not end.carried, self.slot[end] if into else 0, *where, path))
        found, waiting = [], sorted(entering[None], reverse=True)
        while waiting:
            found.append(waiting.pop()[-1])
            waiting += sorted(entering[found[-1][-1]], reverse=True)
        return found

    def _carries_on(self, p: Place) -> bool:
        """Whether a state goes on by itself, as c(t-1) does in the making of c(t)."""
        before = [link.source for link in self.into[p] if link.source.column < p.column]
        return p.carried and any(q.role == p.role for q in before)

    def _hang(self) -> tuple[dict[Place, Place], list[Place]]:
        """What each place hangs from; and all places, breadth first, each after what it hangs from."""
        parent: dict[Place, Place] = {}
        reached = dict.fromkeys([p for p in self.places if p in self.trunk or p in self.hubs])
        starts = [[p for p in reached if p not in self.gradient_of], *([p] for p in reached if p in self.gradient_of)]
        for found in chain(starts, ([p] for p in self.places if p not in reached)):
            if found and found[0] not in reached:  # it begins a row
                self._new_row(0, found)
                self.trunk.add(found[0])
                self.slot[found[0]], reached[found[0]] = 0, None
            for p in found:  # which grows
                near = [link.source for link in self.into[p]] + [link.target for link in self.out[p]]
                for q in near:
                    if q not in reached and q.column == p.column:
                        parent[q], reached[q] = p, None
                        found.append(q)
        return parent, list(reached)

    def _sides(self) -> dict[Place, bool]:
        """Whether each place that hangs from another hangs upwards.

        All but parameters do, and those parameters that meet data in one primitive, or go into a gradient above; or
        all, where a lower layer comes in from below. Places of one parameter hang on one side, so that the lane of
        their sum meets nothing else.
        """
        parent, hung = self.parent, [p for p in self.reached if p in self.parent]
        gradients = {p for p in self.row if p in self.gradient_of}
        up = {p for p in hung if p.kind != "parameter"}
        with_data = {link.user for link in self.links if link.source in up}
        up |= {link.source for link in self.links if link.user in with_data and link.source in parent}
        up |= {p for p in hung if any(self.rises(link) for link in self.into[parent[p]])}
        railed = {link.target for p in self.hubs for link in self.out[p]}
        to_gradients = {link.source for p in gradients for link in self.into[p]}
        up |= {p for p in hung if p in to_gradients and parent[p] not in railed and parent[p] not in gradients}
        shared = {p.tensor for p in up if p.kind == "parameter"}
        up |= {p for p in hung if p.tensor in shared}
        for p in reversed(hung):
            if p in up and parent[p] in parent:
                up.add(parent[p])
        side: dict[Place, bool] = {}
        for p in hung:
            side[p] = side[parent[p]] if parent[p] in parent else p in up and parent[p] not in self.hubs
        return side

    def _leave_exits_free(self) -> None:
        """Above what goes on to another column, nothing hangs: what would, hangs beside it."""
        for p in self.reached:
            exits = p not in self.trunk and any(link.target.column != p.column for link in self.out[p])
            if exits and self.parent.get(p) in self.parent:
                hung = [link.source for link in self.into[p] if self.parent.get(link.source) is p]
                self.parent |= dict.fromkeys(hung, self.parent[p])

    def rises(self, link: Link) -> bool:
        """Whether a link goes up from a lower layer, all of whose output enters the next one there."""
        p, q = link.source, link.target
        if p not in self.trunk or q not in self.trunk or p.column != q.column or self.layer[p] >= self.layer[q]:
            return False
        return [other for other in self.out[p] if self.layer[other.target] == self.layer[q]] == [link]

    def gathers(self, link: Link) -> bool:
        """Whether a link brings what was read out of a column to what comes after all columns, such as a loss."""
        p, q = link.source, link.target
        if q not in self.row or p in self.row or p.column == q.column:
            return False
        return self.row[q] not in self.rows_of_steps

    def root(self, p: Place) -> Place:
        """What it hangs from in the end: a place of the trunk, or a hub."""
        while p in self.parent:
            p = self.parent[p]
        return p

    def row_of(self, p: Place) -> Row:
        """The row that a place is in, or hangs from, or enters first."""
        root = self.root(p)
        users = [link.target for link in self.out[root]]
        return self.row[root] if root in self.row else next(self.row[q] for q in users if q in self.row)

    # Rails and taps

    def _find_rails(self) -> tuple[dict[int, list[Place]], dict[Link, int]]:
        """Per column what enters it by a rail; and per link of a rail, how it comes in: level (0), or above."""
        rails: dict[int, list[Place]] = {column: [] for column in self.columns}
        taps: dict[Link, int] = {}
        above: dict[Place, int] = defaultdict(int)  # how many come in so
        straight = [link for link in self.links if link.source in self.row and not self._railed(link)]
        taken = {link.target for link in straight if link.target in self.trunk}  # something enters these level
        for link in sorted(filter(self._railed, self.links), key=lambda link: link.source in self.hubs):
            column, target = link.target.column, link.target
            if link.source not in rails[column]:
                rails[column].append(link.source)
            row, slot = self.row[target], self.slot[target]
            first = not any(self.row.get(q) is row and self.slot[q] < slot for q in self.columns[column])
            level = first and target not in taken and target not in above
            above[target] += not level
            taps[link] = above[target]
        return rails, taps

    def _railed(self, link: Link) -> bool:
        p, q = link.source, link.target
        if q not in self.trunk:
            return False
        if p in self.hubs:
            return True
        if p not in self.row or self.row[p] is self.row[q]:
            return False
        if p.column == q.column:
            return self.layer[p] < self.layer[q] and not self.rises(link)
        return q.column in self.steps and self.before.get(q.column) == p.column
