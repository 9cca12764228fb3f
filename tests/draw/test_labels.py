"""What stands on the edges of the backward figure is right: evaluated as mathematics, it gives the gradient.

A label says what becomes of the cotangent g that comes along its edge. Its factors stand in the order in which g meets
them: ᵗU makes ᵗU g of it; ᵗh, of a vector, the matrix g ᵗh; any other factor multiplies it element by element; and what
a sum makes of it is the sum of what its terms make. So the value of an expression is what it makes of 1.
"""

from dataclasses import replace

import numpy as np
import pytest
from algebra.readers import LETTERS, Label, Net

import tinygrad_rnn as tg


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
