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
def test_linear_names_the_width_it_expects(shape):
    with pytest.raises(tg.ShapeError, match=r"Linear: the input has shape .*, expected \(3,\) or \(\.\.\., 3\)"):
        tg.nn.Linear(3, 2)(np.ones(shape))


@pytest.mark.parametrize("size", [0, -1, 2.0, "3", True])
def test_sizes_are_positive_integers(size):
    with pytest.raises(ValueError, match="positive integer"):
        tg.nn.Linear(size, 1)
    with pytest.raises(ValueError, match="positive integer"):
        tg.nn.RNNCell(1, size)
