"""What a function does when it is traced: what is refused, what is read out, and what is followed."""

import contextlib
import warnings
from copy import deepcopy
from operator import attrgetter, methodcaller

import numpy as np
import pytest
from programs import Problem, assert_close, eager

import tinygrad_rnn as tg
from tinygrad_rnn.errors import ShapeError

W = tg.Tensor([1.0, 2.0], requires_grad=True)


@pytest.mark.parametrize(
    "function, error, message",
    [
        (lambda x: W * x, ValueError, r"compile\(<lambda>\): its loss is multiply of shape \(2,\), no scalar"),
        (lambda x: 3.0, TypeError, r"compile\(<lambda>\): its loss: a scalar Tensor is needed, not a float"),
        (lambda x: None, TypeError, "not a NoneType"),
        (lambda x: tg.sum(x), ValueError, "depends on nothing that requires a gradient"),
        (lambda x: tg.sum(W * np.random.default_rng().standard_normal(2)), ValueError, "at random, .* to be an input"),
        (lambda: tg.sum(W), TypeError, "positional argument"),
        (3, TypeError, "a function of the inputs is needed, not a int"),
    ],
)
def test_functions_that_cannot_be_compiled(function, error, message):
    with pytest.raises(error, match=message):
        tg.compile(function, np.ones(2), wrt=W)


@pytest.mark.parametrize(
    "wrt, error, message",
    [
        ([], ValueError, "wrt=...): empty; pass the parameters"),
        ([np.ones(2)], TypeError, "a parameter, as of .*, is needed, not a ndarray"),
        (3, TypeError, "a module, or parameters, is needed, not an? int"),
        ([W * 2.0], ValueError, "is not a leaf that requires a gradient"),
        ([tg.Tensor([1.0])], ValueError, "is not a leaf that requires a gradient"),
    ],
)
def test_what_gradients_cannot_be_of(wrt, error, message):
    with pytest.raises(error, match=message.replace(")", r"\)")):
        tg.compile(lambda x: tg.sum(W * x), np.ones(2), wrt=wrt)


def test_what_is_drawn_at_random_is_told_even_where_it_does_not_change_the_loss():
    random, zeros = np.random.default_rng(0), tg.Tensor(np.zeros(2), requires_grad=True)

    def masked(x):
        return tg.sum(zeros * x * random.standard_normal(2))

    def longer(x):
        return sum(tg.sum(zeros * x) for _ in range(random.integers(1, 1000)))

    for loss in (masked, longer):
        with pytest.raises(ValueError, match="run twice on the same inputs, it does not do the same"):
            tg.compile(loss, np.ones(2), wrt=zeros)


def test_a_value_that_is_taken_behind_the_back_of_the_trace_is_told():
    state = [np.zeros(2)]

    def by_value(x):
        h = W * x
        return tg.sum(h * h.value)

    def by_memory(x):
        h = W * x + state[0]
        state[0] = h.value
        return tg.sum(h)

    for loss, node in ((by_value, "multiply"), (by_memory, "add")):
        with pytest.raises(
            ValueError, match=rf"not with the same numbers: see {node} of shape \(2,\), test_tracing.py line"
        ):
            tg.compile(loss, np.ones(2), wrt=W)


def test_a_function_may_look_at_what_its_tensors_are():
    def loss(x):
        h = W * x
        return tg.sum(h * h) if h.requires_grad and not h.is_leaf else tg.sum(h)

    assert tg.compile(loss, np.ones(2), wrt=W)(np.ones(2))[0] == 5.0


def test_a_print_inside_shows_the_values(capsys):
    def loss(x):
        h = W * x
        print(h)
        return tg.sum(h)

    with pytest.warns(UserWarning, match="the text of multiply"):
        tg.compile(loss, np.array([3.0, 4.0]), wrt=W)
    assert capsys.readouterr().out == 2 * "Tensor([3., 8.], primitive=multiply)\n"


def test_what_is_drawn_into_a_tensor_that_was_there_before_is_told():
    random, noise = np.random.default_rng(0), tg.Tensor(np.zeros(2))

    def loss(x):
        noise.data = random.standard_normal(2)
        return tg.sum(W * x + noise)

    with pytest.raises(ValueError, match="not with the same numbers: see add"):
        tg.compile(loss, np.ones(2), wrt=W)


