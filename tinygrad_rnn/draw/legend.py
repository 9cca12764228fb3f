"""What stands below a diagram: what the colours of kinds and of a scale mean, and the caption."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

from tinygrad_rnn.draw.style import LEGEND_FONT, NODES, SCALE, ZERO, text_width

if TYPE_CHECKING:
    from tinygrad_rnn.draw.diagram import Diagram

__all__ = ["SIDE", "Patch", "Words", "rows", "width"]

SIDE = 14.0  # of a patch


class Patch(NamedTuple):
    """A patch of colour."""

    fill: str
    line: str
    width: float = SIDE

    @property
    def middle(self) -> float:
        """From the left end."""
        return self.width / 2


class Words(NamedTuple):
    """What stands beside it, and how it is set."""

    text: str
    markup: str
    after: float = 6.0

    @property
    def width(self) -> float:
        """With some space on the left, and what is wanted on the right."""
        return 4.0 + text_width(self.text, LEGEND_FONT) + self.after

    @property
    def middle(self) -> float:
        """From the left end; most fonts are narrower than room is left for."""
        return 4.0 + 0.46 * text_width(self.text, LEGEND_FONT)


def rows(diagram: Diagram) -> list[list[Patch | Words]]:
    """The rows, from the top: the kinds of nodes, the scale, the caption; as far as there are any."""
    found = [_kinds({node.kind for node in diagram.nodes if not node.faint}), _scale(diagram)]
    if diagram.caption:
        found.append([Words(diagram.caption, diagram.caption_markup)])
    return [row for row in found if row]


def width(diagram: Diagram) -> float:
    """How wide the rows are, in whichever of a graph's two figures they are wider."""
    both = [_kinds({node.kind for node in diagram.nodes} | {"sum"}), *rows(diagram)]
    return max(sum(part.width for part in row) for row in both)


def _kinds(kinds: Collection[str]) -> list[Patch | Words]:
    found: list[Patch | Words] = []
    for kind, style in NODES.items():
        if kind in kinds and style.meaning:
            found.append(Words("✂", "✂", 0.0) if kind == "cut" else Patch(style.fill, style.line))
            found.append(Words(style.meaning, style.meaning, 14.0))
    return found


def _scale(diagram: Diagram) -> list[Patch | Words]:
    if diagram.scale is None:
        return []
    name, markup, low, high = diagram.scale
    found = [Words(name, markup), _power(low), *(Patch(fill, fill, 30.0) for fill in SCALE), _power(high)]
    if any(node.fill == ZERO for node in diagram.nodes):
        found += [Patch(ZERO, NODES["operation"].line), Words("0", "0")]
    return found


def _power(power: int) -> Words:
    text = str(power).replace("-", "−")
    return Words(f"10{text}", f"10<SUP>{text}</SUP>")
