"""Lesson 5: the graph, the textbook's equations and finite differences find the same gradients.

interdb 7.2.4: dW, dU and db as sums over t (eqs. 7.7 to 7.9), with dh(t) by eq. 7.6. The equations are
written out in plain NumPy in tinygrad_rnn/bptt/closed_form.py, which imports nothing of the engine; the engine in turn
knows none of them. What it recorded can be printed as such equations, too.
"""

import numpy as np

import tinygrad_rnn as tg
from lesson import run
from tinygrad_rnn.experiments import plots

PICTURE = "agreement.svg"


def main(out, quick=False):
    rng = np.random.default_rng(0)
    T = 20
    rnn, readout = tg.nn.RNN(2, 4, rng=rng), tg.nn.Linear(4, 1, rng=rng)
    xs, Y = rng.standard_normal((T, 2)), rng.standard_normal(1)
    parameters = [*rnn.parameters(), *readout.parameters()]

    def loss_of(xs, Y):
        return tg.nn.half_squared_error(readout(rnn(xs)[0][-1]), Y)

    # 1. By the graph.
    hs, _ = rnn(xs)
    loss = tg.nn.half_squared_error(readout(hs[-1]), Y)
    by_graph = [g.data for g in tg.grad(loss, parameters)]

    # 2. By eqs. 7.3 to 7.9.
    equations = tg.bptt.closed_form_gradients(*(p.data for p in parameters), xs, Y)

    # 3. By nothing but the loss: the central difference of every single weight.
    def difference(p, index, step=1e-6):
        values, losses = p.data.copy(), []
        for sign in (1, -1):
            changed = values.copy()
            changed[index] += sign * step
            p.data = changed
            losses.append(loss_of(xs, Y).item())
        p.data = values
        return (losses[0] - losses[1]) / (2 * step)

    worst = {"equations": 0.0, "differences": 0.0}
    for p, g in zip(parameters, by_graph, strict=True):
        numeric = np.array([difference(p, i) for i in np.ndindex(p.shape)]).reshape(p.shape)
        exact = getattr(equations, p.name)
        errors = [np.linalg.norm(g - other) / np.linalg.norm(exact) for other in (exact, numeric)]
        worst = {name: max(worst[name], error) for name, error in zip(worst, errors, strict=True)}
        print(
            f"‖d{p.name}‖ = {np.linalg.norm(g):.6f}; equations {errors[0]:.0e}, differences {errors[1]:.0e} beside it"
        )

    # 4. Class by class: with softmax and cross entropy, ∂E/∂V = (ŷ - y) ⊗ h (IIT slides).
    classes = tg.nn.Linear(4, 3, rng=rng)
    z = classes(hs[-1])
    (dV,) = tg.grad(tg.nn.cross_entropy(z, np.array(1)), [classes.V])
    outer = np.outer(tg.softmax(z).data - np.eye(3)[1], hs[-1].data)
    print(f"∂E/∂V and (ŷ - y) ⊗ h differ by {np.max(np.abs(dV.data - outer)):.0e}")

    # 5. As code: the recorded graph as a NumPy program, which computes the same, and its text.
    program = tg.compile(loss_of, xs, Y, wrt=parameters)
    _, gradients = program(xs, Y)
    compiled = max(np.max(np.abs(g - other)) for g, other in zip(gradients, by_graph, strict=True))
    (out / "bptt.py").write_text(program.source, encoding="utf-8")
    print(f"tg.compile(...) runs without a graph, and differs by {compiled:.0e}; its text is in bptt.py")

    # 6. ‖dh(t)‖ of eq. 7.6 beside the engine's: the two curves lie on each other.
    lines = {"by the graph": tg.bptt.gradient_flow(loss, hs), "by eq. 7.6": np.linalg.norm(equations.dh, axis=1)}
    x = ("time step t", np.arange(1, T + 1))
    plots.curves(out / PICTURE, "Two ways to dh(t)", x, "‖∂L/∂h(t)‖", lines, log=True, dashed=["by eq. 7.6"])
    return {**worst, "compiled": compiled, "outer": np.max(np.abs(dV.data - outer))}


if __name__ == "__main__":
    run(main)
