"""How primitives are written that nothing in the package knows: a user's own, and one that is entered in the table."""

import math
import re
import subprocess
import sys

import numpy as np
import pytest
from programs import assert_close, eager
from sources import WAYS

import tinygrad_rnn as tg
from tinygrad_rnn import primitives
from tinygrad_rnn.context import time_step
from tinygrad_rnn.tensor import record


def with_branches(x, k):
    """y e^-x twice, with a comment."""
    y = np.exp(-x)
    if k > 1:  # which no expression can say
        y = y * k
    return y + y


def quietly(x):
    with np.errstate(over="ignore"):
        return 1.0 / (1.0 + np.exp(-x))


def shifted(x):
    return x - np.max(x)


def calls_another(x):
    y = shifted(x)
    return y * y


def softsign_vjp(g, ans, x):
    return g / np.square(1.0 + np.abs(x))


def calls_another_vjp(g, ans, x):
    g = 2.0 * g * (x - np.max(x))
    return g - np.where(x == np.max(x), np.sum(g), 0.0)


def first_sum_vjp(g, ans, x, n):
    places = np.concatenate([np.ones((*x.shape[:-1], n)), np.zeros((*x.shape[:-1], x.shape[-1] - n))], -1)
    return np.sum(g) * places


scale = 3.0
softsign = tg.primitive("softsign", lambda x: x / (1.0 + np.abs(x)), "softsign({x})", softsign_vjp)
branch = tg.primitive("branch", with_branches, "branch({x})", lambda g, ans, x, k: -g * ans)
quiet = tg.primitive("quiet", quietly, "{f}({x})", (lambda g, ans, x: g * ans * (1.0 - ans), "{f}′({x})"))
spread = tg.primitive("spread", calls_another, "{x}²", calls_another_vjp)
chosen = tg.primitive("chosen", lambda x: x * x if (x == x).all() else x, "{x}²", lambda g, ans, x: 2.0 * g * x)
scaled = tg.primitive("scaled", lambda x: scale * x, "3 {x}", lambda g, ans, x: 3.0 * g)
doubled = tg.primitive(
    "doubled", lambda x: np.stack([x, x]).sum(axis=0), "2 {x}", lambda g, ans, x: 2.0 * g, code="2 * {x}"
)
first_sum = tg.primitive(
    "first_sum", lambda x, n: x[..., :n].sum() + np.zeros(x.shape), "Σ {x}", first_sum_vjp,
    code="np.full(np.shape(x), np.sum(x[..., :n]))",
)  # fmt: skip
tripled = tg.primitive("tripled", lambda x: scale * x, "3 {x}", lambda g, ans, x: 3.0 * g, code="scale * {x}")
summed = tg.primitive(
    "summed", lambda x, axis: np.add.accumulate(x, axis=axis), "sums {x}",
    lambda g, ans, x, axis: np.flip(np.cumsum(np.flip(g, axis), axis=axis), axis), code="np.cumsum({x}, axis={axis})",
)  # fmt: skip
backwards = tg.primitive("backwards", lambda x: x[..., ::-1], "{x}", lambda g, ans, x: g[..., ::-1])
root = tg.primitive("root", np.cbrt, "root({x})", lambda g, ans, x: g / (3.0 * ans * ans))

OWN = {
    "an expression": (softsign, r"h = (\S+) / \(1\.0 \+ np\.abs\(\1\)\)"),
    "a branch": (
        lambda x: branch(x, 2),
        r"(?s)def with_branches\(x, k\):.*# which no expression can say.*h = with_branches\(\S+, 2\)",
    ),
    "a way to treat errors": (quiet, r"(?s)def quietly\(x\):.*np\.errstate.*h = quietly\("),
    "a function that calls another": (spread, r"(?s)def shifted\(x\):.*def calls_another\(x\):.*h = calls_another\("),
    "a lambda that chooses": (chosen, r"(?s)def chosen\(x\):.*return x \* x if .* else x\n.*h = chosen\("),
    "a number around it": (scaled, r"h = 3\.0 \* \S+\n"),
    "code": (doubled, r"h = 2 \* \S+\n"),
    "code with plain names": (lambda x: first_sum(x, 2), r"h = np\.full\(np\.shape\("),
    "code that names a number": (tripled, r"h = 3\.0 \* \S+\n"),
    "code with a keyword that is called as an argument": (lambda x: summed(x, 0), r"h = np\.cumsum\(.*, axis=0\)\n"),
    "a view": (backwards, r"h = \S+\[\.\.\., ::-1\]"),
    "a ufunc": (root, r"h = np\.cbrt\(\S+\)"),
}


def net(function):
    """A plain net with a function after its nonlinearity, its inputs, and its weights."""
    rng = np.random.default_rng(0)
    W, U = (tg.Tensor(rng.standard_normal(shape), True, name) for shape, name in (((3, 2), "W"), ((3, 3), "U")))

    def loss(xs):
        h, total = tg.Tensor(np.zeros(3)), 0.0
        for t, x in enumerate(xs, 1):
            h = tg.label(function(tg.tanh(tg.linear(W, x) + tg.linear(U, h))), "h", t)
            total = total + tg.sum(h * h)
        return total

    return loss, rng.standard_normal((4, 2)), [W, U]


