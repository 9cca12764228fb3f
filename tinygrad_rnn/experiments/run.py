"""`train`: a run, which is the training of a net in a folder that repeats, resumes and shows it.

    config.json      the settings
    metrics.csv      a line for every epoch
    model.npz        the parameters, as `tg.load` reads them
    checkpoint.npz   all that the next epoch follows from: the epochs so far, parameters, optimizer, random generator;
                     and the checksums of the files that runs have written here

The checkpoint makes the folder that of a run: a new one begins with it, and a run goes on from what it says. A file
whose content has none of its checksums is somebody else's, and stays.
"""

import contextlib
import io
import json
import os
import tempfile
import warnings
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_rnn.checks import instance
from tinygrad_rnn.experiments.results import write_results
from tinygrad_rnn.experiments.settings import Settings
from tinygrad_rnn.experiments.sweep import FIGURE, RECORD, TABLE, identity
from tinygrad_rnn.experiments.training import Epoch, OnUpdate, Summary, Training
from tinygrad_rnn.files import claimed, read_file, write_file
from tinygrad_rnn.nn.exchange import packed, read_arrays
from tinygrad_rnn.tables import counted

CHECKPOINT, CONFIG, SUMMARY, SAMPLE = "checkpoint.npz", "config.json", "summary.json", "sample.txt"
RESULTS = (SUMMARY, "loss.svg", "loss.csv", "prediction.svg", "prediction.csv")
FILES = (CHECKPOINT, CONFIG, "model.npz", "metrics.csv", *RESULTS)  # and of a text the sample
VARYING = {"data", "epochs", "rng", "written"}  # in a checkpoint, what has a size of its own


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
    """
    if resume and out is None:
        raise ValueError("train(resume=True): out, the folder of the run to go on with, is needed")
    instance("train(settings)", settings, Settings, "tg.experiments.Settings(...)")
    training = Training(settings)
    if out is None:
        training.train(progress)
        return training.summary()
    if resume:
        refuse_other_run(Path(out), settings)
    with claimed(out) as path:
        folder = Folder(path, training)
        folder.resume() if resume else folder.begin()
        training.train(progress, folder.write_epoch)
        folder.finish()
    return training.summary()


@dataclass(frozen=True)
class TrainPoint:
    """Trains with the settings of a run of a sweep, in the run's folder in `out`.

    Attributes:
        start: what the paths of data are relative to. data: by path, what names the data of a file, its checksum too.
    """

    out: Path
    start: Path
    data: Mapping[str, Any]

    @classmethod
    def over(cls, points: Iterable[dict[str, Any]], out: str | os.PathLike) -> "TrainPoint":
        """Trains with the settings of points, and the data as they are now.

        Raises:
            OSError: a data file cannot be read. ValueError: it is none, or one of those that the sweep writes.
        """
        written = {TABLE, FIGURE, RECORD, *FILES, SAMPLE}
        data = {settings.data: None for point in points if (settings := Settings(**point)).is_file}
        for name in data:
            path = Path(os.path.realpath(name))
            if path.name in written and Path(os.path.realpath(out)) in path.parents:
                raise ValueError(f"data={name!r} is a file that the sweep would replace: give another folder")
            data[name] = [name, zlib.crc32(read_file(name))]
        return cls(Path(out).absolute(), Path.cwd(), data)

    def __call__(self, **point: Any) -> Summary:
        """Train."""
        with warnings.catch_warnings():  # that there are no figures is told once, by the sweep
            warnings.filterwarnings("ignore", "plots need matplotlib")
            return train(Settings(**point).seen_from(self.start), self.out / self.key(point))

    def key(self, point: dict[str, Any]) -> str:
        """The name of a run's folder: over data that have changed it is another run."""
        data = point.get("data")
        return identity(point | {"data": self.data[data]} if data in self.data else point)


