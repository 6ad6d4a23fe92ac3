"""Rules of attention: heads of queries that share keys and values or have their own, with masks, causal or not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgraph.engine.aval import broadcast_shapes
from tensorgraph.native.kernel import kernel
from tensorgraph.native.places import Address, Call, Place, bits_of
from tensorgraph.ops.native.attention_rows import ADDED, BARRED, NONE, backward, forward, summed
from tensorgraph.ops.native.edges import SINGLE_OR_DOUBLE, in_order, output
from tensorgraph.ops.native.joining import place_in
from tensorgraph.ops.native.moving import collapsed, copy_of
from tensorgraph.ops.native.product import blocks_of, tile_of
from tensorgraph.ops.native.rows_times import CONSTANTS

__all__ = ["attention", "attention_vjp"]

QUERIES = 64  # of a tile: its scores stay in the second cache up to some thousand keys


class _Heads:
    """The inputs as (images, heads, rows, numbers), with a stride of 0 along axes that they share.

    Attributes
    ----------
    q, k, v : Place
    batch : tuple of int
        The axes that are images.
    heads, group : int
        Heads of queries, and how many of them share keys and values.
    mask : list of int or Address
        The kind of the mask, it and its strides from image to image, head to head, row to row; whether keys have one,
        it and its stride from image to image.
    constants : dict
    """

    def __init__(self, call: Call, q: Place, k: Place, v: Place, mask: Any, key_mask: Any, state: Any) -> None:
        self.call = call
        shared = max(a.shape[-3] if a.ndim > 2 else 1 for a in (k, v))
        heads = q.shape[-3] if q.ndim > 2 else 1
        self.batch = broadcast_shapes(*[a.shape[:-3] for a in (q, k, v)])
        self.heads = shared if heads % shared else heads  # one head of queries
        self.group = self.heads // shared
        self.q = self._spread(q, self.heads)
        self.k, self.v = self._spread(k, shared), self._spread(v, shared)
        kind = NONE if mask is None else BARRED if mask.dtype.kind == "b" else ADDED
        none: list[int | Address] = [0, 0, 0, 0]
        whole = none if mask is None else self._words(self._spread(mask, self.heads, (q.shape[-2], k.shape[-2])))
        own = none
        if key_mask is not None:
            around = key_mask.over(
                (*key_mask.shape[:-1], 1, 1, key_mask.shape[-1]), (*key_mask.strides[:-1], 0, 0, key_mask.strides[-1])
            )
            own = self._words(self._spread(around, 1, (1, k.shape[-2])))
        self.mask = [kind, *whole, int(key_mask is not None), *own[:2]]
        self.state = in_order(call, state) if call.attrs["dropout"] else None
        self.constants: dict[str, Any] = dict(
            tile_of(8), **CONSTANTS, CAUSAL=call.attrs["causal"], DROPPED=self.state is not None
        )

    def _spread(self, a: Place, heads: int, last: tuple[int, int] | None = None) -> Place:
        last = last or (a.shape[-2], a.shape[-1])
        whole = a.broadcast((*self.batch, heads, *last))
        size, axes = a.dtype.itemsize, collapsed(self.batch, whole.strides[: len(self.batch)])
        if len(axes) > 1 or (last[1] != 1 and whole.strides[-1] != size):
            room = self.call.scratch(whole.shape, a.dtype, "a copy for every head")
            place_in(self.call, a, room)
            return self._spread(room, heads, last)
        image = axes[0][1] if axes else 0
        return whole.over((math.prod(self.batch), *whole.shape[-3:]), (image, *whole.strides[-3:-1], size))

    def scale(self, blocks: int, tile: int) -> list[int | Address]:
        """The factor of the queries, and memory for as many as a tile has."""
        dim, given = self.q.shape[-1], self.call.attrs["scale"]
        room = self.call.scratch((blocks, tile, dim), self.q.dtype, "queries, scaled")
        factor = 1.0 / math.sqrt(dim) if given is None else float(given)
        return [bits_of(factor, self.q.dtype), room.address(), room.strides[0]]

    def dropout(self, blocks: int) -> list[int | Address]:
        """The states, how many images have one, the rate, the factor of what stays, and memory for draws."""
        if self.state is None:
            return []
        rate, kind = self.call.attrs["dropout"], self.q.dtype
        states, room = self.state.size // 3, -(-(self.k.shape[2] + 16) // 16) * 16
        lines = self.call.scratch((blocks, room), kind, "draws")
        numbers = [bits_of(float(np.float32(rate)), kind), bits_of(1.0 / (1.0 - rate), kind)]
        return [self.state.address(), self.q.shape[0] // states, *numbers, lines.address(), lines.strides[0]]

    def _words(self, a: Place) -> list[int | Address]:
        return [a.address(), *a.strides[:3]]

    def turned(self, a: Place, what: str) -> list[int | Address]:
        """Rows as columns, in memory of the call: where they are, and from image to image, head to head."""
        lead = [n if step else 1 for n, step in zip(a.shape[:2], a.strides[:2], strict=True)]
        own = a.over((*lead, *a.shape[2:]), a.strides).transposed((0, 1, 3, 2))
        made = copy_of(self.call, own, what)
        return [made.address(), *(step if n > 1 else 0 for n, step in zip(lead, made.strides[:2], strict=True))]

    def room(self, of: Place, target: Place | None) -> tuple[Place, bool]:
        """Where a gradient is written head by head, and whether it is summed then."""
        shape = (*self.batch, self.heads, *of.shape[-2:])
        if target is not None and math.prod(shape) == target.size:
            return target, False
        return self.call.scratch(shape, of.dtype, "a gradient, head by head"), target is not None

    def gather(self, room: Place, target: Place, grouped: bool) -> bool:
        """Sum what images and heads share into a gradient; False where they share too unevenly."""
        lead = (*self.batch, self.heads // self.group, self.group) if grouped else (*self.batch, self.heads)
        own = (*target.shape[:-2], 1) if grouped and target.ndim > 2 else target.shape[:-2]
        n = room.shape[-1] * room.shape[-2]
        if target.shape[-2:] != room.shape[-2:]:  # a mask's, for all queries, or for all keys too
            own, n = target.shape, 1
            lead = (*lead, *room.shape[-2:])
            if own[-1:] == lead[-1:]:
                own, n, lead = own[:-1], lead[-1], lead[:-1]
        own = (1,) * (len(lead) - len(own)) + own
        from_room, to = (_steps(shape, n * room.dtype.itemsize) for shape in (lead, own))
        axes = list(zip(lead, own, from_room, to, strict=True))
        kept = _joined([(m, s, t) for m, o, s, t in axes if o == m])
        folded = _joined([(m, s) for m, o, s, _ in axes if o != m])
        if len(kept) > 2 or len(folded) > 2:
            return False
        kept, folded = [(1, 0, 0)] * (2 - len(kept)) + kept, [(1, 0)] * (2 - len(folded)) + folded
        words: list[int | Address] = [room.address(), target.address(), n, *kept[0], *kept[1], *folded[0], *folded[1]]
        self.call.run(kernel(summed, room.dtype), words, min(16, kept[1][0]))
        return True


def _steps(shape: tuple[int, ...], step: int) -> list[int]:
    """Strides in C order of an array of things of so many bytes."""
    made = []
    for n in reversed(shape):
        made.append(step)
        step *= n
    return made[::-1]


def _joined(axes: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Axes as (size, stride, ...) in which those that are one in memory are one."""
    return collapsed(*zip(*axes, strict=True)) if axes else []


