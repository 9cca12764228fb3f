"""The SVG of a figure, parsed: nodes, labels and tooltips, in the fonts of any reader."""

import xml.etree.ElementTree as ET

import pytest
from drawn_nets import NETS, SVG, VIEWS
from pictures import Picture, plain

import tinygrad_rnn as tg
from tinygrad_rnn.draw import layout, style
from tinygrad_rnn.tensor import Tensor


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
