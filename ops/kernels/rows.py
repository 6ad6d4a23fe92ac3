"""What the row-wise kernels share: an axis seen as rows, and the reductions of one row.

Rows narrower than `NARROW` are worked on a tile of many rows at a time: the scalar functions then run over the whole
tile, so that ten classes use vector instructions as fully as fifty thousand.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgraph.jit import SUMS, helper, uniform
from tensorgraph.ops.kernels.bits import bits, from_bits, ordered, unordered
from tensorgraph.ops.kernels.scalar import exp_low

__all__ = [
    "CHUNK",
    "NARROW",
    "TILE",
    "as_rows",
    "aside",
    "dot_from",
    "exponentials",
    "find",
    "from_rows",
    "peak",
    "peak_positive",
    "tail",
    "tail_from",
    "total",
    "wide_total",
    "work_dtype",
]

Array = np.ndarray[Any, Any]

NARROW = 96
# numbers in a tile of narrow rows: a few kilobytes, which stay in the first cache between the passes
TILE = 1024
# numbers of a wide row that are summed in the row's own dtype before the sum goes on in float64
CHUNK = 512

_FLOAT32 = np.dtype(np.float32)
_FLOAT64 = np.dtype(np.float64)


def work_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype that kernels compute in: float64 for float64, float32 for what is narrower."""
    return _FLOAT64 if dtype == _FLOAT64 else _FLOAT32


def as_rows(x: Array, axis: int, dtype: np.dtype[Any]) -> Array:
    """`x` as (rows, length of `axis`), as kernels take it; a copy only where layout or dtype ask for it."""
    if axis not in (-1, x.ndim - 1):
        x = np.moveaxis(x, axis, -1)
    x = uniform(x, dtype)
    return x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def aside(x: Any, axis: int, copies: int) -> int:
    """Bytes of the copies that bringing `axis` to the end and back asks for."""
    return 0 if axis in (-1, x.ndim - 1) else copies * x.nbytes


def from_rows(y: Array, shape: tuple[int, ...], axis: int, dtype: np.dtype[Any]) -> Array:
    """Undo `as_rows`: a C-contiguous array of `shape` and `dtype`."""
    if axis not in (-1, len(shape) - 1):
        axis %= len(shape)
        moved = y.reshape(shape[:axis] + shape[axis + 1 :] + shape[axis : axis + 1])
        return np.ascontiguousarray(np.moveaxis(moved, -1, axis), dtype)
    if len(shape) != 2:
        y = y.reshape(shape)
    return y if y.dtype == dtype else y.astype(dtype)


@helper
def peak(row: Any) -> Any:
    """Largest number of a row.

    Where the row holds a NaN it may be that or any other: the row's sum of exponentials is NaN then all the same.
    """
    best = ordered(row[0])
    for j in range(1, row.size):
        k = ordered(row[j])
        best = k if k > best else best
    return unordered(best)


@helper
def peak_positive(row: Any) -> Any:
    """`peak` of a row without negative numbers, whose bits are in their own order."""
    best = bits(row[0])
    for j in range(1, row.size):
        k = bits(row[j])
        best = k if k > best else best
    return from_bits(best)


@helper(flags=SUMS, inline=False)
def _sum(row: Any) -> Any:
    s = row.dtype.type(0)
    for j in range(row.size):
        s += row[j]
    return s


@helper
def _product(g: Any, base: Any, y: Any) -> Any:
    return (g - base) * y


@helper(flags=SUMS, inline=False)
def _product_sum(g: Any, base: Any, y: Any) -> Any:
    s = g.dtype.type(0)
    for j in range(g.size):
        s += _product(g[j], base, y[j])
    return s


@helper
def _minus(x: Any, top: Any) -> Any:
    # a helper of its own: the flags of sums are not for this subtraction
    return x - top


@helper(flags=SUMS, inline=False)
def exponentials(row: Any, top: Any, out: Any) -> Any:
    """e^(x - top) of a part of a row into `out`; their sum, in the row's own dtype."""
    s = row.dtype.type(0)
    for j in range(row.size):
        e = exp_low(_minus(row[j], top))
        out[j] = e
        s += e
    return s


@helper(flags=SUMS, inline=False)
def _tail(row: Any) -> Any:
    zero, one = row.dtype.type(0), row.dtype.type(1)
    ones, rest = np.int32(0), zero
    for j in range(row.size):
        e = row[j]
        # the count is an integer: a sum of chosen ones and zeros does not vectorise
        ones = np.int32(ones + np.int32(e == one))
        rest = rest + (zero if e == one else e)
    return ones, rest


@helper(flags=SUMS, inline=False)
def _tail_from(row: Any, top: Any) -> Any:
    zero, one = row.dtype.type(0), row.dtype.type(1)
    ones, rest = np.int32(0), zero
    for j in range(row.size):
        e = exp_low(_minus(row[j], top))
        ones = np.int32(ones + np.int32(e == one))
        rest = rest + (zero if e == one else e)
    return ones, rest


@helper
def total(row: Any) -> Any:
    """Sum of a row, as float64."""
    if row.size <= CHUNK:
        return np.float64(_sum(row))
    s = np.float64(0.0)
    for j in range(0, row.size, CHUNK):
        s += _sum(row[j : j + CHUNK])
    return s


@helper(flags=SUMS, inline=False)
def wide_total(row: Any) -> Any:
    """Sum of a row of numbers that may cancel, added as float64."""
    s = np.float64(0.0)
    for j in range(row.size):
        s += np.float64(row[j])
    return s


@helper
def dot_from(g: Any, base: Any, y: Any) -> Any:
    """Sum of (g - base) y over two rows, as float64."""
    s = np.float64(0.0)
    for j in range(0, g.size, CHUNK):
        s += _product_sum(g[j : j + CHUNK], base, y[j : j + CHUNK])
    return s


@helper
def tail(row: Any) -> Any:
    """Of a row of exponentials e^(x - max x): how many are 1, and the sum of the others, both as float64.

    Apart, because where one class has nearly all the probability, the log of ``1 + tiny`` would be lost in rounding.
    """
    ones, rest = np.float64(0.0), np.float64(0.0)
    for j in range(0, row.size, CHUNK):
        a, b = _tail(row[j : j + CHUNK])
        ones += a
        rest += b
    return ones, rest


@helper
def tail_from(row: Any, top: Any) -> Any:
    """`tail` of e^(x - top), without keeping the exponentials."""
    ones, rest = np.float64(0.0), np.float64(0.0)
    for j in range(0, row.size, CHUNK):
        a, b = _tail_from(row[j : j + CHUNK], top)
        ones += a
        rest += b
    return ones, rest


@helper(flags=SUMS, inline=False)
def find(row: Any, value: Any) -> Any:
    """Position of the first number of a row that equals `value`; the row's length where there is none."""
    first = row.size
    for j in range(row.size):
        k = j if row[j] == value else row.size
        first = k if k < first else first
    return first
