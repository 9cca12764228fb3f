import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import primitives
from tinygrad_rnn.checking import central_differences, check_parameters
from tinygrad_rnn.tensor import record


def test_returns_the_largest_relative_error():
    assert 0.0 <= tg.check_gradients(lambda x: (x**3).sum(), [1.0, 2.0]) < 1e-9


def test_a_slightly_wrong_rule_is_found():
    """The checker itself is checked: a derivative that is off by 0.05 % does not pass."""
    wrong = primitives.Primitive("wrong", np.tanh, "", [lambda g, ans, x: g * (1.0005 - ans * ans)], ["?"], ("x",))
    with pytest.raises(
        tg.GradientError, match=r"input 0 of shape \(2,\) at \(1,\): the gradient is .* central differences give"
    ):
        tg.check_gradients(lambda x: (record(wrong, (x,)) * np.array([0.0, 1.0])).sum(), [0.1, 0.2])


def test_a_nan_is_no_agreement():
    with np.errstate(invalid="ignore"), pytest.raises(tg.GradientError, match="nan"):
        tg.check_gradients(lambda x: (x - 1.0).sum() * np.nan, [0.5])


def test_second_order():
    assert tg.check_gradients(lambda x, y: (x * x * y).sum(), [1.0, 2.0], [3.0, 4.0], order=2) < 1e-8


@pytest.mark.parametrize("f", [lambda x: x, lambda x: 1.0])
def test_what_is_no_scalar_is_refused(f):
    with pytest.raises(ValueError, match="returns a Tensor that is a scalar"):
        tg.check_gradients(f, [1.0, 2.0])


def test_order_is_positive():
    with pytest.raises(ValueError, match="order is 1 or more"):
        tg.check_gradients(lambda x: x.sum(), [1.0], order=0)


def test_parameters_are_put_back():
    W = tg.Tensor([1.0, 2.0], requires_grad=True, name="W")
    errors = check_parameters(lambda: (W * W).sum(), [W])
    assert max(errors) < 1e-9
    np.testing.assert_array_equal(W.data, [1.0, 2.0])


def test_central_differences_of_a_parabola():
    x = np.array([1.0, -2.0])
    np.testing.assert_allclose(central_differences(lambda: float(np.sum(x**2)), x), [2.0, -4.0], rtol=1e-9)
