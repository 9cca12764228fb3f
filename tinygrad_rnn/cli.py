"""The command line: `tinygrad-rnn demo | draw | check | train | predict | flow | sweep`, also `python -m tinygrad_rnn`.

Exit status: 0; 1 when a gradient disagrees, training diverges, or a file cannot be read or written; 2 for bad arguments
or bad data; 130 when interrupted.
"""

import argparse
import contextlib
import csv
import inspect
import io
import os
import re
import shlex
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from tinygrad_rnn import DrawingError, GradientError, Tensor, __version__, datasets, draw, label, nn, stack
from tinygrad_rnn.backward import topological_order
from tinygrad_rnn.bptt.closed_form import closed_form_gradients
from tinygrad_rnn.checking import check_parameters, check_primitive
from tinygrad_rnn.checks import meant, one_of
from tinygrad_rnn.draw.diagram import FORMATS, PICTURES
from tinygrad_rnn.draw.unfolding import COLOURS, FITS, LEVELS, Options
from tinygrad_rnn.experiments import plots
from tinygrad_rnn.experiments.data import columns
from tinygrad_rnn.experiments.flow import NETS, QUANTITIES, Conditions, Flow, Net, flow
from tinygrad_rnn.experiments.run import CHECKPOINT, load_run, read_settings, train
from tinygrad_rnn.experiments.settings import Settings, add_options, check_fields, combined, f_of_rnn, given, option
from tinygrad_rnn.experiments.sweep import Run, TrainPoint, read_points, sweep
from tinygrad_rnn.experiments.training import Epoch
from tinygrad_rnn.files import claimed, refuse_data, refuse_others
from tinygrad_rnn.nn.cells import NONLINEARITIES
from tinygrad_rnn.nn.recurrent import KINDS
from tinygrad_rnn.primitives import TABLE
from tinygrad_rnn.tables import aligned, counted

VIEWS = ("forward", "backward", "between", "terms")
CELLS: dict[str, Callable[..., Any]] = {f"RNNCell, {f}": partial(nn.RNNCell, nonlinearity=f) for f in NONLINEARITIES}
CELLS |= {"LSTMCell": nn.LSTMCell, "GRUCell": nn.GRUCell}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal that cannot show ‖ shows ?

    def tell(message: object, *_: Any, **__: Any) -> None:
        line = " ".join(str(message).removeprefix(f"{options.command}: ").splitlines())
        print(f"tinygrad-rnn {options.command}: {line}", file=sys.stderr)

    try:
        try:
            options = _parser().parse_args((sys.argv[1:] if arguments is None else arguments) or ["--help"])
            with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO() if options.quiet else sys.stdout):
                warnings.showwarning = tell
                return options.run(options) or 0
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # nobody reads what is printed, as after `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt as error:
        status, message = 130, str(error) or "interrupted"
    except FileExistsError as error:
        status, message = 1, f"a folder is needed, and this is a file: {error.filename}"
    except OSError as error:
        status, message = 1, ": ".join(str(part) for part in (error.strerror or error, error.filename) if part)
    except ValueError as error:
        status, message = 2, f"{error} (see tinygrad-rnn {options.command} --help)"
    except (DrawingError, ArithmeticError, MemoryError, ImportError) as error:  # the last of a package that is an extra
        status, message = 1, str(error) or "not enough memory"
    tell(message)
    return status


