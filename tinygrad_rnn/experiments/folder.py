"""The folder of a run: what is on disk after every epoch, and how a run goes on from there.

    config.json      the settings
    metrics.csv      a line for every epoch
    model.npz        the parameters, as `tg.load` reads them
    checkpoint.npz   all that the next epoch follows from: the epochs so far, parameters, optimizer, random generator

The checkpoint is the last to be written: a run goes on from what it says.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinygrad_rnn.experiments.settings import Settings
from tinygrad_rnn.files import write_file
from tinygrad_rnn.nn import Module, save

__all__ = ["Epoch", "begin", "read_checkpoint", "read_fingerprint", "read_settings", "write_epoch"]

LEFT = (  # by a run, its checkpoint first: without it there is no run
    "checkpoint.npz", "config.json", "metrics.csv", "model.npz", "summary.json", "loss.svg", "loss.csv",
    "prediction.svg", "prediction.csv", "sample.txt",
)  # fmt: skip


class Epoch(NamedTuple):
    """A line of metrics.csv: its losses are means over the epoch's updates, and over all that is held out."""

    epoch: int
    training_loss: float
    held_out_loss: float
    gradient_norm: float
    seconds: float


def begin(folder: Path, settings: Settings, resume: bool) -> None:
    """Make the folder, and write the settings; what an earlier run has left there is removed."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("summary.json",) if resume else LEFT:
        (folder / name).unlink(missing_ok=True)
    write_file(folder / "config.json", (json.dumps(settings.as_dict(), indent=2) + "\n").encode())


def write_epoch(folder: Path, epochs: Sequence[Epoch], net: Module, state: Mapping[str, Any]) -> None:
    """Write the metrics, the parameters and the checkpoint, each whole: who looks meanwhile sees no half of one."""
    lines = [Epoch._fields, *epochs]
    write_file(folder / "metrics.csv", "".join(",".join(map(str, line)) + "\n" for line in lines).encode())
    save(folder / "model.npz", net)
    content = io.BytesIO()
    np.savez(content, epochs=np.array(epochs).reshape(-1, len(Epoch._fields)), **state)
    write_file(folder / "checkpoint.npz", content.getvalue())


def read_settings(folder: Path) -> Settings:
    """The settings of the run in a folder.

    Raises:
        OSError: a file cannot be read. ValueError: there is no run in the folder, or its settings are broken.
    """
    path = folder / "config.json"
    if not path.exists() or not (folder / "checkpoint.npz").exists():
        raise ValueError(f"there is no run in {folder}, with its config.json and checkpoint.npz")
    try:
        return Settings(**json.loads(path.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} holds no settings of a run ({error})") from error


def read_checkpoint(folder: Path, settings: Settings) -> tuple[list[Epoch], dict[str, np.ndarray]]:
    """The epochs that a run with the same settings has gone through, and the state that `write_epoch` has written last.

    Raises:
        OSError: a file cannot be read.
        ValueError: the run has other settings, apart from the number of epochs, or has more epochs already, or a file
            is broken.
    """
    theirs = read_settings(folder)
    free = {"epochs", "data"} if theirs.is_file and settings.is_file else {"epochs"}  # a file may have been moved
    before, now = asdict(theirs), asdict(settings)
    differences = [f"{k}={before[k]!r}, not {now[k]!r}" for k in now if k not in free and before[k] != now[k]]
    if differences:
        raise ValueError(f"the run in {folder} has {'; '.join(differences)}")
    content = (folder / "checkpoint.npz").read_bytes()
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            state = dict(archive)
        epochs = [Epoch(int(epoch), *rest) for epoch, *rest in state["epochs"].tolist()]
        _ = state["data"], state["rng"]
    except Exception as error:  # a broken file makes these libraries raise nearly anything
        raise ValueError(f"{folder / 'checkpoint.npz'} is broken") from error
    if len(epochs) > settings.epochs:
        raise ValueError(f"the run in {folder} has {len(epochs)} epochs already, more than epochs={settings.epochs}")
    return epochs, state


def read_fingerprint(folder: Path) -> int | None:
    """What tells the data of the run in a folder from others; None if its checkpoint is not there, or is broken."""
    try:
        with np.load(folder / "checkpoint.npz", allow_pickle=False) as archive:
            return int(archive["data"])
    except Exception:  # a broken file makes these libraries raise nearly anything
        return None
