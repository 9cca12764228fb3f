"""The page that steps through a graph: one file that needs no network, with both figures and all numbers in it."""

from __future__ import annotations

import html
import json
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

from tinygrad_rnn.draw.style import SCALE, ink
from tinygrad_rnn.errors import DrawingError

if TYPE_CHECKING:
    from tinygrad_rnn.draw.diagram import Diagram

__all__ = ["Story", "build"]


@dataclass(frozen=True)
class Story:
    """What the page shows: both figures, the nodes, the frames, and the gradients that grow."""

    forward: Diagram
    backward: Diagram
    nodes: dict[str, dict]
    frames: list[dict]
    sums: list[dict]


def build(story: Story) -> bytes:
    """The page as HTML. All that comes from names is escaped: in the figures, in the markup, and in the data."""
    inks = [ink(fill) for fill in SCALE]
    data = {"nodes": story.nodes, "frames": story.frames, "sums": story.sums, "scale": SCALE, "inks": inks}
    parts = {
        "STYLE": _file("page.css"),
        "SCRIPT": _file("page.js"),
        "DATA": json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
        "FORWARD": _figure(story.forward),
        "BACKWARD": _figure(story.backward),
    }
    before, *marked = _file("page.html").split("<!--@")
    pieces = [before]
    for piece in marked:
        name, rest = piece.split("@-->", 1)
        pieces += [parts[name], rest]
    return "".join(pieces).encode()


def _figure(diagram: Diagram) -> str:
    """An SVG as a part of a page, where two of them have the same ids; what is missing, where nothing can draw."""
    try:
        picture = diagram.svg(id_attribute="data-id").decode()
    except DrawingError as error:
        return f"<p>{html.escape(str(error))}</p>"
    return picture[picture.index("<svg") :]


def _file(name: str) -> str:
    return (files("tinygrad_rnn.draw") / name).read_text(encoding="utf-8")
