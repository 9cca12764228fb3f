"""The flow of gradients back through time: their norms against the distance, for nets side by side.

The claims that it measures: the gradient "becomes too small" after "8 or 10" steps (Module 5), f′ of sigmoid is at most
¼ (TowardsML), gates keep it (both), and ‖∂h(T)/∂h(t)‖ ≤ (σ_max(U) · max f′)^(T - t) (Pascanu et al. 2013).
"""

import math
import os
from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_rnn import Tensor, grad, nn
from tinygrad_rnn.bptt.through_time import gradient_flow, norm_bound
from tinygrad_rnn.checks import instance
from tinygrad_rnn.datasets import adding_problem
from tinygrad_rnn.experiments import plots
from tinygrad_rnn.experiments.settings import check_fields, f_of_rnn, option
from tinygrad_rnn.optim import Adam, clip_grad_norm

CELLS = {"rnn": nn.RNNCell, "irnn": nn.RNNCell, "lstm": nn.LSTMCell, "gru": nn.GRUCell}
QUANTITIES = {"gradient": "‖∂L/∂h(t)‖ / ‖∂L/∂h(T)‖", "jacobian": "‖∂h(T)/∂h(t)‖"}
TITLES = {"gradient": "How far a gradient comes back", "jacobian": "What is left in h(T) of a change in h(t)"}
PATHS = ("h", "c")
BATCH, NOISE, LR = 32, 0.1, 0.005


@dataclass(frozen=True)
class Net:
    """One curve: a net of one layer, what it starts from, and whether it has been trained.

    Args:
        cell: "rnn"; "irnn", with relu and U the identity (Le et al. 2015); "lstm"; or "gru".
        nonlinearity: f of "rnn", tanh if not given.
        scale: g of U = g · (a random orthogonal matrix), for every gate, so that σ_max(U) = g; of "irnn" g · identity.
        forget_bias: where b_f of "lstm" starts.
        path: the part of the state whose gradient is looked at, "h" or, of "lstm", "c".
        updates: how long it is trained on the adding problem; 0 for not at all.

    Raises:
        ValueError: an unknown name, a number out of range, or what the cell does not have. TypeError: no number.

    >>> tg.experiments.Net("lstm", forget_bias=3.0).label
    'LSTM, b_f = 3'
    """

    cell: str = option("rnn", "irnn: relu, and U the identity", choices=tuple(CELLS))
    _: KW_ONLY
    nonlinearity: str | None = f_of_rnn()
    scale: float = option(1.0, "g of U = g · orthogonal")
    forget_bias: float = option(0.0, "b_f of lstm", least=-1e9, of=("cell", "lstm"))
    path: str = option("h", "the part of lstm's state to look at", choices=PATHS, of=("cell", "lstm"))
    updates: int = option(0, "of training; 0 1000 shows both", least=0, most=math.inf)

    def __post_init__(self) -> None:
        check_fields(self)
        if self.cell == "rnn" and self.nonlinearity is None:
            object.__setattr__(self, "nonlinearity", "tanh")

    @property
    def label(self) -> str:
        """Its name in tables and plots."""
        parts = [self.nonlinearity or self.cell.upper()]
        parts += [f"{self.scale:.12g}·U"] * (self.scale != 1.0)
        parts += [f"b_f = {self.forget_bias:.12g}"] * (self.cell == "lstm")
        parts += ["c for h"] * (self.path == "c")
        parts += [f"{self.updates} update{'s' * (self.updates > 1)}"] * (self.updates > 0)
        return ", ".join(parts)

    def make(self, input_size: int, hidden: int, rng: np.random.Generator) -> nn.RNNCell | nn.LSTMCell | nn.GRUCell:
        """The cell, untrained."""
        nonlinearity = "relu" if self.cell == "irnn" else self.nonlinearity
        options: dict[str, Any] = {"nonlinearity": nonlinearity} if nonlinearity else {}
        options |= {"forget_bias": self.forget_bias} if self.cell == "lstm" else {}
        cell = CELLS[self.cell](input_size, hidden, rng=rng, **options)
        for gate in cell.gates:
            U = getattr(cell, "U" + gate)
            U.data = self.scale * (nn.init.identity(hidden) if self.cell == "irnn" else U.value)
        return cell


