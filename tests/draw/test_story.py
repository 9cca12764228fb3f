"""What the page tells, before any browser: the frames of a graph, and the numbers in them."""

import os
import re
import sys
import xml.etree.ElementTree as ET
from functools import partial
from itertools import product

import numpy as np
import pytest
from algebra.readers import FUNCTIONS, LETTERS, Formula, Net
from drawn_nets import SVG

import tinygrad_rnn as tg
from tinygrad_rnn.backward import topological_order
from tinygrad_rnn.context import time_step
from tinygrad_rnn.draw import style
from tinygrad_rnn.draw.labels import BESIDE, FROM, MARK, TO
from tinygrad_rnn.draw.page import Story

NETS = [{}, {"many": True}, {"kind": "LSTM"}, {"kind": "GRU", "many": True}, {"num_layers": 2}]


def gradients_told(story: Story) -> dict[str, np.ndarray]:
    """How every gradient is in the end, by the names on the page."""
    return {frame["grows"][0]: total for frame, total in backward_frames(story) if "grows" in frame}


def backward_frames(story: Story):
    """Every frame of the way back, and what the gradient is after it."""
    arrays = numbered(story)
    for frame in story.frames:
        if frame["phase"] == "backward":
            yield frame, arrays[frame["total"]]


def numbered(story: Story) -> dict[int, np.ndarray]:
    """The arrays that the page shows, by the numbers that it knows them by."""
    return {number: x.value for x, number in story.computation.numbers.items()}


def plain(markup: str) -> str:
    """An equation as plain text: dh⁽²⁾ = ᵗU dĥ⁽³⁾."""
    raised, lowered = str.maketrans("0123456789()-tT", "⁰¹²³⁴⁵⁶⁷⁸⁹⁽⁾⁻ᵗᵀ"), str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
    text = re.sub(r"<SUP>(.*?)</SUP>", lambda found: found[1].translate(raised), markup)
    text = re.sub(
        r"<SUB>(.*?)</SUB>", lambda found: found[1].translate(lowered) if found[1].isdigit() else f"_{found[1]}", text
    )
    return re.sub(f"</?I>|{MARK}", "", text).replace(BESIDE, " ")


def equations(story: Story) -> list[str]:
    return [plain(frame["equation"]) for frame, _ in backward_frames(story)]


@pytest.mark.parametrize("options", [{}, {"max_steps": 2}, {"max_steps": 3, "level": "primitives"}])
@pytest.mark.parametrize("net", NETS)
def test_the_sums_told_are_the_gradients(unrolled, net, options):
    loss = unrolled(5, **net)
    parameters = [x for x in topological_order(loss) if x.is_leaf and x.requires_grad]
    grads = tg.grad(loss, parameters)
    story = tg.draw.backward(loss, **options).story()
    told = gradients_told(story)
    assert len(told) == len(parameters)
    for p, g in zip(parameters, grads, strict=True):
        prime = "′" * (p.name == "c" and net.get("kind") == "LSTM")
        name = (
            f"d{p.name}{prime}" if net.get("num_layers") is None or p.layer is None else f"d{p.name}{'₁₂'[p.layer - 1]}"
        )
        np.testing.assert_allclose(told[name], g.value, rtol=1e-8, err_msg=name)


@pytest.mark.parametrize("net", NETS)
def test_a_state_before_hidden_steps_gets_its_whole_gradient(unrolled, net):
    loss = unrolled(6, **net)
    h = next(x for x in topological_order(loss) if x.name == "h" and x.step == 1)
    story = tg.draw.forward(loss, max_steps=2).story()
    id = next(id for id, node in story.nodes.items() if node["plain"] in ("h⁽¹⁾", "h₁⁽¹⁾"))
    last = [total for frame, total in backward_frames(story) if frame["to"] == id][-1]
    np.testing.assert_allclose(last, tg.grad(loss, [h])[0].value, rtol=1e-8)


