import copy
import pickle

import numpy as np
import pytest

import tinygrad_rnn as tg


def test_parameters_are_named_by_their_path_in_the_order_of_definition():
    class Net(tg.nn.Module):
        def __init__(self):
            self.rnn = tg.nn.RNN(1, 3, num_layers=2, rng=0)
            self.readout = tg.nn.Linear(3, 1, rng=0)

    names = [name for name, _ in Net().named_parameters()]
    assert names == [f"rnn.cells.{i}.{p}" for i in (0, 1) for p in "WUb"] + ["readout.V", "readout.c"]


def test_parameters_and_modules_are_found_in_lists_tuples_and_dicts():
    net = tg.nn.Module()
    net.h0 = [tg.nn.Parameter(np.zeros(3)), np.zeros(3), tg.nn.Parameter(np.zeros(3))]
    net.gates = {"i": tg.nn.Parameter(1.0), "deep": [(tg.nn.Parameter(2.0),)]}
    net.cells = (tg.nn.RNNCell(1, 2, bias=False, rng=0),)
    net.heads = {"up": tg.nn.Linear(2, 1, bias=False, rng=0)}
    names = [name for name, _ in net.named_parameters()]
    assert names == ["h0.0", "h0.2", "gates.i", "gates.deep.0.0", "cells.0.W", "cells.0.U", "heads.up.V"]


def test_a_shared_parameter_is_listed_once_under_its_first_path():
    net, untied = tg.nn.Module(), tg.nn.Module()
    for module in (net, untied):
        module.a, module.b = tg.nn.Linear(2, 2, rng=0), tg.nn.Linear(2, 2, rng=1)
    net.b.V = net.a.V
    net.again = net.a
    assert [name for name, _ in net.named_parameters()] == ["a.V", "a.c", "b.c"]
    assert [path for path, _ in net.named_modules()] == ["a", "b", "again"]
    assert len(net.parameters()) == 3
    values = net.state_dict()
    values["a.V"] = np.full((2, 2), 7.0)
    net.load_state_dict(values)
    np.testing.assert_array_equal(net.b.V.data, values["a.V"])
    with pytest.raises(ValueError, match=r"b\.V is missing"):
        untied.load_state_dict(values)


@pytest.mark.parametrize(
    "value", [np.ones((2, 3)), 1.0, [[1.0]], tg.Tensor(np.ones((2, 3))), tg.nn.Parameter(1.0) * 2.0]
)
def test_what_is_no_parameter_does_not_take_the_place_of_one(value):
    """It would leave parameters(), and be neither trained nor saved."""
    net = tg.nn.Linear(3, 2, rng=0)
    V = net.V
    with pytest.raises(TypeError, match=r"^Linear\.V is a parameter, and a \w+ .* set its \.data"):
        net.V = value
    assert net.V is V
    net.c = None
    net.V = other = tg.Tensor(np.ones((2, 3)), requires_grad=True)
    assert net.parameters() == [other]


class Learnt(tg.nn.Module):
    def __init__(self, seed):
        self.rnn = tg.nn.RNN(1, 2, rng=seed)
        self.h0 = tg.Tensor(np.full(2, float(seed)), requires_grad=True)
        self.more = {"scales": [tg.Tensor(float(seed), requires_grad=True), np.ones(2)], "state": tg.Tensor(5.0)}


