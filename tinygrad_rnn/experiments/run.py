"""`train`: a run, which is the training of a net in a folder that repeats, resumes and shows it.

    config.json      the settings
    metrics.csv      a line for every epoch
    model.npz        the parameters, as `tg.load` reads them
    checkpoint.npz   all that the next epoch follows from: the epochs so far, parameters, optimizer, random generator
    summary.json, loss.svg, prediction.svg, their numbers as CSV, and of a text sample.txt: the results

A run goes on from what its checkpoint says. A file without the marks of a run's is somebody else's, and stays.
"""

import io
import json
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np

from tinygrad_rnn import no_grad
from tinygrad_rnn.checks import instance
from tinygrad_rnn.experiments import plots
from tinygrad_rnn.experiments.data import Series, Text
from tinygrad_rnn.experiments.settings import Settings
from tinygrad_rnn.experiments.training import Epoch, Forecaster, OnUpdate, Summary, Training
from tinygrad_rnn.files import claimed, is_marked, read_file, refuse_others, write_file, write_json
from tinygrad_rnn.nn.exchange import read_arrays, save
from tinygrad_rnn.tables import counted

CHECKPOINT, CONFIG, METRICS, MODEL, SAMPLE = "checkpoint.npz", "config.json", "metrics.csv", "model.npz", "sample.txt"
LENGTH = 1000  # characters of a sample
DRAWN = f"{LENGTH:,} characters, drawn one by one from the net's probabilities:\n\n"
RESULTS = {  # each with its marks, which are in every such file, and hardly in another of this name
    "summary.json": ['"held_out_values": '], "loss.svg": [plots.MARK], "loss.csv": ["epoch,training,held out"],
    "prediction.svg": [plots.MARK], "prediction.csv": [",truth,forecast", ",this character,mean of all"],
    SAMPLE: [DRAWN],
}  # fmt: skip
MARKS = {CONFIG: ['"weight_decay": '], METRICS: [",".join(Epoch._fields)], MODEL: ["readout.V"], **RESULTS}
MARKS[CHECKPOINT] = ["parameter.readout.V"]
VARYING = {"data", "epochs", "rng"}  # in a checkpoint, what has a size of its own
SHOWN = {"series": 300, "text": 80}  # values at the end of what is held out; more would be no figure to read


def train(
    settings: Settings, out: str | os.PathLike | None = None, resume: bool = False, progress: OnUpdate | None = None
) -> Summary:
    """Train a net to forecast the next value of a series or the next character of a text.

    The data are cut into windows, a series into all that it has, a text into pieces side by side; in each, every next
    value is forecast from those before it, from a state of zeros on. Their order is drawn anew for each epoch. With
    `settings.truncate`, there are `settings.batch` parts instead, which are gone through side by side in chunks: the
    state is carried from chunk to chunk, the gradient is not (truncated backpropagation through time). A held-out
    value is forecast by the net at that point from the true values before it; what is held out decides nothing. The
    same settings give the same numbers, bit for bit, with as many BLAS threads: more of them add up large products in
    another order.

    Args:
        out: a folder for config.json, metrics.csv and model.npz, all written after every epoch, and at the end
            summary.json, the figures loss.svg and prediction.svg with their numbers as CSV, and for a text sample.txt.
            An earlier run there is overwritten; what no run has written is not.
        resume: go on with the run in `out`, from its last whole epoch, to the same numbers as one in a piece. The
            settings must be the same but for `epochs`, which may be more.
        progress: called after every update with the number of updates so far, that of all, and at the end of an epoch
            with its `Epoch`, a line of metrics.

    Raises:
        OSError: a file cannot be read or written; what was written before stays. FileExistsError: `out` is a file.
        ValueError: the data do not fit the settings; or there is no run to resume, or one with other settings or a
            broken checkpoint; or another run is going on in `out`, or has files there that are no run's.
        FloatingPointError: training diverged, to a loss or a gradient that is not finite; names the epoch.

    >>> summary = tg.experiments.train(tg.experiments.Settings(hidden=2, epochs=1), "run")
    >>> summary.data, summary.unit
    ('sunspots', 'mean squared error')
    """
    if resume and out is None:
        raise ValueError("train(resume=True): out, the folder of the run to go on with, is needed")
    instance("train(settings)", settings, Settings, "tg.experiments.Settings(...)")
    training = Training(settings)
    if out is None:
        training.train(progress)
        return training.summary()
    if resume:
        _refuse_other_settings(Path(out), settings)
    with claimed(out) as path:
        folder = _Folder(path, training)
        folder.begin(resume)
        training.train(progress, folder.write_epoch)
        folder.refuse_others()
        write_results(path, training)
    return training.summary()