def test_what_a_function_returns_besides_has_to_be_the_same_too():
    random = np.random.default_rng(0)
    with pytest.raises(ValueError, match="run twice on the same inputs, it does not do the same"):
        tg.compile(lambda x: (tg.sum(W * x), random.standard_normal()), np.ones(2), wrt=W)


@pytest.mark.parametrize("fails", [False, True])
def test_what_a_function_keeps_has_its_values_and_gradients(fails):
    kept = []

    def loss(x):
        kept.append(tg.tanh(W * x))
        if fails:
            raise RuntimeError("later")
        return tg.sum(kept[-1])

    with pytest.raises(RuntimeError, match="later") if fails else contextlib.nullcontext():
        tg.compile(loss, np.ones(2), wrt=W)
    for h in kept:
        assert h.data.tolist() == np.tanh([1.0, 2.0]).tolist()
        np.testing.assert_allclose(tg.grad(tg.sum(h), W)[0].data, 1.0 - np.tanh([1.0, 2.0]) ** 2)


def test_a_copy_has_the_values_of_each_call():
    with pytest.warns(UserWarning, match="a copy of multiply|its gradient is lost"):
        program = tg.compile(lambda x: (tg.sum(W * x), deepcopy(W * x)), np.ones(2), wrt=W)
        assert program(np.zeros(2))[2].tolist() == [0.0, 0.0]


def test_a_gradient_asked_of_what_was_detached_ends_there():
    """As in the first-order step of meta-learning: z = v - 0.1 ∂(Σ v³ x)/∂v with v held fixed, loss Σ z² x + Σ v."""
    v = tg.Tensor([1.0, 1.0], requires_grad=True)

    def loss(x):
        z = v.detach()
        z.requires_grad = True
        (g,) = tg.grad(tg.sum(z * z * z * x), z, create_graph=True)
        return tg.sum(tg.square(z - 0.1 * g) * x) + tg.sum(v)

    for optimize in (True, False):
        found, gradients = tg.compile(loss, np.zeros(2), wrt=v, optimize=optimize)(np.array([1.0, 2.0]))
        assert found == loss(tg.Tensor([1.0, 2.0])).item() and gradients[0].tolist() == [1.0, 1.0]


def test_a_number_beside_float32_is_of_that_type():
    x = np.array([0.1, 0.2, 0.3], np.float32)
    b = tg.Tensor(np.ones(3, np.float32), requires_grad=True)

    def loss(x):
        return tg.sum(tg.where(x > 0.1, x * b, 0.0))

    assert tg.compile(loss, x, wrt=b)(x)[0] == loss(tg.Tensor(x)).item()


def test_stacks_of_both_types_are_not_rounded():
    x, b = np.array([1e8 + 0.1, 1.0]), tg.Tensor(np.ones(2, np.float32), requires_grad=True)

    def loss(x):
        return tg.sum(tg.stack([tg.tanh(b), x * b]))

    assert tg.compile(loss, x, wrt=b)(x)[0] == loss(tg.Tensor(x)).item()


def test_a_function_may_look_at_its_nodes():
    W = tg.Tensor([1.0, 2.0], requires_grad=True)

    def loss(x):
        h = W * x
        first, second = h.inputs
        if first is not W or second.shape != (2,):  # an assert here would have a program look at all of pytest
            raise AssertionError
        tg.draw.forward(tg.sum(h))
        with tg.detect_anomaly():
            return tg.sum(h)

    assert tg.compile(loss, np.ones(2), wrt=W)(np.ones(2))[0] == 3.0


def test_what_was_computed_before_is_refused():
    h = tg.tanh(W)
    with pytest.raises(ValueError, match=r"tanh of shape \(2,\) was computed before, .*; compute it inside"):
        tg.compile(lambda x: tg.sum(h * x), np.ones(2), wrt=W)


