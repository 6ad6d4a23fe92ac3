"""Python's collector of garbage waits while a plan is made: some ten thousand objects, all of which stay."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

__all__ = ["uncollected"]


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Have it wait while the block runs: what is made there is looked at once, at the end, rather than every time that
    another seven hundred objects were made, and then with all that the process has."""
    if not gc.isenabled():  # by the user, or by another thread that is here
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
