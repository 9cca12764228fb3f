"""The passes: each a function from graph to graph that computes the same with less work.

    expanded               W x + U h + b and the like become the primitives that they are made of
    constants              what depends on no input is computed once; factors 1, terms 0 and copies fall away, a sum of
                           sums is one
    common_subexpressions  what is computed twice is computed once
    sums_over_time         Σ_t a(t) ᵗx(t) becomes one product over the stacked steps, as do the sums of db and of losses
    time_batches           what is known for all steps at once, such as W x(t) for every t, is computed at once

What no output needs is left out by each. None changes a result by more than rounding.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tinygrad_rnn import primitives as P
from tinygrad_rnn.backward import topological_order
from tinygrad_rnn.context import temporarily
from tinygrad_rnn.observer import observer
from tinygrad_rnn.program.containers import structure_key
from tinygrad_rnn.program.graph import Graph, Node, constant, made, replaced, rewritten
from tinygrad_rnn.program.steps import batched, cycles, is_large, roles, stacked, steps
from tinygrad_rnn.program.watchers import Recorder
from tinygrad_rnn.tensor import Tensor

# Expansion


def expanded(graph: Graph) -> Graph:
    """Replace composite primitives by those that they do to Tensors."""
    recorded: dict[Any, tuple[list[Tensor], list[Tensor]]] = {}  # the inputs and what is made of them

    def rule(node: Node, inputs: tuple[Node, ...]) -> Node | None:
        if not node.primitive.is_composite:
            return None
        key = node.primitive, structure_key(node.static), *[(x.shape, x.dtype) for x in inputs]
        if key not in recorded:
            given = [Tensor(np.zeros(x.shape, x.dtype)) for x in inputs]
            with temporarily(observer, Recorder()):
                recorded[key] = given, topological_order(node.primitive.forward(*given, *node.static))
        given, order = recorded[key]
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
    if (inner := _scaled(x, x.inputs)) is not None and _is_moderate(number) and _is_moderate(inner[0]):
        number, x = number * inner[0], inner[1]
    return x if number == 1.0 else made(P.multiply, (constant(number, node), x), (), node.shape, node, name=node.name)


def _scaled(node: Node, inputs: Sequence[Node]) -> tuple[float, Node] | None:
    """The number and the other factor of a product with one."""
    for factor, x in (inputs, inputs[::-1]) if node.is_product else ():
        if factor.number is not None and (x.shape, x.dtype) == (node.shape, node.dtype):
            return factor.number, x
    return None


def _is_moderate(number: float) -> bool:
    """Whether the product with another such number is neither too large nor too small for it, in float32 too."""
    return 2.0**-32 <= abs(number) <= 2.0**32


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
        return known.setdefault((node.primitive, inputs, structure_key(node.static)), node.on(inputs))

    return rewritten(graph, rule)


# Time


def sums_over_time(graph: Graph) -> Graph:
    """Merge terms of a sum that differ in the step alone into one operation, and add first what is known early."""
    role, step = roles(graph), steps(graph)
    cycle = cycles(graph, role)
    uses = Counter([*graph.outputs, *(x for node in graph.nodes for x in node.inputs)])
    sums: dict[Node, list[Node]] = {}  # the terms of those that are no terms of others
    for node in graph.nodes:
        if node.is_sum:
            sums[node] = []
            for x in node.inputs:
                is_inner = x in sums and x.shape == node.shape and uses[x] == 1
                sums[node] += sums.pop(x) if is_inner else [x]

    new: dict[Node, Node] = {}
    for node in graph.nodes:
        inputs = tuple([new.get(x, x) for x in node.inputs])
        new[node] = node.on(inputs)
        if node not in sums:
            continue
        terms, own = sums[node], cycle[role[node]]
        groups: dict[Any, list[Node]] = {}
        for x in terms:
            is_alone = x.primitive is None or step[x] is None or any(map(is_large, x.inputs))
            groups.setdefault(x if is_alone else role[x], []).append(x)
        ordered = sorted(groups.values(), key=lambda group: own is not None and cycle[role[group[0]]] == own)
        if [x for group in ordered for x in group] == terms and len(terms) == len(groups):
            continue
        parts: list[Node] = []
        for group in ordered:
            together = len({step[x] for x in group}) == len(group) > 1
            parts += [_sum(group, step, new, uses, node)] if together else [new.get(x, x) for x in group]
        total = parts[0]
        for x in parts[1:]:
            total = made(P.add, (total, x), (), np.broadcast_shapes(total.shape, x.shape), node)
        new[node] = replace(total, name=node.name, step=node.step, layer=node.layer)
    return replaced(graph, new)


def _sum(terms: list[Node], step: dict, new: dict[Node, Node], uses: Mapping[Node, int], node: Node) -> Node:
    """Σ_t of terms that one primitive has made, one for each step."""
    terms = sorted(terms, key=step.__getitem__)
    first, only_here = terms[0], all(uses[x] == 1 for x in terms)
    if first.primitive.sums_rows and only_here and (not first.static or first.static[0] is P.INPUT):
        inputs = [stacked([new.get(x, x) for x in column]) for column in zip(*(x.inputs for x in terms), strict=True)]
        return replace(first, inputs=tuple(inputs), name=None, step=node.step, layer=node.layer)
    return made(P.sum_, (stacked([new.get(x, x) for x in terms]),), (0, False), first.shape, node)


def time_batches(graph: Graph) -> Graph:
    """Merge steps that do not wait for each other into one operation: W x(t), f′(ĥ(t)), a readout of h(t)."""
    role, step = roles(graph), steps(graph)
    cycle = cycles(graph, role)
    free = [node for node in graph.nodes if step[node] is not None and cycle[role[node]] is None]
    groups: dict[Any, list[Node]] = {}
    for node in sorted(free, key=step.__getitem__):
        groups.setdefault(role[node], []).append(node)
    return batched(graph, {r: nodes for r, nodes in groups.items() if len(nodes) > 1}, role)


PASSES = (expanded, constants, common_subexpressions, sums_over_time, time_batches, constants, common_subexpressions)
