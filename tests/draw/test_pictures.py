"""The figures as pictures: DOT and SVG, parsed."""

import os
import re
import subprocess
import sys
import unicodedata
import xml.etree.ElementTree as ET
from collections import defaultdict
from functools import cache
from itertools import product

import graphviz
import numpy as np
import pygraphviz
import pytest
from drawn_nets import NETS, SVG, VIEWS
from own_nets import OWN_NETS

import tinygrad_rnn as tg
from tinygrad_rnn.backward import topological_order
from tinygrad_rnn.draw import layout, style
from tinygrad_rnn.tensor import Tensor


class Picture:
    """An SVG's nodes and edge labels as boxes (left, top, right, bottom), by node id and by edge."""

    def __init__(self, diagram):
        self.source = diagram.render("svg").decode()
        self.root = ET.fromstring(self.source.encode())
        self.nodes, self.edge_labels, self.panels, self.lines = {}, [], [], []
        for g in self.root.iter(f"{SVG}g"):
            id = g.get("id")
            if g.get("class") == "node" and not id.startswith("legend"):
                self.nodes[id] = self.shape(g)
            if g.get("class") == "cluster":
                self.panels.append(self.shape(g))
            if g.get("class") == "edge":
                self.lines += [(id.split("->"), points(path.get("d"))) for path in g.iter(f"{SVG}path")]
                for text in g.iter(f"{SVG}text"):
                    x, y, size = (float(text.get(name)) for name in ("x", "y", "font-size"))
                    widths = [style.text_width(s.text, float(s.get("font-size", size))) for s in text]
                    box = (x, y - 0.75 * size, x + 0.9 * sum(widths), y + 0.1 * size)
                    self.edge_labels.append((id, "".join(text.itertext()), box))

    @staticmethod
    def shape(g):
        for e in g.iter(f"{SVG}ellipse"):
            cx, cy, rx, ry = (float(e.get(name)) for name in ("cx", "cy", "rx", "ry"))
            return (cx - rx, cy - ry, cx + rx, cy + ry)
        for tag, attribute in (("polygon", "points"), ("path", "d")):
            for p in g.iter(f"{SVG}{tag}"):
                numbers = [float(n) for n in re.findall(r"-?\d+(?:\.\d+)?", p.get(attribute))]
                if not numbers:  # dots and scissors have no border
                    continue
                return (min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2]))
        text = next(g.iter(f"{SVG}text"))
        x, y, size = (float(text.get(name)) for name in ("x", "y", "font-size"))
        return (x, y - 0.75 * size, x + style.text_width("".join(text.itertext()), size), y)

    def centre(self, id):
        left, top, right, bottom = self.nodes[id]
        return (left + right) / 2, (top + bottom) / 2


@pytest.mark.parametrize(
    "text", ["mmmm", "WWWW", "dW", "hidden state", 24 * "x", "iiii", "字字", "0.00938, 0.0322", "DYNAMO"]
)
def test_words_are_given_as_much_room_as_graphviz_sets_them_in(text):
    source = f'digraph {{ layout=dot node [shape=plain fontname="{style.FONT}" fontsize=16] a [label="{text}"] }}'
    words = next(line for line in layout.render(source, "plain").decode().splitlines() if line.startswith("node"))
    assert style.text_width(text, 16) > 0.96 * 72 * float(words.split()[4])


def points(path, pieces=16):
    """Points along a Bézier curve, from the text of an SVG path."""
    numbers = [float(n) for n in re.findall(r"-?\d+(?:\.\d+)?", path)]
    corners = np.array(numbers).reshape(-1, 2)
    t = np.linspace(0, 1, pieces)[:, None]
    weights = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3
    parts = [corners[i : i + 4] for i in range(0, len(corners) - 3, 3)]
    return np.concatenate([sum(w * p for w, p in zip(weights, part, strict=True)) for part in parts])


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
DRAWN = list(dict.fromkeys([*product(NETS, [""]), *product(["GRU", "stacked many", "stacked LSTM"], OPTIONS)]))


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


def test_every_node_and_label_is_in_the_svg(unrolled):
    diagram = tg.draw.backward(unrolled(3))
    picture = Picture(diagram)
    assert set(picture.nodes) == {node.id for node in diagram.nodes}
    written = sorted(plain(edge.label) for edge in diagram.edges if edge.label)
    assert sorted(plain(text) for _, text, _ in picture.edge_labels) == written
    texts = {plain("".join(text.itertext())).rstrip() for text in picture.root.iter(f"{SVG}text")}
    assert {"t = 1", "t = 2", "t = 3", "parameter", "f = tanh", "dU(2)", "Σ"} <= texts


def test_every_node_has_a_tooltip(unrolled):
    source = tg.draw.forward(unrolled(2)).render("svg").decode()
    assert "ĥ⁽²⁾ = W x⁽²⁾ + U h⁽¹⁾ + b, shape (3,)" in source
    assert "h⁽¹⁾ = f(ĥ⁽¹⁾), shape (3,)" in source
    assert "L = ½ Σ (y − Y)², shape ()" in source


