"""How far gradients come back: the experiments' numbers within their bands, and the command that shows them."""

import csv
import re
from dataclasses import replace

import numpy as np
import pytest
from command_line import ended

import tinygrad_rnn as tg
from tinygrad_rnn.experiments.flow import NETS, NOISE, Flow, Net, flow
from tinygrad_rnn.experiments.settings import combined


def run(capsys, *arguments):
    return ended(capsys, "flow", *arguments)


def read(path):
    header, *rows = csv.reader(path.read_text().splitlines())
    return dict(zip(header, np.array(rows, float).T, strict=True))


@pytest.mark.parametrize("scale", [0.9, 1.0, 1.1])
def test_the_jacobian_of_a_linear_net_is_the_scale_to_the_distance(scale):
    net = Net(nonlinearity="identity", scale=scale)
    found = flow([net], steps=50, hidden=20, quantity="jacobian")
    np.testing.assert_allclose(found.curves[net.label], scale ** np.arange(51), rtol=1e-12)
    np.testing.assert_allclose(*found.bounds.values(), scale ** np.arange(51), rtol=1e-12)
    assert found.factor(net.label) == pytest.approx(scale, rel=1e-12)


@pytest.mark.parametrize(
    "net", [Net(), Net("irnn"), Net("gru"), Net("lstm"), Net("lstm", path="c")], ids=lambda net: net.label
)
def test_one_sweep_finds_the_jacobians_that_bptt_finds_one_by_one(net):
    found = flow([net], steps=4, hidden=3, quantity="jacobian", seed=5)
    rng = np.random.default_rng(5)
    cell = net.make(3, 3, rng)
    for gate in cell.gates:
        getattr(cell, "W" + gate).data = np.eye(3)
    states = [tuple(tg.Tensor(np.zeros(3), requires_grad=True) for _ in cell.state_names)]
    for x in NOISE * rng.standard_normal((4, 3)):
        after = cell(x, states[-1])
        states.append(after if isinstance(after, tuple) else (after,))
    last, part = states[-1][0], "hc".index(net.path)
    norms = np.array([tg.bptt.singular_values(last, state[part])[0] for state in states[::-1]])
    np.testing.assert_allclose(found.curves[net.label], norms / norms[0], rtol=1e-12)


@pytest.mark.parametrize("quantity, updates", [("jacobian", 0), ("gradient", 0), ("gradient", 20)])
def test_the_bound_of_a_plain_net_is_above_its_curve(quantity, updates):
    for nonlinearity in ("tanh", "sigmoid", "relu", "identity"):
        net = Net(nonlinearity=nonlinearity, scale=1.2, updates=updates)
        found = flow([net], steps=12, hidden=8, quantity=quantity)
        (bound,) = found.bounds.values()
        assert np.all(found.curves[net.label] <= bound * (1 + 1e-12))


def test_gates_have_no_bound_and_plain_nets_with_the_same_share_it():
    found = flow([Net("lstm"), Net("gru"), Net(), Net("irnn")], steps=3, hidden=4)
    assert list(found.bounds) == ["bound, 1^(T - t)"]


def test_factor_and_reach_are_those_of_the_curve():
    d = np.arange(12)
    curves = {"half": 0.5**d, "grows": 1.5**d, "underflows": np.where(d < 3, 0.1**d, 0.0), "one": 0.0**d}
    found = Flow("jacobian", {}, d, curves, {}, {})
    assert [found.factor(label) for label in curves] == pytest.approx([0.5, 1.5, 0.1, 0.0], rel=1e-12)
    assert [found.reach(label) for label in curves] == [7, None, 3, 1]
    assert found.reach("half", 1e-3) == 10


