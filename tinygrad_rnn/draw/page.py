"""The page that plays a drawn graph as a story, in one file that needs no network, with the computation in it.

The story goes forward, node by node in the order of execution, then backward, edge by edge. A frame of the way back
takes one edge: the gradient of its target times the local derivative is added to the gradient of its source. The terms
of a sum over time are added to it one by one, the last step's first, as the sweep finds them.
"""

import html
import json
import re
import zlib
from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from typing import Any

from tinygrad_rnn.algebra.typesetting import PLAIN
from tinygrad_rnn.backward import sweep
from tinygrad_rnn.bptt.through_time import passed_back
from tinygrad_rnn.draw import svg
from tinygrad_rnn.draw.computation import RUNTIME, Computation, resource
from tinygrad_rnn.draw.drawing import Drawing
from tinygrad_rnn.draw.labels import Equations, Labels
from tinygrad_rnn.draw.style import SCALE, ink
from tinygrad_rnn.draw.unfolding import Link, Place, Unfolded
from tinygrad_rnn.errors import DrawingError
from tinygrad_rnn.observer import hooks_of
from tinygrad_rnn.tensor import Tensor

GIVEN = "What is given: the parameters, and the data."
HOOKED = "A hook may change a gradient, which no equation tells: the way back is not played."
NO_NUMBER = "The output is no single number, so no gradient starts from it. Take a sum of it, or a loss, to go back."


class Story:
    """The story that the page plays: both figures, drawn without numbers, with one legend; the nodes; the frames, each
    of which highlights one step; and as `since` for each figure the number of the frame from which a node or an edge
    stands.
    """

    def __init__(self, unfolded: Unfolded, forward: Drawing, backward: Drawing):
        self.unfolded = unfolded
        self.order = sorted(unfolded.places, key=lambda p: (p.tensor.born, p.kind == "elided"))
        self.dots = [p for p in unfolded.places if p.kind == "elided"]
        self.plain = Labels(unfolded, PLAIN)
        computation = Computation(unfolded.values)
        try:
            with computation.recorded():
                self._tell(computation)
        except Exception as error:  # a rule may do what only arrays can
            self._tell(Computation(unfolded.values, fixed=str(error)))
        played = forward.kinds | (backward.kinds if any(x["phase"] == "backward" for x in self.frames) else set())
        self.figures = {"forward": replace(forward, explained=played), "backward": replace(backward, explained=played)}
        self.since = {phase: self._since(phase, figure) for phase, figure in self.figures.items()}

    def moments(self) -> Iterator[Any]:
        """The figure at each frame: what does not stand yet is faint, and what the frame is about bold."""
        for i, frame in enumerate(self.frames):
            figure, since = self.figures[frame["phase"]], self.since[frame["phase"]]
            now = set() if frame.get("text") == GIVEN else {*frame["nodes"], frame.get("edge")}
            parts: dict[str, Any] = {
                name: [replace(x, faint=x.faint or since[x.id] > i, bold=x.id in now) for x in getattr(figure, name)]
                for name in ("nodes", "edges")
            }
            yield replace(figure, **parts)

    def data(self) -> dict[str, Any]:
        """All of it but the figures, for the page."""
        return {"nodes": self.nodes, "frames": self.frames, "since": self.since, **self.computation.data()}

    def _since(self, phase: str, figure: Drawing) -> dict[str, int]:
        """The first frame about each node and edge of a figure; where there is none, for a node the first of the phase,
        and for an edge that of the later of its ends.
        """
        frames = [(i, frame) for i, frame in enumerate(self.frames) if frame["phase"] == phase]
        first = {id: i for i, frame in reversed(frames) for id in (*frame["nodes"], frame.get("edge"))}
        start = frames[0][0] if frames else len(self.frames)
        since = {node.id: first.get(node.id, start) for node in figure.nodes}
        ends = {edge.id: max(since[edge.source], since[edge.target]) for edge in figure.edges}
        return since | {id: first.get(id, end) for id, end in ends.items()}

    def _tell(self, computation: Computation) -> None:
        self.computation, self.frames, places = computation, list[dict](), self.unfolded.places
        self.equations = Equations(self.unfolded, computation)
        given = [p for p in places if p.tensor.is_leaf and p not in self.dots]
        if given:
            self._show(given, text=GIVEN)
        for p in self.order:
            if p in self.dots[-1:]:
                self._show(self.dots, text=f"Not drawn: {self.plain.hidden}.", steps=self.plain.hidden)
            elif p not in self.dots and not p.tensor.is_leaf:
                self._show([p])
        outputs = [p for p in places if p.kind == "output"]
        if any(map(hooks_of, self.unfolded.names.nodes)):
            self.frames[-1]["note"] = HOOKED
        elif all(p.tensor.size == 1 and p.tensor.requires_grad for p in outputs):
            self._back(outputs)
        else:
            self.frames[-1]["note"] = NO_NUMBER
        self.nodes = {p.id: self._node(p) for p in places}

    def _show(self, places: list[Place], **frame: Any) -> None:
        """A frame of the way forward."""
        self.frames.append({"phase": "forward", "nodes": [p.id for p in places], **frame})

    def _node(self, p: Place) -> dict:
        x, node = p.tensor, {"name": self.equations.name(p), "kind": p.kind, "wants": bool(p.tensor.requires_grad)}
        if p.kind == "elided":
            return node | {"plain": self.plain.hidden}
        node |= {"plain": self.plain.name(p), "value": self.computation.number(x), "step": p.column}
        if x.requires_grad:
            node["gradient"] = self.equations.cotangent(p)
        if x.is_leaf:
            return node | ({"letter": self.plain.writer.letter(x)} if x.name and x.dtype.kind == "f" else {})
        return node | self.equations.forward(p)

    def _back(self, outputs: list[Place]) -> None:
        """One frame an edge; the cotangents of all places are kept as they grow. Hidden steps go back in one."""
        self.found, equations = dict[Place, Any](), self.equations
        for p in outputs:
            self._pass_on(p, None, self.computation.ones(p.tensor), equations.cotangent(p), "1")
        into: dict[Place, list[Link]] = defaultdict(list)
        for link in reversed(self.unfolded.links):
            into[link.target].append(link)
        hidden = self._through_hidden_steps() if self.unfolded.hidden else {}
        for p in reversed(self.order):
            if p.tensor.is_leaf or (p not in self.found and p.kind != "elided"):
                continue
            passed = hidden if p.kind == "elided" else self._passed(p)
            for link in into[p]:
                if link.source.tensor in passed:
                    told = equations.backward(link, self.found.get(p))
                    self._pass_on(link.source, p, passed[link.source.tensor], **told)
            for x in [x for x in self.unfolded.totals if passed is hidden and x in hidden]:
                self._pass_on(self.unfolded.totals[x], p, hidden.pop(x), **equations.hidden_terms(x))

    def _passed(self, p: Place) -> dict[Tensor, Any]:
        """The gradients that a place passes back to the next places; to dots, by the state that they stand for."""
        unfolded, ends = self.unfolded, self.equations.ends
        dots = {q.role: q.tensor for q in self.dots}
        passed: dict[Tensor, Any] = {}
        for x, g in sweep({p.tensor: self.found[p]}, until=ends):
            if x in ends and x is not p.tensor:
                _add(passed, dots.get(unfolded.role(x), x) if unfolded.is_hidden(x) else x, g)
        return passed

    def _pass_on(self, to: Place, by: Place | None, term: Any, name: str, written: str, **told: Any) -> None:
        """A frame in which a term is added to a gradient; to that of a parameter at a step, and then to the whole."""
        nodes = [to.id] if to.column is not None else [to.id.replace("total", "sum"), to.id]
        known, total = to in self.found, self.unfolded.totals.get(to.tensor, to)
        told["equation"] = f"{name} {f'← {name} +' if known else '='} {written}".replace("+ −", "− ")
        _add(self.found, to, term)
        if total is to and (to.tensor in self.unfolded.totals or to.kind == "parameter"):  # which the page lists
            told["grows"] = self.plain.cotangent(to), self.computation.number(to.tensor)
        if by is not None:
            told |= {"edge": f"{by.id}->{nodes[0]}", "from": by.id}
        numbers = {"term": self.computation.number(term), "total": self.computation.number(self.found[to])}
        self.frames.append({"phase": "backward", "nodes": nodes, "to": nodes[-1], "name": name, **numbers, **told})
        if total is not to:
            self._pass_on(total, to, term, self.equations.cotangent(total), written if known else name)

    def _through_hidden_steps(self) -> dict[Tensor, Any]:
        """The parts of the gradients of parameters, and of the states before the hidden steps, that come from these."""
        unfolded, shown = self.unfolded, {p.tensor for p in self.unfolded.places}
        passed: dict[Tensor, Any] = {}
        for node, g in sweep({x: self.computation.ones(x) for x in unfolded.outputs}):
            for i, x in enumerate(node.inputs) if unfolded.is_hidden(node) else ():
                if x in shown and not unfolded.is_hidden(x):
                    _add(passed, x, passed_back(node, i, g))
        return passed


