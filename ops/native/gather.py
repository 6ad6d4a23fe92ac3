"""Rules of ops that take rows of a table by their numbers, make such rows, and add rows at numbered places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
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
    load,
    load_double,
    load_int,
    narrow,
    select,
    stm,
    store,
    store_double,
    stw,
    vset,
    word_at,
)  # fmt: skip
from tensorgraph.ops.native.edges import SINGLE_OR_DOUBLE
from tensorgraph.ops.native.joining import fill, native_put, native_zeros_with, place_in
from tensorgraph.ops.native.labels import integers_within
from tensorgraph.ops.native.moving import collapsed, copy_of
from tensorgraph.ops.native.reductions import with_loss

__all__ = [
    "OUTSIDE", "native_add_at", "native_embedding", "native_getitem", "native_one_hot", "native_put",
    "native_scatter_add", "native_segment_sum", "sums_of_rows",
]  # fmt: skip

LANES = SIZE = 0  # constants of every kernel
LOSS, PLAIN, BASE = False, False, False  # of `add_rows` and `sums_of_rows`
KEYS = 1  # index arrays that say together where a row lies

FEW = 64
"""Rows that are added one by one in their own type: their errors stay within the bounds of sums."""
LARGE = 1 << 18
OUTSIDE = "an index is out of bounds"
MOST = 1 << 25  # bytes of sums in float64


def place_of(w: Any, first: Any, i: Any) -> Any:
    """Where the numbers of KEYS index arrays lead, the words of each of which say where it is, of how many there are,
    and how far they lie apart; negative numbers count from the end."""
    at = 0
    for v in static(KEYS):
        k = load_int(word_at(w, first + 3 * v) + 8 * i)
        at += select(k < 0, k + word_at(w, first + 3 * v + 1), k) * word_at(w, first + 3 * v + 2)
    return at


def take_rows(w: Any, block: Any, blocks: Any) -> None:
    """Rows of a table, by number, of each of some tables; blocks are parts of the tables, of a single one of rows."""
    count, tables, table, step, columns, out = [word_at(w, k) for k in static(6)]
    low, high, top = count * block // blocks, count * (block + 1) // blocks, 1
    first = 0
    if tables != 1:
        low, high = 0, count
        first, top = tables * block // blocks, tables * (block + 1) // blocks
    for t in range(first, top):
        p, q = table + t * step, out + t * count * columns * SIZE
        if columns == 1:
            for i in range(low, high):
                store(q + i * SIZE, load(p + place_of(w, 6, i)))
        else:
            for i in range(low, high):
                s, d = p + place_of(w, 6, i), q + i * columns * SIZE
                for j in range(0, columns, LANES):
                    lanes = min(columns - j, LANES)
                    stm(d + j * SIZE, ldm(s + j * SIZE, lanes, 0.0), lanes)


def unit_rows(w: Any, block: Any, blocks: Any) -> None:
    """Rows of zeros with a one at a place, by number."""
    ids, count, columns, out = [word_at(w, k) for k in static(4)]
    for i in range(count * block // blocks, count * (block + 1) // blocks):
        k, q = load_int(ids + 8 * i), out + i * columns * SIZE
        for j in range(0, columns, LANES):
            stm(q + j * SIZE, select(iota() + j == k, vset(1.0), vset(0.0)), min(columns - j, LANES))


def add_number(p: Any, sums: Any, lost: Any, at: Any) -> None:
    """The number at p added to that at a place."""
    if PLAIN:
        store(sums + at * SIZE, load(sums + at * SIZE) + load(p))
    elif LOSS:
        now, less = with_loss(load_double(sums + at * 8), load_double(lost + at * 8), load(p))
        store_double(sums + at * 8, now)
        store_double(lost + at * 8, less)
    else:
        store_double(sums + at * 8, load_double(sums + at * 8) + double(load(p)))


def add_row(p: Any, sums: Any, lost: Any, at: Any, columns: Any) -> None:
    """The row at p added to that at a place."""
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


def add_rows(w: Any, block: Any, blocks: Any) -> None:
    """Rows added at places by number, in each of some tables: to numbers of their own type, or to sums in float64 and
    what these lose."""
    count, tables, g, rows, columns, sums, lost = [word_at(w, k) for k in static(7)]
    for t in range(tables):
        p, first = g + t * count * columns * SIZE, t * rows * columns
        if columns == 1:
            for i in range(count):
                add_number(p + i * SIZE, sums, lost, first + place_of(w, 7, i))
        else:
            for i in range(count):
                add_row(p + i * columns * SIZE, sums, lost, first + place_of(w, 7, i) * columns, columns)


def sums_of_rows(w: Any, block: Any, blocks: Any) -> None:
    """Sums in float64 in the kernel's type, with what they lost, and with what they are added to."""
    count, sums, lost, out = [word_at(w, k) for k in static(4)]
    for j in range(0, count, LANES):
        lanes = min(count - j, LANES)
        total = ldw(sums + j * 8, lanes, 0.0)
        less = ldw(lost + j * 8, lanes, 0.0) if LOSS else total
        if BASE:
            x = ldm(word_at(w, 4) + j * SIZE, lanes, 0.0)
            if LOSS:
                total, less = with_loss(total, less, x)
            else:
                total = double(x) + total
        if LOSS:
            total = select(less == less, total + less, total)
        stm(out + j * SIZE, narrow(total), lanes)


