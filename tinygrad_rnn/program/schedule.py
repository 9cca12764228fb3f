"""The nodes of a trace that are written as lines of their own, and the time step of each."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from tinygrad_rnn import primitives as P
from tinygrad_rnn.program.expressions import array_text, read
from tinygrad_rnn.program.graph import Graph, Node, depth_first, replaced, rewritten
from tinygrad_rnn.program.tracing import Trace
from tinygrad_rnn.tensor import GradientName

DEEPEST = 8  # an expression that is nested more deeply gets lines of its own,
_MOST_TERMS = 8  # as do sums of more terms than this,
_LONGEST_CONSTANT = 40  # and constants of more characters

_OUTPUT = replace(P.identity, name="output")


class Schedule:
    """The nodes of a trace that are written as lines of their own, and the time step of each.

    Attributes:
        expressions: how each node is written.
        live: the nodes that the outputs depend on, in the order of execution; where `folds`, without those that
            change no bit.
        outputs: of the trace. forward: what the loss and the further outputs are made of.
        step: of each node, its own or `near`. near: the step in whose course a node is computed.
        sums: the terms of each node that is a sum. lines: the nodes that get lines.
        gathered: the sums over time, to which each step adds its terms; within: what these are on the way.
        own: the outputs that are what another node is, too.
        timeless: the names and layers of the variables that belong to no step.
    """

    def __init__(self, trace: Trace, folds: bool):
        self.trace, self.folds = trace, folds
        graph = rewritten(trace.graph, _folded) if folds else replaced(trace.graph, {})
        self.outputs = _told_apart(graph.outputs, trace)
        self.own = {*self.outputs} - {*graph.outputs}
        self.live = _in_order(replace(graph, outputs=self.outputs))
        results = [self.outputs[0], *self.outputs[1 + len(trace.wrt_names) :], *graph.guards]
        self.forward = set(depth_first(results))
        self.expressions = {x: read(x) for x in self.live}
        self.uses = Counter(x.node for written in self.expressions.values() for x in written.walk() if x.node)
        alone = Counter((x.name, x.layer) for x in self.live if x.name is not None and x.step is None)
        self.timeless = {key for key, count in alone.items() if count == 1}  # y(1) and y(2) are of a step
        self.gathered: set[Node] = set()
        self._pass_steps()
        self._find_sums()
        self._pass_steps()  # a sum over time belongs to no step, nor does what is made of it
        self._find_lines()
        place = {x: i for i, x in enumerate(self.live)}
        # An output of its own follows what it is, unless that is of a step: it would stand within a loop.
        place |= {x: place[x.inputs[0]] for x in self.own if self.near.get(x.inputs[0], 0) is None}
        self.live.sort(key=place.__getitem__)

    def _is_timeless(self, x: Node) -> bool:
        return x.step is None and (x in self.own or x in self.gathered or (x.name, x.layer) in self.timeless)

    def _pass_steps(self) -> None:
        """Find `near`, given the names of the variables that belong to no step.

        `passes.steps` asks what a node waits for, and `algebra.variables.time_steps` where it is drawn; here it is the
        step among whose lines a person writes it. The backward pass runs from the last step to the first, so that on
        the way back a node waits for the earliest step of what it is made of, where it is the latest on the way there.
        """
        self.near: dict[Node, int | None] = {}
        for node in self.live:
            steps = [(x, s) for x in node.inputs if (s := self.step(x)) is not None]
            there = [s for x, s in steps if x in self.forward and not x.is_leaf]
            back = [s for x, s in steps if x not in self.forward and not x.is_leaf]
            if self._is_timeless(node):
                self.near[node] = None
            elif node in self.forward:
                self.near[node] = max([s for _, s in steps], default=None) if node.step is None else node.step
            else:
                self.near[node] = min(back, default=max(there, default=None))
        self._join_users()
        # What only lines without a step use is computed after the last step, and belongs to none either.
        used = {x for node in self.live if self.near[node] is not None for x in node.inputs}
        added = {x for node in self.gathered for x in self.sums[node]}
        for x in self.forward & self.near.keys() - used - added - set(self.outputs):
            if x.name is None and x.step is None:
                self.near[x] = None

    def _join_users(self) -> None:
        """Give nodes that are made of leaves alone, and so wait for no step, that of what they go into: Y(1)."""
        free: set[Node] = set()
        for node in self.live:
            has_place = self._is_timeless(node) or (node.name is not None and node.step is not None)
            if not has_place and all(x.primitive is None or x in free for x in node.inputs):
                free.add(node)
        for node in reversed(self.live):
            for x in node.inputs:
                if x in free:
                    self.near[x] = self.step(node) if x in self.forward else self.near[node]

    def step(self, x: Node) -> int | None:
        """The step of a variable; of a node without a name, the one in whose course it is computed."""
        return x.step if x.primitive is None or (x.name is not None and x.step is not None) else self.near.get(x)

    def _find_sums(self) -> None:
        self.sums: dict[Node, list[Node]] = {}
        for node in (x for x in self.live if x.is_sum):
            first, term = node.inputs
            alike = (first.shape, first.dtype) == (node.shape, node.dtype)
            ends = first.name is not None or first in self.outputs or self.uses[first] > 1
            if alike:
                self.sums[node] = [first] if ends else self.sums.pop(first, [first])
                self.sums[node].append(term)
        steps = {x: {self.step(y) for y in terms if y.primitive is not None} for x, terms in self.sums.items()}
        over_time = {x for x in self.sums if len(steps[x]) > 1 and not (x in self.forward and x.step is not None)}
        self.gathered = over_time | {x for x, terms in self.sums.items() if len(terms) > _MOST_TERMS}
        if not self.folds:
            self.sums = {x: terms for x, terms in self.sums.items() if x in self.gathered}
        self.within: set[Node] = set()
        for x, terms in self.sums.items():
            for _ in terms[2:]:
                x = x.inputs[0]
                self.within.add(x)

    def _find_lines(self) -> None:
        self.lines: dict[Node, None] = {}
        depth: dict[Node, int] = {}
        for node in self.live:
            if node in self.within:
                continue
            for x in node.inputs:
                if x.value is not None and (x.name or (x.ndim and len(array_text(x.value)) > _LONGEST_CONSTANT)):
                    self.lines[x] = None
            operands = self.sums.get(node, node.inputs)
            depth[node] = 1 + max((depth.get(x, 0) for x in operands), default=0)
            short = node.is_transpose and operands[0].is_leaf and not node.name  # U.T
            folded = self.folds and self.uses[node] == 1 and node.name is None and depth[node] < DEEPEST
            if node in self.outputs or node in self.gathered or not (folded or short):
                self.lines[node] = None
                depth[node] = 0


def _in_order(graph: Graph) -> list[Node]:
    """The nodes of a graph, what is made of leaves alone right before it is used: x(t) in its step."""
    starts = [node for node in graph.nodes if not all(x.is_leaf for x in node.inputs)]
    found = depth_first([*starts, *graph.guards, *graph.outputs], lambda x: x.inputs[::-1])
    return [x for x in found if not x.is_leaf]


def _folded(node: Node, inputs: tuple[Node, ...]) -> Node:
    """A node without what changes no bit: a factor of 1, or numbers that are repeated where NumPy repeats them."""
    for i, x in enumerate(inputs) if node.primitive.by_element else ():
        others = {y.shape for y in (*inputs[:i], *inputs[i + 1 :])}
        in_a_shape = x.primitive is not None and x.primitive.is_copy and not x.primitive.by_element
        if in_a_shape and x.name is None and x.inputs[0].ndim == 0 and node.shape in others:
            inputs = (*inputs[:i], x.inputs[0], *inputs[i + 1 :])
    kept = node.unchanged(inputs) if node.name is None else None
    return node.on(inputs) if kept is None else kept


def _told_apart(outputs: Sequence[Node], trace: Trace) -> tuple[Node, ...]:
    """The outputs as nodes of their own: the gradient of c is called dc also where it is the array of dy."""
    found: list[Node] = []
    for i, x in enumerate(outputs):
        of = trace.wrt[i - 1] if 0 < i <= len(trace.wrt) else None
        is_another = of is not None and x.name is not None and getattr(x.name, "born", None) != of.born
        if x.is_leaf or x in found or is_another:
            name = None if of is None else GradientName(trace.wrt_names[i - 1], of.born)
            x = Node(_OUTPUT, (x,), (), x.shape, x.dtype, name)
        found.append(x)
    return tuple(found)
