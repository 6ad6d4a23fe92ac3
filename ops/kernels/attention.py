"""Attention over tiles of scores, forward and backward: memory grows with the lengths, not with their product."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from tensorgraph.engine.sums import total
from tensorgraph.jit import helper, kernel, share
from tensorgraph.ops.kernels.rows import dot_from, exponentials, find, peak, peak_positive
from tensorgraph.ops.kernels.scalar import exp_low

__all__ = ["Layout", "attention_backward", "attention_forward"]

Array = np.ndarray[Any, Any]

# seconds a score, for the choice between one thread and several
FORWARD, BACKWARD = 0.7e-9, 0.9e-9
# queries and keys of a tile at most, and scores of a tile: what stays in the second cache between product and softmax
QUERIES, KEYS, TILE = 128, 1024, 1 << 17


@helper
def _allowed(r: Any, width: Any, first: Any, period: Any) -> Any:
    """How many of a tile's keys row `r` may look at, where a query looks at none behind its own place."""
    count = width
    if period > 0:
        count = first + r % period + 1
        count = 0 if count < 0 else count
        count = width if count > width else count
    return count


@kernel
def _soften(s: Any, first: int, period: int, peaks: Any, totals: Any, factors: Any, lo: int, hi: int) -> None:
    """Scores to probabilities among the keys so far, and by what the result so far shrinks."""
    for r in range(lo, hi):
        row = s[r]
        count = _allowed(r, s.shape[1], first, period)
        if count > 0:
            part = row[:count]
            old, top = peaks[r], peak(part)
            top = top if top > old else old
            base = row.dtype.type(0) if top == -np.inf else top
            known = totals[r] * np.float64(exp_low(old - base))
            new = known + np.float64(0.0)
            for start in range(0, count, 512):
                stop = min(start + 512, count)
                new += exponentials(part[start:stop], base, part[start:stop])
            inverse = np.float64(0.0) if new == 0.0 else 1.0 / new
            scale = row.dtype.type(inverse)
            for j in range(count):
                part[j] *= scale
            peaks[r], totals[r], factors[r] = top, new, row.dtype.type(known * inverse)
        else:
            factors[r] = row.dtype.type(1)
        for j in range(count, row.size):
            row[j] = row.dtype.type(0)


@kernel
def _again(s: Any, first: int, period: int, peaks: Any, totals: Any, lo: int, hi: int) -> None:
    """Scores to probabilities, by the largest score and the sum that the forward pass left."""
    for r in range(lo, hi):
        row = s[r]
        count = _allowed(r, s.shape[1], first, period)
        base = row.dtype.type(0) if peaks[r] == -np.inf else peaks[r]
        scale = row.dtype.type(np.float64(0.0) if totals[r] == 0.0 else 1.0 / totals[r])
        exponentials(row[:count], base, row[:count])
        for j in range(count):
            row[j] *= scale
        for j in range(count, row.size):
            row[j] = row.dtype.type(0)


@kernel
def _slopes(d: Any, p: Any, first: int, period: int, whole: int, means: Any, lo: int, hi: int) -> None:
    """p (d - mean of d) in the place of d; the means are made here where a row is whole."""
    for r in range(lo, hi):
        out, row = d[r], p[r]
        count = _allowed(r, d.shape[1], first, period)
        if whole and count > 0:
            # d by its differences from that of the likeliest key, as in the gradient of softmax
            k = find(row[:count], peak_positive(row[:count]))
            base = out[k if k < count else 0]
            mean = d.dtype.type(dot_from(out[:count], base, row[:count]))
            for j in range(count):
                out[j] = row[j] * ((out[j] - base) - mean)
        else:
            mean = means[r]
            for j in range(count):
                out[j] = row[j] * (out[j] - mean)
        for j in range(count, out.size):
            out[j] = d.dtype.type(0)


