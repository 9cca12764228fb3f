"""Tensor: a NumPy array that remembers the primitive and the inputs that made it.

- `Tensor(data, requires_grad=True)` is a leaf; arithmetic, indexing and NumPy's own functions on Tensors make nodes.
- `record(primitive, inputs, *static)` makes the nodes; `unary` and `binary` make functions that do it in less time.
- `no_grad()` stops the recording; `time_step(t)` tells every node made inside it its step; `label` names a node.

A node points at its inputs and never back, so a graph is freed by reference counting as soon as its output is.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import operator
import sys
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tinygrad_rnn import checks, primitives
from tinygrad_rnn.errors import ShapeError
from tinygrad_rnn.primitives import Primitive

Axis = int | tuple[int, ...] | None
_Function = TypeVar("_Function", bound=Callable)

_recording: ContextVar[bool] = ContextVar("recording", default=True)
place: ContextVar[tuple[int | None, int | None]] = ContextVar("place", default=(None, None))  # time step and layer
watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)

_next_number = itertools.count().__next__
_FLOAT64 = np.dtype(np.float64)
_new, _ndarray = object.__new__, np.ndarray  # looked up once, not at every node


class Watcher:
    """What sees every value and every gradient as it is made: `checking.detect_anomaly`, and the trace of a program."""

    def computed(self, primitive: Primitive, inputs: tuple[Tensor, ...], arguments: tuple) -> Any:
        """What a primitive makes of its arguments: the array, or what stands for it."""
        return primitive.forward(*arguments)

    def value(self, node: Tensor, primitive: Primitive, inputs: tuple[Tensor, ...], arguments: tuple) -> None:
        """The node that a primitive has made."""

    def term(self, node: Tensor, i: int, g: np.ndarray, term: np.ndarray) -> None:
        """What a node's rule makes of its cotangent g for its input i."""

    def gradient(self, x: Tensor, g: np.ndarray) -> None:
        """The sum of such terms, or of what several backward passes have added to `.grad`."""

    def within(self, node: Tensor, i: int, g: np.ndarray, error: Exception) -> Exception:
        """What is raised for an anomaly in a gradient that is being recorded."""
        return error

    def detached(self, leaf: Tensor, x: Tensor) -> None:
        """A leaf that has the value of x."""

    def test(self, test: Callable, inputs: tuple, static: tuple) -> Any:
        """What a comparison, a test or a choice gives: an array, unless the watcher has something else for it."""
        return np.asarray(primitives.TESTS[test].forward(*map(bare, inputs), *static))[()]  # of pandas' objects too

    def read(self, x: Tensor, how: str) -> None:
        """The value of a Tensor has been taken out of the graph."""

    def left(self, call: str, instead: str) -> None:
        """Called before a function that records no nodes, such as backward(); `instead` says what to use."""


@contextlib.contextmanager
def holding(variable: ContextVar, value: Any) -> Iterator[None]:
    """A context in which a variable has a value; however it is left, the variable has the one of before.

    Ctrl-C may come between any two calls, so the value is set inside the `try`, and what was there is set again, once
    more if need be. Where it comes before this goes on, Python closes it as soon as nothing holds it any more.
    """
    before = variable.get()
    try:
        variable.set(value)
        yield
    finally:
        variable.set(before)


def recording(on: bool) -> contextlib.AbstractContextManager[None]:
    """A context in which nodes remember how they were made, or do not."""
    return holding(_recording, on)


