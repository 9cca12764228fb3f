"""Gradients against central differences, and the search for the first value that is no number.

- `check_gradients` for a function of yours, `check_parameters` for a net, `check_primitive` for a row of the table.
- `detect_anomaly`: a context in which the first NaN or infinity raises, saying where it arose.
"""

import linecache
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from tinygrad_rnn import functions as F
from tinygrad_rnn import primitives
from tinygrad_rnn.backward import grad
from tinygrad_rnn.checks import instance, positive, whole
from tinygrad_rnn.context import recording, temporarily
from tinygrad_rnn.data_guard import Notes
from tinygrad_rnn.errors import AnomalyError, GradientError, calling_line, describe
from tinygrad_rnn.observer import Observer, observer
from tinygrad_rnn.primitives import Primitive
from tinygrad_rnn.tensor import Tensor, as_tensor, bare, record


def check_gradients(
    f: Callable[..., Tensor], *inputs: Any, order: int = 1, step: float = 1e-5, tolerance: float = 1e-6
) -> float:
    """Compare the gradients of a scalar function with central differences (f(x + s) - f(x - s)) / 2s.

    >>> tg.check_gradients(lambda x, y: tg.sum(x * y), [1.0, 2.0], [3.0, 4.0]) < 1e-9
    True

    Args:
        f: takes as many Tensors as there are inputs and returns a scalar Tensor.
        inputs: float64 arrays or Tensors; their values are where the gradient is checked.
        order: 1 for the gradients; 2 for the second derivatives, as the gradients of the gradient's product with a
            fixed direction, which is recorded with `create_graph`; and so on.
        step: s, in units of the inputs.
        tolerance: the largest relative error that passes.

    Returns:
        The largest |gradient - difference| / max(1, |gradient|, |difference|) over all elements of all inputs.

    Raises:
        GradientError: the error is above the tolerance; names the input, the element and both values.
        ValueError: f returns no scalar or is not deterministic; or the check cannot fail, or is none: step or tolerance
            is not a finite number above 0, no input has an element, or order is below 1.
        TypeError: an input is not of real numbers.
    """
    instance("check_gradients(f, *inputs)", f, Callable, "a function of Tensors")
    whole("check_gradients", "order", order, 1)
    arrays = [as_tensor(x).numpy().astype(np.float64) for x in inputs]
    if not any(x.size for x in arrays):
        raise ValueError("check_gradients(f): an input with an element is needed: there is no gradient to check")
    for _ in range(order - 1):
        f = _directional_derivative(f, arrays)

    leaves = [Tensor(x, requires_grad=True, name=f"input {i}") for i, x in enumerate(arrays)]
    return max(check_parameters(lambda: f(*leaves), leaves, step, tolerance))


@temporarily(recording, True)  # inside no_grad() too
def check_parameters(
    loss: Callable[[], Tensor], parameters: Sequence[Tensor], step: float = 1e-5, tolerance: float = 1e-6
) -> list[float]:
    """`check_gradients` for a loss of leaves that it reads, such as a net's parameters: the error of each.

    Raises:
        GradientError: an error is above the tolerance; names the parameter, the element and both values.
        ValueError: as for `check_gradients`.
    """
    positive("check_gradients", "step", step)
    positive("check_gradients", "tolerance", tolerance)
    output, again = loss(), loss()
    if not isinstance(output, Tensor) or output.size != 1:
        got = f"shape {output.shape}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise ValueError(f"check_gradients(f): f returns a Tensor that is a scalar, not {got}")
    if not np.array_equal(output.value, again.value, equal_nan=True):
        gave = f"{output.item():.10g}, then {again.item():.10g} for the same inputs"
        raise ValueError(f"check_gradients(f): f gave {gave}; let it be deterministic, such as by seeding its numbers")
    zeros = [Tensor(np.zeros(p.shape)) for p in parameters]  # the gradients of a constant
    errors = []
    for p, gradient in zip(parameters, grad(output, parameters) if output.requires_grad else zeros, strict=True):
        ours, differences = gradient.value, central_differences(lambda: loss().item(), p, step)
        relative = np.abs(ours - differences) / np.maximum(1.0, np.maximum(np.abs(ours), np.abs(differences)))
        worst = np.where(np.isnan(relative), np.inf, relative)
        if worst.size and worst.max() > tolerance:
            place = tuple(map(int, np.unravel_index(worst.argmax(), worst.shape)))
            found = f"the gradient is {ours[place]:.10g}, central differences give {differences[place]:.10g}"
            error = f"relative error {relative[place]:.2g} > {tolerance:.2g}"
            raise GradientError(f"{describe(p)} at {place}: {found}; {error}")
        errors.append(float(np.max(relative, initial=0.0)))
    return errors


