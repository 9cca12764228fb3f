"""The figures of a recorded graph: the same nodes in the same places, dressed for each direction.

- `forward` (Fig. 7-5 of interdb): values run to the right.
- `backward` (Fig. 7-6): gradients run to the left, along each edge times the local derivative that stands on it.
- `between` (Fig. 7-7): what of the backward figure lies between two nodes.
- `page`: a page that plays several graphs.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_rnn import checks
from tinygrad_rnn.algebra.notation import is_number
from tinygrad_rnn.algebra.typesetting import MARKUP, PLAIN
from tinygrad_rnn.backward import sweep
from tinygrad_rnn.bptt.through_time import expansion, passed_back
from tinygrad_rnn.draw.diagram import Diagram
from tinygrad_rnn.draw.drawing import Edge, Node, Scale, around
from tinygrad_rnn.draw.labels import Labels, measure
from tinygrad_rnn.draw.page import Page, Story
from tinygrad_rnn.draw.placement import Placement
from tinygrad_rnn.draw.style import NODES, scale
from tinygrad_rnn.draw.unfolding import Keywords, Link, Options, Output, Place, Unfolded, joined, step_of
from tinygrad_rnn.files import write_file
from tinygrad_rnn.observer import hooks_of
from tinygrad_rnn.optim import clipping, norm
from tinygrad_rnn.tensor import Tensor

if TYPE_CHECKING:
    from typing_extensions import Unpack

FORWARD, BACKWARD = "forward computational graph", "backward computational graph"  # titles


def forward(output: Output, **options: Unpack[Keywords]) -> Diagram:
    """The forward computational graph of a Tensor (Fig. 7-5 of interdb), time running to the right.

    Args:
        output: or several, in a list.
        options: as `Options` has them: level, notation, max_steps, rolled, values, shapes, color_by, highlight,
            parameters, fit, font_size.

    Raises:
        TypeError: not a Tensor, or no such option. ValueError: a Tensor without a graph, or an unknown value.

    >>> rnn, readout = tg.nn.RNN(2, 3, rng=0), tg.nn.Linear(3, 1, rng=1)
    >>> hs, state = rnn(np.ones((4, 2)))
    >>> loss = tg.nn.half_squared_error(readout(hs[-1]), [1.0])
    >>> diagram = tg.draw.forward(loss)
    >>> [node.label for node in diagram.nodes if node.kind == "state"][:2]
    ['h⁽⁰⁾', 'h⁽¹⁾']
    """
    return _Figure(output, None, _options("forward", options), False).diagram(FORWARD, gradient=False)


def backward(output: Output, wrt: Tensor | None = None, **options: Unpack[Keywords]) -> Diagram:
    """The backward computational graph of a Tensor (Fig. 7-6 of interdb): gradients run to the left.

    Along each edge the gradient is multiplied by the local derivative written on it. A parameter that several steps
    use has one term of its gradient in each, and Σ adds them up: eqs. 7.7 to 7.9. What needs no gradient is drawn
    faintly, with no arrow to it.

    Args:
        output: or several, in a list: a gradient of ones starts from each.
        wrt: a Tensor, to draw only what lies between it and the output, as `between` does.
        options: as for `forward`.

    Raises:
        TypeError, ValueError: as for `forward`; or the output does not depend on `wrt`.

    >>> rnn, readout = tg.nn.RNN(2, 3, rng=0), tg.nn.Linear(3, 1, rng=1)
    >>> hs, state = rnn(np.ones((4, 2)))
    >>> loss = tg.nn.half_squared_error(readout(hs[-1]), [1.0])
    >>> diagram = tg.draw.backward(loss)
    >>> {"ᵗU", "ᵗV", "f′(ĥ⁽³⁾)", "ᵗh⁽²⁾"} <= {edge.label for edge in diagram.edges}
    True
    """
    return _Figure(output, wrt, _options("backward", options), True).diagram(BACKWARD, gradient=True)


def between(output: Tensor, input: Tensor, **options: Unpack[Keywords]) -> Diagram:
    """The backward graph between two nodes alone, such as from h(T) to h(T-1) (Fig. 7-7 of interdb).

    The products of the local derivatives along all ways, added up, are ∂output/∂input (`bptt.jacobian`).

    Args, Raises: as for `backward`.

    >>> rnn, readout = tg.nn.RNN(2, 3, rng=0), tg.nn.Linear(3, 1, rng=1)
    >>> hs, state = rnn(np.ones((4, 2)))
    >>> loss = tg.nn.half_squared_error(readout(hs[-1]), [1.0])
    >>> [edge.label for edge in tg.draw.between(hs[3], hs[2]).edges]
    ['ᵗU', 'f′(ĥ⁽⁴⁾)']
    """
    checks.instance("draw.between(output, input)", input, Tensor)
    figure = _Figure(output, input, _options("between", options), True)
    start = figure.plain.variable(input) or figure.plain.operation(input)
    return figure.diagram(f"computational graph between {figure.plain.output} and {start}", gradient=True)


def page(outputs: Mapping[str, Output], path: str | os.PathLike, **options: Unpack[Keywords]) -> Path:
    """Write a page that plays several computations side by side, with a tab for each and one slider for all.

        tg.draw.page({"tanh": loss, "LSTM": other}, "compare.html")

    Args:
        outputs: what is drawn, by the titles of the tabs.
        path: a file that ends in .html.
        options: as for `forward`.

    Raises:
        ValueError: nothing to draw, or another suffix. TypeError, DrawingError, OSError: as for `forward` and `save`.

    >>> losses = {f"{k} steps": tg.nn.RNN(1, 2, rng=0)(np.ones((k, 1)))[0][-1].sum() for k in (2, 3)}
    >>> path = tg.draw.page(losses, "compare.html")
    """
    checks.instance("draw.page(outputs, path)", outputs, Mapping, "a dict of outputs by their titles")
    if not outputs or Path(path).suffix.lower() != ".html":
        raise ValueError(f"draw.page(outputs, {os.fspath(path)!r}): outputs by their titles, and an .html are needed")
    stories = {str(title): backward(output, **options)._told() for title, output in outputs.items()}
    return write_file(path, Page(stories).source.encode())


def _options(view: str, given: Keywords) -> Options:
    known = [field.name for field in fields(Options)]
    for name in [name for name in given if name not in known]:
        raise TypeError(f"draw.{view}({name}=...): no such option; there are {', '.join(known)}")
    return Options(**given)


class _Figure:
    """A graph unfolded and placed, to be dressed for one direction or the other.

    Attributes:
        arrays: the values of places, and their gradients and those of shared parameters, as far as they are shown.
        highlighted: the term to highlight, as plain text and as markup. lit: the places and the links that it passes.
    """

    def __init__(self, output: Output, start: Tensor | None, options: Options, gradient: bool):
        self.output, self.start, self.options = output, start, options
        self.unfolded = unfolded = Unfolded(output, options, start)
        self.labels = [Labels(unfolded, setting) for setting in (PLAIN, MARKUP)]
        self.plain = self.labels[0]
        places = [p for p in unfolded.places if p.kind != "elided"]
        values: dict[Any, np.ndarray] = {p: joined([unfolded.values[x] for x in unfolded.parts(p)]) for p in places}
        by_gradient = options.color_by == "gradient"
        self.arrays = values, gradients(unfolded) if options.values or by_gradient else {}
        self.fill, self.scale = {}, None
        if options.color_by is not None:
            arrays = self.arrays[by_gradient]
            low, high, palette, shades = scale(np.array([norm([array]) for array in arrays.values()]))
            self.fill = {of: palette[shade] for of, shade in zip(arrays, shades, strict=True)}
            name, markup = (f"‖∂{labels.output}/∂·‖" if by_gradient else "‖·‖" for labels in self.labels)
            self.scale = Scale(name, markup, low, high, palette[:-1])
        labelled = (*unfolded.places, *unfolded.totals.values())
        notes = {p: max(self._note(p, True), self._note(p, False), key=len) for p in labelled}
        measure(unfolded, self.plain, notes, gradient)
        self.placement = Placement(unfolded)
        self.highlighted, self.lit = ["", ""], set[Place | Link]()
        if options.highlight is not None:
            self._light(*options.highlight)

    def diagram(self, title: str, gradient: bool) -> Diagram:
        """The figure for one direction: of the values, or of the gradients with their sums over time."""
        unfolded = self.unfolded
        more = [*(self.placement.sums if gradient else ()), *unfolded.cuts, *unfolded.loops]
        places = dict.fromkeys([*unfolded.places, *(p for link in more for p in (link.source, link.target))])
        nodes = [self._node(p, gradient) for p in places]
        edges = [self._edge(link, gradient) for link in (*unfolded.links, *more)]
        parts = zip([self._legend(labels, gradient) for labels in self.labels], self.highlighted, strict=True)
        captions = ["\n".join(filter(None, part)) for part in parts]
        told, tight = not unfolded.rolled and unfolded.level != "states", self.options.fit == "tight"
        return Diagram(
            title, nodes, edges, steps=unfolded.steps, hidden=unfolded.hidden, rolled=unfolded.rolled, scale=self.scale,
            caption=captions[0], caption_markup=captions[1], story=(lambda: self.story) if told else None, tight=tight,
            frame=around(nodes, edges) if tight else self.placement.frame, panels=self.placement.panels,
            font_size=self.options.font_size,
        )  # fmt: skip

    @cached_property
    def story(self) -> Story:
        """The page's frames; their figures have no numbers, colours and highlights."""
        plain = replace(self.options, values=False, shapes=False, color_by=None, highlight=None, fit="shared")
        bare = self if self.options == plain else _Figure(self.output, self.start, plain, gradient=True)
        return Story(bare.unfolded, bare.diagram(FORWARD, gradient=False), bare.diagram(BACKWARD, gradient=True))

    def _legend(self, labels: Labels, gradient: bool) -> str:
        """The meaning of f; at level "states" that of U, if several gates have weights of that letter."""
        if self.unfolded.level != "states":
            return labels.writer.legend()
        weights = {k: of for link in self.unfolded.links for k, of in labels.weights(link).items() if len(of) > 1}
        return "" if gradient else "   ".join(f"{letter}: {', '.join(of)}" for letter, of in weights.items())

    def _is_beside(self, x: Place | Link) -> bool:
        """True for what the highlighted term does not pass: it is faint."""
        return bool(self.lit) and x not in self.lit

    def _node(self, p: Place, gradient: bool) -> Node:
        label, markup = (labels.label(p, gradient) for labels in self.labels)
        needless = gradient and not p.tensor.requires_grad and p.kind != "cut"
        return Node(
            p.id, label, p.kind, markup, x=p.x, y=p.y, note=self._note(p, gradient), fill=self.fill.get(p, ""),
            step=p.column if p.column in {*self.unfolded.steps, *self.unfolded.hidden} else None,
            tooltip=self.plain.tooltip(p, gradient), faint=needless or self._is_beside(p),
        )  # fmt: skip

    def _note(self, p: Place, gradient: bool) -> str:
        """The note below a label: the shape, the value or the gradient; how this was clipped, and whether hooked."""
        x = p.tensor
        if p.kind == "elided" or NODES[p.kind].sign or is_number(x):
            return ""
        whole = gradient and p.kind == "parameter" and (p.column is None or x not in self.unfolded.shared)
        shape, value = str(x.shape) if self.options.shapes else "", self.arrays[gradient].get(p)
        changed = clipping(x) if whole else "", "hook" if gradient and hooks_of(x) else ""
        return "\n".join(filter(None, (shape, short(value) if self.options.values else "", *changed)))

    def _edge(self, link: Link, gradient: bool) -> Edge:
        p, q, kind, texts = link.source, link.target, link.kind, ["", ""]
        if kind == "loop":
            back = self.unfolded.steps[0] - step_of(q.tensor, q.column)
            texts = [f"{t} {'−' if back > 0 else '+'} {abs(back):g} ← {t}" for t in ("t", "<I>t</I>")]
        elif kind == "value":
            texts = [labels.edge(link, gradient) for labels in self.labels]
            kind = "value" if not gradient else "gradient" if p.tensor.requires_grad else "none"
        look = {"bold": link in self.lit and p.kind != "sum", "faint": self._is_beside(link)}
        edge = Edge(p.id, q.id, texts[0], kind, texts[1], link.curve, link.middle, **look)
        return edge.reversed() if gradient and link.kind in ("value", "loop") else edge

    def _light(self, parameter: Tensor, step: int) -> None:
        """Write a term, and find the places that it passes: from the output to the parameter at its step."""
        call, unfolded = "draw(highlight=(parameter, step))", self.unfolded
        checks.instance(call, parameter, Tensor)
        if len(unfolded.outputs) > 1:
            raise ValueError(f"{call}: it is a term of the gradient of one output, not of several")
        (output,), notation, is_brief = unfolded.outputs, unfolded.notation, unfolded.level == "states"
        made_with = unfolded.made_with  # of all variables, those of hidden steps too
        through = {part for x in made_with for part in unfolded.groups.get(x, (x,))} if is_brief else None
        try:
            step = checks.step("", step)
            terms = [expansion(output, parameter, notation, s, step, through)[0] for s in (PLAIN, MARKUP)]
        except (TypeError, ValueError) as error:
            said = str(error).removeprefix("expansion: ").removeprefix("contributions(loss, parameter): ")
            raise type(error)(f"{call}: {said}") from None
        order = " (read from left to right)" if notation.order == "reading" and not is_brief else ""
        self.highlighted = [f"{t.derivatives if is_brief else t.factors}{order}   ‖·‖ = {t.norm:.3g}" for t in terms]
        found = [p for p in unfolded.places if p.kind != "elided" and parameter in {p.tensor, *made_with[p.tensor]}]
        self.lit = {p for p in found if p.column == step} or {p for p in found if p.column not in unfolded.steps}
        if not self.lit:
            told = "is one of those hidden by max_steps" if step in unfolded.gap else "uses a Tensor of another step"
            raise ValueError(f"{call}: step {step} {told}")
        for link in (*unfolded.links, *self.placement.sums):  # in topological order
            # Dots are joined to the sums too, but by the terms of the steps that they stand for, which are others.
            if link.source in self.lit and (link.kind, link.source.kind) != ("term", "elided"):
                self.lit |= {link, link.target}


