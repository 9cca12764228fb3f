import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.backward import topological_order
from tinygrad_rnn.nn.cells import NONLINEARITIES
from tinygrad_rnn.tensor import Tensor


class MinimalCell(tg.nn.Cell):
    """A minimal gated unit with a memory m that gathers what n(t) was; its state is named by state_names."""

    gates = ("_f", "_n")
    state_names = ("h", "m")

    def step(self, x, h, m):
        f = tg.label(tg.sigmoid(tg.linear(self.W_f, x) + tg.linear(self.U_f, h) + self.b_f), "f")
        n = tg.label(tg.tanh(tg.linear(self.W_n, x) + tg.linear(self.U_n, f * h) + self.b_n + m), "n")
        return (1 - f) * h + f * n, 0.5 * (m + n)


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


F = {"tanh": np.tanh, "sigmoid": sigmoid, "relu": lambda a: np.maximum(a, 0), "identity": lambda a: a}


def filled(cell):
    rng = np.random.default_rng(5)
    for p in cell.parameters():
        p.data[...] = rng.standard_normal(p.shape)
    return cell


@pytest.mark.parametrize("batch", [(), (4,)])
@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
def test_the_equation(nonlinearity, batch):
    cell = filled(tg.nn.RNNCell(2, 3, nonlinearity))
    x, h = np.random.default_rng(1).standard_normal((2, *batch, 3))
    x = x[..., :2]
    expected = F[nonlinearity](x @ cell.W.data.T + h @ cell.U.data.T + cell.b.data)
    np.testing.assert_allclose(cell(x, h).data, expected, rtol=1e-13)


@pytest.mark.parametrize("batch", [(), (4,)])
def test_the_equations_of_an_lstm(batch):
    cell = filled(tg.nn.LSTMCell(2, 3))
    x, h, c = np.random.default_rng(1).standard_normal((3, *batch, 3))
    x, p = x[..., :2], {name: p.data for name, p in cell.named_parameters()}
    a = {gate: x @ p[f"W_{gate}"].T + h @ p[f"U_{gate}"].T + p[f"b_{gate}"] for gate in "ifgo"}
    expected_c = sigmoid(a["f"]) * c + sigmoid(a["i"]) * np.tanh(a["g"])
    expected_h = sigmoid(a["o"]) * np.tanh(expected_c)
    found_h, found_c = cell(x, (h, c))
    np.testing.assert_allclose(found_c.data, expected_c, rtol=1e-13)
    np.testing.assert_allclose(found_h.data, expected_h, rtol=1e-13)
    assert [(n.name, n.step) for n in (found_h, found_c)] == [("h", 1), ("c", 1)]


@pytest.mark.parametrize("batch", [(), (4,)])
def test_the_equations_of_a_gru(batch):
    cell = filled(tg.nn.GRUCell(2, 3))
    x, h = np.random.default_rng(1).standard_normal((2, *batch, 3))
    x, p = x[..., :2], {name: p.data for name, p in cell.named_parameters()}
    r, z = (sigmoid(x @ p[f"W_{g}"].T + h @ p[f"U_{g}"].T + p[f"b_{g}"]) for g in "rz")
    n = np.tanh(x @ p["W_n"].T + p["b_n"] + r * (h @ p["U_n"].T + p["c_n"]))
    np.testing.assert_allclose(cell(x, h).data, (1 - z) * n + z * h, rtol=1e-13)


@pytest.mark.parametrize("kind", [tg.nn.LSTMCell, tg.nn.GRUCell])
def test_gates_without_bias(kind):
    """They are those whose biases are zero."""
    cell, with_zeros = kind(2, 3, bias=False, rng=0), kind(2, 3, rng=0)
    assert {p.name[0] for p in cell.parameters()} == {"W", "U"}
    found, expected = (c(np.ones(2), c(np.ones(2))) for c in (cell, with_zeros))
    for part, same in zip(*(s if isinstance(s, tuple) else (s,) for s in (found, expected)), strict=True):
        np.testing.assert_array_equal(part.data, same.data)
        assert part.data.any()


def test_a_forget_gate_may_start_open():
    cell = tg.nn.LSTMCell(2, 3, forget_bias=1.0, rng=0)
    np.testing.assert_array_equal(cell.b_f.data, np.ones(3))
    assert not cell.b_i.data.any()
    with pytest.raises(ValueError, match="without a bias there is none to set"):
        tg.nn.LSTMCell(2, 3, bias=False, forget_bias=1.0)


