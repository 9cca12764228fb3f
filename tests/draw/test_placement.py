"""Where everything stands in a figure, and how its lines run, read off its SVG."""

import re
import unicodedata
import xml.etree.ElementTree as ET
from collections import defaultdict
from functools import cache
from itertools import product

import numpy as np
import pytest
from drawn_nets import NETS, SVG, VIEWS
from own_nets import OWN_NETS, L, data, parameters, zero
from pictures import Picture

import tinygrad_rnn as tg
from tinygrad_rnn.backward import topological_order
from tinygrad_rnn.draw import style
from tinygrad_rnn.tensor import Tensor


def assert_lines_pass_no_node(picture):
    ids, boxes = list(picture.nodes), np.array(list(picture.nodes.values()))
    for ends, line in picture.lines:
        inside = (line[:, None] > boxes[:, :2] + 1) & (line[:, None] < boxes[:, 2:] - 1)
        assert {ids[i] for i in np.flatnonzero(inside.all(axis=2).any(axis=0))} <= set(ends)


def overlap(a, b):
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def overlapping(boxes, others):
    """Which boxes overlap which others."""
    a, b = np.array(boxes).reshape(-1, 1, 4), np.array(others).reshape(1, -1, 4)
    return ((a[..., :2] < b[..., 2:]) & (b[..., :2] < a[..., 2:])).all(axis=-1)


SPINE = re.compile(r"d?(ĥ|h|y|L)(⁽.*⁾)?(\n.*)?")


@pytest.mark.parametrize("level", ["named", "primitives"])
@pytest.mark.parametrize("view", VIEWS)
def test_the_spine_is_straight_and_columns_are_equally_wide(unrolled, view, level):
    diagram = VIEWS[view](unrolled(6), level=level)
    picture = Picture(diagram)
    spine = [node for node in diagram.nodes if SPINE.fullmatch(node.label)]
    assert len(spine) == 15
    heights = [picture.centre(node.id)[1] for node in spine]
    assert max(heights) - min(heights) < 0.1
    from_the_left = sorted(spine, key=lambda node: picture.centre(node.id)[0])
    in_time = ["h⁽⁰⁾", *(f"{name}⁽{t}⁾" for t in "¹²³⁴⁵⁶" for name in "ĥh"), "y", "L"]
    assert [node.label.split("\n")[0].removeprefix("d") for node in from_the_left] == in_time
    widths = [right - left for left, _, right, _ in picture.panels]
    assert len(widths) == 6 and max(widths) - min(widths) < 0.1


def test_a_line_of_a_sum_crosses_no_node(unrolled):
    loss = unrolled(3)
    W = next(node for node in topological_order(loss) if node.name == "W")
    diagram = tg.draw.backward(loss + (W * W).sum())
    assert_lines_pass_no_node(Picture(diagram))


@pytest.fixture(scope="module")
def picture(unrolled):
    """picture(view, net, option): that of three steps, drawn once for all that is said of it."""
    return cache(lambda view, net, option="": Picture(VIEWS[view](unrolled(3, **NETS[net]), **OPTIONS[option])))


OPTIONS = {
    "": {}, "rolled": {"rolled": True}, "max_steps": {"max_steps": 2}, "primitives": {"level": "primitives"},
    "state": {"notation": "state"}, "notes": {"shapes": True, "values": True},
}  # fmt: skip


DRAWN = list(dict.fromkeys([*product(NETS, [""]), *product(["GRU", "stacked many", "LSTM"], OPTIONS)]))


@pytest.mark.parametrize("level", ["named", "primitives"])
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("T", [1, 11])
def test_nothing_overlaps(unrolled, view, level, T):
    assert_nothing_overlaps(Picture(VIEWS[view](unrolled(T), level=level)))


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("net, option", DRAWN)
def test_nothing_overlaps_in_other_nets(picture, view, net, option):
    assert "nan" not in picture(view, net, option).source
    assert_nothing_overlaps(picture(view, net, option))


