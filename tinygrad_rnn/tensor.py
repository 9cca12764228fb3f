"""Tensor: a NumPy array that remembers the primitive and the inputs that made it.

- `Tensor(data, requires_grad=True)` is a leaf; arithmetic, indexing and NumPy's own functions on Tensors make nodes.
- `record(primitive, inputs, *parameters)` is the one place where a node is made.
- `no_grad()` stops the recording; `time_step(t)` tells every node made inside it its step; `label` names a node.

A node points at its inputs and never back, so a graph is freed by reference counting as soon as its output is.
"""

from __future__ import annotations

import difflib
import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from tinygrad_rnn import primitives
from tinygrad_rnn.errors import ShapeError
from tinygrad_rnn.primitives import Primitive

__all__ = ["Tensor", "describe", "label", "no_grad", "record", "time_step"]

_recording: ContextVar[bool] = ContextVar("recording", default=True)
_step: ContextVar[int | None] = ContextVar("step", default=None)


@contextmanager
def no_grad() -> Iterator[None]:
    """A context in which nothing is recorded: results are plain leaves that need no gradient."""
    token = _recording.set(False)
    try:
        yield
    finally:
        _recording.reset(token)


@contextmanager
def time_step(t: int | None) -> Iterator[None]:
    """A context in which every node that is made belongs to time step t."""
    token = _step.set(t)
    try:
        yield
    finally:
        _step.reset(token)


def record(primitive: Primitive, inputs: tuple, *parameters: Any) -> Tensor:
    """Run a primitive on its inputs and, if any of them requires a gradient, remember how the result was made.

    Inputs that are not Tensors become constant leaves: they stay part of the graph, since they are drawn.

    Raises:
        ShapeError: the primitive cannot run on these shapes; says which primitive, nodes, shapes and step.
    """
    inputs = tuple([x if isinstance(x, Tensor) else _constant(x, inputs) for x in inputs])
    arguments = (*[x.data for x in inputs], *parameters)
    try:
        data = primitive.forward(*arguments)
    except (ValueError, IndexError) as error:
        at_step = "" if _step.get() is None else f" at step {_step.get()}"
        operands = ", ".join(describe(x) for x in inputs)
        raise ShapeError(f"{primitive.name}({operands}){at_step}: {error}") from error
    node = object.__new__(Tensor)
    node.data = data if type(data) is np.ndarray else np.asarray(data)
    node.grad = node.name = None
    node.step = _step.get()
    node.requires_grad = _recording.get() and any([x.requires_grad for x in inputs])
    if node.requires_grad:
        node.primitive, node.inputs, node.arguments = primitive, inputs, arguments
    else:
        node.primitive, node.inputs, node.arguments = None, (), ()
    return node


def _constant(value: Any, beside: tuple) -> Tensor:
    """A number or array beside Tensors as a leaf; as in NumPy, a bare Python number does not widen their dtype."""
    if isinstance(value, (int, float)):
        dtypes = [x.dtype for x in beside if isinstance(x, Tensor)]
        value = np.asarray(value, dtype=np.result_type(*dtypes, value))
    return Tensor(value)


def _real_array(data: Any) -> np.ndarray:
    """Data as an array of its own that a Tensor can hold."""
    if isinstance(data, Tensor):
        raise TypeError("Tensor(data): data is a Tensor already; use its .detach() for a leaf of the same value")
    try:
        array = np.array(data)
    except ValueError as error:
        raise ShapeError(f"Tensor(data): rows of different lengths do not make an array ({error})") from error
    if array.dtype.kind == "f":
        return array if array.dtype == np.float32 else array.astype(np.float64, copy=False)
    if array.dtype.kind not in "iub":
        raise TypeError(f"Tensor(data): real numbers are needed, not {array.dtype} (from a {type(data).__name__})")
    return array


def describe(tensor: Tensor) -> str:
    """What error messages call a Tensor: its name, step and shape, as in `h(3) of shape (4,)`."""
    name = tensor.name or ("leaf" if tensor.primitive is None else tensor.primitive.name)
    step = "" if tensor.step is None else f"({tensor.step})"
    return f"{name}{step} of shape {tensor.shape}"


