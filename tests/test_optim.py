import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.datasets import sine
from tinygrad_rnn.optim import (
    SGD,
    Adam,
    AdamW,
    RMSprop,
    clip_grad_norm,
    clip_grad_value,
    cosine,
    gradient_norm,
    norm,
    staircase,
)


def parameter(data, grad=None):
    p = tg.nn.Parameter(data, name="p")
    p.grad = None if grad is None else np.array(grad)
    return p


def test_sgd_goes_against_the_gradient():
    p = parameter([1.0, 2.0], grad=[10.0, -10.0])
    SGD([p], lr=0.1).step()
    np.testing.assert_allclose(p.data, [0.0, 3.0], rtol=1e-15)


def test_momentum_sums_the_gradients_of_the_past():
    p = parameter(0.0, grad=1.0)
    optimizer = SGD([p], lr=1.0, momentum=0.5)
    for expected in (-1.0, -2.5, -4.25):  # v = 1, 1.5, 1.75
        optimizer.step()
        assert p.item() == expected


def test_three_steps_of_adam_by_hand():
    """With β₁ = β₂ = 1/2 and gradients 1, -1, 3: m = 1/2, -1/4, 11/8 and v = 1/2, 3/4, 39/8, over 1/2, 3/4, 7/8."""
    p = parameter(0.0)
    optimizer = Adam([p], lr=1.0, betas=(0.5, 0.5), eps=0.5)
    expected = 0.0
    for g, mean, mean_square in ((1.0, 1.0, 1.0), (-1.0, -1 / 3, 1.0), (3.0, 11 / 7, 39 / 7)):
        p.grad = np.array(g)
        optimizer.step()
        expected -= mean / (np.sqrt(mean_square) + 0.5)
        assert p.item() == pytest.approx(expected, rel=1e-14)


def test_a_parameter_given_twice_counts_once():
    p, q = parameter([0.0], grad=[3.0]), parameter([0.0], grad=[4.0])
    SGD([p, q, p], lr=1.0).step()
    assert (p.item(), q.item()) == (-3.0, -4.0)
    assert gradient_norm([p, p, q]) == clip_grad_norm([p, q, q], 1.0) == 5.0
    np.testing.assert_allclose([p.grad[0], q.grad[0]], [0.6, 0.8], rtol=1e-15)


def test_a_module_and_one_parameter_and_a_generator_are_parameters():
    net = tg.nn.Linear(2, 1, bias=False)
    net.V.data, net.V.grad = [[1.0, 1.0]], np.array([[3.0, 4.0]])
    for params in (net, net.V, (p for p in [net.V])):
        assert gradient_norm(params) == 5.0
    SGD(net, lr=1.0).step()
    np.testing.assert_array_equal(net.V.data, [[-2.0, -3.0]])
    assert clip_grad_norm(net.V, 1.0) == 5.0
    np.testing.assert_allclose(net.V.grad, [[0.6, 0.8]], rtol=1e-15)
    assert clip_grad_value(net, 0.5) == pytest.approx(1.0)
    np.testing.assert_array_equal(net.V.grad, [[0.5, 0.5]])


def test_what_has_no_gradient_stays():
    p, q = parameter(1.0, grad=1.0), parameter(1.0)
    for optimizer in (SGD([p, q], lr=0.1), Adam([p, q])):
        optimizer.step()
    assert q.item() == 1.0 and p.item() < 1.0
    optimizer.zero_grad()
    assert p.grad is None


def test_a_step_between_forward_and_backward_leaves_the_gradient_right():
    p = parameter([2.0])
    loss = (p * p).sum()
    p.grad = np.array([1.0])
    optimizer = SGD([p], lr=1.0)
    optimizer.step()
    optimizer.zero_grad()
    loss.backward()
    np.testing.assert_array_equal(p.grad, [4.0])  # 2p at p = 2, where the loss was computed


@pytest.mark.parametrize("max_norm, expected", [(1.0, [0.6, 0.8]), (10.0, [3.0, 4.0]), (0.0, [0.0, 0.0])])
def test_the_norm_of_all_gradients_is_clipped_together(max_norm, expected):
    params = [parameter([0.0], grad=[3.0]), parameter(0.0), parameter([0.0], grad=[4.0])]
    assert clip_grad_norm(params, max_norm) == 5.0
    np.testing.assert_allclose([params[0].grad[0], params[2].grad[0]], expected, rtol=1e-15)


