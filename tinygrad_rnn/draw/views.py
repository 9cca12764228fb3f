"""The two figures of a recorded graph: the same nodes in the same places, dressed for each direction."""

from __future__ import annotations

from tinygrad_rnn.draw.diagram import Diagram, Edge, Node
from tinygrad_rnn.draw.placement import TOTAL, Place, arcs, buses
from tinygrad_rnn.draw.unfolding import Unfolded, unfold
from tinygrad_rnn.tensor import Tensor

__all__ = ["backward", "forward"]


def forward(output: Tensor, *, level: str = "named") -> Diagram:
    """The forward computational graph of a Tensor (Fig. 7-5 of seed 001), time running to the right.

    Args:
        level: "named" draws the named variables; "primitives" every primitive, node by node.

    Raises:
        TypeError: not a Tensor. ValueError: a Tensor without a graph, or an unknown level.
    """
    unfolded = unfold(output, level)
    nodes = [_node(unfolded, p, gradient=False) for p in unfolded.places]
    bends = arcs(unfolded.links, unfolded.places)
    edges = [
        Edge(link.source.id, link.target.id, unfolded.function(link), "value", bend=bends.get(link, 0.0))
        for link in unfolded.links
    ]
    return Diagram("forward", nodes, edges, unfolded.steps, unfolded.writer.legend())


def backward(output: Tensor, *, level: str = "named") -> Diagram:
    """The backward computational graph of a Tensor (Fig. 7-6 of seed 001): gradients run to the left.

    Along each edge the gradient is multiplied by the local derivative written on it. A parameter that several steps
    use has one term of its gradient in each, and Σ adds them up: eqs. 7.7 to 7.9. What needs no gradient is drawn
    faintly, with no arrow to it.

    Args:
        level: "named" draws the named variables; "primitives" every primitive, node by node.

    Raises:
        TypeError: not a Tensor. ValueError: a Tensor without a graph, or an unknown level.
    """
    unfolded = unfold(output, level)
    nodes = [_node(unfolded, p, gradient=True) for p in unfolded.places]
    edges, bends = [], arcs(unfolded.links, unfolded.places)
    for link in unfolded.links:
        flows = link.source.tensor.requires_grad
        label, kind = (unfolded.derivative(link), "gradient") if flows else ("", "none")
        edges.append(Edge(link.target.id, link.source.id, label, kind, bend=bends.get(link, 0.0)))
    for i, (terms, (x, y)) in enumerate(buses(list(unfolded.shared.values()), unfolded.places)):
        name = unfolded.name(terms[0])
        tooltip = f"{unfolded.partial(terms[0])}, shape {terms[0].tensor.shape}"
        nodes.append(Node(f"sum{i}", "Σ", "sum", None, x, y, f"the sum over the steps that use {name}"))
        nodes.append(Node(f"total{i}", f"d{name}", terms[0].kind, None, x - TOTAL, y, tooltip))
        edges += [Edge(p.id, f"sum{i}", "", "gradient", via=((p.x, y),)) for p in terms]
        edges.append(Edge(f"sum{i}", f"total{i}", "", "gradient"))
    return Diagram("backward", nodes, edges, unfolded.steps, unfolded.writer.legend(), direction="RL")


def _node(unfolded: Unfolded, p: Place, gradient: bool) -> Node:
    return Node(
        p.id,
        unfolded.label(p, gradient),
        p.kind,
        p.column if p.column in unfolded.steps else None,
        p.x,
        p.y,
        unfolded.gradient(p) if gradient else unfolded.equation(p),
        faint=gradient and not p.tensor.requires_grad,
    )
