"""The layout engine: what it says, and what is said where there is none."""

import os
import subprocess
import sys

import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.draw import layout


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
