"""One time step of a recurrent net: the state goes in and the next state comes out; a cell holds none itself.

A cell names what it is given, x and its state with their step, unless it has a name: figures and errors speak of x(t)
and h(t). The gates of `LSTMCell` and `GRUCell` have parameters of their own, so that figures and contributions speak of
gates too. The plain cell is built of the five nodes of Fig. 7-5; a gated one has W x + U h + b as one node, the
primitive `affine`, since keeping what lies in between would take a sixth more time.
"""

from typing import TYPE_CHECKING, Any, Generic

import numpy as np

from tinygrad_rnn.algebra.notation import Letter
from tinygrad_rnn.checks import one_of, whole
from tinygrad_rnn.context import step_and_layer, time_step
from tinygrad_rnn.errors import ShapeError, describe
from tinygrad_rnn.functions import affine, lerp, linear, positive, relu, sigmoid, tanh
from tinygrad_rnn.nn.init import Rng, glorot, orthogonal
from tinygrad_rnn.nn.module import Letters, Module, Parameter
from tinygrad_rnn.tensor import Tensor, as_tensor, reached

NONLINEARITIES = {"tanh": tanh, "sigmoid": sigmoid, "relu": relu, "identity": positive}

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # with a default, as Python has it from 3.13 on

    State = TypeVar("State", default=Tensor)
    AnyCell = TypeVar("AnyCell", bound="Cell[Any]", default="Cell[Any]", covariant=True)
else:
    from typing import TypeVar

    State, AnyCell = TypeVar("State"), TypeVar("AnyCell")

X = Letter("x")  # a sequence is no net's own, and carries no name

_set_step_and_layer = step_and_layer.set  # looked up once, not at every step


