"""The look of diagrams: the one place where colours, shapes and sizes are chosen. Lengths are in points, 1/72 inch."""

import math
import re
import unicodedata
from dataclasses import dataclass

import numpy as np

FONT = "Times-Roman"
FAMILY = "Times New Roman, Times, Liberation Serif, Nimbus Roman, serif"  # the like of it on every system
NODE_FONT, EDGE_FONT, PANEL_FONT, LEGEND_FONT, NOTE_FONT = 16.0, 16.0, 13.0, 13.0, 9.0
SMALLER = 0.68  # the font of an index, in parts of that of what it belongs to
NOTE_GAP = 3.0  # between a label and the note below it
ARROW = 7.0
MARGIN = 8.0  # from a column's outermost nodes to its panel's edge
PAD = 12.6  # around a picture
AROUND = 14.0  # above and below what stands in a tight frame
CORNER = 8.0  # the radius of a turn
RING = 4.0  # from a border to the one around it


@dataclass(frozen=True)
class Style:
    """The look of a kind of node, and its name in the legend.

    Shapes and borders tell the kinds apart in print without colours, and to colour-blind eyes.

    Attributes:
        line: the colour of the border, or of words that have none. sign: what stands in it, if that is no variable.
        border: how thick it is. rings: how many borders there are, one around the other. font: the size of letters.
    """

    shape: str
    width: float
    height: float
    fill: str
    line: str
    meaning: str = ""
    sign: str = ""
    border: float = 1.0
    rings: int = 1
    font: float = NODE_FONT


# fmt: off
NODES = {
    "parameter": Style("box",     32, 32, "#ffe8c7", "#b36b00", "parameter"),
    "input":     Style("ellipse", 40, 40, "#ececec", "#6b6b6b", "input"),
    "state":     Style("ellipse", 46, 46, "#d6e8ff", "#2860a8", "hidden state", border=2.4),
    "variable":  Style("ellipse", 46, 46, "#ffffff", "#444444", "variable"),
    "output":    Style("ellipse", 46, 46, "#ffd9d6", "#b3261e", "output", rings=2),
    "operation": Style("box",     40, 32, "#ffffff", "#8a8a8a", "primitive"),
    "elided":    Style("plain",   96, 40, "#ffffff", "#000000"),
    "cut":       Style("plain",   20, 20, "#ffffff", "#000000", "past cut off", "✂"),
    "heading":   Style("plain",   22, 22, "#ffffff", "#000000"),
    "entry":     Style("box",     84, 30, "#ffffff", "#d4dae3"),
    "cell":      Style("box",     22, 22, "#ffffff", "#d4dae3"),
    "sum":       Style("ellipse", 24, 24, "#fff6e6", "#b36b00", "sum over time", "Σ"),
    "added":     Style("plain",   14, 14, "#ffffff", "#444444", "gradients added", "+", font=LEGEND_FONT),
    "words":     Style("plain",    0, 14, "#ffffff", "#444444", font=LEGEND_FONT),
    "colour":    Style("box",     30, 14, "#ffffff", "#ffffff"),
}
EDGES = {
    "value":    {"color": "#3c3c3c", "fontcolor": "#3c3c3c"},
    "gradient": {"color": "#b3261e", "fontcolor": "#8c1d18"},
    "term":     {"color": "#c08a3e", "fontcolor": "#c08a3e", "penwidth": "0.8"},
    "loop":     {"color": "#2860a8", "fontcolor": "#2860a8", "style": "dashed"},
    "cut":      {"color": "#5a6575", "fontcolor": "#5a6575", "style": "dashed", "arrowhead": "none"},
    "none":     {"color": "#cfcfcf", "fontcolor": "#cfcfcf", "style": "dashed", "arrowhead": "none"},
}
# Seven colours of the cividis scale: even steps to the eye, in grey and to the colour-blind too (Nuñez et al. 2018).
SCALE = ("#00224e", "#123570", "#3b496c", "#575d6d", "#8a8678", "#c0a85f", "#fee838")
ZERO = "#ffffff"  # of what has no logarithm
MOST_COLOURS = 12  # in one scale
BOLD = {"penwidth": "4"}  # of a node
FAINT = {"color": "#cfcfcf", "fontcolor": "#a9a9a9", "fillcolor": "#fafafa"}
PALE = {"color": "#e3e3e3", "fontcolor": "#b9b9b9"}
# fmt: on