def central_differences(value: Callable[[], float], leaf: Tensor, step: float = 1e-5) -> np.ndarray:
    """(value(x + s) - value(x - s)) / 2s for every element x of a leaf that `value` reads, changed and put back."""
    at = leaf.numpy()
    differences = np.zeros_like(at)
    try:
        for place in np.ndindex(at.shape):
            for signed in (step, -step):
                leaf.data = at
                leaf.data[place] += signed
                differences[place] += value() / (2 * signed)
    finally:
        leaf.data = at
    return differences


def _directional_derivative(f: Callable[..., Tensor], arrays: list[np.ndarray]) -> Callable[..., Tensor]:
    """Σ gradient · v for a fixed direction v: a scalar function whose own gradient is a second derivative times v."""
    rng = np.random.default_rng(0)
    directions = [rng.standard_normal(x.shape) for x in arrays]

    def derivative(*leaves: Tensor) -> Tensor:
        gradients = grad(f(*leaves), leaves, create_graph=True)
        return sum((F.sum(g * v) for g, v in zip(gradients, directions, strict=True)), Tensor(0.0))

    return derivative


@contextmanager
def detect_anomaly() -> Iterator[None]:
    """A context manager in which the first NaN or infinity, in a forward or a backward pass, raises an AnomalyError.

    An exploding gradient "will show up as NaN" (IIT slides); here it says so itself: the primitive, the node, the time
    step, the shapes and ranges of what went in, and the line of your code that made the node.

    Inside a function that is being compiled it does nothing: most values are not there yet.

    Raises:
        AnomalyError: a value, or a cotangent, is not finite.

    >>> with tg.detect_anomaly():
    ...     try:
    ...         tg.log(tg.Tensor(0.0, requires_grad=True, name="x"))
    ...     except tg.AnomalyError as error:
    ...         print(str(error)[:60])
    ...
    log of shape () (1 of 1 -inf) was made by log from x of shap
    """
    with temporarily(observer, observer.get() or _AnomalyDetector()), np.errstate(all="ignore"):
        yield  # what NumPy would warn of is an error


class _AnomalyDetector(Observer):
    """Checks every value as it is made, and every cotangent, and remembers which line made which node."""

    def __init__(self) -> None:
        self._lines = Notes()  # of each node, the file and the line

    def made(self, node: Tensor, primitive: Primitive, inputs: tuple[Tensor, ...], arguments: tuple) -> None:
        line = calling_line()
        self._lines.add(node, line)
        if _finite(node.value):
            return
        for x in inputs:
            if not _finite(x.value):
                raise AnomalyError(f"{_described(x)} went into {primitive.name}, at {_line(*line)}")
        node.primitive = primitive  # so that it is described by what made it, even where nothing is recorded
        made_of = ", ".join(_described(x) for x in inputs)
        raise AnomalyError(f"{_described(node)} was made by {primitive.name} from {made_of}, at {_line(*line)}")

    def swept(self, terms: Callable, node: Tensor, g: Any) -> list[tuple[Tensor, Any]]:
        if not _finite(bare(g)):
            raise AnomalyError(f"the gradient of {_described(node)}, all in all, is {_range(bare(g))}{self._at(node)}")
        found: list[tuple[Tensor, Any]] = []
        for i in [i for i, x in enumerate(node.inputs) if x.requires_grad]:
            try:
                found += terms(node, g, i)
            except AnomalyError as error:
                raise self._anomaly(node, i, g, f"is not finite: {error}") from error
            term = bare(found[-1][1])
            if not _finite(term):
                raise self._anomaly(node, i, g, f"is {_range(term)}")
        return found

    def _anomaly(self, node: Tensor, i: int, g: Any, what: str) -> AnomalyError:
        x, by = _described(node.inputs[i]), node.primitive.name if node.primitive else "a leaf"
        made = f"{by} gave {_described(node)}, whose gradient is {_range(bare(g))}{self._at(node)}"
        return AnomalyError(f"the gradient of {x}, passed back by {by} through its input {i}, {what}; {made}")

    def _at(self, node: Tensor) -> str:
        line = self._lines.of(node)
        return f", made at {_line(*line)}" if line else ""


def _finite(values: np.ndarray) -> bool:
    return values.dtype.kind != "f" or bool(np.isfinite(values).all())


def _described(x: Tensor) -> str:
    return f"{describe(x)} ({_range(x.value)})"


def _range(values: np.ndarray) -> str:
    """The range of some values, as in "from -1 to 3.5", or those that are no numbers, as in "2 of 12 nan"."""
    if not _finite(values):
        bad = values[~np.isfinite(values)]
        return f"{bad.size} of {values.size} {', '.join(sorted({str(v) for v in bad.tolist()}))}"
    return f"from {values.min():.3g} to {values.max():.3g}" if values.size else "empty"


def _line(file: str, number: int) -> str:
    return f"{file}:{number}: {linecache.getline(file, number).strip()}"


