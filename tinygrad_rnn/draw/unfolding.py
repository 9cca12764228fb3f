"""A recorded graph, read for drawing: what is drawn, in which column, and by whom it is written.

- What is drawn are the nodes that `folding` keeps, and links for their uses.
- Every time step is a column. A leaf that belongs to no step (a parameter) is drawn in each column that uses it.
- Of a long net the middle is left out, and of a rolled one all but a step.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from tinygrad_rnn import checks
from tinygrad_rnn.algebra.columns import columns_of
from tinygrad_rnn.algebra.formulas import derivative
from tinygrad_rnn.algebra.notation import Names, Notation
from tinygrad_rnn.algebra.trees import Tree
from tinygrad_rnn.algebra.typesetting import MARKUP, PLAIN
from tinygrad_rnn.algebra.variables import Use, fold, variables
from tinygrad_rnn.algebra.writer import Writer
from tinygrad_rnn.backward import topological_order
from tinygrad_rnn.descriptions import describe
from tinygrad_rnn.draw.grid import Link, Place
from tinygrad_rnn.draw.style import NODE_FONT
from tinygrad_rnn.naming import GradientName
from tinygrad_rnn.tensor import Tensor

LEVELS = ("named", "primitives")
COLOURS = (None, "gradient", "value")


@dataclass(frozen=True)
class Options:
    """What a figure shows, and how; the keywords of every view.

    Attributes:
        level: "named" draws the variables; "primitives" every primitive, node by node.
        notation: whose letters: one of `NOTATIONS`, by its name, or a `Notation`.
        max_steps: of a longer net so many steps are drawn, the first and the last; the others are a column of dots.
        rolled: one step stands for all, and a loop leads from its states back to those that it started from.
        values: write the value into every node, or backward its gradient; of long arrays shape and norm.
        shapes: write the shape into every node.
        color_by: "gradient" or "value": fill the nodes by log ‖∂L/∂node‖, or by log ‖value‖.
        highlight: (parameter, step): the term of the parameter's gradient that goes through that step, all else faint.
        font_size: how many points high the letters of nodes are where the figure is not scaled; all else is in
            proportion, so that a figure in a text can have letters like those around it.

    Raises:
        ValueError: an unknown value, with those that are known.
    """

    level: str = "named"
    notation: str | Notation = "interdb"
    max_steps: int | None = None
    rolled: bool = False
    values: bool = False
    shapes: bool = False
    color_by: str | None = None
    highlight: tuple[Tensor, int] | None = None
    font_size: float = NODE_FONT

    def __post_init__(self) -> None:
        switches = dict.fromkeys(["rolled", "values", "shapes"], (True, False))
        for name, known in {"level": LEVELS, "color_by": COLOURS, **switches}.items():
            checks.one_of("draw", name, getattr(self, name), known)
        if self.max_steps is not None:
            checks.whole("draw", "max_steps", self.max_steps, 2)
        checks.number("draw", "font_size", self.font_size, "a number of points from 1 to 200", 1, 200)
        if self.highlight is not None and not (isinstance(self.highlight, tuple | list) and len(self.highlight) == 2):
            raise TypeError(f"draw(highlight={self.highlight!r}): a parameter and a time step are needed")
        for name in ("max_steps", "highlight"):
            if self.rolled and getattr(self, name) is not None:
                raise ValueError(f"draw(rolled=True, {name}=...): a rolled graph shows one step, which stands for all")
        Notation.named(self.notation)


class Unfolded:
    """A recorded graph, read for drawing; or what lies between two of its nodes, if `start` is given.

    Attributes:
        places: in topological order, the output last. links: the uses of one by another.
        steps: the time steps that have a column. hidden: per column of dots, how many steps it stands for. gap: the
            columns that are not drawn for it.
        writer, markup: what writes it, as plain text and as labels are drawn.
        shared: the parameters that several steps use, and where they stand.
        rolled: whether one step stands for all.
        columns: of every node, drawn or not.
        values: of every node of the whole graph, as it was when the graph was made.
        cut_states: those whose past was cut off, drawn or not.

    Raises:
        TypeError: no Tensors. ValueError: the output has no graph, or does not depend on `start`.
    """

    def __init__(self, output: Tensor, options: Options, start: Tensor | None = None):
        nodes = _nodes(output)
        order, notation = nodes if start is None else _between(nodes, start), Notation.named(options.notation)
        self.level, self.rolled = options.level, options.rolled
        self.columns, steps = columns_of(order)
        kept = set(order) if self.level == "primitives" else variables(order, notation) | ({start} - {None})
        places, links = _places(fold(order, kept), self.columns, steps, notation)
        uses = Counter(p.tensor for p in places)
        self.cut_states = {p.tensor for p in places if p.kind == "state" and p.tensor.is_leaf and p.tensor.step > 0}
        self.hidden: dict[int, int] = {}
        self.gap: set[float] = set()
        if self.rolled and not steps:
            raise ValueError("draw(rolled=True): no node of the graph belongs to a time step; say which with tg.label")
        if self.rolled:
            places, links, steps = _rolled(places, links, steps)
        elif options.max_steps is not None and len(steps) > options.max_steps:
            last = options.max_steps // 2
            middle = steps[options.max_steps - last : len(steps) - last]
            self.hidden = {middle[0]: len(middle)}
            self.gap = {*middle, *(step - 0.5 for step in middle)}  # a cut state stands before what it is used in
            places, links = _without_middle(places, links, self.gap, middle[0])
            steps = [step for step in steps if step not in self.gap]
        self.places, self.links, self.steps = places, links, steps
        standing = defaultdict(list)
        for p in places:
            if p.kind != "elided":
                standing[p.tensor].append(p)
        self.shared = {x: where for x, where in standing.items() if uses[x] > 1 and x.requires_grad}
        names = Names(nodes)
        if self.rolled:  # what stands in the step stands in all of them
            self.shared = {x: [p] for x, (p, *_) in standing.items() if p.kind == "parameter" and p.column == steps[0]}
            names.steps = {x: "t" if k == steps[0] else f"t−{steps[0] - k}" for x, k in names.steps.items()}
        self.writer, self.markup = (Writer(names, notation, to, brief=True) for to in (PLAIN, MARKUP))
        self.write = lambda kind, **how: kind(names, notation, MARKUP, brief=True, **how)
        self.values = {x: array for node in nodes for x, array in zip(node.inputs, node.arguments, strict=False)}
        self.values[output] = output.value

    @property
    def cuts(self) -> list[Place]:
        """The states whose past was cut off: detached, or by truncation."""
        return [p for p in self.places if p.tensor in self.cut_states and p.kind == "state"]

    @property
    def loops(self) -> list[tuple[Place, Place]]:
        """Of a rolled graph, the states that go back, and where to."""
        last = {p.role: p for p in self.places if self.rolled and p.carried and p.column in self.steps}
        return [(last[p.role], p) for p in self.places if p.role in last and p.column < self.steps[0]]

    def is_hidden(self, tensor: Tensor) -> bool:
        """Whether a node belongs to a hidden step."""
        return self.columns[tensor] in self.gap

    @cached_property
    def derivatives(self) -> dict[Link, Tree]:
        """∂target/∂source of every link whose derivative has a short notation."""
        writes = self.writer.notation.writes
        found = {k: derivative(k.paths[::-1], writes) for k in self.links if k.paths is not None}
        return {link: tree for link, tree in found.items() if tree is not None}

    @cached_property
    def has_gradients(self) -> bool:
        """Whether there are gradients among the variables, as in a recorded backward graph."""
        return any(isinstance(x.name, GradientName) for x in self.columns)

    @cached_property
    def sums(self) -> dict[Tensor, tuple[str, str]]:
        """The ids of a shared parameter's Σ, and of the gradient that it makes; numbered as parameters are found."""
        return {x: (f"sum{i}", f"total{i}") for i, x in enumerate(self.shared)}


