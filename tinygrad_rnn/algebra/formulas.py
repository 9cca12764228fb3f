"""The formulas of a recorded graph: how a node was made, and what becomes of a gradient on its way back.

Nothing here knows a derivative, or the chain rule. A node is written as its row of the table has it; a gradient is
what the row's rule makes of it, on trees. Where people write a derivative otherwise than its rule says, the row has it.
"""

import functools
from collections.abc import Callable, Sequence

import tinygrad_rnn.algebra.operators  # noqa: F401 - rules run on trees by them
from tinygrad_rnn.algebra.notation import is_number
from tinygrad_rnn.algebra.reading import read
from tinygrad_rnn.algebra.trees import (
    Tree,
    Unwritten,
    factors,
    gradient,
    matrix,
    number,
    plus,
    symbol,
    times,
    total,
    transposed,
)
from tinygrad_rnn.primitives import Primitive
from tinygrad_rnn.tensor import Tensor

Hop = tuple[Tensor, int]  # one local derivative of a path: a node, and which of its inputs
Path = Sequence[Hop]  # the local derivatives to multiply, in the order in which the gradient meets them
Writes = Callable[[Tensor], bool]  # whether a node is a variable

DEEPEST = 4  # expressions of unnamed nodes are written out this many primitives deep


def expression(node: Tensor, writes: Writes, depth: int = DEEPEST) -> Tree:
    """The expression that made a node, down to variables: U h⁽¹⁾ + b."""
    if node.is_leaf:
        return leaf(node)
    if depth == 0:
        return Tree("dots", shape=node.shape)
    row = node.primitive
    operands = [operand(x, writes, depth - 1) for x in node.inputs]
    if row.variadic:
        return Tree("applied", operands, row.name, node.shape)
    try:
        return read(row.written, _named(node, operands), row, simplified=False).shaped(node.shape)
    except ValueError:  # a user's own notation, which nobody can read
        return Tree("applied", operands, row.name, node.shape)


def _named(node: Tensor, inputs: Sequence[Tree]) -> dict[str, Tree]:
    """The arguments of a node by their names in its row's notation; static ones as numbers or words."""
    static = [number(x) if isinstance(x, (int, float)) else Tree("applied", of=str(x), shape=()) for x in node.static]
    return dict(zip(node.primitive.argument_names, [*inputs, *static]))  # noqa: B905 - an index may hold inputs


def operand(x: Tensor, writes: Writes, depth: int = DEEPEST) -> Tree:
    """An input as its user's expression holds it: the variable if it has a name, else how it was made."""
    return leaf(x) if x.is_leaf or writes(x) else expression(x, writes, depth)


def leaf(x: Tensor) -> Tree:
    """A variable or a constant; a bare number by its value."""
    return number(x.item()) if is_number(x) else symbol(x)


def formula_passed_back(node: Tensor, i: int, g: Tree, writes: Writes) -> Tree:
    """The term that a node passes back to its input i, which its rule makes of its gradient g.

    Raises:
        Unwritten: there is no notation for it.
    """
    row, x = node.primitive, node.inputs[i]
    stated = row.derivatives[i] if i < len(row.derivatives) else None
    inputs = [] if hands_on(row, i) else [operand(y, writes) for y in node.inputs]
    if not inputs:
        term, shape = g, node.shape
    elif stated is not None:
        try:
            derivative = read(stated, _named(node, inputs), node)
        except ValueError as error:
            raise Unwritten(stated) from error
        side = next((pair.index(i) for pair in row.products if i in pair), None)
        if side is None:
            term, shape = times(derivative, g), node.shape
        else:
            term, shape = _product_passed_back(derivative, g, side), x.shape
    else:
        ans = symbol(node) if writes(node) else expression(node, writes)
        try:
            term = row.rules(len(inputs))[i](g, ans, *inputs, *node.static)
        except Exception as error:  # a rule may do what only arrays can
            raise Unwritten(row.name) from error
        shape = term.shape
    return total(term, x.shape) if _is_summed(shape, x.shape) else term.shaped(x.shape)


def _product_passed_back(other: Tree, g: Tree, side: int) -> Tree:
    """g ᵗB for the left matrix of A B, and ᵗA g for the right one; for a vector A or B, which is a column, as columns.

    Args:
        other: the transpose of the other matrix.
        side: 0 for the left one, 1 for the right one.
    """
    if g.ndim == 0:  # of ᵗa b
        return times(transposed(other), g)
    if side == 1 and other.ndim == 1:  # of ᵗB a, in which B is the left one
        return transposed(matrix(g, other))
    return matrix(*[(g, other), (other, g)][side])


@functools.cache
def hands_on(primitive: Primitive, i: int) -> bool:
    """True for a primitive that passes its cotangent back to its input i as it is: its rule gives g, whatever g is."""
    g = object()
    try:
        return primitive.rules(i + 1)[i](g, None, *primitive.argument_names) is g
    except (TypeError, ValueError, IndexError, AttributeError):
        return False


def _is_summed(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    """True for a cotangent that is summed, since the input was broadcast."""
    kept = (1,) * (len(shape) - len(to)) + tuple(to)
    return any(n != m for n, m in zip(shape, kept, strict=False))


def along(path: Path, g: Tree, writes: Writes) -> Tree:
    """The term that a gradient g becomes along a path."""
    for node, i in path:
        g = formula_passed_back(node, i, g, writes)
    return g


def back(paths: Sequence[Path], g: Tree, writes: Writes) -> Tree:
    """The sum of the terms along several paths; factors by element are added before g is multiplied by them."""
    terms = [along(path, g, writes) for path in paths]
    if len(terms) == 1:
        return terms[0]
    hole = gradient(paths[0][0][0])
    found = [factors(along(path, hole, writes), hole) for path in paths]
    if all(f is not None and all(does == "times" for does, _ in f) for f in found):
        return times(plus(*[times(*[factor for _, factor in f]) for f in found]), g).shaped(terms[0].shape)
    return plus(*terms)


def met(path: Path, writes: Writes) -> list[Tree] | None:
    """The local derivatives along a path, as factors in the order in which the gradient meets them.

    None where there is no such product: no notation, or a sum in between.
    """
    found: list[tuple[str, Tree]] = []
    for node, i in path:
        hole = gradient(node)
        try:
            new = factors(formula_passed_back(node, i, hole, writes), hole)
        except Unwritten:
            return None
        if new is None or any(does == "total" for does, _ in found):
            return None
        found += new
    return [factor for _, factor in found]


def derivative(paths: Sequence[Path], writes: Writes) -> Tree | None:
    """The local derivatives along each path side by side, the paths added up; None if one has no short notation.

    This is what stands on an edge of Fig. 7-6: f′(ĥ), ᵗU, ᵗx. Several factors stand as the gradient meets them on its
    way along the arrow, in every notation, as in eq. 7.6: f′(ĥ) ᵗU. They are no product of matrices, for that needs the
    place of the gradient: ᵗU stands on its left, ᵗx on its right.
    """
    products = [met(path, writes) for path in paths]
    return None if None in products else plus(*map(in_order, products))


def in_order(found: Sequence[Tree], first: Sequence[Tree] = ()) -> Tree:
    """Factors side by side as they are met, numbers multiplied and first."""
    numbers = [x for x in found if x.is_number()]
    others = [*first, *(x for x in found if not x.is_number())]
    product = others[0] if len(others) == 1 else Tree("beside", others, shape=()) if others else number(1)
    return times(*numbers, product)
