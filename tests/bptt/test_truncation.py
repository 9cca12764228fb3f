import gc
import weakref

import numpy as np
import pytest
from nets import KINDS, H, losses, make

import tinygrad_rnn as tg
from tinygrad_rnn import bptt
from tinygrad_rnn.nn.layers import squared_error

T = 12


def gradients(rnn, readout):
    return [p.grad for p in (*rnn.parameters(), *readout.parameters())]


def parts(state):
    return [part.data for layer in state for part in (layer if isinstance(layer, tuple) else (layer,))]


def assert_equal(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-13)


@pytest.mark.parametrize("batch", [(), (4,)])
@pytest.mark.parametrize("kind", KINDS)
def test_one_chunk_is_the_whole(kind, batch):
    rnn, readout, xs, targets = make(kind, 2, batch, T)
    (loss,) = bptt.truncated(rnn, readout, squared_error, xs, targets, length=T)
    found = gradients(rnn, readout)
    whole = sum(losses(readout, rnn(xs)[0], targets))
    assert loss == pytest.approx(whole.item(), rel=1e-14)
    assert_equal(found, [g.data for g in tg.grad(whole, [*rnn.parameters(), *readout.parameters()])])


@pytest.mark.parametrize("length", [1, 3, 5])
def test_chunks_are_calls_of_the_net_with_the_state_carried_and_detached(length):
    rnn, readout, xs, targets = make(num_layers=2, steps=T)
    found_losses = list(bptt.truncated(rnn, readout, squared_error, xs, targets, length))
    found, state, expected = gradients(rnn, readout), None, []
    rnn.zero_grad(), readout.zero_grad()
    for start in range(0, T, length):
        hs, state = rnn(xs[start : start + length], state)
        loss = sum(losses(readout, hs, targets[start : start + length]))
        loss.backward()
        expected.append(loss.item())
        state = [h.detach() for h in state]
    np.testing.assert_allclose(found_losses, expected, rtol=1e-14)
    assert_equal(found, gradients(rnn, readout))


@pytest.mark.parametrize("batch", [(), (4,)])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("length", [1, 5, 12])
def test_chunks_are_the_closed_form_of_each_after_the_last_state_of_the_one_before(length, num_layers, batch):
    """The truncated gradient without any graph: no term crosses from one chunk into another."""
    rnn, readout, xs, targets = make("RNN", num_layers, batch, T)
    found_losses = list(bptt.truncated(rnn, readout, squared_error, xs, targets, length))
    layers = [tuple(p.data for p in cell.parameters()) for cell in rnn.cells]
    h0s, chunks = None, []
    for start in range(0, T, length):
        part = slice(start, start + length)
        chunks.append(
            bptt.closed_form_stacked_gradients(
                layers, readout.V.data, readout.c.data, xs[part], targets[part],
                loss="squared_error", h0s=h0s, many_to_many=True,
            )
        )  # fmt: skip
        h0s = [layer.hs[-1] for layer in chunks[-1]]
    np.testing.assert_allclose(found_losses, [chunk[-1].loss for chunk in chunks], rtol=1e-13)
    expected = [sum(getattr(chunk[i], n) for chunk in chunks) for i in range(num_layers) for n in "WUb"]
    assert_equal(gradients(rnn, readout), expected + [sum(getattr(chunk[-1], n) for chunk in chunks) for n in "Vc"])


@pytest.mark.parametrize("length, back", [(1, 1), (1, 4), (3, 3), (3, 5), (4, 12)])
def test_the_truncated_gradient_is_the_sum_of_exactly_the_kept_terms(length, back):
    """Of each chunk's loss, the contributions of the last `back` steps before the chunk's end, and no others."""
    rnn, readout, xs, targets = make(steps=T)
    for _ in bptt.truncated(rnn, readout, squared_error, xs, targets, length, back=back):
        pass
    by_step = losses(readout, rnn(xs)[0], targets)
    for p in rnn.parameters():
        kept = np.zeros_like(p.data)
        for end in range(length, T + 1, length):
            terms = bptt.contributions(sum(by_step[end - length : end]), p)
            kept += terms[max(end - back, 0) : end].sum(axis=0)
        np.testing.assert_allclose(p.grad, kept, atol=1e-13)
    lost = tg.grad(sum(by_step), rnn.cells[0].U)[0].data - rnn.cells[0].U.grad
    assert np.any(np.abs(lost) > 1e-6) == (back < T)


@pytest.mark.parametrize("kind", KINDS)
def test_two_halves_of_a_series_are_the_whole_with_the_state_carried_over(kind):
    rnn, readout, xs, targets = make(kind, 2, steps=T)
    whole = bptt.truncated(rnn, readout, squared_error, xs, targets, length=3)
    whole_losses, expected = list(whole), gradients(rnn, readout)
    rnn.zero_grad(), readout.zero_grad()
    first = bptt.truncated(rnn, readout, squared_error, xs[:6], targets[:6], length=3)
    half_losses = list(first)
    second = bptt.truncated(rnn, readout, squared_error, xs[6:], targets[6:], length=3, state=first.state)
    assert half_losses + list(second) == whole_losses
    assert_equal(gradients(rnn, readout), expected)
    assert_equal(parts(second.state), parts(whole.state))


def test_the_state_is_that_after_the_last_chunk_so_far_without_its_graph():
    rnn, readout, xs, targets = make(steps=T)
    chunks = bptt.truncated(rnn, readout, squared_error, xs, targets, length=5)
    assert chunks.state is None
    for end, loss in zip([5, 10, 12], chunks, strict=True):
        (h,) = chunks.state
        assert type(loss) is float and h.is_leaf and not h.requires_grad and (h.name, h.step) == ("h", end)
        np.testing.assert_allclose(h.data, rnn(xs[:end])[0][-1].data, rtol=1e-14)


