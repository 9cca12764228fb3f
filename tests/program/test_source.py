import contextlib
import enum
import inspect
import itertools
import re
import subprocess
import sys
from importlib.resources import files

import numpy as np
import pytest
import random_graphs
import random_programs
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import eager
from sources import WAYS, assert_same, assert_written, compiled, trace

import tinygrad_rnn as tg
from tinygrad_rnn import interop, primitives
from tinygrad_rnn.checking import samples
from tinygrad_rnn.context import time_step
from tinygrad_rnn.interop import TESTS
from tinygrad_rnn.primitives import TABLE, Primitive
from tinygrad_rnn.program.graph import AS_TRACED
from tinygrad_rnn.program.source import written
from tinygrad_rnn.tensor import Tensor, record

D, H = 2, 3
NUMPY_1 = np.lib.NumpyVersion(np.__version__) < "2.0.0"


def net(
    kind="RNN", T=3, layers=1, many=False, batch=(), bias=True, dtype=np.float64, loss="half_squared_error", **options
):
    """A function of (xs, Y) with a net's loss, its data, and the parameters."""
    rng = np.random.default_rng(0)
    rnn = getattr(tg.nn, kind)(D, H, layers, bias=bias, rng=rng, **options)
    readout = tg.nn.Linear(H, 2, bias=bias, rng=rng)
    wrt = [*rnn.parameters(), *readout.parameters()]
    for p in wrt:
        p.data = (p.data + 0.1 * rng.standard_normal(p.shape)).astype(dtype)
    xs = rng.standard_normal((T, *batch, D)).astype(dtype)
    Y = rng.standard_normal(((T,) if many else ()) + (*batch, 2)).astype(dtype)
    error = getattr(tg.nn, loss)

    def one(xs, Y):
        hs, _ = rnn(xs)
        return error(readout(hs[-1]), Y)

    def each(xs, Y):
        hs, _ = rnn(xs)
        return sum(error(readout(h), Y[t]) for t, h in enumerate(hs))

    return each if many else one, (xs, Y), wrt


# Half of the 16 nets there are: of any three of the four choices, all combinations.
CHOICES = pytest.mark.parametrize(
    "layers, many, batch, bias",
    [
        (layers, many, batch, (layers == 1) ^ many ^ (batch == ()))
        for layers, many, batch in itertools.product((1, 2), (False, True), ((), (4,)))
    ],
)
KINDS = pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])


@CHOICES
@KINDS
def test_a_net_is_what_the_engine_computes(kind, layers, many, batch, bias):
    """With loops, too, of which `test_all_steps_are_rolled_whatever_their_number` has more steps."""
    assert_written(*net(kind, 1, layers, many, batch, bias), [(True, "named")])
    assert_written(*net(kind, 3, layers, many, batch, bias), WAYS[:3])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("nonlinearity", ["sigmoid", "relu", "identity"])
def test_nonlinearities(nonlinearity, dtype):
    assert_written(*net("RNN", 3, many=True, batch=(4,), dtype=dtype, nonlinearity=nonlinearity))


@KINDS
def test_single_precision_stays_single(kind):
    assert_written(*net(kind, 3, many=True, batch=(2,), dtype=np.float32))


@pytest.mark.parametrize("many", [False, True])
def test_cross_entropy(many):
    assert_written(*net("RNN", 4, many=many, loss="cross_entropy"))


@CHOICES
@KINDS
def test_all_steps_are_rolled_whatever_their_number(kind, layers, many, batch, bias):
    """Each pass through time is one loop, which computes what the engine does, and nothing else depends on T."""
    level = "named" if bias else "primitives"
    texts = []
    for T in (5, 6):
        function, inputs, wrt = net(kind, T, layers, many, batch, bias)
        found = trace(function, inputs, wrt)
        text = written(found, True, level)
        assert text.count("for t in range(") == (4 if many else 2)
        assert_same(text, function, inputs, wrt, found.parameters)
        texts.append(text.replace(f"T = {T}", "T = ...").replace(f"({T}, ", "(T, "))
    assert texts[0] == texts[1]
    assert max(map(len, texts[0].splitlines())) <= 120


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_each_pass_goes_through_all_steps_in_one_loop(kind):
    """The first step too makes gradients of the states before it, though nobody asks for them."""
    text = written(trace(*net(kind, 5, layers=2, many=True)), rolled=True)
    assert re.findall(r"for t in range\((.*)\):", text) == ["1, T + 1", "1, T + 1", "T, 0, -1", "T, 0, -1"]
    assert "# t = " not in text


