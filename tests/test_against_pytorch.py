"""PyTorch as a second witness, where it is installed."""

import copy

import numpy as np
import pytest
import random_graphs
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg


@pytest.fixture(scope="module", autouse=True)
def imported():
    """PyTorch, from the first test on, and not already where tests are collected: of xdist's processes few need it."""
    global torch
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    torch.set_num_threads(1)  # its others wait by spinning, which costs more than these small nets


@pytest.mark.parametrize("lengths", [None, [5, 2, 3]])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_nets_that_run_both_ways_and_lengths(kind, bias, lengths):
    """PyTorch's bidirectional nets and packed sequences: outputs, final states and gradients of the inputs."""
    torch.manual_seed(0)
    theirs = getattr(torch.nn, kind)(2, 4, bias=bias, bidirectional=True, dtype=torch.float64)
    ours = tg.nn.Bidirectional(*(getattr(tg.nn, kind)(2, 4, bias=bias, reverse=reverse) for reverse in (False, True)))
    tg.from_torch(ours, theirs.state_dict())
    rng = np.random.default_rng(1)
    xs, weights = rng.standard_normal((5, 3, 2)), rng.standard_normal((5, 3, 8))
    leaf, argument = tg.Tensor(xs, requires_grad=True), torch.tensor(xs, requires_grad=True)
    hs, state = ours(leaf, lengths=lengths)
    packed, weights = argument, weights * (np.arange(5)[:, None, None] < np.reshape(lengths or [5] * 3, (3, 1)))
    if lengths:
        packed = torch.nn.utils.rnn.pack_padded_sequence(argument, lengths, enforce_sorted=False)
    expected, final = theirs(packed)
    if lengths:
        expected, _ = torch.nn.utils.rnn.pad_packed_sequence(expected)
    valid = weights != 0
    np.testing.assert_allclose(np.array([h.data for h in hs])[valid], expected.detach().numpy()[valid], atol=1e-12)
    for (layer,), last in zip(state, zip(*final, strict=True) if kind == "LSTM" else final, strict=True):
        for part, other in zip(*((s if isinstance(s, tuple) else (s,)) for s in (layer, last)), strict=True):
            np.testing.assert_allclose(part.data, other.detach().numpy(), atol=1e-12)
    sum((h * w).sum() for h, w in zip(hs, weights, strict=True)).backward()
    (expected * torch.from_numpy(weights)).sum().backward()
    np.testing.assert_allclose(leaf.grad, argument.grad.numpy(), atol=1e-12)
    for net, end in ((ours.forth, "l0"), (ours.back, "l0_reverse")):
        (cell,) = net.cells
        for letter, name in (("W", "weight_ih"), ("U", "weight_hh")):
            found = np.concatenate([getattr(cell, letter + gate).grad for gate in cell.gates])
            np.testing.assert_allclose(found, getattr(theirs, f"{name}_{end}").grad.numpy(), atol=1e-12)
    back = tg.to_torch(ours)
    assert all(np.array_equal(back[name], p.numpy()) for name, p in theirs.state_dict().items())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("batch", [(), (3,)])
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_recurrent_nets(kind, batch, num_layers, bias):
    """Outputs, final states and every gradient within 1e-10, from PyTorch's own parameters; and these go back."""
    torch.manual_seed(0)
    ours = getattr(tg.nn, kind)(2, 4, num_layers, bias=bias)
    theirs = getattr(torch.nn, kind)(2, 4, num_layers, bias=bias, dtype=torch.float64)
    parameters = theirs.state_dict()
    tg.from_torch(ours, parameters)
    rng = np.random.default_rng(1)
    x, h0, c0 = (rng.standard_normal(shape) for shape in [(7, *batch, 2), *[(num_layers, *batch, 4)] * 2])
    leaves = [tg.Tensor(a, requires_grad=True) for a in (x, h0, c0)]
    xs, h, c = leaves
    state = list(zip(h, c, strict=True)) if kind == "LSTM" else list(h)
    hs, state = ours(xs, state)
    arguments = [torch.tensor(a, requires_grad=True) for a in (x, h0, c0)]
    expected, final = theirs(arguments[0], (arguments[1], arguments[2]) if kind == "LSTM" else arguments[1])
    np.testing.assert_allclose([h.data for h in hs], expected.detach().numpy(), atol=1e-10)
    parts = zip(*state, strict=True) if kind == "LSTM" else [state]
    for found, last in zip(parts, final if kind == "LSTM" else [final], strict=True):
        np.testing.assert_allclose([part.data for part in found], last.detach().numpy(), atol=1e-10)

    weights = rng.standard_normal(expected.shape)
    sum((h * w).sum() for h, w in zip(hs, weights, strict=True)).backward()
    (expected * torch.from_numpy(weights)).sum().backward()
    for leaf, argument in list(zip(leaves, arguments, strict=True))[: 3 if kind == "LSTM" else 2]:
        np.testing.assert_allclose(leaf.grad, argument.grad.numpy(), atol=1e-10)
    gradients = copy.deepcopy(ours)  # a net whose parameters are the gradients, to lay them out as PyTorch does
    for p, q in zip(gradients.parameters(), ours.parameters(), strict=True):
        p.data = q.grad
    found = tg.to_torch(gradients)
    for name, p in theirs.named_parameters():
        if "bias_hh" in name and kind != "GRU":
            assert not found[name].any()  # both of PyTorch's biases have the gradient that ours has
        elif "bias_hh" not in name:
            rows = slice(0, 8) if kind == "GRU" and "bias" in name else slice(None)
            np.testing.assert_allclose(found[name][rows], p.grad.numpy()[rows], atol=1e-10, err_msg=name)
    if kind == "GRU" and bias:
        for layer, cell in enumerate(ours.cells):
            for p, name in ((cell.b_n, f"bias_ih_l{layer}"), (cell.c_n, f"bias_hh_l{layer}")):
                np.testing.assert_allclose(p.grad, getattr(theirs, name).grad.numpy()[8:], atol=1e-10, err_msg=name)

    back = tg.to_torch(ours)
    assert list(back) == list(parameters)
    for name, array in back.items():
        np.testing.assert_array_equal(array, parameters[name].numpy(), err_msg=name)


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


