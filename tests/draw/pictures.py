"""A figure as a person reads it: its labels and arrows, and what its SVG shows where."""

import re
import unicodedata
import xml.etree.ElementTree as ET
from collections import defaultdict

import numpy as np
from drawn_nets import SVG

from tinygrad_rnn.backward import topological_order
from tinygrad_rnn.draw import style


def names(diagram):
    return {node.id: node.label for node in diagram.nodes}


def arrows(diagram, *kinds):
    """(from, to, label) of each edge, by the nodes' labels."""
    name = names(diagram)
    return [(name[e.source], name[e.target], e.label) for e in diagram.edges if e.kind in kinds or not kinds]


def find(output, name, step=None):
    return next(n for n in topological_order(output) if n.name == name and n.step == step)


def raised(t):
    return "⁽" + "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(digit)] for digit in str(t)) + "⁾"


def texts(diagram):
    """All that stands in the SVG, by the id of its group, without indices being raised or lowered."""
    found = defaultdict(list)
    for g in ET.fromstring(diagram.render("svg")).iter(f"{SVG}g"):
        for text in g.iter(f"{SVG}text"):
            found[g.get("id") or ""].append(unicodedata.normalize("NFKC", "".join(text.itertext())).strip())
    return found


class Picture:
    """An SVG's nodes and edge labels as boxes (left, top, right, bottom), by node id and by edge."""

    def __init__(self, diagram):
        self.source = diagram.render("svg").decode()
        self.root = ET.fromstring(self.source.encode())
        self.nodes, self.edge_labels, self.panels, self.lines = {}, [], [], []
        for g in self.root.iter(f"{SVG}g"):
            id = g.get("id")
            if g.get("class") == "node" and not id.startswith("legend"):
                self.nodes[id] = self.shape(g)
            if g.get("class") == "cluster":
                self.panels.append(self.shape(g))
            if g.get("class") == "edge":
                self.lines += [(id.split("->"), points(path.get("d"))) for path in g.iter(f"{SVG}path")]
                for text in g.iter(f"{SVG}text"):
                    x, y, size = (float(text.get(name)) for name in ("x", "y", "font-size"))
                    widths = [style.text_width(s.text, float(s.get("font-size", size))) for s in text]
                    box = (x, y - 0.75 * size, x + 0.9 * sum(widths), y + 0.1 * size)
                    self.edge_labels.append((id, "".join(text.itertext()), box))

    @staticmethod
    def shape(g):
        for e in g.iter(f"{SVG}ellipse"):
            cx, cy, rx, ry = (float(e.get(name)) for name in ("cx", "cy", "rx", "ry"))
            return (cx - rx, cy - ry, cx + rx, cy + ry)
        for tag, attribute in (("polygon", "points"), ("path", "d")):
            for p in g.iter(f"{SVG}{tag}"):
                numbers = [float(n) for n in re.findall(r"-?\d+(?:\.\d+)?", p.get(attribute))]
                if not numbers:  # dots and scissors have no border
                    continue
                return (min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2]))
        text = next(g.iter(f"{SVG}text"))
        x, y, size = (float(text.get(name)) for name in ("x", "y", "font-size"))
        return (x, y - 0.75 * size, x + style.text_width("".join(text.itertext()), size), y)

    def centre(self, id):
        left, top, right, bottom = self.nodes[id]
        return (left + right) / 2, (top + bottom) / 2


def plain(text):
    """Without indices being raised or lowered."""
    return unicodedata.normalize("NFKC", text)


def points(path, pieces=16):
    """Points along a Bézier curve, from the text of an SVG path."""
    numbers = [float(n) for n in re.findall(r"-?\d+(?:\.\d+)?", path)]
    corners = np.array(numbers).reshape(-1, 2)
    t = np.linspace(0, 1, pieces)[:, None]
    weights = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3
    parts = [corners[i : i + 4] for i in range(0, len(corners) - 3, 3)]
    return np.concatenate([sum(w * p for w, p in zip(weights, part, strict=True)) for part in parts])
