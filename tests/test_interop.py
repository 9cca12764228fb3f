"""NumPy's own functions on Tensors, pandas, and what is refused."""

import re
from importlib.resources import files

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.context import temporarily
from tinygrad_rnn.observer import Observer, observer

RNG = np.random.default_rng(0)
ARRAYS = {
    "x": RNG.standard_normal((2, 3)), "y": RNG.standard_normal((2, 3)), "v": RNG.standard_normal(3),
    "w": RNG.standard_normal(3), "m": RNG.standard_normal((3, 3)), "c": RNG.standard_normal((2, 3, 4)),
    "row": RNG.standard_normal((1, 3)), "s": np.array(0.7), "p": RNG.uniform(0.5, 2.0, (2, 3)),
    "u": RNG.uniform(-0.9, 0.9, (2, 3)),
}  # fmt: skip

# What NumPy computes of its arrays it computes of Tensors, with all derivatives.
CALLS = """
np.log2(p); np.log10(p); np.exp2(x); np.arcsin(u); np.arccos(u); np.arcsinh(x); np.arccosh(1 + p); np.arctanh(u)
np.fabs(x); np.arctan2(x, y); np.arctan2(1.0, y); np.arctan2(x, 2.0); np.hypot(x, v); np.hypot(x, 3)
np.logaddexp(x, y); np.logaddexp(0.5, x); np.fmax(x, y); np.fmin(x, 0.1); np.mod(x, y); np.remainder(x, 0.7); x % 0.7
0.7 % x; np.tan(x); np.reciprocal(p); np.linalg.norm(x); np.linalg.norm(v); np.linalg.norm(x, axis=1, keepdims=True)
np.linalg.norm(c, axis=(0, 2)); np.linalg.norm(v, 3); np.linalg.norm(v, 1); np.linalg.norm(x, np.inf, axis=0)
np.linalg.norm(v, -np.inf); np.linalg.norm(x, "fro"); np.linalg.norm(x=x, ord=2, axis=1); np.vstack([x, v])
np.vstack(x); np.hstack([x, y]); np.hstack([v, s, w]); np.dstack([x, y]); np.dstack([v, w])
np.column_stack([v, w, m]); np.append(x, y); np.append(x, row, axis=0); np.append(arr=v, values=s)
np.concatenate([x, y], axis=None); np.stack(arrays=[v, w], axis=1); np.atleast_1d(s); np.atleast_2d(v)
np.atleast_3d(x); np.moveaxis(c, 0, -1); np.moveaxis(c, [0, 1], [-1, 0]); np.swapaxes(c, -1, 0)
np.expand_dims(x, (0, -1)); np.squeeze(row); np.transpose(a=c, axes=(1, 2, 0)); np.broadcast_to(v, shape=(2, 3))
np.reshape(x, (3, -1)); np.diag(v); np.diag(v, -1); np.diag(m, k=1); np.diagonal(c, 1, 0, 2)
np.diagonal(m, offset=-1); np.trace(m); np.trace(c, axis1=1, axis2=2); np.tril(x); np.triu(c, 1); np.diagflat(v)
np.flip(x, axis=(0, 1)); np.flipud(x); np.fliplr(x); np.rot90(x); np.roll(a=c, shift=1, axis=-1); np.split(v, 3)[1]
np.array_split(v, 2)[0]; np.array_split(c, 3, axis=-1)[2]; np.hsplit(m, [1])[1]; np.vsplit(m, 3)[0]
np.dsplit(c, 2)[1]; np.tile(v, 2); np.repeat(a=x, repeats=2, axis=1); np.resize(v, (2, 4)); np.delete(x, 1, axis=1)
np.pad(x, 1, constant_values=2.0); np.take(a=x, indices=[2, 0], axis=1); np.take(v, [True, False])
np.take_along_axis(x, np.array([[0], [2]]), 1); np.sort(v); np.sort(x, axis=0); np.sort(a=x, axis=None, kind="stable")
np.median(v); np.median(x); np.median(c, axis=(0, 2), keepdims=True); np.median(x, axis=-1, out=None); np.average(x)
np.average(x, axis=0, weights=[1.0, 2.0]); np.average(x, weights=p); np.average(x, 1, v * v, keepdims=True)
np.average(a=x, axis=(0, 1)); np.inner(x, y); np.inner(v, w); np.vdot(x, y); np.dot(v, c)
np.dot(a=m, b=v); np.tensordot(x, y); np.tensordot(v, w, 0); np.tensordot(c, x, axes=([1], [1]))
np.tensordot(c, c, axes=((0, -1), (0, -1))); np.tensordot(a=x, b=m, axes=1); np.kron(x, v); np.kron(v, m)
np.cross(v, w); np.cross(x, v); np.cross(x.T, y.T, axis=0); np.cross(x.T, v, axisa=0); np.outer(a=v, b=x)
np.matmul(x, m); np.cumprod(x); np.cumprod(a=x, axis=0); np.cumsum(x, axis=-1, out=None); np.diff(v)
np.diff(c, 2, axis=-1); np.diff(a=x, axis=0, n=1); np.einsum("ii", m); np.einsum("ii->i", m)
np.einsum("iij->j", c[:, :2]); np.einsum("...i,ij->...j", x, m); np.einsum("...i,...i->...", c, c)
np.einsum("i...->...", c); np.einsum("...ij->...ji", c); np.einsum("...,...", x, v); np.einsum("ij,ij->ij", row, x)
np.einsum("ij,kj", row, x); np.einsum("ij,ij,ij->j", row, x, row, optimize=True)
np.einsum("ij,jk->ik", row[:, :1], row); np.einsum(",i->i", s, v); np.einsum("ii,ii", m, m); np.sum(x, out=None)
np.sum(a=x); np.sum(x, 0, None, None, True); np.mean(a=x, axis=(0,), keepdims=True); np.prod(x, axis=(0, 1), out=None)
np.max(a=x, axis=0); np.min(x, None, None, True); np.amax(x, axis=1); np.var(x, axis=0, ddof=1)
np.std(a=x, ddof=1, out=None); np.std(c, axis=(0, 2)); np.clip(a=x, a_min=-0.5, a_max=0.5); np.clip(x, -0.5, None)
np.where(x > 0, x, -y); np.copy(x); np.real(x); np.ravel(a=x, order="C"); np.add(x, y, out=None)
np.add(x, y, where=True, casting="same_kind"); np.exp(x, dtype=None); np.multiply(x, 2.0, order="K", subok=True)
"""


