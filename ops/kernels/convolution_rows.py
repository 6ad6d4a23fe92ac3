"""Convolutions of step 1 as sums of shifted rows, without columns.

The plan: (1) an image is laid out with its border of zeros, one channel after the other; an element of the kernel then
reads what lies a fixed distance on, for all windows at once; (2) windows are counted along the bordered image, so that
between two rows of outputs there are some that nobody asks for, which are left out at the end, or stand for zeros where
outputs come in; (3) four channels of the output and four elements of the kernel make sixteen products a window in one
pass over a strip that stays in the first cache. The gradient of the images is the same with the kernel turned round;
that of the weights are sums of products of two rows, for each image alone, added up in `total`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgraph.engine.sums import total
from tensorgraph.jit import SUMS, helper, kernel, share
from tensorgraph.ops.windows import Windows

__all__ = ["back_by_rows", "by_rows", "suits_rows", "weight_by_rows"]

# windows in a strip: eight of them, of floats, are 32 kilobytes
STRIP = 1024
# windows computed for one that is asked for, at most: small images with wide borders go as columns
WASTE = 2.0
# numbers of the weight's gradients of single images, at most
PARTIAL = 1 << 22
# seconds a product, by the bytes of a number
_COST = {4: 0.04e-9, 8: 0.08e-9}


@helper(inline=False)
def _lay(image: Any, first: int, buffer: Any, lows: Any, whole: Any) -> None:
    """The channels of an image from `first` on into the middle of the bordered one."""
    plane = whole[0] * whole[1] * whole[2]
    for c in range(buffer.size // plane):
        for i in range(image.shape[1]):
            for j in range(image.shape[2]):
                at = c * plane + ((i + lows[0]) * whole[1] + j + lows[1]) * whole[2] + lows[2]
                row = image[first + c, i, j]
                for k in range(row.size):
                    buffer[at + k] = row[k]


@helper(apart=True)
def _one(a: Any, p: Any, q: Any, r: Any, s: Any, wa: Any, t: int) -> None:
    a0, a1, a2, a3 = wa[t], wa[t + 1], wa[t + 2], wa[t + 3]
    for i in range(a.size):
        a[i] += a0 * p[i] + a1 * q[i] + (a2 * r[i] + a3 * s[i])


@helper(apart=True)
def _two(a: Any, b: Any, p: Any, q: Any, r: Any, s: Any, wa: Any, wb: Any, t: int) -> None:
    a0, a1, a2, a3 = wa[t], wa[t + 1], wa[t + 2], wa[t + 3]
    b0, b1, b2, b3 = wb[t], wb[t + 1], wb[t + 2], wb[t + 3]
    for i in range(a.size):
        e, f, u, v = p[i], q[i], r[i], s[i]
        a[i] += a0 * e + a1 * f + (a2 * u + a3 * v)
        b[i] += b0 * e + b1 * f + (b2 * u + b3 * v)


@helper(apart=True)
def _sixteen(
    a: Any, b: Any, c: Any, d: Any, p: Any, q: Any, r: Any, s: Any, wa: Any, wb: Any, wc: Any, wd: Any, t: int
) -> None:
    """Four rows of sums, four elements of the kernel; what is read may overlap, as nothing is written there."""
    a0, a1, a2, a3 = wa[t], wa[t + 1], wa[t + 2], wa[t + 3]
    b0, b1, b2, b3 = wb[t], wb[t + 1], wb[t + 2], wb[t + 3]
    c0, c1, c2, c3 = wc[t], wc[t + 1], wc[t + 2], wc[t + 3]
    d0, d1, d2, d3 = wd[t], wd[t + 1], wd[t + 2], wd[t + 3]
    for i in range(a.size):
        e, f, u, v = p[i], q[i], r[i], s[i]
        a[i] += a0 * e + a1 * f + (a2 * u + a3 * v)
        b[i] += b0 * e + b1 * f + (b2 * u + b3 * v)
        c[i] += c0 * e + c1 * f + (c2 * u + c3 * v)
        d[i] += d0 * e + d1 * f + (d2 * u + d3 * v)


@kernel(apart=True)
def _sum_rows(x: Any, w: Any, y: Any, lows: Any, whole: Any, steps: Any, lo: int, hi: int) -> None:
    """Images lo to hi. w (outputs, elements of the kernel over all channels), `steps` where those read."""
    elements = w.shape[1]
    groups = (x.shape[1] * whole[0] * whole[1] * whole[2]) // steps[elements]
    own = w.shape[0] // groups
    span = ((y.shape[2] - 1) * whole[1] + y.shape[3] - 1) * whole[2] + y.shape[4]
    buffer = np.zeros(steps[elements], x.dtype)
    sums = np.empty((4, span), x.dtype)
    for n in range(lo, hi):
        for g in range(groups):
            _lay(x[n], g * (x.shape[1] // groups), buffer, lows, whole)
            o, end = g * own, (g + 1) * own
            while o < end:
                many = min(end - o, 4)
                wa, wb, wc, wd = w[o], w[min(o + 1, end - 1)], w[min(o + 2, end - 1)], w[min(o + 3, end - 1)]
                for start in range(0, span, STRIP):
                    stop = min(start + STRIP, span)
                    a, b, c, d = sums[0, start:stop], sums[1, start:stop], sums[2, start:stop], sums[3, start:stop]
                    a[:] = 0.0
                    b[:] = 0.0
                    c[:] = 0.0
                    d[:] = 0.0
                    t = 0
                    while t + 4 <= elements:
                        p = buffer[steps[t] + start : steps[t] + stop]
                        q = buffer[steps[t + 1] + start : steps[t + 1] + stop]
                        r = buffer[steps[t + 2] + start : steps[t + 2] + stop]
                        s = buffer[steps[t + 3] + start : steps[t + 3] + stop]
                        if many == 1:
                            _one(a, p, q, r, s, wa, t)
                        elif many == 2:
                            _two(a, b, p, q, r, s, wa, wb, t)
                        else:
                            _sixteen(a, b, c, d, p, q, r, s, wa, wb, wc, wd, t)
                        t += 4
                    while t < elements:
                        p = buffer[steps[t] + start : steps[t] + stop]
                        a0, b0, c0, d0 = wa[t], wb[t], wc[t], wd[t]
                        if many == 1:
                            for i in range(stop - start):
                                a[i] += a0 * p[i]
                        else:
                            for i in range(stop - start):
                                e = p[i]
                                a[i] += a0 * e
                                b[i] += b0 * e
                                c[i] += c0 * e
                                d[i] += d0 * e
                        t += 1
                for k in range(many):
                    line = sums[k]
                    for i in range(y.shape[2]):
                        for j in range(y.shape[3]):
                            at = (i * whole[1] + j) * whole[2]
                            row = y[n, o + k, i, j]
                            for h in range(row.size):
                                row[h] = line[at + h]
                o += many


@helper(flags=SUMS)
def _products(a: Any, b: Any, c: Any, d: Any, p: Any, q: Any, r: Any, z: Any) -> Any:
    """The sums of the products of four rows with four."""
    ap = bp = cp = dp = aq = bq = cq = dq = p.dtype.type(0)
    ar = br = cr = dr = az = bz = cz = dz = p.dtype.type(0)
    for i in range(p.size):
        e, f, u, v = p[i], q[i], r[i], z[i]
        ap += a[i] * e
        bp += b[i] * e
        cp += c[i] * e
        dp += d[i] * e
        aq += a[i] * f
        bq += b[i] * f
        cq += c[i] * f
        dq += d[i] * f
        ar += a[i] * u
        br += b[i] * u
        cr += c[i] * u
        dr += d[i] * u
        az += a[i] * v
        bz += b[i] * v
        cz += c[i] * v
        dz += d[i] * v
    return ap, bp, cp, dp, aq, bq, cq, dq, ar, br, cr, dr, az, bz, cz, dz


@helper(flags=SUMS)
def _four(a: Any, b: Any, c: Any, d: Any, p: Any) -> Any:
    """The like with one."""
    ap = bp = cp = dp = p.dtype.type(0)
    for i in range(p.size):
        e = p[i]
        ap += a[i] * e
        bp += b[i] * e
        cp += c[i] * e
        dp += d[i] * e
    return ap, bp, cp, dp


@kernel(apart=True)
def _multiply_rows(x: Any, y: Any, w: Any, lows: Any, whole: Any, steps: Any, lo: int, hi: int) -> None:
    """w (images, outputs, elements of the kernel over all channels): for images lo to hi."""
    outputs, elements = w.shape[1], w.shape[2]
    groups = (x.shape[1] * whole[0] * whole[1] * whole[2]) // steps[elements]
    own = outputs // groups
    span = ((y.shape[2] - 1) * whole[1] + y.shape[3] - 1) * whole[2] + y.shape[4]
    buffer = np.zeros(steps[elements], x.dtype)
    rows = np.zeros((own, span), x.dtype)
    for n in range(lo, hi):
        for g in range(groups):
            _lay(x[n], g * (x.shape[1] // groups), buffer, lows, whole)
            first = g * own
            for o in range(own):
                for i in range(y.shape[2]):
                    for j in range(y.shape[3]):
                        at = (i * whole[1] + j) * whole[2]
                        row = y[n, first + o, i, j]
                        for h in range(row.size):
                            rows[o, at + h] = row[h]
            for start in range(0, span, STRIP):
                stop = min(start + STRIP, span)
                for o in range(0, own, 4):
                    many = min(own - o, 4)
                    a, b = rows[o, start:stop], rows[min(o + 1, own - 1), start:stop]
                    c, d = rows[min(o + 2, own - 1), start:stop], rows[min(o + 3, own - 1), start:stop]
                    sums = w[n, first + o : first + o + many]
                    if many == 1:
                        for t in range(0, elements, 4):
                            some = min(elements - t, 4)
                            s, u, v = steps[t + min(1, some - 1)], steps[t + min(2, some - 1)], steps[t + some - 1]
                            p, q = buffer[steps[t] + start : steps[t] + stop], buffer[s + start : s + stop]
                            four = _four(p, q, buffer[u + start : u + stop], buffer[v + start : v + stop], a)
                            for k in range(some):
                                sums[0, t + k] += four[k]
                    else:
                        for t in range(0, elements, 4):
                            some = min(elements - t, 4)
                            s, u, v = steps[t + min(1, some - 1)], steps[t + min(2, some - 1)], steps[t + some - 1]
                            p, q = buffer[steps[t] + start : steps[t] + stop], buffer[s + start : s + stop]
                            r, z = buffer[u + start : u + stop], buffer[v + start : v + stop]
                            products = _products(a, b, c, d, p, q, r, z)
                            for k in range(some):
                                for m in range(many):
                                    sums[m, t + k] += products[4 * k + m]


def suits_rows(win: Windows, dtype: Any) -> bool:
    """Whether windows of three axes are summed by rows."""
    if win.stride != (1, 1, 1) or dtype.char not in "fd":
        return False
    _, height, width = _whole(win)
    span = ((win.outputs[0] - 1) * height + win.outputs[1] - 1) * width + win.outputs[2]
    return span <= WASTE * math.prod(win.outputs)


def _whole(win: Windows) -> tuple[int, ...]:
    return tuple(lo + n + hi for n, (lo, hi) in zip(win.sizes, win.edges, strict=True))


def _tables(win: Windows, channels: int) -> tuple[Any, Any, Any]:
    """The border in front, the bordered sizes, and where each element of the kernel reads; last a group's size."""
    whole = _whole(win)
    pitch = (whole[1] * whole[2], whole[2], 1)
    elements: Any = np.zeros(1, np.int64)
    for k, d, step in zip(win.kernel, win.dilation, pitch, strict=True):
        elements = (elements[:, None] + np.arange(k) * (d * step)).ravel()
    plane = math.prod(whole)
    steps = (np.arange(channels)[:, None] * plane + elements).ravel()
    lows = np.array([lo for lo, _ in win.edges], np.int64)
    return lows, np.array(whole, np.int64), np.append(steps, channels * plane)


