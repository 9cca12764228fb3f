"""The table of all terms of a sum over time, as a heat map: ‖∂E_n/∂W through step k‖, a row for each loss."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np

from tinygrad_rnn.bptt import contribution_table
from tinygrad_rnn.draw.diagram import Picture
from tinygrad_rnn.draw.quantities import scaled
from tinygrad_rnn.draw.style import FONT, SCALE
from tinygrad_rnn.notation import NOTATIONS, Writer
from tinygrad_rnn.primitives import add
from tinygrad_rnn.tensor import Tensor
from tinygrad_rnn.typesetting import MARKUP, PLAIN

__all__ = ["Heatmap", "terms"]

IN_FULL = 12  # rows and columns of a table whose numbers are written into it


class Heatmap(Picture):
    """A drawn table of terms. `table` (N, T) is `bptt.contribution_table`; `names` are those of its rows."""

    def __init__(self, table: np.ndarray, names: list[str], parameter: str, markup: tuple[list[str], str]):
        self.title = f"the terms of the gradient of {parameter}"
        self.table, self.names, self.parameter, self._markup = table, names, parameter, markup

    @property
    def description(self) -> str:
        """What is to be seen, in words."""
        N, T = self.table.shape
        return f"‖∂E/∂{self.parameter} through step k‖ for {N} losses and {T} steps, from {self.table.min():.3g} to {self.table.max():.3g}"

    @property
    def source(self) -> str:
        """The table as DOT text."""
        rows, (names, parameter) = [], self._markup
        fills, (low, high) = scaled(self.table)
        N, T = self.table.shape
        for i, name in enumerate(names):
            cells = "".join(self._cell(i, k, fills[i][k], N <= IN_FULL >= T) for k in range(T))
            rows.append(f'<TR><TD BORDER="0" ALIGN="RIGHT">{name}&#160;</TD>{cells}</TR>')
        heads = "".join(f'<TD BORDER="0">{k if T <= 40 or k % 10 == 0 else ""}</TD>' for k in range(1, T + 1))
        bar = "".join(f'<TD BORDER="0" BGCOLOR="{colour}" WIDTH="26" HEIGHT="10" FIXEDSIZE="TRUE"></TD>' for colour in SCALE)
        legend = (
            f'<TABLE BORDER="0" CELLSPACING="0"><TR><TD BORDER="0">‖∂<I>E</I>/∂{parameter} through step <I>k</I>‖&#160;&#160;'
            f'10^{low:.0f}</TD>{bar}<TD BORDER="0">10^{high:.0f}&#160;&#160;white: 0</TD></TR></TABLE>'
        ).replace("^-", "^−")
        label = (
            f'<TABLE BORDER="0" CELLBORDER="1" CELLSPACING="1" COLOR="#d4dae3"><TR><TD BORDER="0"></TD>{heads}</TR>'
            f'{"".join(rows)}<TR><TD BORDER="0" COLSPAN="{T + 1}">{legend}</TD></TR></TABLE>'
        )
        return f'digraph "terms" {{\n\tlayout=dot bgcolor=white pad=0.15\n\ttable [shape=plain fontname="{FONT}" fontsize=12 label=<{label}>]\n}}\n'

    def _cell(self, i: int, k: int, fill: str, in_full: bool) -> str:
        value = self.table[i, k]
        colour = "#ffffff" if fill in SCALE[:4] else "#000000"
        text = f'<FONT COLOR="{colour}" POINT-SIZE="9">{value:.1e}</FONT>'.replace("e-0", "e−").replace("e+0", "e") if in_full and value else ""
        tip = html.escape(f"{self.names[i]}, step {k + 1}: {value:.6g}")
        size = 44 if in_full else 14
        return f'<TD BGCOLOR="{fill}" WIDTH="{size}" HEIGHT="{min(size, 26)}" FIXEDSIZE="TRUE" HREF="" TITLE="{tip}">{text}</TD>'


def terms(losses: Tensor | Sequence[Tensor], parameter: Tensor, notation: str = "interdb") -> Heatmap:
    """The T x T table of ‖∂E_n/∂W through step k‖ as a heat map: a row for each loss, a column for each step.

    No loss depends on what comes after it, so that the table is a lower triangle; down a column one sees a step's
    influence fade.

    Args:
        losses: one for each row; or their sum, E = Σ E_t, of which the summands are taken.
        parameter: any Tensor that requires a gradient.

    Raises:
        TypeError, ValueError: as for `bptt.contribution_table`.
    """
    losses = _summands(losses) if isinstance(losses, Tensor) else list(losses)
    table = contribution_table(losses, parameter)
    several = {E: n for n, E in enumerate(losses, 1)} if len(losses) > 1 else {}
    names = []
    for setting in (PLAIN, MARKUP):
        writer = Writer([], several, NOTATIONS[notation] if isinstance(notation, str) else notation, setting)
        names.append(([writer.variable(E) for E in losses], writer.variable(parameter)))
    return Heatmap(table, names[0][0], names[0][1], names[1])


def _summands(total: Tensor) -> list[Tensor]:
    """The losses that a total is the sum of, as they were added up."""
    found, waiting = [], [total]
    while waiting:
        node = waiting.pop()
        if node.primitive is add and (node is total or node.name is None):
            waiting.extend(reversed(node.inputs))
        elif node.requires_grad:
            found.append(node)
    return found
