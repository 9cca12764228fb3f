"""The cliff in the error of the smallest recurrent net, and what clipping does there (Pascanu et al. 2013, Fig. 6)."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinygrad_rnn.backward import grad
from tinygrad_rnn.context import no_grad
from tinygrad_rnn.experiments import plots
from tinygrad_rnn.functions import sigmoid
from tinygrad_rnn.nn.module import Parameter
from tinygrad_rnn.optim import SGD, clip_grad_norm
from tinygrad_rnn.tensor import Tensor

STEPS, START, TARGET = 50, 0.5, 0.7
LR, MAX_NORM = 0.01, 1.0
GRID = 121
BAND = 1400.0, 1700.0  # what ‖∂E/∂(w, b)‖ is at the wall of w = 4.81


@dataclass(frozen=True)
class Cliff:
    """What `cliff` returns.

    Attributes:
        at: (w, b) at the wall. gradient: (∂E/∂w, ∂E/∂b) there. norm: ‖gradient‖.
        steps: by label, (w, b) after one step of gradient descent from there.
    """

    at: np.ndarray
    gradient: np.ndarray
    norm: float
    steps: dict[str, np.ndarray]

    def jump(self, label: str) -> float:
        """How far a step goes in the plane of w and b."""
        return float(np.linalg.norm(self.steps[label] - self.at))

    def save(self, folder: str | os.PathLike) -> Path:
        """Write cliff.svg, the error over w and b with the steps on it, far and near, and cliff.csv, its numbers.

        Raises:
            OSError: it cannot be written.
        """
        far, near = max(map(self.jump, self.steps)), min(map(self.jump, self.steps))
        panels = []
        for reach in (1.2 * far, 2.0 * near):
            w, b = (np.linspace(x - reach, x + reach, GRID) for x in self.at)
            with no_grad():
                panels.append((w, b, error(Tensor(w), Tensor(b[:, None])).data))
        ways = {f"{label}: {self.jump(label):.3g}": [self.at, end] for label, end in self.steps.items()}
        title = f"The error after {STEPS} steps; right, {0.6 * far / near:.0f} times nearer"
        return plots.surfaces(Path(folder) / "cliff.svg", title, ("w", "b", "error E"), panels, ways)


def error(w: Tensor, b: Tensor) -> Tensor:
    """E = (σ(x(50)) - 0.7)² for x(t) = w σ(x(t-1)) + b from x(0) = ½: one unit, without input."""
    x = START
    for _ in range(STEPS):
        x = w * sigmoid(x) + b
    return (sigmoid(x) - TARGET) ** 2


def cliff(w: float = 4.81) -> Cliff:
    """The steepest place of the line of this w, and a step from it with lr 0.01, as it is and clipped to norm 1.

    For w > 4 there are two attractors beside each other; where b decides between them stands a wall, which grows with w
    without end: the gradient is 3e2 at w = 4.6, 1.5e3 at w = 4.81, b = -2.494, and 3e4 at w = 5.2. So the largest
    gradient of a grid over w and b says how fine the grid is.

    Raises:
        ValueError: there is no wall at this w.
    """
    if not 4.0 < w < 5.5:
        raise ValueError(f"cliff(w={w!r}): between 4 and 5.5 stands a wall that floating point numbers can resolve")
    low, high = -3.2, -2.0
    for _ in range(6):  # each search is a thousand times finer than the one before
        b = Tensor(np.linspace(low, high, 20_001), requires_grad=True)
        (slope,) = grad(error(Tensor(w), b).sum(), b)
        steepest = b.data[np.argmax(np.abs(slope.data))]
        low, high = (steepest + side * (high - low) / 2000 for side in (-1, 1))
    found = {}
    for label, max_norm in (("unclipped", np.inf), ("clipped", MAX_NORM)):
        parameters = Parameter(w, name="w"), Parameter(steepest, name="b")
        error(*parameters).backward()
        gradient = np.array([p.grad for p in parameters])
        norm = clip_grad_norm(parameters, max_norm)
        SGD(parameters, lr=LR).step()
        found[label] = np.array([p.item() for p in parameters])
    return Cliff(np.array([w, steepest]), gradient, norm, found)
