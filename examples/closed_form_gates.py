"""LSTM and GRU through time by hand, in plain NumPy: the independent witness of `LSTMCell` and `GRUCell`.

    LSTM                                                    GRU
    i, f, o = σ(W x + U h + b), g = tanh(W x + U h + b)      r, z = σ(W x + U h + b), q = U_n h + c_n
    c = f ⊙ c(t-1) + i ⊙ g,   h = o ⊙ tanh(c)                n = tanh(W_n x + b_n + r ⊙ q)
                                                            h = (1 - z) ⊙ n + z ⊙ h(t-1)

A plain loop over t forward and a plain loop back, with `+=` into the gradients, for a batch of rows (B, H) that starts
from zeros. da is the cotangent of what goes into a gate's σ or tanh. Nothing of the engine is imported.
"""

from collections.abc import Mapping

import numpy as np

from tinygrad_rnn.bptt.closed_form import sigmoid

Arrays = Mapping[str, np.ndarray]


def lstm_gradients(p: Arrays, xs: np.ndarray, target: np.ndarray) -> tuple[float, dict[str, np.ndarray]]:
    """L = ½ Σ (h(T) - target)² of an LSTM, and dL/d(each parameter).

    Args:
        p: W_i, U_i, b_i, and so on for the gates i, f, g, o. xs: (T, B, D). target: (B, H).
    """
    h, c, gates = [np.zeros_like(target)], [np.zeros_like(target)], []
    for x in xs:
        a = {k: x @ p[f"W_{k}"].T + h[-1] @ p[f"U_{k}"].T + p[f"b_{k}"] for k in "ifgo"}
        i, f, g, o = sigmoid(a["i"]), sigmoid(a["f"]), np.tanh(a["g"]), sigmoid(a["o"])
        c.append(f * c[-1] + i * g)
        tanh_c = np.tanh(c[-1])
        h.append(o * tanh_c)
        gates.append((i, f, g, o, tanh_c))

    d = {name: np.zeros_like(array) for name, array in p.items()}
    dh, dc = h[-1] - target, np.zeros_like(target)
    loss = 0.5 * np.sum(dh**2)
    for t in reversed(range(len(xs))):
        i, f, g, o, tanh_c = gates[t]
        dc = dc + dh * o * (1 - tanh_c**2)
        da = {"i": dc * g * i * (1 - i), "f": dc * c[t] * f * (1 - f), "g": dc * i * (1 - g**2)}
        da["o"] = dh * tanh_c * o * (1 - o)
        dc, dh = dc * f, _back_through_gates(da, p, d, xs[t], h[t])
    return loss, d


def gru_gradients(p: Arrays, xs: np.ndarray, target: np.ndarray) -> tuple[float, dict[str, np.ndarray]]:
    """L = ½ Σ (h(T) - target)² of a GRU, and dL/d(each parameter).

    Args:
        p: W_r, U_r, b_r, and so on for the gates r, z, n, and c_n. xs: (T, B, D). target: (B, H).
    """
    h, gates = [np.zeros_like(target)], []
    for x in xs:
        r, z = (sigmoid(x @ p[f"W_{k}"].T + h[-1] @ p[f"U_{k}"].T + p[f"b_{k}"]) for k in "rz")
        q = h[-1] @ p["U_n"].T + p["c_n"]
        n = np.tanh(x @ p["W_n"].T + p["b_n"] + r * q)
        h.append((1 - z) * n + z * h[-1])
        gates.append((r, z, q, n))

    d = {name: np.zeros_like(array) for name, array in p.items()}
    dh = h[-1] - target
    loss = 0.5 * np.sum(dh**2)
    for t in reversed(range(len(xs))):
        r, z, q, n = gates[t]
        da_n = dh * (1 - z) * (1 - n**2)
        da = {"r": da_n * q * r * (1 - r), "z": dh * (h[t] - n) * z * (1 - z)}
        dq, dh = da_n * r, dh * z + _back_through_gates(da, p, d, xs[t], h[t])
        d["W_n"] += da_n.T @ xs[t]
        d["b_n"] += da_n.sum(axis=0)
        d["U_n"] += dq.T @ h[t]
        d["c_n"] += dq.sum(axis=0)
        dh += dq @ p["U_n"]
    return loss, d


def _back_through_gates(da: Arrays, p: Arrays, d: dict[str, np.ndarray], x: np.ndarray, h: np.ndarray) -> np.ndarray:
    """Add to d what the gates' W x(t) + U h(t-1) + b give at one step; return what they pass back to h(t-1)."""
    for k, a in da.items():
        d[f"W_{k}"] += a.T @ x
        d[f"U_{k}"] += a.T @ h
        d[f"b_{k}"] += a.sum(axis=0)
    return sum(a @ p[f"U_{k}"] for k, a in da.items())
