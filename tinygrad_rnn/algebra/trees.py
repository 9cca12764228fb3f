"""Formulas as trees: what a rule of the table makes when it is given symbols.

    vjp(g, ans, W, x) on arrays    the gradient
    vjp(g, ans, W, x) on Tensors   the gradient as a graph
    vjp(g, ans, W, x) on trees     the formula: outer(g, x) is g ᵗx, linear(W.T, g) is ᵗW g, g * y is y ⊙ g

A tree's leaves are nodes of a graph, by identity, and numbers; only a printer knows what they are called. Trees are
simplified as they are made, by one small function for each head, and nothing edits a formula once it is text. Where a
batch is multiplied, one of its rows stands for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from tinygrad_rnn import primitives as P
from tinygrad_rnn.primitives import Primitive

Shape = tuple[int, ...]


class Unwritten(Exception):
    """A rule does what has no notation, such as to select elements."""


def _operator(primitive: Primitive, reflected: bool = False) -> Callable[..., Tree]:
    return lambda *inputs: made(primitive, inputs[::-1] if reflected else inputs)


def _relation(ufunc: np.ufunc) -> Callable[..., Tree]:
    return lambda *inputs: Tree("brackets", [made(P.TESTS[ufunc], inputs)])


class Tree:
    """A formula.

    Attributes:
        head: what it is: "symbol", "number", "gradient", "sum", "times", "matrix", ...; a Writer has a method for each.
        parts: the trees that it is made of.
        of: a symbol's node, a number's value, the function that is applied, or the like.
        shape: of its value.
        comes_back: whether it is what has become of a gradient, which stands last in a product by element.
    """

    def __init__(
        self, head: str, parts: Iterable[Tree] = (), of: Any = None, shape: Shape | None = None, comes_back: Any = False
    ):
        self.head, self.parts, self.of = head, tuple(parts), of
        self.shape = _broadcast(self.parts) if shape is None else tuple(shape)
        self.comes_back = bool(comes_back) or any(part.comes_back for part in self.parts)

    @cached_property
    def key(self) -> tuple:
        """The same for formulas that are alike: of the same nodes, by identity, in the same order."""
        of = self.of if isinstance(self.of, (str, float)) else id(self.of)
        return self.head, of, *(part.key for part in self.parts)

    def shaped(self, shape: Shape, comes_back: bool = False) -> Tree:
        """The same formula, of a value of another shape; of a gradient, if it comes back."""
        known = shape == self.shape and comes_back <= self.comes_back
        return self if known else Tree(self.head, self.parts, self.of, shape, self.comes_back or comes_back)

    def is_number(self, value: float | None = None) -> bool:
        """Whether it is a bare number, or this one."""
        return self.head == "number" and (value is None or value == self.of)

    # What a rule does with arrays: operators, NumPy's functions, the table's own primitives

    __hash__ = object.__hash__
    dtype = np.dtype(float)
    ndim = property(lambda self: len(self.shape))
    T = property(lambda self: made(P.transpose, (self,), None))

    __add__, __radd__ = _operator(P.add), _operator(P.add, True)
    __sub__, __rsub__ = _operator(P.subtract), _operator(P.subtract, True)
    __mul__, __rmul__ = _operator(P.multiply), _operator(P.multiply, True)
    __truediv__, __rtruediv__ = _operator(P.divide), _operator(P.divide, True)
    __pow__, __rpow__ = _operator(P.power), _operator(P.power, True)
    __matmul__, __neg__, __abs__ = _operator(P.matmul), _operator(P.negative), _operator(P.abs_)
    __eq__, __ne__ = _relation(np.equal), _relation(np.not_equal)
    __lt__, __le__, __gt__, __ge__ = map(_relation, (np.less, np.less_equal, np.greater, np.greater_equal))

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **keywords: Any) -> Tree:
        if method == "reduce" and ufunc is np.add:
            return made(P.sum_, inputs, keywords.get("axis"), keywords.get("keepdims", False))
        if method != "__call__" or keywords or not (ufunc in _ROWS or ufunc in P.TESTS):
            raise Unwritten(ufunc.__name__)
        return made(_ROWS[ufunc], inputs) if ufunc in _ROWS else _relation(ufunc)(*inputs)

    def __array_function__(self, function: Callable, types: Any, inputs: tuple, keywords: dict) -> Tree:
        if function is np.where:
            return made(P.where, (*inputs[1:], inputs[0]))
        if function is np.sum:
            return made(P.sum_, inputs[:1], keywords.get("axis"), keywords.get("keepdims", False))
        if function in (np.reshape, np.transpose) and not keywords:
            return made(_ROWS[function], inputs[:1], *inputs[1:])
        raise Unwritten(function.__name__)

    def __record__(self, primitive: Primitive, inputs: Sequence[Any], *static: Any) -> Tree:
        return made(primitive, inputs, *static)

    def __getitem__(self, index: Any) -> Tree:
        raise Unwritten("a selection")

    def __bool__(self) -> bool:
        raise Unwritten("a decision")


_ROWS = {row.forward: row for row in P.TABLE.values()}


def made(primitive: Primitive, inputs: Sequence[Any], *static: Any) -> Tree:
    """The formula of a primitive on formulas, as its row writes it.

    Raises:
        Unwritten: the row has no notation for its inputs.
    """
    from tinygrad_rnn.algebra.reading import read

    if primitive.variadic or len(inputs) != len(primitive.argument_names[: len(inputs)]) or "…" in primitive.written:
        raise Unwritten(primitive.name)
    operands = [x if isinstance(x, Tree) else number(float(x)) for x in inputs]
    arrays = [np.broadcast_to(np.float64(1), x.shape) for x in operands]
    with np.errstate(all="ignore"):
        shape = _broadcast(operands) if primitive.by_element else np.shape(primitive.forward(*arrays, *static))
    formula = read(primitive.written, dict(zip(primitive.argument_names, operands)), primitive)  # noqa: B905
    if primitive is P.outer and operands[0].ndim > 1:
        formula = total(formula, shape)
    return formula.shaped(shape)


def _broadcast(parts: Iterable[Tree]) -> Shape:
    """The shape that the values of some parts have together; of those that are no functions by element, the largest."""
    shapes = [part.shape for part in parts]
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        return max(shapes, key=len)


def symbol(node: Any) -> Tree:
    """A node of a graph."""
    return Tree("symbol", (), node, node.shape)


def gradient(node: Any) -> Tree:
    """The gradient of a node."""
    return Tree("gradient", (), node, node.shape, comes_back=True)


def number(value: float) -> Tree:
    """A bare number."""
    return Tree("number", (), float(value), ())


# Simplification, a small rule for each head


def negative(x: Tree) -> Tree:
    """−x: a number's sign is its own, two cancel."""
    if x.is_number():
        return number(-x.of).shaped(x.shape, x.comes_back)
    return x.parts[0] if x.head == "negative" else Tree("negative", [x])