class Folder:
    """The folder of a run.

    Raises:
        ValueError: a file that the run would write is the data, or is there and of no run.
    """

    def __init__(self, path: Path, training: Training):
        self.path, self.training = path, training
        self.files = [path / name for name in ((*FILES, SAMPLE) if training.settings.is_text else FILES)]
        self.written = _written(path)

    def begin(self) -> None:
        """Write what there is before the first epoch, in the place of an earlier run."""
        self._refuse_others(self.files)
        # The settings of the earlier run are not those of the new checkpoint, and its results go too.
        for path in (self.path / name for name in (CONFIG, *RESULTS, SAMPLE)):
            if _checksum(path) in self.written:
                path.unlink()
        self.write_epoch()

    def resume(self) -> None:
        """Have the training go on from the checkpoint.

        Raises:
            OSError: the checkpoint cannot be read.
            ValueError: the run saw other data or has more epochs already; or the checkpoint is broken, and in what.
        """
        path, training = self.path / CHECKPOINT, self.training
        try:
            found = read_arrays(path, None, VARYING)
            if missing := sorted(VARYING - {"written"} - found.keys()):
                raise ValueError(f"{missing[0]} is missing")
            same_data = np.array_equal(found["data"], training.data.fingerprint)
            if same_data:
                state = read_arrays(path, training.state(), VARYING)
                training.restore(_epochs(found["epochs"]), str(found["rng"]), state)
        except ValueError as error:
            raise ValueError(f"{path} is broken: {error}") from error
        if not same_data:
            raise ValueError(f"{training.settings.data} is not what it was when the run began")
        if len(training.epochs) > training.settings.epochs:
            has = f"the run in {self.path} has {counted(len(training.epochs), 'epoch')} already"
            raise ValueError(f"{has}, more than epochs={training.settings.epochs}")
        self._refuse_others(self.files)
        (self.path / SUMMARY).unlink(missing_ok=True)
        self.write_epoch()

    def write_epoch(self) -> None:
        """Write what there is after an epoch, or before the first."""
        lines = [Epoch._fields, *self.training.epochs]
        metrics = "".join(",".join(map(str, line)) + "\n" for line in lines).encode()
        config = (json.dumps(self.training.settings.as_dict(), indent=2) + "\n").encode()
        self._write({"metrics.csv": metrics, "model.npz": packed(self.training.net), CONFIG: config})

    def finish(self) -> None:
        """Write the results."""
        with tempfile.TemporaryDirectory() as folder:
            write_results(Path(folder), self.training)
            self._write({path.name: path.read_bytes() for path in Path(folder).iterdir()})

    def _write(self, contents: Mapping[str, bytes]) -> None:
        """Write files, each whole; and before them the checkpoint, so that it knows a file at any moment."""
        self._refuse_others(self.path / name for name in contents)
        self.written &= {_checksum(path) for path in self.files}
        self.written |= {zlib.crc32(content) for content in contents.values()}
        training, content = self.training, io.BytesIO()
        np.savez(
            content, epochs=np.array(training.epochs, float).reshape(-1, len(Epoch._fields)),
            data=training.data.fingerprint, rng=json.dumps(training.rng.bit_generator.state),
            written=sorted(self.written), **training.state(),
        )  # fmt: skip
        for name, written in {CHECKPOINT: content.getvalue(), **contents}.items():
            write_file(self.path / name, written)

    def _refuse_others(self, paths: Iterable[Path]) -> None:
        settings = self.training.settings
        for path in sorted(paths):
            if settings.is_file and path.exists() and path.samefile(settings.data):
                raise ValueError(f"{path} is the data, and would be replaced: give another folder")
            of_a_run = self.written if path.name == CHECKPOINT else _checksum(path) in self.written
            if os.path.lexists(path) and not of_a_run:
                raise ValueError(f"{path} is there, and of no run; it would be replaced: give another folder")


def _written(folder: Path) -> set[int]:
    """The checksums of what runs have written into a folder, as the checkpoint says; none without one."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        return set(read_arrays(folder / CHECKPOINT, None, VARYING)["written"].ravel().tolist())
    return set()


def _checksum(path: Path) -> int | None:
    return zlib.crc32(read_file(path)) if path.is_file() else None


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


def refuse_other_run(folder: Path, settings: Settings) -> None:
    """Refuse to go on with a run that has other settings, apart from the number of epochs.

    Raises:
        OSError, ValueError: as for `read_settings`.
    """
    theirs = read_settings(folder)
    free = {"epochs", "data"} if theirs.is_file and settings.is_file else {"epochs"}  # a file may have been moved
    before, now = asdict(theirs), asdict(settings)
    differences = [f"{k}={before[k]!r}, not {now[k]!r}" for k in now if k not in free and before[k] != now[k]]
    if differences:
        raise ValueError(f"the run in {folder} has {'; '.join(differences)}")


def _epochs(table: np.ndarray) -> list[Epoch]:
    numbered = table.dtype.kind == "f" and table.shape[1:] == (len(Epoch._fields),) and np.all(np.isfinite(table))
    if not numbered or not np.array_equal(table[:, 0], np.arange(1, len(table) + 1)):
        raise ValueError(f"epochs is {table.dtype} {table.shape}: rows of finite numbers are needed, 1, 2, ...")
    return [Epoch(int(epoch), *rest) for epoch, *rest in table.tolist()]
