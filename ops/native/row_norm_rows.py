"""Texts of the kernels of rows normalised by their own moments; formulas are in `ops.kernels.row_norm`.

Lanes are a row's numbers. Sums go on in float64 after some vectors. Some rows are worked together: first the sums of
each, then the outputs of all, so that no row waits for the sums of the one before, weights are read once for them, and
sums of columns take what they give while it is in registers.
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
    ldw,
    load,
    load_double,
    narrow,
    prefetch,
    real,
    real_at,
    select,
    sqrt,
    stm,
    store,
    store_double,
    stw,
    vset,
    word_at,
)
from tensorgraph.ops.native.edges import span_of

__all__ = ["FEW", "STRIP", "backward", "finish", "forward"]

LANES = SIZE = 0  # constants of kernels
CENTRED = SCALED = SHIFTED = G_Y = G_MU = G_VAR = WANTS_X = WEIGHTS = True

INFINITY, NAN = float("inf"), float("nan")

# vectors that are added in their own type, and rows, in sums of columns; rows that one float64 sum of columns is of
GROUP, STRIP = 32, 256
# rows that are worked together, and bytes of a row up to which the walks of a forward pass are
FEW, SHORT = 4, 4096


def sum_of(v: Any) -> Any:
    """Of four."""
    return (v[0] + v[1]) + (v[2] + v[3])


def sums_from(p: Any, c: Any, width: Any, squared: Any) -> Any:
    """Sums of x - c and, where that is wanted, of its square along a row, float64."""
    s, q, some, squares = double(vset(0.0)), double(vset(0.0)), vset(0.0), vset(0.0)
    full, wide = width // LANES * LANES, width // (4 * LANES) * (4 * LANES)
    for j in range(0, wide, 4 * LANES):
        d = [ldm(p + (j + k * LANES) * SIZE, LANES, 0.0) - c for k in static(4)]
        some = some + sum_of(d)
        if squared:
            squares = squares + (fma(d[0], d[0], d[1] * d[1]) + fma(d[2], d[2], d[3] * d[3]))
        if j % (GROUP * LANES) == (GROUP - 4) * LANES:
            s = s + double(some)
            q = q + double(squares)
            some, squares = vset(0.0), vset(0.0)
    for j in range(wide, full, LANES):
        h = ldm(p + j * SIZE, LANES, 0.0) - c
        some = some + h
        squares = fma(h, h, squares) if squared else squares
    if full < width:
        last = select(first(width - full), ldm(p + full * SIZE, width - full, 0.0) - c, 0.0)
        some = some + last
        squares = fma(last, last, squares) if squared else squares
    total, square = hsum(s + double(some)), hsum(q + double(squares)) if squared else double(0.0)
    if (total - total) + (square - square) != 0.0:  # too large for the type, or not finite
        s, q = double(vset(0.0)), double(vset(0.0))
        for j in range(0, width, LANES):
            f = double(select(first(width - j), ldm(p + j * SIZE, width - j, 0.0) - c, 0.0))
            s = s + f
            q = q + f * f
        total, square = hsum(s), hsum(q)
    return total, square


def over_deviation(var: Any, eps: Any) -> Any:
    """1 / sqrt(var + eps); 0 where that is infinite: without eps too a constant row gives beta."""
    s = var + eps
    return select(s == 0.0, 0.0, 1.0 / sqrt(s))


# forward -------------------------------------------------------------------------------------------------------------
#
# Words: x, its row's stride, rows, width, gamma, beta, eps, y, mu, var, center, rest.


def beginning(p: Any, width: Any) -> Any:
    """The mean of a row's first numbers, which is near that of the row; exact where these are one number."""
    base = load(p)
    if width >= LANES:
        mean = hsum(ld(p)) * (1.0 / LANES)
        base = mean if absolute(mean) < INFINITY else base
    return base