def _fits(call: Call, *others: Any) -> bool:
    q, k, v, mask, key_mask, state = call.inputs[:6]
    if call.attrs["dropout"] and not isinstance(state, Place):
        return False
    if not all(isinstance(a, Place) and a.dtype == q.dtype and a.size for a in (q, k, v, *others)):
        return False
    masks = all(a is None or (isinstance(a, Place) and a.size) for a in (mask, key_mask))
    return q.dtype in SINGLE_OR_DOUBLE and masks and (mask is None or mask.dtype in (np.bool_, q.dtype))


def attention(call: Call) -> bool:
    """`scaled_dot_product_attention`."""
    if not _fits(call):
        return False
    given = _Heads(call, *call.inputs[:6])
    q, k, v, heads = given.q, given.k, given.v, given.heads
    images, queries, dim, keys, width = q.shape[0], *q.shape[2:], *v.shape[2:]
    out = output(call, 0, Place.new((*given.batch, heads, queries, width), q.dtype))
    kept = (images * heads // given.group, given.group, queries)
    peaks, totals = output(call, 1, Place.new(kept, q.dtype)), output(call, 2, Place.new(kept, np.float64))
    blocks = min(images * heads, blocks_of(2 * images * heads * queries * keys * (dim + width), images * heads))
    tile, turned = min(queries, QUERIES), given.turned(k, "keys, transposed")
    scores = call.scratch((blocks, tile, keys), q.dtype, "scores")
    words: list[int | Address] = [
        q.address(), *q.strides[:3], *turned, v.address(), *v.strides[:3], out.address(), peaks.address(),
        totals.address(), images, heads, given.group, queries, keys, dim, width, tile, scores.address(),
        scores.strides[0], *given.scale(blocks, tile), *given.mask, *given.dropout(blocks),
    ]  # fmt: skip
    call.run(kernel(forward, q.dtype, **given.constants), words, blocks)
    return True


def attention_vjp(call: Call) -> bool:
    """The gradient of `scaled_dot_product_attention`."""
    out, _, _, g = (*call.inputs, None)[6:10]
    targets = iter(call.outputs)
    dq, dk, dv, d_mask = (next(targets) if want else None for want in call.attrs["want"][:4])
    if not _fits(call, out, g):
        return False
    given = _Heads(call, *call.inputs[:6])
    q, k, v, heads, g = given.q, given.k, given.v, given.heads, in_order(call, g)
    rooms = [given.room(a, to) for a, to in ((q, dq), (k, dk), (v, dv))]
    images, queries, dim, keys, width = q.shape[0], *q.shape[2:], *v.shape[2:]
    blocks = min(images * heads, blocks_of(4 * images * heads * queries * keys * (dim + width), images * heads))
    tile = min(queries, QUERIES)
    turned, of_values = given.turned(k, "keys, transposed"), given.turned(v, "values, transposed")
    scores, slopes = (call.scratch((blocks, tile, keys), q.dtype, what) for what in ("scores", "slopes of scores"))
    words: list[int | Address] = [
        q.address(), *q.strides[:3], *turned, k.address(), *k.strides[:3], *of_values, g.address(),
        *(room.address() for room, _ in rooms), images, heads, given.group, queries, keys, dim, width,
        tile, scores.address(), slopes.address(), scores.strides[0], *given.scale(blocks, tile), *given.mask,
        *given.dropout(blocks),
    ]  # fmt: skip
    if d_mask is not None:
        rooms.append(given.room(Place.new((queries, keys), q.dtype), d_mask))
        words.append(rooms[3][0].address())
    call.run(kernel(backward, q.dtype, **given.constants, SLOPED=d_mask is not None), words, blocks)
    targets_of = zip(rooms, (dq, dk, dv, d_mask), (False, True, True, False), strict=False)
    for (room, is_summed), target, grouped in targets_of:
        if is_summed and target is not None and not given.gather(room, target, grouped):
            return False
    return True
