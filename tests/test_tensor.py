import copy
import inspect
import math
import pickle
import sys
import threading

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.context import no_grad, time_step
from tinygrad_rnn.errors import ShapeError
from tinygrad_rnn.tensor import Tensor, label


def leaf(data, **options):
    return Tensor(data, requires_grad=True, **options)


@pytest.mark.parametrize(
    "data, dtype",
    [(1, "int64"), (1.0, "float64"), (np.float32(1), "float32"), (np.float16(1), "float64"), (True, "bool")],
)
def test_floating_point_is_float64_unless_the_data_is_float32(data, dtype):
    assert Tensor(data).dtype == dtype


@pytest.mark.parametrize("data", [1j, "1.0", object(), None, [object()]])
def test_only_real_numbers_are_data(data):
    with pytest.raises(TypeError, match=r"real numbers are needed"):
        Tensor(data)


def test_integers_cannot_require_a_gradient():
    with pytest.raises(TypeError, match="floating point data, such as 1.0 for 1, not int64"):
        leaf([1, 2])


def test_ragged_rows_are_refused():
    with pytest.raises(ShapeError, match="different lengths"):
        Tensor([[1.0, 2.0], [3.0]])


def test_a_tensor_is_not_data():
    with pytest.raises(TypeError, match="detach"):
        Tensor(leaf(1.0))


def test_data_is_copied():
    data = np.ones(2)
    x = leaf(data)
    y = (x * x).sum()
    data[:] = 100.0
    y.backward()
    np.testing.assert_array_equal(x.grad, [2.0, 2.0])


def test_a_node_knows_how_it_was_made():
    x = leaf(2.0, name="x")
    y = x * 3.0
    assert (y.primitive.name, y.inputs[0], y.is_leaf, x.is_leaf) == ("multiply", x, False, True)
    assert y.inputs[1].item() == 3.0


def test_inputs_without_gradient_stay_in_the_graph():
    x, W = Tensor([1.0], name="x"), leaf([[2.0]])
    assert tg.linear(W, x).inputs == (W, x)


def test_no_grad_records_nothing():
    x = leaf(1.0)
    with no_grad():
        y = x * 2.0
    assert y.is_leaf and not y.requires_grad
    assert (x * 2.0).requires_grad


def test_no_grad_is_a_decorator_too():
    @no_grad()
    def twice(x, by=2.0):
        """Twice x."""
        return x * by if x.size > 1 else twice(np.ones(2)).sum() * x * by  # itself, too

    assert twice(leaf([1.0, 2.0])).is_leaf and twice(leaf([1.0]), by=3.0).item() == 12.0
    assert (twice.__name__, twice.__doc__) == ("twice", "Twice x.")
    with pytest.raises(ShapeError):
        no_grad()(lambda x: x + np.ones(3))(leaf([1.0, 2.0]))
    assert (leaf(1.0) * 2.0).requires_grad

    def numbers():
        yield 1

    with pytest.raises(TypeError, match=r"^no_grad\(\): numbers runs in pieces; write `with tg.no_grad\(\):` inside"):
        no_grad()(numbers)


def test_an_interrupt_leaves_recording_and_steps_as_they_were():
    """Python raises it where a function begins, or where a call has returned: here at each such place in turn."""
    w, cell = leaf([2.0]), tg.nn.RNNCell(1, 1, rng=0)

    def go():
        with no_grad():
            w * 2.0
        cell(w, np.zeros(1))
        tg.grad(w * w, w, create_graph=True)
        with tg.detect_anomaly():
            pass

    def interrupted(after):
        events = iter(range(after))

        def profile(frame, event, argument):
            # What is raised where a generator goes on, Python 3.10 raises outside of it; but not so Ctrl-C
            goes_on = sys.version_info < (3, 11) and frame.f_code.co_flags & inspect.CO_GENERATOR and frame.f_lasti >= 0
            elsewhere = frame.f_code.co_filename.startswith("<frozen") or (event == "call" and goes_on)
            if event in ("call", "c_return") and not elsewhere and next(events, None) is None:
                sys.setprofile(None)
                raise KeyboardInterrupt

        sys.setprofile(profile)
        try:
            go()
        except KeyboardInterrupt:
            return True
        finally:
            sys.setprofile(None)
        return False

    go()  # so that everything is imported
    count = 0
    while interrupted(count):
        count += 1
        y = w * 2.0
        assert y.requires_grad and y.step is None and w.grad is None, count
    assert count > 100


