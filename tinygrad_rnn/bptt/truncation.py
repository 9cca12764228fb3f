"""Long sequences: truncated backpropagation through time, whose gradients go through the last steps only; checkpoints,
with which the whole gradient needs little memory.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from functools import partial, reduce
from typing import Any, TypeVar

import numpy as np

from tinygrad_rnn import checks
from tinygrad_rnn import functions as F
from tinygrad_rnn.backward import sweep
from tinygrad_rnn.context import recording, temporarily
from tinygrad_rnn.errors import describe
from tinygrad_rnn.nn.cells import last_step
from tinygrad_rnn.nn.module import Module
from tinygrad_rnn.nn.recurrent import Recurrent
from tinygrad_rnn.observer import leaves_the_graph
from tinygrad_rnn.primitives import row
from tinygrad_rnn.tensor import Tensor, as_tensor, bare, reached, record


class Chunks(Iterator[float]):
    """The iterator that `truncated` returns: the losses of the chunks, one after the other.

    Attributes:
        state: the state after the last chunk so far, without what it was made of, to carry into the next call.

    >>> rnn, readout = tg.nn.RNN(1, 3, rng=0), tg.nn.Linear(3, 1, rng=1)
    >>> chunks = tg.bptt.truncated(rnn, readout, tg.nn.squared_error, np.ones((6, 1)), np.ones((6, 1)), length=3)
    >>> losses = list(chunks)
    >>> chunks.state[0].shape
    (3,)
    """

    def __init__(self, run: Callable, pieces: Iterator[tuple], state: Any):
        self._run, self._pieces, self.state = run, pieces, state

    def __next__(self) -> float:
        loss, self.state = self._run(*next(self._pieces), self.state)
        return loss


def truncated(
    rnn: Recurrent, readout: Module, loss_fn: Callable[[Tensor, Any], Tensor], xs: Any, targets: Any,
    length: int, state: Any = None, back: int | None = None, compile: Callable | None = None,
) -> Chunks:  # fmt: skip
    """Go through a sequence chunk by chunk; yield each chunk's loss when its gradients have been added to `.grad`.

        for loss in truncated(rnn, readout, squared_error, xs, targets, length=25):
            optimizer.step()
            optimizer.zero_grad()

    A sequence that comes in pieces is gone through piece by piece, with the state carried over:

        state = None
        for xs, targets in pieces:
            losses = truncated(rnn, readout, squared_error, xs, targets, length=25, state=state)
            for loss in losses:
                ...
            state = losses.state

    Each step runs forward once. The gradient of a chunk's loss goes back to the chunk's first step, the state before
    it being taken as given (BPTT post); or with `back` through that many steps before the chunk's end, which is the
    form with two numbers, k1 = length and k2 = back (Williams and Peng 1990). There, steps that were run before the
    parameters last changed count with the values that they had. What lies further back is freed.

    Args:
        rnn: an RNN, LSTM or GRU. readout: from h(t) to what the loss compares. loss_fn: of that and the step's target.
        xs: x(1), ..., x(T). targets: one for every step.
        length: how many steps a chunk has; the last may be shorter.
        state: as for the net. No gradient flows into what it was made of, but leaves of it are learnt like parameters.
        back: how many steps the gradient goes back, at least `length`; those of the chunk if not given.
        compile: `tg.compile`, to run each chunk as a program: the same to rounding, in less time. What `loss_fn` reads
            besides changes seldom, and the gradients are those of the parameters of the net and the readout.

    Returns:
        An iterator over the chunks that gives the sum of the losses of each, a float; its `.state` is that after them.

    Raises:
        ValueError: length is not between 1 and T, back is less than length, there is not one target a step, or rnn runs
            in reverse.
        TypeError: rnn is no RNN, LSTM or GRU, length or back is no integer, or a loss is no Tensor; or, with `compile`,
            the readout is no module.
        ValueError: `back` and `compile` together: a program goes through a chunk whole.

    >>> rnn, readout = tg.nn.RNN(1, 3, rng=0), tg.nn.Linear(3, 1, rng=1)
    >>> losses = tg.bptt.truncated(rnn, readout, tg.nn.squared_error, np.ones((6, 1)), np.ones((6, 1)), length=3)
    >>> len(list(losses))
    2
    """
    leaves_the_graph("truncated()", "call it on its own, with compile=tg.compile")
    checks.instance("truncated(rnn, ...)", rnn, Recurrent, "an nn.RNN, LSTM or GRU")
    if rnn.reverse:
        raise ValueError("truncated(rnn, ...): a net with reverse=True begins at the end, and needs the whole sequence")
    for name, sequence in (("xs", xs), ("targets", targets)):
        checks.instance(f"truncated({name}=...)", sequence, Sized, "a sequence")
    T = len(xs)
    checks.whole("truncated", "length", length, 1, T, f"a whole number from 1 to the number of steps, {T},")
    if back is not None:
        wanted = f"a whole number from the length of a chunk, {length}, up"
        checks.whole("truncated", "back", back, length, wanted=wanted)
    if len(targets) != T:
        raise ValueError(f"truncated(xs, targets): {len(targets)} targets for {T} steps")
    if compile is not None and back is not None:
        raise ValueError("truncated(back=..., compile=...): a program goes back to the chunk's first step; drop one")
    pieces = ((xs[i : i + length], targets[i : i + length]) for i in range(0, T, length))
    state = _detached(state)
    if compile is None:
        return Chunks(_recorded(rnn, readout, loss_fn, back, state), pieces, state)
    checks.instance("truncated(readout=..., compile=...)", readout, Module, "a module, whose parameters are learnt,")

    def chunk(xs: Any, targets: Any, state: Any) -> tuple[Any, Any]:
        loss, (hs, state) = 0.0, rnn(xs, state)
        for t, h in enumerate(hs):
            loss = loss_fn(readout(h), targets[t]) + loss
        return loss, state

    learnt = [p for p in (*rnn.parameters(), *readout.parameters()) if p.requires_grad]
    program = compile(chunk, xs[:length], targets[:length], state, wrt=learnt)
    return Chunks(program.backward, pieces, state)


def _recorded(rnn: Recurrent, readout: Any, loss_fn: Callable, back: int | None, state: Any) -> Callable:
    """The function that goes through a chunk step by step: its loss, and the state after it."""
    states = deque([state])  # those that gradients may still go back to, the oldest first

    def run(xs: Any, targets: Any, state: Any) -> tuple[float, Any]:
        loss: Any = 0.0
        for t in range(len(xs)):
            (h,), state = rnn(xs[t : t + 1], states[-1])
            states.append(state)
            loss = loss_fn(readout(h), targets[t]) + loss
        while len(states) > 1 + (back or len(xs)):
            states.popleft()
        _cut(states[0])
        checks.instance("truncated(loss_fn=...)", loss, Tensor, "a loss that is a Tensor").backward()
        return loss.item(), _detached(state)

    return run


def _cut(x: Any) -> None:
    """Make the nodes of a state leaves where they are, which lets go of what they were made of."""
    if isinstance(x, (list, tuple)):
        for part in x:
            _cut(part)
    elif isinstance(x, Tensor) and not x.is_leaf:
        x.is_cut = x.requires_grad or x.is_cut
        x.primitive, x.inputs, x.arguments = None, (), ()
        x.requires_grad = False


def _detached(state: Any) -> Any:
    """A state that is made of leaves: those of the given one, and others in place of what a graph leads to."""
    if isinstance(state, (list, tuple)):
        return type(state)(_detached(part) for part in state)
    return state.detach() if isinstance(state, Tensor) and not state.is_leaf else state


# Checkpoints: the values between a few states are forgotten, and computed again when needed


State = TypeVar("State")  # a Tensor, or a tuple of Tensors


def checkpoint(
    cell: Callable[[Any, Any], State], xs: Iterable[Any], state: Any = None, segments: int | None = None
) -> State:
    """Apply a cell along a sequence and return the last state, with the same gradients, holding only the states between
    segments.

    The values within a segment are forgotten after the forward pass. The backward pass runs the segment again from the
    state before it, so that one segment at a time is held: with √T segments O(√T) values, for one more forward pass
    (Chen et al. 2016, "Training deep nets with sublinear memory cost").

    In the graph a segment is one node, of the step that it ends with: `bptt.contributions` gives there the sum of the
    segment's terms.

    With a loss at every step, the loss so far is part of the state:

        def step(x_and_target, state):
            (x, target), (h, loss) = x_and_target, state
            h = cell(x, h)
            return h, loss + squared_error(readout(h), target)

        h, loss = checkpoint(step, list(zip(xs, targets)), (cell.initial_state(xs[0]), Tensor(0.0)))

    Args:
        cell: any function of x(t) and the state that returns the next state, a Tensor or a tuple of as many Tensors as
            the state has, and gives the same each time it is called on the same. Arrays that it uses beside x(t) must
            not change until the backward pass.
        xs: x(1), ..., x(T).
        state: the state before x(1); the cell's own `initial_state` if not given.
        segments: how many; √T if not given.

    Raises:
        ValueError: the sequence is empty, or segments is not between 1 and T; in the backward pass, the cell gave
            another state when it was run again, or a parameter has changed in between.
        TypeError: the cell returned no state, or has no `initial_state` where one is needed.

    >>> cell = tg.nn.RNNCell(1, 3, rng=0)
    >>> h = tg.bptt.checkpoint(cell, list(np.ones((100, 1))))
    >>> h.step, h.shape
    (100, (3,))
    """
    leaves_the_graph("checkpoint()", "apply the cell in a loop: a program holds what the gradients need, and no more")
    checks.instance("checkpoint(cell, xs)", cell, Callable, "a function of x(t) and the state")
    xs = list(map(_own, checks.instance("checkpoint(cell, xs)", xs, Iterable, "a sequence")))
    if not xs:
        raise ValueError("checkpoint(cell, xs): the sequence is empty; at least one step is needed")
    segments = round(len(xs) ** 0.5) if segments is None else segments
    wanted = f"a whole number from 1 to the number of steps, {len(xs)},"
    checks.whole("checkpoint", "segments", segments, 1, len(xs), wanted)
    if state is None:
        if (initial_state := getattr(cell, "initial_state", None)) is None:
            raise TypeError("checkpoint(cell, xs): a state is needed, since the cell has no initial_state")
        state = initial_state(xs[0])
    single = not isinstance(state, tuple)

    def step(before: tuple[Tensor, ...], x: Any) -> tuple[Tensor, ...]:
        state: Any = cell(x, before[0] if single else before)
        after: tuple[Any, ...] = (state,) if single else tuple(state) if isinstance(state, (tuple, list)) else ()
        if len(after) != len(before) or not all(isinstance(part, Tensor) for part in after):
            wanted = "a Tensor" if single else f"a tuple of {len(before)} Tensors"
            raise TypeError(f"checkpoint(cell, xs, state): the state is {wanted}, but the cell returned {state!r:.60}")
        return after

    states: Any = tuple(as_tensor(s) for s in ((state,) if single else state))
    for part in np.array_split(np.arange(len(xs)), segments):
        states = _segment(partial(reduce, step, [xs[i] for i in part]), states)
    return states[0] if single else states


def _segment(run: Callable, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The states after a part of the sequence, made by one node of those before it and of what else the cell uses.

    Args:
        run: gives the states after the part, from those before it.
    """
    first = as_tensor(0.0).born  # what is born from here on belongs to the segment
    ends = run(states)
    carried = [end for end in ends if end.requires_grad]
    if not carried:
        return ends
    joined = _joined(ends)
    used = [x for x in reached([joined], lambda x: x.born >= first) if x.born < first and x.requires_grad]
    inputs = tuple(dict.fromkeys([*states, *used]))
    until, last = frozenset(inputs), max(i for i, x in enumerate(inputs) if x.requires_grad)
    value = joined.value  # the node is made for its rule
    latest: tuple[Any, dict[Tensor, Any]] = (None, {})  # a cotangent, and the gradients that it gives

    def vjp(i: int, g: Any, ans: Any, *arguments: Any) -> Any:
        """The first input to ask has the segment run again and swept, the others find it done.

        A sweep asks for all of them in order, so that the last one is where they are forgotten.
        """
        nonlocal latest
        if latest[0] is not g:
            with temporarily(recording, True):
                again = run(states)
                output = _joined(again)
            now, then = (output, *inputs), (ans, *arguments)
            if not all(np.array_equal(x.value, bare(y), equal_nan=True) for x, y in zip(now, then, strict=False)):
                differs = f"{describe(again[0])} came out otherwise or a parameter had changed"
                told = f"checkpoint: when the cell was run again for the backward pass, {differs}; it must do the same"
                raise ValueError(f"{told} each time: run the forward pass again after a change")
            zero = as_tensor if isinstance(g, Tensor) else np.asarray  # of a state that the cell does not look at
            found = {x: term for x, term in sweep({output: g}, until) if x in until}
            latest = g, {x: zero(0.0 * x.value) for x in inputs} | found
        gradient = latest[1][inputs[i]]
        if i == last:
            latest = None, {}
        return gradient

    node = record(row("checkpoint", lambda *_: value, "checkpoint", vjp, variadic=True), inputs, None)
    parts = iter([node] if len(carried) == 1 else F.split(node, np.cumsum([end.size for end in carried])[:-1]))
    after = tuple(_like(next(parts), end) if end.requires_grad else end for end in ends)
    if node.step is None:  # it is no state, or one without a step, but what it computes ends at one
        node.step = max(map(last_step, ends)) or None
    return after


def _like(tensor: Tensor, state: Tensor) -> Tensor:
    """A Tensor in the shape and dtype of a state, with its name."""
    tensor = tensor if tensor.shape == state.shape else tensor.reshape(state.shape)
    tensor = tensor if tensor.dtype == state.dtype else tensor.astype(state.dtype)
    tensor.name, tensor.step, tensor.layer = state.name, state.step, state.layer
    return tensor


def _joined(states: Sequence[Tensor]) -> Tensor:
    """The parts of a state that gradients flow through, as one new Tensor."""
    carried = [s for s in states if s.requires_grad]
    return F.positive(carried[0]) if len(carried) == 1 else F.concatenate(carried, None)


def _own(x: Any) -> Any:
    """x(t), with copies of the arrays in it, which may change before they are needed again."""
    if isinstance(x, (tuple, list)):
        return tuple(_own(part) for part in x)
    return x.copy() if isinstance(x, np.ndarray) else x
