"""The settings of a run of `train`: the one place for the command line's options, config.json, and a sweep's keys."""

import os
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from tinygrad_rnn.experiments.options import check, option, refuse_unknown
from tinygrad_rnn.nn.cells import NONLINEARITIES
from tinygrad_rnn.nn.recurrent import KINDS


def _by_data(series: float, text: float, meaning: str, **known: Any) -> Any:
    """A setting with a default for a series and another for a text."""
    return option(None, f"{meaning} (default: {series:g}; {text:g} for a text)", by_data=(series, text), **known)


@dataclass(frozen=True)
class Settings:
    """The settings of a run; each is an option of `tinygrad-rnn train`, with hyphens for underscores.

    The defaults for a series were chosen by cross-validation on the sunspots up to 1946, before what is held out.

    Raises:
        TypeError: a value of another type. ValueError: one that is out of range, or two that contradict each other.
    """

    data: str = option(
        "sunspots", "sunspots, sine, topics (Python's help), a CSV file (.csv), or a text (.txt), learnt by character"
    )
    column: str | None = option(None, "the column of the CSV file")
    cell: str = option("lstm", "the kind of cell", choices=tuple(KINDS))
    nonlinearity: str | None = option(
        None, "f of the plain cell (default: tanh)", choices=tuple(NONLINEARITIES), of=("cell", "rnn")
    )
    layers: int = option(1, "cells on each other", least=1, most=10**4)
    hidden: int = _by_data(16, 128, "the length of the hidden state", least=1, most=10**6)
    window: int = _by_data(22, 32, "steps that a forecast is made from, or characters of a piece of text", least=1)
    batch: int = _by_data(
        32, 32, "windows of an update; with truncate, parts of the data gone through side by side, of a series 1 by "
        "default", least=1,
    )  # fmt: skip
    epochs: int = _by_data(100, 6, "times through the data", least=1)
    lr: float = _by_data(0.01, 0.005, "learning rate")
    weight_decay: float = _by_data(0.002, 0.0, "λ: ½ λ Σ p² over all parameters is added to the loss", least=0.0)
    optimizer: str = option("adam", "how parameters are updated", choices=("adam", "sgd"))
    momentum: float = option(0.0, "of sgd", least=0.0, of=("optimizer", "sgd"))
    clip_norm: float | None = option(1.0, "largest norm of the gradient; none for no limit")
    clip_value: float | None = option(None, "largest element of the gradient, after clip_norm")
    truncate: int | None = option(
        None, "carry the state along, and cut the gradient every so many steps, which the window is then", least=1
    )
    seed: int = option(0, "of the weights and of the order of the windows", least=0, most=1e300)
    dtype: str = option("float64", "of all numbers", choices=("float64", "float32"))

    def __post_init__(self) -> None:
        defaults = {s.name: s.metadata["by_data"][self.is_text] for s in fields(self) if "by_data" in s.metadata}
        if self.truncate is not None:
            defaults |= {"window": self.truncate} | ({} if self.is_text else {"batch": 1})
        for name, default in defaults.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, default)
        check(self)
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

    @classmethod
    def of(cls, given: dict[str, Any]) -> "Settings":
        """The settings of these names and values, as a file or a sweep has them.

        Raises:
            TypeError, ValueError: as for `Settings`; or there is no setting of a name.
        """
        refuse_unknown("setting", given, [setting.name for setting in fields(cls)])
        return cls(**given)

    def seen_from(self, folder: Path) -> "Settings":
        """The settings with the path of a data file, relative to a folder, made absolute: it is found from anywhere."""
        return replace(self, data=os.path.abspath(folder / self.data)) if self.is_file else self

    def as_dict(self) -> dict[str, Any]:
        """All settings by name, as config.json holds them."""
        return asdict(self)
