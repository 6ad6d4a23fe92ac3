"""Texts of the kernels of softmax and its logarithm along rows; formulas are in `ops.kernels.softmax`.

Narrow rows are worked on LANES at a time, lanes being rows; wide ones one after the other, lanes being classes.
"""

from __future__ import annotations

from typing import Any

from tensorgraph.native.words import (
    absolute,
    any_lane,
    double,
    first,
    hmost,
    hsum,
    ldm,
    narrow,
    real,
    select,
    st,
    stm,
    vset,
    word_at,
)
from tensorgraph.ops.kernels.scalar import exp_low, expm1, log1p
from tensorgraph.ops.native.edges import span_of
from tensorgraph.ops.native.tiles import TILE, load_tile, store_tile

__all__ = ["backward_narrow", "backward_wide", "forward_narrow", "forward_wide", "normaliser"]

LANES = SIZE = BYTES = 0  # constants of kernels
LOG = False

INFINITY = float("inf")
HALF = -0.6931471805599453  # the log of a half: what is likelier is the likeliest

# exponentials that are added in their own type before the sum goes on
GROUP = 8


# forward -------------------------------------------------------------------------------------------------------------
#
# Words: x, its row's stride, rows, width, y, and a scratch of a block's, a tile.


def largest(tile: Any, width: Any) -> Any:
    """The largest number of each row of a tile; where a row has a NaN its differences from that have too."""
    top = ldm(tile, LANES, 0.0)
    for j in range(1, width):
        x = ldm(tile + j * BYTES, LANES, 0.0)
        top = select(x > top, x, top)
    return top


def forward_narrow(w: Any, block: Any, blocks: Any) -> None:
    step, width, tile = word_at(w, 1), word_at(w, 3), word_at(w, 5) + block * TILE
    lo, hi = span_of(word_at(w, 2), block, blocks)
    for r in range(lo, hi, LANES):
        n = hi - r
        load_tile(word_at(w, 0) + r * step, step, n, width, tile)
        top = largest(tile, width)
        # terms that are 1 are counted apart: what is tiny beside them would be lost in rounding
        ones, rest, some = vset(-1.0), vset(0.0), vset(0.0)
        for j in range(width):
            d = ldm(tile + j * BYTES, LANES, 0.0) - top
            e = exp_low(d)
            st(tile + j * BYTES, d if LOG else e)
            ones = ones + select(e == 1.0, 1.0, 0.0)
            some = some + select(e == 1.0, 0.0, e)
            if j % GROUP == GROUP - 1:
                rest = rest + some
                some = vset(0.0)
        excess = ones + (rest + some)
        if LOG:
            log = log1p(excess)
            for j in range(width):
                st(tile + j * BYTES, ldm(tile + j * BYTES, LANES, 0.0) - log)
        else:
            scale = 1.0 / (excess + 1.0)
            for j in range(width):
                st(tile + j * BYTES, ldm(tile + j * BYTES, LANES, 0.0) * scale)
        store_tile(tile, word_at(w, 4) + r * width * SIZE, width * SIZE, n, width)


def peak_of(p: Any, width: Any) -> Any:
    """The largest number of a row; NaN wins."""
    full = width // LANES * LANES
    tops = vset(-INFINITY)
    for j in range(0, full, LANES):
        x = ldm(p + j * SIZE, LANES, 0.0)
        tops = select((x > tops) | (x != x), x, tops)
    if full < width:
        last = ldm(p + full * SIZE, width - full, -INFINITY)
        tops = select((last > tops) | (last != last), last, tops)
    return hmost(tops)


def normaliser(p: Any, width: Any) -> Any:
    """The largest number of a row, and by how much the sum of exponentials relative to it exceeds 1."""
    full = width // LANES * LANES
    top = peak_of(p, width)
    ones, rest, some = vset(0.0), double(vset(0.0)), vset(0.0)
    for j in range(0, full, LANES):
        e = exp_low(ldm(p + j * SIZE, LANES, 0.0) - top)
        ones = ones + select(e == 1.0, 1.0, 0.0)
        some = some + select(e == 1.0, 0.0, e)
        if j % (GROUP * LANES) == (GROUP - 1) * LANES:
            rest = rest + double(some)
            some = vset(0.0)
    if full < width:
        inside = first(width - full)
        last = exp_low(ldm(p + full * SIZE, width - full, 0.0) - top)
        ones = ones + select(inside & (last == 1.0), 1.0, 0.0)
        some = some + select(inside & (last != 1.0), last, 0.0)
    return top, real(double(hsum(ones) - 1.0) + hsum(rest + double(some)))


