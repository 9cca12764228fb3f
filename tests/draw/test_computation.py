"""The computation of the page: its runtime against NumPy, and what it makes of changed numbers against Python."""

import json
from itertools import product

import numpy as np
import pytest
from own_nets import OWN_NETS

import tinygrad_rnn as tg
from tinygrad_rnn.backward import sweep, topological_order
from tinygrad_rnn.checking import samples
from tinygrad_rnn.draw.computation import RUNTIME, Computation
from tinygrad_rnn.interop import TESTS
from tinygrad_rnn.primitives import TABLE
from tinygrad_rnn.tensor import Tensor, record

NETS = [{}, {"nonlinearity": "relu", "many": True}, {"kind": "LSTM"}, {"kind": "GRU", "many": True}, {"num_layers": 2}]


@pytest.fixture(scope="module")
def check_runtime(browser):
    """check_runtime([(computation, tensors), ...], **tolerance): the runtime computes what these Tensors are."""
    page = browser.new_page()
    page.add_script_tag(content=RUNTIME)

    def check(cases, **tolerance):
        asked = []
        for computation, tensors in cases:
            numbers = [computation.number(x) for x in tensors]
            asked.append([json.loads(json.dumps(computation.data(), default=str)), numbers])
            assert asked[-1][0]["fixed"] == ""
        found = page.evaluate(
            """asked => asked.map(([data, numbers]) => {
                const arrays = new Computation(data).run();
                return numbers.map((i) => [arrays[i].shape, arrays[i].values.map(String)]);
            })""",
            asked,
        )
        for (_, tensors), arrays in zip(cases, found, strict=True):
            for x, (shape, values) in zip(tensors, arrays, strict=True):
                assert tuple(shape) == x.shape
                np.testing.assert_allclose(np.array(values, float).reshape(shape), x.value, **tolerance)

    yield check
    page.close()


def swept(value, leaves, g):
    """The computation of a value and of the gradients of its leaves, which are recorded."""
    computation = Computation({x: x.value for x in leaves})
    with computation.recorded():
        gradients = dict(sweep({value: Tensor(g)}))
        return computation, [value, *(gradients[x] for x in leaves if x.requires_grad)]


@pytest.mark.parametrize("name", sorted(TABLE))
def test_every_primitive_and_its_rule_are_those_of_the_table(check_runtime, name):
    """On every sample shape; so the runtime lacks none."""
    cases = []
    for inputs, static in samples(TABLE[name]):
        leaves = [Tensor(x, requires_grad=x.dtype.kind == "f") for x in inputs]
        value = record(TABLE[name], leaves, *static)
        cases.append(swept(value, leaves, np.random.default_rng(1).standard_normal(value.shape)))
    check_runtime(cases, rtol=1e-12, atol=1e-12)


def test_every_comparison_that_rules_make(check_runtime):
    cases = []
    for test in (test for test in TESTS if isinstance(test, np.ufunc) and test.nin == 2):
        dtype = bool if test.__name__.startswith("bitwise") else float
        x, y = np.array([[0, 0, 1, 2], [0, 1, 0, 1]], dtype)
        computation = Computation({})
        with computation.recorded():
            cases.append((computation, [record(TESTS[test], (Tensor(x), Tensor(y)))]))
    check_runtime(cases, rtol=0)


def test_all_indices(check_runtime):
    x, cases = Tensor(np.arange(24.0).reshape(2, 3, 4), requires_grad=True), []
    for index in [1, (slice(None, None, -1), 2), (..., [3, 0, 0]), (None, 0), [True, False], (0, Tensor([1, 1]))]:
        value = tg.square(x[index])
        cases.append(swept(value, [x], np.ones(value.shape)))
    check_runtime(cases, rtol=0)


def replayed(outputs, values):
    """The same graph, recorded again on other values of its leaves."""
    new = {}
    for x in topological_order(*outputs):
        if x.is_leaf:
            new[x] = Tensor(values.get(x, x.value), requires_grad=x.requires_grad)
        else:
            new[x] = record(x.primitive, [new[y] for y in x.inputs], *x.static)
    return new