@pytest.mark.parametrize("kind", [tg.nn.RNNCell, tg.nn.LSTMCell, tg.nn.GRUCell])
def test_the_state_of_another_kind_of_cell_is_refused(kind):
    cell = kind(2, 3, rng=0)
    one, pair = np.zeros(3), (tg.Tensor(np.zeros(3)), tg.Tensor(np.zeros(3)))
    with pytest.raises(TypeError, match=rf"{kind.__name__}: the state is h( and c)?, not"):
        cell(np.ones(2), tg.Tensor(one) if kind is tg.nn.LSTMCell else pair)
    with pytest.raises(tg.ShapeError, match=rf"{kind.__name__} at step 1: the state (h|c) has shape \(4,\)"):
        cell(np.ones(2), (one, np.zeros(4)) if kind is tg.nn.LSTMCell else np.zeros(4))


def test_the_graph_is_that_of_the_figure():
    cell = tg.nn.RNNCell(2, 3, rng=0)
    h = cell(np.ones(2), np.zeros(3))
    (h_hat,) = h.inputs
    total, b = h_hat.inputs
    Wx, Uh = total.inputs
    assert [n.primitive.name for n in (h, h_hat, total, Wx, Uh)] == ["tanh", "add", "add", "linear", "linear"]
    assert (b, Wx.inputs[0], Uh.inputs[0]) == (cell.b, cell.W, cell.U)
    assert [(n.name, n.step) for n in (h, h_hat, Wx.inputs[1], Uh.inputs[1])] == [
        ("h", 1),
        ("ĥ", 1),
        ("x", 1),
        ("h", 0),
    ]
    assert [n.step for n in (total, Wx, Uh)] == [1, 1, 1]


@pytest.mark.parametrize("T", [1, 2, 30])
@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
def test_five_nodes_per_step_at_every_length(nonlinearity, T):
    cell = tg.nn.RNNCell(2, 3, nonlinearity, rng=0)
    h = None
    for x in np.ones((T, 2)):
        h = cell(x, h)
    made = [node for node in topological_order(h) if not node.is_leaf]
    assert [sum(node.step == t for node in made) for t in range(1, T + 1)] == [5] * T
    assert len(made) == 5 * T


def test_without_bias():
    cell = tg.nn.RNNCell(2, 3, bias=False, rng=0)
    assert [p.name for p in cell.parameters()] == ["W", "U"]
    np.testing.assert_allclose(cell(np.ones(2), np.zeros(3)).data, np.tanh(cell.W.data.sum(axis=1)))


def test_steps_go_on_from_the_state():
    cell = tg.nn.RNNCell(1, 2, rng=0)
    h = cell([1.0], cell([1.0]))
    assert h.step == 2
    assert cell([1.0], h.detach()).step == 3
    masked = h * np.array([1.0, 0.0])
    assert cell([1.0], masked).step == 3 and masked.name is None


def test_names_that_users_set_win():
    cell = tg.nn.RNNCell(1, 2, rng=0)
    x, s = Tensor([1.0], name="price"), Tensor([0.0, 0.0], name="s")
    cell(x, s)
    assert (x.name, s.name) == ("price", "s")


def test_bad_input_names_the_step_and_the_shapes():
    cell = tg.nn.RNNCell(2, 3, rng=0)
    h = cell(np.ones(2))
    with pytest.raises(tg.ShapeError, match=r"RNNCell at step 2: x has shape \(3,\), expected \(2,\) or \(B, 2\)"):
        cell(np.ones(3), h)
    with pytest.raises(tg.ShapeError, match=r"at step 1: the state h has shape \(4,\), expected \(3,\)"):
        cell(np.ones(2), np.zeros(4))
    with pytest.raises(tg.ShapeError, match=r"at step 1: the state h has shape \(3,\), expected \(5, 3\)"):
        cell(np.ones((5, 2)), np.zeros(3))


def test_an_unknown_nonlinearity_lists_the_known():
    with pytest.raises(ValueError, match=r"nonlinearity='gelu'.*'tanh', 'sigmoid', 'relu', 'identity'"):
        tg.nn.RNNCell(1, 1, nonlinearity="gelu")


