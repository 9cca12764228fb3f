"""The functions that users call on Tensors, with NumPy's names and keywords.

A function here either records one primitive of the table, or is composed of such functions in a line or two. Where
NumPy has a function of the name, it does the same when it meets a Tensor: `np.sum(t, axis=0)` is `tg.sum(t, axis=0)`.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_rnn import primitives, tensor
from tinygrad_rnn.errors import ShapeError
from tinygrad_rnn.tensor import ARRAY_FUNCTIONS, Axis, Tensor, binary, record, unary

__all__ = [
    "abs", "add", "broadcast_to", "concatenate", "divide", "exp", "linear", "log", "log_softmax",
    "logsumexp", "matmul", "max", "maximum", "mean", "min", "minimum", "multiply", "negative", "outer", "positive",
    "power", "relu", "reshape", "sigmoid", "sign", "softmax", "sqrt", "square", "stack", "subtract", "sum", "swapaxes",
    "tanh", "transpose", "where",
]  # fmt: skip


def _implements(numpy_function: Callable) -> Callable[[Callable], Callable]:
    """Let NumPy's function do what the decorated one does when it is called on a Tensor."""

    def enter(function: Callable) -> Callable:
        ARRAY_FUNCTIONS[numpy_function] = function
        return function

    return enter


# Elementwise, with broadcasting


def positive(x: Any) -> Tensor:
    """+x: the identity, as a node of its own."""
    return unary(primitives.identity, x)


def negative(x: Any) -> Tensor:
    """-x."""
    return unary(primitives.negative, x)


def add(x: Any, y: Any) -> Tensor:
    """x + y."""
    return binary(primitives.add, x, y)


def subtract(x: Any, y: Any) -> Tensor:
    """x - y."""
    return binary(primitives.subtract, x, y)


def multiply(x: Any, y: Any) -> Tensor:
    """x * y, element by element."""
    return binary(primitives.multiply, x, y)


def divide(x: Any, y: Any) -> Tensor:
    """x / y, element by element."""
    return binary(primitives.divide, x, y)


def power(x: Any, y: Any) -> Tensor:
    """x ** y, element by element."""
    return tensor.power(x, y)


def square(x: Any) -> Tensor:
    """x²."""
    return unary(primitives.square, x)


def tanh(x: Any) -> Tensor:
    """The hyperbolic tangent; derivative 1 - tanh²(x)."""
    return unary(primitives.tanh, x)


def sigmoid(x: Any) -> Tensor:
    """σ(x) = 1 / (1 + e^-x); derivative σ(x) (1 - σ(x)), at most 1/4 (seed 004)."""
    return unary(primitives.sigmoid, x)


def relu(x: Any) -> Tensor:
    """max(x, 0); derivative 1 where x > 0 and 0 elsewhere."""
    return unary(primitives.relu, x)


def exp(x: Any) -> Tensor:
    """e^x."""
    return unary(primitives.exp, x)


def log(x: Any) -> Tensor:
    """The natural logarithm."""
    return unary(primitives.log, x)


def sqrt(x: Any) -> Tensor:
    """The square root."""
    return unary(primitives.sqrt, x)


def abs(x: Any) -> Tensor:
    """|x|; derivative sign(x), 0 at 0."""
    return unary(primitives.abs_, x)


def sign(x: Any) -> Tensor:
    """-1, 0 or 1; derivative 0."""
    return unary(primitives.sign, x)


def maximum(x: Any, y: Any) -> Tensor:
    """The larger of x and y, element by element; where they are equal each gets half of the gradient."""
    return binary(primitives.maximum, x, y)


def minimum(x: Any, y: Any) -> Tensor:
    """The smaller of x and y, element by element; where they are equal each gets half of the gradient."""
    return binary(primitives.minimum, x, y)


@_implements(np.where)
def where(condition: Any, x: Any, y: Any) -> Tensor:
    """x where the condition holds and y elsewhere; no gradient flows to the condition."""
    condition = condition.data if isinstance(condition, Tensor) else np.array(condition)
    return record(primitives.where, (x, y), condition)


# Products


def matmul(A: Any, B: Any) -> Tensor:
    """A @ B with NumPy's rules: vectors, matrices, and stacks of matrices that broadcast."""
    return binary(primitives.matmul, A, B)


