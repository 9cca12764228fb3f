"""Observers: they see every value, every gradient, and whatever leaves the graph.

`detect_anomaly` is one, the trace of a program another. In a context where `observer` is set, the engine tells it what
happens; otherwise it costs nothing. Tensors are built on this module, and are of any type here.

A hook sees the gradient of one Tensor, and may change it:

    for h in hs:  # the remedy of Module 5: in each time step, a gradient above the threshold is normalised
        h.register_hook(lambda g: g * np.minimum(1.0, threshold / g.norm()))
"""

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

import numpy as np

from tinygrad_rnn.checks import instance
from tinygrad_rnn.errors import ShapeError, describe
from tinygrad_rnn.primitives import Primitive


class Observer:
    """An observer that changes nothing: the base of those that do.

    Attributes:
        traces: whether every node is kept, with its inputs, even where no gradient is wanted, tests and choices too.
    """

    traces = False

    def computed(self, primitive: Primitive, inputs: tuple, arguments: tuple) -> Any:
        """The value of a primitive: an array, or what stands for one."""
        return primitive.forward(*arguments)

    def made(self, node: Any, primitive: Primitive, inputs: tuple, arguments: tuple) -> None:
        """A node was made by a primitive."""

    def swept(self, terms: Callable, node: Any, g: Any) -> Iterable[tuple]:
        """The terms that a node passes back to its inputs; g is its cotangent, complete. A leaf passes nothing back."""
        return terms(node, g)

    def left(self, call: str, instead: str, x: Any) -> None:
        """A call takes the value of x out of the graph, or without an x makes something other than nodes."""


observer: ContextVar[Observer | None] = ContextVar("observer", default=None)


def leaves_the_graph(call: str, instead: str = "", x: Any = None) -> None:
    """Tell the observer, if there is one, of a call that makes no nodes; `instead` says what to use in a program."""
    observing = observer.get()
    if observing is not None:
        observing.left(call, instead, x)


def tracing() -> bool:
    """Ask whether an observer keeps every node."""
    return (observer.get() or Observer).traces


def register_hook(x: Any, hook: Callable) -> SimpleNamespace:
    """Have a function called with the gradient of this Tensor whenever it is complete in a reverse sweep.

    The gradient is a Tensor. What the function returns, of the same shape, goes on in its place: back to what this was
    made of, or into `.grad`; None changes nothing. Where the gradient is recorded, as by `grad(create_graph=True)` and
    in a program, so is what is made of it. Figures mark the Tensor; the derivatives on their edges are as without.

    Returns:
        An object whose `remove()` takes the hook off.

    Raises:
        TypeError: it is no function. ValueError: the Tensor requires no gradient.
    """
    instance("register_hook(hook)", hook, Callable, "a function of the gradient")
    if not x.requires_grad:
        raise ValueError(f"register_hook(hook): {describe(x)} does not require a gradient")
    if x.hooks is None:
        x.hooks = {}
    hooks, key = x.hooks, object()  # one function may be there twice
    hooks[key] = hook
    return SimpleNamespace(remove=lambda: hooks.pop(key, None))


def hooks_of(x: Any) -> list[Callable]:
    """The hooks of a Tensor; a node of a program has none."""
    return [*(getattr(x, "hooks", None) or {}).values()]


def changed_by_hooks(x: Any, g: Any) -> Any:
    """The cotangent of a Tensor that has hooks, as they leave it: an array or a Tensor, like g.

    Raises:
        ShapeError: a hook returns one of another shape. ValueError: there is a cotangent for each of several outputs.
    """
    if not isinstance(g, (type(x), np.ndarray, np.generic)):
        refuse_hooks("several gradients side by side", [x])
    for hook in hooks_of(x):
        changed = hook(g if isinstance(g, type(x)) else type(x)(g))
        if changed is None:
            leaves_the_graph("a hook that returns nothing", "return the gradient, or remove() the hook")
        elif np.shape(changed) != g.shape:
            raise ShapeError(f"the hook of {describe(x)} returns a gradient of shape {np.shape(changed)}")
        else:
            changed = changed if isinstance(changed, type(x)) else type(x)(changed)
            g = changed if isinstance(g, type(x)) else changed.value
    return g


def refuse_hooks(call: str, xs: Iterable) -> None:
    """Raise a ValueError if one of these has hooks, which a call does not follow."""
    if found := [x for x in xs if hooks_of(x)]:
        raise ValueError(f"{call}: {describe(found[0])} has a hook, which may change its gradient; remove() it")
