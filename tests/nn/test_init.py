import numpy as np

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
