"""The lines of a source: which variables there are, what they are called, and at which step they stand."""

import ast
import re

import numpy as np
import pytest
from sources import WAYS, assert_same, assert_written, compiled, trace

import tinygrad_rnn as tg
from tinygrad_rnn.context import time_step
from tinygrad_rnn.program.source import written
from tinygrad_rnn.tensor import Tensor

D, H = 2, 3


HOSTILE = [
    "lambda", "np", "print", "h_1", "h", "T", "t", "loss", "1x", "a b", '"""', "'", "\\", "\n    raise SystemExit",
    "x\ny", "ﬁ", "fi", "x]); import os #", "dW", "W", "é" * 200, "∂L/∂h", "h(1)", "{0,}", "sigmoid",
]  # fmt: skip


@pytest.mark.parametrize("ways", WAYS)
def test_hostile_names(ways):
    """They cannot break out of their lines, nor be one another."""
    leaves = [Tensor(np.full(2, 0.1 * i), True, name) for i, name in enumerate(HOSTILE)]
    W = Tensor(np.full((2, 2), 0.3), True, "W")

    def loss(x):
        h, total = Tensor(np.zeros(2)), 0.0
        for t in (1, 2):
            with time_step(t):
                for leaf in leaves:
                    h = tg.label(tg.sigmoid(h * leaf + tg.linear(W, x)), leaf.name, t)
                    tg.label(total := total + h.sum(), leaf.name)
        return total

    found = assert_written(loss, (np.ones(2),), [*leaves, W], [ways])
    tree = ast.parse(written(found, *ways))
    assert {type(x) for x in tree.body} <= {ast.Expr, ast.Import, ast.Assign, ast.FunctionDef}
    arguments = [a.arg for x in tree.body if getattr(x, "name", "") == "bptt" for a in x.args.args]
    assert len(set(arguments)) == len(arguments) == len(HOSTILE) + 2


BY_HAND = {
    "plain": lambda W, U, b, x, h: tg.tanh(W @ x + U @ h + b),
    "residual": lambda W, U, b, x, h: h + tg.tanh(W @ x + U @ h + b),
    "Euler": lambda W, U, b, x, h: h + 0.1 * (tg.tanh(W @ x + U @ h + b) - h),
    "highway": lambda W, U, b, x, h: tg.sigmoid(U @ h + b) * tg.tanh(W @ x + U @ h) + (1.0 - tg.sigmoid(U @ h + b)) * h,
    "tied": lambda W, U, b, x, h: tg.tanh(W @ x + W @ (W.T @ h) + U @ h + b),
}


@pytest.mark.parametrize("step", BY_HAND.values(), ids=BY_HAND)
def test_a_step_written_by_hand_is_a_step_in_the_source(step):
    """W x(t) + U h(t-1), whose terms are of two steps, is no sum over time; and all steps but the first are a loop."""
    rng = np.random.default_rng(0)
    W, U, b = (Tensor(rng.standard_normal(s), True, name) for s, name in (((3, 2), "W"), ((3, 3), "U"), (3, "b")))

    def loss(xs):
        h = tg.label(Tensor(np.zeros(3)), "h", 0)
        for t in range(1, len(xs) + 1):
            h = tg.label(step(W, U, b, tg.label(xs[t - 1], "x", t), h), "h", t)
        return tg.label(tg.sum(h * h), "L")

    given = (rng.standard_normal((4, 2)),)
    found = trace(loss, given, [W, U, b])
    for way in WAYS:
        assert_same(written(found, *way), lambda xs: loss(Tensor(xs)), given, [W, U, b], found.parameters)
    headings = re.findall(r"# t = (\d)", written(found).split("# backward")[0])
    assert headings == ["1", "2", "3", "4"] and "+=" not in written(found).split("# backward")[0]
    assert written(found, rolled=True).count("for t in range(") == 2


def test_an_output_that_is_a_parameter_beside_a_loss_that_is_called_as_outputs_are():
    W = Tensor(np.ones(2), True, "W")
    found = trace(lambda xs: (tg.label(tg.sum(W * xs), "L"), xs, W), (np.arange(2.0),), [W])
    _, _, (xs, same) = compiled(written(found))(np.arange(2.0), W.data)
    assert xs.tolist() == [0.0, 1.0] and same.tolist() == [1.0, 1.0]


