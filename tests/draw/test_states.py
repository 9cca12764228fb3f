"""Level "states": x(t), h(t), y(t) and the losses of any recurrent graph, with the weights on the arrows."""

import numpy as np
import pytest
from drawn_nets import VIEWS

import tinygrad_rnn as tg
from tinygrad_rnn.backward import topological_order


def arrows(diagram):
    name = {node.id: node.label for node in diagram.nodes}
    return {(name[edge.source], name[edge.target]): edge.label for edge in diagram.edges}


def parameter(name, *shape):
    rng = np.random.default_rng(len(name))
    return tg.nn.Parameter(rng.standard_normal(shape), name=name)


def data(name, t, n=2):
    return tg.label(tg.Tensor(np.ones(n)), name, t)


def test_the_plain_net_is_the_picture_that_texts_begin_with(unrolled):
    assert arrows(tg.draw.forward(unrolled(2), level="states", notation="state")) == {
        ("x₁", "s₁"): "W_x", ("s₀", "s₁"): "W_s", ("x₂", "s₂"): "W_x", ("s₁", "s₂"): "W_s", ("s₂", "y"): "W_y",
        ("y", "E"): "",
    }  # fmt: skip


def test_backward_a_gradient_passes_from_state_to_state(unrolled):
    found = arrows(tg.draw.backward(unrolled(2, many=True), level="states"))
    assert found["dh⁽²⁾", "dh⁽¹⁾"] == "∂h⁽²⁾/∂h⁽¹⁾" and found["dy⁽¹⁾", "dh⁽¹⁾"] == "∂y⁽¹⁾/∂h⁽¹⁾"
    assert found["E", "dL⁽²⁾"] == "∂E/∂L⁽²⁾" and not any("Σ" in end for ends in found for end in ends)


def test_the_two_states_of_an_lstm_are_one_node(unrolled):
    diagram = tg.draw.forward(unrolled(2, kind="LSTM"), level="states")
    assert arrows(diagram) == {
        ("x⁽¹⁾", "(h, c)⁽¹⁾"): "W", ("(h, c)⁽⁰⁾", "(h, c)⁽¹⁾"): "U", ("x⁽²⁾", "(h, c)⁽²⁾"): "W",
        ("(h, c)⁽¹⁾", "(h, c)⁽²⁾"): "U", ("(h, c)⁽²⁾", "y"): "V", ("y", "L"): "",
    }  # fmt: skip
    assert diagram.caption == "W: W_i, W_f, W_g, W_o   U: U_i, U_f, U_g, U_o"


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_the_layers_of_a_stacked_net_are_nodes_of_their_own(unrolled, kind):
    labels = {node.label for node in tg.draw.forward(unrolled(2, kind=kind, num_layers=2), level="states").nodes}
    h = "(h, c)" if kind == "LSTM" else "h"
    steps = {f"{h}{layer}⁽{t}⁾" for layer in "₁₂" for t in "⁰¹²"}
    assert labels == steps | {"x⁽¹⁾", "x⁽²⁾", "y", "L"}


def test_the_gradient_of_a_pair_is_that_of_its_parts(unrolled):
    loss = unrolled(2, kind="LSTM")
    parts = [next(x for x in topological_order(loss) if (x.name, x.step) == (name, 1)) for name in "hc"]
    norm = np.linalg.norm(np.concatenate([g.data for g in tg.grad(loss, parts)]))
    note = {node.label: node.note for node in tg.draw.backward(loss, level="states", values=True).nodes}
    assert note["d(h, c)⁽¹⁾"] == f"6, ‖·‖ = {norm:.3g}"


def test_a_highlight_is_the_gradient_from_one_state(unrolled):
    """BPTT post: the gradient from s₂ is ∂E/∂y ∂y/∂s₃ ∂s₃/∂s₂ ∂⁺s₂/∂W_s."""
    loss = unrolled(3)
    U = next(x for x in topological_order(loss) if x.name == "U")
    diagram = tg.draw.backward(loss, level="states", notation="state", highlight=(U, 2))
    assert diagram.caption.startswith("∂E/∂y ∂y/∂s₃ ∂s₃/∂s₂ ∂⁺s₂/∂W_s   ‖·‖ = ")
    assert {node.label for node in diagram.nodes if not node.faint} == {"E", "dy", "ds₃", "ds₂"}


@pytest.mark.parametrize("net", [{}, {"kind": "LSTM", "num_layers": 2}])
def test_a_highlight_passes_hidden_steps(unrolled, net):
    loss = unrolled(5, **net)
    U = next(x for x in topological_order(loss) if x.name in ("U", "U_f"))
    whole = tg.draw.backward(loss, level="states", highlight=(U, 1))
    short = tg.draw.backward(loss, level="states", highlight=(U, 1), max_steps=3)
    assert short.caption == whole.caption and all(not node.faint for node in short.nodes if node.kind == "elided")
    with pytest.raises(ValueError, match="step 3 is one of those hidden by max_steps"):
        tg.draw.backward(loss, level="states", highlight=(U, 3), max_steps=3)


