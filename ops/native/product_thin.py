"""Texts of the kernels of products of vectors, and of a few columns where the rows lie side by side."""

# A product of vectors is many sums at once, of every SUMS-th k each, as many as 256 bytes hold, whatever the width of a
# vector. SPAN rounds of them are summed by themselves and put to those before. At the end the upper half of the sums is
# added to the lower one, till one is left. So its bits depend on k alone, and no sum is long.

from __future__ import annotations

from typing import Any

from tensorgraph.native.lowering import static
from tensorgraph.native.words import fma, hsum, ld, ldm, load, most, select, stm, store, transposed, vset, word_at
from tensorgraph.ops.native.packing import DEPTH
from tensorgraph.ops.native.product_tiles import BIAS, RELU

__all__ = ["dots", "narrow"]

BYTES = LANES = SIZE = 0  # constants of every kernel
ROWS, COLUMNS, VECS = 4, 1, 2  # of these

SPAN = 64


def halved(sums: Any) -> Any:
    """The upper half of a list of vectors added to the lower one, till there is one."""
    half = [sums[v] + sums[v + len(sums) // 2] for v in static(len(sums) // 2)]
    return half[0] if len(half) == 1 else halved(half)


def dot_rows(rows: int, a: Any, row: Any, x: Any, y: Any, y_step: Any, k: Any) -> None:
    """The products of some rows and x."""
    count = 256 // BYTES
    total = [[vset(0.0) for v in static(count)] for i in static(rows)]
    for k0 in range(0, k, SPAN * count * LANES):
        sums = [[vset(0.0) for v in static(count)] for i in static(rows)]
        limit = min(k0 + SPAN * count * LANES, k)
        for q in range(k0, limit - count * LANES + 1, count * LANES):
            for v in static(count):
                part = ld(x + q * SIZE + v * BYTES)
                for i in static(rows):
                    sums[i][v] = fma(ld(a + i * row + q * SIZE + v * BYTES), part, sums[i][v])
        rest = (limit - k0) % (count * LANES)
        if rest > 0:
            at = limit - rest
            for v in static(count):
                part = ldm(x + at * SIZE + v * BYTES, rest - v * LANES, 0.0)
                for i in static(rows):
                    given = ldm(a + i * row + at * SIZE + v * BYTES, rest - v * LANES, 0.0)
                    sums[i][v] = fma(given, part, sums[i][v])
        for i in static(rows):
            for v in static(count):
                total[i][v] = total[i][v] + sums[i][v]
    for i in static(rows):
        store(y + i * y_step, hsum(halved([total[i][v] for v in static(count)])))


def dots(w: Any, block: Any, blocks: Any) -> None:
    """The products of rows and a vector, all contiguous, of an outer and an inner count of pairs.

    Words: the rows, bytes from row to row; the vector; where to, bytes from result to result; rows, k; the inner count
    and its strides in the three; the outer count and its own.
    """
    a, row, x, y, y_step, m, k = [word_at(w, i) for i in static(7)]
    inner, a_in, x_in, y_in, outer, a_out, x_out, y_out = [word_at(w, i) for i in static(7, 15)]
    tiles = (m + ROWS - 1) // ROWS
    units = tiles * inner * outer
    for u in range(units * block // blocks, units * (block + 1) // blocks):
        i, s, t = u % tiles * ROWS, u // tiles // inner, u // tiles % inner
        p, q, r = a + s * a_out + t * a_in, x + s * x_out + t * x_in, y + s * y_out + t * y_in
        if i + ROWS <= m:
            dot_rows(ROWS, p + i * row, row, q, r + i * y_step, y_step, k)
        else:
            for j in range(i, m):
                dot_rows(1, p + j * row, row, q, r + j * y_step, y_step, k)


def narrow(w: Any, block: Any, blocks: Any) -> None:
    """Products C = A B of COLUMNS columns, with A's columns contiguous: lanes are rows. Bit by bit as `product`.

    Words: A, bytes from k to k; B, from k to k (its rows are contiguous); C; m, k; the inner count and its strides; the
    outer count and its own; the ending, the row that it adds.
    """
    a, step, b, b_row, c, m, k = [word_at(w, i) for i in static(7)]
    inner, a_in, b_in, c_in, outer, a_out, b_out, c_out, ending, bias = [word_at(w, i) for i in static(7, 17)]
    tall, c_row = VECS * LANES, COLUMNS * SIZE
    tiles = (m + tall - 1) // tall
    units = tiles * inner * outer
    for u in range(units * block // blocks, units * (block + 1) // blocks):
        i, s, t = u % tiles * tall, u // tiles // inner, u // tiles % inner
        p, q, high = a + s * a_out + t * a_in + i * SIZE, b + s * b_out + t * b_in, min(m - i, tall)
        r = c + s * c_out + t * c_in + i * c_row
        for k0 in range(0, max(k, 1), DEPTH):
            depth, last = min(k - k0, DEPTH), select(k0 + DEPTH >= k, ending, 0)
            narrow_tile(p + k0 * step, step, q + k0 * b_row, b_row, r, c_row, high, depth, k0 > 0, last, bias)


def narrow_tile(
    a: Any, step: Any, b: Any, b_row: Any, c: Any, c_row: Any, high: Any, k: Any, begun: Any, ending: Any, bias: Any
) -> None:
    """`high` rows, which are lanes, of all columns."""
    acc = [[vset(0.0) for v in static(VECS)] for j in static(COLUMNS)]
    if high == VECS * LANES:
        for _ in range(k):
            for v in static(VECS):
                rows = ld(a + v * BYTES)
                for j in static(COLUMNS):
                    acc[j][v] = fma(rows, vset(load(b + j * SIZE)), acc[j][v])
            a += step
            b += b_row
    else:
        for _ in range(k):
            for v in static(VECS):
                rows = ldm(a + v * BYTES, high - v * LANES, 0.0)
                for j in static(COLUMNS):
                    acc[j][v] = fma(rows, vset(load(b + j * SIZE)), acc[j][v])
            a += step
            b += b_row
    for v in static(VECS):
        for j in static(0, COLUMNS, LANES):
            columns = [acc[j + i][v] if j + i < COLUMNS else vset(0.0) for i in static(LANES)]
            place, count = c + v * LANES * c_row + j * SIZE, min(COLUMNS - j, LANES)
            write_turned(columns, place, c_row, high - v * LANES, count, begun, ending, bias + j * SIZE)


def write_turned(columns: Any, c: Any, c_row: Any, high: Any, n: int, begun: Any, ending: Any, bias: Any) -> None:
    """Up to LANES columns of C, of which `high` rows are written."""
    turned = transposed(columns)
    rows = [turned[i] for i in static(LANES)]
    if begun:
        for i in static(LANES):
            rows[i] = ldm(c + i * c_row, select(i < high, n, 0), 0.0) + rows[i]
    if (ending & BIAS) > 0:
        shift = ldm(bias, n, 0.0)
        for i in static(LANES):
            rows[i] = rows[i] + shift
    if (ending & RELU) > 0:
        for i in static(LANES):
            rows[i] = most(rows[i], vset(0.0))
    for i in static(LANES):
        stm(c + i * c_row, rows[i], select(i < high, n, 0))
