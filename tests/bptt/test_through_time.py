from itertools import pairwise

import numpy as np
import pytest
from nets import KINDS, D, H, make, run

import tinygrad_rnn as tg
from tinygrad_rnn import bptt
from tinygrad_rnn.tensor import Tensor

T = 6  # steps of what `run` makes


@pytest.mark.parametrize("batch", [(), (4,)])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_the_terms_add_up_to_the_gradient(kind, num_layers, batch):
    rnn, readout, _, losses = run(kind, num_layers, batch)
    for parameter in (*rnn.parameters(), *readout.parameters()):
        terms = bptt.contributions(sum(losses), parameter)
        assert terms.shape == (T, *parameter.shape) and all(np.any(term) for term in terms[1:])
        np.testing.assert_allclose(terms.sum(axis=0), tg.grad(sum(losses), parameter)[0].data, atol=1e-13)


def test_each_term_is_that_of_a_parameter_of_its_own():
    """What the net's one U gives by steps is what T separate copies of U give, each with its own gradient."""
    rnn, _, hs, _ = run()
    cell = rnn.cells[0]
    copies = [tg.nn.Parameter(cell.U.data) for _ in range(T)]
    h, xs = Tensor(np.zeros(H)), [h.inputs[0].inputs[0].inputs[0].inputs[1].data for h in hs]
    for x, U in zip(xs, copies, strict=True):
        h = tg.tanh(tg.linear(cell.W, x) + tg.linear(U, h) + cell.b)
    alone = tg.grad((h * h).sum(), copies)
    together = bptt.contributions((hs[-1] * hs[-1]).sum(), cell.U)
    np.testing.assert_allclose(together, [g.data for g in alone], atol=1e-14)


def test_the_readout_contributes_at_the_step_it_reads():
    _, readout, _, losses = run()
    terms = bptt.contributions(losses[3], readout.V)
    assert [bool(np.any(term)) for term in terms] == [False, False, False, True]


def test_the_table_is_a_lower_triangle():
    rnn, _, _, losses = run()
    table = bptt.contribution_table(losses, rnn.cells[0].W)
    assert table.shape == (T, T)
    assert np.all(np.triu(table, 1) == 0.0) and np.all(np.tril(table) + np.triu(np.ones((T, T)), 1) > 0.0)
    np.testing.assert_allclose(
        table[4, 2], np.linalg.norm(bptt.contributions(losses[4], rnn.cells[0].W)[2]), rtol=1e-15
    )


def one_by_one(losses, parameter):
    """The table from the contributions of each loss by itself."""
    rows = [[np.linalg.norm(term) for term in bptt.contributions(E, parameter)] for E in losses]
    return np.array([row + [0.0] * (max(map(len, rows)) - len(row)) for row in rows])


@pytest.mark.parametrize("batch", [(), (4,)])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_the_table_of_all_losses_is_that_of_each_by_itself(kind, num_layers, batch):
    rnn, readout, hs, losses = run(kind, num_layers, batch)
    losses = [*losses, losses[2] + losses[4], losses[1], (hs[3] * hs[3]).sum()]
    for parameter in (*rnn.parameters(), *readout.parameters()):
        expected = one_by_one(losses, parameter)
        np.testing.assert_allclose(bptt.contribution_table(losses, parameter), expected, rtol=1e-12, atol=0.0)


def odd_net():
    """An output that is fed back, a parameter that is transformed first, and a rule that does what few rules do."""

    def vjp(g, ans, x):
        return np.concatenate([g[:1], g[1:]]) * 3.0 + 0.0 * g.sum()

    tripled = tg.primitive("tripled", lambda x: 3.0 * x, "3 {x}", vjp)
    rng = np.random.default_rng(5)
    W, V, mask = tg.nn.Parameter(rng.standard_normal((3, 3)), name="W"), tg.nn.Parameter(np.ones((1, 3)), name="V"), 0.5
    y, losses, masked = Tensor(np.zeros(1)), [], W * mask
    for t in range(1, 6):
        h = tg.label(tg.relu(tripled(tg.linear(masked, tg.concatenate([y, y, y]))) * 0.2 + 0.1), "h", t)
        y = tg.linear(V, h)
        losses.append(tg.where(y.data > -9.0, y, 1.0 / y).sum())
    return W, V, losses


def test_the_table_of_an_odd_net_is_that_of_each_loss_by_itself():
    W, V, losses = odd_net()
    for parameter in (W, V):
        for listed in (losses, losses[::-1], losses[1:2]):
            expected = one_by_one(listed, parameter)
            assert np.any(expected)
            np.testing.assert_allclose(bptt.contribution_table(listed, parameter), expected, rtol=1e-12)


