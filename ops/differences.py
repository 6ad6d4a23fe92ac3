"""Differences of neighbours along an axis, slopes and areas made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgraph.engine.aval import Aval, canonical_axis
from tensorgraph.engine.batching import shifted
from tensorgraph.engine.declare import op
from tensorgraph.engine.functions import function, static
from tensorgraph.engine.op import Op, scan
from tensorgraph.engine.tensor import Tensor
from tensorgraph.ops import reduction, scans, shape
from tensorgraph.ops.creation import canonical_size
from tensorgraph.ops.moving import of
from tensorgraph.ops.shape import pad
from tensorgraph.ops.statistics import float_of

__all__: list[str] = []

TensorLike = Any
Axes = int | Sequence[int]


def _diff(x: Any, *, n: int = 1, axis: int = -1) -> Any:
    k = canonical_axis(axis, x.ndim)
    n = min(canonical_size(n, "n"), x.shape[k])  # of nothing there are no differences, however often they are taken
    return np.diff(x, n, k) if n else x.copy()


def _diff_infer(x: Aval, *, n: int, axis: int) -> Aval:
    k, n = canonical_axis(axis, x.ndim), canonical_size(n, "n")
    return Aval(tuple(max(size - n, 0) if i == k else size for i, size in enumerate(x.shape)), x.dtype)


def _diff_x(g: Any, x_aval: Any, n: int, axis: int) -> Any:
    k, size = canonical_axis(axis, len(x_aval.shape)), x_aval.shape[axis]
    before, behind = (n, n) if size > n else (0, size)
    padded = pad(g, widths=tuple((before, behind) if i == k else (0, 0) for i in range(len(x_aval.shape))))
    if size <= n:
        return padded
    back = diff(padded, n=n, axis=k)
    return -back if n % 2 else back


diff: Op = op(
    "diff(x, *, n: int = 1, axis: int = -1)", _diff, scan, methods=("diff",), batch=shifted(),
    native="pairs:native_diff",
    infer_rule=_diff_infer, vjp=dict(x=_diff_x), traits=("linear",), flops=lambda x, *, n, axis: n * x.size,
    examples=(
        (((3, 4),), {}), (((5, 2),), dict(n=2, axis=0)), (((2, 3),), dict(n=3)), (((2, 0),), {}), (((3,), ), dict(n=0)),
    ),
    doc="""Each element less the one before it along an axis, `n` times; of booleans, whether they differ.

    >>> import tensorgraph as tg
    >>> tg.tensor([1.0, 4.0, 9.0]).diff()
    tensor([3., 5.], f32)
    """,
)  # fmt: skip


@function(numpy=(np.ediff1d,), computed=True, examples=(
    (((5,),), {}), (((2, 3),), {}), (((5,),), dict(to_end=1, to_begin=np.zeros(2, np.int8))),
))  # fmt: skip
def ediff1d(x: TensorLike, to_end: TensorLike | None = None, to_begin: TensorLike | None = None) -> Tensor:
    """Differences of neighbours among all elements in a row, with values before and after them."""
    x = of(x, "ediff1d: x")
    inside = diff.public(shape.reshape.public(x, shape=(x.size,)))
    if to_end is None and to_begin is None:
        return inside  # type: ignore[no-any-return]
    ends = [None if v is None else of(v, f"ediff1d: {n}") for v, n in ((to_begin, "to_begin"), (to_end, "to_end"))]
    before, behind = ([] if v is None else [shape.astype.public(v.reshape(-1), x.dtype)] for v in ends)
    return shape.concatenate.public([*before, inside, *behind], axis=0)  # type: ignore[no-any-return]


def _part(x: Any, axis: int, start: int | None, stop: int | None) -> Any:
    return x[(*(slice(None),) * axis, slice(start, stop))]


def _steps(spacing: Any, size: int, ndim: int, axis: int) -> Any:
    """The distances along an axis: a number or a tensor for one distance, else between neighbours, on that axis."""
    if isinstance(spacing, (int, float)) or spacing.ndim == 0:
        return spacing
    if spacing.shape != (size,):
        raise ValueError(f"gradient: places along an axis of size {size} have shape ({size},), got {spacing.shape}")
    steps = spacing[1:] - spacing[:-1]
    return shape.reshape.public(steps, shape=tuple(size - 1 if i == axis else 1 for i in range(ndim)))


def _slope(x: Tensor, h: Any, axis: int, edge: int) -> Tensor:
    """By the parabola through neighbours inside; at the ends by a line, or the parabola at the end."""
    one = not isinstance(h, Tensor) or h.ndim == 0
    before, behind = (h, h) if one else (_part(h, axis, None, -1), _part(h, axis, 1, None))
    left, middle, right = _part(x, axis, None, -2), _part(x, axis, 1, -1), _part(x, axis, 2, None)
    if one:
        inside = (right - left) / (2.0 * h)
    else:
        a = -behind / (before * (before + behind))
        b = (behind - before) / (before * behind)
        c = before / (behind * (before + behind))
        inside = a * left + b * middle + c * right
    ends = []
    for sign, at in ((1, (0, 1, 2)), (-1, (-1, -2, -3))):
        x0, x1 = (_part(x, axis, i, i + 1 or None) for i in at[:2])
        first = h if one else _part(h, axis, at[0], at[0] + 1 or None)
        if edge == 1:
            ends.append(sign * (x1 - x0) / first)
            continue
        x2 = _part(x, axis, at[2], at[2] + 1 or None)
        second = h if one else _part(h, axis, at[1], at[1] + 1 or None)
        a = -(2.0 * first + second) / (first * (first + second))
        b = (first + second) / (first * second)
        c = -first / (second * (first + second))
        ends.append(sign * (a * x0 + b * x1 + c * x2))
    return shape.concatenate.public([ends[0], inside, ends[1]], axis=axis)  # type: ignore[no-any-return]


@function(numpy=(np.gradient,), computed=True, examples=(
    (((5,),), {}), (((3, 4),), {}), (((3, 4), 2.0), dict(axis=1)), (((4, 3), 0.5, 2.0), {}),
    (((5,), static(np.array([0.0, 1.0, 3.0, 4.0, 7.0]))), {}),
    (((5,), static(np.array([0.0, 1.0, 3.0, 4.0, 7.0]))), dict(edge_order=2)),
))  # fmt: skip
def gradient(x: TensorLike, *spacing: TensorLike, axis: Axes | None = None, edge_order: int = 1) -> Any:
    """The slope of samples along each axis, by differences of neighbours: as NumPy's `gradient`.

    Derivatives of functions are `tensorgraph.grad`'s.

    Parameters
    ----------
    x : tensor
    *spacing : number or tensor
        The distance of samples for all axes, or one for each: a number, or the places along that axis.
    axis : int or sequence of int, optional
        All axes by default.
    edge_order : int
        Degree, 1 or 2, of the polynomial through the samples at the ends.

    Returns
    -------
    tensor, or tuple of tensors, one an axis

    Examples
    --------
    >>> import tensorgraph as tg
    >>> tg.gradient(tg.tensor([0.0, 1.0, 4.0, 9.0]))
    tensor([1., 2., 4., 5.], f32)
    """
    x = float_of(x, "gradient: x")
    given = range(x.ndim) if axis is None else (axis,) if isinstance(axis, (int, np.integer)) else axis
    axes = [canonical_axis(a, x.ndim) for a in given]
    if edge_order not in (1, 2):
        raise ValueError(f"gradient: edge_order must be 1 or 2, got {edge_order}")
    if len(spacing) not in (0, 1, len(axes)):
        raise ValueError(f"gradient: {len(spacing)} spacings for {len(axes)} axes")
    distances: list[Any] = list(spacing) if len(spacing) == len(axes) else [*(spacing or (1.0,))] * len(axes)
    slopes = []
    for k, h in zip(axes, distances, strict=True):
        if x.shape[k] <= edge_order:
            raise ValueError(f"gradient: axis {k} of shape {x.shape} needs {edge_order + 1} samples at least")
        places = h if isinstance(h, (int, float)) else float_of(h, "gradient: spacing")
        if isinstance(places, Tensor) and places.dtype != x.dtype:
            places = shape.astype.public(places, dtype=x.dtype.name)
        slopes.append(_slope(x, _steps(places, x.shape[k], x.ndim, k), k, edge_order))
    return slopes[0] if len(slopes) == 1 else tuple(slopes)


def _trapezoids(y: Any, x: Any, dx: float, axis: int, name: str) -> Tensor:
    """The area between each two neighbours along an axis."""
    y = float_of(y, f"{name}: y")
    k = canonical_axis(axis, y.ndim)
    means = (_part(y, k, 1, None) + _part(y, k, None, -1)) * 0.5
    if x is None:
        return means * dx  # type: ignore[no-any-return]
    places = of(x, f"{name}: x", (y,))
    if places.ndim == 1:
        steps = shape.reshape.public(diff.public(places), shape=tuple(-1 if i == k else 1 for i in range(y.ndim)))
    else:
        steps = diff.public(places, axis=k)
    return means * steps  # type: ignore[no-any-return]


@function(numpy=(getattr(np, "trapezoid", None),), also=("trapz",), computed=True, examples=(
    (((5,),), {}), (((3, 4), (4,)), {}), (((3, 4), (3, 4), 1.0, 0), {}), (((3, 4), None, 0.5, 0), {}),
))  # fmt: skip
def trapezoid(y: TensorLike, x: TensorLike | None = None, dx: float = 1.0, axis: int = -1) -> Tensor:
    """The area under samples along an axis, by trapezoids: at places `x`, or `dx` apart.

    >>> import tensorgraph as tg
    >>> tg.trapezoid([1.0, 2.0, 3.0])
    tensor(4., f32)
    """
    areas = _trapezoids(y, x, dx, axis, "trapezoid")
    return reduction.sum.public(areas, axis=axis)  # type: ignore[no-any-return]


@function(computed=True, examples=((((5,),), {}), (((3, 4), (4,)), {}), (((3, 4), None, 0.5, 0), {})))
def cumulative_trapezoid(y: TensorLike, x: TensorLike | None = None, dx: float = 1.0, axis: int = -1) -> Tensor:
    """The areas from the first sample up to each of the others, as `trapezoid`.

    >>> import tensorgraph as tg
    >>> tg.cumulative_trapezoid([1.0, 2.0, 3.0])
    tensor([1.5, 4. ], f32)
    """
    areas = _trapezoids(y, x, dx, axis, "cumulative_trapezoid")
    return scans.cumulative_sum.public(areas, axis=axis)  # type: ignore[no-any-return]