def test_values_come_in_the_order_of_execution_and_gradients_in_reverse(unrolled):
    loss = unrolled(3)
    story = tg.draw.forward(loss).story()
    plain = {id: node["plain"] for id, node in story.nodes.items()}
    made = [plain[frame["nodes"][0]] for frame in story.frames[1:] if frame["phase"] == "forward"]
    assert made == [f"{name}⁽{t}⁾" for t in "¹²³" for name in "ĥh"] + ["y", "L"]
    reached = [plain.get(frame["to"]) for frame in story.frames if frame["phase"] == "backward"]
    assert [name for name in reached if name in made] == made[::-1]


def test_a_rolled_graph_has_no_page(unrolled):
    with pytest.raises(ValueError, match="with every step"):
        tg.draw.forward(unrolled(3), rolled=True).render("html")


def test_the_equations_of_a_plain_net(unrolled):
    assert equations(tg.draw.backward(unrolled(2)).story()) == [
        "∂L/∂L = 1",
        "dy = y − Y",
        "dc = dy",
        "dh⁽²⁾ = ᵗV dy",
        "dV = dy ᵗh⁽²⁾",
        "dĥ⁽²⁾ = f′(ĥ⁽²⁾) ⊙ dh⁽²⁾",
        "db⁽²⁾ = dĥ⁽²⁾",
        "db = db⁽²⁾",
        "dh⁽¹⁾ = ᵗU dĥ⁽²⁾",
        "dU⁽²⁾ = dĥ⁽²⁾ ᵗh⁽¹⁾",
        "dU = dU⁽²⁾",
        "dW⁽²⁾ = dĥ⁽²⁾ ᵗx⁽²⁾",
        "dW = dW⁽²⁾",
        "dĥ⁽¹⁾ = f′(ĥ⁽¹⁾) ⊙ dh⁽¹⁾",
        "db⁽¹⁾ = dĥ⁽¹⁾",
        "db ← db + db⁽¹⁾",
        "dU⁽¹⁾ = dĥ⁽¹⁾ ᵗh⁽⁰⁾",
        "dU ← dU + dU⁽¹⁾",
        "dW⁽¹⁾ = dĥ⁽¹⁾ ᵗx⁽¹⁾",
        "dW ← dW + dW⁽¹⁾",
    ]


NAMELESS = r"d\([^\s()]+\)"  # the gradient of a node that has no name, as d(+)


KINDS = [("RNN", 2, True), ("LSTM", 1, True), ("GRU", 1, False)]
LOSSES = [("squared_error", "named"), ("cross_entropy", "named"), ("half_squared_error", "primitives")]
CASES = [  # each net and each loss in every notation
    (*KINDS[i], *LOSSES[j], batch, list(LETTERS)[(i + j + (batch is None)) % 3])
    for i, j, batch in product(range(3), range(3), (None, 4))
]


@pytest.mark.parametrize("kind, layers, many, loss, level, batch, notation", CASES)
def test_every_equation_is_true(kind, layers, many, loss, level, batch, notation):
    """Each says of its variable or gradient, with what it names, what that is; in a batch, of each row."""
    net = Net(kind, "tanh", layers, many, loss, notation, batch)
    story = tg.draw.backward(net.loss, notation=notation, level=level).story()
    values, arrays = net.columns(), numbered(story)

    def check(left, right, expected, before=0.0):
        found = before + Formula(right, values, net.functions, net.partial).value()
        found = np.sum(found) if expected.size == 1 else found.reshape(expected.shape)  # of a batch, over all rows
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-10, err_msg=f"{left} = {right}")

    for node in story.nodes.values():
        if "equation" in node:
            check(node["plain"], plain(node["equation"]).rpartition(" = ")[2], arrays[node["value"]])
    before: dict[str, np.ndarray] = {}
    for frame, total in backward_frames(story):
        left, sign, right = re.split(" ([=←]) ", plain(frame["equation"]), maxsplit=1)
        old = net.column(before[frame["to"]]) if sign == "←" else 0.0
        right = right[len(left) + 1 :].removeprefix("+ ") if sign == "←" else right
        if "∂(" not in right and left[0] == "d":  # else a derivative of what has no name
            values["from"] = net.column(before[frame["from"]])
            check(left, re.sub(NAMELESS, "from", right), total, old)
        before[frame["to"]] = total
        values[left] = net.column(total)