def plus(*parts: Tree) -> Tree:
    """Terms side by side: zeros dropped, numbers added, equal terms counted, a negative one not first."""
    if _is_negative(parts[0]):  # h − n, not −n + h
        parts = tuple(sorted(parts, key=_is_negative))
    terms = [t for x in parts for t in (x.parts if x.head == "sum" else (x,))]
    counted: dict[Any, list[Tree]] = {}
    for t in terms:
        counted.setdefault("numbers" if t.is_number() else t.key, []).append(t)
    numbers = number(sum(t.of for t in counted.get("numbers", ())))
    terms = [numbers if k == "numbers" else times(number(len(x)), x[0]) for k, x in counted.items()]
    terms = [t for t in terms if not t.is_number(0)]
    shape = _broadcast(parts)
    return Tree("sum", terms, shape=shape) if len(terms) > 1 else (terms or [number(0)])[0].shaped(shape)


def _is_negative(x: Tree) -> bool:
    return x.head == "negative" or (x.is_number() and x.of < 0) or (x.head == "times" and _is_negative(x.parts[0]))


def times(*parts: Tree) -> Tree:
    """Element by element, or by numbers: these multiplied and first, the sign outside, gradients last."""
    value, factors = 1.0, []
    for x in _factors(parts):
        if x.is_number():
            value *= x.of
        else:
            factors.append(x)
    factors.sort(key=lambda x: x.comes_back)
    shape, comes_back = _broadcast(parts), any(x.comes_back for x in parts)
    if value == 0 or not factors:
        return number(value).shaped(shape, comes_back)
    factors = [number(abs(value)), *factors] if abs(value) != 1 else factors
    product = factors[0] if len(factors) == 1 else Tree("times", factors)
    product = product.shaped(shape, comes_back)
    return negative(product) if value < 0 else product


