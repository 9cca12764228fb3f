import copy
import gc
import itertools
import pickle
import tracemalloc
import weakref

import numpy as np
import pytest
import random_graphs
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import primitives
from tinygrad_rnn.backward import backward_start, fit, sweep, topological_order
from tinygrad_rnn.checking import check_gradients
from tinygrad_rnn.context import time_step
from tinygrad_rnn.errors import ShapeError
from tinygrad_rnn.tensor import Tensor, record


def leaf(data, **options):
    return Tensor(data, requires_grad=True, **options)


def test_inputs_come_before_what_is_made_from_them():
    x = leaf(1.0)
    y = x * x
    z = y + x * y
    order = topological_order(z)
    position = {node: i for i, node in enumerate(order)}
    assert len(position) == len(order) and order[-1] is z
    assert all(position[x] < position[node] for node in order for x in node.inputs)


def test_the_sweep_yields_each_node_once():
    x = leaf(1.0)
    y = x
    for _ in range(40):  # 2^40 paths
        y = y + y
    visited = [node for node, _ in sweep({y: np.array(1.0)})]
    assert len(visited) == len(set(visited)) == 41
    y.backward()
    assert x.grad == 2.0**40


def test_a_chain_of_20_000_nodes_runs_and_is_freed():
    x = leaf(1.0)
    y = x
    for _ in range(20_000):  # twenty times Python's limit of recursion
        y = y * 1.0
    y.backward()
    assert x.grad == 1.0
    node = weakref.ref(y)
    del y
    assert node() is None


def live_objects():
    return len(gc.get_objects())


def a_training_step(net, xs):
    hs, _ = net(xs)
    loss = tg.nn.half_squared_error(hs[-1], np.ones(hs[-1].shape))
    loss.backward()
    for p in net.parameters():
        p.data -= 1e-3 * p.grad
    net.zero_grad()


def a_second_derivative(net, xs):
    hs, _ = net(xs)
    gradients = tg.grad((hs[-1] * hs[-1]).sum(), net.parameters(), create_graph=True)
    sum((g * g).sum() for g in gradients).backward()
    net.zero_grad()


def a_checkpoint(net, xs):
    tg.bptt.checkpoint(net.cells[0], xs).sum().backward()
    net.zero_grad()


def an_error(net, xs):
    with pytest.raises(ShapeError):
        net(np.ones((3, 7)))


def an_anomaly(net, xs):
    with pytest.raises(tg.AnomalyError), tg.detect_anomaly():
        net(xs * np.nan)


def a_copy(net, xs):
    hs, _ = net(xs)
    copy.deepcopy([h.detach() for h in hs]), pickle.loads(pickle.dumps(net))


@pytest.mark.parametrize("use", [a_training_step, a_second_derivative, a_checkpoint, an_error, an_anomaly, a_copy])
def test_nothing_is_left_to_the_cyclic_garbage_collector(use):
    net, xs = tg.nn.RNN(1, 3, rng=0), np.ones((5, 1))
    use(net, xs)
    gc.disable()
    gc.freeze()  # what was there before is not counted, which takes time
    try:
        use(net, xs)
        before = live_objects()
        for _ in range(3):
            use(net, xs)
        assert live_objects() == before
    finally:
        gc.unfreeze()
        gc.enable()


def test_memory_is_flat_over_training_steps():
    net, xs = tg.nn.RNN(1, 2, rng=0), np.ones((2, 1))
    for _ in range(1_500):  # by then Python's own lists of spare tuples are full
        a_training_step(net, xs)
    tracemalloc.start()
    a_training_step(net, xs)
    grown = []
    for _ in range(3):
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(250):
            a_training_step(net, xs)
        grown.append(tracemalloc.get_traced_memory()[0] - before)
    tracemalloc.stop()
    assert min(grown) < 1_000, grown  # once Python may make room for more interned strings, but not every time


def test_the_backward_pass_needs_little_more_memory_than_the_values_it_goes_through():
    net, xs = tg.nn.RNN(16, 64, rng=0), np.ones((100, 32, 16))
    tracemalloc.start()
    hs, _ = net(xs)
    loss = (hs[-1] * hs[-1]).sum()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    loss.backward()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held > 5 * 100 * 32 * 64 * 8 and peak < 1.5 * held


def test_backward_accumulates():
    x = leaf(3.0)
    assert x.grad is None
    for expected in (6.0, 12.0, 18.0):
        (x * x).backward()
        assert x.grad == expected and type(x.grad) is np.ndarray


def test_gradients_of_two_leaves_are_not_one_array():
    x, y = leaf([1.0]), leaf([1.0])
    (x + y).backward([1.0])
    x.grad += 1.0
    assert y.grad == 1.0


