"""Random computational graphs, as a strategy of hypothesis: what they compute is the same for any library."""

import numpy as np
from hypothesis import strategies as st

# m is tinygrad_rnn or PyTorch; the operands have the shape (2, 3), (3,) or ().
UNARY = [
    lambda m, x: m.tanh(x),
    lambda m, x: m.sigmoid(x),
    lambda m, x: m.exp(x),
    lambda m, x: m.square(x),
    lambda m, x: m.sqrt(x * x + 1.0),
    lambda m, x: m.log1p(x**2),
    lambda m, x: m.arctan(-x),
    lambda m, x: m.softmax(x, -1),
    lambda m, x: m.cumsum(x, -1),
    lambda m, x: x.mean(axis=0),
    lambda m, x: x.sum(),
    lambda m, x: x[..., 1:2],
    lambda m, x: x[..., [2, 0, 0]],
    lambda m, x: m.stack([x, m.sin(x)]).sum(axis=0),
    lambda m, x: m.concatenate([x[..., :1], 2.0 * x[..., 1:]], -1),
]
BINARY = [
    lambda m, x, y: x + y,
    lambda m, x, y: x - y,
    lambda m, x, y: x * y,
    lambda m, x, y: m.maximum(x, y),
    lambda m, x, y: x / (y * y + 1.0),
    lambda m, x, y: m.where(x > y, x * 2.0, y),
    lambda m, x, y: (x * y).sum(axis=-1),
]


@st.composite
def programs(draw):
    """A list of (function, operands): each operand is the number of an input or of an earlier result."""
    steps = []
    for i in range(2, 2 + draw(st.integers(1, 8))):
        f = draw(st.sampled_from(UNARY + BINARY))
        steps.append((f, [draw(st.integers(0, i - 1)) for _ in range(2 if f in BINARY else 1)]))
    return steps


def inputs(seed):
    """Three arrays for a program to start from."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((2, 3)), rng.standard_normal(3), rng.standard_normal()


def run(program, m, x, y, s, ones):
    """The sum of the squares of all that a program computes; results stay small and have an axis of three. The scalar s
    is used by itself and broadcast, at every step."""
    values = [x * s, y]
    for function, operands in program:
        value = function(m, *[values[i] for i in operands])
        values.append(0.3 * m.tanh(value) * s if value.ndim and value.shape[-1] == 3 else 0.1 * value.sum() * s * ones)
    return sum((v * v).sum() for v in values[2:])
