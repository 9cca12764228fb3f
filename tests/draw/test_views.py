"""The figures as data: which nodes and edges there are, what is written on them, and what each option does."""

import re
from collections import Counter

import numpy as np
import pytest
from drawn_nets import NETS, VIEWS, each_view, every_net
from pictures import arrows, find, names, raised, texts

import tinygrad_rnn as tg
from tinygrad_rnn.algebra.typesetting import PLAIN
from tinygrad_rnn.backward import topological_order
from tinygrad_rnn.draw import style
from tinygrad_rnn.tensor import Tensor, label


def leaf(data, name=None):
    return Tensor(data, requires_grad=True, name=name)


def labels(diagram):
    """{(from, to): label} by the nodes' own labels."""
    name = {node.id: node.label for node in diagram.nodes}
    return {(name[edge.source], name[edge.target]): edge.label for edge in diagram.edges}


def test_the_forward_figure_is_fig_7_5(unrolled):
    assert labels(tg.draw.forward(unrolled(2))) == {
        ("W", "ĥ⁽¹⁾"): "", ("x⁽¹⁾", "ĥ⁽¹⁾"): "", ("U", "ĥ⁽¹⁾"): "", ("h⁽⁰⁾", "ĥ⁽¹⁾"): "", ("b", "ĥ⁽¹⁾"): "",
        ("ĥ⁽¹⁾", "h⁽¹⁾"): "f",
        ("W", "ĥ⁽²⁾"): "", ("x⁽²⁾", "ĥ⁽²⁾"): "", ("U", "ĥ⁽²⁾"): "", ("h⁽¹⁾", "ĥ⁽²⁾"): "", ("b", "ĥ⁽²⁾"): "",
        ("ĥ⁽²⁾", "h⁽²⁾"): "f",
        ("V", "y"): "", ("h⁽²⁾", "y"): "", ("c", "y"): "",
        ("y", "L"): "", ("Y", "L"): "",
    }  # fmt: skip


def test_the_backward_figure_is_fig_7_6_with_the_sums_over_time(unrolled):
    """The five derivatives of interdb 7.2.3 are on the edges, composed from the primitives' notation."""
    assert labels(tg.draw.backward(unrolled(2))) == {
        ("L", "dy"): "y − Y", ("L", "Y"): "",
        ("dy", "dV"): "ᵗh⁽²⁾", ("dy", "dc"): "1", ("dy", "dh⁽²⁾"): "ᵗV",
        ("dh⁽²⁾", "dĥ⁽²⁾"): "f′(ĥ⁽²⁾)",
        ("dĥ⁽²⁾", "dW⁽²⁾"): "ᵗx⁽²⁾", ("dĥ⁽²⁾", "dU⁽²⁾"): "ᵗh⁽¹⁾", ("dĥ⁽²⁾", "db⁽²⁾"): "1",
        ("dĥ⁽²⁾", "x⁽²⁾"): "", ("dĥ⁽²⁾", "dh⁽¹⁾"): "ᵗU",
        ("dh⁽¹⁾", "dĥ⁽¹⁾"): "f′(ĥ⁽¹⁾)",
        ("dĥ⁽¹⁾", "dW⁽¹⁾"): "ᵗx⁽¹⁾", ("dĥ⁽¹⁾", "dU⁽¹⁾"): "ᵗh⁽⁰⁾", ("dĥ⁽¹⁾", "db⁽¹⁾"): "1",
        ("dĥ⁽¹⁾", "x⁽¹⁾"): "", ("dĥ⁽¹⁾", "h⁽⁰⁾"): "",
        **{(f"d{p}⁽{t}⁾", "Σ"): "" for p in "WUb" for t in "¹²"},
        ("Σ", "dW"): "", ("Σ", "dU"): "", ("Σ", "db"): "",
    }  # fmt: skip


