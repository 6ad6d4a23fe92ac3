"""Whole rows taken by number, shared by threads where they are many."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgraph.jit import compiled, kernel, share, uniform

__all__ = ["take_whole"]

Array = np.ndarray[Any, Any]

# bytes from which a second thread is worth asking, and the kernel worth being compiled
LARGE = 1 << 18
# bytes of a row from which the kernel is faster than NumPy
WIDE = 64
# seconds a byte
_COST = 0.08e-9


@kernel
def _take(x: Any, index: Any, out: Any, wrong: Any, lo: Any, hi: Any) -> None:
    n, m = x.shape[1], index.size
    for r in range(lo, hi):
        p = index[r % m]
        p = p + n if p < 0 else p
        if p < 0 or p >= n:
            wrong[0] = 1
        else:
            row, target = x[r // m, p], out[r]
            for j in range(row.size):
                target[j] = row[j]


def take_whole(x: Array, index: Array, axis: int) -> Array:
    """`numpy.take` along an axis of an array in C order, by integers of any type but uint64; negative ones count from
    the end."""
    if index.size * x.nbytes < LARGE:  # so is what is taken: a few numbers take less than to count them
        return x.take(index, axis)
    width = math.prod(x.shape[axis + 1 :])
    nbytes = math.prod(x.shape[:axis]) * index.size * width * x.itemsize
    plain = x.dtype.kind in "fiu" and x.itemsize in (4, 8)
    if nbytes < LARGE or width * x.itemsize < WIDE or not plain or not x.shape[axis] or not compiled():
        return x.take(index, axis)
    bits = np.uint32 if x.itemsize == 4 else np.uint64  # what moves is bits, whatever their type
    out = np.empty((*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]), x.dtype)
    places = uniform(index, np.dtype(np.int64)).reshape(-1)
    lines, rows = uniform(x, x.dtype).view(bits).reshape(-1, x.shape[axis], width), out.view(bits).reshape(-1, width)
    wrong = np.zeros(1, np.int64)
    share(_take, (lines, places, rows, wrong), len(rows), nbytes * _COST)
    return x.take(index, axis) if wrong[0] else out  # which says what is wrong
