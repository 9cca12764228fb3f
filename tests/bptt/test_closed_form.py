"""The engine, the closed form and central differences agree; the closed form knows nothing of the engine."""

import ast
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.bptt import closed_form, closed_form_gradients, closed_form_stacked_gradients
from tinygrad_rnn.checking import check_parameters
from tinygrad_rnn.tensor import Tensor

D, H, K = 2, 4, 3
LOSSES = ["half_squared_error", "squared_error", "cross_entropy"]
NONLINEARITIES = ["tanh", "sigmoid", "relu", "identity"]


class Problem:
    """A net with random parameters, biases too, and random data; weights that neither explode nor vanish within T."""

    def __init__(self, nonlinearity, loss, T, batch=(), many_to_many=False, bias=True, seed=0):
        rng = np.random.default_rng(seed)
        self.rnn = tg.nn.RNN(D, H, nonlinearity=nonlinearity, bias=bias, rng=rng)
        self.readout = tg.nn.Linear(H, K, bias=bias, rng=rng)
        (cell,) = self.rnn.cells
        self.parameters = {"W": cell.W, "U": cell.U, "b": cell.b, "V": self.readout.V, "c": self.readout.c}
        for p in (cell.b, self.readout.c) if bias else ():
            p.data[:] = 0.1 * rng.standard_normal(p.shape)
        self.xs = Tensor(0.5 * rng.standard_normal((T, *batch, D)), requires_grad=True)
        self.h0 = Tensor(0.5 * rng.standard_normal((*batch, H)), requires_grad=True)
        shape = (T, *batch) if many_to_many else batch
        classes = loss == "cross_entropy"
        self.targets = rng.integers(0, K, shape) if classes else rng.standard_normal((*shape, K))
        self.options = {"nonlinearity": nonlinearity, "loss": loss, "many_to_many": many_to_many}

    def states_and_loss(self):
        hs, _ = self.rnn(self.xs, [self.h0])
        loss = getattr(tg.nn, self.options["loss"])
        if not self.options["many_to_many"]:
            return hs, loss(self.readout(hs[-1]), self.targets)
        total = Tensor(0.0)
        for h, target in zip(hs, self.targets, strict=True):
            total = total + loss(self.readout(h), target)
        return hs, total

    def closed_form(self):
        arrays = {name: None if p is None else p.data for name, p in self.parameters.items()}
        return closed_form_gradients(**arrays, xs=self.xs.data, targets=self.targets, h0=self.h0.data, **self.options)

    def difference(self):
        """The largest absolute difference between the engine and the closed form, over everything that both give."""
        hs, loss = self.states_and_loss()
        leaves = {"xs": self.xs, "h0": self.h0, **{n: p for n, p in self.parameters.items() if p is not None}}
        expected = self.closed_form()
        found = dict(zip(leaves, (g.data for g in tg.grad(loss, list(leaves.values()))), strict=True))
        found |= {"loss": loss.data, "hs": np.array([h.data for h in hs])}
        found["dh"] = np.array([g.data for g in tg.grad(loss, hs)])
        return max(np.max(np.abs(found[name] - getattr(expected, name))) for name in found)


@pytest.mark.parametrize("many_to_many", [False, True], ids=["many-to-one", "many-to-many"])
@pytest.mark.parametrize("batch", [(), (3,)], ids=["one sequence", "batch"])
@pytest.mark.parametrize("nonlinearity, loss", list(itertools.product(NONLINEARITIES, LOSSES)))
def test_engine_and_closed_form_agree_from_1_to_30_steps(nonlinearity, loss, batch, many_to_many):
    differences = [Problem(nonlinearity, loss, T, batch, many_to_many, seed=T).difference() for T in range(1, 31)]
    assert max(differences) <= 1e-12


@pytest.mark.parametrize("batch", [(), (3,)], ids=["one sequence", "batch"])
@pytest.mark.parametrize("nonlinearity, loss", list(itertools.product(NONLINEARITIES, LOSSES)))
def test_engine_and_central_differences_agree(nonlinearity, loss, batch):
    for T in (1, 2, 30):
        problem = Problem(nonlinearity, loss, T, batch)
        leaves = [problem.xs, problem.h0, *problem.parameters.values()]
        assert max(check_parameters(lambda p=problem: p.states_and_loss()[1], leaves)) <= 1e-6


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(NONLINEARITIES), st.sampled_from(LOSSES), st.integers(1, 30), st.sampled_from([(), (1,), (4,)]),
    st.booleans(), st.booleans(), st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_agreement_on_random_problems(nonlinearity, loss, T, batch, many_to_many, bias, seed):
    assert Problem(nonlinearity, loss, T, batch, many_to_many, bias, seed).difference() <= 1e-12


def test_dh_is_the_recursion_of_eq_7_6():
    problem = Problem("tanh", "half_squared_error", T=5)
    g = problem.closed_form()
    U = problem.parameters["U"].data
    for t in range(4):  # dh(t) = dh(t+1) f′(ĥ(t+1)) ᵗU
        np.testing.assert_allclose(g.dh[t], (g.dh[t + 1] * (1 - g.hs[t + 1] ** 2)) @ U, rtol=1e-14)


