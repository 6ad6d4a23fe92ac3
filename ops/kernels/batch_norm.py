"""Batch normalisation over all axes but one, forward and backward, with or without a ReLU after it.

For a channel with values x_1 .. x_m, weight gamma and shift beta (Ioffe & Szegedy 2015, arXiv 1502.03167)::

    mu  = sum x_i / m         var = sum (x_i - mu)^2 / m         r = 1 / sqrt(var + eps)
    h_i = x_i - mu            y_i = h_i r gamma + beta

and for cotangents g of y, g_mu of mu and g_var of var::

    dbeta = sum g_i           dgamma = r sum g_i h_i
    dx_i  = gamma r (g_i - dbeta / m - h_i r dgamma / m) + g_mu / m + 2 h_i g_var / m

The arrays are walked in the order of memory, row after row of channels. mu is kept as the unrounded pair of `shift`,
the channel's first value, and `offset`, the mean of x - shift in float64, so that h = (x - shift) - offset is accurate
also where the mean is a million times the deviation, and is exactly 0 in a constant channel. The moments are taken of
eight rows at a time, centred on their own mean, and merged (Chan, Golub & LeVeque 1983): no difference of large sums.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.jit import THREADED, helper, kernel, share, uniform
from tensorgraph.ops.kernels.rows import as_rows, from_rows, work_dtype

__all__ = ["batch_norm_backward", "batch_norm_forward", "batch_norm_relu_backward", "batch_norm_relu_forward"]

Array = np.ndarray[Any, Any]

# seconds a number, for the choice between one thread and several
FORWARD, BACKWARD = 0.28e-9, 0.42e-9

# rows whose sums are taken together, before these are merged: keeps the error from growing with the rows
BLOCK = 128

# the stages of a kernel are 1, the sums over its rows, 2, the merging of all sums, 4, what is done with them; or all
ALL = 7


@helper
def _value(h: Any, a: Any, b: Any, low: Any) -> Any:
    """One output from its centred input."""
    v = h * a + b
    return low if v < low else v


@helper
def _through(g: Any, h: Any, a: Any, b: Any, plain: bool, zero: Any) -> Any:
    """A cotangent on its way through the ReLU, whose input is computed as in the forward pass."""
    return g if plain | (h * a + b > zero) else zero


@helper
def _merge(work: Any, rows: int) -> None:
    """Merge the moments of all blocks of rows into those of the first."""
    n = float(min(BLOCK, rows))
    for k in range(1, work.shape[0] // 2):
        more = float(min(BLOCK, rows - k * BLOCK))
        share, cross = more / (n + more), n * more / (n + more)
        for j in range(work.shape[1]):
            delta = work[2 * k, j] - work[0, j]
            work[0, j] += delta * share
            work[1, j] += work[2 * k + 1, j] + delta * (delta * cross)
        n += more


@helper
def _moments(x: Any, work: Any, i: int, lo: int, hi: int) -> None:
    """Mean of x - x[0], and sum of squares about it, of rows `lo` to `hi`, into rows `i` and `i + 1` of `work`."""
    channels = x.shape[1]
    eighth = x.dtype.type(0.125)
    for j in range(channels):
        work[i, j] = 0.0
        work[i + 1, j] = 0.0
    n = 0.0
    r = lo
    # more than eight rows at once would fall out of the first cache where a row's length is a power of two
    while r + 8 <= hi:
        share, cross = 8.0 / (n + 8.0), n * 8.0 / (n + 8.0)
        for j in range(channels):
            s = x[0, j]
            d0, d1, d2, d3 = x[r, j] - s, x[r + 1, j] - s, x[r + 2, j] - s, x[r + 3, j] - s
            d4, d5, d6, d7 = x[r + 4, j] - s, x[r + 5, j] - s, x[r + 6, j] - s, x[r + 7, j] - s
            m = (((d0 + d1) + (d2 + d3)) + ((d4 + d5) + (d6 + d7))) * eighth
            d0, d1, d2, d3 = d0 - m, d1 - m, d2 - m, d3 - m
            d4, d5, d6, d7 = d4 - m, d5 - m, d6 - m, d7 - m
            q = ((d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)) + ((d4 * d4 + d5 * d5) + (d6 * d6 + d7 * d7))
            delta = np.float64(m) - work[i, j]
            work[i, j] += delta * share
            work[i + 1, j] += np.float64(q) + delta * (delta * cross)
        n += 8.0
        r += 8
    while r < hi:
        share, cross = 1.0 / (n + 1.0), n / (n + 1.0)
        for j in range(channels):
            delta = np.float64(x[r, j] - x[0, j]) - work[i, j]
            work[i, j] += delta * share
            work[i + 1, j] += delta * (delta * cross)
        n += 1.0
        r += 1


@kernel(apart=True, staged=True)
def _forward(
    x: Any,
    gamma: Any,
    beta: Any,
    eps: float,
    floor: float,
    work: Any,
    mu: Any,
    var: Any,
    offset: Any,
    y: Any,
    stage: int,
    lo: int,
    hi: int,
) -> None:
    """Rows `lo` to `hi`, one stage of three; `work` holds mean and sum of squares of each block of rows."""
    channels = x.shape[1]
    if stage & 1:
        for start in range(lo, hi, BLOCK):
            i = 2 * (start // BLOCK)
            _moments(x, work, i, start, min(start + BLOCK, hi))
    if stage & 2:
        _merge(work, x.shape[0])
    if stage & 4:
        one = x.dtype.type
        m = np.float64(x.shape[0])
        o, a = np.empty(channels, x.dtype), np.empty(channels, x.dtype)
        for j in range(channels):
            # a channel with a value that is no number, or infinite, has no mean and no variance
            v = one(work[1, j] / m) if np.isfinite(work[0, j]) else one(np.nan)
            o[j] = one(work[0, j])
            a[j] = one(gamma[j] / np.sqrt(np.float64(v) + eps))
            if lo == 0:
                var[j] = v
                offset[j] = work[0, j]
                mu[j] = one(np.float64(x[0, j]) + work[0, j]) if v == v else v
        low = one(floor)
        # from the last row, which is still in the cache, and four at a time: the channels' numbers are loaded once
        r = hi
        while r - 4 >= lo:
            r -= 4
            for j in range(channels):
                t, u, c, b = x[0, j], o[j], a[j], beta[j]
                y[r, j] = _value((x[r, j] - t) - u, c, b, low)
                y[r + 1, j] = _value((x[r + 1, j] - t) - u, c, b, low)
                y[r + 2, j] = _value((x[r + 2, j] - t) - u, c, b, low)
                y[r + 3, j] = _value((x[r + 3, j] - t) - u, c, b, low)
        while r > lo:
            r -= 1
            for j in range(channels):
                y[r, j] = _value((x[r, j] - x[0, j]) - o[j], a[j], beta[j], low)


@kernel(apart=True, staged=True)
def _backward(
    g: Any,
    g_mu: Any,
    g_var: Any,
    x: Any,
    gamma: Any,
    beta: Any,
    shift: Any,
    offset: Any,
    var: Any,
    eps: float,
    plain: bool,
    work: Any,
    dx: Any,
    dgamma: Any,
    dbeta: Any,
    stage: int,
    lo: int,
    hi: int,
) -> None:
    """Rows `lo` to `hi`, one stage of three; `work` holds the sums of g and of g h of each block of rows."""
    channels = x.shape[1]
    one = x.dtype.type
    zero = one(0)
    m = np.float64(x.shape[0])
    o, a = np.empty(channels, x.dtype), np.empty(channels, x.dtype)
    for j in range(channels):
        o[j] = one(offset[j])
        a[j] = one(gamma[j] / np.sqrt(np.float64(var[j]) + eps))
    if stage & 1:
        for start in range(lo, hi, BLOCK):
            i = 2 * (start // BLOCK)
            for j in range(channels):
                work[i, j] = 0.0
                work[i + 1, j] = 0.0
            stop = min(start + BLOCK, hi)
            r = start
            while r + 4 <= stop:
                for j in range(channels):
                    s, t, c, b = shift[j], o[j], a[j], beta[j]
                    h0, h1 = (x[r, j] - s) - t, (x[r + 1, j] - s) - t
                    h2, h3 = (x[r + 2, j] - s) - t, (x[r + 3, j] - s) - t
                    f0, f1 = _through(g[r, j], h0, c, b, plain, zero), _through(g[r + 1, j], h1, c, b, plain, zero)
                    f2, f3 = _through(g[r + 2, j], h2, c, b, plain, zero), _through(g[r + 3, j], h3, c, b, plain, zero)
                    work[i, j] += np.float64((f0 + f1) + (f2 + f3))
                    work[i + 1, j] += np.float64((f0 * h0 + f1 * h1) + (f2 * h2 + f3 * h3))
                r += 4
            while r < stop:
                for j in range(channels):
                    h = (x[r, j] - shift[j]) - o[j]
                    f = _through(g[r, j], h, a[j], beta[j], plain, zero)
                    work[i, j] += np.float64(f)
                    work[i + 1, j] += np.float64(f) * np.float64(h)
                r += 1
    if stage & 2:
        for i in range(2, work.shape[0], 2):
            for j in range(channels):
                work[0, j] += work[i, j]
                work[1, j] += work[i + 1, j]
    if stage & 4:
        center, slope, level = np.empty(channels, x.dtype), np.empty(channels, x.dtype), np.empty(channels, x.dtype)
        for j in range(channels):
            # h was taken with the offset rounded to x's dtype
            total = work[0, j]
            product = work[1, j]
            if abs(total) < np.inf:
                product -= (offset[j] - np.float64(o[j])) * total
            inverse = 1.0 / np.sqrt(np.float64(var[j]) + eps)
            center[j] = one(total / m)
            # where the variance overflowed the output is beta, however large the product is
            product = 0.0 if (inverse == 0.0) & (abs(product) == np.inf) else product
            bend = gamma[j] * inverse * inverse * inverse * product
            slope[j] = one((2.0 * g_var[j] - bend) / m)
            level[j] = one(g_mu[j] / m)
            if lo == 0:
                dbeta[j] = one(total)
                dgamma[j] = one(product * inverse)
        r = hi
        while r - 4 >= lo:
            r -= 4
            for j in range(channels):
                s, t, c, b = shift[j], o[j], a[j], beta[j]
                h0, h1, h2, h3 = (x[r, j] - s) - t, (x[r + 1, j] - s) - t, (x[r + 2, j] - s) - t, (x[r + 3, j] - s) - t
                f0, f1 = _through(g[r, j], h0, c, b, plain, zero), _through(g[r + 1, j], h1, c, b, plain, zero)
                f2, f3 = _through(g[r + 2, j], h2, c, b, plain, zero), _through(g[r + 3, j], h3, c, b, plain, zero)
                p, q, z = center[j], slope[j], level[j]
                dx[r, j] = ((f0 - p) * c + h0 * q) + z
                dx[r + 1, j] = ((f1 - p) * c + h1 * q) + z
                dx[r + 2, j] = ((f2 - p) * c + h2 * q) + z
                dx[r + 3, j] = ((f3 - p) * c + h3 * q) + z
        while r > lo:
            r -= 1
            for j in range(channels):
                h = (x[r, j] - shift[j]) - o[j]
                f = _through(g[r, j], h, a[j], beta[j], plain, zero)
                dx[r, j] = ((f - center[j]) * a[j] + h * slope[j]) + level[j]


def batch_norm_forward(
    x: Array, gamma: Array, beta: Array, axis: int = 1, eps: float = 1e-5
) -> tuple[Array, Array, Array, Array, Array]:
    """Normalise each channel by its own mean and variance.

    Parameters
    ----------
    x : ndarray
        float16, float32 or float64, of any layout.
    gamma, beta : ndarray
        Scale and shift of each channel, shape (C,).
    axis : int, optional
        The axis of the channels.
    eps : float, optional
        Added to the variance.

    Returns
    -------
    y : ndarray
        ``(x - mu) r gamma + beta``, of `x`'s shape and dtype; exactly beta in a constant channel.
    mu, var : ndarray
        Mean and biased variance of each channel, at least float32. Both are NaN where the channel holds a NaN or an
        infinity. Without a value in the channel they are NaN too.
    shift, offset : ndarray
        The mean as an unrounded pair for the backward pass: the channel's first value, in `mu`'s dtype, and the mean
        of what is left after subtracting it, in float64.
    """
    return _run_forward(x, gamma, beta, axis, eps, -np.inf)


def batch_norm_relu_forward(
    x: Array, gamma: Array, beta: Array, axis: int = 1, eps: float = 1e-5
) -> tuple[Array, Array, Array, Array, Array]:
    """`batch_norm_forward` with ``max(y, 0)`` in place of y; NaN stays NaN."""
    return _run_forward(x, gamma, beta, axis, eps, 0.0)


def _run_forward(
    x: Array, gamma: Array, beta: Array, axis: int, eps: float, floor: float
) -> tuple[Array, Array, Array, Array, Array]:
    dtype = work_dtype(x.dtype)
    channels = x.shape[axis]
    if x.size == 0:
        nothing = np.full(channels, np.nan, dtype)
        return np.empty(x.shape, x.dtype), nothing, nothing.copy(), np.zeros(channels, dtype), np.zeros(channels)
    rows = as_rows(x, axis, dtype)
    gamma, beta = uniform(gamma, dtype), uniform(beta, dtype)
    n = len(rows)
    mu, var, offset = np.empty(channels, dtype), np.empty(channels, dtype), np.empty(channels)
    y = np.empty(rows.shape, dtype)
    work = np.empty((2 * (-(-n // BLOCK)), channels))
    args = (rows, gamma, beta, eps, floor, work, mu, var, offset, y)
    cost = rows.size * FORWARD
    if cost < THREADED:
        _forward.call(*args, ALL, 0, n)
    else:
        share(_forward, args, n, cost, BLOCK)
    return from_rows(y, x.shape, axis, x.dtype), mu, var, rows[0].copy(), offset


def batch_norm_backward(
    g_y: Array | None,
    g_mu: Array | None,
    g_var: Array | None,
    x: Array,
    gamma: Array,
    shift: Array,
    offset: Array,
    var: Array,
    axis: int = 1,
    eps: float = 1e-5,
) -> tuple[Array, Array, Array]:
    """Gradients of `batch_norm_forward`; the formulas are at the head of this module.

    Parameters
    ----------
    g_y, g_mu, g_var : ndarray or None
        Cotangents of y, mu and var; None stands for zero.
    x, gamma, axis, eps
        As in the forward pass.
    shift, offset, var : ndarray
        What the forward pass returned.

    Returns
    -------
    dx, dgamma, dbeta : ndarray
        Of the shape and dtype of `x`, `gamma` and `gamma`.
    """
    return _run_backward(g_y, g_mu, g_var, x, gamma, None, shift, offset, var, axis, eps)


def batch_norm_relu_backward(
    g_y: Array | None,
    g_mu: Array | None,
    g_var: Array | None,
    x: Array,
    gamma: Array,
    beta: Array,
    shift: Array,
    offset: Array,
    var: Array,
    axis: int = 1,
    eps: float = 1e-5,
) -> tuple[Array, Array, Array]:
    """Gradients of `batch_norm_relu_forward`; as `batch_norm_backward`, with `beta` to find where the ReLU was 0.

    The derivative of the ReLU at 0 is 0.
    """
    return _run_backward(g_y, g_mu, g_var, x, gamma, beta, shift, offset, var, axis, eps)


def _run_backward(
    g_y: Array | None,
    g_mu: Array | None,
    g_var: Array | None,
    x: Array,
    gamma: Array,
    beta: Array | None,
    shift: Array,
    offset: Array,
    var: Array,
    axis: int,
    eps: float,
) -> tuple[Array, Array, Array]:
    dtype = work_dtype(x.dtype)
    last = gamma.dtype if beta is None else beta.dtype
    if x.size == 0:
        return np.empty(x.shape, x.dtype), np.zeros(gamma.shape, gamma.dtype), np.zeros(gamma.shape, last)
    rows = as_rows(x, axis, dtype)
    n, channels = rows.shape
    g = np.zeros(rows.shape, dtype) if g_y is None else as_rows(g_y, axis, dtype)
    none = np.zeros(channels, dtype) if g_mu is None or g_var is None or beta is None else gamma
    g_mu = none if g_mu is None else uniform(g_mu, dtype)
    g_var = none if g_var is None else uniform(g_var, dtype)
    plain = beta is None
    level = none if beta is None else uniform(beta, dtype)
    scale = uniform(gamma, dtype)
    shift, offset, var = uniform(shift, dtype), uniform(offset, offset.dtype), uniform(var, dtype)
    dx = np.empty(rows.shape, dtype)
    dgamma, dbeta = np.empty(channels, dtype), np.empty(channels, dtype)
    work = np.empty((2 * (-(-n // BLOCK)), channels))
    args = (g, g_mu, g_var, rows, scale, level, shift, offset, var, eps, plain, work, dx, dgamma, dbeta)
    cost = rows.size * BACKWARD
    if cost < THREADED:
        _backward.call(*args, ALL, 0, n)
    else:
        share(_backward, args, n, cost, BLOCK)
    if dgamma.dtype != gamma.dtype:
        dgamma = dgamma.astype(gamma.dtype)
    return from_rows(dx, x.shape, axis, x.dtype), dgamma, dbeta if dbeta.dtype == last else dbeta.astype(last)