def test_a_frozen_parameter_is_a_parameter(tmp_path):
    """Also one that a net's author has made as a Tensor, alone or in a list."""
    net, other = Learnt(1), Learnt(2)
    names = ["h0", "more.scales.0", "rnn.cells.0.W", "rnn.cells.0.U", "rnn.cells.0.b"]
    for p in (net.h0, net.more["scales"][0], net.rnn.cells[0].W):
        p.requires_grad = False
    assert [name for name, _ in net.named_parameters()] == list(net.state_dict()) == names
    tg.save(tmp_path / "net.npz", net)
    for again in (other, copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        tg.load(tmp_path / "net.npz", again)
        for ours, theirs in zip(net.parameters(), again.parameters(), strict=True):
            np.testing.assert_array_equal(ours.data, theirs.data)
    assert not copy.deepcopy(net).h0.requires_grad and other.h0.requires_grad
    net.rnn(np.ones((2, 1)), [net.h0])[0][-1].sum().backward()
    assert [p.grad is None for p in net.parameters()] == [True, True, True, False, False]


@pytest.mark.parametrize("container", [list, lambda parameters: dict(enumerate(parameters))])
def test_a_parameter_that_was_frozen_before_it_was_listed_is_one(container):
    net, other = tg.nn.Module(), tg.nn.Module()
    for module in (net, other):
        module.scales = container([tg.nn.Parameter(np.ones(3))])
    frozen = tg.nn.Parameter(np.ones(3))
    frozen.requires_grad = False
    net.scales.update({1: frozen}) if isinstance(net.scales, dict) else net.scales.append(frozen)
    other.frozen = frozen
    assert [name for name, _ in net.named_parameters()] == ["scales.0", "scales.1"]
    assert [name for name, _ in other.named_parameters()] == ["scales.0", "frozen"]


@pytest.mark.parametrize("value", [np.ones(2), tg.Tensor(1.0), tg.nn.Parameter(1.0) * 2.0])
def test_what_is_no_parameter_does_not_take_the_place_of_one_in_a_list(value):
    net = tg.nn.Module()
    net.deep = {"scales": [tg.nn.Parameter(1.0), np.ones(2), tg.nn.Parameter(2.0)]}
    net.deep["scales"][2] = value
    with pytest.raises(TypeError, match=r"^Module\.deep\.scales\.2 is a parameter, and a \w+ .* give a Parameter"):
        net.parameters()
    net.deep["scales"][2] = other = tg.nn.Parameter(3.0)
    assert net.parameters()[1] is other
    net.deep["scales"].pop()
    assert len(net.parameters()) == 1


def test_a_module_lists_its_layers_and_counts_their_parameters():
    net = tg.nn.Module()
    net.rnn, net.readout = tg.nn.RNN(2, 30, num_layers=2), tg.nn.Linear(30, 1, bias=False)
    net.scale = tg.nn.Parameter(1.0)
    assert repr(net).splitlines() == [
        "Module, 2,851 parameters: scale ()",
        "  rnn: RNN, 2,820 parameters",
        "    cells.0: RNNCell, 990 parameters: W (30, 2), U (30, 30), b (30,)",
        "    cells.1: RNNCell, 1,830 parameters: W (30, 30), U (30, 30), b (30,)",
        "  readout: Linear, 30 parameters: V (1, 30)",
    ]
    net.tied = net.readout
    assert repr(net).startswith("Module, 2,851 parameters: scale ()\n")
    alone = tg.nn.Module()
    alone.scale = net.scale
    assert repr(alone) == "Module, 1 parameter: scale ()"


def test_a_state_dict_may_hold_tensors_and_is_a_mapping():
    net, other = tg.nn.Linear(2, 3, rng=0), tg.nn.Linear(2, 3, rng=1)
    net.load_state_dict(dict(other.named_parameters()))
    np.testing.assert_array_equal(net.V.data, other.V.data)
    with pytest.raises(TypeError, match=r"load_state_dict\(values\): a state dict is needed, not a NoneType"):
        net.load_state_dict(None)


def test_zero_grad_forgets():
    net = tg.nn.Linear(2, 1, rng=0)
    net(np.ones(2)).sum().backward()
    assert net.V.grad is not None
    net.zero_grad()
    assert [p.grad for p in net.parameters()] == [None, None]


def test_linear_is_v_h_plus_c():
    net = tg.nn.Linear(3, 2, rng=0)
    net.c.data[:] = [1.0, 2.0]
    h = np.random.default_rng(1).standard_normal((5, 3))
    np.testing.assert_allclose(net(h).data, h @ net.V.data.T + net.c.data, rtol=1e-15)
    assert net(h).name == "y"


def test_linear_without_bias():
    net = tg.nn.Linear(3, 2, bias=False, rng=0)
    assert net.c is None and net.parameters() == [net.V]


@pytest.mark.parametrize("shape", [(), (4,), (3, 4)])
def test_linear_names_its_matrix_and_the_shapes(shape):
    with pytest.raises(tg.ShapeError, match=r"^linear\(V of shape \(2, 3\), leaf of shape \(.*\)\): "):
        tg.nn.Linear(3, 2)(np.ones(shape))


@pytest.mark.parametrize("size", [0, -1, 2.0, "3", True])
def test_sizes_are_positive_integers(size):
    with pytest.raises((TypeError, ValueError), match="a whole number from 1 up is needed"):
        tg.nn.Linear(size, 1)
    with pytest.raises((TypeError, ValueError), match="a whole number from 1 up is needed"):
        tg.nn.RNNCell(1, size)
