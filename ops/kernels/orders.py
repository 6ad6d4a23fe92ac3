"""Stable orders: the positions that sort, ties in their old order; and the first few of them.

The plan: numbers of at most 32 bits become integers in their order with the position in the lower half, which are all
different, so that NumPy's fast sort, which is not stable, sorts them. For wider ones its fast sort of positions is
taken where all elements turn out to be different, which is seen from their being strictly ascending; others are merged.
A few are found by keeping the best so far in order.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.jit import compiled, kernel, share, uniform

__all__ = ["order_of"]

Array = np.ndarray[Any, Any]

_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
# elements along an axis from which anything but a merge pays
FEW = 24
# of how many elements the first are kept in order, rather than all sorted; and numbers from which that is compiled
KEPT, WORTH = 64, 2048
# seconds a number
_COST = 1e-9


@kernel
def _largest(x: Any, order: Any, values: Any, lo: Any, hi: Any) -> None:
    """The positions of the largest of each row, NaN before all numbers, the first of equals first."""
    k = order.shape[1]
    for i in range(lo, hi):
        row, places, best = x[i], order[i], values[i]
        count = 0
        for j in range(row.size):
            v = row[j]
            if count == k and not (v > best[k - 1] or (v != v and best[k - 1] == best[k - 1])):
                continue
            at = count if count < k else k - 1
            count = at + 1
            while at > 0 and (v > best[at - 1] or (v != v and best[at - 1] == best[at - 1])):
                best[at] = best[at - 1]
                places[at] = places[at - 1]
                at -= 1
            best[at] = v
            places[at] = j


@kernel
def _smallest(x: Any, order: Any, values: Any, lo: Any, hi: Any) -> None:
    """The like of the smallest, NaN behind all numbers."""
    k = order.shape[1]
    for i in range(lo, hi):
        row, places, best = x[i], order[i], values[i]
        count = 0
        for j in range(row.size):
            v = row[j]
            if count == k and not (v < best[k - 1] or (v == v and best[k - 1] != best[k - 1])):
                continue
            at = count if count < k else k - 1
            count = at + 1
            while at > 0 and (v < best[at - 1] or (v == v and best[at - 1] != best[at - 1])):
                best[at] = best[at - 1]
                places[at] = places[at - 1]
                at -= 1
            best[at] = v
            places[at] = j


def _integers(x: Array) -> Array | None:
    """Unsigned integers of 32 bits in the order of x, equal where elements are, NaN last; None where 32 do not do."""
    kind, size = x.dtype.kind, x.dtype.itemsize
    if kind == "f" and size <= 4:
        bits = np.add(x, 0, dtype=np.float32).view(np.int32)  # 0 for -0
        flips = bits >> 31  # all bits of a negative number, the sign alone of another
        flips |= np.int32(-(2**31))
        bits ^= flips
        keys = bits.view(np.uint32)
        keys[np.isnan(x)] = 0xFFFFFFFF
        return keys
    if kind == "b" or (kind == "u" and size <= 4):
        return x.astype(np.uint32)
    if kind == "i" and size <= 4:
        keys = x.astype(np.int32).view(np.uint32)
        keys ^= np.uint32(2**31)
        return keys
    return None


def _ascending(x: Array) -> Array:
    """Along the last axis."""
    n = x.shape[-1]
    if n < FEW or x.dtype.itemsize < 4 or n >= 2**31:
        return np.argsort(x, axis=-1, kind="stable")
    keys = _integers(x)
    if keys is not None:
        both = keys.astype(np.uint64)
        both <<= np.uint64(32)
        both |= np.arange(n, dtype=np.uint64)
        both.sort(axis=-1)
        both &= np.uint64(0xFFFFFFFF)
        return both.view(np.int64)
    # a look at one row spares the fast sort where ties are usual
    if len(np.unique(x.reshape(-1, n)[0, :64])) == min(n, 64):
        order = np.argsort(x, axis=-1)
        values = np.take_along_axis(x, order, -1)
        if (values[..., 1:] > values[..., :-1]).all():
            return order
    return np.argsort(x, axis=-1, kind="stable")


def _first(x: Array, k: int, descending: bool) -> Array:
    """The first k along the last axis."""
    rows = uniform(x, x.dtype).reshape(-1, x.shape[-1])
    order = np.empty((len(rows), k), np.int64)
    best = np.empty((len(rows), k), x.dtype)
    share(_largest if descending else _smallest, (rows, order, best), len(rows), x.size * _COST)
    return order.reshape(*x.shape[:-1], k)


def order_of(x: Array, axis: int, descending: bool, k: int | None = None) -> Array:
    """The positions that sort x along an axis, stable either way; NaN last, first if `descending`; the first k.

    Parameters
    ----------
    x : ndarray
    axis : int
        Not negative.
    descending : bool
    k : int, optional

    Returns
    -------
    ndarray of int64
    """
    if not x.size:
        shape = list(x.shape)
        shape[axis] = shape[axis] if k is None else k
        return np.zeros(shape, np.int64)
    last = np.moveaxis(x, axis, -1)
    if k and k <= KEPT and k * 4 <= x.shape[axis] and x.dtype in _FLOATS and x.size >= WORTH and compiled():
        order = _first(last, k, descending)
    elif descending:
        # what stands last among equals must come first, so that it ends up last
        order = _ascending(np.ascontiguousarray(last[..., ::-1]))[..., ::-1]
        np.subtract(x.shape[axis] - 1, order, out=order)
    else:
        order = _ascending(np.ascontiguousarray(last))
    order = order if k is None else order[..., :k]
    return np.ascontiguousarray(np.moveaxis(order, -1, axis))
