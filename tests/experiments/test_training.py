"""Training as a function and as a command; tiny nets, the real loop."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict

import numpy as np
import pytest
from command_line import ended

import tinygrad_rnn as tg
from tinygrad_rnn.experiments.run import train
from tinygrad_rnn.experiments.settings import Settings
from tinygrad_rnn.experiments.training import Forecaster

TINY = {"hidden": 3, "window": 5, "epochs": 4}
ALICE = "Alice was beginning to get very tired of sitting by her sister on the bank. " * 10
pytestmark = [
    pytest.mark.usefixtures("without_matplotlib"), pytest.mark.filterwarnings("ignore:plots need matplotlib"),
]  # fmt: skip

KINDS = {
    "series": {"data": "sine"},
    "text": {"data": "text"},
    "carried series": {"data": "sine", "truncate": 5},
    "carried text": {"data": "text", "truncate": 5, "batch": 4},
    "sgd": {"data": "sine", "optimizer": "sgd", "momentum": 0.9, "cell": "rnn", "nonlinearity": "relu"},
    "single precision": {"data": "sine", "dtype": "float32", "cell": "gru", "layers": 2, "clip_value": 0.1},
    "table": {
        "data": "table.csv", "inputs": "a,b", "column": "c", "horizon": 4, "dropout": 0.3, "validation": 0.3,
        "schedule": "cosine", "optimizer": "adamw",
    },
    "sequences": {
        "data": "table.csv", "column": "c", "lengths": "id", "dropout": 0.1, "schedule": "step", "optimizer": "rmsprop",
        "patience": 3, "dtype": "float32",
    },
}  # fmt: skip


def settings(tmp_path, kind="series", **others):
    chosen = TINY | KINDS[kind] | others
    if chosen["data"] == "text":
        chosen["data"] = str(tmp_path / "alice.txt")
        (tmp_path / "alice.txt").write_text(ALICE)
    if chosen["data"] == "table.csv":
        chosen["data"] = str(tmp_path / "table.csv")
        rows = np.random.default_rng(0).standard_normal((80, 3)).cumsum(axis=0)
        lines = [f"s{i // 7},{a},{b},{c}" for i, (a, b, c) in enumerate(rows)]
        (tmp_path / "table.csv").write_text("\n".join(["id,a,b,c", *lines]))
    return Settings(**chosen)


def metrics(folder):
    """All but the seconds."""
    with open(folder / "metrics.csv", newline="") as file:
        return [row[:4] + row[5:] for row in csv.reader(file)]


def run(capsys, *arguments):
    return ended(capsys, "train", *arguments)


@pytest.mark.parametrize(("batch", "hidden", "used"), [(32, 16, 1), (400, 128, 2)])
def test_small_matrices_are_multiplied_in_one_thread(batch, hidden, used):
    """However many BLAS has: large ones are multiplied in these, and all work that is not training's."""
    threadpoolctl = pytest.importorskip("threadpoolctl")
    seen = []

    def look(*_):
        seen.extend(x["num_threads"] for x in threadpoolctl.threadpool_info() if x["user_api"] == "blas")

    with threadpoolctl.threadpool_limits(2, "blas"):
        train(Settings(data="sine", batch=batch, hidden=hidden, window=1, epochs=1, cell="rnn"), progress=look)
        look()
    assert seen[0] == used and seen[-1] == 2


@pytest.fixture(scope="module")
def ended_runs(tmp_path_factory):
    """The folders of runs over a series and a text that have ended, figures and all, only to be copied."""
    folder = tmp_path_factory.mktemp("ended")
    for kind in ("series", "text"):
        train(settings(folder, kind), folder / kind)
    return folder


@pytest.fixture
def out(ended_runs, tmp_path):
    """The folder of a run over a series that has ended."""
    return shutil.copytree(ended_runs / "series", tmp_path / "out")


@pytest.fixture
def out_of_text(ended_runs, tmp_path):
    """The folder of a run over a text that has ended."""
    return shutil.copytree(ended_runs / "text", tmp_path / "out")


class Stop(Exception):
    pass


def stop_after(updates):
    def progress(done, total, metrics):
        if done == updates:
            raise Stop

    return progress


