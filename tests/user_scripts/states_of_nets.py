"""The states of each net: a Tensor a layer, of an LSTM a pair, and of a bidirectional net those of both."""

import numpy as np

import tinygrad_rnn as tg

xs = np.zeros((3, 2))
of_rnn: list[tg.Tensor] = tg.nn.RNN(2, 3, num_layers=2)(xs)[1]
of_gru: list[tg.Tensor] = tg.nn.GRU(2, 3)(xs)[1]

lstm = tg.nn.LSTM(2, 3, num_layers=2, forget_bias=1.0)
hs, of_lstm = lstm(xs)
for h, c in of_lstm:
    print(h.step, c.shape)
hs, of_lstm = lstm(xs, of_lstm)

both = tg.nn.Bidirectional(tg.nn.LSTM(2, 3, name="forth"), tg.nn.LSTM(2, 3, reverse=True, name="back"))
hs, (forth, back) = both(xs)
((h_first, c_first),) = back
joined: tg.Tensor = hs[0] + tg.concatenate([h_first, c_first])
print(joined.ndim, len(forth), both.forth.cells[0].U_f.shape, of_rnn[1].layer, of_gru[0].size)

h = tg.nn.GRUCell(2, 3)(xs[0])
h, c = tg.nn.LSTMCell(2, 3)(xs[0], (h, np.zeros(3)))
h, c = tg.bptt.checkpoint(lstm.cells[0], xs, (h, c))


def steps(net: tg.nn.Recurrent) -> int:
    """Of any net."""
    return len(net(xs)[0])


print(steps(lstm), c.is_leaf)
