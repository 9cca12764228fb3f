"""Tensor: a NumPy array that remembers the primitive and the inputs that made it.

- `Tensor(data, requires_grad=True)` is a leaf; arithmetic, indexing and NumPy's own functions on Tensors make nodes.
- `record(primitive, inputs, *static)` makes the nodes; `unary` and `binary` do it in less time for one or two inputs.
- `no_grad()` stops the recording; `time_step(t)` tells every node made inside it its step; `label` names a node.

A node points at its inputs and never back, so a graph is freed by reference counting as soon as its output is.
"""

from __future__ import annotations

import difflib
import itertools
import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from tinygrad_rnn import primitives
from tinygrad_rnn.errors import ShapeError
from tinygrad_rnn.primitives import Primitive

__all__ = [
    "Axis",
    "Tensor",
    "as_tensor",
    "bare",
    "binary",
    "describe",
    "is_recording",
    "label",
    "no_grad",
    "power",
    "record",
    "time_step",
    "unary",
    "unless_named",
    "watcher",
]

Axis = int | tuple[int, ...] | None

_recording: ContextVar[bool] = ContextVar("recording", default=True)
_step: ContextVar[int | None] = ContextVar("step", default=None)
watcher: ContextVar[Any] = ContextVar("watcher", default=None)  # sees every value: checking.detect_anomaly

# Memory that is freed at the end of a training step is needed again in the next. The C library of Linux would hand it
# back to the kernel and fetch it page by page, unless it has seen that blocks as large as this one come and go.
np.empty(30_000_000, np.uint8)

_next_number = itertools.count().__next__
_FLOAT64 = np.dtype(np.float64)
_new, _ndarray = object.__new__, np.ndarray  # looked up once, not at every node


@contextmanager
def no_grad() -> Iterator[None]:
    """A context in which nothing is recorded: results are plain leaves that need no gradient."""
    token = _recording.set(False)
    try:
        yield
    finally:
        _recording.reset(token)


def is_recording() -> bool:
    """Whether nodes made here remember how they were made: everywhere but inside `no_grad()`."""
    return _recording.get()


class time_step:
    """A context in which every node that is made belongs to time step t."""

    __slots__ = ("_t", "_token")

    def __init__(self, t: int | None):
        self._t = t

    def __enter__(self) -> None:
        self._token = _step.set(self._t)

    def __exit__(self, *raised: object) -> None:
        _step.reset(self._token)


def record(primitive: Primitive, inputs: tuple, *static: Any) -> Tensor:
    """Run a primitive on its inputs and, if any of them requires a gradient, remember how the result was made.

    Inputs that are not Tensors become constant leaves: they stay part of the graph, since they are drawn.

    Raises:
        ShapeError: the primitive cannot run on these shapes; says which primitive, nodes, shapes and step.
        IndexError: an index is out of range; the message says the same.
    """
    wanted = False
    for x in inputs:
        if not isinstance(x, Tensor):
            return record(primitive, _tensors(inputs), *static)
        if x.requires_grad:
            wanted = True
    return _made(primitive, inputs, (*[x.value for x in inputs], *static), wanted)


def unary(primitive: Primitive, x: Any) -> Tensor:
    """`record` for one input: the same in less time, since this and `binary` are most of what a net is made of."""
    if not isinstance(x, Tensor):
        x = Tensor(x)
    return _made(primitive, (x,), (x.value,), x.requires_grad)


def binary(primitive: Primitive, x: Any, y: Any) -> Tensor:
    """`record` for two inputs."""
    if not (isinstance(x, Tensor) and isinstance(y, Tensor)):
        x, y = _tensors((x, y))
    return _made(primitive, (x, y), (x.value, y.value), x.requires_grad or y.requires_grad)


