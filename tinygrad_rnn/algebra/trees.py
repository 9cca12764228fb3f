"""Formulas as trees: what a rule of the table makes when it is given symbols.

    vjp(g, ans, W, x) on arrays    the gradient
    vjp(g, ans, W, x) on Tensors   the gradient as a graph
    vjp(g, ans, W, x) on trees     the formula: outer(g, x) is g ᵗx, linear(W.T, g) is ᵗW g, g * y is y ⊙ g

A tree's leaves are nodes of a graph, by identity, and numbers; only a printer knows what they are called. Trees are
simplified as they are made, by one small function for each head, and nothing edits a formula once it is text. Where a
batch is multiplied, one of its rows stands for all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np

Shape = tuple[int, ...]


class Unwritten(Exception):
    """A rule does what has no notation, such as to select elements."""


class Tree(np.lib.mixins.NDArrayOperatorsMixin):
    """A formula.

    Attributes:
        head: what it is: "symbol", "number", "gradient", "sum", "times", "matrix", ...; a Writer has a method for each.
        parts: the trees that it is made of.
        of: a symbol's node, a number's value, the function that is applied, or the like.
        shape: of its value.
        comes_back: whether it is what has become of a gradient, which stands last in a product by element.
    """

    def __init__(
        self, head: str, parts: Iterable[Tree] = (), of: Any = None, shape: Shape | None = None,
        comes_back: bool = False,
    ):  # fmt: skip
        self.head, self.parts, self.of = head, tuple(parts), of
        self.shape = broadcast(self.parts) if shape is None else tuple(shape)
        self.comes_back: bool = comes_back or any(part.comes_back for part in self.parts)

    @cached_property
    def key(self) -> tuple:
        """A key that formulas share if they are alike: of the same nodes, by identity, in the same order."""
        of = self.of if isinstance(self.of, (str, float)) else id(self.of)
        return self.head, of, *(part.key for part in self.parts)

    __array_ufunc__: Any  # formulas.py says what NumPy's functions make of a formula
    dtype = np.dtype(float)
    __hash__ = object.__hash__

    @property
    def ndim(self) -> int:
        """The number of axes of its value."""
        return len(self.shape)

    def shaped(self, shape: Shape, comes_back: bool = False) -> Tree:
        """This formula with another shape of its value, or as what has become of a gradient."""
        known = shape == self.shape and comes_back <= self.comes_back
        return self if known else Tree(self.head, self.parts, self.of, shape, self.comes_back or comes_back)

    def is_number(self, value: float | None = None) -> bool:
        """True for a bare number, or for this one."""
        return self.head == "number" and (value is None or value == self.of)


def broadcast(parts: Iterable[Tree]) -> Shape:
    """The shape that the values of some parts have together; of those that are no functions by element, the largest."""
    shapes = list(dict.fromkeys(part.shape for part in parts))
    try:
        return shapes[0] if len(shapes) == 1 else np.broadcast_shapes(*shapes)
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


def apart(x: Tree) -> tuple[float, list[Tree]]:
    """A formula as a product by element: the number, with its sign, and the other factors."""
    if x.is_number():
        return x.of, []
    if x.head not in ("negative", "times"):
        return 1.0, [x]
    found = [apart(part) for part in x.parts]
    value = math.prod(value for value, _ in found)
    return -value if x.head == "negative" else value, [factor for _, others in found for factor in others]


def times(*parts: Tree) -> Tree:
    """Element by element, or by numbers: these multiplied and first, the sign outside, gradients last."""
    whole = Tree("times", parts)
    value, factors = apart(whole)
    if value == 0 or not factors:
        return number(value).shaped(whole.shape, whole.comes_back)
    factors.sort(key=lambda x: x.comes_back)
    factors = [number(abs(value)), *factors] if abs(value) != 1 else factors
    product = factors[0] if len(factors) == 1 else Tree("times", factors, shape=whole.shape)
    product = product.shaped(whole.shape, whole.comes_back)
    return Tree("negative", [product]) if value < 0 else product


def _scaled(x: Tree) -> tuple[float, Tree]:
    """The number, with its sign, that stands before a formula, and the rest."""
    value, factors = apart(x)
    rest = factors[0] if len(factors) == 1 else times(*factors)
    return value, rest.shaped(x.shape, x.comes_back)


def negative(x: Tree) -> Tree:
    """−x: a number's sign is its own, two cancel."""
    return times(number(-1), x)


