"""Recurrent nets: cells applied step by step through time, layer upon layer."""

from __future__ import annotations

import dis
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic

import numpy as np

from tinygrad_rnn.checks import instance, one_of, whole
from tinygrad_rnn.context import time_step
from tinygrad_rnn.errors import ShapeError
from tinygrad_rnn.functions import concatenate, where
from tinygrad_rnn.interop import instead_of, record_test
from tinygrad_rnn.nn import init
from tinygrad_rnn.nn.cells import AnyCell, Cell, GRUCell, LSTMCell, RNNCell, State, joined, last_step
from tinygrad_rnn.nn.module import Letters, Module
from tinygrad_rnn.tensor import Tensor, as_tensor, label


class States(list[State]):
    """The state of every layer, in a list: what an LSTM's is unpacked from as [(h, c)], not as (h, c)."""

    def __iter__(self) -> Iterator[State]:
        caller = sys._getframe(1)
        operation, count = caller.f_code.co_code[caller.f_lasti : caller.f_lasti + 2]
        if operation == dis.opmap["UNPACK_SEQUENCE"] and count != len(self):
            told = "a net returns hs, a list of a Tensor for each step, and its state, a list of one for each layer"
            raise ValueError(f"{told}, of which there are {len(self)}, not {count}: hs, [(h, c)] = lstm(xs)")
        return super().__iter__()


class Recurrent(Module, Generic[AnyCell]):
    """A net of cells, applied step by step through time, layer upon layer; `RNN`, `LSTM` and `GRU` each fix the cell.

    Args:
        cell_class: the kind of cell, a `Cell` that takes the sizes and rng, and what else is given here.
        input_size, hidden_size: D and H. num_layers: how many cells stand on each other.
        rng: a `numpy.random.Generator`, or a seed for one.
        reverse: whether it runs backward through time, from step T to 1.
        name: what its letters carry, for figures of several nets: with "enc", W_enc and h_enc.
        options: what the constructor of the cells takes besides.

    Attributes:
        cells: one cell per layer. Each takes the h of the one below as its input (IIT slides).
        input_size, hidden_size, num_layers: as they were given.

    >>> net = tg.nn.Recurrent(tg.nn.GRUCell, 2, 3, num_layers=2, rng=0)
    >>> hs, state = net(np.ones((4, 2)))
    >>> len(hs), hs[-1].shape, len(state)
    (4, (3,), 2)
    """

    def __init__(
        self, cell_class: type[AnyCell], input_size: int, hidden_size: int, num_layers: int = 1, *,
        rng: init.Rng = None, reverse: bool = False, name: str | None = None, **options: Any,
    ):  # fmt: skip
        call = type(self).__name__
        if not isinstance(cell_class, type) or not issubclass(cell_class, Cell):
            raise TypeError(f"{call}(cell_class={cell_class!r}): a subclass of nn.Cell is needed")
        layers = whole(call, "num_layers", num_layers, 1)
        Letters(call, name)  # which refuses, of this call, a name that no letter can carry
        self.reverse = one_of(call, "reverse", reverse, (True, False))
        options |= {"rng": np.random.default_rng(rng)} | ({} if name is None else {"name": name})
        sizes = [input_size] + [hidden_size] * (layers - 1)
        try:
            self.cells: list[AnyCell] = [cell_class(size, hidden_size, **options) for size in sizes]
        except TypeError as error:
            told = f"{error}{''.join(map(instead_of, options))}"
            raise TypeError(re.sub(r"^\w+\.__init__", call, told)) from error  # of the net, where Python names the cell
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, layers
        for layer, cell in enumerate(self.cells if layers > 1 else [], 1):
            cell.layer = layer
            for parameter in cell.parameters():
                parameter.layer = layer

    def __call__(
        self: Recurrent[Cell[State]], xs: Any, state: Sequence | None = None, lengths: Any = None
    ) -> tuple[list[Tensor], list[State]]:
        """Unroll over a sequence.

        Args:
            xs: x(1), ..., x(T): a list of arrays or Tensors, or one array or Tensor with time first, (T, D) for one
                sequence or (T, B, D) for a batch. In reverse the steps are those that its Tensors have.
            state: one state per layer, as an earlier call returned it: h(0), (H,) or (B, H), or the pair (h(0), c(0))
                of an LSTM; zeros if not given. A Tensor that requires a gradient is learnt like a parameter; one
                without a name is called h(0), as any state. In reverse it is that of step T+1.
            lengths: for a batch, how many steps each sequence has, from 1 to T; all T if not given. Where a sequence
                has ended, its state stays as it is: in reverse, as it was given. A program reads lengths that are its
                input at each call.

        Returns:
            hs: [h(1), ..., h(T)] of the top layer; state: that of every layer after the last step, to carry into the
            next call: step T, or 1 in reverse.

        Raises:
            ShapeError: the sequence is empty, its steps differ in shape, or one does not fit; names the step.
            ValueError: the state does not have one entry per layer; lengths are not one number from 1 to T for each
                sequence of a batch.
            TypeError: the state is that of another kind of net: its parts are others, or a cell has given them other
                names.
        """
        name = type(self).__name__
        xs = _steps(name, xs)
        running = _running(name, lengths, xs)
        given = [None] * len(self.cells) if state is None else state
        if not isinstance(given, (list, tuple)) or len(given) != len(self.cells):
            raise ValueError(f"{name}(xs, state): the state is a list of {len(self.cells)}, one for each layer")
        shape, hs = xs[0].shape, []
        states = [cell.parts(entry, shape) for cell, entry in zip(self.cells, given, strict=True)]
        start = 1 + max(last_step(h) for h, *_ in states)  # the steps are counted from the state
        times = _times(xs)[::-1] if self.reverse else range(start, start + len(xs))
        stride = -1 if self.reverse else 1
        if state is not None:
            _refuse_batch_first(name, xs, states[0][0].shape[:-1])
        for cell, parts in zip(self.cells, states, strict=True):
            cell.check(shape, parts, times[0], times[0] - stride)
            shape = parts[0].shape
        xs = list(map(as_tensor, xs))  # of no step and no layer
        with time_step(None):  # in which each cell sets its own
            for x, t, on in zip(xs[::stride], times, running[::stride], strict=True):
                for layer, cell in enumerate(self.cells):
                    before = states[layer]
                    after = cell.advance(x, before, t)
                    if on is not None:
                        after = _unless_ended(on, after, before)
                    states[layer], x = after, after[0]
                hs.append(x)
        return hs[::stride], States(map(joined, states))


