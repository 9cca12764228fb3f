"""Backpropagation through time: terms by step, Jacobians, the flow of gradients, and truncation."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

import tinygrad_rnn as tg

rnn, readout = tg.nn.RNN(1, 2, rng=0), tg.nn.Linear(2, 1, rng=1)
xs, targets = np.ones((6, 1)), np.zeros((6, 1))
hs, _ = rnn(xs)
loss = tg.nn.half_squared_error(readout(hs[-1]), targets[-1])
U = rnn.cells[0].U

J: NDArray[Any] = tg.bptt.jacobian(hs[-1], hs[0])
largest = float(tg.bptt.singular_values(hs[-1], hs[0])[0])
terms = tg.bptt.contributions(loss, U)
table: NDArray[Any] = tg.bptt.contribution_table([loss], U)
for term in tg.bptt.expansion(loss, U):
    print(term.step, term.norm)
weights = rnn.cells[0].W.numpy(), U.numpy(), None, readout.V.numpy(), None
by_hand = tg.bptt.closed_form_gradients(*weights, xs, targets[-1])
print(J @ J, largest, terms, table.shape, tg.bptt.latex(loss, U)[:5], by_hand.loss)

chunks = tg.bptt.truncated(rnn, readout, tg.nn.half_squared_error, xs, targets, length=3)
total = sum(chunks)
print(total, chunks.state)
