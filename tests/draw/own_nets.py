"""Recurrent graphs as people write them by hand, beyond the nets of tg.nn: each a function that returns a loss."""

import numpy as np

import tinygrad_rnn as tg

L = tg.label


def parameters(**shapes):
    rng = np.random.default_rng(0)
    return [tg.nn.Parameter(0.5 * rng.standard_normal(shape), name=name) for name, shape in shapes.items()]


def data(name, t=None, n=2):
    return L(tg.Tensor(np.linspace(-1.0, 1.0, n) + (t or 0)), name, t)


def zero(name, t=0, n=3):
    return L(tg.Tensor(np.zeros(n)), name, t)


def half(y, name="L", t=None):
    return L(tg.nn.half_squared_error(y, data("Y", t, n=y.size)), name, t)


def total(losses, name="E"):
    return L(sum(losses[1:], losses[0]), name)


def outputs_fed_back_and_skipped(T=3):
    """y(t) is made of h(t) and of x(t), and is an input of the next step: an echo state net with feedback."""
    W, U, F, V, S = parameters(W=(3, 2), U=(3, 3), F=(3, 1), V=(1, 3), S=(1, 2))
    h, y, losses = zero("h"), zero("y", n=1), []
    for t in range(1, T + 1):
        x = data("x", t)
        h = L(tg.tanh(W @ x + U @ h + F @ y), "h", t)
        y = L(V @ h + S @ x, "y", t)
        losses.append(half(y, "L", t))
    return total(losses)


def lags_1_and_3(T=5):
    W, U, S, V = parameters(W=(3, 2), U=(3, 3), S=(3, 3), V=(1, 3))
    hs = [zero("h", t) for t in (-2, -1, 0)]
    for t in range(1, T + 1):
        hs.append(L(tg.tanh(W @ data("x", t) + U @ hs[-1] + S @ hs[-3]), "h", t))
    return half(L(V @ hs[-1], "y"))


def clockwork(T=4):
    """A fast state at every step and a slow one at every second."""
    W, U, Q, R, V = parameters(W=(3, 2), U=(3, 3), Q=(3, 3), R=(3, 3), V=(1, 3))
    h, s = zero("h"), zero("s")
    for t in range(1, T + 1):
        if t % 2 == 0:
            s = L(tg.tanh(Q @ s + R @ h), "s", t)
        h = L(tg.tanh(W @ data("x", t) + U @ (h + s)), "h", t)
    return half(L(V @ h, "y"))


def hierarchical(T=4):
    """The last state of each pair of words goes into a net over sentences."""
    W, U, A, B, V = parameters(W=(3, 2), U=(3, 3), A=(3, 3), B=(3, 3), V=(1, 3))
    s = zero("s")
    for start in range(1, T + 1, 2):
        h = zero("h", start - 1)
        for t in (start, start + 1):
            h = L(tg.tanh(W @ data("x", t) + U @ h), "h", t)
        s = L(tg.tanh(A @ h + B @ s), "s", start + 1)
    return half(L(V @ s, "y"))


def attention_per_step(T=3):
    """Every step of the decoder reads all states of the encoder."""
    W, U, A, B, V = parameters(W=(3, 2), U=(3, 3), A=(3, 3), B=(3, 3), V=(2, 3))
    h, hs = zero("h"), []
    for t in range(1, T + 1):
        h = L(tg.tanh(W @ data("x", t) + U @ h), "h", t)
        hs.append(h)
    s, losses = h, []
    for t in range(T + 1, T + 3):
        a = L(tg.softmax(tg.stack([tg.dot(s, h) for h in hs])), "α", t)
        c = L(a @ tg.stack(hs), "c", t)
        s = L(tg.tanh(A @ s + B @ c), "s", t)
        losses.append(half(L(V @ s, "y", t), "L", t))
    return total(losses)


