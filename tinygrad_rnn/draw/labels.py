"""The labels of an unfolded graph, the room that they need, and its equations: how a node is made, and what goes back
along a link.

Equations are right as equations of matrices, gradients being columns: ᵗU dh, dh ᵗx, f′(ĥ) ⊙ dh. They are markup, in
which what is a number of the computation stands between marks, with its number before it: the page puts the array in
its place for the same equation in numbers. No name of a user's holds a mark, as none can be printed.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from tinygrad_rnn.algebra import formulas, trees
from tinygrad_rnn.algebra.trees import Tree, Unwritten
from tinygrad_rnn.algebra.typesetting import MARKUP, Typesetting
from tinygrad_rnn.algebra.writer import Writer, operation
from tinygrad_rnn.backward import terms
from tinygrad_rnn.draw.computation import Computation
from tinygrad_rnn.draw.style import EDGE_FONT, NODES, size, text_width
from tinygrad_rnn.draw.unfolding import Link, Place, Unfolded
from tinygrad_rnn.tensor import GradientName, Tensor

FROM, TO, BESIDE = "\ue000", "\ue001", "\ue002"  # marks; the last stands between a number and its factor
MARK = f"{FROM}[^|]*[|]|{TO}"
DEEPEST = 24  # expressions of unnamed nodes are written out this many primitives deep,
LONGEST = 900  # if their markup has no more characters than this
TOO_LONG = 120  # characters of what a gradient is: a derivative in it is then written as ∂a/∂b
ROWS = "The same for every row of the batch."
ADDED = "The same for every row of the batch; Σ adds the rows up."


class Labels:
    """The labels of an unfolded graph in one setting."""

    def __init__(self, unfolded: Unfolded, setting: Typesetting):
        self.unfolded, self.setting = unfolded, setting
        self.writer = writer = Writer(unfolded.names, setting, brief=True)
        self.has_gradients = any(isinstance(x.name, GradientName) for x in unfolded.columns)
        outputs = " + ".join(map(writer.variable, unfolded.outputs))
        self.output = outputs if len(unfolded.outputs) == 1 else f"({outputs})"
        ends = {p for p in unfolded.places if p.kind == "output"} - {link.source for link in unfolded.links}
        self.hidden = "".join(f"steps {k} to {k + n - 1}" if n > 1 else f"step {k}" for k, n in unfolded.hidden.items())
        self.bare = set() if unfolded.values_written else ends  # where gradients start, called L and not dL

    def name(self, p: Place) -> str:
        """The variable, or the operation in parentheses where there is none; dots for the states of hidden steps."""
        if p.kind == "elided":
            return "⋯ ✂ ⋯" if any(map(self.unfolded.is_hidden, self.unfolded.cut_states)) else "⋯"
        return self.variable(p.tensor) or f"({self.operation(p.tensor)})"

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
        x, is_dots = p.tensor, p.kind == "elided"
        if p.kind == "operation" or NODES[p.kind].sign:
            return NODES[p.kind].sign or self.operation(x)
        is_gradient = gradient and x.requires_grad and not is_dots and p not in self.bare
        name = self.cotangent(p) if is_gradient else self.name(p)
        is_made = self.unfolded.level == "primitives" and not x.is_leaf and not is_dots
        return name + self.setting.line + self.operation(x) if is_made else name

    def cotangent(self, p: Place) -> str:
        """The gradient of a node as it is written: dh⁽²⁾; dW⁽²⁾ of a term; d(+) without a name; ∂L/∂L of the start."""
        if p in self.bare:
            return self.partial(p)
        if p.kind == "operation":
            return self.setting.word("d") + self.name(p)
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
        if p.kind == "cut":
            return "no gradient flows back from here"
        if p.kind == "sum":
            return f"the sum over all steps that use {self.name(p)}"
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
        one = link.hops is not None and len(link.hops) == 1
        return self.writer.function(link.user) if one and self.unfolded.level == "named" else ""

    def quotient(self, link: Link) -> str:
        """∂target/∂source, for what is not written out; direct, ∂⁺target/∂source, where there are other ways too."""
        return self.setting.derivative(self.name(link.target), self.name(link.source), link in self.unfolded.bypassed)

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


class _Marked(Writer):
    """Writes a graph with marks around its variables, gradients and derivatives, and in full: a page has the room.

    Attributes:
        gradients: of a node its gradient, and how the figure writes that.
    """

    def __init__(self, *of: Any, computation: Computation, **how: Any):
        super().__init__(*of, **how)
        self.computation, self.beside = computation, BESIDE
        self.gradients: dict[Tensor, tuple[Any, str]] = {}

    def expression(self, node: Tensor, depth: int = formulas.DEEPEST) -> str:
        text = super().expression(node, depth)
        if "…" in text and len(text) < LONGEST and depth < DEEPEST:
            longer = self.expression(node, depth + formulas.DEEPEST)
            text = longer if len(longer) < LONGEST else text
        return text

    def marked(self, array: Any, text: str) -> str:
        """A text with the number of what it stands for."""
        return f"{FROM}{self.computation.number(array)}|{re.sub(MARK, '', text)}{TO}"

    def _symbol(self, t: Tree) -> str:
        return self.marked(t.of, self.variable(t.of))

    def _gradient(self, t: Tree) -> str:
        return self.marked(*self.gradients[t.of])

    def _prime(self, t: Tree) -> str:
        ((_, slope),) = terms(t.of, self.computation.ones(t.of), 0)
        return self.marked(slope, super()._prime(t))


class Equations(Labels):
    """The labels of an unfolded graph in markup, and its equations."""

    def __init__(self, unfolded: Unfolded, computation: Computation):
        super().__init__(unfolded, MARKUP)
        self.marked = _Marked(unfolded.names, MARKUP, True, computation=computation)
        self.ends = {p.tensor for p in unfolded.places} | set(filter(unfolded.is_hidden, unfolded.columns))

    def forward(self, p: Place) -> dict[str, Any]:
        """The equation of a node; and whether it holds of its numbers, or a note where these would make no true one."""
        written = self.marked.expression(p.tensor)
        found = {"equation": f"{self.name(p)} = {written}" if self.writer.notation.writes(p.tensor) else written}
        nodes = formulas.inside(p.tensor, lambda x: x in self.ends or x.is_leaf)
        return found | ({"note": ROWS} if any(map(_of_rows, nodes)) else {"numbers": True})

    def backward(self, link: Link, g: Any) -> dict[str, Any]:
        """The gradient that a link passes back: the `name` of what it is added to; as it is `written`, in letters, or
        as ∂a/∂b where it has no short form; and whether that holds of its `numbers`, or a `note`.
        """
        p, q, hops, written = link.target, link.source, link.hops or [], ""
        told = {"name": self.differential(link.tensor) if q.kind == "elided" else self.cotangent(q)}
        if p.kind == "elided":
            return told | {"written": "⋯", "note": f"⋯ is what comes back through {self.hidden}."}
        self.marked.gradients[p.tensor] = g, self.cotangent(p)
        start = trees.number(1).shaped(p.tensor.shape, True) if p in self.bare else trees.gradient(p.tensor)
        if hops:
            with suppress(Unwritten):
                term = formulas.back(hops, start, self.writer.notation.writes)
                written = self.marked.text(term) if term.is_whole() else ""
        if not written or len(re.sub(f"<[^>]*>|{MARK}", "", written)) > TOO_LONG:
            return told | {"written": self._times(p, self.quotient(link))}
        told, summed = told | {"written": written}, term.holds("total")
        if any(_of_rows(node) for node, _ in hops) or (summed and link.tensor.ndim):
            return told | {"note": ADDED if summed else ROWS}
        return told if summed else told | {"numbers": True}

    def hidden_terms(self, x: Tensor) -> dict[str, Any]:
        """Likewise the terms that hidden steps add to the gradient of a parameter: dW⁽¹⁸⁾ + ⋯ + dW⁽³⁾."""
        ((first, count),) = self.unfolded.hidden.items()
        written = " + ⋯ + ".join(self.differential(x, step) for step in dict.fromkeys((first + count - 1, first)))
        return {"name": self.differential(x), "written": written, "note": f"Added by {self.hidden}."}

    def _times(self, p: Place, derivative: str) -> str:
        """The gradient of a node times a local derivative that is not written out."""
        if p in self.bare:
            return derivative
        name = self.cotangent(p)
        return f"{name} · {derivative}" if p.tensor.size == 1 else f"<SUP>t</SUP>({derivative}) {name}"


def _of_rows(node: Tensor) -> bool:
    """True if a product of matrices takes each row of a batch as a vector, or each matrix of several."""
    row = node.primitive
    return row is not None and bool(row.products) and node.ndim > (1 if row.by_rows else 2)
