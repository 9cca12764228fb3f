"""Experiments as functions that leave their results on disk: train a net, look at its gradient flow, sweep settings."""

from tinygrad_rnn.experiments.points import sample
from tinygrad_rnn.experiments.sweep import Run, sweep

__all__ = ["Run", "sample", "sweep"]
