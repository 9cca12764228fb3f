import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import primitives
from tinygrad_rnn.checking import central_differences, check_parameters, samples
from tinygrad_rnn.observer import observer
from tinygrad_rnn.tensor import record


def test_returns_the_largest_relative_error():
    assert 0.0 <= tg.check_gradients(lambda x: (x**3).sum(), [1.0, 2.0]) < 1e-9


def test_a_slightly_wrong_rule_is_found():
    """The checker itself is checked: a derivative that is off by 0.05 % does not pass."""
    wrong = primitives.Primitive("wrong", np.tanh, "", [lambda g, ans, x: g * (1.0005 - ans * ans)], ["?"], ("x",))
    with pytest.raises(
        tg.GradientError, match=r"input 0 of shape \(2,\) at \(1,\): the gradient is .* central differences give"
    ):
        tg.check_gradients(lambda x: (record(wrong, (x,)) * np.array([0.0, 1.0])).sum(), [0.1, 0.2])


def test_a_nan_is_no_agreement():
    with np.errstate(invalid="ignore"), pytest.raises(tg.GradientError, match="nan"):
        tg.check_gradients(lambda x: (x - 1.0).sum() * np.nan, [0.5])


def test_second_order():
    assert tg.check_gradients(lambda x, y: (x * x * y).sum(), [1.0, 2.0], [3.0, 4.0], order=2) < 1e-8


@pytest.mark.parametrize("f", [lambda x: x, lambda x: 1.0])
def test_what_is_no_scalar_is_refused(f):
    with pytest.raises(ValueError, match="returns a Tensor that is a scalar"):
        tg.check_gradients(f, [1.0, 2.0])


def test_a_function_that_is_not_deterministic_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"f gave .*, then .* for the same inputs.*deterministic"):
        tg.check_gradients(lambda x: (x * rng.standard_normal()).sum(), [1.0])


@pytest.mark.parametrize("x", [[1j], ["1"], [None]])
def test_inputs_are_real_numbers(x):
    with pytest.raises(TypeError, match="real numbers are needed"):
        tg.check_gradients(lambda x: x.sum(), x)


def test_order_is_positive():
    with pytest.raises(ValueError, match=r"order=0\): a whole number from 1 up is needed"):
        tg.check_gradients(lambda x: x.sum(), [1.0], order=0)


def test_gradients_are_checked_inside_no_grad_too():
    with tg.no_grad():
        assert tg.check_gradients(lambda x: (x * x).sum(), [1.0, 2.0], order=2) < 1e-6
        assert not (tg.Tensor(1.0, requires_grad=True) * 2.0).requires_grad


def test_what_is_checked_is_a_function_and_the_order_a_whole_number():
    with pytest.raises(TypeError, match=r"check_gradients\(f, \*inputs\): a function of Tensors is needed, not a int"):
        tg.check_gradients(3, [1.0])
    with pytest.raises(TypeError, match=r"check_gradients\(order=1.5\): a whole number from 1 up is needed"):
        tg.check_gradients(lambda x: x.sum(), [1.0], order=1.5)


def test_parameters_are_put_back():
    W = tg.Tensor([1.0, 2.0], requires_grad=True, name="W")
    errors = check_parameters(lambda: (W * W).sum(), [W])
    assert max(errors) < 1e-9
    np.testing.assert_array_equal(W.data, [1.0, 2.0])


def test_central_differences_of_a_parabola():
    x = tg.Tensor([1.0, -2.0])
    np.testing.assert_allclose(central_differences(lambda: np.sum(x**2).item(), x), [2.0, -4.0], rtol=1e-9)
    np.testing.assert_array_equal(x.data, [1.0, -2.0])


def test_the_first_value_that_is_no_number_says_where_it_arose():
    cell = tg.nn.RNNCell(1, 2, nonlinearity="identity", rng=0)
    cell.W.data[:] = 1e200
    h = None
    with pytest.raises(tg.AnomalyError) as caught, tg.detect_anomaly():
        for _ in range(9):
            h = cell([1e100], h)
            h * h
    message = str(caught.value)
    assert "multiply of shape (2,) (2 of 2 inf) was made by multiply from h(1) of shape (2,) (from 1e+300" in message
    assert "test_checking.py" in message and "h * h" in message


def test_the_step_is_named():
    rnn = tg.nn.RNN(1, 2, nonlinearity="relu", rng=0)
    rnn.cells[0].U.data[:] = 1e60
    of_step_6 = r"linear\(6\) of shape \(2,\) \(2 of 2 inf\) was made by linear from U "
    with pytest.raises(tg.AnomalyError, match=of_step_6), tg.detect_anomaly():
        rnn(np.ones((20, 1)), [np.ones(2)])


