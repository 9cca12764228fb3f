"""A run that is used again: loaded, asked for forecasts and samples, tested on other data; and the command for it."""

import csv
import json
import re
import shutil

import numpy as np
import pytest
from command_line import ended

import tinygrad_rnn as tg
from tinygrad_rnn.experiments import load_run
from tinygrad_rnn.experiments.data import load
from tinygrad_rnn.experiments.run import train
from tinygrad_rnn.experiments.settings import Settings

ALICE = "Alice was beginning to get very tired of sitting by her sister on the bank. " * 20
SALES = {"inputs": "heat,sales", "column": "sales", "horizon": 3, "window": 6, "hidden": 4, "epochs": 4}


def sales(rows=90):
    rng = np.random.default_rng(0)
    heat = 20.0 + 10.0 * np.sin(np.arange(rows) / 4.0) + rng.standard_normal(rows)
    return {"day": [f"2024-{i:03}" for i in range(rows)], "heat": heat, "sales": 100.0 + 3.0 * np.roll(heat, 2)}


def written(path, table):
    rows = zip(*table.values(), strict=True)
    path.write_text("\n".join([",".join(table), *(",".join(map(str, row)) for row in rows)]))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The data and the runs of a table, of a series and of a text."""
    folder = tmp_path_factory.mktemp("runs")
    path = written(folder / "sales.csv", sales())
    train(Settings(data=str(path), **SALES), folder / "sales")
    train(Settings(data="sine", hidden=3, window=5, epochs=3), folder / "sine")
    (folder / "alice.txt").write_text(ALICE)
    train(Settings(data=str(folder / "alice.txt"), hidden=16, window=8, epochs=3), folder / "alice")
    return folder


def test_a_run_is_what_was_trained(folder):
    summary = train(Settings(data=str(folder / "sales.csv"), **SALES))
    run = load_run(folder / "sales")
    assert run.settings == Settings(data=str(folder / "sales.csv"), **SALES)
    for name, value in summary.net.state_dict().items():
        np.testing.assert_array_equal(run.net.state_dict()[name], value)
    assert [epoch.epoch for epoch in run.metrics] == [1, 2, 3, 4] and run.vocabulary is None
    learnt = {name: np.array(sales()[name][:72]) for name in ("heat", "sales")}
    assert run.scaling == {name: pytest.approx((x.mean(), x.std())) for name, x in learnt.items()}


def test_the_vocabulary_is_the_characters_of_the_text(folder):
    assert (
        load_run(folder / "alice").vocabulary == "".join(sorted(set(ALICE)))
        and load_run(folder / "alice").scaling is None
    )


@pytest.mark.parametrize("name", ["sales", "sine", "alice"])
def test_the_model_is_plain_arrays_with_the_scaling_or_the_vocabulary(folder, name):
    with np.load(folder / name / "model.npz", allow_pickle=False) as arrays:
        assert "known" in arrays.files and all(arrays[k].dtype.kind == "f" for k in arrays.files)


def test_forecasts_are_those_that_the_run_made_of_what_it_held_out(folder):
    """prediction.csv has those of the last step of the horizon."""
    run, table = load_run(folder / "sales"), sales()
    _, _, forecast = np.loadtxt(folder / "sales" / "prediction.csv", delimiter=",", skiprows=1).T
    for i in (0, 7, len(forecast) - 1):  # from row 72 on, the first that is held out
        known = {name: table[name][: 72 + i] for name in ("heat", "sales")}
        assert run.predict(known, steps=3)[2] == pytest.approx(forecast[i], rel=1e-12)


def test_an_array_a_list_a_dict_a_file_and_the_data_themselves_are_one_series(folder):
    run, table = load_run(folder / "sales"), sales()
    expected = run.predict(steps=3)
    columns = np.column_stack([table["heat"], table["sales"]])
    for series in (columns, columns.tolist(), table, str(folder / "sales.csv"), folder / "sales.csv"):
        np.testing.assert_array_equal(run.predict(series, 3), expected)


def test_tables_of_pandas_and_of_pyarrow_are_series(folder):
    pandas, run = pytest.importorskip("pandas"), load_run(folder / "sales")
    frame = pandas.DataFrame(sales())
    np.testing.assert_array_equal(run.predict(frame, 3), run.predict(steps=3))
    np.testing.assert_array_equal(
        load_run(folder / "sine").predict(frame["heat"]), load_run(folder / "sine").predict(sales()["heat"])
    )
    pyarrow = pytest.importorskip("pyarrow")
    np.testing.assert_array_equal(run.predict(pyarrow.Table.from_pandas(frame), 3), run.predict(steps=3))


@pytest.mark.parametrize("kind", ["dict", "pandas", "pyarrow"])
def test_a_table_of_the_session_is_trained_on_like_its_file(folder, kind):
    table = sales()
    if kind != "dict":
        table = pytest.importorskip("pandas").DataFrame(table)
    if kind == "pyarrow":
        table = pytest.importorskip("pyarrow").Table.from_pandas(table)
    summary = train(Settings(data="table", **SALES), data=table)
    assert summary.held_out == json.loads((folder / "sales" / "summary.json").read_text())["held_out"]


@pytest.mark.usefixtures("without_matplotlib")
@pytest.mark.filterwarnings("ignore:plots need matplotlib")
def test_a_run_of_a_table_of_the_session_needs_it_again(tmp_path, folder):
    train(Settings(data="table", **SALES), tmp_path / "run", data=sales())
    run = load_run(tmp_path / "run")
    assert np.array_equal(run.predict(sales()), run.predict(folder / "sales.csv"))
    with pytest.raises(ValueError, match="data='table': the table itself, or a file whose name ends in"):
        run.predict()


def test_a_text_is_evaluated_by_its_file_too(folder, monkeypatch):
    run, error = load_run(folder / "alice"), load_run(folder / "alice").evaluate(ALICE)
    monkeypatch.chdir(folder)
    assert error == run.evaluate("alice.txt") == run.evaluate(folder / "alice.txt")
    with pytest.raises(FileNotFoundError):
        run.evaluate(folder / "bob.txt")


def test_a_text_is_evaluated_on_a_text_only(folder):
    with pytest.raises(TypeError, match=r"evaluate\(data\): a text is needed, not a list"):
        load_run(folder / "alice").evaluate([1, 2, 3])


def test_the_defaults_of_a_forecast_are_those_of_its_run(capsys):
    with pytest.raises(SystemExit):
        tg.cli.main(["predict", "--help"])
    assert "utf-8" not in capsys.readouterr().out


def test_a_series_is_forecast_beyond_the_horizon_from_its_own_forecasts(folder):
    run, series = load_run(folder / "sine"), tg.datasets.sine()
    found = run.predict(series, steps=4)
    for i in range(4):
        assert run.predict(np.append(series, found[:i]))[0] == pytest.approx(found[i], rel=1e-12)


def test_other_inputs_are_not_known_beyond_the_horizon(folder):
    with pytest.raises(ValueError, match=r"predict\(steps=4\): .* 3 from heat, sales.*train with horizon=4"):
        load_run(folder / "sales").predict(steps=4)


def test_the_error_on_the_data_themselves_is_that_of_the_summary(folder):
    for name, data in (("sales", sales()), ("sine", None), ("alice", ALICE)):
        run = load_run(folder / name)
        first, window = load(run.settings).held_out.start, run.settings.window
        part = ALICE[first - window :] if name == "alice" else tg.datasets.sine()[first - window :]
        if name == "sales":
            part = {column: values[first - window :] for column, values in data.items()}
        summary = json.loads((folder / name / "summary.json").read_text())
        # A text is cut into as many parts as a batch has, each of which begins with a window of its own.
        assert run.evaluate(part) == pytest.approx(summary["held_out"], rel=1e-12)


def test_what_is_likely_becomes_likelier_at_a_low_temperature(folder):
    run = load_run(folder / "alice")
    text = run.sample("Alice was ", 200, rng=0)
    assert len(text) == 200 and text == run.sample("Alice was ", 200, rng=np.random.default_rng(0))
    cold = [run.sample("Alice was ", 50, 1e-9, rng=seed) for seed in range(3)]
    assert cold[0] == cold[1] == cold[2] != text[:50]
    assert (
        (folder / "alice" / "sample.txt")
        .read_text()
        .endswith(run.sample(ALICE[: load(run.settings).held_out.start][-8:], rng=0))
    )


def test_a_text_has_no_forecasts_and_a_series_no_samples(folder):
    alice, sine, sales_run = (load_run(folder / name) for name in ("alice", "sine", "sales"))
    for call, message in [
        (lambda: alice.predict("Alice"), "the run is of a text; see sample"),
        (lambda: sine.sample("Alice"), "the run is of a series; see predict"),
        (lambda: alice.sample(""), r"sample\(text=''\): characters of "),
        (lambda: alice.sample("Ålice"), r"sample\(text='Ålice'\): characters of "),
        (lambda: alice.sample("Alice", temperature=0), r"temperature=0\): a finite number above 0"),
        (lambda: alice.evaluate("Ålice" * 20), "the text has 'Å', which is not in the text that was learnt from"),
        (lambda: sine.evaluate([1.0, 2.0]), "2 values are too few to test a horizon=1 on"),
        (lambda: sine.predict([]), "there are no values"),
        (lambda: sine.predict([1.0, np.nan]), "dict, row 2: column 'None' holds 'nan', which is no finite number"),
        (lambda: sales_run.predict([1.0, 2.0]), r"a column for each of heat, sales is needed; shape \(2, 1\)"),
        (lambda: sales_run.predict({"heat": [1.0, 2.0], "sales": [1.0]}), "dict: columns of 1 and 2 entries are not"),
        (lambda: sales_run.predict({"heat": [1.0]}), "there are no columns 'sales'; the columns are 'heat'"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("config.json", None, "there is no run in"),
        ("config.json", b"{", "config.json holds no settings"),
        ("model.npz", b"PK", "cannot use the run in .*: it is broken"),
    ],
)
def test_a_folder_without_a_run_is_told(folder, tmp_path, capsys, name, content, message):
    out = shutil.copytree(folder / "sine", tmp_path / "out")
    (out / name).unlink() if content is None else (out / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_run(out)
    status, told, err = ended(capsys, "predict", out)
    assert (status, told, err.count("\n")) == (2, "", 1)


def test_figures_have_axes_with_units(folder):
    pytest.importorskip("matplotlib")
    assert "bits per character" in (folder / "alice" / "loss.svg").read_text()
    for words in ("row", ">sales<", "truth", "forecast", "3 ahead"):
        assert words in (folder / "sales" / "prediction.svg").read_text()


@pytest.mark.usefixtures("without_matplotlib")
@pytest.mark.filterwarnings("default")  # as for users
def test_without_matplotlib_the_numbers_are_written_and_a_line_says_what_to_install(capsys, tmp_path):
    options = ["--data", "sine", "--epochs", 2, "--hidden", 3, "--out", tmp_path]
    status, out, err = ended(capsys, "train", *options)
    needed = "plots need matplotlib: pip install matplotlib; the CSV files have their numbers"
    assert (status, err) == (0, f"tinygrad-rnn train: {needed}\n") and "this net, lstm" in out
    assert (tmp_path / "loss.csv").exists() and (tmp_path / "prediction.csv").exists()
    assert not list(tmp_path.glob("*.svg"))


# --- sequences of their own


def patients(tmp_path, seed=0):
    """Sequences of different lengths, whose rows stand in the order of the days; each goes on at its own pace."""
    rng, rows = np.random.default_rng(seed), []
    for id, length in enumerate(rng.integers(4, 14, 25)):
        rows += [(day, f"p{id}", 0.1 * id + np.sin(0.5 * day + id)) for day in range(length)]
    return written(
        tmp_path / "patients.csv", dict(zip(("day", "id", "x"), zip(*sorted(rows), strict=True), strict=True))
    )


def of_patients(path, **others):
    return Settings(
        **{"data": str(path), "column": "x", "lengths": "id", "window": 6, "hidden": 3, "epochs": 3} | others
    )


def test_no_window_is_of_two_sequences_and_each_is_held_out_as_a_whole(tmp_path):
    data = load(of_patients(patients(tmp_path), validation=0.2))
    sequences = data.starts
    assert all(sequences[part - 1] != sequences[part] for part in (data.validation.start, data.held_out.start))
    windows = data.windows()
    rows = np.minimum(np.arange(6)[:, None] + windows, data.training[-1])
    inside = data.inside(rows)[..., 0].astype(bool)
    assert (sequences[rows + 1] == sequences[windows])[inside].all()
    # Every row that has one before it is forecast, in some window.
    forecast = set((rows + 1)[inside].tolist())
    assert forecast == {row for row in data.training if sequences[row] != row}


def test_what_lies_behind_the_end_of_a_sequence_changes_nothing(tmp_path):
    """The loss of windows side by side is that of each alone, up to the end of its sequence."""
    training = tg.experiments.training.Training(of_patients(patients(tmp_path)))
    data, starts = training.data, training.data.windows()[::5]
    rows = np.minimum(np.arange(6)[:, None] + starts, data.training[-1])
    inside = data.inside(rows)
    loss, _ = training.loss(data.vectors(rows), data.targets(rows), inside, None, None)
    total = 0.0
    for b in range(len(starts)):
        alone = rows[inside[:, b, 0] > 0, b]
        ys, _ = training.net(data.vectors(alone[:, None]))
        total += np.square(ys.value - data.targets(alone[:, None])).sum()
    assert not inside.all() and loss.item() == pytest.approx(total / inside.sum(), rel=1e-12)


@pytest.mark.usefixtures("without_matplotlib")
@pytest.mark.filterwarnings("ignore:plots need matplotlib")
def test_each_sequence_has_forecasts_of_its_own(tmp_path):
    path = patients(tmp_path)
    summary = train(of_patients(path, horizon=2), tmp_path / "out")
    run = load_run(tmp_path / "out")
    found = run.predict(steps=2)
    with open(path, newline="") as file:
        rows = [(id, float(x)) for _, id, x in csv.reader(file) if id != "id"]
    assert list(found) == list(dict.fromkeys(id for id, _ in rows))
    single = load_run(tmp_path / "out").net
    mean, deviation = run.net.known.value[:, 0]
    for id in ("p0", "p3"):
        xs = (np.array([x for name, x in rows if name == id])[-6:, None, None] - mean) / deviation
        np.testing.assert_allclose(found[id], single(xs)[0].value[-1, 0] * deviation + mean, rtol=1e-12)
    held_out = [(id, x) for id, x in rows if id in list(found)[20:]]  # a fifth of 25
    assert run.evaluate(dict(zip(("id", "x"), zip(*held_out, strict=True), strict=True))) == summary.held_out
    with pytest.raises(ValueError, match="there are no columns 'id'; the columns are 'x'"):
        run.predict([1.0, 2.0])


# --- the command


def test_the_command_writes_what_the_library_forecasts(folder, tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    status, out, err = ended(capsys, "predict", folder / "sales", "-o", "next.csv")
    assert (status, out, err) == (0, "wrote next.csv\n", "")
    header, *rows = csv.reader((tmp_path / "next.csv").read_text().splitlines())
    assert header == ["step", "sales"] and [row[0] for row in rows] == ["1", "2", "3"]
    np.testing.assert_array_equal([float(row[1]) for row in rows], load_run(folder / "sales").predict(steps=3))
    for words in ("truth", "forecast", "sales.csv, lstm", ">step<"):
        assert words in (tmp_path / "next.svg").read_text()


def test_without_a_file_the_forecasts_are_printed(folder, capsys):
    status, out, err = ended(capsys, "predict", folder / "sine", "--steps", 2)
    first, second = load_run(folder / "sine").predict(steps=2)
    assert (status, err) == (0, "") and out.splitlines()[2:] == [f"1     {first:.6g}", f"2     {second:.6g}"]


def test_forecasts_go_to_standard_output_even_if_nothing_else_is_printed(folder, capfd):
    assert tg.cli.main(["predict", "--quiet", str(folder / "sine"), "--steps", "2", "-o", "-"]) == 0
    out, err = capfd.readouterr()
    assert err == "" and re.fullmatch(r"step,forecast\n1,-?[\d.]+\n2,-?[\d.]+\n", out)


def test_a_file_that_another_program_wrote_is_forecast_as_it_is(folder, tmp_path, capsys):
    table = sales()
    numbers = zip(table["heat"], table["sales"], strict=True)
    lines = [f"{i};{heat:.3f};{x:.3f} €".replace(".", ",") for i, (heat, x) in enumerate(numbers)]
    (tmp_path / "umsatz.csv").write_text(
        "\r\n".join(["# Export", "Tag;heat;sales", *lines]), encoding="latin-1", errors="replace"
    )
    (tmp_path / "umsatz.csv").write_bytes("\r\n".join(["# Export", "Tag;heat;sales", *lines]).encode("utf-16"))
    status, out, err = ended(
        capsys, "predict", folder / "sales", "--data", tmp_path / "umsatz.csv", "--encoding", "utf-16"
    )
    rounded = {name: np.round(table[name], 3) for name in ("heat", "sales")}
    expected = load_run(folder / "sales").predict(rounded, 3)
    assert (status, err) == (0, "") and [line.split()[1] for line in out.splitlines()[2:]] == [
        f"{x:.6g}" for x in expected
    ]


@pytest.mark.parametrize(
    "options, status, message",
    [
        (["--steps", 0], 2, "steps=0): a whole number from 1 up"),
        (["--steps", 4], 2, "train with horizon=4"),
        (["--missing", "guess"], 2, "missing='guess': not one of 'error', 'drop', 'forward'"),
        (["--encoding", "klingon"], 2, "not a CSV file in KLINGON (unknown encoding: klingon)"),
        (["--data", "no.csv"], 1, "No such file or directory: no.csv"),
        (["--data", "other.csv"], 2, "other.csv: there are no columns 'sales'; the columns are 'heat'"),
        (["-o", "next.png"], 2, "-o next.png: a .csv is needed, or - for standard output"),
        (["-o", "next.csv"], 2, "next.svg is there, and of no such run; it would be replaced"),
        (["--data", "mine.csv", "-o", "mine.csv"], 2, "-o mine.csv is the data, and would be replaced"),
    ],
)
def test_misuse_is_told_in_a_line(folder, tmp_path, capsys, monkeypatch, options, status, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.csv").write_text("heat\n1\n2\n")
    (tmp_path / "next.svg").write_text("mine")
    written(tmp_path / "mine.csv", sales())
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    found, out, err = ended(capsys, "predict", folder / "sales", *options)
    assert (found, out, err.count("\n")) == (status, "", 1) and message in err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
