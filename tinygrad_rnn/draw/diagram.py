"""Diagram: nodes, edges and columns as plain data, which shows and saves itself."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import graphviz

from tinygrad_rnn import checks
from tinygrad_rnn.draw import dot, layout, page, svg
from tinygrad_rnn.draw.elements import Edge, Node, Scale
from tinygrad_rnn.draw.style import NODES
from tinygrad_rnn.errors import DrawingError
from tinygrad_rnn.files import write_file
from tinygrad_rnn.tables import counted

if TYPE_CHECKING:
    from tinygrad_rnn.draw.page import Story

__all__ = ["Diagram"]

FORMATS = ("svg", "pdf", "png", "dot", "json", "html")


@dataclass(frozen=True, repr=False)
class Diagram:
    """A drawn graph. `steps` are the time steps that have a column; `caption` stands below the legend, and
    `caption_markup` is how it is set.

    `frame` (left, bottom, right, top) is around the nodes of both figures of a graph, so that they lie on each other.
    `hidden` says for a column of dots how many steps it stands for, `rolled` whether one step stands for all, and
    `scale` what nodes are coloured by.
    `direction` is "LR" where edges run from the left to the right, and "RL" where they run back.
    """

    title: str
    nodes: list[Node]
    edges: list[Edge]
    steps: list[int] = field(default_factory=list)
    caption: str = ""
    caption_markup: str = ""
    hidden: dict[int, int] = field(default_factory=dict)
    rolled: bool = False
    scale: Scale | None = None
    frame: tuple[float, float, float, float] | None = None
    direction: str = "LR"
    story: Callable[[], Story] | None = field(default=None, repr=False, compare=False)

    @property
    def dot(self) -> graphviz.Digraph:
        """The diagram for Graphviz."""
        return dot.digraph(self)

    @property
    def description(self) -> str:
        """What is to be seen, in words, for who cannot see it."""
        kinds = Counter(NODES[node.kind].meaning for node in self.nodes)
        parts = [counted(count, meaning) for meaning, count in kinds.items() if meaning]
        parts += [counted(len(self.edges), "edge")] if self.edges else []
        over = f" over time steps {self.steps[0]} to {self.steps[-1]}" if self.steps else ""
        if len(self.steps) == 1:
            over = f" over time step {self.steps[0]}"
        if self.rolled:
            over = " of one time step, which stands for all"
        over += f", {sum(self.hidden.values())} of them hidden" if self.hidden else ""
        return f"The {self.title}{over}{': ' if parts else ''}{', '.join(parts)}. {self.caption}".strip()

    def __repr__(self) -> str:
        return f"<{self.description}>"

    @property
    def source(self) -> str:
        """The diagram as DOT text."""
        return self.dot.source

    def save(self, path: str | os.PathLike, dpi: float | None = None) -> Path:
        """Write the diagram to a file; the suffix says as what: .svg, .pdf, .png, .dot or .json; or .html for the page
        that plays the computation.

        Args:
            dpi: dots per inch, of a .png; 192 if none are given, or fewer where that is too large for one.

        Raises:
            ValueError: another suffix, or a resolution that cannot be. OSError: the file cannot be written.
            DrawingError: no layout engine is installed, or it fails.
        """
        suffix = Path(path).suffix.lower()
        if suffix[1:] not in FORMATS:
            known = ", ".join(f".{name}" for name in FORMATS)
            raise ValueError(f"cannot save {os.fspath(path)!r}: the suffix says as what, and is one of {known}")
        return write_file(path, self.render(suffix[1:], dpi))

    def render(self, format: str, dpi: float | None = None) -> bytes:
        """The diagram in one of the formats that it can be saved in, "svg" and so on.

        Args, Raises: as for `save`.
        """
        checks.one_of("render", "format", format, FORMATS)
        if dpi is not None:
            checks.number("", "dpi", dpi, "a number from 1 to 2400 dots per inch", 1, 2400)
            if format != "png":
                raise ValueError(f"dpi={dpi!r}: only a .png has dots, not .{format}")
        if format == "dot":
            return self.source.encode()
        if format == "json":
            return json.dumps(self.data, ensure_ascii=False, indent=1).encode()
        if format == "html":
            if self.story is None:
                raise ValueError(
                    "a page is made of a recorded graph, by draw.forward or draw.backward, with every step (not rolled)"
                )
            return page.build(self.story())
        if format == "svg":
            return self.svg()
        source = dot.digraph(self, dpi or 192).source if format == "png" else self.source
        return layout.render(source, format, whole=dpi is not None)

    def svg(self, id_attribute: str = "id") -> bytes:
        """The diagram as SVG, in which every node and edge is a group with its id, as this attribute."""
        return svg.finish(layout.render(self.source, "svg"), self.title, self.description, id_attribute)

    @property
    def data(self) -> dict[str, Any]:
        """Nodes, edges and all else as plain dicts, lists, strings and numbers, as .json has it."""
        nodes, edges = [[asdict(x) for x in part] for part in (self.nodes, self.edges)]
        scale = None if self.scale is None else self.scale._asdict()
        return {
            "title": self.title, "description": self.description, "caption": self.caption, "steps": self.steps,
            "hidden": self.hidden, "scale": scale, "nodes": nodes, "edges": edges,
        }  # fmt: skip

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """How a notebook shows it: in words, where nothing can draw."""
        try:
            return {"image/svg+xml": self.svg().decode(), "text/plain": repr(self)}
        except DrawingError as error:
            return {"text/plain": f"{self!r}\n{error}"}
