"""The formulas of a recorded graph: how a node was made, and what becomes of a gradient on its way back.

Nothing here knows a derivative, or the chain rule. A node is written as its row of the table has it; a gradient is
what the row's rule makes of it, on trees. Where people write a derivative otherwise than its rule says, the row has it.

Level "primitives" keeps every node. Level "named" keeps the variables, as Figs. 7-5 and 7-6 of interdb do: what has a
name, and the leaves that require a gradient. The nameless primitives between two variables are folded into a `Use`.
"""

import functools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import NamedTuple

from tinygrad_rnn.algebra import trees
from tinygrad_rnn.algebra.notation import Notation, is_number
from tinygrad_rnn.algebra.trees import Tree, Unwritten, gradient, number, plus, read, symbol, times
from tinygrad_rnn.primitives import Primitive
from tinygrad_rnn.tensor import Tensor, reached

Hop = tuple[Tensor, int]  # one local derivative on the way back: of a node, by which of its inputs
Writes = Callable[[Tensor], bool]  # whether a node is a variable

DEEPEST = 4  # expressions of unnamed nodes are written out this many primitives deep
_MOST_PATHS = 4  # between two variables are written out, at most so many,
_LONGEST_PATH = 16  # of at most so many primitives each that have a derivative other than 1,
_MOST_HOPS = 2000  # and so many in all


# How a node was made


def expression(node: Tensor, writes: Writes, depth: int = DEEPEST) -> Tree:
    """The expression that made a node, down to variables: U h⁽¹⁾ + b."""
    if node.is_leaf:
        return operand(node, writes)
    if depth == 0:
        return Tree("dots", shape=node.shape)
    row = node.primitive
    operands = [operand(x, writes, depth - 1) for x in node.inputs]
    if row.reduction and node.size > 1:  # Σ x is over all elements; over an axis it is sum(x, axis=0)
        operands.append(Tree("applied", of=f"axis={node.static[0]}", shape=()))
    formula = Tree("applied", operands, row.name)
    if not row.variadic and len(operands) == len(node.inputs):
        with suppress(KeyError, ValueError, Unwritten):  # a user's own notation, which nobody can read
            formula = read(row.written, _arguments(node, operands), row, simplified=False)
    return formula.shaped(node.shape, whole=not (row.by_element or row.is_copy))


def operand(x: Tensor, writes: Writes, depth: int = DEEPEST) -> Tree:
    """An input as its user's expression holds it: a variable, a bare number by its value, or how it was made."""
    if x.is_leaf or writes(x):
        return number(x.item()) if is_number(x) else symbol(x)
    return expression(x, writes, depth)


def _arguments(node: Tensor, inputs: Sequence[Tree]) -> dict[str, Tree]:
    """The arguments of a node by their names in its row's notation; static ones as numbers or words."""
    static = [number(x) if isinstance(x, (int, float)) else Tree("applied", of=str(x), shape=()) for x in node.static]
    return dict(zip(node.primitive.argument_names, [*inputs, *static]))  # noqa: B905 - an index may hold inputs


# What becomes of a gradient on its way back


def formula_passed_back(node: Tensor, i: int, g: Tree, writes: Writes) -> Tree:
    """The term that a node passes back to its input i, which its rule makes of its gradient g.

    Raises:
        Unwritten: there is no notation for it.
    """
    row, x = node.primitive, node.inputs[i]
    stated = row.derivatives[i] if i < len(row.derivatives) else None
    try:
        if row.reduction and stated and node.size > 1:
            raise Unwritten(row.name)  # [x = max(x)] is of all elements
        if hands_on(row, i):
            term = g.shaped(node.shape)
        elif stated is None:
            inputs = [operand(y, writes) for y in node.inputs]
            term = row.rule(i)(g, operand(node, writes), *inputs, *node.static)
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
        return primitive.rule(i)(g, None, *primitive.argument_names) is g
    return False


def is_product(hop: Hop) -> bool:
    """True if an input is multiplied as a matrix, or by one: all but the b of W x + U h + b."""
    node, i = hop
    return any(i in pair for pair in node.primitive.products)


def back(hops: Sequence[Hop], g: Tree, writes: Writes) -> Tree:
    """The sweep on symbols: what a gradient g becomes on its way back through the local derivatives between two nodes.

    Raises:
        Unwritten: there is no notation for it.
    """
    terms: dict[Tensor, list[Tree]] = defaultdict(list, {hops[0][0]: [g]})
    for node, i in hops:  # last use first; terms are written first use first
        terms[node.inputs[i]].insert(0, formula_passed_back(node, i, plus(*terms[node]), writes))
    return plus(*terms[node.inputs[i]])