NARROW, WIDE = frozenset("ijlftrI()[]|/.,:;′'-\u00a0\u0302\u0303"), frozenset("mw−+=⊙≈→")
_WIDE = {0.36: "⁰¹²³⁴⁵⁶⁷⁸⁹⁽⁾⁻ᵗ₀₁₂₃₄₅₆₇₈₉()′", 0.34: " /\u00a0", 0.84: "−+=⊙", 0.93: "mw", 1.04: "MW@…"}
_WIDTHS = {c: width for width, characters in _WIDE.items() for c in characters}
_INDEX = re.compile(r"(?<=\w)_(\w{1,2})(?!\w)")  # W_hh

# Graphviz's attributes: of the whole, of every node and edge, of a column's panel
GRAPH = {"rankdir": "LR", "margin": "0", "notranslate": "true", "outputorder": "edgesfirst", "bgcolor": "white",
         "fontname": FONT}  # fmt: skip
NODE = {"fontname": FONT, "fontsize": f"{NODE_FONT:g}", "style": "filled", "fixedsize": "true", "margin": "0"}
EDGE = {"fontname": FONT, "fontsize": f"{EDGE_FONT:g}", "arrowsize": "0.7"}
PANEL = {"style": "rounded,filled", "color": "#f1f4f9", "fontcolor": "#5a6575", "fontsize": f"{PANEL_FONT:g}"}


def ink(fill: str) -> str:
    """The colour of letters that can be read on another."""
    red, green, blue = bytes.fromhex(fill[1:])
    return "#ffffff" if 0.3 * red + 0.59 * green + 0.11 * blue < 110 else "#000000"


def scale(norms: np.ndarray) -> tuple[int, int, tuple[str, ...], np.ndarray]:
    """The powers of ten at the ends of a scale; its colours, of which each stands for as many powers, or for a half or
    a fifth of one, so that the scale can be read, and one more for 0; and the number of each norm's colour.

    What is not finite has that of the high end.
    """
    with np.errstate(divide="ignore"):
        powers = np.log10(norms)
    finite = powers[np.isfinite(powers)]
    low, high = (math.floor(finite.min()), math.ceil(finite.max())) if finite.size else (-1, 0)
    low -= low == high  # at least one power of ten apart
    step = next(step for step in (0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if high - low <= MOST_COLOURS * step)
    count = math.ceil((high - low) / step)
    low = high - round(count * step)
    shades = np.clip((powers - low) / (high - low) * count, 0, count - 1)
    shades = np.where(norms == 0, count, np.nan_to_num(shades, nan=count - 1))
    known = np.array([list(bytes.fromhex(colour[1:])) for colour in SCALE])
    at = np.linspace(0, len(SCALE) - 1, count)
    channels = [np.interp(at, range(len(SCALE)), channel) for channel in known.T]
    colours = tuple(f"#{bytes(colour).hex()}" for colour in np.rint(channels).astype(np.uint8).T)
    return low, high, (*colours, ZERO), shades.astype(np.uint8)


def size(kind: str, label: str, note: str = "") -> tuple[float, float]:
    """Width and height of a node; those with more than a symbol in them widen with their text."""
    style = NODES[kind]
    lines, notes = label.split("\n"), note.split("\n") if note else []
    widths = [text_width(line, NODE_FONT) for line in lines] + [1.25 * text_width(line, NOTE_FONT) for line in notes]
    narrower = 1.2 if style.shape == "ellipse" and len(widths) > 1 else 1.0  # where the lines are than in the middle
    height = 25.0 * len(lines) + 12.0 * len(notes) + (NOTE_GAP if notes else 0.0)
    rings = 2 * RING * (style.rings - 1)
    return max(style.width, 10 + rings + narrower * max(widths)), max(style.height, rings + height)


def text_width(text: str, font_size: float) -> float:
    """The width that a text takes at most, about, whatever the font; short indices after "_" are set small."""
    indices = "".join(_INDEX.findall(text))
    return font_size * (sum(map(_width, _INDEX.sub("", text))) + SMALLER * sum(map(_width, indices)))


def times_width(text: str, font_size: float) -> float:
    """The width of a text in Times, upright or slanted, to a tenth or so."""
    return font_size * sum(0.3 if c in NARROW else 0.68 if c.isupper() or c in WIDE else 0.48 for c in text)


def _width(character: str) -> float:
    """The width of a character in the widest of the fonts that a reader may have, in parts of the font size."""
    if unicodedata.combining(character):
        return 0.0
    is_wide = unicodedata.east_asian_width(character) in "WF"
    return _WIDTHS.get(character, 1.04 if is_wide else 0.75 if character.isupper() else 0.57)
