"""The page that steps through a graph: one file that needs no network, with both figures and the computation in it."""

import json
import re
import zlib
from base64 import b64encode
from collections.abc import Mapping
from colorsys import hls_to_rgb, rgb_to_hls
from hashlib import sha256
from importlib.resources import files

from tinygrad_rnn.draw import svg
from tinygrad_rnn.draw.computation import RUNTIME, plain
from tinygrad_rnn.draw.story import Story
from tinygrad_rnn.draw.style import SCALE, ink


def build(stories: Mapping[str, Story]) -> bytes:
    """The page as HTML, of one graph or of several by their titles. All that comes from names is escaped.

    Raises:
        DrawingError: no layout engine is installed, or it fails.
    """
    figures = [
        [
            svg.draw(figure, id_attribute="data-id").decode().partition("?>")[2]
            for figure in (story.forward, story.backward)
        ]
        for story in stories.values()
    ]
    nets = [{"title": title, **story.data()} for title, story in stories.items()]
    packed = b64encode(zlib.compress(json.dumps(figures).encode(), 9)).decode()
    data = {"nets": nets, "figures": packed, "scale": SCALE, "inks": [ink(fill) for fill in SCALE]}
    script = RUNTIME + _file("page.js")
    parts = {
        "STYLE": _file("page.css") + _dark(str(figures)),
        "SCRIPT": script,
        "HASH": b64encode(sha256(script.encode()).digest()).decode(),
        "DATA": _escaped(json.dumps(data, default=plain, ensure_ascii=False, separators=(",", ":"))),
    }
    return re.sub("@(STYLE|SCRIPT|HASH|DATA)@", lambda mark: parts[mark[1]], _file("page.html")).encode()


def _escaped(text: str) -> str:
    """JSON that ends no script and begins no remark."""
    return text.replace("</", "<\\/").replace("<!", "\\u003c!")


def _dark(figures: str) -> str:
    """The style of figures on a dark page: their colours with the lightness turned around, the hue as it is."""
    rules = ['#figure [fill="white"]{fill:var(--paper)}']
    for name, colour in sorted(set(re.findall(r'\b(fill|stroke)="(#[0-9a-f]{6})"', figures))):
        hue, lightness, saturation = rgb_to_hls(*(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)))
        red, green, blue = hls_to_rgb(hue, 0.94 - 0.85 * lightness, 0.8 * saturation)
        turned = "".join(f"{round(255 * part):02x}" for part in (red, green, blue))
        rules.append(f'#figure [{name}="{colour}"]{{{name}:#{turned}}}')
    return f"@media screen and (prefers-color-scheme: dark) {{\n{chr(10).join(rules)}\n}}\n"


def _file(name: str) -> str:
    return (files("tinygrad_rnn.draw") / name).read_text(encoding="utf-8")
