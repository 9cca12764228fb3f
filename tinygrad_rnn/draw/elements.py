"""What a diagram is made of: plain data, which knows neither graphs nor pictures."""

from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["Edge", "Node", "Scale"]


@dataclass(frozen=True)
class Node:
    """What is drawn of a Tensor. `label` is what stands in it as plain text, and `markup` as it is set.

    `kind` is what it is to the reader: "parameter", "input", "state", "variable", "output", "operation", "sum",
    "elided" (the states of hidden steps) or "cut" (where the past of a state was cut off); in a table "heading",
    "entry" (with its number) or "cell" (without). `note` stands below the label: a value or a shape; `fill` is the
    colour of a value or gradient, if nodes are coloured by these. `step` is the time step in whose column it stands, if
    any. `x` and `y` are its centre, in points, y upwards. A faint node takes no part.
    """

    id: str
    label: str
    kind: str
    markup: str = ""
    step: int | None = None
    x: float = 0.0
    y: float = 0.0
    tooltip: str = ""
    faint: bool = False
    note: str = ""
    fill: str = ""


@dataclass(frozen=True)
class Edge:
    """An arrow from `source` to `target`, node ids, going the way that its `kind` flows.

    Kinds: "value" forward; "gradient" backward, labelled with the local derivative; "term" of a sum over time; "none"
    where no gradient flows; "loop" from a state of a rolled graph to where the next step starts; "cut" to a state whose
    past was cut off. `via` are the corners on its way, `at` the number of the piece between two of them at which
    the label stands, and `side` where beside a steep one, -1 on its left and 1 on its right; `bend` is how far an arc's
    control points lie off its line, upwards. In a graph without time steps `curve` is the Bézier curve from one to the
    other, and `middle` that of the label.
    """

    source: str
    target: str
    label: str = ""
    kind: str = "value"
    markup: str = ""
    via: tuple[tuple[float, float], ...] = ()
    at: int = 0
    side: int = 1
    bend: float = 0.0
    curve: tuple[tuple[float, float], ...] = ()
    middle: tuple[float, float] | None = None
    bold: bool = False
    faint: bool = False


class Scale(NamedTuple):
    """What nodes are coloured by, as plain text and as it is set, and the powers of ten at the ends of the colours."""

    name: str
    markup: str
    low: int
    high: int