def test_every_node_made_inside_a_step_knows_it():
    x = leaf(1.0)
    with time_step(3):
        y = x * x + 1.0
    assert [n.step for n in (y, *y.inputs)] == [3, 3, 3]
    assert (x * x).step is None


def test_label():
    x = leaf(1.0)
    assert label(x, "h", 4) is x and (x.name, x.step) == ("h", 4)
    with pytest.raises(TypeError, match="Tensor is needed"):
        label(1.0, "h")
    with pytest.raises(TypeError, match="name of a Tensor: a string is needed, not a int"):
        label(x, 3)
    with pytest.raises(TypeError, match="name of a Tensor: a string is needed"):
        Tensor(1.0, name=5)
    with pytest.raises(ValueError, match="not empty"):
        label(x, "  ")
    for step in (1.5, True, "a"):
        with pytest.raises(TypeError, match=r"label\(step=.*\): a whole number is needed"):
            label(x, "h", step)


@pytest.mark.parametrize("name, step, told", [
    (5, None, "the name of a Tensor: a string is needed, not a int"), ("", None, "the name of a Tensor is not empty"),
    ("h", True, r"h\(step=True\): a whole number is needed"), (None, "a", r"a Tensor\(step='a'\): a whole number"),
])  # fmt: skip
def test_a_figure_refuses_a_name_and_a_step_that_were_set_to_something_else(name, step, told):
    h = leaf(1.0) * 2.0
    h.name, h.step = name, step
    with pytest.raises((TypeError, ValueError), match=told):
        tg.draw.forward(h + 1.0)


def test_an_item_is_one_number():
    with pytest.raises(ValueError, match=r"item\(\): h of shape \(2,\) is more than one number, or none"):
        Tensor([1.0, 2.0], name="h").item()


def test_code_without_a_module_is_warned_of_a_lost_gradient():
    with pytest.warns(UserWarning, match="its gradient is lost"):
        exec("float(t)", {"t": leaf(1.0)})


def test_detach_cuts():
    x = leaf([1.0, 2.0])
    h = label(x * 2.0, "h", 2)
    cut = h.detach()
    assert cut.is_leaf and not cut.requires_grad and (cut.name, cut.step) == ("h", 2)
    np.testing.assert_array_equal(cut.data, h.data)


def test_a_python_number_does_not_widen_float32():
    x = leaf(np.ones(2, np.float32))
    for y in (x * 2.0, 1 - x, x / 3, x**2, x**1.5, 2.0**x, tg.relu(x), tg.sigmoid(x), tg.where(x > 0, x, 0.0)):
        assert y.dtype == np.float32
    y.sum().backward()
    assert x.grad.dtype == np.float32


OPERATORS = {
    "x + y": lambda x, y: x + y,
    "x - y": lambda x, y: x - y,
    "x * y": lambda x, y: x * y,
    "x / y": lambda x, y: x / y,
    "x ** y": lambda x, y: x**y,
    "x @ y": lambda x, y: x @ y,
}


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_take_arrays_on_either_side(name):
    f, x, y = OPERATORS[name], np.array([1.0, 2.0]), np.array([3.0, 4.0])
    for result in (f(leaf(x), leaf(y)), f(leaf(x), y), f(x, leaf(y))):
        assert isinstance(result, Tensor) and result.requires_grad
        np.testing.assert_array_equal(result.data, f(x, y))


def test_comparisons_give_plain_arrays():
    x = leaf([1.0, 2.0])
    for got, expected in [(x > 1, [False, True]), (x == x, [True, True]), (np.array([2.0, 2.0]) > x, [True, False])]:
        assert type(got) is np.ndarray
        np.testing.assert_array_equal(got, expected)


def test_augmented_assignment_makes_a_new_node():
    x = leaf(2.0)
    y = x
    y *= 3.0
    assert x.item() == 2.0 and y.item() == 6.0 and y is not x


