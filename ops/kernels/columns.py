"""What windows see, laid out as columns of a matrix, and columns added back to where they were seen.

NumPy does it for all windows of an element of the kernel in one statement. Adding them back is compiled: image after
image of a channel, which stays in the first cache, each element of the kernel adds a row of windows at a time; which
of them see the border, which is not stored, is found for a whole row at once.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgraph.jit import compiled, helper, kernel, share, uniform
from tensorgraph.ops.windows import Windows

__all__ = ["columns", "inner", "padded_sizes", "scattered", "tap"]

# seconds a number
_COST = 1e-9


@helper
def _first(at: int, step: int) -> int:
    """The first window whose element, at `at` in window 0, does not lie before the tensor."""
    return 0 if at >= 0 else -(at // step)


@helper
def _end(at: int, step: int, size: int, windows: int) -> int:
    """The window before which its element does not lie after the tensor."""
    return max(min((size - 1 - at) // step + 1, windows), 0)


@kernel(apart=True)
def _scatter(
    seen: Any, x: Any, sizes: Any, taps: Any, steps: Any, lows: Any, gaps: Any, windows: Any, images: int, lo: int,
    hi: int,
) -> None:  # fmt: skip
    """Columns of images lo to hi of all channels, one channel after the other, onto the zeros in x; both are flat."""
    depth, height, width = sizes[0], sizes[1], sizes[2]
    wd, wh, ww = windows[0], windows[1], windows[2]
    channels = x.size // (images * depth * height * width)
    step = steps[2]
    for r in range(lo, hi):
        c, n = r // images, r % images
        target = (n * channels + c) * depth * height * width
        for a in range(taps[0]):
            for b in range(taps[1]):
                for d in range(taps[2]):
                    row = ((((c * taps[0] + a) * taps[1] + b) * taps[2] + d) * images + n) * wd * wh * ww
                    left = d * gaps[2] - lows[2]
                    first = _first(left, step)
                    end = _end(left, step, width, ww)
                    for i in range(wd):
                        deep = i * steps[0] + a * gaps[0] - lows[0]
                        for j in range(wh):
                            high = j * steps[1] + b * gaps[1] - lows[1]
                            if (deep >= 0) & (deep < depth) & (high >= 0) & (high < height):
                                at = target + (deep * height + high) * width + left
                                if step == 1:
                                    for k in range(first, end):
                                        x[at + k] += seen[row + k]
                                else:
                                    for k in range(first, end):
                                        x[at + k * step] += seen[row + k]
                            row += ww


def _numbers(win: Windows) -> tuple[Any, ...]:
    parts = win.sizes, win.kernel, win.stride, [lo for lo, _ in win.edges], win.dilation, win.outputs
    return tuple(np.array(part, np.int64) for part in parts)


def columns(x: Any, win: Windows) -> Any:
    """What windows of three axes see: of x (images, channels, *sizes) as (channels, *kernel, images, *outputs)."""
    if any(lo or hi for lo, hi in win.edges):
        padded: Any = np.zeros((*x.shape[:2], *padded_sizes(win)), x.dtype)
        padded[(..., *inner(win))] = x
        x = padded
    out: Any = np.empty((x.shape[1], *win.kernel, x.shape[0], *win.outputs), x.dtype)
    for at in np.ndindex(win.kernel):
        out[(slice(None), *at)] = x[(..., *tap(win, at))].swapaxes(0, 1)
    return out


def scattered(columns: Any, win: Windows) -> Any:
    """What `columns` undoes: each number added to where it was seen, as (images, channels, *sizes)."""
    channels, images = columns.shape[0], columns.shape[4]
    if compiled() and columns.dtype.char in "fd":
        shape = (images, channels, *win.sizes)
        x: Any = np.zeros(math.prod(shape), columns.dtype)
        args = (uniform(columns, columns.dtype).reshape(-1), x, *_numbers(win), images)
        share(_scatter, args, images * channels, columns.size * _COST)
        return x.reshape(shape)
    padded: Any = np.zeros((images, channels, *padded_sizes(win)), columns.dtype)
    for at in np.ndindex(win.kernel):
        padded[(..., *tap(win, at))] += columns[(slice(None), *at)].swapaxes(0, 1)
    return padded[(..., *inner(win))]


def tap(win: Windows, at: tuple[int, ...]) -> tuple[slice, ...]:
    """Where an element of all windows lies in the padded tensor."""
    return tuple(
        slice(i * d, i * d + s * (o - 1) + 1, s)
        for i, d, s, o in zip(at, win.dilation, win.stride, win.outputs, strict=True)
    )


def inner(win: Windows) -> tuple[slice, ...]:
    """Where the tensor lies in the padded one."""
    return tuple(slice(lo, lo + n) for n, (lo, _) in zip(win.sizes, win.edges, strict=True))


def padded_sizes(win: Windows) -> tuple[int, ...]:
    return tuple(lo + n + hi for n, (lo, hi) in zip(win.sizes, win.edges, strict=True))
