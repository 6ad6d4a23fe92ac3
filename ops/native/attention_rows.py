"""Texts of the kernels of attention: a block has some heads, and goes through tiles of their queries."""

# The plan: (1) the keys, and on the way back the values, are there transposed, so that all products read rows; (2) the
# scores of a tile of queries with all keys are a product, which becomes probabilities in place; (3) forward these meet
# the values; (4) backward the slopes of the scores are made of the probabilities and the product of the slopes of the
# output with the values; they meet keys and queries; what is summed over tiles is added in their order.

from __future__ import annotations

from typing import Any

from tensorgraph.native.lowering import static
from tensorgraph.native.words import (
    double,
    hmost,
    hsum,
    iota,
    ldm,
    load,
    load_double,
    most,
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
from tensorgraph.ops.native.rows_times import times

__all__ = ["backward", "forward"]

LANES = SIZE = 0  # constants of every kernel
INF = float("inf")
CAUSAL = False  # of these


def seen_by(query: Any, keys: Any) -> Any:
    """How many keys a query looks at."""
    return min(query + 1, keys) if CAUSAL else keys


def largest(row: Any, seen: Any, scale: Any) -> Any:
    """The largest score of a row, which becomes scaled."""
    top = vset(-INF)
    for j in range(0, seen, LANES):
        v = ldm(row + j * SIZE, seen - j, 0.0) * scale
        stm(row + j * SIZE, v, seen - j)
        top = most(top, select(iota() < seen - j, v, vset(-INF)))
    return hmost(top)


def exponentials(row: Any, seen: Any, base: Any) -> Any:
    """exp(score - base) in place; their sum, in float64."""
    total = double(vset(0.0))
    for j in range(0, seen, LANES):
        e = exp_low(ldm(row + j * SIZE, seen - j, 0.0) - base)
        stm(row + j * SIZE, e, seen - j)
        total = total + double(select(iota() < seen - j, e, vset(0.0)))
    return hsum(total)


def shared(row: Any, seen: Any, keys: Any, total: Any) -> None:
    """Exponentials to probabilities; 0 behind the keys that are seen, and where there is none."""
    inverse = real(0.0 if total == 0.0 else 1.0 / total)
    for j in range(0, keys, LANES):
        v = ldm(row + j * SIZE, keys - j, 0.0) * inverse
        stm(row + j * SIZE, select(iota() < seen - j, v, vset(0.0)), keys - j)


def forward(w: Any, block: Any, blocks: Any) -> None:
    """Words: queries, bytes from image to image, head to head, row to row; transposed keys, bytes of a head; values,
    from image to image, head to head, row to row; output; largest scores; sums; images, heads, queries, keys, numbers
    of a key and of a value; queries of a tile; memory for scores, and how many bytes a block has; scale."""
    q, q_image, q_head, q_row, k, k_head, v, v_image, v_head, v_row, out = [word_at(w, i) for i in static(11)]
    peaks, totals, images, heads, queries, keys, dim, width, tile = [word_at(w, i) for i in static(11, 20)]
    scores, scale = word_at(w, 20) + word_at(w, 21) * block, real_at(w, 22)
    units, line = images * heads, keys * SIZE
    for u in range(units * block // blocks, units * (block + 1) // blocks):
        n, h = u // heads, u % heads
        for r0 in range(0, queries, tile):
            rows = min(queries - r0, tile)
            last = seen_by(r0 + rows - 1, keys)
            times(q + n * q_image + h * q_head + r0 * q_row, q_row, SIZE, k + u * k_head, line, scores, line, rows,
                  last, dim, 0)  # fmt: skip
            for r in range(rows):
                row, seen = scores + r * line, seen_by(r0 + r, keys)
                top = largest(row, seen, scale)
                base = select(top == -INF, real(0.0), top)
                total = exponentials(row, seen, base)
                shared(row, seen, last, total)
                store(peaks + (u * queries + r0 + r) * SIZE, top)
                store_double(totals + (u * queries + r0 + r) * 8, total)
            times(scores, line, SIZE, v + n * v_image + h * v_head, v_row, out + (u * queries + r0) * width * SIZE,
                  width * SIZE, rows, width, last, 0)  # fmt: skip


def slopes(p: Any, d: Any, seen: Any, keys: Any, scale: Any) -> None:
    """p (d - mean of d) times the scale in the place of d; d by its differences from that of the likeliest key."""
    best, base = real(-1.0), real(0.0)
    for j in range(seen):
        x = load(p + j * SIZE)
        if x > best:
            best = x
            base = load(d + j * SIZE)
    mean = double(vset(0.0))
    for j in range(0, seen, LANES):
        m = seen - j
        mean = mean + double(ldm(p + j * SIZE, m, 0.0)) * double(
            select(iota() < m, ldm(d + j * SIZE, m, 0.0) - base, 0.0)
        )
    middle = real(hsum(mean))
    for j in range(0, keys, LANES):
        v = ldm(p + j * SIZE, keys - j, 0.0) * (ldm(d + j * SIZE, keys - j, 0.0) - base - middle) * scale
        stm(d + j * SIZE, select(iota() < seen - j, v, vset(0.0)), keys - j)


def backward(w: Any, block: Any, blocks: Any) -> None:
    """Words: as of `forward` to the transposed keys; keys, from image to image, head to head, row to row; transposed
    values, bytes of a head; slopes of the output; largest scores; sums; gradients of queries, keys and values, in C
    order; images, heads, queries, keys, numbers of a key and of a value; queries of a tile; memory for scores and for
    their slopes, and how many bytes a block has of each; scale."""
    q, q_image, q_head, q_row, turned, k_head, k, k_image, k_row_head, k_row, v, v_head = [
        word_at(w, i) for i in static(12)
    ]
    g, peaks, totals, dq, dk, dv = [word_at(w, i) for i in static(12, 18)]
    images, heads, queries, keys, dim, width, tile = [word_at(w, i) for i in static(18, 25)]
    own = word_at(w, 27) * block
    p, d, scale = word_at(w, 25) + own, word_at(w, 26) + own, real_at(w, 28)
    units, line = images * heads, keys * SIZE
    for u in range(units * block // blocks, units * (block + 1) // blocks):
        n, h = u // heads, u % heads
        to_k, to_v = dk + u * keys * dim * SIZE, dv + u * keys * width * SIZE
        for r0 in range(0, queries, tile):
            rows = min(queries - r0, tile)
            at, from_q = u * queries + r0, q + n * q_image + h * q_head + r0 * q_row
            up = g + at * width * SIZE
            times(from_q, q_row, SIZE, turned + u * k_head, line, p, line, rows, keys, dim, 0)
            times(up, width * SIZE, SIZE, v + u * v_head, line, d, line, rows, keys, width, 0)
            for r in range(rows):
                seen, row = seen_by(r0 + r, keys), p + r * line
                largest(row, seen, scale)
                top = load(peaks + (at + r) * SIZE)
                exponentials(row, seen, select(top == -INF, real(0.0), top))
                shared(row, seen, keys, load_double(totals + (at + r) * 8))
                slopes(row, d + r * line, seen, keys, scale)
            times(p, SIZE, line, up, width * SIZE, to_v, width * SIZE, keys, width, rows, r0)
            times(d, SIZE, line, from_q, q_row, to_k, dim * SIZE, keys, dim, rows, r0)
            times(d, line, SIZE, k + n * k_image + h * k_row_head, k_row, dq + at * dim * SIZE, dim * SIZE, rows, dim,
                  keys, 0)  # fmt: skip
