"""What is drawn of a graph, and in which columns: of a part, with one step for all, with some of the steps; and of
graphs other than one net's: second-order ones, several nets, cut states, what is fed back.
"""

import pickle
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from drawn_nets import NETS, VIEWS, each_view, every_net
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import arrows, find, names, texts
from stories import gradients_told

import tinygrad_rnn as tg
from tinygrad_rnn.backward import topological_order


def recurrent(T, many=False, **options):
    rnn, readout = tg.nn.RNN(2, 3, rng=0, **options), tg.nn.Linear(3, 1, rng=1)
    hs, _ = rnn(np.random.default_rng(0).standard_normal((T, 2)))
    return rnn, readout, hs, [tg.nn.half_squared_error(readout(h), np.ones(1)) for h in (hs if many else hs[-1:])]


def by_label(diagram):
    return {node.label: node for node in diagram.nodes}


def no_two_in_one_place(diagram):
    places = [(round(node.x), round(node.y)) for node in diagram.nodes]
    return len(places) == len(set(places))


@pytest.mark.parametrize("level", ["named", "primitives"])
@pytest.mark.parametrize("view", [tg.draw.forward, tg.draw.backward])
def test_targets_that_a_step_reads_twice_are_drawn(view, level):
    """Y(t) goes into two variables of its step, neither of which is a state or goes into one."""
    _, _, hs, _ = recurrent(2)
    total = 0.0
    for t, h in enumerate(hs, 1):
        Y = tg.label(tg.Tensor(np.ones(3)), "Y", t)
        error, product = tg.label(h - Y, "e", t), tg.label(h * Y, "p", t)
        total = total + tg.label((error * product).sum(), "L", t)
    diagram = view(total, level=level)
    assert no_two_in_one_place(diagram)
    assert {"Y⁽¹⁾", "Y⁽²⁾"} <= {node.label.split("\n")[0] for node in diagram.nodes}


@pytest.mark.parametrize("view", [tg.draw.forward, tg.draw.backward])
def test_steps_that_take_in_different_numbers_of_things_are_drawn(view):
    """Step 1 has x(1), which two states use; the others have both states, which cross over."""
    W = tg.Tensor(np.eye(2), requires_grad=True, name="W")
    x = tg.label(tg.Tensor(np.ones(2)), "x", 1)
    h, c = tg.label(tg.tanh(W @ x), "h", 1), tg.label(tg.sigmoid(W @ x), "c", 1)
    for t in (2, 3):
        a, b = tg.label(W @ h, "a", t), tg.label(W @ c, "b", t)
        h, c = tg.label(a * c + h, "h", t), tg.label(b * h + c, "c", t)
    assert no_two_in_one_place(view((h * c).sum()))


class TestSecondOrder:
    def gradient(self, T=3):
        rnn, _, _, (loss,) = recurrent(T)
        return tg.grad(loss, [rnn.cells[0].U], create_graph=True)[0]

    def test_gradients_run_back_through_the_columns(self):
        node = by_label(tg.draw.forward(self.gradient()))
        for name in "hĥ":
            gradients = [node[f"d{name}⁽{t}⁾"] for t in "¹²³"]
            assert [n.step for n in gradients] == [1, 2, 3] and len({round(n.y, 3) for n in gradients}) == 1
            assert gradients[0].x < gradients[1].x < gradients[2].x
        assert all(node[f"dĥ⁽{t}⁾"].x < node[f"dh⁽{t}⁾"].x for t in "¹²³")
        assert "dU" in node

    def test_gradients_of_gradients_are_told_from_gradients(self):
        """∂R/∂h beside the variable dh, which is ∂L/∂h."""
        dU = self.gradient(2)
        labels = {node.label for node in tg.draw.backward(tg.label((dU * dU).sum(), "R")).nodes}
        assert {"∂R/∂h⁽²⁾", "∂R/∂dh⁽²⁾", "∂R/∂U"} <= labels and not any(label.startswith("d") for label in labels)

    def test_names_of_gradients_survive_a_pickle(self):
        dU = self.gradient(1).detach()
        assert pickle.loads(pickle.dumps(dU)).name == dU.name == "dU"

    def test_a_copied_gradient_is_of_no_node_of_a_graph(self):
        """Another process may have given the number of its node to another one."""
        one, other = [tg.label(tg.Tensor([a], requires_grad=True), "h", 1) for a in (1.0, 2.0)]
        (dh,) = tg.grad((one * other**2).sum(), other, create_graph=True)
        for gradient, label in ((dh, "dh′⁽¹⁾"), (pickle.loads(pickle.dumps(dh.detach())), "dh⁽¹⁾")):
            diagram = tg.draw.forward(tg.label((one * other * gradient).sum(), "R"))
            assert {"h⁽¹⁾", "h′⁽¹⁾", label} <= {node.label for node in diagram.nodes}

    def test_a_variable_that_a_user_calls_da_is_no_gradient(self):
        _, _, hs, _ = recurrent(2)
        a = tg.label(hs[-1] * 2.0, "a")
        for name in ("da", "q"):
            diagram = tg.draw.forward(tg.label(tg.label(a * 2.0 - hs[-1], name).sum(), "L"))
            assert by_label(diagram)[name].y == by_label(diagram)["a"].y


