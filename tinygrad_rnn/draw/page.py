"""The page that steps through a graph: one file that needs no network, with both figures and the computation in it."""

import html
import json
import re
import zlib
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from importlib.resources import files

from tinygrad_rnn.draw import svg
from tinygrad_rnn.draw.computation import RUNTIME
from tinygrad_rnn.draw.story import Story
from tinygrad_rnn.draw.style import SCALE, ink
from tinygrad_rnn.errors import DrawingError


@dataclass(frozen=True)
class Page:
    """The page of one graph, or of several by their titles, which a notebook shows inline."""

    stories: Mapping[str, Story] = field(repr=False)

    @cached_property
    def source(self) -> str:
        """The page as HTML, made when it is first asked for; all that comes from names is escaped.

        Raises:
            DrawingError: no layout engine is installed, or it fails.
        """
        figures = [[svg.draw(x, "data-id").decode() for x in (s.forward, s.backward)] for s in self.stories.values()]
        nets = []
        for title, x in self.stories.items():
            nets.append(
                {
                    "title": title,
                    "nodes": x.nodes,
                    "frames": x.frames,
                    "sums": x.sums,
                    "since": x.since,
                    **x.computation.data(),
                }
            )
        packed = b64encode(zlib.compress(json.dumps(figures).encode(), 9)).decode()
        data = {"nets": nets, "figures": packed, "scale": SCALE, "inks": [ink(fill) for fill in SCALE]}
        text = json.dumps(data, default=str, ensure_ascii=False, separators=(",", ":"))
        script = RUNTIME + _file("page.js")
        text = text.replace("</", "<\\/").replace("<!", "\\u003c!")  # so that it ends no script
        hashed = b64encode(sha256(script.encode()).digest()).decode()
        parts = {"STYLE": _file("page.css"), "SCRIPT": script, "HASH": hashed, "DATA": text}
        return re.sub("@(STYLE|SCRIPT|HASH|DATA)@", lambda mark: parts[mark[1]], _file("page.html"))

    def _repr_html_(self) -> str:
        """The page in a frame; in words, where nothing can draw."""
        try:
            return (
                f'<iframe title="Graph" srcdoc="{html.escape(self.source)}" style="width:100%;height:42rem"></iframe>'
            )
        except DrawingError as error:
            return f"<p>{html.escape(str(error))}</p>"


def _file(name: str) -> str:
    return (files("tinygrad_rnn.draw") / name).read_text(encoding="utf-8")
