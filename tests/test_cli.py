"""The command line as a user meets it; each test runs it in-process, one in a process of its own."""

import compileall
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import ended as run

import tinygrad_rnn as tg
from tinygrad_rnn import cli, nn
from tinygrad_rnn.draw.diagram import FORMATS
from tinygrad_rnn.draw.style import ZERO
from tinygrad_rnn.files import claimed
from tinygrad_rnn.nn.cells import NONLINEARITIES
from tinygrad_rnn.primitives import TABLE
from tinygrad_rnn.tensor import operation


def test_demo_writes_the_figures_and_prints_the_proof(capsys, tmp_path):
    status, out, err = run(capsys, "demo", "--out", tmp_path / "new" / "out")
    assert (status, err) == (0, "")
    assert sorted(os.listdir(tmp_path / "new" / "out")) == ["backward.svg", "forward-primitives.svg", "forward.svg"]
    assert "sunspots, 4 steps: 38 nodes, 26 of them made by primitives" in out
    rows = re.findall(r"^(\w) +(\(.*?\)) +(\d+\.\d{10}) +(\d+\.\d{10}) +(\S+) +(\S+)$", out, re.MULTILINE)
    assert [(name, shape) for name, shape, *_ in rows] == [
        ("W", "(3, 1)"), ("U", "(3, 3)"), ("b", "(3,)"), ("V", "(1, 3)"), ("c", "(1,)"),
    ]  # fmt: skip
    for _, _, graph, closed_form, difference, central in rows:
        assert graph == closed_form and float(difference) <= 1e-12 and float(central) <= 1e-6


@pytest.mark.parametrize("options", [("--data", "sine"), ("--steps", 1, "--hidden", 1), ("--steps", 30), ("--seed", 3)])
def test_demo_with_other_options(capsys, tmp_path, options):
    assert run(capsys, "demo", "--out", tmp_path, *options)[0] == 0


def test_demo_of_a_csv_column(capsys, tmp_path):
    (tmp_path / "a.csv").write_text("day,price\n" + "".join(f"{i},{i * i % 7}\n" for i in range(20)))
    status, out, _ = run(capsys, "demo", "--data", tmp_path / "a.csv", "--column", "price", "--out", tmp_path / "out")
    assert status == 0 and "38 nodes" in out


def test_the_same_seed_prints_the_same(capsys, tmp_path):
    first, second = (run(capsys, "demo", "--seed", 5, "--out", tmp_path)[1] for _ in range(2))
    assert first == second != run(capsys, "demo", "--seed", 6, "--out", tmp_path)[1]


def test_demo_fails_when_a_gradient_disagrees(capsys, tmp_path, monkeypatch):
    correct = cli.closed_form_gradients

    def slightly_off(**arguments):
        gradients = correct(**arguments)
        gradients.U[0, 0] += 1e-9
        return gradients

    monkeypatch.setattr(cli, "closed_form_gradients", slightly_off)
    status, _, err = run(capsys, "demo", "--out", tmp_path)
    assert status == 1 and "U: graph and closed form differ by 1.0e-09" in err


@pytest.mark.parametrize(
    "view, level, suffix",
    [(view, level, "svg") for view in ("forward", "backward") for level in ("named", "primitives")]
    + [("backward", "named", suffix) for suffix in FORMATS if suffix != "svg"],
)
def test_draw(capsys, tmp_path, view, level, suffix):
    path = tmp_path / f"figure.{suffix}"
    quick = ("--steps", 1, "--dpi", 24) if suffix == "gif" else ("--steps", 3)
    status, out, _ = run(capsys, "draw", "--view", view, "--level", level, *quick, "-o", path)
    assert status == 0 and str(path) in out and path.stat().st_size > 1000


@pytest.fixture
def drawn(capsys, tmp_path):
    """drawn(*options): the saved figure as data."""

    def draw(*options):
        path = tmp_path / "figure.json"
        assert run(capsys, "draw", *options, "-o", path) == (0, f"wrote {path}\n", "")
        return json.loads(path.read_text(encoding="utf-8"))

    return draw


