"""Convolution, and its gradients, as products of matrices.

The plan: (1) all is seen with three axes that windows slide over, those that are missing of size 1; (2) of as many
images as stay in the cache, what each window sees is laid out as a column (`columns`), or columns are added back to
where they came from (`scattered`); (3) one product of matrices a group gives the outputs, the gradient of the images or
that of the weights. Kernels of one element need no columns, and where they are compiled those of step 1 do without
them too: `tensorgraph.ops.kernels.convolution_rows`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgraph.jit import compiled
from tensorgraph.ops.kernels.columns import columns, scattered
from tensorgraph.ops.kernels.convolution_rows import back_by_rows, by_rows, suits_rows, weight_by_rows
from tensorgraph.ops.windows import Windows

__all__ = ["convolve", "convolve_back", "convolve_weight"]

# bytes of columns that are made at a time
CACHE = 1 << 21


def deep(win: Windows) -> Windows:
    """The same with three axes."""
    missing = 3 - len(win.sizes)
    ones, none = (1,) * missing, ((0, 0),) * missing
    return Windows(
        ones + win.sizes, ones + win.kernel, ones + win.stride, none + win.edges, ones + win.dilation,
        ones + win.outputs,
    )  # fmt: skip


def _plain(win: Windows) -> bool:
    """Whether each element is a window of its own."""
    return all(k == s == 1 and e == (0, 0) for k, s, e in zip(win.kernel, win.stride, win.edges, strict=True))


def _pieces(images: int, column: int, itemsize: int) -> list[slice]:
    step = max(CACHE // max(column * itemsize, 1), 1)
    return [slice(i, min(i + step, images)) for i in range(0, images, step)]


def _side_by_side(y: Any, groups: int) -> Any:
    """(images, channels, *outputs) as (groups, channels of a group, images · outputs)."""
    return y.reshape(*y.shape[:2], -1).swapaxes(0, 1).reshape(groups, y.shape[1] // groups, -1)


def convolve(x: Any, w: Any, win: Windows, groups: int) -> Any:
    """y[n, o, p] = sum of x[n, i, p·stride + k·dilation - edge]·w[o, i, k] over i and k, of floats of one dtype."""
    n, count = x.shape[0], w.shape[0]
    pixels = math.prod(win.outputs)
    if not (x.size and w.size and pixels):
        return np.zeros((n, count, *win.outputs), x.dtype)
    matrix = w.reshape(groups, count // groups, -1)
    y = np.empty((n, count, pixels), x.dtype)
    if _plain(win):
        seen = x.reshape(n, groups, x.shape[1] // groups, pixels)
        np.matmul(matrix, seen, out=y.reshape(n, groups, count // groups, pixels))
        return y.reshape(n, count, *win.outputs)
    outputs, win = win.outputs, deep(win)
    x = x.reshape(*x.shape[:2], *win.sizes)
    if compiled() and suits_rows(win, x.dtype):
        return by_rows(x, w, win, groups).reshape(n, count, *outputs)
    for piece in _pieces(n, x.shape[1] * math.prod(win.kernel) * pixels, x.itemsize):
        part = np.matmul(matrix, columns(x[piece], win).reshape(groups, matrix.shape[2], -1))
        y[piece] = part.reshape(count, -1, pixels).swapaxes(0, 1)
    return y.reshape(n, count, *outputs)


def convolve_back(y: Any, w: Any, win: Windows, groups: int) -> Any:
    """The gradient of `convolve` in x, for y in the place of the output's cotangent."""
    n, count = y.shape[0], w.shape[0]
    channels, pixels = w.shape[1] * groups, math.prod(win.outputs)
    if not (y.size and w.size and math.prod(win.sizes)):
        return np.zeros((n, channels, *win.sizes), y.dtype)
    matrix = w.reshape(groups, count // groups, -1).swapaxes(1, 2)
    x = np.empty((n, channels, *win.sizes), y.dtype)
    if _plain(win):
        np.matmul(matrix, y.reshape(n, groups, -1, pixels), out=x.reshape(n, groups, -1, pixels))
        return x
    sizes, win = win.sizes, deep(win)
    if compiled() and suits_rows(win, y.dtype):
        by = back_by_rows(y.reshape(n, count, *win.outputs), w, win, groups)
        if by is not None:
            return by.reshape(n, channels, *sizes)
    y, whole = y.reshape(n, count, pixels), x.reshape(n, channels, *win.sizes)
    for piece in _pieces(n, channels * math.prod(win.kernel) * pixels, y.itemsize):
        seen = np.matmul(matrix, _side_by_side(y[piece], groups))
        whole[piece] = scattered(seen.reshape(channels, *win.kernel, -1, *win.outputs), win)
    return x


def convolve_weight(x: Any, y: Any, win: Windows, groups: int) -> Any:
    """The gradient of `convolve` in w, for y in the place of the output's cotangent."""
    (n, channels), count = x.shape[:2], y.shape[1]
    pixels, shape = math.prod(win.outputs), (count, channels // groups, *win.kernel)
    if not (x.size and y.size):
        return np.zeros(shape, x.dtype)
    wide = np.zeros(shape, np.result_type(x.dtype, np.float64)).reshape(groups, count // groups, -1)
    plain = _plain(win)
    win = deep(win)
    x = x.reshape(n, channels, *win.sizes)
    if not plain and compiled() and suits_rows(win, x.dtype):
        by = weight_by_rows(x, y.reshape(n, count, *win.outputs), win, groups)
        if by is not None:
            return by.reshape(shape)
    for piece in _pieces(n, channels * math.prod(win.kernel) * pixels, x.itemsize):
        seen = _side_by_side(x[piece], groups) if plain else columns(x[piece], win).reshape(groups, wide.shape[2], -1)
        wide += np.matmul(_side_by_side(y[piece], groups), seen.swapaxes(1, 2))
    return wide.reshape(shape).astype(x.dtype)
