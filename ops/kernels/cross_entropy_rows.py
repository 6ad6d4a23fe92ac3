"""Kernels of the softmax cross-entropy; formulas and drivers are in `cross_entropy`."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.jit import helper, kernel
from tensorgraph.ops.kernels.rows import CHUNK, NARROW, TILE, find, total
from tensorgraph.ops.kernels.scalar import exp_low, expm1
from tensorgraph.ops.kernels.softmax import normalizers

__all__ = ["backward_dense", "backward_index", "forward_dense", "forward_index", "forward_index_part"]


@helper
def _added(x: Any, s: Any, c: Any) -> Any:
    """Compensated sum: the new sum, and the new sum of what rounding lost."""
    t = s + x
    c += (s - t) + x if abs(s) >= abs(x) else (x - t) + s
    return t, c


@helper
def _whole(s: Any, c: Any) -> Any:
    # an infinite term makes the lost part NaN
    return s + c if c == c else s


@helper
def _sum_up(losses: Any, lo: int, hi: int) -> Any:
    s, c = np.float64(0.0), np.float64(0.0)
    for r in range(lo, hi):
        s, c = _added(np.float64(losses[r]), s, c)
    return _whole(s, c)


@helper(inline=False)
def _forward_index(
    x: Any, target: Any, weight: Any, ignores: bool, ignored: int, lse: Any, losses: Any, lo: int, hi: int
) -> Any:
    """Losses of rows with one class each; their sum, the divisor, and how many targets are out of range."""
    width = x.shape[1]
    normalizers(x, lse, lo, hi)
    divisor, lost = np.float64(0.0), np.float64(0.0)
    wrong = 0
    for r in range(lo, hi):
        k = target[r]
        if ignores and k == ignored:
            losses[r] = 0
        elif k < 0 or k >= width:
            losses[r] = np.nan
            wrong += 1
        else:
            w = weight[k] if weight.size else x.dtype.type(1)
            divisor, lost = _added(np.float64(w), divisor, lost)
            # -inf with a weight of 0 counts as 0
            l = (lse[0, r] - x[r, k]) + lse[1, r]
            losses[r] = 0 if w == 0 and l == np.inf else w * l
    return _sum_up(losses, lo, hi), _whole(divisor, lost), wrong


@kernel
def forward_index(
    x: Any, target: Any, weight: Any, ignores: bool, ignored: int, lse: Any, losses: Any, lo: int, hi: int
) -> Any:
    """All rows at once; what it sums up is returned."""
    return _forward_index(x, target, weight, ignores, ignored, lse, losses, lo, hi)


@kernel
def forward_index_part(
    x: Any,
    target: Any,
    weight: Any,
    ignores: bool,
    ignored: int,
    lse: Any,
    losses: Any,
    sums: Any,
    step: int,
    lo: int,
    hi: int,
) -> None:
    """A block of `step` rows; what it sums up goes to the block's row of `sums`."""
    s, divisor, wrong = _forward_index(x, target, weight, ignores, ignored, lse, losses, lo, hi)
    k = lo // step
    sums[k, 0], sums[k, 1], sums[k, 2] = s, divisor, wrong


@kernel
def backward_index(
    x: Any,
    target: Any,
    weight: Any,
    ignores: bool,
    ignored: int,
    lse: Any,
    g: Any,
    scale: float,
    dx: Any,
    lo: int,
    hi: int,
) -> None:
    """Gradient of rows with one class each; `g` holds one cotangent a row, or is empty."""
    width = x.shape[1]
    rows = TILE // width if width <= NARROW else 1
    for start in range(lo, hi, rows):
        stop = min(start + rows, hi)
        if width <= NARROW:
            for r in range(start, stop):
                top, log = lse[0, r], lse[1, r]
                for j in range(width):
                    dx[r, j] = (x[r, j] - top) - log
            tile = dx[start:stop].reshape((stop - start) * width)
            for i in range(tile.size):
                tile[i] = exp_low(tile[i])
        for r in range(start, stop):
            out = dx[r]
            k = target[r]
            if ignores and k == ignored:
                for j in range(width):
                    out[j] = 0
                continue
            w = weight[k] if weight.size else x.dtype.type(1)
            coefficient = x.dtype.type(scale * w * (g[r] if g.size else 1.0))
            top, log = lse[0, r], lse[1, r]
            if width <= NARROW:
                for j in range(width):
                    out[j] *= coefficient
            else:
                row = x[r]
                for j in range(width):
                    out[j] = exp_low((row[j] - top) - log) * coefficient
            # p - 1, which is small and accurate where the class is likely
            out[k] = expm1((x[r, k] - top) - log) * coefficient