@pytest.mark.parametrize("kind", ["series", "text"])
def test_the_same_settings_give_the_same_files(tmp_path, ended_runs, kind):
    train(settings(tmp_path, kind), tmp_path / "out")
    assert (tmp_path / "out" / "model.npz").read_bytes() == (ended_runs / kind / "model.npz").read_bytes()
    assert metrics(tmp_path / "out") == metrics(ended_runs / kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_is_stopped_goes_on_as_if_it_had_not_been(tmp_path, kind):
    given = settings(tmp_path, kind)
    total = []
    train(given, tmp_path / "whole", progress=lambda done, of, _: total.append(of))
    with pytest.raises(Stop):
        train(given, tmp_path / "parts", progress=stop_after(total[0] // 2 + 1))
    assert 1 <= len(metrics(tmp_path / "parts")) - 1 < given.epochs
    train(given, tmp_path / "parts", resume=True)
    assert (tmp_path / "parts" / "model.npz").read_bytes() == (tmp_path / "whole" / "model.npz").read_bytes()
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")


def test_a_run_that_is_stopped_in_its_first_epoch_goes_on_too(tmp_path, ended_runs):
    given = settings(tmp_path)
    with pytest.raises(Stop):
        train(given, tmp_path / "parts", progress=stop_after(1))
    train(given, tmp_path / "parts", resume=True)
    assert metrics(tmp_path / "parts") == metrics(ended_runs / "series")


def test_a_run_that_was_killed_between_two_of_its_files_goes_on(tmp_path, ended_runs):
    """Its checkpoint is of the second epoch then, and others are still of the first."""
    before = {}

    def keep(done, total, epoch):
        if epoch is not None and epoch.epoch == 1:
            before.update({name: (tmp_path / "a" / name).read_bytes() for name in ("metrics.csv", "model.npz")})
        if epoch is not None and epoch.epoch == 2:
            raise Stop

    with pytest.raises(Stop):
        train(settings(tmp_path), tmp_path / "a", progress=keep)
    for name, content in before.items():
        assert (tmp_path / "a" / name).read_bytes() != content
        (tmp_path / "a" / name).write_bytes(content)
    train(settings(tmp_path), tmp_path / "a", resume=True)
    assert metrics(tmp_path / "a") == metrics(ended_runs / "series")


def test_what_is_held_out_is_not_learnt_from(tmp_path):
    for name, end in (("a", 1.0), ("b", 5.0)):
        values = np.append(np.sin(np.arange(40.0)), np.full(10, end))
        (tmp_path / f"{name}.csv").write_text("v\n" + "\n".join(map(str, values)))
        train(Settings(data=str(tmp_path / f"{name}.csv"), **TINY), tmp_path / name)
    assert (tmp_path / "a" / "model.npz").read_bytes() == (tmp_path / "b" / "model.npz").read_bytes()


@pytest.mark.parametrize("kind", ["series", "text", "carried text"])
def test_the_folder_holds_the_run(tmp_path, kind):
    given, out = settings(tmp_path, kind), tmp_path / "new" / "out"
    summary = train(given, out)
    assert Settings(**json.loads((out / "config.json").read_text())) == given
    assert json.loads((out / "summary.json").read_text()) == summary.as_dict()
    header, *rows = metrics(out)
    assert header == ["epoch", "training_loss", "held_out_loss", "gradient_norm"]
    assert [row[0] for row in rows] == ["1", "2", "3", "4"]
    net = Forecaster(given, summary.net.readout.c.size, np.random.default_rng(7))
    tg.load(out / "model.npz", net)
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, summary.net.state_dict()[name])
    assert (out / "sample.txt").exists() == given.is_text
    assert not list(out.glob(".*"))


def test_the_error_in_the_summary_is_that_of_the_forecasts_in_the_csv_file(tmp_path):
    summary = train(settings(tmp_path), tmp_path / "out")
    _, truth, forecast = np.loadtxt(tmp_path / "out" / "prediction.csv", delimiter=",", skiprows=1).T
    np.testing.assert_array_equal(truth, tg.experiments.data.load(settings(tmp_path)).sequence[80:])
    assert np.mean(np.square(truth - forecast)) == pytest.approx(summary.held_out)


def test_forecasts_of_a_series_are_those_of_the_net_on_each_window(tmp_path):
    given = settings(tmp_path)
    summary, data = train(given), tg.experiments.data.load(given)
    windows = data.vectors(np.arange(5)[:, None] + np.arange(75, 95))
    ys, _ = summary.net(windows)
    loss = data.loss(ys.value[-1], data.targets(np.arange(79, 99)), reduction="mean").item()
    assert summary.held_out == pytest.approx(loss * data.scale)


def test_a_text_is_forecast_on_from_one_part_of_what_is_held_out_to_the_next(tmp_path):
    given = settings(tmp_path, "carried text", batch=1, epochs=1)
    summary, data = train(given), tg.experiments.data.load(given)
    places = np.arange(data.held_out.start - 5, data.held_out.stop - 1)
    zs, _ = summary.net(data.vectors(places))
    loss = data.loss(zs.value[4:], data.targets(places[4:]), reduction="mean").item()
    assert summary.held_out == pytest.approx(loss / np.log(2))


def test_a_text_that_repeats_is_learnt(tmp_path):
    given = settings(tmp_path, "text", hidden=24, window=16, epochs=20, lr=0.02)
    (tmp_path / "alice.txt").write_text(2 * ALICE)
    summary = train(given)
    assert summary.unit == "bits per character"
    assert summary.held_out < 0.5 * summary.baselines["bigram"] < summary.baselines["unigram"]


def test_weight_decay_is_the_gradient_of_half_the_sum_of_squares(tmp_path):
    step = {"optimizer": "sgd", "lr": 1.0, "batch": 1000, "epochs": 1, "clip_norm": None}
    plain, decayed = (train(settings(tmp_path, weight_decay=w, **step)).net for w in (0.0, 0.25))
    given = settings(tmp_path)
    start = Forecaster(given, 1, np.random.default_rng(given.seed)).state_dict()
    for name, value in plain.state_dict().items():
        np.testing.assert_allclose(decayed.state_dict()[name], value - 0.25 * start[name], atol=1e-12)


def test_the_best_weights_on_the_validation_part_are_kept_and_training_ends_when_it_gets_no_better(tmp_path):
    """The data change after what is learnt from: the longer it learns, the worse its forecasts of the rest become."""
    values = [*np.sin(np.arange(60.0)), *(0.5 * np.sin(0.3 * np.arange(60.0)))]
    (tmp_path / "a.csv").write_text("v\n" + "\n".join(map(str, values)))
    given = Settings(data=str(tmp_path / "a.csv"), hidden=6, window=5, epochs=40, patience=3, validation=0.3, lr=0.05)
    summary = train(given, tmp_path / "out")
    losses = [epoch.validation_loss for epoch in tg.experiments.load_run(tmp_path / "out").metrics]
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + 3 == summary.epochs < 40
    until = train(Settings(**asdict(given) | {"patience": None, "epochs": best + 1}))
    for name, value in until.net.state_dict().items():
        np.testing.assert_array_equal(summary.net.state_dict()[name], value)
        np.testing.assert_array_equal(tg.experiments.load_run(tmp_path / "out").net.state_dict()[name], value)
    assert summary.held_out == until.held_out


def test_what_is_validated_on_is_not_learnt_from(tmp_path):
    nets = []
    for name, end in (("a", 1.0), ("b", 5.0)):
        values = np.append(np.sin(np.arange(40.0)), np.full(20, end))
        (tmp_path / f"{name}.csv").write_text("v\n" + "\n".join(map(str, values)))
        nets.append(train(Settings(data=str(tmp_path / f"{name}.csv"), validation=0.2, **TINY | {"epochs": 1})).net)
    assert all(np.array_equal(value, nets[1].state_dict()[name]) for name, value in nets[0].state_dict().items())


@pytest.mark.parametrize("schedule, rates", [("cosine", [1.0, 0.75, 0.25]), ("step", [1.0, 0.1, 0.01])])
def test_the_rate_of_each_update_follows_the_schedule(schedule, rates):
    """Of three updates; with the gradient clipped to norm 1 each moves the parameters by the rate."""
    moved, before = [], {}

    def progress(done, total, epoch):
        net = training.net.state_dict()
        if before:
            moved.append(np.sqrt(sum(np.sum(np.square(net[name] - value)) for name, value in before.items())))
        before.update(net)

    given = {"data": "sine", "batch": 100, "epochs": 3, "optimizer": "sgd", "clip_norm": 1e-6, "weight_decay": 0.0}
    training = tg.experiments.training.Training(Settings(schedule=schedule, lr=1.0, hidden=3, window=5, **given))
    progress(0, 0, None)
    training.train(progress)
    np.testing.assert_allclose(moved, 1e-6 * np.array(rates), rtol=1e-6)


def test_a_run_with_a_schedule_goes_on_to_as_many_epochs_as_it_was_made_for(capsys, tmp_path):
    options = ["--data", "sine", "--hidden", 3, "--window", 5, "--schedule", "cosine"]
    assert run(capsys, *options, "--epochs", 2, "--out", tmp_path)[0] == 0
    status, _, err = run(capsys, "--resume", tmp_path, "--epochs", 4)
    assert status == 2 and "has epochs=2, not 4" in err


def test_dropout_is_of_training_alone_and_keeps_the_mean():
    training = tg.experiments.training.Training(Settings(data="sine", dropout=0.25, hidden=50, window=5))
    mask = training.dropped((5, 400))
    assert (
        mask.shape == (5, 400, 50)
        and set(np.unique(mask)) == {0.0, 4 / 3}
        and mask.mean() == pytest.approx(1.0, abs=0.01)
    )
    windows = training.data.vectors(np.arange(5)[:, None] + np.arange(10))
    np.testing.assert_array_equal(training.net(windows)[0].value, training.net(windows)[0].value)


def test_without_threadpoolctl_training_has_the_threads_that_there_are(monkeypatch):
    given = Settings(data="sine", hidden=8, window=2, epochs=1)
    with_it = train(given)
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    assert train(given) == with_it


def test_more_epochs_may_be_asked_for_when_a_run_goes_on(capsys, tmp_path):
    options = ["--data", "sine", "--hidden", 3, "--window", 5]
    assert run(capsys, *options, "--epochs", 2, "--out", tmp_path / "a")[0] == 0
    assert run(capsys, "--resume", tmp_path / "a", "--epochs", 4)[0] == 0
    assert run(capsys, *options, "--epochs", 4, "--out", tmp_path / "b")[0] == 0
    assert (tmp_path / "a" / "model.npz").read_bytes() == (tmp_path / "b" / "model.npz").read_bytes()


def test_the_command_prints_the_baselines_and_where_the_results_are(capsys, tmp_path):
    status, out, err = run(capsys, "--hidden", 2, "--epochs", 3, "--out", tmp_path)
    assert (status, err) == (0, "")
    assert "1107.29" in out and "377.933" in out and "this net, lstm" in out and f"wrote {tmp_path}" in out
    assert len(re.findall(r"of 24 updates: training loss \S+, held-out loss \S+, \S+ updates a second", out)) == 3


def test_every_setting_is_an_option(capsys, tmp_path):
    given = [
        "--data", "sine", "--cell", "rnn", "--nonlinearity", "relu", "--layers", "2", "--hidden", "3", "--window", "4",
        "--batch", "16", "--epochs", "1", "--lr", "0.5", "--weight-decay", "0", "--optimizer", "sgd", "--momentum",
        "0.5", "--clip-norm", "none", "--clip-value", "0.1", "--truncate", "4", "--seed", "9", "--dtype", "float32",
    ]  # fmt: skip
    assert run(capsys, *given, "--out", tmp_path)[0] == 0
    expected = Settings(
        data="sine", cell="rnn", nonlinearity="relu", layers=2, hidden=3, window=4, batch=16, epochs=1, lr=0.5,
        weight_decay=0.0, optimizer="sgd", momentum=0.5, clip_norm=None, clip_value=0.1, truncate=4, seed=9,
        dtype="float32",
    )  # fmt: skip
    assert json.loads((tmp_path / "config.json").read_text()) == asdict(expected)
    path = settings(tmp_path, "table").data
    given = ["--data", path, "--missing", "drop", "--decimal", ".", "--encoding", "latin-1", "--lengths", "id"]
    given += ["--inputs", "a,b", "--target", "c", "--hidden", "2", "--window", "3", "--epochs", "1", "--horizon", "2"]
    given += ["--validation", "0.2", "--patience", "5", "--schedule", "step", "--dropout", "0.1"]
    assert run(capsys, *given, "--out", tmp_path / "table")[0] == 0
    expected = Settings(
        data=path, missing="drop", decimal=".", encoding="latin-1", lengths="id", inputs="a,b", column="c", hidden=2,
        window=3, epochs=1, horizon=2, validation=0.2, patience=5, schedule="step", dropout=0.1,
    )  # fmt: skip
    assert json.loads((tmp_path / "table" / "config.json").read_text()) == asdict(expected)


@pytest.mark.parametrize(
    "options, message",
    [
        (["--cell", "elman"], "cell='elman': not one of 'rnn', 'lstm', 'gru'"),
        (["--epochs", "0"], "epochs=0: a whole number from 1 to 1000000000"),
        (["--epochs", "many"], "argument --epochs: invalid int value: 'many'"),
        (["--clip-norm", "big"], "argument --clip-norm: invalid float or none value: 'big'"),
        (["--lr", "nan"], "lr=nan"),
        (["--window", "300"], "window=300 needs 301 values to learn from; there are 309, 247 of them not held out"),
        (["--momentum", "0.9"], "momentum=0.9 is of optimizer='sgd'"),
        (["--optimizer", "sgd", "--momentum", "1"], "momentum"),
        (["--truncate", "5", "--window", "9"], "truncate=5 carries the state"),
        (["--truncate", "5", "--batch", "90"], "batch=90: parts of 2 values are too short for truncate=5"),
        (["--data", "prices"], "data='prices': sunspots, sine, topics, or a file"),
        (["--data", "table"], "Settings(data='table') and train(settings, data=...) go together"),
        (["--schedule", "linear"], "schedule='linear': not one of 'cosine', 'step'"),
        (["--dropout", "1"], "dropout=1.0: a number from 0 to 0.9 is needed"),
        (["--validation", "0.9"], "validation=0.9: a number from 0.01 to 0.5 is needed"),
        (["--patience", "0"], "patience=0: a whole number from 1"),
        (["--horizon", "0"], "horizon=0: a whole number from 1 to 10000"),
        (["--horizon", "230"], "window=22 needs 252 values to learn from"),
        (["--horizon", "90"], "309 values are too few to test a horizon=90 on"),
        (["--data", "topics", "--horizon", "2"], "horizon=2 is of a series; topics is none"),
        (["--lengths", "id"], "lengths='id' is of a CSV file; sunspots is none"),
        (["--missing", "drop"], "missing='drop' is of a CSV file; sunspots is none"),
        (["--encoding", "latin-1"], "encoding='latin-1' is of a file; sunspots is none"),
        (["--data", "a.csv", "--inputs", "x,,y", "--target", "z"], "inputs='x,,y': names as a,b are needed"),
        (["--data", "a.csv", "--inputs", "x,y"], "inputs='x,y': names as a,b are needed, and column"),
        (
            ["--data", "a.csv", "--lengths", "id", "--truncate", "5"],
            "piece to piece, all as long: no lengths='id'",
        ),
        (["--resume", "nothing"], "there is no run in nothing"),
        (["--resume", "nothing", "--out", "there"], "not allowed with argument"),
    ],
)
def test_misuse_is_told_in_a_line_with_status_2(capsys, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, *options)
    assert (status, out) == (2, "") and message in err.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_a_run_with_other_settings_is_not_resumed(capsys, out):
    before = (out / "config.json").read_bytes()
    status, _, err = run(capsys, "--resume", out, "--lr", "0.5", "--hidden", "9")
    assert status == 2 and "has hidden=3, not 9; lr=0.01, not 0.5" in err
    status, _, err = run(capsys, "--resume", out, "--epochs", "3")
    assert status == 2 and "has 4 epochs already, more than epochs=3" in err
    assert (out / "config.json").read_bytes() == before


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("config.json", b"{", "config.json holds no settings"),
        ("config.json", b'{"speed": 3}', "config.json holds no settings"),
        ("checkpoint.npz", b"PK", "checkpoint.npz: it is broken"),
    ],
)
def test_a_broken_run_is_told(capsys, out, name, content, message):
    (out / name).write_bytes(content)
    status, _, err = run(capsys, "--resume", out, "--epochs", 6)
    assert status == 2 and message in err and err.count("\n") == 1


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b"[]", b"5", b"null", b'"a"', b'{"hidden": 1e999}', b'{"lr": 1' + b"0" * 400 + b"}"]
)
def test_settings_that_are_none_are_told(capsys, out, content):
    (out / "config.json").write_bytes(content)
    status, _, err = run(capsys, "--resume", out)
    assert status == 2 and "config.json holds no settings" in err and err.count("\n") == 1
    assert (out / "config.json").read_bytes() == content


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("epochs", np.ones((1, 4)), "missing 1 required positional argument"),
        ("epochs", np.array("many"), "invalid literal"),
        ("epochs", None, "epochs is missing"),
        ("data", None, "data is missing"),
        ("epochs", np.zeros((10**6, 5)), "it unpacks to 40,.* bytes, most of them epochs"),
        ("parameter.readout.V", np.zeros((1, 4)), r"parameter.readout.V is float64 \(1, 4\) and should be .* \(1, 3\)"),
        ("parameter.readout.V", np.zeros((1, 3), np.float32), "parameter.readout.V is float32"),
        ("parameter.readout.V", None, "parameter.readout.V is missing"),
        ("optimizer.0.0", np.array(-1), r"load_state_dict\(0.0=-1\): a whole number from 0 up"),
        ("rng", np.array("{}"), "state must be for a PCG64 RNG"),
        ("rng", np.array("[" * 100_000), "recursion"),
        ("rng", None, "rng is missing"),
        ("odd", np.zeros(3), "odd is not a parameter"),
    ],
)
def test_a_checkpoint_with_a_field_that_cannot_be_is_told(capsys, out, field, value, message):
    path = out / "checkpoint.npz"
    with np.load(path) as archive:
        arrays = {**archive, field: value}
    np.savez_compressed(path, **{name: array for name, array in arrays.items() if array is not None})
    before = path.read_bytes()
    status, _, err = run(capsys, "--resume", out, "--epochs", 5)
    assert status == 2 and re.search(f"cannot go on from .*checkpoint.npz: .*{message}", err) and err.count("\n") == 1
    assert path.read_bytes() == before