class Cell(Module, Generic[State]):
    """The base class of cells: names what goes in and out, counts the steps, checks shapes, and says where errors are.

    A cell of one's own says what its state is made of, which gates it has, and its equations in `step`:

        class MinimalCell(tg.nn.Cell):
            gates = ("_f", "_n")

            def step(self, x, h):
                f = tg.label(tg.sigmoid(tg.linear(self.W_f, x) + tg.linear(self.U_f, h) + self.b_f), "f")
                n = tg.label(tg.tanh(tg.linear(self.W_n, x) + tg.linear(self.U_n, f * h) + self.b_n), "n")
                return (1 - f) * h + f * n

    What `step` returns is named after `state_names` unless it has a name. `tg.linear(W, x)` is W x for one sequence and
    for a batch. `add_parameter` adds what is no W, U or b. A gate that is called `self.letters["f"]`, not "f", carries
    the name of the cell; what goes into its nonlinearity may be called `self.letters["f̂"]`, so that its gradient is not
    written out. To a type checker the state is a Tensor; one of two parts is said to it by deriving the cell from
    `tg.nn.Cell[tuple[tg.Tensor, tg.Tensor]]`.

    Args:
        input_size, hidden_size: D and H. bias: whether there is a b.
        rng: a `numpy.random.Generator`, or a seed for one.
        name: what its letters carry, for figures of several nets: with "enc", W_enc and h_enc.

    Attributes:
        state_names: a letter for each part of the state, each of the length H; the first is the output, h.
        gates: what the names of parameters end with, in PyTorch's order.
        input_size: D, the length of x(t). hidden_size: H, the length of every part of the state.
        W (H, D), Glorot; U (H, H), orthogonal; b (H,), zeros, or None: of every gate, as W_i, or of the whole cell.
        letters: by a plain letter, such as "W_i", the one that carries the cell's name.
        layer: its place in a net of layers, 1 for the lowest; named in errors.

    >>> class Leaky(tg.nn.Cell):
    ...     def step(self, x, h):
    ...         return 0.9 * h + 0.1 * tg.tanh(tg.affine(self.W, x, self.U, h, self.b))
    ...
    >>> hs, state = tg.nn.Recurrent(Leaky, 2, 3)(np.ones((4, 2)))
    >>> len(hs), hs[-1].shape
    (4, (3,))
    """

    state_names: tuple[str, ...] = ("h",)
    gates: tuple[str, ...] = ("",)

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, rng: Rng = None, name: str | None = None):
        call = type(self).__name__
        self.input_size = D = whole(call, "input_size", input_size, 1)
        self.hidden_size = H = whole(call, "hidden_size", hidden_size, 1)
        self.letters = Letters(call, name)
        self.layer: int | None = None
        rng = np.random.default_rng(rng)
        for gate in self.gates:
            self.add_parameter("W" + gate, glorot(rng, (H, D)))
            self.add_parameter("U" + gate, orthogonal(rng, H))
            self.add_parameter("b" + gate, np.zeros(H) if bias else None)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Tensor: ...  # a parameter: their letters come from the gates

    def add_parameter(self, letter: str, data: np.ndarray | None) -> None:
        """Set the attribute of this letter to a parameter that is called so, or to None."""
        setattr(self, letter, None if data is None else Parameter(data, name=self.letters[letter]))

    def step(self, x: Tensor, *state: Any, **_: Any) -> State:  # _ has checkers take a step of any number of parts
        """The equations of one step: the next state, from x(t) and the parts of the state of step t-1."""
        t, _ = step_and_layer.get()
        raise NotImplementedError(f"{self._where(t)}: a cell states its equations in a method step(x, *state)")

    def __call__(self, x: Any, state: Any = None, step: int | None = None) -> State:
        """The state of step t, each part of shape (H,) or (B, H), from x(t) of shape (D,) or (B, D) and that of t-1.

        Args:
            state: h(t-1), or for an `LSTMCell` the pair (h(t-1), c(t-1)); zeros if not given.
            step: t; if not given, one more than that of the state, and 1 after an initial state.

        Raises:
            ShapeError: x or a part of the state has another shape, also of the next state; names the step.
            TypeError: the state of another kind of cell, or `step` returns something else than its state.
        """
        x = as_tensor(x)
        parts = self.parts(state, x.value.shape)
        t = 1 + last_step(parts[0]) if step is None else step
        self.check(x.value.shape, parts, t, t - 1)
        with time_step(t, self.layer):
            return joined(self.advance(x, parts, t))

    def initial_state(self, x: Any) -> State:
        """The state before a first input x(1), zeros: (H,) beside (D,), and (B, H) beside (B, D)."""
        return joined(self.parts(None, np.shape(x)))

    def parts(self, state: Any, x_shape: tuple[int, ...]) -> tuple[Tensor, ...]:
        """The parts of a state, which may be data instead of Tensors; zeros beside x of this shape if it is None.

        Raises:
            TypeError: the state is another cell's.
        """
        if state is None:
            dtype = next((p.value.dtype for p in vars(self).values() if type(p) is Tensor), np.float64)
            zeros = np.zeros((*x_shape[:-1], self.hidden_size), dtype)
            return tuple([Tensor(zeros) for _ in self.state_names])
        parts = state if isinstance(state, tuple) else (state,)
        nested = any(isinstance(part, (tuple, list)) and any(map(np.ndim, part)) for part in parts)  # no vector
        if nested or len(parts) != len(self.state_names):
            raise TypeError(f"{type(self).__name__}: the state is {self._state()}, not {_shapes(state)}")
        return tuple(map(as_tensor, parts))

    def check(self, x_shape: tuple[int, ...], parts: tuple[Tensor, ...], t: int, before: int) -> None:
        """Refuse what does not fit at step t, and name the parts of the state, which is of the step before."""
        D = self.input_size
        if len(x_shape) not in (1, 2) or x_shape[-1] != D:
            raise self._misfit(t, "x", x_shape, f"({D},) or (B, {D})")
        expected = (*x_shape[:-1], self.hidden_size)
        for name, part in zip(self.state_names, parts, strict=True):
            if part.value.shape != expected:
                raise self._misfit(t, f"the state {name}", part.shape, f"{expected} beside x of width {D}")
            if part.name is None and part.is_leaf:
                part.name, part.step, part.layer = self.letters[name], before, self.layer
            letter = part.name.partition("_")[0] if isinstance(part.name, Letter) else name
            if letter != name and letter in ("c", *self.state_names):  # a y, as an encoder has it, may start a state
                raise TypeError(f"{self._where(t)}: {describe(part)} is given as the state {name} of {self._state()}")

    def advance(self, x: Tensor, before: tuple[Tensor, ...], t: int) -> tuple[Tensor, ...]:
        """The parts of the state of step t, from x(t) and those of the step before, which have been checked.

        Every node that is made from now on belongs to step t and the cell's layer, as with `time_step`.
        """
        if x.name is None:
            x.name, x.step = X, t
        _set_step_and_layer((t, self.layer))
        after: Any = self.step(x, *before)
        parts = after if type(after) is tuple and after else (after,)
        complete, shape = len(parts) == len(before), before[0].value.shape  # that of all parts
        for name, part in zip(self.state_names, parts):  # noqa: B905
            if not complete or type(part) is not Tensor:
                raise TypeError(f"{self._where(t)}: step returns the next state, {self._state()}, not {_shapes(after)}")
            if part.value.shape != shape:
                raise self._misfit(t, f"the next state {name}", part.shape, str(shape))
            if part.name is None:
                part.name = self.letters[name]
        return parts

    def _where(self, t: int | None) -> str:
        """The cell with its name, and the step and layer at which it is."""
        name = "" if self.letters.name is None else f" {self.letters.name}"
        return f"{type(self).__name__}{name} at step {t}" + ("" if self.layer is None else f" of layer {self.layer}")

    def _state(self) -> str:
        return " and ".join(self.state_names)

    def _misfit(self, t: int, what: str, shape: tuple[int, ...], expected: str) -> ShapeError:
        return ShapeError(f"{self._where(t)}: {what} has shape {shape}, expected {expected}")


