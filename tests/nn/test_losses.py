import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.tensor import Tensor

Y = np.array([[1.0, 2.0], [0.0, -1.0]])


def test_half_squared_error_is_eq_7_3():
    y = Tensor([[2.0, 4.0], [0.0, 1.0]], requires_grad=True)
    loss = tg.nn.half_squared_error(y, Y)
    assert loss.item() == 0.5 * (1 + 4 + 0 + 4)
    loss.backward()
    np.testing.assert_array_equal(y.grad, y.data - Y)


def test_squared_error_is_that_of_seeds_000_and_002():
    y = Tensor([[2.0, 4.0], [0.0, 1.0]], requires_grad=True)
    loss = tg.nn.squared_error(y, Y)
    assert loss.item() == 9.0
    loss.backward()
    np.testing.assert_array_equal(y.grad, -2 * (Y - y.data))


def test_cross_entropy_s_gradient_is_y_hat_minus_y():
    z = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    loss = tg.nn.cross_entropy(z, 2)
    y_hat = np.exp(z.data) / np.exp(z.data).sum()
    np.testing.assert_allclose(loss.item(), -np.log(y_hat[2]), rtol=1e-14)
    loss.backward()
    np.testing.assert_allclose(z.grad, y_hat - [0, 0, 1], rtol=1e-13)


def test_class_numbers_and_one_hot_targets_are_one_loss():
    z = np.random.default_rng(0).standard_normal((4, 3))
    classes = np.array([2, 0, 1, 1])
    assert tg.nn.cross_entropy(z, classes).item() == tg.nn.cross_entropy(z, np.eye(3)[classes]).item()


def test_mean_divides_by_elements_and_by_rows():
    y, z = np.zeros((2, 2)), np.random.default_rng(0).standard_normal((4, 3))
    for loss in (tg.nn.half_squared_error, tg.nn.squared_error):
        assert loss(y, Y, reduction="mean").item() == loss(y, Y).item() / 4
    targets = np.array([0, 1, 2, 0])
    mean, total = tg.nn.cross_entropy(z, targets, reduction="mean"), tg.nn.cross_entropy(z, targets)
    assert mean.item() == total.item() / 4


def test_the_variables_of_the_figure_are_named():
    V = Tensor(np.ones((1, 2)), requires_grad=True)
    y, target = tg.linear(V, np.ones(2)), Tensor([1.0])
    loss = tg.nn.half_squared_error(y, target)
    assert (y.name, target.name, loss.name) == ("y", "Y", "L")


def test_a_target_of_another_shape_does_not_broadcast():
    with pytest.raises(tg.ShapeError, match=r"half_squared_error: y has shape \(3, 1\) and the target \(3,\)"):
        tg.nn.half_squared_error(np.ones((3, 1)), np.ones(3))
    with pytest.raises(tg.ShapeError, match=r"logits have shape \(\)"):
        tg.nn.cross_entropy(1.0, 0)
    with pytest.raises(tg.ShapeError, match=r"class numbers \(integers\) of shape \(2,\)"):
        tg.nn.cross_entropy(np.ones((2, 3)), np.array([0.0, 1.0]))


@pytest.mark.parametrize("target", [3, -1])
def test_class_numbers_are_in_range(target):
    with pytest.raises(ValueError, match=f"0 to 2 for 3 logits, not {target}"):
        tg.nn.cross_entropy(np.ones(3), target)


def test_an_unknown_reduction_lists_the_known():
    with pytest.raises(ValueError, match="reduction='max'.*'sum', 'mean'"):
        tg.nn.squared_error(np.ones(1), np.ones(1), reduction="max")
