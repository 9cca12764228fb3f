"""A sweep runs one function over a grid of parameters, or a random sample of them, and keeps what each run gives."""

import contextlib
import hashlib
import json
import math
import multiprocessing
import os
import signal
import sys
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, fields, is_dataclass
from importlib import import_module
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from tinygrad_rnn import checks
from tinygrad_rnn.experiments import plots
from tinygrad_rnn.experiments.run import Summary, train
from tinygrad_rnn.experiments.settings import Settings
from tinygrad_rnn.files import claimed, read_file, write_json

RANGES = ("uniform", "log_uniform", "choice")
RECORD, TABLE, FIGURE = "run.json", "results.csv", "results.svg"
MARKS = {TABLE: ["error,seconds"], FIGURE: [plots.MARK]}
_THREADS = [f"{library}_THREADS" for library in ("OMP_NUM", "OPENBLAS_NUM", "MKL_NUM", "BLIS_NUM", "VECLIB_MAXIMUM")]


@dataclass(frozen=True)
class Run:
    """One run of a sweep.

    Attributes:
        parameters: what the function was called with. result: what it returned, as JSON holds it; None if it failed.
        error: what it raised, in one line, or None. seconds: how long it took; None if its process died.

    >>> tg.experiments.Run({"lr": 0.1}, result={"loss": 3.5}).numbers()
    {'loss': 3.5}
    """

    parameters: dict[str, Any]
    result: Any = None
    error: str | None = None
    seconds: float | None = None

    def numbers(self) -> dict[str, float]:
        """The numbers of the result by name: of a dict or dataclass its numeric fields, of a number itself."""
        named = self.result if isinstance(self.result, dict) else {"result": self.result}
        return {name: value for name, value in named.items() if isinstance(value, (int, float))}


def sweep(
    function: Callable[..., Any], grid: Mapping[str, Iterable[Any]] | Iterable[Mapping[str, Any]],
    executor: Executor | None = None, *, out: str | os.PathLike | None = None, workers: int | None = None,
    measure: str | None = None, progress: Callable[[Run], Any] | None = None,
    key: Callable[[dict[str, Any]], str] | None = None,
) -> list[Run]:  # fmt: skip
    """Call a function with every combination of parameters; a run that fails is recorded, and the rest go on.

    The function's results are the same, bit for bit, wherever it runs with as many BLAS threads: one in the processes
    here and in those of Dask. (More threads sum a product of matrices in another order, if it sums over thousands.)

    Args:
        function: is called with the parameters as keywords. It returns a number, or a dict or dataclass of them; words,
            lists and None are kept too, and fields that the repr of a dataclass does not show are left out.
        grid: the values of each parameter by name, for all their combinations; or the parameters of each run, as
            `sample` draws them. What is there twice runs once.
        executor: of concurrent.futures, or Dask's `Client.get_executor()`. By default processes: they import the
            function by its name.
        out: a folder for the results. Each run has a folder in it, with run.json; results.csv has a line for each;
            results.svg shows a number of the results against the parameters. A run that is there, and did not fail,
            is not run again: delete its folder if the function, which is known by its name, has changed.
        workers: how many processes (default: one for each core). measure: the name of the number that is drawn
            (default: the first). progress: is called with each run that is there, then with each as it ends.
        key: gives the name of a run's folder, from its parameters (default: `identity`).

    Returns:
        The runs in the order of the grid.

    Raises:
        TypeError: a parameter is not what JSON can hold, or the executor is none. ValueError: there is nothing to run,
        processes cannot import the function, there is no such measure, `out` has the runs of another function, another
        sweep is going on in it, or a file there that would be replaced is of no sweep.
        OSError: a file cannot be written.

    >>> from concurrent.futures import ThreadPoolExecutor
    >>> with ThreadPoolExecutor() as executor:
    ...     runs = tg.experiments.sweep(pow, [{"base": 2, "exp": 3}, {"base": 3, "exp": 2}], executor)
    ...
    >>> sorted(run.result for run in runs)
    [8, 9]
    """
    checks.instance("sweep", executor, (Executor, type(None)), "an executor, of Dask client.get_executor(),")
    points = {(key or identity)(point): point for point in combinations(grid)}
    tell = progress or (lambda run: None)
    with contextlib.ExitStack() as ending:  # also when it is interrupted, or the disk is full: what has run is kept
        if out is not None:
            out = ending.enter_context(claimed(out, MARKS))
        runs: dict[str, Any] = dict.fromkeys(points) | ({} if out is None else _finished(out, function, points))
        for run in filter(None, runs.values()):
            tell(run)
        submit = executor.submit if executor is not None else ending.enter_context(_processes(function, workers))
        if out is not None:
            ending.callback(lambda: _write_table([run for run in runs.values() if run], out / TABLE))
        futures = {submit(_attempt, function, points[name]): name for name, run in runs.items() if run is None}
        ending.callback(lambda: [future.cancel() for future in futures])
        for future in as_completed(futures):
            name = futures[future]
            try:
                run = future.result()
            except Exception as problem:  # the executor's own: a process died, a cluster has gone
                run = Run(points[name], error=_line(problem))
            if out is not None:
                (out / name).mkdir(exist_ok=True)
                write_json(out / name / RECORD, {"function": _name(function), **asdict(run)})
            runs[name] = run
            tell(run)
        if out is not None:
            draw_runs(list(runs.values()), measure, out / FIGURE)
    return list(runs.values())


