"""Structures: what was taken apart is put together again, and where they are equal, values differ in parts alone."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_rnn.program.structures import flattened, rebuilt, split


class Pair(NamedTuple):
    first: object
    second: object


LEAVES = (
    st.integers() | st.booleans() | st.none() | st.text() | st.builds(slice, st.integers(), st.none() | st.integers())
)
VALUES = st.recursive(
    LEAVES,
    lambda x: st.lists(x) | st.tuples(x, x) | st.builds(Pair, x, x) | st.dictionaries(st.text(), x),
    max_leaves=12,
)


@given(VALUES)
def test_whole_numbers(value):
    numbers = []
    structure = split(value, numbers)
    assert all(type(x) is int for x in numbers)
    assert rebuilt(structure, numbers) == value
    others = [x + 1 for x in numbers]
    again = []
    assert split(rebuilt(structure, others), again) == structure and again == others


@given(VALUES)
def test_arrays(value):
    arrays, structure = flattened({"x": np.ones(2), "more": (value, [2.0, 3], np.zeros(1))})
    assert [np.shape(x) for x in arrays[:1] + arrays[-1:]] == [(2,), (1,)]
    found = rebuilt(structure, arrays)
    assert found["x"] is arrays[0] and found["more"][2] is arrays[-1] and hash(structure) is not None


def test_what_is_no_part_is_told_apart():
    assert split([True, "a"], []) != split([1, "a"], []) != split((1, "a"), []) != split((1, "b"), [])
    assert split(np.full((2, 3), 0.5), []) == split(np.full((4, 7), 0.5), []) != split(np.full((2, 3), 0.25), [])
    assert split(np.arange(3.0), []) != split(np.arange(3.0, dtype=np.float32), [])
    with pytest.raises(TypeError, match="a set is no array, and changes unnoticed"):
        flattened([np.ones(2), {1, 2}])
