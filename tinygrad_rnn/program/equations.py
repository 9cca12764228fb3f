"""The equations that stand above the lines of a program, as comments.

They are what the rules of the table make of symbols, as the formulas of the figures are.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tinygrad_rnn.algebra.formulas import Path, back, hands_on
from tinygrad_rnn.algebra.notation import Names
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
    """Plain text with steps as in code: h(2)."""

    def variable(self, base: str, below: str = "", above: str = "") -> str:
        return super().variable(base, below) + above


class _Writer(Writer):
    """Writes a variable as the code calls it, where that is not its name: W2, hs(1), xs."""

    def __init__(self, names: Names, called: Mapping[Node, str]):
        super().__init__(names, setting=_Plain())
        self.called = called
        self.nonlinearities = []  # each by its own name

    def variable(self, tensor: Node, at: int | str | None = None) -> str:
        if tensor not in self.called:
            return super().variable(tensor, at)
        step = self.names.steps.get(tensor, at)
        return self.setting.variable(self.called[tensor], "", f"({step})" if step else "")


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
        family = {x: lines.ref[x].name for x in order if x in lines.ref}
        names = Names(order)
        names.steps, names.primes = self, {}  # what has the same name as another is told apart by the code
        called = family
        self.writer = _Writer(names, called)
        loss = schedule.outputs[0]
        self.uses = _uses(order, {loss, *(y for x in schedule.gathered for y in schedule.so_far(x))})
        self.variables = {x.born: x for x in order if x.name is not None}
        gradients = {x.node.name.born for x in lines.lines if _is_gradient(x.node)}
        steps: dict[Any, set[int | None]] = defaultdict(set)
        for x in order:
            steps[family.get(x)] |= set() if x.is_leaf else {self.step(x)}
        self.alike = {x: steps[family[x]] for x in family}  # the steps of the variables that are called alike
        self.loss = None if loss.born in gradients else loss
        self.cotangent: dict[Node, Node | None] = {loss: loss}  # the variable whose gradient is that of another
        for x in reversed(order):
            uses = self.uses.get(x, [])
            if x.born in gradients:
                self.cotangent[x] = x
            elif x is not loss and len(uses) == 1 and _is_handed_on(uses[0][1]):
                self.cotangent[x] = self.cotangent.get(uses[0][0])
        leaves = [x for x in order if x.is_leaf and x.born in gradients]
        grouped = {x: self._alike(self.uses.get(x, [])) for x in leaves}
        self.summed = {x: groups for x, groups in grouped.items() if any(len(group) > 1 for group in groups)}

    def get(self, x: Node, otherwise: Any = None) -> str | None:
        """The step that a variable is written with, but that of the lines."""
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
                if derived:
                    found.append(f"{self.writer.variable(node)} = {self.writer.expression(node)}")
            elif _is_gradient(node):
                x = self.variables.get(node.name.born)
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
        """The sum of the terms of uses that are alike; with the steps beside Σ if there are others too."""
        if len(uses) == 1:
            self.now, self.inside = None, False
            return self._term(uses[0])
        target, steps = uses[0][0], sorted(self.step(x) for x, _ in uses)
        self.now, self.inside = self.step(target), True
        of = self.cotangent.get(target)
        if set(steps) == self.alike.get(of):
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
        """The term of one use of a variable: what the rules on the way back make of the gradient there."""
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
    """The uses of each variable, and the paths there; long expressions without names are taken in parts."""
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


def _is_handed_on(paths: list[Path] | None) -> bool:
    """Whether a gradient comes back from a use as it is."""
    return paths is not None and len(paths) == 1 and all(hands_on(node.primitive, i) for node, i in paths[0])


def _is_gradient(node: Node | None) -> bool:
    return node is not None and isinstance(node.name, GradientName)
