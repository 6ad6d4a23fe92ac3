"""Scans along an axis as kernels: lanes are lines, which know nothing of each other.

float32 is added and multiplied in float64; sums of float64 keep what they lose. Products and recurrences of float64,
which the forward makes in longer floats still, are left to it. Where lines do not lie side by side they are turned.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgraph.engine.aval import canonical_axis
from tensorgraph.native.kernel import Kernel, kernel
from tensorgraph.native.lowering import static
from tensorgraph.native.places import Address, Call, Place
from tensorgraph.native.words import (
    double,
    ldg,
    ldm,
    least,
    most,
    narrow,
    select,
    stg,
    stm,
    transposed,
    vset,
    word_at,
)
from tensorgraph.ops.native.edges import SINGLE_OR_DOUBLE
from tensorgraph.ops.native.joining import fill, place_in
from tensorgraph.ops.native.moving import collapsed, copy_of
from tensorgraph.ops.native.reductions import with_loss

__all__ = ["cummax", "cummin", "cumulative_prod", "cumulative_sum", "linear_recurrence"]

LANES = SIZE = BYTES = 0  # constants of kernels
SUM, PRODUCT, LARGEST, SMALLEST, RECURRENCE = 0, 1, 2, 3, 4
KIND = SUM
BACK = BACK_OUT = False  # of `turned_scan`: whether inputs, or results, lie from the end to the beginning
STARTS = {SUM: 0.0, PRODUCT: 1.0}

VECTORS = 4  # of lines that are walked side by side
FEWEST = 16  # lines side by side from which they are walked as they lie

FEW, LONG = 4, 4096  # lines, of so many numbers in all, whose float32 are left to the forward to add

# numbers from which a record has several blocks, and how many of them a block has at least
SEVERAL, BLOCK = 60_000, 20_000


# texts ---------------------------------------------------------------------------------------------------------------


def taken(total: Any, lost: Any, x: Any, a: Any) -> Any:
    """The state with another number; a is what a recurrence multiplies by."""
    less = lost
    if KIND == SUM:
        if SIZE == 8:
            now, less = with_loss(total, lost, x)
        else:
            now = total + double(x)
    elif KIND == PRODUCT:
        now = total * double(x)
    elif KIND == RECURRENCE:
        now = double(x) + double(a) * total
    elif KIND == LARGEST:
        now = most(total, x)
    else:
        now = least(total, x)
    return now, less


def result(total: Any, lost: Any) -> Any:
    """What a state says; an infinite sum has lost what is no number."""
    if KIND in (LARGEST, SMALLEST):
        out = total
    elif KIND == SUM and SIZE == 8:
        out = narrow(select(total - total == 0.0, total + lost, total))
    else:
        out = narrow(total)
    return out


def begun() -> Any:
    if KIND == LARGEST:
        start = vset(-1e999)
    elif KIND == SMALLEST:
        start = vset(1e999)
    elif KIND == PRODUCT:
        start = double(vset(1.0))
    else:
        start = double(vset(0.0))
    return start


def lines(w: Any, u: Any, j: Any, count: Any) -> None:
    """Some vectors of lines from line j of slab u on, step by step."""
    n, width = word_at(w, 9), word_at(w, 10) - j
    p, a = word_at(w, 0) + u * word_at(w, 1) + j * SIZE, word_at(w, 3) + u * word_at(w, 4) + j * SIZE
    q = word_at(w, 6) + u * word_at(w, 7) + j * SIZE
    total, lost = [begun() for _ in static(count)], [double(vset(0.0)) for _ in static(count)]
    for i in range(n):
        for k in static(count):
            lanes = width - k * LANES
            x = ldm(p + k * BYTES, lanes, 0.0)
            factor = x
            if KIND == RECURRENCE:
                factor = select(i == 0, vset(0.0), ldm(a + k * BYTES, lanes, 0.0))
            now, less = taken(total[k], lost[k], x, factor)
            total[k] = now
            lost[k] = less
            stm(q + k * BYTES, result(now, less), lanes)
        p += word_at(w, 2)
        a += word_at(w, 5)
        q += word_at(w, 8)


def scan(w: Any, block: Any, blocks: Any) -> None:
    """Words: x, what a recurrence multiplies by, the result, each with bytes from slab to slab and from step to step;
    steps, lines of a slab, slabs."""
    width, slabs = word_at(w, 10), word_at(w, 11)
    bands = (width + VECTORS * LANES - 1) // (VECTORS * LANES)
    units = slabs * bands
    for v in range(units * block // blocks, units * (block + 1) // blocks):
        u, j = v // bands, v % bands * (VECTORS * LANES)
        if width - j > (VECTORS - 1) * LANES:
            lines(w, u, j, VECTORS)
        else:
            for m in range(j, width, LANES):
                lines(w, u, m, 1)


def columns_of(p: Any, row: Any, count: Any, back: Any) -> Any:
    """LANES numbers of LANES lines as vectors of lines; the last of `count` lines stands in the lanes behind it."""
    at = p - (LANES - 1) * SIZE if back else p
    made = transposed([ldm(at + min(i, count - 1) * row, LANES, 0.0) for i in static(LANES)])
    return [made[LANES - 1 - i if back else i] for i in static(LANES)]


def turned_scan(w: Any, block: Any, blocks: Any) -> None:
    """The like of `scan` where numbers of a line lie side by side: squares of LANES lines are turned by registers."""
    n, count = word_at(w, 9), word_at(w, 11)
    row, factors, out_row = word_at(w, 1), word_at(w, 4), word_at(w, 7)
    step, a_step, out_step = word_at(w, 2), word_at(w, 5), word_at(w, 8)
    full, bands = n // LANES * LANES, (count + LANES - 1) // LANES
    for v in range(bands * block // blocks, bands * (block + 1) // blocks):
        u = v * LANES
        m = min(LANES, count - u)
        p, a, q = word_at(w, 0) + u * row, word_at(w, 3) + u * factors, word_at(w, 6) + u * out_row
        total, lost = begun(), double(vset(0.0))
        for j in range(0, full, LANES):
            x = columns_of(p + j * step, row, m, BACK)
            f = columns_of(a + j * a_step, factors, m, BACK) if KIND == RECURRENCE else x
            for i in static(LANES):
                factor = select(j + i == 0, vset(0.0), f[i]) if KIND == RECURRENCE else x[i]
                now, less = taken(total, lost, x[i], factor)
                total = now
                lost = less
                x[i] = result(now, less)
            made = transposed([x[LANES - 1 - i if BACK_OUT else i] for i in static(LANES)])
            to = q + j * out_step - (LANES - 1) * SIZE if BACK_OUT else q + j * out_step
            for i in static(LANES):
                if i < m:
                    stm(to + i * out_row, made[i], LANES)
        for k in range(full, n):
            y = ldg(p + k * step, row, m, 0.0)
            g = select(k == 0, vset(0.0), ldg(a + k * a_step, factors, m, 0.0)) if KIND == RECURRENCE else y
            sums, rest = taken(total, lost, y, g)
            total = sums
            lost = rest
            stg(q + k * out_step, out_row, result(sums, rest), m)


# rules ---------------------------------------------------------------------------------------------------------------


def _slabs(x: Place, k: int) -> tuple[int, int, int, int, int] | None:
    """Slabs, bytes from one to the next, steps, bytes from one to the next, lines side by side; None of another."""
    size = x.dtype.itemsize
    lead, tail = (collapsed(x.shape[part], x.strides[part]) for part in (slice(k), slice(k + 1, None)))
    if len(lead) > 1 or len(tail) > 1 or (tail and tail[0][1] != size):
        return None
    outer, width = lead[0] if lead else (1, 0), tail[0][0] if tail else 1
    return outer[0], outer[1], x.shape[k], x.strides[k], width


def _run(call: Call, kind: int, x: Place, factor: Place | None, out: Place, k: int) -> None:
    """A scan along axis k; factor is what a recurrence multiplies by."""
    given = [a for a in (x, factor) if a is not None]
    width = math.prod(x.shape[k + 1 :])
    found = [_slabs(a, k) for a in (*given, out)]
    lines_of = x.size // x.shape[k]
    steps = [a.strides[k] for a in (*given, out)]
    if width == 1 and None not in found and lines_of > 1 and _are_turned(steps, x.dtype.itemsize):
        turned = dict(BACK=steps[0] < 0, BACK_OUT=steps[-1] < 0)
        _run_slabs(call, found, [*given, out], kernel(turned_scan, x.dtype, KIND=kind, **turned))
    elif None in found or (width < FEWEST and lines_of > width):
        # lines are turned to lie side by side
        order = [k, *(a for a in range(x.ndim) if a != k)]
        places = [copy_of(call, a.transposed(order)) for a in given]
        room = call.scratch([out.shape[a] for a in order], out.dtype)
        places.append(room)
        _run_slabs(call, [_slabs(a, 0) for a in places], places, kernel(scan, x.dtype, KIND=kind))
        place_in(call, room.transposed(np.argsort(order).tolist()), out)
    else:
        _run_slabs(call, found, [*given, out], kernel(scan, x.dtype, KIND=kind))


def _are_turned(steps: list[int], size: int) -> bool:
    """Whether numbers of a line lie side by side, those of all inputs in one direction."""
    return all(abs(step) == size for step in steps) and len(set(steps[:-1])) == 1


def _run_slabs(call: Call, found: list[Any], places: list[Place], text: Kernel) -> None:
    slabs, _, steps, _, width = found[0]
    ends: list[list[int | Address]] = [
        [place.address(), one[1], one[3]] for place, one in zip(places, found, strict=True)
    ]
    if len(ends) == 2:
        ends.insert(1, [0, 0, 0])
    words = [*ends[0], *ends[1], *ends[2], steps, width, slabs]
    size = places[0].size
    blocks = 1 if size < SEVERAL else min(16, size // BLOCK, slabs * width // 16)
    call.run(text, words, max(blocks, 1))


def _scan(call: Call, kind: int) -> bool:
    (x,), (out,) = call.inputs, call.outputs
    if not isinstance(x, Place) or x.dtype not in SINGLE_OR_DOUBLE or (kind == PRODUCT and x.dtype == np.float64):
        return False
    if out is None or out.dtype != x.dtype:
        return out is None
    axis = call.attrs["axis"]
    steps = x.size if axis is None else x.shape[canonical_axis(axis, x.ndim)]
    if kind == SUM and x.dtype == np.float32 and LONG <= x.size < FEW * steps:
        return False  # a line a lane leaves most lanes idle, and NumPy adds one number after the other as fast
    if axis is None:
        x = x if x.is_contiguous else copy_of(call, x)
        x, k = x.over((x.size,), (x.dtype.itemsize,)), 0
    else:
        k = canonical_axis(axis, x.ndim)
    if call.attrs.get("include_initial"):
        first = out.over((*out.shape[:k], 1, *out.shape[k + 1 :]), out.strides)
        fill(call, first, STARTS[kind])
        out = out.over((*out.shape[:k], out.shape[k] - 1, *out.shape[k + 1 :]), out.strides, out.strides[k])
    if x.size:
        _run(call, kind, x, None, out, k)
    return True


def cumulative_sum(call: Call) -> bool:
    """`cumulative_sum`."""
    return _scan(call, SUM)


def cumulative_prod(call: Call) -> bool:
    """`cumulative_prod`."""
    return _scan(call, PRODUCT)


def cummax(call: Call) -> bool:
    """`cummax`."""
    return _scan(call, LARGEST)


def cummin(call: Call) -> bool:
    """`cummin`."""
    return _scan(call, SMALLEST)


def linear_recurrence(call: Call) -> bool:
    """`linear_recurrence` of float32."""
    (a, b), (out,) = call.inputs, call.outputs
    if not all(isinstance(v, Place) and v.dtype == np.float32 for v in (a, b)):
        return False
    if out is None or not b.size:
        return True
    k = canonical_axis(call.attrs["axis"], b.ndim)
    if call.attrs["reverse"]:
        a, b, out = (_reversed(v, k) for v in (a, b, out))
    _run(call, RECURRENCE, b, a, out, k)
    return True


def _reversed(x: Place, k: int) -> Place:
    """The same numbers from the end of an axis on."""
    strides = (*x.strides[:k], -x.strides[k], *x.strides[k + 1 :])
    return x.over(x.shape, strides, (x.shape[k] - 1) * x.strides[k])