def test_a_norm_whose_square_would_overflow_is_clipped():
    p = parameter([0.0, 0.0], grad=[3e300, 4e300])
    assert clip_grad_norm([p], 1.0) == pytest.approx(5e300, rel=1e-15)
    np.testing.assert_allclose(p.grad, [0.6, 0.8], rtol=1e-15)


def test_gradients_whose_norm_overflows_are_clipped():
    p = parameter([0.0] * 3, grad=[1.7e308] * 3)
    assert clip_grad_norm(p, np.inf) == np.inf and p.grad[0] == 1.7e308
    assert clip_grad_norm(p, 1.0) == np.inf
    np.testing.assert_allclose(p.grad, np.sqrt([1 / 3] * 3), rtol=1e-15)


@pytest.mark.parametrize("arrays, expected", [
    ([], 0.0), ([[0.0, 0.0], []], 0.0), ([[3.0], [[4.0]]], 5.0), ([[3e-200, 4e-200]], 5e-200), ([[5e-324]], 5e-324),
    ([[1.7e308] * 3], np.inf), ([[1.0, -np.inf]], np.inf), ([[np.inf], [np.nan]], np.nan), ([[1.0], [np.nan]], np.nan),
    ([np.array([1.8e38, 2.4e38], np.float32)], 3e38),
])  # fmt: skip
def test_a_norm_neither_overflows_nor_vanishes(arrays, expected):
    np.testing.assert_allclose(norm(np.array(a) for a in arrays), expected, rtol=1e-7 if len(arrays) == 1 else 0)


def test_elements_are_clipped_one_by_one():
    p = parameter([0.0, 0.0], grad=[3.0, -4.0])
    assert clip_grad_value([p], 3.5) == 5.0
    np.testing.assert_array_equal(p.grad, [3.0, -3.5])


@pytest.mark.parametrize("clip", [clip_grad_norm, clip_grad_value])
def test_clipping_refuses_what_it_cannot_mend(clip):
    with pytest.raises(ValueError, match=r"(max_norm|limit)=-1\): a number of at least 0"):
        clip([parameter(0.0, grad=1.0)], -1)
    for limit in ("a", None):
        with pytest.raises(TypeError, match=rf"(max_norm|limit)={limit!r}\): a number of at least 0"):
            clip([parameter(0.0, grad=1.0)], limit)
    for params, what in ((5, "not a int"), (None, "not a NoneType"), (["p"], "is needed, not a str")):
        with pytest.raises(TypeError, match=rf"{clip.__name__}\(params\): .*{what}"):
            clip(params, 1.0)
    with pytest.raises(tg.GradientError, match=r"gradient of p of shape \(2,\) is not finite: 1 of 2 are nan"):
        clip([parameter([0.0, 0.0], grad=[1.0, np.nan])], 1.0)


