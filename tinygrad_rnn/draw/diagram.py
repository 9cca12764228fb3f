"""Diagram: nodes, edges and columns as plain data, which shows and saves itself."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import graphviz

from tinygrad_rnn import checks
from tinygrad_rnn.draw import dot, layout, page, svg
from tinygrad_rnn.draw.drawing import Drawing
from tinygrad_rnn.draw.story import Story
from tinygrad_rnn.errors import DrawingError
from tinygrad_rnn.files import write_file

FORMATS = ("svg", "pdf", "png", "dot", "json", "html")


@dataclass(frozen=True, repr=False)
class Diagram(Drawing):
    """A drawing that shows and saves itself, and can tell its `story`, as a page plays it."""

    story: Callable[[], Story] | None = field(default=None, repr=False, compare=False)

    @property
    def dot(self) -> graphviz.Digraph:
        """The diagram for Graphviz."""
        return dot.digraph(self)

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
                    'a page is made of a recorded graph, by draw.forward or draw.backward, at level "named" or '
                    '"primitives", with every step (not rolled)'
                )
            return page.build(self.story())
        if format == "svg":
            return svg.draw(self)
        source = dot.digraph(self, dpi or 192).source if format == "png" else self.source
        return layout.render(source, format, whole=dpi is not None)

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
            return {"image/svg+xml": svg.draw(self).decode(), "text/plain": repr(self)}
        except DrawingError as error:
            return {"text/plain": f"{self!r}\n{error}"}
