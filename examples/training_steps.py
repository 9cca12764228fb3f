"""One training step of a recurrent net in each library: the gradients of L = ½ Σ (h(T) - Y)², by all parameters.

Each function below takes a problem and returns its `step(xs, Y)`, of arrays, which returns the gradients: by name as
`closed_form_gates` has them, or in a list, the gates side by side. Libraries with NumPy's operators run one `cell`.
"""

import os
from functools import reduce

import numpy as np

import closed_form_gates
import tinygrad_rnn as tg


class Problem:
    """A net of one layer, its parameters as arrays, by name and with the gates side by side, and data."""

    def __init__(self, kind, T, B, D, H, dtype="float64"):
        rng = np.random.default_rng(0)
        self.kind, self.D, self.H, self.dtype = kind, D, H, dtype
        self.net = getattr(tg.nn, kind)(D, H, rng=rng)
        for p in self.net.parameters():
            p.data = p.data.astype(dtype)
        self.parameters = dict(self.net.cells[0].named_parameters())
        self.arrays = {name: p.numpy() for name, p in self.parameters.items()}
        self.xs, self.Y = (rng.standard_normal(shape).astype(dtype) for shape in ((T, B, D), (B, H)))

    def side_by_side(self, arrays):
        """W, U and b of all gates; of a GRU the candidate's c_n, too."""
        gates = self.net.cells[0].gates
        joined = [np.concatenate([arrays[letter + gate] for gate in gates]) for letter in "WUb"]
        return joined + ([arrays["c_n"]] if self.kind == "GRU" else [])


def by_hand(p):
    """A plain loop over t forward, a plain loop back."""
    if p.kind != "RNN":
        gradients = getattr(closed_form_gates, f"{p.kind.lower()}_gradients")
        return lambda xs, Y: gradients(p.arrays, xs, Y)[1]
    W, U, b = p.arrays.values()

    def step(xs, Y):
        h = [np.zeros_like(Y)]
        for x in xs:
            h.append(np.tanh(x @ W.T + h[-1] @ U.T + b))
        dW, dU, db, dh = np.zeros_like(W), np.zeros_like(U), np.zeros_like(b), h[-1] - Y
        for t in reversed(range(len(xs))):
            da = dh * (1 - h[t + 1] ** 2)
            dW += da.T @ xs[t]
            dU += da.T @ h[t]
            db += da.sum(axis=0)
            dh = da @ U
        return [dW, dU, db]

    return step


def loss_of(p):
    return lambda xs, Y: tg.nn.half_squared_error(p.net(xs)[0][-1], Y)


def tinygrad_rnn(p):
    loss = loss_of(p)

    def step(xs, Y):
        p.net.zero_grad()
        loss(xs, Y).backward()
        return {name: parameter.grad for name, parameter in p.parameters.items()}

    return step


def compiled(p):
    """The same function as `tinygrad_rnn` runs, as a program."""
    program = tg.compile(loss_of(p), p.xs, p.Y, wrt=p.net)
    return lambda xs, Y: dict(zip(p.parameters, program(xs, Y)[1], strict=True))


def cell(p, parameters, tanh, sigmoid=None):
    """step((h, c), x), which gives the next (h, c), for arrays with NumPy's operators; without gates, c is unused."""
    (W, U, b, *c_n), H = parameters, p.H
    sigmoid = sigmoid or (lambda a: 0.5 * tanh(0.5 * a) + 0.5)

    def rnn(state, x):
        return tanh(x @ W.T + state[0] @ U.T + b), state[1]

    def lstm(state, x):
        a = x @ W.T + state[0] @ U.T + b
        i, f, g, o = (a[:, at : at + H] for at in range(0, 4 * H, H))
        c = sigmoid(f) * state[1] + sigmoid(i) * tanh(g)
        return sigmoid(o) * tanh(c), c

    def gru(state, x):
        h, c = state
        a, q = x @ W.T + b, h @ U.T
        r, z = sigmoid(a[:, :H] + q[:, :H]), sigmoid(a[:, H : 2 * H] + q[:, H : 2 * H])
        n = tanh(a[:, 2 * H :] + r * (q[:, 2 * H :] + c_n[0]))
        return (1 - z) * n + z * h, c

    return {"RNN": rnn, "LSTM": lstm, "GRU": gru}[p.kind]


def unrolled_loss(p, parameters, xs, Y, zeros, tanh, total, sigmoid=None):
    """The loss, by a loop over t."""
    h, _ = reduce(cell(p, parameters, tanh, sigmoid), xs, (zeros, zeros))
    return 0.5 * total((h - Y) ** 2)


