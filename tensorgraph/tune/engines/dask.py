"""Trials on a Dask cluster: the one whose scheduler's address is given, or one of processes of this machine.

Each worker process has one trial at a time, which is sent to that worker and to no other: so it is known whose trial a
lost worker ran, and Dask itself runs nothing again.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import signal
import tempfile
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from tensorgraph.tune.engines import Lost, threads_each
from tensorgraph.tune.engines.loky import THREADS, pickled

__all__ = ["DaskEngine"]

LOOK = 0.02  # seconds between two looks at what has ended
ARRIVE = 10.0  # seconds for a result that is there to arrive

_objectives: dict[str, bytes] = {}  # of a worker: each study's
_alone = threading.Lock()  # random states and the default dtype are the process's: one trial at a time


def _begin(study: str, objective: bytes, own: bool) -> None:
    """What every worker does first, also one that is started later."""
    _objectives[study] = objective
    if own:  # Ctrl-C reaches every process of a terminal; the study answers it
        with suppress(ValueError):  # not in the main thread, which alone gets signals
            signal.signal(signal.SIGINT, signal.SIG_IGN)


def _end(study: str) -> None:
    _objectives.pop(study, None)


def _call(study: str, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    with _alone:
        return function(_objectives[study], *args)


class DaskEngine:
    """So many worker processes of a Dask cluster, each of which runs one call at a time.

    Parameters
    ----------
    objective : callable
        Is sent once to each worker, also to those that come later.
    workers : int
        At most so many of the cluster's.
    threads : int, optional
        Of each worker of a cluster that is made here.
    address : str, optional
        The scheduler's, such as ``"tcp://10.0.0.1:8786"``. Its workers see the study's folder and have tensorgraph
        installed. Unless given, a cluster of this machine is made for the study.
    """

    local = False

    def __init__(
        self, objective: Callable[..., Any], workers: int, threads: int | None = None, address: str | None = None
    ) -> None:
        from distributed import Client

        self.workers = workers
        self._study = secrets.token_hex(8)
        self._waiting: deque[tuple[int, Callable[..., Any], tuple[Any, ...]]] = deque()
        self._running: dict[Any, tuple[int, str]] = {}  # future -> slot, the worker's address
        self._cluster: Any = None
        self._client: Any = None
        arrays = None
        if address is None:
            arrays = tempfile.mkdtemp(prefix="tensorgraph-tune-")
            self._finish = weakref.finalize(self, shutil.rmtree, arrays, ignore_errors=True)
        sent = pickled(objective, None if arrays is None else Path(arrays))
        try:
            if address is None:
                self._cluster = _own_cluster(workers, threads_each(workers, threads))
            self._client = Client(self._cluster or address, set_as_default=False)
            self._client.register_worker_callbacks(setup=partial(_begin, self._study, sent, self._cluster is not None))
        except BaseException:
            self.cancel()
            raise

    def submit(self, function: Callable[..., Any], slot: int, *args: Any) -> None:
        self._waiting.append((slot, function, args))

    def done(self, timeout: float) -> list[tuple[int, Any]]:
        until = time.monotonic() + timeout
        while True:
            alive = set(self._client.nthreads())
            ended = self._ended(alive)
            self._place(alive)
            if ended or time.monotonic() >= until:
                return ended
            time.sleep(LOOK)

    def _place(self, alive: set[str]) -> None:
        """Send what waits to workers that have nothing to do."""
        free = sorted(alive - {worker for _, worker in self._running.values()})
        while self._waiting and free:
            slot, function, args = self._waiting.popleft()
            worker = free.pop()
            future = self._client.submit(
                _call, self._study, function, args, workers=[worker], allow_other_workers=False, pure=False, retries=0,
            )  # fmt: skip
            self._running[future] = slot, worker

    def _ended(self, alive: set[str]) -> list[tuple[int, Any]]:
        ended: list[tuple[int, Any]] = []
        for future, (slot, worker) in list(self._running.items()):
            if future.done():
                ended.append((slot, _outcome(future, worker)))
            elif worker not in alive:
                ended.append((slot, Lost(f"its Dask worker {worker} is gone")))
                future.cancel()
            else:
                continue
            del self._running[future]
            future.release()
        return ended

    def cancel(self) -> None:
        for future in self._running:
            with suppress(Exception):  # the scheduler may be gone
                future.cancel()
        self._running.clear()
        if self._cluster is not None:
            for nanny in list(self._cluster.workers.values()):
                nanny.auto_restart = False
                with suppress(OSError, AttributeError):  # it has no process at this moment
                    os.kill(nanny.pid, signal.SIGKILL)
        self.close()

    def close(self) -> None:
        if self._client is not None:
            if self._cluster is None:
                with suppress(Exception):  # others' workers need not keep what is this study's
                    self._client.run(_end, self._study)
            self._client.close()
        if self._cluster is not None:
            self._cluster.close()
            self._finish()
        self._client = self._cluster = None


def _own_cluster(workers: int, threads: int) -> Any:
    """A cluster of this machine, which listens on the loopback address alone."""
    import dask
    from distributed import LocalCluster

    settings = {
        "distributed.scheduler.allowed-failures": 0,  # what is lost is told at once
        "distributed.nanny.pre-spawn-environ": dict.fromkeys(THREADS, str(threads)),
    }
    with dask.config.set(settings):
        return LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None,
            memory_limit=0, silence_logs=logging.CRITICAL,
        )  # fmt: skip


def _outcome(future: Any, worker: str) -> Any:
    """The result of a call, its exception, or that its process is gone."""
    from distributed import KilledWorker

    try:
        if future.status == "finished":
            return future.result(timeout=ARRIVE)
        error = future.exception(timeout=ARRIVE) if future.status == "error" else None
    except Exception as failure:  # the worker ended with the result
        return Lost(f"its Dask worker {worker} ended before its result arrived ({type(failure).__name__})")
    if error is None or isinstance(error, KilledWorker):
        return Lost(f"its Dask worker {worker} ended")
    return error