class _Folder:
    """The folder of a run, which it is once it has a checkpoint."""

    def __init__(self, path: Path, training: Training):
        self.path, self.training = path, training

    def begin(self, resume: bool) -> None:
        """Go on from the checkpoint, or take the place of an earlier run; write what there is before the next epoch.

        Raises:
            OSError: the checkpoint cannot be read.
            ValueError: as for `refuse_others`; the run saw other data or has more epochs already; or the checkpoint is
                broken, and in what.
        """
        if resume:
            self._restore()
        self.refuse_others()
        for name in RESULTS if resume else (CONFIG, *RESULTS):  # they are of another net
            if is_marked(self.path / name, MARKS[name]):
                (self.path / name).unlink()
        self.write_epoch()

    def _restore(self) -> None:
        path, training = self.path / CHECKPOINT, self.training
        try:
            found = read_arrays(path, None, VARYING)
            for name in sorted(VARYING - found.keys()):
                raise ValueError(f"{name} is missing")
            if not np.array_equal(found["data"], training.data.fingerprint):
                raise ValueError(f"{training.settings.data} is not what it was when the run began")
            epochs = [Epoch(int(epoch), *numbers) for epoch, *numbers in found["epochs"].tolist()]
            training.restore(epochs, str(found["rng"]), read_arrays(path, training.state(), VARYING))
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise ValueError(f"cannot go on from {path}: {error}") from error
        if len(epochs) > training.settings.epochs:
            has = f"the run in {self.path} has {counted(len(epochs), 'epoch')} already"
            raise ValueError(f"{has}, more than epochs={training.settings.epochs}")

    def write_epoch(self) -> None:
        """Write what there is after an epoch, or before the first."""
        self.refuse_others()
        training, checkpoint = self.training, io.BytesIO()
        np.savez(
            checkpoint, epochs=np.array(training.epochs, float).reshape(-1, len(Epoch._fields)),
            data=training.data.fingerprint, rng=json.dumps(training.rng.bit_generator.state), **training.state(),
        )  # fmt: skip
        write_file(self.path / CHECKPOINT, checkpoint.getvalue())
        plots.table(self.path / METRICS, Epoch._fields, training.epochs)
        save(self.path / MODEL, training.net)
        write_json(self.path / CONFIG, asdict(training.settings))

    def refuse_others(self) -> None:
        """Raise a ValueError if a file that the run would write is the data, or is there and of no run."""
        settings, of_a_run = self.training.settings, is_marked(self.path / CHECKPOINT, MARKS[CHECKPOINT])
        for name in sorted(MARKS.keys() - ({} if settings.is_text else {SAMPLE})):
            path = self.path / name
            if settings.is_file and path.exists() and path.samefile(settings.data):
                raise ValueError(f"{path} is the data, and would be replaced: give another folder")
            refuse_others(path, MARKS[name] if of_a_run else [])


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


def _refuse_other_settings(folder: Path, settings: Settings) -> None:
    """Refuse to go on with a run that has other settings, apart from the number of epochs, and where its data are."""
    theirs = read_settings(folder)
    free = {"epochs", "data"} if theirs.is_file and settings.is_file else {"epochs"}  # a file may have been moved
    before, now = asdict(theirs), asdict(settings)
    differences = [f"{k}={before[k]!r}, not {now[k]!r}" for k in now if k not in free and before[k] != now[k]]
    if differences:
        raise ValueError(f"the run in {folder} has {'; '.join(differences)}")


def write_results(out: Path, training: Training) -> None:
    """Write summary.json, loss.svg, prediction.svg and their numbers as CSV, and sample.txt of a text."""
    data, settings, (losses, outputs) = training.data, training.settings, training.evaluate()
    write_json(out / "summary.json", training.summary().as_dict())
    history = dict(zip(Epoch._fields, zip(*training.epochs, strict=True), strict=True))
    lines = {"training": history["training_loss"], "held out": history["held_out_loss"]}
    lines = {label: np.multiply(losses, data.scale) for label, losses in lines.items()}
    title = f"{Path(settings.data).name}, {settings.cell}"
    plots.curves(out / "loss.svg", title, ("epoch", history["epoch"]), data.unit, lines, log=not settings.is_text)
    if isinstance(data, Text):
        write_file(out / SAMPLE, (DRAWN + sample_text(training.net, data, settings, LENGTH)).encode())
        _draw_text(out / "prediction.svg", data, settings, losses)
    else:
        _draw_series(out / "prediction.svg", data, settings, outputs)


def _draw_series(path: Path, data: Series, settings: Settings, outputs: np.ndarray) -> None:
    shown = outputs[-SHOWN["series"] :]
    places = np.arange(len(data.sequence) - len(shown), len(data.sequence))
    lines = {"truth": data.sequence[places], "forecast": data.in_units(shown)}
    title = f"Each {data.axis} from the {settings.window} before it, {settings.cell}"
    plots.curves(path, title, (data.axis, data.origin + places), data.name, lines)


def _draw_text(path: Path, data: Text, settings: Settings, losses: np.ndarray) -> None:
    bits, mean = losses[-SHOWN["text"] :] * data.scale, "mean of all that is held out"
    places = range(len(data.sequence) - len(bits), len(data.sequence))
    characters = [data.alphabet[data.sequence[place]] for place in places]
    characters = [c if "!" <= c <= "~" else "·" for c in characters]  # a font may lack others; spaces are seen
    lines = {"this character": bits, mean: np.full(len(bits), np.mean(losses) * data.scale)}
    title = f"How much each character of a held-out passage surprises, {settings.cell}"
    x = ("character of the text (·: a space, or none of ASCII)", places)
    plots.curves(path, title, x, "bits", lines, dashed=[mean], ticks=characters)


def sample_text(net: Forecaster, data: Text, settings: Settings, length: int) -> str:
    """Characters drawn one by one from the net's probabilities, after the window before the held-out part."""
    rng = np.random.default_rng(settings.seed)
    drawn, state = [], None
    xs = data.vectors(np.arange(data.first - settings.window, data.first))
    with no_grad():
        for _ in range(length):
            zs, state = net(xs, state)
            z = zs.value[-1].astype(np.float64)
            p = np.cumsum(np.exp(z - np.max(z)))
            drawn.append(int(np.searchsorted(p, rng.random() * p[-1])))
            xs = (np.arange(data.width) == drawn[-1]).astype(zs.dtype)[None]
    return "".join(data.alphabet[k] for k in drawn)
