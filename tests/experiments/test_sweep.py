import contextlib
import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from command_line import ended
from swept import fragile, product, threads, trained

import tinygrad_rnn as tg
from tinygrad_rnn.experiments import sweep
from tinygrad_rnn.experiments.run import train
from tinygrad_rnn.experiments.settings import Settings
from tinygrad_rnn.experiments.sweep import Run, TrainPoint, combinations, draw_runs, identity, read_points, sample

TRAINED = {"cell": ["rnn", "lstm"], "seed": [0, 1]}


@pytest.fixture(scope="module")
def processes():
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        yield pool


@pytest.fixture
def thread():
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture(scope="module")
def cluster():
    """A Dask cluster of one worker process."""
    distributed = pytest.importorskip("distributed", reason="Dask is not installed: pip install distributed")
    with distributed.LocalCluster(1, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster:
        yield cluster


def lines(path):
    return list(csv.reader(path.read_text().splitlines()))


# --- the points


def test_a_grid_is_all_combinations_the_last_name_fastest():
    assert combinations({"a": [1, 2], "b": ["x", "y"]}) == [
        {"a": 1, "b": "x"}, {"a": 1, "b": "y"}, {"a": 2, "b": "x"}, {"a": 2, "b": "y"},
    ]  # fmt: skip


def test_numpy_values_become_numbers():
    (point,) = combinations({"n": np.arange(1, 2)})
    assert point == {"n": 1} and type(point["n"]) is int


def test_a_sample_keeps_to_its_ranges_and_to_its_seed():
    ranges = {
        "uniform": {"x": [-1.0, 1], "n": [1, 3]}, "log_uniform": {"lr": [1e-4, 1e-1], "m": [1, 1000]},
        "choice": {"cell": ["rnn", None]},
    }  # fmt: skip
    points = sample(2000, **ranges)
    assert all(-1 <= p["x"] <= 1 and 1e-4 <= p["lr"] <= 1e-1 and 1 <= p["m"] <= 1000 for p in points)
    assert {p["n"] for p in points} == {1, 2, 3} and {p["cell"] for p in points} == {"rnn", None}
    assert {type(p["m"]) for p in points} == {int}
    # Equal chances for each decade: 2000 / 3 within four standard deviations
    for low in (1e-4, 1e-3, 1e-2):
        assert abs(sum(low <= p["lr"] < 10 * low for p in points) - 2000 / 3) < 4 * (2000 * 1 / 3 * 2 / 3) ** 0.5
    assert points == sample(2000, **ranges, seed=0) != sample(2000, **ranges, seed=1)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"points": 0, "uniform": {"x": [0, 1]}}, "points=0: a whole number from 1 to 100000"),
        ({"points": 1, "uniform": {"x": [0, 1]}, "choice": {"x": [2]}}, "a name is in two ranges"),
        ({"points": 1, "gaussian": {"x": [0, 1]}}, "range='gaussian': not one of 'uniform', 'log_uniform', 'choice'"),
        ({"points": 1, "uniform": {"x": [1, 1]}}, r"uniform x = \[1, 1\]: a lower number, then"),
        ({"points": 1, "uniform": {"x": [1, float("inf")]}}, "a lower number, then a higher one"),
        ({"points": 1, "log_uniform": {"x": [0, 1]}}, r"log_uniform x = \[0, 1\]: a lower number, .*above zero"),
        ({"points": 1, "choice": {"x": []}}, "a list is needed"),
        ({"points": 1, "choice": {"x": "rnn"}}, "a list is needed"),
    ],
)
def test_a_sample_of_no_range_is_told(given, message):
    with pytest.raises(ValueError, match=message):
        sample(**given)


# --- the runs


def test_results_are_in_the_order_of_the_grid():
    runs = sweep(product, {"x": [3, 1, 2], "y": [1.0, 10.0]}, workers=2)
    assert [run.result for run in runs] == [3, 30, 1, 10, 2, 20]
    assert runs[1].parameters == {"x": 3, "y": 10.0} and runs[1].error is None and runs[1].seconds >= 0


