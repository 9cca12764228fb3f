"""compile: what a function computes, or its loss and gradients, as a program that makes no Tensor."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, Generic, TypedDict, TypeVar, overload

import numpy as np

from tinygrad_rnn.checks import instance
from tinygrad_rnn.context import recording, temporarily
from tinygrad_rnn.descriptions import warn_of_lost_gradient
from tinygrad_rnn.errors import ShapeError
from tinygrad_rnn.files import write_file
from tinygrad_rnn.observer import leaves_the_graph
from tinygrad_rnn.program.containers import flattened, is_array, rebuilt, structure_key
from tinygrad_rnn.program.graph import Graph
from tinygrad_rnn.program.kernel import Kernel, buffered, flat
from tinygrad_rnn.program.passes import PASSES
from tinygrad_rnn.program.source import written
from tinygrad_rnn.program.tracing import Trace, inputs_among, name_of, parameters_of, recorded, trace
from tinygrad_rnn.tensor import Tensor, bare

if TYPE_CHECKING:
    from typing_extensions import Unpack

Result = TypeVar("Result")  # of a call
Gradients = tuple[float, list[np.ndarray]]  # with their loss
Many = tuple | list | dict
How = TypedDict("How", {"optimize": bool, "retrace": bool, "copy": bool}, total=False)  # noqa: UP013

_value = operator.attrgetter("value")
_KEPT = 8  # traces, of as many kinds of inputs; the one that has not been used for longest is forgotten first


@dataclass(frozen=True, eq=False)
class Pass:
    """One pass over a program: its name, the number of nodes `before` and `after`, and the graph it has made."""

    name: str
    before: int
    after: int
    graph: Graph
    _trace: Trace

    def tensors(self) -> list[Tensor]:
        """The outputs as Tensors of this graph, on the example inputs: to be drawn, as any others."""
        return recorded(self._trace, self.graph)

    def __repr__(self) -> str:
        return f"Pass({self.name}: {self.before} -> {self.after} nodes)"


class _Traced:
    """A trace and what runs in its place."""

    def __init__(self, key: Any, of: Trace, optimize: bool, copy: bool):
        self.key, self.trace, self.passes, graph = key, of, [], of.graph
        for step in PASSES if optimize else ():
            before, graph = len(graph.nodes), step(graph)
            self.passes.append(Pass(step.__name__, before, len(graph.nodes), graph, of))
        gradients = range(1 if copy else 1 + len(of.wrt))  # what a state becomes may be the next call's input
        self.kernel: Kernel = buffered(graph, gradients if of.wrt else ()) if optimize else flat(graph)
        dtypes = [x.dtype for x in of.graph.inputs]
        self.casts = dtypes if dtypes != [dtype for _, dtype in key[1:]] else []

    def fits(self, key: Any) -> bool:
        """Whether it is of such inputs, and of what stands around, parameters and their dtypes too."""
        return self.key == key and self.trace.surroundings.unchanged()

    def run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The outputs; arrays of a type that Tensors do not have count as the type that these have become."""
        if self.casts:
            arrays = map(np.asarray, arrays, self.casts)
        return self.kernel.run(*arrays, *map(_value, self.trace.parameters))


