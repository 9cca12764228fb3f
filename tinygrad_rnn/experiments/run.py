"""A run is the training of a net in a folder that repeats, resumes and shows it: `train`; `load_run` uses it again.

    config.json      the settings
    metrics.csv      a line for every epoch
    model.npz        the parameters, and what is `known` of the data: their scaling, or the alphabet; see `load_run`
    checkpoint.npz   all that the next epoch follows from: the epochs so far, parameters, optimizer, random generator
    summary.json, loss.svg, prediction.svg, their numbers as CSV, and of a text sample.txt: the results

A run goes on from what its checkpoint says. A file without the marks of a run's is somebody else's, and stays.
"""

import io
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_rnn import no_grad
from tinygrad_rnn.checks import instance, positive, whole
from tinygrad_rnn.experiments import plots
from tinygrad_rnn.experiments.data import Series, Text, columns, load, scaled
from tinygrad_rnn.experiments.settings import Settings
from tinygrad_rnn.experiments.training import Epoch, Forecaster, OnUpdate, Summary, Training
from tinygrad_rnn.files import claimed, is_marked, read_file, refuse_data, refuse_others, write_file, write_json
from tinygrad_rnn.nn import exchange
from tinygrad_rnn.tables import counted

CHECKPOINT, CONFIG, METRICS, MODEL, SAMPLE = "checkpoint.npz", "config.json", "metrics.csv", "model.npz", "sample.txt"
LENGTH = 1000  # characters of a sample
DRAWN = f"{LENGTH:,} characters, drawn one by one from the net's probabilities:\n\n"
RESULTS = {  # each with its marks, which are in every such file, and hardly in another of this name
    "summary.json": ['"held_out_values": '], "loss.svg": [plots.MARK], "loss.csv": ["epoch,training,held out"],
    "prediction.svg": [plots.MARK], "prediction.csv": [",truth,forecast", ",this character,mean of all"],
    SAMPLE: [DRAWN],
}  # fmt: skip
MARKS = {CONFIG: ['"weight_decay": '], METRICS: [",".join(Epoch._fields[:5])], MODEL: ["readout.V"], **RESULTS}
MARKS[CHECKPOINT] = ["parameter.readout.V"]
VARYING = {"data", "epochs", "rng"}  # in a checkpoint, what has a size of its own
SHOWN = {"series": 300, "text": 80}  # values at the end of what is held out; more would be no figure to read


def train(
    settings: Settings, out: str | os.PathLike | None = None, resume: bool = False, progress: OnUpdate | None = None,
    data: Any = None,
) -> Summary:  # fmt: skip
    """Train a net to forecast the next value of a series or the next character of a text.

    The data are cut into windows, a series into all that it has, a text into pieces side by side; in each, every next
    value is forecast from those before it, from a state of zeros on. Their order is drawn anew for each epoch. With
    `settings.truncate`, there are `settings.batch` parts instead, which are gone through side by side in chunks: the
    state is carried from chunk to chunk, the gradient is not (truncated backpropagation through time). A held-out
    value is forecast by the net at that point from the true values before it; what is held out decides nothing. The
    same settings give the same numbers, bit for bit, with as many BLAS threads: more of them add up large products in
    another order. Where threadpoolctl is installed, small products are computed in one, which is quicker.

    Args:
        out: a folder for config.json, metrics.csv and model.npz, all written after every epoch, and at the end
            summary.json, the figures loss.svg and prediction.svg with their numbers as CSV, and for a text sample.txt.
            An earlier run there is overwritten; what no run has written is not.
        resume: go on with the run in `out`, from its last whole epoch, to the same numbers as one in a piece. The
            settings must be the same but for `epochs`, which may be more.
        data: with `settings.data` "table", a table of pandas or of pyarrow, or a dict of columns, instead of a file.
        progress: called after every update with the number of updates so far, that of all, and at the end of an epoch
            with its `Epoch`, a line of metrics.

    Raises:
        OSError: a file cannot be read or written; what was written before stays. FileExistsError: `out` is a file.
        ValueError: the data do not fit the settings; or there is no run to resume, or one with other settings or a
            broken checkpoint; or another run is going on in `out`, or has files there that are no run's.
        FloatingPointError: training diverged, to a loss or a gradient that is not finite; names the epoch.

    >>> summary = tg.experiments.train(tg.experiments.Settings(hidden=2, window=4, epochs=1), "run")
    >>> summary.data, summary.unit
    ('sunspots', 'mean squared error')
    """
    if resume and out is None:
        raise ValueError("train(resume=True): out, the folder of the run to go on with, is needed")
    instance("train(settings)", settings, Settings, "tg.experiments.Settings(...)")
    if (data is not None) != (settings.data == "table"):
        raise ValueError(f"data={settings.data!r}: Settings(data='table') and train(settings, data=...) go together")
    training = Training(settings.seen_from(Path.cwd()), data)
    if out is None:
        training.train(progress)
        return training.summary()
    if resume:
        _refuse_other_settings(Path(out), training.settings)
    with claimed(out) as folder:
        if resume:
            _restore(folder, training)
        refuse_foreign_files(folder, training.settings)
        for name in RESULTS if resume else (CONFIG, *RESULTS):  # they are of another net
            if is_marked(folder / name, MARKS[name]):
                (folder / name).unlink()
        write_epoch(folder, training)
        training.train(progress, lambda: write_epoch(folder, training))
        write_results(folder, training)
    return training.summary()


