import gc
import itertools
import random
import re
import subprocess
import sys
import tracemalloc
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import HALF, NETS, OTHER_HALF, Problem, assert_close, assert_same, eager, name
from random_graphs import inputs as random_inputs
from random_graphs import programs, run

import tinygrad_rnn as tg
from tinygrad_rnn.errors import ShapeError
from tinygrad_rnn.nn.cells import NONLINEARITIES
from tinygrad_rnn.program.graph import Node
from tinygrad_rnn.program.structures import flattened

W = tg.Tensor([1.0, 2.0], requires_grad=True)


@pytest.mark.parametrize(
    "net, T",
    [(net, T) for T, nets in ((1, HALF), (2, OTHER_HALF), (5, NETS)) for net in nets],
    ids=lambda x: name(x) if isinstance(x, dict) else str(x),
)
def test_a_program_computes_what_the_engine_does(net, T):
    """Without optimisation bit for bit, with it to rounding; for other inputs and parameters than those traced with."""
    p = Problem(**net, T=T)
    exact = tg.compile(p.loss, *p.inputs(0), wrt=p.parameters, optimize=False)
    quick = tg.compile(p.loss, *p.inputs(0), wrt=p.parameters)
    for seed in (0, 1, 2):
        expected = eager(p.loss, p.inputs(seed), p.parameters)
        assert_same(exact(*p.inputs(seed)), expected)
        assert_close(quick(*p.inputs(seed)), expected)
        p.changed(seed)


@pytest.mark.parametrize("options", [{"nonlinearity": f} for f in NONLINEARITIES] + [{"bias": False}], ids=str)
def test_nonlinearities_and_nets_without_bias(options):
    p = Problem(T=4, batch=3, **options)
    program = tg.compile(p.loss, *p.inputs(0), wrt=p.parameters)
    p.changed(1)
    assert_close(program(*p.inputs(1)), eager(p.loss, p.inputs(1), p.parameters))


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_gated_nets_without_bias(kind):
    p = Problem(kind, T=4, batch=3, bias=False)
    program = tg.compile(p.loss, *p.inputs(0), wrt=p.parameters)
    assert_close(program(*p.inputs(1)), eager(p.loss, p.inputs(1), p.parameters))


@settings(max_examples=40, deadline=None)
@given(programs(), st.integers(0, 2**16))
def test_random_graphs(program, seed):
    """Traced with some inputs, run with others: maximum, where and the rest decide anew."""
    leaves = [tg.Tensor(x, requires_grad=True) for x in random_inputs(seed)]

    def loss(shift):
        x, y, s = leaves
        return run(program, tg, x + shift, y, s, np.ones(3)) + tg.sum(x) * 0.0

    exact = tg.compile(loss, np.zeros(3), wrt=leaves, optimize=False)
    quick = tg.compile(loss, np.zeros(3), wrt=leaves)
    for shift in (np.zeros(3), np.array([1.0, -2.0, 0.5])):
        expected = eager(loss, (shift,), leaves)
        assert_same(exact(shift), expected)
        assert_close(quick(shift), expected, 1e-11)


def perceptron(loss_fn):
    rng = np.random.default_rng(0)
    below, above = tg.nn.Linear(3, 4, rng=rng), tg.nn.Linear(4, 3, rng=rng)
    return lambda x, y: loss_fn(above(tg.relu(below(x))), y), [*below.parameters(), *above.parameters()]


@pytest.mark.parametrize("optimize", [True, False])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_classes_are_inputs_as_any_others(optimize, reduction):
    loss, wrt = perceptron(lambda z, y: tg.nn.cross_entropy(z, y, reduction))
    rng = np.random.default_rng(1)
    program = tg.compile(loss, rng.standard_normal((5, 3)), np.zeros(5, int), wrt=wrt, optimize=optimize)
    x, y = 5 * rng.standard_normal((5, 3)), np.array([0, 2, 1, 1, 0])
    assert_close(program(x, y), eager(loss, (x, y), wrt))


def test_a_recurrent_net_with_classes_at_every_step():
    rng = np.random.default_rng(0)
    net, readout = tg.nn.LSTM(3, 4, rng=rng), tg.nn.Linear(4, 3, rng=rng)
    wrt = [*net.parameters(), *readout.parameters()]

    def loss(xs, classes):
        return sum(tg.nn.cross_entropy(readout(h), classes[t]) for t, h in enumerate(net(xs)[0]))

    xs, classes = rng.standard_normal((6, 2, 3)), rng.integers(0, 3, (6, 2))
    program = tg.compile(loss, np.zeros((6, 2, 3)), np.zeros((6, 2), int), wrt=wrt)
    assert_close(program(xs, classes), eager(loss, (xs, classes), wrt))


