import tracemalloc

import numpy as np
import pytest
from nets import D, H, make

import tinygrad_rnn as tg
from tinygrad_rnn import bptt
from tinygrad_rnn.bptt.truncation import checkpoint

T = 7


class Net:
    """A many-to-many net whose state is h and the loss so far, with an embedding before it."""

    def __init__(self):
        rnn, self.readout, xs, self.targets = make(steps=T)
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
        steps, state = [(embedded[t], self.targets[t]) for t in range(T)], (self.h0, tg.Tensor(0.0))
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
        terms, expected = bptt.contributions(loss, p), np.zeros((T, *p.shape))
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
