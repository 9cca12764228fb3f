"""Settings, each declared once: a field of a dataclass is an option of a command, with its default and its help, and a
check, whoever calls; one of `Settings` is a line of config.json and a key of a sweep too.
"""

import argparse
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import Field, dataclass, field, fields, replace
from itertools import product
from pathlib import Path
from typing import Any, get_args

from tinygrad_rnn.checks import number, one_of, positive, text, whole
from tinygrad_rnn.nn.cells import NONLINEARITIES
from tinygrad_rnn.nn.recurrent import KINDS


def option(default: Any, meaning: str, **known: Any) -> Any:
    """A field of a dataclass with its meaning, as `--help` shows it, and what is known of its values.

    Args:
        known: choices, the words that it is one of; least and most (10⁹), the bounds of a number that is not just
            positive; of, the name and the value of another field, which alone makes this one have an effect, and what
            the data are then; alias, other names of the option.
    """
    return field(default=default, metadata={"help": meaning, **known})


def f_of_rnn() -> Any:
    """The field of f, which is that of the plain cell alone."""
    return option(None, "f of rnn (default: tanh)", choices=tuple(NONLINEARITIES), of=("cell", "rnn"))


def check_fields(settings: Any) -> None:
    """Check every field of an object of such a dataclass, and make its numbers plain ones.

    Raises:
        TypeError: a value of another type. ValueError: one that is out of range, or that has no effect.
    """
    for setting in fields(settings):
        name, value = setting.name, _checked(setting, getattr(settings, setting.name))
        object.__setattr__(settings, name, value)
        other, wanted, *kind = setting.metadata.get("of", (name, value))
        if value != setting.default and getattr(settings, other) != wanted:
            told = f"{other}={wanted!r}, not of {getattr(settings, other)!r}"
            raise ValueError(f"{name}={value!r} is of {f'{kind[0]}; {settings.data} is none' if kind else told}")


def _checked(setting: Field, value: Any) -> Any:
    """The value, if it is of the field's type and in its range."""
    name, known, (kind, optional) = setting.name, setting.metadata, value_type(setting)
    least, most = known.get("least"), known.get("most", 10**9)
    if value is None and optional:
        return None
    if "choices" in known:
        return one_of("", name, value, known["choices"])
    if kind is int:
        return whole("", name, value, least, most)
    if kind is str or least is None:
        return (text if kind is str else positive)("", name, value)
    return number("", name, value, f"a number from {least:g} to {most:g}", least, most)


def value_type(setting: Field) -> tuple[type, bool]:
    """The type of a field, and whether it may be None."""
    kinds = get_args(setting.type) or (setting.type,)
    return kinds[0], type(None) in kinds


def add_options(parser: argparse._ActionsContainer, settings: Iterable[Field], default: str = "", **known: Any) -> None:
    """Add an option for each of some fields of such a dataclass; nargs="+" takes several values of each.

    Args:
        default: the words for what holds if an option is not given, where that is not the field's default.
    """
    for setting in settings:
        meaning, told, (kind, optional) = setting.metadata["help"], default or setting.default, value_type(setting)
        if told is not None:
            meaning += f" (default: {told:g})" if isinstance(told, float) else f" (default: {told})"
        parser.add_argument(
            *(f"--{name}" for name in [setting.name.replace("_", "-"), *setting.metadata.get("alias", ())]), **known,
            type=_or_none(kind) if optional else kind, default=argparse.SUPPRESS, help=meaning.replace("%", "%%"),
            metavar="|".join(setting.metadata.get("choices", ())) or setting.name.rpartition("_")[2].upper(),
        )  # fmt: skip


def given(options: argparse.Namespace, kind: type) -> dict[str, Any]:
    """The values of those options of `add_options` that were given."""
    return {s.name: getattr(options, s.name) for s in fields(kind) if hasattr(options, s.name)}


def combined(kind: Any, **choices: Sequence) -> list[Any]:
    """An object of such a dataclass for every combination of some values; a cell leaves out what only another has.

    Raises:
        ValueError, TypeError: as for the class; or values that no cell among them has a use for.
    """
    grid = {"cell": ["rnn"], **choices}
    points = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    for setting in fields(kind):
        _, cell = setting.metadata.get("of", ("cell", None))
        for point in points if cell in grid["cell"] else ():
            if point["cell"] != cell:
                point.pop(setting.name, None)
    return [kind(**point) for point in points]


def _or_none(kind: type) -> Callable[[str], Any]:
    """A function that reads an option's value; argparse tells its name."""

    def read(text: str) -> Any:
        return None if text == "none" else kind(text)

    read.__name__ = f"{kind.__name__} or none"
    return read


def _by_data(series: float, text: float, meaning: str, **known: Any) -> Any:
    """A setting with a default for a series and another for a text."""
    return option(None, f"{meaning} (default: {series:g}; {text:g} for a text)", by_data=(series, text), **known)


_TABLE = ("is_table", True, "a CSV file")


