"""A primitive of one's own, its rule checked, and drawn and differentiated as any other."""

from typing import Any

import numpy as np

import tinygrad_rnn as tg


def rule(g: Any, ans: Any, x: Any) -> Any:
    """dL/dx of softsign, from g = dL/dy: on arrays, on Tensors and on formulas."""
    return g / np.square(1.0 + np.abs(x))


softsign = tg.primitive("softsign", lambda x: x / (1.0 + np.abs(x)), "softsign({x})", rule)
x = tg.Tensor([0.5, -2.0], requires_grad=True, name="x")
tg.check_gradients(lambda x: softsign(x).sum(), x, order=2)
with tg.detect_anomaly():
    y = tg.label(softsign(x), "y", step=1)
    y.sum().backward()
if y.primitive is not None:
    print(y.primitive.name, y.inputs[0].name, y.step)


@tg.no_grad()
def evaluated(x: tg.Tensor) -> float:
    """A decorated function keeps its type."""
    return softsign(x).sum().item()


print(evaluated(x), x.grad, y)
