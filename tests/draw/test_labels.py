"""What stands on the edges of the backward figure is right: evaluated as mathematics, it gives the gradient.

A label says what becomes of the cotangent g that comes along its edge. Its factors stand in the order in which g meets
them: ᵗU makes ᵗU g of it; ᵗh, of a vector, the matrix g ᵗh; any other factor multiplies it element by element; and what
a sum makes of it is the sum of what its terms make. So the value of an expression is what it makes of 1.
"""

import itertools
import re
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from algebra.readers import LETTERS, Formula, Graph, Label, Net, applied, column
from own_nets import OWN_NETS, L, data, half, parameters, zero

import tinygrad_rnn as tg
from tinygrad_rnn.backward import sweep


def check(net, diagram):
    """Sum at every node what its edges bring, from the output with 1, and compare with the gradient."""
    arrived = {node.id: np.ones(()) for node in diagram.nodes if node.kind == "output"}

    def at(node):
        if node not in arrived:
            edges = [e for e in diagram.edges if e.target == node]
            terms = [Label(e.label, net).applied(at(e.source)) if e.kind == "gradient" else at(e.source) for e in edges]
            assert len({term.shape for term in terms}) == 1, "terms of one shape"
            arrived[node] = sum(terms)
        return arrived[node]

    whole, terms = net.gradients()
    found = set()
    for node in diagram.nodes:
        if node.kind in ("output", "sum") or node.faint:
            continue
        key = (node.label, node.kind == "parameter")
        expected = whole[key] if key in whole else terms[key]
        assert np.any(expected), "a gradient of zero would hide what is wrong with a label"
        assert at(node.id).shape == expected.shape, node.label
        np.testing.assert_allclose(at(node.id), expected, rtol=1e-10, err_msg=node.label)
        found.add(key)
    assert found >= whole.keys()


CELLS = [*(("RNN", f) for f in ("tanh", "sigmoid", "relu", "identity")), ("LSTM", "tanh"), ("GRU", "tanh")]


LOSSES = ["half_squared_error", "squared_error", "cross_entropy"]


# Of all problems half, in which any two of the choices are in all their combinations.
@pytest.mark.parametrize("kind, f, layers, many, loss, notation", [
    (*cell, layers, many, loss, notation)
    for (i, cell), layers, many in itertools.product(enumerate(CELLS), [1, 2], [False, True])
    for (j, loss), (k, notation) in itertools.product(enumerate(LOSSES), enumerate(LETTERS))
    if (i + layers + many + j + k) % 2
])  # fmt: skip
def test_the_products_along_all_paths_add_up_to_the_gradient(kind, f, layers, many, loss, notation):
    net = Net(kind, f, layers, many, loss, notation)
    check(net, tg.draw.backward(net.loss, notation=notation))


@pytest.mark.parametrize(
    "kind, right, wrong",
    [
        ("RNN", "y − Y", "Y − y"),
        ("RNN", "ᵗU", "U"),
        ("RNN", "ᵗU", "ᵗU ᵗU"),
        ("RNN", "ᵗV", "1"),
        ("RNN", "f′(ĥ⁽²⁾)", "f′(ĥ⁽¹⁾)"),
        ("RNN", "ᵗx⁽¹⁾", "ᵗx⁽²⁾"),
        ("LSTM", "o⁽²⁾ tanh′(c⁽²⁾)", "tanh′(c⁽²⁾)"),
        ("LSTM", "σ′(f̂⁽²⁾)", "σ′(î⁽²⁾)"),
        ("LSTM", "c⁽⁰⁾", "c⁽¹⁾"),
        ("GRU", "r⁽²⁾ ᵗU_n", "ᵗU_n r⁽²⁾"),
        ("GRU", "U_n h⁽⁰⁾ + c_n", "U_n h⁽⁰⁾"),
        ("GRU", "h⁽²⁾ − n⁽³⁾", "n⁽³⁾ − h⁽²⁾"),
    ],
)
def test_a_wrong_label_is_noticed(kind, right, wrong):
    net = Net(kind)
    diagram = tg.draw.backward(net.loss)
    assert right in [edge.label for edge in diagram.edges]
    edges = [replace(edge, label=wrong) if edge.label == right else edge for edge in diagram.edges]
    with pytest.raises(AssertionError):
        check(net, replace(diagram, edges=edges))