def plus(*parts: Tree) -> Tree:
    """Terms side by side: zeros dropped, equal terms added up, a negative one not first."""
    if apart(parts[0])[0] < 0:  # h − n, not −n + h
        parts = tuple(sorted(parts, key=lambda x: apart(x)[0] < 0))
    whole = Tree("sum", [t for x in parts for t in (x.parts if x.head == "sum" else (x,))])
    alike: dict[tuple, list[Tree]] = {}
    for t in whole.parts:
        alike.setdefault(_scaled(t)[1].key, []).append(t)
    terms = [times(number(sum(_scaled(t)[0] for t in of)), _scaled(of[0])[1]) for of in alike.values()]
    terms = [t for t in terms if not t.is_number(0)] or [number(0)]
    return terms[0].shaped(whole.shape) if len(terms) == 1 else Tree("sum", terms, shape=whole.shape)


def over(x: Tree, y: Tree) -> Tree:
    """x / y; by a number, as a product with one."""
    if y.is_number() and y.of:
        return times(number(1 / y.of), x)
    return negative(over(x.parts[0], y)) if x.head == "negative" else Tree("over", [x, y])


def power(x: Tree, y: Tree) -> Tree:
    """x^y; x itself for an exponent of 1."""
    return x if y.is_number(1) else number(1) if y.is_number(0) else Tree("power", [x, y])


def transposed(x: Tree) -> Tree:
    """ᵗx; of a vector, a row; ᵗ(a ᵗb) is b ᵗa."""
    if x.head == "matrix" and x.parts[-1].head == "transposed":
        a, b = x.parts
        return matrix(b.parts[0], transposed(a))
    return x.parts[0] if x.head == "transposed" else Tree("transposed", [x], shape=x.shape[::-1])


def matrix(a: Tree, b: Tree) -> Tree:
    """a b: a matrix and a column, two matrices, a column and a row; numbers and signs stand before it.

    A vector is a column: before another it is written as a row, ᵗa b, and before a matrix B behind it, ᵗB a.
    """
    if a.ndim == 1 and b.ndim == 2 and not _is_column(a):  # a row and a matrix are a row again, ᵗ(ᵗB a)
        return transposed(matrix(a.parts[0], b))
    if _is_column(a) and _is_column(b):
        a = transposed(a)
    elif _is_column(a) and b.ndim == 2:
        a, b = transposed(b), a
    (value, left), (other, right), shape = _scaled(a), _scaled(b), (*a.shape[:-1], *b.shape[1:])
    factors = [x for x in (left, right) if not x.is_number(1)] or [left]
    product = factors[0] if len(factors) == 1 else Tree("matrix", factors, shape=shape)
    return times(number(value * other), product.shaped(shape, a.comes_back or b.comes_back))


def _is_column(x: Tree) -> bool:
    """True for a vector that is not written as a row, ᵗx."""
    return x.ndim == 1 and x.head != "transposed"


def total(x: Tree, shape: Shape = ()) -> Tree:
    """Σ x, of a value of another shape; a number stands before it."""
    value, x = _scaled(x)
    return times(number(value), Tree("total", [x], shape=shape)).shaped(shape)


def weight(x: Tree) -> Tree:
    """Σ x along the last axis, in a derivative; 1 for constants which add up to 1, as the weights of classes do."""
    if x.head == "symbol" and not x.of.requires_grad and np.allclose(np.sum(x.of.value, axis=-1), 1.0):
        return number(1)
    return Tree("total", [x], shape=(*x.shape[:-1], 1) if x.ndim > 1 else ())


def factors(x: Tree, hole: Tree) -> list[tuple[str, Tree]] | None:
    """The factors that `hole` meets on its way to x, which is linear in it, each with what it does.

    "times" multiplies by element, "left" and "right" as a matrix that stands there, "total" adds up the rows of a
    batch; the elements of a vector are added up by a row on the left: Σ a ⊙ g is ᵗa g. None if the hole stands where
    there is no factor, such as in a transpose.
    """
    if x.key == hole.key or x.is_number(0):
        return [("times", x)] if x.is_number() else []
    value, parts = apart(x) if x.head in ("negative", "times") else (1.0, x.parts)
    held = [part for part in parts if part.comes_back]
    if len(held) != 1 or x.head not in ("negative", "times", "over", "matrix", "total"):
        return None
    inner, others = factors(held[0], hole), [part for part in parts if part is not held[0]]
    if inner is None or (x.head == "over" and held[0] is x.parts[1]):
        return None
    if x.head == "over":
        return [*inner, ("times", over(number(1), x.parts[1]))]
    if x.head == "total" and x.parts[0].ndim == 1:
        by_element = times(*[factor for does, factor in inner if does == "times"])
        return [("left", transposed(by_element))] if inner and by_element.ndim == 1 == len(inner) else None
    if x.head == "total":
        return [*inner, ("total", number(1))]
    if x.head == "matrix":
        return [*inner, ("right" if held[0] is x.parts[0] else "left", others[0])]
    return [*inner, *(("times", factor) for factor in [number(value), *others] if not factor.is_number(1))]
