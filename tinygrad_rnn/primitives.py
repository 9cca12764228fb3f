"""The table of primitives: every operation that can stand in a recorded graph, stated once.

The contract of a row, `row(name, forward, written, rule, ...)`:

- `forward(*arguments)` runs on NumPy arrays. The arguments are the inputs, then static arguments such as an axis.
- One rule per input, `vjp(g, ans, *arguments)`: the cotangent `g` of the output `ans` times the local derivative, which
  is the cotangent of that input. A rule uses operators, NumPy functions and the table's own primitives only, so it runs
  on arrays (the gradient), on Tensors (the gradient as a graph of the same primitives) and on symbols (its formula).
- A rule is pure calculus. Where an input was broadcast, its cotangent comes out in the output's shape; the reverse
  sweep sums it back, in one place (`backward.fit`).
- `written` says how a person writes the expression. Where a person writes a derivative otherwise than its rule does, as
  f′(x), the rule is a pair (vjp, derivative). The names in braces are those of the rule's arguments; `{f}` is the
  nonlinearity.

What else anybody needs to know of an operation, such as that it works by element, are further columns: ask for these,
not for its name. This module knows NumPy and nothing else of the package.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

_ndarray = np.ndarray  # looked up once, not at every call


@dataclass(frozen=True, eq=False)
class Primitive:
    """One row of the table.

    Attributes, for calculus:
        name, forward, written: as in the contract.
        vjps, derivatives: per input its rule, and how its derivative is written, or None where the rule says it.
        argument_names: the arguments, as its rules and its notation spell them.
        variadic: whether it takes any number of inputs alike, then one static argument; its only rule is
            `vjp(i, g, ans, *arguments)` for input i.
        add_to: add_to(total, g, *arguments) adds the rule's term to an array in place, which takes less time than
            the rule.

    Attributes, for formulas and programs, which read, reorder and batch the primitives of a graph:
        by_element: whether it works element by element, on inputs that are broadcast.
        products: the pairs of inputs that are multiplied as matrices, the left one first.
        by_rows: whether it does to each row of a batch what it does to a vector: a product W x, a look-up in a table.
        sums_rows: whether it adds up, over the rows of batches, what it gives for each: a ᵗb, what `scatter` adds.
        reduction: the ufunc that it applies over an axis, as in forward(x, axis, keepdims).
        is_composite: whether it stands for several primitives: its forward function, run on Tensors, records these.
        is_view: whether the result may be the very memory of its input.
        is_copy: whether the result has the elements of its input, in their order; in another shape, its only static
            argument, or in another dtype.
        neutral: per input, the number beside which the other input is the result, to the bit; None if there is none.
        into: into(out, *arguments) writes the result into an array, which may be that of an only input.
        code: how it is written in NumPy, where that is not what its forward function does.
    """

    name: str
    forward: Callable[..., Any]
    written: str
    vjps: Sequence[Callable[..., Any]] = field(default=(), repr=False)
    derivatives: Sequence[str | None] = field(default=(), repr=False)
    argument_names: tuple[str, ...] = field(default=(), repr=False)
    variadic: bool = False
    add_to: Callable[..., None] | None = None

    by_element: bool = False
    products: tuple[tuple[int, int], ...] = ()
    by_rows: bool = False
    sums_rows: bool = False
    reduction: np.ufunc | None = None
    is_composite: bool = False
    is_view: bool = False
    is_copy: bool = False
    neutral: tuple[float | None, ...] = ()
    into: Callable[..., None] | None = None
    code: str | None = None

    def __call__(self, *arguments: Any) -> Any:
        """Run on arrays; a first argument that records (a Tensor) takes the call over, as in NumPy's own protocols.

        In a rule g comes first, or what was made of it or of the inputs, so that the first argument tells.
        """
        if type(arguments[0]) is _ndarray or not hasattr(arguments[0], "__record__"):
            return self.forward(*arguments)
        inputs = len(arguments) - 1 if self.variadic else len(self.vjps)
        while inputs < len(arguments) and hasattr(arguments[inputs], "__record__"):
            inputs += 1  # what an index holds
        return arguments[0].__record__(self, arguments[:inputs], *arguments[inputs:])

    def rule(self, i: int) -> Callable[..., Any]:
        """The vjp of input i."""
        return partial(self.vjps[0], i) if self.variadic else self.vjps[i]


def row(name: str, forward: Callable, written: str, *rules: Any, **columns: Any) -> Primitive:
    """A row: one rule per input, each a vjp or a pair (vjp, derivative), and the columns that these do not say."""
    vjps, derivatives = zip(*[rule if isinstance(rule, tuple) else (rule, None) for rule in rules], strict=True)
    code = vjps[0].__code__
    names = () if columns.get("variadic") else code.co_varnames[2 : code.co_argcount]
    elementwise = isinstance(forward, np.ufunc) and forward.signature is None
    columns = {"argument_names": names, "by_element": elementwise, **columns}
    return Primitive(name, forward, written, vjps, derivatives, **columns)


# Forward functions that NumPy lacks, and rules that are longer than a line.


def _sigmoid(x):
    """1 / (1 + e^-x); where e^-x is infinite, 0 is right."""
    with np.errstate(over="ignore"):
        return 1.0 / (1.0 + np.exp(-x))


def _sigmoid_into(out, x):
    with np.errstate(over="ignore"):
        np.divide(1.0, np.add(1.0, np.exp(np.negative(x, out), out), out), out)


def _linear(W, x):
    """W x for a vector x (D,), and for every row of a batch (..., D)."""
    axes = x.ndim
    if W.ndim != 2 or axes == 0:
        raise ValueError("W is a matrix (out, in), and x has the shape (in,) or (..., in)")
    if axes == 2:
        return x.dot(W.T)  # which costs less than np.dot and np.matmul, but is slow beyond matrices
    return W.dot(x) if axes == 1 else np.matmul(x, W.T)


def _affine(W, x, U, h, b):
    """W x + U h + b, as one node: W x, U h and their sum are not kept. x and h are vectors, or batches alike."""
    if x.shape[:-1] != h.shape[:-1] or b.ndim > 1:
        raise ValueError("x and h are vectors, or batches of as many rows, and b is a vector")
    product = _linear if type(W) is _ndarray else linear  # which takes less time
    return product(W, x) + product(U, h) + b


def _outer(a, b):
    """a ᵗb for two vectors, summed over the rows of two batches: the gradient of `linear` with respect to W."""
    if a.ndim == 2:
        return a.T.dot(b)
    if a.ndim == 1:
        return np.multiply.outer(a, b)
    rows = math.prod(a.shape[:-1])  # not -1, which for no columns could be anything
    return a.reshape(rows, a.shape[-1]).T.dot(b.reshape(rows, b.shape[-1]))


def _shifted(x, axis):
    """x less its largest element along an axis, so that e^x does not overflow; x itself where that is infinite."""
    largest = np.max(x, axis=axis, keepdims=True)
    return x - np.where(np.isfinite(largest), largest, 0.0)


def _softmax(x, axis):
    e = np.exp(_shifted(x, axis))
    return e / np.sum(e, axis=axis, keepdims=True)


def _log_softmax(x, axis):
    shifted = _shifted(x, axis)
    return shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))


def _cross_entropy(x, y):
    """-Σ y log softmax(x); a class of weight 0 counts nothing, even where its logit is -inf."""
    if x.shape != y.shape:
        raise ValueError("one weight for each logit is needed")
    return -np.sum(y * np.where(y == 0, 0.0, _log_softmax(x, -1)), dtype=x.dtype)


def _cross_entropy_vjp(g, ans, x, y):
    return g * (np.exp(log_softmax(x, -1)) * np.sum(y, axis=-1, keepdims=True) - y)


INPUT = object()  # stands in an index for an array of whole numbers that is an input itself


def filled(index, inputs):
    """An index with its inputs, an iterator, in their places."""
    if isinstance(index, tuple):
        return tuple([filled(i, inputs) for i in index])
    return next(inputs) if index is INPUT else index


def _getitem(x, *index):
    """x[index]; the arrays for its INPUTs come first, the index itself last."""
    return x[index[0] if len(index) == 1 else filled(index[-1], iter(index))]


def _scatter(g, index, shape):
    """Zeros of a shape with g added at an index, repeated places adding up: the gradient of `getitem`."""
    out = np.zeros(shape, g.dtype)
    np.add.at(out, index, g)
    return out


def _add_at(total, g, x, *index):
    """Add g at an index to a total, in place; alone where it is not zero, if no place can be meant twice."""
    where = index[-1] if isinstance(index[-1], tuple) else index
    if all(type(i) in (int, slice) for i in where):
        total[index[-1]] += g
    else:
        total += scatter(g, *index, x.shape)


def axes_of(axis: int | tuple[int, ...] | None, ndim: int) -> tuple[int, ...]:
    """An axis, several, or all (None), as axes counted from 0; a number has an axis 0, as NumPy has it."""
    axes = range(ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return tuple([a % max(ndim, 1) for a in axes])


def kept_shape(shape: tuple[int, ...], axis: int | tuple[int, ...] | None) -> tuple[int, ...]:
    """The shape after reducing over an axis, axes, or all (None), with each reduced axis kept as 1."""
    reduced = axes_of(axis, len(shape))
    return tuple([1 if a in reduced else n for a, n in enumerate(shape)])


def _sum_vjp(g, ans, x, axis, keepdims):
    if axis is not None and not keepdims:
        g = np.reshape(g, kept_shape(x.shape, axis))
    return broadcast_to(g, x.shape)


def _extremum_vjp(g, ans, x, axis, keepdims):
    """The cotangent goes to where the extremum was reached, in equal parts where it was reached more than once."""
    shape = kept_shape(x.shape, axis)
    reached = np.logical_or(x == np.reshape(ans, shape), x != x)  # a NaN is the extremum wherever there is one
    ones = np.where(reached, g.dtype.type(1), g.dtype.type(0))
    return np.where(reached, np.reshape(g, shape) / np.sum(ones, axis=axis, keepdims=True), 0.0)


def _power_vjp_base(g, ans, x, y):
    # x^0 is 1 for any base, 0 and NaN too, so its derivative is 0, not 0 · x^-1; elsewhere y x^(y-1) is right.
    return g * (y * np.where(np.logical_and(y == 0, np.logical_not(np.abs(x) > 0)), 1.0, x) ** (y - 1.0))


def _power_vjp_exponent(g, ans, x, y):
    # 0^y is 0 for y > 0: the derivative is the limit 0, not 0 log 0; for y < 0 it is inf · log 0 = -inf.
    return g * (ans * np.log(np.where(np.logical_and(x == 0, y >= 0), 1.0, x)))


def _logaddexp_vjp(g, x, y):
    """g e^x / (e^x + e^y); half of g each for two infinities alike."""
    alike = np.logical_and(x == y, np.isinf(x))
    return g * sigmoid(np.where(alike, 0.0, x) - np.where(alike, 0.0, y))


def _arctan2_vjp(g, x, y):
    """g x / (x² + y²), without squares that overflow."""
    length = _unless_zero(np.hypot(x, y))
    return g * (x / length / length)


def _unless_zero(x):
    """x, or inf in the place of a 0: a divisor, where 0 over 0 shall be 0."""
    return np.where(x == 0, np.inf, x)


def _matmul_vjp_left(g, ans, A, B):
    if B.ndim == 1:
        return g[..., None] * B if A.ndim > 1 else g * B
    if A.ndim == 1:
        return (B @ g[..., None])[..., 0]
    return g @ np.swapaxes(B, -1, -2)


def _matmul_vjp_right(g, ans, A, B):
    if A.ndim == 1:
        return A[:, None] * g[..., None, :] if B.ndim > 1 else g * A
    if B.ndim == 1:
        return (np.swapaxes(A, -1, -2) @ g[..., None])[..., 0]
    return np.swapaxes(A, -1, -2) @ g


def _einsum_vjp(i, g, ans, *operands_and_subscripts):
    """The same sum with the cotangent in the place of operand i; along a letter that stands nowhere else, repeated."""
    *others, subscripts = operands_and_subscripts
    inputs, output = subscripts.split("->")
    letters = [output, *inputs.split(",")]
    x, own = others.pop(i), letters.pop(i + 1)
    if not set(own) <= set("".join(letters)):
        others.append(np.ones_like(x))
        letters.append(own)
    return einsum(g, *others, f"{','.join(letters)}->{own}")


def _transpose_vjp(g, ans, x, axes):
    return np.transpose(g, None if axes is None else tuple(np.argsort([a % x.ndim for a in axes]).tolist()))


def _part(g, axis, at):
    """The part of g at a place, or a slice of places, along an axis."""
    index = [slice(None)] * g.ndim
    index[axis] = at
    return g[tuple(index)]


def _concatenate_vjp(i, g, ans, *inputs_and_axis):
    *inputs, axis = inputs_and_axis
    start = sum(x.shape[axis] for x in inputs[:i])
    return _part(g, axis, slice(start, start + inputs[i].shape[axis]))


# fmt: off
# One row a primitive: its name, how it runs, how it is written; below it, per input, its rule, and the derivative where
# people write another.

# Arithmetic, with broadcasting
identity = row("identity", np.positive, "{x}", lambda g, ans, x: g, is_view=True, is_copy=True)
negative = row("negative", np.negative, "−{x}", lambda g, ans, x: -g)
add = row("add", np.add, "{x} + {y}",
    lambda g, ans, x, y:     g,
    lambda g, ans, x, y:     g,                                  neutral=(-0.0, -0.0))  # 0.0 + -0.0 is 0.0
subtract = row("subtract", np.subtract, "{x} − {y}",
    lambda g, ans, x, y:     g,
    lambda g, ans, x, y:     -g,                                 neutral=(None, 0.0))
multiply = row("multiply", np.multiply, "{x} ⊙ {y}",
    lambda g, ans, x, y:     g * y,
    lambda g, ans, x, y:     g * x,                              neutral=(1.0, 1.0))
divide = row("divide", np.divide, "{x} / {y}",
    lambda g, ans, x, y:     g / y,
    (lambda g, ans, x, y:    -g * ans / y,                       "−{x}/{y}²"), neutral=(None, 1.0))
lerp = row("lerp", lambda x, y, z: (1.0 - z) * x + z * y, "(1 − {z}) ⊙ {x} + {z} ⊙ {y}",
    lambda g, ans, x, y, z:  g * (1.0 - z),
    lambda g, ans, x, y, z:  g * z,
    lambda g, ans, x, y, z:  g * (y - x),                        by_element=True, is_composite=True)
power = row("power", np.power, "{x}^{y}",
    (_power_vjp_base,                                            "{y} ⊙ {x}^({y} − 1)"),
    (_power_vjp_exponent,                                        "{x}^{y} ⊙ log({x})"))
mod = row("mod", np.mod, "{x} mod {y}",
    lambda g, ans, x, y:     g,
    lambda g, ans, x, y:     g * ((ans - x) / y))
square = row("square", np.square, "{x}²", lambda g, ans, x: g * (2.0 * x))

# Products of matrices and vectors
matmul = row("matmul", np.matmul, "{A} {B}",
    (_matmul_vjp_left,                                           "ᵗ{B}"),
    (_matmul_vjp_right,                                          "ᵗ{A}"), products=((0, 1),))
linear: Primitive = row("linear", _linear, "{W} {x}",
    lambda g, ans, W, x:     outer(g, x),
    lambda g, ans, W, x:     linear(W.T, g),                     products=((0, 1),), by_rows=True)
affine = row("affine", _affine, "{W} {x} + {U} {h} + {b}",
    lambda g, ans, W, x, U, h, b: outer(g, x),
    lambda g, ans, W, x, U, h, b: linear(W.T, g),
    lambda g, ans, W, x, U, h, b: outer(g, h),
    lambda g, ans, W, x, U, h, b: linear(U.T, g),
    lambda g, ans, W, x, U, h, b: g,                             products=((0, 1), (2, 3)), by_rows=True, is_composite=True)
outer: Primitive = row("outer", _outer, "{a} ᵗ{b}",
    lambda g, ans, a, b:     linear(g, b),
    lambda g, ans, a, b:     linear(g.T, a),                     products=((0, 1),), sums_rows=True)
einsum = row("einsum", lambda *xs: np.einsum(xs[-1], *xs[:-1]), "einsum", _einsum_vjp, variadic=True)

# Nonlinearities
tanh = row("tanh", np.tanh, "{f}({x})",
    (lambda g, ans, x:       g * (1.0 - ans * ans),              "{f}′({x})"))
sigmoid = row("sigmoid", _sigmoid, "{f}({x})",
    (lambda g, ans, x:       g * (ans * (1.0 - ans)),            "{f}′({x})"), by_element=True, into=_sigmoid_into)
relu = row("relu", lambda x: np.maximum(x, 0), "{f}({x})",
    (lambda g, ans, x:       np.where(x <= 0, 0.0, g),           "{f}′({x})"), by_element=True, is_composite=True)

# Elementwise functions
softplus = row("softplus", lambda x: np.logaddexp(0.0, x), "softplus({x})",
    (lambda g, ans, x:       g * sigmoid(x),                     "sigmoid({x})"), by_element=True, is_composite=True)
exp = row("exp", np.exp, "exp({x})", lambda g, ans, x: g * ans)
log = row("log", np.log, "log({x})", lambda g, ans, x: g / x)
sqrt = row("sqrt", np.sqrt, "√{x}", lambda g, ans, x: g / (2.0 * ans))
abs_ = row("abs", np.abs, "|{x}|", lambda g, ans, x: g * np.sign(x))
sign = row("sign", np.sign, "sign({x})", lambda g, ans, x: g * 0.0)
sin = row("sin", np.sin, "sin({x})", lambda g, ans, x: g * np.cos(x))
cos = row("cos", np.cos, "cos({x})", lambda g, ans, x: g * -np.sin(x))
arctan = row("arctan", np.arctan, "arctan({x})", lambda g, ans, x: g / (1.0 + x * x))
sinh = row("sinh", np.sinh, "sinh({x})", lambda g, ans, x: g * np.cosh(x))
cosh = row("cosh", np.cosh, "cosh({x})", lambda g, ans, x: g * np.sinh(x))
arctan2 = row("arctan2", np.arctan2, "arctan2({x}, {y})",
    (lambda g, ans, x, y:    _arctan2_vjp(g, y, x),              "{y}/({x}² + {y}²)"),
    (lambda g, ans, x, y:    _arctan2_vjp(g, -x, y),             "−{x}/({x}² + {y}²)"))
hypot = row("hypot", np.hypot, "hypot({x}, {y})",
    (lambda g, ans, x, y:    g * (x / _unless_zero(ans)),        "{x}/hypot({x}, {y})"),
    (lambda g, ans, x, y:    g * (y / _unless_zero(ans)),        "{y}/hypot({x}, {y})"))
arcsinh = row("arcsinh", np.arcsinh, "arcsinh({x})", lambda g, ans, x: g / np.cosh(ans))
logaddexp = row("logaddexp", np.logaddexp, "log(exp({x}) + exp({y}))",
    (lambda g, ans, x, y:    _logaddexp_vjp(g, x, y),            "sigmoid({x} − {y})"),
    (lambda g, ans, x, y:    _logaddexp_vjp(g, y, x),            "sigmoid({y} − {x})"))
expm1 = row("expm1", np.expm1, "exp({x}) − 1",
    (lambda g, ans, x:       g * (ans + 1.0),                    "exp({x})"))
log1p = row("log1p", np.log1p, "log(1 + {x})", lambda g, ans, x: g / (1.0 + x))
maximum = row("maximum", np.maximum, "max({x}, {y})",
    (lambda g, ans, x, y:    np.where(x == y, g / 2.0, np.where(x < y, 0.0, g)), "[{x} > {y}]"),
    (lambda g, ans, x, y:    np.where(x == y, g / 2.0, np.where(x > y, 0.0, g)), "[{x} < {y}]"))
minimum = row("minimum", np.minimum, "min({x}, {y})",
    (lambda g, ans, x, y:    np.where(x == y, g / 2.0, np.where(x > y, 0.0, g)), "[{x} < {y}]"),
    (lambda g, ans, x, y:    np.where(x == y, g / 2.0, np.where(x < y, 0.0, g)), "[{x} > {y}]"))
where = row("where", lambda x, y, c: np.where(c, x, y), "where({c}, {x}, {y})",
    (lambda g, ans, x, y, c: np.where(c, g, 0.0),                "[{c}]"),
    (lambda g, ans, x, y, c: np.where(c, 0.0, g),                "[not {c}]"),
    lambda g, ans, x, y, c:  g * 0.0,                            by_element=True)

# Classes
softmax = row("softmax", _softmax, "softmax({x})",
    lambda g, ans, x, axis:  ans * (g - np.sum(ans * g, axis=axis, keepdims=True)), is_composite=True)
log_softmax = row("log_softmax", _log_softmax, "log softmax({x})",
    lambda g, ans, x, axis:  g - np.exp(ans) * np.sum(g, axis=axis, keepdims=True), is_composite=True)
cross_entropy = row("cross_entropy", _cross_entropy, "−Σ {y} ⊙ log softmax({x})",
    (_cross_entropy_vjp,                                         "softmax({x}) ⊙ Σ {y} − {y}"),
    (lambda g, ans, x, y:    g * -log_softmax(x, -1),            "−log softmax({x})"), is_composite=True)

# Reductions
sum_ = row("sum", lambda x, axis, keepdims: np.add.reduce(x, axis=axis, keepdims=keepdims), "Σ {x}",
    _sum_vjp,                                                    reduction=np.add)
max_ = row("max", lambda x, axis, keepdims: np.max(x, axis=axis, keepdims=keepdims), "max({x})",
    (_extremum_vjp,                                              "[{x} = max({x})]"), reduction=np.maximum)
min_ = row("min", lambda x, axis, keepdims: np.min(x, axis=axis, keepdims=keepdims), "min({x})",
    (_extremum_vjp,                                              "[{x} = min({x})]"), reduction=np.minimum)
cumsum = row("cumsum", lambda x, axis: np.cumsum(x, axis=axis), "cumsum({x})",
    lambda g, ans, x, axis:  np.flip(np.cumsum(np.flip(g, axis), axis=axis), axis))

# Shapes and places
reshape = row("reshape", np.reshape, "{x}",
    lambda g, ans, x, shape: np.reshape(g, x.shape),             is_view=True, is_copy=True)
transpose = row("transpose", np.transpose, "ᵗ{x}", _transpose_vjp, is_view=True)
broadcast_to = row("broadcast_to", lambda x, shape: np.full(shape, x), "{x}",
    lambda g, ans, x, shape: g,                                  is_copy=True, code="np.full(shape, x)")
getitem = row("getitem", _getitem, "{x}[…]",
    lambda g, ans, x, *index: scatter(g, *index, x.shape),       is_view=True, add_to=_add_at, by_rows=True)
scatter: Primitive = row("scatter", lambda g, *rest: _scatter(g, filled(rest[-2], iter(rest)), rest[-1]), "scatter({x})",
    lambda g, ans, x, *rest: getitem(g, *rest[:-1]),
    argument_names=("x", "index", "shape"), sums_rows=True, code="_scatter(x, index, shape)")
astype = row("astype", lambda x, dtype: x.astype(dtype), "{x}",
    lambda g, ans, x, dtype: g,                                  by_element=True, is_copy=True)
concatenate = row("concatenate", lambda *xs: np.concatenate(xs[:-1], axis=xs[-1]), "concatenate",
    _concatenate_vjp,                                            variadic=True)
stack = row("stack", lambda *xs: np.stack(xs[:-1], axis=xs[-1]), "stack",
    lambda i, g, ans, *rest: _part(g, rest[-1], i),              variadic=True)
# fmt: on

TABLE: dict[str, Primitive] = {row.name: row for row in list(globals().values()) if isinstance(row, Primitive)}