def test_numpy_functions_record_the_same_primitives():
    x = leaf([0.5, 1.5])
    calls = {
        "tanh": np.tanh(x), "exp": np.exp(x), "log": np.log(x), "sqrt": np.sqrt(x), "abs": np.abs(x),
        "sum": np.sum(x), "max": np.max(x), "min": np.min(x), "where": np.where([True, False], x, 0.0),
        "maximum": np.maximum(x, 1.0), "minimum": np.minimum(1.0, x), "add": np.add(1.0, x),
        "reshape": np.reshape(x, (2, 1)), "transpose": np.transpose(x), "matmul": np.matmul(x, x),
        "concatenate": np.concatenate([x, x]), "stack": np.stack([x, x]), "broadcast_to": np.broadcast_to(x, (3, 2)),
    }  # fmt: skip
    assert {name: y.primitive.name for name, y in calls.items()} == {name: name for name in calls}
    assert np.mean(x, axis=0).item() == 1.0


def test_what_numpy_function_is_not_supported_says_which_is():
    x = leaf([1.0])
    with pytest.raises(TypeError, match=r"np\.nansum on a Tensor is not supported; use np\.where\."):
        np.nansum(x)
    with pytest.raises(TypeError, match=r"np\.add\.reduce"):
        np.add.reduce(x)
    with pytest.raises(TypeError, match=r"np\.add, out= on a Tensor is not supported; np\.add without it is supported"):
        np.add(x, x, out=np.zeros(1))


def test_an_array_is_not_silently_made_from_a_tensor_with_gradient():
    x = leaf([1.0])
    with pytest.raises(TypeError, match="would lose its gradient"):
        np.array([x, x])
    np.testing.assert_array_equal(np.asarray(Tensor([1.0])), [1.0])


def test_shapes_that_do_not_fit_are_named():
    x, y = leaf(np.ones(3), name="x"), leaf(np.ones(4), name="y")
    with time_step(7), pytest.raises(ShapeError, match=r"add\(x of shape \(3,\), y of shape \(4,\)\) at step 7"):
        x + y
    with pytest.raises(IndexError, match=r"getitem\(x of shape \(3,\)\)"):
        x[5]
    with pytest.raises(ShapeError, match=r"sum\(x of shape \(3,\)\).*axis 2"):
        x.sum(axis=2)


def test_iteration_and_length():
    x = leaf([[1.0, 2.0], [3.0, 4.0]])
    assert len(x) == 2
    first, second = x
    (first * second).sum().backward()
    np.testing.assert_array_equal(x.grad, [[3.0, 4.0], [1.0, 2.0]])
    with pytest.raises(TypeError, match="no axes"):
        len(leaf(1.0))


def test_indexing_takes_what_numpy_takes():
    data = np.arange(12.0).reshape(3, 4)
    x = leaf(data)
    for index in [1, -1, slice(None, None, -1), (..., None), [2, 0, 2], np.array([True, False, True]), data > 5]:
        np.testing.assert_array_equal(x[index].data, data[index])
    np.testing.assert_array_equal(x[Tensor([0, 2])].data, data[[0, 2]])


def test_repr_shows_value_and_origin():
    x = leaf([1.0, 2.0], name="x")
    assert repr(x) == "Tensor([1., 2.], requires_grad=True, name='x')"
    assert repr(label(x.sum(), "L", 2)) == "Tensor(3., primitive=sum, name='L', step=2)"


def test_methods_are_numpy_s():
    data = np.arange(6.0).reshape(2, 3)
    x = leaf(data)
    for ours, theirs in [
        (x.T, data.T), (x.mean(axis=0), data.mean(axis=0)), (x.reshape(3, 2), data.reshape(3, 2)),
        (x.reshape((6,)), data.ravel()), (x.transpose(1, 0), data.T), (x.max(axis=1), data.max(axis=1)),
        (x.sum(axis=(0, 1), keepdims=True), [[15.0]]), (-x, -data), (+x, data), (abs(-x), data),
    ]:  # fmt: skip
        np.testing.assert_array_equal(ours.data, theirs)
    assert (x.shape, x.ndim, x.size, x[1, 2].item()) == ((2, 3), 2, 6, 5.0)


