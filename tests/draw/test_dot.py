"""The DOT text of a figure: it draws itself, with its arrows, what is highlighted above, and the legend below."""

import xml.etree.ElementTree as ET

import graphviz
import pygraphviz
import pytest
from drawn_nets import NETS, SVG, VIEWS
from pictures import Picture, plain

import tinygrad_rnn as tg
from tinygrad_rnn.backward import topological_order
from tinygrad_rnn.draw import style


def test_the_dot_file_draws_itself(unrolled, tmp_path):
    """Whoever draws the DOT file gets the same picture: the layout engine and all places are in it."""
    diagram = tg.draw.backward(unrolled(2))
    graph = pygraphviz.AGraph(string=diagram.save(tmp_path / "figure.dot").read_text())
    assert graph.graph_attr["layout"] == "nop2" and {node.id for node in diagram.nodes} < set(graph.nodes())
    assert isinstance(diagram.dot, graphviz.Digraph) and diagram.dot.source == diagram.source


@pytest.mark.parametrize("view", VIEWS)
def test_an_arrow_ends_at_the_outer_border_of_the_output(unrolled, view):
    diagram = VIEWS[view](unrolled(1))
    output = next(node for node in diagram.nodes if node.kind == "output")
    root = ET.fromstring(diagram.render("svg"))
    group = next(g for g in root.iter(f"{SVG}g") if g.get("id") == output.id)
    outer = max(float(e.get("rx")) for e in group.iter(f"{SVG}ellipse"))
    assert outer == pytest.approx(style.size("output", output.label)[0] / 2, abs=0.1)


@pytest.mark.parametrize("net", ["plain", "many", "LSTM"])
@pytest.mark.parametrize("step, max_steps", [(2, None), (1, 2)])
def test_the_highlighted_way_is_drawn_above_the_pale_ones(unrolled, net, step, max_steps):
    loss = unrolled(3, **NETS[net])
    U = next(node for node in topological_order(loss) if (node.name or "").startswith("U"))
    diagram = tg.draw.backward(loss, highlight=(U, step), max_steps=max_steps)
    bold = {f"{edge.source}->{edge.target}" for edge in diagram.edges if edge.bold}
    root = ET.fromstring(diagram.render("svg"))
    order = [g.get("id") for g in root.iter(f"{SVG}g") if g.get("class") == "edge"]
    terms = {f"{edge.source}->{edge.target}" for edge in diagram.edges if edge.kind == "term"}
    last_pale = max(i for i, id in enumerate(order) if id in terms - bold and "total" not in id)
    assert last_pale < min(i for i, id in enumerate(order) if id in terms & bold)


def test_the_highlighted_term_has_a_line_of_its_own(unrolled):
    loss = unrolled(2)
    U = next(node for node in topological_order(loss) if node.name == "U")
    diagram = tg.draw.backward(loss, highlight=(U, 1))
    assert diagram.caption.split("\n")[0] == "f = tanh" and len(diagram.caption.split("\n")) == 2
    texts = {plain("".join(t.itertext())).rstrip(): float(t.get("y")) for t in Picture(diagram).root.iter(f"{SVG}text")}
    (term,) = [text for text in texts if "‖·‖" in text]
    assert texts[term] > texts["f = tanh"] + 10
