import pickle

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import functions
from tinygrad_rnn.backward import sweep

ELEMENTWISE = [
    "tanh", "exp", "log", "sqrt", "abs", "sign", "square", "negative", "positive", "sin", "cos", "tan", "arctan",
    "sinh", "cosh", "expm1", "log1p", "reciprocal", "log2", "log10", "exp2", "arcsin", "arccos", "arcsinh", "arccosh",
    "arctanh",
]  # fmt: skip
UNBOUNDED = ["arctan", "arcsinh", "log2", "log10", "exp2", "arcsin", "arccos", "arccosh", "arctanh"]


@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.filterwarnings("ignore:(invalid|divide)")
def test_elementwise_values_are_numpy_s(name):
    x = np.array([[0.5, 1.5, 0.999999], [2.5, 3.5, 1.0]])
    ours, of_numpy, expected = getattr(tg, name)(x), getattr(np, name)(tg.Tensor(x)), getattr(np, name)(x)
    np.testing.assert_allclose(ours.data, expected, rtol=1e-15)
    np.testing.assert_array_equal(of_numpy.data, ours.data)


EXTREMES = [-np.inf, -2.5, -1.0, -0.3, -0.0, 0.0, 1e-300, 1e-20, 0.3, 1.0, 2.5, 1e200, np.inf, np.nan]


@pytest.mark.parametrize("name", UNBOUNDED)
def test_extreme_values_are_numpy_s(name):
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(getattr(tg, name)(EXTREMES), getattr(np, name)(EXTREMES), rtol=1e-15, atol=0)


@pytest.mark.parametrize("name", ["arctan2", "hypot", "logaddexp", "fmax", "fmin", "mod"])
def test_values_of_pairs_of_extremes_are_numpy_s(name):
    x, y = np.meshgrid(EXTREMES, EXTREMES)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(getattr(tg, name)(x, y), getattr(np, name)(x, y), rtol=1e-15, atol=0)


@pytest.mark.parametrize("f, x, gradient", [
    (lambda x: tg.std(x), [2.0, 2.0, 2.0], [0.0, 0.0, 0.0]),
    (lambda x: tg.std(x), [5.0], [0.0]),
    (lambda x: tg.std(x, axis=0), [[2.0, 1.0], [2.0, 3.0]], [[0.0, -0.5], [0.0, 0.5]]),
    (lambda x: tg.norm(x), [0.0, 0.0], [0.0, 0.0]),
    (lambda x: tg.norm(x, 3), [0.0, 0.0], [0.0, 0.0]),
    (lambda x: tg.norm(x, np.inf), [0.0, 0.0], [0.0, 0.0]),
    (lambda x: tg.norm(x, axis=1), [[0.0, 0.0], [3.0, 4.0]], [[0.0, 0.0], [0.6, 0.8]]),
    (lambda x: tg.hypot(x, 0.0), [0.0, -2.0, 1e-300, 1e200], [0.0, -1.0, 1.0, 1.0]),
    (lambda x: tg.arctan2(x, 0.0), [0.0, 2.0, -1e-300], [0.0, 0.0, 0.0]),
    (lambda x: tg.arctan2(0.0, x), [0.0, -2.0, 1e-300], [0.0, 0.0, 0.0]),
    (lambda x: tg.arctan2(x, 1.0), [0.0, 1.0, -1e200], [1.0, 0.5, 0.0]),
    (lambda x: tg.arcsinh(x), [0.0, 1e300, -1e300], [1.0, 1e-300, 1e-300]),
    (lambda x: tg.logaddexp(x, x - 2000.0), [1000.0, -1000.0], [1.0, 1.0]),
    (lambda x: tg.logaddexp(x, [-np.inf, np.inf, 0.0, -np.inf]), [-np.inf, np.inf, 0.0, 1.0], [0.5, 0.5, 0.5, 1.0]),
    (lambda x: tg.fmax(x, [0.0, np.nan, 2.0, 3.0]), [np.nan, 1.0, 2.0, 2.0], [0.0, 1.0, 0.5, 0.0]),
    (lambda x: tg.mod(x, 2.0), [5.0, -5.0, 4.0], [1.0, 1.0, 1.0]),
    (lambda x: tg.mod(5.0, x), [2.0, -2.0, 5.0], [-2.0, 3.0, -1.0]),
    (lambda x: x**0, [np.nan, 0.0, 2.0, np.inf], [0.0, 0.0, 0.0, 0.0]),
    (lambda x: 0.0**x, [0.0, 0.5], [0.0, 0.0]),
    (lambda x: tg.median(x), [1.0, 5.0, 2.0, 3.0], [0.0, 0.0, 0.5, 0.5]),
    (lambda x: tg.median(x), [1.0, np.nan, 2.0], [0.0, 1.0, 0.0]),
    (lambda x: tg.cumprod(x), [0.0, 2.0, 0.0, 3.0], [3.0, 0.0, 0.0, 0.0]),
])  # fmt: skip
def test_gradients_at_kinks_and_edges(f, x, gradient):
    """Without a warning, and so in a graph of gradients."""
    leaf = tg.Tensor(x, requires_grad=True)
    y = f(leaf)
    for create_graph in (False, True):
        (found,) = tg.grad(y, leaf, np.ones(y.shape), create_graph=create_graph)
        np.testing.assert_allclose(found, gradient, rtol=1e-12, atol=1e-12)