def row_batch(T=3):
    """Rows of a batch as people write them: x W + h U."""
    W, U, b, V = parameters(W=(2, 3), U=(3, 3), b=(3,), V=(3, 1))
    h = L(tg.Tensor(np.zeros((4, 3))), "h", 0)
    for t in range(1, T + 1):
        x = L(tg.Tensor(np.linspace(-1.0, 1.0, 8).reshape(4, 2) + t), "x", t)
        h = L(tg.tanh(x @ W + h @ U + b), "h", t)
    return L(tg.sum(tg.square(L(h @ V, "y"))), "L")


def attention_opened(T=3):
    W, U, q = parameters(W=(3, 2), U=(3, 3), q=(3,))
    h, w, hs = zero("h"), [], []
    for t in range(1, T + 1):
        h = L(tg.tanh(W @ data("x", t) + U @ h), "h", t)
        hs.append(h)
        w.append(L(tg.exp(q @ h), "w", t))
    Z = L(sum(w[1:], w[0]), "Z")
    alphas = [L(x / Z, "α", t) for t, x in enumerate(w, 1)]
    return half(L(sum(a * h for a, h in zip(alphas[1:], hs[1:], strict=True)) + alphas[0] * hs[0], "z"))


def peephole(T=2):
    W, U, p, V = parameters(W=(3, 2), U=(3, 3), p=(3,), V=(1, 3))
    h, c = zero("h"), zero("c")
    for t in range(1, T + 1):
        i = L(tg.sigmoid(W @ data("x", t) + U @ h + p * c), "i", t)
        c = L(i * c + (1 - i) * tg.tanh(U @ (i * h)), "c", t)
        h = L(tg.tanh(c), "h", t)
    return half(L(V @ h, "y"))


def masked(T=3):
    """A batch of sequences of different lengths: where one has ended its state stays; y is that of each row."""
    W, U, V = parameters(W=(3, 2), U=(3, 3), V=(2, 3))
    h, lengths = L(tg.Tensor(np.zeros((4, 3))), "h", 0), np.array([3, 2, 1, 3])
    for t in range(1, T + 1):
        x = L(tg.Tensor(np.linspace(-1.0, 1.0, 8).reshape(4, 2) + t), "x", t)
        next_h = L(tg.tanh(tg.linear(W, x) + tg.linear(U, h)), "n", t)
        h = L(tg.where((lengths >= t)[:, None], next_h, h), "h", t)
    return L(tg.sum(tg.square(L(tg.linear(V, h), "y"))), "L")


def softmax_opened():
    (W,) = parameters(W=(3, 2))
    e = L(tg.exp(L(W @ data("x"), "z")), "e")
    p = L(e / L(tg.sum(e), "Z"), "p")
    return L(-tg.log(L(p[1], "p_k")), "L")


def polynomial():
    (a, b) = parameters(a=(), b=())
    x = L(a * a * b - 3.0 * b**2, "x")
    return L(x**3 / (1.0 + x * b) - 0.5 * tg.sqrt(x * x + b * b), "L")


def tied_embedding():
    """One matrix looks words up and reads states out."""
    E, U = parameters(E=(4, 3), U=(3, 3))
    h = zero("h")
    for t, word in enumerate((2, 0), 1):
        h = L(tg.tanh(L(E[word], "x", t) + U @ h), "h", t)
    return L(tg.nn.cross_entropy(L(E @ h, "y"), 1), "L")


OTHERS = (row_batch, attention_opened, peephole, masked, softmax_opened, polynomial, tied_embedding)


def by_rows(label, g, p, factor):
    """What a label makes of a batch, told by its length, whose rows are columns to W in `linear(W, x)`."""
    many = len(g)

    def of_row(i, text):
        value = factor(text)
        return value[i][:, None] if len(value) == many else value[:, i][None] if value.shape[1] == many else value

    shape = column(p.value).shape if p.is_leaf else (p.shape[-1], 1)
    rows = [applied(label, row[:, None], shape, partial(of_row, i)) for i, row in enumerate(g)]
    return sum(rows) if p.is_leaf else np.hstack(rows).T


