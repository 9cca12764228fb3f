"""Lesson 9: truncated backpropagation cuts the gradient, not the state; so it does not simply bound what is learnt.

The BPTT post ("Truncated Backpropagation through time") says that chunks keep a net from learning long dependencies.
The test: P(Y(t) = 1) = ½ + ½ X(t-3) - ¼ X(t-8) for random bits X (r2rt, "Recurrent Neural Networks in TensorFlow I"),
where the cross entropy is 0.662 nats with neither lag known, 0.519 with the first, and 0.4545 with both. A chunk of 5
steps never sees across a lag of 8, and yet it is learnt: the state carries X further than gradients go.
"""

import numpy as np

import tinygrad_rnn as tg
from lesson import expected, run
from tinygrad_rnn.experiments import plots

BATCH, PICTURE = 100, "staircase.svg"


def entropy(*probabilities):
    """The mean entropy, in nats, of coins with these probabilities."""
    p = np.clip(probabilities, 1e-300, 1.0)
    q = np.clip(1.0 - p, 1e-300, 1.0)
    return float(np.mean(-p * np.log(p) - q * np.log(q)))


STAIRS = {
    "neither lag known": entropy(0.625),
    "lag 3 known": entropy(0.375, 0.875),
    "both known": entropy(0.5, 0.25, 1.0, 0.75),
}
BANDS = {  # by the length of a chunk; beyond 4 by the number of units too
    1: (0.519, 0.67), 2: (0.519, 0.67), 3: (0.6, 0.67), 4: (0.49, 0.525),
    (4, "far"): (0.505, 0.522), (16, "far"): (0.4545, 0.49),
}  # fmt: skip


def series(rng, steps):
    """xs (steps, B, 1), bits; targets (steps, B), bits that depend on those 3 and 8 steps before."""
    X = rng.integers(0, 2, (steps + 8, BATCH))
    p = 0.5 + 0.5 * X[5:-3] - 0.25 * X[:-8]
    return X[8:, :, None].astype(float), (rng.uniform(size=p.shape) < p).astype(int)


def train(length, hidden, updates, seed):
    """The cross entropy, nats a step, over the last fifth of the updates; every chunk is new data."""
    rng = np.random.default_rng(seed)
    rnn, readout = tg.nn.RNN(1, hidden, rng=rng), tg.nn.Linear(hidden, 2, rng=rng)
    optimizer = tg.optim.Adam([*rnn.parameters(), *readout.parameters()], lr=0.01)
    xs, targets = series(rng, length * updates)

    losses = []
    for loss in tg.bptt.truncated(rnn, readout, tg.nn.cross_entropy, xs, targets, length, compile=tg.compile):
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss / (length * BATCH))
    return np.mean(losses[-updates // 5 :])


def main(out, quick=False):
    # 1. What is cut: the state goes on from chunk to chunk, its past does not.
    rnn, readout = tg.nn.RNN(2, 3, rng=0), tg.nn.Linear(3, 1, rng=1)
    xs = np.random.default_rng(0).standard_normal((20, 2))
    _, state = rnn(xs[:2])
    hs, _ = rnn(xs[2:4], [h.detach() for h in state])
    tg.draw.backward(tg.nn.half_squared_error(readout(hs[-1]), np.ones(1))).save(out / "cut.svg")

    # 2. What is lost: of the sum over time the last k terms remain.
    hs, _ = rnn(xs)
    loss = tg.nn.half_squared_error(readout(hs[-1]), np.ones(1))
    terms, off = tg.bptt.contributions(loss, rnn.cells[0].U), {}
    for k in (1, 2, 5, 10, 20):
        off[k] = np.linalg.norm(terms[:-k].sum(axis=0)) / np.linalg.norm(terms.sum(axis=0))
        print(f"of 20 steps the last {k:2}: the gradient of U is off by {off[k]:.1%}")

    # 3. What is learnt, by the length of the chunks.
    print("cross entropy, nats:", ", ".join(f"{value:.4f} {name}" for name, value in STAIRS.items()))
    lengths, seeds, updates = ((3, 5), 1, 600) if quick else ((1, 2, 3, 4, 5, 7, 10), 3, 1500)
    learnt = {}
    for hidden in (4, 16):
        for k in lengths:
            runs = [train(k, hidden, updates, seed) for seed in range(seeds)]
            learnt[hidden, k] = np.median(runs)
            band = BANDS[(hidden, "far") if k > 4 else k]
            print(f"{hidden:2} units, chunks of {k:2}: {learnt[hidden, k]:.4f}", end=", ")
            print(expected(learnt[hidden, k], *band), f"(seeds: {min(runs):.4f} to {max(runs):.4f})", flush=True)
    print("Up to 3 steps no gradient crosses a lag: what is below 0.66 is what the untrained state carries anyway.")
    print("4 steps cross lag 3. 5 steps do not cross lag 8, but with 16 units nearly reach what knowing both is worth:")
    print("the state carries X on, and the readout finds it there. With 4 units it stays at what lag 3 is worth.")

    lines = {f"{hidden} units": [learnt[hidden, k] for k in lengths] for hidden in (4, 16)}
    lines |= {name: [value] * len(lengths) for name, value in STAIRS.items()}
    x = ("length of a chunk, steps", lengths)
    title = "Truncated BPTT: a chunk of 5 learns a lag of 8"
    plots.curves(out / PICTURE, title, x, "cross entropy, nats", lines, dashed=list(STAIRS))
    return {"stairs": list(STAIRS.values()), "off": off, "learnt": learnt}


if __name__ == "__main__":
    run(main)