def moments(w: Any, r: Any) -> None:
    """Those of a row, about a number that is near its mean."""
    p, width = word_at(w, 0) + r * word_at(w, 1), word_at(w, 3)
    c, each = beginning(p, width) if CENTRED else real(0.0), 1.0 / double(width)
    s, q = sums_from(p, c, width, True)
    v = q * each
    if CENTRED:
        t = s * each
        if not (q < INFINITY and t * t <= 0.25 * (v - t * t)):  # it is not near: about the rounded mean
            if not absolute(s) < INFINITY:
                c = load(p)
                s, _ = sums_from(p, c, width, False)
            c = real(double(c) + s * each)
            s, q = sums_from(p, c, width, True)
            v, t = q * each, s * each
        v = select(q < INFINITY, v - t * t, q)  # where both overflowed, so does the variance
        v = select(v < 0.0, 0.0, v)
        v = select(absolute(s) < INFINITY, v, NAN)  # what is not finite has no mean and no variance
        mean = double(c) + t
        near = real(mean)  # what is kept is the rounded mean and the rest of it, whatever the sums were about
        store(word_at(w, 8) + r * SIZE, real(select(v == v, mean, NAN)))
        store(word_at(w, 10) + r * SIZE, near)
        store_double(word_at(w, 11) + r * 8, (double(c) - double(near)) + t)
    store(word_at(w, 9) + r * SIZE, real(v))


def put_columns(w: Any, r: Any, k: Any, n: Any, line: Any) -> None:
    """Outputs of some rows from byte `k` on."""
    c, a, b = line
    p, y = word_at(w, 0) + r * word_at(w, 1) + k, word_at(w, 7) + r * word_at(w, 3) * SIZE + k
    gamma = ldm(word_at(w, 4) + k, n, 0.0) if SCALED else vset(1.0)
    beta = ldm(word_at(w, 5) + k, n, 0.0) if SHIFTED else vset(0.0)
    for i in static(len(c)):
        v = fma(ldm(p + i * word_at(w, 1), n, 0.0) - c[i], a[i], b[i])
        if SHIFTED and SCALED:
            v = fma(v, gamma, beta)
        elif SCALED:
            v = v * gamma
        elif SHIFTED:
            v = v + beta
        stm(y + i * word_at(w, 3) * SIZE, v, n)


def put_rows(w: Any, r: Any, count: Any) -> None:
    """Outputs of so many rows, a number that is known while lowering."""
    width, eps = word_at(w, 3), real_at(w, 6)
    full = width // LANES * LANES
    c = [load(word_at(w, 10) + (r + k) * SIZE) if CENTRED else real(0.0) for k in static(count)]
    t = [load_double(word_at(w, 11) + (r + k) * 8) if CENTRED else double(0.0) for k in static(count)]
    a = [over_deviation(load(word_at(w, 9) + (r + k) * SIZE), eps) for k in static(count)]
    b = [real(select(t[k] != 0.0, -t[k] * double(a[k]), 0.0)) for k in static(count)]
    for j in range(0, full, LANES):
        put_columns(w, r, j * SIZE, LANES, [c, a, b])
    if full < width:
        put_columns(w, r, full * SIZE, width - full, [c, a, b])


def forward(w: Any, block: Any, blocks: Any) -> None:
    """Some rows at a time, walk by walk, so that no row waits for the sums of the one before."""
    r, end = span_of(word_at(w, 2), block, blocks)
    few = FEW if word_at(w, 3) * SIZE <= SHORT else 1
    while r < end:
        until = min(r + few, end)
        for k in range(r, until):
            moments(w, k)
        if until - r == FEW:
            put_rows(w, r, FEW)
        else:
            for k in range(r, until):
                put_rows(w, k, 1)
        r = until


# backward ------------------------------------------------------------------------------------------------------------
#
# Words: x, its row's stride, rows, width, gamma, a block's own (sums of g and of g z, five numbers of FEW rows), 0,
# eps, center, rest, var, g, its row's stride, g_mu, g_var, dx, dgamma, dbeta, and sums of the strips, two rows of
# float64 each.


def pulled(w: Any, q: Any, k: Any, n: Any) -> Any:
    """g gamma."""
    g = ldm(q + k, n, 0.0)
    return g * ldm(word_at(w, 4) + k, n, 0.0) if SCALED else g