# Module 5 says that BPTT of a plain net reaches back "8 or 10" steps. Untrained, down to 1 %, tanh with σ_max(U) = 0.6
# reaches 9, sigmoid 4, tanh with an orthogonal U 30 or more; an LSTM only 8 to 11 unless its forget bias is raised.
# Learning changes it.
_KNOWN = [Net(nonlinearity="sigmoid"), Net(scale=0.6), Net(), Net("lstm"), Net("lstm", forget_bias=1.0), Net("gru")]
NETS = [replace(net, updates=n) for net in _KNOWN for n in (0, 1000)]


@dataclass(frozen=True)
class Conditions:
    """The settings that all curves of a flow have in common."""

    quantity: str = option("gradient", "‖∂L/∂h(t)‖, or jacobian, ‖∂h(T)/∂h(t)‖", choices=tuple(QUANTITIES))
    steps: int = option(30, "how many time steps, T", least=1, most=10**6)
    hidden: int = option(32, "the length of the hidden state", least=1, most=10**4)
    seed: int = option(0, "of weights and data", least=0, most=math.inf)


@dataclass(frozen=True)
class Flow:
    """The curves that `flow` has measured.

    Attributes:
        quantity: what the curves show. nets: by label. distances: T - t, in steps, 0 to T, (T + 1,).
        curves: by label, the norm at every distance as a multiple of that at distance 0, (T + 1,).
        bounds: by label, (σ_max(U) · max f′)^(T - t) of the plain nets; equal ones are one.
        errors: by label, the mean squared error of the net at the adding problem, always to answer 1 makes 1/6; of
            Jacobians nan.

    >>> found = tg.experiments.flow(tg.experiments.Net("rnn"), steps=20, hidden=8)
    >>> found.curves["tanh"].shape, 0.0 < found.factor("tanh") < 1.0
    ((21,), True)
    """

    quantity: str
    nets: dict[str, Net]
    distances: np.ndarray
    curves: dict[str, np.ndarray]
    bounds: dict[str, np.ndarray]
    errors: dict[str, float]

    def factor(self, label: str) -> float:
        """The factor from step to step of a curve: e^a of the straight line a · distance + b through its logarithm."""
        norms = self.curves[label]
        seen = norms > 0.0  # what has underflowed has no logarithm
        return float(np.exp(np.polyfit(self.distances[seen], np.log(norms[seen]), 1)[0])) if seen[1:].any() else 0.0

    def reach(self, label: str, fraction: float = 0.01) -> int | None:
        """The first distance at which a curve is below a fraction of its start; None if it is at none."""
        below = np.flatnonzero(self.curves[label] < fraction)
        return int(self.distances[below[0]]) if below.size else None

    def save(self, folder: str | os.PathLike) -> Path:
        """Write flow.svg and its numbers, flow.csv, into a folder.

        Bounds are dashed. A net that comes again, trained, or for its c, has the colour of the one before, dotted.

        Raises:
            OSError: it cannot be written.
        """
        title, x = f"{TITLES[self.quantity]} (line: 1 %)", ("distance T - t, steps", self.distances)
        families = groupby(self.nets, lambda label: replace(self.nets[label], updates=0, path="h"))
        again = [label for _, family in families for label in list(family)[1:]]
        return plots.curves(
            Path(folder) / "flow.svg", title, x, QUANTITIES[self.quantity], {**self.curves, **self.bounds}, log=True,
            dashed=self.bounds, dotted=again, level=0.01,
        )  # fmt: skip