THREE_STEPS = '''\
"""A loss and its gradients, by backpropagation through time (BPTT), in plain NumPy.

    loss, [dW, dU, db, dV, dc] = bptt(xs, Y, W, U, b, V, c)

Arguments: arrays xs (3, 2), Y (1,), W (3, 2), U (3, 3), b (3,), V (1, 3), c (1,).
Returns: the loss, a float; its gradients, each of the shape of what it is the gradient of.
"""

import numpy as np


def bptt(xs, Y, W, U, b, V, c):
    h, x = {}, {}
    h[0] = np.zeros(3)

    # t = 1:  ĥ = W x + U h(0) + b,  h = tanh(ĥ)
    x[1] = xs[0]
    ĥ = W @ x[1] + U @ h[0] + b
    h[1] = np.tanh(ĥ)

    # t = 2:  ĥ = W x + U h(1) + b,  h = tanh(ĥ)
    x[2] = xs[1]
    ĥ = W @ x[2] + U @ h[1] + b
    h[2] = np.tanh(ĥ)

    # t = 3:  ĥ = W x + U h(2) + b,  h = tanh(ĥ)
    x[3] = xs[2]
    ĥ = W @ x[3] + U @ h[2] + b
    h[3] = np.tanh(ĥ)

    # y = V h(3) + c,  L = ½ Σ (y − Y)²
    y = V @ h[3] + c
    difference = y - Y
    L = 0.5 * np.sum(np.square(difference))

    # backward
    # sums over t:  dW = Σ dĥ ᵗx,  dU = Σ dĥ ᵗh(t−1),  db = Σ dĥ
    dh = {}
    db = np.zeros_like(b)
    dU = np.zeros_like(U)
    dW = np.zeros_like(W)

    # dy = y − Y,  dc = dy,  dV = dy ᵗh(3),  dh(3) = ᵗV dy
    dy = 0.5 * (2.0 * difference)
    dc = dy.copy()
    dV = np.outer(dy, h[3])
    dh[3] = V.T @ dy

    # t = 3:  dĥ = tanh′(ĥ) ⊙ dh,  dh(2) = ᵗU dĥ
    dĥ = dh[3] * (1.0 - h[3] * h[3])
    db += dĥ
    dU += np.outer(dĥ, h[2])
    dh[2] = U.T @ dĥ
    dW += np.outer(dĥ, x[3])

    # t = 2:  dĥ = tanh′(ĥ) ⊙ dh,  dh(1) = ᵗU dĥ
    dĥ = dh[2] * (1.0 - h[2] * h[2])
    db += dĥ
    dU += np.outer(dĥ, h[1])
    dh[1] = U.T @ dĥ
    dW += np.outer(dĥ, x[2])

    # t = 1:  dĥ = tanh′(ĥ) ⊙ dh
    dĥ = dh[1] * (1.0 - h[1] * h[1])
    db += dĥ
    dU += np.outer(dĥ, h[0])
    dW += np.outer(dĥ, x[1])

    return float(L), [dW, dU, db, dV, dc]
'''


def test_three_steps_line_by_line():
    rnn, readout = tg.nn.RNN(2, 3, rng=0), tg.nn.Linear(3, 1, rng=1)

    def loss(xs, Y):
        hs, _ = rnn(xs)
        return tg.nn.half_squared_error(readout(hs[-1]), Y)

    found = trace(loss, (np.ones((3, 2)), np.ones(1)), [*rnn.parameters(), *readout.parameters()])
    assert written(found) == THREE_STEPS


