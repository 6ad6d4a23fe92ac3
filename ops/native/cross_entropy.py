"""Softmax cross-entropy as kernels, of rows along the axis of the classes.

Of one class a row without smoothing few rows' lanes are rows; else there is a coefficient for every class.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.native.kernel import kernel
from tensorgraph.native.places import Address, Call, Place, bits_of
from tensorgraph.ops.cross_entropy import warn_empty
from tensorgraph.ops.native import cross_entropy_dense as dense
from tensorgraph.ops.native import cross_entropy_rows as texts
from tensorgraph.ops.native.edges import SINGLE_OR_DOUBLE, Along, as_rows, in_order
from tensorgraph.ops.native.labels import as_int64, integers
from tensorgraph.ops.native.tiles import NARROW, TILE

__all__ = ["softmax_cross_entropy", "softmax_cross_entropy_vjp"]

# numbers from which a record has several blocks, and how many of them a block has at least
SEVERAL, BLOCK = 60_000, 20_000
# classes of a narrow row in the backward pass, where those of a wide one are walked only once
NARROW_BACK = 48


def _blocks(x: Place) -> int:
    return 1 if x.size < SEVERAL else min(16, x.size // BLOCK, -(-x.shape[0] // 64))


class _Given:
    """What a call's kernels read.

    Attributes
    ----------
    x : Place
        The logits as rows.
    words : list of int or Address
        Logits, their row's stride, rows, classes, targets, what is ignored: the first words of all kernels.
    ends : list of int or Address
        The class weights, and what is added for smoothing.
    step, keep : int
        In place of a tile and its size: the stride of rows of targets, and what smoothing leaves of them.
    constants : dict
    is_dense, is_weighted : bool
    """

    def __init__(self, call: Call, along: Along, is_dense: bool, soft: bool) -> None:
        x, target, weight = call.inputs[:3]
        attrs, dtype = call.attrs, x.dtype
        self.x = along.rows(x)
        labels = along.rows(target) if soft else as_int64(call, target)
        ignored = int(attrs["ignore_index"] or 0)
        self.words: list[int | Address] = [
            self.x.address(),
            self.x.strides[0],
            *self.x.shape,
            labels.address(),
            ignored,
        ]
        weight = in_order(call, weight)
        smoothing = float(attrs["label_smoothing"])
        self.step = labels.strides[0] if soft else 0
        self.keep = bits_of(1.0 - smoothing, dtype)
        self.ends = [0 if weight is None else weight.address(), bits_of(smoothing / self.x.shape[1], dtype)]
        self.is_dense, self.is_weighted = is_dense, weight is not None
        self.constants: dict[str, Any] = dict(
            IGNORES=attrs["ignore_index"] is not None, EACH=attrs["reduction"] == "none", WEIGHTED=self.is_weighted
        )
        if is_dense:
            self.constants["SOFT"] = soft

    def tiles(self, call: Call, blocks: int, narrow: bool) -> list[int | Address]:
        """The words for a scratch of each block, where rows are narrow, or what stands in their place."""
        if self.is_dense:
            return [self.step, self.keep]
        return [call.scratch((blocks, TILE), np.uint8).address() if narrow else 0, TILE]


def _given(call: Call, along: Along) -> _Given | None:
    """None of what is left to the forward."""
    x, target, weight = call.inputs[:3]
    attrs = call.attrs
    if not isinstance(target, Place) or not -(2**63) <= (attrs["ignore_index"] or 0) < 2**63:
        return None
    soft = target.dtype.kind == "f"
    if target.dtype != x.dtype if soft else integers(target) is None:
        return None
    if weight is not None and not (isinstance(weight, Place) and weight.dtype == x.dtype):
        return None
    return _Given(call, along, soft or attrs["label_smoothing"] != 0, soft)


def _along(call: Call) -> Along | None:
    x = call.inputs[0]
    if not isinstance(x, Place) or not x.size or x.dtype not in SINGLE_OR_DOUBLE:
        return None
    return Along(call, x.shape, call.attrs["axis"])


def _losses(call: Call, given: _Given, lse: Place, loss: Place, divisor: Place) -> None:
    """The kernels of the forward pass."""
    x, reduction = given.x, call.attrs["reduction"]
    blocks, narrow = _blocks(x), x.shape[1] <= NARROW and not given.is_dense
    sums = call.scratch((blocks, 4), np.float64)
    text = dense.forward_dense if given.is_dense else texts.forward_narrow if narrow else texts.forward_wide
    constants = dict(given.constants, MASS=given.is_weighted and reduction == "mean")
    words = [*given.words, lse.address(), loss.address(), sums.address(), *given.tiles(call, blocks, narrow)]
    words += given.ends
    call.run(kernel(text, x.dtype, **constants), words, blocks)
    if reduction == "none":
        call.run(kernel(texts.one, np.float64), [divisor.address()])
        return
    counted = reduction in ("mean", "batchmean")
    zero = call.attrs["empty"] == "zero"
    words += [blocks, loss.address(), divisor.address()]
    if counted:
        words.append(call.warn(lambda: warn_empty("zero" if zero else "nan")))
    call.run(kernel(texts.finish, x.dtype, COUNTED=counted, ZERO=zero), words)


def _kept(call: Call, x: Place) -> tuple[Place, Place]:
    """Memory for what the forward pass keeps."""
    return call.scratch((2, x.shape[0]), x.dtype), call.scratch((), np.float64)


def _look(call: Call) -> bool:
    """Have targets and weights looked at; False where they lie so that they cannot be."""
    x, target, weight = call.inputs[:3]
    classes = x.size // target.size
    axes = [i for i, stride in enumerate(target.strides) if stride]  # networks that share them are given them as one
    target = target.over([target.shape[i] for i in axes], [target.strides[i] for i in axes])
    if not target.is_contiguous:
        return False
    if target.dtype.kind == "f":
        text = kernel(texts.check_numbers, target.dtype, WEIGHTED=False)
        call.check(text, [target.address(), target.size, target.dtype.itemsize], "a probability of a target is NaN")
    else:
        ignored = call.attrs["ignore_index"]
        text = kernel(texts.check_targets, np.float64, IGNORES=ignored is not None, **(integers(target) or {}))
        error = f"a class index is outside [0, {classes})"
        call.check(text, [target.address(), target.size, classes, int(ignored or 0)], error)
    if weight is not None:
        text = kernel(texts.check_numbers, weight.dtype, WEIGHTED=True)
        call.check(text, [weight.address(), weight.size, weight.strides[0]], "a class weight is not finite")
    return True


def softmax_cross_entropy(call: Call) -> bool:
    """`softmax_cross_entropy`; targets are looked at before anything is written."""
    along = _along(call)
    given = None if along is None else _given(call, along)
    if given is None or not _look(call):
        return False
    lse, divisor = [out or made for out, made in zip(call.outputs[1:], _kept(call, given.x), strict=True)]
    each = call.attrs["reduction"] == "none"
    loss = call.outputs[0] or call.scratch(given.x.shape[:1] if each else (), given.x.dtype)
    _losses(call, given, lse, loss, divisor)
    return True


def softmax_cross_entropy_vjp(call: Call) -> bool:
    """The gradient of `softmax_cross_entropy` for the logits."""
    if tuple(map(bool, call.attrs["want"])) != (True, False, False):
        return False
    along, out = _along(call), call.outputs[0]
    given = None if along is None else _given(call, along)
    if along is None or given is None:
        return False
    x, (lse, divisor, g) = given.x, call.inputs[4:7]
    if out is None:
        return True
    each, inline = call.attrs["reduction"] == "none", not isinstance(g, Place)
    if (each or not isinstance(g, (int, float, np.number))) if inline else g.dtype != x.dtype:
        return False
    rows = None if not each else as_rows(call, g.over((*g.shape, 1), (*g.strides, g.dtype.itemsize)))
    if not (isinstance(lse, Place) and lse.is_contiguous and isinstance(divisor, Place)):
        # a graph need not have kept what the forward pass made
        lse, divisor = _kept(call, x)
        _losses(call, given, lse, call.scratch(x.shape[:1] if each else (), x.dtype), divisor)
    blocks, narrow = _blocks(x), x.shape[1] <= NARROW_BACK and not given.is_dense
    dx = along.room(out)
    words = [*given.words, lse.address(), divisor.address(), bits_of(g, x.dtype) if inline else (rows or g).address()]
    words += [0 if rows is None else rows.strides[0], dx.address(), *given.tiles(call, blocks, narrow), *given.ends]
    text = dense.backward_dense if given.is_dense else texts.backward_narrow if narrow else texts.backward_wide
    call.run(kernel(text, x.dtype, **given.constants, INLINE=inline), words, blocks)
    along.give(dx, out)
    if isinstance(call.inputs[0], Place) and call.inputs[0].is_contiguous:
        call.may_replace(0, 0)
    return True
