"""Primitives as NumPy expressions: a forward function is run on operands that write down what it does.

So a program that is written out gives what the engine gives, to the last bit. A forward function that is no single
expression, since it branches, takes a value twice or says how NumPy treats errors, is written as a call of itself, and
the text of that is in `helpers.txt`.
"""

import ast
import contextlib
import inspect
import operator
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.resources import files
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np

from tinygrad_rnn.primitives import Primitive, filled
from tinygrad_rnn.program.graph import Node


class Ref(NamedTuple):
    """A variable in code, with its step if it has one: h[2]; without a name, a whole number, as the 2 of xs[2]."""

    name: str
    step: int | None = None

    def __str__(self) -> str:
        return self.name if self.step is None else f"{self.name}[{self.step}]" if self.name else str(self.step)


Part = str | Ref  # of code: what may go with the time step, and the text between


@dataclass(eq=False, slots=True)
class Expression(np.lib.mixins.NDArrayOperatorsMixin):
    """An operand, or a call of a function on arguments in which operands stand: a tree.

    Attributes:
        function: what is called; None for an operand. arguments, keywords: what it is called with.
        node: what an operand stands for, or a call, where it is known to be a node.
    """

    function: Callable | None = None
    arguments: tuple = ()
    keywords: Mapping[str, Any] = field(default_factory=dict)
    node: Node | None = None

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        raise TypeError("no single expression")

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **keywords: Any) -> "Expression":
        if ufunc.nout > 1 or method == "at":
            raise TypeError("no single expression")
        return self._written(ufunc if method == "__call__" else getattr(ufunc, method), inputs, keywords)

    def __array_function__(self, function: Callable, types: Any, arguments: tuple, keywords: dict) -> Any:
        if function in (np.shape, np.ndim, np.size):
            return function(np.broadcast_to(0, self.shape))
        if function is np.transpose and arguments[1:] == (None,):
            return self.T
        if function in (np.transpose, np.reshape) and not keywords:
            function = getattr(np.ndarray, function.__name__)
        return self._written(function, arguments, keywords)

    def _written(self, function: Callable, arguments: Sequence, keywords: dict) -> "Expression":
        """A call of a function of NumPy, unless it does more than an expression says."""
        if "out" in keywords or set(np.geterr().values()) != {"raise"}:
            raise TypeError("no single expression")
        return Expression(function, tuple(arguments), keywords)

    def __getitem__(self, index: Any) -> "Expression":
        return Expression(operator.getitem, (self, index))

    def __pow__(self, exponent: Any) -> "Expression":
        return Expression(operator.pow, (self, exponent))

    def __rpow__(self, base: Any) -> "Expression":
        return Expression(operator.pow, (base, self))

    def __getattr__(self, name: str) -> Any:
        """The shape and type of its value, and methods, as an array has them."""
        if name in ("shape", "ndim", "size", "dtype"):
            return getattr(self.on(lambda x: np.ndarray(x.shape, x.dtype, bytes(16), 0, (0,) * x.ndim)), name)
        if name == "dot":
            return partial(np.dot, self)
        if name not in ("reshape", "transpose", "astype"):
            raise AttributeError(name)
        return lambda *arguments, **keywords: Expression(getattr(np.ndarray, name), (self, *arguments), keywords)

    @property
    def T(self) -> "Expression":
        """The axes reversed; twice, as they were."""
        turned = self.function is np.ndarray.transpose and self.arguments[1:] == (None,)
        return self.arguments[0] if turned else self.transpose(None)

    def on(self, value: Callable[[Node], Any]) -> Any:
        """Its value, where each operand has the one of its node."""
        if self.function is None:
            return value(self.node)
        return self.function(*_replaced(self.arguments, lambda x: x.on(value)), **self.keywords)

    def walk(self) -> list["Expression"]:
        """All expressions in it, as often as they stand there."""
        found = [self]
        for x in found:  # which grows as it goes
            _replaced([x.arguments, *x.keywords.values()], found.append)
        return found


def _replaced(argument: Any, new: Callable[[Expression], Any]) -> Any:
    """An argument with what a function makes of the expressions in it."""
    if isinstance(argument, (tuple, list)):
        return type(argument)([_replaced(x, new) for x in argument])
    return new(argument) if isinstance(argument, Expression) else argument


