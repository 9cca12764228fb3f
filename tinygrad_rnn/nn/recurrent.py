"""Recurrent nets: cells applied step by step through time, layer upon layer."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_rnn.algebra.notation import Letter
from tinygrad_rnn.checks import whole
from tinygrad_rnn.descriptions import describe
from tinygrad_rnn.errors import ShapeError
from tinygrad_rnn.nn import init
from tinygrad_rnn.nn.cells import Cell, GRUCell, LSTMCell, RNNCell, State
from tinygrad_rnn.nn.module import Module
from tinygrad_rnn.tensor import Tensor

_STATE_NAMES = LSTMCell.state_names  # a y, as an encoder gives it, may well start a state


class Recurrent(Module):
    """A net of cells: what `RNN`, `LSTM` and `GRU` share.

    Args:
        cell: the kind of cell. options: what its constructor takes besides the sizes and rng.

    Attributes:
        cells: one cell per layer. Each takes the h of the one below as its input (IIT slides).
    """

    def __init__(
        self, cell: type[Cell], input_size: int, hidden_size: int, num_layers: int = 1, rng: init.Rng = None,
        **options: Any,
    ):  # fmt: skip
        layers = whole(type(self).__name__, "num_layers", num_layers, 1)
        rng = np.random.default_rng(rng)
        sizes = [input_size] + [hidden_size] * (layers - 1)
        self.cells = [cell(size, hidden_size, **options, rng=rng) for size in sizes]
        for layer, one in enumerate(self.cells, 1):
            if layers > 1:
                one.layer = layer
                for parameter in one.parameters():
                    parameter.layer = layer

    def __call__(self, xs: Any, state: Sequence[Any] | None = None) -> tuple[list[Tensor], list[State]]:
        """Unroll over a sequence.

        Args:
            xs: x(1), ..., x(T): a list of arrays or Tensors, or one array or Tensor with time first, (T, D) for one
                sequence or (T, B, D) for a batch.
            state: one state per layer, as an earlier call returned it: h(0), (H,) or (B, H), or the pair (h(0), c(0))
                of an LSTM; zeros if not given. A Tensor that requires a gradient is learnt like a parameter.

        Returns:
            hs: [h(1), ..., h(T)] of the top layer; state: that of step T of every layer, to carry into the next call.

        Raises:
            ShapeError: the sequence is empty, its steps differ in shape, or one does not fit; names the step.
            ValueError: the state does not have one entry per layer.
            TypeError: it is that of another kind of net: its parts are others, or a cell has given them other names.
        """
        name = type(self).__name__
        xs = _steps(name, xs)
        if state is None:
            state = [cell.initial_state(xs[0]) for cell in self.cells]
        elif not isinstance(state, (list, tuple)) or len(state) != len(self.cells):
            raise ValueError(f"{name}(xs, state): the state is a list of {len(self.cells)}, one for each layer")
        for entry, cell in zip(state, self.cells, strict=True):
            _check_names(name, entry, cell)
        state, hs = list(state), []
        for x in xs:
            for layer, cell in enumerate(self.cells):
                state[layer] = after = cell(x, state[layer])
                x = after[0] if isinstance(after, tuple) else after
            hs.append(x)
        return hs, state


class RNN(Recurrent):
    """The plain recurrent net: `RNNCell` unrolled through time (interdb 7.2.2).

    Args:
        input_size: D. hidden_size: H.
        num_layers: how many cells stand on each other.
        nonlinearity, bias, rng: as for `RNNCell`.
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh", bias: bool = True,
        rng: init.Rng = None,
    ):  # fmt: skip
        super().__init__(RNNCell, input_size, hidden_size, num_layers, rng, nonlinearity=nonlinearity, bias=bias)


class LSTM(Recurrent):
    """`LSTMCell` unrolled through time; each layer's state is a pair (h, c).

    Args:
        input_size, hidden_size, num_layers: as for `RNN`. bias, forget_bias, rng: as for `LSTMCell`.
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, forget_bias: float = 0.0,
        rng: init.Rng = None,
    ):  # fmt: skip
        super().__init__(LSTMCell, input_size, hidden_size, num_layers, rng, bias=bias, forget_bias=forget_bias)


class GRU(Recurrent):
    """`GRUCell` unrolled through time.

    Args:
        input_size, hidden_size, num_layers: as for `RNN`. bias, rng: as for `GRUCell`.
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, rng: init.Rng = None):
        super().__init__(GRUCell, input_size, hidden_size, num_layers, rng, bias=bias)


KINDS = {"rnn": RNN, "lstm": LSTM, "gru": GRU}  # as options of commands name them


def _check_names(name: str, entry: Any, cell: Cell) -> None:
    """Refuse the state of a layer whose parts a cell has named as others, such as c where an h is needed."""
    parts = entry if isinstance(entry, tuple) else (entry,)
    for part, expected in zip(parts, cell.state_names, strict=False):  # the cell counts them
        given = part.name if isinstance(part, Tensor) else None
        if isinstance(given, Letter) and given in _STATE_NAMES and given != expected:
            raise TypeError(
                f"{name}(xs, state): {describe(part)} is given as the state {expected}; each layer's state is "
                f"{' and '.join(cell.state_names)}"
            )


def _steps(name: str, xs: Any) -> list:
    """A sequence as the list of its steps, checked to be of one shape."""
    scalar = isinstance(xs, (np.ndarray, Tensor)) and xs.ndim == 0
    if scalar or isinstance(xs, str) or not isinstance(xs, (np.ndarray, Tensor, Sequence)):
        raise TypeError(f"{name}(xs): a list of steps or an array with time first is needed, not a {type(xs).__name__}")
    if isinstance(xs, np.ndarray) and len(xs):
        return list(xs)
    steps = [x if isinstance(x, Tensor) else np.asarray(x) for x in xs]
    if not steps:
        raise ShapeError(f"{name}(xs): the sequence is empty; at least one step is needed")
    for t, x in enumerate(steps, 1):
        if x.shape != steps[0].shape:
            raise ShapeError(
                f"{name}(xs): ragged sequence: x has shape {x.shape} at step {t}, {steps[0].shape} at step 1"
            )
    return steps
