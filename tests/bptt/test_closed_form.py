"""The engine, the closed form and central differences agree; the closed form knows nothing of the engine."""

import ast
import itertools
from pathlib import Path

import nets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import D, H

import closed_form_gates
import tinygrad_rnn as tg
from tinygrad_rnn import bptt
from tinygrad_rnn.bptt import closed_form
from tinygrad_rnn.bptt.closed_form import closed_form_gradients, closed_form_stacked_gradients
from tinygrad_rnn.checking import check_parameters
from tinygrad_rnn.tensor import Tensor

K = 3
LOSSES = ["half_squared_error", "squared_error", "cross_entropy"]
NONLINEARITIES = ["tanh", "sigmoid", "relu", "identity"]


class Problem:
    """A net with random parameters, biases too, and random data; weights that neither explode nor vanish within T."""

    def __init__(self, nonlinearity, loss, T, batch=(), many_to_many=False, bias=True, seed=0):
        self.rnn, self.readout, xs, targets = nets.make(
            "RNN", 1, batch, T, outputs=K, bias=bias, seed=seed, nonlinearity=nonlinearity
        )
        (cell,) = self.rnn.cells
        self.parameters = {"W": cell.W, "U": cell.U, "b": cell.b, "V": self.readout.V, "c": self.readout.c}
        rng = np.random.default_rng(seed)
        self.xs = Tensor(0.5 * xs, requires_grad=True)
        self.h0 = Tensor(0.5 * rng.standard_normal((*batch, H)), requires_grad=True)
        if loss == "cross_entropy":
            targets = rng.integers(0, K, (T, *batch))
        self.targets = targets if many_to_many else targets[-1]
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
        """The largest difference between the engine and the closed form, over everything that both give.

        Relative to the largest element of an array, where that is above 1.
        """
        hs, loss = self.states_and_loss()
        leaves = {"xs": self.xs, "h0": self.h0, **{n: p for n, p in self.parameters.items() if p is not None}}
        expected = self.closed_form()
        found = dict(zip(leaves, (g.data for g in tg.grad(loss, list(leaves.values()))), strict=True))
        found |= {"loss": loss.data, "hs": np.array([h.data for h in hs])}
        found["dh"] = np.array([g.data for g in tg.grad(loss, hs)])
        pairs = [(found[name], getattr(expected, name)) for name in found]
        return max(np.max(np.abs(a - b)) / max(1.0, np.max(np.abs(b))) for a, b in pairs)


@pytest.mark.parametrize("many_to_many", [False, True], ids=["many-to-one", "many-to-many"])
@pytest.mark.parametrize("batch", [(), (3,)], ids=["one sequence", "batch"])
@pytest.mark.parametrize("nonlinearity, loss", list(itertools.product(NONLINEARITIES, LOSSES)))
def test_engine_and_closed_form_agree_from_1_to_30_steps(nonlinearity, loss, batch, many_to_many):
    differences = [Problem(nonlinearity, loss, T, batch, many_to_many, seed=T).difference() for T in (1, 2, 3, 30)]
    assert max(differences) <= 1e-12


@pytest.mark.parametrize("batch", [(), (3,)], ids=["one sequence", "batch"])
@pytest.mark.parametrize("nonlinearity, loss", list(itertools.product(NONLINEARITIES, LOSSES)))
def test_engine_and_central_differences_agree(nonlinearity, loss, batch):
    for T in (1, 8):
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
    """∂E/∂V = (ŷ - y) ⊗ h (IIT slides)."""
    problem = Problem("tanh", "cross_entropy", T=3)
    g = problem.closed_form()
    z = problem.parameters["V"].data @ g.hs[-1] + problem.parameters["c"].data
    y_hat = np.exp(z) / np.exp(z).sum()
    np.testing.assert_allclose(g.V, np.outer(y_hat - np.eye(K)[problem.targets], g.hs[-1]), rtol=1e-13)


def test_weights_as_targets_that_do_not_sum_to_one():
    problem = Problem("tanh", "cross_entropy", T=3)
    problem.targets = np.array([0.2, 0.3, 1.7])
    assert problem.difference() <= 1e-12


