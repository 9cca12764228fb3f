"""Observers: they see every value, every gradient, and whatever leaves the graph.

`detect_anomaly` is one, the trace of a program another. In a context where `observer` is set, the engine tells it what
happens; otherwise it costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from tinygrad_rnn.primitives import Primitive

if TYPE_CHECKING:
    from tinygrad_rnn.tensor import Tensor


class Observer:
    """An observer that changes nothing: the base of those that do.

    Attributes:
        traces: whether every node is kept, with its inputs, even where no gradient is wanted, tests and choices too.
    """

    traces = False

    def computed(self, primitive: Primitive, inputs: tuple[Tensor, ...], arguments: tuple) -> Any:
        """The value of a primitive: an array, or what stands for one."""
        return primitive.forward(*arguments)

    def made(self, node: Tensor, primitive: Primitive, inputs: tuple[Tensor, ...], arguments: tuple) -> None:
        """A node was made by a primitive."""

    def swept(self, terms: Callable, node: Tensor, g: Any) -> Iterable[tuple[Tensor, Any]]:
        """The terms that a node passes back to its inputs; g is its cotangent, complete. A leaf passes nothing back."""
        return terms(node, g)

    def left(self, call: str, instead: str, x: Tensor | None) -> None:
        """A call takes the value of x out of the graph, or without an x makes something else than nodes."""


observer: ContextVar[Observer | None] = ContextVar("observer", default=None)


def leaves_the_graph(call: str, instead: str = "", x: Tensor | None = None) -> None:
    """Tell the observer, if there is one, of a call that makes no nodes; `instead` says what to use in a program."""
    observing = observer.get()
    if observing is not None:
        observing.left(call, instead, x)


def tracing() -> bool:
    """Ask whether an observer keeps every node."""
    return (observer.get() or Observer).traces
