"""Rows normalised by their own moments: layer normalisation, and by the root mean square alone.

For a row x_1 .. x_m, weights gamma_j and shifts beta_j::

    mu = sum x_j / m         var = sum (x_j - mu)^2 / m         r = 1 / sqrt(var + eps)
    z_j = (x_j - mu) r       y_j = z_j gamma_j + beta_j

and for cotangents g of y, g_mu of mu and g_var of var, with h_j = g_j gamma_j::

    dx_j = r (h_j - sum h / m - z_j sum h z / m) + g_mu / m + 2 (x_j - mu) g_var / m
    dgamma_j = sum over rows g_j z_j         dbeta_j = sum over rows g_j

By the root mean square, mu is 0 and has no derivative: the second term of dx is left out.

A row is walked three times, while it is in the first cache: for its mean, counted from its first number, for the sums
of what differs from that mean and of the squares, and for the output. mu is kept as the unrounded pair of `center`,
the nearest number of x's dtype, and `rest`, what that lacks of it in float64, so that a large mean costs no digits and
a row that does not vary gives exactly beta.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.jit import SUMS, THREADED, helper, kernel, share, uniform
from tensorgraph.ops.kernels.batch_norm_rows import ALL, BLOCK, gather, over_deviation
from tensorgraph.ops.kernels.rows import CHUNK

__all__ = ["BLOCK", "row_norm_backward", "row_norm_forward", "sum_from", "sums_from", "wide_sums_from"]

Array = np.ndarray[Any, Any]

# seconds a number, for the choice between one thread and several
FORWARD, BACKWARD = 0.3e-9, 0.6e-9


@helper
def _minus(a: Any, b: Any) -> Any:
    # a helper of its own: the flags of sums are not for this subtraction
    return a - b


@helper(flags=SUMS, inline=False)
def sum_from(row: Any, c: Any) -> Any:
    s = row.dtype.type(0)
    for j in range(row.size):
        s += _minus(row[j], c)
    return s


@helper(flags=SUMS, inline=False)
def sums_from(row: Any, c: Any) -> Any:
    s, q = row.dtype.type(0), row.dtype.type(0)
    for j in range(row.size):
        h = _minus(row[j], c)
        s += h
        q += h * h
    return s, q


@helper(inline=False)
def wide_sums_from(row: Any, c: Any) -> Any:
    """The like added in float64, where a sum in the row's own dtype was too large for it."""
    s, q = np.float64(0.0), np.float64(0.0)
    for j in range(row.size):
        h = _minus(row[j], c)
        s += np.float64(h)
        q += np.float64(h * h)
    return s, q


@helper(flags=SUMS, inline=False)
def _pulled(g: Any, gamma: Any, row: Any, c: Any) -> Any:
    """Sums of g gamma and of that times (x - c)."""
    s, q = row.dtype.type(0), row.dtype.type(0)
    for j in range(row.size):
        h = g[j] * gamma[j]
        s += h
        q += h * _minus(row[j], c)
    return s, q


@helper(inline=False)
def _wide_pulled(g: Any, gamma: Any, row: Any, c: Any) -> Any:
    s, q = np.float64(0.0), np.float64(0.0)
    for j in range(row.size):
        h = g[j] * gamma[j]
        s += np.float64(h)
        q += np.float64(h * _minus(row[j], c))
    return s, q


@kernel(apart=True)
def _forward(
    x: Any, gamma: Any, beta: Any, eps: float, centred: bool, mu: Any, var: Any, center: Any, rest: Any, y: Any,
    lo: int, hi: int,
) -> None:  # fmt: skip
    width = x.shape[1]
    one = x.dtype.type
    m = np.float64(width)
    for r in range(lo, hi):
        row = x[r]
        c, t = one(0), np.float64(0.0)
        if centred:
            s = np.float64(0.0)
            for start in range(0, width, CHUNK):
                s += sum_from(row[start : start + CHUNK], row[0])
            if not abs(s) < np.inf:
                s, q = wide_sums_from(row, row[0])
            c = one(np.float64(row[0]) + s / m)
        s, q = np.float64(0.0), np.float64(0.0)
        for start in range(0, width, CHUNK):
            a, b = sums_from(row[start : start + CHUNK], c)
            s += a
            q += b
        if not (abs(s) < np.inf) & (q < np.inf):
            s, q = wide_sums_from(row, c)
        v = q / m
        if centred:
            t = s / m
            v = v - t * t if q < np.inf else q  # where both overflowed, so does the variance
            v = np.float64(0.0) if v < 0.0 else v
            # a row with what is no number, or infinite, has no mean and no variance
            v = v if abs(s) < np.inf else np.float64(np.nan)
        var[r] = one(v)
        rest[r] = t
        center[r] = c
        mu[r] = one(np.float64(c) + t) if v == v else one(np.nan)
        a = one(over_deviation(1.0, var[r], eps))
        b = one(-t * np.float64(a)) if t != 0.0 else one(0)
        for j in range(width):
            y[r, j] = ((x[r, j] - c) * a + b) * gamma[j] + beta[j]