@pytest.mark.parametrize("make, message", [
    (lambda: SGD([], lr=0.1), "there are no parameters"),
    (lambda: SGD([parameter(0.0)], lr=-1), r"lr=-1\): a finite number of at least 0"),
    (lambda: SGD([parameter(0.0)], lr=0.1, momentum=1.0), "momentum=1.0.*less than 1"),
    (lambda: Adam([parameter(0.0)], betas=(0.9, 1.5)), "betas=1.5.*less than 1"),
    (lambda: Adam([parameter(0.0)], lr=np.nan), "lr=nan"),
    (lambda: SGD([parameter(0.0)], lr=np.inf), r"lr=inf\): a finite number of at least 0"),
    (lambda: Adam([parameter(0.0)], betas=(0.9,)), r"betas=\(0.9,\)\): a pair of numbers is needed"),
])  # fmt: skip
def test_settings_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("make, message", [
    (lambda: SGD(parameter(0.0), 0.1, nesterov=True), r"SGD: setting='nesterov': not one of 'params', 'lr'"),
    (lambda: Adam([{"params": parameter(0.0), "betta": 1}]), r"Adam: setting='betta': not one of 'params', 'lr'"),
    (lambda: AdamW([{"params": parameter(0.0), "lr": -1}]), r"AdamW\(lr=-1\): a finite number of at least 0"),
    (lambda: RMSprop(parameter(0.0), alpha=1), r"RMSprop\(alpha=1\): a number of at least 0 and less than 1"),
    (lambda: SGD([{"params": parameter(0.0)}, {"lr": 0.1}] * 2), "SGD.params.: a parameter is in two groups"),
    (lambda: SGD([{"lr": 0.1}], lr=0.2), "SGD.params.: there are no parameters"),
    (lambda: Adam(parameter(0.0), lr=lambda step: -1.0), r"Adam\(lr=-1.0\): a finite number of at least 0"),
    (lambda: cosine(0.1, 0), r"cosine\(steps=0\): a whole number from 1 up is needed"),
    (lambda: staircase(0.0, 10), r"staircase\(lr=0.0\): a finite number above 0 is needed"),
])  # fmt: skip
def test_groups_and_schedules_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_groups_have_settings_of_their_own():
    p, q, r = (parameter(0.0, grad=1.0) for _ in range(3))
    optimizer = SGD([{"params": p, "lr": 0.5}, {"params": [q, r], "momentum": 0.5}], lr=0.1)
    optimizer.step()
    assert (p.item(), q.item(), r.item()) == (-0.5, -0.1, -0.1)
    optimizer.param_groups[1]["lr"] = 1.0
    optimizer.step()
    assert (p.item(), q.item()) == (-1.0, -0.1 - 1.5)
    assert optimizer.lr == 0.5
    optimizer.lr = 0.0
    optimizer.step()
    assert (p.item(), q.item()) == (-1.0, -1.6) and [group["lr"] for group in optimizer.param_groups] == [0.0, 0.0]
    optimizer.param_groups[1]["lr"] = np.nan
    with pytest.raises(ValueError, match=r"SGD\(lr=nan\)"):
        optimizer.step()


def test_a_learning_rate_is_a_function_of_the_step():
    p, rates = parameter(0.0, grad=1.0), [0.5, 0.25, 0.125]
    optimizer = SGD(p, lr=lambda step: rates[step])
    for total in (0.5, 0.75, 0.875):
        optimizer.step()
        assert p.item() == -total


@pytest.mark.parametrize("scheduled", [False, True])
def test_a_schedule_goes_on_where_it_was(scheduled):
    """By a function of the step, and by an lr that is set by hand: both are in the state dict."""
    p, q = parameter([1.0, 2.0]), parameter([1.0, 2.0])
    optimizer, other = (AdamW(x, lr=cosine(0.1, 10) if scheduled else 0.1) for x in (p, q))

    def go(x, optimizer, steps):
        for _ in range(steps):
            x.grad = np.cos(x.data)
            optimizer.step()
            if not scheduled:
                optimizer.lr *= 0.9

    go(p, optimizer, 4)
    q.data = p.data
    other.load_state_dict(optimizer.state_dict())
    go(p, optimizer, 3)
    go(q, other, 3)
    np.testing.assert_array_equal(p.data, q.data)
    assert optimizer.state_dict()["lr.0"] == other.state_dict()["lr.0"] < 0.1
    assert optimizer.state_dict()["steps"] == 7
    with pytest.raises(ValueError, match=r"AdamW\.load_state_dict.*: a finite number of at least 0"):
        AdamW(q).load_state_dict(other.state_dict() | {"lr.0": np.array(-1.0)})
    groups = SGD([{"params": parameter(0.0)}, {"params": parameter(0.0)}], lr=0.5)
    with pytest.raises(ValueError, match=r"SGD\.load_state_dict.*: a finite number of at least 0"):
        groups.load_state_dict(groups.state_dict() | {"lr.0": np.array(9.0), "lr.1": np.array(-1.0)})
    assert groups.lr == 0.5


