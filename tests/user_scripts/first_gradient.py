"""A gradient by hand: leaves, NumPy's operators on either side, and what `.grad` is before and after."""

import numpy as np
from numpy.typing import NDArray

import tinygrad_rnn as tg

x = np.array([1.0, 2.0, 3.0])
w = tg.Tensor([0.5, -0.5, 0.25], requires_grad=True, name="w")


def gradient(of: tg.Tensor) -> NDArray[np.float64]:
    """`.grad` may be None, as a type checker knows."""
    if of.grad is None:
        raise ValueError("backward() has not been called")
    return of.grad


loss: tg.Tensor = ((1.0 - x * w) ** 2).sum() + tg.tanh(w).mean()
rows: int = w.shape[0]
largest: NDArray[np.bool_] = w > 0.0
before = w.grad
loss.backward()
value: float = loss.item()
print(before, value, rows, largest, gradient(w))

w.data -= 0.1 * gradient(w)
w.grad = None
(first,) = tg.grad(tg.sum(w * w * w), w, create_graph=True)
(second,) = tg.grad(first.sum(), [w])
print([element.item() for element in second], {w: "a key"}, len(w), -w @ x)
