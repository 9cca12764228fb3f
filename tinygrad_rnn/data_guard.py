"""The guard of `.data`: a graph keeps the values that it was made of, whatever is written to a leaf's array later.

A leaf lends its array to be written to. What is written cannot be seen, but what refers to the array can be counted: as
long as anything else does, such as a view of it, or a view of this, a graph that is made of the leaf holds a copy.
Tensors are built on this module, and are of any type here.
"""

import sys
import weakref
from typing import Any

import numpy as np

from tinygrad_rnn import checks
from tinygrad_rnn.errors import ShapeError, describe
from tinygrad_rnn.observer import leaves_the_graph


class Notes(dict[int, tuple[Any, weakref.ref]]):
    """Notes on objects, by their ids, kept as long as these live."""

    def add(self, x: Any, note: Any) -> None:
        """Note something of an object, in the place of what was noted before; it must not refer to the object."""
        key = id(x)
        self[key] = note, weakref.ref(x, lambda _: self.pop(key, None))

    def of(self, x: Any) -> Any:
        """The note on an object, or None."""
        return self[id(x)][0] if id(x) in self else None


loans = Notes()  # of each leaf that has lent its array, the copy of it that graphs hold meanwhile


def look_at_data(x: Any) -> np.ndarray:
    """A view of the value, of a leaf to write to as well: graphs that were made of it keep what it was."""
    leaves_the_graph("data", x=x)
    if x.primitive is None and id(x) not in loans:
        loans.add(x, x.value)  # which graphs may hold already
        x.value = x.value.copy()
    view = x.value.view()
    view.setflags(write=x.primitive is None)
    return view


def set_data(leaf: Any, data: Any) -> None:
    """Give a leaf other data, of its shape; graphs that were made of it keep what it was."""
    if leaf.primitive is not None:
        raise ValueError(f"{describe(leaf)} was made by {leaf.primitive.name}; only the data of a leaf can be set")
    if id(leaf) in loans and getattr(data, "__array_interface__", None) == leaf.value.__array_interface__:
        return  # as after t.data -= x, which has changed it in place
    value = checks.real_array(data)
    if value.shape != leaf.shape:
        raise ShapeError(f"the data of {describe(leaf)} cannot have the shape {value.shape}; make a new Tensor")
    if leaf.requires_grad and value.dtype.kind != "f":
        raise TypeError(f"the data of {describe(leaf)}, which requires a gradient, cannot be {value.dtype}")
    leaf.value = value
    loans.pop(id(leaf), None)


def array_to_hold(x: Any, inputs: tuple) -> np.ndarray:
    """The array that a leaf has lent, as a graph holds it: nobody can write to it.

    To be called while the leaf and the tuple of the primitive's arguments refer to the array, the tuple once for each
    input that is this leaf: whatever else refers to it has been lent it.
    """
    known = 2 + [y is x for y in inputs].count(True)  # 2 are the leaf and the call of getrefcount itself
    if sys.getrefcount(x.value) == known:
        del loans[id(x)]
        return x.value
    if not np.array_equal(loans.of(x), x.value):
        loans.add(x, x.value.copy())  # one for all uses before the next change
    return loans.of(x)


def check_unchanged(node: Any) -> None:
    """Check that a node's inputs hold what it was made of: a graph of gradients is made of these themselves.

    Raises:
        ValueError: a leaf's data has changed since.
    """
    for x, array in zip(node.inputs, node.arguments, strict=False):
        if x.value is not array and not np.array_equal(x.value, array, equal_nan=True):
            changed = f"{describe(x)} has changed since {describe(node)} was made of it"
            raise ValueError(f"{changed}; a graph of gradients needs the former value: run the forward pass again")
