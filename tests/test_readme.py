"""What the README shows is what the program does."""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_example_prints_what_stands_below_it(tmp_path):
    code, printed = re.search(r"```python\n(.*?)```\n\n```text\n(.*?)```", README, re.DOTALL).groups()
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (printed, "")
    assert (tmp_path / "backward.svg").stat().st_size > 0


def test_a_cell_of_ones_own_becomes_a_slide_and_a_page(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(import numpy[^`]*class MinimalGatedUnit.*?)```", README, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert (tmp_path / "slide.pdf").read_bytes().startswith(b"%PDF")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "W_f" in page and len(list(tmp_path.glob("slides/*.pdf"))) > 10


def test_a_primitive_and_a_cell_take_no_more_than_shown():
    (code,) = re.findall(r"```python\n(import numpy[^`]*class CoupledCell.*?)```", README, re.DOTALL)
    found = {}
    exec(code, found)
    assert [h.shape for h in found["hs"]] == [(5, 6)] * 4
    labels = {node.label for node in tg.draw.forward(found["hs"][-1].sum()).nodes}
    assert any("W_f,forth" in label for label in labels) and any("h_back" in label for label in labels)


def test_its_links_lead_somewhere():
    for page in (ROOT / "README.md", ROOT / "examples" / "README.md"):
        links = re.findall(r"\]\(([^)#:\s]+)(?:#[\w-]+)?\)", page.read_text(encoding="utf-8"))
        assert len(links) > 10 and [link for link in links if not (page.parent / link).exists()] == []


def texts(path):
    return ["".join(e.itertext()) for e in ET.parse(path).iter() if e.tag.endswith(("}text", "}title"))]


@pytest.mark.parametrize("name", ["forward", "backward"])
def test_the_figures_are_those_of_the_demo(tmp_path, name):
    assert f"(examples/figures/{name}.svg)" in README
    main(["demo", "--out", str(tmp_path)])
    assert texts(ROOT / "examples" / "figures" / f"{name}.svg") == texts(tmp_path / f"{name}.svg")


def test_pytorch_prints_a_backward_pass_as_code():
    """As the comparison says: a primitive a line, without the variables' names, and without steps."""
    torch = pytest.importorskip("torch")
    tracing = pytest.importorskip("torch.fx.experimental.proxy_tensor")

    def loss(U, h):
        for _ in range(2):
            h = torch.tanh(U @ h)
        return h.sum()

    U, h = torch.eye(2), torch.ones(2)
    code = tracing.make_fx(torch.func.grad(loss))(U, h).code
    assert "tanh_backward" in code and "`make_fx(...).code`, a primitive a line, without names or steps" in README
    assert not re.search(r"\bdU\b|step", code)


def test_what_other_tools_print_can_be_looked_up():
    done = subprocess.run([sys.executable, ROOT / "examples" / "peers.py"], capture_output=True, text=True)
    told = set(re.findall(r"^== (\w+)", done.stdout, re.MULTILINE))
    assert done.returncode == 0 and told >= {
        "torchviz",
        "torchlens",
        "torchview",
        "torchvista",
        "jax",
        "mygrad",
        "keras",
    }


def test_the_gallery_is_as_its_script_draws_it(tmp_path):
    shown = re.findall(r"\(examples/figures/(\w+)\.svg\)", README)
    code = [sys.executable, "-W", "error", ROOT / "examples" / "gallery.py", tmp_path]
    subprocess.run(code, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    drawn = {path.stem for path in tmp_path.iterdir()}
    assert drawn | {"forward", "backward"} == {path.stem for path in (ROOT / "examples" / "figures").glob("[a-z]*")}
    assert drawn == set(shown) - {"forward", "backward"}
    for name in drawn:
        assert texts(ROOT / "examples" / "figures" / f"{name}.svg") == texts(tmp_path / f"{name}.svg")


def test_the_layout_names_what_there_is():
    layout = re.search(r"## The layout\n\n(.*?)\n    tests/", README, re.DOTALL)[1]
    named = set(re.findall(r"(\w+\.(?:py|txt)|(?<=      )\w+/|\bdata/)", layout))
    there = {p.name + ("/" if p.is_dir() else "") for p in (ROOT / "tinygrad_rnn").iterdir() if p.name[0] != "."}
    assert named == there - {"__init__.py", "py.typed", "__pycache__/"}


def test_the_program_is_what_compile_writes():
    """The three steps that stand in the README, word for word."""
    rnn, readout = tg.nn.RNN(2, 3), tg.nn.Linear(3, 1)
    xs, Y = np.ones((3, 2)), np.ones(1)
    wrt = [*rnn.parameters(), *readout.parameters()]
    program = tg.compile(lambda xs, Y: tg.nn.half_squared_error(readout(rnn(xs)[0][-1]), Y), xs, Y, wrt=wrt)
    assert f"```python\n{program.source}```" in README
