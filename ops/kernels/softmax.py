"""Softmax and log-softmax along one axis, forward and backward."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.jit import THREADED, Kernel, helper, kernel, share
from tensorgraph.ops.kernels.rows import (
    CHUNK,
    NARROW,
    TILE,
    as_rows,
    dot_from,
    exponentials,
    find,
    from_rows,
    peak,
    peak_positive,
    tail,
    tail_from,
    total,
    wide_total,
    work_dtype,
)
from tensorgraph.ops.kernels.scalar import exp_low, expm1, log1p

__all__ = ["log_softmax_backward", "log_softmax_forward", "normalizers", "softmax_backward", "softmax_forward"]

Array = np.ndarray[Any, Any]

# seconds a number and a row, for the choice between one thread and several
FORWARD, BACKWARD = 0.4e-9, 0.3e-9
# numbers of a wide row among which its largest is looked for at a time: only one such part is looked through again
PAGE = 4096


@kernel
def _softmax(x: Any, y: Any, lo: int, hi: int) -> None:
    width = x.shape[1]
    if width <= NARROW:
        rows = TILE // width
        for start in range(lo, hi, rows):
            stop = min(start + rows, hi)
            for r in range(start, stop):
                top = peak(x[r])
                for j in range(width):
                    y[r, j] = x[r, j] - top
            tile = y[start:stop].reshape((stop - start) * width)
            for i in range(tile.size):
                tile[i] = exp_low(tile[i])
            for r in range(start, stop):
                scale = x.dtype.type(1.0 / total(y[r]))
                for j in range(width):
                    y[r, j] *= scale
        return
    for r in range(lo, hi):
        row, out = x[r], y[r]
        top = peak(row)
        s = np.float64(0.0)
        for start in range(0, width, CHUNK):
            s += exponentials(row[start : start + CHUNK], top, out[start : start + CHUNK])
        scale = x.dtype.type(1.0 / s)
        for j in range(width):
            out[j] *= scale


@helper(inline=False)
def normalizers(x: Any, lse: Any, lo: int, hi: int) -> None:
    """Log of the sum of exponentials of rows `lo` to `hi`, as the pair of maximum and log of the rest.

    ``lse[0, r]`` is the maximum m of the row and ``lse[1, r]`` is ln sum_c e^(x_c - m), accurate relative to itself
    however near 0 it is. Their sum would be rounded to the maximum's last place, 1e-3 at 1e4 in float32.
    """
    width = x.shape[1]
    tops, logs = lse[0], lse[1]
    if width <= NARROW:
        rows = TILE // width
        scratch = np.empty(rows * width, x.dtype)
        for start in range(lo, hi, rows):
            count = min(rows, hi - start)
            for k in range(count):
                row = x[start + k]
                top = peak(row)
                tops[start + k] = top
                part = scratch[k * width : (k + 1) * width]
                for j in range(width):
                    part[j] = row[j] - top
            for i in range(count * width):
                scratch[i] = exp_low(scratch[i])
            for k in range(count):
                ones, rest = tail(scratch[k * width : (k + 1) * width])
                logs[start + k] = (ones - 1.0) + rest
    else:
        for r in range(lo, hi):
            top = peak(x[r])
            tops[r] = top
            ones, rest = tail_from(x[r], top)
            logs[r] = (ones - 1.0) + rest
    part = logs[lo:hi]
    for i in range(part.size):
        part[i] = log1p(part[i])


@kernel
def _log_softmax(x: Any, y: Any, lse: Any, lo: int, hi: int) -> None:
    normalizers(x, lse, lo, hi)
    for r in range(lo, hi):
        top, log = lse[0, r], lse[1, r]
        for j in range(x.shape[1]):
            y[r, j] = (x[r, j] - top) - log


@kernel
def _softmax_vjp(g: Any, y: Any, dx: Any, lo: int, hi: int) -> None:
    width = y.shape[1]
    for r in range(lo, hi):
        # g enters by its differences alone. Counted from its value at the likeliest class, the sum has no term of g's
        # own size, which would drown the gradient in rounding where g is nearly constant or one class has it all
        h = dx[r]
        if width <= NARROW:
            k = 0
            for j in range(1, width):
                k = j if y[r, j] > y[r, k] else k
            base = g[r, k]
            s = np.float64(0.0)
            for j in range(width):
                h[j] = g[r, j] - base
                s += np.float64(h[j]) * np.float64(y[r, j])
            mean = y.dtype.type(s)
            for j in range(width):
                h[j] = y[r, j] * (h[j] - mean)
            continue
        top, at = y[r, 0], 0
        for start in range(0, width, PAGE):
            p = peak_positive(y[r, start : start + PAGE])
            top, at = (p, start) if p > top else (top, at)
        k = at + find(y[r, at : at + PAGE], top)
        base = g[r, k if k < width else 0]
        mean = y.dtype.type(dot_from(g[r], base, y[r]))
        for j in range(width):
            h[j] = y[r, j] * ((g[r, j] - base) - mean)


@kernel
def _log_softmax_vjp(g: Any, y: Any, dx: Any, lo: int, hi: int) -> None:
    width = y.shape[1]
    half = y.dtype.type(-0.6931471805599453)
    rows = max(1, TILE // width)
    for start in range(lo, hi, rows):
        stop = min(start + rows, hi)
        source = y[start:stop].reshape((stop - start) * width)
        tile = dx[start:stop].reshape((stop - start) * width)
        if width <= NARROW:
            for i in range(tile.size):
                tile[i] = exp_low(source[i])
        for r in range(start, stop):
            s = wide_total(g[r])
            scale = y.dtype.type(s)
            out = dx[r]
            if width <= NARROW:
                for j in range(width):
                    out[j] = g[r, j] - out[j] * scale
            else:
                for j in range(width):
                    out[j] = g[r, j] - exp_low(y[r, j]) * scale
            top = peak(y[r])
            if (top > half) & (abs(s) < np.inf):
                # where e^y is near 1: e^y - 1 is small and accurate, and g - s is what the others sum to
                k = find(y[r], top)
                others = wide_total(g[r, :k]) + wide_total(g[r, k + 1 :])
                out[k] = y.dtype.type(-others) - expm1(top) * scale


# From here on, the layout that is nearly always met goes straight to the kernel where the work is small: what all
# others need would take as long as the kernel.
_FLOAT32 = np.dtype(np.float32)
# numbers below which one thread is faster
_SMALL = int(THREADED / max(FORWARD, BACKWARD))


def _is_plain(x: Array, axis: int) -> bool:
    return (
        x.dtype is _FLOAT32 and type(x) is np.ndarray and x.ndim == 2 and (axis == -1 or axis == 1) and x.flags.carray
        and x.size > 0
    )  # fmt: skip


def softmax_forward(x: Array, axis: int = -1) -> Array:
    """Softmax along one axis.

    Parameters
    ----------
    x : ndarray
        float16, float32 or float64, of any layout.
    axis : int, optional
        The axis whose numbers sum to one.

    Returns
    -------
    ndarray
        ``e^(x - m) / sum e^(x - m)`` with ``m`` the maximum, of `x`'s shape and dtype. A row with NaN, +inf, or
        nothing but -inf is NaN.
    """
    if _is_plain(x, axis) and x.size < _SMALL:
        y = np.empty(x.shape, _FLOAT32)
        _softmax.call(x, y, 0, len(x))
        return y
    if x.size == 0:
        return np.empty(x.shape, x.dtype)
    dtype = work_dtype(x.dtype)
    rows = as_rows(x, axis, dtype)
    y = np.empty(rows.shape, dtype)
    cost = rows.size * FORWARD
    if cost < THREADED:
        _softmax.call(rows, y, 0, len(rows))
    else:
        share(_softmax, (rows, y), len(rows), cost)
    return from_rows(y, x.shape, axis, x.dtype)


def softmax_backward(g: Array, y: Array, axis: int = -1) -> Array:
    """Gradient of `softmax_forward`.

    Parameters
    ----------
    g, y : ndarray
        Cotangent of the output, and the output, of one shape.
    axis : int, optional
        The axis of the forward pass.

    Returns
    -------
    ndarray
        ``y (g - sum_c g_c y_c)``, of `y`'s shape and dtype.
    """
    return _backward(_softmax_vjp, g, y, axis)


def log_softmax_forward(x: Array, axis: int = -1) -> Array:
    """Logarithm of the softmax along one axis.

    Parameters
    ----------
    x : ndarray
        float16, float32 or float64, of any layout.
    axis : int, optional
        The axis whose exponentials sum to one.

    Returns
    -------
    ndarray
        ``(x - m) - ln sum e^(x - m)`` with ``m`` the maximum, of `x`'s shape and dtype; -inf for a logit of -inf.
    """
    if _is_plain(x, axis) and x.size < _SMALL:
        y = np.empty(x.shape, _FLOAT32)
        _log_softmax.call(x, y, np.empty((2, len(x)), _FLOAT32), 0, len(x))
        return y
    if x.size == 0:
        return np.empty(x.shape, x.dtype)
    dtype = work_dtype(x.dtype)
    rows = as_rows(x, axis, dtype)
    y = np.empty(rows.shape, dtype)
    lse = np.empty((2, len(rows)), dtype)
    cost = rows.size * FORWARD
    if cost < THREADED:
        _log_softmax.call(rows, y, lse, 0, len(rows))
    else:
        share(_log_softmax, (rows, y, lse), len(rows), cost)
    return from_rows(y, x.shape, axis, x.dtype)


def log_softmax_backward(g: Array, y: Array, axis: int = -1) -> Array:
    """Gradient of `log_softmax_forward`.

    Parameters
    ----------
    g, y : ndarray
        Cotangent of the output, and the output, of one shape.
    axis : int, optional
        The axis of the forward pass.

    Returns
    -------
    ndarray
        ``g - e^y sum_c g_c``, of `y`'s shape and dtype.
    """
    return _backward(_log_softmax_vjp, g, y, axis)


def _backward(run: Kernel, g: Array, y: Array, axis: int) -> Array:
    if y.size < _SMALL and _is_plain(y, axis) and _is_plain(g, axis):
        dx = np.empty(y.shape, _FLOAT32)
        run.call(g, y, dx, 0, len(y))
        return dx
    if y.size == 0:
        return np.empty(y.shape, y.dtype)
    dtype = work_dtype(y.dtype)
    cotangent, rows = as_rows(g, axis, dtype), as_rows(y, axis, dtype)
    dx = np.empty(rows.shape, dtype)
    cost = rows.size * BACKWARD
    if cost < THREADED:
        run.call(cotangent, rows, dx, 0, len(rows))
    else:
        share(run, (cotangent, rows, dx), len(rows), cost)
    return from_rows(dx, y.shape, axis, y.dtype)
