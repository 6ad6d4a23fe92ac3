"""Texts of the kernels of products of matrices."""

# The plan: (1) an output is one accumulator, from 0 upwards along k with `fma`, of every block of DEPTH k's; blocks are
# added in their order. Nothing else rounds, so a result's bits depend on no tile, no width and no thread. (2) A tile is
# ROWS rows by VECS vectors of outputs in registers; a strip is all tiles of some rows over one set of columns. (3) At
# the edges tiles are smaller, and vectors are masked. (4) A block of the kernel is some of the rows of all products, or
# some of the columns where there are few rows. (5) Of large products A comes packed and every block packs its B,
# so that what a strip reads lies in one piece. (6) All of this but the walk over matrices is a routine, `panel`, which
# is compiled once for all kernels that have a product in them: so what it does at the end, and how far ahead it asks
# for B, are numbers that it is given.

from __future__ import annotations

from typing import Any

from tensorgraph.native.lowering import routine, static
from tensorgraph.native.words import fma, ld, ldm, load, most, opaque, prefetch, select, st, stm, vset, word_at
from tensorgraph.ops.native.packing import DEPTH, pack_columns

__all__ = ["BIAS", "RELU", "add_rows", "panel", "product", "product_packed"]

BYTES = LANES = SIZE = 0  # constants of every kernel
ROWS, VECS, PACKED = 8, 2, False  # of these
TALL = 12  # rows of a tile of one vector
BIAS, RELU = 1, 2  # what an ending is the sum of: a row is added, what is below 0 becomes 0


def read(p: Any, n: Any, masked: bool) -> Any:
    return ldm(p, n, 0.0) if masked else ld(p)


def write(p: Any, x: Any, n: Any, masked: bool) -> None:
    if masked:
        stm(p, x, n)
    else:
        st(p, x)


def tile(
    rows: int, vecs: int, masked: bool, a: Any, row: Any, step: Any, b: Any, b_row: Any, c: Any, c_row: Any, k: Any,
    n: Any, begun: Any, ahead: Any, ending: Any, bias: Any,
) -> None:  # fmt: skip
    """`rows` rows of `vecs` vectors of outputs over one block of k's; of the last vector `n` lanes where masked."""
    acc = [[vset(0.0) for v in static(vecs)] for i in static(rows)]
    lines = [a + i * row if PACKED else opaque(a + i * row) for i in static(rows)]
    if PACKED:  # the sums so far are far away: C's rows may lie a page apart
        for i in static(rows):
            for v in static(vecs):
                prefetch(c + i * c_row + v * BYTES)
    at, left = 0, k
    while left > 0:
        if not PACKED:  # B's rows may lie a page apart
            for v in static(vecs):
                prefetch(b + ahead + v * BYTES)
        columns = [read(b + v * BYTES, n, masked and v == vecs - 1) for v in static(vecs)]
        for i in static(rows):
            x = vset(load(lines[i] + at))
            for v in static(vecs):
                acc[i][v] = fma(x, columns[v], acc[i][v])
        at += step
        b += b_row
        left = opaque(left - 1)  # LLVM would write the loop out a few times, for nothing but time of compiling
    if begun > 0:
        for i in static(rows):
            for v in static(vecs):
                acc[i][v] = read(c + i * c_row + v * BYTES, n, masked and v == vecs - 1) + acc[i][v]
    if (ending & BIAS) > 0:
        for v in static(vecs):
            shift = read(bias + v * BYTES, n, masked and v == vecs - 1)
            for i in static(rows):
                acc[i][v] = acc[i][v] + shift
    if (ending & RELU) > 0:
        for i in static(rows):
            for v in static(vecs):
                acc[i][v] = most(acc[i][v], vset(0.0))
    for i in static(rows):
        for v in static(vecs):
            write(c + i * c_row + v * BYTES, acc[i][v], n, masked and v == vecs - 1)


def strip(
    vecs: int, masked: bool, a: Any, group: Any, row: Any, step: Any, b: Any, b_row: Any, c: Any, c_row: Any, high: Any,
    k: Any, n: Any, begun: Any, ahead: Any, ending: Any, bias: Any,
) -> None:  # fmt: skip
    """The first `high` rows of some columns; `group` bytes lie from ROWS rows of A to the next."""
    i = 0
    if vecs == 1 and 4 < ROWS < TALL and not PACKED:  # more sums at once, lest they wait for each other
        while i + TALL <= high:
            tile(TALL, vecs, masked, a, row, step, b, b_row, c, c_row, k, n, begun, ahead, ending, bias)
            i += TALL
            a += TALL * row
            c += TALL * c_row
    while i + ROWS <= high:
        tile(ROWS, vecs, masked, a, row, step, b, b_row, c, c_row, k, n, begun, ahead, ending, bias)
        i += ROWS
        a += group
        c += ROWS * c_row
    for r in static(3, -1, -1):  # 8, 4, 2 and 1 rows
        if 1 << r < ROWS:
            while i + (1 << r) <= high:
                tile(1 << r, vecs, masked, a, row, step, b, b_row, c, c_row, k, n, begun, ahead, ending, bias)
                i += 1 << r
                a += row << r
                c += c_row << r


