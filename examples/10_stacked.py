"""Lesson 10: in a stacked net gradients go back through time and down through the layers, along every way there is.

"Can RNNs have more than one hidden layer?" Yes (IIT slides, "Review: Questions"): each layer's h(t) is the x(t) of the
next. The equations of interdb hold in each layer, if what comes from above is added to dh(t).
"""

from math import comb

import numpy as np

import tinygrad_rnn as tg
from lesson import run
from tinygrad_rnn.experiments import plots

PICTURE = "stacked.svg"


def main(out, quick=False):
    rng = np.random.default_rng(0)

    # 1. Two layers, a loss at every step, against the equations applied layer by layer.
    rnn, readout = tg.nn.RNN(2, 3, num_layers=2, rng=rng), tg.nn.Linear(3, 1, rng=rng)
    xs, Ys = rng.standard_normal((2, 2)), rng.standard_normal((2, 1))
    losses = [tg.nn.half_squared_error(readout(h), Y) for h, Y in zip(rnn(xs)[0], Ys, strict=True)]
    E = tg.label(sum(losses[1:], losses[0]), "E")
    layers = [[p.data for p in cell.parameters()] for cell in rnn.cells]
    V, c = (p.data for p in readout.parameters())
    equations = tg.bptt.closed_form_stacked_gradients(layers, V, c, xs, Ys, many_to_many=True)
    worst = 0.0
    for number, (cell, by_hand) in enumerate(zip(rnn.cells, equations, strict=True), 1):
        for p, g in zip(cell.parameters(), tg.grad(E, cell.parameters()), strict=True):
            worst = max(worst, np.max(np.abs(g.data - getattr(by_hand, p.name))))
            print(f"‖d{p.name}‖ = {np.linalg.norm(g.data):.4f}   ", end="")
        print(f"in layer {number}")
    print(f"graph and equations differ by at most {worst:.0e}")
    tg.draw.backward(E).save(out / PICTURE)
    tg.draw.forward(E).save(out / "forward.svg")

    # 2. Counting the ways. With one unit a layer, every weight 1 and f the identity, each way contributes 1 to the
    # gradient, which so counts them: from x(1) to the top of step T there are (T + L - 2 over L - 1).
    T, ways = 10, {}
    for L in (1, 2, 3, 4):
        counter = tg.nn.RNN(1, 1, num_layers=L, nonlinearity="identity", bias=False)
        for p in counter.parameters():
            p.data = np.ones((1, 1))
        x1 = tg.Tensor(np.ones(1), requires_grad=True)
        hs, _ = counter([x1, *np.ones((T - 1, 1))])
        ways[L] = int(tg.bptt.jacobian(hs[-1], x1)[0, 0])
        print(f"L = {L}, T = {T}: ways {ways[L]:3} from x(1) to the last state; {comb(T + L - 2, L - 1)} by counting")

    # 3. How far back do gradients come in each layer? Nets on each other, which are the same as one with three layers.
    T = 40
    nets = [tg.nn.RNN(8, 8, rng=rng) for _ in range(3)]
    states = [list(map(tg.Tensor, rng.standard_normal((T, 8))))]
    for net in nets:
        hs, _ = net(states[-1])
        states.append(hs)
    loss = tg.nn.squared_error(tg.nn.Linear(8, 1, rng=rng)(states[-1][-1]), np.ones(1))
    flows = {f"layer {n}": tg.bptt.gradient_flow(loss, states[n])[::-1] for n in (1, 2, 3)}
    for name, flow in flows.items():
        print(f"{name}: at T {flow[0]:.1e}, largest {max(flow):.1e} at T - {np.argmax(flow)}, last {flow[-1]:.0e}")
    x, y = ("distance T − t, steps", np.arange(T)), "‖∂L/∂h(t)‖"
    plots.curves(out / "flow.svg", "Gradients in the layers of a net of three", x, y, flows, log=True)
    return {"difference": worst, "ways": ways, "flows": flows}


if __name__ == "__main__":
    run(main)
