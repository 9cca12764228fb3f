"""Reverse-mode differentiation of a recorded graph.

- `topological_order(*outputs)`: every node the outputs depend on, inputs before what is made from them.
- `sweep(output, cotangent)`: the chain rule, from the output back to the leaves; everything else here is a use of it.
- `grad(output, inputs)` returns gradients; `backward`, a method of Tensor, adds them to `.grad` of the leaves.

The same rules run on arrays, which gives the gradient, or on Tensors (`create_graph=True`), which gives the gradient as
a graph that can be drawn and differentiated again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from heapq import heappop, heappush
from operator import attrgetter
from typing import Any

import numpy as np

from tinygrad_rnn import checks
from tinygrad_rnn.errors import AnomalyError, ShapeError
from tinygrad_rnn.primitives import getitem
from tinygrad_rnn.primitives import sum_ as sum_over
from tinygrad_rnn.tensor import Tensor, as_tensor, bare, describe, is_recording, leaves_the_graph, time_step, watcher

_born = attrgetter("born")


def topological_order(*outputs: Tensor) -> list[Tensor]:
    """Every Tensor that the outputs depend on, and they themselves, in the order in which they were made.

    Inputs are older than what is made of them, so they come first. A reverse sweep must not hand on a node's cotangent
    before all of the node's uses have added to it; going through this list backwards, none has been missed. Nothing is
    recursive: depth is bounded by memory only.
    """
    found = list(dict.fromkeys(outputs))
    seen = set(found)
    for node in found:  # which grows as it goes
        for x in node.inputs:
            if x not in seen:
                seen.add(x)
                found.append(x)
    found.sort(key=_born)
    return found


def sweep(output: Tensor, cotangent: Any, until: Collection[Tensor] = frozenset()) -> Iterator[tuple[Tensor, Any]]:
    """The chain rule, from the output to the leaves: yields (node, dL/dnode), each once and complete.

    The cotangent of x is the sum over x's uses, each the use's cotangent times its local derivative (interdb
    7.2.3). Where x is used once per time step, that sum is backpropagation through time: eqs. 7.7 to 7.9.

    Nodes come in the reverse of the order in which they were made: whatever uses a node is younger than it, and has
    added to its cotangent by then. Each cotangent is freed as the sweep passes it.

    Args:
        cotangent: dL/doutput. An array gives arrays; a Tensor gives Tensors, recording the sweep as a graph.
        until: nodes that the sweep does not go beyond, but for the output itself.
    """
    recorded = isinstance(cotangent, Tensor)
    watch = watcher.get()
    cotangents = {output: cotangent}
    waiting = [(-output.born, output)]  # those that have a cotangent, as a heap: the youngest is first
    owned = set()  # those whose cotangent is an array made here, which can be added to in place
    while waiting:
        _, node = heappop(waiting)
        g = cotangents.pop(node)
        value = node.value
        if g.shape != value.shape:
            g = fit(g, node)
        if watch is not None:
            watch.gradient(node, bare(g))
        yield node, g
        primitive = node.primitive
        if primitive is None or (until and node in until and node is not output):
            continue
        if recorded:
            _check_unchanged(node)
            value, arguments = node, (*node.inputs, *node.static)
        else:
            arguments = node.arguments
        rules = primitive.rules(len(node.inputs)) if primitive.variadic else primitive.vjps
        for x, vjp in zip(node.inputs, rules):  # noqa: B905 - as many rules as inputs, by the table's making
            if not x._requires_grad:
                continue
            if primitive is getitem and x in owned and type(arguments[1]) is int:
                cotangents[x][arguments[1]] += g  # where one by one is taken from a whole, this is not done T² times
                continue
            if recorded:
                _name(g, node)
                try:
                    with time_step(node.step, node.layer):
                        term = vjp(g, value, *arguments)
                except AnomalyError as error:
                    raise watch.within(node, rules.index(vjp), bare(g), error) from error
            elif len(arguments) == 2:  # the same, in less time
                term = vjp(g, value, arguments[0], arguments[1])
            else:
                term = vjp(g, value, *arguments)
            if watch is not None:
                watch.term(node, rules.index(vjp), bare(g), bare(term))
            if term.dtype is not x.value.dtype:
                term = _in_dtype(term, x)
            known = cotangents.get(x)
            if known is None:
                cotangents[x] = term
                heappush(waiting, (-x.born, x))
            elif known.shape != term.shape:
                cotangents[x] = fit(known, x) + fit(term, x)
                owned.discard(x)  # what was summed over may be a NumPy scalar now, which += does not change in place
            elif x in owned:
                known += term
            else:
                cotangents[x] = known + term
                if known.ndim and not recorded:  # NumPy's sum of two arrays without axes is no array
                    owned.add(x)


def passed_back(node: Tensor, i: int, g: np.ndarray) -> np.ndarray:
    """What a node passes back to its input i: its cotangent g times the local derivative, one term of a sum."""
    primitive = node.primitive
    rules = primitive.rules(len(node.inputs)) if primitive.variadic else primitive.vjps
    return fit(rules[i](g, node.value, *node.arguments), node.inputs[i])


class GradientName(str):
    """The name of a recorded gradient: dh, `of` what is called h, and was `born` with that number."""

    of: str
    born: int | None

    def __new__(cls, of: str, born: int | None = None) -> GradientName:
        """The name d`of`."""
        name = super().__new__(cls, f"d{of}")
        name.of, name.born = of, born
        return name

    def __getnewargs__(self) -> tuple[str]:
        """What a copy is made of, which belongs to no graph."""
        return (self.of,)


def _name(g: Tensor, node: Tensor) -> None:
    """Call the recorded gradient of a variable h dh, so that a graph of gradients can be read."""
    if node.name is not None and g.name is None and g.primitive is not None:
        g.name, g.step, g.layer = GradientName(node.name, node.born), node.step, node.layer


def _check_unchanged(node: Tensor) -> None:
    """A graph of gradients is made of the inputs themselves, so they must hold what the node was made of."""
    for x, array in zip(node.inputs, node.arguments, strict=False):
        if x.value is not array and not np.array_equal(x.value, array, equal_nan=True):
            raise ValueError(
                f"{describe(x)} has changed since {describe(node)} was made of it; a graph of gradients needs the "
                "value that it had: run the forward pass again"
            )


def fit(g: Any, x: Tensor) -> Any:
    """A rule's result as a cotangent of x: in its dtype, and summed over the axes along which x was broadcast."""
    g, shape = _in_dtype(g, x), x.value.shape
    if g.shape != shape:
        extra = g.ndim - len(shape)
        if extra:
            g = sum_over(g, 0 if extra == 1 else tuple(range(extra)), False)
        if g.shape != shape:
            g = sum_over(g, tuple(a for a, n in enumerate(shape) if n == 1 and g.shape[a] != 1), True)
        if g.shape != shape:
            raise ShapeError(f"a rule has made a cotangent of shape {g.shape} for {describe(x)}")
    return g