def _keep_freed_memory() -> None:
    """Let the process keep up to 1 GB that it has freed: a training step needs what the one before has freed.

    Otherwise the C library of Linux hands it back to the kernel, and fetches it again page by page: half of the time
    of a large step. Elsewhere nothing is done.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        c_library = ctypes.CDLL(None)
        c_library.mallopt(-1, 2**30)  # M_TRIM_THRESHOLD
        c_library.mallopt(-3, 2**25)  # M_MMAP_THRESHOLD, its largest


_keep_freed_memory()


class no_grad:
    """A context, or a decorator of a function, in which nothing is recorded: results are leaves that need no gradient.

    Ctrl-C leaves recording as it was before the block. If it falls on the first or last instruction of the block,
    recording comes back only when the traceback is freed: at a prompt, at the next error.
    """

    __slots__ = ("_blocks",)

    def __init__(self) -> None:
        self._blocks: list[contextlib.AbstractContextManager[None]] = []

    def __enter__(self) -> None:
        self._blocks.append(recording(False))
        self._blocks[-1].__enter__()

    def __exit__(self, *raised: Any) -> None:
        self._blocks.pop().__exit__(*raised)

    def __call__(self, function: _Function) -> _Function:
        """The function, which records nothing."""
        return holding(_recording, False)(function)


def is_recording() -> bool:
    """Whether nodes made here remember how they were made: everywhere but inside `no_grad()`."""
    return _recording.get()


def time_step(t: int | None, layer: int | None = None) -> contextlib.AbstractContextManager[None]:
    """A context in which every node that is made belongs to time step t, and in a net of layers to one of them."""
    return holding(place, (t, layer))


def record(primitive: Primitive, inputs: tuple, *static: Any) -> Tensor:
    """Run a primitive on its inputs and, if any of them requires a gradient, remember how the result was made.

    Inputs that are not Tensors become constant leaves: they stay part of the graph, since they are drawn.

    Raises:
        ShapeError: the primitive cannot run on these shapes; says which primitive, nodes, shapes and step.
        IndexError, TypeError: an index is out of range, or an axis is no axis; the message says the same.
    """
    recorded = False
    for x in inputs:
        if not isinstance(x, Tensor):
            beside = next((x for x in inputs if isinstance(x, Tensor)), None)
            return record(primitive, tuple([_constant(x, beside) for x in inputs]), *static)
        if x._requires_grad:
            recorded = _recording.get()
    arguments = (*[_to_hold(x) if recorded else x.value for x in inputs], *map(_plain, static))
    watch = watcher.get()
    try:
        value = primitive.forward(*arguments) if watch is None else watch.computed(primitive, inputs, arguments)
    except (ValueError, IndexError, TypeError) as error:
        raise refused(primitive.name, inputs, error) from error
    return _node(value, primitive, inputs, arguments, recorded, watch)


def _plain(static: Any) -> Any:
    """A static argument with Python's own whole numbers for those of NumPy and of enumerations."""
    if isinstance(static, (tuple, list)):
        return (tuple if isinstance(static, tuple) else list)(map(_plain, static))
    if isinstance(static, slice):
        return slice(*map(_plain, (static.start, static.stop, static.step)))
    whole = isinstance(static, (int, np.integer)) and not isinstance(static, bool)
    return operator.index(static) if whole else static


def unary(primitive: Primitive, description: str = "") -> Callable[[Any], Tensor]:
    """A function that does what `record` does, in less time: of such primitives and of `binary` ones nets are made."""
    forward = primitive.forward

    def function(x: Any) -> Tensor:
        if not isinstance(x, Tensor):
            x = as_tensor(x)
        recorded = x._requires_grad and _recording.get()
        a = _to_hold(x) if x.lent and recorded else x.value
        watch = watcher.get()
        try:
            value = forward(a) if watch is None else watch.computed(primitive, (x,), (a,))
        except (ValueError, IndexError) as error:
            raise refused(primitive.name, (x,), error) from error
        return _node(value, primitive, (x,), (a,), recorded, watch)

    return _described_as(function, primitive, description)


def binary(primitive: Primitive, description: str = "") -> Callable[[Any, Any], Tensor]:
    """`unary` for two inputs."""
    forward = primitive.forward

    def function(x: Any, y: Any) -> Tensor:
        if not isinstance(x, Tensor):
            x = _constant(x, y)
        if not isinstance(y, Tensor):
            y = _constant(y, x)
        recorded = (x._requires_grad or y._requires_grad) and _recording.get()
        a = _to_hold(x) if x.lent and recorded else x.value
        b = _to_hold(y) if y.lent and recorded else y.value
        watch = watcher.get()
        try:
            value = forward(a, b) if watch is None else watch.computed(primitive, (x, y), (a, b))
        except (ValueError, IndexError) as error:
            raise refused(primitive.name, (x, y), error) from error
        return _node(value, primitive, (x, y), (a, b), recorded, watch)

    return _described_as(function, primitive, description)


