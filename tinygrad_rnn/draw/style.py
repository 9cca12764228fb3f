"""How diagrams look: the one place where colours, shapes and sizes are chosen. Lengths are in points, 1/72 inch."""

import unicodedata
from dataclasses import dataclass


@dataclass(frozen=True)
class Style:
    """How a kind of node looks, and what the legend calls it."""

    shape: str
    width: float
    height: float
    fill: str
    line: str
    meaning: str = ""


# fmt: off
NODES = {
    "parameter": Style("box",     32, 32, "#ffe8c7", "#b36b00", "parameter"),
    "input":     Style("ellipse", 40, 40, "#ececec", "#6b6b6b", "input"),
    "state":     Style("ellipse", 46, 46, "#d6e8ff", "#2860a8", "hidden state"),
    "variable":  Style("ellipse", 46, 46, "#ffffff", "#444444", "variable"),
    "output":    Style("ellipse", 46, 46, "#ffd9d6", "#b3261e", "output"),
    "operation": Style("box",     40, 32, "#ffffff", "#8a8a8a", "primitive"),
    "elided":    Style("plain",   96, 40, "#ffffff", "#5a6575"),
    "cut":       Style("plain",   20, 20, "#ffffff", "#5a6575", "past cut off"),
    "heading":   Style("plain",   22, 22, "#ffffff", "#ffffff"),
    "entry":     Style("box",     84, 30, "#ffffff", "#d4dae3"),
    "cell":      Style("box",     22, 22, "#ffffff", "#d4dae3"),
    "sum":       Style("ellipse", 24, 24, "#fff6e6", "#b36b00", "sum over time"),
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
FAINT = {"color": "#cfcfcf", "fontcolor": "#a9a9a9", "fillcolor": "#fafafa"}
PALE = {"color": "#e3e3e3", "fontcolor": "#b9b9b9"}
# fmt: on

_SMALL = frozenset("⁰¹²³⁴⁵⁶⁷⁸⁹⁽⁾⁻ᵗ₀₁₂₃₄₅₆₇₈₉()′")

FONT = "Times-Roman"
NODE_FONT, EDGE_FONT, PANEL_FONT, LEGEND_FONT, NOTE_FONT = 16.0, 16.0, 13.0, 13.0, 9.0
NOTE_GAP = 3.0  # between a label and the note below it
ARROW = 7.0
MARGIN = 8.0  # from a column's outermost nodes to its panel's edge
CORNER = 8.0  # the radius of a turn

# Graphviz's attributes: of the whole, of every node and edge, of a column's panel, of the legend and the caption
GRAPH = {"pad": "0.15", "outputorder": "edgesfirst", "bgcolor": "white", "fontname": FONT}
NODE = {"fontname": FONT, "fontsize": f"{NODE_FONT:g}", "style": "filled", "fixedsize": "true", "margin": "0"}
EDGE = {"fontname": FONT, "fontsize": f"{EDGE_FONT:g}", "arrowsize": "0.7"}
PANEL = {"style": "rounded,filled", "color": "#f1f4f9", "fontcolor": "#5a6575", "fontsize": f"{PANEL_FONT:g}"}
LEGEND = {"fontsize": f"{LEGEND_FONT:g}", "fontcolor": "#444444"}


def ink(fill: str) -> str:
    """The colour of letters that can be read on one of the scale."""
    return "#ffffff" if fill in SCALE[:4] else "#000000"


def size(kind: str, label: str, note: str = "") -> tuple[float, float]:
    """Width and height of a node; those with more than a symbol in them widen with their text."""
    style = NODES[kind]
    lines, notes = label.split("\n"), note.split("\n") if note else []
    widths = [text_width(line, NODE_FONT) for line in lines] + [1.25 * text_width(line, NOTE_FONT) for line in notes]
    narrower = 1.2 if style.shape == "ellipse" and len(widths) > 1 else 1.0  # where the lines are than in the middle
    height = 25.0 * len(lines) + 12.0 * len(notes) + (NOTE_GAP if notes else 0.0)
    return max(style.width, 10 + narrower * max(widths)), max(style.height, height)


def text_width(text: str, font_size: float) -> float:
    """About how wide a text is set."""
    return font_size * sum(map(_width, text))


def _width(character: str) -> float:
    """Of one character, in parts of the font size: of the widest of the fonts that a reader may have."""
    if unicodedata.combining(character):
        return 0.0
    if character in _SMALL:
        return 0.36
    if character in "MW@" or unicodedata.east_asian_width(character) in "WF":
        return 1.04
    return 0.93 if character in "mw" else 0.75 if character.isupper() else 0.57
