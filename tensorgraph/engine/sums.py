"""Sums that keep their digits whatever the axes and the layout in memory; every sum of the library is made here.

NumPy adds in pairs along the axis that is innermost in memory, where the rounding errors of n additions grow with the
logarithm of n, and one by one along all others, where they grow with n: a sum of 100,000 rows is off by a hundred
units in the last place. Here float64 is added in pairs along every axis. float32 is added in float64 and rounded once,
since of terms that cancel no sum is left but the rounding errors of their partial sums; compiled kernels do it for
large arrays, in the same digits: a sum rounds otherwise once in millions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgraph.engine import wide_sums
from tensorgraph.jit import compiled

__all__ = ["ALONE", "DEEP", "LARGE", "running", "total"]

Array = np.ndarray[Any, Any]
Step = Callable[[Array], Any]

_HALF, _SINGLE, _DOUBLE = np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64)
_reduce: Any = np.add.reduce
ndarray, float32 = np.ndarray, np.float32
builtin_sum = sum

# Numbers added one by one: so few are within 8 units in the last place even where all errors have one sign, which two
# such sums after one another are not; and how many rows are added to one in a round, or where it goes up evenly.
ALONE, AFTER, DEPTH, DEEP = 64, 32, 16, 20
# numbers of which there cannot be many in a row that NumPy adds one by one
FEW = 2 * ALONE
# numbers of float32 up to which Python adds them faster than NumPy, and NumPy at once faster than by a plan: along an
# axis, and all of them
TINY, SOME, SMALL = 16, 2048, 16384
# numbers of float32 from which the kernels are worth loading Numba, which takes 0.3 seconds once: below, what NumPy
# loses is some microseconds a sum
LARGE = 16384
# numbers innermost in memory from which it is faster to let NumPy sum them in pairs first
PAIRS = 64
# NumPy converts so many numbers at a time, and adds what comes of these one by one
BUFFER = 8192
# bytes of sums that grow together: half of the first cache
LANE = 8192

# How sums of a type, layout and axis are made is found once.
_plans: dict[Any, tuple[Step, ...]] = {}
MOST_PLANS = 2048


def total(x: Array, axis: Any = None, keepdims: bool = False, dtype: np.dtype[Any] | None = None) -> Any:
    """``np.add.reduce``, accurate for floats: see the head of this module.

    Parameters
    ----------
    x : ndarray
        Any dtype and layout; integers and booleans are NumPy's affair.
    axis : int, tuple of int or None
    keepdims : bool
    dtype : dtype, optional
        That of the sum. float16 is added in float32.

    Returns
    -------
    ndarray or NumPy scalar
        Within 8 units in the last place of the sum, or of a 64th of the sum of magnitudes where the terms cancel;
        of float32, finite also where partial sums would leave its range.
    """
    size = x.size
    if x.dtype is _SINGLE and (dtype is None or dtype is _SINGLE):
        if size <= TINY and axis is None and not keepdims:
            return float32(builtin_sum(x.ravel().tolist()))
        if size <= (SMALL if axis is None else SOME):
            y = _reduce(x, axis, _DOUBLE, None, keepdims)
            return y.astype(_SINGLE) if type(y) is ndarray else float32(y)
        if size >= LARGE and not x.flags.aligned:
            x = x.copy()
    elif size <= FEW and (dtype is None or dtype is x.dtype) and (x.dtype is _DOUBLE or x.dtype.kind != "f"):
        return _reduce(x, axis, dtype, None, keepdims)
    key = (x.shape, x.strides, x.dtype, axis, keepdims, dtype)
    steps = _plans.get(key)
    if steps is None:
        if len(_plans) >= MOST_PLANS:
            _plans.clear()
        steps = _plans[key] = _plan(*key)
    if not steps:
        return _reduce(x, axis, dtype, None, keepdims)
    for step in steps:
        x = step(x)
    return x


class _Sum:
    """NumPy's own sum."""

    __slots__ = ("axes", "dtype", "keepdims")

    def __init__(self, axes: Any, dtype: Any, keepdims: bool = True) -> None:
        self.axes, self.dtype, self.keepdims = axes, dtype, keepdims

    def __call__(self, x: Array) -> Any:
        return _reduce(x, self.axes, self.dtype, None, self.keepdims)


