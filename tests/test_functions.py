import numpy as np
import pytest

import tinygrad_rnn as tg


@pytest.mark.parametrize("name", ["tanh", "exp", "log", "sqrt", "abs", "sign", "square", "negative", "positive"])
def test_elementwise_values_are_numpy_s(name):
    x = np.array([[0.5, 1.5], [2.5, 3.5]])
    np.testing.assert_array_equal(getattr(tg, name)(x).data, getattr(np, name)(x))


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min"])
@pytest.mark.parametrize("options", [{}, {"axis": 0}, {"axis": -1, "keepdims": True}, {"axis": (0, 2)}])
def test_reductions_are_numpy_s(name, options):
    x = np.random.default_rng(0).standard_normal((2, 3, 4))
    np.testing.assert_allclose(getattr(tg, name)(x, **options).data, getattr(np, name)(x, **options), rtol=1e-14)


def test_mean_spreads_its_gradient():
    x = tg.Tensor(np.ones((2, 3)), requires_grad=True)
    tg.mean(x, axis=1).sum().backward()
    np.testing.assert_allclose(x.grad, np.full((2, 3), 1 / 3), rtol=1e-15)


def test_softmax_of_large_and_infinite_logits():
    z = np.array([1000.0, 999.0, -np.inf])
    e = np.exp([0.0, -1.0, -np.inf])
    with np.errstate(over="raise", invalid="raise"):
        np.testing.assert_allclose(tg.softmax(z).data, e / e.sum(), rtol=1e-15)
        np.testing.assert_allclose(tg.logsumexp(z).item(), 1000.0 + np.log(e.sum()), rtol=1e-15)
        np.testing.assert_allclose(tg.log_softmax(z).data[:2], np.log(e[:2] / e.sum()), rtol=1e-14)


def test_log_softmax_is_exact_where_softmax_rounds_to_zero():
    assert tg.log_softmax(np.array([0.0, 1000.0])).data[0] == -1000.0


@pytest.mark.parametrize("f", [tg.softmax, tg.log_softmax, lambda z: tg.logsumexp(z, axis=0)])
def test_softmax_and_friends_twice_differentiated(f):
    z, w = np.random.default_rng(0).standard_normal((2, 3, 4))
    tg.check_gradients(lambda z: (f(z) * f(z) * tg.Tensor(w[0])).sum(), z, order=2)


def test_logsumexp_keeps_or_drops_its_axis():
    z = np.zeros((2, 3))
    assert tg.logsumexp(z, axis=1).shape == (2,)
    assert tg.logsumexp(z, axis=1, keepdims=True).shape == (2, 1)
    assert tg.logsumexp(z).shape == ()


def test_where_takes_a_condition_as_list_array_or_tensor():
    for condition in ([True, False], np.array([True, False]), tg.Tensor([1.0, 2.0]) < 2):
        np.testing.assert_array_equal(tg.where(condition, [1.0, 1.0], 0.0).data, [1.0, 0.0])


def test_joining_keeps_each_gradient_apart():
    x, y = (tg.Tensor(np.ones(n), requires_grad=True) for n in (2, 3))
    (tg.concatenate([x, y]) * np.arange(5.0)).sum().backward()
    np.testing.assert_array_equal(x.grad, [0.0, 1.0])
    np.testing.assert_array_equal(y.grad, [2.0, 3.0, 4.0])


def test_repeated_places_add_up():
    x = tg.Tensor([1.0, 2.0], requires_grad=True)
    x[[0, 0, 1]].sum().backward()
    np.testing.assert_array_equal(x.grad, [2.0, 1.0])


def test_public_names_are_there():
    for name in tg.__all__:
        assert getattr(tg, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'drow'"):
        tg.drow  # noqa: B018


def test_axes_out_of_range_are_named():
    with pytest.raises(tg.ShapeError, match=r"swapaxes: axis 5 is out of range for the shape \(2, 3\)"):
        tg.swapaxes(np.ones((2, 3)), 0, 5)


def test_everything_may_be_joined_in_one_row():
    x = tg.Tensor([[1.0, 2.0]], requires_grad=True)
    (tg.concatenate([x, 3.0], axis=None) * np.array([1.0, 2.0, 3.0])).sum().backward()
    np.testing.assert_array_equal(x.grad, [[1.0, 2.0]])


@pytest.mark.parametrize("dtype", [int, complex, np.float16])
def test_only_floating_types_carry_a_gradient(dtype):
    x = tg.Tensor([1.7], requires_grad=True)
    with pytest.raises(TypeError, match="float32 or float64"):
        x.astype(dtype)


def test_a_gradient_comes_back_in_the_type_of_its_leaf():
    x = tg.Tensor(np.ones(2, np.float32), requires_grad=True)
    (x.astype(np.float64) * 2.0).sum().backward()
    assert x.grad.dtype == np.float32


def test_float32_stays_float32_through_a_loss():
    z = tg.Tensor(np.ones((2, 3), np.float32), requires_grad=True)
    assert tg.nn.cross_entropy(z, np.array([0, 1]), reduction="mean").dtype == np.float32
    assert tg.nn.half_squared_error(z, np.ones((2, 3), np.float32)).dtype == np.float32


def test_a_square_is_one_primitive_however_it_is_written():
    x = tg.Tensor([3.0], requires_grad=True)
    for y in (x**2, x**2.0, tg.power(x, 2), np.power(x, 2), tg.square(x), np.square(x)):
        assert y.primitive.name == "square"


def test_outer_is_numpy_s():
    a, b = np.arange(4.0).reshape(2, 2), np.arange(3.0)
    np.testing.assert_array_equal(tg.outer(a, b).data, np.outer(a, b))
    x = tg.Tensor(a, requires_grad=True)
    np.testing.assert_array_equal(np.outer(x, b).data, np.outer(a, b))