@pytest.mark.parametrize("module", [closed_form, closed_form_gates])
def test_the_closed_forms_import_nothing_of_the_engine(module):
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    imported = {"." * n.level + (n.module or "") for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    imported |= {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    own = {name for name in imported if name.startswith(("tinygrad_rnn", "."))}
    assert "numpy" in imported and own <= {closed_form.__name__}


@pytest.mark.parametrize("change, message", [
    ({"nonlinearity": "gelu"}, r"\(nonlinearity='gelu'\): not one of"),
    ({"loss": "hinge"}, r"\(loss='hinge'\): not one of"),
    ({"xs": np.zeros((0, D))}, r"\(xs\): the sequence is empty"),
    ({"xs": np.ones(D)}, r": xs has shape \(2,\), expected \(T, D\)"),
    ({"xs": np.ones((5, 4, 2, D))}, r": xs has shape \(5, 4, 2, 2\), expected \(T, D\)"),
    ({"W": np.ones((H, 5))}, r": W has shape \(3, 5\), expected \(H, 2\)"),
    ({"W": np.ones(D)}, r": W has shape \(2,\), expected \(H, 2\)"),
    ({"U": np.ones((H, 4))}, r": U has shape \(3, 4\), expected \(3, 3\)"),
    ({"b": np.ones((1, H))}, r": b has shape \(1, 3\), expected \(3,\)"),
    ({"V": np.ones((K, 4))}, r": V has shape \(3, 4\), expected \(K, 3\)"),
    ({"c": np.ones(1)}, r": c has shape \(1,\), expected \(3,\)"),
    ({"h0": np.ones(1)}, r": h0 has shape \(1,\), expected \(3,\)"),
    ({"h0": np.ones(H), "xs": np.ones((5, 4, D))}, r": h0 has shape \(3,\), expected \(4, 3\)"),
    ({"many_to_many": True}, r": targets has shape \(3,\), expected \(5, 3\)"),
    ({"many_to_many": True, "targets": 1.0}, r": targets has shape \(\), expected \(5, 3\)"),
    ({"targets": np.ones(2)}, r": targets has shape \(2,\), expected \(3,\)"),
    ({"xs": np.ones((5, 4, D))}, r": targets has shape \(3,\), expected \(4, 3\)"),
    ({"loss": "cross_entropy", "targets": 3}, r"\(targets\): class numbers are 0 to 2, not 3"),
    ({"loss": "cross_entropy", "targets": -1}, r"\(targets\): class numbers are 0 to 2, not -1"),
])  # fmt: skip
def test_what_does_not_fit(change, message):
    p = {n: p.data for n, p in Problem("tanh", "half_squared_error", T=5).parameters.items()}
    with pytest.raises(ValueError, match="^closed_form_gradients" + message):
        closed_form_gradients(**{**p, "xs": np.ones((5, D)), "targets": np.ones(3), **change})


@pytest.mark.parametrize("name", ["W", "U", "b", "V", "c", "xs", "targets", "h0"])
@pytest.mark.parametrize("dtype", [complex, str])
def test_numbers_are_real(name, dtype):
    problem = Problem("tanh", "half_squared_error", T=5)
    arrays = {n: p.data for n, p in problem.parameters.items()}
    arrays |= {"xs": problem.xs.data, "targets": problem.targets, "h0": problem.h0.data}
    with pytest.raises(TypeError, match=f"closed_form_gradients: {name} holds .*; real numbers are needed"):
        closed_form_gradients(**{**arrays, name: arrays[name].astype(dtype)})


@pytest.mark.parametrize("layers, h0s, message", [
    ([], None, r"\(layers\): a list of \(W, U, b\) is needed, the lowest first, at least one"),
    ([(1, 1)], None, r"\(layers\): a list of \(W, U, b\) is needed"),
    ([(2, 3, 3), (3, 3, 3)], [3], r"\(h0s\): 1 initial states for 2 layers"),
    ([(2, 3, 3)], [3, 3], r"\(h0s\): 2 initial states for 1 layers"),
    ([(2, 3, 3), (3, 3, 3)], [3, 2], r": h0 of layer 2 has shape \(2,\), expected \(3,\)"),
    ([(2, 3, 3), (2, 3, 3)], None, r": W of layer 2 has shape \(3, 2\), expected \(H, 3\)"),
    ([(2, 3, 3), (3, 3, 1)], None, r": b of layer 2 has shape \(1,\), expected \(3,\)"),
])  # fmt: skip
def test_layers_that_do_not_fit(layers, h0s, message):
    """Layers as the last lengths of their W, U, b; H is 3."""
    layers = [tuple(np.ones(n) if i == 2 else np.ones((H, n)) for i, n in enumerate(layer)) for layer in layers]
    h0s = h0s and [np.ones(n) for n in h0s]
    with pytest.raises(ValueError, match="^closed_form_stacked_gradients" + message):
        closed_form_stacked_gradients(layers, np.ones((1, H)), None, np.ones((4, D)), np.ones(1), h0s=h0s)


def test_hopeless_logits_have_a_finite_loss():
    """log ŷ is not taken of a ŷ that rounds to 0."""
    p = {n: p.data for n, p in Problem("identity", "cross_entropy", T=1).parameters.items()}
    p["c"] = np.array([0.0, 800.0, 0.0])
    assert 700 < closed_form_gradients(**p, xs=np.zeros((1, D)), targets=0, loss="cross_entropy").loss < 900


def test_integers_are_numbers_too():
    W = np.array([[1], [2]])
    g = closed_form_gradients(W, np.eye(2, dtype=int), None, np.ones((1, 2), int), None, np.ones((2, 1), int), [1])
    assert g.W.dtype == np.float64 and g.b is None and g.c is None


@pytest.mark.parametrize("loss", LOSSES)
def test_float32_stays_float32(loss):
    problem = Problem("sigmoid", loss, T=5)
    arrays = {n: p.data for n, p in problem.parameters.items()} | {"xs": problem.xs.data, "targets": problem.targets}
    narrow = {n: a if a.dtype.kind == "i" else a.astype(np.float32) for n, a in arrays.items()}
    wide, narrow = (closed_form_gradients(**a, nonlinearity="sigmoid", loss=loss) for a in (arrays, narrow))
    for name in ("hs", "dh", "W", "U", "b", "V", "c", "h0", "xs"):
        assert getattr(narrow, name).dtype == np.float32
        np.testing.assert_allclose(getattr(narrow, name), getattr(wide, name), atol=1e-5)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_the_last_terms_are_what_truncation_keeps_of_one_loss(n):
    """The gradient of the last n steps alone, from the state before them taken as given."""
    problem = Problem("tanh", "squared_error", T=6)
    whole, arrays = problem.closed_form(), {name: p.data for name, p in problem.parameters.items()}
    last = closed_form_gradients(
        **arrays, xs=problem.xs.data[-n:], targets=problem.targets, loss="squared_error", h0=whole.hs[-n - 1]
    )
    for name in "WUb":
        np.testing.assert_allclose(getattr(whole, f"{name}_terms")[-n:].sum(axis=0), getattr(last, name), rtol=1e-12)


@pytest.mark.parametrize("many_to_many", [False, True], ids=["many-to-one", "many-to-many"])
@pytest.mark.parametrize("batch", [(), (3,)], ids=["one sequence", "batch"])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_layers_and_the_terms_of_their_sums_over_time(num_layers, batch, many_to_many):
    rnn, readout, xs, targets = nets.make("RNN", num_layers, batch)
    xs = Tensor(xs, requires_grad=True)
    rng = np.random.default_rng(1)
    h0s = [Tensor(rng.standard_normal((*batch, H)), requires_grad=True) for _ in range(num_layers)]
    expected = closed_form_stacked_gradients(
        [(cell.W.data, cell.U.data, cell.b.data) for cell in rnn.cells], readout.V.data, readout.c.data, xs.data,
        targets if many_to_many else targets[-1], loss="squared_error", h0s=[h.data for h in h0s],
        many_to_many=many_to_many,
    )  # fmt: skip
    losses = nets.losses(readout, rnn(xs, h0s)[0], targets)
    loss = sum(losses) if many_to_many else losses[-1]
    loss.backward()
    assert loss.item() == pytest.approx(expected[0].loss, rel=1e-13)
    np.testing.assert_allclose(xs.grad, expected[0].xs, atol=1e-12)
    np.testing.assert_allclose(readout.V.grad, expected[-1].V, atol=1e-12)
    np.testing.assert_allclose(readout.c.grad, expected[-1].c, atol=1e-12)
    for cell, h0, layer in zip(rnn.cells, h0s, expected, strict=True):
        np.testing.assert_allclose(h0.grad, layer.h0, atol=1e-12)
        for p in cell.parameters():
            terms = getattr(layer, f"{p.name}_terms")
            np.testing.assert_allclose(p.grad, getattr(layer, p.name), atol=1e-12)
            np.testing.assert_allclose(terms.sum(axis=0), getattr(layer, p.name), atol=1e-12)
            np.testing.assert_allclose(bptt.contributions(loss, p), terms, atol=1e-12)


# LSTM and GRU by hand, an example


@pytest.mark.parametrize("T", [1, 2, 20])
@pytest.mark.parametrize("kind, by_hand", [
    (tg.nn.LSTM, closed_form_gates.lstm_gradients), (tg.nn.GRU, closed_form_gates.gru_gradients),
])  # fmt: skip
def test_gates_through_time(kind, by_hand, T):
    rng = np.random.default_rng(T)
    net = kind(2, 3, rng=rng)
    parameters = dict(net.cells[0].named_parameters())
    for p in parameters.values():
        p.data = 0.5 * rng.standard_normal(p.shape)
    xs, target = rng.standard_normal((T, 4, 2)), rng.standard_normal((4, 3))
    loss, gradients = by_hand({name: p.data for name, p in parameters.items()}, xs, target)
    ours = tg.nn.half_squared_error(net(xs)[0][-1], target)
    ours.backward()
    assert loss == pytest.approx(ours.item(), rel=1e-13)
    assert set(gradients) == set(parameters)
    for name, p in parameters.items():
        np.testing.assert_allclose(p.grad, gradients[name], atol=1e-12, err_msg=name)


@pytest.mark.parametrize("by_hand, kind", [
    (closed_form_gates.lstm_gradients, tg.nn.LSTM), (closed_form_gates.gru_gradients, tg.nn.GRU),
])  # fmt: skip
def test_a_gate_that_is_shut_for_good_overflows_nowhere(by_hand, kind):
    net = kind(1, 1, rng=0)
    p = {name: np.full_like(p.data, -1000.0) for name, p in net.cells[0].named_parameters()}
    loss, gradients = by_hand(p, np.ones((3, 1, 1)), np.ones((1, 1)))
    assert np.isfinite(loss) and all(np.isfinite(g).all() for g in gradients.values())