def test_pickles_and_copies_leave_the_graph_behind():
    W = leaf([1.0, 2.0], name="W")
    h = label(tg.tanh(W), "h", 3)
    h.sum().backward()
    for copied in (lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy):
        with pytest.warns(UserWarning, match=r"^h\(3\) of shape \(2,\) is copied .* lost; .*\.detach\(\)") as told:
            leaf_again, node_again = copied((W, h))
        assert told[0].filename == __file__
        assert (leaf_again.name, leaf_again.requires_grad, leaf_again.is_leaf) == ("W", True, True)
        assert (node_again.name, node_again.step, node_again.requires_grad, node_again.is_leaf) == ("h", 3, False, True)
        np.testing.assert_array_equal(leaf_again.grad, W.grad)
        leaf_again.data[:] = 0.0
        np.testing.assert_array_equal(W.data, [1.0, 2.0])


def test_a_module_s_copy_is_a_module_of_its_own():
    rnn = tg.nn.RNN(2, 3, rng=0)
    for again in (pickle.loads(pickle.dumps(rnn)), copy.deepcopy(rnn)):
        xs = np.ones((3, 2))
        np.testing.assert_array_equal(again(xs)[0][-1].data, rnn(xs)[0][-1].data)
        again(xs)[0][-1].sum().backward()
        assert all(p.grad is not None for p in again.parameters()) and all(p.grad is None for p in rnn.parameters())


def test_threads_record_for_themselves():
    """no_grad and time_step in one thread are not seen in another, and graphs made side by side do not mix."""
    x, barrier, found = leaf(2.0), threading.Barrier(3), {}

    def work(number):
        barrier.wait()
        if number == 0:
            with no_grad():
                barrier.wait()
                found[0] = (x * 2.0).requires_grad
                barrier.wait()
        else:
            with time_step(number):
                barrier.wait()
                y = x
                for _ in range(2000):
                    y = y * 1.0
                found[number] = (y.requires_grad, y.step, tg.grad(y, x)[0].item())
                barrier.wait()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {0: False, 1: (True, 1, 1.0), 2: (True, 2, 1.0)}


