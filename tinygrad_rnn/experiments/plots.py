"""All plots, in one style: the one place where matplotlib is imported. Each has its numbers in a CSV file beside it.

matplotlib comes with `pip install "tinygrad-rnn[plot]"`.
"""

import csv
import io
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_rnn.draw.style import NODES
from tinygrad_rnn.files import write_file

# The lines of the diagrams' nodes: states, outputs, parameters; then others that are told apart by the colour-blind too
COLOURS = [NODES[kind].line for kind in ("state", "output", "parameter")]
COLOURS += ["#3f7d4e", "#7a4fa3", "#c2528b", "#5a6575"]
MARK = "tinygrad_rnn"  # of an SVG file, as who has made it
_DASHED = "#8a8a8a"  # bounds and baselines
_NAME_HEIGHT = 0.19  # inches
_STYLE = {
    "axes.spines.right": False, "axes.spines.top": False, "axes.titlelocation": "left", "axes.grid": True,
    "grid.color": "#e3e7ee", "axes.edgecolor": "#8a8a8a", "axes.axisbelow": True, "font.size": 10.0,
    "axes.formatter.useoffset": False, "axes.formatter.limits": (-5, 9),
    "svg.fonttype": "none", "svg.hashsalt": MARK, "figure.constrained_layout.use": True,
}  # fmt: skip


def figure(width: float = 6.4, height: float = 4.0) -> tuple[Any, Any]:
    """A matplotlib figure in inches, in the style of all plots, that belongs to no window; and its axes."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**_STYLE, "axes.prop_cycle": matplotlib.cycler(color=COLOURS)}):
        drawing = Figure(figsize=(width, height))
        return drawing, drawing.subplots()


def available() -> bool:
    """True if matplotlib is installed; a warning says how to where it is not."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        text = 'plots need matplotlib: pip install "tinygrad-rnn[plot]"; the CSV files have their numbers'
        warnings.warn(text, stacklevel=2)
        return False
    return True


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
    dashed: Sequence[str] = (), ticks: Sequence[str] | None = None, families: Mapping[str, str] | None = None,
    level: tuple[str, float] | None = None, numbers: bool = True,
) -> Path:  # fmt: skip
    """Curves over one axis, each with its label beside it; the numbers go into a CSV file of the same name.

    Args:
        x: what the axis shows, with its unit, and its values. y_label: likewise. lines: label and values of each curve.
        log: a logarithmic axis, where the claim is exponential. dashed: labels of curves that are bounds or baselines.
        ticks: what stands below the axis at each of its values, in place of numbers.
        families: what each curve belongs to: the curves of a family have one colour, and all but the first are dotted.
        level: label and height of a line across. numbers: whether there is the CSV file.

    Warns:
        matplotlib is not installed; the CSV file has been written.
    """
    path, (x_label, xs) = Path(path), x
    if numbers:
        table(path.with_suffix(".csv"), [x_label, *lines], zip(xs, *lines.values(), strict=True))
    if not available():
        return path
    height = max(4.0, 1.0 + _NAME_HEIGHT * len(lines))
    _, axes = figure(height=height) if ticks is None else figure(12.0, 3.0)
    if log:
        axes.set_yscale("log")
    of_family: dict[str, str] = {}
    for label, values in lines.items():
        ys = np.asarray(values, float)
        if log:  # beyond, the ticks of the axis would overflow
            ys = np.where((ys > 1e-150) & (ys < 1e150), ys, np.nan)
        if label in dashed:
            style = {"linestyle": "--", "color": _DASHED}
        else:
            family = label if families is None else families[label]
            another = "-" if len(of_family) < len(COLOURS) else "-."
            style = {"linestyle": ":" if family in of_family else another, "marker": "o" if len(xs) <= 10 else ""}
            style["color"] = of_family.setdefault(family, COLOURS[len(of_family) % len(COLOURS)])
        name = plain(label) if len(lines) > 1 else None
        axes.plot(xs, ys, linewidth=1.6, markersize=4.0, label=name, **style)
    if ticks is not None:
        axes.set_xticks(xs, ticks, family="monospace")
        axes.grid(False, axis="x")
    elif len(xs) == 1:
        axes.set_xticks(xs)
    elif all(float(x).is_integer() for x in xs):
        axes.xaxis.get_major_locator().set_params(integer=True)
    axes.margins(x=0.02)
    if level is not None:
        name, height = level
        axes.axhline(height, color=_DASHED, linewidth=0.8)
        free = "top" if any(np.min(values) < height for values in lines.values()) else "bottom"
        axes.annotate(name, (xs[0], height), color=_DASHED, fontsize=9.0, va=free)
    return _finished(path, axes, title, x_label, y_label)