def test_equations_of_folded_and_of_nameless_nodes(unrolled):
    folded = equations(tg.draw.backward(unrolled(2), notation="wildml").story())
    assert "dh₁ = ᵗW (f′₂ ⊙ dh₂)" in folded and "dW₂ = (f′₂ ⊙ dh₂) ᵗh₁" in folded
    primitives = equations(tg.draw.backward(unrolled(2), level="primitives").story())
    assert "d(linear) = d(+)" in primitives and "dh⁽¹⁾ = ᵗU d(linear)" in primitives


def test_a_parameter_that_a_step_uses_twice(unrolled):
    A, h = tg.Tensor([[0.5, 1.0], [2.0, 0.1]], requires_grad=True, name="A"), tg.Tensor([1.0, 2.0], name="x")
    for t in (1, 2):
        with time_step(t):
            h = tg.label(A @ tg.label(A @ h, "z"), "h")
    loss = tg.label((h * h).sum(), "L")
    story = tg.draw.backward(loss).story()
    assert len([equation for equation in equations(story) if equation.startswith("dA ←")]) == 3
    np.testing.assert_allclose(gradients_told(story)["dA"], tg.grad(loss, A)[0].value)


def test_no_false_product_where_one_number_becomes_many():
    W, x = tg.Tensor(np.ones((2, 3)), requires_grad=True, name="W"), tg.Tensor(np.ones(3), name="x")
    y = tg.label((W @ x).sum(), "y")
    assert equations(tg.draw.backward(y).story()) == ["∂y/∂y = 1", "dW = ∂y/∂W"]
    assert equations(tg.draw.backward(y, level="primitives").story())[1] == "d(matmul) = ∂y/∂(matmul)"
    z = tg.label(y * 2.0, "z")
    assert equations(tg.draw.backward(z).story()) == ["∂z/∂z = 1", "dy = 2", "dW = dy · ∂y/∂W"]


def test_the_gradient_of_what_was_broadcast_is_a_sum():
    x, s = tg.Tensor([1.0, 2.0], requires_grad=True, name="x"), tg.Tensor(-3.0, requires_grad=True, name="s")
    z = tg.label(x * s, "z")
    assert equations(tg.draw.backward(tg.label((z * z).sum(), "L")).story())[2:] == ["ds = Σ x ⊙ dz", "dx = s dz"]
    told = equations(tg.draw.backward(tg.label(tg.label((s + x).sum(), "y") * 2.0, "z")).story())
    assert told[2:] == ["dx = dy · ∂y/∂x", "ds = dy · ∂y/∂s"]


def test_a_long_expression_of_nameless_nodes_is_cut():
    y = tg.Tensor([0.5], requires_grad=True, name="x")
    for _ in range(30):  # with 2³⁰ operands if it were written out
        y = y * y
    story = tg.draw.forward(tg.label(y.sum(), "L")).story()
    assert all(len(node.get("equation", "")) < 1000 for node in story.nodes.values())
    assert len(equations(story)[-1]) < 200