CHANGES = {
    "in place": lambda x: x.data.__setitem__(0, 10.0),
    "by augmented assignment": lambda x: exec("x.data -= 5.0", {"x": x}),
    "by assignment": lambda x: setattr(x, "data", np.array([7.0, 8.0])),
    "through NumPy's out": lambda x: np.multiply(x.data, 3.0, out=x.data),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_graph_keeps_the_values_it_was_made_of(change):
    x = leaf([1.0, 2.0])
    y = (x * x * tg.exp(x)).sum()
    before, expected = x.numpy(), tg.grad(y, x)[0].numpy()
    change(x)
    assert not np.array_equal(x.data, before)
    y.backward()
    np.testing.assert_array_equal(x.grad, expected)
    np.testing.assert_array_equal((x * 1.0).data, x.data)


def test_a_value_that_was_computed_cannot_be_changed():
    x = leaf([1.0, 2.0], name="x")
    y = tg.exp(x)
    with pytest.raises(ValueError, match="read-only"):
        y.data[0] = 100.0
    with pytest.raises(ValueError, match="read-only"):
        x.reshape(2, 1).data[0] = 100.0
    with pytest.raises(ValueError, match="was made by exp; only the data of a leaf can be set"):
        y.data = np.ones(2)


def test_outside_of_graphs_data_is_free():
    x = leaf([1.0, 2.0])
    with no_grad():
        y = x.reshape(2, 1)
    y.data[:] = 0.0
    np.testing.assert_array_equal(x.data, [1.0, 2.0])


def test_a_graph_of_gradients_wants_its_inputs_as_they_were():
    x = leaf([1.0, 2.0], name="x")
    y = (x * x).sum()
    assert x.data[0] == 1.0  # a look changes nothing
    np.testing.assert_array_equal(tg.grad(y, x, create_graph=True)[0].data, [2.0, 4.0])
    x.data[0] = 5.0
    with pytest.raises(
        ValueError, match=r"x of shape \(2,\) has changed since multiply of shape \(2,\) was made of it"
    ):
        tg.grad(y, x, create_graph=True)


@pytest.mark.parametrize("turned", [lambda a: a.T, lambda a: a[::-1]], ids=["transposed", "reversed"])
def test_data_may_be_set_to_another_view_of_itself(turned):
    x = leaf([[1.0, 2.0], [3.0, 4.0]])
    expected = turned(x.numpy())
    x.data = turned(x.data)
    np.testing.assert_array_equal(x.data, expected)


def test_data_that_cannot_carry_a_gradient_is_refused():
    x = leaf([1.0, 2.0], name="x")
    with pytest.raises(TypeError, match="x of shape .* cannot be int64"):
        x.data = np.array([1, 2])


VIEWS = {"row": lambda a: a[:1], "whole": lambda a: a[:], "reshaped": lambda a: a.reshape(-1, 1)}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize("of_constant", [False, True], ids=["parameter", "constant"])
def test_a_view_that_was_handed_out_writes_to_the_leaf_and_to_no_graph(view, of_constant):
    x, w = leaf([1.0, 2.0]), Tensor([3.0, 4.0])
    seen = w if of_constant else x
    alias = view(seen.data)
    for number in (100.0, 200.0):
        y, before = (x.reshape(2) * x * w).sum(), (x.numpy(), w.numpy())
        alias[0] = number
        x.grad = None
        y.backward()
        np.testing.assert_array_equal(x.grad, 2.0 * before[0] * before[1])
        assert seen.data[0] == seen.numpy()[0] == (seen * 1.0).data[0] == number


def test_an_array_that_was_handed_out_and_its_buffer_write_to_the_leaf_and_to_no_graph():
    x = leaf([1.0, 2.0])
    alias, buffer = x.data, memoryview(x.data)
    alias[0] = 3.0
    y = (x * x).sum()
    alias[0], buffer[1] = 5.0, 7.0
    y.backward()
    np.testing.assert_array_equal(x.grad, [6.0, 4.0])
    np.testing.assert_array_equal((x * 1.0).data, [5.0, 7.0])


def test_a_leaf_that_nobody_looks_at_any_more_is_not_copied():
    x = leaf([1.0, 2.0])
    x.data -= 1.0
    y = x * x
    assert y.arguments[0] is x.value
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, [0.0, 2.0])


def test_data_keeps_its_shape():
    x = leaf([1.0, 2.0], name="x")
    with pytest.raises(ShapeError, match=r"data of x of shape \(2,\) cannot have the shape \(3,\)"):
        x.data = np.ones(3)


def test_a_look_at_a_nan_changes_nothing():
    x = leaf([np.nan, 1.0])
    y = (x * x).sum()
    x.data  # noqa: B018
    assert tg.grad(y, x, create_graph=True)[0].data[1] == 2.0


def test_a_scalar_is_formatted_like_its_number():
    x = Tensor(np.pi)
    assert (f"{x:.3f}", f"{Tensor([np.pi]):.1e}", f"{x}") == ("3.142", "3.1e+00", str(x))
    with pytest.raises(TypeError, match="format"):
        f"{Tensor([1.0, 2.0]):.3f}"


def test_elements_are_not_assigned():
    x = leaf([1.0, 2.0], name="x")
    with pytest.raises(TypeError, match=r"elements of x of shape \(2,\) cannot be assigned.*tg\.where"):
        x[0] = 3.0


def test_backward_runs_twice_through_one_graph():
    x = leaf([1.0, 2.0])
    y = (x * x).sum()
    for times in (1, 2):
        y.backward()
        np.testing.assert_array_equal(x.grad, times * 2.0 * x.data)


def test_a_graph_keeps_its_index_its_condition_and_its_axes():
    x, i, c, axes = leaf([[1.0, 2.0, 3.0]]), np.array([0]), np.array([True, False, False]), [1, 0]
    y = x[0, i].sum() + tg.where(c, x[0], 0.0).sum() + (tg.transpose(x, axes) * np.array([[1.0], [2.0], [3.0]])).sum()
    i[0], c[:], axes[:] = 2, False, [0, 1]
    y.backward()
    np.testing.assert_array_equal(x.grad, [[3.0, 2.0, 3.0]])


def test_no_grad_may_be_entered_again():
    nothing = no_grad()
    with nothing, nothing:
        assert (leaf(1.0) * 2.0).is_leaf
    assert not (leaf(1.0) * 2.0).is_leaf


