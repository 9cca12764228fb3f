"""What backpropagation through time does with a recorded graph: the terms of its sums, Jacobians between states, norms.

- `contributions`: the terms of ∂L/∂W = Σ_k ..., one a time step (000, 002, 003); `contribution_table`: for all losses.
- `jacobian(h_T, h_k)` and its `singular_values`; `step_jacobian_norms`: the factors that the product is made of (003).
- `gradient_flow`: ‖∂L/∂h(t)‖ at every step; `norm_bound`: what it cannot exceed (Pascanu et al. 2013; 004).

All of it works on any graph whose nodes know their time step, as those of every cell do, and changes no `.grad`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from tinygrad_rnn.backward import backward_start, passed_back, sweep, topological_order
from tinygrad_rnn.tensor import Tensor, describe, last_step

__all__ = [
    "contribution_table", "contributions", "gradient_flow", "jacobian", "norm_bound", "singular_values",
    "step_jacobian_norms",
]  # fmt: skip

LARGEST_SLOPES = {"tanh": 1.0, "sigmoid": 0.25, "relu": 1.0, "identity": 1.0}  # max f′; 004 for tanh and sigmoid


def contributions(loss: Tensor, parameter: Tensor) -> np.ndarray:
    """The terms of the sum over time: entry k - 1 is the part of ∂L/∂W that comes through W's use at step k.

        ∂L/∂W = Σ_k ∂L/∂h(T) ∂h(T)/∂h(k) ∂⁺h(k)/∂W        (000, 002, 003; ∂⁺: h(k-1) held fixed)

    A use belongs to the step of the node that W goes into, or to the latest of the steps that the node was made of, as
    the readout of h(k) does.

    Args:
        loss: a scalar. parameter: any Tensor that the loss was made of.

    Returns:
        (T, *parameter.shape), zeros where it was not used, for T the last step of the graph; the sum over the first
        axis is the gradient.

    Raises:
        ValueError: the loss is no scalar, the parameter requires no gradient or is used where there is no time step.
    """
    last = max((node.step for node in topological_order(loss) if node.step is not None), default=0)
    terms = np.zeros((last, *parameter.shape), parameter.dtype)
    if not parameter.requires_grad:
        raise ValueError(f"contributions(loss, parameter): {describe(parameter)} does not require a gradient")
    for node, g in sweep(loss, backward_start("contributions(loss, parameter)", loss)):
        for i, x in enumerate(node.inputs):
            if x is parameter:
                k = last_step(node)
                if not 1 <= k <= last:
                    raise ValueError(
                        f"contributions: {describe(parameter)} is used by {describe(node)}, at no time step"
                    )
                terms[k - 1] += passed_back(node, i, g)
    return terms


def contribution_table(losses: Sequence[Tensor], parameter: Tensor) -> np.ndarray:
    """‖∂E_n/∂W through step k‖ for every loss E_n and every step k, (N, T): rows of norms of `contributions`.

    With one loss per step it is a lower triangle: no loss depends on what comes after it.
    """
    rows = [np.linalg.norm(contributions(E, parameter).reshape(-1, parameter.size), axis=1) for E in losses]
    table = np.zeros((len(rows), max(map(len, rows), default=0)))
    for row, norms in zip(table, rows, strict=True):
        row[: len(norms)] = norms
    return table


def jacobian(output: Tensor, input: Tensor) -> np.ndarray:
    """∂output/∂input, such as ∂h(T)/∂h(k) = Π ∂h(t)/∂h(t-1) for t = k+1 .. T (003), with the input held as a variable.

    Returns:
        (output.size, input.size), both flattened; zeros if the output does not depend on the input.

    Raises:
        ValueError: one of them requires no gradient.
    """
    for x in (output, input):
        if not x.requires_grad:
            raise ValueError(f"jacobian(output, input): {describe(x)} does not require a gradient")
    rows = np.zeros((output.size, input.size), output.dtype)
    for row, cotangent in zip(rows, np.eye(output.size, dtype=output.dtype), strict=True):
        for node, g in sweep(output, cotangent.reshape(output.shape), until={input}):
            if node is input:
                row[:] = g.ravel()
    return rows


def singular_values(output: Tensor, input: Tensor) -> np.ndarray:
    """The singular values of `jacobian(output, input)`, largest first: how far a change of the input reaches."""
    return np.linalg.svd(jacobian(output, input), compute_uv=False)


def step_jacobian_norms(hs: Sequence[Tensor]) -> np.ndarray:
    """‖∂h(t)/∂h(t-1)‖ for t = 2 .. T as spectral norms, (T - 1,): the factors that make gradients vanish or explode."""
    return np.array([singular_values(h, before)[0] for before, h in pairwise(hs)])


def gradient_flow(loss: Tensor, hs: Sequence[Tensor]) -> np.ndarray:
    """‖∂L/∂h(t)‖ for every state, (T,): 0 where the loss does not depend on it."""
    found = {}
    wanted = set(hs)
    for node, g in sweep(loss, backward_start("gradient_flow(loss, hs)", loss)):
        if node in wanted:
            found[node] = np.linalg.norm(g)
    return np.array([found.get(h, 0.0) for h in hs])


def norm_bound(U: Tensor | np.ndarray, nonlinearity: str, distance: int | np.ndarray) -> np.ndarray:
    """(σ_max(U) · max f′)^(T - k), which ‖∂h(T)/∂h(k)‖ of the plain net does not exceed (Pascanu et al. 2013).

    max f′ is 1 for tanh, relu and identity, and 1/4 for sigmoid (004). Below 1 it proves that the gradient vanishes;
    above 1 it proves nothing: a bound is not the value, and a sigmoid net with σ_max(U) = 5 still vanishes.

    Args:
        distance: T - k, one number or an array of them.

    Raises:
        ValueError: an unknown nonlinearity.
    """
    if nonlinearity not in LARGEST_SLOPES:
        raise ValueError(f"norm_bound(nonlinearity={nonlinearity!r}): not one of {list(LARGEST_SLOPES)}")
    largest = np.linalg.norm(U.value if isinstance(U, Tensor) else U, 2)
    return (largest * LARGEST_SLOPES[nonlinearity]) ** np.asarray(distance, dtype=float)
