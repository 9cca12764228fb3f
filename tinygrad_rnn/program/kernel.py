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
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_rnn.program.expressions import Expression, Printer, operand, read
from tinygrad_rnn.program.graph import Graph, Node


@dataclass(frozen=True, eq=False)
class Kernel:
    """`run(*inputs, *parameters)` gives the outputs as a list; `text` says what it does."""

    run: Callable[..., list[np.ndarray]]
    text: str


class _Function:
    """A function in the making: its lines, and the things that are bound to its names."""

    def __init__(self, graph: Graph):
        self.graph, self.lines = graph, []
        self.bound: dict[str, Any] = {}
        self.count = 0
        self.names: dict[Node, str] = {}
        self.functions: dict[Callable, str] = {}
        self.arguments = [self.local(x, "x") for x in graph.inputs] + [self.local(x, "p") for x in graph.parameters]

    def fresh(self, letter: str) -> str:
        """A name that nothing has yet."""
        self.count += 1
        return f"{letter}{self.count}"

    def local(self, node: Node, letter: str) -> str:
        """A name for a value that is new at each call."""
        self.names[node] = self.fresh(letter)
        return self.names[node]

    def bind(self, thing: Any, letter: str = "a") -> str:
        """A name for a thing that is there before the function runs."""
        name = self.fresh(letter)
        self.bound[name] = thing
        return name

    def function(self, thing: Callable, name: str) -> str:
        """The name of a function that the lines call."""
        if thing not in self.functions:
            name = f"_{name}"
            clear = name.isidentifier() and name not in self.bound
            self.functions[thing] = name if clear else self.fresh("_f")
            self.bound[self.functions[thing]] = thing
        return self.functions[thing]

    def name(self, x: Node) -> str:
        """The name of a leaf, or of a node that has been computed."""
        if x not in self.names:
            self.names[x] = self.bind(x.value, "c")
        return self.names[x]

    def finished(self, results: Sequence[str]) -> Kernel:
        """The function of all lines."""
        defaults = [f"{name}={name}" for name in self.bound]
        lines = [*self.lines, f"return [{', '.join(results)}]"]
        namespace = dict(self.bound)
        head = f"def run({', '.join([*self.arguments, *defaults])}):"
        exec(compile("\n    ".join([head, *lines]), "<program>", "exec"), namespace)
        run = namespace.pop("run")  # whose globals are the namespace: they are in no circle
        return Kernel(run, "\n    ".join([f"def run({', '.join(self.arguments)}):", *lines]) + "\n")


def flat(graph: Graph) -> Kernel:
    """One line for each node, in the order of the graph; results are copies."""
    lines = _Function(graph)
    for node in graph.nodes:
        function = lines.function(node.primitive.forward, node.primitive.name)
        arguments = [*map(lines.name, node.inputs), *(lines.bind(x, "s") for x in node.static)]
        lines.lines.append(f"{lines.local(node, 'v')} = {function}({', '.join(arguments)})")
    copied = lines.function(np.array, "array")
    return lines.finished([f"{copied}({lines.name(x)})" for x in graph.outputs])


def buffered(graph: Graph, kept: Container[int] = ()) -> Kernel:
    """A line for each node that is no view, into arrays that are reused.

    Args:
        kept: the numbers of outputs that may be arrays which the next call writes to again; the others are new.
    """
    lines = _Buffered(graph, kept)
    for i, node in enumerate(graph.nodes):
        lines.add(node, i)
    return lines.finished([lines.result(i, x) for i, x in enumerate(graph.outputs)])


