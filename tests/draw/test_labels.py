"""What stands on the edges of the backward figure is right: evaluated as mathematics, it gives the gradient.

A label says what becomes of the cotangent g that comes along its edge. Its factors stand in the order in which g meets
them: ᵗU makes ᵗU g of it; ᵗh, of a vector, the matrix g ᵗh; any other factor multiplies it element by element; and what
a sum makes of it is the sum of what its terms make. So the value of an expression is what it makes of 1.
"""

import re
from dataclasses import replace
from functools import partial
from itertools import product

import numpy as np
import pytest
from algebra.readers import FUNCTIONS, LETTERS, Formula, Graph, Label, Net, applied, column
from own_nets import OWN_NETS, L, data, half, parameters, zero
from stories import TOLD, as_text, backward_frames, equations, gradients_told, numbered

import tinygrad_rnn as tg
from tinygrad_rnn.backward import sweep
from tinygrad_rnn.context import time_step
from tinygrad_rnn.draw.labels import FROM, TO


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


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("many", [False, True], ids=["many-to-one", "many-to-many"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind, f", CELLS)
def test_the_products_along_all_paths_add_up_to_the_gradient(kind, f, layers, many, loss):
    """For each net in three notations, of each loss in another."""
    notation = list(LETTERS)[(LOSSES.index(loss) + layers + 2 * many) % 3]
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


# Equations, as the page tells them


NAMELESS = r"d\([^\s()]+\)"  # the gradient of a node that has no name, as d(+)


KINDS = [("RNN", 2, True), ("LSTM", 1, True), ("GRU", 1, False)]


ENDS = [("squared_error", "named"), ("cross_entropy", "named"), ("half_squared_error", "primitives")]


CASES = [  # each net and each loss in every notation
    (*KINDS[i], *ENDS[j], batch, list(LETTERS)[(i + j + (batch is None)) % 3])
    for i, j, batch in product(range(3), range(3), (None, 4))
]


@pytest.mark.parametrize("kind, layers, many, loss, level, batch, notation", CASES)
def test_every_equation_is_true(kind, layers, many, loss, level, batch, notation):
    """Each says of its variable or gradient, with what it names, what that is; in a batch, of each row."""
    net = Net(kind, "tanh", layers, many, loss, notation, batch)
    story = tg.draw.backward(net.loss, notation=notation, level=level).story()
    values, arrays = net.columns(), numbered(story)

    def check(left, right, expected, before=0.0):
        found = before + Formula(right, values, net.functions, net.partial).value()
        found = np.sum(found) if expected.size == 1 else found.reshape(expected.shape)  # of a batch, over all rows
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-10, err_msg=f"{left} = {right}")

    for node in story.nodes.values():
        if "equation" in node:
            check(node["plain"], as_text(node["equation"]).rpartition(" = ")[2], arrays[node["value"]])
    before: dict[str, np.ndarray] = {}
    for frame, total in backward_frames(story):
        left, sign, right = re.split(" ([=←]) ", as_text(frame["equation"]), maxsplit=1)
        old = net.column(before[frame["to"]]) if sign == "←" else 0.0
        right = right[len(left) + 1 :].removeprefix("+ ") if sign == "←" else right
        if "∂(" not in right and left[0] == "d":  # else a derivative of what has no name
            values["from"] = net.column(before[frame["from"]])
            check(left, re.sub(NAMELESS, "from", right), total, old)
        before[frame["to"]] = total
        values[left] = net.column(total)


def test_the_equations_of_a_plain_net(unrolled):
    assert equations(tg.draw.backward(unrolled(2)).story()) == [
        "∂L/∂L = 1",
        "dy = y − Y",
        "dc = dy",
        "dh⁽²⁾ = ᵗV dy",
        "dV = dy ᵗh⁽²⁾",
        "dĥ⁽²⁾ = f′(ĥ⁽²⁾) ⊙ dh⁽²⁾",
        "db⁽²⁾ = dĥ⁽²⁾",
        "db = db⁽²⁾",
        "dh⁽¹⁾ = ᵗU dĥ⁽²⁾",
        "dU⁽²⁾ = dĥ⁽²⁾ ᵗh⁽¹⁾",
        "dU = dU⁽²⁾",
        "dW⁽²⁾ = dĥ⁽²⁾ ᵗx⁽²⁾",
        "dW = dW⁽²⁾",
        "dĥ⁽¹⁾ = f′(ĥ⁽¹⁾) ⊙ dh⁽¹⁾",
        "db⁽¹⁾ = dĥ⁽¹⁾",
        "db ← db + db⁽¹⁾",
        "dU⁽¹⁾ = dĥ⁽¹⁾ ᵗh⁽⁰⁾",
        "dU ← dU + dU⁽¹⁾",
        "dW⁽¹⁾ = dĥ⁽¹⁾ ᵗx⁽¹⁾",
        "dW ← dW + dW⁽¹⁾",
    ]


def test_equations_of_folded_and_of_nameless_nodes(unrolled):
    folded = equations(tg.draw.backward(unrolled(2), notation="wildml").story())
    assert "dh₁ = ᵗW (f′₂ ⊙ dh₂)" in folded and "dW₂ = (f′₂ ⊙ dh₂) ᵗh₁" in folded
    primitives = equations(tg.draw.backward(unrolled(2), level="primitives").story())
    assert "d(linear) = d(+)" in primitives and "dh⁽¹⁾ = ᵗU d(linear)" in primitives


def test_a_parameter_that_a_step_uses_twice(unrolled):
    A, h = tg.Tensor([[0.5, 1.0], [2.0, 0.1]], requires_grad=True, name="A"), tg.Tensor([1.0, 2.0], name="x")
    for t in (1, 2):
        with time_step(t):
            h = tg.label(A @ tg.label(A @ h, "z"), "h")
    loss = tg.label((h * h).sum(), "L")
    story = tg.draw.backward(loss).story()
    assert len([equation for equation in equations(story) if equation.startswith("dA ←")]) == 3
    np.testing.assert_allclose(gradients_told(story)["dA"], tg.grad(loss, A)[0].value)


def test_no_false_product_where_one_number_becomes_many():
    W, x = tg.Tensor(np.ones((2, 3)), requires_grad=True, name="W"), tg.Tensor(np.ones(3), name="x")
    y = tg.label((W @ x).sum(), "y")
    assert equations(tg.draw.backward(y).story()) == ["∂y/∂y = 1", "dW = ∂y/∂W"]
    assert equations(tg.draw.backward(y, level="primitives").story())[1] == "d(matmul) = ∂y/∂(matmul)"
    z = tg.label(y * 2.0, "z")
    assert equations(tg.draw.backward(z).story()) == ["∂z/∂z = 1", "dy = 2", "dW = dy · ∂y/∂W"]


def test_the_gradient_of_what_was_broadcast_is_a_sum():
    x, s = tg.Tensor([1.0, 2.0], requires_grad=True, name="x"), tg.Tensor(-3.0, requires_grad=True, name="s")
    z = tg.label(x * s, "z")
    assert equations(tg.draw.backward(tg.label((z * z).sum(), "L")).story())[2:] == ["ds = Σ x ⊙ dz", "dx = s dz"]
    told = equations(tg.draw.backward(tg.label(tg.label((s + x).sum(), "y") * 2.0, "z")).story())
    assert told[2:] == ["dx = dy · ∂y/∂x", "ds = dy · ∂y/∂s"]


def test_a_long_expression_of_nameless_nodes_is_cut():
    y = tg.Tensor([0.5], requires_grad=True, name="x")
    for _ in range(30):  # with 2³⁰ operands if it were written out
        y = y * y
    story = tg.draw.forward(tg.label(y.sum(), "L")).story()
    assert all(len(node.get("equation", "")) < 1000 for node in story.nodes.values())
    assert len(equations(story)[-1]) < 200


def test_a_batch_is_said_to_be_one():
    rng = np.random.default_rng(0)
    rnn, readout = tg.nn.RNN(2, 3, rng=0), tg.nn.Linear(3, 1, rng=0)
    hs, _ = rnn(rng.standard_normal((2, 4, 2)))
    story = tg.draw.forward(tg.nn.half_squared_error(readout(hs[-1]), np.ones((4, 1)))).story()
    told = {as_text(frame["equation"]): frame for frame, _ in backward_frames(story)}
    for equation in ("dU⁽²⁾ = Σ dĥ⁽²⁾ ᵗh⁽¹⁾", "db⁽²⁾ = Σ dĥ⁽²⁾", "dh⁽¹⁾ = ᵗU dĥ⁽²⁾"):
        assert "every row of the batch" in told[equation]["note"] and "numbers" not in told[equation]
    node = next(node for node in story.nodes.values() if node["plain"] == "ĥ⁽¹⁾")
    assert "every row of the batch" in node["note"] and "numbers" not in node


@pytest.mark.parametrize("level", ["named", "primitives"])
def test_a_gradient_that_is_transposed_is_told(level):
    """Of a ᵗb, the gradient of b is that of the product, transposed, times a; as in graphs of gradients."""
    a, b = (tg.Tensor(x, requires_grad=True, name=n) for x, n in (([1.0, 2.0], "a"), ([3.0, -1.0, 0.5], "b")))
    M = tg.label(tg.outer(a, b), "M")
    story = tg.draw.backward(tg.label(tg.sum(M * M), "L"), level=level).story()
    np.testing.assert_allclose(gradients_told(story)["db"], 2 * b.value * 5.0)


def attention() -> tg.Tensor:
    """c = ᵗH α with α = softmax(H q), read out: vectors on both sides of a matrix."""
    rng = np.random.default_rng(3)
    H, q, V, s = (
        tg.Tensor(rng.standard_normal(n), requires_grad=True, name=x)
        for n, x in (((4, 3), "H"), (3, "q"), ((2, 3), "V"), (3, "s"))
    )
    c = tg.label(tg.label(tg.softmax(tg.label(H @ q, "e")), "α") @ H, "c")
    return tg.label(tg.nn.half_squared_error(V @ c, np.ones(2)) + tg.dot(s, c), "L")


@pytest.mark.parametrize("net", [*TOLD, None])
def test_numbers_evaluated_are_what_they_stand_for(unrolled, net):
    """An equation that the page writes in numbers is true with the marked arrays in their places."""
    story = tg.draw.backward(attention() if net is None else unrolled(3, **net)).story()
    arrays = numbered(story)

    def evaluated(markup: str) -> np.ndarray:
        values = {}

        def name(found):
            value = arrays[int(found[1])]
            value = value.reshape(len(value), -1) if value.ndim else value.reshape(1, 1)
            values[f"a{len(values)}"] = value
            return f"a{len(values) - 1}"

        text = re.sub(f"{FROM}([0-9]+)[|][^{TO}]*{TO}", name, markup)
        return Formula(as_text(text), values, FUNCTIONS | {"f": np.tanh}).value()

    def check(told: dict, expected: np.ndarray) -> None:
        found = evaluated(told["equation"].partition(" = ")[2])
        assert expected.size == 1 or found.shape == (*expected.shape, 1)[:2]
        np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-9, atol=1e-12)

    told = [(node, node["value"]) for node in story.nodes.values() if "numbers" in node]
    frames = [frame for frame in story.frames if "numbers" in frame and " = " in frame["equation"]]
    told += [(frame, frame["term"]) for frame in frames]
    for node_or_frame, number in told:
        check(node_or_frame, arrays[number])
    assert len(told) > 8 and story.computation.data()["fixed"] == ""
