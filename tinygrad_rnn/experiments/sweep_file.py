"""The TOML file of a sweep over the settings of `train`.

    [train]                                    # what all runs have in common
    data = "sunspots"
    epochs = 20

    [grid]                                     # every combination of these
    cell = ["rnn", "lstm"]
    lr = [0.001, 0.01, 0.1]

or, instead of `[grid]`, so many points drawn at random:

    [sample]
    points = 20
    seed = 0
    uniform.hidden = [8, 64]                   # from, to
    log_uniform.lr = [0.0001, 0.1]
    choice.cell = ["rnn", "lstm"]

"none" is Python's None, as on the command line: no limit. The best of many runs has been chosen by what was held out:
its error is too good by some measure, and settings that are chosen so need data of their own to be judged by.
"""

import contextlib
import os
import sys
import warnings
from collections.abc import Collection, Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from tinygrad_rnn.experiments.data import load
from tinygrad_rnn.experiments.run import CHECKPOINT, FILES, read_manifest, train
from tinygrad_rnn.experiments.runs import combinations, sample
from tinygrad_rnn.experiments.settings import Settings, option_type
from tinygrad_rnn.experiments.sweep import FIGURE, RECORD, RESULTS, identity
from tinygrad_rnn.experiments.training import Summary
from tinygrad_rnn.files import read_file

_SETTINGS = {field.name: field for field in fields(Settings)}
_RANGES = ["uniform", "log_uniform", "choice"]


def read_points(path: str | os.PathLike) -> list[dict[str, Any]]:
    """The settings of each run that a file asks for, all of them valid.

    Raises:
        OSError: the file cannot be read. ValueError: it is not TOML, has an unknown key, or asks for settings that are
        out of range; names the file. ImportError: on Python 3.10, tomli is not installed.
    """
    try:
        return _points(_toml(read_file(path)))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from error


@dataclass(frozen=True)
class TrainPoint:
    """Trains with the settings of a run, in the run's folder in `out`; the path of data is relative to `start`."""

    out: Path
    start: Path

    def __call__(self, **point: Any) -> Summary:
        """Train."""
        with warnings.catch_warnings():  # that there are no figures is told once, by the sweep
            warnings.filterwarnings("ignore", "plots need matplotlib")
            return train(Settings(**point).seen_from(self.start), self.out / identity(point))


def outdated_runs(out: Path, points: Iterable[dict[str, Any]]) -> set[str]:
    """The identities of the runs that are there, and whose data file has changed since.

    Raises:
        OSError: a data file cannot be read. ValueError: it is one of those that the sweep writes.
    """
    now: dict[tuple[str, str | None], int | None] = {}
    outdated = set()
    for point in points:
        settings, name = Settings(**point), identity(point)
        if not settings.is_file:
            continue
        if (key := (settings.data, settings.column)) not in now:
            _refuse_own(out, settings.data)
            now[key] = None
        if (out / name / RECORD).exists() and (out / name / CHECKPOINT).exists():
            if now[key] is None:
                with contextlib.suppress(ValueError):  # what is there now cannot be learnt: its run will say why
                    now[key] = load(settings).fingerprint
            if read_manifest(out / name)[0] != now[key]:
                outdated.add(name)
    return outdated


def _refuse_own(out: Path, data: str) -> None:
    path, results = Path(os.path.realpath(data)), [os.path.realpath(out / name) for name in (RESULTS, FIGURE)]
    in_a_run = path.name in (RECORD, *FILES) and str(path.parent.parent) == os.path.realpath(out)
    if str(path) in results or in_a_run:
        raise ValueError(f"data={data!r} is a file that the sweep would replace: give another folder")


def _toml(content: bytes) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        try:
            import tomli as tomllib
        except ImportError as error:
            raise ImportError('Python 3.10 reads TOML with tomli: pip install "tinygrad-rnn[sweep]"') from error
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line} is not UTF-8") from error


def _points(content: dict[str, Any]) -> list[dict[str, Any]]:
    _refuse_unknown("the file", content, ["train", "grid", "sample"])
    common, grid, ranges = (_table(content, name) for name in ("train", "grid", "sample"))
    if ("grid" in content) == ("sample" in content):
        raise ValueError("what is varied is told by one table, [grid] or [sample]")
    _refuse_unknown("[train]", common, _SETTINGS)
    if "grid" in content:
        _refuse_unknown("[grid]", grid, _SETTINGS)
        points = combinations(grid)
    else:
        _refuse_unknown("[sample]", ranges, ["points", "seed", *_RANGES])
        if "points" not in ranges:
            raise ValueError("[sample] needs points, the number of runs")
        for kind in _RANGES:
            _refuse_unknown(f"[sample.{kind}]", _table(ranges, kind), _SETTINGS)
        for name, values in [*_table(ranges, "uniform").items(), *_table(ranges, "log_uniform").items()]:
            if option_type(_SETTINGS[name])[0] is float and isinstance(values, list):
                values[:] = [float(x) if type(x) is int else x for x in values]  # from 0 to 1 is not 0 or 1
        points = sample(**ranges)
    twice = [name for name in common if name in points[0]]
    if twice:
        raise ValueError(f"{twice[0]} is in [train], and is varied too: leave out one")
    points = [{k: None if v == "none" else v for k, v in {**common, **point}.items()} for point in points]
    whole = [Settings(**point).as_dict() for point in points]  # with a lr of 1 as 1.0
    return [{name: settings[name] for name in point} for point, settings in zip(points, whole, strict=True)]


def _table(content: dict[str, Any], name: str) -> dict[str, Any]:
    table = content.get(name, {})
    if not isinstance(table, dict):
        raise ValueError(f"{name} = {table!r}: a table, [{name}], is needed")
    return table


def _refuse_unknown(where: str, keys: Iterable[str], known: Collection[str]) -> None:
    unknown = [key for key in keys if key not in known]
    if unknown:
        raise ValueError(f"{where} has an unknown key, {unknown[0]}; known: {', '.join(known)}")
