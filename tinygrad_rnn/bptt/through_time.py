"""Backpropagation through time on a recorded graph: the terms of its sums, Jacobians between states, norms.

- `contributions`: the terms of ∂L/∂W = Σ_k ..., one a time step (BPTT post, Module 5, IIT slides);
  `contribution_table`: for all losses.
- `jacobian(h_T, h_k)` and its `singular_values`; of h(t) and h(t-1), the factors that the product is made of.
- `gradient_flow`: ‖∂L/∂h(t)‖ at every step; `norm_bound`: what ‖∂h(T)/∂h(k)‖ cannot exceed (Pascanu et al. 2013;
  TowardsML).
- `expansion`: the terms written out, as products of derivatives and as what these are; `latex`: the whole sum.

All of it works on any graph whose nodes know their time step, as those of every cell do, and changes no `.grad`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from tinygrad_rnn import checks
from tinygrad_rnn.algebra.formulas import Hop, Use, back, derivative, fold, in_order, variables
from tinygrad_rnn.algebra.notation import Names, Notation, steps_of
from tinygrad_rnn.algebra.trees import Tree, Unwritten, matrix, number, plus, times, transposed
from tinygrad_rnn.algebra.typesetting import LATEX, Typesetting
from tinygrad_rnn.algebra.writer import Writer
from tinygrad_rnn.backward import backward_start, fit, sweep, terms, topological_order
from tinygrad_rnn.context import temporarily
from tinygrad_rnn.errors import describe
from tinygrad_rnn.observer import Observer, observer, refuse_hooks
from tinygrad_rnn.optim import norm
from tinygrad_rnn.primitives import Primitive
from tinygrad_rnn.tensor import Tensor, bare

LARGEST_SLOPES = {"tanh": 1.0, "sigmoid": 0.25, "relu": 1.0, "identity": 1.0}  # max f′; TowardsML for tanh and sigmoid


def contributions(loss: Tensor, parameter: Tensor) -> np.ndarray:
    """The terms of the sum over time: entry k - 1 is the part of ∂L/∂W that comes through W's use at step k.

        ∂L/∂W = Σ_k ∂L/∂h(T) ∂h(T)/∂h(k) ∂⁺h(k)/∂W        (BPTT post, Module 5, IIT slides; ∂⁺: h(k-1) held fixed)

    A use belongs to the step of the node that W goes into; where that has none, to the first step that it goes into,
    or else, as the readout of h(k) does, to the latest that it was made of.

    Args:
        loss: a scalar. parameter: any Tensor that the loss was made of.

    Returns:
        (T, *parameter.shape), zeros where it was not used, for T the last step of the graph; the sum over the first
        axis is the gradient.

    Raises:
        TypeError: not a Tensor. ValueError: the loss is not a scalar, the parameter requires no gradient, or it is used
            where there is no time step.

    >>> rnn, readout = tg.nn.RNN(2, 3, rng=0), tg.nn.Linear(3, 1, rng=1)
    >>> hs, state = rnn(np.ones((4, 2)))
    >>> loss = tg.nn.half_squared_error(readout(hs[-1]), [1.0])
    >>> terms = tg.bptt.contributions(loss, rnn.cells[0].U)
    >>> loss.backward()
    >>> terms.shape, np.allclose(terms.sum(axis=0), rnn.cells[0].U.grad)
    ((4, 3, 3), True)
    """
    start = backward_start("contributions(loss, parameter)", loss)
    uses, last = _uses("contributions(loss, parameter)", [loss], parameter)
    terms = np.zeros((last, *parameter.shape), parameter.dtype)
    for node, g in sweep({loss: start}):
        if node in uses:
            for i in _inputs(node, parameter):
                terms[uses[node][0] - 1] += passed_back(node, i, g)
    return terms


def contribution_table(losses: Sequence[Tensor], parameter: Tensor) -> np.ndarray:
    """‖∂E_n/∂W through step k‖ for every loss E_n and every step k, (N, T): rows of norms of `contributions`.

    With one loss per step it is a lower triangle: no loss depends on what comes after it. One sweep carries the
    cotangents of all losses.

    Raises:
        TypeError, ValueError: as for `contributions`; the losses are no list.

    >>> rnn, readout = tg.nn.RNN(2, 3, rng=0), tg.nn.Linear(3, 1, rng=1)
    >>> losses = [tg.nn.half_squared_error(readout(h), [1.0]) for h in rnn(np.ones((3, 2)))[0]]
    >>> tg.bptt.contribution_table(losses, rnn.cells[0].W) > 0
    array([[ True, False, False],
           [ True,  True, False],
           [ True,  True,  True]])
    """
    call = "contribution_table(losses, parameter)"
    if isinstance(losses, Tensor) or not isinstance(losses, Iterable):
        raise TypeError(f"{call}: a list of Tensors is needed, one for each row")
    losses, starts = list(losses), dict[Tensor, Cotangents]()
    for n, E in enumerate(losses):
        one = Cotangents(np.array([n]), backward_start(call, E)[None])
        starts[E] = starts[E] + one if E in starts else one
    uses, last = _uses(call, losses, parameter)
    table, terms = np.zeros((len(losses), last)), dict[int, Cotangents]()
    oldest = {k: node for node, steps in uses.items() for k in set(steps.tolist())}  # that the sweep meets last
    with temporarily(observer, LeavesLeftOut()):
        for node, g in sweep(starts):
            for i in _inputs(node, parameter):
                term = fit(each_passed_back(node, i, g), parameter)
                steps = uses[node][term.rows]
                for k in set(steps.tolist()):
                    part = Cotangents(term.rows[steps == k], term.arrays[steps == k])
                    terms[k] = terms[k] + part if k in terms else part
            for k in [k for k in terms if oldest[k] is node]:
                term = terms.pop(k)
                table[term.rows, k - 1] = _norms(term.arrays)
    return table


def jacobian(output: Tensor, input: Tensor) -> np.ndarray:
    """∂output/∂input, such as ∂h(T)/∂h(k), along all ways from one to the other, with the input held as a variable.

    Of the plain net and of a GRU it is the product of the one-step Jacobians ∂h(t)/∂h(t-1), t = k+1 .. T (IIT slides).
    The state of an LSTM is (h, c): what goes by way of c is in ∂h(T)/∂h(k), but not in the product of ∂h(t)/∂h(t-1).

    Returns:
        (output.size, input.size), both flattened; zeros if the output does not depend on the input.

    Raises:
        TypeError: not a Tensor. ValueError: one of them requires no gradient.

    >>> hs, state = tg.nn.RNN(2, 3, rng=0)(np.ones((4, 2)))
    >>> product = tg.bptt.jacobian(hs[3], hs[2]) @ tg.bptt.jacobian(hs[2], hs[1])
    >>> np.allclose(tg.bptt.jacobian(hs[3], hs[1]), product)
    True
    """
    for x in (output, input):
        _check_differentiable("jacobian(output, input)", x)
    cotangents = np.eye(output.size, dtype=output.dtype).reshape(output.size, *output.shape)
    with temporarily(observer, LeavesLeftOut(input)):
        for node, g in sweep({output: Cotangents(np.arange(output.size), cotangents)}):
            if node is input:
                return g.arrays.reshape(output.size, input.size)
            if node.born < input.born:  # what is older than the input is not made of it
                break
    return np.zeros((output.size, input.size), output.dtype)


def singular_values(output: Tensor, input: Tensor) -> np.ndarray:
    """The singular values of `jacobian(output, input)`, largest first: how far a change of the input reaches.

    Raises:
        ValueError: as for `jacobian`, or the Jacobian is not finite.

    >>> hs, state = tg.nn.RNN(2, 3, rng=0)(np.ones((4, 2)))
    >>> tg.bptt.singular_values(hs[3], hs[0]).shape
    (3,)
    """
    J = jacobian(output, input)
    if not np.all(np.isfinite(J)):
        raise ValueError(f"singular_values: ∂({describe(output)})/∂({describe(input)}) is not finite: it has exploded")
    return np.linalg.svd(J, compute_uv=False)


def gradient_flow(loss: Tensor, hs: Sequence[Tensor]) -> np.ndarray:
    """‖∂L/∂h(t)‖ for every state, (T,): 0 where the loss does not depend on it.

    Raises:
        TypeError: the states are no list of Tensors. ValueError: the loss is not a scalar, or a state has no gradient.

    >>> rnn, readout = tg.nn.RNN(2, 3, rng=0), tg.nn.Linear(3, 1, rng=1)
    >>> hs, state = rnn(np.ones((4, 2)))
    >>> loss = tg.nn.half_squared_error(readout(hs[-1]), [1.0])
    >>> tg.bptt.gradient_flow(loss, hs).shape
    (4,)
    """
    call = "gradient_flow(loss, hs)"
    start = backward_start(call, loss)
    if isinstance(hs, Tensor) or not isinstance(hs, Iterable):  # a stack of them is another node, which none of them is
        raise TypeError(f"{call}: a list of Tensors is needed, hs as a net returns it")
    hs = list(hs)
    for h in hs:
        _check_differentiable(call, h)
    wanted = set(hs)
    norms = {node: norm([g]) for node, g in sweep({loss: start}) if node in wanted}
    return np.array([norms.get(h, 0.0) for h in hs])


def norm_bound(U: Tensor | np.ndarray, nonlinearity: str, distance: int | np.ndarray) -> np.ndarray:
    """(σ_max(U) · max f′)^(T - k), which ‖∂h(T)/∂h(k)‖ of the plain net does not exceed (Pascanu et al. 2013).

    max f′ is 1 for tanh, relu and identity, and 1/4 for sigmoid (TowardsML). Below 1 it proves that the gradient
    vanishes; above 1 it proves nothing: a bound is not the value, and a sigmoid net with σ_max(U) = 5 still vanishes.

    Args:
        distance: T - k, one number or an array of them.

    Raises:
        ValueError: an unknown nonlinearity, U is no finite matrix, or a distance is negative. TypeError: no numbers.

    >>> tg.bptt.norm_bound(0.9 * np.eye(3), "sigmoid", [0, 1])
    array([1.   , 0.225])
    """
    checks.one_of("norm_bound", "nonlinearity", nonlinearity, LARGEST_SLOPES)
    try:
        U, distance = np.asarray(bare(U), float), np.asarray(distance, float)
    except (TypeError, ValueError) as error:
        raise TypeError(f"norm_bound(U, distance): numbers are needed: {error}") from error
    if U.ndim != 2 or not np.all(np.isfinite(U)) or not np.all(distance >= 0):
        raise ValueError(f"norm_bound: U must be a finite matrix, not of shape {U.shape}, and distances 0 or more")
    return (np.linalg.norm(U, 2) * LARGEST_SLOPES[nonlinearity]) ** distance


def _uses(call: str, losses: Sequence[Tensor], parameter: Tensor) -> tuple[dict[Tensor, np.ndarray], int]:
    """The nodes that use the parameter, the youngest first, each with the time step of that use in the graph of every
    loss; and the last step of all.
    """
    _check_differentiable(call, parameter)
    order = topological_order(*losses)
    last = max((node.step for node in order if node.step is not None), default=0)
    uses = {node: np.full(len(losses), node.step or last) for node in reversed(order) if _inputs(node, parameter)}
    if any(node.step is None for node in uses):  # it belongs to another step where another loss uses it further
        for n, E in enumerate(losses):
            for node, step in steps_of(topological_order(E)).items():
                if node in uses:
                    uses[node][n] = step or 0
    for node, steps in uses.items():
        if not np.all((steps >= 1) & (steps <= last)):
            raise ValueError(
                f"{call}: {describe(parameter)} is used by {describe(node)}, at no time step from 1 on; "
                "say which with tg.label(h, 'h', t), or use the cells of tg.nn"
            )
    return uses, last


def _inputs(node: Tensor, x: Tensor) -> list[int]:
    """The numbers of the inputs of a node that are x."""
    return [i for i, y in enumerate(node.inputs) if y is x]


def _norms(arrays: np.ndarray) -> np.ndarray:
    """The norm of each of several arrays, as `optim.norm` has it."""
    vectors = arrays.reshape(len(arrays), -1).astype(np.float64)
    largest = np.max(np.abs(vectors), axis=1, initial=0.0, keepdims=True)
    scale = np.where((largest > 0.0) & (largest < np.inf), largest, 1.0)
    return scale[:, 0] * np.linalg.norm(vectors / scale, axis=1)


def _check_differentiable(call: str, x: Tensor) -> None:
    if not checks.instance(call, x, Tensor).requires_grad:
        raise ValueError(f"{call}: {describe(x)} does not require a gradient")


# What a node passes back, of one cotangent, or of those of several outputs side by side


class Cotangents:
    """The cotangents of a node, one for each of the outputs that depend on it, in the place of one of its shape.

    Attributes:
        rows: the numbers of these outputs, in order. arrays: the cotangents, along a first axis.
    """

    def __init__(self, rows: np.ndarray, arrays: np.ndarray):
        self.rows, self.arrays = rows, arrays

    shape = property(lambda self: self.arrays.shape[1:])
    ndim = property(lambda self: self.arrays.ndim - 1)
    dtype = property(lambda self: self.arrays.dtype)

    def astype(self, dtype: np.dtype) -> Cotangents:
        """These cotangents in another dtype."""
        return Cotangents(self.rows, self.arrays.astype(dtype))

    def __add__(self, other: Cotangents) -> Cotangents:
        """The sum of two terms, which may be of other outputs."""
        rows = np.union1d(self.rows, other.rows)
        total = np.zeros((len(rows), *self.shape), self.dtype)
        for part in (self, other):
            total[np.searchsorted(rows, part.rows)] += part.arrays
        return Cotangents(rows, total)

    def __record__(self, primitive: Primitive, inputs: tuple, *static: Any) -> Cotangents:
        """The results of a primitive for each, as of the sum over the axes along which an input was broadcast."""
        return Cotangents(self.rows, np.stack([primitive.forward(g, *inputs[1:], *static) for g in self.arrays]))


def passed_back(node: Tensor, i: int, g: np.ndarray) -> np.ndarray:
    """The term that a node passes back to its input i, in the input's shape: one of the sum that is its gradient."""
    ((x, term),) = terms(node, g, i)
    return fit(term, x)


