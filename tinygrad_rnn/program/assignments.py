"""The lines of a program: what is assigned to which variable at which step, and in which order.

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
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_rnn.algebra.notation import Names
from tinygrad_rnn.program.expressions import WORDS, Part, Printer, Ref, array_text, helpers, number_text
from tinygrad_rnn.program.graph import Node, depth_first
from tinygrad_rnn.program.schedule import Schedule
from tinygrad_rnn.tensor import GradientName

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
        order = depth_first(filter(schedule.forward.__contains__, schedule.live), lambda x: x.inputs[::-1])
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
        self.gradient_of = dict(zip(schedule.outputs[1:], trace.wrt))  # noqa: B905 - further outputs follow
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
        if self.schedule.trace.wrt and node is self.schedule.outputs[0]:
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