def _add(sums: dict, key: Any, term: Any) -> None:
    sums[key] = sums[key] + term if key in sums else term


@dataclass(frozen=True)
class Page:
    """The page of one graph, or of several by their titles, which a notebook shows inline."""

    stories: Mapping[str, Story] = field(repr=False)

    @cached_property
    def source(self) -> str:
        """The page as HTML, made when it is first asked for; all that comes from names is escaped.

        Raises:
            DrawingError: no layout engine is installed, or it fails.
        """
        figures = [[svg.draw(x, "data-id").decode() for x in story.figures.values()] for story in self.stories.values()]
        nets = [{"title": title} | story.data() for title, story in self.stories.items()]
        packed = b64encode(zlib.compress(json.dumps(figures).encode(), 9)).decode()
        data = {"nets": nets, "figures": packed, "scale": SCALE, "inks": [ink(fill) for fill in SCALE]}
        text = json.dumps(data, default=str, ensure_ascii=False, separators=(",", ":"))
        script = RUNTIME + resource("page.js")
        text = text.replace("</", "<\\/").replace("<!", "\\u003c!")  # so that it ends no script
        hashed = b64encode(sha256(script.encode()).digest()).decode()
        parts = {"STYLE": resource("page.css"), "SCRIPT": script, "HASH": hashed, "DATA": text}
        return re.sub("@(STYLE|SCRIPT|HASH|DATA)@", lambda mark: parts[mark[1]], resource("page.html"))

    def _repr_html_(self) -> str:
        """The page in a frame; in words, where nothing can draw."""
        try:
            page = f'srcdoc="{html.escape(self.source)}" style="width: 100%; height: 42rem"'
            return f'<iframe title="Graph" {page}></iframe>'
        except DrawingError as error:
            return f"<p>{html.escape(str(error))}</p>"
