"""The formulas of a recorded graph: how a node was made, and what becomes of a gradient on its way back.

Nothing here knows a derivative, or the chain rule. A node is written as its row of the table has it; a gradient is
what the row's rule makes of it, on trees: these take operators, NumPy's functions and the table's own primitives as
arrays do. Where people write a derivative otherwise than its rule says, the row has it.
"""

import functools
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from tinygrad_rnn import primitives as P
from tinygrad_rnn.algebra import trees
from tinygrad_rnn.algebra.notation import is_number
from tinygrad_rnn.algebra.reading import read
from tinygrad_rnn.algebra.trees import Tree, Unwritten, gradient, number, plus, symbol, times
from tinygrad_rnn.interop import TESTS
from tinygrad_rnn.primitives import Primitive
from tinygrad_rnn.tensor import Tensor

Hop = tuple[Tensor, int]  # one local derivative of a path: a node, and which of its inputs
Path = Sequence[Hop]  # the local derivatives to multiply, in the order in which the gradient meets them
Writes = Callable[[Tensor], bool]  # whether a node is a variable

DEEPEST = 4  # expressions of unnamed nodes are written out this many primitives deep
_ROWS = {row.forward: row for row in P.TABLE.values()}  # those whose forward function is NumPy's own


def expression(node: Tensor, writes: Writes, depth: int = DEEPEST) -> Tree:
    """The expression that made a node, down to variables: U h⁽¹⁾ + b."""
    if node.is_leaf:
        return operand(node, writes)
    if depth == 0:
        return Tree("dots", shape=node.shape)
    row = node.primitive
    operands = [operand(x, writes, depth - 1) for x in node.inputs]
    if not row.variadic:
        with suppress(KeyError, ValueError):  # a user's own notation, which nobody can read
            return read(row.written, _arguments(node, operands), row, simplified=False).shaped(node.shape)
    return Tree("applied", operands, row.name, node.shape)


def operand(x: Tensor, writes: Writes, depth: int = DEEPEST) -> Tree:
    """An input as its user's expression holds it: a variable, a bare number by its value, or how it was made."""
    if x.is_leaf or writes(x):
        return number(x.item()) if is_number(x) else symbol(x)
    return expression(x, writes, depth)


def _arguments(node: Tensor, inputs: Sequence[Tree]) -> dict[str, Tree]:
    """The arguments of a node by their names in its row's notation; static ones as numbers or words."""
    static = [number(x) if isinstance(x, (int, float)) else Tree("applied", of=str(x), shape=()) for x in node.static]
    return dict(zip(node.primitive.argument_names, [*inputs, *static]))  # noqa: B905 - an index may hold inputs


def made(primitive: Primitive, inputs: Sequence[Any], *static: Any) -> Tree:
    """The formula of a primitive on formulas, as its row writes it.

    Raises:
        Unwritten: the row has no notation for its inputs.
    """
    if primitive.variadic or len(inputs) > len(primitive.argument_names) or "…" in primitive.written:
        raise Unwritten(primitive.name)
    operands = [x if isinstance(x, Tree) else number(x) for x in inputs]
    arrays = [np.broadcast_to(np.float64(1), x.shape) for x in operands]
    with np.errstate(all="ignore"):
        shape = trees.broadcast(operands) if primitive.by_element else np.shape(primitive.forward(*arrays, *static))
    formula = read(primitive.written, dict(zip(primitive.argument_names, operands)), primitive)  # noqa: B905
    if primitive.products and primitive.sums_rows and operands[0].ndim > 1:  # of a batch, over its rows
        formula = trees.total(formula, shape)
    return formula.shaped(shape)


def _array_ufunc(self: Tree, ufunc: np.ufunc, method: str, *inputs: Any, **keywords: Any) -> Tree:
    if method != "__call__" or keywords:
        raise Unwritten(ufunc.__name__)
    return made(_ROWS[ufunc], inputs) if ufunc in _ROWS else Tree("brackets", [made(TESTS[ufunc], inputs)])


def _array_function(self: Tree, function: Callable, types: Any, inputs: tuple, keywords: dict) -> Tree:
    if function is np.where:
        return made(P.where, (*inputs[1:], inputs[0]))
    if function is np.sum:
        return made(P.sum_, inputs, keywords.get("axis"), keywords.get("keepdims", False))
    return made(_ROWS[function], inputs[:1], *inputs[1:], **keywords)  # an error, if it is no row of the table