def test_zero_to_a_negative_power_falls_without_bound():
    x = tg.Tensor([-1.0, -0.5], requires_grad=True)
    with np.errstate(divide="ignore"):
        (0.0**x).sum().backward()
    np.testing.assert_array_equal(x.grad, [-np.inf, -np.inf])


REDUCTIONS = ["sum", "mean", "max", "min", "var", "std", "prod", "logsumexp", "median", "average", "norm"]


@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_a_number_has_an_axis_to_be_reduced_over(name, axis):
    x = tg.Tensor(3.0, requires_grad=True)
    for options in ({}, {"keepdims": True}):
        y = getattr(tg, name)(x, axis=axis, **options)
        assert y.shape == () and y.item() == (0.0 if name in ("var", "std") else 3.0)
        assert tg.grad(y, x)[0].item() == (0.0 if name in ("var", "std") else 1.0)
    assert tg.softmax(x, axis).item() == 1.0 and tg.log_softmax(x, axis).item() == 0.0


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "var", "std", "prod", "median"])
@pytest.mark.parametrize("options", [{}, {"axis": 0}, {"axis": -1, "keepdims": True}, {"axis": (0, 2)}])
def test_reductions_are_numpy_s(name, options):
    x = np.random.default_rng(0).standard_normal((2, 3, 4))
    np.testing.assert_allclose(getattr(tg, name)(x, **options).data, getattr(np, name)(x, **options), rtol=1e-13)
    x = tg.Tensor(x.astype(np.float32), requires_grad=True)
    y = getattr(tg, name)(x, **options)
    assert y.dtype == np.float32 and tg.grad(y.sum(), x)[0].dtype == np.float32


@pytest.mark.parametrize("name", ["sum", "mean", "prod", "median"])
@pytest.mark.filterwarnings("ignore:(Mean|invalid)")
def test_reductions_of_nothing_are_numpy_s(name):
    for shape, axes in [((0,), (None, 0)), ((0, 3), (None, 0, 1)), ((3, 0), (None, 0, -1))]:
        for axis, dtype in [(axis, dtype) for axis in axes for dtype in (float, int)]:
            x = np.ones(shape, dtype)
            found, expected = getattr(tg, name)(x, axis), np.asarray(getattr(np, name)(x, axis=axis))
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)


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
    with pytest.raises(tg.ShapeError, match=r"swapaxes\(leaf of shape \(2, 3\)\): .*axis 5"):
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


