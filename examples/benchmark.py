"""How long training steps, first results, sources, graphs and figures take, beside the peers that are installed.

    python examples/benchmark.py            all sections, some minutes; for the peers: pip install ".[bench]" torch
    python examples/benchmark.py ratios --to torch_nn --nets LSTM --threads 2 --dtype float32 --runs 3
    python examples/benchmark.py --quick    tiny settings: does everything run, are the gradients right?

ratios   a training step, how many times as long as another library's: forward and backward, compiled once or built
         node by node each time. Each runs in turn with the one it is compared with; the ratio is that of the medians
first    the first gradients of T = 1000, in a new process, without the time for imports; its memory
lengths  sequences of 12 lengths in turn, in the first round, in which they may be compiled, and in later ones
source   the source of a program of T = 1000
chain    microseconds a node     draw    figures     start    a first gradient in a new process

The steps are those of training_steps.py. Each section runs in a process of its own, with as many threads as asked for.
"""

import argparse
import gc
import importlib.metadata
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np

import tinygrad_rnn as tg
from training_steps import PLAIN, STEPS, Problem, checked, loss_of

NETS, SIZES = ["RNN", "LSTM", "GRU"], {"small": (10, 1, 1, 16), "middle": (50, 32, 16, 64), "large": (100, 64, 64, 256)}
LONG = "tinygrad_rnn", "compiled", "jax_scan", "torch_nn"  # the steps for a long sequence, or for many
PACKAGES = {"by_hand": "numpy", "compiled": "tinygrad_rnn", "jax_jit": "jax", "jax_scan": "jax"}
PACKAGES |= {"torch_nn": "torch", "torch_compile": "torch"}


def timed(function, *arguments):
    """Seconds that a call takes."""
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def in_turn(step, other, inputs, seconds):
    """The median times of two steps, taken in turn for so long, at least 5 times; and how many cores the first used."""
    times, others, busy, end = [], [], 0.0, time.perf_counter() + seconds
    while len(times) < 5 or (time.perf_counter() < end and len(times) < 500):
        before = time.process_time()
        times.append(timed(step, *inputs))
        busy += time.process_time() - before
        others.append(timed(other, *inputs))
    return statistics.median(times), statistics.median(others), busy / sum(times)


def row(label, *cells):
    texts = [cell if isinstance(cell, str) else f"{cell:,.0f}" if cell >= 100 else f"{cell:.3g}" for cell in cells]
    print(f"{label:32}" + "".join(f"{text:>20}" for text in texts), flush=True)


def with_spread(values):
    """The median, and the lowest and the highest where these are more than 5 % apart."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):.2f}" + (f" ({low:.2f}-{high:.2f})" if high > 1.05 * low else "")


def labelled(kind, name):
    package = PACKAGES.get(name, name)
    return f"{kind}, {name} {tg.__version__ if package == 'tinygrad_rnn' else importlib.metadata.version(package)}"


def steps_of(problem, names):
    """The steps that are installed, by name, each checked to give the gradients of the hand-written one."""
    for name in names:
        try:
            yield name, checked(STEPS[name], problem)
        except ImportError as error:
            print(f"{name} is left out: {error}")


def ratios(options):
    sizes = ["small"] if options.quick else options.sizes
    for kind in options.nets:
        is_plain = kind == "RNN" and options.dtype == "float64"
        left_out = {options.to, "torch_compile", *(() if is_plain else PLAIN)}
        names = options.steps or [name for name in STEPS if name not in left_out]
        ratio, cores, reference = defaultdict(list), {}, defaultdict(list)
        for size in sizes * options.runs:
            problem = Problem(kind, *SIZES[size], options.dtype)
            other, inputs = checked(STEPS[options.to], problem), (problem.xs, problem.Y)
            for name, step in steps_of(problem, names):
                taken, theirs, cores[name] = in_turn(step, other, inputs, 0.01 if options.quick else 1.5)
                ratio[name, size].append(taken / theirs)
                reference[size].append(1e3 * theirs)
        row(f"{kind}, times as long as {options.to}", *sizes, "cores used")
        for name, used in cores.items():
            row(labelled(kind, name), *[with_spread(ratio[name, size]) for size in sizes], used)
        row(f"{options.to}, milliseconds", *[with_spread(reference[size]) for size in sizes])
    print(*multiplied_by(), sep="\n")


def multiplied_by():
    """What multiplies matrices in each library that has been imported, and in how many threads."""
    try:
        from threadpoolctl import threadpool_info

        for x in threadpool_info():
            if x["user_api"] == "blas":
                yield f"NumPy: {x['internal_api']} {x['version']}, threads: {x['num_threads']}"
    except ImportError:  # it knows what is loaded; this is what was asked for
        blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"]
        yield f"NumPy: {blas}, threads: {os.environ['OPENBLAS_NUM_THREADS']}"
    if torch := sys.modules.get("torch"):
        yield f"PyTorch: {'MKL' if torch.backends.mkl.is_available() else 'no MKL'}, threads: {torch.get_num_threads()}"
    if "jax" in sys.modules:
        yield f"JAX: XLA's own, {os.environ['XLA_FLAGS']}"


def first(options):
    """The memory is the rise of the process's peak in resident memory, as `resource.getrusage` has it (Unix)."""
    shape = (20, 2, 1, 3) if options.quick else (1000, 8, 1, 16)
    row(f"T, B, D, H = {shape}", "first, s", "memory, MB", "a step, s", "first/eager")
    for kind in options.nets:
        eager = None
        for name in options.steps or LONG:
            code = (
                "import resource, time; from benchmark import STEPS, Problem, timed\n"
                "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
                f"make, p, tiny = STEPS[{name!r}], *[Problem({kind!r}, *s) for s in ({shape}, (2, 1, 1, 2))]\n"
                "make(tiny)(tiny.xs, tiny.Y); before, start = peak(), time.perf_counter(); step = make(p)\n"
                "step(p.xs, p.Y); print(time.perf_counter() - start, peak() - before)\n"
                "print(min(timed(step, p.xs, p.Y) for _ in range(5)))"
            )
            command, folder = [sys.executable, "-c", code], Path(__file__).parent
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
            if done.returncode:
                print(f"{name} is left out: {done.stderr.splitlines()[-1]}")
                continue
            seconds, memory, step = map(float, done.stdout.split())
            eager = eager or step
            row(labelled(kind, name), seconds, memory, step, seconds / eager)


