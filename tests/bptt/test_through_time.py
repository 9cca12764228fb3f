import inspect
import itertools
import re
import shutil
import subprocess
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from algebra.readers import LETTERS, Graph, Label, Net
from draw.own_nets import OWN_NETS, data, parameters, zero
from nets import KINDS, D, H, make, run

import tinygrad_rnn as tg
from tinygrad_rnn import bptt
from tinygrad_rnn.algebra.notation import NOTATIONS, Notation, is_parameter
from tinygrad_rnn.algebra.typesetting import PLAIN
from tinygrad_rnn.backward import topological_order
from tinygrad_rnn.context import time_step
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
        (lambda U, L: bptt.contribution_table(5, U), TypeError, "contribution_table.*a list of Tensors is needed"),
        (lambda U, L: bptt.gradient_flow(L, 5), TypeError, "gradient_flow.*a list of Tensors is needed"),
        (lambda U, L: bptt.norm_bound("U", "tanh", 1), TypeError, "norm_bound.*numbers are needed"),
        (lambda U, L: bptt.norm_bound(U, "tanh", "far"), TypeError, "norm_bound.*numbers are needed"),
        (lambda U, L: bptt.norm_bound(U, "tanh", np.nan), ValueError, "distances 0 or more"),
        (lambda U, L: bptt.expansion(np.ones(2), U), TypeError, "a Tensor is needed, not a ndarray"),
        (lambda U, L: bptt.expansion(L, U, setting="latex"), TypeError, "typesetting.LATEX or PLAIN is needed"),
        (lambda U, L: bptt.checkpoint(None, [1.0]), TypeError, "a function of x.t. and the state is needed"),
        (lambda U, L: bptt.checkpoint(tg.tanh, 5), TypeError, "checkpoint.*a sequence is needed, not a int"),
    ],
)
def test_bad_input_is_an_error_that_names_the_call(call, error, said):
    rnn, _, _, losses = run()
    with pytest.raises(error, match=said):
        call(rnn.cells[0].U, losses[-1])


# The sum over time written out


def short(kind="RNN", num_layers=1, steps=3):
    """The net, its readout, and one loss per step."""
    rng = np.random.default_rng(0)
    rnn, readout = KINDS[kind](D, H, num_layers, rng=rng), tg.nn.Linear(H, 1, rng=rng)
    hs, _ = rnn(rng.standard_normal((steps, D)))
    return rnn, readout, [tg.nn.squared_error(readout(h), y) for h, y in zip(hs, np.ones((steps, 1)), strict=True)]


def partial(of, by, direct=""):
    return rf"\frac{{\partial{direct} {of}}}{{\partial {by}}}"


