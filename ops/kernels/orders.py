"""Stable orders: the positions that sort, ties in their old order.

The plan: NumPy's fast sort of positions is not stable, so it is taken where all elements turn out to be different,
which is seen from their being strictly ascending. Where they are not, numbers of at most 32 bits become integers in
their order with the position in the lower half, which are all different; others are merged.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["order_of"]

Array = np.ndarray[Any, Any]

# elements along an axis from which anything but a merge pays
FEW = 24


def _integers(x: Array) -> Array | None:
    """Unsigned integers of 32 bits in the order of x, equal where elements are, NaN last; None where 32 do not do."""
    kind, size = x.dtype.kind, x.dtype.itemsize
    if kind == "f" and size <= 4:
        bits = (x.astype(np.float32) + np.float32(0)).view(np.int32)  # 0 for -0
        keys = np.where(bits < 0, ~bits, bits | np.int32(-(2**31))).view(np.uint32)
        keys[np.isnan(x)] = 0xFFFFFFFF
        return keys
    if kind == "b" or (kind == "u" and size <= 4):
        return x.astype(np.uint32)
    if kind == "i" and size <= 4:
        return (x.astype(np.int64) + 2**31).astype(np.uint32)
    return None


def _ascending(x: Array) -> Array:
    """Along the last axis."""
    n = x.shape[-1]
    if n < FEW or x.dtype.itemsize < 4 or n >= 2**31:
        return np.argsort(x, axis=-1, kind="stable")
    few = x.reshape(-1, n)[0]
    order = None
    # a look at one row spares the fast sort where ties are usual
    if len(np.unique(few[:64])) == min(n, 64):
        order = np.argsort(x, axis=-1)
        values = np.take_along_axis(x, order, -1)
        if (values[..., 1:] > values[..., :-1]).all():
            return order
    keys = _integers(x)
    if keys is None:
        return np.argsort(x, axis=-1, kind="stable")
    both = keys.astype(np.uint64)
    both <<= np.uint64(32)
    both |= np.arange(n, dtype=np.uint64)
    both.sort(axis=-1)
    both &= np.uint64(0xFFFFFFFF)
    return both.view(np.int64)


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
    if descending:
        # what stands last among equals must come first, so that it ends up last
        order = _ascending(np.ascontiguousarray(last[..., ::-1]))[..., ::-1]
        np.subtract(x.shape[axis] - 1, order, out=order)
    else:
        order = _ascending(np.ascontiguousarray(last))
    order = order if k is None else order[..., :k]
    return np.ascontiguousarray(np.moveaxis(order, -1, axis))
