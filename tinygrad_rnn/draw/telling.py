"""A drawn graph as a story: forward, node by node in the order of execution, then backward, edge by edge.

A frame of the way back takes one edge: the gradient of its target times the local derivative is added to the gradient
of its source. The terms of a sum over time are added to it one by one, the last step's first, as the sweep finds them.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_rnn.backward import sweep
from tinygrad_rnn.draw.grid import Link, Place
from tinygrad_rnn.draw.page import Story
from tinygrad_rnn.draw.unfolding import Unfolded
from tinygrad_rnn.notation import Writer
from tinygrad_rnn.optim import norm
from tinygrad_rnn.tensor import Tensor
from tinygrad_rnn.typesetting import MARKUP

if TYPE_CHECKING:
    from tinygrad_rnn.draw.diagram import Diagram

__all__ = ["tell"]

MOST = 4096  # elements of an array that the page holds
IN_FULL = 24  # elements of an array that are written into an equation


def tell(unfolded: Unfolded, forward: Diagram, backward: Diagram) -> Story:
    """The frames of a graph, with the numbers that they show."""
    return _Teller(unfolded).story(forward, backward)


class _Numbers(Writer):
    """Writes a variable as its numbers."""

    def variable(self, tensor: Tensor, step: Any = None) -> str:
        return _matrix(tensor.value) if self.notation.writes(tensor) else super().variable(tensor, step)


class _Teller:
    def __init__(self, unfolded: Unfolded):
        self.unfolded = unfolded
        w = unfolded.markup
        self.numbers = _Numbers([], {}, w.notation, MARKUP)
        self.numbers.layered, self.numbers.nonlinearities = w.layered, w.nonlinearities
        self.frames: list[dict] = []

    def story(self, forward: Diagram, backward: Diagram) -> Story:
        places = self.unfolded.places
        given = [p.id for p in places if p.tensor.is_leaf or p.kind == "elided"]
        self.frames.append({"phase": "forward", "nodes": given, "text": "What is given: the parameters, and the data."})
        for p in sorted((p for p in places if p.id not in given), key=lambda p: p.tensor.born):
            self.frames.append({"phase": "forward", "nodes": [p.id]})
        if places[-1].tensor.size == 1 and places[-1].tensor.requires_grad and not self.unfolded.hidden:
            self._back()
        nodes = {p.id: self._node(p) for p in places}
        return Story(forward, backward, nodes, self.frames, self._sums())

    def _node(self, p: Place) -> dict:
        unfolded, markup = self.unfolded, self.unfolded.markup
        made = not p.tensor.is_leaf and p.kind != "elided"
        return {
            "name": unfolded.name(p, markup),
            "plain": unfolded.name(p),
            "gradient": unfolded.label(p, True, markup).split("<BR/>")[0],
            "equation": markup.expression(p.tensor) if made else "",
            "numbers": self.numbers.expression(p.tensor) if made else "",
            "wants": bool(p.tensor.requires_grad),
            **_array(p.tensor.value),
        }

    def _back(self) -> None:
        """One frame an edge; the cotangents of all places are kept as they grow."""
        unfolded = self.unfolded
        output = unfolded.places[-1]
        found: dict[Place, np.ndarray] = {output: np.ones(output.tensor.shape)}
        sums: dict[Tensor, np.ndarray] = {}
        into: dict[Place, list[Link]] = {p: [] for p in unfolded.places}
        for link in unfolded.links:
            into[link.target].append(link)
        drawn = {p.tensor for p in unfolded.places}
        self.frames.append(
            {"phase": "backward", "nodes": [output.id], "to": output.id, **_grown(found[output], found[output])}
        )
        for p in sorted(unfolded.places, key=lambda p: -p.tensor.born):
            if p not in found or p.tensor.is_leaf:
                continue
            passed = {x: np.array(g) for x, g in sweep(p.tensor, found[p], until=drawn - {p.tensor}) if x in drawn}
            for link in reversed(into[p]):
                q = link.source
                if q.tensor not in passed or q.tensor is p.tensor:
                    continue
                found[q] = found.get(q, 0.0) + passed[q.tensor]
                self.frames.append({
                    "phase": "backward", "nodes": [q.id], "edge": f"{p.id}->{q.id}", "from": p.id, "to": q.id,
                    "derivative": unfolded.derivative(link, unfolded.markup), **_grown(passed[q.tensor], found[q]),
                })  # fmt: skip
                if q.tensor in unfolded.shared:
                    sums[q.tensor] = sums.get(q.tensor, 0.0) + passed[q.tensor]
                    i = unfolded.number_of_sum(q)
                    self.frames.append({
                        "phase": "backward", "nodes": [f"sum{i}", f"total{i}"], "edge": f"{q.id}->sum{i}", "from": q.id,
                        "to": f"total{i}", "sum": i, **_grown(passed[q.tensor], sums[q.tensor]),
                    })  # fmt: skip

    def _sums(self) -> list[dict]:
        """The parameters, and where on the page their gradients grow."""
        unfolded = self.unfolded
        sums = []
        for i, x in enumerate(unfolded.shared):
            p = unfolded.shared[x][0]
            sums.append(
                {
                    "id": f"total{i}",
                    "name": f"<I>d</I>{unfolded.name(p, unfolded.markup)}",
                    "plain": f"d{unfolded.name(p)}",
                    "terms": len(unfolded.shared[x]),
                }
            )
        for p in unfolded.places:
            if p.kind == "parameter" and p.tensor not in unfolded.shared:
                name = unfolded.name(p, unfolded.markup)
                sums.append({"id": p.id, "name": f"<I>d</I>{name}", "plain": f"d{unfolded.name(p)}", "terms": 1})
        return sums


def _grown(term: np.ndarray, total: np.ndarray) -> dict:
    return {"term": _array(term), "total": _array(total)}


def _array(array: np.ndarray) -> dict:
    """An array as the page holds it: the numbers in ten digits, the shape, the norm."""
    values = None if array.size > MOST else [float(f"{x:.10g}") for x in np.asarray(array, float).ravel()]
    return {"shape": list(array.shape), "values": values, "norm": float(f"{norm([array]):.10g}")}


def _matrix(array: np.ndarray) -> str:
    """Numbers in brackets, a column for a vector; a large array by its shape."""
    if array.ndim == 0:
        return f"<span>{array.item():.3g}</span>".replace("-", "−")
    if array.size > IN_FULL or array.ndim > 2:
        return html.escape(f"[{'×'.join(map(str, array.shape))}]")
    rows = array if array.ndim == 2 else array[:, None]
    cells = "".join(f"<tr>{''.join(f'<td>{x:.3g}</td>' for x in row)}</tr>" for row in rows)
    return f'<table class="matrix">{cells}</table>'.replace("-", "−")