def test_hundreds_of_steps_stand_on_one_page():
    text = written(trace(*net("RNN", 300)), rolled=True)
    assert len(text.splitlines()) < 60
    assert text.replace("300", "50") == written(trace(*net("RNN", 50)), rolled=True)


@pytest.mark.parametrize("kind", ["RNN", "LSTM"])
def test_both_ways_through_time_are_loops_over_all_steps(kind):
    """Each net has its states and its end: h(0) of the one, h(T + 1) of the other."""
    forth, back = (getattr(tg.nn, kind)(D, H, reverse=reverse, rng=int(reverse)) for reverse in (False, True))
    both, readout = tg.nn.Bidirectional(forth, back), tg.nn.Linear(2 * H, 2, rng=2)

    def loss(xs, Y):
        hs, _ = both(xs)
        return sum(tg.nn.half_squared_error(readout(h), y) for h, y in zip(hs, Y, strict=True))

    def text(T, check):
        rng = np.random.default_rng(0)
        inputs = rng.standard_normal((T, D)), rng.standard_normal((T, 2))
        return written(check(loss, inputs, [*both.parameters(), *readout.parameters()]), rolled=True)

    of_six = text(6, trace)
    assert "T = 6  # steps" in of_six and "h[T] = np.zeros(3)" not in of_six
    assert re.findall(r"range\((.*)\):", of_six) == [
        "1, T + 1", "T, 0, -1", "1, T + 1", "1, T + 1",  # forth, back, the states side by side, the losses
        "T, 0, -1", "T, 0, -1", "1, T + 1", "T, 0, -1",  # and the same from the end; back to the last step first
    ]  # fmt: skip
    assert of_six.replace("T = 6", "T = 5").replace("(6, 2)", "(5, 2)") == text(5, assert_written)


def test_lists_of_arrays_are_lists_in_the_source_too():
    loss, (xs, Y), wrt = net(T=6, many=True)
    found = trace(loss, (list(xs), list(Y)), wrt)
    values = [p.data for p in found.parameters]
    expected_loss, expected = eager(loss, (xs, Y), wrt)
    for rolled, level in WAYS:
        text = written(found, rolled, level)
        value, gradients = compiled(text)(list(xs), list(Y), *values)
        assert value == expected_loss and all(map(np.array_equal, gradients, expected))
        assert "def bptt(xs, Y, W, U, b, V, c):" in text and "x = dict(enumerate(xs, 1))" in text
        assert "Arguments: arrays xs (a list of 6, each (2,)), Y (a list of 6, each (2,)), W (3, 2)" in text
    assert written(found, rolled=True).count("for t in range(") == 4


def test_gradients_of_what_stands_in_a_list():
    leaves = [tg.Tensor(np.full(2, i + 1.0), requires_grad=True) for i in range(3)]
    found = trace(lambda xs: sum(tg.sum(tg.tanh(x) * x) for x in xs), (leaves,), [0, 1, 2])
    text = written(found)
    _, gradients = compiled(text)([x.data for x in leaves])
    for x, gradient in zip(leaves, gradients, strict=True):
        np.testing.assert_allclose(gradient, np.tanh(x.data) + x.data * (1 - np.tanh(x.data) ** 2))
    assert "loss, [dx_1, dx_2, dx_3] = bptt(xs)" in text


def test_gradients_of_inputs_and_further_outputs():
    rnn = tg.nn.RNN(D, H, rng=0)
    xs = Tensor(np.random.default_rng(0).standard_normal((4, D)), requires_grad=True)

    def loss(xs):
        hs, _ = rnn(xs)
        return tg.square(hs[-1]).sum(), hs, {"mean": sum(hs) / 4.0, "xs": xs}

    for rolled, level in WAYS:
        text = written(trace(loss, (xs,), [xs, *rnn.parameters()]), rolled, level)
        _, gradients, further = compiled(text)(xs.data, *[p.data for p in rnn.parameters()])
        value, hs, others = loss(xs)
        xs.grad = None
        value.backward()
        np.testing.assert_array_equal(gradients[0], xs.grad)
        for got, want in zip(further, [*hs, others["mean"], xs], strict=True):
            np.testing.assert_array_equal(got, want.data)


