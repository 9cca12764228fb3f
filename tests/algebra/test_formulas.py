import numpy as np
import pytest
from algebra.evaluated import evaluated

import tinygrad_rnn as tg
from tinygrad_rnn.algebra.formulas import back, formula_passed_back
from tinygrad_rnn.algebra.notation import Names
from tinygrad_rnn.algebra.trees import gradient, number
from tinygrad_rnn.algebra.typesetting import PLAIN
from tinygrad_rnn.algebra.writer import Writer
from tinygrad_rnn.backward import topological_order
from tinygrad_rnn.bptt.through_time import passed_back
from tinygrad_rnn.checking import samples
from tinygrad_rnn.primitives import TABLE, row
from tinygrad_rnn.tensor import Tensor, record

# What only arrays can do: it selects, joins or runs over elements.
UNWRITTEN = {"einsum", "cumsum", "getitem", "scatter", "concatenate", "stack"}


def has_name(x):
    return x.name is not None


def nodes_of(name):
    """The primitive on sample inputs: matrices and columns, of no batch, whose rows a formula does not tell apart; and
    over all elements, for no formula names an axis."""
    row = TABLE[name]
    for arrays, static in samples(row):
        shapes = [x.shape for x in arrays]
        batch = row.products and any(len(shape) > 2 for shape in shapes)
        batch = (
            batch or (row.by_rows and row.products and len(shapes[1]) > 1) or (name == "outer" and len(shapes[0]) > 1)
        )
        over_an_axis = (row.reduction or "softmax" in name) and len(shapes[0]) > 1 and static[0] is not None
        if batch or over_an_axis or any(0 in shape for shape in shapes) or (name == "transpose" and static != (None,)):
            continue
        leaves = [Tensor(x, requires_grad=x.dtype.kind == "f", name=f"x{i}") for i, x in enumerate(arrays)]
        yield record(row, tuple(leaves), *static)


@pytest.mark.parametrize("name", sorted(TABLE.keys() - UNWRITTEN))
def test_every_formula_of_the_table_is_what_its_rule_computes(name):
    written = 0
    for node in nodes_of(name):
        g = np.random.default_rng(1).standard_normal(node.shape)
        for i, x in enumerate(node.inputs):
            if not x.requires_grad:
                continue
            found = evaluated(formula_passed_back(node, i, gradient(node), has_name), {node: g})
            found = np.reshape(found, x.shape) if np.size(found) == x.size else np.broadcast_to(found, x.shape)
            np.testing.assert_allclose(found, passed_back(node, i, g), rtol=1e-9, atol=1e-12)
            written += 1
    assert written


def test_softmax_less_the_weights_is_written_where_these_add_up_to_1():
    z = Tensor([0.5, -1.0, 2.0], requires_grad=True, name="z")
    for weights, said in (([0.0, 1.0, 0.0], "softmax(z) − Y"), ([1.0, 1.0, 0.5], "softmax(z) Σ Y − Y")):
        loss = tg.nn.cross_entropy(z, weights)
        found = back([(loss, 0)], number(1), has_name)
        assert Writer(Names([*loss.inputs, loss])).text(found) == said
        np.testing.assert_allclose(evaluated(found), tg.grad(loss, z)[0].data, rtol=1e-12)


SOFTSIGN = row("softsign", lambda x: x / (1 + np.abs(x)), "{x} / (1 + |{x}|)",
               lambda g, ans, x: g / (1.0 + np.abs(x)) ** 2, by_element=True)  # fmt: skip
COSINE = row("cosine", lambda a, b: np.sum(a * b) / np.sqrt(np.sum(a * a) * np.sum(b * b)), "cosine({a}, {b})",
             lambda g, ans, a, b: g * (b / np.sqrt(np.sum(a * a) * np.sum(b * b)) - ans * a / np.sum(a * a)),
             lambda g, ans, a, b: g * (a / np.sqrt(np.sum(a * a) * np.sum(b * b)) - ans * b / np.sum(b * b)))  # fmt: skip  # noqa: E501


