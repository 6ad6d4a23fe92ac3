"""Sums and maxima over windows, and what gives them back to where they came from.

The plan: (1) all is seen as rows with three axes that windows slide over; (2) a line of outputs first takes together
what its windows see along the outer axes, which vectorises, and then along the last; (3) without a compiler the same
is done for all windows at once, an element of the window after the other.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgraph.jit import EXACT_ZERO, compiled, helper, kernel, share, uniform
from tensorgraph.ops.kernels.columns import inner, padded_sizes, tap
from tensorgraph.ops.kernels.convolution import deep
from tensorgraph.ops.windows import Windows

__all__ = ["max_gather", "max_pool", "max_spread", "sum_pool", "sum_spread"]

# seconds an element of a window
_COST = 1e-9


@kernel(flags=EXACT_ZERO)
def _maxima(x: Any, y: Any, geometry: Any, lo: int, hi: int) -> None:
    """Rows lo to hi; NaN wins. geometry: kernel, stride, dilation and border in front, three numbers each."""
    kd, kh, kw = geometry[0], geometry[1], geometry[2]
    sd, sh, sw = geometry[3], geometry[4], geometry[5]
    dd, dh, dw = geometry[6], geometry[7], geometry[8]
    line = np.empty(x.shape[3], x.dtype)
    for n in range(lo, hi):
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                line[:] = -np.inf
                for a in range(kd):
                    u = i * sd + a * dd - geometry[9]
                    if 0 <= u < x.shape[1]:
                        for b in range(kh):
                            v = j * sh + b * dh - geometry[10]
                            if 0 <= v < x.shape[2]:
                                row = x[n, u, v]
                                for k in range(line.size):
                                    p, q = line[k], row[k]
                                    line[k] = p if p >= q or p != p else q
                out = y[n, i, j]
                for k in range(out.size):
                    first = k * sw - geometry[11]
                    best = line[first] if 0 <= first < line.size else y.dtype.type(-np.inf)
                    for c in range(1, kw):
                        at = first + c * dw
                        if 0 <= at < line.size:
                            q = line[at]
                            best = best if best >= q or best != best else q
                    out[k] = best


@helper
def _inside(start: int, step: int, kernel: int, size: int) -> Any:
    """Which elements of a window that begins at `start` lie in the tensor: from the first to below the second."""
    first = (step - 1 - start) // step if start < 0 else 0
    last = (size - start + step - 1) // step if start < size else 0
    return first, min(kernel, last)


@kernel(flags=EXACT_ZERO)
def _spread_maxima(g: Any, x: Any, y: Any, out: Any, geometry: Any, lo: int, hi: int) -> None:
    """Each window's g to the elements that are its maximum, in equal shares."""
    dd, dh, dw = geometry[6], geometry[7], geometry[8]
    firsts = np.empty((y.shape[3], 3), np.int64)
    for k in range(y.shape[3]):
        start = k * geometry[5] - geometry[11]
        a, b = _inside(start, dw, geometry[2], x.shape[3])
        firsts[k, 0], firsts[k, 1], firsts[k, 2] = start, a, b
    for n in range(lo, hi):
        for i in range(y.shape[1]):
            u = i * geometry[3] - geometry[9]
            a0, a1 = _inside(u, dd, geometry[0], x.shape[1])
            for j in range(y.shape[2]):
                v = j * geometry[4] - geometry[10]
                b0, b1 = _inside(v, dh, geometry[1], x.shape[2])
                for k in range(y.shape[3]):
                    best, first, c0, c1 = y[n, i, j, k], firsts[k, 0], firsts[k, 1], firsts[k, 2]
                    count, fd, fh, fw = 0, 0, 0, 0
                    for a in range(a0, a1):
                        for b in range(b0, b1):
                            for c in range(c0, c1):
                                if x[n, u + a * dd, v + b * dh, first + c * dw] == best:
                                    count += 1
                                    fd, fh, fw = u + a * dd, v + b * dh, first + c * dw
                    if count == 1:
                        out[n, fd, fh, fw] += g[n, i, j, k]
                        continue
                    if best != best:
                        for a in range(a0, a1):
                            for b in range(b0, b1):
                                for c in range(c0, c1):
                                    q = x[n, u + a * dd, v + b * dh, first + c * dw]
                                    count += q != q
                    if count:
                        part = g[n, i, j, k] / count
                        for a in range(a0, a1):
                            for b in range(b0, b1):
                                for c in range(c0, c1):
                                    q = x[n, u + a * dd, v + b * dh, first + c * dw]
                                    if q == best or (q != q and best != best):
                                        out[n, u + a * dd, v + b * dh, first + c * dw] += part