def test_the_graph_of_the_given_state_is_left_as_it_is():
    """A loss that was made of that state keeps its gradient, and the loss of the chunks does not flow into it."""
    rnn, readout, xs, targets = make(num_layers=2, steps=T)
    hs, state = rnn(xs[:3])
    loss = squared_error(readout(hs[-1]), targets[2])
    before = [g.data for g in tg.grad(loss, rnn.parameters())]
    for _ in bptt.truncated(rnn, readout, squared_error, xs[3:], targets[3:], length=2, state=state):
        pass
    assert_equal([g.data for g in tg.grad(loss, rnn.parameters())], before)
    found = gradients(rnn, readout)
    rnn.zero_grad(), readout.zero_grad()
    for _ in bptt.truncated(rnn, readout, squared_error, xs[3:], targets[3:], 2, state=[h.detach() for h in state]):
        pass
    assert_equal(found, gradients(rnn, readout))


def test_a_given_state_that_is_a_leaf_can_be_learnt():
    rnn, readout, xs, targets = make(steps=T)
    h0 = tg.nn.Parameter(np.full(H, 0.1))
    for _ in bptt.truncated(rnn, readout, squared_error, xs, targets, length=4, state=[h0]):
        pass
    first = sum(losses(readout, rnn(xs[:4], [h0])[0], targets[:4]))
    np.testing.assert_allclose(h0.grad, tg.grad(first, h0)[0].data, rtol=1e-13)


def test_the_past_is_freed():
    rnn, readout, xs, targets = make(steps=T)
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
        assert all(reference() is None for reference in seen)
    finally:
        gc.enable()


def test_parameters_may_change_between_chunks():
    rnn, readout, xs, targets = make(steps=T)
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


@pytest.mark.parametrize("change, error, message", [
    ({"length": 0}, ValueError, r"truncated\(length=0\): a whole number from 1 to the number of steps, 12"),
    ({"length": 13}, ValueError, "length=13"),
    ({"length": 2.5}, TypeError, r"truncated\(length=2\.5\): a whole number from"),
    ({"length": "3"}, TypeError, "length='3'"),
    ({"length": None}, TypeError, "length=None"),
    ({"back": 2}, ValueError, r"truncated\(back=2\): a whole number from the length of a chunk, 3, up"),
    ({"back": 3.5}, TypeError, r"truncated\(back=3\.5\): a whole number from"),
    ({"back": float("nan")}, TypeError, "back=nan"),
    ({"back": float("inf")}, TypeError, "back=inf"),
    ({"rnn": tg.nn.RNNCell(2, 3)}, TypeError, r"an nn\.RNN, LSTM or GRU is needed, not a RNNCell"),
    ({"rnn": None}, TypeError, "an nn.RNN, LSTM or GRU is needed, not a NoneType"),
    ({"rnn": tg.nn.RNN(2, 3, reverse=True)}, ValueError, "a net with reverse=True begins at the end, and needs"),
    ({"targets": np.zeros((11, 1))}, ValueError, "11 targets for 12 steps"),
])  # fmt: skip
def test_bad_input_raises_at_the_call(change, error, message):
    rnn, readout, xs, targets = make(steps=T)
    arguments = {"rnn": rnn, "readout": readout, "loss_fn": squared_error, "xs": xs, "targets": targets, "length": 3}
    with pytest.raises(error, match=message):
        bptt.truncated(**{**arguments, **change})


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_chunks_as_programs_are_the_chunks(kind):
    """Losses, gradients and the state that is carried are those of the engine; the last chunk is shorter."""
    rng = np.random.default_rng(0)
    xs, targets = rng.standard_normal((17, 2, 3)), rng.standard_normal((17, 2, 1))

    def chunks(**options):
        net, readout = getattr(tg.nn, kind)(3, 4, 2, rng=0), tg.nn.Linear(4, 1, rng=1)
        optimizer, losses = tg.optim.SGD([*net.parameters(), *readout.parameters()], lr=0.01), []
        running = tg.bptt.truncated(net, readout, tg.nn.squared_error, xs, targets, length=5, **options)
        for loss in running:
            losses.append(loss)
            optimizer.step()
            optimizer.zero_grad()
        return losses, [p.data for p in optimizer.params], running.state

    (losses, parameters, state), (expected, expected_parameters, expected_state) = chunks(compile=tg.compile), chunks()
    np.testing.assert_allclose(losses, expected, rtol=1e-11)
    for p, q in zip(parameters, expected_parameters, strict=True):
        np.testing.assert_allclose(p, q, rtol=1e-10, atol=1e-13)
    flat = [part for layer in state for part in (layer if isinstance(layer, tuple) else (layer,))]
    for part, other in zip(flat, parts(expected_state), strict=True):
        np.testing.assert_allclose(part, other, rtol=1e-10, atol=1e-13)


def test_a_program_goes_through_a_chunk_whole():
    net, readout = tg.nn.RNN(1, 2), tg.nn.Linear(2, 1)
    with pytest.raises(ValueError, match=r"back=..., compile=...\): a program goes back to the chunk's first step"):
        xs = np.zeros((4, 1))
        tg.bptt.truncated(net, readout, tg.nn.squared_error, xs, xs, length=2, back=3, compile=tg.compile)
