"""Gradients against central differences: `check_gradients` for a function of yours, `CASES` for every primitive."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_rnn import functions as F
from tinygrad_rnn import primitives
from tinygrad_rnn.backward import grad
from tinygrad_rnn.errors import GradientError
from tinygrad_rnn.tensor import Tensor, describe, record

__all__ = ["CASES", "central_differences", "check_gradients", "check_parameters", "check_primitive"]


def check_gradients(
    f: Callable[..., Tensor], *inputs: Any, order: int = 1, step: float = 1e-5, tolerance: float = 1e-6
) -> float:
    """Compare the gradients of a scalar function with central differences (f(x + s) - f(x - s)) / 2s.

    >>> check_gradients(lambda x, y: F.sum(x * y), [1.0, 2.0], [3.0, 4.0]) < 1e-9
    True

    Args:
        f: takes as many Tensors as there are inputs and returns a scalar Tensor.
        inputs: float64 arrays or Tensors; their values are where the gradient is checked.
        order: 1 for the gradients; 2 for the second derivatives, as the gradients of the gradient's product with a
            fixed direction, which is recorded with `create_graph`; and so on.
        step: s, in units of the inputs.
        tolerance: the largest relative error that passes.

    Returns:
        The largest |gradient - difference| / max(1, |gradient|, |difference|) over all elements of all inputs.

    Raises:
        GradientError: the error is above the tolerance; names the input, the element and both values.
        ValueError: f returns no scalar, or order is below 1.
    """
    if order < 1:
        raise ValueError(f"check_gradients(order={order}): the order is 1 or more")
    arrays = [np.array(x.data if isinstance(x, Tensor) else x, dtype=np.float64) for x in inputs]
    for _ in range(order - 1):
        f = _directional_derivative(f, arrays)

    leaves = [Tensor(x, requires_grad=True, name=f"input {i}") for i, x in enumerate(arrays)]
    output = f(*leaves)
    if not isinstance(output, Tensor) or output.size != 1:
        got = f"shape {output.shape}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise ValueError(f"check_gradients(f): f returns a Tensor that is a scalar, not {got}")
    gradients = grad(output, leaves) if output.requires_grad else [Tensor(np.zeros(x.shape)) for x in arrays]
    return max(_errors(lambda: f(*leaves), leaves, gradients, step, tolerance), default=0.0)


def check_parameters(
    loss: Callable[[], Tensor], parameters: Sequence[Tensor], step: float = 1e-5, tolerance: float = 1e-6
) -> list[float]:
    """`check_gradients` for a loss of leaves that it reads, such as a net's parameters: the error of each.

    Raises:
        GradientError: an error is above the tolerance; names the parameter, the element and both values.
    """
    return _errors(loss, parameters, grad(loss(), parameters), step, tolerance)


def _errors(
    value: Callable[[], Tensor], leaves: Sequence[Tensor], gradients: Sequence[Any], step: float, tolerance: float
) -> list[float]:
    """Per leaf, the largest |gradient - difference| / max(1, |gradient|, |difference|)."""
    errors = []
    for leaf, gradient in zip(leaves, gradients, strict=True):
        ours, differences = gradient.data, central_differences(lambda: value().item(), leaf.data, step)
        relative = np.abs(ours - differences) / np.maximum(1.0, np.maximum(np.abs(ours), np.abs(differences)))
        for place in zip(*np.nonzero(~(relative <= tolerance)), strict=True):
            raise GradientError(
                f"{describe(leaf)} at {tuple(map(int, place))}: the gradient is {ours[place]:.10g}, central "
                f"differences give {differences[place]:.10g}; relative error {relative[place]:.2g} > {tolerance:.2g}"
            )
        errors.append(float(np.max(relative, initial=0.0)))
    return errors


def central_differences(value: Callable[[], float], x: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """(value(x + s) - value(x - s)) / 2s for every element of an array that `value` reads, changed and put back."""
    differences = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        at, values = x[place], []
        try:
            for moved in (at + step, at - step):
                x[place] = moved
                values.append(value())
        finally:
            x[place] = at
        differences[place] = (values[0] - values[1]) / (2 * step)
    return differences


def _directional_derivative(f: Callable[..., Tensor], arrays: list[np.ndarray]) -> Callable[..., Tensor]:
    """Σ gradient · v for a fixed direction v: a scalar function whose own gradient is a second derivative times v."""
    rng = np.random.default_rng(0)
    directions = [rng.standard_normal(x.shape) for x in arrays]

    def derivative(*leaves: Tensor) -> Tensor:
        gradients = grad(f(*leaves), leaves, create_graph=True)
        total = Tensor(0.0)
        for gradient, v in zip(gradients, directions, strict=True):
            total = total + F.sum(gradient * v)
        return total

    return derivative


# Per primitive: the shapes of sample inputs, and the static arguments. The default for one or two inputs is below;
# the second of two is broadcast.
_SHAPES = {1: [(3, 4)], 2: [(3, 4), (4,)]}
_Case = tuple[list[tuple[int, ...]], tuple]
CASES: dict[str, list[_Case]] = {
    "matmul": [
        ([(3,), (3,)], ()),
        ([(2, 3), (3,)], ()),
        ([(3,), (3, 2)], ()),
        ([(2, 3), (3, 4)], ()),
        ([(3,), (2, 3, 4)], ()),
        ([(2, 4, 3), (3,)], ()),
        ([(2, 1, 4, 3), (5, 3, 2)], ()),
    ],
    "linear": [([(4, 3), (3,)], ()), ([(4, 3), (2, 3)], ()), ([(4, 3), (5, 2, 3)], ())],
    "outer": [([(4,), (3,)], ()), ([(2, 4), (2, 3)], ()), ([(5, 2, 4), (5, 2, 3)], ())],
    "where": [([(3, 4), (4,)], (np.arange(12).reshape(3, 4) % 3 == 0,))],
    **{
        name: [([(3, 4)], static) for static in [(None, False), (0, False), (-1, True), ((0, 1), True)]]
        for name in ("sum", "max", "min")
    },
    "reshape": [([(3, 4)], ((2, 6),)), ([(3, 4)], (-1,))],
    "transpose": [([(3, 4)], (None,)), ([(2, 3, 4)], ((1, 2, 0),))],
    "broadcast_to": [([(3, 1)], ((2, 3, 4),))],
    "getitem": [
        ([(3, 4)], (1,)),
        ([(3, 4)], ((slice(None), slice(1, None, 2)),)),
        ([(3, 4)], ((Ellipsis, None, 0),)),
        ([(3, 4)], (np.array([2, 0, 2]),)),
        ([(3, 4)], ((np.array([0, 1]), np.array([3, 3])),)),
    ],
    "scatter": [([(2, 4)], (slice(0, 2), (3, 4))), ([(3, 4)], (np.array([2, 0, 2]), (3, 4)))],
    "astype": [([(3, 4)], (np.dtype(np.float64),))],
    "concatenate": [([(2, 3), (1, 3)], (0,)), ([(2, 3), (2, 1), (2, 2)], (-1,))],
    "stack": [([(3, 2), (3, 2)], (0,)), ([(3, 2), (3, 2), (3, 2)], (-1,))],
}


# The primitives whose sample inputs are positive, being defined or real there only.
_POSITIVE = {"log", "power", "sqrt"}


def check_primitive(name: str, order: int = 1, seed: int = 0) -> float:
    """`check_gradients` of one primitive on its sample inputs, away from kinks: the largest relative error.

    What is differentiated is Σ w (primitive)³, so that the cotangents that its rules meet depend on the inputs too, and
    no rule's own curvature cancels (as that of a root would in a square).
    """
    primitive = primitives.TABLE[name]
    rng = np.random.default_rng(seed)

    def error(shapes: list[tuple[int, ...]], static: tuple) -> float:
        signs = [1.0] if name in _POSITIVE else [-1.0, 1.0]
        inputs = [rng.uniform(0.5, 1.5, shape) * rng.choice(signs, shape) for shape in shapes]
        w = rng.standard_normal(np.shape(primitive.forward(*inputs, *static)))

        def f(*xs: Tensor) -> Tensor:
            y = record(primitive, xs, *static)
            return F.sum(w * y * y * y)

        return check_gradients(f, *inputs, order=order)

    return max(error(*case) for case in CASES.get(name) or [(_SHAPES[len(primitive.vjps)], ())])
