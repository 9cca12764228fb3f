"""Equations of a drawn graph, in letters and in numbers: how a node is made, and what goes back along a link.

The derivatives stand on the side of the gradient that they belong on: a matrix on the left, ᵗU dh, a vector on the
right, dh ᵗx, and what works on each element beside it, dh ⊙ f′(ĥ).

Equations are markup. Numbers are text in which ⟦n3⟧ stands for the value of a node, ⟦∂n3⟧ for its gradient as it is by
then, ⟦1,2;3,4⟧ for a matrix of its own, and a ᵗ at the front for its transpose, so that no array is in the page twice.
"""

import copy
import math
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from tinygrad_rnn.backward import passed_back
from tinygrad_rnn.draw.grid import Link, Place
from tinygrad_rnn.draw.labels import Labels
from tinygrad_rnn.draw.unfolding import Unfolded
from tinygrad_rnn.folding import Path
from tinygrad_rnn.notation import ATOM, BESIDE, ONE, PRODUCT, SUM, Writer, Written, is_matrix_product, is_number, summed
from tinygrad_rnn.tensor import Tensor

IN_FULL = 24  # elements of an array that are written into an equation
DEEPEST = 24  # expressions of unnamed nodes are written out this many primitives deep,
LONGEST = 40  # if they have no more operands than this
TOO_LONG = 120  # characters of what a gradient is: a derivative in it is then written as ∂a/∂b
ROWS = "The same for every row of the batch."
ADDED = "The same for every row of the batch; Σ adds the rows up."


class _Letters(Writer):
    """Writes expressions in full, for a page has the room, and ⊙ between factors that are multiplied by element."""

    after_number = " "

    def __init__(self, writer: Writer):
        self.__dict__.update(writer.__dict__)
        self.setting = copy.copy(writer.setting)
        self.setting.beside = " ⊙ "

    def expression(self, node: Tensor) -> str:
        return self._made(node, DEEPEST).text if self._length(node) <= LONGEST else super().expression(node)

    def _length(self, node: Tensor) -> int:
        """How many operands an expression has when it is written out."""
        inside = sorted(_unwritten(node, lambda x: x.is_leaf or self.notation.writes(x)), key=lambda x: x.born)
        lengths: dict[Tensor, int] = {}
        for x in inside:
            lengths[x] = sum(lengths.get(operand, 1) for operand in x.inputs)
        return lengths[node]

    def product(self, path: Path) -> Written | None:
        written = super().product(path)
        return written and written._replace(text=re.sub(r"^(−?[\d.½]+) ⊙ ", rf"\1{self.after_number}", written.text))


class _Numbers(_Letters):
    """Writes a variable as its numbers."""

    after_number = " · "

    def __init__(self, unfolded: Unfolded):
        super().__init__(unfolded.markup)
        self.values = unfolded.values
        self.ids = {p.tensor: p.id for p in unfolded.places if p.kind != "elided"}
        template = self.setting.template
        self.setting.template = lambda text: template(re.sub(r"((?<=[xy]\})|(?<=\d)) (?=\{[xy]\})", " · ", text))

    def expression(self, node: Tensor) -> str:
        return _dotted(super().expression(node))

    def total(self, paths: Sequence[Path]) -> Written | None:
        written = super().total(paths)
        return written and written._replace(text=_dotted(written.text))

    def shown(self, array: np.ndarray, id: str = "") -> Written:
        """An array by the id of what the page has it of, or in full; a single number bare."""
        if array.size == 1:
            return _bare(array.item())
        if id:
            return Written(f"⟦{id}⟧", ATOM)
        if array.size > IN_FULL or array.ndim > 2:
            return Written(f"[{'×'.join(map(str, array.shape))}]", ATOM)
        rows = array if array.ndim == 2 else array[:, None]
        text = ";".join(",".join(f"{x:.4g}" for x in row) for row in rows)
        return Written(f"⟦{text.replace('inf', 'Infinity')}⟧", ATOM)

    def transposed(self, x: Tensor) -> Written:
        array = self.values[x]
        if array.size == 1 or x in self.ids:
            return self.shown(array, f"ᵗ{self.ids.get(x)}")
        return self.shown(array.T if array.ndim == 2 else array[None, :])

    def _leaf(self, x: Tensor) -> Written:
        nameless = not self.notation.writes(x) and (is_number(x) or not x.is_leaf)
        return super()._leaf(x) if nameless else self.shown(self.values[x], self.ids.get(x, ""))


