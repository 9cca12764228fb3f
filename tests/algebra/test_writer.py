import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.algebra import formulas
from tinygrad_rnn.algebra.notation import Names
from tinygrad_rnn.algebra.writer import Writer, operation
from tinygrad_rnn.backward import topological_order
from tinygrad_rnn.primitives import TABLE
from tinygrad_rnn.tensor import Tensor


def leaf(data, name):
    return Tensor(data, requires_grad=True, name=name)


a, b, M, v = leaf(2.0, "a"), leaf(3.0, "b"), leaf([[1.0]], "M"), leaf([1.0], "v")


two = leaf(7.0, "2")


def writer(node):
    return Writer(Names(topological_order(node)))


def written_derivative(node, *hops):
    """The local derivatives of hops, as they stand on an edge; None if there is no short notation."""
    found = formulas.derivative(hops, writer(node).notation.writes)
    return None if found is None else writer(node).text(found)


@pytest.mark.parametrize(
    "node, text",
    [
        (a + b, "a + b"), (a - (b + a), "a − (b + a)"), (a - b + a, "a − b + a"), ((a + b) * a, "(a + b) a"),
        (2.0 * a, "2 a"), (0.5 * (a + b), "½ (a + b)"), (a / b, "a / b"), (-a, "−a"), (-(a + b), "−(a + b)"),
        ((a - b) ** 2, "(a − b)²"), (a**3.0, "a³"),
        (a**0.5 * a, "a^(0.5) a"), (a**-2.0, "a⁻²"), (tg.sqrt(a + b), "√(a + b)"), (tg.exp(a + b), "exp(a + b)"),
        (tg.linear(M, v), "M v"), (tg.linear(M, v) + v, "M v + v"), (tg.outer(v, v), "v ᵗv"),
        (tg.tanh(a + b), "f(a + b)"),
        (tg.sum((v - v) ** 2), "Σ (v − v)²"), (tg.maximum(a, b + a), "max(a, b + a)"), (abs(a - b), "|a − b|"),
        (tg.stack([a, b]), "stack(a, b)"), (M.T, "ᵗM"), ((a * b) ** 2, "(a b)²"), ((-a) ** 2, "(−a)²"),
        (1.0 / (a * b), "1 / (a b)"), (a / (b / a), "a / (b / a)"), (tg.sum(v) ** 2, "(Σ v)²"),
        (v[0] ** 2, "v[…]²"),
        ((M @ M).T, "ᵗ(M M)"), (a - (-b), "a − (−b)"), (a + (-b), "a − b"), (a * -2.0, "(−2) a"), (a * 3.0, "3 a"),
        (tg.sqrt(a * b), "√(a b)"), (tg.linear(M, v * v), "M (v ⊙ v)"), ((a * b) ** b, "(a b)^b"),
        (a - 2.0, "a − 2"),
    ],
)  # fmt: skip
def test_expressions(node, text):
    assert writer(node).expression(node) == text


@pytest.mark.parametrize(
    "node, i, text",
    [
        (a + b, 0, "1"), (a - b, 1, "−1"), (a * b, 0, "b"), (a / b, 0, "1/b"), (a / b, 1, "−a/b²"),
        ((a + b) ** 2, 0, "2 (a + b)"),
        (tg.linear(M, v), 0, "ᵗv"), (tg.linear(M, v), 1, "ᵗM"), (tg.tanh(a), 0, "f′(a)"), (tg.log(a), 0, "1/a"),
        (0.5 * a, 1, "½"), (3.0 * a, 1, "3"), (a * (b + 1.0), 0, "b + 1"), (tg.sign(a), 0, "0"),
        (a / 4.0, 0, "0.25"), (a / (a * b), 1, "−a/(a b)²"), (a / (a * b), 0, "1/(a b)"), (a / -b, 1, "−a/(−b)²"),
        (tg.linear(M.T, v), 1, "M"), (tg.linear(M, M @ v), 0, "ᵗ(M v)"), (0.001 * a, 1, "0.001"),
        ((a - b) * (a + b), 1, "a − b"), (two * a, 1, "2"), (Tensor([2.0, 3.0]) * v, 1, "ᵗa"),
    ],
)  # fmt: skip
def test_one_derivative(node, i, text):
    assert written_derivative(node, (node, i)) == text


