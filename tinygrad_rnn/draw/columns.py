"""In which column each node of a recorded graph stands: one for each time step, and those before and after them."""

from __future__ import annotations

from collections import defaultdict

from tinygrad_rnn.tensor import Tensor

__all__ = ["columns_of"]


def columns_of(order: list[Tensor]) -> tuple[dict[Tensor, int | None], list[int]]:
    """The column of every Tensor (None: that of whichever node uses it), and the columns that are time steps.

    A leaf stands where it is used, but for a state, h(0), which stands before its first use.
    """
    steps = sorted({n.step for n in order if n.step is not None and not n.is_leaf})
    if not steps:
        return dict.fromkeys(order, 0), []
    column: dict[Tensor, int | None] = {n: None if n.is_leaf else n.step for n in order}
    _pull_to_use(order, column)
    _read_out(order, column, steps)
    users = defaultdict(set)
    for node in order:
        for x in node.inputs:
            users[x].add(column[node])
    for n in order:
        if n.is_leaf and n.step is not None and users[n] == {n.step + 1}:
            column[n] = n.step
    return column, steps


def _pull_to_use(order: list[Tensor], column: dict[Tensor, int | None]) -> None:
    """What was made outside of any step, and is used in a later one, stands in the column where it is used first."""
    made_of: dict[Tensor, int] = {}  # the latest step of each
    for node in order:
        steps = [column[node], *(made_of.get(x) for x in node.inputs)]
        made_of[node] = max((step for step in steps if step is not None), default=0)
    for node in reversed(order):
        for x in node.inputs:
            if x.step is None and not x.is_leaf and column[node] is not None and made_of[x] < column[node]:
                column[x] = column[node] if column[x] is None else min(column[x], column[node])


def _read_out(order: list[Tensor], column: dict[Tensor, int | None], steps: list[int]) -> None:
    """What comes after the steps stands in the column that it comes from, where several are read out: y(t), L(t).

    It stands in a last column where only one step is read out, or where it comes from several.
    """
    came_from: dict[Tensor, tuple[int, int]] = {}
    for node in order:
        if column[node] is not None:
            came_from[node] = (column[node], column[node])
        elif spans := [came_from[x] for x in node.inputs if x in came_from]:
            came_from[node] = (min(lo for lo, _ in spans), max(hi for _, hi in spans))
    read_out = {lo for n, (lo, hi) in came_from.items() if column[n] is None and lo == hi}
    for node in order:
        if column[node] is None and not node.is_leaf:
            lo, hi = came_from.get(node, (steps[0], steps[-1] + 1))
            column[node] = lo if lo == hi and len(read_out) > 1 else steps[-1] + 1
