"""Lesson 7: gradients explode at cliffs, and clipping keeps a step from leaping off them.

"What if weights are high?" (IIT slides, "Exploding Gradients Problem"): the product of lesson 6 grows, and "will show
up as NaN". Clipping (Module 5, the IIT slides and TowardsML) is shown where it acts: a unit h(t) = σ(w h(t-1) + b)
whose squared distance to 0.7 after 50 steps has a wall (after Pascanu et al. 2013). It limits the step; it does not
bring back what has vanished.
"""

import numpy as np

import tinygrad_rnn as tg
from lesson import expected, run
from tinygrad_rnn.experiments import plots
from tinygrad_rnn.experiments.cliff import BAND, cliff, error

PICTURE = "wall.svg"

CLIPS = {
    "unclipped": None,
    "norm at most 1": tg.optim.clip_grad_norm,  # as Module 5: what is above the threshold is normalised
    "elements at most 1": tg.optim.clip_grad_value,  # as TowardsML: the largest value is capped
}


def descend(clip, updates, w=5.0, b=-2.5, lr=0.01):
    """Gradient descent from beside the wall: the error and w by update, and the longest step that was taken."""
    w, b = (tg.Tensor(value, requires_grad=True) for value in (w, b))
    program, optimizer = tg.compile(lambda: error(w, b), wrt=[w, b]), tg.optim.SGD([w, b], lr=lr)
    errors, places, longest = [], [], 0.0
    for _ in range(updates):
        optimizer.zero_grad()
        places.append(w.item())
        errors.append(program.backward())
        if clip is not None:
            clip([w, b], 1.0)
        longest = max(longest, lr * tg.optim.norm([w.grad, b.grad]))
        optimizer.step()
    return errors, places, longest


def main(out, quick=False):
    # 1. High weights in a whole net, without a nonlinearity that could saturate: numbers end.
    rnn = tg.nn.RNN(1, 20, nonlinearity="identity", rng=0)
    rnn.cells[0].U.data = 4.0 * rnn.cells[0].U.data
    with np.errstate(over="ignore", invalid="ignore"):
        hs, _ = rnn(np.ones((600, 1)))
        print(f"‖h(50)‖ = {np.linalg.norm(hs[49].data):.0e}; at step 600 there are {hs[-1].data[:3]}")
        try:
            with tg.detect_anomaly():
                rnn(np.ones((600, 1)))
        except tg.AnomalyError as anomaly:
            found = str(anomaly).partition(" was made")[0]
            print(f"tg.detect_anomaly() says where that starts: {found}")

    # 2. The wall: its steepest place, beside a plane that is flat nearly everywhere.
    wall, (w, b) = cliff(), np.meshgrid(np.linspace(3, 6, 100), np.linspace(-4, 0, 100))
    w, b = (tg.Tensor(values, requires_grad=True) for values in (w, b))
    median = np.median(np.hypot(*(g.data for g in tg.grad(tg.sum(error(w, b)), [w, b]))))
    print(f"‖∂E/∂(w, b)‖: {median:.2f} in the median of 10,000 places;", end=" ")
    print(f"{wall.norm:.0f} at w, b = {wall.at.round(3)}, {expected(wall.norm, *BAND)}")
    print(f"there, one update with a learning rate of 0.01 goes {wall.jump('unclipped'):.0f} far")
    wall.save(out)

    # 3. Across the wall at b = -2.5: the error jumps, and its slope is a needle.
    line = tg.Tensor(np.linspace(4.75, 4.9, 301), requires_grad=True)
    errors = error(line, tg.Tensor(np.full(301, -2.5)))
    (slope,) = tg.grad(tg.sum(errors), [line])
    lines = {"error E": errors.data, "slope |∂E/∂w|": np.abs(slope.data)}
    plots.curves(out / PICTURE, "The wall, at b = −2.5", ("weight w", line.data), "E and |∂E/∂w|", lines, log=True)

    # 4. Down the hill with and without clipping. The error jumps at every crossing of the wall: its median tells more.
    updates, final, longest, lines = 2000, {}, {}, {}
    for name, clip in CLIPS.items():
        errors, lines[name], longest[name] = descend(clip, updates)
        final[name] = np.median(errors[-100:])
        print(f"{name:18}: error {errors[0]:.3f} -> {final[name]:.4f}, longest step {longest[name]:.2f}")
    print(f"who leaps lands where σ is saturated: the error is (1 - 0.7)² = {0.3**2:.2f}, and no gradient leads back")
    title, x = "Descent from beside the wall, lr 0.01", ("update", np.arange(updates))
    plots.curves(out / "descent.svg", title, x, "weight w", lines)
    return {"anomaly": found, "median": median, "wall": wall, "final": final, "longest": longest}


if __name__ == "__main__":
    run(main)
