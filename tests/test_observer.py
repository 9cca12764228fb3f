import gc
import weakref

import numpy as np
import pytest

import tinygrad_rnn as tg


def net():
    return tg.nn.RNN(2, 3, rng=0), tg.nn.Linear(3, 1, rng=1), np.random.default_rng(2).standard_normal((5, 2))


def test_what_a_hook_returns_goes_on_in_the_place_of_the_gradient():
    x = tg.Tensor([1.0, 2.0], requires_grad=True)
    y = x * x
    y.register_hook(lambda g: 10.0 * g)
    x.register_hook(lambda g: g + 1.0)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, [21.0, 41.0])  # 10 · 2x + 1


def test_a_hook_sees_the_gradient_once_and_complete():
    x, seen = tg.Tensor(3.0, requires_grad=True), []
    x.register_hook(lambda g: seen.append(g.item()))
    (x * x + x).backward()
    assert seen == [7.0] and x.grad == 7.0


def test_a_function_that_is_there_twice_is_removed_once_by_each_handle():
    x = tg.Tensor(1.0, requires_grad=True)
    first, second = (x.register_hook(np.negative) for _ in range(2))
    first.remove()
    first.remove()
    assert tg.grad(3.0 * x, x)[0].item() == -3.0
    second.remove()
    assert tg.grad(3.0 * x, x)[0].item() == 3.0


def test_hooks_run_in_their_order_until_they_are_removed():
    x = tg.Tensor(1.0, requires_grad=True)
    first, second = x.register_hook(lambda g: g + 1.0), x.register_hook(lambda g: 3.0 * g)
    for expected in (6.0, 3.0, 1.0):
        (dx,) = tg.grad(+x, x)
        assert dx.item() == expected
        (first if expected == 6.0 else second).remove()
    first.remove()  # where that is done, it does nothing
    x.register_hook(lambda g: 5.0 * g)
    del first, second
    assert tg.grad(+x, x)[0].item() == 5.0


@pytest.mark.parametrize("threshold", [0.02, 1e3])
def test_the_remedy_of_module_5_clips_the_gradient_in_each_time_step(threshold):
    """Module 5: "in each time step, we can check if the gradient > threshold. If yes, then normalize it."

    Against eqs. 7.6 and 7.8 by hand, with dh(t) normalised; the recorded gradient and the program are the same.
    """
    rnn, readout, xs = net()
    W, U, b = rnn.parameters()

    def loss(xs):
        hs, _ = rnn(xs)
        for h in hs:
            h.register_hook(lambda g: g * np.minimum(1.0, threshold / g.norm()))
        return tg.nn.half_squared_error(readout(hs[-1]), np.ones(1))

    h, hs = np.zeros(3), [np.zeros(3)]
    for x in xs:
        h = np.tanh(W.data @ x + U.data @ h + b.data)
        hs.append(h)
    dh, dU = readout.V.data.T @ (readout.V.data @ h + readout.c.data - 1.0), np.zeros((3, 3))
    for t in range(5, 0, -1):
        dh = dh * min(1.0, threshold / np.linalg.norm(dh))
        dU += np.outer(dh * (1 - hs[t] ** 2), hs[t - 1])
        dh = U.data.T @ (dh * (1 - hs[t] ** 2))

    L = loss(xs)
    (recorded,) = tg.grad(L, U, create_graph=True)
    _, (compiled,) = tg.compile(loss, xs, wrt=[U])(xs)
    _, (literal,) = tg.compile(loss, xs, wrt=[U], optimize=False)(xs)
    for found in (recorded, compiled, literal, sum(tg.bptt.contributions(L, U)), tg.grad(L, U)[0]):
        np.testing.assert_allclose(found, dU, rtol=1e-12, atol=1e-16)
    plain = tg.grad(tg.nn.half_squared_error(readout(rnn(xs)[0][-1]), np.ones(1)), U)[0]
    assert np.allclose(plain, dU) is (threshold > 1)


def test_what_a_hook_makes_is_differentiated_again():
    x = tg.Tensor(2.0, requires_grad=True)
    y = x**3
    y.register_hook(lambda g: g * x**2)  # dx = x² · 3x² = 3x⁴
    (dx,) = tg.grad(y, x, create_graph=True)
    assert dx.item() == 48.0 and tg.grad(dx, x)[0].item() == 96.0  # 12x³


