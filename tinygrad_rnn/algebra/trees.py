"""Formulas as trees: what a rule of the table makes when it is given symbols.

    vjp(g, ans, W, x) on arrays    the gradient
    vjp(g, ans, W, x) on Tensors   the gradient as a graph
    vjp(g, ans, W, x) on trees     the formula: outer(g, x) is g ᵗx, linear(W.T, g) is ᵗW g, g * y is y ⊙ g

A tree's leaves are nodes of a graph, by identity, and numbers; only a printer knows what they are called. Trees are
simplified as they are made, by one small function for each head, and nothing edits a formula once it is text. Where a
batch is multiplied, one of its rows stands for all. What a primitive makes of trees its row's notation says, which is
read here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache, cached_property
from typing import Any

import numpy as np

from tinygrad_rnn import primitives as P
from tinygrad_rnn.interop import TESTS
from tinygrad_rnn.primitives import Primitive

Shape = tuple[int, ...]
_ROWS = {row.forward: row for row in P.TABLE.values()}  # those whose forward function is NumPy's own


class Unwritten(Exception):
    """There is no notation for what is to be written, as where a rule decides by a value."""


class Tree(np.lib.mixins.NDArrayOperatorsMixin):
    """A formula.

    Attributes:
        head: what it is: "symbol", "number", "gradient", "sum", "times", "matrix", ...; a Writer has a method for each.
        parts: the trees that it is made of.
        of: a symbol's node, a number's value, the function that is applied, or the like.
        shape: of its value. size: how many elements what is written has: 1 for a number that stands for many.
        comes_back: whether it is what has become of a gradient, which stands last in a product by element.
    """

    def __init__(self, head: str, parts: Iterable[Tree] = (), of: Any = None, shape: Shape | None = None):
        self.head, self.parts, self.of = head, tuple(parts), of
        self.shape = broadcast(self.parts) if shape is None else tuple(shape)
        by_element = self.parts and head not in ("matrix", "total")
        self.size: int = max(part.size for part in self.parts) if by_element else math.prod(self.shape)
        self.comes_back: bool = any(part.comes_back for part in self.parts)

    @cached_property
    def key(self) -> tuple:
        """A key that formulas share if they are alike: of the same nodes, by identity, in the same order."""
        of = self.of if isinstance(self.of, (str, float)) else id(self.of)
        return self.head, of, *(part.key for part in self.parts)

    def is_whole(self) -> bool:
        """True if what is written has all the elements of the value."""
        return self.size == math.prod(self.shape)

    def holds(self, head: str) -> bool:
        """True for a formula of this head, or with one in it."""
        return self.head == head or any(part.holds(head) for part in self.parts)

    def __bool__(self) -> bool:
        raise Unwritten("a decision")

    dtype = np.dtype(float)
    ndim = property(lambda self: len(self.shape))
    T = property(lambda self: self.__record__(P.transpose, (self,), None))
    __hash__ = object.__hash__

    def shaped(self, shape: Shape, comes_back: bool = False, whole: bool = False) -> Tree:
        """This formula with another shape of its value; as what has become of a gradient; as a whole, each element."""
        tree = Tree(self.head, self.parts, self.of, shape)
        tree.size, tree.comes_back = math.prod(shape) if whole else self.size, self.comes_back or comes_back
        return tree

    def is_number(self, value: float | None = None) -> bool:
        """True for a bare number, or for this one."""
        return self.head == "number" and (value is None or value == self.of)

    # What rules do: the table's own primitives, NumPy's functions

    def __record__(self, primitive: Primitive, inputs: Sequence[Any], *static: Any) -> Tree:
        """The formula of a primitive on formulas, as its row writes it.

        Raises:
            Unwritten: the row has no notation for its inputs.
        """
        if primitive.variadic or len(inputs) > len(primitive.argument_names) or "…" in primitive.written:
            raise Unwritten(primitive.name)
        operands = [x if isinstance(x, Tree) else number(x) for x in inputs]
        arrays = [np.broadcast_to(np.float64(1), x.shape) for x in operands]
        with np.errstate(all="ignore"):
            shape = broadcast(operands) if primitive.by_element else np.shape(primitive.forward(*arrays, *static))
        formula = read(primitive.written, dict(zip(primitive.argument_names, operands)), primitive)  # noqa: B905
        if primitive.products and primitive.sums_rows and operands[0].ndim > 1:  # of a batch, over its rows
            formula = total(formula, shape)
        if whole := not (primitive.by_element or primitive.is_copy):
            _check_whole(*operands)
        return formula.shaped(shape, whole=whole)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **keywords: Any) -> Tree:
        if method != "__call__" or keywords:
            raise Unwritten(ufunc.__name__)
        if ufunc in _ROWS:
            return self.__record__(_ROWS[ufunc], inputs)
        return Tree("brackets", [self.__record__(TESTS[ufunc], inputs)])

    def __array_function__(self, function: Callable, types: Any, inputs: tuple, keywords: dict) -> Tree:
        if function is np.where:
            return self.__record__(P.where, (*inputs[1:], inputs[0]))
        if function is np.sum:
            return self.__record__(P.sum_, inputs, keywords.get("axis"), keywords.get("keepdims", False))
        return self.__record__(_ROWS[function], inputs[:1], *inputs[1:], **keywords)  # an error, if it is no row


def broadcast(parts: Iterable[Tree]) -> Shape:
    """The shape that the values of some parts have together; of those that are no functions by element, the largest."""
    shapes = [part.shape for part in parts]
    with suppress(ValueError):
        return np.broadcast_shapes(*shapes)
    return max(shapes, key=len)


def symbol(node: Any) -> Tree:
    """A node of a graph."""
    return Tree("symbol", (), node, node.shape)


def gradient(node: Any) -> Tree:
    """The gradient of a node."""
    return Tree("gradient", (), node, node.shape).shaped(node.shape, comes_back=True)


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
    """Terms side by side: zeros dropped, a negative one not first; equal terms, and those of one gradient, added up."""
    if len(parts) == 1:
        return parts[0]
    whole, alike = Tree("sum", parts), dict[tuple, tuple[Tree, list[Tree]]]()
    if all(x.is_number() for x in parts):
        return number(sum(x.of for x in parts)).shaped(whole.shape, whole.comes_back)
    if apart(parts[0])[0] < 0:  # h − n, not −n + h
        parts = tuple(sorted(parts, key=lambda x: apart(x)[0] < 0))
    for t in [t for x in parts for t in (x.parts if x.head == "sum" else (x,))]:
        value, factors = apart(t)
        before = factors[:-1] if t.comes_back else []
        of = times(*factors[len(before) :])
        alike.setdefault(of.key, (of, []))[1].append(times(number(value), *before))
    terms = [times(plus(*numbers), of) for of, numbers in alike.values()]
    terms = [t for t in terms if not t.is_number(0)] or [number(0)]
    return (terms[0] if len(terms) == 1 else Tree("sum", terms)).shaped(whole.shape, whole.comes_back)


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


def matrix(a: Tree, b: Tree, shape: Shape | None = None) -> Tree:
    """a b: a matrix and a column, or each row of a batch; two matrices; a column and a row. Numbers stand before it.

    A vector is a column: before another it is written as a row, ᵗa b, and before a matrix B behind it, ᵗB a.
    """
    if a.ndim == 1 and b.ndim == 2 and not _is_column(a):  # a row and a matrix are a row again, ᵗ(ᵗB a)
        return transposed(matrix(a.parts[0], b))
    if _is_column(a) and _is_column(b):
        a = transposed(a)
    elif _is_column(a) and b.ndim == 2:
        a, b = transposed(b), a
    (value, left), (other, right) = _scaled(a), _scaled(b)
    if shape is None and _is_column(a):  # before a row
        shape = a.shape + b.shape
    elif shape is None:
        of_rows = a.shape[-1:] != b.shape[:1]
        shape = (*b.shape[:-1], *a.shape[:-1]) if of_rows else (*a.shape[:-1], *b.shape[1:])
    if value * other:
        _check_whole(a, b)
    factors = [x for x in (left, right) if not x.is_number(1)] or [left]
    product = factors[0] if len(factors) == 1 else Tree("matrix", factors, shape=shape)
    return times(number(value * other), product.shaped(shape, a.comes_back or b.comes_back))


def _check_whole(*parts: Tree) -> None:
    if not all(part.is_whole() for part in parts):
        raise Unwritten("a number that stands for many, where each of these counts")


def _is_column(x: Tree) -> bool:
    """True for a vector that is not written as a row, ᵗx."""
    return x.ndim == 1 and x.head != "transposed"


def total(x: Tree, shape: Shape = ()) -> Tree:
    """Σ x, of a value of another shape; a number stands before it."""
    _check_whole(x)
    value, x = _scaled(x)
    return times(number(value), Tree("total", [x], shape=shape)).shaped(shape)


def weight(x: Tree) -> Tree:
    """Σ x along the last axis, in a derivative; 1 for constants which add up to 1, as the weights of classes do."""
    if x.head == "symbol" and not x.of.requires_grad and np.allclose(np.sum(x.of.value, axis=-1), 1.0):
        return number(1)
    return Tree("total", [x], shape=(*x.shape[:-1], 1) if x.ndim > 1 else ())


def factors(x: Tree, hole: Tree) -> list[Tree] | None:
    """The factors that `hole` meets on its way to x, which is linear in it; None if it stands where there are none.

    They multiply by element, or as matrices from the side on which they stand. The elements of a vector are added up by
    a row on the left, Σ a ⊙ g being ᵗa g; a Σ over the rows of a batch is among the factors as it is.
    """
    if x.key == hole.key or x.is_number(0):
        return [x] if x.is_number() else []
    value, parts = apart(x) if x.head in ("negative", "times") else (1.0, x.parts)
    held = [part for part in parts if part.comes_back]
    if len(held) != 1 or x.head not in ("negative", "times", "over", "matrix", "total"):
        return None
    inner, others = factors(held[0], hole), [part for part in parts if part is not held[0]]
    if inner is None or (x.head == "over" and held[0] is x.parts[1]):
        return None
    if x.head == "total" and x.parts[0].ndim == 1:
        return [transposed(inner[0])] if len(inner) == 1 and inner[0].ndim == 1 else None
    if x.head == "over":
        others = [over(number(1), *others)]
    elif x.head == "total":
        others = [x]
    elif x.head != "matrix":
        others = [factor for factor in (number(value), *others) if not factor.is_number(1)]
    return [*inner, *others]


# The notation of the table, read: from "{y} ⊙ {x}^({y} − 1)" and its operands to a tree

_TOKEN = re.compile(
    r" ?(?P<infix>[-+−⊙=≠<≤>≥,]| / | (?:mod|and|or)(?= )) ?|(?P<number>\d+(?:\.\d+)?|½)|(?P<prefix>Σ|not|either) "
    r"|(?P<name>\{f\}′?(?=\()|(?!ᵗ)[^\W\d_]\w*(?:(?: [^\W\d_]\w*)*(?=\())?)|\{(?P<operand>\w+)\}"
    r"|(?P<sign>\[…\]|\S| (?=\S))"
)
_INFIXES = {",": (0, "list"),
            **dict.fromkeys(("=", "≠", "<", "≤", ">", "≥", " mod", " and", " or"), (1, "relation")),
            "+": (2, "sum"), "−": (2, "sum"), "⊙": (3, "times"), " / ": (3, "over"), "/": (3, "over"),
            " ": (4, "matrix"), **dict.fromkeys("^²³", (5, "power")), "[…]": (5, "part")}  # fmt: skip
_PREFIXES = {"−": (3, "negative"), "Σ": (3, "total"), "ᵗ": (5, "transposed"), "√": (5, "root"),
             "not": (1, "words"), "either": (1, "words")}  # fmt: skip
_AFTER = {"²": [number(2)], "³": [number(3)], "[…]": []}  # with nothing more on the right
_BRACKETS = {"(": (")", ""), "|": ("|", "size"), "[": ("]", "brackets")}
_FUNCTION = "{f}"
_SIMPLER: dict[str, Callable[..., Tree]] = {"sum": plus, "negative": negative, "times": times, "over": over,
            "power": power, "transposed": transposed, "matrix": matrix, "total": weight}  # fmt: skip


def read(template: str, operands: Mapping[str, Tree], function: Any, simplified: bool = True) -> Tree:
    """A template with operands in the place of their names in braces.

    Args:
        function: what `{f}` stands for: the primitive; of a derivative, the node that it is taken of.
        simplified: whether the tree is simplified as it is made, or is what stands there.

    Raises:
        KeyError, ValueError: the template cannot be read, or has another operand.
    """

    def filled(t: Tree) -> Tree:
        if t.head == "operand":
            return operands[t.of]
        parts = [filled(part) for part in t.parts]
        if t.head in _SIMPLER and (simplified or t.head == "matrix"):
            return _SIMPLER[t.head](*parts)
        shape = () if t.head == "total" else None
        return Tree(t.head, parts, function if t.of is _FUNCTION else t.of, shape) if parts else t

    return filled(_parsed(template))


@cache
def _parsed(template: str) -> Tree:
    """A template as a tree, with operands to be filled in."""
    tokens = [("end", ""), *[(match.lastgroup, match[match.lastgroup]) for match in _TOKEN.finditer(template)][::-1]]

    def tree(least: int, end: str | None = None) -> Tree:
        """The next operand, with all operators behind it that bind at least so tightly; and what it ends with."""
        left = primary()
        while _INFIXES.get(tokens[-1][1], (-1, ""))[0] >= least:
            _, sign = tokens.pop()
            level, head = _INFIXES[sign]
            right = _AFTER[sign] if sign in _AFTER else [tree(level + 1)]
            right = [Tree("negative", right)] if sign == "−" else right
            head = "times" if sign == " " and left.is_number() else head
            before = left.parts if left.head == "list" else [left]
            left = Tree(head, [*before, *right], {"relation": sign.strip(), "over": sign}.get(head))
        if end is not None and tokens.pop()[1] != end:
            raise ValueError(f"{template!r}: the notation cannot be read")
        return left

    def primary() -> Tree:
        kind, text = tokens.pop()
        if kind == "operand":
            return Tree("operand", of=text)
        if kind == "number":
            return number(0.5 if text == "½" else float(text))
        if kind == "name":
            inside = tree(0, ")") if tokens[-1][1] == "(" and tokens.pop() else Tree("list")
            arguments = inside.parts if inside.head == "list" else [inside]
            head = "prime" if text.endswith("′") else "applied"
            return Tree(head, arguments, _FUNCTION if text.startswith(_FUNCTION) else text)
        if text in _PREFIXES:
            least, head = _PREFIXES[text]
            return Tree(head, [tree(least)], text if head == "words" else None)
        end, head = _BRACKETS[text]
        inside = tree(1, end)
        return Tree(head, [inside]) if head else inside

    return tree(1, "")
