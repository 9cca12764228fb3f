"""What a function finds around it, and what it draws by chance."""

import functools
import gc
import itertools
import os
import random
import threading
import time
import types
import uuid
from collections import deque

import numpy as np
import pytest
from programs import assert_close, eager

import tinygrad_rnn as tg
from tinygrad_rnn.errors import ShapeError

W = tg.Tensor([1.0, 2.0], requires_grad=True)
X = np.array([1.0, 3.0])
FACTOR, FACTORS = 2.0, [2.0, 3.0]


class Settings:
    rate = 2.0


class Net(tg.nn.Module):
    gain = 1.0

    def __init__(self):
        self.W, self.doubles, self.activation = W, False, "tanh"
        self.cell, self.layers = tg.nn.RNNCell(2, 2, rng=0), [tg.nn.Linear(2, 2, rng=0)]

    def __call__(self, x):
        y = getattr(tg, self.activation)(self.W * x) * self.gain + self.cell(x) + self.layers[0](x)
        return tg.sum(y * 2.0 if self.doubles else y)


class Task:
    def __init__(self):
        self.a, self.steps, self.history = 2.0, 0, []

    def loss(self, x):
        return tg.sum(W * x) * self.a * self.factor()

    def factor(self):
        return self.a + 1.0

    def fit(self):
        self.steps += 1
        self.history.append(self.steps)


def changes():
    """Functions, each with what changes one thing around it."""
    scale, numbers, options, array = 2.0, [2.0, 3.0], {"a": 2.0}, np.array([2.0, 3.0])
    deep, space, queue, module = {"x": [{"y": 2.0}]}, types.SimpleNamespace(a=2.0), deque([2.0]), types.ModuleType("m")
    mask, cell, net, task, module.rate = tg.Tensor([1.0, 0.0]), tg.nn.RNNCell(2, 3, rng=0), Net(), Task(), 2.0

    def rescale():
        nonlocal scale
        scale = 3.0

    def remask():
        nonlocal mask
        mask = tg.Tensor([0.0, 1.0])

    def plain(x):
        return tg.sum(W * x)

    yield "a variable", lambda x: plain(x) * scale, rescale
    yield "a variable of a helper", lambda x: plain(x) * (lambda: scale)(), rescale
    yield "an item", lambda x: plain(x) * numbers[0], lambda: numbers.__setitem__(0, 5.0)
    yield "one item more", lambda x: plain(x) * sum(numbers), lambda: numbers.append(5.0)
    yield "in a comprehension", lambda x: sum(plain(x) * k for k in numbers), lambda: numbers.__setitem__(1, 6.0)
    yield "an option", lambda x: plain(x) * options["a"], lambda: options.update(a=5.0)
    yield "a new option", lambda x: plain(x) * options.get("b", 1.0), lambda: options.update(b=5.0)
    yield "an array", lambda x: tg.sum(W * x * array), lambda: array.__setitem__(0, 7.0)
    yield "made of an array", lambda x: tg.sum(W * x * (array * 2.0)), lambda: array.__setitem__(0, 9.0)
    yield "deep inside", lambda x: plain(x) * deep["x"][0]["y"], lambda: deep["x"][0].update(y=4.0)
    yield "an attribute", lambda x: plain(x) * space.a, lambda: setattr(space, "a", 4.0)
    yield "a queue", lambda x: plain(x) * queue[0], lambda: queue.__setitem__(0, 4.0)
    yield "of a module", lambda x: plain(x) * module.rate, lambda: setattr(module, "rate", 4.0)
    yield "of a class", lambda x: plain(x) * Settings.rate, lambda: setattr(Settings, "rate", Settings.rate + 1.0)
    yield "a global", lambda x: plain(x) * FACTOR, lambda: globals().update(FACTOR=FACTOR + 1.0)
    yield "in a global", lambda x: plain(x) * FACTORS[0], lambda: FACTORS.__setitem__(0, FACTORS[0] + 1.0)
    yield "an argument", functools.partial(lambda k, x: plain(x) * k[0], numbers), lambda: numbers.__setitem__(0, 8.0)
    yield "a flag of a net", net, lambda: setattr(net, "doubles", True)
    yield "a function of a net", lambda x: net(x), lambda: setattr(net, "activation", "sigmoid")
    yield "of all nets", lambda x: net(x), lambda: setattr(Net, "gain", Net.gain + 1.0)
    yield "a parameter", lambda x: net(x), lambda: setattr(net.layers[0], "V", tg.nn.Parameter(3.0 * np.eye(2)))
    yield "a layer", lambda x: net(x), lambda: net.layers.__setitem__(0, tg.nn.Linear(2, 2, rng=5))
    yield (
        "of a cell",
        lambda x: plain(x) + tg.sum(cell(x)),
        lambda: setattr(cell, "W", tg.nn.Parameter(np.ones((3, 2)))),
    )
    yield "its nonlinearity", lambda x: plain(x) + tg.sum(cell(x)), lambda: setattr(cell, "nonlinearity", "relu")
    yield "of an object", task.loss, lambda: setattr(task, "a", 7.0)
    yield "a method", task.loss, lambda: setattr(Task, "factor", lambda self: 100.0 * self.a)
    yield "a Tensor", lambda x: tg.sum(W * x * mask), remask
    yield "its data", lambda x: tg.sum(W * x * mask), lambda: setattr(mask, "data", np.array([4.0, 5.0]))
    yield "its data as an array", lambda x: tg.sum(W * x * mask.numpy()), lambda: mask.data.__setitem__(0, 8.0)


