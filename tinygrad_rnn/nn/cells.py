"""One time step of a recurrent net: the state goes in and the next state comes out; a cell holds none itself.

A cell names what it is given, x and its state with their step, unless it has a name: figures and errors speak of x(t)
and h(t). The gates of `LSTMCell` and `GRUCell` have parameters of their own, so that figures and contributions speak of
gates too. The plain cell is built of the five nodes of Fig. 7-5; a gated one has W x + U h + b as one node, the
primitive `affine`, since keeping what lies in between would take a sixth more time.
"""

from typing import Any

import numpy as np

from tinygrad_rnn.algebra.notation import Letter
from tinygrad_rnn.checks import one_of, whole
from tinygrad_rnn.context import step_and_layer
from tinygrad_rnn.errors import ShapeError
from tinygrad_rnn.functions import affine, lerp, linear, positive, relu, sigmoid, tanh
from tinygrad_rnn.naming import last_step
from tinygrad_rnn.nn import init
from tinygrad_rnn.nn.module import Module, Parameter
from tinygrad_rnn.tensor import Tensor, as_tensor

NONLINEARITIES = {"tanh": tanh, "sigmoid": sigmoid, "relu": relu, "identity": positive}

State = Tensor | tuple[Tensor, ...]

_step_and_layer, _set_step_and_layer = step_and_layer.get, step_and_layer.set  # looked up once, not at every step

_x, _h, _h_hat, _c = map(Letter, ("x", "h", "ĥ", "c"))
_i, _f, _g, _o, _r, _z, _n = map(Letter, "ifgorzn")
_i_hat, _f_hat, _g_hat, _o_hat, _r_hat, _z_hat, _n_hat = map(Letter, ("î", "f̂", "ĝ", "ô", "r̂", "ẑ", "n̂"))


class Cell(Module):
    """The base of cells: they name their inputs, count the steps, check the shapes and say where they are.

    A kind of cell says what its state is made of, which gates it has, and its equations in `step`.

    Attributes:
        input_size: D, the length of x(t). hidden_size: H, the length of every part of the state.
        W (H, D), Glorot; U (H, H), orthogonal; b (H,), zeros, or None: of every gate, as W_i, or of the whole cell.
        layer: its place in a net of layers, 1 for the lowest; named in errors.
    """

    state_names: tuple[Letter, ...] = (_h,)
    gates: tuple[str, ...] = ("",)  # what the names of the parameters end with, in PyTorch's order

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, rng: init.Rng = None):
        call = type(self).__name__
        self.input_size = D = whole(call, "input_size", input_size, 1)
        self.hidden_size = H = whole(call, "hidden_size", hidden_size, 1)
        self.layer: int | None = None
        rng = np.random.default_rng(rng)
        for gate in self.gates:
            self._add("W" + gate, init.glorot(rng, (H, D)))
            self._add("U" + gate, init.orthogonal(rng, H))
            self._add("b" + gate, np.zeros(H) if bias else None)

    def _add(self, letter: str, data: np.ndarray | None) -> None:
        name = Letter(letter)
        setattr(self, name, None if data is None else Parameter(data, name=name))

    def step(self, x: Tensor, *state: Tensor) -> State:
        """The equations of one step: the next state, from x(t) and the parts of the state of step t-1."""
        raise NotImplementedError

    def __call__(self, x: Any, state: Any = None) -> State:
        """The state of step t, each part of shape (H,) or (B, H), from x(t) of shape (D,) or (B, D) and that of t-1.

        The step t follows from the state: one more than its own, and 1 after an initial state.

        Args:
            state: h(t-1), or for an `LSTMCell` the pair (h(t-1), c(t-1)); zeros if not given.

        Raises:
            ShapeError: x or a part of the state has another shape; names the step.
            TypeError: the state of another kind of cell.
        """
        x = as_tensor(x)
        if state is None:
            state = self.initial_state(x)
        parts = (state,) if isinstance(state, Tensor) and len(self.state_names) == 1 else self._parts(state)
        h = parts[0]
        t = 1 + (last_step(h) if h.step is None else h.step)
        if x.name is None:
            x.name, x.step = _x, t
        shape = x.value.shape
        if len(shape) not in (1, 2) or shape[-1] != self.input_size:
            raise self._misfit("x", x, f"({self.input_size},) or (B, {self.input_size})", t)
        expected = (self.hidden_size,) if len(shape) == 1 else (shape[0], self.hidden_size)
        for part in parts:
            if part.name is None or part.value.shape != expected:
                self._name_or_refuse(parts, expected, t)
        outside = _step_and_layer()
        try:  # as time_step does, in less time
            _set_step_and_layer((t, self.layer))
            return self.step(x, *parts)
        finally:
            _set_step_and_layer(outside)

    def initial_state(self, x: Any) -> State:
        """The state of step 0, zeros, for a first input x(1): (H,) beside (D,), and (B, H) beside (B, D)."""
        zeros = np.zeros((*np.shape(x)[:-1], self.hidden_size), getattr(self, f"W{self.gates[0]}").dtype)
        parts = tuple(Tensor(zeros, name=name) for name in self.state_names)
        for part in parts:
            part.step, part.layer = 0, self.layer
        return parts if len(parts) > 1 else parts[0]

    def _parts(self, state: Any) -> tuple[Tensor, ...]:
        """The parts of a state, which may be data instead of Tensors."""
        parts = state if isinstance(state, tuple) else (state,)
        if len(parts) != len(self.state_names) or any(map(_nested, parts)):
            raise TypeError(
                f"{type(self).__name__}: the state is {' and '.join(self.state_names)}, not {_shapes(state)}"
            )
        return tuple(map(as_tensor, parts))

    def _name_or_refuse(self, parts: tuple[Tensor, ...], expected: tuple[int, ...], t: int) -> None:
        for name, part in zip(self.state_names, parts, strict=True):
            if part.shape != expected:
                raise self._misfit(f"the state {name}", part, f"{expected} beside x of width {self.input_size}", t)
            if part.name is None and part.is_leaf:
                part.name, part.step, part.layer = name, t - 1, self.layer

    def _misfit(self, what: str, tensor: Tensor, expected: str, t: int) -> ShapeError:
        where = f"at step {t}{'' if self.layer is None else f' of layer {self.layer}'}"
        return ShapeError(f"{type(self).__name__} {where}: {what} has shape {tensor.shape}, expected {expected}")


