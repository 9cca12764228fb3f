"""The commands of the command line that run experiments; each fills a folder, `--out`, with its results."""

import argparse

from tinygrad_rnn.experiments.commands.flow import add_flow
from tinygrad_rnn.experiments.commands.sweep import add_sweep
from tinygrad_rnn.experiments.commands.train import add_train

__all__ = ["add_commands"]


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add the commands to those of the command line."""
    add_train(commands)
    add_flow(commands)
    add_sweep(commands)
