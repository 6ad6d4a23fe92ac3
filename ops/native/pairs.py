"""Products and differences of two arrays in any strides, element by element: what no region's equation says."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from tensorgraph.engine.aval import canonical_axis
from tensorgraph.native.kernel import kernel
from tensorgraph.native.lowering import static
from tensorgraph.native.places import Call, Place
from tensorgraph.native.words import ldm, load, stm, vset, word_at
from tensorgraph.ops.native.edges import SINGLE_OR_DOUBLE
from tensorgraph.ops.native.moving import collapsed, copy_of

__all__ = ["native_diff", "of_pairs"]

LANES = SIZE = 0  # constants of every kernel
DIFFERENCE, ONE_A, ONE_B = False, False, False  # of `pairs`: what is made, and which factor stays along a row

MANY = 64  # runs of a kernel that one call makes at most
SEVERAL, BLOCK = 60_000, 20_000  # results from which a record has several blocks, and how many a block has at least


def pairs(w: Any, block: Any, blocks: Any) -> None:
    """Rows of c from those of a and b. The words: a, b, c, numbers of a row, and of two axes of rows, the inner one
    first, how many there are and how far they lie apart in each."""
    a, b, c, width, n, a_step, b_step, c_step, m, a_row, b_row, c_row = [word_at(w, k) for k in static(12)]
    rows = n * m
    for r in range(rows * block // blocks, rows * (block + 1) // blocks):
        i, j = r // n, r % n
        p, q, to = a + i * a_row + j * a_step, b + i * b_row + j * b_step, c + i * c_row + j * c_step
        for k in range(0, width, LANES):
            x = vset(load(p)) if ONE_A else ldm(p + k * SIZE, width - k, 0.0)
            y = vset(load(q)) if ONE_B else ldm(q + k * SIZE, width - k, 0.0)
            stm(to + k * SIZE, x - y if DIFFERENCE else x * y, width - k)


def of_pairs(call: Call, a: Place, b: Place, out: Place, difference: bool = False) -> bool:
    """Put ``a * b``, or ``a - b``, into a call; all are of `out`'s shape, which is in C order, strides of 0 repeat.
    False where that would be many runs."""
    size = out.dtype.itemsize
    axes = collapsed(out.shape, a.strides, b.strides, out.strides)
    if axes and (axes[-1][1] not in (0, size) or axes[-1][2] not in (0, size)):
        a, b = (x if axes[-1][side] in (0, size) else copy_of(call, x) for side, x in ((1, a), (2, b)))
        axes = collapsed(out.shape, a.strides, b.strides, out.strides)
    width, a_in, b_in, _ = axes.pop() if axes else (1, 0, 0, size)
    text = kernel(pairs, out.dtype, DIFFERENCE=difference, ONE_A=a_in == 0, ONE_B=b_in == 0)
    around: list[Sequence[int]] = [(1, 0, 0, 0), (1, 0, 0, 0), *axes]
    if math.prod(axis[0] for axis in around[:-2]) > MANY:
        return False
    count = width * around[-1][0] * around[-2][0]
    blocks = 1 if count < SEVERAL else max(1, min(16, count // BLOCK, around[-1][0] * around[-2][0]))
    for place in itertools.product(*(range(axis[0]) for axis in around[:-2])):
        at = [sum(i * axis[side] for i, axis in zip(place, around, strict=False)) for side in (1, 2, 3)]
        starts = [x.address(offset) for x, offset in zip((a, b, out), at, strict=True)]
        call.run(text, [*starts, width, *around[-1], *around[-2]], blocks)
    return True


def native_diff(call: Call) -> bool:
    """Differences of neighbours along an axis."""
    (x,), (out,) = call.inputs, call.outputs
    if not isinstance(x, Place) or x.dtype not in SINGLE_OR_DOUBLE or not call.attrs["n"]:
        return False
    if out is None or not out.size:
        return True
    k = canonical_axis(call.attrs["axis"], x.ndim)
    while x.shape[k] > out.shape[k]:
        shape = [n - (axis == k) for axis, n in enumerate(x.shape)]
        made = out if shape[k] == out.shape[k] else call.scratch(shape, x.dtype, "differences")
        if not of_pairs(call, x.over(shape, x.strides, x.strides[k]), x.over(shape, x.strides), made, True):
            return False
        x = made
    return True
