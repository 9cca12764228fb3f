"""Backpropagation through time as the texts write it, in plain NumPy: the independent witness of the engine.

    equation                                      seed, number                    where
    ĥ(t) = W x(t) + U h(t-1) + b, h(t) = f(ĥ(t))  001, Fig. 7-5                   `closed_form_gradients`, forward
    L = ½ (y - Y)²                                001, eq. 7.3                    `_half_squared_error`
    E = (d - y)²                                  000, 002                        `_squared_error`
    E = -y log softmax(z), ∂E/∂z = ŷ - y          003, "Backpropagation"          `_cross_entropy`
    grad_dense = ∂L/∂h(T)                         001, eq. 7.4                    `closed_form_gradients`, backward
    dh(t) = dh(t+1) f′(ĥ(t+1)) ᵗU                 001, eq. 7.6                    the same
    dW, dU, db                                    001, eqs. 7.7 to 7.9            the same
    ∂E/∂V = (ŷ - y) ⊗ h                           003                             the same

Products are written for column vectors, as ᵗU dĥ; the texts write the same as row vectors. A batch is B such columns
side by side, held as rows (B, H). This module imports nothing of the engine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Gradients", "closed_form_gradients"]


@dataclass(frozen=True)
class Gradients:
    """What `closed_form_gradients` returns: the loss, the states h(1..T), dh(1..T) of eq. 7.6, and dL/d(each input).

    `dh[t]` is the whole derivative of the loss with respect to the state, ∂L/∂h(t+1) since t counts from 0. `b` and `c`
    are None for a net without them.
    """

    loss: float
    hs: np.ndarray
    dh: np.ndarray
    W: np.ndarray
    U: np.ndarray
    b: np.ndarray | None
    V: np.ndarray
    c: np.ndarray | None
    h0: np.ndarray
    xs: np.ndarray


def _sigmoid(a: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * a))


# f(ĥ), and f′(ĥ) as a function of h = f(ĥ)
NONLINEARITIES: dict[str, tuple[Callable, Callable]] = {
    "tanh": (np.tanh, lambda h: 1.0 - h**2),
    "sigmoid": (_sigmoid, lambda h: h * (1.0 - h)),
    "relu": (lambda a: np.maximum(a, 0.0), lambda h: (h > 0.0).astype(h.dtype)),
    "identity": (lambda a: a, np.ones_like),
}


def _half_squared_error(y: np.ndarray, Y: np.ndarray) -> tuple[float, np.ndarray]:
    """L = ½ (y - Y)² (7.3), and ∂L/∂y = y - Y."""
    return 0.5 * np.sum((y - Y) ** 2), y - Y


def _squared_error(y: np.ndarray, d: np.ndarray) -> tuple[float, np.ndarray]:
    """E = (d - y)² (seeds 000 and 002), and ∂E/∂y = -2 (d - y)."""
    return np.sum((d - y) ** 2), -2.0 * (d - y)


def _cross_entropy(z: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """E = -y log ŷ with ŷ = softmax(z) (seed 003), and ∂E/∂z = ŷ - y (for weights y that sum to 1)."""
    e = np.exp(z - np.max(z, axis=-1, keepdims=True))
    y_hat = e / np.sum(e, axis=-1, keepdims=True)
    if np.issubdtype(np.asarray(y).dtype, np.integer) and np.ndim(y) == z.ndim - 1:
        y = np.eye(z.shape[-1])[y]
    return -np.sum(y * np.log(y_hat)), np.sum(y, axis=-1, keepdims=True) * y_hat - y


LOSSES = {
    "half_squared_error": _half_squared_error,
    "squared_error": _squared_error,
    "cross_entropy": _cross_entropy,
}


def _outer(da: np.ndarray, x: np.ndarray) -> np.ndarray:
    """da ᵗx for column vectors, that is da ⊗ x; summed over a batch."""
    return np.outer(da, x) if da.ndim == 1 else da.T @ x


def closed_form_gradients(
    W: np.ndarray,
    U: np.ndarray,
    b: np.ndarray | None,
    V: np.ndarray,
    c: np.ndarray | None,
    xs: np.ndarray,
    targets: Any,
    nonlinearity: str = "tanh",
    loss: str = "half_squared_error",
    h0: np.ndarray | None = None,
    many_to_many: bool = False,
) -> Gradients:
    """The loss of the plain recurrent net and all its gradients, by eqs. 7.3 to 7.9 of seed 001.

    Args:
        W: (H, D). U: (H, H). b: (H,) or None. V: (K, H). c: (K,) or None.
        xs: (T, D) for one sequence, (T, B, D) for a batch, whose losses are summed.
        targets: Y of the last step, (K,) or (B, K); with `many_to_many` one per step, (T, K) or (T, B, K). For cross
            entropy also class numbers, without the axis K.
        nonlinearity: f, "tanh", "sigmoid", "relu" or "identity".
        loss: "half_squared_error", "squared_error" or "cross_entropy" (where V h + c are logits).
        h0: h(0), (H,) or (B, H); zeros if not given.
        many_to_many: a loss at every step, E = Σ E_t, instead of one after the last.

    Raises:
        ValueError: an unknown nonlinearity or loss, an empty sequence, or a number of targets that is not T.
    """
    if nonlinearity not in NONLINEARITIES:
        raise ValueError(f"closed_form_gradients(nonlinearity={nonlinearity!r}): not one of {list(NONLINEARITIES)}")
    if loss not in LOSSES:
        raise ValueError(f"closed_form_gradients(loss={loss!r}): not one of {list(LOSSES)}")
    xs = np.asarray(xs)
    if len(xs) == 0:
        raise ValueError("closed_form_gradients: the sequence is empty; at least one step is needed")
    if many_to_many and len(targets) != len(xs):
        raise ValueError(f"closed_form_gradients: {len(targets)} targets for {len(xs)} steps")
    f, f_prime = NONLINEARITIES[nonlinearity]
    W, U, V = (np.asarray(p) for p in (W, U, V))
    T, H = len(xs), len(U)

    # Forward: Fig. 7-5. h[t] is h(t), and h[0] the initial state; x[t] is x(t).
    x = [None, *xs]
    h = [np.zeros((*xs.shape[1:-1], H)) if h0 is None else np.asarray(h0)]
    for t in range(1, T + 1):
        h_hat = x[t] @ W.T + h[t - 1] @ U.T + (0.0 if b is None else b)
        h.append(f(h_hat))

    # The dense layer y = V h + c and its loss, after the last step or after every one.
    total, dV, dc = 0.0, np.zeros_like(V), None if c is None else np.zeros_like(c)
    grad_dense = [np.zeros_like(h[0]) for _ in range(T + 1)]
    for t in range(1, T + 1) if many_to_many else [T]:
        y = h[t] @ V.T + (0.0 if c is None else c)
        E, dy = LOSSES[loss](y, targets[t - 1] if many_to_many else targets)
        total += E
        dV += _outer(dy, h[t])  # (ŷ - y) ⊗ h of seed 003; here dy is ∂E/∂y for any loss
        if c is not None:
            dc += dy if dy.ndim == 1 else dy.sum(axis=0)
        grad_dense[t] = dy @ V  # (7.4)

    # Backward through time.
    dW, dU, db = np.zeros_like(W), np.zeros_like(U), None if b is None else np.zeros_like(b)
    dh, dx = [None] * (T + 1), [None] * (T + 1)
    dh[T] = grad_dense[T]  # (7.6), t = T
    for t in range(T, 0, -1):
        dh_hat = dh[t] * f_prime(h[t])  # dh(t) f′(ĥ(t))
        dh[t - 1] = grad_dense[t - 1] + dh_hat @ U  # (7.6), t < T; and what E_(t-1) itself adds
        dW += _outer(dh_hat, x[t])  # (7.7)
        dU += _outer(dh_hat, h[t - 1])  # (7.8)
        if b is not None:
            db += dh_hat if dh_hat.ndim == 1 else dh_hat.sum(axis=0)  # (7.9)
        dx[t] = dh_hat @ W

    return Gradients(
        loss=float(total), hs=np.array(h[1:]), dh=np.array(dh[1:]), W=dW, U=dU, b=db, V=dV, c=dc,
        h0=dh[0], xs=np.array(dx[1:]),
    )  # fmt: skip