def test_each_sum_gathers_the_terms_of_its_parameter(unrolled):
    diagram = tg.draw.backward(unrolled(4))
    name = {node.id: node.label for node in diagram.nodes}
    sums = [node.id for node in diagram.nodes if node.kind == "sum"]
    gathered = {}
    for sigma in sums:
        (total,) = [name[e.target] for e in diagram.edges if e.source == sigma]
        gathered[total] = {name[e.source] for e in diagram.edges if e.target == sigma}
    assert gathered == {f"d{p}": {f"d{p}⁽{t}⁾" for t in "¹²³⁴"} for p in "WUb"}


def test_what_needs_no_gradient_is_faint(unrolled):
    diagram = tg.draw.backward(unrolled(2))
    assert {node.label for node in diagram.nodes if node.faint} == {"x⁽¹⁾", "x⁽²⁾", "h⁽⁰⁾", "Y"}
    faint = {node.id for node in diagram.nodes if node.faint}
    assert {edge.kind for edge in diagram.edges if edge.target in faint} == {"none"}


def test_an_initial_state_that_wants_a_gradient_gets_one():
    rnn = tg.nn.RNN(1, 2, rng=0)
    hs, _ = rnn(np.ones((1, 1)), [leaf(np.zeros(2))])
    assert labels(tg.draw.backward(hs[-1].sum()))["dĥ⁽¹⁾", "dh⁽⁰⁾"] == "ᵗU"


@pytest.mark.parametrize("T", [1, 5])
@pytest.mark.parametrize("view", [tg.draw.forward, tg.draw.backward])
def test_at_level_primitives_every_node_is_there(unrolled, view, T):
    loss = unrolled(T)
    diagram = view(loss, level="primitives")
    made = [n for n in topological_order(loss) if not n.is_leaf]
    drawn = [
        n for n in diagram.nodes if n.kind in ("operation", "variable", "state", "output") and "⁽⁰⁾" not in n.label
    ]
    assert len(drawn) == len(made) == 5 * T + 6
    by_step = Counter(n.step for n in drawn)
    assert all(by_step[t] == 5 for t in range(1, T + 1))


def test_at_level_primitives_edges_carry_one_local_derivative_each(unrolled):
    found = labels(tg.draw.backward(unrolled(1), level="primitives"))
    assert found["L\n⊙", "Σ"] == "½" and found["square", "−"] == "2 (y − Y)" and found["−", "dy\n+"] == "1"
    assert found["dĥ⁽¹⁾\n+", "+"] == "1" and found["linear", "dW"] == "ᵗx⁽¹⁾"


def test_both_figures_put_each_node_in_the_same_place(unrolled):
    loss = unrolled(3)
    for level in ("named", "primitives"):
        places = [
            {n.id: (n.x, n.y) for n in view(loss, level=level).nodes} for view in (tg.draw.forward, tg.draw.backward)
        ]
        assert places[0].items() <= places[1].items()


def test_drawing_leaves_gradients_alone(unrolled):
    loss = unrolled(2)
    tg.draw.backward(loss)
    assert all(node.grad is None for node in topological_order(loss))


@pytest.mark.parametrize("nonlinearity, written", [("sigmoid", "f′(ĥ⁽¹⁾)"), ("relu", "f′(ĥ⁽¹⁾)"), ("identity", "1")])
def test_other_nonlinearities(unrolled, nonlinearity, written):
    diagram = tg.draw.backward(unrolled(1, nonlinearity))
    assert labels(diagram)["dh⁽¹⁾", "dĥ⁽¹⁾"] == written
    assert diagram.caption == ("" if nonlinearity == "identity" else f"f = {nonlinearity}")


def test_of_the_squared_error_the_factor_2_is_kept(unrolled):
    assert labels(tg.draw.backward(unrolled(1, loss=tg.nn.squared_error)))["L", "dy"] == "−2 (Y − y)"


def test_without_bias_there_is_no_b(unrolled):
    assert not any("b" in node.label for node in tg.draw.backward(unrolled(2, bias=False)).nodes)


