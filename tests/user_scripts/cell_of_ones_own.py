"""Cells of one's own, of one state and of two, unrolled as the stock ones are."""

import numpy as np

import tinygrad_rnn as tg


class MinimalCell(tg.nn.Cell):
    """A cell with two gates, whose parameters are known as W_f, U_f and so on."""

    gates = ("_f", "_n")

    def step(self, x: tg.Tensor, h: tg.Tensor) -> tg.Tensor:
        f = tg.label(tg.sigmoid(tg.linear(self.W_f, x) + tg.linear(self.U_f, h) + self.b_f), "f")
        n = tg.label(tg.tanh(tg.linear(self.W_n, x) + tg.linear(self.U_n, f * h) + self.b_n), "n")
        return (1 - f) * h + f * n


class Remembering(tg.nn.Cell[tuple[tg.Tensor, tg.Tensor]]):
    """A cell with a state of two parts, h and a running mean m of it."""

    state_names = ("h", "m")

    def step(self, x: tg.Tensor, h: tg.Tensor, m: tg.Tensor) -> tuple[tg.Tensor, tg.Tensor]:
        h = tg.tanh(tg.linear(self.W, x) + tg.linear(self.U, h) + self.b)
        return h, 0.9 * m + 0.1 * h


xs = np.ones((4, 2))
hs, (h,) = tg.nn.Recurrent(MinimalCell, 2, 3)(xs)
net = tg.nn.Recurrent(Remembering, 2, 3, num_layers=2, rng=0)
hs, states = net(xs)
(h, m), (h_above, m_above) = states
remembering: Remembering = net.cells[1]
(h + m + h_above + m_above).sum().backward()
_, zeros = remembering.initial_state(xs[0])
print(remembering.U.grad, zeros.shape, hs[-1].name, m_above.name)
