"""Equations of a drawn graph, in letters and in numbers: how a node is made, and what goes back along a link.

They are right as equations of matrices, gradients being columns: ᵗU dh, dh ᵗx, f′(ĥ) ⊙ dh.

Equations are markup. Numbers are text in which ⟦n3⟧ stands for the value of a node, ⟦∂n3⟧ for its gradient as it is by
then, ⟦1,2;3,4⟧ for a matrix of its own, and a ᵗ at the front for its transpose, so that no array is in the page twice.
"""

import math
import re
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from tinygrad_rnn.algebra import formulas
from tinygrad_rnn.algebra.formulas import Hop, Path, is_product
from tinygrad_rnn.algebra.trees import Tree, Unwritten, factors, gradient, matrix, number, plus, times, transposed
from tinygrad_rnn.algebra.typesetting import MARKUP, PLAIN
from tinygrad_rnn.algebra.variables import inside
from tinygrad_rnn.algebra.writer import ATOM, PRODUCT, SUM, Writer
from tinygrad_rnn.backward import passed_back
from tinygrad_rnn.draw.grid import Link, Place
from tinygrad_rnn.draw.labels import Labels
from tinygrad_rnn.draw.unfolding import Unfolded
from tinygrad_rnn.tensor import Tensor

IN_FULL = 24  # elements of an array that are written into an equation
DEEPEST = 24  # expressions of unnamed nodes are written out this many primitives deep,
LONGEST = 40  # if they have no more operands than this
TOO_LONG = 120  # characters of what a gradient is: a derivative in it is then written as ∂a/∂b
ROWS = "The same for every row of the batch."
ADDED = "The same for every row of the batch; Σ adds the rows up."


class _Letters(Writer):
    """Writes the gradient of a node as the figure does; expressions in full, for a page has the room."""

    def __init__(self, *of: Any, gradient: Callable[[Tensor], str], **how: Any):
        super().__init__(*of, **how)
        self.gradient = gradient

    def expression(self, node: Tensor, depth: int = DEEPEST) -> str:
        return super().expression(node, depth if self._length(node) <= LONGEST else formulas.DEEPEST)

    def _length(self, node: Tensor) -> int:
        """The number of operands of an expression that is written out."""
        nodes = inside(node, lambda x: x.is_leaf or self.notation.writes(x))
        lengths: dict[Tensor, int] = {}
        for x in sorted(nodes, key=lambda x: x.born):
            lengths[x] = sum(lengths.get(operand, 1) for operand in x.inputs)
        return lengths[node]

    def _gradient(self, t: Tree) -> str:
        return self.gradient(t.of)


class _Numbers(_Letters):
    """Writes a variable as its numbers, and an array of its own as these."""

    def __init__(self, *of: Any, values: Any, ids: Any, **how: Any):
        super().__init__(*of, gradient=str, **how)
        self.values, self.ids, self.beside = values, ids, " · "

    def shown(self, x: Tensor) -> Tree:
        """The value of a node as a tree, by the id of what the page has it of."""
        return of_array(self.values[x], self.ids.get(x, ""))

    def is_array(self, t: Tree) -> bool:
        return math.prod(t.shape) != 1 and not t.is_number()

    def binds(self, t: Tree) -> int:
        t = self.shown(t.of) if t.head == "symbol" else t
        return _bare(t.of[0].item())[1] if t.head == "array" and t.of[0].size == 1 else super().binds(t)

    def _symbol(self, t: Tree) -> str:
        return self._array(self.shown(t.of))

    def _array(self, t: Tree) -> str:
        """A single number bare; others by their id, in full, or if they are large by their shape."""
        array, id = t.of
        if array.size == 1:
            return _bare(array.item())[0]
        if id:
            return f"⟦{id}⟧"
        if array.size > IN_FULL or array.ndim > 2:
            return f"[{'×'.join(map(str, array.shape))}]"
        rows = array if array.ndim == 2 else array[:, None]
        text = ";".join(",".join(f"{x:.4g}" for x in row) for row in rows)
        return f"⟦{text.replace('inf', 'Infinity')}⟧"

    def _transposed(self, t: Tree) -> str:
        part = self.shown(t.parts[0].of) if t.parts[0].head == "symbol" else t.parts[0]
        if part.head != "array" or part.of[0].size == 1:
            return super()._transposed(t)
        array, id = part.of
        return self._array(of_array(array[None, :] if array.ndim == 1 else array.T, id and f"ᵗ{id}"))


