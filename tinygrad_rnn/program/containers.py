"""The inputs and results of a compiled function: arrays, and the lists, tuples and dicts around them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_rnn.tensor import Tensor


def flattened(value: Any) -> tuple[list[Any], Any]:
    """The arrays in a value, as they are, and the value with their numbers in their places, nested or not."""
    leaves: list[Any] = []

    def leaf(x: Any) -> Any:
        if not is_array(x):
            return x
        leaves.append(x)
        return _Leaf(len(leaves) - 1)

    return leaves, _mapped(leaf, value)


def rebuilt(structure: Any, arrays: Sequence[Any]) -> Any:
    """The value of which `flattened` has given the structure, with these arrays."""
    return _mapped(lambda x: arrays[x.number] if isinstance(x, _Leaf) else x, structure)


def _mapped(function: Callable[[Any], Any], value: Any) -> Any:
    """A value with what a function makes of each part in the lists, tuples and dicts that it is made of."""
    if isinstance(value, (list, tuple)) and not _is_numbers(value):
        parts = [_mapped(function, x) for x in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if isinstance(value, dict):
        return {key: _mapped(function, x) for key, x in value.items()}
    return function(value)


def structure_key(value: Any) -> Any:
    """A value, or what `flattened` has made of one, as a key of a dict; objects are told apart by their types and ==.

    Raises:
        TypeError: an object that cannot be a key.
    """
    if isinstance(value, (list, tuple)):
        return type(value), *map(structure_key, value)
    if isinstance(value, dict):
        return dict, *((key, structure_key(x)) for key, x in value.items())
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype, value.tobytes()
    if isinstance(value, slice):  # which can be a key from Python 3.12 on
        return slice, repr(value)
    try:
        hash(value)
    except TypeError:
        kind = type(value).__name__
        raise TypeError(f"a program's input: a {kind} is no array, and changes unnoticed; pass its arrays") from None
    return type(value), value  # True is no index of 1


@dataclass(frozen=True)
class _Leaf:
    number: int


def is_array(x: Any) -> bool:
    """Whether a part of the inputs is an array to the trace, and not an object that is passed on."""
    return isinstance(x, (Tensor, np.ndarray, np.generic, float)) or _is_numbers(x)


def _is_numbers(x: Any) -> bool:
    """Whether a list, or a list of lists, holds numbers alone."""
    return type(x) is list and bool(x) and all(isinstance(y, (int, float)) or _is_numbers(y) for y in x)
