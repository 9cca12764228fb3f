r"""The sum over time written out, from the recorded graph of any net: a term for each step.

    ∂E/∂W = Σ_k ∂E/∂y ∂y/∂h(T) ∂h(T)/∂h(T-1) ... ∂h(k+1)/∂h(k) ∂⁺h(k)/∂W       (BPTT post, Module 5, IIT slides)

∂ is the total derivative, along all ways. ∂⁺ is the direct one ("immediate", Pascanu et al. 2013), in which everything
else that h(k) was made of is held fixed: ∂h(k)/∂W itself is a sum over all steps up to k, and to read the one for the
other is the most common mistake with this formula.
"""

from collections import defaultdict
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tinygrad_rnn import checks
from tinygrad_rnn.algebra.formulas import back, derivative, in_order
from tinygrad_rnn.algebra.notation import Names, Notation
from tinygrad_rnn.algebra.trees import Tree, Unwritten, matrix, number, plus, times, transposed
from tinygrad_rnn.algebra.typesetting import LATEX, Typesetting
from tinygrad_rnn.algebra.variables import Path, Use, fold, time_steps, variables
from tinygrad_rnn.algebra.writer import Writer
from tinygrad_rnn.backward import topological_order
from tinygrad_rnn.bptt.through_time import contributions
from tinygrad_rnn.descriptions import describe
from tinygrad_rnn.observer import refuse_hooks
from tinygrad_rnn.tensor import Tensor

_MOST_FACTORS = 14  # of a product are written; of a longer one, its two ends


@dataclass(frozen=True)
class Term:
    r"""The part of ∂L/∂W that comes through W's use at one step.

    Attributes:
        derivatives: the product of derivatives, in LaTeX: `\frac{\partial L}{\partial y} ...`
        factors: the same with what each of them is: `(y - Y)\,{}^tV ...`
        value: the array, of W's shape.

    >>> rnn, readout = tg.nn.RNN(2, 3, rng=0), tg.nn.Linear(3, 1, rng=1)
    >>> hs, state = rnn(np.ones((4, 2)))
    >>> loss = tg.nn.half_squared_error(readout(hs[-1]), [1.0])
    >>> term = tg.bptt.expansion(loss, rnn.cells[0].U)[1]
    >>> term.step, term.value.shape
    (2, (3, 3))
    """

    step: int
    derivatives: str
    factors: str
    value: np.ndarray

    @property
    def latex(self) -> str:
        """Both products, as an equation."""
        return f"{self.derivatives} = {self.factors}"

    @property
    def norm(self) -> float:
        """‖value‖, the Euclidean norm of all its elements."""
        return float(np.linalg.norm(self.value))


def expansion(
    loss: Tensor, parameter: Tensor, notation: str | Notation = "interdb", setting: Typesetting = LATEX,
    step: int | None = None, through: Collection[Tensor] | None = None,
) -> list[Term]:  # fmt: skip
    r"""The terms of ∂L/∂W, one for each step that uses W, in time; their values add up to the gradient.

    A term is written as the product of the derivatives between the variables that all of it passes through: for the
    plain net the states, one by one. Where there are several ways from one to the next, as through h and c of an LSTM,
    there is one factor for all of them together.

    >>> rnn = tg.nn.RNN(1, 2, rng=0)
    >>> hs, _ = rnn(np.ones((2, 1)))
    >>> loss = tg.nn.squared_error(tg.nn.Linear(2, 1, rng=0)(hs[-1]), [1.0])
    >>> [term.step for term in tg.bptt.expansion(loss, rnn.cells[0].U)]
    [1, 2]
    >>> print(tg.bptt.expansion(loss, rnn.cells[0].U, "state")[0].derivatives)
    \frac{\partial E}{\partial y} \frac{\partial y}{\partial s_{2}} \frac{\partial s_{2}}{\partial s_{1}} \frac{\partial^{+} s_{1}}{\partial W_{s}}

    Args:
        loss: a scalar. parameter: any Tensor that requires a gradient.
        notation: one of `notation.NOTATIONS`, or a `Notation`. In one without ĥ the factors go from state to state.
        setting: `typesetting.LATEX`, or `PLAIN` for text.
        step: that of the only term to write; all if not given.
        through: the variables that it is written with; those that have names, if not given.

    Raises:
        ValueError: as for `contributions`; an unknown notation; the states between the steps have no names; there is no
            term at the step; or a Tensor has a hook.
    """  # noqa: E501
    return _Graph(loss, parameter, Notation.named(notation), through).terms(setting, step)


def latex(loss: Tensor, parameter: Tensor, notation: str | Notation = "interdb") -> str:
    r"""The whole sum, ∂L/∂W = ... + ... , as an `align*` environment: a line for each step, the last step first (BPTT
    post, Module 5); and once more, with what the derivatives are.

    It compiles as it stands in a document with `\usepackage{amsmath}`, and a notebook shows it with

        from IPython.display import Latex
        Latex(tg.bptt.latex(loss, rnn.cells[0].U))

    Args and Raises: as for `expansion`.

    >>> rnn, readout = tg.nn.RNN(2, 3, rng=0), tg.nn.Linear(3, 1, rng=1)
    >>> hs, state = rnn(np.ones((4, 2)))
    >>> loss = tg.nn.half_squared_error(readout(hs[-1]), [1.0])
    >>> print(tg.bptt.latex(loss, rnn.cells[0].b).splitlines()[0])
    \begin{align*}
    """
    graph = _Graph(loss, parameter, Notation.named(notation))
    terms = graph.terms(LATEX)[::-1]
    lines = []
    for first, *others in ([t.derivatives for t in terms], [t.factors for t in terms]):
        lines += [f"= {first}", *(text if text.startswith("-") else f"+ {text}" for text in others)]
    equation = " \\\\".join(f"\n  & {line}" for line in lines)
    whole = Writer(graph.names, graph.notation, LATEX).text(_partial(loss, parameter))
    return f"\\begin{{align*}}\n  {whole}{equation}\n\\end{{align*}}\n"