def test_gradients_are_called_after_their_arguments():
    """Also where two have one name, as the layers of a perceptron; comments call them as the code does."""
    below, above = tg.nn.Linear(2, 3, rng=0), tg.nn.Linear(3, 1, rng=1)
    wrt = [*below.parameters(), *above.parameters()]
    made = trace(lambda x, Y: tg.nn.half_squared_error(above(tg.tanh(below(x))), Y), (np.ones(2), np.ones(1)), wrt)
    text = written(made)
    assert "loss, [dV, dc, dV2, dc2] = bptt(x, Y, V, c, V2, c2)" in text
    assert re.search(r"dV = np\.outer\(\w+, x\)", text) and re.search(r"dV2 = np\.outer\(dy2, tanh_y\)", text)
    assert "y = V x + c,  y2 = V2 tanh(y) + c2,  L = ½ Σ (y2 − Y)²\n" in text
    assert "dc2 = dy2,  dV2 = dy2 ᵗtanh(y),  dy = tanh′(y) ⊙ ᵗV2 dy2,  dc = dy,  dV = dy ᵗx\n" in text


def test_comments_tell_apart_what_the_code_tells_apart():
    net, other, V = tg.nn.RNN(2, 3, rng=0), tg.nn.RNN(2, 3, rng=1), tg.nn.Linear(3, 1, rng=0)

    def loss(xs):
        return tg.nn.half_squared_error(V(net(xs)[0][-1] + other(xs)[0][-1]), np.ones(1))

    text = written(trace(loss, (np.ones((2, 2)),), [net.cells[0].U, other.cells[0].U]))
    assert ",  ĥs = W2 x2 + U2 hs(1) + b2,  hs = tanh(ĥs)\n" in text and "hs[2] = np.tanh(ĥs)\n" in text
    assert "# sums over t:  dU = Σ dĥ ᵗh(t−1),  dU2 = Σ dĥs ᵗhs(t−1)\n" in text


def test_a_state_that_has_the_name_of_a_parameter_is_told_apart_in_comments():
    lstm, V = tg.nn.LSTM(2, 3, rng=0), tg.nn.Linear(3, 1, rng=0)
    wrt = [lstm.cells[0].W_f, V.c]
    made = trace(lambda xs: sum(tg.sum(V(h)) for h in lstm(xs)[0]), (np.ones((2, 2)),), wrt)
    text = " ".join(line.strip(" #") for line in written(made).splitlines())
    assert "cs = f ⊙ cs(1) + i ⊙ g" in text and "dcs = tanh′(cs) ⊙ o ⊙ dh" in text and "y = V h + c" in text


def test_a_cell_of_one_s_own_reads_as_the_plain_one():
    """x, a and h labelled: a line each, and with loops one page for any number of steps."""
    U, W, b = (
        tg.Tensor(np.ones(shape), requires_grad=True, name=n)
        for n, shape in zip("UWb", [(3, 3), (3, 2), 3], strict=True)
    )

    def loss(xs):
        h = tg.label(tg.Tensor(np.zeros(3)), "h", 0)
        for t, x in enumerate(xs, 1):
            a = tg.label(tg.linear(W, tg.label(x, "x", t)) + tg.linear(U, h) + b, "a", t)
            h = tg.label(tg.tanh(a), "h", t)
        return tg.sum(h * h)

    made = trace(loss, (np.ones((6, 2)),), [U, W, b])
    assert "    a = W @ x[2] + U @ h[1] + b\n    h[2] = np.tanh(a)\n" in written(made)
    assert "        a = W @ x[t] + U @ h[t - 1] + b\n        h[t] = np.tanh(a)\n" in written(made, rolled=True)


