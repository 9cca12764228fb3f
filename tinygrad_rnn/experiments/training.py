"""The training of a net that forecasts a series or a text: the net, epoch by epoch, and the summary."""

import contextlib
import copy
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinygrad_rnn import GradientError, Tensor, compile, nn, no_grad, stack
from tinygrad_rnn.experiments.data import Series, Text, load
from tinygrad_rnn.experiments.settings import Settings
from tinygrad_rnn.nn.recurrent import KINDS
from tinygrad_rnn.optim import SGD, Adam, AdamW, RMSprop, clip_grad_norm, clip_grad_value, cosine, staircase
from tinygrad_rnn.tables import counted


class Epoch(NamedTuple):
    """A line of metrics.csv: its losses are means over the epoch's updates, and over all that is held out.

    Without a validation part there is no validation loss.
    """

    epoch: int
    training_loss: float
    held_out_loss: float
    gradient_norm: float
    seconds: float
    validation_loss: float = math.nan


OnUpdate = Callable[[int, int, Epoch | None], None]
_LARGE = 4e6  # multiplications in U h of a batch, from which on two threads were quicker than one
OPTIMIZERS = {"adam": Adam, "adamw": AdamW, "rmsprop": RMSprop, "sgd": SGD}


class Forecaster(nn.Module):
    """A recurrent net and the dense layer that reads a forecast of x(t+1) from its state at every step t:

        y(t) = x(t) + V h(t) + c     of a series: what the net has to learn is the change, at whatever level
        z(t) = V h(t) + c            of a text, the logits; or of a series that is none of the inputs

    With a horizon y(t) is the forecasts of so many steps. An LSTM's forget gates start open, with a bias of 1
    (Jozefowicz et al. 2015).

    Args:
        settings: the kind of data and cell, and the sizes. width: K, the length of a forecast; of a text that of x(t).

    Attributes:
        known: what its data are read with, saved with the parameters and not learnt: the mean and the deviation of each
            input and of the series, (2, D + 1), or the codes of a text's characters, (K,).
    """

    def __init__(self, settings: Settings, width: int, rng: np.random.Generator):
        kind: Any = KINDS[settings.cell]
        sources = [] if settings.is_text else settings.sources
        options: dict[str, Any] = {"nonlinearity": settings.nonlinearity} if settings.nonlinearity else {}
        options |= {"forget_bias": 1.0} if kind is nn.LSTM else {}
        inputs = len(sources) or width
        self.rnn = kind(inputs, settings.hidden, settings.layers, rng=rng, **options)
        self.readout = nn.Linear(settings.hidden, width, rng=rng)
        for parameter in self.parameters():
            parameter.data = parameter.value.astype(settings.dtype)
        self.settings, self.known = settings, nn.Parameter(np.zeros(width if settings.is_text else (2, inputs + 1)))
        self.known.requires_grad = False
        self._level = sources.index(settings.column) if settings.column in sources else None

    def __call__(self, xs: Any, state: Any = None, mask: Any = None) -> tuple[Tensor, Any]:
        """The forecasts after each step, (T, B, K) for xs (T, B, D), and the state after the last.

        Args:
            mask: what the states (T, B, H) are multiplied with before they are read: dropout.
        """
        hs, state = self.rnn(xs, state)
        hs = stack(hs)
        ys = self.readout(hs if mask is None else mask * hs)
        return (ys if self._level is None else ys + xs[..., self._level : self._level + 1]), state

    @no_grad()
    def evaluate(self, data: Series | Text, part: range) -> tuple[np.ndarray, ...]:
        """Forecast all rows of a part of the data; returns the loss of each forecast, the forecasts, and their rows.

        Each is made from the window before it. A text, or a series whose state is carried, is cut into as many parts as
        a batch has, each of which goes on from the window before it to its end.
        """
        rows, settings = data.origins(part), self.settings
        side_by_side = settings.batch if settings.is_text or settings.truncate is not None else len(rows)
        length = -(-len(rows) // side_by_side)
        parts = rows[::length]
        outputs = np.empty((len(parts), length, data.width), settings.dtype)
        windows = np.minimum(parts - data.starts[parts], settings.window)  # shorter where a sequence begins
        for window in np.unique(windows):
            alike, state = windows == window, None
            for t in range(1 - window, length):
                at = np.minimum(parts[alike] + t, rows[-1])
                ys, state = self(data.vectors(at - 1)[None], state)
                if t >= 0:
                    outputs[alike, t] = ys.value[0]
        outputs = outputs.reshape(-1, data.width)[: len(rows)]
        losses = data.loss(outputs, data.targets(rows - 1), reduction="none").value
        return losses.reshape(len(rows), -1).mean(axis=-1), outputs, rows


@dataclass(frozen=True)
class Summary:
    """The outcome of a run.

    Attributes:
        held_out: the error on the held-out part, in `unit`: the mean squared error in the series' own units, or bits
            per character. training: that in the epoch which `net` is of, as it went; without weight decay's part.
        baselines: the errors on the held-out part of simpler forecasts, by their names.
        parameters: how many numbers were learnt. values: how many there are to learn from; held_out_values: to test on.
        seconds: spent on training, over all parts of a run that was resumed. epochs: gone through.
        net: what was trained, with `rnn` and `readout`.

    >>> summary = tg.experiments.train(tg.experiments.Settings(hidden=2, window=4, epochs=1))
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
            f"{self.unit} on what was held out; in training, as it went, it was {self.training:.6g}:",
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

    def __init__(self, settings: Settings, source: Any = None):
        self.settings, self.data = settings, load(settings, source)
        self.rng = np.random.default_rng(settings.seed)
        self.net = Forecaster(settings, self.data.width, self.rng)
        self.net.known.data = self.data.known
        self.parameters = [p for p in self.net.parameters() if p.requires_grad]
        self.epochs: list[Epoch] = []
        self.updates = sum(1 for _ in self.batches(np.random.default_rng(0)))
        lr, total = settings.lr, settings.epochs * self.updates
        rates: dict[str | None, Any] = {None: lr, "cosine": cosine(lr, total), "step": staircase(lr, -(-total // 3))}
        options = {"sgd": {"momentum": settings.momentum}, "adamw": {"weight_decay": settings.weight_decay}}
        options = options.get(settings.optimizer, {})
        self.optimizer = OPTIMIZERS[settings.optimizer](self.parameters, rates[settings.schedule], **options)
        self.best = copy.deepcopy(self.net)
        self.learnt: dict[str, Any] = {"parameter": self.net, "optimizer": self.optimizer, "best": self.best}

    @property
    def chosen(self) -> Epoch:
        """The epoch that the best weights are of: with a validation part that of the lowest loss there, or the last."""
        return min(reversed(self.epochs), key=lambda epoch: epoch.validation_loss)  # the first one, if all are nan

    @property
    def ended(self) -> bool:
        """True if there is nothing left to do: all epochs have been gone through, or patience is at an end."""
        done, patience = len(self.epochs), self.settings.patience or math.inf
        return done >= self.settings.epochs or (done > 0 and done - self.chosen.epoch >= patience)

    def batches(self, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """For every update of an epoch the rows at which its windows start, (B,)."""
        T, B = self.settings.window, self.settings.batch
        if self.settings.truncate is not None:
            length = (len(self.data.training) + 1 - self.settings.horizon) // B
            if length <= T:
                raise ValueError(f"batch={B}: parts of {counted(length, 'value')} are too short for truncate={T}")
            return (np.arange(B) * length + start for start in range(0, length - T, T))
        starts = rng.permutation(self.data.windows())
        return (starts[i : i + B] for i in range(0, len(starts), B))

    def loss(self, xs: Any, targets: Any, inside: Any, mask: Any, state: Any) -> tuple[Tensor, Any]:
        """The mean loss of the forecasts inside the sequence of their window, and the state after the last."""
        ys, state = self.net(xs, state, mask)
        if inside is None:
            return self.data.loss(ys, targets, reduction="mean"), state
        count = inside.sum() * self.settings.horizon
        return self.data.loss(inside * ys, inside * targets, reduction="sum") / count, state

    def train(self, progress: OnUpdate | None, keep: Callable[[], None] = lambda: None) -> None:
        """Go through the epochs that are left; `keep` is called after each."""
        tell, total = progress or (lambda done, total, epoch: None), self.settings.epochs * self.updates
        while not self.ended:
            try:
                with np.errstate(all="ignore"), _threads(self.settings):  # what is not finite is told as divergence
                    self.go(lambda done: tell(done, total, None))
            except (FloatingPointError, GradientError) as error:
                where = f"training diverged in epoch {len(self.epochs) + 1}: {error}"
                raise FloatingPointError(f"{where}; with lr={self.settings.lr:g}, try a smaller one") from None
            keep()
            tell(len(self.epochs) * self.updates, total, self.epochs[-1])

    def go(self, tell: Callable[[int], None]) -> None:
        """Go through one epoch; `tell` is called with the number of all updates after each but the last."""
        data, began, before = self.data, time.perf_counter(), len(self.epochs) * self.updates
        steps, losses, norms, sizes, state = np.arange(self.settings.window)[:, None], [], [], [], None
        for starts in self.batches(self.rng):
            rows = np.minimum(steps + starts, data.training[-1])
            inside = data.inside(rows)
            inputs = data.vectors(rows), data.targets(rows), inside, self.dropped(rows.shape), state
            if self.program is None:
                self.program = compile(self.loss, *inputs, wrt=self.parameters)
            loss, after = self.program.backward(*inputs)
            losses.append(_finite("loss", loss))
            sizes.append(len(starts) if inside is None else np.sum(inside))
            norms.append(self.update())
            state = None if self.settings.truncate is None else after
            if len(losses) < self.updates:
                tell(before + len(losses))
        held_out = self.tested("held-out loss", data.held_out)
        validation = self.tested("validation loss", data.validation) if data.validation else math.nan
        seconds = time.perf_counter() - began + (self.epochs[-1].seconds if self.epochs else 0.0)
        loss, norm = float(np.average(losses, weights=sizes)), float(np.mean(norms))
        self.epochs.append(Epoch(len(self.epochs) + 1, loss, held_out, norm, round(seconds, 3), validation))
        if self.chosen is self.epochs[-1]:
            self.best.load_state_dict(self.net.state_dict())

    def tested(self, what: str, part: range) -> float:
        """The mean loss on a part of the data."""
        return _finite(what, float(np.mean(self.net.evaluate(self.data, part)[0])))

    def dropped(self, shape: tuple[int, ...]) -> np.ndarray | None:
        """A mask of the states of windows (T, B): 0 where they are dropped out, and 1 / (1 - dropout) elsewhere."""
        rate, shape = self.settings.dropout, (*shape, self.settings.hidden)
        return ((self.rng.random(shape) >= rate) / (1.0 - rate)).astype(self.settings.dtype) if rate else None

    def update(self) -> float:
        """Change the parameters by their gradients; returns the norm of these before clipping."""
        settings = self.settings
        decays = settings.weight_decay and settings.optimizer != "adamw"  # whose own decay is not of the gradient
        for p in self.parameters if decays else ():
            p.grad = p.grad + settings.weight_decay * p.value
        norm = clip_grad_norm(self.parameters, math.inf if settings.clip_norm is None else settings.clip_norm)
        if settings.clip_value is not None:
            clip_grad_value(self.parameters, settings.clip_value)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return norm

    def state(self) -> dict[str, Any]:
        """The arrays that are learnt: the parameters, and those that the optimizer keeps."""
        return {f"{kind}.{k}": value for kind, part in self.learnt.items() for k, value in part.state_dict().items()}

    def restore(self, epochs: list[Epoch], rng: str, state: dict[str, np.ndarray]) -> None:
        """Go back to after these epochs: to the state of the random generator, in JSON, and to what `state` gave."""
        for kind, part in self.learnt.items():
            part.load_state_dict({k: state[f"{kind}.{k}"] for k in part.state_dict()})
        self.rng.bit_generator.state = json.loads(rng)
        self.epochs = epochs

    def summary(self) -> Summary:
        """The outcome, so far."""
        data, chosen = self.data, self.chosen
        return Summary(
            data=self.settings.data, cell=self.settings.cell, unit=data.unit, baselines=data.baselines(),
            held_out=chosen.held_out_loss * data.scale, training=chosen.training_loss * data.scale,
            values=len(data.training), held_out_values=len(data.held_out), epochs=len(self.epochs),
            parameters=sum(p.size for p in self.parameters), seconds=self.epochs[-1].seconds, net=self.best,
        )  # fmt: skip


def _threads(settings: Settings) -> contextlib.AbstractContextManager:
    """A context in which BLAS multiplies a small step's matrices in one thread, where threadpoolctl is installed.

    Several threads wait for each other at every product, which takes longer than it does, and 10 to 100 times as long
    where other processes have the cores.
    """
    if settings.batch * settings.hidden**2 < _LARGE:
        with contextlib.suppress(ImportError):
            return import_module("threadpoolctl").threadpool_limits(1, "blas")
    return contextlib.nullcontext()


def _finite(what: str, value: float) -> float:
    if not math.isfinite(value):
        raise FloatingPointError(f"the {what} is {value}")
    return value
