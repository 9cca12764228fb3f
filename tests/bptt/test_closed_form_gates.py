import numpy as np
import pytest

import closed_form_gates
import tinygrad_rnn as tg


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


@pytest.mark.parametrize("by_hand, kind", [
    (closed_form_gates.lstm_gradients, tg.nn.LSTM), (closed_form_gates.gru_gradients, tg.nn.GRU),
])  # fmt: skip
def test_a_gate_that_is_shut_for_good_overflows_nowhere(by_hand, kind):
    net = kind(1, 1, rng=0)
    p = {name: np.full_like(p.data, -1000.0) for name, p in net.cells[0].named_parameters()}
    loss, gradients = by_hand(p, np.ones((3, 1, 1)), np.ones((1, 1)))
    assert np.isfinite(loss) and all(np.isfinite(g).all() for g in gradients.values())
