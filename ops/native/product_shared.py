"""Products of several matrices with one and the same: what is large of it is packed once for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tensorgraph.native.kernel import kernel
from tensorgraph.native.lowering import static
from tensorgraph.native.places import Address, Call, Place
from tensorgraph.native.words import word_at
from tensorgraph.ops.native.packing import DEPTH, pack_columns, pack_rows
from tensorgraph.ops.native.product import CHUNK, blocks_of, is_dots, is_packed, packing_of, product_call, products_of
from tensorgraph.ops.native.product_tiles import panel

__all__ = ["product_calls"]

LANES = SIZE = COUNT = 0  # constants of kernels
ROWS, VECS = 12, 2

MOST = 4  # products side by side
TALL = 512  # rows of one, from which it fills its blocks by itself


def products_packed(w: Any, block: Any, blocks: Any) -> None:
    """Products C = A B of COUNT packed A's with one B; every block packs the columns of B that it needs.

    Words: B, bytes from k to k, from column to column; n, k; how many columns, whole pieces, are done at once; memory
    for these, and how many bytes a block has of it; then of each product A, C, bytes from row to row of C, m.
    """
    b, b_row, across, n, k, columns, room, apart = [word_at(w, i) for i in static(8)]
    packed, piece, units = room + apart * block, VECS * LANES * SIZE, (n + columns - 1) // columns
    for u in range(units * block // blocks, units * (block + 1) // blocks):
        j = u * columns
        wide = min(columns, n - j)
        for k0 in range(0, k, DEPTH):
            depth = min(k - k0, DEPTH)
            pack_columns(b + k0 * b_row + j * across, b_row, across, wide, depth, packed)
            for i in static(COUNT):
                a, c, c_row, m = [word_at(w, 8 + 4 * i + q) for q in static(4)]
                padded = (m + ROWS - 1) // ROWS * ROWS
                panel(
                    a + k0 * padded * SIZE, depth * ROWS * SIZE, SIZE, ROWS * SIZE, packed, piece, depth * SIZE,
                    c + j * SIZE, c_row, m, wide, depth, k0 > 0, 0, 0, 0,
                )  # fmt: skip


def product_calls(call: Call, factors: Sequence[Place], b: Place, outs: Sequence[Place]) -> bool:
    """Put the records of ``a @ b`` into a call, for each of some a's and the place of its result.

    Parameters
    ----------
    call : Call
    factors : sequence of Place
        Matrices.
    b : Place
        A matrix.
    outs : sequence of Place
        The results, in C order.
    """
    given = [products_of(a, b, out) for a, out in zip(factors, outs, strict=True)]
    types = {place.dtype for place in (*factors, b, *outs)}
    largest = max(given, key=lambda one: one.sizes[0], default=None)
    if largest is None or len(types) > 1 or not 1 < len(given) <= MOST or not is_packed(largest):
        return all(product_call(call, a, b, out) for a, out in zip(factors, outs, strict=True))
    (m, n, k), dtype = largest.sizes, b.dtype
    if m >= TALL or k > CHUNK or any(one.axes or is_dots(one) for one in given):
        return all(product_call(call, a, b, out) for a, out in zip(factors, outs, strict=True))
    blocks = blocks_of(sum(2 * one.sizes[0] for one in given) * n * k, m)
    of = packing_of(largest, blocks)
    height, columns = of.tile["ROWS"], of.beside * of.piece
    of_columns = call.scratch((blocks, min(k, DEPTH), columns), dtype, "columns of the second factor")
    words: list[int | Address] = [
        b.address(), *b.strides, n, k, columns, of_columns.address(), of_columns.strides[0]
    ]  # fmt: skip
    for one in given:
        rows = one.sizes[0]
        packed = call.scratch((-(-rows // height) * height, k), dtype, "a first factor, packed")
        text = kernel(pack_rows, dtype, ROWS=height)
        call.run(text, [one.a.address(), *one.a.strides, rows, k, packed.address()], blocks if rows >= height else 1)
        words += [packed.address(), one.c.address(), one.c.strides[0], rows]
    call.run(kernel(products_packed, dtype, **of.tile, PACKED=True, COUNT=len(given)), words, blocks)
    return True
