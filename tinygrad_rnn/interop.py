"""Python's and NumPy's protocols on Tensors: `t[i]`, `float(t)`, `t > 0`, and `np.tanh(t)`, which is `tg.tanh(t)`.

- `NUMPY_FUNCTIONS`: NumPy's function -> ours; functions.py adds its own. Arguments are understood as NumPy understands
  them, by position or by name, and those with NumPy's own defaults, such as `out=None`, change nothing.
- Tests, choices and shapes give plain arrays: no gradient flows through them.
- Every other function is refused, with a hint where another one does the same.
- NumPy's stubs know nothing of this: a type checker leaves what its ufuncs give, `np.tanh(t)`, untyped, and refuses its
  other functions, `np.sum(t)`. This package's are typed: `tg.tanh(t)`, `tg.sum(t)`, `t.sum()`. It is not told of
  `__array__`, with which it would take `array * tensor` and `np.tanh(t)` for arrays.
"""

import functools
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np

from tinygrad_rnn.context import recording, temporarily
from tinygrad_rnn.errors import describe, warn_of_lost_gradient
from tinygrad_rnn.observer import leaves_the_graph, register_hook, tracing
from tinygrad_rnn.primitives import INPUT, Primitive, getitem
from tinygrad_rnn.tensor import Tensor, bare, record

# Tests and choices, such as x > y and argmax: primitives through which no gradient flows, and which stand in the trace
# of a program only; in other graphs their results are arrays.


def _over(test: Callable, x: np.ndarray, axis: Any, keepdims: bool) -> Any:
    """A test or a choice over an axis, or over all axes; only argsort does not take `keepdims`."""
    return test(x, axis=axis, **({"keepdims": keepdims} if keepdims else {}))


def _one_hot(x: np.ndarray, count: int, ignored: int | None) -> np.ndarray:
    """For each class number in x, which of so many classes it is; none, where it is the ignored number."""
    x = np.asarray(x)  # of one element, to which None is no array
    hot = (x[..., None] == np.arange(count)) & (x != ignored)[..., None]
    if np.count_nonzero(hot) != np.count_nonzero(x != ignored):
        outside = x[((x < 0) | (x >= count)) & (x != ignored)]
        raise ValueError(f"cross_entropy: class numbers are 0 to {count - 1} for {count} logits, not {outside[0]}")
    return hot


def _whole_number(x: np.ndarray, least: int, most: int, what: str) -> np.ndarray:
    """x, if it is whole numbers from the least to the most."""
    if x.dtype.kind not in "iu" or np.any((x < least) | (x > most)):
        raise ValueError(f"{what} are {least} to {most}, not {x.dtype} from {np.min(x)} to {np.max(x)}")
    return x


TESTS: dict[Any, Primitive] = {
    test: Primitive(test.__name__, test, written, argument_names=("x", "y")[: test.nin], by_element=True)
    for test, written in [
        (np.equal, "{x} = {y}"), (np.not_equal, "{x} ≠ {y}"), (np.less, "{x} < {y}"), (np.less_equal, "{x} ≤ {y}"),
        (np.greater, "{x} > {y}"), (np.greater_equal, "{x} ≥ {y}"), (np.logical_and, "{x} and {y}"),
        (np.logical_or, "{x} or {y}"), (np.logical_xor, "either {x} or {y}"), (np.logical_not, "not {x}"),
        (np.bitwise_and, "{x} and {y}"), (np.bitwise_or, "{x} or {y}"), (np.bitwise_xor, "either {x} or {y}"),
        (np.invert, "not {x}"), (np.isnan, "isnan({x})"), (np.isinf, "isinf({x})"), (np.isfinite, "isfinite({x})"),
        (np.signbit, "signbit({x})"),
    ]
}  # fmt: skip
_OVER_AN_AXIS = (np.any, np.all, np.argmax, np.argmin, np.argsort)
TESTS |= {
    test: Primitive(test.__name__, functools.partial(_over, test), f"{test.__name__}({{x}})", argument_names=("x",))
    for test in _OVER_AN_AXIS
}
TESTS["one_hot"] = Primitive("one_hot", _one_hot, "one_hot({x})", argument_names=("x",))
TESTS["whole_number"] = Primitive("whole_number", _whole_number, "{x}", argument_names=("x",))


