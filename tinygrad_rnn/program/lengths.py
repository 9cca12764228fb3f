"""Programs for every length: time is a loop, which is found in what a function does for three short ones.

1. The function is run on inputs that are cut to `LENGTHS`, 8, 9 and 10 steps.
2. If what it records is alike but for the turns of loops, that gives a pattern of what it records for each length
   (`forward`); if the kernels' lines are so, too, a pattern of a kernel for each length (`Kernels`).
3. Each new length costs a run. The program stands in for it if it has recorded, node by node, what the pattern says,
   and its results are the same: `of`.

So a new length costs no trace, passes or kernel; and whatever a function does at some lengths or steps only is seen in
the run, and traced as a whole.
"""

import contextlib
import warnings
from collections.abc import Container, Iterator, Sequence
from functools import reduce
from typing import Any

import numpy as np

from tinygrad_rnn.observer import hooks_of
from tinygrad_rnn.program.kernel import Kernels, buffered
from tinygrad_rnn.program.passes import PASSES
from tinygrad_rnn.program.rolling import LENGTHS, Item, rolled
from tinygrad_rnn.program.structures import Fixed, rebuilt, split
from tinygrad_rnn.program.tracing import Run
from tinygrad_rnn.tensor import Tensor


class Lengths(Kernels):
    """A program for every length.

    Args:
        run: of the function. cut: the numbers of the inputs whose first axis is the length. of: what gradients are of.
        kept: the outputs that may be overwritten.

    Attributes:
        fixed: constants that are the same for every length, as `split` has them; others, such as 1/T, are parameters of
            the program.
        forward: the pattern of what the function records.

    Raises:
        ValueError: the function is not alike for all lengths.
    """

    def __init__(self, run: Run, cut: Sequence[int], of: Sequence[Any], kept: Container[int]):
        self.cut = cut
        runs = [self._short(run, n, of) for n in LENGTHS]
        self.fixed = set.intersection(*[{split(x.value, []) for x in short.nodes if x.is_leaf} for short in runs])
        sequences, constants = zip(*map(self._sequence, runs), strict=True)
        self.forward = rolled(sequences)
        graphs = [short.graph(further) for short, further in zip(runs, constants, strict=True)]
        super().__init__(buffered([reduce(lambda x, step: step(x), PASSES, graph) for graph in graphs], kept))

    def _short(self, run: Run, n: int, of: Sequence[Any]) -> Run:
        """A run on inputs that are cut."""
        inputs = [Tensor(x.value[:n] if i in self.cut else x.value, x.requires_grad) for i, x in enumerate(run.given)]
        short = Run(run.function, rebuilt(run.structure, inputs), of)
        if len(short.nodes) >= len(run.nodes):
            raise ValueError("not shorter")
        return short

    def _sequence(self, run: Run) -> tuple[list[Item], list[Tensor]]:
        """The record of a run as items: nodes, made of what, and outputs; and the constants that are not fixed."""
        leaves: dict[Tensor, Any] = {x: i for i, x in enumerate(run.given)} | {x: Fixed(id(x), x) for x in run.live}
        position: dict[Tensor, int] = {}
        items: list[Item] = []
        constants: list[Tensor] = []
        for x in run.nodes:
            what, numbers = leaves.get(x), [position[y] for y in x.inputs]
            if x.primitive is not None:
                if x.primitive.variadic:  # a stack of as many as there are steps
                    items += [Item("of", (number,)) for number in numbers]
                    numbers = []
                what = x.primitive, split(x.static, numbers)
            elif what is None:
                what = split(x.value, numbers)
                if what not in self.fixed:
                    constants.append(x)
                    what, numbers = "constant", []
            hooks = [Fixed(id(hook), hook) for hook in hooks_of(x)]
            position[x] = len(items)
            items.append(Item((what, x.dtype, x.ndim, x.requires_grad, x.is_cut, *hooks), (*numbers, *x.shape)))
        return [*items, *(Item("output", (position[x],)) for x in run.outputs)], constants

    def of(self, run: Run) -> tuple["Lengths", int, list[Tensor]] | None:
        """This, with a run's length and the parameters in it; None if the run is not as the pattern has it."""
        with contextlib.suppress(Exception), np.errstate(all="ignore"):  # the whole trace is what raises, if it does
            n = len(run.given[self.cut[0]].value)
            items, constants = self._sequence(run)
            is_alike = items == [item for segment in self.forward for item in segment.all(n)]
            del items  # before the kernel needs memory
            if n >= LENGTHS[0] and is_alike:
                parameters = [*run.live, *constants]
                found = self.kernel(n).run(*[x.value for x in [*run.given, *parameters]])
                if all(map(_is_close, found, run.results())):
                    return self, n, parameters
        return None


def lengths_of(run: Run, of: Sequence[Any], kept: Container[int], above: int) -> Iterator[Lengths]:
    """The programs for every length of a function, if the first axis of some inputs, of more than so many, is one."""
    last = max((x.step for x in run.nodes if x.step is not None), default=None)
    axes = {(x.shape[0], x.ndim) for x in run.given if x.ndim and x.shape[0] > above}
    for n, ndim in sorted(axes, key=lambda axis: (axis[0] != last, axis)):  # a batch may have as many rows as steps
        cut = [i for i, x in enumerate(run.given) if x.shape[:1] == (n,) and x.ndim >= ndim]
        with contextlib.suppress(Exception), warnings.catch_warnings():  # a function may refuse inputs that are cut
            warnings.simplefilter("ignore")
            yield Lengths(run, cut, of, kept)


def _is_close(found: np.ndarray, expected: np.ndarray) -> bool:
    """True if two arrays differ by no more than rounding over many steps, and have NaN in the same places."""
    precision = np.finfo(np.result_type(expected, np.float32)).eps ** 0.5
    largest = np.max(np.abs(expected * 1.0), initial=0.0, where=np.isfinite(expected))
    alike = (found.shape, found.dtype) == (expected.shape, expected.dtype)
    return alike and np.allclose(found, expected, 0.0, precision * largest, equal_nan=True)
