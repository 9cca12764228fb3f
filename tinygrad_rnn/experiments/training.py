"""Train a recurrent net to forecast a series or a text, with everything on disk that repeats, resumes and shows it."""

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_rnn import nn
from tinygrad_rnn.checks import instance
from tinygrad_rnn.context import no_grad
from tinygrad_rnn.errors import GradientError
from tinygrad_rnn.experiments.data import load
from tinygrad_rnn.experiments.folder import Epoch, Folder, refuse_other_run
from tinygrad_rnn.experiments.results import write_results
from tinygrad_rnn.experiments.settings import Settings
from tinygrad_rnn.files import claimed
from tinygrad_rnn.functions import stack
from tinygrad_rnn.nn.recurrent import KINDS
from tinygrad_rnn.optim import SGD, Adam, clip_grad_norm, clip_grad_value
from tinygrad_rnn.program import compile
from tinygrad_rnn.tables import counted
from tinygrad_rnn.tensor import Tensor

OnUpdate = Callable[[int, int, Epoch | None], None]


class Forecaster(nn.Module):
    """A recurrent net and the dense layer that reads a forecast of x(t+1) from its state at every step t:

        y(t) = x(t) + V h(t) + c     of a series: what the net has to learn is the change, at whatever level
        z(t) = V h(t) + c            of a text, the logits

    An LSTM's forget gates start open, with a bias of 1 (Jozefowicz et al. 2015).

    Args:
        settings: the kind of data and cell, and the sizes. width: D, the length of x(t) and of the forecast.
    """

    def __init__(self, settings: Settings, width: int, rng: np.random.Generator):
        kind = KINDS[settings.cell]
        options: dict[str, Any] = {"nonlinearity": settings.nonlinearity} if settings.nonlinearity else {}
        if kind is nn.LSTM:
            options["forget_bias"] = 1.0
        self.rnn = kind(width, settings.hidden, settings.layers, rng=rng, **options)
        self.readout = nn.Linear(settings.hidden, width, rng=rng)
        for parameter in self.parameters():
            parameter.data = parameter.value.astype(settings.dtype)
        self._changes = not settings.is_text

    def __call__(self, xs: Any, state: Any = None) -> tuple[Tensor, Any]:
        """The forecasts after each step, (T, B, D) as xs, and the state after the last."""
        hs, state = self.rnn(xs, state)
        ys = self.readout(stack(hs))
        return (ys + xs if self._changes else ys), state


