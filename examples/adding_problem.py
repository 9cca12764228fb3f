"""A long dependency: the adding problem (Hochreiter and Schmidhuber 1997), which gates can learn.

    python examples/adding_problem.py            LSTM and GRU, a few seconds each

Each of 50 steps brings a random number and a mark. Two steps are marked, one in either half; after the last step the
net is to say the sum of their numbers. Who always answers 1 has a mean squared error of 1/6.
"""

import argparse

import numpy as np

import tinygrad_rnn as tg

T, BATCH, HIDDEN = 50, 50, 32


def sequences(rng):
    """xs (T, B, 2): numbers and marks; targets (B, 1): the sums of the two marked numbers."""
    numbers, marks = rng.uniform(0.0, 1.0, (T, BATCH)), np.zeros((T, BATCH))
    each = np.arange(BATCH)
    marks[rng.integers(0, T // 2, BATCH), each] = 1.0
    marks[rng.integers(T // 2, T, BATCH), each] = 1.0
    return np.stack([numbers, marks], axis=-1), np.sum(numbers * marks, axis=0)[:, None]


def train(kind, updates, seed=0):
    """The running mean squared error after so many updates; stops when it is below 0.01."""
    rng = np.random.default_rng(seed)
    options = {"forget_bias": 1.0} if kind is tg.nn.LSTM else {}
    net, readout = kind(2, HIDDEN, rng=rng, **options), tg.nn.Linear(HIDDEN, 1, rng=rng)
    parameters = [*net.parameters(), *readout.parameters()]
    optimizer, error = tg.optim.Adam(parameters, lr=0.01), 1.0 / 6.0
    for update in range(1, updates + 1):
        xs, targets = sequences(rng)
        hs, _ = net(xs)
        loss = tg.nn.squared_error(readout(hs[-1]), targets, reduction="mean")
        loss.backward()
        tg.optim.clip_grad_norm(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        error = 0.95 * error + 0.05 * loss.item()
        if update % 100 == 0 or error < 0.01:
            print(f"{kind.__name__}: after {update:5} updates the mean squared error is {error:.4f}", flush=True)
        if error < 0.01:
            break
    return error


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--updates", type=int, default=2_000, help="at most so many (2000)")
    updates = parser.parse_args().updates
    for kind in (tg.nn.LSTM, tg.nn.GRU):
        train(kind, updates)