def read(node: Node, known: Mapping[Node, Expression] = {}) -> Expression:
    """The expression of a node's inputs that it computes, or a call of its primitive's forward function.

    Args:
        known: expressions of inputs, to stand in place of operands.
    """
    primitive, operands = node.primitive, [known.get(x, Expression(node=x)) for x in node.inputs]
    inputs = len(primitive.vjps) if primitive.vjps and not primitive.variadic else len(operands)
    arguments = [*operands[:inputs], *filled(node.static, iter(operands[inputs:]))]
    if primitive.code is not None:
        return _coded(primitive, arguments)
    # A forward function that says how errors are treated is noticed; it may raise whatever it raises without an array.
    with contextlib.suppress(Exception), np.errstate(all="raise"):
        found = primitive.forward(*arguments)
        calls = [x for x in found.walk() if x.node is None]
        if len({*calls}) == len(calls):  # or one would be written, and made, twice
            return found
    return Expression(primitive.forward, tuple(arguments))


def _coded(primitive: Primitive, arguments: Sequence[Any]) -> Expression:
    """The code that a row gives: texts, and between them the arguments and what its other names stand for."""
    code, around = ast.parse(primitive.code, mode="eval"), getattr(primitive.forward, "__globals__", {})
    named = around | dict(zip(primitive.argument_names, arguments, strict=True))
    for x in ast.walk(code):
        if isinstance(x, ast.Name) and x.id in named:
            x.id = "np" if named[x.id] is np else f"\0{x.id}\0"
    pieces = ast.unparse(code).split("\0")
    return Expression(eval, tuple([named[x] if i % 2 else x for i, x in enumerate(pieces)]))


# How functions are written: as operators, or by name; and what their results are called.

_WRITTEN = {
    np.add: "{} + {}", np.subtract: "{} - {}", np.multiply: "{} * {}", np.divide: "{} / {}", np.matmul: "{} @ {}",
    np.dot: "{} @ {}", np.equal: "{} == {}", np.not_equal: "{} != {}", np.less: "{} < {}", np.less_equal: "{} <= {}",
    np.greater: "{} > {}", np.greater_equal: "{} >= {}", np.positive: "{}", np.negative: "-{}",
    operator.pow: "({}) ** {}",
}  # fmt: skip
WORDS: dict[Any, str] = {np.add: "sum", np.subtract: "difference", np.divide: "quotient"}
WORDS |= dict.fromkeys((np.multiply, np.matmul, np.dot), "product")
_METHOD = type(np.ndarray.transpose)
_NAMES = {
    np.add.reduce: "np.sum", np.maximum.reduce: "np.max", np.minimum.reduce: "np.min", np.multiply.outer: "np.outer",
    np.absolute: "np.abs", np.remainder: "np.mod",
}  # fmt: skip


def name_of_function(function: Callable) -> str | None:
    """The name of a function of NumPy in code; None if it is no such function."""
    if function in _NAMES:
        return _NAMES[function]
    ufunc, name = getattr(function, "__self__", None), function.__name__
    of = ufunc.__name__ if isinstance(ufunc, np.ufunc) else getattr(function, "__module__", "")
    for path in (name, f"{of}.{name}".removeprefix("numpy.")):
        with contextlib.suppress(AttributeError):
            if operator.attrgetter(path)(np) == function:
                return f"np.{path}"
    return None


def to_define(x: Expression) -> Iterator[Callable]:
    """The functions in an expression that are neither of NumPy nor operators or methods."""
    for f, arguments in ((call.function, call.arguments) for call in x.walk()):
        if f is eval:
            yield from filter(inspect.isfunction, arguments)
        elif f not in (*_WRITTEN, operator.getitem, None) and type(f) is not _METHOD:
            yield from [] if name_of_function(f) else [f]


