"""The lines of a program's source: what is assigned to which variable at which step, and in which order.

- `Schedule`: which nodes get lines of their own, and in the course of which time step each stands.
- `Assignments`: what the variables are called, and the lines, forward and backward.

A line is made of texts and of references to variables at steps, so that steps can be compared: `source` finds the loops
among them.
"""

import builtins
import functools
import itertools
import keyword
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinygrad_rnn import primitives as P
from tinygrad_rnn.algebra.notation import Names
from tinygrad_rnn.program.expressions import WORDS, Part, Printer, Ref, array_text, helpers, number_text, read
from tinygrad_rnn.program.graph import Node, depth_first, replaced, rewritten
from tinygrad_rnn.program.passes import terms_of_sums
from tinygrad_rnn.program.tracing import Trace
from tinygrad_rnn.tensor import GradientName

# Which nodes get lines of their own, and in the course of which time step

DEEPEST = 8  # an expression that is nested more deeply gets lines of its own, as do sums of more terms than this,
_LONGEST_CONSTANT = 40  # and constants of more characters

_OUTPUT = replace(P.identity, name="output")


class Schedule:
    """The nodes of a trace that are written as lines of their own, and the time step of each.

    Attributes:
        expressions: how each node is written.
        live: the nodes that the outputs depend on, in the order of execution; where `folds`, without those that
            change no bit.
        outputs: of the trace. forward: what the loss and the further outputs are made of.
        step: of each node, its own or `near`. near: the step in whose course a node is computed.
        gathered: the sums over time, each with the terms that are added to it in turn. lines: the nodes that get lines.
        own: the outputs that are what another node is, too.
    """

    def __init__(self, trace: Trace, folds: bool):
        self.trace, self.folds = trace, folds
        graph = rewritten(trace.graph, _folded) if folds else replaced(trace.graph, {})
        self.outputs = _told_apart(graph.outputs, trace)
        self.own = {*self.outputs} - {*graph.outputs}
        # What is made of leaves alone stands right before it is used: x(t) in its step.
        starts = [x for x in graph.nodes if not all(y.is_leaf for y in x.inputs)]
        order = depth_first([*starts, *graph.guards, *self.outputs], lambda x: x.inputs[::-1])
        self.live = [x for x in order if not x.is_leaf]
        self.forward = {*depth_first([self.outputs[0], *self.outputs[1 + len(trace.graph.wrt) :], *graph.guards])}
        # Transposes of leaves are no lines of their own: ᵗU.
        self.short = {x: read(x) for x in self.live if x.is_transpose and x.inputs[0].is_leaf and x.name is None}
        self.expressions = {x: read(x, self.short) for x in self.live}
        self.uses = Counter(x.node for written in self.expressions.values() for x in written.walk() if x.node)
        self._find_steps()
        self._find_lines()
        place = {x: i for i, x in enumerate(self.live)}
        # An output of its own follows what it is, unless that is of a step: it would stand within a loop.
        place |= {x: place[x.inputs[0]] for x in self.own if self.near.get(x.inputs[0], 0) is None}
        self.live.sort(key=place.__getitem__)

    def step(self, x: Node) -> int | None:
        """The step of a variable; of a node without a name, the one in whose course it is computed."""
        return x.step if x.primitive is None or (x.name is not None and x.step is not None) else self.near.get(x)

    def _find_steps(self) -> None:
        """Find `near`, and the sums over time; these belong to no step, nor does what is made of them.

        `algebra.notation.steps_of` asks which step a node belongs to; here it is the one among whose lines a person
        writes it. The backward pass runs from the last step to the first, so that on the way back a node waits for the
        earliest step of what it is made of, where it is the latest on the way there. What has neither a name nor a step
        of its own, and goes into what stands in one step alone, is written there.
        """
        # A variable without a step, which is the only one of its name, belongs to none; y(1) and y(2) do.
        alone = Counter((x.name, x.layer) for x in self.live if x.name is not None and x.step is None)
        self.near: dict[Node, int | None] = {}
        sums, over_time = terms_of_sums(self.live, self.outputs), set[Node]()
        into: dict[Node, int] = {}  # the step of the first variable of a step that a node goes into
        for node in reversed(self.live):
            step = into.get(node) if node.step is None else node.step
            if node in self.forward and step is not None:
                into |= dict.fromkeys(node.inputs, step)
        stays = {*self.outputs}
        for node in self.live:
            steps = [(x in self.forward, self.step(x)) for x in node.inputs if x in self.near]
            own, terms = None if steps and node not in self.forward else node.step, sums.get(node, [])
            # W x(t) + U h(t-1) is no sum over time, but of the step of what is made of it.
            among = {self.step(x) for x in terms if x in self.near}
            spreads = own is None and node not in into and len(among) > 1
            if spreads or len(terms) > DEEPEST:
                over_time.add(node)
                stays |= {node, *terms}
            if node.step is None and (alone[node.name, node.layer] == 1 or node in self.own or node in over_time):
                self.near[node] = None
            elif own is not None:
                self.near[node] = own
            elif steps:
                there, back = ([s for way, s in steps if way is which and s is not None] for which in (True, False))
                self.near[node] = min(back, default=into.get(node, max(there, default=None)))
        needed: dict[Node, list[int | None]] = defaultdict(list)  # the steps of what each node goes into, last first
        for node in reversed(self.live):
            moves = node.name is None and node not in stays and (node.step is None or node not in self.forward)
            if node not in self.near or (moves and len({*needed[node]}) == 1):
                self.near[node] = needed[node][-1] if needed[node] else None
            for x in node.inputs:
                needed[x].append(self.near[node])
        names = {(x.name, x.layer) for x in over_time if x.name is not None}
        alike = [x for x in self.live if x in over_time or (x.name, x.layer) in names]  # these at other steps
        self.gathered = {x: sums.get(x, [x]) for x in alike}

    def _find_lines(self) -> None:
        self.lines: dict[Node, None] = {}
        depth: dict[Node, int] = {}
        starts = [*self.outputs, *(x for x in self.live if not self.uses[x])]
        terms = {x: terms for x, terms in self.gathered.items() if terms != [x]}
        needed = {*depth_first(starts, lambda x: terms.get(x, x.inputs))}  # all but what sums are on the way
        for node in filter(needed.__contains__, self.live):
            for x in node.inputs:
                if x.value is not None and (x.name or (x.ndim and len(array_text(x.value)) > _LONGEST_CONSTANT)):
                    self.lines[x] = None
            depth[node] = 1 + max((depth.get(x, 0) for x in node.inputs), default=0)
            folded = self.folds and self.uses[node] == 1 and node.name is None and depth[node] < DEEPEST
            if node in self.outputs or node in self.gathered or not (folded or node in self.short):
                self.lines[node] = None
                depth[node] = 0