def test_data_that_is_no_number_is_told_apart():
    what = r"x of shape \(2,\) \(1 of 2 nan\) went into tanh"
    with pytest.raises(tg.AnomalyError, match=what), tg.detect_anomaly():
        tg.tanh(tg.Tensor([np.nan, 1.0], name="x"))


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_gradient_that_is_no_number_names_its_primitive_and_line(create_graph):
    x = tg.Tensor([0.0, 1.0], requires_grad=True, name="x")
    with pytest.raises(tg.AnomalyError) as caught, tg.detect_anomaly():
        y = tg.sqrt(x).sum()
        tg.grad(y, x, create_graph=create_graph)
    message = str(caught.value)
    assert "the gradient of x of shape (2,) (from 0 to 1), passed back by sqrt through its input 0" in message
    assert "y = tg.sqrt(x).sum()" in message
    if create_graph:  # the gradient is itself made by primitives, and the first that fails says so too
        assert "(1 of 2 inf) was made by divide from" in message and "tg.grad(y, x" in message
    else:
        assert "is 1 of 2 inf" in message


def test_a_layer_of_a_net_is_named():
    rnn = tg.nn.RNN(1, 2, num_layers=2, nonlinearity="identity", rng=0)
    rnn.cells[0].W.data[:] = 1.0
    rnn.cells[1].W.data[:] = 1.0
    rnn.cells[1].U.data[:] = 1e200
    what = r"linear\(2\) of layer 2 of shape \(2,\) \(2 of 2 inf\) was made by linear from U .*, h\(1\) of layer 2 of"
    with pytest.raises(tg.AnomalyError, match=what), tg.detect_anomaly():
        rnn(np.ones((3, 1)), [np.zeros(2), np.ones(2)])


def test_which_use_of_an_input_went_wrong_is_named():
    q = tg.Tensor(-1.0, requires_grad=True, name="q")
    by_exponent = "passed back by power through its input 1, is 1 of 1 nan"
    with pytest.raises(tg.AnomalyError, match=by_exponent), tg.detect_anomaly():
        tg.power(q, q).backward()


def test_watching_holds_nothing_that_is_gone():
    with tg.detect_anomaly():
        x = tg.Tensor([1.0], requires_grad=True)
        for _ in range(100):
            (x * x).sum().backward()
        assert len(observer.get()._lines) == 0


def test_a_sum_of_gradients_that_overflows_is_found():
    x = tg.Tensor([0.1], requires_grad=True, name="x")
    all_in_all = r"the gradient of x of shape \(1,\) \(from 0.1 to 0.1\), all in all, is 1 of 1 inf"
    with pytest.raises(tg.AnomalyError, match=all_in_all), tg.detect_anomaly():
        (x * 1e308 + x * 1e308).backward([1.0])
    x.grad = np.array([1.7e308])
    with pytest.raises(tg.AnomalyError, match=all_in_all), tg.detect_anomaly():
        (x * 1e308).backward([1.0])
    with pytest.raises(tg.AnomalyError, match=r"x of shape \(1,\).* is 1 of 1 nan"), tg.detect_anomaly():
        x.backward([np.nan])


def test_outside_nothing_is_watched():
    with tg.detect_anomaly():
        pass
    with np.errstate(divide="ignore"):
        assert np.isinf((tg.Tensor(1.0) / 0.0).item())


@pytest.mark.parametrize("options", [
    {"tolerance": np.nan}, {"tolerance": np.inf}, {"tolerance": 0}, {"step": 0}, {"step": -1e-5}, {"step": np.nan},
    {"step": np.inf}, {"order": np.nan},
])  # fmt: skip
def test_a_check_that_cannot_fail_is_refused(options):
    (name,) = options
    with pytest.raises(TypeError if name == "order" else ValueError, match=rf"^check_gradients\({name}="):
        tg.check_gradients(lambda x: (x.detach() * x).sum(), [1.0, 2.0], **options)


@pytest.mark.parametrize("inputs", [[], [[]], [np.ones((0, 3)), []]])
def test_a_check_of_nothing_is_refused(inputs):
    with pytest.raises(ValueError, match="an input with an element"):
        tg.check_gradients(lambda *xs: tg.Tensor(1.0), *inputs)


@pytest.mark.parametrize(
    "row",
    [
        primitives.row("shift", lambda x, by: x + by, "shift({x})", lambda g, ans, x, by: g),
        primitives.row("shift", lambda *xs: sum(xs), "shift", *[lambda g, ans, a, b, c, d: g] * 4, by_element=True),
    ],
    ids=["with a static argument", "of four inputs"],
)
def test_a_row_without_samples_is_told_to_have_some(row):
    """By element, shapes are known for up to three inputs and nothing else."""
    with pytest.raises(ValueError, match="samples of shift: give the shapes of its inputs in checking.SAMPLES"):
        next(samples(row))
