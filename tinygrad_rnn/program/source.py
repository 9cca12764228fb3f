"""A trace written out as a Python module that needs NumPy alone: the backpropagation through time one writes by hand.

- `written(trace)` is the module's text. Its lines stand in the order of execution, time step by time step, each step
  under the equations that it computes; `rolled=True` makes loops over t of the steps that are alike.
"""

import ast
import re
import textwrap
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain, groupby
from typing import Any, cast

import numpy as np

from tinygrad_rnn.algebra.formulas import Use, back, fold
from tinygrad_rnn.algebra.notation import Names
from tinygrad_rnn.algebra.trees import Tree, Unwritten, gradient, negative, number
from tinygrad_rnn.algebra.writer import PRODUCT, Writer
from tinygrad_rnn.checks import one_of
from tinygrad_rnn.program.assignments import Assignment, Assignments, Schedule, pattern
from tinygrad_rnn.program.expressions import Part, Ref
from tinygrad_rnn.program.graph import Node
from tinygrad_rnn.program.tracing import Trace
from tinygrad_rnn.tensor import GradientName

_WIDTH = 112  # of a comment, and of lists of names
_IN_A_ROW = 6  # variables that start in one line
_JOINED = "\xa0"  # a space at which no line is broken


def written(trace: Trace, rolled: bool = False, level: str = "named") -> str:
    """The text of a module whose function `bptt(*inputs, *parameters)` returns the loss and its gradients.

    The function returns a float and a list of arrays in the order of the trace's outputs; and if the traced function
    returned more than its loss, thirdly a list of the arrays of that. Of a trace without gradients it is called
    `forward`, and returns a list of all arrays.

    Args:
        rolled: write steps that are alike as loops over t, not one by one.
        level: "named", a line for every variable; or "primitives", one for every node.

    Raises:
        ValueError: another level, or a primitive that is not in the table and so cannot be written.
    """
    one_of("written", "level", level, ("named", "primitives"))
    return _Text(Assignments(Schedule(trace, folds=level == "named")), rolled).module()


_Block = list[Assignment]  # consecutive lines of one step
_Loop = list[_Block]  # blocks that are alike but for the step


