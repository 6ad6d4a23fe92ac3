"""The locks of a study, which the process that drives it holds, and of a slot, which its worker holds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tensorgraph.files.locks import holder, let_go, take

__all__ = ["LockedError", "lock"]


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
    try:
        if not take(handle, wait):
            raise LockedError(f"{what} is in use by {holder(path)}; wait for it, or end it")
        yield
    finally:
        let_go(handle)
