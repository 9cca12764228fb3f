"""One program for every length: it computes what the function does, whatever that does at some lengths or steps."""

import io
import itertools
import tracemalloc

import numpy as np
import pytest
from programs import HALF, Problem, assert_close, eager, name

import tinygrad_rnn as tg

rng = np.random.default_rng(0)
net, readout = tg.nn.RNN(2, 3, rng=rng), tg.nn.Linear(3, 2, rng=rng)
both = tg.nn.Bidirectional(tg.nn.GRU(2, 3, rng=rng, name="f"), tg.nn.RNN(2, 3, rng=rng, reverse=True, name="b"))
square = tg.nn.RNN(20, 20, rng=rng)
WRT = [*net.parameters(), *readout.parameters()]


def inputs(T, batch=4):
    return rng.standard_normal((T, batch, 2)), rng.standard_normal((batch, 2))


def has_loops(program):
    return "for " in program.kernel


def last(hs, Y):
    return tg.nn.half_squared_error(readout(hs[-1]), Y)


def each(weight):
    """The sum of |h|² over the steps, each with a weight that t and T decide on."""
    return lambda xs, Y: (
        (lambda hs: sum(weight(t, len(hs)) * tg.sum(h * h) for t, h in enumerate(hs, 1)))(net(xs)[0]) + 0.0 * tg.sum(Y)
    )


@pytest.mark.parametrize("net", HALF, ids=name)
def test_nets(net):
    p = Problem(**net, T=17)
    program = tg.compile(p.loss, *p.inputs(0), wrt=p.parameters)
    assert has_loops(program)
    for T in (17, 20, 6):
        given = Problem(**net, T=T).inputs(1)
        p.changed(T)
        assert_close(program(*given), eager(p.loss, given, p.parameters), 1e-11)


def steps(choose=lambda state, t: state, add=lambda h, t: 0.0):
    """A net step by step, whose state may be changed and added to the loss on the way."""

    def loss(xs, Y):
        state, total = None, 0.0
        for t, x in enumerate(xs, 1):
            state = choose(net([x], state)[1], t)
            total = total + add(state[0], t)
        return total + last([state[0]], Y)

    return loss


def cut(state):
    return [h.detach() for h in state]


ALIKE = {
    "last": lambda xs, Y: last(net(xs)[0], Y),
    "mean": lambda xs, Y: each(lambda t, T: 1.0)(xs, Y) / len(xs),
    "stack": lambda xs, Y: tg.nn.squared_error(tg.stack(net(xs)[0]), np.ones(3) * xs[..., :1], reduction="mean"),
    "weights of a whole": lambda xs, Y: tg.sum(tg.stack(net(xs)[0]) * (0.9 ** np.arange(len(xs)))[:, None, None]),
    "attention at the end": lambda xs, Y: (
        lambda hs: last([tg.sum(tg.softmax(tg.sum(hs * hs[-1], axis=2), axis=0)[..., None] * hs, axis=0)], Y)
    )(tg.stack(net(xs)[0])),
    "the largest": lambda xs, Y: last([tg.max(tg.stack(net(xs)[0]), axis=0)], Y),
    "bidirectional": lambda xs, Y: sum(tg.sum(h * h) for h in both(xs)[0]) + tg.sum(net(xs)[0][-1]),
    "shifted": lambda xs, Y: sum(tg.sum((h[:, :2] - x) ** 2) for h, x in zip(net(xs[:-1])[0], xs[1:], strict=True)),
    "cut at each step": steps(lambda state, t: cut(state)),
    "the third step is another": steps(add=lambda h, t: tg.sum(h) if t == 3 else 0.0),
    "the last three steps": each(lambda t, T: 3.0 if t > T - 3 else 1.0),
    "a branch that all steps take": steps(add=lambda h, t: tg.sum(h) if (h[0, 0] > -2.0) else 0.0),
}
OTHER_LENGTHS = {
    "a branch at step 20": steps(add=lambda h, t: tg.sum(h) if t == 20 else 0.0),
    "a branch at step 27": steps(add=lambda h, t: tg.sum(h) if t == 27 else 0.0),
    "cut at step 20": steps(lambda state, t: cut(state) if t == 20 else state),
    "step 20 at most": lambda xs, Y: last(net(xs)[0][:20], Y),
    "another factor from 20 steps on": lambda xs, Y: last(net(xs)[0], Y) * (2.0 if len(xs) > 20 else 1.0),
    "another state at one length": lambda xs, Y: last(net(xs)[0][: -1 if len(xs) == 27 else None], Y),
    "another net at one length": lambda xs, Y: last((both.forth if len(xs) == 27 else net)(xs)[0], Y),
    "a hook at one length": lambda xs, Y: (
        lambda hs: (hs[2].register_hook(np.tanh) if len(xs) == 27 else None, last(hs, Y))[1]
    )(net(xs)[0]),
}
UNLIKE = {
    "a branch at step 7": steps(add=lambda h, t: tg.sum(h) if t == 7 else 0.0),
    "a weight of each step": each(lambda t, T: 0.9**t),
    "every third step": steps(add=lambda h, t: tg.sum(h) if t % 3 == 0 else 0.0),
    "cut at every fifth step": steps(lambda state, t: cut(state) if t % 5 == 0 else state),
    "steps from both ends": lambda xs, Y: (lambda hs: sum(tg.sum(a * b) for a, b in zip(hs, hs[::-1], strict=True)))(
        net(xs)[0]
    ),
    "all steps before": lambda xs, Y: sum(tg.sum(tg.stack(net(xs[:8])[0][: t + 1])) * tg.sum(xs[t]) for t in range(8)),
}


