"""Python's and NumPy's protocols on Tensors: `t[i]`, `float(t)`, `t > 0`, and `np.tanh(t)`, which is `tg.tanh(t)`.

- `NUMPY_FUNCTIONS`: NumPy's function -> ours; functions.py adds its own. Arguments are understood as NumPy understands
  them, by position or by name, and those with NumPy's own defaults, such as `out=None`, change nothing.
- Tests, choices and shapes give plain arrays: no gradient flows through them.
- Every other function is refused, with a hint where another one does the same.
"""

import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from tinygrad_rnn import choices, primitives
from tinygrad_rnn.context import recording, temporarily
from tinygrad_rnn.descriptions import describe, warn_of_lost_gradient
from tinygrad_rnn.observer import leaves_the_graph, tracing
from tinygrad_rnn.tensor import Tensor, bare, record


def record_test(test: Callable, *inputs: Any, static: tuple = ()) -> Any:
    """The result of a comparison, a test or a choice: an array, through which no gradient flows; in a trace, a node."""
    primitive = choices.TESTS[test]
    if not tracing():
        return np.asarray(primitive.forward(*map(bare, inputs), *static))[()]  # of pandas' objects too
    with temporarily(recording, False):
        return record(primitive, inputs, *static)


def values_of(argument: Any, function: Callable) -> Any:
    """An argument for a function that is not recorded: the value of a Tensor, which leaves the graph here."""
    if isinstance(argument, Tensor):
        leaves_the_graph(f"{function.__name__}()", x=argument)
    return bare(argument)


def _plain(function: Callable, reads: bool) -> Callable:
    """A function of the values alone, which gives plain arrays; `reads` says whether of the elements, or of shapes."""

    def plain(*arguments: Any, **keywords: Any) -> Any:
        taken = functools.partial(values_of, function=function) if reads else bare
        return function(*map(taken, arguments), **{name: taken(x) for name, x in keywords.items()})

    return plain


def _followed(function: Callable, axis: int | None) -> Callable:
    """A choice or a test over an axis, by default this one, which a program follows as it does a comparison."""

    def followed(x: Any, *further: Any, **keywords: Any) -> Any:
        if len(further) > 1 or not keywords.keys() <= {"axis", "keepdims"}:
            return _plain(function, reads=True)(x, *further, **keywords)
        over = further[0] if further else keywords.get("axis", axis)
        return record_test(function, x, static=(over, keywords.get("keepdims", False)))

    return followed


def _tested(test: Callable) -> Callable:
    return lambda *inputs: record_test(test, *inputs)


NUMPY_FUNCTIONS: dict[Callable, Callable] = {test: _tested(test) for test in choices.TESTS}
NUMPY_FUNCTIONS |= {function: _followed(function, None) for function in (np.all, np.any, np.argmax, np.argmin)}
NUMPY_FUNCTIONS |= {np.argsort: _followed(np.argsort, -1)}
NUMPY_FUNCTIONS |= {function: _plain(function, reads=True) for function in (
    np.allclose, np.argpartition, np.argwhere, np.array2string, np.array_equal, np.array_equiv, np.array_repr,
    np.array_str, np.count_nonzero, np.digitize, np.flatnonzero, np.isclose, np.isin, np.isneginf, np.isposinf,
    np.nanargmax, np.nanargmin, np.nonzero, np.save, np.savetxt, np.searchsorted,
)}  # fmt: skip
NUMPY_FUNCTIONS |= {function: _plain(function, reads=False) for function in (
    np.can_cast, np.common_type, np.empty_like, np.iscomplex, np.iscomplexobj, np.isreal, np.isrealobj,
    np.min_scalar_type, np.ndim, np.ones_like, np.result_type, np.shape, np.size, np.zeros_like,
)}  # fmt: skip
for _name in ("all", "any", "argmax", "argmin", "argsort", "nonzero"):
    setattr(Tensor, _name, NUMPY_FUNCTIONS[getattr(np, _name)])

# What to use instead of a function that is not supported, where something helps.
_INSTEAD = {
    "add.accumulate": "np.cumsum", "add.reduce": "np.sum", "choose": "np.where", "copyto": "np.where",
    "insert": "np.concatenate", "maximum.reduce": "np.max", "minimum.reduce": "np.min", "multiply.reduce": "np.prod",
    "nanmax": "np.fmax", "nanmean": "np.where", "nanmin": "np.fmin", "nansum": "np.where", "partition": "np.sort",
    "percentile": "np.sort", "put": "np.where", "putmask": "np.where", "quantile": "np.sort", "unique": "np.sort",
}  # fmt: skip