@dataclass(frozen=True)
class _Selection:
    """What index arrays side by side select of a shape: the axes before them, the arrays, and the axes they number."""

    lead: int
    ids: list[Place]
    rows: tuple[int, ...]

    @property
    def behind(self) -> int:
        return self.lead + len(self.rows)

    @property
    def count(self) -> int:
        return self.ids[0].size

    def fits(self, x: Place) -> bool:
        """Whether what is selected of an array are rows that are contiguous, of tables that lie evenly."""
        tables = collapsed(x.shape[: self.lead], x.strides[: self.lead])
        return x.over(x.shape[self.behind :], x.strides[self.behind :]).is_contiguous and len(tables) < 2

    def words(self, steps: Sequence[int]) -> list[int | Address]:
        """The words that `place_of` reads, with how far numbers of each axis lie apart."""
        return [
            word for ids, n, step in zip(self.ids, self.rows, steps, strict=True) for word in (ids.address(), n, step)
        ]


def _selection(call: Call, key: Any, indices: Sequence[Any], shape: Sequence[int], low: int | None = None) -> Any:
    """The selection of a key; None where its arrays do not stand side by side, or something else is in it.

    Numbers are looked at before the run: they lie from `low` on, by default from the end backwards.
    """
    items = list(key)
    if "..." in items:
        at = items.index("...")
        items[at : at + 1] = [ALL] * (len(shape) + 1 - len(items))
    lead = next((k for k, item in enumerate(items) if item != ALL), len(items))
    named = [("index", k) for k in range(len(indices))]
    if items[lead : lead + len(named)] != named or any(item != ALL for item in items[lead + len(named) :]):
        return None
    rows = tuple(shape[lead : lead + len(named)])
    found = []
    for ids, n in zip(indices, rows, strict=True):
        ids = integers_within(call, ids, -n if low is None else low, n, OUTSIDE)
        if ids is None:
            return None
        found.append(ids)
    whole = np.broadcast_shapes(*[ids.shape for ids in found])
    found = [ids if ids.shape == whole else copy_of(call, ids.broadcast(whole)) for ids in found]
    return _Selection(lead, found, rows)