def test_numbers_along_a_path_are_multiplied():
    y = 0.5 * tg.sum((v - M) ** 2)
    path = [(y, 1), (y.inputs[1], 0), (y.inputs[1].inputs[0], 0)]
    assert written_derivative(y, *path) == "v − M"
    assert written_derivative(y, *path[1:]) == "2 (v − M)"


def test_vectors_are_columns_on_the_left_of_a_product_too():
    """ᵗH α, not α H: what comes back to α is H g, and to H the matrix α ᵗg, in which g is no factor."""
    H, α, q = leaf([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], "H"), leaf([1.0, 2.0, 3.0], "α"), leaf([1.0, 2.0], "q")
    c, e = α @ H, q @ (α @ H)
    assert [writer(y).expression(y) for y in (c, e)] == ["ᵗH α", "ᵗq ᵗH α"]
    assert [written_derivative(c, (c, i)) for i in (0, 1)] == ["H", None]
    assert [written_derivative(e, (e, i)) for i in (0, 1)] == ["ᵗH α", "q"]


def test_the_elements_of_a_vector_are_added_up_by_a_row():
    s, h = leaf(2.0, "s"), leaf([1.0, 2.0], "h")
    product, summed = s * h, s + h
    assert written_derivative(product, (product, 0)) == "ᵗh"
    assert written_derivative(summed, (summed, 0)) is None


def test_sums_are_set_in_parentheses_beside_other_factors():
    inner = a * (b + 1.0)
    y = inner * (b - 1.0)
    assert written_derivative(y, (y, 0), (inner, 0)) == "(b − 1) (b + 1)"


def test_a_product_of_numbers_keeps_its_digits():
    inner = 0.001 * a
    y = 0.01 * inner
    assert written_derivative(y, (y, 1), (inner, 1)) == "1e−05"


def test_a_name_that_looks_like_a_number_is_a_name():
    inner = two * a
    y = 5.0 * inner
    assert written_derivative(y, (y, 1), (inner, 1)) == "5 2"


def test_a_sum_of_paths_with_signs():
    y = (a - b) * (a + b)
    difference, total = y.inputs
    assert written_derivative(y, (y, 0), (y, 1), (total, 1), (difference, 1)) == "a − b − (a + b)"


def test_equal_paths_are_counted():
    y = a * a
    assert written_derivative(y, (y, 0), (y, 1)) == "2 a"


def test_a_selection_has_no_short_notation():
    y = 3.0 * v[0]
    assert written_derivative(y, (y, 1), (y.inputs[1], 0)) is None


def test_deep_expressions_end_in_an_ellipsis():
    y = a
    for _ in range(5000):
        y = -tg.exp(y)
    assert writer(y).expression(y) == "−exp(−exp(…))"


@pytest.mark.parametrize(
    "name, shown",
    [("add", "+"), ("subtract", "−"), ("multiply", "⊙"), ("sum", "Σ"), ("linear", "linear"), ("tanh", "tanh")],
)
def test_symbols(name, shown):
    assert operation(TABLE[name]) == shown


def test_long_names_are_shortened_and_lines_joined():
    x = leaf(1.0, "a\nb" + 300 * "c")
    text = writer(x * 1.0).variable(x)
    assert text.startswith("a bccc") and text.endswith("…") and len(text) == 24


def test_nameless_numbers_show_their_value_and_arrays_a_letter():
    x, y = Tensor([-1.5]), Tensor([[1.0, 2.0]])
    assert (writer(x).variable(x), writer(y).variable(y)) == ("−1.5", "A")
