"""A graph as one flat function of NumPy calls, whose arrays are made once.

- `flat(graph)` calls the primitives' own forward functions, one after the other: bit for bit what the engine computes.
- `buffered(graph)` writes every value into an array that is there already, bound to the function as a default argument.
  An array whose value is not needed any more takes another one; the values that a stack holds are written in their
  places in it from the start; parts, transposes and other views are made once too. What is left is calls, each with the
  array for its result.
"""

import math
import operator
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from tinygrad_rnn.primitives import axes_of
from tinygrad_rnn.program.expressions import Expression, Printer, read
from tinygrad_rnn.program.graph import Graph, Node

_BY_KEYWORD = (np.maximum, np.minimum)  # which take the array for the result by its name


class Kernel(NamedTuple):
    """`run(*inputs, *parameters)` gives the outputs as a list; `text` says what it does."""

    run: Callable[..., list[np.ndarray]]
    text: str


class _Function:
    """A function in the making: its lines, the things that are bound to its names, and where values are."""

    def __init__(self, graph: Graph):
        self.lines: list[str] = []
        self.bound: dict[str, Any] = {}
        self.count = 0
        self.functions: dict[Callable, str] = {}
        self.views: dict[str, str] = {}
        self.names = {x: self.fresh("x") for x in graph.inputs} | {x: self.fresh("p") for x in graph.parameters}
        self.arguments = list(self.names.values())
        self.looks = _looks(graph)
        self.slots, self.stacks = _placed(graph, self.looks)
        self.arrays: dict[Node, np.ndarray] = self.slots | self.stacks  # of all that has an array of ours
        self.owned: set[Node] = set()  # those whose array can be reused when they are dead
        self.free: dict[Any, list[np.ndarray]] = defaultdict(list)
        self.last = {self.base(x): i for i, node in enumerate(graph.nodes) for x in node.inputs}
        self.last |= {self.base(x): len(graph.nodes) for x in graph.outputs}

    def fresh(self, letter: str) -> str:
        """A name that nothing has yet."""
        self.count += 1
        return f"{letter}{self.count}"

    def bind(self, thing: Any, letter: str = "a") -> str:
        """A name for a thing that is there before the function runs."""
        name = self.fresh(letter)
        self.bound[name] = thing
        return name

    def call(self, function: Callable, *arguments: str, name: str = "") -> str:
        """The text of a call of a function, by its own name or another."""
        if function not in self.functions:
            name = f"_{name or function.__name__}"
            clear = name.isidentifier() and name not in self.bound
            self.functions[function] = name if clear else self.fresh("_f")
            self.bound[self.functions[function]] = function
        return f"{self.functions[function]}({', '.join(arguments)})"

    def finished(self, results: Sequence[str]) -> Kernel:
        """The function of all lines."""
        defaults = [f"{name}={name}" for name in self.bound]
        body = "\n    ".join([*self.lines, f"return [{', '.join(results)}]"])
        namespace = dict(self.bound)
        code = f"def run({', '.join([*self.arguments, *defaults])}):\n    {body}"
        exec(compile(code, "<program>", "exec"), namespace)
        run = namespace.pop("run")  # whose globals are the namespace: they are in no circle
        return Kernel(run, f"def run({', '.join(self.arguments)}):\n    {body}\n")

    # Where values are

    def base(self, x: Node) -> Node:
        """The node in whose memory a node stands."""
        return _looked_at(self.looks[x]) if x in self.looks else x

    def name(self, x: Node) -> str:
        """The name of a leaf, or of a node that has been computed."""
        if x not in self.names and x in self.looks:
            return self.view(self.looks[x])
        if x not in self.names:
            self.names[x] = self.bind(self.arrays.get(x, x.value), "c" if x.is_leaf else "a")
        return self.names[x]

    def view(self, look: Expression) -> str:
        """A look at a value, such as its transpose: made once for an array of ours; else where it is needed, and kept
        there if that is for the second time."""
        text = "".join(map(str, Printer(lambda x: [self.name(x)], {}).parts(look)))
        if look.function is None:
            return text
        if text not in self.views:
            base = _looked_at(look)
            array = self.arrays.get(base, base.value)
            view = None if array is None else look.on(lambda _: array)
            is_ours = view is not None and np.may_share_memory(view, array)
            self.views[text] = self.bind(view) if is_ours else text
        elif self.views[text] == text and look.function is not operator.getitem:
            self.views[text] = self.fresh("v")
            self.lines.append(f"{self.views[text]} = {text}")
        return self.views[text]

    # Lines

    def add(self, node: Node, i: int) -> None:
        """The line that computes a node, the i-th; what is dead by then is free for others."""
        if node in self.looks:
            return
        dead = [x for x in {self.base(x) for x in node.inputs} if x in self.owned and self.last[x] == i]
        is_over = _is_ufunc(node) and not any(x in self.looks or _is_repeated(x, node) for x in node.inputs)
        self._release(dead if is_over else ())  # before, so that the result may be written over it
        if node not in self.arrays:
            free = self.free[node.shape, node.dtype]
            self.arrays[node] = free.pop() if free else np.zeros(node.shape, node.dtype)
            self.owned.add(node)
        self.lines += self._calls(node, self.name(node))
        self._release(() if is_over else dead)

    def _release(self, dead: Iterable[Node]) -> None:
        for x in dead:
            self.owned.remove(x)
            self.free[x.shape, x.dtype].append(self.arrays[x])

    # Calls

    def _calls(self, node: Node, out: str) -> list[str]:
        """The lines that compute a node, given the name of the array for the result."""
        primitive, static, inputs = node.primitive, node.static, node.inputs
        if primitive.products:
            return [self._product(node, out)]
        if node.is_stack:
            placed = self.slots if node in self.stacks else {}
            parts = [(self.bind(self.arrays[node][i, ...]), x) for i, x in enumerate(inputs) if x not in placed]
            return [self.call(np.copyto, part, self.name(x)) for part, x in parts]
        names = [self.name(x) for x in inputs]
        if _is_ufunc(node):
            return self._by_element(node, out, names)
        if _sums_rows(node):
            ones = self.bind(np.ones(math.prod(inputs[0].shape[:-1]), node.dtype), "c")
            rows = _rows(self.looks.get(inputs[0], Expression(node=inputs[0])))
            return [self.call(np.dot, ones, self.view(rows), out)]
        if primitive.reduction is not None:
            arguments = names[0], str(static[0]), "None", out, str(static[1])
            return [self.call(primitive.reduction.reduce, *arguments, name=f"{primitive.name}_over")]
        arguments = [*names, *(self.bind(x, "s") for x in static)]
        if primitive.into is not None:
            return [self.call(primitive.into, out, *arguments, name=primitive.name)]
        return [self.call(np.copyto, out, self.call(primitive.forward, *arguments, name=primitive.name))]

    def _by_element(self, node: Node, out: str, names: list[str]) -> list[str]:
        """A call of a ufunc.

        An operand that is repeated along an axis is copied to where the result goes first: else NumPy fetches a buffer.
        """
        function, copies = node.primitive.forward, list[str]()
        for i, x in enumerate(node.inputs):
            if _is_repeated(x, node) and x.dtype == node.dtype and not copies:
                copies = [self.call(np.copyto, out, names[i])]
                names[i] = out
        return [*copies, self.call(function, *names, f"out={out}" if function in _BY_KEYWORD else out)]

    def _product(self, node: Node, out: str) -> str:
        """A call of np.dot, which takes matrices as they stand or transposed, batches over time too as one matrix."""
        product = read(node, self.looks)
        a, b = product.arguments
        if product.function == np.multiply.outer:
            return self.call(np.multiply, self.view(a[:, None]), self.view(b), out)
        if a.ndim > 2 and b.ndim == 2:
            a, out = _rows(a), self.bind(self.arrays[node].reshape(math.prod(node.shape[:-1]), node.shape[-1]))
        return self.call(np.dot if a.ndim < 3 and b.ndim < 3 else np.matmul, self.view(a), self.view(b), out)