def labels(figure, *kinds):
    return [node["label"] for node in figure["nodes"] if not kinds or node["kind"] in kinds]


def edges(figure):
    """{(from, to): label} by the nodes' own labels."""
    name = {node["id"]: node["label"] for node in figure["nodes"]}
    return {(name[edge["source"]], name[edge["target"]]): edge["label"] for edge in figure["edges"]}


def test_draw_between_is_fig_7_7(drawn):
    assert edges(drawn("--view", "between")) == {("h⁽⁴⁾", "dĥ⁽⁴⁾"): "f′(ĥ⁽⁴⁾)", ("dĥ⁽⁴⁾", "dh⁽³⁾"): "ᵗU"}


def test_draw_terms_is_a_lower_triangle(drawn):
    figure = drawn("--view", "terms", "--parameter", "W", "--steps", 3)
    assert figure["title"] == "table of the terms of the gradient of W"
    assert labels(figure, "heading")[-3:] == ["L⁽¹⁾", "L⁽²⁾", "L⁽³⁾"]
    filled = [node["id"] for node in figure["nodes"] if node["fill"] not in ("", ZERO)]
    assert filled == [f"term{n}_{k}" for n in (1, 2, 3) for k in range(1, n + 1)]


def test_draw_terms_in_another_notation(drawn):
    figure = drawn("--view", "terms", "--steps", 2, "--notation", "wildml")
    assert labels(figure, "heading")[-2:] == ["E₁", "E₂"] and figure["title"].endswith("gradient of W")


def test_draw_every_primitive(drawn):
    figure = drawn("--level", "primitives", "--steps", 3)
    made = [label for label in labels(figure, "operation", "variable", "state", "output") if label != "h⁽⁰⁾"]
    assert len(made) == 5 * 3 + 6


@pytest.mark.parametrize("notation, state", [("interdb", "h⁽⁴⁾"), ("wildml", "h₄"), ("state", "s₄")])
def test_draw_in_a_notation(drawn, notation, state):
    assert state in labels(drawn("--notation", notation))


def test_draw_several_cells_on_one_page(capsys, tmp_path):
    path = tmp_path / "compare.html"
    options = ["--cell", "rnn", "--cell", "lstm", "--steps", "2", "--nonlinearity", "relu"]
    assert run(capsys, "draw", *options, "-o", path) == (0, f"wrote {path}\n", "")
    page = path.read_text(encoding="utf-8")
    assert '"title":"rnn"' in page and '"title":"lstm"' in page


def test_draw_some_of_the_steps(drawn):
    assert drawn("--steps", 30, "--max-steps", 3)["steps"] == [1, 2, 30]


def test_draw_rolled(drawn):
    figure = drawn("--rolled")
    assert labels(figure, "state") == ["h⁽ᵗ⁻¹⁾", "h⁽ᵗ⁾"]
    assert [edge["kind"] for edge in figure["edges"]].count("loop") == 1


def test_draw_values_and_shapes(drawn):
    def notes(*options):
        return {node["label"]: node["note"] for node in drawn("--hidden", 1, "--steps", 1, *options)["nodes"]}

    assert set(notes().values()) == {""}
    shapes = notes("--shapes")
    assert (shapes["W"], shapes["h⁽¹⁾"], shapes["L"]) == ("(1, 1)", "(1,)", "()")
    assert notes("--values")["h⁽⁰⁾"] == "[0]"
    assert notes("--values", "--view", "backward")["dL"] == "1"
    assert notes("--values", "--shapes")["b"] == "(1,)\n[0]"


def test_draw_one_term_of_the_first_recurrent_matrix(drawn):
    figure = drawn("--view", "backward", "--highlight", 2, "--layers", 2)
    assert "dU₁⁽²⁾" in [node["label"] for node in figure["nodes"] if not node["faint"]]
    assert drawn("--view", "terms", "--cell", "lstm")["title"].endswith("U_i")


