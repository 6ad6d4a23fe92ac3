"""Texts of the kernels of the softmax cross-entropy with a coefficient for every class: row by row, lanes are classes.

The coefficient of a class is what its target has of it, or 1 of the row's own class, times `keep`, and `base` more,
times the class's weight. Words are those of `cross_entropy_rows`, with the stride of rows of targets and `keep` in the
places of the tile and its size.
"""

from __future__ import annotations

from typing import Any

from tensorgraph.native.lowering import static
from tensorgraph.native.words import (
    any_lane,
    double,
    first,
    hsum,
    ldm,
    load,
    load_int,
    real,
    real_at,
    select,
    stm,
    store,
    vset,
    word_at,
)
from tensorgraph.ops.kernels.scalar import exp_low, expm1, log1p
from tensorgraph.ops.native.cross_entropy_rows import INFINITY, put_sums, scale_of, summed
from tensorgraph.ops.native.edges import span_of
from tensorgraph.ops.native.softmax_rows import GROUP, normaliser

__all__ = ["backward_dense", "forward_dense"]

LANES = SIZE = 0  # constants of kernels
SOFT = IGNORES = EACH = WEIGHTED = MASS = False

HALF = 0.6931471805599453  # where the log of the sum is below it, one class has more than a half


def coefficient_of(w: Any, weights: Any, r: Any, j: Any, n: Any, numbers: Any) -> Any:
    """What the loss of classes from j on counts, 0 behind the last; but for a label's own class."""
    step, keep, base = numbers
    c = vset(base)
    if SOFT:
        c = ldm(word_at(w, 4) + r * step + j * SIZE, n, 0.0) * keep + base
    if WEIGHTED:
        c = c * ldm(weights + j * SIZE, n, 0.0)
    return select(first(n), c, 0.0)


def forward_dense(w: Any, block: Any, blocks: Any) -> None:
    rows, classes, ignored, lse = word_at(w, 2), word_at(w, 3), word_at(w, 5), word_at(w, 6)
    weights, numbers = word_at(w, 11), [word_at(w, 9), real_at(w, 10), real_at(w, 12)]
    lo, hi = span_of(rows, block, blocks)
    total, lost, count, less = [double(0.0) for _ in static(4)]
    for r in range(lo, hi):
        p = word_at(w, 0) + r * word_at(w, 1)
        top, excess = normaliser(p, classes)
        log, counts = log1p(excess), rows == rows
        sums, mass, some, weight = double(vset(0.0)), double(vset(0.0)), vset(0.0), vset(0.0)
        for j in range(0, classes, LANES):
            n = classes - j
            c = coefficient_of(w, weights, r, j, n, numbers)
            l = (top - ldm(p + j * SIZE, n, 0.0)) + log
            # a class that is impossible and not wanted counts as 0
            some = some + select(((c == 0.0) & (l == INFINITY)) | ~first(n), 0.0, c * l)
            if MASS and SOFT:
                share = ldm(word_at(w, 4) + r * numbers[0] + j * SIZE, n, 0.0) * ldm(weights + j * SIZE, n, 0.0)
                weight = weight + select(first(n), share, 0.0)
            if j % (GROUP * LANES) == (GROUP - 1) * LANES:
                sums = sums + double(some)
                mass = mass + double(weight)
                some, weight = vset(0.0), vset(0.0)
        loss, weighs = hsum(sums + double(some)), double(1.0)
        if SOFT:
            if MASS:
                weighs = hsum(mass + double(weight))
        else:
            k = load_int(word_at(w, 4) + 8 * r)
            if IGNORES:
                counts = k != ignored
                k = select(counts, k, 0)
            own = load(weights + k * SIZE) if WEIGHTED else real(1.0)
            a, b = numbers[1] * own, (top - load(p + k * SIZE)) + log
            loss = loss + double(select((a == 0.0) & (b == INFINITY), 0.0, a * b))
            if MASS:
                weighs = double(own)
        whole = select(counts, real(loss), 0.0)
        store(lse + r * SIZE, top)
        store(lse + (rows + r) * SIZE, log)
        if EACH:
            store(word_at(w, 7) + r * SIZE, whole)
        else:
            total, lost = summed(total, lost, double(whole))
            count, less = summed(count, less, select(counts, weighs, 0.0))
    if not EACH:
        put_sums(w, block, total, lost, count, less)


def backward_dense(w: Any, block: Any, blocks: Any) -> None:
    # where p is nearly 1, mass p - c is (mass - c) - mass (1 - p): both are small, and accurate
    rows, classes, ignored, lse = word_at(w, 2), word_at(w, 3), word_at(w, 5), word_at(w, 6)
    weights, numbers = word_at(w, 13), [word_at(w, 11), real_at(w, 12), real_at(w, 14)]
    lo, hi = span_of(rows, block, blocks)
    scale, some = scale_of(w)
    for r in range(lo, hi):
        p, dx = word_at(w, 0) + r * word_at(w, 1), word_at(w, 10) + r * classes * SIZE
        top, log, each = load(lse + r * SIZE), load(lse + (rows + r) * SIZE), scale
        if EACH:
            each = load(word_at(w, 8) + r * word_at(w, 9))
        k, counts = 0, some
        if not SOFT:
            k = load_int(word_at(w, 4) + 8 * r)
            if IGNORES:
                counts = counts & (k != ignored)
        if counts:
            sums, part = double(vset(0.0)), vset(0.0)
            if SOFT or WEIGHTED:
                for j in range(0, classes, LANES):
                    part = part + coefficient_of(w, weights, r, j, classes - j, numbers)
                    if j % (GROUP * LANES) == (GROUP - 1) * LANES:
                        sums = sums + double(part)
                        part = vset(0.0)
            mass = hsum(sums + double(part))
            own, value = real(0.0), real(0.0)
            if not SOFT:
                weight = load(weights + k * SIZE) if WEIGHTED else real(1.0)
                own = numbers[1] * weight
                mass = (mass if WEIGHTED else double(numbers[2]) * double(classes)) + double(own)
                # read before it is written, where the two are one
                value = load(p + k * SIZE)
            for j in range(0, classes, LANES):
                n = classes - j
                x, c = ldm(p + j * SIZE, n, 0.0), coefficient_of(w, weights, r, j, n, numbers)
                d = (x - top) - log
                e = exp_low(d) * real(mass) - c
                likely = (x == top) & (log < HALF) & first(n)
                if any_lane(likely):
                    e = select(likely, (real(mass) - c) + expm1(d) * real(mass), e)
                stm(dx + j * SIZE, e * each, n)
            if not SOFT:
                a, b = own + (numbers[2] * weight if WEIGHTED else numbers[2]), (value - top) - log
                f = exp_low(b) * real(mass) - a
                if (value == top) & (log < HALF):
                    f = (real(mass) - a) + expm1(b) * real(mass)
                store(dx + k * SIZE, f * each)
        else:
            for j in range(0, classes, LANES):
                stm(dx + j * SIZE, vset(0.0), classes - j)
