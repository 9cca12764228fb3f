"""Arguments are checked in one way: what is let through, and what a message says."""

import numpy as np
import pytest

from tinygrad_rnn import checks


def test_what_is_let_through():
    assert checks.one_of("draw", "level", "named", ("named", None)) == "named"
    assert checks.one_of("draw", "level", None, ("named", None)) is None
    assert checks.one_of("draw", "values", np.True_, (True, False)) is True
    assert [checks.whole("f", "n", n, 1, 3) for n in (1, np.int8(3))] == [1, 3]
    assert type(checks.whole("f", "n", np.int8(3), 1)) is int
    assert checks.number("f", "x", np.float32(0.5), "a number", 0, 1) == 0.5
    assert checks.instance("f", "x", (int, str)) == "x"


FLAG, UNIT = (True, False), "a number from 0 to 1"


@pytest.mark.parametrize("call, error, message", [
    (lambda: checks.one_of("f", "x", "all", ("a", None)), ValueError, r"^f\(x='all'\): not one of 'a', None$"),
    (lambda: checks.one_of("", "level", "all", ("named",)), ValueError, "^level='all': not one of 'named'$"),
    (lambda: checks.one_of("f", "flag", 1, FLAG), ValueError, r"^f\(flag=1\): not one of True, False$"),
    (lambda: checks.one_of("f", "word", ["a"], ("a",)), ValueError, r"^f\(word=\['a'\]\): not one of 'a'$"),
    (lambda: checks.one_of("f", "word", np.array(["a", "b"]), ("a",)), ValueError, "not one of 'a'$"),
    (lambda: checks.whole("f", "n", 0, 1), ValueError, r"^f\(n=0\): a whole number from 1 up is needed$"),
    (lambda: checks.whole("f", "n", 4, 1, 3), ValueError, r"^f\(n=4\): a whole number from 1 to 3 is needed$"),
    (lambda: checks.whole("f", "n", 1.0, 1), TypeError, r"^f\(n=1.0\): a whole number from 1 up is needed$"),
    (lambda: checks.whole("f", "n", True, 1), TypeError, r"^f\(n=True\): a whole number from 1 up is needed$"),
    (lambda: checks.number("f", "x", np.nan, UNIT, 0, 1), ValueError, r"^f\(x=nan\): a number from 0 to 1 is needed$"),
    (lambda: checks.number("f", "x", "1", UNIT, 0, 1), TypeError, r"^f\(x='1'\): a number from 0 to 1 is needed$"),
    (lambda: checks.number("f", "x", True, UNIT, 0, 1), TypeError, r"^f\(x=True\): a number from 0 to 1 is needed$"),
    (lambda: checks.positive("", "x", 0.0), ValueError, "^x=0.0: a finite number above 0 is needed$"),
    (lambda: checks.positive("", "x", 10**400), ValueError, "a finite number above 0 is needed$"),
    (lambda: checks.instance("f(net)", 3, str, "a net"), TypeError, r"^f\(net\): a net is needed, not a int$"),
])  # fmt: skip
def test_what_a_message_says(call, error, message):
    with pytest.raises(error, match=message):
        call()