def check(page, unfolded, values, rtol):
    """The values and gradients on the page are those that Python computes for some values of the leaves."""
    new = replayed(list(unfolded.outputs), values)
    places = [p for p in unfolded.places if p.kind != "elided"]
    wanted = {p.id: p.tensor for p in places if p.tensor.requires_grad and p.tensor not in unfolded.shared}
    wanted |= {total.id: x for x, total in unfolded.totals.items()}
    gradients = tg.grad(new[next(iter(unfolded.outputs))], [new[x] for x in wanted.values()])
    told = page.evaluate("Object.fromEntries(bptt.ids().map(id => [id, [bptt.value(id), bptt.gradient(id)]]))")
    assert told.keys() == {p.id for p in places} | set(wanted)
    for p in places:
        np.testing.assert_allclose(told[p.id][0], new[p.tensor].value, rtol=rtol, atol=rtol, err_msg=p.id)
    for (id, x), g in zip(wanted.items(), gradients, strict=True):
        np.testing.assert_allclose(
            told[id][1], g.value, rtol=rtol, atol=rtol, err_msg=f"the gradient of {id}, {x.name}"
        )


def changed(page, unfolded, seed=0):
    """Change every leaf that is drawn, by the interface of the page's console."""
    rng, values, ids = np.random.default_rng(seed), {}, []
    for p in unfolded.places:
        x = p.tensor
        if p.kind != "elided" and x.is_leaf and x.name and x not in values:
            values[x] = x.value + 0.3 * rng.standard_normal(x.shape)
            ids.append(p.id)
    changes = [[id, value.tolist()] for id, value in zip(ids, values.values(), strict=True)]
    page.evaluate("changes => changes.forEach(([id, value]) => bptt.set(id, value))", changes)
    return values


@pytest.mark.parametrize("net, level", [*product(NETS, ["named"]), *product(NETS[2:4], ["primitives"])], ids=str)
def test_changed_numbers_give_what_python_computes(opened, unrolled, net, level):
    diagram = tg.draw.backward(unrolled(2, **net), level=level)
    page, unfolded = opened(diagram), diagram.story().unfolded
    values = changed(page, unfolded)
    check(page, unfolded, values, 1e-9)
    page.evaluate("bptt.reset()")
    check(page, unfolded, {}, 1e-12)


@pytest.mark.parametrize("name", OWN_NETS)
def test_so_they_do_for_nets_of_one_s_own(opened, name):
    diagram = tg.draw.backward(OWN_NETS[name]())
    page, unfolded = opened(diagram), diagram.story().unfolded
    check(page, unfolded, changed(page, unfolded), 1e-9)


def test_hidden_steps_are_computed_too(opened, unrolled):
    diagram = tg.draw.backward(unrolled(12), max_steps=4)
    page, unfolded = opened(diagram), diagram.story().unfolded
    page.evaluate("bptt.set('U', [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, 0.9]])")
    U = next(p.tensor for p in unfolded.places if p.tensor.name == "U")
    check(page, unfolded, {U: np.arange(1, 10).reshape(3, 3) / 10}, 1e-9)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_unchanged_the_page_shows_python_s_numbers_to_the_last_digit(opened, unrolled, kind):
    diagram = tg.draw.backward(unrolled(2, kind=kind, many=True))
    page, arrays = opened(diagram), {}
    for x, number in diagram.story().computation.numbers.items():
        arrays[number] = x.value.ravel().tolist()
    assert page.evaluate(
        """arrays => Object.entries(arrays).every(([i, values]) =>
            values.every((x, k) => number(x) === number(net.computation.arrays[i].values[k])))""",
        {str(number): values for number, values in arrays.items()},
    )


def test_float32_stays_float32(opened):
    rnn = tg.nn.RNN(2, 3, rng=0)
    for p in rnn.parameters():
        p.data = p.data.astype(np.float32)
    hs, _ = rnn(np.ones((3, 2), np.float32))
    diagram = tg.draw.backward(tg.label((hs[-1] * hs[-1]).sum(), "L"))
    unfolded = diagram.story().unfolded
    assert unfolded.places[-1].tensor.dtype == np.float32
    check(opened(diagram), unfolded, {}, 1e-6)


def test_a_primitive_that_the_page_cannot_compute_is_said_and_python_s_numbers_stay(opened):
    cubed = tg.primitive("cubed", lambda x: x**3, "{x}³", lambda g, ans, x: 3.0 * g * x * x)
    x = Tensor([1.0, 2.0], requires_grad=True, name="x")
    diagram = tg.draw.backward(tg.label(cubed(x).sum(), "L"))
    page = opened(diagram)
    assert "the page cannot compute cubed" in page.inner_text("#fixed")
    assert page.evaluate("[bptt.value('L'), bptt.gradient('x')]") == [9.0, [3.0, 12.0]]
    assert not page.is_visible("#scales") and not page.is_visible("#reset")
    with pytest.raises(Exception, match="nothing can be changed: the page cannot compute cubed"):
        page.evaluate("bptt.set('x', [1, 1])")


