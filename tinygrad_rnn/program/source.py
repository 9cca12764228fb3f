"""A trace written out as a Python module that needs NumPy alone: the backpropagation through time one writes by hand.

- `written(trace)` is the module's text. Its lines stand in the order of execution, time step by time step, each step
  under the equations that it computes; `rolled=True` makes loops over t of the steps that are alike.
"""

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from tinygrad_rnn.program.assignments import Assignment, Assignments, pattern
from tinygrad_rnn.program.equations import Equations
from tinygrad_rnn.program.expressions import Part, Ref
from tinygrad_rnn.program.schedule import Schedule
from tinygrad_rnn.program.tracing import Trace

_WIDTH = 110  # of a comment, and of lists of names
_IN_A_ROW = 6  # variables that start in one line


def written(trace: Trace, rolled: bool = False, level: str = "named") -> str:
    """The text of a module whose function `bptt(*inputs, *parameters)` returns the loss and its gradients.

    The function returns a float and a list of arrays in the order of the trace's outputs; and if the traced function
    returned more than its loss, thirdly a list of the arrays of that.

    Args:
        rolled: write steps that are alike as loops over t, not one by one.
        level: "named", a line for every variable; or "primitives", one for every node.

    Raises:
        ValueError: another level, or a primitive that is not in the table and so cannot be written.
    """
    if level not in ("named", "primitives"):
        raise ValueError(f"written(level={level!r}): not one of 'named', 'primitives'")
    schedule = Schedule(trace, folds=level == "named")
    return _Text(Assignments(schedule), rolled).module()


@dataclass
class _Block:
    """Consecutive lines of one step."""

    forward: bool
    group: int | None
    lines: list[Assignment]


_Loop = list[_Block]  # blocks that are alike but for the step