# ‖∂h(50)/∂h(0)‖ of untrained nets of 50 units, for the seeds 0 to 29. Pascanu et al. 2013: σ_max(U) · max f′ < 1
# suffices to vanish, and > 1 is needed to explode but does not suffice.
JACOBIANS = {
    Net(nonlinearity="identity", scale=0.9): (5.15e-3, 5.16e-3),
    Net(nonlinearity="identity", scale=1.1): (117.3, 117.4),
    Net(scale=0.9): (1e-3, 2e-3), Net(scale=1.0): (0.07, 0.16),
    Net(scale=1.1): (0.7, 3.0), Net(scale=1.5): (50.0, 5000.0),
    Net(nonlinearity="sigmoid", scale=2.0): (1e-20, 1e-17),
    Net(nonlinearity="sigmoid", scale=4.0): (1e-13, 1e-5),
    Net(nonlinearity="sigmoid", scale=5.0): (1e-11, 1e-2),
}  # fmt: skip
# ‖∂L/∂h(0)‖ / ‖∂L/∂h(100)‖ likewise: the forget gate alone keeps σ(b_f) a step, 0.5, 0.73, 0.95 and 0.99 for b_f = 0,
# 1, 3 and 5; the ways by the other gates come on top.
GRADIENTS = {
    Net("lstm", forget_bias=0.0): (5e-16, 5e-12), Net("lstm", forget_bias=0.0, path="c"): (1e-15, 1e-11),
    Net("lstm", forget_bias=1.0): (2e-5, 1e-2), Net("lstm", forget_bias=1.0, path="c"): (5e-5, 5e-2),
    Net("lstm", forget_bias=3.0): (0.1, 100.0), Net("lstm", forget_bias=3.0, path="c"): (1.0, 1000.0),
    Net("lstm", forget_bias=5.0): (0.05, 500.0), Net("lstm", forget_bias=5.0, path="c"): (2.0, 5000.0),
    Net(): (1e-6, 1e-2), Net("irnn"): (0.4, 0.9), Net("gru"): (5e-15, 1e-11),
}  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "bands, conditions",
    [(JACOBIANS, {"steps": 50, "hidden": 50, "quantity": "jacobian"}), (GRADIENTS, {"steps": 100, "hidden": 32})],
    ids=["jacobian", "gradient"],
)
def test_what_is_left_of_untrained_nets_is_within_its_band(bands, conditions, seed):
    found = flow(bands, **conditions, seed=seed)
    for net, (low, high) in bands.items():
        assert low <= found.curves[net.label][-1] <= high, net.label


def test_the_forget_gate_is_not_all_that_carries_the_gradient_of_an_lstm():
    """Along c alone it would be σ(b_f) a step."""
    for b in (0.0, 1.0, 3.0, 5.0):
        nets = [Net("lstm", forget_bias=b, path=path) for path in "hc"]
        found = flow(nets, steps=100)
        h, c = (found.curves[net.label][-1] for net in nets)
        assert h < c < 40 * h and found.factor(nets[1].label) > 1 / (1 + np.exp(-b))


@pytest.mark.parametrize("seed", range(4))
def test_eight_or_ten_steps(seed):
    """Module 5's number, measured: tanh with σ_max(U) = 0.6, or an LSTM whose forget bias is 0; not plain nets."""
    untrained = dict.fromkeys(replace(net, updates=0) for net in NETS)
    found = flow(list(untrained), steps=30, seed=seed)
    reach = {label: found.reach(label) for label in found.curves}
    assert (reach["sigmoid"], reach["tanh, 0.6·U"], reach["tanh"], reach["LSTM, b_f = 1"]) in [
        (4, 9, None, None), (4, 9, None, 24),
    ]  # fmt: skip
    assert 8 <= reach["LSTM, b_f = 0"] <= 11 and 12 <= reach["GRU"] <= 15


def test_what_a_gru_has_learnt_brings_the_gradient_back():
    before, after = (Net("gru", updates=n) for n in (0, 400))
    found = flow([before, after], steps=14)
    assert found.errors[after.label] < 0.01 < 0.1 < found.errors[before.label]
    assert found.curves[after.label][-1] > 10 * found.curves[before.label][-1]


