"""Optimizers, which change parameters along their gradients, and the clipping of gradients that explode.

optimizer = Adam(net.parameters(), lr=0.01)
for x, target in data:
    loss = ...
    loss.backward()
    clip_grad_norm(net.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()

`params` is parameters, one parameter, or a module, which stands for its parameters; what comes twice counts once. A
parameter that is frozen, with requires_grad set to False, is neither changed nor clipped.
"""

import math
import sys
import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_rnn.checks import instance, number, whole
from tinygrad_rnn.descriptions import describe
from tinygrad_rnn.errors import GradientError
from tinygrad_rnn.nn.module import Module, refuse_differences
from tinygrad_rnn.tables import counted
from tinygrad_rnn.tensor import Tensor

__all__ = ["SGD", "Adam", "Optimizer", "clip_grad_norm", "clip_grad_value", "gradient_norm"]

Parameters = Module | Tensor | Iterable[Tensor]


class Optimizer:
    """The base of the optimizers: the parameters, each with what is remembered of it between steps.

    A parameter whose `.grad` is None is left as it is.

    Attributes:
        moments: how many arrays of a parameter's shape are remembered, zeros at first, beside its number of steps.

    Raises:
        ValueError: there are no parameters, or lr or another setting is out of its range, also when it is set later.
        TypeError: what is given is no parameter, or a setting is no number.

    >>> tg.optim.Adam(tg.nn.RNN(2, 3), lr=0.01)
    Adam(lr=0.01, betas=(0.9, 0.999), eps=1e-08) of 3 Tensors
    """

    moments = 1

    def __init__(self, params: Parameters, **settings: Any):
        call = type(self).__name__
        self.params = _listed(call, params)
        if not self.params:
            raise ValueError(f"{call}(params): there are no parameters")
        frozen = [] if any(p.requires_grad for p in self.params) else self.params  # some may be, not all
        if refused := [p for p in self.params if not p.is_leaf] or frozen:
            raise TypeError(f"{call}(params): {describe(refused[0])} is not a leaf that requires a gradient")
        for name, value in settings.items():
            setattr(self, name, value)
        self._memory = [(0, *[np.zeros_like(p.value)] * self.moments) for p in self.params]

    def __setattr__(self, name: str, value: Any) -> None:
        """Check a setting whenever it is set, and keep it as a Python number, which leaves float32 what it is."""
        call = type(self).__name__
        if name in ("lr", "eps"):
            value = number(call, name, value, "a finite number of at least 0", 0, sys.float_info.max)
        elif name == "momentum":
            value = _fraction(call, name, value)
        elif name == "betas":
            if not isinstance(value, (tuple, list)) or len(value) != 2:
                raise ValueError(f"{call}(betas={value!r}): a pair of numbers is needed")
            value = tuple(_fraction(call, name, beta) for beta in value)
        super().__setattr__(name, value)

    def _change(self, g: np.ndarray, n: int, *moments: np.ndarray) -> tuple[np.ndarray, ...]:
        """The change that is subtracted from a parameter, whose gradient is g, in step n; and its next moments."""
        raise NotImplementedError

    def step(self) -> None:
        """Change every parameter that requires a gradient and has one."""
        for i, p in enumerate(self.params):
            if p.requires_grad and p.grad is not None:
                n, *moments = self._memory[i]
                change, *moments = self._change(p.grad, n + 1, *moments)
                self._memory[i] = n + 1, *moments
                p.data = np.asarray(p.value - change, p.dtype)

    def state_dict(self) -> dict[str, np.ndarray]:
        """A copy of what is remembered between steps: of parameter i its steps under "i.0", and array k under "i.k"."""
        return {f"{i}.{k}": np.array(part) for i, parts in enumerate(self._memory) for k, part in enumerate(parts)}

    def load_state_dict(self, values: Mapping[str, Any]) -> None:
        """Remember what another optimizer of the same kind and for parameters of the same shapes did.

        Raises:
            ValueError: names, shapes or dtypes differ, and lists every difference; or a number of steps is negative.
        """
        call, arrays = f"{type(self).__name__}.load_state_dict", {name: np.array(x) for name, x in values.items()}
        refuse_differences(call, arrays, self.state_dict())
        kept = {k: whole(call, k, int(x), 0) if x.dtype.kind == "i" else x for k, x in arrays.items()}
        self._memory = [tuple(kept[f"{i}.{k}"] for k in range(len(parts))) for i, parts in enumerate(self._memory)]

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={x!r}" for name, x in vars(self).items() if name[0] != "_" and name != "params")
        return f"{type(self).__name__}({settings}) of {counted(len(self.params), 'Tensor')}"

    def zero_grad(self) -> None:
        """Forget all gradients: `.grad` of every parameter becomes None."""
        for p in self.params:
            p.grad = None