REARRANGED = {
    "squeeze": lambda np, x: np.squeeze(x[:, :1]),
    "squeeze an axis": lambda np, x: np.squeeze(x[:, :1], axis=1),
    "expand_dims": lambda np, x: np.expand_dims(x, (0, -1)),
    "flip": lambda np, x: np.flip(x),
    "flip an axis": lambda np, x: np.flip(x, axis=1),
    "roll": lambda np, x: np.roll(x, 2, axis=0),
    "repeat": lambda np, x: np.repeat(x, 2),
    "repeat slices": lambda np, x: np.repeat(x, [1, 0, 3], axis=0),
    "tile": lambda np, x: np.tile(x, (2, 1, 3)),
    "take": lambda np, x: np.take(x, [5, 0, 5]),
    "take slices": lambda np, x: np.take(x, [2, 0, 2], axis=0),
    "split": lambda np, x: np.split(x, [1, 3], axis=1)[1],
    "split equally": lambda np, x: np.split(x, 3)[2],
    "pad": lambda np, x: np.pad(x, ((1, 0), (0, 2)), constant_values=7.0),
    "pad by its edge": lambda np, x: np.pad(x, 1, mode="edge"),
    "cumsum": lambda np, x: np.cumsum(x),
    "cumsum of an axis": lambda np, x: np.cumsum(x, axis=1),
    "prod": lambda np, x: np.prod(x),
    "prod of axes": lambda np, x: np.prod(x, axis=(0, 1)),
    "prod of an axis": lambda np, x: np.prod(x, axis=0, keepdims=True),
    "clip": lambda np, x: np.clip(x, -0.5, None),
    "clip on both sides": lambda np, x: np.clip(x, -0.5, 0.5),
    "dot": lambda np, x: np.dot(x, x[0]),
    "dot by a number": lambda np, x: np.dot(x, 3.0),
    "dot of matrices": lambda np, x: np.dot(x, x[:, :3].T if hasattr(x, "T") else x),
    "ravel": lambda np, x: np.ravel(x),
    "einsum": lambda np, x: np.einsum("ij,kj->ik", x, x),
    "einsum in its implicit form": lambda np, x: np.einsum("ij, kj", x, x),
    "einsum of three": lambda np, x: np.einsum("ij,ik,j->k", x, x, x[0]),
    "einsum that drops an axis": lambda np, x: np.einsum("ij->i", x),
    "swapaxes": lambda np, x: np.swapaxes(x, 0, -1),
    "var with ddof": lambda np, x: np.var(x, axis=1, ddof=1),
}


@pytest.mark.parametrize("name", REARRANGED)
def test_value_and_two_derivatives_of(name):
    """NumPy's function on an array, NumPy's on a Tensor, and ours give one value; the gradients are those of ours."""
    f = REARRANGED[name]
    x = np.random.default_rng(3).standard_normal((3, 4))
    x = x[:, :3] if name == "dot of matrices" else x
    expected = f(np, x)
    for module in (np, tg):
        np.testing.assert_allclose(f(module, tg.Tensor(x)).data, expected, rtol=1e-13)
    w = np.random.default_rng(4).standard_normal(np.shape(expected))
    for order in (1, 2):
        tg.check_gradients(lambda x: (w * f(tg, x) * f(tg, x)).sum(), x, order=order)


def test_a_product_with_zeros_keeps_its_gradients():
    x = tg.Tensor([0.0, 2.0, 3.0], requires_grad=True)
    tg.prod(x).backward()
    np.testing.assert_array_equal(x.grad, [6.0, 0.0, 0.0])
    assert tg.prod(np.zeros((0,))).item() == 1.0


def test_softplus_is_smooth_and_does_not_overflow():
    x = np.array([-800.0, -1.0, 0.0, 1.0, 800.0])
    np.testing.assert_allclose(tg.softplus(x).data, np.logaddexp(0, x), rtol=1e-15)
    leaf = tg.Tensor(x, requires_grad=True)
    tg.softplus(leaf).sum().backward()
    np.testing.assert_allclose(leaf.grad, tg.sigmoid(x).data, rtol=1e-14)
    (slope,) = tg.grad(tg.softplus(leaf).sum(), leaf, create_graph=True)
    assert tg.grad(slope.sum(), leaf)[0].data[2] == 0.25  # σ(0) (1 - σ(0)), at 0 itself


