"""A recorded graph, read for drawing: what is drawn, in which column, and by whom it is written.

- What is drawn are the nodes that `folding` keeps, and links for their uses.
- Every time step is a column. A leaf that belongs to no step (a parameter) is drawn in each column that uses it.
- Of a long net the middle is left out, and of a rolled one all but a step.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tinygrad_rnn import checks
from tinygrad_rnn.algebra.columns import columns_of, is_parameter
from tinygrad_rnn.algebra.formulas import derivative
from tinygrad_rnn.algebra.notation import Names, Notation
from tinygrad_rnn.algebra.trees import Tree
from tinygrad_rnn.algebra.typesetting import MARKUP, PLAIN
from tinygrad_rnn.algebra.variables import Use, fold, variables
from tinygrad_rnn.algebra.writer import Writer
from tinygrad_rnn.backward import topological_order
from tinygrad_rnn.descriptions import describe
from tinygrad_rnn.draw.grid import Link, Place, Role
from tinygrad_rnn.draw.states import States
from tinygrad_rnn.draw.style import NODE_FONT
from tinygrad_rnn.naming import GradientName
from tinygrad_rnn.tensor import Tensor

LEVELS = ("states", "named", "primitives")
FITS = ("shared", "tight")
COLOURS = (None, "gradient", "value")


@dataclass(frozen=True)
class Options:
    """The content and the look of a figure: the keywords of every view.

    Attributes:
        level: "states" draws x(t), h(t), y(t) and the losses, with the weights on the arrows; "named" the variables;
            "primitives" every primitive, node by node.
        notation: whose letters: one of `NOTATIONS`, by its name, or a `Notation`.
        max_steps: of a longer net so many steps are drawn, the first and the last; the others are a column of dots.
        rolled: one step stands for all, and a loop leads from its states back to those that it started from.
        values: write the value into every node, or backward its gradient; of long arrays shape and norm.
        shapes: write the shape into every node.
        color_by: "gradient" or "value": fill the nodes by log ‖∂L/∂node‖, or by log ‖value‖.
        highlight: (parameter, step): the term of the parameter's gradient that goes through that step, all else faint.
        parameters: draw the parameters, and the sums of their gradients; never at level "states".
        fit: "shared" frames the forward and the backward figure alike, so that they lie on each other; "tight" frames
            what is drawn.
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
    parameters: bool = True
    fit: str = "shared"
    font_size: float = NODE_FONT

    def __post_init__(self) -> None:
        switches = dict.fromkeys(["rolled", "values", "shapes", "parameters"], (True, False))
        for name, known in {"level": LEVELS, "color_by": COLOURS, "fit": FITS, **switches}.items():
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
    """A recorded graph, read for drawing; or what lies between its outputs and `start`, if that is given.

    Attributes:
        outputs: the Tensors whose graph it is.
        places: in topological order, an output last. links: the uses of one by another.
        groups: of each pair of states that is drawn as one, as an LSTM's (h, c), its parts by the first of them.
        weights: at level "states", the parameters that the source of a link is multiplied by on its way to the target.
        made_with: the parameters that a place is made with and that are not drawn.
        carried: the roles of the states, which go on from step to step.
        steps: the time steps that have a column. hidden: per column of dots, how many steps it stands for. gap: the
            columns that are not drawn for it. used: the columns that a leaf stands in, drawn or not.
        writer, markup: what writes it, as plain text and as labels are drawn.
        shared: the parameters that several steps use, and where they stand.
        rolled: whether one step stands for all.
        columns: of every node, drawn or not.
        values: of every node of the whole graph, as it was when the graph was made.
        cut_states: the leaves whose past was cut off, drawn or not.

    Raises:
        TypeError: no Tensors. ValueError: an output has no graph, or does not depend on `start`; or the steps are not
            alike, and cannot be rolled up.
    """

    def __init__(self, output: Tensor | Sequence[Tensor], options: Options, start: Tensor | None = None):
        self.outputs = _outputs(output)
        nodes = _nodes(self.outputs)
        order, notation = nodes if start is None else _between(nodes, self.outputs, start), options.notation
        self.notation = notation = Notation.named(notation)
        self.level, self.rolled, self.values_written = options.level, options.rolled, options.values
        self.columns, steps = columns_of(order)
        self.names = names = Names(nodes, self.outputs)
        ends = {*self.outputs, start} - {None}
        uses = fold(order, set(order) if self.level == "primitives" else variables(order, notation) | ends)
        self.carried = {self.role(x) for x in _carried(uses, self.columns, set(steps))}
        self.groups: dict[Tensor, tuple[Tensor, ...]] = {}
        states = None
        if self.level == "states":
            states = States(order, uses, {x for x in uses if self.role(x) in self.carried}, ends, self.role)
            uses, self.groups = states.uses, states.groups
        places, links = self._places(uses, steps, states, options.parameters and states is None)
        self.used = defaultdict(list)
        for p in places:
            self.used[p.tensor].append(p.column)
        self.cut_states = {p.tensor for p in places if p.tensor.is_leaf and p.tensor.is_cut}
        self.hidden: dict[int, int] = {}
        self.gap: set[float] = set()
        if self.rolled and not steps:
            raise ValueError("draw(rolled=True): no node of the graph belongs to a time step; say which with tg.label")
        if self.rolled:
            places, links, steps = self._rolled(places, links, steps)
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
        self.shared = {x: where for x, where in standing.items() if len(self.used[x]) > 1 and x.requires_grad}
        if self.rolled:  # what stands in the step stands in all of them
            self.shared = {x: [p] for x, (p, *_) in standing.items() if p.kind == "parameter" and p.column == steps[0]}
            names.steps = {x: _relative(k - steps[0]) for x, k in names.steps.items()}
        self.writer, self.markup = (Writer(names, notation, to, brief=True) for to in (PLAIN, MARKUP))
        self.write = lambda kind, **how: kind(names, notation, MARKUP, brief=True, **how)
        self.values = {x: array for node in nodes for x, array in zip(node.inputs, node.arguments, strict=False)}
        self.values |= {x: x.value for x in self.outputs}

    @property
    def cuts(self) -> list[Place]:
        """The places of what was cut off from its past: detached, or by truncation."""
        return [p for p in self.places if p.tensor in self.cut_states and p.kind != "elided"]

    @property
    def loops(self) -> list[tuple[Place, Place, int]]:
        """Of a rolled graph, the states that go back, where to, and over how many steps."""
        last = {p.role: p for p in self.places if self.rolled and p.carried and p.column in self.steps}
        starts = [p for p in self.places if p.role in last and p is not last[p.role]]
        return [(last[p.role], p, self.steps[0] - _step(p)) for p in starts]

    def role(self, x: Tensor) -> Role:
        """The name of a variable, told apart from others, and its layer, which are the same in every step."""
        return x.name, x.layer, self.names.prime(x)

    def parts(self, p: Place) -> tuple[Tensor, ...]:
        """The Tensors that a place stands for: one, or those of a pair of states."""
        return self.groups.get(p.tensor, (p.tensor,))

    def _places(
        self, uses: Mapping[Tensor, list[Use]], steps: Sequence[int], states: States | None, parameters: bool
    ) -> tuple[list[Place], list[Link]]:
        """Every variable in its column, in topological order, and every use; a parameter stands wherever it is used."""
        main = {x: first for first, parts in self.groups.items() for x in parts}
        found: dict[tuple[Tensor, float], Place] = {}
        links: dict[Link, None] = {}
        joining: dict[tuple[Place, Place], Link] = {}  # of those whose ends may be pairs of states
        self.made_with, self.weights = defaultdict(set), defaultdict(list)

        def place_of(tensor: Tensor, column: float) -> Place:
            tensor = main.get(tensor, tensor)
            key = (tensor, column if self.columns[tensor] is None else self.columns[tensor])
            if key not in found:
                role = self.role(tensor)
                state = role in self.carried and not (tensor.is_leaf and tensor.step is None)
                moves = state and self.columns[tensor] is not None
                found[key] = Place(tensor, key[1], f"n{len(found)}", self._kind(tensor, state), moves, role)
            return found[key]

        for target, made_of in uses.items():
            column = self.columns[target]
            drawn = made_of if parameters else [use for use in made_of if not is_parameter(use.source)]
            sources = [place_of(use.source, column) for use in drawn]
            q = place_of(target, column) if made_of else None
            for source, use in zip(sources, drawn, strict=True):
                if source is not q:
                    link = Link(source, q, use.users[0], use.paths)
                    if states:
                        link = joining.setdefault((source, q), link)
                        self.weights[link] += states.weights[target][use.source]
                    links[link] = None
            if q and not parameters:
                self.made_with[q].update(use.source for use in made_of if is_parameter(use.source))
        return list(found.values()), list(links)

    def _kind(self, tensor: Tensor, state: bool) -> str:
        """The kind of a node to the reader; colours and shapes follow from it."""
        if tensor in self.outputs:
            return "output"
        if state:
            return "state"
        if tensor.is_leaf:
            return "parameter" if is_parameter(tensor) else "input"
        return "variable" if self.notation.writes(tensor) else "operation"

    def _rolled(self, places: list[Place], links: list[Link], steps: list[int]) -> tuple[list[Place], list[Link], list]:
        """The last step alone, which stands for all, with the states that it starts from, and what comes after it."""
        last, every, before = steps[-1], set(steps), set(steps[:-1])
        made: dict[float, dict[tuple, Link]] = defaultdict(dict)
        for link in links:
            made[link.target.column][_use(link, every)] = link
        for step in steps:
            for use, link in made[step].items():
                p, q, is_cut = link.source.tensor, link.target.tensor, link.source.tensor in self.cut_states
                begins = p.is_leaf and not is_cut  # with an initial state, which has no past
                if use in made[last] and (begins or is_cut == (made[last][use].source.tensor in self.cut_states)):
                    continue
                raise ValueError(
                    f"draw(rolled=True): step {last} cannot stand for step {step}, where {describe(q)} is made of "
                    f"{describe(p)}{', whose past is cut off' if is_cut else ''}; draw all steps"
                )
        read: dict[tuple, set] = defaultdict(set)  # the steps whose variable of a role goes into what comes after them
        for link in links:
            if link.target.column not in every:
                read[link.target, link.source.role].add(link.source.column)
        kept = []
        for link in links:
            p, q = link.source, link.target
            earlier = p.carried and not read[q, p.role] >= every  # not what all steps go into, such as a mean
            if q.column not in before and (p.column not in before or earlier):
                kept.append(link)
        drawn = {p for link in kept for p in (link.source, link.target)}
        return [p for p in places if p in drawn], kept, [last]

    def value(self, p: Place) -> np.ndarray:
        """The value of a place; those of a pair of states behind each other."""
        return joined([self.values[x] for x in self.parts(p)])

    def is_hidden(self, tensor: Tensor) -> bool:
        """Tell whether a node belongs to a hidden step."""
        return self.columns[tensor] in self.gap

    @cached_property
    def derivatives(self) -> dict[Link, Tree]:
        """∂target/∂source of every link whose derivative has a short notation."""
        writes = self.writer.notation.writes
        found = {k: derivative(k.paths[::-1], writes) for k in self.links if k.paths is not None}
        return {link: tree for link, tree in found.items() if tree is not None}

    @cached_property
    def bypassed(self) -> set[Link]:
        """The links between whose ends there is another way too: what they pass on is the direct derivative, ∂⁺.

        Steps that are not drawn are such a way for the parameters that they use.
        """
        bit = {p.tensor: 1 << i for i, p in enumerate(self.places)}  # a parameter is one, wherever it stands
        before, farther = Counter(), Counter()  # what each place is made of, and what that is made of, as bits
        for link in self.links:
            farther[link.target] |= before[link.source]
            before[link.target] |= before[link.source] | bit[link.source.tensor]
        unseen = self.shared.keys() if self.rolled or self.hidden else ()
        ends = [(link, link.source.tensor) for link in self.links]
        return {link for link, x in ends if farther[link.target] & bit[x] or x in unseen}

    @cached_property
    def has_gradients(self) -> bool:
        """True if there are gradients among the variables, as in a recorded backward graph."""
        return any(isinstance(x.name, GradientName) for x in self.columns)

    @cached_property
    def sums(self) -> dict[Tensor, tuple[str, str]]:
        """The ids of a shared parameter's Σ, and of the gradient that it makes; numbered as parameters are found."""
        return {x: (f"sum{i}", f"total{i}") for i, x in enumerate(self.shared)}