@dataclass(frozen=True)
class Printer:
    """Writes expressions as NumPy, each operation in parentheses.

    Attributes:
        operand: the code that stands for a node.
        helpers: the names of functions that NumPy lacks.
    """

    operand: Callable[[Node], list[Part]]
    helpers: Mapping[Callable, str]

    def parts(self, x: Any) -> list[Part]:
        """The code of an argument."""
        if not isinstance(x, Expression):
            return self._literal(x)
        function, (first, *further) = x.function, x.arguments or (None,)
        if function is None:
            return self.operand(x.node)
        if function is eval:
            return self._filled(x.arguments[::2], x.arguments[1::2])
        is_operator = function in _WRITTEN and not x.keywords
        if is_operator and (function is not np.dot or all(0 < np.ndim(y) < 3 for y in x.arguments)):
            return self._filled(_WRITTEN[function].split("{}"), x.arguments)
        if function is operator.getitem:
            return [*self.parts(first), "[", *self._index(*further), "]"]
        if function is np.ndarray.transpose and further in ([], [None]):
            return [*self.parts(first), ".T"]
        if type(function) is _METHOD:
            start, listed = [*self.parts(first), f".{function.__name__}"], further
        else:
            start, listed = self._literal(function), x.arguments
        hidden = {"axis": None, "keepdims": False} if start[0] in ("np.sum", "np.max", "np.min") else {}  # by default
        keywords = [[f"{k}=", *self.parts(v)] for k, v in x.keywords.items() if (k, v) not in hidden.items()]
        return [*start, "(", *_joined([*map(self.parts, listed), *keywords]), ")"]

    def _filled(self, texts: Sequence[str], arguments: Sequence[Any]) -> list[Part]:
        """Code with arguments between its texts."""
        between = [part for x, text in zip(arguments, texts[1:], strict=True) for part in (*self.parts(x), text)]
        return ["(", texts[0], *between, ")"]

    def _literal(self, x: Any) -> list[Part]:
        if isinstance(x, slice) or (isinstance(x, tuple) and any(isinstance(y, slice) for y in x)):
            return ["np.s_[", *self._index(x), "]"]
        if isinstance(x, (tuple, list)):
            start, end = "[]" if type(x) is list else "()"
            return [start, *_joined(map(self.parts, x)), ",)" if len(x) == 1 and type(x) is tuple else end]
        if isinstance(x, (np.ndarray, np.generic)):
            return [array_text(np.asarray(x))]
        if isinstance(x, np.dtype) or (isinstance(x, type) and issubclass(x, np.generic)):
            return [_dtype(np.dtype(x))]
        if type(x) is int:
            return [Ref("", x)]
        if callable(x) and (name := self.helpers.get(x) or name_of_function(x)):
            return [name]
        if isinstance(x, (bool, float, complex, str, type(None), type(Ellipsis))):
            return [number_text(x)]
        raise ValueError(f"compile: an argument {x!r} cannot be written in NumPy; make it an input")

    def _index(self, index: Any) -> list[Part]:
        """An index as it stands in brackets."""
        if isinstance(index, tuple):
            return _joined(map(self._index, index)) or ["()"]
        if isinstance(index, slice):
            ends = [index.start, index.stop, *([] if index.step is None else [index.step])]
            return [part for x in ends for part in (":", *([] if x is None else self.parts(x)))][1:]
        return ["..."] if index is Ellipsis else self.parts(np.array(index) if isinstance(index, list) else index)


def _joined(lists: Iterable[list[Part]]) -> list[Part]:
    return [part for parts in lists for part in (", ", *parts)][1:]


def array_text(value: np.ndarray) -> str:
    """A constant, to the last bit."""
    numbered = "" if value.dtype in (np.float64, np.int64, np.bool_) else f", {_dtype(value.dtype)}"
    if value.ndim and len({x.tobytes() for x in np.ravel(value)}) <= 1:
        first = (value.flat[0] if value.size else value.dtype.type()).item()
        shape = str(value.shape[0] if value.ndim == 1 else value.shape)
        if repr(first) in ("0.0", "1.0"):
            return f"np.{'ones' if first else 'zeros'}({shape}{numbered})"
        return f"np.full({shape}, {number_text(first)}{numbered})"
    if value.ndim == 0:
        return f"{_dtype(value.dtype)}({number_text(value.item())})"
    return f"np.array({number_text(value.tolist())}{numbered})"


