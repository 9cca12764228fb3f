"""A trace written out as a Python module that needs NumPy alone: the backpropagation through time one writes by hand.

- `written(trace)` is the module's text. Its lines stand in the order of execution, time step by time step, each step
  under the equations that it computes; `rolled=True` makes loops over t of the steps that are alike.

How it is made: `_Graph` says which nodes are written as lines of their own and to which step each line belongs;
`_Lines` makes the lines, whose references to variables still know their step; `_Text` finds the loops and writes them.
Each primitive stands in `_CODE` or `_form` with the very NumPy operations of its forward function, so that the module
gives what the engine gives, bit for bit.
"""

from __future__ import annotations

import builtins
import functools
import itertools
import keyword
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from tinygrad_rnn.backward import GradientName
from tinygrad_rnn.folding import fold
from tinygrad_rnn.notation import BESIDE, ONE, Writer, Written, broadcasts
from tinygrad_rnn.notation import PRODUCT as BY_ELEMENT
from tinygrad_rnn.primitives import TABLE, TESTS
from tinygrad_rnn.program.graph import Node
from tinygrad_rnn.program.tracing import Trace
from tinygrad_rnn.typesetting import Typesetting

__all__ = ["written"]

_DEEPEST = 8  # an expression that is nested more deeply gets lines of its own,
_MOST_TERMS = 8  # as do sums of more terms than this,
_LONGEST_CONSTANT = 40  # and constants of more characters
_WIDTH = 110  # of a comment, and of lists of names
_SHORT = 3  # characters of a name that is made plural to tell it from another
_IN_A_ROW = 6  # variables that start as zeros in one line


def written(trace: Trace, rolled: bool = False, level: str = "named") -> str:
    """The text of a module whose function `bptt(*inputs, *parameters)` returns the loss and its gradients.

    The function returns (loss, [gradient, ...]): a float, and arrays in the order of the trace's outputs; thirdly a list
    of the further outputs' arrays, if there are any.

    Args:
        rolled: write steps that are alike as loops over t, not one by one.
        level: "named", a line for every variable; or "primitives", one for every node.

    Raises:
        ValueError: another level, or a primitive that is not in the table and so cannot be written.
    """
    if level not in ("named", "primitives"):
        raise ValueError(f"written(level={level!r}): not one of 'named', 'primitives'")
    graph = _Graph(trace, folds=level == "named")
    return _Text(_Lines(graph, rolled), rolled).module()


# How each primitive is written. In a template, {0*} is operand 0 where it must bind as tightly as a factor of *.
_ANY, _TERM, _FACTOR, _SIGNED, _ATOM = range(5)
_NEEDS = {",": _ANY, "+": _TERM, "*": _FACTOR, "-": _SIGNED, ".": _ATOM}
_CODE: dict[str, tuple[str, int]] = {
    "negative": ("-{0-}", _SIGNED),
    "add": ("{0+} + {1*}", _TERM),
    "subtract": ("{0+} - {1*}", _TERM),
    "multiply": ("{0*} * {1-}", _FACTOR),
    "divide": ("{0*} / {1-}", _FACTOR),
    "lerp": ("(1.0 - {2*}) * {0-} + {2*} * {1-}", _TERM),
    "matmul": ("{0*} @ {1-}", _FACTOR),
    "sigmoid": ("sigmoid({0,})", _ATOM),
    "relu": ("np.maximum({0,}, 0)", _ATOM),
    "softplus": ("np.logaddexp(0.0, {0,})", _ATOM),
    "where": ("np.where({2,}, {0,}, {1,})", _ATOM),
    "cross_entropy": ("cross_entropy({0,}, {1,})", _ATOM),
    **{
        name: (f"{{0+}} {operator} {{1+}}", _ANY)
        for name, operator in zip(
            ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"),
            ("==", "!=", "<", "<=", ">", ">="),
            strict=True,
        )
    },
}
_HELPERS = {
    "sigmoid": """def sigmoid(x):
    with np.errstate(over="ignore"):  # where e^-x is infinite, 0 is right
        return 1.0 / (1.0 + np.exp(-x))
""",
    "log_softmax": """def log_softmax(x, axis):
    largest = np.max(x, axis=axis, keepdims=True)  # so that nothing overflows
    shifted = x - np.where(np.isfinite(largest), largest, 0.0)
    return shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))
""",
    "cross_entropy": """def cross_entropy(x, y):
    return -np.sum(y * np.where(y == 0, 0.0, log_softmax(x, -1)), dtype=x.dtype)
""",
    "scatter": """def scatter(x, index, shape):
    out = np.zeros(shape, x.dtype)
    np.add.at(out, index, x)
    return out
""",
}
_RESERVED = {*keyword.kwlist, *keyword.softkwlist, *dir(builtins), *_HELPERS, "np", "bptt", "t", "T"}
_WORDS = {"add": "sum", "subtract": "difference", "multiply": "product", "linear": "product", "affine": "sum"}
_VIEWS = {"identity", "reshape", "transpose", "getitem"}  # which may give the very array that they are given


class _At(int):
    """A whole number in the code which may go with the time step, as in xs[0], xs[1], ..."""


def _form(node: Node, operands: Sequence[Node]) -> tuple[list[Any], Sequence[Node], int]:
    """How a node is written: the parts of a template, the operands it speaks of, and how tightly it binds."""
    op, static = node.operation, node.static
    if op in _CODE:
        template, binds = _CODE[op]
        return [template], operands, binds
    if op in ("linear", "affine"):
        template, factors = _product(*operands[:2], 0)
        binds = _FACTOR
        if op == "affine":
            second, more = _product(*operands[2:4], 2)
            template, factors, binds = f"{template} + {second} + {{4*}}", [*factors, *more, operands[4]], _TERM
        return [template], factors, binds
    if op == "outer":
        a, b = operands
        if a.ndim == 1:
            return ["np.outer({0,}, {1,})"], operands, _ATOM
        left, right = "{0.}.T", "{1-}"
        if a.ndim > 2:
            left, right = f"{{0.}}.reshape(-1, {a.shape[-1]}).T", f"{{1.}}.reshape(-1, {b.shape[-1]})"
        return _dot(left, right, operands), operands, _FACTOR
    if op == "identity":
        return ["{0,}"], operands, _ANY
    if op == "transpose" and static[0] is None:
        return ["{0.}.T"], operands, _ATOM
    if op == "getitem":
        return ["{0.}[", *_index(static[0]), "]"], operands, _ATOM
    if op == "scatter":
        place = _index(static[0])
        bare = isinstance(static[0], (int, np.integer, np.ndarray))
        return ["scatter({0,}, ", *(place if bare else ["np.s_[", *place, "]"]), f", {static[1]})"], operands, _ATOM
    if op == "astype":
        return [f"{{0.}}.astype({_dtype(static[0])})"], operands, _ATOM
    if op == "broadcast_to":
        return [f"np.full({_shape(static[0])}, {{0,}})"], operands, _ATOM
    listed = ", ".join(f"{{{i},}}" for i in range(len(operands)))
    if op == "einsum":
        return [f'np.einsum("{static[0]}", {listed})'], operands, _ATOM
    if op in ("concatenate", "stack"):
        return [f"np.{op}([{listed}], axis={static[0]})"], operands, _ATOM
    if op == "log_softmax":
        return [f"log_softmax({{0,}}, {static[0]})"], operands, _ATOM
    if op in ("sum", "max", "min", "cumsum"):
        axis = "" if static[0] is None else f", axis={static[0]}"
        keepdims = ", keepdims=True" if static[1:] == (True,) else ""
        return [f"np.{op}({{0,}}{axis}{keepdims})"], operands, _ATOM
    if op in ("reshape", "transpose"):
        return [f"np.{op}({{0,}}, {static[0]})"], operands, _ATOM
    return [f"np.{op}({listed})"], operands, _ATOM