def test_a_number_that_is_broadcast_and_used_as_it_is_keeps_every_term():
    x, v = leaf(1.0), np.ones(3)
    y = x * 10.0 + x * 100.0 + (x * v).sum() + (x * v).sum()
    for create_graph in (False, True):
        assert tg.grad(y, x, create_graph=create_graph)[0].item() == 116.0


@pytest.mark.parametrize("index", [0, slice(0, 1), (0,), [0, 0]], ids=str)
def test_an_element_of_what_is_broadcast_elsewhere_gets_its_own_cotangent_alone(index):
    x, v = leaf([1.0, 2.0, 3.0]), np.ones((5, 3))
    element = x[index].sum() * 7.0
    y = element + (x * v).sum() + (x * v).sum()
    expected = np.full(3, 10.0)
    np.add.at(expected, index, 7.0)
    for create_graph in (False, True):
        np.testing.assert_array_equal(tg.grad(y, x, create_graph=create_graph)[0].data, expected)


def test_a_backward_pass_that_fails_adds_nothing():
    wrong = primitives.Primitive("wrong", np.square, "", [lambda g, ans, x: g[:1]], ["?"], ("x",))
    x, w = leaf([1.0, 2.0], name="x"), leaf([1.0, 2.0])
    y = record(wrong, (x,)).sum() + (w * w).sum()
    with pytest.raises(ShapeError, match=r"cotangent of shape \(1,\) for x of shape \(2,\)"):
        y.backward()
    assert w.grad is None and x.grad is None


def test_a_rule_that_makes_another_shape_is_told():
    wrong = primitives.Primitive("wrong", np.square, "", [lambda g, ans, x: g[:1]], ["?"], ("x",))
    x = leaf([1.0, 2.0], name="x")
    with pytest.raises(ShapeError, match=r"cotangent of shape \(1,\) for x of shape \(2,\)"):
        record(wrong, (x,)).sum().backward()


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_sum_of_cotangents_does_not_depend_on_which_came_first(order):
    """Terms of float32 and of float64 meet at one node: each is rounded once, to the node's own dtype."""
    x = leaf([1.0, 2.0])
    narrow, wide = x.astype(np.float32), (x * np.pi).sum().astype(np.float32)
    parts = [(narrow * narrow).sum(), x.astype(np.float32).sum(), wide]
    loss = parts[order[0]] + parts[order[1]] + parts[order[2]]
    plain, recorded = (tg.grad(loss, x, create_graph=how)[0].data for how in (False, True))
    np.testing.assert_array_equal(plain, recorded)
    np.testing.assert_array_equal(plain, 2.0 * x.data + 1.0 + np.pi)


def test_every_cotangent_has_the_dtype_of_its_node():
    x, w = Tensor(np.ones(3, np.float32), requires_grad=True), leaf([0.5, 1.5, 2.5])
    y = tg.tanh(x * w) * x + w.astype(np.float32)
    for cotangent in (np.ones(3), np.ones(3, np.float32), [1, 1, 1], Tensor(np.ones(3, np.float32))):
        for node, g in sweep({y: backward_start("test", y, cotangent)}):
            assert (g.dtype, g.shape) == (node.dtype, node.shape)
        y.backward(cotangent)
        assert (x.grad.dtype, w.grad.dtype) == (np.float32, np.float64)


@pytest.mark.parametrize("cotangent", [[1j, 1.0], ["1.0", "2.0"]])
def test_a_cotangent_is_of_real_numbers(cotangent):
    with pytest.raises(TypeError, match="real numbers are needed"):
        (leaf([1.0, 2.0]) * 2.0).backward(cotangent)


def test_going_through_a_sequence_step_by_step_is_linear_in_its_length():
    """One by one, T steps of a whole do not add T arrays of the size of the whole."""
    x = leaf(np.ones((3_000, 100)))
    total = sum((row * row).sum() for row in x)
    tracemalloc.start()
    total.backward()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(x.grad, np.full((3_000, 100), 2.0))
    assert peak < 6 * x.value.nbytes


def test_only_leaves_that_require_it_get_a_gradient():
    x, c = leaf(2.0), Tensor(3.0)
    y = x * c
    (y * y).backward()
    assert (x.grad, c.grad, y.grad) == (36.0, None, None)


def test_backward_of_what_is_no_scalar_takes_a_cotangent():
    x = leaf([1.0, 2.0], name="x")
    with pytest.raises(ValueError, match=r"backward\(\): multiply of shape \(2,\) is not a scalar.*cotangent"):
        (x * x).backward()
    with pytest.raises(ShapeError, match=r"cotangent of multiply of shape \(2,\) has shape \(3,\)"):
        (x * x).backward(np.ones(3))
    (x * x).backward([1.0, 10.0])
    np.testing.assert_array_equal(x.grad, [2.0, 40.0])


