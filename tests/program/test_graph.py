"""Graphs: the order of their nodes, and what is left of them when nodes are replaced."""

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.program.graph import constant, depth_first, replaced, rewritten
from tinygrad_rnn.program.tracing import Run

W = tg.Tensor([1.0, 2.0], requires_grad=True, name="W")


def graph(function=lambda x: tg.sum(tg.tanh(W * x))):
    return Run(function, (np.ones(2),), [W]).graph()


def test_inputs_come_before_what_is_made_of_them():
    nodes = graph().nodes
    for i, node in enumerate(nodes):
        assert all(x.is_leaf or x in nodes[:i] for x in node.inputs)
    circle = {"a": ["b"], "b": ["c"], "c": ["a"], "d": ["a"]}
    assert depth_first("d", circle.__getitem__) == ["c", "b", "a", "d"]


def test_what_no_output_needs_any_more_is_left_out():
    before = graph()
    one = constant(1.0, before.outputs[0])
    after = replaced(before, {before.outputs[0]: one})
    assert after.outputs == (one, *before.outputs[1:]) and len(after.nodes) == len(before.nodes) - 1
    assert (after.inputs, after.parameters, after.wrt) == (before.inputs, before.parameters, before.wrt)


def test_a_rule_that_says_nothing_changes_nothing():
    before = graph()
    after = rewritten(before, lambda node, inputs: None)
    assert (after.nodes, after.outputs) == (before.nodes, before.outputs)


@pytest.mark.parametrize("value, number", [([2.0, 2.0], 2.0), ([0.0, -0.0], None), ([1, 1], None), ([], None)])
def test_the_number_that_a_constant_is(value, number):
    assert constant(np.array(value, None if value else float)).number == number