def test_a_batch_is_said_to_be_one():
    rng = np.random.default_rng(0)
    rnn, readout = tg.nn.RNN(2, 3, rng=0), tg.nn.Linear(3, 1, rng=0)
    hs, _ = rnn(rng.standard_normal((2, 4, 2)))
    story = tg.draw.forward(tg.nn.half_squared_error(readout(hs[-1]), np.ones((4, 1)))).story()
    told = {plain(frame["equation"]): frame for frame, _ in backward_frames(story)}
    for equation in ("dU⁽²⁾ = Σ dĥ⁽²⁾ ᵗh⁽¹⁾", "db⁽²⁾ = Σ dĥ⁽²⁾", "dh⁽¹⁾ = ᵗU dĥ⁽²⁾"):
        assert "every row of the batch" in told[equation]["note"] and "numbers" not in told[equation]
    node = next(node for node in story.nodes.values() if node["plain"] == "ĥ⁽¹⁾")
    assert "every row of the batch" in node["note"] and "numbers" not in node


@pytest.mark.parametrize("level", ["named", "primitives"])
def test_a_gradient_that_is_transposed_is_told(level):
    """Of a ᵗb, the gradient of b is that of the product, transposed, times a; as in graphs of gradients."""
    a, b = (tg.Tensor(x, requires_grad=True, name=n) for x, n in (([1.0, 2.0], "a"), ([3.0, -1.0, 0.5], "b")))
    M = tg.label(tg.outer(a, b), "M")
    story = tg.draw.backward(tg.label(tg.sum(M * M), "L"), level=level).story()
    np.testing.assert_allclose(gradients_told(story)["db"], 2 * b.value * 5.0)


def attention() -> tg.Tensor:
    """c = ᵗH α with α = softmax(H q), read out: vectors on both sides of a matrix."""
    rng = np.random.default_rng(3)
    H, q, V, s = (
        tg.Tensor(rng.standard_normal(n), requires_grad=True, name=x)
        for n, x in (((4, 3), "H"), (3, "q"), ((2, 3), "V"), (3, "s"))
    )
    c = tg.label(tg.label(tg.softmax(tg.label(H @ q, "e")), "α") @ H, "c")
    return tg.label(tg.nn.half_squared_error(V @ c, np.ones(2)) + tg.dot(s, c), "L")


@pytest.mark.parametrize("net", [*NETS, None])
def test_numbers_evaluated_are_what_they_stand_for(unrolled, net):
    """An equation that the page writes in numbers is true with the marked arrays in their places."""
    story = tg.draw.backward(attention() if net is None else unrolled(3, **net)).story()
    arrays = numbered(story)

    def evaluated(markup: str) -> np.ndarray:
        values = {}

        def name(found):
            value = arrays[int(found[1])]
            value = value.reshape(len(value), -1) if value.ndim else value.reshape(1, 1)
            values[f"a{len(values)}"] = value
            return f"a{len(values) - 1}"

        text = re.sub(f"{FROM}([0-9]+)[|][^{TO}]*{TO}", name, markup)
        return Formula(plain(text), values, FUNCTIONS | {"f": np.tanh}).value()

    def check(told: dict, expected: np.ndarray) -> None:
        found = evaluated(told["equation"].partition(" = ")[2])
        assert expected.size == 1 or found.shape == (*expected.shape, 1)[:2]
        np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-9, atol=1e-12)

    told = [(node, node["value"]) for node in story.nodes.values() if "numbers" in node]
    frames = [frame for frame in story.frames if "numbers" in frame and " = " in frame["equation"]]
    told += [(frame, frame["term"]) for frame in frames]
    for node_or_frame, number in told:
        check(node_or_frame, arrays[number])
    assert len(told) > 8 and story.computation.data()["fixed"] == ""


def test_an_output_that_is_no_single_number_says_so(unrolled):
    x = tg.Tensor([1.0, 2.0], requires_grad=True, name="x")
    story = tg.draw.forward(tg.label(tg.tanh(x * 3.0), "y")).story()
    assert "no single number" in story.frames[-1]["note"]
    assert not list(backward_frames(story))
    hs = [n for n in topological_order(unrolled(3)) if n.name == "h"]
    first = tg.draw.between(hs[-1], hs[1]).story().frames[0]
    assert "text" not in first  # nothing that is given is drawn