def _nodes(output: Tensor) -> list[Tensor]:
    """All nodes of a graph, in topological order."""
    if checks.instance("draw", output, Tensor).is_leaf:
        raise ValueError(
            f"draw: {describe(output)} has no graph: it was not made from a Tensor with requires_grad=True, or was "
            "made inside no_grad(), or is detached"
        )
    return topological_order(output)


def _between(nodes: list[Tensor], start: Tensor) -> list[Tensor]:
    """The nodes that lie on the ways from `start` to the output, which is the last."""
    output = nodes[-1]
    on_way = {checks.instance("draw", start, Tensor)}
    on_way.update(node for node in nodes if any(x in on_way for x in node.inputs))
    if output is start:
        raise ValueError(f"draw: between {describe(output)} and itself there is nothing")
    if output not in on_way:
        raise ValueError(f"draw: {describe(output)} does not depend on {describe(start)}")
    if not start.requires_grad:
        raise ValueError(f"draw: no gradient flows back to {describe(start)}, which does not require one")
    return [node for node in nodes if node in on_way]


def _places(
    uses: Mapping[Tensor, list[Use]], columns: Mapping[Tensor, float | None], steps: list[int], notation: Notation
) -> tuple[list[Place], list[Link]]:
    """Every variable in its column, in topological order, and every use; a parameter stands in each that uses it."""
    output = next(reversed(uses))
    carried = {
        (use.source.name, use.source.layer)
        for target, made_of in uses.items()
        for use in made_of
        if None not in (use.source.step, columns[use.source])
        and columns[use.source] < columns[target]
        and columns[target] in steps
    }
    found: dict[tuple[Tensor, float], Place] = {}

    def place_of(tensor: Tensor, column: float) -> Place:
        key = (tensor, column if columns[tensor] is None else columns[tensor])
        if key not in found:
            state = tensor.step is not None and (tensor.name, tensor.layer) in carried
            kind = _kind(tensor, output, state, notation)
            found[key] = Place(tensor, key[1], f"n{len(found)}", kind, state and columns[tensor] is not None)
        return found[key]

    links = []
    for target, made_of in uses.items():
        sources = [place_of(use.source, columns[target]) for use in made_of]
        for source, use in zip(sources, made_of, strict=True):
            links.append(Link(source, place_of(target, columns[target]), use.users[0], use.paths))
    return list(found.values()), links


