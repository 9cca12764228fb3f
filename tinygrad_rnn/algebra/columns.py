"""The columns of a recorded graph, one for each time step and those before and after them, and the steps written.

Where a node stands and which step its name is written with are one question: y is y(t) where it stands in step t.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from tinygrad_rnn import checks
from tinygrad_rnn.tensor import Tensor

Columns = dict[Tensor, float | None]


def columns_of(order: list[Tensor]) -> tuple[Columns, list[int], dict[Tensor, float]]:
    """The column of every Tensor (None: that of whichever node uses it), the columns that are time steps, and the step
    that each is written with.

    A leaf stands where it is used, but for a state, h(0), which stands before its first use: in a column of its own,
    halfway, if the step that it is of is drawn as well, and its past is cut off.

    A node is written with its own step, or with that of the only column it stands in. An input that stands in several,
    and is the only one of its name, needs none; nor does a parameter, which is written with the step of each use.
    """
    for x in order:  # whose attributes anybody may have set
        if x.name is not None:
            checks.name(x.name)
        if x.step is not None:
            checks.step(x.name or "a Tensor", x.step)
    steps = sorted({n.step for n in order if n.step is not None and not n.is_leaf})
    column: Columns = {n: None if n.is_leaf else n.step for n in order}
    _pull_to_use(order, column)
    _read_out(order, column, *((steps[0], steps[-1] + 1) if steps else (0, 0)))
    users: dict[Tensor, set[float | None]] = defaultdict(set)  # the columns of the nodes that use each Tensor
    for node in order:
        for x in node.inputs:
            users[x].add(column[node])
    made = {(n.name, n.layer) for n in order if not n.is_leaf}
    called = Counter(x.name for x in order)
    written: dict[Tensor, float] = {}
    for x in order:
        state = x.is_leaf and x.step is not None and (x.is_cut or (x.name, x.layer) in made)
        first = min(users[x], default=None) if None not in users[x] else None
        if state and first in steps and x.step < first:
            column[x] = first - 0.5 if x.step in steps else x.step
        standing = {column[x]} if column[x] is not None else users[x]
        if x.step is not None and (len(standing) == 1 or called[x.name] > 1):
            written[x] = x.step
        elif len(standing) == 1 and standing <= set(steps) and not is_parameter(x):
            (written[x],) = standing
    return column, steps, written


def time_steps(order: Sequence[Any]) -> dict[Any, Any]:
    """The time step of every node: its own; or that of the first step it goes into; or the latest it was made of."""
    step = {node: node.step for node in order}
    for node in reversed(order):
        if step[node] is not None:
            for x in node.inputs:
                if x.step is None:
                    step[x] = step[node] if step[x] is None else min(step[x], step[node])
    for node in order:
        if step[node] is None:
            step[node] = max((step[x] for x in node.inputs if step[x] is not None), default=None)
    return step


def is_parameter(x: Tensor) -> bool:
    """Tell whether a Tensor is a parameter: a leaf that requires a gradient, and is of no time step."""
    return x.is_leaf and x.requires_grad and x.step is None


def _pull_to_use(order: list[Tensor], column: Columns) -> None:
    """Put a nameless node into the step that it is made for, or the first of them if nothing in it is later than that.

    So is a variable put that is made of several earlier steps, as what attention finds. But one that was read out of an
    earlier step, y(t-1), stands in that one's.
    """
    made_of = _made_of(order, column)
    made_for: dict[Tensor, set[float]] = defaultdict(set)
    for node in reversed(order):
        steps = made_for[node]
        if column[node] is None and not node.is_leaf and steps:
            earliest, latest = made_of.get(node, (math.inf, -math.inf))
            nameless = node.name is None and (len(steps) == 1 or latest <= min(steps))
            if nameless or latest == -math.inf or earliest < latest < min(steps):
                column[node] = min(steps)
        if column[node] is not None:
            for x in node.inputs:
                made_for[x].add(column[node])


def _read_out(order: list[Tensor], column: Columns, first: float, behind: float) -> None:
    """Put readouts, y(t) and L(t), into the columns of the states that they come from, where several are read out.

    Where only one step is read out, or a node comes from several, it stands in a last column, behind them.
    """
    came_from = _made_of(order, column)
    read_out = {lo for n, (lo, hi) in came_from.items() if column[n] is None and lo == hi}
    for node in order:
        if column[node] is None and not node.is_leaf:
            lo, hi = came_from.get(node, (first, behind))
            column[node] = lo if lo == hi and len(read_out) > 1 else behind


def _made_of(order: list[Tensor], column: Columns) -> dict[Tensor, tuple[float, float]]:
    """The first and the last column that a node is made of: its own if it has one."""
    spans: dict[Tensor, tuple[float, float]] = {}
    for node in order:
        found = [spans[x] for x in node.inputs if x in spans] if column[node] is None else [(column[node],) * 2]
        if found:
            spans[node] = min(lo for lo, _ in found), max(hi for _, hi in found)
    return spans