class TestSeveralNets:
    def test_two_nets_over_the_same_steps_lie_one_upon_the_other(self):
        xs = list(np.random.default_rng(0).standard_normal((3, 2)))
        (a, _), (b, _) = tg.nn.RNN(2, 3, rng=0)(xs), tg.nn.RNN(2, 3, rng=1)(xs[::-1])
        diagram = tg.draw.backward(tg.label((a[-1] * b[-1]).sum(), "L"))
        assert no_two_in_one_place(diagram)
        rows = {node.label[:-3]: node.y for node in diagram.nodes if re.fullmatch("dh′?⁽[¹²]⁾", node.label)}
        assert rows.keys() == {"dh", "dh′"} and rows["dh"] != rows["dh′"]

    @pytest.mark.parametrize("level", ["named", "primitives"])
    def test_so_do_two_nets_that_every_step_reads_together(self, level):
        xs = list(np.random.default_rng(0).standard_normal((3, 2)))
        (a, _), (b, _) = tg.nn.RNN(2, 3, rng=0)(xs), tg.nn.RNN(2, 3, rng=1)(xs[::-1])
        readout = tg.nn.Linear(6, 1, rng=2)
        read = [readout(tg.concatenate([a[t], b[2 - t]])) for t in range(3)]
        ys = [tg.label(y, "y", t) for t, y in enumerate(read, 1)]
        losses = [tg.nn.half_squared_error(y, np.ones(1)) for y in ys]
        assert no_two_in_one_place(tg.draw.backward(losses[0] + losses[1] + losses[2], level=level))

    def test_what_is_fed_back_stands_in_the_step_that_it_is_of(self):
        cell, readout = tg.nn.RNNCell(1, 3, rng=0), tg.nn.Linear(3, 1, rng=1)
        h, x, losses = np.zeros(3), np.ones(1), []
        for _ in range(3):
            h = cell(x, h)
            x = readout(h)
            losses.append(tg.nn.half_squared_error(x, np.zeros(1)))
        diagram = tg.draw.forward(tg.label(losses[0] + losses[1] + losses[2], "E"))
        node = by_label(diagram)
        assert [node[f"{name}⁽{raised}⁾"].step for name in "hyLY" for raised in "¹²³"] == 4 * [1, 2, 3]
        assert no_two_in_one_place(diagram)


class TestCutStates:
    def chunks(self, kind=tg.nn.RNN):
        net, readout, state, losses = kind(2, 3, rng=0), tg.nn.Linear(3, 1, rng=1), None, []
        for _ in range(2):
            hs, state = net(np.ones((2, 2)), state)
            losses += [tg.nn.half_squared_error(readout(h), np.ones(1)) for h in hs]
            state = [(s[0].detach(), s[1].detach()) if isinstance(s, tuple) else s.detach() for s in state]
        return tg.label(sum(losses[1:], losses[0]), "E")

    @pytest.mark.parametrize("kind, states", [(tg.nn.RNN, 1), (tg.nn.GRU, 1), (tg.nn.LSTM, 2)])
    def test_a_cut_between_two_steps_stands_between_them(self, kind, states):
        diagram = tg.draw.backward(self.chunks(kind))
        assert no_two_in_one_place(diagram)
        cut = {edge.target for edge in diagram.edges if edge.kind == "cut"}
        assert len(cut) == states
        x = {node.step: node.x for node in diagram.nodes if node.label.startswith("dh")}
        assert all(x[2] < node.x < x[3] for node in diagram.nodes if node.id in cut)
        assert not any(edge.kind == "gradient" and edge.target in cut for edge in diagram.edges)

    def test_a_cut_among_hidden_steps_is_told(self):
        rnn, readout, state, losses = tg.nn.RNN(2, 3, rng=0), tg.nn.Linear(3, 1, rng=1), None, []
        for _ in range(2):
            hs, state = rnn(np.ones((3, 2)), state)
            losses += [tg.nn.half_squared_error(readout(hs[-1]), np.ones(1))]
            state = [s.detach() for s in state]
        diagram = tg.draw.backward(tg.label(losses[0] + losses[1], "E"), max_steps=2)
        assert [node.label for node in diagram.nodes if node.kind == "elided"] == ["⋯ ✂ ⋯"]

    def test_a_detached_state_is_drawn_wherever_it_is_used(self):
        _, _, hs, _ = recurrent(4)
        diagram = tg.draw.backward(tg.nn.half_squared_error(hs[2], hs[3].detach()))
        (cut,) = [edge.target for edge in diagram.edges if edge.kind == "cut"]
        assert by_label(diagram)["h⁽⁴⁾"].id == cut