class _Buffered(_Function):
    def __init__(self, graph: Graph, kept: Container[int]):
        super().__init__(graph)
        self.kept = kept
        self.arrays: dict[Node, np.ndarray] = {}  # of what has an array of ours
        self.free: dict[Any, list[np.ndarray]] = defaultdict(list)
        self.owned: dict[Node, np.ndarray] = {}  # what can be reused when the node is dead
        self.views: dict[str, str] = {}
        self.looks = _looks(graph)
        self.last = {self.base(x): i for i, node in enumerate(graph.nodes) for x in node.inputs}
        self.last |= {self.base(x): len(graph.nodes) for x in graph.outputs}
        self.slots, self.stacks = _placed(graph, self.looks)

    # Where values are

    def base(self, x: Node) -> Node:
        """The node in whose memory a node stands."""
        while x in self.looks:
            x = x.inputs[0]
        return x

    def array(self, x: Node) -> np.ndarray | None:
        """The array of a node or a constant; None for an input or a parameter."""
        return self.slots.get(x, x.value) if x.primitive is None else self.arrays.get(x)

    def name(self, x: Node) -> str:
        if x not in self.names and x.primitive is not None:
            return self.view(self.looks[x])
        if x not in self.names:
            self.names[x] = self.bind(self.array(x), "c")
        return self.names[x]

    def view(self, look: Expression) -> str:
        """A look at a value, such as its transpose: made once for an array of ours; else where it is needed, and kept
        there if that is for the second time."""
        base = _looked_at(look)
        if look is base:
            return self.name(base.node)
        array, text = self.array(base.node), self.text(look)
        if text not in self.views:
            view = None if array is None else look.on(lambda _: array)
            is_ours = view is not None and np.shares_memory(view, array)
            self.views[text] = self.bind(view) if is_ours else text
        elif self.views[text] == text and look.function is not operator.getitem:
            self.views[text] = self.fresh("v")
            self.lines.append(f"{self.views[text]} = {text}")
        return self.views[text]

    def text(self, look: Expression) -> str:
        """The code that makes a view."""
        return "".join(map(str, Printer(lambda x: [self.name(x)], {}).parts(look)))

    def result(self, i: int, x: Node) -> str:
        """Output i, as the caller gets it."""
        is_own = i in self.kept and self.base(x).primitive is not None
        return self.name(x) if is_own else f"{self.name(x)}.copy()"

    # Lines

    def add(self, node: Node, i: int) -> None:
        """The line that computes a node, the i-th; what is dead by then is free for others."""
        if node in self.looks:
            if self.array(node.inputs[0]) is not None:
                self.names[node] = name = self.view(self.looks[node])
                self.arrays[node] = self.bound.get(name)
        elif node in self.stacks:
            self._in_place(node)
        else:
            self._computed(node, i)
        for x in {self.base(x) for x in node.inputs}:
            if self.last[x] == i and x in self.owned:
                array = self.owned.pop(x)
                self.free[array.shape, array.dtype].append(array)

    def _computed(self, node: Node, i: int) -> None:
        if node in self.slots:
            out = self.slots[node]
        else:
            out = self._taken_over(node, i)
            if out is None:
                free = self.free[node.shape, node.dtype]
                out = free.pop() if free else np.zeros(node.shape, node.dtype)
            self.owned[node] = out
        name = self.bind(out)
        self.lines.append(self._call(node, name))
        self.arrays[node], self.names[node] = out, name

    def _taken_over(self, node: Node, i: int) -> np.ndarray | None:
        """The array of an input that is needed here for the last time, if the result can be written over it."""
        alike = [x for x in node.inputs if (x.shape, x.dtype) == (node.shape, node.dtype)]
        dead = [x for x in alike if x in self.owned and self.last[x] == i]
        over = _is_ufunc(node) or (node.primitive.into and node.primitive.by_element and len(node.inputs) == 1)
        if not dead or not over or any(_is_repeated(x, node) for x in node.inputs):
            return None
        return self.owned.pop(dead[0])

    def _in_place(self, stack: Node) -> None:
        """A stack whose values stand in their places in one array, but for some, which are copied there."""
        part = self.arrays[stack] = self.stacks[stack]
        for i, x in enumerate(stack.inputs):
            if x not in self.slots:
                self.lines.append(self._copy(self.bind(part[i, ...]), self.name(x)))
        self.names[stack] = self.bind(part)

    def _copy(self, out: str, *arguments: str) -> str:
        return f"{self.function(np.copyto, 'copyto')}({', '.join([out, *arguments])})"

    # Calls

    def _calling(self, function: Callable, out: str, *names: str) -> str:
        """A call of a function of arrays and, last, the array for the result."""
        name = self.function(function, function.__name__)
        before = "out=" if function in (np.maximum, np.minimum) else ""  # which NumPy wants by name
        return f"{name}({', '.join([*names, before + out])})"

    def _call(self, node: Node, out: str) -> str:
        """The line that computes a node, given the name of the array for the result."""
        primitive, static, inputs = node.primitive, node.static, node.inputs
        if _is_ufunc(node):
            return self._by_element(node, out)
        if primitive.products:
            return self._product(node, out)
        names = [self.name(x) for x in inputs]
        if _sums_rows(node):
            ones = self.bind(np.ones(math.prod(inputs[0].shape[:-1]), node.dtype), "c")
            return self._calling(np.dot, out, ones, self.view(_rows(operand(inputs[0]))))
        if primitive.reduction is not None:
            reduce = self.function(primitive.reduction.reduce, f"{primitive.name}_over")
            return f"{reduce}({names[0]}, {static[0]}, None, {out}, {static[1]})"
        if node.is_stack:
            return "; ".join(self._copy(f"{out}[{i}, ...]", x) for i, x in enumerate(names))
        arguments = ", ".join([*names, *(self.bind(x, "s") for x in static)])
        if primitive.into is not None:
            into = self.function(primitive.into, primitive.name)
            return f"{into}({out}, {arguments})"
        forward = self.function(primitive.forward, primitive.name)
        return self._copy(out, f"{forward}({arguments})")

    def _by_element(self, node: Node, out: str) -> str:
        """A call of a ufunc.

        An operand that is repeated along an axis is copied to where the result goes first: else NumPy fetches a buffer.
        """
        function, names = node.primitive.forward, list(map(self.name, node.inputs))
        wide = next((i for i, x in enumerate(node.inputs) if _is_repeated(x, node)), None)
        if wide is None or node.inputs[wide].dtype != node.dtype:
            return self._calling(function, out, *names)
        operands = [out if i == wide else name for i, name in enumerate(names)]
        return f"{self._copy(out, names[wide])}; {self._calling(function, out, *operands)}"

    def _product(self, node: Node, out: str) -> str:
        """A call of np.dot, which takes matrices as they stand or transposed, batches over time too as one matrix."""
        product = read(node)
        a, b = product.arguments
        if product.function == np.multiply.outer:
            return self._calling(np.multiply, out, self.view(a[:, None]), self.view(b))
        if a.ndim > 2 and b.ndim == 2:
            rows = self.bound[out].reshape(math.prod(node.shape[:-1]), node.shape[-1])
            return self._calling(np.dot, self.bind(rows), self.view(_rows(a)), self.view(b))
        return self._calling(np.dot if a.ndim < 3 and b.ndim < 3 else np.matmul, out, self.view(a), self.view(b))


