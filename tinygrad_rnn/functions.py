"""The functions that users call on Tensors, with NumPy's names and keywords.

A function here either records one primitive of the table, or is composed of such functions in a line or two. Where
NumPy has a function of the name, it does the same when it meets a Tensor: `np.sum(t, axis=0)` is `tg.sum(t, axis=0)`.

All take Tensors, and whatever can become one: numbers, nested lists and arrays. What NumPy refuses raises a ShapeError,
an IndexError or a TypeError that names the function, the Tensors with their shapes and, in a net, the layer and step.
"""

import dataclasses
import functools
import itertools
import math
import re
import string
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_rnn import checks, primitives
from tinygrad_rnn.errors import ShapeError, refusal
from tinygrad_rnn.interop import NUMPY_FUNCTIONS, on_values
from tinygrad_rnn.observer import observer
from tinygrad_rnn.tensor import Tensor, as_tensor, bare, operation, record

__all__ = [
    "abs", "add", "affine", "append", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh",
    "array_split", "atleast_1d", "atleast_2d", "atleast_3d", "average", "broadcast_to", "clip", "column_stack",
    "concatenate", "cos", "cosh", "cross", "cumprod", "cumsum", "diag", "diagonal", "diff", "divide", "dot", "dstack",
    "einsum", "exp", "exp2", "expand_dims", "expm1", "flip", "fliplr", "flipud", "fmax", "fmin", "hstack", "hypot",
    "inner", "kron", "lerp", "linear", "log", "log1p", "log2", "log10", "log_sigmoid", "log_softmax", "logaddexp",
    "logsumexp", "matmul", "max", "maximum", "mean", "median", "min", "minimum", "mod", "moveaxis", "multiply",
    "negative", "norm", "outer", "pad", "positive", "power", "primitive", "prod", "ravel", "reciprocal", "relu",
    "repeat", "reshape", "roll", "sigmoid", "sign", "sin", "sinh", "softmax", "softplus", "sort", "split", "sqrt",
    "square", "squeeze", "stack", "std", "subtract", "sum", "swapaxes", "take", "take_along_axis", "tan", "tanh",
    "tensordot", "tile", "trace", "transpose", "tril", "triu", "var", "vdot", "vstack", "where",
]  # fmt: skip


Axis = int | tuple[int, ...] | None

# Elementwise, with broadcasting: primitives

positive = operation(primitives.identity, "+x: the identity, as a node of its own. >>> positive(2.0) -> 2.")
negative = operation(primitives.negative, "-x. >>> negative(2.0) -> -2.")
add = operation(primitives.add, "x + y. >>> add(2.0, 3.0) -> 5.")
subtract = operation(primitives.subtract, "x - y. >>> subtract(2.0, 3.0) -> -1.")
multiply = operation(primitives.multiply, "x * y. >>> multiply(2.0, 3.0) -> 6.")
divide = operation(primitives.divide, "x / y. >>> divide(3.0, 2.0) -> 1.5")
mod = operation(primitives.mod, "x % y; derivatives 1 and -⌊x / y⌋, at the jumps too. >>> mod(-7, 3) -> 2")
square = operation(primitives.square, "x². >>> square(3.0) -> 9.")
tanh = operation(primitives.tanh, "The hyperbolic tangent; derivative 1 - tanh²(x). >>> tanh(1.0) -> 0.76159416")
sigmoid = operation(primitives.sigmoid, "σ(x) = 1 / (1 + e^-x); σ′ = σ (1 - σ) ≤ 1/4. >>> sigmoid(0.0) -> 0.5")
relu = operation(primitives.relu, "max(x, 0); derivative 1 where x > 0, else 0. >>> relu([-1.0, 2.0]) -> [0., 2.]")
softplus = operation(primitives.softplus, "log(1 + e^x); derivative σ(x). >>> softplus(0.0) -> 0.69314718")
exp = operation(primitives.exp, "e^x. >>> exp(1.0) -> 2.71828183")
log = operation(primitives.log, "The natural logarithm. >>> log(2.0) -> 0.69314718")
sqrt = operation(primitives.sqrt, "The square root. >>> sqrt(2.0) -> 1.41421356")
abs = operation(primitives.abs_, "|x|; derivative sign(x), 0 at 0. >>> abs(-2.0) -> 2.")
sign = operation(primitives.sign, "-1, 0 or 1; derivative 0. >>> sign(-2.0) -> -1.")
sin = operation(primitives.sin, "The sine. >>> sin(1.0) -> 0.84147098")
cos = operation(primitives.cos, "The cosine. >>> cos(1.0) -> 0.54030231")
arctan = operation(primitives.arctan, "The inverse of the tangent. >>> arctan(1.0) -> 0.78539816")
sinh = operation(primitives.sinh, "The hyperbolic sine. >>> sinh(1.0) -> 1.17520119")
cosh = operation(primitives.cosh, "The hyperbolic cosine. >>> cosh(1.0) -> 1.54308063")
expm1 = operation(primitives.expm1, "e^x - 1, exact for small x. >>> expm1(1.0) -> 1.71828183")
arctan2 = operation(primitives.arctan2, "The angle of a point (y, x), -π to π. >>> arctan2(1.0, 0.0) -> 1.57079633")
hypot = operation(primitives.hypot, "√(x² + y²); derivatives 0 at (0, 0). >>> hypot(3.0, 4.0) -> 5.")
arcsinh = operation(primitives.arcsinh, "The inverse of the hyperbolic sine. >>> arcsinh(1.0) -> 0.88137359")
logaddexp = operation(primitives.logaddexp, "log(e^x + e^y), without overflow. >>> logaddexp(0.0, 0.0) -> 0.69314718")
log1p = operation(primitives.log1p, "log(1 + x), exact for small x. >>> log1p(1.0) -> 0.69314718")
maximum = operation(primitives.maximum, "The larger; equal ones share the gradient. >>> maximum(1.0, 2.0) -> 2.")
minimum = operation(primitives.minimum, "The smaller; equal ones share the gradient. >>> minimum(1.0, 2.0) -> 1.")