for _name, _member in {
    "__array_ufunc__": _array_ufunc, "__array_function__": _array_function, "__record__": staticmethod(made),
    "T": property(lambda self: made(P.transpose, (self,), None)),
}.items():  # fmt: skip
    setattr(Tree, _name, _member)


def formula_passed_back(node: Tensor, i: int, g: Tree, writes: Writes) -> Tree:
    """The term that a node passes back to its input i, which its rule makes of its gradient g.

    Raises:
        Unwritten: there is no notation for it.
    """
    row, x = node.primitive, node.inputs[i]
    stated = row.derivatives[i] if i < len(row.derivatives) else None
    try:
        if hands_on(row, i):
            term = g.shaped(node.shape)
        elif stated is None:
            inputs = [operand(y, writes) for y in node.inputs]
            term = row.rules(len(inputs))[i](g, operand(node, writes), *inputs, *node.static)
        else:
            derivative = read(stated, _arguments(node, [operand(y, writes) for y in node.inputs]), node)
            side = next((pair.index(i) for pair in row.products if i in pair), None)
            term = times(derivative, g).shaped(node.shape) if side is None else _multiplied(derivative, g, side)
    except Exception as error:  # a rule may do what only arrays can, and a user's notation be one that nobody can read
        raise Unwritten(row.name) from error
    return trees.total(term, x.shape) if math.prod(term.shape) > x.size else term.shaped(x.shape)


def _multiplied(other: Tree, g: Tree, side: int) -> Tree:
    """g ᵗB for the left matrix of A B, and ᵗA g for the right one; for a vector A or B, which is a column, as columns.

    Args:
        other: the transpose of the other matrix.
        side: 0 for the left one, 1 for the right one.
    """
    if g.ndim == 0:  # of ᵗa b
        return times(trees.transposed(other), g)
    if side == 1 and other.ndim == 1:  # of ᵗB a, in which B is the left one
        return trees.transposed(trees.matrix(g, other))
    return trees.matrix(*[(g, other), (other, g)][side])


@functools.cache
def hands_on(primitive: Primitive, i: int) -> bool:
    """True for a primitive that passes its cotangent back to its input i as it is: its rule gives g, whatever g is."""
    g = object()
    with suppress(TypeError, ValueError, IndexError, AttributeError):
        return primitive.rules(i + 1)[i](g, None, *primitive.argument_names) is g
    return False


def is_product(hop: Hop) -> bool:
    """Tell whether an input is multiplied as a matrix, or by one: all but the b of W x + U h + b."""
    node, i = hop
    return any(i in pair for pair in node.primitive.products)


def along(path: Path, g: Tree, writes: Writes) -> Tree:
    """The term that a gradient g becomes along a path."""
    for node, i in path:
        g = formula_passed_back(node, i, g, writes)
    return g


def back(paths: Sequence[Path], g: Tree, writes: Writes) -> Tree:
    """The sum of the terms along several paths."""
    return plus(*[along(path, g, writes) for path in paths])


def derivative(paths: Sequence[Path], writes: Writes) -> Tree | None:
    """The local derivatives along each path side by side, the paths added up; None if one has no short notation.

    This is what stands on an edge of Fig. 7-6: f′(ĥ), ᵗU, ᵗx. Several factors stand as the gradient meets them on its
    way along the arrow, in every notation, as in eq. 7.6: f′(ĥ) ᵗU. They are no product of matrices, for that needs the
    place of the gradient: ᵗU stands on its left, ᵗx on its right. A sum in between is none of them.
    """
    products = []
    for path in paths:
        found: list[Tree] = []
        for node, i in path:
            hole, new = gradient(node), None
            with suppress(Unwritten):
                new = trees.factors(formula_passed_back(node, i, hole, writes), hole)
            if new is None or any(x.head == "total" for x in found):
                return None
            found += new
        products.append(in_order([x for x in found if x.head != "total"]))
    return plus(*products)


def in_order(found: Sequence[Tree]) -> Tree:
    """Factors side by side as they are met, numbers multiplied and first."""
    value, factors = trees.apart(Tree("times", found))
    factors = [part for x in factors for part in (x.parts if x.head == "beside" else [x])]
    product = Tree("beside", factors, shape=()) if len(factors) > 1 else times(*factors)
    return times(number(value), product)
