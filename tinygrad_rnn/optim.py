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
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from tinygrad_rnn.checks import number, one_of, positive, whole
from tinygrad_rnn.data_guard import Notes
from tinygrad_rnn.errors import GradientError, describe
from tinygrad_rnn.interop import missing
from tinygrad_rnn.nn.module import Module, listed, refuse_differences
from tinygrad_rnn.tables import counted
from tinygrad_rnn.tensor import Tensor

Parameters = Module | Tensor | Iterable[Tensor]
Groups = Parameters | Sequence[Mapping[str, Any]]
Rate = float | Callable[[int], float]
Array = np.ndarray
Changed = tuple[Array, ...]


class Optimizer:
    """The base of the optimizers: the parameters, each with what is remembered of it between steps.

    A parameter whose `.grad` is None is left as it is. A setting is an attribute, `optimizer.lr = 0.1`; with groups,
    that of all of them, and `optimizer.param_groups[1]["lr"] = 0.1` that of one.

    Args:
        params: parameters, or groups of them with settings of their own, [{"params": rnn, "lr": 0.1}, ...].
        lr: the learning rate, or a function of the step, counted from 0, such as `cosine(0.01, 1000)`.
        settings: by name, as the optimizer has them; `weight_decay` adds that times p to the gradient of p.

    Attributes:
        defaults: the settings and what they are if they are not given. steps: how often `step` was called.
        moments: how many arrays of a parameter's shape are remembered, zeros at first, beside its number of steps.
        is_decoupled: whether the decay of weights is no part of the gradient.

    Raises:
        ValueError: there are no parameters, one is in two groups, or a setting is unknown or out of its range, also
            when it is set later. TypeError: what is given is no parameter, or a setting is no number.

    >>> tg.optim.Adam(tg.nn.RNN(2, 3), lr=0.01)
    Adam(lr=0.01, weight_decay=0.0, betas=(0.9, 0.999), eps=1e-08) of 3 Tensors
    """

    # (g, n, *moments, **settings): what is subtracted from a parameter of gradient g in step n, and its next moments
    _change: Callable[..., Changed]
    moments, is_decoupled = 1, False
    defaults: ClassVar[dict[str, Any]] = {"lr": 1e-3, "weight_decay": 0.0}

    def __init__(self, params: Groups, lr: Rate | None = None, **settings: Any):
        call, self.steps = type(self).__name__, 0
        settings |= {} if lr is None else {"lr": lr}
        is_grouped = isinstance(params, (list, tuple)) and all(isinstance(x, Mapping) for x in params)
        given: Any = params if is_grouped else [{"params": params}]
        self.param_groups = [{**self.defaults, "params": (), **settings, **group} for group in given]
        for group in self.param_groups:
            group["params"] = list(dict.fromkeys(listed(f"{call}(params)", group["params"])))
            self._settings(group)
        params = [p for group in self.param_groups for p in group["params"]]
        if not params:
            raise ValueError(f"{call}(params): there are no parameters")
        frozen = [] if any(p.requires_grad for p in params) else params  # some may be, not all
        if refused := [p for p in params if not p.is_leaf] or frozen:
            raise TypeError(f"{call}(params): {describe(refused[0])} is not a leaf that requires a gradient")
        self._memory = {p: (0, *[np.zeros_like(p.value)] * self.moments) for p in params}
        if len(self._memory) < len(params):
            raise ValueError(f"{call}(params): a parameter is in two groups")

    params = property(lambda self: list(self._memory), doc="The parameters of all groups.")

    def __getattr__(self, name: str) -> Any:
        """A setting, of the first group."""
        if name in self.defaults:
            return self.param_groups[0][name]
        missing(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a setting, in all groups."""
        if name in ("steps", "param_groups", "_memory"):
            return super().__setattr__(name, value)
        for group in self.param_groups:
            self._settings({**group, name: value})
            group[name] = value

    def _settings(self, group: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of a group in the next step, checked, as Python numbers, which leave float32 what it is."""
        for name in group.keys() - self.defaults.keys() - {"params"}:
            one_of("", f"{type(self).__name__}: setting", name, ["params", *self.defaults])
        lr = group["lr"](self.steps) if callable(group["lr"]) else group["lr"]
        return {k: _setting(type(self).__name__, k, x) for k, x in {**group, "lr": lr}.items() if k != "params"}

    def step(self) -> None:
        """Change every parameter that requires a gradient and has one."""
        for group in self.param_groups:
            settings = self._settings(group)
            decay = settings.pop("weight_decay")
            for p in [p for p in group["params"] if p.requires_grad and p.grad is not None]:
                n, *moments = self._memory[p]
                g = p.grad + decay * p.value if decay and not self.is_decoupled else p.grad
                change, *moments = self._change(g, n + 1, *moments, **settings)
                if self.is_decoupled:
                    change = change + settings["lr"] * decay * p.value
                self._memory[p] = n + 1, *moments
                p.data = np.asarray(p.value - change, p.dtype)
        self.steps += 1

    def state_dict(self) -> dict[str, Array]:
        """A copy of what goes on: "steps", the learning rate of group i as "lr.i", of parameter i the number of its
        steps as "i.0", and array k as "i.k"."""
        state = {"steps": self.steps} | {f"lr.{i}": self._settings(x)["lr"] for i, x in enumerate(self.param_groups)}
        for i, parts in enumerate(self._memory.values()):
            state |= {f"{i}.{k}": part for k, part in enumerate(parts)}
        return {name: np.array(x) for name, x in state.items()}

    def load_state_dict(self, values: Mapping[str, Any]) -> None:
        """Go on from where another optimizer of the same kind and for parameters of the same shapes was.

        A learning rate that is a function of the step stays one.

        Raises:
            ValueError: names, shapes or dtypes differ, and lists every difference; or a number of steps or a learning
                rate is negative. Then the optimizer is as it was.
        """
        call, arrays = f"{type(self).__name__}.load_state_dict", {name: np.array(x) for name, x in values.items()}
        refuse_differences(call, arrays, self.state_dict())
        kept: dict[str, Any] = {k: whole(call, k, int(x), 0) if x.dtype.kind == "i" else x for k, x in arrays.items()}
        rates = [_setting(call, "lr", kept[f"lr.{i}"].item()) for i in range(len(self.param_groups))]
        for group, lr in zip(self.param_groups, rates, strict=True):
            group["lr"] = group["lr"] if callable(group["lr"]) else lr
        self.steps, parts = kept["steps"], range(1 + self.moments)
        self._memory = {p: tuple([kept[f"{i}.{k}"] for k in parts]) for i, p in enumerate(self._memory)}

    def __repr__(self) -> str:
        groups = [", ".join(f"{k}={x!r}" for k, x in group.items() if k != "params") for group in self.param_groups]
        return f"{type(self).__name__}({'; '.join(groups)}) of {counted(len(self.params), 'Tensor')}"

    def zero_grad(self) -> None:
        """Forget all gradients: `.grad` of every parameter becomes None."""
        for p in self._memory:
            p.grad = None


class SGD(Optimizer):
    """Gradient descent: v = momentum · v + g, p = p - lr · v (IIT slides: W = W - α ∂E/∂W, without momentum).

    >>> x = tg.Tensor(1.0, requires_grad=True)
    >>> optimizer = tg.optim.SGD(x, lr=0.1)
    >>> (x * x).backward()
    >>> optimizer.step()
    >>> x
    Tensor(0.8, requires_grad=True)
    """

    defaults: ClassVar[dict[str, Any]] = {**Optimizer.defaults, "momentum": 0.0}

    def _change(self, g: Array, n: int, v: Array, *, lr: float, momentum: float) -> Changed:
        v = momentum * v + g
        return lr * v, v


class RMSprop(Optimizer):
    """RMSprop (Hinton 2012): g over the root of v, a running mean of g²; its settings are those of PyTorch.

    v = alpha v + (1 - alpha) g²,   u = momentum · u + g / (√v + eps),   p = p - lr · u

    >>> x = tg.Tensor(1.0, requires_grad=True)
    >>> optimizer = tg.optim.RMSprop(x, lr=0.02)
    >>> for _ in range(100):
    ...     optimizer.zero_grad()
    ...     (x * x).backward()
    ...     optimizer.step()
    ...
    >>> abs(x.item()) < 0.1
    True
    """

    moments = 2
    defaults: ClassVar[dict[str, Any]] = {**SGD.defaults, "lr": 1e-2, "alpha": 0.99, "eps": 1e-8}

    def _change(self, g: Array, n: int, v: Array, u: Array, *, lr: float, **settings: float) -> Changed:
        v = settings["alpha"] * v + (1 - settings["alpha"]) * g * g
        u = settings["momentum"] * u + g / (np.sqrt(v) + settings["eps"])
        return lr * u, v, u


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015, algorithm 1): m and v are running means of g and g², corrected for their start at 0:

        m = β₁ m + (1 - β₁) g,   v = β₂ v + (1 - β₂) g²
        p = p - lr · m / (1 - β₁ⁿ) / (√(v / (1 - β₂ⁿ)) + eps)   in step n

    Its settings are betas, (β₁, β₂); eps, which keeps the quotient finite; lr and weight_decay.

    >>> x = tg.Tensor(1.0, requires_grad=True)
    >>> optimizer = tg.optim.Adam(x, lr=0.1)
    >>> for _ in range(100):
    ...     optimizer.zero_grad()
    ...     (x * x).backward()
    ...     optimizer.step()
    ...
    >>> abs(x.item()) < 0.1
    True
    """

    moments = 2
    defaults: ClassVar[dict[str, Any]] = {**Optimizer.defaults, "betas": (0.9, 0.999), "eps": 1e-8}

    def _change(self, g: Array, n: int, m: Array, v: Array, *, lr: float, betas: Any, eps: float) -> Changed:
        beta1, beta2 = betas
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        return lr * (m / (1 - beta1**n)) / (np.sqrt(v / (1 - beta2**n)) + eps), m, v


class AdamW(Adam):
    """Adam with weight decay beside the gradient: p = p - lr · weight_decay · p, too (Loshchilov and Hutter 2019).

    >>> x = tg.Tensor(1.0, requires_grad=True)
    >>> optimizer = tg.optim.AdamW(x, lr=0.1)
    >>> for _ in range(100):
    ...     optimizer.zero_grad()
    ...     (x * x).backward()
    ...     optimizer.step()
    ...
    >>> abs(x.item()) < 0.1
    True
    """

    defaults: ClassVar[dict[str, Any]] = {**Adam.defaults, "weight_decay": 1e-2}
    is_decoupled = True


def cosine(lr: float, steps: int, least: float = 0.0) -> Callable[[int], float]:
    """A learning rate that falls from lr to the least, in so many steps, along half a wave of the cosine.

    >>> lr = tg.optim.cosine(0.1, 100)
    >>> lr(0), lr(100)
    (0.1, 0.0)
    """
    lr, steps = positive("cosine", "lr", lr), whole("cosine", "steps", steps, 1)
    least = number("cosine", "least", least, *_FINITE)
    return lambda step: least + (lr - least) * (1.0 + math.cos(math.pi * min(step / steps, 1.0))) / 2.0


def staircase(lr: float, every: int, factor: float = 0.1) -> Callable[[int], float]:
    """A learning rate that is multiplied by a factor every so many steps.

    >>> lr = tg.optim.staircase(0.1, every=10)
    >>> lr(9), round(lr(10), 6)
    (0.1, 0.01)
    """
    lr, every = positive("staircase", "lr", lr), whole("staircase", "every", every, 1)
    factor = number("staircase", "factor", factor, *_FINITE)
    return lambda step: lr * factor ** (step // every)


def norm(arrays: Iterable[np.ndarray]) -> float:
    """√(Σ a²), the norm of all elements of all arrays as one vector.

    They are divided by the largest first, so that no square overflows or vanishes; nan or infinite if an element is.

    >>> tg.optim.norm([np.array([3.0]), np.array([4.0])])
    5.0
    """
    return math.prod(_norm(arrays))


def gradient_norm(params: Parameters) -> float:
    """‖g‖, the norm of all gradients as one vector; infinite if it exceeds the largest number there is.

    Raises:
        GradientError: a gradient is not finite; names the parameter. TypeError: what is given are no parameters.

    >>> x = tg.Tensor([3.0, 4.0], requires_grad=True)
    >>> (0.5 * x * x).sum().backward()
    >>> tg.optim.gradient_norm(x)
    5.0
    """
    return norm(_finite_gradients("gradient_norm", params).values())


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
    gradients = _finite_gradients("clip_grad_norm", params)
    largest, relative = _norm(gradients.values())
    before = largest * relative
    if before > max_norm:
        for p, g in gradients.items():
            p.grad = np.asarray(g / largest * (max_norm / relative))  # finite where the norm overflows
            _clippings.add(p.grad, f"clipped, × {max_norm / before:.3g}")
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
    gradients = _finite_gradients("clip_grad_value", params)
    for p, g in gradients.items():
        p.grad = np.asarray(np.clip(g, -limit, limit))
        if beyond := int(np.sum(np.abs(g) > limit)):
            _clippings.add(p.grad, f"clipped, {beyond} of {p.size}")
    return norm(gradients.values())


_clippings = Notes()  # of each clipped gradient, what was done to it


def clipping(p: Tensor) -> str:
    """The mark of figures at a parameter whose gradient was clipped, which says by how much; empty if it was not.

    >>> x = tg.Tensor([3.0, 4.0], requires_grad=True)
    >>> (0.5 * x * x).sum().backward()
    >>> norm = tg.optim.clip_grad_norm(x, 1.0)
    >>> tg.optim.clipping(x)
    'clipped, × 0.2'
    """
    return _clippings.of(p.grad) or ""


def _norm(arrays: Iterable[np.ndarray]) -> tuple[float, float]:
    """The largest magnitude of all elements, and their norm as a multiple of it."""
    arrays = [np.asarray(array, np.float64) for array in arrays]
    largest = float(np.max([np.max(np.abs(array), initial=0.0) for array in arrays], initial=0.0))
    if not 0.0 < largest < math.inf:
        return largest, 1.0
    return largest, math.sqrt(sum(float(np.sum((array / largest) ** 2)) for array in arrays))


def _finite_gradients(call: str, params: Parameters) -> dict[Tensor, np.ndarray]:
    """The gradients of the parameters that require one and have it, all of which are checked to be finite."""
    gradients = {p: p.grad for p in listed(f"{call}(params)", params) if p.requires_grad and p.grad is not None}
    for p, g in gradients.items():
        if (bad := g[~np.isfinite(g)]).size:
            raise GradientError(f"the gradient of {describe(p)} is not finite: {bad.size} of {p.size} are {bad[0]}")
    return gradients


_FINITE = "a finite number of at least 0", 0, sys.float_info.max
_FRACTION = "a number of at least 0 and less than 1", 0, math.nextafter(1, 0)


def _setting(call: str, name: str, value: Any) -> Any:
    if name != "betas":
        return number(call, name, value, *(_FRACTION if name in ("alpha", "momentum") else _FINITE))
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise ValueError(f"{call}(betas={value!r}): a pair of numbers is needed")
    return tuple([number(call, name, beta, *_FRACTION) for beta in value])


vars()["__getattr__"] = missing.__get__(__name__)  # bound to this module; a type checker shall not know of it
