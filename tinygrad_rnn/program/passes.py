"""The passes: each a function from graph to graph that computes the same with less work.

    expanded               W x + U h + b and the like become the primitives that they are made of
    constants              what depends on no input is computed once; factors 1, terms 0 and copies fall away, a sum of
                           sums is one
    common_subexpressions  what is computed twice is computed once
    sums_over_time         Σ_t a(t) ᵗx(t) becomes one product over the stacked steps, as do the sums of db and of losses
    time_batches           what is known for all steps at once, such as W x(t) for every t, is computed at once

Nodes of one *role* do the same in every step: tanh of ĥ(t), for every t. Where roles depend on each other in a circle,
as h on ĥ and ĥ on h, a step waits for the one before: that is the recurrence. All other roles can be computed for all
steps at once, on the values of the steps stacked along a new first axis.

What no output needs is left out by each. None changes a result by more than rounding.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np

from tinygrad_rnn import primitives as P
from tinygrad_rnn.algebra.notation import steps_of
from tinygrad_rnn.backward import topological_order
from tinygrad_rnn.context import temporarily
from tinygrad_rnn.observer import observer
from tinygrad_rnn.program.graph import Graph, Node, constant, depth_first, made, replaced, rewritten
from tinygrad_rnn.program.structures import key_of
from tinygrad_rnn.program.tracing import Recorder
from tinygrad_rnn.tensor import Tensor

Role = Any

_DEEP = 4  # nodes are told apart by what they are made of, so many primitives deep or down to what has a name
_LARGE = 2**16  # bytes: arrays that are larger are not stacked, since what is computed of them is still in the cache

# Expansion


def expanded(graph: Graph) -> Graph:
    """Replace composite primitives by those that they do to Tensors."""

    def rule(node: Node, inputs: tuple[Node, ...]) -> Node | None:
        if not node.primitive.is_composite:
            return None
        given = [Tensor(np.zeros(x.shape, x.dtype)) for x in inputs]
        with temporarily(observer, Recorder()):
            order = topological_order(node.primitive.forward(*given, *node.static))
        new = dict(zip(given, inputs, strict=True))
        for x in order:
            if x.primitive is not None:
                made_of = tuple([new[y] for y in x.inputs])
                new[x] = Node(x.primitive, made_of, x.static, x.shape, x.dtype, None, node.step, node.layer)
            elif x not in new:
                new[x] = constant(x.value)
        return replace(new[order[-1]], name=node.name)

    return rewritten(graph, rule)


# Constants and copies


def constants(graph: Graph) -> Graph:
    """Fold constants and drop no-ops."""
    return rewritten(graph, _simpler)


def _simpler(node: Node, inputs: tuple[Node, ...]) -> Node | None:
    if all(x.value is not None for x in inputs):
        value = np.asarray(node.primitive.forward(*[x.value for x in inputs], *node.static))
        return Node(None, (), (), value.shape, value.dtype, node.name, node.step, node.layer, None, value)
    if (kept := node.unchanged(inputs)) is not None:
        return kept
    x = inputs[0]
    if node.is_transpose and x.is_transpose:
        return x.inputs[0]
    if node.primitive.reduction and x.primitive is node.primitive and node.static == x.static == (0, False):
        return made(node.primitive, x.inputs, ((0, 1), False), node.shape, node, name=node.name)
    if (scaled := _scaled(node, inputs)) is None:
        return None
    number, x = scaled
    inner, other = _scaled(x, x.inputs) or (0.0, x)
    if all(2.0**-32 <= abs(factor) <= 2.0**32 for factor in (number, inner)):  # no overflow, in float32 neither
        number, x = number * inner, other
    return x if number == 1.0 else made(P.multiply, (constant(number, node), x), (), node.shape, node, name=node.name)


def _scaled(node: Node, inputs: Sequence[Node]) -> tuple[float, Node] | None:
    """The number and the other factor of a product with one."""
    for factor, x in (inputs, inputs[::-1]) if node.is_product else ():
        if factor.number is not None and (x.shape, x.dtype) == (node.shape, node.dtype):
            return factor.number, x
    return None


# Common subexpressions


def common_subexpressions(graph: Graph) -> Graph:
    """Merge nodes that apply the same primitive to the same inputs."""
    known: dict[Any, Node] = {}

    def same(x: Node) -> Node:
        """Equal numbers are one constant."""
        is_number = x.value is not None and x.size == 1
        return known.setdefault((x.value.tobytes(), x.dtype, x.shape), x) if is_number else x

    def rule(node: Node, inputs: tuple[Node, ...]) -> Node:
        inputs = tuple([same(x) for x in inputs])
        return known.setdefault((node.primitive, inputs, key_of(node.static)), node.on(inputs))

    return rewritten(graph, rule)


# Time


def terms_of_sums(nodes: Iterable[Node], outputs: Iterable[Node]) -> dict[Node, list[Node]]:
    """The terms of each sum, as they are added one after the other, but for nameless sums that only go into another."""
    uses = Counter([*outputs, *(x for node in nodes for x in node.inputs)])
    terms: dict[Node, list[Node]] = {}
    for node in nodes:
        if node.is_sum and (node.inputs[0].shape, node.inputs[0].dtype) == (node.shape, node.dtype):
            first, last = node.inputs
            is_inner = first in terms and first.name is None and uses[first] == 1
            terms[node] = [*(terms.pop(first) if is_inner else [first]), last]
    return terms


def sums_over_time(graph: Graph) -> Graph:
    """Merge terms of a sum that differ in the step alone into one operation, and add first what is known early."""
    role, step, sums = roles(graph), steps_of(depth_first(graph.nodes)), terms_of_sums(graph.nodes, graph.outputs)
    cycle = cycles(graph, role)
    new: dict[Node, Node] = {}
    for node in graph.nodes:
        new[node] = node.on(tuple([new.get(x, x) for x in node.inputs]))
        groups: dict[Any, list[Node]] = {}
        for x in sums.get(node, ()):
            is_alone = x.primitive is None or step[x] is None or any(map(is_large, x.inputs))
            groups.setdefault(x if is_alone else role[x], []).append(x)
        own, parts = cycle[role[node]], list[Node]()
        for group in sorted(groups.values(), key=lambda group: own is not None and cycle[role[group[0]]] == own):
            together = len({step[x] for x in group}) == len(group) > 1
            parts += [_sum(sorted(group, key=step.get), new, node)] if together else [new.get(x, x) for x in group]
        if parts:
            total = reduce(lambda x, y: made(P.add, (x, y), (), np.broadcast_shapes(x.shape, y.shape), x), parts)
            new[node] = replace(total, name=node.name, step=node.step, layer=node.layer)
    return replaced(graph, new)


def _sum(terms: list[Node], new: dict[Node, Node], node: Node) -> Node:
    """Σ_t of terms that one primitive has made, one for each step."""
    first = terms[0]
    if first.primitive.sums_rows and (not first.static or first.static[0] is P.INPUT):
        inputs = [stacked([new.get(x, x) for x in column]) for column in zip(*(x.inputs for x in terms), strict=True)]
        return replace(first, inputs=tuple(inputs), name=None, step=node.step, layer=node.layer)
    return made(P.sum_, (stacked([new.get(x, x) for x in terms]),), (0, False), first.shape, node)


def time_batches(graph: Graph) -> Graph:
    """Merge steps that do not wait for each other into one operation: W x(t), f′(ĥ(t)), a readout of h(t)."""
    role, step = roles(graph), steps_of(depth_first(graph.nodes))
    cycle = cycles(graph, role)
    free = [node for node in graph.nodes if step[node] is not None and cycle[role[node]] is None]
    groups: dict[Role, list[Node]] = {}  # of one role, in the order of their steps
    for node in sorted(free, key=step.__getitem__):
        groups.setdefault(role[node], []).append(node)
    unit = {node: r for r, nodes in groups.items() if len(nodes) > 1 for node in nodes}  # what is computed at once

    def inputs(of: Any) -> list[Any]:
        return [unit.get(x, x) for node in groups.get(of, [of]) for x in node.inputs if x.primitive is not None]

    new: dict[Node, Node] = {}
    stacks: dict[tuple[Node, ...], Node] = {}
    for of in depth_first([unit.get(node, node) for node in graph.nodes], inputs):
        nodes = groups.get(of, [of])
        whole = _batch(nodes, new, stacks) if len(nodes) > 1 else None
        for i, node in enumerate(nodes):
            if whole is not None:
                new[node] = made(P.getitem, (whole,), (i,), node.shape, node, name=node.name)
            else:
                inside = tuple([new.get(x, x) for x in node.inputs])
                new[node] = stacked(inside) if node.is_stack else node.on(inside)
    return replaced(graph, new)


# Which nodes are alike but for the step, and which wait for the step before


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
    static = {x: "element" if x.is_element else key_of(x.static) for x in graph.nodes}
    what = {x: number(x.primitive, static[x], x.shape, x.dtype) for x in graph.nodes}
    into = {x: [named(y) for y in x.inputs] for x in graph.nodes}
    role: dict[Any, Role] = dict(what)
    for _ in range(_DEEP):
        role = {x: number(what[x], *[role.get(y, y) for y in into[x]]) for x in graph.nodes}
    return role | {y: named(y) for x in graph.nodes for y in x.inputs if y.primitive is None}


def cycles(graph: Graph, role: Mapping[Node, Role]) -> dict[Role, int | None]:
    """For every role the number of the circle that it is part of, or None: strongly connected parts (Kosaraju)."""
    into, users = (defaultdict[Role, dict[Role, None]](dict) for _ in range(2))
    for node in graph.nodes:
        for x in node.inputs:
            into[role[node]][role[x]] = users[role[x]][role[node]] = None
    found: dict[Role, int | None] = {}
    for r in reversed(depth_first(role.values(), lambda r: into[r])):
        if r not in found:  # what is made of it, and has no number yet, is what it is made of, too
            part = depth_first([r], lambda r: [s for s in users[r] if s not in found])
            found.update(dict.fromkeys(part, len(found) if len(part) > 1 or r in into[r] else None))
    return found


def is_large(x: Node) -> bool:
    """True if a value is too large to gain from being stacked with others."""
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


PASSES = (expanded, constants, common_subexpressions, sums_over_time, time_batches, constants, common_subexpressions)
