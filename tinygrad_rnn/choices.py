"""Tests and choices, such as x > y and argmax: primitives through which no gradient flows.

They stand in the trace of a program only; in other graphs their results are arrays.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tinygrad_rnn.primitives import Primitive


def _over(test: Callable, x: np.ndarray, axis: Any, keepdims: bool) -> Any:
    """A test or a choice over an axis, or over all axes; only argsort does not take `keepdims`."""
    return test(x, axis=axis, **({"keepdims": keepdims} if keepdims else {}))


def _one_hot(x: np.ndarray, count: int) -> np.ndarray:
    """For each class number in x, which of so many classes it is."""
    hot = x[..., None] == np.arange(count)
    if np.count_nonzero(hot) != x.size:
        outside = x[(x < 0) | (x >= count)]
        raise ValueError(f"cross_entropy: class numbers are 0 to {count - 1} for {count} logits, not {outside[0]}")
    return hot


def _word_number(x: np.ndarray, count: int) -> np.ndarray:
    """x, if it is numbers of so many words."""
    if x.dtype.kind not in "iu" or np.any((x < 0) | (x >= count)):
        raise ValueError(f"Embedding: word numbers are 0 to {count - 1}, not {x.dtype} from {np.min(x)} to {np.max(x)}")
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
TESTS |= {
    test: Primitive(test.__name__, partial(_over, test), f"{test.__name__}({{x}})", argument_names=("x",))
    for test in (np.any, np.all, np.argmax, np.argmin, np.argsort)
}
TESTS["one_hot"] = Primitive("one_hot", _one_hot, "one_hot({x})", argument_names=("x",))
TESTS["word_number"] = Primitive("word_number", _word_number, "{x}", argument_names=("x",))