@pytest.mark.filterwarnings("ignore:compile. numpy")
@pytest.mark.parametrize("optimize", [True, False])
def test_what_has_changed_around_a_function_is_followed(optimize):
    for name, function, change in changes():
        program = tg.compile(function, X, wrt=W, optimize=optimize)
        assert_close(program(X), eager(function, (tg.Tensor(X),), [W]))
        change()
        expected = eager(function, (tg.Tensor(X),), [W])
        assert_close(program(X), expected), name


def test_what_has_changed_is_refused_where_nothing_may_be_traced_again():
    scale = [2.0]
    program = tg.compile(lambda x: tg.sum(W * x) * scale[0], X, wrt=W, retrace=False)
    scale[0] = 3.0
    with pytest.raises(ShapeError, match="something has changed around the function, .*; retrace=False forbids"):
        program(X)
    scale[0] = 4.0 / 2.0
    assert program(X)[0] == 14.0


def test_what_a_function_does_not_look_at_may_change():
    traced, task = [], Task()

    def loss(x):
        traced.append(x.shape)
        return task.loss(x)

    program = tg.compile(loss, X, wrt=W)
    count = len(traced)
    for _ in range(3):
        task.fit()
        W.grad = np.ones(2)
        assert program(X)[0] == eager(task.loss, (tg.Tensor(X),), [W])[0]
    assert len(traced) == count


def test_a_module_s_forward_and_a_cell_s_step_are_code_too(monkeypatch):
    """The package calls them: no code of the user's names them."""

    class Net(tg.nn.Module):
        def __init__(self):
            self.layer = tg.nn.Linear(2, 1, rng=0)

        def forward(self, h):
            return FACTOR * self.layer(h)

    class Scaled(tg.nn.Cell):
        def step(self, x, h):
            return tg.tanh(FACTOR * (tg.linear(self.W, x) + tg.linear(self.U, h)))

    net, rnn, xs = Net(), tg.nn.Recurrent(Scaled, 2, 2, rng=0), np.ones((3, 2))

    def loss(xs):
        return net(rnn(xs)[0][-1]).sum()

    program = tg.compile(loss, xs, wrt=net)
    for factor in (2.0, 3.0):
        monkeypatch.setitem(globals(), "FACTOR", factor)
        assert program(xs)[0] == pytest.approx(loss(xs).item(), rel=1e-14)


def test_parameters_that_are_trained_are_not_traced_again():
    traced, net = set(), tg.nn.LSTM(2, 3, rng=0)
    optimizer = tg.optim.SGD(net.parameters(), 0.1)

    def loss(xs):
        traced.add(id(xs))
        return tg.sum(tg.square(net(xs)[0][-1]))

    program = tg.compile(loss, np.ones((4, 2)), wrt=net)
    count = len(traced)
    for _ in range(3):
        program.backward(np.ones((4, 2)))
        optimizer.step()
    assert len(traced) == count