def _described_as(function: Callable, primitive: Primitive, description: str) -> Callable:
    function.__name__ = function.__qualname__ = primitive.name
    function.__doc__ = description
    return function


def _leaf(value: np.ndarray) -> Tensor:
    """A leaf that requires no gradient, of an array that nobody else has."""
    return _node(value, None, (), (), False, None)


def _node(
    value: Any,
    primitive: Primitive | None,
    inputs: tuple[Tensor, ...],
    arguments: tuple,
    recorded: bool,
    watch: Watcher | None,
) -> Tensor:
    """What a primitive has made, as a node that remembers it, or as a leaf: the one place where nodes are made."""
    node = _new(Tensor)
    node.value = value = value if type(value) is _ndarray else np.asarray(value)
    node._grad = node.name = None
    node.step, node.layer = place.get()
    node.born = _next_number()
    node._requires_grad, node.lent = recorded, None
    if recorded:
        node.primitive, node.inputs, node.arguments = primitive, inputs, arguments
    else:
        node.primitive, node.inputs, node.arguments = None, (), ()
        if value.base is not None:  # a leaf has an array of its own
            node.value = value.copy("K")
    if watch is not None:
        watch.value(node, primitive, inputs, arguments)
    return node


def _to_hold(x: Tensor) -> np.ndarray:
    """The value of x as an array that a graph can hold, since nobody can write to it."""
    if not x.lent:
        return x.value
    handed_out = [view for view in (reference() for reference in x.lent) if view is not None]
    if sys.getrefcount(x.value) > 2 + len(handed_out):  # there are views of these views, which cannot be found
        if x.copied is None or not np.array_equal(x.copied, x.value):
            x.copied = x.value.copy()  # the same one for as many uses as there are before the next change
        return x.copied
    if handed_out:  # who writes to them from now on is told, and a buffer of theirs reaches no graph
        for view in handed_out:
            view.setflags(write=False)
        x.value = x.value.copy()
    x.lent = x.copied = None
    return x.value


def refused(call: str, inputs: Sequence[Tensor], error: Exception) -> Exception:
    """What a call raises that cannot run on its inputs: says which nodes they are, and where in the net."""
    operands = ", ".join(describe(x) for x in inputs)
    kind = next(kind for kind in (ValueError, IndexError, TypeError) if isinstance(error, kind))
    return (ShapeError if kind is ValueError else kind)(f"{call}({operands}){_at(*place.get())}: {error}")


def _constant(value: Any, beside: Any) -> Tensor:
    """What is not a Tensor as a leaf; as in NumPy, a bare Python number does not widen the dtype beside it."""
    if isinstance(beside, Tensor) and type(value) in (bool, int, float):
        dtype = beside.value.dtype
        return _leaf(np.array(value, dtype if dtype.kind == "f" else np.result_type(dtype, value)))
    return as_tensor(value)


def _real_array(data: Any) -> np.ndarray:
    """Data as an array of its own that a Tensor can hold."""
    if type(data) is _ndarray and data.dtype is _FLOAT64:
        return data.copy()
    if isinstance(data, Tensor):
        raise TypeError("Tensor(data): data is a Tensor already; use its .detach() for a leaf of the same value")
    if isinstance(data, _ndarray) and hasattr(data, "mask"):  # without importing numpy.ma
        raise TypeError("Tensor(data): a masked array is not supported; fill it first, with .filled(value)")
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
    """What error messages call a Tensor: its name, step, layer and shape, as in `h(3) of layer 2 of shape (4,)`."""
    name = tensor.name or ("leaf" if tensor.primitive is None else tensor.primitive.name)
    step = "" if tensor.step is None else f"({tensor.step})"
    layer = "" if tensor.layer is None else f" of layer {tensor.layer}"
    return f"{name}{step}{layer} of shape {tensor.shape}"