def test_a_loss_at_every_step_stands_in_its_column():
    rnn, readout = tg.nn.RNN(1, 2, rng=0), tg.nn.Linear(2, 2, rng=0)
    hs, _ = rnn(np.ones((3, 1)))
    loss = sum((tg.nn.cross_entropy(readout(h), 1) for h in hs), Tensor(0.0))
    diagram = tg.draw.forward(label(loss, "E"))
    steps = {node.label: node.step for node in diagram.nodes if node.kind != "parameter"}
    for t in (1, 2, 3):
        assert [steps[f"{name}{raised(t)}"] for name in "yYL"] == [t, t, t]
    assert steps["E"] is None
    found = labels(tg.draw.backward(loss))
    assert found["E", "dL⁽²⁾"] == "1" and found["dL⁽²⁾", "dy⁽²⁾"] == "softmax(y⁽²⁾) − Y⁽²⁾"


def test_a_graph_without_steps():
    x, w = leaf(2.0, "x"), leaf(3.0, "w")
    z = label(w * x + 1.0, "z")
    y = label(tg.tanh(z) * x**2 - x / 4.0, "y")
    diagram = tg.draw.backward(y)
    assert diagram.steps == [] and {node.kind for node in diagram.nodes} == {"parameter", "variable", "output"}
    assert labels(diagram) == {
        ("dz", "dw"): "x", ("dz", "dx"): "w", ("y", "dz"): "x² f′(z)", ("y", "dx"): "2 f(z) x − 0.25",
    }  # fmt: skip


def test_two_nonlinearities_go_by_their_names():
    x = leaf(2.0, "x")
    a = label(tg.tanh(x), "a")
    y = label(tg.sigmoid(a), "y")
    assert labels(tg.draw.backward(y)) == {("da", "dx"): "tanh′(x)", ("y", "da"): "σ′(a)"}


def test_paths_too_many_to_write_are_the_partial_derivative():
    x = leaf(2.0, "x")
    y = x
    for _ in range(60):
        y = y + y
    assert labels(tg.draw.backward(label(y, "y"))) == {("y", "dx"): "∂y/∂x"}


def test_a_long_unnamed_chain_folds_into_one_edge():
    x = leaf(1.0, "x")
    y = x
    for _ in range(20_000):
        y = y * 1.0
    assert labels(tg.draw.backward(y)) == {("L", "dx"): "∂L/∂x"}


def test_steps_that_users_label_are_columns():
    W, h = leaf(0.5, "W"), Tensor(1.0)
    label(h, "h", 0)
    for t in (1, 2):
        h = label(tg.tanh(W * h), "h", t)
    diagram = tg.draw.forward(h, level="primitives")
    assert {(node.label, node.step) for node in diagram.nodes} == {
        ("h⁽⁰⁾", None), ("W", 1), ("⊙", 1), ("h⁽¹⁾\ntanh", 1), ("W", 2), ("⊙", 2), ("h⁽²⁾\ntanh", 2),
    }  # fmt: skip
    assert len({node.y for node in diagram.nodes if node.kind != "parameter"}) == 1


@pytest.mark.parametrize("view", [tg.draw.forward, tg.draw.backward])
def test_bad_input(view):
    with pytest.raises(TypeError, match="a Tensor is needed, not a float"):
        view(1.0)
    with pytest.raises(ValueError, match=r"x of shape \(\) has no graph.*requires_grad=True"):
        view(Tensor(1.0, name="x"))
    with pytest.raises(ValueError, match="level='nodes'.*'named', 'primitives'"):
        view(leaf(1.0) * 2.0, level="nodes")
    with pytest.raises(TypeError, match="no such option"):
        view(leaf(1.0) * 2.0, levl="named")


def test_a_penalty_on_the_weights_joins_at_the_end(unrolled):
    loss = unrolled(2)
    W = next(node for node in topological_order(loss) if node.name == "W")
    total = label(loss + 0.1 * (W * W).sum(), "E")
    for level in ("named", "primitives"):
        diagram = tg.draw.backward(total, level=level)
        assert {node.label: node.step for node in diagram.nodes if "dW" in node.label} == {
            "dW⁽¹⁾": 1, "dW⁽²⁾": 2, "dW": None,
        }  # fmt: skip
    assert labels(tg.draw.backward(total))["E", "dW"] == "0.2 W"


