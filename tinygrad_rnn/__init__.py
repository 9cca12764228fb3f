"""tinygrad_rnn: reverse-mode automatic differentiation that shows how a recurrent net is unrolled through time."""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from tinygrad_rnn import bptt, nn
from tinygrad_rnn.backward import grad
from tinygrad_rnn.checking import check_gradients, detect_anomaly
from tinygrad_rnn.errors import AnomalyError, DrawingError, GradientError, ShapeError
from tinygrad_rnn.functions import *
from tinygrad_rnn.functions import __all__ as _functions
from tinygrad_rnn.tensor import Tensor, label, no_grad

__version__ = "0.1.0"

__all__ = [
    "AnomalyError", "DrawingError", "GradientError", "ShapeError", "Tensor", "bptt", "check_gradients",
    "detect_anomaly", "draw", "grad", "label", "nn", "no_grad", *_functions,
]  # fmt: skip


if TYPE_CHECKING:
    from tinygrad_rnn import draw
else:

    def __getattr__(name: str) -> ModuleType:
        """`tg.draw` is imported at its first use, so that who only computes does not wait for it."""
        if name == "draw":
            return import_module("tinygrad_rnn.draw")
        raise AttributeError(f"module 'tinygrad_rnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