def dots(
    path: str | os.PathLike, points: Sequence[Mapping[str, Any]], values: Sequence[float], name: str, unit: str = ""
) -> Path:
    """A dot for each value, over the first parameter of its point that was varied, one of numbers if there is one.

    The next parameter of few values is its colour. A line goes through the medians where dots share their place on an
    axis of numbers, or where nothing else was varied. Crosses at the top are values that are not finite.
    """
    names = list(dict.fromkeys(name for point in points for name in point))
    words = {name: np.array([_word(point.get(name)) for point in points]) for name in names}
    varied = [name for name in names if len({*words[name]}) > 1] or names[:1]
    numeric = [name for name in varied if all(_is_number(point.get(name)) for point in points)]
    axis = (numeric or varied)[0]
    others = [name for name in varied if name != axis]
    colour = next((name for name in others if len({*words[name]}) <= len(COLOURS)), None)
    families = words[colour] if colour else np.zeros(len(points))
    places = list(dict.fromkeys(words[axis]))
    xs = np.array([point[axis] for point in points] if numeric else [places.index(word) for word in words[axis]])
    ys = np.where(np.isfinite(values), values, np.nan)
    lost, (_, axes) = np.isnan(ys), figure()
    shared = 2 * len({*zip(xs, families, strict=True)}) <= len(points) or others == [colour] * len(others)
    for shade, family in zip(COLOURS, dict.fromkeys(families), strict=False):
        mine, label = families == family, f"{colour} = {_short(family)}" if colour else None
        axes.plot(xs[mine], ys[mine], "o", color=shade, markersize=4, label=label)
        if numeric and shared:
            at = np.unique(xs[mine])
            axes.plot(at, [np.median(ys[mine & (xs == x)]) for x in at], color=shade, linewidth=1.6)
    if lost.any():
        above, label = axes.get_xaxis_transform(), "failed, or not finite"  # y in heights of the axes
        axes.plot(xs[lost], np.full(lost.sum(), 0.97), "x", color=COLOURS[-1], transform=above, label=label)
    if not numeric:
        axes.set_xticks(range(len(places)), map(_short, places), rotation=30.0 if sum(map(len, places)) > 60 else 0.0)
        axes.set_xlim(-0.5, len(places) - 0.5)
    elif _spans_magnitudes(xs):
        axes.set_xscale("log")
    if _spans_magnitudes(ys[~lost]):
        axes.set_yscale("log")
    title, y_label = f"{name} against {axis}; runs: {len(points)}", ", ".join(filter(None, [name, unit]))
    return _finished(path, axes, title, axis, y_label)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300


def _word(value: Any) -> str:
    return "none" if value is None else f"{value:.12g}" if isinstance(value, float) else str(value)


def _short(word: str) -> str:
    """The end of a long word, where paths differ."""
    return plain(word if len(word) <= 24 else f"…{word[-23:]}")


def _spans_magnitudes(values: np.ndarray) -> bool:
    """True if a logarithmic axis shows more, since half of the values are in the lowest quarter."""
    return bool(values.size and values.min() > 0 and np.median(values) <= values.max() / 4)


def _finished(path: Path, axes: Any, title: str, x_label: str, y_label: str) -> Path:
    """Write a figure with its title, and beside it the names of its lines, from the top down as their ends are."""
    axes.set_title(plain(title), loc="left")
    axes.set(xlabel=plain(x_label), ylabel=plain(y_label))
    ends = {line: line.get_ydata() for line in axes.get_lines() if not line.get_label().startswith("_")}
    ends = {line: ys[np.isfinite(ys)][-1:].tolist() for line, ys in ends.items()}
    if handles := sorted(ends, key=ends.get, reverse=True):
        beside = {"loc": "outside right center", "labelcolor": "linecolor", "fontsize": 9.0, "frameon": False}
        axes.figure.legend(handles=handles, **beside)
    return save(axes.figure, path)


def table(path: str | os.PathLike, header: Sequence[str], rows: Any) -> Path:
    """Write a CSV file: a header line, then rows of numbers, in full precision, and words."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([[repr(float(x)) if isinstance(x, (float, np.floating)) else x for x in row] for row in rows])
    return write_file(path, text.getvalue().encode())
