"""Locks that a process holds as long as it lives: of a run's folder, of a study, of a slot.

The operating system lets go of one when the process ends, however it ends, so none is ever left behind. It is told of
processes on one host; on a network's file system it may not be. A lock belongs to the open file, which a child shares
that the process forks, and which may outlive it: so a child closes its copies as it begins.
"""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

__all__ = ["LOOK", "attempt", "holder", "let_go", "take"]

LOOK = 0.05  # seconds between two looks at a lock that another holds
HELD: set[int] = set()


def take(handle: int, wait: float = 0.0) -> bool:
    """Take the lock of an open file and write into it who has it; False where another process keeps it.

    Parameters
    ----------
    handle : int
        A file that is open for writing. It stays open, and is closed by `let_go` alone.
    wait : float
        Seconds to wait for another process that may be about to end.
    """
    HELD.add(handle)
    until = time.monotonic() + wait
    while not attempt(handle):
        if time.monotonic() >= until:
            return False
        time.sleep(LOOK)
    said = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()})
    with suppress(OSError):  # a full disk: the lock holds all the same, and only its message is poorer
        os.ftruncate(handle, 0)
        os.lseek(handle, 0, os.SEEK_SET)
        os.write(handle, said.encode())
    return True


def attempt(handle: int, *, shared: bool = False) -> bool:
    """Whether the lock is to be had now, and then it is: with `shared` beside others that only ask."""
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
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def let_go(handle: int | None) -> None:
    """Close the file and with it let go of its lock; nothing in a child of the process that held it."""
    if handle in HELD:
        HELD.remove(handle)
        with suppress(ImportError):  # a child that was just forked, and has not begun, has a copy that would hold it
            fcntl: Any = import_module("fcntl")
            fcntl.flock(handle, fcntl.LOCK_UN)
        os.close(handle)


def holder(path: Path) -> str:
    """Who has a lock, as its file says."""
    try:
        said = json.loads(path.read_bytes())
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(said["since"])))
        return f"process {int(said['pid'])} on {said['host']} since {since}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _let_go_of_all() -> None:
    for handle in HELD:
        os.close(handle)
    HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_of_all)