def test_the_table_of_a_checkpointed_sequence():
    rnn, readout, xs, targets = make(steps=4)
    cell, losses = rnn.cells[0], []
    for n in (2, 4):
        h = bptt.checkpoint(cell, list(xs[:n]), segments=2)
        losses.append(tg.nn.squared_error(readout(h), targets[n - 1]))
    table = bptt.contribution_table(losses, cell.U)
    assert np.any(table[:, 1:])
    np.testing.assert_allclose(table, one_by_one(losses, cell.U), rtol=1e-12)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_one_loss_makes_infinite_stays_in_its_row():
    w = tg.nn.Parameter([1.0, 2.0], name="w")
    h = tg.label(w * 0.0, "h", 1)
    losses = [(h + 1.0).sum(), tg.log(h).sum(), tg.sqrt(h).sum()]
    np.testing.assert_array_equal(bptt.contribution_table(losses, w), one_by_one(losses, w))
    assert list(bptt.contribution_table(losses[:1], w)[0]) == [0.0]


def test_a_table_leaves_what_watches_the_engine_alone():
    W, _, losses = odd_net()
    with tg.detect_anomaly(), tg.no_grad():
        table = bptt.contribution_table(losses, W)
    np.testing.assert_array_equal(table, bptt.contribution_table(losses, W))
    assert bptt.contribution_table([], W).shape == (0, 0) and W.grad is None


def test_what_has_no_terms_is_refused():
    rnn, _, hs, losses = run()
    with pytest.raises(ValueError, match="c of shape .* does not require a gradient"):
        bptt.contributions(losses[0], Tensor(1.0, name="c"))
    w = tg.nn.Parameter(2.0, name="w")
    with pytest.raises(ValueError, match="w of shape .* is used by multiply of shape .*, at no time step"):
        bptt.contributions(w * w, w)
    with pytest.raises(ValueError, match="is not a scalar"):
        bptt.contributions(hs[-1], rnn.cells[0].W)


@pytest.mark.parametrize("kind", KINDS)
def test_the_jacobian_is_what_central_differences_give(kind):
    cell = KINDS[kind](D, H, rng=0).cells[0]
    x, h0, c0 = np.random.default_rng(1).standard_normal((3, H))

    def after(h):
        state = (h, Tensor(c0)) if kind == "LSTM" else h
        for _ in range(3):
            state = cell(x[:D], state)
        return state[0] if kind == "LSTM" else state

    h = Tensor(h0, requires_grad=True)
    differences = [(after(h0 + s).data - after(h0 - s).data) / 2e-5 for s in 1e-5 * np.eye(H)]
    np.testing.assert_allclose(bptt.jacobian(after(h), h), np.transpose(differences), atol=1e-9)


def test_a_jacobian_is_the_product_of_those_of_its_steps():
    """∂h(T)/∂h(k) = Π ∂h(t)/∂h(t-1) (IIT slides), and ∂h(t)/∂h(t-1) = diag(f′) U."""
    rnn, _, hs, _ = run()
    steps = [bptt.jacobian(h, before) for before, h in pairwise(hs)]
    np.testing.assert_allclose(bptt.jacobian(hs[-1], hs[0]), np.linalg.multi_dot(steps[::-1]), atol=1e-14)
    np.testing.assert_allclose(steps[0], np.diag(1 - hs[1].data ** 2) @ rnn.cells[0].U.data, atol=1e-15)
    np.testing.assert_allclose(
        bptt.singular_values(hs[3], hs[1])[0], np.linalg.norm(steps[2] @ steps[1], 2), rtol=1e-13
    )
    assert not bptt.jacobian(hs[0], hs[1]).any()  # the past does not depend on what comes


def test_a_jacobian_is_of_and_by_what_requires_a_gradient():
    _, _, hs, _ = run()
    with pytest.raises(ValueError, match=r"jacobian\(output, input\): c of shape \(\) does not require a gradient"):
        bptt.jacobian(Tensor(1.0, name="c"), hs[0])
    with pytest.raises(ValueError, match=r"jacobian\(output, input\): x of shape \(3,\) does not require a gradient"):
        bptt.jacobian(hs[-1], Tensor(np.zeros(3), name="x"))


def test_the_flow_of_gradients():
    _, _, hs, losses = run(batch=(4,))
    flow = bptt.gradient_flow(losses[3], hs)
    expected = [np.linalg.norm(g.data) for g in tg.grad(losses[3], hs)]
    np.testing.assert_allclose(flow, expected, rtol=1e-15)
    assert list(flow[4:]) == [0.0, 0.0]


def states(nonlinearity, U, steps):
    rnn = tg.nn.RNN(1, len(U), nonlinearity=nonlinearity, bias=False, rng=0)
    rnn.cells[0].U.data[:] = U
    h0 = Tensor(0.1 * np.ones(len(U)), requires_grad=True)
    return rnn(0.1 * np.ones((steps, 1)), [h0])[0]


