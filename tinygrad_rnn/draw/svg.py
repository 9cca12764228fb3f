"""An SVG as Graphviz writes it, made fit to be read: labels that hold together, tooltips, a title and a description.

Graphviz sets every piece of a label at a place of its own, as wide as its font is. Where a reader's font is another,
the pieces drift apart or overlap; as pieces of one text they follow each other.
"""

import xml.etree.ElementTree as ET
from itertools import groupby

from tinygrad_rnn.draw import layout
from tinygrad_rnn.draw.dot import APART, digraph
from tinygrad_rnn.draw.drawing import Drawing
from tinygrad_rnn.draw.style import FAMILY, times_width

SVG = "http://www.w3.org/2000/svg"
LOOK = ("font-size", "font-style", "font-weight", "baseline-shift")
SHIFT = {"super": -0.36, "sub": 0.2}  # of the font size of the text before

ET.register_namespace("", SVG)
ET.register_namespace("xlink", "http://www.w3.org/1999/xlink")


def draw(drawing: Drawing, id_attribute: str = "id", outlines: bool = False) -> bytes:
    """A drawing as SVG, in which each node and edge is a group with the id that the drawing gives it, and its tooltip.

    Args:
        id_attribute: where ids are put: "data-id" where a page has several pictures.
        outlines: draw the letters as shapes; then there are no groups, and no tooltips.
    """
    root = ET.fromstring(layout.render(digraph(drawing).source, "svg:cairo" if outlines else "svg"))
    root.attrib |= {"role": "img", "font-family": FAMILY}
    nodes = {node.id: node for node in drawing.nodes}
    for i, (tag, text) in enumerate({"title": drawing.title, "desc": drawing.description}.items()):
        root.insert(i, ET.Element(f"{{{SVG}}}{tag}"))
        root[i].text = text
    for group in root.iter(f"{{{SVG}}}g"):
        if group.get("class") in ("node", "edge", "cluster"):
            title = group.find(f"{{{SVG}}}title")
            id, node = title.text, nodes.get(title.text)
            words = "".join(text.text for text in group.findall(f"{{{SVG}}}text")).replace("\u00a0", " ")
            title.text = node.tooltip if node else words if group.get("class") == "cluster" else ""
            if not title.text:
                group.remove(title)
            _join_labels(group, node.x if node else None)
            group.attrib.pop("id", None)
            group.set(id_attribute, id)
    for image in root.iter(f"{{{SVG}}}image"):
        image.attrib |= {"preserveAspectRatio": "none", "image-rendering": "pixelated"}
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="utf-8") + b"\n"


def _join_labels(group: ET.Element, middle: float | None) -> None:
    """Make the pieces of each line of a label one text, and one piece of those that look the same.

    In the middle of a node stands a text of one piece, whatever the reader's font. One of several pieces starts where
    it does in Times: LibreOffice would put the middle of each piece there.
    """
    for _, line in groupby(group.findall(f"{{{SVG}}}text"), key=lambda text: text.get("y")):
        texts = list(line)
        looks = groupby(texts, key=lambda text: {name: text.get(name) for name in LOOK if text.get(name)})
        pieces = [(look, "".join(text.text for text in same).replace(APART, "")) for look, same in looks]
        first, size = texts[0], max(float(text.get("font-size")) for text in texts)
        for text in texts[1:]:
            group.remove(text)
        first.attrib = {name: first.get(name) for name in ("x", "y", "fill") if first.get(name)}
        first.set("font-size", f"{size:g}")
        if middle is not None:
            widths = [times_width(text, float(look["font-size"])) for look, text in pieces]
            start, anchor = (middle, "middle") if len(pieces) == 1 else (middle - sum(widths) / 2, "start")
            first.attrib |= {"x": f"{start:.2f}", "text-anchor": anchor}
        first.text, height = None, 0.0
        for look, text in pieces:
            piece = ET.SubElement(first, f"{{{SVG}}}tspan", look)
            piece.text = text
            wanted = SHIFT.get(piece.attrib.pop("baseline-shift", None), 0.0) * size
            if wanted != height:
                piece.set("dy", f"{wanted - height:.2f}")
            height = wanted