def _outputs(output: Tensor | Sequence[Tensor]) -> dict[Tensor, None]:
    """One output, or those of a list, checked to have a graph."""
    outputs = list(output) if isinstance(output, list | tuple) else [output]
    if not outputs:
        raise ValueError("draw: an empty list has no graph; give the outputs to draw")
    for x in outputs:
        if checks.instance("draw", x, Tensor).is_leaf:
            raise ValueError(
                f"draw: {describe(x)} has no graph: it was not made from a Tensor with requires_grad=True, or was "
                "made inside no_grad(), or is detached"
            )
    return dict.fromkeys(outputs)


def _nodes(outputs: Collection[Tensor]) -> list[Tensor]:
    """All nodes of a graph, in topological order."""
    if len(outputs) == 1:
        return topological_order(*outputs)
    return sorted({node for x in outputs for node in topological_order(x)}, key=lambda node: node.born)


def _between(nodes: list[Tensor], outputs: Collection[Tensor], start: Tensor) -> list[Tensor]:
    """The nodes that lie on the ways from `start` to the outputs."""
    on_way = {checks.instance("draw", start, Tensor)}
    on_way.update(node for node in nodes if any(x in on_way for x in node.inputs))
    for output in outputs:
        if output is start:
            raise ValueError(f"draw: between {describe(output)} and itself there is nothing")
        if output not in on_way:
            raise ValueError(f"draw: {describe(output)} does not depend on {describe(start)}")
    if not start.requires_grad:
        raise ValueError(f"draw: no gradient flows back to {describe(start)}, which does not require one")
    return [node for node in nodes if node in on_way]