class TestTruth:
    def test_values_are_those_that_the_graph_was_made_of(self):
        """An optimizer has stepped since: the figure shows the parameters that the drawn values were made with."""
        rnn, readout, _, (loss,) = recurrent(2)
        before = by_label(tg.draw.forward(loss, values=True))
        page = tg.draw.forward(loss).render("html")
        loss.backward()
        tg.optim.SGD([*rnn.parameters(), *readout.parameters()], lr=1.0).step()
        assert by_label(tg.draw.forward(loss, values=True)) == before
        assert tg.draw.forward(loss).render("html") == page

    def test_what_has_exploded_is_drawn(self):
        x = tg.Tensor([1e300, -1.0], requires_grad=True, name="x")
        with np.errstate(over="ignore", invalid="ignore"):
            y = tg.label((x * x).sum(), "y")
            nothing = y - y
        assert "inf" in by_label(tg.draw.forward(y, values=True, color_by="value"))["y"].note
        assert b"NaN" in tg.draw.forward(nothing).render("html") and b"Infinity" in tg.draw.forward(y).render("html")

    @pytest.mark.parametrize("format", ["svg", "pdf", "png", "html"])
    def test_the_same_graph_gives_the_same_bytes(self, format):
        diagram = tg.draw.backward(recurrent(4, many=True, num_layers=2)[3][-1], max_steps=2, values=True)
        assert diagram.render(format) == diagram.render(format)

    def test_with_the_standard_error_closed_figures_are_drawn(self, tmp_path):
        code = (
            "import os, tinygrad_rnn as tg\n"
            "os.close(2)\n"
            f"tg.draw.forward(tg.Tensor(1.0, requires_grad=True) * 2.0).save(r'{tmp_path / 'a.svg'}')\n"
        )
        assert subprocess.run([sys.executable, "-c", code]).returncode == 0
        assert (tmp_path / "a.svg").read_bytes().startswith(b"<?xml")

    def test_words_of_a_narrow_figure_are_not_cut_off(self):
        rnn, _, _, losses = recurrent(2, many=True)
        diagram = tg.draw.terms(losses, rnn.cells[0].W)
        svg = diagram.render("svg").decode()
        width = float(re.search(r'viewBox="\S+ \S+ (\S+)', svg)[1])
        shift = float(re.search(r"translate\((\S+) ", svg)[1])
        starts = [float(x) + shift for x in re.findall(r'<text x="(\S+)"', svg)]
        assert min(starts) > 0 and max(starts) < width


