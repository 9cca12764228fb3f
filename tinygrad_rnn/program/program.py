"""compile: what a function computes, or its loss and gradients, as a program that makes no Tensor."""

from __future__ import annotations

import sys
import time
import timeit
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from itertools import chain
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, Generic, TypedDict, TypeVar, overload

import numpy as np

from tinygrad_rnn.checks import instance, whole
from tinygrad_rnn.context import recording, temporarily
from tinygrad_rnn.errors import ShapeError, warn_of_lost_gradient
from tinygrad_rnn.files import write_file
from tinygrad_rnn.observer import leaves_the_graph
from tinygrad_rnn.program.graph import Graph
from tinygrad_rnn.program.kernel import Kernels, buffered, flat
from tinygrad_rnn.program.lengths import Lengths, lengths_of
from tinygrad_rnn.program.passes import PASSES
from tinygrad_rnn.program.rolling import LENGTHS
from tinygrad_rnn.program.source import written
from tinygrad_rnn.program.structures import flattened, is_array, rebuilt
from tinygrad_rnn.program.surroundings import Surroundings
from tinygrad_rnn.program.tracing import Run, Trace, inputs_among, name_of, parameters_of, recorded
from tinygrad_rnn.tensor import Tensor, bare

if TYPE_CHECKING:
    from typing_extensions import Unpack

Result = TypeVar("Result")  # of a call
Gradients = tuple[float, list[np.ndarray]]  # with their loss
Many = tuple | list | dict
How = TypedDict("How", {"optimize": bool, "retrace": bool, "copy": bool, "keep": int}, total=False)  # noqa: UP013

_SHORT = 16  # steps that are traced wholly in less time than it takes to find a program for every length
_LONG = 2.0  # seconds, after which a compilation tells what it has done


@dataclass(frozen=True, eq=False)
class Pass:
    """One pass over a program: its name, the number of nodes `before` and `after`, and the graph it has made.

    >>> x = tg.Tensor([1.0, 2.0], requires_grad=True, name="x")
    >>> tg.compile(lambda x: (x * x).sum(), x, wrt=x).passes[0]
    Pass(expanded: 6 -> 6 nodes)
    """

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