def test_a_run_that_fails_or_dies_is_recorded_and_the_rest_go_on(tmp_path):
    runs = sweep(fragile, {"x": [0, 1, 2, 3, 4, 5]}, out=tmp_path, workers=1)
    assert [run.result for run in runs] == [0, None, None, None, 4, 5]
    assert runs[1].error == "ValueError: too large"
    assert all(run.error.startswith("BrokenProcessPool: A process in the process pool was term") for run in runs[2:4])
    header, *rows = lines(tmp_path / "results.csv")
    assert header == ["x", "result", "error", "seconds"]
    assert [row[:3] for row in rows[:2]] == [["0", "0", ""], ["1", "", "ValueError: too large"]] and len(rows) == 6
    assert json.loads((tmp_path / identity({"x": 1}) / "run.json").read_text()) == {
        "function": "swept.fragile", "parameters": {"x": 1}, "result": None, "error": "ValueError: too large",
        "seconds": runs[1].seconds,
    }  # fmt: skip


@pytest.mark.skipif(os.cpu_count() == 1, reason="there is one core")
@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="threads are counted in /proc")
def test_a_worker_process_computes_with_one_thread():
    here = subprocess.run(
        [sys.executable, "-c", "import swept; print(swept.threads(800))"], text=True, check=True,
        capture_output=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "2"},
    )  # fmt: skip
    assert int(here.stdout) == 2
    assert [run.result for run in sweep(threads, {"size": [800, 801]}, workers=1)] == [1, 1]


