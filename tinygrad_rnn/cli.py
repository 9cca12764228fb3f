"""The command line: `tinygrad-rnn demo | draw | check | train | flow | sweep`, also `python -m tinygrad_rnn`.

Exit status: 0; 1 when a gradient disagrees, training diverges, or a file cannot be read or written; 2 for bad arguments
or bad data; 130 when interrupted, 143 when terminated.
"""

import argparse
import contextlib
import difflib
import errno
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from tinygrad_rnn import Tensor, __version__, datasets, draw, nn, stack
from tinygrad_rnn.backward import topological_order
from tinygrad_rnn.bptt.closed_form import closed_form_gradients
from tinygrad_rnn.checking import check_parameters, check_primitive
from tinygrad_rnn.draw.diagram import FORMATS, PICTURES
from tinygrad_rnn.draw.unfolding import COLOURS, FITS, LEVELS, Options
from tinygrad_rnn.errors import DrawingError, GradientError
from tinygrad_rnn.experiments.commands import add_flow, add_sweep, add_train
from tinygrad_rnn.experiments.options import reader
from tinygrad_rnn.files import claimed, refuse_others
from tinygrad_rnn.naming import label
from tinygrad_rnn.nn.cells import NONLINEARITIES, Cell
from tinygrad_rnn.nn.recurrent import KINDS
from tinygrad_rnn.primitives import TABLE
from tinygrad_rnn.tables import aligned, counted

AGREEMENT = 1e-10  # the largest difference from the closed form that the demo accepts
VIEWS = ("forward", "backward", "between", "terms")
_whole = partial(reader, int, False)  # a whole number, from the least that is given up
CELLS: dict[str, Callable[..., Cell]] = {f"RNNCell, {f}": partial(nn.RNNCell, nonlinearity=f) for f in NONLINEARITIES}
CELLS |= {"LSTMCell": nn.LSTMCell, "GRUCell": nn.GRUCell}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal that cannot show ‖ shows ?
    options = _parser().parse_args((sys.argv[1:] if arguments is None else arguments) or ["--help"])
    try:
        with warnings.catch_warnings(), _termination_interrupts():
            warnings.showwarning = _shown_in_a_line(options.command)
            status = options.run(options)
            sys.stdout.flush()
            return status
    except ValueError as error:
        status, message = 2, str(error)
    except (DrawingError, ArithmeticError, ImportError) as error:  # the last of a package that is an extra
        status, message = 1, str(error)
    except MemoryError as error:
        status, message = 1, f"not enough memory: {error}"
    except KeyboardInterrupt as error:
        status, message = 143 if isinstance(error, Terminated) else 130, str(error) or "interrupted"
    except FileExistsError as error:
        status, message = 1, f"a folder is needed, and this is a file: {error.filename}"
    except OSError as error:
        if error.strerror == os.strerror(errno.EPIPE):  # nobody reads what is printed, as after `| head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        told = error.strerror or str(error)
        status, message = 1, f"{told}: {error.filename}" if error.filename else told
    message = " ".join(message.removeprefix(f"{options.command}: ").splitlines())
    print(f"tinygrad-rnn {options.command}: {message}", file=sys.stderr)
    return status


class Terminated(KeyboardInterrupt):
    """SIGTERM interrupts as Ctrl-C does: what has been done is kept."""


@contextlib.contextmanager
def _termination_interrupts() -> Iterator[None]:
    def interrupt(number: int, frame: Any) -> None:
        raise Terminated

    before = signal.getsignal(signal.SIGTERM)
    with contextlib.suppress(ValueError):  # signals are for the main thread
        signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            signal.signal(signal.SIGTERM, before)


def _shown_in_a_line(command: str) -> Callable[..., None]:
    """A function that shows a warning once, and without the place in the code that it comes from."""
    told: set[str] = set()

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        if str(message) not in told:
            told.add(str(message))
            print(f"tinygrad-rnn {command}: {message}", file=sys.stderr)

    return show