@pytest.mark.parametrize(
    "by, zero, without", [("value", {"h⁽⁰⁾", "b", "c"}, set()), ("gradient", {"U"}, {"h⁽⁰⁾", "x⁽¹⁾", "Y"})]
)
def test_draw_coloured(drawn, by, zero, without):
    """0 has no logarithm, so it is white: h(0), and the biases at first; and ∂L/∂U, a multiple of h(0)."""
    figure = drawn("--color-by", by, "--steps", 1)
    for fill, expected in ((ZERO, zero), ("", without)):
        assert {node["label"] for node in figure["nodes"] if node["fill"] == fill} == expected


@pytest.mark.parametrize("parameter, factor", [("U", "ᵗh⁽²⁾"), ("W", "ᵗx⁽³⁾"), ("b", "1")])
def test_draw_one_term(drawn, parameter, factor):
    figure = drawn("--view", "backward", "--highlight", 3, "--parameter", parameter)
    assert {node["label"] for node in figure["nodes"] if not node["faint"]} == {
        "L", "dy", "dh⁽⁴⁾", "dĥ⁽⁴⁾", "dh⁽³⁾", "dĥ⁽³⁾", f"d{parameter}⁽³⁾", "Σ", f"d{parameter}",
    }  # fmt: skip
    assert edges(figure)["dĥ⁽³⁾", f"d{parameter}⁽³⁾"] == factor


def test_the_highlighted_parameter_is_u_unless_another_is_named(drawn):
    assert drawn("--highlight", 2) == drawn("--highlight", 2, "--parameter", "U")


@pytest.mark.parametrize("cell, gates", [("lstm", "ifgo"), ("gru", "rzn")])
def test_draw_a_gated_net(drawn, cell, gates):
    own = {f"{letter}_{gate}" for letter in "WUb" for gate in gates} | ({"c_n"} if cell == "gru" else set())
    bias = "c′" if cell == "lstm" else "c"  # beside the cell states c
    assert set(labels(drawn("--cell", cell), "parameter")) == own | {"V", bias}
    highlighted = drawn("--cell", cell, "--highlight", 2, "--parameter", f"U_{gates[0]}")
    assert "U_" + gates[0] in [node["label"] for node in highlighted["nodes"] if not node["faint"]]


def test_draw_layers(drawn):
    figure = drawn("--layers", 2, "--steps", 1)
    assert labels(figure, "state") == ["h₁⁽⁰⁾", "h₁⁽¹⁾", "h₂⁽⁰⁾", "h₂⁽¹⁾"]
    assert {"W₁", "W₂", "U₁", "U₂", "b₁", "b₂", "V", "c"} == set(labels(figure, "parameter"))
    for cell, name, written in (("rnn", "U_2", "U₂"), ("lstm", "U_i,1", "U_i,1")):
        figure = drawn("--cell", cell, "--layers", 2, "--highlight", 1, "--parameter", name)
        assert [n["label"] for n in figure["nodes"] if n["kind"] == "parameter" and not n["faint"]] == [written]


def test_the_target_of_many_to_many_is_the_next_value(drawn):
    figure = drawn("--many-to-many", "--values", "--steps", 3)
    note = {node["label"]: node["note"] for node in figure["nodes"]}
    assert (note["Y⁽¹⁾"], note["Y⁽²⁾"]) == (note["x⁽²⁾"], note["x⁽³⁾"])
    assert {source for source, target in edges(figure) if target == "E"} == {"L⁽¹⁾", "L⁽²⁾", "L⁽³⁾"}
    assert labels(drawn("--many-to-many", "--steps", 1), "output") == ["L"]


@pytest.mark.parametrize("name", [name for name in NONLINEARITIES if name != "identity"])
def test_draw_another_nonlinearity(drawn, name):
    assert drawn("--nonlinearity", name)["caption"] == f"f = {name}"


