"""What the README shows is what the program does."""

import re
import runpy
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
    assert "tg.check_gradients(softsign, 3.0, order=2)" in README and "lambda x: softsign(x).sum()" in README
    assert tg.check_gradients(found["softsign"], 3.0, order=2) < 1e-8
    assert tg.check_gradients(lambda x: found["softsign"](x).sum(), [0.5, -1.0], order=2) < 1e-8
    labels = {node.label for node in tg.draw.forward(found["hs"][-1].sum()).nodes}
    assert any("W_f,forth" in label for label in labels) and any("h_back" in label for label in labels)


def test_its_links_lead_somewhere():
    for page in (ROOT / "README.md", ROOT / "examples" / "README.md"):
        links = re.findall(r"\]\(([^)#:\s]+)(?:#[\w-]+)?\)", page.read_text(encoding="utf-8"))
        assert len(links) > 10 and [link for link in links if not (page.parent / link).exists()] == []


def texts(path):
    return ["".join(e.itertext()) for e in ET.parse(path).iter() if e.tag.endswith(("}text", "}title"))]


def test_the_figures_are_those_of_the_demo(tmp_path):
    main(["demo", "--out", str(tmp_path)])
    for name in ("forward", "backward"):
        assert f"(examples/figures/{name}.svg)" in README
        assert texts(ROOT / "examples" / "figures" / f"{name}.svg") == texts(tmp_path / f"{name}.svg")


@pytest.mark.filterwarnings("ignore")  # those of other tools
def test_what_other_tools_print_can_be_looked_up(monkeypatch, capsys):
    """Tools that are not installed are left out; PyTorch prints a primitive a line, as the comparison says."""
    monkeypatch.setenv("KERAS_BACKEND", "torch")  # so that the script, which sets it where it is not, leaves no trace
    runpy.run_path(str(ROOT / "examples" / "peers.py"), run_name="__main__")
    told = capsys.readouterr().out
    named = {"torchviz", "torchlens", "torchview", "torchvista", "jax", "mygrad", "keras"}
    assert set(re.findall(r"^== (\w+)", told, re.MULTILINE)) >= named
    assert "`make_fx(...).code`, a primitive a line, without names or steps" in README
    pytest.importorskip("torch")
    code = re.search(r"^== torch .*?\n\n(.*?)^== ", told, re.DOTALL | re.MULTILINE)[1]
    assert "tanh_backward" in code and not re.search(r"\bdU\b|step", code)


def test_the_gallery_is_as_its_script_draws_it(tmp_path, monkeypatch):
    shown = re.findall(r"\(examples/figures/(\w+)\.svg\)", README)
    monkeypatch.setattr(sys, "argv", ["gallery.py", str(tmp_path)])
    runpy.run_path(str(ROOT / "examples" / "gallery.py"), run_name="__main__")
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


def test_a_table_becomes_a_forecast(tmp_path, monkeypatch):
    """The commands, and the lines of Python, on a table of three columns beside dates."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    frame = {"date": [f"day {i}" for i in range(150)], "temperature": rng.standard_normal(150).cumsum()}
    frame |= {"ads": rng.standard_normal(150), "sales": np.roll(frame["temperature"], 1) + 10.0}
    rows = zip(*frame.values(), strict=True)
    Path("sales.csv").write_text("\n".join([",".join(frame), *(",".join(map(str, row)) for row in rows)]))
    section = re.search(r"## From a table to a forecast\n(.*?)\n## ", README, re.DOTALL)[1]
    for line in re.findall(r"^    tinygrad-rnn (.*)", section, re.MULTILINE):
        assert main([*line.split(), *(["--epochs", "2"] if line.startswith("train") else [])]) == 0
    assert Path("next.svg").exists() and Path("next.csv").read_text().count("\n") == 5
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)[1].replace("patience=10", "epochs=2")
    exec(code.replace('"run"', '"another"'), {"tg": tg, "frame": frame, "other": frame})
    for option in re.findall(r"`(--[a-z-]+)", section):
        assert option in {f"--{field.replace('_', '-')}" for field in vars(tg.experiments.Settings())} | {
            "--data",
            "--help",
            "--target",
        }
