"""The formulas of a recorded graph: how a node was made, and what becomes of a gradient on its way back.

Nothing here knows a derivative, or the chain rule. A node is written as its row of the table has it; a gradient is
what the row's rule makes of it, on trees: these take operators, NumPy's functions and the table's own primitives as
arrays do. Where people write a derivative otherwise than its rule says, the row has it.
"""

import functools
import math
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from tinygrad_rnn import primitives as P
from tinygrad_rnn.algebra import trees
from tinygrad_rnn.algebra.notation import is_number
from tinygrad_rnn.algebra.trees import Tree, Unwritten, gradient, number, plus, symbol, times
from tinygrad_rnn.interop import TESTS
from tinygrad_rnn.primitives import Primitive
from tinygrad_rnn.tensor import Tensor

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
_SIMPLER: dict[str, Any] = {"sum": trees.plus, "negative": trees.negative, "times": trees.times, "over": trees.over,
            "power": trees.power, "transposed": trees.transposed, "matrix": trees.matrix,
            "total": trees.weight}  # fmt: skip


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


@functools.cache
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


# The formulas of nodes, and what becomes of a gradient on its way back

Hop = tuple[Tensor, int]  # one local derivative on the way back: of a node, by which of its inputs
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
        with suppress(KeyError, ValueError, Unwritten):  # a user's own notation, which nobody can read
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


def back(hops: Sequence[Hop], g: Tree, writes: Writes) -> Tree:
    """The sweep on symbols: what a gradient g becomes on its way back through the local derivatives between two nodes.

    Raises:
        Unwritten: there is no notation for it.
    """
    terms: dict[Tensor, list[Tree]] = defaultdict(list, {hops[0][0]: [g]})
    for node, i in hops:
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
    return plus(*products[::-1])


def in_order(found: Sequence[Tree]) -> Tree:
    """Factors side by side as they are met, numbers multiplied and first."""
    value, factors = trees.apart(Tree("times", found))
    factors = [part for x in factors for part in (x.parts if x.head == "beside" else [x])]
    product = Tree("beside", factors, shape=()) if len(factors) > 1 else times(*factors)
    return times(number(value), product)