def test_a_net_without_steps():
    rng = np.random.default_rng(0)
    wrt = [
        Tensor(rng.standard_normal(s), requires_grad=True, name=n)
        for n, s in zip("ABC", [(4, 2), (3, 4), (3,)], strict=True)
    ]

    def loss(x, y):
        A, B, C = wrt
        return tg.nn.half_squared_error(tg.linear(B, tg.tanh(tg.linear(A, x))) + C, y, reduction="mean")

    found = assert_written(loss, (rng.standard_normal((5, 2)), rng.standard_normal((5, 3))), wrt)
    text = written(found, rolled=True)
    assert "for t" not in text and "t = " not in text.split("def bptt")[1]


def test_conditions_that_depend_on_data():
    rng = np.random.default_rng(0)
    W, b = Tensor(rng.standard_normal((3, 2)), True, "W"), Tensor(rng.standard_normal(3), True, "b")

    def loss(x):
        h = tg.maximum(tg.relu(tg.linear(W, x)), 0.3 * b)
        h = tg.where(h > b, h, tg.minimum(b, 0.1)) + tg.clip(h, -0.2, 0.2)
        return tg.max(h, axis=-1).sum() + tg.abs(h).sum()

    assert_written(loss, (rng.standard_normal((4, 2)),), [W, b])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", sorted(TABLE))
def test_every_row_of_the_table(name, dtype):
    """Its value, and its gradients, in which the other rows stand."""
    for inputs, static in samples(TABLE[name]):
        arrays = [x.astype(dtype) if x.dtype.kind == "f" else x for x in inputs]
        if NUMPY_1 and dtype is np.float32 and not any(x.ndim for x in arrays):
            continue  # beside a Python number, NumPy 1 makes float64 of a float32 without axes
        leaves = [Tensor(x, x.dtype.kind == "f") for x in arrays]
        w = np.random.default_rng(1).standard_normal(np.shape(TABLE[name].forward(*arrays, *static))).astype(dtype)

        def loss(leaves=leaves, static=static, w=w):
            y = record(TABLE[name], tuple(leaves), *static)
            return tg.sum(w * y * y)

        wrt = [x for x in leaves if x.requires_grad]
        found = trace(loss, (), wrt)
        for way in (WAYS[0], WAYS[3]):  # nothing is a loop
            assert_same(written(found, *way), loss, (), wrt, found.parameters)


@pytest.mark.parametrize("test", [test for test in TESTS if isinstance(test, np.ufunc)])
def test_every_test(test):
    rng = np.random.default_rng(0)
    x = Tensor(np.array([-1.0, 0.0, 2.0, np.inf]), True, "x")
    y = Tensor(np.array([-1.0, 1.0, 1.0, 1.0]), True, "y")
    wholes = test.types[-1].startswith(("q", "Q")) or "bitwise" in test.__name__ or test is np.invert

    def loss(scale):
        operands = (x > 0.0, y > 0.0) if wholes else (x, y)
        return tg.where(test(*operands[: test.nin]), tg.tanh(x), scale * y).sum()

    assert_written(loss, (rng.standard_normal(4),), [x, y])


@pytest.mark.parametrize("choice", [np.any, np.all, np.argmax, np.argmin, np.argsort])
@pytest.mark.parametrize("axis", [0, -1])
def test_every_choice(choice, axis):
    x = Tensor(np.random.default_rng(0).standard_normal((3, 4)), True, "x")

    def loss(scale):
        return tg.sum(x * scale) * tg.sum(choice(x * scale > 0.0, axis=axis) * 1.0)

    assert_written(loss, (np.ones((3, 4)),), [x])


