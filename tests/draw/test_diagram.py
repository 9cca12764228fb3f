"""What a diagram saves itself as: pictures, data, and the frames of its story."""

import json
import os
import re
import struct
import subprocess
import sys
import xml.etree.ElementTree as ET
from functools import partial

import numpy as np
import pytest
from drawn_nets import SVG, VIEWS, each_view

import tinygrad_rnn as tg
from tinygrad_rnn.backward import topological_order
from tinygrad_rnn.draw import style
from tinygrad_rnn.draw.diagram import FORMATS


@pytest.mark.parametrize(
    "suffix, magic",
    [(".svg", b"<?xml"), (".PNG", b"\x89PNG"), (".pdf", b"%PDF"), (".dot", b'digraph "forward computational graph" {')],
)
def test_save_writes_what_the_suffix_says(unrolled, tmp_path, suffix, magic):
    path = tmp_path / f"figure{suffix}"
    assert tg.draw.forward(unrolled(2)).save(path) == path
    assert path.read_bytes().startswith(magic)
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("name", ["figure", "figure.jpeg", "figure.svg.gz"])
def test_an_unknown_suffix_lists_the_known(unrolled, tmp_path, name):
    with pytest.raises(ValueError, match=rf"{name}.*'\.svg', '\.pdf', '\.png', '\.dot'"):
        tg.draw.forward(unrolled(1)).save(tmp_path / name)
    assert not os.listdir(tmp_path)


def test_a_folder_that_does_not_exist(unrolled, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"cannot write .*missing.figure\.svg: No such file"):
        tg.draw.forward(unrolled(1)).save(tmp_path / "missing" / "figure.svg")


def test_the_same_graph_gives_the_same_bytes(unrolled):
    first, second = (tg.draw.backward(unrolled(3)).render("svg") for _ in range(2))
    assert first == second


def test_a_notebook_shows_it(unrolled):
    assert "<svg" in tg.draw.forward(unrolled(1))._repr_mimebundle_()["image/svg+xml"]


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


# Frames


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
