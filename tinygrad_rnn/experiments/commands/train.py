"""`tinygrad-rnn train`: a net that forecasts a series or a text, against simple baselines."""

import argparse
import shlex
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from tinygrad_rnn.experiments.folder import read_settings
from tinygrad_rnn.experiments.progress import Progress
from tinygrad_rnn.experiments.settings import Settings, option_type
from tinygrad_rnn.experiments.training import train

__all__ = ["add_train"]


def add_train(commands: argparse._SubParsersAction) -> None:
    """Add the command to those of the command line."""
    train = commands.add_parser("train", help="train a net to forecast a series or a text, against simple baselines")
    folder = train.add_mutually_exclusive_group()
    folder.add_argument(
        "--out", type=Path, default=Path("out/train"), help="the folder for the results (default: out/train)"
    )
    folder.add_argument(
        "--resume", type=Path, metavar="DIR",
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
    out, resume = options.resume or options.out, options.resume is not None
    if resume:
        given = read_settings(out).as_dict() | given
    settings = Settings(**given).seen_from(Path.cwd())
    try:
        with Progress() as progress:
            summary = train(settings, out, resume, progress)
    except KeyboardInterrupt:
        begun = (out / "checkpoint.npz").exists() and read_settings(out) == settings
        hint = f"; go on with: tinygrad-rnn train --resume {shlex.quote(str(out))}" if begun else ""
        raise KeyboardInterrupt(f"interrupted{hint}") from None
    print(f"{summary}\n\nwrote {out}")
    return 0