def test_one_hidden_step_is_no_sum_of_steps(unrolled):
    frames = tg.draw.forward(unrolled(3), max_steps=2).story().frames
    assert "Not drawn: step 2." in [frame.get("text") for frame in frames]
    notes = [frame["note"] for frame in frames if "step 2" in frame.get("note", "")]
    assert {"⋯ is what comes back through step 2.", "Added by step 2."} == set(notes)
    assert not any("⋯ + " in frame["equation"] for frame in frames if frame.get("note") == "Added by step 2.")


def test_hidden_steps_run_in_one_frame_and_go_back_in_one(unrolled):
    story = tg.draw.forward(unrolled(20), max_steps=4).story()
    texts = [frame["text"] for frame in story.frames if "text" in frame]
    assert texts[1:] == ["Not drawn: steps 3 to 18."]
    assert all("value" not in node for node in story.nodes.values() if node["name"] == "⋯")
    told = equations(story)
    assert "dh⁽¹⁸⁾ = ᵗU dĥ⁽¹⁹⁾" in told and "dW ← dW + dW⁽¹⁸⁾ + ⋯ + dW⁽³⁾" in told and "dh⁽²⁾ = ⋯" in told


def test_the_page_starts_from_plain_figures(unrolled):
    loss = unrolled(3)
    W = next(x for x in topological_order(loss) if x.name == "W")
    plainly = tg.draw.forward(loss).story()
    for options in ({"color_by": "gradient"}, {"highlight": (W, 2)}, {"values": True, "shapes": True}):
        story = tg.draw.backward(loss, **options).story()
        for figure, other in ((story.forward, plainly.forward), (story.backward, plainly.backward)):
            looks = [[(n.id, n.fill, n.note, n.faint) for n in f.nodes] for f in (figure, other)]
            assert looks[0] == looks[1] and figure.scale is None and figure.caption == other.caption
            assert not any(edge.bold or edge.faint for edge in figure.edges)


def looks(svg: bytes) -> dict[str, dict]:
    """How thick and how pale the lines of each node and edge are drawn, by id; and where."""
    found = {}
    for g in ET.fromstring(svg).iter(f"{SVG}g"):
        shape = next((e for e in g if e.tag in (f"{SVG}ellipse", f"{SVG}polygon", f"{SVG}path")), None)
        if g.get("class") in ("node", "edge") and shape is not None:
            thick, place = (
                float(shape.get("stroke-width", 1)),
                [shape.get(name) for name in ("cx", "cy", "points", "d")],
            )
            pale = shape.get("stroke") in (style.FAINT["color"], style.PALE["color"])
            found[g.get("id")] = {"thick": thick, "pale": pale, "place": place}
    return found


@pytest.mark.parametrize("T, net", [(2, {"many": True}), (1, {"num_layers": 2})])
def test_the_files_of_frames_are_the_moments_of_the_story(unrolled, tmp_path, T, net):
    diagram = tg.draw.backward(unrolled(T, **net))
    story, paths = diagram.story(), diagram.frames(tmp_path / "slides", "svg")
    assert [path.name for path in paths] == [f"frame-{i:03}.svg" for i in range(1, len(story.frames) + 1)]
    assert sorted(paths) == sorted((tmp_path / "slides").iterdir())
    pictures = [path.read_bytes() for path in paths]
    sizes = {tuple(ET.fromstring(svg).get(name) for name in ("width", "height", "viewBox")) for svg in pictures}
    assert len(sizes) == 1
    before, reached = {}, set()
    for frame, svg in zip(story.frames, pictures, strict=True):
        now = looks(svg)
        reached = (reached if frame["phase"] in before else set()) | {*frame["nodes"], frame.get("edge")}
        if frame["phase"] in before:  # nothing moves
            assert {id: look["place"] for id, look in now.items()} == before[frame["phase"]]
        before[frame["phase"]] = {id: look["place"] for id, look in now.items()}
        if frame is not story.frames[0]:
            thick = {id for id, look in now.items() if look["thick"] in (4, 2.2) and not id.startswith("legend")}
            assert thick == {*frame["nodes"], frame.get("edge")} - {None}
        shown = {id for id, look in now.items() if not look["pale"]}
        assert reached - {None} <= shown
        assert not {id for id in story.nodes if story.nodes[id]["wants"]} & (shown - reached)
    legends = {
        tuple(
            "".join(t.itertext())
            for g in ET.fromstring(svg).iter(f"{SVG}g")
            if "legend" in g.get("id", "")
            for t in g.iter(f"{SVG}text")
        )
        for svg in pictures
    }
    assert len(legends) == 1


