"""Series to forecast: a real one that ships with the package, a made one, and any column of a CSV file.

`data/sunspots.csv`: yearly sunspot numbers, 1700 to 2008; public domain, National Geophysical Data Center.
"""

import csv
import io
import math
import os
from importlib.resources import files

import numpy as np

from tinygrad_rnn.files import read_file
from tinygrad_rnn.tables import counted

SHOWN = 200  # characters of a file in an error


def sunspots() -> np.ndarray:
    """The yearly sunspot number, 1700 to 2008: 309 values, with a cycle of about 11 years."""
    with (files("tinygrad_rnn") / "data" / "sunspots.csv").open() as file:
        return np.loadtxt(file, delimiter=",", skiprows=1, usecols=1)


def sine(points: int = 100, periods: float = 2.0) -> np.ndarray:
    """A sine over a number of periods."""
    return np.sin(2.0 * np.pi * periods * np.arange(points) / points)


def series(name: str, column: str | None = None) -> np.ndarray:
    """The series of a name, sunspots or sine, or else a column of a CSV file.

    Raises:
        OSError, ValueError: as `read_column`; or a column of what is no file.
    """
    made = {"sunspots": sunspots, "sine": sine}.get(name)
    if made is None:
        return read_column(name, column)
    if column is not None:
        raise ValueError(f"column={column!r} is of a CSV file; {name} is none")
    return made()


def adding_problem(rng: np.random.Generator, steps: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Sequences of the adding problem, as in Le et al. 2015: xs (T, B, 2), and targets (B, 1).

    Each step brings a number from 0 to 1 and a mark, which is 1 at a step in either half and else 0; the target is the
    sum of the two marked numbers. Who always answers 1 has a mean squared error of 1/6. (One step is marked once.)
    """
    numbers, marks, each = rng.uniform(0.0, 1.0, (steps, batch)), np.zeros((steps, batch)), np.arange(batch)
    marks[rng.integers(0, max(steps // 2, 1), batch), each] = 1.0
    marks[rng.integers(steps // 2, steps, batch), each] = 1.0
    return np.stack([numbers, marks], axis=-1), np.sum(numbers * marks, axis=0)[:, None]


def read_column(path: str | os.PathLike, column: str | None = None) -> np.ndarray:
    """One column of a CSV file with a header line, as numbers; of the only column if none is named.

    Columns are separated by commas, semicolons or tabs: whichever the header line has most of.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no CSV file in UTF-8, there is no such column or more than one, or a value in it is no finite
            number; names the line.
    """
    path, content = os.fspath(path), read_file(path)
    values = []
    try:
        if b"\0" in content:
            raise csv.Error("it holds null characters")
        lines = io.StringIO(content.decode("utf-8-sig").rstrip("\r\n"), newline="")
        reader = csv.reader(lines, delimiter=max(",;\t", key=lines.readline().count))
        lines.seek(0)
        header = [name.strip() for name in next(filter(None, reader), [])]
        index = _index(path, header, column)
        for row in reader:
            if row or len(header) == 1:  # an empty line is no row, but a gap in an only column
                entry = row[index] if index < len(row) else ""
                if not math.isfinite(number := _number(entry)):
                    where, held = f"{path}, line {reader.line_num}: column {header[index]!r}", repr(entry)[:SHOWN]
                    raise ValueError(f"{where} holds {held}, which is no finite number")
                values.append(number)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a CSV file in UTF-8 ({error})") from error
    return np.array(values)


def _index(path: str, header: list, column: str | None) -> int:
    """The index of a column, the only one if none is named."""
    if not header:
        raise ValueError(f"{path}: the file is empty")
    if column is None and len(header) == 1:
        if not math.isnan(_number(header[0])):
            held = header[0][:SHOWN]
            raise ValueError(f"{path}: the first line is {held!r}; a header line is needed, the name of the column")
        return 0
    if (count := header.count(column)) != 1:
        what = "name a column" if column is None else f"there are {count or 'no'} columns {column!r}"
        known = ", ".join(map(repr, header))
        known = known if len(known) <= SHOWN else f"{known[:SHOWN]}...: {len(header):,} in all"
        raise ValueError(f"{path}: {what}; the columns are {known}")
    return header.index(column)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def window(series: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """The last `steps` + 1 values of a series: xs (steps, 1), and the target (1,), the value after them.

    They are scaled as the whole series would have to be to have mean 0 and standard deviation 1.

    Raises:
        ValueError: the series is shorter than that, constant, or too large to scale.
    """
    if steps < 1 or len(series) < steps + 1:
        needed = f"{counted(steps, 'step')} and the value to forecast need {steps + 1} values"
        raise ValueError(f"{needed}; there are {len(series)}")
    mean, deviation = mean_and_deviation(series)
    last = (series[-steps - 1 :] - mean) / deviation
    return last[:-1, None], last[-1:]


def mean_and_deviation(series: np.ndarray, name: str = "the series") -> tuple[float, float]:
    """The mean of a series and its standard deviation, which scale it; `name` is what an error calls it.

    Raises:
        ValueError: it is constant, or too large to scale.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = float(np.mean(series)), float(np.std(series))
    if not math.isfinite(deviation):
        raise ValueError(f"{name} holds values too large to scale")
    if deviation <= 1e-12 * np.max(np.abs(series)):
        raise ValueError(f"{name} is constant, or too small to scale; there is nothing to learn")
    return mean, deviation
