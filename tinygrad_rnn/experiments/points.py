"""The parameters of each run of a sweep: a grid, points drawn at random, or a TOML file over the settings of `train`:

    [train]                                    # what all runs have in common
    data = "sunspots"
    epochs = 20

    [grid]                                     # every combination of these
    cell = ["rnn", "lstm"]
    lr = [0.001, 0.01, 0.1]

or, instead of `[grid]`, so many points drawn at random:

    [sample]
    points = 20
    seed = 0
    uniform.hidden = [8, 64]                   # from, to
    log_uniform.lr = [0.0001, 0.1]
    choice.cell = ["rnn", "lstm"]

"none" is Python's None, as on the command line: no limit. The best of many runs has been chosen by what was held out:
its error is too good by some measure, and settings that are chosen so need data of their own to be judged by.
"""

import itertools
import math
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from tinygrad_rnn.checks import whole
from tinygrad_rnn.experiments.options import refuse_unknown, value_type
from tinygrad_rnn.experiments.settings import Settings
from tinygrad_rnn.files import read_file

MOST = 100_000  # points
RANGES = ["uniform", "log_uniform", "choice"]


def combinations(grid: Mapping[str, Iterable[Any]] | Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The parameters of each run: all combinations of the values of a grid, the last name's values changing fastest.

    Raises:
        TypeError: a name has one value instead of a list of them. ValueError: the grid is empty.
    """
    if isinstance(grid, Mapping):
        for name, values in grid.items():
            if isinstance(values, str) or not isinstance(values, Iterable):
                raise TypeError(f"the grid's {name} = {values!r}: a list of values is needed")
        columns = {name: list(values) for name, values in grid.items()}
        empty = [name for name, values in columns.items() if not values]
        if empty:
            raise ValueError(f"the grid's {empty[0]} has no values")
        if (count := math.prod(map(len, columns.values()))) > MOST:
            raise ValueError(f"the grid has {count:,} points: {MOST:,} are the most that a sweep can have")
        points = [dict(zip(columns, values, strict=True)) for values in itertools.product(*columns.values())]
    else:
        points = [dict(point) for point in grid]
    if not any(points):
        raise ValueError("the grid is empty: there is nothing to run")
    return [{k: v.item() if isinstance(v, np.generic) else v for k, v in point.items()} for point in points]


def sample(
    points: int,
    *,
    uniform: Mapping[str, Sequence[float]] | None = None,
    log_uniform: Mapping[str, Sequence[float]] | None = None,
    choice: Mapping[str, Sequence[Any]] | None = None,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Draw the parameters of so many runs at random; returns one dict for each, to be given to `sweep`.

    Args:
        uniform: the lowest and the highest value by name; whole numbers, both included, if both are whole.
        log_uniform: likewise, with equal chances for equal ratios. choice: the values by name, with equal chances.

    Raises:
        ValueError: a range that is none, a name that is there twice, or no name at all; points or seed out of range.
        TypeError: they are no whole numbers.
    """
    seed, points = whole("", "seed", seed, 0), whole("", "points", points, 1, MOST)
    ranges = {"uniform": uniform or {}, "log_uniform": log_uniform or {}, "choice": choice or {}}
    names = [name for group in ranges.values() for name in group]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"sample: each name in one of {', '.join(ranges)}, and one at least; not {names}")
    drawn = {name: _range(kind, name, values) for kind, group in ranges.items() for name, values in group.items()}
    rng = np.random.default_rng(seed)
    return [{name: value(rng.random()) for name, value in drawn.items()} for _ in range(points)]


def _range(kind: str, name: str, values: Any) -> Callable[[float], Any]:
    """A function that gives the value of a range that u, uniform in [0, 1), stands for."""
    if isinstance(values, str) or not isinstance(values, Sequence) or not values:
        raise ValueError(f"sample: {kind} {name} = {values!r}: a list is needed")
    if kind == "choice":
        return lambda u: values[int(u * len(values))]
    numbers = len(values) == 2 and all(type(x) in (int, float) and math.isfinite(x) for x in values)
    logarithmic = kind == "log_uniform"
    if not (numbers and values[0] < values[1] and (values[0] > 0 or not logarithmic)):
        wanted = f"a lower number{' above zero' if logarithmic else ''}, then a higher one,"
        raise ValueError(f"sample: {kind} {name} = {values!r}: {wanted} are needed")
    low, high = values
    integers = type(low) is int and type(high) is int
    end = high + 1 if integers else high

    def value(u: float) -> float:
        x = low * (end / low) ** u if logarithmic else low + u * (end - low)
        return min(math.floor(x) if integers else x, high)

    return value


def read_points(path: str | os.PathLike) -> list[dict[str, Any]]:
    """The settings of each run that a file asks for, all of them valid.

    Raises:
        OSError: the file cannot be read. ValueError: it is not TOML, has an unknown key, or asks for settings that are
        out of range; names the file. ImportError: on Python 3.10, tomli is not installed.
    """
    try:
        return _points(_toml(read_file(path)))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from error


def _toml(content: bytes) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        try:
            import tomli as tomllib
        except ImportError as error:
            raise ImportError('Python 3.10 reads TOML with tomli: pip install "tinygrad-rnn[sweep]"') from error
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line} is not UTF-8") from error


def _points(content: dict[str, Any]) -> list[dict[str, Any]]:
    refuse_unknown("table", content, ["train", "grid", "sample"])
    common, grid, ranges = (_table(content, name) for name in ("train", "grid", "sample"))
    if ("grid" in content) == ("sample" in content):
        raise ValueError("what is varied is told by one table, [grid] or [sample]")
    if "grid" in content:
        points = combinations(grid)
    else:
        refuse_unknown("key of [sample]", ranges, ["points", "seed", *RANGES])
        if "points" not in ranges:
            raise ValueError("[sample] needs points, the number of runs")
        numbers = {setting.name for setting in fields(Settings) if value_type(setting)[0] is float}
        ranges |= {kind: _table(ranges, kind) for kind in RANGES}
        for name, values in [*ranges["uniform"].items(), *ranges["log_uniform"].items()]:
            if name in numbers and isinstance(values, list):
                values[:] = [float(x) if type(x) is int else x for x in values]  # from 0 to 1 is not 0 or 1
        points = sample(**ranges)
    twice = [name for name in common if name in points[0]]
    if twice:
        raise ValueError(f"{twice[0]} is in [train], and is varied too: leave out one")
    points = [{k: None if v == "none" else v for k, v in {**common, **point}.items()} for point in points]
    whole = [Settings.of(point).as_dict() for point in points]  # with a lr of 1 as 1.0
    return [{name: settings[name] for name in point} for point, settings in zip(points, whole, strict=True)]


def _table(content: dict[str, Any], name: str) -> dict[str, Any]:
    table = content.get(name, {})
    if not isinstance(table, dict):
        raise ValueError(f"{name} = {table!r}: a table, [{name}], is needed")
    return table
