"""The three sums of convolution in other forms: composed of other ops, and an element of the kernel after the other."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgraph.ops.creation import arange, zeros
from tensorgraph.ops.reduction import sum
from tensorgraph.ops.shape import astype, pad, reshape
from tensorgraph.ops.windows import (
    Windows,
    convolution_windows,
    require_bias,
    result_dtype,
    summing_dtype,
    transposed_windows,
    weight_windows,
)

__all__ = ["oracle", "reference", "transposed_oracle", "transposed_reference", "weight_oracle", "weight_reference"]

# composed of other ops ----------------------------------------------------------------------------------------------


def places_of(win: Windows) -> tuple[Any, ...]:
    """For each axis where the windows' elements lie in the padded tensor, broadcast to (*kernel, *outputs)."""
    count, places = len(win.sizes), []
    for a in range(count):
        element, window = (arange.public(n) for n in (win.kernel[a], win.outputs[a]))
        element = reshape.public(element, shape=tuple(-1 if i == a else 1 for i in range(2 * count)))
        window = reshape.public(window, shape=tuple(-1 if i == a + count else 1 for i in range(2 * count)))
        places.append(element * win.dilation[a] + window * win.stride[a])
    return tuple(places)


def seen_by(x: Any, win: Windows, groups: int) -> Any:
    """(images, groups, what a window sees of a group, windows)."""
    if any(lo or hi for lo, hi in win.edges):
        x = pad.public(x, widths=((0, 0), (0, 0), *win.edges))
    seen = x[(slice(None), slice(None), *places_of(win))]
    return reshape.public(
        seen,
        shape=(x.shape[0], groups, x.shape[1] // groups * math.prod(win.kernel), math.prod(win.outputs)),
    )


def _in(kind: np.dtype[Any], *values: Any) -> tuple[Any, ...]:
    return tuple(v if v is None or v.dtype == kind else astype.public(v, dtype=kind.name) for v in values)


def _with_bias(y: Any, b: Any, kind: np.dtype[Any]) -> Any:
    if b is not None:
        y = y + reshape.public(b, shape=(-1, *(1,) * (y.ndim - 2)))
    return y if y.dtype == kind else astype.public(y, dtype=kind.name)


def reference(x: Any, w: Any, b: Any = None, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
               groups: Any = 1) -> Any:  # fmt: skip
    win, kind = convolution_windows(x, w, stride, padding, dilation, groups), result_dtype(x, w, b)
    require_bias(b, w.shape[0])
    x, w, b = _in(summing_dtype(kind), x, w, b)
    count = w.shape[0]
    matrix = reshape.public(w, shape=(groups, count // groups, math.prod(w.shape[1:])))
    y = reshape.public(matrix @ seen_by(x, win, groups), shape=(x.shape[0], count, *win.outputs))
    return _with_bias(y, b, kind)


def transposed_reference(
    y: Any, w: Any, b: Any = None, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: Any = 1,
    output_padding: Any = 0,
) -> Any:  # fmt: skip
    win, kind = transposed_windows(y, w, stride, padding, dilation, groups, output_padding), result_dtype(y, w, b)
    channels = w.shape[1] * groups
    require_bias(b, channels)
    y, w, b = _in(summing_dtype(kind), y, w, b)
    count, pixels = w.shape[0], math.prod(win.outputs)
    matrix = reshape.public(w, shape=(groups, count // groups, math.prod(w.shape[1:])))
    seen = matrix.mT @ reshape.public(y, shape=(y.shape[0], groups, count // groups, pixels))
    seen = reshape.public(seen, shape=(y.shape[0], channels, *win.kernel, *win.outputs))
    whole = tuple(lo + n + hi for n, (lo, hi) in zip(win.sizes, win.edges, strict=True))
    padded = zeros.public(shape=(y.shape[0], channels, *whole), dtype=y.dtype.name)
    padded = padded.at[(slice(None), slice(None), *places_of(win))].add(seen)
    inner = tuple(slice(lo, lo + n) for n, (lo, _) in zip(win.sizes, win.edges, strict=True))
    return _with_bias(padded[(slice(None), slice(None), *inner)], b, kind)


def weight_reference(
    x: Any, y: Any, *, sizes: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: Any = 1
) -> Any:
    win, kind = weight_windows(x, y, sizes, stride, padding, dilation, groups), result_dtype(x, y)
    x, y = _in(summing_dtype(kind), x, y)
    rows = reshape.public(y, shape=(y.shape[0], groups, y.shape[1] // groups, math.prod(win.outputs)))
    w = sum.public(rows @ seen_by(x, win, groups).mT, axis=0)
    w = reshape.public(w, shape=(y.shape[1], x.shape[1] // groups, *win.kernel))
    return w if w.dtype == kind else astype.public(w, dtype=kind.name)


def _by_taps(x: Any, w: Any, y: Any, win: Windows, groups: int) -> tuple[Any, Any, Any]:
    """All three sums, an element of the kernel after the other; the one of the three that is not given is made."""
    whole = tuple(lo + n + hi for n, (lo, hi) in zip(win.sizes, win.edges, strict=True))
    inner: Any = (..., *(slice(lo, lo + n) for n, (lo, _) in zip(win.sizes, win.edges, strict=True)))
    n = (y if x is None else x).shape[0]
    channels = w.shape[1] * groups if x is None else x.shape[1]
    count = y.shape[1] if w is None else w.shape[0]
    kind = np.result_type(*(v for v in (x, w, y) if v is not None))
    padded = np.zeros((n, channels, *whole), kind)
    if x is not None:
        padded[inner] = x
    result_y = np.zeros((n, count, *win.outputs), kind)
    result_w = np.zeros((count, channels // groups, *win.kernel), kind)
    for at in np.ndindex(win.kernel):
        tap: Any = tuple(
            slice(i * d, i * d + s * (o - 1) + 1, s)
            for i, d, s, o in zip(at, win.dilation, win.stride, win.outputs, strict=True)
        )
        for group in range(groups):
            i = slice(group * channels // groups, (group + 1) * channels // groups)
            o = slice(group * count // groups, (group + 1) * count // groups)
            if y is None:
                result_y[:, o] += np.einsum("ni...,oi->no...", padded[(slice(None), i, *tap)], w[(o, slice(None), *at)])
            elif x is None:
                padded[(slice(None), i, *tap)] += np.einsum("no...,oi->ni...", y[:, o], w[(o, slice(None), *at)])
            else:
                seen = padded[(slice(None), i, *tap)]
                axes = (0, *range(2, seen.ndim))
                place: Any = (o, slice(None), *at)
                result_w[place] = np.tensordot(y[:, o], seen, (axes, axes))
    return padded[inner], result_w, result_y


def oracle(x: Any, w: Any, b: Any = None, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
            groups: Any = 1) -> Any:  # fmt: skip
    y = _by_taps(x, w, None, convolution_windows(x, w, stride, padding, dilation, groups), groups)[2]
    return y if b is None else y + b.reshape(-1, *(1,) * (y.ndim - 2))


def transposed_oracle(
    y: Any, w: Any, b: Any = None, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: Any = 1,
    output_padding: Any = 0,
) -> Any:  # fmt: skip
    win = transposed_windows(y, w, stride, padding, dilation, groups, output_padding)
    x = _by_taps(None, w, y, win, groups)[0]
    return x if b is None else x + b.reshape(-1, *(1,) * (x.ndim - 2))


def weight_oracle(
    x: Any, y: Any, *, sizes: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: Any = 1
) -> Any:
    return _by_taps(x, None, y, weight_windows(x, y, sizes, stride, padding, dilation, groups), groups)[1]