class RNN(Recurrent[RNNCell]):
    """The plain recurrent net: `RNNCell` unrolled through time (interdb 7.2.2).

    Args:
        input_size, hidden_size, num_layers, rng, reverse, name: as for `Recurrent`.
        nonlinearity, bias: as for `RNNCell`.

    >>> hs, (h,) = tg.nn.RNN(2, 3, rng=0)(np.ones((4, 2)))
    >>> len(hs), h.shape
    (4, (3,))
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, **options: Any):
        super().__init__(RNNCell, input_size, hidden_size, num_layers, **options)


class LSTM(Recurrent[LSTMCell]):
    """`LSTMCell` unrolled through time; each layer's state is a pair (h, c).

    Args:
        input_size, hidden_size, num_layers, rng, reverse, name: as for `Recurrent`.
        bias, forget_bias: as for `LSTMCell`.

    >>> hs, ((h, c),) = tg.nn.LSTM(2, 3, rng=0)(np.ones((4, 2)))
    >>> len(hs), h.shape, c.shape
    (4, (3,), (3,))
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, **options: Any):
        super().__init__(LSTMCell, input_size, hidden_size, num_layers, **options)


class GRU(Recurrent[GRUCell]):
    """`GRUCell` unrolled through time.

    Args:
        input_size, hidden_size, num_layers, rng, reverse, name: as for `Recurrent`. bias: as for `GRUCell`.

    >>> hs, (h,) = tg.nn.GRU(2, 3, rng=0)(np.ones((4, 5, 2)))
    >>> len(hs), h.shape
    (4, (5, 3))
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, **options: Any):
        super().__init__(GRUCell, input_size, hidden_size, num_layers, **options)


class Bidirectional(Module, Generic[AnyCell]):
    """Two nets over the same steps, one of which runs backward through time (Schuster and Paliwal 1997).

        net = Bidirectional(LSTM(2, 3, name="forth"), LSTM(2, 3, reverse=True, name="back"))

    Args:
        forth, back: nets for inputs of the same length, the second with `reverse=True`.

    Raises:
        TypeError: not a net. ValueError: nets of other directions.

    >>> net = tg.nn.Bidirectional(tg.nn.GRU(2, 3, rng=0), tg.nn.GRU(2, 3, reverse=True, rng=1))
    >>> hs, state = net(np.ones((4, 2)))
    >>> len(hs), hs[0].shape
    (4, (6,))
    """

    def __init__(self, forth: Recurrent[AnyCell], back: Recurrent[AnyCell]):
        for net in (forth, back):
            instance("Bidirectional(forth, back)", net, Recurrent, "a recurrent net")
        if forth.reverse or not back.reverse:
            raise ValueError("Bidirectional(forth, back): the second net, and only that, is one with reverse=True")
        self.forth, self.back = forth, back

    def __call__(
        self: Bidirectional[Cell[State]], xs: Any, state: Sequence | None = None, lengths: Any = None
    ) -> tuple[list[Tensor], tuple[list[State], list[State]]]:
        """Unroll both nets over a sequence, as `Recurrent` does.

        Args:
            state: those of both nets, as an earlier call returned them. xs, lengths: as for `Recurrent`.

        Returns:
            hs: h(t) of both nets for each step, one behind the other; state: the pair of theirs.
        """
        state = (None, None) if state is None else state
        if not isinstance(state, (list, tuple)) or len(state) != 2:
            raise ValueError("Bidirectional(xs, state): the state is a pair, those of the nets forth and back")
        xs = [as_tensor(x) for x in _steps("Bidirectional", xs)]  # the same nodes for both
        (forth, first), (back, second) = self.forth(xs, state[0], lengths), self.back(xs, state[1], lengths)
        hs = []
        for pair in zip(forth, back, strict=True):
            with time_step(pair[0].step):
                hs.append(concatenate(pair, axis=-1))
        return hs, (first, second)


KINDS: dict[str, Callable[..., Recurrent]] = {"rnn": RNN, "lstm": LSTM, "gru": GRU}  # as options of commands name them


def _unless_ended(running: Tensor, after: tuple[Tensor, ...], before: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The parts of the next state, and where a sequence has ended those before."""
    parts = []
    for part, former in zip(after, before, strict=True):
        if part is not former:  # one node of a step has the name: that which the next step takes
            name, part.name = part.name, None
            part = label(where(running, part, former), name or "")
        parts.append(part)
    return tuple(parts)


