"""Initial values of parameters, as arrays. Weights are (out, in). rng is a `numpy.random.Generator`, or a seed for one.

rnn.cells[0].U.data = init.identity(100)        # with relu: the IRNN of Le et al. 2015
"""

import sys

import numpy as np

from tinygrad_rnn.checks import number

Rng = np.random.Generator | int | None  # None is a generator that nobody else has


def glorot(rng: Rng, shape: tuple[int, int]) -> np.ndarray:
    """Uniform in ±√(6 / (in + out)): keeps the variance of values and cotangents alike (Glorot and Bengio 2010).

    >>> tg.nn.init.glorot(0, (3, 2)).shape
    (3, 2)
    """
    limit = np.sqrt(6.0 / (shape[0] + shape[1]))
    return np.random.default_rng(rng).uniform(-limit, limit, shape)


def orthogonal(rng: Rng, size: int) -> np.ndarray:
    """A random rotation or reflection, uniform over all (Mezzadri 2007): ᵗU U = 1, so U itself keeps every norm.

    >>> U = tg.nn.init.orthogonal(0, 3)
    >>> np.allclose(U.T @ U, np.eye(3))
    True
    """
    Q, R = np.linalg.qr(np.random.default_rng(rng).standard_normal((size, size)))
    return Q * np.sign(np.diag(R))


def identity(size: int) -> np.ndarray:
    """The identity: a state is passed on as it is, and so is its gradient; with relu the IRNN of Le et al. 2015.

    >>> tg.nn.init.identity(2)
    array([[1., 0.],
           [0., 1.]])
    """
    return np.eye(size)


def scaled(U: np.ndarray, norm: float | None = None, radius: float | None = None) -> np.ndarray:
    """A matrix scaled to a spectral norm σ_max(U), which bounds how gradients grow, or to a spectral radius max |λ(U)|.

    (Pascanu et al. 2013: with tanh, gradients can only explode if σ_max(U) > 1.)

    Raises:
        ValueError: not one of norm and radius is given, or it is negative or not finite; or that of U is, or is 0.

    >>> tg.nn.init.scaled(2.0 * np.eye(2), norm=0.5)
    array([[0.5, 0. ],
           [0. , 0.5]])
    """
    if (norm is None) == (radius is None):
        raise ValueError("scaled(U, norm, radius): one of norm and radius is needed")
    name, given = ("norm", norm) if radius is None else ("radius", radius)
    wanted = number("scaled", name, given, "a finite number of at least 0", 0.0, sys.float_info.max)
    now = np.linalg.norm(U, 2) if radius is None else np.max(np.abs(np.linalg.eigvals(U)))
    if not 0 < now < np.inf:
        raise ValueError(f"scaled(U): U has a {name} of {now:.3g} and cannot be scaled")
    return U * (wanted / now)