def record_test(test: Callable | str, *inputs: Any, static: tuple = ()) -> Any:
    """The result of a comparison, a test or a choice: an array, through which no gradient flows; in a trace, a node."""
    primitive = TESTS[test]
    if not tracing():
        return np.asarray(primitive.forward(*map(bare, inputs), *static))[()]  # of pandas' objects too
    with temporarily(recording, False):
        return record(primitive, inputs, *static)


def taken(x: Any, call: str) -> Any:
    """The value of a Tensor, which a call takes out of the graph here; anything else as it is."""
    if isinstance(x, Tensor):
        leaves_the_graph(call, x=x)
    return bare(x)


def on_values(function: Callable, reads: bool = True) -> Callable:
    """A function of NumPy's on the values alone, which gives plain arrays; `reads`: whether the elements."""

    def plain(*arguments: Any, **keywords: Any) -> Any:
        value = functools.partial(taken, call=f"{function.__name__}()") if reads else bare
        return function(*map(value, arguments), **{name: value(x) for name, x in keywords.items()})

    return plain


def _tested(test: Callable) -> Callable:
    return lambda *inputs: record_test(test, *inputs)


def _tested_over(test: Callable, default: int | None) -> Callable:
    return lambda x, axis=default, keepdims=False: record_test(test, x, static=(axis, keepdims))


NUMPY_FUNCTIONS: dict[Callable, Callable] = {test: _tested(test) for test in TESTS}
NUMPY_FUNCTIONS |= {test: _tested_over(test, -1 if test is np.argsort else None) for test in _OVER_AN_AXIS}
NUMPY_FUNCTIONS |= {function: on_values(function) for function in (
    np.allclose, np.argpartition, np.argwhere, np.array2string, np.array_equal, np.array_equiv, np.array_repr,
    np.array_str, np.count_nonzero, np.digitize, np.flatnonzero, np.isclose, np.isin, np.isneginf, np.isposinf,
    np.nanargmax, np.nanargmin, np.nonzero, np.save, np.savetxt, np.searchsorted,
)}  # fmt: skip
NUMPY_FUNCTIONS |= {function: on_values(function, reads=False) for function in (
    np.can_cast, np.common_type, np.empty_like, np.iscomplex, np.iscomplexobj, np.isreal, np.isrealobj,
    np.min_scalar_type, np.ndim, np.ones_like, np.result_type, np.shape, np.size, np.zeros_like,
)}  # fmt: skip
for _name in ("all", "any", "argmax", "argmin", "argsort", "nonzero"):
    setattr(Tensor, _name, NUMPY_FUNCTIONS[getattr(np, _name)])


@functools.cache
def _known() -> dict[str, str]:
    lines = (pkgutil.get_data("tinygrad_rnn", "instead.txt") or b"").decode().splitlines()
    return dict(line.split(": ", 1) for line in lines)


def instead_of(name: str) -> str:
    """A hint at what to use for something of NumPy's or PyTorch's that is not here; empty if nothing helps."""
    instead = _known().get(name) or _known().get(f".{name}")
    return f"; {instead}" if instead else ""


def missing(owner: Any, name: str) -> NoReturn:
    """The `__getattr__` of a Tensor, or of the module of a name: say what to use instead."""
    of = f"module {owner!r}" if isinstance(owner, str) else f"{type(owner).__name__!r} object"
    raise AttributeError(f"{of} has no attribute {name!r}{instead_of(name)}")


