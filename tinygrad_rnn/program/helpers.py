"""The functions that NumPy lacks and a program calls, with their own sources.

Those of the table come with the package as text, so that a program can be written where its source is not there.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Mapping
from importlib.resources import files
from types import FunctionType

import numpy as np


def helpers(called: Mapping[Callable, str], fresh: Callable[[str], str]) -> tuple[dict[Callable, str], list[str]]:
    """The names of functions, and of those that they call, and the texts that define them.

    Args:
        called: the functions, each with the name of a primitive that calls it. fresh: makes a name of a word.

    Raises:
        ValueError: the source of a function is not there, or needs what stands around it.
    """
    of = dict(called)
    sources: dict[Callable, str] = {}
    uses: dict[Callable, dict[str, Callable]] = {}
    waiting = list(of)
    for function in waiting:  # which grows as it goes
        try:
            sources[function] = _source(function)
            uses[function] = _used(function, sources[function])
        except (OSError, SyntaxError, TypeError, ValueError) as error:
            raise ValueError(
                f"compile: the primitive {of[function]!r} cannot be written as NumPy: {error}; say how it "
                "is written, as tg.primitive(..., code=...)"
            ) from error
        new = [x for x in uses[function].values() if x is not np and x not in of]
        of |= dict.fromkeys(new, of[function])
        waiting += new
    variables = {name for x in of for name in x.__code__.co_varnames}  # which would hide a function of the same name
    words = {x: _own_name(x).strip("_") or name for x, name in of.items()}
    names = {x: fresh(f"{word}_function" if word in variables else word) for x, word in words.items()}
    texts = []
    for function in reversed(waiting):  # those that others call come first
        renamed = {old: "np" if x is np else names[x] for old, x in uses[function].items()}
        renamed[_own_name(function)] = names[function]
        pieces = re.split(r"\b(?<!\.)(" + "|".join(renamed) + r")\b", sources[function])
        texts.append("".join([renamed[x] if i % 2 else x for i, x in enumerate(pieces)]))
    return names, texts


def _own_name(function: Callable) -> str:
    """The name of a function in its source; _ for a lambda."""
    return function.__code__.co_name.replace("<lambda>", "_")


def _source(function: Callable) -> str:
    """The text of a function's definition; of a lambda's, as that of a function called _."""
    if not isinstance(function, FunctionType):
        raise TypeError(f"{function!r} is no function of Python")
    code, name = function.__code__, _own_name(function)
    if function.__module__.startswith("tinygrad_rnn."):
        texts = (files("tinygrad_rnn.program") / "helpers.txt").read_text(encoding="utf-8").split("\n\n\n")
        return next(f"{text.strip()}\n" for text in texts if text.startswith(f"def {name}("))
    if name != "_":
        return textwrap.dedent(inspect.getsource(function)).rstrip() + "\n"
    lambdas = [x for x in ast.walk(ast.parse("".join(inspect.findsource(function)[0]))) if isinstance(x, ast.Lambda)]
    names = list(code.co_varnames[: code.co_argcount])
    found = [x for x in lambdas if x.lineno == code.co_firstlineno and [a.arg for a in x.args.args] == names]
    if len(found) != 1:
        raise OSError(f"its source is not found, or not alone in its line, in {code.co_filename}")
    return f"def _({ast.unparse(found[0].args)}):\n    return {ast.unparse(found[0].body)}\n"


def _used(function: Callable, source: str) -> dict[str, Callable]:
    """The functions, and NumPy, that a definition names, by their names."""
    nodes = list(ast.walk(ast.parse(source)))
    names = [x for x in nodes if isinstance(x, ast.Name)]
    bound = {x.arg for x in nodes if isinstance(x, ast.arg)} | {x.id for x in names if isinstance(x.ctx, ast.Store)}
    around = {**function.__globals__, **inspect.getclosurevars(function).nonlocals}
    used = {x.id: around[x.id] for x in names if x.id in around and x.id not in bound}
    for name, x in used.items():
        if x is not np and not isinstance(x, FunctionType):
            raise ValueError(f"it uses {name}, which is neither its own nor a function")
    return used
