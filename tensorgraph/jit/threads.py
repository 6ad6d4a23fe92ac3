"""The few threads that kernels run on.

They sleep while there is nothing to do. So there is one pool beside that of BLAS and nothing spins beside it; several
Python threads may enter at once, and the first has the threads while the others go on alone.
"""

from __future__ import annotations

import itertools
import os
import queue
import threading
from collections.abc import Callable
from typing import Any


def _default_threads() -> int:
    told = os.environ.get("TENSORGRAPH_NUM_THREADS", "")
    if told.isdigit() and int(told) > 0:
        return int(told)
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this operating system
        return os.cpu_count() or 1


# seconds of serial work from which several threads are faster. Waking one takes 20 to 60 microseconds, as it sleeps in
# the operating system; meanwhile the caller works on
THREADED = 200e-6
# seconds of work in a block, at least
GRAIN = 40e-6

_threads = _default_threads()
_running = threading.Lock()
_calls: queue.SimpleQueue[_Call] = queue.SimpleQueue()
_workers: list[threading.Thread] = []


class _Call:
    """Blocks of one call. Whoever comes takes the next: the caller at once, the other threads when they have woken.

    So a thread that wakes late, or never because the processor is taken, costs nothing.
    """

    __slots__ = ("_call", "_done", "_ended", "_next", "_parts", "errors")

    def __init__(self, call: Callable[[int, int, int], Any], parts: list[tuple[int, int]]) -> None:
        self._call: Callable[[int, int, int], Any] | None = call
        self._parts = parts
        # counters whose step is one instruction under the interpreter's lock
        self._next = itertools.count()
        self._ended = itertools.count(1)
        self._done = threading.Lock()
        self._done.acquire()
        self.errors: list[BaseException] = []

    def work(self) -> None:
        """Run blocks until none is left."""
        n = len(self._parts)
        while True:
            k = n
            try:
                k = next(self._next)
                if k >= n:
                    return
                call = self._call
                assert call is not None
                call(k, *self._parts[k])
            except BaseException as error:
                self.errors.append(error)
            finally:
                call = None
                if k < n and next(self._ended) == n:
                    self._done.release()

    def wait(self) -> None:
        """Wait for blocks that other threads have begun, and let go of the arrays."""
        while True:
            try:
                self._done.acquire()
                break
            except BaseException as error:  # an interrupt: the arrays are in use until the blocks have ended
                self.errors.append(error)
        self._call = None


def _serve() -> None:
    calls = _calls
    while True:
        calls.get().work()


def _forget() -> None:
    """A forked child has none of its parent's threads."""
    global _running, _calls
    _workers.clear()
    _running = threading.Lock()
    _calls = queue.SimpleQueue()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def num_threads() -> int:
    """How many threads a kernel may use: the processors given to this process, or ``TENSORGRAPH_NUM_THREADS``."""
    return _threads


def set_num_threads(n: int) -> None:
    """Set how many threads a kernel may use, process-wide.

    Parameters
    ----------
    n : int
        At least 1; 1 keeps all kernels in the calling thread.
    """
    global _threads
    if n < 1:
        raise ValueError(f"the number of threads must be at least 1, got {n}")
    _threads = int(n)


def blocks(rows: int, cost: float, threshold: float = THREADED, multiple: int = 1) -> list[tuple[int, int]]:
    """Cut a range of rows into blocks for several threads, or leave it whole where waking them does not pay.

    Parameters
    ----------
    rows : int
        Length of the range.
    cost : float
        Estimate of the serial time, in seconds.
    threshold : float, optional
        Serial time from which several threads are faster.
    multiple : int, optional
        Blocks begin at multiples of this.

    Returns
    -------
    list of (int, int)
        Half-open blocks in order; never an empty list. There are more blocks than threads, so that a thread that
        comes late finds the work shared out evenly all the same.
    """
    if cost < threshold or _threads == 1 or rows < 2 * multiple:
        return [(0, rows)]
    n = max(1, min(4 * _threads, rows // multiple, int(cost / GRAIN)))
    step = -(-rows // (n * multiple)) * multiple
    return [(lo, min(lo + step, rows)) for lo in range(0, rows, step)]


def spread(call: Callable[[int, int, int], Any], parts: list[tuple[int, int]]) -> None:
    """Call ``call(k, lo, hi)`` for every block, on several threads, and wait for all.

    Where the threads are busy with another Python thread's call, the blocks run one after the other here: nothing
    waits for them, and the result is the same.

    Parameters
    ----------
    call : callable
        Runs a kernel on rows `lo` to `hi`; `k` is the block's number, for partial results.
    parts : list of (int, int)
        From `blocks`.

    Raises
    ------
    Exception
        The first error of a block, after all have ended.
    """
    running = _running
    if len(parts) == 1 or _threads == 1 or not running.acquire(blocking=False):
        for k, (lo, hi) in enumerate(parts):
            call(k, lo, hi)
        return
    try:
        helpers = min(_threads, len(parts)) - 1
        while len(_workers) < helpers:
            worker = threading.Thread(target=_serve, name="tensorgraph-kernels", daemon=True)
            worker.start()
            _workers.append(worker)
        shared = _Call(call, parts)
        for _ in range(helpers):
            _calls.put(shared)
        shared.work()
        shared.wait()
    finally:
        running.release()
    if shared.errors:
        raise shared.errors[0]
