"""Lesson 15: a net that runs one way knows nothing of what comes; two nets that run against each other know all.

A plain net "cannot consider any future input for the current state" (TowardsML, "Downsides of RNNs"). A bidirectional
one (Schuster and Paliwal 1997) has a second net that runs from T to 1, and reads its output out of both states. The
test is a tagger of sequences of -1, 0 and 1. The tag of a step is the change from the last number before it that is not
0 to the next one after it: a fall, nothing, or a rise. Knowing one of the two, a net gets half of them right at best.
"""

import numpy as np

import tinygrad_rnn as tg
from lesson import expected, run
from tinygrad_rnn.experiments import plots

T, H, BATCH, PICTURE = 20, 16, 32, "accuracy.svg"


def series(rng, batch):
    """xs (T, B, 1), half of them 0, but not the first and the last; tags (T - 2, B): 0 a fall, 2 a rise."""
    xs = rng.choice([-1, 0, 0, 1], (T, batch))
    xs[[0, -1]] = rng.choice([-1, 1], (2, batch))
    before, after = xs[:-2].copy(), xs[2:].copy()
    for t in range(1, T - 2):
        before[t] = np.where(before[t], before[t], before[t - 1])
        after[-1 - t] = np.where(after[-1 - t], after[-1 - t], after[-t])
    return xs[:, :, None].astype(float), 1 + np.sign(after - before)


def net(way):
    """Nets of one way with 2 H units, and of both ways with H units each."""
    if way == "both ways":
        return tg.nn.Bidirectional(tg.nn.RNN(1, H, rng=0, name="f"), tg.nn.RNN(1, H, rng=1, reverse=True, name="b"))
    return tg.nn.RNN(1, 2 * H, rng=0, reverse=way == "back")


class Tagger(tg.nn.Module):
    """A net, and a readout of its state at every step but the first and the last."""

    def __init__(self, way):
        self.net, self.readout = net(way), tg.nn.Linear(2 * H, 3, rng=2)

    def __call__(self, xs):
        """Logits, (T - 2, B, 3)."""
        return self.readout(tg.stack(self.net(xs)[0][1:-1]))


def train(tagger, updates):
    """The accuracy on other sequences, before every 20th update."""
    rng, parameters, accuracies = np.random.default_rng(0), tagger.parameters(), []
    xs, tags = series(np.random.default_rng(1), 500)
    optimizer = tg.optim.Adam(parameters, lr=0.005)

    def loss_of(xs, tags):
        return tg.nn.cross_entropy(tagger(xs), tags, reduction="mean")

    program = tg.compile(loss_of, *series(rng, BATCH), wrt=parameters)
    for update in range(updates + 1):
        if update % 20 == 0:
            with tg.no_grad():
                accuracies.append(np.mean(np.argmax(tagger(xs).data, axis=-1) == tags))
        program.backward(*series(rng, BATCH))
        optimizer.step()
        optimizer.zero_grad()
    return accuracies


def main(out, quick=False):
    # 1. What the tag of step 3 depends on: the gradient of its logits, by the input of every step.
    ways, reach = ("forward", "back", "both ways"), {}
    for way in ways:
        x = tg.Tensor(series(np.random.default_rng(2), 1)[0][:6], requires_grad=True)
        (dx,) = tg.grad(tg.sum(Tagger(way)(x)[1] ** 2), [x])
        reach[way] = np.abs(dx.data).ravel()
        print(f"{way:9}: gradients of step 3's logits by the inputs of steps 1 to 6: {reach[way].round(3)}")

    # 2. What that is worth.
    updates, lines = 120 if quick else 300, {}
    for way in ways:
        lines[way] = train(Tagger(way), updates)
        band = (0.995, 1) if way == "both ways" else (0.48, 0.52)
        print(f"{way:9}: {lines[way][-1]:.1%} of the tags are right, {expected(lines[way][-1], *band)}")
    x = ("update", np.arange(0, updates + 1, 20))
    lines["best of one way"] = np.full(len(lines[way]), 0.5)
    title = "Tags that need what was and what comes"
    plots.curves(out / PICTURE, title, x, "accuracy", lines, dashed=["best of one way"])
    return {"reach": reach, "right": {way: lines[way][-1] for way in ways}}


if __name__ == "__main__":
    run(main)
