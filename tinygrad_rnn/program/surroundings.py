"""The surroundings of a function: all that its code can look at besides its arguments, and that may change.

These are the variables of its closure, its defaults, the globals that it names, and what they hold: the items of
collections, the attributes of nets, those of other objects, classes and modules that the code names; and the same for
the functions among them. What is not seen: sets, collections of more than 100 things, arrays of more than 1 MB that are
written to, the clock, what other libraries hold (a ContextVar, the environment, a file), and what goes by a name that
the code computes.
"""

import contextlib
import gc
import os
import pickle
import random
import sys
import types
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from operator import is_
from typing import Any

import numpy as np

from tinygrad_rnn.nn.module import Module
from tinygrad_rnn.tensor import Tensor

_MOST, _LARGEST = 100, 2**20  # things in a collection, and bytes of an array, that are looked at
_STANDARD = sys.stdlib_module_names
_LIBRARIES = {*_STANDARD, "tinygrad_rnn", "numpy"}  # whose code looks at nothing that changes
_NUMBERS = (bool, int, float, complex, str, bytes, np.generic, type(None))
_UNSEEN = (*_NUMBERS, Tensor, set)
_CODE = (types.FunctionType, types.BuiltinFunctionType, type, types.ModuleType)
_RANDOM = (np.random.Generator, np.random.RandomState, random.Random)


class Surroundings:
    """The surroundings of a function, as they were when it was traced.

    Attributes:
        looks: functions that give what stands at some places. there: what stood there.
        contents: what changes where it stands, arrays, random generators and iterators, and how it was.
        asks: whether the code names something that might ask the system for random bytes.
    """

    def __init__(self, *starts: Any):
        names, count = {"__call__"}, 0
        while count < len(names):  # until the code that is found names nothing more
            count, seen, self.looks = len(names), {}, []
            waiting = [*starts, random.getstate.__self__, np.random.rand.__self__]
            for x in waiting:  # which grows as it goes
                if id(x) not in seen and not isinstance(x, _UNSEEN):
                    seen[id(x)] = x
                    looks = _looks(x, names)
                    self.looks += looks
                    waiting += [y for look in looks for y in look()]
        self.there = [list(look()) for look in self.looks]
        self.contents = [(x, _content(x)) for x in seen.values() if _changes(x)]
        self.asks = "random" in names or any(map(_may_draw, seen.values()))

    def settle(self, name: str) -> None:
        """Leave out what a run of the function has changed: what it keeps.

        Raises:
            ValueError: it has changed a number or an array, has drawn a random number, or taken from an iterator.
        """
        kept = []
        for look, then in zip(self.looks, self.there, strict=True):
            now = list(look())
            differing = [pair for pair in zip(then, now, strict=False) if not _is_equal(*pair)]
            if len(now) == len(then):
                for before, after in differing:
                    if isinstance(before, _NUMBERS) and isinstance(after, _NUMBERS):
                        raise changed(name, f": {before!r} becomes {after!r}")
                kept += [] if differing else [look]
        for x, content in self.contents:
            if _content(x) != content:
                raise changed(name, f", and changes {'an array' if isinstance(x, np.ndarray) else repr(x)}")
        self.contents = [(x, content) for x, content in self.contents if isinstance(x, np.ndarray)]
        self.looks, self.there = kept, [x for look in kept for x in look()]

    def unchanged(self) -> bool:
        """Whether all stands there as it did."""
        now, there = [x for look in self.looks for x in look()], self.there
        same = len(now) == len(there) and (all(map(is_, now, there)) or all(map(_is_equal, now, there)))
        return same and (not self.contents or all(_content(x) == content for x, content in self.contents))


@contextlib.contextmanager
def without_chance(name: str, asks: bool) -> Iterator[None]:
    """A context in which nobody asks the system for random bytes, as a generator without a seed does.

    Raises:
        ValueError: somebody does. It is not seen while a profiler runs.
    """
    asked = False

    def see(frame: types.FrameType, event: str, called: Any) -> None:
        nonlocal asked
        asked = asked or (event == "c_call" and called is os.urandom)

    if not asks or sys.getprofile() is not None:
        yield
        return
    sys.setprofile(see)
    try:
        yield
    finally:
        sys.setprofile(None)
    if asked:
        raise changed(name, ", as it asks the system for random bytes")


