"""One cotangent for each of several outputs, which one sweep carries: a rule of the table runs on them as on one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from tinygrad_rnn.backward import terms
from tinygrad_rnn.context import recording, temporarily
from tinygrad_rnn.observer import Observer, observer
from tinygrad_rnn.primitives import Primitive
from tinygrad_rnn.tensor import Tensor, record


class Cotangents(np.lib.mixins.NDArrayOperatorsMixin):
    """The cotangents of a node, one for each of the outputs that depend on it, in the place of one of its shape.

    They know what most rules do: functions by element, products with a matrix, and the table's own primitives.

    Attributes:
        rows: the numbers of these outputs, in order. arrays: the cotangents, along a first axis.
    """

    def __init__(self, rows: np.ndarray, arrays: np.ndarray):
        self.rows, self.arrays = rows, arrays

    shape = property(lambda self: self.arrays.shape[1:])
    ndim = property(lambda self: self.arrays.ndim - 1)
    dtype = property(lambda self: self.arrays.dtype)
    T = property(lambda self: Cotangents(self.rows, self.arrays.transpose(0, *range(self.ndim, 0, -1))))

    def astype(self, dtype: np.dtype) -> Cotangents:
        """These cotangents in another dtype."""
        return Cotangents(self.rows, self.arrays.astype(dtype))

    def __getitem__(self, index: Any) -> Cotangents:
        return Cotangents(self.rows, np.stack([g[index] for g in self.arrays]))

    def __add__(self, other: Any) -> Cotangents:
        """The sum of two terms, which may be of other outputs."""
        if not isinstance(other, Cotangents) or np.array_equal(self.rows, other.rows):
            return np.add(self, other)
        rows = np.union1d(self.rows, other.rows)
        total = np.zeros((len(rows), *self.shape), self.dtype)
        for part in (self, other):
            total[np.searchsorted(rows, part.rows)] += part.arrays
        return Cotangents(rows, total)

    __iadd__ = __add__

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **keywords: Any) -> Any:
        if ufunc is np.matmul:
            return self._product(*inputs)
        if method == "outer" and inputs[0] is self:
            apart = (*self.arrays.shape, *(1,) * np.ndim(inputs[1]))
            return Cotangents(self.rows, ufunc(self.arrays.reshape(apart), inputs[1]))
        by_element = method == "__call__" and ufunc.signature is None and not keywords
        return self._by_element(ufunc, inputs) if by_element else NotImplemented

    def __array_function__(self, function: Callable, types: Any, inputs: tuple, keywords: dict) -> Any:
        if function is np.dot:
            return self._product(*inputs)
        return self._by_element(function, inputs) if function is np.where else NotImplemented

    def __record__(self, primitive: Primitive, inputs: tuple, *static: Any) -> Cotangents:
        if primitive.products:
            return primitive.forward(*inputs, *static)
        return Cotangents(self.rows, np.stack([primitive.forward(g, *inputs[1:], *static) for g in self.arrays]))

    def _by_element(self, function: Callable, inputs: Sequence[Any]) -> Cotangents:
        axes = max(len(x.shape) for x in inputs if hasattr(x, "shape"))
        arrays = [
            x.arrays.reshape(len(x.rows), *(1,) * (axes - x.ndim), *x.shape) if isinstance(x, Cotangents) else x
            for x in inputs
        ]
        return Cotangents(self.rows, function(*arrays))

    def _product(self, left: Any, right: Any) -> Any:
        """g B, and A g where g is a vector."""
        if left is self and np.ndim(right) == 2:
            return Cotangents(self.rows, np.matmul(self.arrays, right))
        if right is self and self.ndim == 1 and np.ndim(left) == 2:
            return Cotangents(self.rows, np.matmul(self.arrays, left.T))
        return NotImplemented


def each_passed_back(node: Tensor, i: int, g: Any) -> Cotangents:
    """The terms that a node passes back to its input i; a rule that does what cotangents do not know runs on each."""
    with temporarily(observer, None):  # a rule may make a sweep of its own
        with suppress(Exception):
            ((_, term),) = terms(node, g, i)
            if isinstance(term, Cotangents):
                return term
        found = [term for row in g.arrays for _, term in terms(node, row, i)]
    return Cotangents(g.rows, np.stack(found))


class LeavesLeftOut(Observer):
    """A sweep passes nothing back to leaves, whose gradients of all outputs are large, but to one that is wanted."""

    def __init__(self, wanted: Tensor | None = None):
        self.wanted = wanted

    def swept(self, terms: Callable, node: Tensor, g: Any) -> Iterator[tuple[Tensor, Cotangents]]:
        """The terms for the inputs that are nodes, and for what is wanted."""
        for i, x in enumerate(node.inputs):
            if x.requires_grad and (x is self.wanted or not x.is_leaf):
                yield x, each_passed_back(node, i, g)


def several(outputs: Sequence[Tensor]) -> Tensor:
    """A node to sweep from, which passes back to each output a cotangent of 1 in a row of its own."""

    def vjp(i: int, *_: Any) -> Cotangents:
        return Cotangents(np.array([i]), np.ones((1, *outputs[i].shape), outputs[i].dtype))

    row = Primitive("several", lambda *_: np.zeros(()), "several", (vjp,), (None,), variadic=True)
    with temporarily(recording, True), temporarily(observer, None):  # it is no part of what is computed
        return record(row, tuple(outputs), None)
