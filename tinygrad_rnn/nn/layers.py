"""Layers without a state: `Linear`, `Embedding`, `LayerNorm`, `Dropout`; `Sequential`, some in turn; and losses."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_rnn import functions as F
from tinygrad_rnn import primitives
from tinygrad_rnn.algebra.notation import Letter
from tinygrad_rnn.checks import instance, number, one_of, positive, whole
from tinygrad_rnn.errors import ShapeError
from tinygrad_rnn.interop import record_test
from tinygrad_rnn.nn.init import Rng, glorot
from tinygrad_rnn.nn.module import Letters, Module, Parameter
from tinygrad_rnn.tensor import Tensor, as_tensor, label, record


class Linear(Module):
    """The dense layer y = V h + c (interdb 7.2.3; IIT slides: z = V h).

    Args:
        input_size: H, the length of h.
        output_size: K, the length of y.
        bias: whether there is a c; the BPTT post, Module 5 and the IIT slides have none.
        rng: a `numpy.random.Generator`, or a seed for one.
        name: what its letters carry: with "dec", V_dec.

    Attributes:
        V: (K, H), Glorot. c: (K,), zeros, or None.

    >>> dense = tg.nn.Linear(3, 1, rng=0)
    >>> dense(np.ones(3)).shape, dense(np.ones((5, 3))).shape
    ((1,), (5, 1))
    """

    def __init__(self, input_size: int, output_size: int, bias: bool = True, rng: Rng = None, name: str | None = None):
        self.letters = Letters("Linear", name)
        self.input_size = whole("Linear", "input_size", input_size, 1)
        self.output_size = whole("Linear", "output_size", output_size, 1)
        self.V = Parameter(glorot(np.random.default_rng(rng), (output_size, input_size)), name=self.letters["V"])
        self.c = Parameter(np.zeros(output_size), name=self.letters["c"]) if bias else None

    def __call__(self, h: Any) -> Tensor:
        """y = V h + c, shape (K,) for h (H,), and (..., K) for a batch (..., H).

        Raises:
            ShapeError: h has another width.
        """
        y = F.linear(self.V, h)
        return label(y if self.c is None else y + self.c, self.letters["y"])


class Embedding(Module):
    """A table with a learnt row for each word, x(t) = E[i(t)], which is the product ᵗE i with a one-hot vector i.

    Args:
        num_embeddings, embedding_dim: N words, and D, the length of each row.
        rng: a `numpy.random.Generator`, or a seed for one. name: what its letter carries: with "enc", E_enc.

    Attributes:
        E: (N, D), normal with variance 1.

    >>> embedding = tg.nn.Embedding(10, 3, rng=0)
    >>> embedding([7, 2]).shape
    (2, 3)
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, rng: Rng = None, name: str | None = None):
        N = whole("Embedding", "num_embeddings", num_embeddings, 1)
        D = whole("Embedding", "embedding_dim", embedding_dim, 1)
        self.E = Parameter(np.random.default_rng(rng).standard_normal((N, D)), name=Letters("Embedding", name)["E"])

    def __call__(self, index: Any) -> Tensor:
        """The rows of word numbers of any shape, (..., D); a program reads numbers that are its input at each call.

        Raises:
            ValueError: what is given is not whole numbers from 0 to N-1.
        """
        known = 0, len(self.E) - 1, "Embedding: word numbers"
        return self.E[record_test("whole_number", as_tensor(index), static=known)]


class LayerNorm(Module):
    """y = γ ⊙ (x - mean(x)) / √(var(x) + eps) + β, over the last axis (Ba, Kiros and Hinton 2016).

    Args:
        size: the length of x. eps: keeps the quotient finite. name: what its letters carry: with "enc", γ_enc.

    Attributes:
        gamma, beta: (size,), ones and zeros.

    >>> norm = tg.nn.LayerNorm(4)
    >>> abs(norm([1.0, 2.0, 3.0, 4.0]).mean().item()) < 1e-12
    True
    """

    def __init__(self, size: int, eps: float = 1e-5, name: str | None = None):
        ones, letters = np.ones(whole("LayerNorm", "size", size, 1)), Letters("LayerNorm", name)
        self.eps = positive("LayerNorm", "eps", eps)
        self.gamma, self.beta = Parameter(ones, name=letters["γ"]), Parameter(0.0 * ones, name=letters["β"])

    def __call__(self, x: Any) -> Tensor:
        """y, of the shape of x, (..., size).

        Raises:
            ShapeError: x has another width.
        """
        if np.shape(x)[-1:] != self.gamma.shape:
            raise ShapeError(f"LayerNorm: x has shape {np.shape(x)}, expected (..., {self.gamma.size})")
        away = x - F.mean(x, -1, keepdims=True)
        return away / F.sqrt(F.mean(F.square(away), -1, keepdims=True) + self.eps) * self.gamma + self.beta