@pytest.mark.parametrize("name", OWN)
def test_a_primitive_of_one_s_own_is_compiled_and_written(name):
    function, pattern = OWN[name]
    loss, xs, wrt = net(function)
    assert tg.check_gradients(lambda x: tg.sum(tg.sin(function(x))), xs[:, 0], order=2) < 1e-6
    program = tg.compile(loss, xs, wrt=wrt)
    assert_close(program(xs), eager(loss, (xs,), wrt))
    assert_close(tg.compile(loss, xs, wrt=wrt, optimize=False)(xs), eager(loss, (xs,), wrt), 0)
    for way in WAYS:
        scope = {}
        exec(program.code(*way), scope)
        assert_close(scope["bptt"](xs, *[p.data for p in wrt]), eager(loss, (xs,), wrt))
    assert re.search(pattern, re.sub(r"\bh\[\d\] =", "h =", program.source))


def test_what_is_written_of_them_needs_numpy_alone(tmp_path):
    losses = []
    for i, (function, _) in enumerate(OWN.values()):
        loss, xs, wrt = net(function)
        tg.compile(loss, xs, wrt=wrt).save(tmp_path / f"alone{i}.py", rolled=True)
        losses.append(loss(xs).item())
    np.savez(tmp_path / "arrays.npz", xs, *[p.data for p in wrt])
    code = f"""
import importlib, sys
sys.path.insert(0, {str(tmp_path)!r})
import numpy
arrays = numpy.load({str(tmp_path / "arrays.npz")!r}).values()
for i in range({len(losses)}):
    print(importlib.import_module(f"alone{{i}}").bptt(*arrays)[0].hex())
assert not any(name.startswith("tinygrad_rnn") for name in sys.modules)
"""
    alone = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert [*map(float.fromhex, alone.stdout.split())] == pytest.approx(losses, rel=1e-12)


def test_two_of_one_name_are_told_apart():
    twice = tg.primitive("same", lambda x: x + x if (x == x).all() else x, "{x}", lambda g, ans, x: 2.0 * g)
    thrice = tg.primitive("same", lambda x: 3.0 * x if (x == x).all() else x, "{x}", lambda g, ans, x: 3.0 * g)
    loss, xs, wrt = net(lambda x: twice(x) - thrice(x))
    program, scope = tg.compile(loss, xs, wrt=wrt), {}
    exec(program.source, scope)
    assert_close(scope["bptt"](xs, *[p.data for p in wrt]), eager(loss, (xs,), wrt))


def test_work_by_element_is_done_for_all_steps_at_once():
    """What it is done to waits for no step before."""
    functions = [
        tg.primitive("own", lambda x: x / (1.0 + np.abs(x)), "{x}", softsign_vjp, by_element=flag)
        for flag in (True, False)
    ]
    counts = []
    for function in functions:
        W = tg.Tensor(np.ones((3, 2)), True, "W")
        rnn = tg.nn.RNN(3, 3, rng=0)
        xs = np.random.default_rng(0).standard_normal((5, 2))

        def loss(xs, function=function, W=W, rnn=rnn):
            inputs = []
            for t, x in enumerate(xs, 1):
                with time_step(t):
                    inputs.append(function(tg.linear(W, x)))
            return tg.sum(tg.square(rnn(inputs)[0][-1]))

        program = tg.compile(loss, xs, wrt=[W, *rnn.parameters()])
        assert_close(program(xs), eager(loss, (xs,), [W, *rnn.parameters()]))
        counts.append(program.kernel.count("_own("))
    assert counts == [1, 5]


def test_a_new_row():
    """One row, and nothing else, makes it compile and print."""
    row = primitives.row("softsign", lambda x: x / (1.0 + np.abs(x)), "softsign({x})", softsign_vjp, by_element=True)
    loss, xs, wrt = net(lambda x: record(row, (x,)))
    program, scope = tg.compile(loss, xs, wrt=wrt), {}
    assert_close(program(xs), eager(loss, (xs,), wrt))
    exec(program.source, scope)
    assert_close(scope["bptt"](xs, *[p.data for p in wrt]), eager(loss, (xs,), wrt))
    assert "/ (1.0 + np.abs(tanh" in program.source


# What cannot be written as it is

NUMBERS = {1: 2.0}


def looks_up(x):
    return NUMBERS[1] * x if x.ndim < 9 and NUMBERS else x * NUMBERS[1]


def source_of(function):
    a = tg.Tensor(np.ones(3), True, "a")
    return tg.compile(lambda: tg.sum(function(a)), wrt=a).source


@pytest.mark.parametrize(
    "forward, why",
    [
        (eval("lambda x: 2.0 * x if (x == x).all() else x"), "could not get source code"),
        (lambda x: looks_up(x) if (x == x).all() else x, "it uses NUMBERS, which is neither its own nor a function"),
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