class _Parser(argparse.ArgumentParser):
    """Tells what is wrong with the arguments in one line, and what may be meant."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[argparse.Namespace, list[str]]:  # type: ignore[override]
        self.given = args
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        options = re.findall(r"--[\w-]+", self.format_help())
        misspelt = [x for x in self.given if x[:2] == "--" and not any(o.startswith(x.split("=")[0]) for o in options)]
        if misspelt and "required" in message:  # which may be what is misspelt
            message = f"unrecognized arguments: {' '.join(misspelt)}"
        wrong = re.search(r"(?:invalid choice|unrecognized arguments): '?([\w-]+)", message)
        menu = re.findall(r"[\w-]+", message.partition("choose from")[2]) or options
        message += meant(wrong[1], menu) if wrong else ""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="tinygrad-rnn", description="See how automatic differentiation unrolls a recurrent net.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    with contextlib.suppress(ImportError):  # an extra
        import_module("shtab").add_argument_to(parser, "--completion", help="print what completes commands in a shell")
    commands = parser.add_subparsers(dest="command", required=True)

    def command(run: Callable[[argparse.Namespace], int | None], meaning: str, **known: Any) -> argparse.ArgumentParser:
        added = commands.add_parser(run.__name__.strip("_"), help=meaning, **known)
        added.set_defaults(run=run)
        added.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors")
        return added

    demo = command(_demo, "unroll a net over a series: its graphs, and its gradients in three ways")
    *series, cell, nonlinearity, layers = fields(Forecast)
    add_options(demo, series)  # of the net that has a closed form
    demo.add_argument("--out", metavar="FOLDER", default="out", help="for the figures (default: out)")

    figure = command(_draw, "draw one graph of a net over a series, or the terms of its gradient")
    net = figure.add_argument_group("net")
    add_options(net, series)
    add_options(net, [cell], action="append")
    add_options(net, [nonlinearity, layers])
    net.add_argument("--many-to-many", action="store_true", help="a loss at each step, of the next value; E is the sum")
    # What is not given has no attribute: the library's own defaults hold.
    _add_figure_options(figure.add_argument_group("figure", argument_default=argparse.SUPPRESS))

    what = f"check {len(TABLE)} primitives and {len(CELLS)} cells ({'; '.join(CELLS)}) against central differences"
    command(_check, what, description=what)

    training = command(_train, "train a net to forecast a series or a text, against simple baselines")
    folder = training.add_mutually_exclusive_group()
    folder.add_argument("--out", metavar="FOLDER", default="out/train", help="for the results (default: out/train)")
    folder.add_argument("--resume", metavar="FOLDER", help="go on with this run; --epochs may grow, if no --schedule")
    add_options(training, fields(Settings))

    forecast = command(_predict, "forecast what comes after the end of a series, by a net that was trained")
    forecast.add_argument("folder", metavar="FOLDER", help="the folder of the run, as `train --out` names it")
    forecast.add_argument("--data", metavar="FILE", default=argparse.SUPPRESS, help="other data (default: the run's)")
    add_options(forecast, [s for s in fields(Settings) if s.name in ("missing", "decimal", "encoding")], "the run's")
    forecast.add_argument("--steps", type=int, metavar="N", help="how many (default: the horizon of the run)")
    forecast.add_argument("-o", "--out", type=Path, metavar="FILE", help="a .csv, with a figure; - for standard output")

    curves = command(_flow, "how far a gradient comes back through time, in six known nets or all that options combine")
    add_options(curves.add_argument_group("nets"), fields(Net), nargs="+", action="extend")
    add_options(curves.add_argument_group("what they have in common"), fields(Conditions))
    curves.add_argument("--out", metavar="FOLDER", default="out/flow", help="for the results (default: out/flow)")

    file, _, _ = (inspect.getdoc(read_points) or "").partition("Raises:")  # none with python -OO
    raw = {"description": file, "formatter_class": argparse.RawDescriptionHelpFormatter}
    runs = command(_sweep, "train over a grid, or a random sample, of settings", **raw)
    runs.add_argument("file", type=Path, metavar="FILE.toml", help="the settings of the runs")
    runs.add_argument("--out", metavar="FOLDER", required=True, help="for the results; a run in it is not run again")
    runs.add_argument("--measure", metavar="NAME", help="the number that is drawn (default: the first)")
    runs.add_argument("--workers", type=int, metavar="N", help="processes (default: one for each core)")
    return parser


def _add_figure_options(figure: argparse._ArgumentGroup) -> None:
    views = "forward (default); backward; between: from h(T) back to h(T-1); terms: of each step's loss, as a heat map"
    figure.add_argument("--view", choices=VIEWS, default=VIEWS[0], help=views)
    figure.add_argument("--level", choices=LEVELS, help=f"what is drawn (default: {Options.level})")
    figure.add_argument("--notation", choices=draw.NOTATIONS, help=f"whose letters (default: {Options.notation})")
    steps = figure.add_mutually_exclusive_group()
    steps.add_argument("--max-steps", type=int, metavar="N", help="draw N steps, the first and the last")
    steps.add_argument("--rolled", action="store_true", help="one step stands for all, with a loop")
    figure.add_argument("--values", action="store_true", help="write the value, or the gradient, into every node")
    figure.add_argument("--shapes", action="store_true", help="write the shape into every node")
    figure.add_argument("--no-parameters", dest="parameters", action="store_false", help="leave out the parameters")
    figure.add_argument("--fit", choices=FITS, help=f"frame both figures, or this one (default: {Options.fit})")
    figure.add_argument("--color-by", choices=COLOURS[1:], help="fill the nodes by the norm of their gradient or value")
    figure.add_argument("--font-size", type=int, metavar="N", help="points of the letters (default: 16)")
    figure.add_argument("--highlight", type=int, metavar="STEP", help="the term of --parameter through this step")
    figure.add_argument("--parameter", metavar="NAME", help="for --highlight and --view terms, as U_i (default: U)")
    out = figure.add_mutually_exclusive_group(required=True)
    out.add_argument("-o", "--out", type=Path, metavar="FILE", help=f"a .{', .'.join(FORMATS)}; - for standard output")
    out.add_argument("--frames", type=Path, metavar="FOLDER", help="a picture for each moment of the page's story")
    figure.add_argument("--format", choices=FORMATS, help=f"of --frames and of -o - (default: {PICTURES[0]})")
    figure.add_argument("--dpi", type=int, metavar="N", help="dots per inch of a .png (default: 192) or .gif (96)")
    figure.add_argument("--outlines", action="store_true", help="draw the letters of an .svg as shapes")


@dataclass
class Forecast:
    """A net on the last steps of a series, which it forecasts; by default that of interdb.

    Attributes:
        parameters: by their names, with the layer where there are several: U, U_i, U_2 or U_i,2.
    """

    data: str = option("sunspots", "sunspots, sine, or a CSV file")
    column: str | None = option(None, "the column of the CSV file")
    steps: int = option(4, "how many time steps to unroll", least=1)
    hidden: int = option(3, "the length of the hidden state", least=1)
    seed: int = option(0, "of the initial weights", least=0)
    cell: str = option("rnn", "the kind of cell; given again, a page has a tab for each", choices=tuple(KINDS))
    nonlinearity: str | None = f_of_rnn()
    layers: int = option(1, "cells on each other", least=1)

    def __post_init__(self) -> None:
        check_fields(self)
        self.xs, self.target = datasets.window(datasets.read_table(self.data, [self.column])[0][0], self.steps)
        rng, kind = np.random.default_rng(self.seed), KINDS[self.cell]
        settings = {"nonlinearity": self.nonlinearity} if self.nonlinearity else {}
        self.rnn = kind(1, self.hidden, num_layers=self.layers, rng=rng, **settings)
        self.readout = nn.Linear(self.hidden, 1, rng=rng)
        self.parameters = {}
        for p in (*self.rnn.parameters(), *self.readout.parameters()):
            base, below, _ = draw.Notation().parts(p.name, None, p.layer)
            self.parameters[f"{base}_{below}" if below else base] = p

    def losses(self) -> list[Tensor]:
        """The losses of the many-to-many net, whose target at each step is the next value."""
        targets = (*self.xs[1:], self.target)
        return [nn.half_squared_error(self.readout(h), Y) for h, Y in zip(self.rnn(self.xs)[0], targets, strict=True)]

    def loss(self, many_to_many: bool = False) -> Tensor:
        """The loss of the last step; or the sum of those of all steps, E = Σ E_t, if there are several."""
        if not many_to_many:
            return nn.half_squared_error(self.readout(self.rnn(self.xs)[0][-1]), self.target)
        first, *others = self.losses()
        return label(sum(others, first), "E") if others else first

    def parameter(self, name: str | None) -> Tensor:
        """The parameter of this name, or else the first recurrent matrix: U, or that of the first gate or layer."""
        if name is None:
            return next(p for name, p in self.parameters.items() if name.startswith("U"))
        return self.parameters[one_of("", "parameter", name, self.parameters)]


def _demo(options: argparse.Namespace) -> int:
    net = Forecast(**given(options, Forecast))
    loss = net.loss()
    figures = {"forward": draw.forward(loss), "backward": draw.backward(loss)}
    figures["forward-primitives"] = draw.forward(loss, level="primitives")
    with claimed(options.out, {f"{name}.svg": [f"<title>{x.title}</title>"] for name, x in figures.items()}) as folder:
        for name, diagram in figures.items():
            print(f"wrote {diagram.save(folder / f'{name}.svg')}")

    loss.backward()
    arrays: dict[str, Any] = {name: p.value for name, p in net.parameters.items()}
    by_hand = closed_form_gradients(**arrays, xs=net.xs, targets=net.target)
    rows = [["parameter", "shape", "graph", "closed form", "difference", "central differences"]]
    differences = {name: np.max(np.abs(p.grad - getattr(by_hand, name))) for name, p in net.parameters.items()}
    for name, p in net.parameters.items():
        norms = [f"{np.linalg.norm(g):.10f}" for g in (p.grad, getattr(by_hand, name))]
        numeric = _checked(check_parameters, net.loss, [p])
        rows.append([name, str(p.shape), *norms, f"{differences[name]:.1e}", numeric])
    nodes = topological_order(loss)
    made = sum(not node.is_leaf for node in nodes)
    steps, found = counted(net.steps, "step"), counted(len(nodes), "node")
    print(f"\n{net.data}, {steps}: {found}, {made} of them made by primitives")
    print(f"loss {loss.item():.10f} by the graph, {by_hand.loss:.10f} by the closed form (eq. 7.3)\n")
    print("‖gradient‖ by the graph and by the closed form (eqs. 7.7 to 7.9), the largest difference between the two,")
    print("and the largest relative error against central differences:\n")
    print(aligned(rows))
    if differ := {name: x for name, x in differences.items() if not x <= 1e-10}:
        raise GradientError("; ".join(f"{name}: graph and closed form differ by {x:.1e}" for name, x in differ.items()))
    return int(any("wrong" in row for row in rows))


def _draw(options: argparse.Namespace) -> None:
    shown = given(options, Options)
    how = {name: getattr(options, name) for name in ("format", "dpi", "outlines") if hasattr(options, name)}
    chosen = {name: x if name == "cell" else [x] for name, x in given(options, Forecast).items()}
    nets = {net.cell: net for net in combined(Forecast, **chosen)}
    net, *others = nets.values()
    _refuse_what_has_no_effect(options, shown, net.steps, len(nets))
    if others:
        losses = {cell: net.loss(options.many_to_many) for cell, net in nets.items()}
        print(f"wrote {draw.page(losses, options.out, **shown)}")
    elif hasattr(options, "frames"):
        paths = _diagram(net, options, shown).frames(options.frames, **how)
        print(f"wrote {paths[0]} to {paths[-1].name}")
    elif options.out == Path("-"):
        picture = _diagram(net, options, shown).render(**{"format": PICTURES[0], **how})
        with open(1, "wb", closefd=False) as stdout:  # --quiet or not
            stdout.write(picture)
    else:
        refuse_data(options.out, net.data, "file", "-o ")
        print(f"wrote {_diagram(net, options, shown).save(options.out, **how)}")


def _refuse_what_has_no_effect(options: argparse.Namespace, shown: dict[str, Any], steps: int, nets: int) -> None:
    """Raise a ValueError for an option that another one leaves without a meaning."""
    flags = {name: f"--{name.replace('_', '-')}" for name in shown} | {"parameters": "--no-parameters"}
    others = ", ".join(flags[name] for name in shown if name != "notation")
    bare = ", ".join(flags[name] for name in ("values", "shapes", "color_by", "highlight") if name in shown)
    term, frames = "highlight" in shown, hasattr(options, "frames")
    terms, between = options.view == "terms", options.view == "between"
    moves, typed = frames or options.out.suffix.lower() == ".gif", hasattr(options, "format") and not frames
    alone = moves or term or terms or between
    for message, holds in {
        f"--view terms is a table, not a graph: leave out {others}": terms and others,
        "--highlight is a term of a loss's gradient: not for --view between": between and term,
        "--view between is from h(T) to h(T-1): --steps 2 or more is needed": between and steps < 2,
        "several --cell are compared on a page, an .html of whole nets": nets > 1 and alone,
        "--parameter is for --view terms and --highlight": hasattr(options, "parameter") and not (terms or term),
        "--format is of --frames and of -o -; a file's suffix says its own": typed and options.out != Path("-"),
        f"frames show neither notes nor colours nor a single term: leave out {bare}": moves and bare,
    }.items():
        if holds:
            raise ValueError(message)


def _diagram(net: Forecast, options: argparse.Namespace, shown: dict[str, Any]) -> draw.Diagram:
    name = getattr(options, "parameter", None)
    if options.view == "terms":
        return draw.terms(net.losses(), net.parameter(name), **shown)
    if "highlight" in shown:
        shown["highlight"] = (net.parameter(name), options.highlight)
    if options.view == "between":
        *_, before, last = net.rnn(net.xs)[0]
        return draw.between(last, before, **shown)
    return getattr(draw, options.view)(net.loss(options.many_to_many), **shown)


def _check(options: argparse.Namespace) -> int:
    primitives, cells = [["primitive", "gradient", "second derivative"]], [["cell", "parameters", "inputs", "state"]]
    primitives += [[name, *(_checked(check_primitive, name, order) for order in (1, 2))] for name in TABLE]
    for name, cell in CELLS.items():
        loss, *leaves = _two_steps(cell)
        cells.append([name, *(_checked(check_parameters, loss, of) for of in leaves)])
    print(f"largest relative error against central differences\n\n{aligned(primitives)}\n")
    print(f"the same of the gradients of two steps of a cell, on a batch\n\n{aligned(cells)}")
    return int(any("wrong" in row for row in primitives + cells))


def _checked(check: Callable[..., float | Sequence[float]], *arguments: Any) -> str:
    """The error that a check finds, the largest of several, as a table shows it; or "wrong", and it is told."""
    try:
        return f"{np.max(check(*arguments)):.1e}"
    except GradientError as error:
        print(error, file=sys.stderr)
        return "wrong"


def _two_steps(kind: Callable[..., Any]) -> tuple[Callable[[], Tensor], list[Tensor], list[Tensor], tuple[Tensor, ...]]:
    """A loss of two steps of a cell on a batch; the parameters, the inputs and the parts of the state that it is of."""
    rng = np.random.default_rng(0)
    cell = kind(2, 3, rng=rng)
    inputs = [Tensor(rng.standard_normal((4, 2)), requires_grad=True) for _ in range(2)]
    state = tuple(Tensor(rng.standard_normal((4, 3)), requires_grad=True) for _ in cell.state_names)
    weights = rng.standard_normal((len(state), 4, 3))

    def loss() -> Tensor:
        after = cell(inputs[1], cell(inputs[0], state))
        return (weights * stack(after if len(state) > 1 else [after])).sum()

    return loss, cell.parameters(), inputs, state


def _train(options: argparse.Namespace) -> None:
    resume = options.resume is not None
    out = options.resume if resume else options.out
    before = asdict(read_settings(Path(out))) if resume else {}
    settings = Settings(**before | given(options, Settings)).seen_from(Path.cwd())
    try:
        summary = train(settings, out, resume, _show_progress)
    except KeyboardInterrupt:
        begun = Path(out, CHECKPOINT).exists() and read_settings(Path(out)) == settings
        hint = f"; go on with: tinygrad-rnn train --resume {shlex.quote(out)}" if begun else ""
        raise KeyboardInterrupt(f"interrupted{hint}") from None
    print(f"{summary}\n\nwrote {out}")


def _predict(options: argparse.Namespace) -> None:
    run = load_run(options.folder)
    run = replace(run, settings=replace(run.settings, **given(options, Settings)))
    settings, out, name = run.settings, options.out, run.settings.column or "forecast"
    found = run.predict(steps=settings.horizon if options.steps is None else options.steps)
    ids, found = ([settings.lengths], found) if settings.lengths else ([], {"forecast": found})
    header, steps = [*ids, "step", name], np.arange(1, len(next(iter(found.values()))) + 1)
    rows = [[label, step, x][-len(header) :] for label, xs in found.items() for step, x in zip(steps, xs, strict=True)]
    if out is None:
        print(aligned([header, *([*map(str, row[:-1]), f"{row[-1]:.6g}"] for row in rows)]))
    elif out == Path("-"):
        with open(1, "w", closefd=False) as stdout:
            csv.writer(stdout, lineterminator="\n").writerows([header, *rows])
    elif out.suffix != ".csv":
        raise ValueError(f"-o {out}: a .csv is needed, or - for standard output")
    else:
        refuse_data(out, settings.data, "file", "-o ")
        refuse_others(figure := out.with_suffix(".svg"), [plots.MARK])
        own = not ids and settings.column in settings.sources
        past = columns(settings, [settings.column])[0][0, -100:] if own else np.empty(0)
        lines = {"truth": np.append(past, np.nan * steps)} if own else {}
        lines |= {label: np.append(np.nan * past, xs) for label, xs in list(found.items())[:20]}
        x = ("step", np.append(np.arange(1 - len(past), 1), steps))
        plots.curves(figure, f"{Path(settings.data).name}, {settings.cell}", x, name, lines, numbers=False)
        print(f"wrote {plots.table(out, header, rows)}")


def _show_progress(done: int, total: int, epoch: Epoch | None) -> None:
    """Print a line after the epoch that completes another tenth of the updates."""
    if epoch is not None and 10 * done // total > 10 * (done - done // epoch.epoch) // total:
        rate = done / max(epoch.seconds, 1e-3)
        losses = f"training loss {epoch.training_loss:.4g}, held-out loss {epoch.held_out_loss:.4g}"
        left = f"{rate:.3g} updates a second, {(total - done) / rate:.0f} s left"
        print(f"{done:,} of {counted(total, 'update')}: {losses}, {left}", flush=True)


def _flow(options: argparse.Namespace) -> None:
    choices, conditions = given(options, Net), given(options, Conditions)
    nets = combined(Net, **choices) if choices or conditions.keys() - {"seed"} else NETS
    marks = ["distance T - t, steps"]
    with claimed(options.out, {"flow.svg": marks, "flow.csv": marks}) as folder:  # before the work
        found = flow(nets, **conditions)
        print(f"{aligned(_rows(found))}\n")
        found.save(folder)
    print(f"wrote {folder}")


def _rows(found: Flow) -> list[list[str]]:
    """The table of the curves: their shape, their ends, and what the nets learnt."""
    T, header = int(found.distances[-1]), ["factor per step", "steps to 1 %", "steps to 0.1 %"]
    rows = [[f"{QUANTITIES[found.quantity]}, by T - t", *header, f"at {T}", "adding problem, MSE"]]
    for name, curve in found.curves.items():
        reaches = [f"> {T}" if (n := found.reach(name, end)) is None else f"{n}" for end in (1e-2, 1e-3)]
        rows.append([name, f"{found.factor(name):.3f}", *reaches, f"{curve[-1]:.2g}", f"{found.errors[name]:.3f}"])
    return rows if any(net.updates for net in found.nets.values()) else [row[:-1] for row in rows]


def _sweep(options: argparse.Namespace) -> int:
    points, train_point, ended = read_points(options.file), TrainPoint(options.out), []
    varied = [name for name in points[0] if any(point[name] != points[0][name] for point in points)]

    def show(run: Run) -> None:
        ended.append(run)
        settings = " ".join(f"{name}={run.parameters[name]}" for name in varied) or "as the file says"
        measure, numbers = options.measure or "held_out", run.numbers()
        found = run.error or f"{one_of('', 'measure', measure, numbers)} {numbers[measure]:.6g}, {run.seconds:.1f} s"
        print(f"{len(ended)}/{len(points)} {settings}: {found}", flush=True)

    try:
        known: dict[str, Any] = {name: getattr(options, name) for name in ("out", "workers", "measure")}
        sweep(train_point, points, key=train_point.key, progress=show, **known)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted; {options.out} keeps what has run, give it again to go on") from None
    if failed := sum(run.error is not None for run in ended):
        told = f"{failed} of {counted(len(ended), 'run')} failed; {options.out} tells why"
        print(f"tinygrad-rnn sweep: {told}", file=sys.stderr)
    return 1 if failed else 0
