"""The page that steps through a graph: one file that needs no network, with both figures and all numbers in it."""

import html
import json
import re
from colorsys import hls_to_rgb, rgb_to_hls
from importlib.resources import files

from tinygrad_rnn.draw import svg
from tinygrad_rnn.draw.drawing import Drawing
from tinygrad_rnn.draw.story import Story
from tinygrad_rnn.draw.style import SCALE, ink
from tinygrad_rnn.errors import DrawingError


def build(story: Story) -> bytes:
    """The page as HTML. All that comes from names is escaped: in the figures, in the markup, and in the data."""
    inks = [ink(fill) for fill in SCALE]
    figures = {"FORWARD": _figure(story.forward), "BACKWARD": _figure(story.backward)}
    data = {"nodes": story.nodes, "frames": story.frames, "sums": story.sums, "scale": SCALE, "inks": inks}
    parts = {
        "STYLE": _file("page.css") + _dark("".join(figures.values())),
        "SCRIPT": _file("page.js"),
        "DATA": json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
        **figures,
    }
    return re.sub("<!--@(.*?)@-->", lambda mark: parts[mark[1]], _file("page.html")).encode()


def _figure(drawing: Drawing) -> str:
    """An SVG as a part of a page, where two of them have the same ids; what is missing, where nothing can draw."""
    try:
        picture = svg.draw(drawing, id_attribute="data-id").decode()
    except DrawingError as error:
        return f"<p>{html.escape(str(error))}</p>"
    return picture[picture.index("<svg") :]


def _dark(figures: str) -> str:
    """The style of figures on a dark page: their colours with the lightness turned around, the hue as it is."""
    rules = ['#figure [fill="white"]{fill:var(--paper)}']
    for name, colour in sorted(set(re.findall(r'\b(fill|stroke)="(#[0-9a-f]{6})"', figures))):
        hue, lightness, saturation = rgb_to_hls(*(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)))
        red, green, blue = hls_to_rgb(hue, 0.94 - 0.85 * lightness, 0.8 * saturation)
        turned = "".join(f"{round(255 * part):02x}" for part in (red, green, blue))
        rules.append(f'#figure [{name}="{colour}"]{{{name}:#{turned}}}')
    return f"@media (prefers-color-scheme: dark) {{\n{chr(10).join(rules)}\n}}\n"


def _file(name: str) -> str:
    return (files("tinygrad_rnn.draw") / name).read_text(encoding="utf-8")