# --- what is not the run's own


def series_file(path):
    path.write_text("value\n" + "\n".join(str(i * i % 17) for i in range(60)))
    return path


def refused(capsys, *options):
    status, out, err = run(capsys, "--hidden", 2, "--window", 5, "--epochs", 1, *options)
    assert (status, out) == (2, "") and err.count("\n") == 1
    return err


def test_the_data_are_not_replaced_by_the_results(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = series_file(tmp_path / "prediction.csv").read_bytes()
    told = "prediction.csv is the data, and would be replaced: give another folder (see tinygrad-rnn train --help)"
    assert refused(capsys, "--data", "prediction.csv", "--out", ".") == f"tinygrad-rnn train: {told}\n"
    assert os.listdir() == ["prediction.csv"]
    # By whatever name, and where a run has written it
    train(settings(tmp_path), tmp_path / "out")
    (tmp_path / "link.csv").symlink_to("out/prediction.csv")
    assert "is the data" in refused(capsys, "--data", "link.csv", "--column", "truth", "--out", "out")
    (tmp_path / "out" / "loss.csv").unlink()
    (tmp_path / "out" / "loss.csv").symlink_to("../prediction.csv")
    assert "loss.csv is the data" in refused(capsys, "--data", "prediction.csv", "--out", "out")
    assert (tmp_path / "prediction.csv").read_bytes() == before


def test_data_beside_the_results_are_only_read(tmp_path):
    (tmp_path / "out").mkdir()
    path = series_file(tmp_path / "out" / "data.csv")
    before = path.read_bytes()
    for resume in (False, True):
        train(Settings(data=str(path), **TINY), tmp_path / "out", resume)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["$a_{$.csv", b"a\xff.csv".decode(errors="surrogateescape")])
