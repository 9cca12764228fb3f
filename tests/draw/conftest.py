import numpy as np
import pytest

import tinygrad_rnn as tg


@pytest.fixture(scope="session")
def unrolled():
    """unrolled(T): the loss of a many-to-one net over T steps, as in Fig. 7-5; many: the sum of one at every step."""

    def make(T, nonlinearity="tanh", loss=tg.nn.half_squared_error, kind="RNN", many=False, **options):
        if kind == "RNN":
            options["nonlinearity"] = nonlinearity
        rnn, readout = getattr(tg.nn, kind)(2, 3, rng=0, **options), tg.nn.Linear(3, 1, rng=0)
        hs, _ = rnn(np.random.default_rng(1).standard_normal((T, 2)))
        losses = [loss(readout(h), np.ones(1)) for h in (hs if many else hs[-1:])]
        return tg.label(sum(losses[1:], losses[0]), "E") if many and T > 1 else losses[-1]

    return make
