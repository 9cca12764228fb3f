"""The commands `train`, `flow` and `sweep` of the command line; each fills a folder, `--out`, with its results."""

import argparse
import contextlib
import itertools
import logging
import shlex
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, TimeoutError
from dataclasses import fields
from pathlib import Path
from typing import Any

from tinygrad_rnn.experiments import sweep_file
from tinygrad_rnn.experiments.flow import CELLS, PATHS, PRESETS, QUANTITIES, Flow, Net, flow, nets_of
from tinygrad_rnn.experiments.run import CHECKPOINT, read_settings, train
from tinygrad_rnn.experiments.runs import Run
from tinygrad_rnn.experiments.settings import Settings, option_type
from tinygrad_rnn.experiments.sweep import sweep
from tinygrad_rnn.experiments.training import Epoch
from tinygrad_rnn.files import claimed, refuse_others
from tinygrad_rnn.nn.cells import NONLINEARITIES
from tinygrad_rnn.tables import aligned, counted

LINES, SECONDS = 10, 10.0  # where there is no bar: so many lines a run, and one after so many seconds without any
ANSWER = 5  # seconds that a Dask scheduler has to answer in


def reader(kind: type, optional: bool = False, least: int | None = None) -> Callable[[str], Any]:
    """A function that reads an option's value from its text: a word, or a number, from the least up if there is one."""
    what = {int: "a whole number", float: "a number", str: "a word"}[kind]
    wanted = what + (" or none" if optional else "") + ("" if least is None else f" from {least} up")

    def read(text: str) -> Any:
        with contextlib.suppress(ValueError):
            value = None if optional and text == "none" else kind(text)
            if least is None or value >= least:
                return value
        raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")

    return read


def add_train(commands: argparse._SubParsersAction) -> None:
    """Add `train` to the commands of the command line."""
    parser = commands.add_parser("train", help="train a net to forecast a series or a text, against simple baselines")
    folder = parser.add_mutually_exclusive_group()
    folder.add_argument("--out", default="out/train", help="the folder for the results (default: out/train)")
    folder.add_argument(
        "--resume", metavar="DIR",
        help="go on with the run in this folder, with its settings; more --epochs than it had may be given",
    )  # fmt: skip
    parser.set_defaults(run=_train)
    for setting in fields(Settings):  # one that is not given has no attribute
        meaning, default = setting.metadata["help"], setting.default
        if default is not None:
            meaning = f"{meaning} (default: {default if not isinstance(default, float) else format(default, 'g')})"
        parser.add_argument(
            f"--{setting.name.replace('_', '-')}", type=reader(*option_type(setting)), default=argparse.SUPPRESS,
            metavar="|".join(setting.metadata.get("choices", ())) or setting.name.rpartition("_")[2].upper(),
            help=meaning.replace("%", "%%"),
        )  # fmt: skip


def _train(options: argparse.Namespace) -> int:
    given = {s.name: getattr(options, s.name) for s in fields(Settings) if hasattr(options, s.name)}
    resume = options.resume is not None
    out = options.resume if resume else options.out
    if resume:
        given = read_settings(Path(out)).as_dict() | given
    settings = Settings(**given).seen_from(Path.cwd())
    try:
        with _Progress() as progress:
            summary = train(settings, out, resume, progress)
    except KeyboardInterrupt:
        begun = Path(out, CHECKPOINT).exists() and read_settings(Path(out)) == settings
        hint = f"; go on with: tinygrad-rnn train --resume {shlex.quote(out)}" if begun else ""
        raise KeyboardInterrupt(f"interrupted{hint}") from None
    print(f"{summary}\n\nwrote {out}")
    return 0