class TestWhatIsSaid:
    """Graphs one step off the stock nets: steps, kinds, cuts, loops and names are those of the graph."""

    def parameters(self, **shapes):
        rng = np.random.default_rng(0)
        return [tg.nn.Parameter(rng.standard_normal(shape), name=name) for name, shape in shapes.items()]

    def data(self, name, t, n=2):
        return tg.label(tg.Tensor(np.ones(n)), name, t)

    def test_a_gate_inside_a_gate_belongs_to_its_step(self):
        W, U, h = *self.parameters(W=(3, 2), U=(3, 3)), self.data("h", 0, 3)
        for t in (1, 2):
            x = self.data("x", t)
            f = tg.label(tg.sigmoid(W @ x), "f", t)
            h = tg.label(tg.tanh(W @ x + U @ (f * h)), "h", t)
        nodes = tg.draw.forward(h, level="primitives").nodes
        assert {node.label for node in nodes if node.step is None} == {"h⁽⁰⁾"}

    def teacher_forcing(self):
        W, U, V, W_d, U_d = self.parameters(W=(3, 2), U=(3, 3), V=(2, 3), W_d=(3, 2), U_d=(3, 3))
        h, losses = tg.label(tg.tanh(W @ self.data("x", 1) + U @ self.data("h", 0, 3)), "h", 1), []
        s, before = h, self.data("Y", 1)
        for t in (2, 3):
            s, Y = tg.label(tg.tanh(W_d @ before + U_d @ s), "s", t), self.data("Y", t)
            losses.append(tg.label(tg.nn.half_squared_error(tg.label(V @ s, "y", t), Y), "L", t))
            before = Y
        return tg.label(losses[0] + losses[1], "E")

    def test_a_target_that_is_the_next_input_is_data(self):
        diagram = tg.draw.backward(self.teacher_forcing())
        assert {node.kind for node in diagram.nodes if node.label.startswith("Y")} == {"input"}
        assert not [node for node in diagram.nodes if node.kind == "cut"]

    def test_a_first_state_is_not_cut_whatever_its_step(self):
        W, U, h = *self.parameters(W=(3, 2), U=(3, 3)), self.data("h", 5, 3)
        for t in (4, 3):  # through time backward
            h = tg.label(tg.tanh(W @ self.data("x", t) + U @ h), "h", t)
        diagram = tg.draw.backward(tg.label(tg.sum(h), "L"))
        assert {node.kind for node in diagram.nodes if "h" in node.label} == {"state"}
        assert not [node for node in diagram.nodes if node.kind == "cut"]

    def test_a_cut_state_keeps_its_name(self):
        diagram = tg.draw.backward(TestCutStates().chunks())
        assert sum(node.label in ("h⁽²⁾", "dh⁽²⁾") for node in diagram.nodes) == 2
        assert not any("′" in node.label for node in diagram.nodes)

    @pytest.mark.parametrize("level", ["states", "named"])
    def test_a_loop_for_every_lag(self, level):
        U, S, hs = *self.parameters(U=(3, 3), S=(3, 3)), [self.data("h", -1, 3), self.data("h", 0, 3)]
        for t in range(1, 5):
            hs.append(tg.label(tg.tanh(U @ hs[-1] + S @ hs[-2]), "h", t))
        diagram = tg.draw.forward(tg.label(tg.sum(hs[-1]), "L"), rolled=True, level=level)
        name = {node.id: node.label for node in diagram.nodes}
        loops = {(name[e.source], name[e.target], e.label) for e in diagram.edges if e.kind == "loop"}
        assert loops == {("h⁽ᵗ⁾", "h⁽ᵗ⁻¹⁾", "t − 1 ← t"), ("h⁽ᵗ⁾", "h⁽ᵗ⁻²⁾", "t − 2 ← t")}

    def test_what_attention_finds_stands_where_it_is_used(self):
        _, _, hs, _ = recurrent(3)
        c = tg.label(tg.softmax(tg.label(tg.stack(hs), "H") @ hs[-1]) @ tg.stack(hs), "c")
        diagram = tg.draw.forward(tg.sum(tg.nn.RNNCell(3, 3, name="d", rng=0)(c, hs[-1])))
        assert [node.step for node in diagram.nodes if node.label[0] in "Hc"] == [4, 4]

    def test_what_reads_all_states_is_no_recurrence(self):
        _, _, hs, _ = recurrent(4)
        diagram = tg.draw.forward(tg.label(sum(tg.sum(h * h) for h in hs), "L"), rolled=True)
        assert [edge.label for edge in diagram.edges if edge.kind == "loop"] == ["t − 1 ← t"]

    def test_two_sequences_have_a_loop_each(self):
        net = tg.nn.RNN(2, 3, rng=0)
        a, b = (net(np.random.default_rng(i).standard_normal((3, 2)))[0][-1] for i in range(2))
        diagram = tg.draw.forward(tg.label((a * b).sum(), "L"), rolled=True)
        assert sum(edge.kind == "loop" for edge in diagram.edges) == 2

    def test_steps_that_are_not_alike_cannot_be_rolled_up(self):
        with pytest.raises(ValueError, match=r"step 3 cannot stand for step 1, where h\(1\) .* is made of W"):
            tg.draw.forward(self.teacher_forcing(), rolled=True)

    @pytest.mark.parametrize("level", ["states", "named"])
    def test_a_step_with_a_cut_state_does_not_stand_for_one_without(self, level):
        with pytest.raises(ValueError, match=r"step 4 cannot stand for step 3, where .* h\(2\) .*past is cut off"):
            tg.draw.backward(TestCutStates().chunks(), rolled=True, level=level)

    def test_a_rolled_graph_whose_state_is_cut_in_every_step_has_the_cut(self):
        cell, h, losses = tg.nn.RNNCell(2, 3, rng=0), tg.Tensor(np.zeros(3)), []
        for _ in range(3):
            h = cell(np.ones(2), h.detach())
            losses.append(tg.nn.half_squared_error(h, np.ones(3)))
        diagram = tg.draw.backward(tg.label(losses[0] + losses[1] + losses[2], "E"), rolled=True)
        assert sum(edge.kind == "cut" for edge in diagram.edges) == 1

    @pytest.mark.parametrize("level", ["states", "named"])
    def test_a_mean_over_all_states_is_no_recurrence(self, level):
        """Of the loops of a rolled graph there is one, over one step, however many states are averaged."""
        _, readout, hs, _ = recurrent(4)
        mean = tg.label((hs[0] + hs[1] + hs[2] + hs[3]) / 4, "m")
        diagram = tg.draw.forward(tg.nn.half_squared_error(readout(mean), np.ones(1)), rolled=True, level=level)
        name = {node.id: node.label for node in diagram.nodes}
        assert [edge.label for edge in diagram.edges if edge.kind == "loop"] == ["t − 1 ← t"]
        assert [name[edge.source] for edge in diagram.edges if name[edge.target] == "m"] == ["h⁽ᵗ⁾"]

    def test_a_readout_of_the_last_two_states_has_both(self):
        *_, hs, _ = recurrent(4)
        diagram = tg.draw.forward(tg.label((hs[2] * hs[3]).sum(), "L"), rolled=True)
        name = {node.id: node.label for node in diagram.nodes}
        assert {name[e.source] for e in diagram.edges if name[e.target] == "L"} == {"h⁽ᵗ⁻¹⁾", "h⁽ᵗ⁾"}

    @pytest.mark.parametrize("level", ["states", "named"])
    def test_gradients_flow_through_hidden_steps_that_an_initial_state_reaches(self, level):
        """Of h(t) made of h(t-1) and h(t-2), h(0) goes into a hidden step, and needs no gradient itself."""
        U, S, hs = *self.parameters(U=(3, 3), S=(3, 3)), [self.data("h", -1, 3), self.data("h", 0, 3)]
        for t in range(1, 6):
            hs.append(tg.label(tg.tanh(S @ hs[-2] + U @ hs[-1]), "h", t))
        diagram = tg.draw.backward(tg.label(tg.sum(hs[-1]), "L"), max_steps=2, level=level)
        (dots,) = [node for node in diagram.nodes if node.kind == "elided"]
        name = {node.id: node.label for node in diagram.nodes}
        into_dots = {(name[e.source], e.kind) for e in diagram.edges if e.target == dots.id}
        assert into_dots == {("dh⁽⁵⁾", "gradient")} and not dots.faint

    def test_a_state_of_which_a_gate_takes_a_detached_copy_keeps_its_name(self):
        """At step 0 there are two of the name; the next states are made of the first of them."""
        W, U, h = *self.parameters(W=(3, 3), U=(3, 3)), self.data("h", 0, 3)
        for t in (1, 2):
            z = tg.label(tg.sigmoid(W @ h.detach()), "z", t)
            h = tg.label(z * tg.tanh(U @ h), "h", t)
        diagram = tg.draw.forward(tg.label(tg.sum(h), "L"))
        name = {node.id: node.label for node in diagram.nodes}
        edges = {(name[edge.source], name[edge.target]) for edge in diagram.edges}
        assert {("h⁽⁰⁾", "h⁽¹⁾"), ("h′⁽⁰⁾", "z⁽¹⁾"), ("h⁽¹⁾", "h⁽²⁾"), ("h⁽¹⁾", "z⁽²⁾")} <= edges

    def test_gradients_that_meet_are_added(self):
        losses = recurrent(2, many=True)[3]
        diagram = tg.draw.backward(tg.label(losses[0] + losses[1], "E"))
        assert [node.label for node in diagram.nodes if node.id in diagram.added] == ["dh⁽¹⁾"]
        assert "gradients\xa0added" in diagram.render("svg").decode()

    def test_sums_say_that_hidden_steps_are_in_them(self):
        diagram = tg.draw.backward(recurrent(5)[3][0], max_steps=2)
        label = {node.id: node.label for node in diagram.nodes}
        into_sums = [e for e in diagram.edges if e.kind == "term" and label[e.source] == "⋯"]
        assert len(into_sums) == 3 and {label[e.target] for e in into_sums} == {"Σ"}

    def test_the_bias_of_a_readout_is_no_cell_state(self):
        rnn, readout = tg.nn.LSTM(2, 3, rng=0), tg.nn.Linear(3, 1, rng=1)
        loss = tg.nn.half_squared_error(readout(rnn(np.ones((2, 2)))[0][-1]), np.ones(1))
        labels = {node.label: node.kind for node in tg.draw.backward(loss).nodes}
        assert labels["dc′"] == "parameter" and labels["dc⁽²⁾"] == "state" and "dc" not in labels

    def test_several_outputs(self):
        _, _, hs, losses = recurrent(3, many=True)
        forward = by_label(tg.draw.forward([losses[0], losses[2]]))
        assert forward["L⁽¹⁾"].kind == forward["L⁽³⁾"].kind == "output" and "L⁽²⁾" not in forward
        notes = by_label(tg.draw.backward(losses, values=True))
        (g,) = tg.grad(losses[0] + losses[1] + losses[2], [hs[0]])
        assert notes["dh⁽¹⁾"].note == "[" + ", ".join(f"{x:.3g}".replace("-", "−") for x in g.data) + "]"
        assert [notes[f"dL⁽{t}⁾"].note for t in "¹²³"] == ["1", "1", "1"]

    def test_outputs_without_names_are_told_apart(self):
        _, _, hs, _ = recurrent(2)
        labels = [n.label for n in tg.draw.forward([hs[0].sum(), hs[1].sum()]).nodes if n.kind == "output"]
        assert labels == ["L", "L′"]

    @pytest.mark.parametrize("outputs, message", [([], "an empty list"), ([1.0], "a Tensor is needed")])
    def test_what_is_no_list_of_outputs(self, outputs, message):
        with pytest.raises((ValueError, TypeError), match=message):
            tg.draw.backward(outputs)


