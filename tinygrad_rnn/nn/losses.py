"""Losses. `reduction="sum"` is the texts' E = Σ E_t; `"mean"` divides by the number of elements (rows, for classes).

A loss names what has no name yet: y or z, the target, and itself L.
"""

from typing import Any

import numpy as np

from tinygrad_rnn import functions as F
from tinygrad_rnn import primitives
from tinygrad_rnn.algebra.notation import Letter
from tinygrad_rnn.checks import one_of
from tinygrad_rnn.errors import ShapeError
from tinygrad_rnn.interop import record_test
from tinygrad_rnn.naming import label
from tinygrad_rnn.tensor import Tensor, as_tensor, record


def half_squared_error(y: Any, target: Any, reduction: str = "sum") -> Tensor:
    """L = ½ Σ (y - Y)² (interdb, eq. 7.3), of y and a target Y of the same shape.

    Raises:
        ShapeError: the shapes differ. ValueError: an unknown reduction.

    >>> tg.nn.half_squared_error([1.0, 2.0], [1.0, 4.0]).item()
    2.0
    """
    y, Y = _pair("half_squared_error", y, target)
    return _reduced("half_squared_error", 0.5 * F.sum(F.square(y - Y)), reduction, y.size)


def squared_error(y: Any, target: Any, reduction: str = "sum") -> Tensor:
    """L = Σ (Y - y)² (BPTT post and Module 5: E_t = (d_t - y_t)²), of y and a target Y of the same shape.

    Raises:
        ShapeError: the shapes differ. ValueError: an unknown reduction.

    >>> tg.nn.squared_error([1.0, 2.0], [1.0, 4.0], reduction="mean").item()
    2.0
    """
    y, Y = _pair("squared_error", y, target)
    return _reduced("squared_error", F.sum(F.square(Y - y)), reduction, y.size)


def cross_entropy(logits: Any, targets: Any, reduction: str = "sum") -> Tensor:
    """L = -Σ Y log softmax(z) (IIT slides: E_t = -y_t log ŷ_t), of logits z (K,) or (..., K).

    Its derivative by z is softmax(z) - Y (IIT slides: ŷ - y), as long as the weights of the classes add up to 1.

    Args:
        targets: class numbers 0 to K-1, of shape () or (...), or one weight per class, (K,) or (..., K) like z.

    Raises:
        ShapeError: the targets have another shape. ValueError: a class number out of range; an unknown reduction.

    >>> f"{tg.nn.cross_entropy([0.0, 0.0], 1).item():.4f}"
    '0.6931'
    """
    z, y = as_tensor(logits), as_tensor(targets)
    if z.name is None or (type(z.name) is Letter and z.name == "y"):  # as a dense layer calls what it makes
        label(z, Letter("logits"))
    if z.ndim == 0:
        raise ShapeError("cross_entropy: the logits have shape (), expected (K,) or (..., K), one for each class")
    if y.dtype.kind in "iu" and y.shape == z.shape[:-1]:
        hot = as_tensor(record_test("one_hot", y, static=(z.shape[-1],)).astype(z.dtype))
        y = _unless_named(hot, y.name or Letter("Y"))
    if y.shape != z.shape:
        wanted = f"class numbers (integers) of shape {z.shape[:-1]} or weights of shape {z.shape}"
        raise ShapeError(f"cross_entropy: logits need {wanted}, not {y.dtype} targets of shape {y.shape}")
    total = record(primitives.cross_entropy, (z, _unless_named(y, Letter("Y"))))
    return _reduced("cross_entropy", total, reduction, int(np.prod(z.shape[:-1])))


def _pair(call: str, y: Any, target: Any) -> tuple[Tensor, Tensor]:
    y, target = as_tensor(y), as_tensor(target)
    if y.shape != target.shape:
        raise ShapeError(f"{call}: y has shape {y.shape} and the target {target.shape}; they must be the same")
    return _unless_named(y, Letter("y")), _unless_named(target, Letter("Y"))


def _reduced(call: str, total: Tensor, reduction: str, count: int) -> Tensor:
    if reduction != "sum":
        one_of(call, "reduction", reduction, ("sum", "mean"))
        total = total / max(count, 1)
    return label(total, Letter("L"))


def _unless_named(tensor: Tensor, name: str) -> Tensor:
    """Label a Tensor unless it has a name already: names that users set win."""
    return tensor if tensor.name is not None else label(tensor, name)
