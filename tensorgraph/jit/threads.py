"""The few threads that kernels run on.

They sleep while there is nothing to do. So there is one pool beside that of BLAS and nothing spins beside it; several
Python threads may enter at once, and the first has the threads while the others go on alone.
"""

from __future__ import annotations

import os
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


# seconds of serial work from which two threads are faster: to wake one and to be woken by it takes 40 to 80
# microseconds, as both sleep in the operating system
THREADED = 200e-6

_threads = _default_threads()
_running = threading.Lock()
_workers: list[_Worker] = []


class _Worker(threading.Thread):
    """A thread that sleeps until `start` gives it something to call, and then until the next time."""

    def __init__(self) -> None:
        super().__init__(name="tensorgraph-kernels", daemon=True)
        self._go = threading.Lock()
        self._done = threading.Lock()
        self._go.acquire()
        self._done.acquire()
        self._task: tuple[Callable[..., Any], tuple[int, int, int]] | None = None
        self.error: BaseException | None = None
        super().start()

    def run(self) -> None:
        while True:
            self._go.acquire()
            assert self._task is not None
            call, args = self._task
            try:
                call(*args)
            except BaseException as error:
                self.error = error
            self._task = None
            del call
            self._done.release()

    def begin(self, call: Callable[..., Any], args: tuple[int, int, int]) -> None:
        self.error = None
        self._task = call, args
        self._go.release()

    def wait(self) -> None:
        self._done.acquire()


def _forget() -> None:
    """A forked child has none of its parent's threads."""
    global _running
    _workers.clear()
    _running = threading.Lock()


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
    """Cut a range of rows into one block a thread, or leave it whole where waking threads costs more than it saves.

    Parameters
    ----------
    rows : int
        Length of the range.
    cost : float
        Estimate of the serial time, in seconds.
    threshold : float, optional
        Serial time from which two threads are faster.
    multiple : int, optional
        Blocks begin at multiples of this.

    Returns
    -------
    list of (int, int)
        Half-open blocks in order; never an empty list.
    """
    if cost < threshold or _threads == 1 or rows < 2 * multiple:
        return [(0, rows)]
    n = min(_threads, rows // multiple)
    # another thread is worth its waking only if it takes over half of the threshold
    n = max(1, min(n, int(cost / (0.5 * threshold))))
    step = -(-rows // (n * multiple)) * multiple
    return [(lo, min(lo + step, rows)) for lo in range(0, rows, step)]


def spread(call: Callable[[int, int, int], Any], parts: list[tuple[int, int]]) -> None:
    """Call ``call(k, lo, hi)`` for every block, one thread a block, and wait for all.

    Where the threads are busy with another Python thread's kernel, the blocks run one after the other here: nothing
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
    if len(parts) == 1 or not (running := _running).acquire(blocking=False):
        for k, (lo, hi) in enumerate(parts):
            call(k, lo, hi)
        return
    try:
        while len(_workers) < len(parts) - 1:
            _workers.append(_Worker())
        begun = []
        errors: list[BaseException] = []
        try:
            for k, (lo, hi) in enumerate(parts[1:], 1):
                _workers[k - 1].begin(call, (k, lo, hi))
                begun.append(_workers[k - 1])
            call(0, *parts[0])
        except BaseException as error:
            errors.append(error)
        for worker in begun:
            while True:
                try:
                    worker.wait()
                    break
                except BaseException as error:  # an interrupt: the arrays are in use until the block has ended
                    errors.append(error)
            if worker.error is not None:
                errors.append(worker.error)
                worker.error = None
    finally:
        running.release()
    if errors:
        raise errors[0]
