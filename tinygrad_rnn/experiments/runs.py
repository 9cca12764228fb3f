"""The runs of a sweep: what each was called with and what it gave, as a table and as a figure."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinygrad_rnn.experiments import plots

MARK = plots.COLOURS[-1]


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


def write_table(runs: list[Run], path: Path) -> None:
    """Write a CSV file with a line for each run: parameters, the numbers of the result, error and seconds."""
    parameters = list(dict.fromkeys(name for run in runs for name in run.parameters))
    numbers = measures(runs)
    taken = {*parameters, "error", "seconds"}
    header = [*parameters, *(f"result {name}" if name in taken else name for name in numbers), "error", "seconds"]

    def row(run: Run) -> list[Any]:
        given, found = dict.fromkeys(parameters, "") | run.parameters, dict.fromkeys(numbers, "") | run.numbers()
        return [*given.values(), *found.values(), run.error, run.seconds]

    plots.table(path, header, map(row, runs))


def draw_runs(runs: Sequence[Run], measure: str | None, path: Path) -> Path | None:
    """Draw a number of the results against the first parameter that was varied, one of numbers if there is one.

    Every run is a dot, and the next parameter of few values is its colour. Where runs share their place on the axis,
    a line is drawn through the medians, or a dash at them if the axis has words. Crosses at the top are runs that
    failed, or whose number is not finite.

    Args:
        measure: the name of the number; None is the first that there is.

    Returns:
        The path, or None if no run has a number, or matplotlib is not installed.

    Warns:
        matplotlib is not installed.
    """
    known = measures(runs)
    if not known or not plots.available():
        return None
    measure = measure or known[0]
    axis, colour, hidden = _shown(runs)
    words = [] if _has_numbers(runs, axis) else _words(runs, axis)
    xs = [words.index(_word(run, axis)) if words else run.parameters[axis] for run in runs]
    ys = [run.numbers().get(measure, math.nan) for run in runs]
    drawing, axes = plots.figure()
    top = axes.get_xaxis_transform()  # x in the unit of the data, y in heights of the axes
    for k, (shade, word) in enumerate(zip(plots.COLOURS, _words(runs, colour), strict=False)):
        mine = [(x, y) for run, x, y in zip(runs, xs, ys, strict=True) if _word(run, colour) == word]
        finite = [(x, y) for x, y in mine if math.isfinite(y)]
        at = {x: statistics.median(y for other, y in finite if other == x) for x in sorted({x for x, _ in finite})}
        label = f"{colour} = {_short(word)}" if colour else None
        axes.plot([x for x, _ in finite], [y for _, y in finite], "o", color=shade, markersize=4, label=label)
        repeated = 2 * len({x for x, _ in mine}) <= len(mine)
        if words and repeated:
            axes.plot(list(at), list(at.values()), "_", color=shade, markersize=18, markeredgewidth=1.6)
        elif not words and (repeated or not hidden):
            axes.plot(list(at), list(at.values()), "-", color=shade, linewidth=1.6)
        failed = [x for x, y in mine if not math.isfinite(y)]
        axes.plot(failed, [0.97 - 0.04 * k] * len(failed), "x", color=shade, transform=top)
    finite = [y for y in ys if math.isfinite(y)]
    if len(finite) < len(ys):
        axes.plot([], [], "x", color=MARK, label="failed, or not finite")
    if words:
        turned = {"rotation": 30.0, "ha": "right"} if sum(map(len, words)) > 60 else {}
        axes.set_xticks(range(len(words)), [_short(word) for word in words], **turned)
        axes.set_xlim(-0.5, len(words) - 0.5)
    elif _spans_magnitudes(xs):
        axes.set_xscale("log")
    if _spans_magnitudes(finite):
        axes.set_yscale("log")
    axes.set_title(f"{measure} against {axis}; runs: {len(runs)}", loc="left")
    units = {str(run.result["unit"]) for run in runs if isinstance(run.result, dict) and "unit" in run.result}
    axes.set(xlabel=axis, ylabel=", ".join([measure, *(units if len(units) == 1 and measure == known[0] else ())]))
    if colour or len(finite) < len(ys):
        plots.add_names(axes)
    return plots.save(drawing, path)


def _shown(runs: Sequence[Run]) -> tuple[str, str | None, bool]:
    """The parameter of the axis, that of the colours, if any, and whether others are varied too."""
    names = list(dict.fromkeys(name for run in runs for name in run.parameters))
    varied = [name for name in names if len(_words(runs, name)) > 1] or names[:1]
    x = next((name for name in varied if _has_numbers(runs, name)), varied[0])
    others = [name for name in varied if name != x]
    colour = next((name for name in others if len(_words(runs, name)) <= len(plots.COLOURS)), None)
    return x, colour, len(others) > (colour is not None)


def _has_numbers(runs: Sequence[Run], name: str) -> bool:
    values = [run.parameters.get(name) for run in runs]
    return all(type(x) in (int, float) and abs(x) < 1e300 for x in values)


def _words(runs: Sequence[Run], name: str | None) -> list[str]:
    """The different values of a parameter, as they are written, in the order of the runs."""
    return list(dict.fromkeys(_word(run, name) for run in runs))


def _word(run: Run, name: str | None) -> str:
    value: Any = run.parameters.get(name)
    return "none" if value is None else f"{value:.12g}" if isinstance(value, float) else str(value)


def _short(word: str) -> str:
    """The end of a long word, where paths differ."""
    return plots.plain(word if len(word) <= 24 else f"…{word[-23:]}")


def _spans_magnitudes(values: Sequence[float]) -> bool:
    """True if a logarithmic axis shows more, since half of the values are in the lowest quarter."""
    return bool(values) and min(values) > 0 and statistics.median(values) <= max(values) / 4