class RNNCell(Cell[Tensor]):
    """The plain recurrent cell, node by node as in Fig. 7-5 (interdb 7.2.2):

        ĥ(t) = W x(t) + U h(t-1) + b,   h(t) = f(ĥ(t))

    Args:
        input_size: D, the length of x(t).
        hidden_size: H, the length of h(t).
        nonlinearity: f, one of "tanh", "sigmoid", "relu", "identity".
        bias: whether there is a b; the BPTT post, Module 5 and the IIT slides have none.
        rng, name: as for `Cell`. All but the sizes and the nonlinearity are given by name.

    Attributes:
        W: (H, D), Glorot. U: (H, H), orthogonal. b: (H,), zeros, or None.

    >>> cell = tg.nn.RNNCell(2, 3, rng=0)
    >>> h = cell(np.ones(2))
    >>> h = cell(np.ones(2), h)
    >>> h.name, h.step, h.shape
    ('h', 2, (3,))
    """

    W: Tensor
    U: Tensor
    b: Tensor | None

    def __init__(self, input_size: int, hidden_size: int, nonlinearity: str = "tanh", **options: Any):
        super().__init__(input_size, hidden_size, **options)
        self.nonlinearity = one_of("RNNCell", "nonlinearity", nonlinearity, NONLINEARITIES)

    def step(self, x: Tensor, h: Tensor) -> Tensor:
        """h(t) = f(ĥ(t))."""
        h_hat = _biased(linear(self.W, x) + linear(self.U, h), self.b)
        h_hat.name = self.letters["ĥ"]
        return NONLINEARITIES[self.nonlinearity](h_hat)


