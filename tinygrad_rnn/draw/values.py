"""The gradients of what is drawn, and how they and the values are shown as text."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_rnn.backward import sweep
from tinygrad_rnn.bptt.cotangents import passed_back
from tinygrad_rnn.draw.unfolding import Place, Unfolded, joined
from tinygrad_rnn.optim import norm
from tinygrad_rnn.tensor import Tensor

MOST_ROWS = 64  # of a Jacobian


def gradients(unfolded: Unfolded) -> dict[Place, np.ndarray]:
    """∂L/∂node for every place that has one; of a parameter that several steps use, the term of each, and the whole.

    Of an output that is no scalar, the Jacobians, one row for each of its elements; none if these are more than 64. Of
    several outputs, the gradients of the sum of all their elements. No `.grad` is read or changed.
    """
    output, *others = unfolded.outputs
    if others:
        return _gradients(unfolded, [np.ones(x.shape, x.dtype) for x in unfolded.outputs])
    if not output.requires_grad or output.size > MOST_ROWS:
        return {}
    cotangents = np.eye(output.size, dtype=output.dtype).reshape(output.size, *output.shape)
    rows = [_gradients(unfolded, [cotangent]) for cotangent in cotangents]
    return rows[0] if output.size == 1 else {p: np.array([row[p] for row in rows]) for p in rows[0]}


def _gradients(unfolded: Unfolded, cotangents: Sequence[np.ndarray]) -> dict[Place, np.ndarray]:
    places = [p for p in unfolded.places if p.kind != "elided"]
    terms = {(p.tensor, p.column): p for p in places if p.tensor in unfolded.shared}
    whole = [*unfolded.totals.values(), *(p for p in places if p.tensor not in unfolded.shared)]
    wanted = {x for p in whole for x in unfolded.parts(p)}
    found: dict[Place | Tensor, Any] = {}
    for output, cotangent in zip(unfolded.outputs, cotangents, strict=True):
        for node, g in sweep(output, cotangent):
            if node in wanted:
                found[node] = found.get(node, 0.0) + np.asarray(g)
            for i, x in enumerate(node.inputs):
                if p := terms.get((x, unfolded.columns.get(node))):
                    found[p] = found.get(p, 0.0) + passed_back(node, i, g)
    arrays = {p: [found[x] for x in unfolded.parts(p) if x in found] for p in whole}
    found |= {p: joined(parts) for p, parts in arrays.items() if parts}
    return {p: array for p, array in found.items() if isinstance(p, Place)}


def short(array: np.ndarray | None) -> str:
    """A few numbers in full, and more as their shape and norm; – for what does not exist."""
    if array is None:
        return "–"
    if array.size <= 3:
        numbers = ", ".join(f"{x + 0.0:.3g}".replace("-", "−") for x in array.ravel())
        return numbers if array.ndim == 0 else f"[{numbers}]"
    return f"{'×'.join(map(str, array.shape))}, ‖·‖ = {norm([array]):.3g}".replace("-", "−")
