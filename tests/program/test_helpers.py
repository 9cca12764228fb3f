import math

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


def test_code_that_needs_another_module_is_told():
    rule = lambda g, ans, x: g * math.pi  # noqa: E731
    with pytest.raises(ValueError, match="<module 'math'.* cannot be written in NumPy"):
        source_of(tg.primitive("mine", lambda x: x * math.pi, "π {x}", rule, code="{x} * math.pi"))


def _shifted(x):
    return x - np.max(x)


def _of_a_shift(x):
    shifted = _shifted(x)
    return np.exp(shifted) / (np.sum(np.exp(shifted)) if x.ndim else 1.0)


def test_a_function_does_not_take_the_name_of_a_variable_of_its_caller(tmp_path):
    f = tg.primitive("f", _of_a_shift, "f({x})", lambda g, ans, x: ans * (g - np.sum(ans * g)))
    a = tg.Tensor([1.0, 2.0], True, "a")
    program = tg.compile(lambda: f(a)[0], wrt=a)
    namespace = {}
    exec(program.source, namespace)
    np.testing.assert_allclose(namespace["bptt"](a.data)[0], program()[0], rtol=1e-12)
