"""A recorded graph at the level of its variables: what each is made of, and what lies folded in between.

Level "primitives" keeps every node. Level "named" keeps the variables, as Figs. 7-5 and 7-6 of interdb do: what has a
name, and the leaves that require a gradient. The nameless primitives between two variables are folded into a `Use`.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from tinygrad_rnn.algebra.formulas import Hop, hands_on
from tinygrad_rnn.algebra.notation import Notation
from tinygrad_rnn.tensor import Tensor, reached

_MOST_PATHS = 4  # between two variables are written out, at most so many,
_LONGEST_PATH = 16  # of at most so many primitives each that have a derivative other than 1,
_MOST_HOPS = 2000  # and so many in all


class Use(NamedTuple):
    """One variable in the making of another: the hops between them, and the primitives that it goes into, last first.

    `hops` are those of all paths, as a gradient meets them on its way back; None where the paths are too many or too
    long to be written. `weights` are the parameters that the source is multiplied by on its way, where these are no
    variables of their own.
    """

    target: Tensor
    source: Tensor
    hops: list[Hop] | None
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
    """Folded nodes are visited latest first, so that all hops to a node are known before they are followed on."""
    hops: dict[Tensor, dict[Hop, None]] = defaultdict(dict)
    paths: dict[Tensor, float] = defaultdict(float, {target: 1})
    longest = Counter[Tensor]()
    users: dict[Tensor, list[Tensor]] = {}
    folded = inside(target, lambda x: x in kept or x.is_leaf or x not in position)
    for node in sorted(folded, key=position.get, reverse=True):
        for i, x in enumerate(node.inputs):
            if node.primitive.vjps and x in position and (x in kept or not x.is_leaf):  # constants stand in the label
                users.setdefault(x, []).append(node)
                paths[x] += paths[node]
                longest[x] = max(longest[x], longest[node] + (not hands_on(node.primitive, i)))
                hops[x] |= {**hops[node], (node, i): None}
                if paths[x] > _MOST_PATHS or longest[x] > _LONGEST_PATH or len(hops[x]) > _MOST_HOPS:
                    paths[x], hops[x] = math.inf, {}

    def on_the_way_back(x: Tensor) -> list[Hop] | None:
        return sorted(hops[x], key=lambda hop: -position[hop[0]]) or None

    found = [Use(target, x, on_the_way_back(x), of) for x, of in users.items() if x in kept]
    return sorted(found, key=lambda use: position[use.users[0]])
