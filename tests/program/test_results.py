"""Programs without gradients: a call returns what the function returns, with arrays in place of Tensors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import NETS, Problem, name
from random_graphs import inputs as random_inputs
from random_graphs import programs, run

import tinygrad_rnn as tg
from tinygrad_rnn.program.structures import flattened


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
def test_random_graphs(program, seed):
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