def test_what_makes_no_nodes_is_refused_inside():
    inner, cell = tg.compile(lambda x: tg.sum(W * x), np.ones(2), wrt=W), tg.nn.RNNCell(2, 3, rng=0)
    rnn, readout = tg.nn.RNN(2, 3, rng=0), tg.nn.Linear(3, 1, rng=0)
    for call, message in [
        (lambda x: tg.sum(W * x) * inner(np.ones(2))[0], "a program cannot be part of a program; call the function"),
        (lambda x: tg.sum(W * tg.compile(lambda: tg.sum(W), wrt=W)()[0]), "a program cannot be part of a program"),
        (lambda x: tg.sum(W * tg.grad(tg.sum(W * x), W)[0]), r"grad\(\) without create_graph=True cannot"),
        (lambda x: tg.sum(W * x).backward(), r"backward\(\) cannot be part of a program; return the loss"),
        (lambda x: tg.sum(W) * tg.bptt.checkpoint(cell, [x, x]).sum(), r"checkpoint\(\) cannot be part of a program"),
        (
            lambda x: next(tg.bptt.truncated(rnn, readout, tg.nn.squared_error, [x], [[0.0]], 1)),
            r"truncated\(\) cannot",
        ),
    ]:
        with pytest.raises(TypeError, match=message):
            tg.compile(call, np.ones(2), wrt=W)


def test_a_line_that_reads_at_every_step_warns_once():
    def loss(x):
        total = W
        for _ in range(5):
            total = total * x
            total.numpy()
        return tg.sum(total)

    with pytest.warns(UserWarning, match=r"numpy\(\) of multiply") as caught:
        tg.compile(loss, np.ones(2), wrt=W)
    assert len(caught) == 1


def test_a_function_may_keep_a_constant():
    kept = []

    def loss(x):
        if not kept:
            kept.append(tg.Tensor([2.0, 3.0]))
        return tg.sum(W * x * kept[0])

    assert tg.compile(loss, np.ones(2), wrt=W)(np.ones(2))[1][0].tolist() == [2.0, 3.0]


def test_one_tensor_as_two_inputs_has_no_one_gradient():
    x = tg.Tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(ValueError, match="is given as two inputs"):
        tg.compile(lambda a, b: tg.sum(a * b), x, x, wrt=[x])


def test_an_object_that_changes_unnoticed_is_refused():

    with pytest.raises(TypeError, match="a set is no array, and changes unnoticed"):
        tg.compile(lambda x, options: tg.sum(W * x), np.ones(2), {1, 2}, wrt=W)


def test_flags_are_flags():
    with pytest.raises(TypeError, match=r"compile\(optimize='yes'\): True or False"):
        tg.compile(lambda: tg.sum(W), wrt=W, optimize="yes")


def test_other_shapes_are_traced_inside_no_grad_too():
    program = tg.compile(lambda x: tg.sum(W * x), np.ones(2), wrt=W)
    with tg.no_grad():
        assert program(np.ones((3, 2)))[1][0].tolist() == [3.0, 3.0]


def test_nothing_is_traced_inside_no_grad():
    with tg.no_grad(), pytest.raises(ValueError, match=r"inside no_grad\(\)"):
        tg.compile(lambda x: tg.sum(W * x), np.ones(2), wrt=W)


READINGS = {
    **{how.__name__: how for how in (bool, float, np.asarray, np.argmax, np.isfinite)},
    **{how: methodcaller(how) for how in ("item", "numpy", "tolist")},
    "data": attrgetter("data"),
    "f-string": lambda y: float(f"{y:.3f}"),
    "deepcopy": lambda y: deepcopy(y).item(),
}


@pytest.mark.parametrize("optimize", [True, False])
@pytest.mark.parametrize("of", ["input", "parameter", "other"])
@pytest.mark.parametrize("how", READINGS.values(), ids=READINGS)
def test_a_value_that_is_read_out_is_that_of_each_call(how, of, optimize):
    """Where it is another, the function is traced again; what was decided by it is decided anew."""
    p, other = tg.Tensor([1.0, 2.0], requires_grad=True), tg.Tensor([3.0, 1.0])

    def loss(x):
        read = how(tg.sum({"input": x, "parameter": p * 1.0, "other": other}[of]).detach())
        return tg.sum(p * x * (read if isinstance(read, tg.Tensor) else np.asarray(read, float)))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = tg.compile(loss, np.ones(2), wrt=p, optimize=optimize)
        for x in ([1.0, 1.0], [-1.0, 5.0], [0.5, -0.5], [1.0, 1.0]):
            assert_close(program(np.array(x)), eager(loss, (tg.Tensor(x),), [p]))
            p.data, other.data = p.data * 0.5, -other.data


