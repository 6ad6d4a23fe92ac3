"""A lock that a process holds as long as it lives: of a study by the one that drives it, of a slot by its worker.

The operating system lets go of it when the process ends, however it ends, so no lock is ever left behind. It is told
of processes on one host; on a network's file system it may not be.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from tensorgraph.files.held import hold, let_go

__all__ = ["LockedError", "lock"]

LOOK = 0.05  # seconds between two looks at a lock that another holds


class LockedError(RuntimeError):
    """Another process has what is wanted; the message says which."""


@contextmanager
def lock(path: Path, what: str, *, wait: float = 0.0) -> Iterator[None]:
    """Hold a lock inside, on a file which says who does.

    Parameters
    ----------
    path : Path
        The lock's file, which stays.
    what : str
        What is locked, for the message.
    wait : float
        Seconds to wait for another process that may be about to end.

    Raises
    ------
    LockedError
        If another process has it.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    hold(handle)
    try:
        until = time.monotonic() + wait
        while not _taken(handle):
            if time.monotonic() >= until:
                raise LockedError(f"{what} is in use by {_holder(path)}; wait for it, or end it")
            time.sleep(LOOK)
        said = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()})
        with suppress(OSError):  # a full disk: the lock holds all the same, and only its message is poorer
            os.ftruncate(handle, 0)
            os.pwrite(handle, said.encode(), 0)
        yield
    finally:
        let_go(handle)


def _taken(handle: int) -> bool:
    """Take the lock; False where another process has it."""
    try:
        fcntl: Any = import_module("fcntl")
    except ImportError:  # Windows, where a byte far behind the end is locked
        msvcrt: Any = import_module("msvcrt")
        os.lseek(handle, 1 << 30, os.SEEK_SET)
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(path: Path) -> str:
    """Who has a lock, as its file says."""
    try:
        said = json.loads(path.read_bytes())
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(said["since"])))
        return f"process {int(said['pid'])} on {said['host']} since {since}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