def forward_wide(w: Any, block: Any, blocks: Any) -> None:
    step, width = word_at(w, 1), word_at(w, 3)
    full, size = width // LANES * LANES, width * SIZE
    lo, hi = span_of(word_at(w, 2), block, blocks)
    for r in range(lo, hi):
        p, y = word_at(w, 0) + r * step, word_at(w, 4) + r * size
        if LOG:
            top, excess = normaliser(p, width)
            log = log1p(excess)
            for j in range(0, full, LANES):
                stm(y + j * SIZE, (ldm(p + j * SIZE, LANES, 0.0) - top) - log, LANES)
            if full < width:
                stm(y + full * SIZE, (ldm(p + full * SIZE, width - full, 0.0) - top) - log, width - full)
        else:
            peak = peak_of(p, width)
            total, some = double(vset(0.0)), vset(0.0)
            for j in range(0, full, LANES):
                e = exp_low(ldm(p + j * SIZE, LANES, 0.0) - peak)
                stm(y + j * SIZE, e, LANES)
                some = some + e
                if j % (GROUP * LANES) == (GROUP - 1) * LANES:
                    total = total + double(some)
                    some = vset(0.0)
            if full < width:
                last = exp_low(ldm(p + full * SIZE, width - full, 0.0) - peak)
                stm(y + full * SIZE, last, width - full)
                some = some + select(first(width - full), last, 0.0)
            scale = real(1.0 / hsum(total + double(some)))
            for j in range(0, full, LANES):
                stm(y + j * SIZE, ldm(y + j * SIZE, LANES, 0.0) * scale, LANES)
            if full < width:
                stm(y + full * SIZE, ldm(y + full * SIZE, width - full, 0.0) * scale, width - full)


# backward ------------------------------------------------------------------------------------------------------------
#
# Words: the output y, its row's stride, rows, width, its cotangent g, that row's stride, dx, and a scratch of a
# block's, two tiles.
#
# Of softmax g enters by its differences alone. Counted from its value at the likeliest class, the sum has no term of
# g's own size, which would drown the gradient in rounding where g is nearly constant or one class has it all. Of its
# logarithm, where e^y is near 1, e^y - 1 is small and accurate, and g - sum g is what the others sum to.


def softmax_tile(tile: Any, other: Any, width: Any) -> None:
    """dx of softmax into the tile of y; `other` is that of g."""
    top, base = ldm(tile, LANES, 0.0), ldm(other, LANES, 0.0)
    for j in range(1, width):
        y = ldm(tile + j * BYTES, LANES, 0.0)
        base = select(y > top, ldm(other + j * BYTES, LANES, 0.0), base)
        top = select(y > top, y, top)
    total = double(vset(0.0))
    for j in range(width):
        total = total + double((ldm(other + j * BYTES, LANES, 0.0) - base) * ldm(tile + j * BYTES, LANES, 0.0))
    mean = narrow(total)
    for j in range(width):
        h = ldm(other + j * BYTES, LANES, 0.0) - base
        st(tile + j * BYTES, ldm(tile + j * BYTES, LANES, 0.0) * (h - mean))


def log_tile(tile: Any, other: Any, width: Any) -> None:
    """dx of log_softmax into the tile of y; `other` is that of g."""
    total, others, own = double(vset(0.0)), double(vset(0.0)), vset(-INFINITY)
    for j in range(width):
        y, g = ldm(tile + j * BYTES, LANES, 0.0), ldm(other + j * BYTES, LANES, 0.0)
        total = total + double(g)
        others = others + double(select(y > HALF, 0.0, g))
        own = select(y > HALF, y, own)
    scale, likely = narrow(total), vset(0.0)
    known = absolute(total) < INFINITY
    if any_lane(own > HALF):
        likely = narrow(-others) - expm1(own) * scale
    for j in range(width):
        z = ldm(tile + j * BYTES, LANES, 0.0)
        d = ldm(other + j * BYTES, LANES, 0.0) - exp_low(z) * scale
        st(tile + j * BYTES, select((z > HALF) & known, likely, d))


