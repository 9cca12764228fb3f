import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn.algebra.columns import columns_of, time_steps
from tinygrad_rnn.backward import topological_order


def test_an_input_of_two_readers_keeps_its_step():
    net, xs = tg.nn.RNN(2, 3, rng=0), [tg.Tensor(x) for x in np.eye(2)]
    hs, _ = net(xs)
    total = hs[0]
    for t, h in enumerate(hs, 1):  # the second reads the inputs again, each at both steps
        total = tg.label(total + h * tg.sum(xs[0]) * tg.sum(xs[1]), "s", t)
    labels = {node.label for node in tg.draw.forward(tg.sum(total)).nodes}
    assert {"x⁽¹⁾", "x⁽²⁾"} <= labels and "x" not in labels


def test_a_readout_belongs_to_the_step_that_it_reads_and_a_parameter_to_its_first_use():
    net, readout = tg.nn.RNN(2, 3, rng=0), tg.nn.Linear(3, 1, rng=0)
    hs, _ = net(np.ones((3, 2)))
    ys = [readout(h) for h in hs]
    order = topological_order(ys[0].sum() + ys[1].sum() + ys[2].sum())
    steps, (columns, drawn, written) = time_steps(order), columns_of(order)
    assert [steps[y] for y in ys] == [columns[y] for y in ys] == [written[y] for y in ys] == drawn == [1, 2, 3]
    for x in net.parameters():
        assert steps[x] == 1 and columns[x] is None and x not in written