class _Text:
    """The lines as a module: loops where steps are alike, comments, and what stands around them."""

    def __init__(self, lines: Assignments, rolled: bool):
        self.lines, self.schedule, self.trace = lines, lines.schedule, lines.schedule.trace
        self.rolled = rolled
        self.blocks: list[_Block] = []
        for line in lines.lines:
            self._add(line)
        self.defined = {line.target for line in lines.lines}
        self.T = max((ref.step for ref in self.defined if ref.step is not None), default=0)
        self.local = self._local()
        self.loops: list[_Loop] = []
        for block in self.blocks:
            if rolled and self.loops and self._is_next(self.loops[-1], block):
                self.loops[-1].append(block)
            else:
                self.loops.append([block])
        self.equations = Equations(lines, self._number)

    def _add(self, line: Assignment) -> None:
        """Into the block of its step that is the last, or the last but one if it needs nothing of the last."""
        needed = set(line.variables())
        for block in self.blocks[:-3:-1]:
            if (block.forward, block.group) == (line.forward, line.group):
                block.lines.append(line)
                return
            if any(x.target in needed for x in block.lines):
                break
        self.blocks.append(_Block(line.forward, line.group, [line]))

    def _local(self) -> set[str]:
        """The names of variables that one step alone makes, adds to and takes: they are written without a step."""
        where: dict[Ref, _Block] = {}
        far = {ref.name for ref in self.lines.returned} | self.lines.zeros.keys()
        for block in self.blocks:
            for ref in {ref for line in block.lines for ref in line.variables()}:
                far |= {ref.name} if where.setdefault(ref, block) is not block else set()
        return {ref.name for ref in where} - far

    # Loops

    def _is_next(self, loop: _Loop, block: _Block) -> bool:
        """Whether a block is like those of a loop, but one step on; if it is, it gets the lines that it lacks."""
        last = loop[-1]
        if last.forward != block.forward or None in (last.group, block.group) or abs(block.group - last.group) != 1:
            return False
        shift = block.group - last.group
        lines = self._completed(last.lines, block.lines, shift)
        if lines is None:
            return False
        moves = _moves(last.lines, lines)
        if len(loop) > 1:
            is_next = shift == last.group - loop[-2].group and moves == _moves(loop[-2].lines, last.lines)
        else:
            is_next = all(move in (0, shift) for move in moves)
        if is_next:
            block.lines = lines
        return is_next

    def _completed(
        self, models: Sequence[Assignment], lines: Sequence[Assignment], shift: int
    ) -> list[Assignment] | None:
        """The lines of a step, where they are the models but for whole numbers; None where they are not.

        A line that it lacks may be run all the same if it makes what nobody asks for, as dh(0) = ᵗU dĥ(1).
        """
        found, rest, idle = [], iter(lines), set()
        line = next(rest, None)
        for model in models:
            if line is not None and pattern(model.parts) == pattern(line.parts):
                found.append(line)
                line = next(rest, None)
                continue
            moved = model.shifted(shift)
            target, *taken = moved.variables()
            known = all(x.step is None or x in self.defined or x in idle for x in taken)
            known = known and all(isinstance(x, str) or x.name for x in moved.parts)  # xs[t] may have no such element
            if not known or target in self.defined or target.step not in range(self.T + 1):
                return None
            found.append(moved)
            idle.add(target)
        return found if line is None else None

    # Text

    def module(self) -> str:
        """The text of the module."""
        text = "\n".join(f"    {line}" if line else "" for line in self._body()).lstrip("\n")
        helpers = "".join(f"\n\n{definition}" for definition in self.lines.definitions)
        steps = f"\nT = {self.T}  # steps\n" if re.search(r"(?<![.\w])T\b", re.sub("#.*", "", text)) else ""
        arguments = [self.lines.ref[x].name for x in self.lines.arguments]
        head = "\n".join(_wrapped("def bptt(", arguments, ", ", "):"))
        return f"{self._docstring(arguments)}\n\nimport numpy as np\n{steps}{helpers}\n\n{head}\n{text}\n"

    def _docstring(self, arguments: Sequence[str]) -> str:
        given = zip(arguments, self.lines.arguments, strict=True)
        shapes = [f"{name} {x.shape}{'' if x.dtype == np.float64 else f' of {x.dtype}'}" for name, x in given]
        gradients = [ref.name for ref in self.lines.returned[1 : 1 + len(self.trace.wrt_names)]]
        further = ", [further outputs]" if self.trace.extra is not None else ""
        call = [*gradients[:-1], f"{gradients[-1]}]{further} = bptt({arguments[0]}", *arguments[1:]]
        lines = [
            '"""A loss and its gradients, by backpropagation through time (BPTT), in plain NumPy.\n',
            *_wrapped("    loss, [", call, ", ", ")\n"),
            *_wrapped("Arguments: arrays ", shapes, ", ", "."),
            "Returns: the loss, a float; its gradients, each of the shape of what it is the gradient of.",
            '"""',
        ]
        return "\n".join(lines)

    def _body(self) -> Iterator[str]:
        yield from self._section([loop for loop in self.loops if loop[0].forward])
        yield from ["", "# backward"]
        sums = self.equations.sums()
        yield from _comment("sums over t:  ", sums) if sums else []
        yield from self._section([loop for loop in self.loops if not loop[0].forward])
        yield from ["", *self._return()]

    def _section(self, loops: Sequence[_Loop]) -> Iterator[str]:
        lines = [line for loop in loops for line in loop[0].lines]
        lines.sort(key=lambda line: line.node is not None and line.node.primitive is None)
        yield from self._starts(dict.fromkeys(line.target for line in lines))
        for i, loop in enumerate(loops):
            block = list(self._block(*loop) if len(loop) == 1 else self._loop(loop))
            yield from block if i == 0 and not block[0].startswith(("#", "for")) else ["", *block]

    def _block(self, block: _Block) -> Iterator[str]:
        equations = self.equations.of(block.lines, block.group, inside=False)
        yield from _comment("" if block.group is None else f"t = {self._number(block.group)}:  ", equations)
        yield from self._lines_of([block])

    def _loop(self, loop: _Loop) -> Iterator[str]:
        first, last = loop[0].group, loop[-1].group
        ends = f"{first}, {self._after(last)}" if first < last else f"{self._number(first)}, {last - 1}, -1"
        equations = [self.equations.of(block.lines, block.group, inside=True) for block in loop[:3]]
        yield f"for t in range({ends}):"
        for line in [*_comment("", max(equations, key=lambda some: len("".join(some)))), *self._lines_of(loop)]:
            yield f"    {line}"

    def _after(self, step: int) -> str:
        """The end of a range whose last is this step."""
        return "T + 1" if step == self.T else self._number(step + 1)

    def _starts(self, targets: Iterable[Ref]) -> Iterator[str]:
        """The variables with steps, and the sums, before their first step."""
        stepped, zeros = {x.name: x.step is not None for x in targets}, self.lines.zeros
        kept = [name for name in stepped if stepped[name] and name not in zeros and name not in self.local]
        for i in range(0, len(kept), _IN_A_ROW):
            some = kept[i : i + _IN_A_ROW]
            yield f"{', '.join(some)} = {', '.join(['{}'] * len(some))}"
        for name in filter(zeros.get, stepped):
            yield f"{name} = dict.fromkeys(range(T + 1), {zeros[name]})" if stepped[name] else f"{name} = {zeros[name]}"

    def _lines_of(self, loop: _Loop) -> Iterator[str]:
        for i, line in enumerate(loop[0].lines):
            moves = iter(_moves([line], [loop[min(1, len(loop) - 1)].lines[i]]))
            has_number = [isinstance(part, Ref) and part.step is not None for part in line.parts]
            pieces = [
                self._part(part, loop[0].group if counts and next(moves) else None)
                for part, counts in zip(line.parts, has_number, strict=True)
            ]
            text = ast.unparse(ast.parse("".join(pieces)))  # with the parentheses that are needed
            start, equals, value = text.partition("= ")
            long = len(text) > _WIDTH
            yield from _wrapped(f"{start}{equals}(", value.split(" + "), " + ", ")", "    ") if long else [text]

    def _part(self, part: Part, t: int | None = None) -> str:
        """A part of a line as text; its whole number relative to t, if it goes with the step."""
        if isinstance(part, str) or part.step is None or part.name in self.local:
            return part if isinstance(part, str) else part.name
        ahead = 0 if t is None else part.step - t
        index = "t" if not ahead else f"t - {-ahead}" if ahead < 0 else f"t + {ahead}"
        if t is None:
            index = self._number(part.step) if part.name else str(part.step)
        return f"{part.name}[{index}]" if part.name else index

    def _number(self, step: int) -> str:
        """A step, from the end if it is nearer to that."""
        if not self.rolled or step <= self.T // 2:
            return str(step)
        return "T" if step == self.T else f"T - {self.T - step}"

    def _return(self) -> list[str]:
        loss, *rest = self.lines.returned
        count = len(self.trace.wrt_names)
        value = self._part(loss)
        value = f"float({value})" if self.schedule.outputs[0].ndim == 0 else f"{value}.item()"
        pieces = [self._part(x) for x in rest[:count]]
        if self.trace.extra is not None:
            pieces[-1] += "]"
            further = list(self._listed(rest[count:]))
            pieces += [f"[{further[0]}", *further[1:]] if further else ["["]
        return _wrapped(f"return {value}, [", pieces, ", ", "]", "    ")

    def _listed(self, refs: Sequence[Ref]) -> Iterator[str]:
        """Variables in a list, those of consecutive steps in a comprehension."""
        # How far its step is ahead of its place is the same for all of a row.
        ahead = [None if ref.step is None else ref.step - i for i, ref in enumerate(refs)]
        for (name, shift), pairs in groupby(zip(refs, ahead, strict=True), lambda pair: (pair[0].name, pair[1])):
            some = [ref for ref, _ in pairs]
            if self.rolled and shift is not None and len(some) > 2:
                steps = f"{self._number(some[0].step)}, {self._after(some[-1].step)}"
                yield f"*({name}[t] for t in range({steps}))"
            else:
                yield from map(self._part, some)


def _moves(lines: Iterable[Assignment], others: Iterable[Assignment]) -> list[int]:
    """How much larger the whole numbers of lines are in others that are like them."""
    pairs = zip(lines, others, strict=True)
    return [b - a for line, other in pairs for a, b in zip(line.numbers(), other.numbers(), strict=True)]


def _comment(head: str, equations: Sequence[str]) -> list[str]:
    """Equations in lines of comments."""
    text = head + ",  ".join(equations) if equations else head.rstrip(": ")
    return _wrapped("# ", re.split(r"(?<=,  )|(?<= \+ )", text), "", "", "#     ") if text else []


def _wrapped(start: str, pieces: Sequence[str], separator: str, end: str, later: str = "        ") -> list[str]:
    """Pieces in lines that are not too long."""
    lines = [start]
    for i, piece in enumerate(pieces, 1):
        piece += separator if i < len(pieces) else end
        if i > 1 and len(lines[-1]) + len(piece.rstrip()) > _WIDTH:
            lines[-1] = lines[-1].rstrip()
            lines.append(later)
        lines[-1] += piece
    return lines
