"""Series to forecast: a real one that ships with the package, a made one, and columns of tables.

`data/sunspots.csv`: yearly sunspot numbers, 1700 to 2008; public domain, National Geophysical Data Center.
"""

import csv
import io
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from itertools import chain
from typing import Any

import numpy as np

from tinygrad_rnn.checks import one_of
from tinygrad_rnn.files import read_file
from tinygrad_rnn.tables import counted

SHOWN = 200  # characters of a file in an error
MISSING = {"", "-", ".", "#n/a", "n/a", "na", "nan", "nat", "<na>", "null", "none"}
_COMMENT = re.compile(r"#(?!N/A|[A-Z0/]+[!?])|sep=.?$", re.M)  # but spreadsheets write #N/A and #DIV/0!
_SIGN = r"(?:[$¢-¥฿\u20a0-\u20cf]|AUD|BRL|CAD|CHF|CNY|DKK|EUR|GBP|HKD|INR|JPY|KRW|MXN|NOK|NZD|PLN|SEK|SGD|USD|ZAR)"
_CURRENCY = re.compile(rf"(?<!\d){_SIGN}\s*|\s*{_SIGN}(?!\d)")
_THOUSANDS = r"[1-9]\d{{0,2}}([{}'’ ])\d{{3}}(?:\1\d{{3}})*"
_NUMBERS = {  # by the decimal mark
    mark: re.compile(rf"[+-]?(?=[{mark}]?\d)(?:\d*|{_THOUSANDS.format(other)})(?:[{mark}]\d*)?(?:[Ee][+-]?\d+)?")
    for mark, other in (".,", ",.")
}


def sunspots() -> np.ndarray:
    """The yearly sunspot number, 1700 to 2008: 309 values, with a cycle of about 11 years."""
    with (files("tinygrad_rnn") / "data" / "sunspots.csv").open() as file:
        return np.loadtxt(file, delimiter=",", skiprows=1, usecols=1)


def sine(points: int = 100, periods: float = 2.0) -> np.ndarray:
    """A sine over a number of periods."""
    return np.sin(2.0 * np.pi * periods * np.arange(points) / points)


MADE = {"sunspots": sunspots, "sine": sine}


