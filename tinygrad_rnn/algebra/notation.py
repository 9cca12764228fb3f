"""Notations: the letters for what a recorded graph holds, and the place of the time step.

- `Notation`: letters, the place of steps, the order of products; `NOTATIONS` holds those of the texts.
- `Names`: the names of the nodes of one graph, with their steps; where two are written alike, they are told apart.
"""

import functools
import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tinygrad_rnn import checks
from tinygrad_rnn.algebra.typesetting import ACCENTS, GREEK
from tinygrad_rnn.tensor import GradientName, Tensor

_LONGEST_NAME = 24
_EVERY = "every"  # the step of what is written with those of its uses
_NAME = re.compile(r"(?P<base>[^_^]+)(?:_(?P<below>\{[^{}]*\}|[^_^{}]+))?(?:\^(?P<above>\{[^{}]*\}|[^_^{}]+))?")


class Letter(str):
    """A name that a net gives by itself, which a notation may write as another letter; one that a user gives stays."""

    __slots__ = ()


OUTPUT = Letter("L")  # what an output without a name is called


@dataclass(frozen=True)
class Notation:
    """The letters of a text, and the place of the time step beside them.

    Attributes:
        letters: what is written for the letters of the nets, which are those of interdb; for `"W"` in `"W_i"` too. A
            variable whose letter is None is not written at all, as ĥ in the texts that have only h = f(...). What goes
            into a softmax is `"logits"`, and written as y is if there is no letter for it. Where one letter is that of
            two variables, as o for y beside an output gate o, `Names` tells them apart.
        step: "above", in parentheses, h⁽ᵗ⁾; or "below", s_t. A layer of a stacked net stands in the other place.
        order: "matrix", in which every product is right as one of matrices, gradients being columns: ᵗU (f′(ĥ) ⊙ dh);
            or "reading", that of eq. 7.6 of interdb, dh f′(ĥ) ᵗU: as the gradient meets them, from left to right.
        transpose: "before", ᵗU; or "after", Uᵀ.

    >>> mine = tg.draw.Notation({"h": "a", "W": "W_{ax}", "U": "W_{aa}"}, step="below")
    >>> loss = tg.nn.RNN(1, 2, rng=0)(np.ones((1, 1)))[0][-1].sum()
    >>> [node.label for node in tg.draw.forward(loss, notation=mine).nodes if node.kind == "state"]
    ['a₀', 'a₁']
    """

    letters: Mapping[str, str | None] = field(default_factory=dict)
    step: str = "above"
    order: str = "matrix"
    transpose: str = "before"

    def __post_init__(self) -> None:
        for name, known in {"step": "above below", "order": "matrix reading", "transpose": "before after"}.items():
            checks.one_of("Notation", name, getattr(self, name), known.split())
        is_dict = isinstance(self.letters, Mapping) and all(isinstance(x, str | None) for x in self.letters.values())
        if not is_dict or not all(isinstance(x, str) for x in self.letters):
            raise TypeError(f"Notation(letters={self.letters!r}): a dict of strings, or None for what is not written")

    def writes(self, tensor: Tensor) -> bool:
        """True for a Tensor with a name that this notation has a letter for."""
        name = tensor.name
        while isinstance(name, GradientName):
            name = name.of
        return name is not None and (type(name) is not Letter or self.letters.get(_split(name)[0], "") is not None)

    def parts(self, name: str, step: float | str | None, layer: int | None) -> tuple[str, str, str]:
        """A name with its indices: its base, what stands below it, and what stands above it."""
        if isinstance(name, GradientName):
            base, below, above = self.parts(name.of, step, layer)
            return f"d{base}", below, above
        base, below, above = _split(name if type(name) is Letter else _printable(name))
        if type(name) is Letter:
            of = "y" if base == "logits" and base not in self.letters else base
            base, of_letter, above = _split(self.letters.get(of) or of)
            first, comma, more = below.partition(",")  # a gate and the name of its net, or one of these
            joint = "," if of_letter and len(first) > 1 else ""
            below = f"{of_letter}{joint}{self.letters.get(first) or first}{comma}{more}"
        inside, raised = (layer, step) if self.step == "above" else (step, layer)
        below = ",".join([part for part in (below, "" if inside is None else str(inside)) if part])
        return base, below, ",".join([part for part in (above, "" if raised is None else f"({raised})") if part])


NOTATIONS = {
    "interdb": Notation(),
    "wildml": Notation({"W": "U", "U": "W", "y": "ŷ", "Y": "y", "L": "E", "ĥ": None, "logits": "z", "z": "u", "ẑ": "û"},
                       step="below"),
    "state": Notation({"W": "W_x", "U": "W_s", "V": "W_y", "h": "s", "Y": "d", "L": "E", "ĥ": None}, step="below"),
}  # fmt: skip


