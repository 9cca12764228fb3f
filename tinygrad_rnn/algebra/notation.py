"""Notations: the letters for what a recorded graph holds, and the place of the time step.

- `Notation`: letters, the place of steps, the order of products; `NOTATIONS` holds those of the texts.
- `Names`: the names of the nodes of one graph; where two have one name, they are told apart.
"""

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tinygrad_rnn import checks
from tinygrad_rnn.algebra.columns import columns_of, is_parameter
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

    @staticmethod
    def named(notation: "str | Notation") -> "Notation":
        """A notation itself, or that of `NOTATIONS` with this name.

        Raises:
            ValueError: an unknown name.
        """
        if isinstance(notation, Notation):
            return notation
        return NOTATIONS[checks.one_of("", "notation", notation, NOTATIONS)]

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
        nodes: of the graph, in topological order. outputs: the last of them, if not given. notation: whose letters.

    Attributes:
        layers: the layer that each node is written with, where there are several.
        columns, time_steps: of the graph, as `columns_of` has them.
        steps: the time step that each node is written with, for those that have one.
    """

    def __init__(self, nodes: list[Tensor], outputs: Collection[Tensor] = (), notation: str | Notation = "interdb"):
        self.nodes, self.notation, outputs = nodes, Notation.named(notation), set(outputs or nodes[-1:])
        several = len({n.layer for n in nodes} - {None}) > 1
        self.layers = {n: n.layer for n in nodes if several}
        self.columns, self.time_steps, steps = columns_of(nodes)
        self.steps: dict[Tensor, Any] = steps
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
        """Nodes of one name in rows, each step once in a row: a node with the last one that is made of it.

        The row that begins first has no primes. What is written with the steps of its uses has a row for itself.
        """
        rows: list[dict[Any, Tensor]] = []  # by step
        row_of: dict[Tensor, int] = {}
        leaves = [x for x in self.nodes if x.is_leaf]  # in their order: an initial state before a detached copy of it
        nodes = [*(x for x in reversed(self.nodes) if not x.is_leaf), *leaves]
        for x in sorted(nodes, key=lambda x: steps.get(x) is _EVERY):
            if x in steps:
                full = {steps[x], _EVERY} if steps[x] is not _EVERY else set(steps.values())
                free = [i for i, row in enumerate([*rows, {}]) if full.isdisjoint(row)]
                row_of[x] = row_of[x] if row_of.get(x) in free else free[0]
                if row_of[x] == len(rows):
                    rows.append({})
                rows[row_of[x]][steps[x]] = x
            for y in x.inputs if x in row_of else ():
                row_of[y] = min(row_of[x], row_of.get(y, len(rows)))
        rows.sort(key=lambda row: (_EVERY in row, min(x.born for x in row.values())))
        self.primes |= {x.born: i for i, row in enumerate(rows) for x in row.values()}

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
