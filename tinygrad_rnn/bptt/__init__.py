"""Backpropagation through time: the textbook's equations, and what a graph shows of them.

Docstrings cite the texts that the equations come from by number:

    000  "Backpropagation Through Time", a blog post of 22 February 2019
    001  "Computing the gradients for Back Propagation Through Time", section 7.2 of The Engineer's Guide to Deep
         Learning (interdb.jp/dl): eqs. 7.3 to 7.9, Figs. 7-5 to 7-7
    002  "Back Propagation through time - RNN", course notes, last updated 4 May 2020
    003  "Backpropagation in RNNs", lecture slides of Vineeth N Balasubramanian, IIT Hyderabad, after Denny Britz's
         WildML tutorial
    004  "Back Propagation through time", TowardsMachineLearning.org, Praveen Kumar Anwla

Their letters differ. Here they are those of 001; note that 003 calls W what is U here, and the other way round:

    here and 001   000, 002    003
    x(t), h(t)     x_t, s_t    x_t, h_t
    W, U, V        W_x, W_s, W_y   U, W, V
    y, Y           y_t, d_t    z_t and ŷ_t = softmax(z_t), y_t
    L              E_t         E_t
"""

from tinygrad_rnn.bptt.closed_form import Gradients, closed_form_gradients, closed_form_stacked_gradients
from tinygrad_rnn.bptt.recomputation import checkpoint
from tinygrad_rnn.bptt.through_time import (
    contribution_table,
    contributions,
    gradient_flow,
    jacobian,
    norm_bound,
    singular_values,
    step_jacobian_norms,
)
from tinygrad_rnn.bptt.truncation import truncated

__all__ = [
    "Gradients", "checkpoint", "closed_form_gradients", "closed_form_stacked_gradients", "contribution_table",
    "contributions", "gradient_flow", "jacobian", "norm_bound", "singular_values", "step_jacobian_norms", "truncated",
]  # fmt: skip