def _made(primitive: Primitive, inputs: tuple[Tensor, ...], arguments: tuple, wanted: bool) -> Tensor:
    """Run a primitive and make the node: the one place where nodes are made."""
    try:
        data = primitive.forward(*arguments)
    except (ValueError, IndexError) as error:
        at_step = "" if _step.get() is None else f" at step {_step.get()}"
        operands = ", ".join(describe(x) for x in inputs)
        kind = ShapeError if isinstance(error, ValueError) else IndexError
        raise kind(f"{primitive.name}({operands}){at_step}: {error}") from error
    node = _new(Tensor)
    node.value = data = data if type(data) is _ndarray else np.asarray(data)
    node.grad = node.name = None
    node.step = _step.get()
    node.born = _next_number()
    if wanted and _recording.get():
        node.requires_grad = True
        node.primitive, node.inputs, node.arguments = primitive, inputs, arguments
        for x in inputs:
            if x.primitive is None:
                if x.lent:
                    _take_back(x)
                    arguments = (*[y.value for y in inputs], *arguments[len(inputs) :])
                    node.arguments, node.value = arguments, data if data.base is None else data.copy()
                x.value.setflags(False)  # read-only: see `data`
    else:
        node.lent = False
        node.requires_grad = False
        node.primitive, node.inputs, node.arguments = None, (), ()
        if data.base is not None:  # a leaf has an array of its own
            node.value = data.copy()
    watch = watcher.get()
    if watch is not None:
        watch.value(node, primitive, inputs)
    return node


def _take_back(leaf: Tensor) -> None:
    """Give a leaf an array of its own again, since somebody may hold the one it has, or a part of it, to write to."""
    leaf.value.setflags(False)
    leaf.value, leaf.lent = leaf.value.copy(), False


def _tensors(values: tuple) -> tuple[Tensor, ...]:
    """Numbers and arrays beside Tensors as leaves; as in NumPy, a bare Python number does not widen their dtype."""
    dtypes = {x.dtype for x in values if isinstance(x, Tensor)}

    def leaf(value: Any) -> Tensor:
        if type(value) in (bool, int, float):
            (dtype,) = dtypes if len(dtypes) == 1 else (np.result_type(*dtypes, value),)
            value = np.array(value, dtype if dtype.kind == "f" else np.result_type(dtype, value))
        return Tensor(value)

    return tuple([x if isinstance(x, Tensor) else leaf(x) for x in values])


def _real_array(data: Any) -> np.ndarray:
    """Data as an array of its own that a Tensor can hold."""
    if type(data) is _ndarray and data.dtype is _FLOAT64:
        return data.copy()
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
        ValueError: an empty name.
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(f"label(tensor, name): a Tensor is needed, not a {type(tensor).__name__}")
    _check_name(name)
    if step is not None:
        tensor.step = operator.index(step)
    tensor.name = name
    return tensor


def _check_name(name: Any) -> None:
    if not isinstance(name, str):
        raise TypeError(f"the name of a Tensor is a string, not a {type(name).__name__}")
    if not name.strip():
        raise ValueError("the name of a Tensor is not empty")


def unless_named(tensor: Tensor, name: str, step: int | None = None) -> Tensor:
    """Label a Tensor unless it has a name already: names that users set win."""
    return tensor if tensor.name is not None else label(tensor, name, step)


def as_tensor(value: Any) -> Tensor:
    """A Tensor itself, or anything else as a leaf without a gradient."""
    return value if isinstance(value, Tensor) else Tensor(value)


def power(x: Any, exponent: Any) -> Tensor:
    """x ** exponent; a square is a primitive of its own, as NumPy has it."""
    if isinstance(exponent, (int, float)) and exponent == 2:
        return unary(primitives.square, x)
    return binary(primitives.power, x, exponent)


def bare(value: Any) -> Any:
    """The array of a Tensor, and anything else as it is."""
    return value.value if isinstance(value, Tensor) else value


