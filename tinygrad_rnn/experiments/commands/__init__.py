"""The commands of the command line that run experiments; each fills a folder, `--out`, with its results."""

from tinygrad_rnn.experiments.commands.flow import add_flow
from tinygrad_rnn.experiments.commands.sweep import add_sweep
from tinygrad_rnn.experiments.commands.train import add_train

__all__ = ["add_flow", "add_sweep", "add_train"]
