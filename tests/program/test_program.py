import contextlib
import gc
import itertools
import re
import subprocess
import sys
import tracemalloc
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from operator import attrgetter, methodcaller
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
        held = weakref.ref(program), weakref.ref(program._first.kernels.kernel().run)
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


# Bad input

W = tg.Tensor([1.0, 2.0], requires_grad=True)


@pytest.mark.parametrize(
    "function, error, message",
    [
        (lambda x: W * x, ValueError, r"compile\(<lambda>\): its loss is multiply of shape \(2,\), no scalar"),
        (lambda x: 3.0, TypeError, r"compile\(<lambda>\): its loss: a scalar Tensor is needed, not a float"),
        (lambda x: None, TypeError, "not a NoneType"),
        (lambda x: tg.sum(x), ValueError, "depends on nothing that requires a gradient"),
        (lambda x: tg.sum(W * np.random.default_rng().standard_normal(2)), ValueError, "at random, .* to be an input"),
        (lambda: tg.sum(W), TypeError, "positional argument"),
        (3, TypeError, "a function of the inputs is needed, not a int"),
    ],
)
def test_functions_that_cannot_be_compiled(function, error, message):
    with pytest.raises(error, match=message):
        tg.compile(function, np.ones(2), wrt=W)


@pytest.mark.parametrize(
    "wrt, error, message",
    [
        ([], ValueError, "wrt=...): empty; pass the parameters"),
        ([np.ones(2)], TypeError, "a parameter, as of .*, is needed, not a ndarray"),
        (3, TypeError, "a list of parameters, such as .*, is needed, not an? int"),
        ([W * 2.0], ValueError, "is no leaf that requires a gradient"),
        ([tg.Tensor([1.0])], ValueError, "is no leaf that requires a gradient"),
    ],
)
def test_what_gradients_cannot_be_of(wrt, error, message):
    with pytest.raises(error, match=message.replace(")", r"\)")):
        tg.compile(lambda x: tg.sum(W * x), np.ones(2), wrt=wrt)


def test_what_is_drawn_at_random_is_told_even_where_it_does_not_change_the_loss():
    random, zeros = np.random.default_rng(0), tg.Tensor(np.zeros(2), requires_grad=True)

    def masked(x):
        return tg.sum(zeros * x * random.standard_normal(2))

    def longer(x):
        return sum(tg.sum(zeros * x) for _ in range(random.integers(1, 1000)))

    for loss in (masked, longer):
        with pytest.raises(ValueError, match="run twice on the same inputs, it does not do the same"):
            tg.compile(loss, np.ones(2), wrt=zeros)


def test_a_value_that_is_taken_behind_the_back_of_the_trace_is_told():
    state = [np.zeros(2)]

    def by_value(x):
        h = W * x
        return tg.sum(h * h.value)

    def by_memory(x):
        h = W * x + state[0]
        state[0] = h.value
        return tg.sum(h)

    for loss, node in ((by_value, "multiply"), (by_memory, "add")):
        with pytest.raises(
            ValueError, match=rf"not with the same numbers: see {node} of shape \(2,\), test_program.py line"
        ):
            tg.compile(loss, np.ones(2), wrt=W)


def test_a_function_may_look_at_what_its_tensors_are():
    def loss(x):
        h = W * x
        return tg.sum(h * h) if h.requires_grad and not h.is_leaf else tg.sum(h)

    assert tg.compile(loss, np.ones(2), wrt=W)(np.ones(2))[0] == 5.0


def test_a_print_inside_shows_the_values(capsys):
    def loss(x):
        h = W * x
        print(h)
        return tg.sum(h)

    with pytest.warns(UserWarning, match="the text of multiply"):
        tg.compile(loss, np.array([3.0, 4.0]), wrt=W)
    assert capsys.readouterr().out == 2 * "Tensor([3., 8.], primitive=multiply)\n"


def test_what_is_drawn_into_a_tensor_that_was_there_before_is_told():
    random, noise = np.random.default_rng(0), tg.Tensor(np.zeros(2))

    def loss(x):
        noise.data = random.standard_normal(2)
        return tg.sum(W * x + noise)

    with pytest.raises(ValueError, match="not with the same numbers: see add"):
        tg.compile(loss, np.ones(2), wrt=W)