class SGD(Optimizer):
    """Gradient descent: v = momentum · v + g, p = p - lr · v (IIT slides: W = W - α ∂E/∂W, without momentum).

    Args:
        params: the parameters. lr: the learning rate α. momentum: at least 0 and less than 1.

    >>> x = tg.Tensor(1.0, requires_grad=True)
    >>> optimizer = tg.optim.SGD(x, lr=0.1)
    >>> (x * x).backward()
    >>> optimizer.step()
    >>> x
    Tensor(0.8, requires_grad=True)
    """

    def __init__(self, params: Parameters, lr: float, momentum: float = 0.0):
        super().__init__(params, lr=lr, momentum=momentum)

    def _change(self, g: np.ndarray, n: int, v: np.ndarray) -> tuple[np.ndarray, ...]:
        v = self.momentum * v + g
        return self.lr * v, v


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015, algorithm 1): m and v are running means of g and g², corrected for their start at 0:

        m = β₁ m + (1 - β₁) g,   v = β₂ v + (1 - β₂) g²
        p = p - lr · m / (1 - β₁ⁿ) / (√(v / (1 - β₂ⁿ)) + eps)   in step n

    Args:
        params: the parameters. lr: the learning rate. betas: (β₁, β₂). eps: keeps the quotient finite.

    >>> x = tg.Tensor(1.0, requires_grad=True)
    >>> optimizer = tg.optim.Adam(x, lr=0.1)
    >>> for _ in range(100):
    ...     optimizer.zero_grad()
    ...     (x * x).backward()
    ...     optimizer.step()
    ...
    >>> abs(x.item()) < 0.01
    True
    """

    moments = 2

    def __init__(self, params: Parameters, lr: float = 1e-3, betas: Sequence[float] = (0.9, 0.999), eps: float = 1e-8):
        super().__init__(params, lr=lr, betas=betas, eps=eps)

    def _change(self, g: np.ndarray, n: int, m: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, ...]:
        beta1, beta2 = self.betas
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        return self.lr * (m / (1 - beta1**n)) / (np.sqrt(v / (1 - beta2**n)) + self.eps), m, v


def norm(arrays: Iterable[np.ndarray]) -> float:
    """√(Σ a²), the norm of all elements of all arrays as one vector.

    They are divided by the largest first, so that no square overflows or vanishes; nan or infinite if an element is.
    """
    arrays = [np.asarray(array, np.float64) for array in arrays]
    largest = _largest(arrays)
    if not 0.0 < largest < math.inf:
        return largest
    return largest * math.sqrt(sum(float(np.sum((array / largest) ** 2)) for array in arrays))


def gradient_norm(params: Parameters) -> float:
    """‖g‖, the norm of all gradients as one vector; infinite if it exceeds the largest number there is.

    Raises:
        GradientError: a gradient is not finite; names the parameter. TypeError: what is given are no parameters.

    >>> x = tg.Tensor([3.0, 4.0], requires_grad=True)
    >>> (0.5 * x * x).sum().backward()
    >>> tg.optim.gradient_norm(x)
    5.0
    """
    return norm([p.grad for p in _with_finite_gradients("gradient_norm", params)])


def clip_grad_norm(params: Parameters, max_norm: float) -> float:
    """Scale all gradients by max_norm / ‖g‖ if their norm ‖g‖, as one vector, exceeds max_norm.

    The remedy of Pascanu et al. 2013 for gradients that explode (also in Module 5, the IIT slides and TowardsML); the
    direction is kept.

    Returns:
        ‖g‖ before, infinite if it exceeds the largest number there is.

    Raises:
        ValueError: max_norm is negative or nan. GradientError: a gradient is not finite; names the parameter.
        TypeError: what is given are no parameters, or max_norm is no number.

    >>> x = tg.Tensor([3.0, 4.0], requires_grad=True)
    >>> (0.5 * x * x).sum().backward()
    >>> tg.optim.clip_grad_norm(x, 1.0)
    5.0
    >>> x.grad
    array([0.6, 0.8])
    """
    max_norm = number("clip_grad_norm", "max_norm", max_norm, "a number of at least 0", 0)
    params = _with_finite_gradients("clip_grad_norm", params)
    before = norm([p.grad for p in params])
    if before > max_norm:
        largest = _largest([p.grad for p in params])
        scale = max_norm / norm([p.grad / largest for p in params])  # finite where the norm of the gradients overflows
        for p in params:
            p.grad = np.asarray(p.grad / largest * scale)
            _remember(p.grad, f"clipped, × {max_norm / before:.3g}")
    return before


def clip_grad_value(params: Parameters, limit: float) -> float:
    """Hold every element of every gradient between -limit and limit; the direction changes.

    Returns, raises: as for `clip_grad_norm`.

    >>> x = tg.Tensor([3.0, 0.5], requires_grad=True)
    >>> (0.5 * x * x).sum().backward()
    >>> norm = tg.optim.clip_grad_value(x, 1.0)
    >>> x.grad
    array([1. , 0.5])
    """
    limit = number("clip_grad_value", "limit", limit, "a number of at least 0", 0)
    params = _with_finite_gradients("clip_grad_value", params)
    before = norm([p.grad for p in params])
    for p in params:
        beyond = int(np.sum(np.abs(p.grad) > limit))
        p.grad = np.asarray(np.clip(p.grad, -limit, limit))
        if beyond:
            _remember(p.grad, f"clipped, {beyond} of {p.size}")
    return before


_clippings: dict[int, str] = {}  # by the id of a clipped gradient, as long as it lives: what was done to it


def _remember(gradient: np.ndarray, what: str) -> None:
    _clippings[id(gradient)] = what
    weakref.finalize(gradient, _clippings.pop, id(gradient)).atexit = False


def clipping(p: Tensor) -> str:
    """The mark of figures at a parameter whose gradient was clipped, which says by how much; empty if it was not."""
    return _clippings.get(id(p.grad), "")


def _largest(arrays: Iterable[np.ndarray]) -> float:
    """The largest magnitude of all elements."""
    return float(np.max([np.max(np.abs(array), initial=0.0) for array in arrays], initial=0.0))


def _listed(call: str, params: Parameters) -> list[Tensor]:
    """Parameters as a list in which each is once."""
    if isinstance(params, Module):
        params = params.parameters()
    params = [params] if isinstance(params, Tensor) else params
    listed = list(instance(f"{call}(params)", params, Iterable, "a module, or parameters,"))
    for p in listed:
        instance(f"{call}(params)", p, Tensor, "a parameter")
    return list(dict.fromkeys(listed))


def _with_finite_gradients(call: str, params: Parameters) -> list[Tensor]:
    """The parameters that require a gradient and have one, all of which are checked to be finite."""
    params = [p for p in _listed(call, params) if p.requires_grad and p.grad is not None]
    for p in params:
        bad = p.grad[~np.isfinite(p.grad)]
        if bad.size:
            raise GradientError(f"the gradient of {describe(p)} is not finite: {bad.size} of {p.size} are {bad[0]}")
    return params


def _fraction(call: str, name: str, value: Any) -> float:
    return number(call, name, value, "a number of at least 0 and less than 1", 0, math.nextafter(1, 0))
