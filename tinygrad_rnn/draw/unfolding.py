"""A recorded graph, read for drawing: what is drawn, in which column, and by whom it is written.

- What is drawn are the nodes that a level keeps, and links for their uses.
- Every time step is a column. A leaf that belongs to no step (a parameter) is drawn in each column that uses it.
- Of a long net the middle is left out, and of a rolled one all but a step.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypedDict

import numpy as np

from tinygrad_rnn import checks
from tinygrad_rnn.algebra.formulas import derivative, fold, variables
from tinygrad_rnn.algebra.notation import Names, Notation, is_parameter
from tinygrad_rnn.algebra.trees import Tree
from tinygrad_rnn.algebra.writer import Writer
from tinygrad_rnn.backward import topological_order
from tinygrad_rnn.draw.drawing import Point
from tinygrad_rnn.draw.states import Role, States, Uses
from tinygrad_rnn.draw.style import EDGE_FONT, NODE_FONT, text_width
from tinygrad_rnn.errors import describe
from tinygrad_rnn.tensor import GradientName, Tensor

WIDEST = 170.0  # a derivative that is wider is labelled as what it is, ∂L/∂z
LOOP = 74.0  # the width of a loop's label
LEVELS = ("states", "named", "primitives")
FITS = ("shared", "tight")
Output = Tensor | Sequence[Tensor]  # what is drawn: of one Tensor the graph, or of several
COLOURS = (None, "gradient", "value")


Keywords = TypedDict("Keywords", {  # noqa: UP013 - a class would be as long as Options
    "level": str, "notation": str | Notation, "max_steps": int | None, "rolled": bool, "values": bool, "shapes": bool,
    "color_by": str | None, "highlight": tuple[Tensor, int] | None, "parameters": bool, "fit": str, "font_size": float,
}, total=False)  # fmt: skip


@dataclass(frozen=True)
class Options:
    """The content and the look of a figure: the `Keywords` of every view.

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


@dataclass(eq=False)
class Place:
    """One drawn occurrence of a Tensor, in a column; a parameter has one in every column that uses it, and one in none
    for the whole of its gradient, which a sum over time makes.

    `width` and `height` are those of its shape, in whichever figure it is larger.
    """

    tensor: Tensor
    column: float | None
    id: str
    kind: str
    role: Role = (None, None, "", True)
    width: float = 0.0
    height: float = 0.0
    x: float = 0.0
    y: float = 0.0


@dataclass(eq=False)
class Link:
    """A line from `source` to `target`. By its kind it is a "value" that is used: that of `tensor`, which the source is
    or, as dots, stands for, and `user` is the primitive that takes it in, itself drawn or folded; or a "term" of a sum
    over time; or a "loop" from a state of a rolled graph to where a later step starts from it; or a "cut".

    `hops` are those of its use; None if these are too many to be written. `curve` is
    the Bézier curve from one to the other, which begins and ends in their shapes; `middle` that of its label. `weights`
    are the parameters that the source is multiplied by on its way to the target, at level "states", as keys; `room` is
    the width of its label, in whichever figure it is wider.
    """

    source: Place
    target: Place
    tensor: Tensor
    user: Tensor
    hops: list | None = None
    weights: dict[Tensor, None] = field(default_factory=dict)
    room: float = 0.0
    curve: tuple[Point, ...] = ()
    middle: Point | None = None
    kind: str = "value"