def states(T, kind="RNN", num_layers=1):
    rnn = getattr(tg.nn, kind)(2, 3, num_layers, rng=0)
    hs, _ = rnn(np.ones((T, 2)))
    return hs


class TestBetween:
    def test_one_step_of_the_plain_net_is_fig_7_7(self):
        hs = states(4)
        assert arrows(tg.draw.between(hs[3], hs[2])) == [("dĥ⁽⁴⁾", "dh⁽³⁾", "ᵗU"), ("h⁽⁴⁾", "dĥ⁽⁴⁾", "f′(ĥ⁽⁴⁾)")]

    @pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
    @pytest.mark.parametrize("distance", [1, 3])
    def test_it_holds_what_depends_on_the_input_and_no_more(self, kind, distance):
        hs = states(4, kind, 2)
        start, output = hs[3 - distance], hs[3]
        on_way = {start}
        for node in topological_order(output):
            on_way |= {node} if on_way & set(node.inputs) else set()
        diagram = tg.draw.between(output, start, level="primitives")
        assert len(diagram.nodes) == len(on_way)
        uses = sum(len(on_way & set(node.inputs)) for node in on_way - {start})
        assert len(diagram.edges) == uses and {e.kind for e in diagram.edges} == {"gradient"}

    def test_a_part_of_a_pair_of_states_stands_for_the_pair(self, unrolled):
        loss = unrolled(2, kind="LSTM")
        diagram = tg.draw.between(loss, find(loss, "c", 1), level="states")
        assert {node.label for node in diagram.nodes} == {"L", "dy", "d(h, c)⁽²⁾", "d(h, c)⁽¹⁾"}

    @pytest.mark.parametrize("name, step, options", [("U", None, {"level": "states"}), ("h", 1, {"rolled": True})])
    def test_what_is_not_drawn_itself_is_named_all_the_same(self, unrolled, name, step, options):
        loss = unrolled(3)
        diagram = tg.draw.between(loss, find(loss, name, step), **options)
        assert diagram.title.startswith(f"computational graph between L and {name}") and diagram.nodes

    def test_in_the_first_step_less_stands_upon_each_other(self, unrolled):
        loss = unrolled(3, num_layers=2)
        diagram = tg.draw.between(loss, find(loss, "ĥ", 1), level="primitives")
        assert len({(node.x, node.y) for node in diagram.nodes}) == len(diagram.nodes)

    def test_what_depends_on_nothing_of_the_input_is_an_error(self):
        hs = states(3)
        with pytest.raises(ValueError, match=r"h\(1\).* does not depend on h\(3\)"):
            tg.draw.between(hs[0], hs[2])
        for pair in ((hs[0], 1.0), ("h", hs[0]), (hs[0], None)):
            with pytest.raises(TypeError, match="a Tensor is needed"):
                tg.draw.between(*pair) if pair[1] is not None else tg.draw.between(None, hs[0])