class Layout:
    """Queries as (heads of keys, groups, length, dim), keys and values as (heads, length, dim), masks by head.

    Parameters
    ----------
    q, k, v : ndarray
        (..., heads, length, dim), of one dtype; `k` and `v` with as many heads or a divisor of them.
    mask, key_mask : ndarray or None
        Which pairs and which keys take part, or what is added to the scores.
    causal : bool
    scale : float
    """

    def __init__(self, q: Array, k: Array, v: Array, mask: Any, key_mask: Any, causal: bool, scale: float) -> None:
        self.shapes = q.shape, k.shape, v.shape
        self.dtype = q.dtype
        self.scale = q.dtype.type(scale)
        self.causal = causal
        self.dropout: Any = None  # a rate, what draws numbers of a state from one on, and how many states there are
        heads = q.shape[-3] if q.ndim > 2 else 1
        shared = max(a.shape[-3] if a.ndim > 2 else 1 for a in (k, v))
        self.batch = np.broadcast_shapes(q.shape[:-3], k.shape[:-3], v.shape[:-3])
        if shared and heads % shared:  # one head of queries
            heads = shared
        self.heads, self.groups = shared, heads // shared if shared else 0
        self.count = math.prod(self.batch) * shared
        length, dim = q.shape[-2:]
        keys, width = v.shape[-2:]
        self.length, self.keys, self.width = length, keys, width
        self.full_q = (*self.batch, heads, length, dim)
        self.full_k = (*self.batch, shared, keys, dim)
        self.full_v = (*self.batch, shared, keys, width)
        scaled = q * self.scale
        self.q = np.ascontiguousarray(np.broadcast_to(scaled, self.full_q)).reshape(
            self.count, self.groups, length, dim
        )
        self.k = np.ascontiguousarray(np.broadcast_to(k, self.full_k)).reshape(self.count, keys, dim)
        self.v = np.ascontiguousarray(np.broadcast_to(v, self.full_v)).reshape(self.count, keys, width)
        self.out_shape = (*self.batch, heads, length, width)
        self.mask: Any = None
        self.compact: Any = None
        if mask is not None:
            self.compact = self._compact(mask, heads)
            self.mask = np.broadcast_to(mask, (*self.compact[0], *mask.shape[-2:])).reshape(self.compact[1])
            self.mask = ~self.mask if mask.dtype.kind == "b" else self.mask.astype(self.dtype, copy=False)
        self.barred = None
        if key_mask is not None:
            whole = np.broadcast_to(key_mask, (*self.batch, keys))
            self.barred = ~whole.reshape(math.prod(self.batch), keys)

    def _compact(self, mask: Array, heads: int) -> Any:
        """The mask's leading axes whole, and its shape by (batch, heads, queries, keys), 1 where it is shared."""
        sizes = (1,) * (len(self.batch) + 3 - mask.ndim) + mask.shape
        lead = self.batch if any(n != 1 for n in sizes[:-3]) else (1,) * len(self.batch)
        return (*lead, sizes[-3]), (math.prod(lead), *sizes[-3:])

    def tiles(self) -> Iterator[Any]:
        """Blocks of heads, a group and queries, each with its blocks of keys: as slices."""
        if not (self.count and self.length and self.groups and self.keys):
            return
        rows = min(QUERIES, self.length)
        columns = min(KEYS, self.keys)
        many = max(1, TILE // (rows * columns))
        for n in range(0, self.count, many):
            for g in range(self.groups):
                for r in range(0, self.length, rows):
                    stop = min(r + rows, self.length)
                    last = min(stop, self.keys) if self.causal else self.keys
                    blocks = [slice(c, min(c + columns, last)) for c in range(0, last, columns)]
                    yield slice(n, min(n + many, self.count)), g, slice(r, stop), blocks

    def scores(self, n: slice, g: int, rows: slice, columns: slice, space: Array) -> Array:
        """Scaled scores of a tile, masks applied, as (heads, queries, keys) in the space given."""
        s = view(space, n.stop - n.start, rows.stop - rows.start, columns.stop - columns.start)
        np.matmul(self.q[n, g, rows], self.k[n, columns].swapaxes(-1, -2), out=s)
        if self.mask is not None:
            part = self.mask_part(n, g, rows, columns)
            if part.dtype.kind == "b":
                np.copyto(s, -np.inf, where=part)
            else:
                s += part
                np.copyto(s, -np.inf, where=part == -np.inf)  # it bars what is no number too
        if self.barred is not None:
            np.copyto(s, -np.inf, where=self.barred[self.examples(n), None, columns])
        return s

    def shut(self, n: slice, g: int, rows: slice, columns: slice) -> Array:
        """Which pairs of a tile do not take part, as (heads, queries, keys)."""
        shape = (n.stop - n.start, rows.stop - rows.start, columns.stop - columns.start)
        shut = np.zeros(shape, bool)
        if self.mask is not None:
            part = self.mask_part(n, g, rows, columns)
            shut |= part if part.dtype.kind == "b" else part == -np.inf
        if self.barred is not None:
            shut |= self.barred[self.examples(n), None, columns]
        if self.causal:
            shut |= np.arange(rows.start, rows.stop)[:, None] < np.arange(columns.start, columns.stop)
        return shut

    def bare(self, tile: tuple[slice, int, slice, slice], numbers: Array) -> None:
        """Probabilities or slopes of a tile that are NaN, as a whole query's are, become 0 where a pair is barred."""
        lost = np.isnan(flat(numbers)[:, 0])
        if lost.any():
            own = flat(numbers)[lost]
            own[flat(self.shut(*tile))[lost]] = 0
            flat(numbers)[lost] = own

    def kept(self, n: slice, g: int, rows: slice) -> Any:
        """Which scores of all keys dropout leaves in, as (heads, queries, keys); None without."""
        if self.dropout is None:
            return None
        rate, draw, states = self.dropout
        whole = self.heads * self.groups * math.prod(self.batch) // states  # heads of a state
        count, made = (rows.stop - rows.start) * self.keys, []
        for head in range(n.start, n.stop):
            state, own = divmod(head * self.groups + g, whole)
            made.append(draw(state, (own * self.length + rows.start) * self.keys, count) >= np.float32(rate))
        return np.stack(made).reshape(len(made), -1, self.keys)

    def drop(self, s: Array, kept: Any, columns: slice) -> None:
        """Weights, or slopes by them, that dropout has gone over."""
        if kept is not None:
            s *= self.dtype.type(1.0 / (1.0 - self.dropout[0]))
            np.copyto(s, 0, where=~kept[..., columns])

    def examples(self, n: slice) -> Array:
        return np.arange(n.start, n.stop) // self.heads

    def places(self, n: slice, g: int) -> tuple[Array, Array]:
        """Where the mask of each head of a block stands among the mask's own."""
        _, (batches, heads, _, _) = self.compact
        own = np.arange(n.start, n.stop) % self.heads * self.groups + g
        example = self.examples(n)
        return example if batches > 1 else example * 0, own if heads > 1 else own * 0

    def mask_part(self, n: slice, g: int, rows: slice, columns: slice) -> Array:
        part: Array = self.mask[:, :, cut(rows, self.mask.shape[2]), cut(columns, self.mask.shape[3])]
        if part.shape[:2] == (1, 1):
            shared: Array = part[0]
            return shared
        example, head = self.places(n, g)
        picked: Array = part[example, head]
        return picked

    def first(self, rows: slice, columns: slice) -> tuple[int, int]:
        """How many keys of a tile the first query may look at, less one, and after how many rows the next head is."""
        return (rows.start - columns.start, rows.stop - rows.start) if self.causal else (0, 0)


def view(space: Array, *shape: int) -> Array:
    return space[: math.prod(shape)].reshape(shape)


def cut(part: slice, size: int) -> slice:
    """A part of an axis, or all of one that is shared."""
    return part if size > 1 else slice(None)


def flat(x: Array) -> Array:
    return x.reshape(-1, x.shape[-1])


def _space(layout: Layout) -> int:
    rows, columns = min(QUERIES, layout.length), min(KEYS, layout.keys)
    return rows * columns if rows * columns > TILE else TILE


def attention_forward(layout: Layout) -> tuple[Array, Array, Array]:
    """Softmax of the scores times the values, tile by tile (Dao et al. 2022, arXiv 2205.14135).

    Returns
    -------
    out : ndarray
        (..., heads, queries, dim of v); zero for a query that no key takes part in.
    peaks, totals : ndarray
        Of shape (heads, groups, queries): the largest score, and the sum of e^(score - largest), as float64. Apart,
        because in their logarithm's sum the rest would be rounded to the last place of the largest.
    """
    shape = layout.q.shape[:3]
    out = np.zeros((*shape, layout.width), layout.dtype)
    peaks, totals = np.full(shape, -np.inf, layout.dtype), np.zeros(shape)
    space, other = np.empty(_space(layout), layout.dtype), np.empty(0, layout.dtype)
    for n, g, rows, blocks in layout.tiles():
        count = (n.stop - n.start) * (rows.stop - rows.start)
        top, sums, factors = np.full(count, -np.inf, layout.dtype), np.zeros(count), np.empty(count, layout.dtype)
        target, kept = out[n, g, rows], layout.kept(n, g, rows)
        for i, columns in enumerate(blocks):
            s = layout.scores(n, g, rows, columns, space)
            share(_soften, (flat(s), *layout.first(rows, columns), top, sums, factors), count, s.size * FORWARD)
            layout.drop(s, kept, columns)
            if i == 0:
                np.matmul(s, layout.v[n, columns], out=target)
                continue
            if other.size < target.size:
                other = np.empty(target.size, layout.dtype)
            target *= factors.reshape(*target.shape[:2], 1)
            target += np.matmul(s, layout.v[n, columns], out=view(other, *target.shape))
        lost = ~(sums > 0)  # scores are beyond the dtype, or no key takes part
        if lost.any():
            lost &= np.any([~flat(layout.shut(n, g, rows, columns)).all(axis=-1) for columns in blocks], axis=0)
            sums[lost], target[lost.reshape(target.shape[:2])] = np.nan, np.nan
        peaks[n, g, rows], totals[n, g, rows] = top.reshape(target.shape[:2]), sums.reshape(target.shape[:2])
    return out.reshape(layout.out_shape), peaks, totals


def attention_backward(
    want: tuple[bool, ...], g: Array, out: Array, layout: Layout, peaks: Array, totals: Array
) -> tuple[Any, ...]:
    """Gradients of `attention_forward` in q, k, v and an additive mask, each of its input's shape.

    Scores are made again, tile by tile.
    """
    shape = layout.q.shape[:3]
    g = np.ascontiguousarray(np.broadcast_to(g, layout.out_shape), layout.dtype).reshape(*shape, layout.width)
    out = out.reshape(*shape, layout.width)
    dq, dk, dv = np.zeros(layout.q.shape, g.dtype), np.zeros(layout.k.shape, g.dtype), np.zeros(layout.v.shape, g.dtype)
    dmask = np.zeros(layout.mask.shape) if layout.mask is not None and want[3] else None
    space, second = np.empty(_space(layout), g.dtype), np.empty(_space(layout), g.dtype)
    scratch = np.empty(0, g.dtype)
    for n, group, rows, blocks in layout.tiles():
        count = (n.stop - n.start) * (rows.stop - rows.start)
        top, sums = (a[n, group, rows].reshape(count) for a in (peaks, totals))
        own, whole, kept = g[n, group, rows], len(blocks) == 1, layout.kept(n, group, rows)
        means = np.zeros(1, g.dtype)
        if not whole:
            means = np.einsum("nrd,nrd->nr", own, out[n, group, rows], dtype=np.float64).reshape(count).astype(g.dtype)
        for i, columns in enumerate(blocks):
            p, causal = layout.scores(n, group, rows, columns, space), layout.first(rows, columns)
            if whole:  # of these scores: the forward pass may have been others' kernels, whose products round otherwise
                fresh = np.full(count, -np.inf, p.dtype), np.zeros(count), np.ones(count, p.dtype)
                share(_soften, (flat(p), *causal, *fresh), count, p.size * FORWARD)
                lost = ~(fresh[1] > 0)
            else:
                share(_again, (flat(p), *causal, top, sums), count, p.size * FORWARD)
                lost = ~(sums > 0)
            tile = n, group, rows, columns
            flat(p)[lost] = np.nan
            layout.bare(tile, p)
            size = max((columns.stop - columns.start) * layout.width * len(p), own[..., :1].size * layout.k.shape[-1],
                       (columns.stop - columns.start) * layout.k.shape[-1] * len(p))  # fmt: skip
            scratch = scratch if scratch.size >= size else np.empty(size, g.dtype)
            if want[2]:
                target, weights = dv[n, columns], p
                if kept is not None:
                    weights = p.copy()
                    layout.drop(weights, kept, columns)
                target += np.matmul(weights.swapaxes(-1, -2), own, out=view(scratch, *target.shape))
            d = view(second, *p.shape)
            np.matmul(own, layout.v[n, columns].swapaxes(-1, -2), out=d)
            layout.drop(d, kept, columns)
            share(_slopes, (flat(d), flat(p), *causal, int(whole), means), count, d.size * BACKWARD)
            layout.bare(tile, d)
            if want[0]:
                target = dq[n, group, rows]
                if i == 0:
                    np.matmul(d, layout.k[n, columns], out=target)
                else:
                    target += np.matmul(d, layout.k[n, columns], out=view(scratch, *target.shape))
            if want[1]:
                target = dk[n, columns]
                target += np.matmul(d.swapaxes(-1, -2), layout.q[n, group, rows], out=view(scratch, *target.shape))
            if dmask is not None:
                _add_mask(dmask, d, layout, n, group, rows, columns)
    dq *= layout.scale
    shapes = layout.shapes
    grads = [
        reduced(d.reshape(full), shape) if w else None
        for d, full, shape, w in zip(
            (dq, dk, dv), (layout.full_q, layout.full_k, layout.full_v), shapes, want[:3], strict=True
        )
    ]
    return (*grads, dmask)


def _add_mask(dmask: Array, d: Array, layout: Layout, n: slice, g: int, rows: slice, columns: slice) -> None:
    """A tile's part of the gradient of the mask, summed where heads share it."""
    part = dmask[:, :, cut(rows, dmask.shape[2]), cut(columns, dmask.shape[3])]
    axes = tuple(i for i, size in ((1, dmask.shape[2]), (2, dmask.shape[3])) if size == 1)
    d = total(d, axes, True) if axes else d
    for example, head, own in zip(*layout.places(n, g), d, strict=True):
        part[example, head] += own


def reduced(d: Array, shape: tuple[int, ...]) -> Array:
    """Summed over the axes along which an input of this shape was repeated."""
    if d.shape == shape:
        return d
    extra = d.ndim - len(shape)
    axes = (*range(extra), *[i + extra for i, size in enumerate(shape) if size == 1 and d.shape[i + extra] != 1])
    return total(d, axes, True).reshape(shape)  # type: ignore[no-any-return]