def linear(W: Any, x: Any) -> Tensor:
    """W x for W (out, in) and a vector x (in,); for a batch x (..., in) the same for every row: (..., out)."""
    return binary(primitives.linear, W, x)


@_implements(np.outer)
def outer(a: Any, b: Any) -> Tensor:
    """a ᵗb, the products of every element of a with every element of b: (m, n) for m and n elements."""
    return record(primitives.outer, (reshape(a, (-1,)), reshape(b, (-1,))))


# Reductions, over an axis, axes or all


@_implements(np.sum)
def sum(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The sum."""
    return record(primitives.sum_, (x,), axis, keepdims)


@_implements(np.mean)
def mean(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The arithmetic mean: the sum divided by the count."""
    total = sum(x, axis, keepdims)
    return total / (np.size(x) / builtins.max(total.size, 1))


@_implements(np.max)
def max(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The largest element; where it stands more than once, each place gets an equal part of the gradient."""
    return record(primitives.max_, (x,), axis, keepdims)


@_implements(np.min)
def min(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The smallest element; where it stands more than once, each place gets an equal part of the gradient."""
    return record(primitives.min_, (x,), axis, keepdims)


def logsumexp(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """log Σ e^x, shifted by the largest element so that nothing overflows."""
    shift = _finite_max(x, axis)
    total = log(sum(exp(x - shift), axis, keepdims))
    return total + (shift if keepdims else shift.reshape(total.shape))


def softmax(x: Any, axis: int = -1) -> Tensor:
    """e^x / Σ e^x along an axis (seed 003: ŷ = softmax(V h)), shifted so that nothing overflows."""
    e = exp(x - _finite_max(x, axis))
    return e / sum(e, axis, keepdims=True)


def log_softmax(x: Any, axis: int = -1) -> Tensor:
    """log softmax(x) = x - log Σ e^x along an axis, exact where softmax itself would round to 0."""
    shifted = x - _finite_max(x, axis)
    return shifted - log(sum(exp(shifted), axis, keepdims=True))


def _finite_max(x: Any, axis: Axis) -> Tensor:
    """The largest elements as constants, 0 for an infinite one: the results do not depend on the shift."""
    largest = np.max(x.data if isinstance(x, Tensor) else x, axis=axis, keepdims=True)
    return Tensor(np.where(np.isfinite(largest), largest, 0.0))


# Shapes

ARRAY_FUNCTIONS[np.shape] = lambda x: x.shape
ARRAY_FUNCTIONS[np.ndim] = lambda x: x.ndim
ARRAY_FUNCTIONS[np.size] = lambda x: x.size


@_implements(np.reshape)
def reshape(x: Any, shape: int | tuple[int, ...]) -> Tensor:
    """The same elements in another shape."""
    return record(primitives.reshape, (x,), shape)


@_implements(np.transpose)
def transpose(x: Any, axes: Sequence[int] | None = None) -> Tensor:
    """The axes in another order; reversed if none is given."""
    return record(primitives.transpose, (x,), axes)


@_implements(np.swapaxes)
def swapaxes(x: Any, axis1: int, axis2: int) -> Tensor:
    """Two axes exchanged."""
    axes = list(range(np.ndim(x)))
    for axis in (axis1, axis2):
        if not -len(axes) <= axis < len(axes):
            raise ShapeError(f"swapaxes: axis {axis} is out of range for the shape {np.shape(x)}")
    axes[axis1], axes[axis2] = axes[axis2], axes[axis1]
    return transpose(x, tuple(axes))


@_implements(np.broadcast_to)
def broadcast_to(x: Any, shape: tuple[int, ...]) -> Tensor:
    """x repeated along new and stretched axes to fill a shape."""
    return record(primitives.broadcast_to, (x,), shape)


@_implements(np.concatenate)
def concatenate(tensors: Sequence[Any], axis: int | None = 0) -> Tensor:
    """Tensors joined along an axis that they have; with axis None, all elements of all in one row."""
    if axis is None:
        tensors, axis = [reshape(x, (-1,)) for x in tensors], 0
    return record(primitives.concatenate, tuple(tensors), axis)


@_implements(np.stack)
def stack(tensors: Sequence[Any], axis: int = 0) -> Tensor:
    """Tensors of one shape joined along a new axis."""
    return record(primitives.stack, tuple(tensors), axis)
