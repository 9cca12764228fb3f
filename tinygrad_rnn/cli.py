"""The command line: `tinygrad-rnn demo | draw | check`, also `python -m tinygrad_rnn`.

Exit status: 0; 1 when a gradient disagrees or a file cannot be read or written; 2 for bad arguments or bad data.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from tinygrad_rnn import datasets, nn
from tinygrad_rnn.backward import topological_order
from tinygrad_rnn.bptt import closed_form_gradients
from tinygrad_rnn.checking import check_parameters, check_primitive
from tinygrad_rnn.errors import DrawingError, GradientError
from tinygrad_rnn.nn.cells import NONLINEARITIES
from tinygrad_rnn.primitives import TABLE
from tinygrad_rnn.tensor import Tensor

__all__ = ["main"]

AGREEMENT = 1e-10  # the largest difference from the closed form that the demo accepts


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal that cannot show ‖ shows ?
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except ValueError as error:
        status, message = 2, str(error)
    except DrawingError as error:
        status, message = 1, str(error)
    except MemoryError as error:
        status, message = 1, f"not enough memory: {error}"
    except FileExistsError as error:
        status, message = 1, f"a folder is needed, and this is a file: {error.filename}"
    except OSError as error:
        status, message = 1, f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    print(f"tinygrad-rnn {options.command}: {message}", file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tinygrad-rnn", description="See how automatic differentiation unrolls a recurrent net through time."
    )
    commands = parser.add_subparsers(dest="command", required=True)

    demo = commands.add_parser("demo", help="unroll a net over a series: its graphs, its gradients, and their proof")
    _add_net_options(demo)
    demo.add_argument("--out", type=Path, default=Path("out"), help="the folder for the figures (default: out)")
    demo.set_defaults(run=_demo)

    draw = commands.add_parser("draw", help="draw one graph of the net that the demo unrolls")
    _add_net_options(draw)
    draw.add_argument("--view", choices=("forward", "backward"), default="forward")
    draw.add_argument("--level", choices=("named", "primitives"), default="named")
    draw.add_argument("-o", "--out", type=Path, required=True, help="the file, ending in .svg, .pdf, .png or .dot")
    draw.set_defaults(run=_draw)

    check = commands.add_parser("check", help="check every primitive and every cell against central differences")
    check.set_defaults(run=_check)
    return parser


def _add_net_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", default="sunspots", help="sunspots (default), sine, or a CSV file")
    parser.add_argument("--column", help="the column of the CSV file")
    parser.add_argument("--steps", type=_whole(1), default=4, help="how many time steps to unroll (default: 4)")
    parser.add_argument("--hidden", type=_whole(1), default=3, help="the length of the hidden state (default: 3)")
    parser.add_argument("--seed", type=_whole(0), default=0, help="of the initial weights (default: 0)")


def _whole(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} up")
        return int(text)

    return number


class _Forecast:
    """The many-to-one net of seed 001 on the last steps of a series: its parameters, its data and its loss."""

    def __init__(self, options: argparse.Namespace):
        self.xs, self.target = datasets.window(_series(options), options.steps)
        rng = np.random.default_rng(options.seed)
        self.rnn = nn.RNN(1, options.hidden, rng=rng)
        self.readout = nn.Linear(options.hidden, 1, rng=rng)
        self.parameters = {p.name: p for p in (*self.rnn.parameters(), *self.readout.parameters())}

    def loss(self) -> Tensor:
        hs, _ = self.rnn(self.xs)
        return nn.half_squared_error(self.readout(hs[-1]), self.target)


def _series(options: argparse.Namespace) -> np.ndarray:
    made = {"sunspots": datasets.sunspots, "sine": datasets.sine}
    if options.data in made:
        if options.column is not None:
            raise ValueError(f"--column names a column of a CSV file; --data {options.data} has none")
        return made[options.data]()
    return datasets.read_column(options.data, options.column)


def _demo(options: argparse.Namespace) -> int:
    from tinygrad_rnn import draw

    net = _Forecast(options)
    loss = net.loss()
    options.out.mkdir(parents=True, exist_ok=True)
    figures = {
        "forward.svg": draw.forward(loss),
        "backward.svg": draw.backward(loss),
        "forward-primitives.svg": draw.forward(loss, level="primitives"),
    }
    for name, diagram in figures.items():
        print(f"wrote {diagram.save(options.out / name)}")

    loss.backward()
    arrays = {name: p.value for name, p in net.parameters.items()}
    by_hand = closed_form_gradients(**arrays, xs=net.xs, targets=net.target)
    rows, failures = [], []
    for name, parameter in net.parameters.items():
        expected = getattr(by_hand, name)
        difference = float(np.max(np.abs(parameter.grad - expected)))
        norms = [f"{np.linalg.norm(g):.10f}" for g in (parameter.grad, expected)]
        numeric = _checked(lambda p=parameter: check_parameters(net.loss, [p])[0], failures)
        rows.append([name, str(parameter.shape), *norms, f"{difference:.1e}", numeric])
        if not difference <= AGREEMENT:
            failures.append(f"{name}: graph and closed form differ by {difference:.1e}, more than {AGREEMENT:.0e}")
    nodes = topological_order(loss)
    made = sum(not node.is_leaf for node in nodes)
    print(f"\n{options.data}, {options.steps} steps: {len(nodes)} nodes, {made} of them made by primitives")
    print(f"loss {loss.item():.10f} by the graph, {by_hand.loss:.10f} by the closed form (eq. 7.3)\n")
    print("‖gradient‖ by the graph and by the closed form (eqs. 7.7 to 7.9), the largest difference between the two,")
    print("and the largest relative error against central differences:\n")
    _print_table(["parameter", "shape", "graph", "closed form", "difference", "central differences"], rows)
    return _report(failures)


def _draw(options: argparse.Namespace) -> int:
    from tinygrad_rnn import draw

    view = {"forward": draw.forward, "backward": draw.backward}[options.view]
    print(f"wrote {view(_Forecast(options).loss(), level=options.level).save(options.out)}")
    return 0


def _check(options: argparse.Namespace) -> int:
    rows, failures = [], []
    for name in TABLE:
        rows.append([name, *(_checked(partial(check_primitive, name, order), failures) for order in (1, 2))])
    for name in NONLINEARITIES:
        rows.append([f"RNNCell, {name}", _checked(partial(_check_cell, name), failures), ""])
    print("largest relative error against central differences\n")
    _print_table(["primitive or cell", "gradient", "second derivative"], rows)
    return _report(failures)


def _checked(check: Callable[[], float], failures: list[str]) -> str:
    """The error that a check finds, as a table shows it."""
    try:
        return f"{check():.1e}"
    except GradientError as error:
        failures.append(str(error))
        return "wrong"


def _report(failures: list[str]) -> int:
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


def _check_cell(nonlinearity: str) -> float:
    """Two steps of a cell on a batch, every parameter, the inputs and the initial state against central differences."""
    rng = np.random.default_rng(0)
    cell = nn.RNNCell(2, 3, nonlinearity=nonlinearity, rng=rng)
    x1, x2, h0 = (Tensor(rng.standard_normal(shape), requires_grad=True) for shape in [(4, 2), (4, 2), (4, 3)])
    w = rng.standard_normal((4, 3))
    return max(check_parameters(lambda: (w * cell(x2, cell(x1, h0))).sum(), [*cell.parameters(), x1, x2, h0]))


def _print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, ["-" * width for width in widths], *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
