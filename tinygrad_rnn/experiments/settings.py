"""The settings of a run of `train`: the one place for the command line's options, config.json, and a sweep's keys."""

import os
from dataclasses import Field, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_args

from tinygrad_rnn.checks import number, one_of, positive, text, whole
from tinygrad_rnn.nn.cells import NONLINEARITIES
from tinygrad_rnn.nn.recurrent import KINDS


def _option(default: Any, meaning: str, by_data: tuple[float, float] | None = None, **known: Any) -> Any:
    """A setting with its meaning, as `--help` shows it, and what is known of it.

    Args:
        by_data: its default for a series and for a text, where the default is None.
        known: choices, the words that it is one of; least and most (10⁹), its bounds, if it is not just positive.
    """
    told = f"{meaning} (default: {by_data[0]:g}; {by_data[1]:g} for a text)" if by_data else meaning
    return field(default=default, metadata={"help": told, "by_data": by_data, **known})


@dataclass(frozen=True)
class Settings:
    """The settings of a run; each is an option of `tinygrad-rnn train`, with hyphens for underscores.

    The defaults for a series were chosen by cross-validation on the sunspots up to 1946, before what is held out.

    Raises:
        TypeError: a value of another type. ValueError: one that is out of range, or two that contradict each other.
    """

    data: str = _option(
        "sunspots", "sunspots, sine, topics (Python's help), a CSV file (.csv), or a text (.txt), learnt by character"
    )
    column: str | None = _option(None, "the column of the CSV file")
    cell: str = _option("lstm", "the kind of cell", choices=tuple(KINDS))
    nonlinearity: str | None = _option(None, "f of the plain cell (default: tanh)", choices=tuple(NONLINEARITIES))
    layers: int = _option(1, "cells on each other", least=1, most=10**4)
    hidden: int = _option(None, "the length of the hidden state", (16, 128), least=1, most=10**6)
    window: int = _option(
        None, "steps that a forecast is made from, or characters of a piece of text", (22, 32), least=1
    )
    batch: int = _option(
        None, "windows of an update; with truncate, parts of the data gone through side by side, of a series 1 by "
        "default", (32, 32), least=1,
    )  # fmt: skip
    epochs: int = _option(None, "times through the data", (100, 6), least=1)
    lr: float = _option(None, "learning rate", (0.01, 0.005))
    weight_decay: float = _option(None, "λ: ½ λ Σ p² over all parameters is added to the loss", (0.002, 0.0), least=0.0)
    optimizer: str = _option("adam", "how parameters are updated", choices=("adam", "sgd"))
    momentum: float = _option(0.0, "of sgd", least=0.0)
    clip_norm: float | None = _option(1.0, "largest norm of the gradient; none for no limit")
    clip_value: float | None = _option(None, "largest element of the gradient, after clip_norm")
    truncate: int | None = _option(
        None, "carry the state along, and cut the gradient every so many steps, which the window is then", least=1
    )
    seed: int = _option(0, "of the weights and of the order of the windows", least=0, most=1e300)
    dtype: str = _option("float64", "of all numbers", choices=("float64", "float32"))

    def __post_init__(self) -> None:
        if self.truncate is not None:
            if self.window is None:
                object.__setattr__(self, "window", self.truncate)
            if self.batch is None and not self.is_text:
                object.__setattr__(self, "batch", 1)
        for setting in fields(self):
            value, by_data = getattr(self, setting.name), setting.metadata["by_data"]
            if value is None and by_data:
                value = by_data[self.is_text]
            object.__setattr__(self, setting.name, _checked(setting, value))
        if self.nonlinearity is not None and self.cell != "rnn":
            of = f"nonlinearity={self.nonlinearity!r} is of the plain cell, rnn"
            raise ValueError(f"{of}; cell={self.cell!r} has its own")
        if self.momentum and self.optimizer != "sgd":
            raise ValueError(f"momentum={self.momentum:g} is of optimizer='sgd', not of {self.optimizer!r}")
        if self.column is not None and self._suffix != ".csv":
            raise ValueError(f"column={self.column!r} is of a CSV file; {self.data} is none")
        if self.truncate is not None and self.truncate != self.window:
            raise ValueError(
                f"truncate={self.truncate} carries the state from piece to piece, each of so many steps; "
                f"window={self.window} is another length: leave it out"
            )

    @property
    def is_text(self) -> bool:
        """True if the data are characters, not a series."""
        return self.data == "topics" or self._suffix == ".txt"

    @property
    def is_file(self) -> bool:
        """True if the data are in a file."""
        return self._suffix in (".csv", ".txt")

    @property
    def _suffix(self) -> str:
        return Path(str(self.data)).suffix.lower()

    def seen_from(self, folder: Path) -> "Settings":
        """The settings with the path of a data file, relative to a folder, made absolute: it is found from anywhere."""
        return replace(self, data=os.path.abspath(folder / self.data)) if self.is_file else self

    def as_dict(self) -> dict[str, Any]:
        """All settings by name, as config.json holds them."""
        return asdict(self)


def option_type(setting: Field) -> tuple[type, bool]:
    """The type of a setting, and whether it may be None."""
    kinds = get_args(setting.type) or (setting.type,)
    return kinds[0], type(None) in kinds


def _checked(setting: Field, value: Any) -> Any:
    """The value, if it is of the setting's type and in its range."""
    name, known, (kind, optional) = setting.name, setting.metadata, option_type(setting)
    least, most = known.get("least"), known.get("most", 10**9)
    if value is None and optional:
        return None
    if "choices" in known:
        return one_of("", name, value, known["choices"])
    if kind is int:
        return whole("", name, value, least, most)
    if kind is float and least is None:
        return positive("", name, value)
    if kind is float:
        return number("", name, value, f"a number from {least:g} to {most:g}", least, most)
    return text("", name, value)