# Elementwise, with broadcasting: composed, or with a plain argument


def _described(description: str, function: Callable) -> Callable[..., Tensor]:
    function.__doc__ = description
    return function


def _of(description: str, of_tensor: Callable[[Tensor], Tensor]) -> Callable[[Any], Tensor]:
    """A function of anything that can be a Tensor."""
    return _described(description, lambda x: of_tensor(as_tensor(x)))


ravel = _of("All elements in one row. >>> ravel([[1, 2], [3, 4]]) -> [1, 2, 3, 4]", lambda x: reshape(x, (-1,)))
reciprocal = _of("1 / x. >>> reciprocal(2.0) -> 0.5", lambda x: 1.0 / x)
tan = _of("The tangent. >>> tan(1.0) -> 1.55740772", lambda x: sin(x) / cos(x))
arcsin = _of("The inverse of sin. >>> arcsin(1.0) -> 1.57079633", lambda x: arctan2(x, sqrt(1.0 - x) * sqrt(1.0 + x)))
arccos = _of("The inverse of cos. >>> arccos(0.0) -> 1.57079633", lambda x: arctan2(sqrt(1.0 - x) * sqrt(1.0 + x), x))
arccosh = _of("The inverse of cosh. >>> arccosh(1.0) -> 0.", lambda x: log1p(x - 1.0 + sqrt(x - 1.0) * sqrt(x + 1.0)))
arctanh = _of("The inverse of tanh. >>> arctanh(0.5) -> 0.54930614", lambda x: (log1p(x) - log1p(-x)) / 2.0)
log2 = _of("The logarithm to base 2. >>> log2(8.0) -> 3.", lambda x: log(x) / math.log(2.0))
log10 = _of("The logarithm to base 10. >>> log10(0.01) -> -2.", lambda x: log(x) / math.log(10.0))
exp2 = _of("2^x. >>> exp2(3.0) -> 8.", lambda x: 2.0**x)
log_sigmoid = _of("log σ(x); derivative 1 - σ(x). >>> log_sigmoid(0.0) -> -0.69314718", lambda x: -softplus(-x))


_power = operation(primitives.power)


def power(x: Any, exponent: Any) -> Tensor:
    """x ** exponent; a square is a primitive of its own, as NumPy has it.

    x and the exponent broadcast; where they do not, this raises a ShapeError.

    >>> tg.power(2.0, 3.0)
    Tensor(8.)
    """
    squared = type(exponent) in (int, float) and exponent == 2 and np.asarray(bare(x)).dtype.kind == "f"
    return square(x) if squared else _power(x, exponent)


def fmax(x: Any, y: Any) -> Tensor:
    """`maximum` that passes over a NaN beside a number.

    x and y broadcast; where they do not, this raises a ShapeError.

    >>> tg.fmax(np.nan, 2.0)
    Tensor(2.)
    """
    return where(np.isnan(y), x, where(np.isnan(x), y, maximum(x, y)))


def fmin(x: Any, y: Any) -> Tensor:
    """`minimum` that passes over a NaN beside a number.

    x and y broadcast; where they do not, this raises a ShapeError.

    >>> tg.fmin(np.nan, 2.0)
    Tensor(2.)
    """
    return where(np.isnan(y), x, where(np.isnan(x), y, minimum(x, y)))


def _root(x: Tensor, exponent: float = 0.5) -> Tensor:
    """x ** exponent for what is not negative, with the derivative 0 at 0."""
    inside = where(x == 0, 1.0, x)
    return where(x == 0, 0.0 if exponent > 0 else np.inf, sqrt(inside) if exponent == 0.5 else inside**exponent)


def lerp(x: Any, y: Any, z: Any) -> Tensor:
    """(1 - z) x + z y, from x where z is 0 to y where it is 1: linear interpolation.

    x, y and z broadcast; where they do not, this raises a ShapeError.

    >>> tg.lerp(1.0, 3.0, 0.25)
    Tensor(1.5)
    """
    return record(primitives.lerp, (x, y, z))