def _folded(node: Node, inputs: tuple[Node, ...]) -> Node:
    """A node without what changes no bit: a factor of 1, or numbers that are repeated where NumPy repeats them."""
    for i, x in enumerate(inputs) if node.primitive.by_element else ():
        others = {y.shape for y in (*inputs[:i], *inputs[i + 1 :])}
        in_a_shape = x.primitive is not None and x.primitive.is_copy and not x.primitive.by_element
        if in_a_shape and x.name is None and x.inputs[0].ndim == 0 and node.shape in others:
            inputs = (*inputs[:i], x.inputs[0], *inputs[i + 1 :])
    return (node.unchanged(inputs) if node.name is None else None) or node.on(inputs)


def _told_apart(outputs: Sequence[Node], trace: Trace) -> tuple[Node, ...]:
    """The outputs as nodes of their own: the gradient of c is called dc also where it is the array of dy."""
    names = [None, *map(GradientName, trace.wrt_names, [x.born for x in trace.graph.wrt])]
    found: list[Node] = []
    for x, name in itertools.zip_longest(outputs, names):
        if x.is_leaf or x in found or (name and x.name is not None and getattr(x.name, "born", None) != name.born):
            x = Node(_OUTPUT, (x,), (), x.shape, x.dtype, name)
        found.append(x)
    return tuple(found)


# The lines

_LONGEST_NAME = 40
_SHORT = 3  # characters of a name that is made plural to tell it from another


@dataclass(eq=False)
class Assignment:
    """One assignment.

    Attributes:
        parts: its code: the target, = or +=, and the value. group: the step to whose lines it belongs.
        forward: whether it stands in the forward pass. node: what it makes, where it completes that.
    """

    parts: list[Any]
    group: int | None
    forward: bool
    node: Any = None

    target = property(lambda line: line.parts[0], doc="The variable that it sets.")

    def shifted(self, shift: int) -> "Assignment":
        """The line some steps later."""
        moved = [x if isinstance(x, str) or x.step is None else Ref(x.name, x.step + shift) for x in self.parts]
        return Assignment(moved, self.group + shift, self.forward)

    def variables(self) -> Iterator[Ref]:
        """The variables in it, target first."""
        return (part for part in self.parts if isinstance(part, Ref) and part.name)