def test_what_a_function_returns_besides_has_to_be_the_same_too():
    random = np.random.default_rng(0)
    with pytest.raises(ValueError, match="run twice on the same inputs, it does not do the same"):
        tg.compile(lambda x: (tg.sum(W * x), random.standard_normal()), np.ones(2), wrt=W)


@pytest.mark.parametrize("fails", [False, True])
def test_what_a_function_keeps_has_its_values_and_gradients(fails):
    kept = []

    def loss(x):
        kept.append(tg.tanh(W * x))
        if fails:
            raise RuntimeError("later")
        return tg.sum(kept[-1])

    with pytest.raises(RuntimeError, match="later") if fails else contextlib.nullcontext():
        tg.compile(loss, np.ones(2), wrt=W)
    for h in kept:
        assert h.data.tolist() == np.tanh([1.0, 2.0]).tolist()
        np.testing.assert_allclose(tg.grad(tg.sum(h), W)[0].data, 1.0 - np.tanh([1.0, 2.0]) ** 2)


def test_a_copy_has_the_values_of_each_call():
    with pytest.warns(UserWarning, match="a copy of multiply|its gradient is lost"):
        program = tg.compile(lambda x: (tg.sum(W * x), deepcopy(W * x)), np.ones(2), wrt=W)
        assert program(np.zeros(2))[2].tolist() == [0.0, 0.0]


def test_a_gradient_asked_of_what_was_detached_ends_there():
    """As in the first-order step of meta-learning: z = v - 0.1 ∂(Σ v³ x)/∂v with v held fixed, loss Σ z² x + Σ v."""
    v = tg.Tensor([1.0, 1.0], requires_grad=True)

    def loss(x):
        z = v.detach()
        z.requires_grad = True
        (g,) = tg.grad(tg.sum(z * z * z * x), z, create_graph=True)
        return tg.sum(tg.square(z - 0.1 * g) * x) + tg.sum(v)

    for optimize in (True, False):
        found, gradients = tg.compile(loss, np.zeros(2), wrt=v, optimize=optimize)(np.array([1.0, 2.0]))
        assert found == loss(tg.Tensor([1.0, 2.0])).item() and gradients[0].tolist() == [1.0, 1.0]


def test_a_number_beside_float32_is_of_that_type():
    x = np.array([0.1, 0.2, 0.3], np.float32)
    b = tg.Tensor(np.ones(3, np.float32), requires_grad=True)

    def loss(x):
        return tg.sum(tg.where(x > 0.1, x * b, 0.0))

    assert tg.compile(loss, x, wrt=b)(x)[0] == loss(tg.Tensor(x)).item()


def test_stacks_of_both_types_are_not_rounded():
    x, b = np.array([1e8 + 0.1, 1.0]), tg.Tensor(np.ones(2, np.float32), requires_grad=True)

    def loss(x):
        return tg.sum(tg.stack([tg.tanh(b), x * b]))

    assert tg.compile(loss, x, wrt=b)(x)[0] == loss(tg.Tensor(x)).item()


def test_a_function_may_look_at_its_nodes():
    W = tg.Tensor([1.0, 2.0], requires_grad=True)

    def loss(x):
        h = W * x
        first, second = h.inputs
        if first is not W or second.shape != (2,):  # an assert here would have a program look at all of pytest
            raise AssertionError
        tg.draw.forward(tg.sum(h))
        with tg.detect_anomaly():
            return tg.sum(h)

    assert tg.compile(loss, np.ones(2), wrt=W)(np.ones(2))[0] == 3.0


def test_what_was_computed_before_is_refused():
    h = tg.tanh(W)
    with pytest.raises(ValueError, match=r"tanh of shape \(2,\) was computed before, .*; compute it inside"):
        tg.compile(lambda x: tg.sum(h * x), np.ones(2), wrt=W)


