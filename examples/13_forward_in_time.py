"""Lesson 13: a gradient can be carried forward in time as well; it is the same, and costs about H²/3 times as much.

BPTT goes "forward through entire sequence", "then backward through entire sequence" (BPTT post). RTRL, real-time
recurrent learning (Williams and Zipser 1989), carries p, the derivatives of the state by each weight, along with it,
and knows the gradient after every step. With Θ = (W U), z(t) = (x(t), h(t-1)) and ĥ(t) = Θ z(t):

    p_ij^k(t) = ∂h_k(t)/∂θ_ij = f′(ĥ_k(t)) [Σ_l u_kl p_ij^l(t-1) + δ_ik z_j(t)],   p(0) = 0
"""

import tracemalloc

import numpy as np

import tinygrad_rnn as tg
from lesson import expected, run
from tinygrad_rnn.experiments import plots

D, H, PICTURE = 2, 16, "memory.svg"


def rtrl(Θ, V, xs, Ys):
    """After each step the gradient of E = Σ_t ½ (V h(t) - Y(t))² so far; nothing of the past is kept but p."""
    h, p, dΘ = np.zeros(len(Θ)), np.zeros((len(Θ), *Θ.shape)), np.zeros_like(Θ)
    for x, Y in zip(xs, Ys, strict=True):
        z = np.concatenate([x, h])
        h = np.tanh(Θ @ z)
        p = np.tensordot(Θ[:, D:], p, axes=1)
        p[np.diag_indices(len(Θ))] += z
        p *= (1.0 - h * h)[:, None, None]
        dΘ += np.tensordot(V.T @ (V @ h - Y), p, axes=1)
        yield dΘ


def bptt(Θ, V, xs, Ys):
    """After the last step the gradient of the same E, by eqs. 7.6 to 7.8 of interdb; every state is kept until then."""
    hs, dh, dΘ = [np.zeros(len(Θ))], 0.0, np.zeros_like(Θ)
    for x in xs:
        hs.append(np.tanh(Θ @ np.concatenate([x, hs[-1]])))
    for x, Y in zip(xs[::-1], Ys[::-1], strict=True):
        h = hs.pop()
        dh_hat = (1.0 - h * h) * (dh + V.T @ (V @ h - Y))
        dΘ += np.outer(dh_hat, np.concatenate([x, hs[-1]]))
        dh = Θ[:, D:].T @ dh_hat
    yield dΘ


class Number:
    """A number of which only this is known: how often one was multiplied."""

    products = 0
    __add__ = __radd__ = __sub__ = __rsub__ = tanh = lambda self, *others: self

    def __mul__(self, other):
        Number.products += 1
        return self


def products(way, units):
    """How many products a step takes."""
    Number.products = 0
    list(way(*(np.full(shape, Number()) for shape in ((units, D + units), (1, units), (1, D), (1, 1)))))
    return Number.products


def memory(way, *arguments):
    """How many kB it takes at most: the least of two runs, for threads of others may take some meanwhile."""
    peaks = []
    for _ in range(2):
        tracemalloc.start()
        sum(1 for _ in way(*arguments))  # step by step
        peaks.append(tracemalloc.get_traced_memory()[1] / 1e3)
        tracemalloc.stop()
    return min(peaks)


def main(out, quick=False):
    rng = np.random.default_rng(0)
    rnn, readout = tg.nn.RNN(D, H, bias=False, rng=rng), tg.nn.Linear(H, 1, bias=False, rng=rng)
    xs, Ys = rng.standard_normal((500, D)), rng.standard_normal((500, 1))
    Θ, V = np.hstack([p.data for p in rnn.parameters()]), readout.V.data

    # 1. The same gradient, after each of 20 steps: forward in one go; back with another start for each.
    errors = []
    for t, forward in enumerate(rtrl(Θ, V, xs[:20], Ys[:20]), 1):
        E = tg.nn.half_squared_error(readout(tg.stack(rnn(xs[:t])[0])), Ys[:t])
        graph = np.hstack([g.data for g in tg.grad(E, rnn.parameters())])
        errors += [np.linalg.norm(g - graph) / np.linalg.norm(graph) for g in (forward, *bptt(Θ, V, xs[:t], Ys[:t]))]
    print(f"RTRL, BPTT and the graph have one gradient: they differ by at most {max(errors):.0e} of it")

    # 2. The cost in time: p is H² (D + H) numbers, and U is multiplied with all of them.
    counts = {units: (products(rtrl, units), products(bptt, units)) for units in (2, 4, 8, H)}
    for units, (forward, back) in counts.items():
        print(f"{units:2} units: {forward:6,} products a step forward, {back:3} back: {forward / back:.0f} times")

    # 3. The cost in memory: forward it is p, however long the sequence; back it is all states.
    lengths = np.arange(100, 501, 100) if quick else np.arange(50, 501, 50)
    lines = {way.__name__.upper(): [memory(way, Θ, V, xs[:T], Ys[:T]) for T in lengths] for way in (bptt, rtrl)}
    crossing = lengths[np.argmax(np.greater(*lines.values()))]
    print(f"RTRL {lines['RTRL'][-1]:.0f} kB, BPTT more from {crossing} steps on, {expected(crossing, 200, 350)}")
    plots.curves(out / PICTURE, f"The gradient of {H} units", ("length T, steps", lengths), "memory, kB", lines)
    return {"difference": max(errors), "counts": counts, "memory": lines, "crossing": crossing}


if __name__ == "__main__":
    run(main)
