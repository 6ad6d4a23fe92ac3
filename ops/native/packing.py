"""Texts that copy the factors of a large product into the order in which tiles read them."""

# A block of DEPTH k's of B lies in pieces of VECS vectors of columns; a piece is its k's one after the other, the last
# one as large as the others. A's rows lie in groups of ROWS; a group is its k's one after the other.

from __future__ import annotations

from typing import Any

from tensorgraph.native.lowering import routine, static
from tensorgraph.native.words import ld, ldg, ldm, prefetch, select, st, stm, transposed, vset, word_at

__all__ = ["DEPTH", "pack_columns", "pack_rows"]

DEPTH = 256
"""How many k's one accumulator sums: a piece of B stays in the first cache."""

BESIDE = 4
"""How many pieces of B are made side by side."""

BYTES = LANES = SIZE = 0  # constants of every kernel
ROWS, VECS = 8, 2  # of these


@routine
def pack_columns(b: Any, row: Any, across: Any, n: Any, depth: Any, target: Any) -> None:
    """`n` columns of B, `depth` k's, into pieces.

    Bytes from k to k, from column to column: the columns are contiguous, or, turned, the k's. Some pieces are made side
    by side, because a row may be all that there is to read of a page.
    """
    size = VECS * LANES
    for j in range(0, n, BESIDE * size):
        source, place = b + j * across, target + j * depth * SIZE
        if across != SIZE:
            for v in range(min(BESIDE * VECS, (n - j + LANES - 1) // LANES)):
                for q in range(0, depth, LANES):
                    p, d = source + v * LANES * across + q * SIZE, place + (v // VECS * depth + q) * size * SIZE
                    pack_square(p, across, d + v % VECS * BYTES, depth - q, n - j - v * LANES)
        elif j + BESIDE * size <= n:
            for q in range(depth):
                p, d = source + q * row, place + q * size * SIZE
                for i in static(BESIDE * VECS):
                    prefetch(p + 8 * row + i * BYTES)
                    st(d + i // VECS * (depth * size * SIZE) + i % VECS * BYTES, ld(p + i * BYTES))
        else:
            for i in range((n - j + LANES - 1) // LANES):
                p, d = source + i * BYTES, place + i // VECS * depth * size * SIZE + i % VECS * BYTES
                for q in range(depth):
                    st(d + q * size * SIZE, ldm(p + q * row, n - j - i * LANES, 0.0))


def pack_square(source: Any, across: Any, target: Any, depth: Any, columns: Any) -> None:
    """LANES columns, their k's contiguous, as up to LANES rows of a piece."""
    if min(depth, columns) >= LANES:
        for r in static(LANES):
            prefetch(source + r * across + 2 * BYTES)
        full = transposed([ld(source + r * across) for r in static(LANES)])
        for r in static(LANES):
            st(target + r * VECS * BYTES, full[r])
    else:
        part = transposed([ldm(source + r * across, select(r < columns, depth, 0), 0.0) for r in static(LANES)])
        for r in static(LANES):
            stm(target + r * VECS * BYTES, part[r], select(r < depth, LANES, 0))


def pack_rows(w: Any, block: Any, blocks: Any) -> None:
    """A, m by k, into groups: of every DEPTH k's all. Words: A, bytes from row to row, from k to k; m, k; where to."""
    a, row, step, m, k, target = [word_at(w, i) for i in static(6)]
    beside = BESIDE * ROWS
    bands, depths, padded = (m + beside - 1) // beside, (k + DEPTH - 1) // DEPTH, (m + ROWS - 1) // ROWS * ROWS
    for unit in range(bands * depths * block // blocks, bands * depths * (block + 1) // blocks):
        first, k0 = unit % bands * beside, unit // bands * DEPTH
        depth, high = min(k - k0, DEPTH), min(m - first, beside)
        source, place = a + first * row + k0 * step, target + (k0 * padded + first * depth) * SIZE
        if step == SIZE:
            for i in range(0, high, ROWS):
                for q in range(0, depth, LANES):
                    for r in static(0, ROWS, LANES):
                        p, d = source + (i + r) * row + q * SIZE, place + (i * depth + q * ROWS + r) * SIZE
                        pack_group(p, row, d, high - i - r, min(depth - q, LANES), min(ROWS - r, LANES))
        else:
            for q in range(depth):
                for i in range(0, high, ROWS):
                    for r in static(0, ROWS, LANES):
                        p, d = source + q * step + (i + r) * row, place + (i * depth + q * ROWS + r) * SIZE
                        pack_line(p, row, d, high - i - r, min(ROWS - r, LANES))


def pack_group(source: Any, row: Any, target: Any, height: Any, width: Any, rows: int) -> None:
    """Up to `rows` rows, at most LANES, of `width` k's, which are contiguous."""
    if (height >= rows) & (width == LANES):
        full = transposed([ld(source + r * row) if r < rows else vset(0.0) for r in static(LANES)])
        for r in static(LANES):
            stm(target + r * ROWS * SIZE, full[r], rows)
    else:
        part = transposed(
            [ldm(source + r * row, select(r < height, width, 0), 0.0) if r < rows else vset(0.0) for r in static(LANES)]
        )
        for r in static(LANES):
            stm(target + r * ROWS * SIZE, part[r], select(r < width, rows, 0))


def pack_line(source: Any, row: Any, target: Any, height: Any, rows: int) -> None:
    """One k of up to `rows` rows."""
    if row == SIZE:
        stm(target, ldm(source, height, 0.0), rows)
    else:
        stm(target, ldg(source, row, height, 0.0), rows)