@helper
def _slopes(
    g: Any, x: Any, gamma: Any, c: Any, rest: Any, var: Any, g_mu: Any, g_var: Any, eps: float, centred: bool
) -> Any:
    """What dx and z of a row are made of: r, what z adds to (x - c) r, and drop, slope and level of dx."""
    one = x.dtype.type
    m = np.float64(x.size)
    s, q = np.float64(0.0), np.float64(0.0)
    for start in range(0, x.size, CHUNK):
        stop = start + CHUNK
        a, b = _pulled(g[start:stop], gamma[start:stop], x[start:stop], c)
        s += a
        q += b
    if not (abs(s) < np.inf) & (abs(q) < np.inf):
        s, q = _wide_pulled(g, gamma, x, c)
    inverse = over_deviation(1.0, var, eps)
    if abs(s) < np.inf:
        q -= rest * s  # the mean was rounded to x's dtype
    # where the variance overflowed the output is beta, however large the product is
    q = np.float64(0.0) if (inverse == 0.0) & (abs(q) == np.inf) else q
    slope = (2.0 * np.float64(g_var) - inverse * inverse * inverse * q) / m
    level = np.float64(g_mu) / m
    if rest != 0.0:
        level -= slope * rest
    add = one(-rest * inverse) if rest != 0.0 else one(0)
    drop = one(s / m) if centred else one(0)
    return one(inverse), add, drop, one(slope), one(level)


