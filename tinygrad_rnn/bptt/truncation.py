"""Truncated backpropagation through time: a long series in chunks, gradients through the last steps only."""

from collections import deque
from collections.abc import Callable, Iterator, Sized
from typing import Any

from tinygrad_rnn import checks
from tinygrad_rnn.nn.module import Module
from tinygrad_rnn.nn.recurrent import Recurrent
from tinygrad_rnn.observer import leaves_the_graph
from tinygrad_rnn.tensor import Tensor


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
    """Go through a series chunk by chunk; yield each chunk's loss when its gradients have been added to `.grad`.

        for loss in truncated(rnn, readout, squared_error, xs, targets, length=25):
            optimizer.step()
            optimizer.zero_grad()

    A series that comes in pieces is gone through piece by piece, with the state carried over:

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
        TypeError: rnn is no RNN, LSTM or GRU, or length or back is no integer.
        ValueError: `back` and `compile` together: a program goes through a chunk whole.

    >>> rnn, readout = tg.nn.RNN(1, 3, rng=0), tg.nn.Linear(3, 1, rng=1)
    >>> losses = tg.bptt.truncated(rnn, readout, tg.nn.squared_error, np.ones((6, 1)), np.ones((6, 1)), length=3)
    >>> len(list(losses))
    2
    """
    leaves_the_graph("truncated()", "call it on its own, with compile=tg.compile")
    checks.instance("truncated(rnn, ...)", rnn, Recurrent, "an nn.RNN, LSTM or GRU")
    if rnn.reverse:
        raise ValueError("truncated(rnn, ...): a net with reverse=True begins at the end, and needs the whole series")
    for name, series in (("xs", xs), ("targets", targets)):
        checks.instance(f"truncated({name}=...)", series, Sized, "a series")
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
    run = _recorded(rnn, readout, loss_fn, back) if compile is None else _compiled(rnn, readout, loss_fn, compile)
    return Chunks(run, pieces, _detached(state))


def _recorded(rnn: Recurrent, readout: Any, loss_fn: Callable, back: int | None) -> Callable:
    """The function that goes through a chunk step by step: its loss, and the state after it."""
    states = deque[Any]()  # those that gradients may still go back to, the oldest first

    def run(xs: Any, targets: Any, state: Any) -> tuple[float, Any]:
        loss: Any = 0.0
        if not states:
            states.append(state)
        for t in range(len(xs)):
            (h,), state = rnn(xs[t : t + 1], states[-1])
            states.append(state)
            loss = loss_fn(readout(h), targets[t]) + loss
        while len(states) > 1 + (back or len(xs)):
            states.popleft()
        _cut(states[0])
        loss.backward()
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


def _compiled(rnn: Recurrent, readout: Any, loss_fn: Callable, compile: Callable) -> Callable:
    """The same as a program, which runs a chunk of every length."""

    def chunk(xs: Any, targets: Any, state: Any) -> tuple[Any, Any]:
        loss, (hs, state) = 0.0, rnn(xs, state)
        for t, h in enumerate(hs):
            loss = loss_fn(readout(h), targets[t]) + loss
        return loss, state

    program: Any = None

    def run(*arguments: Any) -> tuple[float, Any]:
        nonlocal program
        if program is None:
            learnt = [p for p in (*rnn.parameters(), *readout.parameters()) if p.requires_grad]
            program = compile(chunk, *arguments, wrt=learnt)
        return program.backward(*arguments)

    return run


def _detached(state: Any) -> Any:
    """A state that is made of leaves: those of the given one, and others in place of what a graph leads to."""
    if isinstance(state, (list, tuple)):
        return type(state)(_detached(part) for part in state)
    return state.detach() if isinstance(state, Tensor) and not state.is_leaf else state