def test_the_environment_of_this_process_stays(monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    (run,) = sweep(os.getenv, {"key": ["OPENBLAS_NUM_THREADS"]}, workers=1)
    assert run.result == "1"
    assert os.environ["OPENBLAS_NUM_THREADS"] == "7" and "OMP_NUM_THREADS" not in os.environ


def test_the_same_seed_gives_the_same_bits_in_this_process_in_others_and_in_threads(processes, thread):
    here = [trained(cell, seed) for cell in ("rnn", "lstm") for seed in (0, 1)]
    assert len({result["loss"] for result in here}) == 4
    for executor in (processes, thread):
        assert [run.result for run in sweep(trained, TRAINED, executor)] == here


def test_the_same_seed_gives_the_same_bits_on_a_dask_cluster(cluster):
    from distributed import Client

    with Client(cluster) as client:
        runs = sweep(trained, TRAINED, client.get_executor(pure=False))
        limits = sweep(os.getenv, {"key": ["OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"]}, client.get_executor(pure=False))
    assert [run.result for run in runs] == [trained(cell, seed) for cell in ("rnn", "lstm") for seed in (0, 1)]
    assert [run.result for run in limits] == ["1", "1"]  # Dask sets them for its own workers


def test_what_is_there_is_not_run_again_and_what_failed_is(tmp_path, thread):
    called = []

    def function(x, y=0):
        called.append(x)
        if x == 2 and len(called) < 4:
            raise OSError("busy")
        return {"z": x + y, "at": np.float32(0.1), "list": (1, 2)}

    first = sweep(function, {"x": [1, 2, 3]}, thread, out=tmp_path)
    assert called == [1, 2, 3] and first[1].error == "OSError: busy"
    seen = []
    second = sweep(function, {"x": [3, 2, 1, 4]}, thread, out=tmp_path, progress=seen.append)
    assert called == [1, 2, 3, 2, 4]
    assert second[0] == first[2] and second[2] == first[0]  # read back, they are what they were
    assert [run.parameters["x"] for run in seen] == [3, 1, 2, 4]
    assert second[1].result == {"z": 2, "at": float(np.float32(0.1)), "list": [1, 2]}


def test_what_is_there_twice_runs_once(thread):
    called = []
    runs = sweep(lambda **p: called.append(p), [{"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 2}], thread)
    assert called == [{"a": 1, "b": 2}, {"a": 2}] == [run.parameters for run in runs]


def test_of_a_dataclass_what_its_repr_shows_is_kept(thread, tmp_path):
    @dataclass
    class Summary:
        loss: float
        seconds: float
        x: int
        name: str
        net: object = field(repr=False)

    (run,) = sweep(lambda x: Summary(np.float64(0.5), 2.0, 7, "rnn", object()), {"x": [1]}, thread, out=tmp_path)
    assert run.result == {"loss": 0.5, "seconds": 2.0, "x": 7, "name": "rnn"}
    header, row = lines(tmp_path / "results.csv")
    assert header == ["x", "loss", "result seconds", "result x", "error", "seconds"]
    assert row[:5] == ["1", "0.5", "2.0", "7", ""]


def test_a_result_that_cannot_be_kept_is_the_error_of_its_run(thread):
    (run,) = sweep(lambda x: {"t": tg.Tensor(1.0)}, {"x": [1]}, thread)
    assert run.error.startswith("TypeError: the result has a Tensor; numbers, words, lists")


def test_results_that_are_not_finite_are_kept(thread, tmp_path):
    for _ in range(2):
        runs = sweep(lambda x: float(x), {"x": ["nan", "-inf"]}, thread, out=tmp_path)
        assert np.isnan(runs[0].result) and runs[1].result == -np.inf


# --- what is refused


@pytest.mark.parametrize("function", [lambda x: x, partial(lambda x, y: x, y=1)])
def test_a_function_without_a_name_is_not_for_processes(function):
    with pytest.raises(
        ValueError, match=r"import a function by its name, and not .*: define it in a module, .*ThreadPo"
    ):
        sweep(function, {"x": [1]}, workers=1)


def run_script(*arguments):
    paths = os.pathsep.join([str(Path(tg.__file__).parents[1]), *sys.path])
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=60)


def test_a_function_of_a_session_is_not_for_processes():
    ended = run_script("-c", "import tinygrad_rnn as tg\ndef f(x): return x\ntg.experiments.sweep(f, {'x': [1]})")
    assert "ValueError: sweep: worker processes import a function by its name, and not __main__.f" in ended.stderr


def test_a_function_of_a_script_is_for_processes_if_the_script_has_a_guard(tmp_path):
    script = tmp_path / "script.py"
    lines = [
        "import tinygrad_rnn as tg",
        "def f(x): return 2 * x",
        "{}",
        "    print(tg.experiments.sweep(f, {{'x': [4]}}, out={!r})[0].result)",
    ]
    script.write_text("\n".join(lines).format('if __name__ == "__main__":', str(tmp_path / "a")))
    assert run_script(script).stdout == "8\n"
    script.write_text("\n".join(lines).format("if True:", str(tmp_path / "b")))
    assert 'or in a script with `if __name__ == "__main__":`' in run_script(script).stderr.splitlines()[-1]
    assert os.listdir(tmp_path / "b") == []


@pytest.mark.parametrize(
    "grid, error, message",
    [
        ({}, ValueError, "the grid is empty"),
        ([], ValueError, "the grid is empty"),
        ({"x": []}, ValueError, "the grid is empty"),
        ({"x": "rnn"}, TypeError, "the grid's x = 'rnn': a list of values is needed"),
        ({"x": 1}, TypeError, "a list of values is needed"),
        ({"x": [object()]}, TypeError, "Object of type object is not JSON serializable"),
    ],
)
def test_a_grid_that_is_none_is_told(thread, grid, error, message):
    with pytest.raises(error, match=message):
        sweep(product, grid, thread)


def test_other_arguments_that_do_not_fit_are_told(thread, tmp_path):
    with pytest.raises(ValueError, match="workers=0: a whole number from 1 up"):
        sweep(product, {"x": [1]}, workers=0)
    with pytest.raises(TypeError, match=r"sweep: an executor, of Dask client.get_executor\(\), is needed, not a int"):
        sweep(product, {"x": [1]}, 4)
    sweep(product, {"x": [1]}, thread, out=tmp_path)
    with pytest.raises(ValueError, match="has runs of swept.product, not of swept.fragile: give another"):
        sweep(fragile, {"x": [1]}, thread, out=tmp_path)
    (tmp_path / identity({"x": 1}) / "run.json").write_text("{")
    with pytest.raises(ValueError, match="run.json is not the record of a run: delete it"):
        sweep(product, {"x": [1]}, thread, out=tmp_path)


@pytest.mark.parametrize(
    "content",
    ["[" * 100_000, "[]", "5", '{"function": "x"}', '{"function": 1, "result": 1, "error": 1, "seconds": 1.0}'],
)
def test_a_record_that_is_none_is_told(thread, tmp_path, content):
    path = tmp_path / identity({"x": 1}) / "run.json"
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(ValueError, match="run.json is not the record of a run: delete it"):
        sweep(product, {"x": [1]}, thread, out=tmp_path)
    assert path.read_text() == content


@pytest.mark.parametrize("name", ["results.csv", "results.svg"])
def test_results_that_are_of_no_sweep_are_not_replaced(thread, tmp_path, name):
    (tmp_path / name).write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=f"{name} is there, and of no such run"):
        sweep(product, {"x": [1]}, thread, out=tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["a,b\n1,2\n"]


def test_two_sweeps_in_one_folder_at_a_time_are_one_too_many(thread, tmp_path):
    pytest.importorskip("fcntl", reason="folders are not locked here")

    def another(run):
        with pytest.raises(ValueError, match="another run is going on in"):
            sweep(product, {"x": [2]}, thread, out=tmp_path)

    sweep(product, {"x": [1]}, thread, out=tmp_path, progress=another)


def test_when_the_disk_is_full_what_is_written_stays(tmp_path, thread):
    resource = pytest.importorskip("resource", reason="file sizes cannot be limited here")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400, hard))
    try:
        with pytest.raises(OSError, match="cannot write .*run.json"):
            sweep(lambda x: "y" * x, {"x": [1, 1000, 2]}, thread, out=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / identity({"x": 1}) / "run.json").exists()
    assert [row[0] for row in lines(tmp_path / "results.csv")] == ["x", "1"]


# --- the figure


def drawn(tmp_path, runs, measure=None):
    pytest.importorskip("matplotlib")
    draw_runs(runs, measure, tmp_path / "results.svg")
    return (tmp_path / "results.svg").read_text()


def runs_of(grid, result=lambda **p: {"loss": 1.0, "error rate": 0.5}):
    return [Run(point, result(**point), None, 1.0) for point in combinations(grid)]


def test_the_figure_has_numbers_on_its_axis_and_a_line_for_each_word(tmp_path):
    text = drawn(tmp_path, runs_of({"cell": ["rnn", "lstm"], "lr": [0.01, 0.1], "seed": [0, 1], "layers": [1]}))
    for words in ("loss against lr; runs: 8", ">lr<", ">loss<", "cell = rnn", "cell = lstm"):
        assert words in text
    assert "seed" not in text and "layers" not in text and "failed" not in text


def test_the_figure_of_words_alone(tmp_path):
    text = drawn(tmp_path, runs_of({"cell": ["rnn", "lstm"], "clip": [None, 1.0]}), "error rate")
    for words in (">rnn<", ">lstm<", "clip = None", "clip = 1.0", ">error rate<"):
        assert words in text


def test_the_figure_marks_what_failed_and_what_is_not_finite(tmp_path):
    good, bad = Run({"x": 1}, 2.0, None, 1.0), Run({"x": 2}, None, "ValueError: no", 1.0)
    assert "failed, or not finite" in drawn(tmp_path, [good, bad])
    assert "failed, or not finite" in drawn(tmp_path, [good, Run({"x": 2}, float("nan"), None, 1.0)])
    draw_runs([bad], None, tmp_path / "none.svg")
    assert not (tmp_path / "none.svg").exists()


def test_a_measure_that_there_is_not_is_told_and_nothing_is_lost(tmp_path, thread):
    with pytest.raises(ValueError, match="measure='los': not one of 'loss', 'accuracy'"):
        sweep(lambda x: {"loss": x, "accuracy": 1.0}, {"x": [1]}, thread, out=tmp_path, measure="los")
    assert len(lines(tmp_path / "results.csv")) == 2


def test_a_run_that_its_executor_gives_up_is_told():
    class Gone(ThreadPoolExecutor):
        def submit(self, *arguments):
            future = super().submit(time.sleep, 0)
            future.result()
            lost = type(future)()
            lost.cancel()
            lost.set_running_or_notify_cancel()
            return lost

    with Gone() as executor:
        (run,) = sweep(product, {"x": [1]}, executor)
    assert run.error == "CancelledError:"


@pytest.mark.usefixtures("without_matplotlib")
def test_without_matplotlib_the_results_are_written_and_a_warning_says_what_to_install(tmp_path, thread):
    with pytest.warns(UserWarning, match="pip install matplotlib"):
        (run,) = sweep(lambda x: x, {"x": [1]}, thread, out=tmp_path)
    assert run.result == 1 and len(lines(tmp_path / "results.csv")) == 2


# --- the file


def written(tmp_path, text):
    path = tmp_path / "sweep.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_file_with_a_grid(tmp_path):
    text = '\ufeff[train]\r\nepochs = 3\r\n[grid]\r\ncell = ["rnn", "gru"]\r\nclip_norm = ["none", 1]\r\n'
    assert read_points(written(tmp_path, text)) == [
        {"epochs": 3, "cell": cell, "clip_norm": clip} for cell in ("rnn", "gru") for clip in (None, 1)
    ]


def test_a_file_with_a_sample(tmp_path):
    text = "[train]\nepochs = 3\n[sample]\npoints = 4\nseed = 2\nlog_uniform.lr = [0.001, 0.1]\nchoice.seed = [0, 1]\n"
    drawn = sample(4, seed=2, log_uniform={"lr": [0.001, 0.1]}, choice={"seed": [0, 1]})
    assert read_points(written(tmp_path, text)) == [{"epochs": 3, **point} for point in drawn]


def test_1_and_1_0_are_one_learning_rate(tmp_path):
    first, second = read_points(written(tmp_path, "[grid]\nlr = [1, 1.0]\n"))
    assert identity(first) == identity(second)


@pytest.mark.parametrize(
    "text, message",
    [
        ("[grid]\nlr = [0.1]\nhiden = [3]", r"setting='hiden': not one of 'data', .*; did you mean hidden\?"),
        ("[train]\nhiden = 3\n[grid]\nlr = [0.1]", "setting='hiden': not one of"),
        ("[grids]\nlr = [0.1]", "table='grids': not one of 'train', 'grid', 'sample'; did you mean grid"),
        ("[sample]\npoints = 3\nuniforms.hidden = [1, 2]", "range='uniforms': not one of .*; did you mean uniform"),
        ("[sample]\npoints = 3\nuniform.hiden = [1, 2]", "setting='hiden': not one of"),
        ("[sample]\nuniform.hidden = [1, 2]", "missing 1 required positional argument: 'points'"),
        ("[sample]\npoints = 3\nuniform = 3", "'int' object is not iterable"),
        ("grid = 3", r"grid: a table, \[grid\], is needed, not a int"),
        ("[sample]\npoints = 3\nuniform.hidden = [2, 1]", r"uniform hidden = \[2, 1\]: a lower number"),
        ("[train]\nlr = 0.1\n", r"one table, \[grid\] or \[sample\]"),
        ("[grid]\nlr = [0.1]\n[sample]\npoints = 3", r"one table, \[grid\] or \[sample\]"),
        ("[grid]\n", r"one table, \[grid\] or \[sample\]"),
        ("[grid]\nlr = []", "the grid is empty"),
        ("[grid]\nlr = 0.1", "the grid's lr = 0.1: a list of values is needed"),
        ("[grid]\nhidden = [3, 0]", "hidden=0: a whole number from 1 to 1000000"),
        ("[grid]\nhidden = [3, 2.5]", "hidden=2.5: a whole number"),
        ("[grid]\ncell = ['lstm', 'rnn']\nnonlinearity = ['relu']", "is of cell='rnn', not of 'lstm'"),
        ("[grid]\nlr = [0.1\nhidden = [1]", "line 3"),
        ("[grid]\nlr = " + "[" * 100_000, "recursion"),
        ("[grid]\nlr = [2020-01-01]", r"lr=datetime.date\(2020, 1, 1\): a finite number above 0 is needed"),
        ("[grid]\nlr = [1" + "0" * 400 + "]", "lr=10+: a finite number above 0 is needed"),
        ("[grid]\nhidden = [1" + "0" * 400 + "]", "hidden=10+: a whole number from 1 to 1000000 is needed"),
        ("[grid]\nlayers = [10_000_000_000]", "layers=10000000000: a whole number from 1 to 10000 is needed"),
        ("[grid]\nhidden = [true]", "hidden=True: a whole number"),
        ("[sample]\npoints = 10_000_000_000\nuniform.seed = [0, 9]", "points=10000000000: .* to 100000"),
        (b"[grid]\n\nlr = ['\xff']", "'utf-8' codec can't decode byte 0xff in position 15"),
    ],
)
def test_a_file_that_does_not_fit_is_told(tmp_path, text, message):
    with pytest.raises(ValueError, match=r"sweep\.toml: .*" + message):
        read_points(written(tmp_path, text))


# --- the command


def run(capsys, *arguments):
    return ended(capsys, "sweep", *arguments)


GRID = "[train]\ndata = 'sine'\nepochs = 2\nwindow = 5\n[grid]\nhidden = [2, 3]\nlr = [0.01, 1e200]\n"


def test_the_command_trains_and_tells(capsys, tmp_path):
    out = tmp_path / "new" / "out"
    status, told, err = run(capsys, written(tmp_path, GRID), "--out", out, "--workers", 1)
    assert (status, err) == (1, f"tinygrad-rnn sweep: 2 of 4 runs failed; {out} tells why\n")
    assert re.search(r"\d/4 hidden=2 lr=0\.01: held_out 0\.\d+, \d+\.\d s\n", told)
    assert "hidden=3 lr=1e+200: FloatingPointError: training diverged in epoch 1: " in told
    header, *rows = lines(out / "results.csv")
    assert header[:6] == ["data", "epochs", "window", "hidden", "lr", "held_out"]
    assert header[-4:] == ["result epochs", "result seconds", "error", "seconds"]
    point = {"data": "sine", "epochs": 2, "window": 5, "hidden": 2, "lr": 0.01}
    alone = train(Settings(**point), tmp_path / "alone")
    assert rows[0][:6] == [str(value) for value in (*point.values(), alone.held_out)]
    for name in ("config.json", "model.npz", "prediction.csv"):
        assert (out / identity(point) / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    assert "held_out against hidden" in (out / "results.svg").read_text()


def test_misuse_is_one_line_and_nothing_runs(capsys, tmp_path):
    out = tmp_path / "out"
    status, _, err = run(capsys, written(tmp_path, "[grid]\nlr = [-1]"), "--out", out)
    assert (
        status == 2 and "sweep.toml: lr=-1: a finite number above 0 is needed (see tinygrad-rnn sweep --help)\n" in err
    )
    assert run(capsys, tmp_path / "none.toml", "--out", out)[0] == 1
    status, _, err = run(capsys, written(tmp_path, f"[grid]\ndata = ['{tmp_path}/no.csv', 'sine']"), "--out", out)
    assert (status, err) == (1, f"tinygrad-rnn sweep: No such file or directory: {tmp_path}/no.csv\n")
    assert not out.exists()
    status, _, err = run(capsys, written(tmp_path, GRID), "--out", out, "--workers", 0)
    assert (status, err) == (
        2,
        "tinygrad-rnn sweep: workers=0: a whole number from 1 up is needed (see tinygrad-rnn sweep --help)\n",
    )
    (tmp_path / "file").touch()
    status, _, err = run(capsys, written(tmp_path, GRID), "--out", tmp_path / "file")
    assert status == 1 and err == f"tinygrad-rnn sweep: a folder is needed, and this is a file: {tmp_path / 'file'}\n"


@pytest.fixture
def trained_points(without_matplotlib, thread):
    """trained_points(file, out): the runs of a file, as the command has them but in this process, and their table."""

    def trained_points(file, out):
        point, seen = TrainPoint(str(out)), []
        runs = sweep(point, read_points(file), thread, key=point.key, out=out, progress=seen.append)
        assert len(seen) == len(runs)
        return runs, lines(Path(out, "results.csv"))

    return trained_points


@pytest.mark.usefixtures("without_matplotlib")
@pytest.mark.filterwarnings("ignore:plots need matplotlib")
def test_a_measure_that_there_is_not_stops_the_command_after_its_first_run(capsys, tmp_path):
    text = "[train]\ndata = 'sine'\nhidden = 1\nwindow = 5\n[grid]\nepochs = [1, 100_000]\n"
    options = ["--out", tmp_path / "out", "--workers", 1, "--measure", "los"]
    status, told, err = run(capsys, written(tmp_path, text), *options)
    assert (status, told) == (2, "") and "measure='los': not one of 'held_out', 'training'" in err
    assert len(lines(tmp_path / "out" / "results.csv")) == 2


@pytest.mark.filterwarnings("ignore:plots need matplotlib")
def test_runs_whose_data_have_changed_run_again(trained_points, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    series = np.random.default_rng(0).standard_normal((2, 40))
    for name, values in zip(["a.csv", "b.csv"], series, strict=True):
        Path(name).write_text("value\n" + "\n".join(map(str, values)))
    file = written(tmp_path, "[train]\nepochs = 1\nwindow = 5\nhidden = 2\n[grid]\ndata = ['a.csv', 'b.csv']\n")
    _, before = trained_points(file, "out")
    assert trained_points(file, "out")[1] == before
    Path("b.csv").write_text(Path("a.csv").read_text())
    _, after = trained_points(file, "out")
    held_out = before[0].index("held_out")
    assert after[1] == before[1] and after[1][held_out] == after[2][held_out] != before[2][held_out]
    # Wherever it is given, what is there is known by what the data are.
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in (file, Path("a.csv"), Path("b.csv"), Path("out")):
        path.rename(moved / path.name)
    monkeypatch.chdir(moved)
    assert trained_points(file.name, "out")[1] == after


@pytest.mark.filterwarnings("ignore:plots need matplotlib")
@pytest.mark.parametrize("windows", [[99, 5], [5, 99]])
def test_each_column_is_data_of_its_own_and_a_window_too_long_stops_no_other(
    trained_points, tmp_path, monkeypatch, windows
):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    Path("a.csv").write_text("x,y\n" + "\n".join(f"{x},{y}" for x, y in rng.standard_normal((40, 2))))
    text = f"[train]\nepochs = 1\nhidden = 2\ndata = 'a.csv'\n[grid]\nwindow = {windows}\ncolumn = ['x', 'y']\n"
    file = written(tmp_path, text)
    runs, before = trained_points(file, "out")
    assert [run.error is None for run in runs] == [window == 5 for window in windows for _ in "xy"]
    assert [row[:-1] for row in trained_points(file, "out")[1]] == [row[:-1] for row in before]


def test_data_that_the_sweep_would_replace_are_told(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = "[train]\nepochs = 1\nwindow = 5\nhidden = 2\n[grid]\ndata = ['out/results.csv']\n"
    data = tmp_path / "out" / "results.csv"
    data.parent.mkdir()
    data.write_text("x\n" + "\n".join(f"{i % 7}" for i in range(40)))
    before = data.read_bytes()
    status, _, err = run(capsys, written(tmp_path, text), "--out", "out")
    assert status == 2 and "results.csv is there, and of no such run; it would be replaced: give another" in err
    assert data.read_bytes() == before


def processes_of(group):
    """The processes of a group that are running."""
    ids = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    states = {}
    for id in ids:
        with contextlib.suppress(OSError):
            state, _, its_group = Path(f"/proc/{id}/stat").read_text().rpartition(") ")[2].split()[:3]
            states[id] = int(its_group) == group and state != "Z"
    return [id for id, running in states.items() if running]


FILE = "[train]\ndata = 'sine'\nhidden = 1\nwindow = 5\n[grid]\nepochs = [1, 100_000, 200_000]\n"
SCRIPT = """
import sys, swept
from tinygrad_rnn.experiments import sweep
sweep(swept.waiting, {"seconds": [0, 1000, 2000]}, out=sys.argv[1], workers=1, progress=lambda run: print(flush=True))
"""


@pytest.mark.parametrize(
    "command, sent, to_all, status, told",
    [
        # As a terminal does it: the signal goes to all processes of a group.
        (["-m", "tinygrad_rnn", "sweep", "--out"], signal.SIGINT, True, 130, "tinygrad-rnn sweep: interrupted; "),
        (["-c", SCRIPT], signal.SIGINT, False, -signal.SIGINT, "Traceback"),
        (["-c", SCRIPT], signal.SIGTERM, False, -signal.SIGTERM, ""),
        (["-c", SCRIPT], signal.SIGKILL, False, -signal.SIGKILL, ""),
    ],
)
def test_a_sweep_that_is_ended_keeps_what_has_run_and_leaves_no_process(tmp_path, command, sent, to_all, status, told):
    of_command = [written(tmp_path, FILE), "--workers", "1"] if "sweep" in command else []
    started = subprocess.Popen(
        [sys.executable, *command, tmp_path / "out", *of_command], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    with started:
        started.stdout.readline()
        (os.killpg if to_all else os.kill)(started.pid, sent)
        _, err = started.communicate(timeout=20)
    assert started.returncode == status and err.startswith(told)
    assert "sweep" not in command or err.count("\n") == 1
    if told:
        assert len(lines(tmp_path / "out" / "results.csv")) == 2
    assert len(list(tmp_path.glob("out/*/run.json"))) == 1
    if os.path.exists("/proc/self/stat"):
        ended = time.perf_counter()
        while processes_of(started.pid):
            assert time.perf_counter() - ended < 5
            time.sleep(0.05)
