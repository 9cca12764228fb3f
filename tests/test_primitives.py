import re

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.backward import grad
from tinygrad_rnn.checking import check_gradients, check_primitive, samples
from tinygrad_rnn.errors import ShapeError
from tinygrad_rnn.primitives import TABLE, kept_shape
from tinygrad_rnn.tensor import Tensor, record

ALL = sorted(TABLE)
NUMPY_1 = np.lib.NumpyVersion(np.__version__) < "2.0.0"


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name", ALL)
def test_rules_agree_with_central_differences(name, order):
    """The second derivatives are those of rules run on Tensors: `create_graph` holds for all of the table."""
    check_primitive(name, order=order)


# The primitives that are not NumPy's function of the same name, in NumPy's words.
def log_softmax(x, axis):
    return x - np.log(np.sum(np.exp(x), axis=axis, keepdims=True))


BY_NUMPY = {
    "softmax": lambda x, axis: np.exp(x) / np.sum(np.exp(x), axis=axis, keepdims=True),
    "log_softmax": log_softmax,
    "cross_entropy": lambda x, y: -np.sum(y * log_softmax(x, -1)),
    "identity": np.positive,
    "linear": lambda W, x: np.einsum("ij,...j->...i", W, x),
    "affine": lambda W, x, U, h, b: np.einsum("ij,...j->...i", W, x) + np.einsum("ij,...j->...i", U, h) + b,
    "lerp": lambda x, y, z: x + z * (y - x),
    "outer": lambda a, b: np.sum(a[..., :, None] * b[..., None, :], axis=tuple(range(a.ndim - 1))),
    "einsum": lambda *xs: np.einsum(xs[-1], *xs[:-1]),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "relu": lambda x: x * (x > 0),
    "softplus": lambda x: np.log(1 + np.exp(x)),
    "where": lambda x, y, c: np.where(c, x, y),
    **{
        n: lambda x, axis, keepdims, n=n: getattr(np, n)(x, axis=axis, keepdims=keepdims) for n in ("sum", "max", "min")
    },
    "getitem": lambda x, index: x[index],
    "scatter": lambda x, index, shape: sum(
        np.where(np.arange(np.prod(shape)).reshape(shape) == place, value, x.dtype.type(0))
        for place, value in zip(np.arange(np.prod(shape)).reshape(shape)[index].ravel(), x.ravel(), strict=True)
    ),
    "astype": lambda x, dtype: np.array(x, dtype),
    "concatenate": lambda *xs: np.concatenate(xs[:-1], axis=xs[-1]),
    "stack": lambda *xs: np.stack(xs[:-1], axis=xs[-1]),
}


def contiguous(x, wanted):
    leaf = Tensor(x, requires_grad=wanted)
    return leaf, leaf, lambda g: g


def strided(x, wanted):
    """A leaf, a node that is every other element of it, from the end, and what picks these from the leaf's gradient."""
    leaf = Tensor(np.repeat(x[..., ::-1], 2, axis=-1) if x.ndim else x, requires_grad=wanted)
    return (leaf, leaf[..., ::-2], lambda g: g[..., ::-2]) if x.ndim else contiguous(x, wanted)


@pytest.mark.parametrize("layout", [contiguous, strided])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", ALL)
def test_a_row_of_the_table(name, dtype, layout):
    """On every sample shape (0-d, empty, broadcast in every way), its value is NumPy's; value and gradients keep the
    dtype; an input without gradient gets none, and changes nothing for the others."""
    primitive, rounding = TABLE[name], 32 * np.finfo(dtype).eps
    for inputs, static in samples(primitive):
        arrays = [x.astype(dtype) for x in inputs]
        if NUMPY_1 and dtype is np.float32 and not any(x.ndim for x in arrays):
            continue  # beside a Python number, NumPy 1 makes float64 of a float32 without axes
        expected = (BY_NUMPY[name] if name in BY_NUMPY else getattr(np, name))(*arrays, *static)
        g = np.random.default_rng(1).standard_normal(expected.shape)
        found = []
        for wanted in [[True] * len(arrays), *np.eye(len(arrays), dtype=bool).tolist()]:
            leaves, inputs, picks = zip(*map(layout, arrays, wanted), strict=True)
            value = record(primitive, inputs, *static)
            assert value.dtype == expected.dtype and (name == "astype" or value.dtype == dtype)
            np.testing.assert_allclose(value.data, expected, rtol=rounding, atol=rounding)
            value.backward(g)
            for i, (leaf, pick, x) in enumerate(zip(leaves, picks, arrays, strict=True)):
                assert (leaf.grad is not None) == wanted[i]
                if wanted[i]:
                    assert leaf.grad.dtype == dtype and pick(leaf.grad).shape == x.shape
                    found.append((i, pick(leaf.grad)))
        for (i, together), (j, alone) in zip(found[: len(arrays)], found[len(arrays) :], strict=True):
            assert i == j
            np.testing.assert_allclose(together, alone, rtol=rounding, atol=rounding)


