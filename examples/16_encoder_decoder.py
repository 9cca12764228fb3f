"""Lesson 16: an encoder and a decoder reverse numbers of eight digits, which one tells the other in a single state.

In an encoder-decoder (Cho et al. 2014, to which the IIT slides refer) one net reads a sequence, and another goes on
from the state in which that ends, and writes: here the digits that were read, the last first. It is trained with the
right digits before each, and then writes with its own. The gradients of the digits written, by the digits read, show
what it has learnt: from which digit each one comes.
"""

import numpy as np

import tinygrad_rnn as tg
from lesson import expected, run
from tinygrad_rnn.experiments import plots

T, H, BATCH, PICTURE = 8, 64, 64, "gradient.svg"
ONE_HOT, START = np.eye(11), 10  # of the digits, and of a sign that stands before the first


class EncoderDecoder(tg.nn.Module):
    """Two nets, of which the second starts from the last state of the first, and a readout."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.encoder, self.decoder = (tg.nn.RNN(11, H, rng=rng, name=name) for name in ("enc", "dec"))
        self.readout = tg.nn.Linear(H, 10, rng=rng)

    def __call__(self, xs, before):
        """Logits z of all digits, (T, B, 10), each from what was read and from the right digits before it."""
        _, state = self.encoder(xs)
        hs, _ = self.decoder(before, state)
        return self.readout(tg.stack(hs))

    def write(self, xs):
        """The digits that are written, (T, B), each from what was read and from those before it."""
        with tg.no_grad():
            (_, state), digits = self.encoder(xs), [np.full(xs.shape[1], START)]
            for _ in xs:
                hs, state = self.decoder(ONE_HOT[digits[-1]][None], state)
                digits.append(np.argmax(self.readout(hs[-1]).data, axis=-1))
        return np.stack(digits[1:])


def numbers(rng, batch):
    """Digits to read, those before each that is to be written, and these, which are the first backward."""
    digits = rng.integers(0, 10, (T, batch))
    return ONE_HOT[digits], ONE_HOT[np.vstack([np.full(batch, START), digits[:0:-1]])], digits[::-1]


def train(model, updates):
    """Train with Adam, at a rate that falls to 0."""
    rng, parameters = np.random.default_rng(0), model.parameters()
    optimizer = tg.optim.Adam(parameters)

    def loss_of(xs, before, targets):
        return tg.nn.cross_entropy(model(xs, before), targets, reduction="mean")

    program = tg.compile(loss_of, *numbers(rng, BATCH), wrt=parameters)
    for update in range(updates):
        program.backward(*numbers(rng, BATCH))
        optimizer.lr = 0.003 * (1.0 - update / updates)
        optimizer.step()
        optimizer.zero_grad()


def gradients(model, rng):
    """‖∂z(n)/∂x(k)‖, for the n-th digit written and the k-th that was read; the mean over ten numbers."""
    norms = np.zeros((T, T))
    for _ in range(10):
        xs, before, _ = (part[:, 0] for part in numbers(rng, 1))
        xs = tg.Tensor(xs, requires_grad=True)
        jacobians = [tg.bptt.jacobian(z, xs).reshape(10, *xs.shape) for z in model(xs, before)]
        norms += np.linalg.norm(jacobians, axis=(1, 3))
    return norms / 10.0


def main(out, quick=False):
    # 1. How many of a thousand other numbers are written without a mistake.
    model, updates = EncoderDecoder(), 200 if quick else 500
    train(model, updates)
    xs, _, targets = numbers(np.random.default_rng(1), 1000)
    written = model.write(xs)
    right = np.mean(np.all(written == targets, axis=0))
    print(f"after {updates} updates {right:.1%} of the numbers are right, {expected(right, 0.97, 1)}")
    for number in range(3):
        print(*np.argmax(xs[:, number], axis=-1), "->", *written[:, number])

    # 2. What a digit written depends on most is the digit that it is to be: the n-th on the n-th from the end.
    norms = gradients(model, np.random.default_rng(2))
    print(norms.round(1))
    if plots.available():
        drawing, axes = plots.figure()
        axes.pcolormesh(np.arange(1, T + 1), np.arange(1, T + 1), norms, cmap="cividis")
        axes.set(xlabel="digit read", ylabel="digit written", title="‖∂z/∂x‖ of a digit written by a digit read")
        axes.invert_yaxis()
        axes.grid(False)
        plots.save(drawing, out / PICTURE)
    return {"right": right, "norms": norms}


if __name__ == "__main__":
    run(main)
