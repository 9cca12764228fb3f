"""Experiments that leave their results on disk: train a net, use it, look at its gradient flow, sweep settings."""

from tinygrad_rnn.experiments.flow import Flow, Net, flow
from tinygrad_rnn.experiments.run import TrainedRun, load_run, train
from tinygrad_rnn.experiments.settings import Settings
from tinygrad_rnn.experiments.sweep import Run, sample, sweep
from tinygrad_rnn.experiments.training import Summary

__all__ = ["Flow", "Net", "Run", "Settings", "Summary", "TrainedRun", "flow", "load_run", "sample", "sweep", "train"]
