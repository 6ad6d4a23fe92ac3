"""Texts of the kernels of attention: a block has some heads, and goes through tiles of their queries."""

# The plan: (1) the keys, and on the way back the values, are there transposed, so that all products read rows; (2) the
# scores of a tile of queries with all keys are a product, which becomes probabilities in place; (3) forward these meet
# the values; (4) backward the slopes of the scores are made of the probabilities and the product of the slopes of the
# output with the values; they meet keys and queries; what is summed over tiles is added in their order; (5) what
# dropout leaves out is drawn row by row, by the place of each number among all scores, backward as it was forward.

from __future__ import annotations

from typing import Any

from tensorgraph.native.lowering import static
from tensorgraph.native.words import (
    double,
    hmost,
    hsum,
    integer,
    iota,
    ldb,
    ldm,
    load,
    load_int,
    most,
    narrow,
    real,
    real_at,
    select,
    stm,
    store,
    store_double,
    vset,
    word_at,
)
from tensorgraph.ops.kernels.scalar import exp_low
from tensorgraph.ops.native.random import philox, unit
from tensorgraph.ops.native.rows_times import times

__all__ = ["ADDED", "BARRED", "NONE", "backward", "forward", "summed"]

LANES = SIZE = 0  # constants of every kernel
INF = float("inf")
NONE, BARRED, ADDED = 0, 1, 2  # no mask; one of truth values, of which False bars a key; one that is added
CAUSAL, DROPPED, SLOPED = False, False, False  # of these; whether the slopes of what is added are wanted
TOGETHER = 4  # rows that are worked together
EACH = 8  # numbers of float32 in a group of `philox`


def seen_by(query: Any, keys: Any) -> Any:
    """How many keys a query looks at."""
    return min(query + 1, keys) if CAUSAL else keys


def scaled(source: Any, step: Any, target: Any, rows: Any, dim: Any, scale: Any) -> None:
    """Queries times the scale, into memory of the block: their products with keys alone might leave the range."""
    for r in range(rows):
        for j in range(0, dim, LANES):
            v = ldm(source + r * step + j * SIZE, dim - j, 0.0) * scale
            stm(target + (r * dim + j) * SIZE, v, dim - j)


def barred(row: Any, seen: Any, mask: Any, filled: float) -> None:
    """Numbers of keys that a mask of truth values bars become another one."""
    for j in range(0, seen, LANES):
        v = ldm(row + j * SIZE, seen - j, 0.0)
        stm(row + j * SIZE, select(ldb(mask + j, seen - j), v, vset(filled)), seen - j)


def masked(row: Any, seen: Any, kind: Any, mask: Any, is_keyed: Any, keyed: Any) -> None:
    """Scores of a row as its masks leave them."""
    if kind == BARRED:
        barred(row, seen, mask, -INF)
    if kind == ADDED:
        for j in range(0, seen, LANES):
            more = ldm(mask + j * SIZE, seen - j, 0.0)
            v = ldm(row + j * SIZE, seen - j, 0.0) + more
            stm(row + j * SIZE, select(more == -INF, more, v), seen - j)  # it bars what is no number too
    if is_keyed > 0:
        barred(row, seen, keyed, -INF)


def bare(row: Any, seen: Any, kind: Any, mask: Any, is_keyed: Any, keyed: Any) -> Any:
    """NaN in a row of probabilities or slopes becomes 0 where a mask bars the key. What is left, summed: NaN or 0."""
    if kind == BARRED:
        barred(row, seen, mask, 0.0)
    if kind == ADDED:
        for j in range(0, seen, LANES):
            v = ldm(row + j * SIZE, seen - j, 0.0)
            stm(row + j * SIZE, select(ldm(mask + j * SIZE, seen - j, 0.0) == -INF, vset(0.0), v), seen - j)
    if is_keyed > 0:
        barred(row, seen, keyed, 0.0)
    total = vset(0.0)
    for j in range(0, seen, LANES):
        total = total + ldm(row + j * SIZE, seen - j, 0.0)
    return hsum(double(total))


