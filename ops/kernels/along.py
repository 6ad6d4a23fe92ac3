"""Elements taken along an axis by an index for each, and what undoes that: added at their places.

The plan: an axis is seen as the middle one of three. Taking reads each element at its index; adding sums in float64,
from float64 itself with the rounding error of every addition kept, a slice of the outer axis at a time, and writes each
sum once. Slices are independent, so that threads share them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgraph.jit import EXACT_ZERO, compiled, kernel, share, uniform

__all__ = ["add_along", "add_shared", "take_along"]

Array = np.ndarray[Any, Any]

_FLOAT64 = np.dtype(np.float64)
_FLOATS = (np.dtype(np.float32), _FLOAT64)
# numbers from which a kernel is faster than NumPy, and worth being compiled
FEW = 512
# seconds a number
_COST = 1.5e-9


@kernel
def _take(x: Any, index: Any, out: Any, wrong: Any, lo: Any, hi: Any) -> None:
    n = x.shape[1]
    for i in range(lo, hi):
        for j in range(index.shape[1]):
            for k in range(index.shape[2]):
                p = index[i, j, k]
                p = p + n if p < 0 else p
                if p < 0 or p >= n:
                    wrong[0] = 1
                else:
                    out[i, j, k] = x[i, p, k]


@kernel
def _take_rows(x: Any, index: Any, out: Any, wrong: Any, lo: Any, hi: Any) -> None:
    """Where the axis is the last one."""
    n = x.shape[1]
    for i in range(lo, hi):
        row, places, target = x[i], index[i], out[i]
        for j in range(places.size):
            p = places[j]
            p = p + n if p < 0 else p
            if p < 0 or p >= n:
                wrong[0] = 1
            else:
                target[j] = row[p]


@kernel(flags=EXACT_ZERO)
def _add_single_rows(g: Any, index: Any, out: Any, wrong: Any, lo: Any, hi: Any) -> None:
    """float32, where the axis is the last one."""
    n = out.shape[1]
    total = np.empty(n)
    for i in range(lo, hi):
        row, places, target = g[i], index[i], out[i]
        for j in range(n):
            total[j] = 0.0
        for j in range(places.size):
            p = places[j]
            p = p + n if p < 0 else p
            if p < 0 or p >= n:
                wrong[0] = 1
            else:
                total[p] += row[j]
        for j in range(n):
            target[j] = total[j]


@kernel(flags=EXACT_ZERO)
def _add_double_rows(g: Any, index: Any, out: Any, wrong: Any, lo: Any, hi: Any) -> None:
    """float64, where the axis is the last one."""
    n = out.shape[1]
    lost = np.empty(n)
    for i in range(lo, hi):
        row, places, target = g[i], index[i], out[i]
        for j in range(n):
            lost[j] = 0.0
        for j in range(places.size):
            p = places[j]
            p = p + n if p < 0 else p
            if p < 0 or p >= n:
                wrong[0] = 1
            else:
                a, b = target[p], row[j]
                s = a + b
                t = s - a
                lost[p] += (a - (s - t)) + (b - t)
                target[p] = s
        for j in range(n):
            s = target[j] + lost[j]
            # an infinite sum has lost infinity minus infinity
            target[j] = s if s - s == 0.0 else target[j]


@kernel(flags=EXACT_ZERO)
def _add_single(g: Any, index: Any, out: Any, wrong: Any, lo: Any, hi: Any) -> None:
    """float32: a sum in float64 has digits to spare."""
    n = out.shape[1]
    total = np.empty((n, out.shape[2]))
    for i in range(lo, hi):
        total[:] = 0.0
        for j in range(index.shape[1]):
            for k in range(index.shape[2]):
                p = index[i, j, k]
                p = p + n if p < 0 else p
                if p < 0 or p >= n:
                    wrong[0] = 1
                else:
                    total[p, k] += g[i, j, k]
        for j in range(n):
            for k in range(out.shape[2]):
                out[i, j, k] = total[j, k]


@kernel(flags=EXACT_ZERO)
def _add_double(g: Any, index: Any, out: Any, wrong: Any, lo: Any, hi: Any) -> None:
    """float64: what each addition loses is summed beside it."""
    n = out.shape[1]
    lost = np.empty((n, out.shape[2]))
    for i in range(lo, hi):
        lost[:] = 0.0
        for j in range(index.shape[1]):
            for k in range(index.shape[2]):
                p = index[i, j, k]
                p = p + n if p < 0 else p
                if p < 0 or p >= n:
                    wrong[0] = 1
                else:
                    a, b = out[i, p, k], g[i, j, k]
                    s = a + b
                    t = s - a
                    lost[p, k] += (a - (s - t)) + (b - t)
                    out[i, p, k] = s
        for j in range(n):
            for k in range(out.shape[2]):
                s = out[i, j, k] + lost[j, k]
                # an infinite sum has lost infinity minus infinity
                out[i, j, k] = s if s - s == 0.0 else out[i, j, k]


def _split(shape: tuple[int, ...], axis: int) -> tuple[int, int, int]:
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])


def _worth(x: Array, index: Array) -> bool:
    return x.dtype in _FLOATS and index.size >= FEW and index.dtype != np.uint64 and compiled()


def _out_of_bounds(index: Array, axis: int, n: int) -> IndexError:
    outside = (index < 0) & (index + n < 0) | (index >= n) if index.dtype.kind == "i" else index >= n
    where = tuple(int(i) for i in np.argwhere(outside)[0])
    place = f", at {where if len(where) != 1 else where[0]} of the indices" if where else ""
    return IndexError(f"index {index[where]} is out of bounds for axis {axis} with size {n}{place}")


def take_along(x: Array, index: Array, axis: int) -> Array:
    """`numpy.take_along_axis`; other axes of size 1 are repeated.

    Raises
    ------
    IndexError
        With the first index outside and its position.
    """
    n = x.shape[axis]
    if _worth(x, index):
        whole, shape, a, b = x.shape, index.shape, x, index
        if whole[:axis] != shape[:axis] or whole[axis + 1 :] != shape[axis + 1 :]:
            shape = _taken_shape(x, index, axis)
            whole = (*shape[:axis], n, *shape[axis + 1 :])
            a, b = np.broadcast_to(x, whole), np.broadcast_to(index, shape)
        out = np.empty(shape, x.dtype)
        wrong = np.zeros(1, np.int64)
        views = [
            uniform(a, x.dtype).reshape(_split(whole, axis)),
            uniform(b, np.dtype(np.int64)).reshape(_split(shape, axis)),
            out.reshape(_split(shape, axis)),
        ]
        take, views = (
            (_take_rows, [v.reshape(v.shape[:2]) for v in views]) if views[2].shape[2] == 1 else (_take, views)
        )
        share(take, (*views, wrong), len(views[2]), out.size * _COST)
        if not wrong[0]:
            return out
    elif not index.size:
        return np.take_along_axis(x, index, axis) if n else np.empty(_taken_shape(x, index, axis), x.dtype)
    try:
        return np.take_along_axis(x, index, axis)
    except IndexError:
        raise _out_of_bounds(index, axis, n) from None


def _but(x: Array, axis: int) -> tuple[int, ...]:
    return tuple(1 if i == axis else n for i, n in enumerate(x.shape))


def _taken_shape(x: Array, index: Array, axis: int) -> tuple[int, ...]:
    rest = np.broadcast_shapes(_but(x, axis), _but(index, axis))
    return (*rest[:axis], index.shape[axis], *rest[axis + 1 :])


def add_along(g: Array, index: Array, axis: int, shape: tuple[int, ...]) -> Array | None:
    """Zeros of a shape with `g` added along an axis; None where a kernel does not pay or an axis was repeated.

    Raises
    ------
    IndexError
        With the first index outside and its position.
    """
    if not _worth(g, index) or index.shape != g.shape or _split(g.shape, axis)[::2] != _split(shape, axis)[::2]:
        return None
    # sums of float32 are written once, from float64; those of float64 grow where they are
    out = np.empty(shape, g.dtype) if g.dtype != _FLOAT64 else np.zeros(shape)
    wrong = np.zeros(1, np.int64)
    views = [
        uniform(g, g.dtype).reshape(_split(g.shape, axis)),
        uniform(index, np.dtype(np.int64)).reshape(_split(g.shape, axis)),
        out.reshape(_split(shape, axis)),
    ]
    add = _add_double if g.dtype == _FLOAT64 else _add_single
    if views[2].shape[2] == 1:
        views = [v.reshape(v.shape[:2]) for v in views]
        add = _add_double_rows if g.dtype == _FLOAT64 else _add_single_rows
    share(add, (*views, wrong), len(views[2]), (g.size + out.size) * _COST)
    if wrong[0]:
        raise _out_of_bounds(index, axis, shape[axis])
    return out


def add_shared(g: Array, index: Array, axis: int, shape: tuple[int, ...]) -> Array | None:
    """Zeros of a shape with `g` added along the last axis at the same indices in every row, whose axes stand in its
    place in g; None where another way is better, or an index is outside."""
    rows, n, behind = _split(shape, axis)
    if not _worth(g, g) or index.dtype == np.uint64 or behind != 1 or g.shape != (*shape[:axis], *index.shape):
        return None
    out, wrong = np.empty(shape, g.dtype), np.zeros(1, np.int64)
    places = np.broadcast_to(uniform(index, np.dtype(np.int64)).reshape(-1), (rows, index.size))
    add = _add_single_rows
    if g.dtype == _FLOAT64:  # whose sums grow where they are
        add, out = _add_double_rows, np.zeros(shape)
    share(add, (uniform(g, g.dtype).reshape(places.shape), places, out.reshape(rows, n), wrong), rows,
          (g.size + out.size) * _COST)  # fmt: skip
    return None if wrong[0] else out