class RNNCell(Cell):
    """The plain recurrent cell, node by node as in Fig. 7-5 (interdb 7.2.2):

        ĥ(t) = W x(t) + U h(t-1) + b,   h(t) = f(ĥ(t))

    Args:
        input_size: D, the length of x(t).
        hidden_size: H, the length of h(t).
        nonlinearity: f, one of "tanh", "sigmoid", "relu", "identity".
        bias: whether there is a b; the BPTT post, Module 5 and the IIT slides have none.
        rng: a `numpy.random.Generator`, or a seed for one.

    Attributes:
        W: (H, D), Glorot. U: (H, H), orthogonal. b: (H,), zeros, or None.
    """

    def __init__(
        self, input_size: int, hidden_size: int, nonlinearity: str = "tanh", bias: bool = True, rng: init.Rng = None
    ):
        super().__init__(input_size, hidden_size, bias, rng)
        self.nonlinearity = one_of("RNNCell", "nonlinearity", nonlinearity, NONLINEARITIES)

    def step(self, x: Tensor, h: Tensor) -> Tensor:
        """h(t) = f(ĥ(t))."""
        h_hat = _biased(linear(self.W, x) + linear(self.U, h), self.b, _h_hat)
        h = NONLINEARITIES[self.nonlinearity](h_hat)
        h.name = _h
        return h


