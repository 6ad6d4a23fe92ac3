"""Rules of pools over one axis and two, without padding, and of their gradients where windows do not overlap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tensorgraph.native.kernel import kernel
from tensorgraph.native.places import Address, Call, Place
from tensorgraph.ops.native.edges import SINGLE_OR_DOUBLE
from tensorgraph.ops.native.moving import copy_of
from tensorgraph.ops.native.pooling_rows import fold, spread
from tensorgraph.ops.windows import Windows, windows

__all__ = ["max_pool", "max_pool_spread", "sum_pool", "sum_pool_spread"]


def _geometry(x: Sequence[int], given: Any) -> tuple[Windows, list[int]] | None:
    """What windows over the last axes of a shape are, and the words that say it."""
    axes = len(given["sizes"])
    if axes > 2:
        return None
    win = windows(tuple(x)[-axes:], given["sizes"], given["stride"], given["padding"], given["dilation"])
    if any(lo or hi for lo, hi in win.edges):
        return None
    pairs = [
        (1,) * (2 - axes) + tuple(values) for values in (win.sizes, win.outputs, win.kernel, win.stride, win.dilation)
    ]
    return win, [math.prod(tuple(x)[:-axes]), *[n for pair in pairs for n in pair]]


def _fits(*arrays: Any) -> bool:
    first = arrays[0]
    if not all(isinstance(a, Place) and a.dtype == first.dtype and a.size for a in arrays):
        return False
    return first.dtype in SINGLE_OR_DOUBLE


def _in_order(call: Call, a: Place) -> Place:
    return a if a.is_contiguous else copy_of(call, a)


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
    text = kernel(fold, x.dtype, MAX=maxima, PAIRS=_by_pairs(known[0]))
    call.run(text, [_in_order(call, x).address(), y.address(), *known[1]], _blocks(x.size))
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
    win, words = known
    spans = [(k - 1) * d + 1 for k, d in zip(win.kernel, win.dilation, strict=True)]
    if any(s < span for s, span in zip(win.stride, spans, strict=True)):
        return False  # windows overlap
    whole = win.kernel == win.stride and all(o * k == n for o, k, n in zip(win.outputs, win.kernel, win.sizes))
    side_by_side = whole and set(win.dilation) == {1}
    text = kernel(spread, x.dtype, MAX=bool(more), SIDE_BY_SIDE=side_by_side, PAIRS=_by_pairs(win))
    others: list[int | Address] = [_in_order(call, a).address() for a in more]
    call.run(text, [x.address(), _in_order(call, y).address(), *words, *(others or [0, 0])], _blocks(x.size))
    return True


def max_pool_spread(call: Call) -> bool:
    """`max_pool_spread`."""
    return _spread(call, *call.inputs)


def sum_pool_spread(call: Call) -> bool:
    """`sum_pool_spread`."""
    return _spread(call, *call.inputs)