def test_what_has_no_gradient_gives_plain_arrays():
    x = tg.Tensor([3.0, 1.0, np.nan], requires_grad=True)
    for got, expected in [
        (np.isnan(x), [False, False, True]), (np.argsort(x), [1, 0, 2]), (np.argmin(x[:2]), 1),
        (np.zeros_like(x), [0, 0, 0]),
    ]:  # fmt: skip
        assert not isinstance(got, tg.Tensor)
        np.testing.assert_array_equal(got, expected)
    assert np.allclose(x[:2], [3.0, 1.0])


@pytest.mark.parametrize("subscripts", ["ijk", "...i->i", "ij,ij->j", "ij->k", "i", "iij", "ij->ii"])
def test_einsum_refuses_what_does_not_fit(subscripts):
    with pytest.raises(tg.ShapeError, match="einsum"):
        np.einsum(subscripts, tg.Tensor(np.ones((2, 2)), requires_grad=True))


@pytest.mark.parametrize("call", [
    lambda x: tg.flip(x, 5), lambda x: tg.take(x, 9), lambda x: tg.split(x, 4), lambda x: tg.tile(x, -1),
    lambda x: tg.squeeze(x, 0), lambda x: tg.expand_dims(x, 9), lambda x: tg.prod(x, 9), lambda x: tg.sum(x, axis=7),
    lambda x: tg.sum(x, axis=[0]), lambda x: tg.pad(x, "x"), lambda x: tg.softmax(x, axis=4), lambda x: x[5],
])  # fmt: skip
def test_what_does_not_fit_is_named_with_its_shape(call):
    with pytest.raises((tg.ShapeError, IndexError, TypeError), match=r"\w+\(x of shape \(2, 3\)\): "):
        call(tg.Tensor(np.ones((2, 3)), requires_grad=True, name="x"))


def test_an_option_that_is_not_supported_is_named():
    with pytest.raises(TypeError, match=r"np\.sum, out= on a Tensor is not supported; np\.sum without it is supported"):
        np.sum(tg.Tensor([1.0]), out=np.zeros(()))


@pytest.mark.parametrize("mode", ["mean", "maximum", "linear_ramp", "empty"])
def test_a_border_that_would_be_computed_is_refused(mode):
    with pytest.raises(TypeError, match=f"pad\\(mode='{mode}'\\): not one of 'constant', 'edge'"):
        tg.pad([1.0, 2.0], 1, mode=mode)


@pytest.mark.parametrize("x, constants", [(np.zeros(0), 0.0), (np.ones((1, 1)), ((1, 2), (3, 4))), (np.ones(2), 5)])
def test_borders_of_constants_are_numpy_s(x, constants):
    np.testing.assert_array_equal(tg.pad(x, 1, constant_values=constants).data, np.pad(x, 1, constant_values=constants))


def test_edges_of_reductions():
    x = tg.Tensor(np.ones((0, 2), np.float32), requires_grad=True)
    product = tg.prod(x, axis=np.int64(0))
    assert product.dtype == np.float32 and product.requires_grad
    np.testing.assert_array_equal(product.data, [1.0, 1.0])
    with np.errstate(divide="ignore", invalid="ignore"):
        assert tg.var([1.0, 2.0], ddof=3).item() == np.inf and np.isnan(tg.var([1.0], ddof=1).item())
        assert tg.logsumexp(np.full(2, -np.inf)).item() == -np.inf


def test_axes_of_one_letter_are_of_one_length_or_of_1():
    with pytest.raises(tg.ShapeError, match=r"^einsum\(leaf of shape \(3, 3\), leaf of shape \(2, 3\)\): operands"):
        tg.einsum("ij,ij->j", np.ones((3, 3)), np.ones((2, 3)))


def test_grad_comes_in_the_type_of_its_input():
    x = tg.Tensor(np.ones(2, np.float32), requires_grad=True)
    assert tg.grad((x.astype(np.float64) * 2.0).sum(), x)[0].dtype == np.float32