def _at(step: int | None, layer: int | None) -> str:
    return ("" if step is None else f" at step {step}") + ("" if layer is None else f" of layer {layer}")


def label(tensor: Tensor, name: str, step: int | None = None) -> Tensor:
    """Name a Tensor, and say which time step it belongs to if `step` is given; returns the Tensor itself.

    Diagrams draw the named Tensors as variables, and fold the unnamed ones between them into edges.

    Raises:
        TypeError: not a Tensor, a name that is not a string, or a step that is not an integer.
        ValueError: an empty name.
    """
    checks.instance("label(tensor, name)", tensor, Tensor)
    _check_name(name)
    if step is not None:
        tensor.step = operator.index(step)
    tensor.name = name
    return tensor


def _check_name(name: Any) -> None:
    checks.instance("the name of a Tensor", name, str, "a string")
    if not name.strip():
        raise ValueError("the name of a Tensor is not empty")


def unless_named(tensor: Tensor, name: str, step: int | None = None) -> Tensor:
    """Label a Tensor unless it has a name already: names that users set win."""
    return tensor if tensor.name is not None else label(tensor, name, step)


def last_step(node: Tensor) -> int:
    """The time step that a Tensor comes from: its own, or the latest among the nodes it was made of; 0 if none has one.

    A state that was changed between two calls of a cell (masked, scaled, ...) goes on counting where it came from.
    """
    latest, seen, waiting = 0, {node}, [node]
    for x in waiting:  # which grows as it goes
        if x.step is not None:
            latest = max(latest, x.step)
            continue
        new = [y for y in x.inputs if y not in seen]
        seen.update(new)
        waiting.extend(new)
    return latest


def cut(node: Tensor) -> None:
    """Make a node a leaf where it is: no gradient flows through it from now on, and what it was made of is freed."""
    node.primitive, node.inputs, node.arguments, node._requires_grad = None, (), (), False


def as_tensor(value: Any) -> Tensor:
    """A Tensor itself, or anything else as a leaf without a gradient."""
    if isinstance(value, Tensor):
        return value
    if type(value) is _ndarray and value.dtype is _FLOAT64:
        return _leaf(value.copy())  # which nearly all are: `Tensor(value)` in less time
    return Tensor(value)


def power(x: Any, exponent: Any) -> Tensor:
    """x ** exponent; a square is a primitive of its own, as NumPy has it."""
    squared = type(exponent) in (int, float) and exponent == 2 and np.asarray(bare(x)).dtype.kind == "f"
    return _square(x) if squared else _power(x, exponent)


_square, _power = unary(primitives.square), binary(primitives.power)


def _reflected(operator: Callable[[Any, Any], Tensor]) -> Callable[[Any, Any], Tensor]:
    return lambda x, y: operator(y, x)


