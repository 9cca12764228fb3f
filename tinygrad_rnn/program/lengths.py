"""A function's program for every length: time is a loop, which is found in what the function does for three short ones.

The function is run on inputs that are cut to `LENGTHS`. If what it records is alike but for the turns of loops, and so
are the calls of the optimised programs, then these are patterns of what it records, and of a program, for each length.
That program stands in for a run which has recorded, node by node, what the pattern says, and whose results are the
same. So a new length costs that run, and no trace, passes or kernel; and whatever a function does at some lengths or
steps only is seen there, and traced as a whole.
"""

import contextlib
import warnings
from collections.abc import Container, Sequence
from functools import reduce
from typing import Any

import numpy as np

from tinygrad_rnn.observer import hooks_of
from tinygrad_rnn.program.containers import rebuilt
from tinygrad_rnn.program.kernel import buffered
from tinygrad_rnn.program.passes import PASSES
from tinygrad_rnn.program.rolling import LENGTHS, Fixed, Item, rolled, split
from tinygrad_rnn.program.tracing import Run
from tinygrad_rnn.tensor import Tensor

_FEW = 2000  # nodes, which are traced in no time


class Lengths:
    """A program for every length.

    Args:
        run: of the function. cut: the numbers of the inputs whose first axis is the length. of: what gradients are of.
        kept: the outputs that may be overwritten.

    Attributes:
        live: as of the run, kept since `forward` has their ids. forward: the pattern of what the function records.
        kernels: the program.
        fixed: by their items in `forward`, constants that are the same in every run.
        varying: the items of those that are not, such as 1/T: parameters of the program.

    Raises:
        ValueError: the function is not alike for all lengths.
    """

    def __init__(self, run: Run, cut: Sequence[int], of: Sequence[Any], kept: Container[int]):
        self.cut, self.live = cut, run.live
        runs = [self._short(run, n, of) for n in LENGTHS]
        sequences = [_sequence(short) for short in runs]
        self.forward = rolled([items for items, _ in sequences])
        if all(segment.fewer is None for segment in self.forward.segments):
            raise ValueError("no loops")
        found = [self._constants(tensors, n) for (_, tensors), n in zip(sequences, LENGTHS, strict=True)]
        self.fixed = {item: some[0].value for item, some in found[0].items()}
        self.varying = [item for item in self.fixed if not all(_are(some[item], self.fixed[item]) for some in found)]
        further = [[x for item in self.varying for x in some[item]] for some in found]
        for item in self.varying:
            del self.fixed[item]
        if len(further[-1]) > len(self.varying):
            raise ValueError("a constant of each step")
        graphs = [short.graph(some)[0] for short, some in zip(runs, further, strict=True)]
        self.kernels = buffered([reduce(lambda x, step: step(x), PASSES, graph) for graph in graphs], kept)

    def _short(self, run: Run, n: int, of: Sequence[Any]) -> Run:
        """A run on inputs that are cut."""
        inputs = [Tensor(x.value[:n] if i in self.cut else x.value, x.requires_grad) for i, x in enumerate(run.given)]
        short = Run(run.function, rebuilt(run.structure, inputs), of, run.first.warned)
        if len(short.nodes) >= len(run.nodes) or len(short.nodes) > max(_FEW, len(run.nodes) // 2):
            raise ValueError("not shorter")
        return short

    def _constants(self, tensors: Sequence[Tensor], n: int) -> dict[tuple[int, int], Sequence[Tensor]]:
        """The constants of a run, by their items in `forward`."""
        starts, found = self.forward.starts(n), {}
        for s, segment in enumerate(self.forward.segments):
            for j in [j for j, item in enumerate(segment.items) if item.what[0] == "constant"]:
                found[s, j] = tensors[starts[s] + j : starts[s + 1] : len(segment.items)]
        return found

    def of(self, run: Run) -> tuple[int, list[Tensor]] | None:
        """The length of a run, and the program's parameters in it; None if the run is not as the pattern has it."""
        n = next((x.shape[0] for x in run.given[self.cut[0] :][:1] if x.ndim), 0)
        items, tensors = _sequence(run)
        if n < LENGTHS[0] or not self.forward.is_of(items, n):
            return None
        constants = self._constants(tensors, n)
        if not all(_are(constants[item], value) for item, value in self.fixed.items()):
            return None
        parameters = [*run.live, *(x for item in self.varying for x in constants[item])]
        expected, found = run.results(), []
        with contextlib.suppress(Exception), np.errstate(all="ignore"):  # the whole trace is what raises, if it does
            found = self.kernels.kernel(n).run(*[x.value for x in [*run.given, *parameters]])
        is_same = len(found) == len(expected) and all(map(_is_close, found, expected))
        return (n, parameters) if is_same else None


def lengths_of(run: Run, *arguments: Any) -> Lengths | None:
    """The program for every length of a function, if there is one; the first axis of some inputs is the length."""
    last = max((x.step for x in run.nodes if x.step is not None), default=None)
    axes = {(x.shape[0], x.ndim) for x in run.given if x.ndim and x.shape[0] > LENGTHS[-1]}
    for n, ndim in sorted(axes, key=lambda axis: (axis[0] != last, axis)):  # a batch may have as many rows as steps
        cut = [i for i, x in enumerate(run.given) if x.shape[:1] == (n,) and x.ndim >= ndim]
        with contextlib.suppress(Exception), warnings.catch_warnings():  # a function may refuse inputs that are cut
            return Lengths(run, cut, *arguments)
    return None


def _sequence(run: Run) -> tuple[list[Item], list[Tensor]]:
    """What a run has recorded, nodes and what each is made of, and then the outputs; and the Tensor of each item."""
    inputs, live = {x: i for i, x in enumerate(run.given)}, {*run.live}
    position: dict[Tensor, int] = {}
    items: list[Item] = []
    tensors: list[Tensor] = []
    for x in [*run.nodes, *run.outputs]:
        numbers: list[int] = []
        if x in position:
            what: tuple = ("output",)
            numbers.append(position[x])
        elif x.primitive is not None:
            numbers += [position[y] for y in x.inputs]
            if x.primitive.variadic:  # a stack of as many as there are steps
                items += [Item(("of",), (number,)) for number in numbers]
                numbers = []
            what = x.primitive, len(numbers), split(x.static, numbers)
        elif x in inputs:
            what = "input", inputs[x]
        else:
            what = ("parameter", id(x)) if x in live else ("constant",)
        hooks = tuple(Fixed(id(hook), hook) for hook in hooks_of(x))
        position.setdefault(x, len(items))
        items.append(Item((*what, x.dtype, x.ndim, x.requires_grad, x.is_cut, hooks), (*numbers, *x.shape)))
        tensors += [x] * (len(items) - len(tensors))
    return items, tensors


def _are(constants: Sequence[Tensor], value: np.ndarray) -> bool:
    """Whether constants have a value, to the bit."""
    return all(x.shape == value.shape and x.value.tobytes() == value.tobytes() for x in constants)


def _is_close(found: np.ndarray, expected: np.ndarray) -> bool:
    """Whether an array is another but for what rounding can do in many steps; with a NaN where that has one, too."""
    exact = expected.dtype.kind != "f"
    largest = 0.0 if exact else np.max(np.abs(expected), initial=0.0, where=np.isfinite(expected))
    tolerance = 0.0 if exact else largest * np.finfo(expected.dtype).eps ** 0.5
    alike = (found.shape, found.dtype) == (expected.shape, expected.dtype)
    return alike and np.allclose(found, expected, 0.0, tolerance, equal_nan=not exact)