@pytest.mark.parametrize(
    "suffix, magic",
    [(".svg", b"<?xml"), (".PNG", b"\x89PNG"), (".pdf", b"%PDF"), (".dot", b'digraph "forward computational graph" {')],
)
def test_save_writes_what_the_suffix_says(unrolled, tmp_path, suffix, magic):
    path = tmp_path / f"figure{suffix}"
    assert tg.draw.forward(unrolled(2)).save(path) == path
    assert path.read_bytes().startswith(magic)
    assert os.listdir(tmp_path) == [path.name]


def test_the_dot_file_draws_itself(unrolled, tmp_path):
    """Whoever draws the DOT file gets the same picture: the layout engine and all places are in it."""
    diagram = tg.draw.backward(unrolled(2))
    graph = pygraphviz.AGraph(string=diagram.save(tmp_path / "figure.dot").read_text())
    assert graph.graph_attr["layout"] == "nop2" and {node.id for node in diagram.nodes} < set(graph.nodes())
    assert isinstance(diagram.dot, graphviz.Digraph) and diagram.dot.source == diagram.source


def test_the_same_graph_gives_the_same_bytes(unrolled):
    first, second = (tg.draw.backward(unrolled(3)).render("svg") for _ in range(2))
    assert first == second


@pytest.mark.parametrize("name", ["figure", "figure.jpeg", "figure.svg.gz"])
def test_an_unknown_suffix_lists_the_known(unrolled, tmp_path, name):
    with pytest.raises(ValueError, match=rf"{name}.*'\.svg', '\.pdf', '\.png', '\.dot'"):
        tg.draw.forward(unrolled(1)).save(tmp_path / name)
    assert not os.listdir(tmp_path)


def test_a_folder_that_does_not_exist(unrolled, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"cannot write .*missing.figure\.svg: No such file"):
        tg.draw.forward(unrolled(1)).save(tmp_path / "missing" / "figure.svg")


def test_a_notebook_shows_it(unrolled):
    assert "<svg" in tg.draw.forward(unrolled(1))._repr_mimebundle_()["image/svg+xml"]


def plain(text):
    """Without indices being raised or lowered."""
    return unicodedata.normalize("NFKC", text)


HOSTILE = [
    '"quoted"',
    "a\\nb",
    "back\\slash\\",
    "<b>&amp;</b>",
    "<script>alert(1)</script>",
    "\\N",
    "line\nbreak",
    "🎓",
    "]]>",
    "nul\0bell\a",
    "\ud800",
]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("steps", [False, True])
def test_names_stay_text(name, steps):
    x = Tensor(1.0, requires_grad=True, name=name)
    y = tg.label(x * 2.0, name, 1 if steps else None)
    for view in VIEWS.values():
        diagram = view(y)
        root = ET.fromstring(diagram.render("svg"))
        assert not [e for e in root.iter() if e.tag.endswith("script")]
        texts = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
        shown = {plain(" ".join(node.label.split())) for node in diagram.nodes if node.label.strip()}
        assert shown <= {" ".join(plain(text).split()) for text in texts}
        layout.render(diagram.source, "pdf")


def test_a_graph_without_steps_is_laid_out(unrolled):
    x = Tensor([1.0, 2.0], requires_grad=True, name="x")
    y = tg.tanh(tg.label(x * 3.0, "z")).sum()
    for view in VIEWS.values():
        picture, diagram = Picture(view(y)), view(y)
        from_the_left = sorted(diagram.nodes, key=lambda node: picture.centre(node.id)[0])
        assert [node.label.removeprefix("d") for node in from_the_left] == ["x", "z", "L"]


def test_nothing_is_said_on_the_terminal(unrolled, capfd):
    layout.render(tg.draw.backward(unrolled(60)).source, "svg")
    assert capfd.readouterr() == ("", "")


def test_broken_dot_text_is_an_error():
    with pytest.raises(tg.DrawingError, match="could not draw svg"):
        layout.render("digraph { a -> ", "svg")


def test_without_any_layout_engine_the_error_says_what_to_install(unrolled, tmp_path):
    code = (
        "import sys; sys.modules['pygraphviz'] = None\n"
        "import tinygrad_rnn as tg\n"
        "d = tg.draw.forward(tg.Tensor(1.0, requires_grad=True) * 2.0)\n"
        f"d.save(r'{tmp_path / 'a.dot'}')\n"
        f"d.save(r'{tmp_path / 'a.svg'}')\n"
    )
    run = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PATH": ""}, capture_output=True, text=True)
    assert run.returncode == 1 and "pip install pygraphviz" in run.stderr and "DrawingError" in run.stderr
    assert os.listdir(tmp_path) == ["a.dot"]


