"""Long sequences in little memory: the values between a few states are forgotten, and computed again when needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_rnn import functions as F
from tinygrad_rnn.backward import sweep
from tinygrad_rnn.primitives import Primitive
from tinygrad_rnn.tensor import Tensor, as_tensor, bare, describe, record, recording

__all__ = ["checkpoint"]

State = Tensor | tuple[Tensor, ...]


def checkpoint(
    cell: Callable[[Any, Any], State], xs: Sequence[Any], state: Any = None, segments: int | None = None
) -> State:
    """Apply a cell along a sequence, holding the states between segments only: the last state, of the same gradients.

    The values within a segment are forgotten after the forward pass. The backward pass runs the segment again from the
    state before it, so that one segment at a time is held: with √T segments O(√T) values, for one more forward pass
    (Chen et al. 2016, "Training deep nets with sublinear memory cost").

    With a loss at every step, the loss so far is part of the state:

        def step(x_and_target, state):
            (x, target), (h, loss) = x_and_target, state
            h = cell(x, h)
            return h, loss + squared_error(readout(h), target)

        h, loss = checkpoint(step, list(zip(xs, targets)), (cell.initial_state(xs[0]), Tensor(0.0)))

    Args:
        cell: any function of x(t) and the state that returns the next state, a Tensor or a tuple of Tensors, and gives
            the same each time it is called on the same.
        xs: x(1), ..., x(T).
        state: the state before x(1); the cell's own `initial_state` if not given.
        segments: how many; √T if not given.

    Raises:
        ValueError: the sequence is empty, or segments is not between 1 and T; in the backward pass, the cell gave
            another state when it was run again, or a parameter has changed in between.
    """
    xs = list(xs)
    if not xs:
        raise ValueError("checkpoint(cell, xs): the sequence is empty; at least one step is needed")
    segments = round(math.sqrt(len(xs))) if segments is None else segments
    if not 1 <= segments <= len(xs):
        raise ValueError(f"checkpoint(segments={segments}): between 1 and the number of steps, {len(xs)}")
    state = cell.initial_state(xs[0]) if state is None else state
    single = not isinstance(state, tuple)
    states = tuple(as_tensor(s) for s in ((state,) if single else state))
    for part in np.array_split(np.arange(len(xs)), segments):
        states = _segment(cell, [xs[i] for i in part], states, single)
    return states[0] if single else states


def _segment(cell: Callable, xs: list, states: tuple[Tensor, ...], single: bool) -> tuple[Tensor, ...]:
    """The states after a part of the sequence, made by one node of those before it and of what else the cell uses."""
    segment = _Segment(cell, xs, single)
    starts = tuple(_start(s, s.value) for s in states)
    ends = segment.run(starts)
    if not any(s.requires_grad for s in ends):
        return ends
    segment.states, segment.others = states, _made_before(starts[0].born, ends)
    value = _joined(ends).value
    primitive = Primitive("checkpoint", lambda *_: value, "checkpoint", (segment.vjp,), (None,), (), variadic=True)
    node = record(primitive, (*states, *segment.others), None)
    parts = [node] if single else F.split(node, np.cumsum([end.size for end in ends])[:-1])
    return tuple(_like(part if single else part.reshape(end.shape), end) for part, end in zip(parts, ends, strict=True))


class _Segment:
    """A part of a sequence that can be run again."""

    states: tuple[Tensor, ...]  # before it
    others: tuple[Tensor, ...]  # whatever else it uses that requires a gradient: parameters, inputs

    def __init__(self, cell: Callable, xs: list, single: bool):
        self._cell, self._xs, self._single = cell, xs, single
        self._cotangent, self._gradients = None, {}

    def run(self, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The states after the segment, from those before it."""
        state = states[0] if self._single else states
        for x in self._xs:
            state = self._cell(x, state)
        return (state,) if self._single else tuple(state)

    def vjp(self, i: int, g: Any, ans: Any, *arguments: Any) -> Any:
        """The rule of the node: the first input to ask has the segment run again and swept, the others find it done."""
        if self._cotangent is not g:
            self._cotangent, self._gradients = g, self._run_back(g, ans, arguments[:-1])
        gradient = self._gradients.pop(i)
        if not self._gradients:
            self._cotangent = None
        return gradient

    def _run_back(self, g: Any, ans: Any, arguments: Sequence[Any]) -> dict[int, Any]:
        """The gradients of the inputs that require one, by their number."""
        with recording(True):
            starts = tuple(_start(s, a) for s, a in zip(self.states, arguments, strict=False))
            output = _joined(self.run(starts))
        same = [x.value is bare(a) for x, a in zip(self.others, arguments[len(starts) :], strict=True)]
        if not (all(same) and np.array_equal(output.value, bare(ans), equal_nan=True)):
            raise ValueError(
                f"checkpoint: when the cell was run again for the backward pass, {describe(output)} came out otherwise "
                "or a parameter had changed; it must do the same each time: run the forward pass again after a change"
            )
        sources = (*starts, *self.others)
        found = dict(sweep(output, g, until=frozenset(sources)))
        zero = as_tensor if isinstance(g, Tensor) else np.asarray
        return {i: found[x] if x in found else zero(0.0 * x.value) for i, x in enumerate(sources) if x.requires_grad}


def _start(state: Tensor, value: Any) -> Tensor:
    """A state for a segment to start from: a leaf of a value, or a node of its own after a Tensor."""
    if isinstance(value, Tensor):
        return _like(F.positive(value), state)
    return _like(Tensor(value, requires_grad=state.requires_grad), state)


def _like(tensor: Tensor, state: Tensor) -> Tensor:
    tensor.name, tensor.step, tensor.layer = state.name, state.step, state.layer
    return tensor


def _made_before(number: int, ends: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The Tensors that were born before a number, require a gradient, and were used since to make the ends."""
    before, seen = [], set()
    waiting = list(ends)
    for x in waiting:  # which grows as it goes
        if x.requires_grad and x not in seen:
            seen.add(x)
            if x.born < number:
                before.append(x)
            else:
                waiting.extend(x.inputs)
    return tuple(before)


def _joined(states: Sequence[Tensor]) -> Tensor:
    return states[0] if len(states) == 1 else F.concatenate([F.ravel(s) for s in states])
