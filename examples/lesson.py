"""What the lessons share: the options --out and --quick, and numbers that are checked against a stated band.

`python examples/lesson.py` runs all lessons, writes their figures into lessons/, and renews examples/figures/NN.svg,
the pictures of the table of contents.
"""

import argparse
import runpy
import shutil
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
quick = False  # a lesson that trains less than it needs is held to no band


def run(main):
    """Run a lesson as its command line says."""
    path, (title, *_) = Path(main.__code__.co_filename), main.__globals__["__doc__"].splitlines()
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--out", type=Path, default=Path("lessons", path.name[:2]), help="folder for the figures")
    parser.add_argument("--quick", action="store_true", help="train and measure less than the lesson needs")
    options = parser.parse_args()
    global quick
    quick = options.quick
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        main(options.out, options.quick)
    except FileExistsError as error:
        sys.exit(f"{path.name}: a folder is needed, and this is a file: {error.filename}")
    except OSError as error:
        sys.exit(f"{path.name}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    print(f"figures: {', '.join(sorted(p.name for p in options.out.glob('*.svg')))} in {options.out}")


def expected(value, low, high):
    """The band that a number is expected in, as text, and whether it is; for an experiment that was done before."""
    return f"expected {low:g} to {high:g}{'' if quick or low <= value <= high else ': IT IS NOT'}"


def run_all():
    """Run all lessons, and renew their pictures."""
    for path in sorted(HERE.glob("[0-9]*.py")):
        out, start = Path("lessons", path.name[:2]), time.perf_counter()
        out.mkdir(parents=True, exist_ok=True)
        print(f"== {path.stem}", flush=True)
        lesson = runpy.run_path(str(path))
        lesson["main"](out)
        shutil.copy(out / lesson["PICTURE"], HERE / "figures" / f"{path.name[:2]}.svg")
        print(f"{time.perf_counter() - start:.1f} s\n", flush=True)


if __name__ == "__main__":
    run_all()
