"""Running sums along an axis.

The plan: (1) float32 is added in float64, float64 with what every addition loses summed beside it, so that each sum is
rounded once; (2) lines that lie side by side in memory are summed together, some hundred at a time, whose sums stay in
the first cache; lines that lie behind one another two or four at a time, since each of their additions waits for the
one before; (3) an array that is walked from its end is one of the same memory from its beginning: the kernel walks
back, and nothing is copied. Lines are independent, so threads share them and the result is the same for any number.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgraph.engine.sums import running
from tensorgraph.jit import EXACT_ZERO, compiled, kernel, share, uniform

__all__ = ["running_sums"]

Array = np.ndarray[Any, Any]

_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
# numbers from which the kernel is faster than NumPy, by their bytes
FEW = {4: 512, 8: 64}
# lines side by side that are summed together
BLOCK = 256
# seconds a number, by its bytes
_COST = {4: 0.8e-9, 8: 1.5e-9}


@kernel(flags=EXACT_ZERO)
def _single_lines(x: Any, out: Any, back: Any, lo: Any, hi: Any) -> None:
    """float32, (lines, n): each line in a row."""
    n = x.shape[1]
    first, step = (n - 1, -1) if back else (0, 1)
    line = lo
    while line + 4 <= hi:
        a = b = c = d = 0.0
        i = first
        for _ in range(n):
            a += x[line, i]
            b += x[line + 1, i]
            c += x[line + 2, i]
            d += x[line + 3, i]
            out[line, i] = a
            out[line + 1, i] = b
            out[line + 2, i] = c
            out[line + 3, i] = d
            i += step
        line += 4
    while line < hi:
        a = 0.0
        i = first
        for _ in range(n):
            a += x[line, i]
            out[line, i] = a
            i += step
        line += 1


@kernel(flags=EXACT_ZERO)
def _double_lines(x: Any, out: Any, back: Any, lo: Any, hi: Any) -> None:
    """float64, (lines, n): two lines at a time, of an odd number the last one twice."""
    n = x.shape[1]
    first, step = (n - 1, -1) if back else (0, 1)
    for line in range(lo, hi, 2):
        other = min(line + 1, hi - 1)
        a = b = lost_a = lost_b = 0.0
        i = first
        for _ in range(n):
            v, w = x[line, i], x[other, i]
            s, t = a + v, b + w
            p, q = s - a, t - b
            lost_a += (a - (s - p)) + (v - p)
            lost_b += (b - (t - q)) + (w - q)
            a, b = s, t
            # an infinite sum has lost infinity minus infinity
            out[line, i] = s + lost_a if s - s == 0.0 else s
            out[other, i] = t + lost_b if t - t == 0.0 else t
            i += step


@kernel(flags=EXACT_ZERO)
def _single_columns(x: Any, out: Any, back: Any, width: Any, lo: Any, hi: Any) -> None:
    """float32, (outer, n, columns): blocks of `width` columns, of which each outer one has as many."""
    n, columns = x.shape[1], x.shape[2]
    blocks = (columns + width - 1) // width
    sums = np.empty(width)
    for block in range(lo, hi):
        k, start = block // blocks, block % blocks * width
        end = min(start + width, columns)
        sums[:] = 0.0
        i, step = (n - 1, -1) if back else (0, 1)
        for _ in range(n):
            row, target = x[k, i, start:end], out[k, i, start:end]
            for j in range(row.size):
                sums[j] += row[j]
                target[j] = sums[j]
            i += step


@kernel(flags=EXACT_ZERO)
def _double_columns(x: Any, out: Any, back: Any, width: Any, lo: Any, hi: Any) -> None:
    """The like for float64."""
    n, columns = x.shape[1], x.shape[2]
    blocks = (columns + width - 1) // width
    sums, losses = np.empty(width), np.empty(width)
    for block in range(lo, hi):
        k, start = block // blocks, block % blocks * width
        end = min(start + width, columns)
        sums[:] = 0.0
        losses[:] = 0.0
        i, step = (n - 1, -1) if back else (0, 1)
        for _ in range(n):
            row, target = x[k, i, start:end], out[k, i, start:end]
            for j in range(row.size):
                v, total = row[j], sums[j]
                s = total + v
                t = s - total
                losses[j] += (total - (s - t)) + (v - t)
                sums[j] = s
                target[j] = s + losses[j] if s - s == 0.0 else s
            i += step


def running_sums(x: Array, axis: int) -> Array:
    """``np.cumsum`` along an axis, each of whose sums is rounded once.

    Parameters
    ----------
    x : ndarray
        Any dtype and layout; other than float32 and float64 are `tensorgraph.engine.sums.running`'s.
    axis : int
        Not negative.

    Returns
    -------
    ndarray
        Of x's dtype, or of that which NumPy gives sums of integers; not in x's memory.
    """
    single_or_double = x.dtype in (_FLOAT32, _FLOAT64)
    if not single_or_double or x.size < FEW[x.dtype.itemsize] or x.shape[axis] < 2 or not compiled():
        return running(x, axis)
    back = x.strides[axis] < 0
    if back:
        x = np.flip(x, axis)
    work = _FLOAT64 if x.dtype == _FLOAT64 else _FLOAT32
    outer, n, columns = math.prod(x.shape[:axis]), x.shape[axis], math.prod(x.shape[axis + 1 :])
    given = uniform(x, work)
    out = np.empty(x.shape, work)
    cost = x.size * _COST[work.itemsize]
    if columns == 1:
        lines = _double_lines if work is _FLOAT64 else _single_lines
        share(lines, (given.reshape(outer, n), out.reshape(outer, n), back), outer, cost, 4)
    else:
        width = min(columns, BLOCK)
        blocks = outer * -(-columns // width)
        several = _double_columns if work is _FLOAT64 else _single_columns
        args = (given.reshape(outer, n, columns), out.reshape(outer, n, columns), back, width)
        share(several, args, blocks, cost)
    return np.flip(out, axis) if back else out
