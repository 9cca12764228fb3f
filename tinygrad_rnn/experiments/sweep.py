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
import time
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import partial
from importlib import import_module
from itertools import product
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_rnn import checks
from tinygrad_rnn.experiments import plots
from tinygrad_rnn.experiments.run import train
from tinygrad_rnn.experiments.settings import Settings, refuse_unknown, value_type
from tinygrad_rnn.experiments.training import Summary
from tinygrad_rnn.files import claimed, read_file, refuse_others, write_json

MOST = 100_000  # points
RANGES = ("uniform", "log_uniform", "choice")
RECORD, TABLE, FIGURE = "run.json", "results.csv", "results.svg"
_KEPT = (int, float, str, list, tuple, dict, np.generic, np.ndarray, type(None))
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
        numbers = {name: value for name, value in named.items() if isinstance(value, (int, float))}
        return {name: x for name, x in numbers.items() if isinstance(x, float) or abs(x) < 2**1023}  # fits in a float


def sweep(
    function: Callable[..., Any], grid: Mapping[str, Iterable[Any]] | Iterable[Mapping[str, Any]],
    executor: Executor | None = None, *, out: str | os.PathLike | None = None, workers: int | None = None,
    measure: str | None = None, progress: Callable[[Run], None] | None = None,
    key: Callable[[dict[str, Any]], str] | None = None,
) -> list[Run]:  # fmt: skip
    """Call a function with every combination of parameters; a run that fails is recorded, and the rest go on.

    The function's results are the same, bit for bit, wherever it runs with as many BLAS threads: one in the processes
    here and in those of Dask. (More threads sum a product of matrices in another order, if it sums over thousands.)

    Args:
        function: is called with the parameters as keywords. It returns a number, or a dict or dataclass of them; words,
            lists and None are kept too, and other fields of a dataclass are left out.
        grid: the values of each parameter by name, for all their combinations; or the parameters of each run, as
            `sample` draws them. What is there twice runs once.
        executor: of concurrent.futures, or Dask's `Client.get_executor()`. By default processes: they import the
            function by its name.
        out: a folder for the results. Each run has a folder in it, with run.json; results.csv has a line for each;
            results.svg shows a number of the results against the parameters. A run that is there, and did not fail,
            is not run again: delete its folder if the function has changed.
        workers: how many processes (default: one for each core). measure: the name of the number that is drawn
            (default: the first). progress: is called with each run that is there, then with each as it ends.
        key: gives the name of a run's folder, from its parameters (default: `identity`).

    Returns:
        The runs in the order of the grid.

    Raises:
        TypeError: a parameter is not what JSON can hold, or the executor is none. ValueError: there is nothing to run,
        processes cannot import the function, there is no such measure, `out` has the runs of another function, another
        sweep is going on in it, or a file there that would be replaced is of no sweep.
        OSError: a file cannot be written, or no process starts.

    >>> from concurrent.futures import ThreadPoolExecutor
    >>> with ThreadPoolExecutor() as executor:
    ...     runs = tg.experiments.sweep(pow, [{"base": 2, "exp": 3}, {"base": 3, "exp": 2}], executor)
    ...
    >>> sorted(run.result for run in runs)
    [8, 9]
    """
    checks.instance("sweep", executor, (Executor, type(None)), "an executor, of Dask client.get_executor(),")
    points = {(key or identity)(point): point for point in combinations(grid)}

    def tell(run: Run) -> None:
        if progress is not None:
            progress(run)
        if measure is not None and (known := measures([run])):  # not after all of them
            checks.one_of("", "measure", measure, known)

    with contextlib.ExitStack() as ending:  # also when it is interrupted, or the disk is full: what has run is kept
        if out is not None:
            out = ending.enter_context(claimed(out))
        runs = {} if out is None else _finished(out, function, points)
        for run in runs.values():
            tell(run)
        waiting = {name: point for name, point in points.items() if name not in runs}
        if executor is None and waiting:
            executor = ending.enter_context(_processes(function, workers, len(waiting)))
        if out is not None:
            ending.callback(lambda: _write_table([runs[name] for name in points if name in runs], out / TABLE))
        futures = {executor.submit(_attempt, function, point): name for name, point in waiting.items()}
        ending.callback(lambda: [future.cancel() for future in futures])
        for future in as_completed(futures):
            name = futures[future]
            run = _outcome(future, points[name])
            if out is not None:
                (out / name).mkdir(exist_ok=True)
                write_json(out / name / RECORD, {"function": _name(function), **asdict(run)})
            runs[name] = run
            tell(run)
        in_order = [runs[name] for name in points]
        if out is not None:
            draw_runs(in_order, measure, out / FIGURE)
    return in_order


