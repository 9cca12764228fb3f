"""The folder of a run: what is on disk after every epoch, and how a run goes on from there.

    config.json      the settings
    metrics.csv      a line for every epoch
    model.npz        the parameters, as `tg.load` reads them
    checkpoint.npz   all that the next epoch follows from: the epochs so far, parameters, optimizer, random generator;
                     and what files runs have written here

The checkpoint makes the folder that of a run: a new one begins with it, and a run goes on from what it says. A file
that it does not name, or with another content than it says, is somebody else's, and stays.
"""

import contextlib
import io
import json
import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinygrad_rnn.experiments.settings import Settings
from tinygrad_rnn.files import read_file, write_file
from tinygrad_rnn.nn.exchange import packed, read_arrays
from tinygrad_rnn.tables import counted

CHECKPOINT, CONFIG, MODEL = "checkpoint.npz", "config.json", "model.npz"
STATE = (CHECKPOINT, CONFIG, MODEL, "metrics.csv")
RESULTS = ("summary.json", "loss.svg", "loss.csv", "prediction.svg", "prediction.csv", "sample.txt")
FILES = (*STATE, *RESULTS)
VARYING = {"data", "epochs", "files", "rng"}  # in a checkpoint, what has a size of its own


class Epoch(NamedTuple):
    """A line of metrics.csv: its losses are means over the epoch's updates, and over all that is held out."""

    epoch: int
    training_loss: float
    held_out_loss: float
    gradient_norm: float
    seconds: float


class Folder:
    """The folder of a run, which has `settings`, `epochs`, `net`, `state()` and `restore()`.

    Attributes:
        own: the names of the files that runs have written in it, and may replace; with the CRC-32 of the contents that
            they may have, if not any.

    Raises:
        ValueError: a file that the run would write is the data, or is there and of no run.
    """

    def __init__(self, path: Path, run: Any):
        self.path, self.run = path, run
        self.own = read_mark(path)[1]
        self.results = RESULTS if run.settings.is_text else RESULTS[:-1]
        self.refuse_others(STATE + self.results)

    def refuse_others(self, names: Iterable[str]) -> None:
        """Refuse to write files that are there and no run has written."""
        settings = self.run.settings
        for path in (self.path / name for name in sorted(names)):
            if settings.is_file and path.exists() and path.samefile(settings.data):
                raise ValueError(f"{path} is the data, and would be replaced: give another folder")
            known = self.own.get(path.name)
            if os.path.lexists(path) and (known is None or (known and _crc(path) not in known)):
                raise ValueError(f"{path} is there, and of no run; it would be replaced: give another folder")

    def begin(self) -> None:
        """Write the settings and all else that is there before an epoch, in the place of an earlier run."""
        (self.path / CONFIG).unlink(missing_ok=True)  # its settings are not those of the new checkpoint
        self.own = {**dict.fromkeys(STATE, ()), **self.own}
        self._write_checkpoint()
        for name in set(self.own).intersection(RESULTS):
            (self.path / name).unlink(missing_ok=True)
            del self.own[name]
        self.go_on()

    def resume(self) -> None:
        """Have the run go on from the checkpoint.

        Raises:
            OSError: the checkpoint cannot be read.
            ValueError: the run saw other data or has more epochs already; or the checkpoint is broken, and in what.
        """
        path, settings, state = self.path / CHECKPOINT, self.run.settings, self.run.state()
        if read_mark(self.path)[0] not in (None, state["data"]):
            raise ValueError(f"{settings.data} is not what it was when the run began")
        try:
            expected = {name: np.asarray(value) for name, value in state.items() if name not in VARYING}
            found = read_arrays(path, expected, VARYING)
            epochs = _epochs(found["epochs"])
            self.run.restore(epochs, found)
        except (KeyError, ValueError) as error:
            raise ValueError(f"{path} is broken: {error}") from error
        if len(epochs) > settings.epochs:
            has = f"the run in {self.path} has {counted(len(epochs), 'epoch')} already"
            raise ValueError(f"{has}, more than epochs={settings.epochs}")
        (self.path / RESULTS[0]).unlink(missing_ok=True)
        self.go_on()

    def go_on(self) -> None:
        """Write what is there before an epoch."""
        self.write_epoch()
        write_file(self.path / CONFIG, _config(self.run.settings))

    def write_epoch(self) -> None:
        """Write the metrics, the parameters and the checkpoint, each whole: who looks meanwhile sees no half of one."""
        lines = [Epoch._fields, *self.run.epochs]
        write_file(self.path / "metrics.csv", "".join(",".join(map(str, line)) + "\n" for line in lines).encode())
        content = packed(self.run.net)
        self.own[MODEL] = [*self.own[MODEL][-1:], zlib.crc32(content)]  # the one that is there, or this one
        self._write_checkpoint()
        write_file(self.path / MODEL, content)

    def finish(self, write: Callable[[], Any]) -> None:
        """Have the results written."""
        self.refuse_others(self.results)
        self.own |= dict.fromkeys(self.results, ())
        self._write_checkpoint()
        write()
        known = {name: [_crc(self.path / name)] for name in self.results if (self.path / name).exists()}
        self.own = {name: self.own[name] for name in STATE} | known
        self._write_checkpoint()

    def _write_checkpoint(self) -> None:
        content, table = io.BytesIO(), np.array(self.run.epochs, float).reshape(-1, len(Epoch._fields))
        np.savez(content, epochs=table, files=json.dumps(self.own), **self.run.state())
        write_file(self.path / CHECKPOINT, content.getvalue())


def read_settings(folder: Path) -> Settings:
    """The settings of the run in a folder.

    Raises:
        OSError: a file cannot be read. ValueError: there is no run in the folder, or its settings are broken.
    """
    path = folder / CONFIG
    if not path.exists() or not (folder / CHECKPOINT).exists():
        raise ValueError(f"there is no run in {folder}, with its {CONFIG} and {CHECKPOINT}")
    try:
        return Settings(**json.loads(read_file(path)))
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


def read_mark(folder: Path) -> tuple[int | None, dict[str, Sequence[int]]]:
    """The fingerprint of the data of a run, None if it is not there or broken; and its files, as `Folder.own`."""
    try:
        mark = read_arrays(folder / CHECKPOINT, None, VARYING)
        _ = mark["epochs"], mark["rng"]
        own = json.loads(str(mark["files"])) if "files" in mark else dict.fromkeys(FILES, ())
        return int(mark["data"]), {str(name): list(known) for name, known in own.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        with contextlib.suppress(OSError, ValueError):  # it is broken, beside the settings as a run has written them
            if read_file(folder / CONFIG) == _config(read_settings(folder)):
                return None, dict.fromkeys(FILES, ())
        return None, {}


def _crc(path: Path) -> int | None:
    return zlib.crc32(read_file(path)) if path.is_file() else None


def _epochs(table: np.ndarray) -> list[Epoch]:
    numbered = table.dtype.kind == "f" and table.shape[1:] == (len(Epoch._fields),) and np.all(np.isfinite(table))
    if not numbered or not np.array_equal(table[:, 0], np.arange(1, len(table) + 1)):
        raise ValueError(f"epochs is {table.dtype} {table.shape}: rows of finite numbers are needed, 1, 2, ...")
    return [Epoch(int(epoch), *rest) for epoch, *rest in table.tolist()]


def _config(settings: Settings) -> bytes:
    return (json.dumps(settings.as_dict(), indent=2) + "\n").encode()
