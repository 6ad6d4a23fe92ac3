"""Texts of the kernels of the softmax cross-entropy with one class a row; formulas are in `ops.kernels.cross_entropy`.

Rows of few classes are worked on LANES at a time, lanes being rows; of many one after the other, lanes being classes.
The log-sum-exp is the pair of the maximum and of the log of the sum relative to it, in which the largest terms, which
are 1, are counted apart: so that it is accurate relative to itself however near 0 it is.
"""

from __future__ import annotations

from typing import Any

from tensorgraph.native.lowering import static
from tensorgraph.native.words import (
    any_lane,
    double,
    first,
    hsum,
    ldg,
    ldm,
    ldq,
    load,
    load_double,
    load_int,
    real,
    real_at,
    select,
    st,
    stm,
    store,
    store_double,
    store_int,
    vset,
    word_at,
)
from tensorgraph.ops.kernels.batch_norm_rows import shortfall
from tensorgraph.ops.kernels.scalar import exp_low, expm1, log1p
from tensorgraph.ops.native.edges import span_of
from tensorgraph.ops.native.labels import whole_at
from tensorgraph.ops.native.softmax_rows import GROUP, largest, normaliser
from tensorgraph.ops.native.tiles import load_tile, store_tile

__all__ = ["backward_narrow", "backward_wide", "check_numbers", "check_targets", "finish", "forward_narrow",
           "forward_wide", "one", "put_sums", "scale_of", "summed"]  # fmt: skip

LANES = SIZE = BYTES = 0  # constants of kernels
IGNORES = EACH = INLINE = COUNTED = ZERO = WEIGHTED = MASS = SIGNED = False
ITEM = 8

INFINITY, NAN = float("inf"), float("nan")


def check_targets(w: Any, block: Any, blocks: Any) -> None:
    """Whether every target is a class, or is ignored. The words: targets, how many, classes, what is ignored."""
    target, n, classes, ignored = word_at(w, 0), word_at(w, 1), word_at(w, 2), word_at(w, 3)
    code = 0
    if ITEM == 8:
        for i in range(0, n, LANES):
            k = ldq(target + 8 * i, n - i, 0)
            wrong = (k < 0) | (k >= classes)
            if IGNORES:
                wrong = wrong & (k != ignored)
            code = select(any_lane(wrong & first(n - i)), 1, code)
    else:
        for i in range(n):
            one = whole_at(target + i * ITEM)
            bad = (one < 0) | (one >= classes)
            if IGNORES:
                bad = bad & (one != ignored)
            code = select(bad, 1, code)
    store_int(word_at(w, 4), code)


def check_numbers(w: Any, block: Any, blocks: Any) -> None:
    """Whether no number is NaN; where WEIGHTED none is infinite either. The words: numbers, how many, their stride."""
    p, n, step, code = word_at(w, 0), word_at(w, 1), word_at(w, 2), 0
    for i in range(0, n, LANES):
        x = ldg(p + i * step, step, n - i, 0.0) if WEIGHTED else ldm(p + i * SIZE, n - i, 0.0)
        code = select(any_lane((x - x != 0.0) if WEIGHTED else (x != x)), 1, code)
    store_int(word_at(w, 3), code)


# forward -------------------------------------------------------------------------------------------------------------
#
# Words: logits, their row's stride, rows, classes, targets, what is ignored, where log-sum-exps go, where the losses of
# rows go, sums of the blocks: of losses, what that lost, how many rows count, or what they weigh, and what that lost; a
# scratch for each block, a tile, and its size; class weights, and a word of `cross_entropy_dense`. For the finish also
# how many blocks there were, loss, divisor, and where to warn.


def summed(total: Any, lost: Any, loss: Any) -> Any:
    """A sum with one number more, and with what it loses."""
    more = total + loss
    return more, lost + shortfall(total, loss, more)


def whole(total: Any, lost: Any) -> Any:
    """The two as one; an infinite sum has lost infinity minus infinity."""
    return select(lost == lost, total + lost, total)


def put_sums(w: Any, block: Any, total: Any, lost: Any, count: Any, less: Any) -> None:
    at = word_at(w, 8) + 32 * block
    store_double(at, total)
    store_double(at + 8, lost)
    store_double(at + 16, count)
    store_double(at + 24, less)