def test_the_command_writes_the_numbers_of_its_plot(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    options = ("--cell", "rnn", "lstm", "--nonlinearity", "tanh", "sigmoid", "--scale", 0.5, 1, "--forget-bias", 0, 1)
    status, out, err = run(capsys, *options, "--updates", 0, 2, "--steps", 5, "--hidden", 4, "--out", tmp_path / "new")
    assert (status, err) == (0, "")
    choices = {"nonlinearity": ["tanh", "sigmoid"], "scale": [0.5, 1.0], "forget_bias": [0.0, 1.0], "updates": [0, 2]}
    found = tg.experiments.flow(combined(Net, cell=["rnn", "lstm"], **choices), steps=5, hidden=4)
    assert len(found.curves) == 16
    numbers, picture = read(tmp_path / "new" / "flow.csv"), (tmp_path / "new" / "flow.svg").read_text()
    np.testing.assert_array_equal(numbers.pop("distance T - t, steps"), np.arange(6))
    assert list(numbers) == [*found.curves, *found.bounds]
    for label, values in (found.curves | found.bounds).items():
        np.testing.assert_array_equal(numbers[label], values)
        assert f">{label}<" in picture
    for label in found.curves:
        assert label in out and f"{found.factor(label):.3f}" in out


def test_without_options_the_command_shows_nets_that_reach_from_few_steps_to_many(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("tinygrad_rnn.cli.NETS", [replace(net, updates=min(net.updates, 2)) for net in NETS])
    status, out, _ = run(capsys, "--out", tmp_path)
    reach = {label: steps for label, _, steps in re.findall(r"^(\S.*?)  +(0\.\d+) +(\d+|> 30) ", out, re.MULTILINE)}
    assert status == 0 and len(reach) == 12
    assert (reach["sigmoid"], reach["tanh, 0.6·U"], reach["tanh"], reach["LSTM, b_f = 0"]) == ("4", "9", "> 30", "9")


@pytest.mark.usefixtures("without_matplotlib")
@pytest.mark.filterwarnings("ignore:plots need matplotlib")
def test_an_option_may_be_given_again(capsys, tmp_path):
    options = ("--steps", 2, "--hidden", 2, "--out", tmp_path)
    assert run(capsys, "--cell", "rnn", "--cell", "gru", *options) == run(capsys, "--cell", "rnn", "gru", *options)
    assert list(read(tmp_path / "flow.csv"))[1:3] == ["tanh", "GRU"]


def test_a_net_that_comes_again_has_the_colour_of_the_one_before_dotted(tmp_path):
    pytest.importorskip("matplotlib")
    found = flow([Net(), Net(updates=1), Net("gru"), Net("gru", updates=1)], steps=2, hidden=3)
    styles = re.findall(r'clip-path=\S+ style="fill: none; (.*?)"', found.save(tmp_path).read_text())
    colours = [re.search(r"stroke: (#\w+)", style)[1] for style in styles if "1.5" in style]
    assert colours[0] == colours[1] != colours[2] == colours[3]


def test_the_same_seed_gives_the_same_files(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    options = ("--updates", 3, "--steps", 6, "--hidden", 4)
    for name, seed in (("a", 1), ("b", 1)):
        assert run(capsys, *options, "--seed", seed, "--out", tmp_path / name)[0] == 0
    for file in ("flow.csv", "flow.svg"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    curves = [flow(Net(), steps=6, hidden=4, seed=seed).curves["tanh"] for seed in (1, 2)]
    assert not np.array_equal(*curves)


def test_curves_that_leave_all_numbers_are_drawn_as_far_as_they_go(tmp_path):
    pytest.importorskip("matplotlib")
    found = flow([Net(nonlinearity="sigmoid", scale=0.01), Net(scale=1e10)], steps=400, hidden=3)
    assert found.curves["sigmoid, 0.01·U"][-1] == 0.0 and np.isinf(found.bounds["bound, 1e+10^(T - t)"][-1])
    assert found.save(tmp_path).exists()


@pytest.mark.parametrize("options, message", [
    (["--steps", "0"], "steps=0: a whole number from 1 to 1000000 is needed"),
    (["--steps", "1" + 20 * "0"], "steps=10+: a whole number from 1 to 1000000 is needed"),
    (["--hidden", "0"], "hidden=0: a whole number from 1 to 10000 is needed"),
    (["--seed", "-1"], "seed=-1: a whole number from 0 up"),
    (["--updates", "-1"], "updates=-1: a whole number from 0 up"),
    (["--scale", "-1"], "scale=-1.0: a finite number above 0"),
    (["--scale", "nan"], "scale=nan: a finite number"),
    (["--cell"], "--cell: expected at least one"),
    (["--cell", "elman"], "cell='elman': not one of 'rnn', 'irnn', 'lstm', 'gru'"),
    (["--nonlinearity", "step"], "nonlinearity='step': not one of 'tanh'"),
    (["--forget-bias", "1"], "forget_bias=1.0 is of cell='lstm', not of 'rnn'"),
    (["--cell", "gru", "--nonlinearity", "relu"], "nonlinearity='relu' is of cell='rnn', not of 'gru'"),
    (["--quantity", "jacobian", "--updates", "1"], "quantity='jacobian' is of untrained nets"),
    (["--nonlinearity", "identity", "--scale", "1e200"], r"identity, 1e\+200·U: .* has overflowed; take fewer steps"),
    (["--quantity", "jacobian", "--nonlinearity", "identity", "--scale", "1e200"], "has overflowed"),
])  # fmt: skip
def test_misuse_is_told_in_a_line(capsys, tmp_path, options, message):
    status, out, err = run(capsys, *options, "--out", tmp_path)
    assert (status, out) == (2, "")
    assert re.match(f"tinygrad-rnn flow: .*{message}", err.splitlines()[-1]) and "Traceback" not in err


def test_a_folder_that_is_a_file_is_a_failure(capsys, tmp_path):
    (tmp_path / "taken").write_text("")
    status, out, err = run(capsys, "--steps", 2, "--out", tmp_path / "taken")
    assert (status, out) == (1, "") and err == (
        f"tinygrad-rnn flow: a folder is needed, and this is a file: {tmp_path / 'taken'}\n"
    )


def test_files_that_are_not_its_own_are_left_and_its_own_replaced(capsys, tmp_path):
    for name in ("flow.csv", "flow.svg"):
        (tmp_path / name).write_text("mine")
        status, out, err = run(capsys, "--steps", 2, "--out", tmp_path)
        assert (status, out) == (2, "") and f"{name} is there, and of no such run" in err and err.count("\n") == 1
        assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]
        (tmp_path / name).unlink()
    for _ in range(2):
        assert run(capsys, "--cell", "gru", "--steps", 2, "--hidden", 2, "--out", tmp_path)[0] == 0


@pytest.mark.usefixtures("without_matplotlib")
@pytest.mark.filterwarnings("default")  # as for users
def test_without_matplotlib_the_numbers_are_there_and_it_says_what_to_install(capsys, tmp_path):
    status, _, err = run(capsys, "--steps", 2, "--out", tmp_path)
    assert status == 0 and (tmp_path / "flow.csv").exists()
    assert err.startswith("tinygrad-rnn flow: plots need matplotlib: pip install matplotlib; ")
    assert err.count("\n") == 1


def test_scales_may_be_numbers_of_numpy_and_nets_any_of_an_iterable():
    scales = np.linspace(0.9, 1.1, 3)
    found = flow((Net(scale=scale) for scale in scales), steps=np.int64(2))
    assert list(found.curves) == ["tanh, 0.9·U", "tanh", "tanh, 1.1·U"]
    assert list(flow(Net(), steps=2).curves) == ["tanh"]


@pytest.mark.parametrize("call, exception, message", [
    (lambda: flow(["rnn"], steps=2), TypeError, r"flow\(nets\): tg.experiments.Net\(...\) is needed, not a str"),
    (lambda: flow([]), ValueError, r"flow\(nets\): at least one net"),
    (lambda: flow([Net()], steps=2.5), TypeError, "steps=2.5: a whole number"),
    (lambda: flow([Net()], quantity="norm"), ValueError, "quantity='norm': not one of 'gradient', 'jacobian'"),
    (lambda: Net("elman"), ValueError, "cell='elman': not one of 'rnn', 'irnn', 'lstm', 'gru'"),
    (lambda: Net(nonlinearity="step"), ValueError, "nonlinearity='step': not one of 'tanh'"),
    (lambda: Net(scale="1"), TypeError, "scale='1': a finite number above 0"),
    (lambda: Net("lstm", forget_bias=float("inf")), ValueError, "forget_bias=inf: a number from -1e.09 to 1e.09"),
    (lambda: Net("gru", forget_bias=1.0), ValueError, "forget_bias=1.0 is of cell='lstm', not of 'gru'"),
    (lambda: Net("rnn", path="c"), ValueError, "path='c' is of cell='lstm', not of 'rnn'"),
    (lambda: Net("irnn", nonlinearity="relu"), ValueError, "nonlinearity='relu' is of cell='rnn', not of 'irnn'"),
    (lambda: Net(updates=True), TypeError, "updates=True: a whole number"),
])  # fmt: skip
def test_what_cannot_be_is_told(call, exception, message):
    with pytest.raises(exception, match=message):
        call()
