"""The table of the terms of a sum over time, as a heat map."""

from collections.abc import Iterable, Sequence

import numpy as np

from tinygrad_rnn import checks
from tinygrad_rnn.algebra.formulas import hands_on
from tinygrad_rnn.algebra.notation import Names, Notation
from tinygrad_rnn.algebra.typesetting import MARKUP, PLAIN
from tinygrad_rnn.algebra.writer import Writer
from tinygrad_rnn.backward import topological_order
from tinygrad_rnn.bptt.through_time import contribution_table
from tinygrad_rnn.descriptions import describe
from tinygrad_rnn.draw.diagram import Diagram
from tinygrad_rnn.draw.drawing import Node, Scale
from tinygrad_rnn.draw.style import NODES, size
from tinygrad_rnn.draw.values import colours
from tinygrad_rnn.tensor import Tensor

IN_FULL = 12  # the largest table whose numbers are written into it
BETWEEN = 2.0  # from cell to cell


def terms(losses: Tensor | Sequence[Tensor], parameter: Tensor, notation: str | Notation = "interdb") -> Diagram:
    """The table of ‖∂E_n/∂W through step k‖ as a heat map: a row for each loss, a column for each step.

    Down a column one sees the influence of a step fade, or explode. No loss depends on what comes after it, so that
    with one loss a step the table is a lower triangle (BPTT post, Module 5, IIT slides; the numbers:
    `bptt.contribution_table`).

    Args:
        losses: a scalar for each row; or their sum E = Σ E_t, of which the summands are taken.
        parameter: any Tensor that requires a gradient.

    Raises:
        TypeError, ValueError: as for `bptt.contributions`; an unknown notation, or no loss at all.
    """
    checks.instance("draw.terms(losses, parameter)", losses, (Tensor, Iterable), "Tensors, or their sum,")
    losses = _summands(losses) if isinstance(losses, Tensor) else list(losses)
    table = contribution_table(losses, parameter)
    if losses and all(parameter not in set(topological_order(E)) for E in losses):
        raise ValueError(f"draw.terms(losses, parameter): no loss depends on {describe(parameter)}")
    N, T = table.shape
    if not table.size:
        raise ValueError(f"draw.terms(losses, parameter): no terms in a table of {N} losses by {T} time steps")
    nodes = {node for E in losses for node in topological_order(E)}
    names, of = Names(sorted(nodes, key=lambda node: node.born)), Notation.named(notation)
    plain, markup = (Writer(names, of, setting) for setting in (PLAIN, MARKUP))
    fills, span = colours(dict(np.ndenumerate(table)))
    kind = "entry" if max(N, T) <= IN_FULL else "cell"
    width, height = NODES[kind].width + BETWEEN, NODES[kind].height + BETWEEN
    every = 1 if kind == "entry" else max(5, 10 * (max(N, T) // 100))  # which rows and columns are named

    left = -width / 2 - size("heading", "step k")[0] / 2
    nodes = [Node("step", "step k", "heading", "step <I>k</I>", x=left, y=height)]
    for k in range(1, T + 1):
        if k == 1 or k % every == 0:
            nodes.append(Node(f"step{k}", str(k), "heading", str(k), x=(k - 1) * width, y=height))
    for n, E in enumerate(losses, 1):
        y, name = (1 - n) * height, _name(E, n, plain)
        if n == 1 or n % every == 0:
            nodes.append(Node(f"loss{n}", name, "heading", _name(E, n, markup), x=left, y=y))
        for k, norm in enumerate(table[n - 1], 1):
            text = _scientific(norm) if kind == "entry" and norm else ("", "")
            tooltip = f"{name}, step {k}: {norm:.6g}".replace("-", "−")
            fill = fills.get((n - 1, k - 1), "")
            place = {"x": (k - 1) * width, "y": y}
            nodes.append(Node(f"term{n}_{k}", text[0], kind, text[1], **place, tooltip=tooltip, fill=fill))
    left = min(node.x - size(node.kind, node.label)[0] / 2 for node in nodes)
    frame = (left, (1 - N) * height - height / 2, (T - 0.5) * width, 1.5 * height)
    name, set_name = plain.variable(parameter), markup.variable(parameter)
    scale = Scale(f"‖∂E/∂{name} through step k‖", f"‖∂<I>E</I>/∂{set_name} through step <I>k</I>‖", *span)
    title = f"table of the terms of the gradient of {name}"
    return Diagram(title, nodes, [], scale=scale, frame=frame)


def _name(E: Tensor, n: int, writer: Writer) -> str:
    """A loss as it is called in a figure of all of them; E_n if it has no name."""
    return writer.setting.variable("E", str(n)) if E.name is None else writer.variable(E)


def _scientific(value: float) -> tuple[str, str]:
    """A number in two digits and its power of ten, plain and as markup."""
    digits, _, power = f"{value:.1e}".partition("e")
    power = str(int(power or 0)).replace("-", "−")  # inf and nan have none
    if power == "0":
        return digits, digits
    return f"{digits}·10^{power}", f"{digits}·10<SUP>{power}</SUP>"


def _summands(total: Tensor) -> list[Tensor]:
    """The losses that a total is the sum of, as they were added up."""
    if total.is_leaf:
        raise ValueError(f"draw.terms(losses, parameter): {describe(total)} has no graph")
    found, waiting = [], [total]
    while waiting:
        node = waiting.pop()
        inputs = range(len(node.inputs))
        is_sum = len(inputs) > 1 and all(hands_on(node.primitive, i) for i in inputs)  # its gradient, as it is, to each
        if is_sum and (node is total or node.name is None):
            waiting.extend(reversed(node.inputs))
        elif node.requires_grad:
            found.append(node)
    return found