def test_draw_with_another_resolution(capsys, tmp_path):
    def width(*options):
        assert run(capsys, "draw", *options, "-o", tmp_path / "figure.png")[0] == 0
        return int.from_bytes((tmp_path / "figure.png").read_bytes()[16:20], "big")

    assert width("--dpi", 96) == pytest.approx(width() / 2, abs=1)


def test_draw_frames_for_slides(capsys, tmp_path):
    status, out, _ = run(capsys, "draw", "--steps", 1, "--frames", tmp_path / "slides", "--format", "pdf")
    files = sorted(os.listdir(tmp_path / "slides"))
    assert status == 0 and f"frame-001.pdf to {files[-1]}" in out
    assert files == [f"frame-{i:03}.pdf" for i in range(1, len(files) + 1)] and len(files) > 10
    (tmp_path / "file").write_text("mine")
    for options, message in {
        ("--frames", tmp_path / "file"): "a folder is needed, and this is a file",
        ("--frames", tmp_path / "new", "--format", "gif"): "frames(format='gif'): not one of 'svg', 'pdf', 'png'",
        ("--frames", tmp_path / "new", "--rolled"): "with every step (not rolled)",
        ("--frames", tmp_path / "new", "--color-by", "value"): "leave out --color-by",
        ("--frames", tmp_path / "new", "-o", tmp_path / "x.svg"): "not allowed with argument",
    }.items():
        status, out, err = run(capsys, "draw", *options)
        assert status in (1, 2) and out == "" and message in err and err.count("\n") == 1
    assert sorted(os.listdir(tmp_path)) == ["file", "slides"]


