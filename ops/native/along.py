"""Rules of what is taken and added along an axis by an index tensor of as many axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.engine.aval import canonical_axis
from tensorgraph.native.kernel import kernel
from tensorgraph.native.lowering import static
from tensorgraph.native.places import Address, Call, Place
from tensorgraph.native.words import (
    double,
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
)
from tensorgraph.ops.native.edges import SINGLE_OR_DOUBLE, in_order
from tensorgraph.ops.native.gather import OUTSIDE, sums_of_rows
from tensorgraph.ops.native.joining import fill
from tensorgraph.ops.native.labels import integers_within
from tensorgraph.ops.native.moving import collapsed
from tensorgraph.ops.native.reductions import with_loss

__all__ = ["add_along_axis", "take_along_axis"]

LANES = SIZE = 0  # constants of every kernel
LOSS, ADDS = False, False  # of `along`: whether what sums lose is kept, and whether there are sums

LARGE = 1 << 15  # numbers from which those that are taken are shared by threads
MOST = 1 << 25  # bytes of sums in float64


def along(w: Any, block: Any, blocks: Any) -> None:
    """Numbers taken from lines, or added to them. Words: indices, numbers of a line, bytes from one to the next, what
    is taken from, or sums in float64 and what they lose, where numbers go, or come from; of three axes, the second of
    which the indices count, sizes and bytes of lines, indices and numbers."""
    ids, size, step, lines, lost, numbers = [word_at(w, k) for k in static(6)]
    n0, l0, i0, g0, n1, l1, i1, g1, n2, l2, i2, g2 = [word_at(w, k) for k in static(6, 18)]
    for a in range(n0 * block // blocks, n0 * (block + 1) // blocks):
        for b in range(n1):
            for c in range(n2):
                k = load_int(ids + a * i0 + b * i1 + c * i2)
                at = a * l0 + b * l1 + c * l2 + select(k < 0, k + size, k) * step
                to = numbers + a * g0 + b * g1 + c * g2
                if ADDS:
                    if LOSS:
                        now, less = with_loss(load_double(lines + at), load_double(lost + at), load(to))
                        store_double(lines + at, now)
                        store_double(lost + at, less)
                    else:
                        store_double(lines + at, load_double(lines + at) + double(load(to)))
                else:
                    store(to, load(lines + at))


def take_lines(w: Any, block: Any, blocks: Any) -> None:
    """Numbers taken from lines. Words: indices, from line to line; numbers of a line; what is taken from, from line to
    line, from number to number; results; lines, indices of one."""
    ids, i_row, size, x, x_row, step, out, count, each = [word_at(w, k) for k in static(9)]
    for a in range(count * block // blocks, count * (block + 1) // blocks):
        row, line, to = ids + a * i_row, x + a * x_row, out + a * each * SIZE
        for b in range(each):
            k = load_int(row + 8 * b)
            store(to + b * SIZE, load(line + select(k < 0, k + size, k) * step))


def add_lines(w: Any, block: Any, blocks: Any) -> None:
    """Numbers added to whole lines, whose sums are in the first cache meanwhile. Words: indices, from line to line;
    numbers of a line; sums in float64 and what they lose, bytes of a block; numbers, from line to line; results; lines,
    indices of one."""
    ids, i_row, size, g, g_row, out, count, each = [word_at(w, k) for k in static(8)]
    sums, lost = word_at(w, 8) + block * word_at(w, 10), word_at(w, 9) + block * word_at(w, 10)
    full = size // LANES * LANES
    for a in range(count * block // blocks, count * (block + 1) // blocks):
        for j in range(0, full, LANES):
            no_sums(sums, lost, j, LANES)
        if full < size:
            no_sums(sums, lost, full, size - full)
        for b in range(each):
            k = load_int(ids + a * i_row + 8 * b)
            at, x = 8 * select(k < 0, k + size, k), load(g + a * g_row + b * SIZE)
            if LOSS:
                now, less = with_loss(load_double(sums + at), load_double(lost + at), x)
                store_double(sums + at, now)
                store_double(lost + at, less)
            else:
                store_double(sums + at, load_double(sums + at) + double(x))
        line = out + a * size * SIZE
        for j in range(0, full, LANES):
            put_sums(sums, lost, j, line, LANES)
        if full < size:
            put_sums(sums, lost, full, line, size - full)


def no_sums(sums: Any, lost: Any, j: Any, n: Any) -> None:
    """Zeros for `n` sums, from number `j` on."""
    stw(sums + 8 * j, double(vset(0.0)), n)
    if LOSS:
        stw(lost + 8 * j, double(vset(0.0)), n)


def put_sums(sums: Any, lost: Any, j: Any, line: Any, n: Any) -> None:
    """`n` sums rounded, from number `j` on."""
    total = ldw(sums + 8 * j, n, 0.0)
    if LOSS:
        rest = ldw(lost + 8 * j, n, 0.0)
        total = select(rest == rest, total + rest, total)
    stm(line + j * SIZE, narrow(total), n)


def _axes(shape: tuple[int, ...], k: int, lines: Place, ids: Place, numbers: Place) -> list[int] | None:
    """The words of the axes around axis k; None where they are more than two."""
    strides = [a.broadcast(tuple(n if i != k else a.shape[k] for i, n in enumerate(shape))).strides
               for a in (lines, ids, numbers)]  # fmt: skip
    lead, tail = (collapsed(shape[part], *[s[part] for s in strides]) for part in (slice(k), slice(k + 1, None)))
    if len(lead) > 1 or len(tail) > 1:
        return None
    middle = (shape[k], 0, strides[1][k], strides[2][k])
    return [*(lead[0] if lead else (1, 0, 0, 0)), *middle, *(tail[0] if tail else (1, 0, 0, 0))]


def take_along_axis(call: Call) -> bool:
    """`take_along_axis`."""
    (x, ids), (out,) = call.inputs, call.outputs
    if not isinstance(x, Place) or not isinstance(ids, Place) or x.dtype not in SINGLE_OR_DOUBLE:
        return False
    if out is None or not out.size or not x.size:
        return False
    k = canonical_axis(call.attrs["axis"], x.ndim)
    n, step = x.shape[k], x.strides[k]
    ids = integers_within(call, ids, -n, n, OUTSIDE)
    axes = None if ids is None else _axes(out.shape, k, x, ids, out)
    if ids is None or axes is None:
        return False
    if axes[8] == 1 and ids.strides[k] == 8:  # no axis is behind
        count, x_row, i_row, _ = axes[:4]
        blocks = min(4, count) if out.size >= LARGE else 1
        given: list[int | Address] = [ids.address(), i_row, n, x.address(), x_row, step, out.address()]
        call.run(kernel(take_lines, x.dtype), [*given, count, out.shape[k]], blocks)
        return True
    words: list[int | Address] = [ids.address(), n, step, x.address(), 0, out.address(), *axes]
    call.run(kernel(along, x.dtype, ADDS=False, LOSS=False), words, min(4, axes[0]) if out.size >= LARGE else 1)
    return True


def add_along_axis(call: Call) -> bool:
    """`add_along_axis`: sums in float64, of float64 with what they lose."""
    (g, ids), (out,) = call.inputs, call.outputs
    if not isinstance(g, Place) or not isinstance(ids, Place) or g.dtype not in SINGLE_OR_DOUBLE:
        return False
    if out is None or out.dtype != g.dtype or not g.size or not out.size or 8 * out.size > MOST:
        return False
    k, loss = canonical_axis(call.attrs["axis"], out.ndim), g.dtype == np.float64
    n = out.shape[k]
    ids = integers_within(call, ids, -n, n, OUTSIDE)
    if ids is None:
        return False
    g = in_order(call, g)
    if k == out.ndim - 1 and g.shape[:-1] == out.shape[:-1] == ids.shape[:-1]:
        count, each = g.size // g.shape[-1], g.shape[-1]
        blocks = min(4, count) if g.size + out.size >= LARGE else 1
        lines = [call.scratch((blocks, n), np.float64, "sums of a line") for _ in range(1 + loss)]
        given: list[int | Address] = [ids.address(), 8 * each, n, g.address(), each * g.dtype.itemsize, out.address()]
        given += [count, each, lines[0].address(), lines[-1].address(), 8 * n]
        call.run(kernel(add_lines, g.dtype, LOSS=loss), given, blocks)
        return True
    sums = [call.scratch(out.shape, np.float64, "sums along an axis") for _ in range(1 + loss)]
    for place in sums:
        fill(call, place, 0.0)
    axes = _axes(g.shape, k, sums[0], ids, g)
    if axes is None:
        return False
    first, last = sums[0].address(), sums[-1].address()
    words: list[int | Address] = [ids.address(), n, sums[0].strides[k], first, last, g.address(), *axes]
    call.run(kernel(along, g.dtype, ADDS=True, LOSS=loss), words)
    call.run(kernel(sums_of_rows, g.dtype, LOSS=loss), [out.size, first, last, out.address()])
    return True
