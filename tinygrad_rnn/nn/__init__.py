"""Recurrent nets, composed of the engine's primitives."""

from tinygrad_rnn.nn.cells import RNNCell
from tinygrad_rnn.nn.losses import cross_entropy, half_squared_error, squared_error
from tinygrad_rnn.nn.module import Linear, Module, Parameter
from tinygrad_rnn.nn.recurrent import RNN

__all__ = [
    "RNN", "Linear", "Module", "Parameter", "RNNCell", "cross_entropy", "half_squared_error", "squared_error",
]  # fmt: skip