class Program(Generic[Result]):
    """A compiled function, to be called with arrays of the shapes of the examples or of others:

        loss, gradients = program(xs, targets)

    The loss is a float, the gradients are arrays in the order of `wrt`, which are the caller's own. If the function
    returns a tuple, a loss and other things, these follow as arrays: `loss, gradients, state = program(xs, targets)`.
    Without `wrt` a call returns what the function returns, with arrays in place of Tensors: `hs, state = program(xs)`.
    Parameters, and other Tensors that the function reads and that were there before, are read at each call.

    Calls from several threads wait for each other. An array that another thread changes during a call is read as it is
    when its turn comes.
    """

    def __init__(
        self, function: Callable, examples: tuple, wrt: Sequence[Tensor], optimize: bool, retrace: bool, copy: bool
    ):
        self._function, self._wrt = function, wrt
        self._optimize, self._retrace, self._copy = optimize, retrace, copy
        self._lock = RLock()
        self._traced: list[_Traced] = []  # the one that was used last comes last
        self._of = inputs_among(name_of(function), wrt, examples)
        self._first = self._newly_traced(_arrays_and_key(examples)[1], examples)

    def __call__(self, *inputs: Any) -> Result:
        """The loss, the gradients, and what else the function returns; without `wrt`, what the function returns.

        Raises:
            ShapeError: other shapes or dtypes than the examples', or another value that decides, with retrace=False.
        """
        leaves_the_graph("a program", "call the function that it is made of")
        (arrays, key), differs = _arrays_and_key(inputs), None
        with self._lock:
            for traced in reversed(self._traced):
                if traced.fits(key):
                    try:
                        results = traced.run(arrays)
                        break
                    except (ValueError, IndexError) as error:
                        differs = error  # the function, run again, says the same or does otherwise
            else:
                with temporarily(recording, True):  # inside no_grad() too, where only its loss may be wanted
                    traced = self._newly_traced(key, inputs, differs)
                results = traced.run(arrays)
            self._traced.remove(traced)
            self._traced.append(traced)
            returned, count = traced.trace.returned, len(self._wrt)
            if not count:
                return rebuilt(returned, results)
            loss = results.pop(0).item()
            return (loss, results[:count], *rebuilt(returned, results[count:])) if returned else (loss, results)  # type: ignore[return-value]

    def backward(self: Program[Any], *inputs: Any) -> Any:
        """Add the gradients to `.grad` of what they are of; return the loss, and what else the function returns.

        Raises:
            ValueError: there are no gradients, since the function was compiled without `wrt`.
        """
        if not self._wrt:
            raise ValueError(f"program of {name_of(self._function)}: it has no gradients; compile(..., wrt=parameters)")
        with self._lock:
            loss, gradients, *extra = self(*inputs)
            for p, gradient in dict(zip(self._wrt, gradients, strict=True)).items():
                if p.requires_grad:  # unless it has been frozen since
                    p.grad = np.array(gradient) if p.grad is None else p.grad + gradient
            return (loss, *extra) if extra else loss

    @property
    def passes(self) -> list[Pass]:
        """The passes over the graph of the examples, in order."""
        return list(self._first.passes)

    @property
    def source(self) -> str:
        """Backpropagation through time as one would write it by hand: a line a variable, grouped by time step."""
        return self.code()

    @property
    def kernel(self) -> str:
        """The function that runs: one call of NumPy a line, each with the array for its result."""
        return self._first.kernel.text

    def code(self, rolled: bool = False, level: str = "named") -> str:
        """The program as the text of a Python module that needs NumPy alone and computes what the engine does.

        Args:
            rolled: with loops over the time steps, where steps are alike.
            level: "named", a line for each variable; or "primitives", a line for each node.

        Raises:
            ValueError: an unknown level, or a primitive that is not in the table.
        """
        return written(self._first.trace, rolled, level)

    def save(self, path: str | Path, rolled: bool = False, level: str = "named") -> None:
        """Write `code` to a file, such as bptt.py, whole or not at all."""
        write_file(path, self.code(rolled, level).encode())

    def __repr__(self) -> str:
        graph = self._first.trace.graph
        shapes = ", ".join(map(str, (x.shape for x in graph.inputs)))
        return f"Program({name_of(self._function)} of {shapes}: {len(graph.nodes)} nodes)"

    def _newly_traced(self, key: Any, inputs: tuple, differs: Exception | None = None) -> _Traced:
        if self._traced and not self._retrace:
            raise ShapeError(
                f"program of {name_of(self._function)}: compiled for {_described(self._first.key)}, called with "
                f"{_described(key)}, or something has changed around the function, or with "
                f"{differs or 'parameters of another dtype'}; retrace=False forbids another trace"
            ) from differs
        made = _Traced(key, trace(self._function, inputs, self._of), self._optimize, self._copy)
        self._traced = [*self._traced[1 - _KEPT :], made]
        return made