def identity(parameters: Mapping[str, Any]) -> str:
    """The name of a run's folder: a hash of its parameters, whatever their order.

    Raises:
        TypeError: a parameter is not what JSON can hold.
    """
    return hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:16]


def _attempt(function: Callable[..., Any], parameters: dict[str, Any]) -> Run:
    """Run the function, where the executor wants it."""
    started = perf_counter()
    result = error = None
    try:
        # Through JSON and back: a run that is read from its record is equal to the one that was written.
        result = json.loads(json.dumps(function(**parameters), default=_plain))
    except (Exception, SystemExit) as problem:
        error = _line(problem)
    return Run(parameters, result, error, perf_counter() - started)


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value) if field.repr}
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError(f"the result has a {type(value).__name__}; numbers, words, lists, dicts and dataclasses are kept")


def _line(problem: BaseException) -> str:
    return " ".join(f"{type(problem).__name__}: {problem}".split())


def _name(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{getattr(function, '__qualname__', type(function).__qualname__)}"


def _finished(out: Path, function: Callable[..., Any], points: Mapping[str, dict[str, Any]]) -> dict[str, Run]:
    """The runs that are there already and did not fail."""
    runs: dict[str, Run] = {}
    for name in points:
        if (path := out / name / RECORD).exists():
            try:
                record = json.loads(read_file(path))
                theirs, run = record.pop("function"), Run(**record)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                raise ValueError(f"sweep: {path} is not the record of a run: delete it") from None
            if theirs != _name(function):
                raise ValueError(f"sweep: {out} has runs of {theirs}, not of {_name(function)}: give another folder")
            runs |= {} if run.error else {name: run}
    return runs


def _names(named: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for one in named for name in one))


def _write_table(runs: list[Run], path: Path) -> None:
    """Write a CSV file with a line for each run: parameters, the numbers of the result, error and seconds."""
    given, found = _names(run.parameters for run in runs), _names(run.numbers() for run in runs)
    taken = {*given, "error", "seconds"}
    header = [*given, *(f"result {name}" if name in taken else name for name in found), "error", "seconds"]
    rows = ([*map(run.parameters.get, given), *map(run.numbers().get, found), run.error, run.seconds] for run in runs)
    plots.table(path, header, rows)


def draw_runs(runs: list[Run], measure: str | None, path: Path) -> None:
    """Draw a number of the results, the first if none is named, against the parameters."""
    known = _names(run.numbers() for run in runs)
    if known and plots.available():
        measure = checks.one_of("", "measure", measure or known[0], known)
        values = [run.numbers().get(measure, math.nan) for run in runs]
        plots.dots(path, [run.parameters for run in runs], values, measure)


@contextlib.contextmanager
def _processes(function: Callable[..., Any], workers: int | None) -> Iterator[Callable[..., Future]]:
    """A function that submits a call to spawned processes, of one BLAS thread each; one that dies fails only its call.

    Each is a pool of its own, for which a thread waits: a pool of many would fail all calls that are still to come. All
    hold one end of a pipe, and end at once when the other is closed: here, or because this process has ended, however
    it did. Ctrl-C, which all processes of a terminal get, is left to this one.
    """
    # The cores that this process may use: on a shared machine not all of them.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = ThreadPoolExecutor(cores if workers is None else checks.whole("", "workers", workers, 1))
    spawned, (theirs, ours) = multiprocessing.get_context("spawn"), multiprocessing.Pipe(duplex=False)
    of_thread = threading.local()

    def call(*arguments: Any) -> Any:
        if not hasattr(of_thread, "pool"):
            of_thread.pool = ProcessPoolExecutor(1, spawned, _end_with, (theirs,))
            if hasattr(signal, "pthread_sigmask"):  # what this thread blocks is blocked in the process that it starts
                signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            return of_thread.pool.submit(*arguments).result()
        except BrokenExecutor:
            del of_thread.pool
            raise

    with contextlib.ExitStack() as after, threads, ours:
        after.callback(os.environ.update, {name: os.environ[name] for name in _THREADS if name in os.environ})
        for name in _THREADS:  # BLAS reads them once, when a process imports NumPy
            os.environ[name] = "1"
            after.callback(os.environ.pop, name)
        try:
            threads.submit(call, callable, function).result()
        except Exception as error:
            told = f"sweep: worker processes import a function by its name, and not {_name(function)} ({error})"
            where = 'define it in a module, or in a script with `if __name__ == "__main__":`'
            raise ValueError(f"{told}: {where}, or give executor=ThreadPoolExecutor()") from error
        yield lambda *arguments: threads.submit(call, *arguments)