def shared_out(
    count: int, row: Any, step: Any, first: Any, keys: Any, filled: Any, told: bool, peaks: Any,
    totals: Any,
) -> None:  # fmt: skip
    """Scores of `count` rows, of which the first is of query `first`, to probabilities: 0 behind the keys that are
    seen, NaN where all scores are -inf or one is no number. Where `told`, the largest scores go to `peaks` and the sums
    to `totals`.

    Rows are worked together, lest each wait for what is folded of the one before.
    """
    rows = [row + a * step for a in static(count)]
    seen = [seen_by(first + a, keys) for a in static(count)]
    longest = seen[count - 1]
    tops = [vset(-INF) for a in static(count)]
    for j in range(0, longest, LANES):
        for a in static(count):
            tops[a] = most(tops[a], ldm(rows[a] + j * SIZE, seen[a] - j, -INF))
    bases = [hmost(tops[a]) for a in static(count)]
    sums = [double(vset(0.0)) for a in static(count)]
    for j in range(0, longest, LANES):
        for a in static(count):
            e = exp_low(ldm(rows[a] + j * SIZE, seen[a] - j, 0.0) - bases[a])
            stm(rows[a] + j * SIZE, e, seen[a] - j)
            sums[a] = sums[a] + double(select(iota() < seen[a] - j, e, vset(0.0)))
    whole = [hsum(sums[a]) for a in static(count)]
    inverse = [real(1.0 / whole[a]) for a in static(count)]
    for j in range(0, filled, LANES):
        for a in static(count):
            v = ldm(rows[a] + j * SIZE, filled - j, 0.0) * inverse[a]
            stm(rows[a] + j * SIZE, select(iota() < seen[a] - j, v, vset(0.0)), filled - j)
    if told:
        for a in static(count):
            store(peaks + a * SIZE, bases[a])
            store_double(totals + a * 8, whole[a])


def probabilities(
    row: Any, step: Any, rows: Any, first: Any, keys: Any, filled: Any, told: bool, peaks: Any,
    totals: Any,
) -> None:  # fmt: skip
    """`shared_out` of so many rows."""
    r = integer(0)
    while r + TOGETHER <= rows:
        at, a, b = row + r * step, peaks + r * SIZE, totals + r * 8
        shared_out(TOGETHER, at, step, first + r, keys, filled, told, a, b)
        r += TOGETHER
    while r < rows:
        at, a, b = row + r * step, peaks + r * SIZE, totals + r * 8
        shared_out(1, at, step, first + r, keys, filled, told, a, b)
        r += 1


