"""Heat maps: of the terms of a sum over time, and of the value of a Tensor in a notebook."""

import base64
import math
import struct
import zlib
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np

from tinygrad_rnn import checks
from tinygrad_rnn.algebra.formulas import hands_on, inside
from tinygrad_rnn.algebra.notation import Names, Notation
from tinygrad_rnn.algebra.typesetting import MARKUP, PLAIN, Typesetting
from tinygrad_rnn.algebra.writer import Writer
from tinygrad_rnn.backward import topological_order
from tinygrad_rnn.bptt.through_time import contribution_table
from tinygrad_rnn.draw.diagram import Diagram, png_chunk
from tinygrad_rnn.draw.drawing import Node, Scale, around
from tinygrad_rnn.draw.style import NODES, scale, size
from tinygrad_rnn.errors import describe
from tinygrad_rnn.tensor import Tensor

IN_FULL = 12  # the largest table whose numbers are written into it
IN_NODES = 60  # the largest table whose cells are nodes; that of a larger one is an image
IMAGE = 720.0  # the longer side of an image
BETWEEN = 2.0  # from cell to cell
IN_NOTEBOOK, RED, BLUE = 32, "178, 24, 43", "33, 102, 172"  # rows and columns of a Tensor; its signs


def terms(losses: Tensor | Sequence[Tensor], parameter: Tensor, notation: str | Notation = "interdb") -> Diagram:
    """The table of ‖∂E_n/∂W through step k‖ as a heat map: a row for each loss, a column for each step.

    Down a column one sees the influence of a step fade, or explode. No loss depends on what comes after it, so that
    with one loss a step the table is a lower triangle (BPTT post, Module 5, IIT slides; the numbers:
    `bptt.contribution_table`). A table of more than 60 rows or columns is one image, without a tooltip for each cell,
    and a .dot file holds it as a data URI, which the programs of Graphviz do not read.

    Args:
        losses: a scalar for each row; or their sum E = Σ E_t, of which the summands are taken.
        parameter: any Tensor that requires a gradient.

    Raises:
        TypeError, ValueError: as for `bptt.contributions`; an unknown notation, or no loss at all.

    >>> rnn = tg.nn.RNN(2, 3, rng=0)
    >>> losses = [h.sum() for h in rnn(np.ones((3, 2)))[0]]
    >>> tg.draw.terms(losses, rnn.cells[0].W).title
    'table of the terms of the gradient of W'
    """
    call = "draw.terms(losses, parameter)"
    checks.instance(call, losses, (Tensor, Iterable), "Tensors, or their sum,")
    losses = _summands(losses) if isinstance(losses, Tensor) else list(losses)
    table, order = contribution_table(losses, parameter), topological_order(*losses)
    if losses and parameter not in set(order):
        raise ValueError(f"{call}: no loss depends on {describe(parameter)}")
    (N, T), longest = table.shape, max(table.shape)
    if not table.size:
        raise ValueError(f"{call}: no terms in a table of {N} losses by {T} time steps")
    writers = [Writer(Names(order, notation=notation), setting) for setting in (PLAIN, MARKUP)]
    names = [[_name(E, n, writer) for writer in writers] for n, E in enumerate(losses, 1)]
    low, high, palette, shades = scale(table)
    kind = "entry" if longest <= IN_FULL else "cell"
    every = 1 if kind == "entry" else max(5, 10 * (longest // 100))  # which rows and columns are named
    width, height = NODES[kind].width + BETWEEN, NODES[kind].height + BETWEEN
    above = height  # of the first row's middle, the headings of the columns
    if longest > IN_NODES:
        width = height = IMAGE / longest
        above = height / 2 + 24.0

    def at(n: float, k: float) -> dict[str, Any]:
        """The middle of the cell of a loss and a step; that of its heading, with 0 for one of them."""
        left = -width / 2 - size("heading", "step k")[0] / 2
        return {"x": (k - 1) * width if k else left, "y": (1 - n) * height if n else above}

    nodes = [Node("step", "step k", "heading", "step <I>k</I>", **at(0, 0))]
    nodes += [Node(f"step{k}", str(k), "heading", str(k), **at(0, k)) for k in sorted({1, *range(every, T + 1, every)})]
    for n in sorted({1, *range(every, N + 1, every)}):
        nodes.append(Node(f"loss{n}", names[n - 1][0], "heading", names[n - 1][1], **at(n, 0)))
    if longest > IN_NODES:
        image: dict[str, Any] = {"image": _png(shades, palette), "extent": (T * width, N * height)}
        tooltip, middle = f"{N} losses by {T} steps", at((N + 1) / 2, (T + 1) / 2)
        nodes.append(Node("terms", "", "cell", tooltip=tooltip, **image, **middle))
    for n, k in np.ndindex(N, T) if longest <= IN_NODES else ():
        texts = [_scientific(table[n, k].item(), setting) if kind == "entry" else "" for setting in (PLAIN, MARKUP)]
        tooltip = f"{names[n][0]}, step {k + 1}: {table[n, k]:.6g}".replace("-", "−")
        look: dict[str, Any] = {"tooltip": tooltip, "fill": palette[shades[n, k]], **at(n + 1, k + 1)}
        nodes.append(Node(f"term{n + 1}_{k + 1}", texts[0], kind, texts[1], **look))
    name, set_name = (writer.variable(parameter) for writer in writers)
    words = f"‖∂E/∂{name} through step k‖", f"‖∂<I>E</I>/∂{set_name} through step <I>k</I>‖"
    title = f"table of the terms of the gradient of {name}"
    return Diagram(title, nodes, [], scale=Scale(*words, low, high, palette[:-1]), frame=around(nodes))


def in_notebook(x: Tensor) -> str:
    """A Tensor as a notebook shows it: its name, step and shape, the heat map of its value, and the numbers.

    Red is positive, blue negative; of a large one the first rows and columns are shown.
    """
    values = x.value.reshape(math.prod(x.shape[:-1]), *x.shape[-1:] or (1,))[:IN_NOTEBOOK, :IN_NOTEBOOK].astype(float)
    largest = np.max(np.abs(values), initial=0.0, where=np.isfinite(values)) or 1.0
    cell = '<td title="{:.6g}" style="padding: 8px; background: rgba({}, {:.2f})">'  # inf and nan have no colour
    rows = ["<tr>" + "".join(cell.format(v, RED if v > 0 else BLUE, abs(v) / largest) for v in row) for row in values]
    return f"<div>{escape(describe(x))}</div><table>{''.join(rows)}</table><pre>{escape(repr(x))}</pre>"


def _name(E: Tensor, n: int, writer: Writer) -> str:
    """A loss as it is called in a figure of all of them; E_n if it has no name."""
    return writer.setting.variable("E", str(n)) if E.name is None else writer.variable(E)


def _png(shades: np.ndarray, colours: Sequence[str]) -> str:
    """A picture of cells, given by the numbers of their colours, as the data URI of a PNG.

    A cell is several dots wide, so that programs which smooth pictures leave it sharp.
    """
    dots = math.ceil(2 * IMAGE / max(shades.shape))
    rows = np.repeat(np.repeat(shades, dots, axis=0), dots, axis=1)
    height, width = rows.shape
    lines = np.hstack([np.zeros((height, 1), np.uint8), rows]).tobytes()  # each begins with its filter, which is none
    header = struct.pack(">2I5B", width, height, 8, 3, 0, 0, 0)  # 8 bits a dot, of a palette
    palette = bytes.fromhex("".join(colours).replace("#", ""))
    parts = {b"IHDR": header, b"PLTE": palette, b"IDAT": zlib.compress(lines), b"IEND": b""}
    png = b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*part) for part in parts.items())
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _scientific(value: float, setting: Typesetting) -> str:
    """A number in two digits and its power of ten; nothing for 0."""
    digits, _, power = f"{value:.1e}".partition("e")
    raised = f"·{setting.power_of_ten(int(power))}" if int(power or 0) else ""  # inf and nan have no power
    return digits + raised if value else ""


def _summands(total: Tensor) -> list[Tensor]:
    """The losses that a total is the sum of, in the order in which they were made."""
    if not _is_sum(total):
        return [total]
    sums = dict.fromkeys(inside(total, lambda x: x.name is not None or not _is_sum(x)))
    summands = [x for node in sums for x in node.inputs if x not in sums and x.requires_grad]
    return sorted(summands, key=lambda x: x.born)


def _is_sum(x: Tensor) -> bool:
    """True if each of several inputs is handed the gradient as it is."""
    return len(x.inputs) > 1 and all(hands_on(x.primitive, i) for i in range(len(x.inputs)))
