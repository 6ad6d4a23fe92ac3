"""Rules of pools over one axis and two, and of their gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgraph.native.kernel import kernel
from tensorgraph.native.places import Address, Call, Place
from tensorgraph.ops.native.edges import SINGLE_OR_DOUBLE, in_order
from tensorgraph.ops.native.joining import fill, place_in
from tensorgraph.ops.native.pooling_rows import fold, spread, spread_over
from tensorgraph.ops.windows import Windows, windows

__all__ = ["max_pool", "max_pool_spread", "sum_pool", "sum_pool_spread"]

SHORT = 16  # numbers of a window that are added one by one


class _Geometry:
    """What windows over the last axes of a shape are, border included.

    Attributes
    ----------
    windows : Windows
        Over a tensor that has its border.
    lead : int
        How many planes there are.
    sizes, edges : tuple
        As of the tensor without border.
    words : list of int
        Planes, and two each of sizes, outputs, window, strides, dilations.
    """

    def __init__(self, shape: Sequence[int], given: Any) -> None:
        axes = len(given["sizes"])
        bare = windows(tuple(shape)[-axes:], given["sizes"], given["stride"], given["padding"], given["dilation"])
        self.sizes, self.edges, self.lead = bare.sizes, bare.edges, math.prod(tuple(shape)[:-axes])
        whole = tuple(lo + n + hi for n, (lo, hi) in zip(bare.sizes, bare.edges, strict=True))
        self.windows = win = windows(whole, given["sizes"], given["stride"], 0, given["dilation"])
        pairs = (win.sizes, win.outputs, win.kernel, win.stride, win.dilation)
        self.words = [self.lead, *(n for values in pairs for n in (1,) * (2 - axes) + tuple(values))]

    @property
    def has_border(self) -> bool:
        return self.windows.sizes != self.sizes

    @property
    def inside(self) -> list[int]:
        """Where what is no border begins, and how much of it there is: of two axes."""
        pairs = [(lo, n) for (lo, _), n in zip(self.edges, self.sizes, strict=True)]
        return [n for pair in [(0, 1)] * (2 - len(pairs)) + pairs for n in pair]

    def overlap(self) -> bool:
        """Whether windows have numbers in common."""
        win = self.windows
        spans = ((k - 1) * d + 1 for k, d in zip(win.kernel, win.dilation, strict=True))
        return any(s < span for s, span in zip(win.stride, spans, strict=True))

    def interior(self, room: Place) -> Place:
        """What is no border of an array with one, as planes."""
        offset = sum(lo * step for (lo, _), step in zip(self.edges, room.strides[1:], strict=True))
        return room.over((self.lead, *self.sizes), room.strides, offset)

    def planes(self, x: Place) -> Place:
        """A tensor without border in C order, as planes."""
        shape = (self.lead, *self.sizes)
        return x.over(shape, Place.new(shape, x.dtype).strides)

    def bordered(self, call: Call, x: Place, value: float) -> Place:
        """The tensor with its border, in C order."""
        x = in_order(call, x)
        if not self.has_border:
            return x
        room = call.scratch((self.lead, *self.windows.sizes), x.dtype, "with a border")
        fill(call, room, value)
        place_in(call, self.planes(x), self.interior(room))
        return room


def _geometry(x: Sequence[int], given: Any) -> _Geometry | None:
    return _Geometry(x, given) if len(given["sizes"]) <= 2 else None


def _fits(*arrays: Any) -> bool:
    first = arrays[0]
    if not all(isinstance(a, Place) and a.dtype == first.dtype and a.size for a in arrays):
        return False
    return first.dtype in SINGLE_OR_DOUBLE


def _blocks(numbers: int) -> int:
    return 4 if numbers > 50_000 else 1


def _by_pairs(win: Windows) -> bool:
    """Whether windows lie side by side along the last axis, with two numbers each."""
    return (win.kernel[-1], win.stride[-1], win.dilation[-1]) == (2, 2, 1)


def _fold(call: Call, maxima: bool) -> bool:
    (x,), (y,) = call.inputs, call.outputs
    if y is None or not _fits(x) or not y.size:
        return y is None
    known = _geometry(x.shape, call.attrs)
    if known is None:
        return False
    long = not maxima and math.prod(known.windows.kernel) > SHORT
    text = kernel(
        fold, x.dtype, MAX=maxima, PAIRS=not long and _by_pairs(known.windows), LONG=long,
        LOSS=long and x.dtype == np.float64,
    )  # fmt: skip
    given = known.bordered(call, x, -math.inf if maxima else 0.0)
    call.run(text, [given.address(), y.address(), *known.words], _blocks(x.size))
    return True


def max_pool(call: Call) -> bool:
    """`max_pool`."""
    return _fold(call, True)


def sum_pool(call: Call) -> bool:
    """`sum_pool`."""
    return _fold(call, False)


def _spread(call: Call, y: Place, *more: Place) -> bool:
    (x,) = call.outputs
    if x is None or not _fits(y, *more) or x.dtype != y.dtype:
        return x is None
    given = {name: value for name, value in call.attrs.items() if name != "extents"}
    known = _geometry(x.shape, given)
    if known is None:
        return False
    win, words, y = known.windows, known.words, in_order(call, y)
    if known.has_border or known.overlap():
        return _add(call, known, x, y, *more)
    whole = win.kernel == win.stride and all(o * k == n for o, k, n in zip(win.outputs, win.kernel, win.sizes))
    side_by_side = whole and set(win.dilation) == {1}
    text = kernel(spread, x.dtype, MAX=bool(more), SIDE_BY_SIDE=side_by_side, PAIRS=_by_pairs(win))
    others: list[int | Address] = [in_order(call, a).address() for a in more]
    call.run(text, [x.address(), y.address(), *words, *(others or [0, 0])], _blocks(x.size))
    return True


def _add(call: Call, known: _Geometry, x: Place, y: Place, *more: Place) -> bool:
    """Where a number is in several windows, or they reach into a border."""
    room = x
    if known.has_border:
        room = call.scratch((known.lead, *known.windows.sizes), x.dtype, "a gradient with a border")
    others: list[int | Address] = [0, 0]
    if more:
        values, best = more
        others = [known.bordered(call, values, 0.0).address(), in_order(call, best).address()]
    text = kernel(spread_over, x.dtype, MAX=bool(more))
    call.run(text, [room.address(), y.address(), *known.words, *others, *known.inside], _blocks(x.size))
    if known.has_border:
        place_in(call, known.interior(room), known.planes(x))
    return True


def max_pool_spread(call: Call) -> bool:
    """`max_pool_spread`."""
    return _spread(call, *call.inputs)


def sum_pool_spread(call: Call) -> bool:
    """`sum_pool_spread`."""
    return _spread(call, *call.inputs)