def test_a_primitive_of_a_user_s_that_is_called_like_one_of_the_table_is_not_taken_for_it(opened):
    halved = tg.primitive("square", lambda x: x / 2.0, "½ {x}", lambda g, ans, x: 0.5 * g)
    x = Tensor(3.0, requires_grad=True, name="x")
    page = opened(tg.draw.backward(tg.label(halved(x), "L")))
    assert page.evaluate("[bptt.value('L'), bptt.gradient('x')]") == [1.5, 0.5]


def test_a_rule_that_runs_on_arrays_alone_gives_its_numbers(opened):
    odd = tg.primitive("odd", np.negative, "−{x}", lambda g, ans, x: np.copysign(g, -1.0))
    x = Tensor([2.0, 3.0], requires_grad=True, name="x")
    page = opened(tg.draw.backward(tg.label(odd(x).sum(), "L")))
    assert page.evaluate("bptt.gradient('x')") == [-1.0, -1.0] and page.is_visible("#fixed")


def test_the_console_says_what_is_wrong(opened, unrolled):
    page = opened(tg.draw.backward(unrolled(2)))
    for call, message in [
        ("bptt.value('nobody')", "no node is called"),
        ("bptt.set('L', 1)", "only inputs and parameters"),
        ("bptt.set('U', [1, 2])", r"9 finite numbers are needed, of the shape \(3, 3\)"),
        ("bptt.set('b', [1, NaN, 2])", "3 finite numbers"),
    ]:
        with pytest.raises(Exception, match=message):
            page.evaluate(call)
    assert page.evaluate("bptt.step(5)") == 5 and page.inner_text("#count").startswith("5 /")


def test_the_gradients_are_checked_in_the_page(opened, unrolled):
    page = opened(tg.draw.backward(unrolled(2, kind="LSTM")))
    page.click("#check")
    assert "elements compared" in page.inner_text("#checked") and page.evaluate("check()") < 1e-6


def test_the_largest_singular_value(opened, unrolled):
    page = opened(tg.draw.backward(unrolled(2)))
    for shape in ((3, 3), (8, 8), (5, 2), (1, 4)):
        A = np.random.default_rng(0).standard_normal(shape)
        found = page.evaluate(
            "([shape, values]) => largestSingularValue(dense(shape, values))", [shape, A.ravel().tolist()]
        )
        np.testing.assert_allclose(found, np.linalg.norm(A, 2), rtol=1e-9)
    assert page.evaluate("largestSingularValue(dense([2, 2], [0, 0, 0, 0]))") == 0


def test_what_was_decided_is_said_to_stay(opened, unrolled):
    x = Tensor([1.0, -2.0], requires_grad=True, name="x")
    chosen = opened(tg.draw.backward(tg.label(tg.where(x > 0, x, 2.0 * x).sum(), "L")))
    assert chosen.inner_text("#fixed") == "It stays as it was: which elements were chosen."
    rnn = tg.nn.RNN(2, 3, rng=0)
    _, state = rnn(np.ones((2, 2)))
    hs, _ = rnn(np.ones((2, 2)), [h.detach() for h in state])
    cut = opened(tg.draw.backward(tg.label((hs[-1] * hs[-1]).sum(), "L")))
    assert cut.inner_text("#fixed") == "It stays as it was: the states whose past was cut off."
    assert not opened(tg.draw.backward(unrolled(2))).is_visible("#fixed")


def test_of_large_arrays_there_are_norms(opened):
    E = tg.nn.Parameter(np.random.default_rng(0).standard_normal((1000, 80)), name="E")
    diagram = tg.draw.backward(tg.label(tg.tanh(E[3]).sum(), "L"))
    page = opened(diagram, "#step=9999")
    assert page.inner_text("#fixed").endswith("the arrays are too large.") and len(diagram.page().source) < 200_000
    norm = np.linalg.norm(E.value)
    assert page.evaluate("bptt.value('E')") == pytest.approx(norm) and page.inner_text("#value").startswith("norm")
