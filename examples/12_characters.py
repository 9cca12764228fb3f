"""Lesson 12: h(t) = tanh(U x(t) + W h(t-1)), ŷ(t) = softmax(V h(t)): a net that learns English letter by letter.

The net, its loss E = -Σ y log ŷ and its training by gradient descent are those of seed 003 ("RNNs: Forward Pass"), the
text is the documentation of Python's own language, the gradients are truncated to 25 steps, and the state is carried
over (lesson 9). Measured in bits a character, on a last tenth that was not trained on: what letters alone are worth,
what the letter before is worth, and what the net finds.
"""

from pydoc_data.topics import topics

import numpy as np

import tinygrad_rnn as tg
from lesson import expected, run
from tinygrad_rnn.experiments import plots

HIDDEN, BATCH, LENGTH = 128, 32, 25
START, PICTURE = [np.zeros((BATCH, HIDDEN), np.float32)], "learning.svg"


def baselines(train, held, count):
    """Bits a character of the held text, by how often letters, and pairs of letters, are in the other."""
    ones = np.ones((count, count))
    np.add.at(ones, (train[:-1], train[1:]), 1.0)
    single, pairs = ones.sum(axis=0) / ones.sum(), ones / ones.sum(axis=1, keepdims=True)
    return {"unigram": -np.mean(np.log2(single[held])), "bigram": -np.mean(np.log2(pairs[held[:-1], held[1:]]))}


def streams(ids):
    """A text as BATCH texts side by side, (steps, B)."""
    return ids[: len(ids) // BATCH * BATCH].reshape(BATCH, -1).T


class Model:
    """The net and its readout, in float32, which is twice as fast here."""

    def __init__(self, count):
        self.letters = np.eye(count, dtype=np.float32)
        self.rnn = tg.nn.RNN(count, HIDDEN, rng=0)
        self.readout = tg.nn.Linear(HIDDEN, count, rng=1)
        self.parameters = [*self.rnn.parameters(), *self.readout.parameters()]
        for p in self.parameters:
            p.data = p.data.astype(np.float32)

    def __call__(self, xs, ys, state):
        """The mean cross entropy of a chunk, and the state after it."""
        hs, state = self.rnn(xs, state)
        return tg.nn.cross_entropy(self.readout(tg.stack(hs)), ys, reduction="mean"), state

    def bits(self, ids):
        """Bits a character of a whole text."""
        text, state, total = streams(ids), START, 0.0
        with tg.no_grad():
            for start in range(0, len(text) - 1, 100):
                xs, ys = text[start : start + 100], text[start + 1 : start + 101]
                loss, state = self(self.letters[xs[: len(ys)]], ys, state)
                total += loss.item() * len(ys)
        return total / (len(text) - 1) / np.log(2)

    def sample(self, first, length, rng):
        """A text, letter by letter, each drawn from ŷ."""
        ids, state = [first], None
        with tg.no_grad():
            for _ in range(length):
                hs, state = self.rnn(self.letters[ids[-1:]], state)
                p = tg.softmax(self.readout(hs[-1])).data.astype(float)
                ids.append(rng.choice(len(p), p=p / p.sum()))
        return ids


def train(model, text, updates):
    """Bits a character of every chunk, as it came; Adam, with a rate that falls to 0."""
    optimizer, curve, chunks = tg.optim.Adam(model.parameters), [], (len(text) - 1) // LENGTH
    program = tg.compile(model, model.letters[text[:LENGTH]], text[:LENGTH], START, wrt=model.parameters)
    for update in range(updates):
        at = update % chunks * LENGTH
        if at == 0:
            state = START
        loss, state = program.backward(model.letters[text[at : at + LENGTH]], text[at + 1 : at + 1 + LENGTH], state)
        tg.optim.clip_grad_norm(model.parameters, 1.0)
        optimizer.lr = 0.005 * (1.0 - update / updates)
        optimizer.step()
        optimizer.zero_grad()
        curve.append(loss / np.log(2))
    return np.array(curve)


def main(out, quick=False):
    text = "".join(topics[name] for name in sorted(topics))
    letters = sorted(set(text))
    ids = np.searchsorted(letters, list(text))
    known, held = np.split(ids, [len(ids) * 9 // 10])
    bits = baselines(known, held, len(letters))
    print(f"{len(text):,} characters, {len(letters)} different ones: {np.log2(len(letters)):.2f} bits if all are alike")

    model, updates = Model(len(letters)), 200 if quick else 2000
    curve = train(model, streams(known), updates)
    bits["net"] = model.bits(held)
    print(f"first chunk: {curve[0]:.2f} bits; after {updates} updates, bits a character of the text held out:")
    print(", ".join(f"{name} {value:.2f}" for name, value in bits.items()), expected(bits["net"], 1.5, 2.5), sep=", ")
    print("".join(letters[i] for i in model.sample(letters.index("T"), 50 if quick else 300, np.random.default_rng(0))))

    means = curve.reshape(-1, 10).mean(axis=1)
    x, lines = ("update", 10 * np.arange(1, len(means) + 1)), {"net, text as it comes": means}
    lines |= {name: np.full(len(means), bits[name]) for name in ("unigram", "bigram")}
    title, y = "A character model of 128 units", "cross entropy, bits a character"
    plots.curves(out / PICTURE, title, x, y, lines, dashed=["unigram", "bigram"])
    return {"alike": np.log2(len(letters)), "first": curve[0], **bits}


if __name__ == "__main__":
    run(main)
