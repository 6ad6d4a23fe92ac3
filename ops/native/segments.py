"""Rules of the largest and the smallest of rows that belong together."""

from __future__ import annotations

import math
from typing import Any

from tensorgraph.native.kernel import kernel
from tensorgraph.native.lowering import static
from tensorgraph.native.places import Address, Call, Place
from tensorgraph.native.words import ldm, least, load_int, most, stm, word_at
from tensorgraph.ops.native.edges import SINGLE_OR_DOUBLE
from tensorgraph.ops.native.gather import OUTSIDE
from tensorgraph.ops.native.joining import fill
from tensorgraph.ops.native.labels import integers_within
from tensorgraph.ops.native.moving import copy_of

__all__ = ["segment_max", "segment_min"]

LANES = SIZE = 0  # constants of every kernel
LARGEST = False  # of `extreme_rows`


def extreme_rows(w: Any, block: Any, blocks: Any) -> None:
    """Of rows, and what is at the places that they are numbered with, the larger or the smaller one."""
    count, columns, rows, ids, out = [word_at(w, k) for k in static(5)]
    for i in range(count):
        p, q = rows + i * columns * SIZE, out + load_int(ids + 8 * i) * columns * SIZE
        for j in range(0, columns, LANES):
            lanes = min(columns - j, LANES)
            now, x = ldm(q + j * SIZE, lanes, 0.0), ldm(p + j * SIZE, lanes, 0.0)
            if LARGEST:
                stm(q + j * SIZE, most(now, x), lanes)
            else:
                stm(q + j * SIZE, least(now, x), lanes)


def _extreme(call: Call, largest: bool) -> bool:
    (data, ids), (out,) = call.inputs, call.outputs
    if out is None or not isinstance(data, Place) or data.dtype not in SINGLE_OR_DOUBLE:
        return False
    ids = integers_within(call, ids, 0, call.attrs["num_segments"], OUTSIDE)
    if ids is None:
        return False
    data = data if data.is_contiguous else copy_of(call, data)
    fill(call, out, -math.inf if largest else math.inf)
    words: list[int | Address] = [data.shape[0], math.prod(data.shape[1:])]
    words += [data.address(), ids.address(), out.address()]
    call.run(kernel(extreme_rows, data.dtype, LARGEST=largest), words)
    return True


def segment_max(call: Call) -> bool:
    """The largest of the rows of each segment."""
    return _extreme(call, True)


def segment_min(call: Call) -> bool:
    """The smallest of the rows of each segment."""
    return _extreme(call, False)