def test_at_the_end_of_a_phase_the_whole_figure_is_there(unrolled):
    """Nothing is left pale, but for what needs no gradient."""
    story = tg.draw.backward(unrolled(3, many=True), max_steps=2).story()
    moments = dict(zip((frame["phase"] for frame in story.frames), story.moments(), strict=True))
    for phase, whole in {"forward": story.forward, "backward": story.backward}.items():
        assert [part.faint for part in moments[phase].nodes] == [part.faint for part in whole.nodes]
        assert not any(edge.faint for edge in moments[phase].edges)


@pytest.mark.parametrize("format, magic", [("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG")])
def test_frames_replace_their_own_files_and_no_others(unrolled, tmp_path, format, magic):
    diagram = tg.draw.forward(unrolled(1))
    write = partial(diagram.frames, tmp_path, format, dpi=24 if format == "png" else None)
    paths = write()
    contents = [path.read_bytes() for path in paths]
    assert all(content.startswith(magic) for content in contents) and paths == write()
    assert [path.read_bytes() for path in paths] == contents
    paths[-1].write_bytes(diagram.render(format))  # a figure, and no frame
    for path in paths[:-1]:
        path.unlink()
    with pytest.raises(ValueError, match=rf"{paths[-1].name} is there.*give another folder"):
        write()
    assert list(tmp_path.iterdir()) == [paths[-1]]


def test_the_png_of_a_frame_can_be_read(unrolled, tmp_path):
    Image = pytest.importorskip("PIL.Image")
    for path in tg.draw.forward(unrolled(1)).frames(tmp_path, "png", dpi=24):
        with Image.open(path) as image:
            image.verify()


def test_a_gif_plays_all_frames(unrolled, tmp_path):
    Image = pytest.importorskip("PIL.Image")
    diagram = tg.draw.backward(unrolled(1))
    with Image.open(diagram.save(tmp_path / "x.gif", dpi=36)) as image:
        assert image.n_frames == len(diagram.story().frames) and image.info["loop"] == 0
        assert image.info["duration"] == 1000


def test_without_pillow_the_error_says_what_to_install(unrolled, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match="Pillow: pip install pillow"):
        tg.draw.forward(unrolled(1)).save(tmp_path / "x.gif", dpi=10)
    assert not os.listdir(tmp_path)


def test_frames_that_cannot_be(unrolled, tmp_path):
    loss = unrolled(2)
    diagram, rolled = tg.draw.forward(loss), tg.draw.forward(loss, rolled=True)
    with pytest.raises(ValueError, match="format='gif'"):
        diagram.frames(tmp_path / "new", "gif")
    W = next(x for x in topological_order(loss) if x.name == "W")
    for without in (rolled, tg.draw.terms([loss], W)):
        with pytest.raises(ValueError, match="with every step"):
            without.frames(tmp_path / "new")
        with pytest.raises(ValueError, match="with every step"):
            without.save(tmp_path / "x.gif")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError):
        diagram.frames(tmp_path / "file")
    assert os.listdir(tmp_path) == ["file"] and (tmp_path / "file").read_text() == "mine"
