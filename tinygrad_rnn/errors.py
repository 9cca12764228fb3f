"""The errors of this package, for cases that ValueError and TypeError do not tell apart well enough; and the words in
which errors and warnings describe Tensors and lines of code.
"""

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from tinygrad_rnn.context import recording, step_and_layer


class ShapeError(ValueError):
    """Shapes that do not fit. The message names the call, the shapes and, inside a net, the time step.

    >>> try:
    ...     tg.Tensor([1.0, 2.0]) + tg.Tensor([1.0, 2.0, 3.0])
    ... except tg.ShapeError as error:
    ...     print(str(error)[:50])
    add(leaf of shape (2,), leaf of shape (3,)): opera
    """


class AnomalyError(ArithmeticError):
    """The first NaN or infinity inside `detect_anomaly`; says where it arose, and from what.

    >>> with tg.detect_anomaly():
    ...     try:
    ...         tg.log(tg.Tensor(-1.0, requires_grad=True))
    ...     except tg.AnomalyError as error:
    ...         print(str(error)[:49])
    ...
    log of shape () (1 of 1 nan) was made by log from
    """


class GradientError(ArithmeticError):
    """A gradient that disagrees with central differences.

    >>> wrong = tg.primitive("wrong", lambda x: x * x, "wrong({x})", lambda g, ans, x: g * x, code="{x} * {x}")
    >>> try:
    ...     error = tg.check_gradients(wrong, 3.0)
    ... except tg.GradientError as error:
    ...     print(error)
    input 0 of shape () at (): the gradient is 3, central differences give 6; relative error 0.5 > 1e-06
    """


class DrawingError(RuntimeError):
    """A diagram that the installed layout engines could not turn into a picture.

    >>> try:
    ...     path = tg.draw.forward(tg.tanh(tg.Tensor(0.5, requires_grad=True))).save("graph.pdf")
    ... except tg.DrawingError as error:  # it says what to install
    ...     print(error)
    """


# Descriptions of Tensors, whose class is built on this module, and of lines of code


def describe(tensor: Any) -> str:
    """Describe a Tensor by its name, step, layer and shape, as in `h(3) of layer 2 of shape (4,)`."""
    name = tensor.name or ("leaf" if tensor.primitive is None else tensor.primitive.name)
    step = "" if tensor.step is None else f"({tensor.step})"
    layer = "" if tensor.layer is None else f" of layer {tensor.layer}"
    return f"{name}{step}{layer} of shape {tensor.shape}"


def refusal(call: str, inputs: Sequence, error: Exception) -> Exception:
    """The error of a call that NumPy has refused: its message says which nodes went in, and where in the net."""
    operands, (step, layer) = ", ".join(map(describe, inputs)), step_and_layer.get()
    where = ("" if step is None else f" at step {step}") + ("" if layer is None else f" of layer {layer}")
    kind = next(kind for kind in (ValueError, IndexError, TypeError) if isinstance(error, kind))
    return (ShapeError if kind is ValueError else kind)(f"{call}({operands}){where}: {error}")


def calling_line() -> tuple[str, int]:
    """File and line of the innermost call that is not this package's."""
    package = os.path.join(os.path.dirname(calling_line.__code__.co_filename), "")
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(package):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def warn_of_lost_gradient(x: Any, how: str, instead: str) -> None:
    """Warn, naming the line, where Python or NumPy takes a value without saying so, as to store it in an array."""
    if x.requires_grad and recording.get():
        frame, level = sys._getframe(2), 3
        while frame.f_back is not None and frame.f_globals.get("__name__") in ("copy", "copyreg", "pickle"):
            frame, level = frame.f_back, level + 1
        warnings.warn(f"{describe(x)} {how} here, and its gradient is lost; {instead}", stacklevel=level)
