"""How long one training step takes, as a ratio to backpropagation through time written by hand in NumPy.

    python examples/benchmark.py            the table, for whatever peers are installed: pip install ".[bench]"
    python examples/benchmark.py --quick    a few repetitions of the small size: are the gradients right?

A step is the forward and backward pass of the plain many-to-one net, in float64, with one BLAS thread: built node by
node each time, or compiled once, here into NumPy calls (`tg.compile`) and by JAX. Each library runs in turn with the
hand-written one, all in one process; the ratio is that of the medians.
"""

import os

os.environ |= {name: "1" for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")}
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

import argparse
import functools
import gc
import importlib.metadata
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise

import numpy as np

import closed_form_gates
import tinygrad_rnn as tg

# T, B, D, H, and how often each step is timed
SIZES = {"small": (10, 1, 1, 16, 300), "middle": (50, 32, 16, 64, 60), "large": (100, 64, 64, 256, 9)}


class Problem:
    """Parameters in the order W, U, b, V, c, and data."""

    def __init__(self, T, B, D, H):
        rng = np.random.default_rng(0)
        self.T, self.B, self.H = T, B, H
        self.xs, self.Y = rng.standard_normal((T, B, D)), rng.standard_normal((B, 1))
        self.rnn, self.readout = tg.nn.RNN(D, H, rng=rng), tg.nn.Linear(H, 1, rng=rng)
        self.tensors = [*self.rnn.parameters(), *self.readout.parameters()]
        self.parameters = [p.numpy() for p in self.tensors]


def by_hand(p):
    """A plain loop over t forward, a plain loop back."""
    W, U, b, V, c = p.parameters
    xs, T = p.xs, p.T

    def step():
        h = [np.zeros((p.B, p.H))]
        for t in range(T):
            h.append(np.tanh(xs[t] @ W.T + h[-1] @ U.T + b))
        dy = h[-1] @ V.T + c - p.Y
        dV, dc, dh = dy.T @ h[-1], dy.sum(axis=0), dy @ V
        dW, dU, db = np.zeros_like(W), np.zeros_like(U), np.zeros_like(b)
        for t in reversed(range(T)):
            da = dh * (1 - h[t + 1] ** 2)
            dW += da.T @ xs[t]
            dU += da.T @ h[t]
            db += da.sum(axis=0)
            dh = da @ U
        return dW, dU, db, dV, dc

    return step


def tinygrad_rnn(p):
    def step():
        for parameter in p.tensors:
            parameter.grad = None
        hs, _ = p.rnn(p.xs)
        tg.nn.half_squared_error(p.readout(hs[-1]), p.Y).backward()
        return [parameter.grad for parameter in p.tensors]

    return step


def unrolled_loss(p, W, U, b, V, c, tanh, total):
    """The same loss for any library whose arrays have NumPy's operators."""
    h = np.zeros((p.B, p.H))
    for x in p.xs:
        h = tanh(x @ W.T + h @ U.T + b)
    return 0.5 * total((h @ V.T + c - p.Y) ** 2)


def autograd(p):
    import autograd.numpy as anp
    from autograd import grad

    gradient = grad(lambda parameters: unrolled_loss(p, *parameters, anp.tanh, anp.sum))
    return lambda: gradient(p.parameters)


def mygrad(p):
    import mygrad as mg

    def step():
        tensors = [mg.tensor(a) for a in p.parameters]
        unrolled_loss(p, *tensors, mg.tanh, mg.sum).backward()
        return [t.grad for t in tensors]

    return step


def dezero(p):
    np.int = int  # an alias that NumPy has dropped and DeZero 0.0.13 still asks for
    import dezero
    import dezero.functions as F

    def step():
        W, U, b, V, c = tensors = [dezero.Variable(a) for a in p.parameters]
        h = dezero.Variable(np.zeros((p.B, p.H)))
        for x in p.xs:
            h = F.tanh(F.matmul(dezero.Variable(x), W.T) + F.matmul(h, U.T) + b)
        (0.5 * F.sum((F.matmul(h, V.T) + c - p.Y) ** 2)).backward()
        return [t.grad.data for t in tensors]

    return step


def torch(p):
    import torch

    torch.set_num_threads(1)
    xs, Y = torch.from_numpy(p.xs), torch.from_numpy(p.Y)
    tensors = [torch.from_numpy(a.copy()).requires_grad_() for a in p.parameters]

    def step():
        W, U, b, V, c = tensors
        for t in tensors:
            t.grad = None
        h = torch.zeros((p.B, p.H), dtype=torch.float64)
        for x in xs:
            h = torch.tanh(x @ W.T + h @ U.T + b)
        (0.5 * ((h @ V.T + c - Y) ** 2).sum()).backward()
        return [t.grad.numpy() for t in tensors]

    return step


def compiled(p):
    """The same function as `tinygrad_rnn` runs, as a program."""
    program = tg.compile(
        lambda xs, Y: tg.nn.half_squared_error(p.readout(p.rnn(xs)[0][-1]), Y), p.xs, p.Y, wrt=p.tensors
    )
    return lambda: program(p.xs, p.Y)[1]


def jax_jit(p):
    """`jit` of the loop as it stands, which XLA unrolls."""
    return jitted(p, lambda jnp, W, U, b, V, c, xs: functools.reduce(jax_step(jnp, W, U, b), xs, jnp.zeros((p.B, p.H))))


def jax_scan(p):
    """`jit` of the loop as one `scan`."""

    def last_state(jnp, W, U, b, V, c, xs):
        from jax import lax

        step = jax_step(jnp, W, U, b)
        return lax.scan(lambda h, x: (step(h, x), None), jnp.zeros((p.B, p.H)), xs)[0]

    return jitted(p, last_state)


def jax_step(jnp, W, U, b):
    return lambda h, x: jnp.tanh(x @ W.T + h @ U.T + b)


def jitted(p, last_state):
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)

    def loss(parameters, xs, Y):
        *_, V, c = parameters
        h = last_state(jnp, *parameters, xs)
        return 0.5 * jnp.sum((h @ V.T + c - Y) ** 2)

    function = jax.jit(jax.value_and_grad(loss))
    arguments = [jnp.asarray(a) for a in p.parameters], jnp.asarray(p.xs), jnp.asarray(p.Y)
    return lambda: [np.asarray(g) for g in jax.block_until_ready(function(*arguments))[1]]