class _Passed(NamedTuple):
    """What becomes of a gradient on its way back: as it is written, in letters and in numbers, and its value."""

    letters: Written
    numbers: Written
    value: np.ndarray

    def times(self, factor: "_Passed", sign: str, binds: int, left: bool = False) -> "_Passed":
        """The product with a factor, on the right or on the left, whose value is that of the product."""
        pairs = [(d, g) if left else (g, d) for g, d in zip(self[:2], factor[:2], strict=True)]
        written = (Written(f"{a.within(binds)}{sign}{b.within(binds)}", binds) for a, b in pairs)
        return _Passed(*written, factor.value)


class Equations:
    """The equations of one unfolded graph."""

    def __init__(self, unfolded: Unfolded):
        self.unfolded, self.output = unfolded, unfolded.places[-1]
        self.labels = Labels(unfolded, unfolded.markup)
        self.letters, self.numbers = _Letters(unfolded.markup), _Numbers(unfolded)
        self.ends = {p.tensor for p in unfolded.places} | set(filter(unfolded.is_hidden, unfolded.columns))

    def forward(self, p: Place) -> dict[str, str]:
        """How a node is made; with its numbers, or a note where these would make no true equation."""
        name, written = self.labels.name(p), self.letters.expression(p.tensor)
        found = {"equation": f"{name} = {written}" if self.letters.notation.writes(p.tensor) else written}
        inside = _unwritten(p.tensor, lambda x: x in self.ends or x.is_leaf)
        if any(_of_rows(x) for x in inside):
            return found | {"note": ROWS}
        return found if any(_of_a_row(x) for x in inside) else found | {"numbers": self.numbers.expression(p.tensor)}

    def gradient(self, p: Place) -> str:
        """How the gradient of a node is written: dh⁽²⁾; d(+) where a node has no name."""
        if p is self.output:
            return self.labels.partial(p)
        if p.kind == "operation":
            return self.labels.setting.template("d") + self._name(p.tensor)
        return self.labels.label(p, gradient=True).split("<BR/>")[0]

    def backward(self, link: Link, g: np.ndarray) -> tuple[str, dict[str, str]]:
        """What a link passes back, and in numbers; where the local derivative has no short form, as ∂a/∂b."""
        x, p = used(link), link.target
        if p.kind == "elided":
            return "⋯", {}
        paths = None if link.paths is None else link.paths[::-1]
        if paths is None or any(self.letters.product(path) is None for path in paths):
            return self._partial(x, p), {}
        letters = ONE if p is self.output else Written(self.gradient(p), ATOM)
        start = _Passed(letters, self.numbers.shown(g, f"∂{p.id}"), g)
        if any(is_matrix_product(*hop) for path in paths for hop in path):
            ways = [self._along(start, path) for path in paths]
        else:
            ways = [self._by_element(start, paths)]
        added = [summed(*path[-1]) for path in paths]
        if None in ways or any(added) != all(added):
            return self._partial(x, p), {}
        written, numbers = (" + ".join(way[i].text for way in ways).replace(" + −", " − ") for i in (0, 1))
        if len(re.sub("<[^>]*>", "", written)) > TOO_LONG:
            return self._partial(x, p), {}
        nodes = [node for path in paths for node, _ in path]
        rows = any(map(_of_rows, nodes))
        if all(added):
            written = f"Σ ({written})" if len(ways) > 1 or ways[0].letters.binds == SUM else f"Σ {written}"
            return written, {"note": ADDED} if rows or x.ndim else {}
        return written, {"note": ROWS} if rows else {} if any(map(_of_a_row, nodes)) else {"numbers": numbers}

    def _name(self, x: Tensor) -> str:
        """A variable, or the operation in parentheses where there is none."""
        return self.labels.variable(x) or f"({self.labels.operation(x)})"

    def _partial(self, x: Tensor, p: Place) -> str:
        """A gradient times a local derivative that is not written out."""
        derivative = self.labels.setting.derivative(self._name(p.tensor), self._name(x), False)
        if p is self.output:
            return derivative
        gradient = self.gradient(p)
        return f"{gradient} · {derivative}" if p.tensor.size == 1 else f"<SUP>t</SUP>({derivative}) {gradient}"

    def _along(self, g: _Passed, path: Path) -> _Passed | None:
        """The chain rule along one path: ᵗU dh for a matrix U, dh ᵗx for a vector x, all else by element."""
        run: list = []
        for node, i in path:
            if not is_matrix_product(node, i):
                run.append((node, i))
                continue
            if run and (g := self._by_element(g, [run])) is None:
                return None
            run = []
            other, left = node.inputs[i ^ 1], i % 2 == 1  # the factors stand in pairs, the matrix first
            if node.primitive.name == "outer":
                if left:
                    return None
                numbers = self.numbers.shown(self.numbers.values[other], self.numbers.ids.get(other, ""))
            else:
                numbers = self.numbers.transposed(other)
            factor = _Passed(self.letters.product([(node, i)]), numbers, passed_back(node, i, g.value))
            g = factor if g.letters == ONE else g.times(factor, " ", BESIDE, left)
        return self._by_element(g, [run]) if run else g

    def _by_element(self, g: _Passed, paths: Sequence[Path]) -> _Passed | None:
        """A gradient times the derivatives of functions that work on each element; None if one number becomes many."""
        local, value = 0.0, 0.0
        for path in paths:
            ones, passed = np.ones(path[0][0].shape), g.value
            for hop in path[:-1]:
                ones = passed_back(*hop, ones)
            for hop in path:
                passed = passed_back(*hop, passed)
            node, i = path[-1]  # what the rule itself gives: not added up where an input was broadcast
            local, value = local + node.primitive.vjps[i](ones, node.value, *node.arguments), value + passed
        letters, numbers = self.letters.total(paths), self.numbers.shown(local)
        if local.size > g.value.size and np.ptp(local) == 0:
            return None
        if letters == ONE:
            return g._replace(value=value)
        if local.size == 1:
            letters = letters._replace(text=letters.text.replace(" ⊙ ", " · "))
        if g.letters == ONE:
            return _Passed(letters, self.numbers.total(paths), value)
        if letters.text == "−1":
            signed = (Written(f"−{text.within(PRODUCT)}", SUM) for text in g[:2])
            return _Passed(*signed, value)
        by_number = 1 in (local.size, g.value.size) or re.fullmatch(r"−?[\d.½]+", letters.text)
        return g.times(_Passed(letters, numbers, value), " · " if by_number else " ⊙ ", PRODUCT)


