"""The value of a formula, computed from its tree by NumPy alone: the reader's side of the notation."""

import numpy as np

RELATIONS = {
    "=": np.equal, "≠": np.not_equal, "<": np.less, "≤": np.less_equal, ">": np.greater, "≥": np.greater_equal,
    "mod": np.mod,
}  # fmt: skip
FUNCTIONS = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "softplus": lambda x: np.log(1 + np.exp(x)),
    "relu": lambda x: np.maximum(x, 0), "max": lambda *xs: np.maximum(*xs) if len(xs) > 1 else np.max(xs[0]),
    "min": lambda *xs: np.minimum(*xs) if len(xs) > 1 else np.min(xs[0]), "where": np.where,
    "softmax": lambda x: np.exp(x) / np.sum(np.exp(x), axis=-1, keepdims=True),
    "log softmax": lambda x: x - np.log(np.sum(np.exp(x), axis=-1, keepdims=True)),
}  # fmt: skip
SLOPES = {
    "tanh": lambda x: 1 / np.cosh(x) ** 2, "sigmoid": lambda x: np.exp(-x) / (1 + np.exp(-x)) ** 2,
    "relu": lambda x: np.where(x > 0, 1.0, 0.0),
}  # fmt: skip


def evaluated(tree, gradients=None):
    """The value of a tree, of the values of its nodes; `gradients` are those of nodes, for the d of a node."""

    def value(t):
        parts = [value(part) for part in t.parts]
        match t.head:
            case "symbol":
                return t.of.value
            case "gradient":
                return gradients[t.of]
            case "number":
                return np.float64(t.of)
            case "negative":
                return -parts[0]
            case "sum":
                return sum(parts[1:], parts[0])
            case "times":
                return np.prod(np.broadcast_arrays(*parts), axis=0) if len(parts) > 1 else parts[0]
            case "over":
                return parts[0] / parts[1]
            case "power":
                return parts[0] ** parts[1]
            case "root":
                return np.sqrt(parts[0])
            case "size":
                return np.abs(parts[0])
            case "brackets":
                return parts[0].astype(float) if isinstance(parts[0], np.ndarray) else np.float64(parts[0])
            case "words":
                return np.logical_not(parts[0])
            case "relation":
                return RELATIONS[t.of](*parts)
            case "transposed":
                return parts[0].T if parts[0].ndim == 2 else parts[0][None, :]
            case "matrix":
                return product(*parts)
            case "total":
                return summed_to(parts[0], t.shape)
            case "applied":
                name = t.of if isinstance(t.of, str) else t.of.name
                return (FUNCTIONS.get(name) or getattr(np, name))(*parts)
            case "prime":
                return SLOPES[t.of.primitive.name](parts[0])
        raise AssertionError(f"{t.head} has no value")

    return value(tree)


def product(a, b):
    """a b as matrices, a vector being a column: a number where that is one, and a vector where it is a column."""
    columns = [x[:, None] if np.ndim(x) == 1 else np.atleast_2d(x) for x in (a, b)]
    if np.ndim(a) == 1 and columns[1].shape[0] == columns[0].shape[0] != 1:
        columns[0] = columns[0].T  # y = V h of two vectors: V is a row
    found = columns[0] @ columns[1]
    return found.reshape(found.shape[0]) if np.ndim(b) == 1 and found.shape[1] == 1 else found


def summed_to(x, shape):
    """x added up to a shape."""
    x = np.sum(x, axis=tuple(range(np.ndim(x) - len(shape))))
    return np.sum(x, axis=tuple(i for i, n in enumerate(shape) if n == 1), keepdims=True)
