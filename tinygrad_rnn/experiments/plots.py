"""All plots, in one style: the one place where matplotlib is used. Every plot has its numbers in a CSV file beside it.

matplotlib comes with `pip install "tinygrad-rnn[plot]"`.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_rnn.draw.style import NODES
from tinygrad_rnn.files import write_file

__all__ = ["COLOURS", "curves", "figure", "save", "table"]

# The lines of the diagrams' nodes: states, outputs, parameters; then others that are told apart by the colour-blind too
COLOURS = [NODES["state"].line, NODES["output"].line, NODES["parameter"].line, "#3f7d4e", "#7a4fa3", "#5a6575"]
_STYLE = {
    "axes.spines.right": False, "axes.spines.top": False, "axes.grid": True, "grid.color": "#e3e7ee",
    "axes.edgecolor": "#8a8a8a", "axes.axisbelow": True, "font.size": 10.0, "svg.fonttype": "none",
    "svg.hashsalt": "tinygrad_rnn",
    "figure.constrained_layout.use": True,
}  # fmt: skip


def figure(width: float = 6.4, height: float = 4.0) -> tuple[Any, Any]:
    """A matplotlib figure in inches and its axes, in the style of all plots; it belongs to no window.

    Raises:
        ImportError: matplotlib is not installed; says how to.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('plots need matplotlib: pip install "tinygrad-rnn[plot]"') from error
    with matplotlib.rc_context({**_STYLE, "axes.prop_cycle": matplotlib.cycler(color=COLOURS)}):
        drawing = Figure(figsize=(width, height))
        return drawing, drawing.subplots()


def save(drawing: Any, path: str | os.PathLike) -> Path:
    """Write a figure, in the format of the suffix, whole or not at all; the same figure gives the same bytes."""
    import matplotlib

    path, content = Path(path), io.BytesIO()
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(path.suffix[1:], {})
    with matplotlib.rc_context(_STYLE):
        drawing.savefig(content, format=path.suffix[1:] or "svg", metadata=metadata)
    return write_file(path, content.getvalue())


def curves(
    path: str | os.PathLike, title: str, x: tuple[str, Sequence[float]], y_label: str,
    lines: Mapping[str, Sequence[float]], log: bool = False, dashed: Sequence[str] = (),
) -> Path:  # fmt: skip
    """Curves over one axis, each with its label; the numbers go into a CSV file of the same name.

    Args:
        x: what the axis shows, with its unit, and its values. y_label: likewise. lines: label and values of each curve.
        log: a logarithmic axis, where the claim is exponential. dashed: labels of curves that are bounds or baselines.

    Raises:
        ImportError: matplotlib is not installed; the CSV file has been written.
    """
    path, (x_label, xs) = Path(path), x
    table(path.with_suffix(".csv"), [x_label, *lines], zip(xs, *lines.values(), strict=True))
    drawing, axes = figure(7.2)
    for label, values in lines.items():
        style = "--" if label in dashed else "o-" if len(xs) <= 10 else "-"
        axes.plot(xs, values, style, label=label, linewidth=1.6, markersize=4.0)
    if log:
        axes.set_yscale("log")
    if all(float(x).is_integer() for x in xs):
        axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.set_title(title, loc="left")
    if len(lines) > 1:
        drawing.legend(loc="outside right upper", frameon=False)  # never over a curve
    return save(drawing, path)


def table(path: str | os.PathLike, header: Sequence[str], rows: Any) -> Path:
    """Write a CSV file: a header line, then rows of numbers, in full precision, and words."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([[repr(float(x)) if isinstance(x, (float, np.floating)) else x for x in row] for row in rows])
    return write_file(path, text.getvalue().encode())
