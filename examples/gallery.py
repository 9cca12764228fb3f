"""Draws the figures of the README's gallery: `python examples/gallery.py [FOLDER]`, by default beside this file."""

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

import tinygrad_rnn as tg


def unroll(kind, T, H=3, many=False, **options):
    """A net over T steps of random data: its parameters by name, its states, and its loss, or one for each step."""
    rng = np.random.default_rng(0)
    rnn, readout = getattr(tg.nn, kind)(2, H, rng=rng, **options), tg.nn.Linear(H, 1, rng=rng)
    hs, _ = rnn(rng.standard_normal((T, 2)))
    losses = [tg.nn.half_squared_error(readout(h), rng.standard_normal(1)) for h in (hs if many else hs[-1:])]
    loss = tg.label(sum(losses[1:], losses[0]), "E") if many else losses[0]
    return {p.name: p for p in (*rnn.parameters(), *readout.parameters())}, hs, loss


class MinimalGatedUnit(tg.nn.Cell):
    """f = σ(W_f x + U_f h + b_f), h̃ = tanh(W_h x + U_h (f ⊙ h) + b_h), h = (1 − f) ⊙ h + f ⊙ h̃ (Zhou et al. 2016)."""

    gates = ("_f", "_h")

    def step(self, x, h):
        """The gate, the candidate, and a state between that and the one before."""
        f = tg.label(tg.sigmoid(self.W_f @ x + self.U_f @ h + self.b_f), "f")
        candidate = tg.label(tg.tanh(self.W_h @ x + self.U_h @ (f * h) + self.b_h), "h̃")
        return (1.0 - f) * h + f * candidate


def both_ways(T=3):
    """A bidirectional net with a loss at every step."""
    rng = np.random.default_rng(0)
    net = tg.nn.Bidirectional(tg.nn.RNN(2, 3, name="f", rng=rng), tg.nn.RNN(2, 3, name="b", reverse=True, rng=rng))
    hs, _ = net(rng.standard_normal((T, 2)))
    readout = tg.nn.Linear(6, 1, rng=rng)
    losses = [tg.nn.half_squared_error(readout(h), rng.standard_normal(1)) for h in hs]
    return tg.label(sum(losses[1:], losses[0]), "E")


def attending(T=3):
    """A decoder's step that attends to the states of an encoder: c = ᵗH α, α = softmax(H q)."""
    rng = np.random.default_rng(0)
    encoder, decoder, readout = tg.nn.RNN(2, 3, rng=rng), tg.nn.RNNCell(3, 3, name="d", rng=rng), tg.nn.Linear(3, 1)
    hs, _ = encoder(rng.standard_normal((T, 2)))
    H = tg.label(tg.stack(hs), "H")
    α = tg.label(tg.softmax(tg.label(H @ hs[-1], "e")), "α")
    return tg.nn.half_squared_error(readout(decoder(tg.label(α @ H, "c"), hs[-1])), np.ones(1))


def gallery():
    """File name -> diagram."""
    draw = tg.draw
    parameters, hs, loss = unroll("RNN", 4)
    yield "term", draw.backward(loss, highlight=(parameters["U"], 2))
    yield "states", draw.backward(loss, level="states", highlight=(parameters["U"], 2), notation="state")
    yield "between", draw.between(hs[-1], hs[-2])
    yield "rolled", draw.forward(loss, rolled=True)
    _, _, loss = unroll("RNN", 3)
    yield "program", draw.backward(loss)

    _, _, loss = unroll("RNN", 6, nonlinearity="sigmoid")
    yield "vanishing", draw.backward(loss, color_by="gradient")
    _, _, loss = unroll("RNN", 1000)
    yield "long", draw.forward(loss, max_steps=4, notation="state")
    parameters, _, loss = unroll("RNN", 10, many=True)
    yield "terms", draw.terms(loss, parameters["W"])

    _, _, loss = unroll("RNN", 2, many=True, num_layers=2)
    yield "stacked", draw.backward(loss)
    _, _, loss = unroll("LSTM", 2)
    yield "lstm", draw.backward(loss)
    hs, _ = tg.nn.Recurrent(MinimalGatedUnit, 2, 3, rng=0)(np.random.default_rng(0).standard_normal((2, 2)))
    yield "own_cell", draw.backward(tg.label(tg.sum(hs[-1]), "L"))
    yield "both_ways", draw.backward(both_ways(), parameters=False)
    yield "attention", draw.forward(attending())
    parameters, _, loss = unroll("RNN", 3)
    (dU,) = tg.grad(loss, [parameters["U"]], create_graph=True)
    yield "gradient", draw.forward(dU)


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    for name, diagram in gallery():
        print(diagram.save(folder / f"{name}.svg"))
    with tempfile.TemporaryDirectory() as slides:
        moments = tg.draw.backward(unroll("RNN", 3)[2]).frames(slides)
        print(shutil.copy(moments[26], folder / "moment.svg"))  # in which dU(2) is found
