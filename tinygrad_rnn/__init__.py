"""tinygrad_rnn: reverse-mode automatic differentiation that shows how a recurrent net is unrolled through time."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tinygrad_rnn.backward import grad
from tinygrad_rnn.context import no_grad
from tinygrad_rnn.errors import AnomalyError, DrawingError, GradientError, ShapeError
from tinygrad_rnn.functions import *
from tinygrad_rnn.functions import __all__ as _functions
from tinygrad_rnn.interop import missing
from tinygrad_rnn.naming import label
from tinygrad_rnn.tensor import Tensor

__version__ = "0.1.0"

globals().pop("tensor")  # the module, which is imported by its name: tg.tensor(...) is told to be tg.Tensor(...)

__all__ = [
    "AnomalyError", "DrawingError", "GradientError", "ShapeError", "Tensor", "bptt", "check_gradients", "compile",
    "detect_anomaly", "draw", "experiments", "from_torch", "grad", "label", "load", "nn", "no_grad", "optim",
    "save", "to_torch", *_functions,
]  # fmt: skip


_LATER = dict.fromkeys(["check_gradients", "detect_anomaly"], "tinygrad_rnn.checking")
_LATER |= {"compile": "tinygrad_rnn.program"}
_LATER |= dict.fromkeys(["from_torch", "load", "save", "to_torch"], "tinygrad_rnn.nn")

if TYPE_CHECKING:
    from tinygrad_rnn import bptt, draw, experiments, nn, optim
    from tinygrad_rnn.checking import check_gradients, detect_anomaly
    from tinygrad_rnn.nn import from_torch, load, save, to_torch
    from tinygrad_rnn.program import compile
else:

    def __getattr__(name: str) -> Any:
        """Import a module that a first gradient does not need at its first use, so that nobody waits for it."""
        if name in ("bptt", "draw", "experiments", "nn", "optim"):
            return import_module(f"tinygrad_rnn.{name}")
        if name in _LATER:
            return getattr(import_module(_LATER[name]), name)
        missing(__name__, name)


def __dir__() -> list[str]:
    return sorted(__all__)
