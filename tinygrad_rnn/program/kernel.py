"""Kernels: a graph as one function of NumPy calls, whose arrays are made once.

First the lines, which are items of `rolling` and so can be compared:
- `flat(graph)` calls the primitives' own forward functions, one after the other: bit for bit what the engine computes.
- `buffered(graphs)` writes every value into an array that is there already, a global of the function.
  An array whose value is not needed any more takes another one; the values that a stack holds are written in their
  places in it from the start; parts, transposes and other views are made once too. What is left is calls, each with the
  array for its result.

Then the function: `Kernels(lines)` finds the loops over time, if there are lines for several lengths, and makes the
text of the function for as many steps as are wanted, and the arrays, all in one memory.
"""

import math
import operator
from collections import defaultdict
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from tinygrad_rnn.primitives import axes_of
from tinygrad_rnn.program.expressions import Expression, Printer, Ref, read
from tinygrad_rnn.program.graph import Graph, Node
from tinygrad_rnn.program.rolling import Item, Segment, rolled
from tinygrad_rnn.program.structures import PART, rebuilt, split

_MOST_STEPS = 20_000  # for which there are views, in the functions of different lengths that are kept
_BY_KEYWORD = (np.maximum, np.minimum)  # which take the array for the result by its name


class Kernel(NamedTuple):
    """`run(*inputs, *parameters)` gives the outputs as a list; `text` says what it does."""

    run: Callable[..., list[np.ndarray]]
    text: str


class _Made(NamedTuple):
    """An array is made, of a shape that is its numbers; it may be one that is needed in the next line last."""

    itemsize: int
    is_over: bool


class _View(NamedTuple):
    """A view of an array; its numbers are that of the array, in the order of making, the offset, shape and strides."""

    ndim: int
    dtype: str

    def of(self, memory: np.ndarray, offset: int, *form: int) -> np.ndarray:
        """The view that starts at an offset in the memory."""
        return np.ndarray(form[: self.ndim], self.dtype, memory, offset, form[self.ndim :])