def test_the_loss_at_one_step_gives_y_hat_minus_y_outer_h():
    """∂E/∂V = (ŷ - y) ⊗ h (seed 003)."""
    problem = Problem("tanh", "cross_entropy", T=3)
    g = problem.closed_form()
    z = problem.parameters["V"].data @ g.hs[-1] + problem.parameters["c"].data
    y_hat = np.exp(z) / np.exp(z).sum()
    np.testing.assert_allclose(g.V, np.outer(y_hat - np.eye(K)[problem.targets], g.hs[-1]), rtol=1e-13)


def test_weights_as_targets_that_do_not_sum_to_one():
    problem = Problem("tanh", "cross_entropy", T=3)
    problem.targets = np.array([0.2, 0.3, 1.7])
    assert problem.difference() <= 1e-12


def test_the_closed_form_imports_nothing_of_the_engine():
    tree = ast.parse(Path(closed_form.__file__).read_text())
    imported = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    imported |= {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    assert "numpy" in imported and not any(name.startswith(("tinygrad_rnn", ".")) for name in imported)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"nonlinearity": "gelu"}, "nonlinearity='gelu'"),
        ({"loss": "hinge"}, "loss='hinge'"),
        ({"xs": np.zeros((0, D))}, "sequence is empty"),
        ({"many_to_many": True}, "3 targets for 5 steps"),
        ({"targets": np.ones(2)}, r"target of shape \(2,\) beside y of shape \(3,\)"),
        ({"xs": np.ones((5, 4, D))}, r"target of shape \(3,\) beside y of shape \(4, 3\)"),
        ({"loss": "cross_entropy", "targets": 3}, "class numbers are 0 to 2, not 3"),
        ({"loss": "cross_entropy", "targets": -1}, "class numbers are 0 to 2, not -1"),
    ],
)
def test_bad_input(change, message):
    p = {n: p.data for n, p in Problem("tanh", "half_squared_error", T=5).parameters.items()}
    with pytest.raises(ValueError, match=message):
        closed_form_gradients(**{**p, "xs": np.ones((5, D)), "targets": np.ones(3), **change})


def test_hopeless_logits_have_a_finite_loss():
    """log ŷ is not taken of a ŷ that rounds to 0."""
    p = {n: p.data for n, p in Problem("identity", "cross_entropy", T=1).parameters.items()}
    p["c"] = np.array([0.0, 800.0, 0.0])
    assert 700 < closed_form_gradients(**p, xs=np.zeros((1, D)), targets=0, loss="cross_entropy").loss < 900


def test_float32_and_integer_weights_are_numbers_too():
    W = np.array([[1], [2]])
    g = closed_form_gradients(W, np.eye(2, dtype=int), None, np.ones((1, 2), int), None, np.ones((2, 1), int), [1])
    assert g.W.dtype == np.float64 and g.b is None and g.c is None


@pytest.mark.parametrize("many_to_many", [False, True], ids=["many-to-one", "many-to-many"])
@pytest.mark.parametrize("batch", [(), (3,)], ids=["one sequence", "batch"])
@pytest.mark.parametrize("num_layers", [2, 3])
def test_stacked_nets(num_layers, batch, many_to_many):
    rng = np.random.default_rng(0)
    rnn, readout = tg.nn.RNN(2, 4, num_layers, rng=rng), tg.nn.Linear(4, 1, rng=rng)
    xs = Tensor(rng.standard_normal((6, *batch, 2)), requires_grad=True)
    h0s = [Tensor(rng.standard_normal((*batch, 4)), requires_grad=True) for _ in range(num_layers)]
    targets = rng.standard_normal((6, *batch, 1))
    expected = closed_form_stacked_gradients(
        [(cell.W.data, cell.U.data, cell.b.data) for cell in rnn.cells], readout.V.data, readout.c.data, xs.data,
        targets if many_to_many else targets[-1], h0s=[h.data for h in h0s], many_to_many=many_to_many,
    )  # fmt: skip
    hs, _ = rnn(xs, h0s)
    losses = [tg.nn.half_squared_error(readout(h), y) for h, y in zip(hs, targets, strict=True)]
    loss = sum(losses) if many_to_many else losses[-1]
    loss.backward()
    assert loss.item() == pytest.approx(expected[0].loss, rel=1e-13)
    np.testing.assert_allclose(xs.grad, expected[0].xs, atol=1e-12)
    np.testing.assert_allclose(readout.V.grad, expected[-1].V, atol=1e-12)
    for cell, h0, layer in zip(rnn.cells, h0s, expected, strict=True):
        np.testing.assert_allclose(h0.grad, layer.h0, atol=1e-12)
        for p in cell.parameters():
            np.testing.assert_allclose(p.grad, getattr(layer, p.name), atol=1e-12)
            np.testing.assert_allclose(tg.bptt.contributions(loss, p), getattr(layer, f"{p.name}_terms"), atol=1e-12)