def test_a_file_may_have_any_name(tmp_path, name):
    """A link's too, whatever it is to; and a name is no formula of matplotlib's."""
    series_file(tmp_path / "stored")
    try:
        (tmp_path / name).symlink_to("stored")
    except (OSError, ValueError):
        pytest.skip("not here")
    train(Settings(data=name, hidden=2, window=5, epochs=1).seen_from(tmp_path), tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["data"] == str(tmp_path / name)


@pytest.mark.parametrize("name", ["config.json", "checkpoint.npz", "loss.svg", "summary.json", "metrics.csv"])
def test_what_no_run_has_written_is_not_replaced(capsys, tmp_path, name):
    (tmp_path / name).write_bytes(b"{}")
    assert f"{name} is there, and of no such run; it would be replaced: give another" in refused(
        capsys, "--out", tmp_path
    )
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(name, b"{}")]


def test_what_is_put_beside_a_run_or_in_the_place_of_its_files_is_not_replaced(tmp_path):
    given = settings(tmp_path, epochs=1)
    train(given, tmp_path)
    (tmp_path / "sample.txt").write_text("mine")  # a series has none
    train(given, tmp_path)
    assert (tmp_path / "sample.txt").read_text() == "mine"
    with pytest.raises(ValueError, match=r"sample\.txt is there, and of no such run"):
        train(Settings(data="topics", **TINY), tmp_path)
    mine = json.dumps(asdict(given)).encode().replace(b"weight_decay", b"decay")  # of another program
    (tmp_path / "elsewhere").write_bytes(mine)
    for name in ("model.npz", "prediction.csv", "metrics.csv", "config.json"):
        path = tmp_path / name
        before = path.read_bytes()
        for put in (lambda path: path.write_bytes(mine), lambda path: path.symlink_to("elsewhere"), os.mkfifo):
            path.unlink()
            put(path)
            for resume in (False, True) if name != "config.json" else (False,):  # which is read first
                with pytest.raises(ValueError, match=f"{name} is there, and of no such run"):
                    train(given, tmp_path, resume)
                assert path.is_fifo() or path.read_bytes() == mine
        path.unlink()
        path.write_bytes(before)
    train(given, tmp_path)