@routine
def panel(
    a: Any, group: Any, row: Any, step: Any, b: Any, b_row: Any, across: Any, c: Any, c_row: Any, high: Any,
    columns: Any, k: Any, begun: Any, ahead: Any, ending: Any, bias: Any,
) -> None:  # fmt: skip
    """The first `high` rows and the first columns of one product over one block of k's, added to C where that is begun;
    `across` bytes lie from column to column of B, `ahead` from what is read of it to what is asked for."""
    j = 0
    while j + VECS * LANES <= columns:
        p, q, s = b + j * across, c + j * SIZE, bias + j * SIZE
        strip(VECS, False, a, group, row, step, p, b_row, q, c_row, high, k, 0, begun, ahead, ending, s)
        j += VECS * LANES
    for h in static(4, 0, -1):  # halves of many vectors, as far as they are full
        if 1 << h < VECS and j + (LANES << h) <= columns:
            p, q, s = b + j * across, c + j * SIZE, bias + j * SIZE
            strip(1 << h, False, a, group, row, step, p, b_row, q, c_row, high, k, 0, begun, ahead, ending, s)
            j += LANES << h
    rest = b + j * across  # of one piece, where packed
    for i in range(j, columns, LANES):
        p, q, s = rest + (i - j) * SIZE, c + i * SIZE, bias + i * SIZE
        left = min(columns - i, LANES)
        strip(1, True, a, group, row, step, p, b_row, q, c_row, high, k, left, begun, ahead, ending, s)


def product(w: Any, block: Any, blocks: Any) -> None:
    """Products C = A B, of an outer and an inner count of matrices: m rows, n columns, k summed.

    Words: A, bytes from row to row, from k to k; B, from k to k (its rows are contiguous); C, from row to row; m, n, k;
    the inner count and its strides in A, B, C; the outer count and its own; the ending, the row that it adds; how many
    columns a block has at most; how many bytes ahead B is asked for.
    """
    a, row, step, b, b_row, c, c_row, m, n, k = [word_at(w, i) for i in static(10)]
    inner, a_in, b_in, c_in, outer, a_out, b_out, c_out, ending, bias = [word_at(w, i) for i in static(10, 20)]
    chunk, ahead = word_at(w, 20), word_at(w, 21)
    tiles, chunks = (m + ROWS - 1) // ROWS, (n + chunk - 1) // chunk
    units = tiles * chunks * inner * outer
    low, high = units * block // blocks, units * (block + 1) // blocks
    for t in range(low // tiles, (high + tiles - 1) // tiles):
        begin, limit = max(low - t * tiles, 0) * ROWS, min((high - t * tiles) * ROWS, m)
        j, u = t % chunks * chunk, t // chunks
        x, y, columns = u // inner, u % inner, min(chunk, n - j)
        a0, b0 = a + x * a_out + y * a_in + begin * row, b + x * b_out + y * b_in + j * SIZE
        c0 = c + x * c_out + y * c_in + begin * c_row + j * SIZE
        for k0 in range(0, max(k, 1), DEPTH):
            panel(
                a0 + k0 * step, row * ROWS, row, step, b0 + k0 * b_row, b_row, SIZE, c0, c_row, limit - begin, columns,
                min(k - k0, DEPTH), k0 > 0, ahead, select(k0 + DEPTH >= k, ending, 0), bias + j * SIZE,
            )  # fmt: skip


def product_packed(w: Any, block: Any, blocks: Any) -> None:
    """A large product C = A B, or C + A B, whose A is packed; every block packs the columns of B that it needs.

    Words: A; B, bytes from k to k, from column to column; C, from row to row; m, n, k; whether C is begun; the ending,
    the row that it adds; how many rows and how many columns, whole groups and pieces, are done at once; memory for
    these columns, and how many bytes a block has of it.
    """
    a, b, b_row, across, c, c_row, m, n, k, started, ending, bias = [word_at(w, i) for i in static(12)]
    rows, columns, room = word_at(w, 12), word_at(w, 13), word_at(w, 14) + word_at(w, 15) * block
    padded, size = (m + ROWS - 1) // ROWS * ROWS, VECS * LANES * SIZE
    across_units, along_units = (n + columns - 1) // columns, (m + rows - 1) // rows
    units = across_units * along_units
    for u in range(units * block // blocks, units * (block + 1) // blocks):
        i, j = u // across_units * rows, u % across_units * columns
        high, wide = min(rows, m - i), min(columns, n - j)
        for k0 in range(0, k, DEPTH):
            depth = min(k - k0, DEPTH)
            pack_columns(b + k0 * b_row + j * across, b_row, across, wide, depth, room)
            panel(
                a + (k0 * padded + i * depth) * SIZE, depth * ROWS * SIZE, SIZE, ROWS * SIZE, room, size, depth * SIZE,
                c + i * c_row + j * SIZE, c_row, high, wide, depth, k0 + started > 0, 0,
                select(k0 + DEPTH >= k, ending, 0), bias + j * SIZE,
            )  # fmt: skip


def add_rows(w: Any, block: Any, blocks: Any) -> None:
    """C + S, of m rows of n numbers, into C. Words: C, S, m, n (both contiguous), the ending, the row that it adds."""
    c, s, m, n, ending, bias = [word_at(w, i) for i in static(6)]
    for i in range(m * block // blocks, m * (block + 1) // blocks):
        p, q = c + i * n * SIZE, s + i * n * SIZE
        for j in range(0, n, LANES):
            rest, at = min(n - j, LANES), j * SIZE
            x = ldm(p + at, rest, 0.0) + ldm(q + at, rest, 0.0)
            if (ending & BIAS) > 0:
                x = x + ldm(bias + at, rest, 0.0)
            if (ending & RELU) > 0:
                x = most(x, vset(0.0))
            stm(p + at, x, rest)
