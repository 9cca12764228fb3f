import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.tensor import Tensor

KINDS = pytest.mark.parametrize("kind", [tg.nn.RNN, tg.nn.LSTM, tg.nn.GRU])


def parts(state):
    """The parts of the states of all layers."""
    return [part for layer in state for part in (layer if isinstance(layer, tuple) else (layer,))]


def test_a_list_an_array_and_a_tensor_are_one_sequence():
    rnn = tg.nn.RNN(2, 3, rng=0)
    xs = np.random.default_rng(1).standard_normal((4, 2))
    results = [rnn(sequence) for sequence in (xs, list(xs), xs.tolist(), Tensor(xs), [Tensor(x) for x in xs])]
    for hs, state in results:
        assert len(hs) == 4 and state == [hs[-1]]
        for ours, first in zip(hs, results[0][0], strict=True):
            np.testing.assert_array_equal(ours.data, first.data)


def test_gradients_reach_a_sequence_that_wants_them():
    rnn = tg.nn.RNN(2, 3, rng=0)
    xs = Tensor(np.ones((4, 2)), requires_grad=True)
    hs, _ = rnn(xs)
    hs[1].sum().backward()
    assert xs.grad[:2].all() and not xs.grad[2:].any()


@KINDS
def test_a_batch_is_its_sequences_side_by_side(kind):
    rnn = kind(2, 3, rng=0)
    xs = np.random.default_rng(1).standard_normal((4, 5, 2))
    _, together = rnn(xs)
    for i in range(5):
        _, alone = rnn(xs[:, i])
        for ours, one in zip(parts(together), parts(alone), strict=True):
            np.testing.assert_allclose(ours.data[i], one.data, rtol=1e-13)


@KINDS
def test_the_state_carries_over(kind):
    rnn = kind(2, 3, num_layers=2, rng=0)
    xs = np.random.default_rng(1).standard_normal((6, 2))
    whole, last = rnn(xs)
    first, state = rnn(xs[:4])
    second, state = rnn(xs[4:], state)
    for a, b in zip(whole + parts(last), first + second + parts(state), strict=True):
        np.testing.assert_array_equal(a.data, b.data)
    assert [h.step for h in first + second] == [1, 2, 3, 4, 5, 6]


@KINDS
def test_each_layer_reads_the_one_below(kind):
    rnn = kind(2, 3, num_layers=2, rng=0)
    first = next(name for name, _ in rnn.cells[0].named_parameters())
    assert [getattr(cell, first).shape for cell in rnn.cells] == [(3, 2), (3, 3)]
    (top,), state = rnn(np.ones((1, 2)))
    lower, upper = rnn.cells
    (h, *_) = parts([lower(np.ones(2))])
    np.testing.assert_array_equal(top.data, parts([upper(h)])[0].data)
    assert len(state) == 2


@KINDS
def test_the_layers_of_a_seed_are_cells_drawn_one_after_the_other(kind):
    net, cell, rng = kind(2, 3, num_layers=2, rng=7), getattr(tg.nn, f"{kind.__name__}Cell"), np.random.default_rng(7)
    one_by_one = [*cell(2, 3, rng=rng).parameters(), *cell(3, 3, rng=rng).parameters()]
    for p, q in zip(net.parameters(), one_by_one, strict=True):
        np.testing.assert_array_equal(p.data, q.data)


def test_the_state_of_one_layer_of_an_lstm_is_none_of_two_layers():
    _, ((h, c),) = tg.nn.LSTM(2, 3, rng=0)(np.ones((4, 2)))
    for kind in (tg.nn.RNN, tg.nn.GRU):
        with pytest.raises(TypeError, match=rf"{kind.__name__}\(xs, state\): c\(4\) of shape .* as the state h"):
            kind(2, 3, num_layers=2)(np.ones((1, 2)), (h, c))
    with pytest.raises(TypeError, match=r"LSTM\(xs, state\): c\(4\) .* as the state h; each .* is h and c"):
        tg.nn.LSTM(2, 3)(np.ones((1, 2)), [(c.detach(), h)])


def test_what_a_dense_layer_gives_and_what_users_name_may_start_a_state():
    y, named = tg.nn.Linear(2, 3, rng=0)(np.ones(2)), Tensor(np.ones(3), name="c")
    assert y.name == "y"
    hs, _ = tg.nn.RNN(2, 3, num_layers=2, rng=0)(np.ones((1, 2)), [y, named])
    assert len(hs) == 1


@pytest.mark.parametrize("xs", [[], np.zeros((0, 2))])
def test_an_empty_sequence_is_refused(xs):
    with pytest.raises(tg.ShapeError, match="empty"):
        tg.nn.RNN(2, 3)(xs)


def test_a_ragged_sequence_names_the_step():
    with pytest.raises(tg.ShapeError, match=r"ragged sequence: x has shape \(3,\) at step 3, \(2,\) at step 1"):
        tg.nn.RNN(2, 3)([np.ones(2), np.ones(2), np.ones(3)])


def test_a_wrong_width_names_the_step():
    with pytest.raises(tg.ShapeError, match=r"at step 1: x has shape \(5,\), expected \(2,\)"):
        tg.nn.RNN(2, 3)(np.ones((4, 5)))


def test_a_wrong_state_names_the_layer():
    rnn = tg.nn.RNN(2, 3, num_layers=2)
    with pytest.raises(tg.ShapeError, match=r"RNNCell at step 1 of layer 2: the state h has shape \(4,\)"):
        rnn(np.ones((1, 2)), [np.zeros(3), np.zeros(4)])


@pytest.mark.parametrize("state", [[], [np.zeros(3)] * 2, np.zeros(3), 5])
def test_the_state_has_one_entry_per_layer(state):
    with pytest.raises(ValueError, match="list of 1, one for each layer"):
        tg.nn.RNN(2, 3)(np.ones((1, 2)), state)


@pytest.mark.parametrize("xs", [3.0, "abc", None, Tensor(1.0), np.array(1.0)])
def test_what_is_no_sequence_is_refused(xs):
    with pytest.raises(TypeError, match=r"RNN\(xs\): a list of steps or an array with time first is needed"):
        tg.nn.RNN(2, 3)(xs)
