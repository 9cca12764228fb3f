"""Lesson 7: gradients explode at cliffs, and clipping keeps an update from leaping off them.

"What if weights are high?" (IIT slides, "Exploding Gradients Problem"): the product of lesson 6 grows, and "will show
up as NaN". Clipping (Module 5, IIT slides, TowardsML) is shown where it acts, at a wall in the error of a single unit
(after Pascanu et al. 2013, Fig. 6). It limits the update; it does not bring back what has vanished.
"""

import numpy as np

import tinygrad_rnn as tg
from lesson import expected, run
from tinygrad_rnn.experiments import plots

PICTURE, STEPS, LR = "wall.svg", 50, 0.01

CLIPS = {
    "unclipped": lambda gradients, limit: None,
    "norm at most 1": tg.optim.clip_grad_norm,  # as Module 5: what is above the threshold is normalised
    "elements at most 1": tg.optim.clip_grad_value,  # as TowardsML: the largest value is capped
}


def error(w, b):
    """E = (σ(x(50)) - 0.7)² for x(t) = w σ(x(t-1)) + b from x(0) = ½: one unit, without input."""
    x = 0.5
    for _ in range(STEPS):
        x = w * tg.sigmoid(x) + b
    return (tg.sigmoid(x) - 0.7) ** 2


def draw_surface(path, at, updates):
    """The error over w and b as colour, and updates from a place; dark is 0."""
    drawing, axes = plots.figure()
    w, b = (np.linspace(x - 18.0, x + 18.0, 240) for x in at)
    axes.pcolormesh(w, b, error(w, b[:, None]).data, rasterized=True, cmap="cividis")
    for (name, end), colour in zip(updates.items(), (plots.COLOURS[1], "white"), strict=True):
        axes.plot(*np.transpose([at, end]), "o-", color=colour, label=name)
    axes.set(xlabel="w", ylabel="b", title=f"The error after {STEPS} steps, and an update from the wall")
    axes.legend(facecolor="0.6", frameon=True, loc="upper right")
    plots.save(drawing, path)


def descend(clip, updates, w=5.0, b=-2.5, lr=LR):
    """Gradient descent from beside the wall: the error and w by update, and the longest update."""
    w, b = (tg.Tensor(value, requires_grad=True) for value in (w, b))
    program, optimizer = tg.compile(lambda: error(w, b), wrt=[w, b]), tg.optim.SGD([w, b], lr=lr)
    errors, places, longest = [], [], 0.0
    for _ in range(updates):
        optimizer.zero_grad()
        places.append(w.item())
        errors.append(program.backward())
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

    # 2. The wall: its steepest place, beside a plane that is flat nearly everywhere; and an update from there.
    w, b = (tg.Tensor(x, requires_grad=True) for x in np.meshgrid(np.linspace(3, 6, 100), np.linspace(-4, 0, 100)))
    median = np.median(np.hypot(*(g.data for g in tg.grad(tg.sum(error(w, b)), [w, b]))))
    w, b = (tg.Tensor(x, requires_grad=True) for x in (np.full(20_001, 4.81), np.linspace(-2.6, -2.4, 20_001)))
    slopes = np.transpose([g.data for g in tg.grad(tg.sum(error(w, b)), [w, b])])
    gradient = slopes[steepest := np.argmax(np.abs(slopes[:, 1]))]
    at, norm = np.array([4.81, b.data[steepest]]), np.linalg.norm(gradient)
    print(f"‖∂E/∂(w, b)‖: {median:.2f} in the median of 10,000 places;", end=" ")
    print(f"{norm:.0f} at w, b = {at.round(3)}, {expected(norm, 1400.0, 1700.0)}")
    print(f"there, one update with a learning rate of {LR} goes {LR * norm:.0f} far; clipped to norm 1, {LR}")
    if plots.available():
        draw_surface(out / "surface.svg", at, {"unclipped": at - LR * gradient, "clipped": at - LR * gradient / norm})

    # 3. Across the wall at b = -2.5: the error jumps, and its slope is a needle.
    line = tg.Tensor(np.linspace(4.75, 4.9, 301), requires_grad=True)
    errors = error(line, tg.Tensor(np.full(301, -2.5)))
    (slope,) = tg.grad(tg.sum(errors), [line])
    lines = {"error E": errors.data, "slope |∂E/∂w|": np.abs(slope.data)}
    plots.curves(out / PICTURE, "The wall, at b = −2.5", ("weight w", line.data), "E and |∂E/∂w|", lines, log=True)

    # 4. Down the hill with and without clipping. The error jumps at every crossing of the wall: its median tells more.
    updates, final, longest, lines = 400 if quick else 2000, {}, {}, {}
    for name, clip in CLIPS.items():
        errors, lines[name], longest[name] = descend(clip, updates)
        final[name] = np.median(errors[-100:])
        print(f"{name:18}: error {errors[0]:.3f} -> {final[name]:.4f}, longest update {longest[name]:.2f}")
    print(f"a leap ends where σ is saturated: the error is (1 - 0.7)² = {0.3**2:.2f}, and no gradient leads back")
    title, x = "Descent from beside the wall, lr 0.01", ("update", np.arange(updates))
    plots.curves(out / "descent.svg", title, x, "weight w", lines)
    return {"anomaly": found, "median": median, "at": at, "norm": norm, "final": final, "longest": longest}


if __name__ == "__main__":
    run(main)
