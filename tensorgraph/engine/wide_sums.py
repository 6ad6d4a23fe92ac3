"""Sums of large float32 arrays by compiled kernels that add in float64.

The plan, of which the first three steps are made once a shape, layout and axes:

1. the axes are ordered by their strides, outermost first, and neighbours that lie in a row are joined;
2. the innermost axis that is summed is the kernel's: with nothing behind it, each line is added in several lanes
   (`_lines`); with columns behind it, a row of float64 sums grows in the first cache (`_columns`), and where there are
   few columns, several rows are taken for one, whose sums are added at the end;
3. where there are few lines, each is cut into parts of a fixed length, so that threads may share them and the result
   is the same for any number of threads;
4. what is left to sum, parts and other axes, is small; it stays in float64, and the caller rounds once.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgraph.jit import EXACT_ZERO, helper, kernel, memory_row, share

__all__ = ["WideSum", "planned"]

Array = np.ndarray[Any, Any]

_SINGLE, _DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
# columns whose float64 sums grow together: with the rows that are added, they stay in the first cache
WIDTH = 1024
# numbers in a row that is made of several
FOLD = 256
# numbers in a part, and pieces of work from which nothing is cut
PART, PIECES = 262144, 16
# seconds a number
_COST = 0.08e-9


@helper(flags={"reassoc", "contract"})
def _added(row: Any) -> Any:
    s = 0.0
    for i in range(row.size):
        s += np.float64(row[i])
    return s


@helper(flags=EXACT_ZERO)
def _added_apart(row: Any) -> Any:
    a = b = c = d = 0.0
    whole = row.size // 4
    for k in range(whole):
        i = np.uint64(4 * k)  # which says that it does not count from the end
        a += np.float64(row[i])
        b += np.float64(row[i + np.uint64(1)])
        c += np.float64(row[i + np.uint64(2)])
        d += np.float64(row[i + np.uint64(3)])
    for k in range(4 * whole, row.size):
        a += np.float64(row[k])
    return (a + b) + (c + d)


@kernel(flags=EXACT_ZERO)
def _lines(flat: Any, out: Any, sizes: Any, lo: Any, hi: Any) -> None:
    """The parts `lo` to `hi` of all lines."""
    many, outer_step, line_step, n, step, part, parts = sizes
    line, p = lo // parts, lo % parts
    outer, line = line // many, line % many
    for k in range(lo, hi):
        i = outer * outer_step + line * line_step + p * part * step
        count = min(part, n - p * part)
        if step == 1:
            out[k] = _added(flat[i : i + count])
        else:
            out[k] = _added_apart(flat[i : i + (count - 1) * step + 1 : step])
        p += 1
        if p == parts:
            p = 0
            line += 1
        if line == many:
            line = 0
            outer += 1


@kernel(flags=EXACT_ZERO)
def _columns(flat: Any, out: Any, sizes: Any, lo: Any, hi: Any) -> None:
    """The pieces `lo` to `hi`: each a part of the rows and a block of columns, of one of the outer matrices."""
    many, outer_step, line_step, n, step, columns, apart, part, parts, fold, width = sizes
    blocks = (columns + width - 1) // width
    sums = np.empty(width * fold)
    for k in range(lo, hi):
        row, c = k // blocks, k % blocks * width
        line, p = row // parts, row % parts
        i = line // many * outer_step + line % many * line_step + p * part * step + c * apart
        rows, end = min(part, n - p * part), min(width, columns - c)
        wide = end * fold
        sums[:wide] = 0.0
        if apart == 1:
            whole, leap = rows // fold, step * fold
            left = (rows - whole * fold) * end
            while whole >= 4:
                first, second = flat[i : i + wide], flat[i + leap : i + leap + wide]
                i += 2 * leap
                third, fourth = flat[i : i + wide], flat[i + leap : i + leap + wide]
                i += 2 * leap
                for j in range(wide):
                    two = np.float64(first[j]) + np.float64(second[j])
                    sums[j] += two + (np.float64(third[j]) + np.float64(fourth[j]))
                whole -= 4
            for _ in range(whole):
                first = flat[i : i + wide]
                for j in range(wide):
                    sums[j] += np.float64(first[j])
                i += leap
            for j in range(left):
                sums[j] += np.float64(flat[i + j])
            for f in range(1, fold):
                for j in range(end):
                    sums[j] += sums[f * end + j]
        else:
            while rows >= 2:
                above = flat[i : i + (end - 1) * apart + 1 : apart]
                i += step
                below = flat[i : i + (end - 1) * apart + 1 : apart]
                i += step
                for j in range(end):
                    sums[j] += np.float64(above[j]) + np.float64(below[j])
                rows -= 2
            if rows:
                above = flat[i : i + (end - 1) * apart + 1 : apart]
                for j in range(end):
                    sums[j] += np.float64(above[j])
        target = out[row, c : c + end]
        for j in range(end):
            target[j] = sums[j]


class WideSum:
    """The sum over one axis of groups of axes: what a kernel is given, and what comes of it.

    Attributes
    ----------
    shape : tuple of int
        Of the result: the groups before the axis, the parts that it is cut into, the group behind it.
    dtype : dtype
        Of the result: float32 where nothing is left to sum, else float64.
    """

    __slots__ = ("back", "dtype", "kernel", "pieces", "room", "shape", "size", "sizes", "span")

    def __init__(self, groups: list[list[int]], at: int, back: int, alone: bool) -> None:
        outer, (n, step) = _levels(groups[:at]), groups[at]
        (many, line_step), (most, outer_step) = outer[-1], outer[0] if len(outer) > 1 else (1, 0)
        total = many * most
        self.room: tuple[int, ...]
        self.sizes: tuple[int, ...]
        self.back, self.size = back, math.prod(g[0] for g in groups)
        self.span = sum((g[0] - 1) * abs(g[1]) for g in groups) + back + 1
        if at + 1 == len(groups):
            part = PART if total < PIECES and n > PART else n
            parts = -(-n // part)
            self.kernel, self.pieces, self.room = _lines, total * parts, (total * parts,)
            self.sizes = (many, outer_step, line_step, n, step, part, parts)
        else:
            columns, apart = groups[at + 1]
            width = min(WIDTH, columns)
            blocks = -(-columns // width)
            part = max(PART // columns, FOLD)
            part = part if total * blocks < PIECES and n > part else n
            fold = min(FOLD // columns, math.isqrt(part)) if apart == 1 and step == columns else 1
            parts = -(-n // part)
            self.kernel, self.pieces, self.room = _columns, total * parts * blocks, (total * parts, columns)
            self.sizes = (
                many, outer_step, line_step, n, step, columns, apart, part, parts, max(fold, 1), width,
            )  # fmt: skip
        self.shape = (*[g[0] for g in groups[:at]], parts, *[g[0] for g in groups[at + 1 :]])
        self.dtype = _SINGLE if alone and parts == 1 else _DOUBLE

    def __call__(self, x: Array) -> Array:
        out = np.empty(self.room, self.dtype)
        args = (memory_row(x, self.back, self.span), out, self.sizes)
        share(self.kernel, args, self.pieces, self.size * _COST)
        return out.reshape(self.shape)


def _levels(groups: list[list[int]]) -> list[tuple[int, int]]:
    """Groups of axes as few steps through memory: how many there are, and how far apart."""
    levels: list[tuple[int, int]] = []
    for n, step in groups:
        if levels and levels[-1][1] == n * step:
            levels[-1] = (levels[-1][0] * n, step)
        else:
            levels.append((n, step))
    return levels or [(1, 0)]


def planned(lengths: list[int], strides: list[int], counted: list[bool]) -> tuple[WideSum, tuple[int, ...]] | None:
    """The kernel's part of a sum, and the axes of its result that are still to be summed; None where it has none.

    Parameters
    ----------
    lengths, strides : list of int
        Of the axes, outermost first, strides in numbers of elements.
    counted : list of bool
        Which of them are summed.
    """
    if True not in counted or 0 in strides or any(s < 0 and not c for s, c in zip(strides, counted, strict=True)):
        return None
    # what is summed may be walked from either end
    back = sum((n - 1) * -s for n, s in zip(lengths, strides, strict=True) if s < 0)
    groups, marks = [[lengths[0], abs(strides[0])]], [counted[0]]
    for i in range(1, len(lengths)):
        n, step = lengths[i], abs(strides[i])
        if counted[i] == marks[-1] and groups[-1][1] == n * step:
            groups[-1] = [groups[-1][0] * n, step]
        else:
            groups.append([n, step])
            marks.append(counted[i])
    at = len(marks) - 1 - marks[::-1].index(True)
    if len(groups) > at + 2 or len(_levels(groups[:at])) > 2:
        return None
    wide = WideSum(groups, at, back, sum(marks) == 1)
    return wide, () if wide.dtype is _SINGLE else tuple([i for i, c in enumerate(marks) if c])
