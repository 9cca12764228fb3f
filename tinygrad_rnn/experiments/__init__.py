"""Experiments as functions that leave their results on disk: train a net, look at its gradient flow, sweep settings."""

from tinygrad_rnn.experiments.cliff import Cliff, cliff
from tinygrad_rnn.experiments.flow import Flow, Net, flow

__all__ = ["Cliff", "Flow", "Net", "cliff", "flow"]