class TestRolled:
    @pytest.mark.parametrize(
        "net, loops",
        {"plain": ["h"], "GRU": ["h"], "LSTM": ["c", "h"], "stacked": ["h₁", "h₂"], "many": ["h"]}.items(),
    )
    def test_one_column_with_a_loop_from_each_state(self, unrolled, net, loops):
        loss = unrolled(3, **NETS[net])
        forward, backward = (view(loss, rolled=True) for view in VIEWS.values())
        assert sorted(arrows(forward, "loop")) == [(f"{s}⁽ᵗ⁾", f"{s}⁽ᵗ⁻¹⁾", "t − 1 ← t") for s in loops]
        assert sorted(arrows(backward, "loop")) == [(f"d{s}⁽ᵗ⁻¹⁾", f"d{s}⁽ᵗ⁾", "t − 1 ← t") for s in loops]
        for diagram in (forward, backward):
            assert len(diagram.steps) == 1 and not diagram.hidden
            added = [node.label for node in diagram.nodes if node.id in diagram.added]
            assert sorted(x for x in added if x[1:] in {f"{s}⁽ᵗ⁾" for s in loops}) == (
                [f"d{s}⁽ᵗ⁾" for s in loops] if diagram is backward else []
            )
            panels = {id: found for id, found in texts(diagram).items() if id.startswith("cluster")}
            assert list(panels.values()) == [["t"]]
            assert not re.search("⁽[⁰¹²³]", "".join(node.label for node in diagram.nodes))

    @pytest.mark.parametrize("both", [False, True])
    def test_the_gradient_flows_on_through_time_in_reverse_too(self, both):
        net, readout = tg.nn.RNN(2, 3, reverse=True, rng=0), tg.nn.Linear(6 if both else 3, 1, rng=1)
        net = tg.nn.Bidirectional(tg.nn.RNN(2, 3, rng=2, name="f"), net) if both else net
        losses = [tg.nn.half_squared_error(readout(h), [1.0]) for h in net(np.ones((5, 2)))[0]]
        drawn = arrows(tg.draw.backward(sum(losses), rolled=True), "gradient")
        assert ("dĥ⁽ᵗ⁾", "dh⁽ᵗ⁺¹⁾", "ᵗU") in drawn
        assert not both or ("dĥ_f⁽ᵗ⁾", "dh_f⁽ᵗ⁻¹⁾", "ᵗU_f") in drawn

    @pytest.mark.parametrize("kind", ["RNN", "LSTM"])
    def test_one_step_of_a_reverse_net_is_made_of_the_state_that_it_starts_from(self, kind):
        """Of a net that runs from T to 1, the last h of a list is the first that is made."""
        h, _ = getattr(tg.nn, kind)(2, 3, reverse=True, rng=0)(np.ones((2, 2)))
        nodes = tg.draw.forward((h[-1] * h[-1]).sum(), level="states").nodes
        name = "(h, c)" if kind == "LSTM" else "h"
        assert [node.label for node in nodes if node.kind == "state"] == [f"{name}⁽³⁾", f"{name}⁽²⁾"]

    @every_net
    @each_view
    def test_it_is_the_same_whatever_T_is(self, unrolled, net, view):
        def content(T):
            diagram = VIEWS[view](unrolled(T, **NETS[net]), rolled=True)
            return [(n.label, n.markup, n.kind, n.x, n.y, n.faint) for n in diagram.nodes], [
                (*arrow, e.kind, e.curve) for arrow, e in zip(arrows(diagram), diagram.edges, strict=True)
            ]

        assert content(2) == content(3) == content(7)

    def test_the_sum_over_time_holds_a_term_from_outside_of_the_steps_too(self, unrolled):
        loss = unrolled(3)
        W = find(loss, "W")
        diagram = tg.draw.backward(tg.label(loss + (W * W).sum(), "E"), rolled=True)
        into = Counter(edge.target for edge in diagram.edges if edge.kind == "term")
        assert sorted(count for id, count in into.items() if id.startswith("sum")) == [1, 1, 2]

    def test_no_tooltip_has_the_index_of_a_step(self, unrolled):
        tooltips = " ".join(node.tooltip for node in tg.draw.forward(unrolled(5), rolled=True).nodes)
        assert not re.search("⁽[⁰¹²³⁴⁵]⁾", tooltips)


