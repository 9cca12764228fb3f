"""Recurrent nets, composed of the engine's primitives."""

from tinygrad_rnn.nn import cells, init, recurrent
from tinygrad_rnn.nn.cells import Cell, GRUCell, LSTMCell, RNNCell
from tinygrad_rnn.nn.exchange import from_torch, load, save, to_torch
from tinygrad_rnn.nn.losses import cross_entropy, half_squared_error, squared_error
from tinygrad_rnn.nn.module import Linear, Module, Parameter
from tinygrad_rnn.nn.recurrent import GRU, LSTM, RNN, Bidirectional, Recurrent

__all__ = [
    "GRU", "LSTM", "RNN", "Bidirectional", "Cell", "GRUCell", "LSTMCell", "Linear", "Module", "Parameter", "RNNCell",
    "Recurrent", "cells", "cross_entropy", "from_torch", "half_squared_error", "init", "load", "recurrent", "save",
    "squared_error", "to_torch",
]  # fmt: skip
