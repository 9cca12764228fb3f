"""Backpropagation through time on a recorded graph: the terms of its sums, Jacobians between states, norms.

- `contributions`: the terms of ∂L/∂W = Σ_k ..., one a time step (BPTT post, Module 5, IIT slides);
  `contribution_table`: for all losses.
- `jacobian(h_T, h_k)` and its `singular_values`; of h(t) and h(t-1), the factors that the product is made of.
- `gradient_flow`: ‖∂L/∂h(t)‖ at every step; `norm_bound`: what it cannot exceed (Pascanu et al. 2013; TowardsML).

All of it works on any graph whose nodes know their time step, as those of every cell do, and changes no `.grad`.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from tinygrad_rnn import checks
from tinygrad_rnn.algebra.variables import time_steps
from tinygrad_rnn.backward import backward_start, fit, sweep, topological_order
from tinygrad_rnn.bptt.cotangents import Cotangents, LeavesLeftOut, each_passed_back, passed_back, several
from tinygrad_rnn.context import temporarily
from tinygrad_rnn.descriptions import describe
from tinygrad_rnn.observer import observer
from tinygrad_rnn.optim import norm
from tinygrad_rnn.tensor import Tensor, bare

LARGEST_SLOPES = {"tanh": 1.0, "sigmoid": 0.25, "relu": 1.0, "identity": 1.0}  # max f′; TowardsML for tanh and sigmoid


def contributions(loss: Tensor, parameter: Tensor) -> np.ndarray:
    """The terms of the sum over time: entry k - 1 is the part of ∂L/∂W that comes through W's use at step k.

        ∂L/∂W = Σ_k ∂L/∂h(T) ∂h(T)/∂h(k) ∂⁺h(k)/∂W        (BPTT post, Module 5, IIT slides; ∂⁺: h(k-1) held fixed)

    A use belongs to the step of the node that W goes into; where that has none, to the first step that it goes into,
    or else, as the readout of h(k) does, to the latest that it was made of.

    Args:
        loss: a scalar. parameter: any Tensor that the loss was made of.

    Returns:
        (T, *parameter.shape), zeros where it was not used, for T the last step of the graph; the sum over the first
        axis is the gradient.

    Raises:
        TypeError: no Tensor. ValueError: the loss is no scalar, the parameter requires no gradient or is used where
            there is no time step.
    """
    start = backward_start("contributions(loss, parameter)", loss)
    uses, last = _uses("contributions(loss, parameter)", [loss], parameter)
    terms = np.zeros((last, *parameter.shape), parameter.dtype)
    for node, g in sweep(loss, start):
        if node in uses:
            for i in _inputs(node, parameter):
                terms[uses[node][0] - 1] += passed_back(node, i, g)
    return terms


def contribution_table(losses: Sequence[Tensor], parameter: Tensor) -> np.ndarray:
    """‖∂E_n/∂W through step k‖ for every loss E_n and every step k, (N, T): rows of norms of `contributions`.

    With one loss per step it is a lower triangle: no loss depends on what comes after it. One sweep carries the
    cotangents of all losses.

    Raises:
        TypeError, ValueError: as for `contributions`; the losses are no list.
    """
    call = "contribution_table(losses, parameter)"
    if isinstance(losses, Tensor) or not isinstance(losses, Iterable):
        raise TypeError(f"{call}: losses is a list of Tensors, one for each row")
    losses = list(losses)
    for E in losses:
        backward_start(call, E)
    uses, last = _uses(call, losses, parameter)
    table, terms = np.zeros((len(losses), last)), dict[int, Cotangents]()
    oldest = {k: node for node, steps in uses.items() for k in set(steps.tolist())}  # that the sweep meets last
    with temporarily(observer, LeavesLeftOut()):
        for node, g in sweep(several(losses), np.ones(())) if losses else ():
            for i in _inputs(node, parameter):
                term = fit(each_passed_back(node, i, g), parameter)
                steps = uses[node][term.rows]
                for k in set(steps.tolist()):
                    part = Cotangents(term.rows[steps == k], term.arrays[steps == k])
                    terms[k] = terms[k] + part if k in terms else part
            for k in [k for k in terms if oldest[k] is node]:
                term = terms.pop(k)
                table[term.rows, k - 1] = _norms(term.arrays)
    return table


def jacobian(output: Tensor, input: Tensor) -> np.ndarray:
    """∂output/∂input, such as ∂h(T)/∂h(k), along all ways from one to the other, with the input held as a variable.

    Of the plain net and of a GRU it is the product of the one-step Jacobians ∂h(t)/∂h(t-1), t = k+1 .. T (IIT slides).
    The state of an LSTM is (h, c): what goes by way of c is in ∂h(T)/∂h(k), but not in the product of ∂h(t)/∂h(t-1).

    Returns:
        (output.size, input.size), both flattened; zeros if the output does not depend on the input.

    Raises:
        TypeError: no Tensor. ValueError: one of them requires no gradient.
    """
    for x in (output, input):
        _check_differentiable("jacobian(output, input)", x)
    cotangents = np.eye(output.size, dtype=output.dtype).reshape(output.size, *output.shape)
    with temporarily(observer, LeavesLeftOut(input)):
        for node, g in sweep(output, Cotangents(np.arange(output.size), cotangents)):
            if node is input:
                return g.arrays.reshape(output.size, input.size)
            if node.born < input.born:  # what is older than the input is not made of it
                break
    return np.zeros((output.size, input.size), output.dtype)


def singular_values(output: Tensor, input: Tensor) -> np.ndarray:
    """The singular values of `jacobian(output, input)`, largest first: how far a change of the input reaches.

    Raises:
        ValueError: as for `jacobian`, or the Jacobian is not finite.
    """
    J = jacobian(output, input)
    if not np.all(np.isfinite(J)):
        raise ValueError(f"singular_values: ∂({describe(output)})/∂({describe(input)}) is not finite: it has exploded")
    return np.linalg.svd(J, compute_uv=False)


def gradient_flow(loss: Tensor, hs: Sequence[Tensor]) -> np.ndarray:
    """‖∂L/∂h(t)‖ for every state, (T,): 0 where the loss does not depend on it.

    Raises:
        TypeError: the states are no list of Tensors. ValueError: the loss is no scalar, or a state has no gradient.
    """
    call = "gradient_flow(loss, hs)"
    start = backward_start(call, loss)
    if isinstance(hs, Tensor) or not isinstance(hs, Iterable):  # a stack of them is another node, which none of them is
        raise TypeError(f"{call}: hs is a list of Tensors, as a net returns it")
    hs = list(hs)
    for h in hs:
        _check_differentiable(call, h)
    norms = dict.fromkeys(hs, 0.0)
    norms |= {node: norm([g]) for node, g in sweep(loss, start) if node in norms}
    return np.array([norms[h] for h in hs])


def norm_bound(U: Tensor | np.ndarray, nonlinearity: str, distance: int | np.ndarray) -> np.ndarray:
    """(σ_max(U) · max f′)^(T - k), which ‖∂h(T)/∂h(k)‖ of the plain net does not exceed (Pascanu et al. 2013).

    max f′ is 1 for tanh, relu and identity, and 1/4 for sigmoid (TowardsML). Below 1 it proves that the gradient
    vanishes; above 1 it proves nothing: a bound is not the value, and a sigmoid net with σ_max(U) = 5 still vanishes.

    Args:
        distance: T - k, one number or an array of them.

    Raises:
        ValueError: an unknown nonlinearity, U is no finite matrix, or a distance is negative. TypeError: no numbers.
    """
    checks.one_of("norm_bound", "nonlinearity", nonlinearity, LARGEST_SLOPES)
    try:
        U, distance = np.asarray(bare(U), float), np.asarray(distance, float)
    except (TypeError, ValueError) as error:
        raise TypeError(f"norm_bound(U, distance): numbers are needed: {error}") from error
    if U.ndim != 2 or not np.all(np.isfinite(U)) or not np.all(distance >= 0):
        raise ValueError(
            f"norm_bound(U, distance): U is a finite matrix, not of shape {U.shape}; distances are from 0 up"
        )
    largest = np.linalg.norm(U, 2)
    return (largest * LARGEST_SLOPES[nonlinearity]) ** distance


def _uses(call: str, losses: Sequence[Tensor], parameter: Tensor) -> tuple[dict[Tensor, np.ndarray], int]:
    """The nodes that use the parameter, the youngest first, each with the time step of that use in the graph of every
    loss; and the last step of all.
    """
    _check_differentiable(call, parameter)
    order = topological_order(*losses)
    last = max((node.step for node in order if node.step is not None), default=0)
    uses = {node: np.full(len(losses), node.step or last) for node in reversed(order) if _inputs(node, parameter)}
    if any(node.step is None for node in uses):  # it belongs to another step where another loss uses it further
        for n, E in enumerate(losses):
            for node, step in time_steps(topological_order(E)).items():
                if node in uses:
                    uses[node][n] = step or 0
    for node, steps in uses.items():
        if not np.all((steps >= 1) & (steps <= last)):
            raise ValueError(
                f"{call}: {describe(parameter)} is used by {describe(node)}, at no time step from 1 on; "
                "say which with tg.label(h, 'h', t), or use the cells of tg.nn"
            )
    return uses, last


def _inputs(node: Tensor, x: Tensor) -> list[int]:
    """The numbers of the inputs of a node that are x."""
    return [i for i, y in enumerate(node.inputs) if y is x]


def _norms(arrays: np.ndarray) -> np.ndarray:
    """The norm of each of several arrays, as `optim.norm` has it."""
    vectors = arrays.reshape(len(arrays), -1).astype(np.float64)
    largest = np.max(np.abs(vectors), axis=1, initial=0.0)
    with np.errstate(all="ignore"):  # a row of zeros, or with an element that is not finite, has its largest as norm
        norms = largest * np.sqrt(np.sum((vectors / largest[:, None]) ** 2, axis=1))
    return np.where((largest > 0.0) & (largest < np.inf), norms, largest)


def _check_differentiable(call: str, x: Tensor) -> None:
    if not checks.instance(call, x, Tensor).requires_grad:
        raise ValueError(f"{call}: {describe(x)} does not require a gradient")
