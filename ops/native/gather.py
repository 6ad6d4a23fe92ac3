"""Rules of ops that take rows of a table by their numbers, make such rows, and add rows at numbered places."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.engine.aval import canonical_axis
from tensorgraph.engine.keys import ALL
from tensorgraph.native.kernel import kernel
from tensorgraph.native.lowering import static
from tensorgraph.native.places import Address, Call, Place
from tensorgraph.native.words import (
    double,
    iota,
    ldm,
    ldw,
    load_int,
    narrow,
    select,
    stm,
    stw,
    vset,
    word_at,
)  # fmt: skip
from tensorgraph.ops.native.edges import SINGLE_OR_DOUBLE
from tensorgraph.ops.native.joining import fill, native_put, native_zeros_with
from tensorgraph.ops.native.labels import integers_within
from tensorgraph.ops.native.moving import copy_of
from tensorgraph.ops.native.reductions import with_loss

__all__ = ["OUTSIDE", "native_embedding", "native_getitem", "native_one_hot", "native_put", "native_scatter_add"]

LANES = SIZE = 0  # constants of every kernel
LOSS, PLAIN = False, False  # of `add_rows` and `sums_of_rows`

FEW = 64
"""Rows that are added one by one in their own type: their errors stay within the bounds of sums."""
LARGE = 1 << 18
OUTSIDE = "an index is out of bounds"
MOST = 1 << 25  # bytes of sums in float64


def take_rows(w: Any, block: Any, blocks: Any) -> None:
    """Rows of a table, by number; negative numbers count from the end."""
    ids, count, table, step, rows, columns, out = [word_at(w, k) for k in static(7)]
    for i in range(count * block // blocks, count * (block + 1) // blocks):
        k = load_int(ids + 8 * i)
        p, q = table + select(k < 0, k + rows, k) * step, out + i * columns * SIZE
        for j in range(0, columns, LANES):
            lanes = min(columns - j, LANES)
            stm(q + j * SIZE, ldm(p + j * SIZE, lanes, 0.0), lanes)


def unit_rows(w: Any, block: Any, blocks: Any) -> None:
    """Rows of zeros with a one at a place, by number."""
    ids, count, columns, out = [word_at(w, k) for k in static(4)]
    for i in range(count * block // blocks, count * (block + 1) // blocks):
        k, q = load_int(ids + 8 * i), out + i * columns * SIZE
        for j in range(0, columns, LANES):
            stm(q + j * SIZE, select(iota() + j == k, vset(1.0), vset(0.0)), min(columns - j, LANES))


def add_rows(w: Any, block: Any, blocks: Any) -> None:
    """Rows added at places by number: to numbers of their own type, or to sums in float64 and what these lose."""
    ids, count, g, step, rows, columns, sums, lost = [word_at(w, k) for k in static(8)]
    for i in range(count):
        k = load_int(ids + 8 * i)
        p, at = g + i * step, select(k < 0, k + rows, k) * columns
        for j in range(0, columns, LANES):
            lanes = min(columns - j, LANES)
            x = ldm(p + j * SIZE, lanes, 0.0)
            if PLAIN:
                q = sums + (at + j) * SIZE
                stm(q, ldm(q, lanes, 0.0) + x, lanes)
            else:
                q = sums + (at + j) * 8
                if LOSS:
                    e = lost + (at + j) * 8
                    now, less = with_loss(ldw(q, lanes, 0.0), ldw(e, lanes, 0.0), x)
                    stw(e, less, lanes)
                else:
                    now = ldw(q, lanes, 0.0) + double(x)
                stw(q, now, lanes)


def sums_of_rows(w: Any, block: Any, blocks: Any) -> None:
    """Sums in float64 in the kernel's type, with what they lost."""
    count, sums, lost, out = [word_at(w, k) for k in static(4)]
    for j in range(0, count, LANES):
        lanes = min(count - j, LANES)
        total = ldw(sums + j * 8, lanes, 0.0)
        if LOSS:
            less = ldw(lost + j * 8, lanes, 0.0)
            total = select(less == less, total + less, total)
        stm(out + j * SIZE, narrow(total), lanes)


