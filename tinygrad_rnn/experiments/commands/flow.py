"""`tinygrad-rnn flow`: how far a gradient comes back through time."""

import argparse
import textwrap

from tinygrad_rnn.experiments.flow import CELLS, PATHS, PRESETS, QUANTITIES, Flow, Net, flow, nets_of
from tinygrad_rnn.files import claimed, refuse_others
from tinygrad_rnn.nn.cells import NONLINEARITIES
from tinygrad_rnn.tables import aligned


def add_flow(commands: argparse._SubParsersAction) -> None:
    """Add the command to those of the command line."""
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


def _rows(found: Flow, nets: dict[Net, tuple[float, float] | None]) -> list[list[str]]:
    """Of every curve what its shape says, its end against the band that is stated, and how well the net has learnt."""
    T = int(found.distances[-1])
    banded, trained = any(nets.values()), any(net.updates for net in nets)
    header = [f"{QUANTITIES[found.quantity]}, by T - t", "factor per step", "steps to 1 %", "steps to 0.1 %", f"at {T}"]
    rows = [header + ["stated band"] * banded + ["adding problem, MSE"] * trained]
    for net, band in nets.items():
        reaches = [found.reach(net.label, fraction) for fraction in (1e-2, 1e-3)]
        end = found.curves[net.label][-1]
        row = [net.label, f"{found.factor(net.label):.3f}"]
        row += [f"> {T}" if reach is None else f"{reach}" for reach in reaches] + [f"{end:.2g}"]
        if banded:
            low, high = band
            row.append(f"{low:g} to {high:g}{'' if low <= end <= high else ': outside'}")
        if trained:
            row.append(f"{found.errors[net.label]:.3f}")
        rows.append(row)
    return rows
