"""Truncated backpropagation through time: a long series in chunks, gradients through the last steps only (000)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tinygrad_rnn.nn.module import Module
from tinygrad_rnn.nn.recurrent import Recurrent
from tinygrad_rnn.tensor import Tensor, cut

__all__ = ["truncated"]


def truncated(
    rnn: Recurrent,
    readout: Module,
    loss_fn: Callable[[Tensor, Any], Tensor],
    xs: Any,
    targets: Sequence[Any],
    length: int,
    state: Any = None,
    back: int | None = None,
) -> Iterator[float]:
    """Go through a series chunk by chunk; yield each chunk's loss when its gradients have been added to `.grad`.

        for loss in truncated(rnn, readout, squared_error, xs, targets, length=25):
            optimizer.step()
            optimizer.zero_grad()

    Each step runs forward once. The gradient of a chunk's loss goes back to the chunk's first step, the state before
    it being taken as given (000); or with `back` through that many steps before the chunk's end, which is the form with
    two numbers, k1 = length and k2 = back (Williams and Peng 1990). There, steps that were run before the parameters
    last changed count with the values that they had. What lies further back is freed.

    Args:
        rnn: an RNN, LSTM or GRU. readout: from h(t) to what the loss compares. loss_fn: of that and the step's target.
        xs: x(1), ..., x(T). targets: one for every step.
        length: how many steps a chunk has; the last may be shorter.
        state: as for the net.
        back: how many steps the gradient goes back, at least `length`; those of the chunk if not given.

    Yields:
        The sum of the chunk's losses, a float.

    Raises:
        ValueError: length is not between 1 and T, back is less than length, or there is not one target a step.
    """
    T = len(xs)
    if not 1 <= length <= T:
        raise ValueError(f"truncated(length={length}): between 1 and the number of steps, {T}")
    if back is not None and back < length:
        raise ValueError(f"truncated(back={back}): at least the length of a chunk, {length}")
    if len(targets) != T:
        raise ValueError(f"truncated(xs, targets): {len(targets)} targets for {T} steps")
    states = deque([state])  # those that gradients may still go back to, the oldest first
    for start in range(0, T, length):
        loss, chunk = 0.0, range(start, min(start + length, T))
        for t in chunk:
            (h,), state = rnn(xs[t : t + 1], states[-1])
            states.append(state)
            loss = loss_fn(readout(h), targets[t]) + loss
        while len(states) > 1 + (back or len(chunk)):
            states.popleft()
        for part in _parts(states[0]):
            cut(part)
        loss.backward()
        yield loss.item()


def _parts(state: Any) -> list[Tensor]:
    """The Tensors of a state of every layer; none for the zeros that a net starts from."""
    layers = [layer if isinstance(layer, tuple) else (layer,) for layer in state or ()]
    return [part for layer in layers for part in layer if isinstance(part, Tensor) and not part.is_leaf]
