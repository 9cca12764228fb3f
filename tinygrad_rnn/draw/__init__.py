"""Recorded graphs as diagrams: `forward` (Fig. 7-5), `backward` (Fig. 7-6) and `between` (Fig. 7-7).

`terms` draws the table of the terms of a gradient's sum over time as a heat map; `page` plays several graphs.

How a figure is made, by the modules that do it:

    unfolding, states   a recorded graph -> places in columns, and links between them, as the level keeps them
    labels              what is written in places and on links, and how much room that needs
    grid                the columns of a kind, their layers, and the lines from spot to spot
    placement           heights, then widths -> where every place stands, and the curve of every link
    views               -> a diagram of nodes and edges, dressed for one direction (drawing, diagram: plain data)
    dot, layout, svg    -> DOT text, drawn by Graphviz, and an SVG that can be read anywhere; style: its look
    page, computation   -> frames and equations, and the numbers that the browser computes (page.js, runtime.js)
"""

from tinygrad_rnn.algebra.notation import NOTATIONS, Notation
from tinygrad_rnn.draw.diagram import Diagram
from tinygrad_rnn.draw.drawing import Edge, Node
from tinygrad_rnn.draw.heatmap import terms
from tinygrad_rnn.draw.views import backward, between, forward, page

__all__ = ["NOTATIONS", "Diagram", "Edge", "Node", "Notation", "backward", "between", "forward", "page", "terms"]
