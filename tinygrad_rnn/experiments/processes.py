"""Worker processes of a sweep: each computes with one thread, and one that dies takes nothing else with it."""

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from typing import Any

_LIBRARIES = ("OMP_NUM", "OPENBLAS_NUM", "MKL_NUM", "BLIS_NUM", "VECLIB_MAXIMUM")
_ONE_THREAD = {f"{library}_THREADS": "1" for library in _LIBRARIES}
_lock = threading.Lock()  # of the environment


class Processes(ThreadPoolExecutor):
    """So many spawned processes, each with one BLAS thread; what they call, and its answer, must be picklable.

    Each is a pool of its own: one that dies fails its own call with a ChildProcessError, and another takes its place,
    while a pool of many would fail all calls that are still to come. All hold one end of a pipe, and end when the other
    is closed: by `shutdown`, or because this process has ended, however it did.

    Raises:
        ChildProcessError: a process does not start, as when the script that makes this has no `__name__` guard.
    """

    def __init__(self, workers: int):
        super().__init__(workers)
        self._theirs, self._ours = multiprocessing.Pipe()
        started = [_Process(self._theirs) for _ in range(workers)]
        self._idle = [process.ready() for process in started]

    def submit(self, fn: Callable, /, *args: Any, **kwargs: Any) -> Future:
        """Call a function in an idle process, or in the next that is; returns the future of its answer."""
        return super().submit(self._call, pickle.dumps((fn, args, kwargs)))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes: after what is submitted has run, or, with `cancel_futures`, at once."""
        if cancel_futures:
            self._ours.close()
        super().shutdown(cancel_futures=cancel_futures)
        for process in self._idle:
            process.pool.shutdown()
        self._ours.close()

    def _call(self, message: bytes) -> Any:
        process = self._idle.pop()
        try:
            if process.itself.exitcode is not None:
                process = _Process(self._theirs).ready()
            return process.pool.submit(_answer, message).result()
        except BrokenProcessPool:
            while (code := process.itself.exitcode) is None:  # the pool's own thread sees the end first
                time.sleep(0.01)
            how = f"with exit status {code}" if code >= 0 else f"by {signal.Signals(-code).name}"
            raise ChildProcessError(f"its process was ended {how}") from None
        finally:
            self._idle.insert(0, process)  # the last to be taken


class _Process:
    """A pool of one process. itself: the process."""

    def __init__(self, pipe: Connection) -> None:
        self.pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _prepare, (pipe,))
        with _lock, _as_it_starts():
            self._pid = self.pool.submit(os.getpid)

    def ready(self) -> "_Process":
        """Wait until it has started."""
        try:
            pid = self._pid.result()
        except BrokenProcessPool:
            raise ChildProcessError(
                "a worker process ended while it started: a script that starts processes imports itself in each, "
                'and needs `if __name__ == "__main__":` before what only the first one shall do'
            ) from None
        self.itself = next(child for child in multiprocessing.active_children() if child.pid == pid)
        return self


@contextlib.contextmanager
def _as_it_starts() -> Iterator[None]:
    """The surroundings that a process inherits: BLAS reads its number of threads once, when NumPy is imported; and
    Ctrl-C, which all processes of a terminal get, is left to the first one.
    """
    before = {name: os.environ[name] for name in _ONE_THREAD if name in os.environ}
    os.environ.update(_ONE_THREAD)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT]) if hasattr(signal, "pthread_sigmask") else None
    try:
        yield
    finally:
        for name in _ONE_THREAD:
            del os.environ[name]
        os.environ.update(before)
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _prepare(pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end, args=(pipe,), daemon=True).start()


def _end(pipe: Connection) -> None:
    """End with the other end of the pipe."""
    with contextlib.suppress(EOFError, OSError):
        pipe.recv()
    os._exit(1)


def _answer(message: bytes) -> Any:
    fn, args, kwargs = pickle.loads(message)
    return fn(*args, **kwargs)
