"""Arguments and data, checked in one place: each function returns what it was given, made plain, or says what is wrong.

A message names the argument as the call has it, `draw(level='all'): not one of 'named', 'primitives'`; without a call
to name, `level='all': ...`. What is of the wrong type is a TypeError, and another value a ValueError.
"""

import contextlib
import difflib
import math
import operator
import os
import sys
from collections.abc import Iterable
from numbers import Real
from typing import Any, TypeVar

import numpy as np

from tinygrad_rnn.errors import ShapeError

T = TypeVar("T")
_FLOAT64 = np.dtype(np.float64)


def instance(call: str, value: T, kind: Any, what: str = "a Tensor") -> T:
    """An object of a class, or of one of several."""
    if not isinstance(value, kind):
        raise TypeError(f"{call}: {what} is needed, not a {type(value).__name__}")
    return value


def one_of(call: str, name: str, value: Any, known: Iterable) -> Any:
    """One of some words, among which None, True and False may be, Python's or NumPy's."""
    known, value = list(known), value.item() if isinstance(value, np.generic) else value
    if not any(isinstance(value, type(x)) and value == x for x in known):
        raise ValueError(f"{_given(call, name, value)}: not one of {', '.join(map(repr, known))}{meant(value, known)}")
    return value


def meant(word: Any, known: Iterable) -> str:
    """A hint at the word that a misspelt one may be meant to be, as the end of a message."""
    words = {str(x).lower(): x for x in known}
    near = difflib.get_close_matches(str(word).lower(), words, 1)
    return f"; did you mean {words[near[0]]}?" if near else ""


def whole(call: str, name: str, value: Any, least: int, most: float = math.inf, wanted: str = "") -> int:
    """A whole number, Python's or NumPy's, from the least to the most; `wanted` says so where these have a meaning."""
    wanted = wanted or f"a whole number from {least} " + ("up" if most == math.inf else f"to {most}")
    is_whole = hasattr(value, "__index__") and not isinstance(value, bool)
    if not is_whole or not least <= operator.index(value) <= most:
        raise (ValueError if is_whole else TypeError)(f"{_given(call, name, value)}: {wanted} is needed")
    return operator.index(value)


def number(call: str, name: str, value: Any, wanted: str, least: float, most: float = math.inf) -> float:
    """A real number from the least to the most, which NaN is not; `wanted` says so: "a number from 0 to 1"."""
    is_real = isinstance(value, Real) and not isinstance(value, bool)
    plain: Any = value.item() if isinstance(value, np.generic) else value  # a narrow type would narrow the bounds
    if not is_real or not least <= plain <= most:
        raise (ValueError if is_real else TypeError)(f"{_given(call, name, value)}: {wanted} is needed")
    return float(value)


def text(call: str, name: str, value: Any) -> str:
    """A text that can name a file: without null characters and halves of surrogate pairs."""
    is_text = isinstance(value, str)
    with contextlib.suppress(UnicodeEncodeError):
        if is_text and b"\0" not in os.fsencode(value):
            return str(value)
    raise (ValueError if is_text else TypeError)(f"{_given(call, name, value)}: a text that can name a file is needed")


def step(call: str, step: Any) -> int:
    """A time step: a whole number, which in a sequence that goes on from another may be below 1."""
    return whole(call, "step", step, -sys.maxsize, wanted="a whole number")


def name(name: Any) -> str:
    """The name of a Tensor: a string that is not empty."""
    if not instance("the name of a Tensor", name, str, "a string").strip():
        raise ValueError("the name of a Tensor is not empty")
    return name


def positive(call: str, name: str, value: Any) -> float:
    """A finite real number above 0."""
    return number(call, name, value, "a finite number above 0", math.ulp(0.0), sys.float_info.max)


def python_numbers(static: Any) -> Any:
    """A static argument with Python's own whole numbers for those of NumPy and of enumerations."""
    if isinstance(static, (tuple, list)):
        return (tuple if isinstance(static, tuple) else list)(map(python_numbers, static))
    if isinstance(static, slice):
        return slice(*map(python_numbers, (static.start, static.stop, static.step)))
    whole = isinstance(static, (int, np.integer)) and not isinstance(static, bool)
    return operator.index(static) if whole else static


def real_array(data: Any) -> np.ndarray:
    """Data as an array of its own that a Tensor can hold.

    Raises:
        ShapeError: the rows have different lengths. TypeError: no real numbers, or a masked array, or a Tensor.
    """
    if type(data) is np.ndarray and data.dtype is _FLOAT64:
        return data.copy()
    if hasattr(data, "__record__"):
        raise TypeError("Tensor(data): data is a Tensor already; use its .detach() for a leaf of the same value")
    if isinstance(data, np.ndarray) and hasattr(data, "mask"):  # without importing numpy.ma
        raise TypeError("Tensor(data): a masked array is not supported; fill it first, with .filled(value)")
    try:
        array = np.array(data)
    except ValueError as error:
        raise ShapeError(f"Tensor(data): rows of different lengths do not make an array ({error})") from error
    if array.dtype.kind == "f":
        return array if array.dtype == np.float32 else array.astype(np.float64, copy=False)
    if array.dtype.kind not in "iub":
        raise TypeError(f"Tensor(data): real numbers are needed, not {array.dtype} (from a {type(data).__name__})")
    return array


def _given(call: str, name: str, value: Any) -> str:
    return f"{call}({name}={value!r})" if call else f"{name}={value!r}"
