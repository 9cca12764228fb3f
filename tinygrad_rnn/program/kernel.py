"""A graph as one function of NumPy calls, whose arrays are made once.

- `flat(graph)` calls the primitives' own forward functions, one after the other: bit for bit what the engine computes.
- `buffered(graphs)` writes every value into an array that is there already, bound to the function as a default value.
  An array whose value is not needed any more takes another one; the values that a stack holds are written in their
  places in it from the start; parts, transposes and other views are made once too. What is left is calls, each with the
  array for its result; of graphs of one function for a few lengths, with loops over the time steps.

Both give `Kernels`, which make the function of as many steps as are wanted.
"""

import math
import operator
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from tinygrad_rnn.primitives import axes_of
from tinygrad_rnn.program.expressions import Expression, Printer, Ref, read
from tinygrad_rnn.program.graph import Graph, Node
from tinygrad_rnn.program.rolling import Item, Segment, at_turns, filled, once, rolled, split

_MOST_STEPS = 20_000  # for which there are views, in the functions of different lengths that are kept
_BY_KEYWORD = (np.maximum, np.minimum)  # which take the array for the result by its name


class Kernel(NamedTuple):
    """`run(*inputs, *parameters)` gives the outputs as a list; `text` says what it does."""

    run: Callable[..., list[np.ndarray]]
    text: str


class _View(NamedTuple):
    """An array of ours, or a view of it. Its numbers are those of the array, of the offset, the shape and strides."""

    ndim: int
    dtype: str


class _Taken(NamedTuple):
    """A view of an argument, such as its transpose: text, and whole numbers, which are its numbers."""

    parts: tuple[Any, ...]


class _Bound(NamedTuple):
    """What is bound to a name before the function runs: what is made of whole numbers, which may go with the step."""

    kind: Any
    numbers: Sequence[int]