@pytest.mark.parametrize(
    "loss",
    [
        lambda W, x: tg.sum(tg.maximum(W * x, x)),
        lambda W, x: tg.sum(tg.where(x > 0.5, W * x, W)),
        lambda W, x: tg.sum(tg.where(np.logical_not(x < W), W * x, 2.0 * W)),
        lambda W, x: tg.max(W * x) + tg.min(W - x),
        lambda W, x: tg.sum((W * W) ** (x * x)),
        lambda W, x: tg.sum(tg.clip(W * x, -0.5, 0.5)),
        lambda W, x: tg.sum(tg.softmax(W * x)[1:] * tg.logsumexp(W + x)),
        lambda W, x: tg.sum((W * x).detach() * W),
        lambda W, x: tg.std(W * x) + tg.prod(W + x),
        lambda W, x: tg.sum(np.outer(W, x) @ W) + tg.einsum("i,i->", W, x),
        lambda W, x: tg.sum(W) * np.float32(2.0),
    ],
)
@pytest.mark.parametrize("optimize", [True, False])
def test_what_depends_on_values_is_decided_at_each_call(loss, optimize):
    rng = np.random.default_rng(0)
    W = tg.Tensor(rng.standard_normal(4), requires_grad=True)
    program = tg.compile(lambda x: loss(W, x), rng.standard_normal(4), wrt=W, optimize=optimize)
    for _ in range(4):
        x = rng.standard_normal(4)
        assert_close(program(x), eager(lambda x: loss(W, x), (tg.Tensor(x),), [W]))
        W.data = rng.standard_normal(4)


def test_float32_stays_float32():
    W = tg.Tensor(np.ones((2, 3), np.float32), requires_grad=True)
    x = np.arange(3, dtype=np.float32)
    program = tg.compile(lambda x: tg.sum(tg.sigmoid(tg.linear(W, x)) * 0.5), x, wrt=W)
    _, (dW,) = program(x)
    assert dW.dtype == np.float32
    np.testing.assert_allclose(
        dW, eager(lambda x: tg.sum(tg.sigmoid(tg.linear(W, x)) * 0.5), (x,), [W])[1][0], rtol=1e-6
    )


# What is returned


def test_results_are_the_caller_s_own():
    p = Problem(batch=2)
    program = tg.compile(p.loss, *p.inputs(0), wrt=p.parameters)
    _, first = program(*p.inputs(0))
    kept = [g.copy() for g in first]
    _, second = program(*p.inputs(1))
    for gradient, copy, other in zip(first, kept, second, strict=True):
        np.testing.assert_array_equal(gradient, copy)
        gradient[...] = np.nan
        assert np.all(np.isfinite(other))
    assert_close(program(*p.inputs(1)), eager(p.loss, p.inputs(1), p.parameters))


@pytest.mark.parametrize("copy", [True, False])
def test_a_gradient_that_is_a_parameter_is_not_handed_out(copy):
    """The gradient of ½ Σ W² is W itself, and of Σ W it is a constant."""
    W, V = tg.Tensor([1.0, 2.0], requires_grad=True), tg.Tensor([3.0], requires_grad=True)
    program = tg.compile(lambda: 0.5 * tg.sum(W * W) + tg.sum(V), wrt=[W, V], copy=copy)
    for _ in range(2):
        loss, (dW, dV) = program()
        assert (loss, dW.tolist(), dV.tolist()) == (5.5, [1.0, 2.0], [1.0])
        dW[...], dV[...] = 0.0, 0.0
    assert W.data.tolist() == [1.0, 2.0]


def test_without_copies_the_next_call_overwrites():
    p = Problem(batch=2)
    program = tg.compile(p.loss, *p.inputs(0), wrt=p.parameters, copy=False)
    _, first = program(*p.inputs(0))
    _, second = program(*p.inputs(1))
    assert all(a is b or np.shares_memory(a, b) for a, b in zip(first, second, strict=True))
    assert_close((program(*p.inputs(1))), eager(p.loss, p.inputs(1), p.parameters))


