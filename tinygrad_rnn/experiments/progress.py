"""How far a run is: a bar of tqdm where it is installed and somebody watches, plain lines otherwise.

tqdm comes with `pip install "tinygrad-rnn[progress]"`.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from tinygrad_rnn.experiments.folder import Epoch

__all__ = ["Progress"]

LINES, SECONDS = 10, 10.0  # where there is no bar: so many lines a run, and one after so many seconds without any


class Progress:
    """To be called after every update, with what has been done, what there is, and at the end of an epoch with that:

    with Progress() as progress:
        train(settings, progress=progress)
    """

    def __init__(self) -> None:
        self._began = self._told = time.perf_counter()
        self._before, self._lines, self._bar, self._epoch = None, 0, None, None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, done: int, total: int, epoch: Epoch | None) -> None:
        """Show it."""
        if self._before is None:  # the first call; a run that was resumed has done some already
            self._before = done - 1
            self._bar = _bar(self._before, total)
        losses = {}
        self._epoch = last = epoch or self._epoch
        if last is not None:
            losses = {"training loss": f"{last.training_loss:.4g}", "held-out loss": f"{last.held_out_loss:.4g}"}
        if self._bar is not None:
            self._bar.update(done - self._bar.n)
            if epoch is not None:
                self._bar.set_postfix(losses)
        elif (epoch and done * LINES // total > self._lines) or time.perf_counter() - self._told > SECONDS:
            self._lines, self._told = done * LINES // total, time.perf_counter()
            rate = (done - self._before) / (self._told - self._began)
            told = [f"{name} {loss}" for name, loss in losses.items()]
            told += [f"{rate:.3g} updates a second", f"{(total - done) / rate:.0f} s left"]
            print(f"{done:,} of {total:,} updates: {', '.join(told)}", flush=True)


def _bar(before: int, total: int) -> Any:
    """A bar of tqdm, or None where it is not installed or the output is no terminal."""
    if not sys.stderr.isatty():
        return None
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return tqdm(total=total, initial=before, unit="update", dynamic_ncols=True)
