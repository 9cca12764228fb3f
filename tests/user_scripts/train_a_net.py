"""Training: a net, a dense layer, an optimizer, clipping; the parameters of a cell are known by their letters."""

import numpy as np

import tinygrad_rnn as tg

rng = np.random.default_rng(0)
rnn = tg.nn.RNN(1, 4, nonlinearity="tanh", rng=rng)
readout = tg.nn.Linear(4, 1, rng=rng)
parameters: list[tg.Tensor] = [*rnn.parameters(), *readout.parameters()]
optimizer = tg.optim.Adam(parameters, lr=0.01)

losses: list[float] = []
for _ in range(5):
    xs = rng.standard_normal((6, 1))
    hs, _state = rnn(xs)
    loss = tg.nn.half_squared_error(readout(hs[-1]), xs.sum(axis=0))
    loss.backward()
    norm: float = tg.optim.clip_grad_norm(parameters, 1.0)
    optimizer.step()
    optimizer.zero_grad()
    losses.append(loss.item())

state = rnn(np.zeros((2, 1)))[1]
cell = rnn.cells[0]
U: tg.Tensor = cell.U
U.data[:] = np.eye(4)
if cell.b is not None:
    cell.b.requires_grad = False
if readout.c is not None:
    print(readout.c.shape)
last: tg.Tensor = state[0]
print(losses, last.name, optimizer.lr * 2, cell.hidden_size, np.linalg.norm(U.numpy()))