class TestMaxSteps:
    @settings(max_examples=15, deadline=None)
    @given(T=st.integers(1, 9), n=st.integers(2, 6), net=st.sampled_from(list(NETS)), view=st.sampled_from(list(VIEWS)))
    def test_the_first_and_the_last_columns_are_as_they_were(self, unrolled, T, n, net, view):
        loss = unrolled(T, **NETS[net])
        full, short = VIEWS[view](loss), VIEWS[view](loss, max_steps=n)
        if n >= T:
            assert short == full
            return
        first, last = (n + 1) // 2, n // 2
        assert short.steps == [*range(1, first + 1), *range(T - last + 1, T + 1)]
        assert short.hidden == {first + 1: T - n}
        drawn = {(node.label, node.kind, node.step) for node in full.nodes if node.step in (None, *short.steps)}
        assert {(node.label, node.kind, node.step) for node in short.nodes if node.kind != "elided"} == drawn
        dots = [node for node in short.nodes if node.kind == "elided"]
        assert [node.label for node in dots] == ["⋯"] * {
            "stacked": 2,
            "LSTM": 2,
            "stacked many": 2,
            "stacked LSTM": 4,
        }.get(net, 1)
        assert {node.step for node in dots} == {first + 1}
        met = {id for edge in short.edges for id in (edge.source, edge.target)}
        assert met == set(names(short))  # no edge into nothing, and no node alone
        by_step = [{n.id: (n.label, n.kind, n.step) for n in d.nodes} for d in (full, short)]
        ends = [
            {(at[e.source], at[e.target], e.label) for e in d.edges}
            for at, d in zip(by_step, (full, short), strict=True)
        ]
        kept = set(by_step[1].values())
        assert {edge for edge in ends[0] if edge[0] in kept and edge[1] in kept} <= ends[1]

    @each_view
    def test_the_column_of_dots_says_how_many_it_hides(self, unrolled, view):
        found = texts(VIEWS[view](unrolled(20), max_steps=4))
        assert "16 more steps" in found["cluster_3"] and [c for c in found if c and c.startswith("cluster")] == [
            f"cluster_{t}" for t in (1, 2, 3, 19, 20)
        ]

    @pytest.mark.parametrize("level", ["states", "named"])
    @pytest.mark.parametrize("is_list", [False, True])
    def test_dots_stand_for_the_steps_of_a_net_whose_states_are_not_learnt(self, level, is_list):
        """An echo state net, of which the readout alone is learnt: no state is made by anything that is recorded."""
        readout, hs = (
            tg.nn.Linear(3, 1, rng=0),
            [tg.label(tg.Tensor(h.data), "h", t) for t, h in enumerate(states(5), 1)],
        )
        losses = [tg.label(tg.sum(readout(h) ** 2), "L", t) for t, h in enumerate(hs, 1)]
        output = losses if is_list else tg.label(sum(losses[1:], losses[0]), "E")
        for view in VIEWS.values():
            diagram = view(output, max_steps=2, level=level)
            (dots,) = [node for node in diagram.nodes if node.kind == "elided"]
            assert diagram.steps == [1, 5] and dots.step == 2
        if level == "named":
            (g,) = tg.grad(sum(losses), readout.V)
            np.testing.assert_allclose(gradients_told(diagram.story())["dV"], g.value)

    def test_one_hidden_step_is_one_step(self, unrolled):
        assert "1 more step" in texts(tg.draw.forward(unrolled(3), max_steps=2))["cluster_2"]

    def test_a_parameter_whose_other_uses_are_hidden_has_its_sum(self):
        readout = tg.nn.Linear(3, 1, rng=0)
        losses = [tg.nn.half_squared_error(readout(h), np.ones(1)) for h in states(6)[3:]]
        diagram = tg.draw.backward(tg.label(losses[0] + losses[1] + losses[2], "E"), max_steps=2)
        assert ("Σ", "dV", "") in arrows(diagram, "term")


@pytest.mark.parametrize("options", [{"parameters": False}, {"level": "states"}], ids=lambda o: next(iter(o)))
def test_an_output_that_is_made_of_parameters_alone_is_drawn(options):
    W = tg.Tensor(np.ones((3, 2)), requires_grad=True, name="W")
    penalty = tg.label((W * W).sum(), "R")
    loss = tg.label((tg.tanh(W @ np.ones(2)) ** 2).sum(), "L")
    for outputs in (penalty, [loss, penalty]):
        for view in (tg.draw.forward, tg.draw.backward):
            drawn = [node.label for node in view(outputs, **options).nodes if node.kind == "output"]
            assert drawn == (["R"] if outputs is penalty else ["L", "R"])


