import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.backward import topological_order
from tinygrad_rnn.tensor import Tensor

KINDS = pytest.mark.parametrize("kind", [tg.nn.RNN, tg.nn.LSTM, tg.nn.GRU])


class CoupledCell(tg.nn.Cell):
    """A coupled LSTM: what is forgotten makes room for what comes in; the cell names neither h nor c."""

    gates = ("_f", "_g")
    state_names = ("h", "c")

    def step(self, x, h, c):
        f = tg.sigmoid(tg.linear(self.W_f, x) + tg.linear(self.U_f, h) + self.b_f)
        g = tg.tanh(tg.linear(self.W_g, x) + tg.linear(self.U_g, h) + self.b_g)
        c = f * c + (1 - f) * g
        return tg.tanh(c), c


def coupled(*sizes, **options):
    return tg.nn.Recurrent(CoupledCell, *sizes, **options)


ALL_KINDS = pytest.mark.parametrize("kind", [tg.nn.RNN, tg.nn.LSTM, tg.nn.GRU, coupled])


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
        with pytest.raises(
            TypeError, match=rf"{kind.__name__}Cell at step 5 of layer 2: c\(4\) of shape .* as the state h"
        ):
            kind(2, 3, num_layers=2)(np.ones((1, 2)), (h, c))
    with pytest.raises(TypeError, match=r"LSTMCell at step 5: c\(4\) .* as the state h of h and c"):
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


@ALL_KINDS
def test_a_net_in_reverse_reads_the_sequence_from_its_end(kind):
    forth, back = (kind(2, 3, num_layers=2, rng=0, reverse=reverse) for reverse in (False, True))
    xs = np.random.default_rng(1).standard_normal((4, 2))
    expected, last = forth(xs[::-1])
    hs, state = back(xs)
    for a, b in zip(hs[::-1] + parts(state), expected + parts(last), strict=True):
        np.testing.assert_array_equal(a.data, b.data)
    assert [h.step for h in hs] == [1, 2, 3, 4]
    assert [part.step for part in parts(state)] == [1] * len(parts(state))
    first = {(x.name, x.step) for x in topological_order(hs[-1]) if x.is_leaf and x.step is not None}
    assert ("h", 5) in first and ("x", 4) in first


def test_in_reverse_steps_are_those_of_the_inputs():
    lower, upper = tg.nn.RNN(2, 3, rng=0), tg.nn.RNN(3, 3, rng=0, reverse=True)
    xs = np.ones((6, 2))
    _, state = lower(xs[:3])
    second, _ = lower(xs[3:], state)
    assert [h.step for h in upper(second)[0]] == [4, 5, 6]
    h7 = Tensor(np.zeros(3))
    upper(second, [h7])
    assert (h7.name, h7.step) == ("h", 7)


@ALL_KINDS
def test_two_nets_side_by_side(kind):
    forth, back = kind(2, 3, rng=0), kind(2, 4, rng=1, reverse=True)
    net = tg.nn.Bidirectional(forth, back)
    xs = np.random.default_rng(1).standard_normal((4, 2))
    hs, (first, second) = net(xs)
    for h, a, b in zip(hs, forth(xs)[0], back(xs)[0], strict=True):
        np.testing.assert_array_equal(h.data, np.concatenate([a.data, b.data]))
    assert [h.step for h in hs] == [1, 2, 3, 4]
    inputs = [x for x in topological_order(*hs) if x.name == "x"]
    assert sorted(x.step for x in inputs) == [1, 2, 3, 4]  # both nets read the same nodes
    again, _ = net(xs, (first, second))
    assert not np.array_equal(again[0].data, hs[0].data)
    assert next(name for name, _ in net.named_parameters()).startswith("forth.cells.0.")


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("reverse", [False, True])
@ALL_KINDS
def test_a_batch_of_sequences_of_different_lengths(kind, reverse, num_layers):
    """Each is what it is alone, and its state stays where it has ended: values, final states and gradients."""
    net = kind(2, 3, num_layers=num_layers, rng=0, reverse=reverse)
    rng, lengths = np.random.default_rng(1), [2, 4, 1]
    xs, weights = Tensor(rng.standard_normal((4, 3, 2)), requires_grad=True), rng.standard_normal((4, 3, 3))
    hs, state = net(xs, lengths=lengths)
    sum((w * h).sum() for w, h in zip(weights, hs, strict=True)).backward()
    together = [p.grad for p in net.parameters()]
    net.zero_grad()
    for i, length in enumerate(lengths):
        alone = Tensor(xs.data[:length, i], requires_grad=True)
        expected, last = net(alone)
        stays = np.zeros(3) if reverse else expected[-1]
        expected = expected + [stays] * (4 - length)
        for h, one in zip(hs, expected, strict=True):
            np.testing.assert_allclose(h.data[i], np.asarray(getattr(one, "data", one)), atol=1e-15)
        for part, one in zip(parts(state), parts(last), strict=True):
            np.testing.assert_allclose(part.data[i], one.data, atol=1e-15)
        sum((w * h).sum() for w, h in zip(weights[:, i], expected, strict=True)).backward()
        np.testing.assert_allclose(xs.grad[:length, i], alone.grad, atol=1e-13)
        assert not xs.grad[length:, i].any()
    for p, g in zip(net.parameters(), together, strict=True):
        np.testing.assert_allclose(g, p.grad, atol=1e-13)


