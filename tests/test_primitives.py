import numpy as np
import pytest

from tinygrad_rnn.checking import check_primitive
from tinygrad_rnn.primitives import TABLE, kept_shape
from tinygrad_rnn.tensor import Tensor, record

ALL = sorted(TABLE)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name", ALL)
def test_rules_agree_with_central_differences(name, order):
    """The second derivatives are those of rules run on Tensors: `create_graph` holds for all of the table."""
    check_primitive(name, order=order)


@pytest.mark.parametrize("name", ALL)
def test_a_row_has_one_rule_and_one_notation_per_input(name):
    primitive = TABLE[name]
    assert primitive.name == name
    if primitive.letters:
        assert len(primitive.vjps) == len(primitive.derivatives) <= len(primitive.letters)


def test_an_array_runs_and_a_tensor_records():
    W, x = np.eye(2), np.ones(2)
    assert type(TABLE["linear"](W, x)) is np.ndarray
    assert TABLE["linear"](Tensor(W, requires_grad=True), x).primitive is TABLE["linear"]


def test_linear_is_the_same_for_every_row():
    rng = np.random.default_rng(0)
    W, x = rng.standard_normal((3, 2)), rng.standard_normal((5, 4, 2))
    rows = [[W @ row for row in block] for block in x]
    np.testing.assert_allclose(TABLE["linear"](W, x), rows, rtol=1e-14)


def test_outer_of_batches_is_summed_over_rows():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 5, 4)), rng.standard_normal((2, 5, 3))
    expected = sum(np.outer(p, q) for p, q in zip(a.reshape(-1, 4), b.reshape(-1, 3), strict=True))
    np.testing.assert_allclose(TABLE["outer"](a, b), expected, rtol=1e-14)


def test_sigmoid_neither_overflows_nor_rounds_to_zero():
    x = np.array([-700.0, -40.0, 0.0, 40.0, 700.0])
    with np.errstate(all="raise"):
        y = TABLE["sigmoid"](x)
    np.testing.assert_allclose(y, [np.exp(-700), np.exp(-40), 0.5, 1.0, 1.0], rtol=1e-12)


@pytest.mark.parametrize("name", ["max", "min"])
def test_ties_share_the_gradient(name):
    x = Tensor([1.0, 1.0, 1.0], requires_grad=True)
    record(TABLE[name], (x,), None, False).backward()
    np.testing.assert_array_equal(x.grad, [1 / 3, 1 / 3, 1 / 3])


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_equal_operands_share_the_gradient(name):
    x, y = Tensor(1.0, requires_grad=True), Tensor(1.0, requires_grad=True)
    record(TABLE[name], (x, y)).backward()
    assert (x.grad, y.grad) == (0.5, 0.5)


@pytest.mark.parametrize(
    "base, exponent, by_base", [(0.0, 0.0, 0.0), (0.0, 1.0, 1.0), (0.0, 3.0, 0.0), (-2.0, 3.0, 12.0)]
)
def test_power_at_zero_and_below(base, exponent, by_base):
    x = Tensor(base, requires_grad=True)
    record(TABLE["power"], (x, Tensor(exponent))).backward()
    assert x.grad == by_base


def test_power_with_a_base_of_zero_has_a_finite_derivative_by_its_exponent():
    p = Tensor(2.0, requires_grad=True)
    record(TABLE["power"], (Tensor(0.0), p)).backward()
    assert p.grad == 0.0


def test_kept_shape():
    assert kept_shape((2, 3, 4), None) == (1, 1, 1)
    assert kept_shape((2, 3, 4), -1) == (2, 3, 1)
    assert kept_shape((2, 3, 4), (0, 2)) == (1, 3, 1)
