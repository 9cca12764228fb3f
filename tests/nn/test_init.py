import numpy as np
import pytest

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


def test_the_identity_passes_states_and_gradients_on():
    np.testing.assert_array_equal(init.identity(3), np.eye(3))


def test_a_matrix_is_scaled_to_a_norm_or_a_radius():
    U = np.random.default_rng(0).standard_normal((5, 5))
    assert np.linalg.norm(init.scaled(U, norm=0.5), 2) == pytest.approx(0.5, rel=1e-14)
    assert np.max(np.abs(np.linalg.eigvals(init.scaled(U, radius=1.5)))) == pytest.approx(1.5, rel=1e-12)
    np.testing.assert_allclose(init.scaled(U, norm=2.0) / U, (init.scaled(U, norm=2.0) / U)[0, 0], rtol=1e-13)


@pytest.mark.parametrize("options, message", [
    ({}, "one of norm and radius"), ({"norm": 1.0, "radius": 1.0}, "one of"), ({"radius": 1.0}, "radius of 0"),
])  # fmt: skip
def test_what_cannot_be_scaled_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        init.scaled(np.triu(np.ones((2, 2)), 1), **options)