@pytest.mark.parametrize("look_up", [lambda E, i: E[i], lambda E, i: E[:, i], lambda E, i: E[i, 1:, i]])
def test_an_index_that_is_an_input_is_written_as_one(look_up):
    E = Tensor(np.random.default_rng(0).standard_normal((4, 4, 4)), True, "E")

    def loss(i):
        return tg.square(look_up(E, i)).sum()

    found = trace(loss, (np.array([0, 3, 3]),), [E])
    for rolled, level in WAYS:
        for i in ([0, 3, 3], [2, 1, -1]):
            assert_same(written(found, rolled, level), loss, (np.array(i),), [E], found.parameters)
    assert re.search(r"= E\[[:, i1]*\]", written(found))


def by_columns(x):
    return x[:, ::2] * 2.0, x.T[::-1], x[..., [2, 0, 0]], x[None, 1], x[-1], x[np.array([True, False, True])]


@pytest.mark.parametrize("i", range(6))
def test_places_of_every_kind(i):
    x = Tensor(np.random.default_rng(0).standard_normal((3, 5)), True, "x")
    assert_written(lambda: tg.square(by_columns(x)[i]).sum(), (), [x])


def test_products_of_what_is_taken_in_strides():
    """To rounding: NumPy may add up in another order."""
    rng = np.random.default_rng(0)
    W, x = Tensor(rng.standard_normal((9, 17)), True, "W"), Tensor(rng.standard_normal((34, 33)), True, "x")
    assert_written(lambda: tg.square(tg.linear(W, x[::-2, ::-2][:, :17])).sum(), (), [W, x], rtol=1e-12)
    assert_written(lambda: tg.square(tg.linear(W, x[::-2, 0])).sum(), (), [W, x], rtol=1e-12)


def test_parameters_that_play_no_part():
    a, b = Tensor(np.ones(3), True, "a"), Tensor(np.ones((2, 2)), True, "b")
    assert_written(lambda: tg.square(a).sum(), (), [a, b])


def test_a_loss_with_an_axis():
    a = Tensor(np.ones(3), True, "a")
    assert_written(lambda: tg.sum(tg.square(a), axis=0, keepdims=True), (), [a])


def test_constants_to_the_last_bit():
    a = Tensor(np.ones(3), True, "a")
    for value in (
        0.1 + 0.2,
        [0.1, 1 / 3, -0.0],
        [np.inf, 1.0, np.nan],
        np.full(3, -0.0),
        np.float32([0.1, 0.2, 0.3]),
        7,
    ):
        with np.errstate(invalid="ignore"):
            assert_written(lambda value=value: tg.sum(tg.tanh(a * np.asarray(value)) / 3), (), [a])
    long = np.random.default_rng(0).standard_normal((5, 3))
    assert_written(lambda: tg.sum(a * long), (), [a])


@pytest.fixture
def low_recursion_limit():
    """So that what is deeper is not long."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(300)
    yield
    sys.setrecursionlimit(before)


def test_a_deep_expression_and_a_long_sum_without_names(low_recursion_limit):
    a = Tensor(np.full(2, 0.5), True, "a")

    def loss():
        x, parts = a, []
        for _ in range(sys.getrecursionlimit() + 100):
            x = tg.sin(x)
            parts.append(x.sum())
        return sum(parts)

    found = assert_written(loss, (), [a], [(False, "primitives"), (True, "named")])
    assert max(map(len, written(found).splitlines())) < 200


@settings(max_examples=25, deadline=None)
@given(random_graphs.programs(), st.integers(0, 5))
def test_random_graphs(program, seed):
    leaves = [Tensor(x, True, name) for x, name in zip(random_graphs.inputs(seed), "xys", strict=True)]
    ones = np.ones(3)
    assert_written(lambda: random_graphs.run(program, tg, *leaves, ones), (), leaves, (WAYS[0], WAYS[3]), rtol=1e-12)


@pytest.mark.parametrize("seed", [*range(28), 68, 243, 457, 657])
def test_random_networks(seed):
    assert_written(*random_programs.random_loss(seed))


def test_numbers_that_are_repeated():
    """Of two, one keeps the shape, which is the gradient's too."""
    a = Tensor(np.arange(6.0).reshape(2, 3), True, "a")
    assert_written(lambda: a.sum() * a.sum(), (), [a])
    assert_written(lambda: tg.square(a.sum()) + a.mean(), (), [a])


