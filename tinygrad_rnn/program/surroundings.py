"""What a function finds around it: all that its code can look at besides its arguments, and that may change.

These are the variables of its closure, the globals that it names, its defaults, and what these hold: the items of lists
and dicts, the attributes of nets, those attributes of other objects, classes and modules that the code names; and the
same for the functions there. What lies deeper is not seen: in collections of more than 100 things, in sets, in arrays
of more than 1 MB that are written to, in slots, or under a name that the code computes.
"""

from __future__ import annotations

import contextlib
import operator
import pickle
import random
import sys
import types
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from tinygrad_rnn.nn.module import Module
from tinygrad_rnn.tensor import Tensor

__all__ = ["Surroundings"]

_MOST, _LARGEST = 100, 2**20  # things in a collection, and bytes of an array, that are looked at
_LIBRARIES = {*sys.stdlib_module_names, "tinygrad_rnn", "numpy"}  # whose code looks at nothing that changes
_NUMBERS = (bool, int, float, complex, str, bytes, np.generic, type(None))
_CODE = (types.FunctionType, types.BuiltinFunctionType, types.ModuleType, property, classmethod, staticmethod)
_RANDOM = (np.random.Generator, np.random.RandomState, random.Random)


class Surroundings:
    """The places around a function, and what stands in them.

    Attributes:
        attributes, items: (owner, name or key, what stands there). sizes: of the collections.
        contents: of what changes where it stands, arrays, random generators and iterators.
    """

    def __init__(self, function: Callable):
        self.attributes: dict[tuple, tuple] = {}
        self.items: dict[tuple, tuple] = {}
        self.sizes: list[tuple[Any, int]] = []
        self.contents: list[tuple[Any, Any]] = []
        self.names: set[str] = set()  # which the code has
        self.waiting, objects, seen = [function, random._inst, np.random.mtrand._rand], [], {}
        while self.waiting:
            x = self.waiting.pop()
            if id(x) not in seen and not isinstance(x, (*_NUMBERS, Tensor)):
                seen[id(x)] = x
                if not self._look_into(x) and hasattr(x, "__dict__") and not _is_library(x):
                    objects.append(x)
            if not self.waiting:
                for x in objects:
                    self._look_at_attributes(x)
        del self.waiting

    def _look_into(self, x: Any) -> bool:
        """What a thing holds, unless it is an object with attributes."""
        if isinstance(x, types.FunctionType):
            if not _is_library(x):
                self._look_at_code(x)
        elif isinstance(x, (types.MethodType, classmethod, staticmethod)):
            self.waiting += [x.__func__, getattr(x, "__self__", None)]
        elif isinstance(x, (partial, property)):
            self.waiting += [x.fget] if isinstance(x, property) else [x.func, x.args, x.keywords]
        elif isinstance(x, (list, dict, tuple)):
            self.sizes += [] if isinstance(x, tuple) else [(x, len(x))]
            if len(x) <= _MOST:
                self._look_at(self.items, x, x if isinstance(x, dict) else dict(enumerate(x)))
        elif isinstance(x, (np.ndarray, *_RANDOM)) or hasattr(x, "__next__"):
            self.contents.append((x, _content(x)))
        else:
            kinds = [x] if isinstance(x, type) else type(x).__mro__
            self.waiting += [y for kind in kinds if not _is_library(kind) for y in (kind, *vars(kind).values())]
            return False
        return True

    def _look_at_code(self, f: types.FunctionType) -> None:
        names = set(_names_in(f.__code__))
        self.names |= names
        self.waiting += [f.__defaults__, f.__kwdefaults__]
        self._look_at(self.items, f.__globals__, {name: f.__globals__[name] for name in names & f.__globals__.keys()})
        for cell in f.__closure__ or ():
            with contextlib.suppress(ValueError):  # it is empty
                self._look_at(self.attributes, cell, {"cell_contents": cell.cell_contents})

    def _look_at_attributes(self, x: Any) -> None:
        """Those of a net, and of other objects those that the code names; of classes and modules what is no code."""
        found = vars(x) if isinstance(x, Module) else {name: vars(x)[name] for name in self.names & vars(x).keys()}
        if isinstance(x, (type, types.ModuleType)):
            found = {name: value for name, value in found.items() if not isinstance(value, _CODE)}
        self._look_at(self.attributes, x, found)

    def _look_at(self, places: dict, owner: Any, found: dict) -> None:
        for key, value in found.items():
            if (id(owner), key) not in places:
                places[id(owner), key] = owner, key, value
                self.waiting.append(value)

    def settle(self, name: str) -> None:
        """Leave out what a run of the function has changed: what it keeps.

        Raises:
            ValueError: it has changed a number or an array, has drawn a random number, or taken from an iterator.
        """
        for get, places in ((getattr, self.attributes), (operator.getitem, self.items)):
            for place, (owner, key, value) in list(places.items()):
                now = get(owner, key)
                if not _is_equal(now, value):
                    if isinstance(value, _NUMBERS) and isinstance(now, _NUMBERS):
                        raise changed(name, f": {key} was {value!r}, then {now!r}")
                    del places[place]
        for x, content in self.contents:
            if _content(x) != content:
                raise changed(name, f", and changes {'an array' if isinstance(x, np.ndarray) else repr(x)}")
        grown = {id(x) for x, size in self.sizes if len(x) != size}
        self.items = {place: found for place, found in self.items.items() if place[0] not in grown}
        self.sizes = [(x, size) for x, size in self.sizes if id(x) not in grown]
        self.contents = [(x, content) for x, content in self.contents if isinstance(x, np.ndarray)]
        self.columns = [
            (get, *map(list, zip(*places.values(), strict=True)))
            for get, places in ((getattr, self.attributes), (operator.getitem, self.items))
            if places
        ]

    def unchanged(self) -> bool:
        """Whether everything stands there as it did."""
        try:
            for get, owners, keys, values in self.columns:
                if not all(map(operator.is_, map(get, owners, keys), values)):
                    if not all(map(_is_equal, map(get, owners, keys), values)):
                        return False
        except (AttributeError, LookupError, ValueError):  # something stands there no more
            return False
        return all(len(x) == size for x, size in self.sizes) and all(x.tobytes() == old for x, old in self.contents)


