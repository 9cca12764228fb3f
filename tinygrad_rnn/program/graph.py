"""A program as a graph: the nodes of a recorded graph without their values, which a pass can rewrite.

- `Node`: one primitive applied to other nodes; or a leaf: an input, a parameter, or a constant with its value.
- `Graph`: the nodes in the order of execution, and which of them are inputs, parameters and outputs.
- `rewritten(graph, rule)`: a new graph, by a rule that says for one node what stands in its place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, ClassVar

import numpy as np

from tinygrad_rnn import primitives as P
from tinygrad_rnn.primitives import Primitive


def _as_traced(x: np.ndarray, value: np.ndarray) -> np.ndarray:
    """x, if it is still what the program was traced for."""
    if x.tobytes() != value.tobytes():
        raise ValueError(f"a value is {x} that was {value} when the program was traced, and may have decided about it")
    return x


AS_TRACED = Primitive("as_traced", _as_traced, "{x}", argument_names=("x", "value"))


@dataclass(eq=False, slots=True)
class Node:
    """One node: what `Tensor` is without its value, but for constants.

    Attributes:
        primitive, inputs, static: how it is made; None and empty for a leaf.
        shape, dtype: of its value. name, step, layer, born: as in the recorded graph.
        value: of a constant.
    """

    primitive: Primitive | None
    inputs: tuple[Node, ...]
    static: tuple
    shape: tuple[int, ...]
    dtype: np.dtype
    name: str | None = None
    step: int | None = None
    layer: int | None = None
    born: int | None = None
    value: np.ndarray | None = None
    is_cut: ClassVar[bool] = False  # what a program is given is no state that was cut off

    ndim = property(lambda x: len(x.shape), doc="The number of axes.")
    size = property(lambda x: math.prod(x.shape), doc="The number of elements.")
    is_leaf = property(lambda x: x.primitive is None, doc="True if it is given, and not computed.")
    requires_grad = property(lambda x: x.value is None, doc="True if it is not a constant.")

    # What passes, kernel and source look for; nothing else asks which primitive it is

    is_sum = property(lambda x: x.primitive is P.add, doc="True if it is x + y.")
    is_product = property(lambda x: x.primitive is P.multiply, doc="True if it is x ⊙ y.")
    is_transpose = property(lambda x: x.primitive is P.transpose and x.static == (None,), doc="True if it is ᵗx.")
    is_stack = property(lambda x: x.primitive is P.stack and x.static == (0,), doc="True if it stacks arrays as rows.")
    is_element = property(lambda x: x.primitive is P.getitem and type(x.static[0]) is int, doc="True if it is x[i].")

    @property
    def number(self) -> float | None:
        """The number that all elements of a constant are, to the bit."""
        value = self.value
        if value is None or not value.size or value.dtype.kind != "f":
            return None
        first = value.flat[0]
        return float(first) if value.tobytes() == first.tobytes() * value.size else None

    def item(self) -> Any:
        """The value of a constant that is one number."""
        return self.value.item()

    def on(self, inputs: tuple[Node, ...]) -> Node:
        """The same operation on other inputs of the same shapes; itself if they are its own."""
        if inputs == self.inputs:
            return self
        name, step, layer, born = self.name, self.step, self.layer, self.born
        return Node(self.primitive, inputs, self.static, self.shape, self.dtype, name, step, layer, born)

    def unchanged(self, inputs: Sequence[Node]) -> Node | None:
        """The input that it hands on as it is, to the bit: what a copy is of, x of x + -0.0."""
        found = inputs[:1] if self.primitive.is_copy else []
        for i, neutral in enumerate(self.primitive.neutral):
            if neutral is not None and str(inputs[i].number) == str(neutral):  # 0.0 is not -0.0
                found = [inputs[1 - i]]
        alike = [x for x in found if (x.shape, x.dtype) == (self.shape, self.dtype)]
        return alike[0] if alike else None


@dataclass(frozen=True, eq=False, slots=True)
class Graph:
    """A traced computation: a loss and its gradients, or results alone, and the leaves that they are made of.

    Attributes:
        nodes: all that is computed, in the order of execution; leaves are not among them.
        outputs: the loss, the gradients, and what else is wanted.
        inputs: the leaves that each call gives. parameters: those that are read at each call.
        wrt: the leaves among them that the gradients are of; none where only results are wanted.
        guards: what stops a call that is another than the traced one was.
    """

    nodes: tuple[Node, ...]
    outputs: tuple[Node, ...]
    inputs: tuple[Node, ...]
    parameters: tuple[Node, ...]
    wrt: tuple[Node, ...]
    guards: tuple[Node, ...]


def constant(value: Any, like: Node | None = None) -> Node:
    """A leaf with a value; a number in the dtype of a node."""
    value = np.asarray(value, None if like is None else like.dtype)
    return Node(None, (), (), value.shape, value.dtype, value=value)


def made(primitive: Primitive, inputs: Sequence[Node], static: tuple, shape: tuple, of: Node, **place: Any) -> Node:
    """A new node in the place of another, or in the making of it: of its step and layer, of its inputs' dtype."""
    dtype = np.result_type(*[x.dtype for x in inputs]) if primitive.vjps else np.dtype(bool)
    return Node(primitive, tuple(inputs), static, shape, dtype, **{"step": of.step, "layer": of.layer, **place})


def rewritten(graph: Graph, rule: Callable[[Node, tuple[Node, ...]], Node | None]) -> Graph:
    """The graph in which each node is what a rule makes of it and its new inputs; where that is None, itself."""
    new: dict[Node, Node] = {}
    for node in graph.nodes:
        inputs = tuple([new.get(x, x) for x in node.inputs])
        new[node] = rule(node, inputs) or node.on(inputs)
    return replaced(graph, new)


def replaced(graph: Graph, new: Mapping[Node, Node]) -> Graph:
    """The graph with other nodes in place of its own: what the outputs need of them, if possible in their order."""
    outputs, guards = (tuple(new.get(x, x) for x in some) for some in (graph.outputs, graph.guards))
    nodes = depth_first([*guards, *map(new.get, graph.nodes, graph.nodes), *outputs])
    needed = {*guards, *outputs}
    for node in reversed(nodes):
        if node in needed:
            needed.update(node.inputs)
    made = tuple([node for node in nodes if node in needed and node.primitive is not None])
    return replace(graph, nodes=made, outputs=outputs, guards=guards)


def depth_first(starts: Iterable[Any], inputs: Callable[[Any], Iterable[Any]] = attrgetter("inputs")) -> list[Any]:
    """The starts and all that leads to them, inputs before what is made of them, but in circles."""
    seen, done = set(), {}
    for start in starts:
        waiting = [start]
        while waiting:
            x = waiting[-1]
            if x in seen:
                done[waiting.pop()] = None
            else:
                seen.add(x)
                waiting += [y for y in inputs(x) if y not in seen]
    return list(done)
