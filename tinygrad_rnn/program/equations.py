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
        return f"{name}(t{step - self.now:+})".replace("-", "−")


class Equations:
    """The equations that stand above the lines: how variables are made, and the chain rule for their gradients."""

    def __init__(self, lines: Assignments, step_text: Callable[[int], str]):
        self.ref, trace = lines.ref, lines.schedule.trace
        self.step_text = lambda step: step_text(step).replace(" - ", "−")
        order, self.writer = list[Any](lines.letters.nodes), _Writer(lines.letters, self.ref, self.step_text)
        gradients = {line.node.name.born for line in lines.lines if _is_gradient(line)}
        # Those whose gradients have lines; an equation needs names.
        self.variables = {x.born: x for x in order if x.name is not None and x.born in gradients}
        self.between = trace.hooked.difference(self.variables)  # hooks on nodes that no equation names
        uses: dict[Any, list[tuple[Any, list | None]]] = defaultdict(list)  # what a variable goes into, and the paths
        for target, found in fold(order, set[Any]([lines.schedule.outputs[0], *self.variables.values()])).items():
            for use in found:
                uses[use.source].append((target, use.paths))
        self.terms: dict[Any, list[Tree]] = {}  # of the gradients that can be written,
        self.summed: list[Any] = []  # and those with sums over time among them
        for x in self.variables.values():
            with suppress(Unwritten):
                if x.born not in trace.hooked:
                    self._find_terms(x, uses[x] if x.is_leaf else uses[x][::-1])

    def of(self, lines: Sequence[Assignment], now: int | None, inside: bool) -> list[str]:
        """The equations of lines that belong to a step, in or outside of a loop."""
        self.writer.now, self.writer.inside = now, inside
        found = []
        for line in lines:
            node = line.node
            if _is_gradient(line):
                x = self.variables.get(node.name.born)
                found += [self._equation(x)] if x in self.terms and x not in self.summed else []
            elif line.forward and node is not None and node.name is not None and _is_derived(node):
                found.append(f"{self.writer.variable(node)} = {self.writer.expression(node)}")
        return found

    def sums(self) -> list[str]:
        """The gradients of what several steps use alike, as sums over time."""
        self.writer.now, self.writer.inside = None, False
        return list(map(self._equation, self.summed))

    def _equation(self, x: Node) -> str:
        return f"d{self.writer.variable(x)} = {self.writer.text(Tree('sum', self.terms[x]))}"

    def _find_terms(self, x: Node, uses: Sequence[tuple[Any, list | None]]) -> None:
        """Find what the uses of a variable give, those together that are the same but for the step.

        Raises:
            Unwritten: a term has no notation, or is too long, or a hook makes something else of it.
        """
        alike: dict[tuple[str, str], list[tuple[Tree, Ref]]] = defaultdict(list)
        self.writer.inside = True
        for target, paths in uses:
            if paths is None or any(node.born in self.between for path in paths for node, _ in path):
                raise Unwritten("too many paths, or a hook on one")
            if paths := [path for path in paths if all(node.primitive.vjps for node, _ in path)]:
                start = gradient(target) if target.born in self.variables else number(1).shaped(target.shape, True)
                term, self.writer.now = back(paths, start, self.writer.notation.writes), self.ref[target].step
                inner = term.parts[0] if term.head in ("negative", "total") else term
                text = self.writer.text(inner, PRODUCT)
                if "…" in text.replace("[…]", ""):
                    raise Unwritten("too long")
                alike[term.head, text].append((term, self.ref[target]))
        if alike:
            self.terms[x] = [self._sum(*key, *zip(*terms, strict=True)) for key, terms in alike.items()]
            self.summed += [x] if any(len(terms) > 1 for terms in alike.values()) else []

    def _sum(self, head: str, text: str, terms: Sequence[Tree], of: Sequence[Ref]) -> Tree:
        """The sum of terms that are alike, with the first and the last step if there are others too."""
        if len(terms) == 1:
            return terms[0]
        steps, limits = sorted(step for _, step in of), ""
        if set(steps) != {step for name, step in map(self.ref.get, self.variables.values()) if name == of[0].name}:
            limits = f"[t={self.step_text(steps[0])}…{self.step_text(steps[-1])}]"
            if steps != list(range(steps[0], steps[-1] + 1)):
                raise Unwritten("a sum over some steps")
        found = Tree("dots", of=f"Σ{limits} {text}")
        return negative(found) if head == "negative" else found


def _is_gradient(line: Assignment) -> bool:
    return not line.forward and line.node is not None and isinstance(line.node.name, GradientName)


def _is_derived(node: Node) -> bool:
    """Whether a node is more than a part of what is given."""
    return not all(x.is_leaf for x in node.inputs) or (not node.is_leaf and "{f}" in node.primitive.written)