@functools.cache
def _pieces(part: str | _At) -> list[Any]:
    """A part of a template as texts, and of each operand its number and how tightly it must bind."""
    if isinstance(part, _At):
        return [part]
    pieces = re.split(r"\{(\d+[,+*.-])\}", part)
    return [(int(x[:-1]), _NEEDS[x[-1]]) if i % 2 else x for i, x in enumerate(pieces) if x]


def _product(W: Node, x: Node, first: int) -> tuple[str, list[Node]]:
    """W x of a vector, x ᵗW of a batch; the operands are counted from `first`."""
    left, right = f"{{{first}*}}", f"{{{first + 1}-}}"
    if x.ndim == 1:
        return _dot(left, right, (W, x))[0], [W, x]
    if W.operation == "transpose" and W.name is None and W.inputs[0].primitive is None:
        return _dot(left, right, (x,))[0], [x, W.inputs[0]]  # U for the transpose of ᵗU
    return _dot(left, f"{{{first + 1}.}}.T", (W, x))[0], [x, W]


def _dot(left: str, right: str, operands: Iterable[Node]) -> list[str]:
    """A matrix product; `@` adds up in another order than np.dot where an operand is every other element, say."""
    if any(x.operation == "getitem" and not isinstance(x.static[0], int) for x in operands):
        return [f"np.dot({left}, {right})"]
    return [f"{left} @ {right}"]


def _index(index: Any) -> list[Any]:
    """An index as it stands in brackets."""
    if isinstance(index, tuple):
        parts = [part for i, x in enumerate(index) for part in ([", "] if i else []) + _index(x)]
        return [*parts, ","] if len(index) == 1 else parts or ["()"]
    if isinstance(index, slice):
        ends = ["" if x is None else str(int(x)) for x in (index.start, index.stop, index.step)]
        return [":".join(ends if ends[2] else ends[:2])]
    if isinstance(index, (bool, np.bool_)):
        return [str(bool(index))]
    if isinstance(index, (int, np.integer)):
        return [_At(index)]
    if index is None or index is Ellipsis:
        return ["None" if index is None else "..."]
    return [_array(np.asarray(index))]


def _array(value: np.ndarray) -> str:
    """A constant, to the last bit."""
    numbered = "" if value.dtype in (np.float64, np.int64, np.bool_) else f", {_dtype(value.dtype)}"
    if value.ndim and len({x.tobytes() for x in np.ravel(value)}) <= 1:
        first = value.flat[0].item() if value.size else 0
        shape = _shape(value.shape)
        if first in (0, 1) and math.copysign(1, first) == 1:
            dtype = "" if value.dtype == np.float64 else f", {_dtype(value.dtype)}"
            return f"np.{'ones' if first else 'zeros'}({shape}{dtype})"
        return f"np.full({shape}, {_number(first)}{numbered})"
    if value.ndim == 0:
        return f"{_dtype(value.dtype)}({_number(value.item())})"
    return f"np.array({_number(value.tolist())}{numbered})"


def _number(value: Any) -> str:
    return re.sub(r"\b(inf|nan)\b", r"np.\1", repr(value))


def _dtype(dtype: np.dtype) -> str:
    return "np.bool_" if dtype == np.bool_ else f"np.{dtype.name}"


def _shape(shape: Any) -> str:
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    return str(shape[0]) if len(shape) == 1 else str(shape)


