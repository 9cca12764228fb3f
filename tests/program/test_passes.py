from collections import Counter

import numpy as np
import pytest
from programs import Problem

import tinygrad_rnn as tg


def computed(function, *inputs, wrt):
    """How often each operation is in the graph of a function's loss and gradients after all passes."""
    waiting, seen = tg.compile(function, *inputs, wrt=wrt).passes[-1].tensors(), {}
    while waiting:
        node = waiting.pop()
        if id(node) not in seen:
            seen[id(node)] = node
            waiting += node.inputs
    return Counter(node.primitive.name for node in seen.values() if node.primitive is not None)


def leaf(data):
    return tg.Tensor(data, requires_grad=True)


W = leaf([1.0, 2.0, 3.0])


def test_what_no_output_needs_is_left_out():
    def loss(x):
        tg.exp(W * x)
        return tg.sum(W * x)

    assert computed(loss, np.ones(3), wrt=[W])["exp"] == 0


def test_what_depends_on_no_input_is_computed_once():
    assert computed(lambda: tg.sum(W * tg.exp(tg.Tensor([0.0, 1.0, 2.0]))), wrt=[W])["exp"] == 0


@pytest.mark.parametrize(
    "same",
    [lambda x: x * 1.0, lambda x: 1.0 * x, lambda x: x + -0.0, lambda x: x - 0.0, lambda x: x / 1.0, lambda x: +x],
)
def test_what_changes_nothing_falls_away(same):
    def loss(x):
        return tg.sum(tg.exp(same(W * x)))

    assert computed(loss, np.ones(3), wrt=[W]) == computed(lambda x: tg.sum(tg.exp(W * x)), np.ones(3), wrt=[W])


def test_numbers_are_multiplied_with_each_other():
    """Of ½ Σ d², what goes back is d itself: ½ · 2 · d."""
    _, gradient = tg.compile(lambda x: 0.5 * tg.sum(tg.square(W - x)), np.ones(3), wrt=[W]).passes[-1].tensors()
    assert gradient.primitive.name == "subtract"


@pytest.mark.parametrize(
    "function, w",
    [
        (lambda w: (w * 1e200) * 1e200, 0.0),
        (lambda w: (w * 1e-200) * 1e-200, 1e300),
        (lambda w: (w * 1e200) * 1e-200, 1e200),
        (lambda w: (w * 1e-200) * 1e200, 1e-200),
        (lambda w: (w * 1e-160) * 1e-160, 1e10),
        (lambda w: (w * 0.0) * np.inf, 1.0),
        (lambda w: 1.0 / (w + 0.0), -0.0),
        (lambda w: 1.0 / (0.0 + w), -0.0),
        (lambda w: 1.0 / (w - -0.0), -0.0),
        (lambda w: 1.0 / (w + np.array([0.0, -0.0])), -0.0),
        (lambda w: (w * np.float32(1e30)) * np.float32(1e30), np.float32(0.0)),
        (lambda w: (w * np.float32(1e-30)) * np.float32(1e-15), np.float32(1e30)),
    ],
)
def test_nothing_but_rounding_changes(function, w):
    """Neither an infinity nor a zero comes or goes with the passes, and no sign of a zero."""
    leaf_w = leaf(np.full(2, w))
    with np.errstate(all="ignore"):
        loss, (dw,) = tg.compile(lambda: tg.sum(function(leaf_w)), wrt=leaf_w)()
        exact, (dw_exact,) = tg.compile(lambda: tg.sum(function(leaf_w)), wrt=leaf_w, optimize=False)()
    np.testing.assert_allclose([loss, *dw], [exact, *dw_exact], rtol=1e-6)


@pytest.mark.parametrize("factor", [0.0, 2.0, np.nan])
def test_other_numbers_stay(factor):
    loss, _ = tg.compile(lambda x: tg.sum(W * x * factor), np.ones(3), wrt=[W])(np.ones(3))
    np.testing.assert_array_equal(loss, np.sum(W.data * factor))


def test_what_is_computed_twice_is_computed_once():
    assert computed(lambda x: tg.sum(tg.exp(W * x) * tg.exp(W * x)), np.ones(3), wrt=[W])["exp"] == 1


@pytest.mark.parametrize("T", [2, 5, 9])
@pytest.mark.parametrize("batch", [None, 4])
def test_sums_over_time_are_one_product_each(T, batch):
    """dW and dU, whatever T is; the third product is dV."""
    p = Problem(T=T, batch=batch)
    assert computed(p.loss, *p.inputs(0), wrt=p.parameters)["outer"] == 3


@pytest.mark.parametrize("kind, gates", [("RNN", 1), ("LSTM", 4), ("GRU", 3)])
@pytest.mark.parametrize("T", [3, 8])
def test_only_the_recurrence_is_left_to_be_done_step_by_step(kind, gates, T):
    """U h and ᵗU da are products of each gate and step, but for the first step's way back; W x is one a gate, and there
    are V h and ᵗV dy."""
    p = Problem(kind, T=T, batch=2)
    assert computed(p.loss, *p.inputs(0), wrt=p.parameters)["linear"] == gates * T + gates * (T - 1) + gates + 2


def test_many_to_many_readouts_are_one_product_each():
    p = Problem(T=6, many=True, batch=2)
    assert (
        computed(p.loss, *p.inputs(0), wrt=p.parameters)["linear"] == 6 + 5 + 1 + 2
    )  # U h, ᵗU dĥ, W x; V h and ᵗV dy for all steps


def test_large_arrays_are_not_stacked():
    """They would leave the processor's cache before they are needed."""
    p = Problem(T=4, batch=300, H=40)
    assert computed(p.loss, *p.inputs(0), wrt=p.parameters)["stack"] == 0


def test_a_net_of_one_s_own_without_names_is_batched_too():
    """Steps that are told by nothing but the loop have no step: nothing is batched, and nothing is wrong."""
    A, B = leaf(np.eye(3)), leaf(0.5 * np.eye(3))

    def loss(xs):
        h = tg.Tensor(np.zeros(3))
        for x in xs:
            h = np.tanh(A @ x + B @ h)
        return tg.sum(h * h)

    xs = np.random.default_rng(0).standard_normal((6, 3))
    expected = tg.grad(loss(tg.Tensor(xs)), [A, B])
    _, gradients = tg.compile(loss, xs, wrt=[A, B])(xs)
    for gradient, other in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(gradient, other.data, rtol=1e-12)


def test_one_value_can_stand_in_several_stacks():
    """h(0..T-1) and h(1..T) are one array; a third order of the same values is a copy."""
    U = leaf([[0.5, 0.1], [0.2, 0.3]])

    def loss(xs):
        h, hs = tg.Tensor(np.zeros(2), name="h"), []
        for t in range(4):
            h = tg.label(tg.tanh(tg.linear(U, h) + xs[t]), "h", step=t + 1)
            hs.append(h)
        return tg.sum(tg.stack(hs) * tg.stack(hs[::-1])) + tg.sum(tg.stack([hs[0], hs[0], hs[2]]) ** 3)

    xs = np.random.default_rng(0).standard_normal((4, 2))
    (expected,) = tg.grad(loss(tg.Tensor(xs)), [U])
    value, (dU,) = tg.compile(loss, xs, wrt=U)(xs)
    assert value == pytest.approx(loss(xs).item(), rel=1e-13)
    np.testing.assert_allclose(dU, expected.data, rtol=1e-12)
