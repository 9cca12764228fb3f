"""Recorded graphs as diagrams: `forward` (Fig. 7-5), `backward` (Fig. 7-6) and `between` (Fig. 7-7).

`terms` draws the table of the terms of a gradient's sum over time as a heat map; `page` plays several graphs.
"""

from tinygrad_rnn.algebra.notation import NOTATIONS, Notation
from tinygrad_rnn.draw.diagram import Diagram
from tinygrad_rnn.draw.drawing import Edge, Node
from tinygrad_rnn.draw.heatmap import terms
from tinygrad_rnn.draw.views import backward, between, forward, page

__all__ = ["NOTATIONS", "Diagram", "Edge", "Node", "Notation", "backward", "between", "forward", "page", "terms"]