@pytest.mark.parametrize("layout", [contiguous, strided])
@pytest.mark.parametrize("name", ALL)
def test_gradients_do_not_depend_on_dtype_or_layout(name, layout):
    primitive = TABLE[name]
    for inputs, static in samples(primitive):
        arrays = [x.astype(np.float32).astype(np.float64) for x in inputs]
        g = np.random.default_rng(1).standard_normal(np.shape(primitive.forward(*arrays, *static)))
        plain = [Tensor(x, requires_grad=True) for x in arrays]
        record(primitive, plain, *static).backward(g)
        leaves, inputs, picks = zip(*[layout(x.astype(np.float32), True) for x in arrays], strict=True)
        record(primitive, inputs, *static).backward(g)
        for leaf, pick, expected in zip(leaves, picks, plain, strict=True):
            np.testing.assert_allclose(pick(leaf.grad), expected.grad, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name", [n for n in ALL if TABLE[n].argument_names == ("x", "y")])
def test_one_input_used_twice(name, order):
    """As in x * x: both uses add to one gradient."""
    x = next(inputs[0] for inputs, _ in samples(TABLE[name]) if inputs[0].ndim == 2)
    check_gradients(lambda x: (record(TABLE[name], (x, x)) ** 2).sum(), x, order=order)


@pytest.mark.parametrize("name", ALL)
def test_the_notation_speaks_of_the_rule_s_own_arguments(name):
    primitive = TABLE[name]
    for text in (primitive.written, *filter(None, primitive.derivatives)):
        assert set(re.findall(r"\{(\w+)\}", text)) <= {*primitive.argument_names, "f"}


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "relu"])
def test_a_nonlinearity_is_f(name):
    assert (TABLE[name].written, TABLE[name].derivatives) == ("{f}({x})", ("{f}′({x})",))


@pytest.mark.parametrize("axes", [(-1, 0, 1), (1, -1, 0), (2, 0, 1)])
def test_transposing_by_axes_counted_from_either_end(axes):
    x, w = np.random.default_rng(0).standard_normal((2, 2, 3, 4))
    w = np.transpose(w, axes)
    check_gradients(lambda x: (w * np.transpose(x, axes)).sum(), x)


def test_second_derivatives_of_a_power_at_exponent_0():
    """∂²(x^y)/∂x∂y = x^(y-1) (1 + y log x), in either order."""
    x, y = Tensor(2.0, requires_grad=True), Tensor(0.0, requires_grad=True)
    dx, dy = grad(record(TABLE["power"], (x, y)), [x, y], create_graph=True)
    assert (grad(dx, y)[0].item(), grad(dy, x)[0].item()) == (0.5, 0.5)


@pytest.mark.parametrize("name, static", [("max", (None, False)), ("min", (None, False)), ("relu", ())])
def test_a_nan_keeps_its_gradient(name, static):
    x = Tensor([np.nan, 1.0], requires_grad=True)
    record(TABLE[name], (x,), *static).sum().backward()
    assert x.grad[0] == 1.0


@pytest.mark.parametrize("shapes", [((3,), (3,)), ((2, 2, 3), (3,)), ((2, 3), ()), ((2, 3), (2,))])
def test_linear_takes_a_matrix_and_what_fits_it(shapes):
    W, x = (Tensor(np.ones(shape), requires_grad=True) for shape in shapes)
    with pytest.raises(ShapeError, match=r"linear\(.*(W is a matrix \(out, in\)|not aligned)"):
        record(TABLE["linear"], (W, x))


def test_an_array_runs_and_a_tensor_records():
    W, x = np.eye(2), np.ones(2)
    assert type(TABLE["linear"](W, x)) is np.ndarray
    assert TABLE["linear"](Tensor(W, requires_grad=True), x).primitive is TABLE["linear"]


@pytest.mark.parametrize("x, h, b", [((2, 3), (5, 4), (4,)), ((3,), (5, 4), (4,)), ((3,), (4,), (5, 4))])
def test_affine_takes_batches_of_as_many_rows_and_a_vector(x, h, b):
    W, x, U, h, b = (np.ones(shape) for shape in [(4, 3), x, (4, 4), h, b])
    with pytest.raises(ShapeError, match=r"affine\(.*as many rows, and b is a vector"):
        tg.affine(W, x, U, h, b)


def test_linear_is_the_same_for_every_row():
    rng = np.random.default_rng(0)
    W, x = rng.standard_normal((3, 2)), rng.standard_normal((5, 4, 2))
    rows = [[W @ row for row in block] for block in x]
    np.testing.assert_allclose(TABLE["linear"](W, x), rows, rtol=1e-14)


@pytest.mark.parametrize("rows", [(2, 3), (2,), (0, 3)])
def test_linear_on_nothing(rows):
    """An input of width 0 gives zeros, and a gradient of W's shape."""
    W = Tensor(np.zeros((3, 0)), requires_grad=True)
    y = record(TABLE["linear"], (W, np.zeros((*rows, 0))))
    assert y.shape == (*rows, 3) and not y.data.any()
    assert grad(y.sum(), W)[0].shape == (3, 0)


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