def test_the_same_seed_gives_the_same_cell():
    first, second = (tg.nn.RNNCell(2, 3, rng=7) for _ in range(2))
    for p, q in zip(first.parameters(), second.parameters(), strict=True):
        np.testing.assert_array_equal(p.data, q.data)
    assert not np.any(first.b.data)
    np.testing.assert_allclose(first.U.data.T @ first.U.data, np.eye(3), atol=1e-14)


@pytest.mark.parametrize("batch", [(), (4,)])
def test_the_equations_of_a_cell_of_ones_own(batch):
    cell = filled(MinimalCell(2, 3))
    x, h, m = np.random.default_rng(1).standard_normal((3, *batch, 3))
    x, p = x[..., :2], {name: p.data for name, p in cell.named_parameters()}
    f = sigmoid(x @ p["W_f"].T + h @ p["U_f"].T + p["b_f"])
    n = np.tanh(x @ p["W_n"].T + (f * h) @ p["U_n"].T + p["b_n"] + m)
    found_h, found_m = cell(x, (h, m))
    np.testing.assert_allclose(found_h.data, (1 - f) * h + f * n, rtol=1e-13)
    np.testing.assert_allclose(found_m.data, (m + n) / 2, rtol=1e-13)
    assert [(s.name, s.step) for s in (found_h, found_m)] == [("h", 1), ("m", 1)]
    tg.check_gradients(lambda x, h, m: sum(s.sum() for s in cell(x, (h, m))), x, h, m)


def test_a_name_is_carried_by_all_letters_of_a_cell():
    cell = tg.nn.GRUCell(2, 3, rng=0, name="enc")
    assert [p.name for p in cell.parameters()][:2] == ["W_{r,enc}", "U_{r,enc}"]
    assert list(cell.state_dict()) == list(tg.nn.GRUCell(2, 3).state_dict())  # files do not depend on it
    x = Tensor(np.ones(2))
    made = {n.name for n in topological_order(cell(x))} - {None}
    assert x.name == "x" and {"h_enc", "z_enc", "ẑ_enc"} < made and all("enc" in name for name in made - {"x"})
    readout = tg.nn.Linear(3, 1, name="dec")
    assert (readout.V.name, readout.c.name, readout(np.ones(3)).name) == ("V_dec", "c_dec", "y_dec")


@pytest.mark.parametrize("name", ["", "a b", "a_b", "{", "$x", "a,b"])
def test_a_name_is_letters_and_digits(name):
    with pytest.raises(ValueError, match="RNNCell.name=.*: letters and digits are needed, as in 'enc'"):
        tg.nn.RNNCell(2, 3, name=name)
    with pytest.raises(TypeError, match="a text is needed, not a int"):
        tg.nn.RNNCell(2, 3, name=5)


def returning(result):
    class Wrong(tg.nn.Cell):
        state_names = ("h", "m")

        def step(self, x, h, m):
            return result(h)

    return tg.nn.Recurrent(Wrong, 3, 3, num_layers=2)


@pytest.mark.parametrize(
    "result, message",
    [
        (lambda h: h, r"step returns the next state, h and m, not a Tensor of shape \(3,\)"),
        (lambda h: (h, h, h), r"not a tuple of 3"),
        (lambda h: (h, h.data), r"not a tuple of 2: \(a Tensor of shape \(3,\), a ndarray of shape \(3,\)\)"),
        (lambda h: None, r"step returns the next state, h and m, not a NoneType"),
        (lambda h: (h, h[:2]), r"the next state m has shape \(2,\), expected \(3,\)"),
        (lambda h: (h.sum(), h), r"the next state h has shape \(\), expected \(3,\)"),
    ],
)
def test_what_a_step_may_not_return(result, message):
    with pytest.raises((TypeError, tg.ShapeError), match="^Wrong at step 1 of layer 1: .*" + message):
        returning(result)(np.ones((2, 3)))


def test_a_cell_without_a_step_says_so():
    class Empty(tg.nn.Cell):
        pass

    with pytest.raises(NotImplementedError, match="Empty at step 1: a cell states its equations in a method step"):
        Empty(2, 3)(np.ones(2))


def test_an_error_names_the_cell():
    with pytest.raises(tg.ShapeError, match=r"RNNCell enc at step 1: x has shape \(3,\)"):
        tg.nn.RNN(2, 3, name="enc")(np.ones((1, 3)))
