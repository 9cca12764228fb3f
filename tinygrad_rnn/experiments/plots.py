"""All plots, in one style: the one place where matplotlib is imported. Each has its numbers in a CSV file beside it.

`pip install matplotlib` brings matplotlib.
"""

import csv
import io
import os
import warnings
from collections.abc import Collection, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_rnn.algebra.typesetting import PLAIN
from tinygrad_rnn.draw.style import NODES
from tinygrad_rnn.files import write_file

# The lines of the diagrams' nodes: states, outputs, parameters; then others that are told apart by the colour-blind too
COLOURS = [NODES[kind].line for kind in ("state", "output", "parameter")]
COLOURS += ["#3f7d4e", "#7a4fa3", "#c2528b", "#5a6575"]
MARK = "tinygrad_rnn"  # of an SVG file, as who has made it
_DASHED = "#8a8a8a"  # bounds and baselines
_STYLE: dict[Any, Any] = {
    "axes.spines.right": False, "axes.spines.top": False, "axes.grid": True, "axes.xmargin": 0.02,
    "grid.color": "#e3e7ee", "axes.edgecolor": "#8a8a8a", "axes.axisbelow": True, "font.size": 10.0,
    "axes.formatter.useoffset": False, "axes.formatter.limits": (-5, 9),
    "axes.prop_cycle": f"cycler(linestyle=['-', '-.']) * cycler(color={COLOURS})",  # the colours, then once more
    "svg.fonttype": "none", "svg.hashsalt": MARK, "figure.constrained_layout.use": True,
}  # fmt: skip


