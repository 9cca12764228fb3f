"""Lesson 12: h(t) = tanh(U x(t) + W h(t-1)), ŷ(t) = softmax(V h(t)): a net that learns English letter by letter.

The net, its loss E = -Σ y log ŷ and its training by gradient descent are those of the IIT slides ("RNNs: Forward
Pass"), the text is the documentation of Python's own language, the gradients are truncated to 25 steps, and the state
is carried over (lesson 9). Measured in bits a character, on a last tenth that was not trained on: what letters alone
are worth, what the letter before is worth, and what the net finds.
"""

import numpy as np

import tinygrad_rnn as tg
from lesson import expected, run
from tinygrad_rnn.experiments import plots
from tinygrad_rnn.experiments.data import load
from tinygrad_rnn.experiments.settings import Settings

HIDDEN, BATCH, LENGTH = 128, 32, 25
START, PICTURE = [np.zeros((BATCH, HIDDEN), np.float32)], "learning.svg"


class Model:
    """The net and its readout, in float32, which is twice as fast here."""

    def __init__(self, width):
        self.rnn = tg.nn.RNN(width, HIDDEN, rng=0)
        self.readout = tg.nn.Linear(HIDDEN, width, rng=1)
        self.parameters = [*self.rnn.parameters(), *self.readout.parameters()]
        for p in self.parameters:
            p.data = p.data.astype(np.float32)

    def __call__(self, xs, ys, state):
        """The mean cross entropy of a chunk, and the state after it."""
        hs, state = self.rnn(xs, state)
        return tg.nn.cross_entropy(self.readout(tg.stack(hs)), ys, reduction="mean"), state

    def sample(self, x, length, rng):
        """The numbers of a text's letters, each drawn from ŷ."""
        drawn, state, one = [], None, np.eye(len(x), dtype=np.float32)
        with tg.no_grad():
            for _ in range(length):
                hs, state = self.rnn(x[None], state)
                p = tg.softmax(self.readout(hs[-1])).data.astype(float)
                drawn.append(rng.choice(len(p), p=p / p.sum()))
                x = one[drawn[-1]]
        return drawn


def chunks(places, length):
    """A passage as BATCH passages side by side, in pieces of some length, (steps, B) each."""
    beside = places[: len(places) // BATCH * BATCH].reshape(BATCH, -1).T
    return [beside[i : i + length] for i in range(0, len(beside) - length + 1, length)]


def train(model, data, updates):
    """Bits a character of every chunk, as it came; Adam, with a rate that falls to 0."""
    pieces, optimizer, curve = chunks(np.array(data.training)[1:], LENGTH), tg.optim.Adam(model.parameters), []
    xs = data.vectors(pieces[0])
    program = tg.compile(model, xs, xs, START, wrt=model.parameters)
    for update in range(updates):
        if update % len(pieces) == 0:
            state = START
        places = pieces[update % len(pieces)]
        loss, state = program.backward(data.vectors(places - 1), data.vectors(places), state)
        tg.optim.clip_grad_norm(model.parameters, 1.0)
        optimizer.lr = 0.005 * (1.0 - update / updates)
        optimizer.step()
        optimizer.zero_grad()
        curve.append(loss / np.log(2))
    return np.array(curve)


def held_out(model, data):
    """Bits a character of the text that was not learnt from."""
    losses, state = [], START
    with tg.no_grad():
        for places in chunks(np.array(data.held_out), 100):
            loss, state = model(data.vectors(places - 1), data.vectors(places), state)
            losses.append(loss.item())
    return np.mean(losses) / np.log(2)


def main(out, quick=False):
    data = load(Settings(data="topics", window=LENGTH, dtype="float32"))
    alike = np.log2(data.width)
    print(f"{len(data.sequence):,} characters, {data.width} different ones: {alike:.2f} bits if all are alike")

    model, updates = Model(data.width), 120 if quick else 2000
    curve = train(model, data, updates)
    bits = data.baselines() | {"net": held_out(model, data)}
    print(f"first chunk: {curve[0]:.2f} bits; after {updates} updates, bits a character of the text held out:")
    print(", ".join(f"{name} {value:.2f}" for name, value in bits.items()), expected(bits["net"], 1.5, 2.5), sep=", ")
    drawn = model.sample(data.vectors(data.held_out[0]), 50 if quick else 300, np.random.default_rng(0))
    print("".join(data.alphabet[i] for i in drawn))

    means = curve.reshape(-1, 10).mean(axis=1)
    x, lines = ("update", 10 * np.arange(1, len(means) + 1)), {"net, text as it comes": means}
    lines |= {name: np.full(len(means), bits[name]) for name in ("unigram", "bigram")}
    title, y = "A character model of 128 units", "cross entropy, bits a character"
    plots.curves(out / PICTURE, title, x, y, lines, dashed=["unigram", "bigram"])
    return {"alike": alike, "first": curve[0], **bits}


if __name__ == "__main__":
    run(main)