# The defaults of a ufunc's keywords, and of a function's that does not state its own.
_DEFAULTS = {"casting": "same_kind", "dtype": None, "order": "K", "out": None, "subok": True, "where": True}


def _array_ufunc(self: Tensor, ufunc: np.ufunc, method: str, *inputs: Any, **keywords: Any) -> Any:
    if method == "__call__" and not keywords and ufunc in NUMPY_FUNCTIONS:
        return NUMPY_FUNCTIONS[ufunc](*inputs)
    given = _without(_DEFAULTS, keywords)
    if method == "__call__" and keywords and given.keys() <= {"dtype"}:
        return _in_dtype(given.get("dtype"), ufunc, inputs, {})
    if _holds_no_gradient(inputs):
        return _plain(getattr(ufunc, method), reads=True)(*inputs, **keywords)
    name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
    raise _unsupported(name, given if method == "__call__" and ufunc in NUMPY_FUNCTIONS else ())


def _array_function(self: Tensor, function: Callable, types: Any, arguments: tuple, keywords: dict) -> Any:
    refused: list[str] = []
    if function in NUMPY_FUNCTIONS:
        ours, (inputs, given) = NUMPY_FUNCTIONS[function], _as_numpy_reads_it(function, arguments, keywords)
        names, defaults = _parameters(ours)
        dtype = given.pop("dtype", None) if names and "dtype" not in defaults else None
        refused = [key for key in given if key == "out" or (names and key not in {*names, *defaults})]
        if not refused:
            return _in_dtype(dtype, ours, inputs, given)
    if _holds_no_gradient((*arguments, *keywords.values())):
        return _plain(function, reads=True)(*arguments, **keywords)
    raise _unsupported(f"{function.__module__}.{function.__name__}".removeprefix("numpy."), refused)


def _holds_no_gradient(arguments: Iterable[Any]) -> bool:
    """Ask whether there are Tensors among arguments, all of whole numbers or booleans."""
    kinds = {x.dtype.kind for x in arguments if isinstance(x, Tensor)}
    return bool(kinds) and "f" not in kinds


def _unsupported(name: str, keywords: Iterable[str] = ()) -> TypeError:
    call = f"np.{name}" + "".join(f", {keyword}=" for keyword in keywords)
    hint = f"; use {_INSTEAD[name]}" if name in _INSTEAD else f"; np.{name} without it is supported" if keywords else ""
    return TypeError(f"{call} on a Tensor is not supported{hint}. Its .data is the bare array, without gradient.")