@pytest.mark.parametrize("options", [{}, {"level": "primitives"}], ids=str)
@pytest.mark.parametrize("net", OWN_NETS)
def test_nothing_overlaps_and_no_line_passes_a_node_in_any_graph(net, options):
    """Of both figures of a graph, which put each node in the same place."""
    loss = OWN_NETS[net]()
    forward, backward = (Picture(view(loss, **options)) for view in VIEWS.values())
    for picture in (forward, backward):
        assert_nothing_overlaps(picture)
        assert_lines_pass_no_node(picture)
    for id in forward.nodes:
        assert backward.centre(id) == pytest.approx(forward.centre(id), abs=0.05)


@pytest.mark.parametrize("net", OWN_NETS)
def test_what_is_the_same_in_every_step_stands_in_the_same_place_of_its_column(net):
    diagram = tg.draw.forward(OWN_NETS[net]())
    of_step = {step: (left, right) for step, (left, _, right, _) in diagram.panels.items()}
    places = defaultdict(set)
    for node in diagram.nodes:
        if node.step in of_step and node.kind == "state" and " = " in node.tooltip:
            left, right = of_step[node.step]
            places[node.label.split("⁽")[0], round(right - left)].add((round(node.x - left), round(node.y)))
    assert all(len(found) == 1 for found in places.values())


def test_gates_of_a_net_that_runs_against_time_are_laid_out_without_their_parameters():
    forth, back = tg.nn.LSTM(2, 3, rng=0), tg.nn.LSTM(2, 3, rng=1, reverse=True)
    hs, _ = tg.nn.Bidirectional(forth, back)(np.ones((2, 2)))
    readout = tg.nn.Linear(6, 1, rng=0)
    losses = [tg.nn.half_squared_error(readout(h), np.ones(1)) for h in hs]
    picture = Picture(tg.draw.backward(tg.label(losses[0] + losses[1], "E"), parameters=False))
    assert_nothing_overlaps(picture)
    assert_lines_pass_no_node(picture)


def test_the_line_of_a_term_leads_away_from_its_variable():
    """Of a parameter that hangs below in one step and above in another, the terms go down and up."""
    W, U, c = parameters(W=(3, 2), U=(3, 3), c=())
    h = zero("h")
    for t in (1, 2):
        x = data("x", t)
        h = L(tg.tanh(W @ x + U @ h) * c if t == 1 else tg.tanh(W @ (x * c) + U @ h), "h", t)
    diagram = tg.draw.backward(L(tg.sum(h * h), "L"))
    node = {node.id: node for node in diagram.nodes}
    above = {e.target: node[e.target].y - node[e.source].y for e in diagram.edges if e.kind == "gradient"}
    lines = {e.source: e.curve[3][1] - node[e.source].y for e in diagram.edges if e.kind == "term" and e.curve}
    assert {above[id] > 0 for id in lines} == {True, False}
    assert all((above[id] > 0) == (up > 0) for id, up in lines.items())


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("net", NETS)
def test_lines_of_other_nets_pass_no_node(picture, view, net):
    assert_lines_pass_no_node(picture(view, net))


def assert_nothing_overlaps(picture):
    nodes, labels = list(picture.nodes.values()), [box for *_, box in picture.edge_labels]
    assert not np.triu(overlapping(nodes, nodes), 1).any()
    for overlaps in (overlapping(labels, nodes), np.triu(overlapping(labels, labels), 1)):
        assert not [picture.edge_labels[i][:2] for i in np.flatnonzero(overlaps.any(axis=1))]


@pytest.mark.parametrize("net, option", DRAWN)
def test_both_pictures_put_each_node_in_the_same_place(picture, net, option):
    forward, backward = (picture(view, net, option) for view in VIEWS)
    assert forward.nodes.keys() <= backward.nodes.keys()
    for id in forward.nodes:
        assert backward.centre(id) == pytest.approx(forward.centre(id), abs=0.05)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("net", ["stacked", "stacked many"])
