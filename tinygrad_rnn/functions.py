"""The functions that users call on Tensors, with NumPy's names and keywords.

A function here either records one primitive of the table, or is composed of such functions in a line or two. Where
NumPy has a function of the name, it does the same when it meets a Tensor: `np.sum(t, axis=0)` is `tg.sum(t, axis=0)`.
"""

from __future__ import annotations

import builtins
import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_rnn import primitives, tensor
from tinygrad_rnn.errors import ShapeError
from tinygrad_rnn.tensor import NUMPY_FUNCTIONS, Axis, Tensor, as_tensor, bare, binary, record, refused, unary

__all__ = [
    "abs", "add", "affine", "arctan", "broadcast_to", "clip", "concatenate", "cos", "cosh", "cumsum", "divide", "dot",
    "einsum", "exp", "expand_dims", "expm1", "flip", "lerp", "linear", "log", "log1p", "log_softmax", "logsumexp",
    "matmul", "max", "maximum", "mean", "min", "minimum", "multiply", "negative", "outer", "pad", "positive", "power",
    "prod", "ravel", "reciprocal", "relu", "repeat", "reshape", "roll", "sigmoid", "sign", "sin", "sinh", "softmax",
    "softplus", "split", "sqrt", "square", "squeeze", "stack", "std", "subtract", "sum", "swapaxes", "take", "tan",
    "tanh", "tile", "transpose", "var", "where",
]  # fmt: skip


def _implements(numpy_function: Callable) -> Callable[[Callable], Callable]:
    """Let NumPy's function do what the decorated one does when it is called on a Tensor."""

    def enter(function: Callable) -> Callable:
        NUMPY_FUNCTIONS[numpy_function] = function
        return function

    return enter


# Elementwise, with broadcasting: primitives

positive = unary(primitives.identity, "+x: the identity, as a node of its own.")
negative = unary(primitives.negative, "-x.")
add = binary(primitives.add, "x + y.")
subtract = binary(primitives.subtract, "x - y.")
multiply = binary(primitives.multiply, "x * y.")
divide = binary(primitives.divide, "x / y.")
square = unary(primitives.square, "x².")
tanh = unary(primitives.tanh, "The hyperbolic tangent; derivative 1 - tanh²(x).")
sigmoid = unary(primitives.sigmoid, "σ(x) = 1 / (1 + e^-x); derivative σ(x) (1 - σ(x)), at most 1/4 (seed 004).")
relu = unary(primitives.relu, "max(x, 0); derivative 1 where x > 0 and 0 elsewhere.")
softplus = unary(primitives.softplus, "log(1 + e^x), without overflow; derivative σ(x).")
exp = unary(primitives.exp, "e^x.")
log = unary(primitives.log, "The natural logarithm.")
sqrt = unary(primitives.sqrt, "The square root.")
abs = unary(primitives.abs_, "|x|; derivative sign(x), 0 at 0.")
sign = unary(primitives.sign, "-1, 0 or 1; derivative 0.")
sin = unary(primitives.sin, "The sine.")
cos = unary(primitives.cos, "The cosine.")
arctan = unary(primitives.arctan, "The inverse of the tangent.")
sinh = unary(primitives.sinh, "The hyperbolic sine.")
cosh = unary(primitives.cosh, "The hyperbolic cosine.")
expm1 = unary(primitives.expm1, "e^x - 1, exact for small x.")
log1p = unary(primitives.log1p, "log(1 + x), exact for small x.")
maximum = binary(primitives.maximum, "The larger of x and y; where they are equal each gets half of the gradient.")
minimum = binary(primitives.minimum, "The smaller of x and y; where they are equal each gets half of the gradient.")

# Elementwise, with broadcasting: composed, or with a plain argument


@_implements(np.power)
def power(x: Any, y: Any) -> Tensor:
    """x ** y."""
    return tensor.power(x, y)


@_implements(np.reciprocal)
def reciprocal(x: Any) -> Tensor:
    """1 / x."""
    return 1.0 / as_tensor(x)


@_implements(np.tan)
def tan(x: Any) -> Tensor:
    """The tangent, sin(x) / cos(x)."""
    return sin(x) / cos(x)


def lerp(x: Any, y: Any, z: Any) -> Tensor:
    """(1 - z) x + z y, from x where z is 0 to y where it is 1: linear interpolation."""
    return record(primitives.lerp, (x, y, z))