class _Graph:
    """Which nodes of a trace are written as lines of their own, and at which time step.

    Attributes:
        live: what the outputs depend on, in the order of execution. forward: those of them that the loss is made of.
        operands: of each node; what changes no bit, such as a factor of 1, is left out where `folds`.
        step: of each node, its own or that of what it is made of.
        sums: the terms of each node that is a sum. lines: the nodes that get lines.
        gathered: the sums over time, to which each step adds its terms.
    """

    def __init__(self, trace: Trace, folds: bool):
        self.trace, self.folds = trace, folds
        self.operands: dict[Node, list[Node]] = {}
        same: dict[Node, Node] = {}
        for node in trace.graph.nodes:
            self._check(node)
            self.operands[node] = operands = [same.get(x, x) for x in node.inputs]
            if folds:
                self.operands[node] = operands = [self._unspread(node, operands, x) for x in operands]
                if node.name is None and (kept := _unchanged(node, operands)) is not None:
                    same[node] = kept
        self.outputs = [same.get(x, x) for x in trace.graph.outputs]
        count = 1 + len(trace.wrt_names)
        live = self._ancestors(self.outputs)
        self.forward = self._ancestors([self.outputs[0], *self.outputs[count:]])
        self.live = [x for x in trace.graph.nodes if x in live]
        self.uses = Counter(x for node in self.live for x in self.operands[node])
        self.uses.update(z for node in self.live if node.operation == "lerp" for z in self.operands[node][2:])
        self._find_steps()
        self._find_sums()
        self._find_lines()

    @staticmethod
    def _check(node: Node) -> None:
        if TABLE.get(node.operation) is not node.primitive and node.primitive not in TESTS.values():
            raise ValueError(
                f"compile: the primitive {node.operation!r} is not in the table of primitives, so it cannot be written "
                "as NumPy; compute the same with the functions of tinygrad_rnn (and without checkpoint)"
            )

    def _unspread(self, node: Node, operands: list[Node], x: Node) -> Node:
        """The number that an operand repeats, where NumPy's own broadcasting does so because of the other operand."""
        spread = x.operation == "broadcast_to" and x.name is None and self.operands[x][0].shape == ()
        others = [y for y in operands if y is not x and y.shape == node.shape]
        arithmetic = node.operation in ("add", "subtract", "multiply", "divide")
        return self.operands[x][0] if spread and others and arithmetic else x

    def _ancestors(self, nodes: Iterable[Node]) -> set[Node]:
        found = set(nodes)
        waiting = list(found)
        while waiting:
            for x in self.operands.get(waiting.pop(), ()):
                if x not in found:
                    found.add(x)
                    waiting.append(x)
        return found

    def _find_steps(self) -> None:
        """A variable that has no step itself has that of what it is made of, if there are several, as y(1), y(2)."""
        named = Counter((x.name, x.layer) for x in self.live if x.name is not None and x.step is None)
        once = {key for key, count in named.items() if count == 1}
        self._pass_steps(once)
        places: dict[tuple, set] = {}
        for x in self.live:
            if x.name is not None and x.step is None:
                places.setdefault((x.name, x.layer), set()).add(self.near[x])
        alone = {key for key, steps in places.items() if len(steps) == 1} - once
        if alone:
            self._pass_steps(once | alone)

    def _pass_steps(self, once: set[tuple]) -> None:
        self.near: dict[Node, int | None] = {}  # the step in whose course a node is computed
        for node in self.live:
            if node.name is not None and node.step is None and (node.name, node.layer) in once:
                self.near[node] = None
            elif node in self.forward:
                steps = [self.step(x) for x in self.operands[node]] if node.step is None else [node.step]
                self.near[node] = max((s for s in steps if s is not None), default=None)
            else:
                before, back = [], []
                for x in self.operands[node]:
                    if x.primitive is not None and (s := self.step(x)) is not None:
                        (before if x in self.forward else back).append(s)
                self.near[node] = min(back, default=max(before, default=None))
        fixed: set[Node] = set()  # what is made of leaves alone has the step of what it goes into: Y(1)
        for node in self.live:
            alone = node.name is not None and (node.step is not None or (node.name, node.layer) in once)
            if not alone and all(x.primitive is None or x in fixed for x in self.operands[node]):
                fixed.add(node)
        for node in reversed(self.live):
            for x in self.operands[node]:
                if x in fixed:
                    self.near[x] = self.step(node) if x in self.forward else self.near[node]
        late = {x for node in self.live if self.near[node] is not None for x in self.operands[node]} | set(self.outputs)
        for x in self.forward & self.near.keys() - late:  # what is only used after the last step does not belong to it
            if x.name is None and x.step is None:
                self.near[x] = None

    def step(self, x: Node) -> int | None:
        """That of a variable; or that in whose course what has no name is computed."""
        return x.step if x.primitive is None or (x.name is not None and x.step is not None) else self.near.get(x)

    def _find_sums(self) -> None:
        self.sums: dict[Node, list[Node]] = {}
        wanted = set(self.outputs)
        for node in self.live:
            if node.operation != "add":
                continue
            first, term = self.operands[node]
            alike = (first.shape, first.dtype) == (node.shape, node.dtype)
            ends = first.name is not None or first in wanted or self.uses[first] > 1
            if first in self.sums and alike and not ends:
                self.sums[node] = self.sums.pop(first)
                self.sums[node].append(term)
            elif alike:
                self.sums[node] = [first, term]
        steps = {x: {self.step(y) for y in terms if y.primitive is not None} for x, terms in self.sums.items()}
        self.gathered = {x for x, terms in self.sums.items() if len(terms) > _MOST_TERMS or len(steps[x]) > 1}
        self.near.update((x, None) for x in self.gathered if x.step is None)
        if not self.folds:
            self.sums = {x: terms for x, terms in self.sums.items() if x in self.gathered}
        self.within = set()  # the sums so far
        for x, terms in self.sums.items():
            for _ in terms[2:]:
                x = self.operands[x][0]
                self.within.add(x)

    def _find_lines(self) -> None:
        self.lines: dict[Node, None] = {}
        depth: dict[Node, int] = {}
        wanted = set(self.outputs)
        for node in self.live:
            if node in self.within:
                continue
            for x in self.operands[node]:
                if x.primitive is None and x.value is not None and self._own_line(x):
                    self.lines[x] = None
            operands = self.sums.get(node, self.operands[node])
            depth[node] = 1 + max((depth.get(x, 0) for x in operands), default=0)
            short = node.operation == "transpose" and operands[0].primitive is None and node.name is None  # U.T
            folded = self.folds and self.uses[node] == 1 and node.name is None and depth[node] < _DEEPEST
            if node in wanted or node in self.gathered or not (folded or short):
                self.lines[node] = None
                depth[node] = 0

    def _own_line(self, constant: Node) -> bool:
        return constant.name is not None or (constant.ndim > 0 and len(_array(constant.value)) > _LONGEST_CONSTANT)


def _unchanged(node: Node, operands: Sequence[Node]) -> Node | None:
    """The operand that a node hands on as it is."""
    if node.operation == "identity":
        return operands[0]
    if node.operation == "multiply":
        for one, x in (operands, operands[::-1]):
            neutral = one.primitive is None and one.value is not None and one.shape == () and one.value == 1
            if neutral and (x.shape, x.dtype) == (node.shape, node.dtype):
                return x
    return None


@dataclass(eq=False)
class _Family:
    """A variable over all its steps.

    Attributes:
        base: its name without a step. stepped: whether it has steps.
        zeroed: how it starts, if it is a sum to which each step adds. local: whether no step needs that of another.
    """

    base: str
    stepped: bool
    zeroed: str = ""
    zeroed_like: str = ""
    local: bool = False


class _Ref(NamedTuple):
    """A variable in a line."""

    family: _Family
    step: int | None


_Part = str | _Ref | _At


@dataclass(eq=False)
class _Line:
    """One assignment. `group` is the step to whose lines it belongs; `node` what it makes, where it completes that."""

    target: _Ref
    sign: str
    parts: list[_Part]
    group: int | None
    node: Node | None
    forward: bool
    place: tuple

    def form(self) -> tuple:
        """What lines that are alike have in common: all but the numbers."""
        return (self.target.family, self.sign, *(_kind(part) for part in self.parts))

    def numbers(self) -> list[int | None]:
        """The steps and other whole numbers, target first."""
        of = [part.step if isinstance(part, _Ref) else part for part in self.parts if not isinstance(part, str)]
        return [self.target.step, *of]

    def refs(self) -> Iterator[_Ref]:
        """The variables that it takes."""
        return (part for part in self.parts if isinstance(part, _Ref))


