"""Backpropagation through time: the textbook's equations, and what a graph shows of them.

Docstrings cite the texts that the equations come from by name:

    interdb     "Computing the gradients for Back Propagation Through Time", section 7.2 of The Engineer's Guide to Deep
                Learning (interdb.jp/dl): eqs. 7.3 to 7.9, Figs. 7-5 to 7-7
    BPTT post   "Backpropagation Through Time", a blog post of 22 February 2019
    Module 5    "Back Propagation through time - RNN", module 5 of course notes, last updated 4 May 2020
    IIT slides  "Backpropagation in RNNs", lecture slides of Vineeth N Balasubramanian, IIT Hyderabad, after Denny
                Britz's WildML tutorial
    TowardsML   "Back Propagation through time", TowardsMachineLearning.org, Praveen Kumar Anwla

Their letters differ. Here they are those of interdb; note that the IIT slides call W what is U here, and the other way
round:

    here and interdb    BPTT post, Module 5    IIT slides
    x(t), h(t)          x_t, s_t               x_t, h_t
    W, U, V             W_x, W_s, W_y          U, W, V
    y, Y                y_t, d_t               z_t and ŷ_t = softmax(z_t), y_t
    L                   E_t                    E_t

Where each of their equations is, by hand in NumPy (`closed_form`) and by the engine:

    equation                                                       by hand                by the engine
    interdb
    Fig. 7-5: ĥ = W x + U h + b, h = f(ĥ)                          closed_form            nn.RNNCell; draw.forward
    7.3: L = ½ (y - Y)²                                            _half_squared_error    nn.half_squared_error
    7.2.3: ∂h/∂ĥ = f′(ĥ), ∂ĥ/∂U = ᵗh, ∂ĥ/∂W = ᵗx, ∂ĥ/∂h = ᵗU (*)   closed_form            draw.backward (Fig. 7-6)
    7.4 to 7.6: dh(t) = ∂L/∂h(t) = dh(t+1) f′(ĥ(t+1)) ᵗU (*)       .dh                    tg.grad; gradient_flow
    7.7 to 7.9: dW, dU, db as sums over t                          .W, .U, .b             loss.backward()

    BPTT post and Module 5
    s_t = φ(W_s s_{t-1} + W_x x_t), y_t = W_y s_t                  closed_form            nn.RNNCell, nn.Linear
    E_t = (d_t - y_t)²                                             _squared_error         nn.squared_error
    ∂E_3/∂W_y = ∂E_3/∂y_3 ∂y_3/∂W_y                                .V                     loss.backward()
    ∂E_N/∂W = Σ_k ∂E_N/∂h_k ∂⁺h_k/∂W, its terms (IIT slides too)   .W_terms, ...          contributions, expansion
    truncation to chunks (BPTT post)                               closed_form            truncated

    IIT slides
    h_t = tanh(U x_t + W h_{t-1}), ŷ_t = softmax(V h_t)            closed_form            nn.RNNCell, tg.softmax
    E_t = -y_t log ŷ_t, E = Σ_t E_t                                _cross_entropy         nn.cross_entropy
    ∂E_3/∂V = (ŷ_3 - y_3) ⊗ h_3                                    .V                     loss.backward()
    ∂E/∂W = Σ_t ∂E_t/∂W                                            many_to_many=True      contribution_table
    ∂h_T/∂h_k = Π_j ∂h_j/∂h_{j-1}                                                         jacobian; Fig. 7-7
    stacked nets                                                   ..._stacked_gradients  nn.RNN(num_layers=...)

    several of them
    it vanishes or explodes; f′ of sigmoid is at most ¼                                   norm_bound
    gradient clipping                                                                     optim.clip_grad_norm
    LSTM and GRU (by hand in examples/closed_form_gates.py)                               nn.LSTMCell, nn.GRUCell

(*) What interdb writes as a derivative is what a gradient is multiplied by, read from left to right. As a Jacobian
∂ĥ(t)/∂h(t-1) is U, and `jacobian` gives U; the gradient, a column, is multiplied by its transpose, ᵗU, from the left:
dh(t-1) = ᵗU (f′(ĥ(t)) ⊙ dh(t)).
"""

from tinygrad_rnn.bptt import closed_form
from tinygrad_rnn.bptt.closed_form import Gradients, closed_form_gradients, closed_form_stacked_gradients

from tinygrad_rnn.bptt.through_time import (  # isort: skip
    Term, contribution_table, contributions, expansion, gradient_flow, jacobian, latex, norm_bound, singular_values,
)  # fmt: skip
from tinygrad_rnn.bptt.truncation import Chunks, checkpoint, truncated

__all__ = [
    "Chunks", "Gradients", "Term", "checkpoint", "closed_form", "closed_form_gradients",
    "closed_form_stacked_gradients", "contribution_table", "contributions", "expansion", "gradient_flow", "jacobian",
    "latex", "norm_bound", "singular_values", "truncated",
]  # fmt: skip