@ALL_KINDS
def test_what_stands_behind_the_end_of_a_sequence_counts_nothing(kind):
    xs = np.ones((3, 2, 2))
    xs[2, 0] = np.nan
    hs, _ = kind(2, 3, rng=0)(xs, lengths=[2, 3])
    assert all(np.isfinite(h.data).all() for h in hs)


@ALL_KINDS
def test_each_part_of_a_state_has_one_named_node_a_step(kind):
    hs, state = kind(2, 3, rng=0)(np.ones((4, 2, 2)), lengths=[2, 4])
    nodes = topological_order(*hs, *parts(state))
    for name in [part.name for part in parts(state)]:
        assert [x.step for x in nodes if x.name == name] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("lengths", [[5, 1], [0, 1], [1], [1, 2, 3], [1.0, 2.0], 3, "ab", [[1], [1, 2]], [-1, 2]])
def test_lengths_that_do_not_fit_are_refused(lengths):
    with pytest.raises(ValueError, match=r"RNN\(lengths=.*\): a whole number from 1 to 4 for each of the 2 sequences"):
        tg.nn.RNN(2, 3)(np.ones((4, 2, 2)), lengths=lengths)


@pytest.mark.parametrize("kind", [tg.nn.LSTM, tg.nn.GRU])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_a_state_that_is_unpacked_as_pytorch_s_is_says_what_a_call_returns(kind, layers):
    net, xs = kind(2, 3, num_layers=layers), np.ones((4, 5, 2))
    if layers != 2:
        with pytest.raises(
            ValueError, match=rf"a net returns hs, .* there are {layers}, not 2: hs, \[\(h, c\)\] = lstm"
        ):
            _out, (_h, _c) = net(xs)
    _hs, state = net(xs)
    first, *others = state
    assert [first, *others] == list(state) and len(state) == layers
    assert [type(s) is tuple for s in state] == [kind is tg.nn.LSTM] * layers
    (only,) = kind(2, 3)(xs)[1]
    assert np.shape(only[0] if kind is tg.nn.LSTM else only) == (5, 3)


@pytest.mark.parametrize("option, hint", [
    ("batch_first", r"^LSTM\(\) got .* 'batch_first'; time comes first, \(T, B, D\): net\(xs.swapaxes\(0, 1\)\)"),
    ("bidirectional", r"argument 'bidirectional'; use nn.Bidirectional\(forth, back\)"),
    ("dropout", "argument 'dropout'; use nn.Dropout"),
])  # fmt: skip
def test_options_of_pytorch_are_told(option, hint):
    with pytest.raises(TypeError, match=hint):
        tg.nn.LSTM(2, 3, **{option: True})


def test_a_cell_may_have_options_of_its_own():
    class Scaled(tg.nn.RNNCell):
        def __init__(self, *sizes, dropout=0.0, **options):
            super().__init__(*sizes, **options)
            self.dropout = dropout

    net = tg.nn.Recurrent(Scaled, 2, 3, dropout=0.5, bias=False)
    assert net.cells[0].dropout == 0.5 and net.cells[0].b is None


def test_data_with_the_batch_first_are_told_where_that_shows():
    net, xs = tg.nn.GRU(2, 3), np.ones((5, 4, 2))  # of 5 sequences of 4 steps
    hint = r"GRU\(xs\): xs \(5, 4, 2\) has the batch first; time comes first, \(T, B, D\): net\(xs.swapaxes\(0, 1\)\)"
    for options in ({"lengths": [4, 3, 2, 2, 1]}, {"state": [np.zeros((5, 3))]}):
        with pytest.raises(tg.ShapeError, match=hint):
            net(xs, **options)
        net(xs.swapaxes(0, 1), **options)


def test_a_net_has_its_sizes():
    net = tg.nn.LSTM(2, 3, num_layers=2)
    assert (net.input_size, net.hidden_size, net.num_layers) == (2, 3, 2)


def test_one_sequence_has_no_lengths():
    with pytest.raises(ValueError, match=r"LSTM\(xs, lengths\): for a batch, xs \(T, B, D\); x has shape \(2,\)"):
        tg.nn.LSTM(2, 3)(np.ones((4, 2)), lengths=[4])


def test_a_program_of_lengths_that_are_its_input_follows_them():
    net, xs = tg.nn.LSTM(2, 3, rng=0), np.random.default_rng(1).standard_normal((4, 2, 2))

    def loss(xs, lengths):
        return net(xs, lengths=lengths)[0][-1].sum()

    program = tg.compile(loss, xs, np.array([2, 4]), wrt=net.parameters())
    for lengths in ([2, 4], [3, 1], [4, 4], [2, 4]):
        value, gradients = program(xs, np.array(lengths))
        eager = loss(xs, lengths)
        np.testing.assert_allclose(value, eager.item(), rtol=1e-14)
        for found, expected in zip(gradients, tg.grad(eager, net.parameters()), strict=True):
            np.testing.assert_allclose(found, expected.data, atol=1e-14)