class Unfolded:
    """A recorded graph, read for drawing; or what lies between its outputs and `start`, if that is given.

    Attributes:
        outputs: the Tensors whose graph it is.
        places: in topological order, an output last. links: the uses of one by another.
        groups: of each pair of states that is drawn as one, as an LSTM's (h, c), its parts by the first of them.
        made_with: the parameters that each variable is made with, where these are not drawn.
        carried: the roles of the states, which go on from step to step.
        steps: the time steps that have a column. gap: the columns that are not drawn. hidden: per column of dots, how
            many steps it stands for. used: the columns that a Tensor is used from, drawn or not.
        names, notation: what it is written with.
        shared: the parameters that several steps use, and where they stand. totals: the place of the whole gradient of
            each.
        rolled: whether one step stands for all.
        columns: of every node, drawn or not.
        values: of every node of the whole graph, as it was when the graph was made.
        cut_states: the leaves whose past was cut off, drawn or not. cuts: the lines from scissors to those drawn.

    Raises:
        TypeError: no Tensors. ValueError: an output has no graph, or does not depend on `start`; or the steps are not
            alike, and cannot be rolled up.
    """

    def __init__(self, output: Output, options: Options, start: Tensor | None = None):
        self.outputs = _outputs(output)
        nodes = topological_order(*self.outputs)
        order = nodes if start is None else _between(nodes, self.outputs, start)
        self.level, self.rolled, self.values_written = options.level, options.rolled, options.values
        self.names = names = Names(nodes, self.outputs, options.notation)
        self.notation = notation = names.notation
        self.columns, drawn = names.columns, {names.columns[x] for x in order}
        steps = [step for step in names.time_steps if step in drawn]
        if self.rolled and not steps:
            raise ValueError("draw(rolled=True): no node of the graph belongs to a time step; say which with tg.label")
        ends = {*self.outputs, start} - {None}
        uses = fold(order, set(order) if self.level == "primitives" else variables(order, notation) | ends)
        self.carried = {self.role(x) for x in _carried(uses, self.columns, set(steps))}
        self.groups = {}
        if self.level == "states":
            states = States(order, uses, {x for x in uses if self.role(x) in self.carried}, ends, self.role)
            uses, self.groups = states.uses, states.groups
        folded = set(filter(is_parameter, uses)) if self.level == "states" or not options.parameters else set()
        self.made_with = {x: folded & {use.source for use in made_of} for x, made_of in uses.items()}
        uses = {x: [use for use in made_of if use.source not in folded] for x, made_of in uses.items()}
        self.cut_states = {x for x in uses if x.is_leaf and x.is_cut}
        # The step that stands for all is one in which no state begins: of a forward net the last, in reverse the first.
        flows = Counter(self.columns[x] for x, made_of in uses.items() for use in made_of if use.source.requires_grad)
        latest = {self.columns[x]: i for i, x in enumerate(uses)}
        one = max(steps, key=lambda step: (flows[step], latest[step]), default=None)
        if self.rolled:
            self._check_alike(uses, steps, one)
        most, others = options.max_steps or len(steps), [step for step in steps if step != one]
        middle = others if self.rolled else steps[most - most // 2 : len(steps) - most // 2]
        self.hidden: dict[float, int] = {middle[0]: len(middle)} if middle and not self.rolled else {}
        self.gap = {*middle, *(step - 0.5 for step in middle)}  # a cut state stands before what it is used in
        self.places, self.links = self._unfold(uses, set(steps))
        cut = [(p, p.tensor) for p in self.places if p.tensor in self.cut_states and p.kind != "elided"]
        self.cuts = [Link(Place(x, None, f"cut{i}", "cut"), p, x, x, kind="cut") for i, (p, x) in enumerate(cut)]
        self.steps = [step for step in steps if step not in self.gap]
        self.shared: dict[Tensor, list[Place]] = defaultdict(list)
        for p in self.places:
            is_in_all = self.rolled and p.kind == "parameter" and p.column in self.steps
            if p.kind != "elided" and p.tensor.requires_grad and (len(self.used[p.tensor]) > 1 or is_in_all):
                self.shared[p.tensor].append(p)
        self.totals = {x: Place(x, None, f"total{i}", of[0].kind) for i, (x, of) in enumerate(self.shared.items())}
        if self.rolled:
            names.steps = {x: f"t{at - one:+}".removesuffix("+0").replace("-", "−") for x, at in names.steps.items()}
        self.values = {x: array for node in nodes for x, array in zip(node.inputs, node.arguments, strict=False)}
        self.values |= {x: x.value for x in self.outputs}

    @cached_property
    def loops(self) -> list[Link]:
        """The ways of a rolled graph from its states to where a later step starts from them."""
        last = {p.role: p for p in self.places if self.rolled and p.role in self.carried and p.column in self.steps}
        starts = [p for p in self.places if p.role in last and p is not last[p.role]]
        starts.sort(key=lambda p: p.tensor.born)
        return [Link(last[p.role], p, p.tensor, p.tensor, kind="loop", room=LOOP) for p in starts]

    def role(self, x: Tensor) -> Role:
        """The role of a variable, alike in every step: its name, layer and primes, and whether it has no step."""
        return x.name, x.layer, self.names.prime(x), x.step is None

    def parts(self, p: Place) -> tuple[Tensor, ...]:
        """The Tensors that a place stands for: one, or those of a pair of states."""
        return self.groups.get(p.tensor, (p.tensor,))

    def _unfold(self, uses: Uses, steps: set[int]) -> tuple[list[Place], list[Link]]:
        """Every variable in its column, in topological order, and every use; a parameter stands wherever it is used.

        Of what crosses a gap states are drawn: dots for them, or in a rolled graph those that the step starts from. If
        none does, as where no state is learnt and so recorded, dots stand for all that is hidden.
        """
        hidden = {self.role(x): x for x in uses if self.is_hidden(x) and x.requires_grad}
        found: dict[Hashable, Place] = {}
        links: dict[tuple[Place, Place], Link] = {}
        self.used: dict[Tensor, set[float]] = defaultdict(set)

        def place(x: Tensor, column: float) -> Place:
            role = self.role(x)
            if column in self.gap and not self.rolled:
                id = f"dots{sum(p.kind == 'elided' for p in found.values())}"
                return found.setdefault(role, Place(hidden.get(role, x), min(self.hidden), id, "elided", role))
            new = Place(x, column, f"n{len(found)}", self._kind(x), role)
            return found.setdefault((x, column), new)

        for target, made_of in uses.items():
            column, drawn = self.columns[target], []
            read = Counter(self.role(x) for x in {use.source for use in made_of} if self.columns[x] in steps)
            for use in made_of:
                x, at = use.source, self._column(use.source, target)
                self.used[x].add(at)
                inside = (at in self.gap) + (column in self.gap)
                crosses = inside == 1 and self._is_state(x)
                if self.rolled:  # but what all steps go into, such as a mean, is made of the last
                    crosses &= column not in self.gap and read[self.role(x)] < len(steps)
                if inside == 0 or crosses:
                    drawn.append((place(x, at), use))
            for p, use in drawn:
                q = place(use.source if column in self.gap else target, column)
                link = Link(p, q, use.source, use.users[0], None if q.kind == "elided" else use.hops)
                links.setdefault((p, q), link).weights.update(dict.fromkeys(use.weights))
        for x in self.outputs:  # one that is made of parameters alone may have no link
            if x in uses and self.columns[x] not in self.gap:
                place(x, self.columns[x])
        if self.hidden and not any(p.kind == "elided" for p in found.values()):
            place(next(filter(self.is_hidden, uses)), min(self.hidden))
        return list(found.values()), list(links.values())

    def _column(self, x: Tensor, user: Tensor) -> float:
        """The column in which a node stands for its user: its own, if it has one."""
        return self.columns[user if self.columns[x] is None else x]

    def _is_state(self, x: Tensor) -> bool:
        return self.role(x) in self.carried and not (x.is_leaf and x.step is None)

    def _kind(self, x: Tensor) -> str:
        """The kind of a node to the reader; colours and shapes follow from it."""
        if x in self.outputs:
            return "output"
        if self._is_state(x):
            return "state"
        if x.is_leaf:
            return "parameter" if is_parameter(x) else "input"
        return "variable" if self.notation.writes(x) else "operation"

    def _check_alike(self, uses: Uses, steps: list[int], one: int) -> None:
        """Check that one step can stand for all: that the uses in each of them are in it too."""
        pairs = [(use.source, q) for q, made_of in uses.items() if self.columns[q] in steps for use in made_of]
        recurring = {(p, q): self._recurring(p, q, set(steps)) for p, q in pairs}
        last = {recurring[p, q]: p in self.cut_states for p, q in pairs if self.columns[q] == one}
        for p, q in sorted(pairs, key=lambda pair: self.columns[pair[1]]):
            use, is_cut = recurring[p, q], p in self.cut_states
            begins = p.is_leaf and not is_cut  # with an initial state, which has no past
            if use not in last or not (begins or is_cut == last[use]):
                raise ValueError(
                    f"draw(rolled=True): step {one} cannot stand for step {self.columns[q]}, where {describe(q)} "
                    f"is made of {describe(p)}{', whose past is cut off' if is_cut else ''}; draw all steps"
                )

    def _recurring(self, p: Tensor, q: Tensor, steps: Collection[int]) -> tuple:
        """The two variables of a use, and the steps between them, as they recur in every step."""
        made_by = [x.primitive if self._kind(x) == "operation" else None for x in (p, q)]
        at = self._column(p, q)
        back = self.columns[q] - step_of(p, at) if self._is_state(p) or at in steps else None
        return p if is_parameter(p) else (self.role(p), made_by[0], back), self.role(q), made_by[1]

    def is_hidden(self, tensor: Tensor) -> bool:
        """True if a node belongs to a hidden step."""
        return self.columns[tensor] in self.gap

    @cached_property
    def derivatives(self) -> dict[Link, Tree]:
        """∂target/∂source of every link whose derivative has a short notation; none at level "states"."""
        found, writer = {}, Writer(self.names, brief=True)
        for link in self.links if self.level != "states" else ():
            tree = None if link.hops is None else derivative(link.hops, self.notation.writes)
            if tree is not None and text_width(writer.text(tree), EDGE_FONT) <= WIDEST:
                found[link] = tree
        return found

    @cached_property
    def bypassed(self) -> set[Link]:
        """The links between whose ends there is another way too: what they pass on is the direct derivative, ∂⁺.

        Steps that are not drawn are such a way for the parameters that they use.
        """
        bit = {p.tensor: 1 << i for i, p in enumerate(self.places)}  # a parameter is one, wherever it stands
        before, farther = Counter[Place](), Counter[Place]()  # what a place is made of, and what that is, as bits
        for link in self.links:
            farther[link.target] |= before[link.source]
            before[link.target] |= before[link.source] | bit[link.source.tensor]
        unseen = self.shared.keys() if self.rolled or self.hidden else ()
        return {k for k in self.links if farther[k.target] & bit[k.source.tensor] or k.source.tensor in unseen}


def _outputs(output: Output) -> dict[Tensor, None]:
    """One output, or those of a list, checked to have a graph."""
    outputs: list[Any] = list(output) if isinstance(output, list | tuple) else [output]
    if not outputs:
        raise ValueError("draw: an empty list has no graph; give the outputs to draw")
    for x in outputs:
        if checks.instance("draw", x, Tensor).is_leaf:
            why = "made without requires_grad=True, inside no_grad(), or detached"
            raise ValueError(f"draw: {describe(x)} has no graph: it was {why}")
    return dict.fromkeys(outputs)


def _between(nodes: list[Tensor], outputs: Collection[Tensor], start: Tensor) -> list[Tensor]:
    """The nodes that lie on the ways from `start` to the outputs."""
    on_way = {checks.instance("draw", start, Tensor)}
    on_way.update(node for node in nodes if any(x in on_way for x in node.inputs))
    for output in outputs:
        if output is start or output not in on_way:
            raise ValueError(f"draw: {describe(output)} does not depend on {describe(start)}")
    if not start.requires_grad:
        raise ValueError(f"draw: no gradient flows back to {describe(start)}, which does not require one")
    return [node for node in nodes if node in on_way]


def _carried(uses: Uses, columns: Mapping[Tensor, float | None], steps: set[int]) -> set[Tensor]:
    """The named variables that one step hands on to another, and the states that a step starts from."""
    made = {(x.name, x.layer) for x in uses if not x.is_leaf}  # in reverse h(T+1), a leaf, stands where h(T) uses it
    home = {x: x.step if x.is_leaf and (x.name, x.layer) in made else columns[x] for x in uses}
    pairs = ((use.source, q) for q, made_of in uses.items() if columns[q] in steps for use in made_of)
    handed = {p for p, q in pairs if home[p] not in (None, columns[q]) and (p.is_leaf or columns[p] in steps)}
    named = {x for x in handed if x.name is not None and not isinstance(x.name, GradientName)}
    return {x for x in named if not (uses[x] and all(is_parameter(use.source) for use in uses[x]))}


def joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """One array, or the elements of several behind each other."""
    return arrays[0] if len(arrays) == 1 else np.concatenate([array.ravel() for array in arrays])


def step_of(x: Tensor, column: float) -> float:
    """The time step of what stands in a column: a state that steps start from stands before them, or between two."""
    return x.step if x.is_leaf and x.step is not None else column
