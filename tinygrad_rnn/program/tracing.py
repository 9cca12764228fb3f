"""A function's loss and gradients as a graph: the function is run, and everything it does is kept.

It is run on shapes, which is quick, and its gradients are found on shapes; then it is run once more, on the values,
where it must do the same. What a trace holds is what was done with Tensors. What decided about that is fixed by it:
which way an `if` went, how often a loop ran, a value that was read out. Where a value decides, the trace warns and
names the line.
"""

from __future__ import annotations

import inspect
import linecache
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_rnn import primitives
from tinygrad_rnn.backward import grad, topological_order
from tinygrad_rnn.checking import place_outside
from tinygrad_rnn.nn.module import Module
from tinygrad_rnn.primitives import TESTS, Primitive
from tinygrad_rnn.program.graph import Graph, Node
from tinygrad_rnn.program.steps import static_key
from tinygrad_rnn.tensor import Tensor, Watcher, as_tensor, describe, is_recording, record, recording, watcher

__all__ = [
    "Trace", "arrays_of", "inputs_among", "is_array", "name_of", "parameters_of", "rebuilt", "recorded",
    "structure_key", "trace",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Trace:
    """A function's graph, and what belongs to its leaves.

    Attributes:
        graph: its outputs are the loss, the gradients, and the arrays of what else the function returns.
        parameters: the Tensors whose values the graph's parameters are read from at each call.
        input_names: what the function calls its inputs: xs, or state[0] for a part of one.
        wrt_names, wrt: what the gradients are of, and its leaves.
        extra: what else the function returns, with numbers in place of arrays.
        examples: the inputs that the function was run on.
    """

    graph: Graph
    parameters: tuple[Tensor, ...]
    input_names: tuple[str, ...]
    wrt_names: tuple[str, ...]
    wrt: tuple[Node, ...]
    extra: Any
    examples: tuple[np.ndarray, ...]


class _Recorder(Watcher):
    """Keeps what was made of what, whether or not it requires a gradient."""

    def value(self, node: Tensor, primitive: Primitive, inputs: tuple[Tensor, ...], arguments: tuple) -> None:
        node.primitive, node.inputs, node.arguments = primitive, inputs, arguments

    def detached(self, leaf: Tensor, x: Tensor) -> None:
        self.value(leaf, primitives.identity, (x,), (x.value,))

    def test(self, test: np.ufunc, inputs: tuple, result: Any) -> Any:
        with recording(False):
            return record(TESTS[test], tuple(as_tensor(x) for x in inputs))


class _OnShapes(_Recorder):
    """Runs a function on shapes: nobody sees the values until one is read out, and most functions read none.

    Attributes:
        made: the nodes, in order. started: what is older was there before the function ran.
        alike: what comes of a primitive on inputs of some shapes, found out once, by running it on zeros.
        sweeps: whether the function itself has gradients computed.
    """

    def __init__(self, inputs: Sequence[Tensor]):
        self.inputs, self.active, self.sweeps = set(inputs), True, False
        self.made: list[Tensor] = []
        self.started = Tensor(0.0).born
        self.alike: dict[Any, np.ndarray] = {}

    def value(self, node: Tensor, primitive: Primitive, inputs: tuple[Tensor, ...], arguments: tuple) -> None:
        super().value(node, primitive, inputs, arguments)
        self.made.append(node)

    def computed(self, primitive: Primitive, inputs: tuple[Tensor, ...], arguments: tuple) -> Any:
        if not self.active:
            return primitive.forward(*arguments)
        static = arguments[len(inputs) :]
        key = primitive, static_key(static), *[(x.value.shape, x.value.dtype) for x in inputs]
        if key not in self.alike:
            with np.errstate(all="ignore"):
                value = np.asarray(primitive.forward(*[np.zeros(x.shape, x.dtype) for x in inputs], *static))
            nothing = np.full((), np.nan if value.dtype.kind == "f" else 0, value.dtype)
            self.alike[key] = np.ndarray(value.shape, value.dtype, nothing, strides=(0,) * value.ndim)
        return self.alike[key]

    def gradient(self, x: Tensor, g: np.ndarray) -> None:
        self.sweeps = True

    def read(self, x: Tensor, how: str) -> None:
        if any(y in self.inputs or y.born < self.started for y in topological_order(x) if y.primitive is None):
            file, number = place_outside()
            line = linecache.getline(file, number).strip()
            text = f"compile: {how} of {describe(x)} is fixed in the program, as is the way an `if` goes: {line}"
            warnings.warn_explicit(text, UserWarning, file, number)
        if self.active:
            self.active = False
            for node in self.made:
                arguments = (*[y.value for y in node.inputs], *node.static)
                node.value, node.arguments = np.asarray(node.primitive.forward(*arguments)), arguments


class _Again(_Recorder):
    """Runs a function for the second time, on values, and sees that it does what it has done the first time.

    Attributes:
        first: the nodes that the first run has made.
        numbers: of those that this one has made, by when they were born.
        holds: whether the nodes are linked, for the function's own gradients; otherwise no value outlives its use.
    """

    def __init__(self, name: str, first: Sequence[Tensor], holds: bool):
        self.name, self.first, self.holds = name, first, holds
        self.numbers: dict[int, int] = {}

    def value(self, node: Tensor, primitive: Primitive, inputs: tuple[Tensor, ...], arguments: tuple) -> None:
        super().value(node, primitive, inputs, arguments)
        number = self.numbers[node.born] = len(self.numbers)
        before = self.first[number] if number < len(self.first) else None
        if (
            before is None
            or before.primitive is not primitive
            or static_key(before.static) != static_key(node.static)
            or not all(map(self.same, before.inputs, inputs))
        ):
            raise self.differs(node)
        if not self.holds:
            node.inputs = node.arguments = ()

    def same(self, before: Tensor, x: Tensor) -> bool:
        """Whether x is to this run what another Tensor was to the first."""
        if before is x:
            return True
        number = self.numbers.get(x.born)
        if number is not None:
            return self.first[number] is before
        return before.is_leaf and x.is_leaf and np.array_equal(before.value, x.value, equal_nan=True)

    def differs(self, at: Tensor) -> ValueError:
        return ValueError(
            f"compile({self.name}): run twice on the same inputs, it does not do the same, or not with the same "
            f"numbers: see {describe(at)}, line {place_outside()[1]}; what is drawn at random, changes between calls "
            "or is taken from a .value, has to be an input"
        )


def trace(function: Callable, inputs: tuple, of: Sequence[Tensor | int]) -> Trace:
    """Run a function on example inputs, and its gradients, and return the graph of both.

    Args:
        of: what the gradients are of: Tensors, or the numbers of inputs.

    Raises:
        TypeError, ValueError: it returns no scalar Tensor that depends on parameters, or is not the same each time.
    """
    name = name_of(function)
    if not callable(function):
        raise TypeError(f"compile(function, ...): a function of the inputs is needed, not a {name}")
    if not is_recording():
        raise ValueError(f"compile({name}): inside no_grad() nothing is recorded")
    leaves, structure = _taken_apart(inputs)
    given = [Tensor(x.value if isinstance(x, Tensor) else x) for x in leaves]
    wrt = [given[p] if isinstance(p, int) else p for p in inputs_among(name, of, inputs)]
    for x, leaf in zip(leaves, given, strict=True):
        leaf.requires_grad = isinstance(x, Tensor) and x.requires_grad
    for p in wrt:
        p.requires_grad = True

    tracer = _OnShapes(given)
    with _watched_by(tracer):
        loss, *extra = _returned(function, structure, given)
        _check_loss(name, loss)
        again = _Again(name, tuple(tracer.made), holds=tracer.sweeps)
        tracer.active = True
        gradients = grad(loss, wrt, create_graph=True)
    with _watched_by(again):
        again_loss, *_ = _returned(function, structure, given)
        if len(again.numbers) < len(again.first) or not again.same(loss, as_tensor(again_loss)):
            raise again.differs(loss)

    others, returned = _taken_apart(tuple(extra))
    outputs = [loss, *gradients, *map(as_tensor, others)]
    nodes = topological_order(*outputs, *tracer.made)
    born_before = [x for x in nodes if x.primitive is None and x.born < tracer.started]
    live = dict.fromkeys(x for x in [*wrt, *born_before] if x not in tracer.inputs)

    new: dict[Tensor, Node] = {}
    for x in dict.fromkeys([*given, *live, *nodes]):
        value = x.value.copy() if x.primitive is None and x not in tracer.inputs and x not in live else None
        inputs_of = tuple([new[y] for y in x.inputs])
        new[x] = Node(x.primitive, inputs_of, x.static, x.shape, x.dtype, x.name, x.step, x.layer, value)
    graph = Graph(
        tuple(new[x] for x in nodes if x.primitive is not None),
        *(tuple(new[x] for x in some) for some in (outputs, given, live)),
    )
    input_names = _input_names(function, inputs)
    names = dict(zip(given, input_names, strict=True))
    wrt_names = tuple(str(p.name or names.get(p, f"parameter {i}")) for i, p in enumerate(wrt, 1))
    examples = tuple(x.value for x in given)
    return Trace(graph, tuple(live), input_names, wrt_names, tuple(new[p] for p in wrt), returned or None, examples)


@contextmanager
def _watched_by(tracer: Watcher) -> Iterator[None]:
    token = watcher.set(tracer)
    try:
        yield
    finally:
        watcher.reset(token)


def _returned(function: Callable, structure: Any, given: Sequence[Tensor]) -> tuple:
    """What a function returns: its loss first."""
    result = function(*rebuilt(structure, given))
    return result if isinstance(result, tuple) and result else (result,)


def recorded(of: Trace, graph: Graph) -> list[Tensor]:
    """The outputs of a graph, made of a trace, as Tensors that were recorded on the example inputs."""
    tensors: dict[Node, Tensor] = dict(zip(graph.parameters, of.parameters, strict=True))
    for x, name, value in zip(graph.inputs, of.input_names, of.examples, strict=True):
        tensors[x] = Tensor(value, name=name)
    with _watched_by(_Recorder()):
        for node in graph.nodes:
            for x in node.inputs:
                if x not in tensors:
                    tensors[x] = _placed(Tensor(x.value), x)
            tensors[node] = _placed(record(node.primitive, tuple(tensors[x] for x in node.inputs), *node.static), node)
    return [tensors[x] if x in tensors else Tensor(x.value) for x in graph.outputs]


def _placed(tensor: Tensor, node: Node) -> Tensor:
    tensor.name, tensor.step, tensor.layer = node.name, node.step, node.layer
    return tensor


def parameters_of(name: str, wrt: Any) -> list[Tensor]:
    """What gradients are wanted of, checked: the parameters of a module, one leaf, or several."""
    if not isinstance(wrt, (Module, Tensor, Iterable)):
        raise TypeError(f"compile({name}, wrt={wrt!r}): pass the parameters, such as net.parameters()")
    parameters = wrt.parameters() if isinstance(wrt, Module) else [wrt] if isinstance(wrt, Tensor) else list(wrt)
    if not parameters:
        raise ValueError(f"compile({name}, wrt=...): empty; pass the parameters, such as net.parameters()")
    for p in parameters:
        if not isinstance(p, Tensor):
            raise TypeError(f"compile({name}, wrt=...): Tensors are needed, not a {type(p).__name__}")
        if not p.is_leaf or not p.requires_grad:
            raise ValueError(f"compile({name}, wrt=...): {describe(p)} is no leaf that requires a gradient")
    return parameters


def inputs_among(name: str, wrt: Sequence[Tensor | int], examples: tuple) -> list[Tensor | int]:
    """What gradients are wanted of, with the number of the input in place of an example."""
    leaves, _ = _taken_apart(examples)
    places = {x: [i for i, y in enumerate(leaves) if y is x] for x in leaves if isinstance(x, Tensor)}
    for x in wrt:
        if len(places.get(x, ())) > 1:
            raise ValueError(f"compile({name}, wrt=...): {describe(x)} is given as two inputs; give two Tensors")
    return [places[x][0] if x in places else x for x in wrt]


def name_of(function: Callable) -> str:
    """What error messages call a function."""
    return getattr(function, "__name__", type(function).__name__)


def arrays_of(value: Any) -> tuple[list[np.ndarray], Any]:
    """The arrays in a value, and the value with their numbers in place of them: lists, tuples and dicts may nest."""
    leaves, structure = _taken_apart(value)
    return [x.value if isinstance(x, Tensor) else np.asarray(x) for x in leaves], structure


def rebuilt(structure: Any, arrays: Sequence[Any]) -> Any:
    """The value of which `arrays_of` has given the structure, with these arrays."""
    return _mapped(lambda x: arrays[x.number] if isinstance(x, _Place) else x, structure)


def _taken_apart(value: Any) -> tuple[list[Any], Any]:
    """What is an array in a value, as it is, and the structure around."""
    leaves: list[Any] = []

    def place(x: Any) -> Any:
        if not is_array(x):
            return x
        leaves.append(x)
        return _Place(len(leaves) - 1)

    return leaves, _mapped(place, value)


def _mapped(function: Callable[[Any], Any], value: Any) -> Any:
    """A value with what a function makes of each part in the lists, tuples and dicts that it is made of."""
    if isinstance(value, (list, tuple)) and not _is_numbers(value):
        parts = [_mapped(function, x) for x in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if isinstance(value, dict):
        return {key: _mapped(function, x) for key, x in value.items()}
    return function(value)


def structure_key(structure: Any) -> Any:
    """A structure as a key of a dict; objects in it are told apart by their own ==.

    Raises:
        TypeError: an object that cannot be a key.
    """
    if isinstance(structure, (list, tuple)):
        return type(structure), *map(structure_key, structure)
    if isinstance(structure, dict):
        return dict, *((key, structure_key(x)) for key, x in structure.items())
    try:
        hash(structure)
    except TypeError:
        kind = type(structure).__name__
        raise TypeError(f"a program's input: a {kind} is no array, and changes unnoticed; pass its arrays") from None
    return type(structure), structure


@dataclass(frozen=True)
class _Place:
    number: int


def is_array(x: Any) -> bool:
    """Whether a part of the inputs is an array to the trace, and not an object that is passed on."""
    return isinstance(x, (Tensor, np.ndarray, np.generic, float)) or _is_numbers(x)


def _is_numbers(x: Any) -> bool:
    """Whether a list, or a list of lists, holds numbers alone."""
    return type(x) is list and bool(x) and all(isinstance(y, (int, float)) or _is_numbers(y) for y in x)


def _input_names(function: Callable, inputs: tuple) -> tuple[str, ...]:
    """xs, Y, ... as the function has it; with a number after it for a part."""
    try:
        names = [p.name for p in inspect.signature(function).parameters.values()]
    except (TypeError, ValueError):
        names = []
    names += [f"input_{i}" for i in range(len(names) + 1, len(inputs) + 1)]
    found = []
    for name, value in zip(names, inputs, strict=False):
        parts = len(_taken_apart(value)[0])
        found += [name] if is_array(value) else [f"{name}_{i}" for i in range(1, parts + 1)]
    return tuple(found)


def _check_loss(name: str, loss: Any) -> None:
    if not isinstance(loss, Tensor):
        raise TypeError(f"compile({name}): it returns its loss, a scalar Tensor, not a {type(loss).__name__}")
    if loss.size != 1:
        raise ValueError(f"compile({name}): its loss is {describe(loss)}, no scalar; reduce it, as by .sum()")
    if not loss.requires_grad:
        raise ValueError(f"compile({name}): its loss depends on nothing that requires a gradient")