@pytest.mark.parametrize("many_to_many", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_the_terms_are_those_of_the_sum_over_time(kind, num_layers, many_to_many):
    rnn, readout, losses = short(kind, num_layers)
    loss = sum(losses) if many_to_many else losses[-1]
    for parameter in (*rnn.parameters(), *readout.parameters()):
        terms = bptt.expansion(loss, parameter)
        expected = bptt.contributions(loss, parameter)
        used_once = any(parameter is p for p in readout.parameters()) and not many_to_many
        assert [term.step for term in terms] == ([3] if used_once else [1, 2, 3])
        np.testing.assert_allclose(sum(term.value for term in terms), tg.grad(loss, parameter)[0].data, atol=1e-13)
        for term in terms:
            np.testing.assert_array_equal(term.value, expected[term.step - 1])
            assert term.norm == np.linalg.norm(term.value)


NETS = [("RNN", "tanh"), ("RNN", "relu"), ("LSTM", "tanh"), ("GRU", "tanh")]


# Of all problems half, in which any two of the four choices are in all their combinations.
PROBLEMS = pytest.mark.parametrize("kind, f, layers, loss, many, notation", [
    (*NETS[i], layers, loss, many, notation)
    for (layers, loss), many in itertools.product([(1, "cross_entropy"), (2, "squared_error")], [False, True])
    for i, (n, notation) in itertools.product(range(len(NETS)), enumerate(LETTERS))
    if (layers + many + i + n) % 2
])  # fmt: skip


@PROBLEMS
def test_what_is_multiplied_is_the_term_as_matrices(kind, f, layers, loss, many, notation):
    """Of a batch, it is so for each row, and Σ adds these up."""
    net = Net(kind, f, layers, many, loss, notation, batch=4 if (layers == 2) ^ many else None)
    as_matrices = replace(NOTATIONS[notation], order="matrix")
    for parameter in net.parameters:
        for term in bptt.expansion(net.loss, parameter, as_matrices, PLAIN):
            found = net.formula(term.factors).reshape(term.value.shape)
            np.testing.assert_allclose(found, term.value, rtol=1e-9, atol=1e-12, err_msg=term.factors)


@PROBLEMS
def test_in_the_order_of_reading_each_factor_meets_what_stands_before_it(kind, f, layers, loss, many, notation):
    net = Net(kind, f, layers, many, loss, notation)
    read = replace(NOTATIONS[notation], order="reading")
    for parameter in net.parameters:
        for term in bptt.expansion(net.loss, parameter, read, PLAIN):
            found = Label(term.factors, net).applied(np.ones(()))
            np.testing.assert_allclose(found, term.value, rtol=1e-9, atol=1e-12, err_msg=term.factors)


def summed(T=3):
    """The elements of U h + ᵗU h, and no readout: the gradient that it starts from is 1 for each."""
    (U,) = parameters(U=(3, 3))
    h = tg.label(Tensor([1.0, -0.5, 0.2]), "h", 0)
    for t in range(1, T + 1):
        h = tg.label(tg.tanh(U @ h + U.T @ h), "h", t)
    return tg.label(tg.sum(tg.label(U @ h, "y")), "L")


def norm_of_a_state(T=2):
    W, U = parameters(W=(3, 2), U=(3, 3))
    h = zero("h")
    for t in range(1, T + 1):
        h = tg.label(tg.tanh(W @ data("x", t) + U @ h), "h", t)
    return tg.label(tg.sqrt(tg.sum(h * h)), "L")


def numbers_among_vectors(T=2):
    """One number goes into many, and comes back as a sum."""
    W, s = parameters(W=(3, 3), s=())
    h = tg.label(Tensor([1.0, -0.5, 0.2]), "h", 0)
    for t in range(1, T + 1):
        h = tg.label(tg.exp(s) + tg.tanh(s + W @ h) * tg.sum(h * h) + s * h, "h", t)
    return tg.label(tg.sum(h), "L")


def pooled():
    """The mean and the largest of the states over time, a column each."""
    net, (V,) = tg.nn.RNN(2, 3, rng=0), parameters(V=(2, 6))
    H = tg.stack(net(np.eye(2))[0])
    return tg.nn.cross_entropy(tg.label(V @ tg.concatenate([H.mean(0), H.max(0)]), "y"), 1)


def bidirectional():
    """A readout of one number, with several ways to it."""
    net = tg.nn.Bidirectional(tg.nn.LSTM(2, 3, rng=0, name="f"), tg.nn.LSTM(2, 3, rng=1, reverse=True, name="b"))
    hs, _ = net(np.random.default_rng(0).standard_normal((2, 2)))
    return tg.nn.squared_error(tg.nn.Linear(6, 1, rng=2)(hs[-1]), [1.0])


def letters_of_one_s_own(T=2):
    """Its y and s are letters of the texts, for other things."""
    W, U, V = parameters(W=(3, 2), U=(3, 3), V=(1, 3))
    h, s = zero("h"), zero("s")
    for t in range(1, T + 1):
        s = tg.label(0.5 * s + W @ data("x", t), "s", t)
        h = tg.label(tg.tanh(U @ h + s), "h", t)
    return tg.nn.half_squared_error(tg.label(V @ h, "y"), [1.0])


BY_HAND = [summed, norm_of_a_state, numbers_among_vectors, pooled, bidirectional, letters_of_one_s_own]
OTHERS = {"tied_and_deep", "gates_in_one_product"}  # without time steps; too deep to be written out
BY_HAND += [net for name, net in OWN_NETS.items() if name not in OTHERS]


@pytest.mark.parametrize("notation", ["wildml", "state"])
@pytest.mark.parametrize("graph", BY_HAND)
def test_the_terms_of_any_graph_are_products_of_matrices(graph, notation):
    loss = graph()
    read = Graph(loss, notation)
    for parameter in filter(is_parameter, topological_order(loss)):
        for term in bptt.expansion(loss, parameter, notation, PLAIN):
            found = read.formula(term.factors).reshape(term.value.shape)
            np.testing.assert_allclose(found, term.value, rtol=1e-9, atol=1e-12, err_msg=term.factors)


def test_the_formula_of_the_bptt_post():
    """∂E_3/∂W_s = ∂E_3/∂y_3 ∂y_3/∂s_3 ∂s_3/∂W_s + ... with the direct derivative at the end."""
    rnn, _, losses = short()
    of_loss = [partial("E", "y"), partial("y", "s_{3}")]
    expected = [
        [*of_loss, partial("s_{3}", "s_{2}"), partial("s_{2}", "s_{1}"), partial("s_{1}", "W_{s}", "^{+}")],
        [*of_loss, partial("s_{3}", "s_{2}"), partial("s_{2}", "W_{s}", "^{+}")],
        [*of_loss, partial("s_{3}", "W_{s}", "^{+}")],
    ]
    terms = bptt.expansion(losses[-1], rnn.cells[0].U, "state")
    assert [term.derivatives for term in terms] == [" ".join(factors) for factors in expected]


def test_eqs_7_7_to_7_9_in_the_letters_of_interdb():
    rnn, _, losses = short()
    cell = rnn.cells[0]
    before = r"(f'(\hat{h}^{(2)}) \odot {}^tU\,(f'(\hat{h}^{(3)}) \odot {}^tV\,(Y - y)))"
    last = {"W": rf"-2\,{before}\,{{}}^tx^{{(2)}}", "U": rf"-2\,{before}\,{{}}^th^{{(1)}}", "b": f"-2\\,{before[1:-1]}"}
    for name, term in last.items():
        assert bptt.expansion(losses[-1], getattr(cell, name))[-2].factors == term


def test_eq_7_6_is_read_from_left_to_right_where_a_notation_says_so():
    rnn, _, losses = short()
    before = r"-2\,(Y - y)\,{}^tV\,f'(\hat{h}^{(3)})\,{}^tU\,f'(\hat{h}^{(2)})"
    last = {"W": r"\,{}^tx^{(2)}", "U": r"\,{}^th^{(1)}", "b": ""}
    for name, factor in last.items():
        terms = bptt.expansion(losses[-1], getattr(rnn.cells[0], name), Notation(order="reading"))
        assert terms[-2].factors == before + factor


@pytest.mark.parametrize("step", [2.0, True, "2"])
def test_the_step_of_a_term_is_a_whole_number(step):
    rnn, _, losses = short()
    with pytest.raises(TypeError, match=rf"^expansion\(step={step!r}\): a whole number is needed$"):
        bptt.expansion(losses[-1], rnn.cells[0].U, step=step)
    with pytest.raises(ValueError, match="U of shape .* has no term at step 4, only at 1, 2, 3$"):
        bptt.expansion(losses[-1], rnn.cells[0].U, step=4)


def test_a_transpose_may_stand_behind_its_matrix():
    _, readout, losses = short()
    (term,) = bptt.expansion(losses[-1], readout.V, Notation(transpose="after"))
    assert term.factors == r"-2\,(Y - y)\,{h^{(3)}{}}^\top"


def test_with_a_loss_at_every_step_a_term_starts_from_the_whole_derivative_by_the_state():
    """Eq. 7.8: dU = Σ_t dh(t) f′(ĥ(t)) ᵗh(t-1)."""
    rnn, _, losses = short()
    loss = tg.label(sum(losses), "L")
    first = bptt.expansion(loss, rnn.cells[0].U)[0]
    assert first.derivatives == " ".join(
        [partial("L", "h^{(1)}"), partial("h^{(1)}", r"\hat{h}^{(1)}"), partial(r"\hat{h}^{(1)}", "U", "^{+}")]
    )
    assert first.factors == rf"(f'(\hat{{h}}^{{(1)}}) \odot {partial('L', 'h^{(1)}')})\,{{}}^th^{{(0)}}"


def test_where_there_are_several_ways_one_factor_stands_for_all():
    rnn, _, losses = short("LSTM")
    first = bptt.expansion(losses[-1], rnn.cells[0].U_f)[0]
    assert partial("h^{(3)}", "c^{(1)}") + " " + partial("c^{(1)}", "f^{(1)}") in first.derivatives
    way = "{}^t(" + partial("h^{(3)}", "c^{(1)}") + r")\,{}^tV\,(Y - y)"
    assert first.factors == rf"-2\,(\sigma'(\hat{{f}}^{{(1)}}) \odot c^{{(0)}} \odot {way})\,{{}}^th^{{(0)}}"


def test_a_parameter_used_twice_at_a_step_has_both_ways_in_its_term():
    w = tg.nn.Parameter(2.0, name="w")
    h = tg.label(w * Tensor(1.0, name="x"), "h", step=1)
    h = tg.label(tg.label(w * h, "a", step=2) * tg.label(w * h, "b", step=2), "h", step=2)
    first, second = bptt.expansion(h, w)
    assert second.derivatives.count("+ ") == 1 and second.value == 2 * 2.0 * h.data / 4.0
    assert first.value + second.value == tg.grad(h, w)[0].data


def test_long_products_are_written_at_their_ends():
    rnn, _, losses = short(steps=30)
    first = bptt.expansion(losses[-1], rnn.cells[0].U, "state")[0]
    assert first.derivatives.count(r"\partial") == 2 * 14 and r" \cdots " in first.derivatives


def test_a_notation_of_one_s_own_and_names_of_users():
    rnn, readout, losses = short()
    mine = Notation({"h": "a", "W": "W_{ax}", "U": "W_{aa}", "ĥ": None}, step="below")
    tg.label(readout.V, "W_ya")
    text = bptt.latex(losses[-1], rnn.cells[0].U, mine)
    assert r"\frac{\partial a_{3}}{\partial a_{2}}" in text and "W_{aa}" in text and "{}^tW_{ya}" in text


def test_the_gradient_of_the_cross_entropy_of_the_iit_slides_in_their_letters():
    """∂E_3/∂V = (ŷ_3 - y_3) ⊗ h_3, and ∂E/∂W through h_3, h_2 and h_1; the last step first."""
    rnn, readout = tg.nn.RNN(D, H, bias=False, rng=0), tg.nn.Linear(H, 4, bias=False, rng=0)
    hs, _ = rnn(np.ones((2, D)))
    losses = [tg.nn.cross_entropy(readout(h), 1) for h in hs]
    (term,) = bptt.expansion(losses[-1], readout.V, "wildml")
    assert term.derivatives == f"{partial('E', 'z')} {partial('z', 'V', '^{+}')}"
    assert term.factors == r"(\operatorname{softmax}(z) - y)\,{}^th_{2}"
    np.testing.assert_allclose(term.value, np.outer(tg.softmax(readout(hs[-1])).data - np.eye(4)[1], hs[-1].data))
    whole = bptt.latex(sum(losses), rnn.cells[0].U, "wildml").splitlines()
    last = " ".join([partial("E", "E_{2}"), partial("E_{2}", "z_{2}"), partial("z_{2}", "h_{2}")])
    assert whole[1:3] == [f"  {partial('E', 'W')}", rf"  & = {last} {partial('h_{2}', 'W', '^{+}')} \\"]
    assert whole[3] == rf"  & + {partial('E', 'h_{1}')} {partial('h_{1}', 'W', '^{+}')} \\"
    assert whole[4].startswith(
        r"  & = (f'(U\,x_{2} + W\,h_{1}) \odot {}^tV\,(\operatorname{softmax}(z_{2}) - y_{2}))\,{}^th_{1}"
    )


def test_states_that_users_label_have_the_step_of_their_label():
    A = tg.nn.Parameter(0.5 * np.eye(2), name="A")
    h = tg.label(Tensor(np.ones(2)), "h", 0)
    for t in (1, 2, 3):
        h = tg.label(tg.tanh(A @ h), "h", t)
    terms = bptt.expansion(h.sum(), A)
    assert [term.step for term in terms] == [1, 2, 3]
    assert terms[-1].derivatives == f"{partial('L', 'h^{(3)}')} {partial('h^{(3)}', 'A', '^{+}')}"
    np.testing.assert_allclose(sum(term.value for term in terms), tg.grad(h.sum(), A)[0].data, rtol=1e-12)


def test_inputs_and_initial_states_that_want_a_gradient_keep_their_step():
    xs, h0 = [Tensor(np.ones(D), requires_grad=True) for _ in range(2)], Tensor(np.zeros(H), requires_grad=True)
    rnn = tg.nn.RNN(D, H, rng=0)
    hs, _ = rnn(xs, [h0])
    terms = bptt.expansion(hs[-1].sum(), rnn.cells[0].W)
    assert [term.factors.endswith(f"{{}}^tx^{{({term.step})}}") for term in terms] == [True, True]
    assert bptt.expansion(hs[-1].sum(), rnn.cells[0].U)[0].factors.endswith("{}^th^{(0)}")


def test_a_sum_over_a_broadcast_axis_is_not_hidden():
    """∂(s v)/∂s is a sum over v, on the way through s = w w."""
    w, v = tg.nn.Parameter(2.0, name="w"), Tensor(np.ones(3), name="v")
    with time_step(1):
        y = tg.sum(v * (w * w))
    (term,) = bptt.expansion(y, w)
    assert term.factors == r"2\,w\,\textstyle\sum\,v^{(1)}"


def test_a_variable_called_1_is_a_variable():
    one, w = Tensor(3.0, name="1"), tg.nn.Parameter(2.0, name="w")
    with time_step(1):
        (term,) = bptt.expansion(tg.label(one * tg.label(w * Tensor(5.0, name="x"), "a"), "y"), w)
    assert term.factors == r"x^{(1)}\,1^{(1)}"


def document(*formulas):
    preamble = "\\documentclass{article}\n\\usepackage{amsmath}\n\\usepackage[paperwidth=500cm]{geometry}\n"
    return preamble + "\\begin{document}\n" + "\n".join(formulas) + "\\end{document}\n"


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_the_whole_sum_compiles_with_amsmath(tmp_path):
    formulas = []
    for kind in KINDS:
        rnn, _, losses = short(kind, num_layers=2)
        formulas += map(bptt.latex, itertools.repeat(sum(losses)), rnn.parameters(), itertools.cycle(NOTATIONS))
    hostile = ["a_b^c", "#$%&", "{}~", r"\end{document}", "'x' \"", "ü😀", "a\nb", r"\N{}<b>", "]]>", "`", "x|y"]
    for name in [*hostile, *"αΓΑλĥ_µ", "x̃", "f̂", "a__b", "x_{ij}"]:
        w = tg.nn.Parameter(1.0, name=name)
        with time_step(1):
            x = tg.label(w**3.0 / (w + 1e-9) + tg.sqrt(w) - tg.exp(w), name)
            formulas.append(bptt.latex(tg.maximum(x**2, w) ** w, w))
    (tmp_path / "sums.tex").write_text(document(*formulas))
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "sums.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Missing character" not in (tmp_path / "sums.log").read_text()


def test_bad_input_says_what_to_do():
    rnn, _, losses = short()
    U = rnn.cells[0].U
    with pytest.raises(ValueError, match="notation='latin': not one of 'interdb', 'wildml', 'state'"):
        bptt.expansion(losses[-1], U, "latin")
    with pytest.raises(ValueError, match="not a scalar"):
        bptt.expansion(rnn(np.ones((2, D)))[0][-1], U)
    with pytest.raises(ValueError, match="does not require a gradient"):
        bptt.latex(losses[-1], Tensor(1.0))
    w = tg.nn.Parameter(2.0)
    with pytest.raises(ValueError, match="at no time step"):
        bptt.expansion(tg.label(w * w, "y"), w)
    h = Tensor(1.0)
    for t in (1, 2):
        with time_step(t):
            h = w * h
    with pytest.raises(ValueError, match=r"used at steps 1 to 2 with no named variable in between; name the states"):
        bptt.expansion(tg.square(h), w)


def test_the_map_from_equations_to_functions_names_what_there_is():
    """`help(tg.bptt)` says for every equation of the texts what computes it."""
    lines = bptt.__doc__.partition("by the engine\n")[2].splitlines()
    rows = [line for line in lines if line.startswith("    ") and len(line) > 67]  # the others name a text
    by_hand = {row[67:90].strip() for row in rows}
    by_engine = {re.match(r"[\w.]+", entry)[0] for row in rows for entry in re.split("[,;] ", row[90:])}
    modules = {"tg": tg, "nn": tg.nn, "optim": tg.optim, "draw": tg.draw, "loss": Tensor}
    for name in by_engine - {"Fig."}:
        *module, attribute = name.split(".")
        assert hasattr(modules[module[0]] if module else bptt, attribute), name
    gradients = bptt.closed_form_gradients
    for name in (
        name.rstrip(", .") for name in by_hand - {"", "examples/", "many_to_many=True", "..._stacked_gradients"}
    ):
        fields = bptt.Gradients.__dataclass_fields__
        assert (
            hasattr(bptt, name)
            or hasattr(bptt.closed_form, name)
            or all(n.strip(" .") in fields for n in name.split(","))
        ), name
    assert {"many_to_many"} <= set(inspect.signature(gradients).parameters) and len(rows) == 19
