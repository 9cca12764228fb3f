"""The surroundings of a function: all that its code can look at besides its arguments, and that may change.

These are the variables of its closure, its defaults, the globals that it names, and what they hold: the items of
collections, the attributes of nets, those of other objects, classes and modules that the code names; and the same for
the functions among them. The random generators that all threads share are looked at only where the code names them:
elsewhere it is another thread that draws. What is not seen: sets, collections of more than 100 things, arrays of more
than 1 MB that are written to, the clock, what libraries hold or draw (a ContextVar, the environment, a file), and what
goes by a name that the code computes.
"""

import contextlib
import dis
import gc
import pickle
import random
import sys
import types
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain, compress, starmap
from operator import is_
from typing import Any

import numpy as np

from tinygrad_rnn.nn.module import Module
from tinygrad_rnn.tensor import Tensor

_MOST, _LARGEST = 100, 2**20  # things in a collection, and bytes of an array, that are looked at
_LIBRARIES = {*sys.stdlib_module_names, "tinygrad_rnn", "numpy"}  # whose code looks at nothing that changes,
_GENERATORS = {"random", "numpy", "numpy.random", "numpy.random.mtrand"}  # but for the generators in these modules
_IMPORT = dis.opmap["IMPORT_NAME"]
_NUMBERS = (bool, int, float, complex, str, bytes, np.generic, type(None))
_UNSEEN = (*_NUMBERS, Tensor, set)
_CHANGING = (np.ndarray, np.random.Generator, np.random.RandomState, random.Random)


class Surroundings:
    """The surroundings of a function, as they were when it was traced.

    Attributes:
        looks: functions that give what stands at some places. there: what stood there.
        contents: what changes where it stands, arrays, random generators and iterators, and how it was.
    """

    def __init__(self, *starts: Any):
        names, count = {"__call__", "forward", "step"}, 0  # what the package calls of others
        while count < len(names):  # until the code that is found names nothing more
            count, seen, self.looks = len(names), {}, []
            waiting = list(starts)
            for x in waiting:  # which grows as it goes
                if id(x) not in seen and not isinstance(x, _UNSEEN):
                    seen[id(x)] = x
                    looks = _looks(x, names)
                    self.looks += looks
                    waiting += [y for look in looks for y in look()]
        self.there = [list(look()) for look in self.looks]
        self.contents = [(x, _content(x)) for x in seen.values() if _changes(x)]

    def settle(self, name: str, further: Callable[[], Iterable]) -> None:
        """Leave out what a run of the function has changed: what it keeps; and look at something further from now on.

        Raises:
            ValueError: it has changed a number or an array, has drawn a random number, or taken from an iterator.
        """
        now = [list(look()) for look in self.looks]
        alike = [(then, after) for then, after in zip(self.there, now, strict=True) if len(then) == len(after)]
        for before, after in chain.from_iterable(starmap(zip, alike)):
            if isinstance(before, _NUMBERS) and isinstance(after, _NUMBERS) and not _is_equal(before, after):
                raise changed(name, f": {before!r} becomes {after!r}")
        for x, content in self.contents:
            if _content(x) != content:
                raise changed(name, f", and changes {'an array' if isinstance(x, np.ndarray) else repr(x)}")
        self.contents = [(x, content) for x, content in self.contents if isinstance(x, np.ndarray)]
        same = [_are_equal(then, after) for then, after in zip(self.there, now, strict=True)]
        self.looks = [*compress(self.looks, same), further]
        self.there = [x for look in self.looks for x in look()]

    def unchanged(self) -> bool:
        """True if all stands there as it did."""
        now = list(chain.from_iterable([look() for look in self.looks]))
        same = not self.contents or all(_content(x) == content for x, content in self.contents)
        return same and _are_equal(self.there, now)


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
            looks.append(lambda: [x.__defaults__, x.__kwdefaults__, *(x.__closure__ or ())])
            codes = [x.__code__]
            for code in codes:  # of the function, and of those in it
                codes += [y for y in code.co_consts if isinstance(y, types.CodeType)]
                names.update(code.co_names)
                spaces += [sys.modules] if _IMPORT in code.co_code[::2] else []
    else:
        is_space = isinstance(x, (type, types.ModuleType))
        spaces = [vars(kind) for kind in ([x] if is_space else type(x).__mro__) if not _is_library(kind)]
        for body in spaces:  # operators are called by no name
            operators = {name for name, y in body.items() if isinstance(y, types.FunctionType) and name[:2] == "__"}
            names.update(operators - {"__init__"})
        if isinstance(x, Module):
            looks.append(partial(_held, vars(x)))
        elif not is_space:  # which may get an attribute that its class has
            looks.append(partial(map, vars(x).get, sorted(names)))
    named = [(space, sorted(names & space.keys())) for space in spaces]
    return looks + [partial(map, space.get, some) for space, some in named if some]


def _changes(x: Any) -> bool:
    """True if a thing changes where it stands: an array, a random generator, an iterator."""
    return isinstance(x, _CHANGING) or hasattr(type(x), "__next__")


def _content(x: Any) -> Any:
    """The state of what changes where it stands."""
    if isinstance(x, np.ndarray):
        return x.tobytes() if x.nbytes <= _LARGEST else b""
    if isinstance(x, types.GeneratorType):
        return repr(x.gi_frame and x.gi_frame.f_locals)
    with contextlib.suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pickle.dumps(x)
    return repr(x)


def _is_equal(x: Any, y: Any) -> bool:
    """True if two things are one, or equal numbers of one type."""
    return x is y or (type(x) is type(y) and isinstance(x, _NUMBERS) and (x == y or x != x != y != y))


def _are_equal(xs: list, ys: list) -> bool:
    return len(xs) == len(ys) and (all(map(is_, xs, ys)) or all(map(_is_equal, xs, ys)))


def _is_library(x: Any) -> bool:
    """True if a function, a class or a module is a library's; a wrapper has another's `__module__`."""
    if isinstance(x, types.ModuleType):
        return x.__name__ not in _GENERATORS and x.__name__.partition(".")[0] in _LIBRARIES
    name = x.__globals__.get("__name__", "") if isinstance(x, types.FunctionType) else x.__module__ or ""
    return name.partition(".")[0] in _LIBRARIES


def _held(x: Any) -> list:
    """The things that a thing refers to; words that are keys of a dict, too."""
    return [*(x if isinstance(x, dict) else ()), *gc.get_referents(x)]