def rule(g, ans, x, y):
    return g


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ((2, np.add, "{x}", rule), TypeError, "a string is needed, not a int"),
        (("a b", np.add, "{x}", rule), ValueError, "the name is an identifier"),
        (("mine", 2, "{x}", rule), TypeError, "a forward function is needed"),
        (("mine", np.add, "{x}"), TypeError, "for each input a function"),
        (("mine", np.add, "{x}", np.add), TypeError, "for each input a function"),
        (("mine", np.add, "{x}", (rule, "1", "2")), TypeError, "for each input a function"),
        (("mine", np.add, "{x}", rule, rule, rule), ValueError, "takes g, ans and all arguments, of which the first 3"),
        (("mine", np.add, "{x}", rule, lambda g, ans, x: g), ValueError, "each rule takes g, ans and all arguments"),
        (
            ("mine", np.add, "{x} + {z}", rule, rule),
            ValueError,
            r"in '\{x\} \+ \{z\}', the arguments x, y stand in braces, and nothing else does: 'z'",
        ),
        (
            ("mine", np.add, "{x}", rule, (rule, "{z}")),
            ValueError,
            r"in '\{z\}', the arguments x, y stand in .*: 'z'",
        ),
    ],
)
def test_a_primitive_of_one_s_own_is_checked(arguments, error, message):
    with pytest.raises(error, match=rf"^primitive\(.*{message}"):
        tg.primitive(*arguments)


def test_a_primitive_of_one_s_own_is_a_function_with_static_arguments():
    scaled = tg.primitive("scaled", lambda x, n: n * x, "{n} {x}", (lambda g, ans, x, n: n * g, "{n}"))
    x = tg.Tensor([1.0, 2.0], requires_grad=True)
    scaled(x, 3.0).sum().backward()
    np.testing.assert_array_equal(x.grad, [3.0, 3.0])
    assert scaled(x, 3.0).primitive.name == scaled.__name__ == "scaled"
    with pytest.raises(TypeError, match=r"^scaled\(leaf of shape \(2,\)\): .* missing 1 .*argument: 'n'"):
        scaled(x)


@pytest.mark.parametrize("code, message", [("{x} + {x}", "gives other values"), ("{x} +", "cannot be run"), ("z", "z")])
def test_code_that_does_something_else_is_told_at_the_first_call(code, message):
    squared = tg.primitive("squared", lambda x: x * x, "{x}²", lambda g, ans, x: 2.0 * g * x, code=code)
    with pytest.raises(ValueError, match=rf"^primitive\('squared'\): its code .*{message}"):
        squared(3.0)


@pytest.mark.parametrize("p", [0.5, -1.0])
@pytest.mark.parametrize("values", [[0.0, 1.0, -2.0], [0.0, 0.0]])
def test_a_norm_of_a_small_order_is_numpys_and_passes_no_nan_on_at_0(p, values):
    x = tg.Tensor(values, requires_grad=True)
    with np.errstate(divide="ignore"):
        length, expected = tg.norm(x, p), np.linalg.norm(values, p)
    np.testing.assert_allclose(length.data, expected)
    length.backward()
    assert np.isfinite(x.grad).all() and x.grad[0] == 0.0


@pytest.mark.parametrize("x, axis", [(1.0, -1), ([1.0, 2.0], 3)])
def test_sorting_over_an_axis_that_is_not_there(x, axis):
    with pytest.raises(tg.ShapeError, match=r"sort\(leaf of shape .*axis"):
        tg.sort(tg.Tensor(x), axis)


@pytest.mark.parametrize(
    "forward, written, error, message",
    [
        (
            np.tanh,
            "p({x)",
            ValueError,
            r"primitive\('p'\): in 'p\(\{x\)', the arguments x stand in braces, .*'\}'",
        ),
        (np.tanh, None, TypeError, r"primitive\('p'\): how it is written, a string, is needed, not a NoneType"),
        (lambda x: None, "p({x})", TypeError, "p: its forward function gives no array of real numbers but object"),
    ],
)
def test_a_primitive_of_ones_own_that_is_stated_wrongly(forward, written, error, message):
    with pytest.raises(error, match=message):
        tg.primitive("p", forward, written, lambda g, ans, x: g)(tg.Tensor([1.0, 2.0]))