@settings(max_examples=60, deadline=None)
@given(random_graphs.programs(), st.integers(0, 2**32 - 1))
def test_random_graphs_and_two_derivatives(program, seed):
    arrays = random_graphs.inputs(seed)
    ours = [tg.Tensor(a, requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in arrays]
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


@pytest.mark.parametrize("reduction", ["sum", "mean", "none"])
def test_losses(reduction):
    rng, functional = np.random.default_rng(0), torch.nn.functional
    data, y, targets = rng.standard_normal((5, 3)), rng.random((5, 3)), np.array([0, 2, 1, -100, 0])
    for name, ours, theirs, x, target, options in (
        ("squared_error", tg.nn.squared_error, functional.mse_loss, data, y, {}),
        ("binary", tg.nn.binary_cross_entropy, functional.binary_cross_entropy, rng.random((5, 3)), y, {}),
        (
            "logits", tg.nn.binary_cross_entropy_with_logits, functional.binary_cross_entropy_with_logits, 9 * data, y,
            {},
        ),
        ("classes", tg.nn.cross_entropy, functional.cross_entropy, data, abs(targets) % 3, {}),
        ("ignored", tg.nn.cross_entropy, functional.cross_entropy, data, targets, {"ignore_index": -100}),
    ):  # fmt: skip
        leaf, argument = tg.Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        loss = ours(leaf, target, reduction=reduction, **options)
        expected = theirs(argument, torch.tensor(target), reduction=reduction, **options)
        np.testing.assert_allclose(loss.data, expected.detach().numpy(), rtol=1e-12, err_msg=name)
        loss.sum().backward()
        expected.sum().backward()
        np.testing.assert_allclose(leaf.grad, argument.grad.numpy(), rtol=1e-10, atol=1e-15, err_msg=name)
    x = np.array([-800.0, -1.0, 0.0, 3.0, 800.0])
    np.testing.assert_allclose(tg.log_sigmoid(x).data, functional.logsigmoid(torch.tensor(x)).numpy(), rtol=1e-14)


OPTIMIZERS = [
    ("SGD", {}), ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}), ("RMSprop", {}),
    ("RMSprop", {"lr": 0.05, "alpha": 0.8, "eps": 1e-3, "momentum": 0.5, "weight_decay": 0.1}), ("Adam", {}),
    ("Adam", {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.1}), ("AdamW", {}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.5}),
]  # fmt: skip


@pytest.mark.parametrize("name, settings", OPTIMIZERS)
def test_optimizers(name, settings):
    """Five steps with PyTorch's defaults and with others, of two groups, one of which has an lr of its own."""
    values = np.random.default_rng(0).standard_normal((2, 3))
    ours = [tg.nn.Parameter(a) for a in values]
    theirs = [torch.nn.Parameter(torch.tensor(a)) for a in values]
    kinds = [(getattr(tg.optim, name), ours), (getattr(torch.optim, name), theirs)]
    optimizers = [kind([{"params": [p]}, {"params": [q], "lr": 0.02}], **settings) for kind, (p, q) in kinds]
    for _ in range(5):
        for params, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            sum((p**4 - p).sum() for p in params).backward()
            optimizer.step()
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=1e-12)


def test_schedules():
    scheduler = torch.optim.lr_scheduler
    for ours, kind, options in (
        (tg.optim.cosine(0.1, 10, 0.01), scheduler.CosineAnnealingLR, {"T_max": 10, "eta_min": 0.01}),
        (tg.optim.staircase(0.1, 3), scheduler.StepLR, {"step_size": 3}),
    ):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(()))], lr=0.1)
        schedule = kind(optimizer, **options)
        for step in range(11):
            np.testing.assert_allclose(ours(step), schedule.get_last_lr()[0], rtol=1e-12, atol=1e-15)
            optimizer.step()
            schedule.step()