def _carried(uses: Mapping[Tensor, list[Use]], columns: Mapping[Tensor, float | None], steps: set[int]) -> set[Tensor]:
    """The named variables that one step hands on to another, and the states that a step starts from."""
    return {
        use.source
        for target, made_of in uses.items()
        for use in made_of
        if columns[target] in steps
        and columns[use.source] not in (None, columns[target])
        and (use.source.is_leaf or columns[use.source] in steps)
        and not (uses[use.source] and all(is_parameter(of.source) for of in uses[use.source]))
        and use.source.name is not None
        and not isinstance(use.source.name, GradientName)
    }


def joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """One array, or the elements of several behind each other."""
    return arrays[0] if len(arrays) == 1 else np.concatenate([array.ravel() for array in arrays])


def _use(link: Link, steps: set[int]) -> tuple:
    """The two variables of a use, and the steps between them, as they recur in every step."""
    p, q = link.source, link.target
    back = q.column - _step(p) if p.carried or p.kind == "state" or p.column in steps else None
    return p.tensor if p.kind == "parameter" else (p.role, _made_by(p), back), q.role, _made_by(q)


def _made_by(p: Place) -> str | None:
    return p.tensor.primitive.name if p.kind == "operation" else None


def _step(p: Place) -> float:
    """The time step that a place is of: a state that steps start from stands before them, or between two."""
    return p.tensor.step if p.tensor.step is not None and p.tensor.is_leaf else p.column


def _relative(steps: int) -> str:
    """A time step, as one of a rolled graph: t−1."""
    return "t" if not steps else f"t−{-steps}" if steps < 0 else f"t+{steps}"


def _without_middle(
    places: list[Place], links: list[Link], gap: set[float], column: int
) -> tuple[list[Place], list[Link]]:
    """Leave out the columns of a gap; dots stand for the states that cross it, in a column of their own."""
    dots: dict[tuple, Place] = {}
    hidden = {p.role: p.tensor for p in places if p.column in gap and p.tensor.requires_grad}

    def stand_in(p: Place) -> Place:
        tensor = hidden.get(p.role, p.tensor)  # not an initial state that reaches into the gap
        return dots.setdefault(p.role, Place(tensor, column, f"dots{len(dots)}", "elided", True, p.role))

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
