"""Recorded graphs as diagrams: `forward` (Fig. 7-5) and `backward` (Fig. 7-6)."""

from tinygrad_rnn.draw.diagram import Diagram, Edge, Node
from tinygrad_rnn.draw.views import backward, forward

__all__ = ["Diagram", "Edge", "Node", "backward", "forward"]
