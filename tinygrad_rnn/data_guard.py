"""The guard of `.data`: a graph keeps the values that it was made of, whatever is written to a leaf's array later.

A leaf lends views of its array to write to. When a graph is made of the leaf next, those that are still there go
read-only, and the graph holds an array that none of them reaches. Views of these views cannot be found, but counted:
as long as there are any, they write to the leaf, and the graph holds a copy.
"""

from __future__ import annotations

import sys
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_rnn import checks
from tinygrad_rnn.descriptions import describe
from tinygrad_rnn.errors import ShapeError
from tinygrad_rnn.observer import leaves_the_graph

if TYPE_CHECKING:
    from tinygrad_rnn.tensor import Tensor


class Loan:
    """The views that a leaf has lent, by weak references, and what graphs hold while there are views of these."""

    __slots__ = ("copy", "views")

    def __init__(self) -> None:
        self.views: list[weakref.ref] = []
        self.copy: np.ndarray | None = None
        loans.add(id(self))

    def __del__(self) -> None:
        loans.discard(id(self))


loans: set[int] = set()  # those that there are: as long as there is none, nobody asks for a leaf's own


def look_at_data(x: Tensor) -> np.ndarray:
    """The value as a NumPy array, to read or, on a leaf, to write: `t.data -= 0.1 * t.grad`, `t.data[0] = 1`.

    A graph keeps the values that it was made of, whatever happens to a leaf later. So the first look at a leaf that a
    graph may hold is at a copy, and when a graph is made of the leaf next, the array that was looked at goes read-only
    (ask for `.data` again to write). What was computed is looked at through a read-only view.
    """
    leaves_the_graph("data", x=x)
    if x.primitive is None and x.loan is None:
        x.value, x.loan = x.value.copy(), Loan()
    view = x.value.view()
    if x.primitive is None:
        x.loan.views = [*(reference for reference in x.loan.views if reference() is not None), weakref.ref(view)]
    else:
        view.setflags(write=False)
    return view


def set_data(leaf: Tensor, data: Any) -> None:
    """Give a leaf other data, of its shape; graphs that were made of it keep what it was."""
    if leaf.primitive is not None:
        raise ValueError(f"{describe(leaf)} was made by {leaf.primitive.name}; only the data of a leaf can be set")
    if leaf.loan and isinstance(data, np.ndarray) and data.base is leaf.value and data.shape == leaf.shape:
        return  # as after t.data -= x, which has changed it in place
    value = checks.real_array(data)
    if value.shape != leaf.shape:
        raise ShapeError(f"the data of {describe(leaf)} cannot have the shape {value.shape}; make a new Tensor")
    if leaf.requires_grad and value.dtype.kind != "f":
        raise TypeError(f"the data of {describe(leaf)}, which requires a gradient, cannot be {value.dtype}")
    leaf.value, leaf.loan = value, None


def array_to_hold(x: Tensor, inputs: tuple[Tensor, ...]) -> np.ndarray:
    """The array of one of a primitive's inputs for a graph to hold: nobody can write to it.

    To be called while the leaf, its views and the tuple of the primitive's arguments refer to the array, the tuple once
    for each input that is this leaf: whatever else refers to it is a view of a view.
    """
    loan = x.loan
    if loan is None:
        return x.value
    views = [view for view in (reference() for reference in loan.views) if view is not None]
    known = 2 + len(views) + [y is x for y in inputs].count(True)  # 2 are the leaf and the call of getrefcount itself
    if sys.getrefcount(x.value) > known:
        if loan.copy is None or not np.array_equal(loan.copy, x.value):
            loan.copy = x.value.copy()  # one for all uses before the next change
        return loan.copy
    for view in views:
        view.setflags(write=False)
    if views:  # a buffer of theirs may still be written to
        x.value = x.value.copy()
    x.loan = None
    return x.value


def check_unchanged(node: Tensor) -> None:
    """Check that a node's inputs hold what it was made of: a graph of gradients is made of these themselves.

    Raises:
        ValueError: a leaf's data has changed since.
    """
    for x, array in zip(node.inputs, node.arguments, strict=False):
        if x.value is not array and not np.array_equal(x.value, array, equal_nan=True):
            raise ValueError(
                f"{describe(x)} has changed since {describe(node)} was made of it; a graph of gradients needs the "
                "value that it had: run the forward pass again"
            )
