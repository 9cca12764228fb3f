"""Traces: a function's results, or its loss and gradients, as a graph of all that it did when it was run.

- `Run(function, inputs, wrt)` runs it, and a `Recorder` observes; `checked` runs it again, where a `SecondRun` sees
  that it does the same; `trace` finds the gradients, where they are wanted, and gives the graph.

A value that was read out may have decided about what was done: which way an `if` went, how often a loop ran. So each is
a guard of the graph: a call in which it is another is none of this trace. What else may decide stands around the
function, and is looked at before each call.
"""

import contextlib
import inspect
import linecache
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

import numpy as np

from tinygrad_rnn.backward import grad, sweep, topological_order
from tinygrad_rnn.checks import instance
from tinygrad_rnn.context import recording, temporarily
from tinygrad_rnn.errors import calling_line, describe
from tinygrad_rnn.nn.module import Module, listed
from tinygrad_rnn.observer import Observer, hooks_of, leaves_the_graph, observer
from tinygrad_rnn.primitives import Primitive
from tinygrad_rnn.program.graph import AS_TRACED, Graph, Node, depth_first
from tinygrad_rnn.program.structures import flattened, is_array, key_of, rebuilt
from tinygrad_rnn.program.surroundings import Surroundings, changed
from tinygrad_rnn.tensor import Tensor, as_tensor, bare, record

# The observers of the first run and its gradients, and of the second run


class Choice(Tensor):
    """Booleans or whole numbers in a trace: what a comparison gives, a test or a choice, and what is made of that.

    It offers what arrays do: what a Tensor does not is done with the value, which is read out.
    """

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.numpy(), name)

    def __hash__(self) -> int:
        """The hash of its value in dicts and sets of the function's own; those of the package hold nodes."""
        inside = sys._getframe(1).f_globals.get("__name__", "").startswith("tinygrad_rnn.")
        return object.__hash__(self) if inside else hash(self.numpy()[()])


def _with_value(name: str) -> Callable[..., Any]:
    return lambda self, *others: getattr(self.numpy()[()], name)(*others)


for _name in ("int", "index", "floordiv", "rfloordiv", "divmod", "rdivmod", "lshift", "rshift", "round", "complex"):
    setattr(Choice, f"__{_name}__", _with_value(f"__{_name}__"))


class Recorder(Observer):
    """Keeps what was made of what, whether or not it requires a gradient.

    Attributes:
        nodes: those made, in order. started: what is older was there before, as the inputs of a function are.
        read_out: the nodes that stand for values which were read out.
        warned: the lines that were warned of.
    """

    traces = True

    def __init__(self) -> None:
        self.nodes: list[Tensor] = []
        self.read_out: list[Tensor] = []
        self.started = Tensor(0.0).born
        self.warned: set[tuple[str, int]] = set()

    def made(self, node: Tensor, primitive: Primitive, inputs: tuple[Tensor, ...], arguments: tuple) -> None:
        """Keep it, and link it to its inputs."""
        node.primitive, node.inputs, node.arguments = primitive, inputs, arguments
        node.is_cut = not node.requires_grad
        if node.value.dtype.kind != "f":
            node.__class__ = Choice
        self.nodes.append(node)

    def swept(self, terms: Callable, node: Tensor, g: Any) -> Iterable[tuple[Tensor, Any]]:
        """Nothing, where the engine, which has not kept what the node was made of, has a leaf."""
        return () if node.born > self.started and node.is_cut else terms(node, g)

    def left(self, call: str, instead: str, x: Tensor | None) -> None:
        """Make a node that is x as long as it has the value that is read out now; refuse what no program can follow.

        Of a line that reads another number at each call there is a warning.
        """
        if x is None:
            raise TypeError(f"compile: {call} cannot be part of a program; {instead}")
        with temporarily(recording, False):
            self.read_out.append(record(AS_TRACED, (x,), x.value.copy()))
        line = file, number = calling_line()
        if x.dtype.kind == "f" and line not in self.warned and any(y.born < self.started for y in topological_order(x)):
            self.warned.add(line)
            what = f"compile: {call} of {describe(x)} is read out: where it is another, the function is traced again"
            advice = f"return it beside the loss, or use tg.where: {linecache.getline(file, number).strip()}"
            warnings.warn_explicit(f"{what}, which takes long; {advice}", UserWarning, file, number)