def figure(width: float = 6.4, height: float = 4.0) -> tuple[Any, Any]:
    """A matplotlib figure in inches, in the style of all plots, that belongs to no window; and its axes."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        drawing = Figure(figsize=(width, height))
        return drawing, drawing.subplots()


def available() -> bool:
    """True if matplotlib is installed; a warning says how to where it is not."""
    if not (found := find_spec("matplotlib") is not None):
        warnings.warn("plots need matplotlib: pip install matplotlib; the CSV files have their numbers", stacklevel=2)
    return found


def plain(name: str) -> str:
    """A name for a figure, of a file or a column: what is no text in it as ?, and no formula between dollars."""
    return name.encode(errors="replace").decode().replace("$", r"\$")


def save(drawing: Any, path: str | os.PathLike) -> Path:
    """Write a figure, in the format of the suffix, whole or not at all; the same figure gives the same bytes."""
    import matplotlib

    path, content = Path(path), io.BytesIO()
    metadata = {"svg": {"Date": None, "Creator": MARK}, "pdf": {"CreationDate": None}}.get(path.suffix[1:], {})
    with matplotlib.rc_context(_STYLE):
        drawing.savefig(content, format=path.suffix[1:] or "svg", metadata=metadata)
    return write_file(path, content.getvalue())


def curves(
    path: str | os.PathLike, title: str, x: tuple[str, Any], y_label: str, lines: Mapping[str, Any], log: bool = False,
    dashed: Collection[str] = (), ticks: Sequence[str] | None = None, dotted: Collection[str] = (),
    level: float | None = None, numbers: bool = True,
) -> Path:  # fmt: skip
    """Curves over one axis, each with its label beside it; the numbers go into a CSV file of the same name.

    Args:
        x: what the axis shows, with its unit, and its values. y_label: likewise. lines: label and values of each curve.
        log: a logarithmic axis, where the claim is exponential. dashed: labels of curves that are bounds or baselines.
        ticks: what stands below the axis at each of its values, in place of numbers.
        dotted: labels of curves that have the colour of the one before them. level: the height of a line across.
        numbers: whether there is the CSV file.

    Warns:
        matplotlib is not installed; the CSV file has been written.
    """
    path, (x_label, xs) = Path(path), x
    if numbers:
        table(path.with_suffix(".csv"), [x_label, *lines], zip(xs, *lines.values(), strict=True))
    if not available():
        return path
    height = max(4.0, 1.0 + 0.19 * len(lines))  # inches, so that all names have room
    _, axes = figure(height=height) if ticks is None else figure(12.0, 3.0)
    for label, values in lines.items():
        ys = np.asarray(values, float)
        if log:  # beyond, the ticks of the axis would overflow
            ys = np.where((ys > 1e-150) & (ys < 1e150), ys, np.nan)
        style = {"linestyle": "--", "color": _DASHED} if label in dashed else {"marker": "o" if len(xs) <= 10 else ""}
        if label in dotted:
            style = {"linestyle": ":", "color": axes.get_lines()[-1].get_color()}
        name = plain(label) if len(lines) > 1 else None
        axes.plot(xs, ys, markersize=4.0, label=name, **style)
    if log:
        axes.set_yscale("log")
    if ticks is not None:
        axes.set_xticks(xs, ticks, family="monospace")
        axes.grid(False, axis="x")
    elif all(float(x).is_integer() for x in xs):
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    if level is not None:
        axes.axhline(level, color=_DASHED, linewidth=0.8)
    return _finished(path, axes, title, x_label, y_label)


def dots(path: str | os.PathLike, points: Sequence[Mapping[str, Any]], values: Sequence[float], measure: str) -> Path:
    """A dot for each value, over the first parameter of its point that was varied, one of numbers if there is one.

    The next parameter of few values is its colour. A line goes through the medians where dots share their place on an
    axis of numbers, or where nothing else was varied. Crosses at the top are values that are not finite.
    """
    names = dict.fromkeys(name for point in points for name in point)
    words = {name: np.array([plain(str(point.get(name))) for point in points]) for name in names}
    varied = [name for name in words if len({*words[name]}) > 1] or list(words)
    numeric = [name for name in varied if all(type(point.get(name)) in (int, float) for point in points)]
    axis = (numeric or varied)[0]
    others = [name for name in varied if name != axis]
    colour = next((name for name in others if len({*words[name]}) <= len(COLOURS)), None)
    families = words[colour] if colour else np.zeros(len(points))
    xs = np.array([point[axis] for point in points]) if numeric else words[axis]
    ys = np.where(np.isfinite(values), values, np.nan)
    lost, (_, axes) = np.isnan(ys), figure()
    shared = 2 * len({*zip(xs, families, strict=True)}) <= len(points) or others == [colour] * len(others)
    for family, shade in zip(dict.fromkeys(families), COLOURS, strict=False):
        mine, label = families == family, f"{colour} = {family[-24:]}" if colour else None  # where paths differ
        axes.plot(xs[mine], ys[mine], "o", color=shade, markersize=4.0, label=label)
        if numeric and shared:
            at = np.unique(xs[mine])
            axes.plot(at, [np.median(ys[mine & (xs == x)]) for x in at], color=shade)
    if lost.any():
        above, label = axes.get_xaxis_transform(), "failed, or not finite"  # y in heights of the axes
        axes.plot(xs[lost], np.full(lost.sum(), 0.97), "x", color=COLOURS[-1], transform=above, label=label)
    if numeric and _spans_magnitudes(xs):
        axes.set_xscale("log")
    if _spans_magnitudes(ys[~lost]):
        axes.set_yscale("log")
    return _finished(path, axes, f"{measure} against {axis}; runs: {len(points)}", axis, measure)


def _spans_magnitudes(values: np.ndarray) -> bool:
    """True if a logarithmic axis shows more, since half of the values are in the lowest quarter."""
    return bool(values.size and values.min() > 0 and np.median(values) <= values.max() / 4)


def _finished(path: str | os.PathLike, axes: Any, title: str, x_label: str, y_label: str) -> Path:
    """Write a figure with its title, and beside it the names of its lines, from the top down as their ends are."""
    axes.set(xlabel=plain(x_label), ylabel=plain(y_label))
    axes.set_title(plain(title), loc="left")
    for axis in [x for x in (axes.xaxis, axes.yaxis) if x.get_scale() == "log"]:
        # matplotlib's labels are formulas, which take longer to set than all the rest. Where hardly a power of ten is
        # on the axis, the numbers between them have labels.
        axis.set_major_formatter(lambda x, _: PLAIN.power_of_ten(round(np.log10(x))))
        axis.set_minor_formatter("{x:g}" if np.divide(*axis.get_view_interval()) > 0.1 else "")
    lines, _ = axes.get_legend_handles_labels()
    if lines:
        lines.sort(key=lambda line: np.nan_to_num(line.get_ydata()[-1]), reverse=True)
        beside = {"loc": "outside right center", "labelcolor": "linecolor", "fontsize": 9.0, "frameon": False}
        axes.figure.legend(handles=lines, **beside)
    return save(axes.figure, path)


def table(path: str | os.PathLike, header: Sequence[str], rows: Any) -> Path:
    """Write a CSV file: a header line, then rows of numbers, in full precision, and words."""
    text = io.StringIO()
    rows = [[repr(float(x)) if isinstance(x, (float, np.floating)) else x for x in row] for row in [header, *rows]]
    csv.writer(text, lineterminator="\n").writerows(rows)
    return write_file(path, text.getvalue().encode())
