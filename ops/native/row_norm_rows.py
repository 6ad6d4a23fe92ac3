"""Texts of the kernels of rows normalised by their own moments; formulas are in `ops.kernels.row_norm`.

Rows are worked one after the other, lanes being their numbers. Sums go on in float64 after some vectors.
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
    ldm,
    ldw,
    load,
    load_double,
    narrow,
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

# vectors that are added in their own type, rows that one sum of columns is of, and of these how many are added at once
GROUP, STRIP, FEW = 32, 256, 8


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


def put_row(w: Any, p: Any, y: Any, k: Any, n: Any, c: Any, a: Any, b: Any) -> None:
    v = fma(ldm(p + k, n, 0.0) - c, a, b)
    if SHIFTED and SCALED:
        v = fma(v, ldm(word_at(w, 4) + k, n, 0.0), ldm(word_at(w, 5) + k, n, 0.0))
    elif SCALED:
        v = v * ldm(word_at(w, 4) + k, n, 0.0)
    elif SHIFTED:
        v = v + ldm(word_at(w, 5) + k, n, 0.0)
    stm(y + k, v, n)


def forward(w: Any, block: Any, blocks: Any) -> None:
    width, eps = word_at(w, 3), real_at(w, 6)
    full, each = width // LANES * LANES, 1.0 / double(width)
    lo, hi = span_of(word_at(w, 2), block, blocks)
    for r in range(lo, hi):
        p, y = word_at(w, 0) + r * word_at(w, 1), word_at(w, 7) + r * width * SIZE
        c, t = real(0.0), double(0.0)
        if CENTRED:
            base = load(p)
            away, _ = sums_from(p, base, width, False)
            c = real(double(base) + away * each)
        s, q = sums_from(p, c, width, True)
        v = q * each
        if CENTRED:
            t = s * each
            v = select(q < INFINITY, v - t * t, q)  # where both overflowed, so does the variance
            v = select(v < 0.0, 0.0, v)
            v = select(absolute(s) < INFINITY, v, NAN)  # what is not finite has no mean and no variance
            store(word_at(w, 8) + r * SIZE, real(select(v == v, double(c) + t, NAN)))
            store(word_at(w, 10) + r * SIZE, c)
            store_double(word_at(w, 11) + r * 8, t)
        var = real(v)
        store(word_at(w, 9) + r * SIZE, var)
        a = over_deviation(var, eps)
        b = real(select(t != 0.0, -t * double(a), 0.0))
        for j in range(0, full, LANES):
            put_row(w, p, y, j * SIZE, LANES, c, a, b)
        if full < width:
            put_row(w, p, y, full * SIZE, width - full, c, a, b)


# backward ------------------------------------------------------------------------------------------------------------
#
# Words: x, its row's stride, rows, width, gamma, two lines of a block's for FEW rows, 1 / deviation and what z adds to
# that times x - center, 0, eps, center, rest, var, g, its row's stride, g_mu, g_var, dx, dgamma, dbeta, and sums of the
# strips, two rows of float64 each.


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


def put_descent(w: Any, p: Any, o: Any, dx: Any, k: Any, n: Any, line: Any) -> None:
    c, bend, up, drop, a = line
    h = fma(ldm(p + k, n, 0.0) - c, bend, up)
    stm(dx + k, fma((pulled(w, o, k, n) if G_Y else vset(0.0)) - drop, a, h), n)


def descend(w: Any, r: Any, at: Any) -> None:
    """dx of a row; 1 / deviation and what z adds go to `at`."""
    width, each = word_at(w, 3), 1.0 / double(word_at(w, 3))
    p, o = word_at(w, 0) + r * word_at(w, 1), word_at(w, 11) + r * word_at(w, 12)
    c, rest = real(0.0), double(0.0)
    if CENTRED:
        c, rest = load(word_at(w, 8) + r * SIZE), load_double(word_at(w, 9) + r * 8)
    inverse = over_deviation(double(load(word_at(w, 10) + r * SIZE)), double(real_at(w, 7)))
    s, q = double(0.0), double(0.0)
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
    if WANTS_X:
        drop = real(s * each) if CENTRED else real(0.0)
        a, bend, up, dx = real(inverse), real(slope), real(level), word_at(w, 15) + r * width * SIZE
        line, full = [c, bend, up, drop, a], width // LANES * LANES
        for j in range(0, full, LANES):
            put_descent(w, p, o, dx, j * SIZE, LANES, line)
        if full < width:
            put_descent(w, p, o, dx, full * SIZE, width - full, line)


def add_columns(w: Any, work: Any, r: Any, j: Any, at: Any, count: Any) -> None:
    """Sums of g and g z of some columns over `count` rows, which are known while lowering."""
    width, n = word_at(w, 3), word_at(w, 3) - j
    p, o = word_at(w, 0) + r * word_at(w, 1) + j * SIZE, word_at(w, 11) + r * word_at(w, 12) + j * SIZE
    g = [ldm(o + k * word_at(w, 12), n, 0.0) for k in static(count)]
    c = [load(word_at(w, 8) + (r + k) * SIZE) if CENTRED else 0.0 for k in static(count)]
    h = [ldm(p + k * word_at(w, 1), n, 0.0) - c[k] for k in static(count)]
    z = [fma(h[k], load(at + k * SIZE), load(at + (FEW + k) * SIZE)) for k in static(count)]
    t = [g[k] * z[k] for k in static(count)]
    if count == 8:
        some = ((g[0] + g[1]) + (g[2] + g[3])) + ((g[4] + g[5]) + (g[6] + g[7]))
        products = ((t[0] + t[1]) + (t[2] + t[3])) + ((t[4] + t[5]) + (t[6] + t[7]))
    else:
        some, products = g[0], t[0]
    place = work + 8 * j
    stw(place, ldw(place, n, 0.0) + double(some), n)
    place = work + 8 * (width + j)
    stw(place, ldw(place, n, 0.0) + double(products), n)


def backward(w: Any, block: Any, blocks: Any) -> None:
    """The strips of a block."""
    rows, width, at = word_at(w, 2), word_at(w, 3), word_at(w, 5) + block * 2 * FEW * SIZE
    strips = (rows + STRIP - 1) // STRIP
    step = (strips + blocks - 1) // blocks
    lo = min(block * step, strips)
    for strip in range(lo, min(lo + step, strips)):
        work = word_at(w, 18) + strip * 16 * width
        if WEIGHTS:
            for j in range(0, 2 * width, LANES):
                stw(work + 8 * j, double(vset(0.0)), 2 * width - j)
        r, end = strip * STRIP, min((strip + 1) * STRIP, rows)
        while r < end:
            few = min(end - r, FEW)
            for k in range(few):
                descend(w, r + k, at + k * SIZE)
            if WEIGHTS:
                if few == FEW:
                    for j in range(0, width, LANES):
                        add_columns(w, work, r, j, at, 8)
                else:
                    for k in range(few):
                        for j in range(0, width, LANES):
                            add_columns(w, work, r + k, j, at + k * SIZE, 1)
            r += few


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
