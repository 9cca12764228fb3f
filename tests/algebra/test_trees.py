import numpy as np
import pytest

from tinygrad_rnn import primitives as P
from tinygrad_rnn.algebra import trees
from tinygrad_rnn.algebra.notation import Names
from tinygrad_rnn.algebra.trees import Unwritten, number, symbol
from tinygrad_rnn.algebra.writer import Writer
from tinygrad_rnn.tensor import Tensor

M, v, w, s = (Tensor(np.ones(shape), name=name) for name, shape in [("M", (3, 3)), ("v", 3), ("w", 3), ("s", ())])
a, b, c, d = map(symbol, (M, v, w, s))  # what rules are given


@pytest.mark.parametrize(
    "tree, text",
    [
        (a.T.T, "M"), (P.linear(a.T, b), "ᵗM v"), (P.outer(b, c), "v ᵗw"), (P.outer(b, c).T, "w ᵗv"),
        (P.linear(a, -2.0 * b), "−2 M v"), (b * 0.0, "0"), (b * c * 1.0, "v ⊙ w"),
        (np.negative(-b), "v"), (b - -c, "v + w"),
        (b + b, "2 v"), (b - c + b, "2 v − w"), (-b + c, "w − v"), (b / 4.0, "0.25 v"), (b * d, "s v"),
        (np.tanh(b) ** 2, "tanh(v)²"), (np.where(b > c, b, 0.0), "where([v > w], v, 0)"), (np.sum(b * c), "Σ v ⊙ w"),
        (P.broadcast_to(d, (3,)) * b, "s v"), (P.broadcast_to(d, (3,)) + b, "s + v"),
    ],
)  # fmt: skip
def test_what_operators_and_primitives_make_is_simplified(tree, text):
    assert Writer(Names([M, v, w, s])).text(tree) == text


@pytest.mark.parametrize(
    "made",
    [
        lambda: P.linear(a, number(1).shaped((3,))), lambda: P.outer(P.broadcast_to(d, (3,)), b),
        lambda: trees.total(number(1).shaped((3,))), lambda: np.sum(P.broadcast_to(d, (3,))),
        lambda: bool(b > c), lambda: np.argsort(b), lambda: np.add.reduce(b), lambda: b[0],
    ],
)  # fmt: skip
def test_what_would_say_something_else_has_no_notation(made):
    """One number in the place of many, of which each counts; a decision by values; what the table does not have."""
    with pytest.raises((Unwritten, KeyError, TypeError)):
        made()