class _Parser(argparse.ArgumentParser):
    """Tells what is wrong with the arguments in one line, and what may be meant."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[argparse.Namespace, list[str]]:
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        wrong = re.search(r"(?:invalid choice|unrecognized arguments): '?([\w-]+)", message)
        near = difflib.get_close_matches(wrong[1], re.findall(r"[\w-]+", self.format_help()), 1) if wrong else []
        message += f"; did you mean {near[0]}?" if near else ""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="tinygrad-rnn", description="See how automatic differentiation unrolls a recurrent net through time."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)

    demo = commands.add_parser("demo", help="unroll a net over a series: its graphs, and its gradients in three ways")
    _add_net_options(demo)
    demo.add_argument("--out", default="out", help="the folder for the figures (default: out)")
    demo.set_defaults(run=_demo)

    figure = commands.add_parser("draw", help="draw one graph of a net over a series, or the terms of its gradient")
    _add_draw_options(figure)
    figure.set_defaults(run=_draw)

    what = f"the {len(TABLE)} primitives of the table, first and second derivatives, and {len(CELLS)} cells, two steps"
    checked = f"{what} of each ({'; '.join(CELLS)}), against central differences"
    check = commands.add_parser("check", help=f"check {checked}", description=f"Check {checked}.")
    check.set_defaults(run=_check)

    for add_command in (add_train, add_flow, add_sweep):
        add_command(commands)
    return parser


def _add_net_options(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--data", default="sunspots", help="sunspots (default), sine, or a CSV file")
    parser.add_argument("--column", help="the column of the CSV file")
    parser.add_argument("--steps", type=_whole(1), default=4, help="how many time steps to unroll (default: 4)")
    parser.add_argument("--hidden", type=_whole(1), default=3, help="the length of the hidden state (default: 3)")
    parser.add_argument("--seed", type=_whole(0), default=0, help="of the initial weights (default: 0)")


def _add_draw_options(parser: argparse.ArgumentParser) -> None:
    net = parser.add_argument_group("net")
    _add_net_options(net)
    net.add_argument(
        "--cell", choices=KINDS, action="append", help="(default: rnn); given again, a page has a tab for each"
    )
    net.add_argument("--nonlinearity", choices=NONLINEARITIES, help="f of the plain cell, rnn (default: tanh)")
    net.add_argument("--layers", type=_whole(1), default=1, metavar="N", help="cells on each other (default: 1)")
    net.add_argument(
        "--many-to-many", action="store_true", help="a loss at each step, of the next value; E is their sum"
    )

    # What is not given has no attribute: the library's own defaults hold.
    figure = parser.add_argument_group("figure", argument_default=argparse.SUPPRESS)
    figure.add_argument(
        "--view", choices=VIEWS, default=VIEWS[0],
        help="forward (default); backward; between: from h(T) back to h(T-1); terms: the norms of the terms of the "
        "gradient of each step's loss, those of --many-to-many, as a heat map",
    )  # fmt: skip
    figure.add_argument("--level", choices=LEVELS, help=f"what is drawn (default: {Options.level})")
    figure.add_argument("--notation", choices=draw.NOTATIONS, help=f"whose letters (default: {Options.notation})")
    steps = figure.add_mutually_exclusive_group()
    steps.add_argument("--max-steps", type=_whole(2), metavar="N", help="draw N steps, the first and the last")
    steps.add_argument("--rolled", action="store_true", help="one step stands for all, with a loop")
    figure.add_argument("--values", action="store_true", help="write the value, or the gradient, into every node")
    figure.add_argument("--shapes", action="store_true", help="write the shape into every node")
    figure.add_argument("--no-parameters", dest="parameters", action="store_false", help="leave out the parameters")
    figure.add_argument(
        "--fit", choices=FITS, help=f"the frame: of both figures, or of this one (default: {Options.fit})"
    )
    figure.add_argument("--color-by", choices=COLOURS[1:], help="fill the nodes by the norm of their gradient or value")
    figure.add_argument("--font-size", type=_whole(1), metavar="N", help="points of the letters (default: 16)")
    figure.add_argument("--highlight", type=_whole(1), metavar="STEP", help="the term of --parameter through this step")
    figure.add_argument(
        "--parameter", metavar="NAME", help="for --highlight and --view terms, as U_i (default: the first U)"
    )
    known = ", ".join(f".{name}" for name in FORMATS)
    out = figure.add_mutually_exclusive_group(required=True)
    out.add_argument("-o", "--out", type=Path, help=f"the file; its suffix is one of {known}")
    out.add_argument("--frames", type=Path, metavar="FOLDER", help="a picture for each moment of the page's story")
    figure.add_argument("--format", choices=PICTURES, help=f"of the --frames (default: {PICTURES[0]})")
    figure.add_argument(
        "--dpi", type=_whole(1), metavar="N", help="dots per inch of a .png (default: 192) or .gif (96)"
    )
    figure.add_argument("--outlines", action="store_true", help="draw the letters of an .svg as shapes")


class _Forecast:
    """A net on the last steps of a series: its parameters, its data and its losses; by default that of interdb.

    Attributes:
        parameters: by their names, with the layer where there are several: U, U_i, U_2 or U_i,2.
    """

    def __init__(self, options: argparse.Namespace, kind: type[nn.RNN | nn.LSTM | nn.GRU] = nn.RNN, **settings: Any):
        self.xs, self.target = datasets.window(datasets.series(options.data, options.column), options.steps)
        rng = np.random.default_rng(options.seed)
        self.rnn = kind(1, options.hidden, rng=rng, **settings)
        self.readout = nn.Linear(options.hidden, 1, rng=rng)
        self.parameters = {}
        for p in (*self.rnn.parameters(), *self.readout.parameters()):
            base, below, _ = draw.Notation().parts(p.name, None, p.layer)
            self.parameters[f"{base}_{below}" if below else base] = p

    def states(self) -> list[Tensor]:
        return self.rnn(self.xs)[0]

    def losses(self) -> list[Tensor]:
        """Of the many-to-many net, whose target at each step is the next value."""
        targets = (*self.xs[1:], self.target)
        return [nn.half_squared_error(self.readout(h), Y) for h, Y in zip(self.states(), targets, strict=True)]

    def loss(self, many_to_many: bool = False) -> Tensor:
        """Of the last step; or the sum of those of all steps, E = Σ E_t, if there are several."""
        if not many_to_many:
            return nn.half_squared_error(self.readout(self.states()[-1]), self.target)
        first, *others = self.losses()
        return label(sum(others, first), "E") if others else first

    def parameter(self, name: str | None) -> Tensor:
        """The one with this name, or else the first recurrent matrix: U, or that of the first gate or layer."""
        if name is None:
            return next(p for name, p in self.parameters.items() if name.startswith("U"))
        if name not in self.parameters:
            raise ValueError(f"--parameter: the net has no {name}; it has {', '.join(self.parameters)}")
        return self.parameters[name]


def _demo(options: argparse.Namespace) -> int:
    net = _Forecast(options)
    loss = net.loss()
    figures = {"forward": draw.forward(loss), "backward": draw.backward(loss)}
    figures["forward-primitives"] = draw.forward(loss, level="primitives")
    with claimed(options.out) as folder:
        for name, diagram in figures.items():
            refuse_others(folder / f"{name}.svg", f"<title>{diagram.title}</title>")
        for name, diagram in figures.items():
            print(f"wrote {diagram.save(folder / f'{name}.svg')}")

    loss.backward()
    arrays = {name: p.value for name, p in net.parameters.items()}
    by_hand = closed_form_gradients(**arrays, xs=net.xs, targets=net.target)
    rows, failures = [], []
    for name, parameter in net.parameters.items():
        expected = getattr(by_hand, name)
        difference = float(np.max(np.abs(parameter.grad - expected)))
        norms = [f"{np.linalg.norm(g):.10f}" for g in (parameter.grad, expected)]
        numeric = _checked(failures, check_parameters, net.loss, [parameter])
        rows.append([name, str(parameter.shape), *norms, f"{difference:.1e}", numeric])
        if not difference <= AGREEMENT:
            failures.append(f"{name}: graph and closed form differ by {difference:.1e}, more than {AGREEMENT:.0e}")
    nodes = topological_order(loss)
    made = sum(not node.is_leaf for node in nodes)
    steps, found = counted(options.steps, "step"), counted(len(nodes), "node")
    print(f"\n{options.data}, {steps}: {found}, {made} of them made by primitives")
    print(f"loss {loss.item():.10f} by the graph, {by_hand.loss:.10f} by the closed form (eq. 7.3)\n")
    print("‖gradient‖ by the graph and by the closed form (eqs. 7.7 to 7.9), the largest difference between the two,")
    print("and the largest relative error against central differences:\n")
    header = ["parameter", "shape", "graph", "closed form", "difference", "central differences"]
    print(aligned([header, *rows]))
    return _report(failures)


def _draw(options: argparse.Namespace) -> int:
    shown = {field.name: getattr(options, field.name) for field in fields(Options) if hasattr(options, field.name)}
    options.cell = options.cell or ["rnn"]
    _refuse_what_has_no_effect(options, shown)
    plain = {"nonlinearity": options.nonlinearity} if options.nonlinearity else {}
    nets = {
        cell: _Forecast(options, KINDS[cell], num_layers=options.layers, **(plain if cell == "rnn" else {}))
        for cell in options.cell
    }
    if len(nets) > 1:
        losses = {cell: net.loss(options.many_to_many) for cell, net in nets.items()}
        print(f"wrote {draw.page(losses, options.out, **shown)}")
        return 0
    (net,) = nets.values()
    how = {name: getattr(options, name) for name in ("format", "dpi", "outlines") if hasattr(options, name)}
    diagram = _diagram(net, options, shown)
    if hasattr(options, "frames"):
        paths = diagram.frames(options.frames, **how)
        print(f"wrote {paths[0]} to {paths[-1].name}")
        return 0
    if os.path.exists(options.data) and options.out.exists() and options.out.samefile(options.data):
        raise ValueError(f"-o {options.out} is the data, and would be replaced: give another file")
    print(f"wrote {diagram.save(options.out, **how)}")
    return 0


def _refuse_what_has_no_effect(options: argparse.Namespace, shown: dict[str, Any]) -> None:
    """Raise a ValueError for an option that another one leaves without a meaning."""
    others = [f"--{name.replace('_', '-')}" for name in shown if name != "notation"]
    others = ["--no-parameters" if name == "--parameters" else name for name in others]
    if options.view == "terms" and others:
        raise ValueError(f"--view terms is a table, not a graph: leave out {', '.join(others)}")
    if options.view == "between" and "highlight" in shown:
        raise ValueError("--highlight is a term of a loss's gradient: not for --view between")
    if options.view == "between" and options.steps < 2:
        raise ValueError("--view between is from h(T) back to h(T-1): --steps 2 or more is needed")
    if hasattr(options, "parameter") and options.view != "terms" and "highlight" not in shown:
        raise ValueError("--parameter is for --view terms and --highlight; neither is given")
    if shown.get("highlight", 1) > options.steps:
        raise ValueError(f"--highlight {options.highlight}: the steps are 1 to {options.steps}")
    if options.nonlinearity and "rnn" not in options.cell:
        raise ValueError(f"--nonlinearity is that of --cell rnn; the gates of --cell {options.cell[0]} have their own")
    frames = hasattr(options, "frames")
    if len(options.cell) > 1 and (frames or options.view in ("between", "terms") or "highlight" in shown):
        raise ValueError("several --cell are compared on a page of whole nets: give -o compare.html")
    if hasattr(options, "format") and not frames:
        raise ValueError("--format is that of --frames; the suffix of -o says as what a figure is saved")
    bare = [f"--{name.replace('_', '-')}" for name in ("values", "shapes", "color_by", "highlight") if name in shown]
    if bare and (frames or options.out.suffix.lower() == ".gif"):
        raise ValueError(f"frames show neither notes nor colours nor a single term: leave out {', '.join(bare)}")


def _diagram(net: _Forecast, options: argparse.Namespace, shown: dict[str, Any]) -> draw.Diagram:
    name = getattr(options, "parameter", None)
    if options.view == "terms":
        return draw.terms(net.losses(), net.parameter(name), **shown)
    if "highlight" in shown:
        shown["highlight"] = (net.parameter(name), options.highlight)
    if options.view == "between":
        *_, before, last = net.states()
        return draw.between(last, before, **shown)
    return getattr(draw, options.view)(net.loss(options.many_to_many), **shown)


def _check(options: argparse.Namespace) -> int:
    failures: list[str] = []
    primitives, cells = [["primitive", "gradient", "second derivative"]], [["cell", "parameters", "inputs", "state"]]
    for name in TABLE:
        primitives.append([name, *(_checked(failures, check_primitive, name, order) for order in (1, 2))])
    for name, cell in CELLS.items():
        loss, *leaves = _two_steps(cell)
        cells.append([name, *(_checked(failures, check_parameters, loss, of) for of in leaves)])
    print(f"largest relative error against central differences\n\n{aligned(primitives)}\n")
    print(f"the same of the gradients of two steps of a cell, on a batch\n\n{aligned(cells)}")
    return _report(failures)


def _checked(failures: list[str], check: Callable[..., float | Sequence[float]], *arguments: Any) -> str:
    """The error that a check finds, the largest of several, as a table shows it."""
    try:
        return f"{np.max(check(*arguments)):.1e}"
    except GradientError as error:
        failures.append(str(error))
        return "wrong"


def _report(failures: list[str]) -> int:
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


def _two_steps(kind: Callable[..., Cell]) -> tuple[Callable[[], Tensor], Sequence[Tensor], ...]:
    """A loss of two steps of a cell on a batch; the parameters, the inputs and the parts of the state that it is of."""
    rng = np.random.default_rng(0)
    cell = kind(2, 3, rng=rng)
    inputs = [Tensor(rng.standard_normal((4, 2)), requires_grad=True) for _ in range(2)]
    state = tuple(Tensor(rng.standard_normal((4, 3)), requires_grad=True) for _ in cell.state_names)
    weights = rng.standard_normal((len(state), 4, 3))

    def loss() -> Tensor:
        after = state
        for x in inputs:
            after = cell(x, after)
        return (weights * stack(after if len(state) > 1 else [after])).sum()

    return loss, cell.parameters(), inputs, state
