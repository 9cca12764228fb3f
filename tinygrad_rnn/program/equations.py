"""The equations that stand above the lines of a program, as comments.

They are what the rules of the table make of symbols, as the formulas of the figures are.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from tinygrad_rnn.algebra.formulas import back
from tinygrad_rnn.algebra.notation import Names
from tinygrad_rnn.algebra.trees import Tree, Unwritten, gradient, negative, number
from tinygrad_rnn.algebra.variables import fold
from tinygrad_rnn.algebra.writer import PRODUCT, Writer
from tinygrad_rnn.program.assignments import Assignment, Assignments
from tinygrad_rnn.program.expressions import Ref
from tinygrad_rnn.program.graph import Node
from tinygrad_rnn.tensor import GradientName

_Use = tuple[Any, list | None]  # what a variable goes into, and the paths there


class _Writer(Writer):
    """Writes variables as the code calls them, with their steps but for that of the lines: ĥ = W x + U h(1) + b.

    Attributes:
        now: the step of the lines. inside: whether steps are relative to it, as in h(t−1).
    """

    def __init__(self, names: Names, ref: Mapping[Any, Ref], step_text: Callable[[int], str]):
        super().__init__(names)
        self.ref, self.step_text, self.inside = ref, step_text, False
        self.now: int | None = None
        self.nonlinearities = []  # each by its own name

    def variable(self, tensor: Any, at: float | str | None = None) -> str:
        if tensor not in self.ref:
            return super().variable(tensor, at)
        name, step = self.ref[tensor]
        if step in (None, self.now):
            return name
        if not self.inside or self.now is None:
            return f"{name}({self.step_text(step)})"
        return f"{name}(t−{self.now - step})" if step < self.now else f"{name}(t+{step - self.now})"

    def _total(self, t: Tree) -> str:
        """Σ: of rows; or over time, with its limits, of what is written as in one of its steps."""
        if t.of is None:
            return super()._total(t)
        before = self.now, self.inside
        (limits, self.now), self.inside = t.of, True
        text = f"Σ{limits} {self.text(t.parts[0], PRODUCT)}"
        self.now, self.inside = before
        return text


class Equations:
    """The equations that stand above the lines: how variables are made, and the chain rule for their gradients."""

    def __init__(self, lines: Assignments, step_text: Callable[[int], str]):
        self.ref, self.hooked = lines.ref, lines.schedule.trace.hooked
        self.step_text = lambda step: step_text(step).replace(" - ", "−")
        order, self.writer = list[Any](lines.letters.nodes), _Writer(lines.letters, self.ref, self.step_text)
        gradients = {line.node.name.born for line in lines.lines if _is_gradient(line)}
        # Those whose gradients have lines; an equation needs names.
        self.variables = {x.born: x for x in order if x.name is not None and x.born in gradients}
        self.between = self.hooked.difference(self.variables)  # hooks on nodes that no equation names
        self.steps: dict[str, set[int | None]] = defaultdict(set)  # of the variables of each name
        for x in self.variables.values():
            self.steps[self.ref[x].name].add(self.ref[x].step)
        uses: dict[Any, list[_Use]] = defaultdict(list)
        ends: set[Any] = {lines.schedule.outputs[0], *self.variables.values()}
        for target, found in fold(order, ends).items():
            for use in found:
                paths = use.paths and [path for path in use.paths if all(node.primitive.vjps for node, _ in path)]
                uses[use.source] += [] if paths == [] else [(target, paths)]
        self.uses = {x: self._alike(uses[x] if x.is_leaf else uses[x][::-1]) for x in self.variables.values()}
        self.summed = {x for x, groups in self.uses.items() if len(groups) < len(uses[x])}

    def of(self, lines: Sequence[Assignment], now: int | None, inside: bool) -> list[str]:
        """The equations of lines that belong to a step, in or outside of a loop."""
        self.writer.now, self.writer.inside = now, inside
        found = []
        for line in lines:
            node = line.node
            if _is_gradient(line):
                x = self.variables.get(node.name.born)
                found += [] if x is None or x in self.summed else self._equation(x)
            elif line.forward and node is not None and node.name is not None and _is_derived(node):
                found.append(f"{self.writer.variable(node)} = {self.writer.expression(node)}")
        return found

    def sums(self) -> list[str]:
        """The gradients of what several steps use alike, as sums over time."""
        self.writer.now, self.writer.inside = None, False
        return [text for x in self.uses if x in self.summed for text in self._equation(x)]

    def _alike(self, uses: Sequence[_Use]) -> list[list[_Use]]:
        """Uses of a variable, those together that are the same but for the step."""
        groups: dict[Any, list[_Use]] = defaultdict(list)
        self.writer.inside = True
        for use in uses:
            self.writer.now, key = self.ref[use[0]].step, use[0]
            with suppress(Unwritten):
                key = self.writer.text(self._term(use))
            groups[key].append(use)
        return list(groups.values())

    def _equation(self, x: Node) -> list[str]:
        """The gradient of a variable as the sum of what its uses give; none if that has no notation, or is too long, or
        if a hook makes something else of it."""
        try:
            terms = [self._sum(uses) for uses in self.uses[x]]
        except Unwritten:
            return []
        known = terms and x.born not in self.hooked and not any(map(_has_dots, terms))
        return [f"d{self.writer.variable(x)} = {self.writer.text(Tree('sum', terms))}"] if known else []

    def _sum(self, uses: Sequence[_Use]) -> Tree:
        """The sum of the terms of uses that are alike, with the first and the last step if there are others too."""
        term = self._term(uses[0])
        if len(uses) == 1:
            return term
        (name, now), steps = self.ref[uses[0][0]], sorted(self.ref[target].step for target, _ in uses)
        limits = ""
        if set(steps) != self.steps[name]:
            limits = f"[t={self.step_text(steps[0])}…{self.step_text(steps[-1])}]"
            if steps != list(range(steps[0], steps[-1] + 1)):
                raise Unwritten("a sum over some steps")
        found = Tree("total", [term.parts[0] if term.head in ("negative", "total") else term], (limits, now))
        return negative(found) if term.head == "negative" else found

    def _term(self, use: _Use) -> Tree:
        """The term of one use of a variable: what the rules on the way back make of the gradient there."""
        target, paths = use
        if paths is None or any(x.born in self.between for path in paths for x, _ in path):
            raise Unwritten("too many paths, or a hook on one")
        start = gradient(target) if target.born in self.variables else number(1).shaped(target.shape, True)
        return back(paths, start, self.writer.notation.writes)


def _is_gradient(line: Assignment) -> bool:
    return not line.forward and line.node is not None and isinstance(line.node.name, GradientName)


def _is_derived(node: Node) -> bool:
    """Whether a node is more than a part of what is given."""
    return not all(x.is_leaf for x in node.inputs) or (not node.is_leaf and "{f}" in node.primitive.written)


def _has_dots(t: Tree) -> bool:
    return t.head == "dots" or any(map(_has_dots, t.parts))