@overload
def compile(function: Callable[..., Tensor], *examples: Any, **how: Unpack[How]) -> Program[np.ndarray]: ...
@overload
def compile(function: Callable[..., Tensor], *examples: Any, wrt: Any, **how: Unpack[How]) -> Program[Gradients]: ...
@overload
def compile(function: Callable[..., Many], *examples: Any, wrt: Any = None, **how: Unpack[How]) -> Program[Any]: ...
def compile(
    function: Callable, *examples: Any, wrt: Any = None, optimize: bool = True, retrace: bool = True, copy: bool = True
) -> Program:
    """What a function computes, its gradients too if wanted, as a program: NumPy calls in turn, and no Tensors.

        program = tg.compile(lambda xs, Y: half_squared_error(readout(rnn(xs)[0][-1]), Y), xs, Y, wrt=parameters)
        loss, gradients = program(xs, Y)
        print(program.source)
        predict = tg.compile(lambda xs: readout(rnn(xs)[0][-1]), xs)
        y = predict(xs)

    The function is run on the examples, and everything it does with Tensors is recorded, the gradients too. The program
    does the same with other inputs; an index that is an input is read at each call. Where a value is read out, by an
    `if`, `float()`, `.item()`, `print`, each call checks that it is the same, and else traces the function again before
    it returns anything; so it does where something around the function has changed: a variable of its closure, a global
    or a default, what lists, dicts and arrays there hold, an attribute or a parameter of a net. A number that is read
    out is another nearly always: of these there is a warning that names the line. (What cannot be seen there, such as
    collections of more than 100 things, is listed in `program.surroundings`.) What makes no nodes is refused inside:
    `checkpoint`, `backward()`, `grad` without its graph, another program; and so is what is not the same each time,
    since it draws random numbers, counts, or asks for the time.

    Args:
        function: takes the inputs as Tensors and returns, with `wrt`, a scalar Tensor, or a tuple of one and other
            things; without, a Tensor, or lists, tuples and dicts with some.
        examples: arrays or Tensors, or lists, tuples and dicts of them; a list of numbers is an array. Other objects
            are passed on as they are; where a call has another one, or other shapes or dtypes, the function is traced
            again, and the last 8 traces are kept. What the function itself checks, it checks when it is traced.
        wrt: what the gradients are of: leaves that require a gradient, or a module. Where the loss does not depend on
            one, its gradient is zero. An example that is among them stands for that input. Without it the program
            computes no gradients, and returns what the function returns.
        optimize: with the passes of `program.passes`, which change results by rounding only; without, bit for bit what
            the engine computes.
        retrace: whether other shapes, dtypes, values that are read out and surroundings are traced; otherwise they are
            refused.
        copy: whether gradients are the caller's own; otherwise the next call overwrites them.

    Raises:
        ValueError: with `wrt`, the function returns no scalar, or its loss requires no gradient; it is not the same
            when run twice; `wrt` is empty or holds what is no such leaf.
        TypeError: it returns no Tensor, or does what is no part of a graph.
    """
    for name, flag in (("optimize", optimize), ("retrace", retrace), ("copy", copy)):
        instance(f"compile({name}={flag!r})", flag, bool, "True or False")
    of = [] if wrt is None else parameters_of(name_of(function), wrt)
    return Program(function, examples, of, optimize, retrace, copy)


def _arrays_and_key(inputs: tuple) -> tuple[Sequence[np.ndarray], Any]:
    """The arrays of a call; and its structure, None where it is arrays alone, with their shapes and dtypes."""
    arrays, structure = inputs, None
    if any([type(x) is not np.ndarray for x in inputs]):
        leaves, found = flattened(inputs)
        for node in leaves:
            if isinstance(node, Tensor) and not node.is_leaf:
                warn_of_lost_gradient(node, "is an input of a program", "write .detach() if that is meant")
        arrays = [np.asarray(bare(x)) for x in leaves]
        structure = None if all(map(is_array, inputs)) else structure_key(found)
    return arrays, (structure, *[(x.shape, x.dtype) for x in arrays])


def _described(key: Any) -> str:
    text = "(" + ", ".join(f"{dtype} {shape}" for shape, dtype in key[1:]) + ")"
    return text if key[0] is None else f"{text} in {key[0]}"
