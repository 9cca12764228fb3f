"""Tensor: a NumPy array that remembers the primitive and the inputs that made it.

- `Tensor(data, requires_grad=True)` is a leaf; arithmetic, indexing and NumPy's own functions on Tensors make nodes.
- `record(primitive, inputs, *static)` runs a primitive and gives its node; `operation(primitive)`, a quicker function
  for it alone.
- `reached(outputs)` is what nodes depend on; `label` names a Tensor, as recorded gradients are by a `GradientName`.

A node points at its inputs and never back, so a graph is freed by reference counting as soon as its output is.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

import numpy as np

from tinygrad_rnn import checks, malloc, primitives  # noqa: F401 - malloc is set as soon as there are arrays
from tinygrad_rnn.context import recording, step_and_layer, temporarily
from tinygrad_rnn.data_guard import array_to_hold, loans, look_at_data, set_data
from tinygrad_rnn.errors import ShapeError, describe, refusal
from tinygrad_rnn.methods import Methods
from tinygrad_rnn.observer import leaves_the_graph, observer, tracing

_Value = TypeVar("_Value")
_next_number = itertools.count().__next__
# Looked up once, not at every node
_new, _ndarray = object.__new__, np.ndarray
_is_recording, _observer, _step_and_layer = recording.get, observer.get, step_and_layer.get


def record(primitive: primitives.Primitive, inputs: tuple, *static: Any) -> Tensor:
    """Run a primitive on its inputs and, if any of them requires a gradient, remember how the result was made.

    Inputs that are not Tensors become constant leaves: they stay part of the graph, since they are drawn.

    Raises:
        ShapeError: the primitive cannot run on these shapes; says which primitive, nodes, shapes and step.
        IndexError, TypeError: an index is out of range, or an axis is no axis; the message says the same.
    """
    arrays, recorded = [], False
    for x in inputs:
        if not isinstance(x, Tensor):
            beside = [y for y in inputs if isinstance(y, Tensor)][:1]
            return record(primitive, tuple([as_tensor(x, *beside) for x in inputs]), *static)
        arrays.append(x.value)
        if x._requires_grad:
            recorded = True
    arguments = (*arrays, *[checks.python_numbers(argument) for argument in static]) if static else tuple(arrays)
    del arrays  # `array_to_hold` counts what refers to an array: beside the leaf and its views, `arguments` alone
    return _run(primitive, inputs, arguments, recorded)


def operation(primitive: primitives.Primitive, description: str = "") -> Callable[..., Tensor]:
    """The function that records a primitive of one or two inputs and no static arguments, quicker than `record`."""

    def unary(x: Any) -> Tensor:
        if type(x) is not Tensor:
            x = as_tensor(x)
        return _run(primitive, (x,), (x.value,), x._requires_grad)

    def binary(x: Any, y: Any) -> Tensor:
        if type(x) is not Tensor:
            x = as_tensor(x, y)
        if type(y) is not Tensor:
            y = as_tensor(y, x)
        return _run(primitive, (x, y), (x.value, y.value), x._requires_grad or y._requires_grad)

    function: Callable[..., Tensor] = unary if len(primitive.vjps) == 1 else binary
    function.__doc__ = description
    return function


def _run(primitive: primitives.Primitive, inputs: tuple[Tensor, ...], arguments: tuple, recorded: bool) -> Tensor:
    """Run a primitive: the one place where nodes are made."""
    recorded = recorded and _is_recording()
    if recorded and loans:
        held = [array_to_hold(x, inputs) if id(x) in loans else x.value for x in inputs]
        arguments = (*held, *arguments[len(inputs) :])
    observing = _observer()
    try:
        value = primitive.forward(*arguments) if observing is None else observing.computed(primitive, inputs, arguments)
    except (ValueError, IndexError, TypeError) as error:
        raise refusal(primitive.name, inputs, error) from error
    if type(value) is not _ndarray:
        value = np.asarray(value)
    node = _new(Tensor)
    if recorded:
        node._begin(value, primitive, inputs, arguments)
    else:
        node._begin(value if value.base is None else value.copy("K"))  # a leaf has an array of its own
    if observing is not None:
        observing.made(node, primitive, inputs, arguments)
    return node


def _property(get: Callable[[Tensor], _Value], doc: str) -> _Value:
    """A property, which a type checker takes for what it gives."""
    return property(get, doc=doc)  # type: ignore[return-value]


class Tensor(Methods):
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
        grad: dL/d(this) as a NumPy array, accumulated by `backward`; None before any, and always None on nodes.
            What is set has the shape of the Tensor, and becomes an array of its dtype.
        primitive, inputs, arguments: how the node was made; None and empty on a leaf.
        is_parameter: of a leaf, whether gradients are wanted, or were before it was frozen.
        is_cut: of a leaf, whether the gradient that would go on to what it was made of was cut off, as by `detach`.
        hooks: functions that see its gradient, and may change it: see `register_hook`.
        name, step, layer: the node's name, and the time step and the layer it belongs to, or None.
        born: Tensors are numbered as they are made, so that inputs are always older than what is made of them.

    Raises:
        TypeError: data that is not real numbers, or integers with requires_grad.

    >>> x = tg.Tensor([1.0, 2.0], requires_grad=True, name="x")
    >>> y = (x * x).sum()
    >>> y.backward()
    >>> x.grad
    array([2., 4.])
    >>> y.primitive.name, y.inputs[0].primitive.name
    ('sum', 'multiply')
    """

    __slots__ = ("__weakref__", "_grad", "_requires_grad", "arguments", "born", "hooks", "inputs", "is_cut",
                 "is_parameter", "layer", "name", "primitive", "step", "value")  # fmt: skip

    def _begin(
        self, value: np.ndarray, primitive: primitives.Primitive | None = None, inputs: tuple[Tensor, ...] = (),
        arguments: tuple[Any, ...] = (),
    ) -> None:  # fmt: skip
        """Become a node that a primitive has made, or a leaf of an array that belongs to no other."""
        self.value, self.born = value, _next_number()
        self.step, self.layer = _step_and_layer()
        self.primitive, self.inputs, self.arguments = primitive, inputs, arguments
        self._requires_grad = primitive is not None
        self.name: str | None = None
        self._grad: np.ndarray | None = None
        self.is_cut = self.is_parameter = False
        self.hooks: dict[object, Callable] | None = None

    def __init__(self, data: Any, requires_grad: bool = False, name: str | None = None):
        self._begin(checks.real_array(data))
        if requires_grad is not False:
            self.requires_grad = requires_grad
        self.name = None if name is None else checks.name(name)

    @property
    def requires_grad(self) -> bool:
        """True if gradients with respect to it are wanted: of a leaf it can be set, of a node its inputs decide it."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        if self.primitive is not None and not tracing():  # in a trace what is detached is a node, too
            raise ValueError(f"the requires_grad of {describe(self)} cannot be set: its inputs decide it")
        if wanted and self.dtype.kind != "f":
            raise TypeError(f"requires_grad=True needs floating point data, such as 1.0 for 1, not {self.dtype}")
        self._requires_grad = checks.one_of("Tensor", "requires_grad", wanted, (True, False))
        self.is_parameter = self._requires_grad or self.is_parameter

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
    def data(self) -> np.ndarray:
        """The value as a NumPy array, to read or, on a leaf, to write: `t.data -= 0.1 * t.grad`, `t.data[0] = 1`.

        What is written changes the leaf, and no graph that was made of it before. A node's is read-only.
        """
        return look_at_data(self)

    @data.setter
    def data(self, data: Any) -> None:
        set_data(self, data)

    shape: Final = _property(lambda self: self.value.shape, "The length of each axis.")
    ndim: Final = _property(lambda self: self.value.ndim, "The number of axes.")
    size: Final = _property(lambda self: self.value.size, "The number of elements.")
    dtype: Final = _property(lambda self: self.value.dtype, "The type of its elements.")
    is_leaf: Final = _property(lambda self: self.primitive is None, "True if it was made of data, not by a primitive.")
    static: Final = _property(lambda self: self.arguments[len(self.inputs) :], "Its static arguments, such as an axis.")
    T: Final = _property(lambda self: record(primitives.transpose, (self,), None), "The axes reversed.")

    def detach(self) -> Tensor:
        """A leaf with the same value, name, step and layer, through which no gradient flows."""
        with temporarily(recording, False):
            leaf = record(primitives.astype, (self,), self.dtype)
        leaf.name, leaf.step, leaf.layer, leaf.is_cut = self.name, self.step, self.layer, self.requires_grad
        return leaf

    __record__ = staticmethod(record)  # through which a rule of the table, run on Tensors, records its own primitives

    # Further methods, which methods.py declares: backward.py adds `backward`; functions.py operators, and methods that
    # are its functions as they stand; interop.py indexing, NumPy's protocols, and plain numbers, arrays and text


def reached(outputs: Iterable[Tensor], passes: Callable[[Tensor], bool] = lambda _: True) -> list[Tensor]:
    """The outputs and every Tensor that they depend on; beyond one that `passes` does not let pass, none.

    Nothing is recursive: depth is bounded by memory.
    """
    found = list(dict.fromkeys(outputs))
    seen = set(found)
    for node in found:  # which grows as it goes
        for x in node.inputs if passes(node) else ():
            if x not in seen:
                seen.add(x)
                found.append(x)
    return found


def as_tensor(value: Any, beside: Any = None) -> Tensor:
    """A Tensor itself, or anything else as a leaf; as in NumPy, a Python number does not widen the dtype beside it."""
    if isinstance(value, Tensor):
        return value
    if type(value) in (bool, int, float) and isinstance(beside, Tensor):
        dtype = beside.value.dtype
        value = np.array(value, dtype if dtype.kind == "f" else np.result_type(dtype, value))
    return Tensor(value)


def bare(value: Any) -> Any:
    """The array of a Tensor, and anything else as it is."""
    return value.value if isinstance(value, Tensor) else value


def label(tensor: Tensor, name: str, step: int | None = None) -> Tensor:
    """Name a Tensor, and say which time step it belongs to if `step` is given; returns the Tensor itself.

    Diagrams draw the named Tensors as variables, and fold the unnamed ones between them into edges.

    Raises:
        TypeError: not a Tensor, a name that is not a string, or a step that is not an integer.
        ValueError: an empty name.

    >>> z = tg.label(tg.tanh(tg.Tensor(0.5, requires_grad=True)), "z", step=1)
    >>> z.name, z.step
    ('z', 1)
    """
    checks.instance("label(tensor, name)", tensor, Tensor)
    name = checks.name(name)
    if step is not None:
        tensor.step = checks.step("label", step)
    tensor.name = name
    return tensor


class GradientName(str):
    """The name dh of a recorded gradient: of the node whose name is `of`, and whose number is `born`."""

    of: str
    born: int | None

    def __new__(cls, of: str, born: int | None = None) -> GradientName:
        """The name d`of`."""
        name = super().__new__(cls, f"d{of}")
        name.of, name.born = of, born
        return name

    def __reduce__(self) -> tuple:
        """The making of a copy, which belongs to no graph, and so has no number."""
        return GradientName, (self.of,)
