"""PyTorch as a second witness, where it is installed."""

import numpy as np
import pytest
import random_graphs
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg

torch = pytest.importorskip("torch", reason="PyTorch is not installed")


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("batch", [(), (3,)])
@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_recurrent_nets(nonlinearity, batch, num_layers):
    ours = tg.nn.RNN(2, 4, num_layers, nonlinearity, rng=0)
    theirs = torch.nn.RNN(2, 4, num_layers, nonlinearity, dtype=torch.float64)
    with torch.no_grad():
        for i, cell in enumerate(ours.cells):
            for name, p in (("weight_ih", cell.W), ("weight_hh", cell.U), ("bias_ih", cell.b)):
                getattr(theirs, f"{name}_l{i}").copy_(torch.from_numpy(p.data))
            getattr(theirs, f"bias_hh_l{i}").zero_()
    xs = np.random.default_rng(1).standard_normal((7, *batch, 2))
    hs, _ = ours(xs)
    expected, _ = theirs(torch.from_numpy(xs))
    sum((h * h).sum() for h in hs).backward()
    (expected**2).sum().backward()
    np.testing.assert_allclose([h.data for h in hs], expected.detach().numpy(), atol=1e-12)
    for i, cell in enumerate(ours.cells):
        for name, p in (("weight_ih", cell.W), ("weight_hh", cell.U), ("bias_ih", cell.b)):
            np.testing.assert_allclose(p.grad, getattr(theirs, f"{name}_l{i}").grad.numpy(), atol=1e-10)


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "relu", "exp", "abs", "log_softmax", "softmax"])
def test_functions_and_two_derivatives(name):
    data = np.random.default_rng(0).standard_normal((3, 4))
    options = {"dim": -1} if "softmax" in name else {}
    x, t = tg.Tensor(data, requires_grad=True), torch.tensor(data, requires_grad=True)
    y, s = (getattr(tg, name)(x) ** 2).sum(), (getattr(torch, name)(t, **options) ** 2).sum()
    (dx,), (dt,) = tg.grad(y, x, create_graph=True), torch.autograd.grad(s, t, create_graph=True)
    np.testing.assert_allclose(dx.data, dt.detach().numpy(), atol=1e-13)
    (ddx,), (ddt,) = tg.grad((dx * dx).sum(), x), torch.autograd.grad((dt * dt).sum(), t)
    np.testing.assert_allclose(ddx.data, ddt.numpy(), atol=1e-12)


@settings(max_examples=150, deadline=None)
@given(random_graphs.programs(), st.integers(0, 2**32 - 1))
def test_random_graphs_and_two_derivatives(program, seed):
    arrays = random_graphs.inputs(seed)
    ours = [tg.Tensor(a, requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, s = (random_graphs.run(program, m, *x, ones) for m, x, ones in [
        (tg, ours, tg.Tensor(np.ones(3))), (torch, theirs, torch.ones(3, dtype=torch.float64)),
    ])  # fmt: skip
    np.testing.assert_allclose(y.item(), s.item(), rtol=1e-12)
    if not s.requires_grad:
        assert not y.requires_grad
        return
    once, expected = (
        tg.grad(y, ours, create_graph=True),
        torch.autograd.grad(s, theirs, create_graph=True, materialize_grads=True),
    )
    for a, b in zip(once, expected, strict=True):
        np.testing.assert_allclose(a.data, b.detach().numpy(), rtol=1e-10, atol=1e-10)
    of_ours, of_theirs = sum((a * a).sum() for a in once), sum((b * b).sum() for b in expected)
    if of_theirs.requires_grad:
        twice = torch.autograd.grad(of_theirs, theirs, materialize_grads=True)
        for a, b in zip(tg.grad(of_ours, ours), twice, strict=True):
            np.testing.assert_allclose(a.data, b.numpy(), rtol=1e-9, atol=1e-9)


def test_cross_entropy():
    data, targets = np.random.default_rng(0).standard_normal((5, 3)), np.array([0, 2, 1, 1, 0])
    for reduction in ("sum", "mean"):
        expected = torch.nn.functional.cross_entropy(
            torch.from_numpy(data), torch.from_numpy(targets), reduction=reduction
        )
        np.testing.assert_allclose(tg.nn.cross_entropy(data, targets, reduction).item(), expected.item(), rtol=1e-14)
