"""The computation that a page runs: how all the numbers that it shows are made, as data for its runtime."""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.resources import files
from typing import Any

import numpy as np

from tinygrad_rnn.backward import topological_order
from tinygrad_rnn.context import recording, temporarily
from tinygrad_rnn.interop import TESTS
from tinygrad_rnn.observer import observer
from tinygrad_rnn.optim import norm
from tinygrad_rnn.primitives import TABLE, filled, getitem, scatter
from tinygrad_rnn.program.tracing import Recorder
from tinygrad_rnn.tensor import Tensor, as_tensor

MOST = 4096  # elements of an array that a page shows in full
LARGEST = 65_536  # elements of all leaves of a computation that a page runs


def resource(name: str) -> str:
    """A file that the page is made of."""
    return (files("tinygrad_rnn.draw") / name).read_text(encoding="utf-8")


RUNTIME = resource("runtime.js")
_RUN = {row for row in (*TABLE.values(), *TESTS.values()) if re.search(f"^  {row.name}[:,]", RUNTIME, re.MULTILINE)}


class _Recorder(Recorder):
    """Keeps what rules do on Tensors, which must not decide by what they compute; equations may read out leaves."""

    def left(self, call: str, instead: str, x: Tensor | None) -> None:
        if x is None or not x.is_leaf:
            raise ValueError(f"a rule decides by values, in {call}")


class Computation:
    """Numbers the arrays that a page shows, and tells how they are made.

    Args:
        values: of the nodes of the graph that is drawn, as they were when it was made.
        fixed: the reason why they cannot be computed anew; then gradients are arrays, and else Tensors.
    """

    def __init__(self, values: dict[Tensor, np.ndarray], fixed: str = ""):
        self.values, self.fixed = values, fixed
        self.numbers: dict[Tensor, int] = {}

    def ones(self, x: Tensor) -> Any:
        """The cotangent of ones of a node."""
        return (np.asarray if self.fixed else Tensor)(np.ones(x.shape, x.dtype))

    def number(self, x: Any) -> int:
        """The number by which the page knows a Tensor, or an array."""
        return self.numbers.setdefault(as_tensor(x), len(self.numbers))

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """A context in which all that is done with Tensors is kept, of leaves as they were when the graph was made.

        Raises:
            ValueError: a rule has decided by values.
        """
        with ExitStack() as stack, temporarily(observer, _Recorder()), temporarily(recording, False):
            for x in (x for x in self.values if x.is_leaf):
                stack.callback(setattr, x, "value", x.value)
                x.value = self.values[x]
            yield

    def data(self) -> dict[str, Any]:
        """The computation in the order of execution, or the arrays alone, and why; and what of it is float32."""
        order = topological_order(*self.numbers)
        lacking = {x.primitive.name for x in order if not x.is_leaf and x.primitive not in _RUN}
        if lacking:
            self.fixed = f"the page cannot compute {', '.join(sorted(lacking))}"
        elif sum(x.size for x in order if x.is_leaf) > LARGEST:
            self.fixed = "the arrays are too large"
        order = list(self.numbers) if self.fixed else order
        singles = [self.number(x) for x in order if x.dtype == np.float32]
        return {"program": [self._row(x) for x in order], "singles": singles, "fixed": self.fixed}

    def _row(self, x: Tensor) -> list:
        """The number of a node, its primitive, the numbers of its inputs, static arguments; of a leaf, its elements."""
        if self.fixed or x.is_leaf:
            value = self.values.get(x, x.value)
            elements = [y if np.isfinite(y) else str(y) for y in value.ravel().tolist()]
            return [self.number(x), x.shape, norm([value]) if self.fixed and x.size > MOST else elements]
        inputs, static = [self.number(y) for y in x.inputs], x.static
        if x.primitive in (getitem, scatter):  # an index stands as the places of the elements that it selects
            shape = x.inputs[0].shape if x.primitive is getitem else static[-1]
            places = np.arange(np.prod(shape, dtype=int)).reshape(shape)
            places = places[filled(static[0], iter(x.arguments[1 : len(inputs)]))]
            static = list(places.shape), places.ravel().tolist(), *static[1:]
        return [self.number(x), x.primitive.name, inputs, *static]
