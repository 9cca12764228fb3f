"""A sweep runs one function over a grid of parameters, or a random sample of them, and keeps what each run gives."""

import contextlib
import hashlib
import json
import os
import pickle
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import CancelledError, Executor, Future, as_completed
from dataclasses import asdict, fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_rnn import checks
from tinygrad_rnn.experiments.points import combinations
from tinygrad_rnn.experiments.processes import Processes
from tinygrad_rnn.experiments.runs import Run, draw_runs, measures, write_table
from tinygrad_rnn.files import claimed, read_file, refuse_others, write_file

_KEPT = (int, float, str, list, tuple, dict, np.generic, np.ndarray, os.PathLike, type(None))
RECORD, TABLE, FIGURE = "run.json", "results.csv", "results.svg"


def sweep(
    function: Callable[..., Any],
    grid: Mapping[str, Iterable[Any]] | Iterable[Mapping[str, Any]],
    executor: Executor | None = None,
    *,
    out: str | os.PathLike | None = None,
    workers: int | None = None,
    measure: str | None = None,
    progress: Callable[[Run], None] | None = None,
    key: Callable[[dict[str, Any]], str] | None = None,
) -> list[Run]:
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
    """
    wanted = "an executor of concurrent.futures, of Dask client.get_executor(),"
    checks.instance("sweep", executor, (Executor, type(None)), wanted)
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
        pool = executor
        if executor is None and waiting:
            _refuse_what_processes_cannot_import(function)
            # The cores that this process may use: on a shared machine not all of them.
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            most = cores if workers is None else checks.whole("", "workers", workers, 1)
            pool = Processes(min(most, len(waiting)))
            ending.callback(pool.shutdown, cancel_futures=True)
        futures: dict[Future, str] = {}
        ending.callback(lambda: [future.cancel() for future in futures])
        if out is not None:
            ending.callback(lambda: write_table([runs[name] for name in points if name in runs], out / TABLE))
        for name, point in waiting.items():
            futures[pool.submit(_attempt, function, point)] = name
        for future in as_completed(futures):
            name = futures[future]
            run = _outcome(future, points[name])
            if out is not None:
                _record(out / name, function, run)
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
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(
        f"the result has a {type(value).__name__}; numbers, words, lists, dicts and dataclasses can be kept"
    )


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
    refuse_others(out / TABLE, "error,seconds")
    refuse_others(out / FIGURE, "; runs: ")
    runs = {}
    for name, point in points.items():
        if (path := out / name / RECORD).exists():
            theirs, run = _read_record(path, point)
            if theirs != _name(function):
                raise ValueError(f"sweep: {out} has runs of {theirs}, not of {_name(function)}: give another folder")
            if run.error is None:
                runs[name] = run
    return runs


def _read_record(path: Path, parameters: dict[str, Any]) -> tuple[str, Run]:
    """The name of the function, and the run that it was, with these parameters.

    Raises:
        OSError: the file cannot be read. ValueError: it is no record.
    """
    try:
        record = json.loads(read_file(path))
        function, run = record["function"], Run(parameters, record["result"], record["error"], record["seconds"])
        if not isinstance(run.error, str) and (run.error is not None or type(run.seconds) is not float):
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(f"sweep: {path} is not the record of a run: delete it") from None
    return function, run


def _record(folder: Path, function: Callable[..., Any], run: Run) -> None:
    folder.mkdir(exist_ok=True)
    content = json.dumps({"function": _name(function), **asdict(run)}, indent=2)
    write_file(folder / RECORD, content.encode())


def _name(function: Callable[..., Any]) -> str:
    """The name of a function in the records: of a lambda with its line, of a partial with its arguments."""
    if isinstance(function, partial):
        bound = [*map(repr, function.args), *(f"{name}={value!r}" for name, value in function.keywords.items())]
        return f"{_name(function.func)}({', '.join(bound)})"
    named = function if hasattr(function, "__qualname__") else type(function)
    line = f", line {function.__code__.co_firstlineno}" if "<lambda>" in named.__qualname__ else ""
    return f"{named.__module__}.{named.__qualname__}{line}"


def _refuse_what_processes_cannot_import(function: Callable[..., Any]) -> None:
    try:
        pickle.dumps(function)
        module = (function.func if isinstance(function, partial) else function).__module__
        importable = module != "__main__" or hasattr(sys.modules["__main__"], "__file__")
    except (pickle.PicklingError, AttributeError, TypeError):
        importable = False
    if not importable:
        raise ValueError(
            f"sweep: worker processes import a function by its name, and {_name(function)} has none that they can "
            "find: define it at the top of a module, or give executor=concurrent.futures.ThreadPoolExecutor()"
        )
