"""Texts of the kernels of batch norm where a channel's numbers lie in planes: (examples, channels, positions).

Lanes are positions. A channel is walked three times while it is in the cache: for its mean, counted from its first
number, for the sums of what differs from that mean and of the squares, and for the output. So no mean of a part is so
far from the others that digits are lost. Parts of a plane are summed in the array's own type, these in float64.
"""

from __future__ import annotations

from typing import Any

from tensorgraph.native.lowering import static
from tensorgraph.native.words import (
    absolute,
    double,
    first,
    fma,
    hsum,
    ld,
    ldm,
    load,
    load_double,
    narrow,
    real_at,
    select,
    st,
    stm,
    store,
    store_double,
    vset,
    word_at,
)
from tensorgraph.ops.kernels.batch_norm_rows import shortfall
from tensorgraph.ops.native.batch_norm_rows import INFINITY, NAN, line_of, slopes_of, through

__all__ = ["backward_planes", "forward_planes"]

LANES = SIZE = BYTES = 0  # constants of kernels
RELU = NORMALISES = G_Y = G_MU = G_VAR = WANTS_X = True

VECTORS, CHUNK = 4, 2048  # vectors that are added side by side, and numbers whose sum is taken in the array's own type


def channels_of(channels: Any, block: Any, blocks: Any) -> Any:
    """Where the channels of a block begin and end."""
    return channels * block // blocks, channels * (block + 1) // blocks


# sums ----------------------------------------------------------------------------------------------------------------


def sums_of(w: Any, p: Any, o: Any, up: Any, center: Any, a: Any, b: Any, pulls: Any) -> Any:
    """Sums of x - center and of its squares, of the channel at p; where `pulls`, of g, at o, and of g (x - center)."""
    total, lost, squares, less = [double(vset(0.0)) for _ in static(4)]
    s, q = [vset(0.0) for _ in static(VECTORS)], [vset(0.0) for _ in static(VECTORS)]
    n, left = word_at(w, 5), CHUNK
    for i in range(word_at(w, 3)):
        for j in range(0, n, CHUNK):
            x, g, count = p + i * word_at(w, 1) + j * SIZE, o + i * up + j * SIZE, min(CHUNK, n - j)
            many, full = count // (VECTORS * LANES) * (VECTORS * LANES), count // LANES * LANES
            for m in range(0, many, VECTORS * LANES):
                for k in static(VECTORS):
                    h = ld(x + (m + k * LANES) * SIZE) - center
                    f = through(ld(g + (m + k * LANES) * SIZE), h, a, b) if pulls else h
                    s[k] = s[k] + f
                    q[k] = fma(f, h, q[k])
            for m in range(many, full, LANES):
                d = ld(x + m * SIZE) - center
                e = through(ld(g + m * SIZE), d, a, b) if pulls else d
                s[0] = s[0] + e
                q[0] = fma(e, d, q[0])
            if full < count:
                rest = count - full
                last = select(first(rest), ldm(x + full * SIZE, rest, 0.0) - center, 0.0)
                u = through(ldm(g + full * SIZE, rest, 0.0), last, a, b) if pulls else last
                s[1] = s[1] + u
                q[1] = fma(u, last, q[1])
            left = left - count
            if left <= 0:
                v, y = double((s[0] + s[1]) + (s[2] + s[3])), double((q[0] + q[1]) + (q[2] + q[3]))
                lost = lost + shortfall(total, v, total + v)
                less = less + shortfall(squares, y, squares + y)
                total = total + v
                squares = squares + y
                left = CHUNK
                for k in static(VECTORS):
                    s[k] = vset(0.0)
                    q[k] = vset(0.0)
    t, r = double((s[0] + s[1]) + (s[2] + s[3])), double((q[0] + q[1]) + (q[2] + q[3]))
    lost = lost + shortfall(total, t, total + t)
    less = less + shortfall(squares, r, squares + r)
    whole, product = hsum(total + t), hsum(squares + r)
    # what an infinite sum has lost is no number
    return (
        select(absolute(whole) < INFINITY, whole + hsum(lost), whole),
        select(absolute(product) < INFINITY, product + hsum(less), product),
    )


def wide_sums_of(w: Any, p: Any, o: Any, up: Any, center: Any, a: Any, b: Any, pulls: Any) -> Any:
    """The like in float64 throughout, where sums in the own type were too large."""
    s, q = double(vset(0.0)), double(vset(0.0))
    for i in range(word_at(w, 3)):
        for j in range(0, word_at(w, 5), LANES):
            n = word_at(w, 5) - j
            h = select(first(n), ldm(p + i * word_at(w, 1) + j * SIZE, n, 0.0) - center, 0.0)
            f = double(through(ldm(o + i * up + j * SIZE, n, 0.0), h, a, b) if pulls else h)
            s = s + f
            q = q + f * double(h)
    return hsum(s), hsum(q)


def are_finite(s: Any, q: Any) -> Any:
    return (absolute(s) < INFINITY) & (absolute(q) < INFINITY)