@pytest.mark.parametrize(
    "options, status, message",
    [
        (["--rolled", "--max-steps", "3"], 2, "not allowed with argument --rolled"),
        (["--max-steps", "1"], 2, "max_steps=1): a whole number from 2 up is needed"),
        (["--rolled", "--highlight", "1"], 2, "a rolled graph shows one step, which stands for all"),
        (["--highlight", "9"], 2, "U of shape (3, 3) has no term at step 9, only at 1, 2, 3, 4"),
        (["--highlight", "5", "--parameter", "V"], 2, "V of shape (1, 3) has no term at step 5"),
        (
            ["--highlight", "2", "--parameter", "U_i"],
            2,
            "parameter='U_i': not one of 'W', 'U', 'b', 'V', 'c'",
        ),
        (["--view", "terms", "--cell", "gru", "--parameter", "U"], 2, "'U': not one of 'W_r', 'U_r', 'b_r', 'W_z'"),
        (["--parameter", "W"], 2, "--parameter is for --view terms and --highlight"),
        (["--view", "between", "--steps", "1"], 2, "--steps 2 or more is needed"),
        (["--view", "between", "--highlight", "4"], 2, "not for --view between"),
        (["--view", "terms", "--values", "--max-steps", "2"], 2, "a graph: leave out --max-steps, --values"),
        (["--view", "terms", "-o", "page.html"], 2, "a page is made of a recorded graph"),
        (["--view", "sideways"], 2, "invalid choice: 'sideways'"),
        (["--cell", "lstm", "--nonlinearity", "relu"], 2, "nonlinearity='relu' is of cell='rnn', not of 'lstm'"),
        (["--cell", "rnn", "--cell", "lstm"], 2, "'figure.svg'): outputs by their titles, and an .html are needed"),
        (["--cell", "rnn", "--cell", "lstm", "--view", "terms"], 2, "several --cell are compared on a page"),
        (["--layers", "0"], 2, "layers=0: a whole number from 1"),
        (["--dpi", "abc", "-o", "figure.png"], 2, "invalid int value: 'abc'"),
        (["--dpi", "9999", "-o", "figure.png"], 2, "from 1 to 2400 dots per inch"),
        (["--dpi", "96"], 2, "only a .png or .gif has dots, not .svg"),
        (["--outlines", "-o", "figure.png"], 2, "outlines=True: of the letters of an .svg, not of .png"),
        (["--format", "pdf"], 2, "--format is of --frames and of -o -"),
        (["--values", "--shapes", "-o", "x.gif"], 2, "nor a single term: leave out --values, --shapes"),
        (["--rolled", "-o", "x.gif"], 2, "with every step (not rolled)"),
        (["-o", "missing/figure.svg"], 1, "cannot write missing/figure.svg: No such file or directory"),
        (["-o", "folder.svg"], 1, "cannot write folder.svg: Is a directory"),
    ],
)
def test_bad_options_of_draw_are_one_clear_line(capsys, tmp_path, monkeypatch, options, status, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.svg").mkdir()
    got, out, err = run(capsys, "draw", *(["-o", "figure.svg"] if "-o" not in options else []), *options)
    assert (got, out) == (status, "") and message in err.splitlines()[-1] and "Traceback" not in err
    assert len([line for line in err.splitlines() if line.startswith("tinygrad-rnn")]) == 1
    assert os.listdir(tmp_path) == ["folder.svg"]


def test_check_covers_every_primitive_and_cell(capsys):
    status, out, err = run(capsys, "check")
    assert (status, err) == (0, "") and "wrong" not in out
    primitives, cells = (re.findall(r"^(\S+|RNNCell, \w+)  ", part, re.M) for part in out.split("two steps of a cell"))
    assert set(TABLE) <= set(primitives)
    kinds = [name for name in dir(nn) if name.endswith("Cell") and name != "Cell"]
    assert {cell.split(",")[0] for cell in cells[2:]} == set(kinds)
    assert {f"RNNCell, {name}" for name in NONLINEARITIES} <= set(cells)
    errors = re.findall(r"\d\.\de-\d+", out.split("---")[-1])
    assert len(errors) == 3 * (len(NONLINEARITIES) + len(kinds) - 1) and all(float(error) < 1e-8 for error in errors)


@pytest.mark.parametrize("cell", ["RNNCell", "LSTMCell", "GRUCell"])
def test_a_cell_with_a_wrong_gradient_is_told(capsys, monkeypatch, cell):
    """Its values are right, and what goes back to them is a thousandth too much."""
    step = getattr(nn, cell).step

    def wrong(self, x, *state):
        after = step(self, x, *state)
        parts = [1.001 * part - 0.001 * part.detach() for part in (after if isinstance(after, tuple) else (after,))]
        return tuple(parts) if len(parts) > 1 else parts[0]

    monkeypatch.setattr(getattr(nn, cell), "step", wrong)
    monkeypatch.setattr(cli, "TABLE", {"tanh": TABLE["tanh"]})  # the others are checked above
    status, out, err = run(capsys, "check")
    lines = re.findall(r"^(\w+Cell).* wrong +wrong +wrong$", out, re.MULTILINE)
    assert status == 1 and set(lines) == {cell} and "central differences give" in err


def test_a_wrong_rule_is_told(capsys, tmp_path, monkeypatch):
    wrong = dataclasses.replace(TABLE["tanh"], vjps=(lambda g, ans, x: g * (1.001 - ans * ans),))
    monkeypatch.setitem(TABLE, "tanh", wrong)
    monkeypatch.setattr(cli, "TABLE", {"tanh": wrong, "exp": TABLE["exp"]})  # the others are checked above
    status, out, err = run(capsys, "check")
    assert status == 1 and re.search(r"^tanh +wrong +wrong", out, re.MULTILINE) and "central differences give" in err
    monkeypatch.setitem(NONLINEARITIES, "tanh", operation(wrong))
    status, out, err = run(capsys, "demo", "--out", tmp_path)
    assert status == 1 and re.search(r"^W .* wrong$", out, re.MULTILINE) and "W: graph and closed form differ" in err


def test_demo_leaves_figures_that_are_not_its_own(capsys, tmp_path):
    (tmp_path / "backward.svg").write_text("<svg/>")
    status, _, err = run(capsys, "demo", "--out", tmp_path)
    assert status == 2 and "backward.svg is there, and of no such run; it would be replaced" in err
    assert os.listdir(tmp_path) == ["backward.svg"] and (tmp_path / "backward.svg").read_text() == "<svg/>"


def test_demo_waits_for_the_end_of_a_run_in_its_folder_and_needs_a_name(capsys, tmp_path, monkeypatch):
    pytest.importorskip("fcntl", reason="folders are not locked here")
    monkeypatch.chdir(tmp_path)
    with claimed(tmp_path / "out"):
        for command in (["demo"], ["flow", "--steps", 2]):
            status, _, err = run(capsys, *command, "--out", "out")
            assert status == 2 and "another run is going on in out" in err
    assert (
        run(capsys, "demo", "--out", "")[2]
        == "tinygrad-rnn demo: out='': the name of a folder is needed (see tinygrad-rnn demo --help)\n"
    )
    assert os.listdir(tmp_path) == ["out"] and not os.listdir(tmp_path / "out")


def test_a_figure_does_not_take_the_place_of_the_data(capsys, tmp_path):
    (tmp_path / "a.json").write_text("v\n" + "\n".join("1234321"))
    status, _, err = run(capsys, "draw", "--data", tmp_path / "a.json", "-o", tmp_path / "a.json")
    assert status == 2 and err.endswith(
        "a.json is the data, and would be replaced: give another file (see tinygrad-rnn draw --help)\n"
    )
    assert (tmp_path / "a.json").read_text().startswith("v\n1\n2")


USE = """
import sys, numpy as np, tinygrad_rnn as tg
assert sys.argv[1] in tg.__file__
sys.modules["matplotlib"] = None  # whose figures take longer than all the rest
cell, readout = tg.nn.LSTMCell(1, 2, rng=0), tg.nn.Linear(2, 3, rng=0)
def f(x, y): return tg.nn.cross_entropy(readout(cell(x)[0]), y)
inputs = np.ones(1), np.eye(3)[0]
program = tg.compile(f, *inputs, wrt=[*cell.parameters()])
program.save("bptt.py")
import bptt
assert bptt.bptt(*inputs, *(p.data for p in (*cell.parameters(), *readout.parameters())))[0] == program(*inputs)[0]
tg.draw.forward(f(*inputs)).save("page.html")
try:
    with tg.detect_anomaly():
        tg.log(tg.Tensor(-1.0, requires_grad=True))
except ArithmeticError as error:
    assert "<string>" in str(error), error
from tinygrad_rnn.cli import main
assert main(["train", "--hidden", "1", "--epochs", "1", "--out", "run"]) == 0
"""


@pytest.mark.parametrize("kind", ["zip", "pyc"])
def test_the_package_works_from_a_zip_file_and_without_its_source(tmp_path, kind):
    package = shutil.copytree(Path(cli.__file__).parent, tmp_path / "lib" / "tinygrad_rnn")
    path = package.parent
    if kind == "zip":
        path = shutil.make_archive(tmp_path / "package", "zip", path)
    else:
        compileall.compile_dir(package, quiet=1, legacy=True)
        for source in package.rglob("*.py"):
            source.unlink()
    paths = os.pathsep.join([str(path), str(tmp_path)])
    command = [sys.executable, "-W", "ignore:plots need matplotlib", "-c", USE, str(path)]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths}
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_as_a_module_in_a_terminal_without_unicode(tmp_path):
    command = [sys.executable, "-W", "error", "-m", "tinygrad_rnn", "demo", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, b"") and b"?gradient?" in done.stdout


