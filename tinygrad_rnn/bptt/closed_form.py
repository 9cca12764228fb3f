"""Backpropagation through time as the texts write it, in plain NumPy: the independent witness of the engine.

    equation                                      text, number                    where
    ĥ(t) = W x(t) + U h(t-1) + b, h(t) = f(ĥ(t))  001, Fig. 7-5                   `..._stacked_gradients`, forward
    L = ½ (y - Y)²                                001, eq. 7.3                    `_half_squared_error`
    E = (d - y)²                                  000, 002                        `_squared_error`
    E = -y log softmax(z), ∂E/∂z = ŷ - y          003, "Backpropagation"          `_cross_entropy`
    grad_dense = ∂L/∂h(T)                         001, eq. 7.4                    the same, backward
    dh(t) = ∂L/∂h(t) = dh(t+1) f′(ĥ(t+1)) ᵗU      001, eqs. 7.5 and 7.6           the same
    dW, dU, db                                    001, eqs. 7.7 to 7.9            the same
    ∂E/∂W = Σ_k ∂E/∂h(T) ∂h(T)/∂h(k) ∂h(k)/∂W     000, 002, 003                   the same, `W_terms`, ...
    ∂E/∂V = (ŷ - y) ⊗ h                           003                             the same

What the texts are, and whose letters are which, stands in `tinygrad_rnn.bptt`. Vectors are columns; a batch is B of
them side by side, (H, B), and one sequence a batch of one. This module imports nothing of the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Gradients", "closed_form_gradients", "closed_form_stacked_gradients"]


@dataclass(frozen=True)
class Gradients:
    """What `closed_form_gradients` returns: the loss, the states h(1..T), dh(1..T) of eq. 7.6, and dL/d(each input).

    `dh[t]` is the whole derivative of the loss with respect to the state, ∂L/∂h(t+1) since t counts from 0. `b` and `c`
    are None for a net without them. `W_terms` (T, H, D), `U_terms` and `b_terms` are the terms of the sums over time,
    one for each step (000: ∂E/∂W = Σ_k ...); those of the last n steps are what truncation to n steps keeps.
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
    W_terms: np.ndarray
    U_terms: np.ndarray
    b_terms: np.ndarray


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
    """E = -y log ŷ with ŷ = softmax(z) (seed 003), and ∂E/∂z = ŷ - y (where the weights y sum to 1)."""
    z = z - np.max(z, axis=0)
    log_y_hat = z - np.log(np.sum(np.exp(z), axis=0))
    return -np.sum(y * log_y_hat), np.sum(y, axis=0) * np.exp(log_y_hat) - y