def backward_narrow(w: Any, block: Any, blocks: Any) -> None:
    step, width, up, tile = word_at(w, 1), word_at(w, 3), word_at(w, 5), word_at(w, 7) + 2 * block * TILE
    lo, hi = span_of(word_at(w, 2), block, blocks)
    for r in range(lo, hi, LANES):
        load_tile(word_at(w, 0) + r * step, step, hi - r, width, tile)
        load_tile(word_at(w, 4) + r * up, up, hi - r, width, tile + TILE)
        if LOG:
            log_tile(tile, tile + TILE, width)
        else:
            softmax_tile(tile, tile + TILE, width)
        store_tile(tile, word_at(w, 6) + r * width * SIZE, width * SIZE, hi - r, width)


def base_of(p: Any, q: Any, width: Any) -> Any:
    """g, at q, where y, at p, is largest."""
    tops, bases = vset(-1.0), vset(0.0)
    for j in range(0, width, LANES):
        y = ldm(p + j * SIZE, width - j, -1.0)
        better = (y > tops) | (y != y)
        bases = select(better, ldm(q + j * SIZE, width - j, 0.0), bases)
        tops = select(better, y, tops)
    return hmost(select(tops == hmost(tops), bases, -INFINITY))


def softmax_row(p: Any, q: Any, dx: Any, width: Any) -> None:
    base, total, some = base_of(p, q, width), double(vset(0.0)), vset(0.0)
    full = width // LANES * LANES
    for j in range(0, full, LANES):
        some = some + (ldm(q + j * SIZE, LANES, 0.0) - base) * ldm(p + j * SIZE, LANES, 0.0)
        if j % (GROUP * LANES) == (GROUP - 1) * LANES:
            total = total + double(some)
            some = vset(0.0)
    if full < width:
        far = (ldm(q + full * SIZE, width - full, 0.0) - base) * ldm(p + full * SIZE, width - full, 0.0)
        some = some + select(first(width - full), far, 0.0)
    mean = real(hsum(total + double(some)))
    for j in range(0, full, LANES):
        h = ldm(q + j * SIZE, LANES, 0.0) - base
        stm(dx + j * SIZE, ldm(p + j * SIZE, LANES, 0.0) * (h - mean), LANES)
    if full < width:
        last = ldm(q + full * SIZE, width - full, 0.0) - base
        stm(dx + full * SIZE, ldm(p + full * SIZE, width - full, 0.0) * (last - mean), width - full)


def log_row(p: Any, q: Any, dx: Any, width: Any) -> None:
    sums, rests, tops = double(vset(0.0)), double(vset(0.0)), vset(-INFINITY)
    for j in range(0, width, LANES):
        y, g = ldm(p + j * SIZE, width - j, -INFINITY), ldm(q + j * SIZE, width - j, 0.0)
        sums = sums + double(g)
        rests = rests + double(select(y > HALF, 0.0, g))
        tops = select(y > tops, y, tops)
    total, own = hsum(sums), hmost(tops)
    scale, likely = real(total), real(0.0)
    known = (own > HALF) & (absolute(total) < INFINITY)
    if known:
        likely = real(-hsum(rests)) - expm1(own) * scale
    for j in range(0, width, LANES):
        z = ldm(p + j * SIZE, width - j, 0.0)
        d = ldm(q + j * SIZE, width - j, 0.0) - exp_low(z) * scale
        stm(dx + j * SIZE, select((z > HALF) & known, likely, d), width - j)


def backward_wide(w: Any, block: Any, blocks: Any) -> None:
    width = word_at(w, 3)
    lo, hi = span_of(word_at(w, 2), block, blocks)
    for r in range(lo, hi):
        p, q = word_at(w, 0) + r * word_at(w, 1), word_at(w, 4) + r * word_at(w, 5)
        dx = word_at(w, 6) + r * width * SIZE
        if LOG:
            log_row(p, q, dx, width)
        else:
            softmax_row(p, q, dx, width)