class _Progress(contextlib.ExitStack):
    """The progress of a run: a bar of tqdm where it is installed and somebody watches, plain lines otherwise.

    tqdm comes with `pip install "tinygrad-rnn[progress]"`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._began = self._told = time.perf_counter()
        self._before, self._lines, self._bar, self._losses = None, 0, None, {}

    def __call__(self, done: int, total: int, epoch: Epoch | None) -> None:
        """Show what has been done, what there is to do, and how an epoch that has ended went."""
        if self._before is None:  # the first call; a run that was resumed has done some already
            self._before = done - 1
            self._bar = _bar(self._before, total)
            if self._bar is not None:
                self.callback(self._bar.close)
        if epoch is not None:
            losses = {"training loss": epoch.training_loss, "held-out loss": epoch.held_out_loss}
            self._losses = {name: f"{loss:.4g}" for name, loss in losses.items()}
        if self._bar is not None:
            self._bar.set_postfix(self._losses, refresh=epoch is not None)
            self._bar.update(done - self._bar.n)
        elif (epoch and done * LINES // total > self._lines) or time.perf_counter() - self._told > SECONDS:
            self._lines, self._told = done * LINES // total, time.perf_counter()
            rate = (done - self._before) / (self._told - self._began)
            told = [f"{name} {loss}" for name, loss in self._losses.items()]
            told += [f"{rate:.3g} updates a second", f"{(total - done) / rate:.0f} s left"]
            print(f"{done:,} of {total:,} updates: {', '.join(told)}", flush=True)


def _bar(before: int, total: int) -> Any:
    """A bar of tqdm, or None where it is not installed or the output is no terminal."""
    with contextlib.suppress(ImportError):
        from tqdm import tqdm

        if sys.stderr.isatty():
            return tqdm(total=total, initial=before, unit="update", dynamic_ncols=True)
    return None


def add_flow(commands: argparse._SubParsersAction) -> None:
    """Add `flow` to the commands of the command line."""
    parser = commands.add_parser(
        "flow", help="how far a gradient comes back through time: a curve for every combination of the nets' options",
    )  # fmt: skip
    parser.add_argument(
        "--preset", choices=PRESETS,
        help="a known experiment: reach (default, unless there are other options): 8 or 10 steps; jacobian: its norm "
        "against σ_max(U); profile: forget biases at initialisation",
    )  # fmt: skip
    # What is not given has no attribute: the library's own defaults hold.
    nets = parser.add_argument_group("nets", argument_default=argparse.SUPPRESS)
    nets.add_argument("--cell", nargs="+", choices=CELLS, help="(default: rnn); irnn: relu, and U the identity")
    nets.add_argument("--nonlinearity", nargs="+", choices=NONLINEARITIES, help="f of rnn (default: tanh)")
    nets.add_argument("--scale", nargs="+", type=float, metavar="G", help="U = G · orthogonal (default: 1)")
    nets.add_argument("--forget-bias", nargs="+", type=float, metavar="B", help="b_f of lstm (default: 0)")
    nets.add_argument("--path", nargs="+", choices=PATHS, help="the part of lstm's state to look at (default: h)")
    nets.add_argument(
        "--updates", nargs="+", type=int, metavar="N", help="of training; 0 1000 shows both (default: 0, untrained)"
    )
    nets.add_argument("--quantity", choices=QUANTITIES, help="‖∂L/∂h(t)‖ (default), or ‖∂h(T)/∂h(t)‖")
    nets.add_argument("--steps", type=int, metavar="T", help="(default: 30)")
    nets.add_argument("--hidden", type=int, metavar="H", help="the length of the hidden state (default: 32)")
    parser.add_argument("--seed", type=int, default=argparse.SUPPRESS, help="of weights and data (default: 0)")
    parser.add_argument("--out", default="out/flow", help="the folder for the results (default: out/flow)")
    parser.set_defaults(run=_flow)


def _flow(options: argparse.Namespace) -> int:
    given = {name: value for name, value in vars(options).items() if name not in ("command", "run", "preset", "out")}
    seed = {"seed": given.pop("seed")} if "seed" in given else {}
    if options.preset and given:
        names = ", ".join("--" + name.replace("_", "-") for name in given)
        raise ValueError(f"--preset {options.preset} is an experiment as it stands: leave out {names}")
    if given:
        settings = {name: given.pop(name) for name in ("steps", "hidden", "quantity") if name in given}
        claim, nets = "", dict.fromkeys(nets_of(**given))
    else:
        preset = PRESETS[options.preset or "reach"]
        claim, nets, settings = preset.claim, preset.nets, preset.settings
    with claimed(options.out) as folder:  # before the work: it may not be possible
        for name in ("flow.svg", "flow.csv"):
            refuse_others(folder / name, "distance T - t, steps")
        found = flow(list(nets), **seed, **settings)
        print(f"{textwrap.fill(claim, 100)}\n\n{aligned(_rows(found, nets))}\n".lstrip())
        found.save(folder)
    print(f"wrote {folder}")
    return 0


def _rows(found: Flow, nets: dict[Net, tuple[float, float] | None]) -> list[Sequence[str]]:
    """The table of the curves: their shape, their ends against the bands that are stated, and what the nets learnt."""
    T, labels = int(found.distances[-1]), [net.label for net in nets]
    ends = [found.curves[label][-1] for label in labels]
    columns = {f"{QUANTITIES[found.quantity]}, by T - t": labels}
    columns["factor per step"] = [f"{found.factor(label):.3f}" for label in labels]
    for fraction in (1e-2, 1e-3):
        reaches = (found.reach(label, fraction) for label in labels)
        columns[f"steps to {100 * fraction:g} %"] = [f"> {T}" if n is None else f"{n}" for n in reaches]
    columns[f"at {T}"] = [f"{end:.2g}" for end in ends]
    if any(nets.values()):
        bands = zip(ends, nets.values(), strict=True)
        columns["stated band"] = [f"{a:g} to {b:g}{'' if a <= end <= b else ': outside'}" for end, (a, b) in bands]
    if any(net.updates for net in nets):
        columns["adding problem, MSE"] = [f"{found.errors[label]:.3f}" for label in labels]
    return [list(columns), *zip(*columns.values(), strict=True)]


def add_sweep(commands: argparse._SubParsersAction) -> None:
    """Add `sweep` to the commands of the command line."""
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
        told = f"{failed} of {counted(len(runs), 'run')} failed; {options.out} tells why"
        print(f"tinygrad-rnn sweep: {told}", file=sys.stderr)
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
    """The executor of the Dask cluster at an address; None if there is no address."""
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
