"""Diagram: nodes, edges and columns as plain data, which shows and saves itself."""

import json
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import graphviz

from tinygrad_rnn import checks
from tinygrad_rnn.draw import dot, layout, svg
from tinygrad_rnn.draw.drawing import Drawing
from tinygrad_rnn.draw.page import Page, Story
from tinygrad_rnn.errors import DrawingError
from tinygrad_rnn.files import claimed, write_file

PICTURES = ("svg", "pdf", "png")
FORMATS = (*PICTURES, "dot", "json", "html", "gif")
MARK = "tinygrad-rnn"  # in the files of frames, so that no others are replaced
PACE = 1000  # milliseconds that a .gif shows each frame


@dataclass(frozen=True, repr=False)
class Diagram(Drawing):
    """A drawing that shows and saves itself, and can tell its `story`, as a page plays it.

    >>> diagram = tg.draw.forward(tg.tanh(tg.Tensor(0.5, requires_grad=True, name="x")))
    >>> len(diagram.nodes), len(diagram.edges)
    (2, 1)
    >>> print(diagram.source.splitlines()[0])
    digraph "forward computational graph" {
    """

    story: Callable[[], Story] | None = field(default=None, repr=False, compare=False)

    @property
    def dot(self) -> graphviz.Digraph:
        """The diagram for Graphviz."""
        return dot.digraph(self)

    @property
    def source(self) -> str:
        """The diagram as DOT text."""
        return self.dot.source

    def save(self, path: str | os.PathLike, dpi: float | None = None, outlines: bool = False) -> Path:
        """Write the diagram to a file; the suffix says as what: .svg, .pdf, .png, .dot or .json; .html for the page
        that plays the computation, or .gif for its frames, one after the other.

        Args:
            dpi: dots per inch, of a .png, 192 if none are given, or of a .gif, 96; or fewer where that is too large.
            outlines: draw the letters of an .svg as shapes, which need no font and are no longer text.

        Raises:
            ValueError: another suffix, a resolution that cannot be, or a page of what was not recorded (rolled; a
                table). OSError: the file cannot be written. DrawingError: no layout engine is installed, or it fails.
            ImportError: a .gif without Pillow.
        """
        suffix, known = f"save({os.fspath(path)!r}): suffix", [f".{name}" for name in FORMATS]
        suffix = checks.one_of("", suffix, Path(path).suffix.lower(), known)
        return write_file(path, self.render(suffix[1:], dpi, outlines))

    def frames(self, folder: str | os.PathLike, format: str = "svg", **how: Any) -> list[Path]:
        """Write a picture for each moment of the story that the page plays: frame-001.svg, and so on.

        All are equally large, and nothing moves from one to the next: overlays for slides. What a moment is about is
        bold, and what comes later faint. As in the page's figures, there are no values, colours or highlights.

        Args:
            folder: where to; it is made if it is not there. What it holds from an earlier, longer story stays.
            format: "svg", "pdf" or "png".
            how: `dpi` and `outlines`, as for `save`.

        Returns:
            the files, in order.

        Raises:
            ValueError: another format, or a diagram without a story (rolled; a table); or a file that is in the way,
                and is no such frame. OSError: the folder is a file, or cannot be written.
            DrawingError: as for `save`.
        """
        checks.one_of("frames", "format", format, PICTURES)
        pictures = [_marked(moment.render(format, **how), format) for moment in self._told().moments()]
        frames = {f"frame-{i:03}.{format}": picture for i, picture in enumerate(pictures, 1)}
        with claimed(folder, {name: [MARK] for name in frames}) as folder:
            return [write_file(folder / name, picture) for name, picture in frames.items()]

    def page(self) -> Page:
        """The page that plays the computation, as a notebook shows it.

        Raises:
            ValueError: a diagram without a story (rolled; a table).
        """
        return Page({"": self._told()})

    def _told(self) -> Story:
        if self.story is None:
            made = 'by draw.forward or draw.backward, at level "named" or "primitives", with every step (not rolled)'
            raise ValueError(f"a page is made of a recorded graph, and so are its frames, {made}")
        return self.story()

    def render(self, format: str, dpi: float | None = None, outlines: bool = False) -> bytes:
        """The diagram in one of the formats that it can be saved in, "svg" and so on.

        Args, Raises: as for `save`.
        """
        checks.one_of("render", "format", format, FORMATS)
        if dpi is not None:
            checks.number("", "dpi", dpi, "a number from 1 to 2400 dots per inch", 1, 2400)
            if format not in ("png", "gif"):
                raise ValueError(f"dpi={dpi!r}: only a .png or .gif has dots, not .{format}")
        if checks.one_of("render", "outlines", outlines, (True, False)) and format != "svg":
            raise ValueError(f"outlines=True: of the letters of an .svg, not of .{format}")
        if format == "dot":
            return self.source.encode()
        if format == "json":
            return json.dumps(self.data, ensure_ascii=False, indent=1).encode()
        if format == "svg":
            return svg.draw(self, outlines=outlines)
        if format == "html":
            return self.page().source.encode()
        if format == "gif":
            return _animated(moment.render("png", dpi or 96) for moment in self._told().moments())
        dots = dpi or 192 if format == "png" else None
        return layout.render(dot.digraph(self, dots).source, format, whole=dpi is not None)

    @property
    def data(self) -> dict[str, Any]:
        """Nodes, edges and all else as plain dicts, lists, strings and numbers, as .json has it."""
        told = {name: getattr(self, name) for name in ("title", "description", "caption", "steps", "hidden")}
        scale = None if self.scale is None else self.scale._asdict()
        return told | {"scale": scale, "nodes": [*map(asdict, self.nodes)], "edges": [*map(asdict, self.edges)]}

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """The picture that a notebook shows, not wider than a cell; in words, where nothing can draw."""
        try:
            picture = svg.draw(self).decode().replace("<svg ", '<svg style="max-width: 100%; height: auto" ', 1)
            return {"image/svg+xml": picture, "text/plain": repr(self)}
        except DrawingError as error:
            return {"text/plain": f"{self!r}\n{error}"}


def _marked(picture: bytes, format: str) -> bytes:
    """A picture with a remark that says by whom it is, which nobody sees."""
    if format == "png":
        return picture[:33] + png_chunk(b"tEXt", f"Software\0{MARK}".encode()) + picture[33:]  # behind the header
    return picture + {"svg": f"<!-- {MARK} -->\n", "pdf": f"% {MARK}\n"}[format].encode()


def png_chunk(name: bytes, data: bytes) -> bytes:
    """A part of a PNG file: its length, its name, what is in it, and a checksum."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _animated(pictures: Iterator[bytes]) -> bytes:
    """Pictures as a GIF that plays them over and over."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("a .gif is written by Pillow: pip install pillow") from error
    first, *others = [Image.open(BytesIO(picture)).convert("RGB") for picture in pictures]
    first.save(file := BytesIO(), "GIF", save_all=True, append_images=others, duration=PACE, loop=0)
    return file.getvalue()
