import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.algebra.notation import Names, columns_of, steps_of
from tinygrad_rnn.algebra.writer import Writer
from tinygrad_rnn.backward import topological_order

XS = np.random.default_rng(0).standard_normal((2, 2))


def readout(h):
    return tg.nn.half_squared_error(tg.nn.Linear(3, 1, rng=0)(h), np.ones(1))


def two_nets():
    net, other = tg.nn.RNN(2, 3, rng=0), tg.nn.RNN(2, 3, rng=1)
    return readout(net(XS)[0][-1] + other(XS)[0][-1]), other.cells[0].U


def one_net_on_two_sequences():
    net = tg.nn.RNN(2, 3, rng=0)
    return readout(net(XS)[0][-1] - net(XS)[0][-1]), net.cells[0].U


def two_losses():
    net = tg.nn.RNN(2, 3, rng=0)
    (_, h), _ = net(XS)
    return readout(h) + readout(h), net.cells[0].U


def a_state_called_as_a_parameter():
    U, h = tg.nn.Parameter(np.eye(2), name="h"), tg.Tensor(np.ones(2), name="x")
    for t in (1, 2, 3):
        h = tg.label(tg.tanh(U @ h), "h", t)
    return tg.sum(h), U


def gradients_of_two_nets():
    loss, U = two_nets()
    (dU,) = tg.grad(loss, [U], create_graph=True)
    return tg.label(tg.sum(tg.square(dU)), "R"), U


def letters_of_the_texts():
    """What its user calls y and s are other things in the texts: wildml has y for the target, state has s for h."""
    U, V = tg.nn.Parameter(np.eye(3), name="U"), tg.nn.Parameter(np.ones((1, 3)), name="V")
    h, s = (tg.label(tg.Tensor(np.ones(3)), name, 0) for name in "hs")
    for t in (1, 2):
        s = tg.label(0.5 * s, "s", t)
        h = tg.label(tg.tanh(U @ h + s), "h", t)
    return tg.nn.half_squared_error(tg.label(V @ h, "y"), np.ones(1)), U


def names_that_are_set_alike():
    """W, and W as in LaTeX."""
    a, b = tg.nn.Parameter(np.eye(2), name="W"), tg.nn.Parameter(np.ones((2, 2)), name="$W$")
    h = tg.label(tg.tanh(a @ (b @ tg.Tensor(np.ones(2), name="x"))), "h", 2)
    return tg.sum(h), a


GRAPHS = [two_nets, one_net_on_two_sequences, two_losses, a_state_called_as_a_parameter, gradients_of_two_nets]


@pytest.mark.parametrize("graph, notation", [
    *((graph, "interdb") for graph in GRAPHS), (names_that_are_set_alike, "interdb"),
    (letters_of_the_texts, "wildml"), (letters_of_the_texts, "state"),
    (letters_of_the_texts, tg.draw.Notation({"h": "a", "Y": "y"})),
])  # fmt: skip
@pytest.mark.parametrize("view", [tg.draw.forward, tg.draw.backward])
def test_no_name_stands_for_two_nodes_of_a_figure(graph, notation, view):
    loss, _ = graph()
    named = [node for node in view(loss, notation=notation).nodes if node.kind not in ("sum", "operation")]
    tensors = len({x for x in topological_order(loss) if x.name is not None})
    labels = {(node.label, node.kind == "parameter" and node.step is not None) for node in named}
    if view is tg.draw.forward:
        assert len({node.label for node in named}) >= tensors
    else:
        assert len(labels) == len(named) or graph is gradients_of_two_nets


@pytest.mark.parametrize("graph", GRAPHS[:4])
def test_a_caption_calls_nodes_as_the_figure_does(graph):
    loss, U = graph()
    step = 2
    figure = tg.draw.forward(loss, highlight=(U, step))
    labels = {node.label for node in figure.nodes}
    of = Writer(Names(topological_order(loss)))
    for x in topological_order(loss):
        if x.name is not None and (x.step is not None or x.is_leaf):
            assert of.variable(x) in labels, of.variable(x)
    told = [
        word for word in figure.caption.replace("(", " ").replace(")", " ").split() if "⁽" in word and "∂" not in word
    ]
    assert told and {word.strip("ᵗ").removeprefix("f′") for word in told} <= labels