@pytest.mark.parametrize("ways", WAYS)
def test_the_gradient_of_each_of_two_variables_of_one_name_is_called_after_it(ways):
    """h = W x and h = W y at every step: what is added up for the second is not called after the first."""
    W = Tensor(np.array([0.5, 2.0]), True, "W")

    def loss(xs, ys):
        total = 0.0
        for t in range(3):
            a, b = tg.label(W * xs[t], "h", t + 1), tg.label(W * ys[t], "h", t + 1)
            total = total + tg.sum(tg.square(a) * tg.exp(b))
        return tg.label(total, "L")

    xs, ys = np.random.default_rng(0).standard_normal((2, 3, 2))
    text = written(trace(loss, (xs, ys), [W]), *ways)
    scope = {}
    exec(text.split("    return ")[0] + "    return locals()\n", scope)
    made = scope["bptt"](xs, ys, W.data)

    a, b = W.data * xs, W.data * ys
    gradients = [*zip(a, 2.0 * a * np.exp(b), strict=True), *zip(b, np.square(a) * np.exp(b), strict=True)]
    # what one step alone uses has no step, and is overwritten
    made = {f"{name} {t}": x for name in made if type(made[name]) is dict for t, x in made[name].items()}
    found = [name for name in made if name.startswith("h") and f"d{name}" in made]
    for name in found:
        (expected,) = [dx for x, dx in gradients if np.array_equal(made[name], x)]
        np.testing.assert_allclose(made[f"d{name}"], expected)


def test_a_sum_over_time_that_starts_with_a_constant():
    """Its first term is the 1 of a loss that a parameter is added to."""
    W, s = Tensor(0.3 * np.eye(3), True, "W"), Tensor(0.5, True, "s")
    b = Tensor(np.ones(3), True, "b")

    def loss():
        h = b
        for t in (1, 2, 3):
            z = tg.label(W @ h + b, "z", t)
            h = tg.label(tg.tanh(tg.label(z + s, "m", t)), "h", t)
        return tg.label(tg.label(tg.sum(tg.label(h * h, "y")) * 2.0, "e") + s, "L")

    assert_written(loss, (), [W, b, s], rtol=1e-12)


def test_several_gradients_that_are_one_array():
    a, b = Tensor(np.ones(3), True, "a"), Tensor(np.ones(3), True, "b")
    assert_written(lambda x: tg.square(tg.label(a + b, "s") * x).sum(), (np.arange(3.0),), [a, b])
    A, B = Tensor(np.eye(2), True, "A"), Tensor(np.eye(2), True, "B")
    assert_written(lambda: tg.square(A.T + B).sum(), (), [A, B])


def test_a_sum_does_not_change_what_it_adds():
    """dh, db and their sums would be one array if += worked on the first of them."""
    b, v = Tensor(np.ones(3), True, "b"), Tensor(np.arange(3.0), True, "v")

    def loss(xs):
        total, h = 0.0, Tensor(np.zeros(3))
        for t, x in enumerate(xs, 1):
            with time_step(t):
                h = tg.label(h + b + x, "h", t)
                total = total + (h * v).sum()
        return total

    assert_written(loss, (np.random.default_rng(0).standard_normal((4, 3)),), [b, v])


def test_a_mean_over_time_belongs_to_no_step():
    cell, readout = tg.nn.RNNCell(D, H, rng=0), tg.nn.Linear(H, 1, rng=1)

    def loss(xs, Y):
        h, total = None, 0.0
        for t in range(len(xs)):
            h = cell(xs[t], h)
            total = total + tg.nn.half_squared_error(readout(h), Y[t])
        return total / len(xs)

    rng = np.random.default_rng(0)
    found = assert_written(
        loss, (rng.standard_normal((7, D)), rng.standard_normal((7, 1))), [*cell.parameters(), *readout.parameters()]
    )
    text = written(found, rolled=True)
    assert text.count("for t in range(") == 2
    assert "[T]" not in text
    assert "# dy = 0.1429 (y − Ys),  " in text


def test_layers_with_a_state_that_is_learnt():
    rnn = tg.nn.RNN(D, H, 2, rng=0)
    states = [Tensor(np.full(H, 0.1 * i), requires_grad=True) for i in (1, 2)]

    def loss(xs):
        hs, _ = rnn(xs, states)
        return sum((h * h).sum() for h in hs)

    xs = np.random.default_rng(0).standard_normal((5, D))
    text = written(assert_written(loss, (xs,), [*states, *rnn.parameters()]))
    assert "loss, [dh1, dh2, dW1, dU1, db1, dW2, dU2, db2] = bptt(xs, h1, h2, W1, U1, b1, W2, U2, b2)\n" in text
    assert "dh1 = ᵗU1 dĥ1\n" in text and "    dh1 += U1.T @ dĥ1\n" in text