def flat(graph: Graph) -> Kernel:
    """One line for each node, in the order of the graph; results are copies."""
    lines = _Function(graph)
    for node in graph.nodes:
        arguments = [*map(lines.name, node.inputs), *(lines.bind(x, "s") for x in node.static)]
        lines.names[node] = name = lines.fresh("v")
        lines.lines.append(f"{name} = {lines.call(node.primitive.forward, *arguments, name=node.primitive.name)}")
    return lines.finished([lines.call(np.array, lines.name(x)) for x in graph.outputs])


def buffered(graph: Graph, kept: Container[int] = ()) -> Kernel:
    """A line for each node that is no view, into arrays that are reused.

    Args:
        kept: the numbers of outputs that may be arrays which the next call writes to again; the others are new.
    """
    lines, results = _Function(graph), []
    for i, node in enumerate(graph.nodes):
        lines.add(node, i)
    for i, x in enumerate(graph.outputs):
        is_own = i in kept and lines.base(x).primitive is not None
        results.append(lines.name(x) if is_own else f"{lines.name(x)}.copy()")
    return lines.finished(results)


def _placed(graph: Graph, excluded: Container[Node]) -> tuple[dict[Node, np.ndarray], dict[Node, np.ndarray]]:
    """The places of the values that stacks hold, and the arrays of these stacks.

    Stacks that overlap, as h(0..T-1) and h(1..T), are one array. A stack of values of several types, or one
    that wants a value where another has another one, is none of these. What is excluded, or a stack itself, has
    no place, but is copied there; so is an input.
    """
    rows: list[dict[int, Node]] = []  # the values that stand in an array, by their places from where it was begun
    places: dict[Node, tuple[int, int]] = {}  # of values in their rows
    stacks: dict[Node, tuple[int, int]] = {}
    for stack in (node for node in graph.nodes if node.is_stack):
        known = {(places[x][0], places[x][1] - i) for i, x in enumerate(stack.inputs) if x in places}
        row, start = next(iter(known), (len(rows), 0))
        wanted, held = dict(enumerate(stack.inputs, start)), rows[row] if known else {}
        clashes = any(held.get(at, x) is not x or x.dtype != stack.dtype for at, x in wanted.items())
        if clashes or len(known) > 1 or len(set(stack.inputs)) < len(stack.inputs):
            continue
        rows += [] if known else [{}]
        rows[row] |= wanted
        stacks[stack] = row, start
        for at, x in wanted.items():
            if not (x.is_stack or x in excluded or (x.is_leaf and x.value is None)):
                places[x] = row, at
    first = [min(row) for row in rows]
    arrays = [np.zeros((len(row), *row[at].shape), row[at].dtype) for row, at in zip(rows, first, strict=True)]
    slots = {x: arrays[row][at - first[row], ...] for x, (row, at) in places.items()}
    for x, slot in slots.items():
        if x.value is not None:
            slot[...] = x.value
    return slots, {x: arrays[row][at - first[row] :][: len(x.inputs)] for x, (row, at) in stacks.items()}