class _Text:
    """The lines as a module: loops where steps are alike, comments, and what stands around them."""

    def __init__(self, lines: Assignments, rolled: bool):
        self.lines, self.trace, self.rolled = lines, lines.schedule.trace, rolled
        self.defined = {line.target for line in lines.lines} | {*lines.ref.values()}
        self.begins = {line.target.name: line.forward for line in reversed(lines.lines)}  # in which pass
        self.before = {lines.ref[x] for nodes in lines.arguments.values() for x in nodes}  # variables that are there
        made = [line for line in lines.lines if line.forward and line.node is not None and not line.node.is_leaf]
        self.T = max((line.target.step or 0 for line in made), default=0)
        blocks: list[_Block] = []
        for line in lines.lines:
            _add(line, blocks)
        self.local = self._local(blocks)
        self.loops: list[_Loop] = []
        for block in blocks:
            following, rest = self._following(self.loops[-1], block) if rolled and self.loops else ([], block)
            if following:
                self.loops[-1].append(following)
            if rest:
                self.loops.append([rest])
            self.before |= {line.target for line in block}
        self.equations = Equations(lines, self._number)

    def _local(self, blocks: Sequence[_Block]) -> set[str]:
        """The names of variables that one step alone makes, adds to and takes: they are written without a step."""
        refs = {(ref, i) for i, block in enumerate(blocks) for line in block for ref in line.variables()}
        of_ref, of_name = Counter(ref for ref, _ in refs), Counter((ref.name, i) for ref, i in refs)
        far = {ref.name for ref in self.lines.returned} | self.lines.zeros.keys()
        far |= {ref.name for ref, i in refs if ref.step is None or of_ref[ref] > 1 or of_name[ref.name, i] > 1}
        return {ref.name for ref, _ in refs} - far

    def _following(self, loop: _Loop, block: _Block) -> tuple[_Block, _Block]:
        """A block's lines as a loop's next, like those but for the step, with lines that it lacks; and its other lines.

        A line that it lacks may be run all the same if it makes what nobody asks for, as dh(0) = ᵗU dĥ(1).
        """
        last, start = loop[-1], block[0]
        shift = 0 if None in (last[0].group, start.group) else start.group - last[0].group
        if last[0].forward != start.forward or abs(shift) != 1:
            return [], block
        found, rest, made = [], block[::-1], set[Ref]()
        for model in last:
            if rest and pattern(model.parts) == pattern(rest[-1].parts):
                found.append(rest.pop())
            else:
                found.append(model.shifted(shift))
                target, *taken = found[-1].variables()
                known = made.union(self.before).issuperset(taken)
                known &= all(isinstance(x, str) or x.name for x in model.parts)  # xs[t] may have no such element
                if not known or target in self.defined or target.step not in range(self.T + 2):
                    return [], block
            made.add(found[-1].target)
        return (found, rest[::-1]) if _moves(loop[0], found) and _moves(last, found) else ([], block)

    # Text

    def module(self) -> str:
        """The text of the module."""
        body = "\n".join(f"    {line}" if line else "" for line in self._body()).lstrip("\n")
        steps = f"\nT = {self.T}  # steps\n" if re.search(r"(?<![.\w])T\b", re.sub("#.*", "", body)) else ""
        helpers = "".join(f"\n\n{definition}" for definition in self.lines.definitions)
        call = f"{'bptt' if self.trace.graph.wrt else 'forward'}({', '.join(self.lines.arguments)})"
        head = f"{_wrapped(self._docstring(call))}\n\nimport numpy as np\n{steps}{helpers}"
        return f"{head}\n\n{_wrapped(f'def {call}:')}\n{_wrapped(body)}\n"

    def _docstring(self, call: str) -> str:
        shapes = []
        for name, nodes in self.lines.arguments.items():
            kinds = dict.fromkeys(f"{x.shape}{'' if x.dtype == np.float64 else f' of {x.dtype}'}" for x in nodes)
            of = f"(a list of {len(nodes)}, each {{}})" if self.lines.ref[nodes[0]].step is not None else "{}"
            shapes.append(f"{name} {of.format(' or '.join(kinds))}")
        what, results, returns = "What a function computes", "[outputs]", "a list of arrays"
        if self.trace.graph.wrt:
            gradients = ", ".join(ref.name for ref in self.lines.returned[1 : 1 + len(self.trace.graph.wrt)])
            results = f"loss, [{gradients}]{', [further outputs]' if self.trace.returned else ''}"
            what = "A loss and its gradients, by backpropagation through time (BPTT)"
            returns = "the loss, a float; its gradients, each of the shape of what it is the gradient of"
        given = f"Arguments: arrays {', '.join(shapes)}.\nReturns: {returns}."
        return f'"""{what}, in plain NumPy.\n\n    {results} = {call}\n\n{given}\n"""'

    def _body(self) -> Iterator[str]:
        yield from self._section([loop for loop in self.loops if loop[0][0].forward])
        if self.trace.graph.wrt:
            yield from ["", "# backward"]
            sums = self.equations.sums()
            yield from _comment("sums over t:  ", sums) if sums else []
            yield from self._section([loop for loop in self.loops if not loop[0][0].forward])
        yield from ["", self._return()]

    def _section(self, loops: Sequence[_Loop]) -> Iterator[str]:
        """A pass: the variables with steps, and the sums, before their first step; then the loops."""
        lines = [line for loop in loops for line in loop[0] if self.begins[line.target.name] == line.forward]
        stepped = {line.target.name: line.target.step is not None for line in lines}
        zeros = self.lines.zeros
        kept = [name for name in stepped if stepped[name] and name not in zeros and name not in self.local]
        for i in range(0, len(kept), _IN_A_ROW):
            some = kept[i : i + _IN_A_ROW]
            yield f"{', '.join(some)} = {', '.join(['{}'] * len(some))}"
        for name in filter(zeros.get, stepped):
            yield f"{name} = {f'dict.fromkeys(range(T + 2), {zeros[name]})' if stepped[name] else zeros[name]}"
        for i, loop in enumerate(loops):
            block = self._loop(loop)
            yield from block if i == 0 and not block[0].startswith(("#", "for")) else ["", *block]

    def _loop(self, loop: _Loop) -> list[str]:
        first, last, is_loop = loop[0][0].group, loop[-1][0].group, len(loop) > 1
        equations = [self.equations.of(block, block[0].group, is_loop) for block in loop[:3]]
        head = "" if is_loop or first is None else f"t = {self._number(first)}:  "
        lines = _comment(head, max(equations, key=lambda some: len("".join(some))))
        for line, other in zip(*(loop * 2)[:2], strict=True):
            parts = zip(line.parts, other.parts, strict=True)
            text = "".join([self._part(part, first if part != later else None) for part, later in parts])
            lines.append(_breakable(ast.unparse(ast.parse(text)), "= "))  # with the parentheses that are needed
        if not is_loop:
            return lines
        ends = f"{first}, {self._number(last + 1)}" if first < last else f"{self._number(first)}, {last - 1}, -1"
        return [f"for t in range({ends}):", *(f"    {line}" for line in lines)]

    def _part(self, part: Part, t: int | None = None) -> str:
        """A part of a line as text; its whole number relative to t, if it goes with the step."""
        if isinstance(part, str) or part.step is None or part.name in self.local:
            return part if isinstance(part, str) else part.name
        if t is not None:
            index = f"t{part.step - t:+}" if part.step != t else "t"
        else:
            index = self._number(part.step) if part.name else str(part.step)
        return f"{part.name}[{index}]" if part.name else index

    def _number(self, step: int) -> str:
        """A step, from the end if it is nearer to that."""
        if not self.rolled or step <= self.T // 2:
            return str(step)
        return "T" if step == self.T else f"T - {self.T - step}" if step < self.T else f"T + {step - self.T}"

    def _return(self) -> str:
        refs, count = self.lines.returned, 1 + len(self.trace.graph.wrt)
        if count == 1:
            return f"return {self._list(refs)}"
        loss = self._part(refs[0])
        loss = f"float({loss})" if self.lines.schedule.outputs[0].ndim == 0 else f"{loss}.item()"
        further = f", {self._list(refs[count:])}" if self.trace.returned else ""
        text = f"return {loss}, {self._list(refs[1:count])}{further}"
        return _breakable(text, "return ") if further else text

    def _list(self, refs: Sequence[Ref]) -> str:
        """Variables in a list, those of consecutive steps in a comprehension."""
        texts = list[str]()
        for _, row in groupby(enumerate(refs), lambda pair: (pair[1].name, (pair[1].step or 0) - pair[0])):
            some = [ref for _, ref in row]
            name, first = some[0]
            if self.rolled and first is not None and len(some) > 2:
                ends = f"{self._number(first)}, {self._number(first + len(some))}"
                texts.append(f"*({name}[t] for t in range({ends}))")
            else:
                texts += map(self._part, some)
        return f"[{', '.join(texts)}]"


