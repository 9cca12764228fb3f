"""The data that are learnt from: a series of numbers or a text of characters, the last part of which is held out.

Both are a sequence of N values and give at any place the vector that a net takes and is to forecast: a number, scaled,
(1,), or a character as one of K, (K,). What scales a series, and what the baselines count, is the training part alone;
which characters there are is known of the whole text.
"""

import zlib
from collections import Counter
from itertools import pairwise

import numpy as np

from tinygrad_rnn import datasets, log_softmax, nn
from tinygrad_rnn.experiments.settings import Settings
from tinygrad_rnn.files import read_file

AUTOREGRESSION = 9  # order of the linear baseline
SMOOTHING = 0.1  # added to the count of every pair of characters, so that none has probability 0


class Series:
    """A series of numbers; the last fifth is held out.

    Attributes:
        sequence: (N,) numbers in their own units. first: the index of the first that is held out.
        fingerprint: CRC-32 of the values, which tells whether the data have changed.
        width: 1. unit: of the errors that are reported. scale: error = scale · loss; σ² of the training part.
        name, axis, origin: what the values are, what they are over, and where that begins.
    """

    width, unit = 1, "mean squared error"
    loss = staticmethod(nn.squared_error)

    def __init__(self, sequence: np.ndarray, name: str, axis: str, origin: int, dtype: str, window: int):
        self.sequence, self.name, self.axis, self.origin = sequence, name, axis, origin
        self.first = _first(len(sequence), 0.8, window, "values")
        self._mean, deviation = datasets.mean_and_deviation(sequence[: self.first], "the training part")
        with np.errstate(over="ignore", invalid="ignore"):
            self._scaled, self.scale = ((sequence - self._mean) / deviation).astype(dtype), deviation**2
            squared = np.square(self._scaled)
        if not np.all(np.isfinite(squared)):
            raise ValueError("the held-out part holds values too large to scale")
        self.fingerprint = zlib.crc32(sequence.tobytes())

    def vectors(self, places: np.ndarray) -> np.ndarray:
        """The values at these indices, scaled: (..., 1)."""
        return self._scaled[places][..., None]

    def losses(self, outputs: np.ndarray, places: np.ndarray) -> np.ndarray:
        """The squared error of each of the outputs (B, 1) as a forecast of the values at these indices."""
        return np.square(outputs[:, 0] - self._scaled[places])

    def in_units(self, outputs: np.ndarray) -> np.ndarray:
        """Outputs of the net as forecasts in the series' own units."""
        return outputs * np.sqrt(self.scale) + self._mean

    def baselines(self) -> dict[str, float]:
        """The mean squared error, on what is held out, of the last value and of a linear autoregression.

        The autoregression is fitted to the training part by least squares; it is left out if that is too short.
        """
        a, first, order = self.sequence, self.first, AUTOREGRESSION
        found = {"last value": float(np.mean(np.square(a[first:] - a[first - 1 : -1])))}
        if first >= 2 * order + 1:
            lags = np.lib.stride_tricks.sliding_window_view(a[:-1], order)
            rows = np.column_stack([lags, np.ones(len(lags))])
            weights = np.linalg.lstsq(rows[: first - order], a[order:first], rcond=None)[0]
            errors = a[first:] - rows[first - order :] @ weights
            found[f"linear autoregression, order {order}"] = float(np.mean(np.square(errors)))
        return found


class Text:
    """A text by characters; the last tenth is held out.

    Attributes:
        alphabet: the K characters of the whole text, sorted. sequence: (N,) their numbers.
        first: the index of the first that is held out. width: K.
        unit: of the errors that are reported. scale: error = scale · loss; 1 / ln 2. fingerprint: as for a series.
    """

    unit, scale = "bits per character", 1.0 / float(np.log(2.0))
    loss = staticmethod(nn.cross_entropy)

    def __init__(self, text: str, dtype: str, window: int):
        codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        alphabet, self.sequence = np.unique(codes, return_inverse=True)
        self.alphabet = [chr(code) for code in alphabet]
        self.first, self.width = _first(len(codes), 0.9, window, "characters"), len(alphabet)
        if self.width < 2:
            raise ValueError("the text is one character again and again; there is nothing to learn")
        self._dtype = dtype
        self.fingerprint = zlib.crc32(codes.tobytes())

    def vectors(self, places: np.ndarray) -> np.ndarray:
        """The characters at these indices, each as a 1 among zeros: (..., K)."""
        return (self.sequence[places][..., None] == np.arange(self.width)).astype(self._dtype)

    def losses(self, outputs: np.ndarray, places: np.ndarray) -> np.ndarray:
        """-log of the probability that each of the logits (B, K) gives to the character at these indices."""
        log_p = log_softmax(outputs).value
        return -log_p[np.arange(len(places)), self.sequence[places]]

    def baselines(self) -> dict[str, float]:
        """Bits per character, on what is held out, of the frequencies of characters and of pairs of them."""
        a, first, K = self.sequence, self.first, self.width
        counts = np.bincount(a[:first], minlength=K) + SMOOTHING
        unigram = -np.log2(counts[a[first:]] / counts.sum())
        pairs = Counter(pairwise(a[:first].tolist()))
        found = np.array([pairs[pair] for pair in pairwise(a[first - 1 :].tolist())]) + SMOOTHING
        before = np.bincount(a[: first - 1], minlength=K) + SMOOTHING * K
        bigram = -np.log2(found / before[a[first - 1 : -1]])
        return {"unigram": float(unigram.mean()), "bigram": float(bigram.mean())}


def load(settings: Settings) -> Series | Text:
    """The data of a run.

    Raises:
        OSError: the file cannot be read. ValueError: it is no such file, or too short for the window; or constant.
    """
    name, window = settings.data, settings.window
    if settings.is_text:
        return Text(_text(name), settings.dtype, window)
    axes = {"sunspots": ("sunspot number", "year", 1700), "sine": ("sine", "step", 0)}
    if name not in axes and not settings.is_file:
        raise ValueError(f"data={name!r}: sunspots, sine, topics, or a file whose name ends in .csv or .txt is needed")
    axis = axes.get(name, (settings.column or "value", "row", 1))
    return Series(datasets.series(name, settings.column), *axis, settings.dtype, window)


def _text(name: str) -> str:
    if name == "topics":
        from pydoc_data.topics import topics

        return "".join(topics.values())
    try:
        text = read_file(name).decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: not a text in UTF-8 ({error})") from error
    if not text:
        raise ValueError(f"{name}: the file is empty")
    return text


def _first(count: int, share: float, window: int, what: str) -> int:
    """The index at which the held-out part begins; data too short for a window and a value after it are refused."""
    first = int(share * count)
    if first < window + 1:
        needed = f"window={window} needs {window + 1} {what} to learn from"
        raise ValueError(f"{needed}; there are {count}, {first} of them not held out")
    return first