def draws(state: Any, begin: Any, count: Any, line: Any) -> Any:
    """The draws of a state from number `begin` on, into a line; where in it the first one is."""
    first = begin // EACH
    for g in range(first, (begin + count + EACH - 1) // EACH):
        c = philox(g + 1, load_int(state + 16), load_int(state), load_int(state + 8))
        for k in static(EACH):
            store(line + ((g - first) * EACH + k) * SIZE, unit(c[k // 2], k % 2, False))
    return line + begin % EACH * SIZE


def dropped(row: Any, count: Any, line: Any, rate: Any, factor: Any) -> None:
    """Zero what is drawn below the rate, and make up for it by the factor in the rest."""
    for j in range(0, count, LANES):
        n = count - j
        v = ldm(row + j * SIZE, n, 0.0) * factor
        stm(row + j * SIZE, select(ldm(line + j * SIZE, n, 0.0) >= rate, v, vset(0.0)), n)


def forward(w: Any, block: Any, blocks: Any) -> None:
    """Words: queries, bytes from image to image, head to head, row to row; transposed keys, bytes of a head; values,
    from image to image, head to head, row to row; output; largest scores; sums; images, heads, how many of these share
    keys, queries, keys, numbers of a key and of a value; queries of a tile; memory for scores, and how many bytes a
    block has; scale; memory for scaled queries, and how many bytes a block has; the kind of the mask, itself, from
    image to image, head to head, row to row; whether keys have one, itself, from image to image; of dropout the states,
    how many images have one, the rate, the factor, memory for a line of draws and how many bytes a block has."""
    q, q_image, q_head, q_row, k, k_image, k_head, v, v_image, v_head, v_row, out = [word_at(w, i) for i in static(12)]
    peaks, totals, images, heads, group, queries, keys, dim, width, tile = [word_at(w, i) for i in static(12, 22)]
    scores, scale = word_at(w, 22) + word_at(w, 23) * block, real_at(w, 24)
    small = word_at(w, 25) + word_at(w, 26) * block
    kind, mask, mask_image, mask_head, mask_row, is_keyed, keyed, keyed_image = [word_at(w, i) for i in static(27, 35)]
    state, alike = (word_at(w, 35), word_at(w, 36)) if DROPPED else (0, 1)
    own = word_at(w, 39) + word_at(w, 40) * block if DROPPED else 0
    units, step = images * heads, keys * SIZE
    for u in range(units * block // blocks, units * (block + 1) // blocks):
        n, h = u // heads, u % heads
        shared, over = h // group, mask + n * mask_image + h * mask_head
        for r0 in range(0, queries, tile):
            rows = min(queries - r0, tile)
            last = seen_by(r0 + rows - 1, keys)
            scaled(q + n * q_image + h * q_head + r0 * q_row, q_row, small, rows, dim, scale)
            times(small, dim * SIZE, SIZE, k + n * k_image + shared * k_head, step, scores, step, rows, last, dim, 0)
            is_masked, at = kind + is_keyed > 0, u * queries + r0
            if is_masked:
                for r in range(rows):
                    row, seen = scores + r * step, seen_by(r0 + r, keys)
                    masked(row, seen, kind, over + (r0 + r) * mask_row, is_keyed, keyed + n * keyed_image)
            probabilities(scores, step, rows, r0, keys, last, True, peaks + at * SIZE, totals + at * 8)
            if is_masked:
                for r in range(rows):
                    row, seen = scores + r * step, seen_by(r0 + r, keys)
                    if load(row) != load(row):
                        masks = over + (r0 + r) * mask_row
                        total = bare(row, seen, kind, masks, is_keyed, keyed + n * keyed_image)
                        store_double(totals + (at + r) * 8, total)
            if DROPPED:
                for r in range(rows):
                    row, seen = scores + r * step, seen_by(r0 + r, keys)
                    line = draws(
                        state + n // alike * 24, ((n % alike * heads + h) * queries + r0 + r) * keys, seen, own
                    )
                    dropped(row, seen, line, real_at(w, 37), real_at(w, 38))
            times(scores, step, SIZE, v + n * v_image + shared * v_head, v_row, out + (u * queries + r0) * width * SIZE,
                  width * SIZE, rows, width, last, 0)  # fmt: skip


def slopes(count: int, p: Any, d: Any, step: Any, first: Any, keys: Any, scale: Any, whole: Any) -> None:
    """p (d - mean of d) times the scale in the place of d, and without it where SLOPED; d by its differences from that
    of the likeliest key. Of `count` rows, of which the first is of query `first`."""
    own, of = [p + a * step for a in static(count)], [d + a * step for a in static(count)]
    seen = [seen_by(first + a, keys) for a in static(count)]
    tops, bases = [vset(-1.0) for a in static(count)], [vset(0.0) for a in static(count)]
    for j in range(0, seen[count - 1], LANES):
        for a in static(count):
            x = ldm(own[a] + j * SIZE, seen[a] - j, -1.0)
            better = x > tops[a]
            bases[a] = select(better, ldm(of[a] + j * SIZE, seen[a] - j, 0.0), bases[a])
            tops[a] = select(better, x, tops[a])
    most_of = [hmost(select(tops[a] == hmost(tops[a]), bases[a], vset(-INF))) for a in static(count)]
    base = [select(most_of[a] == -INF, real(0.0), most_of[a]) for a in static(count)]  # -inf: there is no likeliest one
    mean = [double(vset(0.0)) for a in static(count)]
    for j in range(0, seen[count - 1], LANES):
        for a in static(count):
            m = seen[a] - j
            away = select(iota() < m, ldm(of[a] + j * SIZE, m, 0.0) - base[a], 0.0)
            mean[a] = mean[a] + double(ldm(own[a] + j * SIZE, m, 0.0)) * double(away)
    middle = [real(hsum(mean[a])) for a in static(count)]
    for j in range(0, keys, LANES):
        for a in static(count):
            n = keys - j
            v = ldm(own[a] + j * SIZE, n, 0.0) * (ldm(of[a] + j * SIZE, n, 0.0) - base[a] - middle[a])
            stm(of[a] + j * SIZE, select(iota() < seen[a] - j, v * scale, vset(0.0)), n)
            if SLOPED:
                stm(whole + a * step + j * SIZE, select(iota() < seen[a] - j, v, vset(0.0)), n)


def backward(w: Any, block: Any, blocks: Any) -> None:
    """Words: as of `forward` to the transposed keys; keys, from image to image, head to head, row to row; transposed
    values, from image to image, head to head; slopes of the output; gradients of queries, keys and values, in C order,
    each of every head; images, heads, how many of these share keys, queries, keys, numbers of a
    key and of a value; queries of a tile; memory for scores and for their slopes, and how many bytes a block has of
    each; scale; scaled queries, masks and dropout as of `forward`; where they are wanted, the slopes of scores of every
    head, in C order."""
    q, q_image, q_head, q_row, turned, turned_image, turned_head = [word_at(w, i) for i in static(7)]
    k, k_image, k_head, k_row, v, v_image, v_head = [word_at(w, i) for i in static(7, 14)]
    g, dq, dk, dv = [word_at(w, i) for i in static(14, 18)]
    images, heads, group, queries, keys, dim, width, tile = [word_at(w, i) for i in static(18, 26)]
    own = word_at(w, 28) * block
    p, d, scale = word_at(w, 26) + own, word_at(w, 27) + own, real_at(w, 29)
    small = word_at(w, 30) + word_at(w, 31) * block
    kind, mask, mask_image, mask_head, mask_row, is_keyed, keyed, keyed_image = [word_at(w, i) for i in static(32, 40)]
    state, alike = (word_at(w, 40), word_at(w, 41)) if DROPPED else (0, 1)
    lines = word_at(w, 44) + word_at(w, 45) * block if DROPPED else 0
    sloped = word_at(w, 46 if DROPPED else 40) if SLOPED else 0
    units, step = images * heads, keys * SIZE
    for u in range(units * block // blocks, units * (block + 1) // blocks):
        n, h = u // heads, u % heads
        shared, over = h // group, mask + n * mask_image + h * mask_head
        to_k, to_v = dk + u * keys * dim * SIZE, dv + u * keys * width * SIZE
        for r0 in range(0, queries, tile):
            rows = min(queries - r0, tile)
            at, from_q = u * queries + r0, q + n * q_image + h * q_head + r0 * q_row
            up = g + at * width * SIZE
            scaled(from_q, q_row, small, rows, dim, scale)
            times(small, dim * SIZE, SIZE, turned + n * turned_image + shared * turned_head, step, p, step, rows, keys,
                  dim, 0)  # fmt: skip
            times(up, width * SIZE, SIZE, v + n * v_image + shared * v_head, step, d, step, rows, keys, width, 0)
            # of these scores, not the forward pass's: products of other tiles round otherwise, and where scores are
            # large the differences would be powers of e
            is_masked = kind + is_keyed > 0
            if is_masked:
                for r in range(rows):
                    row, seen = p + r * step, seen_by(r0 + r, keys)
                    masked(row, seen, kind, over + (r0 + r) * mask_row, is_keyed, keyed + n * keyed_image)
            probabilities(p, step, rows, r0, keys, keys, False, 0, 0)
            if is_masked:
                for r in range(rows):
                    row, seen = p + r * step, seen_by(r0 + r, keys)
                    if load(row) != load(row):
                        bare(row, seen, kind, over + (r0 + r) * mask_row, is_keyed, keyed + n * keyed_image)
            r, whole = integer(0), sloped + at * step if SLOPED else 0
            if DROPPED:
                for i in range(rows):
                    seen, row = seen_by(r0 + i, keys), p + i * step
                    begin = ((n % alike * heads + h) * queries + r0 + i) * keys
                    line = draws(state + n // alike * 24, begin, seen, lines)
                    dropped(d + i * step, seen, line, real_at(w, 42), real_at(w, 43))
                    slopes(1, row, d + i * step, step, r0 + i, keys, scale, whole + i * step)
                    dropped(row, seen, line, real_at(w, 42), real_at(w, 43))
            else:
                while r + TOGETHER <= rows:
                    slopes(TOGETHER, p + r * step, d + r * step, step, r0 + r, keys, scale, whole + r * step)
                    r += TOGETHER
                while r < rows:
                    slopes(1, p + r * step, d + r * step, step, r0 + r, keys, scale, whole + r * step)
                    r += 1
            if is_masked:
                for i in range(rows):
                    row, seen = d + i * step, seen_by(r0 + i, keys)
                    if load(row) != load(row):
                        masks = over + (r0 + i) * mask_row
                        bare(row, seen, kind, masks, is_keyed, keyed + n * keyed_image)
                        if SLOPED:
                            bare(whole + i * step, seen, kind, masks, is_keyed, keyed + n * keyed_image)
            times(p, SIZE, step, up, width * SIZE, to_v, width * SIZE, keys, width, rows, r0)
            times(d, SIZE, step, from_q, q_row, to_k, dim * SIZE, keys, dim, rows, r0)
            times(d, step, SIZE, k + n * k_image + shared * k_head, k_row, dq + at * dim * SIZE, dim * SIZE, rows, dim,
                  keys, 0)  # fmt: skip


def summed(w: Any, block: Any, blocks: Any) -> None:
    """Matrices of n numbers added up. Words: the matrices, the sums, n; of two axes that are kept the sizes, and bytes
    from matrix to matrix and from sum to sum; of two that are summed over the sizes and bytes."""
    source, target, n, outer, out_source, out_target, inner, in_source, in_target = [word_at(w, i) for i in static(9)]
    first, first_step, second, second_step = [word_at(w, i) for i in static(9, 13)]
    for i in range(outer):
        for k in range(inner * block // blocks, inner * (block + 1) // blocks):
            p, q = source + i * out_source + k * in_source, target + i * out_target + k * in_target
            for j in range(0, n, LANES):
                total = double(vset(0.0))
                for a in range(first):
                    for b in range(second):
                        total = total + double(ldm(p + a * first_step + b * second_step + j * SIZE, n - j, 0.0))
                stm(q + j * SIZE, narrow(total), n - j)
