"""The figures of a finished run, and a sample of a text."""

import json
from pathlib import Path

import numpy as np

from tinygrad_rnn.context import no_grad
from tinygrad_rnn.experiments import plots
from tinygrad_rnn.experiments.data import Series, Text
from tinygrad_rnn.experiments.settings import Settings
from tinygrad_rnn.experiments.training import Epoch, Training
from tinygrad_rnn.files import write_file
from tinygrad_rnn.nn.module import Module

SHOWN = {"series": 300, "text": 80}  # values at the end of what is held out; more would be no figure to read
SAMPLE = 1000  # characters


def write_results(out: Path, training: Training) -> None:
    """Write summary.json, loss.svg, prediction.svg and their numbers as CSV, and sample.txt of a text."""
    data, settings, (losses, outputs) = training.data, training.settings, training.evaluate()
    write_file(out / "summary.json", (json.dumps(training.summary().as_dict(), indent=2) + "\n").encode())
    _loss(out, data, settings, training.epochs)
    if settings.is_text:
        write_file(out / "sample.txt", sample_text(training.net, data, settings, SAMPLE).encode())
        _text(out, data, settings, losses)
    else:
        _series(out, data, settings, outputs)


def sample_text(net: Module, data: Text, settings: Settings, length: int) -> str:
    """Characters drawn one by one from the net's probabilities, after the window before the held-out part."""
    rng = np.random.default_rng(settings.seed)
    drawn, state = [], None
    xs = data.vectors(np.arange(data.first - settings.window, data.first))
    with no_grad():
        for _ in range(length):
            zs, state = net(xs, state)
            z = zs.value[-1].astype(np.float64)
            p = np.cumsum(np.exp(z - np.max(z)))
            drawn.append(int(np.searchsorted(p, rng.random() * p[-1])))
            xs = (np.arange(data.width) == drawn[-1]).astype(zs.dtype)[None]
    return "".join(data.alphabet[k] for k in drawn)


def _loss(out: Path, data: Series | Text, settings: Settings, epochs: list[Epoch]) -> None:
    losses = {"training": [e.training_loss for e in epochs], "held out": [e.held_out_loss for e in epochs]}
    lines = {label: np.multiply(values, data.scale) for label, values in losses.items()}
    title, x = f"{Path(settings.data).name}, {settings.cell}", ("epoch", [e.epoch for e in epochs])
    plots.curves(out / "loss.svg", title, x, data.unit, lines, log=not settings.is_text)


def _series(out: Path, data: Series, settings: Settings, outputs: np.ndarray) -> None:
    shown = outputs[-SHOWN["series"] :]
    places = np.arange(len(data.sequence) - len(shown), len(data.sequence))
    lines = {"truth": data.sequence[places], "forecast": data.in_units(shown)}
    title = f"Each {data.axis} from the {settings.window} before it, {settings.cell}"
    plots.curves(out / "prediction.svg", title, (data.axis, data.origin + places), data.name, lines)


def _text(out: Path, data: Text, settings: Settings, losses: np.ndarray) -> None:
    bits, mean = losses[-SHOWN["text"] :] * data.scale, "mean of all that is held out"
    places = range(len(data.sequence) - len(bits), len(data.sequence))
    characters = [data.alphabet[data.sequence[place]] for place in places]
    characters = [c if "!" <= c <= "~" else "·" for c in characters]  # a font may lack others; spaces are seen
    lines = {"this character": bits, mean: np.full(len(bits), np.mean(losses) * data.scale)}
    title = f"How much each character of a held-out passage surprises, {settings.cell}"
    x = ("character of the text (·: a space, or none of ASCII)", places)
    plots.curves(out / "prediction.svg", title, x, "bits", lines, dashed=[mean], ticks=characters)
