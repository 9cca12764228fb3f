"""The context in which nodes are made: whether they are recorded, and for which time step and layer of a net.

- `no_grad()` stops the recording.
- `time_step(t, layer)` tells every node made inside it its step and layer.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

_Function = TypeVar("_Function", bound=Callable)

recording: ContextVar[bool] = ContextVar("recording", default=True)
step_and_layer: ContextVar[tuple[int | None, int | None]] = ContextVar("step_and_layer", default=(None, None))


@contextmanager
def temporarily(variable: ContextVar, value: Any) -> Iterator[None]:
    """A context in which a variable has a value; however it is left, the variable has its former value again.

    Ctrl-C may come between any two calls, so the value is set inside the `try`. If it comes before the `try` is left,
    Python closes this generator, and so sets the former value, when nothing refers to it any more.
    """
    former = variable.get()
    try:
        variable.set(value)
        yield
    finally:
        variable.set(former)


def time_step(t: int | None, layer: int | None = None) -> AbstractContextManager[None]:
    """A context in which every node that is made belongs to time step t, and in a net of layers to one of them."""
    return temporarily(step_and_layer, (t, layer))


class no_grad:
    """A context manager, also a decorator, in which nothing is recorded: results are leaves that need no gradient.

    Ctrl-C leaves recording as it was before the block. If it falls on the first or last instruction of the block,
    recording comes back only when the traceback is freed: at a prompt, at the next error.

    >>> x = tg.Tensor(2.0, requires_grad=True)
    >>> with tg.no_grad():
    ...     y = x * x
    ...
    >>> y.requires_grad
    False
    """

    def __init__(self) -> None:
        self._blocks: list[AbstractContextManager[None]] = []

    def __enter__(self) -> None:
        self._blocks.append(temporarily(recording, False))
        self._blocks[-1].__enter__()

    def __exit__(self, *raised: Any) -> None:
        self._blocks.pop().__exit__(*raised)

    def __call__(self, function: _Function) -> _Function:
        """The function, which records nothing.

        Raises:
            TypeError: a generator or a coroutine, which runs when the call has ended.
        """
        if inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function):
            raise TypeError(f"no_grad(): {function.__name__} runs in pieces; write `with tg.no_grad():` inside of it")
        return temporarily(recording, False)(function)
