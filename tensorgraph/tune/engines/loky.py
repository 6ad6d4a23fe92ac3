"""Trials in processes of their own on this machine, by loky.

Each worker is a pool of one process: where one is lost, it is known whose trial it ran, and the others work on.
"""

from __future__ import annotations

import os
import pickle
import re
import shutil
import signal
import tempfile
import weakref
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, wait
from pathlib import Path
from typing import Any

import numpy as np

from tensorgraph.tune.engines import Lost, threads_each
from tensorgraph.tune.worker import watch_parent

__all__ = ["LokyEngine", "pickled"]

LARGE = 1 << 20  # bytes of an array from which workers share one copy, mapped from a file
# BLAS libraries, OpenMP, and the library's own kernels
THREADS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS", "TENSORGRAPH_NUM_THREADS",
)  # fmt: skip

_objective = b""  # of a worker


def _begin(objective: bytes, parent: int) -> None:
    """What a worker does first."""
    global _objective
    _objective = objective
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal; the study answers it
    watch_parent(parent)


def _call(function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    return function(_objective, *args)


class LokyEngine:
    """So many processes, each of which runs one call at a time.

    Parameters
    ----------
    objective : callable
        Is sent by cloudpickle, so functions of scripts, notebooks and closures arrive as they are; of arrays that are
        large each worker maps the same file.
    workers : int
    threads : int, optional
        Of each worker; the processors shared out among them unless given.
    """

    local = False

    def __init__(self, objective: Callable[..., Any], workers: int, threads: int | None = None) -> None:
        import loky

        self.workers = workers
        self._arrays = tempfile.mkdtemp(prefix="tensorgraph-tune-")
        self._finish = weakref.finalize(self, shutil.rmtree, self._arrays, ignore_errors=True)
        self._new = loky.ProcessPoolExecutor
        self._begin_with = pickled(objective, Path(self._arrays)), os.getpid()
        self._environment = dict.fromkeys(THREADS, str(threads_each(workers, threads)))
        self._free: list[Any] = []  # pools that have nothing to do
        self._running: dict[Any, tuple[int, Any]] = {}  # future -> slot, pool

    def submit(self, function: Callable[..., Any], slot: int, *args: Any) -> None:
        pool = self._free.pop() if self._free else self._pool()
        self._running[pool.submit(_call, function, args)] = slot, pool

    def _pool(self) -> Any:
        return self._new(max_workers=1, initializer=_begin, initargs=self._begin_with, env=self._environment)

    def done(self, timeout: float) -> list[tuple[int, Any]]:
        from concurrent.futures.process import BrokenProcessPool

        ended: list[tuple[int, Any]] = []
        for future in wait(self._running, timeout=timeout, return_when=FIRST_COMPLETED).done:
            slot, pool = self._running.pop(future)
            error = future.exception()
            if isinstance(error, BrokenProcessPool):
                pool.shutdown(wait=False, kill_workers=True)
                ended.append((slot, Lost(_how(error))))
                continue
            self._free.append(pool)
            ended.append((slot, future.result() if error is None else error))
        return ended

    def cancel(self) -> None:
        for _, pool in self._running.values():
            pool.shutdown(wait=True, kill_workers=True)
        self._running.clear()
        self.close()

    def close(self) -> None:
        for pool in self._free:
            pool.shutdown(wait=True)
        self._free.clear()
        self._finish()


def _how(error: BaseException) -> str:
    """How a process ended, of loky's message."""
    found = re.search(r"exit codes? of the workers?[^{]*\{([^}]*)\}", str(error))
    return f"its process ended: {found[1]}" if found else "its process ended without a result"


def pickled(objective: Callable[..., Any], arrays: Path | None = None) -> bytes:
    """The objective as bytes, for `pickle.loads` in another process.

    Parameters
    ----------
    objective : callable
    arrays : Path, optional
        A folder where large arrays are put, for workers on this machine to map; else they are in the bytes.

    Raises
    ------
    TypeError
        If it cannot be pickled, with the object that cannot and the remedy.
    """
    import io

    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        def reducer_override(self, thing: Any) -> Any:
            if arrays is not None and type(thing) is np.ndarray and thing.nbytes >= LARGE and not thing.dtype.hasobject:
                path = arrays / f"{len(list(arrays.iterdir()))}.npy"
                np.save(path, thing)
                return np.load, (os.fspath(path), "r")
            return super().reducer_override(thing)

    stream = io.BytesIO()
    try:
        Pickler(stream, protocol=pickle.HIGHEST_PROTOCOL).dump(objective)
    except Exception as error:
        name = getattr(objective, "__name__", type(objective).__name__)
        raise TypeError(
            f"the objective {name} cannot be sent to other processes: {type(error).__name__}: {error}; make what "
            "cannot be pickled (open files, locks, connections, generators) inside the objective, or run with workers=1"
        ) from error
    return stream.getvalue()
