"""How each primitive is written in NumPy: with the very operations of its forward function.

So a program that is written out gives what the engine gives, to the last bit. A template has its operands in braces,
each with the operator beside it, as which it must bind to stand without parentheses: {0*} is operand 0 as a factor.
"""

import functools
import itertools
import math
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from enum import IntEnum
from importlib.resources import files
from typing import Any

import numpy as np

from tinygrad_rnn.primitives import INPUT
from tinygrad_rnn.program.graph import Node


class Binding(IntEnum):
    """How tightly an expression binds, or its place demands it."""

    ANY, TERM, FACTOR, SIGNED, ATOM = range(5)


_NEEDS = dict(zip(",+*-.", Binding, strict=True))
_CODE: dict[str, tuple[str, Binding]] = {
    "negative": ("-{0-}", Binding.SIGNED),
    "add": ("{0+} + {1*}", Binding.TERM),
    "subtract": ("{0+} - {1*}", Binding.TERM),
    "multiply": ("{0*} * {1-}", Binding.FACTOR),
    "divide": ("{0*} / {1-}", Binding.FACTOR),
    "lerp": ("(1.0 - {2*}) * {0-} + {2*} * {1-}", Binding.TERM),
    "matmul": ("{0*} @ {1-}", Binding.FACTOR),
    "sigmoid": ("sigmoid({0,})", Binding.ATOM),
    "relu": ("np.maximum({0,}, 0)", Binding.ATOM),
    "softplus": ("np.logaddexp(0.0, {0,})", Binding.ATOM),
    "where": ("np.where({2,}, {0,}, {1,})", Binding.ATOM),
    "cross_entropy": ("cross_entropy({0,}, {1,})", Binding.ATOM),
    "equal": ("{0+} == {1+}", Binding.ANY),
    "not_equal": ("{0+} != {1+}", Binding.ANY),
    "less": ("{0+} < {1+}", Binding.ANY),
    "less_equal": ("{0+} <= {1+}", Binding.ANY),
    "greater": ("{0+} > {1+}", Binding.ANY),
    "greater_equal": ("{0+} >= {1+}", Binding.ANY),
}
HELPERS = ("sigmoid", "log_softmax", "cross_entropy", "scatter", "one_hot", "as_traced")  # which NumPy lacks
VIEWS = {"identity", "reshape", "transpose", "getitem"}  # which may give the very array that they are given


class At(int):
    """A whole number in the code which may go with the time step, as in xs[0], xs[1], ..."""


def template(node: Node, loose: Collection[Node]) -> tuple[list[Any], Sequence[Node], Binding]:
    """How a node is written: the parts of a template, the operands it speaks of, and how tightly it binds.

    Args:
        loose: the nodes whose arrays may be in another order in memory than that of their elements.
    """
    op, operands = node.operation, node.inputs
    if op in _CODE:
        code, binds = _CODE[op]
        return [code], operands, binds
    if op == "linear":
        code, factors = _product(*operands, 0, loose)
        return [code], factors, Binding.FACTOR
    if op == "affine":
        (first, factors), (second, more) = _product(*operands[:2], 0, loose), _product(*operands[2:4], 2, loose)
        return [f"{first} + {second} + {{4*}}"], [*factors, *more, operands[4]], Binding.TERM
    if op == "outer" and operands[0].ndim > 1:
        rows = [f".reshape(-1, {x.shape[-1]})" if x.ndim > 2 else "" for x in operands]
        right = f"{{1.}}{rows[1]}" if rows[1] else "{1-}"
        return [_dot(f"{{0.}}{rows[0]}.T", right, operands, loose)], operands, Binding.FACTOR
    if op == "identity" and (operands[0] not in loose or node.dtype == np.bool_):
        return ["{0,}"], operands, Binding.ANY
    return _call(op, node.static, len(operands)), operands, Binding.ATOM


def _call(op: str, static: tuple, count: int) -> list[Any]:
    """The template of a call, a method or an index."""
    listed = ", ".join(f"{{{i},}}" for i in range(count))
    if op == "identity":
        return ["np.positive({0,})"]
    if op == "transpose" and static[0] is None:
        return ["{0.}.T"]
    if op == "getitem":
        return ["{0.}[", *_index(static[0]), "]"]
    if op == "scatter":
        place = _index(static[0])
        bare = static[0] is INPUT or isinstance(static[0], (int, np.ndarray))
        return ["scatter({0,}, ", *(place if bare else ["np.s_[", *place, "]"]), f", {static[1]})"]
    if op == "astype":
        return [f"{{0.}}.astype({_dtype(static[0])})"]
    if op == "broadcast_to":
        return [f"np.full({_shape(static[0])}, {{0,}})"]
    if op == "einsum":
        return [f'np.einsum("{static[0]}", {listed})']
    if op in ("concatenate", "stack"):
        return [f"np.{op}([{listed}], axis={static[0]})"]
    if op == "as_traced":
        return ["as_traced({0,}, ", array_text(static[0]), ")"]
    if op in ("sum", "max", "min", "cumsum", "any", "all", "argmax", "argmin", "argsort"):
        axis = "" if static[0] is None else f", axis={static[0]}"
        return [f"np.{op}({{0,}}{axis}{', keepdims=True' if static[1:] == (True,) else ''})"]
    name = op if op in HELPERS else f"np.{op}"
    return [f"{name}({', '.join([listed, *map(str, static)])})"]


