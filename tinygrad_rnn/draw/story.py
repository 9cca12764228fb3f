"""A drawn graph as a story: forward, node by node in the order of execution, then backward, edge by edge.

A frame of the way back takes one edge: the gradient of its target times the local derivative is added to the gradient
of its source. The terms of a sum over time are added to it one by one, the last step's first, as the sweep finds them.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from typing import Any

from tinygrad_rnn.algebra.typesetting import PLAIN
from tinygrad_rnn.backward import sweep
from tinygrad_rnn.bptt.through_time import passed_back
from tinygrad_rnn.draw.computation import Computation
from tinygrad_rnn.draw.drawing import Drawing
from tinygrad_rnn.draw.equations import Equations
from tinygrad_rnn.draw.labels import Labels
from tinygrad_rnn.draw.unfolding import Link, Place, Unfolded
from tinygrad_rnn.observer import hooks_of
from tinygrad_rnn.tensor import Tensor

GIVEN = "What is given: the parameters, and the data."
HOOKED = "A hook may change a gradient, which no equation tells: the way back is not played."
NO_NUMBER = "The output is no single number, so no gradient starts from it. Take a sum of it, or a loss, to go back."


class Story:
    """The story that the page plays: both figures, drawn without numbers; the nodes; the frames, each of which
    highlights one step, and lists as `shown` the nodes and edges that stand from then on; and as `sums` the gradients
    that grow.
    """

    def __init__(self, unfolded: Unfolded, forward: Drawing, backward: Drawing):
        self.unfolded, self.forward, self.backward = unfolded, forward, backward
        self.outputs = [p for p in unfolded.places if p.kind == "output"]
        self.plain = Labels(unfolded, PLAIN)
        for first, count in unfolded.hidden.items():
            self.gap = (first, first + count - 1)
            self.steps = f"steps {first} to {first + count - 1}" if count > 1 else f"step {first}"
        computation = Computation(unfolded.values)
        try:
            with computation.recorded():
                self._tell(computation)
        except Exception as error:  # a rule may do what only arrays can
            self._tell(Computation(unfolded.values, fixed=str(error)))
        figures, told = {"forward": forward, "backward": backward}, groupby(self.frames, lambda frame: frame["phase"])
        self.phases = [(figures[phase], list(frames)) for phase, frames in told]
        for figure, frames in self.phases:
            _show_all(figure, frames)

    def moments(self) -> Iterator[Any]:
        """The figure at each frame: what is not shown yet is faint, and what the frame is about bold."""
        explained = frozenset(node.kind for figure, _ in self.phases for node in figure.nodes if not node.faint)
        explained |= {"added"} if self.backward.added else set()
        for figure, frames in self.phases:
            shown = set()
            for frame in frames:
                shown.update(frame["shown"])
                now = set() if frame.get("text") == GIVEN else {*frame["nodes"], frame.get("edge")}
                nodes = [_as_shown(node, shown, now) for node in figure.nodes]
                edges = [_as_shown(edge, shown, now) for edge in figure.edges]
                yield replace(figure, nodes=nodes, edges=edges, explained=explained)

    def _tell(self, computation: Computation) -> None:
        self.computation, self.frames, places = computation, list[dict](), self.unfolded.places
        self.equations = Equations(self.unfolded, computation)
        self.labels = self.equations.labels
        dots = [p for p in places if p.kind == "elided"]
        given = [p for p in places if p.tensor.is_leaf and p.kind != "elided"]
        if given:
            self._show(given, text=GIVEN)
        made = [p for p in places if p not in given and p not in dots[:-1]]
        for p in sorted(made, key=lambda p: (p.tensor.born, p.kind == "elided")):
            if p.kind == "elided":
                count = self.unfolded.hidden[self.gap[0]]
                runs = f"run: {count} of them," if count > 1 else "runs, and is"
                self._show(dots, text=f"{self.steps.capitalize()} {runs} not drawn.", steps=self.steps)
            else:
                self._show([p])
        if any(map(hooks_of, self.unfolded.names.nodes)):
            self.frames[-1]["note"] = HOOKED
        elif all(p.tensor.size == 1 and p.tensor.requires_grad for p in self.outputs):
            self._back()
        else:
            self.frames[-1]["note"] = NO_NUMBER
        self.nodes, self.sums = {p.id: self._node(p) for p in places}, self._sums()

    def _show(self, places: list[Place], **frame: Any) -> None:
        """A frame of the way forward."""
        self.frames.append({"phase": "forward", "nodes": [p.id for p in places], **frame})

    def _node(self, p: Place) -> dict:
        x, node = p.tensor, {"name": self.labels.name(p), "kind": p.kind, "wants": bool(p.tensor.requires_grad)}
        if p.kind == "elided":
            return node | {"plain": self.steps}
        node |= {"plain": self.plain.name(p), "value": self.computation.number(x), "step": p.column}
        if x.requires_grad:
            node["gradient"] = self.equations.gradient(p)
        if x.is_leaf:
            return node | ({"letter": self.plain.writer.letter(x)} if x.name and x.dtype.kind == "f" else {})
        return node | self.equations.forward(p)

    def _back(self) -> None:
        """One frame an edge; the cotangents of all places are kept as they grow. Hidden steps go back in one."""
        unfolded, self.found = self.unfolded, dict[Place, Any]()
        for p in self.outputs:
            self._pass_on(p, None, self.computation.ones(p.tensor), "1")
        into: dict[Place, list[Link]] = {p: [] for p in unfolded.places}
        for link in unfolded.links:
            into[link.target].append(link)
        through_hidden = self._through_hidden_steps() if unfolded.hidden else {}
        for p in sorted(unfolded.places, key=lambda p: (-p.tensor.born, p.kind != "elided")):
            if p not in self.found or p.tensor.is_leaf:
                continue
            passed: dict[Any, Any] = through_hidden if p.kind == "elided" else self._passed(p)
            for link in reversed(into[p]):
                q = link.source
                key = q.role if q.kind == "elided" else q.tensor
                if key in passed:
                    written, told = self.equations.backward(link, self.found[p])
                    if p.kind == "elided":
                        told["note"] = f"⋯ is what comes back through {self.steps}."
                    term = written if q in self.found else self.equations.gradient(q)
                    if q.kind == "elided":
                        told["name"] = self.labels.differential(link.tensor)
                    self._pass_on(q, p, passed[key], written, **told)
                    if key in unfolded.totals:
                        self._pass_on(unfolded.totals[q.tensor], q, passed[key], term)
            if p.kind == "elided":
                for x, total in [pair for pair in unfolded.totals.items() if pair[0] in through_hidden]:
                    ends = dict.fromkeys(self.gap[::-1])
                    written = " + ⋯ + ".join(self.labels.differential(x, step) for step in ends)
                    note = f"The terms of {self.steps} together." if len(ends) > 1 else f"The term of {self.steps}."
                    self._pass_on(total, p, through_hidden.pop(x), written, note=note)

    def _passed(self, p: Place) -> dict[Tensor | tuple, Any]:
        """The gradients that a place passes back to the next places; to a state that dots stand for, by its role."""
        unfolded, ends = self.unfolded, self.equations.ends
        passed: dict[Tensor | tuple, Any] = {}
        for x, g in sweep({p.tensor: self.found[p]}, until=ends):
            if x in ends and x is not p.tensor:
                key = unfolded.role(x) if unfolded.is_hidden(x) else x
                passed[key] = passed[key] + g if key in passed else g
        return passed

    def _pass_on(self, to: Place, by: Place | None, term: Any, written: str, **told: Any) -> None:
        """A frame in which a term is added to a gradient: of a node, or of a parameter that several steps use."""
        nodes = [to.id] if to.column is not None else [to.id.replace("total", "sum"), to.id]
        name = told.get("name") or self.equations.gradient(to)
        sign = f"← {name} +" if to in self.found else "="
        told["equation"] = f"{name} {sign} {written}".replace("+ −", "− ")
        self.found[to] = self.found[to] + term if to in self.found else term
        if by is not None:
            told |= {"edge": f"{by.id}->{nodes[0]}", "from": by.id}
        numbers = {"term": self.computation.number(term), "total": self.computation.number(self.found[to])}
        self.frames.append({"phase": "backward", "nodes": nodes, "to": nodes[-1], **numbers, **told})

    def _through_hidden_steps(self) -> dict[Tensor, Any]:
        """The parts of the gradients of parameters, and of the states before the hidden steps, that come from these."""
        unfolded, shown = self.unfolded, {p.tensor for p in self.unfolded.places}
        passed: dict[Tensor, Any] = {}
        for node, g in sweep({x: self.computation.ones(x) for x in unfolded.outputs}):
            for i, x in enumerate(node.inputs) if unfolded.is_hidden(node) else ():
                if x in shown and not unfolded.is_hidden(x):
                    term = passed_back(node, i, g)
                    passed[x] = passed[x] + term if x in passed else term
        return passed

    def _sums(self) -> list[dict]:
        """The parameters, and where on the page their gradients grow."""
        unfolded, terms = self.unfolded, Counter(frame.get("to") for frame in self.frames)
        once = [p for p in unfolded.places if p.kind == "parameter" and p.tensor not in unfolded.shared]
        found = {p.id: p.tensor for p in (*unfolded.totals.values(), *once) if terms[p.id]}
        name, plain, number = self.labels.differential, self.plain.differential, self.computation.number
        return [
            {"id": id, "name": name(x), "plain": plain(x), "terms": terms[id], "value": number(x)}
            for id, x in found.items()
        ]


def _show_all(figure: Drawing, frames: list[dict]) -> None:
    """List in each frame, as `shown`, the nodes and edges of a figure that stand from then on.

    These are its own; with the first, also nodes that no frame is about; and with the later of its ends, such an edge.
    """
    since: dict[str | None, int] = {}
    for i in reversed(range(len(frames))):
        since |= dict.fromkeys([*frames[i]["nodes"], frames[i].get("edge")], i)
        frames[i]["shown"] = []
    for node in figure.nodes:
        since.setdefault(node.id, 0)
    for edge in figure.edges:
        since.setdefault(edge.id, max(since[edge.source], since[edge.target]))
    since.pop(None, None)  # of frames without an edge
    for id, i in since.items():
        frames[i]["shown"].append(id)


def _as_shown(part: Any, shown: set[str], now: set[str]) -> Any:
    """A node or an edge: faint if it is not shown yet, and bold if the frame is about it."""
    return replace(part, faint=part.faint or part.id not in shown, bold=part.id in now)