def test_a_text_s_sample_that_was_changed_is_not_deleted_by_a_run_over_a_series(tmp_path, out_of_text):
    (out_of_text / "sample.txt").write_text("mine")
    train(settings(tmp_path, epochs=1), out_of_text)
    assert (out_of_text / "sample.txt").read_text() == "mine"


def test_a_file_that_is_put_in_the_place_of_a_run_s_while_it_runs_is_not_replaced(tmp_path):
    def put(done, total, epoch):
        if epoch is not None:
            (tmp_path / "metrics.csv").write_text("mine")

    with pytest.raises(ValueError, match=r"metrics\.csv is there, and of no such run"):
        train(settings(tmp_path, epochs=2), tmp_path, progress=put)
    assert (tmp_path / "metrics.csv").read_text() == "mine"


def test_a_run_that_was_stopped_may_begin_anew_and_another_may_take_its_place(tmp_path):
    with pytest.raises(Stop):
        train(settings(tmp_path), tmp_path / "out", progress=stop_after(1))
    train(settings(tmp_path, "text", epochs=1), tmp_path / "out")
    train(settings(tmp_path, epochs=1), tmp_path / "out")
    assert not (tmp_path / "out" / "sample.txt").exists()


def test_a_run_that_is_terminated_goes_on(tmp_path):
    command = [sys.executable, "-m", "tinygrad_rnn", "train", "--data", "sine", "--hidden", "1", "--epochs", "100000"]
    with subprocess.Popen([*command, "--out", tmp_path], stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "config.json").exists():
            time.sleep(0.05)
        process.terminate()
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (-signal.SIGTERM, "")
    before = len(metrics(tmp_path))

    def once(done, total, epoch):
        if epoch is not None:
            raise Stop

    with pytest.raises(Stop):
        train(Settings(data="sine", hidden=1, epochs=100_000), tmp_path, resume=True, progress=once)
    assert len(metrics(tmp_path)) in (before + 1, before + 2)  # the checkpoint is written first


