"""Reductions and scans that leave NaN out, composed of ops; no gradient comes to a NaN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgraph.engine.functions import function
from tensorgraph.engine.tensor import Tensor
from tensorgraph.ops import logic, reduction, scans, shape
from tensorgraph.ops.arithmetic import sqrt
from tensorgraph.ops.moving import of
from tensorgraph.ops.statistics import float_of
from tensorgraph.ops.structure import stop_gradient

__all__: list[str] = []

TensorLike = Any
Axes = int | Sequence[int]


def _filled(x: Tensor, value: float) -> Tensor:
    """With a number in the place of each NaN."""
    return logic.where.public(logic.isnan.public(x), value, x) if x.dtype.kind == "f" else x


def _numbers(x: Tensor, axis: Any, keepdims: bool, dtype: Any) -> Tensor:
    """How many are no NaN."""
    there = logic.logical_not.public(logic.isnan.public(x))
    n = reduction.sum.public(there, axis=axis, keepdims=keepdims)
    return shape.astype.public(n, dtype=np.result_type(dtype, np.float32).name)  # type: ignore[no-any-return]


@function(numpy=(np.nansum,), methods=("nansum",), computed=True, examples=((((3, 4),), {}), (((3, 4), 0), {})))
def nansum(x: TensorLike, axis: Axes | None = None, keepdims: bool = False) -> Tensor:
    """The sum over `axis` without the NaNs; 0 where there is nothing else.

    >>> import tensorgraph as tg
    >>> tg.nansum([1.0, float("nan"), 2.0])
    tensor(3., f32)
    """
    return reduction.sum.public(_filled(of(x, "nansum: x"), 0.0), axis=axis, keepdims=keepdims)  # type: ignore[no-any-return]


@function(numpy=(np.nanprod,), computed=True, examples=((((3, 4),), {}), (((3, 4), 0), {})))
def nanprod(x: TensorLike, axis: Axes | None = None, keepdims: bool = False) -> Tensor:
    """The product over `axis` without the NaNs; 1 where there is nothing else."""
    return reduction.prod.public(_filled(of(x, "nanprod: x"), 1.0), axis=axis, keepdims=keepdims)  # type: ignore[no-any-return]


@function(numpy=(np.nanmean,), methods=("nanmean",), computed=True, examples=((((3, 4),), {}), (((3, 4), 0), {})))
def nanmean(x: TensorLike, axis: Axes | None = None, keepdims: bool = False) -> Tensor:
    """The mean over `axis` of what is no NaN; NaN where there is nothing else.

    >>> import tensorgraph as tg
    >>> tg.nanmean([1.0, float("nan"), 2.0])
    tensor(1.5, f32)
    """
    return _mean(float_of(x, "nanmean: x"), axis, keepdims)


def _mean(x: Tensor, axis: Any, keepdims: bool) -> Tensor:
    narrow = x.dtype == np.float16
    wide = shape.astype.public(x, dtype="float32") if narrow else x
    n = _numbers(x, axis, keepdims, x.dtype)
    whole = reduction.sum.public(_filled(wide, 0.0), axis=axis, keepdims=keepdims)
    mean = logic.where.public(n > 0, whole / logic.where.public(n > 0, n, 1.0), np.nan)
    return shape.astype.public(mean, dtype="float16") if narrow else mean  # type: ignore[no-any-return]


@function(numpy=(np.nanvar,), computed=True, examples=((((3, 4),), {}), (((3, 4), 0), {})))
def nanvar(x: TensorLike, axis: Axes | None = None, keepdims: bool = False, correction: float = 0) -> Tensor:
    """The variance over `axis` of what is no NaN, divided by how many these are less `correction`.

    NaN where they are no more than `correction`.
    """
    return _variance(float_of(x, "nanvar: x"), axis, keepdims, correction)


def _variance(x: Tensor, axis: Any, keepdims: bool, correction: float) -> Tensor:
    kind = x.dtype
    x = shape.astype.public(x, dtype="float32") if kind == np.float16 else x
    gone = logic.isnan.public(x)
    n = _numbers(x, axis, True, x.dtype)
    some = logic.where.public(n > 0, n, 1.0)
    x = logic.where.public(gone, 0.0, x)
    # around a number near the mean first, whose own rounding the second mean takes away
    near = stop_gradient(reduction.sum.public(x, axis=axis, keepdims=True) / some)
    off = logic.where.public(gone, 0.0, x - near)
    off = off - reduction.sum.public(off, axis=axis, keepdims=True) / some
    squares = reduction.sum.public(logic.where.public(gone, 0.0, off * off), axis=axis, keepdims=keepdims)
    n = shape.reshape.public(n, shape=squares.shape) - correction
    out = logic.where.public(n > 0, squares / logic.where.public(n > 0, n, 1.0), np.nan)
    return shape.astype.public(out, dtype="float16") if kind == np.float16 else out  # type: ignore[no-any-return]


@function(numpy=(np.nanstd,), computed=True, examples=((((3, 4),), {}), (((3, 4), 0), {})))
def nanstd(x: TensorLike, axis: Axes | None = None, keepdims: bool = False, correction: float = 0) -> Tensor:
    """The root of `nanvar`; where all are equal its gradient is 0.

    >>> import tensorgraph as tg
    >>> tg.nanstd([1.0, float("nan"), 3.0])
    tensor(1., f32)
    """
    x = float_of(x, "nanstd: x")
    narrow = x.dtype == np.float16
    variance = _variance(shape.astype.public(x, dtype="float32") if narrow else x, axis, keepdims, correction)
    still = variance == 0.0
    out = logic.where.public(still, 0.0, sqrt.public(logic.where.public(still, 1.0, variance)))
    return shape.astype.public(out, dtype="float16") if narrow else out  # type: ignore[no-any-return]


def _extremum(x: Any, axis: Any, keepdims: bool, largest: bool, name: str) -> Tensor:
    x = of(x, f"{name}: x")
    reduce = (reduction.max if largest else reduction.min).public
    if x.dtype.kind != "f":
        return reduce(x, axis=axis, keepdims=keepdims)  # type: ignore[no-any-return]
    best = reduce(_filled(x, -np.inf if largest else np.inf), axis=axis, keepdims=keepdims)
    nothing = reduction.all.public(logic.isnan.public(x), axis=axis, keepdims=keepdims)
    return logic.where.public(nothing, np.nan, best)  # type: ignore[no-any-return]


@function(numpy=(np.nanmax,), computed=True, examples=((((3, 4),), {}), (((3, 4), 0), {})))
def nanmax(x: TensorLike, axis: Axes | None = None, keepdims: bool = False) -> Tensor:
    """The largest over `axis` of what is no NaN, whose gradient ties share; NaN where there is nothing else.

    >>> import tensorgraph as tg
    >>> tg.nanmax([1.0, float("nan"), 3.0])
    tensor(3., f32)
    """
    return _extremum(x, axis, keepdims, True, "nanmax")


@function(numpy=(np.nanmin,), computed=True, examples=((((3, 4),), {}), (((3, 4), 0), {})))
def nanmin(x: TensorLike, axis: Axes | None = None, keepdims: bool = False) -> Tensor:
    """The smallest over `axis` of what is no NaN, whose gradient ties share; NaN where there is nothing else."""
    return _extremum(x, axis, keepdims, False, "nanmin")


@function(numpy=(np.nancumsum,), computed=True, examples=((((3, 4),), {}), (((3, 4), 0), {})))
def nancumsum(x: TensorLike, axis: int | None = None) -> Tensor:
    """Sums of the first elements along an axis, to which a NaN adds nothing."""
    return scans.cumulative_sum.public(_filled(of(x, "nancumsum: x"), 0.0), axis=axis)  # type: ignore[no-any-return]


@function(numpy=(np.nancumprod,), computed=True, examples=((((3, 4),), {}), (((3, 4), 0), {})))
def nancumprod(x: TensorLike, axis: int | None = None) -> Tensor:
    """Products of the first elements along an axis, which a NaN leaves as they are."""
    return scans.cumulative_prod.public(_filled(of(x, "nancumprod: x"), 1.0), axis=axis)  # type: ignore[no-any-return]