def test_what_makes_no_nodes_is_refused_inside():
    inner, cell = tg.compile(lambda x: tg.sum(W * x), np.ones(2), wrt=W), tg.nn.RNNCell(2, 3, rng=0)
    rnn, readout = tg.nn.RNN(2, 3, rng=0), tg.nn.Linear(3, 1, rng=0)
    for call, message in [
        (lambda x: tg.sum(W * x) * inner(np.ones(2))[0], "a program cannot be part of a program; call the function"),
        (lambda x: tg.sum(W * tg.compile(lambda: tg.sum(W), wrt=W)()[0]), "a program cannot be part of a program"),
        (lambda x: tg.sum(W * tg.grad(tg.sum(W * x), W)[0]), r"grad\(\) without create_graph=True cannot"),
        (lambda x: tg.sum(W * x).backward(), r"backward\(\) cannot be part of a program; return the loss"),
        (lambda x: tg.sum(W) * tg.bptt.checkpoint(cell, [x, x]).sum(), r"checkpoint\(\) cannot be part of a program"),
        (
            lambda x: next(tg.bptt.truncated(rnn, readout, tg.nn.squared_error, [x], [[0.0]], 1)),
            r"truncated\(\) cannot",
        ),
    ]:
        with pytest.raises(TypeError, match=message):
            tg.compile(call, np.ones(2), wrt=W)


def test_a_line_that_reads_at_every_step_warns_once():
    def loss(x):
        total = W
        for _ in range(5):
            total = total * x
            total.numpy()
        return tg.sum(total)

    with pytest.warns(UserWarning, match=r"numpy\(\) of multiply") as caught:
        tg.compile(loss, np.ones(2), wrt=W)
    assert len(caught) == 1


def test_a_function_may_keep_a_constant():
    kept = []

    def loss(x):
        if not kept:
            kept.append(tg.Tensor([2.0, 3.0]))
        return tg.sum(W * x * kept[0])

    assert tg.compile(loss, np.ones(2), wrt=W)(np.ones(2))[1][0].tolist() == [2.0, 3.0]


def test_one_tensor_as_two_inputs_has_no_one_gradient():
    x = tg.Tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(ValueError, match="is given as two inputs"):
        tg.compile(lambda a, b: tg.sum(a * b), x, x, wrt=[x])


def test_an_object_that_changes_unnoticed_is_refused():

    with pytest.raises(TypeError, match="a set is no array, and changes unnoticed"):
        tg.compile(lambda x, options: tg.sum(W * x), np.ones(2), {1, 2}, wrt=W)


def test_flags_are_flags():
    with pytest.raises(TypeError, match=r"compile\(optimize='yes'\): True or False"):
        tg.compile(lambda: tg.sum(W), wrt=W, optimize="yes")


def test_other_shapes_are_traced_inside_no_grad_too():
    program = tg.compile(lambda x: tg.sum(W * x), np.ones(2), wrt=W)
    with tg.no_grad():
        assert program(np.ones((3, 2)))[1][0].tolist() == [3.0, 3.0]


def test_nothing_is_traced_inside_no_grad():
    with tg.no_grad(), pytest.raises(ValueError, match=r"inside no_grad\(\)"):
        tg.compile(lambda x: tg.sum(W * x), np.ones(2), wrt=W)


READINGS = {
    **{how.__name__: how for how in (bool, float, np.asarray, np.argmax, np.isfinite)},
    **{how: methodcaller(how) for how in ("item", "numpy", "tolist")},
    "data": attrgetter("data"),
    "f-string": lambda y: float(f"{y:.3f}"),
    "deepcopy": lambda y: deepcopy(y).item(),
}


@pytest.mark.parametrize("optimize", [True, False])
@pytest.mark.parametrize("of", ["input", "parameter", "other"])
@pytest.mark.parametrize("how", READINGS.values(), ids=READINGS)
def test_a_value_that_is_read_out_is_that_of_each_call(how, of, optimize):
    """Where it is another, the function is traced again; what was decided by it is decided anew."""
    p, other = tg.Tensor([1.0, 2.0], requires_grad=True), tg.Tensor([3.0, 1.0])

    def loss(x):
        read = how(tg.sum({"input": x, "parameter": p * 1.0, "other": other}[of]).detach())
        return tg.sum(p * x * (read if isinstance(read, tg.Tensor) else np.asarray(read, float)))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = tg.compile(loss, np.ones(2), wrt=p, optimize=optimize)
        for x in ([1.0, 1.0], [-1.0, 5.0], [0.5, -0.5], [1.0, 1.0]):
            assert_close(program(np.array(x)), eager(loss, (tg.Tensor(x),), [p]))
            p.data, other.data = p.data * 0.5, -other.data