def _refuse_other_settings(folder: Path, settings: Settings) -> None:
    """Refuse to go on with a run that has other settings, apart from the number of epochs, and where its data are."""
    free = ["data"] * settings.is_file + ["epochs"] * (settings.schedule is None)  # a file may have been moved
    before, now = asdict(read_settings(folder)), asdict(settings)
    differences = [f"{k}={before[k]!r}, not {now[k]!r}" for k in now if k not in free and before[k] != now[k]]
    if differences:
        raise ValueError(f"the run in {folder} has {'; '.join(differences)}")


def _restore(folder: Path, training: Training) -> None:
    """Go on from the checkpoint.

    Raises:
        OSError: it cannot be read.
        ValueError: the run saw other data or has more epochs already; or the checkpoint is broken, and in what.
    """
    path = folder / CHECKPOINT
    try:
        found = exchange.read_arrays(path, None, VARYING)
        for name in sorted(VARYING - found.keys()):
            raise ValueError(f"{name} is missing")
        if not np.array_equal(found["data"], training.data.fingerprint):
            raise ValueError(f"{training.settings.data} is not what it was when the run began")
        epochs = _epochs(found["epochs"])
        training.restore(epochs, str(found["rng"]), exchange.read_arrays(path, training.state(), VARYING))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise ValueError(f"cannot go on from {path}: {error}") from error
    if len(epochs) > (most := training.settings.epochs):
        raise ValueError(f"the run in {folder} has {counted(len(epochs), 'epoch')} already, more than epochs={most}")


def write_epoch(folder: Path, training: Training) -> None:
    """Write what there is after an epoch, or before the first."""
    refuse_foreign_files(folder, training.settings)
    checkpoint, rng = io.BytesIO(), json.dumps(training.rng.bit_generator.state)
    epochs = np.array(training.epochs, float).reshape(-1, len(Epoch._fields))
    np.savez(checkpoint, epochs=epochs, data=training.data.fingerprint, rng=rng, **training.state())
    write_file(folder / CHECKPOINT, checkpoint.getvalue())
    shown = 5 if training.settings.validation is None else 6
    plots.table(folder / METRICS, Epoch._fields[:shown], [epoch[:shown] for epoch in training.epochs])
    exchange.save(folder / MODEL, training.best)
    write_json(folder / CONFIG, asdict(training.settings))


def refuse_foreign_files(folder: Path, settings: Settings) -> None:
    """Raise a ValueError if a file that the run would write is the data, or is there and of no run."""
    is_run = is_marked(folder / CHECKPOINT, MARKS[CHECKPOINT])
    for name in sorted(MARKS.keys() - ({} if settings.is_text else {SAMPLE})):
        refuse_data(folder / name, settings.data, "folder")
        refuse_others(folder / name, MARKS[name] if is_run else [])


def write_results(out: Path, training: Training) -> None:
    """Write summary.json, loss.svg, prediction.svg and their numbers as CSV, and sample.txt of a text."""
    refuse_foreign_files(out, training.settings)
    data: Any = training.data
    settings, net = training.settings, training.best
    losses, outputs, rows = net.evaluate(data, data.held_out)
    write_json(out / "summary.json", training.summary().as_dict())
    fields = ("training_loss", "held_out_loss", "validation_loss")[: 2 if settings.validation is None else 3]
    lines = {x[:-5].replace("_", " "): [data.scale * getattr(epoch, x) for epoch in training.epochs] for x in fields}
    title, x = f"{Path(settings.data).name}, {settings.cell}", ("epoch", [epoch.epoch for epoch in training.epochs])
    plots.curves(out / "loss.svg", title, x, data.unit, lines, log=not settings.is_text)
    if settings.is_text:
        before = "".join(data.alphabet[k] for k in data.sequence[: data.held_out.start][-settings.window :])
        sample = TrainedRun(settings, net, training.epochs).sample(before, LENGTH, rng=settings.seed)
        write_file(out / SAMPLE, (DRAWN + sample).encode())
        _draw_text(out / "prediction.svg", data, settings, losses, rows)
    else:
        _draw_series(out / "prediction.svg", data, settings, outputs, rows)