STEPS = [by_hand, tinygrad_rnn, compiled, jax_jit, jax_scan, autograd, mygrad, dezero, torch]
LIBRARIES = {"compiled": "tinygrad_rnn", "jax_jit": "jax", "jax_scan": "jax"}


def training_steps(problem):
    """{name: step} for whatever is installed, each checked to give the gradients that the hand-written one gives."""
    expected, steps = by_hand(problem)(), {}
    for make in STEPS:
        try:
            step = make(problem)
        except ImportError as error:
            print(f"{make.__name__} is left out: {error}")
            continue
        for got, gradient in zip(step(), expected, strict=True):
            np.testing.assert_allclose(got, gradient, rtol=1e-9, atol=1e-11, err_msg=make.__name__)
        steps[make.__name__] = step
    return steps


def medians(step, by_hand_step, repetitions):
    """The median time of a step and of the hand-written one in seconds, the two taken in turn."""
    times = ([], [])
    for _ in range(repetitions):
        for run, taken in zip((step, by_hand_step), times, strict=True):
            start = time.perf_counter()
            run()
            taken.append(time.perf_counter() - start)
    return tuple(map(statistics.median, times))


def gated(kind, T, B, D, H):
    """{name: step} of an LSTM or GRU whose last state is compared with a target: by hand, ours, PyTorch's cell."""
    rng = np.random.default_rng(0)
    net, xs, target = getattr(tg.nn, kind)(D, H, rng=rng), rng.standard_normal((T, B, D)), rng.standard_normal((B, H))
    parameters = dict(net.cells[0].named_parameters())
    arrays = {name: p.numpy() for name, p in parameters.items()}
    gradients = getattr(closed_form_gates, f"{kind.lower()}_gradients")

    def by_hand():
        return gradients(arrays, xs, target)[1]

    def ours():
        net.zero_grad()
        tg.nn.half_squared_error(net(xs)[0][-1], target).backward()
        return {name: p.grad for name, p in parameters.items()}

    program = tg.compile(lambda xs, Y: tg.nn.half_squared_error(net(xs)[0][-1], Y), xs, target, wrt=net)

    def compiled():
        return dict(zip(parameters, program(xs, target)[1], strict=True))

    steps = {"by_hand": by_hand, "tinygrad_rnn": ours, "compiled": compiled}
    for name, gradient in by_hand().items():
        for step in (ours, compiled):
            np.testing.assert_allclose(step()[name], gradient, rtol=1e-9, atol=1e-11, err_msg=name)
    try:
        import torch
    except ImportError:
        return steps
    cell = getattr(torch.nn, f"{kind}Cell")(D, H, dtype=torch.float64)
    cell.load_state_dict({name: torch.from_numpy(array) for name, array in tg.to_torch(net.cells[0]).items()})
    inputs, Y = torch.from_numpy(xs), torch.from_numpy(target)

    def theirs():
        cell.zero_grad()
        h = c = torch.zeros((B, H), dtype=torch.float64)
        for x in inputs:
            h, c = cell(x, (h, c)) if kind == "LSTM" else (cell(x, h), c)
        (0.5 * ((h - Y) ** 2).sum()).backward()

    return steps | {"torch": theirs}


def first_result(make, shape):
    """Seconds from a net to its first gradients, in a new process without the time for imports: tracing, compiling."""
    code = (
        f"import time; from benchmark import Problem, {make.__name__} as make; p = Problem(*{shape}); "
        "make(Problem(2, 1, 1, 2))(); start = time.perf_counter(); make(p)(); print(time.perf_counter() - start)"
    )
    folder = os.path.dirname(os.path.abspath(__file__))
    runs = [subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True) for _ in range(3)]
    return statistics.median(float(run.stdout) for run in runs)