def test_a_number_that_is_read_out_is_warned_of_with_its_line():
    def loss(x):
        first = tg.sum(x).item()  # the line that is named
        return tg.sum(W * x) * first

    with pytest.warns(
        UserWarning, match=r"item\(\) of sum of shape \(\) is read out.*the line that is named"
    ) as caught:
        tg.compile(loss, np.ones(2), wrt=W)
    assert {w.filename for w in caught} == {__file__}


def test_a_branch_is_taken_at_each_call_and_each_is_traced_once():
    taken = []

    def loss(x):
        taken.append(0)
        return tg.sum(W * x) if (x > 0.0).any() else tg.sum(W)

    program = tg.compile(loss, np.ones(2), wrt=W)
    for x, expected in [([-5.0, -5.0], 3.0), ([1.0, 1.0], 3.0), ([-1.0, -1.0], 3.0), ([2.0, 1.0], 4.0)]:
        assert program(np.array(x))[0] == expected
    assert len(taken) == 4  # two traces, each a run on shapes and one on values


def test_a_branch_that_may_not_be_traced_is_refused():
    program = tg.compile(lambda x: tg.sum(W * x) if x[0] > 0.0 else tg.sum(W), np.ones(2), wrt=W, retrace=False)
    with pytest.raises(ShapeError, match="a value is False that was True .* retrace=False forbids"):
        program(-np.ones(2))
    assert program(2 * np.ones(2))[0] == 6.0


def test_what_a_branch_does_is_not_done_before_it_is_decided():
    def loss(x):
        return tg.sum(W / x) if (x > 0.0).all() else tg.sum(W * x)

    program = tg.compile(loss, np.ones(2), wrt=W)
    with np.errstate(all="raise"):
        assert program(np.zeros(2))[0] == 0.0


def test_a_module_that_is_written_refuses_another_branch():
    program = tg.compile(lambda x: tg.sum(W * x) if (x > 0.0).any() else tg.sum(W), np.ones(2), wrt=W)
    for rolled, level in [(False, "named"), (True, "named"), (False, "primitives")]:
        scope = {}
        exec(program.code(rolled, level), scope)
        assert scope["bptt"](np.array([3.0, -1.0]), W.data)[0] == 1.0
        with pytest.raises(ValueError, match="a value is False that was True when the program was traced"):
            scope["bptt"](-np.ones(2), W.data)


EMBEDDING = tg.Tensor(np.arange(12.0).reshape(4, 3) / 7.0, requires_grad=True, name="E")
LOOKED_UP = {
    "E[i]": lambda E, i: E[i],
    "E[:, i]": lambda E, i: E[:, i],
    "E[i, j]": lambda E, i: E[i, i[::-1]],
    "E[i, 0]": lambda E, i: E[i, 0],
    "E[..., i, None]": lambda E, i: E[..., i, None],
    "E[i[0]]": lambda E, i: E[i[0]],
    "E[i][1]": lambda E, i: E[i][1],
    "E[i.reshape]": lambda E, i: E[i.reshape(2, 1), i],
    "E[:i[0]]": lambda E, i: E[: i[0]],
    "E[i > 1]": lambda E, i: E[:2][i > 1],
    "take": lambda E, i: tg.take(E, i, axis=0),
    "take, last axis": lambda E, i: np.take(E, i, axis=-1),
    "take, flat": lambda E, i: tg.take(E, i),
    "method": lambda E, i: E.take(i, 1),
    "argmax": lambda E, i: E[np.argmax(i)] * E[i.argmin()],
    "argsort": lambda E, i: E[np.argsort(i)[0]],
    "of a list": lambda E, i: [E * 2.0, E * 3.0, E * 4.0][int(i[0].item())],
    "of an array": lambda E, i: E * np.array([1.0, 2.0, 3.0])[i.numpy()][0],
}


@pytest.mark.parametrize("optimize", [True, False])
@pytest.mark.parametrize("look_up", LOOKED_UP.values(), ids=LOOKED_UP)
def test_an_index_that_is_an_input_is_read_at_each_call(look_up, optimize):
    def loss(i):
        return tg.sum(tg.square(look_up(EMBEDDING, i)))

    program = tg.compile(loss, np.array([0, 1]), wrt=EMBEDDING, optimize=optimize)
    for i in ([2, 2], [0, 1], [2, 0], [1, 2]):
        assert_close(program(np.array(i)), eager(loss, (tg.Tensor(i),), [EMBEDDING]))