def _array_ufunc(self: Tensor, ufunc: np.ufunc, method: str, *inputs: Any, **keywords: Any) -> Any:
    if method != "__call__":
        return _dispatched(f"{ufunc.__name__}.{method}", getattr(ufunc, method), inputs, keywords)
    if not keywords and ufunc in NUMPY_FUNCTIONS:
        return NUMPY_FUNCTIONS[ufunc](*inputs)
    return _dispatched(ufunc.__name__, ufunc, inputs, keywords)


def _array_function(self: Tensor, function: Callable, types: Any, arguments: tuple, keywords: dict) -> Any:
    name = f"{function.__module__}.{function.__name__}".removeprefix("numpy.")
    return _dispatched(name, function, arguments, keywords)


def _dispatched(name: str, function: Callable, arguments: tuple, keywords: dict) -> Any:
    """The result of a call of NumPy's function of this name: by ours, or of whole numbers alone by NumPy's own."""
    refused: list[str] = []
    if function in NUMPY_FUNCTIONS:
        ours, (inputs, given) = NUMPY_FUNCTIONS[function], _as_numpy_reads_it(function, arguments, keywords)
        known = _signature(ours).parameters
        takes_all = any(p.kind is p.VAR_KEYWORD for p in known.values())
        dtype = None if takes_all or "dtype" in known else given.pop("dtype", None)
        refused = [key for key in given if key == "out" or not (takes_all or key in known)]
        if not refused:
            if dtype is not None:
                inputs = [x.astype(dtype) if isinstance(x, Tensor) else x for x in inputs]
            result = ours(*inputs, **given)
            return result if dtype is None or result.dtype == dtype else result.astype(dtype)
    kinds = {x.dtype.kind for x in (*arguments, *keywords.values()) if isinstance(x, Tensor)}
    if kinds and "f" not in kinds:
        return on_values(function)(*arguments, **keywords)
    call = f"np.{name}" + "".join(f", {key}=" for key in refused)
    hint = f"; np.{name} without it is supported" if refused else instead_of(name)
    raise TypeError(f"{call} on a Tensor is not supported{hint}. Its .data is the bare array, without gradient.")


# The signature of a function in C that NumPy does not describe: the keywords of a ufunc, and others of its own.
_IN_C = inspect.signature(
    lambda *inputs, out=None, where=True, casting="same_kind", order="K", dtype=None, subok=True, **others: None
)


@functools.cache
def _signature(function: Callable) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except ValueError:
        return _IN_C


def _as_numpy_reads_it(function: Callable, arguments: tuple, keywords: dict) -> tuple[list, dict]:
    """The arguments that NumPy requires, in its order, and by name the others that differ from its defaults."""
    signature, inputs, given = _signature(function), list[Any](), dict[str, Any]()
    for name, x in signature.bind(*arguments, **keywords).arguments.items():
        p = signature.parameters[name]
        if p.kind is p.VAR_POSITIONAL:
            inputs += x
        elif p.kind is p.VAR_KEYWORD:
            given |= x
        elif p.default is p.empty:
            inputs.append(x)
        elif x is not p.default and (type(x) is not type(p.default) or x != p.default):
            given[name] = x
    return inputs, given


def __getitem__(self: Tensor, index: Any) -> Tensor:
    inputs = [self]
    index = _recorded_index(index, inputs)
    return record(getitem, tuple(inputs), index)


def _recorded_index(index: Any, inputs: list[Tensor]) -> Any:
    """An index with Tensors and lists in it as the graph can keep them; whole numbers in a Tensor become its inputs."""
    if isinstance(index, tuple):
        return tuple([_recorded_index(i, inputs) for i in index])
    if isinstance(index, Tensor):
        if index.dtype.kind not in "iu":  # a mask decides about the shape
            return index.numpy()
        inputs.append(index)
        return INPUT
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
    instead = "make a new Tensor, as with tg.where, or write to the .data of a leaf"
    raise TypeError(f"the elements of {describe(self)} cannot be assigned: {instead}")


