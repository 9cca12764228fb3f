"""The methods of a Tensor that backward.py, functions.py and interop.py give it, declared for type checkers.

They are the functions of these modules as they stand, of which the engine knows nothing.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from typing_extensions import Self


class Methods:
    """The base of Tensor, which is empty at run time."""

    __slots__ = ()

    if TYPE_CHECKING:

        def __iter__(self) -> Iterator[Self]: ...
        def __eq__(self, other: object) -> Any: ...
        def __ne__(self, other: object) -> Any: ...
        def __hash__(self) -> int: ...
        def item(self) -> float: ...  # noqa: D102
        def numpy(self) -> np.ndarray: ...  # noqa: D102

        _to_tensor: Callable[..., Self] = NotImplemented
        _to_any: Callable[..., Any] = NotImplemented

        abs = astype = clip = clone = cumprod = cumsum = diagonal = dot = exp = flatten = log = log_softmax = _to_tensor
        matmul = max = mean = min = norm = permute = prod = ravel = relu = repeat = reshape = sigmoid = _to_tensor
        softmax = sqrt = square = squeeze = std = sum = swapaxes = take = tanh = trace = transpose = _to_tensor
        unsqueeze = var = view = __getitem__ = _to_tensor
        all = any = argmax = argmin = argsort = backward = nonzero = register_hook = tolist = _to_any
        __array_ufunc__ = __array_function__ = __float__ = __len__ = __lt__ = __le__ = __gt__ = __ge__ = _to_any
        __and__ = __or__ = __xor__ = __invert__ = _to_any
        __add__ = __sub__ = __mul__ = __truediv__ = __mod__ = __matmul__ = __pow__ = __neg__ = __pos__ = _to_tensor
        __radd__ = __rsub__ = __rmul__ = __rtruediv__ = __rmod__ = __rmatmul__ = __rpow__ = __abs__ = _to_tensor
