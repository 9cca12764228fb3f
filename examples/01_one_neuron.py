"""Lesson 1: a gradient is a product of local derivatives, and a neuron has three of them.

Backpropagation through time is backpropagation, which is the chain rule (TowardsML, "Back propagation in a Recurrent
Neural Network"), in four steps (interdb 7.2): a loss, the forward graph, the derivative on every edge of it,
and what is found on the way back. Here they are for one neuron with one input and one weight.
"""

import numpy as np

import tinygrad_rnn as tg
from lesson import run

PICTURE = "backward.svg"


def main(out, quick=False):
    # 1. The forward pass, with a name for everything that a person would name.
    x, Y = tg.Tensor(2.0, name="x"), tg.Tensor(1.0, name="Y")
    w, b = (tg.Tensor(value, requires_grad=True, name=name) for value, name in ((0.5, "w"), (-0.4, "b")))
    h_hat = tg.label(w * x + b, "ĥ")
    h = tg.label(np.tanh(h_hat), "h")
    loss = tg.nn.half_squared_error(h, Y)
    print(f"ĥ = w x + b = {h_hat.item():.4f}   h = tanh(ĥ) = {h.item():.4f}   L = ½ (h - Y)² = {loss.item():.4f}")

    # 2. The local derivatives: of every named variable by the one before it.
    derivatives = {
        "∂L/∂h = h - Y": h.item() - 1.0,
        "∂h/∂ĥ = 1 - h²": 1.0 - h.item() ** 2,
        "∂ĥ/∂w = x": 2.0,
    }
    for name, value in derivatives.items():
        print(f"{name:15} = {value:8.4f}")

    # 3. Back from the loss: the engine multiplies what is on the way. b's last factor, ∂ĥ/∂b, is 1.
    loss.backward()
    product = np.prod(list(derivatives.values()))
    print(f"their product   = {product:8.4f}, and loss.backward() says ∂L/∂w = {w.grad:.4f}, ∂L/∂b = {b.grad:.4f}")

    # 4. A judge without calculus: the loss, a little to the left and to the right of w.
    def loss_at(w):
        return 0.5 * (np.tanh(w * 2.0 - 0.4) - 1.0) ** 2

    difference = (loss_at(0.5 + 1e-6) - loss_at(0.5 - 1e-6)) / 2e-6
    print(f"(L(w + ε) - L(w - ε)) / 2ε = {difference:.4f}")

    # 5. The same graph twice: values run to the right, gradients to the left.
    tg.draw.forward(loss, values=True).save(out / "forward.svg")
    tg.draw.backward(loss, values=True).save(out / PICTURE)
    tg.draw.backward(loss, level="primitives", values=True).save(out / "primitives.svg")
    return {"w": float(w.grad), "b": float(b.grad), "product": product, "difference": difference}


if __name__ == "__main__":
    run(main)
