"""Lesson 8: whether a gradient crosses 100 steps is decided by the activation and the initial weights together.

Seed 004 ("Vanishing Gradient" and "Exploding Gradient") recommends ReLU in place of the sigmoid, and weights that are
"just right, neither too small nor too big". Measured here at initialisation, before any training. What just right is
depends on the activation: ReLU with the orthogonal U that suits tanh vanishes faster than tanh does.
"""

import numpy as np

import tinygrad_rnn as tg
from lesson import expected, run
from tinygrad_rnn.experiments import plots

H, T, SEEDS, PICTURE = 32, 100, 5, "profiles.svg"
init = tg.nn.init

NETS = {  # name: kind, options, what U is made to be, and the band for what is left of the gradient at step 1
    "sigmoid, orthogonal": ("RNN", {"nonlinearity": "sigmoid"}, None, (0, 1e-59)),
    "tanh, orthogonal": ("RNN", {}, None, (1e-8, 1e-3)),
    "relu, orthogonal": ("RNN", {"nonlinearity": "relu"}, None, (0, 1e-13)),
    "relu, identity": ("RNN", {"nonlinearity": "relu"}, init.identity(H), (0.3, 1)),
    "GRU": ("GRU", {}, None, (1e-15, 1e-11)),
    "LSTM, forget bias 0": ("LSTM", {"forget_bias": 0.0}, None, (1e-15, 1e-11)),
    "LSTM, forget bias 1": ("LSTM", {"forget_bias": 1.0}, None, (1e-6, 1e-2)),
    "LSTM, forget bias 3": ("LSTM", {"forget_bias": 3.0}, None, (0.05, 2)),
    "LSTM, forget bias 5": ("LSTM", {"forget_bias": 5.0}, None, (0.1, 10)),
}


def profile(kind, options, U, seed):
    """‖∂L/∂h(t)‖ for every t, in a net with one loss after step T."""
    rng = np.random.default_rng(seed)
    net, readout = getattr(tg.nn, kind)(2, H, rng=rng, **options), tg.nn.Linear(H, 1, rng=rng)
    if U is not None:
        net.cells[0].U.data = U
    hs, _ = net(rng.uniform(0.0, 1.0, (T, 2)))
    return tg.bptt.gradient_flow(tg.nn.squared_error(readout(hs[-1]), np.ones(1)), hs)


def main(out, quick=False):
    # 1. What of the gradient is left at step 1.
    profiles = {}
    for name, (*net, band) in NETS.items():
        flows = [profile(*net, seed) for seed in range(SEEDS)]
        profiles[name] = np.median([flow / flow[-1] for flow in flows], axis=0)
        print(f"{name:21}: ‖∂L/∂h(1)‖ / ‖∂L/∂h({T})‖ = {profiles[name][0]:.0e}, {expected(profiles[name][0], *band)}")
    kept = ", ".join(f"{1 / (1 + np.exp(-b)) ** (T - 1):.0e}" for b in (0, 1, 3, 5))
    print(f"a forget gate of σ(b), alone, keeps σ(b)^99 of c: {kept}")

    # 2. Too small, just right, too big: the scale of U, with tanh.
    scales = {}
    for scale in (0.5, 0.9, 1.0, 1.1, 2.0):
        U = scale * init.orthogonal(0, H)
        flows = [profile("RNN", {}, U, seed) for seed in range(SEEDS)]
        scales[scale] = np.median([flow[0] / flow[-1] for flow in flows])
        print(f"tanh, {scale:3} · orthogonal: {scales[scale]:.0e}")

    # 3. Two sizes of a matrix. σ_max(U) bounds one step, the spectral radius |λ_max| decides in the long run.
    U = np.random.default_rng(0).standard_normal((50, 50)) / np.sqrt(50)
    radius, norm = np.max(np.abs(np.linalg.eigvals(U))), np.linalg.norm(U, 2)
    print(f"random U, N(0, 1/50): |λ_max| = {radius:.2f}, σ_max = {norm:.2f}")
    U, powers = init.scaled(U, radius=1.0), {}
    for steps in (1, 10, 50, 100):
        powers[steps] = np.linalg.norm(np.linalg.matrix_power(U, steps), 2)
        print(f"scaled to |λ_max| = 1: ‖U^{steps}‖ = {powers[steps]:.1f}; σ_max allows {(norm / radius) ** steps:.0e}")

    shown = [name for name in NETS if name not in ("sigmoid, orthogonal", "LSTM, forget bias 1", "LSTM, forget bias 5")]
    lines = {name: profiles[name][::-1] for name in shown}
    x, y = ("distance T − t, steps", np.arange(T)), "‖∂L/∂h(t)‖ / ‖∂L/∂h(T)‖"
    plots.curves(out / PICTURE, "The way back through 100 steps, untrained", x, y, lines, log=True)
    return {"left": {name: flow[0] for name, flow in profiles.items()}, "scales": scales, "powers": powers}


if __name__ == "__main__":
    run(main)
