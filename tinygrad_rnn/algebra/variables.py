"""A recorded graph at the level of its variables: what each is made of, and the paths that lie folded in between.

Level "primitives" keeps every node. Level "named" keeps the variables, as Figs. 7-5 and 7-6 of interdb do: what has a
name, and the leaves that require a gradient. The nameless primitives between two variables are folded into a `Use`.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from tinygrad_rnn.algebra.formulas import Hop, Path, hands_on
from tinygrad_rnn.algebra.notation import Notation
from tinygrad_rnn.tensor import Tensor, reached

_MOST_PATHS = 4  # between two variables are written out, at most so many,
_LONGEST_PATH = 16  # of at most so many primitives each that have a derivative other than 1,
_LONGEST_SUM = 2000  # and so many in all


class Use(NamedTuple):
    """One variable in the making of another: the paths between them, and the primitives that it goes into, last first.

    `paths` is None where they are too many to be written. `weights` are the parameters that the source is multiplied by
    on its way, where these are no variables of their own.
    """

    source: Tensor
    paths: list[Path] | None
    users: list[Tensor]
    weights: Sequence[Tensor] = ()


def time_steps(order: Sequence[Any]) -> dict[Any, Any]:
    """The time step of every node: its own; or that of the first step it goes into; or the latest it was made of."""
    step = {node: node.step for node in order}
    for node in reversed(order):
        if step[node] is not None:
            for x in node.inputs:
                if x.step is None:
                    step[x] = step[node] if step[x] is None else min(step[x], step[node])
    for node in order:
        if step[node] is None:
            step[node] = max((step[x] for x in node.inputs if step[x] is not None), default=None)
    return step


def variables(order: Sequence[Tensor], notation: Notation) -> set[Tensor]:
    """The nodes that level "named" keeps, of a graph in topological order, its output last."""
    return {n for n in order if n is order[-1] or notation.writes(n) or (n.is_leaf and n.requires_grad)}


def fold(order: Sequence[Tensor], kept: Collection[Tensor]) -> dict[Tensor, list[Use]]:
    """The uses of variables in every kept Tensor, in the order in which its expression reads: W x + U h + b."""
    position = {n: i for i, n in enumerate(order)}
    return {target: _uses(target, kept, position) for target in order if target in kept}


def inside(node: Tensor, ends: Callable[[Tensor], bool]) -> list[Tensor]:
    """A node and what lies between it and the ends of its expression."""
    found = reached([node], lambda x: x is node or not ends(x))
    return [x for x in found if x is node or not ends(x)]


def _uses(target: Tensor, kept: Collection[Tensor], position: dict[Tensor, int]) -> list[Use]:
    """Folded nodes are visited latest first, so that all paths to a node are known before they are followed on."""
    paths: dict[Tensor, list[Path] | None] = {target: [()]}
    users: dict[Tensor, list[Tensor]] = {}
    folded = inside(target, lambda x: x in kept or x.is_leaf or x not in position)
    for node in sorted(folded, key=position.get, reverse=True):
        for i, x in enumerate(node.inputs):
            if x in position and (x in kept or not x.is_leaf):  # a constant is written inside the label
                users.setdefault(x, []).append(node)
                paths[x] = _extended(paths.get(x, []), paths[node], (node, i))
    found = [Use(x, paths[x], of) for x, of in users.items() if x in kept]
    return sorted(found, key=lambda use: position[use.users[0]])


def _extended(known: list[Path] | None, through: list[Path] | None, hop: Hop) -> list[Path] | None:
    """The paths known so far and those through one more primitive; None once there are more than can be written."""
    if known is None or through is None or len(known) + len(through) > _MOST_PATHS:
        return None
    new: list[Path] = [(*path, hop) for path in through]
    counts = _counts(hop)
    long = any(len(path) > _LONGEST_SUM or (counts and sum(map(_counts, path)) > _LONGEST_PATH) for path in new)
    return None if long else known + new


def _counts(hop: Hop) -> bool:
    return not hands_on(hop[0].primitive, hop[1])
