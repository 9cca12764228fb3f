"""One time step of a recurrent net: the state goes in and the next state comes out; a cell holds none itself.

A cell names what it is given, x and h with their step, unless it has a name: figures and errors speak of x(t) and h(t).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_rnn import functions as F
from tinygrad_rnn.errors import ShapeError
from tinygrad_rnn.nn import init
from tinygrad_rnn.nn.module import Module, Parameter, positive_size
from tinygrad_rnn.tensor import Tensor, place

__all__ = ["NONLINEARITIES", "RNNCell"]

NONLINEARITIES = {"tanh": F.tanh, "sigmoid": F.sigmoid, "relu": F.relu, "identity": F.positive}


class RNNCell(Module):
    """The plain recurrent cell, node by node as in Fig. 7-5 (seed 001, section 7.2.2):

        ĥ(t) = W x(t) + U h(t-1) + b,   h(t) = f(ĥ(t))

    Args:
        input_size: D, the length of x(t).
        hidden_size: H, the length of h(t).
        nonlinearity: f, one of "tanh", "sigmoid", "relu", "identity".
        bias: whether there is a b; seeds 000, 002 and 003 have none.
        rng: a `numpy.random.Generator`, or a seed for one.

    Attributes:
        W: (H, D), Glorot. U: (H, H), orthogonal. b: (H,), zeros, or None.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        nonlinearity: str = "tanh",
        bias: bool = True,
        rng: np.random.Generator | int | None = None,
    ):
        if nonlinearity not in list(NONLINEARITIES):
            known = ", ".join(map(repr, NONLINEARITIES))
            raise ValueError(f"RNNCell(nonlinearity={nonlinearity!r}): not one of {known}")
        self.input_size = positive_size("RNNCell", "input_size", input_size)
        self.hidden_size = positive_size("RNNCell", "hidden_size", hidden_size)
        self.nonlinearity = nonlinearity
        self.layer: int | None = None  # its place in a net of layers, 1 for the lowest; named in errors
        rng = np.random.default_rng(rng)
        self.W = Parameter(init.glorot(rng, (hidden_size, input_size)), name="W")
        self.U = Parameter(init.orthogonal(rng, hidden_size), name="U")
        self.b = Parameter(np.zeros(hidden_size), name="b") if bias else None

    def __call__(self, x: Any, h: Any = None) -> Tensor:
        """h(t) of shape (H,) or (B, H), from x(t) of shape (D,) or (B, D) and h(t-1).

        The step t follows from the state: one more than h(t-1)'s, and 1 after an initial state.

        Args:
            h: the state h(t-1); zeros, h(0), if not given.

        Raises:
            ShapeError: x or h has another shape; names the step.
        """
        if not isinstance(x, Tensor):
            x = Tensor(x)
        if not isinstance(h, Tensor):
            h = self.initial_state(x) if h is None else Tensor(h)
        t = 1 + (last_step(h) if h.step is None else h.step)
        shape = x.value.shape
        if h.value.shape != (*shape[:-1], self.hidden_size) or shape[-1:] != (self.input_size,) or len(shape) > 2:
            raise self._misfit(x, h, t)
        if x.name is None:
            x.name, x.step = "x", t
        if h.name is None and h.primitive is None:
            h.name, h.step, h.layer = "h", t - 1, self.layer
        token = place.set((t, self.layer))
        try:
            h_hat = F.linear(self.W, x) + F.linear(self.U, h)
            if self.b is not None:
                h_hat = h_hat + self.b
            h = NONLINEARITIES[self.nonlinearity](h_hat)
        finally:
            place.reset(token)
        h_hat.name, h.name = "ĥ", "h"
        return h

    def initial_state(self, x: Any) -> Tensor:
        """h(0) = 0 for a first input x(1): (H,) beside (D,), and (B, H) beside (B, D)."""
        h = Tensor(np.zeros((*np.shape(x)[:-1], self.hidden_size), self.W.dtype), name="h")
        h.step, h.layer = 0, self.layer
        return h

    def _misfit(self, x: Tensor, h: Tensor, t: int) -> ShapeError:
        *batch, width = x.shape or (None,)
        call = f"RNNCell at step {t}{'' if self.layer is None else f' of layer {self.layer}'}"
        if width != self.input_size or len(batch) > 1:
            return ShapeError(f"{call}: x has shape {x.shape}, expected ({self.input_size},) or (B, {self.input_size})")
        expected = (*batch, self.hidden_size)
        return ShapeError(f"{call}: the state has shape {h.shape}, expected {expected} beside x of {x.shape}")


def last_step(state: Tensor) -> int:
    """The time step that a state comes from: its own, or the latest among the nodes it was made of; 0 if none has one.

    A state that was changed between two calls of a cell (masked, scaled, ...) goes on counting where it came from.
    """
    if state.step is not None:
        return state.step
    latest, seen, stack = 0, {state}, [state]
    while stack:
        node = stack.pop()
        if node.step is not None:
            latest = max(latest, node.step)
            continue
        new = [x for x in node.inputs if x not in seen]
        seen.update(new)
        stack.extend(new)
    return latest