def _tested(ufunc: np.ufunc) -> Callable[..., Any]:
    return lambda *inputs: test(ufunc, *inputs)


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
        data: the value as a NumPy array, to read, and on a leaf to write.
        value: the very array, for the engine; what is written to it changes every graph that holds it, unnoticed.
        lent: weak references to the views of a leaf's array that have been handed out to write to, or None.
        copied: what graphs hold if there are views of these.
        grad: dL/d(this) as a NumPy array, accumulated by `backward`; None before any, and always None on nodes.
            What is set has the shape of the Tensor, and becomes an array of its dtype.
        primitive, inputs, arguments: how the node was made; None and empty on a leaf.
        name, step, layer: the node's name, and the time step and the layer it belongs to, or None.
        born: Tensors are numbered as they are made, so that inputs are always older than what is made of them.

    Raises:
        TypeError: data that is not real numbers, or integers with requires_grad.
    """

    __slots__ = (
        "__weakref__", "_grad", "_requires_grad", "arguments", "born", "copied", "inputs", "layer", "lent", "name",
        "primitive", "step", "value",
    )  # fmt: skip

    def __init__(self, data: Any, requires_grad: bool = False, name: str | None = None):
        if name is not None:
            _check_name(name)
        self.value = _real_array(data)
        self._grad = self.lent = self.copied = self.primitive = None
        self.requires_grad = requires_grad
        self.inputs = self.arguments = ()
        self.name = name
        self.step, self.layer = place.get()
        self.born = _next_number()

    # What it is

    @property
    def data(self) -> np.ndarray:
        """The value as a NumPy array, to read or, on a leaf, to write: `t.data -= 0.1 * t.grad`, `t.data[0] = 1`.

        A graph keeps the values that it was made of, whatever happens to a leaf later. So the first look at a leaf that
        a graph may hold is at a copy, and when a graph is made of the leaf next, the array that was looked at goes
        read-only (ask for `.data` again to write). What was computed is looked at through a read-only view.
        """
        read_out(self, "data")
        if self.primitive is not None:
            view = self.value.view()
            view.setflags(write=False)
            return view
        if not self.lent:
            self.value, self.lent, self.copied = self.value.copy(), [], None
        view = self.value.view()
        self.lent = [*(reference for reference in self.lent if reference() is not None), weakref.ref(view)]
        return view

    @data.setter
    def data(self, data: Any) -> None:
        if self.primitive is not None:
            raise ValueError(f"{describe(self)} was made by {self.primitive.name}; only the data of a leaf can be set")
        if isinstance(data, np.ndarray) and data.base is self.value and data.shape == self.value.shape and self.lent:
            return  # as after t.data -= x, which has changed it in place
        value = _real_array(data)
        if value.shape != self.value.shape:
            raise ShapeError(f"the data of {describe(self)} cannot have the shape {value.shape}; make a new Tensor")
        if self.requires_grad and value.dtype.kind != "f":
            raise TypeError(f"the data of {describe(self)}, which requires a gradient, cannot be {value.dtype}")
        self.value, self.lent = value, None

    @property
    def requires_grad(self) -> bool:
        """Whether gradients with respect to it are wanted; of a leaf it can be set, of a node its inputs decide it."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        if self.primitive is not None and watcher.get() is None:  # in a trace what is detached is a node, too
            raise ValueError(
                f"the requires_grad of {describe(self)} cannot be set: its inputs decide it; see .detach()"
            )
        if wanted and self.dtype.kind != "f":
            raise TypeError(
                f"Tensor(requires_grad=True): a gradient needs floating point data, not {self.dtype}; "
                "pass floats, such as 1.0 for 1 or array.astype(float)"
            )
        self._requires_grad = checks.one_of("Tensor", "requires_grad", wanted, (True, False))

    @property
    def grad(self) -> np.ndarray | None:
        """dL/d(this), accumulated by `backward`."""
        if self._grad is not None:
            leaves_the_graph("reading a .grad", "give it as an input")
        return self._grad

    @grad.setter
    def grad(self, grad: Any) -> None:
        if grad is not None:
            grad = np.asarray(bare(grad))
            if grad.dtype.kind not in "fiub" or self.dtype.kind != "f":
                raise TypeError(f"the .grad of {describe(self)}, which holds {self.dtype}, cannot be {grad.dtype}")
            if grad.shape != self.shape:
                raise ShapeError(f"the .grad of {describe(self)} cannot have the shape {grad.shape}")
            grad = grad.astype(self.dtype, copy=False)
        self._grad = grad

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
        read_out(self, "the text")
        of = "" if self.primitive is None else f", primitive={self.primitive.name}"
        wants = ", requires_grad=True" if self.requires_grad and self.primitive is None else ""
        name = "" if self.name is None else f", name={self.name!r}"
        step = "" if self.step is None else f", step={self.step}"
        return f"Tensor({np.array2string(self.value, prefix='Tensor(', separator=', ')}{of}{wants}{name}{step})"

    def __reduce__(self) -> tuple:
        """Pickled and copied without its graph: a node becomes a leaf that requires no gradient."""
        read_out(self, "a copy")
        if not self.is_leaf:
            tell_of_lost_gradient(self, "is copied without its graph", "use it itself, or .detach() if that is meant")
        return _unpickled, (
            type(self), self.value, self.requires_grad and self.is_leaf, self.name, self._grad, self.step, self.layer,
        )  # fmt: skip

    # Out of the graph

    def item(self) -> float:
        """The value of a Tensor of one element as a Python number."""
        read_out(self, "item()")
        return self.value.item()

    def numpy(self) -> np.ndarray:
        """A copy of the value."""
        read_out(self, "numpy()")
        return self.value.copy()

    def detach(self) -> Tensor:
        """A leaf with the same value, name, step and layer, through which no gradient flows."""
        leaf = Tensor(self.value, name=self.name)
        leaf.step, leaf.layer = self.step, self.layer
        (watcher.get() or _UNWATCHED).detached(leaf, self)
        return leaf

    def tolist(self) -> Any:
        """The value as Python numbers, in lists that are nested as the axes are."""
        read_out(self, "tolist()")
        return self.value.tolist()

    def __float__(self) -> float:
        tell_of_lost_gradient(self, "becomes a number", "write .item() if that is meant, or use tg.stack")
        return float(self.item())

    def __format__(self, spec: str) -> str:
        if self.size != 1 or not spec:
            return object.__format__(self, spec)
        read_out(self, "the text")
        return format(self.value.item(), spec)

    def __bool__(self) -> bool:
        read_out(self, "bool()")
        return bool(self.value)

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("len() of a Tensor with no axes; its shape is ()")
        return len(self.value)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        caller = sys._getframe(1).f_globals.get("__name__", "")
        if self.requires_grad and not caller.startswith("numpy.testing"):  # whose functions only compare values
            raise TypeError(
                f"an array made from {describe(self)} would lose its gradient; use tg.stack or tg.concatenate to join "
                "Tensors, and .data, .numpy() or .detach() for the bare value"
            )
        read_out(self, "an array of it")
        return np.array(self.value, dtype=dtype) if copy else np.asarray(self.data, dtype=dtype)

    # Operators: each records the primitive of its name

    __pandas_priority__ = 5000  # above that of a DataFrame: pandas leaves `frame * tensor` to the Tensor

    __add__ = binary(primitives.add)
    __sub__ = binary(primitives.subtract)
    __mul__ = binary(primitives.multiply)
    __truediv__ = binary(primitives.divide)
    __mod__ = binary(primitives.mod)
    __matmul__ = binary(primitives.matmul)
    __pow__ = power
    __radd__ = _reflected(__add__)
    __rsub__ = _reflected(__sub__)
    __rmul__ = _reflected(__mul__)
    __rtruediv__ = _reflected(__truediv__)
    __rmod__ = _reflected(__mod__)
    __rmatmul__ = _reflected(__matmul__)
    __rpow__ = _reflected(__pow__)
    __neg__ = unary(primitives.negative)
    __pos__ = unary(primitives.identity)
    __abs__ = unary(primitives.abs_)

    def __getitem__(self, index: Any) -> Tensor:
        inputs = [self]
        index = _plain_index(index, inputs)
        return record(primitives.getitem, tuple(inputs), index)

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TypeError(
            f"the elements of {describe(self)} cannot be assigned, since a graph may hold them; make a new Tensor, as "
            "with tg.where or tg.stack, or write to the .data of a leaf"
        )

    # Comparisons give plain arrays of booleans: no gradient flows through them

    __hash__ = object.__hash__  # by identity: nodes are keys of dicts

    __eq__ = _tested(np.equal)
    __ne__ = _tested(np.not_equal)
    __lt__ = _tested(np.less)
    __le__ = _tested(np.less_equal)
    __gt__ = _tested(np.greater)
    __ge__ = _tested(np.greater_equal)
    __and__ = _tested(np.bitwise_and)
    __or__ = _tested(np.bitwise_or)
    __xor__ = _tested(np.bitwise_xor)
    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__
    __invert__ = _tested(np.invert)

    # Methods; backward.py adds backward, functions.py those that are one of its functions as it stands, and interop.py
    # those that give plain arrays

    if TYPE_CHECKING:
        backward: Callable[..., None]

        def _to_tensor(self, *arguments: Any, **keywords: Any) -> Tensor: ...
        def _to_array(self, *arguments: Any, **keywords: Any) -> Any: ...

        clip = cumprod = cumsum = diagonal = dot = flatten = max = mean = min = prod = ravel = repeat = _to_tensor
        squeeze = std = sum = swapaxes = take = trace = var = _to_tensor
        all = any = argmax = argmin = argsort = nonzero = _to_array

    def reshape(self, *shape: Any) -> Tensor:
        """The same elements in another shape, given as numbers or as one tuple."""
        shape = shape[0] if len(shape) == 1 else shape
        return record(primitives.reshape, (self,), shape if np.ndim(shape) == 0 else tuple(shape))

    def transpose(self, *axes: Any) -> Tensor:
        """The axes in another order, given as numbers or as one tuple; reversed if none is given."""
        if len(axes) == 1 and (axes[0] is None or np.ndim(axes[0])):
            axes = axes[0]
        return record(primitives.transpose, (self,), tuple(axes) if axes is not None and len(axes) else None)

    def astype(self, dtype: Any) -> Tensor:
        """The same numbers as float32 or float64; if no gradient is wanted, as integers or booleans too.

        Raises:
            TypeError: another type, through which no gradient could flow.
        """
        dtype = np.dtype(dtype)
        if dtype not in (np.float32, np.float64) and (self.requires_grad or dtype.kind not in "iub"):
            raise TypeError(f"astype({str(dtype)!r}): a Tensor can become float32 or float64")
        return record(primitives.astype, (self,), dtype)

    # A rule of the table that calls one of the table's own primitives on a Tensor records it; interop.py adds NumPy's
    # protocols

    __record__ = staticmethod(record)