@np.errstate(over="ignore", invalid="ignore")
def flow(
    nets: Net | Iterable[Net], steps: int = 30, hidden: int = 32, quantity: str = "gradient", seed: int = 0
) -> Flow:
    """The norm that comes back to h(t), or c(t), from the last step T, against the distance T - t, for several nets.

    "gradient": ‖∂L/∂h(t)‖, for L the mean squared error of a linear readout of h(T) at the adding problem (Hochreiter
    and Schmidhuber 1997), over a batch of 32 sequences. "jacobian": ‖∂h(T)/∂h(t)‖, the spectral norm, in states that
    are driven by noise: W x(t) is N(0, 0.1²) in every unit. Weights, sequences and noise follow from the seed alone,
    and all nets see the same.

    Training takes `Net.updates` steps of Adam (lr 0.005, gradients clipped to norm 1), each on 32 new sequences.

    Args:
        nets: the curves, one or several; a net that comes twice counts once. steps: T. hidden: H.

    Raises:
        ValueError: no net, an unknown quantity, a number out of range, a gradient that overflows, or training for the
            Jacobian, whose states have no task. TypeError: a number is none.

    >>> found = tg.experiments.flow([tg.experiments.Net("rnn"), tg.experiments.Net("gru")], steps=20, hidden=8)
    >>> list(found.curves)
    ['tanh', 'GRU']
    """
    check_fields(Conditions(quantity, steps, hidden, seed))
    nets = nets if isinstance(nets, Iterable) else [nets]
    nets = dict.fromkeys(instance("flow(nets)", net, Net, "tg.experiments.Net(...)") for net in nets)
    if not nets:
        raise ValueError("flow(nets): at least one net is needed")
    found = Flow(quantity, {net.label: net for net in nets}, np.arange(steps + 1), {}, {}, {})
    for net in nets:
        if quantity == "jacobian" and net.updates:
            raise ValueError(f"{net.label}: quantity='jacobian' is of untrained nets, whose states are driven by noise")
        cell, norms, error = (_gradient if quantity == "gradient" else _jacobian)(net, steps, hidden, seed)
        if not np.all(np.isfinite(norms)) or norms[0] == 0.0:
            raise ValueError(f"{net.label}: {QUANTITIES[quantity]} has overflowed; take fewer steps or a smaller scale")
        found.curves[net.label], found.errors[net.label] = norms / norms[0], error
        if isinstance(cell, nn.RNNCell):
            growth = norm_bound(cell.U, cell.nonlinearity, 1)
            found.bounds[f"bound, {growth:.3g}^(T - t)"] = growth**found.distances
    return found


def _gradient(net: Net, steps: int, hidden: int, seed: int) -> tuple[Any, np.ndarray, float]:
    """The cell, ‖∂L/∂h(t)‖ from t = T down, and L, after training."""
    rng = np.random.default_rng(seed)
    cell, readout = net.make(2, hidden, rng), nn.Linear(hidden, 1, rng=rng)
    parameters = [*cell.parameters(), *readout.parameters()]
    optimizer = Adam(parameters, lr=LR)
    for _ in range(net.updates):
        xs, targets = adding_problem(rng, steps, BATCH)
        nn.squared_error(readout(_unrolled(cell, xs)[-1][0]), targets, reduction="mean").backward()
        clip_grad_norm(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    xs, targets = adding_problem(np.random.default_rng([seed, 1]), steps, BATCH)  # not of those it was trained on
    states = _unrolled(cell, xs)
    loss = nn.squared_error(readout(states[-1][0]), targets, reduction="mean")
    return cell, gradient_flow(loss, [state[PATHS.index(net.path)] for state in states])[::-1], loss.item()


def _jacobian(net: Net, steps: int, hidden: int, seed: int) -> tuple[Any, np.ndarray, float]:
    """The cell, and ‖∂h(T)/∂h(t)‖ from t = T down: of H copies of the sequence, copy i follows element i of h(T) back.

    So one sweep finds all rows of all Jacobians. There is no loss.
    """
    rng = np.random.default_rng(seed)
    cell = net.make(hidden, hidden, rng)
    for gate in cell.gates:
        getattr(cell, "W" + gate).data = np.eye(hidden)
    xs = NOISE * rng.standard_normal((steps, 1, hidden))
    states = _unrolled(cell, np.repeat(xs, hidden, axis=1))
    trace = (states[-1][0] * np.eye(hidden)).sum()
    jacobians = grad(trace, [state[PATHS.index(net.path)] for state in states])
    finite = all(np.all(np.isfinite(J.data)) for J in jacobians)
    return cell, np.array([np.linalg.norm(J.data, 2) if finite else np.inf for J in jacobians[::-1]]), math.nan


def _unrolled(cell: nn.RNNCell | nn.LSTMCell | nn.GRUCell, xs: np.ndarray) -> list[tuple[Tensor, ...]]:
    """The states of step 0 to T, (h,) or (h, c) each, for xs (T, B, D)."""
    zeros = np.zeros((xs.shape[1], cell.hidden_size))
    states = [tuple(Tensor(zeros, requires_grad=True) for _ in cell.state_names)]
    for x in xs:
        states.append(cell.parts(cell(x, states[-1]), x.shape))
    return states