@pytest.mark.parametrize("net", NETS)
def test_only_texts_of_one_piece_are_centred(unrolled, net):
    """LibreOffice puts the middle of every piece where that of the text belongs."""
    root = ET.fromstring(tg.draw.backward(unrolled(2, **NETS[net])).render("svg"))
    texts = list(root.iter(f"{SVG}text"))
    assert {len(text) for text in texts if text.get("text-anchor") == "middle"} == {1}
    assert max(map(len, texts)) > 1
    assert {"Times New Roman", "Times", "Liberation Serif", "serif"} < set(root.get("font-family").split(", "))


def test_a_label_of_several_pieces_stands_in_the_middle_in_times(unrolled):
    picture = Picture(tg.draw.backward(unrolled(2)))
    for g in (g for g in picture.root.iter(f"{SVG}g") if g.get("class") == "node" and g.get("id") in picture.nodes):
        for text in (text for text in g.iter(f"{SVG}text") if len(text) > 1):
            size = float(text.get("font-size"))
            width = sum(style.times_width(s.text, float(s.get("font-size", size))) for s in text)
            assert float(text.get("x")) + width / 2 == pytest.approx(picture.centre(g.get("id"))[0], abs=0.1)


@pytest.mark.parametrize("words, width", [("dU(2)", 2.388), ("Softmax", 3.112), ("dh", 1.0), ("BPTT", 3.0)])
def test_times_is_measured(words, width):
    """Widths of Times Roman, in parts of the font size, from its Adobe metrics."""
    assert style.times_width(words, 1.0) == pytest.approx(width, rel=0.15)


def test_kinds_of_nodes_differ_without_colours(unrolled):
    """By shape, by the thickness of the border, or by a second one."""
    kinds = ("parameter", "state", "variable", "output")
    looks = {(style.NODES[kind].shape, style.NODES[kind].border, style.NODES[kind].rings) for kind in kinds}
    assert len(looks) == len(kinds)
    diagram = tg.draw.forward(unrolled(2))
    root = ET.fromstring(diagram.render("svg"))
    drawn = {}
    for node in diagram.nodes:
        group = next(g for g in root.iter(f"{SVG}g") if g.get("id") == node.id)
        shapes = [e for e in group if e.tag in (f"{SVG}ellipse", f"{SVG}polygon")]
        drawn.setdefault(node.kind, (shapes[0].tag, shapes[0].get("stroke-width"), len(shapes)))
    assert len({drawn[kind] for kind in kinds}) == len(kinds)


@pytest.mark.parametrize("view", VIEWS)
def test_an_arrow_ends_at_the_outer_border_of_the_output(unrolled, view):
    diagram = VIEWS[view](unrolled(1))
    output = next(node for node in diagram.nodes if node.kind == "output")
    root = ET.fromstring(diagram.render("svg"))
    group = next(g for g in root.iter(f"{SVG}g") if g.get("id") == output.id)
    outer = max(float(e.get("rx")) for e in group.iter(f"{SVG}ellipse"))
    assert outer == pytest.approx(style.size("output", output.label)[0] / 2, abs=0.1)


@pytest.mark.parametrize("net", ["plain", "many", "LSTM"])
def test_the_highlighted_way_is_drawn_above_the_pale_ones(unrolled, net):
    loss = unrolled(3, **NETS[net])
    U = next(node for node in topological_order(loss) if (node.name or "").startswith("U"))
    diagram = tg.draw.backward(loss, highlight=(U, 2))
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


def test_outlines_are_no_text(unrolled, tmp_path):
    diagram = tg.draw.backward(unrolled(1))
    root = ET.parse(diagram.save(tmp_path / "figure.svg", outlines=True)).getroot()
    assert not list(root.iter(f"{SVG}text")) and len(list(root.iter(f"{SVG}path"))) > 20
    assert root.find(f"{SVG}title").text == diagram.title
    for format in ("pdf", "png", "json"):
        with pytest.raises(ValueError, match=rf"of an \.svg, not of \.{format}"):
            diagram.render(format, outlines=True)
    with pytest.raises(ValueError, match="outlines='no'"):
        diagram.render("svg", outlines="no")


def test_the_font_size_scales_the_whole(unrolled):
    loss = unrolled(1)

    def width(format, **options):
        content = tg.draw.forward(loss, **options).render(format)
        if format == "png":
            return int.from_bytes(content[16:20], "big")
        pattern = rb'width="(\d+)pt"' if format == "svg" else rb"/MediaBox \[ 0 0 (\d+)"
        return int(re.search(pattern, content)[1])

    for format in ("svg", "pdf", "png"):
        assert width(format, font_size=8) == pytest.approx(width(format) / 2, abs=2)
    for bad, error in {0: ValueError, "large": TypeError, True: TypeError}.items():
        with pytest.raises(error, match=r"draw\(font_size=.*a number of points from 1 to 200"):
            tg.draw.forward(loss, font_size=bad)


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
