"""One cotangent for each of several outputs: what the rules of the table run on, to sweep for all outputs at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_rnn.context import recording, temporarily
from tinygrad_rnn.observer import observer
from tinygrad_rnn.primitives import Primitive
from tinygrad_rnn.tensor import Tensor, record


class Cotangents(np.lib.mixins.NDArrayOperatorsMixin):
    """The cotangents of a node, of the outputs that depend on it; a rule runs on them as on one, of the node's shape.

    What works by element runs on all of them in one call, and a matrix multiplies them in one; anything else runs on
    each by itself.

    Attributes:
        rows: the numbers of these outputs, in order. arrays: the cotangents, along a first axis.
    """

    def __init__(self, rows: np.ndarray, arrays: np.ndarray):
        self.rows, self.arrays = rows, arrays

    shape = property(lambda self: self.arrays.shape[1:])
    ndim = property(lambda self: self.arrays.ndim - 1)
    dtype = property(lambda self: self.arrays.dtype)
    T = property(lambda self: np.transpose(self))

    def astype(self, dtype: np.dtype) -> Cotangents:
        """The same in another dtype."""
        return Cotangents(self.rows, self.arrays.astype(dtype))

    def __getitem__(self, index: Any) -> Cotangents:
        return self._one_by_one(lambda x: x[index], (self,))

    def __add__(self, other: Any) -> Cotangents:
        """The sum of two terms, which other outputs may have passed back."""
        if not isinstance(other, Cotangents) or np.array_equal(self.rows, other.rows):
            return np.add(self, other)
        rows = np.union1d(self.rows, other.rows)
        total = np.zeros((len(rows), *self.shape), np.result_type(self.arrays, other.arrays))
        for x in (self, other):
            total[np.searchsorted(rows, x.rows)] += x.arrays
        return Cotangents(rows, total)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **keywords: Any) -> Cotangents:
        keywords.pop("out", None)  # a sum in place is made anew
        if ufunc is np.matmul:
            return self.__array_function__(ufunc, (), inputs, keywords)
        if method != "__call__" or ufunc.signature is not None:
            return self._one_by_one(getattr(ufunc, method), inputs, keywords)
        axes = max(np.ndim(x) for x in inputs)
        return Cotangents(self.rows, ufunc(*[_aligned(x, axes) for x in inputs], **keywords))

    def __array_function__(self, function: Callable, types: Any, inputs: tuple, keywords: dict) -> Any:
        if function in (np.ndim, np.shape):
            return getattr(self, function.__name__)
        if function in (np.dot, np.matmul):
            left, right = inputs
            if left is self and isinstance(right, np.ndarray) and right.ndim == 2:
                return Cotangents(self.rows, np.matmul(self.arrays, right))
            if right is self and isinstance(left, np.ndarray) and (left.ndim, self.ndim) == (2, 1):
                return Cotangents(self.rows, np.matmul(self.arrays, left.T))
        return self._one_by_one(function, inputs, keywords)

    def __record__(self, primitive: Primitive, inputs: tuple, *static: Any) -> Cotangents:
        return self._one_by_one(primitive.forward, (*inputs, *static))

    def _one_by_one(self, function: Callable, inputs: Sequence[Any], keywords: dict | None = None) -> Cotangents:
        """A function of each cotangent by itself."""
        found = [
            function(*[x.arrays[i] if isinstance(x, Cotangents) else x for x in inputs], **(keywords or {}))
            for i in range(len(self.rows))
        ]
        return Cotangents(self.rows, np.stack(found))


def _aligned(x: Any, axes: int) -> Any:
    """Cotangents as one array, whose first axis stands before so many that they are broadcast along."""
    if not isinstance(x, Cotangents):
        return x
    return x.arrays.reshape(len(x.rows), *(1,) * (axes - x.ndim), *x.shape)


def several(outputs: Sequence[Tensor]) -> Tensor:
    """A node to sweep from, which passes back to each output a cotangent of 1 in a row of its own."""

    def vjp(i: int, *_: Any) -> Cotangents:
        return Cotangents(np.array([i]), np.ones((1, *outputs[i].shape), outputs[i].dtype))

    row = Primitive("several", lambda *_: np.zeros(()), "several", (vjp,), (None,), variadic=True)
    with temporarily(recording, True), temporarily(observer, None):  # it is no part of what is computed
        return record(row, tuple(outputs), None)
