"""Lesson 11: over 100 steps a tanh net learns nothing; gates do, and ReLU with U = 1 does if W has the right scale.

LSTM is the remedy that Module 5 ("Going Beyond RNNs") and TowardsML ("Long term dependencies problem") name. The test
is the adding problem (Hochreiter and Schmidhuber 1997): every step brings a random number and a mark; two steps are
marked, one in either half, and after the last step the net is to say the sum of their numbers. Always saying 1 has a
mean squared error of 1/6; below 0.01 counts as solved.
"""

import numpy as np

import tinygrad_rnn as tg
from lesson import expected, run
from tinygrad_rnn.datasets import adding_problem
from tinygrad_rnn.experiments import plots

BATCH, HIDDEN, BASELINE, SOLVED = 32, 32, 1.0 / 6.0, 0.01
PICTURE = "adding.svg"

NETS = {  # name: kind, learning rate, options, the scale of W beside U = 1, and the band for the error in the end
    "RNN, tanh": ("RNN", 0.002, {}, None, (0.1, 0.25)),
    "RNN, relu, U = 1, W ~ 0.001": ("RNN", 0.002, {"nonlinearity": "relu"}, 0.001, (0.1, 0.25)),
    "RNN, relu, U = 1, W ~ 0.1": ("RNN", 0.002, {"nonlinearity": "relu"}, 0.1, (0, 0.01)),
    "LSTM, forget bias 1": ("LSTM", 0.01, {"forget_bias": 1.0}, None, (0, 0.01)),
    "GRU": ("GRU", 0.01, {}, None, (0, 0.01)),
}


def train(kind, lr, options, scale, T, updates, seed=0):
    """The error of every update, until the problem is solved, and the median of each with the 19 before it."""
    rng = np.random.default_rng(seed)
    net, readout = getattr(tg.nn, kind)(2, HIDDEN, rng=rng, **options), tg.nn.Linear(HIDDEN, 1, rng=rng)
    if scale is not None:  # the IRNN of Le, Jaitly and Hinton 2015
        net.cells[0].U.data = tg.nn.init.identity(HIDDEN)
        net.cells[0].W.data = scale * rng.standard_normal((HIDDEN, 2))
    parameters = [*net.parameters(), *readout.parameters()]
    optimizer = tg.optim.Adam(parameters, lr=lr)

    def loss_of(xs, targets):
        return tg.nn.squared_error(readout(net(xs)[0][-1]), targets, reduction="mean")

    program = tg.compile(loss_of, *adding_problem(np.random.default_rng(0), T, BATCH), wrt=parameters)
    errors, medians = [], []
    while len(errors) < updates and (len(errors) < 20 or medians[-1] >= SOLVED):
        errors.append(program.backward(*adding_problem(rng, T, BATCH)))
        medians.append(np.median(errors[-20:]))
        tg.optim.clip_grad_norm(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return errors, medians


def main(out, quick=False):
    T, updates = (20, 320) if quick else (100, 1500)
    print(f"T = {T}; the mean squared error of always saying 1 is {BASELINE:.4f}")
    x, lines, final = ("update", np.arange(10, updates + 1, 10)), {}, {}
    for name, (*net, band) in NETS.items():
        errors, medians = train(*net, T, updates)
        final[name], after = medians[-1], f"after {len(errors):4} updates"
        print(f"{name:27}: {final[name]:.4f} {after}, {expected(final[name], *band)}", end="")
        print(f" (largest {max(errors):.1e})", flush=True)
        lines[name] = np.pad(medians, (0, updates - len(medians)), constant_values=np.nan)[9::10]
    lines["always 1"] = np.full(updates // 10, BASELINE)
    title, y = "The adding problem", "mean squared error, median of 20 updates"
    plots.curves(out / PICTURE, title, x, y, lines, log=True, dashed=["always 1"])

    # Why: in an LSTM one of the ways back runs along c, past a forget gate and nothing else.
    lstm, readout = tg.nn.LSTM(2, 3, forget_bias=1.0, rng=0), tg.nn.Linear(3, 1, rng=1)
    hs, _ = lstm(np.ones((2, 2)))
    tg.draw.backward(tg.nn.half_squared_error(readout(hs[-1]), np.ones(1))).save(out / "lstm.svg")
    return final


if __name__ == "__main__":
    run(main)