class _Lines:
    """The lines of a function in the making, and where values are.

    Attributes:
        items: the lines: text and kinds of what is bound, each with the range of its numbers; an array that is made for
            the line, whose shape are the last numbers; and whether it may be one that is needed here last.
        looks: the values that are views. where: the array, by its number, that holds a value, and the offset in it.
    """

    def __init__(self, graph: Graph):
        self.items: list[Item] = []
        self.functions: dict[str, Callable] = {}
        self.operands = {x: [f"x{i}"] for i, x in enumerate(graph.inputs, 1)}
        self.operands |= {x: [f"p{i}"] for i, x in enumerate(graph.parameters, 1)}
        self.arguments = ", ".join([name for (name,) in self.operands.values()])
        self.looks: dict[Node, Expression] = {}
        self.where: dict[Node, tuple[int, int]] = {}
        self.arrays = 0

    def call(self, function: Callable, *arguments: Sequence[Any], name: str = "") -> list[Any]:
        """A call of a function, by its own name or another."""
        name = f"_{name or function.__name__}"
        while not name.isidentifier() or self.functions.setdefault(name, function) != function:
            name = f"_f{len(self.functions)}"
        between = [part for parts in arguments for part in (", ", *parts)]
        return [f"{name}(", *between[1:], ")"]

    def line(self, parts: Sequence[Any], made: Node | None = None, rows: int = 0, is_over: bool = False) -> None:
        """Add a line, and make the array for a node, or for so many that are like it."""
        what: list[Any] = []
        numbers: list[int] = []
        for part in parts:
            kind, more = (
                part if isinstance(part, _Bound) else (int, [part.step]) if isinstance(part, Ref) else (part, [])
            )
            what.append((kind, len(numbers), len(numbers) + len(more)))
            numbers += more
        if made is not None:
            numbers += [rows, *made.shape] if rows else made.shape
            self.arrays += 1
        form = made and _View(made.ndim + bool(rows), made.dtype.str)
        self.items.append(Item((tuple(what), form, is_over), tuple(numbers)))

    # Where values are

    def place(self, graph: Graph) -> None:
        """Find the values that are views of others, and make the arrays of those that stand in stacks."""
        self.looks = _looks(graph)
        rows, places, self.stacks = _placed(graph, self.looks)
        self.where |= places | self.stacks
        self.scratch = np.empty(max((_bytes(x) for x in graph.nodes), default=0), np.uint8)
        for x, count in rows:
            self.line([], x, count)
        for x in (x for x in places if x.value is not None):
            self.line(self.call(np.copyto, self.view(Expression(node=x)), _bound(x.value)))

    def operand(self, x: Node) -> list[Any]:
        """A leaf, or a value that has been computed."""
        if x not in self.operands:
            self.operands[x] = self.view(self.looks.get(x, Expression(node=x)))
        return self.operands[x]

    def view(self, look: Expression) -> list[Any]:
        """A look at a value, such as its transpose: of an array of ours, made once; else made where it is needed."""
        base = _looked_at(look)
        if look.function is None and base in self.operands:
            return self.operands[base]
        if base in self.where:
            whole = np.ndarray(base.shape, base.dtype, self.scratch)
            view = whole if look.function is None else look.on(lambda _: whole)
            if view is whole or np.may_share_memory(view, whole):
                array, offset = self.where[base]
                if view is not whole:
                    offset += view.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
                return [_Bound(_View(view.ndim, view.dtype.str), (array, offset, *view.shape, *view.strides))]
        elif base.value is not None:
            return _bound(look.on(lambda x: x.value))
        parts = Printer(lambda x: self.view(Expression(node=x)), {}).parts(look)
        if base in self.where or any("[" in part for part in parts if isinstance(part, str)):
            return parts
        kinds = tuple([int if isinstance(part, Ref) else part for part in parts])
        return [_Bound(_Taken(kinds), [part.step for part in parts if isinstance(part, Ref)])]

    # Lines

    def add(self, node: Node) -> None:
        """The lines that compute a node."""
        if node in self.looks:
            return
        made, placed = None if node in self.where else node, self.where if node in self.stacks else {}
        self.where.setdefault(node, (self.arrays, 0))
        if node.is_stack:
            self.line([], made)
            for i, x in enumerate(node.inputs):
                if x not in placed or x.is_stack:
                    self.line(self.call(np.copyto, self.view(Expression(node=node)[(i, ...)]), self.operand(x)))
        else:
            is_over = _is_ufunc(node) and not any(x in self.looks or _is_repeated(x, node) for x in node.inputs)
            self.line(self._calls(node, self.operand(node)), made, is_over=is_over)

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
        function, copies = node.primitive.forward, list[Any]()
        for i, x in enumerate(node.inputs):
            if _is_repeated(x, node) and x.dtype == node.dtype and not copies:
                copies = [*self.call(np.copyto, out, operands[i]), "\n"]
                operands[i] = out
        return [*copies, *self.call(function, *operands, ["out=", *out] if function in _BY_KEYWORD else out)]

    def _product(self, node: Node, out: list[Any]) -> list[Any]:
        """A call of np.dot, which takes matrices as they stand or transposed, batches over time too as one matrix."""
        product = read(node, self.looks)
        a, b = product.arguments
        if product.function == np.multiply.outer:
            return self.call(np.multiply, self.view(a[:, None]), self.view(b), out)
        if a.ndim > 2 and b.ndim == 2:
            a, out = _rows(a), self.view(_rows(Expression(node=node)))
        return self.call(np.dot if a.ndim < 3 and b.ndim < 3 else np.matmul, self.view(a), self.view(b), out)


def flat(graph: Graph) -> "Kernels":
    """One line for each node, in the order of the graph; results are copies."""
    lines = _Lines(graph)
    for node in graph.nodes:
        arguments = [*map(lines.operand, node.inputs), *map(_bound, node.static)]
        call = lines.call(node.primitive.forward, *arguments, name=node.primitive.name)
        lines.operands[node] = [f"v{len(lines.operands)}"]
        lines.line([*lines.operands[node], " = ", *call])
    for x in graph.outputs:
        lines.line(["results.append(", *lines.call(np.array, lines.operand(x)), ")"])
    return Kernels([lines])


