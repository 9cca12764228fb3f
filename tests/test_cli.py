"""The command line as a user meets it; each test runs it in-process, one in a process of its own."""

import dataclasses
import os
import re
import subprocess
import sys

import pytest

from tinygrad_rnn import cli
from tinygrad_rnn.cli import main
from tinygrad_rnn.nn.cells import NONLINEARITIES
from tinygrad_rnn.primitives import TABLE
from tinygrad_rnn.tensor import unary


def run(capsys, *arguments):
    try:
        status = main([str(a) for a in arguments])
    except SystemExit as exit:
        status = exit.code
    out, err = capsys.readouterr()
    return status, out, err


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


@pytest.mark.parametrize("view", ["forward", "backward"])
@pytest.mark.parametrize("level", ["named", "primitives"])
@pytest.mark.parametrize("suffix", ["svg", "pdf", "png", "dot"])
def test_draw(capsys, tmp_path, view, level, suffix):
    path = tmp_path / f"figure.{suffix}"
    status, out, _ = run(capsys, "draw", "--view", view, "--level", level, "--steps", 3, "-o", path)
    assert status == 0 and str(path) in out and path.stat().st_size > 1000


def test_check_covers_every_primitive_and_cell(capsys):
    status, out, err = run(capsys, "check")
    assert (status, err) == (0, "") and "wrong" not in out
    checked = re.findall(r"^(\S+|RNNCell, \w+)  ", out, re.MULTILINE)
    assert {*TABLE, *(f"RNNCell, {name}" for name in NONLINEARITIES)} <= set(checked)


def test_a_wrong_rule_is_told(capsys, tmp_path, monkeypatch):
    wrong = dataclasses.replace(TABLE["tanh"], vjps=(lambda g, ans, x: g * (1.001 - ans * ans),))
    monkeypatch.setitem(TABLE, "tanh", wrong)
    status, out, err = run(capsys, "check")
    assert status == 1 and re.search(r"^tanh +wrong +wrong", out, re.MULTILINE) and "central differences give" in err
    monkeypatch.setitem(NONLINEARITIES, "tanh", unary(wrong))
    status, out, err = run(capsys, "demo", "--out", tmp_path)
    assert status == 1 and re.search(r"^W .* wrong$", out, re.MULTILINE) and "W: graph and closed form differ" in err


def test_a_terminal_without_unicode(tmp_path):
    command = [sys.executable, "-m", "tinygrad_rnn", "demo", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, b"") and b"?gradient?" in done.stdout


@pytest.mark.parametrize(
    "options, status, message",
    [
        (["--data", "missing.csv"], 1, "missing.csv"),
        (["--data", "a.csv", "--column", "x"], 2, "the columns are 'day', 'price'"),
        (["--data", "a.csv"], 2, "name a column"),
        (["--data", "a.csv", "--column", "price"], 2, "line 3: column 'price' holds 'nan'"),
        (["--steps", "0"], 2, "'0' is not a whole number from 1 up"),
        (["--steps", "-3"], 2, "--steps"),
        (["--hidden", "many"], 2, "'many' is not a whole number from 1 up"),
        (["--steps", "309"], 2, "need 310 values; there are 309"),
        (["--seed", "-1"], 2, "'-1' is not a whole number from 0 up"),
        (["--out", "a.csv"], 1, "a folder is needed, and this is a file: a.csv"),
        (["--hidden", "10000000"], 1, "not enough memory"),
        (["--out", "a.csv/out"], 1, "a.csv"),
        (["--level", "all"], 2, "unrecognized arguments"),
        (["--column", "price"], 2, "--column names a column of a CSV file"),
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
    assert status == 2 and ".svg, .pdf, .png, .dot" in err and not os.listdir(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(capsys, tmp_path):
    tmp_path.chmod(0o500)
    status, _, err = run(capsys, "demo", "--out", tmp_path)
    assert status == 1 and "Permission denied" in err


@pytest.mark.parametrize("command", [[], ["demo"], ["draw"], ["check"]])
def test_help(capsys, command):
    status, out, _ = run(capsys, *command, "--help")
    assert status == 0 and "usage: tinygrad-rnn" in out


def test_as_a_module(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tinygrad_rnn", "demo", "--out", tmp_path], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
