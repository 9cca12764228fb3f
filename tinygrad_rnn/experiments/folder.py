"""The folder of a run: what is on disk after every epoch, and how a run goes on from there.

    config.json      the settings
    metrics.csv      a line for every epoch
    model.npz        the parameters, as `tg.load` reads them
    checkpoint.npz   all that the next epoch follows from: parameters, optimizer, random generator

The checkpoint is the last to be written: what metrics.csv has beyond it is dropped when the run goes on.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinygrad_rnn.experiments.settings import Settings
from tinygrad_rnn.files import write_file
from tinygrad_rnn.nn import Module, save

__all__ = ["Epoch", "begin", "read_checkpoint", "read_settings", "write_epoch"]

LEFT = (  # by a run, its checkpoint first: without it there is no run
    "checkpoint.npz", "config.json", "metrics.csv", "model.npz", "summary.json", "loss.svg", "loss.csv",
    "prediction.svg", "prediction.csv", "sample.txt",
)  # fmt: skip


class Epoch(NamedTuple):
    """A line of metrics.csv: its losses are means over the epoch's updates, and over all that is held out."""

    number: int
    training_loss: float
    held_out_loss: float
    gradient_norm: float
    seconds: float

    def as_dict(self) -> dict[str, float]:
        """By the names in the file."""
        return dict(zip(_HEADER, self, strict=True))


_HEADER = ("epoch", "training loss", "held-out loss", "gradient norm", "seconds")


def begin(folder: Path, settings: Settings, epochs: list[Epoch], resume: bool) -> None:
    """Make the folder, and write the settings and the metrics so far; what an earlier run has left there is removed."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("summary.json",) if resume else LEFT:
        (folder / name).unlink(missing_ok=True)
    write_file(folder / "config.json", (json.dumps(settings.as_dict(), indent=2) + "\n").encode())
    write_file(folder / "metrics.csv", "".join(map(_line, [_HEADER, *epochs])).encode())


def write_epoch(folder: Path, epoch: Epoch | None, net: Module, state: Mapping[str, Any]) -> None:
    """Add a line to the metrics, and write the parameters and the checkpoint."""
    if epoch is not None:
        path = folder / "metrics.csv"
        try:
            with open(path, "a", encoding="utf-8") as file:
                file.write(_line(epoch))
        except OSError as error:
            raise type(error)(error.errno, f"cannot write {path}: {os.strerror(error.errno)}") from error
    save(folder / "model.npz", net)
    content = io.BytesIO()
    np.savez(content, **state)
    write_file(folder / "checkpoint.npz", content.getvalue())


def read_settings(folder: Path) -> Settings:
    """The settings of the run in a folder.

    Raises:
        OSError: a file cannot be read. ValueError: there is no run in the folder, or its settings are broken.
    """
    path = folder / "config.json"
    if not path.exists() or not (folder / "checkpoint.npz").exists():
        raise ValueError(f"resume: there is no run in {folder}, with its config.json and checkpoint.npz")
    try:
        return Settings(**json.loads(path.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise ValueError(f"resume: {path} holds no settings of a run ({error})") from error


def read_checkpoint(folder: Path, settings: Settings) -> tuple[dict[str, np.ndarray], list[Epoch]]:
    """What `write_epoch` has written last, and the metrics up to there, for a run with the same settings.

    Raises:
        OSError: a file cannot be read.
        ValueError: the run has other settings, apart from the number of epochs, or has more epochs already, or a file
            is broken.
    """
    before, now = asdict(read_settings(folder)), asdict(settings)
    differences = [f"{k}={before[k]!r}, not {now[k]!r}" for k in now if k != "epochs" and before[k] != now[k]]
    if differences:
        raise ValueError(f"resume: the run in {folder} has {'; '.join(differences)}")
    path, content = folder / "metrics.csv", (folder / "checkpoint.npz").read_bytes()
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            state = dict(archive)
        count, *_ = int(state["epoch"]), state["data"], state["rng"]
    except Exception as error:  # a broken file makes these libraries raise nearly anything
        raise ValueError(f"resume: {folder / 'checkpoint.npz'} is broken") from error
    if count > settings.epochs:
        raise ValueError(f"resume: the run in {folder} has {count} epochs already, more than epochs={settings.epochs}")
    try:
        lines = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))[1 : count + 1]
        whole = [line for line in lines if len(line) == len(_HEADER)]
        epochs = [Epoch(int(number), *map(float, rest)) for number, *rest in whole]
    except (ValueError, csv.Error) as error:
        raise ValueError(f"resume: {path} is broken ({error})") from error
    if [epoch.number for epoch in epochs] != list(range(1, count + 1)):
        raise ValueError(f"resume: {path} does not hold the {count} epochs of the checkpoint")
    return state, epochs


def _line(row: Any) -> str:
    return ",".join(map(str, row)) + "\n"
