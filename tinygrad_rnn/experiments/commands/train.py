"""`tinygrad-rnn train`: a net that forecasts a series or a text, against simple baselines."""

import argparse
import shlex
import sys
import time
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from tinygrad_rnn.experiments.run import read_settings, train
from tinygrad_rnn.experiments.settings import Settings, option_type
from tinygrad_rnn.experiments.training import Epoch

LINES, SECONDS = 10, 10.0  # where there is no bar: so many lines a run, and one after so many seconds without any


def add_train(commands: argparse._SubParsersAction) -> None:
    """Add the command to those of the command line."""
    train = commands.add_parser("train", help="train a net to forecast a series or a text, against simple baselines")
    folder = train.add_mutually_exclusive_group()
    folder.add_argument("--out", default="out/train", help="the folder for the results (default: out/train)")
    folder.add_argument(
        "--resume", metavar="DIR",
        help="go on with the run in this folder, with its settings; more --epochs than it had may be given",
    )  # fmt: skip
    train.set_defaults(run=_train)
    for setting in fields(Settings):  # one that is not given has no attribute
        meaning, default = setting.metadata["help"], setting.default
        if default is not None:
            meaning = f"{meaning} (default: {default if not isinstance(default, float) else format(default, 'g')})"
        train.add_argument(
            f"--{setting.name.replace('_', '-')}", type=_reader(setting), default=argparse.SUPPRESS,
            metavar="|".join(setting.metadata.get("choices", ())) or setting.name.rpartition("_")[2].upper(),
            help=meaning.replace("%", "%%"),
        )  # fmt: skip


def _reader(setting: Field) -> Any:
    """What makes a setting's value of an option's text; whether it is in range, `Settings` says."""
    kind, optional = option_type(setting)

    def read(text: str) -> Any:
        if optional and text == "none":
            return None
        try:
            return kind(text)
        except ValueError:
            what = {int: "a whole number", float: "a number"}[kind]
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}{' or none' if optional else ''}") from None

    return read


def _train(options: argparse.Namespace) -> int:
    given = {s.name: getattr(options, s.name) for s in fields(Settings) if hasattr(options, s.name)}
    resume = options.resume is not None
    name = options.resume if resume else options.out
    out = Path(name)
    if resume:
        given = read_settings(out).as_dict() | given
    settings = Settings(**given).seen_from(Path.cwd())
    try:
        with _Progress() as progress:
            summary = train(settings, name, resume, progress)
    except KeyboardInterrupt:
        begun = (out / "checkpoint.npz").exists() and read_settings(out) == settings
        hint = f"; go on with: tinygrad-rnn train --resume {shlex.quote(str(out))}" if begun else ""
        raise KeyboardInterrupt(f"interrupted{hint}") from None
    print(f"{summary}\n\nwrote {out}")
    return 0


class _Progress:
    """How far a run is: a bar of tqdm where it is installed and somebody watches, plain lines otherwise.

    It is called after every update with what has been done, what there is, and at the end of an epoch with that. tqdm
    comes with `pip install "tinygrad-rnn[progress]"`.
    """

    def __init__(self) -> None:
        self._began = self._told = time.perf_counter()
        self._before, self._lines, self._bar, self._losses = None, 0, None, {}

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, done: int, total: int, epoch: Epoch | None) -> None:
        """Show it."""
        if self._before is None:  # the first call; a run that was resumed has done some already
            self._before = done - 1
            self._bar = _bar(self._before, total)
        if epoch is not None:
            losses = {"training loss": epoch.training_loss, "held-out loss": epoch.held_out_loss}
            self._losses = {name: f"{loss:.4g}" for name, loss in losses.items()}
        if self._bar is not None:
            self._bar.update(done - self._bar.n)
            if epoch is not None:
                self._bar.set_postfix(self._losses)
        elif (epoch and done * LINES // total > self._lines) or time.perf_counter() - self._told > SECONDS:
            self._lines, self._told = done * LINES // total, time.perf_counter()
            rate = (done - self._before) / (self._told - self._began)
            told = [f"{name} {loss}" for name, loss in self._losses.items()]
            told += [f"{rate:.3g} updates a second", f"{(total - done) / rate:.0f} s left"]
            print(f"{done:,} of {total:,} updates: {', '.join(told)}", flush=True)


def _bar(before: int, total: int) -> Any:
    """A bar of tqdm, or None where it is not installed or the output is no terminal."""
    if not sys.stderr.isatty():
        return None
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return tqdm(total=total, initial=before, unit="update", dynamic_ncols=True)