def label(tensor: Tensor, name: str, step: int | None = None) -> Tensor:
    """Name a Tensor, and say which time step it belongs to if `step` is given; returns the Tensor itself.

    Diagrams draw the named Tensors as variables, and fold the unnamed ones between them into edges.

    Raises:
        TypeError: not a Tensor, a name that is not a string, or a step that is not an integer.
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(f"label(tensor, name): a Tensor is needed, not a {type(tensor).__name__}")
    if not isinstance(name, str):
        raise TypeError(f"label(tensor, name): the name is a string, not a {type(name).__name__}")
    if step is not None:
        tensor.step = operator.index(step)
    tensor.name = name
    return tensor


def _operators(primitive: Primitive) -> tuple[Callable, Callable]:
    """A binary operator's method, and the one for when the Tensor stands on its right."""
    return (lambda x, y: record(primitive, (x, y))), (lambda y, x: record(primitive, (x, y)))


def _comparison(ufunc: np.ufunc) -> Callable:
    """A comparison's method: a plain array of booleans, since no gradient flows through one."""
    return lambda x, y: ufunc(x.data, y.data if isinstance(y, Tensor) else y)


class Tensor:
    """An array of real numbers in a computational graph.

    A leaf is made from data; a node is made by a primitive from its inputs, and keeps in `arguments` the arrays and
    static parameters that the primitive ran on.

    Args:
        data: numbers, nested lists of numbers or an array, which is copied. Floating point data stays float32 if it
            is float32 and becomes float64 otherwise; integers and booleans stay what they are.
        requires_grad: whether gradients with respect to this leaf are wanted.
        name: what diagrams and error messages call it.

    Attributes:
        data: the value, a NumPy array.
        grad: dL/d(this) as a NumPy array, accumulated by `backward`; None before any, and always None on nodes.
        primitive, inputs, arguments: how the node was made; None and empty on a leaf.
        name, step: the node's name and the time step it belongs to, or None.

    Raises:
        TypeError: data that is not real numbers, or integers with requires_grad.
    """

    __slots__ = (
        "__weakref__", "arguments", "data", "grad", "inputs", "name", "primitive", "requires_grad", "step",
    )  # fmt: skip

    def __init__(self, data: Any, requires_grad: bool = False, name: str | None = None):
        self.data = _real_array(data)
        if requires_grad and self.data.dtype.kind != "f":
            raise TypeError(
                f"Tensor(requires_grad=True): a gradient needs floating point data, not {self.data.dtype}; "
                "pass floats, such as 1.0 for 1 or array.astype(float)"
            )
        self.grad = None
        self.requires_grad = bool(requires_grad)
        self.primitive = None
        self.inputs = self.arguments = ()
        self.name = name
        self.step = _step.get()

    # What it is

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each axis."""
        return self.data.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.data.ndim

    @property
    def size(self) -> int:
        """The number of elements."""
        return self.data.size

    @property
    def dtype(self) -> np.dtype:
        """The type of its elements."""
        return self.data.dtype

    @property
    def is_leaf(self) -> bool:
        """Whether it was made from data and not by a recorded primitive."""
        return self.primitive is None

    @property
    def parameters(self) -> tuple:
        """The static parameters that its primitive was called with, such as an axis."""
        return self.arguments[len(self.inputs) :]

    def __repr__(self) -> str:
        of = "" if self.primitive is None else f", primitive={self.primitive.name}"
        wants = ", requires_grad=True" if self.requires_grad and self.primitive is None else ""
        name = "" if self.name is None else f", name={self.name!r}"
        step = "" if self.step is None else f", step={self.step}"
        return f"Tensor({np.array2string(self.data, prefix='Tensor(', separator=', ')}{of}{wants}{name}{step})"

    # Out of the graph

    def item(self) -> float:
        """The value of a Tensor of one element as a Python number."""
        return self.data.item()

    def numpy(self) -> np.ndarray:
        """A copy of the value."""
        return self.data.copy()

    def detach(self) -> Tensor:
        """A leaf with the same value, name and step, through which no gradient flows."""
        leaf = Tensor(self.data, name=self.name)
        leaf.step = self.step
        return leaf

    def __float__(self) -> float:
        return float(self.item())

    def __bool__(self) -> bool:
        return bool(self.data)

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("len() of a Tensor with no axes; its shape is ()")
        return len(self.data)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if self.requires_grad:
            raise TypeError(
                f"an array made from {describe(self)} would lose its gradient; use tg.stack or tg.concatenate to join "
                "Tensors, and .data, .numpy() or .detach() for the bare value"
            )
        return np.array(self.data, dtype=dtype) if copy else np.asarray(self.data, dtype=dtype)

    # Operators: each records the primitive of its name, and a comparison gives a plain array of booleans

    __add__, __radd__ = _operators(primitives.add)
    __sub__, __rsub__ = _operators(primitives.subtract)
    __mul__, __rmul__ = _operators(primitives.multiply)
    __truediv__, __rtruediv__ = _operators(primitives.divide)
    __matmul__, __rmatmul__ = _operators(primitives.matmul)
    _power, __rpow__ = _operators(primitives.power)

    __eq__, __ne__ = _comparison(np.equal), _comparison(np.not_equal)
    __lt__, __le__ = _comparison(np.less), _comparison(np.less_equal)
    __gt__, __ge__ = _comparison(np.greater), _comparison(np.greater_equal)
    __hash__ = object.__hash__  # by identity: nodes are keys of dicts

    def __pow__(self, exponent: Any) -> Tensor:
        if isinstance(exponent, (int, float)) and exponent == 2:
            return record(primitives.square, (self,))
        return self._power(exponent)

    def __pos__(self) -> Tensor:
        return record(primitives.positive, (self,))

    def __neg__(self) -> Tensor:
        return record(primitives.negative, (self,))

    def __abs__(self) -> Tensor:
        return record(primitives.abs_, (self,))

    def __getitem__(self, index: Any) -> Tensor:
        return record(primitives.getitem, (self,), _plain_index(index))

    # NumPy's protocols: np.tanh(tensor) records the same primitive as tg.tanh(tensor)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **keywords: Any) -> Any:
        if method == "__call__" and not keywords:
            if ufunc in _UFUNCS:
                return record(_UFUNCS[ufunc], inputs)
            if ufunc in _COMPARISONS:
                return ufunc(*[x.data if isinstance(x, Tensor) else x for x in inputs])
        call = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
        raise TypeError(_unsupported(call + ("".join(f", {key}=" for key in keywords)), ufunc.__name__))

    def __array_function__(self, function: Callable, types: Any, arguments: tuple, keywords: dict) -> Any:
        if function in ARRAY_FUNCTIONS:
            return ARRAY_FUNCTIONS[function](*arguments, **keywords)
        raise TypeError(_unsupported(function.__name__, function.__name__))

    @staticmethod
    def __record__(primitive: Primitive, arguments: tuple) -> Tensor:
        """A rule of the table has called one of the table's own primitives on a Tensor: record it."""
        n = len(primitive.vjps)
        return record(primitive, arguments[:n], *arguments[n:])


_UFUNCS = {p.forward: p for p in primitives.TABLE.values() if isinstance(p.forward, np.ufunc)}
_COMPARISONS = {np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal}

# NumPy's function -> ours, for NumPy's functions that are not ufuncs; functions.py fills it.
ARRAY_FUNCTIONS: dict[Callable, Callable] = {}


def _unsupported(call: str, name: str) -> str:
    known = [f.__name__ for f in (*_UFUNCS, *ARRAY_FUNCTIONS)]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    hint = f"; the nearest that is supported is np.{near[0]}" if near else ""
    return f"np.{call} on a Tensor is not supported, and would lose the gradient{hint}. Use .data for the bare array."


def _plain_index(index: Any) -> Any:
    """An index with Tensors and lists in it as arrays, which the graph can keep."""
    if isinstance(index, tuple):
        return tuple(_plain_index(i) for i in index)
    if isinstance(index, Tensor):
        return index.data
    return np.array(index) if isinstance(index, (list, np.ndarray)) else index
