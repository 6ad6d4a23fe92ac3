"""What kernels over rows of numbers share: the part of a block, settings, and arrays seen as rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from tensorgraph.engine.aval import canonical_axis
from tensorgraph.native.places import Address, Call, Place, bits_of
from tensorgraph.native.words import load_double, word_at
from tensorgraph.ops.native.joining import place_in
from tensorgraph.ops.native.moving import copy_of

__all__ = [
    "SINGLE_OR_DOUBLE",
    "Along",
    "as_rows",
    "each_of",
    "in_order",
    "output",
    "rows_of",
    "setting",
    "setting_words",
    "span_of",
]

SINGLE_OR_DOUBLE = (np.dtype(np.float32), np.dtype(np.float64))


# texts ---------------------------------------------------------------------------------------------------------------


def span_of(n: Any, block: Any, blocks: Any) -> Any:
    """Where a block of n numbers begins and ends: whole lines of the cache."""
    step = (n // 64 + blocks) // blocks * 64
    lo = min(block * step, n)
    return lo, min(lo + step, n)


def setting(w: Any, k: Any, inline: Any) -> Any:
    """The float64 whose address is at place k of the words; the one that is there itself where `inline`."""
    return load_double(w + 8 * k if inline else word_at(w, k))


# rules ---------------------------------------------------------------------------------------------------------------


def setting_words(settings: Any) -> tuple[list[int | Address], int] | None:
    """The words of numbers that `setting` reads, and a bit of each that is inline; None of what is no single number.

    A setting is a 0-d float64, read when the kernel runs, or a Python number.
    """
    words: list[int | Address] = []
    inline = 0
    for k, given in enumerate(settings):
        if isinstance(given, Place):
            if given.shape or given.dtype != np.float64:
                return None
            words.append(given.address())
        elif isinstance(given, (int, float, np.number)):
            words.append(bits_of(float(given), np.float64))
            inline |= 1 << k
        else:
            return None
    return words, inline


def each_of(lead: tuple[int, ...], *given: Any) -> Iterator[list[Any]]:
    """The parts of arrays in C order, a part for each index of their leading axes, or an array itself where it has
    none of these: it is one for all. What is no array stands for itself."""
    if not lead:
        yield list(given)
        return
    for k in range(math.prod(lead)):
        yield [
            a.over(a.shape[len(lead) :], a.strides[len(lead) :], k * (a.nbytes // math.prod(lead)))
            if isinstance(a, Place) and a.shape[: len(lead)] == lead
            else a
            for a in given
        ]


def output(call: Call, k: int, like: Place) -> Place:
    """An output of the call, or memory in its place where nobody reads it."""
    given = call.outputs[k]
    return call.scratch(like.shape, like.dtype) if given is None else given


def rows_of(x: Place) -> Place | None:
    """An array as rows along its last axis, whose numbers lie side by side; None where the axes before it are not one
    of equal strides, or the numbers lie apart."""
    if not x.ndim or (x.shape[-1] != 1 and x.strides[-1] != x.dtype.itemsize):
        return None
    rows, stride = 1, x.shape[-1] * x.dtype.itemsize
    for n, step in zip(reversed(x.shape[:-1]), reversed(x.strides[:-1]), strict=True):
        if n == 1:
            continue
        if rows == 1:
            rows, stride = n, step
        elif step == rows * stride:
            rows *= n
        else:
            return None
    return x.over((rows, x.shape[-1]), (stride, x.dtype.itemsize))


def in_order(call: Call, x: Any) -> Any:
    """An array in C order, which is copied where it has to be; None of none."""
    return x if x is None or x.is_contiguous else copy_of(call, x)


def as_rows(call: Call, x: Place) -> Place:
    """The like of any array, which is copied where it has to be."""
    rows = rows_of(x)
    if rows is None:
        rows = rows_of(copy_of(call, x))
        assert rows is not None
    return rows


class Along:
    """Arrays of one shape as rows along an axis: where it is not the last one they are copied, and results back.

    Attributes
    ----------
    is_moved : bool
        Whether rows are no rows in memory.
    """

    def __init__(self, call: Call, shape: tuple[int, ...], axis: int) -> None:
        k = canonical_axis(axis, len(shape))
        self.call, self.order = call, [*range(k), *range(k + 1, len(shape)), k]
        self.is_moved = math.prod(shape[k + 1 :]) != 1

    def turned(self, x: Place) -> Place:
        """An array with the axis last."""
        return x.transposed(self.order)

    def rows(self, x: Place) -> Place:
        """An array as rows."""
        return as_rows(self.call, self.turned(x))

    def room(self, out: Place) -> Place:
        """Where rows of an output are written, in C order."""
        return self.call.scratch(self.turned(out).shape, out.dtype) if self.is_moved else out

    def give(self, room: Place, out: Place) -> None:
        """Bring what was written there to its output."""
        if self.is_moved:
            place_in(self.call, room.transposed(np.argsort(self.order).tolist()), out)