@pytest.mark.parametrize("net", HALF, ids=name)
def test_a_call_allocates_nothing_but_its_results(net):
    """At its peak it needs less than 1 kB besides, 2 kB for the two dozen parameters of two gated layers."""
    p = Problem(**net, T=20, H=40)
    program, inputs = tg.compile(p.loss, *p.inputs(0), wrt=p.parameters), p.inputs(0)
    tracemalloc.start()
    peaks = []
    for _ in range(6):  # in some of which another thread may allocate
        gradients = None
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        _, gradients = program(*inputs)
        peaks.append(tracemalloc.get_traced_memory()[1] - before)
    tracemalloc.stop()
    assert min(peaks) - sum(sys.getsizeof(g) for g in gradients) < (1024 if len(gradients) < 20 else 2048)


@pytest.mark.parametrize("optimize", [True, False])
def test_a_program_that_is_dropped_is_freed_at_once(optimize):
    """By reference counting: nothing of it is in a circle."""
    p = Problem(batch=2)
    gc.collect()
    gc.disable()
    try:
        program = tg.compile(p.loss, *p.inputs(0), wrt=p.parameters, optimize=optimize)
        program(*p.inputs(0))
        held = weakref.ref(program), weakref.ref(program._first.kernels.kernel()[0])
        del program
        assert [reference() for reference in held] == [None, None]
        assert not any(type(x) is Node for x in gc.get_objects())
    finally:
        gc.enable()


def test_backward_adds_to_grad():
    p = Problem("GRU", batch=2)
    program = tg.compile(p.loss, *p.inputs(0), wrt=p.parameters)
    loss, gradients = eager(p.loss, p.inputs(1), p.parameters)
    for q in p.parameters:
        q.grad = None
    assert program.backward(*p.inputs(1)) == pytest.approx(loss, rel=1e-12)
    program.backward(*p.inputs(1))
    for q, gradient in zip(p.parameters, gradients, strict=True):
        np.testing.assert_allclose(q.grad, 2 * gradient, rtol=1e-10, atol=1e-13)


def test_a_training_loop_changes_in_one_line():
    """Parameters are read at each call: Adam's updates are seen, and the losses are those of the engine."""

    def losses(compiled):
        p = Problem("LSTM", batch=3)
        optimizer = tg.optim.Adam(p.parameters, lr=0.05)
        program = tg.compile(p.loss, *p.inputs(0), wrt=p.parameters)
        found = []
        for step in range(10):
            optimizer.zero_grad()
            if compiled:
                found.append(program.backward(*p.inputs(step)))
            else:
                loss = p.loss(*p.inputs(step))
                loss.backward()
                found.append(loss.item())
            optimizer.step()
        return found

    np.testing.assert_allclose(losses(True), losses(False), rtol=1e-10)


def test_a_tuple_returns_more_than_the_loss():
    """As for a state that is carried on: structures go in and come out."""
    p = Problem("LSTM", layers=2, batch=2)

    def loss(xs, Y, state):
        hs, state = p.net(xs, state)
        return tg.nn.half_squared_error(p.readout(hs[-1]), Y), state, {"first": hs[0]}

    xs, Y = p.inputs(0)
    state = [(np.zeros((2, 3)), np.zeros((2, 3))), (np.zeros((2, 3)), np.zeros((2, 3)))]
    program = tg.compile(loss, xs, Y, state, wrt=p.parameters)
    for _ in range(2):
        value, _, after, named = program(xs, Y, state)
        expected, expected_state, others = loss(xs, Y, [tuple(map(tg.Tensor, pair)) for pair in state])
        assert value == pytest.approx(expected.item(), rel=1e-12)
        np.testing.assert_allclose(named["first"], others["first"].data, rtol=1e-12)
        for pair, expected_pair in zip(after, expected_state, strict=True):
            assert type(pair) is tuple
            for part, expected_part in zip(pair, expected_pair, strict=True):
                np.testing.assert_allclose(part, expected_part.data, rtol=1e-12)
        state = after


def test_gradients_of_an_input():
    x = tg.Tensor([1.0, 2.0], requires_grad=True)
    program = tg.compile(lambda x: tg.sum(x**3), x, wrt=[x])
    assert program(np.array([2.0, 3.0]))[1][0].tolist() == [12.0, 27.0]


def test_gradients_of_an_input_of_another_shape():
    x = tg.Tensor([1.0, 2.0], requires_grad=True)
    program = tg.compile(lambda x: tg.sum(x**2) + tg.sum(W), x, wrt=[x, W])
    assert program(np.array([3.0, 4.0, 5.0]))[1][0].tolist() == [6.0, 8.0, 10.0]
    program.backward(np.array([5.0, 6.0]))
    assert x.grad.tolist() == [10.0, 12.0]
    W.grad = None


