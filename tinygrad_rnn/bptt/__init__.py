"""Backpropagation through time: the textbook's equations. `closed_form` holds the map from equation to code."""

from tinygrad_rnn.bptt.closed_form import Gradients, closed_form_gradients

__all__ = ["Gradients", "closed_form_gradients"]
