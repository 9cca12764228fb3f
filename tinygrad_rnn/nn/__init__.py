"""Recurrent nets, composed of the engine's primitives."""

from tinygrad_rnn.interop import missing
from tinygrad_rnn.nn import cells, init, recurrent
from tinygrad_rnn.nn.cells import Cell, GRUCell, LSTMCell, RNNCell
from tinygrad_rnn.nn.exchange import from_torch, load, save, to_torch

from tinygrad_rnn.nn.layers import (  # isort: skip
    Dropout, Embedding, LayerNorm, Linear, Sequential, binary_cross_entropy, binary_cross_entropy_with_logits,
    cross_entropy, half_squared_error, squared_error,
)  # fmt: skip
from tinygrad_rnn.nn.module import Module, Parameter
from tinygrad_rnn.nn.recurrent import GRU, LSTM, RNN, Bidirectional, Recurrent

__all__ = [
    "GRU", "LSTM", "RNN", "Bidirectional", "Cell", "Dropout", "Embedding", "GRUCell", "LSTMCell", "LayerNorm", "Linear",
    "Module", "Parameter", "RNNCell", "Recurrent", "Sequential", "binary_cross_entropy",
    "binary_cross_entropy_with_logits", "cells", "cross_entropy", "from_torch", "half_squared_error", "init", "load",
    "recurrent", "save", "squared_error", "to_torch",
]  # fmt: skip

vars()["__getattr__"] = missing.__get__(__name__)  # bound to this module; a type checker shall not know of it
