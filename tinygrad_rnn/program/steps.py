"""Time in a graph: which nodes are alike but for the step, which wait for the step before, and operations on all steps.

Nodes of one *role* do the same in every step: tanh of ĥ(t), for every t. Where roles depend on each other in a circle,
as h on ĥ and ĥ on h, a step waits for the one before: that is the recurrence. All other roles can be computed for all
steps at once, on the values of the steps stacked along a new first axis.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tinygrad_rnn import primitives as P
from tinygrad_rnn.program.containers import structure_key
from tinygrad_rnn.program.graph import Graph, Node, depth_first, made, replaced

Role = Any

_DEEP = 4  # nodes are told apart by what they are made of, so many primitives deep or down to what has a name
_LARGE = 2**16  # bytes: arrays that are larger are not stacked, since what is computed of them is still in the cache


def steps(graph: Graph) -> dict[Node, int | None]:
    """The time step of every node and leaf: its own, or else the latest of what it is made of."""
    step: dict[Node, int | None] = {}
    for node in graph.nodes:
        into = [step.setdefault(x, x.step) for x in node.inputs]
        step[node] = max((s for s in into if s is not None), default=None) if node.step is None else node.step
    return step


def roles(graph: Graph) -> dict[Node, Role]:
    """The role of every node, the same for nodes that do the same in different steps; leaves have one of their own."""
    numbers: dict[Any, int] = {}
    parameters = {*graph.parameters, *graph.inputs}

    def number(*key: Any) -> int:
        return numbers.setdefault(key, len(numbers))

    def named(x: Node) -> Role:
        """The role of what has a name, or the node."""
        return x if x.name is None or x in parameters else number(x.name, x.layer, x.shape, x.dtype)

    # Which element of a sequence is taken is no difference.
    static = {x: "element" if x.is_element else structure_key(x.static) for x in graph.nodes}
    what = {x: number(x.primitive, static[x], x.shape, x.dtype) for x in graph.nodes}
    into = {x: [named(y) for y in x.inputs] for x in graph.nodes}
    role: dict[Any, Role] = dict(what)
    for _ in range(_DEEP):
        role = {x: number(what[x], *[role.get(y, y) for y in into[x]]) for x in graph.nodes}
    return role | {y: named(y) for x in graph.nodes for y in x.inputs if y.primitive is None}


def cycles(graph: Graph, role: Mapping[Node, Role]) -> dict[Role, int | None]:
    """For every role the number of the circle that it is part of, or None: strongly connected parts (Kosaraju)."""
    into: dict[Role, dict[Role, None]] = {r: {} for r in role.values()}
    users: dict[Role, dict[Role, None]] = {r: {} for r in into}
    for node in graph.nodes:
        for x in node.inputs:
            into[role[node]][role[x]] = users[role[x]][role[node]] = None
    found: dict[Role, int | None] = {r: None for r in into if not into[r]}  # leaves
    for r in reversed(depth_first(into, into.__getitem__)):
        if r not in found:  # what is made of it, and has no number yet, is what it is made of, too
            part = depth_first([r], lambda r: [s for s in users[r] if s not in found])
            found.update(dict.fromkeys(part, len(found) if len(part) > 1 or r in into[r] else None))
    return found


def is_large(x: Node) -> bool:
    """Whether a value is too large to gain from being stacked with others."""
    return x.size * x.dtype.itemsize > _LARGE


def stacked(nodes: Sequence[Node]) -> Node:
    """The values of some nodes along a new first axis: what they are elements of, if that is so, or a stack of them."""
    first = nodes[0]
    if all(x.is_element and x.inputs == first.inputs for x in nodes):
        whole, start, stop = first.inputs[0], first.static[0], first.static[0] + len(nodes)
        if start >= 0 and [x.static[0] for x in nodes] == list(range(start, stop)):
            if stop - start == whole.shape[0]:
                return whole
            return made(P.getitem, (whole,), (slice(start, stop),), (stop - start, *whole.shape[1:]), whole, step=None)
    return made(P.stack, nodes, (0,), (len(nodes), *first.shape), first, step=None)


def batched(graph: Graph, groups: Mapping[Role, Sequence[Node]], role: Mapping[Node, Role]) -> Graph:
    """The graph with one operation for each group of nodes, of one role and in the order of their steps."""
    of_group = {node: role[node] for nodes in groups.values() for node in nodes}

    def inputs(unit: Any) -> list[Any]:
        nodes = groups.get(unit, [unit])
        return [of_group.get(x, x) for node in nodes for x in node.inputs if x.primitive is not None]

    new: dict[Node, Node] = {}
    stacks: dict[tuple[Node, ...], Node] = {}
    for unit in depth_first([of_group.get(node, node) for node in graph.nodes], inputs):
        nodes = groups.get(unit, [unit])
        whole = _batch(nodes, new, stacks) if len(nodes) > 1 else None
        for i, node in enumerate(nodes):
            if whole is not None:
                new[node] = made(P.getitem, (whole,), (i,), node.shape, node, name=node.name)
            else:
                inside = tuple([new.get(x, x) for x in node.inputs])
                new[node] = stacked(inside) if node.is_stack else node.on(inside)
    return replaced(graph, new)


def _batch(nodes: Sequence[Node], new: Mapping[Node, Node], stacks: dict[tuple[Node, ...], Node]) -> Node | None:
    """One operation that does what all the nodes do, on stacks of what they are made of; None if there is none."""
    first, primitive, count = nodes[0], nodes[0].primitive, len(nodes)
    columns = [tuple([new.get(x, x) for x in column]) for column in zip(*(node.inputs for node in nodes), strict=True)]
    shared = [all(x is column[0] for x in column) for column in columns]
    shape, static = (count, *first.shape), first.static
    if first.is_element and shared == [True]:
        whole = stacked([node.on((columns[0][0],)) for node in nodes])
        return None if whole.is_stack else whole
    if all(shared) or is_large(first):
        return None
    by_rows = primitive.by_rows and shared == [True, False] and (not static or static[0] is P.INPUT)
    if primitive.reduction is not None:
        static = (tuple([1 + a for a in P.axes_of(static[0], columns[0][0].ndim)]), static[1])
    elif primitive.is_copy and not primitive.by_element:
        static = (shape,)
    elif not (primitive.by_element or by_rows):
        return None
    different = [column for column, same in zip(columns, shared, strict=True) if not same]
    if not by_rows and any(column[0].ndim < first.ndim for column in different):
        return None  # a number in each step would be repeated along the steps
    inputs = [stacks.setdefault(x, stacked(x)) if x in different else x[0] for x in columns]
    return replace(first, inputs=tuple(inputs), static=static, shape=shape, step=None)
