"""Losses. `reduction="sum"` is the texts' E = Σ E_t; `"mean"` divides by the number of elements (rows, for classes);
`"none"` gives the loss of each.

A loss names what has no name yet: y or z, the target, and itself L.
"""

import math
from typing import Any

import numpy as np

from tinygrad_rnn import functions as F
from tinygrad_rnn import primitives
from tinygrad_rnn.algebra.notation import Letter
from tinygrad_rnn.checks import one_of
from tinygrad_rnn.errors import ShapeError
from tinygrad_rnn.interop import record_test
from tinygrad_rnn.tensor import Tensor, as_tensor, label, record


def half_squared_error(y: Any, target: Any, reduction: str = "sum") -> Tensor:
    """L = ½ Σ (y - Y)² (interdb, eq. 7.3), of y and a target Y of the same shape.

    Raises:
        ShapeError: the shapes differ. ValueError: an unknown reduction.

    >>> tg.nn.half_squared_error([1.0, 2.0], [1.0, 4.0]).item()
    2.0
    """
    y, Y = _pair("half_squared_error", y, target)
    return _summed("half_squared_error", F.square(y - Y), reduction, 0.5)


def squared_error(y: Any, target: Any, reduction: str = "sum") -> Tensor:
    """L = Σ (Y - y)² (BPTT post and Module 5: E_t = (d_t - y_t)²), of y and a target Y of the same shape.

    Raises:
        ShapeError: the shapes differ. ValueError: an unknown reduction.

    >>> tg.nn.squared_error([1.0, 2.0], [1.0, 4.0], reduction="mean").item()
    2.0
    """
    y, Y = _pair("squared_error", y, target)
    return _summed("squared_error", F.square(Y - y), reduction)


def binary_cross_entropy(y: Any, target: Any, reduction: str = "sum") -> Tensor:
    """L = -Σ Y log y + (1 - Y) log(1 - y), of probabilities y and Y of the same shape; a logarithm is at least -100.

    Raises:
        ShapeError: the shapes differ. ValueError: a y is not from 0 to 1; an unknown reduction.

    >>> f"{tg.nn.binary_cross_entropy([0.5], [1.0]).item():.4f}"
    '0.6931'
    """
    y, Y = _pair("binary_cross_entropy", y, target)
    if not np.all((y >= 0) & (y <= 1)):
        raise ValueError("binary_cross_entropy: y is a probability, from 0 to 1; of logits, take ..._with_logits")
    log_y, log_not_y = (F.log(F.maximum(x, math.exp(-100.0))) for x in (y, 1.0 - y))
    return _summed("binary_cross_entropy", -(Y * log_y + (1.0 - Y) * log_not_y), reduction)


def binary_cross_entropy_with_logits(logits: Any, target: Any, reduction: str = "sum") -> Tensor:
    """`binary_cross_entropy` of σ(z), for any z: L = Σ (1 - Y) z + log(1 + e^-z); its derivative by z is σ(z) - Y.

    Raises:
        ShapeError: the shapes differ. ValueError: an unknown reduction.

    >>> f"{tg.nn.binary_cross_entropy_with_logits([0.0], [1.0]).item():.4f}"
    '0.6931'
    """
    z, Y = _pair("binary_cross_entropy_with_logits", logits, target)
    return _summed("binary_cross_entropy_with_logits", (1.0 - Y) * z + F.softplus(-z), reduction)


def cross_entropy(logits: Any, targets: Any, reduction: str = "sum", ignore_index: int | None = None) -> Tensor:
    """L = -Σ Y log softmax(z) (IIT slides: E_t = -y_t log ŷ_t), of logits z (K,) or (..., K).

    Its derivative by z is softmax(z) - Y (IIT slides: ŷ - y), as long as the weights of the classes add up to 1.

    Args:
        targets: class numbers 0 to K-1, of shape () or (...), or one weight per class, (K,) or (..., K) like z.
        ignore_index: the number in the place of a class where there is no target: it counts nothing, in a mean too.

    Raises:
        ShapeError: the targets have another shape. ValueError: a class number out of range; an unknown reduction.

    >>> f"{tg.nn.cross_entropy([0.0, 0.0], 1).item():.4f}"
    '0.6931'
    """
    z, y = as_tensor(logits), as_tensor(targets)
    count: Any = max(math.prod(z.shape[:-1]), 1)
    if z.name is None or (type(z.name) is Letter and z.name == "y"):  # as a dense layer calls what it makes
        label(z, Letter("logits"))
    if z.ndim == 0:
        raise ShapeError("cross_entropy: the logits have shape (), expected (K,) or (..., K), one for each class")
    if y.dtype.kind in "iu" and y.shape == z.shape[:-1]:
        hot = as_tensor(record_test("one_hot", y, static=(z.shape[-1], ignore_index)).astype(z.dtype))
        y = label(hot, y.name or Letter("Y"))
        if ignore_index is not None:
            count = F.maximum(F.sum(y), 1.0)
    if y.shape != z.shape:
        wanted = f"class numbers (integers) of shape {z.shape[:-1]} or weights of shape {z.shape}"
        told = _exchanged(y, z) or _exchanged(y, z[..., 0])
        raise ShapeError(f"cross_entropy: logits need {wanted}, not {y.dtype} targets of shape {y.shape}{told}")
    y = _unless_named(y, Letter("Y"))
    if reduction == "none":
        total = -F.sum(y * F.where(y == 0, 0.0, F.log_softmax(z)), -1)
    else:
        total = record(primitives.cross_entropy, (z, y))
    return _reduced("cross_entropy", total, reduction, count)


def _pair(call: str, y: Any, target: Any) -> tuple[Tensor, Tensor]:
    y, target = as_tensor(y), as_tensor(target)
    if y.shape != target.shape:
        told = f"{call}: y has shape {y.shape} and the target {target.shape}; they must be the same"
        raise ShapeError(told + _exchanged(target, y))
    return _unless_named(y, Letter("y")), _unless_named(target, Letter("Y"))


def _exchanged(target: Tensor, y: Tensor) -> str:
    """What to do where the first two axes of a target are the other way round."""
    exchanged = target.ndim > 1 and (target.shape[1], target.shape[0], *target.shape[2:]) == y.shape
    return "; time comes first, and then the batch: target.swapaxes(0, 1)" if exchanged else ""


def _summed(call: str, each: Tensor, reduction: str, factor: float = 1.0) -> Tensor:
    """A loss that is the sum of those of all elements."""
    total = each if reduction == "none" else F.sum(each)
    return _reduced(call, total if factor == 1.0 else factor * total, reduction, max(each.size, 1))


def _reduced(call: str, total: Tensor, reduction: str, count: Any) -> Tensor:
    if reduction != "sum":  # which is quick
        one_of(call, "reduction", reduction, ("sum", "mean", "none"))
    return label(total / count if reduction == "mean" else total, Letter("L"))


def _unless_named(tensor: Tensor, name: str) -> Tensor:
    """Label a Tensor unless it has a name already: names that users set win."""
    return tensor if tensor.name is not None else label(tensor, name)