def _draw_series(path: Path, data: Series, settings: Settings, outputs: np.ndarray, rows: np.ndarray) -> None:
    """The forecasts of the last step of the horizon."""
    rows, shown = rows[-SHOWN["series"] :] + data.horizon - 1, outputs[-SHOWN["series"] :, -1]
    lines = {"truth": data.sequence[rows], "forecast": shown * np.sqrt(data.scale) + data.known[0, -1]}
    what = f"Each {data.axis} from the {settings.window} before it, {settings.cell}"
    title = what if data.horizon == 1 else f"Each {data.axis}, {data.horizon} ahead, {settings.cell}"
    plots.curves(path, title, (data.axis, data.origin + rows), data.name, lines)


def _draw_text(path: Path, data: Text, settings: Settings, losses: np.ndarray, rows: np.ndarray) -> None:
    rows, bits, mean = rows[-SHOWN["text"] :], losses[-SHOWN["text"] :] * data.scale, "mean of all that is held out"
    characters = (data.alphabet[k] for k in data.sequence[rows])
    ticks = [c if "!" <= c <= "~" else "·" for c in characters]  # a font may lack others; spaces are seen
    lines = {"this character": bits, mean: np.full(len(bits), np.mean(losses) * data.scale)}
    title = f"How much each character of a held-out passage surprises, {settings.cell}"
    x = ("character of the text (·: a space, or none of ASCII)", rows)
    plots.curves(path, title, x, "bits", lines, dashed=[mean], ticks=ticks)


