import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import benchmark
import training_steps

EXAMPLES = Path(__file__).parent.parent / "examples"
SHOWN = {
    "ratios": ["compiled 0.1.0", "by_hand, milliseconds", "NumPy: ", "threads: 1"],
    "first": ["first/eager", "LSTM, compiled 0.1.0"],
    "lengths": ["T = 2 to 13", "LSTM, compiled 0.1.0"],
    "source": ["with loops", "LSTM"],
    "chain": ["1,000 in a chain"],
    "draw": ["LSTM, T = 3"],
    "start": ["a first gradient"],
}


@pytest.mark.parametrize("name", [name for name in training_steps.STEPS if name != "torch_compile"])
def test_every_training_step_gives_the_gradients_of_the_hand_written_one(name):
    is_plain = name in training_steps.PLAIN
    for kind, dtype in [("RNN", "float64")] if is_plain else product(benchmark.NETS, ("float64", "float32")):
        problem = training_steps.Problem(kind, 4, 2, 3, 5, dtype)
        try:
            step = training_steps.checked(training_steps.STEPS[name], problem)
        except ImportError as error:
            pytest.skip(f"{error}")
        found = step(problem.xs[:3], problem.Y)  # another length
        assert {g.dtype for g in (found.values() if isinstance(found, dict) else found)} == {np.dtype(dtype)}


def test_a_training_step_with_other_gradients_is_refused():
    with pytest.raises(AssertionError, match="wrong"):
        training_steps.checked(wrong, training_steps.Problem("RNN", 4, 2, 3, 5))


def wrong(problem):
    return lambda xs, Y: {name: np.zeros(p.shape) for name, p in problem.parameters.items()}


@pytest.mark.parametrize("section", benchmark.SECTIONS)
def test_the_benchmark_runs_each_section(section, capsys):
    options = ["--quick", "--nets", "LSTM", "--steps", "tinygrad_rnn", "compiled"]
    benchmark.SECTIONS[section](benchmark.options_of(options))
    told = capsys.readouterr().out
    assert all(words in told for words in SHOWN[section]), told


def test_the_benchmark_gives_each_section_a_process_of_its_own():
    command = [sys.executable, EXAMPLES / "benchmark.py", "chain", "ratios", "--quick", "--steps", "compiled"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Python ") and "\nchain\n" in done.stdout and "\nratios\n" in done.stdout
    assert all(words in done.stdout for words in (*SHOWN["chain"], *SHOWN["ratios"]))


def test_the_benchmark_refuses_what_it_does_not_know(capsys):
    with pytest.raises(SystemExit, match="2"):
        benchmark.options_of(["ratio"])
    assert "ratio: not one of ratios, first, " in capsys.readouterr().err
