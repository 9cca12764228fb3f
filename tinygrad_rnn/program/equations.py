"""The equations that stand above the lines of a program, as comments.

They are what the rules of the table make of symbols, as the formulas of the figures are.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tinygrad_rnn.algebra.formulas import Path, back, derivative
from tinygrad_rnn.algebra.trees import Unwritten, gradient, number
from tinygrad_rnn.algebra.typesetting import Typesetting
from tinygrad_rnn.algebra.variables import fold
from tinygrad_rnn.algebra.writer import ANY, PRODUCT, Writer
from tinygrad_rnn.naming import GradientName
from tinygrad_rnn.program.assignments import Assignment, Assignments
from tinygrad_rnn.program.graph import Node
from tinygrad_rnn.program.schedule import DEEPEST

_Use = tuple[Node, list[Path] | None]  # what a variable goes into, and the paths there
_Term = tuple[bool, str]  # of a sum: whether it is subtracted, and what


class _Plain(Typesetting):
    """As code has it: h(2)."""

    def variable(self, base: str, below: str = "", above: str = "") -> str:
        return super().variable(base, below) + above


class _Writer(Writer):
    """Writes what has no name as the code calls it, if it is an argument."""

    def __init__(self, order: Sequence[Node], indices: Any, arguments: Mapping[Node, str]):
        super().__init__(order, indices, setting=_Plain())
        self.arguments = arguments
        self.nonlinearities = []  # each by its own name

    def variable(self, tensor: Node, step: int | str | None = None) -> str:
        return self.arguments.get(tensor) or super().variable(tensor, step)


class Equations:
    """The equations that stand above the lines: how variables are made, and the chain rule for their gradients.

    A variable of the step that the lines belong to is written without its step: ĥ = W x + U h(1) + b.
    """

    def __init__(self, lines: Assignments, number: Callable[[int], str]):
        schedule = lines.schedule
        self.step, self.number, self.now, self.inside = schedule.step, number, None, False
        made = [node for node in schedule.live if node in schedule.forward]
        nodes = dict.fromkeys(x for node in made for x in (*node.inputs, node))
        order = sorted(nodes, key=lambda x: not x.is_leaf)
        self.writer = _Writer(order, self, {x: lines.ref[x].family.base for x in lines.arguments if x.name is None})
        loss = schedule.outputs[0]
        self.uses = _uses(order, {loss, *(y for x in schedule.gathered for y in schedule.so_far(x))})
        called = Counter(self._key(x) for x in order if x.name is not None)
        self.variables = {self._key(x): x for x in order if called[self._key(x)] == 1}
        gradients = {(x.node.name.of, x.node.layer, x.target.step) for x in lines.lines if _is_gradient(x.node)}
        gradients &= self.variables.keys()  # of what has the same name as another, nothing is said
        self.computed = [x for x in order if x.name is not None and not x.is_leaf]
        self.loss = None if self._key(loss) in gradients else loss
        self.cotangent: dict[Node, Node | None] = {loss: loss}  # the variable whose gradient is that of another
        for x in reversed(order):
            uses = self.uses.get(x, [])
            if self._key(x) in gradients:
                self.cotangent[x] = x
            elif x is not loss and len(uses) == 1 and _is_handed_on(uses[0][1], self.writer.notation.writes):
                self.cotangent[x] = self.cotangent.get(uses[0][0])
        leaves = [x for x in order if x.is_leaf and self._key(x) in gradients]
        grouped = {x: self._alike(self.uses.get(x, [])) for x in leaves}
        self.summed = {x: groups for x, groups in grouped.items() if any(len(group) > 1 for group in groups)}

    def _key(self, x: Node) -> tuple:
        return x.name, x.layer, self.step(x)

    def get(self, x: Node, otherwise: Any) -> str | None:
        """The step that a variable is written with: the `indices` of the writer."""
        step = self.step(x)
        if step is None or step == self.now:
            return None
        if self.inside and self.now is not None:
            return f"t−{self.now - step}" if step < self.now else f"t+{step - self.now}"
        return self.number(step).replace(" - ", "−")

    def of(self, lines: Sequence[Assignment], now: int | None, inside: bool) -> list[str]:
        """The equations of lines that belong to a step."""
        self.now, self.inside = now, inside
        found = []
        for line in lines:
            node = line.node
            if node is None or node.name is None or node.primitive is None:
                continue
            if line.forward:
                derived = not all(x.is_leaf for x in node.inputs) or "{f}" in node.primitive.written
                if derived and self._key(node) in self.variables:
                    found.append(f"{self.writer.variable(node)} = {self.writer.expression(node)}")
            elif _is_gradient(node):
                x = self.variables.get((node.name.of, node.layer, line.target.step))
                if x is not None and x not in self.summed:
                    found += self._equation(x, [self._term(use) for use in reversed(self.uses.get(x, []))])
        return found

    def sums(self) -> list[str]:
        """The gradients of what several steps use alike, as sums over time."""
        return [text for x, groups in self.summed.items() for text in self._equation(x, map(self._sum, groups))]

    def _alike(self, uses: Sequence[_Use]) -> list[list[_Use]]:
        """Uses of a variable, those together that are the same but for the step."""
        groups: dict[tuple, list[_Use]] = {}
        seen: Counter = Counter()
        self.inside = True
        for use in uses:
            step = self.now = self.step(use[0])
            text = self._term(use)
            seen[text, step] += 1
            groups.setdefault((text, seen[text, step], step is None), []).append(use)
        return list(groups.values())

    def _sum(self, uses: Sequence[_Use]) -> _Term | None:
        """What comes back from uses that are alike; with the steps beside Σ if there are others too."""
        if len(uses) == 1:
            self.now, self.inside = None, False
            return self._term(uses[0])
        target, steps = uses[0][0], sorted(self.step(x) for x, _ in uses)
        self.now, self.inside = self.step(target), True
        of = self.cotangent.get(target)
        alike = (x for x in self.computed if of is not None and (x.name, x.layer) == (of.name, of.layer))
        if set(steps) == set(map(self.step, alike)):
            return self._term(uses[0], "Σ")
        first, last = (self.number(step).replace(" - ", "−") for step in (steps[0], steps[-1]))
        consecutive = steps[-1] - steps[0] == len(steps) - 1
        return self._term(uses[0], f"Σ[t={first}…{last}]") if consecutive else None

    def _equation(self, x: Node, terms: Iterable[_Term | None]) -> list[str]:
        terms = list(terms)
        if None in terms or not terms:
            return []
        (negative, first), *others = terms
        text = ("−" if negative else "") + first + "".join(f" {'−' if sign else '+'} {term}" for sign, term in others)
        return [f"d{self.writer.variable(x)} = {text}"]

    def _term(self, use: _Use, sigma: str = "") -> _Term | None:
        """What comes back from one use of a variable: what the rules on the way make of the gradient there."""
        target, paths = use
        of = self.cotangent.get(target)
        if of is None or paths is None:
            return None
        start = number(1).shaped(target.shape, True) if of is self.loss else gradient(of).shaped(target.shape)
        try:
            term = back(paths, start, self.writer.notation.writes) if paths != [()] else start
        except Unwritten:
            return None
        negative = term.head == "negative"
        term = term.parts[0] if negative else term
        if sigma and term.head == "total":
            term = term.parts[0]
        text = self.writer.text(term, PRODUCT if sigma or negative else ANY)
        return negative, f"{sigma} {text}" if sigma else text


def _uses(order: Sequence[Node], ends: set[Node]) -> dict[Node, list[_Use]]:
    """What each variable goes into, and the paths there; long expressions without names are taken in parts."""
    ends, far = set(ends), {}
    for x in order:
        far[x] = 0 if x.name is not None else 1 + max((far[y] for y in x.inputs), default=0)
        if far[x] > 2 * DEEPEST:
            ends.add(x)
            far[x] = 0
    variables = {x for x in order if x.name is not None and (x.requires_grad or not x.is_leaf)}
    found: dict[Node, list[_Use]] = {}
    for target, uses in fold(order, variables | ends).items():
        for source, paths, _ in uses:
            if paths is not None:
                paths = [path for path in paths if all(node.primitive.vjps for node, _ in path)]
            if paths != []:
                found.setdefault(source, []).append((target, paths))
    return found


def _is_handed_on(paths: list[Path] | None, writes: Callable) -> bool:
    """Whether a gradient comes back from a use as it is."""
    found = None if paths is None else derivative(paths, writes)
    return found is not None and found.is_number(1)


def _is_gradient(node: Node | None) -> bool:
    return node is not None and isinstance(node.name, GradientName)
