"""tinygrad_rnn: reverse-mode automatic differentiation that shows how a recurrent net is unrolled through time.

    import numpy as np, tinygrad_rnn as tg

    rnn, readout = tg.nn.RNN(2, 3), tg.nn.Linear(3, 1)
    hs, state = rnn(np.ones((4, 2)))                          # four steps of two numbers: a list of states
    loss = tg.nn.half_squared_error(readout(hs[-1]), [1.0])
    loss.backward()                                           # rnn.cells[0].U.grad is an array
    tg.draw.backward(loss).save("backward.svg")

What is where:

    Tensor, grad, no_grad, label      the engine; tanh, sum, stack, ... have NumPy's names and keywords
    check_gradients, detect_anomaly   gradients against central differences; where the first NaN arose
    primitive                         an operation of your own
    nn, optim, save, load             cells, nets, losses, initial values; optimizers; files; to_torch, from_torch
    bptt                              the texts' equations by hand; terms by time step, Jacobians, truncation
    draw                              graphs as figures, and the page that plays them
    compile, program                  a function as plain NumPy, to run or to read
    experiments                       training, gradient flow, sweeps, as the command line has them
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tinygrad_rnn.backward import grad
from tinygrad_rnn.context import no_grad
from tinygrad_rnn.errors import AnomalyError, DrawingError, GradientError, ShapeError
from tinygrad_rnn.functions import *
from tinygrad_rnn.functions import __all__ as _functions
from tinygrad_rnn.interop import missing
from tinygrad_rnn.tensor import Tensor, label

__version__ = "0.1.0"

globals().pop("tensor")  # the module, which is imported by its name: tg.tensor(...) is told to be tg.Tensor(...)

__all__ = [
    "AnomalyError", "DrawingError", "GradientError", "ShapeError", "Tensor", "bptt", "check_gradients", "compile",
    "detect_anomaly", "draw", "experiments", "from_torch", "grad", "label", "load", "nn", "no_grad", "optim", "program",
    "save", "to_torch", *_functions,
]  # fmt: skip


if TYPE_CHECKING:
    from tinygrad_rnn import bptt, draw, experiments, nn, optim, program
    from tinygrad_rnn.checking import check_gradients, detect_anomaly
    from tinygrad_rnn.nn import from_torch, load, save, to_torch
    from tinygrad_rnn.program import compile
else:
    _later = {"check_gradients": "checking", "detect_anomaly": "checking", "compile": "program"}
    _later |= dict.fromkeys(["from_torch", "load", "save", "to_torch"], "nn")
    _names = globals().pop("__all__")
    Tensor._repr_html_ = lambda x: import_module("tinygrad_rnn.draw.heatmap").in_notebook(x)  # in a notebook

    def __getattr__(name: str) -> Any:
        """Import what a first gradient does not need at its first use, so that nobody waits for it.

        Asked for `__all__`, as by `import *` and tools that list a module, it imports all of it.
        """
        if name == "__all__":
            return [name for name in _names if name in globals() or __getattr__(name)]
        if name not in _names:
            missing(__name__, name)
        found = import_module(f"tinygrad_rnn.{_later.get(name, name)}")
        globals()[name] = found = getattr(found, name) if name in _later else found
        return found

    def __dir__() -> list[str]:
        return sorted(_names)
