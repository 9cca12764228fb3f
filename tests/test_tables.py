"""Words for people to read."""

from tinygrad_rnn.tables import aligned, counted


def test_columns_are_as_wide_as_their_widest_cell():
    assert aligned([["name", "x"], ["a", "1.0"], ["longer", ""]]) == "name    x\n------  ---\na       1.0\nlonger"


def test_one_thing_has_no_plural():
    assert [counted(n, "step") for n in (0, 1, 2, 1000)] == ["0 steps", "1 step", "2 steps", "1,000 steps"]
    assert [counted(n, "sum over time") for n in (1, 2)] == ["1 sum over time", "2 sums over time"]
