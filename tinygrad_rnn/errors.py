"""The errors of this package, for cases that ValueError and TypeError do not tell apart well enough."""


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
