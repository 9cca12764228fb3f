"""Optimizers, which change parameters along their gradients, and the clipping of gradients that explode.

optimizer = Adam(net.parameters(), lr=0.01)
for x, target in data:
    loss = ...
    loss.backward()
    clip_grad_norm(net.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from tinygrad_rnn.errors import GradientError
from tinygrad_rnn.tensor import Tensor, describe

__all__ = ["SGD", "Adam", "Optimizer", "clip_grad_norm", "clip_grad_value", "gradient_norm"]


class Optimizer:
    """What the optimizers share: the parameters, each with arrays that the optimizer remembers between steps.

    A parameter whose `.grad` is None is left as it is.

    Raises:
        ValueError: there are no parameters, or lr or another setting is out of its range.
        TypeError: a parameter is not a leaf Tensor that requires a gradient.
    """

    def __init__(self, params: Iterable[Tensor], lr: float):
        self.params = list(params)
        name = type(self).__name__
        if not self.params:
            raise ValueError(f"{name}(params): there are no parameters")
        for p in self.params:
            if not (isinstance(p, Tensor) and p.is_leaf and p.requires_grad):
                what = describe(p) if isinstance(p, Tensor) else f"a {type(p).__name__}"
                raise TypeError(f"{name}(params): {what} is not a leaf that requires a gradient")
        self.lr = _at_least_0(name, "lr", lr)

    def step(self) -> None:
        """Change every parameter that has a gradient."""
        for i, p in enumerate(self.params):
            if p.grad is not None:
                p.data = p.value - self._change(i, p.grad)

    def _change(self, i: int, g: np.ndarray) -> np.ndarray:
        """What is subtracted from parameter i, whose gradient is g."""
        raise NotImplementedError

    def zero_grad(self) -> None:
        """Forget all gradients: `.grad` of every parameter becomes None."""
        for p in self.params:
            p.grad = None


class SGD(Optimizer):
    """Gradient descent: v = momentum · v + g, p = p - lr · v (seed 003: W = W - α ∂E/∂W, without momentum).

    Args:
        params: the parameters. lr: the learning rate α. momentum: at least 0 and less than 1.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float = 0.0):
        super().__init__(params, lr)
        self.momentum = _fraction("SGD", "momentum", momentum)
        self._velocities = [np.zeros_like(p.value) for p in self.params]

    def _change(self, i: int, g: np.ndarray) -> np.ndarray:
        self._velocities[i] = v = self.momentum * self._velocities[i] + g
        return self.lr * v


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015, algorithm 1): m and v are running means of g and g², corrected for their start at 0:

        m = β₁ m + (1 - β₁) g,   v = β₂ v + (1 - β₂) g²
        p = p - lr · m / (1 - β₁ⁿ) / (√(v / (1 - β₂ⁿ)) + eps)   in step n

    Args:
        params: the parameters. lr: the learning rate. betas: (β₁, β₂). eps: keeps the quotient finite.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ):
        super().__init__(params, lr)
        self.betas = tuple(_fraction("Adam", "betas", beta) for beta in betas)
        self.eps = _at_least_0("Adam", "eps", eps)
        self._moments = [(0, np.zeros_like(p.value), np.zeros_like(p.value)) for p in self.params]

    def _change(self, i: int, g: np.ndarray) -> np.ndarray:
        beta1, beta2 = self.betas
        n, m, v = self._moments[i]
        self._moments[i] = n, m, v = n + 1, beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        return self.lr * (m / (1 - beta1**n)) / (np.sqrt(v / (1 - beta2**n)) + self.eps)


def gradient_norm(params: Sequence[Tensor]) -> float:
    """‖g‖, the norm of all gradients as one vector.

    Raises:
        GradientError: a gradient is not finite; names the parameter.
    """
    for p in params:
        if p.grad is not None and not np.isfinite(p.grad).all():
            bad = p.grad[~np.isfinite(p.grad)]
            raise GradientError(f"the gradient of {describe(p)} is not finite: {bad.size} of {p.size} are {bad[0]}")
    gradients = [p.grad for p in params if p.grad is not None]
    largest = max((np.max(np.abs(g), initial=0.0) for g in gradients), default=0.0) or 1.0
    return float(largest * np.sqrt(sum(np.sum((g / largest) ** 2) for g in gradients)))  # squares do not overflow


def clip_grad_norm(params: Iterable[Tensor], max_norm: float) -> float:
    """Scale all gradients by max_norm / ‖g‖ if their norm ‖g‖, as one vector, exceeds max_norm.

    The remedy of Pascanu et al. 2013 for gradients that explode (seeds 002 to 004); the direction is kept.

    Returns:
        ‖g‖ before.

    Raises:
        ValueError: max_norm is negative or no number. GradientError: a gradient is not finite; names the parameter.
    """
    params = list(params)
    max_norm = _at_least_0("clip_grad_norm", "max_norm", max_norm)
    norm = gradient_norm(params)
    if norm > max_norm:
        for p in params:
            if p.grad is not None:
                p.grad = p.grad * (max_norm / norm)
    return norm


def clip_grad_value(params: Iterable[Tensor], limit: float) -> float:
    """Hold every element of every gradient between -limit and limit; the direction changes.

    Returns, raises: as for `clip_grad_norm`.
    """
    params = list(params)
    limit = _at_least_0("clip_grad_value", "limit", limit)
    norm = gradient_norm(params)
    for p in params:
        if p.grad is not None:
            p.grad = np.clip(p.grad, -limit, limit)
    return norm


def _at_least_0(call: str, name: str, value: float) -> float:
    if not value >= 0:
        raise ValueError(f"{call}({name}={value!r}): a number of at least 0 is needed")
    return float(value)


def _fraction(call: str, name: str, value: float) -> float:
    if not 0 <= value < 1:
        raise ValueError(f"{call}({name}={value!r}): a number of at least 0 and less than 1 is needed")
    return float(value)


def norm(arrays):
    """stub"""
    arrays = list(arrays)
    largest = max((np.max(np.abs(g), initial=0.0) for g in arrays), default=0.0) or 1.0
    return float(largest * np.sqrt(sum(np.sum((g / largest) ** 2) for g in arrays)))