def of_array(array: np.ndarray, id: str = "", comes_back: bool = False) -> Tree:
    """An array as a tree, with the id of what the page has it of."""
    return Tree("array", of=(array, id), shape=array.shape, comes_back=comes_back)


class Equations:
    """The equations of one unfolded graph."""

    def __init__(self, unfolded: Unfolded):
        self.unfolded = unfolded
        self.labels = Labels(unfolded, MARKUP)
        self.drawn = {p.tensor: p for p in unfolded.places if p.kind != "elided"}
        ids = {x: p.id for x, p in self.drawn.items()}
        of = unfolded.names, unfolded.notation, MARKUP, True
        self.letters = _Letters(*of, gradient=lambda x: self.gradient(self.drawn[x]))
        self.numbers = _Numbers(*of, values=unfolded.values, ids=ids)
        self.ends = {p.tensor for p in unfolded.places} | set(filter(unfolded.is_hidden, unfolded.columns))

    def forward(self, p: Place) -> dict[str, str]:
        """The equation of a node; with its numbers, or a note where these would make no true equation."""
        name, written = self.labels.name(p), self.letters.expression(p.tensor)
        found = {"equation": f"{name} = {written}" if self.letters.notation.writes(p.tensor) else written}
        if any(map(_of_rows, inside(p.tensor, lambda x: x in self.ends or x.is_leaf))):
            return found | {"note": ROWS}
        return found | {"numbers": self.numbers.expression(p.tensor)}

    def gradient(self, p: Place) -> str:
        """The gradient of a node as it is written: dh⁽²⁾; d(+) where the node has no name."""
        if p in self.labels.bare:
            return self.labels.partial(p)
        if p.kind == "operation":
            return self.labels.setting.word("d") + self._name(p.tensor)
        return self.labels.label(p, gradient=True).split("<BR/>")[0]

    def backward(self, link: Link, g: np.ndarray) -> tuple[str, dict[str, str]]:
        """The gradient that a link passes back, in letters and numbers; as ∂a/∂b where it has no short form."""
        x, p = used(self.unfolded, link), link.target
        if p.kind == "elided":
            return "⋯", {}
        paths = [] if link.paths is None else link.paths[::-1]
        start = number(1).shaped(p.tensor.shape, True) if p in self.labels.bare else gradient(p.tensor)
        try:
            term = formulas.back(paths, start, self.letters.notation.writes) if paths else None
        except Unwritten:
            term = None
        if term is None:
            return self._partial(x, link), {}
        written = self.letters.text(term)
        numbers = self._in_numbers(paths, start if p in self.labels.bare else of_array(g, f"∂{p.id}", True))
        if p in self.labels.bare and numbers is not None and not any(is_product(hop) for path in paths for hop in path):
            numbers = term
        if numbers is None or len(re.sub("<[^>]*>", "", written)) > TOO_LONG:
            return self._partial(x, link), {}
        nodes = [node for path in paths for node, _ in path]
        rows, summed = any(map(_of_rows, nodes)), _holds(term, "total")
        if summed:
            return written, {"note": ADDED} if rows or x.ndim else {}
        if rows:
            return written, {"note": ROWS}
        return written, {"numbers": self.numbers.text(numbers)}

    def _name(self, x: Tensor) -> str:
        """A variable, or the operation in parentheses where there is none."""
        return self.labels.variable(x) or f"({self.labels.operation(x)})"

    def _partial(self, x: Tensor, link: Link) -> str:
        """A gradient times a local derivative that is not written out."""
        p, direct = link.target, link in self.unfolded.bypassed
        derivative = self.labels.setting.derivative(self._name(p.tensor), self._name(x), direct)
        if p in self.labels.bare:
            return derivative
        gradient = self.gradient(p)
        return f"{gradient} · {derivative}" if p.tensor.size == 1 else f"<SUP>t</SUP>({derivative}) {gradient}"

    def _in_numbers(self, paths: Sequence[Path], g: Tree) -> Tree | None:
        """The gradient along some paths: ᵗU dh with the numbers of U; of factors by element, those of their product.

        None where one number of the gradient becomes many, which no product says.
        """
        if not any(is_product(hop) for path in paths for hop in path):
            return self._by_element(paths, g)
        terms = [self._along(path, g) for path in paths]
        return None if any(term is None for term in terms) else plus(*terms)

    def _along(self, path: Path, g: Tree | None) -> Tree | None:
        for multiplies, hops in groupby(path, is_product):
            for step in hops if multiplies else [list(hops)]:
                g = self._multiplied(step, g) if multiplies else self._by_element([step], g)
                if g is None:
                    return None
        return g

    def _multiplied(self, hop: Hop, g: Tree) -> Tree | None:
        """A gradient times what an input is multiplied with as a matrix; None where it is no factor, as in ᵗg a."""
        node, i = hop
        hole = gradient(node)
        found = factors(formulas.formula_passed_back(node, i, hole, self.letters.notation.writes), hole)
        if not found:
            return None
        does, factor = found[0]
        pair = next(pair for pair in node.primitive.products if i in pair)
        other = self.numbers.shown(node.inputs[pair[i == pair[0]]])
        other = transposed(other) if factor.head == "transposed" else other
        product = matrix(other, g) if does == "left" else matrix(g, other)
        return product.shaped(node.inputs[i].shape, True)

    def _by_element(self, paths: Sequence[Path], g: Tree) -> Tree | None:
        """A gradient times the derivatives of functions that work on each element; None if one number becomes many."""
        local: Any = 0.0
        for path in paths:
            passed = np.ones(path[0][0].shape)
            for hop in path[:-1]:
                passed = passed_back(*hop, passed)
            node, i = path[-1]  # what the rule itself gives: not added up where an input was broadcast
            rules = node.primitive.rules(len(node.inputs))
            local = local + rules[i](passed, node.value, *node.arguments)
        if local.size > math.prod(g.shape) and np.ptp(local) == 0:
            return None
        if np.all(local == 1):
            return g
        if np.all(local == -1):
            return times(number(-1), g)
        return times(of_array(local), g).shaped(local.shape, True)


def _holds(t: Tree, head: str) -> bool:
    return t.head == head or any(_holds(part, head) for part in t.parts)


def used(unfolded: Unfolded, link: Link) -> Tensor:
    """The Tensor a link reads; for a column of dots, the hidden state it stands for."""
    if link.source.kind != "elided" or link.target.kind == "elided":
        return link.source.tensor
    return next(x for x in link.user.inputs if unfolded.role(x) == link.source.role)


def _of_rows(node: Tensor) -> bool:
    """Tell whether a product of matrices takes each row of a batch as a vector, or each matrix of several."""
    row = node.primitive
    return row is not None and bool(row.products) and node.ndim > (1 if row.by_rows else 2)


def _bare(x: float) -> tuple[str, int]:
    """A number, and how tightly it binds: a sign or a power of ten could be misread."""
    digits, _, power = f"{x:.2e}".partition("e")
    if not (math.isfinite(x) and x and not 1e-4 <= abs(x) < 1e6):
        return (f"{x:.4g}".replace("-", "−"), SUM if x < 0 else ATOM)
    return (f"{float(digits):g}×{PLAIN.power_of_ten(int(power))}".replace("-", "−"), SUM if x < 0 else PRODUCT)
