"""What is swept: worker processes import it from here, where it brings little else along."""

import os
import signal
import time
from threading import active_count

import numpy as np


def product(x, y=1.0):
    return x * y


def fragile(x):
    if x == 1:
        raise ValueError("too\nlarge")
    if x == 2:
        os._exit(3)
    if x == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def waiting(seconds):
    time.sleep(seconds)
    return seconds


def threads(size):
    a = np.ones((size, size))
    a @ a
    return len(os.listdir("/proc/self/task")) - active_count() + 1  # those that are none of Python's


def trained(cell, seed):
    """The loss and a weight of a small net after some updates."""
    import tinygrad_rnn as tg

    rng = np.random.default_rng(seed)
    rnn = {"rnn": tg.nn.RNN, "lstm": tg.nn.LSTM}[cell](1, 16, rng=rng)
    readout = tg.nn.Linear(16, 1, rng=rng)
    parameters = [*rnn.parameters(), *readout.parameters()]
    optimizer = tg.optim.Adam(parameters, lr=0.01)
    xs, targets = rng.standard_normal((12, 32, 1)), rng.standard_normal((32, 1))
    for _ in range(10):
        loss = tg.nn.half_squared_error(readout(rnn(xs)[0][-1]), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {"loss": loss.item(), "weight": parameters[0].data[0, 0]}
