"""Softmax and its logarithm as kernels, of rows along an axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.native.kernel import kernel
from tensorgraph.native.places import Address, Call, Place
from tensorgraph.ops.native import softmax_rows as texts
from tensorgraph.ops.native.edges import SINGLE_OR_DOUBLE, Along
from tensorgraph.ops.native.tiles import NARROW, TILE

__all__ = ["log_softmax", "log_softmax_vjp", "softmax", "softmax_vjp"]

# numbers from which a record has several blocks, and how many of them a block has at least
SEVERAL, BLOCK = 60_000, 20_000
# numbers of a narrow row in the backward pass, where those of a wide one are seldom walked
NARROW_BACK = 48


def _run(call: Call, pair: Any, limit: int, tiles: int, given: list[Place], log: bool) -> None:
    """A kernel over rows of what is given, and what it makes of them in the first output."""
    out = call.outputs[0]
    if out is None or not out.size:
        return
    along = Along(call, out.shape, call.attrs["axis"])
    x, *others = [along.rows(place) for place in given]
    room, narrow = along.room(out), x.shape[1] <= limit
    blocks = 1 if x.size < SEVERAL else min(16, x.size // BLOCK, -(-x.shape[0] // 64))
    words: list[int | Address] = [x.address(), x.strides[0], *x.shape]
    for other in others:
        words += [other.address(), other.strides[0]]
    words += [room.address(), call.scratch((blocks, tiles * TILE), np.uint8).address() if narrow else 0]
    call.run(kernel(pair[0] if narrow else pair[1], x.dtype, LOG=log), words, blocks)
    along.give(room, out)


def _fits(x: Any) -> bool:
    return isinstance(x, Place) and x.dtype in SINGLE_OR_DOUBLE


def _forward(call: Call, log: bool) -> bool:
    (x,) = call.inputs
    if not _fits(x):
        return False
    _run(call, (texts.forward_narrow, texts.forward_wide), NARROW, 1, [x], log)
    if x.is_contiguous:
        call.may_replace(0, 0)
    return True


def _backward(call: Call, log: bool) -> bool:
    _, y, g = call.inputs
    if not _fits(y) or not isinstance(g, Place) or g.dtype != y.dtype:
        return False
    _run(call, (texts.backward_narrow, texts.backward_wide), NARROW_BACK, 2, [y, g], log)
    if g.is_contiguous:
        call.may_replace(0, 2)
    return True


def softmax(call: Call) -> bool:
    """`softmax`."""
    return _forward(call, False)


def log_softmax(call: Call) -> bool:
    """`log_softmax`."""
    return _forward(call, True)


def softmax_vjp(call: Call) -> bool:
    """The gradient of `softmax`, of its output alone."""
    return _backward(call, False)


def log_softmax_vjp(call: Call) -> bool:
    """The gradient of `log_softmax`, of its output alone."""
    return _backward(call, True)