def test_two_runs_in_one_folder_at_a_time_are_one_too_many(tmp_path):
    pytest.importorskip("fcntl", reason="folders are not locked here")

    def another(done, total, metrics):
        for resume in (False, True):
            with pytest.raises(ValueError, match="another run is going on in"):
                train(settings(tmp_path), tmp_path / "out", resume)
        raise Stop

    with pytest.raises(Stop):
        train(settings(tmp_path), tmp_path / "out", progress=another)
    train(settings(tmp_path), tmp_path / "out", resume=True)


def test_metrics_are_written_anew_when_a_run_goes_on(capsys, out):
    whole = metrics(out)
    (out / "metrics.csv").unlink()
    assert run(capsys, "--resume", out, "--epochs", 5)[0] == 0
    assert metrics(out)[:-1] == whole


def test_a_checkpoint_of_something_else_is_told(capsys, out):
    np.savez(out / "checkpoint.npz", epoch=1)
    status, _, err = run(capsys, "--resume", out)
    assert status == 2 and "cannot go on from" in err and "checkpoint.npz: data is missing" in err
    with np.load(out / "model.npz") as model:
        np.savez(out / "checkpoint.npz", epochs=np.zeros((1, 5)), data=0, rng="{}", **model)
    status, _, err = run(capsys, "--resume", out)
    assert status == 2 and "sine is not what it was when the run began" in err