def test_a_state_may_be_fed_back_without_copies():
    p = Problem("LSTM", batch=2)

    def loss(xs, Y, state):
        hs, state = p.net(xs, state)
        return tg.nn.half_squared_error(p.readout(hs[-1]), Y), state

    (xs, Y), found = p.inputs(0), []
    for copy in (True, False):
        program, state = tg.compile(loss, xs, Y, None, wrt=p.parameters, copy=copy), None
        for _ in range(4):
            value, _, state = program(xs, Y, state)
        found.append(value)
    assert found[0] == found[1]


def test_what_is_named_twice_gets_its_gradient_once():
    W.grad = None
    program = tg.compile(lambda x: tg.sum(W * x), np.ones(2), wrt=[W, W])
    assert [g.tolist() for g in program(np.ones(2))[1]] == [[1.0, 1.0], [1.0, 1.0]]
    program.backward(np.ones(2))
    assert W.grad.tolist() == [1.0, 1.0]
    W.grad = None


def test_parameters_of_another_dtype_than_the_data():
    net = tg.nn.LSTM(2, 3, rng=0)
    for q in net.parameters():
        q.data = q.numpy().astype(np.float32)
    xs = np.random.default_rng(0).standard_normal((4, 2, 2))
    program = tg.compile(lambda xs: tg.sum(tg.square(net(xs)[0][-1])), xs, wrt=net)
    found, expected = program(xs), eager(lambda xs: tg.sum(tg.square(net(xs)[0][-1])), (xs,), net.parameters())
    assert_close(found, expected, 1e-6)
    assert {g.dtype for g in found[1]} == {np.dtype(np.float32)}


def test_what_the_loss_does_not_use_has_the_gradient_zero():
    W, unused = (tg.Tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    for optimize in (True, False):
        _, (dW, d) = tg.compile(lambda: tg.sum(W * W), wrt=[W, unused], optimize=optimize)()
        assert (dW.tolist(), d.tolist()) == ([2.0, 4.0], [0.0, 0.0])


def test_tensors_that_were_there_before_are_read_at_each_call():
    W, scale = tg.Tensor([1.0, 2.0], requires_grad=True), tg.Tensor(1.0)
    program = tg.compile(lambda: tg.sum(W * scale), wrt=W)
    scale.data = 5.0
    assert program() == (15.0, [pytest.approx([5.0, 5.0])])


# Other inputs


def test_other_shapes_are_traced_again():
    p = Problem(batch=2)
    program = tg.compile(p.loss, *p.inputs(0), wrt=p.parameters)
    for T, batch in [(3, 2), (5, 4), (5, 2), (1, 1)]:
        other = Problem(batch=batch, T=T).inputs(1)
        assert_close(program(*other), eager(p.loss, other, p.parameters))


def test_a_few_traces_are_kept():
    traced = set()

    def loss(x):
        traced.add(x.shape[0])
        return tg.sum(W * tg.sum(x))

    program = tg.compile(loss, np.zeros(1), wrt=W)

    def traces(n):
        traced.clear()
        program(np.zeros(n))
        return bool(traced)

    assert [traces(n) for n in range(1, 9)] == [False] + 7 * [True]
    assert not traces(1)
    with pytest.warns(UserWarning, match=r"8 traces .* compile\(..., keep=...\) keeps more"):
        assert traces(20)  # for which that of 2 is forgotten, which has not been used for longest
    assert not any(traces(n) for n in (1, 3, 8, 20))
    assert traces(2)


@pytest.mark.parametrize("call", [(np.zeros(4),), (np.zeros(3, np.float32),), (np.zeros(3), np.zeros(3))])
def test_other_shapes_are_refused_if_asked_for(call):
    W = tg.Tensor(np.ones(3), requires_grad=True)
    program = tg.compile(lambda x: tg.sum(W * x), np.zeros(3), wrt=W, retrace=False)
    with pytest.raises(ShapeError, match=r"compiled for \(float64 \(3,\)\), called with \(float"):
        program(*call)


def test_structures_are_told_with_their_arrays_in_them():
    program = tg.compile(lambda q: tg.sum(q["a"] * q["b"]), {"a": np.ones(2), "b": np.ones(2)}, retrace=False)
    told = [rf"\({{a: float64 \({n},\), b: float64 \({n},\)}},\)" for n in (2, 3)]
    with pytest.raises(ShapeError, match=f"compiled for {told[0]}, called with {told[1]}"):
        program({"a": np.ones(3), "b": np.ones(3)})


def test_objects_that_are_no_arrays_are_passed_on():
    W = tg.Tensor([1.0, 2.0], requires_grad=True)
    program = tg.compile(lambda x, power: tg.sum(W * x**power), np.ones(2), 2, wrt=W)
    assert program(np.array([3.0, 4.0]), 2)[1][0].tolist() == [9.0, 16.0]
    assert program(np.array([3.0, 4.0]), 3)[1][0].tolist() == [27.0, 64.0]


def test_objects_are_told_apart_by_themselves():
    class Power:
        def __init__(self, n):
            self.n = n

        def __repr__(self):
            return "Power"

    program = tg.compile(lambda x, power: tg.sum(W * x**power.n), np.full(2, 3.0), Power(1), wrt=W)
    assert [program(np.full(2, 3.0), Power(n))[0] for n in (2, 3, 1, 2)] == [27.0, 81.0, 9.0, 27.0]


def test_lists_of_numbers_are_arrays():
    program = tg.compile(lambda x: tg.sum(tg.linear(x, W)), [[1.0, 2.0], [3.0, 4.0]], wrt=W)
    assert program([[5.0, 6.0], [7.0, 8.0]])[1][0].tolist() == [12.0, 14.0]


def test_structures_keep_their_types():
    class Pair(NamedTuple):
        x: np.ndarray
        scale: float

    program = tg.compile(lambda pair: (tg.sum(W * pair.x * pair.scale), pair), Pair(np.ones(2), 2.0), wrt=W)
    loss, _, pair = program(Pair(np.array([3.0, 4.0]), 0.5))
    assert (loss, type(pair), pair.x.tolist()) == (5.5, Pair, [3.0, 4.0])


def test_a_parameter_that_changes_its_dtype_is_traced_again():
    W = tg.Tensor([1.0, 2.0], requires_grad=True)
    program = tg.compile(lambda: tg.sum(W * W), wrt=W)
    W.data = np.array([3.0, 4.0], np.float32)
    assert program()[1][0].dtype == np.float32 and program()[1][0].tolist() == [6.0, 8.0]


def test_a_parameter_that_changes_its_dtype_is_refused_if_asked_for():
    V = tg.Tensor([1.0, 2.0], requires_grad=True)
    program = tg.compile(lambda: tg.sum(V * V), wrt=V, retrace=False)
    V.data = np.array([3.0, 4.0], np.float32)
    for _ in range(2):
        with pytest.raises(ShapeError, match="or with parameters of another dtype; retrace=False forbids"):
            program()
    V.data = np.array([3.0, 4.0])
    assert program()[0] == 25.0


def test_calls_from_several_threads_wait_for_each_other():
    p = Problem(batch=2, T=30)
    program = tg.compile(p.loss, *p.inputs(0), wrt=p.parameters)
    alone = [program(*p.inputs(seed)) for seed in range(20)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda seed: program(*p.inputs(seed)), range(20)))
    for found, expected in zip(together, alone, strict=True):
        assert_same(found, expected)


