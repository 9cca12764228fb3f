"""What watches a function while it is traced: first on shapes, then on values."""

import contextlib
import linecache
import os
import sys
import warnings
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_rnn.backward import topological_order
from tinygrad_rnn.context import recording, temporarily
from tinygrad_rnn.descriptions import calling_line, describe
from tinygrad_rnn.observer import Observer
from tinygrad_rnn.primitives import Primitive
from tinygrad_rnn.program.graph import AS_TRACED
from tinygrad_rnn.program.steps import static_key
from tinygrad_rnn.program.surroundings import changed
from tinygrad_rnn.tensor import Tensor, record


class Choice(Tensor):
    """Booleans or whole numbers in a trace: what a comparison gives, a test or a choice, and what is made of that.

    It offers what arrays do: what a Tensor does not is done with the value, which is read out.
    """

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.numpy(), name)

    def __hash__(self) -> int:
        """That of its value in dicts and sets of the function's own; those of the package hold nodes."""
        inside = sys._getframe(1).f_globals.get("__name__", "").startswith("tinygrad_rnn.")
        return object.__hash__(self) if inside else hash(self.numpy()[()])


def _with_value(name: str) -> Callable[..., Any]:
    return lambda self, *others: getattr(self.numpy()[()], name)(*others)


for _name in ("int", "index", "floordiv", "rfloordiv", "divmod", "rdivmod", "lshift", "rshift", "round", "complex"):
    setattr(Choice, f"__{_name}__", _with_value(f"__{_name}__"))


class Recorder(Observer):
    """Keeps what was made of what, whether or not it requires a gradient."""

    traces = True

    def __init__(self) -> None:
        self.read_out: list[Tensor] = []

    def made(self, node: Tensor, primitive: Primitive, inputs: tuple[Tensor, ...], arguments: tuple) -> None:
        """Link it to its inputs."""
        node.primitive, node.inputs, node.arguments = primitive, inputs, arguments
        if node.value.dtype.kind != "f":
            node.__class__ = Choice

    def left(self, call: str, instead: str, x: Tensor | None) -> None:
        """Make a node that is x as long as it has the value that is read out now; refuse what no program can follow."""
        if x is None:
            raise TypeError(f"compile: {call} cannot be part of a program; {instead}")
        with temporarily(recording, False):
            self.read_out.append(record(AS_TRACED, (x,), x.value.copy()))


