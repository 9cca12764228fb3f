"""Where the nodes of a graph without time steps stand: in layers, as Graphviz's `dot` finds them.

Both figures of a graph are drawn over this one layout. What the output is made of, step by step, stands on a straight
line: the longest way to it.
"""

from collections.abc import Callable, Sequence

from tinygrad_rnn.draw import layout
from tinygrad_rnn.draw.grid import Link, Place, Point
from tinygrad_rnn.draw.style import EDGE_FONT, MARGIN


def layered(places: Sequence[Place], links: Sequence[Link], room: Callable[[Link], float]) -> None:
    """Set x and y of every place, and of every link its Bézier curve and where the middle of its label is.

    Args:
        room: how wide a link's label is.

    Raises:
        DrawingError: no layout engine is installed, or it fails.
    """
    on_spine = _longest_way(places, links)
    lines = [
        f'{p.id} [width="{p.width / 72:.4f}" height="{p.height / 72:.4f}"{" group=spine" * (p in on_spine)}]'
        for p in places
    ]
    for link in links:
        label = f'<TABLE BORDER="0" FIXEDSIZE="TRUE" WIDTH="{room(link) + 8:.0f}" HEIGHT="{1.2 * EDGE_FONT:.0f}">'
        label = f"label=<{label}<TR><TD></TD></TR></TABLE>>"
        weight = 10 if {link.source, link.target} <= on_spine else 1
        lines.append(f"{link.source.id} -> {link.target.id} [{label} weight={weight}]")
    graph = (
        f"digraph {{\n\tlayout=dot rankdir=LR nodesep={MARGIN / 72:.2f} ranksep=0.3\n"
        'node [label="" fixedsize=true]\nedge [arrowhead=none]\n' + "\n".join(lines) + "\n}\n"
    )
    by_id = {p.id: p for p in places}
    between = {(link.source.id, link.target.id): link for link in links}
    for line in layout.render(graph, "plain").decode().splitlines():
        kind, *words = line.split(" ")
        if kind == "node":
            by_id[words[0]].x, by_id[words[0]].y = _points(words[1:3])[0]
        elif kind == "edge":
            link, end = between[words[0], words[1]], 3 + 2 * int(words[2])
            link.curve, (link.middle,) = _points(words[3:end]), _points(words[end + 1 : end + 3])


def _points(words: Sequence[str]) -> tuple[Point, ...]:
    """Coordinates in inches as points."""
    return tuple((72 * float(x), 72 * float(y)) for x, y in zip(words[::2], words[1::2], strict=True))


def _longest_way(places: Sequence[Place], links: Sequence[Link]) -> set[Place]:
    """The places on the longest way to the output, which is the last."""
    depth = dict.fromkeys(places, 0)
    before: dict[Place, Place] = {}
    for link in links:  # in topological order
        if not link.source.tensor.is_leaf and depth[link.source] >= depth[link.target]:
            depth[link.target], before[link.target] = depth[link.source] + 1, link.source
    way = [places[-1]]
    while way[-1] in before:
        way.append(before[way[-1]])
    return set(way)