def each_passed_back(node: Tensor, i: int, g: Cotangents) -> Cotangents:
    """The terms that a node passes back to its input i.

    A rule that works on each element, or on each row x of a product W x, takes all cotangents as one batch.
    """
    of = node.primitive
    as_batch = of.by_element or (of.by_rows and i in [right for _, right in of.products])
    with temporarily(observer, None):  # a rule may make a sweep of its own
        if as_batch:
            ((_, term),) = terms(node, g.arrays, i)
        else:
            term = np.stack([term for one in g.arrays for _, term in terms(node, one, i)])
    return Cotangents(g.rows, term)


class LeavesLeftOut(Observer):
    """A sweep passes nothing back to leaves, whose gradients of all outputs are large, but to one that is wanted."""

    def __init__(self, wanted: Tensor | None = None):
        self.wanted = wanted

    def swept(self, terms: Callable, node: Tensor, g: Any) -> list[tuple[Tensor, Cotangents]]:
        """The terms for the inputs that are nodes, and for what is wanted."""
        numbered = [(i, x) for i, x in enumerate(node.inputs) if x.requires_grad]
        return [(x, each_passed_back(node, i, g)) for i, x in numbered if x is self.wanted or not x.is_leaf]


# The sum over time written out, from the recorded graph of any net: a term for each step


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
            term at the step; or a Tensor has a hook. TypeError: the step is no whole number.
    """  # noqa: E501
    return _Graph(loss, parameter, notation, through).terms(setting, step)


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
    graph = _Graph(loss, parameter, notation)
    terms = graph.terms(LATEX)[::-1]
    lines = []
    for first, *others in ([t.derivatives for t in terms], [t.factors for t in terms]):
        lines += [f"= {first}", *(text if text.startswith("-") else f"+ {text}" for text in others)]
    equation = " \\\\".join(f"\n  & {line}" for line in lines)
    whole = Writer(graph.names, LATEX).text(_partial(loss, parameter))
    return f"\\begin{{align*}}\n  {whole}{equation}\n\\end{{align*}}\n"


class _Graph:
    """The variables of a recorded graph, and how they follow from each other.

    Attributes:
        users: of each variable its uses in the making of others.
        above: for each the next one, towards the loss, that all ways from it pass through (its immediate dominator),
            as far as there is one.
    """

    def __init__(self, loss: Tensor, parameter: Tensor, notation: str | Notation, through: Collection | None = None):
        self.values = contributions(loss, parameter)
        self.loss, self.parameter, order = loss, parameter, topological_order(loss)
        refuse_hooks("expansion(loss, parameter)", order)
        self.steps, self.names = steps_of(order), Names(order, notation=notation)
        uses = fold(order, (variables(order, self.names.notation) if through is None else set(through)) | {parameter})
        self.users: dict[Tensor, list[Use]] = {x: [] for x in uses}
        for use in chain.from_iterable(uses.values()):
            self.users[use.source].append(use)
        self.above = self._dominators()

    def terms(self, setting: Typesetting, step: int | None = None) -> list[Term]:
        """All terms, or that of one step."""
        checks.instance("expansion(setting=...)", setting, Typesetting, "typesetting.LATEX or PLAIN")
        uses = defaultdict(list)
        for use in self.users.get(self.parameter, ()):
            uses[self.step(use)].append(use)
        if not uses:
            raise ValueError(f"expansion: the loss does not depend on {describe(self.parameter)}")
        if step is not None and checks.step("expansion", step) not in list(uses):
            known = ", ".join(map(str, sorted(uses)))
            raise ValueError(f"{describe(self.parameter)} has no term at step {step}, only at {known}")
        terms, writer = [], Writer(self.names, setting)
        for k in sorted(uses) if step is None else [step]:
            fractions, factors = zip(*[self.product(use, writer) for use in uses[k]], strict=True)
            terms.append(Term(k, " + ".join(fractions), writer.text(plus(*factors)), self.values[k - 1]))
        return terms

    def step(self, use: Use) -> int:
        """The time step that a use of the parameter belongs to."""
        steps = {self.steps[node] for node in use.users}
        if len(steps) > 1:
            told = f"expansion: {describe(use.source)} is used at steps {min(steps)} to {max(steps)}"
            raise ValueError(f"{told} with no named variable in between; name the states, with tg.label(h, 'h', t)")
        return steps.pop()

    def product(self, use: Use, writer: Writer) -> tuple[str, Tree]:
        """The derivatives from the loss to the direct one by the parameter, and what they make of 1."""
        links, x = [(_partial(use.target, use.source, direct=True), use.hops)], use.target
        while x in self.above:
            hops = self.users[x][0].hops if len(self.users[x]) == 1 else None
            links.insert(0, (_partial(self.above[x], x), hops))
            x = self.above[x]
        if len(links) > _MOST_FACTORS:
            links[_MOST_FACTORS // 2 : -_MOST_FACTORS // 2] = [(Tree("dots", of="⋯"), None)]
        derivatives = " ".join(writer.text(fraction) for fraction, _ in links)
        if self.names.notation.order == "reading":
            return derivatives, in_order([self._read(*link) for link in links])
        g = number(1).shaped((), comes_back=True)
        for link in links:
            g = self._passed(*link, g)
        return derivatives, g

    def _passed(self, fraction: Tree, hops: list[Hop] | None, g: Tree) -> Tree:
        """The gradient of b, of that of a: by the rules, or as ᵗ(∂a/∂b) dh where there is no notation.

        That of a sum is 1 for each element: where this is no column to be multiplied, it is written ∂L/∂a.
        """
        if fraction.head == "dots":
            return Tree("matrix", [fraction, g], shape=g.shape)
        a, b, _ = fraction.of
        starts = [g] if g.is_whole() else [g, _partial(self.loss, a).shaped(a.shape, comes_back=True)]
        for start in starts if hops else ():
            with suppress(Unwritten):
                return back(hops, start, self.names.notation.writes)
        g = starts[-1]
        return times(g, fraction.shaped(b.shape)) if a.ndim == 0 else matrix(transposed(fraction), g, b.shape)

    def _read(self, fraction: Tree, hops: list[Hop] | None) -> Tree:
        """The factors of a link side by side as the gradient meets them, or ∂a/∂b where there is no notation."""
        factors = None if hops is None else derivative(hops, self.names.notation.writes)
        return fraction if factors is None else factors

    def _dominators(self) -> dict[Tensor, Tensor]:
        """The variable where the ways from each meet: the oldest user gives way to what all its own pass through."""
        above: dict[Tensor, Tensor] = {}
        for x in reversed(self.users):
            ahead = {use.target for use in self.users[x]}
            while len(ahead) > 1:
                oldest = min(ahead, key=lambda user: user.born)
                ahead = ahead - {oldest} | {above[oldest]}
            above.update((x, meet) for meet in ahead)
        return above


def _partial(a: Tensor, b: Tensor, direct: bool = False) -> Tree:
    """∂a/∂b, or the direct one, ∂⁺a/∂b."""
    return Tree("partial", of=(a, b, direct), shape=(*a.shape, *b.shape))