def put_moments(w: Any, p: Any, j: Any) -> Any:
    """mu, var, center and rest of channel j, whose first number is at p; a and b of its output, and center."""
    m = double(word_at(w, 3)) * double(word_at(w, 5))
    base = load(p)
    s, q = sums_of(w, p, p, 0, vset(base), vset(0.0), vset(0.0), False)
    if not absolute(s) < INFINITY:
        s, q = wide_sums_of(w, p, p, 0, vset(base), vset(0.0), vset(0.0), False)
    center = narrow(double(base) + s / m)
    s, q = sums_of(w, p, p, 0, vset(center), vset(0.0), vset(0.0), False)
    if not are_finite(s, q):
        s, q = wide_sums_of(w, p, p, 0, vset(center), vset(0.0), vset(0.0), False)
    t = s / m
    # where both overflowed, so does the variance
    v = select(q < INFINITY, q / m - t * t, q)
    v = select(v < 0.0, 0.0, v)
    # a channel with a value that is no number, or infinite, has no mean and no variance
    var = narrow(select(absolute(s) < INFINITY, v, NAN))
    at = j * SIZE
    store(word_at(w, 10) + at, select(var == var, narrow(double(center) + t), var))
    store(word_at(w, 11) + at, var)
    store(word_at(w, 12) + at, center)
    store_double(word_at(w, 13) + 8 * j, t)
    _, a, b = line_of(load(word_at(w, 6) + at), load(word_at(w, 7) + at), var, t, real_at(w, 8))
    return center, a, b


# forward -------------------------------------------------------------------------------------------------------------
#
# Words: x, bytes from example to example and from channel to channel, examples, channels, positions, gamma, beta, eps,
# y, mu, var, center, rest.


def put_plane(p: Any, y: Any, n: Any, center: Any, a: Any, b: Any) -> None:
    full = n // LANES * LANES
    for j in range(0, full, LANES):
        v = fma(ld(p + j * SIZE) - center, a, b)
        st(y + j * SIZE, select(v < 0.0, 0.0, v) if RELU else v)
    if full < n:
        last = fma(ldm(p + full * SIZE, n - full, 0.0) - center, a, b)
        stm(y + full * SIZE, select(last < 0.0, 0.0, last) if RELU else last, n - full)


def forward_planes(w: Any, block: Any, blocks: Any) -> None:
    """The channels of a block."""
    channels, n = word_at(w, 4), word_at(w, 5)
    lo, hi = channels_of(channels, block, blocks)
    for j in range(lo, hi):
        p, y = word_at(w, 0) + j * word_at(w, 2), word_at(w, 9) + j * n * SIZE
        center, a, b = put_moments(w, p, j)
        if NORMALISES:
            for i in range(word_at(w, 3)):
                put_plane(p + i * word_at(w, 1), y + i * channels * n * SIZE, n, vset(center), vset(a), vset(b))


# backward ------------------------------------------------------------------------------------------------------------
#
# Words: x, bytes from example to example and from channel to channel, examples, channels, positions, gamma, beta, eps,
# center, rest, var, g and its strides, g_mu, g_var, dx, dgamma, dbeta.


def put_descent(p: Any, o: Any, dx: Any, n: Any, lines: Any) -> None:
    """dx of a plane."""
    center, a, b, drop, slope, level = lines
    full = n // LANES * LANES
    for j in range(0, full, LANES):
        h = ld(p + j * SIZE) - center
        up = through(ld(o + j * SIZE), h, a, b) if G_Y else vset(0.0)
        st(dx + j * SIZE, fma(up - drop, a, fma(h, slope, level)))
    if full < n:
        rest = n - full
        d = ldm(p + full * SIZE, rest, 0.0) - center
        last = through(ldm(o + full * SIZE, rest, 0.0), d, a, b) if G_Y else vset(0.0)
        stm(dx + full * SIZE, fma(last - drop, a, fma(d, slope, level)), rest)


def backward_planes(w: Any, block: Any, blocks: Any) -> None:
    """The channels of a block."""
    channels, n = word_at(w, 4), word_at(w, 5)
    m = double(word_at(w, 3)) * double(n)
    lo, hi = channels_of(channels, block, blocks)
    for j in range(lo, hi):
        at, p = j * SIZE, word_at(w, 0) + j * word_at(w, 2)
        o, dx = word_at(w, 12) + j * word_at(w, 14), word_at(w, 17) + j * n * SIZE
        gamma, var, rest = load(word_at(w, 6) + at), load(word_at(w, 11) + at), load_double(word_at(w, 10) + 8 * j)
        inverse, a, b = line_of(gamma, load(word_at(w, 7) + at), var, rest, real_at(w, 8))
        center = load(word_at(w, 9) + at)
        total, product = double(0.0), double(0.0)
        if G_Y:
            up = word_at(w, 13)
            total, product = sums_of(w, p, o, up, vset(center), vset(a), vset(b), True)
            if not are_finite(total, product):
                total, product = wide_sums_of(w, p, o, up, vset(center), vset(a), vset(b), True)
        g_mu = double(load(word_at(w, 15) + at)) if G_MU else double(0.0)
        g_var = double(load(word_at(w, 16) + at)) if G_VAR else double(0.0)
        dgamma, dbeta, drop, slope, level = slopes_of(total, product, gamma, rest, inverse, g_mu, g_var, 1.0 / m)
        store(word_at(w, 18) + at, dgamma)
        store(word_at(w, 19) + at, dbeta)
        if WANTS_X:
            lines = [vset(center), vset(a), vset(b), vset(drop), vset(slope), vset(level)]
            for i in range(word_at(w, 3)):
                put_descent(
                    p + i * word_at(w, 1), o + i * word_at(w, 13), dx + i * channels * n * SIZE, n, lines
                )  # fmt: skip