def _kind(part: _Part) -> Any:
    return part if isinstance(part, str) else part.family if isinstance(part, _Ref) else _At


class _Lines:
    """The lines of the program, forward and backward, in the order of execution."""

    def __init__(self, graph: _Graph, rolled: bool):
        self.graph, self.rolled = graph, rolled
        trace = graph.trace
        self.layered = len({x.layer for x in graph.live} - {None}) > 1
        self.taken: set[str] = set(_RESERVED)
        self.stepped: set[str] = set()
        self.tries: dict[tuple, Iterator[str]] = {}
        self.families: dict[tuple, _Family] = {}
        self.seen: Counter = Counter()
        leaves = [*zip(trace.graph.inputs, trace.input_names, strict=True)]
        leaves += [(x, self._lettered(x, "parameter")) for x in trace.graph.parameters]
        self.ref: dict[Node, _Ref] = {x: _Ref(self._new(name, False), None) for x, name in leaves}
        self.arguments = list(self.ref)

        self.lines: list[_Line] = []
        self.copied = {x for x in graph.outputs if x.name is not None and graph.outputs.count(x) > 1}
        self.position = {x: i for i, x in enumerate(graph.live)}
        self._choose_zeroed()
        own = [self._named_gradient(i, x) for i, x in enumerate(graph.outputs)]  # before others take their names
        for node in graph.lines:
            self._write(node)
        self.returned = [self._returned(x, family) for x, family in zip(graph.outputs, own, strict=True)]
        self._sink()
        self.lines.sort(key=lambda line: line.place)

    # Names

    def _lettered(self, node: Node, otherwise: str = "") -> str:
        """A name with its layer: h2, W2_i."""
        name = node.name if node.name is not None else otherwise
        base, mark, below = str(name).partition("_")
        return f"{base}{node.layer}{mark}{below}" if self.layered and node.layer is not None else str(name)

    def _new(self, name: str, stepped: bool) -> _Family:
        """A variable of its own, called as like the name as can be."""
        name = unicodedata.normalize("NFKC", name)[:_LONGEST_CONSTANT]
        name = "".join(c if f"a{c}".isidentifier() else "_" for c in name).strip("_") or "v"
        name = name if name.isidentifier() else f"v_{name}"
        tries = self.tries.setdefault((name, stepped), self._tries(name, stepped))
        base = next(x for x in tries if not self._clashes(x, stepped))
        if stepped and not self.rolled:
            self.stepped.add(base)
        else:
            self.taken.add(base)
        return _Family(base, stepped)

    @staticmethod
    def _tries(name: str, stepped: bool) -> Iterator[str]:
        """A name; c, which is a parameter, as cs[t]; and what has the same name as others with a number."""
        yield name
        if stepped and len(name) <= _SHORT:
            yield f"{name}s"
        yield from (f"{name}_v{number}" if name[-1].isdigit() else f"{name}{number}" for number in itertools.count(2))

    def _clashes(self, base: str, stepped: bool) -> bool:
        if stepped and not self.rolled:  # h_1 is another than h
            return base in self.stepped or any(re.fullmatch(rf"{re.escape(base)}_m?\d+", x) for x in self.taken)
        stem = re.fullmatch(r"(.+)_m?\d+", base)
        return base in self.taken or bool(stem and stem[1] in self.stepped)

    def _named(self, node: Node, parts: Sequence[_Part]) -> _Ref:
        """What a line's variable is called; what has no name is called alike if it is made alike at each step."""
        step = self.graph.step(node)
        if node.name is not None:
            key, name = (type(node.name), node.name, node.layer), self._lettered(node)
        else:
            shapes = [(p.family, _offset(p.step, step)) if isinstance(p, _Ref) else _kind(p) for p in parts]
            key, name = ("made", node.layer, *shapes), self._word(node, parts)
        return _Ref(self._family(key, step, name), step)

    def _family(self, key: tuple, step: int | None, name: str) -> _Family:
        """The variable of a step; where several are called the same at one step, each its own."""
        count = self.seen[key, step]
        self.seen[key, step] += 1
        key = (*key, count, step is None)
        if key not in self.families:
            self.families[key] = self._new(name, step is not None)
        return self.families[key]

    def _word(self, node: Node, parts: Sequence[_Part]) -> str:
        if node is self.graph.outputs[0]:
            return "loss"
        operands = self.graph.operands.get(node, ())
        if node in self.graph.gathered and node in self.graph.sums:
            return f"{parts[0].family.base}_sum" if isinstance(parts[0], _Ref) else "total"
        if len(operands) == 1 and operands[0].name is not None:
            return f"{node.operation}_{self._lettered(operands[0])}"
        return _WORDS.get(node.operation, node.operation or "constant")

    # Lines

    def _choose_zeroed(self) -> None:
        """In loops, a variable that is a sum over time at some steps starts as 0 at all."""
        sums = {(x.name, x.layer) for x in self.graph.gathered if x.name is not None} if self.rolled else set()
        self.zeroed = {x for x in self.graph.lines if (x.name, x.layer) in sums and x.primitive is not None}
        self.zeroed |= self.graph.gathered if self.rolled else set()

    def _write(self, node: Node) -> None:
        graph = self.graph
        if node in graph.gathered or node in self.zeroed:
            self._write_sum(node)
            return
        parts, _ = self._made(node)
        self.ref[node] = target = self._named(node, parts)
        forward = node in graph.forward
        group = graph.near.get(node) if not forward else target.step
        if node.primitive is None:
            group, place = None, (False, -1, 1)
        else:
            place = (not forward, self.position[node], 1)
        self.lines.append(_Line(target, "=", parts, group, node, forward, place))

    def _write_sum(self, node: Node) -> None:
        """A line for each step's terms, which are added to what is there by then."""
        graph, forward = self.graph, node in self.graph.forward
        terms = graph.sums.get(node, [node])
        if node in self.zeroed and _is_zero(terms[0]):
            terms = terms[1:]
        segments: list[list[Node]] = []
        for term in terms:
            group = graph.step(term) if term is not node else graph.near[node]
            if not segments or group != groups[-1] or len(segments[-1]) == _MOST_TERMS:
                if segments and len(segments) == 1 and _is_zero(segments[0][-1]) and len(segments[0]) == 1:
                    groups[0] = group
                else:
                    segments.append([])
                    groups = [*groups, group] if len(segments) > 1 else [group]
            segments[-1].append(term)
        target, place = None, -1
        for i, (segment, group) in enumerate(zip(segments, groups, strict=True)):
            written_terms = [
                self._operand(x, node, _FACTOR if i or j else _TERM) if x is not node else self._made(x)[0]
                for j, x in enumerate(segment)
            ]
            parts = [p for j, term in enumerate(written_terms) for p in ([" + "] if j else []) + term]
            if target is None:
                self.ref[node] = target = self._named(node, parts)
            sign = "=" if i == 0 and node not in self.zeroed else "+="
            if sign == "=" and len(segment) == 1 and (segment[0] in self.ref or segment[0].operation in _VIEWS):
                parts = [*self._operand(segment[0], node, _ATOM), ".copy()"]  # += must not change another's array
            if sign == "+=" and len(segment) > 1:
                first = self._operand(segment[0], node, _FACTOR)
                sign, parts = "=", [target, " + ", *first, *parts[len(written_terms[0]) :]]
            place = max([place, *(self.position.get(x, -1) for x in segment)])
            last = node if i == len(segments) - 1 else None
            self.lines.append(_Line(target, sign, parts, group, last, forward, (not forward, place, 1 + i)))
        if node in self.zeroed:
            target.family.zeroed, target.family.zeroed_like = self._zero(node)

    def _zero(self, node: Node) -> tuple[str, str]:
        """What a sum over time starts as, and the argument that it has the shape of, being its gradient."""
        like = [x for x in self.arguments if isinstance(node.name, GradientName) and x.name == node.name.of]
        like = [x for x in like if (x.shape, x.dtype, x.layer) == (node.shape, node.dtype, node.layer)]
        bare = self.graph.step(node) is not None or (node.ndim == 0 and node.dtype == np.float64)
        zero = "0.0" if bare else _array(np.zeros(node.shape, node.dtype))
        return zero, self.ref[like[0]].family.base if like and self.graph.step(node) is None else ""

    def _sink(self) -> None:
        """What is made of arguments alone stands right before it is used: x(t) in its step."""
        arguments = {self.ref[x] for x in self.arguments}
        first: dict[_Ref, _Line] = {}
        for line in sorted(self.lines, key=lambda line: line.place):
            for ref in line.refs():
                first.setdefault(ref, line)
        for line in self.lines:
            if line.place[1] >= 0 and line.target in first and arguments.issuperset(line.refs()) and line.sign == "=":
                line.place = (*first[line.target].place[:2], 0, line.place[1])

    def _named_gradient(self, i: int, node: Node) -> _Family | None:
        """The variable that output i is returned as, where it is not the node's own.

        The gradient of c is dc also where it is the array of another variable, dy.
        """
        names, outputs = self.graph.trace.wrt_names, self.graph.outputs
        again = node in outputs[:i] or node.primitive is None
        if 0 < i <= len(names) and (again or node.name != f"d{names[i - 1]}"):
            of = [x for x in self.arguments if x.name == names[i - 1]]
            return self._new(f"d{self.ref[of[0]].family.base if len(of) == 1 else names[i - 1]}", False)
        if 0 < i <= len(names):
            key = (type(node.name), node.name, node.layer, 0, (step := self.graph.step(node)) is None)
            if key not in self.families:
                self.families[key] = self._new(self._lettered(node), step is not None)
        return self._new("output" if i else "loss", False) if again else None

    def _returned(self, node: Node, own: _Family | None) -> _Ref:
        """What an output is returned as; what is returned twice, or is an argument, is returned as a copy."""
        if own is None:
            return self.ref[node]
        target = _Ref(own, None)
        again = node.primitive is None or node in self.copied or node.operation in _VIEWS
        self.copied.add(node)
        parts = self._operand(node, node, _ATOM)
        beside = self.graph.near.get(node, 0) is None and node not in self.graph.forward
        place = (True, self.position[node] if beside else len(self.position), 2 + len(self.lines))
        parts = [*parts, ".copy()"] if again and node in self.ref else parts
        self.lines.append(_Line(target, "=", parts, None, None, False, place))
        return target

    # Expressions

    def _operand(self, x: Node, user: Node, least: int) -> list[_Part]:
        """A variable, or the expression of what has no line, in parentheses if its place needs them."""
        if x in self.ref:
            return [self.ref[x]]
        parts, binds = self._made(x, user)
        return parts if binds >= least else ["(", *parts, ")"]

    def _made(self, node: Node, user: Node | None = None) -> tuple[list[_Part], int]:
        """The expression of a node, and how tightly it binds."""
        if node.primitive is None:
            return self._constant(node, user)
        if node in self.graph.sums:
            terms = self.graph.sums[node]
            parts = self._operand(terms[0], node, _TERM)
            for term in terms[1:]:
                parts = [*parts, " + ", *self._operand(term, node, _FACTOR)]
            return parts, _TERM
        template, operands, binds = _form(node, self.graph.operands[node])
        if node.operation == "identity":
            x = operands[0]
            return ([self.ref[x]], _ATOM) if x in self.ref else self._made(x, node)
        parts: list[_Part] = []
        for part in itertools.chain(*map(_pieces, template)):
            if type(part) is tuple:
                parts += self._operand(operands[part[0]], node, part[1])
            else:
                parts.append(part)
        return parts, binds

    def _constant(self, x: Node, user: Node | None) -> tuple[list[_Part], int]:
        """A number is written bare where NumPy makes of it what it makes of the constant."""
        if x.ndim == 0 and user is not None and user is not x:
            others = [y for y in self.graph.operands[user] if not (y.primitive is None and y.value is not None)]
            like = {np.dtype(np.float64), *([np.dtype(np.int64)] if x.dtype == np.int64 else [])}
            by_element = isinstance(user.primitive.forward, np.ufunc) or user.operation == "where"
            numbers = [y.dtype for y in others if y.dtype != np.bool_]
            if by_element and numbers and x.dtype in like and like.issuperset(numbers):
                text = _number(x.value.item())
                return [text], _SIGNED if text.startswith("-") else _ATOM
        return [_array(x.value)], _ATOM