class Names:
    """The names of the nodes of a graph, with their time steps.

    Where several nodes are written alike, at one step and in one layer, as those of two nets over the same steps, they
    are told apart: h, h′, h″. A nameless array is a letter that no variable has, and a nameless output is L.

    Args:
        nodes: of the graph, in topological order. outputs: the last of them, if not given.
        notation: whose letters: a `Notation`, or the name of one of `NOTATIONS`.

    Attributes:
        layers: the layer that each node is written with, where there are several.
        columns, time_steps: of the graph, as `columns_of` has them.
        steps: the time step that each node is written with, for those that have one.
    """

    def __init__(self, nodes: list[Tensor], outputs: Collection[Tensor] = (), notation: str | Notation = "interdb"):
        if not isinstance(notation, Notation):
            notation = NOTATIONS[checks.one_of("", "notation", notation, NOTATIONS)]
        self.nodes, self.notation, outputs = nodes, notation, set(outputs or nodes[-1:])
        several = len({n.layer for n in nodes} - {None}) > 1
        self.layers = {n: n.layer for n in nodes if several}
        self.columns, self.time_steps, self.steps = columns_of(nodes)
        self.primes: dict[int | None, int] = {}  # by the number that a node was born with
        named: dict[tuple, list[Tensor]] = {}
        for x in nodes:
            cut = x.is_leaf and x.is_cut  # which is what it was cut off from, and needs no name of its own
            written = self.notation.writes(x)
            if not isinstance(x.name, GradientName) and not cut and (written or x in outputs):
                name = x.name if written else OUTPUT
                named.setdefault(self.notation.parts(name, None, self.layers.get(x)), []).append(x)
        for alike in named.values():
            steps = {x: _EVERY if is_parameter(x) else x.name and self.steps.get(x) for x in alike}
            if len(set(steps.values())) < len(alike) or (_EVERY in steps.values() and len(alike) > 1):
                self._tell_apart(steps)
        used = {base for base, _, _ in named}
        arrays = [x for x in nodes if x.is_leaf and x.name is None and x.size > 1]
        self.letters = dict(zip(arrays, _letters(arrays, used), strict=False))

    def _tell_apart(self, steps: Mapping[Tensor, Any]) -> None:
        """Nodes that are written alike, in rows: those of two names, and what is of every step, in rows of their own.

        The row that begins first has no primes.
        """
        groups: dict[tuple[str, bool], dict[Tensor, Any]] = defaultdict(dict)
        for x, step in steps.items():
            groups[x.name or OUTPUT, step is _EVERY][x] = step
        rows = [row for group in groups.values() for row in self._rows(group)]
        rows.sort(key=lambda row: (_EVERY in row, min(x.born for x in row.values())))
        self.primes |= {x.born: i for i, row in enumerate(rows) for x in row.values()}

    def _rows(self, steps: Mapping[Tensor, Any]) -> list[dict[Any, Tensor]]:
        """Nodes of one name in rows, by their steps, each of which is once in a row.

        A chain is of nodes that are made of each other, and stays together: a state stands with the next one.
        """
        chain_of: dict[Tensor, dict[Any, Tensor]] = {}
        rows: list[dict[Any, Tensor]] = []
        # Users first, and leaves last, in their order: an initial state before a detached copy of it
        for x in sorted(self.nodes[::-1], key=lambda x: x.born + 1 if x.is_leaf else 0):
            if x in steps:
                if x not in chain_of or steps[x] in chain_of[x]:
                    chain_of[x] = {}
                chain_of[x][steps[x]] = x
            for y in x.inputs if x in chain_of else ():
                chain_of.setdefault(y, chain_of[x])
        for chain in {id(chain_of[x]): chain_of[x] for x in steps}.values():
            row = next(row for row in [*rows, {}] if row.keys().isdisjoint(chain))
            if not row:
                rows.append(row)
            row |= chain
        return rows

    def prime(self, x: Tensor) -> str:
        """The primes behind the name of a node."""
        of = x.name.born if isinstance(x.name, GradientName) else x.born
        count = self.primes.get(of, 0)
        return "′" * count if count < 4 else f"′{count}"


def _letters(arrays: Iterable[Tensor], used: set[str]) -> Iterable[str]:
    """A letter for each array: a capital one for a matrix."""
    taken = Counter(used)
    for x in arrays:
        known = "ABCDEGHJKMNPQRST" if x.ndim > 1 else "abcdegpqrsuvwz"
        letter = min(known, key=lambda c: (taken[c], known.index(c)))
        taken[letter] += 1
        yield letter if taken[letter] == 1 else f"{letter}_{taken[letter]}"


@functools.lru_cache(4096)
def _split(name: str) -> tuple[str, str, str]:
    r"""A name as people write it, W_{xh}^{(1)}, $W$ or \alpha: its base, and what stands below and above it."""
    name = re.sub(r"\\(\w+)\{(\w)\}", lambda m: m[2] + ACCENTS.get(m[1], ""), name.strip("$") or name)
    name = re.sub(r"\\([A-Za-z]+)", lambda m: GREEK.get(m[1], m[0]), name)
    match = _NAME.fullmatch(name)
    base, below, above = match.group("base", "below", "above") if match else (*name.partition("_")[::2], "")
    if not base or name.endswith("_"):
        return name, "", ""
    return unicodedata.normalize("NFC", base), (below or "").strip("{}"), (above or "").strip("{}")


