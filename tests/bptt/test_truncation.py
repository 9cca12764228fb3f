import gc
import tracemalloc
import weakref

import numpy as np
import pytest
from nets import KINDS, D, H, losses, make

import tinygrad_rnn as tg
from tinygrad_rnn import bptt
from tinygrad_rnn.bptt.truncation import checkpoint
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
    ({"readout": tg.tanh, "compile": tg.compile}, TypeError, "a module, whose parameters are learnt, is needed"),
])  # fmt: skip
def test_bad_input_raises_at_the_call(change, error, message):
    rnn, readout, xs, targets = make(steps=T)
    arguments = {"rnn": rnn, "readout": readout, "loss_fn": squared_error, "xs": xs, "targets": targets, "length": 3}
    with pytest.raises(error, match=message):
        bptt.truncated(**{**arguments, **change})


def test_a_loss_that_is_no_tensor_is_refused():
    rnn, readout, xs, targets = make(steps=T)
    with pytest.raises(TypeError, match=r"truncated\(loss_fn=...\): a loss that is a Tensor is needed, not a float"):
        next(bptt.truncated(rnn, readout, lambda y, target: 1.0, xs, targets, length=3))


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


# Checkpoints

SHORT = 7


class Net:
    """A many-to-many net whose state is h and the loss so far, with an embedding before it."""

    def __init__(self):
        rnn, self.readout, xs, self.targets = make(steps=SHORT)
        (self.cell,) = rnn.cells
        self.h0 = tg.Tensor(np.array([0.5, -1.0, 0.2]), requires_grad=True)
        self.xs = tg.Tensor(xs, requires_grad=True)
        self.leaves = [*self.cell.parameters(), *self.readout.parameters(), self.h0, self.xs]

    def step(self, x_and_target, state):
        (x, target), (h, loss) = x_and_target, state
        h = self.cell(x, h)
        return h, loss + tg.nn.squared_error(self.readout(h), target)

    def run(self, segments):
        """The last state and the loss; held whole with None."""
        embedded = self.xs * 2.0
        steps, state = [(embedded[t], self.targets[t]) for t in range(SHORT)], (self.h0, tg.Tensor(0.0))
        if segments is not None:
            return checkpoint(self.step, steps, state, segments)
        for step in steps:
            state = self.step(step, state)
        return state


