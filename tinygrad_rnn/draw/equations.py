"""Equations of a drawn graph: how a node is made, and what goes back along a link.

They are right as equations of matrices, gradients being columns: ᵗU dh, dh ᵗx, f′(ĥ) ⊙ dh.

Equations are markup. What is a number of the computation stands between marks, with its number before it: the page puts
the array in its place for the same equation in numbers. No name of a user's holds a mark, as none can be printed.
"""

import math
import re
from contextlib import suppress
from typing import Any

from tinygrad_rnn.algebra import formulas
from tinygrad_rnn.algebra.trees import Tree, Unwritten, gradient, number
from tinygrad_rnn.algebra.typesetting import MARKUP
from tinygrad_rnn.algebra.variables import inside
from tinygrad_rnn.algebra.writer import Writer
from tinygrad_rnn.backward import terms
from tinygrad_rnn.draw.computation import Computation
from tinygrad_rnn.draw.labels import Labels
from tinygrad_rnn.draw.unfolding import Link, Place, Unfolded
from tinygrad_rnn.tensor import Tensor

FROM, TO, BESIDE = "\ue000", "\ue001", "\ue002"  # marks; the last stands between a number and its factor
MARK = f"{FROM}[^|]*[|]|{TO}"
DEEPEST = 24  # expressions of unnamed nodes are written out this many primitives deep,
LONGEST = 900  # if their markup has no more characters than this
TOO_LONG = 120  # characters of what a gradient is: a derivative in it is then written as ∂a/∂b
ROWS = "The same for every row of the batch."
ADDED = "The same for every row of the batch; Σ adds the rows up."


class _Marked(Writer):
    """Writes a graph with marks around its variables, gradients and derivatives, and in full: a page has the room.

    Attributes:
        gradients: of a node its gradient, and how the figure writes that.
    """

    def __init__(self, *of: Any, computation: Computation, **how: Any):
        super().__init__(*of, **how)
        self.computation, self.beside = computation, BESIDE
        self.gradients: dict[Tensor, tuple[Any, str]] = {}

    def expression(self, node: Tensor, depth: int = formulas.DEEPEST) -> str:
        text = super().expression(node, depth)
        if "…" in text and len(text) < LONGEST and depth < DEEPEST:
            longer = self.expression(node, depth + formulas.DEEPEST)
            text = longer if len(longer) < LONGEST else text
        return text

    def marked(self, array: Any, text: str) -> str:
        """A text with the number of what it stands for."""
        return f"{FROM}{self.computation.number(array)}|{re.sub(MARK, '', text)}{TO}"

    def _symbol(self, t: Tree) -> str:
        return self.marked(t.of, self.variable(t.of))

    def _gradient(self, t: Tree) -> str:
        return self.marked(*self.gradients[t.of])

    def _prime(self, t: Tree) -> str:
        ((_, slope),) = terms(t.of, self.computation.ones(t.of), 0)
        return self.marked(slope, super()._prime(t))


class Equations(Labels):
    """The labels of an unfolded graph in markup, and its equations."""

    def __init__(self, unfolded: Unfolded, computation: Computation):
        super().__init__(unfolded, MARKUP)
        self.marked = _Marked(unfolded.names, unfolded.notation, MARKUP, True, computation=computation)
        self.ends = {p.tensor for p in unfolded.places} | set(filter(unfolded.is_hidden, unfolded.columns))

    def forward(self, p: Place) -> dict[str, Any]:
        """The equation of a node; and whether it holds of its numbers, or a note where these would make no true one."""
        written = self.marked.expression(p.tensor)
        found = {"equation": f"{self.name(p)} = {written}" if self.writer.notation.writes(p.tensor) else written}
        nodes = inside(p.tensor, lambda x: x in self.ends or x.is_leaf)
        return found | ({"note": ROWS} if any(map(_of_rows, nodes)) else {"numbers": True})

    def backward(self, link: Link, g: Any) -> dict[str, Any]:
        """The gradient that a link passes back: the `name` of what it is added to; as it is `written`, in letters, or
        as ∂a/∂b where it has no short form; and whether that holds of its `numbers`, or a `note`.
        """
        p, q, paths, term, written = link.target, link.source, (link.paths or [])[::-1], None, ""
        told = {"name": self.differential(link.tensor) if q.kind == "elided" else self.cotangent(q)}
        if p.kind == "elided":
            return told | {"written": "⋯", "note": f"⋯ is what comes back through {self.hidden}."}
        self.marked.gradients[p.tensor] = g, self.cotangent(p)
        start = number(1).shaped(p.tensor.shape, True) if p in self.bare else gradient(p.tensor)
        if paths:
            with suppress(Unwritten):
                term = formulas.back(paths, start, self.writer.notation.writes)
        if term is not None and _size(term) == math.prod(term.shape):
            written = self.marked.text(term)
        if not written or len(re.sub(f"<[^>]*>|{MARK}", "", written)) > TOO_LONG:
            return told | {"written": self._times(p, self.quotient(link))}
        told, summed = told | {"written": written}, _holds(term, "total")
        if any(_of_rows(node) for path in paths for node, _ in path) or (summed and link.tensor.ndim):
            return told | {"note": ADDED if summed else ROWS}
        return told if summed else told | {"numbers": True}

    def hidden_terms(self, x: Tensor) -> dict[str, Any]:
        """Likewise the terms that hidden steps add to the gradient of a parameter: dW⁽¹⁸⁾ + ⋯ + dW⁽³⁾."""
        ((first, count),) = self.unfolded.hidden.items()
        written = " + ⋯ + ".join(self.differential(x, step) for step in dict.fromkeys((first + count - 1, first)))
        return {"name": self.differential(x), "written": written, "note": f"Added by {self.hidden}."}

    def _times(self, p: Place, derivative: str) -> str:
        """The gradient of a node times a local derivative that is not written out."""
        if p in self.bare:
            return derivative
        name = self.cotangent(p)
        return f"{name} · {derivative}" if p.tensor.size == 1 else f"<SUP>t</SUP>({derivative}) {name}"


def _size(t: Tree) -> int:
    """The number of elements of a formula as it is written; 0 where one number in it is to become many."""
    if t.head in ("symbol", "gradient", "prime"):
        return t.of.size
    sizes = [_size(part) for part in t.parts]
    if t.head in ("sum", "times", "over", "negative", "power", "transposed"):
        return max(sizes) if all(sizes) else 0
    whole = all(size == math.prod(part.shape) for size, part in zip(sizes, t.parts, strict=True))
    return (1 if t.head == "number" else math.prod(t.shape)) if whole else 0


def _holds(t: Tree, head: str) -> bool:
    return t.head == head or any(_holds(part, head) for part in t.parts)


def _of_rows(node: Tensor) -> bool:
    """Tell whether a product of matrices takes each row of a batch as a vector, or each matrix of several."""
    row = node.primitive
    return row is not None and bool(row.products) and node.ndim > (1 if row.by_rows else 2)