@pytest.mark.parametrize("kind, name, bad", [
    (SGD, "lr", -5), (RMSprop, "alpha", 1.0), (AdamW, "weight_decay", -1),
    (SGD, "momentum", 1.0), (SGD, "lr", np.float32(np.inf)), (SGD, "momentum", np.float16(1)),
    (Adam, "lr", np.nan), (Adam, "eps", -1e-8), (Adam, "betas", (0.9, 1.0)),
    (Adam, "betas", (0.9,)), (Adam, "betas", 0.9),
])  # fmt: skip
def test_settings_are_checked_when_they_are_set_later_too(kind, name, bad):
    optimizer = kind([parameter(0.0)], lr=0.1)
    before = getattr(optimizer, name)
    with pytest.raises(ValueError, match=rf"{kind.__name__}\({name}="):
        setattr(optimizer, name, bad)
    with pytest.raises(TypeError, match=rf"{kind.__name__}\({name}='a'\)|a pair"):
        setattr(optimizer, name, ("a", "a") if name == "betas" else "a")
    assert getattr(optimizer, name) == before


@pytest.mark.parametrize("kind, settings", [
    (SGD, {"lr": 0.1 * np.cos(0.3), "momentum": np.float64(0.9)}),
    (Adam, {"lr": np.float64(0.1), "betas": (np.float64(0.9), np.float32(0.9)), "eps": np.float64(1e-8)}),
])  # fmt: skip
def test_a_parameter_of_float32_stays_one(kind, settings):
    p = tg.nn.Parameter(np.ones(2, np.float32))
    optimizer = kind([p], lr=0.5)
    for name, value in settings.items():
        setattr(optimizer, name, value)
    for _ in range(2):
        p.grad = np.array([1.0, 2.0])
        clip_grad_norm([p], np.float64(1.0))
        optimizer.step()
        assert p.dtype == p.grad.dtype == np.float32
    moments = {array.dtype for name, array in optimizer.state_dict().items() if name[0] == "0"}
    assert moments == {np.dtype(np.float32), np.dtype(int)}


def test_a_net_that_becomes_float32_stays_so():
    p = parameter([1.0, 2.0])
    optimizer = Adam([p])
    p.data = p.data.astype(np.float32)
    p.grad = [1.0, 1.0]
    optimizer.step()
    assert p.dtype == np.float32


def test_a_frozen_parameter_is_neither_changed_nor_clipped():
    net = tg.nn.Linear(1, 1, rng=0)
    net.V.grad, net.c.grad = [[3.0]], [4.0]
    net.c.requires_grad = False
    optimizer = SGD(net, lr=1.0)
    before = net.V.item()
    assert clip_grad_norm(net, 1.0) == gradient_norm(net) * 3.0 == 3.0
    optimizer.step()
    assert net.V.item() == before - 1.0 and net.c.item() == 0.0
    net.c.requires_grad = True
    optimizer.step()
    assert net.c.item() == -4.0


@pytest.mark.parametrize("p, message", [
    (1.0, r"a parameter, as of net\.parameters\(\), is needed, not a float"),
    (tg.Tensor(1.0), "is not a leaf that requires"), (tg.nn.Parameter(1.0) * 2.0, "is not a leaf that requires"),
])  # fmt: skip
def test_parameters_are_leaves_that_require_a_gradient(p, message):
    with pytest.raises(TypeError, match=message):
        SGD([p], lr=0.1)


def the_cliff(w, b):
    """(σ(x(50)) - 0.7)² for x(t) = w σ(x(t-1)) + b from x(0) = 1/2: the net of Pascanu et al. 2013, Fig. 6."""
    x = 0.5
    for _ in range(50):
        x = w * tg.sigmoid(x) + b
    return (tg.sigmoid(x) - 0.7) ** 2


