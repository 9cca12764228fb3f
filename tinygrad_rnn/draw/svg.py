"""An SVG as Graphviz writes it, made fit to be read: labels that hold together, tooltips, a title and a description.

Graphviz sets every piece of a label at a place of its own, as wide as its font is. Where a reader's font is another,
the pieces drift apart or overlap; as pieces of one text they follow each other.
"""

import xml.etree.ElementTree as ET
from itertools import groupby

from tinygrad_rnn.draw import layout
from tinygrad_rnn.draw.dot import APART, digraph
from tinygrad_rnn.draw.drawing import Drawing

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
SHIFT = {"super": -0.36, "sub": 0.2}  # of the font size of the text before

ET.register_namespace("", SVG)
ET.register_namespace("xlink", XLINK)


def draw(drawing: Drawing, id_attribute: str = "id") -> bytes:
    """A drawing as SVG, in which each node and edge is a group with the id that the drawing gives it, and its tooltip.

    Args:
        id_attribute: where ids are put: "data-id" where a page has several pictures.
    """
    root = ET.fromstring(layout.render(digraph(drawing).source, "svg"))
    root.set("role", "img")
    for tag, text in (("desc", drawing.description), ("title", drawing.title)):
        element = ET.Element(f"{{{SVG}}}{tag}")
        element.text = text
        root.insert(0, element)
    for group in root.iter(f"{{{SVG}}}g"):
        if group.get("class") in ("node", "edge", "cluster"):
            id = _take_name(group)
            _join_labels(group)
            group.attrib.pop("id", None)
            group.set(id_attribute, id)
    for image in root.iter(f"{{{SVG}}}image"):
        image.attrib |= {"preserveAspectRatio": "none", "image-rendering": "pixelated"}
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="utf-8") + b"\n"


def _take_name(group: ET.Element) -> str:
    """The id, from where Graphviz has it, the title; the tooltip becomes the title, which browsers show."""
    title = group.find(f"{{{SVG}}}title")
    id, link = title.text, group.find(f"{{{SVG}}}g/{{{SVG}}}a")
    if link is None:
        group.remove(title)
    else:
        title.text = link.get(f"{{{XLINK}}}title")
        group.remove(group.find(f"{{{SVG}}}g"))
        group.extend(link)
    return id


def _middle(group: ET.Element) -> str | None:
    """The middle of a node's shape, from the left."""
    ellipse, polygon = (group.find(f"{{{SVG}}}{tag}") for tag in ("ellipse", "polygon"))
    if ellipse is not None:
        return ellipse.get("cx")
    if polygon is not None:
        xs = [float(point.split(",")[0]) for point in polygon.get("points").split()]
        return f"{(min(xs) + max(xs)) / 2:g}"
    return None


def _join_labels(group: ET.Element) -> None:
    """Make the pieces of each line of a label one text."""
    middle = _middle(group) if group.get("class") == "node" else None
    for _, line in groupby(group.findall(f"{{{SVG}}}text"), key=lambda text: text.get("y")):
        first, *others = list(line)
        pieces = [(text.attrib.copy(), text.text) for text in (first, *others)]
        for text in others:
            group.remove(text)
        size = max(float(attributes["font-size"]) for attributes, _ in pieces)
        first.attrib = {name: first.get(name) for name in ("x", "y", "fill", "font-family") if first.get(name)}
        first.attrib |= {"text-anchor": "start", "font-size": f"{size:g}"}
        if middle is not None:  # of the shape, whatever the font
            first.attrib |= {"x": middle, "text-anchor": "middle"}
        first.set("{http://www.w3.org/XML/1998/namespace}space", "preserve")
        first.text, height = None, 0.0
        for attributes, text in pieces:
            piece = ET.SubElement(first, f"{{{SVG}}}tspan")
            piece.text = text.replace(APART, "").replace(" ", "\u00a0")  # spaces between two pieces would be lost
            for name in ("font-style", "font-weight"):
                if name in attributes:
                    piece.set(name, attributes[name])
            if float(attributes["font-size"]) != size:
                piece.set("font-size", attributes["font-size"])
            wanted = SHIFT.get(attributes.get("baseline-shift"), 0.0) * size
            if wanted != height:
                piece.set("dy", f"{wanted - height:.2f}")
            height = wanted
