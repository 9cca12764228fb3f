"""`tinygrad-rnn sweep`: many runs of `train`, in processes or on a cluster."""

import argparse
import contextlib
import itertools
import logging
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, Future, TimeoutError
from pathlib import Path

from tinygrad_rnn.experiments import sweep_file
from tinygrad_rnn.experiments.points import Run
from tinygrad_rnn.experiments.sweep import sweep
from tinygrad_rnn.tables import counted

ANSWER = 5  # seconds that a Dask scheduler has to answer in


def add_sweep(commands: argparse._SubParsersAction) -> None:
    """Add the command to those of the command line."""
    parser = commands.add_parser(
        "sweep", help="train over a grid, or a random sample, of settings", description=sweep_file.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("file", type=Path, metavar="FILE.toml", help="the settings of the runs")
    parser.add_argument(
        "--out", required=True,
        help="the folder for results.csv, results.svg and a folder of each run; a run that is there is not run again",
    )  # fmt: skip
    parser.add_argument("--measure", metavar="NAME", help="the number that is drawn (default: the first)")
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--workers", type=int, metavar="N", help="processes (default: one for each core)")
    place.add_argument(
        "--dask", metavar="ADDRESS", help="run on the Dask cluster of this scheduler, which sees the same files"
    )
    parser.set_defaults(run=_sweep)


def _sweep(options: argparse.Namespace) -> int:
    try:
        points = sweep_file.read_points(options.file)
        varied = [name for name in points[0] if any(point[name] != points[0][name] for point in points)]
        if outdated := sweep_file.outdated_runs(Path(options.out), points):
            print(f"{len(outdated)} of the runs that are there saw other data than there are now: they run again")
        train = sweep_file.TrainPoint(Path(options.out).absolute(), Path.cwd())
        count = itertools.count(1)

        def show(run: Run) -> None:
            print(f"{next(count)}/{len(points)} {_told(run, varied, options.measure)}", flush=True)

        with _executor(options.dask) as executor:
            runs = sweep(
                train, points, executor, out=options.out, workers=options.workers, measure=options.measure,
                progress=show, outdated=outdated,
            )  # fmt: skip
    except KeyboardInterrupt:
        kept = f"interrupted; {options.out} keeps what has run, give it again to go on"
        kept += "; what the cluster has begun it goes on with" if options.dask else ""
        raise KeyboardInterrupt(kept) from None
    failed = sum(run.error is not None for run in runs)
    if failed:
        print(
            f"tinygrad-rnn sweep: {failed} of {counted(len(runs), 'run')} failed; {options.out} tells why",
            file=sys.stderr,
        )
    return 1 if failed else 0


def _told(run: Run, varied: list[str], measure: str | None) -> str:
    settings = " ".join(f"{name}={run.parameters[name]}" for name in varied)
    if run.error is not None:
        return f"{settings}: {run.error}"
    numbers = run.numbers()
    name = measure if measure in numbers else next(iter(numbers), None)
    return f"{settings}: {f'{name} {numbers[name]:.6g}, ' if name else ''}{run.seconds:.1f} s"


@contextlib.contextmanager
def _executor(address: str | None) -> Iterator[Executor | None]:
    """That of the Dask cluster at the address; None if there is no address."""
    if address is None:
        yield None
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise ImportError('--dask needs Dask: pip install "tinygrad-rnn[dask]"') from error
    for name in ("distributed", "distributed.client", "distributed.core"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what fails is told in a line, not in tracebacks
    connected: Future = Future()

    def connect() -> None:
        try:
            connected.set_result(Client(address, timeout=ANSWER))
        except Exception as error:
            connected.set_exception(error)

    # In a thread that can be left alone: with a server of another kind, as that of Dask's own dashboard, the client
    # waits for ever, whatever its timeout, or takes what it is told for a huge length.
    threading.Thread(target=connect, daemon=True).start()
    try:
        client = connected.result(ANSWER + 1)
    except ValueError as error:
        raise ValueError(f"--dask {address}: {error}") from error
    except (OSError, MemoryError, TimeoutError) as error:
        message = f"--dask {address}: no Dask scheduler answers there within {ANSWER} seconds"
        raise ConnectionError(message) from error
    with client:
        yield client.get_executor(pure=False)
