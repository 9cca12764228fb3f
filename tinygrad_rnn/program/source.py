"""A trace written out as a Python module that needs NumPy alone: the backpropagation through time one writes by hand.

- `written(trace)` is the module's text. Its lines stand in the order of execution, time step by time step, each step
  under the equations that it computes; `rolled=True` makes loops over t of the steps that are alike.
"""

import ast
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby

import numpy as np

from tinygrad_rnn.checks import one_of
from tinygrad_rnn.program.assignments import Assignment, Assignments, pattern
from tinygrad_rnn.program.equations import Equations
from tinygrad_rnn.program.expressions import Part, Ref
from tinygrad_rnn.program.schedule import Schedule
from tinygrad_rnn.program.tracing import Trace

_WIDTH = 110  # of a comment, and of lists of names
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
    schedule = Schedule(trace, folds=level == "named")
    return _Text(Assignments(schedule), rolled).module()


_Block = list[Assignment]  # consecutive lines of one step
_Loop = list[_Block]  # blocks that are alike but for the step


class _Text:
    """The lines as a module: loops where steps are alike, comments, and what stands around them."""

    def __init__(self, lines: Assignments, rolled: bool):
        self.lines, self.trace, self.rolled = lines, lines.schedule.trace, rolled
        self.name = "bptt" if self.trace.wrt else "forward"
        self.defined = {line.target for line in lines.lines} | {*lines.ref.values()}
        made = [line for line in lines.lines if line.forward and line.node is not None and not line.node.is_leaf]
        self.T = max((line.target.step or 0 for line in made), default=0)
        blocks: list[_Block] = []
        for line in lines.lines:
            _add(line, blocks)
        self.local = self._local(blocks)
        self.loops: list[_Loop] = []
        for block in blocks:
            following, rest = self._following(self.loops[-1], block) if rolled and self.loops else (None, block)
            if following is not None:
                self.loops[-1].append(following)
            if rest:
                self.loops.append([rest])
        self.equations = Equations(lines, self._number)

    def _local(self, blocks: Sequence[_Block]) -> set[str]:
        """The names of variables that one step alone makes, adds to and takes: they are written without a step."""
        where: dict[Ref, _Block] = {}
        given = chain.from_iterable(self.lines.arguments.values())
        far = {self.lines.ref[x].name for x in given} | {ref.name for ref in self.lines.returned}
        far |= self.lines.zeros.keys()
        for block in blocks:
            for ref in {ref for line in block for ref in line.variables()}:
                far |= {ref.name} if where.setdefault(ref, block) is not block else set()
        return {ref.name for ref in where} - far

    def _following(self, loop: _Loop, block: _Block) -> tuple[_Block | None, _Block]:
        """A block's lines as a loop's next, like those but for the step, with lines that it lacks; and its other lines.

        A line that it lacks may be run all the same if it makes what nobody asks for, as dh(0) = ᵗU dĥ(1).
        """
        last, start = loop[-1], block[0]
        if last[0].forward != start.forward or None in (last[0].group, start.group):
            return None, block
        shift = start.group - last[0].group
        found, rest, idle = [], block[::-1], set()
        for model in last:
            if rest and pattern(model.parts) == pattern(rest[-1].parts):
                found.append(rest.pop())
                continue
            found.append(model.shifted(shift))
            target, *taken = found[-1].variables()
            known = all(x.step is None or x in self.defined or x in idle for x in taken)
            known = known and all(isinstance(x, str) or x.name for x in model.parts)  # xs[t] may have no such element
            if not known or target in self.defined or target.step not in range(self.T + 2):
                return None, block
            idle.add(target)
        moves = _moves(last, found)
        as_before = moves == _moves(loop[-2], last) if len(loop) > 1 else {*moves} <= {0, shift}
        return (found, rest[::-1]) if abs(shift) == 1 and as_before else (None, block)

    # Text

    def module(self) -> str:
        """The text of the module."""
        body = "\n".join(f"    {line}" if line else "" for line in self._body()).lstrip("\n")
        steps = f"\nT = {self.T}  # steps\n" if re.search(r"(?<![.\w])T\b", re.sub("#.*", "", body)) else ""
        helpers = "".join(f"\n\n{definition}" for definition in self.lines.definitions)
        head = "\n".join(_wrapped(f"def {self.name}({', '.join(self.lines.arguments)}):", " " * 8))
        return f"{self._docstring()}\n\nimport numpy as np\n{steps}{helpers}\n\n{head}\n{body}\n"

    def _docstring(self) -> str:
        shapes = []
        for name, nodes in self.lines.arguments.items():
            kinds = dict.fromkeys(f"{x.shape}{'' if x.dtype == np.float64 else f' of {x.dtype}'}" for x in nodes)
            text = " or ".join(kinds)
            is_list = self.lines.ref[nodes[0]].step is not None
            shapes.append(f"{name} (a list of {len(nodes)}, each {text})" if is_list else f"{name} {text}")
        what, results, returns = "What a function computes", "[outputs]", "a list of arrays"
        if self.trace.wrt:
            gradients = ", ".join(ref.name for ref in self.lines.returned[1 : 1 + len(self.trace.wrt)])
            results = f"loss, [{gradients}]{', [further outputs]' if self.trace.returned else ''}"
            what = "A loss and its gradients, by backpropagation through time (BPTT)"
            returns = "the loss, a float; its gradients, each of the shape of what it is the gradient of"
        lines = [
            f'"""{what}, in plain NumPy.\n',
            *_wrapped(f"    {results} = {self.name}({', '.join(self.lines.arguments)})", " " * 8),
            "",
            *_wrapped(f"Arguments: arrays {', '.join(x.replace(' ', _JOINED) for x in shapes)}.", " " * 8),
            f'Returns: {returns}.\n"""',
        ]
        return "\n".join(lines)

    def _body(self) -> Iterator[str]:
        yield from self._section([loop for loop in self.loops if loop[0][0].forward])
        if self.trace.wrt:
            yield from ["", "# backward"]
            sums = self.equations.sums()
            yield from _comment("sums over t:  ", sums) if sums else []
            yield from self._section([loop for loop in self.loops if not loop[0][0].forward])
        yield from ["", *_wrapped(self._return(), "    ")]

    def _section(self, loops: Sequence[_Loop]) -> Iterator[str]:
        lines = [line for loop in loops for line in loop[0]]
        lines.sort(key=lambda line: line.node is not None and line.node.primitive is None)
        yield from self._starts(dict.fromkeys(line.target for line in lines), loops)
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
            text = ast.unparse(ast.parse(text))  # with the parentheses that are needed
            if len(text) > _WIDTH:
                text = text.replace("= ", "= (", 1) + ")"
            lines += _wrapped(text, "    ", "+")
        if not is_loop:
            return lines
        ends = f"{first}, {self._after(last)}" if first < last else f"{self._number(first)}, {last - 1}, -1"
        return [f"for t in range({ends}):", *(f"    {line}" for line in lines)]

    def _after(self, step: int) -> str:
        """The end of a range whose last is this step."""
        return "T + 1" if step == self.T else self._number(step + 1)

    def _starts(self, targets: Iterable[Ref], loops: Sequence[_Loop]) -> Iterator[str]:
        """The variables with steps, and the sums, before their first step."""
        stepped, zeros = {x.name: x.step is not None for x in targets}, self.lines.zeros
        set_there = {line.target for loop in loops for block in loop for line in block}
        kept = [name for name in stepped if stepped[name] and name not in zeros and name not in self.local]
        for i in range(0, len(kept), _IN_A_ROW):
            some = kept[i : i + _IN_A_ROW]
            yield f"{', '.join(some)} = {', '.join(['{}'] * len(some))}"
        for name in filter(zeros.get, stepped):
            end = "T + 2" if Ref(name, self.T + 1) in set_there else "T + 1"
            yield f"{name} = dict.fromkeys(range({end}), {zeros[name]})" if stepped[name] else f"{name} = {zeros[name]}"

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
        count = len(self.trace.wrt)
        if not count:
            return f"return [{', '.join(self._listed(self.lines.returned))}]"
        loss, *gradients = map(self._part, self.lines.returned)
        loss = f"float({loss})" if self.lines.schedule.outputs[0].ndim == 0 else f"{loss}.item()"
        further = ", ".join(self._listed(self.lines.returned[1 + count :]))
        text = f"return {loss}, [{', '.join(gradients[:count])}]"
        return f"{text}, [{further}]" if self.trace.returned else text

    def _listed(self, refs: Sequence[Ref]) -> Iterator[str]:
        """Variables in a list, those of consecutive steps in a comprehension."""
        ahead = [ref.step is not None and ref.step - i for i, ref in enumerate(refs)]  # the same for all of a row
        for _, pairs in groupby(zip(refs, ahead, strict=True), lambda pair: (pair[0].name, pair[1])):
            some = [ref for ref, _ in pairs]
            first, last = some[0], some[-1]
            if self.rolled and first.step is not None and len(some) > 2:
                yield f"*({first.name}[t] for t in range({self._number(first.step)}, {self._after(last.step)}))"
            else:
                yield from map(self._part, some)