def used(link: Link) -> Tensor:
    """The Tensor a link reads; for a column of dots, the hidden state it stands for."""
    if link.source.kind != "elided" or link.target.kind == "elided":
        return link.source.tensor
    return next(x for x in link.user.inputs if (x.name, x.layer) == link.source.role)


def _of_rows(node: Tensor) -> bool:
    """Whether a product of matrices takes each row of a batch as a vector, or each matrix of several."""
    primitive = "" if node.primitive is None else node.primitive.name
    return (primitive in ("linear", "affine") and node.ndim > 1) or (primitive in ("matmul", "outer") and node.ndim > 2)


def _of_a_row(node: Tensor) -> bool:
    """Whether a vector stands on the left of a product: as a row, but the numbers of a vector are a column."""
    return node.primitive is not None and node.primitive.name == "matmul" and node.inputs[0].ndim == 1


def _unwritten(node: Tensor, ends: Callable[[Tensor], bool]) -> list[Tensor]:
    """A node and what lies between it and the operands of its expression."""
    nodes, known = [node], {node}
    for node in nodes:  # which grows
        nodes += [x for x in dict.fromkeys(node.inputs) if x not in known and not ends(x)]
        known.update(node.inputs)
    return nodes


def _dotted(text: str) -> str:
    """Numbers in which no arrays stand, with dots between them."""
    return text if "⟦" in text else text.replace(" ⊙ ", " · ")


def _bare(x: float) -> Written:
    """A number; in parentheses where a sign or a power of ten would be misread."""
    digits, _, power = f"{x:.2e}".partition("e")
    if not (math.isfinite(x) and x and not 1e-4 <= abs(x) < 1e6):
        return Written(f"{x:.4g}".replace("-", "−"), SUM if x < 0 else ATOM)
    raised = f"{int(power)}".translate(str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻"))
    return Written(f"{float(digits):g}×10{raised}".replace("-", "−"), SUM if x < 0 else PRODUCT)