@kernel
def forward_dense(
    x: Any,
    q: Any,
    step: int,
    slope: Any,
    base: Any,
    target: Any,
    weight: Any,
    ignores: bool,
    ignored: int,
    keep: float,
    lse: Any,
    losses: Any,
    sums: Any,
    block: int,
    lo: int,
    hi: int,
) -> None:
    """Losses of rows with a coefficient ``slope_c q_rc + base_c`` for every class, and, where `target` is given,
    ``keep`` times the weight more for one class. ``step`` is 0 where all rows share the first row of `q`. What a block
    of `block` rows sums up, as `forward_index` returns it, goes to its row of `sums`."""
    width = x.shape[1]
    normalizers(x, lse, lo, hi)
    scratch = np.empty(CHUNK, x.dtype)
    divisor, lost = np.float64(0.0), np.float64(0.0)
    wrong = 0
    for r in range(lo, hi):
        row, share = x[r], q[r * step]
        top, log = lse[0, r], lse[1, r]
        s = np.float64(0.0)
        if target.size:
            k = target[r]
            if ignores and k == ignored:
                losses[r] = 0
                continue
            if k < 0 or k >= width:
                losses[r] = np.nan
                wrong += 1
                continue
            w = weight[k] if weight.size else x.dtype.type(1)
            divisor, lost = _added(np.float64(w), divisor, lost)
            a = x.dtype.type(keep * w)
            l = (top - row[k]) + log
            s += 0 if a == 0 and l == np.inf else a * l
        for start in range(0, width, CHUNK):
            n = min(CHUNK, width - start)
            part, source = scratch[:n], row[start : start + n]
            given, up, floor = share[start : start + n], slope[start : start + n], base[start : start + n]
            for j in range(n):
                a = up[j] * given[j] + floor[j]
                l = (top - source[j]) + log
                part[j] = x.dtype.type(0) if (a == 0) & (l == np.inf) else a * l
            s += total(part)
        losses[r] = s
    k = lo // block
    sums[k, 0], sums[k, 1], sums[k, 2] = _sum_up(losses, lo, hi), _whole(divisor, lost), wrong


@kernel
def backward_dense(
    x: Any,
    q: Any,
    step: int,
    slope: Any,
    base: Any,
    target: Any,
    weight: Any,
    ignores: bool,
    ignored: int,
    keep: float,
    lse: Any,
    g: Any,
    scale: float,
    dx: Any,
    lo: int,
    hi: int,
) -> None:
    """Gradient of `forward_dense`; `g` holds one cotangent a row, or is empty."""
    # The plan, for each row:
    # 1. an ignored row is 0;
    # 2. `out` is first the coefficient of each class, whose sum is the mass;
    # 3. the gradient is p times the mass minus the coefficient;
    # 4. where one p is nearly 1 that one cancels, so it is made of 1 - p, by expm1.
    width = x.shape[1]
    for r in range(lo, hi):
        row, share, out = x[r], q[r * step], dx[r]
        a = x.dtype.type(0)
        k = np.int64(0)
        if target.size:
            k = target[r]
            if ignores and k == ignored:
                for j in range(width):
                    out[j] = 0
                continue
            a = x.dtype.type(keep * (weight[k] if weight.size else 1.0))
        coefficient = x.dtype.type(scale * (g[r] if g.size else 1.0))
        top, log = lse[0, r], lse[1, r]
        for j in range(width):
            out[j] = slope[j] * share[j] + base[j]
        mass = x.dtype.type(total(out) + a)
        out[k] += a
        # where p is nearly 1, mass p - k as (mass - k) - mass (1 - p): both small, and accurate
        likely = x.dtype.type(0)
        best = find(row, top)
        if (best < width) & (log < x.dtype.type(0.6931471805599453)):
            likely = ((mass - out[best]) + expm1((row[best] - top) - log) * mass) * coefficient
        for j in range(width):
            out[j] = (exp_low((row[j] - top) - log) * mass - out[j]) * coefficient
        if (best < width) & (log < x.dtype.type(0.6931471805599453)):
            out[best] = likely
