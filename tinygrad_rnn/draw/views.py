"""The two figures of a recorded graph: the same nodes in the same places, dressed for each direction."""

from __future__ import annotations

from tinygrad_rnn.draw.diagram import Diagram, Edge, Node
from tinygrad_rnn.draw.grid import Place
from tinygrad_rnn.draw.placement import TOTAL
from tinygrad_rnn.draw.unfolding import Unfolded, placed, unfold
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
    at = placed(unfolded)
    nodes = [_node(unfolded, p, gradient=False) for p in unfolded.places]
    edges = [
        Edge(
            link.source.id, link.target.id, unfolded.function(link), "value", unfolded.function(link, unfolded.markup),
            at.corners.get(link, ()), at.labelled.get(link, 0), at.side.get(link, 1), at.bends.get(link, 0.0),
        )
        for link in unfolded.links
    ]  # fmt: skip
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
    at = placed(unfolded)
    nodes = [_node(unfolded, p, gradient=True) for p in unfolded.places]
    edges = []
    for link in unfolded.links:
        flows = link.source.tensor.requires_grad
        written = [unfolded.derivative(link, writer) if flows else "" for writer in (unfolded.writer, unfolded.markup)]
        via = at.corners.get(link, ())[::-1]
        (label, markup), kind = written, "gradient" if flows else "none"
        on, side, bend = len(via) - at.labelled.get(link, 0), at.side.get(link, 1), at.bends.get(link, 0.0)
        edges.append(Edge(link.target.id, link.source.id, label, kind, markup, via, on, side, bend))
    for i, lane in enumerate(at.lanes):
        first = lane.terms[0]
        name, tooltip = unfolded.name(first), f"{unfolded.partial(first)}, shape {first.tensor.shape}"
        markup = unfolded.markup.setting.template("d") + unfolded.name(first, unfolded.markup)
        over = f"the sum over the steps that use {name}"
        nodes.append(Node(f"sum{i}", "Σ", "sum", "Σ", None, lane.x, lane.y, over))
        nodes.append(Node(f"total{i}", f"d{name}", first.kind, markup, None, lane.x - TOTAL, lane.y, tooltip))
        edges += [Edge(p.id, f"sum{i}", "", "term", via=((p.x, lane.y),)) for p in lane.terms]
        edges.append(Edge(f"sum{i}", f"total{i}", "", "term"))
    return Diagram("backward", nodes, edges, unfolded.steps, unfolded.writer.legend(), direction="RL")


def _node(unfolded: Unfolded, p: Place, gradient: bool) -> Node:
    return Node(
        p.id,
        unfolded.label(p, gradient),
        p.kind,
        unfolded.label(p, gradient, unfolded.markup),
        p.column if p.column in unfolded.steps else None,
        p.x,
        p.y,
        unfolded.gradient(p) if gradient else unfolded.equation(p),
        faint=gradient and not p.tensor.requires_grad,
    )
