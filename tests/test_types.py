"""A user's scripts: they run, and a type checker, as strict as it can be, finds nothing wrong with them."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import tinygrad_rnn

SCRIPTS = Path(__file__).parent / "user_scripts"


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.py")), ids=lambda script: script.stem)
def test_a_user_s_script_runs(script):
    runpy.run_path(str(script), run_name="__main__")


@pytest.mark.parametrize("checker", [["mypy", "--config-file=", "--strict", "--warn-unreachable"], ["pyright"]])
def test_a_user_s_scripts_are_well_typed(checker):
    pytest.importorskip(checker[0])
    as_installed = {**os.environ, "PYTHONPATH": str(Path(tinygrad_rnn.__file__).parent.parent)}
    command = [sys.executable, "-m", *checker, "."]
    done = subprocess.run(command, cwd=SCRIPTS, env=as_installed, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