@pytest.mark.parametrize("segments", [1, 2, 3, 7])
def test_the_gradients_are_those_of_the_whole(segments):
    net = Net()
    found = []
    for h, loss in (net.run(segments), net.run(None)):
        once = tg.grad(loss + h.sum(), net.leaves)
        recorded = tg.grad(loss + h.sum(), net.leaves, create_graph=True)
        for a, b in zip(once, recorded, strict=True):
            np.testing.assert_array_equal(a.data, b.data)
        twice = tg.grad(sum((g * g).sum() for g in recorded), net.leaves)
        found.append([h.data, loss.data, *(g.data for g in once), *(g.data for g in twice)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("ends", [[1, 2, 3, 4, 5, 6, 7], [3, 5, 7], [7]])
def test_the_terms_of_a_segment_stand_together_at_its_last_step(ends):
    net = Net()
    _, loss = net.run(len(ends))
    _, whole = net.run(None)
    for p in (*net.cell.parameters(), *net.readout.parameters()):
        terms, expected = bptt.contributions(loss, p), np.zeros((SHORT, *p.shape))
        for start, end in zip([0, *ends], ends, strict=False):
            expected[end - 1] = bptt.contributions(whole, p)[start:end].sum(axis=0)
        np.testing.assert_allclose(terms, expected, atol=1e-12)


def test_a_sum_over_time_is_written_with_the_states_between_the_segments():
    cell = tg.nn.RNNCell(D, H, rng=0)
    h = checkpoint(cell, np.ones((9, D)), segments=3)
    terms = bptt.expansion(tg.label(h.sum(), "L"), cell.W)
    assert [term.step for term in terms] == [3, 6, 9]
    assert (
        r"\frac{\partial h^{(9)}}{\partial h^{(6)}} \frac{\partial h^{(6)}}{\partial h^{(3)}}" in terms[0].derivatives
    )
    np.testing.assert_allclose(sum(term.value for term in terms), tg.grad(h.sum(), cell.W)[0].data, atol=1e-14)


@pytest.mark.parametrize("segments", [1, 3])
def test_contributions_hold_no_gradients_afterwards(segments):
    """Each rule may be called alone, and then by the sweep; what a segment's rerun has made is freed all the same."""
    cell, xs = tg.nn.RNNCell(D, 100, rng=0), np.ones((9, D))
    h = checkpoint(cell, xs, segments=segments)
    bptt.contributions(h.sum(), cell.W)
    held = {}
    for p in cell.parameters():
        tracemalloc.start()
        bptt.contributions(h.sum(), p)
        held[p.name] = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
    assert max(held.values()) < cell.U.data.nbytes / 4


def test_a_state_that_is_changed_after_the_cell_goes_on_counting_its_steps():
    cell = tg.nn.RNNCell(D, H, rng=0)
    h = checkpoint(lambda x, h: cell(x, h) * 0.5, np.ones((6, D)), cell.initial_state(np.ones(D)), segments=3)
    terms = bptt.contributions(h.sum(), cell.W)
    assert [k for k, term in enumerate(terms, 1) if term.any()] == [2, 4, 6]


def test_a_cell_starts_from_its_own_state_and_names_what_it_makes():
    cell, xs = tg.nn.RNNCell(D, H, rng=0), np.ones((9, D))
    h = checkpoint(cell, xs)
    assert (h.name, h.step, h.primitive.name, h.inputs[0].step) == ("h", 9, "checkpoint", 6)
    hs, _ = tg.nn.RNN(D, H, rng=0)(xs)
    np.testing.assert_array_equal(h.data, hs[-1].data)
    h.sum().backward()
    assert all(p.grad is not None for p in cell.parameters())


def test_the_first_state_is_that_of_the_graph():
    cell, h0 = tg.nn.RNNCell(D, H, rng=0), tg.Tensor(np.ones(H), requires_grad=True)
    loss = checkpoint(cell, np.ones((4, D)), h0, segments=2).sum()
    assert (h0.name, h0.step) == ("h", 0)
    assert [node.label for node in tg.draw.forward(loss).nodes if node.kind == "state"] == ["h⁽⁰⁾", "h⁽²⁾", "h⁽⁴⁾"]


@pytest.mark.parametrize("hooked", ["U", "h0"])
def test_a_hook_sees_the_whole_gradient_once(hooked):
    found = []
    for segments in (2, None):
        net = Net()
        {"U": net.cell.U, "h0": net.h0}[hooked].register_hook(lambda g: g * g)
        found.append([g.data for g in tg.grad(net.run(segments)[1], net.leaves)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_nothing_is_recorded_where_nothing_needs_a_gradient():
    with tg.no_grad():
        assert checkpoint(tg.nn.RNNCell(D, H), np.ones((4, D))).is_leaf


def test_backward_inside_no_grad_runs_the_segment_again_all_the_same():
    net = Net()
    _, loss = net.run(2)
    with tg.no_grad():
        loss.backward()
    np.testing.assert_allclose(net.h0.grad, tg.grad(net.run(None)[1], net.h0)[0].data, rtol=1e-12)


def test_root_T_segments_hold_a_small_part_of_the_values():
    """With T = 400: 20 states between segments and 20 steps of 5 values, instead of 400 steps of 5."""
    cell, xs, peaks = tg.nn.RNNCell(4, 64, rng=0), np.ones((400, 8, 4)), {}

    def whole():
        h = cell.initial_state(xs[0])
        for x in xs:
            h = cell(x, h)
        return h

    for run in (whole, lambda: checkpoint(cell, xs)):
        tracemalloc.start()
        run().sum().backward()
        peaks[run] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    first, second = peaks.values()
    assert second < first / 8


@pytest.mark.parametrize("segments", [0, 8])
def test_segments_are_checked(segments):
    with pytest.raises(ValueError, match=f"segments={segments}.*a whole number from 1 to the number of steps, 7"):
        Net().run(segments)


def leaf():
    return tg.Tensor(1.0, requires_grad=True)


@pytest.mark.parametrize("cell, xs, state, error, message", [
    (tg.nn.RNNCell(D, H), [], None, ValueError, "sequence is empty"),
    (lambda x, h: h, [0.0], None, TypeError, "a state is needed, since the cell has no initial_state"),
    (lambda x, h: h.data, [0.0], leaf(), TypeError, "the state is a Tensor, but the cell returned array"),
    (lambda x, s: s[:1], [0.0], (leaf(), leaf()), TypeError, "the state is a tuple of 2 Tensors, but the cell"),
])  # fmt: skip
def test_what_cannot_be_run_is_refused(cell, xs, state, error, message):
    with pytest.raises(error, match=message):
        checkpoint(cell, xs, state)


def test_a_look_at_a_parameter_changes_nothing():
    net = Net()
    _, loss = net.run(2)
    np.linalg.norm(net.cell.U.data)
    loss.backward()
    assert net.cell.U.grad is not None


def test_a_sequence_may_yield_one_array_again_and_again():
    def rows(x):
        for t in range(5):
            x[:] = t
            yield x

    cell = tg.nn.RNNCell(D, H, rng=0)
    h = cell.initial_state(np.zeros(D))
    for x in rows(np.zeros(D)):
        h = cell(x, h)
    np.testing.assert_array_equal(checkpoint(cell, rows(np.zeros(D))).data, h.data)


def test_an_array_of_the_sequence_may_change_afterwards():
    W, xs = tg.Tensor(0.0, requires_grad=True), [np.array(1.0), np.array(2.0)]
    h = checkpoint(lambda x, h: tg.tanh(W * x + h * 0.5), xs, tg.Tensor(0.0), segments=1)
    xs[0][...] = 100.0
    h.backward()
    assert W.grad == 2.5


def test_parts_of_a_state_keep_their_types():
    W = tg.Tensor(np.ones((3, 3), np.float32) * 0.1, requires_grad=True)

    def cell(x, state):
        h, loss, count = state
        h = tg.tanh(W @ h + x)
        return h, loss + (h * h).sum().astype(np.float64), count + 1

    start = (tg.Tensor(np.zeros(3, np.float32)), tg.Tensor(0.0), tg.Tensor(0))
    h, loss, count = checkpoint(cell, [np.float32(1.0)] * 4, start)
    whole = start
    for _ in range(4):
        whole = cell(np.float32(1.0), whole)
    assert [part.dtype for part in (h, loss, count)] == [np.float32, np.float64, np.int64]
    for part, expected in zip((h, loss, count), whole, strict=True):
        np.testing.assert_array_equal(part.data, expected.data)
    np.testing.assert_allclose(tg.grad(loss, W)[0].data, tg.grad(whole[1], W)[0].data, rtol=1e-6)


def test_a_parameter_that_changed_in_between_is_an_error():
    net = Net()
    _, loss = net.run(2)
    net.cell.U.data[0, 0] += 1.0
    with pytest.raises(ValueError, match="checkpoint: when the cell was run again.*a parameter had changed"):
        loss.backward()
    w = tg.Tensor(1.0, requires_grad=True)
    h = checkpoint(lambda x, h: h * w * w, [0.0] * 4, tg.Tensor(1.0), 2)
    w.data = -1.0  # which gives the same h, but another gradient
    with pytest.raises(ValueError, match="a parameter had changed"):
        h.backward()


def test_a_cell_that_does_otherwise_the_second_time_is_an_error():
    rng, w = np.random.default_rng(0), tg.Tensor(1.0, requires_grad=True)
    h = checkpoint(lambda x, h: h * w + rng.standard_normal(), [0.0] * 4, tg.Tensor(1.0))
    with pytest.raises(ValueError, match="must do the same each time"):
        h.backward()