def _add(line: Assignment, blocks: list[_Block]) -> None:
    """Put a line into the block of its step that is the last, or the last but one if it needs nothing of the last.

    A block that is like the one before it but for the step is whole: another line begins a block.
    """
    needed = set(line.variables())
    for i, block in zip(range(len(blocks))[::-1], blocks[:-3:-1]):  # noqa: B905 - the last two
        if (block[0].forward, block[0].group) == (line.forward, line.group):
            if i and _alike(block, blocks[i - 1]):
                break
            block.append(line)
            return
        if any(x.target in needed for x in block):
            break
    blocks.append([line])


def _alike(block: _Block, other: _Block) -> bool:
    """True if blocks are alike but for the step."""
    follows = len(block) == len(other) and abs((block[0].group or 0) - (other[0].group or 0)) == 1
    return follows and [pattern(a.parts) for a in block] == [pattern(b.parts) for b in other]


def _moves(block: _Block, other: _Block) -> bool:
    """True if each whole number in a block's lines stays, or goes with the step, in another that is like it."""
    parts = [pair for a, b in zip(block, other, strict=True) for pair in zip(a.parts, b.parts, strict=True)]
    numbers = {b.step - a.step for a, b in parts if isinstance(a, Ref) and a.step is not None}
    return numbers <= {0, other[0].group - block[0].group}


def _breakable(text: str, after: str) -> str:
    """A statement with its value, which comes after a mark, in parentheses if it is long, so that it can be broken."""
    return text.replace(after, f"{after}(", 1) + ")" if len(text) > _WIDTH - 8 else text


def _comment(head: str, equations: Sequence[str]) -> list[str]:
    """Equations as a comment."""
    text = head + ",  ".join(equations) if equations else head.rstrip(": ")
    return [f"# {text}"] if text else []


def _wrapped(text: str) -> str:
    """Text in lines that are not too long, broken at spaces after a comma, a plus or another space."""
    lines = []
    for line in text.split("\n"):
        start = re.match(" *(# )?", line)[0]
        rest = re.sub(r"(?<![,+ ]) | (?=\d)", _JOINED, line.removeprefix(start))
        broken = textwrap.wrap(rest, _WIDTH - len(start), break_long_words=False, break_on_hyphens=False)
        lines.append(start + f"\n{start}{' ' * (4 if '#' in start else 8)}".join(broken))
    return "\n".join(lines).replace(_JOINED, " ")


# The equations that stand above the lines of a program, as comments


class _Writer(Writer):
    """Writes variables as the code calls them, with their steps but for that of the lines: ĥ = W x + U h(1) + b.

    Attributes:
        now: the step of the lines. inside: whether steps are relative to it, as in h(t−1).
    """

    def __init__(self, names: Names, ref: Mapping[Any, Ref], step_text: Callable[[int], str]):
        super().__init__(names)
        self.ref, self.step_text, self.inside = ref, step_text, False
        self.now: int | None = None
        self.nonlinearities = []  # each by its own name

    def variable(self, tensor: Any, at: float | str | None = None) -> str:
        if tensor not in self.ref:
            return super().variable(tensor, at)
        name, step = self.ref[tensor]
        if step in (None, self.now):
            return name
        at = f"t{step - self.now:+}".replace("-", "−") if self.inside and self.now is not None else self.step_text(step)
        return f"{name}({at})"


