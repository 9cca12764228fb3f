"""Arrays that are shared: in every case here, a value could be written where another is still needed."""

import itertools

import numpy as np
import pytest
from programs import assert_close, eager

import tinygrad_rnn as tg
from tinygrad_rnn.checking import samples
from tinygrad_rnn.primitives import TABLE
from tinygrad_rnn.tensor import record

rng = np.random.default_rng(0)
A = tg.Tensor(rng.standard_normal((3, 2)), requires_grad=True)
B = tg.Tensor(rng.standard_normal((2, 2)), requires_grad=True)
one, row = (tg.Tensor(rng.standard_normal(shape), requires_grad=True) for shape in [(1, 1), (3,)])


def states(xs, pad=0.0):
    """h(0), ..., h(4) of a net without bias, with names and steps."""
    hs = [tg.Tensor(np.full(2, pad), name="h")]
    for t in range(4):
        hs.append(tg.label(tg.tanh(tg.linear(B, hs[-1]) + tg.linear(A, np.ones(2))[:2] + xs[t]), "h", step=t + 1))
    return hs


STACKS = {
    "stacks of stacks": lambda xs: tg.sum(tg.stack([tg.stack([A[0], A[1]]), tg.stack([A[2], A[0]])]) * xs[:2, None]),
    "one value in two places": lambda xs: tg.sum(tg.stack([A[0] * xs[0], A[0] * xs[0], A[1]]) ** 3),
    "another end": lambda xs: (
        tg.sum((tg.stack([*states(xs)[1:], xs[0]]) - tg.stack([*states(xs)[:-1], xs[1]])) ** 2)
        + tg.sum(tg.stack([*states(xs)[1:], xs[2]]) * 2.0)
    ),
    "first with second, first with last": lambda xs: (
        lambda h: tg.sum(tg.stack([h[1], h[4]]) ** 2) + tg.sum(tg.stack([h[1], h[2]]) ** 3)
    )(states(xs)),
    "neighbours": lambda xs: (lambda h: sum(tg.sum(a * b) for a, b in itertools.pairwise(h)))(states(xs)),
    "forward and backward": lambda xs: (lambda h: tg.sum(tg.stack(h) * tg.stack(h[::-1])))(states(xs)),
    "other values at the same place": lambda xs: (lambda a: tg.sum(tg.stack([xs[0], a]) * tg.stack([xs[1], a])))(
        A[0] * xs[2]
    ),
    "a stack with an output": lambda xs: (lambda h: tg.sum(tg.stack(h)) + tg.sum(h[-1]))(states(xs)),
}


@pytest.mark.parametrize("loss", STACKS.values(), ids=list(STACKS))
def test_stacks(loss):
    program = tg.compile(loss, np.ones((4, 2)), wrt=[A, B])
    for seed in (1, 2):
        xs = np.random.default_rng(seed).standard_normal((4, 2))
        assert_close(program(xs), eager(loss, (tg.Tensor(xs),), [A, B]))


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("lengths", [(4, 4), (4, 6)])
def test_two_nets_of_one_kind(kind, lengths):
    """They have the same names at the same steps: an encoder and a decoder, or the two ways of a bidirectional net."""
    one, other = (getattr(tg.nn, kind)(2, 3, rng=seed) for seed in (0, 1))
    wrt = [*one.parameters(), *other.parameters()]

    def loss(xs, ys):
        first, second = one(xs)[0], other(ys)[0][::-1]
        return tg.sum(first[-1] * second[0]) + sum(tg.sum(a * b) for a, b in zip(first, second, strict=False))

    xs, ys = (rng.standard_normal((T, 2)) for T in lengths)
    program = tg.compile(loss, np.zeros_like(xs), np.zeros_like(ys), wrt=wrt)
    assert_close(program(xs, ys), eager(loss, (xs, ys), wrt))


VIEWS = {
    "rows of every other column": lambda x: (
        tg.sum(tg.linear(B, tg.tanh(tg.stack([A] * 2) * x)[:, :, ::1]) ** 2)
        + tg.sum(tg.linear(B.T, tg.tanh(tg.concatenate([A, A], axis=1) * x[0, 0])[:, ::2]) ** 2)
    ),
    "turned twice": lambda x: tg.sum(np.transpose(np.transpose(x, (1, 0)), (1, 0)) * A) * 2.0,
    "turned, and taken twice": lambda x: (lambda m: tg.sum(tg.linear(m, m) ** 2 + tg.linear(m[::-1], m)))((A * x).T),
    "turned by axes": lambda x: tg.sum(np.swapaxes(tg.stack([A * x, A]), 0, 2)[1] ** 2),
    "reshaped": lambda x: tg.sum(np.reshape((A * x).T, (6,))[1:5] ** 2),
    "numpy's integers": lambda x: tg.sum((A * x)[: np.int64(2), np.int64(1)] ** 3),
    "True is no index of 1": lambda x: tg.sum(x[1] * A[1]) + tg.sum(x[True] * A[True]) + tg.sum(A[0] * x[0]),
    "a result that keeps its axes": lambda x: tg.sum(one * tg.sin(row)) + tg.sum(x),
    "a mask of numbers": lambda x: tg.sum(tg.where(x, A, 2.0 * A)),
    "tests": lambda x: tg.sum(tg.where((x > -1.0) & ~(x > 1.0) | (x > 2.0), A, A * A)),
}


@pytest.mark.parametrize("loss", VIEWS.values(), ids=list(VIEWS))
def test_views(loss):
    wrt = [A, B, one, row]
    program = tg.compile(loss, np.ones((3, 2)), wrt=wrt)
    for x in (rng.standard_normal((3, 2)), np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 3.0]])):
        assert_close(program(x), eager(loss, (tg.Tensor(x),), wrt))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", sorted(TABLE))
def test_every_row_of_the_table(name, dtype):
    """Value and gradients, written into arrays that are there already."""
    primitive = TABLE[name]
    for inputs, static in samples(primitive):
        arrays = [x if x.dtype == bool else x.astype(dtype) for x in inputs]
        leaves = [tg.Tensor(x, requires_grad=x.dtype != bool) for x in arrays]
        wrt = [x for x in leaves if x.requires_grad]

        def loss(g):
            y = record(primitive, (*leaves, *[]), *static)  # noqa: B023 - it is called in this turn
            return tg.sum(y * y * g)

        program = tg.compile(loss, dtype(1.0), wrt=wrt)
        for g in (dtype(0.5), dtype(2.0)):
            found, expected = program(g), eager(loss, (tg.Tensor(g),), wrt)
            assert_close(found, expected, 1e-12 if dtype is np.float64 else 1e-5)
            assert [x.dtype for x in found[1]] == [x.dtype for x in expected[1]]
