"""Lesson 2: unrolled through time, a recurrent net is a deep feed-forward net whose layers share their weights.

The net is s(t) = φ(W_s s(t-1) + W_x x(t)), y(t) = W_y s(t) (BPTT post; Module 5 has g₁ and g₂ for φ). Its picture with
a loop stands for a graph without one, as long as the sequence: Fig. 7-5 of interdb 7.2.2.
"""

import numpy as np

import tinygrad_rnn as tg
from lesson import run
from tinygrad_rnn.backward import topological_order

PICTURE = "unrolled.svg"


def main(out, quick=False):
    rng = np.random.default_rng(0)

    # 1. The equation as a loop in plain NumPy, and as a net: the same states.
    rnn, readout = tg.nn.RNN(2, 3, bias=False, rng=rng), tg.nn.Linear(3, 1, bias=False, rng=rng)
    xs, d = rng.standard_normal((4, 2)), rng.standard_normal(1)
    W_x, W_s = (p.data for p in rnn.parameters())
    s = np.zeros(3)
    for x in xs:
        s = np.tanh(W_s @ s + W_x @ x)
    hs, _ = rnn(xs)
    difference = np.max(np.abs(hs[-1].data - s))
    print(f"state after 4 steps, by the loop and by the net: they differ by {difference:.1e}")

    # 2. Rolled and unrolled. In the letters of the BPTT post; then Fig. 7-5 in those of interdb, with its biases.
    loss = tg.nn.squared_error(readout(hs[-1]), d)
    tg.draw.forward(loss, rolled=True, notation="state").save(out / "rolled.svg")
    tg.draw.forward(loss, notation="state").save(out / PICTURE)
    biased, dense = tg.nn.RNN(2, 3, rng=0), tg.nn.Linear(3, 1, rng=1)
    tg.draw.forward(tg.nn.half_squared_error(dense(biased(xs)[0][-1]), d)).save(out / "figure_7_5.svg")

    # 3. What grows with the sequence, and what does not: nodes do, parameters do not.
    nodes = {}
    for T in (1, 10, 100, 1000):
        y = readout(rnn(rng.standard_normal((T, 2)))[0][-1])
        nodes[T] = len(topological_order(y))
        weights = sum(p.size for p in (*rnn.parameters(), *readout.parameters()))
        print(f"T = {T:4}: {nodes[T]:5} nodes in the graph, {weights} weights")
    tg.draw.forward(y, max_steps=4, notation="state").save(out / "thousand_steps.svg")

    # 4. Every step back is one more layer: how much of s(1) is left in s(4)? The more each input changes the state, the
    # less (the IIT slides ask what happens to a state that is "morphed" too much).
    reach = {}
    for scale in (0.1, 1.0, 10.0):
        rnn.cells[0].W.data = scale * W_x
        hs, _ = rnn(xs)
        reach[scale] = float(np.linalg.norm(tg.bptt.jacobian(hs[3], hs[0]), 2))
        print(f"W_x times {scale:4}: a change of s(1) arrives in s(4) at most {reach[scale]:.1e} times as large")
    rnn.cells[0].W.data = W_x

    # 5. With an output at every step the loss is the sum E = Σ E_t (the BPTT post and the IIT slides).
    losses = [tg.nn.squared_error(readout(h), d) for h in rnn(xs)[0]]
    E = tg.label(sum(losses[1:], losses[0]), "E")
    tg.draw.forward(E, notation="state").save(out / "many_to_many.svg")
    return {"difference": difference, "nodes": nodes, "reach": reach}


if __name__ == "__main__":
    run(main)