def chain(length):
    """Microseconds per node to chain so many nodes, to go back through them, and to free them."""
    x = tg.Tensor(1.0, requires_grad=True)
    y, marks = x, [time.perf_counter()]
    for _ in range(length):
        y = -y
    marks.append(time.perf_counter())
    y.backward()
    marks.append(time.perf_counter())
    del y
    marks.append(time.perf_counter())
    return [1e6 * (after - before) / length for before, after in pairwise(marks)]


def best_chain(length, runs):
    """The quickest of some runs."""
    return min((chain(length) for _ in range(runs)), key=sum)


def drawing(kind, T, **options):
    """The best of three times to draw, lay out and save the figures of a net, forward and backward, in seconds."""
    net, readout = getattr(tg.nn, kind)(2, 3, rng=0), tg.nn.Linear(3, 1, rng=1)
    hs, _ = net(np.random.default_rng(0).standard_normal((T, 2)))
    loss = tg.nn.half_squared_error(readout(hs[-1]), np.ones(1))
    taken = []
    with tempfile.TemporaryDirectory() as folder:
        for view in (tg.draw.forward, tg.draw.backward):
            times = []
            for _ in range(3):
                start = time.perf_counter()
                view(loss, **options).save(f"{folder}/figure.svg")
                times.append(time.perf_counter() - start)
            taken.append(min(times))
    return taken


def cold_start(code):
    """The best of five runs of a new process, in seconds."""
    taken = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        taken.append(time.perf_counter() - start)
    return min(taken)


def version(name):
    return importlib.metadata.version(name)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="the small size, a few repetitions")
    quick = parser.parse_args().quick
    print(f"Python {platform.python_version()}, NumPy {np.__version__}, {platform.machine()}\n")
    ratios, milliseconds = {}, []
    sizes = ["small"] if quick else list(SIZES)
    for size in sizes:
        *shape, repetitions = SIZES[size]
        steps = training_steps(Problem(*shape))
        hand = steps.pop("by_hand")
        for name, step in steps.items():
            taken, taken_by_hand = medians(step, hand, 3 if quick else repetitions)
            ratios.setdefault(name, []).append(taken / taken_by_hand)
            if name == "tinygrad_rnn":
                milliseconds.append(1e3 * taken_by_hand)
    print("ratio to hand-written NumPy   " + "".join(f"{size:>10}" for size in sizes))
    for name, columns in ratios.items():
        label = f"{name} {version(LIBRARIES.get(name, name))}"
        print(f"{label:30}" + "".join(f"{ratio:10.2f}" for ratio in columns))
    print(f"{'by hand, milliseconds':30}" + "".join(f"{taken:10.2f}" for taken in milliseconds))

    if not quick:
        print("\nseconds to a first result")
        for make in [compiled, jax_jit, jax_scan] if "jax_jit" in ratios else [compiled]:
            taken = [first_result(make, SIZES[size][:4]) for size in sizes]
            print(f"{make.__name__:30}" + "".join(f"{seconds:10.3f}" for seconds in taken))

    T, B, D, H, repetitions = SIZES["small" if quick else "middle"]
    for kind in ("LSTM", "GRU"):
        steps = gated(kind, T, B, D, H)
        hand = steps.pop("by_hand")
        for name, step in steps.items():
            taken, taken_by_hand = medians(step, hand, 3 if quick else repetitions // 2)
            print(f"{kind + ', ' + sizes[-1 if quick else 1] + ', ' + name:30}{taken / taken_by_hand:10.2f}")

    print("\nmicroseconds per node       forward  backward     freed       all   without the garbage collector")
    for length in [1_000] if quick else [1_000, 10_000, 100_000, 1_000_000]:
        runs = 1 if quick else max(3, 20_000 // length)
        collected = best_chain(length, runs)
        gc.disable()  # it goes through all nodes again and again, and there is never anything for it
        not_collected = best_chain(length, runs)
        gc.enable()
        columns = [*collected, sum(collected), sum(not_collected)]
        print(f"{length:>9,} in a chain     " + "".join(f"{taken:10.2f}" for taken in columns))

    print("\nseconds to draw and save an SVG    forward  backward")
    for T, options in [(3, {})] if quick else [(50, {}), (1000, {"max_steps": 6})]:
        for kind in ("RNN", "LSTM", "GRU"):
            name = f"{kind}, T = {T}" + "".join(f", {key}={value}" for key, value in options.items())
            print(f"{name:32}" + "".join(f"{taken:10.2f}" for taken in drawing(kind, T, **options)))

    if not quick:
        gradient = "import tinygrad_rnn as tg; x = tg.Tensor(1.0, requires_grad=True); (x * x).backward()"
        ours, numpy = cold_start(gradient), cold_start("import numpy")
        print(f"\na first gradient in a new process: {ours:.3f} s, {ours / numpy:.2f} times `import numpy` alone")


if __name__ == "__main__":
    main()