def pulled_sums(w: Any, p: Any, o: Any, c: Any, width: Any) -> Any:
    """Sums of g gamma and of that times x - c along a row, float64."""
    s, q, some, products = double(vset(0.0)), double(vset(0.0)), vset(0.0), vset(0.0)
    full, wide = width // LANES * LANES, width // (4 * LANES) * (4 * LANES)
    for j in range(0, wide, 4 * LANES):
        g = [pulled(w, o, (j + k * LANES) * SIZE, LANES) for k in static(4)]
        d = [ldm(p + (j + k * LANES) * SIZE, LANES, 0.0) - c for k in static(4)]
        some = some + sum_of(g)
        products = products + (fma(g[0], d[0], g[1] * d[1]) + fma(g[2], d[2], g[3] * d[3]))
        if j % (GROUP * LANES) == (GROUP - 4) * LANES:
            s = s + double(some)
            q = q + double(products)
            some, products = vset(0.0), vset(0.0)
    for j in range(wide, full, LANES):
        h = pulled(w, o, j * SIZE, LANES)
        some = some + h
        products = fma(h, ldm(p + j * SIZE, LANES, 0.0) - c, products)
    if full < width:
        last, n = pulled(w, o, full * SIZE, width - full), width - full
        some = some + last
        products = select(first(n), fma(last, ldm(p + full * SIZE, n, 0.0) - c, products), products)
    total, product = hsum(s + double(some)), hsum(q + double(products))
    if (total - total) + (product - product) != 0.0:  # too large for the type, or not finite
        s, q = double(vset(0.0)), double(vset(0.0))
        for j in range(0, width, LANES):
            f = double(pulled(w, o, j * SIZE, width - j))
            s = s + f
            far = f * double(ldm(p + j * SIZE, width - j, 0.0) - c)
            q = q + select(first(width - j), far, 0.0)
        total, product = hsum(s), hsum(q)
    return total, product


def prepare(w: Any, r: Any, at: Any) -> None:
    """What the slopes of a row are made of: 1 / deviation, what z adds to that times x - center, what dx adds of x -
    center and of itself, and what it drops of g gamma; they go to `at` and on, FEW numbers apart."""
    width, each = word_at(w, 3), 1.0 / double(word_at(w, 3))
    p, o = word_at(w, 0) + r * word_at(w, 1), word_at(w, 11) + r * word_at(w, 12)
    c, rest = real(0.0), double(0.0)
    if CENTRED:
        c, rest = load(word_at(w, 8) + r * SIZE), load_double(word_at(w, 9) + r * 8)
    inverse = over_deviation(double(load(word_at(w, 10) + r * SIZE)), double(real_at(w, 7)))
    s, q = double(0.0), double(0.0)
    if WANTS_X:  # which is written in four places by turns, where the processor sees no row coming
        for j in range(0, width * SIZE, 64):
            prefetch(word_at(w, 15) + r * width * SIZE + j)
    if G_Y:
        s, q = pulled_sums(w, p, o, c, width)
    q = select(absolute(s) < INFINITY, q - rest * s, q)  # the mean was rounded
    # where the variance overflowed the output is beta, however large the products are
    q = select((inverse == 0.0) & ((absolute(q) == INFINITY) | (absolute(s) < INFINITY)), 0.0, q)
    turn = -(inverse * inverse * inverse * q)
    if G_VAR:
        turn = 2.0 * double(load(word_at(w, 14) + r * SIZE)) + turn
    slope = turn * each
    level = select(rest != 0.0, -(slope * rest), 0.0)
    if G_MU:
        level = double(load(word_at(w, 13) + r * SIZE)) * each + level
    store(at, real(inverse))
    store(at + FEW * SIZE, real(select(rest != 0.0, -rest * inverse, 0.0)))
    store(at + 2 * FEW * SIZE, real(slope))
    store(at + 3 * FEW * SIZE, real(level))
    store(at + 4 * FEW * SIZE, real(s * each) if CENTRED else real(0.0))


def slopes(w: Any, sums: Any, r: Any, k: Any, n: Any, line: Any) -> None:
    """dx of some rows from byte `k` on, and what they add to sums of g and g z."""
    c, a, shift, bend, up, drop = line
    width, count = word_at(w, 3), len(c)
    p, o = word_at(w, 0) + r * word_at(w, 1) + k, word_at(w, 11) + r * word_at(w, 12) + k
    dx = word_at(w, 15) + r * width * SIZE + k
    h = [ldm(p + i * word_at(w, 1), n, 0.0) - c[i] for i in static(count)]
    g = [ldm(o + i * word_at(w, 12), n, 0.0) if G_Y else vset(0.0) for i in static(count)]
    if WANTS_X:
        gamma = ldm(word_at(w, 4) + k, n, 0.0) if SCALED and G_Y else vset(1.0)
        for i in static(count):
            pulled = g[i] * gamma if SCALED and G_Y else g[i]
            stm(dx + i * width * SIZE, fma(pulled - drop[i], a[i], fma(h[i], bend[i], up[i])), n)
    if WEIGHTS:
        t = [g[i] * fma(h[i], a[i], shift[i]) for i in static(count)]
        some, products = sum_of(g) if count == FEW else g[0], sum_of(t) if count == FEW else t[0]
        stm(sums + k, ldm(sums + k, n, 0.0) + some, n)
        place = sums + width * SIZE + k
        stm(place, ldm(place, n, 0.0) + products, n)