def test_an_input_that_changes_between_calls_is_read_anew():
    W, x = tg.Tensor([1.0, 2.0], requires_grad=True), np.ones(2)
    program = tg.compile(lambda x: tg.sum(W * x), x, wrt=W)
    x[...] = 7.0
    assert program(x)[0] == 21.0


# Without gradients: a call returns what the function returns, with arrays in place of Tensors


def arrays(value):
    return [np.asarray(getattr(x, "data", x)) for x in flattened(value)[0]]


@pytest.mark.parametrize("net", NETS, ids=name)
def test_a_net_alone(net):
    """Its states and outputs, bit for bit or to rounding, for other inputs and parameters than those traced with."""
    p = Problem(**net)

    def states(xs):
        hs, state = p.net(xs)
        return {"y": [p.readout(h) for h in hs], "state": state}

    xs, _ = p.inputs(0)
    exact, quick = tg.compile(states, xs, optimize=False), tg.compile(states, xs)
    p.changed(1)
    xs, _ = p.inputs(1)
    expected = states(xs)
    found = quick(xs)
    assert found.keys() == expected.keys() and len(found["y"]) == len(xs)
    for a, b, c in zip(arrays(exact(xs)), arrays(found), arrays(expected), strict=True):
        assert np.array_equal(a, c)
        np.testing.assert_allclose(b, c, rtol=1e-12, atol=1e-14)