def test_a_sequence_in_one_tensor_is_taken_apart_in_the_columns():
    X = leaf(np.ones((3, 2)), "X")
    hs, _ = tg.nn.RNN(2, 3, rng=0)(X)
    diagram = tg.draw.backward(hs[-1].sum())
    found = labels(diagram)
    assert found["dĥ⁽²⁾", "dx⁽²⁾"] == "ᵗW" and found["dx⁽²⁾", "dX⁽²⁾"] == "∂x⁽²⁾/∂X"
    assert len({node.y for node in diagram.nodes if "h⁽" in node.label}) == 1


def test_a_product_that_is_no_product_of_matrices_says_so(unrolled):
    loss = unrolled(2)
    U = next(x for x in topological_order(loss) if x.name == "U")
    reading = tg.draw.backward(loss, highlight=(U, 2), notation=tg.draw.Notation(order="reading")).caption
    assert "(y − Y) ᵗV f′(ĥ⁽²⁾) ᵗh⁽¹⁾ (read from left to right)" in reading
    assert "read from" not in tg.draw.backward(loss, highlight=(U, 2)).caption


def test_an_input_used_at_every_step_stands_in_every_column():
    rnn, x = tg.nn.RNN(2, 3, rng=0), Tensor(np.ones(2))
    hs, _ = rnn([x, x, x])
    assert [node.step for node in tg.draw.forward(hs[-1]).nodes if node.label == "x"] == [1, 2, 3]
    hs, _ = rnn([x, np.ones(2)])  # and where it stands now is where it is used now
    assert [node.step for node in tg.draw.forward(hs[-1]).nodes if node.label == "x⁽¹⁾"] == [1]


def test_a_use_that_passes_other_nodes_goes_around_them():
    rnn = tg.nn.RNN(2, 3, rng=0)
    hs, _ = rnn(np.ones((2, 2)))
    diagram = tg.draw.forward(label(hs[0] + hs[1], "y"))
    h = next(node for node in diagram.nodes if node.label == "h⁽¹⁾")
    (around,) = [edge for edge in diagram.edges if (edge.source, edge.target) == (h.id, diagram.nodes[-1].id)]
    passed = [node for node in diagram.nodes if node.step == 2 and node.kind != "parameter"]
    assert diagram.nodes[-1].label == "y"
    assert all(abs(y - node.y) > 23 for node in passed for x, y in around.curve if abs(x - node.x) < 23)


def test_inputs_that_want_a_gradient_are_inputs_still():
    xs = [leaf(np.ones(2)) for _ in range(2)]
    hs, _ = tg.nn.RNN(2, 3, rng=0)(xs)
    diagram = tg.draw.backward(hs[-1].sum())
    assert [(n.label, n.kind, n.faint) for n in diagram.nodes if "x" in n.label] == [
        ("dx⁽¹⁾", "input", False), ("dx⁽²⁾", "input", False),
    ]  # fmt: skip
    assert labels(diagram)["dĥ⁽²⁾", "dx⁽²⁾"] == "ᵗW"
    spine = next(n.y for n in diagram.nodes if n.label == "dĥ⁽¹⁾")
    assert all(n.y > spine for n in diagram.nodes if n.label.startswith(("dx", "dW⁽")))


def test_a_part_of_a_graph_is_drawn_as_in_the_whole():
    """A sum over all steps, Z of a softmax that is written out, is no state of the first, wherever a figure begins."""
    q, h, states = tg.nn.Parameter(np.ones(2), name="q"), tg.label(tg.Tensor(np.zeros(2)), "h", 0), []
    for t in (1, 2, 3):
        h = tg.label(tg.tanh(h + q), "h", t)
        states.append(h)
    scores = [tg.label(tg.exp(q @ h), "w", t) for t, h in enumerate(states, 1)]
    Z = tg.label(sum(scores[1:], scores[0]), "Z")
    weights = [tg.label(w / Z, "α", t) for t, w in enumerate(scores, 1)]
    loss = tg.label(sum((a * tg.sum(h) for a, h in zip(weights, states, strict=True)), 0.0), "L")
    for diagram in (tg.draw.backward(loss), tg.draw.between(loss, Z)):
        (node,) = (node for node in diagram.nodes if node.label == "dZ")
        assert (node.kind, node.step) == ("variable", None)