LOSSES = {
    "half_squared_error": _half_squared_error,
    "squared_error": _squared_error,
    "cross_entropy": _cross_entropy,
}


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
        ValueError: an unknown nonlinearity or loss, an empty sequence, or targets of the wrong number or shape.
    """
    (gradients,) = closed_form_stacked_gradients(
        [(W, U, b)], V, c, xs, targets, nonlinearity, loss, None if h0 is None else [h0], many_to_many
    )
    return gradients


def closed_form_stacked_gradients(
    layers: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray | None]],
    V: np.ndarray,
    c: np.ndarray | None,
    xs: np.ndarray,
    targets: Any,
    nonlinearity: str = "tanh",
    loss: str = "half_squared_error",
    h0s: Sequence[np.ndarray] | None = None,
    many_to_many: bool = False,
) -> list[Gradients]:
    """`closed_form_gradients` for plain nets that stand on each other (003): each takes the states below as its x(t).

    Args:
        layers: (W, U, b) of every layer, the lowest first. h0s: one h(0) for each; zeros if not given.

    Returns:
        One `Gradients` for each layer; its `xs` is ∂L/∂(its input), the loss, V and c are those of the whole net.
    """
    if nonlinearity not in NONLINEARITIES:
        raise ValueError(f"closed_form_gradients(nonlinearity={nonlinearity!r}): not one of {list(NONLINEARITIES)}")
    if loss not in LOSSES:
        raise ValueError(f"closed_form_gradients(loss={loss!r}): not one of {list(LOSSES)}")
    layers = [tuple(None if p is None else _floating(p) for p in layer) for layer in layers]
    V, c, xs = (None if p is None else _floating(p) for p in (V, c, xs))
    if len(xs) == 0:
        raise ValueError("closed_form_gradients: the sequence is empty; at least one step is needed")
    if many_to_many and len(targets) != len(xs):
        raise ValueError(f"closed_form_gradients: {len(targets)} targets for {len(xs)} steps")
    f, f_prime = NONLINEARITIES[nonlinearity]
    K, T, batch = len(V), len(xs), xs.shape[1:-1]

    # Forward: Fig. 7-5. x[t] is x(t), and h[t] is h(t) with h[0] the initial state, as columns. What a layer makes is x
    # of the next.
    x, inputs, states = [None, *map(_columns, xs)], [], []
    for layer, (W, U, b) in enumerate(layers):
        h = [_columns(np.zeros((*batch, len(U))) if h0s is None else _floating(h0s[layer]))]
        for t in range(1, T + 1):
            h_hat = W @ x[t] + U @ h[t - 1] + (0.0 if b is None else b[:, None])
            h.append(f(h_hat))
        inputs.append(x)
        states.append(h)
        x = h

    # The dense layer y = V h + c and its loss, after the last step or after every one.
    E, dV, dc, grad_above = 0.0, np.zeros_like(V), 0.0, [np.zeros_like(h[0])] * (T + 1)
    for t in range(1, T + 1) if many_to_many else [T]:
        y = V @ h[t] + (0.0 if c is None else c[:, None])
        E_t, dy = LOSSES[loss](y, _target(targets[t - 1] if many_to_many else targets, (*batch, K), loss))
        E += E_t
        dV += dy @ h[t].T  # (ŷ - y) ⊗ h of seed 003; here dy is ∂E/∂y of any loss
        dc = dc + dy
        grad_above[t] = V.T @ dy  # (7.4)

    def rows(steps: list) -> np.ndarray:
        return np.array([step.T.reshape(*batch, -1) for step in steps])

    # Backward through time, from the top layer down. The text sums (7.7) and (7.9) from t = 0; here steps are 1 to T,
    # and h(0) is given, so that there is no term 0.
    found = []
    for (W, U, b), x, h in reversed(list(zip(layers, inputs, states, strict=True))):
        dW, dU, db = np.zeros_like(W), np.zeros_like(U), np.zeros_like(h[0])
        W_terms, U_terms, b_terms = ([None] * T for _ in range(3))
        dh, dx = [None] * (T + 1), [np.zeros_like(x[1])] + [None] * T
        dh[T] = grad_above[T]  # (7.6), t = T
        for t in range(T, 0, -1):
            dh_hat = dh[t] * f_prime(h[t])  # dh(t) f′(ĥ(t)), the common factor of (7.6) to (7.9)
            W_terms[t - 1], U_terms[t - 1], b_terms[t - 1] = dh_hat @ x[t].T, dh_hat @ h[t - 1].T, dh_hat.sum(axis=1)
            dW += W_terms[t - 1]  # (7.7)
            dU += U_terms[t - 1]  # (7.8)
            db += dh_hat  # (7.9)
            dx[t] = W.T @ dh_hat
            dh[t - 1] = U.T @ dh_hat + grad_above[t - 1]  # (7.6), t < T, and what comes from above at step t - 1
        grad_above = dx
        found.append(
            Gradients(
                loss=float(E), hs=rows(h[1:]), dh=rows(dh[1:]), W=dW, U=dU, V=dV,
                b=None if b is None else db.sum(axis=1), c=None if c is None else dc.sum(axis=1),
                h0=rows(dh[:1])[0], xs=rows(dx[1:]),
                W_terms=np.array(W_terms), U_terms=np.array(U_terms), b_terms=np.array(b_terms),
            )
        )  # fmt: skip
    return found[::-1]


def _floating(values: Any) -> np.ndarray:
    values = np.asarray(values)
    return values if values.dtype == np.float32 else values.astype(np.float64)


def _columns(rows: np.ndarray) -> np.ndarray:
    """(H,) or (B, H) as (H, 1) or (H, B)."""
    return np.atleast_2d(rows).T


def _target(target: Any, shape: tuple[int, ...], loss: str) -> np.ndarray:
    """The target of one step as columns; class numbers become columns of zeros with a one."""
    target = np.asarray(target)
    if loss == "cross_entropy" and target.dtype.kind in "iu" and target.shape == shape[:-1]:
        if np.any((target < 0) | (target >= shape[-1])):
            raise ValueError(f"closed_form_gradients: class numbers are 0 to {shape[-1] - 1}, not {target}")
        target = np.eye(shape[-1])[target]
    if target.shape != shape:
        raise ValueError(f"closed_form_gradients: a target of shape {target.shape} beside y of shape {shape}")
    return _columns(target)
