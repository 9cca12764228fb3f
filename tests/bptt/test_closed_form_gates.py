import ast
from pathlib import Path

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.bptt import closed_form_gates


@pytest.mark.parametrize("T", [1, 2, 20])
@pytest.mark.parametrize("kind, by_hand", [
    (tg.nn.LSTM, closed_form_gates.lstm_gradients), (tg.nn.GRU, closed_form_gates.gru_gradients),
])  # fmt: skip
def test_gates_through_time(kind, by_hand, T):
    rng = np.random.default_rng(T)
    net = kind(2, 3, rng=rng)
    parameters = dict(net.cells[0].named_parameters())
    for p in parameters.values():
        p.data = 0.5 * rng.standard_normal(p.shape)
    xs, target = rng.standard_normal((T, 4, 2)), rng.standard_normal((4, 3))
    loss, gradients = by_hand({name: p.data for name, p in parameters.items()}, xs, target)
    ours = tg.nn.half_squared_error(net(xs)[0][-1], target)
    ours.backward()
    assert loss == pytest.approx(ours.item(), rel=1e-13)
    assert set(gradients) == set(parameters)
    for name, p in parameters.items():
        np.testing.assert_allclose(p.grad, gradients[name], atol=1e-12, err_msg=name)


def test_the_witness_imports_nothing_of_the_engine():
    tree = ast.parse(Path(closed_form_gates.__file__).read_text(encoding="utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not any("tinygrad_rnn" in module for module in imported)
