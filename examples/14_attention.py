"""Lesson 14: attention looks back: a gradient reaches every step by a way of its own, of one step's length.

"As that gap grows, RNNs become unable to learn to connect the information" (TowardsML, "Long term dependencies
problem"), since the gradient goes through every state between. Attention (Bahdanau et al. 2015) reads all states, by
weights that it computes from them; here with one vector v, as in Raffel and Ellis 2015:

    e(t) = ᵗv h(t),   α = softmax(e),   c = Σ_t α(t) h(t),   y = V c + c₀   in place of   y = V h(T) + c₀

The net is that which fails at the adding problem over 100 steps in lesson 11, the problem is the same.
"""

import numpy as np

import tinygrad_rnn as tg
from lesson import expected, run
from tinygrad_rnn.datasets import adding_problem
from tinygrad_rnn.experiments import plots

T, H, BATCH, PICTURE = 100, 32, 32, "reach.svg"


class Net(tg.nn.Module):
    """A plain net whose output is read out of its last state, or of what attention finds in all of them."""

    def __init__(self, attends, units=H, seed=0):
        rng = np.random.default_rng(seed)
        self.rnn, self.readout = tg.nn.RNN(2, units, rng=rng), tg.nn.Linear(units, 1, rng=rng)
        self.score = tg.nn.Linear(units, 1, bias=False, rng=rng) if attends else None

    def __call__(self, xs):
        """The output, the states, and their weights α, (T, 1) or (T, B, 1)."""
        hs, _ = self.rnn(xs)
        if self.score is None:
            return self.readout(hs[-1]), hs, None
        states = tg.label(tg.stack(hs), "H")
        α = tg.label(tg.softmax(tg.label(self.score(states), "e"), axis=0), "α")
        return self.readout(tg.label(tg.sum(α * states, axis=0), "c")), hs, α


def train(net, updates):
    """The error of every update, as in lesson 11."""
    rng, parameters = np.random.default_rng(0), net.parameters()
    optimizer = tg.optim.Adam(parameters, lr=0.01)

    def loss_of(xs, targets):
        return tg.nn.squared_error(net(xs)[0], targets, reduction="mean")

    program, errors = tg.compile(loss_of, *adding_problem(rng, T, BATCH), wrt=parameters), []
    for _ in range(updates):
        errors.append(program.backward(*adding_problem(rng, T, BATCH)))
        tg.optim.clip_grad_norm(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return errors


def flow(attends, seed):
    """‖∂L/∂h(t)‖ against T - t, untrained."""
    xs, _ = adding_problem(np.random.default_rng(seed), T, 1)
    y, hs, _ = Net(attends, seed=seed)(xs[:, 0])
    return tg.bptt.gradient_flow(tg.nn.half_squared_error(y, np.ones(1)), hs)[::-1]


def main(out, quick=False):
    ways = {"by the last state": False, "by attention": True}

    # 1. The gradient at every state, untrained, in the median of nine nets.
    flows = {name: np.median([flow(attends, seed) for seed in range(9)], axis=0) for name, attends in ways.items()}
    for (name, norms), band in zip(flows.items(), ((0, 1e-3), (0.1, 10)), strict=True):
        left = norms[-1] / norms.max()
        print(f"{name}: {left:.1g} of the largest gradient is left at h(1), {expected(left, *band)}")
    title, x = "How far back a gradient reaches, untrained", ("distance T − t, steps", np.arange(T))
    plots.curves(out / PICTURE, title, x, "‖∂L/∂h(t)‖", flows, log=True)

    # 2. What that is worth: the adding problem; always saying 1 has an error of 0.167, and below 0.01 is solved.
    updates, nets, final = 150 if quick else 500, {}, {}
    for (name, attends), band in zip(ways.items(), ((0.1, 0.25), (0, 0.01)), strict=True):
        nets[name] = Net(attends)
        final[name] = np.median(train(nets[name], updates)[-50:])
        print(f"{name}: error {final[name]:.4f} after {updates} updates, {expected(final[name], *band)}")

    # 3. Where it looks: to the marked steps, or just behind them, where the states have taken the numbers in.
    xs, _ = adding_problem(np.random.default_rng(1), T, 1000)
    _, _, α = nets["by attention"](xs)
    looked = sum(np.mean(np.sum(α.data[after:] * xs[: T - after, :, 1:], axis=0)) for after in range(3))
    print(
        f"the two marked steps of {T}, and two after each, get {looked:.0%} of the weight, {expected(looked, 0.2, 1)}"
    )

    # 4. In the graph: from c there is an edge to every state.
    y, _, _ = Net(attends=True, units=3)(np.ones((3, 2)))
    tg.draw.backward(tg.nn.half_squared_error(y, np.ones(1))).save(out / "attention.svg")
    return {"flows": flows, "final": final, "looked": looked}


if __name__ == "__main__":
    run(main)
