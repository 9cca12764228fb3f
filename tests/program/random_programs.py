"""Random recurrent networks, each with a loss: named or not, with steps or without, of one layer or two."""

import contextlib
import random

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn.context import time_step
from tinygrad_rnn.tensor import Tensor, as_tensor

N = 3  # elements of a state

# x, y and z are what a step has by then, W and U two of the shared weights, b the bias, last the state before.
OPERATIONS = {
    "linear": lambda x, y, z, W, U, b, last: tg.linear(W, x),
    "affine": lambda x, y, z, W, U, b, last: tg.affine(W, x, U, y, b),
    "add": lambda x, y, z, W, U, b, last: x + y,
    "subtract": lambda x, y, z, W, U, b, last: x - y,
    "multiply": lambda x, y, z, W, U, b, last: x * y,
    "bias": lambda x, y, z, W, U, b, last: x + b,
    "tanh": lambda x, y, z, W, U, b, last: tg.tanh(x),
    "sigmoid": lambda x, y, z, W, U, b, last: tg.sigmoid(x),
    "lerp": lambda x, y, z, W, U, b, last: tg.lerp(x, y, tg.sigmoid(z)),
    "where": lambda x, y, z, W, U, b, last: tg.where(x > y, x, 0.5 * y),
    "sum": lambda x, y, z, W, U, b, last: x + 0.1 * tg.sum(y),
    "stack": lambda x, y, z, W, U, b, last: tg.sum(tg.stack([x, y, last]), axis=0),
}
PENALTIES = {
    "none": lambda W, U, V, b, h: 0.0,
    "squares": lambda W, U, V, b, h: 0.1 * sum(tg.sum(p * p) for p in (W, U, V, b)),
    "bias": lambda W, U, V, b, h: 0.05 * tg.sum(b * b),
    "product": lambda W, U, V, b, h: 0.1 * tg.sum(W * U),
    "numbers": lambda W, U, V, b, h: tg.sum(W) * tg.sum(U) + tg.square(tg.sum(h)),
}


def random_loss(seed):
    """A loss as a function of its inputs, these inputs, and what it is differentiated by; the seed decides on all."""
    rng, numbers = random.Random(seed), np.random.default_rng(seed)
    T, batch, layers = rng.randint(2, 6), rng.choice([(), (), (2,)]), rng.choice([1, 1, 2])
    weights = [Tensor(0.5 * numbers.standard_normal((N, N)), True, name) for name in "WUV"]
    b, start = Tensor(numbers.standard_normal(N), True, "b"), Tensor(np.zeros((*batch, N)), rng.random() < 0.2)
    start.name = rng.choice(["h", None])
    bodies = [
        [
            (rng.choice(list(OPERATIONS)), [rng.random() for _ in range(3)], rng.sample(weights, 2),
             rng.choice(["h", "a", "z", "y", None, None]), rng.random() < 0.7)
            for _ in range(rng.randint(1, 5))
        ]
        for _ in range(layers)
    ]  # fmt: skip
    named, numbered, longer, linear = (rng.random() < p for p in (0.7, 0.8, 0.2, 0.3))
    linear &= all(operation != "multiply" for body in bodies for operation, *_ in body)  # or states grow without end
    error, penalty = rng.choice(["last", "each", "mean", "even", "stacks"]), rng.choice(list(PENALTIES))

    def layer(x, states, t, number):
        """The next state, of all that the step has."""
        known = [x, states[-1], *states[-2:-1]] if longer else [x, states[-1]]
        for operation, which, (W, U), name, has_step in bodies[number]:
            operands = [known[int(i * len(known))] for i in which]
            known.append(OPERATIONS[operation](*operands, W, U, b, states[-1]))
            if name is not None:
                tg.label(known[-1], name, *([t] if has_step else [])).layer = number if layers > 1 else None
        state = 0.5 * known[-1] if linear else tg.tanh(known[-1])
        if named:
            tg.label(state, "h", t).layer = number if layers > 1 else None
        return state

    def loss(xs):
        xs, states, total = as_tensor(xs), [[start] for _ in range(layers)], 0.0
        for t in range(1, T + 1):
            with time_step(t) if numbered else contextlib.nullcontext():
                x = xs[t - 1]
                for number in range(layers):
                    states[number].append(x := layer(x, states[number], t, number))
                if error == "each" or (error == "even" and t % 2 == 0):
                    total = total + tg.sum(x * x)
        h = states[-1]
        if error == "last":
            total = tg.sum(tg.square(h[-1]))
        elif error == "mean":
            total = sum(tg.sum(x * x) for x in h[1:]) / T
        elif error == "stacks":
            total = tg.sum(tg.square(tg.stack(h[1:]) * tg.stack(h[:-1])))
        total = total + PENALTIES[penalty](*weights, b, h[-1])
        if not total.requires_grad:  # no operation took a weight
            total = total + tg.sum(b)
        return tg.label(total, "L") if named else total

    return loss, (numbers.standard_normal((T, *batch, N)),), [*weights, b, *([start] if start.requires_grad else [])]
