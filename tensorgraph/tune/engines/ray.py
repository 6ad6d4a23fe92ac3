"""Trials on a Ray cluster: the one whose address is given, the one that this process is connected to, or its own.

Each worker is an actor, a process that has one trial at a time; where it is lost another takes its place, and Ray
itself runs nothing again.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tensorgraph.tune.engines import Lost, threads_each
from tensorgraph.tune.engines.loky import THREADS, pickled
from tensorgraph.tune.worker import watch_parent

__all__ = ["RayEngine"]


class _Worker:
    """What an actor is: it has the objective, and gives what calls of it give."""

    def __init__(self, objective: bytes) -> None:
        self._objective = objective
        with suppress(ValueError):  # Ctrl-C reaches every process of a terminal; the study answers it
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            # of which Ray makes a SystemExit inside the objective, as if that had raised it: its trial would fail
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        watch_parent(os.getppid())

    def call(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        try:
            return function(self._objective, *args)
        except Exception as error:  # as it is: Ray would give another, with the traceback for its message
            return error


class RayEngine:
    """So many actors of a Ray cluster, each of which runs one call at a time.

    Parameters
    ----------
    objective : callable
        Is put into Ray's store once, and sent to each actor.
    workers : int
        How many actors, of one processor each.
    threads : int, optional
        Of each actor; the processors shared out among them unless given.
    address : str, optional
        Of the cluster, such as ``"auto"`` or ``"ray://10.0.0.1:10001"``. Its machines see the study's folder and have
        tensorgraph installed. Unless given, Ray is started on this machine, where it does not run in this process yet.
    """

    local = False

    def __init__(
        self, objective: Callable[..., Any], workers: int, threads: int | None = None, address: str | None = None
    ) -> None:
        import ray

        self.workers = workers
        self._ray = ray
        self._started = not ray.is_initialized()
        arrays = None
        if address is None and self._started:
            arrays = tempfile.mkdtemp(prefix="tensorgraph-tune-")
            self._finish = weakref.finalize(self, shutil.rmtree, arrays, ignore_errors=True)
        sent = pickled(objective, None if arrays is None else Path(arrays))
        if self._started:
            own = {"num_cpus": workers, "include_dashboard": False} if address is None else {"address": address}
            ray.init(**own, log_to_driver=False, logging_level=logging.CRITICAL)
        self._objective = ray.put(sent)
        variables = {"env_vars": dict.fromkeys(THREADS, str(threads_each(workers, threads)))}
        options = {"num_cpus": 1, "max_restarts": 0, "max_task_retries": 0, "runtime_env": variables}
        self._new = ray.remote(**options)(_Worker).remote
        self._free: list[Any] = []
        self._running: dict[Any, tuple[int, Any]] = {}  # reference of the result -> slot, actor

    def submit(self, function: Callable[..., Any], slot: int, *args: Any) -> None:
        actor = self._free.pop() if self._free else self._new(self._objective)
        self._running[actor.call.remote(function, args)] = slot, actor

    def done(self, timeout: float) -> list[tuple[int, Any]]:
        ended: list[tuple[int, Any]] = []
        if not self._running:
            return ended
        ready, _ = self._ray.wait(list(self._running), num_returns=1, timeout=timeout)
        for reference in ready:
            slot, actor = self._running.pop(reference)
            try:
                ended.append((slot, self._ray.get(reference)))
                self._free.append(actor)
            except self._ray.exceptions.RayError as error:
                ended.append((slot, Lost(f"its Ray worker ended: {_first_line(error)}")))
        return ended

    def cancel(self) -> None:
        for _, actor in self._running.values():
            with suppress(Exception):  # it has ended itself
                self._ray.kill(actor, no_restart=True)
        self._running.clear()
        self.close()

    def close(self) -> None:
        for actor in self._free:
            with suppress(Exception):
                self._ray.kill(actor, no_restart=True)
        self._free.clear()
        if self._started:
            self._ray.shutdown()
            self._started = False
        if hasattr(self, "_finish"):
            self._finish()


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
