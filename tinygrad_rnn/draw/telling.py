"""A drawn graph as a story: forward, node by node in the order of execution, then backward, edge by edge.

A frame of the way back takes one edge: the gradient of its target times the local derivative is added to the gradient
of its source. The terms of a sum over time are added to it one by one, the last step's first, as the sweep finds them.

Equations are markup. Numbers are text in which ⟦n3⟧ stands for the value of a node, ⟦∂n3⟧ for its gradient as it is by
then, ⟦1,2;3,4⟧ for a matrix of its own, and a ᵗ at the front for its transpose, so that no array is in the page twice.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinygrad_rnn.backward import passed_back, sweep, topological_order
from tinygrad_rnn.draw.grid import Link, Place
from tinygrad_rnn.draw.page import Story
from tinygrad_rnn.draw.unfolding import Unfolded
from tinygrad_rnn.notation import ATOM, BESIDE, ONE, PRODUCT, SUM, Hop, Writer, Written, is_number, symbol
from tinygrad_rnn.optim import norm
from tinygrad_rnn.tensor import Tensor

if TYPE_CHECKING:
    from tinygrad_rnn.draw.diagram import Diagram

__all__ = ["tell"]

MOST = 4096  # elements of an array that the page holds
IN_FULL = 24  # elements of an array that are written into an equation
DEEPEST = 24  # expressions of unnamed nodes are written out this many primitives deep,
LONGEST = 40  # if they have no more operands than this
TOO_LONG = 120  # characters of what a gradient is: a derivative in it is then written as ∂a/∂b

GIVEN = "What is given: the parameters, and the data."
NO_NUMBER = "The output is no single number, so no gradient starts from it. Take a sum of it, or a loss, to go back."
ROWS = "The same for every row of the batch."
ADDED = "The same for every row of the batch; Σ adds the rows up."


def tell(unfolded: Unfolded, forward: Diagram, backward: Diagram) -> Story:
    """The frames of a graph, with the numbers that they show, in figures that show none."""
    return _Teller(unfolded).story(_undressed(forward, unfolded), _undressed(backward, unfolded))


def _undressed(diagram: Diagram, unfolded: Unfolded) -> Diagram:
    """A figure without values, colours and highlights, which the page shows frame by frame."""
    drawn = {p.id: p for p in unfolded.places}
    faint = {id for id, p in drawn.items() if diagram.direction == "RL" and not p.tensor.requires_grad}
    return replace(
        diagram,
        nodes=[replace(node, note="", fill="", faint=node.id in faint) for node in diagram.nodes],
        edges=[replace(edge, bold=False, faint=False) for edge in diagram.edges],
        caption=unfolded.writer.legend(),
        caption_markup=unfolded.markup.legend(),
        scale=None,
    )


class _Equations(Writer):
    """Writes expressions in full, for a page has the room, and ⊙ between factors that are multiplied by element."""

    after_number = " "

    def __init__(self, writer: Writer):
        self.__dict__.update(writer.__dict__)
        self.setting = copy.copy(writer.setting)
        self.setting.beside = " ⊙ "

    def expression(self, node: Tensor) -> str:
        return self._made(node, DEEPEST).text if self._length(node) <= LONGEST else super().expression(node)

    def _length(self, node: Tensor) -> int:
        """How many operands an expression has when it is written out."""
        inside = sorted(_unwritten(node, lambda x: x.is_leaf or self.notation.writes(x)), key=lambda x: x.born)
        lengths: dict[Tensor, int] = {}
        for x in inside:
            lengths[x] = sum(lengths.get(operand, 1) for operand in x.inputs)
        return lengths[node]

    def product(self, path: Sequence[Hop]) -> Written | None:
        written = super().product(path)
        return written and written._replace(text=re.sub(r"^(−?[\d.½]+) ⊙ ", rf"\1{self.after_number}", written.text))


class _Numbers(_Equations):
    """Writes a variable as its numbers."""

    after_number = " · "

    def __init__(self, unfolded: Unfolded):
        super().__init__(unfolded.markup)
        nodes = topological_order(unfolded.places[-1].tensor)  # more than are drawn between two
        self.values = {x: array for node in nodes for x, array in zip(node.inputs, node.arguments, strict=False)}
        self.ids = {p.tensor: p.id for p in unfolded.places if p.kind != "elided"}
        template = self.setting.template
        self.setting.template = lambda text: template(re.sub(r"((?<=[xy]\})|(?<=\d)) (?=\{[xy]\})", " · ", text))

    def expression(self, node: Tensor) -> str:
        return _dotted(super().expression(node))

    def total(self, paths: Sequence[Sequence[Hop]]) -> Written | None:
        written = super().total(paths)
        return written and written._replace(text=_dotted(written.text))

    def shown(self, array: np.ndarray, id: str = "") -> Written:
        """An array by the id of what the page has it of, or in full; a single number bare."""
        if array.size == 1:
            return _bare(array.item())
        if id:
            return Written(f"⟦{id}⟧", ATOM)
        if array.size > IN_FULL or array.ndim > 2:
            return Written(f"[{'×'.join(map(str, array.shape))}]", ATOM)
        rows = array if array.ndim == 2 else array[:, None]
        text = ";".join(",".join(f"{x:.4g}" for x in row) for row in rows)
        return Written(f"⟦{text.replace('inf', 'Infinity')}⟧", ATOM)

    def transposed(self, x: Tensor) -> Written:
        array = self.values[x]
        if array.size == 1 or x in self.ids:
            return self.shown(array, f"ᵗ{self.ids.get(x)}")
        return self.shown(array.T if array.ndim == 2 else array[None, :])

    def _leaf(self, x: Tensor) -> Written:
        nameless = not self.notation.writes(x) and (is_number(x) or not x.is_leaf)
        return super()._leaf(x) if nameless else self.shown(self.values[x], self.ids.get(x, ""))


class _Passed(NamedTuple):
    """What becomes of a gradient on its way back: as it is written, in letters and in numbers, and its value."""

    letters: Written
    numbers: Written
    value: np.ndarray

    def times(self, letters: Written, numbers: Written, by_number: bool) -> _Passed:
        """By element."""
        sign = " · " if by_number or self.value.size == 1 else " ⊙ "
        pairs = zip(self[:2], (letters, numbers), strict=True)
        written = [f"{g.within(PRODUCT)}{sign}{d.within(PRODUCT)}" for g, d in pairs]
        return _Passed(*(Written(text, PRODUCT) for text in written), self.value)

    def matrix(self, left: bool, *factor: Written) -> _Passed:
        """The product of matrices, from the left or from the right."""
        pairs = [(d, g) if left else (g, d) for g, d in zip(self[:2], factor, strict=True)]
        written = [f"{a.within(BESIDE)} {b.within(BESIDE)}" for a, b in pairs]
        return _Passed(*(Written(text, BESIDE) for text in written), self.value)


class _Teller:
    def __init__(self, unfolded: Unfolded):
        self.unfolded, self.output = unfolded, unfolded.places[-1]
        self.letters, self.numbers = _Equations(unfolded.markup), _Numbers(unfolded)
        self.ends = {p.tensor for p in unfolded.places} | set(filter(unfolded.is_hidden, unfolded.columns))
        self.frames: list[dict] = []
        for first, count in unfolded.hidden.items():
            self.gap = (first, first + count - 1)

    def story(self, forward: Diagram, backward: Diagram) -> Story:
        places = self.unfolded.places
        dots = [p for p in places if p.kind == "elided"]
        given = [p.id for p in places if p.tensor.is_leaf and p not in dots]
        if given:
            self.frames.append({"phase": "forward", "nodes": given, "text": GIVEN})
        for p in sorted(places, key=lambda p: (p.tensor.born, p.kind == "elided")):
            if p in dots[-1:]:
                first, last = self.gap
                steps = f"steps {first} to {last}"
                text = f"{steps.capitalize()} run: {last - first + 1} of them, not drawn."
                self.frames.append({"phase": "forward", "nodes": [p.id for p in dots], "text": text, "steps": steps})
            elif p.id not in given and p not in dots:
                self.frames.append({"phase": "forward", "nodes": [p.id]})
        if self.output.tensor.size == 1 and self.output.tensor.requires_grad:
            self._back()
        else:
            self.frames[-1]["note"] = NO_NUMBER
        return Story(forward, backward, {p.id: self._node(p) for p in places}, self.frames, self._sums())

    def _node(self, p: Place) -> dict:
        unfolded = self.unfolded
        name, plain = unfolded.name(p, unfolded.markup), unfolded.name(p)
        if p.kind == "elided":
            return {"name": name, "plain": f"steps {self.gap[0]} to {self.gap[1]}", "wants": True}
        node = {
            "name": name,
            "plain": plain,
            "wants": bool(p.tensor.requires_grad),
            **_array(unfolded.values[p.tensor]),
        }
        if p.tensor.requires_grad:
            node["gradient"] = self._gradient(p)
        if p.tensor.is_leaf:
            return node
        written = self.letters.expression(p.tensor)
        node["equation"] = f"{name} = {written}" if self.letters.notation.writes(p.tensor) else written
        inside = _unwritten(p.tensor, lambda x: x in self.ends or x.is_leaf)
        if any(_of_rows(x) for x in inside):
            return node | {"note": ROWS}
        return node if any(_of_a_row(x) for x in inside) else node | {"numbers": self.numbers.expression(p.tensor)}

    def _gradient(self, p: Place) -> str:
        """How the gradient of a node is written: dh⁽²⁾; d(+) where a node has no name."""
        markup = self.unfolded.markup
        if p is self.output:
            name = markup.variable(p.tensor)
            return markup.setting.derivative(name, name, False)
        if p.kind == "operation":
            return markup.setting.template("d") + self._name(p.tensor)
        return self.unfolded.label(p, True, markup).split("<BR/>")[0]

    def _back(self) -> None:
        """One frame an edge; the cotangents of all places are kept as they grow. Hidden steps go back in one."""
        unfolded, self.found = self.unfolded, {}
        self._pass_on(self.output, np.ones(self.output.tensor.shape), "1", nodes=[self.output.id])
        into: dict[Place, list[Link]] = {p: [] for p in unfolded.places}
        for link in unfolded.links:
            into[link.target].append(link)
        through_hidden = self._through_hidden_steps() if unfolded.hidden else {}
        for p in sorted(unfolded.places, key=lambda p: (-p.tensor.born, p.kind != "elided")):
            if p not in self.found or p.tensor.is_leaf:
                continue
            passed = through_hidden if p.kind == "elided" else self._passed(p)
            for link in reversed(into[p]):
                q = link.source
                key = q.role if q.kind == "elided" else q.tensor
                if key in passed:
                    frame = {"nodes": [q.id], "edge": f"{p.id}->{q.id}", "from": p.id}
                    written, parts = self._equation(link)
                    term = written if q in self.found else self._gradient(q)
                    if q.kind == "elided":
                        parts["name"] = self._gradient_of(_used(link))
                    self._pass_on(q, passed[key], written, **frame, **parts)
                    if key in unfolded.shared:
                        self._add_term(key, q, passed[key], term)
            if p.kind == "elided":
                first, last = self.gap
                for x in [x for x in unfolded.shared if x in through_hidden]:
                    d = unfolded.markup.setting.template("d")
                    written = " + ⋯ + ".join(d + unfolded.markup.variable(x, step) for step in (last, first))
                    note = f"The terms of steps {first} to {last} together."
                    self._add_term(x, p, through_hidden.pop(x), written, note=note)

    def _equation(self, link: Link) -> tuple[str, dict[str, str]]:
        """What a link passes back, and in numbers; where the local derivative has no short form, as ∂a/∂b."""
        x, p = _used(link), link.target
        if p.kind == "elided":
            return "⋯", {"note": f"⋯ is what comes back through steps {self.gap[0]} to {self.gap[1]}."}
        paths = None if link.paths is None else link.paths[::-1]
        if paths is None or any(self.letters.product(path) is None for path in paths):
            return self._partial(x, p), {}
        g = self.numbers.shown(self.found[p], f"∂{p.id}")
        start = _Passed(ONE if p is self.output else Written(self._gradient(p), ATOM), g, self.found[p])
        if any(_is_matrix_product(node) for path in paths for node, _ in path):
            ways = [self._along(start, path) for path in paths]
        else:
            ways = [self._by_element(start, paths)]
        added = [_adds_up(*path[-1]) for path in paths]
        if None in ways or any(added) != all(added):
            return self._partial(x, p), {}
        written, numbers = (" + ".join(way[i].text for way in ways).replace(" + −", " − ") for i in (0, 1))
        if len(re.sub("<[^>]*>", "", written)) > TOO_LONG:
            return self._partial(x, p), {}
        nodes = [node for path in paths for node, _ in path]
        rows = any(map(_of_rows, nodes))
        if all(added):
            written = f"Σ ({written})" if len(ways) > 1 or ways[0].letters.binds == SUM else f"Σ {written}"
            return written, {"note": ADDED} if rows or x.ndim else {}
        return written, {"note": ROWS} if rows else {} if any(map(_of_a_row, nodes)) else {"numbers": numbers}

    def _name(self, x: Tensor) -> str:
        """A variable, or the operation in parentheses where there is none."""
        markup = self.unfolded.markup
        if x.is_leaf or x is self.output.tensor or markup.notation.writes(x):
            return markup.variable(x)
        return f"({markup.setting.template(symbol(x.primitive))})"

    def _partial(self, x: Tensor, p: Place) -> str:
        """A gradient times a local derivative that is not written out."""
        derivative = self.unfolded.markup.setting.derivative(self._name(p.tensor), self._name(x), False)
        if p is self.output:
            return derivative
        gradient = self._gradient(p)
        return f"{gradient} · {derivative}" if p.tensor.size == 1 else f"<SUP>t</SUP>({derivative}) {gradient}"

    def _along(self, g: _Passed, path: Sequence[Hop]) -> _Passed | None:
        """The chain rule along one path: ᵗU dh for a matrix U, dh ᵗx for a vector x, all else by element."""
        run: list[Hop] = []
        for node, i in path:
            if not _is_matrix_product(node):
                run.append((node, i))
                continue
            if run and (g := self._by_element(g, [run])) is None:
                return None
            run = []
            other, left = node.inputs[1 - i], i == 1
            if node.primitive.name == "outer":
                if left:
                    return None
                numbers = self.numbers.shown(self.numbers.values[other], self.numbers.ids.get(other, ""))
            else:
                numbers = self.numbers.transposed(other)
            letters, value = self.letters.product([(node, i)]), passed_back(node, i, g.value)
            if g.letters == ONE:
                g = _Passed(letters, numbers, value)
            else:
                g = g.matrix(left, letters, numbers)._replace(value=value)
        return self._by_element(g, [run]) if run else g

    def _by_element(self, g: _Passed, paths: Sequence[Sequence[Hop]]) -> _Passed | None:
        """A gradient times the derivatives of functions that work on each element; None if one number becomes many."""
        local, value = 0.0, 0.0
        for path in paths:
            ones, passed = np.ones(path[0][0].shape), g.value
            for hop in path[:-1]:
                ones = passed_back(*hop, ones)
            for hop in path:
                passed = passed_back(*hop, passed)
            node, i = path[-1]  # what the rule itself gives: not added up where an input was broadcast
            local, value = local + node.primitive.vjps[i](ones, node.value, *node.arguments), value + passed
        letters, numbers = self.letters.total(paths), self.numbers.shown(local)
        if local.size > g.value.size and np.ptp(local) == 0:
            return None
        if letters == ONE:
            return g._replace(value=value)
        if local.size == 1:
            letters = letters._replace(text=letters.text.replace(" ⊙ ", " · "))
        if g.letters == ONE:
            return _Passed(letters, self.numbers.total(paths), value)
        if letters.text == "−1":
            signed = (Written(f"−{text.within(PRODUCT)}", SUM) for text in g[:2])
            return _Passed(*signed, value)
        by_number = local.size == 1 or re.fullmatch(r"−?[\d.½]+", letters.text) is not None
        return g.times(letters, numbers, by_number)._replace(value=value)

    def _passed(self, p: Place) -> dict[Tensor | tuple, np.ndarray]:
        """What a place passes back to the next ones that are drawn; to a state that dots stand for, by its role."""
        unfolded = self.unfolded
        passed: dict[Tensor | tuple, np.ndarray] = {}
        for x, g in sweep(p.tensor, self.found[p], until=self.ends):
            if x in self.ends and x is not p.tensor:
                key = (x.name, x.layer) if unfolded.is_hidden(x) else x
                passed[key] = passed.get(key, 0.0) + g
        return passed

    def _pass_on(self, to: Place | Tensor, term: np.ndarray, written: str, **frame: Any) -> None:
        """A frame in which a term is added to a gradient: of a place, or of a parameter that several steps use."""
        name = frame.get("name") or (self._gradient(to) if isinstance(to, Place) else self._gradient_of(to))
        id = to.id if isinstance(to, Place) else self._total(to)
        grown = {"equation": f"{name} = {written}"}
        if to in self.found:
            grown = {"equation": f"{name} ← {name} + {written}".replace("+ −", "− ")}
            grown["total"] = _array(self.found[to] + term)
            frame.pop("numbers", None)
        self.found[to] = self.found.get(to, 0.0) + term
        self.frames.append({"phase": "backward", "to": id, "term": _array(term), **grown, **frame})

    def _add_term(self, parameter: Tensor, by: Place, term: np.ndarray, written: str, **frame: Any) -> None:
        total = self._total(parameter)
        its_sum = total.replace("total", "sum")
        frame |= {"nodes": [its_sum, total], "edge": f"{by.id}->{its_sum}", "from": by.id}
        self._pass_on(parameter, term, written, **frame)
        if np.array_equal(self.found.get(by), term):
            del self.frames[-1]["term"]  # which is the gradient that it is from

    def _gradient_of(self, x: Tensor) -> str:
        return self.unfolded.markup.setting.template("d") + self.unfolded.markup.variable(x)

    def _total(self, parameter: Tensor) -> str:
        return f"total{self.unfolded.number_of_sum(parameter)}"

    def _through_hidden_steps(self) -> dict[Tensor, np.ndarray]:
        """What the gradients of the states before the hidden steps, and of the parameters, have from these steps."""
        unfolded = self.unfolded
        output, shown = self.output.tensor, {p.tensor for p in unfolded.places}
        passed: dict[Tensor, np.ndarray] = {}
        for node, g in sweep(output, np.ones(output.shape)):
            for i, x in enumerate(node.inputs) if unfolded.is_hidden(node) else ():
                if x in shown and not unfolded.is_hidden(x):
                    passed[x] = passed.get(x, 0.0) + passed_back(node, i, g)
        return passed

    def _sums(self) -> list[dict]:
        """The parameters, and where on the page their gradients grow."""
        unfolded = self.unfolded
        ids = {f"total{i}": where[0] for i, where in enumerate(unfolded.shared.values())}
        ids |= {p.id: p for p in unfolded.places if p.kind == "parameter" and p.tensor not in unfolded.shared}
        if self.frames[-1]["phase"] == "forward":
            return []
        return [
            {
                "id": id,
                "name": self._gradient_of(p.tensor),
                "plain": f"d{unfolded.name(p)}",
                "terms": sum(frame.get("to") == id for frame in self.frames),
            }
            for id, p in ids.items()
        ]


def _used(link: Link) -> Tensor:
    """What a link uses: of states that dots stand for, the one."""
    if link.source.kind != "elided" or link.target.kind == "elided":
        return link.source.tensor
    return next(x for x in link.user.inputs if (x.name, x.layer) == link.source.role)


def _is_matrix_product(node: Tensor) -> bool:
    return node.primitive.name in ("linear", "matmul", "outer")


def _of_rows(node: Tensor) -> bool:
    """Whether a product of matrices takes each row of a batch as a vector, or each matrix of several."""
    primitive = "" if node.primitive is None else node.primitive.name
    return (primitive == "linear" and node.ndim > 1) or (primitive in ("matmul", "outer") and node.ndim > 2)


def _of_a_row(node: Tensor) -> bool:
    """Whether a vector stands on the left of a product: as a row, but the numbers of a vector are a column."""
    return node.primitive is not None and node.primitive.name == "matmul" and node.inputs[0].ndim == 1


def _unwritten(node: Tensor, ends: Callable[[Tensor], bool]) -> list[Tensor]:
    """A node and what lies between it and the operands of its expression."""
    nodes, known = [node], {node}
    for node in nodes:  # which grows
        nodes += [x for x in dict.fromkeys(node.inputs) if x not in known and not ends(x)]
        known.update(node.inputs)
    return nodes


def _adds_up(node: Tensor, i: int) -> bool:
    """Whether the gradient of an input is a sum of what its elements, or the rows of a batch, have each."""
    if _is_matrix_product(node):
        return i == 0 and node.primitive.name == "linear" and node.ndim > 1
    return isinstance(node.primitive.forward, np.ufunc) and node.inputs[i].shape != node.shape


def _dotted(text: str) -> str:
    """Numbers in which no arrays stand, with dots between them."""
    return text if "⟦" in text else text.replace(" ⊙ ", " · ")


def _bare(x: float) -> Written:
    """A number; in parentheses where a sign or a power of ten would be misread."""
    digits, _, power = f"{x:.2e}".partition("e")
    if not (math.isfinite(x) and x and not 1e-4 <= abs(x) < 1e6):
        return Written(f"{x:.4g}".replace("-", "−"), SUM if x < 0 else ATOM)
    raised = f"{int(power)}".translate(str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻"))
    return Written(f"{float(digits):g}×10{raised}".replace("-", "−"), SUM if x < 0 else PRODUCT)


def _array(array: np.ndarray) -> dict:
    """An array as the page holds it: the shape, and the numbers in nine digits; of a large array the norm alone."""
    if array.size > MOST:
        return {"shape": list(array.shape), "norm": _number(norm([array]))}
    return {"shape": list(array.shape), "values": [_number(x) for x in np.asarray(array, float).ravel()]}


def _number(x: float) -> float | str:
    """As JavaScript's Number reads it; JSON has none that are not finite."""
    if not math.isfinite(x):
        return str(x).replace("nan", "NaN").replace("inf", "Infinity")
    return int(x) if x == int(x) else float(f"{x:.9g}")