class LSTMCell(Cell):
    """Long short-term memory, with PyTorch's equations and the gates in PyTorch's order i, f, g, o:

        i(t) = σ(W_i x(t) + U_i h(t-1) + b_i)         f(t), o(t) likewise
        g(t) = tanh(W_g x(t) + U_g h(t-1) + b_g)
        c(t) = f(t) ⊙ c(t-1) + i(t) ⊙ g(t)            h(t) = o(t) ⊙ tanh(c(t))

    (Hochreiter and Schmidhuber 1997; with forget gates, Gers et al. 2000.) The state is the pair (h, c). The way back
    along c is a product of forget gates, which TowardsML names as the remedy for vanishing gradients.

    Args:
        input_size, hidden_size, bias, rng: as for `RNNCell`.
        forget_bias: where b_f starts; 1 keeps the memory at first (Jozefowicz et al. 2015).

    Attributes:
        W_i, W_f, W_g, W_o: (H, D), Glorot. U_i, ...: (H, H), orthogonal. b_i, ...: (H,), zeros but for b_f, or None.
    """

    state_names = (_h, _c)
    gates = ("_i", "_f", "_g", "_o")

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, forget_bias: float = 0.0, rng: init.Rng = None
    ):
        super().__init__(input_size, hidden_size, bias, rng)
        if bias:
            self.b_f.data[:] = forget_bias
        elif forget_bias:
            raise ValueError("LSTMCell(bias=False, forget_bias=...): without a bias there is none to set")

    def step(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """(h(t), c(t))."""
        i = sigmoid(_sum(self.W_i, x, self.U_i, h, self.b_i, _i_hat))
        f = sigmoid(_sum(self.W_f, x, self.U_f, h, self.b_f, _f_hat))
        g = tanh(_sum(self.W_g, x, self.U_g, h, self.b_g, _g_hat))
        o = sigmoid(_sum(self.W_o, x, self.U_o, h, self.b_o, _o_hat))
        c = f * c + i * g
        h = o * tanh(c)
        i.name, f.name, g.name, o.name, c.name, h.name = _i, _f, _g, _o, _c, _h
        return h, c


class GRUCell(Cell):
    """The gated recurrent unit, with PyTorch's equations (Cho et al. 2014; here r is inside, after U_n):

        r(t) = σ(W_r x(t) + U_r h(t-1) + b_r)         z(t) likewise
        n(t) = tanh(W_n x(t) + b_n + r(t) ⊙ (U_n h(t-1) + c_n))
        h(t) = (1 - z(t)) ⊙ n(t) + z(t) ⊙ h(t-1)

    Args:
        input_size, hidden_size, bias, rng: as for `RNNCell`.

    Attributes:
        W_r, W_z, W_n: (H, D), Glorot. U_r, ...: (H, H), orthogonal. b_r, ..., c_n: (H,), zeros, or None.
    """

    gates = ("_r", "_z", "_n")

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, rng: init.Rng = None):
        super().__init__(input_size, hidden_size, bias, rng)
        self._add("c_n", np.zeros(hidden_size) if bias else None)

    def step(self, x: Tensor, h: Tensor) -> Tensor:
        """h(t)."""
        r = sigmoid(_sum(self.W_r, x, self.U_r, h, self.b_r, _r_hat))
        z = sigmoid(_sum(self.W_z, x, self.U_z, h, self.b_z, _z_hat))
        n_hat = _biased(linear(self.W_n, x), self.b_n) + r * _biased(linear(self.U_n, h), self.c_n)
        n = tanh(n_hat)
        h = lerp(n, h, z)
        r.name, z.name, n_hat.name, n.name, h.name = _r, _z, _n_hat, _n, _h
        return h


def _sum(W: Tensor, x: Tensor, U: Tensor, h: Tensor, b: Tensor | None, name: Letter) -> Tensor:
    """W x + U h + b as one node, or without a b the sum of W x and U h."""
    total = linear(W, x) + linear(U, h) if b is None else affine(W, x, U, h, b)
    total.name = name
    return total


def _biased(total: Tensor, b: Tensor | None, name: Letter | None = None) -> Tensor:
    """total + b, if there is a b."""
    if b is not None:
        total = total + b
    total.name = name
    return total


def _nested(part: Any) -> bool:
    """True for several arrays or Tensors where one vector should be."""
    return isinstance(part, (tuple, list)) and any(np.ndim(p) for p in part)


def _shapes(state: Any) -> str:
    if isinstance(state, (tuple, list)):
        return f"a {type(state).__name__} of {len(state)}: ({', '.join(map(_shapes, state))})"
    return f"one of shape {np.shape(state)}"