def test_an_index_out_of_range_is_refused_as_it_is_elsewhere():
    for loss in (lambda i: tg.sum(EMBEDDING[i]), lambda i: tg.nn.cross_entropy(EMBEDDING[:2], i)):
        program = tg.compile(loss, np.array([0, 1]), wrt=EMBEDDING)
        for i in ([0, 7], [0, -9]):
            with pytest.raises((IndexError, ValueError), match="shape"):
                program(np.array(i))


def test_an_embedding_is_one_look_up_for_all_steps():
    net, readout = tg.nn.RNN(3, 4, rng=0), tg.nn.Linear(4, 2, rng=0)
    wrt = [EMBEDDING, *net.parameters(), *readout.parameters()]

    def loss(tokens, Y):
        return tg.nn.half_squared_error(readout(net([EMBEDDING[i] for i in tokens])[0][-1]), Y)

    rng = np.random.default_rng(0)
    for shape in ((6,), (6, 2)):
        Y = rng.standard_normal((*shape[1:], 2))
        program = tg.compile(loss, np.zeros(shape, int), Y, wrt=wrt)
        for _ in range(3):
            tokens = rng.integers(0, 4, shape)
            assert_close(program(tokens, Y), eager(loss, (tg.Tensor(tokens), Y), wrt))
        assert program.kernel.count("_getitem(") == 1


MASKS = {
    "methods": lambda m: m.any() + m.all() * 2 + m.sum() + m.mean() + m.astype(int).sum() + m.astype(float).max(),
    "over an axis": lambda m: (m.any(axis=0) + m.all(axis=-1) + m.sum(axis=0)).sum(),
    "operators": lambda m: (~m & True | m ^ (m == m)).sum() + (True & m).sum() + (False | m).sum() + (True ^ m).sum(),
    "functions": lambda m: np.any(m) + np.all(m) + np.sum(m) + np.count_nonzero(m) + np.logical_and.reduce(m.ravel()),
    "len, items": lambda m: len(m) + sum(1.0 for row in m if row.any()) + float(m[0, 1]) + bool(m[1, 0]),
    "what arrays have": lambda m: len(m.nonzero()[0]) + m.nbytes + m.cumsum()[-1] + m.tolist()[0][0] + m.T.copy().size,
    "numbers": lambda m: (m * 2.0 - 1.0).sum() + (m + m).sum() + np.where(m, 1.0, 3.0).sum() + np.flatnonzero(m).size,
    "choices": lambda m: m.argmax() + np.argmin(m) + np.argsort(m, axis=1)[0, 0] + m.max() + np.isnan(m * 1.0).any(),
}


@pytest.mark.parametrize("use", MASKS.values(), ids=MASKS)
def test_what_a_comparison_offers_is_the_same_in_a_program(use):
    def loss(x):
        used = use(x > 0.0)
        return tg.sum(W * x) * (used if isinstance(used, tg.Tensor) else float(used))

    program = tg.compile(loss, np.ones((2, 2)), wrt=W)
    for x in ([[1.0, 1.0], [1.0, 1.0]], [[-1.0, 2.0], [0.5, -3.0]], [[-1.0, -1.0], [-1.0, -2.0]]):
        assert_close(program(np.array(x)), eager(loss, (tg.Tensor(x),), [W]))


def test_gradients_may_be_taken_inside():
    """Of the loss |∇ Σ W² x|²."""

    def loss(x):
        (g,) = tg.grad(tg.sum(W * W * x), W, create_graph=True)
        return tg.sum(g * g)

    program = tg.compile(loss, np.ones(2), wrt=W)
    x = np.array([1.0, 3.0])
    assert_close(program(x), eager(loss, (x,), [W]))


def test_what_depends_on_no_input_may_be_read_out():
    def loss(x):
        return tg.sum(W * x) if tg.Tensor(1.0) > 0.5 else tg.sum(W)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tg.compile(loss, np.ones(2), wrt=W)


def test_a_state_that_does_not_fit_is_told_by_the_net():
    p = Problem()
    program = tg.compile(p.loss, *p.inputs(0), wrt=p.parameters)
    with pytest.raises(ShapeError, match="x has shape"):
        program(np.zeros((5, 7)), np.zeros(2))
    assert_close(program(*p.inputs(0)), eager(p.loss, p.inputs(0), p.parameters))


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