def local(q, p, g, places):
    """What comes back from q to p by no other place."""
    for x, term in sweep({q: g}, until=frozenset(places - {q})):
        if x is p:
            return term
    raise AssertionError("no way")


@pytest.mark.parametrize("net", [*OWN_NETS.values(), *OTHERS])
def test_the_labels_of_any_graph_add_up_to_the_gradient(net):
    """An f′ without its argument is that of the one f in the making of what its edge comes from."""
    loss = net()
    forward, backward = tg.draw.forward(loss), tg.draw.backward(loss)
    graph = Graph(loss)
    writer, known, values, functions = graph.writer, graph.known, graph.values, graph.functions
    tensors = {node.id: known[node.label] for node in forward.nodes if node.label in known}
    places = set(tensors.values())
    conditions = {name: column(1.0 * x.value) for name, x in known.items() if x.dtype == bool}
    tests = {f"[{name}]": x for name, x in conditions.items()}
    tests |= {f"[not {name}]": 1.0 - x for name, x in conditions.items()}

    def read(edge, g):
        q, p = tensors[edge.source], tensors[edge.target]
        if derivative := re.fullmatch("∂(⁺?)(.+)/∂(.+)", edge.label):
            direct, of, by = derivative.groups()
            assert (known[of], known[by]) == (q, p)
            g = g.reshape(q.shape)
            return column(local(q, p, g, places if direct else {p}))
        inside = [x for x in between(q, places) if x.primitive and "{f}" in x.primitive.written]
        slopes = {}
        for x in inside:
            name = writer.function(x)
            slopes.setdefault(f"{name}′", []).append(functions[f"{name}′"](column(x.inputs[0].value)))

        def factor(text):
            if text in tests:
                return np.broadcast_to(tests[text], column(p.value).shape)
            short = {name for name in re.findall(r"[^\s()ᵗ]+′(?:[₀-₉]|⁽.*?⁾)*(?!\()", text) if name not in values}
            at = {name: slopes[re.match("[^′]+′", name)[0]] for name in short}
            assert all(len(found) == 1 for found in at.values()), f"{edge.label}: which f is meant?"
            return Formula(text, values | {name: found for name, (found,) in at.items()}, functions).value()

        made = [x for x in between(q, places) if not x.is_leaf]
        if any(x.primitive.by_rows and x.primitive.products and x.ndim > 1 for x in made):
            return by_rows(edge.label, g, p, factor)
        if p.is_leaf and q.shape[1:] == p.shape != ():  # a bias of all rows of a batch
            return column(np.sum(applied(edge.label, g, q.shape, factor), axis=0))
        return applied(edge.label, g, column(p.value).shape, factor)

    arrived = {node.id: np.ones((1, 1)) for node in backward.nodes if node.kind == "output"}

    def at(node):
        if node not in arrived:
            edges = [e for e in backward.edges if e.target == node and e.kind == "gradient"]
            arrived[node] = sum(read(e, at(e.source)) for e in edges)
        return arrived[node]

    for x in places:
        if x.requires_grad and x is not loss:
            drawn = [node.id for node in backward.nodes if tensors.get(node.id) is x]
            found, (expected,) = sum(map(at, drawn)), tg.grad(loss, [x])
            np.testing.assert_allclose(found, column(expected.value), rtol=1e-9, atol=1e-12, err_msg=writer.variable(x))


def test_a_derivative_beside_other_ways_is_the_direct_one():
    """W is used at earlier steps too: at the first step of all there are none."""
    loss = OWN_NETS["multiplicative_lstm"]()
    labels = {edge.label for edge in tg.draw.backward(loss).edges}
    assert {"∂c⁽¹⁾/∂W", "∂⁺c⁽²⁾/∂W", "∂⁺c⁽²⁾/∂m⁽²⁾"} <= labels
    assert "∂⁺c⁽ᵗ⁾/∂W" in {edge.label for edge in tg.draw.backward(loss, rolled=True).edges}


def between(q, places):
    """A node and what it is made of, down to other places."""
    found, known = [q], {*places, q}
    for x in found:
        found += [y for y in dict.fromkeys(x.inputs) if y not in known]
        known |= set(x.inputs)
    return found