@pytest.mark.parametrize(
    "nonlinearity, gain", [("tanh", 0.9), ("tanh", 1.5), ("sigmoid", 0.9), ("sigmoid", 5.0), ("relu", 1.1)]
)
def test_the_bound_of_pascanu_is_a_bound(nonlinearity, gain):
    U = gain * tg.nn.init.orthogonal(np.random.default_rng(0), 4)
    hs = states(nonlinearity, U, 12)
    for k in range(11):
        norm = np.linalg.norm(bptt.jacobian(hs[-1], hs[k]), 2)
        assert norm <= bptt.norm_bound(U, nonlinearity, 11 - k) * (1 + 1e-12)
    with pytest.raises(ValueError, match="nonlinearity='gelu'.*not one of"):
        bptt.norm_bound(U, "gelu", 1)


def test_the_bound_is_a_power_of_the_largest_slope_times_the_norm_of_U():
    assert bptt.norm_bound(np.eye(2), "sigmoid", 2) == 1 / 16
    U = Tensor([[0.0, 3.0], [-2.0, 0.0]], requires_grad=True)
    np.testing.assert_allclose(bptt.norm_bound(U, "tanh", np.arange(3)), [1.0, 3.0, 9.0], rtol=1e-15)


def test_a_bound_above_1_proves_nothing():
    """A sigmoid net with σ_max(U) = 5 > 4 vanishes all the same: its states are not where f′ is 1/4."""
    U = 5.0 * np.eye(4)
    hs = states("sigmoid", U, 30)
    assert bptt.norm_bound(U, "sigmoid", 29) > 600 and np.linalg.norm(bptt.jacobian(hs[-1], hs[0]), 2) < 1e-10


@pytest.mark.parametrize("gain", [0.1, 0.5, 1.0, 3.9])
def test_a_sigmoid_s_gradient_shrinks_by_four_a_step(gain):
    """TowardsML: the derivative of the sigmoid is at most 1/4, so ‖∂L/∂h(t)‖ shrinks at least by 4 / ‖U‖ a step."""
    U = gain * tg.nn.init.orthogonal(np.random.default_rng(0), 4)
    hs = states("sigmoid", U, 20)
    flow = bptt.gradient_flow((hs[-1] * hs[-1]).sum(), hs)
    assert np.all(flow[:-1] <= flow[1:] * gain / 4 * (1 + 1e-12))


def test_an_identity_net_s_gradient_does_not_shrink():
    hs = states("identity", np.eye(4), 20)
    flow = bptt.gradient_flow(hs[-1].sum(), hs)
    np.testing.assert_array_equal(flow, np.full(20, 2.0))


def test_large_weights_explode():
    """By T = 200 the gradient is beyond all use (IIT slides); clipped, a step can be taken (Module 5)."""
    hs = states("relu", 3.0 * np.eye(4), 200)
    assert bptt.gradient_flow(hs[-1].sum(), hs)[0] > 1e90

    rnn = tg.nn.RNN(2, 4, nonlinearity="relu", rng=0)
    rnn.cells[0].U.data = 3.0 * np.eye(4)
    rnn(np.ones((200, 2)))[0][-1].sum().backward()
    assert tg.optim.clip_grad_norm(rnn.parameters(), 1.0) > 1e90
    np.testing.assert_allclose(tg.optim.gradient_norm(rnn.parameters()), 1.0, rtol=1e-12)


@pytest.mark.parametrize(
    "call, error, said",
    [
        (lambda U, L: bptt.contribution_table(5, U), TypeError, "contribution_table.*losses is a list of Tensors"),
        (lambda U, L: bptt.gradient_flow(L, 5), TypeError, "gradient_flow.*hs is a list of Tensors"),
        (lambda U, L: bptt.norm_bound("U", "tanh", 1), TypeError, "norm_bound.*numbers are needed"),
        (lambda U, L: bptt.norm_bound(U, "tanh", "far"), TypeError, "norm_bound.*numbers are needed"),
        (lambda U, L: bptt.norm_bound(U, "tanh", np.nan), ValueError, "distances are from 0 up"),
        (lambda U, L: bptt.expansion(np.ones(2), U), TypeError, "a Tensor is needed, not a ndarray"),
        (lambda U, L: bptt.expansion(L, U, setting="latex"), TypeError, "typesetting.LATEX or PLAIN is needed"),
        (lambda U, L: bptt.checkpoint(None, [1.0]), TypeError, "a function of x.t. and the state is needed"),
        (lambda U, L: bptt.checkpoint(tg.tanh, 5), TypeError, "checkpoint.*a series is needed, not a int"),
    ],
)
def test_bad_input_is_an_error_that_names_the_call(call, error, said):
    rnn, _, _, losses = run()
    with pytest.raises(error, match=said):
        call(rnn.cells[0].U, losses[-1])