@pytest.mark.parametrize(
    "loss, is_alike",
    [*((x, True) for x in (ALIKE | OTHER_LENGTHS).values()), *((x, False) for x in UNLIKE.values())],
    ids=[*ALIKE, *OTHER_LENGTHS, *UNLIKE],
)
def test_functions(loss, is_alike):
    wrt = [*WRT, *both.forth.parameters()]
    program = tg.compile(loss, *inputs(17), wrt=wrt)
    assert has_loops(program) == is_alike
    for T in (17, 27, 22, 9) if is_alike else (17, 9):
        given = inputs(T)
        assert_close(program(*given), eager(loss, tuple(map(tg.Tensor, given)), wrt), 1e-11)


@pytest.mark.parametrize("T, B", [(20, 20), (20, 5), (5, 20), (21, 20)])
def test_lengths_that_are_those_of_other_axes(T, B):
    """An input is no sequence for being as long as the batch, or a vector for being as long as the sequence."""

    def loss(xs, Y, h):
        return tg.nn.squared_error(square(xs, [h])[0][-1], Y)

    wrt, program = square.parameters(), None
    for t, b in [(T, B), (T + 1, B), (T, B + 1), (T, B)]:
        given = [rng.standard_normal(shape) for shape in ((t, b, 20), (b, 20), (b, 20))]
        program = program or tg.compile(loss, *given, wrt=wrt)
        assert_close(program(*given), eager(loss, tuple(map(tg.Tensor, given)), wrt), 1e-11)
    given = [rng.standard_normal(shape) for shape in ((T, 20), 20, 20)]
    assert_close(program(*given), eager(loss, tuple(map(tg.Tensor, given)), wrt), 1e-11)


def test_two_sequences():
    """Of one length or of two; an encoder and a decoder, of whose inputs the gradients are wanted too."""

    def loss(xs, ys):
        state = net(xs)[1]
        return sum(tg.sum((h[:, :2] - y) ** 2) for h, y in zip(both.forth(ys[:-1], state)[0], ys[1:], strict=True))

    examples = [tg.Tensor(inputs(17)[0], requires_grad=True) for _ in range(2)]
    program = tg.compile(loss, *examples, wrt=[*net.parameters(), *both.forth.parameters(), *examples])
    for S, T in [(17, 17), (20, 20), (9, 20)]:
        given = [tg.Tensor(inputs(n)[0], requires_grad=True) for n in (S, T)]
        assert_close(
            program(*given), eager(loss, tuple(given), [*net.parameters(), *both.forth.parameters(), *given]), 1e-11
        )


def test_what_a_value_decides_at_one_step_is_seen():
    loss = steps(add=lambda h, t: tg.sum(h) if (h[0, 0] > -2.0).item() else 0.0)
    shifted = steps(add=lambda h, t: tg.sum(h) if (h[0, 0] > 0.0).item() else 0.0)
    for function in (loss, shifted):
        xs, Y = inputs(20)
        program = tg.compile(function, np.ones_like(xs), Y, wrt=WRT)
        for given in (xs, np.ones_like(xs), -xs):
            assert_close(program(given, Y), eager(function, (tg.Tensor(given), Y), WRT), 1e-11)


def test_without_gradients():
    program = tg.compile(lambda xs: net(xs), inputs(20)[0])
    assert has_loops(program)
    for T in (20, 31, 7):
        xs, _ = inputs(T)
        (hs, [h]), (found, [h_found]) = net(xs), program(xs)
        assert len(found) == T
        for x, y in zip([*found, h_found], [*hs, h], strict=True):
            np.testing.assert_allclose(x, y.data, rtol=1e-12)


def test_results_and_memory_of_several_lengths():
    """They work in one memory: results are the caller's own, and without copies the next call's."""
    for copy in (True, False):
        program, given = tg.compile(ALIKE["last"], *inputs(20), wrt=WRT, copy=copy), [inputs(T) for T in (30, 20, 50)]
        found = [(loss, [g.copy() for g in gradients]) for loss, gradients in itertools.starmap(program, given)]
        held = [program(*x) for x in given] if copy else found
        for results in (found, held):
            for x, result in zip(given, results, strict=True):
                assert_close(result, eager(ALIKE["last"], tuple(map(tg.Tensor, x)), WRT), 1e-11)


