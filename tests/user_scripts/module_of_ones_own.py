"""A model of one's own: a module of modules, saved and loaded."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tinygrad_rnn as tg


class Classifier(tg.nn.Module):
    """A class for each sequence: a GRU, and logits of its last state."""

    def __init__(self, input_size: int, hidden_size: int, classes: int, rng: np.random.Generator) -> None:
        self.rnn = tg.nn.GRU(input_size, hidden_size, rng=rng)
        self.readout = tg.nn.Linear(hidden_size, classes, rng=rng)
        self.scale = tg.nn.Parameter(1.0, name="s")

    def __call__(self, xs: NDArray[Any] | Sequence[tg.Tensor]) -> tg.Tensor:
        hs, _ = self.rnn(xs)
        return self.scale * self.readout(hs[-1])


rng = np.random.default_rng(0)
model = Classifier(2, 3, 4, rng)
xs = rng.standard_normal((5, 2, 2))
loss = tg.nn.cross_entropy(model(xs), np.array([0, 3]), reduction="mean")
loss.backward()

with TemporaryDirectory() as folder:
    tg.save(Path(folder) / "model.npz", model)
    tg.load(Path(folder) / "model.npz", model)
arrays: dict[str, NDArray[Any]] = model.state_dict()
for path, parameter in model.named_parameters():
    print(path, parameter.shape, None if parameter.grad is None else parameter.grad.dtype, arrays[path].size)
with tg.no_grad():
    classes: NDArray[np.int64] = tg.softmax(model(xs)).argmax(axis=-1)
print(classes, model.rnn.cells[0].hidden_size)