def coins(seed):
    """Functions that decide by what is another each time, or some time."""
    np.random.seed(seed)
    random.seed(seed)
    rng, old, python = np.random.default_rng(seed), np.random.RandomState(seed), random.Random(seed)
    box, count, steps, times = {"rng": [np.random.default_rng(seed)]}, itertools.count(), [0], np.zeros(1)
    listed, made = iter(range(300)), (i for i in range(300))

    class Dropout:
        def __init__(self):
            self.rng, self.calls = np.random.default_rng(seed), 0

        def __call__(self, x):
            return tg.sum(W * x) if self.rng.random() < 0.5 else tg.sum(W)

        def late(self):
            self.calls += 1
            return self.calls > 100

    def late(counter):
        counter[0] += 1
        return counter[0] > 100

    def imported():
        import random as chance

        return chance.random() < 0.5

    def imported_by_name():
        from numpy.random import rand

        return rand() < 0.5

    layer = Dropout()
    flips = [
        lambda: rng.random() < 0.5, lambda: old.rand() < 0.5, lambda: python.random() < 0.5,
        lambda: np.random.rand() < 0.5, lambda: random.random() < 0.5, lambda: box["rng"][0].integers(2),
        lambda: next(count) > 100, lambda: next(listed) > 100, lambda: next(made) > 100, layer.late,
        lambda: late(steps), lambda: late(times), lambda: np.random.default_rng().random() < 0.5,
        imported, imported_by_name, lambda: random.choice([0, 1]), functools.partial(random.getrandbits, 1),
        lambda: os.urandom(1)[0] < 128, lambda: uuid.uuid4().int % 2, lambda: random.SystemRandom().random() < 0.5,
    ]  # fmt: skip
    return [layer, *(functools.partial(lambda flip, x: tg.sum(W * x) if flip() else tg.sum(W), flip) for flip in flips)]


@pytest.mark.parametrize("seed", range(5))
def test_a_coin_is_refused_however_it_falls(seed):
    for function in coins(seed):
        with pytest.raises(ValueError, match="run twice on the same inputs, it does not do the same"):
            tg.compile(function, X, wrt=W)


@pytest.fixture
def a_thread_that_draws():
    """Another thread draws from the generators that all share, without end."""
    drawn, done = threading.Event(), threading.Event()

    def draw():
        while not done.is_set():
            random.random(), np.random.rand()
            drawn.set()

    thread = threading.Thread(target=draw)
    thread.start()
    drawn.wait()
    yield
    done.set()
    thread.join()


def test_what_another_thread_draws_is_no_chance_of_the_function(a_thread_that_draws):
    own = random.Random(0)

    def loss(x):
        time.sleep(0.02)  # in which it draws
        return tg.sum(W * x) * len(own.getstate()) * np.exp(1.0)

    assert_close(tg.compile(loss, X, wrt=W)(X), eager(loss, (tg.Tensor(X),), [W]))


def test_a_coin_is_refused_whatever_another_thread_draws(a_thread_that_draws):
    for flip in (random.random, np.random.rand):
        with pytest.raises(ValueError, match="and changes (<random.Random|RandomState)"):
            tg.compile(lambda x: tg.sum(W * x) if flip() < 2.0 else tg.sum(W), X, wrt=W)  # noqa: B023


def test_what_a_collection_of_garbage_asks_for_is_no_chance():
    def asks(phase, info):
        time.perf_counter()

    gc.callbacks.append(asks)
    try:
        tg.compile(lambda x: tg.sum(W * x) * float(gc.collect() >= 0), X, wrt=W)
    finally:
        gc.callbacks.remove(asks)


def test_random_numbers_with_a_seed_of_their_own_are_no_chance():
    def loss(x):
        return tg.sum(W * x * np.random.default_rng(0).standard_normal(2))

    assert_close(tg.compile(loss, X, wrt=W)(2.0 * X), eager(loss, (2.0 * X,), [W]))
