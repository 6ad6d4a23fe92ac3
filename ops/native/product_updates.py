"""Gradients that are products, with the step of an optimiser that takes them: they are never written to memory."""

# The plan: a block computes a few rows of the gradient into a strip of its own, which lies in the first cache, and
# makes the optimiser's step with it before the next. So no gradient goes to memory and comes back, and there is less to
# wait for. The arithmetic is that of the product and of the step, to the last bit.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensorgraph.native.kernel import Kernel, kernel
from tensorgraph.native.lowering import static
from tensorgraph.native.places import Address, Call, Place, Successor
from tensorgraph.native.words import word_at
from tensorgraph.ops.native.edges import SINGLE_OR_DOUBLE, setting_words
from tensorgraph.ops.native.packing import DEPTH, pack_columns, pack_rows
from tensorgraph.ops.native.product import (
    PART,
    VECTOR,
    Products,
    blocks_of,
    in_order,
    is_dots,
    is_narrow,
    is_packed,
    packing_of,
    products_of,
    room,
    tile_of,
)
from tensorgraph.ops.native.product_tiles import panel
from tensorgraph.ops.native.updates import Update, numbers_of, update_range

__all__ = ["update_call"]

LANES = SIZE = ARRAYS = 0  # constants of kernels
ROWS, VECS = 8, 2

SMALL = 1 << 14  # numbers of a parameter whose gradient does not leave the nearer caches anyway
STRIP = 1 << 15  # bytes of a strip
AHEAD = 16  # k's for which B is asked ahead, as parameters and averages take its room in the first cache
WORK = 100  # what a number's step takes, in operations of a product


# texts ---------------------------------------------------------------------------------------------------------------


def step_of(w: Any, numbers: Any, strip: Any, pitch: Any, i: Any, j: Any, high: Any, wide: Any, n: Any) -> None:
    """The step of `high` rows, from row i on, of `wide` columns, from column j on, of a parameter with rows of n;
    the strip holds their gradient, row after row of `pitch` numbers."""
    at = [word_at(w, q) for q in static(ARRAYS)]
    lines, count = high, wide
    if (wide == n) & (pitch == n):  # which lie one after the other
        lines, count = 1, high * n
    for r in range(lines):
        first = ((i + r) * n + j) * SIZE
        own = [strip + r * pitch * SIZE - first if q == 1 else at[q] for q in static(ARRAYS)]
        update_range(own, first, count, numbers)


