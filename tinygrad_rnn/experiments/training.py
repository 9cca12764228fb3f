"""The training of a net that forecasts a series or a text: the net, epoch by epoch, and the summary."""

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinygrad_rnn import GradientError, Tensor, compile, nn, no_grad, stack
from tinygrad_rnn.experiments.data import load
from tinygrad_rnn.experiments.settings import Settings
from tinygrad_rnn.nn.recurrent import KINDS
from tinygrad_rnn.optim import SGD, Adam, clip_grad_norm, clip_grad_value
from tinygrad_rnn.tables import counted


class Epoch(NamedTuple):
    """A line of metrics.csv: its losses are means over the epoch's updates, and over all that is held out."""

    epoch: int
    training_loss: float
    held_out_loss: float
    gradient_norm: float
    seconds: float


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
    """The outcome of a run.

    Attributes:
        held_out: the error on the held-out part, in `unit`: the mean squared error in the series' own units, or bits
            per character. training: that of the last epoch, as it went; without weight decay's part.
        baselines: the errors on the held-out part of simpler forecasts, by their names.
        parameters: how many numbers were learnt. values: how many there are to learn from; held_out_values: to test on.
        seconds: spent on training, over all parts of a run that was resumed. epochs: gone through.
        net: what was trained, with `rnn` and `readout`.

    >>> summary = tg.experiments.train(tg.experiments.Settings(hidden=2, epochs=1))
    >>> summary.held_out > 0.0
    True
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


class Training:
    """A net, its data and its optimizer, between two epochs.

    Attributes:
        epochs: those that have been gone through. updates: how many an epoch has. program: what computes an update's
            gradients, None before the first.

    Raises:
        OSError, ValueError: as for `data.load`; or there are too few data for the batch.
    """

    program: Any = None

    def __init__(self, settings: Settings):
        self.settings, self.data = settings, load(settings)
        self.rng = np.random.default_rng(settings.seed)
        self.net = Forecaster(settings, self.data.width, self.rng)
        self.parameters = self.net.parameters()
        kind, options = (SGD, {"momentum": settings.momentum}) if settings.optimizer == "sgd" else (Adam, {})
        self.optimizer = kind(self.parameters, settings.lr, **options)
        self.learnt = {"parameter": self.net, "optimizer": self.optimizer}
        self.epochs: list[Epoch] = []
        self.updates = sum(1 for _ in self.batches(np.random.default_rng(0)))

    def batches(self, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """For every update of an epoch the indices at which its windows start, (B,)."""
        T, B, first = self.settings.window, self.settings.batch, self.data.first
        if self.settings.truncate is not None:
            length = first // B
            if length <= T:
                parts = f"parts of {counted(length, 'value')}"
                raise ValueError(f"batch={B}: {parts} are too short for truncate={T}: take fewer")
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
        tell, total = progress or (lambda done, total, epoch: None), self.settings.epochs * self.updates
        while len(self.epochs) < self.settings.epochs:
            try:
                with np.errstate(all="ignore"):  # a value that is not finite is told as what it is, divergence
                    self.go(lambda done: tell(done, total, None))
            except (FloatingPointError, GradientError) as error:
                where = f"training diverged in epoch {len(self.epochs) + 1}: {error}"
                raise FloatingPointError(f"{where}; with lr={self.settings.lr:g}, try a smaller one") from None
            keep()
            tell(len(self.epochs) * self.updates, total, self.epochs[-1])

    def go(self, tell: Callable[[int], None]) -> None:
        """Go through one epoch; `tell` is called with the number of all updates after each but the last."""
        data, began, before = self.data, time.perf_counter(), len(self.epochs) * self.updates
        steps, losses, norms, sizes, state = np.arange(self.settings.window + 1)[:, None], [], [], [], None
        for starts in self.batches(self.rng):
            vectors = data.vectors(steps + starts)
            inputs = vectors[:-1], vectors[1:], state
            if self.program is None:
                self.program = compile(self.loss, *inputs, wrt=self.parameters)
            loss, after = self.program.backward(*inputs)
            losses.append(_finite("loss", loss))
            sizes.append(len(starts))
            norms.append(self.update())
            state = None if self.settings.truncate is None else after
            if len(losses) < self.updates:
                tell(before + len(losses))
        held_out = _finite("held-out loss", float(np.mean(self.evaluate()[0])))
        seconds = time.perf_counter() - began + (self.epochs[-1].seconds if self.epochs else 0.0)
        loss, norm = float(np.average(losses, weights=sizes)), float(np.mean(norms))
        self.epochs.append(Epoch(len(self.epochs) + 1, loss, held_out, norm, round(seconds, 3)))

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

    def evaluate(self) -> tuple[np.ndarray, ...]:
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
        """What is learnt: the parameters, and what the optimizer keeps."""
        return {f"{kind}.{k}": value for kind, part in self.learnt.items() for k, value in part.state_dict().items()}

    def restore(self, epochs: list[Epoch], rng: str, state: dict[str, np.ndarray]) -> None:
        """Go back to after these epochs: to the state of the random generator, in JSON, and to what `state` gave."""
        for kind, part in self.learnt.items():
            part.load_state_dict({k: state[f"{kind}.{k}"] for k in part.state_dict()})
        self.rng.bit_generator.state = json.loads(rng)
        self.epochs = epochs

    def summary(self) -> Summary:
        """The outcome, so far."""
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