def test_lengths_of_one_program_are_one_trace():
    """A first result runs the function twice and on three short sequences, a further length twice; and none is
    forgotten."""
    runs = set()

    def loss(xs, Y):
        runs.add((len(runs), len(xs)))
        return last(net(xs)[0], Y)

    program, counts = tg.compile(loss, *inputs(40), wrt=WRT, keep=1), []
    for T in (40, 50, 40, 9, 100, 50, 9):
        program(*inputs(T))
        counts.append(sum(steps for _, steps in runs))
    assert counts == [107, 207, 207, 225, 425, 425, 425]


def test_a_short_sequence_is_traced_wholly():
    """Once there are two lengths, all are of one program."""
    program = tg.compile(ALIKE["last"], *inputs(10), wrt=WRT, keep=2)
    assert not has_loops(program)
    for T in (*range(9, 16), 100, 9):
        given = inputs(T)
        assert_close(program(*given), eager(ALIKE["last"], tuple(map(tg.Tensor, given)), WRT), 1e-11)


def test_forgetting_a_trace_is_told_once():
    program = tg.compile(lambda x: tg.sum(x), np.ones(1), keep=2)
    program(np.ones(2))
    with pytest.warns(UserWarning, match=r"the 2 traces .* compile\(..., keep=...\) keeps more") as told:
        for n in (3, 4, 5):
            program(np.ones(n))
    assert len(told) == 1 and told[0].filename == __file__
    with pytest.raises(ValueError, match=r"compile\(keep=0\)"):
        tg.compile(lambda x: tg.sum(x), np.ones(1), keep=0)


def test_a_first_result_needs_little_more_memory_than_an_eager_step():
    """Less than four times its, at the peak."""
    p = Problem("GRU", batch=4, T=200, H=16)
    given, peaks = p.inputs(0), []
    tg.compile(p.loss, *Problem("GRU", batch=4, T=17, H=16).inputs(0), wrt=p.parameters)  # modules are read
    for run in (lambda: p.loss(*given).backward(), lambda: tg.compile(p.loss, *given, wrt=p.parameters)(*given)):
        tracemalloc.start()
        run()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 4 * peaks[0]


def test_what_takes_long_tells_what_it_has_done(monkeypatch):
    """On a terminal."""

    class Terminal(io.StringIO):
        def isatty(self):
            return is_terminal

    monkeypatch.setattr("tinygrad_rnn.program.program._LONG", 0.0)
    for is_terminal in (True, False):
        monkeypatch.setattr("sys.stderr", terminal := Terminal())
        tg.compile(ALIKE["last"], *inputs(5), wrt=WRT)
        assert ("compile(<lambda>): Pass(constants: " in terminal.getvalue()) == is_terminal


def test_passes_and_source_are_of_the_whole_example():
    program = tg.compile(ALIKE["last"], *(given := inputs(20)), wrt=WRT)
    assert has_loops(program) and "for every length" in repr(program) and len(program.passes) == 7
    space = {}
    exec(program.source, space)
    names = [x for x in space["bptt"].__code__.co_varnames if x in {str(p.name) for p in WRT}]
    loss, gradients = space["bptt"](*given, *(p.data for n in names for p in WRT if str(p.name) == n))
    assert_close((loss, gradients), program(*given))
    tensors = program.passes[-1].tensors()
    assert_close((tensors[0].item(), [x.data for x in tensors[1:]]), program(*given))


def test_what_is_frozen_stays_frozen_when_another_length_or_the_source_is_traced():
    rnn = tg.nn.RNN(2, 3, rng=0)
    program = tg.compile(lambda xs: rnn(xs)[0][-1].sum(), np.ones((20, 2)), wrt=rnn)
    U = rnn.cells[0].U
    U.requires_grad = False
    program(np.ones((21, 2)))
    program.backward(np.ones((22, 2)))
    assert program.source
    assert not U.requires_grad
    assert U.grad is None
    assert rnn.cells[0].W.grad is not None


def test_a_source_is_that_of_what_was_compiled_or_refused():
    rnn, scale, xs = tg.nn.RNN(2, 3, rng=0), [2.5], np.ones((20, 2))

    def function(xs):
        sign = 1.0 if (xs > 0).all() else -1.5
        return (rnn(xs)[0][-1] * scale[0] * sign).sum()

    program, other = (tg.compile(function, xs, wrt=rnn) for _ in range(2))
    xs[:] = -1.0  # the program's example is its own
    assert "1.5" not in program.source
    scale[0] = 5.0
    assert "2.5" in program.source  # which was traced before
    with pytest.raises(ValueError, match="program of function: something has changed around it"):
        _ = other.source


def test_a_source_in_which_a_parameter_would_decide_otherwise_is_refused():
    rnn, gate = tg.nn.RNN(2, 3, rng=0), tg.Tensor(1.0)

    def function(xs):
        h = rnn(xs)[0][-1]
        return tg.sum(h) if gate > 0 else tg.sum(h * 7.0)

    program = tg.compile(function, np.ones((20, 2)), wrt=rnn)
    gate.data = -1.0
    with pytest.raises(ValueError, match="program of function: something has changed around it"):
        _ = program.source
    gate.data = 2.0
    assert "7.0" not in program.source