def identity(parameters: Mapping[str, Any]) -> str:
    """The name of a run's folder: a hash of its parameters, whatever their order.

    Raises:
        TypeError: a parameter is not what JSON can hold.
    """
    text = json.dumps(parameters, sort_keys=True, default=_refuse_parameter)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _refuse_parameter(value: Any) -> None:
    raise TypeError(f"sweep: a parameter is a number, a word, None, or a list or dict of these; not {value!r}")


def _attempt(function: Callable[..., Any], parameters: dict[str, Any]) -> Run:
    """Run the function, where the executor wants it."""
    started = time.perf_counter()
    result = error = None
    try:
        # Through JSON and back: a run that is read from its record is equal to the one that was written.
        result = json.loads(json.dumps(function(**parameters), default=_plain))
    except (Exception, SystemExit) as problem:
        error = _line(problem)
    return Run(parameters, result, error, time.perf_counter() - started)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        named = {field.name: getattr(value, field.name) for field in fields(value)}
        return {name: kept for name, kept in named.items() if isinstance(kept, _KEPT)}
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    kept = "numbers, words, lists, dicts and dataclasses can be kept"
    raise TypeError(f"the result has a {type(value).__name__}; {kept}")


def _outcome(future: Future, parameters: dict[str, Any]) -> Run:
    try:
        return future.result()
    except CancelledError:
        return Run(parameters, error="CancelledError: the executor has given it up; is the cluster still there?")
    except Exception as problem:  # the executor's own: a process died, the function is not found there
        return Run(parameters, error=_line(problem))


def _line(problem: BaseException) -> str:
    return " ".join(f"{type(problem).__name__}: {problem}".split())


def _finished(out: Path, function: Callable[..., Any], points: Mapping[str, dict[str, Any]]) -> dict[str, Run]:
    """The runs that are there already and did not fail."""
    refuse_others(out / TABLE, ["error,seconds"])
    refuse_others(out / FIGURE, [plots.MARK])
    runs = {}
    for name, point in points.items():
        if (path := out / name / RECORD).exists():
            try:
                record = json.loads(read_file(path))
                theirs, run = record["function"], Run(point, record["result"], record["error"], record["seconds"])
                checks.instance("", run.error, (str, type(None)))
            except (ValueError, KeyError, TypeError, RecursionError):
                raise ValueError(f"sweep: {path} is not the record of a run: delete it") from None
            if theirs != _name(function):
                raise ValueError(f"sweep: {out} has runs of {theirs}, not of {_name(function)}: give another folder")
            runs |= {} if run.error else {name: run}
    return runs


def _name(function: Callable[..., Any]) -> str:
    """The name of a function in the records: of a lambda with its line, of a partial with its arguments."""
    if isinstance(function, partial):
        bound = [*map(repr, function.args), *(f"{name}={value!r}" for name, value in function.keywords.items())]
        return f"{_name(function.func)}({', '.join(bound)})"
    named = function if hasattr(function, "__qualname__") else type(function)
    line = f", line {function.__code__.co_firstlineno}" if "<lambda>" in named.__qualname__ else ""
    return f"{named.__module__}.{named.__qualname__}{line}"


def measures(runs: Iterable[Run]) -> list[str]:
    """The names of the numbers that there are in the results of runs."""
    return list(dict.fromkeys(name for run in runs for name in run.numbers()))


def _write_table(runs: list[Run], path: Path) -> None:
    """Write a CSV file with a line for each run: parameters, the numbers of the result, error and seconds."""
    parameters, numbers = list(dict.fromkeys(name for run in runs for name in run.parameters)), measures(runs)
    taken = {*parameters, "error", "seconds"}
    header = [*parameters, *(f"result {name}" if name in taken else name for name in numbers), "error", "seconds"]
    values = [[run.parameters.get(name, "") for name in parameters] for run in runs]
    found = [[run.numbers().get(name, "") for name in numbers] for run in runs]
    rows = [[*v, *f, run.error, run.seconds] for v, f, run in zip(values, found, runs, strict=True)]
    plots.table(path, header, rows)


def draw_runs(runs: Sequence[Run], measure: str | None, path: Path) -> Path | None:
    """Draw a number of the results, the first if none is named, against the parameters, as `plots.dots` does.

    Returns:
        The path, or None if no run has a number, or matplotlib is not installed.

    Warns:
        matplotlib is not installed.
    """
    known = measures(runs)
    if not known or not plots.available():
        return None
    measure = measure or known[0]
    values = [run.numbers().get(measure, math.nan) for run in runs]
    units = {str(run.result["unit"]) for run in runs if isinstance(run.result, dict) and "unit" in run.result}
    unit = "".join(units) if measure == known[0] and len(units) == 1 else ""
    return plots.dots(path, [run.parameters for run in runs], values, measure, unit)


