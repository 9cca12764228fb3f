"""The term that a node passes back to one input, of one cotangent, or of those of several outputs side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_rnn.backward import fit, terms
from tinygrad_rnn.context import recording, temporarily
from tinygrad_rnn.observer import Observer, observer
from tinygrad_rnn.primitives import Primitive
from tinygrad_rnn.tensor import Tensor, record


class Cotangents:
    """The cotangents of a node, one for each of the outputs that depend on it, in the place of one of its shape.

    Attributes:
        rows: the numbers of these outputs, in order. arrays: the cotangents, along a first axis.
    """

    def __init__(self, rows: np.ndarray, arrays: np.ndarray):
        self.rows, self.arrays = rows, arrays

    shape = property(lambda self: self.arrays.shape[1:])
    ndim = property(lambda self: self.arrays.ndim - 1)
    dtype = property(lambda self: self.arrays.dtype)

    def astype(self, dtype: np.dtype) -> Cotangents:
        """These cotangents in another dtype."""
        return Cotangents(self.rows, self.arrays.astype(dtype))

    def __add__(self, other: Cotangents) -> Cotangents:
        """The sum of two terms, which may be of other outputs."""
        rows = np.union1d(self.rows, other.rows)
        total = np.zeros((len(rows), *self.shape), self.dtype)
        for part in (self, other):
            total[np.searchsorted(rows, part.rows)] += part.arrays
        return Cotangents(rows, total)

    __iadd__ = __add__

    def __record__(self, primitive: Primitive, inputs: tuple, *static: Any) -> Cotangents:
        """What a primitive makes of each, as the sum over the axes along which an input was broadcast."""
        return Cotangents(self.rows, np.stack([primitive.forward(g, *inputs[1:], *static) for g in self.arrays]))


def passed_back(node: Tensor, i: int, g: np.ndarray) -> np.ndarray:
    """The term that a node passes back to its input i, in the input's shape: one of the sum that is its gradient."""
    ((x, term),) = terms(node, g, i)
    return fit(term, x)


def each_passed_back(node: Tensor, i: int, g: Cotangents) -> Cotangents:
    """The terms that a node passes back to its input i.

    A rule that works on each element, or on each row x of a product W x, takes all cotangents as one batch.
    """
    row = node.primitive
    as_batch = row.by_element or (row.by_rows and i in [right for _, right in row.products])
    with temporarily(observer, None):  # a rule may make a sweep of its own
        if as_batch:
            ((_, term),) = terms(node, g.arrays, i)
        else:
            term = np.stack([term for one in g.arrays for _, term in terms(node, one, i)])
    return Cotangents(g.rows, term)


class LeavesLeftOut(Observer):
    """A sweep passes nothing back to leaves, whose gradients of all outputs are large, but to one that is wanted."""

    def __init__(self, wanted: Tensor | None = None):
        self.wanted = wanted

    def swept(self, terms: Callable, node: Tensor, g: Any) -> list[tuple[Tensor, Cotangents]]:
        """The terms for the inputs that are nodes, and for what is wanted."""
        if not isinstance(g, Cotangents):
            return terms(node, g)  # of `several`, whose rule makes them
        numbered = [(i, x) for i, x in enumerate(node.inputs) if x.requires_grad]
        return [(x, each_passed_back(node, i, g)) for i, x in numbered if x is self.wanted or not x.is_leaf]


def several(outputs: Sequence[Tensor]) -> Tensor:
    """A node to sweep from, which passes back to each output a cotangent of 1 in a row of its own."""

    def vjp(i: int, *_: Any) -> Cotangents:
        return Cotangents(np.array([i]), np.ones((1, *outputs[i].shape), outputs[i].dtype))

    row = Primitive("several", lambda *_: np.zeros(()), "several", (vjp,), (None,), variadic=True)
    with temporarily(recording, True), temporarily(observer, None):  # it is no part of what is computed
        return record(row, tuple(outputs), None)