def test_a_program_follows_the_hooks_of_parameters():
    p = tg.nn.Parameter([1.0, 2.0], name="p")
    program = tg.compile(lambda x: (p * x).sum(), np.ones(2), wrt=[p])
    handle = p.register_hook(lambda g: 2.0 * g)
    np.testing.assert_array_equal(program(np.ones(2))[1][0], [2.0, 2.0])
    handle.remove()
    np.testing.assert_array_equal(program(np.ones(2))[1][0], [1.0, 1.0])
    p.register_hook(lambda g: None)
    with pytest.raises(TypeError, match="a hook that returns nothing cannot be part of a program; return the gradient"):
        program(np.ones(2))


@pytest.mark.parametrize("level", ["named", "primitives"])
def test_a_figure_marks_what_has_a_hook(level):
    rnn, readout, xs = net()
    hs, _ = rnn(xs)
    hs[1].register_hook(lambda g: 0.0 * g)
    loss = tg.nn.half_squared_error(readout(hs[-1]), np.ones(1))
    marked = [node.label.split()[0] for node in tg.draw.backward(loss, level=level).nodes if node.note == "hook"]
    assert marked == ["dh⁽²⁾"]
    assert not any(node.note for node in tg.draw.forward(loss, level=level).nodes)


def test_no_equation_is_printed_for_a_gradient_that_a_hook_may_change():
    rnn, readout, xs = net()

    def loss(xs):
        hs, _ = rnn(xs)
        hs[2].register_hook(lambda g: 0.5 * g)
        return tg.nn.half_squared_error(readout(hs[-1]), np.ones(1))

    handle = rnn.cells[0].b.register_hook(lambda g: 0.5 * g)
    source = tg.compile(loss, xs, wrt=rnn).source
    comments = "".join(line for line in source.splitlines(keepends=True) if "#" in line)
    assert "dh(2) = ᵗU dĥ" in comments and "dh(3) =" not in comments
    assert "dU = Σ dĥ ᵗh(t−1)" in comments and "db =" not in comments
    handle.remove()
    assert "db = Σ dĥ" in tg.compile(loss, xs, wrt=rnn).source
    page = tg.draw.forward(loss(xs)).page().source
    assert "the way back is not played" in page


@pytest.mark.parametrize("which", [None, "product", "loss"])
def test_no_equation_is_printed_for_a_gradient_that_comes_through_a_hook_on_what_has_no_name(which):
    p = tg.nn.Parameter([1.0, 2.0], name="p")

    def loss(x):
        product = p * x
        total = tg.square(product).sum()
        if which is not None:
            {"product": product, "loss": total}[which].register_hook(lambda g: 3.0 * g)
        return total

    assert ("# dp = 2 p" in tg.compile(loss, [1.0, 1.0], wrt=p).source) == (which is None)


def test_what_cannot_follow_a_hook_says_so():
    rnn, readout, xs = net()
    hs, _ = rnn(xs)
    hs[1].register_hook(lambda g: 0.0 * g)
    loss = tg.nn.half_squared_error(readout(hs[-1]), np.ones(1))
    for call in (
        lambda: tg.bptt.expansion(loss, rnn.cells[0].U),
        lambda: tg.bptt.jacobian(hs[-1], hs[0]),
        lambda: tg.bptt.contribution_table([loss], rnn.cells[0].U),
    ):
        with pytest.raises(ValueError, match=r"h\(2\) of shape \(3,\) has a hook, which may change .*; remove\(\) it"):
            call()


def test_a_hook_that_is_none_is_refused():
    x = tg.Tensor([1.0, 2.0], requires_grad=True, name="x")
    with pytest.raises(TypeError, match=r"register_hook\(hook\): a function of the gradient is needed, not a int"):
        x.register_hook(3)
    with pytest.raises(ValueError, match=r"register_hook\(hook\): y of shape \(\) does not require a gradient"):
        tg.Tensor(1.0, name="y").register_hook(print)
    x.register_hook(lambda g: g.sum())
    with pytest.raises(tg.ShapeError, match=r"the hook of x of shape \(2,\) returns a gradient of shape \(\)"):
        x.sum().backward()
    assert x.grad is None


def test_float32_stays_float32():
    x = tg.Tensor(np.ones(2, np.float32), requires_grad=True)
    x.register_hook(lambda g: np.array([1, 2]))
    (dx,) = tg.grad(x.sum(), x)
    assert dx.dtype == np.float32 and dx.tolist() == [1.0, 2.0]


def test_hooks_are_freed_with_their_graph():
    gc.disable()
    try:
        h = tg.tanh(tg.Tensor(np.ones(3), requires_grad=True))
        h.register_hook(lambda g: 2.0 * g)
        gone = weakref.ref(h)
        del h
        assert gone() is None
    finally:
        gc.enable()