class OnShapes(Recorder):
    """Runs a function on shapes: nobody sees the values until one is read out, and most functions read none.

    Attributes:
        active: whether it does; what stands for values is NaN, or others than they are. given: the inputs, with
            their values, until these are needed. warned: the lines that were warned of.
        nodes: those made, in order. started: what is older was there before the function ran, as the inputs were.
        read_out: the nodes that stand for values which were read out.
        without_gradient: those of the nodes that require none, which a function may still ask for.
        results: what comes of a primitive on inputs of some shapes, found out once, by running it on zeros.
    """

    def __init__(self, given: Sequence[Tensor]) -> None:
        super().__init__()
        self.active = True
        self.given = {x: x.value for x in given}
        for x in given:
            x.value = x.value * np.nan if x.dtype.kind == "f" else ~x.value
        self.nodes: list[Tensor] = []
        self.without_gradient: list[Tensor] = []
        self.started = Tensor(0.0).born
        self.results: dict[Any, np.ndarray] = {}
        self.warned: set[tuple[str, int]] = set()

    def computed(self, primitive: Primitive, inputs: tuple[Tensor, ...], arguments: tuple) -> Any:
        """NaN in the shape of the result; what it is, once values are needed."""
        if not self.active:
            return primitive.forward(*arguments)
        static = arguments[len(inputs) :]
        key = primitive, static_key(static), *[(x.value.shape, x.value.dtype) for x in inputs]
        if key not in self.results:
            with np.errstate(all="ignore"):
                value = np.asarray(primitive.forward(*[np.zeros(x.shape, x.dtype) for x in inputs], *static))
            nothing = np.full((), np.nan if value.dtype.kind == "f" else 0, value.dtype)
            self.results[key] = np.ndarray(value.shape, value.dtype, nothing, strides=(0,) * value.ndim)
        return self.results[key]

    def made(self, node: Tensor, primitive: Primitive, inputs: tuple[Tensor, ...], arguments: tuple) -> None:
        """Keep it."""
        super().made(node, primitive, inputs, arguments)
        self.nodes.append(node)
        if not node.requires_grad:
            self.without_gradient.append(node)

    def left(self, call: str, instead: str, x: Tensor | None) -> None:
        """From now on, and so far, there are values; a line that reads another at each call is warned of once."""
        if self.active and x is not None:
            self.active = False
            self.show()
            _compute(self.nodes)
        super().left(call, instead, x)
        line = file, number = calling_line()
        code = linecache.getline(file, number).strip()
        if x.dtype.kind == "f" and line not in self.warned and any(y.born < self.started for y in topological_order(x)):
            self.warned.add(line)
            text = (
                f"compile: {call} of {describe(x)} is read out: where it is another, the function is traced again, "
                f"which takes long; return it beside the loss, or use tg.where: {code}"
            )
            warnings.warn_explicit(text, UserWarning, file, number)

    def show(self) -> None:
        """Give the inputs the values that they have."""
        for x, value in self.given.items():
            x.value = value
        for node in self.nodes if self.given else ():
            node.arguments = (*map(self.given.get, node.inputs, node.arguments), *node.static)
        self.given = {}

    def leave(self) -> None:
        """Give the nodes their values that the function, or what it has called, has kept."""
        self.show()
        kept = [weakref.ref(x) for x in self.nodes]
        self.nodes.clear()
        self.without_gradient.clear()
        with contextlib.suppress(ValueError, IndexError, TypeError), np.errstate(all="ignore"):
            _compute([x for x in (reference() for reference in kept) if x is not None])


def _compute(nodes: Sequence[Tensor]) -> None:
    """Run the primitives of nodes again, of the values that their inputs have by now."""
    for node in nodes:
        inputs = [before if x.is_leaf else x.value for x, before in zip(node.inputs, node.arguments, strict=False)]
        node.arguments = (*inputs, *node.static)
        node.value = np.asarray(node.primitive.forward(*node.arguments))


class OnValues(Recorder):
    """Runs a function for the second time, on values, and sees that it does what it has done the first time.

    Attributes:
        first: the nodes that the first run has made.
        numbers: of those that this one has made, by when they were born.
    """

    def __init__(self, name: str, first: Sequence[Tensor]):
        super().__init__()
        self.name, self.first = name, first
        self.numbers: dict[int, int] = {}

    def made(self, node: Tensor, primitive: Primitive, inputs: tuple[Tensor, ...], arguments: tuple) -> None:
        """Compare it with the one of the first run."""
        super().made(node, primitive, inputs, arguments)
        number = self.numbers[node.born] = len(self.numbers)
        before = self.first[number] if number < len(self.first) else None
        if (
            before is None
            or before.primitive is not primitive
            or static_key(before.static) != static_key(node.static)
            or not all(map(self.same, before.inputs, inputs, before.arguments, arguments))
        ):
            raise self.differs(node)

    def same(self, before: Tensor, x: Tensor, held: np.ndarray, holds: np.ndarray) -> bool:
        """Whether x is to this run what another Tensor was to the first; of leaves, by what they held when read."""
        if x.born in self.numbers:
            return self.first[self.numbers[x.born]] is before
        one = before is x or (before.is_leaf and x.is_leaf)
        return one and (not x.is_leaf or held is holds or np.array_equal(held, holds, equal_nan=True))

    def differs(self, at: Tensor | None = None) -> ValueError:
        """The error that tells of a difference, at a node or at the end."""
        file, line = calling_line()
        where = "" if at is None else f": see {describe(at)}, {os.path.basename(file)} line {line}"
        return changed(self.name, where)