def _add(line: Assignment, blocks: list[_Block]) -> None:
    """Put a line into the block of its step that is the last, or the last but one if it needs nothing of the last.

    A block that is like the one before it but for the step is whole: another line begins a block.
    """
    needed = set(line.variables())
    for i, block in [*enumerate(blocks)][:-3:-1]:
        if (block[0].forward, block[0].group) == (line.forward, line.group):
            if i and _alike(block, blocks[i - 1]):
                break
            block.append(line)
            return
        if any(x.target in needed for x in block):
            break
    blocks.append([line])


def _alike(block: _Block, other: _Block) -> bool:
    """Whether blocks are alike but for the step."""
    follows = abs((block[0].group or 0) - (other[0].group or 0)) == 1
    return follows and [pattern(a.parts) for a in block] == [pattern(b.parts) for b in other]


def _moves(block: _Block, other: _Block) -> list[int]:
    """How much larger the step of a block, and the whole numbers of its lines, are in another that is like it."""
    parts = [pair for a, b in zip(block, other, strict=True) for pair in zip(a.parts, b.parts, strict=True)]
    numbers = [b.step - a.step for a, b in parts if isinstance(a, Ref) and a.step is not None]
    return [other[0].group - block[0].group, *numbers]


def _comment(head: str, equations: Sequence[str]) -> list[str]:
    """Equations in lines of comments."""
    text = head + ",  ".join(equations) if equations else head.rstrip(": ")
    return _wrapped(f"# {text}", "#     ", ",+ ") if text else []


def _wrapped(text: str, later: str, after: str = ",") -> list[str]:
    """Text in lines that are not too long, broken at spaces after some characters."""
    text = re.sub(rf"(?<![{after}]) ", _JOINED, text)
    lines = textwrap.wrap(text, _WIDTH, subsequent_indent=later, break_long_words=False, break_on_hyphens=False)
    return [line.replace(_JOINED, " ") for line in lines]
