"""A run that can be used: `load_run` reads what `train` has left in a folder; it forecasts, samples and is tested."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_rnn import no_grad
from tinygrad_rnn.checks import instance, positive, whole
from tinygrad_rnn.experiments.data import columns, load, scaled
from tinygrad_rnn.experiments.settings import Settings
from tinygrad_rnn.experiments.training import Epoch, Forecaster
from tinygrad_rnn.files import read_file
from tinygrad_rnn.nn import exchange

CHECKPOINT, CONFIG, METRICS, MODEL = "checkpoint.npz", "config.json", "metrics.csv", "model.npz"


@dataclass(frozen=True)
class TrainedRun:
    """A net that has been trained, and what it was trained with.

    Attributes:
        settings: of the run. net: with the best weights. metrics: the epochs, each with its losses.

    >>> summary = tg.experiments.train(tg.experiments.Settings(hidden=2, epochs=1), "run")
    >>> tg.experiments.load_run("run").predict(steps=3).shape
    (3,)
    """

    settings: Settings
    net: Forecaster
    metrics: list[Epoch]

    @property
    def scaling(self) -> dict[str, tuple[float, float]] | None:
        """Of a series, the mean and the deviation that scale each input and what is forecast, by name."""
        names, pairs = self.settings.columns, map(tuple, self.net.known.value.T.tolist())
        return None if self.settings.is_text else dict(zip(names, pairs, strict=True))

    @property
    def vocabulary(self) -> str | None:
        """Of a text, its characters."""
        return "".join(map(chr, self.net.known.value.astype(int))) if self.settings.is_text else None

    def predict(self, series: Any = None, steps: int = 1) -> Any:
        """Forecast the values that come after the end of a series, in its own units.

        Beyond the horizon, forecasts are made from those before them, which only a series that is its own input has.

        Args:
            series: the inputs: an array (N,) or (N, D), a table of pandas, pyarrow or a dict, or the path of a file;
                the data of the run if not given.

        Returns:
            The forecasts, (steps,); where the settings name `lengths`, a dict of them by the id of each sequence.

        Raises:
            OSError, ValueError: the series cannot be read, or has no such columns; or there are more steps than the
                horizon for a net with other inputs; or the run is of a text.
        """
        settings, names = self.settings, self.settings.sources
        whole("predict", "steps", steps, 1)
        if settings.is_text:
            raise ValueError("predict: the run is of a text; see sample")
        if steps > settings.horizon and names != [settings.column]:
            told = f"the run forecasts {settings.horizon} from {', '.join(map(str, names))}, not known any further"
            raise ValueError(f"predict(steps={steps}): {told}: train with horizon={steps}")
        values, ids = columns(settings, names, series)
        if not values.size:
            raise ValueError("predict(series): there are no values to forecast from")
        rows = scaled(values, self.net.known.value[:, :-1]).T.astype(settings.dtype)
        if ids is None:
            return self._continued(rows, steps)
        return {name: self._continued(rows[ids == name], steps) for name in dict.fromkeys(ids.tolist())}

    def _continued(self, rows: np.ndarray, steps: int) -> np.ndarray:
        """The forecasts after some rows, scaled, (N, D)."""
        found: list[float] = []
        mean, deviation = self.net.known.value[:, -1]
        with no_grad():
            while len(found) < steps:
                ys, _ = self.net(rows[-self.settings.window :, None])
                found.extend(ys.value[-1, 0].tolist())
                if len(found) < steps:
                    rows = np.concatenate([rows, ys.value[-1].T])
        return np.array(found[:steps]) * deviation + mean

    def sample(self, text: str, n: int = 1000, temperature: float = 1.0, rng: Any = None) -> str:
        """Characters that follow a text, drawn one by one from the net's probabilities.

        Args:
            n: how many. temperature: the logits are divided by it: below 1, what is likely becomes likelier.
            rng: a `numpy.random.Generator`, or a seed for one.

        Raises:
            ValueError: the run is of a series; the text is empty, or has a character that the net does not know.
        """
        whole("sample", "n", n, 0)
        positive("sample", "temperature", temperature)
        if self.vocabulary is None:
            raise ValueError("sample: the run is of a series; see predict")
        if not instance("sample(text)", text, str, "a text") or {*text} - {*self.vocabulary}:
            raise ValueError(f"sample(text={text!r:.50}): characters of {self.vocabulary!r} are needed")
        rng, drawn, state = np.random.default_rng(rng), [], None
        one_hot = np.eye(len(self.vocabulary), dtype=self.settings.dtype)
        xs = one_hot[[self.vocabulary.index(c) for c in text]]
        with no_grad():
            for _ in range(n):
                zs, state = self.net(xs, state)
                z = zs.value[-1].astype(np.float64) / temperature
                p = np.cumsum(np.exp(z - np.max(z)))
                drawn.append(int(np.searchsorted(p, rng.random() * p[-1])))
                xs = one_hot[drawn[-1:]]
        return "".join(self.vocabulary[k] for k in drawn)

    def evaluate(self, data: Any) -> float:
        """The error of the forecasts of other data, in the unit of the run: mean squared error, or bits per character.

        Args:
            data: a text, of a run that is of one; else the inputs and what is forecast, as `predict` takes them. Every
                value is forecast that has a window before it, or of several sequences anything.

        Raises:
            OSError, ValueError: the data cannot be read, do not have the columns, or are too few.
        """
        found = load(self.settings, data, self.net.known.value)
        return float(np.mean(self.net.evaluate(found, found.first, len(found.sequence))[0])) * found.scale


def load_run(folder: str | os.PathLike) -> TrainedRun:
    """The run in a folder, from its config.json, model.npz and checkpoint.npz; nothing in them can run code.

    Raises:
        OSError: a file cannot be read. ValueError: there is no run in the folder, or it is broken.

    >>> summary = tg.experiments.train(tg.experiments.Settings(hidden=2, epochs=1), "run")
    >>> tg.experiments.load_run("run").settings.hidden
    2
    """
    folder = Path(folder)
    settings = read_settings(folder)
    try:
        alphabet = exchange.read_arrays(folder / MODEL, None, {"known"}).get("known", np.zeros(1))
        width = alphabet.size if settings.is_text else settings.horizon
        net = Forecaster(settings, width, np.random.default_rng(0))
        exchange.load(folder / MODEL, net)
        epochs = as_epochs(exchange.read_arrays(folder / CHECKPOINT, None, {"epochs"}).get("epochs", np.zeros((0, 0))))
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"cannot use the run in {folder}: {error}") from error
    return TrainedRun(settings, net, epochs)


def as_epochs(numbers: np.ndarray) -> list[Epoch]:
    """The epochs of a checkpoint, each a row of numbers."""
    return [Epoch(int(epoch), *others) for epoch, *others in numbers.tolist()]


def read_settings(folder: Path) -> Settings:
    """The settings of the run in a folder.

    Raises:
        OSError: a file cannot be read. ValueError: there is no run in the folder, or its settings are broken.
    """
    path = folder / CONFIG
    if not path.exists() or not (folder / CHECKPOINT).exists():
        raise ValueError(f"there is no run in {folder}, with its {CONFIG} and {CHECKPOINT}")
    try:
        return Settings.of(json.loads(read_file(path)))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} holds no settings of a run ({error})") from error
