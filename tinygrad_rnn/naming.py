"""Names: `label` gives them to Tensors, and recorded gradients get theirs; and the time steps that states come from."""

from __future__ import annotations

import operator

from tinygrad_rnn import checks
from tinygrad_rnn.tensor import Tensor


def label(tensor: Tensor, name: str, step: int | None = None) -> Tensor:
    """Name a Tensor, and say which time step it belongs to if `step` is given; returns the Tensor itself.

    Diagrams draw the named Tensors as variables, and fold the unnamed ones between them into edges.

    Raises:
        TypeError: not a Tensor, a name that is not a string, or a step that is not an integer.
        ValueError: an empty name.

    >>> z = tg.label(tg.tanh(tg.Tensor(0.5, requires_grad=True)), "z", step=1)
    >>> z.name, z.step
    ('z', 1)
    """
    checks.instance("label(tensor, name)", tensor, Tensor)
    name = checks.name(name)
    if step is not None:
        tensor.step = operator.index(step)
    tensor.name = name
    return tensor


def last_step(node: Tensor) -> int:
    """The time step that a Tensor comes from: its own, or the latest among the nodes it was made of; 0 if none has one.

    A state that was changed between two calls of a cell (masked, scaled, ...) goes on counting where it came from.
    """
    latest, seen, waiting = 0, {node}, [node]
    for x in waiting:  # which grows as it goes
        if x.step is not None:
            latest = max(latest, x.step)
            continue
        new = [y for y in x.inputs if y not in seen]
        seen.update(new)
        waiting.extend(new)
    return latest


class GradientName(str):
    """The name of a recorded gradient: dh, `of` what is called h, and was `born` with that number."""

    of: str
    born: int | None

    def __new__(cls, of: str, born: int | None = None) -> GradientName:
        """The name d`of`."""
        name = super().__new__(cls, f"d{of}")
        name.of, name.born = of, born
        return name

    def __getnewargs__(self) -> tuple[str]:
        """The argument that a copy is made with; a copy belongs to no graph, so it has no number."""
        return (self.of,)


def name_gradient(g: Tensor, node: Tensor) -> None:
    """Call the recorded gradient of a variable h dh, so that a graph of gradients can be read."""
    if node.name is not None and g.name is None and g.primitive is not None:
        g.name, g.step, g.layer = GradientName(node.name, node.born), node.step, node.layer