class Equations:
    """The equations that stand above the lines: how variables are made, and the chain rule for their gradients."""

    def __init__(self, lines: Assignments, step_text: Callable[[int], str]):
        self.ref, trace = lines.ref, lines.schedule.trace
        self.step_text = lambda step: step_text(step).replace(" - ", "−")
        order, self.writer = list[Any](lines.letters.nodes), _Writer(lines.letters, self.ref, self.step_text)
        gradients = {line.node.name.born for line in lines.lines if _is_gradient(line)}
        # Those whose gradients have lines; an equation needs names.
        self.variables = {x.born: x for x in order if x.name is not None and x.born in gradients}
        self.between = trace.hooked.difference(self.variables)  # hooks on nodes that no equation names
        uses: dict[Any, list[Use]] = defaultdict(list)  # of each variable
        kept = set[Any]([lines.schedule.outputs[0], *self.variables.values()])
        for use in chain(*fold([x for x in order if x.born not in trace.cut], kept).values()):
            uses[use.source].append(use)
        self.terms: dict[Any, list[Tree]] = {}  # of the gradients that can be written,
        self.summed: list[Any] = []  # and those with sums over time among them
        for x in [x for born, x in self.variables.items() if born not in trace.hooked]:
            with suppress(Unwritten):
                self._find_terms(x, uses[x] if x.is_leaf else uses[x][::-1])

    def of(self, lines: Sequence[Assignment], now: int | None, inside: bool) -> list[str]:
        """The equations of lines that belong to a step, in or outside of a loop."""
        self.writer.now, self.writer.inside = now, inside
        found = []
        for line in lines:
            node = line.node
            if _is_gradient(line):
                x = self.variables.get(node.name.born)
                found += [self._equation(x)] if x in self.terms and x not in self.summed else []
            elif line.forward and node is not None and node.name is not None and _is_derived(node):
                found.append(f"{self.writer.variable(node)} = {self.writer.expression(node)}")
        return found

    def sums(self) -> list[str]:
        """The gradients of what several steps use alike, as sums over time."""
        self.writer.now, self.writer.inside = None, False
        return list(map(self._equation, self.summed))

    def _equation(self, x: Node) -> str:
        return f"d{self.writer.variable(x)} = {self.writer.text(Tree('sum', self.terms[x]))}"

    def _find_terms(self, x: Node, uses: Sequence[Use]) -> None:
        """Find what the uses of a variable give, those together that are the same but for the step.

        Raises:
            Unwritten: a term has no notation, or is too long, or a hook makes something else of it.
        """
        alike: dict[tuple[str, str], list[tuple[Tree, Ref]]] = defaultdict(list)
        self.writer.inside = True
        for use in uses:
            target, hops = cast(Node, use.target), use.hops
            if hops is None or any(node.born in self.between for node, _ in hops):
                raise Unwritten("too many paths, or a hook on one")
            start = gradient(target) if target.born in self.variables else number(1).shaped(target.shape, True)
            term, self.writer.now = back(hops, start, self.writer.notation.writes), self.ref[target].step
            inner = term.parts[0] if term.head in ("negative", "total") else term
            text = self.writer.text(inner, PRODUCT)
            if "…" in text.replace("[…]", ""):
                raise Unwritten("too long")
            alike[term.head, text].append((term, self.ref[target]))
        if alike:
            self.terms[x] = [self._sum(*key, *zip(*terms, strict=True)) for key, terms in alike.items()]
            self.summed += [x] if any(len(terms) > 1 for terms in alike.values()) else []

    def _sum(self, head: str, text: str, terms: Sequence[Tree], of: Sequence[Ref]) -> Tree:
        """The sum of terms that are alike, with the first and the last step if there are others too.

        Without, it is over all steps in which there is that gradient.
        """
        if len(terms) == 1:
            return terms[0]
        steps, limits = sorted(step for _, step in of), ""
        others = [x for x, at in self.ref.items() if at.name == of[0].name and at.step not in steps and not x.is_leaf]
        if others and steps == list(range(steps[0], steps[-1] + 1)):
            limits = f"[t={self.step_text(steps[0])}…{self.step_text(steps[-1])}]"
        elif any(x.born in self.variables for x in others):
            raise Unwritten("a sum over some of the steps that have a gradient")
        found = Tree("dots", of=f"Σ{limits} {text}")
        return negative(found) if head == "negative" else found


def _is_gradient(line: Assignment) -> bool:
    return not line.forward and line.node is not None and isinstance(line.node.name, GradientName)


def _is_derived(node: Node) -> bool:
    """True if a node is more than a part of what is given."""
    return not all(x.is_leaf for x in node.inputs) or (not node.is_leaf and "{f}" in node.primitive.written)