def adding_problem(rng: np.random.Generator, steps: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Sequences of the adding problem, as in Le et al. 2015: xs (T, B, 2), and targets (B, 1).

    Each step brings a number from 0 to 1 and a mark, which is 1 at a step in either half and else 0; the target is the
    sum of the two marked numbers. Always answering 1 gives a mean squared error of 1/6. (One step is marked once.)
    """
    numbers, marks, each = rng.uniform(0.0, 1.0, (steps, batch)), np.zeros((steps, batch)), np.arange(batch)
    marks[rng.integers(0, max(steps // 2, 1), batch), each] = 1.0
    marks[rng.integers(steps // 2, steps, batch), each] = 1.0
    return np.stack([numbers, marks], axis=-1), np.sum(numbers * marks, axis=0)[:, None]


def read_text(path: str | os.PathLike, encoding: str = "utf-8", what: str = "a text") -> str:
    """The text in a file; the byte order mark of UTF-8 says its encoding, whatever is told.

    Raises:
        OSError: it cannot be read. ValueError: it is none in this encoding.
    """
    content = read_file(path)
    try:
        return content.decode("utf-8" if content.startswith(b"\xef\xbb\xbf") else encoding).removeprefix("\ufeff")
    except (UnicodeError, LookupError) as error:
        told = f"not {what} in {encoding.upper()} ({error}); tell its encoding, as latin-1 or utf-16"
        raise ValueError(f"{os.fspath(path)}: {told}") from error


def read_table(
    source: Any, columns: Sequence[str | None], ids: str | None = None, missing: str = "error",
    encoding: str = "utf-8", decimal: str | None = None,
) -> tuple[np.ndarray, np.ndarray | None]:  # fmt: skip
    """Columns of a table as numbers, as people write them: $1,234.50, 1.234,5 and 1 234,5 € are some.

    A file's columns are separated by commas, semicolons or tabs: whichever its first line has most of, the last two if
    as many; those of a file that is no .csv also by spaces. Lines that begin with # are left out.

    Args:
        source: the path of a file; "sunspots" or "sine"; or a table of pandas or of pyarrow, a dict of columns, or an
            array, (N,) or (N, C).
        columns: the name of each, or its number, 1 for the first; None for the only one. Where a number stands in the
            place of the name of a column, and none is told by its name, a file has no header line.
        ids: a column that says which sequence a row is of.
        missing: what becomes of an entry that is empty or NA: "error"; "drop", its row is left out; "forward", it is
            the one before it in the sequence.
        encoding: of a file. decimal: "." or ","; if not given, the one that all entries of a column can be read with.

    Returns:
        The numbers, (C, N), and the ids, (N,), or None. Rows of one sequence are side by side, in their order.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is none in this encoding, there is no such column or more than one, or a value in it is no finite
            number, or may be one of two; names the line. A row has no id. The first line may be a header or not.
    """
    one_of("read_table", "missing", missing, ("error", "drop", "forward"))
    if isinstance(source, str) and source in MADE:
        return read_table({source: MADE[source]()}, columns, ids)
    of_file = isinstance(source, (str, os.PathLike))
    name, separator, rows = _file(source, encoding) if of_file else _records(source, columns)
    told = [*columns] if ids is None else [*columns, ids]
    kept, broken, place, at = list[list[Any]](), None, name, list[int]()
    try:
        place, first = next(((place, row) for place, row in rows if row), (name, []))
        header = [str(cell).strip() for cell in first]
        at = _indices(name, header, told)
        begins_with_number = any(math.isfinite(_number(header[i], mark)) for i in at for mark in ".,")
        if of_file and begins_with_number and {*told}.isdisjoint(header):  # there is no header line
            counted_up = header == [str(i) for i in range(len(header))] != ["0"]  # as pandas names columns
            are_values = [re.search(r"\d", cell) or cell.casefold() in MISSING - {""} for cell in header]
            if counted_up or not all(are_values):
                raise ValueError(f"{place}: is this a header? Name columns as it does, or write one above it")
            rows = chain([(place, first)], rows)
        for place, row in rows:
            if any(row[len(header) :]):
                raise ValueError(f"{place}: {len(row)} entries, and {counted(len(header), 'column')}")
            if row or len(header) == 1:  # an empty line is no row, but a gap in an only column
                kept.append([place, *(row[i] if i < len(row) else "" for i in at)])
                if ids and str(kept[-1][-1]).strip().casefold() in MISSING:
                    raise ValueError(f"{place}: column {ids!r} holds no id of a sequence")
    except csv.Error as error:  # an entry before it that is no number is told first
        broken = ValueError(f"{place}: what follows is not a CSV file in {encoding.upper()} ({error})")
    places, *cells = np.array(kept, object).reshape(-1, 1 + len(at)).T
    names, marks = [header[i] for i in at[: len(columns)]], decimal or (",." if separator == ";" else ".,")
    found = zip(names, cells, strict=False)
    table = np.array([_numbers(column, places, entries, missing, marks, separator) for column, entries in found])
    if broken:
        raise broken
    sequences = np.array([str(entry).strip() for entry in cells[-1]] if ids else [""] * len(places), str)
    order = np.argsort(sequence_starts(sequences), kind="stable")
    if missing == "drop":
        order = order[~np.isnan(table[:, order]).any(axis=0)]
    table, sequences = table[:, order], sequences[order]
    last = np.where(np.isnan(table), sequence_starts(sequences), np.arange(len(sequences)))
    table = np.take_along_axis(table, np.maximum.accumulate(last, axis=1), axis=1)
    if np.isnan(table).any():
        raise ValueError(f"{name}: missing='forward' has nothing before the missing value that a sequence begins with")
    return table, None if ids is None else sequences


def sequence_starts(ids: np.ndarray) -> np.ndarray:
    """For each row the index of the first with its id, (N,)."""
    _, firsts, which = np.unique(ids, return_index=True, return_inverse=True)
    return firsts[which]


def _file(path: str | os.PathLike, encoding: str) -> tuple[str, str, Iterator[tuple[str, list[str]]]]:
    """The name of a file, what separates its columns, and its rows, the header first, each with its place."""
    text, name = read_text(path, encoding, "a CSV file"), os.fspath(path)
    if "\0" in text:
        raise ValueError(f"{name}: not a CSV file in {encoding.upper()} (it holds null characters)")
    lines = [x for x in enumerate(io.StringIO(text.rstrip("\r\n"), newline=""), 1) if not _COMMENT.match(x[1])]
    first = next((line for _, line in lines if line.strip()), "")
    spaces = not any(mark in first for mark in ",;\t") and not name.lower().endswith(".csv")
    separator = " " if spaces else max(",;\t", key=lambda mark: (first.count(mark), mark in first and mark != ","))
    entries = (line.strip() if spaces else line for _, line in lines)
    reader = csv.reader(entries, delimiter=separator, skipinitialspace=spaces, strict=True)
    return name, separator, ((f"{name}, line {lines[reader.line_num - 1][0]}", row) for row in reader)


def _records(table: Any, columns: Sequence) -> tuple[str, str, Iterator[tuple[str, Sequence]]]:
    """The name, separator and rows of a table of pandas or pyarrow, a dict of columns, or an array of those told."""
    if not isinstance(table, Mapping) and not hasattr(table, "columns"):
        array = np.atleast_2d(np.asanyarray(table).T)
        if len(array) != len(columns):
            raise ValueError(f"a column for each of {', '.join(map(str, columns))} is needed; shape {array.T.shape}")
        table = dict(zip(columns, array, strict=True))
    names, kind = list(getattr(table, "column_names", table)), type(table).__name__
    entries = [np.atleast_1d(table[name]).tolist() for name in names]  # with None for what is masked
    if len(lengths := sorted(set(map(len, entries)))) > 1:
        raise ValueError(f"{kind}: columns of {' and '.join(map(str, lengths))} entries are not a table")
    rows = enumerate(zip(*entries, strict=True), 1)
    return kind, ",", chain([("", names)], ((f"{kind}, row {i}", row) for i, row in rows))


def _indices(name: str, header: list[str], told: Sequence[str | None]) -> list[int]:
    """The index of each column that is told, by its name or else its number; None is the only one."""
    if not header:
        raise ValueError(f"{name}: the file is empty")
    found = []
    for column in told:
        named = [i for i, cell in enumerate(header) if cell == column or (column is None and len(header) == 1)]
        found.append(named or [i for i in range(len(header)) if str(i + 1) == column])
    if wrong := {column: len(at) for column, at in zip(told, found, strict=True) if len(at) != 1}:
        names = {n: ", ".join(repr(column) for column in wrong if wrong[column] == n) for n in sorted(wrong.values())}
        counts = " and ".join(f"{n or 'no'} columns {those}" for n, those in names.items())
        what = "name a column" if None in wrong else f"there are {counts}"
        known = ", ".join(map(repr, header))
        known = known if len(known) <= SHOWN else f"{known[:SHOWN]}...: {len(header):,} in all"
        raise ValueError(f"{name}: {what}; the columns are {known}")
    return [i for (i,) in found]


def _numbers(column: str, places: Any, entries: Any, missing: str, marks: str, separator: str) -> np.ndarray:
    """A column's numbers, nan where one is missing, by the decimal mark that all its entries can be read with.

    Where that may be either, it is the first of the marks. Unless columns are separated by commas, that is clear only
    if each entry has such a mark, as a table with so many decimals has.
    """
    lacking = np.array([str(entry).strip().casefold() in MISSING for entry in entries], bool)
    gaps = lacking & (missing != "error")
    readings = {mark: np.array([_number(entry, mark) for entry in entries]) for mark in marks}
    order = sorted(marks, key=lambda mark: np.isnan(readings[mark]).sum())
    best, last = readings[order[0]], readings[order[-1]]
    wrong, why = np.isnan(best) & ~gaps, f"which is no finite number with decimal={order[0]!r}"
    either = not wrong.any() and np.array_equal(np.isnan(last), gaps)
    if either and separator != "," and not np.all(np.abs(best) < np.abs(last), where=~gaps):
        wrong, why = (best != last) & ~gaps, "whose mark may be the decimal one or not: tell decimal='.' or ','"
    if wrong.any():
        i = int(np.argmax(wrong))
        remedy = "; see missing='drop' and 'forward'" if lacking[i] else ""
        raise ValueError(f"{places[i]}: column {column!r} holds {repr(str(entries[i]))[:SHOWN]}, {why}{remedy}")
    return best


def _number(entry: Any, mark: str) -> float:
    """The number that an entry is, a text by this decimal mark, with a currency or not; nan if it is no finite one."""
    mark = mark if isinstance(entry, str) else "."
    text = " ".join(_CURRENCY.sub("", str(entry).replace("−", "-")).split())  # of spaces there are many kinds
    found = _NUMBERS[mark].fullmatch(text)
    number = float(text.replace(found[1] or "", "").replace(mark, ".")) if found else math.nan
    return number if math.isfinite(number) else math.nan


def window(series: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """The last `steps` + 1 values of a series: xs (steps, 1), and the target (1,), the value after them.

    They are scaled as the whole series would have to be to have mean 0 and standard deviation 1.

    Raises:
        ValueError: the series is shorter than that, constant, or too large to scale.
    """
    if steps < 1 or len(series) < steps + 1:
        raise ValueError(f"{counted(steps, 'step')} and a target need {steps + 1} values; there are {len(series)}")
    mean, deviation = mean_and_deviation(series)
    last = (series[-steps - 1 :] - mean) / deviation
    return last[:-1, None], last[-1:]


@np.errstate(over="ignore", invalid="ignore")
def mean_and_deviation(series: np.ndarray, name: str = "the series") -> tuple[float, float]:
    """The mean of a series and its standard deviation, which scale it; `name` is what an error calls it.

    Raises:
        ValueError: it is constant, or too large to scale.
    """
    mean, deviation = float(np.mean(series)), float(np.std(series))
    if not math.isfinite(deviation):
        raise ValueError(f"{name} holds values too large to scale")
    if deviation <= 1e-12 * np.max(np.abs(series)):
        raise ValueError(f"{name} is constant, or too small to scale; there is nothing to learn")
    return mean, deviation
