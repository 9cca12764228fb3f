import numpy as np

import tinygrad_rnn as tg


def test_an_input_of_two_readers_keeps_its_step():
    net, xs = tg.nn.RNN(2, 3, rng=0), [tg.Tensor(x) for x in np.eye(2)]
    hs, _ = net(xs)
    total = hs[0]
    for t, h in enumerate(hs, 1):  # the second reads the inputs again, each at both steps
        total = tg.label(total + h * tg.sum(xs[0]) * tg.sum(xs[1]), "s", t)
    labels = {node.label for node in tg.draw.forward(tg.sum(total)).nodes}
    assert {"x⁽¹⁾", "x⁽²⁾"} <= labels and "x" not in labels
