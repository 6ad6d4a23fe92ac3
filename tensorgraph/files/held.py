"""The locks that this process holds: a child that it forks, and that may outlive it, does not keep them.

A lock of flock belongs to the open file, which a child shares until it closes it.
"""

from __future__ import annotations

import os

__all__ = ["hold", "let_go"]

HELD: set[int] = set()


def hold(handle: int) -> None:
    """Keep in mind that the lock of this open file is held."""
    HELD.add(handle)


def let_go(handle: int | None) -> None:
    """Close the file and with it let go of its lock; nothing in a child of the process that held it."""
    if handle in HELD:
        HELD.remove(handle)
        os.close(handle)


def _let_go_of_all() -> None:
    for handle in HELD:
        os.close(handle)
    HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_of_all)