def number_text(value: Any) -> str:
    """A number, or a list of numbers."""
    return re.sub(r"\b(inf|nan)\b", r"np.\1", repr(value))


def _dtype(dtype: np.dtype) -> str:
    return "np.bool_" if dtype == np.bool_ else f"np.{dtype.name}"


# The functions that NumPy lacks and a program calls, with their sources: those of the table come as text


def helpers(written: Mapping[Node, Expression], fresh: Callable[[str], str]) -> tuple[dict[Callable, str], list[str]]:
    """The names of functions, and of those that they call, and the texts that define them.

    Args:
        written: the expressions of nodes, in which functions are called. fresh: makes a name of a word.

    Raises:
        ValueError: the source of a function is not there, or needs what stands around it.
    """
    found: dict[Callable, tuple[str, str, dict[str, Callable]]] = {}
    waiting = [(function, node.primitive.name) for node, x in written.items() for function in to_define(x)]
    for function, name in waiting:  # which grows as it goes
        if function not in found:
            try:
                source = _source(function)
                found[function] = name, source, _used(function, source)
            except (OSError, SyntaxError, TypeError, ValueError) as error:
                told = f"compile: the primitive {name!r} cannot be written as NumPy: {error}"
                raise ValueError(f"{told}; say how it is written, as tg.primitive(..., code=...)") from error
            waiting += [(x, name) for x in found[function][2].values() if x is not np]
    variables = {name for x in found for name in x.__code__.co_varnames}  # which would hide a function of the same name
    words = {x: _own_name(x).strip("_") or name for x, (name, *_) in found.items()}
    names = {x: fresh(f"{word}_function" if word in variables else word) for x, word in words.items()}
    texts = []
    for function, (_, source, used) in reversed(found.items()):  # those that others call come first
        renamed = {old: "np" if x is np else names[x] for old, x in used.items()}
        renamed[_own_name(function)] = names[function]
        pieces = re.split(r"\b(?<!\.)(" + "|".join(renamed) + r")\b", source)
        texts.append("".join([renamed[x] if i % 2 else x for i, x in enumerate(pieces)]))
    return names, texts


def _own_name(function: Callable) -> str:
    """The name of a function in its source; _ for a lambda."""
    return function.__code__.co_name.replace("<lambda>", "_")


def _source(function: Callable) -> str:
    """The text of a function's definition; of a lambda's, as that of a function called _."""
    if not isinstance(function, FunctionType):
        raise TypeError(f"{function!r} is not a function of Python")
    code, name = function.__code__, _own_name(function)
    if function.__module__.startswith("tinygrad_rnn."):
        texts = (files("tinygrad_rnn.program") / "helpers.txt").read_text(encoding="utf-8").split("\n\n\n")
        return next(f"{text.strip()}\n" for text in texts if text.startswith(f"def {name}("))
    if name != "_":
        return textwrap.dedent(inspect.getsource(function)).rstrip() + "\n"
    lambdas = [x for x in ast.walk(ast.parse("".join(inspect.findsource(function)[0]))) if isinstance(x, ast.Lambda)]
    names = list(code.co_varnames[: code.co_argcount])
    found = [x for x in lambdas if x.lineno == code.co_firstlineno and [a.arg for a in x.args.args] == names]
    if len(found) != 1:
        raise OSError(f"its source is not found, or not alone in its line, in {code.co_filename}")
    return f"def _({ast.unparse(found[0].args)}):\n    return {ast.unparse(found[0].body)}\n"


def _used(function: Callable, source: str) -> dict[str, Callable]:
    """The functions, and NumPy, that a definition names, by their names."""
    nodes = list(ast.walk(ast.parse(source)))
    names = [x for x in nodes if isinstance(x, ast.Name)]
    bound = {x.arg for x in nodes if isinstance(x, ast.arg)} | {x.id for x in names if isinstance(x.ctx, ast.Store)}
    around = {**function.__globals__, **inspect.getclosurevars(function).nonlocals}
    used = {x.id: around[x.id] for x in names if x.id in around and x.id not in bound}
    for name, x in used.items():
        if x is not np and not isinstance(x, FunctionType):
            raise ValueError(f"it uses {name}, which is neither its own nor a function")
    return used
