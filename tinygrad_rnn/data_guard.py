"""The guard of `.data`: a graph keeps the values that it was made of, whatever is written to a leaf's array later.

A leaf lends views of its array to write to. When a graph is made of the leaf next, those that are still there go
read-only, and the graph holds an array that none of them reaches. Views of these views cannot be found, but counted:
as long as there are any, they write to the leaf, and the graph holds a copy.
"""

from __future__ import annotations

import sys
import weakref
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_rnn.descriptions import describe

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


def lent_view(leaf: Tensor) -> np.ndarray:
    """A view of a leaf's array to write to; the first is one of a copy, since graphs may hold the array."""
    if leaf.loan is None:
        leaf.value, leaf.loan = leaf.value.copy(), Loan()
    view = leaf.value.view()
    leaf.loan.views = [*(reference for reference in leaf.loan.views if reference() is not None), weakref.ref(view)]
    return view


def array_to_hold(x: Tensor, inputs: tuple[Tensor, ...]) -> np.ndarray:
    """The array of one of a primitive's inputs for a graph to hold: nobody can write to it."""
    loan = x.loan
    if loan is None:
        return x.value
    views = [view for view in (reference() for reference in loan.views) if view is not None]
    if sys.getrefcount(x.value) > 2 + len(views) + [y is x for y in inputs].count(True):  # there are views of the views
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