def parsed(note):
    return [float(number.replace("−", "-")) for number in re.findall(r"−?\d[\d.]*(?:e[−+]\d+)?", note)]


class TestQuantities:
    @pytest.mark.parametrize("net", ["plain", "LSTM", "GRU", "many"])
    def test_the_gradients_written_are_those_of_the_graph(self, unrolled, net):
        loss = unrolled(3, **NETS[net])
        written = {}
        for node in tg.draw.backward(loss, values=True).nodes:
            if not node.faint and node.note and not node.id.startswith("total"):
                written[node.kind == "parameter", node.label] = node.note
        compared = 0
        for x in topological_order(loss):
            if x.requires_grad and x.step is not None and x.name is not None:
                gradients = {(False, f"d{x.name}{raised(x.step)}"): tg.grad(loss, [x])[0].data}
            elif x.requires_grad and x.is_leaf:
                terms, name = tg.bptt.contributions(loss, x), f"d{x.name}"
                name += "′" * (name == "dc" and net == "LSTM")  # the bias of the readout, beside the cell states
                gradients = {(True, f"{name}{raised(k)}"): term for k, term in enumerate(terms, 1)}
                if not gradients.keys() & written.keys():  # used at one step
                    gradients = {(True, name): terms.sum(0)}
            else:
                continue
            for name, array in gradients.items():
                if name in written:
                    compared += 1
                    shape, numbers = ("", array.ravel())
                    if array.size > 3:
                        shape, numbers = "×".join(map(str, array.shape)), [np.linalg.norm(array)]
                        assert written[name].startswith(f"{shape}, ‖·‖ = ")
                    assert parsed(written[name].removeprefix(shape)) == pytest.approx(list(numbers), rel=5e-3)
        assert compared == len(written) - (7 if net == "many" else 2)  # all but L and y, or E, L(t) and y(t)

    @pytest.mark.parametrize("rolled", [True, False])
    @pytest.mark.parametrize("net", ["plain", "LSTM", "many"])
    def test_they_are_the_same_where_steps_are_hidden(self, unrolled, net, rolled):
        loss = unrolled(6, **NETS[net])
        full, short = (
            Counter(
                (n.kind, n.note) for n in tg.draw.backward(loss, values=True, **options).nodes if n.kind != "elided"
            )
            for options in ({}, {"rolled": True} if rolled else {"max_steps": 4})
        )
        assert short <= full

    def test_the_totals_are_written(self, unrolled):
        loss = unrolled(3)
        totals = {n.label: n.note for n in tg.draw.backward(loss, values=True).nodes if n.id.startswith("total")}
        assert parsed(totals["db"]) == pytest.approx(list(tg.grad(loss, [find(loss, "b")])[0].data), rel=5e-3)

    def test_the_values_written_are_those_of_the_nodes(self, unrolled):
        loss = unrolled(2)
        note = {node.label: node.note for node in tg.draw.forward(loss, values=True, shapes=True).nodes}
        for t in (1, 2):
            shape, numbers = note[f"h{raised(t)}"].split("\n")
            assert shape == "(3,)" and parsed(numbers) == pytest.approx(list(find(loss, "h", t).data), rel=5e-3)
        norm = np.linalg.norm(find(loss, "U").data)
        assert note["U"] == f"(3, 3)\n3×3, ‖·‖ = {norm:.3g}" and note["L"].startswith("()\n")

    def test_where_no_gradient_exists_there_is_a_dash_and_never_0(self, unrolled):
        loss = unrolled(2)
        note = {node.label: node.note for node in tg.draw.backward(loss, values=True).nodes}
        assert [note[name] for name in ("x⁽¹⁾", "x⁽²⁾", "h⁽⁰⁾", "Y")] == ["–"] * 4
        assert note["dU⁽¹⁾"] == "3×3, ‖·‖ = 0"  # ᵗh(0) is 0: this gradient exists

    def test_of_no_scalar_the_jacobians_are_written(self):
        hs, _ = tg.nn.RNN(2, 3, rng=0)(np.ones((3, 2)))
        note = {n.label: n.note for n in tg.draw.between(hs[2], hs[0], values=True).nodes}
        norm = np.linalg.norm(tg.bptt.jacobian(hs[2], hs[0]))
        assert note["dh⁽¹⁾"] == f"3×3, ‖·‖ = {norm:.3g}" and note["dh⁽³⁾"] == f"3×3, ‖·‖ = {np.sqrt(3):.3g}"

    def test_no_grad_is_needed_or_changed(self, unrolled):
        loss = unrolled(2)
        before = tg.draw.backward(loss, values=True, color_by="gradient")
        assert all(node.grad is None for node in topological_order(loss))
        loss.backward()
        grads = {node: (node.grad, node.grad.copy()) for node in topological_order(loss) if node.grad is not None}
        assert tg.draw.backward(loss, values=True, color_by="gradient") == before
        assert grads and all(p.grad is g and np.array_equal(g, copy) for p, (g, copy) in grads.items())


