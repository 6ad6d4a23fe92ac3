"""Images made larger and smaller, and their pixels put elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from tensorgraph.engine.functions import function, static
from tensorgraph.engine.tensor import Tensor
from tensorgraph.ops import creation, shape
from tensorgraph.ops.arithmetic import maximum, minimum
from tensorgraph.ops.convolution_forms import places_of, seen_by
from tensorgraph.ops.moving import of
from tensorgraph.ops.pools import _adaptive
from tensorgraph.ops.rounding import floor
from tensorgraph.ops.windows import per_axis, windows

__all__: list[str] = []

TensorLike = Any
Mode = Literal["nearest", "nearest-exact", "linear", "bilinear", "trilinear", "bicubic", "area"]
AXES = {"linear": 1, "bilinear": 2, "trilinear": 3, "bicubic": 2}
SHARP = -0.75  # the slope of the cubic kernel at 1 (Keys 1981 has -0.5); PyTorch's


def _whole(x: Any) -> Any:
    return shape.astype.public(floor.public(x), dtype="int64")


def _at(x: Tensor, places: Any, axis: int) -> Tensor:
    return x[(..., places, *(slice(None),) * (x.ndim - 1 - axis))]


def _along(x: Tensor, axis: int, size: int, scale: float, mode: str, align_corners: bool) -> Tensor:
    """One axis resampled: each new element is the sum of a few old ones by their distance."""
    n = x.shape[axis]
    steps = creation.arange.public(size, dtype="float64")
    if mode.startswith("nearest"):
        half = 0.5 if mode == "nearest-exact" else 0.0
        return _at(x, minimum.public(_whole((steps + half) * scale), n - 1), axis)
    if align_corners:
        place = steps * ((n - 1) / (size - 1) if size > 1 else 0.0)
    else:
        place = (steps + 0.5) * scale - 0.5
        place = place if mode == "bicubic" else maximum.public(place, 0.0)
    first = _whole(place)
    t = place - first
    if mode == "bicubic":
        # the piece of the cubic kernel near the middle, and the one further out
        near = [((SHARP + 2.0) * d - (SHARP + 3.0)) * d * d + 1.0 for d in (t, 1.0 - t)]
        far = [((d - 5.0) * d + 8.0) * d * SHARP - 4.0 * SHARP for d in (t + 1.0, 2.0 - t)]
        parts = [(-1, far[0]), (0, near[0]), (1, near[1]), (2, far[1])]
    else:
        parts = [(0, 1.0 - t), (1, t)]
    kind, y = x.dtype.name, None
    for offset, weight in parts:
        taken = _at(x, minimum.public(maximum.public(first + offset, 0), n - 1), axis)
        weight = shape.reshape.public(shape.astype.public(weight, dtype=kind), shape=(-1, *(1,) * (x.ndim - 1 - axis)))
        y = taken * weight if y is None else y + taken * weight
    return y  # type: ignore[return-value]


@function(
    computed=True,
    examples=(
        (((2, 3, 4, 5),), dict(scale_factor=2)),
        (((2, 3, 4, 5), static((3, 8))), dict(mode="bilinear")),
        (((2, 3, 4, 5), static((6, 7))), dict(mode="bilinear", align_corners=True)),
        (((1, 2, 4, 5), static((6, 7))), dict(mode="bicubic")),
        (((1, 2, 7), static((3,))), dict(mode="area")),
    ),
)
def interpolate(
    x: TensorLike,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: Literal["nearest", "nearest-exact", "linear", "bilinear", "trilinear", "bicubic", "area"] = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """(examples, channels, positions...) with other numbers of positions, as PyTorch has it.

    Give `size` or `scale_factor`. Elements are seen as areas whose middles lie half a step in; with `align_corners`
    (None counts as False) those at the ends keep their places. "nearest" takes the element at or before,
    "nearest-exact" the nearest one, "area" the mean of what becomes one.

    >>> import tensorgraph as tg
    >>> tg.interpolate([[[1.0, 2.0]]], scale_factor=2).tolist()
    [[[1.0, 1.0, 2.0, 2.0]]]
    >>> tg.interpolate([[[1.0, 2.0]]], size=4, mode="linear").tolist()
    [[[1.0, 1.25, 1.75, 2.0]]]
    """
    t = of(x, "interpolate: x")
    count = t.ndim - 2
    if count < 1:
        raise ValueError(f"interpolate: x must have axes (examples, channels, positions...), got shape {t.shape}")
    if AXES.get(mode, count) != count:
        raise ValueError(f"interpolate: mode {mode!r} is for {AXES[mode]} axes of positions, and x has shape {t.shape}")
    if (size is None) == (scale_factor is None):
        raise ValueError("interpolate: give size or scale_factor, one of them")
    if t.dtype.kind != "f" and not mode.startswith("nearest"):
        raise TypeError(f"interpolate: x must be of floats, got {t.dtype}; convert with .astype('float32')")
    old = t.shape[2:]
    if 0 in old:
        raise ValueError(f"interpolate: there is nothing to take, x has shape {t.shape}")
    if size is not None:
        new = per_axis(size, count, "size", 1)
        scales = tuple(n / m for n, m in zip(old, new, strict=True))
    else:
        factors: tuple[Any, ...] = (
            tuple(scale_factor) if isinstance(scale_factor, (tuple, list)) else (scale_factor,) * count
        )
        if len(factors) != count or not all(f is not None and 0 < f < math.inf for f in factors):
            raise ValueError(f"interpolate: scale_factor must be one positive number or {count}, got {scale_factor!r}")
        new = tuple(math.floor(n * f) for n, f in zip(old, factors, strict=True))
        if 0 in new:
            raise ValueError(f"interpolate: scale_factor {scale_factor!r} leaves nothing of shape {t.shape}")
        scales = tuple(1.0 / f for f in factors)
    if mode == "area":
        return _adaptive(count, t, new, False)
    for a in range(count):
        if new[a] != old[a] or (mode != "nearest" and scales[a] != 1.0):
            t = _along(t, a + 2, new[a], scales[a], mode, bool(align_corners))
    return t


@function(examples=((((2, 8, 2, 3), 2), {}),))
def pixel_shuffle(x: TensorLike, upscale_factor: int) -> Tensor:
    """(..., channels·r², height, width) as (..., channels, height·r, width·r). (Shi et al. 2016)

    >>> import tensorgraph as tg
    >>> tg.pixel_shuffle(tg.arange(4.0).reshape(4, 1, 1), 2).tolist()
    [[[0.0, 1.0], [2.0, 3.0]]]
    """
    t, (r,) = of(x, "pixel_shuffle: x"), per_axis(upscale_factor, 1, "pixel_shuffle: upscale_factor", 1)
    if t.ndim < 3 or t.shape[-3] % (r * r):
        raise ValueError(f"pixel_shuffle: axis -3 must be a multiple of {r * r}, got shape {t.shape}")
    *lead, c, h, w = t.shape
    k = len(lead)
    apart = shape.reshape.public(t, shape=(*lead, c // (r * r), r, r, h, w))
    apart = shape.transpose.public(apart, axes=(*range(k), k, k + 3, k + 1, k + 4, k + 2))
    return shape.reshape.public(apart, shape=(*lead, c // (r * r), h * r, w * r))  # type: ignore[no-any-return]


@function(examples=((((2, 3, 4, 6), 2), {}),))
def pixel_unshuffle(x: TensorLike, downscale_factor: int) -> Tensor:
    """What `pixel_shuffle` undoes: (..., channels, height·r, width·r) as (..., channels·r², height, width)."""
    t, (r,) = of(x, "pixel_unshuffle: x"), per_axis(downscale_factor, 1, "pixel_unshuffle: downscale_factor", 1)
    if t.ndim < 3 or t.shape[-1] % r or t.shape[-2] % r:
        raise ValueError(f"pixel_unshuffle: the last two axes must be multiples of {r}, got shape {t.shape}")
    *lead, c, h, w = t.shape
    k = len(lead)
    apart = shape.reshape.public(t, shape=(*lead, c, h // r, r, w // r, r))
    apart = shape.transpose.public(apart, axes=(*range(k), k, k + 2, k + 4, k + 1, k + 3))
    return shape.reshape.public(apart, shape=(*lead, c * r * r, h // r, w // r))  # type: ignore[no-any-return]


@function(examples=((((2, 6, 3), 2), {}),))
def channel_shuffle(x: TensorLike, groups: int) -> Tensor:
    """Channels, on axis 1, taken from the groups in turn. (Zhang et al. 2018)"""
    t, (g,) = of(x, "channel_shuffle: x"), per_axis(groups, 1, "channel_shuffle: groups", 1)
    if t.ndim < 2 or t.shape[1] % g:
        raise ValueError(f"channel_shuffle: groups must divide axis 1, got {groups} for shape {t.shape}")
    n, c, *rest = t.shape
    apart = shape.reshape.public(t, shape=(n, g, c // g, *rest))
    apart = shape.transpose.public(apart, axes=(0, 2, 1, *range(3, apart.ndim)))
    return shape.reshape.public(apart, shape=(n, c, *rest))  # type: ignore[no-any-return]


@function(
    computed=True, examples=((((2, 3, 4, 5), 2), {}), (((2, 3, 4, 5), static((2, 3))), dict(padding=1, stride=2)))
)
def im2col(
    x: TensorLike,
    kernel_size: int | Sequence[int],
    dilation: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    stride: int | Sequence[int] = 1,
) -> Tensor:
    """What windows see of (examples, channels, positions...), as (examples, channels·elements, windows).

    PyTorch's ``nn.functional.unfold``; here `unfold` is the method of tensors, windows along one axis.

    >>> import tensorgraph as tg
    >>> tg.im2col(tg.arange(9.0).reshape(1, 1, 3, 3), 2).tolist()
    [[[0.0, 1.0, 3.0, 4.0], [1.0, 2.0, 4.0, 5.0], [3.0, 4.0, 6.0, 7.0], [4.0, 5.0, 7.0, 8.0]]]
    """
    t = of(x, "im2col: x")
    if t.ndim < 3:
        raise ValueError(f"im2col: x must have axes (examples, channels, positions...), got shape {t.shape}")
    win = windows(t.shape[2:], kernel_size, stride, padding, dilation)
    seen = seen_by(t, win, 1)
    return shape.reshape.public(seen, shape=(t.shape[0], *seen.shape[2:]))  # type: ignore[no-any-return]


@function(
    examples=((((2, 12, 12), static((4, 5)), 2), {}), (((2, 12, 6), static((3, 4)), 2), dict(padding=1, stride=2)))
)
def col2im(
    x: TensorLike,
    output_size: Sequence[int],
    kernel_size: int | Sequence[int],
    dilation: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    stride: int | Sequence[int] = 1,
) -> Tensor:
    """The gradient of `im2col`: columns added back to where they were seen, PyTorch's ``nn.functional.fold``."""
    t = of(x, "col2im: x")
    win = windows(tuple(output_size), kernel_size, stride, padding, dilation)
    elements, count = math.prod(win.kernel), math.prod(win.outputs)
    if t.ndim != 3 or t.shape[1] % elements or t.shape[2] != count:
        raise ValueError(
            f"col2im: x must be (examples, channels·{elements}, {count}) for windows at {win.outputs} places, got "
            f"shape {t.shape}"
        )
    channels = t.shape[1] // elements
    seen = shape.reshape.public(t, shape=(t.shape[0], channels, *win.kernel, *win.outputs))
    whole = tuple(lo + n + hi for n, (lo, hi) in zip(win.sizes, win.edges, strict=True))
    padded = creation.zeros.public(shape=(t.shape[0], channels, *whole), dtype=t.dtype.name)
    padded = padded.at[(slice(None), slice(None), *places_of(win))].add(seen)
    inner = tuple(slice(lo, lo + n) for n, (lo, _) in zip(win.sizes, win.edges, strict=True))
    return padded[(slice(None), slice(None), *inner)]  # type: ignore[no-any-return]
