"""The errors of this package, for cases that ValueError and TypeError do not tell apart well enough."""


class ShapeError(ValueError):
    """Shapes that do not fit. The message names the call, the shapes and, inside a net, the time step."""


class AnomalyError(ArithmeticError):
    """The first NaN or infinity inside `detect_anomaly`; says where it arose, and from what."""


class GradientError(ArithmeticError):
    """A gradient that disagrees with central differences."""


class DrawingError(RuntimeError):
    """A diagram that the installed layout engines could not turn into a picture."""
