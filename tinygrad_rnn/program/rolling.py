"""Patterns with loops, of sequences that are alike but for how often some of their turns come.

What a program does for 8, 9 and 10 steps is a sequence of items each: what is done, and whole numbers that may go with
the step, such as the place of what an item is made of. Where a loop has one more turn for one more step, and all
numbers grow by as much from turn to turn, and from length to length, that is the sequence of every length.
"""

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any, NamedTuple

import numpy as np

LENGTHS = (8, 9, 10)  # of the sequences that a pattern is read from: two would do, the third one shows that it holds


class Item(NamedTuple):
    """One thing done: what, and the whole numbers in it."""

    what: Any
    numbers: Any


class Segment(NamedTuple):
    """Items that come once, or in each turn of a loop, of which there are so many fewer than n; None if it is none.

    Their numbers are arrays (numbers, 3) of a, b and c, by which these are a + b k + c n in turn k of length n.
    """

    items: Sequence[Item]
    fewer: int | None = None

    def turns(self, n: int) -> int:
        """The number of its turns."""
        return 1 if self.fewer is None else n - self.fewer

    def rows(self, item: Item, n: int) -> list[tuple[int, ...]]:
        """The numbers of an item in each turn; those of one sequence alone are as they are."""
        if isinstance(item.numbers, tuple):
            return [item.numbers]
        a, b, c = item.numbers.T
        return [*map(tuple, (a + c * n + b * np.arange(self.turns(n))[:, None]).tolist())]

    def all(self, n: int) -> Iterator[Item]:
        """The items of all turns."""
        turns = zip(*[self.rows(item, n) for item in self.items], strict=True)
        return (Item(item.what, row) for rows in turns for item, row in zip(self.items, rows, strict=True))


def rolled(sequences: Sequence[Sequence[Item]]) -> list[Segment]:
    """The pattern of the sequences of `LENGTHS`: segments, one after the other.

    Raises:
        ValueError: there is none.
    """
    known: dict[Any, int] = {}
    kinds: list[list[Any]] = [[known.setdefault(item.what, len(known)) for item in items] for items in sequences]
    rest: list[list[Any]] = [[*items] for items in sequences]
    segments: list[Segment] = []
    while any(rest):
        segment = next(filter(None, (_first(rest, *loop) for loop in _loops(kinds))), None)
        if segment is None:
            raise ValueError("the sequences are not alike")
        segments.append(segment)
        for some, n in zip([*kinds, *rest], LENGTHS * 2, strict=True):
            del some[: len(segment.items) * segment.turns(n)]
    return segments


def _loops(kinds: Sequence[Sequence[int]]) -> Iterator[tuple[int, int | None]]:
    """The loops that sequences may start with: the items in a turn, how many turns fewer than n there are; or none.

    A sequence is longer than the one before by a turn of each loop, so that no turn has more items than that.
    """
    for period in range(1, min(len(kinds[1]) - len(kinds[0]), len(kinds[0]) // 2) + 1):
        if kinds[0][0] == kinds[0][period] and (turn := kinds[0][:period]) == kinds[0][period : 2 * period]:
            repeats = [next(k for k in count() if x[k * period : (k + 1) * period] != turn) for x in kinds]
            if repeats == [repeats[0] + n - LENGTHS[0] for n in LENGTHS]:
                for fewer in range(LENGTHS[0] - repeats[0], LENGTHS[0] - 1):  # what comes after may look like a turn
                    yield period, fewer
    yield 1, None


def _first(sequences: Sequence[Sequence[Item]], period: int, fewer: int | None) -> Segment | None:
    """The segment that the sequences start with, of items that come so many fewer than n times; None if it is none."""
    turn, longer = sequences[0][:period], sequences[1][:period]
    second = turn if fewer is None else sequences[0][period : 2 * period]
    items = []
    for (what, xs), (_, ys), (_, zs) in zip(turn, second, longer, strict=False):
        abc = [(x - (z - x) * LENGTHS[0], y - x, z - x) for x, y, z in zip(xs, ys, zs, strict=False)]
        items.append(Item(what, np.array(abc, int).reshape(-1, 3)))
    segment = Segment(items, fewer)
    expected = ([*segment.all(n)] for n in LENGTHS)
    same = all(sequence[: len(some)] == some for sequence, some in zip(sequences, expected, strict=True))
    return segment if same and items else None