@kernel(apart=True, staged=True)
def _backward(
    g: Any, g_mu: Any, g_var: Any, x: Any, gamma: Any, center: Any, rest: Any, var: Any, eps: float, centred: bool,
    work: Any, dx: Any, dgamma: Any, dbeta: Any, stage: int, lo: int, hi: int,
) -> None:  # fmt: skip
    """Rows `lo` to `hi`; `work` holds the sums of g and of g z of each block of rows, by columns."""
    # The stages:
    # 2. the sums along each of four rows and its dx, then what the four add to the sums of their columns;
    # 4. the blocks' sums in pairs, which are dbeta and dgamma.
    width = x.shape[1]
    one = x.dtype.type
    if stage & 2:
        lines = np.empty((2, 4), x.dtype)
        for block in range(lo, hi, BLOCK):
            i, stop = 2 * (block // BLOCK), min(block + BLOCK, hi)
            for j in range(width):
                work[i, j] = 0.0
                work[i + 1, j] = 0.0
            r = block
            while r + 4 <= stop:
                for k in range(4):  # rows are written one after the other: memory is slow with four lines at a time
                    up, row, c = g[r + k], x[r + k], center[r + k]
                    p, b, d, s, level = _slopes(
                        up, row, gamma, c, rest[r + k], var[r + k], g_mu[r + k], g_var[r + k], eps, centred
                    )
                    for j in range(width):
                        dx[r + k, j] = (up[j] * gamma[j] - d) * p + ((row[j] - c) * s + level)
                    lines[0, k], lines[1, k] = p, b
                c0, c1, c2, c3 = center[r], center[r + 1], center[r + 2], center[r + 3]
                p0, p1, p2, p3 = lines[0, 0], lines[0, 1], lines[0, 2], lines[0, 3]
                b0, b1, b2, b3 = lines[1, 0], lines[1, 1], lines[1, 2], lines[1, 3]
                for j in range(width):
                    f0, f1, f2, f3 = g[r, j], g[r + 1, j], g[r + 2, j], g[r + 3, j]
                    h0, h1, h2, h3 = x[r, j] - c0, x[r + 1, j] - c1, x[r + 2, j] - c2, x[r + 3, j] - c3
                    work[i, j] += np.float64((f0 + f1) + (f2 + f3))
                    z0, z1, z2, z3 = h0 * p0 + b0, h1 * p1 + b1, h2 * p2 + b2, h3 * p3 + b3
                    work[i + 1, j] += np.float64((f0 * z0 + f1 * z1) + (f2 * z2 + f3 * z3))
                r += 4
            while r < stop:
                c = center[r]
                p, b, d, s, level = _slopes(g[r], x[r], gamma, c, rest[r], var[r], g_mu[r], g_var[r], eps, centred)
                for j in range(width):
                    f, h = g[r, j], x[r, j] - c
                    dx[r, j] = (f * gamma[j] - d) * p + (h * s + level)
                    work[i, j] += np.float64(f)
                    work[i + 1, j] += np.float64(f) * np.float64(h * p + b)
                r += 1
    if stage & 4:
        gather(work)
        for j in range(width):
            dbeta[j] = one(work[0, j])
            dgamma[j] = one(work[1, j])


def row_norm_forward(
    x: Array, gamma: Array, beta: Array, eps: float, centred: bool
) -> tuple[Array, Array, Array, Array, Array]:
    """Normalise each row by its own mean and variance, or by its root mean square alone.

    Parameters
    ----------
    x : ndarray
        (rows, m), float32 or float64, of any layout; neither is 0.
    gamma, beta : ndarray
        (m,), in x's dtype.
    eps : float
        Added to the variance.
    centred : bool
        Whether the mean is subtracted.

    Returns
    -------
    y : ndarray
        (rows, m); exactly beta in a row that does not vary.
    mu, var, center : ndarray
        (rows,), in x's dtype: mean and biased variance, NaN where a row holds a NaN or an infinity, and the mean's
        nearest number.
    rest : ndarray
        (rows,), float64: what `center` lacks of the mean.
    """
    x, gamma, beta = uniform(x, x.dtype), uniform(gamma, x.dtype), uniform(beta, x.dtype)
    rows = len(x)
    moments = np.empty((3, rows), x.dtype)
    mu, var, center = moments
    rest, y = np.empty(rows), np.empty(x.shape, x.dtype)
    args = (x, gamma, beta, float(eps), centred, mu, var, center, rest, y)
    cost = x.size * FORWARD
    if cost < THREADED:
        _forward.call(*args, 0, rows)
    else:
        share(_forward, args, rows, cost)
    return y, mu, var, center, rest


def row_norm_backward(
    g: Array, g_mu: Array | None, g_var: Array | None, x: Array, gamma: Array, center: Array, rest: Array, var: Array,
    eps: float, centred: bool,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Gradients of `row_norm_forward`, all in x's dtype; the formulas are at the head of this module.

    Parameters
    ----------
    g : ndarray
        (rows, m), the cotangent of y.
    g_mu, g_var : ndarray or None
        (rows,), the cotangents of mu and var; None stands for zero.
    x, gamma, eps, centred
        As in the forward pass.
    center, rest, var : ndarray
        What the forward pass returned.

    Returns
    -------
    dx, dgamma, dbeta : ndarray
    """
    kind = x.dtype
    x, g, gamma = uniform(x, kind), uniform(g, kind), uniform(gamma, kind)
    rows, width = x.shape
    nothing = np.zeros(rows, kind) if g_mu is None or g_var is None else center
    g_mu = nothing if g_mu is None else uniform(g_mu, kind)
    g_var = nothing if g_var is None else uniform(g_var, kind)
    center, rest, var = uniform(center, kind), uniform(rest, rest.dtype), uniform(var, kind)
    dx, dgamma, dbeta = np.empty(x.shape, kind), np.empty(width, kind), np.empty(width, kind)
    work = np.empty((2 * (-(-rows // BLOCK)), width))
    args = (g, g_mu, g_var, x, gamma, center, rest, var, float(eps), centred, work, dx, dgamma, dbeta)
    cost = x.size * BACKWARD
    if cost < THREADED:
        _backward.call(*args, ALL, 0, rows)
    else:
        share(_backward, args, rows, cost, BLOCK)
    return dx, dgamma, dbeta
