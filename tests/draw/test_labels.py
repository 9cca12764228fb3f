"""What stands on the edges of the backward figure is right: evaluated as mathematics, it gives the gradient.

A label says what becomes of the cotangent g that comes along its edge. Its factors stand in the order in which g meets
them: ᵗU makes ᵗU g of it; ᵗh, of a vector, the matrix g ᵗh; any other factor multiplies it element by element; and what
a sum makes of it is the sum of what its terms make. So the value of an expression is what it makes of 1.
"""

import re
from dataclasses import replace

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.backward import topological_order

D, H, K, T = 2, 3, 2, 3
TARGETS = np.array([[0.3, 0.7], [0.9, 0.1], [0.4, 0.6]])
LETTERS = {  # what the notations write for the letters of the nets
    "interdb": {"logits": "y"},
    "wildml": {"W": "U", "U": "W", "y": "ŷ", "Y": "y", "L": "E", "logits": "z", "z": "u", "ẑ": "û"},
    "state": {"W": "W_x", "U": "W_s", "V": "W_y", "h": "s", "Y": "d", "L": "E", "logits": "y"},
}
RAISED, LOWERED = str.maketrans("0123()", "⁰¹²³⁽⁾"), str.maketrans("0123", "₀₁₂₃")
FUNCTIONS = {
    "": np.asarray,  # parentheses alone
    "tanh": np.tanh,
    "softmax": lambda a: np.exp(a) / np.sum(np.exp(a)),
    "tanh′": lambda a: 1 / np.cosh(a) ** 2,
    "σ′": lambda a: np.exp(-a) / (1 + np.exp(-a)) ** 2,
    "relu′": lambda a: np.where(a > 0, 1.0, 0.0),
    "identity′": np.ones_like,
}
FUNCTIONS["sigmoid′"] = FUNCTIONS["σ′"]


class Net:
    """An unrolled net whose weights, biases and first states are not zero; its variables by their written names."""

    def __init__(self, kind, f="tanh", layers=1, many=False, loss="half_squared_error", notation="interdb"):
        self.notation, self.functions = notation, {**FUNCTIONS, "f′": FUNCTIONS[f"{f}′"]}
        rng = np.random.default_rng(16)
        options = {"nonlinearity": f} if kind == "RNN" else {}
        rnn, readout = getattr(tg.nn, kind)(D, H, layers, **options), tg.nn.Linear(H, K)
        self.parameters = [*rnn.parameters(), *readout.parameters()]
        for p in self.parameters:
            p.data[...] = rng.standard_normal(p.shape)
        xs, hs, cs = (
            [tg.Tensor(rng.standard_normal(n), requires_grad=True) for _ in range(count)]
            for n, count in ((D, T), (H, layers), (H, layers))
        )
        hs, _ = rnn(xs, list(zip(hs, cs, strict=True)) if kind == "LSTM" else hs)

        steps, losses = {}, []  # the readout of a step is written with that step if there are several
        for t in range(1 if many else T, T + 1):
            y, Y = readout(hs[t - 1]), tg.Tensor(TARGETS[t - 1])
            losses.append(getattr(tg.nn, loss)(y, Y))
            steps |= dict.fromkeys([y, Y, losses[-1]], t if many else None)
        self.loss = sum(losses[1:], losses[0])

        self.variables, self.values = {}, {}
        for x in filter(lambda x: x.name, topological_order(self.loss)):
            step = steps.get(x, x.step)
            name = self.write(x.name, step, x.layer)
            assert name not in self.values, f"{name} is written for two variables"
            self.values[name] = x.value
            if x.name == "ĥ":
                self.values[self.write("f′", step, x.layer)] = self.functions["f′"](x.value)  # f′₂: short for f′(ĥ₂)
            if x.requires_grad and x is not self.loss and not (x.name == "ĥ" and notation != "interdb"):
                self.variables[name] = x  # has a node in the figure

    def write(self, name, step, layer):
        """h⁽²⁾, and h₁⁽²⁾ in layer 1 of several; the other notations have the step below and the layer above."""
        base, _, gate = name.partition("_")
        gate = LETTERS[self.notation].get(gate, gate)
        base, _, below = LETTERS[self.notation].get(base, base).partition("_")
        inside, raised = (layer, step) if self.notation == "interdb" else (step, layer)
        below = ",".join([part for part in (below + gate, "" if inside is None else str(inside)) if part])
        below = below.translate(LOWERED) if below.isdigit() else below and f"_{below}"
        return base + below + ("" if raised is None else f"({raised})".translate(RAISED))

    def gradients(self):
        """{what stands in a node, and whether it is of a parameter: the gradient}; the same for the terms of steps."""
        grads = zip(self.variables.items(), tg.grad(self.loss, list(self.variables.values())), strict=True)
        whole = {(f"d{name}", x.is_leaf and x.step is None): dx.value for (name, x), dx in grads}
        terms = {
            (f"d{self.write(p.name, k, p.layer)}", True): term
            for p in self.parameters
            for k, term in enumerate(tg.bptt.contributions(self.loss, p), 1)
        }
        return whole, terms


class Label:
    """A label, read from the left to the right by recursive descent: sums of products of factors."""

    def __init__(self, text, net):
        self.net, self.rest = net, re.findall(r"[^\s()ᵗ+−]+\(?|[()ᵗ+−]", text)

    def applied(self, g):
        """What the label makes of a cotangent."""
        g = self.sum(g)
        assert not self.rest, f"{self.rest} is left over"
        return g

    def sum(self, g):
        total = self.product(-g if self.skip("−") else g)
        while self.rest and self.rest[0] in "+−":
            sign = 1 if self.rest.pop(0) == "+" else -1
            total = total + self.product(sign * g)
        return total

    def product(self, g):
        g = self.factor(g)
        while self.rest and self.rest[0] not in "+−)":
            g = self.factor(g)
        return g

    def factor(self, g):
        if self.skip("ᵗ"):
            a = self.atom()
            return a.T @ g if a.ndim == 2 else np.outer(g, a)
        if partial := re.fullmatch("∂(.+)/∂(.+)", "".join(self.rest[:1])):  # instead of a label that is too long
            self.rest.pop(0)
            return g @ tg.bptt.jacobian(*(self.net.variables[name] for name in partial.groups()))
        a = self.atom()
        if a.ndim == 2:  # U h
            a = a @ self.atom()
        assert g.shape in ((), a.shape) or a.ndim == 0, f"{a.shape} is no factor of {g.shape}"
        return g * a

    def atom(self):
        assert self.rest, "a factor is missing"
        token = self.rest.pop(0)
        if token.endswith("("):
            inside = self.sum(np.ones(()))
            assert self.skip(")"), "a parenthesis is not closed"
            return self.net.functions[token[:-1]](inside)
        return np.array(float(token)) if token.isdigit() else self.net.values[token]

    def skip(self, token):
        """Whether a token comes next, which is then read."""
        return self.rest[:1] == [token] and bool(self.rest.pop(0))


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


@pytest.mark.parametrize("notation", LETTERS)
@pytest.mark.parametrize("loss", ["half_squared_error", "squared_error", "cross_entropy"])
@pytest.mark.parametrize("many", [False, True], ids=["many-to-one", "many-to-many"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind, f", CELLS)
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
