"""Lesson 6: gradients vanish exponentially with the distance, and a sigmoid's soonest.

∂h(T)/∂h(k) is a product of T - k Jacobians (IIT slides, "Vanishing Gradient Problem"), each at most σ_max(U) · max f′
large (Pascanu et al. 2013). The slides bound the sigmoid's f′ by 1; it is at most ¼ (TowardsML, "Vanishing Gradient"),
so that a step keeps at most a quarter where TowardsML says that it takes a quarter away. Module 5 ("Limitations") gives
gradients 8 or 10 steps. Measured here: how many it is depends on f and on U.
"""

import numpy as np

import tinygrad_rnn as tg
from lesson import expected, run
from tinygrad_rnn.experiments import plots

H, T, PICTURE = 50, 50, "vanishing.svg"

NETS = {  # f, and how many times an orthogonal matrix U is: the band for ‖∂h(50)/∂h(0)‖
    ("tanh", 0.9): (5e-4, 5.2e-3),
    ("tanh", 1.0): (0.05, 1.0),
    ("tanh", 1.1): (0.5, 10.0),
    ("tanh", 1.5): (30.0, 3000.0),
    ("sigmoid", 1.0): (0.0, 7.9e-31),
    ("sigmoid", 2.0): (1e-19, 1e-17),
    ("sigmoid", 4.0): (1e-10, 1e-8),
    ("sigmoid", 5.0): (1e-8, 1e-5),
}


def norms(nonlinearity, gain):
    """‖∂h(T)/∂h(T - d)‖ for d = 1 .. T in a net with U = gain · orthogonal that starts from noise, and its bound."""
    rng = np.random.default_rng(0)
    rnn = tg.nn.RNN(1, H, nonlinearity=nonlinearity, rng=rng)
    rnn.cells[0].U.data = gain * rnn.cells[0].U.data
    start = tg.Tensor(rng.standard_normal(H), requires_grad=True)
    hs = [start, *rnn(np.zeros((T, 1)), [start])[0]]
    product, measured = np.eye(H), []
    for t in range(T, 0, -1):
        product = product @ tg.bptt.jacobian(hs[t], hs[t - 1])
        measured.append(np.linalg.norm(product, 2))
    return np.array(measured), tg.bptt.norm_bound(rnn.cells[0].U, nonlinearity, np.arange(1, T + 1))


def main(out, quick=False):
    # 1. The factor of one step: σ(ĥ) (1 - σ(ĥ)) is largest at 0.
    h_hat = tg.Tensor(np.linspace(-6, 6, 121), requires_grad=True)
    (slope,) = tg.grad(tg.sum(tg.sigmoid(h_hat)), [h_hat])
    print(f"the sigmoid's f′ is at most {slope.data.max():.4f}; ten factors of that are {0.25**10:.0e}")

    # 2. The product of many, for plain nets whose U keeps lengths (gain 1), shrinks or stretches them; and Module 5's
    # "8 or 10 steps": the distance from which on less than a hundredth is left.
    measured, reach = {net: norms(*net) for net in NETS}, {}
    for net, (jacobians, bound) in measured.items():
        below = np.flatnonzero(jacobians < 0.01)
        reach[net] = int(below[0]) + 1 if below.size else None  # the first is of distance 1
        print(f"{net[0]:7} {net[1]} · orthogonal: {T} steps {jacobians[-1]:7.1e}, bound {bound[-1]:.0e}", end="; ")
        steps = reach[net] or f"more than {T}"
        print(expected(jacobians[-1], *NETS[net]), f"; a hundredth after {steps} steps", sep="")
    print("The bound proves that gradients vanish for σ_max(U) < 1 (tanh) and < 4 (sigmoid); above, it proves nothing:")
    print("the sigmoid's vanish with 5, too, since a large U also saturates f. (Lesson 7 has one that explodes.)")

    # 3. In the graph: each node in the colour of its gradient's norm.
    rng = np.random.default_rng(0)
    rnn, readout = tg.nn.RNN(2, 3, nonlinearity="sigmoid", rng=rng), tg.nn.Linear(3, 1, rng=rng)
    loss = tg.nn.half_squared_error(readout(rnn(rng.standard_normal((6, 2)))[0][-1]), np.ones(1))
    tg.draw.backward(loss, color_by="gradient").save(out / "graph.svg")

    chosen = [("tanh", 0.9), ("tanh", 1.0), ("tanh", 1.1), ("sigmoid", 1.0), ("sigmoid", 5.0)]
    lines = {f"{f}, U = {gain} Q": measured[f, gain][0] for f, gain in chosen}
    lines["bound, sigmoid, 1.0 Q"] = measured["sigmoid", 1.0][1]
    x = ("distance T − k, steps", np.arange(1, T + 1))
    title = "Vanishing: a straight line on a log axis (Q: orthogonal)"
    plots.curves(out / PICTURE, title, x, "‖∂h(T)/∂h(k)‖", lines, log=True, dashed=["bound, sigmoid, 1.0 Q"])
    return {"slope": slope.data.max(), "measured": measured, "reach": reach}


if __name__ == "__main__":
    run(main)
