"""Copies of arrays with any strides, in C order: by rows, by blocks that registers transpose, or number by number."""

# The plan: axes that lie in each other in both arrays become one; of what is left, the last axis is the inner one, and
# (1) where it is contiguous in the source too, rows are copied, (2) where another axis is contiguous in the source,
# blocks of LANES by LANES are transposed in registers, (3) else numbers are gathered. Two axes go around; where there
# are more there are more records. Only bits are moved, so 4 and 8 bytes of any type are float32 and float64.

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from tensorgraph.native.kernel import kernel
from tensorgraph.native.lowering import static
from tensorgraph.native.places import Call, Place
from tensorgraph.native.words import (
    ld,
    ldg,
    ldm,
    select,
    st,
    stm,
    transposed,
    word_at,
)  # fmt: skip

__all__ = ["collapsed", "copy", "copy_of", "reshaped"]

LANES = SIZE = 0  # constants of every kernel
GATHER = False  # of `copy_rows`

LARGE = 1 << 18  # bytes from which a copy is shared by threads


def copy_rows(w: Any, block: Any, blocks: Any) -> None:
    """Rows of q numbers, contiguous in the target; in the source contiguous, or `across` bytes apart to be gathered."""
    source, target, p, p_source, p_target, q, across = [word_at(w, i) for i in static(7)]
    inner, in_source, in_target, outer, out_source, out_target = [word_at(w, i) for i in static(7, 13)]
    units = p * inner * outer
    for u in range(units * block // blocks, units * (block + 1) // blocks):
        i, t = u % p, u // p
        s = source + i * p_source + t % inner * in_source + t // inner * out_source
        d = target + i * p_target + t % inner * in_target + t // inner * out_target
        for j in range(0, q, LANES):
            n = min(q - j, LANES)
            stm(d + j * SIZE, ldg(s + j * across, across, n, 0.0) if GATHER else ldm(s + j * SIZE, n, 0.0), n)


def copy_transposed(w: Any, block: Any, blocks: Any) -> None:
    """Rows of q numbers, contiguous in the target; in the source the p rows are contiguous, and `across` bytes lie from
    number to number of a row."""
    source, target, p, _, p_target, q, across = [word_at(w, i) for i in static(7)]
    inner, in_source, in_target, outer, out_source, out_target = [word_at(w, i) for i in static(7, 13)]
    bands = (p + LANES - 1) // LANES
    units = bands * inner * outer
    for u in range(units * block // blocks, units * (block + 1) // blocks):
        i, t = u % bands * LANES, u // bands
        s = source + i * SIZE + t % inner * in_source + t // inner * out_source
        d = target + i * p_target + t % inner * in_target + t // inner * out_target
        height = min(p - i, LANES)
        for j in range(0, q, LANES):
            width = min(q - j, LANES)
            if height + width == 2 * LANES:
                columns = transposed([ld(s + (j + r) * across) for r in static(LANES)])
                for r in static(LANES):
                    st(d + r * p_target + j * SIZE, columns[r])
            else:
                parts = transposed(
                    [ldm(s + (j + r) * across, select(r < width, height, 0), 0.0) for r in static(LANES)]
                )
                for r in static(LANES):
                    stm(d + r * p_target + j * SIZE, parts[r], select(r < height, width, 0))


def collapsed(shape: Sequence[int], *strides: Sequence[int]) -> list[tuple[int, ...]]:
    """The axes, as (size, stride, stride, ...), without those of size 1; those that are one in memory are joined."""
    axes: list[tuple[int, ...]] = []
    for n, *steps in zip(shape, *strides, strict=True):
        if n == 1:
            continue
        if axes and all(before == n * step for before, step in zip(axes[-1][1:], steps, strict=True)):
            axes[-1] = (axes[-1][0] * n, *steps)
        else:
            axes.append((n, *steps))
    return axes


def copy(call: Call, source: Place, target: Place) -> None:
    """Copy an array into one of the same shape whose last axis is contiguous; both are of 4 or of 8 bytes a number."""
    if not source.size:
        return
    size = source.dtype.itemsize
    axes = collapsed(source.shape, source.strides, target.strides)
    last = axes.pop() if axes and axes[-1][2] == size else (1, size, size)
    turned = [k for k, axis in enumerate(axes) if axis[1] == size] if last[1] != size else []
    rows = axes.pop(turned[-1] if turned else -1) if axes else (1, 0, 0)
    text = kernel(
        copy_transposed if turned else copy_rows, f"f{size}", **({} if turned else {"GATHER": last[1] != size})
    )
    around = [(1, 0, 0)] * (2 - len(axes)) + axes
    blocks = 4 if source.nbytes >= LARGE else 1
    for place in itertools.product(*(range(axis[0]) for axis in around[:-2])):
        s, t = (sum(i * axis[side] for i, axis in zip(place, around, strict=False)) for side in (1, 2))
        words = [source.address(s), target.address(t), *rows, last[0], last[1], *around[-1], *around[-2]]
        call.run(text, words, blocks)


def copy_of(call: Call, source: Place, what: str = "a copy in C order") -> Place:
    """The like in C order, in memory of this call."""
    target = call.scratch(source.shape, source.dtype, what)
    copy(call, source, target)
    return target


def reshaped(call: Call) -> bool:
    """`reshape` of an array of which the result is no view: a copy in C order, seen in the new shape."""
    source, target = call.inputs[0], call.outputs[0]
    if not isinstance(source, Place) or target is None or source.dtype.itemsize not in (4, 8):
        return False
    strides, step = [], source.dtype.itemsize
    for n in reversed(source.shape):
        strides.append(step)
        step *= n
    copy(call, source, target.over(source.shape, strides[::-1]))
    return True
