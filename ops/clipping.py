"""Clipping by the joint norm of all gradients, as an op."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgraph.engine import sums
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.batching import BatchCall, reshaped
from tensorgraph.engine.declare import op
from tensorgraph.engine.op import TypeCheck, listing
from tensorgraph.ops.arithmetic import minimum, sqrt
from tensorgraph.ops.logic import equal, less, where
from tensorgraph.ops.reduction import sum as sum_of
from tensorgraph.ops.shape import astype

__all__ = ["clip_norm"]

ONE = np.float64(1.0)
_P = np.linspace(-1.0, 1.0, 6).reshape(2, 3)
_G = np.cos(np.arange(6.0)).reshape(2, 3)


def _number(value: float) -> Any:
    return np.array(value, np.float64)


PART = 1024  # numbers whose squares BLAS may add as it likes


def _scale_to(total: Any, limit: Any) -> Any:
    # written so that a norm of 0 gives 1, and an infinite or NaN norm is not hidden
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.minimum(limit / total, ONE)


def _sum_of_squares(flat: Any) -> Any:
    """In parts, since BLAS adds all squares in a few rows of sums."""
    if flat.size < 2 * PART:
        return np.dot(flat, flat)
    parts = flat[: flat.size // PART * PART].reshape(-1, 1, PART)
    rest = flat[parts.size :]
    return sums.total(np.matmul(parts, parts.transpose(0, 2, 1))) + np.dot(rest, rest)


def _clip_norm(grads: list[Any], limit: Any) -> Any:
    total = np.float64(0.0)
    for g in grads:
        total = total + _sum_of_squares(np.asarray(g, np.float64).ravel())
    norm = np.sqrt(total)
    scale = _scale_to(norm, np.float64(limit))
    with np.errstate(invalid="ignore"):  # infinity times 0 is NaN, which is what the norm says
        return (*[(g * g.dtype.type(scale)).astype(g.dtype, copy=False) for g in grads], np.asarray(norm))


def _clip_norm_flops(grads: list[Aval], limit: Aval) -> int:
    return 3 * sum(g.size for g in grads)


def _clip_norm_scratch(grads: list[Aval], limit: Aval) -> int:
    """Each gradient is squared in float64, before any result is made."""
    narrow = [8 * g.size for g in grads if g.dtype != np.float64]
    return max(0, max(narrow, default=0) - sum(g.nbytes for g in grads))


def _clip_norm_infer(grads: list[Aval], limit: Aval) -> Any:
    for g in grads:
        if g.dtype.kind != "f":
            raise TypeError(f"a gradient is float, got {g}")
    if limit.shape != ():
        raise ValueError(f"the largest norm is one number, got {limit}")
    return (*grads, Aval((), np.float64))


_clip_norm_types = TypeCheck(_clip_norm_infer)


def _clip_norm_check(grads: list[Any], limit: Any) -> None:
    _clip_norm_types(grads, limit)
    if not limit > 0:
        raise ValueError(f"limit must be a positive number, got {limit}")


def _clip_norm_batch(call: BatchCall) -> Any:
    """Every example's norm from sums over its own axes."""
    grads, limit = call.whole(0), astype(call.args[1], dtype="float64")  # one for all, or one an example
    total: Any = 0.0
    for g in grads:
        wide = reshaped(astype(g, dtype="float64"), call.size, math.prod(g.shape[1:]))
        total = total + sum_of(wide * wide, axis=1)
    norm = sqrt(total)
    scale = minimum(limit / norm, 1.0)
    kinds = [(g, astype(reshaped(scale, call.size, *[1] * (len(g.shape) - 1)), dtype=g.dtype.name)) for g in grads]
    return (*[g * factor for g, factor in kinds], norm)


def _clip_norm_rule(want: Any, g_clipped: Any, grads: Any, limit: Any) -> Any:
    """``clipped = s grads`` with ``s = min(limit / norm, 1)``, whose derivative a tie shares; 0 is no direction."""
    *gs, g_norm = g_clipped
    wide = [astype(g, dtype="float64") for g in grads]
    total: Any = 0.0
    for g in wide:
        total = total + sum_of(g * g)
    empty = equal(total, 0.0)
    norm = sqrt(where(empty, 1.0, total))
    ratio = astype(limit, dtype="float64") / norm
    scale = where(empty, 1.0, minimum(ratio, 1.0))
    share = where(empty, 0.0, where(less(ratio, 1.0), 1.0, where(equal(ratio, 1.0), 0.5, 0.0)))
    units = [g / norm for g in wide]
    along: Any = 0.0
    for c, unit in zip(gs, units, strict=True):
        along = along + (sum_of(astype(c, dtype="float64") * unit) if type(c) is not float else 0.0)
    back = g_norm - share * along * ratio
    moved = [
        back * unit if type(c) is float else scale * astype(c, dtype="float64") + back * unit
        for c, unit in zip(gs, units, strict=True)
    ]
    return [astype(m, dtype=g.dtype.name) for m, g in zip(moved, grads, strict=True)], share * along


clip_norm = op(
    "clip_norm([grads], limit) -> *clipped", _clip_norm, listing, vjp=_clip_norm_rule,
    native="clipping:native_clip_norm",
    infer_rule=_clip_norm_infer, batch=_clip_norm_batch,
    check=_clip_norm_check, flops=_clip_norm_flops, scratch=_clip_norm_scratch, traits=("refuses",),
    examples=((([_G, _P], _number(0.5)), {}), (([_G], _number(50.0)), {})),
    doc="""Gradients scaled together so that their joint Euclidean norm is at most `limit`; last comes the norm before.

    A norm of 0 leaves them; a NaN or infinite one makes them NaN or 0, not silently finite. (Pascanu et al. 2013)
    """,
)  # fmt: skip