@pytest.mark.parametrize(
    "options, status, message",
    [
        (["--data", "missing.csv"], 1, "missing.csv"),
        (["--data", "a.csv", "--column", "x"], 2, "the columns are 'day', 'price'"),
        (["--data", "a.csv"], 2, "name a column"),
        (["--data", "a.csv", "--column", "price"], 2, "line 3: column 'price' holds 'nan'"),
        (["--steps", "0"], 2, "steps=0: a whole number from 1"),
        (["--steps", "-3"], 2, "steps=-3: a whole number from 1"),
        (["--hidden", "many"], 2, "invalid int value: 'many'"),
        (["--steps", "309"], 2, "need 310 values; there are 309"),
        (["--seed", "-1"], 2, "seed=-1: a whole number from 0"),
        (["--out", "a.csv"], 1, "a folder is needed, and this is a file: a.csv"),
        (["--hidden", "5000000"], 1, "Unable to allocate"),
        (["--out", "a.csv/out"], 1, "a.csv"),
        (["--level", "all"], 2, "unrecognized arguments"),
        (["--column", "price"], 2, "there are no columns 'price'; the columns are 'sunspots'"),
    ],
)
def test_bad_input_is_one_clear_line(capsys, tmp_path, monkeypatch, options, status, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("day,price\n1,2\n2,nan\n3,4\n")
    got, out, err = run(capsys, "demo", *options)
    assert (got, out) == (status, "") and message in err and "Traceback" not in err
    assert len([line for line in err.splitlines() if line.startswith("tinygrad-rnn")]) == 1
    assert "out" not in os.listdir(tmp_path)


def test_a_suffix_that_no_writer_knows(capsys, tmp_path):
    status, _, err = run(capsys, "draw", "-o", tmp_path / "figure.jpeg")
    assert status == 2 and "'.svg', '.pdf', '.png', '.dot', '.json', '.html'" in err and not os.listdir(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(capsys, tmp_path):
    tmp_path.chmod(0o500)
    status, _, err = run(capsys, "demo", "--out", tmp_path)
    assert status == 1 and "Permission denied" in err
    status, _, err = run(capsys, "draw", "-o", tmp_path / "figure.svg")
    assert status == 1 and "Permission denied" in err


@pytest.mark.parametrize("command", [[], ["demo"], ["draw"], ["check"]])
def test_help(capsys, command):
    status, out, _ = run(capsys, *command, "--help")
    assert status == 0 and "usage: tinygrad-rnn" in out


def test_without_arguments_there_is_the_help(capsys):
    assert run(capsys) == run(capsys, "--help")


@pytest.mark.parametrize(
    "arguments, meant",
    [
        (["trian"], "train"),
        (["drwa"], "draw"),
        (["draw", "--veiw", "backward", "-o", "a.svg"], "--view"),
        (["draw", "-o", "a.svg", "--view", "Backward"], "backward"),
        (["train", "--hiden", 3], "--hidden"),
        (["draw", "-o", "a.svg", "--view", "forwrd"], "forward"),
        (["flow", "--forget-bais", 1], "--forget-bias"),
        (["draw", "view", "backward", "-o", "a.svg"], "--view"),
        (["draw", "--veiw", "backward"], "--view"),  # though what is required is not there either
        (["predict", "--setps", 3], "--steps"),
        (["sweep", "--uot=a"], "--out"),
    ],
)
def test_what_is_misspelt_is_told_as_it_may_be_meant(capsys, arguments, meant):
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "") and f"; did you mean {meant}? (see tinygrad-rnn " in err and err.count("\n") == 1


@pytest.mark.parametrize("command", [["draw", "-o", "a.svg"], ["train"], ["flow"]])
def test_a_value_that_is_misspelt_is_told_as_it_may_be_meant(capsys, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, *command, "--cell", "LSTM")
    assert (status, out) == (2, "") and "'LSTM'" in err and "did you mean lstm?" in err and err.count("\n") == 1


def test_the_command_line_runs_where_docstrings_are_stripped():
    done = subprocess.run([sys.executable, "-OO", "-m", "tinygrad_rnn", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"tinygrad-rnn {tg.__version__}\n", "")


def test_what_is_refused_is_not_what_may_be_meant(capsys):
    status, _, err = run(capsys, "draw", "--frames", "folder", "--format", "gif")
    assert status == 2 and "not one of 'svg', 'pdf', 'png'" in err and "did you mean" not in err
    status, _, err = run(capsys, "draw", "--cell", "rnn", "lstm", "-o", "a.html")
    assert status == 2 and "unrecognized arguments: lstm (see" in err


@pytest.mark.parametrize("command", [["--help"], ["demo", "--steps", "1", "--out", "."], ["draw", "-o", "-"]])
def test_a_pipe_that_nobody_reads_is_no_error(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ours, theirs = os.pipe()
    os.close(ours)
    command = [sys.executable, "-m", "tinygrad_rnn", *command]
    done = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, text=True)
    os.close(theirs)
    assert done.stderr == "" and (done.returncode == 1 or "--help" in command)  # of which argparse says nothing


@pytest.mark.parametrize("quiet", [[], ["--quiet"]])
@pytest.mark.parametrize(
    "options, first", [([], b"<?xml"), (["--format", "png"], b"\x89PNG"), (["--format", "dot"], b"di")]
)
def test_draw_to_standard_output(capfdbinary, options, first, quiet):
    status = cli.main(["draw", "--steps", "1", "-o", "-", *options, *quiet])
    out, err = capfdbinary.readouterr()
    assert (status, err) == (0, b"") and out.startswith(first) and b"wrote" not in out


def test_quiet_commands_print_errors_alone(capsys, tmp_path):
    assert run(capsys, "demo", "--quiet", "--out", tmp_path / "out") == (0, "", "")
    assert "forward.svg" in os.listdir(tmp_path / "out")
    status, out, err = run(capsys, "demo", "-q", "--steps", 0)
    assert (status, out) == (2, "") and err.startswith("tinygrad-rnn demo: steps=0: a whole number from 1 to")


def test_a_shell_can_complete_commands_and_options(capsys):
    pytest.importorskip("shtab")
    status, out, err = run(capsys, "--completion", "bash")
    assert (status, err) == (0, "") and "draw" in out and "--highlight" in out and "backward" in out


def test_version(capsys):
    assert run(capsys, "--version")[:2] == (0, f"tinygrad-rnn {tg.__version__}\n")


def test_help_of_draw_names_every_option_in_its_group(capsys):
    out = run(capsys, "draw", "--help")[1]
    _, net, figure = re.split(r"^(?:net|figure):$", out, flags=re.MULTILINE)
    assert re.findall(r"^  (?:-o(?: FILE)?, )?(--[\w-]+)", net, re.MULTILINE) == [
        "--data", "--column", "--steps", "--hidden", "--seed", "--cell", "--nonlinearity", "--layers", "--many-to-many",
    ]  # fmt: skip
    assert re.findall(r"^  (?:-o(?: FILE)?, )?(--[\w-]+)", figure, re.MULTILINE) == [
        "--view", "--level", "--notation", "--max-steps", "--rolled", "--values", "--shapes",
        "--no-parameters", "--fit", "--color-by", "--font-size", "--highlight", "--parameter", "--out", "--frames",
        "--format", "--dpi", "--outlines",
    ]  # fmt: skip
    assert all(f".{suffix}" in figure for suffix in FORMATS)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["draw"], "one of the arguments -o/--out --frames is required"),
        (["demo", "--steps", "two"], "argument --steps: invalid int value: 'two'"),
        (["train", "--epochs", "x"], "argument --epochs: invalid int value: 'x'"),
        (["flow", "--steps", "x"], "argument --steps: invalid int value: 'x'"),
    ],
)
def test_arguments_that_do_not_fit_are_told_in_one_line(capsys, arguments, message):
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "") and err.count("\n") == 1
    assert err.startswith(f"tinygrad-rnn {arguments[0]}: {message}")
    assert err.endswith(f" (see tinygrad-rnn {arguments[0]} --help)\n")