def test_each_layer_is_one_straight_line(unrolled, view, net):
    diagram = VIEWS[view](unrolled(3, **NETS[net]))
    picture = Picture(diagram)
    for layer in "₁₂":
        ys = [picture.centre(n.id)[1] for n in diagram.nodes if re.fullmatch(f"d?(ĥ|h){layer}⁽.⁾", n.label)]
        assert len(ys) == 7 and max(ys) - min(ys) < 0.1


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("net", NETS)
def test_the_columns_of_other_nets_are_equally_wide(picture, view, net):
    widths = [right - left for left, _, right, _ in picture(view, net).panels]
    assert len(widths) == 3 and max(widths) - min(widths) < 1


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("net", ["plain", "stacked many"])
def test_columns_from_step_10_on_are_as_wide_as_those_before(unrolled, view, net):
    diagram = VIEWS[view](unrolled(11, **NETS[net]))
    widths = [right - left for left, _, right, _ in diagram.panels.values()]
    assert max(widths) - min(widths) < 1


@pytest.mark.parametrize("options", [{"rolled": True}, {"max_steps": 2}])
def test_the_titles_of_columns_lie_in_their_panels(unrolled, options):
    root = ET.fromstring(tg.draw.forward(unrolled(20), **options).render("svg"))
    for g in (g for g in root.iter(f"{SVG}g") if g.get("class") == "cluster"):
        left, _, right, _ = Picture.shape(g)
        (text,) = g.iter(f"{SVG}text")
        x, width = float(text.get("x")), 0.9 * style.text_width("".join(text.itertext()), float(text.get("font-size")))
        assert left <= x and x + width <= right


@pytest.mark.parametrize("view", VIEWS)
def test_a_loop_crosses_no_node(unrolled, view):
    diagram = VIEWS[view](unrolled(3, many=True), rolled=True)
    assert [edge.kind for edge in diagram.edges].count("loop") == 1
    assert_lines_pass_no_node(Picture(diagram))


@pytest.mark.parametrize("view", VIEWS)
def test_a_column_holds_its_nodes_and_no_others(unrolled, view):
    diagram = VIEWS[view](unrolled(4))
    picture = Picture(diagram)
    for node in diagram.nodes:
        inside = [i for i, panel in enumerate(picture.panels, 1) if overlap(picture.nodes[node.id], panel)]
        assert inside == ([] if node.step is None else [node.step])


def test_a_graph_without_steps_is_laid_out(unrolled):
    x = Tensor([1.0, 2.0], requires_grad=True, name="x")
    y = tg.tanh(tg.label(x * 3.0, "z")).sum()
    for view in VIEWS.values():
        picture, diagram = Picture(view(y)), view(y)
        from_the_left = sorted(diagram.nodes, key=lambda node: picture.centre(node.id)[0])
        assert [node.label.removeprefix("d") for node in from_the_left] == ["x", "z", "L"]


@pytest.mark.parametrize("cell, least", [("RNN", 14.0), ("LSTM", 6.0), ("GRU", 6.0)])
def test_three_steps_of_a_cell_can_be_read_on_a_slide(cell, least):
    outputs, _ = getattr(tg.nn, cell)(2, 3, rng=0)(np.ones((3, 2)))
    root = ET.fromstring(tg.draw.backward(tg.nn.half_squared_error(outputs[-1], np.ones(3))).render("svg"))
    width, height = (float(root.get(side).removesuffix("pt")) for side in ("width", "height"))
    assert style.EDGE_FONT * min(960 / width, 540 / height) > least


def test_a_column_wider_than_high_has_its_gates_upon_their_preactivations():
    outputs, _ = tg.nn.GRU(2, 3, rng=0)(np.ones((2, 2)))
    nodes = {node.label: node for node in tg.draw.forward(tg.sum(outputs[-1])).nodes}
    for gate in ("r⁽¹⁾", "z⁽¹⁾", "n⁽¹⁾"):
        below = nodes[unicodedata.normalize("NFC", f"{gate[0]}\u0302{gate[1:]}")]
        assert abs(nodes[gate].x - below.x) < 1 and nodes[gate].y > below.y + 40