def _columns(place: Place, axes: int) -> int | None:
    """The numbers that lie side by side behind so many axes; None where they do not."""
    tail = place.over(place.shape[axes:], place.strides[axes:])
    return tail.size if tail.is_contiguous and place.dtype.itemsize in (4, 8) and place.dtype.kind in "fi" else None


def _taken(call: Call, table: Place, ids: Any, low: int) -> bool:
    (out,) = call.outputs
    if out is None or not table.ndim or (columns := _columns(table, 1)) is None:
        return False
    rows = table.shape[0]
    ids = integers_within(call, ids, low, rows, OUTSIDE)
    if ids is None:
        return False
    words = [ids.address(), ids.size, table.address(), table.strides[0], rows, columns, out.address()]
    call.run(kernel(take_rows, f"f{table.dtype.itemsize}"), words, 4 if out.nbytes >= LARGE else 1)
    return True


def native_one_hot(call: Call) -> bool:
    """Labels along a new last axis."""
    (labels,), (out,) = call.inputs, call.outputs
    if out is None or out.dtype not in SINGLE_OR_DOUBLE:
        return False
    if canonical_axis(call.attrs["axis"], out.ndim) != out.ndim - 1:
        return False
    classes = out.shape[-1]
    labels = integers_within(call, labels, 0, classes, "a label is no class")
    if labels is None:
        return False
    words: list[int | Address] = [labels.address(), labels.size, classes, out.address()]
    call.run(kernel(unit_rows, out.dtype), words, 4 if out.nbytes >= LARGE else 1)
    return True


def _is_rows(key: Any) -> bool:
    """Whether a key is one index tensor for the first axis."""
    return bool(key) and key[0] == ("index", 0) and all(item in ("...", ALL) for item in key[1:])


def native_embedding(call: Call) -> bool:
    """Rows of a table."""
    return _taken(call, call.inputs[0], call.inputs[1], 0)


def native_getitem(call: Call) -> bool:
    """Rows by one index tensor."""
    x, indices = call.inputs
    return len(indices) == 1 and _is_rows(call.attrs["key"]) and _taken(call, x, indices[0], -x.shape[0])


def native_scatter_add(call: Call) -> bool:
    """Zeros, and rows added at numbered places, or numbers put at a key."""
    g, indices = call.inputs
    if not indices:
        return native_zeros_with(call)
    (out,), ids = call.outputs, indices[0]
    if out is None or len(indices) != 1 or not _is_rows(call.attrs["key"]):
        return False
    if g.dtype != out.dtype or g.dtype.kind != "f" or g.shape != (*ids.shape, *out.shape[1:]):
        return False
    rows, size, loss = out.shape[0], g.dtype.itemsize, g.dtype == np.float64
    if not g.size or 8 * out.size > MOST or (ids := integers_within(call, ids, -rows, rows, OUTSIDE)) is None:
        return False
    g = g if g.is_contiguous else copy_of(call, g)
    columns = g.size // ids.size
    words = [ids.address(), ids.size, g.address(), columns * size, rows, columns]
    if ids.size <= FEW:
        fill(call, out, 0.0)
        call.run(kernel(add_rows, out.dtype, PLAIN=True), [*words, out.address(), 0])
        return True
    sums = [call.scratch(out.shape, np.float64, "sums of rows") for _ in range(1 + loss)]
    for place in sums:
        fill(call, place, 0.0)
    first, last = sums[0].address(), sums[-1].address()
    call.run(kernel(add_rows, out.dtype, LOSS=loss), [*words, first, last])
    call.run(kernel(sums_of_rows, out.dtype, LOSS=loss), [out.size, first, last, out.address()])
    return True