class Processes(ThreadPoolExecutor):
    """Threads that hand their calls to a spawned process each, of one BLAS thread, which is a pool of its own.

    A process that dies fails its own call alone, with a ChildProcessError; a pool of many would fail all that are still
    to come. All hold one end of a pipe, and end at once when the other is closed: by `shutdown`, or because this
    process has ended, however it did. Ctrl-C, which all processes of a terminal get, is left to this one.
    """

    def __init__(self, workers: int):
        super().__init__(workers, initializer=_leave_interrupts)
        self._theirs, self._ours = multiprocessing.Pipe(duplex=False)
        self._of_thread = threading.local()
        self._before = {name: os.environ.get(name) for name in _THREADS}
        os.environ.update(dict.fromkeys(_THREADS, "1"))  # BLAS reads them once, when a process imports NumPy

    def submit(self, fn: Callable, /, *args: Any, **kwargs: Any) -> Future:
        """Call a function in the next process that is idle; returns the future of its answer."""
        return super().submit(self._call, fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = True) -> None:
        """End the processes at once, whatever they do."""
        super().shutdown(wait=False, cancel_futures=True)
        self._ours.close()
        super().shutdown(wait)
        for name, value in self._before.items():
            os.environ.pop(name, None)
            os.environ.update({} if value is None else {name: value})

    def _call(self, fn: Callable, *args: Any, **kwargs: Any) -> Any:
        if not hasattr(self._of_thread, "pool"):
            spawned = multiprocessing.get_context("spawn")
            self._of_thread.pool = ProcessPoolExecutor(1, spawned, _end_with, (self._theirs,))
        try:
            return self._of_thread.pool.submit(fn, *args, **kwargs).result()
        except BrokenProcessPool:
            del self._of_thread.pool
            raise ChildProcessError("its process was ended: killed, out of memory, or by os._exit") from None


def _leave_interrupts() -> None:
    """Block Ctrl-C in this thread, and so in the processes that it starts."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])


def _end_with(pipe: Connection) -> None:
    """Have this process end when the other end of the pipe is closed."""

    def end() -> None:
        wait([pipe])
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end, daemon=True).start()


@contextlib.contextmanager
def _processes(function: Callable[..., Any], workers: int | None, runs: int) -> Iterator[Processes]:
    """Processes that can import a function, at most as many as there are runs."""
    named = getattr(function, "func", function)  # of a partial
    in_a_session = named.__module__ == "__main__" and not hasattr(sys.modules["__main__"], "__file__")
    if in_a_session or "<" in getattr(named, "__qualname__", ""):  # <lambda>, or <locals> of another function
        told = f"sweep: worker processes import a function by its name, and {_name(function)} has none that they find"
        raise ValueError(f"{told}: define it in a module, or give executor=concurrent.futures.ThreadPoolExecutor()")
    # The cores that this process may use: on a shared machine not all of them.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with Processes(min(cores if workers is None else checks.whole("", "workers", workers, 1), runs)) as processes:
        try:
            processes.submit(os.getpid).result()
        except ChildProcessError:
            told = 'a script that they import needs `if __name__ == "__main__":` before what they shall not do too'
            raise ChildProcessError(f"a worker process ended while it started: {told}") from None
        yield processes


class TrainPoint:
    """Trains with the settings of a point of a sweep, in the folder of its run in `out`.

    Data that are in a file are those that are there now: over others it is another run, in another folder.

    Raises:
        OSError: a data file cannot be read. ValueError: it is no regular file.
    """

    def __init__(self, points: Iterable[dict[str, Any]], out: str | os.PathLike):
        self.out, self.start = Path(out).absolute(), Path.cwd()  # a cluster's workers are elsewhere
        files = {settings.data for point in points if (settings := Settings(**point)).is_file}
        self.data = {name: [name, zlib.crc32(read_file(name))] for name in files}

    def __call__(self, **point: Any) -> Summary:
        """Train."""
        with warnings.catch_warnings():  # that there are no figures is told once, by the sweep
            warnings.filterwarnings("ignore", "plots need matplotlib")
            return train(Settings(**point).seen_from(self.start), self.out / self.key(point))

    def key(self, point: dict[str, Any]) -> str:
        """The name of the run's folder."""
        data = point.get("data")
        return identity(point | {"data": self.data[data]} if data in self.data else point)