class _Round:
    """An axis of `groups` times `depth` times `lane` numbers, and a few more, becomes one of `groups` times `lane`."""

    __slots__ = ("apart", "axis", "dtype", "extra", "parts", "result", "tail")

    def __init__(self, axis: int, dtype: Any, shape: list[int], groups: int, depth: int, lane: int) -> None:
        before, n, behind = shape[:axis], shape[axis], shape[axis + 1 :]
        whole = groups * depth * lane
        self.dtype = dtype
        self.axis = axis if groups == 1 else axis + 1
        self.apart = (*before, depth, lane, *behind) if groups == 1 else (*before, groups, depth, lane, *behind)
        self.result = None if groups == 1 else (*before, groups * lane, *behind)
        every = (slice(None),) * axis
        self.parts = None if whole == n else (*every, slice(whole))
        self.tail, self.extra = (*every, slice(whole, None)), (*every, slice(n - whole))

    def __call__(self, x: Array) -> Any:
        # splitting an axis never copies, and what comes is laid out in the order of x
        y = _reduce((x if self.parts is None else x[self.parts]).reshape(self.apart), self.axis, self.dtype)
        if self.result is not None:
            y = y.reshape(self.result)
        if self.parts is not None:
            extra = y[self.extra]
            np.add(extra, x[self.tail], extra)
        return y


def _reshaping(shape: tuple[int, ...]) -> Step:
    return lambda x: x.reshape(shape)