class TestColours:
    @pytest.mark.parametrize("by", ["gradient", "value"])
    @each_view
    def test_fills_are_ordered_as_the_norms_are(self, unrolled, by, view):
        loss = unrolled(8, "sigmoid")
        diagram = VIEWS[view](loss, color_by=by)
        fill = {node.label.removeprefix("d"): node.fill for node in diagram.nodes}
        norms = {}
        for n in topological_order(loss):
            if n.name in ("h", "ĥ") and n.requires_grad:
                array = n.data if by == "value" else tg.grad(loss, [n])[0].data
                norms[f"{n.name}{raised(n.step)}"] = np.linalg.norm(array)
        places = [diagram.scale.colours.index(fill[name]) for name in sorted(norms, key=norms.get)]
        assert len(places) == 16 and places == sorted(places) and len(set(places)) > 1

    def test_a_gradient_that_vanishes_fades_step_by_step(self, unrolled):
        diagram = tg.draw.backward(unrolled(12, "sigmoid"), color_by="gradient")
        fill = {node.label: node.fill for node in diagram.nodes}
        places = [diagram.scale.colours.index(fill[f"dh{raised(t)}"]) for t in range(1, 13)]
        assert places == sorted(places) and len(set(places)) >= 4
        assert fill["x⁽¹⁾"] == fill["Y"] == ""

    def test_the_legend_has_the_ends_of_the_scale(self, unrolled):
        diagram = tg.draw.backward(unrolled(12, "sigmoid"), color_by="gradient")
        flow = tg.bptt.gradient_flow(loss := unrolled(12, "sigmoid"), [find(loss, "h", t) for t in (1, 12)])
        name, _, low, high, _ = diagram.scale
        assert 10**low <= flow[0] < flow[1] <= 10**high
        legend = [word for id, words in texts(diagram).items() if id.startswith("legend1") for word in words]
        ends = [legend[1], legend[-2]]
        assert legend[0] == name and ends == [f"10{power}".replace("-", "−") for power in (low, high)]
        assert legend[-1] == "0"  # of dU(1), since h(0) is