def sums_over_time(function, inputs, wrt, rolled=False):
    """The equations under this heading."""
    text = re.sub(r"\n    #     ", " ", written(trace(function, inputs, wrt), rolled))
    found = re.search("# sums over t:  (.*)", text)
    return re.split(", +", found[1]) if found else []


@pytest.mark.parametrize("rolled", [False, True])
def test_a_penalty_is_no_sum_over_time(rolled):
    function, inputs, wrt = net(T=4, many=True)

    def loss(*xs):
        return function(*xs) + 0.05 * sum(tg.sum(tg.square(p)) for p in wrt)

    terms = {"W": "dĥ ᵗx", "U": "dĥ ᵗh(t−1)", "b": "dĥ", "V": "dy ᵗh", "c": "dy"}
    equations = [f"d{name} = Σ {term} + 0.1 {name}" for name, term in terms.items()]
    assert sums_over_time(loss, inputs, wrt, rolled) == equations


def recurrent(step):
    """The sum of squares of a last state, each of which is made of the input, the state before, and the time."""

    def loss(xs):
        h = Tensor(np.zeros(H))
        for t, x in enumerate(xs, 1):
            with time_step(t):
                h = tg.label(step(x, h, t), "h", t)
        return tg.label(tg.sum(tg.square(h)), "L")

    return loss


def test_sums_say_over_which_steps():
    """The first state has no name, so what it goes into is a term of its own."""
    U, b, W = (Tensor(np.full(s, 0.1), True, name) for s, name in (((H, H), "U"), (H, "b"), ((H, H), "W")))
    xs = np.ones((4, H))
    equations = sums_over_time(recurrent(lambda x, h, t: tg.linear(U, h) + x), (xs,), [U])
    assert equations == ["dU = dh(1) ᵗa + Σ[t=2…4] dh ᵗh(t−1)"]
    loss = recurrent(lambda x, h, t: tg.linear(U, h) + x)
    text = written(trace(lambda xs: loss(xs) + 0.05 * tg.sum(b * b), (xs,), [U, b]))
    assert "# db = 0.1 b\n" in text and "Σ 0.05" not in text
    assert sums_over_time(recurrent(lambda x, h, t: tg.linear((U, W)[t % 2], h) + x), (xs,), [U, W]) == []


@pytest.mark.parametrize("rolled", [False, True])
def test_sums_end_where_the_past_is_cut_off(rolled):
    """As the code has it, which adds no terms of the steps before."""
    U, b = Tensor(np.full((H, H), 0.1), True, "U"), Tensor(np.full(H, 0.1), True, "b")

    def made(x, h):
        return tg.tanh(tg.label(tg.linear(U, h) + b + x, "z"))

    def detached(x, h, t):
        return made(x, h.detach() if t == 3 else h)

    def unrecorded(x, h, t):
        with tg.no_grad() if t < 3 else contextlib.nullcontext():
            return made(x, h)

    last = "T−1…T" if rolled else "3…4"
    for step, h in ((detached, "hs"), (unrecorded, "h")):
        equations = sums_over_time(recurrent(step), (np.ones((4, H)),), [U, b], rolled)
        assert equations == [f"dU = Σ[t={last}] dz ᵗ{h}(t−1)", f"db = Σ[t={last}] dz"]


def test_a_net_that_goes_on_from_a_detached_state_has_sums_over_its_last_steps():
    net, readout = tg.nn.RNN(2, H, rng=0), tg.nn.Linear(H, 1, rng=1)

    def loss(xs):
        _, state = net(xs[:2])
        hs, _ = net(xs[2:], [state[0].detach()])
        return tg.nn.half_squared_error(readout(hs[-1]), [1.0])

    equations = sums_over_time(loss, (np.ones((4, 2)),), net.parameters())
    assert equations == ["dW = Σ[t=3…4] dĥ ᵗx", "dU = Σ[t=3…4] dĥ ᵗhs(t−1)", "db = Σ[t=3…4] dĥ"]