def _times(xs: list) -> Sequence[int]:
    """The steps of a sequence: those that all its Tensors have, or 1 to T."""
    steps = [x.step for x in xs if isinstance(x, Tensor) and x.step is not None]
    return steps if len(steps) == len(xs) and steps == sorted(set(steps)) else range(1, len(xs) + 1)


def _running(name: str, lengths: Any, xs: list) -> list[Tensor | None]:
    """For each step, which sequences of a batch have not ended, (B, 1); None where all run."""
    if lengths is None:
        return [None] * len(xs)
    if xs[0].ndim != 2:
        raise ValueError(f"{name}(xs, lengths): for a batch, xs (T, B, D); x has shape {xs[0].shape} at step 1")
    if is_read := isinstance(lengths, Tensor) and lengths.dtype.kind in "iu":  # by a program, at each call
        ends = record_test("whole_number", lengths, static=(1, len(xs), f"{name}: lengths"))
    else:
        ends = np.asarray(lengths, dtype=object)  # which takes what is of any shape and kind
    _refuse_batch_first(name, xs, ends.shape)
    is_one_each = ends.shape == xs[0].shape[:1]
    if not is_one_each or not (is_read or all(hasattr(n, "__index__") and 1 <= n <= len(xs) for n in ends)):
        wanted = f"a whole number from 1 to {len(xs)} for each of the {len(xs[0])} sequences"
        raise ValueError(f"{name}(lengths={lengths!r}): {wanted} is needed")
    running = ends[:, None] >= np.arange(1, len(xs) + 1)[:, None, None]
    return [label(as_tensor(on), "running") if isinstance(on, Tensor) or not on.all() else None for on in running]


def _refuse_batch_first(name: str, xs: list, rows: tuple[int, ...]) -> None:
    """Raise a ShapeError if a batch of this shape is that of the first axis of xs and not of the second."""
    if xs[0].ndim == 2 and rows == (len(xs),) != xs[0].shape[:1]:
        shape = (len(xs), *xs[0].shape)
        raise ShapeError(f"{name}(xs): xs {shape} has the batch first{instead_of('batch_first')}")


def _steps(name: str, xs: Any) -> list:
    """A sequence as the list of its steps, checked to be of one shape."""
    if isinstance(xs, str) or not isinstance(xs, (np.ndarray, Tensor, Sequence)) or getattr(xs, "ndim", 1) == 0:
        raise TypeError(f"{name}(xs): a list of steps or an array with time first is needed, not a {type(xs).__name__}")
    if isinstance(xs, np.ndarray) and len(xs):
        return list(xs)
    steps = [x if isinstance(x, Tensor) else np.asarray(x) for x in xs]
    if not steps:
        raise ShapeError(f"{name}(xs): the sequence is empty; at least one step is needed")
    first = steps[0].shape
    for t, x in enumerate(steps, 1):
        if x.shape != first:
            raise ShapeError(f"{name}(xs): ragged sequence: x has shape {x.shape} at step {t}, {first} at step 1")
    return steps