@pytest.mark.parametrize("rule, told", [
    (lambda g, ans, x: None, "None"), (lambda g, ans, x: 2.0, "2.0"), (lambda g, ans, x: [2.0, 2.0], "\\[2.0, 2.0\\]"),
    (lambda g, ans, x: g * 2j, "complex128"), (lambda g, ans, x: np.stack([g, g]), r"float64 of shape \(2, 2\)"),
    (lambda g, ans, x: np.sum(g), r"float64 of shape \(\)"),
])  # fmt: skip
def test_a_rule_that_gives_no_array_of_real_numbers_and_its_shape_is_named(rule, told):
    wrong = tg.primitive("wrong", np.tanh, "wrong({x})", rule)
    x = tg.Tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises((TypeError, tg.ShapeError), match=rf"^primitive\('wrong'\): the rule of input 0 .*, not {told}"):
        tg.grad(wrong(x).sum(), x)


def test_a_rule_may_give_the_cotangent_in_the_shape_of_its_input():
    """As that of the answer, to which the input was broadcast."""
    for rule in (lambda g, ans, x, y: g, lambda g, ans, x, y: np.sum(g, axis=0)):
        added = tg.primitive("added", np.add, "{x} + {y}", rule, lambda g, ans, x, y: g)
        x = tg.Tensor([1.0, 2.0], requires_grad=True)
        np.testing.assert_array_equal(tg.grad(added(x, np.ones((3, 2))).sum(), x)[0], [3.0, 3.0])


def test_a_rule_that_writes_into_its_cotangent_is_found():
    """Other uses of x have the same one: here the gradient would be 4."""
    doubled = tg.primitive("doubled", lambda x: 2.0 * x, "2 {x}", lambda g, ans, x: np.multiply(g, 2.0, out=g))
    with pytest.raises(tg.GradientError, match="the gradient is 4, central differences give 3"):
        tg.check_gradients(lambda x: doubled(x) + x, 1.5)


def test_a_rule_may_use_the_functions_of_the_package():
    """Whichever of several terms comes first, and its cotangent is an array where no graph is made."""
    swish = tg.primitive(
        "swish", lambda x: x / (1 + np.exp(-x)), "swish({x})", lambda g, ans, x: g * (ans + tg.sigmoid(x) * (1 - ans))
    )
    for f in (lambda w: swish(w) + w * w + w, lambda w: w + w * w + swish(w), lambda w: w * swish(w) + swish(w)):
        tg.check_gradients(lambda w, f=f: f(w).sum(), [0.5, -1.0], order=2)
    w = tg.Tensor([0.5, -1.0], requires_grad=True)
    assert all(type(g) is np.ndarray for _, g in sweep({swish(w * 1.0).sum(): np.ones(())}))


def test_a_static_array_of_a_primitive_of_ones_own_is_the_graph_s_own():
    masked = tg.primitive("masked", lambda x, m: x * m, "masked({x})", lambda g, ans, x, m: g * m)
    mask, x = np.array([1.0, 0.0]), tg.Tensor([1.0, 2.0], requires_grad=True)
    y = masked(x, mask).sum()
    mask[:] = 7.0
    np.testing.assert_array_equal(tg.grad(y, x)[0], [1.0, 0.0])


def test_functions_are_pickled_by_their_names():
    for name in sorted({*tg.__all__} & {*functions.__all__}):
        assert pickle.loads(pickle.dumps(getattr(tg, name))) is getattr(tg, name)


def test_values_through_which_a_gradient_shall_flow_are_floating_point():
    """A cotangent has the dtype of its node: in that of a spike, True or False, it would be rounded."""
    spike = tg.primitive("spike", lambda x: x > 0, "H({x})", lambda g, ans, x: g / np.square(1.0 + np.abs(x)))
    assert spike([0.5, -0.5]).tolist() == [True, False]
    with pytest.raises(TypeError, match="spike: its forward .* no array of floating point numbers but bool"):
        spike(tg.Tensor([0.5, -0.5], requires_grad=True))
