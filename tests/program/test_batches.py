"""Batches as they come: padded sequences of other lengths, words, masks, weights by a comparison, a smaller last one.

Every program is compared with the engine on several batches, of which the last is smaller. Where only numbers change
from batch to batch, lengths among them, nothing is traced again: `retrace=False` would refuse.
"""

import random

import numpy as np
import pytest
from programs import assert_close, assert_same, eager

import tinygrad_rnn as tg

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