@pytest.mark.parametrize("lengths", [None, [2, 4]])
@pytest.mark.parametrize("kind", [tg.nn.GRU, coupled])
def test_programs_of_nets_that_run_both_ways(kind, lengths):
    net = tg.nn.Bidirectional(kind(2, 3, num_layers=2, rng=0, name="forth"), kind(2, 3, rng=1, reverse=True))
    xs = np.random.default_rng(1).standard_normal((4, 2, 2))

    def loss(xs):
        return sum((h * h).sum() for h in net(xs, lengths=lengths)[0])

    program = tg.compile(loss, xs, wrt=net.parameters())
    eager, found = loss(xs), [program(xs)]
    for rolled in (False, True):
        space = {}
        exec(program.code(rolled=rolled), space)
        found.append(space["bptt"](xs, *(p.data for p in net.parameters())))
    for value, gradients in found:
        np.testing.assert_allclose(value, eager.item(), rtol=1e-13)
        for gradient, expected in zip(gradients, tg.grad(eager, net.parameters()), strict=True):
            np.testing.assert_allclose(gradient, expected.data, atol=1e-13)


def test_nets_that_do_not_go_together_are_refused():
    forth, back = tg.nn.RNN(2, 3), tg.nn.RNN(2, 3, reverse=True)
    with pytest.raises(tg.ShapeError, match=r"x has shape \(2,\), expected \(3,\)"):
        tg.nn.Bidirectional(forth, tg.nn.RNN(3, 3, reverse=True))(np.ones((4, 2)))
    for pair in ((forth, forth), (back, back), (back, forth)):
        with pytest.raises(ValueError, match="the second net, and only that, is one with reverse=True"):
            tg.nn.Bidirectional(*pair)
    with pytest.raises(TypeError, match="a recurrent net is needed, not a RNNCell"):
        tg.nn.Bidirectional(forth, back.cells[0])
    with pytest.raises(ValueError, match="the state is a pair"):
        tg.nn.Bidirectional(forth, back)(np.ones((2, 2)), [np.zeros(3)])


@pytest.mark.parametrize("cell", [tg.nn.RNNCell(2, 3), tg.nn.Linear, "lstm"])
def test_what_is_no_kind_of_cell_is_refused(cell):
    with pytest.raises(TypeError, match="Recurrent.cell_class=.*: a subclass of nn.Cell is needed"):
        tg.nn.Recurrent(cell, 2, 3)


def test_figures_write_the_names_of_nets():
    enc, dec = (tg.nn.LSTM(2, 3, rng=0, name=name) for name in ("enc", "dec"))
    xs = np.ones((2, 2))
    hs, _ = dec(xs, enc(xs)[1])
    labels = {node.label for node in tg.draw.forward(hs[-1].sum()).nodes}
    assert {"W_i,enc", "U_o,dec", "h_enc⁽²⁾", "c_dec⁽⁴⁾", "x⁽¹⁾"} <= labels
    labels = {node.label for node in tg.draw.forward(hs[-1].sum(), notation="state").nodes}
    assert {"W_xi,enc", "W_so,dec", "s_enc,2"} <= labels
    hs, _ = tg.nn.RNN(2, 3, name="enc")(xs)
    labels = {node.label for node in tg.draw.forward(hs[-1].sum(), notation="state").nodes}
    assert "W_x,enc" in labels and not any("ĥ" in label for label in labels)  # its letter for ĥ is None


def test_all_layers_are_at_one_time_step():
    """Also where their states come from different steps: they go on from the last."""
    hs, _ = tg.nn.RNN(2, 3, rng=0)(np.ones((4, 2)))
    _, state = tg.nn.RNN(2, 3, num_layers=2, rng=0)(np.ones((1, 2)), [hs[-1], np.zeros(3)])
    assert [h.step for h in state] == [5, 5]


def test_a_part_of_a_state_that_a_step_hands_on_stays_what_it_is():
    class Constant(tg.nn.Cell):
        state_names = ("h", "m")

        def step(self, x, h, m):
            return tg.tanh(tg.linear(self.W, x) + h * m), m

    m = Tensor(np.ones((2, 3)), name="memory")
    _, [(h, last)] = tg.nn.Recurrent(Constant, 2, 3)(np.ones((4, 2, 2)), [(np.zeros((2, 3)), m)], lengths=[2, 4])
    assert last is m and m.name == "memory" and (h.name, h.step) == ("h", 4)


def test_a_name_is_refused_by_the_net_that_was_given_it():
    with pytest.raises(ValueError, match=r"^GRU\(name='a b'\): letters and digits are needed"):
        tg.nn.GRU(2, 3, name="a b")