def _printable(name: str) -> str:
    """A name on one line, without control characters, and no longer than can be drawn."""
    name = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(name.split()))
    name = unicodedata.normalize("NFC", name)
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"


def is_number(x: Tensor) -> bool:
    """True for a bare number in its user's expression: a nameless scalar constant."""
    return x.name is None and x.is_leaf and not x.requires_grad and x.size == 1


# The columns of a graph, one for each time step and those before and after them. Where a node stands and which step its
# name is written with are one question: y is y(t) where it stands in step t.

Columns = dict[Tensor, float | None]


def columns_of(order: list[Tensor]) -> tuple[Columns, list[int], dict[Tensor, Any]]:
    """The column of every Tensor (None: that of whichever node uses it), the columns that are time steps, and the step
    that each is written with.

    A leaf stands where it is used, but for a state, h(0), which stands before its first use: in a column of its own,
    halfway, if the step that it is of is drawn as well, and its past is cut off.

    A node is written with its own step, or with that of the only column it stands in. An input that stands in several,
    and is the only one of its name, needs none; nor does a parameter, which is written with the step of each use.
    """
    for x in order:  # whose attributes anybody may have set
        if x.name is not None:
            checks.name(x.name)
        if x.step is not None:
            checks.step(x.name or "a Tensor", x.step)
    steps = sorted({n.step for n in order if n.step is not None and not n.is_leaf})
    column: Columns = {n: None if n.is_leaf else n.step for n in order}
    _pull_to_use(order, column)
    _read_out(order, column, *((steps[0], steps[-1] + 1) if steps else (0, 0)))
    users: dict[Tensor, set[float | None]] = defaultdict(set)  # the columns of the nodes that use each Tensor
    for node in order:
        for x in node.inputs:
            users[x].add(column[node])
    made = {(n.name, n.layer) for n in order if not n.is_leaf}
    called = Counter(x.name for x in order)
    written: dict[Tensor, float] = {}
    for x in order:
        state = x.is_leaf and x.step is not None and (x.is_cut or (x.name, x.layer) in made)
        first = min(users[x], default=None) if None not in users[x] else None
        if state and first in steps and x.step < first:
            column[x] = first - 0.5 if x.step in steps else x.step
        standing = {column[x]} if column[x] is not None else users[x]
        if x.step is not None and (len(standing) == 1 or called[x.name] > 1):
            written[x] = x.step
        elif len(standing) == 1 and standing <= set(steps) and not is_parameter(x):
            (written[x],) = standing
    return column, steps, written


def steps_of(order: Sequence[Any]) -> dict[Any, Any]:
    """The time step of every node: its own; or that of the first step it goes into; or the latest it was made of."""
    step = {node: node.step for node in order}
    for node in reversed(order):
        if step[node] is not None:
            for x in node.inputs:
                if x.step is None:
                    step[x] = step[node] if step[x] is None else min(step[x], step[node])
    for node in order:
        if step[node] is None:
            step[node] = max((step[x] for x in node.inputs if step[x] is not None), default=None)
    return step


def is_parameter(x: Tensor) -> bool:
    """True if a Tensor is a parameter: a leaf that requires a gradient, and is of no time step."""
    return x.is_leaf and x.requires_grad and x.step is None


def _pull_to_use(order: list[Tensor], column: Columns) -> None:
    """Put a nameless node into the step that it is made for, or the first of them if nothing in it is later than that.

    So is a variable put that is made of several earlier steps, as what attention finds. But one that was read out of an
    earlier step, y(t-1), stands in that one's.
    """
    made_of = _made_of(order, column)
    made_for: dict[Tensor, set[float]] = defaultdict(set)
    for node in reversed(order):
        steps = made_for[node]
        if column[node] is None and not node.is_leaf and steps:
            earliest, latest = made_of.get(node, (math.inf, -math.inf))
            nameless = node.name is None and (len(steps) == 1 or latest <= min(steps))
            if nameless or latest == -math.inf or earliest < latest < min(steps):
                column[node] = min(steps)
        if column[node] is not None:
            for x in node.inputs:
                made_for[x].add(column[node])


def _read_out(order: list[Tensor], column: Columns, first: float, behind: float) -> None:
    """Put readouts, y(t) and L(t), into the columns of the states that they come from, where several are read out.

    Where only one step is read out, or a node comes from several, it stands in a last column, behind them.
    """
    came_from = _made_of(order, column)
    read_out = {lo for n, (lo, hi) in came_from.items() if column[n] is None and lo == hi}
    for node in order:
        if column[node] is None and not node.is_leaf:
            lo, hi = came_from.get(node, (first, behind))
            column[node] = lo if lo == hi and len(read_out) > 1 else behind


def _made_of(order: list[Tensor], column: Columns) -> dict[Tensor, tuple[float, float]]:
    """The first and the last column that a node is made of: its own if it has one."""
    spans: dict[Tensor, tuple[float, float]] = {}
    for node in order:
        found = [spans[x] for x in node.inputs if x in spans] if column[node] is None else [(column[node],) * 2]
        if found:
            spans[node] = min(lo for lo, _ in found), max(hi for _, hi in found)
    return spans