class TestHighlight:
    @every_net
    @pytest.mark.parametrize("step", [1, 2])
    def test_bold_edges_lead_from_the_output_to_the_parameter(self, unrolled, net, step):
        loss = unrolled(2, **NETS[net])
        U = next(n for n in topological_order(loss) if n.name in ("U", "U_f", "U_r"))
        diagram = tg.draw.backward(loss, highlight=(U, step))
        bold = [e for e in diagram.edges if e.bold and e.kind == "gradient"]
        reached = {node.id for node in diagram.nodes if node.kind == "output"}
        for _ in bold:
            reached |= {e.target for e in bold if e.source in reached}
        assert reached == {e.source for e in bold} | {e.target for e in bold}
        ends = {names(diagram)[id] for id in reached - {e.source for e in bold}}
        assert len(ends) == 1 and re.fullmatch(f"dU(_.(,1)?)?₁?{raised(step)}", ends.pop())
        assert {n.id for n in diagram.nodes if not n.faint and n.kind != "sum"} - reached == {
            n.id for n in diagram.nodes if n.id.startswith("total") and not n.faint
        }
        assert all(e.faint for e in diagram.edges if {e.source, e.target} - reached and e.kind == "gradient")
        (term,) = [e for e in diagram.edges if e.kind == "term" and e.bold]
        assert term.source in reached

        product = tg.bptt.expansion(loss, U, setting=PLAIN)[step - 1]
        assert diagram.caption.endswith(f"{product.factors}   ‖·‖ = {product.norm:.3g}")
        assert {n.id for n in tg.draw.forward(loss, highlight=(U, step)).nodes if not n.faint} == reached

    @every_net
    def test_a_term_that_passes_hidden_steps_is_none_of_theirs(self, unrolled, net):
        """The dots, which it passes, are joined to the sums of all parameters: by other terms."""
        loss = unrolled(3, **NETS[net])
        U = next(n for n in topological_order(loss) if n.name in ("U", "U_f", "U_r"))
        diagram = tg.draw.backward(loss, highlight=(U, 1), max_steps=2)
        dots = {n.id for n in diagram.nodes if n.kind == "elided"}
        assert [e for e in diagram.edges if e.kind == "term" and e.source in dots]
        assert any(e.bold for e in diagram.edges if e.kind == "gradient" and e.source in dots)
        assert all(e.faint for e in diagram.edges if e.kind == "term" and e.source in dots)
        (term,) = [e for e in diagram.edges if e.kind == "term" and e.bold]
        labels = {n.id: n.label for n in diagram.nodes if not n.faint}
        assert re.fullmatch("dU(_.(,1)?)?₁?⁽¹⁾", labels[term.source])
        assert [id for id in labels if id.startswith("total")] == [term.target.replace("sum", "total")]

    def test_what_is_not_drawn_cannot_be_highlighted(self, unrolled):
        loss, other = unrolled(3), unrolled(3)
        U = find(loss, "U")
        for parameter, step in ((U, 0), (U, 4), (find(other, "U"), 1), (find(loss, "Y"), 4)):
            with pytest.raises(
                ValueError, match=r"highlight=.*(only at 1, 2, 3|does not depend|not require a gradient)"
            ):
                tg.draw.backward(loss, highlight=(parameter, step))
        with pytest.raises(TypeError, match="a Tensor is needed, not a str"):
            tg.draw.backward(loss, highlight=("U", 1))
        with pytest.raises(ValueError, match="step 2 is one of those hidden"):
            tg.draw.backward(loss, highlight=(U, 2), max_steps=2)

    def test_the_readout_is_highlighted_at_the_step_that_it_reads(self, unrolled):
        loss = unrolled(3)
        V = find(loss, "V")
        assert [term.step for term in tg.bptt.expansion(loss, V)] == [3]
        assert any(e.bold for e in tg.draw.backward(loss, highlight=(V, 3)).edges)

    @pytest.mark.parametrize("name, own, step", [("V", None, 4), ("h", 2, 2)])
    def test_a_term_that_does_not_exist_is_an_error(self, unrolled, name, own, step):
        loss = unrolled(3)
        with pytest.raises(ValueError):
            tg.draw.backward(loss, highlight=(find(loss, name, own), step))

    def test_what_is_no_step_is_named(self, unrolled):
        loss = unrolled(3)
        for step in (2.0, True, None, "2"):
            with pytest.raises(TypeError, match=rf"^draw\(highlight=.*: step={step!r}: a whole number is needed$"):
                tg.draw.backward(loss, highlight=(find(loss, "U"), step))
        found = [tg.draw.backward(loss, highlight=(find(loss, "U"), step)).caption for step in (2, np.int64(2))]
        assert found[0] == found[1]

    def test_a_state_is_not_drawn_at_the_step_that_uses_it(self, unrolled):
        """And no step is hidden."""
        loss = unrolled(3)
        with pytest.raises(ValueError, match=r"^draw\(highlight=.*: step 2 uses a Tensor of another step$"):
            tg.draw.backward(loss, highlight=(find(loss, "h", 1), 2))

    def test_no_pair_is_an_error_that_says_so(self, unrolled):
        with pytest.raises((TypeError, ValueError), match="highlight"):
            tg.draw.backward(unrolled(1), highlight=5)


