"""Values as structures and parts: the arrays in what a compiled function takes and returns; the whole numbers in what a
program does at a step.

A structure is a value without its parts: `split` takes them out, and `rebuilt` puts others in their places. It can be
the key of a dict, and where two structures are equal, the values differ in their parts alone.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_rnn.tensor import Tensor

PART = object()  # stands in a structure where a part was


@dataclass(frozen=True)
class Fixed:
    """A thing in a structure that is no part; two are equal if their keys are."""

    key: Any
    thing: Any = field(compare=False)


def key_of(value: Any) -> Any:
    """A value as a key of a dict; objects are told apart by their types and ==.

    Raises:
        TypeError: an object that cannot be a key.
    """
    if isinstance(value, (list, tuple)):
        return type(value), *map(key_of, value)
    if isinstance(value, (np.ndarray, np.generic)):
        return value.shape, value.dtype, value.tobytes()
    if isinstance(value, slice):  # which can be a key from Python 3.12 on
        return slice, repr(value)
    try:
        hash(value)
    except TypeError:
        kind = type(value).__name__
        raise TypeError(f"a program's input: a {kind} is no array, and changes unnoticed; pass its arrays") from None
    return type(value), value  # True is no index of 1


def split(value: Any, parts: list, is_part: Callable = lambda x: type(x) is int, key: Callable = key_of) -> Any:
    """The structure of a value, whose parts, whole numbers if nothing else is said, are added to a list.

    An array whose elements are all equal is taken apart into its shape and that number.
    """
    if is_part(value):
        parts.append(value)
        return PART
    if isinstance(value, dict):
        return dict, tuple(value), *[split(x, parts, is_part, key) for x in value.values()]
    if isinstance(value, (tuple, list, slice)):
        inside = (value.start, value.stop, value.step) if isinstance(value, slice) else value
        return type(value), *[split(x, parts, is_part, key) for x in inside]
    if isinstance(value, np.ndarray) and value.size and value.tobytes() == value.flat[0].tobytes() * value.size:
        return np.full, split(value.shape, parts), split(value.flat[0], parts)
    return Fixed(key(value), value)


def rebuilt(structure: Any, parts: Iterable) -> Any:
    """The value with this structure and these parts."""
    parts = iter(parts)
    if structure is PART:
        return next(parts)
    if isinstance(structure, Fixed):
        return structure.thing
    kind, *inside = structure
    if kind is dict:
        return {key: rebuilt(x, parts) for key, x in zip(inside[0], inside[1:], strict=True)}
    values = [rebuilt(x, parts) for x in inside]
    return kind(*values) if kind in (slice, np.full) or hasattr(kind, "_fields") else kind(values)


def flattened(value: Any, key: Callable = key_of) -> tuple[list[Any], Any]:
    """The arrays in the lists, tuples and dicts of what a function takes or returns, and the structure around them."""
    arrays = list[Any]()
    return arrays, split(value, arrays, is_array, key)


def is_array(x: Any) -> bool:
    """True if a part is an array to the trace, and not an object that is passed on."""
    return isinstance(x, (Tensor, np.ndarray, np.generic, float)) or _is_numbers(x)


def _is_numbers(x: Any) -> bool:
    """True if a list, or a list of lists, holds numbers alone."""
    return type(x) is list and bool(x) and all(isinstance(y, (int, float)) or _is_numbers(y) for y in x)
