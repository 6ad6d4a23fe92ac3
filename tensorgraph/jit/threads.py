"""The few threads that kernels run on.

They sleep while there is nothing to do, and for about a tenth of a millisecond after a kernel they wait for the next
one, letting everybody else go first: BLAS has threads of its own. Several Python threads may enter at once, and the
first has the threads while the others go on alone.
"""

from __future__ import annotations

import atexit
import os
import queue
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tensorgraph.arguments import Count, checked
from tensorgraph.jit.door import Kernel, compiled, serve
from tensorgraph.jit.team import ASLEEP, LOOKS, STOP, WORDS


def _default_threads() -> int:
    for variable in ("TENSORGRAPH_NUM_THREADS", "OMP_NUM_THREADS"):  # the latter may have a number for each level
        told = os.environ.get(variable, "").partition(",")[0].strip()
        if told.isdigit() and int(told) > 0:
            return int(told)
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this operating system
        return os.cpu_count() or 1


# seconds of serial work from which several threads are faster: where they sleep, waking them takes 20 to 60
# microseconds, in which the caller works on; where they still look for work they are there at once
THREADED = 60e-6
# seconds of work in a block, at least
GRAIN = 8e-6

_threads = _default_threads()


class _Team:
    """The threads of this process, and the words of memory that they share."""

    def __init__(self) -> None:
        self.running = threading.Lock()
        self.calls: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.workers: list[threading.Thread] = []
        words = np.zeros(WORDS + 8, np.int64)
        start = -(words.ctypes.data // 8) % 8  # words that different threads write lie in different cache lines
        self.words = words[start : start + WORDS]

    def gather(self, helpers: int) -> None:
        """Wake as many threads as are wanted and asleep; the first call starts them."""
        while len(self.workers) < helpers:
            if not self.workers:
                serve()(self.words, 0, 1)  # compiles it; a new thread is awake
            worker = threading.Thread(target=self._help, name="tensorgraph-kernels", daemon=True)
            worker.start()
            self.workers.append(worker)
        for _ in range(min(int(self.words[ASLEEP]), helpers) - self.calls.qsize()):
            self.calls.put(None)

    def _help(self) -> None:
        words, calls, run = self.words, self.calls, serve()
        run(words, LOOKS, 0)
        while not words[STOP]:
            calls.get()
            run(words, LOOKS, 1)

    def stop(self) -> None:
        """End the threads before the interpreter does: it would end them inside compiled code."""
        self.words[STOP] = 1
        for _ in self.workers:
            self.calls.put(None)
        for worker in self.workers:
            worker.join(1.0)
        self.workers.clear()


_team = _Team()
# whether the threads cannot be used: what hands them their blocks stands on Numba's own internals
_unusable = False


def _give_up(error: Exception) -> None:
    """Warn, once a process, that all kernels run in the calling thread from now on."""
    global _unusable
    if not _unusable:
        _unusable = True
        warnings.warn(
            "kernels run in one thread each, right but slower: what shares them out among threads failed "
            f"({type(error).__name__}: {str(error).strip().partition(chr(10))[0]}); where Numba is at fault install "
            "another version of it, or call tensorgraph.jit.set_num_threads(1) to say that one thread is enough",
            RuntimeWarning,
            stacklevel=3,
        )


def _forget() -> None:
    """A forked child has none of its parent's threads."""
    global _team
    _team = _Team()


def _stop() -> None:
    global _threads
    _threads = 1
    with _team.running:
        _team.stop()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
atexit.register(_stop)


def num_threads() -> int:
    """How many threads a kernel may use.

    Returns
    -------
    int
        The processors given to this process, or ``TENSORGRAPH_NUM_THREADS``, or ``OMP_NUM_THREADS``.
    """
    return _threads


@checked
def set_num_threads(n: Count) -> None:
    """Set how many threads a kernel may use, process-wide; results are the same to the last bit.

    Parameters
    ----------
    n : int
        At least 1; 1 keeps all kernels in the calling thread.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> before = tg.jit.num_threads()
    >>> tg.set_num_threads(1)
    >>> tg.jit.num_threads()
    1
    >>> tg.set_num_threads(before)
    """
    global _threads
    if n < 1:
        raise ValueError(f"the number of threads must be at least 1, got {n}")
    _threads = int(n)


def block_rows(rows: int, cost: float, multiple: int = 1) -> int:
    """How many rows a block has when a range is cut up for several threads; all of them where that does not pay.

    Parameters
    ----------
    rows : int
        Length of the range.
    cost : float
        Estimate of the serial time, in seconds.
    multiple : int, optional
        Blocks begin at multiples of this.

    Returns
    -------
    int
        There are more blocks than threads, so that a thread that comes late finds the work shared out evenly all the
        same.
    """
    if cost < THREADED or _threads == 1 or rows < 2 * multiple:
        return rows
    n = max(2, min(8 * _threads, rows // multiple, int(cost / GRAIN), 0x7FFF))
    return -(-rows // (n * multiple)) * multiple


@contextmanager
def alone() -> Iterator[None]:
    """Inside, kernels stay in the threads that call them: for whoever has shared out the work already.

    Process-wide; where kernels of another thread are being shared out, it waits for these.
    """
    with _team.running:
        yield


def turn() -> threading.Lock:
    """The lock of whoever has the processors: this module's threads, those of tapes, or `alone`."""
    return _team.running


def share(kernel: Kernel, args: tuple[Any, ...], rows: int, cost: float, multiple: int = 1) -> None:
    """Run a kernel over a range of rows, in blocks on several threads where that pays; back when all is done.

    Where the threads are busy with another Python thread's call, all is done here: nothing waits for them, and the
    result is the same.

    Parameters
    ----------
    kernel : Kernel
        Called as ``kernel(*args, lo, hi)``, with stages as ``kernel(*args, stage, lo, hi)``. It writes to rows `lo` to
        `hi` only, or to what no other block writes to.
    args : tuple
        Arrays and numbers.
    rows, cost, multiple
        As for `block_rows`.

    Raises
    ------
    MemoryError
        Where a block failed for want of memory, after all have ended.

    Warns
    -----
    RuntimeWarning
        Once, where the code that shares blocks out does not compile with this Numba: kernels then stay in one thread.
    """
    step = block_rows(rows, cost, multiple)
    if step < rows and not _unusable and compiled() and _shared(kernel, args, rows, step):
        return
    if kernel.staged:
        kernel.call(*args, 15, 0, rows)
    else:
        kernel.call(*args, 0, rows)


def _shared(kernel: Kernel, args: tuple[Any, ...], rows: int, step: int) -> bool:
    """Run all blocks on this thread and those that wait; False where nothing has been run."""
    team = _team
    if not team.running.acquire(blocking=False):
        return False
    try:
        # what raises here is Numba, before it has compiled: compiled code counts the blocks that failed
        lead = kernel.lead()
        team.gather(min(_threads, -(-rows // step)) - 1)
        failed = lead(team.words, rows, step, *args)
    except Exception as error:
        _give_up(error)
        return False
    finally:
        team.running.release()
    if failed:
        raise MemoryError(f"{kernel.name}: {failed} of the blocks that it was cut into failed for want of memory")
    return True
