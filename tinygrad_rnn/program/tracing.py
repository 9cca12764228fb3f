"""What a function computes, or its loss and gradients, as a graph: the function is run, and all it does is kept.

It is run twice, and must do the same both times; then gradients are found, where they are wanted. A trace holds all
that was done with Tensors. A value that was read out may have decided about that: which way an `if` went, how often a
loop ran. So each is a guard of the graph: a call in which it is another is none of this trace. What else may decide
stands around the function, and is looked at before each call.
"""

import contextlib
import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_rnn.backward import grad, sweep, topological_order
from tinygrad_rnn.checks import instance
from tinygrad_rnn.context import recording, temporarily
from tinygrad_rnn.descriptions import describe
from tinygrad_rnn.nn.module import Module
from tinygrad_rnn.observer import hooks_of, leaves_the_graph, observer
from tinygrad_rnn.program.containers import flattened, is_array, rebuilt
from tinygrad_rnn.program.graph import Graph, Node, depth_first
from tinygrad_rnn.program.surroundings import Surroundings
from tinygrad_rnn.program.watchers import Recorder, SecondRun
from tinygrad_rnn.tensor import Tensor, as_tensor, bare, record


@dataclass(frozen=True, eq=False)
class Trace:
    """A function's graph, and what belongs to its leaves.

    Attributes:
        graph: its outputs are the loss, the gradients, and the arrays of what else the function returns.
        parameters: the Tensors whose values the graph's parameters are read from at each call.
        places: where the graph's inputs stand: the name of an argument, and the number of one in a list, from 1.
        wrt_names, wrt: what the gradients are of, and its leaves; nothing where only results are wanted.
        returned: what the function returns, but for a loss, as `containers.flattened` has it.
        examples: the inputs that the function was run on.
        hooked: the numbers with which those nodes were born whose gradients a hook may have changed.
    """

    graph: Graph
    parameters: tuple[Tensor, ...]
    places: tuple[tuple[str, int | None], ...]
    wrt_names: tuple[str, ...]
    wrt: tuple[Node, ...]
    returned: Any
    examples: tuple[np.ndarray, ...]
    hooked: frozenset[int]


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
                raise ValueError(
                    f"compile({self.name}): its loss is {describe(loss)}, no scalar; reduce it, as by .sum()"
                )
            if not loss.requires_grad:
                raise ValueError(f"compile({self.name}): its loss depends on nothing that requires a gradient")
            losses, result = [loss], tuple(others)
        arrays, returned = flattened(result)
        if not any(isinstance(x, Tensor) for x in [*losses, *arrays]):
            raise TypeError(f"compile({self.name}): it returns no Tensor, but {result!r}")
        return [*losses, *map(as_tensor, arrays)], returned

    def checked(self) -> Surroundings:
        """What the function has found around it, once it has done the same a second time.

        Raises:
            ValueError: it is not the same each time.
        """
        surroundings = Surroundings(self.function, self.structure)
        SecondRun(self.name, self.first).check(self.run, self.given, self.outputs)
        live = self.live  # of which a program takes the dtypes and the hooks for granted
        surroundings.settle(self.name, lambda: [x for p in live for x in (p.value.dtype, *hooks_of(p))])
        return surroundings

    def results(self) -> list[np.ndarray]:
        """What a program of it gives: the loss, the gradients, and what else is returned."""
        results = [x.value for x in self.outputs]
        if self.wrt:
            with temporarily(observer, self.first), np.errstate(all="ignore"):
                found = {x: g for x, g in sweep({self.outputs[0]: np.ones_like(results[0])}) if x.is_leaf}
            results[1:1] = [found.get(p, np.zeros_like(p.value)) for p in self.wrt]
        return results

    def graph(self, further: Sequence[Tensor] = ()) -> tuple[Graph, tuple[Node, ...]]:
        """The graph of the outputs and the gradients, and the leaves of `wrt`.

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
        graph = Graph(*(tuple([new[x] for x in some]) for some in (made, outputs, self.given, live, guards)))
        return graph, tuple(new[p] for p in self.wrt)

    def trace(self) -> Trace:
        """Its graph, and what belongs to it."""
        graph, of_wrt = self.graph()
        places = _places(self.function, rebuilt(self.structure, self.given))
        names = dict(zip(self.given, _names(places), strict=True))
        wrt_names = tuple(str(p.name or names.get(p, f"parameter {i}")) for i, p in enumerate(self.wrt, 1))
        examples = tuple(x.value for x in self.given)
        hooked = frozenset(x.born for x in (*self.first.nodes, *self.wrt) if hooks_of(x))
        return Trace(graph, tuple(self.live), places, wrt_names, of_wrt, self.returned, examples, hooked)


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


def parameters_of(name: str, wrt: Any) -> list[Tensor]:
    """The leaves that gradients are wanted of, checked: the parameters of a module, one leaf, or several."""
    call = f"compile({name}, wrt=...)"
    if isinstance(wrt, Module):
        wrt = [p for p in wrt.parameters() if p.requires_grad]
    elif isinstance(wrt, Tensor):
        wrt = [wrt]
    wrt = list(instance(call, wrt, Iterable, "a list of parameters, such as net.parameters(),"))
    if not wrt:
        raise ValueError(f"{call}: empty; pass the parameters, such as net.parameters()")
    for p in wrt:
        if not instance(call, p, Tensor, "a parameter, as of net.parameters(),").is_leaf or not p.requires_grad:
            raise ValueError(f"{call}: {describe(p)} is no leaf that requires a gradient")
    return wrt


def inputs_among(name: str, wrt: Sequence[Any], examples: tuple) -> list[Any]:
    """The leaves that gradients are wanted of, with the number of the input in place of an example."""
    leaves, _ = flattened(examples)
    places = {x: [i for i, y in enumerate(leaves) if y is x] for x in leaves if isinstance(x, Tensor)}
    for x in wrt:
        if len(places.get(x, ())) > 1:
            raise ValueError(f"compile({name}, wrt=...): {describe(x)} is given as two inputs; give two Tensors")
    return [places[x][0] if x in places else x for x in wrt]


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
        if is_array(value):
            found.append((name, None))
        else:
            found += [(name, i) if is_list else (f"{name}_{i}", None) for i, _ in enumerate(flattened(value)[0], 1)]
    return tuple(found)