class TestNotation:
    def letters(self, loss, notation):
        diagram = tg.draw.forward(loss, notation=notation)
        assert not any(c in "⁽⁾" for node in diagram.nodes for c in node.label)  # steps stand below
        return {re.sub("[₀-₉]", "", node.label) for node in diagram.nodes}

    def test_wildml(self, unrolled):
        assert self.letters(unrolled(2), "wildml") == {"U", "W", "V", "x", "h", "ŷ", "y", "E", "b", "c"}

    def test_state(self, unrolled):
        assert self.letters(unrolled(2), "state") == {"W_x", "W_s", "W_y", "x", "s", "y", "d", "E", "b", "c"}

    def test_wildml_calls_the_recurrent_matrix_W(self, unrolled):
        assert ("dh₂", "dh₁", "f′₂ ᵗW") in arrows(tg.draw.backward(unrolled(2), notation="wildml"))

    def test_one_of_your_own(self, unrolled):
        mine = tg.draw.Notation({"h": "a", "W": "W_{ax}", "U": "W_{aa}", "ĥ": None}, step="below")
        assert self.letters(unrolled(2), mine) >= {"a", "W_ax", "W_aa", "L", "Y"}

    def test_names_that_users_give_stay(self, unrolled):
        loss = unrolled(2)
        tg.label(find(loss, "U"), "U")
        tg.label(loss, "L")
        assert self.letters(loss, "state") >= {"W_x", "U", "W_y", "L"}


class TestParametersAndFit:
    @each_view
    @every_net
    def test_without_parameters_all_else_is_there(self, unrolled, view, net):
        loss = unrolled(3, **NETS[net])
        full, short = VIEWS[view](loss), VIEWS[view](loss, parameters=False)
        kept = [node.label for node in full.nodes if node.kind not in ("parameter", "sum")]
        assert [node.label for node in short.nodes] == kept

    def test_a_term_can_be_followed_without_them(self, unrolled):
        loss = unrolled(3)
        diagram = tg.draw.backward(loss, parameters=False, highlight=(find(loss, "U"), 2))
        assert {n.label for n in diagram.nodes if not n.faint} == {"L", "dy", "dh⁽³⁾", "dĥ⁽³⁾", "dh⁽²⁾", "dĥ⁽²⁾"}

    def test_a_tight_frame_has_no_room_for_the_other_figure(self, unrolled):
        def size(**options):
            left, bottom, right, top = tg.draw.forward(unrolled(3, many=True), **options).frame
            return right - left, top - bottom

        assert all(np.less(size(fit="tight"), size()))

    def test_no_label_is_cut_off_by_a_tight_frame(self):
        """That of the last of several losses stands on the right of all nodes."""
        rnn, readout = tg.nn.RNN(2, 3, rng=0), tg.nn.Linear(3, 1, rng=0)
        losses = [tg.nn.half_squared_error(readout(h), np.ones(1)) for h in rnn(np.ones((2, 2)))[0]]
        diagram = tg.draw.backward(losses, fit="tight")
        ends = [e.middle[0] + style.text_width(e.label, style.EDGE_FONT) / 2 for e in diagram.edges if e.label]
        assert max(ends) <= diagram.frame[2]