@functools.cache
def _parameters(function: Callable) -> tuple[list[str], dict[str, Any]]:
    """The names of a function's positional arguments, none if their number is open, and the defaults of all."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # a function in C, which an older NumPy does not describe
        return [], _DEFAULTS
    variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    names = [] if variadic else [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return names, {p.name: p.default for p in parameters if p.default is not p.empty}


def _as_numpy_reads_it(function: Callable, arguments: tuple, keywords: dict) -> tuple[list, dict]:
    """The arguments that NumPy requires, in its order, and by name the others that differ from its defaults."""
    names, defaults = _parameters(function)
    given = dict(zip(names, arguments, strict=False)) | keywords  # a call that NumPy has checked
    required = [given.pop(name) for name in names if name not in defaults]
    return [*required, *arguments[len(names) :]], _without(defaults, given)


def _without(defaults: dict, keywords: dict) -> dict:
    """The keywords whose values are not their defaults."""

    def differs(x: Any, default: Any) -> bool:
        return x is not default and (type(x) is not type(default) or x != default)

    return {name: x for name, x in keywords.items() if differs(x, defaults.get(name, defaults))}


def _in_dtype(dtype: Any, function: Callable, inputs: Sequence[Any], keywords: dict) -> Any:
    """The result of a function that computes in a dtype, if one is given, as NumPy does."""
    if dtype is None:
        return function(*inputs, **keywords)
    result = function(*(x.astype(dtype) if isinstance(x, Tensor) else x for x in inputs), **keywords)
    return result if result.dtype == dtype else result.astype(dtype)


def __getitem__(self: Tensor, index: Any) -> Tensor:
    inputs = [self]
    index = _recorded_index(index, inputs)
    return record(primitives.getitem, tuple(inputs), index)


def _recorded_index(index: Any, inputs: list[Tensor]) -> Any:
    """An index with Tensors and lists in it as the graph can keep them; whole numbers in a Tensor become its inputs."""
    if isinstance(index, tuple):
        return tuple([_recorded_index(i, inputs) for i in index])
    if isinstance(index, Tensor):
        if index.dtype.kind not in "iu":  # a mask decides about the shape
            return index.numpy()
        inputs.append(index)
        return primitives.INPUT
    if isinstance(index, list):
        return np.array(index, dtype=None if index else int)
    if isinstance(index, slice):
        return slice(*[i.item() if isinstance(i, Tensor) else i for i in (index.start, index.stop, index.step)])
    if hasattr(index, "__array__") and not isinstance(index, np.generic):
        return np.array(index)
    return index


def __len__(self: Tensor) -> int:
    if self.ndim == 0:
        raise TypeError("len() of a Tensor with no axes; its shape is ()")
    return len(self.value)


def __iter__(self: Tensor) -> Iterator[Tensor]:
    return (self[i] for i in range(len(self)))


def __setitem__(self: Tensor, index: Any, value: Any) -> None:
    raise TypeError(
        f"the elements of {describe(self)} cannot be assigned, since a graph may hold them; make a new Tensor, as "
        "with tg.where or tg.stack, or write to the .data of a leaf"
    )


def __array__(self: Tensor, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
    caller = sys._getframe(1).f_globals.get("__name__", "")
    if self.requires_grad and not caller.startswith("numpy.testing"):  # whose functions only compare values
        raise TypeError(
            f"an array made from {describe(self)} would lose its gradient; use tg.stack or tg.concatenate to join "
            "Tensors, and .data, .numpy() or .detach() for the bare value"
        )
    leaves_the_graph("an array of it", x=self)
    return np.array(self.value, dtype=dtype) if copy else np.asarray(self.data, dtype=dtype)


def __float__(self: Tensor) -> float:
    warn_of_lost_gradient(self, "becomes a number", "write .item() if that is meant, or use tg.stack")
    return float(self.item())


def __bool__(self: Tensor) -> bool:
    leaves_the_graph("bool()", x=self)
    return bool(self.value)


def item(self: Tensor) -> float:
    """The value of a Tensor of one element as a Python number."""
    leaves_the_graph("item()", x=self)
    return self.value.item()


def numpy(self: Tensor) -> np.ndarray:
    """A copy of the value."""
    leaves_the_graph("numpy()", x=self)
    return self.value.copy()


def tolist(self: Tensor) -> Any:
    """The value as Python numbers, in lists that are nested as the axes are."""
    leaves_the_graph("tolist()", x=self)
    return self.value.tolist()


def __repr__(self: Tensor) -> str:
    leaves_the_graph("the text", x=self)
    of = "" if self.primitive is None else f", primitive={self.primitive.name}"
    wants = ", requires_grad=True" if self.requires_grad and self.primitive is None else ""
    name = "" if self.name is None else f", name={self.name!r}"
    step = "" if self.step is None else f", step={self.step}"
    return f"Tensor({np.array2string(self.value, prefix='Tensor(', separator=', ')}{of}{wants}{name}{step})"


def __format__(self: Tensor, spec: str) -> str:
    if self.size != 1 or not spec:
        return object.__format__(self, spec)
    leaves_the_graph("the text", x=self)
    return format(self.value.item(), spec)


def __getstate__(self: Tensor) -> tuple:
    """The state that is pickled and copied, without the graph: a node becomes a leaf that requires no gradient."""
    leaves_the_graph("a copy", x=self)
    if not self.is_leaf:
        warn_of_lost_gradient(self, "is copied without its graph", "use it itself, or .detach() if that is meant")
    grad = None if self._grad is None else self._grad.copy()
    of_leaf = (self.requires_grad, self.is_parameter) if self.is_leaf else (False, False)
    return self.value, self.name, grad, self.step, self.layer, *of_leaf


def __setstate__(self: Tensor, state: tuple) -> None:
    value, name, *others = state
    Tensor.__init__(self, value, name=name)
    self._grad, self.step, self.layer, self._requires_grad, self.is_parameter = others


Tensor.__array_ufunc__, Tensor.__array_function__ = _array_ufunc, _array_function
Tensor.__pandas_priority__ = 5000  # above that of a DataFrame: pandas leaves `frame * tensor` to the Tensor
for _method in (
    __getitem__, __len__, __iter__, __setitem__, __array__, __float__, __bool__, __repr__, __format__, __getstate__,
    __setstate__, item, numpy, tolist,
):  # fmt: skip
    setattr(Tensor, _method.__name__, _method)
for _name, _test in {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor, "rand": np.bitwise_and, "ror": np.bitwise_or,
    "rxor": np.bitwise_xor, "invert": np.invert,
}.items():  # fmt: skip
    setattr(Tensor, f"__{_name}__", NUMPY_FUNCTIONS[_test])
