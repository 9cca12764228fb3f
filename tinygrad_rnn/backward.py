"""Reverse-mode differentiation of a recorded graph.

- `terms(node, g)`: the terms that a node passes back to its inputs, the one place where rules of the table are applied.
- `sweep({output: cotangent})`: the chain rule, from outputs back to the leaves; it adds up terms.
- `grad(output, inputs)` returns gradients; `backward`, a method of Tensor, adds them to `.grad` of the leaves.

The same rules run on arrays, which gives the gradient, or on Tensors (`create_graph=True`), which gives the gradient as
a graph that can be drawn and differentiated again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from heapq import heappop, heappush
from operator import attrgetter
from typing import Any

import numpy as np

from tinygrad_rnn import checks
from tinygrad_rnn.context import recording, time_step
from tinygrad_rnn.data_guard import check_unchanged
from tinygrad_rnn.errors import ShapeError, describe
from tinygrad_rnn.observer import changed_by_hooks, leaves_the_graph, observer
from tinygrad_rnn.primitives import sum_ as sum_over
from tinygrad_rnn.tensor import GradientName, Tensor, as_tensor, bare, reached


def topological_order(*outputs: Tensor) -> list[Tensor]:
    """Every Tensor that the outputs depend on, and they themselves, in the order in which they were made.

    Inputs are older than what is made of them, so they come first.
    """
    return sorted(reached(outputs), key=attrgetter("born"))


def terms(node: Tensor, g: Any, i: int | None = None) -> list[tuple[Tensor, Any]]:
    """The terms that a node passes back: pairs (x, g times the node's local derivative with respect to its input x).

    Args:
        g: the node's cotangent. An array gives arrays; a Tensor gives Tensors, recording them.
        i: the number of the only input wanted; all that require a gradient if not given.
    """
    primitive, inputs = node.primitive, node.inputs
    if primitive is None:
        return []
    rules = map(primitive.rule, range(len(inputs))) if primitive.variadic else primitive.vjps
    recorded = isinstance(g, Tensor)
    arguments = (g, node, *inputs, *node.static) if recorded else (g, node.value) + node.arguments  # noqa: RUF005
    if i is not None:
        return [(inputs[i], primitive.rule(i)(*arguments))]
    found = []  # by a loop, which before Python 3.12 takes less time than a comprehension
    for x, vjp in zip(inputs, rules):  # noqa: B905 - what an index holds has no rule
        if x._requires_grad:
            found.append((x, vjp(*arguments)))
    return found


def sweep(starts: Mapping[Tensor, Any], until: Collection[Tensor] = frozenset()) -> Iterator[tuple[Tensor, Any]]:
    """The chain rule, from outputs to the leaves: yields (node, dL/dnode), each once and complete.

    The cotangent of x is the sum over x's uses, each the use's cotangent times its local derivative (interdb
    7.2.3). Where x is used once per time step, that sum is backpropagation through time: eqs. 7.7 to 7.9.

    Nodes come in the reverse of the order in which they were made: whatever uses a node is younger than it, and has
    added to its cotangent by then. Each cotangent is freed as the sweep passes it.

    Args:
        starts: the outputs, each with its cotangent. Arrays give arrays; Tensors give Tensors, recording the sweep as a
            graph.
        until: nodes that the sweep does not go beyond, but for the outputs. Their hooks see nothing, for what comes to
            them here may not be all of their gradient.
    """
    recorded = any([isinstance(g, Tensor) for g in starts.values()])
    pass_back: Callable[[Tensor, Any], Iterable] = _recorded_terms if recorded else terms
    observing = observer.get()
    if observing is not None:
        pass_back = partial(observing.swept, pass_back)
    sums = {x.born: (x, g) for x, g in starts.items()}  # by age, each node that terms have come to, and their sum
    own: set[int] = set()  # the ages of those whose sum nothing else holds, so that terms are added to it in place
    ages = sorted([-x.born for x in starts])  # a heap: the youngest node comes first
    while ages:
        node, g = sums.pop(-heappop(ages))
        if g.shape != node.value.shape:
            g = fit(g, node)
        if node.hooks and node not in until:
            g = _in_dtype(changed_by_hooks(node, g), node)
        yield node, g
        if until and node in until and node not in starts:
            continue
        primitive = node.primitive
        if primitive is not None and primitive.add_to is not None and node.inputs[0].born in own:
            x, total = sums[node.inputs[0].born]  # T elements of a whole do not make T arrays of the size of the whole
            if isinstance(total, np.ndarray) and total.shape == x.value.shape:
                primitive.add_to(total, g, *node.arguments)
                continue
        for x, term in pass_back(node, g):
            if term.dtype is not x.value.dtype:
                term = _in_dtype(term, x)
            born, total = x.born, term
            if born not in sums:
                heappush(ages, -born)
            else:
                total = sums[born][1]
                if total.shape != term.shape:
                    total, term = fit(total, x), fit(term, x)
                if born in own:
                    total += term
                else:
                    total = total + term
                    own.add(born)
            sums[born] = x, total


def _recorded_terms(node: Tensor, g: Tensor, i: int | None = None) -> list[tuple[Tensor, Tensor]]:
    """Terms as a graph, of the node's step and layer; they are made of the inputs themselves, as the node was."""
    check_unchanged(node)
    if not node.is_leaf:
        name_gradient(g, node)
    with time_step(node.step, node.layer):
        return terms(node, g, i)


def name_gradient(g: Tensor, node: Tensor) -> None:
    """Call the recorded gradient of a variable h dh, so that a graph of gradients can be read."""
    if node.name is not None and g.name is None and g.primitive is not None:
        g.name, g.step, g.layer = GradientName(node.name, node.born), node.step, node.layer


def fit(g: Any, x: Tensor) -> Any:
    """A rule's result as a cotangent of x: in its dtype, and summed over the axes along which x was broadcast."""
    g, shape = _in_dtype(g, x), x.value.shape
    if new := tuple(range(g.ndim - len(shape))):
        g = sum_over(g, new if len(new) > 1 else 0, False)
    if ones := tuple(a for a, (n, m) in enumerate(zip(shape, g.shape, strict=False)) if n == 1 != m):
        g = sum_over(g, ones, True)
    if g.shape != shape:
        raise ShapeError(f"a rule has made a cotangent of shape {g.shape} for {describe(x)}")
    return g


def _in_dtype(g: Any, x: Tensor) -> Any:
    """A rule's result in the dtype of x, so that sums of cotangents do not depend on which of them came first."""
    return g if g.dtype == x.value.dtype else g.astype(x.value.dtype)


def grad(
    output: Tensor, inputs: Tensor | Sequence[Tensor], grad_output: Any = None, create_graph: bool = False
) -> tuple[Tensor, ...]:
    """The gradients d(output)/d(input), one Tensor per input, leaves or nodes; `.grad` is left alone.

    An input that the output does not depend on has the gradient zero.

    >>> x = tg.Tensor(3.0, requires_grad=True)
    >>> (dx,) = tg.grad(x**3, x, create_graph=True)
    >>> (ddx,) = tg.grad(dx, x)
    >>> dx.item(), ddx.item()
    (27.0, 18.0)

    Args:
        grad_output: the cotangent of the output, of its shape; 1 for a scalar if not given.
        create_graph: record the gradients as a graph, so that they can be drawn and differentiated.

    Raises:
        TypeError: the output or an input is not a Tensor.
        ValueError: no graph leads to the output, an input does not require a gradient, `grad_output` is missing for
            an output that is not a scalar, or `create_graph` is asked for inside `no_grad()`.
    """
    if create_graph and not recording.get():
        raise ValueError("grad(create_graph=True): inside no_grad() nothing is recorded")
    inputs = tuple(inputs) if isinstance(inputs, Iterable) and not isinstance(inputs, Tensor) else (inputs,)
    for x in inputs:
        checks.instance("grad(output, inputs)", x, Tensor)
        if not x.requires_grad:
            raise ValueError(f"grad(output, inputs): {describe(x)} does not require a gradient")
    cotangent = backward_start("grad(output, ...)", output, grad_output)
    if not create_graph:
        leaves_the_graph("grad() without create_graph=True", "create the graph, and .detach() what is no part of it")
    found: dict[Tensor, Any] = {x: np.zeros_like(x.value) for x in inputs}
    for node, g in sweep({output: as_tensor(cotangent) if create_graph else bare(cotangent)}):
        if node in found:
            found[node] = g
            if create_graph:
                name_gradient(g, node)
    return tuple([as_tensor(found[x]) for x in inputs])


def backward(output: Tensor, grad: Any = None) -> None:
    """Add d(output)/d(leaf), times the cotangent `grad`, to `.grad` of every leaf that requires a gradient.

    To all of them, or to none if something is wrong; only Ctrl-C can come while they are added. This is the method
    `Tensor.backward`.

    >>> x = tg.Tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    array([2., 4.])

    Args:
        grad: the cotangent of the output, of its shape; 1 for a scalar if not given.

    Raises:
        ValueError: no graph leads here, or `grad` is missing for an output that is not a scalar.
    """
    cotangent = bare(backward_start("backward()", output, grad))
    leaves_the_graph("backward()", "return the loss: the program has a backward() of its own")
    observing, found = observer.get(), {}
    for node, g in sweep({output: cotangent}):
        if node.primitive is None:
            found[node] = g = np.array(g) if node.grad is None else np.asarray(node.grad + g)
            if observing is not None:
                observing.swept(terms, node, g)  # a leaf passes nothing back; the observer sees its .grad
    for leaf, g in found.items():
        leaf.grad = g


Tensor.backward = backward


def backward_start(call: str, output: Tensor, cotangent: Any = None) -> Any:
    """The cotangent that the sweep starts from, checked: an array or a Tensor."""
    checks.instance(call, output, Tensor)
    if not output.requires_grad:
        instead = "make its inputs with requires_grad=True, and not inside no_grad()"
        raise ValueError(f"{call}: {describe(output)} does not require a gradient; {instead}")
    if cotangent is None and output.size != 1:
        instead = "reduce it to one, as with .sum(), or pass its cotangent, an array of the same shape"
        raise ValueError(f"{call}: {describe(output)} is not a scalar; {instead}")
    if cotangent is None:
        return np.ones(output.shape, output.dtype)
    cotangent = as_tensor(cotangent)
    if cotangent.shape != output.shape:
        raise ShapeError(f"{call}: the cotangent of {describe(output)} has shape {cotangent.shape}")
    return _in_dtype(cotangent, output)