class LSTMCell(Cell[tuple[Tensor, Tensor]]):
    """Long short-term memory, with PyTorch's equations and the gates in PyTorch's order i, f, g, o:

        i(t) = σ(W_i x(t) + U_i h(t-1) + b_i)         f(t), o(t) likewise
        g(t) = tanh(W_g x(t) + U_g h(t-1) + b_g)
        c(t) = f(t) ⊙ c(t-1) + i(t) ⊙ g(t)            h(t) = o(t) ⊙ tanh(c(t))

    (Hochreiter and Schmidhuber 1997; with forget gates, Gers et al. 2000.) The state is the pair (h, c). The way back
    along c is a product of forget gates, which TowardsML names as the remedy for vanishing gradients.

    Args:
        input_size, hidden_size, bias, rng, name: as for `RNNCell`.
        forget_bias: where b_f starts; 1 keeps the memory at first (Jozefowicz et al. 2015).

    Attributes:
        W_i, W_f, W_g, W_o: (H, D), Glorot. U_i, ...: (H, H), orthogonal. b_i, ...: (H,), zeros but for b_f, or None.

    >>> h, c = tg.nn.LSTMCell(2, 3, rng=0)(np.ones((5, 2)))
    >>> h.shape, c.shape
    ((5, 3), (5, 3))
    """

    state_names = ("h", "c")
    gates = ("_i", "_f", "_g", "_o")

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, forget_bias: float = 0.0, **options: Any):
        super().__init__(input_size, hidden_size, bias, **options)
        if bias:
            self.b_f.data[:] = forget_bias
        elif forget_bias:
            raise ValueError("LSTMCell(bias=False, forget_bias=...): without a bias there is none to set")

    def step(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """(h(t), c(t))."""
        letters = self.letters
        i = sigmoid(_sum(self.W_i, x, self.U_i, h, self.b_i, letters["î"]))
        f = sigmoid(_sum(self.W_f, x, self.U_f, h, self.b_f, letters["f̂"]))
        g = tanh(_sum(self.W_g, x, self.U_g, h, self.b_g, letters["ĝ"]))
        o = sigmoid(_sum(self.W_o, x, self.U_o, h, self.b_o, letters["ô"]))
        c = f * c + i * g
        h = o * tanh(c)
        i.name, f.name, g.name, o.name = letters["i"], letters["f"], letters["g"], letters["o"]
        return h, c


class GRUCell(Cell[Tensor]):
    """The gated recurrent unit, with PyTorch's equations (Cho et al. 2014; here r is inside, after U_n):

        r(t) = σ(W_r x(t) + U_r h(t-1) + b_r)         z(t) likewise
        n(t) = tanh(W_n x(t) + b_n + r(t) ⊙ (U_n h(t-1) + c_n))
        h(t) = (1 - z(t)) ⊙ n(t) + z(t) ⊙ h(t-1)

    Args:
        input_size, hidden_size, bias, rng, name: as for `RNNCell`.

    Attributes:
        W_r, W_z, W_n: (H, D), Glorot. U_r, ...: (H, H), orthogonal. b_r, ..., c_n: (H,), zeros, or None.

    >>> h = tg.nn.GRUCell(2, 3, rng=0)(np.ones((5, 2)))
    >>> h.shape
    (5, 3)
    """

    gates = ("_r", "_z", "_n")

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, **options: Any):
        super().__init__(input_size, hidden_size, bias, **options)
        self.add_parameter("c_n", np.zeros(hidden_size) if bias else None)

    def step(self, x: Tensor, h: Tensor) -> Tensor:
        """h(t)."""
        letters = self.letters
        r = sigmoid(_sum(self.W_r, x, self.U_r, h, self.b_r, letters["r̂"]))
        z = sigmoid(_sum(self.W_z, x, self.U_z, h, self.b_z, letters["ẑ"]))
        n_hat = _biased(linear(self.W_n, x), self.b_n) + r * _biased(linear(self.U_n, h), self.c_n)
        n = tanh(n_hat)
        r.name, z.name, n_hat.name, n.name = letters["r"], letters["z"], letters["n̂"], letters["n"]
        return lerp(n, h, z)


def last_step(node: Tensor) -> int:
    """The time step that a Tensor comes from: its own, or the latest among the nodes it was made of; 0 if none has one.

    A state that was changed between two calls of a cell (masked, scaled, ...) goes on counting where it came from.
    """
    if node.step is not None:  # which is quick
        return max(node.step, 0)
    return max([0, *[x.step for x in reached([node], lambda x: x.step is None) if x.step is not None]])


def joined(parts: tuple[Tensor, ...]) -> Any:
    """The state of these parts; one part alone is the state itself."""
    return parts if len(parts) > 1 else parts[0]


def _sum(W: Tensor, x: Tensor, U: Tensor, h: Tensor, b: Tensor | None, name: Letter) -> Tensor:
    """W x + U h + b as one node, or without a b the sum of W x and U h."""
    total = linear(W, x) + linear(U, h) if b is None else affine(W, x, U, h, b)
    total.name = name
    return total


def _biased(total: Tensor, b: Tensor | None) -> Tensor:
    """total + b, if there is a b."""
    return total if b is None else total + b


def _shapes(state: Any) -> str:
    if isinstance(state, (tuple, list)):
        return f"a {type(state).__name__} of {len(state)}: ({', '.join(map(_shapes, state))})"
    return f"a {type(state).__name__} of shape {np.shape(state)}"
