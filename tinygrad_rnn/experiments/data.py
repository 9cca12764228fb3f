"""The data that are learnt from: a series of numbers or a text of characters, the last part of which is held out.

Both are rows, one for each step, and give at any row the vector that a net takes and that which it is to forecast:
numbers, scaled, or a character as one of K. What scales a series, and what the baselines count, is the training part
alone; which characters there are is known of the whole text.
"""

import os
import zlib
from collections import Counter
from importlib import import_module
from itertools import pairwise
from typing import Any

import numpy as np

from tinygrad_rnn import datasets, nn
from tinygrad_rnn.checks import instance
from tinygrad_rnn.experiments.settings import Settings

AUTOREGRESSION = 9  # order of the linear baseline
SMOOTHING = 0.1  # added to the count of every pair of characters, so that none has probability 0
SERIES = {"sunspots": ("sunspot number", "year", 1700), "sine": ("sine", "step", 0)}


class Dataset:
    """The rows of one sequence, or of several one behind the other, split into parts to learn from and to test on.

    Of several sequences each is in one part as a whole.

    Attributes:
        sequence: (N,) what is forecast, `horizon` of them at once. window: the most rows that a forecast is made from.
        starts, ends: for each row the first of its sequence, and the first behind it, (N,).
        training, validation, held_out: the rows of each part; there may be none to validate on.
    """

    noun = "values"

    def __init__(self, settings: Settings, sequence: np.ndarray, share: float | None, ids: np.ndarray | None = None):
        self.sequence, self.window, self.horizon = sequence, settings.window, settings.horizon
        self.starts = np.zeros(len(sequence), int) if ids is None else datasets.sequence_starts(ids)
        firsts = np.unique(self.starts)
        self.ends = np.append(firsts[1:], len(sequence))[np.searchsorted(firsts, self.starts)]
        least = 1 if self.starts.any() else self.window
        first = least if share is None else self._end(len(sequence), share)
        learnt = first if share is None else self._end(first, 1.0 - (settings.validation or 0.0))
        self.training, self.validation, self.held_out = range(learnt), range(learnt, first), range(first, len(sequence))
        if share is not None and learnt < least + self.horizon:
            needed = f"window={self.window} needs {least + self.horizon} {self.noun} to learn from"
            raise ValueError(f"{needed}; there are {len(sequence)}, {learnt} of them not held out")
        if not all(len(self.origins(part)) for part in (self.validation or self.held_out, self.held_out)):
            raise ValueError(f"{len(sequence)} {self.noun} are too few to test a horizon={self.horizon} on")

    def _end(self, end: int, share: float) -> int:
        """The row at which a share of those before `end` ends."""
        starts = np.append(np.unique(self.starts[:end]), end)
        return int(share * end) if len(starts) < 3 else int(starts[int(share * (len(starts) - 1))])

    def windows(self) -> np.ndarray:
        """The first row of every window to learn from: of a sequence that is shorter, the row that it begins with."""
        rows = np.array(self.training)[: -self.horizon]
        is_whole = rows + self.window + self.horizon <= np.minimum(self.ends[rows], len(self.training))
        return rows[is_whole | (self.starts[rows + self.horizon] == rows)]

    def inside(self, rows: np.ndarray) -> np.ndarray | None:
        """For the rows of windows, (T, B), 1 where what is forecast is of their sequence, else 0; None of one."""
        found = rows + self.horizon < np.minimum(self.ends[rows[0]], len(self.training))
        return found[..., None].astype(np.float32) if self.starts.any() else None

    def origins(self, part: range) -> np.ndarray:
        """The rows of a part at which a forecast begins that ends in it: all of a sequence that has begun before."""
        rows = np.arange(part.start, part.stop - self.horizon + 1)
        return rows[(rows + self.horizon <= self.ends[rows]) & (self.starts[rows] < rows)]


class Series(Dataset):
    """A series of numbers; the last fifth is held out, or all of it if it is not to be learnt from.

    Args:
        values: the inputs and then the series, (D + 1, N). known: what another series was scaled by.

    Attributes:
        name: what it is; axis: what it is over; origin: where that begins.
        sequence: (N,) numbers in their own units. width: the length of a forecast, the horizon.
        known: the mean and the deviation of each input, and then of the series, in what is learnt from, (2, D + 1).
        fingerprint: CRC-32 of the values, which tells whether the data have changed.
        unit: of the errors that are reported. scale: error = scale · loss; σ² of the series.
    """

    unit = "mean squared error"
    loss = staticmethod(nn.squared_error)

    def __init__(self, settings: Settings, values: np.ndarray, ids: Any = None, known: np.ndarray | None = None):
        super().__init__(settings, values[-1], 0.8 if known is None else None, ids)
        self.name, self.axis, self.origin = SERIES.get(settings.data, (settings.column or "value", "row", 1))
        self.width = self.horizon
        seen = values[-1:] if settings.inputs is None and ids is None else np.array([*values, self.starts])
        self.fingerprint = zlib.crc32(seen.tobytes())
        if known is None:
            names = [f"{name or self.name}: the training part" for name in settings.columns]
            known = np.array([*map(datasets.mean_and_deviation, values[:, : len(self.training)], names)]).T
        self.known, self.scale = known, float(known[1, -1]) ** 2
        with np.errstate(over="ignore", invalid="ignore"):
            numbers = scaled(values, known).astype(settings.dtype)
            if not np.all(np.isfinite(np.square(numbers))):
                raise ValueError("the held-out part holds values too large to scale")
        self._vectors, self._targets = np.ascontiguousarray(numbers[:-1].T), numbers[-1]

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """The inputs of these rows, scaled: (..., D)."""
        return self._vectors[rows]

    def targets(self, rows: np.ndarray) -> np.ndarray:
        """The values after these rows, scaled, as far as there are any: (..., horizon)."""
        after = rows[..., None] + np.arange(1, self.horizon + 1)
        return self._targets[np.minimum(after, len(self.sequence) - 1)]

    def baselines(self) -> dict[str, float]:
        """The mean squared error, on what is held out, of the last value and of a linear autoregression.

        The autoregression is fitted by least squares to what is not held out; it is left out if that is too short, or
        several sequences.
        """
        a, first, order, ahead = self.sequence, self.held_out.start, AUTOREGRESSION, self.horizon
        rows = self.origins(self.held_out)
        truth = np.lib.stride_tricks.sliding_window_view(a, ahead)
        found = {"last value": float(np.mean(np.square(truth[rows] - a[rows - 1, None])))}
        if first >= 2 * order + ahead and not self.starts.any():
            lags = np.lib.stride_tricks.sliding_window_view(a[:-ahead], order)
            lags = np.column_stack([lags, np.ones(len(lags))])
            split = first - order
            weights = np.linalg.lstsq(lags[: split - ahead + 1], truth[order : first - ahead + 1], rcond=None)[0]
            errors = truth[first:] - lags[split:] @ weights
            found[f"linear autoregression, order {order}"] = float(np.mean(np.square(errors)))
        return found