def put_slopes(w: Any, sums: Any, r: Any, at: Any, count: Any) -> None:
    """dx of so many rows, a number that is known while lowering, and their sums."""
    width, c = word_at(w, 3), [load(word_at(w, 8) + (r + k) * SIZE) if CENTRED else real(0.0) for k in static(count)]
    full, each = width // LANES * LANES, FEW * SIZE
    a, shift = [load(at + k * SIZE) for k in static(count)], [load(at + each + k * SIZE) for k in static(count)]
    bend, up = [[load(at + i * each + k * SIZE) for k in static(count)] for i in static(2, 4)]
    line = [c, a, shift, bend, up, [load(at + 4 * each + k * SIZE) for k in static(count)]]
    for j in range(0, full, LANES):
        slopes(w, sums, r, j * SIZE, LANES, line)
    if full < width:
        slopes(w, sums, r, full * SIZE, width - full, line)


def gather_sums(sums: Any, work: Any, count: Any, begun: Any) -> None:
    """Add so many sums in the kernel's type to those in float64, if these have begun, and set them to 0."""
    for j in range(0, count, LANES):
        n, v = count - j, double(ldm(sums + j * SIZE, count - j, 0.0))
        stw(work + 8 * j, ldw(work + 8 * j, n if begun else 0, 0.0) + v, n)
        stm(sums + j * SIZE, vset(0.0), n)


def backward(w: Any, block: Any, blocks: Any) -> None:
    """The strips of a block."""
    rows, width = word_at(w, 2), word_at(w, 3)
    sums = word_at(w, 5) + block * (2 * width + 5 * FEW) * SIZE
    at = sums + 2 * width * SIZE
    strips = (rows + STRIP - 1) // STRIP
    step = (strips + blocks - 1) // blocks
    lo = min(block * step, strips)
    if WEIGHTS:
        for j in range(0, 2 * width, LANES):
            stm(sums + j * SIZE, vset(0.0), 2 * width - j)
    for strip in range(lo, min(lo + step, strips)):
        begin, end = strip * STRIP, min((strip + 1) * STRIP, rows)
        r = begin
        while r < end:
            few = min(end - r, FEW)
            for k in range(few):
                prepare(w, r + k, at + k * SIZE)
            if WANTS_X or WEIGHTS:
                if few == FEW:
                    put_slopes(w, sums, r, at, FEW)
                else:
                    for k in range(few):
                        put_slopes(w, sums, r + k, at + k * SIZE, 1)
            r += few
            if WEIGHTS and (r % GROUP == 0 or r == end):
                gather_sums(sums, word_at(w, 18) + strip * 16 * width, 2 * width, r > begin + GROUP)


def finish(w: Any, block: Any, blocks: Any) -> None:
    """The strips' sums in pairs, then pairs of pairs: dbeta and dgamma."""
    width, row = word_at(w, 3), 16 * word_at(w, 3)
    strips = (word_at(w, 2) + STRIP - 1) // STRIP
    for j in range(0, width, LANES):
        n, work = width - j, word_at(w, 18) + 8 * j
        step = 1
        while step < strips:
            for i in range(0, strips - step, 2 * step):
                p = work + i * row
                o = p + step * row
                stw(p, ldw(p, n, 0.0) + ldw(o, n, 0.0), n)
                stw(p + 8 * width, ldw(p + 8 * width, n, 0.0) + ldw(o + 8 * width, n, 0.0), n)
            step *= 2
        stm(word_at(w, 17) + j * SIZE, narrow(ldw(work, n, 0.0)), n)
        stm(word_at(w, 16) + j * SIZE, narrow(ldw(work + 8 * width, n, 0.0)), n)