def changed(name: str, what: str) -> ValueError:
    """The error that tells of a function which does not do the same when it is run twice."""
    return ValueError(
        f"compile({name}): run twice on the same inputs, it does not do the same, or not with the same numbers{what}; "
        "what is drawn at random, changes between calls, is taken from a .value or is made in another thread has to be "
        "an input"
    )


def _is_equal(x: Any, y: Any) -> bool:
    """Whether things are one, or equal numbers of one type."""
    return x is y or (type(x) is type(y) and isinstance(x, _NUMBERS) and (x == y or x != x != y != y))


def _is_library(x: Any) -> bool:
    name = getattr(x, "__module__", None) or getattr(x, "__name__", "")
    return not isinstance(x, Module) and name.partition(".")[0] in _LIBRARIES


def _names_in(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for x in code.co_consts:
        if isinstance(x, types.CodeType):
            yield from _names_in(x)


def _content(x: Any) -> Any:
    """What tells whether an array has changed, a generator has been drawn from, an iterator has gone on."""
    if isinstance(x, np.ndarray):
        return x.tobytes() if x.nbytes <= _LARGEST else None
    if isinstance(x, np.random.Generator):
        return pickle.dumps(x.bit_generator.state)
    if isinstance(x, (np.random.RandomState, random.Random)):
        return pickle.dumps(x.get_state(legacy=False)) if isinstance(x, np.random.RandomState) else x.getstate()
    frame = getattr(x, "gi_frame", None)
    local = {} if frame is None else frame.f_locals
    inside = [_content(y) if hasattr(y, "__next__") else y for y in local.values() if not isinstance(y, (Tensor, np.ndarray))]
    return repr(x), operator.length_hint(x, -1), frame and frame.f_lasti, repr(inside)
