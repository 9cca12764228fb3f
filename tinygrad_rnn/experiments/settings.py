"""What a training run is made of: the one place for the command line's options, config.json, and a sweep's keys."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from tinygrad_rnn.nn.cells import NONLINEARITIES

__all__ = ["Settings"]


def _option(default: Any, meaning: str, choices: tuple[str, ...] | None = None, least: float | None = None) -> Any:
    """A setting with its meaning, as `--help` shows it, and what it may be: one of some, or a number from one up."""
    return field(default=default, metadata={"help": meaning, "choices": choices, "least": least})


@dataclass(frozen=True)
class Settings:
    """The settings of a run; each is an option of `tinygrad-rnn train`, with hyphens for underscores.

    Raises:
        TypeError: a value of another type. ValueError: one that is out of range, or two that contradict each other.
    """

    data: str = _option("sunspots", "sunspots, sine, a CSV file (.csv) or a text (.txt), which is learnt by character")
    column: str | None = _option(None, "the column of the CSV file")
    cell: str = _option("lstm", "the kind of cell", choices=("rnn", "lstm", "gru"))
    nonlinearity: str | None = _option(None, "f of the plain cell (default: tanh)", choices=tuple(NONLINEARITIES))
    layers: int = _option(1, "cells on each other", least=1)
    hidden: int = _option(32, "the length of the hidden state", least=1)
    window: int = _option(22, "steps that a forecast is made from, or characters of a piece of text", least=1)
    batch: int = _option(32, "windows of an update", least=1)
    epochs: int = _option(100, "times through the data", least=1)
    lr: float = _option(0.01, "learning rate", least=0.0)
    optimizer: str = _option("adam", "how parameters are updated", choices=("adam", "sgd"))
    momentum: float = _option(0.0, "of sgd", least=0.0)
    clip_norm: float | None = _option(1.0, "largest norm of the gradient; none for no limit", least=0.0)
    clip_value: float | None = _option(None, "largest element of the gradient", least=0.0)
    truncate: int | None = _option(
        None, "carry the state along the series, and cut the gradient every so many steps", least=1
    )
    seed: int = _option(0, "of the weights and of the order of the windows", least=0)
    dtype: str = _option("float64", "of all numbers", choices=("float64", "float32"))

    def __post_init__(self) -> None:
        for name, (kind, optional) in _kinds().items():
            value = getattr(self, name)
            if value is None and optional:
                continue
            if kind is float and type(value) is int:
                object.__setattr__(self, name, float(value))
            elif type(value) is not kind:
                raise TypeError(f"{name}={value!r}: {'a whole number' if kind is int else kind.__name__} is needed")
        for setting in fields(self):
            value, choices, least = getattr(self, setting.name), setting.metadata["choices"], setting.metadata["least"]
            if value is not None and choices and value not in choices:
                raise ValueError(f"{setting.name}={value!r}: not one of {', '.join(choices)}")
            if value is not None and least is not None and not least <= value < float("inf"):
                raise ValueError(f"{setting.name}={value!r}: at least {least:g} is needed, and finite")
        if self.nonlinearity is not None and self.cell != "rnn":
            raise ValueError(
                f"nonlinearity={self.nonlinearity!r} is of the plain cell, rnn; cell={self.cell!r} has its own"
            )
        if self.momentum and self.optimizer != "sgd":
            raise ValueError(f"momentum={self.momentum:g} is of optimizer='sgd', not of {self.optimizer!r}")
        if self.column is not None and not self.data.endswith(".csv"):
            raise ValueError(f"column={self.column!r} is of a CSV file; data={self.data!r} is none")

    def as_dict(self) -> dict[str, Any]:
        """All settings by name, as config.json holds them."""
        return asdict(self)


def _kinds() -> dict[str, tuple[type, bool]]:
    """The type of every setting, and whether it may be None."""
    named = {"str": str, "int": int, "float": float}
    return {f.name: (named[str(f.type).partition(" ")[0]], str(f.type).endswith("None")) for f in fields(Settings)}