def pattern(parts: Sequence[Part]) -> tuple[str, ...]:
    """Code without its whole numbers, which lines that are alike have in common."""
    return tuple([part if isinstance(part, str) else part.name for part in parts])


class Assignments:
    """The lines of the program, forward and backward, in the order of execution.

    Attributes:
        lines: all of them. ref: the variable that each node is. arguments: their names, with the leaves in each.
        zeros: what the variables that are sums start as. returned: the variables that are the outputs.
        definitions: the texts of functions that NumPy lacks. letters: the names of the forward pass, as in equations.
    """

    def __init__(self, schedule: Schedule):
        self.schedule, trace = schedule, schedule.trace
        self.layered = len({x.layer for x in schedule.live} - {None}) > 1
        forward = schedule.forward - schedule.own
        order = depth_first(filter(forward.__contains__, schedule.live), lambda x: x.inputs[::-1])
        self.letters = Names(sorted(order, key=lambda x: not x.is_leaf))
        self.taken = {*keyword.kwlist, *keyword.softkwlist, *dir(builtins), "np", "bptt", "forward", "t", "T"}
        self.names: dict[tuple, str] = {}  # of the variables, by what is the same at all steps of one
        self.named: dict[int | None, str] = {}  # these names, by when a node was born
        self.seen: Counter = Counter()
        self.helpers, self.definitions = helpers(schedule.expressions, self._new)
        self.ref: dict[Node, Ref] = {}
        self.lines: list[Assignment] = []
        self.arguments: dict[str, list[Node]] = defaultdict(list)
        given, argument = trace.graph.inputs + trace.graph.parameters, ""
        parameters = [(self._lettered(x) or "parameter", None) for x in trace.graph.parameters]
        for x, (name, number) in zip(given, [*trace.places, *parameters], strict=True):
            argument = self._new(name) if number in (None, 1) else argument
            self.arguments[argument].append(x)
            self.ref[x] = Ref(argument, number)
        for argument, nodes in self.arguments.items():
            if self.ref[nodes[0]].step is not None:
                part = self._new(argument.removesuffix("s"), stepped=True)  # of a list: as a rule, one for each step
                self.lines.append(Assignment([Ref(part), f" = dict(enumerate({argument}, 1))"], None, True))
                self.ref |= {x: Ref(part, i) for i, x in enumerate(nodes, 1)}
        self.zeros: dict[str, str] = {}
        self.gradient_of = dict(zip(schedule.outputs[1:], trace.graph.wrt))  # noqa: B905 - further outputs follow
        for gradient, x in self.gradient_of.items():  # before others take the names
            self.ref[gradient] = Ref(self._new(f"d{self.ref[x]}"))  # dx_1 for x[1]
        terms = self._added_terms()
        for node in [*(x for x in schedule.lines if x.is_leaf), *schedule.live]:
            if node in schedule.lines and node not in schedule.gathered:
                self._write(node)
            for whole, term in terms[node]:
                self._add(whole, term, completes=term is schedule.gathered[whole][-1])
        self.lines.sort(key=lambda line: not line.forward)
        self.returned = [self.ref[x] for x in schedule.outputs]

    # Names

    def _lettered(self, node: Node) -> str:
        """A name with its layer, if it has one: h2, W2_i."""
        base, mark, below = (node.name or "").partition("_")
        return f"{base}{node.layer if self.layered and node.layer is not None else ''}{mark}{below}"

    def _new(self, name: str, stepped: bool = False) -> str:
        """A name of its own, as like the one wanted as can be: c, which is a parameter, as cs[t]; others numbered."""
        name = unicodedata.normalize("NFKC", re.sub(r"[{}$]", "", name))[:_LONGEST_NAME]  # W_{hh} is W_hh
        name = "".join(c if f"a{c}".isidentifier() else "_" for c in name).strip("_") or "v"
        name = name if name.isidentifier() else f"v_{name}"
        plural = [f"{name}s"] if stepped and len(name) <= _SHORT else []
        numbered = (f"{name}_v{number}" if name[-1].isdigit() else f"{name}{number}" for number in itertools.count(2))
        found = next(x for x in itertools.chain([name], plural, numbered) if x not in self.taken)
        self.taken.add(found)
        return found

    def _target(self, node: Node, value: Sequence[Part]) -> Ref:
        """The variable of a line; a node without a name gets that of the nodes which are made alike at other steps."""
        if node in self.ref:
            return self.ref[node]
        step, mark = self.schedule.step(node), None
        if isinstance(node.name, GradientName) and node.name.born in self.named:
            name = f"d{self.named[node.name.born]}"
        elif node.name is not None:
            name = self._lettered(node)
            mark = None if node.step is None else self.letters.primes.get(node.born)  # the states of two nets
        else:
            name, mark = self._word(node, value), pattern(value)
        key = name, mark, step is None
        family = key, self.seen[key, step]  # where several are called the same at one step, each its own
        self.seen[key, step] += 1
        if family not in self.names:
            self.names[family] = self._new(name, step is not None)
        self.named[node.born] = self.names[family]
        self.ref[node] = Ref(self.names[family], step)
        return self.ref[node]

    def _word(self, node: Node, value: Sequence[Part]) -> str:
        if self.schedule.trace.graph.wrt and node is self.schedule.outputs[0]:
            return "loss"
        if node in self.schedule.gathered:
            return f"{value[0].name}_sum" if isinstance(value[0], Ref) and value[0].name else "total"
        if len(node.inputs) == 1 and node.inputs[0].name is not None:
            return f"{node.primitive.name}_{self._lettered(node.inputs[0])}"
        if node.is_leaf:
            return "constant"
        return WORDS.get(self.schedule.expressions[node].function, node.primitive.name)

    # Assignments

    def _added_terms(self) -> dict[Node, list[tuple[Node, Node]]]:
        """The sums over time, and the terms that are added to them once a node is computed: pairs (sum, term)."""
        schedule, found = self.schedule, defaultdict(list)
        position = {x: i for i, x in enumerate(schedule.live)}
        later = functools.partial(max, key=lambda x: position.get(x, -1))
        for node, terms in schedule.gathered.items():
            for x, latest in zip(terms, itertools.accumulate(terms, later), strict=True):
                if x is not terms[0] or x.number != 0.0 or x.ndim:  # as a sum starts
                    found[latest if latest in position else schedule.live[0]].append((node, x))
        return found

    def _add(self, node: Node, term: Node, completes: bool) -> None:
        """A line that adds a term to a sum, which starts as 0."""
        schedule = self.schedule
        value = self._made(term) if term is node else self._operand(term, node)
        target, of = self._target(node, value), self.gradient_of.get(node)
        zero = "0.0" if node.ndim or node.dtype == np.float64 else array_text(np.zeros((), node.dtype))
        self.zeros[target.name] = zero if of is None else f"np.zeros_like({self.ref[of]})"
        group = schedule.near[node] if term is node else schedule.step(term)
        parts, whole = [target, " += ", *value], node if completes else None
        self.lines.append(Assignment(parts, group, node in schedule.forward, whole))

    def _write(self, node: Node) -> None:
        value, schedule = self._made(node), self.schedule
        is_literal = node in schedule.own and node.inputs[0] not in self.ref
        if node in schedule.outputs and node.primitive.is_view and not is_literal:
            value = [*value, ".copy()"]  # the caller's own array
        parts = [self._target(node, value), " = ", *value]
        self.lines.append(Assignment(parts, schedule.near.get(node), node in schedule.forward, node))

    # Expressions

    def _operand(self, x: Node, user: Node) -> list[Part]:
        """A variable, or the expression of what has no line."""
        return [self.ref[x]] if x in self.ref else self._made(x, user)

    def _made(self, node: Node, user: Node | None = None) -> list[Part]:
        """The expression of a node."""
        if node.is_leaf:
            return [self._constant(node, user)]
        return Printer(lambda x: self._operand(x, node), self.helpers).parts(self.schedule.expressions[node])

    def _constant(self, x: Node, user: Node | None) -> str:
        """A number is written bare where NumPy makes of it what it makes of the constant."""
        if x.ndim == 0 and user is not None and not user.is_leaf and user.primitive.by_element:
            others = {y.dtype for y in user.inputs if y.value is None and y.dtype != np.bool_}
            if x.dtype == np.float64 and others == {x.dtype}:
                return number_text(x.value.item())
        return array_text(x.value)
