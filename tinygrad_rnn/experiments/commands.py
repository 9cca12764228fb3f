"""The commands `train`, `flow` and `sweep` of the command line; each fills a folder, `--out`, with its results."""

import argparse
import contextlib
import itertools
import logging
import shlex
import sys
import textwrap
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path

from tinygrad_rnn.experiments import points
from tinygrad_rnn.experiments.flow import PRESETS, QUANTITIES, Conditions, Flow, Net, Preset, flow, nets_of
from tinygrad_rnn.experiments.options import add_options, given
from tinygrad_rnn.experiments.run import CHECKPOINT, TrainPoint, read_settings, train
from tinygrad_rnn.experiments.runs import Run
from tinygrad_rnn.experiments.settings import Settings
from tinygrad_rnn.experiments.sweep import sweep
from tinygrad_rnn.experiments.training import Epoch
from tinygrad_rnn.files import claimed, refuse_others
from tinygrad_rnn.tables import aligned, counted

ANSWER = 5  # seconds that a Dask scheduler has to answer in


def add_train(commands: argparse._SubParsersAction) -> None:
    """Add `train` to the commands of the command line."""
    parser = commands.add_parser("train", help="train a net to forecast a series or a text, against simple baselines")
    folder = parser.add_mutually_exclusive_group()
    folder.add_argument("--out", default="out/train", help="the folder for the results (default: out/train)")
    folder.add_argument(
        "--resume", metavar="DIR",
        help="go on with the run in this folder, with its settings; more --epochs than it had may be given",
    )  # fmt: skip
    add_options(parser, Settings)
    parser.set_defaults(run=_train)


def _train(options: argparse.Namespace) -> int:
    resume = options.resume is not None
    out = options.resume if resume else options.out
    before = read_settings(Path(out)).as_dict() if resume else {}
    settings = Settings(**before | given(options, Settings)).seen_from(Path.cwd())
    try:
        summary = train(settings, out, resume, _show_progress)
    except KeyboardInterrupt as interrupt:
        begun = Path(out, CHECKPOINT).exists() and read_settings(Path(out)) == settings
        hint = f"; go on with: tinygrad-rnn train --resume {shlex.quote(out)}" if begun else ""
        raise type(interrupt)(f"interrupted{hint}") from None
    print(f"{summary}\n\nwrote {out}")
    return 0


def _show_progress(done: int, total: int, epoch: Epoch | None) -> None:
    """Print a line after the epoch that completes another tenth of the updates."""
    if epoch is not None and 10 * done // total > 10 * (done - done // epoch.epoch) // total:
        rate = done / max(epoch.seconds, 1e-3)
        losses = f"training loss {epoch.training_loss:.4g}, held-out loss {epoch.held_out_loss:.4g}"
        left = f"{rate:.3g} updates a second, {(total - done) / rate:.0f} s left"
        print(f"{done:,} of {total:,} updates: {losses}, {left}", flush=True)


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
    add_options(parser.add_argument_group("nets"), Net, several=True)
    add_options(parser.add_argument_group("what they have in common"), Conditions)
    parser.add_argument("--out", default="out/flow", help="the folder for the results (default: out/flow)")
    parser.set_defaults(run=_flow)


def _flow(options: argparse.Namespace) -> int:
    choices, conditions = given(options, Net), given(options, Conditions)
    settings = {"seed": conditions.pop("seed")} if "seed" in conditions else {}
    preset = PRESETS[options.preset or "reach"]
    if options.preset and (choices or conditions):
        names = ", ".join("--" + name.replace("_", "-") for name in choices | conditions)
        raise ValueError(f"--preset {options.preset} is an experiment as it stands: leave out {names}")
    if choices or conditions:
        preset = Preset("", dict.fromkeys(nets_of(**choices)), conditions)
    with claimed(options.out) as folder:  # before the work: it may not be possible
        for name in ("flow.svg", "flow.csv"):
            refuse_others(folder / name, "distance T - t, steps")
        found = flow(preset.nets, **settings, **preset.settings)
        print(f"{textwrap.fill(preset.claim, 100)}\n\n{aligned(_rows(found, preset.nets))}\n".lstrip())
        found.save(folder)
    print(f"wrote {folder}")
    return 0


def _rows(found: Flow, nets: Mapping[Net, tuple[float, float] | None]) -> list[Sequence[str]]:
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
        "sweep", help="train over a grid, or a random sample, of settings", description=points.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("file", type=Path, metavar="FILE.toml", help="the settings of the runs")
    parser.add_argument(
        "--out", required=True,
        help="the folder for results.csv, results.svg and a folder of each run; a run that is there, over the same "
        "data, is not run again",
    )  # fmt: skip
    parser.add_argument("--measure", metavar="NAME", help="the number that is drawn (default: the first)")
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--workers", type=int, metavar="N", help="processes (default: one for each core)")
    place.add_argument(
        "--dask", metavar="ADDRESS", help="run on the Dask cluster of this scheduler, which sees the same files"
    )
    parser.set_defaults(run=_sweep)


def _sweep(options: argparse.Namespace) -> int:
    all_settings = points.read_points(options.file)
    varied = [name for name in all_settings[0] if any(point[name] != all_settings[0][name] for point in all_settings)]
    function, count = TrainPoint.over(all_settings, options.out), itertools.count(1)

    def show(run: Run) -> None:
        print(f"{next(count)}/{len(all_settings)} {_told(run, varied, options.measure)}", flush=True)

    try:
        with _executor(options.dask) as executor:
            runs = sweep(
                function, all_settings, executor, out=options.out, workers=options.workers, measure=options.measure,
                progress=show, key=function.key,
            )  # fmt: skip
    except KeyboardInterrupt as interrupt:
        kept = f"interrupted; {options.out} keeps what has run, give it again to go on"
        kept += "; what the cluster has begun it goes on with" if options.dask else ""
        raise type(interrupt)(kept) from None
    failed = sum(run.error is not None for run in runs)
    if failed:
        told = f"{failed} of {counted(len(runs), 'run')} failed; {options.out} tells why"
        print(f"tinygrad-rnn sweep: {told}", file=sys.stderr)
    return 1 if failed else 0


def _told(run: Run, varied: list[str], measure: str | None) -> str:
    settings = " ".join(f"{name}={run.parameters[name]}" for name in varied) or "as the file says"
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
    clients: list[Client] = []

    def connect() -> None:
        with contextlib.suppress(Exception):
            clients.append(Client(address, timeout=ANSWER))

    # In a thread that can be left alone: with a server of another kind, as that of Dask's own dashboard, the client
    # waits for ever, whatever its timeout, or takes what it is told for a huge length.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(ANSWER + 1)
    if not clients:
        raise ConnectionError(f"--dask {address}: no Dask scheduler answers there")
    with clients[0] as client:
        yield client.get_executor(pure=False)