# The gradients of what is drawn, and how they and the values are shown as text


MOST_ROWS = 64  # of a Jacobian


def gradients(unfolded: Unfolded) -> dict[Place, np.ndarray]:
    """∂L/∂node for every place that has one; of a parameter that several steps use, the term of each, and the whole.

    Of an output that is no scalar, the Jacobians, one row for each of its elements; none if these are more than 64. Of
    several outputs, the gradients of the sum of all their elements. No `.grad` is read or changed.
    """
    output, *others = unfolded.outputs
    if not others and (not output.requires_grad or output.size > MOST_ROWS):
        return {}
    if others or output.size == 1:
        return _gradients(unfolded, [np.ones(x.shape, x.dtype) for x in unfolded.outputs])
    cotangents = np.eye(output.size, dtype=output.dtype).reshape(output.size, *output.shape)
    rows = [_gradients(unfolded, [cotangent]) for cotangent in cotangents]
    return {p: np.array([row[p] for row in rows]) for p in rows[0]}


def _gradients(unfolded: Unfolded, cotangents: Sequence[np.ndarray]) -> dict[Place, np.ndarray]:
    found: dict[tuple[Tensor, float | None], Any] = defaultdict(float)  # whole, and of what is shared by column
    for node, g in sweep(dict(zip(unfolded.outputs, cotangents, strict=True))):
        found[node, None] = np.asarray(g)
        for i, x in enumerate(node.inputs):
            if x in unfolded.shared:
                found[x, unfolded.columns[node]] += passed_back(node, i, g)
    places = [p for p in (*unfolded.totals.values(), *unfolded.places) if p.kind != "elided"]
    keys = {p: [(x, p.column if x in unfolded.shared else None) for x in unfolded.parts(p)] for p in places}
    arrays = {p: [found[key] for key in of if key in found] for p, of in keys.items()}
    return {p: joined(parts) for p, parts in arrays.items() if parts}


def short(array: np.ndarray | None) -> str:
    """A few numbers in full, and more as their shape and norm; – for what does not exist."""
    if array is None:
        return "–"
    if array.size <= 3:
        numbers = ", ".join(f"{x + 0.0:.3g}".replace("-", "−") for x in array.ravel())
        return numbers if array.ndim == 0 else f"[{numbers}]"
    return f"{'×'.join(map(str, array.shape))}, ‖·‖ = {norm([array]):.3g}".replace("-", "−")