def product_update(w: Any, block: Any, blocks: Any) -> None:
    """The step of a parameter of m rows and n columns, whose gradient is A B.

    Words: A, bytes from row to row, from k to k; B, from k to k (its rows are contiguous); m, n, k; how many columns
    are done at once; memory for strips, and the bytes of one; then those of the step, whose gradient is not read.
    """
    a, row, step, b, b_row, m, n, k, chunk, room, apart = [word_at(w, i) for i in static(11)]
    numbers, strip = numbers_of(w + 88), room + apart * block
    chunks = (n + chunk - 1) // chunk
    units = (m + ROWS - 1) // ROWS * chunks
    for u in range(units * block // blocks, units * (block + 1) // blocks):
        i, j = u // chunks * ROWS, u % chunks * chunk
        high, wide = min(ROWS, m - i), min(chunk, n - j)
        for k0 in range(0, max(k, 1), DEPTH):
            panel(
                a + i * row + k0 * step, row * ROWS, row, step, b + k0 * b_row + j * SIZE, b_row, SIZE, strip,
                wide * SIZE, high, wide, min(k - k0, DEPTH), k0 > 0, AHEAD * b_row, 0, 0,
            )  # fmt: skip
        step_of(w + 88, numbers, strip, wide, i, j, high, wide, n)


def product_packed_update(w: Any, block: Any, blocks: Any) -> None:
    """The same of a large product of at most DEPTH k's, whose A is packed; every block packs the columns of B that it
    needs.

    Words: A; B, bytes from k to k, from column to column; m, n, k; how many rows and how many columns, whole groups and
    pieces, are done with the same columns of B; memory for these columns, and how many bytes a block has of it; rows of
    a strip, memory for strips, and the bytes of one; then those of the step.
    """
    packed_a, b, b_row, across, m, n, k, rows, columns, room, apart = [word_at(w, i) for i in static(11)]
    few, strips, bytes_of = word_at(w, 11), word_at(w, 12), word_at(w, 13)
    numbers, strip, packed = numbers_of(w + 112), strips + bytes_of * block, room + apart * block
    piece = VECS * LANES * SIZE
    across_units, along_units = (n + columns - 1) // columns, (m + rows - 1) // rows
    units = across_units * along_units
    for u in range(units * block // blocks, units * (block + 1) // blocks):
        i, j = u // across_units * rows, u % across_units * columns
        wide = min(columns, n - j)
        pack_columns(b + j * across, b_row, across, wide, k, packed)
        for i0 in range(i, min(i + rows, m), few):
            high = min(min(few, i + rows - i0), m - i0)
            # what is packed ends with whole groups and whole pieces, and so does the strip: all tiles are whole
            panel(
                packed_a + i0 * k * SIZE, ROWS * k * SIZE, SIZE, ROWS * SIZE, packed, piece, k * SIZE, strip,
                columns * SIZE, (high + ROWS - 1) // ROWS * ROWS, (wide + VECS * LANES - 1) // (VECS * LANES)
                * (VECS * LANES), k, False, 0, 0, 0,
            )  # fmt: skip
            step_of(w + 112, numbers, strip, columns, i0, j, high, wide, n)


# rules ---------------------------------------------------------------------------------------------------------------


def update_call(call: Call, update: Update, end: Successor) -> bool:
    """Put the records of a gradient ``a @ b`` and of the step that takes it into a call whose inputs are a, b and the
    step's, and whose outputs are the step's; False where they are better apart."""
    (a, b), (p, g, *averages) = call.inputs[:2], end.operands[: update.inputs]
    old, settings = update.counts(end.operands), update.settings(end.operands)
    outs, found = [x for x in call.outputs if x is not None], setting_words(settings)
    new, times = outs[: update.inputs - 1], [*old, *outs[update.inputs - 1 :]]
    if g is not None or found is None or len(outs) < len(call.outputs) or min(a.ndim, b.ndim) < 2:
        return False
    if any(not isinstance(t, Place) or t.dtype != np.int64 or t.shape for t in old):
        return False
    for x in (p, *averages, *new):
        if not isinstance(x, Place) or not x.is_contiguous or (x.dtype, x.shape) != (a.dtype, p.shape):
            return False
    given = products_of(a, b, p)
    if p.dtype not in SINGLE_OR_DOUBLE or not _is_better_together(given):
        return False
    arrays = [p.address(), 0, *(x.address() for x in (*averages, *new))]
    words, inline = found
    step = Step(update, end.attrs, inline, update.words(arrays, p.size, times, words))
    m, _, k = given.sizes
    blocks = blocks_of((2 * k + WORK) * p.size, m)
    (_packed if is_packed(given) else _plain)(call, given, step, blocks)
    update.count(call, times, settings, True)
    for k, x in enumerate((p, *averages, *old)):
        call.may_replace(k, next(i for i, given in enumerate(call.inputs) if given is x))
    return True


def _is_better_together(given: Products) -> bool:
    m, n, k = given.sizes
    # the factors live until the step, in place of the gradient: never more memory than that
    if given.axes or m * n < SMALL or k * (m + n) > m * n or is_dots(given) or is_narrow(given):
        return False
    return k <= (DEPTH if is_packed(given) else PART)


@dataclass(frozen=True)
class Step:
    """A step as kernels take it."""

    update: Update
    attrs: Mapping[str, Any]
    inline: int
    words: list[int | Address]

    def kernel(self, text: Any, dtype: Any, **constants: Any) -> Kernel:
        return self.update.text(text, dtype, self.attrs, self.inline, **constants)


def _plain(call: Call, given: Products, step: Step, blocks: int) -> None:
    given = in_order(call, given, 2)
    (m, n, k), size = given.sizes, given.a.dtype.itemsize
    tile = tile_of(m)
    chunk = min(n, max(VECTOR, STRIP // (tile["ROWS"] * size) // VECTOR * VECTOR))
    strips = call.scratch((blocks, tile["ROWS"] * chunk), given.a.dtype, "rows of a gradient")
    words = [
        given.a.address(), *given.a.strides, given.b.address(), given.b.strides[0], m, n, k, chunk, strips.address(),
        strips.strides[0], *step.words,
    ]  # fmt: skip
    call.run(step.kernel(product_update, given.a.dtype, **tile, PACKED=False), words, blocks)


def _packed(call: Call, given: Products, step: Step, blocks: int) -> None:
    (m, n, k), dtype = given.sizes, given.a.dtype
    of = packing_of(given, blocks)
    columns, height = of.beside * of.piece, of.tile["ROWS"]
    few = max(1, STRIP // (columns * dtype.itemsize * height)) * height
    of_rows = room(call, (-(-m // height) * height, k), dtype, "the first factor, packed")
    of_columns = room(call, (blocks, k, columns), dtype, "columns of the second factor")
    strips = call.scratch((blocks, few * columns), dtype, "rows of a gradient")
    call.run(
        kernel(pack_rows, dtype, ROWS=height), [given.a.address(), *given.a.strides, m, k, of_rows.address()], blocks
    )
    words = [
        of_rows.address(), given.b.address(), *given.b.strides, m, n, k, of.rows, columns, of_columns.address(),
        of_columns.strides[0], few, strips.address(), strips.strides[0], *step.words,
    ]  # fmt: skip
    call.run(step.kernel(product_packed_update, dtype, **of.tile, PACKED=True), words, blocks)
