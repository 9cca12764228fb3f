"""What is written on an unfolded graph, and the room that it needs."""

from collections import defaultdict
from collections.abc import Mapping

from tinygrad_rnn.algebra.writer import Writer, operation
from tinygrad_rnn.draw.grid import Link, Place
from tinygrad_rnn.draw.placement import GAP, SIGMA, Placement, arrange
from tinygrad_rnn.draw.style import EDGE_FONT, size, text_width
from tinygrad_rnn.draw.unfolding import Unfolded
from tinygrad_rnn.tensor import Tensor

WIDEST = 170.0  # a derivative that is wider is labelled as what it is, ∂L/∂z


class Labels:
    """What is written on an unfolded graph, as one writer sets it."""

    def __init__(self, unfolded: Unfolded, writer: Writer):
        self.unfolded, self.writer = unfolded, writer
        self.output, self.setting = unfolded.places[-1], writer.setting

    def name(self, p: Place) -> str:
        """The variable, or the operation where there is none; dots for the states of hidden steps."""
        if p.kind == "elided":
            return "⋯ ✂ ⋯" if any(map(self.unfolded.is_hidden, self.unfolded.cut_states)) else "⋯"
        return self.variable(p.tensor) or self.operation(p.tensor)

    def variable(self, x: Tensor) -> str:
        """A node as it is written; empty where it has no name, and is neither a leaf nor the output."""
        written = self.writer.notation.writes(x) or x.is_leaf or x is self.output.tensor
        return self.writer.variable(x) if written else ""

    def operation(self, x: Tensor) -> str:
        """What made a node: its operator, or its primitive's name."""
        text = operation(x.primitive)
        return self.setting.word(text) if text.isidentifier() else self.setting.operator(text)

    def label(self, p: Place, gradient: bool) -> str:
        """What is written in a node: h⁽²⁾, or for its gradient dh⁽²⁾; what made it, below, where every primitive is."""
        unfolded, name = self.unfolded, self.name(p)
        variable = p.kind not in ("operation", "elided")
        if gradient and variable and p is not self.output and p.tensor.requires_grad:
            step = p.column if p.tensor in unfolded.shared and p.column in unfolded.steps else None
            name = self.differential(p.tensor, "t" if step is not None and unfolded.rolled else step)
        if unfolded.level == "named" or not variable or p.tensor.is_leaf:
            return name
        return name + self.setting.line + self.operation(p.tensor)

    def differential(self, tensor: Tensor, step: float | str | None = None) -> str:
        """The gradient of a variable: dh; or ∂R/∂h, where what is called dh is a variable itself."""
        of = self.writer.variable(tensor, step)
        if self.unfolded.has_gradients:
            return self.setting.derivative(self.name(self.output), of)
        return self.setting.word("d") + of

    def equation(self, p: Place) -> str:
        """How a node was made, as a tooltip says it."""
        if p.kind == "elided":
            return "the states of the hidden steps"
        of = self.writer.expression(p.tensor)
        made = p.tensor.name is not None and not p.tensor.is_leaf
        return f"{f'{self.name(p)} = {of}' if made else of}, shape {p.tensor.shape}"

    def partial(self, p: Place) -> str:
        """∂L/∂W, of the output with respect to a node."""
        return self.setting.derivative(self.name(self.output), self.name(p))

    def gradient(self, p: Place) -> str:
        """What gradient a node stands for, as a tooltip says it."""
        if p.kind == "elided":
            return "the gradients of the hidden steps"
        if not p.tensor.requires_grad:
            return f"{self.name(p)} needs no gradient"
        through = f"through step {p.column}" if p.column in self.unfolded.steps else "outside of the steps"
        term = f", the term {through}" if p.tensor in self.unfolded.shared else ""
        return f"{self.partial(p)}{term}, shape {p.tensor.shape}"

    def derivative(self, link: Link) -> str:
        """∂target/∂source as a label: the local derivatives along each path multiplied, the paths added up."""
        if link.target.kind == "elided":
            return "⋯"
        found = self.unfolded.derivatives.get(link)
        if found is not None and text_width(self.unfolded.writer.text(found), EDGE_FONT) <= WIDEST:
            return self.writer.text(found)
        return self.setting.derivative(self.name(link.target), self.name(link.source))

    def function(self, link: Link) -> str:
        """The function that a link applies, as f in h = f(ĥ), where it applies just one."""
        one = link.paths is not None and [len(path) for path in link.paths] == [1]
        return self.writer.function(link.user) if one and self.unfolded.level == "named" else ""


def placed(unfolded: Unfolded, labels: Labels, notes: Mapping[Place | Tensor, str]) -> Placement:
    """Place the nodes with room for the labels of both figures; links between the same variables get the same room.

    Args:
        labels: in plain text.
        notes: what stands in a node below its label, the longer of what it is in both figures; of a parameter that
            several steps use, below that of its whole gradient.
    """
    widest: dict[tuple, float] = defaultdict(float)
    for p in unfolded.places:
        p.width, p.height = size(p.kind, labels.label(p, gradient=True), notes.get(p, ""))
    between = {link: (link.source.tensor.name, link.target.tensor.name, link.user.primitive) for link in unfolded.links}
    for link, names in between.items():
        written = [labels.function(link)] + [labels.derivative(link)] * link.source.tensor.requires_grad
        widest[names] = max(widest[names], *(text_width(text, EDGE_FONT) for text in written))
    totals = {}
    for x in unfolded.shared:
        width, height = size("parameter", labels.differential(x), notes.get(x, ""))
        totals[x] = width + GAP + SIGMA, height
    return arrange(unfolded, lambda link: widest[between[link]] + 4.0 if widest[between[link]] else 0.0, totals)