def test_names_are_told_apart_by_primes_the_parameters_last():
    loss, U = a_state_called_as_a_parameter()
    of = Writer(Names(topological_order(loss)))
    assert of.expression(loss) == "Σ h⁽³⁾" and of.expression(loss.inputs[0]) == "f(h′ h⁽²⁾)"
    assert tg.bptt.expansion(loss, U)[2].derivatives.endswith(r"\frac{\partial^{+} h^{(3)}}{\partial h'}")


def test_the_states_of_two_lstms_drawn_as_pairs_keep_the_names_of_their_nets():
    net = tg.nn.Bidirectional(tg.nn.LSTM(2, 3, rng=0, name="f"), tg.nn.LSTM(2, 3, rng=1, reverse=True, name="b"))
    hs, _ = net(np.ones((2, 2)))
    labels = [node.label for node in tg.draw.forward(tg.sum(sum(hs)), level="states").nodes if node.kind == "state"]
    pairs = [f"(h, c)_{net}⁽{t}⁾" for net, steps in (("b", "¹²³"), ("f", "⁰¹²")) for t in steps]
    assert len(labels) == len(pairs) and set(labels) == set(pairs)


def test_the_gradients_of_a_nameless_parameter_are_told_apart_by_their_steps():
    W, h = tg.Tensor(np.eye(2), requires_grad=True), tg.Tensor(np.ones(2), name="x")
    for t in (1, 2):
        h = tg.label(tg.tanh(W @ h), "h", t)
    labels = [node.label for node in tg.draw.backward(tg.sum(h)).nodes if node.kind == "parameter"]
    assert labels == ["dA⁽¹⁾", "dA⁽²⁾", "dA"]


def test_an_output_without_a_name_is_none_of_its_summands():
    loss, _ = two_losses()
    assert Writer(Names(topological_order(loss))).expression(loss) == "L + L′"
    assert tg.draw.forward(loss).nodes[-1].label == "L′′"


def test_an_input_of_two_readers_keeps_its_step():
    net, xs = tg.nn.RNN(2, 3, rng=0), [tg.Tensor(x) for x in XS]
    hs, _ = net(xs)
    total = hs[0]
    for t, h in enumerate(hs, 1):  # the second reads the inputs again, each at both steps
        total = tg.label(total + h * tg.sum(xs[0]) * tg.sum(xs[1]), "s", t)
    labels = {node.label for node in tg.draw.forward(tg.sum(total)).nodes}
    assert {"x⁽¹⁾", "x⁽²⁾"} <= labels and "x" not in labels


def test_a_readout_belongs_to_the_step_that_it_reads_and_a_parameter_to_its_first_use():
    net, readout = tg.nn.RNN(2, 3, rng=0), tg.nn.Linear(3, 1, rng=0)
    hs, _ = net(np.ones((3, 2)))
    ys = [readout(h) for h in hs]
    order = topological_order(ys[0].sum() + ys[1].sum() + ys[2].sum())
    steps, (columns, drawn, written) = steps_of(order), columns_of(order)
    assert [steps[y] for y in ys] == [columns[y] for y in ys] == [written[y] for y in ys] == drawn == [1, 2, 3]
    for x in net.parameters():
        assert steps[x] == 1 and columns[x] is None and x not in written


def written(nodes, notation="interdb"):
    """The name, the step and the primes of each node."""
    names = Names(nodes, notation=notation)
    return [(x.name, x.step, names.prime(x)) for x in nodes if x.name in ("h", "s") and not x.is_leaf]


@pytest.mark.parametrize("lengths", [(3, 2), (2, 3), (3, 1), (1, 3), (3, 3)])
def test_a_state_has_one_name_in_all_steps(lengths):
    net = tg.nn.RNN(2, 3, rng=0)
    a, b = (net(np.ones((n, 2)))[0] for n in lengths)
    found = written(topological_order(tg.sum(a[-1] - b[-1])))
    first, second = ([("h", t + 1, prime) for t in range(n)] for n, prime in zip(lengths, ("", "′"), strict=True))
    assert found == first + second


def test_two_states_with_one_letter_have_one_name_each_in_all_steps():
    class Slow(tg.nn.Cell):
        state_names = ("h", "s")

        def step(self, x, h, s):
            h = tg.tanh(tg.linear(self.U, h) + s)
            return h, 0.9 * s + 0.1 * tg.linear(self.W, x) * h

    hs, _ = tg.nn.Recurrent(Slow, 2, 3, rng=0)(np.ones((4, 2)))
    primes = {(name, prime) for name, _, prime in written(topological_order(hs[-1]), "state")}  # which writes s for h
    assert primes in ({("h", ""), ("s", "′")}, {("h", "′"), ("s", "")})
