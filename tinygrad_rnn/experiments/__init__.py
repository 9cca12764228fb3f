"""Experiments as functions that leave their results on disk: train a net, look at its gradient flow, sweep settings."""

from tinygrad_rnn.experiments.settings import Settings
from tinygrad_rnn.experiments.training import Summary, train

__all__ = ["Settings", "Summary", "train"]