def test_clipping_keeps_a_step_at_the_cliff_small():
    """About w = 4.81, b = -2.50 stands a wall 1e-6 wide, where the gradient is about 1.45e3: a step of 0.01 along it
    jumps by more than ten, and by 0.01 if clipped to norm 1."""
    along = tg.Tensor(np.linspace(-2.500, -2.495, 100_000), requires_grad=True)  # at w = 4.8145
    (slope,) = tg.grad(the_cliff(4.8145, along).sum(), along)
    at = along.data[np.argmax(np.abs(slope.data))]
    jumps, norms = [], []
    for max_norm in (np.inf, 1.0):
        w, b = tg.nn.Parameter(4.8145), tg.nn.Parameter(at)
        the_cliff(w, b).backward()
        norms.append(clip_grad_norm([w, b], max_norm))
        SGD([w, b], lr=0.01).step()
        jumps.append(np.hypot(w.item() - 4.8145, b.item() - at))
    assert norms[0] == norms[1] and 1.4e3 < norms[0] < 1.7e3
    np.testing.assert_allclose(jumps, [0.01 * norms[0], 0.01], rtol=1e-6)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_plain_net_learns_a_noisy_sine(seed):
    """100 points over two periods, windows of 25, 32 units: on clean data ten times better than the last value."""
    rng = np.random.default_rng(seed)
    clean = sine(100, periods=2.0)
    (xs, targets), (clean_xs, clean_targets) = (
        (np.stack([series[i : i + 25] for i in range(75)], axis=1)[..., None], series[25:, None])
        for series in (clean + 0.05 * rng.standard_normal(100), clean)
    )
    rnn, readout = tg.nn.RNN(1, 32, rng=rng), tg.nn.Linear(32, 1, rng=rng)
    params = [*rnn.parameters(), *readout.parameters()]
    optimizer = Adam(params, lr=0.005)
    for _ in range(100):
        hs, _ = rnn(xs)
        tg.nn.squared_error(readout(hs[-1]), targets, reduction="mean").backward()
        clip_grad_norm(params, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    with tg.no_grad():
        forecast = readout(rnn(clean_xs)[0][-1]).data
    of_last_value = np.mean((clean_xs[-1] - clean_targets) ** 2)
    assert np.mean((forecast - clean_targets) ** 2) < of_last_value / 10


@pytest.mark.parametrize("kind, options", [(tg.optim.SGD, {"momentum": 0.9}), (tg.optim.Adam, {})])
def test_an_optimizer_goes_on_from_what_another_remembers(kind, options):
    def descend(parameters, optimizer, steps):
        for _ in range(steps):
            for p in parameters:
                p.grad = np.sin(p.data) + 0.1
            optimizer.step()

    first = [tg.nn.Parameter(np.arange(3.0)), tg.nn.Parameter(np.ones(()))]
    optimizer = kind(first, lr=0.1, **options)
    descend(first, optimizer, 3)
    second = [tg.nn.Parameter(p.data) for p in first]
    other = kind(second, lr=0.1, **options)
    other.load_state_dict(optimizer.state_dict())
    descend(first, optimizer, 2)
    descend(second, other, 2)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.data, b.data)


def test_a_setting_that_there_is_not_is_refused_when_it_is_set_later_too():
    adam, sgd = Adam(parameter(0.0)), SGD(parameter(0.0), 0.1)
    with pytest.raises(ValueError, match="Adam: setting='momentum': not one of 'params', 'lr'"):
        adam.momentum = 0.9
    sgd.param_groups[0]["momemtum"] = 0.9
    with pytest.raises(ValueError, match="SGD: setting='momemtum'.*did you mean momentum"):
        sgd.step()


@pytest.mark.parametrize("make, told", [
    (lambda: tg.optim.cosine(0.1, 10, -1.0), r"cosine\(least=-1.0\): a finite number of at least 0"),
    (lambda: tg.optim.staircase(0.1, 3, "a"), r"staircase\(factor='a'\): a finite number of at least 0"),
])  # fmt: skip
def test_a_schedule_is_checked_when_it_is_made(make, told):
    with pytest.raises((TypeError, ValueError), match=told):
        make()


def test_an_optimizer_refuses_what_another_kind_remembers():
    p = tg.nn.Parameter(np.arange(3.0))
    with pytest.raises(ValueError, match=r"Adam\.load_state_dict: 0\.2 is missing"):
        tg.optim.Adam([p], lr=0.1).load_state_dict(tg.optim.SGD([p], lr=0.1).state_dict())


def test_a_number_of_steps_that_cannot_be_is_not_loaded():
    p = tg.nn.Parameter([1.0, 2.0])
    optimizer = tg.optim.Adam([p], lr=0.1)
    before = optimizer.state_dict()
    with pytest.raises(ValueError, match=r"Adam\.load_state_dict\(0\.0=-1\): a whole number from 0 up is needed"):
        optimizer.load_state_dict({**before, "0.0": np.array(-1), "0.1": np.ones(2)})
    np.testing.assert_equal(optimizer.state_dict(), before)