def test_other_data_than_the_run_began_with_are_told(capsys, tmp_path, out_of_text):
    other_alphabet = ALICE.translate(str.maketrans("aA", "bB", "xyz")).swapcase()
    for text in (ALICE.replace("tired", "bored"), other_alphabet):
        (tmp_path / "alice.txt").write_text(text)
        status, _, err = run(capsys, "--resume", out_of_text, "--data", tmp_path / "alice.txt", "--epochs", 6)
        assert status == 2 and "alice.txt is not what it was when the run began" in err


def test_a_run_goes_on_from_another_folder(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Series.CSV").write_text("value\n" + "\n".join(str(i % 7) for i in range(40)))
    options = ["--hidden", 2, "--window", 5]
    assert run(capsys, "--data", "Series.CSV", *options, "--epochs", 1, "--out", "out")[0] == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    status, out, _ = run(capsys, "--resume", "../out", "--epochs", 2)
    assert status == 0 and "Series.CSV: learnt from 32 values" in out
    assert run(capsys, "--resume", "../out", "--data", "../Series.CSV", "--epochs", 3)[0] == 0


def test_the_folder_of_a_run_may_be_taken_elsewhere_with_its_data(capsys, tmp_path):
    (tmp_path / "before").mkdir()
    (tmp_path / "before" / "a.csv").write_text("value\n" + "\n".join(str(i % 7) for i in range(40)))
    options = ["--hidden", 2, "--window", 5, "--epochs", 1, "--out", tmp_path / "before" / "out"]
    assert run(capsys, "--data", tmp_path / "before" / "a.csv", *options)[0] == 0
    (tmp_path / "before").rename(tmp_path / "after")
    resumed = ["--resume", tmp_path / "after" / "out", "--epochs", 2]
    assert run(capsys, *resumed)[0] == 1
    assert run(capsys, *resumed, "--data", tmp_path / "after" / "a.csv")[0] == 0


def test_settings_may_be_numbers_of_numpy():
    assert Settings(lr=np.float64(0.5), hidden=np.int64(3)) == Settings(lr=0.5, hidden=3)


@pytest.mark.parametrize("data", ["a\0b.csv", "\ud800.csv"])
def test_a_data_file_that_cannot_be_is_named_by_its_field(capsys, out, data):
    path = out / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"data": data}))
    status, _, err = run(capsys, "--resume", out)
    assert status == 2 and "config.json holds no settings of a run (data='" in err and err.count("\n") == 1