def test_a_gradient_with_a_term_that_has_no_notation_has_no_equation():
    U, b = Tensor(np.full((H, H), 0.1), True, "U"), Tensor(np.full(H, 0.1), True, "b")
    loss = recurrent(lambda x, h, t: tg.tanh(tg.linear(U, h) + b + x))
    text = written(trace(lambda xs: loss(xs) + tg.sum(tg.square(tg.cumsum(b))), (np.ones((4, H)),), [U, b]))
    assert "dU = " in text and "# db = " not in text and ",  db = " not in text


def test_gradients_of_an_outer_product():
    a, b = Tensor(np.ones(3), True, "a"), Tensor(np.ones(2), True, "b")

    def loss(x):
        W = tg.label(record(TABLE["outer"], (a, b)), "W")
        return tg.label(tg.sum(tg.square(tg.label(tg.linear(W, x), "y"))), "L")

    text = written(trace(loss, (np.ones(2),), [a, b]))
    assert "dW = dy ᵗx,  da = dW b,  db = ᵗdW a\n" in text


def test_inputs_are_called_as_in_the_code():
    W = Tensor(np.ones(3), True, "W")
    text = written(trace(lambda s, xs: tg.label(tg.sum(W * s * xs[0]), "L"), (2.0, np.ones((2, 3))), [W]))
    assert "# L = Σ s W ⊙ xs[…]\n" in text


def test_whole_numbers_of_numpy():
    a = Tensor(np.ones((2, 3)), True, "a")
    zero, one = np.int64(0), np.int64(1)
    found = assert_written(lambda: tg.sum(tg.transpose(a, (one, zero))[: np.int64(2)], axis=(zero, one)), (), [a])
    assert "int64" not in written(found)


def test_a_primitive_that_is_not_in_the_table():
    """It is written as its forward function does it."""
    a = Tensor(np.ones(2), True, "a")
    mine = Primitive("twice", lambda x: 2 * x, "2 {x}", (lambda g, ans, x: 2.0 * g,), ("2",), ("x",))
    assert "2 * a" in written(trace(lambda: record(mine, (a,)).sum(), (), [a]))


def test_an_unknown_level_is_told():
    a = Tensor(np.ones(2), True, "a")
    with pytest.raises(ValueError, match=r"written\(level='named1'\): not one of 'named', 'primitives'"):
        written(trace(lambda: a.sum(), (), [a]), level="named1")