@settings(max_examples=40, deadline=None)
@given(programs(), st.integers(0, 2**16))
def test_random_graphs_without_gradients(program, seed):
    x, *others = random_inputs(seed)
    y, s = map(tg.Tensor, others)  # of which a program may make all that it returns
    compiled = tg.compile(lambda x: run(program, tg, x, y, s, np.ones(3)), x)
    for shift in (np.zeros(3), np.array([1.0, -2.0, 0.5])):
        expected = run(program, tg, tg.Tensor(x + shift), y, s, np.ones(3))
        np.testing.assert_allclose(compiled(x + shift), expected.data, rtol=1e-11, atol=1e-11)


def test_states_are_handed_on_from_call_to_call():
    """Results are the caller's own: the next call neither changes them nor is changed by them."""
    rnn, xs = tg.nn.RNN(2, 3, rng=np.random.default_rng(0)), np.random.default_rng(1).standard_normal((6, 2))
    program = tg.compile(rnn, xs[:3], [np.zeros(3)])
    hs, state = program(xs[:3], [np.zeros(3)])
    kept = [h.copy() for h in hs]
    further, _ = program(xs[3:], state)
    assert all(map(np.array_equal, hs, kept))
    np.testing.assert_allclose([*hs, *further], [h.data for h in rnn(xs)[0]], rtol=1e-12)


def test_inputs_and_one_value_twice_are_returned_as_arrays_of_their_own():
    x = np.arange(3.0)
    program = tg.compile(lambda x: (x, x.T, 2 * x, "word"), x)
    same, view, twice, word = program(x)
    assert word == "word"
    for result in (same, view):
        assert np.array_equal(result, x) and not np.may_share_memory(result, x)
    assert not np.may_share_memory(same, view) and np.array_equal(twice, 2 * x)


def test_evaluation_inside_no_grad_and_of_what_was_frozen():
    net, x = tg.nn.Linear(2, 1, rng=np.random.default_rng(0)), np.ones(2)
    with tg.no_grad():
        program = tg.compile(net, x)
        assert program(x) == net(x).data
        net.V.data = 2 * net.V.data
        assert program(x) == net(x).data
    net.V.requires_grad = False
    assert program(x) == net(x).data

    @tg.no_grad()
    def mean(x):
        return net(x).mean()

    assert tg.compile(mean, x)(x) == net(x).data.mean()


def test_what_is_written_computes_the_same():
    p = Problem("GRU", many=True)
    program = tg.compile(lambda xs: [p.readout(h) for h in p.net(xs)[0]], p.inputs(0)[0])
    xs, parameters = p.inputs(1)[0], [x.data for x in p.parameters]
    for rolled in (False, True):
        text, module = program.code(rolled=rolled), {}
        exec(text, module)
        assert "backward" not in text and "loss" not in text and ("for t in" in text) is rolled
        found = module["forward"](xs, *parameters)
        np.testing.assert_allclose(found, program(xs), rtol=1e-12)


def test_what_has_no_gradients_says_so():
    x = np.ones(2)
    with pytest.raises(ValueError, match=r"program of <lambda>: it has no gradients; compile\(..., wrt=parameters\)"):
        tg.compile(lambda x: tg.tanh(x), x).backward(x)
    with pytest.raises(TypeError, match=r"compile\(<lambda>\): it returns no Tensor, but 3"):
        tg.compile(lambda x: 3, x)


# Batches as they come: padded sequences, words, masks, weights by a comparison, a smaller last one. Where only numbers
# change from batch to batch, lengths among them, nothing is traced again: `retrace=False` would refuse.

WORDS, CLASSES, D, H = 7, 3, 4, 5