def scaled(values: np.ndarray, scaling: np.ndarray) -> np.ndarray:
    """The rows of an array (C, N), each by its mean and its deviation."""
    mean, deviation = scaling[..., None]
    return (values - mean) / deviation


class Text(Dataset):
    """A text by characters; the last tenth is held out, or all of it if it is not to be learnt from.

    Attributes:
        alphabet: the K characters of the whole text, sorted; known: their codes; width: K. sequence: (N,) their places.
        unit: of the errors that are reported. scale: error = scale · loss; 1 / ln 2. fingerprint: as for a series.
    """

    noun, unit, scale = "characters", "bits per character", 1.0 / float(np.log(2.0))
    loss = staticmethod(nn.cross_entropy)

    def __init__(self, settings: Settings, text: str, known: np.ndarray | None = None):
        codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        characters = np.unique(codes) if known is None else known.astype(np.uint32)
        if len(unknown := np.setdiff1d(codes, characters)):
            raise ValueError(f"the text has {chr(unknown[0])!r}, which is not in the text that was learnt from")
        super().__init__(settings, np.searchsorted(characters, codes), 0.9 if known is None else None)
        self.known, self.alphabet = characters.astype(float), [chr(code) for code in characters]
        self.width, self._dtype, self.fingerprint = len(characters), settings.dtype, zlib.crc32(codes.tobytes())
        if self.width < 2:
            raise ValueError("the text is one character again and again; there is nothing to learn")

    def windows(self) -> np.ndarray:
        """The first row of every window to learn from, one behind the other."""
        return super().windows()[:: self.window]

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """The characters at these rows, each as a 1 among zeros: (..., K)."""
        return (self.sequence[rows][..., None] == np.arange(self.width)).astype(self._dtype)

    def targets(self, rows: np.ndarray) -> np.ndarray:
        """The characters after these rows, likewise."""
        return self.vectors(rows + 1)

    def baselines(self) -> dict[str, float]:
        """Bits per character, on what is held out, of the frequencies of characters and of pairs of them."""
        a, first, K = self.sequence, self.held_out.start, self.width
        counts = np.bincount(a[:first], minlength=K) + SMOOTHING
        unigram = -np.log2(counts[a[first:]] / counts.sum())
        pairs = Counter(pairwise(a[:first].tolist()))
        found = np.array([pairs[pair] for pair in pairwise(a[first - 1 :].tolist())]) + SMOOTHING
        before = np.bincount(a[: first - 1], minlength=K) + SMOOTHING * K
        bigram = -np.log2(found / before[a[first - 1 : -1]])
        return {"unigram": float(unigram.mean()), "bigram": float(bigram.mean())}


def load(settings: Settings, source: Any = None, known: np.ndarray | None = None) -> Series | Text:
    """The data of a run, or from another source.

    Args:
        source: a text, or the path of one; or what `read_table` takes. known: the scaling, or the codes of the
            alphabet, that a net was trained with; all of the data are to test it on.

    Raises:
        OSError: the file cannot be read. ValueError: it is no such file, or too short for the window; or constant.
        TypeError: no text is given to a net of characters.
    """
    if not settings.is_text:
        return Series(settings, *columns(settings, settings.columns, source), known)
    text = settings.data if source is None else instance("evaluate(data)", source, (str, os.PathLike), "a text")
    if text == "topics":
        text = "".join(import_module("pydoc_data.topics").topics.values())
    elif source is None or isinstance(text, os.PathLike) or os.path.isfile(text):
        name, text = text, datasets.read_text(text, settings.encoding).replace("\r\n", "\n").replace("\r", "\n")
        if not text:
            raise ValueError(f"{name}: the file is empty")
    return Text(settings, text, known)


def columns(settings: Settings, names: list[str | None], source: Any = None) -> tuple[np.ndarray, np.ndarray | None]:
    """Columns of the data of a run, or of what `read_table` takes, (C, N), and the ids of the rows, (N,), if any."""
    name, how = settings.data, (settings.lengths, settings.missing, settings.encoding, settings.decimal)
    if source is None and not settings.is_file and name not in datasets.MADE:
        made = "the table itself" if name == "table" else "sunspots, sine, topics"
        raise ValueError(f"data={name!r}: {made}, or a file whose name ends in .csv or .txt is needed")
    different = list(dict.fromkeys(names))
    values, ids = datasets.read_table(name if source is None else source, different, *how)
    return values[[different.index(name) for name in names]], ids
