"""Programs: with `wrt` a call gives the loss and its gradients, without it what the function returns."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

import tinygrad_rnn as tg

rnn, readout = tg.nn.RNN(1, 3, rng=0), tg.nn.Linear(3, 1, rng=1)
xs, target = np.ones((4, 1)), np.zeros(1)


def loss_of(xs: tg.Tensor, target: tg.Tensor) -> tg.Tensor:
    """L after the last step."""
    return tg.nn.half_squared_error(readout(rnn(xs)[0][-1]), target)


program = tg.compile(loss_of, xs, target, wrt=rnn)
loss, gradients = program(xs, target)
value: float = 2.0 * loss
first: NDArray[Any] = gradients[0]
print(value, first.shape, program.source[:20], [step.name for step in program.passes])

predict = tg.compile(lambda xs: readout(rnn(xs)[0][-1]), xs, optimize=False)
y: NDArray[Any] = predict(xs)

states = tg.compile(lambda xs: rnn(xs), xs)
hs, (h,) = states(xs)
print(y, len(hs), h)


def chunk(xs: tg.Tensor, target: tg.Tensor, state: list[tg.Tensor]) -> tuple[tg.Tensor, list[tg.Tensor]]:
    """The loss, and the state for the next call."""
    hs, state = rnn(xs, state)
    return tg.nn.half_squared_error(readout(hs[-1]), target), state


carried = tg.compile(chunk, xs, target, [np.zeros(3)], wrt=rnn.parameters())
loss, gradients, (h,) = carried(xs, target, [h])
print(carried.backward(xs, target, [h]), loss)
