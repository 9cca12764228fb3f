"""What a training run is made of: the one place for the command line's options, config.json, and a sweep's keys."""

import os
from dataclasses import Field, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_args

from tinygrad_rnn.checks import number, one_of, positive, whole
from tinygrad_rnn.nn.cells import NONLINEARITIES
from tinygrad_rnn.nn.recurrent import KINDS


def _option(default: Any, meaning: str, **known: Any) -> Any:
    """A setting with its meaning, as `--help` shows it, and what is known of it.

    Args:
        known: choices, what it is one of; least and most (10⁹), what it is from and to, if it is not just positive;
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
    layers: int = _option(1, "cells on each other", least=1, most=10**4)
    hidden: int = _by_data(16, 128, "the length of the hidden state", least=1, most=10**6)
    window: int = _by_data(22, 32, "steps that a forecast is made from, or characters of a piece of text", least=1)
    batch: int = _option(
        None, "windows of an update (default: 32); with truncate, parts of the data gone through side by side "
        "(default: 1; 32 of a text)", by_data=(32, 32), least=1,
    )  # fmt: skip
    epochs: int = _by_data(100, 6, "times through the data", least=1)
    lr: float = _by_data(0.01, 0.005, "learning rate")
    weight_decay: float = _by_data(0.002, 0.0, "λ: ½ λ Σ p² over all parameters is added to the loss", least=0.0)
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
            value = getattr(self, setting.name)
            if value is None and "by_data" in setting.metadata:
                value = setting.metadata["by_data"][self.is_text]
            object.__setattr__(self, setting.name, _checked(setting, value))
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

    def seen_from(self, folder: Path) -> "Settings":
        """With the path of a file, which is relative to a folder, made absolute, so that it is found from anywhere."""
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
    if not isinstance(value, str):
        raise TypeError(f"{name}={value!r}: str is needed")
    return str(value)
