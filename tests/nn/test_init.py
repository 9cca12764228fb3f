import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.nn import init


def test_glorot_is_uniform_within_its_limit():
    W = init.glorot(np.random.default_rng(0), (30, 50))
    limit = np.sqrt(6 / 80)
    assert W.shape == (30, 50)
    assert 0.95 * limit < np.abs(W).max() <= limit
    assert abs(W.mean()) < 0.02 * limit and abs(W.std() / (limit / np.sqrt(3)) - 1) < 0.05


def test_orthogonal_keeps_every_norm():
    U = init.orthogonal(np.random.default_rng(0), 7)
    np.testing.assert_allclose(U.T @ U, np.eye(7), atol=1e-14)


def test_orthogonal_is_uniform_not_one_handed():
    """Rotations and reflections come equally often, and the first entry is as often negative as positive."""
    rng = np.random.default_rng(0)
    matrices = [init.orthogonal(rng, 3) for _ in range(400)]
    assert 150 < sum(np.linalg.det(U) > 0 for U in matrices) < 250
    assert 150 < sum(U[0, 0] > 0 for U in matrices) < 250


def test_a_seed_stands_for_its_generator():
    for make, what in ((init.glorot, (2, 3)), (init.orthogonal, 3)):
        np.testing.assert_array_equal(make(7, what), make(np.random.default_rng(7), what))


def test_the_identity_passes_states_and_gradients_on():
    """The IRNN: without input, relu hands a positive state and its gradient through 100 steps as they are."""
    rnn = tg.nn.RNN(1, 3, nonlinearity="relu", rng=0)
    rnn.cells[0].U.data = init.identity(3)
    h0 = tg.Tensor([0.5, 1.0, 2.0], requires_grad=True)
    hs, _ = rnn(np.zeros((100, 1)), [h0])
    (hs[-1] * np.array([3.0, 4.0, 5.0])).sum().backward()
    np.testing.assert_array_equal(hs[-1].data, [0.5, 1.0, 2.0])
    np.testing.assert_array_equal(h0.grad, [3.0, 4.0, 5.0])


def test_a_matrix_is_scaled_to_a_norm_or_a_radius():
    U = np.random.default_rng(0).standard_normal((5, 5))
    assert np.linalg.norm(init.scaled(U, norm=0.5), 2) == pytest.approx(0.5, rel=1e-14)
    assert np.max(np.abs(np.linalg.eigvals(init.scaled(U, radius=1.5)))) == pytest.approx(1.5, rel=1e-12)
    np.testing.assert_allclose(init.scaled(U, norm=2.0) / U, (init.scaled(U, norm=2.0) / U)[0, 0], rtol=1e-13)


@pytest.mark.parametrize("options, message", [
    ({}, "one of norm and radius"), ({"norm": 1.0, "radius": 1.0}, "one of"), ({"radius": 1.0}, "radius of 0"),
    ({"norm": -1.0}, r"norm=-1.0\): a finite number of at least 0"), ({"radius": np.nan}, "radius=nan"),
])  # fmt: skip
def test_what_cannot_be_scaled_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        init.scaled(np.triu(np.ones((2, 2)), 1), **options)