def combinations(grid: Mapping[str, Iterable[Any]] | Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The parameters of each run: all combinations of the values of a grid, the last name's values changing fastest.

    Raises:
        TypeError: a name has one value instead of a list of them. ValueError: the grid is empty.
    """
    if isinstance(grid, Mapping):
        columns = {}
        for name, values in grid.items():
            if isinstance(values, str) or not isinstance(values, Iterable):
                raise TypeError(f"the grid's {name} = {values!r}: a list of values is needed")
            columns[name] = list(values)
            if not columns[name]:
                raise ValueError(f"the grid's {name} has no values")
        if (count := math.prod(map(len, columns.values()))) > MOST:
            raise ValueError(f"the grid has {count:,} points: {MOST:,} are the most that a sweep can have")
        grid = (dict(zip(columns, values, strict=True)) for values in product(*columns.values()))
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
        ValueError: a range that is none, a name that is there twice, or no name at all; points or seed out of range.
        TypeError: they are no whole numbers.

    >>> points = tg.experiments.sample(3, log_uniform={"lr": [1e-4, 1e-1]}, choice={"cell": ["lstm", "gru"]})
    >>> list(points[0])
    ['lr', 'cell']
    """
    seed, points = checks.whole("", "seed", seed, 0), checks.whole("", "points", points, 1, MOST)
    refuse_unknown("range", ranges, RANGES)
    drawn = [(kind, name, values) for kind in RANGES for name, values in ranges.get(kind, {}).items()]
    names = [name for _, name, _ in drawn]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"sample: each name in one of {', '.join(RANGES)}, and one at least; not {names}")
    for kind, name, values in drawn:
        _refuse_no_range(kind, name, values)
    rng = np.random.default_rng(seed)
    return [{name: _value(kind, values, rng.random()) for kind, name, values in drawn} for _ in range(points)]


def _refuse_no_range(kind: str, name: str, values: Any) -> None:
    found, wanted = isinstance(values, Sequence) and not isinstance(values, str) and len(values) > 0, "a list is"
    if found and kind != "choice":
        numbers = len(values) == 2 and all(type(x) in (int, float) and math.isfinite(x) for x in values)
        found = numbers and values[0] < values[1] and (values[0] > 0 or kind == "uniform")
        wanted = f"a lower number{' above zero' if kind == 'log_uniform' else ''}, then a higher one, are"
    if not found:
        raise ValueError(f"sample: {kind} {name} = {values!r}: {wanted} needed")


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
        uniform.hidden = [8, 64]                   # from, to
        log_uniform.lr = [0.0001, 0.1]
        choice.cell = ["rnn", "lstm"]

    "none" is Python's None, as on the command line: no limit. The best of many runs has been chosen by what was held
    out: its error is too good by some measure, and settings that are chosen so need data of their own to be judged by.

    Raises:
        OSError: the file cannot be read. ValueError: it is not TOML, has an unknown key, or asks for settings that are
        out of range; names the file. ImportError: on Python 3.10, tomli is not installed.
    """
    try:
        toml = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    except ImportError as error:
        raise ImportError("Python 3.10 reads TOML with tomli: pip install tomli") from error
    try:
        return _points(toml.loads(read_file(path).decode("utf-8-sig")))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from error


def _points(content: dict[str, Any]) -> list[dict[str, Any]]:
    refuse_unknown("table", content, ("train", "grid", "sample"))
    common = _table(content, "train")
    if ("grid" in content) == ("sample" in content):
        raise ValueError("what is varied is told by one table, [grid] or [sample]")
    points = combinations(_table(content, "grid")) if "grid" in content else _drawn(_table(content, "sample"))
    for name in common.keys() & points[0].keys():
        raise ValueError(f"{name} is in [train], and is varied too: leave out one")
    points = [{k: None if v == "none" else v for k, v in {**common, **point}.items()} for point in points]
    settings = [asdict(Settings.of(point)) for point in points]  # with a lr of 1 as 1.0
    return [{name: of_point[name] for name in point} for point, of_point in zip(points, settings, strict=True)]


def _drawn(ranges: dict[str, Any]) -> list[dict[str, Any]]:
    """The points of the table [sample]."""
    refuse_unknown("key of [sample]", ranges, ("points", "seed", *RANGES))
    if "points" not in ranges:
        raise ValueError("[sample] needs points, the number of runs")
    ranges |= {kind: _table(ranges, kind) for kind in RANGES}
    numbers = {setting.name for setting in fields(Settings) if value_type(setting)[0] is float}
    for name, values in [*ranges["uniform"].items(), *ranges["log_uniform"].items()]:
        if name in numbers and isinstance(values, list):
            values[:] = [float(x) if type(x) is int else x for x in values]  # from 0 to 1 is not 0 or 1
    return sample(**ranges)


def _table(content: dict[str, Any], name: str) -> dict[str, Any]:
    table = content.get(name, {})
    if not isinstance(table, dict):
        raise ValueError(f"{name} = {table!r}: a table, [{name}], is needed")
    return table
