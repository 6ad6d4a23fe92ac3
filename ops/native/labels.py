"""Labels and indices of any type of integers: read number by number, and as int64 side by side."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from tensorgraph.native.kernel import kernel
from tensorgraph.native.lowering import static
from tensorgraph.native.places import Address, Call, Place
from tensorgraph.native.words import any_lane, iota, ldq, load_byte, load_int, select, store_int, word_at
from tensorgraph.ops.native.moving import collapsed, copy_of

__all__ = ["as_int64", "integers", "integers_within", "require_within", "whole_at"]

LANES = 0  # a constant of every kernel
ITEM, SIGNED = 8, True  # constants of kernels: bytes of an integer, and whether it has a sign

LARGE = 1 << 16  # integers from which they are shared by threads


def whole_at(p: Any) -> Any:
    """The integer of ITEM bytes at an address."""
    if ITEM == 8:
        n = load_int(p)
    else:
        n = load_byte(p)
        for k in static(1, ITEM):
            n = n | (load_byte(p + k) << (8 * k))
        if SIGNED:
            n = n - ((n >> (8 * ITEM - 1)) << (8 * ITEM))
    return n


def widen(w: Any, block: Any, blocks: Any) -> None:
    """Rows of integers as int64 side by side. The words: source, rows, stride, columns, stride, target."""
    source, rows, step, columns, inner, target = [word_at(w, k) for k in static(6)]
    count = rows * columns
    for i in range(count * block // blocks, count * (block + 1) // blocks):
        store_int(target + 8 * i, whole_at(source + i // columns * step + i % columns * inner))


def within(w: Any, block: Any, blocks: Any) -> None:
    """Whether all numbers, of two axes, lie from `low` on and below `high`, or are a number that is passed over."""
    ids, n, step, m, inner, low, high, passed = [word_at(w, k) for k in static(8)]
    wrong = 0
    for i in range(n):
        if (ITEM == 8) and inner == 8:  # side by side
            outside, full = iota() < 0, m // (4 * LANES) * (4 * LANES)
            for j in range(0, full, 4 * LANES):
                for v in static(4):
                    k = ldq(ids + i * step + 8 * (j + v * LANES), LANES, low)
                    outside = outside | (((k < low) | (k >= high)) & (k != passed))
            for j in range(full, m, LANES):
                k = ldq(ids + i * step + 8 * j, m - j, low)
                outside = outside | (((k < low) | (k >= high)) & (k != passed))
            wrong = 1 if any_lane(outside) else wrong
        else:
            for j in range(m):
                k = whole_at(ids + i * step + j * inner)
                wrong = select(((k < low) | (k >= high)) & (k != passed), 1, wrong)
    store_int(word_at(w, 8), wrong)


def integers(place: Any) -> dict[str, Any] | None:
    """The constants with which `whole_at` reads an array; None of what is no array of integers."""
    if not isinstance(place, Place) or place.dtype.kind not in "iu":
        return None
    return dict(ITEM=place.dtype.itemsize, SIGNED=place.dtype.kind == "i")


def as_int64(call: Call, ids: Place) -> Place:
    """Integers as int64 in C order, copied where they are not."""
    if ids.dtype.itemsize == 8:
        return ids if ids.is_contiguous else copy_of(call, ids)
    *around, rows, row = [(1, 0), (1, 0), *collapsed(ids.shape, ids.strides)]
    target = call.scratch(ids.shape, np.int64, "integers of 8 bytes")
    text = kernel(widen, "float64", **(integers(ids) or {}))
    for k, place in enumerate(itertools.product(*(range(n) for n, _ in around))):
        offset = sum(i * step for i, (_, step) in zip(place, around, strict=True))
        words: list[int | Address] = [ids.address(offset), *rows, *row, target.address(8 * k * rows[0] * row[0])]
        call.run(text, words, 4 if ids.size >= LARGE else 1)
    return target


def require_within(call: Call, ids: Any, low: int, high: int, error: str, passed: int | None = None) -> bool:
    """Have integers looked at before the run; False where they cannot be. One number may be passed over."""
    constants = integers(ids)
    if constants is None or (low < 0 and ids.dtype == np.uint64):  # of which the highest would be negative
        return False
    axes = [(1, 0), (1, 0), *collapsed(ids.shape, ids.strides)]
    if len(axes) > 4 or high <= low or not -(2**63) <= (passed or 0) < 2**63:
        return False
    words: list[int | Address] = [ids.address(), *axes[-2], *axes[-1], low, high, low if passed is None else passed]
    call.check(kernel(within, "float64", **constants), words, error)
    return True


def integers_within(call: Call, ids: Any, low: int, high: int, error: str) -> Place | None:
    """Integers as int64 in C order, which are looked at before the run; None where they cannot be."""
    return as_int64(call, ids) if require_within(call, ids, low, high, error) else None
