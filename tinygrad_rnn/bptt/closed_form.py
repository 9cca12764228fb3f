"""Backpropagation through time as the texts write it, in plain NumPy: the independent witness of the engine.

Which equation is where, what the texts are and whose letters are which stands in `tinygrad_rnn.bptt`. Vectors are
columns; a batch is B of them side by side, (H, B), and one sequence a batch of one. This module imports nothing of the
engine.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Gradients:
    """The result of `closed_form_gradients`: the loss, the states h(1..T), dh(1..T) of eq. 7.6, and dL/d(each input).

    `dh[t]` is the whole derivative of the loss with respect to the state, ∂L/∂h(t+1) since t counts from 0. `b` and `c`
    are None for a net without them. `W_terms` (T, H, D), `U_terms` and `b_terms` are the terms of the sums over time,
    one for each step (BPTT post: ∂E/∂W = Σ_k ...). Of one loss after the last step, the last n terms are what
    truncation to n steps keeps; with a loss at every step, a term is what comes through its step from all the losses
    after it.

    >>> rnn, readout, xs = tg.nn.RNN(2, 3, rng=0), tg.nn.Linear(3, 1, rng=1), np.ones((4, 2))
    >>> tg.nn.half_squared_error(readout(rnn(xs)[0][-1]), [1.0]).backward()
    >>> W, U, b, V, c = (p.data for p in (*rnn.parameters(), *readout.parameters()))
    >>> found = tg.bptt.closed_form_gradients(W, U, b, V, c, xs, [1.0])
    >>> found.hs.shape, found.dh.shape, found.U.shape
    ((4, 3), (4, 3), (3, 3))
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


def sigmoid(a: np.ndarray) -> np.ndarray:
    """σ(a) = 1 / (1 + e^-a), written so that nothing overflows."""
    return 0.5 * (1.0 + np.tanh(0.5 * a))


# f(ĥ), and f′(ĥ) as a function of h = f(ĥ)
NONLINEARITIES: dict[str, tuple[Callable, Callable]] = {
    "tanh": (np.tanh, lambda h: 1.0 - h**2),
    "sigmoid": (sigmoid, lambda h: h * (1.0 - h)),
    "relu": (lambda a: np.maximum(a, 0.0), lambda h: (h > 0.0).astype(h.dtype)),
    "identity": (lambda a: a, np.ones_like),
}


def _half_squared_error(y: np.ndarray, Y: np.ndarray) -> tuple[float, np.ndarray]:
    """L = ½ (y - Y)² (7.3), and ∂L/∂y = y - Y."""
    return 0.5 * np.sum((y - Y) ** 2), y - Y


def _squared_error(y: np.ndarray, d: np.ndarray) -> tuple[float, np.ndarray]:
    """E = (d - y)² (the BPTT post and Module 5), and ∂E/∂y = -2 (d - y)."""
    return np.sum((d - y) ** 2), -2.0 * (d - y)


