"""Figures: every drawing option is known, and a misspelt one is an error before the script runs."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import tinygrad_rnn as tg

rnn, readout = tg.nn.RNN(1, 2, rng=0), tg.nn.Linear(2, 1, rng=1)
hs, _ = rnn(np.ones((5, 1)))
loss = tg.nn.half_squared_error(readout(hs[-1]), np.ones(1))

figure: tg.draw.Diagram = tg.draw.forward(loss, level="states", max_steps=3, notation="wildml", fit="tight")
other = tg.draw.backward(loss, level="named", values=True, highlight=(rnn.cells[0].U, 2), font_size=11)
between = tg.draw.between(hs[-1], hs[-2], shapes=True)
with TemporaryDirectory() as folder:
    path: Path = figure.save(Path(folder) / "forward.svg")
    tg.draw.page({"RNN": loss}, Path(folder) / "page.html", color_by="gradient", parameters=False)
    print(path.name, len(other.nodes), between.source[:7])

try:
    tg.draw.forward(loss, levle="states")  # type: ignore[call-arg]
except TypeError as error:
    print(error)