@dataclass(frozen=True, eq=False)
class _Traced:
    """A trace that is kept: what runs in the place of a function for inputs of one kind.

    Attributes:
        key: of the inputs. dtypes: of the Tensors that are made of them, or None where these are the inputs' own.
        returned: the structure of the results.
        surroundings: what has to stand around the function as it did, parameters and their dtypes too.
        parameters: whose values each call reads.
        kernels: what runs, for n steps if it is for every length.
    """

    key: Any
    dtypes: Sequence[np.dtype] | None
    returned: Any
    surroundings: Surroundings
    parameters: Sequence[Tensor]
    kernels: Kernels
    n: int = 0

    def run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The outputs."""
        if self.dtypes is not None:
            arrays = [*map(np.asarray, arrays, self.dtypes)]
        return self.kernels.kernel(self.n).run(*arrays, *[x.value for x in self.parameters])


class Program(Generic[Result]):
    """A compiled function, to be called with arrays of the shapes of the examples or of others:

        loss, gradients = program(xs, targets)

    The loss is a float, the gradients are arrays in the order of `wrt`, which are the caller's own. If the function
    returns a tuple, a loss and other things, these follow as arrays: `loss, gradients, state = program(xs, targets)`.
    Without `wrt` a call returns what the function returns, with arrays in place of Tensors: `hs, state = program(xs)`.
    Parameters, and other Tensors that the function reads and that were there before, are read at each call.

    Calls from several threads wait for each other. An array that another thread changes during a call is read as it is
    when its turn comes.

    >>> x = tg.Tensor([1.0, 2.0], requires_grad=True, name="x")
    >>> tg.compile(lambda x: (x * x).sum(), x, wrt=x)  # doctest: +ELLIPSIS
    Program(<lambda> of (2,): 6 nodes)
        Pass(expanded: 6 -> 6 nodes)
        Pass(constants: 6 -> 3 nodes)
        ...
    """

    def __init__(self, function: Callable, examples: tuple, wrt: Sequence[Tensor], how: How):
        leaves, structure = flattened(examples)  # arrays that may be written to
        own = [Tensor(bare(x), isinstance(x, Tensor) and x.requires_grad) for x in leaves]
        self._function, self._examples, self._wrt = function, rebuilt(structure, own), wrt
        self._optimize, self._retrace, self._keep = how["optimize"], how["retrace"], how["keep"]
        # What a state becomes may be the next call's input.
        self._kept = range((1 if how["copy"] else 1 + len(wrt)) if wrt else 0)
        self._lock = RLock()
        self._traced: list[_Traced] = []  # the one that was used last comes last
        self._of = inputs_among(name_of(function), wrt, examples)
        self._has_forgotten = False
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
                if traced.key == key and traced.surroundings.unchanged():
                    try:
                        results = traced.run(arrays)
                        break
                    except (ValueError, IndexError) as error:
                        differs = error  # the function, run again, says the same or does otherwise
            else:
                with self._tracing():
                    traced = self._newly_traced(key, inputs, differs)
                results = traced.run(arrays)
            self._traced.remove(traced)
            self._traced.append(traced)
            returned, count = traced.returned, len(self._wrt)
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

    @cached_property
    def passes(self) -> list[Pass]:
        """The passes over the graph of the examples, in order; which is traced for this where it is none yet."""
        return list(self._passes(self._trace))

    @property
    def source(self) -> str:
        """Backpropagation through time as one would write it by hand: a line a variable, grouped by time step.

        Raises:
            ValueError: of a program for every length, something has changed around the function since, or a value that
                it is decided by.
        """
        return self.code()

    @property
    def kernel(self) -> str:
        """The function that runs: one call of NumPy a line, each with the array for its result; time may be a loop."""
        with self._lock:
            return self._first.kernels.kernel(self._first.n).text

    def code(self, rolled: bool = False, level: str = "named") -> str:
        """The program as the text of a Python module that needs NumPy alone and computes what the engine does.

        Args:
            rolled: with loops over the time steps, where steps are alike.
            level: "named", a line for each variable; or "primitives", a line for each node.

        Raises:
            ValueError: an unknown level, or a primitive that is not in the table.
        """
        return written(self._trace, rolled, level)

    def save(self, path: str | Path, rolled: bool = False, level: str = "named") -> None:
        """Write `code` to a file, such as bptt.py, whole or not at all."""
        write_file(path, self.code(rolled, level).encode())

    def gain_of_one_thread(self) -> float:
        """The ratio of a call's time on the examples as it is to that with one BLAS thread: above 1, one is quicker.

        Raises:
            ImportError: threadpoolctl is not installed.
        """
        seconds, limits = dict[int | None, float](), import_module("threadpoolctl").threadpool_limits
        for threads in (None, 1):  # as many as there are, and one
            with limits(threads, "blas"):
                seconds[threads] = min(timeit.repeat(lambda: self(*self._examples), number=1, repeat=9))
        return seconds[None] / seconds[1]

    def __repr__(self) -> str:
        has_loops = isinstance(self._first.kernels, Lengths)
        what = "loops over time, for every length" if has_loops else f"{len(self._trace.graph.nodes)} nodes"
        shapes = ", ".join(str(shape) for shape, _ in self._first.key[1:])
        head = f"Program({name_of(self._function)} of {shapes}: {what})"
        return "\n    ".join([head, *([] if has_loops else map(repr, self.passes))])

    def _newly_traced(self, key: Any, inputs: tuple, differs: Exception | None = None) -> _Traced:
        name = name_of(self._function)
        if self._traced and not self._retrace:
            raise ShapeError(
                f"program of {name}: compiled for {_described(self._first.key)}, called with "
                f"{_described(key)}, or something has changed around the function, or with "
                f"{differs or 'parameters of another dtype'}; retrace=False forbids another trace"
            ) from differs
        run = Run(self._function, inputs, self._of)
        surroundings = run.checked()
        known = dict.fromkeys(x.kernels for x in reversed(self._traced) if isinstance(x.kernels, Lengths))
        new = lengths_of(run, self._of, self._kept, LENGTHS[-1] if self._traced else _SHORT) if self._optimize else ()
        found = next(filter(None, (lengths.of(run) for lengths in chain(known, new))), None)
        kernels, n, parameters = found or (self._whole(run), 0, run.live)
        dtypes = [x.dtype for x in run.given]
        casts = None if dtypes == [dtype for _, dtype in key[1:]] else dtypes
        traced = _Traced(key, casts, run.returned, surroundings, parameters, kernels, n)
        kinds = [*self._traced[-999:], traced]  # of inputs; a call of a new kind looks at all
        programs = list(dict.fromkeys(x.kernels for x in reversed(kinds)))
        self._traced = [x for x in kinds if x.kernels in programs[: self._keep]]
        if len(programs) > self._keep and not self._has_forgotten:
            self._has_forgotten = True
            told = f"the {self._keep} traces that were used last are kept; compile(..., keep=...) keeps more"
            warnings.warn(f"program of {name}: {told}", stacklevel=3)
        return traced

    def _whole(self, run: Run) -> Kernels:
        """The kernel for inputs of one kind alone, of a trace after all passes."""
        started, whole = time.monotonic(), run.trace()
        graph = whole.graph
        for done in self._passes(whole):
            graph = done.graph
            if time.monotonic() - started > _LONG and sys.stderr.isatty():
                print(f"compile({name_of(self._function)}): {done}", file=sys.stderr)
        if not self._traced:
            self._trace = whole
        return Kernels(buffered([graph], self._kept) if self._optimize else flat(graph))

    @contextmanager
    def _tracing(self) -> Iterator[None]:
        """A context in which gradients are recorded, inside no_grad() too, where only a loss may be wanted.

        What has been frozen since requires a gradient in it, and is frozen again after it.
        """
        with temporarily(recording, True), ExitStack() as after:
            for p in (p for p in self._wrt if not p.requires_grad):
                after.callback(setattr, p, "requires_grad", False)
            yield

    @cached_property
    def _trace(self) -> Trace:
        """The whole trace of the examples, with which the function has to do what it did."""
        with self._lock, self._tracing():
            if self._first.surroundings.unchanged():
                with suppress(ValueError):  # a value decides otherwise
                    self._first.run(_arrays_and_key(self._examples)[0])
                    return Run(self._function, self._examples, self._of).trace()
        name = name_of(self._function)
        raise ValueError(f"program of {name}: something has changed around it; compile it again to see its source")

    def _passes(self, of: Trace) -> Iterator[Pass]:
        """The passes over the graph of a trace, one after the other."""
        graph = of.graph
        for step in PASSES if self._optimize else ():
            before, graph = len(graph.nodes), step(graph)
            yield Pass(step.__name__, before, len(graph.nodes), graph, of)


@overload
def compile(function: Callable[..., Tensor], *examples: Any, **how: Unpack[How]) -> Program[np.ndarray]: ...
@overload
def compile(function: Callable[..., Tensor], *examples: Any, wrt: Any, **how: Unpack[How]) -> Program[Gradients]: ...
@overload
def compile(function: Callable[..., Many], *examples: Any, wrt: Any = None, **how: Unpack[How]) -> Program[Any]: ...
def compile(
    function: Callable, *examples: Any, wrt: Any = None, optimize: bool = True, retrace: bool = True, copy: bool = True,
    keep: int = 8,
) -> Program:  # fmt: skip
    """Compile a function, and its gradients if wanted, into a program: NumPy calls in turn, and no Tensors.

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

    Time is a loop for the program, too: where a function does the same in every step, and inputs are long, the loop is
    found by running it on their first steps alone, and serves every length of them. A call with a new length then costs
    a run or two of the function, by which the program sees that nothing else has changed with the length, and no trace.
    Each length is traced as a whole where steps are not alike: with a list of arrays for the steps, steps along another
    axis than the first, `lengths` as an input, a constant that is another in each step, or attention over all steps
    before. Of two sequences of different lengths, one is a loop, and the other is written out step by step.

    Args:
        function: takes the inputs as Tensors and returns, with `wrt`, a scalar Tensor, or a tuple of one and other
            things; without, a Tensor, or lists, tuples and dicts with some.
        examples: arrays or Tensors, or lists, tuples and dicts of them; a list of numbers is an array. Other objects
            are passed on as they are; where a call has another one, or other shapes or dtypes, the function is traced
            again. What the function itself checks, it checks when it is traced.
        wrt: what the gradients are of: leaves that require a gradient, or a module. Where the loss does not depend on
            one, its gradient is zero. An example that is among them stands for that input. Without it the program
            computes no gradients, and returns what the function returns.
        optimize: with the passes of `program.passes`, which change results by rounding only; without, bit for bit what
            the engine computes.
        retrace: whether other shapes, dtypes, values that are read out and surroundings are traced; otherwise they are
            refused.
        copy: whether gradients are the caller's own; otherwise the next call overwrites them.
        keep: how many traces are kept; the one that has not been used for longest is forgotten for another, with a
            warning. All lengths that one program serves are one.

    Raises:
        ValueError: with `wrt`, the function returns no scalar, or its loss requires no gradient; it is not the same
            when run twice; `wrt` is empty or holds what is no such leaf.
        TypeError: it returns no Tensor, or does what is no part of a graph.

    >>> x = tg.Tensor([1.0, 2.0], requires_grad=True, name="x")
    >>> program = tg.compile(lambda x: (x * x).sum(), x, wrt=x)
    >>> program([3.0, 4.0])
    (25.0, [array([6., 8.])])
    """
    for name, flag in (("optimize", optimize), ("retrace", retrace), ("copy", copy)):
        instance(f"compile({name}={flag!r})", flag, bool, "True or False")
    of = [] if wrt is None else parameters_of(name_of(function), wrt)
    whole("compile", "keep", keep, 1)
    return Program(function, examples, of, {"optimize": optimize, "retrace": retrace, "copy": copy, "keep": keep})


def _arrays_and_key(inputs: tuple) -> tuple[Sequence[np.ndarray], Any]:
    """The arrays of a call; and its structure, None where it is arrays alone, with their shapes and dtypes."""
    arrays, structure = inputs, None
    if any([type(x) is not np.ndarray for x in inputs]):
        leaves, found = flattened(inputs)
        for node in leaves:
            if isinstance(node, Tensor) and not node.is_leaf:
                warn_of_lost_gradient(node, "is an input of a program", "write .detach() if that is meant")
        arrays = [np.asarray(bare(x)) for x in leaves]
        structure = None if all(map(is_array, inputs)) else found
    return arrays, (structure, *[(x.shape, x.dtype) for x in arrays])


def _described(key: Any) -> str:
    kinds = [f"{dtype} {shape}" for shape, dtype in key[1:]]
    return f"({', '.join(kinds)})" if key[0] is None else str(rebuilt(key[0], kinds)).replace("'", "")
