"""How far a run is: a bar of tqdm where it is installed and somebody watches, plain lines otherwise.

tqdm comes with `pip install "tinygrad-rnn[progress]"`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

__all__ = ["Progress"]

LINES = 10  # so many a run, where there is no bar


class Progress:
    """To be called after every update, with what has been done, what there is, and at the end of an epoch its metrics:

    with Progress() as progress:
        train(settings, progress=progress)
    """

    def __init__(self) -> None:
        self._began, self._before, self._lines, self._bar = time.perf_counter(), None, 0, None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, done: int, total: int, metrics: Mapping[str, float] | None) -> None:
        """Show it."""
        if self._before is None:  # the first call; a run that was resumed has done some already
            self._before = done - 1
            self._bar = _bar(self._before, total)
        if self._bar is not None:
            self._bar.update(done - self._bar.n)
            if metrics is not None:
                self._bar.set_postfix({name: f"{metrics[name]:.4g}" for name in ("training loss", "held-out loss")})
        elif metrics is not None and (done == total or done * LINES // total > self._lines):
            self._lines = done * LINES // total
            rate = (done - self._before) / (time.perf_counter() - self._began)
            print(
                f"epoch {metrics['epoch']:3}: training loss {metrics['training loss']:.4f}, "
                f"held-out {metrics['held-out loss']:.4f}; {rate:.0f} updates a second, "
                f"{(total - done) / rate:.0f} s left",
                flush=True,
            )


def _bar(before: int, total: int) -> Any:
    """A bar of tqdm, or None where it is not installed or the output is no terminal."""
    if not sys.stderr.isatty():
        return None
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return tqdm(total=total, initial=before, unit="update", dynamic_ncols=True)