def _in_dtype(g: Any, x: Tensor) -> Any:
    """A rule's result in the dtype of x, so that sums of cotangents do not depend on which of them came first."""
    return g if g.dtype == x.dtype else g.astype(x.dtype)


def grad(
    output: Tensor,
    inputs: Tensor | Sequence[Tensor],
    grad_output: Any = None,
    create_graph: bool = False,
) -> tuple[Tensor, ...]:
    """The gradients d(output)/d(input), one Tensor per input, leaves or nodes; `.grad` is left alone.

    An input that the output does not depend on has the gradient zero.

    >>> x = Tensor(3.0, requires_grad=True)
    >>> (dx,) = grad(x**3, x, create_graph=True)
    >>> (ddx,) = grad(dx, x)
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
    if create_graph and not is_recording():
        raise ValueError("grad(create_graph=True): inside no_grad() nothing is recorded")
    inputs = tuple(inputs) if isinstance(inputs, Iterable) and not isinstance(inputs, Tensor) else (inputs,)
    for x in inputs:
        checks.instance("grad(output, inputs)", x, Tensor)
        if not x.requires_grad:
            raise ValueError(f"grad(output, inputs): {describe(x)} does not require a gradient")
    cotangent = backward_start("grad(output, ...)", output, grad_output)
    if not create_graph:
        leaves_the_graph(
            "grad() without create_graph=True", "create the graph, and .detach() what shall be no part of it"
        )
    wanted = set(inputs)
    found = {}
    for node, g in sweep(output, as_tensor(cotangent) if create_graph else bare(cotangent)):
        if node in wanted:
            found[node] = g
            if create_graph:
                _name(found[node], node)
    return tuple(as_tensor(found[x] if x in found else np.zeros_like(x.value)) for x in inputs)


def backward(output: Tensor, grad: Any = None) -> None:
    """Add d(output)/d(leaf), times the cotangent `grad`, to `.grad` of every leaf that requires a gradient.

    To all of them, or to none if something is wrong; only Ctrl-C can come while they are added. This is the method
    `Tensor.backward`.

    >>> x = Tensor([1.0, 2.0], requires_grad=True)
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
    watch, found = watcher.get(), []
    for node, g in sweep(output, cotangent):
        if node.primitive is None:
            g = np.array(g) if node.grad is None else np.asarray(node.grad + g)
            if watch is not None:
                watch.gradient(node, g)
            found.append((node, g))
    for leaf, g in found:
        leaf.grad = g


Tensor.backward = backward


def backward_start(call: str, output: Tensor, cotangent: Any = None) -> Any:
    """The cotangent that the sweep starts from, checked: an array or a Tensor."""
    checks.instance(call, output, Tensor)
    if not output.requires_grad:
        raise ValueError(
            f"{call}: {describe(output)} does not require a gradient; make its inputs with requires_grad=True, "
            "and not inside no_grad()"
        )
    if cotangent is None:
        if output.size != 1:
            raise ValueError(
                f"{call}: {describe(output)} is not a scalar; reduce it to one, as with .sum(), or pass its "
                "cotangent, an array of the same shape"
            )
        return np.ones(output.shape, output.dtype)
    cotangent = as_tensor(cotangent)
    if cotangent.shape != output.shape:
        raise ShapeError(f"{call}: the cotangent of {describe(output)} has shape {cotangent.shape}")
    return cotangent if cotangent.dtype == output.dtype else cotangent.astype(output.dtype)