def _end_with(pipe: Any) -> None:
    """Have this process end when the other end of the pipe is closed."""
    threading.Thread(target=lambda: pipe.poll(None) and os._exit(1), daemon=True).start()


@dataclass(frozen=True)
class TrainPoint:
    """Trains with the settings of a point of a sweep, in the folder of its run in `out`."""

    out: str

    def __call__(self, **point: Any) -> Summary:
        """Train."""
        return train(Settings(**point), Path(self.out, self.key(point)))

    def key(self, point: dict[str, Any]) -> str:
        """The name of the run's folder: over other data in the same file it is another run.

        Raises:
            OSError: a data file cannot be read. ValueError: it is not a regular file.
        """
        data = Settings(**point).data
        return identity(point | {"data": [data, zlib.crc32(read_file(data))]} if Settings(**point).is_file else point)


def combinations(grid: Mapping[str, Iterable[Any]] | Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The parameters of each run: all combinations of the values of a grid, the last name's values changing fastest.

    Raises:
        TypeError: a name has one value instead of a list of them. ValueError: the grid is empty.
    """
    if isinstance(grid, Mapping):
        for name, values in grid.items():
            if isinstance(values, str) or not isinstance(values, Iterable):
                raise TypeError(f"the grid's {name} = {values!r}: a list of values is needed")
        grid = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    points = [{k: v.item() if isinstance(v, np.generic) else v for k, v in point.items()} for point in grid]
    if not any(points):
        raise ValueError("the grid is empty: there is nothing to run")
    return points


def sample(points: int, *, seed: int = 0, **ranges: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Draw the parameters of so many runs at random; returns one dict for each, to be given to `sweep`.

    Args:
        ranges: uniform, the lowest and the highest value by name; whole numbers, both included, if both are whole.
            log_uniform, likewise, with equal chances for equal ratios. choice, the values by name, with equal chances.

    Raises:
        ValueError: a range that is none, or a name in two; points or seed out of range. TypeError: they are no whole
            numbers.

    >>> points = tg.experiments.sample(3, log_uniform={"lr": [1e-4, 1e-1]}, choice={"cell": ["lstm", "gru"]})
    >>> list(points[0])
    ['lr', 'cell']
    """
    for kind in ranges:
        checks.one_of("", "range", kind, RANGES)
    drawn = [(kind, name, values) for kind in RANGES for name, values in dict(ranges.get(kind, {})).items()]
    if len({name for _, name, _ in drawn}) < len(drawn):
        raise ValueError("sample: a name is in two ranges")
    for kind, name, values in drawn:
        least = 0.0 if kind == "log_uniform" else -math.inf
        found = values if kind == "choice" else len(values) == 2 and least < values[0] < values[1] < math.inf
        if isinstance(values, str) or not found:
            wanted = "a list" if kind == "choice" else "a lower number, then a higher one (log_uniform: above zero),"
            raise ValueError(f"sample: {kind} {name} = {values!r}: {wanted} is needed")
    rng = np.random.default_rng(checks.whole("", "seed", seed, 0))
    points = checks.whole("", "points", points, 1, 100_000)
    return [{name: _value(kind, values, rng.random()) for kind, name, values in drawn} for _ in range(points)]


def _value(kind: str, values: Sequence[Any], u: float) -> Any:
    """The value of a range that u, uniform in [0, 1), stands for."""
    if kind == "choice":
        return values[int(u * len(values))]
    low, high = values
    integers = type(low) is int and type(high) is int
    end = high + 1 if integers else high
    x = low * (end / low) ** u if kind == "log_uniform" else low + u * (end - low)
    return min(math.floor(x) if integers else x, high)


def read_points(path: str | os.PathLike) -> list[dict[str, Any]]:
    """The settings of each run that a TOML file asks for: a grid, or points drawn at random, over those of `train`.

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
        uniform.hidden = [8, 64]                   # from, to: whole numbers if both are; 0.0 and 1.0 are not
        log_uniform.lr = [0.0001, 0.1]
        choice.cell = ["rnn", "lstm"]

    "none" is Python's None, as on the command line: no limit. The best of many runs has been chosen by what was held
    out: its error is too good by some measure, and settings that are chosen so need data of their own to be judged by.

    Raises:
        OSError: the file cannot be read. ValueError: it is not TOML, has an unknown key, or asks for settings that are
        out of range; names the file. ImportError: on Python 3.10, tomli is not installed.
    """
    toml = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        content, names = toml.loads(read_file(path).decode("utf-8-sig")), ("train", "grid", "sample")
        for name in content:
            checks.one_of("", "table", name, names)
        common, grid, ranges = (checks.instance(x, content.get(x, {}), dict, f"a table, [{x}],") for x in names)
        if bool(grid) == bool(ranges):
            raise ValueError("what is varied is told by one table, [grid] or [sample]")
        points = [{**common, **point} for point in (combinations(grid) if grid else sample(**ranges))]
        points = [{name: None if value == "none" else value for name, value in point.items()} for point in points]
        return [{name: vars(Settings.of(point))[name] for name in point} for point in points]  # with a lr of 1 as 1.0
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from error
