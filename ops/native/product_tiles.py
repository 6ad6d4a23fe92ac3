"""Texts of the kernels of products of matrices."""

# The plan: (1) an output is one accumulator, from 0 upwards along k with `fma`, of every block of DEPTH k's; blocks are
# added in their order. Nothing else rounds, so a result's bits depend on no tile, no width and no thread. (2) A tile is
# ROWS rows by VECS vectors of outputs in registers; a strip is all tiles of some rows over one set of columns. (3) At
# the edges tiles are smaller, and vectors are masked. (4) A block of the kernel is some of the rows of all products.

from __future__ import annotations

from typing import Any

from tensorgraph.native.lowering import static
from tensorgraph.native.words import fma, ld, ldm, load, most, opaque, st, stm, vset, word_at

__all__ = ["DEPTH", "add_rows", "product"]

DEPTH = 512
"""How many k's one accumulator sums."""

BYTES = LANES = SIZE = 0  # constants of every kernel
ROWS, VECS, BIAS, RELU = 8, 2, False, False  # of these


def read(p: Any, n: Any, masked: bool) -> Any:
    return ldm(p, n, 0.0) if masked else ld(p)


def write(p: Any, x: Any, n: Any, masked: bool) -> None:
    if masked:
        stm(p, x, n)
    else:
        st(p, x)


def tile(
    rows: int, vecs: int, masked: bool, a: Any, row: Any, step: Any, b: Any, b_row: Any, c: Any, c_row: Any, k: Any,
    n: Any, begun: Any, last: Any, bias: Any,
) -> None:  # fmt: skip
    """`rows` rows of `vecs` vectors of outputs over one block of k's; of the last vector `n` lanes where masked."""
    acc = [[vset(0.0) for v in static(vecs)] for i in static(rows)]
    lines = [opaque(a + i * row) for i in static(rows)]
    at = 0
    for _ in range(k):
        columns = [read(b + v * BYTES, n, masked and v == vecs - 1) for v in static(vecs)]
        for i in static(rows):
            x = vset(load(lines[i] + at))
            for v in static(vecs):
                acc[i][v] = fma(x, columns[v], acc[i][v])
        at += step
        b += b_row
    if begun:
        for i in static(rows):
            for v in static(vecs):
                acc[i][v] = read(c + i * c_row + v * BYTES, n, masked and v == vecs - 1) + acc[i][v]
    if (BIAS or RELU) and last:
        for v in static(vecs):
            shift = read(bias + v * BYTES, n, masked and v == vecs - 1) if BIAS else vset(0.0)
            for i in static(rows):
                acc[i][v] = end(acc[i][v], shift)
    for i in static(rows):
        for v in static(vecs):
            write(c + i * c_row + v * BYTES, acc[i][v], n, masked and v == vecs - 1)


def end(x: Any, shift: Any) -> Any:
    """What is done to a sum at the end."""
    y = x + shift if BIAS else x
    return most(y, vset(0.0)) if RELU else y


def strip(
    vecs: int, masked: bool, a: Any, row: Any, step: Any, b: Any, b_row: Any, c: Any, c_row: Any, low: Any, high: Any,
    k: Any, n: Any, begun: Any, last: Any, bias: Any,
) -> None:  # fmt: skip
    """The rows from `low` to `high` of some columns."""
    i = low
    while i + ROWS <= high:
        tile(ROWS, vecs, masked, a + i * row, row, step, b, b_row, c + i * c_row, c_row, k, n, begun, last, bias)
        i += ROWS
    for r in static(2, -1, -1):  # 4, 2 and 1 rows
        if 1 << r < ROWS:
            while i + (1 << r) <= high:
                tile(
                    1 << r,
                    vecs,
                    masked,
                    a + i * row,
                    row,
                    step,
                    b,
                    b_row,
                    c + i * c_row,
                    c_row,
                    k,
                    n,
                    begun,
                    last,
                    bias,
                )
                i += 1 << r


def panel(
    a: Any, row: Any, step: Any, b: Any, b_row: Any, c: Any, c_row: Any, low: Any, high: Any, n: Any, k: Any, bias: Any
) -> None:
    """The rows from `low` to `high` of one product."""
    for k0 in range(0, max(k, 1), DEPTH):
        depth = min(k - k0, DEPTH)
        begun, last, a0, b0 = k0 > 0, k0 + DEPTH >= k, a + k0 * step, b + k0 * b_row
        j = 0
        while j + VECS * LANES <= n:
            p, q, s = b0 + j * SIZE, c + j * SIZE, bias + j * SIZE
            strip(VECS, False, a0, row, step, p, b_row, q, c_row, low, high, depth, 0, begun, last, s)
            j += VECS * LANES
        p, q, s = b0 + j * SIZE, c + j * SIZE, bias + j * SIZE
        for v in static(1, VECS + 1):
            rest = n - j - (v - 1) * LANES
            if 0 < rest <= LANES:
                strip(v, True, a0, row, step, p, b_row, q, c_row, low, high, depth, rest, begun, last, s)


def product(w: Any, block: Any, blocks: Any) -> None:
    """Products C = A B, of an outer and an inner count of matrices: m rows, n columns, k summed.

    Words: A, bytes from row to row, from k to k; B, from k to k (its rows are contiguous); C, from row to row; m, n, k;
    the inner count and its strides in A, B, C; the outer count and its own; the row that is added at the end.
    """
    a, row, step, b, b_row, c, c_row, m, n, k = [word_at(w, i) for i in static(10)]
    inner, a_in, b_in, c_in, outer, a_out, b_out, c_out, bias = [word_at(w, i) for i in static(10, 19)]
    tiles = (m + ROWS - 1) // ROWS
    units = tiles * inner * outer
    low, high = units * block // blocks, units * (block + 1) // blocks
    for t in range(low // tiles, (high + tiles - 1) // tiles):
        x, y = t // inner, t % inner
        begin, limit = max(low - t * tiles, 0) * ROWS, min((high - t * tiles) * ROWS, m)
        panel(
            a + x * a_out + y * a_in, row, step, b + x * b_out + y * b_in, b_row, c + x * c_out + y * c_in, c_row,
            begin, limit, n, k, bias,
        )  # fmt: skip


def add_rows(w: Any, block: Any, blocks: Any) -> None:
    """C + S, of m rows of n numbers, into C. Words: C, S, m, n (both contiguous), the row that is added at the end."""
    c, s, m, n, bias = [word_at(w, i) for i in static(5)]
    for i in range(m * block // blocks, m * (block + 1) // blocks):
        p, q = c + i * n * SIZE, s + i * n * SIZE
        for j in range(0, n, LANES):
            rest, at = min(n - j, LANES), j * SIZE
            shift = ldm(bias + at, rest, 0.0) if BIAS else vset(0.0)
            stm(p + at, end(ldm(p + at, rest, 0.0) + ldm(q + at, rest, 0.0), shift), rest)
