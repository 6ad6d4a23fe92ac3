"""Running a kernel for tests: as machine code of either width of vectors, and over the emulation."""

import functools

import numpy as np

from tensorgraph.native import machine, objects
from tensorgraph.native.kernel import from_text, kernel
from tensorgraph.native.words import WORDS

WIDTHS = [width for width in (64, 32) if machine.available() and width <= machine.machine().width]
HEAD = "def apply(w, block, blocks):\n    p, q, n, m = [word_at(w, k) for k in static(4)]\n"


def written(body, **scope):
    """A kernel's function with this body, which has the addresses p and q and the integers n and m."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return from_text(HEAD + lines, {**WORDS, "np": np, **scope})


@functools.cache
def entry(k, width):
    """The address of a kernel's machine code for vectors of so many bytes."""
    symbol = f"{k.symbol}_w{width}"
    return objects.addresses([objects.Unit(symbol, lambda: k.module(width).replace(k.symbol, symbol))])[0]


def both(body, x, y, n, m, width, dtype, **scope):
    """What machine code and the emulation leave of an array that is read and one that is written, which is given."""
    k, results = kernel(written(body, **scope), dtype), []
    for run in ("machine", "emulation"):
        a, b = x.copy(), y.copy()
        words = np.array([a.ctypes.data, b.ctypes.data, n, m])
        if run == "machine":
            objects.call(entry(k, width), words.ctypes.data, 0, 1)
        else:
            k.emulate(words, [a, b], width=width)
        np.testing.assert_array_equal(a, x, body)
        results.append(b)
    return results


def guarded(nbytes, page=4096):
    """So many bytes before a page that may not be touched, as an array; POSIX."""
    import ctypes
    import mmap

    pages = -(-nbytes // page)
    memory = mmap.mmap(-1, (pages + 1) * page)
    whole = np.frombuffer(memory, np.uint8)
    last = whole.ctypes.data + pages * page
    if ctypes.CDLL(None, use_errno=True).mprotect(ctypes.c_void_p(last), page, 0):
        raise OSError(ctypes.get_errno(), "mprotect")
    return whole[pages * page - nbytes : pages * page]
