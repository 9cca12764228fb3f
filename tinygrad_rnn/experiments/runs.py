"""The runs of a sweep: the parameters of each, from a grid or drawn at random, and its result."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_rnn.checks import whole

MOST = 100_000  # points


@dataclass(frozen=True)
class Run:
    """One run of a sweep.

    Attributes:
        parameters: what the function was called with. result: what it returned, as JSON holds it; None if it failed.
        error: what it raised, in one line, or None. seconds: how long it took; None if its process died.
    """

    parameters: dict[str, Any]
    result: Any = None
    error: str | None = None
    seconds: float | None = None

    def numbers(self) -> dict[str, float]:
        """The numbers of the result by name: of a dict or dataclass its numeric fields, of a number itself."""
        named = self.result if isinstance(self.result, dict) else {"result": self.result}
        numbers = {name: value for name, value in named.items() if isinstance(value, (int, float))}
        return {name: x for name, x in numbers.items() if isinstance(x, float) or abs(x) < 2**1023}  # fits in a float


def measures(runs: Iterable[Run]) -> list[str]:
    """The names of the numbers that there are in the results of runs."""
    return list(dict.fromkeys(name for run in runs for name in run.numbers()))


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
    for kind, group in ranges.items():
        for name, values in group.items():
            _check_range(kind, name, values)
    rng = np.random.default_rng(seed)
    return [
        {name: _drawn(kind, values, rng.random()) for kind, group in ranges.items() for name, values in group.items()}
        for _ in range(points)
    ]


def _check_range(kind: str, name: str, values: Any) -> None:
    if isinstance(values, str) or not isinstance(values, Sequence) or not values:
        raise ValueError(f"sample: {kind} {name} = {values!r}: a list is needed")
    numbers = len(values) == 2 and all(type(x) in (int, float) and math.isfinite(x) for x in values)
    logarithmic = kind == "log_uniform"
    if kind != "choice" and not (numbers and values[0] < values[1] and (values[0] > 0 or not logarithmic)):
        wanted = f"a lower number{' above zero' if logarithmic else ''}, then a higher one,"
        raise ValueError(f"sample: {kind} {name} = {values!r}: {wanted} are needed")


def _drawn(kind: str, values: Sequence[Any], u: float) -> Any:
    """The value of a range that u, uniform in [0, 1), stands for."""
    if kind == "choice":
        return values[int(u * len(values))]
    low, high = values
    integers = type(low) is int and type(high) is int
    end = high + 1 if integers else high
    x = low * (end / low) ** u if kind == "log_uniform" else low + u * (end - low)
    return min(math.floor(x) if integers else x, high)