def weighted(loss: Any, weight: Any) -> Any:
    """An infinite loss of a class that weighs nothing counts as 0."""
    return select((weight == 0.0) & (loss == INFINITY), 0.0, loss * weight)


def forward_narrow(w: Any, block: Any, blocks: Any) -> None:
    step, rows, classes, target = word_at(w, 1), word_at(w, 2), word_at(w, 3), word_at(w, 4)
    ignored, lse, tile = word_at(w, 5), word_at(w, 6), word_at(w, 9) + block * word_at(w, 10)
    lo, hi = span_of(rows, block, blocks)
    total, lost, count, less = [double(vset(0.0)) for _ in static(4)]
    for r in range(lo, hi, LANES):
        n = hi - r
        load_tile(word_at(w, 0) + r * step, step, n, classes, tile)
        k = ldq(target + 8 * r, n, 0)
        top = largest(tile, classes)
        own, ones, rest, some, weight = vset(0.0), vset(-1.0), vset(0.0), vset(0.0), vset(1.0)
        for j in range(classes):
            d = ldm(tile + j * BYTES, LANES, 0.0) - top
            own = select(k == j, d, own)
            if WEIGHTED:
                weight = select(k == j, load(word_at(w, 11) + j * SIZE), weight)
            e = exp_low(d)
            ones = ones + select(e == 1.0, 1.0, 0.0)
            some = some + select(e == 1.0, 0.0, e)
            if j % GROUP == GROUP - 1:
                rest = rest + some
                some = vset(0.0)
        log = log1p(ones + (rest + some))
        counts = first(n)
        if IGNORES:
            counts = counts & (k != ignored)
        loss = select(counts, weighted(log - own, weight) if WEIGHTED else log - own, 0.0)
        stm(lse + r * SIZE, top, n)
        stm(lse + (rows + r) * SIZE, log, n)
        if EACH:
            stm(word_at(w, 7) + r * SIZE, loss, n)
        else:
            total, lost = summed(total, lost, double(loss))
            count, less = summed(count, less, double(select(counts, weight if MASS else vset(1.0), 0.0)))
    if not EACH:
        put_sums(w, block, hsum(total), hsum(lost), hsum(count), hsum(less))


def forward_wide(w: Any, block: Any, blocks: Any) -> None:
    step, rows, classes, target = word_at(w, 1), word_at(w, 2), word_at(w, 3), word_at(w, 4)
    ignored, lse = word_at(w, 5), word_at(w, 6)
    lo, hi = span_of(rows, block, blocks)
    total, lost, count, less = [double(0.0) for _ in static(4)]
    for r in range(lo, hi):
        p, k = word_at(w, 0) + r * step, load_int(target + 8 * r)
        top, excess = normaliser(p, classes)
        log = log1p(excess)
        counts = k == k
        if IGNORES:
            counts = k != ignored
        k = select(counts, k, 0)
        loss, mass = log - (load(p + k * SIZE) - top), real(1.0)
        if WEIGHTED:
            weight = load(word_at(w, 11) + k * SIZE)
            loss = weighted(loss, weight)
            mass = weight if MASS else mass
        loss = select(counts, loss, 0.0)
        store(lse + r * SIZE, top)
        store(lse + (rows + r) * SIZE, log)
        if EACH:
            store(word_at(w, 7) + r * SIZE, loss)
        else:
            total, lost = summed(total, lost, double(loss))
            count, less = summed(count, less, double(select(counts, mass, 0.0)))
    if not EACH:
        put_sums(w, block, total, lost, count, less)


def finish(w: Any, block: Any, blocks: Any) -> None:
    """The sums of all blocks, in order; their mean where COUNTED, 0 or NaN where nothing counts."""
    total, lost, count, less = [double(0.0) for _ in static(4)]
    for i in range(word_at(w, 13)):
        at = word_at(w, 8) + 32 * i
        total, lost = summed(total, lost, load_double(at))
        lost = lost + load_double(at + 8)
        count, less = summed(count, less, load_double(at + 16))
        less = less + load_double(at + 24)
    loss, divisor = whole(total, lost), whole(count, less)
    if COUNTED:
        loss = select(divisor == 0.0, 0.0 if ZERO else NAN, loss / divisor)
        store_int(word_at(w, 16), select(divisor == 0.0, 1, 0))
    store(word_at(w, 14), real(loss))
    store_double(word_at(w, 15), divisor if COUNTED else double(1.0))