def _is_zero(x: Node) -> bool:
    return x.primitive is None and x.value is not None and x.shape == () and x.value == 0


def _offset(step: int | None, of: int | None) -> int | None:
    return step if step is None or of is None else step - of


class _Plain(Typesetting):
    """As code has it: h(2)."""

    beside = " ⊙ "

    def variable(self, base: str, below: str = "", above: str = "") -> str:
        return super().variable(base, below) + above


class _Shown(Node):
    """A node as a `Writer` reads it."""

    is_leaf = property(lambda self: self.primitive is None)
    requires_grad = property(lambda self: self.value is None)
    size = property(lambda self: math.prod(self.shape))

    def item(self) -> float:
        """The value of a constant that is one number."""
        return self.value.item()


class _Equations:
    """The equations that stand above the lines: how variables are made, and the chain rule for their gradients.

    A variable of the step that the lines belong to is written without its step: ĥ = W x + U h(1) + b.
    """

    def __init__(self, graph: _Graph, lines: Sequence[_Line], number: Callable[[int], str]):
        self.number, self.now, self.inside = number, None, False
        self.shown: dict[Node, _Shown] = {}
        for node in graph.live:
            if node in graph.forward:
                for x in (*graph.operands[node], node):
                    if x not in self.shown:
                        inputs = tuple([self.shown[y] for y in graph.operands.get(x, ())])
                        place = (x.name, graph.step(x), x.layer, x.value)
                        primitive = x.primitive
                        if primitive and not primitive.vjps:
                            primitive = replace(primitive, derivatives=(None, None))
                        self.shown[x] = _Shown(primitive, inputs, x.static, x.shape, x.dtype, *place)
        order = sorted(self.shown.values(), key=lambda x: not x.is_leaf)
        self.writer = Writer(order, self, setting=_Plain())
        self.writer.nonlinearities = []  # each by its own name
        loss = self.shown.get(graph.outputs[0])
        ends = {self.shown[x] for x in (graph.within | graph.gathered) & self.shown.keys()} | {loss}
        far: dict[_Shown, int] = {}
        for x in order:
            far[x] = 0 if x.name is not None else 1 + max((far[y] for y in x.inputs), default=0)
            if far[x] > 2 * _DEEPEST:
                ends.add(x)
                far[x] = 0
        kept = {x for x in order if x.name is not None and (x.requires_grad or not x.is_leaf)} | ends - {None}
        self.uses: dict[_Shown, list] = {}
        for target, uses in fold(order, kept).items():
            for source, paths, _ in uses:
                if paths is not None:  # through a test nothing goes back
                    paths = [path for path in paths if all(node.primitive.vjps for node, _ in path)]
                if paths != []:
                    self.uses.setdefault(source, []).append((target, paths))
        gradients = {(x.node.name.of, x.node.layer, x.target.step) for x in lines if _is_gradient(x.node)}
        self.variables = {(x.name, x.layer, x.step): x for x in order if x.name is not None}
        self.cotangent: dict[_Shown, _Shown | None] = {loss: loss}  # whose gradient goes back from a variable
        self.loss = None if (loss.name, loss.layer, loss.step) in gradients else loss
        for x in reversed(order):
            if (x.name, x.layer, x.step) in gradients:
                self.cotangent[x] = x
            elif x is not loss and len(found := self.uses.get(x, [])) == 1 and found[0][1] is not None:
                ((user, paths),) = found
                if all(node.primitive.derivative(i) == "1" for path in paths for node, i in path) and len(paths) == 1:
                    self.cotangent[x] = self.cotangent.get(user)

    def get(self, x: _Shown, otherwise: Any) -> str | None:
        """The step that a variable is written with: the `indices` of the writer."""
        if x.step is None or x.step == self.now:
            return None
        if self.inside and self.now is not None:
            return f"t−{self.now - x.step}" if x.step < self.now else f"t+{x.step - self.now}"
        return self.number(x.step).replace(" - ", "−")

    def of(self, lines: Sequence[_Line], now: int | None, inside: bool) -> list[str]:
        """The equations of lines that belong to a step."""
        self.now, self.inside = now, inside
        found = []
        for line in lines:
            node = line.node
            if node is None or node.name is None or node.primitive is None:
                continue
            if line.forward:
                x = self.shown[node]
                if not all(y.is_leaf for y in x.inputs) or "{f}" in x.primitive.written:
                    found.append(f"{self.writer.variable(x)} = {self.writer.expression(x)}")
            elif _is_gradient(node):
                x = self.variables.get((node.name.of, node.layer, line.target.step))
                if x is not None and not self._is_sum(x):
                    found += self._equation(x, self.uses.get(x, []))
        return found

    def sums(self) -> list[str]:
        """The gradients of what every step uses, as sums over time."""
        found = []
        for x, uses in self.uses.items():
            if self._is_sum(x):
                terms = []
                for use in (uses[0], uses[1], uses[-1]):
                    self.now, self.inside = use[0].step, True
                    terms.append(self._term(x, use))
                if None not in terms:
                    terms = [term if term.startswith("Σ ") else f"Σ {term}" for term in dict.fromkeys(terms)]
                    found.append(f"d{self.writer.variable(x)} = {' + '.join(terms)}")
        return found

    def _is_sum(self, x: _Shown) -> bool:
        return x.is_leaf and len(self.uses.get(x, [])) > 1

    def _equation(self, x: _Shown, uses: Sequence[tuple]) -> list[str]:
        terms = [self._term(x, use) for use in reversed(uses)]
        return (
            []
            if None in terms or not terms
            else [f"d{self.writer.variable(x)} = {' + '.join(terms)}".replace("+ −", "− ")]
        )

    def _term(self, x: _Shown, use: tuple) -> str | None:
        """What comes back from one use of a variable: the gradient there, times the local derivatives on the way."""
        target, paths = use
        of = self.cotangent.get(target)
        if of is None or paths is None:
            return None
        start = None if of is self.loss else Written(f"d{self.writer.variable(of)}", _ATOM)
        products = [self._along(path, start) for path in paths]
        if None in products:
            return None
        spread = any(path and _sums_rows(*path[-1]) for path in paths)
        return ("Σ " if spread else "") + " + ".join(p.within(BY_ELEMENT) if spread else p.text for p in products)

    def _along(self, path: Sequence[tuple], g: Written | None) -> Written | None:
        """The chain rule along a path: matrices on the left, ᵗU dh, vectors on the right, dh ᵗx, else by element."""
        path = list(path)
        while path:
            count = next((i for i, hop in enumerate(path) if _is_matrix(*hop)), len(path)) or 1
            hops, path = path[:count], path[count:]
            if path and any(broadcasts(*hop) for hop in hops):
                return None
            factor = self.writer.product(hops)
            if factor is None:
                return None
            if factor == ONE:
                continue
            factor = factor._replace(text=re.sub(r"^(−?[\d.½]+) ⊙ ", r"\1 ", factor.text))
            if g is None:
                g = factor
            elif not _is_matrix(*hops[0]):
                g = Written(f"{g.within(BY_ELEMENT)} ⊙ {factor.within(BY_ELEMENT)}", BY_ELEMENT)
            else:
                pair = (factor, g) if hops[0][1] % 2 else (g, factor)
                g = Written(" ".join(f.within(BESIDE) for f in pair), BESIDE)
        return g or ONE