def _cross_entropy(z: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """E = -y log ŷ with ŷ = softmax(z) (IIT slides), and ∂E/∂z = ŷ - y (where the weights y sum to 1)."""
    z = z - np.max(z, axis=0)
    log_y_hat = z - np.log(np.sum(np.exp(z), axis=0))
    return -np.sum(y * log_y_hat), np.sum(y, axis=0) * np.exp(log_y_hat) - y


LOSSES = {error.__name__[1:]: error for error in (_half_squared_error, _squared_error, _cross_entropy)}


def closed_form_gradients(
    W: np.ndarray, U: np.ndarray, b: np.ndarray | None, V: np.ndarray, c: np.ndarray | None,
    xs: np.ndarray, targets: Any, nonlinearity: str = "tanh", loss: str = "half_squared_error",
    h0: np.ndarray | None = None, many_to_many: bool = False,
) -> Gradients:  # fmt: skip
    """The loss of the plain recurrent net and all its gradients, by eqs. 7.3 to 7.9 of interdb.

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
        ValueError: an unknown nonlinearity or loss, an empty sequence, an array of another shape, or class numbers that
            are none.
        TypeError: an array of something else than real numbers.

    >>> rnn, readout, xs = tg.nn.RNN(2, 3, rng=0), tg.nn.Linear(3, 1, rng=1), np.ones((4, 2))
    >>> tg.nn.half_squared_error(readout(rnn(xs)[0][-1]), [1.0]).backward()
    >>> W, U, b, V, c = (p.data for p in (*rnn.parameters(), *readout.parameters()))
    >>> found = tg.bptt.closed_form_gradients(W, U, b, V, c, xs, [1.0])
    >>> np.allclose(found.U, rnn.cells[0].U.grad, rtol=0, atol=1e-14)
    True
    """
    call, h0s = "closed_form_gradients", None if h0 is None else [h0]
    return _gradients(call, [(W, U, b)], V, c, xs, targets, nonlinearity, loss, h0s, many_to_many)[0]


def closed_form_stacked_gradients(
    layers: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray | None]], V: np.ndarray, c: np.ndarray | None,
    xs: np.ndarray, targets: Any, nonlinearity: str = "tanh", loss: str = "half_squared_error",
    h0s: Sequence[np.ndarray] | None = None, many_to_many: bool = False,
) -> list[Gradients]:  # fmt: skip
    """`closed_form_gradients` for plain nets that stand on each other (IIT slides): each takes the states below as its
    x(t).

    Args:
        layers: (W, U, b) of every layer, the lowest first. h0s: one h(0) for each; zeros if not given.

    Returns:
        One `Gradients` for each layer; its `xs` is ∂L/∂(its input), the loss, V and c are those of the whole net.

    Raises:
        ValueError, TypeError: as for `closed_form_gradients`; no layers, or not one h(0) for each.

    >>> rnn, readout, xs = tg.nn.RNN(2, 3, num_layers=2, rng=0), tg.nn.Linear(3, 1, rng=1), np.ones((4, 2))
    >>> tg.nn.half_squared_error(readout(rnn(xs)[0][-1]), [1.0]).backward()
    >>> layers = [(cell.W.data, cell.U.data, cell.b.data) for cell in rnn.cells]
    >>> lower, upper = tg.bptt.closed_form_stacked_gradients(layers, readout.V.data, readout.c.data, xs, [1.0])
    >>> np.allclose(lower.U, rnn.cells[0].U.grad, rtol=0, atol=1e-14)
    True
    """
    return _gradients("closed_form_stacked_gradients", layers, V, c, xs, targets, nonlinearity, loss, h0s, many_to_many)


def _gradients(
    call: str, layers: Sequence, V: Any, c: Any, xs: Any, targets: Any, nonlinearity: str, loss: str,
    h0s: Sequence | None, many_to_many: bool,
) -> list[Gradients]:  # fmt: skip
    for name, given, known in (("nonlinearity", nonlinearity, NONLINEARITIES), ("loss", loss, LOSSES)):
        if given not in list(known):
            raise ValueError(f"{call}({name}={given!r}): not one of {list(known)}")
    layers, V, c, xs, h0s = _net(call, layers, V, c, xs, h0s)
    f, f_prime = NONLINEARITIES[nonlinearity]
    T, batch = len(xs), xs.shape[1:-1]
    steps = range(1, T + 1)
    targets = _targets(call, targets, (T, *batch) if many_to_many else batch, V, loss)

    # Forward: Fig. 7-5. x[t] is x(t), and h[t] is h(t) with h[0] the initial state, as columns. What a layer makes is x
    # of the next.
    x, inputs, states = [None, *map(_columns, xs)], list[Any](), list[Any]()
    for (W, U, b), h0 in zip(layers, h0s, strict=True):
        h = [_columns(h0)]
        for t in steps:
            h_hat = W @ x[t] + U @ h[t - 1] + (0.0 if b is None else b[:, None])
            h.append(f(h_hat))
        inputs.append(x)
        states.append(h)
        x = h

    # The dense layer y = V h + c and its loss, after the last step or after every one.
    E, dV, dc, grad_above = 0.0, np.zeros_like(V), np.zeros_like(V[:, :1]), [np.zeros_like(h[0])] * (T + 1)
    for t, target in zip(steps, targets, strict=True) if many_to_many else [(T, targets)]:
        y = V @ h[t] + (0.0 if c is None else c[:, None])
        E_t, dy = LOSSES[loss](y, _columns(target))
        E += E_t
        dV += dy @ h[t].T  # (ŷ - y) ⊗ h of the IIT slides; here dy is ∂E/∂y of any loss
        dc = dc + dy
        grad_above[t] = V.T @ dy  # (7.4), grad_dense

    def rows(columns: list) -> np.ndarray:
        return np.array([step.T.reshape(*batch, -1) for step in columns])

    # Backward through time, from the top layer down. The text sums (7.7) and (7.9) from t = 0; here steps are 1 to T,
    # and h(0) is given, so that there is no term 0.
    found: list[Gradients] = []
    for (W, U, b), x, h in reversed(list(zip(layers, inputs, states, strict=True))):
        dh, dh_hat = list(grad_above), list(grad_above)
        for t in reversed(steps):
            dh_hat[t] = dh[t] * f_prime(h[t])  # dh(t) f′(ĥ(t)), the common factor of (7.6) to (7.9)
            dh[t - 1] = dh[t - 1] + U.T @ dh_hat[t]  # (7.6), added to what comes from above at step t - 1
        W_terms = np.array([dh_hat[t] @ x[t].T for t in steps])  # of (7.7)
        U_terms = np.array([dh_hat[t] @ h[t - 1].T for t in steps])  # of (7.8)
        b_terms = np.array([dh_hat[t].sum(axis=1) for t in steps])  # of (7.9)
        dW, dU, db = (sum(terms[::-1]) for terms in (W_terms, U_terms, b_terms))  # from T down, as a sweep adds them
        grad_above = [np.zeros_like(x[1]), *(W.T @ dh_hat[t] for t in steps)]
        found.insert(0, Gradients(
            loss=float(E), hs=rows(h[1:]), dh=rows(dh[1:]), W=dW, U=dU, V=dV,
            b=None if b is None else db, c=None if c is None else dc.sum(axis=1),
            h0=rows(dh[:1])[0], xs=rows(grad_above[1:]), W_terms=W_terms, U_terms=U_terms, b_terms=b_terms,
        ))  # fmt: skip
    return found