def _blocks(n: int, row: int) -> tuple[int, int, int]:
    """Groups, depth and lane for n rows of so many bytes, such that what is left over is no more than a result."""
    most = LANE // row or 1
    for depth in range(32 if row >= LANE else DEEP, 7, -1):  # fewer rounds where rows are long
        if n % depth == 0:
            lane = next(k for k in range(min(most, n // depth), 0, -1) if n // depth % k == 0)
            if 2 * lane > most or lane * depth == n:
                return n // depth // lane, depth, lane
    groups = n // (DEPTH * most)
    if groups and n - groups * DEPTH * most <= groups * most:
        return groups, DEPTH, most
    lane = -(-n // DEPTH)
    return 1, n // lane, lane


def _plan(
    shape: tuple[int, ...], strides: tuple[int, ...], kind: np.dtype[Any], axis: Any, keepdims: bool, dtype: Any
) -> tuple[Step, ...]:
    """The steps of a sum; none where NumPy's own will do."""
    # The plan:
    # 1. the axes in the order in which NumPy walks them, outermost first: by their strides; axes that repeat one number
    #    stay where they are, and neighbours that are summed together are joined;
    # 2. what is summed innermost, NumPy adds in pairs; if all else is few numbers in a row, it may do all;
    # 3. else the pairs come first where they are many, and then axis after axis in rounds: a round adds up to 20 rows
    #    that are as far apart as a good part of the first cache, so that long rows of sums grow side by side;
    # 4. float32 takes the same steps in float64, or of a large array one of a kernel, before the axes that are left;
    # 5. the rest at once, and back to the order of axes and the dtype that were asked for.
    target = kind if dtype is None else dtype
    ndim = len(shape)
    axes = [*range(ndim)] if axis is None else [*axis] if type(axis) is tuple else [axis]
    if target.kind != "f" or not all(-ndim <= a < ndim for a in axes) or 0 in shape:
        return ()
    axes = [a % ndim for a in axes]
    if len({*axes}) < len(axes):
        return ()
    work = _SINGLE if target == _HALF else _DOUBLE if target == _SINGLE else target
    out = tuple(1 if i in axes else n for i, n in enumerate(shape) if keepdims or i not in axes)

    steps: list[Step] = []
    order = [i for i in range(ndim) if shape[i] > 1]
    sizes = [abs(strides[i]) for i in order if strides[i]]
    if sizes != sorted(sizes, reverse=True):
        if len(sizes) < len(order):  # numbers that are repeated and not in C order: which way NumPy walks is not told
            steps.append(np.ascontiguousarray)
            strides = tuple(kind.itemsize * math.prod(shape[i + 1 :]) for i in range(ndim))
        else:
            order.sort(key=lambda i: -abs(strides[i]))
    order += [i for i in range(ndim) if shape[i] == 1]
    kept = [i for i in order if i not in axes]
    last: list[Step] = []
    if kept != sorted(kept):
        back = tuple(kept.index(i) for i in sorted(kept))
        last.append(lambda x: x.transpose(back))
    if keepdims:
        last.append(_reshaping(out))
    if target != work:
        last.append(lambda x: x.astype(target))
    if kind == target == _SINGLE and math.prod(shape) >= LARGE and compiled():
        wide = _wide([i for i in order if shape[i] > 1], shape, strides, axes)
        if wide:
            return (*steps, *wide, _reshaping(tuple(shape[i] for i in kept)), *last)
    lengths = [shape[i] for i in order]
    counted = [i in axes for i in order]
    stride = [strides[i] for i in order]
    joined = False
    for i in range(ndim - 1, 0, -1):
        if counted[i] and counted[i - 1] and lengths[i] > 1 and stride[i - 1] == lengths[i] * stride[i]:
            lengths[i - 1] *= lengths[i]
            stride[i - 1] = stride[i]
            del lengths[i], counted[i], stride[i]
            joined = True

    inner = max((i for i, n in enumerate(lengths) if n > 1), default=0)
    pairs = lengths[inner] if lengths and counted[inner] else 1
    alone = math.prod([n for n, c in zip(lengths, counted, strict=True) if c]) // pairs
    if kind == _HALF:
        if alone == 1 and target == _HALF:  # NumPy adds the pairs of a row in float32
            return ()
        steps.append(lambda x: x.astype(_SINGLE))
    elif target == _DOUBLE != kind and pairs > BUFFER * DEPTH:
        pairs, alone = 1, alone * pairs
    if alone <= (ALONE if pairs == 1 else AFTER) and kind != _HALF:
        return () if work == target else (_Sum(axis, work, keepdims), lambda x: x.astype(target))
    if order != [*range(ndim)]:
        steps.append(lambda x: x.transpose(order))
    if joined:
        steps.append(_reshaping(tuple(lengths)))
    if pairs >= PAIRS and alone > AFTER:
        steps.append(_Sum(inner, work))
        lengths[inner] = 1
        # the results stand side by side: what is summed innermost now is added in pairs
        inner = max((i for i, n in enumerate(lengths) if n > 1), default=0)
        alone = alone // lengths[inner] if counted[inner] else alone
        pairs = lengths[inner] if counted[inner] else 1
    if alone > AFTER:
        for i in [i for i, c in enumerate(counted) if c and not (i == inner and pairs > 1)]:
            while lengths[i] > AFTER:
                blocks = _blocks(lengths[i], math.prod(lengths[i + 1 :]) * work.itemsize)
                steps.append(_Round(i, work, lengths, *blocks))
                lengths[i] = blocks[0] * blocks[2]
            alone = math.prod([n for k, (n, c) in enumerate(zip(lengths, counted, strict=True)) if c and k != inner])
            if alone > AFTER:
                steps.append(_Sum(i, work))
                lengths[i] = 1
    steps.append(_Sum(tuple(i for i, c in enumerate(counted) if c), work, False))
    return (*steps, *last)


def _wide(order: list[int], shape: tuple[int, ...], strides: tuple[int, ...], axes: list[int]) -> tuple[Step, ...]:
    """The steps of a kernel, from axes in the order in which they lie in memory; none where it has no form for them."""
    if any(strides[i] % _SINGLE.itemsize for i in order):
        return ()
    plan = wide_sums.planned(
        [shape[i] for i in order], [strides[i] // _SINGLE.itemsize for i in order], [i in axes for i in order]
    )
    if plan is None:
        return ()
    wide, rest = plan
    return (wide, lambda x: total(x, rest)) if rest else (wide,)


# numbers that are added one by one in a running sum: more are put together from sums of so many
RUN = 16


def running(x: Array, axis: int) -> Array:
    """``np.cumsum`` along an axis, each of whose sums is as accurate as `total`'s.

    Parameters
    ----------
    x : ndarray
        Floats narrower than float64 are added in float64.
    axis : int
        Not negative.

    Returns
    -------
    ndarray
        Of x's dtype, or of that which NumPy gives sums of integers.
    """
    if x.dtype.kind != "f":
        return np.cumsum(x, axis)
    if x.dtype.itemsize < 8:
        return np.cumsum(x, axis, np.float64).astype(x.dtype)
    n = x.shape[axis]
    if n <= 2 * RUN:
        return np.cumsum(x, axis)
    # sums within groups, and before each what the groups before it sum up to
    whole = n - n % RUN
    every = (slice(None),) * axis
    groups = x[(*every, slice(whole))].reshape(*x.shape[:axis], whole // RUN, RUN, *x.shape[axis + 1 :])
    out = np.empty(x.shape, x.dtype)
    inner = np.cumsum(groups, axis + 1)
    sums = running(inner.take(-1, axis + 1), axis)
    inner[(*every, slice(1, None))] += sums[(*every, slice(None, -1))][(*every, slice(None), None)]
    out[(*every, slice(whole))] = inner.reshape(*x.shape[:axis], whole, *x.shape[axis + 1 :])
    if whole < n:
        rest = np.cumsum(x[(*every, slice(whole, None))], axis)
        out[(*every, slice(whole, None))] = rest + sums[(*every, slice(-1, None))]
    return out