class SecondRun(Recorder):
    """Sees that a function does the second time what it has done the first time.

    It shows no values but those that are read out: one that is taken unseen is another than the first time.

    Attributes:
        coming: the nodes of the first run that this one has not made yet.
        before: what stood in the first run where an input or a node stands.
    """

    def __init__(self, name: str, first: Recorder):
        super().__init__()
        self.name, self.coming, self.warned = name, iter(first.nodes), first.warned
        self.before: dict[Tensor, Tensor] = {}

    def check(self, run: Callable, given: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        """Run a function once more, and see that it makes the same of its inputs, and nothing by chance.

        Raises:
            ValueError: it does not, or asks the system for random bytes, as a generator without a seed does; this is
                not seen while a profiler runs.
        """
        again = [Tensor(_hidden(x.value), x.requires_grad) for x in given]
        self.before.update(zip(again, given, strict=True))
        asked, is_seen = [], sys.getprofile() is None

        def see(frame: FrameType, event: str, called: Any) -> None:
            if event == "c_call" and called is os.urandom:
                asked.append(called)

        try:
            if is_seen:
                sys.setprofile(see)  # of this thread alone
            with temporarily(observer, self):
                found, _ = run(again)
        finally:
            if is_seen:
                sys.setprofile(None)
            for x, before in self.before.items():  # as the function may have kept it
                x.value, x.arguments = before.value, before.arguments
        values = ([x.value for x in some] for some in (outputs, found))
        whole = next(self.coming, None) is None and len(found) == len(outputs)
        if not whole or not all(map(self.same, outputs, found, *values)):
            raise self.differs()
        if asked:
            raise changed(self.name, ", as it asks the system for random bytes")

    def computed(self, primitive: Primitive, inputs: tuple[Tensor, ...], arguments: tuple) -> Any:
        """NaN in the shape of the result, which is known."""
        self.next = next(self.coming, None)
        if self.next is None:
            raise self.differs()
        return _hidden(self.next.value)

    def made(self, node: Tensor, primitive: Primitive, inputs: tuple[Tensor, ...], arguments: tuple) -> None:
        """Compare it with the one of the first run."""
        super().made(node, primitive, inputs, arguments)
        before = self.before[node] = self.next
        alike = before.primitive is primitive and key_of(before.static) == key_of(node.static)
        if not (alike and all(map(self.same, before.inputs, inputs, before.arguments, arguments))):
            raise self.differs(node)

    def left(self, call: str, instead: str, x: Tensor | None) -> None:
        """Show the value."""
        if x in self.before:
            x.value = self.before[x].value
        super().left(call, instead, x)

    def same(self, before: Tensor, x: Tensor, held: np.ndarray, holds: np.ndarray) -> bool:
        """True if x is to this run what another Tensor was to the first; of leaves, by what they held when read."""
        if x in self.before:
            return self.before[x] is before
        one = before is x or (before.is_leaf and x.is_leaf)
        return one and (not x.is_leaf or held is holds or np.array_equal(held, holds, equal_nan=True))

    def differs(self, at: Tensor | None = None) -> ValueError:
        """The error that tells of a difference, at a node or at the end."""
        file, line = calling_line()
        where = "" if at is None else f": see {describe(at)}, {os.path.basename(file)} line {line}"
        return changed(self.name, where)


def _hidden(value: np.ndarray) -> np.ndarray:
    """NaN in the shape of a value; of whole numbers and booleans, others."""
    return np.full(value.shape, np.nan, value.dtype) if value.dtype.kind == "f" else ~value


# The graph


@dataclass(frozen=True, eq=False)
class Trace:
    """A function's graph, and what belongs to its leaves.

    Attributes:
        graph: its outputs are the loss, the gradients, and the arrays of what else the function returns.
        parameters: the Tensors whose values the graph's parameters are read from at each call.
        places: where the graph's inputs stand: the name of an argument, and the number of one in a list, from 1.
        wrt_names: what the leaves are called that the gradients are of.
        returned: what the function returns, but for a loss, as `flattened` has it.
        examples: the inputs that the function was run on.
        hooked: the numbers with which those nodes were born whose gradients a hook may have changed.
        cut: the numbers of those that no gradient goes through, such as what `detach` gives.
    """

    graph: Graph
    parameters: tuple[Tensor, ...]
    places: tuple[tuple[str, int | None], ...]
    wrt_names: tuple[str, ...]
    returned: Any
    examples: tuple[np.ndarray, ...]
    hooked: frozenset[int]
    cut: frozenset[int]


class Run:
    """A function's run on example inputs, and everything that it did.

    Args:
        of: what gradients are of: Tensors, or the numbers of inputs; without any, there is no loss.

    Attributes:
        given: the inputs. wrt: what the gradients are of. live: other leaves, which were there before.
        outputs: the loss, if there is one, and what else was returned, of which `returned` is the structure.
        first: what has recorded it. nodes: all that was made, and the leaves.

    Raises:
        TypeError, ValueError: it returns no Tensor, or no scalar one that depends on parameters where gradients are
            wanted; or it takes what was computed before.
    """

    def __init__(self, function: Callable, inputs: tuple, of: Sequence[Tensor | int] = ()):
        self.name, self.function = name_of(function), function
        instance("compile(function, ...)", function, Callable, "a function of the inputs")
        leaves_the_graph("a program", "call the function that it is made of")
        if of and not recording.get():
            raise ValueError(f"compile({self.name}): inside no_grad() no gradient is recorded")
        leaves, self.structure = flattened(inputs)
        self.given = [Tensor(bare(x), isinstance(x, Tensor) and x.requires_grad) for x in leaves]
        self.wrt = [self.given[p] if isinstance(p, int) else p for p in inputs_among(self.name, of, inputs)]
        for p in self.wrt:
            p.requires_grad = True
        self.first = Recorder()
        with temporarily(observer, self.first):
            self.outputs, self.returned = self.run(self.given)
        self.nodes, inside = topological_order(*self.outputs, *self.first.nodes), set(self.given)
        before = [x for x in self.nodes if x.born < self.first.started]
        if old := [describe(x) for x in before if not x.is_leaf]:
            raise ValueError(f"compile: {old[0]} was computed before, of values that may change; compute it inside")
        self.live = list(dict.fromkeys(x for x in [*self.wrt, *before] if x not in inside))

    def run(self, given: Sequence[Tensor]) -> tuple[list[Tensor], Any]:
        """The loss, if there is one, and the arrays of what else the function returns; and the structure of these."""
        result, losses = self.function(*rebuilt(self.structure, given)), []
        if self.wrt:
            loss, *others = result if isinstance(result, tuple) and result else (result,)
            if instance(f"compile({self.name}): its loss", loss, Tensor, "a scalar Tensor").size != 1:
                raise ValueError(f"compile({self.name}): its loss is {describe(loss)}, no scalar; reduce it, by .sum()")
            if not loss.requires_grad:
                raise ValueError(f"compile({self.name}): its loss depends on nothing that requires a gradient")
            losses, result = [loss], tuple(others)
        arrays, returned = flattened(result, key=id)  # it may hold anything
        if not any(isinstance(x, Tensor) for x in [*losses, *arrays]):
            raise TypeError(f"compile({self.name}): it returns no Tensor, but {result!r}")
        return [*losses, *map(as_tensor, arrays)], () if self.wrt and not result else returned

    def checked(self) -> Surroundings:
        """The surroundings that the function has found, once it has done the same a second time.

        Raises:
            ValueError: it is not the same each time.
        """
        surroundings = Surroundings(self.function, rebuilt(self.structure, [None] * len(self.given)))
        SecondRun(self.name, self.first).check(self.run, self.given, self.outputs)
        live = self.live  # of which a program takes the dtypes and the hooks for granted
        surroundings.settle(self.name, lambda: [x for p in live for x in (p.value.dtype, *hooks_of(p))])
        return surroundings

    def results(self) -> list[np.ndarray]:
        """The results of a program of it: the loss, the gradients, and what else is returned."""
        results = [x.value for x in self.outputs]
        if self.wrt:
            with temporarily(observer, self.first), np.errstate(all="ignore"):
                found = {x: g for x, g in sweep({self.outputs[0]: np.ones_like(results[0])}) if x.is_leaf}
            results[1:1] = [found.get(p, np.zeros_like(p.value)) for p in self.wrt]
        return results

    def graph(self, further: Sequence[Tensor] = ()) -> Graph:
        """The graph of the outputs and the gradients.

        Args:
            further: constants that are to be read at each call, as `live` is.
        """
        outputs = list(self.outputs)
        if self.wrt:
            with temporarily(observer, self.first), np.errstate(all="ignore"):
                outputs[1:1] = grad(outputs[0], self.wrt, create_graph=True)
        nodes, live = topological_order(*outputs, *self.first.nodes), dict.fromkeys([*self.live, *further])
        varying, new = {*self.given, *live}, dict[Tensor, Node]()
        varying.update(x for x in nodes if not varying.isdisjoint(x.inputs))
        for x in dict.fromkeys([*self.given, *live, *nodes]):
            value = x.value.copy() if x.primitive is None and x not in varying else None
            made_of = tuple([new[y] for y in x.inputs])
            new[x] = Node(x.primitive, made_of, x.static, x.shape, x.dtype, x.name, x.step, x.layer, x.born, value)
        made = [x for x in nodes if x.primitive is not None]
        guards = [x for x in self.first.read_out if x in varying]
        return Graph(*(tuple([new[x] for x in some]) for some in (made, outputs, self.given, live, self.wrt, guards)))

    def trace(self) -> Trace:
        """Its graph, and what belongs to it."""
        places = _places(self.function, rebuilt(self.structure, self.given))
        names = dict(zip(self.given, _names(places), strict=True))
        wrt_names = tuple(str(p.name or names.get(p, f"parameter {i}")) for i, p in enumerate(self.wrt, 1))
        examples = tuple(x.value for x in self.given)
        hooked = frozenset(x.born for x in (*self.first.nodes, *self.wrt) if hooks_of(x))
        cut = frozenset(x.born for x in self.first.nodes if x.is_cut)
        return Trace(self.graph(), tuple(self.live), places, wrt_names, self.returned, examples, hooked, cut)


def recorded(of: Trace, graph: Graph) -> list[Tensor]:
    """The outputs of a graph, made of a trace, as Tensors that were recorded on the example inputs."""
    tensors: dict[Node, Tensor] = dict(zip(graph.parameters, of.parameters, strict=True))
    for x, name, value in zip(graph.inputs, _names(of.places), of.examples, strict=True):
        tensors[x] = Tensor(value, name=name)
    with temporarily(observer, Recorder()):
        for x in depth_first(graph.outputs):
            if x not in tensors:
                made_of = tuple([tensors[y] for y in x.inputs])
                tensors[x] = record(x.primitive, made_of, *x.static) if made_of else Tensor(x.value)
                tensors[x].name, tensors[x].step, tensors[x].layer = x.name, x.step, x.layer
    return [tensors[x] for x in graph.outputs]


# What gradients are of, and how inputs are called


def parameters_of(name: str, wrt: Any) -> list[Tensor]:
    """The leaves that gradients are wanted of, checked: the parameters of a module, one leaf, or several."""
    call = f"compile({name}, wrt=...)"
    parameters = [p for p in listed(call, wrt) if p.requires_grad or not isinstance(wrt, Module)]
    if not parameters:
        raise ValueError(f"{call}: empty; pass the parameters, such as net.parameters()")
    for p in parameters:
        if not p.is_leaf or not p.requires_grad:
            raise ValueError(f"{call}: {describe(p)} is not a leaf that requires a gradient")
    return parameters


def inputs_among(name: str, wrt: Sequence[Any], examples: tuple) -> list[Any]:
    """The leaves that gradients are wanted of, with the number of the input in place of an example."""
    leaves, _ = flattened(examples)
    numbers = [*map(id, leaves)]
    for x in wrt:
        if numbers.count(id(x)) > 1:
            raise ValueError(f"compile({name}, wrt=...): {describe(x)} is given as two inputs; give two Tensors")
    return [numbers.index(id(x)) if id(x) in numbers else x for x in wrt]


def name_of(function: Callable) -> str:
    """The name of a function in error messages."""
    return getattr(function, "__name__", type(function).__name__)


def _names(places: Iterable[tuple[str, int | None]]) -> list[str]:
    """The name of each input: xs, or xs_1 for one in a list."""
    return [name if number is None else f"{name}_{number}" for name, number in places]


def _places(function: Callable, inputs: tuple) -> tuple[tuple[str, int | None], ...]:
    """The place of each array in the inputs: the name as the function has it, and a number for one in a list."""
    names, found = list[str](), list[tuple[str, int | None]]()
    with contextlib.suppress(TypeError, ValueError):
        names += inspect.signature(function).parameters
    names += [f"input_{i}" for i in range(len(names) + 1, len(inputs) + 1)]
    for name, value in zip(names, inputs, strict=False):
        is_list = isinstance(value, (list, tuple)) and all(map(is_array, value))
        numbers = range(1, len(flattened(value)[0]) + 1)
        inside = [(name, i) if is_list else (f"{name}_{i}", None) for i in numbers]
        found += [(name, None)] if is_array(value) else inside
    return tuple(found)
