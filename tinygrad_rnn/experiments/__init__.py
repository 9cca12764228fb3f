"""Experiments as functions that leave their results on disk: train a net, look at its gradient flow, sweep settings."""

from tinygrad_rnn.experiments.cliff import Cliff, cliff
from tinygrad_rnn.experiments.flow import Flow, Net, flow
from tinygrad_rnn.experiments.points import sample
from tinygrad_rnn.experiments.sweep import Run, sweep

__all__ = ["Cliff", "Flow", "Net", "Run", "cliff", "flow", "sample", "sweep"]