def test_backward_where_no_graph_leads():
    with pytest.raises(
        ValueError, match=r"backward\(\): x of shape \(\) does not require a gradient.*requires_grad=True"
    ):
        Tensor(1.0, name="x").backward()


def test_grad_takes_leaves_and_nodes_and_leaves_grad_alone():
    x = leaf(2.0)
    y = x * x
    z = y * 3.0
    dx, dy = tg.grad(z, [x, y])
    assert (dx.item(), dy.item(), x.grad) == (12.0, 3.0, None)
    assert tg.grad(z, x)[0].item() == 12.0


def test_grad_of_what_the_output_does_not_depend_on_is_zero():
    x, other = leaf(2.0), leaf([1.0, 2.0])
    np.testing.assert_array_equal(tg.grad(x * x, other)[0].data, [0.0, 0.0])


def test_grad_refuses_what_has_none():
    x = leaf(1.0)
    with pytest.raises(ValueError, match="c of shape .* does not require a gradient"):
        tg.grad(x * x, Tensor(1.0, name="c"))
    with pytest.raises(TypeError, match="a Tensor is needed, not a float"):
        tg.grad(x * x, [1.0])
    with pytest.raises(TypeError, match="Tensor is needed, not a float"):
        tg.grad(1.0, x)


def test_gradients_of_gradients():
    x = leaf(0.3)
    derivative, expected = tg.tanh(x), []
    for _ in range(3):
        (derivative,) = tg.grad(derivative, x, create_graph=True)
        expected.append(derivative.item())
    t = np.tanh(0.3)
    np.testing.assert_allclose(expected, [1 - t**2, -2 * t * (1 - t**2), -2 * (1 - t**2) * (1 - 3 * t**2)], rtol=1e-13)


def test_the_cotangent_itself_can_be_differentiated():
    """d/dv of vᵗJ is J: forward mode by two backward sweeps."""
    x, v = leaf([1.0, 2.0]), leaf([1.0, 1.0])
    (vJ,) = tg.grad(x * x * x, x, grad_output=v, create_graph=True)
    (Ju,) = tg.grad(vJ, v, grad_output=[1.0, 10.0])
    np.testing.assert_allclose(Ju.data, [3.0, 120.0], rtol=1e-15)


def test_recorded_gradients_belong_to_the_step_of_their_node():
    x = leaf(0.5)
    with time_step(1):
        h = tg.tanh(x)
    with time_step(2, layer=3):
        h = tg.tanh(h)
    (dx,) = tg.grad(h, x, create_graph=True)
    assert dx.step == 1 and (dx.inputs[0].step, dx.inputs[0].layer) == (2, 3)


@given(
    st.lists(st.integers(0, 3), min_size=0, max_size=3),
    st.lists(st.booleans(), min_size=3, max_size=3),
    st.integers(0, 3),
)
def test_a_cotangent_is_summed_back_to_the_shape_that_was_broadcast(shape, ones, missing):
    """Σ g · broadcast(x) = Σ fit(g) · x, for every way to broadcast x."""
    rng = np.random.default_rng(0)
    small = tuple(1 if one else n for n, one in zip(shape, ones, strict=False))[min(missing, len(shape)) :]
    x, g = Tensor(rng.standard_normal(small)), rng.standard_normal(shape)
    fitted = fit(g, x)
    assert fitted.shape == x.shape
    np.testing.assert_allclose(np.sum(g * x.data), np.sum(fitted * x.data), atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(random_graphs.programs(), st.integers(0, 2**32 - 1))
def test_random_graphs_against_central_differences(program, seed):
    """And the recorded gradients are those of the arrays, bit for bit."""

    def f(x, y, s):
        return random_graphs.run(program, tg, x, y, s, Tensor(np.ones(3)))

    arrays = random_graphs.inputs(seed)
    check_gradients(f, *arrays, tolerance=1e-5)
    leaves = [leaf(a) for a in arrays]
    once, recorded = (tg.grad(f(*leaves), leaves, create_graph=create_graph) for create_graph in (False, True))
    for a, b in zip(once, recorded, strict=True):
        np.testing.assert_array_equal(a.data, b.data)


def test_a_graph_of_gradients_inside_no_grad_is_refused():
    x = leaf(2.0)
    y = x * x
    with tg.no_grad(), pytest.raises(ValueError, match="inside no_grad"):
        tg.grad(y, x, create_graph=True)