class Tensor:
    """An array of real numbers in a computational graph.

    A leaf is made from data; a node is made by a primitive from its inputs, and keeps in `arguments` the arrays and
    static arguments that the primitive ran on.

    Args:
        data: numbers, nested lists of numbers or an array, which is copied. Floating point data stays float32 if it
            is float32 and becomes float64 otherwise; integers and booleans stay what they are.
        requires_grad: whether gradients with respect to this leaf are wanted.
        name: what diagrams and error messages call it.

    Attributes:
        data: the value as a NumPy array, to read, and on a leaf to write. value: the very array, which graphs hold and
            nobody else writes to. lent: whether somebody may have a leaf's array, or a part of it, to write to.
        grad: dL/d(this) as a NumPy array, accumulated by `backward`; None before any, and always None on nodes.
        primitive, inputs, arguments: how the node was made; None and empty on a leaf.
        name, step: the node's name and the time step it belongs to, or None.
        born: Tensors are numbered as they are made, so that inputs are always older than what is made of them.

    Raises:
        TypeError: data that is not real numbers, or integers with requires_grad.
    """

    __slots__ = (
        "__weakref__", "arguments", "born", "grad", "inputs", "lent", "name", "primitive", "requires_grad", "step",
        "value",
    )  # fmt: skip

    def __init__(self, data: Any, requires_grad: bool = False, name: str | None = None):
        if name is not None:
            _check_name(name)
        self.value = _real_array(data)
        if requires_grad and self.value.dtype.kind != "f":
            raise TypeError(
                f"Tensor(requires_grad=True): a gradient needs floating point data, not {self.value.dtype}; "
                "pass floats, such as 1.0 for 1 or array.astype(float)"
            )
        self.grad, self.lent = None, False
        self.requires_grad = bool(requires_grad)
        self.primitive = None
        self.inputs = self.arguments = ()
        self.name = name
        self.step = _step.get()
        self.born = _next_number()

    # What it is

    @property
    def data(self) -> np.ndarray:
        """The value as a NumPy array, to read or, on a leaf, to write: `t.data -= 0.1 * t.grad`, `t.data[0] = 1`.

        A graph keeps the values that it was made of, whatever happens to a leaf later. It holds an array that nobody
        else has: one that was looked at before goes read-only and is left to who looked; and the first look after that
        is at a copy, which the leaf holds from then on. What was computed is looked at through a read-only view.
        """
        if self.primitive is not None:
            view = self.value.view()
            view.setflags(False)
            return view
        if not self.value.flags.writeable:
            self.value = self.value.copy()
        self.lent = True
        return self.value

    @data.setter
    def data(self, data: Any) -> None:
        if self.primitive is not None:
            raise ValueError(f"{describe(self)} was made by {self.primitive.name}; only the data of a leaf can be set")
        if data is self.value:  # as after t.data -= x, which has changed it in place
            return
        value = _real_array(data)
        if value.shape != self.value.shape:
            raise ShapeError(f"the data of {describe(self)} cannot have the shape {value.shape}; make a new Tensor")
        if self.requires_grad and value.dtype.kind != "f":
            raise TypeError(f"the data of {describe(self)}, which requires a gradient, cannot be {value.dtype}")
        self.value, self.lent = value, False

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each axis."""
        return self.value.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.value.ndim

    @property
    def size(self) -> int:
        """The number of elements."""
        return self.value.size

    @property
    def dtype(self) -> np.dtype:
        """The type of its elements."""
        return self.value.dtype

    @property
    def is_leaf(self) -> bool:
        """Whether it was made from data and not by a recorded primitive."""
        return self.primitive is None

    @property
    def T(self) -> Tensor:
        """The axes reversed."""
        return record(primitives.transpose, (self,), None)

    @property
    def static(self) -> tuple:
        """The static arguments that its primitive was called with, such as an axis."""
        return self.arguments[len(self.inputs) :]

    def __repr__(self) -> str:
        of = "" if self.primitive is None else f", primitive={self.primitive.name}"
        wants = ", requires_grad=True" if self.requires_grad and self.primitive is None else ""
        name = "" if self.name is None else f", name={self.name!r}"
        step = "" if self.step is None else f", step={self.step}"
        return f"Tensor({np.array2string(self.value, prefix='Tensor(', separator=', ')}{of}{wants}{name}{step})"

    def __reduce__(self) -> tuple:
        """Pickled and copied without its graph: a node becomes a leaf that requires no gradient."""
        return _leaf, (type(self), self.value, self.requires_grad and self.is_leaf, self.name, self.step, self.grad)

    # Out of the graph

    def item(self) -> float:
        """The value of a Tensor of one element as a Python number."""
        return self.value.item()

    def numpy(self) -> np.ndarray:
        """A copy of the value."""
        return self.value.copy()

    def detach(self) -> Tensor:
        """A leaf with the same value, name and step, through which no gradient flows."""
        leaf = Tensor(self.value, name=self.name)
        leaf.step = self.step
        return leaf

    def __float__(self) -> float:
        return float(self.item())

    def __bool__(self) -> bool:
        return bool(self.value)

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("len() of a Tensor with no axes; its shape is ()")
        return len(self.value)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if self.requires_grad:
            raise TypeError(
                f"an array made from {describe(self)} would lose its gradient; use tg.stack or tg.concatenate to join "
                "Tensors, and .data, .numpy() or .detach() for the bare value"
            )
        return np.array(self.value, dtype=dtype) if copy else np.asarray(self.data, dtype=dtype)

    # Backward (the sweep itself is in backward.py)

    def backward(self, grad: Any = None) -> None:
        """Add d(this)/d(leaf), times the cotangent `grad`, to `.grad` of every leaf that requires a gradient.

        >>> x = Tensor([1.0, 2.0], requires_grad=True)
        >>> (x * x).sum().backward()
        >>> x.grad
        array([2., 4.])

        Args:
            grad: the cotangent of this Tensor, of its shape; 1 for a scalar if not given.

        Raises:
            ValueError: no graph leads here, or `grad` is missing for a Tensor that is not a scalar.
        """
        from tinygrad_rnn.backward import accumulate  # here, since backward.py is made of Tensors

        accumulate(self, grad)

    # Operators: each records the primitive of its name

    def __add__(self, other: Any) -> Tensor:
        return binary(primitives.add, self, other)

    def __radd__(self, other: Any) -> Tensor:
        return binary(primitives.add, other, self)

    def __sub__(self, other: Any) -> Tensor:
        return binary(primitives.subtract, self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return binary(primitives.subtract, other, self)

    def __mul__(self, other: Any) -> Tensor:
        return binary(primitives.multiply, self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return binary(primitives.multiply, other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return binary(primitives.divide, self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return binary(primitives.divide, other, self)

    def __matmul__(self, other: Any) -> Tensor:
        return binary(primitives.matmul, self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return binary(primitives.matmul, other, self)

    def __pow__(self, exponent: Any) -> Tensor:
        return power(self, exponent)

    def __rpow__(self, base: Any) -> Tensor:
        return power(base, self)

    def __neg__(self) -> Tensor:
        return unary(primitives.negative, self)

    def __pos__(self) -> Tensor:
        return unary(primitives.identity, self)

    def __abs__(self) -> Tensor:
        return unary(primitives.abs_, self)

    def __getitem__(self, index: Any) -> Tensor:
        return record(primitives.getitem, (self,), _plain_index(index))

    # Comparisons give plain arrays of booleans: no gradient flows through them

    __hash__ = object.__hash__  # by identity: nodes are keys of dicts

    def __eq__(self, other: Any) -> np.ndarray:  # type: ignore[override]
        return np.equal(self.value, bare(other))

    def __ne__(self, other: Any) -> np.ndarray:  # type: ignore[override]
        return np.not_equal(self.value, bare(other))

    def __lt__(self, other: Any) -> np.ndarray:
        return np.less(self.value, bare(other))

    def __le__(self, other: Any) -> np.ndarray:
        return np.less_equal(self.value, bare(other))

    def __gt__(self, other: Any) -> np.ndarray:
        return np.greater(self.value, bare(other))

    def __ge__(self, other: Any) -> np.ndarray:
        return np.greater_equal(self.value, bare(other))

    # Methods: NumPy's functions of the same name, which functions.py describes

    def sum(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """The sum over an axis, axes or all."""
        return np.sum(self, axis=axis, keepdims=keepdims)

    def mean(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """The arithmetic mean over an axis, axes or all."""
        return np.mean(self, axis=axis, keepdims=keepdims)

    def max(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """The largest element over an axis, axes or all."""
        return np.max(self, axis=axis, keepdims=keepdims)

    def min(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """The smallest element over an axis, axes or all."""
        return np.min(self, axis=axis, keepdims=keepdims)

    def reshape(self, *shape: Any) -> Tensor:
        """The same elements in another shape, given as numbers or as one tuple."""
        return np.reshape(self, shape[0] if len(shape) == 1 else shape)

    def transpose(self, *axes: Any) -> Tensor:
        """The axes in another order, given as numbers or as one tuple; reversed if none is given."""
        if len(axes) == 1 and (axes[0] is None or isinstance(axes[0], (tuple, list))):
            axes = axes[0]
        return np.transpose(self, None if axes == () else axes)

    def swapaxes(self, axis1: int, axis2: int) -> Tensor:
        """Two axes exchanged."""
        return np.swapaxes(self, axis1, axis2)

    def astype(self, dtype: Any) -> Tensor:
        """The same numbers as float32 or float64.

        Raises:
            TypeError: another type, through which no gradient could flow.
        """
        if np.dtype(dtype) not in (np.float32, np.float64):
            raise TypeError(f"astype({dtype!r}): a Tensor can become float32 or float64")
        return record(primitives.astype, (self,), np.dtype(dtype))

    # NumPy's protocols: np.tanh(tensor) records the same primitive as tg.tanh(tensor)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **keywords: Any) -> Any:
        if method == "__call__" and not keywords:
            if ufunc in NUMPY_FUNCTIONS:
                return NUMPY_FUNCTIONS[ufunc](*inputs)
            if ufunc in _UFUNCS:
                return record(_UFUNCS[ufunc], inputs)
            if ufunc in _TESTS:
                return ufunc(*[bare(x) for x in inputs])
        call = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
        raise TypeError(_unsupported(call + ("".join(f", {key}=" for key in keywords)), ufunc.__name__))

    def __array_function__(self, function: Callable, types: Any, arguments: tuple, keywords: dict) -> Any:
        if function in NUMPY_FUNCTIONS:
            return NUMPY_FUNCTIONS[function](*arguments, **keywords)
        raise TypeError(_unsupported(function.__name__, function.__name__))

    # A rule of the table that calls one of the table's own primitives on a Tensor records it

    __record__ = staticmethod(record)


def _leaf(kind: type, data: Any, requires_grad: bool, name: str | None, step: int | None, grad: Any) -> Tensor:
    leaf = _new(kind)
    Tensor.__init__(leaf, data, requires_grad, name)
    leaf.step, leaf.grad = step, grad
    return leaf


_UFUNCS = {p.forward: p for p in primitives.TABLE.values() if isinstance(p.forward, np.ufunc)}
_TESTS = {
    np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal, np.isnan, np.isinf, np.isfinite,
    np.signbit,
}  # fmt: skip

# NumPy's function -> ours, for those that are not a primitive's own forward; functions.py fills it.
NUMPY_FUNCTIONS: dict[Callable, Callable] = {}


def _unsupported(call: str, name: str) -> str:
    known = {f.__name__ for f in (*_UFUNCS, *NUMPY_FUNCTIONS)}
    near = difflib.get_close_matches(name, known - {name}, n=1, cutoff=0.6)
    hint = ""
    if name in known:
        hint = f"; np.{name} without it is supported"
    elif near:
        hint = f"; the nearest that is is np.{near[0]}"
    return f"np.{call} on a Tensor is not supported{hint}. Use .data for the bare array, without gradient."


def _plain_index(index: Any) -> Any:
    """An index with Tensors and lists in it as arrays, which the graph can keep."""
    if isinstance(index, tuple):
        return tuple(_plain_index(i) for i in index)
    if isinstance(index, Tensor):
        return index.value.copy()
    if isinstance(index, list):
        return np.array(index, dtype=None if index else int)
    return index.copy() if isinstance(index, np.ndarray) else index
