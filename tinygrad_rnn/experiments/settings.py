"""What a training run is made of: the one place for the command line's options, config.json, and a sweep's keys."""

from __future__ import annotations

import math
import os
from dataclasses import Field, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from tinygrad_rnn.nn.cells import NONLINEARITIES
from tinygrad_rnn.nn.recurrent import KINDS

__all__ = ["Settings", "option_type"]


def _option(default: Any, meaning: str, **known: Any) -> Any:
    """A setting with its meaning, as `--help` shows it, and what is known of it.

    Args:
        known: choices, what it is one of; least and most (1e9), what it is from and to; above, what it is more than;
            by_data, its default for a series and for a text.
    """
    return field(default=default, metadata={"help": meaning, **known})


def _by_data(series: float, text: float, meaning: str, **known: Any) -> Any:
    """A setting whose default is one for a series and another for a text."""
    told = f"{meaning} (default: {series:g}; {text:g} for a text)"
    return _option(None, told, by_data=(series, text), **known)


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
    layers: int = _option(1, "cells on each other", least=1, most=1e4)
    hidden: int = _by_data(16, 128, "the length of the hidden state", least=1, most=1e6)
    window: int = _by_data(22, 32, "steps that a forecast is made from, or characters of a piece of text", least=1)
    batch: int = _option(
        None, "windows of an update (default: 32); with truncate, parts of the data gone through side by side "
        "(default: 1; 32 of a text)", by_data=(32, 32), least=1,
    )  # fmt: skip
    epochs: int = _by_data(100, 6, "times through the data", least=1)
    lr: float = _by_data(0.01, 0.005, "learning rate", above=0.0)
    weight_decay: float = _by_data(0.002, 0.0, "λ: ½ λ Σ p² over all parameters is added to the loss", least=0.0)
    optimizer: str = _option("adam", "how parameters are updated", choices=("adam", "sgd"))
    momentum: float = _option(0.0, "of sgd", least=0.0)
    clip_norm: float | None = _option(1.0, "largest norm of the gradient; none for no limit", above=0.0)
    clip_value: float | None = _option(None, "largest element of the gradient, after clip_norm", above=0.0)
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
            name, value, known, (kind, optional) = (
                setting.name, getattr(self, setting.name), setting.metadata, option_type(setting),
            )  # fmt: skip
            if value is None and "by_data" in known:
                value = known["by_data"][self.is_text]
            if hasattr(value, "item"):  # a number of NumPy's
                value = value.item()
            if kind is float and type(value) is int:
                value = float(value) if abs(value) < 2**1023 else math.inf
            object.__setattr__(self, name, value)
            if value is None and optional:
                continue
            if type(value) is not kind:
                raise TypeError(f"{name}={value!r}: {'a whole number' if kind is int else kind.__name__} is needed")
            if value not in known.get("choices", (value,)):
                raise ValueError(f"{name}={value!r}: not one of {', '.join(known['choices'])}")
            if "above" in known and not known["above"] < value < float("inf"):
                raise ValueError(f"{name}={value!r}: more than {known['above']:g} is needed, and finite")
            least, most = known.get("least"), known.get("most", 1e9)
            if least is not None and not least <= value <= most:
                raise ValueError(f"{name}={value!r}: at least {least:g} is needed, and at most {most:g}")
        if self.nonlinearity is not None and self.cell != "rnn":
            raise ValueError(
                f"nonlinearity={self.nonlinearity!r} is of the plain cell, rnn; cell={self.cell!r} has its own"
            )
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
        """Whether the data are characters, not a series."""
        return self.data == "topics" or self._suffix == ".txt"

    @property
    def is_file(self) -> bool:
        """Whether the data are in a file."""
        return self._suffix in (".csv", ".txt")

    @property
    def _suffix(self) -> str:
        return Path(str(self.data)).suffix.lower()

    def seen_from(self, folder: Path) -> Settings:
        """With the path of a file, which is relative to a folder, made absolute, so that it is found from anywhere."""
        return replace(self, data=os.path.abspath(folder / self.data)) if self.is_file else self

    def as_dict(self) -> dict[str, Any]:
        """All settings by name, as config.json holds them."""
        return asdict(self)


def option_type(setting: Field) -> tuple[type, bool]:
    """The type of a setting, and whether it may be None."""
    name, _, rest = str(setting.type).partition(" ")
    return {"str": str, "int": int, "float": float}[name], rest.endswith("None")