def split(calls):
    return [call.strip() for call in calls.replace("\n", ";").split(";") if call.strip()]


def of(call, arrays):
    return eval(call, {"np": np, **arrays})


def used(call):
    return [name for name in ARRAYS if name in compile(call, "", "eval").co_names]


@pytest.mark.parametrize("call", split(CALLS))
def test_value_dtype_and_two_derivatives_are_those_of(call):
    names = used(call)
    for dtype in (np.float32, np.float64):
        arrays = {name: np.asarray(ARRAYS[name], dtype) for name in names}
        expected = of(call, arrays)
        got = of(call, {name: tg.Tensor(x, requires_grad=True) for name, x in arrays.items()})
        assert got.requires_grad and (got.shape, got.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_allclose(got, expected, rtol=20 * np.finfo(dtype).eps, atol=20 * np.finfo(dtype).eps)
    weights = np.random.default_rng(1).standard_normal(expected.shape)

    def f(*tensors):
        result = of(call, dict(zip(names, tensors, strict=True)))
        return tg.sum(weights * result * result)

    for order in (1, 2):
        tg.check_gradients(f, *[ARRAYS[name] for name in names], order=order, tolerance=1e-5)


@pytest.mark.parametrize("call", [call for call in split(CALLS) if "sort" not in call and "median" not in call])
def test_a_program_computes(call):
    names = used(call)
    leaves = {name: tg.Tensor(ARRAYS[name], requires_grad=True) for name in names}
    program = tg.compile(lambda: tg.sum(tg.square(of(call, leaves))), wrt=list(leaves.values()))
    for leaf in leaves.values():
        leaf.data = 0.9 * leaf.data
    loss, gradients = program()
    expected = tg.sum(tg.square(of(call, leaves)))
    np.testing.assert_allclose(loss, expected, rtol=1e-12)
    for found, gradient in zip(gradients, tg.grad(expected, list(leaves.values())), strict=True):
        np.testing.assert_allclose(found, gradient, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("call", split("""
    np.any(x > 0); np.all(x > 0, axis=0); np.any(x, axis=1, keepdims=True); (x > 0).any(); x.any(); x.all(axis=1)
    np.argsort(x, axis=0); np.argmax(a=x, axis=1, out=None); np.argpartition(v, 1); np.argwhere(x > 0); np.nonzero(x)
    np.count_nonzero(x, axis=0); np.isin(v, v); np.isclose(x, y); np.allclose(a=x, b=x); np.array_equal(x, y)
    np.searchsorted([0.0, 1.0], v); np.digitize(v, bins=[0.0, 1.0]); np.full_like(x, 2.0)
    np.full_like(a=x, fill_value=2, dtype=int); np.zeros_like(x, dtype=np.float32); np.ones_like(x, shape=(4,))
    np.empty_like(x).shape; np.shape(a=x); np.size(x, 1); np.ndim(x); np.result_type(x, np.float32)
    np.iscomplexobj(x); np.isreal(x); np.logical_xor(x, y); np.isnan(x, out=None); np.greater(x, 0, where=True)
    np.array2string(x); np.isposinf(x)
"""))  # fmt: skip
def test_a_test_a_choice_or_a_shape_is_plain(call):
    got = of(call, {name: tg.Tensor(x, requires_grad=True) for name, x in ARRAYS.items()})
    expected = of(call, ARRAYS)
    assert type(got) is type(expected)
    np.testing.assert_equal(got, expected)


@pytest.mark.parametrize("dtype", ["float32", np.float64, float])
@pytest.mark.parametrize("call", split("""
    np.sum(x, dtype=dtype); np.mean(x, 0, dtype); np.cumsum(a=x, dtype=dtype); np.prod(x, axis=1, dtype=dtype)
    np.var(x, dtype=dtype); np.concatenate([x, y], dtype=dtype); np.stack([x, y], dtype=dtype)
    np.vstack([x, y], dtype=dtype); np.trace(m, dtype=dtype); np.add(x, y, dtype=dtype); np.tanh(x, dtype=dtype)
    np.maximum(x, 0.0, dtype=dtype, out=None); np.full_like(x, 2.0, dtype=dtype)
"""))  # fmt: skip
def test_a_dtype_may_be_asked_for(call, dtype):
    got, expected = (
        of(call, {"dtype": dtype, **{name: make(x) for name, x in ARRAYS.items()}}) for make in (tg.Tensor, np.asarray)
    )
    assert got.dtype == expected.dtype
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_another_dtype_is_refused():
    with pytest.raises(TypeError, match="float32 or float64"):
        np.sum(tg.Tensor([1.0], requires_grad=True), dtype=int)


@pytest.mark.parametrize("call, message", [
    ("np.linalg.inv(m)", r"np\.linalg\.inv on a Tensor is not supported\. Its \.data is the bare array"),
    ("np.rint(x)", r"np\.rint on a Tensor is not supported\. Its"),
    ("np.quantile(x, 0.3)", r"np\.quantile on a Tensor is not supported; use np\.sort\."),
    ("np.add.reduce(x)", r"np\.add\.reduce on a Tensor is not supported; use np\.sum\."),
    ("np.max(x, initial=0.0)", r"np\.max, initial= on a Tensor is not supported; np\.max without it is supported"),
    ("np.sum(x, where=[True, False, True])", r"np\.sum, where= on a Tensor is not supported"),
    ("np.exp(x, where=[True, False, True])", r"np\.exp, where= on a Tensor is not supported"),
    ("np.reshape(x, -1, order='F')", r"np\.reshape, order= on a Tensor is not supported"),
    ("np.average(x, returned=True)", r"np\.average, returned= on a Tensor is not supported"),
    ("np.add(y, 1.0, out=x)", r"np\.add, out= on a Tensor is not supported"),
    ("np.full_like(x, s)", r"np\.copyto on a Tensor is not supported; use np\.where\."),
    ("np.copyto(np.ones((2, 3)), x)", r"np\.copyto on a Tensor is not supported; use np\.where\."),
    ("np.asarray(x)", "would lose its gradient"),
    ("np.linalg.norm(x, 2)", r"norm\(leaf of shape \(2, 3\)\): ord=2 is not supported for 2 axes"),
    ("np.cross(x[:, :2], y[:, :2])", "vectors of three elements are needed"),
    ("np.tensordot(row, y, axes=([0], [0]))", r"the axes to be summed over are \(1,\) and \(2,\)"),
    ("np.einsum('...i->i', x)", "the axes of the ellipsis are missing in the output"),
    ("np.einsum('ij,jk', x)", "2 operands are needed, not 1"),
    ("np.diff(x, axis=5)", r"diff\(leaf of shape \(2, 3\)\): .*axis 5 is out of bounds"),
    ("np.cumprod(x, axis=5)", r"cumprod\(leaf of shape \(2, 3\)\): .*axis 5 is out of bounds"),
    ("np.average(x, weights=[1.0, 2.0])", r"average\(leaf of shape \(2, 3\)\): Axis must be specified"),
])  # fmt: skip
def test_what_is_refused_says_why_and_what_to_use_where_that_helps(call, message):
    tensors = {name: tg.Tensor(x, requires_grad=True) for name, x in ARRAYS.items()}
    with pytest.raises((TypeError, ValueError), match=message):
        of(call, tensors)


def test_numpy_s_own_comparisons_of_results_see_the_values():
    t = tg.Tensor([1.0, 2.0], requires_grad=True)
    np.testing.assert_allclose(t, [1.0, 2.0])
    np.testing.assert_array_equal(np.ones(2), t / t)
    np.testing.assert_array_less(t, 3.0)
    with pytest.raises(AssertionError, match="Mismatched elements: 1 / 2"):
        np.testing.assert_allclose(t, [1.0, 3.0])


def test_a_value_that_leaves_the_graph_is_told_to_who_watches():
    told, x = [], tg.Tensor([1.0, 2.0, 3.0], requires_grad=True)

    class Reads(Observer):
        def left(self, call, instead, x):
            told.append(call)

    with temporarily(observer, Reads()):
        np.take_along_axis(x, tg.Tensor([2, 0]), 0)
        np.isclose(x, 1.0)
        np.zeros_like(x)
    assert told == ["take_along_axis()", "isclose()"]


def test_pandas_objects_are_arrays():
    pandas = pytest.importorskip("pandas")
    series, frame = pandas.Series([3.0, 4.0], index=["a", "b"]), pandas.DataFrame([[1.0, 2.0], [3.0, 4.0]])
    t = tg.Tensor([1.0, 2.0], requires_grad=True)
    assert tg.Tensor(series).shape == (2,) and tg.Tensor(frame).shape == (2, 2)
    for data in (series, frame):
        array = np.asarray(data)
        for left, right, expected in [
            (t * data, data * t, array * [1.0, 2.0]), (t - data, -(data - t), [1.0, 2.0] - array),
            (np.hypot(t, data), np.hypot(data, t), np.hypot([1.0, 2.0], array)),
            (np.where(data > 3, t, data), tg.where(data > 3, t, data), np.where(array > 3, [1.0, 2.0], array)),
            (t < data, data > t, array > [1.0, 2.0]),
        ]:  # fmt: skip
            assert type(left) is type(right) and type(left) in (tg.Tensor, np.ndarray)
            np.testing.assert_array_equal(left, expected)
            np.testing.assert_array_equal(right, expected)
    np.testing.assert_array_equal(t[series > 3], [2.0])
    np.testing.assert_array_equal(tg.take(t, pandas.Series([1, 1])), [2.0, 2.0])
    with pytest.raises(TypeError, match="real numbers are needed"):
        tg.Tensor(pandas.Series(["a"]))


def test_what_is_not_supported_is_so_inside_a_list_too():
    t = tg.Tensor(np.eye(2), requires_grad=True)
    for call in (
        lambda: np.choose([0], [t]),
        lambda: np.choose(tg.Tensor([0, 1]), [t, t]),
        lambda: np.select([True], [t]),
    ):
        with pytest.raises(TypeError, match="on a Tensor is not supported"):
            call()
    assert np.unique(tg.Tensor([2, 1, 2])).tolist() == [1, 2]


def test_a_function_that_is_not_supported_is_not_said_to_be_without_a_keyword():
    x = tg.Tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(TypeError, match=r"^np\.tanh, out= on a Tensor .*; np\.tanh without it is supported"):
        np.tanh(x, out=np.zeros(2))
    with pytest.raises(TypeError, match=r"^np\.cbrt on a Tensor is not supported\. "):
        np.cbrt(x, out=np.zeros(2))


def test_the_hints_name_what_there_is_for_what_there_is_not():
    lines = (files("tinygrad_rnn") / "instead.txt").read_text(encoding="utf-8").splitlines()
    known = dict(line.split(": ", 1) for line in lines)
    assert list(known) == sorted(known) and len(known) == len(lines) > 100
    for name in known:
        assert not hasattr(tg.Tensor(1.0), name[1:]) if name[0] == "." else not hasattr(tg, name), name
    for name, hint in known.items():
        for path in re.findall(r"\b(?:tg|nn|optim|np)(?:\.\w+)+", hint):
            assert callable(eval(path, {"tg": tg, "nn": tg.nn, "optim": tg.optim, "np": np})) or path == "tg.nn", name


@pytest.mark.parametrize("ask, hint", [
    (lambda: tg.tensor([1.0]), r"'tinygrad_rnn' has no attribute 'tensor'; use tg.Tensor\(data, requires_grad=True\)"),
    (lambda: tg.cat([]), r"'cat'; use tg.concatenate\(tensors, axis\)"),
    (lambda: tg.nn.MSELoss(), r"'tinygrad_rnn.nn' .* 'MSELoss'; use nn.squared_error\(y, target, reduction=\"mean\"\)"),
    (lambda: tg.Tensor(1.0).clamp(0, 1), r"'Tensor' object has no attribute 'clamp'; use .clip\(min, max\)"),
    (lambda: tg.optim.lr_scheduler, r"lr may be a function of the step, as in Adam\(net, lr=optim.cosine\(0.01, 1000"),
    (lambda: tg.clamp(tg.Tensor(1.0), 0, 1), "'tinygrad_rnn' has no attribute 'clamp'; use .clip"),
    (lambda: tg.Tensor(1.0).add_(1.0), "'add_'; a Tensor is not changed in place: write to the .data of a leaf"),
    (lambda: tg.Tensor(1.0).retain_grad(), r"use tg.grad\(loss, t\), or t.register_hook"),
    (lambda: tg.Tensor(1.0).nothing, "'Tensor' object has no attribute 'nothing'$"),
    (lambda: tg.nothing, "module 'tinygrad_rnn' has no attribute 'nothing'$"),
    (lambda: tg.nn.nothing, "module 'tinygrad_rnn.nn' has no attribute 'nothing'$"),
])  # fmt: skip
def test_what_pytorch_calls_otherwise_is_told(ask, hint):
    with pytest.raises(AttributeError, match=hint):
        ask()


def test_methods_that_users_expect():
    """They are the functions, in the graph; `view`, `permute`, `unsqueeze` and `clone` as PyTorch has them."""
    x = tg.Tensor(np.random.default_rng(0).random((2, 3)) + 0.5, requires_grad=True)
    for name in ("abs", "exp", "log", "log_softmax", "norm", "relu", "sigmoid", "softmax", "sqrt", "square", "tanh"):
        np.testing.assert_array_equal(getattr(x, name)().data, getattr(tg, name)(x).data)
        assert getattr(x, name)().requires_grad
    assert x.permute(1, 0).shape == x.view(3, 2).shape == x.view(-1, 2).shape == x.view((3, -1)).shape == (3, 2)
    np.testing.assert_array_equal(x.permute(1, 0).data, x.data.T)
    assert x.unsqueeze(0).shape == (1, 2, 3) and x.unsqueeze(-1).shape == (2, 3, 1)
    y = x.clone()
    assert y is not x and not y.is_leaf
    (y * y).sum().backward()
    np.testing.assert_array_equal(x.grad, 2 * x.data)