@pytest.mark.parametrize("row", [SOFTSIGN, COSINE], ids=lambda row: row.name)
def test_the_formulas_of_a_primitive_of_one_s_own_are_what_its_rules_compute(row):
    rng = np.random.default_rng(5)
    inputs = [Tensor(rng.standard_normal(3), requires_grad=True, name=name) for name in row.argument_names]
    node = record(row, tuple(inputs))
    node.name = "y"
    g = rng.standard_normal(node.shape)
    for i in range(len(inputs)):
        found = evaluated(formula_passed_back(node, i, gradient(node), has_name), {node: g})
        np.testing.assert_allclose(found, passed_back(node, i, g), rtol=1e-12)


def test_a_row_before_a_matrix_stays_a_row():
    """ᵗx W y is a number: what stands before y is no column."""
    bilinear = row("bilinear", lambda x, W, y: x @ W @ y, "ᵗ{x} {W} {y}",
                   lambda g, ans, x, W, y: g * (W @ y), lambda g, ans, x, W, y: g * tg.outer(x, y),
                   lambda g, ans, x, W, y: g * (x @ W))  # fmt: skip
    rng = np.random.default_rng(5)
    x, W, y = (Tensor(rng.standard_normal(n), True, name) for name, n in [("x", 3), ("W", (3, 2)), ("y", 2)])
    node = tg.square(record(bilinear, (x, W, y)))
    found = evaluated(formula_passed_back(node, 0, gradient(node), has_name), {node: np.array(1.0)})
    np.testing.assert_allclose(found.item(), 2 * x.value @ W.value @ y.value, rtol=1e-12)


def test_the_formulas_of_second_order_are_what_the_rules_of_rules_compute():
    """A backward graph is made of the same primitives; so is what is written of its nodes."""
    rng = np.random.default_rng(6)
    W, U, h, x, b = (
        Tensor(rng.standard_normal(shape), requires_grad=True, name=name)
        for name, shape in [("W", (3, 2)), ("U", (3, 3)), ("h", 3), ("x", 2), ("b", 3)]
    )
    y = tg.sigmoid(tg.linear(W, tg.tanh(x)) + tg.linear(U, tg.tanh(h) * tg.exp(b)) + b)
    loss = tg.nn.cross_entropy(y / tg.sqrt(tg.square(b) + 1.0), Tensor([0.2, 0.3, 0.5]))
    total = sum(tg.sum(tg.square(dx)) for dx in tg.grad(loss, [W, U, h, x, b], create_graph=True))
    written = 0
    for node in topological_order(total):
        for i, x in enumerate(node.inputs):
            if x.requires_grad:
                g = rng.standard_normal(node.shape)
                found = evaluated(formula_passed_back(node, i, gradient(node), lambda _: True), {node: g})
                found = np.reshape(found, x.shape) if np.size(found) == x.size else np.broadcast_to(found, x.shape)
                np.testing.assert_allclose(found, passed_back(node, i, g), rtol=1e-9, atol=1e-12)
                written += 1
    assert written > 50


@pytest.mark.parametrize(
    "pooled, written",
    [
        (lambda H: H.max(0), "max(stack(h⁽¹⁾, h⁽²⁾), axis=0)"),
        (lambda H: tg.maximum(H, 0.0), "max(stack(h⁽¹⁾, h⁽²⁾), 0)"),
    ],
)
def test_an_axis_is_no_number(pooled, written):
    hs = [tg.label(tg.Tensor(np.ones((3, 3)), requires_grad=True), "h", t) for t in (1, 2)]
    V = tg.Tensor(np.ones(()), requires_grad=True, name="V")
    (term,) = tg.bptt.expansion(tg.label(tg.sum(V * pooled(tg.stack(hs))), "L"), V, setting=PLAIN)
    assert written in term.factors
