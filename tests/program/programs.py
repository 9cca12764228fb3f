"""Losses to compile: nets of every kind, and what is compared of them."""

import itertools

import numpy as np

import tinygrad_rnn as tg

KINDS = ("RNN", "LSTM", "GRU")
NETS = [
    {"kind": kind, "layers": layers, "many": many, "batch": batch}
    for kind, layers, many, batch in itertools.product(KINDS, (1, 2), (False, True), (None, 4))
]
# Two halves, each with all pairs of two choices of a kind: layers, losses, a batch or none.
HALF, OTHER_HALF = (
    [net for net in NETS if ((net["layers"] == 1) ^ net["many"] ^ (net["batch"] is None)) == side]
    for side in (True, False)
)


def name(net):
    return "-".join(
        [net["kind"], str(net["layers"]), "many-to-many" if net["many"] else "many-to-one", str(net["batch"])]
    )


class Problem:
    """A net, its loss as a function of the inputs, and random inputs and parameters."""

    def __init__(self, kind="RNN", layers=1, many=False, batch=None, T=5, D=2, H=3, **options):
        rng = np.random.default_rng(0)
        self.net, self.readout = getattr(tg.nn, kind)(D, H, layers, rng=rng, **options), tg.nn.Linear(H, 2, rng=rng)
        self.parameters, self.many = [*self.net.parameters(), *self.readout.parameters()], many
        rows = () if batch is None else (batch,)
        self.shapes = (T, *rows, D), ((T, *rows, 2) if many else (*rows, 2))

    def loss(self, xs, Y):
        hs, _ = self.net(xs)
        if not self.many:
            return tg.nn.half_squared_error(self.readout(hs[-1]), Y)
        return sum(tg.nn.half_squared_error(self.readout(h), Y[t]) for t, h in enumerate(hs))

    def inputs(self, seed):
        rng = np.random.default_rng(seed)
        return tuple(rng.standard_normal(shape) for shape in self.shapes)

    def changed(self, seed):
        """Other parameters, as after an optimizer's step."""
        rng = np.random.default_rng(seed)
        for p in self.parameters:
            p.data = p.numpy() + 0.3 * rng.standard_normal(p.shape)


def eager(function, inputs, wrt):
    """The loss and the gradients that the engine computes."""
    for p in wrt:
        p.grad = None
    loss = function(*inputs)
    loss = loss[0] if isinstance(loss, tuple) else loss
    loss.backward()
    return loss.item(), [np.zeros_like(p.value) if p.grad is None else p.grad for p in wrt]


def assert_same(found, expected):
    """Bit for bit."""
    (loss, gradients), (expected_loss, expected_gradients) = found[:2], expected
    assert loss == expected_loss and type(loss) is float
    for got, gradient in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_array_equal(got, gradient)


def assert_close(found, expected, tolerance=1e-12):
    """Within rounding, relative to the largest element of each gradient."""
    (loss, gradients), (expected_loss, expected_gradients) = found[:2], expected
    for got, value in zip([loss, *gradients], [expected_loss, *expected_gradients], strict=True):
        assert np.shape(got) == np.shape(value)
        np.testing.assert_allclose(got, value, rtol=0, atol=tolerance * np.max(np.abs(value), initial=1e-3))
