import numpy as np
import pytest
from algebra.evaluated import evaluated

from tinygrad_rnn.algebra.formulas import passed_back
from tinygrad_rnn.algebra.trees import gradient
from tinygrad_rnn.backward import passed_back as computed
from tinygrad_rnn.checking import samples
from tinygrad_rnn.primitives import TABLE
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
        batch = row.products and ((name == "matmul" and len(shapes[0]) == 1) or any(len(shape) > 2 for shape in shapes))
        batch = batch or (row.rows is not None and len(shapes[1]) > 1) or (name == "outer" and len(shapes[0]) > 1)
        over_an_axis = (row.reduction or name == "log_softmax") and len(shapes[0]) > 1 and static[0] is not None
        if batch or over_an_axis or any(0 in shape for shape in shapes) or (name == "transpose" and static != (None,)):
            continue
        if name == "cross_entropy":  # softmax(x) − y is for weights that are probabilities
            arrays[1] = np.abs(arrays[1]) / np.abs(arrays[1]).sum(-1, keepdims=True)
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
            found = evaluated(passed_back(node, i, gradient(node), has_name), {node: g})
            found = np.reshape(found, x.shape) if np.size(found) == x.size else np.broadcast_to(found, x.shape)
            np.testing.assert_allclose(found, computed(node, i, g), rtol=1e-9, atol=1e-12)
            written += 1
    assert written