def test_a_copy_has_a_gradient_of_its_own():
    x = leaf([1.0])
    x.grad = np.array([2.0])
    copy.copy(x).grad[0] = 99.0
    assert x.grad[0] == 2.0


def test_a_masked_array_is_refused():
    with pytest.raises(TypeError, match="masked array"):
        Tensor(np.ma.array([1.0, 2.0], mask=[False, True]))


TAKEN = {
    "element": lambda y, a: a.__setitem__(0, y),
    "fill": lambda y, a: a.fill(y),
    "flat": lambda y, a: a.flat.__setitem__(1, y),
    "math": lambda y, a: math.exp(y),
    "float": lambda y, a: float(y),
    "float64": lambda y, a: np.float64(y),
    "complex": lambda y, a: complex(y),
    "list": lambda y, a: math.fsum([y, 1.0]),
}


@pytest.mark.parametrize("take", TAKEN.values(), ids=TAKEN)
def test_a_gradient_is_not_lost_unsaid(take):
    """NumPy and math ask for a number where they need one: it is told of, at the line of the one who gave a Tensor."""
    y = leaf([1.0, 2.0]) @ leaf([0.5, 0.25], name="h")
    with pytest.warns(
        UserWarning, match=r"^matmul of shape \(\) becomes a number here, and its gradient is lost; .*\.item\(\)"
    ) as told:
        take(y, np.zeros(2))
    assert told[0].filename == __file__
    take(y.item(), np.zeros(2))
    take(y.detach(), np.zeros(2))
    with no_grad():
        take(y, np.zeros(2))


@pytest.mark.parametrize("grad, error", [
    (np.ones((2, 2)), ShapeError), (np.ones(1), ShapeError), (0.0, ShapeError), (Tensor([[1.0, 2.0]]), ShapeError),
    ("a", TypeError), ([1j, 1.0], TypeError), (["1.0", "2.0"], TypeError), ([None, 1.0], TypeError),
])  # fmt: skip
def test_a_grad_that_does_not_fit_is_refused_when_it_is_set(grad, error):
    p = leaf([3.0, 4.0], name="p")
    p.grad = [1.0, 2.0]
    with pytest.raises(error, match=r"^the \.grad of p of shape \(2,\)"):
        p.grad = grad
    np.testing.assert_array_equal(p.grad, [1.0, 2.0])


def test_a_grad_is_an_array_of_its_tensor_s_dtype():
    p = Tensor(np.ones(2, np.float32), requires_grad=True)
    for grad in (np.array([1.0, 2.0]), [1, 2], leaf([1.0, 2.0]), np.array([1.0, 2.0], np.float32)):
        p.grad = grad
        assert type(p.grad) is np.ndarray and p.grad.dtype == np.float32 and p.grad.tolist() == [1.0, 2.0]
    p.grad *= 2.0
    p.grad[0] = 5.0
    assert p.grad.tolist() == [5.0, 4.0]
    with pytest.raises(TypeError, match="holds int64"):
        Tensor([1, 2]).grad = np.ones(2)


def test_what_requires_a_gradient_is_checked_when_it_is_set():
    """A node that were told to require none would cut the way back, unseen."""
    x, n = leaf([1.0]), Tensor([1, 2], name="n")
    with pytest.raises(ValueError, match=r"the requires_grad of multiply of shape \(1,\) cannot be set"):
        (x * 3.0).requires_grad = False
    with pytest.raises(TypeError, match="floating point data, such as 1.0 for 1, not int64"):
        n.requires_grad = True
    for wrong in ("False", None, 2):
        with pytest.raises(ValueError, match=r"Tensor\(requires_grad="):
            x.requires_grad = wrong
    x.requires_grad = np.False_
    assert x.requires_grad is False and not (x * 3.0).requires_grad


@pytest.mark.parametrize("data", [np.array([200], np.uint8), np.array([50_000], np.int32), np.array([3])])
def test_the_square_of_a_whole_number_is_as_wide_as_numpy_s(data):
    for exponent in (2, 2.0):
        assert (Tensor(data) ** exponent).item() == (data**exponent).item()
