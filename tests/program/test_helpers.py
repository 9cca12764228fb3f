import numpy as np
import pytest

import tinygrad_rnn as tg

TABLE = {1: 2.0}


def looks_up(x):
    return TABLE[1] * x if x.ndim < 9 and TABLE else x * TABLE[1]


def source_of(function):
    a = tg.Tensor(np.ones(3), True, "a")
    return tg.compile(lambda: tg.sum(function(a)), wrt=a).source


@pytest.mark.parametrize(
    "forward, why",
    [
        (eval("lambda x: 2.0 * x if (x == x).all() else x"), "could not get source code"),
        (lambda x: looks_up(x) if (x == x).all() else x, "it uses TABLE, which is neither its own nor a function"),
        (np.vectorize(lambda x: 2.0 * x), "is no function of Python"),
    ],
)
def test_what_cannot_be_written_is_told(forward, why):
    """Until there is code for it."""
    rule = lambda g, ans, x: 2.0 * g  # noqa: E731
    hint = rf"the primitive 'mine' cannot be written as NumPy: .*{why}.*; say how it is written, as tg.primitive"
    with pytest.raises(ValueError, match=hint):
        source_of(tg.primitive("mine", forward, "2 {x}", rule))
    assert "2.0 * a" in source_of(tg.primitive("mine", forward, "2 {x}", rule, code="2.0 * {x}"))
