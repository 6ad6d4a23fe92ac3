"""What becomes of the memory of freed arrays.

A training step frees its large arrays together at its end. The C library of Linux then gives the top of its heap back
to the system, and the next step pays for every page again: a thousand page faults and up to a third of the time of a
batch norm over 16 MB. `keep`, called by whoever wants it, asks it to keep up to 256 MB of what was freed for the arrays
to come; importing tensorgraph changes nothing. Settings of malloc's own in the environment are left alone.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys

__all__ = ["KEPT", "LARGEST", "keep", "keeps", "possible"]

# bytes that stay with the process, and the largest array that comes from the heap: as much as glibc allows
KEPT, LARGEST = 256 << 20, 32 << 20
# names of glibc's settings in mallopt
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
OWN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_MAX_")

_kept: bool | None = None


def keep() -> bool:
    """Let glibc keep freed memory for the next arrays; whether it does. Only the first call does something.

    Examples
    --------
    >>> from tensorgraph.jit import memory
    >>> memory.keep() == memory.keep()
    True
    """
    global _kept
    if _kept is None:
        _kept = possible() and _ask()
    return _kept


def keeps() -> bool:
    """Whether `keep` has been called, with success."""
    return bool(_kept)


def possible() -> bool:
    """Whether `keep` can do something here: the C library is glibc, and nobody has told it otherwise."""
    if any(name in os.environ for name in OWN) or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    return sys.platform == "linux" and platform.libc_ver()[0] == "glibc" and sys.maxsize >= 2**32


def _ask() -> bool:
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    # one without the other would be worse than neither: a setting stops glibc from adapting both
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST)) and bool(mallopt(M_TRIM_THRESHOLD, KEPT))
