"""Lesson 3: the backward graph is the forward graph with its arrows turned round, a derivative on each.

The five derivatives of interdb 7.2.3 are all that a plain net needs: Fig. 7-6 is made of them, Fig. 7-7 is
its part between two states, and eq. 7.6 is one walk through that part:

    dh(t) = dh(t+1) f′(ĥ(t+1)) ᵗU,   from dh(T) = grad_dense(T)

These are what a gradient is multiplied by, in the order in which it meets them. As a Jacobian ∂ĥ(t)/∂h(t-1) is U; the
gradient, a column, is multiplied by the transpose: dh(t) = ᵗU (f′(ĥ(t+1)) ⊙ dh(t+1)).
"""

import re

import numpy as np

import tinygrad_rnn as tg
from lesson import run

PICTURE = "figure_7_6.svg"


def main(out, quick=False):
    rng = np.random.default_rng(0)
    rnn, readout = tg.nn.RNN(2, 3, rng=rng), tg.nn.Linear(3, 1, rng=rng)
    xs, Y = rng.standard_normal((4, 2)), rng.standard_normal(1)
    hs, _ = rnn(xs)
    y = readout(hs[-1])
    loss = tg.nn.half_squared_error(y, Y)
    _, U, _ = rnn.parameters()
    V, _ = readout.parameters()

    # 1. The five derivatives, read off the drawn graph: nobody wrote them there, the engine's rules are the labels.
    figure = tg.draw.backward(loss)
    figure.save(out / PICTURE)
    labels = sorted({re.sub(r"⁽.⁾", "", edge.label) for edge in figure.edges if edge.kind == "gradient"})
    print("on the edges of Fig. 7-6, without their steps:", ", ".join(labels))

    # 2. As numbers, at t = 3: the Jacobians of one node by another, and what each does to a gradient that comes back.
    h3, h2 = hs[2], hs[1]
    h3_hat = h3.inputs[0]
    slopes, d = 1.0 - h3.data**2, rng.standard_normal(3)

    def back(output, input):
        return tg.grad(output, [input], grad_output=d)[0].data

    print(f"∂h(3)/∂ĥ(3) is diagonal, f′(ĥ(3)) = {np.round(slopes, 3)}")
    exact = {
        "∂h/∂ĥ = diag(f′(ĥ))": np.allclose(tg.bptt.jacobian(h3, h3_hat), np.diag(slopes)),
        "    dĥ = f′(ĥ) ⊙ dh": np.allclose(back(h3, h3_hat), slopes * d),
        "∂ĥ/∂h(t-1) = U": np.allclose(tg.bptt.jacobian(h3_hat, h2), U.data),
        "    dh(t-1) = ᵗU dĥ": np.allclose(back(h3_hat, h2), U.data.T @ d),
        "∂h/∂h(t-1) = diag(f′(ĥ)) U": np.allclose(tg.bptt.jacobian(h3, h2), np.diag(slopes) @ U.data),
        "    dh(t-1) = ᵗU (f′(ĥ) ⊙ dh)": np.allclose(back(h3, h2), U.data.T @ (slopes * d)),
        "∂h(4)/∂h(2), a product": np.allclose(
            tg.bptt.jacobian(hs[3], h2), tg.bptt.jacobian(hs[3], h3) @ tg.bptt.jacobian(h3, h2)
        ),
    }
    for name, same in exact.items():
        print(f"{name:30} {same}")

    # 3. Eq. 7.6 by hand, from the last step to the first, beside what the engine found.
    engine = [g.data for g in tg.grad(loss, hs)]
    dh = V.data.T @ (y.data - Y)  # (7.4), grad_dense
    largest = 0.0
    for t in range(4, 0, -1):
        largest = max(largest, np.max(np.abs(dh - engine[t - 1])))
        print(f"‖dh({t})‖ = {np.linalg.norm(dh):.4f}   by eq. 7.6 and by the engine: {np.allclose(dh, engine[t - 1])}")
        dh = U.data.T @ ((1.0 - hs[t - 1].data ** 2) * dh)

    # 4. Fig. 7-7, the walk from dh(4) to dh(3); the first and the last step of Fig. 7-6; every node; and a page.
    tg.draw.between(hs[3], hs[2]).save(out / "figure_7_7.svg")
    tg.draw.backward(loss, max_steps=2).save(out / "two_steps.svg")
    tg.draw.backward(loss, level="primitives").save(out / "primitives.svg")
    tg.draw.forward(loss).save(out / "page.html")  # plays the computation, node by node
    return {"labels": labels, "exact": exact, "difference": largest}


if __name__ == "__main__":
    run(main)