def _is_gradient(node: Node | None) -> bool:
    return node is not None and isinstance(node.name, GradientName)


def _is_matrix(node: Node, i: int) -> bool:
    return node.operation in ("linear", "matmul") or (node.operation == "affine" and i < 4)


def _sums_rows(node: Node, i: int) -> bool:
    return broadcasts(node, i)


@dataclass
class _Block:
    """Consecutive lines of one step."""

    forward: bool
    group: int | None
    lines: list[_Line]

    @property
    def made(self) -> set[_Ref]:
        """The variables that are made or added to."""
        return {line.target for line in self.lines}


class _Loop(NamedTuple):
    """Blocks that are alike, the first of which is the pattern; `moving` says which of its numbers go with the step."""

    blocks: list[_Block]
    moving: dict[_Line, list[bool]]


class _Text:
    """The lines as a module: loops where steps are alike, comments, and what stands around them."""

    def __init__(self, lines: _Lines, rolled: bool):
        self.lines, self.graph, self.trace = lines, lines.graph, lines.graph.trace
        self.rolled = rolled
        self.blocks: list[_Block] = []
        for line in lines.lines:
            self._add(line)
        self.defined = {line.target for line in lines.lines}
        self.T = max((ref.step for ref in self.defined if ref.step is not None), default=0)
        self.loops = list(self._loops())
        if rolled:
            self._find_local()
        self.equations = _Equations(self.graph, lines.lines, self._number if rolled else str)

    def _add(self, line: _Line) -> None:
        """Into the block of its step that is the last, or the last but one if it needs nothing of the last."""
        place = (line.forward, line.group)
        last, before = [*self.blocks[:-3:-1], None, None][:2]
        if last is not None and (last.forward, last.group) == place:
            last.lines.append(line)
        elif before and (before.forward, before.group) == place and last.made.isdisjoint([line.target, *line.refs()]):
            before.lines.append(line)
        else:
            self.blocks.append(_Block(*place, [line]))

    # Loops

    def _loops(self) -> Iterator[_Loop]:
        i = 0
        while i < len(self.blocks):
            loop, ghosts = _Loop([self.blocks[i]], {}), False
            while self.rolled and not ghosts and i + len(loop.blocks) < len(self.blocks):
                missing = self._alike(loop, self.blocks[i + len(loop.blocks)])
                if missing is None:
                    break
                ghosts = bool(missing)
                loop.blocks.append(self.blocks[i + len(loop.blocks)])
            yield loop
            i += len(loop.blocks)

    def _alike(self, loop: _Loop, block: _Block) -> list[_Line] | None:
        """Which lines of the pattern a block lacks, if it is the pattern but for the step; else None.

        A line that it lacks may be run all the same if it makes what nobody asks for, as dh(0) = ᵗU dĥ(1).
        """
        pattern, last = loop.blocks[0], loop.blocks[-1]
        if None in (pattern.group, block.group) or pattern.forward != block.forward:
            return None
        shift = block.group - pattern.group
        if shift not in (len(loop.blocks), -len(loop.blocks)) or abs(block.group - last.group) != 1:
            return None
        missing, moving, rest = [], {}, iter(block.lines)
        line = next(rest, None)
        for model in pattern.lines:
            if line is None or model.form() != line.form():
                missing.append(model)
                continue
            moves = []
            for a, b in zip(model.numbers(), line.numbers(), strict=True):
                if (a is None) != (b is None) or (a is not None and b - a not in (0, shift)):
                    return None
                moves.append(a != b)
            if loop.moving.get(model, moves) != moves:
                return None
            moving[model] = moves
            line = next(rest, None)
        idle: set[_Ref] = set()
        if line is not None or not all(self._idle(model, shift, idle) for model in missing):
            return None
        if len(loop.blocks) == 1 and missing:
            for model in missing:
                moving[model] = [x is not None for x in model.numbers()]
        loop.moving.update(moving)
        return missing

    def _idle(self, model: _Line, shift: int, idle: set[_Ref]) -> bool:
        """Whether a line can be run at a step that lacks it: what it makes is nothing else, what it takes is there."""
        moved = [_Ref(x.family, None if x.step is None else x.step + shift) for x in (model.target, *model.refs())]
        target, *taken = moved
        idle.add(target)
        known = all(x in self.defined or x.step is None or x in idle for x in taken)
        return target.step is not None and 0 <= target.step <= self.T and target not in self.defined and known

    def _find_local(self) -> None:
        """A variable that no other step needs is written without a step."""
        where = {line.target: id(block) for block in self.blocks for line in block.lines}
        far = {ref.family for ref in self.lines.returned}
        for block in self.blocks:
            for line in block.lines:
                far |= {ref.family for ref in line.refs() if where.get(ref) != id(block)}
        for ref in where:
            ref.family.local = ref.family.stepped and not ref.family.zeroed and ref.family not in far

    # Text

    def module(self) -> str:
        """The text of the module."""
        text = "\n".join(f"    {line}" if line else "" for line in self._body())
        used = {name for name in _HELPERS if re.search(rf"\b{name}\(", text)}
        used |= {"log_softmax"} if "cross_entropy" in used else set()
        helpers = "".join(f"\n\n{code}" for name, code in _HELPERS.items() if name in used)
        steps = f"\nT = {self.T}  # steps\n" if re.search(r"(?<![.\w])T\b", re.sub("#.*", "", text)) else ""
        arguments = [self.lines.ref[x].family.base for x in self.lines.arguments]
        head = "\n".join(_wrapped("def bptt(", arguments, ", ", "):"))
        return f"{self._docstring(arguments)}\n\nimport numpy as np\n{steps}{helpers}\n\n{head}\n{text}\n"

    def _docstring(self, arguments: Sequence[str]) -> str:
        dtypes = ["" if x.dtype == np.float64 else f" of {x.dtype}" for x in self.lines.arguments]
        given = zip(arguments, self.lines.arguments, dtypes, strict=True)
        shapes = [f"{name} {x.shape}{dtype}" for name, x, dtype in given]
        gradients = [ref.family.base for ref in self.lines.returned[1 : 1 + len(self.trace.wrt_names)]]
        further = ", [further outputs]" if self.trace.extra is not None else ""
        call = [*gradients[:-1], f"{gradients[-1]}]{further} = bptt({arguments[0]}", *arguments[1:]]
        lines = [
            '"""A loss and its gradients, by backpropagation through time (BPTT), in plain NumPy.\n',
            *_wrapped("    loss, [", call, ", ", ")\n"),
            *_wrapped("Arguments: arrays ", shapes, ", ", "."),
            "Returns: the loss, a float; its gradients, each of the shape of what it is the gradient of.",
            '"""',
        ]
        return "\n".join(lines)

    def _body(self) -> Iterator[str]:
        forward = [loop for loop in self.loops if loop.blocks[0].forward]
        backward = [loop for loop in self.loops if not loop.blocks[0].forward]
        yield from self._section(forward)
        yield from ["", "# backward"]
        sums = self.equations.sums()
        yield from _comment("sums over t:  ", sums) if sums else []
        yield from self._section(backward)
        yield from ["", *self._return()]

    def _section(self, loops: Sequence[_Loop]) -> Iterator[str]:
        lines = [line for loop in loops for block in loop.blocks for line in block.lines]
        lines.sort(key=lambda line: line.node is not None and line.node.primitive is None)
        yield from self._starts(dict.fromkeys(line.target.family for line in lines))
        for loop in loops:
            group = loop.blocks[0].group
            if len(loop.blocks) == 1:
                equations = self.equations.of(loop.blocks[0].lines, group, False)
                head = "" if group is None else f"t = {self._number(group) if self.rolled else group}:  "
                block = [*_comment(head, equations), *self._lines_of(loop, "")]
            else:
                step = loop.blocks[1].group - group
                last = loop.blocks[-1].group + step
                ends = [
                    self._number(group),
                    f"{self._number(last - 1)} + 1" if last - 1 == self.T else self._number(last),
                ]
                equations = max(
                    (self.equations.of(b.lines, b.group, True) for b in loop.blocks[:3]), key=lambda e: len("".join(e))
                )
                block = [
                    f"for t in range({', '.join([*ends, '-1'] if step < 0 else ends)}):",
                    *(f"    {line}" for line in [*_comment("", equations), *self._lines_of(loop, "t")]),
                ]
            yield from ["", *block] if block[0].startswith(("#", "for")) else block

    def _starts(self, families: Iterable[_Family]) -> Iterator[str]:
        """What loops need before they start."""
        families = list(families)
        kept = [x.base for x in families if self.rolled and x.stepped and not x.zeroed and not x.local]
        for some in _in_rows(kept):
            yield f"{', '.join(some)} = {', '.join(['{}'] * len(some))}"
        order = {ref.family: i for i, ref in enumerate(self.lines.returned)}
        like = sorted((x for x in families if x.zeroed_like), key=lambda x: order.get(x, 0))
        for some in _in_rows(like):
            names, leaves = ", ".join(x.base for x in some), ", ".join(x.zeroed_like for x in some)
            yield (
                f"{names} = np.zeros_like({leaves})" if len(some) == 1 else f"{names} = map(np.zeros_like, ({leaves}))"
            )
        for x in families:
            if x.zeroed and not x.zeroed_like:
                start = f"dict.fromkeys(range(T + 1), {x.zeroed})" if x.stepped else x.zeroed
                yield f"{x.base} = {start}"

    def _lines_of(self, loop: _Loop, t: str) -> Iterator[str]:
        block = loop.blocks[0]
        for line in block.lines:
            moving = iter(loop.moving.get(line, [False] * len(line.numbers())))
            pieces = []
            for part in (line.target, f" {line.sign} ", *line.parts):
                at = f"t{'' if not t else ''}" if t and not isinstance(part, str) and next(moving) else ""
                pieces.append(self._part(part, block.group if at else None))
            text = "".join(pieces)
            start, equals, value = text.partition("= ")
            yield from (
                [text] if len(text) <= _WIDTH else _wrapped(f"{start}{equals}(", value.split(" + "), " + ", ")", "    ")
            )

    def _part(self, part: _Part, t: int | None) -> str:
        """A piece of a line; its number relative to t, if it goes with the step."""
        if isinstance(part, str):
            return part
        number = part.step if isinstance(part, _Ref) else int(part)
        if t is None:
            index = (
                self._number(number) if self.rolled and isinstance(part, _Ref) and number is not None else str(number)
            )
        else:
            index = "t" if number == t else f"t - {t - number}" if number < t else f"t + {number - t}"
        if isinstance(part, _At):
            return index
        base = part.family.base
        if part.step is None or part.family.local:
            return base
        return f"{base}[{index}]" if self.rolled else f"{base}_{index.replace('-', 'm')}"

    def _number(self, step: int) -> str:
        """A step, from the end if it is nearer to that."""
        return str(step) if step <= self.T // 2 else "T" if step == self.T else f"T - {self.T - step}"

    def _return(self) -> list[str]:
        loss, *rest = self.lines.returned
        count = len(self.trace.wrt_names)
        value = self._part(loss, None)
        value = f"float({value})" if self.graph.outputs[0].ndim == 0 else f"{value}.item()"
        pieces = [self._part(x, None) for x in rest[:count]]
        if self.trace.extra is not None:
            pieces[-1] += "]"
            further = list(self._listed(rest[count:]))
            pieces += [f"[{further[0]}", *further[1:]] if further else ["["]
        return _wrapped(f"return {value}, [", pieces, ", ", "]", "    ")

    def _listed(self, refs: Sequence[_Ref]) -> Iterator[str]:
        """Variables in a list, those of consecutive steps in a comprehension."""
        i = 0
        while i < len(refs):
            family, step = refs[i]
            j = i + 1
            while self.rolled and step is not None and j < len(refs) and refs[j] == (family, step + j - i):
                j += 1
            if j - i > 2:
                end = "T + 1" if step + j - i - 1 == self.T else self._number(step + j - i)
                yield f"*({family.base}[t] for t in range({self._number(step)}, {end}))"
            else:
                yield from (self._part(ref, None) for ref in refs[i:j])
            i = j


def _in_rows(names: list) -> Iterator[list]:
    """As many as stand in one line."""
    return (names[i : i + _IN_A_ROW] for i in range(0, len(names), _IN_A_ROW))


def _comment(head: str, equations: Sequence[str]) -> list[str]:
    """Equations in lines of comments."""
    text = head + ",  ".join(equations) if equations else head.rstrip(": ")
    return _wrapped("# ", re.split(r"(?<=,  )|(?<= \+ )", text), "", "", "#     ") if text else []


def _wrapped(start: str, pieces: Sequence[str], separator: str, end: str, later: str = "        ") -> list[str]:
    """Pieces in lines that are not too long."""
    lines = [start]
    for i, piece in enumerate(pieces, 1):
        piece += separator if i < len(pieces) else end
        if i > 1 and len(lines[-1]) + len(piece.rstrip()) > _WIDTH:
            lines[-1] = lines[-1].rstrip()
            lines.append(later)
        lines[-1] += piece
    return lines