def changed(name: str, what: str) -> ValueError:
    """The error that tells of a function which does not do the same when it is run twice."""
    return ValueError(
        f"compile({name}): run twice on the same inputs, it does not do the same, or not with the same numbers{what}; "
        "what is drawn at random, changes between calls, is taken from a .value or is made in another thread has to be "
        "an input"
    )


def _looks(x: Any, names: set[str]) -> list[Callable[[], Iterable]]:
    """Functions that give what code finds at a thing by the names in it; the thing's own code adds to these."""
    if _changes(x):
        return []
    if isinstance(x, (partial, types.MethodType, dict, list, tuple)) or not hasattr(x, "__dict__"):
        return [partial(_held, x)] if not hasattr(type(x), "__len__") or len(x) <= _MOST else []
    looks: list[Callable[[], Iterable]] = []
    if isinstance(x, types.FunctionType):
        spaces = [] if _is_library(x) else [x.__globals__]
        if spaces:
            names.update(_names_in(x.__code__))
            looks.append(lambda: [x.__defaults__, x.__kwdefaults__, *(x.__closure__ or ())])
    else:
        spaces = [vars(kind) for kind in ([x] if isinstance(x, _CODE) else type(x).__mro__) if not _is_library(kind)]
        for body in spaces:  # operators are called by no name
            operators = {name for name, y in body.items() if isinstance(y, types.FunctionType) and name[:2] == "__"}
            names.update(operators - {"__init__"})
        if isinstance(x, Module):
            looks.append(partial(_held, vars(x)))
        elif not isinstance(x, _CODE):  # which may get an attribute that its class has
            looks.append(partial(map, vars(x).get, sorted(names)))
    named = [(space, sorted(names & space.keys())) for space in spaces]
    return looks + [partial(map, space.get, some) for space, some in named if some]


def _changes(x: Any) -> bool:
    """Whether a thing changes where it stands: an array, a random generator, an iterator."""
    return isinstance(x, (np.ndarray, *_RANDOM)) or hasattr(type(x), "__next__")


def _content(x: Any) -> Any:
    """The state of what changes where it stands."""
    if isinstance(x, np.ndarray):
        return x.tobytes() if x.nbytes <= _LARGEST else b""
    if isinstance(x, types.GeneratorType):
        return [_content(y) if hasattr(y, "__next__") else repr(y) for y in gc.get_referents(x)]
    with contextlib.suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pickle.dumps(x)
    return b""


def _is_equal(x: Any, y: Any) -> bool:
    """Whether things are one, or equal numbers of one type."""
    return x is y or (type(x) is type(y) and isinstance(x, _NUMBERS) and (x == y or x != x != y != y))


def _is_library(x: Any, libraries: Collection[str] = _LIBRARIES) -> bool:
    """Whether a function, a class or a module is of one of some libraries; a wrapper has another's `__module__`."""
    if isinstance(x, types.FunctionType):
        name = x.__globals__.get("__name__", "")
    else:
        name = x.__name__ if isinstance(x, types.ModuleType) else x.__module__ or ""
    return name.partition(".")[0] in libraries


def _may_draw(x: Any) -> bool:
    """Whether a thing might ask the system for random bytes."""
    known = x is np.random.default_rng or isinstance(x, random.SystemRandom)
    return known or (isinstance(x, _CODE) and _is_library(x, _STANDARD))


def _held(x: Any) -> list:
    """The things that a thing refers to; words that are keys of a dict, too."""
    return [*(x if isinstance(x, dict) else ()), *gc.get_referents(x)]


def _names_in(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for x in code.co_consts:
        if isinstance(x, types.CodeType):
            yield from _names_in(x)
