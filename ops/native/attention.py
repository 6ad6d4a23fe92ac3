"""Rules of attention without masks, every head of queries with its own keys and values; causal or not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgraph.native.kernel import kernel
from tensorgraph.native.places import Address, Call, Place, bits_of
from tensorgraph.ops.native.attention_rows import backward, forward
from tensorgraph.ops.native.edges import SINGLE_OR_DOUBLE, output
from tensorgraph.ops.native.moving import copy_of
from tensorgraph.ops.native.product import blocks_of, tile_of
from tensorgraph.ops.native.rows_times import CONSTANTS

__all__ = ["attention", "attention_vjp"]

QUERIES = 64  # of a tile: its scores stay in the second cache up to some thousand keys


def _heads(call: Call, a: Place) -> Place:
    """(images, heads, length, numbers), with contiguous numbers."""
    if a.strides[-1] != a.dtype.itemsize or (a.ndim > 4 and not a.is_contiguous):
        a = copy_of(call, a)
    if a.ndim > 4:
        lead = math.prod(a.shape[:-3])
        return a.over((lead, *a.shape[-3:]), (a.strides[-4], *a.strides[-3:]))
    return a.over((1,) * (4 - a.ndim) + a.shape, (0,) * (4 - a.ndim) + a.strides)


def _fits(q: Any, k: Any, v: Any, *others: Any) -> bool:
    if not all(isinstance(a, Place) and a.dtype == q.dtype and a.size for a in (q, k, v, *others)):
        return False
    return q.dtype in SINGLE_OR_DOUBLE and q.shape[:-2] == k.shape[:-2] == v.shape[:-2]


def _turned(call: Call, a: Place, what: str) -> Place:
    return copy_of(call, a.transposed((0, 1, 3, 2)), what)


def _scale(call: Call, q: Place) -> int:
    given = call.attrs["scale"]
    return bits_of(1.0 / math.sqrt(q.shape[-1]) if given is None else float(given), q.dtype)


def attention(call: Call) -> bool:
    """`scaled_dot_product_attention`."""
    q, k, v, mask, key_mask = (*call.inputs, None, None)[:5]
    if mask is not None or key_mask is not None or not _fits(q, k, v):
        return False
    out = output(call, 0, Place.new((*q.shape[:-1], v.shape[-1]), q.dtype))
    q, k, v = (_heads(call, a) for a in (q, k, v))
    images, heads, queries, dim = q.shape
    keys, width = v.shape[2:]
    peaks = output(call, 1, Place.new((images * heads, 1, queries), q.dtype))
    totals = output(call, 2, Place.new((images * heads, 1, queries), np.float64))
    blocks = min(images * heads, blocks_of(2 * images * heads * queries * keys * (dim + width), images * heads))
    tile, turned = min(queries, QUERIES), _turned(call, k, "keys, transposed")
    scores = call.scratch((blocks, tile, keys), q.dtype, "scores")
    words: list[int | Address] = [
        q.address(), *q.strides[:3], turned.address(), turned.strides[1], v.address(), *v.strides[:3], out.address(),
        peaks.address(), totals.address(), images, heads, queries, keys, dim, width, tile, scores.address(),
        scores.strides[0], _scale(call, q),
    ]  # fmt: skip
    text = kernel(forward, q.dtype, **tile_of(8), **CONSTANTS, CAUSAL=call.attrs["causal"])
    call.run(text, words, blocks)
    return True


def attention_vjp(call: Call) -> bool:
    """The gradient of `scaled_dot_product_attention`."""
    q, k, v, mask, key_mask, out, peaks, totals, g = (*call.inputs, None)[:9]
    if mask is not None or key_mask is not None or not _fits(q, k, v, out, g):
        return False
    if not all(isinstance(a, Place) and a.is_contiguous for a in (peaks, totals)):
        return False
    targets = iter(call.outputs)
    wanted = [next(targets) if want else None for want in call.attrs["want"][:3]]
    dq, dk, dv = (
        call.scratch(a.shape, a.dtype, "a gradient") if to is None else to
        for a, to in zip((q, k, v), wanted, strict=True)
    )
    g = g if g.is_contiguous else copy_of(call, g)
    q, k, v = (_heads(call, a) for a in (q, k, v))
    images, heads, queries, dim = q.shape
    keys, width = v.shape[2:]
    blocks = min(images * heads, blocks_of(4 * images * heads * queries * keys * (dim + width), images * heads))
    tile = min(queries, QUERIES)
    turned, of_values = _turned(call, k, "keys, transposed"), _turned(call, v, "values, transposed")
    scores, slopes = (call.scratch((blocks, tile, keys), q.dtype, what) for what in ("scores", "slopes of scores"))
    words: list[int | Address] = [
        q.address(), *q.strides[:3], turned.address(), turned.strides[1], k.address(), *k.strides[:3],
        of_values.address(), of_values.strides[1], g.address(), peaks.address(), totals.address(), dq.address(),
        dk.address(), dv.address(), images, heads, queries, keys, dim, width, tile, scores.address(),
        slopes.address(), scores.strides[0], _scale(call, q),
    ]  # fmt: skip
    text = kernel(backward, q.dtype, **tile_of(8), **CONSTANTS, CAUSAL=call.attrs["causal"])
    call.run(text, words, blocks)
    return True