class _Lines:
    """The lines of a function in the making, and where values are.

    Attributes:
        items: arrays that are made, and lines: texts and kinds of parts, each with the range of its numbers.
        views: the names of views of arguments, such as transposes, and how often they were needed.
        looks: the values that are views. where: the array, by its number, that holds a value, and the offset in it.
    """

    def __init__(self, graph: Graph, looks: Mapping[Node, Expression] = {}, placed: Any = ((), {}, {})):
        self.items: list[Item] = []
        self.functions: dict[str, Callable] = {}
        self.operands = {x: [f"x{i}"] for i, x in enumerate(graph.inputs, 1)}
        self.operands |= {x: [f"p{i}"] for i, x in enumerate(graph.parameters, 1)}
        self.arguments = ", ".join([name for (name,) in self.operands.values()])
        self.views: dict[tuple, tuple[str, int]] = {}
        self.looks, (rows, places, self.stacks) = looks, placed
        self.where: dict[Node, tuple[int, int]] = places | self.stacks
        self.items += [Item(_Made(x.dtype.itemsize, False), (count, *x.shape)) for x, count in rows]
        self.arrays = len(rows)
        for x in (x for x in places if x.value is not None):
            self.line(*self.call(np.copyto, self.view(Expression(node=x)), _bound(x.value)))

    def line(self, *parts: Any) -> None:
        """Add a line."""
        text, slots, numbers = "", list[tuple[Any, int, int]](), list[int]()
        for part in parts:
            if isinstance(part, str):
                text += part
                continue
            kind, more = (PART, [part.step]) if isinstance(part, Ref) else part
            text += "{}"
            slots.append((kind, len(numbers), len(numbers) + len(more)))
            numbers += more
        self.items.append(Item((text, *slots), tuple(numbers)))

    def call(self, function: Callable, *arguments: Sequence[Any], name: str = "") -> list[Any]:
        """A call of a function, by its own name or another."""
        name = f"_{name or function.__name__}"
        while not name.isidentifier() or self.functions.setdefault(name, function) != function:
            name = f"_f{len(self.functions)}"
        between = [part for parts in arguments for part in (", ", *parts)]
        return [f"{name}(", *between[1:], ")"]

    # Where values are

    def operand(self, x: Node) -> list[Any]:
        """A leaf, or a value that has been computed."""
        if x not in self.operands:
            self.operands[x] = self.view(self.looks.get(x, Expression(node=x)))
        return self.operands[x]

    def view(self, look: Expression) -> list[Any]:
        """A look at a value, such as its transpose: of an array of ours, made once, or kept if it is needed twice."""
        base = _looked_at(look)
        if look.function is None and base in self.operands:
            return self.operands[base]
        if base in self.where:
            whole = np.empty(base.shape, base.dtype)
            view = look.on(lambda _: whole)
            if view is whole or np.may_share_memory(view, whole):
                array, offset = self.where[base]
                if view is not whole:
                    offset += view.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
                return [(_View(view.ndim, view.dtype.str), (array, offset, *view.shape, *view.strides))]
        elif base.value is not None:
            return _bound(look.on(lambda x: x.value))
        parts = Printer(lambda x: self.view(Expression(node=x)), {}).parts(look)
        if base in self.where or any("[" in part for part in parts if isinstance(part, str)):
            return parts  # made where it is needed
        key = tuple(parts)
        name, uses = self.views.get(key, (f"v{len(self.views) + 1}", 0))
        self.views[key] = name, uses + 1
        if uses == 1:  # those that are needed once are not held until the end
            self.line(name, " = ", *parts)
        return [name] if uses else parts

    # Lines

    def add(self, node: Node) -> None:
        """The lines that compute a node."""
        if node in self.looks:
            return
        if node not in self.where:
            is_over = _is_ufunc(node) and not any(x in self.looks or _is_repeated(x, node) for x in node.inputs)
            self.items.append(Item(_Made(node.dtype.itemsize, is_over), node.shape))
            self.where[node] = self.arrays, 0
            self.arrays += 1
        if node.is_stack:
            for i, x in enumerate(node.inputs):
                if node not in self.stacks or x not in self.where or x.is_stack:
                    self.line(*self.call(np.copyto, self.view(Expression(node=node)[(i, ...)]), self.operand(x)))
        else:
            self.line(*self._calls(node, self.operand(node)))

    def _calls(self, node: Node, out: list[Any]) -> list[Any]:
        """The lines that compute a node, given the array for the result."""
        primitive, static, inputs = node.primitive, node.static, node.inputs
        if primitive.products:
            return self._product(node, out)
        operands = [self.operand(x) for x in inputs]
        if _is_ufunc(node):
            return self._by_element(node, out, operands)
        if _sums_rows(node):
            ones = _bound(np.ones(math.prod(inputs[0].shape[:-1]), node.dtype))
            rows = _rows(self.looks.get(inputs[0], Expression(node=inputs[0])))
            return self.call(np.dot, ones, self.view(rows), out)
        if primitive.reduction is not None:
            arguments = operands[0], [str(static[0])], ["None"], out, [str(static[1])]
            return self.call(primitive.reduction.reduce, *arguments, name=f"{primitive.name}_over")
        arguments = [*operands, *map(_bound, static)]
        if primitive.into is not None:
            return self.call(primitive.into, out, *arguments, name=primitive.name)
        return self.call(np.copyto, out, self.call(primitive.forward, *arguments, name=primitive.name))

    def _by_element(self, node: Node, out: list[Any], operands: list[list[Any]]) -> list[Any]:
        """A call of a ufunc.

        An operand that is repeated along an axis is copied to where the result goes first: else NumPy fetches a buffer.
        """
        copied = [i for i, x in enumerate(node.inputs) if _is_repeated(x, node) and x.dtype == node.dtype][:1]
        for i in copied:
            self.line(*self.call(np.copyto, out, operands[i]))
            operands[i] = out
        function = node.primitive.forward
        return self.call(function, *operands, ["out=", *out] if function in _BY_KEYWORD else out)

    def _product(self, node: Node, out: list[Any]) -> list[Any]:
        """A call of np.dot, which takes matrices as they stand or transposed, batches over time too as one matrix."""
        product = read(node, self.looks)
        a, b = product.arguments
        if product.function == np.multiply.outer:
            return self.call(np.multiply, self.view(a[:, None]), self.view(b), out)
        if a.ndim > 2 and b.ndim == 2:
            a, out = _rows(a), self.view(_rows(Expression(node=node)))
        return self.call(np.dot if a.ndim < 3 and b.ndim < 3 else np.matmul, self.view(a), self.view(b), out)


def flat(graph: Graph) -> list[_Lines]:
    """One line for each node, in the order of the graph; results are copies."""
    lines = _Lines(graph)
    for node in graph.nodes:
        arguments = [*map(lines.operand, node.inputs), *map(_bound, node.static)]
        call = lines.call(node.primitive.forward, *arguments, name=node.primitive.name)
        lines.operands[node] = [f"v{len(lines.operands)}"]
        lines.line(*lines.operands[node], " = ", *call)
    for x in graph.outputs:
        lines.line("results.append(", *lines.call(np.array, lines.operand(x)), ")")
    return [lines]


def buffered(graphs: Sequence[Graph], kept: Container[int] = ()) -> list[_Lines]:
    """A line for each node that is no view, into arrays that are reused.

    Args:
        graphs: one; or those of a function for `LENGTHS`, which give a function with loops for every length.
        kept: the numbers of outputs that may be arrays which the next call writes to again; the others are new.
    """
    found = []
    for graph in graphs:
        looks = _looks(graph)
        found.append(lines := _Lines(graph, looks, _placed(graph, looks)))
        for node in graph.nodes:
            lines.add(node)
        for i, x in enumerate(graph.outputs):
            is_own = i in kept and _looked_at(lines.looks.get(x, Expression(node=x))).primitive is not None
            lines.line("results.append(", *lines.operand(x), ")" if is_own else ".copy())")
    return found