@_implements(np.clip)
def clip(x: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Tensor:
    """x held between a minimum and a maximum, either of which may be None; at one, half of the gradient flows."""
    a_min, a_max = min if a_min is None else a_min, max if a_max is None else a_max
    x = as_tensor(x) if a_min is None else maximum(x, a_min)
    return x if a_max is None else minimum(x, a_max)


@_implements(np.where)
def where(condition: Any, x: Any, y: Any) -> Tensor:
    """x where the condition holds and y elsewhere; no gradient flows to the condition."""
    condition = as_tensor(condition)
    return record(primitives.where, (x, y, condition if condition.dtype == bool else as_tensor(condition != 0)))


# Products

matmul = binary(primitives.matmul, "A @ B by NumPy's rules: vectors, matrices, and stacks of matrices that broadcast.")
linear = binary(primitives.linear, "W x for W (out, in) and x (in,); for a batch x (..., in) the same for every row.")


def affine(W: Any, x: Any, U: Any, h: Any, b: Any) -> Tensor:
    """W x + U h + b, what goes into a gate, as one node; x (D,) and h (H,) are vectors, or batches (..., D), (..., H).

    Raises:
        ShapeError: the shapes do not fit, or b is not a vector.
    """
    return record(primitives.affine, (W, x, U, h, b))


@_implements(np.dot)
def dot(a: Any, b: Any) -> Tensor:
    """The product of vectors, matrices or numbers; a sum over the last axis of a and the first of b (b has up to two).

    Raises:
        ShapeError: b has more than two axes; `matmul` takes stacks of matrices.
    """
    if np.ndim(b) > 2:
        raise ShapeError(f"dot: b has the shape {np.shape(b)}; use matmul for stacks of matrices")
    return multiply(a, b) if 0 in (np.ndim(a), np.ndim(b)) else matmul(a, b)


@_implements(np.outer)
def outer(a: Any, b: Any) -> Tensor:
    """a ᵗb, the products of every element of a with every element of b: (m, n) for m and n elements."""
    return record(primitives.outer, (ravel(a), ravel(b)))


@_implements(np.einsum)
def einsum(subscripts: str, *operands: Any) -> Tensor:
    """A sum of products by Einstein's convention, a letter for every axis: "hi,bi->bh" is W x for a batch x.

    Raises:
        ShapeError: the subscripts do not fit the operands, have an ellipsis, or repeat a letter within an operand.
        TypeError: the subscripts are not a string.
    """
    if not isinstance(subscripts, str):
        raise TypeError('einsum(subscripts, *operands): the subscripts come first, as a string such as "ij,jk->ik"')
    inputs, arrow, output = subscripts.replace(" ", "").partition("->")
    if "." in subscripts or any(len(set(letters)) < len(letters) for letters in inputs.split(",")):
        raise ShapeError(f"einsum({subscripts!r}): every axis of an operand needs a letter of its own")
    lengths: dict[str, int] = {}
    for letters, x in zip(inputs.split(","), operands, strict=False):
        for letter, n in zip(letters, np.shape(x), strict=False):
            if lengths.setdefault(letter, n) != n:
                raise ShapeError(f"einsum({subscripts!r}): {letter} is an axis of {lengths[letter]} and one of {n}")
    if not arrow:
        output = "".join(sorted(c for c in set(inputs) - {","} if inputs.count(c) == 1))
    return record(primitives.einsum, operands, f"{inputs}->{output}")


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


@_implements(np.var)
def var(x: Any, axis: Axis = None, keepdims: bool = False, ddof: int = 0) -> Tensor:
    """The mean squared distance from the mean; with `ddof`, divided by the count less that."""
    away = square(x - mean(x, axis, keepdims=True))
    total = sum(away, axis, keepdims)
    return total / np.float64(builtins.max(away.size / builtins.max(total.size, 1) - ddof, 0.0))


@_implements(np.std)
def std(x: Any, axis: Axis = None, keepdims: bool = False, ddof: int = 0) -> Tensor:
    """The square root of the variance."""
    return sqrt(var(x, axis, keepdims, ddof))


@_implements(np.prod)
def prod(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The product along an axis, axes or all; multiplied one by one, so that zeros keep their gradients."""
    x = as_tensor(x)
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    shape = sum(x.detach(), axis, keepdims).shape  # which refuses what are no axes of x
    for a in axes:
        before = (slice(None),) * (operator.index(a) % x.ndim)
        factors = [x[(*before, slice(i, i + 1))] for i in range(x.shape[a])]
        x = functools.reduce(multiply, factors) if factors else exp(sum(x, a, keepdims=True))
    return x if x.shape == shape else reshape(x, shape)


@_implements(np.cumsum)
def cumsum(x: Any, axis: int | None = None) -> Tensor:
    """The running sums along an axis, or of all elements in one row."""
    return record(primitives.cumsum, (ravel(x),), 0) if axis is None else record(primitives.cumsum, (x,), axis)


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
    return record(primitives.log_softmax, (x,), axis)


def _finite_max(x: Any, axis: Axis) -> Tensor:
    """The largest elements as constants, 0 for an infinite one: the results do not depend on the shift."""
    largest = max(as_tensor(x).detach(), axis, keepdims=True)
    return where(np.isfinite(largest), largest, 0.0)


# Shapes


@_implements(np.reshape)
def reshape(x: Any, shape: int | tuple[int, ...]) -> Tensor:
    """The same elements in another shape."""
    return record(primitives.reshape, (x,), shape if np.ndim(shape) == 0 else tuple(shape))


@_implements(np.transpose)
def transpose(x: Any, axes: Sequence[int] | None = None) -> Tensor:
    """The axes in another order; reversed if none is given."""
    return record(primitives.transpose, (x,), None if axes is None else tuple(axes))


@_implements(np.swapaxes)
def swapaxes(x: Any, axis1: int, axis2: int) -> Tensor:
    """Two axes exchanged."""
    order = list(range(np.ndim(x)))
    try:
        order[axis1], order[axis2] = order[axis2], order[axis1]
    except IndexError as error:
        raise refused("swapaxes", (as_tensor(x),), ValueError(f"axes {axis1} and {axis2}: {error}")) from error
    return transpose(x, tuple(order))


@_implements(np.broadcast_to)
def broadcast_to(x: Any, shape: tuple[int, ...]) -> Tensor:
    """x repeated along new and stretched axes to fill a shape."""
    return record(primitives.broadcast_to, (x,), shape if np.ndim(shape) == 0 else tuple(shape))


@_implements(np.concatenate)
def concatenate(tensors: Sequence[Any], axis: int | None = 0) -> Tensor:
    """Tensors joined along an axis that they have; with axis None, all elements of all in one row."""
    if axis is None:
        tensors, axis = [ravel(x) for x in tensors], 0
    return record(primitives.concatenate, tuple(tensors), axis)


@_implements(np.stack)
def stack(tensors: Sequence[Any], axis: int = 0) -> Tensor:
    """Tensors of one shape joined along a new axis."""
    return record(primitives.stack, tuple(tensors), axis)


@_implements(np.ravel)
def ravel(x: Any) -> Tensor:
    """All elements in one row."""
    return reshape(x, (-1,))


@_implements(np.squeeze)
def squeeze(x: Any, axis: Axis = None) -> Tensor:
    """Without the axes of length 1, or without those named."""
    return reshape(x, _places(x, np.squeeze, axis).shape)


@_implements(np.expand_dims)
def expand_dims(x: Any, axis: int | tuple[int, ...]) -> Tensor:
    """With a new axis of length 1 at each place named."""
    return reshape(x, _places(x, np.expand_dims, axis).shape)


# What only moves elements is an indexing: NumPy's own function, run on the elements' numbers, says which goes where.


@_implements(np.flip)
def flip(x: Any, axis: Axis = None) -> Tensor:
    """The elements in the opposite order along an axis, axes, or all."""
    return _moved(x, _places(x, np.flip, axis))


@_implements(np.roll)
def roll(x: Any, shift: Any, axis: Axis = None) -> Tensor:
    """The elements shifted along an axis, those that leave it coming in at the other end."""
    return _moved(x, _places(x, np.roll, shift, axis))


@_implements(np.repeat)
def repeat(x: Any, repeats: Any, axis: int | None = None) -> Tensor:
    """Each element, or each slice along an axis, repeated."""
    return _moved(x, _places(x, np.repeat, repeats, axis))


@_implements(np.tile)
def tile(x: Any, reps: int | Sequence[int]) -> Tensor:
    """The whole repeated along each axis."""
    return _moved(x, _places(x, np.tile, reps))


@_implements(np.take)
def take(x: Any, indices: Any, axis: int | None = None) -> Tensor:
    """The elements, or the slices along an axis, at the indices."""
    if not isinstance(indices, Tensor):
        return _moved(x, _places(x, np.take, indices, axis))
    x = ravel(x) if axis is None else as_tensor(x)
    return x[(slice(None),) * ((axis or 0) % builtins.max(x.ndim, 1)) + (indices,)]


@_implements(np.split)
def split(x: Any, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    """Parts along an axis: so many equal ones, or cut at the indices."""
    return [_moved(x, places) for places in _places(x, np.split, indices_or_sections, axis)]


@_implements(np.pad)
def pad(x: Any, pad_width: Any, mode: str = "constant", constant_values: Any = 0.0) -> Tensor:
    """x with a border of constants, or of its own elements: mode "edge", "reflect", "symmetric" or "wrap".

    Raises:
        TypeError: one of NumPy's other modes, which compute the border.
    """
    if mode in ("edge", "reflect", "symmetric", "wrap"):
        return _moved(x, _places(x, np.pad, pad_width, mode))
    if mode != "constant":
        raise TypeError(f"pad(mode={mode!r}): not one of 'constant', 'edge', 'reflect', 'symmetric', 'wrap'")
    inside = _places(x, np.pad, pad_width, constant_values=-1) >= 0
    border = np.pad(np.zeros(np.shape(x), as_tensor(x).dtype), pad_width, constant_values=constant_values)
    return record(primitives.scatter, (ravel(x),), inside, inside.shape) + np.where(inside, 0.0, border)


def _places(x: Any, function: Callable, *arguments: Any, **keywords: Any) -> Any:
    """What a function of NumPy makes of the elements' numbers, in the shape of x."""
    places = np.arange(np.size(x)).reshape(np.shape(x))
    try:
        return function(places, *(_read(y, function) for y in arguments), **keywords)
    except (ValueError, IndexError, TypeError) as error:
        raise refused(function.__name__, (as_tensor(x),), error) from error


def _read(x: Any, function: Callable) -> Any:
    """What a function that is not recorded takes: the value of a Tensor."""
    if isinstance(x, Tensor):
        tensor.read_out(x, f"{function.__name__}()")
    return bare(x)


def _moved(x: Any, places: np.ndarray) -> Tensor:
    return record(primitives.getitem, (ravel(x),), places)


# Methods: the same functions, with the Tensor as their first argument.

for _function in (
    clip, cumsum, dot, max, mean, min, prod, ravel, repeat, squeeze, std, sum, swapaxes, take, var,
):  # fmt: skip
    setattr(Tensor, _function.__name__, _function)
Tensor.flatten = ravel
NUMPY_FUNCTIONS[np.amax], NUMPY_FUNCTIONS[np.amin] = max, min


# No gradient flows through a choice, a test or a shape: these give plain arrays.


def _plain(function: Callable, reads: bool = True) -> Callable:
    """A function of the values alone; `reads` says whether of the elements, or of shapes."""

    def plain(*arguments: Any, **keywords: Any) -> Any:
        taken = functools.partial(_read, function=function) if reads else bare
        return function(*map(taken, arguments), **{name: taken(x) for name, x in keywords.items()})

    return plain


def _choice(function: Callable, axis: Axis = None) -> Callable:
    """A function of the values alone that a program follows, over an axis."""

    def choice(x: Any, *further: Any, **keywords: Any) -> Any:
        if len(further) > 1 or not keywords.keys() <= {"axis", "keepdims"}:
            return _plain(function)(x, *further, **keywords)
        over = further[0] if further else keywords.get("axis", axis)
        return tensor.test(function, x, static=(over, keywords.get("keepdims", False)))

    return choice


for _function, _axis in ((np.argmax, None), (np.argmin, None), (np.any, None), (np.all, None), (np.argsort, -1)):
    NUMPY_FUNCTIONS[_function] = _choice(_function, _axis)
    setattr(Tensor, _function.__name__, NUMPY_FUNCTIONS[_function])
for _function in (np.allclose, np.isclose, np.array_equal):
    NUMPY_FUNCTIONS[_function] = _plain(_function)
for _function in (np.zeros_like, np.ones_like, np.shape, np.ndim, np.size):
    NUMPY_FUNCTIONS[_function] = _plain(_function, reads=False)
