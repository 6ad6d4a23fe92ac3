"""Kernels that scale arrays together to a joint norm."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.native.kernel import kernel
from tensorgraph.native.lowering import static
from tensorgraph.native.places import Call, Place
from tensorgraph.native.words import (
    double,
    hsum,
    ldm,
    least,
    load,
    load_double,
    real,
    select,
    sqrt,
    stm,
    store,
    store_double,
    store_int,
    vset,
    word_at,
)  # fmt: skip
from tensorgraph.ops.native.edges import SINGLE_OR_DOUBLE, span_of
from tensorgraph.ops.native.reductions import with_loss

__all__ = ["native_clip_norm"]

LANES = SIZE = 0  # constants of every kernel
PART = 1 << 16  # numbers whose squares are one sum
LARGE = 1 << 17  # numbers from which threads share an array


def sums_of_squares(w: Any, block: Any, blocks: Any) -> None:
    """Of each part of an array the sum of its squares, in float64 and with what additions lose."""
    x, n, size, parts, sums = [word_at(w, k) for k in static(5)]
    for part in range(parts * block // blocks, parts * (block + 1) // blocks):
        total, lost = double(vset(0.0)), double(vset(0.0))
        for j in range(part * size, min(part * size + size, n), LANES):
            wide = double(ldm(x + j * SIZE, min(n - j, LANES), 0.0))
            total, lost = with_loss(total, lost, wide * wide)
        whole, rest = hsum(total), hsum(lost)
        store_double(sums + part * 8, select(rest == rest, whole + rest, whole))


def norm_and_scale(w: Any, block: Any, blocks: Any) -> None:
    """The root of all sums, and what brings it down to the limit; in float64."""
    sums, count, limit, norm, scale = [word_at(w, k) for k in static(5)]
    total = real(0.0)
    for k in range(count):
        total = total + load(sums + 8 * k)
    store(norm, sqrt(total))
    store(scale, least(load(limit) / sqrt(total), 1.0))


def scaled(w: Any, block: Any, blocks: Any) -> None:
    """An array times a float64, in its own type."""
    x, n, scale, out = [word_at(w, k) for k in static(4)]
    factor = vset(real(load_double(scale)))
    lo, hi = span_of(n, block, blocks)
    for j in range(lo, hi, LANES):
        lanes = min(hi - j, LANES)
        stm(out + j * SIZE, ldm(x + j * SIZE, lanes, 0.0) * factor, lanes)


def not_positive(w: Any, block: Any, blocks: Any) -> None:
    """Whether a float64 is not above 0."""
    store_int(word_at(w, 1), select(load(word_at(w, 0)) > 0.0, 0, 1))


def native_clip_norm(call: Call) -> bool:
    """Squares of all arrays first, then the norm, then each array times the scale."""
    (grads, limit), (*clipped, norm) = call.inputs, call.outputs
    if not isinstance(limit, Place) or limit.dtype != np.float64:
        return False
    if not all(g.dtype in SINGLE_OR_DOUBLE and g.is_contiguous for g in grads):
        return False
    parts = [-(-g.size // PART) for g in grads]
    sums = call.scratch((max(sum(parts), 1),), np.float64, "sums of squares")
    scale = call.scratch((), np.float64, "the scale of a clipped norm")
    total = call.scratch((), np.float64, "a norm") if norm is None else norm
    call.check(kernel(not_positive, "float64"), [limit.address()], "the limit of a norm must be positive")
    at = 0
    for g, count in zip(grads, parts, strict=True):
        if count:
            words = [g.address(), g.size, PART, count, sums.address(8 * at)]
            call.run(kernel(sums_of_squares, g.dtype), words, 4 if g.size >= LARGE else 1)
        at += count
    words = [sums.address(), at, limit.address(), total.address(), scale.address()]
    call.run(kernel(norm_and_scale, "float64"), words)
    for g, out in zip(grads, clipped, strict=True):
        if out is not None and g.size:
            words = [g.address(), g.size, scale.address(), out.address()]
            call.run(kernel(scaled, g.dtype), words, 4 if g.size >= LARGE else 1)
    return True