@dataclass(eq=False)
class _Row:
    """An array in the making, which stacks share: the values that stand in it, by their places from its start."""

    values: dict[int, Node]

    def made(self) -> np.ndarray:
        """The array; its first place is the lowest."""
        x = next(iter(self.values.values()))
        return np.zeros((max(self.values) - min(self.values) + 1, *x.shape), x.dtype)


def _placed(graph: Graph, excluded: Container[Node]) -> tuple[dict[Node, np.ndarray], dict[Node, np.ndarray]]:
    """The places of the values that stacks hold, and the arrays of these stacks.

    Stacks that overlap, as h(0..T-1) and h(1..T), are one array. A stack of values of several types, or one
    that wants a value where another has another one, is none of these. What is excluded, or a stack itself, has
    no place, but is copied there.
    """
    places: dict[Node, tuple[_Row, int]] = {}  # of values in their rows
    stacks: dict[Node, tuple[_Row, int]] = {}
    for stack in (node for node in graph.nodes if node.is_stack):
        able = [x for x in stack.inputs if not (x.is_stack or x in excluded)]
        able = [x for x in able if x.primitive is not None or x.value is not None]
        known = {(places[x][0], places[x][1] - i) for i, x in enumerate(stack.inputs) if x in places}
        row, start = next(iter(known), (_Row({}), 0))
        wanted = dict(enumerate(stack.inputs, start))
        clashes = any(row.values.get(at, x) is not x for at, x in wanted.items())
        mixed = any(x.dtype != stack.dtype for x in stack.inputs)
        if len(known) > 1 or len(set(stack.inputs)) < len(stack.inputs) or clashes or mixed or not able:
            continue
        row.values.update(wanted)
        places |= {x: (row, at) for at, x in wanted.items() if x in able}
        stacks[stack] = row, start
    arrays = {row: row.made() for row, _ in stacks.values()}
    slots = {x: arrays[row][at - min(row.values), ...] for x, (row, at) in places.items()}
    for x, slot in slots.items():
        if x.value is not None:
            slot[...] = x.value
    return slots, {x: arrays[row][at - min(row.values) :][: len(x.inputs)] for x, (row, at) in stacks.items()}


def _looks(graph: Graph) -> dict[Node, Expression]:
    """The nodes that are their input's memory, looked at in another way, and how."""
    looks: dict[Node, Expression] = {}
    for node in graph.nodes:
        look = read(node) if node.primitive.is_view else None
        if look is None or _looked_at(look) is not look.arguments[0]:
            continue
        x, *how = look.arguments
        if look.function is operator.getitem and _is_basic(*how):
            index = how[0] if isinstance(how[0], tuple) else (how[0],)
            looks[node] = x[index if Ellipsis in index else (*index, ...)]  # so that one element is an array too
        elif look.function is np.ndarray.transpose or (
            look.function is np.ndarray.reshape and _is_contiguous(x.node, looks)
        ):
            looks[node] = look
    return looks


def _is_contiguous(x: Node, looks: Mapping[Node, Expression]) -> bool:
    """Whether a value has its elements in a row, as far as that is known."""
    return looks[x].function is np.ndarray.reshape if x in looks else x.value is not None or not x.is_leaf


def _looked_at(x: Expression) -> Expression | None:
    """The operand that is looked at, once or several times; None if there is none."""
    while isinstance(x, Expression) and x.function in (np.ndarray.transpose, np.ndarray.reshape, operator.getitem):
        x = x.arguments[0]
    return x if isinstance(x, Expression) and x.function is None else None


def _rows(x: Expression) -> Expression:
    """A batch, over time too, as one matrix."""
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1]) if x.ndim > 2 else x


def _is_basic(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return all(i is None or i is Ellipsis or type(i) in (int, slice) for i in parts)


def _is_ufunc(node: Node) -> bool:
    return node.primitive.by_element and isinstance(node.primitive.forward, np.ufunc)


def _is_repeated(x: Node, node: Node) -> bool:
    return x.shape != node.shape and x.size > 1


def _sums_rows(node: Node) -> bool:
    """Whether a sum goes over all axes but the last: a product with ones, which is quicker."""
    if node.primitive.reduction is not np.add:
        return False
    (x,), (axis, keepdims) = node.inputs, node.static
    axes = axis if isinstance(axis, tuple) else (axis,)
    return not keepdims and x.ndim > 1 and x.dtype.kind == "f" and axes == tuple(range(x.ndim - 1))
