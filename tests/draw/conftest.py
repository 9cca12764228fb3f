import numpy as np
import pytest

import tinygrad_rnn as tg


@pytest.fixture
def unrolled():
    """unrolled(T): the loss of a many-to-one net over T steps, as in Fig. 7-5."""

    def make(T, nonlinearity="tanh", loss=tg.nn.half_squared_error, **options):
        rnn, readout = tg.nn.RNN(2, 3, nonlinearity=nonlinearity, rng=0, **options), tg.nn.Linear(3, 1, rng=0)
        hs, _ = rnn(np.random.default_rng(1).standard_normal((T, 2)))
        return loss(readout(hs[-1]), np.ones(1))

    return make
