"""How primitives are written that nothing in the package knows: a user's own, and one that is entered in the table."""

import re
import subprocess
import sys

import numpy as np
import pytest
from programs import assert_close, eager

import tinygrad_rnn as tg
from tinygrad_rnn import primitives
from tinygrad_rnn.context import time_step
from tinygrad_rnn.tensor import record

WAYS = [(rolled, level) for rolled in (False, True) for level in ("named", "primitives")]


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
