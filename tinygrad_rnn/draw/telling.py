"""A drawn graph as a story: forward, node by node in the order of execution, then backward, edge by edge.

A frame of the way back takes one edge: the gradient of its target times the local derivative is added to the gradient
of its source. The terms of a sum over time are added to it one by one, the last step's first, as the sweep finds them.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_rnn.backward import passed_back, sweep
from tinygrad_rnn.draw.grid import Link, Place
from tinygrad_rnn.draw.page import Story
from tinygrad_rnn.draw.unfolding import Unfolded
from tinygrad_rnn.notation import Writer
from tinygrad_rnn.optim import norm
from tinygrad_rnn.tensor import Tensor

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

    def __init__(self, writer: Writer, values: Mapping[Tensor, np.ndarray]):
        self.__dict__.update(writer.__dict__)
        self.values = values

    def variable(self, tensor: Tensor, step: Any = None) -> str:
        return _matrix(self.values[tensor]) if self.notation.writes(tensor) else super().variable(tensor, step)


class _Teller:
    def __init__(self, unfolded: Unfolded):
        self.unfolded = unfolded
        self.numbers = _Numbers(unfolded.markup, unfolded.values)
        self.ends = {p.tensor for p in unfolded.places} | set(filter(unfolded.is_hidden, unfolded.columns))
        self.frames: list[dict] = []

    def story(self, forward: Diagram, backward: Diagram) -> Story:
        places = self.unfolded.places
        given = [p.id for p in places if p.tensor.is_leaf or p.kind == "elided"]
        self.frames.append({"phase": "forward", "nodes": given, "text": "What is given: the parameters, and the data."})
        for p in sorted((p for p in places if p.id not in given), key=lambda p: p.tensor.born):
            self.frames.append({"phase": "forward", "nodes": [p.id]})
        if places[-1].tensor.size == 1 and places[-1].tensor.requires_grad:
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
            **_array(unfolded.values[p.tensor]),
        }

    def _back(self) -> None:
        """One frame an edge; the cotangents of all places are kept as they grow. Hidden steps go back in one."""
        unfolded, self.found = self.unfolded, {}
        output = unfolded.places[-1]
        self._pass_on(output, np.ones(output.tensor.shape), nodes=[output.id])
        into: dict[Place, list[Link]] = {p: [] for p in unfolded.places}
        for link in unfolded.links:
            into[link.target].append(link)
        through_hidden = self._through_hidden_steps() if unfolded.hidden else {}
        for p in sorted(unfolded.places, key=lambda p: (-p.tensor.born, p.kind != "elided")):
            if p not in self.found or p.tensor.is_leaf:
                continue
            passed = through_hidden if p.kind == "elided" else self._passed(p)
            for link in reversed(into[p]):
                q = link.source
                key = q.role if q.kind == "elided" else q.tensor
                if key in passed:
                    derivative = unfolded.derivative(link, unfolded.markup)
                    edge = {"edge": f"{p.id}->{q.id}", "from": p.id, "derivative": derivative}
                    self._pass_on(q, passed[key], nodes=[q.id], **edge)
                    if key in unfolded.shared:
                        self._add_term(key, q, passed[key])
            if p.kind == "elided":
                for x in unfolded.shared:
                    if x in through_hidden:
                        self._add_term(x, p, through_hidden.pop(x))

    def _passed(self, p: Place) -> dict[Tensor | tuple, np.ndarray]:
        """What a place passes back to the next ones that are drawn; to a state that dots stand for, by its role."""
        unfolded = self.unfolded
        passed: dict[Tensor | tuple, np.ndarray] = {}
        for x, g in sweep(p.tensor, self.found[p], until=self.ends):
            if x in self.ends and x is not p.tensor:
                key = (x.name, x.layer) if unfolded.is_hidden(x) else x
                passed[key] = passed.get(key, 0.0) + g
        return passed

    def _pass_on(self, to: Place | Tensor, term: np.ndarray, **frame: Any) -> None:
        """A frame in which a term is added to a gradient: of a place, or of a parameter that several steps use."""
        self.found[to] = self.found.get(to, 0.0) + term
        id = to.id if isinstance(to, Place) else self._total(to)
        grown = {"term": _array(term), "total": _array(self.found[to])}
        self.frames.append({"phase": "backward", "to": id, **grown, **frame})

    def _add_term(self, parameter: Tensor, by: Place, term: np.ndarray) -> None:
        total = self._total(parameter)
        its_sum = total.replace("total", "sum")
        self._pass_on(parameter, term, nodes=[its_sum, total], edge=f"{by.id}->{its_sum}", **{"from": by.id})

    def _total(self, parameter: Tensor) -> str:
        return f"total{self.unfolded.number_of_sum(parameter)}"

    def _through_hidden_steps(self) -> dict[Tensor, np.ndarray]:
        """What the gradients of the states before the hidden steps, and of the parameters, have from these steps."""
        unfolded = self.unfolded
        output, shown = unfolded.places[-1].tensor, {p.tensor for p in unfolded.places}
        passed: dict[Tensor, np.ndarray] = {}
        for node, g in sweep(output, np.ones(output.shape)):
            for i, x in enumerate(node.inputs) if unfolded.is_hidden(node) else ():
                if x in shown and not unfolded.is_hidden(x):
                    passed[x] = passed.get(x, 0.0) + passed_back(node, i, g)
        return passed

    def _sums(self) -> list[dict]:
        """The parameters, and where on the page their gradients grow."""
        unfolded = self.unfolded
        ids = {f"total{i}": where[0] for i, where in enumerate(unfolded.shared.values())}
        ids |= {p.id: p for p in unfolded.places if p.kind == "parameter" and p.tensor not in unfolded.shared}
        return [
            {
                "id": id,
                "name": f"<I>d</I>{unfolded.name(p, unfolded.markup)}",
                "plain": f"d{unfolded.name(p)}",
                "terms": sum(frame.get("to") == id for frame in self.frames),
            }
            for id, p in ids.items()
        ]


def _array(array: np.ndarray) -> dict:
    """An array as the page holds it: the numbers in ten digits, the shape, the norm."""
    values = None if array.size > MOST else [_number(x) for x in np.asarray(array, float).ravel()]
    return {"shape": list(array.shape), "values": values, "norm": _number(norm([array]))}


def _number(x: float) -> float | str:
    """As JavaScript's Number reads it; JSON has none that are not finite."""
    return float(f"{x:.10g}") if math.isfinite(x) else str(x).replace("nan", "NaN").replace("inf", "Infinity")


def _matrix(array: np.ndarray) -> str:
    """Numbers in brackets, a column for a vector; a large array by its shape."""
    if array.ndim == 0:
        return f"{array.item():.3g}".replace("-", "−")
    if array.size > IN_FULL or array.ndim > 2:
        return html.escape(f"[{'×'.join(map(str, array.shape))}]")
    rows = array if array.ndim == 2 else array[:, None]
    cells = "".join(f"<tr>{''.join(f'<td>{x:.3g}</td>' for x in row)}</tr>" for row in rows)
    return f'<table class="matrix">{cells}</table>'.replace("-", "−")
