"""Softmax cross-entropy as kernels: one class a row, the classes last, without weights and smoothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.native.kernel import kernel
from tensorgraph.native.places import Address, Call, Place, bits_of
from tensorgraph.ops.cross_entropy import warn_empty
from tensorgraph.ops.native import cross_entropy_rows as texts
from tensorgraph.ops.native.edges import SINGLE_OR_DOUBLE, rows_of
from tensorgraph.ops.native.tiles import NARROW, TILE

__all__ = ["softmax_cross_entropy", "softmax_cross_entropy_vjp"]

# numbers from which a record has several blocks, and how many of them a block has at least
SEVERAL, BLOCK = 60_000, 20_000
# classes of a narrow row in the backward pass, where those of a wide one are walked only once
NARROW_BACK = 48


def _blocks(x: Place) -> int:
    return 1 if x.size < SEVERAL else min(16, x.size // BLOCK, -(-x.shape[0] // 64))


def _words(call: Call) -> tuple[Place, list[int | Address]] | None:
    """The logits as rows, and the first words of all kernels; None of what is left to the forward."""
    x, target, weight = call.inputs[:3]
    attrs = call.attrs
    if weight is not None or attrs["label_smoothing"] != 0 or not isinstance(x, Place) or not x.size:
        return None
    if x.dtype not in SINGLE_OR_DOUBLE or attrs["axis"] not in (-1, x.ndim - 1) or not isinstance(target, Place):
        return None
    rows = rows_of(x)
    ignored = attrs["ignore_index"]
    fits = target.dtype == np.int64 and target.shape == x.shape[:-1] and target.is_contiguous
    if rows is None or not fits or not -(2**63) <= (ignored or 0) < 2**63:
        return None
    words: list[int | Address] = [rows.address(), rows.strides[0], *rows.shape, target.address(), int(ignored or 0)]
    return rows, words


def _losses(call: Call, x: Place, words: list[int | Address], lse: Place, loss: Place, divisor: Place) -> None:
    """The kernels of the forward pass."""
    blocks, narrow, each = _blocks(x), x.shape[1] <= NARROW, call.attrs["reduction"] == "none"
    sums = call.scratch((blocks, 3), np.float64)
    text = texts.forward_narrow if narrow else texts.forward_wide
    constants = dict(IGNORES=call.attrs["ignore_index"] is not None, EACH=each)
    words = [*words, lse.address(), loss.address(), sums.address(), _tiles(call, blocks, narrow), TILE]
    call.run(kernel(text, x.dtype, **constants), words, blocks)
    if each:
        call.run(kernel(texts.one, np.float64), [divisor.address()])
        return
    counted = call.attrs["reduction"] in ("mean", "batchmean")
    zero = call.attrs["empty"] == "zero"
    words += [blocks, loss.address(), divisor.address()]
    if counted:
        words.append(call.warn(lambda: warn_empty("zero" if zero else "nan")))
    call.run(kernel(texts.finish, x.dtype, COUNTED=counted, ZERO=zero), words)


def _tiles(call: Call, blocks: int, narrow: bool) -> int | Address:
    """A scratch for each block, where rows are narrow."""
    return call.scratch((blocks, TILE), np.uint8).address() if narrow else 0


def _kept(call: Call, x: Place) -> tuple[Place, Place]:
    """Memory for what the forward pass keeps."""
    return call.scratch((2, x.shape[0]), x.dtype), call.scratch((), np.float64)


def softmax_cross_entropy(call: Call) -> bool:
    """`softmax_cross_entropy`; targets are looked at before anything is written."""
    found = _words(call)
    if found is None:
        return False
    x, words = found
    lse, divisor = [given or made for given, made in zip(call.outputs[1:], _kept(call, x), strict=True)]
    each = call.attrs["reduction"] == "none"
    loss = call.outputs[0] or call.scratch(x.shape[:1] if each else (), x.dtype)
    error = f"a class index is outside [0, {x.shape[1]})"
    check = kernel(texts.check_targets, np.float64, IGNORES=call.attrs["ignore_index"] is not None)
    call.check(check, [words[4], x.shape[0], x.shape[1], words[5]], error)
    _losses(call, x, words, lse, loss, divisor)
    return True


def softmax_cross_entropy_vjp(call: Call) -> bool:
    """The gradient of `softmax_cross_entropy` for the logits."""
    found = _words(call)
    if found is None or tuple(map(bool, call.attrs["want"])) != (True, False, False):
        return False
    x, words = found
    lse, divisor, g = call.inputs[4:7]
    dx, each = call.outputs[0], call.attrs["reduction"] == "none"
    if dx is None:
        return True
    inline = not isinstance(g, Place)
    if inline and (each or not isinstance(g, (int, float, np.number))):
        return False
    if not inline and g.dtype != x.dtype:
        return False
    rows = None if not each else rows_of(g.over((*g.shape, 1), (*g.strides, g.dtype.itemsize)))
    if each and rows is None:
        return False
    if not (isinstance(lse, Place) and lse.is_contiguous and isinstance(divisor, Place)):
        # a graph need not have kept what the forward pass made
        lse, divisor = _kept(call, x)
        loss = call.scratch(x.shape[:1] if each else (), x.dtype)
        _losses(call, x, words, lse, loss, divisor)
    blocks, narrow = _blocks(x), x.shape[1] <= NARROW_BACK
    words = [*words, lse.address(), divisor.address(), bits_of(g, x.dtype) if inline else g.address()]
    words += [0 if rows is None else rows.strides[0], dx.address(), _tiles(call, blocks, narrow), TILE]
    text = texts.backward_narrow if narrow else texts.backward_wide
    constants: dict[str, Any] = dict(IGNORES=call.attrs["ignore_index"] is not None, EACH=each, INLINE=inline)
    call.run(kernel(text, x.dtype, **constants), words, blocks)
    if isinstance(call.inputs[0], Place) and call.inputs[0].is_contiguous:
        call.may_replace(0, 0)
    return True
