"""Searching among sorted numbers and among members, and interpolating between points."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.engine.aval import Aval
from tensorgraph.engine.batching import BatchCall, one_by_one
from tensorgraph.engine.declare import op
from tensorgraph.engine.functions import function, static
from tensorgraph.engine.op import index as indexing
from tensorgraph.engine.tensor import Tensor
from tensorgraph.ops.arithmetic import clip, remainder
from tensorgraph.ops.creation import zeros
from tensorgraph.ops.logic import equal, where
from tensorgraph.ops.moving import of, together
from tensorgraph.ops.shape import concatenate, flip
from tensorgraph.ops.sorting import argsort


def _of_sorted(call: BatchCall) -> Any:
    """All that is searched for at once, unless each example has numbers of its own to search in."""
    return one_by_one(call) if any(call.on[i] for i in range(len(call.on)) if i != _SOUGHT[call.op.name]) else call.run(
        *call.args
    )  # fmt: skip


_SOUGHT = {"searchsorted": 1, "isin": 0}


def _searchsorted(x1: Any, x2: Any, sorter: Any = None, *, side: str = "left") -> Any:
    _search_infer(*[None if a is None else Aval(a.shape, a.dtype) for a in (x1, x2, sorter)], side=side)
    order = None if sorter is None else sorter.astype(np.intp, copy=False)
    return np.asarray(np.searchsorted(x1, x2, side, order), np.int64)  # type: ignore[call-overload]


def _search_infer(x1: Aval | None, x2: Aval | None, sorter: Aval | None = None, *, side: str) -> Aval:
    assert x1 is not None and x2 is not None
    if side not in ("left", "right"):
        raise ValueError(f"side must be 'left' or 'right', got {side!r}")
    if x1.ndim != 1:
        raise ValueError(f"x1, in which is searched, must have one axis, got {x1}; for one an example, use tg.vmap")
    if sorter is not None and (sorter.shape != x1.shape or sorter.dtype.kind not in "iu"):
        raise ValueError(f"sorter must be the positions that sort x1, integers of the shape {x1.shape}, got {sorter}")
    return Aval(x2.shape, np.int64)


searchsorted = op(
    "searchsorted(x1, x2, sorter=None, *, side: str = 'left')", _searchsorted, indexing, infer_rule=_search_infer,
    dtype="int", batch=_of_sorted, methods=("searchsorted",), flops=lambda x1, x2, *rest, **attrs: x2.size * max(
        x1.size, 1).bit_length(),
    oracle=lambda x1, x2, sorter=None, *, side="left": np.searchsorted(x1, x2, side, sorter),
    examples=(
        ((np.array([0.0, 1.0, 1.0, 2.0]), np.array([[1.0, -1.0], [3.0, 0.5]])), {}),
        ((np.array([0.0, 1.0, 1.0, 2.0]), np.array([1.0, 2.0])), dict(side="right")),
        ((np.array([2.0, 0.0, 1.0]), np.array([1.5]), np.array([1, 2, 0])), {}),
        ((np.zeros(0), np.array([1.5])), {}),
    ),
    on_numpy="NumPy searches in what is sorted",
    doc="""Where in `x1`, one axis in ascending order, each element of `x2` would go.

    With `side` "left" before those equal to it, with "right" behind them; NaN counts as the largest. `sorter` holds the
    positions that sort x1, where it is not sorted. x2 may have any shape, which is that of the result. That x1 is
    sorted is not checked.

    >>> import tensorgraph as tg
    >>> tg.searchsorted([1.0, 2.0, 3.0], [2.0, 9.0])
    tensor([1, 3], i64)
    """,
)  # fmt: skip


def _isin(x1: Any, x2: Any, *, invert: bool = False) -> Any:
    return np.asarray(np.isin(x1, x2, invert=invert))


isin = op(
    "isin(x1, x2, *, invert: bool = False)", _isin, indexing, dtype="bool", batch=_of_sorted, numpy=(np.isin,),
    infer_rule=lambda x1, x2, *, invert: Aval(x1.shape, bool), methods=("isin",),
    flops=lambda x1, x2, *, invert: (x1.size + x2.size) * max(x2.size, 1).bit_length(),
    traits=("bounded above", "bounded below"),
    examples=(
        ((np.array([[1, 2], [3, 1]]), np.array([1, 5])), {}),
        ((np.array([0.5, 2.0]), np.array([2.0])), dict(invert=True)),
    ),
    on_numpy="NumPy searches in what is sorted",
    doc="""Which elements of `x1` are among those of `x2`; which are not, if `invert`. A NaN equals none.

    >>> import tensorgraph as tg
    >>> tg.isin([1, 2, 3], [3, 1])
    tensor([ True, False,  True], bool)
    """,
)  # fmt: skip


@function(
    numpy=(np.digitize,), computed=True,
    examples=(
        (((2, 3), static([-1.0, 0.0, 0.5])), {}), (((4,), static([1.0, 0.0, -0.5]), True), {}),
    ),
)  # fmt: skip
def digitize(x: Any, bins: Any, right: bool = False) -> Tensor:
    """The number of the interval of `bins`, in ascending or descending order, that each element lies in.

    i where bins[i - 1] <= x < bins[i], or bins[i - 1] < x <= bins[i] if `right`; in falling bins where
    bins[i - 1] > x >= bins[i], or bins[i - 1] >= x > bins[i]. That they are in order is not checked.
    """
    x, bins = of(x, "digitize: x", (bins,)), of(bins, "digitize: bins", (x,))
    rising = searchsorted.public(bins, x, side="left" if right else "right")
    if bins.ndim != 1 or bins.shape[0] < 2:
        return rising  # type: ignore[no-any-return]
    falling = bins.shape[0] - searchsorted.public(flip.public(bins, axis=0), x, side="left" if right else "right")
    return where.public(bins[0] <= bins[-1], rising, falling)  # type: ignore[no-any-return]


@function(examples=((((2, 3), static([-1.0, 0.0])), {}),), methods=("bucketize",), computed=True)
def bucketize(x: Any, boundaries: Any, right: bool = False) -> Tensor:
    """PyTorch's `searchsorted` with the arguments exchanged: how many `boundaries` lie below each element.

    Those equal to it count too if `right`, which is the opposite of what `digitize` means by the word.

    >>> import tensorgraph as tg
    >>> tg.bucketize([0.5, 1.0], [0.0, 1.0, 2.0])
    tensor([1, 1], i64)
    """
    return searchsorted.public(boundaries, x, side="right" if right else "left")  # type: ignore[no-any-return]


@function(
    examples=((((2, 3), static([-1.0, 0.0, 0.5]), (3,)), {}), (((4,), static([-1.0, 0.5]), (2,), 0.0), {})),
    computed=True,
)
def interp(
    x: Any, xp: Any, fp: Any, left: float | None = None, right: float | None = None, period: float | None = None
) -> Tensor:
    """The piecewise linear function through the points (xp, fp), at x.

    Parameters
    ----------
    x : tensor
        Where; any shape.
    xp, fp : tensor
        (n,): the points, xp in ascending order, which is not checked unless `period` is given: they are sorted then.
    left, right : float, optional
        The values before the first point and behind the last; theirs by default.
    period : float, optional
        Of x and xp.

    Notes
    -----
    Differentiable in x, xp and fp; at a point the slope is that of the line to its right. The first of points with one
    xp ends the line before, the last begins the next, as in NumPy.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> tg.interp(1.5, [1.0, 2.0], [10.0, 20.0])
    tensor(15., f32)
    """
    x, xp, fp = together("interp", x=x, xp=xp, fp=fp)
    if xp.ndim != 1 or xp.shape != fp.shape or not xp.size:
        raise ValueError(f"interp: xp and fp must be points, one axis of one size above 0, got {xp.aval} and {fp.aval}")
    if period is not None:
        if not period:
            raise ValueError("interp: period must not be 0")
        x, xp = remainder.public(x, abs(period)), remainder.public(xp, abs(period))
        order = argsort.public(xp)
        xp, fp = xp[order], fp[order]
        xp = concatenate.public([xp[-1:] - abs(period), xp, xp[:1] + abs(period)])
        fp = concatenate.public([fp[-1:], fp, fp[:1]])
    n = xp.shape[0]
    place = searchsorted.public(xp, x, side="right")
    if n == 1:
        value = fp[zeros.public(shape=x.shape, dtype="int64")] + x * 0.0
    else:
        i = clip.public(place - 1, 0, n - 2)
        x0, x1, y0, y1 = xp[i], xp[i + 1], fp[i], fp[i + 1]
        width = x1 - x0
        width = where.public(equal.public(width, 0), 1, width)
        slope = (y1 - y0) / width
        value = slope * (where.public((place > 0) & (place < n), x, x0) - x0) + y0
        value = where.public(place >= n, fp[-1], where.public(place == 0, fp[0], value))
        value = where.public(x != x, x, value)  # NaN sorts behind all
    if left is not None and period is None:
        value = where.public(x < xp[0], left, value)
    if right is not None and period is None:
        value = where.public(x > xp[-1], right, value)
    return value  # type: ignore[no-any-return]