def _bound(thing: Any) -> list[Any]:
    """A constant array, or a static argument."""
    numbers: list[int] = []
    return [(split(thing, numbers), numbers)]


class Kernels:
    """The function of a graph; or, of those of a function for `LENGTHS`, that of n steps: they work in one memory.

    Raises:
        ValueError: several graphs are not alike.
    """

    def __init__(self, lines: Sequence[_Lines]):
        self.pattern = [Segment(lines[0].items)] if len(lines) == 1 else rolled([x.items for x in lines])
        self.arguments, self.functions = lines[0].arguments, lines[0].functions
        self.memory = np.empty(0, np.uint8)
        self.made: dict[int, Kernel] = {}

    def kernel(self, n: int = 0) -> Kernel:
        """The function of n steps."""
        if n not in self.made:
            while sum(self.made) > max(0, _MOST_STEPS - n):
                del self.made[next(iter(self.made))]
            self.made[n] = self._kernel(n)
        return self.made[n]

    def _kernel(self, n: int) -> Kernel:
        """The text, in which things that are alike have one name, and those that go with the turn are in a table."""
        offsets, size = self._planned(n)
        if size > len(self.memory):  # with room for more, so that the functions of many lengths have one
            self.memory = np.empty(max(size, len(self.memory) * 3 // 2), np.uint8)
        names, tables, lines = dict[tuple, str](), dict[str, list](), ["results = []"]

        def thing(kind: Any, numbers: Sequence[int]) -> Any:
            return kind.of(self.memory, *numbers) if type(kind) is _View else rebuilt(kind, numbers)

        for segment in self.pattern:
            columns, texts = dict[tuple, str](), list[str]()
            for item in (x for x in segment.items if not isinstance(x.what, _Made)):
                (text, *slots), rows, found = item.what, segment.rows(item, n), []
                for kind, a, b in slots:
                    things = tuple([row[a:b] for row in rows])
                    if type(kind) is _View:
                        things = tuple([(offsets[array] + offset, *form) for array, offset, *form in things])
                    letter = "a" if type(kind) is _View else "t" if kind is PART else "c"
                    if things.count(things[0]) < len(things):
                        found.append(columns.setdefault((kind, things), f"{letter}_{len(columns) + 1}"))
                    elif kind is PART:
                        found.append(str(things[0][0]))
                    else:
                        found.append(names.setdefault((kind, things[0]), f"{letter}{len(names) + 1}"))
                texts.append(text.format(*found))
            if segment.fewer is not None:
                table = f"table{len(tables) + 1}"
                tables[table] = [[thing(kind, things[k]) for kind, things in columns] for k in range(segment.turns(n))]
                lines.append(f"for [{', '.join(columns.values())}] in {table}:")
                texts = [f"    {text}" for text in texts]
            lines += texts
        text = "\n    ".join([f"def run({self.arguments}):", *lines, "return results\n"])
        namespace = self.functions | tables | {name: thing(*key) for key, name in names.items()}
        exec(compile(text, "<program>", "exec"), namespace)
        return Kernel(namespace.pop("run"), text)  # whose globals are the namespace: they are in no circle

    def _planned(self, n: int) -> tuple[dict[int, int], int]:
        """The place of each array in the memory, where one that is needed no more makes room; and the size of all."""
        made, last, time = list[tuple[int, int]](), dict[int, int](), 0
        for what, numbers in (item for segment in self.pattern for item in segment.all(n)):
            if isinstance(what, _Made):
                made.append((time + 3 * what.is_over, math.prod(numbers) * what.itemsize))
            else:
                last.update([(numbers[a], time + 1) for kind, a, _ in what[1:] if type(kind) is _View])
            time += 2
        events = [(time, False, array) for array, time in last.items()]
        events += [(time, True, array) for array, (time, _) in enumerate(made)]
        offsets, free, top = dict[int, int](), defaultdict[int, list[int]](list), 0
        for _, is_made, array in sorted(events):
            _, size = made[array]
            if not is_made:
                free[size].append(offsets[array])
            elif free[size]:
                offsets[array] = free[size].pop()
            else:
                offsets[array], top = top, top - -size // 64 * 64
        return offsets, top


def _placed(graph: Graph, excluded: Container[Node]) -> tuple[Any, ...]:
    """The arrays of which stacks are parts, by a value and how many are like it; and of the values that these hold, and
    of the stacks, the number of the array and the offset in it.

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
    some = [next(iter(row.values())) for row in rows]
    size = [x.size * x.dtype.itemsize for x in some]
    where = [{x: (row, (at - first[row]) * size[row]) for x, (row, at) in of.items()} for of in (places, stacks)]
    return list(zip(some, map(len, rows), strict=True)), *where


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
    """True if a sum goes over all axes but the last: a product with ones, which is quicker."""
    if node.primitive.reduction is not np.add or node.static[1]:
        return False
    ndim = node.inputs[0].ndim
    return ndim > 1 and node.dtype.kind == "f" and axes_of(node.static[0], ndim) == tuple(range(ndim - 1))