@kernel(flags=EXACT_ZERO, apart=True)
def _spread_of_four(g: Any, x: Any, y: Any, out: Any, geometry: Any, lo: int, hi: int) -> None:
    """The like for windows of 2x2 side by side, without a branch."""
    zero, one = x.dtype.type(0), x.dtype.type(1)
    for n in range(lo, hi):
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                upper, lower, best, up = x[n, i, 2 * j], x[n, i, 2 * j + 1], y[n, i, j], g[n, i, j]
                above, below = out[n, i, 2 * j], out[n, i, 2 * j + 1]
                for k in range(best.size):
                    e = best[k]
                    p, q, r, s = upper[2 * k], upper[2 * k + 1], lower[2 * k], lower[2 * k + 1]
                    none = e != e
                    a, b = (p == e) | (none & (p != p)), (q == e) | (none & (q != q))
                    c, d = (r == e) | (none & (r != r)), (s == e) | (none & (s != s))
                    count = ((one if a else zero) + (one if b else zero)) + (
                        (one if c else zero) + (one if d else zero)
                    )
                    part = up[k] / count
                    above[2 * k], above[2 * k + 1] = part if a else zero, part if b else zero
                    below[2 * k], below[2 * k + 1] = part if c else zero, part if d else zero


@kernel(flags=EXACT_ZERO)
def _sums(x: Any, y: Any, geometry: Any, lo: int, hi: int) -> None:
    kd, kh, kw = geometry[0], geometry[1], geometry[2]
    sd, sh, sw = geometry[3], geometry[4], geometry[5]
    dd, dh, dw = geometry[6], geometry[7], geometry[8]
    # in float64, of which what is lost is kept
    line, lost = np.empty(x.shape[3], np.float64), np.empty(x.shape[3], np.float64)
    for n in range(lo, hi):
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                line[:] = 0.0
                lost[:] = 0.0
                for a in range(kd):
                    u = i * sd + a * dd - geometry[9]
                    if 0 <= u < x.shape[1]:
                        for b in range(kh):
                            v = j * sh + b * dh - geometry[10]
                            if 0 <= v < x.shape[2]:
                                row = x[n, u, v]
                                for k in range(line.size):
                                    old, v = line[k], np.float64(row[k])
                                    now = old + v
                                    own = now - old
                                    line[k] = now
                                    lost[k] += (old - (now - own)) + (v - own)
                out = y[n, i, j]
                for k in range(out.size):
                    first, total, rest = k * sw - geometry[11], 0.0, 0.0
                    for c in range(kw):
                        at = first + c * dw
                        if 0 <= at < line.size:
                            v = line[at]
                            now = total + v
                            own = now - total
                            rest += (total - (now - own)) + (v - own) + lost[at]
                            total = now
                    # an infinite sum has lost infinity minus infinity
                    out[k] = total + rest if total - total == 0.0 else total


@kernel(flags=EXACT_ZERO)
def _spread_sums(y: Any, x: Any, geometry: Any, lo: int, hi: int) -> None:
    """Each window's number to all elements that it sees."""
    kd, kh, kw = geometry[0], geometry[1], geometry[2]
    sd, sh, sw = geometry[3], geometry[4], geometry[5]
    dd, dh, dw = geometry[6], geometry[7], geometry[8]
    line = np.empty(x.shape[3], x.dtype)
    for n in range(lo, hi):
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                line[:] = 0.0
                given = y[n, i, j]
                for k in range(given.size):
                    first, value = k * sw - geometry[11], given[k]
                    for c in range(kw):
                        at = first + c * dw
                        if 0 <= at < line.size:
                            line[at] += value
                for a in range(kd):
                    u = i * sd + a * dd - geometry[9]
                    if 0 <= u < x.shape[1]:
                        for b in range(kh):
                            v = j * sh + b * dh - geometry[10]
                            if 0 <= v < x.shape[2]:
                                row = x[n, u, v]
                                for k in range(line.size):
                                    row[k] += line[k]


def _geometry(win: Windows) -> Any:
    return np.array([*win.kernel, *win.stride, *win.dilation, *(lo for lo, _ in win.edges)], np.int64)


def _rows(x: Any, sizes: tuple[int, ...]) -> Any:
    """An array as rows of three axes, as kernels take it."""
    return uniform(x, x.dtype).reshape(math.prod(x.shape[: x.ndim - len(sizes)]), *(1,) * (3 - len(sizes)), *sizes)


def _suits(x: Any) -> bool:
    return x.dtype.char in "fd" and x.size > 0 and compiled()


def _run(kernel: Any, args: tuple[Any, ...], win: Windows) -> None:
    rows = args[0].shape[0]
    cost = rows * math.prod(win.outputs) * math.prod(win.kernel) * _COST
    share(kernel, (*args, _geometry(win)), rows, cost)