@pytest.mark.parametrize("option", ["--out", "--resume"])
def test_a_folder_without_a_name_is_none(capsys, tmp_path, monkeypatch, option):
    monkeypatch.chdir(tmp_path)
    assert run(capsys, "--data", "sine", option, "")[0] == 2
    with pytest.raises(ValueError, match="out='': the name of a folder is needed"):
        train(settings(tmp_path), "")
    assert not list(tmp_path.iterdir())


def test_settings_are_settings():
    with pytest.raises(TypeError, match=r"train\(settings\): tg.experiments.Settings\(...\) is needed, not a dict"):
        train({"epochs": 1})


def test_an_out_folder_that_is_a_file(capsys, tmp_path):
    (tmp_path / "out").write_text("mine")
    status, out, err = run(capsys, "--out", tmp_path / "out")
    assert (status, out) == (1, "") and "a folder is needed, and this is a file" in err
    assert (tmp_path / "out").read_text() == "mine"


def test_a_data_file_that_is_not_there(capsys, tmp_path):
    status, _, err = run(capsys, "--data", tmp_path / "no.csv", "--out", tmp_path / "out")
    assert status == 1 and err == f"tinygrad-rnn train: No such file or directory: {tmp_path / 'no.csv'}\n"


def test_a_full_disk_leaves_what_was_there(tmp_path, out):
    resource = pytest.importorskip("resource", reason="file sizes cannot be limited here")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    model = (out / "model.npz").read_bytes()

    def fill(done, total, epoch):  # once the run goes on
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))

    try:
        with pytest.raises(OSError, match=r"cannot write .*checkpoint\.npz: File too large"):
            train(settings(tmp_path, epochs=5), out, resume=True, progress=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (out / "model.npz").read_bytes() == model


def test_a_training_that_diverges_keeps_the_epochs_before(capsys, tmp_path):
    options = ["--data", "sine", "--cell", "rnn", "--nonlinearity", "identity", "--optimizer", "sgd", "--lr", "1e3"]
    options += ["--clip-norm", "none", "--hidden", "3", "--window", "2", "--batch", "100"]
    status, _, err = run(capsys, *options, "--out", tmp_path)
    assert status == 1 and err.startswith("tinygrad-rnn train: training diverged in epoch ") and err.count("\n") == 1
    epochs = len(metrics(tmp_path)) - 1
    assert f"in epoch {epochs + 1}:" in err and epochs >= 1
    with np.load(tmp_path / "model.npz") as arrays:
        assert all(np.all(np.isfinite(array)) for array in arrays.values())


def test_ctrl_c_leaves_a_checkpoint_that_goes_on(capsys, tmp_path):
    command = [sys.executable, "-m", "tinygrad_rnn", "train", "--data", "sine", "--hidden", "3"]
    process = subprocess.Popen(
        [*command, "--epochs", "100000", "--out", tmp_path / "a"], stderr=subprocess.PIPE, text=True
    )
    while not (tmp_path / "a" / "metrics.csv").exists() or len(metrics(tmp_path / "a")) < 3:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and f"--resume {tmp_path / 'a'}" in err and "Traceback" not in err
    with np.load(tmp_path / "a" / "checkpoint.npz") as state:
        epoch = len(state["epochs"])
    assert run(capsys, "--epochs", epoch + 1, "--resume", tmp_path / "a")[0] == 0
    assert epoch >= 1 and len(metrics(tmp_path / "a")) == 1 + epoch + 1


def test_a_new_run_leaves_nothing_of_the_one_before(tmp_path, out_of_text):
    assert {path.name for path in out_of_text.iterdir()} >= {"sample.txt", "loss.svg", "prediction.svg"}
    train(settings(tmp_path, epochs=1), out_of_text)  # without figures
    assert not {path.name for path in out_of_text.iterdir()} & {"sample.txt", "loss.svg", "prediction.svg"}


def test_resume_needs_a_folder():
    with pytest.raises(ValueError, match=r"train\(resume=True\): out, the folder"):
        train(Settings(), resume=True)
