"""Sequences that are alike but for how often some of their turns come, as one pattern with loops.

What a program does for 6, 7 and 8 steps is a sequence of items each: what is done, and whole numbers that may go with
the step, such as the place of what an item is made of. Where a loop has one more turn for one more step, and all
numbers grow by as much from turn to turn, and from length to length, that is the sequence of every length.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, count, pairwise
from typing import Any, NamedTuple

import numpy as np

from tinygrad_rnn.program.containers import structure_key

LENGTHS = (6, 7, 8)  # of the sequences that a pattern is read from: two would do, the third one shows that it holds


@dataclass(frozen=True)
class Fixed:
    """What is no whole number; two are alike if their keys are."""

    key: Any
    thing: Any = field(compare=False)


def split(value: Any, numbers: list[int]) -> Any:
    """A value without the whole numbers in its tuples, lists and slices, which are added to a list.

    So is the shape of an array of one number.
    """
    if type(value) is int:
        numbers.append(value)
        return int
    if isinstance(value, (tuple, list)):
        return type(value), *[split(x, numbers) for x in value]
    if isinstance(value, slice):
        return slice, *[split(x, numbers) for x in (value.start, value.stop, value.step)]
    if isinstance(value, np.ndarray) and value.size and value.tobytes() == value.flat[0].tobytes() * value.size:
        return np.full, split(value.shape, numbers), split(value.flat[0], numbers)
    return Fixed(structure_key(np.asarray(value) if isinstance(value, np.generic) else value), value)


def filled(kind: Any, numbers: Iterator[int]) -> Any:
    """The value that was split."""
    if isinstance(kind, Fixed):
        return kind.thing
    if kind is int:
        return next(numbers)
    parts = [filled(x, numbers) for x in kind[1:]]
    return kind[0](parts) if kind[0] in (tuple, list) else kind[0](*parts)


class Item(NamedTuple):
    """What is done, and the whole numbers in it; in a pattern the array (numbers, 3) of a, b and c, by which these are
    a + b k + c n in turn k of length n."""

    what: Any
    numbers: Any


class Segment(NamedTuple):
    """Items that come once, or in each turn of a loop, of which there are so many fewer than n; None if it is none."""

    items: Sequence[Item]
    fewer: int | None = None

    def turns(self, n: int) -> int:
        """How many turns it has."""
        return 1 if self.fewer is None else n - self.fewer


class Pattern(NamedTuple):
    """Segments one after the other."""

    segments: Sequence[Segment]

    def starts(self, n: int) -> list[int]:
        """Where each segment starts in the sequence of length n, and where the last one ends."""
        return [0, *accumulate(len(segment.items) * segment.turns(n) for segment in self.segments)]

    def is_of(self, sequence: Sequence[Item], n: int) -> bool:
        """Whether a sequence is that of length n."""
        starts = self.starts(n)
        if starts != sorted(starts) or starts[-1] != len(sequence):
            return False
        for segment, (start, stop) in zip(self.segments, pairwise(starts), strict=True):
            for j, item in enumerate(segment.items):
                if not _are(sequence[start + j : stop : len(segment.items)], item, n):
                    return False
        return True


def _are(items: Sequence[Item], pattern: Item, n: int) -> bool:
    """Whether items are one of a pattern in each turn."""
    alike = all(item.what == pattern.what for item in items)
    return alike and np.array_equal([item.numbers for item in items], at_turns(pattern.numbers, len(items), n))


def at_turns(numbers: np.ndarray, turns: int, n: int) -> np.ndarray:
    """The numbers of an item in each turn, (turns, numbers)."""
    first = numbers[:, 0] + numbers[:, 2] * n
    return first[None] if turns == 1 else first + np.arange(turns)[:, None] * numbers[:, 1]


def once(sequence: Sequence[Item]) -> Pattern:
    """One sequence as a pattern without loops."""
    return Pattern(
        [Segment([Item(what, np.array([[x, 0, 0] for x in xs], int).reshape(-1, 3)) for what, xs in sequence])]
    )


def rolled(sequences: Sequence[Sequence[Item]]) -> Pattern:
    """The pattern of the sequences of `LENGTHS`.

    Raises:
        ValueError: there is none.
    """
    known: dict[Any, int] = {}
    kinds = [[known.setdefault(item.what, len(known)) for item in sequence] for sequence in sequences]
    segments: list[Segment] = []
    at = [0 for _ in sequences]
    while any(i < len(sequence) for i, sequence in zip(at, sequences, strict=True)):
        segment = _loop(sequences, kinds, at) or _segment(sequences, at, 1, [1 for _ in at])
        if segment is None:
            raise ValueError("the sequences are not alike")
        at = [i + len(segment.items) * segment.turns(n) for i, n in zip(at, LENGTHS, strict=True)]
        segments.append(segment)
    return Pattern(segments)


def _loop(sequences: Sequence[Sequence[Item]], kinds: Sequence[Sequence[int]], at: Sequence[int]) -> Segment | None:
    """The loop that starts here, of the shortest turn that comes once more in a sequence which is one longer."""
    start, kind = at[0], kinds[0]
    for period in range(1, (len(kind) - start) // 2 + 1):
        turn = kind[start : start + period]
        if turn == kind[start + period : start + 2 * period]:
            # What comes after may look like another turn.
            turns = [
                next(k for k in count() if x[i + k * period :][:period] != turn) for x, i in zip(kinds, at, strict=True)
            ]
            for less in range(turns[0] - 1) if turns == [turns[0] + n - LENGTHS[0] for n in LENGTHS] else ():
                segment = _segment(sequences, at, period, [n - less for n in turns])
                if segment is not None:
                    return segment._replace(fewer=LENGTHS[0] - turns[0] + less)
    return None


def _segment(
    sequences: Sequence[Sequence[Item]], at: Sequence[int], period: int, turns: Sequence[int]
) -> Segment | None:
    """The segment of so many turns in each sequence, if the items of all are alike, and their numbers in step."""
    found = []
    for j in range(period):
        rows = [sequence[i + j : i + period * n : period] for sequence, i, n in zip(sequences, at, turns, strict=True)]
        if not all(rows) or len({len(row[0].numbers) for row in rows}) > 1:
            return None
        first = np.array(rows[0][0].numbers, int)
        b = np.array(rows[0][1].numbers, int) - first if turns[0] > 1 else 0 * first
        c = np.array(rows[1][0].numbers, int) - first  # for one step more
        found.append(Item(rows[0][0].what, np.stack([first - c * LENGTHS[0], b, c], axis=1)))
        if not all(_are(row, found[-1], n) for row, n in zip(rows, LENGTHS, strict=True)):
            return None
    return Segment(found)
