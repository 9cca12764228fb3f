"""Hooks: functions that the reverse sweep shows the gradient of a Tensor, and that may change it there.

for h in hs:  # the remedy of Module 5: in each time step, a gradient above the threshold is normalised
    h.register_hook(lambda g: g * np.minimum(1.0, threshold / g.norm()))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tinygrad_rnn import checks
from tinygrad_rnn.descriptions import describe
from tinygrad_rnn.errors import ShapeError
from tinygrad_rnn.observer import leaves_the_graph
from tinygrad_rnn.tensor import Tensor, as_tensor

Hook = Callable[[Tensor], Any]

hooked: set[int] = set()  # the numbers of the Tensors that have hooks: as long as there is none, no sweep asks further


class Hooks(list[Hook]):
    """The hooks of the Tensor that was born with a number, in order."""

    def __init__(self, born: int):
        super().__init__()
        self.born = born

    def __del__(self) -> None:
        hooked.discard(self.born)


class Handle:
    """What `register_hook` returns: by `remove()` the Tensor has the hook no more."""

    def __init__(self, hooks: Hooks, hook: Hook):
        self._hooks, self._hook = hooks, hook

    def remove(self) -> None:
        """Take the hook off; where that is done, do nothing."""
        if self._hook in self._hooks:
            self._hooks.remove(self._hook)
        if not self._hooks:
            hooked.discard(self._hooks.born)


def register_hook(self: Tensor, hook: Hook) -> Handle:
    """Have a function called with the gradient of this Tensor whenever it is complete in a reverse sweep.

    The gradient is a Tensor. What the function returns, of the same shape, goes on in its place: back to what this was
    made of, or into `.grad`; None changes nothing. Where the gradient is recorded, as by `grad(create_graph=True)` and
    in a program, so is what is made of it. Figures mark the Tensor; the derivatives on their edges are as without.

    Returns:
        An object whose `remove()` takes the hook off.

    Raises:
        TypeError: it is no function. ValueError: the Tensor requires no gradient.
    """
    checks.instance("register_hook(hook)", hook, Callable, "a function of the gradient")
    if not self.requires_grad:
        raise ValueError(f"register_hook(hook): {describe(self)} does not require a gradient")
    if not hasattr(self, "hooks"):
        self.hooks = Hooks(self.born)
    self.hooks.append(hook)
    hooked.add(self.born)
    return Handle(self.hooks, hook)


Tensor.register_hook = register_hook


def changed_by_hooks(node: Tensor, g: Any) -> Any:
    """The cotangent of a node that has hooks, as they leave it: an array or a Tensor, like g.

    Raises:
        ShapeError: a hook returns one of another shape. ValueError: there is a cotangent for each of several outputs.
    """
    if not isinstance(g, (Tensor, np.ndarray, np.generic)):
        refuse_hooks("several gradients side by side", [node])
    for hook in tuple(node.hooks):
        changed = hook(as_tensor(g))
        if changed is None:
            leaves_the_graph("a hook that returns nothing", "return the gradient, or remove() the hook")
            continue
        changed = as_tensor(changed)
        if changed.shape != g.shape:
            raise ShapeError(f"the hook of {describe(node)} returns a gradient of shape {changed.shape}")
        changed = changed.astype(node.dtype) if changed.dtype != node.dtype else changed
        g = changed if isinstance(g, Tensor) else changed.value
    return g


def refuse_hooks(call: str, nodes: Iterable[Tensor]) -> None:
    """Raise a ValueError if one of these has hooks, which a call does not follow."""
    for x in nodes:
        if x.born in hooked:
            raise ValueError(f"{call}: {describe(x)} has a hook, which may change its gradient; remove() it")