class Dropout(Module):
    """While it is trained, a random part p of the elements of x are 0, and the others are divided by 1 - p.

    (Srivastava et al. 2014; PyTorch's scaling.) A mask is drawn anew at each call. A program cannot draw: make the
    mask an input of the function, as `dropout(x, mask)`, and call the program with `dropout.mask(shape)`.

    Args:
        p: from 0 to 1. rng: a `numpy.random.Generator`, or a seed for one.

    >>> dropout = tg.nn.Dropout(0.5, rng=0)
    >>> sorted(set(dropout(np.ones(100)).tolist())), set(dropout.eval()(np.ones(100)).tolist())
    ([0.0, 2.0], {1.0})
    """

    def __init__(self, p: float = 0.5, rng: Rng = None):
        self.p = number("Dropout", "p", p, "a number from 0 to 1", 0, 1)
        self.rng = np.random.default_rng(rng)

    def mask(self, shape: tuple[int, ...]) -> np.ndarray:
        """A mask, of zeros and 1 / (1 - p)."""
        return (self.rng.random(shape) >= self.p) / (1.0 - self.p or 1.0)

    def __call__(self, x: Any, mask: Any = None) -> Tensor:
        """x times a mask, one of this shape if none is given; x itself after `eval()`."""
        x = as_tensor(x)
        if not self.training:
            return x
        return x * as_tensor(self.mask(x.shape) if mask is None else mask).astype(np.result_type(x.dtype, np.float32))


class Sequential(Module):
    """Modules, or functions, each of which takes what the one before makes: Sequential(Linear(2, 3), tg.tanh).

    >>> net = tg.nn.Sequential(tg.nn.Linear(2, 3, rng=0), tg.tanh, tg.nn.Linear(3, 1, rng=1))
    >>> net(np.ones(2)).shape
    (1,)
    """

    def __init__(self, *modules: Callable[[Any], Any]):
        for i, module in enumerate(modules):  # attributes that are called as in PyTorch, so that paths are too
            setattr(self, str(i), instance("Sequential(*modules)", module, Callable, "a module or a function"))

    def __call__(self, x: Any) -> Any:
        """The result of the last one."""
        for module in [module for name, module in vars(self).items() if name.isdigit()]:
            x = module(x)
        return x


# Losses. `reduction="sum"` is the texts' E = Σ E_t; `"mean"` divides by the number of elements (rows, for classes);
# `"none"` gives the loss of each. A loss names what has no name yet: y or z, the target, and itself L.


def half_squared_error(y: Any, target: Any, reduction: str = "sum") -> Tensor:
    """L = ½ Σ (y - Y)² (interdb, eq. 7.3), of y and a target Y of the same shape.

    Raises:
        ShapeError: the shapes differ. ValueError: an unknown reduction.

    >>> tg.nn.half_squared_error([1.0, 2.0], [1.0, 4.0]).item()
    2.0
    """
    y, Y = _pair("half_squared_error", y, target)
    return _summed("half_squared_error", F.square(y - Y), reduction, 0.5)


def squared_error(y: Any, target: Any, reduction: str = "sum") -> Tensor:
    """L = Σ (Y - y)² (BPTT post and Module 5: E_t = (d_t - y_t)²), of y and a target Y of the same shape.

    Raises:
        ShapeError: the shapes differ. ValueError: an unknown reduction.

    >>> tg.nn.squared_error([1.0, 2.0], [1.0, 4.0], reduction="mean").item()
    2.0
    """
    y, Y = _pair("squared_error", y, target)
    return _summed("squared_error", F.square(Y - y), reduction)


def binary_cross_entropy(y: Any, target: Any, reduction: str = "sum") -> Tensor:
    """L = -Σ Y log y + (1 - Y) log(1 - y), of probabilities y and Y of the same shape; a logarithm is at least -100.

    Raises:
        ShapeError: the shapes differ. ValueError: a y is not from 0 to 1; an unknown reduction.

    >>> f"{tg.nn.binary_cross_entropy([0.5], [1.0]).item():.4f}"
    '0.6931'
    """
    y, Y = _pair("binary_cross_entropy", y, target)
    if not np.all((y >= 0) & (y <= 1)):
        raise ValueError("binary_cross_entropy: y is a probability, from 0 to 1; of logits, take ..._with_logits")
    log_y, log_not_y = (F.log(F.maximum(x, math.exp(-100.0))) for x in (y, 1.0 - y))
    return _summed("binary_cross_entropy", -(Y * log_y + (1.0 - Y) * log_not_y), reduction)