class _Graph:
    """The variables of a recorded graph, and how they follow from each other.

    Attributes:
        users: the variables that each goes into, with how it does.
        above: for each the next one, towards the loss, that all ways from it pass through (its immediate dominator).
    """

    def __init__(self, loss: Tensor, parameter: Tensor, notation: Notation, through: Collection[Tensor] | None = None):
        self.values = contributions(loss, parameter)
        self.parameter, self.notation, order = parameter, notation, topological_order(loss)
        refuse_hooks("expansion(loss, parameter)", order)
        self.steps, self.names = time_steps(order), Names(order)
        uses = fold(order, (variables(order, notation) if through is None else set(through)) | {parameter})
        self.users: dict[Tensor, list[tuple[Tensor, Use]]] = {x: [] for x in uses}
        for target, made_of in uses.items():
            for use in made_of:
                self.users[use.source].append((target, use))
        self.above = self._dominators()

    def terms(self, setting: Typesetting, step: int | None = None) -> list[Term]:
        """All terms, or that of one step."""
        checks.instance("expansion(setting=...)", setting, Typesetting, "typesetting.LATEX or PLAIN")
        uses = defaultdict(list)
        for target, use in self.users.get(self.parameter, ()):
            uses[self.step(use)].append((target, use))
        if not uses:
            raise ValueError(f"expansion: the loss does not depend on {describe(self.parameter)}")
        if step is not None and step not in list(uses):
            known = ", ".join(map(str, sorted(uses)))
            raise ValueError(f"{describe(self.parameter)} has no term at step {step!r}, only at {known}")
        terms, writer = [], Writer(self.names, self.notation, setting)
        for k in sorted(uses) if step is None else [step]:
            fractions, factors = zip(*[self.product(target, use, writer) for target, use in uses[k]], strict=True)
            terms.append(Term(k, " + ".join(fractions), writer.text(plus(*factors)), self.values[k - 1]))
        return terms

    def step(self, use: Use) -> int:
        """The time step that a use of the parameter belongs to."""
        steps = {self.steps[node] for node in use.users}
        if len(steps) > 1:
            raise ValueError(
                f"expansion: {describe(use.source)} is used at steps {min(steps)} to {max(steps)} with no named "
                "variable in between; name the states, with tg.label(h, 'h', t)"
            )
        return steps.pop()

    def product(self, target: Tensor, use: Use, writer: Writer) -> tuple[str, Tree]:
        """The derivatives from the loss to the direct one of `target` by the parameter, and what they make of 1."""
        chain = [target]
        while chain[-1] in self.above:
            chain.append(self.above[chain[-1]])
        links = [(_partial(a, b), self._paths(b)) for a, b in pairwise(chain[::-1])]
        links.append((_partial(target, use.source, direct=True), use.paths))
        if len(links) > _MOST_FACTORS:
            links[_MOST_FACTORS // 2 : -_MOST_FACTORS // 2] = [(Tree("dots", of="⋯"), None)]
        derivatives = " ".join(writer.text(fraction) for fraction, _ in links)
        if self.notation.order == "reading":
            return derivatives, in_order([self._read(*link) for link in links])
        g = number(1).shaped((), comes_back=True)
        for link in links:
            g = self._passed(*link, g)
        return derivatives, g

    def _paths(self, x: Tensor) -> list[Path] | None:
        """The paths to the next variable above x, if no other is on a way there."""
        return self.users[x][0][1].paths if len(self.users[x]) == 1 else None

    def _passed(self, fraction: Tree, paths: list[Path] | None, g: Tree) -> Tree:
        """The gradient of b, of that of a: by the rules, or as ᵗ(∂a/∂b) dh where there is no notation."""
        if fraction.head == "dots":
            return Tree("matrix", [fraction, g], shape=g.shape)
        if paths is not None:
            with suppress(Unwritten):
                return back(paths[::-1], g, self.notation.writes)
        a, b, _ = fraction.of
        product = times(g, fraction.shaped(b.shape)) if a.size == 1 else matrix(transposed(fraction), g)
        return product.shaped(b.shape)

    def _read(self, fraction: Tree, paths: list[Path] | None) -> Tree:
        """The factors of a link side by side as the gradient meets them, or ∂a/∂b where there is no notation."""
        factors = None if paths is None else derivative(paths[::-1], self.notation.writes)
        return fraction if factors is None else factors

    def _dominators(self) -> dict[Tensor, Tensor]:
        """The variable where the ways from each meet: the oldest user gives way to what all its own pass through."""
        above: dict[Tensor, Tensor] = {}
        for x in reversed(self.users):
            ahead = {target for target, _ in self.users[x]}
            while len(ahead) > 1:
                oldest = min(ahead, key=lambda user: user.born)
                ahead = ahead - {oldest} | {above[oldest]}
            above.update((x, meet) for meet in ahead)
        return above


def _partial(a: Tensor, b: Tensor, direct: bool = False) -> Tree:
    """∂a/∂b, or the direct one, ∂⁺a/∂b."""
    return Tree("partial", of=(a, b, direct), shape=(*a.shape, *b.shape))