def _rolled(places: list[Place], links: list[Link], steps: list[int]) -> tuple[list[Place], list[Link], list[int]]:
    """The last step alone, which stands for all, with the states that it starts from, and what comes after it."""
    last, before = steps[-1], set(steps[:-1])
    kept = [link for link in links if link.target.column not in before]
    kept = [k for k in kept if k.source.column not in before or (k.source.carried and k.source.column == last - 1)]
    drawn = {p for link in kept for p in (link.source, link.target)}
    return [p for p in places if p in drawn], kept, [last]


def _without_middle(
    places: list[Place], links: list[Link], gap: set[float], column: int
) -> tuple[list[Place], list[Link]]:
    """What is outside a gap between columns; dots stand for the states that cross it, in a column of their own."""
    dots: dict[tuple, Place] = {}

    def stand_in(p: Place) -> Place:
        return dots.setdefault(p.role, Place(p.tensor, column, f"dots{len(dots)}", "elided", True))

    kept: dict[tuple[Place, Place], Link] = {}
    for link in links:
        p, q = link.source, link.target
        ends = (p.column in gap) + (q.column in gap)
        if ends == 0:
            kept[p, q] = link
        elif ends == 1 and p.carried:
            a, b = (stand_in(p), q) if p.column in gap else (p, stand_in(p))
            kept.setdefault((a, b), Link(a, b, link.user, None if b.kind == "elided" else link.paths))
    drawn = {p for pair in kept for p in pair}
    order = [p for p in (*places, *dots.values()) if p in drawn]
    order.sort(key=lambda p: (p is places[-1], p.column))
    return order, list(kept.values())


def _kind(tensor: Tensor, output: Tensor, carried: bool, notation: Notation) -> str:
    """What a node is to the reader; colours and shapes follow from it."""
    if tensor is output:
        return "output"
    if carried:
        return "state"
    if tensor.is_leaf:
        return "parameter" if tensor.requires_grad and tensor.step is None else "input"
    return "variable" if notation.writes(tensor) else "operation"