class Task:
    """A random net with a loss for batches; the seed decides on its kind, and on what else its inputs are.

    Attributes:
        loss: of `inputs(B, rng)`: words or vectors, class numbers (-1: none), lengths or None, masks of dropout.
        said: what was decided.
    """

    def __init__(self, seed, **decided):
        choose, rng = random.Random(seed), np.random.default_rng(seed)
        options = {
            "kind": ["RNN", "LSTM", "GRU"], "layers": [1, 2], "way": ["forth", "back", "both"],
            "words": [True, False], "lengths": ["input", "constant", None], "dropout": [True, False],
            "error": ["last state", "each step", "gated"],
        }  # fmt: skip
        self.said = {name: choose.choice(known) for name, known in options.items()} | decided
        self.T = choose.randint(2, 6)
        self.embedding, self.dropout = tg.nn.Embedding(WORDS, D, rng=rng), tg.nn.Dropout(0.4, rng=rng)
        kind, layers = getattr(tg.nn, self.said["kind"]), self.said["layers"]
        net, back = (kind(D, H, layers, rng=rng, reverse=reverse) for reverse in (self.said["way"] == "back", True))
        self.net = tg.nn.Bidirectional(net, back) if self.said["way"] == "both" else net
        self.readout = tg.nn.Linear(2 * H if self.said["way"] == "both" else H, CLASSES, rng=rng)
        self.wrt = [*self.net.parameters(), *self.readout.parameters()]
        self.wrt += self.embedding.parameters() if self.said["words"] else []
        self.fixed = rng.integers(1, self.T + 1, 64)

    def inputs(self, B, rng):
        T, said = self.T, self.said
        xs = rng.integers(0, WORDS, (T, B)) if said["words"] else rng.standard_normal((T, B, D))
        lengths = rng.integers(1, T + 1, B) if said["lengths"] == "input" else None
        masks = self.dropout.mask((T, B, D)) if said["dropout"] else None
        return xs, rng.integers(-1, CLASSES, (T, B)), lengths, masks

    def loss(self, xs, classes, lengths, masks):
        said, B = self.said, classes.shape[1]
        lengths = self.fixed[:B] if said["lengths"] == "constant" else lengths
        xs = self.embedding(xs) if said["words"] else xs
        hs, _ = self.net(xs if masks is None else self.dropout(xs, masks), lengths=lengths)
        z = self.readout(tg.stack(hs))
        if said["error"] == "last state":
            return tg.nn.cross_entropy(z[0 if said["way"] == "back" else -1], classes[0], "mean", ignore_index=-1)
        if said["error"] == "each step":
            return tg.nn.cross_entropy(z, classes, "mean", ignore_index=-1)
        each = tg.where(z > 0.1, z * z, tg.where((z < -0.2) | (classes == 1)[..., None], tg.abs(z), 0.5 * z))
        counts = (classes >= 0).astype(float) if lengths is None else np.arange(self.T)[:, None] < lengths
        return (each.sum(-1) * counts).sum() / B


@pytest.mark.parametrize("seed", range(16))
def test_random_nets_on_batches_of_which_the_last_is_smaller(seed):
    task, rng = Task(seed), np.random.default_rng(seed)
    quick = tg.compile(task.loss, *task.inputs(4, rng), wrt=task.wrt)
    exact = tg.compile(task.loss, *task.inputs(4, rng), wrt=task.wrt, optimize=False)
    for B in (4, 4, 3, 4):
        inputs = task.inputs(B, rng)
        expected = eager(task.loss, inputs, task.wrt)
        assert_close(quick(*inputs), expected)
        assert_same(exact(*inputs), expected)
        for p in task.wrt:
            p.data = p.numpy() + 0.1 * rng.standard_normal(p.shape)


@pytest.mark.parametrize("way", ["forth", "both"])
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_one_trace_serves_all_lengths_words_and_masks(kind, way):
    task = Task(1, kind=kind, way=way, layers=2, words=True, lengths="input", dropout=True, error="gated")
    rng = np.random.default_rng(2)
    program = tg.compile(task.loss, *task.inputs(3, rng), wrt=task.wrt, retrace=False)
    for _ in range(6):
        inputs = task.inputs(3, rng)
        assert_close(program(*inputs), eager(task.loss, inputs, task.wrt))


def test_what_is_written_reads_the_lengths_too():
    task, rng = (
        Task(0, words=False, lengths="input", dropout=False, error="each step", layers=1),
        np.random.default_rng(3),
    )
    program = tg.compile(task.loss, *task.inputs(3, rng), wrt=task.wrt)
    for rolled in (False, True):
        module = {}
        exec(program.code(rolled=rolled), module)
        for _ in range(3):
            inputs = task.inputs(3, rng)
            arrays = [x for x in inputs if x is not None]
            assert_close(module["bptt"](*arrays, *(p.data for p in task.wrt)), eager(task.loss, inputs, task.wrt))


@pytest.mark.parametrize(("lengths", "told"), [([1, 6], "1 to 5"), ([0, 2], "1 to 5"), ([1, 2, 3], "2 sequences")])
def test_lengths_that_do_not_fit_are_refused_by_a_program_too(lengths, told):
    net, xs = tg.nn.GRU(2, 3, rng=0), np.ones((5, 2, 2))
    program = tg.compile(lambda xs, lengths: net(xs, lengths=lengths)[0][-1].sum(), xs, np.array([1, 5]), wrt=net)
    with pytest.raises(ValueError, match=f"GRU.*{told}"):
        program(xs, np.array(lengths))