@dataclass(frozen=True)
class TrainedRun:
    """A net that has been trained, and what it was trained with.

    Attributes:
        settings: of the run. net: with the best weights. metrics: the epochs, each with its losses.

    >>> summary = tg.experiments.train(tg.experiments.Settings(hidden=2, window=4, epochs=1), "run")
    >>> tg.experiments.load_run("run").predict(steps=3).shape
    (3,)
    """

    settings: Settings
    net: Forecaster
    metrics: list[Epoch]

    @property
    def scaling(self) -> dict[str, tuple[float, float]] | None:
        """The mean and the deviation that scale each input of a series and what is forecast, by name."""
        names, pairs = self.settings.columns, map(tuple, self.net.known.value.T.tolist())
        return None if self.settings.is_text else dict(zip(names, pairs, strict=True))

    @property
    def vocabulary(self) -> str | None:
        """The characters of a text, sorted."""
        return "".join(map(chr, self.net.known.value.astype(int))) if self.settings.is_text else None

    def predict(self, series: Any = None, steps: int = 1) -> Any:
        """Forecast the values that come after the end of a series, in its own units.

        Beyond the horizon, forecasts are made from those before them, which only a series that is its own input has.

        Args:
            series: the inputs: an array (N,) or (N, D), a table of pandas, pyarrow or a dict, or the path of a file;
                the data of the run if not given. Of a sequence that is shorter than the window, it takes what there is.

        Returns:
            The forecasts, (steps,); where the settings name `lengths`, a dict of them by the id of each sequence.

        Raises:
            OSError, ValueError: the series cannot be read, or has no such columns; or there are more steps than the
                horizon for a net with other inputs; or the run is of a text.
        """
        settings, names = self.settings, self.settings.sources
        whole("predict", "steps", steps, 1)
        if settings.is_text:
            raise ValueError("predict: the run is of a text; see sample")
        if steps > settings.horizon and names != [settings.column]:
            told = f"predict(steps={steps}): the run forecasts {settings.horizon} from {', '.join(map(str, names))}"
            raise ValueError(f"{told}: train with horizon={steps}")
        values, ids = columns(settings, names, series)
        if not values.size:
            raise ValueError("predict(series): there are no values to forecast from")
        rows = scaled(values, self.net.known.value[:, :-1]).T.astype(settings.dtype)
        if ids is None:
            return self._continued(rows, steps)
        return {name: self._continued(rows[ids == name], steps) for name in dict.fromkeys(ids.tolist())}

    @no_grad()
    def _continued(self, rows: np.ndarray, steps: int) -> np.ndarray:
        """The forecasts after some rows, scaled, (N, D)."""
        found, (mean, deviation) = np.empty(0), self.net.known.value[:, -1]
        while len(found) < steps:  # again only if they are the inputs, the one column
            ys, _ = self.net(rows[-self.settings.window :, None])
            found = np.append(found, ys.value[-1, 0])
            rows = np.append(rows[:, :1], ys.value[-1].T, axis=0)
        return found[:steps] * deviation + mean

    @no_grad()
    def sample(self, text: str, n: int = 1000, temperature: float = 1.0, rng: Any = None) -> str:
        """Characters that follow a text, drawn one by one from the net's probabilities.

        Args:
            n: how many. temperature: the logits are divided by it: below 1, what is likely becomes likelier.
            rng: a `numpy.random.Generator`, or a seed for one.

        Raises:
            ValueError: the run is of a series; the text is empty, or has a character that the net does not know.
        """
        whole("sample", "n", n, 0)
        positive("sample", "temperature", temperature)
        if self.vocabulary is None:
            raise ValueError("sample: the run is of a series; see predict")
        if not instance("sample(text)", text, str, "a text") or {*text} - {*self.vocabulary}:
            raise ValueError(f"sample(text={text!r:.50}): characters of {self.vocabulary!r} are needed")
        rng, drawn, state = np.random.default_rng(rng), [], None
        one_hot = np.eye(len(self.vocabulary), dtype=self.settings.dtype)
        xs = one_hot[[self.vocabulary.index(c) for c in text]]
        for _ in range(n):
            zs, state = self.net(xs, state)
            z = zs.value[-1].astype(np.float64) / temperature
            p = np.cumsum(np.exp(z - np.max(z)))
            drawn.append(int(np.searchsorted(p, rng.random() * p[-1])))
            xs = one_hot[drawn[-1:]]
        return "".join(self.vocabulary[k] for k in drawn)

    def evaluate(self, data: Any) -> float:
        """The error of the forecasts of other data, in the unit of the run: mean squared error, or bits per character.

        Args:
            data: a text or the path of its file, of a run that is of one; else the inputs and what is forecast, as
                `predict` takes them. Every value is forecast that has a window before it, or of several sequences
                anything.

        Raises:
            OSError, ValueError: the data cannot be read, do not have the columns, or are too few.
        """
        found = load(self.settings, data, self.net.known.value)
        return float(np.mean(self.net.evaluate(found, found.held_out)[0])) * found.scale


def load_run(folder: str | os.PathLike) -> TrainedRun:
    """The run in a folder, from its config.json, model.npz and checkpoint.npz; nothing in them can run code.

    Raises:
        OSError: a file cannot be read. ValueError: there is no run in the folder, or it is broken.

    >>> summary = tg.experiments.train(tg.experiments.Settings(hidden=2, window=4, epochs=1), "run")
    >>> tg.experiments.load_run("run").settings.hidden
    2
    """
    folder = Path(folder)
    settings = read_settings(folder)
    try:
        alphabet = exchange.read_arrays(folder / MODEL, None, {"known"}).get("known", np.zeros(1))
        width = alphabet.size if settings.is_text else settings.horizon
        net = Forecaster(settings, width, np.random.default_rng(0))
        exchange.load(folder / MODEL, net)
        epochs = _epochs(exchange.read_arrays(folder / CHECKPOINT, None, {"epochs"}).get("epochs", np.zeros((0, 0))))
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"cannot use the run in {folder}: {error}") from error
    return TrainedRun(settings, net, epochs)


def _epochs(numbers: np.ndarray) -> list[Epoch]:
    """The epochs of a checkpoint, each a row of numbers."""
    return [Epoch(int(epoch), *others) for epoch, *others in numbers.tolist()]


def read_settings(folder: Path) -> Settings:
    """The settings of the run in a folder.

    Raises:
        OSError: a file cannot be read. ValueError: there is no run in the folder, or its settings are broken.
    """
    path = folder / CONFIG
    if not path.exists() or not (folder / CHECKPOINT).exists():
        raise ValueError(f"there is no run in {folder}, with its {CONFIG} and {CHECKPOINT}")
    try:
        return Settings.of(json.loads(read_file(path)))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} holds no settings of a run ({error})") from error
