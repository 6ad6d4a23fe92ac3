"""Reductions of the elements that a mask picks, and from a first value: ``where=`` and ``initial=``, as NumPy has them.

Each is a composition: what the mask leaves out becomes what changes nothing, so that neither its value nor a NaN in it
reaches the result or a gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgraph.engine.aval import broadcast_shapes
from tensorgraph.engine.numbers import is_number
from tensorgraph.engine.op import CATALOGUE, float_dtype, reduced_shape
from tensorgraph.engine.operands import convert
from tensorgraph.engine.tensor import Tensor
from tensorgraph.ops import logic, shape
from tensorgraph.ops.arithmetic import maximum, minimum
from tensorgraph.ops.structure import stop_gradient

__all__ = ["MASKED", "extremum", "folded", "mean", "spread_of", "truth"]

MASKED = ("where",)  # the keywords of those that begin with nothing
FOLDED = ("where", "initial")


def _tensor(x: Any, what: str) -> Tensor:
    made: Tensor = convert(x, lambda: what, copy=True)
    return made


def _mask(x: Tensor, where: Any) -> Tensor:
    mask = _tensor(where, "where")
    if mask.dtype.kind != "b":
        raise TypeError(f"where must be booleans, got {mask.dtype}; write mask.astype('bool')")
    try:
        fits = broadcast_shapes(mask.shape, x.shape) == x.shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"where must broadcast to the shape {x.shape} of x, got {mask.shape}")
    return mask


def _first(initial: Any, kind: np.dtype[Any]) -> Any:
    """The first value, as a number or a tensor of no axes of the result's dtype."""
    value = initial if is_number(initial) else _tensor(initial, "initial")
    if isinstance(value, Tensor) and not is_number(value):
        if value.ndim:
            raise ValueError(f"initial must be one number, got shape {value.shape}")
        if value.dtype.kind == "f" and kind.kind != "f":
            raise TypeError(f"initial must be an integer where the result is {kind}, got {value.dtype}")
        return value if value.dtype == kind else shape.astype.public(value, dtype=kind.name)
    if isinstance(value, float) and kind.kind != "f":
        raise TypeError(f"initial must be an integer where the result is {kind}, got {value!r}")
    return value


def folded(name: str, nothing: int, join: Callable[[Any, Any], Any]) -> tuple[Callable[..., Any], tuple[str, ...]]:
    """Of a sum or a product: what changes nothing in it, and how the first value joins the result."""

    def call(x: Any, *, where: Any = None, initial: Any = None, **attrs: Any) -> Any:
        x = _tensor(x, "x")
        if where is not None:
            x = logic.where.public(_mask(x, where), x, nothing if x.dtype.kind != "b" else bool(nothing))
        out = CATALOGUE[name].public(x, **attrs)
        return out if initial is None else join(out, _first(initial, out.dtype))

    return call, FOLDED


def extremum(name: str, largest: bool) -> tuple[Callable[..., Any], tuple[str, ...]]:
    """Of the largest or the smallest element; a first value stands for a mask that picks none, and for no elements."""

    def call(x: Any, *, axis: Any, keepdims: Any, where: Any = None, initial: Any = None) -> Any:
        x = _tensor(x, "x")
        out = reduced_shape(x.shape, axis, keepdims)
        if where is not None:
            if initial is None:
                raise ValueError(
                    f"where a mask picks nothing there is no {name}: give a first value too, as in "
                    f"{name}(x, where=mask, initial={'-inf' if largest else 'inf'})"
                )
            x = logic.where.public(_mask(x, where), x, _end(x.dtype, largest))
        if initial is None:
            return CATALOGUE[name].public(x, axis=axis, keepdims=keepdims)
        first = _first(initial, x.dtype)
        if not x.size:
            made = first if isinstance(first, Tensor) and not is_number(first) else _tensor(first, "initial")
            return shape.broadcast_to.public(shape.astype.public(made, dtype=x.dtype.name), shape=out)
        found = CATALOGUE[name].public(x, axis=axis, keepdims=keepdims)
        return (maximum if largest else minimum).public(found, first)

    return call, FOLDED


def _end(kind: np.dtype[Any], largest: bool) -> Any:
    """The number that no other of the dtype is beyond."""
    if kind.kind == "b":
        return not largest
    if kind.kind == "f":
        return -math.inf if largest else math.inf
    limits = np.iinfo(kind)
    return int(limits.min if largest else limits.max)


def truth(name: str, nothing: bool) -> tuple[Callable[..., Any], tuple[str, ...]]:
    """Of all or any."""

    def call(x: Any, *, where: Any = None, **attrs: Any) -> Any:
        x = _tensor(x, "x")
        x = x if x.dtype.kind == "b" else x != 0
        return CATALOGUE[name].public(logic.where.public(_mask(x, where), x, nothing), **attrs)

    return call, MASKED


def _wide(x: Any, where: Any, axis: Any) -> tuple[Tensor, Tensor, Tensor, np.dtype[Any]]:
    """x at least in float32, the mask, how many elements it picks along the axes, and the result's dtype."""
    x = _tensor(x, "x")
    kind = float_dtype(x.dtype)
    wide = np.dtype(np.float32) if kind == np.float16 else kind
    mask = shape.broadcast_to.public(_mask(x, where), shape=x.shape)
    count = CATALOGUE["sum"].public(mask, axis=axis, keepdims=True)
    x = x if x.dtype == wide else shape.astype.public(x, dtype=wide.name)
    return x, mask, shape.astype.public(count, dtype=wide.name), kind


def _divided(x: Any, count: Any) -> Any:
    """x / count, of x that is not negative; as x / 0 where the count is not positive, without a gradient there."""
    nothing = count <= 0.0
    at_nothing = logic.where.public(stop_gradient.public(x) > 0.0, math.inf, math.nan)
    return logic.where.public(nothing, at_nothing, x / logic.where.public(nothing, 1.0, count))


def _narrow(x: Any, kind: np.dtype[Any], given: Any, axis: Any, keepdims: bool) -> Any:
    x = x if x.dtype == kind else shape.astype.public(x, dtype=kind.name)
    return x if keepdims else shape.reshape.public(x, shape=reduced_shape(given.shape, axis, False))


def _mean(x: Any, mask: Any, count: Any, axis: Any) -> Any:
    return _divided(CATALOGUE["sum"].public(logic.where.public(mask, x, 0.0), axis=axis, keepdims=True), count)


def _mean_where(x: Any, *, axis: Any, keepdims: Any, where: Any = None) -> Any:
    x, mask, count, kind = _wide(x, where, axis)
    return _narrow(_mean(x, mask, count, axis), kind, x, axis, keepdims)


mean = (_mean_where, MASKED)


def spread_of(root: bool) -> tuple[Callable[..., Any], tuple[str, ...]]:
    """Of the variance or, its root, the deviation."""

    def call(x: Any, *, axis: Any, keepdims: Any, correction: Any, where: Any = None) -> Any:
        x, mask, count, kind = _wide(x, where, axis)
        off = logic.where.public(mask, x - _mean(x, mask, count, axis), 0.0)
        n = count - float(correction)
        if root:  # the norm is right where squares would be too small or too large, and has no slope at 0
            length = CATALOGUE["vector_norm"].public(off, axis=axis, keepdims=True)
            out = _divided(length, CATALOGUE["sqrt"].public(maximum.public(n, 0.0)))
        else:
            out = _divided(CATALOGUE["sum"].public(off * off, axis=axis, keepdims=True), n)
        return _narrow(out, kind, x, axis, keepdims)

    return call, MASKED
