"""Draws the figures of the README's gallery: `python examples/gallery.py [FOLDER]`, by default beside this file."""

import sys
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
    parameters, _, loss = unroll("RNN", 3)
    (dU,) = tg.grad(loss, [parameters["U"]], create_graph=True)
    yield "gradient", draw.forward(dU)


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "figures"
    for name, diagram in gallery():
        print(diagram.save(folder / f"{name}.svg"))
