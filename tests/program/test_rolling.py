"""Patterns: three sequences that are alike but for the turns of loops give that of every length."""

import pytest

from tinygrad_rnn.program.rolling import LENGTHS, Item, rolled


def sequence(n, *parts):
    return [Item(*item) for part in parts for item in part(n)]


def start(n):
    return [("start", (n, 3))]


def steps(n):
    """Two things a step; the second one is made of the step before."""
    return [item for t in range(n) for item in (("x", (t,)), ("h", (5 * t, t - 1, n)))]


def back(n):
    return [("dh", (t, n - t)) for t in reversed(range(1, n))]


def alike(n):
    """Two turns a step that cannot be told apart but by their numbers."""
    return [("a", (t // 2, t % 2)) for t in range(2 * n)]


def every_third(n):
    return [("h", (t,)) for t in range(0, n, 3)]


def squares(n):
    return [("h", (t * t,)) for t in range(n)]


@pytest.mark.parametrize("parts", [(start, steps), (steps, back), (start, alike, start, back), (start, start)])
def test_the_pattern_is_that_of_every_length(parts):
    pattern = rolled([sequence(n, *parts) for n in LENGTHS])
    assert sum(len(segment.items) for segment in pattern) < 12
    for n in (*LENGTHS, 25, 100):
        assert [item for segment in pattern for item in segment.all(n)] == sequence(n, *parts)


@pytest.mark.parametrize("parts", [(every_third,), (steps, squares)])
def test_what_is_no_loop_has_no_pattern(parts):
    with pytest.raises(ValueError, match="the sequences are not alike"):
        rolled([sequence(n, *parts) for n in LENGTHS])
