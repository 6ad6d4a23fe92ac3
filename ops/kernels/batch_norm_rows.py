"""Kernels of batch normalisation; formulas and drivers are in `batch_norm`.

Each has four stages: what comes before, sums over blocks of rows, the merging of all sums, and what is done with them.
mu is taken as c, its nearest number of x's dtype, and what c lacks of it. That is found from means of blocks which are
kept in two numbers each: rounded to one, they would put a sum of gradients off by as much, times all rows. x - c is
exact near the mean, so that an output ``(x - c) a + b`` is accurate also where the mean is a million times the
deviation.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.jit import helper, kernel

__all__ = ["ALL", "BLOCK", "backward", "forward", "gather", "shortfall", "over_deviation", "through"]

# rows whose sums are taken together, before these are merged: keeps the error from growing with the rows
BLOCK = 128

# rows whose sums are taken in the array's own dtype
FEW = 8

# the stages of a kernel are 1, what comes before, 2, the sums over its rows, 4, the merging of all sums, 8, what is
# done with them; or all
ALL = 15


@helper
def shortfall(a: Any, b: Any, whole: Any) -> Any:
    """What `whole` lacks of the sum of a and b, of which it is the rounded one (Knuth)."""
    back = whole - a
    return (a - (whole - back)) + (b - back)


@helper
def over_deviation(value: Any, var: Any, eps: float) -> Any:
    """value / sqrt(var + eps) in float64; 0 where that is infinite: without eps too a constant channel gives beta."""
    s = np.float64(var) + eps
    return 0.0 if s == 0.0 else value / np.sqrt(s)


@helper
def _lines(rest: Any, var: Any, gamma: Any, beta: Any, eps: float, a: Any, b: Any) -> None:
    """a and b of the output ``(x - c) a + b`` of each channel.

    x - c is exact near the mean; what c lacks of the mean, `rest`, is in b.
    """
    one = a.dtype.type
    for j in range(a.size):
        a[j] = one(over_deviation(gamma[j], var[j], eps))
        b[j] = one(np.float64(beta[j]) - rest[j] * np.float64(a[j])) if rest[j] != 0.0 else beta[j]


@helper
def through(g: Any, h: Any, a: Any, b: Any, relu: bool, zero: Any) -> Any:
    """A cotangent on its way through the ReLU, whose input is computed as in the forward pass; NaN passes."""
    return zero if relu & (h * a + b <= zero) else g


@helper
def _merge(work: Any, lost: Any, rows: int) -> None:
    """Merge the moments of all blocks of rows into those of the first, in pairs, then pairs of pairs."""
    blocks = work.shape[0] // 2
    step = 1
    while step < blocks:
        n = float(step * BLOCK)
        for k in range(0, blocks - step, 2 * step):
            other = k + step
            more = min(n, float(rows - other * BLOCK))
            share, cross = more / (n + more), n * more / (n + more)
            for j in range(work.shape[1]):
                mean = work[2 * k, j]
                delta = work[2 * other, j] - mean
                merged = mean + delta * share
                lost[k, j] += (lost[other, j] - lost[k, j]) * share + shortfall(mean, delta * share, merged)
                work[2 * k, j] = merged
                work[2 * k + 1, j] += work[2 * other + 1, j] + delta * (delta * cross)
        step *= 2


@helper
def gather(work: Any) -> None:
    """Add the sums of all blocks of rows to those of the first, likewise in pairs."""
    blocks = work.shape[0] // 2
    step = 1
    while step < blocks:
        for k in range(0, blocks - step, 2 * step):
            other = k + step
            for j in range(work.shape[1]):
                work[2 * k, j] += work[2 * other, j]
                work[2 * k + 1, j] += work[2 * other + 1, j]
        step *= 2


@helper
def _moments(x: Any, work: Any, lost: Any, i: int, lo: int, hi: int) -> None:
    """Mean of x - x[0], and sum of squares about it, of rows `lo` to `hi`, into rows `i` and `i + 1` of `work`.

    What the mean lost by being rounded comes into `lost`.

    The squares are taken about the mean of a few rows from the whole block, which is so near the block's own mean that
    no digits are lost in going from the one to the other.
    """
    channels = x.shape[1]
    eighth = x.dtype.type(0.125)
    center = np.empty(channels, x.dtype)
    n = hi - lo
    for j in range(channels):
        work[i, j] = 0.0
        work[i + 1, j] = 0.0
        center[j] = x[lo, j]
    if n >= 8:
        e = n // 8
        for j in range(channels):
            s = x[0, j]
            d0, d1, d2, d3 = x[lo, j] - s, x[lo + e, j] - s, x[lo + 2 * e, j] - s, x[lo + 3 * e, j] - s
            d4, d5, d6, d7 = x[lo + 4 * e, j] - s, x[lo + 5 * e, j] - s, x[lo + 6 * e, j] - s, x[lo + 7 * e, j] - s
            center[j] = s + (((d0 + d1) + (d2 + d3)) + ((d4 + d5) + (d6 + d7))) * eighth
    r = lo
    # more than eight rows at once would fall out of the first cache where a row's length is a power of two
    while r + 8 <= hi:
        for j in range(channels):
            c = center[j]
            d0, d1, d2, d3 = x[r, j] - c, x[r + 1, j] - c, x[r + 2, j] - c, x[r + 3, j] - c
            d4, d5, d6, d7 = x[r + 4, j] - c, x[r + 5, j] - c, x[r + 6, j] - c, x[r + 7, j] - c
            work[i, j] += np.float64(((d0 + d1) + (d2 + d3)) + ((d4 + d5) + (d6 + d7)))
            work[i + 1, j] += np.float64(
                ((d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)) + ((d4 * d4 + d5 * d5) + (d6 * d6 + d7 * d7))
            )
        r += 8
    while r < hi:
        for j in range(channels):
            d = np.float64(x[r, j] - center[j])
            work[i, j] += d
            work[i + 1, j] += d * d
        r += 1
    for j in range(channels):
        t = work[i, j] / n
        q = work[i + 1, j] - t * work[i, j]
        # where both overflowed, so does the sum of squares about the mean
        q = np.inf if (q != q) & np.isfinite(work[i, j]) else q
        work[i + 1, j] = 0.0 if q < 0.0 else q
        near, first = np.float64(center[j]), np.float64(x[0, j])
        off = near - first
        work[i, j] = off + t
        lost[j] = shortfall(near, -first, off) + shortfall(off, t, work[i, j])


@helper
def _normalise(x: Any, lines: Any, y: Any, lo: int, hi: int, relu: bool) -> None:
    center, a, b = lines[0], lines[1], lines[2]
    zero = x.dtype.type(0)
    # a row after the other, as memory likes it: with several at a time, large arrays take twice as long
    for r in range(lo, hi):
        for j in range(x.shape[1]):
            v = (x[r, j] - center[j]) * a[j] + b[j]
            y[r, j] = zero if relu & (v < zero) else v


@kernel(apart=True, staged=True)
def forward(
    x: Any,
    gamma: Any,
    beta: Any,
    eps: float,
    relu: bool,
    work: Any,
    lost: Any,
    lines: Any,
    mu: Any,
    var: Any,
    rest: Any,
    y: Any,
    stage: int,
    lo: int,
    hi: int,
) -> None:
    """Rows `lo` to `hi`, one stage of three; `work` holds mean and sum of squares of each block of rows.

    mu is left in lines[0] and what that lacks of it in `rest`.
    """
    channels = x.shape[1]
    if stage & 2:
        for start in range(lo, hi, BLOCK):
            i = 2 * (start // BLOCK)
            _moments(x, work, lost[i // 2], i, start, min(start + BLOCK, hi))
    if stage & 4:
        _merge(work, lost, x.shape[0])
        one = x.dtype.type
        m = np.float64(x.shape[0])
        for j in range(channels):
            # a channel with a value that is no number, or infinite, has no mean and no variance
            var[j] = one(work[1, j] / m) if np.isfinite(work[0, j]) else one(np.nan)
            first = np.float64(x[0, j])
            mean = first + work[0, j]
            lines[0, j] = one(mean)
            rest[j] = (mean - np.float64(lines[0, j])) + (shortfall(first, work[0, j], mean) + lost[0, j])
            mu[j] = lines[0, j] if var[j] == var[j] else var[j]
        _lines(rest, var, gamma, beta, eps, lines[1], lines[2])
    if stage & 8:
        if relu:
            _normalise(x, lines, y, lo, hi, True)
        else:
            _normalise(x, lines, y, lo, hi, False)


@helper
def _sums(g: Any, x: Any, lines: Any, work: Any, i: int, lo: int, hi: int, relu: bool) -> None:
    """Sums of g and of g (x - c) of rows `lo` to `hi`, into rows `i` and `i + 1` of `work`."""
    channels = x.shape[1]
    zero = x.dtype.type(0)
    center, a, b = lines[0], lines[1], lines[2]
    for j in range(channels):
        work[i, j] = 0.0
        work[i + 1, j] = 0.0
    up, product = np.empty(channels, x.dtype), np.empty(channels, x.dtype)
    for start in range(lo, hi, FEW):
        for j in range(channels):
            up[j] = zero
            product[j] = zero
        for r in range(start, min(start + FEW, hi)):
            for j in range(channels):
                h = x[r, j] - center[j]
                f = through(g[r, j], h, a[j], b[j], relu, zero)
                up[j] += f
                product[j] += f * h
        for j in range(channels):
            work[i, j] += np.float64(up[j])
            work[i + 1, j] += np.float64(product[j])


@helper
def _descend(g: Any, x: Any, lines: Any, dx: Any, lo: int, hi: int, relu: bool) -> None:
    center, a, b, drop, slope, level = lines[0], lines[1], lines[2], lines[3], lines[4], lines[5]
    zero = x.dtype.type(0)
    for r in range(lo, hi):
        for j in range(x.shape[1]):
            h = x[r, j] - center[j]
            f = through(g[r, j], h, a[j], b[j], relu, zero)
            dx[r, j] = (f - drop[j]) * a[j] + (h * slope[j] + level[j])


@kernel(apart=True, staged=True)
def backward(
    g: Any,
    g_mu: Any,
    g_var: Any,
    x: Any,
    gamma: Any,
    beta: Any,
    center: Any,
    rest: Any,
    var: Any,
    eps: float,
    relu: bool,
    work: Any,
    lines: Any,
    dx: Any,
    dgamma: Any,
    dbeta: Any,
    stage: int,
    lo: int,
    hi: int,
) -> None:
    """Rows `lo` to `hi`, one stage of three; `work` holds the sums of g and of g (x - c) of each block of rows."""
    # The stages:
    # 1. the lines a (x - c) + b of each channel;
    # 2. for each block of rows the sums of g and of g (x - c);
    # 4. the blocks' sums in pairs, and from them what each channel's gradient is made of, dbeta and dgamma;
    # 8. dx, a line of g and x. Stages are bits, so that one call does all where one thread works.
    channels = x.shape[1]
    one = x.dtype.type
    m = np.float64(x.shape[0])
    if stage & 1:
        for j in range(channels):
            lines[0, j] = center[j]
        _lines(rest, var, gamma, beta, eps, lines[1], lines[2])
    if stage & 2:
        for start in range(lo, hi, BLOCK):
            i, stop = 2 * (start // BLOCK), min(start + BLOCK, hi)
            if relu:
                _sums(g, x, lines, work, i, start, stop, True)
            else:
                _sums(g, x, lines, work, i, start, stop, False)
    if stage & 4:
        gather(work)
        for j in range(channels):
            total = work[0, j]
            product = work[1, j]
            if abs(total) < np.inf:
                product -= rest[j] * total  # the mean was rounded to x's dtype
            inverse = over_deviation(1.0, var[j], eps)
            # where the variance overflowed the output is beta, however large the product is
            product = 0.0 if (inverse == 0.0) & (abs(product) == np.inf) else product
            bend = gamma[j] * inverse * inverse * inverse * product
            slope = one((2.0 * g_var[j] - bend) / m)
            lines[3, j] = one(total / m)
            lines[4, j] = slope
            lines[5, j] = one(g_mu[j] / m - (np.float64(slope) * rest[j] if rest[j] != 0.0 else 0.0))
            dbeta[j] = one(total)
            dgamma[j] = one(product * inverse)
    if stage & 8:
        if relu:
            _descend(g, x, lines, dx, lo, hi, True)
        else:
            _descend(g, x, lines, dx, lo, hi, False)