def test_it_rolls_up(unrolled):
    found = arrows(tg.draw.forward(unrolled(4), level="states", rolled=True))
    assert found["h⁽ᵗ⁻¹⁾", "h⁽ᵗ⁾"] == "U" and found["h⁽ᵗ⁾", "h⁽ᵗ⁻¹⁾"] == "t − 1 ← t"


def test_gates_fold_away_and_what_they_gate_keeps_its_weights():
    """h(t) = (1 − f) ⊙ h(t-1) + f ⊙ tanh(W x + U (f ⊙ h(t-1))): x is multiplied by W, and not by U."""
    W_f, U_f, W, U = (parameter(*p) for p in (("W_f", 3, 2), ("U_f", 3, 3), ("W_h", 3, 2), ("U_h", 3, 3)))
    h = data("h", 0, 3)
    for t in (1, 2):
        x = data("x", t)
        f = tg.label(tg.sigmoid(W_f @ x + U_f @ h), "f", t)
        h = tg.label((1 - f) * h + f * tg.label(tg.tanh(W @ x + U @ (f * h)), "n", t), "h", t)
    diagram = tg.draw.forward(tg.label(tg.sum(h), "L"), level="states")
    assert arrows(diagram) == {
        ("x⁽¹⁾", "h⁽¹⁾"): "W", ("h⁽⁰⁾", "h⁽¹⁾"): "U", ("x⁽²⁾", "h⁽²⁾"): "W", ("h⁽¹⁾", "h⁽²⁾"): "U", ("h⁽²⁾", "L"): "",
    }  # fmt: skip
    assert diagram.caption == "W: W_f, W_h   U: U_f, U_h"


def test_a_hidden_layer_stays_where_the_output_is_what_goes_on():
    W, U, V, y = parameter("W", 3, 2), parameter("U", 3, 1), parameter("V", 1, 3), data("y", 0, 1)
    for t in (1, 2):
        y = tg.label(V @ tg.label(tg.tanh(W @ data("x", t) + U @ y), "h", t), "y", t)
    assert arrows(tg.draw.forward(tg.label(tg.sum(y), "L"), level="states")) == {
        ("x⁽¹⁾", "h⁽¹⁾"): "W", ("y⁽⁰⁾", "h⁽¹⁾"): "U", ("h⁽¹⁾", "y⁽¹⁾"): "V",
        ("x⁽²⁾", "h⁽²⁾"): "W", ("y⁽¹⁾", "h⁽²⁾"): "U", ("h⁽²⁾", "y⁽²⁾"): "V", ("y⁽²⁾", "L"): "",
    }  # fmt: skip


def test_a_derivative_that_leaves_out_another_way_is_the_direct_one():
    U, S, hs = parameter("U", 3, 3), parameter("S", 3, 3), [data("h", -1, 3), data("h", 0, 3)]
    for t in (1, 2, 3):
        hs.append(tg.label(tg.tanh(U @ hs[-1] + S @ hs[-2]), "h", t))
    found = arrows(tg.draw.backward(tg.label(tg.sum(hs[-1]), "L"), level="states"))
    assert found["dh⁽³⁾", "dh⁽¹⁾"] == "∂⁺h⁽³⁾/∂h⁽¹⁾" and found["dh⁽²⁾", "dh⁽¹⁾"] == "∂h⁽²⁾/∂h⁽¹⁾"


def test_a_graph_without_steps_has_its_layers():
    x, W_1, W_2 = data("x", None), parameter("W_1", 4, 2), parameter("W_2", 1, 4)
    a = tg.label(tg.relu(tg.label(W_1 @ x, "z")), "a")
    loss = tg.label(tg.nn.half_squared_error(tg.label(W_2 @ a, "y"), np.ones(1)), "L")
    assert arrows(tg.draw.forward(loss, level="states")) == {("x", "a"): "W₁", ("a", "y"): "W₂", ("y", "L"): ""}


@pytest.mark.parametrize("view", VIEWS)
def test_there_is_no_page_of_it(unrolled, view):
    with pytest.raises(ValueError, match='at level "named" or "primitives"'):
        VIEWS[view](unrolled(2), level="states").render("html")


def test_what_is_called_as_a_cell_is_but_of_no_step_is_no_state():
    """The context c that attention finds in the states of an LSTM, beside its cells c⁽ᵗ⁾."""
    hs, _ = tg.nn.LSTM(2, 3, rng=0)(np.ones((3, 2)))
    weights = tg.softmax(tg.stack([tg.dot(hs[-1], h) for h in hs]))
    c = tg.label(weights @ tg.stack(hs), "c")
    for level in ("named", "states"):
        nodes = tg.draw.forward(tg.label((c * c).sum(), "L"), level=level).nodes
        assert [node.kind for node in nodes if node.label == "c"] == ["variable"]
