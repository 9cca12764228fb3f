"""A trace written out as a Python module that needs NumPy alone: the backpropagation through time one writes by hand.

- `written(trace)` is the module's text. Its lines stand in the order of execution, time step by time step, each step
  under the equations that it computes; `rolled=True` makes loops over t of the steps that are alike.
"""

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np

from tinygrad_rnn.program.assignments import Assignment, Assignments, Family, Part, Ref
from tinygrad_rnn.program.equations import Equations
from tinygrad_rnn.program.expressions import At
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


class _Loop(NamedTuple):
    """Blocks that are alike, the first of which is the pattern; `moving` says which of its numbers go with the step."""

    blocks: list[_Block]
    moving: dict[Assignment, list[bool]]


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
        self.loops = list(self._loops())
        self._find_local()
        self.equations = Equations(lines, self._number)

    def _add(self, line: Assignment) -> None:
        """Into the block of its step that is the last, or the last but one if it needs nothing of the last."""
        needed = {line.target, *line.refs()}
        for block in self.blocks[:-3:-1]:
            if (block.forward, block.group) == (line.forward, line.group):
                block.lines.append(line)
                return
            if any(x.target in needed for x in block.lines):
                break
        self.blocks.append(_Block(line.forward, line.group, [line]))

    # Loops

    def _loops(self) -> Iterator[_Loop]:
        i = 0
        while i < len(self.blocks):
            loop, ghosts = _Loop([self.blocks[i]], {}), False
            while self.rolled and not ghosts and i + len(loop.blocks) < len(self.blocks):
                missing = self._alike(loop, self.blocks[i + len(loop.blocks)])
                if missing is None:
                    break
                ghosts = bool(missing)
                loop.blocks.append(self.blocks[i + len(loop.blocks)])
            yield loop
            i += len(loop.blocks)

    def _alike(self, loop: _Loop, block: _Block) -> list[Assignment] | None:
        """The lines of the pattern that a block lacks, if it is the pattern but for the step; else None.

        A line that it lacks may be run all the same if it makes what nobody asks for, as dh(0) = ᵗU dĥ(1).
        """
        pattern, last = loop.blocks[0], loop.blocks[-1]
        if None in (pattern.group, block.group) or pattern.forward != block.forward:
            return None
        shift = block.group - pattern.group
        if shift not in (len(loop.blocks), -len(loop.blocks)) or abs(block.group - last.group) != 1:
            return None
        missing, moving, rest = [], {}, iter(block.lines)
        line = next(rest, None)
        for model in pattern.lines:
            if line is None or model.pattern() != line.pattern():
                missing.append(model)
                continue
            moves = []
            for a, b in zip(model.numbers(), line.numbers(), strict=True):
                if a is not None and b - a not in (0, shift):
                    return None
                moves.append(a != b)
            if loop.moving.get(model, moves) != moves:
                return None
            moving[model] = moves
            line = next(rest, None)
        idle: set[Ref] = set()
        if line is not None or not all(self._idle(model, shift, idle) for model in missing):
            return None
        if len(loop.blocks) == 1 and missing:
            for model in missing:
                moving[model] = [x is not None for x in model.numbers()]
        loop.moving.update(moving)
        return missing

    def _idle(self, model: Assignment, shift: int, idle: set[Ref]) -> bool:
        """Whether a line can be run at a step that lacks it: what it makes is nothing else, what it takes is there."""
        moved = [Ref(x.family, None if x.step is None else x.step + shift) for x in (model.target, *model.refs())]
        target, *taken = moved
        known = all(x in self.defined or x.step is None or x in idle for x in taken)
        known = known and not any(isinstance(part, At) for part in model.parts)  # xs[t] may have no such element
        idle.add(target)
        return target.step is not None and 0 <= target.step <= self.T and target not in self.defined and known

    def _find_local(self) -> None:
        """A variable that one step alone makes, adds to and takes is written without a step."""
        where: dict[Ref, _Block] = {}
        far = {ref.family for ref in self.lines.returned}
        for block in self.blocks:
            for line in block.lines:
                far |= {ref.family for ref in (line.target, *line.refs()) if where.setdefault(ref, block) is not block}
        for ref in where:
            ref.family.local = ref.family.stepped and not ref.family.zeroed and ref.family not in far

    # Text

    def module(self) -> str:
        """The text of the module."""
        text = "\n".join(f"    {line}" if line else "" for line in self._body()).lstrip("\n")
        helpers = "".join(f"\n\n{definition}" for definition in self.lines.definitions)
        steps = f"\nT = {self.T}  # steps\n" if re.search(r"(?<![.\w])T\b", re.sub("#.*", "", text)) else ""
        arguments = [self.lines.ref[x].family.base for x in self.lines.arguments]
        head = "\n".join(_wrapped("def bptt(", arguments, ", ", "):"))
        return f"{self._docstring(arguments)}\n\nimport numpy as np\n{steps}{helpers}\n\n{head}\n{text}\n"

    def _docstring(self, arguments: Sequence[str]) -> str:
        given = zip(arguments, self.lines.arguments, strict=True)
        shapes = [f"{name} {x.shape}{'' if x.dtype == np.float64 else f' of {x.dtype}'}" for name, x in given]
        gradients = [ref.family.base for ref in self.lines.returned[1 : 1 + len(self.trace.wrt_names)]]
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
        forward = [loop for loop in self.loops if loop.blocks[0].forward]
        backward = [loop for loop in self.loops if not loop.blocks[0].forward]
        yield from self._section(forward)
        yield from ["", "# backward"]
        sums = self.equations.sums()
        yield from _comment("sums over t:  ", sums) if sums else []
        yield from self._section(backward)
        yield from ["", *self._return()]

    def _section(self, loops: Sequence[_Loop]) -> Iterator[str]:
        lines = [line for loop in loops for block in loop.blocks for line in block.lines]
        lines.sort(key=lambda line: line.node is not None and line.node.primitive is None)
        yield from self._starts(dict.fromkeys(line.target.family for line in lines))
        for i, loop in enumerate(loops):
            block = list(self._block(loop) if len(loop.blocks) == 1 else self._loop(loop))
            yield from block if i == 0 and not block[0].startswith(("#", "for")) else ["", *block]

    def _block(self, loop: _Loop) -> Iterator[str]:
        (block,) = loop.blocks
        equations = self.equations.of(block.lines, block.group, inside=False)
        yield from _comment("" if block.group is None else f"t = {self._number(block.group)}:  ", equations)
        yield from self._lines_of(loop)

    def _loop(self, loop: _Loop) -> Iterator[str]:
        first, last = loop.blocks[0].group, loop.blocks[-1].group
        ends = f"{first}, {self._after(last)}" if first < last else f"{self._number(first)}, {last - 1}, -1"
        equations = [self.equations.of(block.lines, block.group, inside=True) for block in loop.blocks[:3]]
        yield f"for t in range({ends}):"
        for line in [*_comment("", max(equations, key=lambda some: len("".join(some)))), *self._lines_of(loop)]:
            yield f"    {line}"

    def _after(self, step: int) -> str:
        """The end of a range whose last is this step."""
        return "T + 1" if step == self.T else self._number(step + 1)

    def _starts(self, families: Iterable[Family]) -> Iterator[str]:
        """The variables with steps, and the sums, before their first step."""
        families = list(families)
        kept = [x.base for x in families if x.stepped and not x.zeroed and not x.local]
        for i in range(0, len(kept), _IN_A_ROW):
            some = kept[i : i + _IN_A_ROW]
            yield f"{', '.join(some)} = {', '.join(['{}'] * len(some))}"
        for x in families:
            if x.zeroed:
                yield f"{x.base} = dict.fromkeys(range(T + 1), {x.zeroed})" if x.stepped else f"{x.base} = {x.zeroed}"

    def _lines_of(self, loop: _Loop) -> Iterator[str]:
        block = loop.blocks[0]
        for line in block.lines:
            moving = iter(loop.moving.get(line, [False] * len(line.numbers())))
            pieces = []
            for part in (line.target, f" {line.sign} ", *line.parts):
                moves = not isinstance(part, str) and next(moving)
                pieces.append(self._part(part, block.group if moves else None))
            text = ast.unparse(ast.parse("".join(pieces)))  # with the parentheses that are needed
            start, equals, value = text.partition("= ")
            long = len(text) > _WIDTH
            yield from _wrapped(f"{start}{equals}(", value.split(" + "), " + ", ")", "    ") if long else [text]

    def _part(self, part: Part, t: int | None) -> str:
        """A piece of a line; its number relative to t, if it goes with the step."""
        if isinstance(part, str):
            return part
        number = part.step if isinstance(part, Ref) else int(part)
        if t is None:
            index = str(number) if isinstance(part, At) or number is None else self._number(number)
        else:
            index = "t" if number == t else f"t - {t - number}" if number < t else f"t + {number - t}"
        if isinstance(part, At):
            return index
        base = part.family.base
        if part.step is None or part.family.local:
            return base
        return f"{base}[{index}]"

    def _number(self, step: int) -> str:
        """A step, from the end if it is nearer to that."""
        if not self.rolled or step <= self.T // 2:
            return str(step)
        return "T" if step == self.T else f"T - {self.T - step}"

    def _return(self) -> list[str]:
        loss, *rest = self.lines.returned
        count = len(self.trace.wrt_names)
        value = self._part(loss, None)
        value = f"float({value})" if self.schedule.outputs[0].ndim == 0 else f"{value}.item()"
        pieces = [self._part(x, None) for x in rest[:count]]
        if self.trace.extra is not None:
            pieces[-1] += "]"
            further = list(self._listed(rest[count:]))
            pieces += [f"[{further[0]}", *further[1:]] if further else ["["]
        return _wrapped(f"return {value}, [", pieces, ", ", "]", "    ")

    def _listed(self, refs: Sequence[Ref]) -> Iterator[str]:
        """Variables in a list, those of consecutive steps in a comprehension."""
        # How far its step is ahead of its place is the same for all of a row.
        ahead = [None if ref.step is None else ref.step - i for i, ref in enumerate(refs)]
        for (family, shift), pairs in groupby(zip(refs, ahead, strict=True), lambda pair: (pair[0].family, pair[1])):
            some = [ref for ref, _ in pairs]
            if self.rolled and shift is not None and len(some) > 2:
                steps = f"{self._number(some[0].step)}, {self._after(some[-1].step)}"
                yield f"*({family.base}[t] for t in range({steps}))"
            else:
                yield from (self._part(ref, None) for ref in some)


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
