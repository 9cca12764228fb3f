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


LOSSES = [
    tg.nn.half_squared_error, tg.nn.squared_error, tg.nn.binary_cross_entropy, tg.nn.binary_cross_entropy_with_logits,
]  # fmt: skip


@pytest.mark.parametrize("loss", LOSSES)
def test_none_gives_the_loss_of_each_element(loss):
    y, target = np.array([[0.2, 0.9], [0.5, 0.1]]), np.array([[0.0, 1.0], [1.0, 0.3]])
    each = loss(y, target, reduction="none")
    assert each.shape == (2, 2) and each.name == "L"
    np.testing.assert_allclose(each.sum().item(), loss(y, target).item(), rtol=1e-14)
    np.testing.assert_allclose(each.mean().item(), loss(y, target, reduction="mean").item(), rtol=1e-14)
    assert each[0, 1].item() == pytest.approx(loss(0.9, 1.0).item(), rel=1e-14)


def test_none_gives_the_loss_of_each_row_of_classes():
    z = np.random.default_rng(0).standard_normal((2, 4, 3))
    z[0, 0, 1] = -np.inf  # a class that cannot be, and is none of the targets
    targets = np.array([[0, 1, 2, 0], [1, 1, 2, 2]])
    each = tg.nn.cross_entropy(z, targets, reduction="none")
    assert each.shape == (2, 4)
    np.testing.assert_allclose(each.sum().item(), tg.nn.cross_entropy(z, targets).item(), rtol=1e-14)
    assert each[1, 2].item() == pytest.approx(tg.nn.cross_entropy(z[1, 2], 2).item(), rel=1e-14)
    tg.check_gradients(lambda z: tg.nn.cross_entropy(z, targets[1], "none").sum(), z[1], order=2)


def test_the_derivative_of_binary_cross_entropy_is_sigma_minus_y():
    z, target = tg.Tensor([-800.0, -1.0, 0.5, 800.0], requires_grad=True), np.array([1.0, 0.0, 1.0, 0.25])
    loss = tg.nn.binary_cross_entropy_with_logits(z, target)
    loss.backward()
    np.testing.assert_allclose(z.grad, tg.sigmoid(z).data - target, atol=1e-15)
    assert loss.item() == pytest.approx(800 + np.log1p(np.exp(-1)) + np.log1p(np.exp(-0.5)) + 600, rel=1e-14)
    for loss in (tg.nn.binary_cross_entropy, tg.nn.binary_cross_entropy_with_logits):
        tg.check_gradients(lambda y, target, loss=loss: loss(y, target), [0.3, 0.7], [0.1, 1.0], order=2)


def test_a_probability_of_0_costs_100_as_in_pytorch():
    assert tg.nn.binary_cross_entropy(0.0, 1.0).item() == pytest.approx(100.0, rel=1e-14)
    assert tg.nn.binary_cross_entropy([0.0, 1.0], [0.0, 1.0]).item() == 0.0


@pytest.mark.parametrize("ignored", [-100, 0])
def test_what_is_ignored_counts_nothing(ignored):
    z = tg.Tensor(np.random.default_rng(0).standard_normal((4, 3)), requires_grad=True)
    targets = np.array([ignored, 1, 2, ignored])
    for reduction in ("sum", "mean"):
        loss = tg.nn.cross_entropy(z, targets, reduction, ignore_index=ignored)
        assert loss.item() == pytest.approx(tg.nn.cross_entropy(z[1:3], [1, 2], reduction).item(), rel=1e-14)
        (dz,) = tg.grad(loss, z)
        assert not dz.data[[0, 3]].any() and dz.data[1:3].all()
    assert tg.nn.cross_entropy(z, targets, "none", ignored).data[[0, 3]].tolist() == [0.0, 0.0]
    assert tg.nn.cross_entropy(z, np.full(4, ignored), "mean", ignored).item() == 0.0
    with pytest.raises(ValueError, match="class numbers are 0 to 2 for 3 logits, not 7"):
        tg.nn.cross_entropy(z, np.array([ignored, 7, 2, 1]), ignore_index=ignored)


@pytest.mark.parametrize("loss, y, target", [
    (tg.nn.squared_error, np.ones((4, 3, 1)), np.ones((3, 4, 1))),
    (tg.nn.cross_entropy, np.ones((4, 3, 2)), np.zeros((3, 4), int)),
    (tg.nn.cross_entropy, np.ones((4, 3, 2)), np.zeros((3, 4, 2))),
])  # fmt: skip
def test_targets_with_the_batch_first_are_told_so(loss, y, target):
    with pytest.raises(tg.ShapeError, match=r"; time comes first, and then the batch: target.swapaxes\(0, 1\)"):
        loss(y, target)


@pytest.mark.parametrize("y", [1.5, -0.1, np.nan])
def test_a_probability_is_from_0_to_1(y):
    with pytest.raises(ValueError, match="binary_cross_entropy: y is a probability, from 0 to 1; of logits, take"):
        tg.nn.binary_cross_entropy(y, 1.0)


def test_an_unknown_reduction_lists_the_known():
    with pytest.raises(ValueError, match="reduction='max'.*'sum', 'mean', 'none'"):
        tg.nn.squared_error(np.ones(1), np.ones(1), reduction="max")
    with pytest.raises(ValueError, match="reduction=None"):
        tg.nn.cross_entropy(np.ones(2), 1, reduction=None)