def _net(call: str, layers: Sequence, V: Any, c: Any, xs: Any, h0s: Sequence | None) -> tuple:
    """The net, xs and one h(0) for each layer, as arrays that fit each other."""
    if len(layers) == 0 or any(len(layer) != 3 for layer in layers):
        raise ValueError(f"{call}(layers): a list of (W, U, b) is needed, the lowest first, at least one")
    if h0s is not None and len(h0s) != len(layers):
        raise ValueError(f"{call}(h0s): {len(h0s)} initial states for {len(layers)} layers")
    xs = _real(call, "xs", xs, *("TBD" if np.ndim(xs) == 3 else "TD"))
    if len(xs) == 0:
        raise ValueError(f"{call}(xs): the sequence is empty; at least one step is needed")
    batch, below, arrays, starts = xs.shape[1:-1], xs.shape[-1], [], []
    for i, (W, U, b) in enumerate(layers):
        of = f" of layer {i + 1}" if len(layers) > 1 else ""
        W = _real(call, "W" + of, W, "H", below)
        below = H = len(W)
        arrays.append((W, _real(call, "U" + of, U, H, H), None if b is None else _real(call, "b" + of, b, H)))
        starts.append(_real(call, "h0" + of, np.zeros((*batch, H), W.dtype) if h0s is None else h0s[i], *batch, H))
    V = _real(call, "V", V, "K", below)
    return arrays, V, None if c is None else _real(call, "c", c, len(V)), xs, starts


def _targets(call: str, targets: Any, shape: tuple[int, ...], V: np.ndarray, loss: str) -> np.ndarray:
    """The targets, one row for each y; class numbers become rows of zeros with a one."""
    targets, K = np.asarray(targets), len(V)
    if loss == "cross_entropy" and targets.dtype.kind in "iu" and targets.shape == shape:
        if np.any((targets < 0) | (targets >= K)):
            raise ValueError(f"{call}(targets): class numbers are 0 to {K - 1}, not {targets}")
        targets = np.eye(K, dtype=V.dtype)[targets]
    return _real(call, "targets", targets, *shape, K)


def _real(call: str, name: str, values: Any, *shape: int | str) -> np.ndarray:
    """An argument as an array of floats of a shape, in which a letter stands for any length."""
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{call}: {name} holds {array.dtype}; real numbers are needed")
    if array.ndim != len(shape) or any(isinstance(n, int) and n != m for n, m in zip(shape, array.shape, strict=True)):
        expected = f"({shape[0]},)" if len(shape) == 1 else f"({', '.join(map(str, shape))})"
        raise ValueError(f"{call}: {name} has shape {array.shape}, expected {expected}")
    return array if array.dtype == np.float32 else array.astype(np.float64)


def _columns(rows: np.ndarray) -> np.ndarray:
    """(H,) or (B, H) as (H, 1) or (H, B)."""
    return np.atleast_2d(rows).T