def __array__(self: Tensor, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
    caller = sys._getframe(1).f_globals.get("__name__", "")
    if self.requires_grad and not caller.startswith("numpy.testing"):  # whose functions only compare values
        instead = "use tg.stack or tg.concatenate to join Tensors, and .data for the bare value"
        raise TypeError(f"an array made from {describe(self)} would lose its gradient; {instead}")
    leaves_the_graph("an array of it", x=self)
    return np.array(self.value, dtype=dtype) if copy else np.asarray(self.data, dtype=dtype)


def __float__(self: Tensor) -> float:
    warn_of_lost_gradient(self, "becomes a number", "write .item() if that is meant, or use tg.stack")
    return float(self.item())


def __bool__(self: Tensor) -> bool:
    return bool(taken(self, "bool()"))


def item(self: Tensor) -> float:
    """The value of a Tensor of one element as a Python number."""
    if self.size != 1:
        raise ValueError(f"item(): {describe(self)} is more than one number, or none; .tolist() gives all")
    return taken(self, "item()").item()


def numpy(self: Tensor) -> np.ndarray:
    """A copy of the value."""
    return taken(self, "numpy()").copy()


def tolist(self: Tensor) -> Any:
    """The value as Python numbers, in lists that are nested as the axes are."""
    return taken(self, "tolist()").tolist()


def __repr__(self: Tensor) -> str:
    text = np.array2string(taken(self, "the text"), prefix="Tensor(", separator=", ")
    of = "" if self.primitive is None else f", primitive={self.primitive.name}"
    wants = ", requires_grad=True" if self.requires_grad and self.primitive is None else ""
    name = "" if self.name is None else f", name={self.name!r}"
    step = "" if self.step is None else f", step={self.step}"
    return f"Tensor({text}{of}{wants}{name}{step})"


def __format__(self: Tensor, spec: str) -> str:
    if self.size != 1 or not spec:
        return object.__format__(self, spec)
    return format(taken(self, "the text").item(), spec)


def __getstate__(self: Tensor) -> tuple:
    """The state that is pickled and copied, without the graph: a node becomes a leaf that requires no gradient."""
    leaves_the_graph("a copy", x=self)
    if not self.is_leaf:
        warn_of_lost_gradient(self, "is copied without its graph", "use it itself, or .detach() if that is meant")
    grad = None if self._grad is None else self._grad.copy()
    return self.value, self.name, grad, self.step, self.layer, self.is_leaf and self.requires_grad, self.is_parameter


def __setstate__(self: Tensor, state: tuple) -> None:
    value, name, *others = state
    Tensor.__init__(self, value, name=name)
    self._grad, self.step, self.layer, self._requires_grad, self.is_parameter = others


Tensor.__array_ufunc__, Tensor.__array_function__ = _array_ufunc, _array_function
Tensor.__pandas_priority__ = 5000  # type: ignore[attr-defined]  # above that of a DataFrame: pandas leaves `frame * tensor` to the Tensor
for _method in (
    __getitem__, __len__, __iter__, __setitem__, __array__, __float__, __bool__, __repr__, __format__, __getstate__,
    __setstate__, item, numpy, register_hook, tolist,
):  # fmt: skip
    setattr(Tensor, _method.__name__, _method)
for _name, _test in {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor, "rand": np.bitwise_and, "ror": np.bitwise_or,
    "rxor": np.bitwise_xor, "invert": np.invert,
}.items():  # fmt: skip
    setattr(Tensor, f"__{_name}__", NUMPY_FUNCTIONS[_test])
for _name in [name[1:] for name in _known() if name[0] == "."]:  # a __getattr__ would slow all attributes down
    setattr(Tensor, _name, property(functools.partial(missing, name=_name), doc=f"Not here{instead_of(_name)}."))