def multiplicative_lstm(T=2):
    W, R, Wm, Um, Uf, Ui, V = parameters(W=(3, 2), R=(3, 3), W_m=(3, 2), U_m=(3, 3), U_f=(3, 3), U_i=(3, 3), V=(1, 3))
    h, c = zero("h"), zero("c")
    for t in range(1, T + 1):
        x = data("x", t)
        m = L((Wm @ x) * (Um @ h), "m", t)
        f, i = L(tg.sigmoid(Uf @ m), "f", t), L(tg.sigmoid(Ui @ m), "i", t)
        c = L(f * c + i * tg.tanh(W @ x + R @ m), "c", t)
        h = L(tg.tanh(c), "h", t)
    return half(L(V @ h, "y"))


def gates_in_one_product(T=2):
    """A GRU whose three gates are parts of one product each of x and of h."""
    W, U, b, V = parameters(W=(9, 2), U=(9, 3), b=(9,), V=(1, 3))
    h = zero("h")
    for t in range(1, T + 1):
        a, c = tg.split(W @ data("x", t) + b, 3), tg.split(U @ h, 3)
        r, z = tg.sigmoid(a[0] + c[0]), tg.sigmoid(a[1] + c[1])
        h = L((1 - z) * tg.tanh(a[2] + r * c[2]) + z * h, "h", t)
    return half(L(V @ h, "y"))


def two_heads(T=3):
    rnn, a, b = tg.nn.RNN(2, 3, rng=0), tg.nn.Linear(3, 1, rng=1), tg.nn.Linear(3, 2, rng=2)
    hs, _ = rnn(np.ones((T, 2)))
    return L(half(a(hs[-1]), "A") + half(b(hs[0]), "B"), "L")


def siamese_lstm(T=1):
    net = tg.nn.LSTM(2, 3, rng=0)
    (a, _), (b, _) = net(np.ones((T, 2))), net(np.zeros((T, 2)))
    return L(tg.sum(tg.square(a[-1] - b[-1])), "L")


def mixed_stack(T=2):
    """An LSTM under a GRU under a plain net."""
    xs = np.ones((T, 2))
    for kind, size in (("LSTM", 2), ("GRU", 3), ("RNN", 3)):
        xs, _ = getattr(tg.nn, kind)(size, 3, rng=0)(xs)
    return half(tg.nn.Linear(3, 1, rng=0)(xs[-1]))


def bidirectional_in_two_layers(T=2):
    xs = [data("x", t) for t in range(1, T + 1)]
    for layer, size in ((1, 2), (2, 6)):
        shapes = dict(W=(3, size), U=(3, 3), P=(3, size), Q=(3, 3))
        W, U, P, Q = parameters(**{f"{name}_{layer}": shape for name, shape in shapes.items()})
        forth, back = [zero(f"h{layer}")], [zero(f"g{layer}", T + 1)]
        for t in range(1, T + 1):
            forth.append(L(tg.tanh(W @ xs[t - 1] + U @ forth[-1]), f"h{layer}", t))
        for t in range(T, 0, -1):
            back.insert(0, L(tg.tanh(P @ xs[t - 1] + Q @ back[0]), f"g{layer}", t))
        xs = [tg.concatenate([a, b]) for a, b in zip(forth[1:], back[:-1], strict=True)]
    (V,) = parameters(V=(1, 6))
    return total([half(L(V @ x, "y", t), "L", t) for t, x in enumerate(xs, 1)])


def gradient_penalty(T=2):
    rnn = tg.nn.RNN(1, 2, rng=0)
    hs, _ = rnn(np.ones((T, 1)))
    loss = half(hs[-1])
    (g,) = tg.grad(loss, [rnn.cells[0].W], create_graph=True)
    return L(loss + tg.sum(tg.square(g)), "J")


def tied_and_deep():
    """One matrix in every layer of a net without time."""
    W, b = parameters(W=(3, 3), b=(3,))
    h = data("x", n=3)
    for k in (1, 2, 3):
        h = L(tg.tanh(W @ h + b), f"h_{k}")
    return half(h)


OWN_NETS = {f.__name__: f for f in (
    outputs_fed_back_and_skipped, lags_1_and_3, clockwork, hierarchical, attention_per_step, multiplicative_lstm,
    gates_in_one_product, two_heads, siamese_lstm, mixed_stack, bidirectional_in_two_layers, gradient_penalty,
    tied_and_deep,
)}  # fmt: skip
