"""A recorded graph, read for drawing: what is drawn, in which column, and what is written on it.

- What is drawn are the nodes that `folding` keeps, and links for their uses.
- Every time step is a column. A leaf that belongs to no step (a parameter) is drawn in each column that uses it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from tinygrad_rnn.backward import topological_order
from tinygrad_rnn.draw.grid import Link, Place
from tinygrad_rnn.draw.placement import Placement, place
from tinygrad_rnn.draw.style import EDGE_FONT, size, text_width
from tinygrad_rnn.folding import fold, variables
from tinygrad_rnn.notation import NOTATIONS, Notation, Writer, symbol
from tinygrad_rnn.tensor import Tensor, describe
from tinygrad_rnn.typesetting import MARKUP, PLAIN

__all__ = ["LEVELS", "Unfolded", "placed", "unfold"]

LEVELS = ("named", "primitives")

_LONGEST_LABEL = 18  # a derivative with more characters is labelled as what it is, ∂L/∂z


@dataclass(frozen=True)
class Unfolded:
    """A recorded graph, read for drawing: `places` in topological order, the output last; `steps` in time."""

    level: str
    places: list[Place]
    links: list[Link]
    steps: list[int]
    writer: Writer
    markup: Writer  # the same, as labels are drawn
    shared: dict[Tensor, list[Place]]  # the parameters that stand in several columns, and where

    def name(self, p: Place, writer: Writer | None = None) -> str:
        """The variable, or the operation where there is none."""
        writer = writer or self.writer
        nameless = not writer.notation.writes(p.tensor) and not p.tensor.is_leaf
        return writer.setting.template(symbol(p.tensor.primitive)) if nameless else writer.variable(p.tensor)

    def label(self, p: Place, gradient: bool, writer: Writer | None = None) -> str:
        """What is written in a node: h⁽²⁾, or for its gradient dh⁽²⁾; what made it, below, where every primitive is."""
        writer = writer or self.writer
        name = self.name(p, writer)
        if gradient and p is not self.places[-1] and p.kind != "operation" and p.tensor.requires_grad:
            step = p.column if p.tensor in self.shared and p.column in self.steps else None
            name = writer.setting.template("d") + writer.variable(p.tensor, step)
        made = self.level == "primitives" and p.kind != "operation" and not p.tensor.is_leaf
        return name + writer.setting.line + writer.setting.template(symbol(p.tensor.primitive)) if made else name

    def equation(self, p: Place) -> str:
        """How a node was made, as a tooltip says it."""
        of = self.writer.expression(p.tensor)
        made = p.tensor.name is not None and not p.tensor.is_leaf
        return f"{f'{self.name(p)} = {of}' if made else of}, shape {p.tensor.shape}"

    def partial(self, p: Place) -> str:
        """∂L/∂W, of the output with respect to a node."""
        return f"∂{self.name(self.places[-1])}/∂{self.name(p)}"

    def gradient(self, p: Place) -> str:
        """What gradient a node stands for, as a tooltip says it."""
        if not p.tensor.requires_grad:
            return f"{self.name(p)} needs no gradient"
        through = f"through step {p.column}" if p.column in self.steps else "outside of the steps"
        term = f", the term {through}" if p.tensor in self.shared else ""
        return f"{self.partial(p)}{term}, shape {p.tensor.shape}"

    def derivative(self, link: Link, writer: Writer | None = None) -> str:
        """∂target/∂source as a label: the local derivatives along each path multiplied, the paths added up."""
        writer = writer or self.writer
        written = None if link.paths is None else self.writer.total(reversed(link.paths))  # found last use first
        if written is not None and len(written.text) <= _LONGEST_LABEL:
            return written.text if writer is self.writer else writer.total(reversed(link.paths)).text
        return f"∂{self.name(link.target, writer)}/∂{self.name(link.source, writer)}"

    def function(self, link: Link, writer: Writer | None = None) -> str:
        """The function that a link applies, as f in h = f(ĥ), where it applies just one."""
        one = link.paths is not None and [len(path) for path in link.paths] == [1]
        return (writer or self.writer).function(link.user) if one and self.level == "named" else ""


def unfold(output: Tensor, level: str, notation: Notation = NOTATIONS["interdb"]) -> Unfolded:
    """Read a recorded graph at a level.

    Raises:
        TypeError: the output is no Tensor. ValueError: it has no graph, or the level is unknown.
    """
    if level not in LEVELS:
        raise ValueError(f"draw(level={level!r}): not one of {', '.join(map(repr, LEVELS))}")
    if not isinstance(output, Tensor):
        raise TypeError(f"draw: a Tensor is needed, not a {type(output).__name__}")
    if output.is_leaf:
        raise ValueError(
            f"draw: {describe(output)} has no graph: it was not made from a Tensor with requires_grad=True, or was "
            "made inside no_grad(), or is detached"
        )
    order = topological_order(output)
    uses = fold(order, set(order) if level == "primitives" else variables(order, notation))
    columns, steps = _columns(order)
    carried = {
        source.name
        for target in uses
        for source in (use.source for use in uses[target])
        if None not in (source.step, columns[source]) and columns[source] < columns[target] in steps
    }

    found: dict[tuple[Tensor, int], Place] = {}

    def place_of(tensor: Tensor, column: int) -> Place:
        key = (tensor, column if columns[tensor] is None else columns[tensor])
        if key not in found:
            kind = _kind(tensor, output, carried, notation)
            carries = tensor.name in carried and tensor.step is not None
            found[key] = Place(tensor, key[1], f"n{len(found)}", kind, carries)
        return found[key]

    links = []
    for target in order:
        sources = [place_of(use.source, columns[target]) for use in uses.get(target, [])]
        for source, use in zip(sources, uses.get(target, []), strict=True):
            links.append(Link(source, place_of(target, columns[target]), use.users[0], use.paths))
    places = list(found.values())
    in_columns = defaultdict(list)
    for p in places:
        in_columns[p.tensor].append(p)
    shared = {tensor: where for tensor, where in in_columns.items() if len(where) > 1 and tensor.requires_grad}
    indices = _indices(in_columns, steps)
    writers = (Writer(order, indices, notation, setting) for setting in (PLAIN, MARKUP))
    unfolded = Unfolded(level, places, links, steps, *writers, shared)
    return unfolded


def placed(unfolded: Unfolded) -> Placement:
    """Place the nodes with room for the labels of both figures; links between the same variables get the same room."""
    if not unfolded.steps:
        return Placement({}, {}, {}, {}, [])
    widest: dict[tuple, float] = defaultdict(float)
    for p in unfolded.places:
        p.width = size(p.kind, unfolded.label(p, gradient=True))[0]
    between = {link: (link.source.tensor.name, link.target.tensor.name, link.user.primitive) for link in unfolded.links}
    for link, names in between.items():
        widest[names] = max(widest[names], text_width(unfolded.derivative(link), EDGE_FONT))
    sums = list(unfolded.shared.values())
    return place(unfolded.places, unfolded.links, sums, unfolded.steps, lambda link: widest[between[link]])


def _columns(order: list[Tensor]) -> tuple[dict[Tensor, int | None], list[int]]:
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
    """What was made outside of any step, and is used in one, stands in the column where it is used first."""
    for node in reversed(order):
        for x in node.inputs:
            if x.step is None and not x.is_leaf and column[node] is not None:
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


def _indices(in_columns: dict[Tensor, list[Place]], steps: list[int]) -> dict[Tensor, int]:
    """The time step that each variable is written with: its own, or that of the only column it stands in."""
    indices = {}
    for tensor, (first, *others) in in_columns.items():
        if first.kind == "state" or (tensor.step is not None and not tensor.is_leaf):
            indices[tensor] = tensor.step
        elif not others and first.column in steps and first.kind != "parameter":
            indices[tensor] = first.column
    return indices


def _kind(tensor: Tensor, output: Tensor, carried: set[str], notation: Notation) -> str:
    """What a node is to the reader; colours and shapes follow from it."""
    if tensor is output:
        return "output"
    if tensor.name in carried and tensor.step is not None:
        return "state"
    if tensor.is_leaf:
        return "parameter" if tensor.requires_grad and tensor.step is None else "input"
    return "variable" if notation.writes(tensor) else "operation"