def binary_cross_entropy_with_logits(logits: Any, target: Any, reduction: str = "sum") -> Tensor:
    """`binary_cross_entropy` of σ(z), for any z: L = Σ (1 - Y) z + log(1 + e^-z); its derivative by z is σ(z) - Y.

    Raises:
        ShapeError: the shapes differ. ValueError: an unknown reduction.

    >>> f"{tg.nn.binary_cross_entropy_with_logits([0.0], [1.0]).item():.4f}"
    '0.6931'
    """
    z, Y = _pair("binary_cross_entropy_with_logits", logits, target)
    return _summed("binary_cross_entropy_with_logits", (1.0 - Y) * z + F.softplus(-z), reduction)


def cross_entropy(logits: Any, targets: Any, reduction: str = "sum", ignore_index: int | None = None) -> Tensor:
    """L = -Σ Y log softmax(z) (IIT slides: E_t = -y_t log ŷ_t), of logits z (K,) or (..., K).

    Its derivative by z is softmax(z) - Y (IIT slides: ŷ - y), as long as the weights of the classes add up to 1.

    Args:
        targets: class numbers 0 to K-1, of shape () or (...), or one weight per class, (K,) or (..., K) like z.
        ignore_index: the number in the place of a class where there is no target: it counts nothing, in a mean too.

    Raises:
        ShapeError: the targets have another shape. ValueError: a class number out of range; an unknown reduction.

    >>> f"{tg.nn.cross_entropy([0.0, 0.0], 1).item():.4f}"
    '0.6931'
    """
    z, y = as_tensor(logits), as_tensor(targets)
    count: Any = max(math.prod(z.shape[:-1]), 1)
    if z.name is None or (type(z.name) is Letter and z.name == "y"):  # as a dense layer calls what it makes
        label(z, Letter("logits"))
    if z.ndim == 0:
        raise ShapeError("cross_entropy: the logits have shape (), expected (K,) or (..., K), one for each class")
    if y.dtype.kind in "iu" and y.shape == z.shape[:-1]:
        hot = as_tensor(record_test("one_hot", y, static=(z.shape[-1], ignore_index)).astype(z.dtype))
        y = label(hot, y.name or Letter("Y"))
        if ignore_index is not None:
            count = F.maximum(F.sum(y), 1.0)
    if y.shape != z.shape:
        wanted = f"class numbers (integers) of shape {z.shape[:-1]} or weights of shape {z.shape}"
        told = _exchanged(y, z) or _exchanged(y, z[..., 0])
        raise ShapeError(f"cross_entropy: logits need {wanted}, not {y.dtype} targets of shape {y.shape}{told}")
    y = _unless_named(y, Letter("Y"))
    if reduction == "none":
        total = -F.sum(y * F.where(y == 0, 0.0, F.log_softmax(z)), -1)
    else:
        total = record(primitives.cross_entropy, (z, y))
    return _reduced("cross_entropy", total, reduction, count)


def _pair(call: str, y: Any, target: Any) -> tuple[Tensor, Tensor]:
    y, target = as_tensor(y), as_tensor(target)
    if y.shape != target.shape:
        told = f"{call}: y has shape {y.shape} and the target {target.shape}; they must be the same"
        raise ShapeError(told + _exchanged(target, y))
    return _unless_named(y, Letter("y")), _unless_named(target, Letter("Y"))


def _exchanged(target: Tensor, y: Tensor) -> str:
    """A hint for a target whose first two axes are the other way round, and empty for any other."""
    exchanged = target.ndim > 1 and (target.shape[1], target.shape[0], *target.shape[2:]) == y.shape
    return "; time comes first, and then the batch: target.swapaxes(0, 1)" if exchanged else ""


def _summed(call: str, each: Tensor, reduction: str, factor: float = 1.0) -> Tensor:
    """A loss that is the sum of those of all elements."""
    total = each if reduction == "none" else F.sum(each)
    return _reduced(call, total if factor == 1.0 else factor * total, reduction, max(each.size, 1))


def _reduced(call: str, total: Tensor, reduction: str, count: Any) -> Tensor:
    if reduction != "sum":  # which is quick
        one_of(call, "reduction", reduction, ("sum", "mean", "none"))
    return label(total / count if reduction == "mean" else total, Letter("L"))


def _unless_named(tensor: Tensor, name: str) -> Tensor:
    """Label a Tensor unless it has a name already: names that users set win."""
    return tensor if tensor.name is not None else label(tensor, name)