def clip(x: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Tensor:
    """x held between a minimum and a maximum, either of which may be None; at one, half of the gradient flows.

    >>> tg.clip([-2.0, 0.5, 2.0], -1.0, 1.0)
    Tensor([-1. ,  0.5,  1. ])
    """
    a_min, a_max = min if a_min is None else a_min, max if a_max is None else a_max
    x = as_tensor(x) if a_min is None else maximum(x, a_min)
    return x if a_max is None else minimum(x, a_max)


def where(condition: Any, x: Any, y: Any) -> Tensor:
    """x where the condition holds and y elsewhere; no gradient flows to the condition.

    The three broadcast; where they do not, this raises a ShapeError.

    >>> tg.where([True, False], [1.0, 2.0], 0.0)
    Tensor([1., 0.])
    """
    condition = as_tensor(condition)
    return record(primitives.where, (x, y, condition if condition.dtype == bool else as_tensor(condition != 0)))


# Products

matmul = operation(primitives.matmul, "A @ B, stacks of matrices too. >>> matmul([[1, 2]], [3, 4]) -> [11]")
linear = operation(primitives.linear, "W x: (out, in) by (in,), or by rows (..., in). >>> linear([[2]], [3]) -> [6]")


def affine(W: Any, x: Any, U: Any, h: Any, b: Any) -> Tensor:
    """W x + U h + b, what goes into a gate, as one node; x (D,) and h (H,) are vectors, or batches (..., D), (..., H).

    Raises:
        ShapeError: the shapes do not fit, or b is not a vector.

    >>> tg.affine(np.eye(2), [1.0, 2.0], np.eye(2), [3.0, 4.0], [0.0, 1.0])
    Tensor([4., 7.])
    """
    return record(primitives.affine, (W, x, U, h, b))


def dot(a: Any, b: Any) -> Tensor:
    """The product of vectors, matrices or numbers: a sum over the last axis of a and the last but one of b.

    >>> tg.dot([1.0, 2.0], [3.0, 4.0])
    Tensor(11.)
    """
    if 0 in (np.ndim(a), np.ndim(b)):
        return multiply(a, b)
    return matmul(a, b) if np.ndim(b) < 3 else tensordot(a, b, (-1, -2))


def inner(a: Any, b: Any) -> Tensor:
    """The product of vectors or numbers: a sum over the last axes of a and b.

    >>> tg.inner([1.0, 2.0], [3.0, 4.0])
    Tensor(11.)
    """
    return dot(a, b) if np.ndim(b) < 2 or np.ndim(a) == 0 else tensordot(a, b, (-1, -1))


def tensordot(a: Any, b: Any, axes: Any = 2) -> Tensor:
    """A sum over so many last axes of a and first axes of b, or over a pair (axes of a, axes of b).

    Raises:
        ShapeError: these axes do not have the same lengths.

    >>> tg.tensordot(np.ones((2, 3)), np.ones((3, 4)), 1).shape
    (2, 4)
    """
    of_a, of_b = (range(-axes, 0), range(axes)) if np.ndim(axes) == 0 else map(np.ravel, axes)
    n = len(of_a)
    a, b = moveaxis(a, of_a, range(-n, 0)), moveaxis(b, of_b, range(n))
    left, summed, right = a.shape[: a.ndim - n], b.shape[:n], b.shape[n:]
    if a.shape[a.ndim - n :] != summed:
        raise refusal("tensordot", (a, b), ValueError(f"the axes to be summed over are {a.shape[-n:]} and {summed}"))
    rows = a.reshape(math.prod(left), math.prod(summed))
    return (rows @ b.reshape(math.prod(summed), math.prod(right))).reshape(left + right)


vdot = _described("Σ a b over all elements. >>> vdot([1, 2], [3, 4]) -> 11", lambda a, b: dot(ravel(a), ravel(b)))


def kron(a: Any, b: Any) -> Tensor:
    """The Kronecker product: b, times every element of a, in its place.

    >>> tg.kron([1, 10], [1, 2])
    Tensor([ 1,  2, 10, 20])
    """
    return _arranged(a, np.kron, np.ones(np.shape(b), int)) * tile(b, np.shape(a))


def cross(a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> Tensor:
    """a × b, for vectors of three elements along an axis.

    Raises:
        ShapeError: that axis of a or b is not of length 3.

    >>> tg.cross([1.0, 0.0, 0.0], [0.0, 1.0, 0.0])
    Tensor([0., 0., 1.])
    """
    axisa, axisb, axisc = (axisa, axisb, axisc) if axis is None else (axis,) * 3
    a, b = moveaxis(a, axisa, -1), moveaxis(b, axisb, -1)
    if not a.shape[-1] == b.shape[-1] == 3:
        raise refusal("cross", (a, b), ValueError("vectors of three elements are needed"))
    return moveaxis(roll(a, -1, -1) * roll(b, 1, -1) - roll(a, 1, -1) * roll(b, -1, -1), -1, axisc)


def outer(a: Any, b: Any) -> Tensor:
    """a ᵗb, the products of every element of a with every element of b: (m, n) for m and n elements.

    >>> tg.outer([1, 10], [1, 2, 3])
    Tensor([[ 1,  2,  3],
            [10, 20, 30]])
    """
    return record(primitives.outer, (ravel(a), ravel(b)))


def einsum(subscripts: str, *operands: Any, optimize: Any = False) -> Tensor:
    """A sum of products by Einstein's convention, a letter for every axis: "hi,bi->bh" is W x for a batch x.

    As in NumPy, an ellipsis stands for the axes that have no letter, a letter twice in an operand for its diagonal,
    and an axis of 1 broadcasts.

    Raises:
        ShapeError: the subscripts do not fit the operands.
        TypeError: the subscripts are not a string.

    >>> tg.einsum("hi,bi->bh", [[1.0, 2.0]], [[3.0, 4.0]])
    Tensor([[11.]])
    """
    if not isinstance(subscripts, str):
        raise TypeError('einsum(subscripts, *operands): the subscripts come first, as a string such as "ij,jk->ik"')
    inputs, arrow, output = subscripts.replace(" ", "").partition("->")
    terms, xs = inputs.split(","), [as_tensor(x) for x in operands]
    if len(terms) != len(xs):
        raise ShapeError(f"einsum({subscripts!r}): {len(terms)} operands are needed, not {len(xs)}")
    dots = [x.ndim - len(term) + 3 if "..." in term else 0 for term, x in zip(terms, xs, strict=True)]
    ellipsis = "".join([c for c in string.ascii_letters if c not in subscripts][: np.max(dots)])
    if not arrow:
        output = "..." + "".join(sorted(c for c in set(inputs) - {",", "."} if inputs.count(c) == 1))
    if ellipsis and "..." not in output:
        raise ShapeError(f"einsum({subscripts!r}): the axes of the ellipsis are missing in the output")
    terms = [term.replace("...", ellipsis[len(ellipsis) - n :]) for term, n in zip(terms, dots, strict=True)]
    longer = {c for term, x in zip(terms, xs, strict=True) for c, n in zip(term, x.shape, strict=False) if n != 1}
    for i, (term, x) in enumerate(zip(terms, xs, strict=True)):
        kept = "".join(dict.fromkeys(c for c, n in zip(term, x.shape, strict=False) if n != 1 or c not in longer))
        if kept != term:  # a diagonal, or without an axis of 1 that broadcasts
            number = string.ascii_letters.index
            terms[i], xs[i] = kept, _arranged(x, np.einsum, list(map(number, term)), list(map(number, kept)))
    return record(primitives.einsum, tuple(xs), f"{','.join(terms)}->{output.replace('...', ellipsis)}")


# Reductions, over an axis, axes or all


def sum(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The sum.

    >>> tg.sum([[1, 2], [3, 4]], axis=0)
    Tensor([4, 6])
    """
    return record(primitives.sum_, (x,), axis, keepdims)


def mean(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The arithmetic mean: the sum divided by the count.

    >>> tg.mean([[1.0, 2.0], [3.0, 4.0]], axis=0)
    Tensor([2., 3.])
    """
    total = sum(x, axis, keepdims)
    return total / (np.size(x) / (total.size or 1))


def var(x: Any, axis: Axis = None, keepdims: bool = False, ddof: int = 0) -> Tensor:
    """The mean squared distance from the mean; with `ddof`, divided by the count less that.

    >>> tg.var([1.0, 2.0, 3.0, 4.0])
    Tensor(1.25)
    """
    away = square(x - mean(x, axis, keepdims=True))
    total = sum(away, axis, keepdims)
    return total / float(np.maximum(away.size / (total.size or 1) - ddof, 0.0))


def std(x: Any, axis: Axis = None, keepdims: bool = False, ddof: int = 0) -> Tensor:
    """The square root of the variance, with the derivative 0 where all are equal.

    >>> tg.std([1.0, 3.0])
    Tensor(1.)
    """
    return _root(var(x, axis, keepdims, ddof))


def average(x: Any, axis: int | None = None, weights: Any = None, keepdims: bool = False) -> Tensor:
    """The mean, or Σ w x / Σ w with weights of the shape of x, or one for each place along the axis.

    >>> tg.average([1.0, 3.0], weights=[3.0, 1.0])
    Tensor(1.5)
    """
    if weights is None:
        return mean(x, axis, keepdims)
    _fits(as_tensor(x), np.average, axis, np.ones(np.shape(weights)))
    if np.shape(weights) != np.shape(x):
        along = primitives.axes_of(axis, np.ndim(x))
        weights = reshape(weights, [n if a in along else 1 for a, n in enumerate(np.shape(x))])
    return sum(x * as_tensor(weights), axis, keepdims) / sum(broadcast_to(weights, np.shape(x)), axis, keepdims)


def median(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The middle one of the elements in order, or the mean of the two in the middle, which share the gradient.

    >>> tg.median([5.0, 1.0, 2.0])
    Tensor(2.)
    """
    x = as_tensor(x)
    if x.size == 0:
        return mean(x, axis, keepdims)
    shape = sum(x.detach(), axis, keepdims).shape  # which refuses what are no axes of x
    reduced = primitives.axes_of(axis, x.ndim) if x.ndim else ()
    rest = [a for a in range(x.ndim) if a not in reduced]
    x = sort(reshape(transpose(x, (*rest, *reduced)), (*(x.shape[a] for a in rest), -1)))
    middle = mean(x[..., (x.shape[-1] - 1) // 2 : x.shape[-1] // 2 + 1], -1)
    return reshape(where(np.isnan(x[..., -1]), x[..., -1], middle), shape)


def norm(x: Any, ord: Any = None, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The length √(Σ x²) of a vector, of the vectors along an axis, or of all elements; derivative 0 at 0.

    `ord` is as `np.linalg.norm` has it: p for (Σ |x|^p)^(1/p), inf or -inf for the largest or the smallest |x|. For
    p < 1 the derivative by an element that is 0, where there is none, is 0 too.

    Raises:
        ValueError: a norm of matrices other than the default, "fro"; p = 0.

    >>> tg.norm([3.0, 4.0])
    Tensor(5.)
    """
    x = as_tensor(x)
    axes = x.ndim if axis is None else np.size(axis)
    if ord is None or (ord, axes) in [("fro", 2), (2, 1)]:
        return _root(sum(square(x), axis, keepdims))
    if axes != 1 or ord in (0, "fro", "nuc"):
        raise refusal("norm", (x,), ValueError(f"ord={ord!r} is not supported for {axes} axes"))
    if np.isinf(ord):
        return (max if ord > 0 else min)(abs(x), axis, keepdims)
    powers = _root(abs(x), ord) if ord < 1 else abs(x) ** ord
    return _root(sum(powers, axis, keepdims), 1.0 / ord)


def prod(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The product along an axis, axes or all; multiplied one by one, so that zeros keep their gradients.

    >>> tg.prod([2.0, 3.0, 4.0])
    Tensor(24.)
    """
    x = _widened(as_tensor(x))
    shape = sum(x.detach(), axis, keepdims).shape  # which refuses what are no axes of x
    for a in primitives.axes_of(axis, x.ndim) if x.ndim else ():
        x = functools.reduce(multiply, _slices(x, a)) if x.shape[a] else 1 + sum(x, a, keepdims=True)
    return x if x.shape == shape else reshape(x, shape)


def cumprod(x: Any, axis: int | None = None) -> Tensor:
    """The running products along an axis, or of all elements in one row.

    >>> tg.cumprod([2.0, 3.0, 4.0])
    Tensor([ 2.,  6., 24.])
    """
    x = _widened(as_tensor(x))
    x, axis = (ravel(x), 0) if axis is None else (atleast_1d(_fits(x, np.cumprod, axis)), axis)
    return concatenate([*itertools.accumulate(_slices(x, axis), multiply)] or [x], axis)


def _widened(x: Tensor) -> Tensor:
    """Whole numbers in the type in which NumPy multiplies them up."""
    return x if x.dtype.kind == "f" else x.astype(np.prod(np.empty(0, x.dtype)).dtype)


def _slices(x: Tensor, axis: int) -> list[Tensor]:
    """The slices at each place along an axis, which is kept."""
    return [x[_along(x, axis, slice(i, i + 1))] for i in range(x.shape[axis])]


def _along(x: Tensor, axis: int, index: Any) -> tuple:
    """An index along one axis."""
    return (*[slice(None)] * range(x.ndim)[axis], index)


def cumsum(x: Any, axis: int | None = None) -> Tensor:
    """The running sums along an axis, or of all elements in one row.

    >>> tg.cumsum([2.0, 3.0, 4.0])
    Tensor([2., 5., 9.])
    """
    return record(primitives.cumsum, (ravel(x),), 0) if axis is None else record(primitives.cumsum, (x,), axis)


def diff(x: Any, n: int = 1, axis: int = -1) -> Tensor:
    """The differences of neighbours along an axis; n times.

    >>> tg.diff([2.0, 3.0, 7.0])
    Tensor([1., 4.])
    """
    x = _fits(as_tensor(x), np.diff, n, axis)
    for _ in range(n):
        x = x[_along(x, axis, slice(1, None))] - x[_along(x, axis, slice(None, -1))]
    return x


def max(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The largest element; where it stands more than once, each place gets an equal part of the gradient.

    >>> tg.max([[1, 2], [3, 4]], axis=0)
    Tensor([3, 4])
    """
    return record(primitives.max_, (x,), axis, keepdims)


def min(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The smallest element; where it stands more than once, each place gets an equal part of the gradient.

    >>> tg.min([[1, 2], [3, 4]], axis=0)
    Tensor([1, 2])
    """
    return record(primitives.min_, (x,), axis, keepdims)


def logsumexp(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """log Σ e^x, shifted by the largest element so that nothing overflows.

    >>> tg.logsumexp([1000.0, 1000.0])
    Tensor(1000.69314718)
    """
    largest = max(as_tensor(x).detach(), axis, keepdims=True)
    shift = where(np.isfinite(largest), largest, 0.0)
    total = log(sum(exp(x - shift), axis, keepdims))
    return total + (shift if keepdims else shift.reshape(total.shape))


def softmax(x: Any, axis: int = -1) -> Tensor:
    """e^x / Σ e^x along an axis (IIT slides: ŷ = softmax(V h)), shifted so that nothing overflows.

    >>> tg.softmax([0.0, 0.0])
    Tensor([0.5, 0.5])
    """
    return record(primitives.softmax, (x,), axis)


def log_softmax(x: Any, axis: int = -1) -> Tensor:
    """log softmax(x) = x - log Σ e^x along an axis, exact where softmax itself would round to 0.

    >>> tg.log_softmax([0.0, 0.0])
    Tensor([-0.69314718, -0.69314718])
    """
    return record(primitives.log_softmax, (x,), axis)


# Shapes


def reshape(x: Any, shape: int | Sequence[int]) -> Tensor:
    """The same elements in another shape.

    >>> tg.reshape([1, 2, 3, 4], (2, -1)).shape
    (2, 2)
    """
    return record(primitives.reshape, (x,), tuple(shape) if np.iterable(shape) else shape)


def transpose(x: Any, axes: Sequence[int] | None = None) -> Tensor:
    """The axes in another order; reversed if none is given.

    >>> tg.transpose([[1], [2]])
    Tensor([[1, 2]])
    """
    return record(primitives.transpose, (x,), None if axes is None else tuple(np.ravel(axes).tolist()))


def broadcast_to(x: Any, shape: int | Sequence[int]) -> Tensor:
    """x repeated along new and stretched axes to fill a shape.

    >>> tg.broadcast_to([1, 2], (3, 2)).shape
    (3, 2)
    """
    return record(primitives.broadcast_to, (x,), tuple(shape) if np.iterable(shape) else shape)


def concatenate(tensors: Sequence[Any], axis: int | None = 0) -> Tensor:
    """Tensors joined along an axis that they have; with axis None, all elements of all in one row.

    >>> tg.concatenate([[1, 2], [3]])
    Tensor([1, 2, 3])
    """
    if axis is None:
        tensors, axis = [ravel(x) for x in tensors], 0
    return record(primitives.concatenate, tuple(tensors), axis)


def hstack(tensors: Sequence[Any]) -> Tensor:
    """Tensors joined along the second axis; vectors, one after the other.

    >>> tg.hstack([[1, 2], [3]])
    Tensor([1, 2, 3])
    """
    tensors = [atleast_1d(x) for x in tensors]
    return concatenate(tensors, 0 if tensors and tensors[0].ndim == 1 else 1)


def column_stack(tensors: Sequence[Any]) -> Tensor:
    """Matrices joined along the second axis, a vector being a column.

    >>> tg.column_stack([[1, 2], [3, 4]]).shape
    (2, 2)
    """
    return concatenate([x if np.ndim(x) > 1 else reshape(x, (-1, 1)) for x in tensors], 1)


append = _described("More after x. >>> append([1], [2]) -> [1, 2]", lambda x, y, axis=None: concatenate([x, y], axis))


def stack(tensors: Sequence[Any], axis: int = 0) -> Tensor:
    """Tensors of one shape joined along a new axis.

    >>> tg.stack([[1, 2], [3, 4]]).shape
    (2, 2)
    """
    return record(primitives.stack, tuple(tensors), axis)


# What only moves elements or axes: NumPy's own function, run on their numbers, says which goes where.


def _by_numpy(x: Any, stand_in: np.ndarray, function: Callable, *arguments: Any, **keywords: Any) -> Any:
    """The result of a function of NumPy on an array that stands in for x."""
    try:
        return on_values(function)(stand_in, *arguments, **keywords)
    except (ValueError, IndexError, TypeError) as error:
        raise refusal(function.__name__, (as_tensor(x),), error) from error


def _fits(x: Tensor, *how: Any) -> Tensor:
    """x, unless NumPy's function refuses its shape."""
    _by_numpy(x, np.ones(x.shape), *how)
    return x


def _reshaped(x: Any, *how: Any, **keywords: Any) -> Tensor:
    """x in the shape that a function of NumPy gives it."""
    return reshape(x, _by_numpy(x, np.empty(np.shape(x), bool), *how, **keywords).shape)


def _turned(x: Any, *how: Any, **keywords: Any) -> Tensor:
    """x with its axes in the order in which a function of NumPy puts those of an array of shape (0, 1, 2, ...)."""
    return transpose(x, _by_numpy(x, np.empty(tuple(range(np.ndim(x)))), *how, **keywords).shape)


def _arranged(x: Any, *how: Any, **keywords: Any) -> Any:
    """The elements of x where a function of NumPy brings their numbers, from 1 on; zeros where it makes zeros."""
    numbers = _by_numpy(x, np.arange(1, np.size(x) + 1).reshape(np.shape(x)), *how, **keywords)
    several = isinstance(numbers, (list, tuple))
    return [_moved(x, part) for part in numbers] if several else _moved(x, np.asarray(numbers))


def _moved(x: Any, numbers: np.ndarray) -> Tensor:
    if numbers.all():
        return record(primitives.getitem, (ravel(x),), numbers - 1)
    return record(primitives.scatter, (_moved(x, numbers[numbers > 0]),), numbers > 0, numbers.shape)


def _moving(function: Callable, description: str = "", how: Callable = _arranged) -> Callable[..., Tensor]:
    """A function of NumPy that only moves elements or axes, as one on Tensors."""
    moving = functools.wraps(function, assigned=())(lambda x, *ys, **keywords: how(x, function, *ys, **keywords))
    return _described(description, moving)


swapaxes = _moving(np.swapaxes, "Two axes exchanged. >>> swapaxes([[1], [2]], 0, 1) -> [[1, 2]]", _turned)
moveaxis = _moving(np.moveaxis, "Axes moved to other places. >>> moveaxis([[1], [2]], 0, 1) -> [[1, 2]]", _turned)
squeeze = _moving(np.squeeze, "Without axes of length 1, or those named. >>> squeeze([[1, 2]]) -> [1, 2]", _reshaped)
expand_dims = _moving(np.expand_dims, "With new axes of length 1. >>> expand_dims([1, 2], 0) -> [[1, 2]]", _reshaped)
flip = _moving(np.flip, "Reversed along an axis, axes, or all. >>> flip([1, 2, 3]) -> [3, 2, 1]")
flipud = _moving(np.flipud, "Reversed along the first axis. >>> flipud([1, 2]) -> [2, 1]")
fliplr = _moving(np.fliplr, "Reversed along the second axis. >>> fliplr([[1, 2]]) -> [[2, 1]]")
roll = _moving(np.roll, "Shifted along an axis; what leaves comes in again. >>> roll([1, 2, 3], 1) -> [3, 1, 2]")
repeat = _moving(np.repeat, "Each element, or slice along an axis, repeated. >>> repeat([1, 2], 2) -> [1, 1, 2, 2]")
tile = _moving(np.tile, "The whole, repeated along each axis. >>> tile([1, 2], 2) -> [1, 2, 1, 2]")
take_along_axis = _moving(np.take_along_axis, "At indices. >>> take_along_axis([5, 6], np.array([1]), 0) -> [6]")
diagonal = _moving(np.diagonal, "Elements of equal indices along two axes. >>> diagonal([[1, 2], [3, 4]]) -> [1, 4]")
diag = _moving(np.diag, "A matrix's diagonal; of a vector, the matrix. >>> diag([[1, 2], [3, 4]]) -> [1, 4]")
tril = _moving(np.tril, "A matrix with zeros above a diagonal. >>> tril([[1, 2], [3, 4]])[0] -> [1, 0]")
triu = _moving(np.triu, "A matrix with zeros below a diagonal. >>> triu([[1, 2], [3, 4]])[1] -> [0, 4]")
atleast_1d = _of("With an axis, if it has none. >>> atleast_1d(1.0) -> [1.]", lambda x: _reshaped(x, np.atleast_1d))
atleast_2d = _of("With two axes at least. >>> atleast_2d([1]) -> [[1]]", lambda x: _reshaped(x, np.atleast_2d))
atleast_3d = _of("With three axes at least. >>> atleast_3d([1]) -> [[[1]]]", lambda x: _reshaped(x, np.atleast_3d))
vstack = _described("Along axis 0. >>> vstack([[1]]) -> [[1]]", lambda xs: concatenate([atleast_2d(x) for x in xs]))
dstack = _described("Along axis 2. >>> dstack([1]) -> [[[1]]]", lambda xs: concatenate([atleast_3d(x) for x in xs], 2))


def split(x: Any, indices_or_sections: Any, axis: int = 0) -> list[Tensor]:
    """Parts along an axis: so many equal ones, or cut at the indices.

    >>> tg.split([1, 2, 3, 4], 2)
    [Tensor([1, 2]), Tensor([3, 4])]
    """
    return _arranged(x, np.split, indices_or_sections, axis)


def array_split(x: Any, indices_or_sections: Any, axis: int = 0) -> list[Tensor]:
    """Parts along an axis: so many nearly equal ones, or cut at the indices.

    >>> tg.array_split([1, 2, 3], 2)
    [Tensor([1, 2]), Tensor([3])]
    """
    return _arranged(x, np.array_split, indices_or_sections, axis)


def take(x: Any, indices: Any, axis: int | None = None, **keywords: Any) -> Tensor:
    """The elements, or the slices along an axis, at the indices; a program reads those in a Tensor at each call.

    >>> tg.take([5, 6, 7], [2, 0])
    Tensor([7, 5])
    """
    if not isinstance(indices, Tensor):
        return _arranged(x, np.take, indices, axis, **keywords)
    x, axis = (ravel(x), 0) if axis is None else (as_tensor(x), axis)
    return x[_along(x, axis, indices)]


def trace(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """The sum of the diagonal.

    >>> tg.trace([[1, 2], [3, 4]])
    Tensor(5)
    """
    return sum(diagonal(x, offset, axis1, axis2), -1)


def sort(x: Any, axis: int | None = -1, kind: Any = None, stable: Any = None) -> Tensor:
    """The elements in ascending order along an axis, or all in one row; `kind` and `stable` make no difference.

    >>> tg.sort([3, 1, 2])
    Tensor([1, 2, 3])
    """
    x, axis = (ravel(x), -1) if axis is None else (_fits(as_tensor(x), np.sort, axis), axis)
    index = list(np.ogrid[tuple(map(slice, x.shape))])
    index[axis] = x.argsort(axis)
    return x[tuple(index)]


def pad(x: Any, pad_width: Any, mode: str = "constant", constant_values: Any = 0.0) -> Tensor:
    """x with a border of constants, or of its own elements: mode "edge", "reflect", "symmetric" or "wrap".

    Raises:
        TypeError: one of NumPy's other modes, which compute the border.

    >>> tg.pad([1, 2], 1)
    Tensor([0, 1, 2, 0])
    """
    if mode not in ("constant", "edge", "reflect", "symmetric", "wrap"):
        raise TypeError(f"pad(mode={mode!r}): not one of 'constant', 'edge', 'reflect', 'symmetric', 'wrap'")
    padded = _arranged(x, np.pad, pad_width, mode)
    border = np.pad(np.zeros(np.shape(x), padded.dtype), pad_width, constant_values=constant_values)
    return padded + border if mode == "constant" else padded


# Primitives of one's own


def primitive(
    name: str, forward: Callable[..., Any], written: str, *rules: Callable[..., Any] | tuple[Callable[..., Any], str],
    code: str | None = None, by_element: bool | None = None,
) -> Callable[..., Tensor]:  # fmt: skip
    """A primitive of one's own, a row of the table of primitives that is not entered there, as a function on Tensors.

    >>> softsign = tg.primitive(
    ...     "softsign", lambda x: x / (1.0 + np.abs(x)), "softsign({x})",
    ...     lambda g, ans, x: g / np.square(1.0 + np.abs(x)),
    ... )
    >>> softsign([-1.0, 3.0])
    Tensor([-0.5 ,  0.75])

    `check_gradients` with order=2 says whether its rules are right, as the tests do of the table:

    >>> tg.check_gradients(softsign, 3.0, order=2) < 1e-8
    True

    Args:
        name: what errors, figures and programs call it, an identifier.
        forward: runs on arrays: the inputs, then static arguments, such as an axis. It changes none of them.
        written: how a person writes it, as in the table, with the arguments in braces; what cannot be read as such a
            formula is written as name(arguments).
        rules: per input one, `vjp(g, ans, *arguments)`: the cotangent g of the output `ans` times the local derivative,
            in operators, functions of NumPy and of this module, which run on arrays and on Tensors; or a pair of it and
            how a person writes the derivative. It writes into no argument either: g is that of other uses of x too, so
            that `check_gradients` of f(x) + x finds it.
        code: how a program writes it in NumPy, with the arguments in braces, where `forward` cannot be read: where it
            is no single expression, and its source is not there or needs more than NumPy and functions. It is compared
            with `forward` at the first call.
        by_element: whether it works element by element, on inputs that are broadcast, so that a program can compute all
            time steps at once; None finds out whether `forward` is such a function of NumPy's.

    Raises:
        TypeError, ValueError: an argument is not as described.
    """
    call = f"primitive({name!r})"
    if not checks.instance("primitive(name, ...)", name, str, "a string").isidentifier():
        raise ValueError(f"{call}: the name is an identifier, such as softsign")
    vjps = [rule[0] if isinstance(rule, tuple) and len(rule) == 2 else rule for rule in rules]
    if not callable(forward) or not vjps or not all(hasattr(vjp, "__code__") for vjp in vjps):
        wanted = "a forward function is needed, and for each input a function vjp(g, ans, *arguments)"
        raise TypeError(f"{call}: {wanted}, or a pair of it and how its derivative is written")
    row = primitives.row(name, forward, written, *rules)
    given, names = len(vjps), row.argument_names
    if len(names) < given or any(vjp.__code__.co_argcount != len(names) + 2 for vjp in vjps):
        raise ValueError(f"{call}: each rule takes g, ans and all arguments, of which the first {given} are inputs")
    for text in (written, *filter(None, row.derivatives)):
        checks.instance(call, text, str, "how it is written, a string,")
        try:
            text.format(**dict.fromkeys([*names, "f"], ""))
        except (ValueError, LookupError) as error:
            known = f"the arguments {', '.join(names)} stand in braces, and nothing else does"
            raise ValueError(f"{call}: in {text!r}, {known}: {error}") from error
    vjps = [_checked(call, i, vjp) for i, vjp in enumerate(vjps)]
    by_element = row.by_element if by_element is None else by_element
    code = code and re.sub(r"\{(\w+)\}", r"\1", code)
    row = dataclasses.replace(row, vjps=vjps, is_view=not row.by_element, by_element=by_element, code=code)
    uncompared = [code] if code else []

    def function(*arguments: Any) -> Tensor:
        static = [x.copy() if isinstance(x, np.ndarray) else x for x in arguments[given:]]  # the graph's own
        result = record(row, arguments[:given], *static)
        kinds, wanted = ("f", "floating point") if result.requires_grad else ("fiub", "real")
        if result.dtype.kind not in kinds:
            raise TypeError(f"{name}: its forward function gives no array of {wanted} numbers but {result.dtype}")
        if uncompared and observer.get() is None:
            _compare(row, [*map(bare, arguments)], result.value)
            uncompared.clear()
        return result

    function.__name__ = function.__qualname__ = name
    return _described(written, function)


def _checked(call: str, i: int, vjp: Callable) -> Callable:
    """A rule that says so where it gives no array of real numbers, of the shape of the answer or of its input."""
    told = f"{call}: the rule of input {i} must give an array of real numbers of the shape of g, not"

    def rule(g: Any, ans: Any, *arguments: Any) -> Any:
        term = vjp(g, ans, *arguments)
        if term is None or type(term) in (int, float, complex, list, tuple):
            raise TypeError(f"{told} {term!r}")
        is_array = isinstance(term, (Tensor, np.ndarray, np.generic))  # and not a symbol
        if is_array and (term.dtype.kind not in "fiub" or term.shape not in (g.shape, arguments[i].shape)):
            raise ShapeError(f"{told} {term.dtype} of shape {term.shape}")
        return term if isinstance(g, Tensor) else bare(term)  # functions of this module give Tensors of arrays

    return rule


def _compare(row: primitives.Primitive, arguments: Sequence[Any], expected: np.ndarray) -> None:
    """Compare a row's code, run once, with its forward function.

    Raises:
        ValueError: its code gives other values, or cannot be run.
    """
    around = getattr(row.forward, "__globals__", {}) | {"np": np}
    try:
        found = eval(str(row.code), around, dict(zip(row.argument_names, arguments, strict=True)))
    except Exception as error:
        raise ValueError(f"primitive({row.name!r}): its code {row.code!r} cannot be run: {error}") from error
    if np.shape(found) != expected.shape or not np.allclose(found, expected, 1e-5, 1e-5, equal_nan=True):
        raise ValueError(f"primitive({row.name!r}): its code {row.code!r} gives other values than its forward function")


# NumPy's function of the same name does the same on Tensors, and so do some that are called otherwise.

for _name in __all__:
    _function = globals()[_name]
    _function.__name__, _function.__qualname__, _function.__module__ = _name, _name, __name__
    _by_element = getattr(primitives.TABLE.get(_name), "by_element", False)
    _shapes = "\n\nElement by element; shapes that do not broadcast raise a ShapeError." if _by_element else ""
    _example = rf"\1{_shapes}\n\n>>> tg.\2\nTensor(\3)"  # that of "-x. >>> negative(2.0) -> -2.", as a doctest
    _function.__doc__ = re.sub("^(.*) >>> (.*) -> (.*)$", _example, _function.__doc__ or "")
    if hasattr(np, _name):
        NUMPY_FUNCTIONS[getattr(np, _name)] = _function
for _function in (np.delete, np.diagflat, np.dsplit, np.hsplit, np.resize, np.rot90, np.vsplit):
    NUMPY_FUNCTIONS[_function] = _moving(_function)
NUMPY_FUNCTIONS |= {
    np.amax: max, np.amin: min, np.conjugate: positive, np.copy: positive, np.fabs: abs, np.linalg.norm: norm,
    np.full_like: lambda x, *how, **keywords: np.full_like(bare(x), *how, **keywords), np.real: positive,
}  # fmt: skip

# Operators and methods: the same functions, with the Tensor as their first argument, or as the second of an array + t.


def _reflected(function: Callable[[Any, Any], Tensor]) -> Callable[[Any, Any], Tensor]:
    return lambda x, y: function(y, x)


for _name, _operator in {
    "add": add, "sub": subtract, "mul": multiply, "truediv": divide, "mod": mod, "matmul": matmul, "pow": power,
}.items():  # fmt: skip
    setattr(Tensor, f"__{_name}__", _operator)
    setattr(Tensor, f"__r{_name}__", _reflected(_operator))


def astype(x: Tensor, dtype: Any) -> Tensor:
    """The same numbers as float32 or float64; if no gradient is wanted, as integers or booleans too.

    Raises:
        TypeError: another type, through which no gradient could flow.
    """
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64) and (x.requires_grad or dtype.kind not in "iub"):
        raise TypeError(f"astype({str(dtype)!r}): a Tensor can become float32 or float64")
    return record(primitives.astype, (x,), dtype)


def _of_numbers(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function of numbers as a method, to which they are given one by one, as one tuple, or not at all."""

    @functools.wraps(function)
    def method(self: Tensor, *numbers: Any) -> Tensor:
        return function(self, *(numbers if len(numbers) == 1 else [numbers] if numbers else []))

    return method


_methods = (
    abs, astype, clip, cumprod, cumsum, diagonal, dot, exp, log, log_softmax, matmul, max, mean, min, norm, prod, ravel,
    relu, repeat, sigmoid, softmax, sqrt, square, squeeze, std, sum, swapaxes, take, tanh, trace, var,
)  # fmt: skip
for _name, _method in {
    **{method.__name__: method for method in _methods}, "__neg__": negative, "__pos__": positive, "__abs__": abs,
    "clone": positive, "flatten": ravel, "unsqueeze": expand_dims, "permute": _of_numbers(transpose),
    "transpose": _of_numbers(transpose), "reshape": _of_numbers(reshape), "view": _of_numbers(reshape),
}.items():  # fmt: skip
    setattr(Tensor, _name, _method)