def read_out(x: Tensor, how: str) -> None:
    """Tell the watcher, if there is one, that a value leaves the graph."""
    (watcher.get() or _UNWATCHED).read(x, how)


def tell_of_lost_gradient(x: Tensor, how: str, instead: str) -> None:
    """Warn, naming the line, where Python or NumPy takes a value without saying so, as to store it in an array."""
    if x.requires_grad and _recording.get():
        frame, level = sys._getframe(2), 3
        while frame.f_back is not None and frame.f_globals["__name__"] in ("copy", "pickle"):
            frame, level = frame.f_back, level + 1
        warnings.warn(f"{describe(x)} {how} here, and its gradient is lost; {instead}", stacklevel=level)


def test(test: Callable, *inputs: Any, static: tuple = ()) -> Any:
    """What a comparison, a test or a choice makes of Tensors: no gradient flows through it, so it is an array."""
    return (watcher.get() or _UNWATCHED).test(test, inputs, static)


def leaves_the_graph(call: str, instead: str) -> None:
    """Tell the watcher, if there is one, of a call that makes something else than nodes."""
    (watcher.get() or _UNWATCHED).left(call, instead)


_UNWATCHED = Watcher()


def _unpickled(kind: type, data: Any, requires_grad: bool, name: str | None, grad: Any, *place: int | None) -> Tensor:
    leaf = _new(kind)
    Tensor.__init__(leaf, data, requires_grad, name)
    leaf._grad, (leaf.step, leaf.layer) = None if grad is None else np.array(grad), place
    return leaf


def _plain_index(index: Any, inputs: list[Tensor]) -> Any:
    """An index with Tensors and lists in it as the graph can keep them; whole numbers in a Tensor become its inputs."""
    if isinstance(index, tuple):
        return tuple([_plain_index(i, inputs) for i in index])
    if isinstance(index, Tensor):
        if index.dtype.kind not in "iu":  # a mask decides about the shape
            return index.numpy()
        inputs.append(index)
        return primitives.INPUT
    if isinstance(index, list):
        return np.array(index, dtype=None if index else int)
    if isinstance(index, slice):
        return slice(*[i.item() if isinstance(i, Tensor) else i for i in (index.start, index.stop, index.step)])
    if hasattr(index, "__array__") and not isinstance(index, np.generic):
        return np.array(index)
    return index