def helper(name: str) -> str:
    """The code of a function that NumPy lacks: that of the table itself, even without its source."""
    functions = (files("tinygrad_rnn.program") / "helpers.txt").read_text(encoding="utf-8").split("\n\n\n")
    return next(f"{code.strip()}\n" for code in functions if code.startswith(f"def {name}("))


@functools.cache
def pieces(part: str | At) -> list[Any]:
    """A part of a template as texts, and of each operand its number and how tightly it must bind."""
    if isinstance(part, At):
        return [part]
    pieces = re.split(r"\{(\d+[,+*.-])\}", part)
    return [(int(x[:-1]), _NEEDS[x[-1]]) if i % 2 else x for i, x in enumerate(pieces) if x]


def _product(W: Node, x: Node, first: int, loose: Collection[Node]) -> tuple[str, list[Node]]:
    """W x of a vector, x ᵗW of a batch; the operands are counted from `first`."""
    left, right = f"{{{first}*}}", f"{{{first + 1}-}}"
    if x.ndim == 1:
        return _dot(left, right, (W, x), loose), [W, x]
    if W.operation == "transpose" and W.ndim == 2 and W.name is None and W.inputs[0].is_leaf:
        return _dot(left, right, (x,), loose), [x, W.inputs[0]]  # U for the transpose of ᵗU
    return _dot(left, f"{{{first + 1}.}}.T", (W, x), loose), [x, W]


def _dot(left: str, right: str, operands: Iterable[Node], loose: Collection[Node]) -> str:
    """A matrix product; of operands that are every other element, say, `@` adds up in another order than np.dot."""
    strided = any(x in loose and (x.operation != "transpose" or x.inputs[0] in loose) for x in operands)
    strided = strided and all(x.ndim < 3 for x in operands)
    return f"np.dot({left}, {right})" if strided else f"{left} @ {right}"


def _index(index: Any, inputs: Iterator[int] | None = None) -> list[Any]:
    """An index as it stands in brackets; what is an input in it is an operand, after that of which it is the index."""
    inputs = inputs or itertools.count(1)
    if isinstance(index, tuple):
        parts = [part for i, x in enumerate(index) for part in ([", "] if i else []) + _index(x, inputs)]
        return [*parts, ","] if len(index) == 1 else parts or ["()"]
    if isinstance(index, slice):
        ends = ["" if x is None else str(x) for x in (index.start, index.stop, index.step)]
        return [":".join(ends if ends[2] else ends[:2])]
    if index is INPUT:
        return [f"{{{next(inputs)},}}"]
    if index is None or index is Ellipsis or isinstance(index, bool):
        return ["..." if index is Ellipsis else str(index)]
    return [At(index)] if isinstance(index, int) else [array_text(np.asarray(index))]


def array_text(value: np.ndarray) -> str:
    """A constant, to the last bit."""
    numbered = "" if value.dtype in (np.float64, np.int64, np.bool_) else f", {_dtype(value.dtype)}"
    if value.ndim and len({x.tobytes() for x in np.ravel(value)}) <= 1:
        first = value.flat[0].item() if value.size else 0
        shape = _shape(value.shape)
        if first in (0, 1) and math.copysign(1, first) == 1:
            dtype = "" if value.dtype == np.float64 else f", {_dtype(value.dtype)}"
            return f"np.{'ones' if first else 'zeros'}({shape}{dtype})"
        return f"np.full({shape}, {number_text(first)}{numbered})"
    if value.ndim == 0:
        return f"{_dtype(value.dtype)}({number_text(value.item())})"
    return f"np.array({number_text(value.tolist())}{numbered})"


def number_text(value: Any) -> str:
    """A number, or a list of numbers."""
    return re.sub(r"\b(inf|nan)\b", r"np.\1", repr(value))


def _dtype(dtype: np.dtype) -> str:
    return "np.bool_" if dtype == np.bool_ else f"np.{dtype.name}"


def _shape(shape: Any) -> str:
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    return str(shape[0]) if len(shape) == 1 else str(shape)
