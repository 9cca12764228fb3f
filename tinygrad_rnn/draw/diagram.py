"""Diagram: nodes, edges and columns as plain data, which shows and saves itself."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import graphviz

from tinygrad_rnn.draw import dot, layout
from tinygrad_rnn.files import write_file

__all__ = ["Diagram", "Edge", "Node"]


@dataclass(frozen=True)
class Node:
    """What is drawn of a Tensor.

    `kind` is what it is to the reader: "parameter", "input", "state", "variable", "output", "operation" or "sum".
    `step` is the time step in whose column it stands, if any. `x` and `y` are its centre, in points, y upwards; only a
    graph with time steps has them, another is laid out by Graphviz. A faint node takes no part.
    """

    id: str
    label: str
    kind: str
    step: int | None = None
    x: float = 0.0
    y: float = 0.0
    tooltip: str = ""
    faint: bool = False


@dataclass(frozen=True)
class Edge:
    """An arrow from `source` to `target`, node ids, going the way that its `kind` flows.

    Kinds: "value" forward; "gradient" backward, labelled with the local derivative; "none" where no gradient flows.
    `via` are the corners on its way; `bend` is how far an arc's control points lie off its line, upwards.
    """

    source: str
    target: str
    label: str = ""
    kind: str = "value"
    via: tuple[tuple[float, float], ...] = ()
    bend: float = 0.0


@dataclass(frozen=True)
class Diagram:
    """A drawn graph. `steps` are the time steps that have a column; `caption` stands beside the legend.

    `direction` is "LR" where edges run from the left to the right, and "RL" where they run back.
    """

    title: str
    nodes: list[Node]
    edges: list[Edge]
    steps: list[int] = field(default_factory=list)
    caption: str = ""
    direction: str = "LR"

    @property
    def dot(self) -> graphviz.Digraph:
        """The diagram for Graphviz."""
        return dot.digraph(self)

    @property
    def source(self) -> str:
        """The diagram as DOT text."""
        return self.dot.source

    def save(self, path: str | os.PathLike) -> Path:
        """Write the diagram to a file; the suffix says as what: .svg, .pdf, .png or .dot.

        Raises:
            ValueError: another suffix. OSError: the file cannot be written.
            DrawingError: no layout engine is installed, or it fails.
        """
        suffix = Path(path).suffix.lower()
        if suffix == ".dot":
            return write_file(path, self.source.encode())
        if suffix[1:] not in layout.FORMATS:
            known = ", ".join(f".{name}" for name in [*layout.FORMATS, "dot"])
            raise ValueError(f"cannot save {os.fspath(path)!r}: the suffix says as what, and is one of {known}")
        return write_file(path, layout.render(self.source, suffix[1:]))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """How a notebook shows it."""
        return {"image/svg+xml": layout.render(self.source, "svg").decode()}
