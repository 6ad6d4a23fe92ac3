"""Kernels of batch normalisation where a channel's numbers lie in planes: (examples, channels, positions).

The formulas are those of `batch_norm`. Channels are independent of each other, and a channel's planes stay in the
cache while it is walked three times, as a row of `row_norm` is: for its mean, counted from its first number, for the
sums of what differs from that mean and of the squares, and for the output. So nothing is transposed. Parts of a plane
are summed in the array's own dtype, the parts in float64, and what these sums lose by rounding is kept beside them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.jit import SUMS, helper, kernel
from tensorgraph.ops.kernels.batch_norm_rows import over_deviation, shortfall, through
from tensorgraph.ops.kernels.row_norm import sum_from, sums_from, wide_sums_from
from tensorgraph.ops.kernels.rows import CHUNK

__all__ = ["NARROWEST", "backward", "forward"]

# positions of a plane from which it is walked as it lies
NARROWEST = 8


@helper(inline=False)
def _mean(x: Any, c: int) -> Any:
    """The sum of what differs from the first number of channel c."""
    first = x[0, c, 0]
    s, low = np.float64(0.0), np.float64(0.0)
    for n in range(x.shape[0]):
        for start in range(0, x.shape[2], CHUNK):
            a = np.float64(sum_from(x[n, c, start : start + CHUNK], first))
            whole = s + a
            low += shortfall(s, a, whole)
            s = whole
    return s + low if abs(s) < np.inf else s


@helper(inline=False)
def _moments(x: Any, c: int, center: Any, wide: bool) -> Any:
    """Sums of x - center and of the squares, in channel c; `wide` where those of the own dtype were too large."""
    s, q, low, less = np.float64(0.0), np.float64(0.0), np.float64(0.0), np.float64(0.0)
    for n in range(x.shape[0]):
        for start in range(0, x.shape[2], CHUNK):
            part = x[n, c, start : start + CHUNK]
            if wide:
                a, b = wide_sums_from(part, center)
            else:
                e, f = sums_from(part, center)
                a, b = np.float64(e), np.float64(f)
            whole, square = s + a, q + b
            low += shortfall(s, a, whole)
            less += shortfall(q, b, square)
            s, q = whole, square
    return (s + low if abs(s) < np.inf else s), (q + less if q < np.inf else q)


@helper
def _line(gamma: Any, beta: Any, rest: Any, var: Any, eps: float, one: Any) -> Any:
    """a and b of the output ``(x - c) a + b``."""
    a = one(over_deviation(gamma, var, eps))
    return a, (one(np.float64(beta) - rest * np.float64(a)) if rest != 0.0 else one(beta))


@kernel(apart=True)
def forward(
    x: Any, gamma: Any, beta: Any, eps: float, relu: bool, center: Any, mu: Any, var: Any, rest: Any, y: Any, lo: int,
    hi: int,
) -> None:  # fmt: skip
    """Channels `lo` to `hi` of x (examples, channels, positions)."""
    one = x.dtype.type
    zero = one(0)
    m = np.float64(x.shape[0] * x.shape[2])
    for j in range(lo, hi):
        first = x[0, j, 0]
        s = _mean(x, j)
        if not abs(s) < np.inf:
            s, q = _moments(x, j, first, True)
        c = one(np.float64(first) + s / m)
        s, q = _moments(x, j, c, False)
        if not (abs(s) < np.inf) & (q < np.inf):
            s, q = _moments(x, j, c, True)
        t = s / m
        v = q / m - t * t if q < np.inf else q  # where both overflowed, so does the variance
        v = np.float64(0.0) if v < 0.0 else v
        # a channel with a value that is no number, or infinite, has no mean and no variance
        var[j] = one(v) if abs(s) < np.inf else one(np.nan)
        center[j] = c
        rest[j] = t
        mu[j] = one(np.float64(c) + t) if var[j] == var[j] else var[j]
        a, b = _line(gamma[j], beta[j], t, var[j], eps, one)
        for n in range(x.shape[0]):
            row, out = x[n, j], y[n, j]
            if relu:
                for k in range(row.size):
                    w = (row[k] - c) * a + b
                    out[k] = zero if w < zero else w
            else:
                for k in range(row.size):
                    out[k] = (row[k] - c) * a + b


@helper
def _minus(a: Any, b: Any) -> Any:
    # a helper of its own: the flags of sums are not for this subtraction
    return a - b


@helper(flags=SUMS, inline=False)
def _pulled(g: Any, row: Any, c: Any) -> Any:
    """Sums of g and of g (x - c)."""
    s, q = row.dtype.type(0), row.dtype.type(0)
    for k in range(row.size):
        s += g[k]
        q += g[k] * _minus(row[k], c)
    return s, q


@helper(flags=SUMS, inline=False)
def _pulled_through(g: Any, row: Any, c: Any, a: Any, b: Any) -> Any:
    """The like where a ReLU came after."""
    s, q = row.dtype.type(0), row.dtype.type(0)
    zero = row.dtype.type(0)
    for k in range(row.size):
        h = _minus(row[k], c)
        f = through(g[k], h, a, b, True, zero)
        s += f
        q += f * h
    return s, q


@helper(inline=False)
def _wide_pulled(g: Any, row: Any, c: Any, a: Any, b: Any, relu: bool) -> Any:
    s, q = np.float64(0.0), np.float64(0.0)
    zero = row.dtype.type(0)
    for k in range(row.size):
        h = row[k] - c
        f = through(g[k], h, a, b, relu, zero)
        s += np.float64(f)
        q += np.float64(f) * np.float64(h)
    return s, q


@helper(inline=False)
def _sums(g: Any, x: Any, j: int, c: Any, a: Any, b: Any, relu: bool, wide: bool) -> Any:
    """Sums of g and of g (x - c) of channel j."""
    s, q, low, less = np.float64(0.0), np.float64(0.0), np.float64(0.0), np.float64(0.0)
    for n in range(x.shape[0]):
        for start in range(0, x.shape[2], CHUNK):
            up, row = g[n, j, start : start + CHUNK], x[n, j, start : start + CHUNK]
            if wide:
                d, e = _wide_pulled(up, row, c, a, b, relu)
            elif relu:
                u, v = _pulled_through(up, row, c, a, b)
                d, e = np.float64(u), np.float64(v)
            else:
                u, v = _pulled(up, row, c)
                d, e = np.float64(u), np.float64(v)
            whole, product = s + d, q + e
            low += shortfall(s, d, whole)
            less += shortfall(q, e, product)
            s, q = whole, product
    return (s + low if abs(s) < np.inf else s), (q + less if abs(q) < np.inf else q)


@kernel(apart=True)
def backward(
    g: Any, g_mu: Any, g_var: Any, x: Any, gamma: Any, beta: Any, center: Any, rest: Any, var: Any, eps: float,
    relu: bool, dx: Any, dgamma: Any, dbeta: Any, lo: int, hi: int,
) -> None:  # fmt: skip
    """Channels `lo` to `hi`: the sums, what the channel's gradient is made of, and dx, a line of g and x."""
    one = x.dtype.type
    zero = one(0)
    m = np.float64(x.shape[0] * x.shape[2])
    for j in range(lo, hi):
        c = center[j]
        a, b = _line(gamma[j], beta[j], rest[j], var[j], eps, one)
        total, product = _sums(g, x, j, c, a, b, relu, False)
        if not (abs(total) < np.inf) & (abs(product) < np.inf):
            total, product = _sums(g, x, j, c, a, b, relu, True)
        if abs(total) < np.inf:
            product -= rest[j] * total  # the mean was rounded to x's dtype
        inverse = over_deviation(1.0, var[j], eps)
        # where the variance overflowed the output is beta, however large the product is
        product = 0.0 if (inverse == 0.0) & (abs(product) == np.inf) else product
        bend = gamma[j] * inverse * inverse * inverse * product
        slope = one((2.0 * g_var[j] - bend) / m)
        drop = one(total / m)
        level = one(g_mu[j] / m - (np.float64(slope) * rest[j] if rest[j] != 0.0 else 0.0))
        dbeta[j] = one(total)
        dgamma[j] = one(product * inverse)
        for n in range(x.shape[0]):
            up, row, out = g[n, j], x[n, j], dx[n, j]
            if relu:
                for k in range(row.size):
                    h = row[k] - c
                    out[k] = (through(up[k], h, a, b, True, zero) - drop) * a + (h * slope + level)
            else:
                for k in range(row.size):
                    out[k] = (up[k] - drop) * a + ((row[k] - c) * slope + level)
