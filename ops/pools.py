"""Pools by the number of their axes, as they are usually called, and what is composed of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgraph.engine.functions import function, static
from tensorgraph.engine.tensor import Tensor
from tensorgraph.ops import creation, reduction, shape
from tensorgraph.ops.arithmetic import maximum, minimum
from tensorgraph.ops.logic import where
from tensorgraph.ops.moving import of
from tensorgraph.ops.pooling import max_pool, sum_pool
from tensorgraph.ops.windows import edges, per_axis, windows

__all__: list[str] = []

TensorLike = Any
Pairs = tuple[tuple[int, int], ...]


def _given(x: Any, count: int, name: str) -> Tensor:
    t = of(x, f"{name}: x")
    if t.ndim < count + 1:
        raise ValueError(f"{name}: x must have axes (..., channels, {count} of positions), got shape {t.shape}")
    return t


def _laid(
    x: Tensor, count: int, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> tuple[dict[str, Any], Pairs]:
    """The attributes of a pool, and the border that was asked for: `ceil_mode` makes that at the end wider."""
    sizes = x.shape[x.ndim - count :]
    k = per_axis(kernel, count, "kernel_size", 1)
    s = k if stride is None else per_axis(stride, count, "stride", 1)
    d = per_axis(dilation, count, "dilation", 1)
    asked = edges(padding, sizes, k, s, d)
    for (lo, hi), size, step in zip(asked, k, d, strict=True):
        if max(lo, hi) > step * (size - 1):
            raise ValueError(
                f"padding must be less than what a window spans, or windows see nothing, got {padding!r} for "
                f"kernel_size {kernel!r}"
            )
    pairs = asked
    if ceil_mode:
        wider = []
        for n, (lo, hi), size, step, by in zip(sizes, asked, k, d, s, strict=True):
            span = step * (size - 1) + 1
            more = max(-(-(n + lo + hi - span) // by), 0)
            if more * by >= n + lo:  # a window that begins behind the last element is none
                more -= 1
            wider.append((lo, max(hi, more * by + span - n - lo)))
        pairs = tuple(wider)
    windows(sizes, k, s, pairs, d)
    return dict(sizes=k, stride=s, padding=pairs, dilation=d), asked


def _brief(attrs: dict[str, Any]) -> dict[str, Any]:
    """The same in fewer words, as graphs print them: without what is usual, one number where all axes have one."""
    pairs = attrs["padding"]
    same = tuple(lo for lo, _ in pairs) if all(lo == hi for lo, hi in pairs) else pairs
    short = {"stride": attrs["stride"], "padding": same, "dilation": attrs["dilation"]}
    short = {name: value[0] if len({*value}) == 1 and type(value[0]) is int else value for name, value in short.items()}
    usual = {"stride": 1, "padding": 0, "dilation": 1}
    return {"sizes": attrs["sizes"], **{name: value for name, value in short.items() if value != usual[name]}}


def _max(count: int, x: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool) -> Tensor:
    t = _given(x, count, f"max_pool{count}d")
    attrs, _ = _laid(t, count, kernel, stride, padding, dilation, ceil_mode)
    return max_pool.public(t, **_brief(attrs))  # type: ignore[no-any-return]


@function(computed=True, examples=((((2, 3, 7), 3), dict(stride=2, padding=1)), (((2, 3, 6), 2), {})))
def max_pool1d(
    x: TensorLike,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | str | Sequence[int] | Sequence[Sequence[int]] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """`max_pool` of (..., channels, length); the stride is by default the window's size."""
    return _max(1, x, kernel_size, stride, padding, dilation, ceil_mode)