@dataclass(frozen=True)
class Settings:
    """The settings of a run; each is an option of `tinygrad-rnn train`, with hyphens for underscores.

    The defaults for a series were chosen by cross-validation on the sunspots up to 1946, before what is held out.

    Raises:
        TypeError: a value of another type. ValueError: one that is out of range, or two that contradict each other.

    >>> tg.experiments.Settings(cell="gru", epochs=5).lr
    0.01
    """

    data: str = option("sunspots", "sunspots, sine, topics (Python's help), a table in a file, or a text (.txt)")
    column: str | None = option(None, "the column to forecast, by its name or number", alias=("target",), of=_TABLE)
    inputs: str | None = option(None, "the columns to forecast it from, as a,b (default: itself)", of=_TABLE)
    lengths: str | None = option(None, "a column of ids: the rows of one id are a sequence of their own", of=_TABLE)
    missing: str = option("error", "of an entry that is empty, or NA", choices=("error", "drop", "forward"), of=_TABLE)
    decimal: str | None = option(None, "the decimal mark, if the entries leave it open", choices=(".", ","), of=_TABLE)
    encoding: str = option("utf-8", "of the file, as latin-1 or utf-16", of=("is_file", True, "a file"))
    horizon: int = option(1, "steps to forecast at once", least=1, most=10**4, of=("is_text", False, "a series"))
    cell: str = option("lstm", "the kind of cell", choices=tuple(KINDS))
    nonlinearity: str | None = f_of_rnn()
    layers: int = option(1, "cells on each other", least=1, most=10**4)
    hidden: int = _by_data(16, 128, "the length of the hidden state", least=1, most=10**6)
    window: int = _by_data(22, 32, "steps that a forecast is made from, or characters of a piece of text", least=1)
    batch: int = _by_data(32, 32, "windows of an update; with --truncate parts of the data, of a series 1", least=1)
    epochs: int = _by_data(100, 6, "times through the data", least=1)
    validation: float | None = option(None, "share that tells the best epoch (--patience: 0.2)", least=0.01, most=0.5)
    patience: int | None = option(None, "stop after so many epochs that validation found no better", least=1)
    lr: float = _by_data(0.01, 0.005, "learning rate")
    schedule: str | None = option(None, "of lr: down to 0; a tenth after each third", choices=("cosine", "step"))
    dropout: float = option(0.0, "the chance of each element of a state to be 0 for the readout", least=0.0, most=0.9)
    weight_decay: float = _by_data(0.002, 0.0, "λ: ½ λ Σ p² over all parameters is added to the loss", least=0.0)
    optimizer: str = option("adam", "how parameters are updated", choices=("adam", "adamw", "rmsprop", "sgd"))
    momentum: float = option(0.0, "of sgd", least=0.0, of=("optimizer", "sgd"))
    clip_norm: float | None = option(1.0, "largest norm of the gradient; none for no limit")
    clip_value: float | None = option(None, "largest element of the gradient, after --clip-norm")
    truncate: int | None = option(None, "carry the state, and cut the gradient every so many steps", least=1)
    seed: int = option(0, "of the weights and of the order of the windows", least=0, most=1e300)
    dtype: str = option("float64", "of all numbers", choices=("float64", "float32"))

    def __post_init__(self) -> None:
        defaults = {s.name: s.metadata["by_data"][self.is_text] for s in fields(self) if "by_data" in s.metadata}
        if self.truncate is not None:
            defaults |= {"window": self.truncate} | ({} if self.is_text else {"batch": 1})
        if self.patience is not None:
            defaults["validation"] = 0.2
        for name, default in defaults.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, default)
        check_fields(self)
        if self.inputs is not None and not (self.column and all(self.sources)):
            raise ValueError(f"inputs={self.inputs!r}: names as a,b are needed, and column, what is forecast from them")
        if self.truncate is not None and (self.truncate != self.window or self.lengths is not None):
            other = f"window={self.window}" if self.lengths is None else f"lengths={self.lengths!r}"
            raise ValueError(f"truncate={self.truncate} carries the state from piece to piece, all as long: no {other}")

    @property
    def sources(self) -> list[str | None]:
        """The columns of a table that a forecast is made from; None for the only one."""
        return [self.column] if self.inputs is None else [name.strip() for name in self.inputs.split(",")]

    @property
    def columns(self) -> list[str | None]:
        """The sources, and then the column that is forecast."""
        return [*self.sources, self.column]

    @property
    def is_text(self) -> bool:
        """True if the data are characters, not a series."""
        return self.data == "topics" or (self.is_file and not self.is_table)

    @property
    def is_table(self) -> bool:
        """True if the data are columns of a table; a .txt is one if a column of it is told."""
        told = not str(self.data).lower().endswith(".txt") or {self.column, self.inputs, self.lengths} != {None}
        return self.data == "table" or (self.is_file and told)

    @property
    def is_file(self) -> bool:
        """True if the data are in a file."""
        return str(self.data).lower().endswith((".csv", ".tsv", ".txt"))

    @classmethod
    def of(cls, given: dict[str, Any]) -> "Settings":
        """The settings of these names and values, as a file or a sweep has them.

        Raises:
            TypeError, ValueError: as for `Settings`; or there is no setting of a name.
        """
        for name in given:
            one_of("", "setting", name, [setting.name for setting in fields(cls)])
        return cls(**given)

    def seen_from(self, folder: Path) -> "Settings":
        """The settings with the path of a data file, relative to a folder, made absolute: it is found from anywhere."""
        return replace(self, data=os.path.abspath(folder / self.data)) if self.is_file else self