@dataclass(frozen=True)
class Summary:
    """What came out of a run.

    Attributes:
        held_out: the error on the held-out part, in `unit`: the mean squared error in the series' own units, or bits
            per character. training: that of the last epoch, as it went; without weight decay's part.
        baselines: the errors on the held-out part of simpler forecasts, by their names.
        parameters: how many numbers were learnt. values: how many there are to learn from; held_out_values: to test on.
        seconds: spent on training, over all parts of a run that was resumed. epochs: gone through.
        net: what was trained, with `rnn` and `readout`.
    """

    data: str
    cell: str
    unit: str
    held_out: float
    training: float
    baselines: dict[str, float]
    values: int
    held_out_values: int
    parameters: int
    epochs: int
    seconds: float = field(compare=False)
    net: Forecaster | None = field(default=None, repr=False, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """The numbers, as summary.json holds them."""
        return {name: value for name, value in vars(self).items() if name != "net"}

    def __str__(self) -> str:
        errors = {**self.baselines, f"this net, {self.cell}": self.held_out}
        width = max(map(len, errors))
        rows = [f"  {name:{width}}  {error:12.6g}" for name, error in errors.items()]
        data, epochs = Path(self.data).name, counted(self.epochs, "epoch")
        return "\n".join([
            f"{data}: learnt from {counted(self.values, 'value')}, tested on the {self.held_out_values:,} after them",
            f"{self.cell}: {counted(self.parameters, 'parameter')}, {epochs} in {self.seconds:.1f} s",
            f"{self.unit} on what was held out; that of the last epoch's training was {self.training:.6g}:",
            *rows,
        ])  # fmt: skip


def train(
    settings: Settings, out: str | os.PathLike | None = None, resume: bool = False, progress: OnUpdate | None = None
) -> Summary:
    """Train a net to forecast the next value of a series or the next character of a text.

    The data are cut into windows, a series into all that it has, a text into pieces side by side; in each, every next
    value is forecast from those before it, from a state of zeros on. Their order is drawn anew for each epoch. With
    `settings.truncate`, there are `settings.batch` parts instead, which are gone through side by side in chunks: the
    state is carried from chunk to chunk, the gradient is not (truncated backpropagation through time). A held-out
    value is forecast by the net at that point from the true values before it; what is held out decides nothing. The
    same settings give the same numbers, bit for bit, with as many BLAS threads: more of them add up large products in
    another order.

    Args:
        out: a folder for config.json, metrics.csv and model.npz, all written after every epoch, and at the end
            summary.json, the figures loss.svg and prediction.svg with their numbers as CSV, and for a text sample.txt.
            An earlier run there is overwritten; what no run has written is not.
        resume: go on with the run in `out`, from its last whole epoch, to the same numbers as one in a piece. The
            settings must be the same but for `epochs`, which may be more.
        progress: called after every update with the number of updates so far, that of all, and at the end of an epoch
            with its `Epoch`, a line of metrics.

    Raises:
        OSError: a file cannot be read or written; what was written before stays. FileExistsError: `out` is a file.
        ValueError: the data do not fit the settings; or there is no run to resume, or one with other settings or a
            broken checkpoint; or another run is going on in `out`, or has files there that are no run's.
        FloatingPointError: training diverged, to a loss or a gradient that is not finite; names the epoch.
    """
    if resume and out is None:
        raise ValueError("train(resume=True): out, the folder of the run to go on with, is needed")
    instance("train(settings)", settings, Settings, "tg.experiments.Settings(...)")
    run = _Run(settings)
    if out is None:
        run.train(progress)
        return run.summary()
    path = Path(out)
    if resume:
        refuse_other_run(path, settings)
    with claimed(path):
        folder = Folder(path, run)
        folder.resume() if resume else folder.begin()
        run.train(progress, folder.write_epoch)
        folder.finish(partial(write_results, path, run))
    return run.summary()


class _Run:
    """A net, its data and its optimizer, between two epochs."""

    def __init__(self, settings: Settings):
        self.settings, self.data = settings, load(settings)
        self.rng = np.random.default_rng(settings.seed)
        self.net = Forecaster(settings, self.data.width, self.rng)
        self.parameters, self.program = self.net.parameters(), None
        if settings.optimizer == "sgd":
            self.optimizer: SGD | Adam = SGD(self.parameters, settings.lr, settings.momentum)
        else:
            self.optimizer = Adam(self.parameters, settings.lr)
        self.epochs: list[Epoch] = []
        self.updates = sum(1 for _ in self.batches(np.random.default_rng(0)))

    def batches(self, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """For every update of an epoch the indices at which its windows start, (B,)."""
        T, B, first = self.settings.window, self.settings.batch, self.data.first
        if self.settings.truncate is not None:
            length = first // B
            if length <= T:
                raise ValueError(
                    f"batch={B}: parts of {counted(length, 'value')} are too short for truncate={T}: take fewer"
                )
            yield from (np.arange(B) * length + start for start in range(0, length - T, T))
            return
        starts = rng.permutation(np.arange(0, first - T, T if self.settings.is_text else 1))
        yield from (starts[i : i + B] for i in range(0, len(starts), B))

    def loss(self, xs: Any, targets: Any, state: Any) -> tuple[Tensor, Any]:
        """The mean loss of the forecasts, and the state after the last."""
        ys, state = self.net(xs, state)
        return self.data.loss(ys, targets, reduction="mean"), state

    def train(self, progress: OnUpdate | None, keep: Callable[[], None] = lambda: None) -> None:
        """Go through the epochs that are left; `keep` is called after each."""
        while len(self.epochs) < self.settings.epochs:
            try:
                with np.errstate(all="ignore"):  # a value that is not finite is told as what it is, divergence
                    epoch = self.go(progress)
            except (FloatingPointError, GradientError) as error:
                where = f"training diverged in epoch {len(self.epochs) + 1}: {error}"
                raise FloatingPointError(f"{where}; with lr={self.settings.lr:g}, try a smaller one") from None
            keep()
            if progress is not None:
                progress(epoch.epoch * self.updates, self.settings.epochs * self.updates, epoch)

    def go(self, progress: OnUpdate | None) -> Epoch:
        """Go through one epoch."""
        settings, data, began = self.settings, self.data, time.perf_counter()
        carried, steps = settings.truncate is not None, np.arange(settings.window + 1)[:, None]
        losses, norms, sizes, state = [], [], [], None
        for starts in self.batches(self.rng):
            vectors = data.vectors(steps + starts)
            inputs = vectors[:-1], vectors[1:], state
            if self.program is None:
                self.program = compile(self.loss, *inputs, wrt=self.parameters)
            loss, after = self.program.backward(*inputs)
            losses.append(_finite("loss", loss))
            sizes.append(len(starts))
            norms.append(self.update())
            state = after if carried else None
            if progress is not None and len(losses) < self.updates:
                progress(len(self.epochs) * self.updates + len(losses), settings.epochs * self.updates, None)
        held_out = _finite("held-out loss", float(np.mean(self.evaluate()[0])))
        seconds = time.perf_counter() - began + (self.epochs[-1].seconds if self.epochs else 0.0)
        loss, norm = float(np.average(losses, weights=sizes)), float(np.mean(norms))
        self.epochs.append(Epoch(len(self.epochs) + 1, loss, held_out, norm, round(seconds, 3)))
        return self.epochs[-1]

    def update(self) -> float:
        """Change the parameters by their gradients; returns the norm of these before clipping."""
        settings = self.settings
        for p in self.parameters if settings.weight_decay else ():
            p.grad = p.grad + settings.weight_decay * p.value
        norm = clip_grad_norm(self.parameters, math.inf if settings.clip_norm is None else settings.clip_norm)
        if settings.clip_value is not None:
            clip_grad_value(self.parameters, settings.clip_value)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return norm

    def evaluate(self) -> tuple[np.ndarray, np.ndarray]:
        """The loss of the forecast of every value that is held out; and, of a series, the forecasts themselves.

        Each is made from the window before it. A text, or a series whose state is carried, is cut into as many parts as
        a batch has, each of which goes on from the window before it to its end.
        """
        data, last = self.data, len(self.data.sequence) - 1
        count = last + 1 - data.first
        side_by_side = self.settings.batch if self.settings.is_text or self.settings.truncate is not None else count
        length = -(-count // side_by_side)
        starts = data.first + np.arange(0, count, length)
        losses, outputs, state = [], [], None
        with no_grad():
            for t in range(1 - self.settings.window, length):
                ys, state = self.net(data.vectors(np.minimum(starts + t - 1, last))[None], state)
                if t >= 0:
                    losses.append(data.losses(ys.value[0], np.minimum(starts + t, last)))
                    outputs.append(ys.value[0, :, 0])
        return tuple(np.stack(steps, axis=1).ravel()[:count] for steps in (losses, outputs))

    def state(self) -> dict[str, Any]:
        """All that the next epoch follows from besides the epochs so far, as arrays."""
        return {
            "data": self.data.fingerprint,
            "rng": json.dumps(self.rng.bit_generator.state),
            **{f"parameter.{name}": value for name, value in self.net.state_dict().items()},
            **{f"optimizer.{name}": value for name, value in self.optimizer.state_dict().items()},
        }

    def restore(self, epochs: list[Epoch], state: dict[str, np.ndarray]) -> None:
        """Go back to what `state` gave after these epochs."""
        for kind, part in (("parameter.", self.net), ("optimizer.", self.optimizer)):
            values = {k.removeprefix(kind): v for k, v in state.items() if k.startswith(kind)}
            for name, value in values.items():
                miscounted = value.dtype.kind == "i" and np.any(value != len(epochs) * self.updates)
                if miscounted or not np.all(np.isfinite(value)):
                    raise ValueError(f"{kind}{name} is not what {counted(len(epochs), 'epoch')} can have left")
            part.load_state_dict(values)
        try:
            self.rng.bit_generator.state = json.loads(str(state["rng"]))
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise ValueError("rng is no state of the random generator") from error
        self.epochs = epochs

    def summary(self) -> Summary:
        """What came out."""
        data, last = self.data, self.epochs[-1]
        return Summary(
            data=self.settings.data, cell=self.settings.cell, unit=data.unit, held_out=last.held_out_loss * data.scale,
            training=last.training_loss * data.scale, baselines=data.baselines(), values=data.first,
            held_out_values=len(data.sequence) - data.first, parameters=sum(p.size for p in self.parameters),
            epochs=last.epoch, seconds=last.seconds, net=self.net,
        )  # fmt: skip


def _finite(what: str, value: float) -> float:
    if not math.isfinite(value):
        raise FloatingPointError(f"the {what} is {value}")
    return value
