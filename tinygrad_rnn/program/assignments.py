"""The lines of a program: what is assigned to which variable at which step, and in which order.

A line refers to variables by family and step, so that steps can be compared: `source` finds the loops among them.
"""

import builtins
import itertools
import keyword
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tinygrad_rnn.naming import GradientName
from tinygrad_rnn.program.expressions import At, Printer, array_text, needs_definition, number_text, word
from tinygrad_rnn.program.graph import Node
from tinygrad_rnn.program.helpers import helpers
from tinygrad_rnn.program.schedule import Schedule

_LONGEST_NAME = 40
_SHORT = 3  # characters of a name that is made plural to tell it from another

_RESERVED = {*keyword.kwlist, *keyword.softkwlist, *dir(builtins), "np", "bptt", "t", "T"}


@dataclass(eq=False)
class Family:
    """A variable over all its steps.

    Attributes:
        base: its name without a step. stepped: whether it has steps.
        is_told_apart: whether its name is not that of its node, which another variable has.
        zeroed: the zeros that it starts as, if it is a sum to which each step adds.
        local: whether no step needs that of another.
    """

    base: str
    stepped: bool
    is_told_apart: bool = False
    zeroed: str = ""
    local: bool = False


class Ref(NamedTuple):
    """A variable in a line."""

    family: Family
    step: int | None


Part = str | Ref | At


@dataclass(eq=False)
class Assignment:
    """One assignment.

    Attributes:
        group: the step to whose lines it belongs. node: what it makes, where it completes that.
        forward: whether it stands in the forward pass.
    """

    target: Ref
    sign: str
    parts: list[Part]
    group: int | None
    node: Node | None
    forward: bool

    def pattern(self) -> tuple:
        """The line without its numbers, which lines that are alike have in common."""
        return (self.target.family, self.sign, *(_kind(part) for part in self.parts))

    def numbers(self) -> list[int | None]:
        """The steps and other whole numbers, target first."""
        of = [part.step if isinstance(part, Ref) else part for part in self.parts if not isinstance(part, str)]
        return [self.target.step, *of]

    def refs(self) -> Iterator[Ref]:
        """The variables that it takes; of what it adds to, too."""
        added_to = [self.target] if self.sign == "+=" else []
        return (part for part in (*added_to, *self.parts) if isinstance(part, Ref))


def _kind(part: Part) -> Any:
    return part if isinstance(part, str) else part.family if isinstance(part, Ref) else At