# Sample arguments: inputs by their shapes, or as they are, then static arguments. Of primitives that work element by
# element, by how many inputs they have, with every way in which shapes can broadcast; of reductions; in SAMPLES of each
# other row.
_BY_ELEMENT: dict[int, list[tuple]] = {
    1: [((),), ((0,),), ((3, 4),)],
    2: [((), ()), ((3,), ()), ((), (3,)), ((3, 4), (4,)), ((4,), (3, 4)), ((3, 1), (1, 4)), ((1,), (3,)),
        ((2, 1, 3), (4, 1)), ((0, 3), (3,)), ((1, 2), (0, 1))],
    3: [((3,), (3,), (3,)), ((2, 3), (3,), ()), ((), (2, 1), (3,))],
}  # fmt: skip
_REDUCTION: list[tuple] = [((3, 4), None, False), ((3, 4), 0, False), ((3, 4), -1, True), ((3, 4), (0, 1), True)]
SAMPLES: dict[str, list[tuple]] = {
    "where": [((3, 4), (4,), np.eye(3, 4) > 0)],
    "matmul": [((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((2, 3), (3, 4)), ((3,), (2, 3, 4)), ((2, 4, 3), (3,)),
               ((2, 1, 4, 3), (5, 3, 2))],
    "linear": [((4, 3), (3,)), ((4, 3), (2, 3)), ((4, 3), (5, 2, 3))],
    "affine": [((4, 3), (3,), (4, 4), (4,), (4,)), ((4, 3), (2, 3), (4, 5), (2, 5), (4,))],
    "outer": [((4,), (3,)), ((2, 4), (2, 3)), ((5, 2, 4), (5, 2, 3))],
    "einsum": [((3, 4), (4, 2), "ij,jk->ik"), ((3, 4), "ij->j"), ((1, 3), (2, 3), "ij,ij->ij"),
               ((2, 3), (4, 3), (2, 5), "bi,hi,bk->h")],
    **{name: [((3,), -1), ((3, 4), 0), ((3, 4), -1)] for name in ("softmax", "log_softmax", "cumsum")},
    "cross_entropy": [((3,), (3,)), ((2, 3), (2, 3))],
    "reshape": [((3, 4), (2, 6)), ((3, 4), -1)],
    "transpose": [((3, 4), None), ((2, 3, 4), (1, 2, 0))],
    "broadcast_to": [((3, 1), (2, 3, 4))],
    "getitem": [((3, 4), index) for index in (1, (slice(None), slice(1, None, 2)), (Ellipsis, None, 0),
                np.array([2, 0, 2]), (np.array([0, 1]), np.array([3, 3])))],
    "scatter": [((2, 4), slice(0, 2), (3, 4)), ((3, 4), np.array([2, 0, 2]), (3, 4))],
    "astype": [((3, 4), np.dtype(np.float64))],
    "concatenate": [((2, 3), (1, 3), 0), ((2, 3), (2, 1), (2, 2), -1)],
    "stack": [((3, 2), (3, 2), 0), ((3, 2), (3, 2), (3, 2), -1)],
}  # fmt: skip


def samples(primitive: Primitive) -> Iterator[tuple[list[np.ndarray], tuple]]:
    """Inputs on which a primitive is smooth, away from kinks, and static arguments.

    Raises:
        ValueError: the primitive works neither by element nor over an axis, and has no sample shapes of its own.
    """
    count = -1 if primitive.variadic else len(primitive.vjps)  # of inputs
    by_kind = _REDUCTION if primitive.reduction else _BY_ELEMENT.get(count) if primitive.by_element else None
    found = SAMPLES.get(primitive.name, by_kind)
    if not found:
        raise ValueError(f"samples of {primitive.name}: give the shapes of its inputs in checking.SAMPLES")
    for sample in found:
        rng, given, static = np.random.default_rng(0), sample[:count], sample[count:]
        xs = [x if np.ndim(x) > 1 else rng.uniform(0.5, 1.5, x) * rng.choice([-1.0, 1.0], x) for x in given]
        with np.errstate(invalid="ignore"):
            is_real = not np.isnan(primitive.forward(*xs, *static)).any()
        yield (xs if is_real else [*map(np.abs, xs)]), static


def check_primitive(name: str, order: int = 1) -> float:
    """`check_gradients` of one primitive on its sample inputs, away from kinks: the largest relative error.

    What is differentiated is Σ w (primitive)³, so that the cotangents that its rules meet depend on the inputs too, and
    no rule's own curvature cancels (as that of a root would in a square).
    """
    primitive = primitives.TABLE[name]

    def error(inputs: list[np.ndarray], static: tuple) -> float:
        w = np.random.default_rng(0).standard_normal(np.shape(primitive.forward(*inputs, *static)))

        def f(*xs: Tensor) -> Tensor:
            y = record(primitive, (*xs, *inputs[len(xs) :]), *static)
            return F.sum(w * y * y * y)

        return check_gradients(f, *[x for x in inputs if x.dtype.kind == "f"], order=order)

    return max(error(*sample) for sample in samples(primitive) if any(x.size for x in sample[0]))