@pytest.mark.parametrize("rolled", [False, True])
def test_the_module_needs_numpy_alone(tmp_path, rolled):
    function, inputs, wrt = net("LSTM", 4, many=True)
    found = trace(function, inputs, wrt)
    (tmp_path / "program.py").write_text(written(found, rolled), encoding="utf-8")
    np.savez(tmp_path / "arrays.npz", *inputs, *[p.data for p in found.parameters])
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import numpy as np
import program
arrays = np.load({str(tmp_path / "arrays.npz")!r})
loss, gradients = program.bptt(*arrays.values())
assert not any(name.startswith("tinygrad_rnn") for name in sys.modules)
print(loss.hex())
"""
    result = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert float.fromhex(result.stdout.strip()) == eager(function, inputs, wrt)[0]


class Axis(enum.IntEnum):
    FIRST, SECOND, LAST = 0, 1, -1


@pytest.mark.parametrize(
    "function",
    [
        lambda X: tg.sum(X, axis=np.int64(1)),
        lambda X: tg.sum(X, axis=(np.int32(0), Axis.SECOND)),
        lambda X: tg.max(X, axis=Axis.LAST, keepdims=True),
        lambda X: X.reshape(np.prod((2, 3)), Axis.LAST),
        lambda X: X.reshape(np.array([4, 6])),
        lambda X: tg.transpose(X, np.argsort([2, 0, 1])),
        lambda X: X.transpose(np.int64(2), Axis.FIRST, 1),
        lambda X: X[Axis.SECOND, np.int64(0) : Axis.SECOND + np.int64(1)],
        lambda X: X[None, np.int64(1), ..., :: np.int64(2)],
        lambda X: X[np.array(1), Axis.FIRST],
        lambda X: tg.stack([X, X], axis=Axis.SECOND),
        lambda X: tg.concatenate([X, X], axis=np.int8(1)),
        lambda X: tg.broadcast_to(X[:, :1], (np.int64(2), Axis.SECOND + 2, 4)),
        lambda X: tg.log_softmax(X, axis=Axis.LAST),
        lambda X: tg.cumsum(X, axis=np.int64(2)),
        lambda X: tg.split(X, np.int64(3), axis=Axis.SECOND)[1],
        lambda X: tg.repeat(X, np.int64(2), axis=Axis.SECOND),
    ],
)
def test_whole_numbers_of_other_kinds_are_written_as_python_s_own(function):
    X = Tensor(np.random.default_rng(0).standard_normal((2, 3, 4)), True, "X")

    def loss(a):
        return tg.sum(tg.tanh(function(X * a)))

    found = assert_written(loss, (np.ones((2, 3, 4)),), [X])
    program = tg.compile(loss, np.ones((2, 3, 4)), wrt=X)
    assert program(0.5 * np.ones((2, 3, 4)))[0] == pytest.approx(loss(0.5 * np.ones((2, 3, 4))).item())
    assert not re.search(
        r"Axis|np\.int\d+\(|<", written(found).split("def bptt")[1].replace("np.int64(1)", "") + program.kernel
    )


@pytest.mark.parametrize(
    "name", ["sigmoid", "softmax", "log_softmax", "cross_entropy", "scatter", "one_hot", "whole_number", "as_traced"]
)
def test_what_numpy_lacks_is_written_as_it_runs(name):
    """The text that comes with the package, which may be installed without its source, is that of the table."""
    function = getattr(primitives, f"_{name}", getattr(interop, f"_{name}", AS_TRACED.forward))
    source = inspect.getsource(function)
    assert source in (files("tinygrad_rnn.program") / "helpers.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("length", range(8, 11))
def test_a_return_that_is_broken_between_its_lists(length):
    leaves = [Tensor(np.ones(2), True, f"{'W' * length}{i}") for i in range(6)]
    found = trace(lambda xs: (sum(tg.sum(p * p) for p in leaves), *(xs * i for i in range(9))), (np.ones(2),), leaves)
    _, gradients, further = compiled(written(found))(np.ones(2), *[p.data for p in leaves])
    assert (len(gradients), len(further)) == (6, 9)


def test_one_class_number_of_an_input():
    W = Tensor(np.eye(3), True, "W")

    def loss(xs, classes):
        return sum(tg.nn.cross_entropy(tg.linear(W, xs[t]), classes[t]) for t in range(2))

    given = np.ones((2, 3)), np.array([2, 0])
    found = trace(loss, given, [W])
    for way in WAYS:
        assert_same(written(found, *way), lambda *x: loss(*map(Tensor, x)), given, [W], found.parameters)


def test_a_loop_takes_nothing_that_comes_after_it():
    """Of two steps, ds(1) = dh(2) and no ds(0) are wanted; dh(1) is made of what ds(1) becomes."""

    class Late(tg.nn.Cell):
        state_names = ("h", "c", "s")

        def step(self, x, h, c, s):
            total = self.b * c + s
            new, mixed = total * 1.0, self.b * total + h
            n = tg.label(tg.tanh(tg.linear(self.W, x) + tg.linear(self.U, mixed)), "n")
            return new, new * (total * mixed) * 1.0, tg.tanh(n)

    rnn, readout = tg.nn.Recurrent(Late, D, H, rng=0), tg.nn.Linear(H, 1, rng=0)
    rnn.cells[0].b.data = np.ones(H)

    def loss(xs):
        return tg.nn.half_squared_error(readout(rnn(xs)[0][-1]), np.ones((3, 1)))

    given, wrt = (np.ones((2, 3, D)),), [*rnn.parameters(), *readout.parameters()]
    found = trace(loss, given, wrt)
    for way in WAYS:
        assert_same(written(found, *way), loss, given, wrt, found.parameters)