def _taken(call: Call, x: Place, key: Any, indices: Sequence[Any], low: int | None = None) -> bool:
    (out,) = call.outputs
    if out is None or not x.ndim or (chosen := _selection(call, key, indices, x.shape, low)) is None:
        return False
    if x.dtype.itemsize not in (4, 8) or x.dtype.kind not in "fi":
        return False
    if not chosen.fits(x):
        if x.size > 4 * out.size:  # to put all in order costs more than to take a few from where they lie
            return False
        x = copy_of(call, x)
    columns, tables = math.prod(x.shape[chosen.behind :]), collapsed(x.shape[: chosen.lead], x.strides[: chosen.lead])
    text = kernel(take_rows, f"f{x.dtype.itemsize}", KEYS=len(indices))
    count, (n, step) = chosen.count, tables[0] if tables else (1, 0)
    words = [count, n, x.address(), step, columns, out.address()]
    call.run(text, [*words, *chosen.words(x.strides[chosen.lead : chosen.behind])], 4 if out.nbytes >= LARGE else 1)
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


def native_embedding(call: Call) -> bool:
    """Rows of a table."""
    return _taken(call, call.inputs[0], [("index", 0)], [call.inputs[1]], 0)


def native_getitem(call: Call) -> bool:
    """Elements or rows by index tensors side by side."""
    x, indices = call.inputs
    return bool(indices) and _taken(call, x, call.attrs["key"], indices)


def _added(call: Call, g: Place, key: Any, indices: Sequence[Any], base: Place | None, low: int | None = None) -> bool:
    """What is given added at a key: to zeros, or to an array."""
    (out,) = call.outputs
    if out is None or g.dtype != out.dtype or out.dtype not in SINGLE_OR_DOUBLE or not g.size:
        return False
    chosen = _selection(call, key, indices, out.shape, low)
    if chosen is None or (chosen.count > FEW and 8 * out.size > MOST):
        return False
    shape = (*out.shape[: chosen.lead], *chosen.ids[0].shape, *out.shape[chosen.behind :])
    if g.shape != shape:
        g = g.broadcast(shape)
    g = g if g.is_contiguous else copy_of(call, g)
    lead, columns = (math.prod(part) for part in (out.shape[: chosen.lead], out.shape[chosen.behind :]))
    steps = [math.prod(chosen.rows[k + 1 :]) for k in range(len(chosen.rows))]
    words = [chosen.count, lead, g.address(), math.prod(chosen.rows), columns]
    constants: dict[str, Any] = dict(KEYS=len(steps))
    if chosen.count <= FEW:
        if base is None:
            fill(call, out, 0.0)
        else:
            place_in(call, base, out)
        call.run(kernel(add_rows, out.dtype, PLAIN=True, **constants), [*words, out.address(), 0, *chosen.words(steps)])
        return True
    loss = g.dtype == np.float64
    sums = [call.scratch(out.shape, np.float64, "sums of rows") for _ in range(1 + loss)]
    for place in sums:
        fill(call, place, 0.0)
    first, last = sums[0].address(), sums[-1].address()
    call.run(kernel(add_rows, out.dtype, LOSS=loss, **constants), [*words, first, last, *chosen.words(steps)])
    words = [out.size, first, last, out.address()]
    if base is not None:
        words.append((base if base.is_contiguous else copy_of(call, base)).address())
    call.run(kernel(sums_of_rows, out.dtype, LOSS=loss, BASE=base is not None), words)
    return True


def native_scatter_add(call: Call) -> bool:
    """Zeros, and numbers added at a key with index tensors, or put at one without."""
    g, indices = call.inputs
    return _added(call, g, call.attrs["key"], indices, None) if indices else native_zeros_with(call)


def native_add_at(call: Call) -> bool:
    """A copy of an array, and numbers added at a key with index tensors."""
    x, v, indices = call.inputs
    return bool(indices) and isinstance(v, Place) and _added(call, v, call.attrs["key"], indices, x)


def native_segment_sum(call: Call) -> bool:
    """Rows added up by segments."""
    data, ids = call.inputs
    return _added(call, data, [("index", 0)], [ids], None, 0)