def test_a_number_that_is_read_out_is_warned_of_with_its_line():
    def loss(x):
        first = tg.sum(x).item()  # the line that is named
        return tg.sum(W * x) * first

    with pytest.warns(
        UserWarning, match=r"item\(\) of sum of shape \(\) is read out.*the line that is named"
    ) as caught:
        tg.compile(loss, np.ones(2), wrt=W)
    assert {w.filename for w in caught} == {__file__}


def test_a_branch_is_taken_at_each_call_and_each_is_traced_once():
    taken = []

    def loss(x):
        taken.append(0)
        return tg.sum(W * x) if (x > 0.0).any() else tg.sum(W)

    program = tg.compile(loss, np.ones(2), wrt=W)
    for x, expected in [([-5.0, -5.0], 3.0), ([1.0, 1.0], 3.0), ([-1.0, -1.0], 3.0), ([2.0, 1.0], 4.0)]:
        assert program(np.array(x))[0] == expected
    assert len(taken) == 4  # two traces, each a run on shapes and one on values


def test_a_branch_that_may_not_be_traced_is_refused():
    program = tg.compile(lambda x: tg.sum(W * x) if x[0] > 0.0 else tg.sum(W), np.ones(2), wrt=W, retrace=False)
    with pytest.raises(ShapeError, match="a value is False that was True .* retrace=False forbids"):
        program(-np.ones(2))
    assert program(2 * np.ones(2))[0] == 6.0


def test_what_a_branch_does_is_not_done_before_it_is_decided():
    def loss(x):
        return tg.sum(W / x) if (x > 0.0).all() else tg.sum(W * x)

    program = tg.compile(loss, np.ones(2), wrt=W)
    with np.errstate(all="raise"):
        assert program(np.zeros(2))[0] == 0.0


def test_a_module_that_is_written_refuses_another_branch():
    program = tg.compile(lambda x: tg.sum(W * x) if (x > 0.0).any() else tg.sum(W), np.ones(2), wrt=W)
    for rolled, level in [(False, "named"), (True, "named"), (False, "primitives")]:
        scope = {}
        exec(program.code(rolled, level), scope)
        assert scope["bptt"](np.array([3.0, -1.0]), W.data)[0] == 1.0
        with pytest.raises(ValueError, match="a value is False that was True when the program was traced"):
            scope["bptt"](-np.ones(2), W.data)


EMBEDDING = tg.Tensor(np.arange(12.0).reshape(4, 3) / 7.0, requires_grad=True, name="E")
LOOKED_UP = {
    "E[i]": lambda E, i: E[i],
    "E[:, i]": lambda E, i: E[:, i],
    "E[i, j]": lambda E, i: E[i, i[::-1]],
    "E[i, 0]": lambda E, i: E[i, 0],
    "E[..., i, None]": lambda E, i: E[..., i, None],
    "E[i[0]]": lambda E, i: E[i[0]],
    "E[i][1]": lambda E, i: E[i][1],
    "E[i.reshape]": lambda E, i: E[i.reshape(2, 1), i],
    "E[:i[0]]": lambda E, i: E[: i[0]],
    "E[i > 1]": lambda E, i: E[:2][i > 1],
    "take": lambda E, i: tg.take(E, i, axis=0),
    "take, last axis": lambda E, i: np.take(E, i, axis=-1),
    "take, flat": lambda E, i: tg.take(E, i),
    "method": lambda E, i: E.take(i, 1),
    "argmax": lambda E, i: E[np.argmax(i)] * E[i.argmin()],
    "argsort": lambda E, i: E[np.argsort(i)[0]],
    "of a list": lambda E, i: [E * 2.0, E * 3.0, E * 4.0][int(i[0].item())],
    "of an array": lambda E, i: E * np.array([1.0, 2.0, 3.0])[i.numpy()][0],
}


@pytest.mark.parametrize("optimize", [True, False])
@pytest.mark.parametrize("look_up", LOOKED_UP.values(), ids=LOOKED_UP)
def test_an_index_that_is_an_input_is_read_at_each_call(look_up, optimize):
    def loss(i):
        return tg.sum(tg.square(look_up(EMBEDDING, i)))

    program = tg.compile(loss, np.array([0, 1]), wrt=EMBEDDING, optimize=optimize)
    for i in ([2, 2], [0, 1], [2, 0], [1, 2]):
        assert_close(program(np.array(i)), eager(loss, (tg.Tensor(i),), [EMBEDDING]))


