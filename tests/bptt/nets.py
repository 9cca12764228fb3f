"""The nets that these tests look at: small, random in all parameters, with a readout and data."""

import numpy as np

import tinygrad_rnn as tg

D, H = 2, 3
KINDS = {"RNN": tg.nn.RNN, "LSTM": tg.nn.LSTM, "GRU": tg.nn.GRU}


def make(kind="RNN", num_layers=1, batch=(), steps=6, outputs=1, bias=True, seed=0, **options):
    """The net, its readout, a series, and a target for every step."""
    rng = np.random.default_rng(seed)
    rnn = KINDS[kind](D, H, num_layers, bias=bias, rng=rng, **options)
    readout = tg.nn.Linear(H, outputs, bias=bias, rng=rng)
    for p in (*rnn.parameters(), *readout.parameters()):
        if p.ndim == 1:  # the biases, which start as zeros
            p.data[:] = 0.1 * rng.standard_normal(p.shape)
    return rnn, readout, rng.standard_normal((steps, *batch, D)), rng.standard_normal((steps, *batch, outputs))


def run(*arguments, **options):
    """The net that `make` makes, its readout, its states, and a loss for every step."""
    rnn, readout, xs, targets = make(*arguments, **options)
    hs, _ = rnn(xs)
    return rnn, readout, hs, losses(readout, hs, targets)


def losses(readout, hs, targets):
    return [tg.nn.squared_error(readout(h), y) for h, y in zip(hs, targets, strict=True)]
