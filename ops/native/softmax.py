"""Softmax and its logarithm as kernels, along the last axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.native.kernel import kernel
from tensorgraph.native.places import Address, Call, Place
from tensorgraph.ops.native import softmax_rows as texts
from tensorgraph.ops.native.edges import SINGLE_OR_DOUBLE, as_rows
from tensorgraph.ops.native.tiles import NARROW, TILE

__all__ = ["log_softmax", "log_softmax_vjp", "softmax", "softmax_vjp"]

# numbers from which a record has several blocks, and how many of them a block has at least
SEVERAL, BLOCK = 60_000, 20_000
# numbers of a narrow row in the backward pass, where those of a wide one are seldom walked
NARROW_BACK = 48


def _run(call: Call, pair: Any, limit: int, tiles: int, rows: list[Place], log: bool) -> None:
    """A kernel over rows, and what it makes of them in the first output."""
    x, out = rows[0], call.outputs[0]
    if out is None:
        return
    narrow = x.shape[1] <= limit
    blocks = 1 if x.size < SEVERAL else min(16, x.size // BLOCK, -(-x.shape[0] // 64))
    words: list[int | Address] = [x.address(), x.strides[0], *x.shape]
    for other in rows[1:]:
        words += [other.address(), other.strides[0]]
    words += [out.address(), call.scratch((blocks, tiles * TILE), np.uint8).address() if narrow else 0]
    call.run(kernel(pair[0] if narrow else pair[1], x.dtype, LOG=log), words, blocks)


def _fits(x: Any, call: Call) -> bool:
    if not isinstance(x, Place) or x.dtype not in SINGLE_OR_DOUBLE:
        return False
    return call.attrs["axis"] in (-1, x.ndim - 1) and x.size > 0


def _forward(call: Call, log: bool) -> bool:
    (x,) = call.inputs
    if not _fits(x, call):
        return False
    _run(call, (texts.forward_narrow, texts.forward_wide), NARROW, 1, [as_rows(call, x)], log)
    if x.is_contiguous:
        call.may_replace(0, 0)
    return True


def _backward(call: Call, log: bool) -> bool:
    _, y, g = call.inputs
    if not _fits(y, call) or not isinstance(g, Place) or g.dtype != y.dtype:
        return False
    rows = [as_rows(call, y), as_rows(call, g)]
    _run(call, (texts.backward_narrow, texts.backward_wide), NARROW_BACK, 2, rows, log)
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
