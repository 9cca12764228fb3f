"""The nodes of a trace that are written as lines of their own, and the time step of each."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

from tinygrad_rnn import primitives as P
from tinygrad_rnn.program.expressions import array_text, read
from tinygrad_rnn.program.graph import Node, depth_first, replaced, rewritten
from tinygrad_rnn.program.passes import terms_of_sums
from tinygrad_rnn.program.tracing import Trace
from tinygrad_rnn.tensor import GradientName

DEEPEST = 8  # an expression that is nested more deeply gets lines of its own, as do sums of more terms than this,
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
        gathered: the sums over time, each with the terms that are added to it in turn. lines: the nodes that get lines.
        own: the outputs that are what another node is, too.
    """

    def __init__(self, trace: Trace, folds: bool):
        self.trace, self.folds = trace, folds
        graph = rewritten(trace.graph, _folded) if folds else replaced(trace.graph, {})
        self.outputs = _told_apart(graph.outputs, trace)
        self.own = {*self.outputs} - {*graph.outputs}
        # What is made of leaves alone stands right before it is used: x(t) in its step.
        starts = [x for x in graph.nodes if not all(y.is_leaf for y in x.inputs)]
        order = depth_first([*starts, *graph.guards, *self.outputs], lambda x: x.inputs[::-1])
        self.live = [x for x in order if not x.is_leaf]
        self.forward = {*depth_first([self.outputs[0], *self.outputs[1 + len(trace.wrt) :], *graph.guards])}
        # Transposes of leaves are no lines of their own: ᵗU.
        self.short = {x: read(x) for x in self.live if x.is_transpose and x.inputs[0].is_leaf and x.name is None}
        self.expressions = {x: read(x, self.short) for x in self.live}
        self.uses = Counter(x.node for written in self.expressions.values() for x in written.walk() if x.node)
        self._find_steps()
        self._find_lines()
        place = {x: i for i, x in enumerate(self.live)}
        # An output of its own follows what it is, unless that is of a step: it would stand within a loop.
        place |= {x: place[x.inputs[0]] for x in self.own if self.near.get(x.inputs[0], 0) is None}
        self.live.sort(key=place.__getitem__)

    def step(self, x: Node) -> int | None:
        """The step of a variable; of a node without a name, the one in whose course it is computed."""
        return x.step if x.primitive is None or (x.name is not None and x.step is not None) else self.near.get(x)

    def _find_steps(self) -> None:
        """Find `near`, and the sums over time; these belong to no step, nor does what is made of them.

        `algebra.variables.time_steps` asks which step a node belongs to; here it is the one among whose lines a person
        writes it. The backward pass runs from the last step to the first, so that on the way back a node waits for the
        earliest step of what it is made of, where it is the latest on the way there. What has neither a name nor a step
        of its own, and goes into what stands in one step alone, is written there.
        """
        # A variable without a step, which is the only one of its name, belongs to none; y(1) and y(2) do.
        alone = Counter((x.name, x.layer) for x in self.live if x.name is not None and x.step is None)
        self.near: dict[Node, int | None] = {}
        sums, over_time = terms_of_sums(self.live, self.outputs), set[Node]()
        stays = {*self.outputs}
        for node in self.live:
            steps = [(x in self.forward, self.step(x)) for x in node.inputs if x in self.near]
            own, terms = None if steps and node not in self.forward else node.step, sums.get(node, [])
            spreads = own is None and len({self.step(x) for x in terms if x in self.near}) > 1
            if spreads or len(terms) > DEEPEST:
                over_time.add(node)
                stays |= {node, *terms}
            if node.step is None and (alone[node.name, node.layer] == 1 or node in self.own or node in over_time):
                self.near[node] = None
            elif own is not None:
                self.near[node] = own
            elif steps:
                there, back = ([s for way, s in steps if way is which and s is not None] for which in (True, False))
                self.near[node] = min(back, default=max(there, default=None))
        needed: dict[Node, list[int | None]] = defaultdict(list)  # the steps of what each node goes into, last first
        for node in reversed(self.live):
            moves = node.name is None and node not in stays and (node.step is None or node not in self.forward)
            if node not in self.near or (moves and len({*needed[node]}) == 1):
                self.near[node] = needed[node][-1] if needed[node] else None
            for x in node.inputs:
                needed[x].append(self.near[node])
        names = {(x.name, x.layer) for x in over_time if x.name is not None}
        alike = [x for x in self.live if x in over_time or (x.name, x.layer) in names]  # these at other steps
        self.gathered = {x: sums.get(x, [x]) for x in alike}

    def _find_lines(self) -> None:
        self.lines: dict[Node, None] = {}
        depth: dict[Node, int] = {}
        starts = [*self.outputs, *(x for x in self.live if not self.uses[x])]
        terms = {x: terms for x, terms in self.gathered.items() if terms != [x]}
        needed = {*depth_first(starts, lambda x: terms.get(x, x.inputs))}  # all but what sums are on the way
        for node in filter(needed.__contains__, self.live):
            for x in node.inputs:
                if x.value is not None and (x.name or (x.ndim and len(array_text(x.value)) > _LONGEST_CONSTANT)):
                    self.lines[x] = None
            depth[node] = 1 + max((depth.get(x, 0) for x in node.inputs), default=0)
            folded = self.folds and self.uses[node] == 1 and node.name is None and depth[node] < DEEPEST
            if node in self.outputs or node in self.gathered or not (folded or node in self.short):
                self.lines[node] = None
                depth[node] = 0


def _folded(node: Node, inputs: tuple[Node, ...]) -> Node:
    """A node without what changes no bit: a factor of 1, or numbers that are repeated where NumPy repeats them."""
    for i, x in enumerate(inputs) if node.primitive.by_element else ():
        others = {y.shape for y in (*inputs[:i], *inputs[i + 1 :])}
        in_a_shape = x.primitive is not None and x.primitive.is_copy and not x.primitive.by_element
        if in_a_shape and x.name is None and x.inputs[0].ndim == 0 and node.shape in others:
            inputs = (*inputs[:i], x.inputs[0], *inputs[i + 1 :])
    return (node.unchanged(inputs) if node.name is None else None) or node.on(inputs)


def _told_apart(outputs: Sequence[Node], trace: Trace) -> tuple[Node, ...]:
    """The outputs as nodes of their own: the gradient of c is called dc also where it is the array of dy."""
    names = [None, *map(GradientName, trace.wrt_names, [x.born for x in trace.wrt])]
    found: list[Node] = []
    for x, name in itertools.zip_longest(outputs, names):
        if x.is_leaf or x in found or (name and x.name is not None and getattr(x.name, "born", None) != name.born):
            x = Node(_OUTPUT, (x,), (), x.shape, x.dtype, name)
        found.append(x)
    return tuple(found)