def one(w: Any, block: Any, blocks: Any) -> None:
    """The divisor of losses that are not divided."""
    store_double(word_at(w, 0), 1.0)


# backward ------------------------------------------------------------------------------------------------------------
#
# Words: logits, their row's stride, rows, classes, targets, what is ignored, log-sum-exps, the divisor, the cotangent,
# bytes from one row's to the next, dx, a scratch for each block, a tile, and its size; class weights, and a word of
# `cross_entropy_dense`.


def scale_of(w: Any) -> Any:
    """Cotangent over divisor, and whether anything counts."""
    divisor = load_double(word_at(w, 7))
    g = real_at(w, 8) if INLINE else load(word_at(w, 8))
    return real(double(g) / divisor), divisor != 0.0


def backward_narrow(w: Any, block: Any, blocks: Any) -> None:
    step, rows, classes, target = word_at(w, 1), word_at(w, 2), word_at(w, 3), word_at(w, 4)
    ignored, lse, tile = word_at(w, 5), word_at(w, 6), word_at(w, 11) + block * word_at(w, 12)
    lo, hi = span_of(rows, block, blocks)
    scale, some = scale_of(w)
    for r in range(lo, hi, LANES):
        n = hi - r
        load_tile(word_at(w, 0) + r * step, step, n, classes, tile)
        k = ldq(target + 8 * r, n, 0)
        top, log = ldm(lse + r * SIZE, n, 0.0), ldm(lse + (rows + r) * SIZE, n, 0.0)
        each = vset(scale)
        if EACH:
            each = ldg(word_at(w, 8) + r * word_at(w, 9), word_at(w, 9), n, 0.0)
        own = vset(0.0)
        if WEIGHTED:
            weight = vset(1.0)
            for j in range(classes):
                weight = select(k == j, load(word_at(w, 13) + j * SIZE), weight)
            each = each * weight
        for j in range(classes):
            d = (ldm(tile + j * BYTES, LANES, 0.0) - top) - log
            own = select(k == j, d, own)
            st(tile + j * BYTES, exp_low(d) * each)
        # p - 1, which is small and accurate where the class is likely
        own = expm1(own) * each
        counts = (k == k) & some
        if IGNORES:
            counts = counts & (k != ignored)
        for j in range(classes):
            e = select(k == j, own, ldm(tile + j * BYTES, LANES, 0.0))
            st(tile + j * BYTES, select(counts, e, 0.0))
        width = classes * SIZE
        store_tile(tile, word_at(w, 10) + r * width, width, n, classes)


def backward_wide(w: Any, block: Any, blocks: Any) -> None:
    step, rows, classes, target = word_at(w, 1), word_at(w, 2), word_at(w, 3), word_at(w, 4)
    ignored, lse = word_at(w, 5), word_at(w, 6)
    lo, hi = span_of(rows, block, blocks)
    scale, some = scale_of(w)
    full, width = classes // LANES * LANES, classes * SIZE
    for r in range(lo, hi):
        p, dx, k = word_at(w, 0) + r * step, word_at(w, 10) + r * width, load_int(target + 8 * r)
        top, log = load(lse + r * SIZE), load(lse + (rows + r) * SIZE)
        each = scale
        if EACH:
            each = load(word_at(w, 8) + r * word_at(w, 9))
        counts = some
        if IGNORES:
            counts = counts & (k != ignored)
        if counts:
            if WEIGHTED:
                each = each * load(word_at(w, 13) + k * SIZE)
            # read before it is written, where the two are one
            own = expm1((load(p + k * SIZE) - top) - log) * each
            for j in range(0, full, LANES):
                e = exp_low((ldm(p + j * SIZE, LANES, 0.0) - top) - log) * each
                stm(dx + j * SIZE, e, LANES)
            if full < classes:
                e = exp_low((ldm(p + full * SIZE, classes - full, 0.0) - top) - log) * each
                stm(dx + full * SIZE, e, classes - full)
            store(dx + k * SIZE, own)
        else:
            for j in range(0, classes, LANES):
                stm(dx + j * SIZE, vset(0.0), classes - j)
