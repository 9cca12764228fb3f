"""What each option of a figure does, on its data and, where it is about the picture, on the parsed SVG."""

import json
import os
import re
import struct
import subprocess
import sys
import unicodedata
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict

import numpy as np
import pytest
from drawn_nets import NETS, SVG, VIEWS
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.algebra.typesetting import PLAIN
from tinygrad_rnn.backward import topological_order
from tinygrad_rnn.draw.diagram import FORMATS

every_net = pytest.mark.parametrize("net", NETS)
each_view = pytest.mark.parametrize("view", VIEWS)


def names(diagram):
    return {node.id: node.label for node in diagram.nodes}


def arrows(diagram, *kinds):
    """(from, to, label) of each edge, by the nodes' labels."""
    name = names(diagram)
    return [(name[e.source], name[e.target], e.label) for e in diagram.edges if e.kind in kinds or not kinds]


def find(output, name, step=None):
    return next(n for n in topological_order(output) if n.name == name and n.step == step)


def raised(t):
    return "⁽" + "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(digit)] for digit in str(t)) + "⁾"


def texts(diagram):
    """All that stands in the SVG, by the id of its group, without indices being raised or lowered."""
    found = defaultdict(list)
    for g in ET.fromstring(diagram.render("svg")).iter(f"{SVG}g"):
        for text in g.iter(f"{SVG}text"):
            found[g.get("id") or ""].append(unicodedata.normalize("NFKC", "".join(text.itertext())).strip())
    return found


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

    def test_one_hidden_step_is_one_step(self, unrolled):
        assert "1 more step" in texts(tg.draw.forward(unrolled(3), max_steps=2))["cluster_2"]

    def test_a_parameter_whose_other_uses_are_hidden_has_its_sum(self):
        readout = tg.nn.Linear(3, 1, rng=0)
        losses = [tg.nn.half_squared_error(readout(h), np.ones(1)) for h in states(6)[3:]]
        diagram = tg.draw.backward(tg.label(losses[0] + losses[1] + losses[2], "E"), max_steps=2)
        assert ("Σ", "dV", "") in arrows(diagram, "term")


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
            for label, array in gradients.items():
                if label in written:
                    compared += 1
                    shape, numbers = ("", array.ravel())
                    if array.size > 3:
                        shape, numbers = "×".join(map(str, array.shape)), [np.linalg.norm(array)]
                        assert written[label].startswith(f"{shape}, ‖·‖ = ")
                    assert parsed(written[label].removeprefix(shape)) == pytest.approx(list(numbers), rel=5e-3)
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
        hs = states(3)
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


def parsed(note):
    return [float(number.replace("−", "-")) for number in re.findall(r"−?\d[\d.]*(?:e[−+]\d+)?", note)]


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

    @pytest.mark.parametrize("name, own, step", [("V", None, 4), ("U", None, None), ("h", 2, 2)])
    def test_a_term_that_does_not_exist_is_an_error(self, unrolled, name, own, step):
        loss = unrolled(3)
        with pytest.raises(ValueError):
            tg.draw.backward(loss, highlight=(find(loss, name, own), step))

    def test_no_pair_is_an_error_that_says_so(self, unrolled):
        with pytest.raises((TypeError, ValueError), match="highlight"):
            tg.draw.backward(unrolled(1), highlight=5)


@pytest.mark.parametrize("options", [{"parameters": False}, {"level": "states"}], ids=lambda o: next(iter(o)))
def test_an_output_that_is_made_of_parameters_alone_is_drawn(options):
    W = tg.Tensor(np.ones((3, 2)), requires_grad=True, name="W")
    penalty = tg.label((W * W).sum(), "R")
    loss = tg.label((tg.tanh(W @ np.ones(2)) ** 2).sum(), "L")
    for outputs in (penalty, [loss, penalty]):
        for view in (tg.draw.forward, tg.draw.backward):
            drawn = [node.label for node in view(outputs, **options).nodes if node.kind == "output"]
            assert drawn == (["R"] if outputs is penalty else ["L", "R"])


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