def by_rows(x: Any, w: Any, win: Windows, groups: int) -> Any:
    """As `convolution.convolve`, of windows of three axes that `suits_rows`."""
    y = np.empty((x.shape[0], w.shape[0], *win.outputs), x.dtype)
    matrix = w.reshape(w.shape[0], -1)
    cost = y.size * matrix.shape[1] * _COST[x.itemsize]
    share(_sum_rows, (x, matrix, y, *_tables(win, x.shape[1] // groups)), x.shape[0], cost)
    return y


def back_by_rows(y: Any, w: Any, win: Windows, groups: int) -> Any:
    """As `convolution.convolve_back`; None where the weight's infinities would meet a border of zeros."""
    turned = tuple(
        (d * (k - 1) - lo, d * (k - 1) - hi) for d, k, (lo, hi) in zip(win.dilation, win.kernel, win.edges, strict=True)
    )
    other = Windows(win.outputs, win.kernel, win.stride, turned, win.dilation, win.sizes)
    if any(lo < 0 or hi < 0 for lo, hi in turned) or not suits_rows(other, y.dtype) or not np.isfinite(w).all():
        return None
    count, own = w.shape[:2]
    flipped = w.reshape(groups, count // groups, own, -1)[..., ::-1].swapaxes(1, 2)
    return by_rows(y, np.ascontiguousarray(flipped).reshape(groups * own, count // groups, -1), other, groups)


def weight_by_rows(x: Any, y: Any, win: Windows, groups: int) -> Any:
    """As `convolution.convolve_weight`, (outputs, elements of the kernel over a group's channels); None where a number
    that is not finite may have met a zero that stands for no window, and where it takes too much memory."""
    elements = x.shape[1] // groups * math.prod(win.kernel)
    images, size = x.shape[0], y.shape[1] * elements
    step = min(PARTIAL // size, images)
    if not step:
        return None
    tables = _tables(win, x.shape[1] // groups)
    sums: Any = 0.0
    for first in range(0, images, step):
        part = slice(first, first + step)
        w = np.zeros((len(x[part]), y.shape[1], elements), x.dtype)
        cost = y[part].size * elements * _COST[x.itemsize]
        share(_multiply_rows, (x[part], y[part], w, *tables), len(w), cost)
        sums = sums + total(w, 0, dtype=np.dtype(np.float64))
    return sums.astype(x.dtype) if np.isfinite(sums).all() else None
