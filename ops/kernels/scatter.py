"""Rows added at places that may repeat: what gathering rows undoes.

The plan: (1) the numbers of the rows to add are sorted by place, by counting, so that all that goes to one place stands
together and in its old order; (2) each place is summed in a row of float64 that stays in the first cache, from float64
itself with the rounding error of every addition kept; (3) the sum is written once, into memory that nobody has set to
0 before, unless most places get nothing: then their pages are never touched. Places are independent, so threads share
them and the result is the same for any number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.jit import EXACT_ZERO, compiled, kernel, share, uniform

__all__ = ["extreme_rows", "scatter_rows"]

Array = np.ndarray[Any, Any]

_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
# numbers to add from which a kernel is faster than NumPy, and worth being compiled
FEW = 512
# float64 terms of a place that are added without keeping what is lost: half a last place of their sum at most
PLAIN = 2
# places for each single number from which most of them are expected to be alone at theirs
SPARSE = 32
# places for each row up to which those where nothing arrives are written too: beyond, their pages stay untouched
FULL = 8
# seconds a number, by the bytes of a number
_COST = {4: 0.4e-9, 8: 1.2e-9}


@kernel
def _group(places: Any, starts: Any, order: Any) -> None:
    """Sort by counting: `order` lists the positions in `places` place by place, `starts` where each place begins."""
    for i in range(places.size):
        starts[places[i] + 1] += 1
    for p in range(1, starts.size):
        starts[p] += starts[p - 1]
    for i in range(places.size):
        p = places[i]
        order[starts[p]] = i
        starts[p] += 1
    # each now holds the end of its place, which is where the next begins
    for p in range(starts.size - 1, 0, -1):
        starts[p] = starts[p - 1]
    starts[0] = 0


@kernel(flags=EXACT_ZERO)
def _add_single(g: Any, order: Any, starts: Any, fresh: Any, out: Any, lo: Any, hi: Any) -> None:
    """float32: a sum in float64 has digits to spare. One number, or two, need none to be rounded once."""
    total = np.empty(out.shape[1])
    zero = out.dtype.type(0)
    for p in range(lo, hi):
        first, count, target = starts[p], starts[p + 1] - starts[p], out[p]
        if fresh:
            for j in range(target.size):
                target[j] = zero
        if count == 0:
            continue
        if count == 1:
            row = g[order[first]]
            for j in range(target.size):
                target[j] += row[j]
        elif count == 2 and fresh:
            row, other = g[order[first]], g[order[first + 1]]
            for j in range(target.size):
                target[j] = zero + (row[j] + other[j])
        else:
            total[:] = 0.0
            for k in range(first, first + count):
                row = g[order[k]]
                for j in range(row.size):
                    total[j] += row[j]
            for j in range(target.size):
                target[j] += total[j]


@kernel(flags=EXACT_ZERO)
def _add_double(g: Any, order: Any, starts: Any, fresh: Any, out: Any, lo: Any, hi: Any) -> None:
    """float64: what each addition loses is summed beside it."""
    total, lost = np.empty(out.shape[1]), np.empty(out.shape[1])
    for p in range(lo, hi):
        first, count, target = starts[p], starts[p + 1] - starts[p], out[p]
        if fresh:
            for j in range(target.size):
                target[j] = 0.0
        if count == 0:
            continue
        if count <= PLAIN:
            for k in range(first, first + count):
                row = g[order[k]]
                for j in range(row.size):
                    target[j] += row[j]
            continue
        total[:] = 0.0
        lost[:] = 0.0
        for k in range(first, first + count):
            row = g[order[k]]
            for j in range(row.size):
                a, b = total[j], row[j]
                s = a + b
                t = s - a
                lost[j] += (a - (s - t)) + (b - t)
                total[j] = s
        for j in range(target.size):
            s = total[j] + lost[j]
            # an infinite sum has lost infinity minus infinity
            target[j] += s if s - s == 0.0 else total[j]


@kernel(flags=EXACT_ZERO)
def _add_numbers(g: Any, places: Any, total: Any, lost: Any) -> None:
    """The like for single numbers, in their old order: there is no row to keep near."""
    for i in range(places.size):
        p = places[i]
        a, b = total[p], g[i]
        s = a + b
        t = s - a
        lost[p] += (a - (s - t)) + (b - t)
        total[p] = s
    for p in range(total.size):
        s = total[p] + lost[p]
        total[p] = s if s - s == 0.0 else total[p]


@kernel(flags=EXACT_ZERO)
def _add_single_numbers(g: Any, places: Any, total: Any) -> None:
    """Numbers of float32, in float64."""
    for i in range(places.size):
        total[places[i]] += g[i]


@kernel(flags=EXACT_ZERO)
def _set_lone(g: Any, places: Any, times: Any, out: Any, again: Any) -> int:
    """Numbers that are alone at their places; which are not comes into `again`, and how many they are back."""
    for i in range(places.size):
        p = places[i]
        times[p] = 1 if times[p] == 0 else 2
    zero, shared = out.dtype.type(0), 0
    for i in range(places.size):
        p = places[i]
        if times[p] == 1:
            out[p] = zero + g[i]
        else:
            again[shared] = i
            shared += 1
    return shared


@kernel(flags=EXACT_ZERO)
def _largest(rows: Any, places: Any, out: Any) -> None:
    for i in range(places.size):
        row, target = rows[i], out[places[i]]
        for j in range(row.size):
            v, best = row[j], target[j]
            target[j] = v if (v > best) | (v != v) else best


@kernel(flags=EXACT_ZERO)
def _smallest(rows: Any, places: Any, out: Any) -> None:
    for i in range(places.size):
        row, target = rows[i], out[places[i]]
        for j in range(row.size):
            v, best = row[j], target[j]
            target[j] = v if (v < best) | (v != v) else best


def extreme_rows(rows: Array, places: Array, count: int, nothing: Any, largest: bool) -> Array:
    """The largest or smallest of the rows at each of `count` places, of `nothing` and them; NaN wins.

    Parameters
    ----------
    rows : ndarray
        (n, columns), of any dtype and layout.
    places : ndarray
        (n,), integers from 0 to below `count`.
    count : int
    nothing : number
        What is at a place to which no row goes.
    largest : bool

    Returns
    -------
    ndarray
        (count, columns), fresh, of the rows' dtype.
    """
    out = np.full((count, rows.shape[1]), nothing, rows.dtype)
    if rows.dtype in (_FLOAT32, _FLOAT64) and rows.size >= FEW and compiled():
        work = _FLOAT64 if rows.dtype == _FLOAT64 else _FLOAT32
        (_largest if largest else _smallest).call(uniform(rows, work), uniform(places, np.dtype(np.int64)), out)
    else:
        with np.errstate(invalid="ignore"):
            (np.maximum if largest else np.minimum).at(out, places, rows)
    return out


def _with(rows: Array, into: Array | None) -> Array:
    """Sums, added to an array if there is one."""
    return rows if into is None else np.add(into, rows, out=into)


def _few(g: Array, places: Array, count: int) -> Array:
    """Single numbers added among many more places: of all others the pages stay untouched."""
    out, again = np.zeros(count, g.dtype), np.empty(places.size, np.int64)
    again = again[: _set_lone.call(g, places, np.zeros(count, np.uint8), out, again)]
    if again.size:
        named, own = np.unique(places[again], return_inverse=True)
        out[named] = scatter_rows(g[again][:, None], own, named.size)[:, 0]
    return out


def _ascending(places: Array) -> bool:
    """Whether no number is smaller than the one before; most that are not show it among the first."""
    first = places[:64]
    return bool((first[1:] >= first[:-1]).all() and (places[1:] >= places[:-1]).all())


def scatter_rows(g: Array, places: Array, count: int, into: Array | None = None) -> Array:
    """Zeros of shape (count, columns of g), or an array, with every row of `g` added at its place.

    Parameters
    ----------
    g : ndarray
        (n, columns), of any dtype and layout.
    places : ndarray
        (n,), integers from 0 to below `count`; they may repeat.
    count : int
    into : ndarray, optional
        (count, columns), C-contiguous, of g's dtype: what is added to, in place of zeros.

    Returns
    -------
    ndarray
        `into`, or fresh, of g's dtype. However often a place repeats, its sum is rounded once, and what was lost before
        is below a thousandth of a unit in the last place of the sum of magnitudes.
    """
    shape = (count, g.shape[1])
    if g.dtype.kind != "f" or not g.size:
        out = np.zeros(shape, g.dtype) if into is None else into
        np.add.at(out, places, g)
        return out
    if g.shape[1] == 1 and g.dtype != _FLOAT64 and not (g.size >= FEW and compiled()):
        return _with(np.bincount(places, g[:, 0], count).astype(g.dtype)[:, None], into)
    if g.size < FEW or not compiled():
        wide = np.zeros(shape, np.longdouble if g.dtype == _FLOAT64 else _FLOAT64)
        with np.errstate(invalid="ignore"):  # as the kernels, which say nothing of infinity minus infinity
            np.add.at(wide, places, g.astype(wide.dtype))
        return _with(wide.astype(g.dtype), into)
    work = _FLOAT64 if g.dtype == _FLOAT64 else _FLOAT32
    places = uniform(places, np.dtype(np.int64))
    if g.shape[1] == 1 and into is None and g.dtype == work and places.size * SPARSE < count:
        return _few(uniform(g, work)[:, 0], places, count)[:, None]
    if g.shape[1] == 1 and g.dtype != _FLOAT64:
        total = np.zeros(count)
        _add_single_numbers.call(uniform(g, work)[:, 0], places, total)
        with np.errstate(over="ignore"):
            return _with(total.astype(g.dtype)[:, None], into)
    rows, fresh = uniform(g, work), False
    if g.shape[1] == 1:
        total = np.zeros(count)
        _add_numbers.call(rows[:, 0], places, total, np.zeros(count))
        return _with(total[:, None], into)
    if _ascending(places):  # as the rows of a graph's nodes often are: a tenth of the time to see, half to group
        starts, order = np.searchsorted(places, np.arange(count + 1)), np.arange(places.size)
    else:
        starts, order = np.zeros(count + 1, np.int64), np.empty(places.size, np.int64)
        _group.call(places, starts, order)
    add = _add_double if work is _FLOAT64 else _add_single
    if into is not None and into.dtype == work:
        out = into
    else:
        fresh = places.size * FULL >= count
        out = np.empty(shape, work) if fresh else np.zeros(shape, work)
    share(add, (rows, order, starts, fresh, out), count, (g.size + out.size) * _COST[work.itemsize])
    return out if work == g.dtype else _with(out.astype(g.dtype), into)