def jax_jit(p):
    """`jit` of the loop as it stands, which XLA unrolls."""
    return _jitted(p, lambda step, state, xs: reduce(step, xs, state))


def jax_scan(p):
    """`jit` of the loop as one `scan`."""
    from jax import lax

    return _jitted(p, lambda step, state, xs: lax.scan(lambda state, x: (step(state, x), None), state, xs)[0])


def _jitted(p, last_state):
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)

    def loss(parameters, xs, Y):
        zeros = jnp.zeros_like(Y)
        h, _ = last_state(cell(p, parameters, jnp.tanh, jax.nn.sigmoid), (zeros, zeros), xs)
        return 0.5 * jnp.sum((h - Y) ** 2)

    function, parameters = jax.jit(jax.value_and_grad(loss)), [*map(jnp.asarray, p.side_by_side(p.arrays))]
    return lambda xs, Y: [*map(np.asarray, jax.block_until_ready(function(parameters, xs, Y))[1])]


def torch(p):
    """The loop in PyTorch, node by node."""
    return _torch_step(p, lambda loss: loss)


def torch_compile(p):
    """The loop, compiled; this unrolls it, and takes a minute for 50 steps. (Fused modules are left as they are.)"""
    import torch

    return _torch_step(p, torch.compile)


def _torch_step(p, made):
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    parameters = [torch.from_numpy(a.copy()).requires_grad_() for a in p.side_by_side(p.arrays)]
    loss = made(
        lambda xs, Y: unrolled_loss(
            p, parameters, xs.unbind(), Y, torch.zeros_like(Y), torch.tanh, torch.sum, torch.sigmoid
        )
    )

    def step(xs, Y):
        for parameter in parameters:
            parameter.grad = None
        loss(torch.from_numpy(xs), torch.from_numpy(Y)).backward()
        return [parameter.grad.numpy() for parameter in parameters]

    return step


def torch_nn(p):
    """PyTorch's own module, whose loop over t is one call."""
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    net = getattr(torch.nn, p.kind)(p.D, p.H, dtype=getattr(torch, p.dtype))
    net.load_state_dict({name: torch.from_numpy(array) for name, array in tg.to_torch(p.net).items()})
    W, U, b, both = net.parameters()

    def step(xs, Y):
        net.zero_grad()
        hs, _ = net(torch.from_numpy(xs))
        (0.5 * ((hs[-1] - torch.from_numpy(Y)) ** 2).sum()).backward()
        return [x.grad.numpy() for x in (W, U, b)] + ([both.grad.numpy()[2 * p.H :]] if p.kind == "GRU" else [])

    return step


def autograd(p):
    import autograd.numpy as anp
    from autograd import grad

    gradient = grad(lambda parameters, xs, Y: unrolled_loss(p, parameters, xs, Y, np.zeros_like(Y), anp.tanh, anp.sum))
    return lambda xs, Y: gradient(p.side_by_side(p.arrays), xs, Y)


def mygrad(p):
    import mygrad as mg

    def step(xs, Y):
        tensors = [mg.tensor(a) for a in p.side_by_side(p.arrays)]
        unrolled_loss(p, tensors, xs, Y, np.zeros_like(Y), mg.tanh, mg.sum).backward()
        return [t.grad for t in tensors]

    return step


def dezero(p):
    np.int = int  # an alias that NumPy has dropped and DeZero 0.0.13 still asks for
    import dezero
    import dezero.functions as F

    def step(xs, Y):
        W, U, b = tensors = [dezero.Variable(a) for a in p.side_by_side(p.arrays)]
        h = dezero.Variable(np.zeros_like(Y))
        for x in xs:
            h = F.tanh(F.matmul(dezero.Variable(x), W.T) + F.matmul(h, U.T) + b)
        (0.5 * F.sum((h - Y) ** 2)).backward()
        return [t.grad.data for t in tensors]

    return step


PLAIN = {make.__name__: make for make in (autograd, mygrad, dezero)}  # run for plain nets in float64
STEPS = (by_hand, tinygrad_rnn, compiled, torch_nn, torch_compile, torch, jax_jit, jax_scan)
STEPS = {make.__name__: make for make in STEPS} | PLAIN


def checked(make, p):
    """A step, which is seen to give the gradients that the hand-written one gives."""
    step, tolerance = make(p), 1e-9 if p.dtype == "float64" else 1e-3
    for got, expected in zip(*(_listed(p, s(p.xs, p.Y)) for s in (step, by_hand(p))), strict=True):
        scale = np.max(np.abs(expected))
        np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * scale, err_msg=make.__name__)
    return step


def _listed(p, gradients):
    return p.side_by_side(gradients) if isinstance(gradients, dict) else gradients
