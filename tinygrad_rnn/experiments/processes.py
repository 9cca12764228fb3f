"""Worker processes of a sweep: each computes with one thread, and one that dies takes nothing else with it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

__all__ = ["Processes"]

_LIBRARIES = ("OMP", "OPENBLAS", "MKL", "BLIS")
_ONE_THREAD = {**{f"{library}_NUM_THREADS": "1" for library in _LIBRARIES}, "VECLIB_MAXIMUM_THREADS": "1"}
_environment = threading.Lock()


class Processes(Executor):
    """So many spawned processes, each with one BLAS thread; what they call, and its answer, must be picklable.

    A process that dies fails its own call with a ChildProcessError, and another takes its place. (The pool of
    concurrent.futures fails all calls that are still to come.)

    Raises:
        ChildProcessError: a process does not start, as when the script that makes this has no `__name__` guard.
    """

    def __init__(self, workers: int):
        self._context = multiprocessing.get_context("spawn")
        self._started: list[multiprocessing.process.BaseProcess] = []
        self._closed = False
        self._idle = [self._start() for _ in range(workers)]
        for _, pipe in self._idle:
            _await_start(pipe)
        self._threads = ThreadPoolExecutor(workers)

    def submit(self, fn: Callable, /, *args: Any, **kwargs: Any) -> Future:
        """Call a function in an idle process, or in the next that is; returns the future of its answer."""
        return self._threads.submit(self._call, pickle.dumps((fn, args, kwargs)))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes: after what is submitted has run, or, with `cancel_futures`, at once."""
        if cancel_futures:
            with _environment:
                self._closed = True
            for process in self._started:
                process.terminate()
        self._threads.shutdown(wait=True, cancel_futures=cancel_futures)
        for _, pipe in self._idle:
            pipe.close()
        for process in self._started:
            process.join()

    def _call(self, message: bytes) -> Any:
        # There are as many threads as processes: if none is idle here, one has died.
        if self._idle:
            process, pipe = self._idle.pop()
        else:
            process, pipe = self._start()
            _await_start(pipe)
        try:
            pipe.send_bytes(message)
            answer, error = pipe.recv()
        except (EOFError, ConnectionError):
            process.join()
            while (code := process.exitcode) is None:  # another thread, which starts a process, has seen the end first
                time.sleep(0.01)
            how = f"with exit status {code}" if code >= 0 else f"by {signal.Signals(-code).name}"
            raise ChildProcessError(f"its process was ended {how}") from None
        self._idle.append((process, pipe))
        if error is not None:
            raise error
        return answer

    def _start(self) -> tuple[multiprocessing.process.BaseProcess, Connection]:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs,), daemon=True)
        with _environment, _one_thread():
            if self._closed:
                raise ChildProcessError("its process was not started: the sweep has been ended")
            process.start()
            self._started.append(process)
        theirs.close()
        return process, ours


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """BLAS reads its number of threads once, when NumPy is imported: a new process has to find it as it starts."""
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(_ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _await_start(pipe: Connection) -> None:
    try:
        pipe.recv()
    except (EOFError, ConnectionError):
        raise ChildProcessError(
            "a worker process ended while it started: a script that starts processes imports itself in each, "
            'and needs `if __name__ == "__main__":` before what only the first one shall do'
        ) from None


def _serve(pipe: Connection) -> None:
    """Answer calls, in a worker process, until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the first one decides
    with contextlib.suppress(EOFError, OSError):
        pipe.send("ready")
        while True:
            pipe.send(_answer(pipe.recv_bytes()))


def _answer(message: bytes) -> tuple[Any, Exception | None]:
    try:
        fn, args, kwargs = pickle.loads(message)
        return fn(*args, **kwargs), None
    except Exception as error:
        return None, error