class TestCuts:
    @pytest.mark.parametrize(
        "kind, layers, cut", [("RNN", 1, ["h"]), ("GRU", 1, ["h"]), ("LSTM", 1, ["c", "h"]), ("RNN", 2, ["h₁", "h₂"])]
    )
    @pytest.mark.parametrize("truncated", [False, True])
    def test_a_state_without_its_past_hangs_from_scissors(self, kind, layers, cut, truncated):
        rnn, readout = getattr(tg.nn, kind)(2, 3, layers, rng=0), tg.nn.Linear(3, 1, rng=0)
        losses = []
        if truncated:

            def loss_fn(y, target):
                losses.append(tg.nn.squared_error(y, target))
                return losses[-1]

            list(tg.bptt.truncated(rnn, readout, loss_fn, np.ones((4, 2)), np.ones((4, 1)), length=2))
        else:
            _, state = rnn(np.ones((2, 2)))
            hs, _ = rnn(
                np.ones((2, 2)), [tuple(p.detach() for p in s) if kind == "LSTM" else s.detach() for s in state]
            )
            losses.append((hs[-1] * hs[-1]).sum())
        for view in VIEWS.values():
            diagram = view(losses[-1])
            assert diagram.steps == [3, 4]
            assert sorted(arrows(diagram, "cut")) == [("✂", f"{s}⁽²⁾", "") for s in cut]
            assert [n.kind for n in diagram.nodes if n.label == "✂"] == ["cut"] * len(cut)
            assert sum(found == ["✂"] for id, found in texts(diagram).items() if not id.startswith("legend")) == len(
                cut
            )

    def test_the_initial_state_is_no_cut(self, unrolled):
        assert not arrows(tg.draw.backward(unrolled(2)), "cut")

    @pytest.mark.parametrize(
        "clip, said",
        [(tg.optim.clip_grad_norm, r"clipped, × 0\.\d+"), (tg.optim.clip_grad_value, r"clipped, \d of \d")],
    )
    def test_clipping_is_marked_on_the_totals_until_the_gradient_goes(self, unrolled, clip, said):
        loss = unrolled(3)
        parameters = [find(loss, name) for name in "WUb"]

        def notes():
            return {n.label: n.note for n in tg.draw.backward(loss).nodes if n.note}

        loss.backward()
        clip(parameters, 1e6)
        assert notes() == {}
        clip(parameters, 1e-3)
        assert set(notes()) == {"dW", "dU", "db"} and all(re.fullmatch(said, note) for note in notes().values())
        assert not any(n.note for n in tg.draw.forward(loss).nodes)
        tg.optim.SGD(parameters, 0.1).zero_grad()
        assert notes() == {}


def perceptron():
    rng = np.random.default_rng(0)
    x = tg.label(tg.Tensor(rng.standard_normal(4)), "image")
    hidden, out = tg.nn.Linear(4, 5, rng=0), tg.nn.Linear(5, 2, rng=1)
    return tg.nn.cross_entropy(out(tg.label(tg.relu(hidden(x)), "a")), 1), {"image", "a"}


def polynomial():
    x, p = tg.Tensor(2.0, requires_grad=True, name="x"), tg.Tensor(-1.0, requires_grad=True, name="p")
    return tg.label(p * x**3 - 2.0 * x + 1.0, "y"), {"x", "p", "y"}


class TestOwnGraphs:
    @pytest.mark.parametrize("make", [perceptron, polynomial])
    @pytest.mark.parametrize("view", [*VIEWS, "between"])
    @pytest.mark.parametrize(
        "options",
        [{}, {"level": "primitives"}, {"max_steps": 2}, {"values": True, "shapes": True},
         {"color_by": "gradient"}, {"color_by": "value"}, {"notation": "state"}],
    )  # fmt: skip
    def test_without_time_steps_there_are_no_columns(self, make, view, options):
        loss, named = make()
        start = next(n for n in topological_order(loss) if n.is_leaf and n.requires_grad)
        diagram = tg.draw.between(loss, start, **options) if view == "between" else VIEWS[view](loss, **options)
        assert diagram.steps == [] and not diagram.hidden and {node.step for node in diagram.nodes} == {None}
        assert not arrows(diagram, "loop", "cut", "term")
        found = texts(diagram)
        assert not any(id and id.startswith("cluster") for id in found)
        if view != "between":
            labels = {node.label.split("\n")[0] for node in diagram.nodes}
            assert named <= labels | {label.removeprefix("d") for label in labels}
        assert {node.id for node in diagram.nodes} <= found.keys()

    def test_values_of_a_polynomial(self):
        y, _ = polynomial()
        written = [{n.label: n.note for n in view(y, values=True).nodes} for view in VIEWS.values()]
        assert written == [{"x": "2", "p": "−1", "y": "−11"}, {"dx": "−14", "dp": "8", "dy": "1"}]

    def test_there_are_no_steps_to_highlight(self):
        y, _ = polynomial()
        with pytest.raises(ValueError, match="step"):
            tg.draw.backward(y, highlight=(find(y, "x"), 1))