def _looks(graph: Graph) -> dict[Node, Expression]:
    """The nodes that are the memory of another, and how they look at it: once, or several times."""
    looks: dict[Node, Expression] = {}
    for node in (x for x in graph.nodes if x.primitive.is_view):
        look = read(node, looks)
        x, *how = look.arguments
        if look.function is operator.getitem:
            index = how[0] if isinstance(how[0], tuple) else (how[0],)
            if all(i is None or i is Ellipsis or type(i) in (int, slice) for i in index):
                look = x[index if Ellipsis in index else (*index, ...)]  # so that one element is an array too
                looks[node] = replace(look, node=node)
        elif look.function is np.ndarray.transpose or (look.function is np.ndarray.reshape and x.function is None):
            looks[node] = replace(look, node=node)
    return looks


def _looked_at(look: Expression) -> Node:
    """The node that is looked at."""
    while look.function is not None:
        look = look.arguments[0]
    return look.node


def _rows(x: Expression) -> Expression:
    """A batch, over time too, as one matrix."""
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1]) if x.ndim > 2 else x


def _is_ufunc(node: Node) -> bool:
    return node.primitive.by_element and isinstance(node.primitive.forward, np.ufunc)


def _is_repeated(x: Node, node: Node) -> bool:
    return x.shape != node.shape and x.size > 1


def _sums_rows(node: Node) -> bool:
    """Whether a sum goes over all axes but the last: a product with ones, which is quicker."""
    if node.primitive.reduction is not np.add or node.static[1]:
        return False
    ndim = node.inputs[0].ndim
    return ndim > 1 and node.dtype.kind == "f" and axes_of(node.static[0], ndim) == tuple(range(ndim - 1))