def _lead(x: Any, win: Windows) -> Any:
    return tuple(x.shape[: x.ndim - len(win.sizes)])


def _bordered(x: Any, win: Windows, value: Any) -> Any:
    padded: Any = np.full((*_lead(x, win), *padded_sizes(win)), value, x.dtype)
    padded[(..., *inner(win))] = x
    return padded


def lowest(dtype: np.dtype[Any]) -> Any:
    """What no maximum is made of, unless there is nothing else."""
    return -np.inf if dtype.kind == "f" else np.iinfo(dtype).min


def max_pool(x: Any, win: Windows) -> Any:
    """The maximum of each window of the last axes."""
    y = np.empty((*_lead(x, win), *win.outputs), x.dtype)
    if _suits(x):
        _run(_maxima, (_rows(x, win.sizes), _rows(y, win.outputs)), deep(win))
        return y
    padded = _bordered(x, win, lowest(x.dtype))
    y[...] = lowest(x.dtype)
    for at in np.ndindex(win.kernel):
        np.maximum(y, padded[(..., *tap(win, at))], out=y)
    return y


def _ties(x: Any, y: Any, win: Windows) -> tuple[Any, Any]:
    """For each element of the windows whether it is the maximum, and how many are."""
    padded = _bordered(x, win, lowest(x.dtype) if x.dtype.kind != "f" else -np.inf)
    inside = _bordered(np.ones(x.shape, bool), win, False)
    nan = np.isnan(y)
    masks = []
    for at in np.ndindex(win.kernel):
        part = (..., *tap(win, at))
        seen = padded[part]
        masks.append(inside[part] & ((seen == y) | (nan & np.isnan(seen))))
    count = np.zeros(y.shape, np.int64)
    for mask in masks:
        count += mask
    return masks, np.maximum(count, 1)


def max_spread(g: Any, x: Any, y: Any, win: Windows) -> Any:
    """Each window's g in equal shares to those of its elements of x that are its maximum y."""
    if _suits(x) and g.size and g.dtype == x.dtype == y.dtype:
        out = np.zeros(x.shape, g.dtype)
        args = (_rows(g, win.outputs), _rows(x, win.sizes), _rows(y, win.outputs), _rows(out, win.sizes))
        whole = deep(win)
        four = (
            (1, 2, 2) == whole.kernel == whole.stride and whole.edges == ((0, 0),) * 3 and whole.dilation[1:] == (1, 1)
        )
        _run(_spread_of_four if four else _spread_maxima, args, whole)
        return out
    masks, count = _ties(x, y, win)
    padded: Any = np.zeros((*_lead(x, win), *padded_sizes(win)), g.dtype)
    part = (g / count).astype(g.dtype, copy=False)
    for at, mask in zip(np.ndindex(win.kernel), masks, strict=True):
        padded[(..., *tap(win, at))] += np.where(mask, part, 0)
    return np.ascontiguousarray(padded[(..., *inner(win))])


def max_gather(h: Any, x: Any, y: Any, win: Windows) -> Any:
    """Of each window the mean of h over those elements at which x is the window's maximum y."""
    masks, count = _ties(x, y, win)
    padded = _bordered(h, win, 0)
    sums = np.zeros(y.shape, h.dtype)
    for at, mask in zip(np.ndindex(win.kernel), masks, strict=True):
        sums += np.where(mask, padded[(..., *tap(win, at))], 0)
    return (sums / count).astype(h.dtype, copy=False)


def sum_pool(x: Any, win: Windows) -> Any:
    """The sum of each window of the last axes."""
    if _suits(x):
        y = np.empty((*_lead(x, win), *win.outputs), x.dtype)
        _run(_sums, (_rows(x, win.sizes), _rows(y, win.outputs)), deep(win))
        return y
    padded = _bordered(x, win, 0)
    y = np.zeros((*_lead(x, win), *win.outputs), np.longdouble if x.dtype == np.float64 else np.float64)
    for at in np.ndindex(win.kernel):
        y += padded[(..., *tap(win, at))]
    return y.astype(x.dtype)


def sum_spread(y: Any, win: Windows) -> Any:
    """Each window's number added to all elements that it sees."""
    if _suits(y) and all(win.sizes):
        x = np.zeros((*_lead(y, win), *win.sizes), y.dtype)
        _run(_spread_sums, (_rows(y, win.outputs), _rows(x, win.sizes)), deep(win))
        return x
    padded: Any = np.zeros((*_lead(y, win), *padded_sizes(win)), y.dtype)
    for at in np.ndindex(win.kernel):
        padded[(..., *tap(win, at))] += y
    return np.ascontiguousarray(padded[(..., *inner(win))])