def test_an_index_out_of_range_is_refused_as_it_is_elsewhere():
    for loss in (lambda i: tg.sum(EMBEDDING[i]), lambda i: tg.nn.cross_entropy(EMBEDDING[:2], i)):
        program = tg.compile(loss, np.array([0, 1]), wrt=EMBEDDING)
        for i in ([0, 7], [0, -9]):
            with pytest.raises((IndexError, ValueError), match="shape"):
                program(np.array(i))


def test_an_embedding_is_one_look_up_for_all_steps():
    net, readout = tg.nn.RNN(3, 4, rng=0), tg.nn.Linear(4, 2, rng=0)
    wrt = [EMBEDDING, *net.parameters(), *readout.parameters()]

    def loss(tokens, Y):
        return tg.nn.half_squared_error(readout(net([EMBEDDING[i] for i in tokens])[0][-1]), Y)

    rng = np.random.default_rng(0)
    for shape in ((6,), (6, 2)):
        Y = rng.standard_normal((*shape[1:], 2))
        program = tg.compile(loss, np.zeros(shape, int), Y, wrt=wrt)
        for _ in range(3):
            tokens = rng.integers(0, 4, shape)
            assert_close(program(tokens, Y), eager(loss, (tg.Tensor(tokens), Y), wrt))
        assert program.kernel.count("_getitem(") == 1


MASKS = {
    "methods": lambda m: m.any() + m.all() * 2 + m.sum() + m.mean() + m.astype(int).sum() + m.astype(float).max(),
    "over an axis": lambda m: (m.any(axis=0) + m.all(axis=-1) + m.sum(axis=0)).sum(),
    "operators": lambda m: (~m & True | m ^ (m == m)).sum() + (True & m).sum() + (False | m).sum() + (True ^ m).sum(),
    "functions": lambda m: np.any(m) + np.all(m) + np.sum(m) + np.count_nonzero(m) + np.logical_and.reduce(m.ravel()),
    "len, items": lambda m: len(m) + sum(1.0 for row in m if row.any()) + float(m[0, 1]) + bool(m[1, 0]),
    "what arrays have": lambda m: len(m.nonzero()[0]) + m.nbytes + m.cumsum()[-1] + m.tolist()[0][0] + m.T.copy().size,
    "numbers": lambda m: (m * 2.0 - 1.0).sum() + (m + m).sum() + np.where(m, 1.0, 3.0).sum() + np.flatnonzero(m).size,
    "choices": lambda m: m.argmax() + np.argmin(m) + np.argsort(m, axis=1)[0, 0] + m.max() + np.isnan(m * 1.0).any(),
}


@pytest.mark.parametrize("use", MASKS.values(), ids=MASKS)
def test_what_a_comparison_offers_is_the_same_in_a_program(use):
    def loss(x):
        used = use(x > 0.0)
        return tg.sum(W * x) * (used if isinstance(used, tg.Tensor) else float(used))

    program = tg.compile(loss, np.ones((2, 2)), wrt=W)
    for x in ([[1.0, 1.0], [1.0, 1.0]], [[-1.0, 2.0], [0.5, -3.0]], [[-1.0, -1.0], [-1.0, -2.0]]):
        assert_close(program(np.array(x)), eager(loss, (tg.Tensor(x),), [W]))


def test_gradients_may_be_taken_inside():
    """Of the loss |∇ Σ W² x|²."""

    def loss(x):
        (g,) = tg.grad(tg.sum(W * W * x), W, create_graph=True)
        return tg.sum(g * g)

    program = tg.compile(loss, np.ones(2), wrt=W)
    x = np.array([1.0, 3.0])
    assert_close(program(x), eager(loss, (x,), [W]))


def test_what_depends_on_no_input_may_be_read_out():
    def loss(x):
        return tg.sum(W * x) if tg.Tensor(1.0) > 0.5 else tg.sum(W)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tg.compile(loss, np.ones(2), wrt=W)


def test_a_state_that_does_not_fit_is_told_by_the_net():
    p = Problem()
    program = tg.compile(p.loss, *p.inputs(0), wrt=p.parameters)
    with pytest.raises(ShapeError, match="x has shape"):
        program(np.zeros((5, 7)), np.zeros(2))
    assert_close(program(*p.inputs(0)), eager(p.loss, p.inputs(0), p.parameters))
