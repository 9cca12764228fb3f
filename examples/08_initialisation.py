"""Lesson 8: whether a gradient crosses 100 steps is decided by the nonlinearity and the initial weights together.

TowardsML ("Vanishing Gradient" and "Exploding Gradient") recommends ReLU in place of the sigmoid, and weights that are
"just right, neither too small nor too big". Measured here at initialisation, before any training. What just right is
depends on the nonlinearity: ReLU with the orthogonal U that suits tanh vanishes faster than tanh does.
"""

import numpy as np

import tinygrad_rnn as tg
from lesson import expected, run
from tinygrad_rnn.experiments import flow, plots
from tinygrad_rnn.experiments.flow import Net

H, T, PICTURE = 32, 100, "profiles.svg"

NETS = {  # U is orthogonal, but for the second relu: the band for what is left of the gradient at h(0)
    Net(nonlinearity="sigmoid"): (0, 1e-59),
    Net(): (1e-8, 1e-3),
    Net(nonlinearity="relu"): (0, 1e-13),
    Net("irnn"): (0.3, 1),
    Net("gru"): (1e-15, 1e-11),
    Net("lstm", forget_bias=0.0): (1e-15, 1e-11),
    Net("lstm", forget_bias=1.0): (1e-6, 1e-2),
    Net("lstm", forget_bias=3.0): (0.05, 20),
    Net("lstm", forget_bias=5.0): (0.1, 100),
}


def profiles(nets, seeds):
    """By label, ‖∂L/∂h(t)‖ / ‖∂L/∂h(T)‖ against T - t, the median over the seeds; the loss is that of h(T) alone."""
    flows = [flow(nets, steps=T, hidden=H, seed=seed) for seed in range(seeds)]
    return {net.label: np.median([found.curves[net.label] for found in flows], axis=0) for net in nets}


def main(out, quick=False):
    # 1. What of the gradient is left at the start.
    seeds = 3 if quick else 5
    curves = profiles(list(NETS), seeds)
    for net, band in NETS.items():
        left = curves[net.label][-1]
        print(f"{net.label:14}: ‖∂L/∂h(0)‖ / ‖∂L/∂h({T})‖ = {left:.0e}, {expected(left, *band)}")
    kept = ", ".join(f"{1 / (1 + np.exp(-b)) ** T:.0e}" for b in (0, 1, 3, 5))
    print(f"a forget gate of σ(b), alone, keeps σ(b)^{T} of c: {kept}")

    # 2. Too small, just right, too big: the scale of U, with tanh.
    nets = {scale: Net(scale=scale) for scale in (0.5, 0.9, 1.0, 1.1, 2.0)}
    scaled = profiles(list(nets.values()), seeds)
    scales = {scale: scaled[net.label][-1] for scale, net in nets.items()}
    for scale, left in scales.items():
        print(f"tanh, {scale:3} · orthogonal: {left:.0e}")

    # 3. Two sizes of a matrix. σ_max(U) bounds one step, the spectral radius |λ_max| decides in the long run.
    U = np.random.default_rng(0).standard_normal((50, 50)) / np.sqrt(50)
    radius, norm = np.max(np.abs(np.linalg.eigvals(U))), np.linalg.norm(U, 2)
    print(f"random U, N(0, 1/50): |λ_max| = {radius:.2f}, σ_max = {norm:.2f}")
    U, powers = tg.nn.init.scaled(U, radius=1.0), {}
    for steps in (1, 10, 50, 100):
        powers[steps] = np.linalg.norm(np.linalg.matrix_power(U, steps), 2)
        print(f"scaled to |λ_max| = 1: ‖U^{steps}‖ = {powers[steps]:.1f}; σ_max allows {(norm / radius) ** steps:.0e}")

    shown = [net.label for net in NETS if net.nonlinearity != "sigmoid" and net.forget_bias not in (1.0, 5.0)]
    lines = {label: curves[label] for label in shown}
    x, y = ("distance T − t, steps", np.arange(T + 1)), "‖∂L/∂h(t)‖ / ‖∂L/∂h(T)‖"
    plots.curves(out / PICTURE, "The way back through 100 steps, untrained", x, y, lines, log=True)
    return {"left": {label: curve[-1] for label, curve in curves.items()}, "scales": scales, "powers": powers}


if __name__ == "__main__":
    run(main)
