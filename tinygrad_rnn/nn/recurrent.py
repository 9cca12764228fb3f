"""Recurrent nets: cells applied step by step through time, layer upon layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_rnn.errors import ShapeError
from tinygrad_rnn.nn.cells import RNNCell
from tinygrad_rnn.nn.module import Module, positive_size
from tinygrad_rnn.tensor import Tensor

__all__ = ["RNN"]


class RNN(Module):
    """The plain recurrent net: `RNNCell` unrolled through time (seed 001, section 7.2.2).

    Args:
        input_size: D. hidden_size: H.
        num_layers: how many cells stand on each other; each takes the states of the one below as its input (seed 003).
        nonlinearity, bias, rng: as for `RNNCell`.

    Attributes:
        cells: one `RNNCell` per layer.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        rng: np.random.Generator | int | None = None,
    ):
        rng = np.random.default_rng(rng)
        sizes = [input_size] + [hidden_size] * (positive_size("RNN", "num_layers", num_layers) - 1)
        self.cells = [RNNCell(size, hidden_size, nonlinearity, bias, rng) for size in sizes]
        for layer, cell in enumerate(self.cells, 1):
            cell.layer = layer if num_layers > 1 else None

    def __call__(self, xs: Any, state: Sequence[Any] | None = None) -> tuple[list[Tensor], list[Tensor]]:
        """Unroll over a sequence.

        Args:
            xs: x(1), ..., x(T): a list of arrays or Tensors, or one array or Tensor with time first, (T, D) for one
                sequence or (T, B, D) for a batch.
            state: one h(0) per layer, (H,) or (B, H), as an earlier call returned it; zeros if not given.

        Returns:
            hs: [h(1), ..., h(T)] of the top layer; state: h(T) of every layer, to carry into the next call.

        Raises:
            ShapeError: the sequence is empty, its steps differ in shape, or one does not fit; names the step.
            ValueError: the state does not have one entry per layer.
        """
        xs = _steps(xs)
        if state is None:
            state = [cell.initial_state(xs[0]) for cell in self.cells]
        elif not isinstance(state, Sequence) or len(state) != len(self.cells):
            raise ValueError(f"RNN(xs, state): the state is a list of {len(self.cells)}, one h for each layer")
        state, hs = list(state), []
        for x in xs:
            for layer, cell in enumerate(self.cells):
                x = state[layer] = cell(x, state[layer])
            hs.append(x)
        return hs, state


def _steps(xs: Any) -> list:
    """A sequence as the list of its steps, checked to be of one shape."""
    scalar = isinstance(xs, (np.ndarray, Tensor)) and xs.ndim == 0
    if scalar or isinstance(xs, str) or not isinstance(xs, (np.ndarray, Tensor, Sequence)):
        raise TypeError(f"RNN(xs): a list of steps or an array with time first is needed, not a {type(xs).__name__}")
    if isinstance(xs, Tensor) and not xs.requires_grad:
        xs = xs.value
    if isinstance(xs, np.ndarray) and len(xs):
        return list(xs)
    steps = [x if isinstance(x, Tensor) else np.asarray(x) for x in xs]
    if not steps:
        raise ShapeError("RNN(xs): the sequence is empty; at least one step is needed")
    for t, x in enumerate(steps, 1):
        if x.shape != steps[0].shape:
            raise ShapeError(f"RNN(xs): ragged sequence: x has shape {x.shape} at step {t}, {steps[0].shape} at step 1")
    return steps