class Assignments:
    """The lines of the program, forward and backward, in the order of execution."""

    def __init__(self, schedule: Schedule):
        self.schedule, trace = schedule, schedule.trace
        self.layered = len({x.layer for x in schedule.live} - {None}) > 1
        self.taken: set[str] = set(_RESERVED)
        self.tries: dict[tuple, Iterator[str]] = {}
        self.families: dict[tuple, Family] = {}
        self.keys: dict[int | None, tuple] = {}  # of the families, by when the variables were born
        self.seen: Counter = Counter()
        called: dict[Callable, Node] = {}
        for node in schedule.live:
            functions = (x.function for x in schedule.expressions[node].walk() if x.function is not None)
            called |= {f: node for f in functions if needs_definition(f)}
        self.helpers, self.definitions = helpers(called, lambda name: self._new(name, False).base)
        leaves = [*zip(trace.graph.inputs, trace.input_names, strict=True)]
        leaves += [(x, self._lettered(x, "parameter")) for x in trace.graph.parameters]
        self.ref: dict[Node, Ref] = {x: Ref(self._new(name, False), None) for x, name in leaves}
        self.arguments = list(self.ref)

        self.lines: list[Assignment] = []
        self.copied = {x for x in schedule.outputs if x.name is not None and schedule.outputs.count(x) > 1}
        self.gradient_of: dict[Node, tuple[Node, Family]] = {}  # what is returned as an argument's gradient
        # before others take their names
        self.own = [self._named_gradient(i, x) for i, x in enumerate(schedule.outputs)]
        self.returned: list[Ref | None] = [None] * len(schedule.outputs)
        names = {(x.name, x.layer) for x in schedule.gathered if x.name is not None}
        alike = [x for x in schedule.lines if (x.name, x.layer) in names and not x.is_leaf]  # at other steps
        self.sums = {x: schedule.sums.get(x, [x]) for x in [*alike, *schedule.gathered]}
        terms = self._added_terms()
        for node in [*(x for x in schedule.lines if x.is_leaf), *schedule.live]:
            if node in schedule.lines and node not in self.sums:
                self._write(node)
            for whole, term in terms[node]:
                self._add(whole, term, completes=term is self.sums[whole][-1])
            if schedule.near.get(node, 0) is None and node not in schedule.forward:
                self._return(node)
        self._return(*schedule.outputs)
        self.lines.sort(key=lambda line: not line.forward)

    # Names

    def _lettered(self, node: Node, otherwise: str = "") -> str:
        """A name with its layer: h2, W2_i."""
        name = node.name if node.name is not None else otherwise
        base, mark, below = str(name).partition("_")
        return f"{base}{node.layer}{mark}{below}" if self.layered and node.layer is not None else str(name)

    def _new(self, name: str, stepped: bool) -> Family:
        """A variable of its own, called as like the name as can be."""
        name = unicodedata.normalize("NFKC", re.sub(r"[{}$]", "", name))[:_LONGEST_NAME]  # W_{hh} is W_hh
        name = "".join(c if f"a{c}".isidentifier() else "_" for c in name).strip("_") or "v"
        name = name if name.isidentifier() else f"v_{name}"
        tries = self.tries.setdefault((name, stepped), self._tries(name, stepped))
        base = next(x for x in tries if x not in self.taken)
        self.taken.add(base)
        return Family(base, stepped, is_told_apart=base != name)

    @staticmethod
    def _tries(name: str, stepped: bool) -> Iterator[str]:
        """A name; c, which is a parameter, as cs[t]; and what has the same name as others with a number."""
        yield name
        if stepped and len(name) <= _SHORT:
            yield f"{name}s"
        yield from (f"{name}_v{number}" if name[-1].isdigit() else f"{name}{number}" for number in itertools.count(2))

    def _named(self, node: Node, parts: Sequence[Part]) -> Ref:
        """The variable of a line; a node without a name gets that of the nodes which are made alike at other steps."""
        step = self.schedule.step(node)
        if node in self.gradient_of:
            return Ref(self.gradient_of[node][1], None)
        if isinstance(node.name, GradientName) and node.name.born in self.keys:
            of = self.keys[node.name.born]  # it is called after the variable
            key, name = ("gradient", *of), f"d{self.families[of].base}"
        elif node.name is not None:
            key, name = (type(node.name), node.name, node.layer), self._lettered(node)
        else:
            shapes = [(p.family, _offset(p.step, step)) if isinstance(p, Ref) else _kind(p) for p in parts]
            key, name = ("made", node.layer, *shapes), self._word(node, parts)
        key = (*key, self.seen[key, step], step is None)  # where several are called the same at one step, each its own
        self.seen[key[:-2], step] += 1
        self.keys[node.born] = key
        return Ref(self._family(key, step is not None, name), step)

    def _family(self, key: tuple, stepped: bool, name: str) -> Family:
        if key not in self.families:
            self.families[key] = self._new(name, stepped)
        return self.families[key]

    def _word(self, node: Node, parts: Sequence[Part]) -> str:
        if node is self.schedule.outputs[0]:
            return "loss"
        if node in self.schedule.gathered and node in self.schedule.sums:
            return f"{parts[0].family.base}_sum" if isinstance(parts[0], Ref) else "total"
        if len(node.inputs) == 1 and node.inputs[0].name is not None:
            return f"{node.primitive.name}_{self._lettered(node.inputs[0])}"
        return "constant" if node.is_leaf else word(self.schedule.expressions[node]) or node.primitive.name

    # Assignments

    def _added_terms(self) -> dict[Node, list[tuple[Node, Node]]]:
        """The sums over time, and the terms that are added to them once a node is computed: pairs (sum, term)."""
        schedule, found = self.schedule, defaultdict(list)
        position = {x: i for i, x in enumerate(schedule.live)}
        for node, terms in self.sums.items():
            for i, x in enumerate(terms):
                latest = max(terms[: i + 1], key=lambda x: position.get(x, -1))
                if i or x.number != 0.0 or x.ndim:  # as a sum starts
                    found[latest if latest in position else schedule.live[0]].append((node, x))
        return found

    def _add(self, node: Node, term: Node, completes: bool) -> None:
        """A line that adds a term to a sum, which starts as 0."""
        schedule = self.schedule
        parts = self._made(term) if term is node else self._operand(term, node)
        if node not in self.ref:
            self.ref[node] = self._named(node, parts)
            family, (of, _) = self.ref[node].family, self.gradient_of.get(node, (None, None))
            if schedule.step(node) is not None or (node.ndim == 0 and node.dtype == np.float64):
                family.zeroed = "0.0"
            elif of is not None and of.dtype == node.dtype:
                family.zeroed = f"np.zeros_like({self.ref[of].family.base})"
            else:
                family.zeroed = array_text(np.zeros(node.shape, node.dtype))
        group = schedule.near[node] if term is node else schedule.step(term)
        line = Assignment(self.ref[node], "+=", parts, group, node if completes else None, node in schedule.forward)
        self.lines.append(line)

    def _write(self, node: Node) -> None:
        parts, forward = self._made(node), node in self.schedule.forward
        self.ref[node] = target = self._named(node, parts)
        group = None if node.is_leaf else target.step if forward else self.schedule.near.get(node)
        self.lines.append(Assignment(target, "=", parts, group, node, forward))

    def _named_gradient(self, i: int, node: Node) -> Family | None:
        """The variable that output i is returned as, where it is not the node's own.

        The gradient of c is dc also where it is the array of another variable, dy.
        """
        trace, outputs = self.schedule.trace, self.schedule.outputs
        again = node in outputs[:i] or node.primitive is None
        if not 0 < i <= len(trace.wrt):
            return self._new("output" if i else "loss", False) if again else None
        leaf = trace.wrt[i - 1]
        name = f"d{self.ref[leaf].family.base}"
        if again or node.name != f"d{trace.wrt_names[i - 1]}":
            return self._new(name, False)
        if self.schedule.step(node) is None:
            self.gradient_of[node] = leaf, self._new(name, False)
            return None
        key = ("gradient", type(leaf.name), leaf.name, leaf.layer, 0, False, 0, False)
        self._family(key, True, self._lettered(node))  # dh(0) is one of dh(t)
        return None

    def _return(self, *nodes: Node) -> None:
        """Outputs as they are returned; what is returned twice, or is an argument, is returned as a copy."""
        for i, (node, own) in enumerate(zip(self.schedule.outputs, self.own, strict=True)):
            if node not in nodes or self.returned[i] is not None:
                continue
            self.returned[i] = self.ref[node] if own is None else Ref(own, None)
            if own is not None:
                parts = self._operand(node, node)
                if node in self.ref and (node.primitive is None or node in self.copied or node.primitive.is_view):
                    parts = [*parts, ".copy()"]
                self.copied.add(node)
                self.lines.append(Assignment(self.returned[i], "=", parts, None, None, False))

    # Expressions

    def _operand(self, x: Node, user: Node) -> list[Part]:
        """A variable, or the expression of what has no line."""
        return [self.ref[x]] if x in self.ref else self._made(x, user)

    def _made(self, node: Node, user: Node | None = None) -> list[Part]:
        """The expression of a node."""
        if node.is_leaf:
            return [self._constant(node, user)]
        if node in self.schedule.sums:
            terms = [self._operand(x, node) for x in self.schedule.sums[node]]
            return ["(", *terms[0], *(part for term in terms[1:] for part in (" + ", *term)), ")"]
        return Printer(lambda x: self._operand(x, node), self.helpers).parts(self.schedule.expressions[node])

    def _constant(self, x: Node, user: Node | None) -> str:
        """A number is written bare where NumPy makes of it what it makes of the constant."""
        if x.ndim == 0 and user is not None and not user.is_leaf and user.primitive.by_element:
            like = {np.dtype(np.float64), *([np.dtype(np.int64)] if x.dtype == np.int64 else [])}
            numbers = [y.dtype for y in user.inputs if y.value is None and y.dtype != np.bool_]
            if numbers and x.dtype in like and like.issuperset(numbers):
                return number_text(x.value.item())
        return array_text(x.value)


def _offset(step: int | None, of: int | None) -> int | None:
    return step if step is None or of is None else step - of
