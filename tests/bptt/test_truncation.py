import gc
import weakref

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import bptt
from tinygrad_rnn.nn import squared_error

T, D, H = 12, 2, 3


def make(kind=tg.nn.RNN, num_layers=1, batch=()):
    rng = np.random.default_rng(0)
    rnn, readout = kind(D, H, num_layers, rng=rng), tg.nn.Linear(H, 1, rng=rng)
    return rnn, readout, rng.standard_normal((T, *batch, D)), rng.standard_normal((T, *batch, 1))


def gradients(rnn, readout):
    return [p.grad for p in (*rnn.parameters(), *readout.parameters())]


@pytest.mark.parametrize("batch", [(), (4,)])
@pytest.mark.parametrize("kind", [tg.nn.RNN, tg.nn.LSTM, tg.nn.GRU])
def test_one_chunk_is_the_whole(kind, batch):
    rnn, readout, xs, targets = make(kind, 2, batch)
    (loss,) = bptt.truncated(rnn, readout, squared_error, xs, targets, length=T)
    found = gradients(rnn, readout)
    hs, _ = rnn(xs)
    whole = sum(squared_error(readout(h), y) for h, y in zip(hs, targets, strict=True))
    assert loss == pytest.approx(whole.item(), rel=1e-14)
    for g, expected in zip(found, tg.grad(whole, [*rnn.parameters(), *readout.parameters()]), strict=True):
        np.testing.assert_allclose(g, expected.data, atol=1e-13)


@pytest.mark.parametrize("length", [1, 3, 5])
def test_chunks_are_calls_of_the_net_with_the_state_carried_and_detached(length):
    rnn, readout, xs, targets = make(num_layers=2)
    losses = list(bptt.truncated(rnn, readout, squared_error, xs, targets, length))
    found, state, expected = gradients(rnn, readout), None, []
    rnn.zero_grad(), readout.zero_grad()
    for start in range(0, T, length):
        hs, state = rnn(xs[start : start + length], state)
        loss = sum(squared_error(readout(h), y) for h, y in zip(hs, targets[start : start + length], strict=True))
        loss.backward()
        expected.append(loss.item())
        state = [h.detach() for h in state]
    np.testing.assert_allclose(losses, expected, rtol=1e-14)
    for g, h in zip(found, gradients(rnn, readout), strict=True):
        np.testing.assert_allclose(g, h, atol=1e-14)


@pytest.mark.parametrize("length, back", [(1, 1), (1, 4), (3, 3), (3, 5), (4, 12)])
def test_the_truncated_gradient_is_the_sum_of_exactly_the_kept_terms(length, back):
    """Of each chunk's loss, the contributions of the last `back` steps before the chunk's end, and no others."""
    rnn, readout, xs, targets = make()
    for _ in bptt.truncated(rnn, readout, squared_error, xs, targets, length, back=back):
        pass
    hs, _ = rnn(xs)
    losses = [squared_error(readout(h), y) for h, y in zip(hs, targets, strict=True)]
    for p in rnn.parameters():
        kept = np.zeros_like(p.data)
        for end in range(length, T + 1, length):
            terms = bptt.contributions(sum(losses[end - length : end]), p)
            kept += terms[max(end - back, 0) : end].sum(axis=0)
        np.testing.assert_allclose(p.grad, kept, atol=1e-13)
    lost = tg.grad(sum(losses), rnn.cells[0].U)[0].data - rnn.cells[0].U.grad
    assert np.any(np.abs(lost) > 1e-6) == (back < T)


def test_the_past_is_freed():
    rnn, readout, xs, targets = make()
    seen, made = [], rnn.cells[0].step

    def step(*arguments):
        h = made(*arguments)
        seen.append(weakref.ref(h.inputs[0]))
        return h

    rnn.cells[0].step = step
    gc.disable()
    try:
        for n, _ in enumerate(bptt.truncated(rnn, readout, squared_error, xs, targets, length=2, back=4), 1):
            assert len(seen) == 2 * n  # each step runs once
            assert sum(reference() is not None for reference in seen) <= 4
    finally:
        gc.enable()


def test_parameters_may_change_between_chunks():
    rnn, readout, xs, targets = make()
    optimizer = tg.optim.SGD([*rnn.parameters(), *readout.parameters()], lr=0.01)
    first = None
    for _ in range(20):
        total = 0.0
        for loss in bptt.truncated(rnn, readout, squared_error, xs, targets, length=3, back=5):
            optimizer.step()
            optimizer.zero_grad()
            total += loss
        first = first or total
    assert total < 0.9 * first


@pytest.mark.parametrize("length, back, message", [
    (0, None, r"length=0\): between 1 and the number of steps, 12"), (13, None, "length=13"), (3, 2, "back=2.*least"),
])  # fmt: skip
def test_lengths_are_checked(length, back, message):
    with pytest.raises(ValueError, match=message):
        next(bptt.truncated(*make()[:2], squared_error, *make()[2:], length, back=back))


def test_there_is_a_target_for_every_step():
    rnn, readout, xs, targets = make()
    with pytest.raises(ValueError, match="11 targets for 12 steps"):
        next(bptt.truncated(rnn, readout, squared_error, xs, targets[1:], 3))
