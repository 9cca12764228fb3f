"""The operations of rules on trees: operators, NumPy's functions, the table's own primitives."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_rnn import primitives as P
from tinygrad_rnn.algebra.reading import read
from tinygrad_rnn.algebra.trees import Tree, Unwritten, broadcast, number, total
from tinygrad_rnn.choices import TESTS
from tinygrad_rnn.primitives import Primitive

_ROWS = {row.forward: row for row in P.TABLE.values()}  # those whose forward function is NumPy's own


def made(primitive: Primitive, inputs: Sequence[Any], *static: Any) -> Tree:
    """The formula of a primitive on formulas, as its row writes it.

    Raises:
        Unwritten: the row has no notation for its inputs.
    """
    if primitive.variadic or len(inputs) != len(primitive.argument_names[: len(inputs)]) or "…" in primitive.written:
        raise Unwritten(primitive.name)
    operands = [x if isinstance(x, Tree) else number(float(x)) for x in inputs]
    arrays = [np.broadcast_to(np.float64(1), x.shape) for x in operands]
    with np.errstate(all="ignore"):
        shape = broadcast(operands) if primitive.by_element else np.shape(primitive.forward(*arrays, *static))
    formula = read(primitive.written, dict(zip(primitive.argument_names, operands)), primitive)  # noqa: B905
    if primitive.products and primitive.sums_rows and operands[0].ndim > 1:  # of a batch, over its rows
        formula = total(formula, shape)
    return formula.shaped(shape)


def _array_ufunc(self: Tree, ufunc: np.ufunc, method: str, *inputs: Any, **keywords: Any) -> Tree:
    if method == "reduce" and ufunc is np.add:
        return made(P.sum_, inputs, keywords.get("axis"), keywords.get("keepdims", False))
    if method == "__call__" and not keywords and ufunc in _ROWS:
        return made(_ROWS[ufunc], inputs)
    if method == "__call__" and not keywords and ufunc in TESTS:
        return Tree("brackets", [made(TESTS[ufunc], inputs)])
    raise Unwritten(ufunc.__name__)


def _array_function(self: Tree, function: Callable, types: Any, inputs: tuple, keywords: dict) -> Tree:
    if function is np.where:
        return made(P.where, (*inputs[1:], inputs[0]))
    if function is np.sum:
        return made(P.sum_, inputs[:1], keywords.get("axis"), keywords.get("keepdims", False))
    if function in (np.reshape, np.transpose) and not keywords:
        return made(_ROWS[function], inputs[:1], *inputs[1:])
    raise Unwritten(function.__name__)


def _undecided(self: Tree, *_: Any) -> Any:
    raise Unwritten("a selection, or a decision")


Tree.__array_ufunc__, Tree.__array_function__ = _array_ufunc, _array_function
Tree.__record__ = lambda self, primitive, inputs, *static: made(primitive, inputs, *static)
Tree.T = property(lambda self: made(P.transpose, (self,), None))
Tree.__getitem__ = Tree.__bool__ = _undecided