class TestOutput:
    @pytest.mark.parametrize(
        "options", [{}, {"rolled": True}, {"max_steps": 2, "values": True, "color_by": "gradient"}]
    )
    @each_view
    def test_json_holds_all_nodes_and_edges(self, unrolled, options, view, tmp_path):
        diagram = VIEWS[view](unrolled(4), **options)
        data = json.loads(diagram.save(tmp_path / "figure.json").read_text(encoding="utf-8"))
        assert [tg.draw.Node(**node) for node in data["nodes"]] == diagram.nodes
        for edge in data["edges"]:
            edge["curve"], edge["middle"] = tuple(map(tuple, edge["curve"])), edge["middle"] and tuple(edge["middle"])
        assert [tg.draw.Edge(**edge) for edge in data["edges"]] == diagram.edges
        assert (data["title"], data["steps"], data["caption"]) == (diagram.title, diagram.steps, diagram.caption)

    def test_two_processes_write_the_same_bytes_and_say_nothing(self, tmp_path):
        formats = [name for name in FORMATS if name != "gif"]  # whose frames are .png files, and take seconds
        code = (
            "import sys, numpy as np, tinygrad_rnn as tg\n"
            "rnn = tg.nn.GRU(1, 2, rng=0)\n"
            "loss = (rnn(np.ones((1, 1)))[0][-1] ** 2).sum()\n"
            "d = tg.draw.backward(loss, values=True, color_by='gradient')\n"
            f"for s in {formats}: d.save(sys.argv[1] + '/figure.' + s)\n"
        )
        written = []
        for seed in ("1", "2"):
            (folder := tmp_path / seed).mkdir()
            environment = {**os.environ, "PYTHONHASHSEED": seed}
            run = subprocess.run([sys.executable, "-c", code, folder], env=environment, capture_output=True, text=True)
            assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
            written.append({path.name: path.read_bytes() for path in folder.iterdir()})
        assert len(written[0]) == len(formats) and written[0] == written[1]

    def test_dpi_scales_a_png(self, unrolled, tmp_path):
        diagram = tg.draw.forward(unrolled(2))
        sizes = []
        for dpi in (72, 144):
            content = diagram.save(tmp_path / "figure.png", dpi=dpi).read_bytes()
            sizes.append(np.array(struct.unpack(">II", content[16:24])))
        assert np.all(abs(sizes[1] - 2 * sizes[0]) <= 2)
        for dpi in (0, -1, np.nan, 2401):
            with pytest.raises(ValueError, match="from 1 to 2400 dots per inch"):
                diagram.save(tmp_path / "no.png", dpi=dpi)
        assert os.listdir(tmp_path) == ["figure.png"]

    def test_a_folder_in_the_place_of_the_file(self, unrolled, tmp_path):
        (tmp_path / "figure.svg").mkdir()
        with pytest.raises(OSError, match=r"cannot write .*figure\.svg"):
            tg.draw.forward(unrolled(1)).save(tmp_path / "figure.svg")
        assert os.listdir(tmp_path) == ["figure.svg"]

    @pytest.mark.parametrize(
        "option, known",
        [
            ({"color_by": "norm"}, "'gradient', 'value'"),
            ({"color_by": ["value"]}, "'gradient', 'value'"),
            ({"level": None}, "'states', 'named', 'primitives'"),
            ({"fit": "close"}, "'shared', 'tight'"),
            ({"parameters": None}, "True, False"),
            ({"notation": "seed"}, "'interdb', 'wildml', 'state'"),
            ({"max_steps": 1}, "from 2 up"),
            ({"max_steps": 3, "rolled": True}, "rolled graph shows one step"),
        ],
    )
    def test_unknown_values_list_the_known(self, unrolled, option, known):
        for view in VIEWS.values():
            with pytest.raises(ValueError, match=known):
                view(unrolled(1), **option)

    def test_half_a_step(self, unrolled):
        with pytest.raises(TypeError, match=r"draw\(max_steps=2.5\): a whole number from 2 up is needed"):
            tg.draw.forward(unrolled(1), max_steps=2.5)

    def test_an_unknown_option(self, unrolled):
        with pytest.raises(TypeError, match="colour_by"):
            tg.draw.between(unrolled(1), unrolled(1), colour_by="value")


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
