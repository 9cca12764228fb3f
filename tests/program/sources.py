"""Sources, run and compared with the engine."""

import ast
import itertools

import numpy as np
from programs import eager

from tinygrad_rnn.program.source import written
from tinygrad_rnn.program.tracing import Run

WAYS = [(rolled, level) for rolled in (False, True) for level in ("named", "primitives")]


def trace(*of):
    return Run(*of).trace()


def compiled(text):
    namespace = {}
    exec(compile(text, "<written>", "exec"), namespace)
    return namespace["bptt"]


def assert_same(text, function, inputs, wrt, parameters, rtol=0.0):
    """To the last bit unless told otherwise, and with arrays of one's own to change."""
    loss, gradients, *_ = compiled(text)(*inputs, *[p.data for p in parameters])
    expected_loss, expected = eager(function, inputs, wrt)
    assert type(loss) is float
    np.testing.assert_allclose(loss, expected_loss, rtol=rtol)
    for got, want in zip(gradients, expected, strict=True):
        assert (np.shape(got), np.asarray(got).dtype) == (want.shape, want.dtype)
        np.testing.assert_allclose(got, want, rtol=rtol)
    owned = [g for g in gradients if np.ndim(g)]
    for a, b in itertools.combinations([*owned, *inputs, *[p.data for p in parameters]], 2):
        assert not any(a is g for g in owned) or not np.shares_memory(a, b)


def assert_written(function, inputs, wrt, ways=WAYS, rtol=0.0):
    """On the example, and with other values in all that is given."""
    found = trace(function, inputs, wrt)
    kept = [p.data.copy() for p in found.parameters]
    rng = np.random.default_rng(7)
    for rolled, level in ways:
        text = written(found, rolled, level)
        ast.parse(text)
        assert_same(text, function, inputs, wrt, found.parameters, rtol)
        for p in found.parameters:
            p.data = p.data + 0.1 * rng.standard_normal(p.shape).astype(p.dtype)
        others = [x + rng.standard_normal(x.shape).astype(x.dtype) for x in inputs]
        assert_same(text, function, others, wrt, found.parameters, rtol)
        for p, data in zip(found.parameters, kept, strict=True):
            p.data = data
    return found