def buffered(graphs: Sequence[Graph], kept: Container[int] = ()) -> "Kernels":
    """A line for each node that is no view, into arrays that are reused.

    Args:
        graphs: one; or those of a function for `LENGTHS`, which give a function with loops for every length.
        kept: the numbers of outputs that may be arrays which the next call writes to again; the others are new.

    Raises:
        ValueError: several graphs are not alike.
    """
    found = []
    for graph in graphs:
        found.append(lines := _Lines(graph))
        lines.place(graph)
        for node in graph.nodes:
            lines.add(node)
        for i, x in enumerate(graph.outputs):
            is_own = i in kept and _looked_at(lines.looks.get(x, Expression(node=x))).primitive is not None
            lines.line(["results.append(", *lines.operand(x), ")" if is_own else ".copy())"])
    return Kernels(found)


def _bound(thing: Any) -> list[Any]:
    """A constant array, or a static argument."""
    numbers: list[int] = []
    return [_Bound(split(thing, numbers), numbers)]


class Kernels:
    """A pattern of lines; `kernel(n)` is the function of n steps, and all of them work in one memory.

    Attributes:
        made: those that were wanted last. uses: how often a line needs a view of an argument, in a loop twice.
    """

    def __init__(self, lines: Sequence[_Lines]):
        self.pattern = once(lines[0].items) if len(lines) == 1 else rolled([x.items for x in lines])
        self.arguments, self.functions = lines[0].arguments, lines[0].functions
        if any(x.functions != self.functions for x in lines):
            raise ValueError("functions that are not alike")
        self.memory = np.empty(0, np.uint8)
        self.made: dict[int, Kernel] = {}
        self.uses: Counter[tuple] = Counter()
        for segment in self.pattern.segments:
            for (parts, *_), numbers in segment.items:
                for kind, a, b in [part for part in parts if type(part[0]) is _Taken]:
                    self.uses[kind, numbers[a:b].tobytes()] += 1 if segment.fewer is None else 2

    def kernel(self, n: int = 0) -> Kernel:
        """The function of n steps."""
        kernel = self.made.pop(n, None)
        if kernel is None:
            offsets, size = self._offsets(n)
            if size > len(self.memory):  # with room for more, so that the functions of many lengths have one
                self.memory = np.empty(max(size, len(self.memory) * 3 // 2), np.uint8)
            while self.made and sum(self.made) + n > _MOST_STEPS:
                del self.made[next(iter(self.made))]
            kernel = _Text(self, n, offsets).kernel()
        self.made[n] = kernel
        return kernel

    def _offsets(self, n: int) -> tuple[list[int], int]:
        """Where in the memory each array stands, one that is needed no more making room; and the size of all."""
        starts, uses = self.pattern.starts(n), [(np.zeros(0, int),) * 2]
        sizes, over = np.full(starts[-1], -1), np.zeros(starts[-1], bool)
        for segment, (start, stop) in zip(self.pattern.segments, pairwise(starts), strict=True):
            for j, ((parts, made, is_over), numbers) in enumerate(segment.items):
                lines = np.arange(start + j, stop, len(segment.items))
                at = at_turns(numbers, len(lines), n)
                over[lines] = is_over
                if made is not None:
                    sizes[lines] = at[:, len(numbers) - made.ndim :].prod(axis=1) * np.dtype(made.dtype).itemsize
                uses += [(at[:, first], lines) for kind, first, _ in parts if type(kind) is _View]
        makers = np.flatnonzero(sizes >= 0)
        last, ends = makers.copy(), defaultdict(list)
        np.maximum.at(last, *map(np.concatenate, zip(*uses, strict=True)))
        for array, (line, size) in enumerate(zip(last.tolist(), sizes[makers].tolist(), strict=True)):
            ends[line].append((array, size))
        offsets: list[int] = []
        free, top = defaultdict(list), 0
        for line, (size, is_over) in enumerate(zip(sizes.tolist(), over.tolist(), strict=True)):
            dead = ends.get(line, ())
            for array, count in dead if is_over else ():
                free[count].append(offsets[array])
            if size >= 0:
                offsets.append(free[size].pop() if free[size] else top)
                top += -size // 64 * -64 if offsets[-1] == top else 0
            for array, count in () if is_over else dead:
                free[count].append(offsets[array])
        return offsets, top


class _Text:
    """A function of n steps in the making: names for what is bound, and columns of what goes with the turn."""

    def __init__(self, kernels: Kernels, n: int, offsets: Sequence[int]):
        self.kernels, self.n, self.offsets = kernels, n, offsets
        self.bound: dict[str, Any] = dict(kernels.functions)
        self.names: dict[tuple, str] = {}
        self.lines = ["results = []"]

    def kernel(self) -> Kernel:
        """The function."""
        for segment in self.kernels.pattern.segments:
            self._add(segment, segment.turns(self.n))
        arguments, text = self.kernels.arguments, "\n    ".join([*self.lines, "return results"])
        code = f"def run({', '.join([arguments, *(f'{name}={name}' for name in self.bound)])}):\n    {text}"
        namespace = dict(self.bound)
        exec(compile(code, "<program>", "exec"), namespace)
        run = namespace.pop("run")  # whose globals are the namespace: they are in no circle
        return Kernel(run, f"def run({arguments}):\n    {text}\n")

    def _add(self, segment: Segment, turns: int) -> None:
        """The lines of a segment."""
        columns: dict[tuple, str] = {}
        found: list[str] = []
        for (parts, *_), numbers in segment.items:
            rows, text = at_turns(numbers, turns, self.n).tolist(), ""
            for kind, a, b in parts if turns else ():
                if isinstance(kind, str):
                    text += kind
                    continue
                things = [(kind, *row[a:b]) for row in rows]
                if type(kind) is _View:
                    things = [(kind, self.offsets[array] + offset, *form) for _, array, offset, *form in things]
                if len(set(things)) > 1:
                    text += columns.setdefault(tuple(things), f"{'t' if kind is int else 'a'}_{len(columns) + 1}")
                else:
                    text += self._name(
                        things[0], type(kind) is _Taken and self.kernels.uses[kind, numbers[a:b].tobytes()]
                    )
            found += text.splitlines()
        if segment.fewer is None:
            self.lines += found
        elif turns:
            table = list(zip(*[[self._thing(*x) for x in things] for things in columns], strict=True))
            head = f"{', '.join(columns.values())}, in {self._bind('r', table)}" if columns else f"_ in range({turns})"
            self.lines += [f"for {head}:", *(f"    {line}" for line in found)]

    def _name(self, thing: tuple, uses: int) -> str:
        """The name of what is bound, or of a view of an argument that is needed several times; else what it is."""
        kind, *numbers = thing
        if kind is int:
            return str(*numbers)
        if type(kind) is _Taken and thing not in self.names:
            texts = map(str, numbers)
            text = "".join([next(texts) if part is int else part for part in kind.parts])
            if uses == 1:
                return text
            self.names[thing] = f"v{len(self.names)}"
            self.lines.append(f"{self.names[thing]} = {text}")
        elif thing not in self.names:
            self.names[thing] = self._bind("a" if type(kind) is _View else "c", self._thing(*thing))
        return self.names[thing]

    def _bind(self, letter: str, thing: Any) -> str:
        name = f"{letter}{len(self.bound)}"
        self.bound[name] = thing
        return name

    def _thing(self, kind: Any, *numbers: int) -> Any:
        """What is bound: a view of the memory, or what was split."""
        if type(kind) is not _View:
            return filled(kind, iter(numbers))
        offset, *form = numbers
        return np.ndarray(form[: kind.ndim], kind.dtype, self.kernels.memory, offset, form[kind.ndim :])


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
    where = [
        {x: (row, (at - first[row]) * _bytes(some[row])) for x, (row, at) in of.items()} for of in (places, stacks)
    ]
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
    """Whether a sum goes over all axes but the last: a product with ones, which is quicker."""
    if node.primitive.reduction is not np.add or node.static[1]:
        return False
    ndim = node.inputs[0].ndim
    return ndim > 1 and node.dtype.kind == "f" and axes_of(node.static[0], ndim) == tuple(range(ndim - 1))


def _bytes(x: Node) -> int:
    return x.size * x.dtype.itemsize