def _factors(parts: Iterable[Tree]) -> Iterator[Tree]:
    """The factors of a product by element, those of its factors too; a sign is a factor."""
    for x in parts:
        if x.head == "negative":
            yield number(-1)
        yield from _factors(x.parts) if x.head in ("negative", "times") else (x,)


def over(x: Tree, y: Tree) -> Tree:
    """x / y; by a number, as a product with one."""
    if y.is_number() and y.of:
        return times(number(1 / y.of), x)
    return negative(over(x.parts[0], y)) if x.head == "negative" else Tree("over", [x, y])


def power(x: Tree, y: Tree) -> Tree:
    """x^y; x itself for an exponent of 1."""
    return x if y.is_number(1) else number(1) if y.is_number(0) else Tree("power", [x, y])


def transposed(x: Tree) -> Tree:
    """ᵗx; of a vector, a row."""
    return x.parts[0] if x.head == "transposed" else Tree("transposed", [x], shape=x.shape[::-1])


def matrix(a: Tree, b: Tree) -> Tree:
    """a b: a matrix and a column, two matrices, a column and a row; numbers and signs stand before it."""
    value, factors = 1.0, []
    for x in (a, b):
        if x.head == "negative":
            value, x = -value, x.parts[0]
        if x.head == "times" and x.parts[0].is_number():
            value, x = value * x.parts[0].of, times(*x.parts[1:])
        if x.is_number():
            value *= x.of
        else:
            factors.append(x)
    shape = (*a.shape[:-1], *b.shape[1:])
    product = factors[0] if len(factors) == 1 else Tree("matrix", factors or [number(1)], shape=shape)
    return times(number(value), product.shaped(shape, a.comes_back or b.comes_back))


def total(x: Tree, shape: Shape = ()) -> Tree:
    """Σ x, of a value of another shape."""
    return Tree("total", [x], shape=shape)


def factors(x: Tree, hole: Tree) -> list[tuple[str, Tree]] | None:
    """What becomes of `hole` on its way to x, which is linear in it: each factor with what it does, in this order.

    "times" multiplies by element, "left" and "right" as a matrix that stands there, "total" adds up. None if the hole
    stands where there is no factor, such as in a transpose.
    """
    if x.key == hole.key or x.is_number(0):
        return [("times", x)] if x.is_number() else []
    held = [i for i, part in enumerate(x.parts) if part.comes_back]
    if len(held) != 1 or x.head not in ("negative", "times", "over", "matrix", "total"):
        return None
    i = held[0]
    inner, others = factors(x.parts[i], hole), [part for part in x.parts if part is not x.parts[i]]
    if inner is None or (x.head == "over" and i == 1):
        return None
    if x.head == "negative":
        return [*inner, ("times", number(-1))]
    if x.head == "over":
        return [*inner, ("times", over(number(1), x.parts[1]))]
    if x.head == "total":
        return [*inner, ("total", number(1))]
    if x.head == "matrix":
        return [*inner, ("left" if i else "right", others[0])]
    return [*inner, *(("times", part) for part in others)]