def derivative(hops: Sequence[Hop], writes: Writes) -> Tree | None:
    """The local derivatives along each path side by side, the paths added up; None if one has no short notation.

    This is what stands on an edge of Fig. 7-6: f′(ĥ), ᵗU, ᵗx. Several factors stand as the gradient meets them on its
    way along the arrow, in every notation, as in eq. 7.6: f′(ĥ) ᵗU. They are no product of matrices, for that needs the
    place of the gradient: ᵗU stands on its left, ᵗx on its right. A sum in between is none of them.
    """
    paths: dict[Tensor, list[list[Tree]]] = defaultdict(list, {hops[0][0]: [[]]})
    for node, i in hops:
        hole, new = gradient(node), None
        with suppress(Unwritten):
            new = trees.factors(formula_passed_back(node, i, hole, writes), hole)
        if new is None or any(x.head == "total" for path in paths[node] for x in path):
            return None
        paths[node.inputs[i]] += [[*path, *new] for path in paths[node]]
    products = [in_order([x for x in path if x.head != "total"]) for path in paths[node.inputs[i]]]
    return plus(*products[::-1])  # first use first


def in_order(found: Sequence[Tree]) -> Tree:
    """Factors side by side as they are met, numbers multiplied and first."""
    value, factors = trees.apart(Tree("times", found))
    factors = [part for x in factors for part in (x.parts if x.head == "beside" else [x])]
    product = Tree("beside", factors, shape=()) if len(factors) > 1 else times(*factors)
    return times(number(value), product)


# A graph at the level of its variables


class Use(NamedTuple):
    """One variable in the making of another: the hops between them, and the primitives that it goes into, last first.

    `hops` are those of all paths, as a gradient meets them on its way back; None where the paths are too many or too
    long to be written. `weights` are the parameters that the source is multiplied by on its way, where these are no
    variables of their own.
    """

    target: Tensor
    source: Tensor
    hops: list[Hop] | None
    users: list[Tensor]
    weights: Sequence[Tensor] = ()


def variables(order: Sequence[Tensor], notation: Notation) -> set[Tensor]:
    """The nodes that level "named" keeps, of a graph in topological order, its output last."""
    return {n for n in order if n is order[-1] or notation.writes(n) or (n.is_leaf and n.requires_grad)}


def fold(order: Sequence[Tensor], kept: Collection[Tensor]) -> dict[Tensor, list[Use]]:
    """The uses of variables in every kept Tensor, in the order in which its expression reads: W x + U h + b."""
    position = {n: i for i, n in enumerate(order)}
    return {target: _uses(target, kept, position) for target in order if target in kept}


def inside(node: Tensor, ends: Callable[[Tensor], bool]) -> list[Tensor]:
    """A node and what lies between it and the ends of its expression."""
    found = reached([node], lambda x: x is node or not ends(x))
    return [x for x in found if x is node or not ends(x)]


def _uses(target: Tensor, kept: Collection[Tensor], position: dict[Tensor, int]) -> list[Use]:
    """Folded nodes are visited latest first, so that all hops to a node are known before they are followed on."""
    hops: dict[Tensor, dict[Hop, None]] = defaultdict(dict)
    paths: dict[Tensor, float] = defaultdict(float, {target: 1})
    longest = Counter[Tensor]()
    users: dict[Tensor, list[Tensor]] = {}
    folded = inside(target, lambda x: x in kept or x.is_leaf or x not in position)
    for node in sorted(folded, key=position.get, reverse=True):
        for i, x in enumerate(node.inputs):
            if node.primitive.vjps and x in position and (x in kept or not x.is_leaf):  # constants stand in the label
                users.setdefault(x, []).append(node)
                paths[x] += paths[node]
                longest[x] = max(longest[x], longest[node] + (not hands_on(node.primitive, i)))
                hops[x] |= hops[node]
                hops[x][node, i] = None
                if paths[x] > _MOST_PATHS or longest[x] > _LONGEST_PATH or len(hops[x]) > _MOST_HOPS:
                    paths[x], hops[x] = math.inf, {}

    def on_the_way_back(x: Tensor) -> list[Hop] | None:  # those of one path are in order
        return (sorted(hops[x], key=lambda hop: -position[hop[0]]) if paths[x] > 1 else [*hops[x]]) or None

    found = [Use(target, x, on_the_way_back(x), of) for x, of in users.items() if x in kept]
    return sorted(found, key=lambda use: position[use.users[0]])
