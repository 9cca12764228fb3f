"""The labels of an unfolded graph, and the room that they need."""

from collections import Counter, defaultdict
from collections.abc import Mapping

from tinygrad_rnn.algebra.typesetting import Typesetting
from tinygrad_rnn.algebra.writer import Writer, operation
from tinygrad_rnn.draw.style import EDGE_FONT, size, text_width
from tinygrad_rnn.draw.unfolding import Link, Place, Unfolded
from tinygrad_rnn.naming import GradientName
from tinygrad_rnn.tensor import Tensor


class Labels:
    """The labels of an unfolded graph in one setting."""

    def __init__(self, unfolded: Unfolded, setting: Typesetting):
        self.unfolded, self.setting = unfolded, setting
        self.writer = writer = Writer(unfolded.names, unfolded.notation, setting, brief=True)
        self.has_gradients = any(isinstance(x.name, GradientName) for x in unfolded.columns)
        outputs = " + ".join(map(writer.variable, unfolded.outputs))
        self.output = outputs if len(unfolded.outputs) == 1 else f"({outputs})"
        outputs = {p for p in unfolded.places if p.kind == "output"} - {link.source for link in unfolded.links}
        self.hidden = "".join(f"steps {k} to {k + n - 1}" if n > 1 else f"step {k}" for k, n in unfolded.hidden.items())
        self.bare = set() if unfolded.values_written else outputs  # where gradients start, called L and not dL

    def name(self, p: Place) -> str:
        """The variable, or the operation where there is none; dots for the states of hidden steps."""
        if p.kind == "elided":
            return "⋯ ✂ ⋯" if any(map(self.unfolded.is_hidden, self.unfolded.cut_states)) else "⋯"
        return self.variable(p.tensor) or self.operation(p.tensor)

    def variable(self, x: Tensor, step: float | str | None = None) -> str:
        """A node as it is written, (h, c)⁽ᵗ⁾ where two are one; empty without a name, if no leaf and no output."""
        if x in self.unfolded.groups:
            return self.writer.group(self.unfolded.groups[x])
        written = self.writer.notation.writes(x) or x.is_leaf or x in self.unfolded.outputs
        return self.writer.variable(x, step) if written else ""

    def operation(self, x: Tensor) -> str:
        """The operation that made a node: its operator, or its primitive's name."""
        text = operation(x.primitive)
        return self.setting.word(text) if text.isidentifier() else self.setting.operator(text)

    def label(self, p: Place, gradient: bool) -> str:
        """The label of a node: h⁽²⁾, or for its gradient dh⁽²⁾; below it the operation, at level "primitives"."""
        unfolded, name = self.unfolded, self.name(p)
        variable = p.kind not in ("operation", "elided")
        if gradient and variable and p.tensor.requires_grad and p not in self.bare:
            name = self.cotangent(p)
        if unfolded.level != "primitives" or not variable or p.tensor.is_leaf:
            return name
        return name + self.setting.line + self.operation(p.tensor)

    def cotangent(self, p: Place) -> str:
        """The gradient of a node as it is written: dh⁽²⁾; dW⁽²⁾ of a term; d(+) without a name; ∂L/∂L of the start."""
        if p in self.bare:
            return self.partial(p)
        if p.kind == "operation":
            return self.setting.word("d") + self._called(p.tensor)
        step = p.column if p.tensor in self.unfolded.shared and p.column in self.unfolded.steps else None
        return self.differential(p.tensor, "t" if step is not None and self.unfolded.rolled else step)

    def differential(self, tensor: Tensor, step: float | str | None = None) -> str:
        """The gradient of a variable: dh; or ∂R/∂h, where what is called dh is a variable itself."""
        of = self.variable(tensor, step)
        if self.has_gradients:
            return self.setting.derivative(self.output, of)
        return self.setting.word("d") + of

    def partial(self, p: Place) -> str:
        """∂L/∂W, of the output with respect to a node."""
        return self.setting.derivative(self.output, self.name(p))

    def tooltip(self, p: Place, gradient: bool) -> str:
        """The equation of a node, or the gradient that it stands for."""
        if p.kind == "elided":
            return f"the {'gradients' if gradient else 'states'} of {self.hidden}"
        if not gradient:
            named = {x: f"{self.variable(x)} = " if x.name and not x.is_leaf else "" for x in self.unfolded.parts(p)}
            return "; ".join(f"{n}{self.writer.expression(x)}, shape {x.shape}" for x, n in named.items())
        if not p.tensor.requires_grad:
            return f"{self.name(p)} needs no gradient"
        through = f"through step {p.column}" if p.column in self.unfolded.steps else "outside of the steps"
        term = f", the term {through}" if p.tensor in self.unfolded.shared and p.column is not None else ""
        return f"{self.partial(p)}{term}, shape {p.tensor.shape}"

    def edge(self, link: Link, gradient: bool) -> str:
        """The label of a link: forward the one function that it applies, as f in h = f(ĥ), or its weights at level
        "states"; backward ∂target/∂source, the local derivatives along each path multiplied, the paths added up.
        """
        if gradient and not link.source.tensor.requires_grad:
            return ""
        if gradient and link.target.kind == "elided":
            return "⋯"
        if gradient:
            derivative = self.unfolded.derivatives.get(link)
            return self.quotient(link) if derivative is None else self.writer.text(derivative)
        if self.unfolded.level == "states":
            return ", ".join(self.weights(link))
        one = link.paths is not None and [len(path) for path in link.paths] == [1]
        return self.writer.function(link.user) if one and self.unfolded.level == "named" else ""

    def quotient(self, link: Link) -> str:
        """∂target/∂source, for what is not written out; direct, ∂⁺target/∂source, where there are other ways too."""
        by = "⋯" if link.source.kind == "elided" else self._called(link.tensor)
        return self.setting.derivative(self._called(link.target.tensor), by, link in self.unfolded.bypassed)

    def _called(self, x: Tensor) -> str:
        """A variable, or the operation in parentheses where there is none."""
        return self.variable(x) or f"({self.operation(x)})"

    def weights(self, link: Link) -> dict[str, list[str]]:
        """The weights on an arrow, and what each stands for: U for U_i, U_f and so on of the gates of a cell."""
        found: dict[str, list[str]] = defaultdict(list)
        for x in sorted(link.weights, key=lambda x: x.born):
            name = self.writer.variable(x)
            found[name if x.name is None else self.writer.letter(x)].append(name)
        return {of[0] if len(of) == 1 else letter: of for letter, of in found.items()}


def measure(unfolded: Unfolded, labels: Labels, notes: Mapping[Place, str], gradient: bool) -> None:
    """Set how large places and the labels of links are, in both figures; at level "states" in the one that is drawn.

    Args:
        labels: in plain text.
        notes: what stands in a node below its label, the longer of what it is in both figures.
    """
    figures = [gradient] if unfolded.level == "states" else [False, True]
    arriving = Counter(link.source for link in unfolded.links if link.source.tensor.requires_grad)
    arriving.update(loop.source for loop in unfolded.loops)
    for p in (*unfolded.places, *unfolded.totals.values()):
        label = labels.label(p, figures[-1] or p.column is None) + "₊" * (arriving[p] > 1)
        p.width, p.height = size(p.kind, label, notes[p])
    for link in unfolded.links:
        link.room = max(text_width(labels.edge(link, figure), EDGE_FONT) for figure in figures)