@function(
    computed=True,
    examples=(
        (((2, 3, 4, 6), 2), {}),
        (((2, 3, 5, 7), static((3, 2))), dict(stride=2, padding=1)),
        (((3, 5, 5), 2), dict(ceil_mode=True)),
    ),
)
def max_pool2d(
    x: TensorLike,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | str | Sequence[int] | Sequence[Sequence[int]] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """`max_pool` of (..., channels, height, width); the stride is by default the window's size.

    With `ceil_mode` the last windows may reach over the end, as long as they begin before it.

    >>> import tensorgraph as tg
    >>> tg.max_pool2d(tg.arange(16.0).reshape(1, 1, 4, 4), 2).tolist()
    [[[[5.0, 7.0], [13.0, 15.0]]]]
    """
    return _max(2, x, kernel_size, stride, padding, dilation, ceil_mode)


@function(computed=True, examples=((((2, 2, 4, 4, 2), 2), {}),))
def max_pool3d(
    x: TensorLike,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | str | Sequence[int] | Sequence[Sequence[int]] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """`max_pool` of (..., channels, depth, height, width); the stride is by default the window's size."""
    return _max(3, x, kernel_size, stride, padding, dilation, ceil_mode)


# means --------------------------------------------------------------------------------------------------------------


def _counts(attrs: dict[str, Any], sizes: tuple[int, ...], border: Pairs) -> Any:
    """How many elements of each window lie in the tensor or in the border that is counted; a number where all agree."""
    each: list[tuple[Any, int]] = []
    for n, k, s, (lo, hi), (before, after) in zip(
        sizes, attrs["sizes"], attrs["stride"], attrs["padding"], border, strict=True
    ):
        count = (n + lo + hi - k) // s + 1
        whole = lo <= before and (count - 1) * s - lo + k <= n + after
        if whole:
            each.append((k, 1))
            continue
        first = creation.arange.public(count) * s - lo
        each.append((minimum.public(first + k, n + after) - maximum.public(first, -before), count))
    total: Any = 1
    for a, (counts, size) in enumerate(each):
        if size > 1:
            counts = shape.reshape.public(counts, shape=(-1, *(1,) * (len(each) - 1 - a)))
        total = total * counts
    return total


def _average(
    count: int, x: Any, kernel: Any, stride: Any, padding: Any, ceil_mode: bool, include: bool, divisor: int | None
) -> Tensor:
    t = _given(x, count, f"avg_pool{count}d")
    if t.dtype.kind != "f":
        raise TypeError(f"avg_pool{count}d: x must be of floats, got {t.dtype}; convert with .astype('float32')")
    attrs, asked = _laid(t, count, kernel, stride, padding, 1, ceil_mode)
    counts = _counts(attrs, t.shape[t.ndim - count :], asked if include else ((0, 0),) * count)
    if divisor is not None:
        if divisor == 0:
            raise ValueError(f"avg_pool{count}d: divisor_override must not be 0")
        counts = divisor
    wide = t if t.dtype != np.float16 else shape.astype.public(t, dtype="float32")
    if tuple(attrs["sizes"]) == t.shape[t.ndim - count :] and all(pair == (0, 0) for pair in attrs["padding"]):
        sums = reduction.sum.public(wide, axis=tuple(range(t.ndim - count, t.ndim)), keepdims=True)  # one window
    else:
        sums = sum_pool.public(wide, **_brief(attrs))
    y = sums / (float(counts) if isinstance(counts, int) else shape.astype.public(counts, dtype=wide.dtype.name))
    return y if wide is t else shape.astype.public(y, dtype="float16")  # type: ignore[no-any-return]


@function(
    computed=True, examples=((((2, 3, 7), 3), dict(stride=2, padding=1, count_include_pad=False)), (((2, 3, 6), 2), {}))
)
def avg_pool1d(
    x: TensorLike,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | str | Sequence[int] | Sequence[Sequence[int]] = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window of (..., channels, length); the stride is by default the window's size."""
    return _average(1, x, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


@function(
    computed=True,
    examples=(
        (((2, 3, 4, 6), 2), {}),
        (((2, 3, 5, 7), static((3, 2))), dict(stride=2, padding=1, count_include_pad=False)),
        (((3, 5, 5), 2), dict(ceil_mode=True)),
        (((3, 5, 5), 2), dict(divisor_override=3)),
    ),
)
def avg_pool2d(
    x: TensorLike,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | str | Sequence[int] | Sequence[Sequence[int]] = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window of (..., channels, height, width); the stride is by default the window's size.

    What padding puts in counts as zeros, unless ``count_include_pad=False``; `divisor_override` is then divided by.

    >>> import tensorgraph as tg
    >>> tg.avg_pool2d(tg.arange(16.0).reshape(1, 1, 4, 4), 2).tolist()
    [[[[2.5, 4.5], [10.5, 12.5]]]]
    """
    return _average(2, x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


@function(computed=True, examples=((((2, 2, 4, 4, 2), 2), {}),))
def avg_pool3d(
    x: TensorLike,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | str | Sequence[int] | Sequence[Sequence[int]] = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window of (..., channels, depth, height, width); see `avg_pool2d`."""
    return _average(3, x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def _power(count: int, x: Any, norm_type: float, kernel: Any, stride: Any, ceil_mode: bool) -> Tensor:
    t = _given(x, count, f"lp_pool{count}d")
    whole = math.prod(per_axis(kernel, count, "kernel_size", 1))
    sums = _average(count, t**norm_type, kernel, stride, 0, ceil_mode, True, None) * float(whole)
    if norm_type <= 1.0:
        return sums ** (1.0 / norm_type)
    nothing = sums == 0.0  # a norm, whose derivative at 0 is 0
    return where.public(nothing, 0.0, where.public(nothing, 1.0, sums) ** (1.0 / norm_type))  # type: ignore[no-any-return]


@function(computed=True, examples=((((2, 3, 6), 2.0, 2), {}),))
def lp_pool1d(
    x: TensorLike,
    norm_type: float,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """``(sum of x^p)^(1/p)`` of each window of (..., channels, length); a part of one weighs as the whole.

    Where p is more than 1 it is a norm, whose derivative is 0 at 0.
    """
    return _power(1, x, norm_type, kernel_size, stride, ceil_mode)


@function(computed=True, examples=((((2, 3, 4, 6), 2.0, 2), {}),))
def lp_pool2d(
    x: TensorLike,
    norm_type: float,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """``(sum of x^p)^(1/p)`` of each window of (..., channels, height, width)."""
    return _power(2, x, norm_type, kernel_size, stride, ceil_mode)


# a number of windows that is given ----------------------------------------------------------------------------------


def _adaptive(count: int, x: Any, output_size: Any, largest: bool) -> Tensor:
    """Window i of m over n elements reaches from floor(i n / m) to below ceil((i + 1) n / m)."""
    name = f"adaptive_{'max' if largest else 'avg'}_pool{count}d"
    t = _given(x, count, name)
    sizes = t.shape[t.ndim - count :]
    given = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,) * count
    if len(given) != count:
        raise ValueError(f"{name}: output_size must be one integer or {count}, got {output_size!r}")
    wanted = tuple(
        n if m is None else per_axis(m, 1, f"{name}: output_size", 1)[0] for n, m in zip(sizes, given, strict=True)
    )
    if 0 in sizes:
        raise ValueError(f"{name}: x has nothing to pool, shape {t.shape}")
    if wanted == (1,) * count:
        axes = tuple(range(t.ndim - count, t.ndim))
        return (reduction.max if largest else reduction.mean).public(t, axis=axes, keepdims=True)  # type: ignore[no-any-return]
    if all(n % m == 0 for n, m in zip(sizes, wanted, strict=True)):
        kernel = tuple(n // m for n, m in zip(sizes, wanted, strict=True))
        if largest:
            return max_pool.public(t, sizes=kernel, stride=kernel)  # type: ignore[no-any-return]
        return _average(count, t, kernel, None, 0, False, True, None)
    places: list[Any] = []
    insides: list[Any] = []
    for a, (n, m) in enumerate(zip(sizes, wanted, strict=True)):
        first = creation.arange.public(m) * n // m
        stop = (creation.arange.public(m) * n + (n + m - 1)) // m
        longest = max(-(-(i + 1) * n // m) - i * n // m for i in range(m))
        at = shape.reshape.public(first, shape=(-1, 1)) + creation.arange.public(longest)
        spread = tuple(m if i == a else longest if i == a + count else 1 for i in range(2 * count))
        places.append(shape.reshape.public(minimum.public(at, n - 1), shape=spread))
        insides.append(shape.reshape.public(at < shape.reshape.public(stop, shape=(-1, 1)), shape=spread))
    inside = insides[0]
    for more in insides[1:]:
        inside = inside & more
    seen = t[(..., *places)]
    axes = tuple(range(seen.ndim - count, seen.ndim))
    if largest:
        return reduction.max.public(where.public(inside, seen, -np.inf), axis=axes)  # type: ignore[no-any-return]
    counts = reduction.sum.public(shape.astype.public(inside, dtype=t.dtype.name), axis=tuple(range(count, 2 * count)))
    return reduction.sum.public(where.public(inside, seen, 0.0), axis=axes) / counts  # type: ignore[no-any-return]


@function(computed=True, examples=((((2, 3, 7), 3), {}), (((2, 3, 6), 2), {})))
def adaptive_avg_pool1d(x: TensorLike, output_size: int | Sequence[int]) -> Tensor:
    """The means of so many windows over (..., channels, length), evenly spread."""
    return _adaptive(1, x, output_size, False)


@function(computed=True, examples=((((2, 3, 5, 7), static((2, 3))), {}), (((2, 3, 4, 6), 1), {})))
def adaptive_avg_pool2d(x: TensorLike, output_size: int | Sequence[int | None]) -> Tensor:
    """The means of so many windows over (..., channels, height, width), evenly spread; 1 pools all.

    None keeps an axis as it is.

    >>> import tensorgraph as tg
    >>> tg.adaptive_avg_pool2d(tg.ones((8, 3, 7, 5)), (2, None)).shape
    (8, 3, 2, 5)
    """
    return _adaptive(2, x, output_size, False)


@function(computed=True, examples=((((2, 2, 4, 4, 2), static((2, 2, 1))), {}),))
def adaptive_avg_pool3d(x: TensorLike, output_size: int | Sequence[int | None]) -> Tensor:
    """The means of so many windows over (..., channels, depth, height, width), evenly spread."""
    return _adaptive(3, x, output_size, False)


@function(computed=True, examples=((((2, 3, 7), 3), {}), (((2, 3, 6), 2), {})))
def adaptive_max_pool1d(x: TensorLike, output_size: int | Sequence[int]) -> Tensor:
    """The maxima of so many windows over (..., channels, length), evenly spread."""
    return _adaptive(1, x, output_size, True)


@function(computed=True, examples=((((2, 3, 5, 7), static((2, 3))), {}), (((2, 3, 4, 6), 1), {})))
def adaptive_max_pool2d(x: TensorLike, output_size: int | Sequence[int | None]) -> Tensor:
    """The maxima of so many windows over (..., channels, height, width), evenly spread; 1 pools all."""
    return _adaptive(2, x, output_size, True)


@function(computed=True, examples=((((2, 2, 4, 4, 2), static((2, 2, 1))), {}),))
def adaptive_max_pool3d(x: TensorLike, output_size: int | Sequence[int | None]) -> Tensor:
    """The maxima of so many windows over (..., channels, depth, height, width), evenly spread."""
    return _adaptive(3, x, output_size, True)
