"""NumPy's functions on Tensors: its ufuncs are untyped there, and this package's functions of their names are typed."""

import numpy as np
from numpy.typing import NDArray

import tinygrad_rnn as tg

x = np.linspace(0.0, 1.0, 4)
t = tg.Tensor(x, requires_grad=True)

y: tg.Tensor = np.tanh(t) + np.exp(x) * t
z: tg.Tensor = tg.where(t > 0.5, tg.maximum(t, 0.25), x[::-1] / (1.0 + t))
both: tg.Tensor = tg.stack([y, z]).reshape(2, -1)
left, right = tg.split(both, 2, axis=-1)
parts: list[tg.Tensor] = [*left, *(tg.flip(row) for row in right)]
mask: NDArray[np.bool_] = np.isnan(t.data)
same = (t == x).all()
tg.einsum("ij,ij->", both, both).backward()
print(
    parts[0].sum().item(),
    mask,
    same,
    t.grad,
    f"{t.sum():.3f}",
    float(t.detach().max()),
    t.dtype.kind,
    t.numpy().tolist(),
)
