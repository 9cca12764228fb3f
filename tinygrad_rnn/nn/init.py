"""Initial values of parameters, each an array drawn from a `numpy.random.Generator`. Weights are (out, in)."""

from __future__ import annotations

import numpy as np

__all__ = ["glorot", "orthogonal"]


def glorot(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Uniform in ±√(6 / (in + out)): keeps the variance of values and cotangents alike (Glorot and Bengio 2010)."""
    limit = np.sqrt(6.0 / (shape[0] + shape[1]))
    return rng.uniform(-limit, limit, shape)


def orthogonal(rng: np.random.Generator, size: int) -> np.ndarray:
    """A random rotation or reflection, uniform over all (Mezzadri 2007): ᵗU U = 1, so U itself keeps every norm."""
    Q, R = np.linalg.qr(rng.standard_normal((size, size)))
    return Q * np.sign(np.diag(R))