def test_lengths_around_the_function_are_those_of_each_call():
    """A list that the function reads from outside is looked at before each call; other lengths are another trace."""
    net, xs, lengths = tg.nn.LSTM(2, 3, rng=0), np.random.default_rng(0).standard_normal((4, 2, 2)), [2, 4]

    def loss(xs):
        return (net(xs, lengths=lengths)[0][-1] ** 2).sum()

    program = tg.compile(loss, xs, wrt=net.parameters())
    for lengths[:] in ([2, 4], [3, 1], [4, 4], [1, 1], [2, 4]):
        assert_close(program(xs), eager(loss, (xs,), net.parameters()))


def test_forecasts_of_batches_without_gradients():
    task, rng = Task(4, words=True, lengths="input", dropout=False), np.random.default_rng(4)

    def states(xs, lengths):
        return task.readout(tg.stack(task.net(task.embedding(xs), lengths=lengths)[0]))

    def batch(B):
        xs, _, lengths, _ = task.inputs(B, rng)
        return xs, lengths

    program = tg.compile(states, *batch(4))
    for B in (4, 4, 2):
        inputs = batch(B)
        np.testing.assert_allclose(program(*inputs), states(*inputs).data, rtol=1e-12, atol=1e-14)


# Passes


def test_passes_are_listed_with_their_counts_of_nodes():
    p = Problem(T=6, batch=2)
    program = tg.compile(p.loss, *p.inputs(0), wrt=p.parameters)
    listed = program.passes
    assert all(b.before == a.after for a, b in itertools.pairwise(listed))
    assert listed[-1].after < listed[0].before / 1.5
    assert tg.compile(p.loss, *p.inputs(0), wrt=p.parameters, optimize=False).passes == []


@pytest.mark.parametrize("net", OTHER_HALF, ids=name)
def test_every_pass_computes_the_same_and_can_be_drawn(net):
    p = Problem(**net, T=3)
    expected = eager(p.loss, p.inputs(0), p.parameters)
    for step in tg.compile(p.loss, *p.inputs(0), wrt=p.parameters).passes:
        loss, *gradients = step.tensors()
        assert_close((loss.item(), [g.data for g in gradients]), expected)
    assert len(tg.draw.forward(loss, level="primitives").nodes) > 5


# In a process of its own


def test_a_saved_module_needs_numpy_alone(tmp_path):
    p = Problem("GRU", layers=2, batch=2)
    program = tg.compile(p.loss, *p.inputs(0), wrt=p.parameters)
    loss, gradients = eager(p.loss, p.inputs(1), p.parameters)
    arrays = {f"a{i}": x for i, x in enumerate([*p.inputs(1), *(q.data for q in p.parameters)])}
    np.savez(tmp_path / "inputs.npz", **arrays)
    for rolled in (False, True):
        program.save(tmp_path / "module.py", rolled=rolled)
        code = (
            "import sys, numpy as np, module; a = np.load('inputs.npz'); "
            "loss, gradients = module.bptt(*[a[f'a{i}'] for i in range(len(a.files))]); "
            "assert not any('tinygrad' in m for m in sys.modules); "
            "np.savez('outputs.npz', loss=loss, **{f'g{i}': g for i, g in enumerate(gradients)})"
        )
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
        outputs = np.load(tmp_path / "outputs.npz")
        assert_same((outputs["loss"].item(), [outputs[f"g{i}"] for i in range(len(gradients))]), (loss, gradients))


def test_a_program_says_what_it_is():
    p = Problem()
    program = tg.compile(p.loss, *p.inputs(0), wrt=p.parameters)
    assert repr(program).startswith("Program(loss of (5, 2), (2,): ")
    assert len(re.findall(r"_tanh\(", program.kernel)) == 5


def test_a_node_that_is_an_input_is_told_to_lose_its_gradient():
    program = tg.compile(lambda x: tg.sum(W * x), np.ones(2), wrt=W)
    h = tg.tanh(W)
    with pytest.warns(
        UserWarning, match=r"^tanh of shape \(2,\) is an input of a program here, and its gradient is lost"
    ):
        program(h)
    program(h.detach())


def test_a_program_says_what_one_blas_thread_would_gain():
    threadpoolctl = pytest.importorskip("threadpoolctl")
    x = tg.Tensor(np.ones((3, 3)), requires_grad=True)
    program = tg.compile(lambda y: tg.sum(x @ y), np.ones((3, 3)), wrt=x)
    with threadpoolctl.threadpool_limits(2, "blas"):
        before = threadpoolctl.threadpool_info()
        assert program.gain_of_one_thread() > 0.0 and threadpoolctl.threadpool_info() == before
