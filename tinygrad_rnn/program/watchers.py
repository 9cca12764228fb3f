"""The observers of a function while it is traced: of its first run and its gradients, and of its second run."""

import linecache
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from types import FrameType
from typing import Any

import numpy as np

from tinygrad_rnn.backward import topological_order
from tinygrad_rnn.context import recording, temporarily
from tinygrad_rnn.descriptions import calling_line, describe
from tinygrad_rnn.observer import Observer, observer
from tinygrad_rnn.primitives import Primitive
from tinygrad_rnn.program.containers import structure_key
from tinygrad_rnn.program.graph import AS_TRACED
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
        alike = before.primitive is primitive and structure_key(before.static) == structure_key(node.static)
        if not (alike and all(map(self.same, before.inputs, inputs, before.arguments, arguments))):
            raise self.differs(node)

    def left(self, call: str, instead: str, x: Tensor | None) -> None:
        """Show the value."""
        if x in self.before:
            x.value = self.before[x].value
        super().left(call, instead, x)

    def same(self, before: Tensor, x: Tensor, held: np.ndarray, holds: np.ndarray) -> bool:
        """Whether x is to this run what another Tensor was to the first; of leaves, by what they held when read."""
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