def lengths(options):
    T, *shape = (13, 2, 1, 3) if options.quick else SIZES["middle"]
    row(f"T = {T - 11} to {T}", "first, s", "then, ms", "then/eager")
    for kind in options.nets:
        problem, eager = Problem(kind, T, *shape, options.dtype), None
        for name, step in steps_of(problem, options.steps or LONG):
            begin, *others = [sum(timed(step, problem.xs[i:], problem.Y) for i in range(12)) for _ in range(3)]
            each = 1e3 * statistics.median(others) / 12
            eager = eager or each
            row(labelled(kind, name), begin, each, each / eager)


def source(options):
    T = 20 if options.quick else 1000
    row(f"source of T = {T}, with loops", "seconds", "lines")
    for kind in options.nets:
        problem = Problem(kind, T, 2, 1, 3)
        program = tg.compile(loss_of(problem), problem.xs, problem.Y, wrt=problem.net)
        row(kind, timed(program.code, True), program.code(rolled=True).count("\n"))


def chain(options):
    row("microseconds per node", "forward", "backward", "freed", "all", "without gc")
    for length in [1_000] if options.quick else [1_000, 10_000, 100_000, 1_000_000]:
        runs = 1 if options.quick else max(3, 20_000 // length)
        collected = min((chained(length) for _ in range(runs)), key=sum)
        gc.disable()  # it goes through all nodes again and again, and there is never anything for it
        not_collected = min((chained(length) for _ in range(runs)), key=sum)
        gc.enable()
        row(f"{length:>9,} in a chain", *collected, sum(collected), sum(not_collected))


def chained(length):
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


def draw(options):
    """The best of three times to draw, lay out and save an SVG."""
    row("seconds for a figure", "forward", "backward")
    for T, how in [(3, {})] if options.quick else [(50, {}), (1000, {"max_steps": 6})]:
        for kind in options.nets:
            problem = Problem(kind, T, 1, 2, 3)
            loss = loss_of(problem)(problem.xs[:, 0], problem.Y[0])
            with tempfile.TemporaryDirectory() as folder:
                taken = [
                    min(timed(drawn, view, loss, how, f"{folder}/figure.svg") for _ in range(3))
                    for view in (tg.draw.forward, tg.draw.backward)
                ]
            row(f"{kind}, T = {T}" + "".join(f", {key}={value}" for key, value in how.items()), *taken)


def drawn(view, loss, how, path):
    view(loss, **how).save(path)


def start(options):
    """The best of five."""
    gradient = "import tinygrad_rnn as tg; x = tg.Tensor(1.0, requires_grad=True); (x * x).backward()"
    ours, numpy = (
        min(timed(subprocess.run, [sys.executable, "-c", code]) for _ in range(1 if options.quick else 5))
        for code in (gradient, "import numpy")
    )
    row("a new process", "seconds", "of NumPy's")
    row("a first gradient", ours, ours / numpy)


SECTIONS = {function.__name__: function for function in (ratios, first, lengths, source, chain, draw, start)}


def options_of(arguments=None):
    """The command line, or other words, as options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="section", help=", ".join(SECTIONS))
    parser.add_argument("--quick", action="store_true", help="tiny settings")
    parser.add_argument("--nets", nargs="+", choices=NETS, default=NETS, metavar="NET", help=", ".join(NETS))
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES), metavar="SIZE", help="of ratios")
    parser.add_argument("--steps", nargs="+", choices=STEPS, metavar="STEP", help=", ".join(STEPS))
    parser.add_argument("--to", choices=STEPS, default="by_hand", metavar="STEP", help="what ratios are to")
    parser.add_argument("--runs", type=int, default=1, metavar="N", help="of ratios, whose median and spread are shown")
    parser.add_argument("--threads", default="1", metavar="N", help="of BLAS, 1 by default")
    parser.add_argument("--dtype", default="float64", choices=["float64", "float32"])
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.sections if name not in SECTIONS]:
        parser.error(f"{unknown[0]}: not one of {', '.join(SECTIONS)}")
    return options


def main():
    options = options_of()
    # NumPy, PyTorch and JAX read these when they are imported
    alone = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    threads = dict.fromkeys([f"{x}_NUM_THREADS" for x in ("OPENBLAS", "MKL", "OMP")], options.threads)
    threads["XLA_FLAGS"] = alone if options.threads == "1" else "--xla_cpu_multi_thread_eigen=true"
    if len(options.sections) == 1 and threads.items() <= os.environ.items():
        return SECTIONS[options.sections[0]](options)
    print(
        f"Python {platform.python_version()}, NumPy {np.__version__}, {platform.machine()}, {options.dtype}", flush=True
    )
    given = [word for word in sys.argv[1:] if word not in options.sections]
    for name in options.sections or SECTIONS:
        print(f"\n{name}", flush=True)
        done = subprocess.run([sys.executable, __file__, name, *given], env=os.environ | threads)
        if done.returncode:
            sys.exit(done.returncode)


if __name__ == "__main__":
    main()
