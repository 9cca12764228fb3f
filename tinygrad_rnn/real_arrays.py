"""Arrays of real numbers: what a Tensor holds, made of any data."""

from typing import Any

import numpy as np

from tinygrad_rnn.errors import ShapeError

_FLOAT64 = np.dtype(np.float64)


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
