"""Norms of vectors and matrices, whose squares may be too small or too large for the dtype."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from tensorgraph.engine.aval import Aval, canonical_axes
from tensorgraph.engine.declare import op
from tensorgraph.engine.functions import function, static
from tensorgraph.engine.op import float_dtype, reduced_shape, reduction
from tensorgraph.engine.sums import total
from tensorgraph.engine.tensor import Tensor
from tensorgraph.ops import reduction as reductions
from tensorgraph.ops.arithmetic import absolute, maximum, power, sign
from tensorgraph.ops.creation import number
from tensorgraph.ops.exponential import as_float
from tensorgraph.ops.logic import equal, isnan, logical_or, where
from tensorgraph.ops.moving import of
from tensorgraph.ops.reduction import count, refuse_axis_of_number, spread, wide
from tensorgraph.ops.shape import astype, expand_dims

__all__: list[str] = []

TensorLike = Any
Axes = int | Sequence[int]


def _vector_norm(x: Any, *, axis: Any = None, keepdims: Any = False, ord: float = 2) -> Any:
    refuse_axis_of_number(x, axis)
    x = as_float(x)
    kind, p = x.dtype, float(ord)
    with np.errstate(all="ignore"):
        if p == 0:
            return np.asarray(total(x != 0, axis, keepdims), kind)
        if p == 2 and x.dtype != np.float16:
            squares = np.asarray(total(np.square(x), axis, keepdims))
            limits = np.finfo(kind)
            if ((squares >= limits.tiny / limits.eps) & (squares < np.inf) | (squares != squares)).all():
                return np.sqrt(squares)
        size = np.abs(x)
        if p == math.inf:
            return np.maximum.reduce(size, axis=axis, keepdims=keepdims, initial=0)
        if p == -math.inf:
            return np.minimum.reduce(size, axis=axis, keepdims=keepdims)
        if p == 1:
            return np.asarray(total(size, axis, keepdims, wide(kind)), kind)
        return _of_parts(size, axis, keepdims, p).astype(kind, copy=False)


def _of_parts(size: Any, axis: Any, keepdims: Any, p: float) -> Any:
    """The norm of magnitudes, each as a part of the one that decides most; float32 in float64, for all but squares."""
    kind = size.dtype
    work = kind if p == 2 and kind != np.float16 else np.result_type(kind, np.float32 if p == 2 else np.float64)
    if not size.size:
        out = reduced_shape(size.shape, axis, keepdims)
        return np.full(out, 0 if p > 0 else np.inf, kind)
    size = size.astype(work, copy=False)
    decides = (np.maximum if p > 0 else np.minimum).reduce(size, axis=axis, keepdims=True)
    # by a power of two, so that nothing is rounded
    exponent = np.where(np.isfinite(decides) & (decides != 0), np.frexp(decides)[1], 0)
    parts = np.ldexp(size, -exponent)
    powers = np.square(parts) if p == 2 else np.power(parts, p)
    sums = np.asarray(total(powers, axis, keepdims))
    root = np.sqrt(sums) if p == 2 else np.power(sums, 1 / p)
    return np.ldexp(root, exponent if keepdims else exponent.reshape(root.shape))


def _vector_norm_infer(x: Aval, *, axis: Any, keepdims: bool, ord: float) -> Aval:
    if number(ord, "ord") == -math.inf and not count(x, axis):
        raise ValueError(f"no elements to compare in {x} over axis {axis}; the smallest of nothing is not defined")
    if ord != ord:
        raise ValueError("ord must be a number, inf or -inf, got NaN")
    return Aval(reduced_shape(x.shape, axis, keepdims), float_dtype(x.dtype))


def _vector_norm_x(g: Any, x: Any, out: Any, x_aval: Any, axis: Any, keepdims: bool, ord: float) -> Any:
    p = float(ord)
    if p == 0:
        return x * 0.0 * spread(g, x_aval, axis, keepdims)
    if p == 1:
        return spread(g, x_aval, axis, keepdims) * sign(x)
    if math.isinf(p):
        size = absolute(x)
        hit = logical_or(equal(size, spread(out, x_aval, axis, keepdims)), isnan(x))
        kind = np.result_type(x_aval.dtype, np.float32).name
        ties = astype(reductions.sum(hit, axis=axis, keepdims=keepdims), dtype=kind)
        return where(hit, spread(g / maximum(ties, 1), x_aval, axis, keepdims), 0.0) * sign(x)
    narrow = x_aval.dtype == np.float16
    if narrow:
        x, out, g = (astype(v, dtype="float32") for v in (x, out, g))
    # at 0 there is no slope, and 0 is taken
    nothing = equal(out, 0.0)
    parts = x / spread(where(nothing, 1.0, out), x_aval, axis, keepdims)
    g = spread(where(nothing, 0.0, g), x_aval, axis, keepdims)
    if p == 2:
        return g * parts
    still = equal(parts, 0.0)
    slope = sign(parts) * power(absolute(where(still, 1.0, parts)), p - 1.0)
    return g * where(still, 0.0, slope)


def _oracle(x: Any, *, axis: Any = None, keepdims: Any = False, ord: float = 2) -> Any:
    size = np.abs(x)
    if ord in (math.inf, -math.inf):
        return size.max(axis, keepdims=keepdims, initial=0) if ord > 0 else size.min(axis, keepdims=keepdims)
    if ord == 0:
        return total(x != 0, axis, keepdims).astype(x.dtype)
    with np.errstate(divide="ignore"):
        return total(size**ord, axis, keepdims) ** (1 / x.dtype.type(ord))


vector_norm = op(
    "vector_norm(x, *, axis=None, keepdims=False, ord: float = 2)", _vector_norm, reduction,
    native="row_numbers:vector_norm", direct=True,
    numpy=(getattr(np.linalg, "vector_norm", None),), infer_rule=_vector_norm_infer, vjp=dict(x=_vector_norm_x),
    flops=lambda x, **attrs: 2 * x.size, kinks=(0.0,), domain=(-2.0, 3.0),
    traits=("root", "bounded below"), oracle=_oracle,
    examples=(
        (((3, 4),), {}), (((3, 4),), dict(axis=0)), (((2, 3, 2),), dict(axis=(0, 2), keepdims=True)), (((),), {}),
        (((0, 3),), dict(axis=0)), (((3, 4),), dict(axis=1, ord=1)), (((3, 4),), dict(axis=1, ord=3)),
        (((3, 4),), dict(ord=1.5)), (((3, 4),), dict(axis=-1, ord=0.5)), (((3, 4),), dict(axis=0, ord=-1.0)),
        (((3, 4),), dict(axis=0, ord=float("inf"))), (((3, 4),), dict(axis=1, ord=float("-inf"))),
        (((3, 4),), dict(axis=1, ord=0)),
    ),
    doc="""(Σ|x|ᵖ)^(1/p) over `axis`, p being `ord`; the largest for inf, the smallest for -inf.

    For 0 it is how many are not 0. Right also where the powers are too small or too large for the dtype. The derivative
    is 0 at 0; for p below 1, by an element that is 0, too; ties of the largest and of the smallest share it.

    >>> import tensorgraph as tg
    >>> tg.vector_norm([3.0, 4.0]), tg.vector_norm([3e30, 4e30]), tg.vector_norm([3.0, -4.0], ord=float("inf"))
    (tensor(5., f32), tensor(5.e+30, f32), tensor(4., f32))
    """,
)  # fmt: skip


def _two_axes(x: Tensor, axis: Any, name: str) -> tuple[int, int]:
    axes = canonical_axes(tuple(axis), x.ndim) if isinstance(axis, (tuple, list)) else ()
    if len(axis) != 2 or len(axes) != 2:
        raise ValueError(f"{name}: a matrix has two axes, got axis={axis}")
    return tuple(a % x.ndim for a in axis)


@function(
    numpy=(getattr(np.linalg, "matrix_norm", None),), computed=True,
    examples=(
        (((3, 4),), {}), (((2, 3, 4),), dict(ord=1)), (((2, 3, 4),), dict(ord=-1, keepdims=True)),
        (((3, 4),), dict(ord=float("inf"))), (((3, 4),), dict(ord=float("-inf"))),
    ),
)  # fmt: skip
def matrix_norm(x: TensorLike, keepdims: bool = False, ord: Literal["fro", "nuc"] | float = "fro") -> Tensor:
    """The norm of matrices, which are the last two axes.

    "fro": the root of the sum of squares; 1 and -1: the largest and smallest sum of magnitudes of a column, inf and
    -inf: of a row.

    >>> import tensorgraph as tg
    >>> tg.matrix_norm([[1.0, -2.0], [3.0, 4.0]], ord=1)
    tensor(6., f32)
    """
    x = of(x, "matrix_norm: x")
    if x.ndim < 2:
        raise ValueError(f"matrix_norm: x must have two axes at least, got shape {x.shape}")
    return _matrix_norm(x, (-2, -1), keepdims, ord, "matrix_norm")


def _matrix_norm(x: Tensor, axes: tuple[int, int], keepdims: bool, ord: Any, name: str) -> Tensor:
    rows, columns = (a % x.ndim for a in axes)
    if ord == "fro":
        return vector_norm.public(x, axis=(rows, columns), keepdims=keepdims)  # type: ignore[no-any-return]
    if ord in ("nuc", 2, -2):
        return _singular(x, rows, columns, keepdims, ord, name)
    if ord not in (1, -1, math.inf, -math.inf):
        raise ValueError(f"{name}: of matrices ord is 'fro', 'nuc', 1, -1, 2, -2, inf or -inf, got {ord!r}")
    summed, chosen = (rows, columns) if abs(ord) == 1 else (columns, rows)
    sums = vector_norm.public(x, axis=summed, keepdims=True, ord=1)
    best = _extreme(sums, ord).public(sums, axis=chosen, keepdims=True)
    return best if keepdims else _without(best, rows, columns)


def _extreme(norms: Tensor, ord: float) -> Any:
    """What takes the largest norm, or for a negative order the least; the largest of none is 0, as NumPy has it."""
    if ord < 0:
        return reductions.min
    return reductions.max if norms.size else reductions.sum


def _without(x: Tensor, *axes: int) -> Tensor:
    return x.reshape(tuple(n for i, n in enumerate(x.shape) if i not in axes))


def _singular(x: Tensor, rows: int, columns: int, keepdims: bool, ord: Any, name: str) -> Tensor:
    """Of the singular values."""
    from tensorgraph.engine.functions import function_named
    from tensorgraph.engine.op import op_named
    from tensorgraph.ops.moving import moveaxis

    declared = op_named("svdvals") or function_named("svdvals")
    if declared is None:
        raise NotImplementedError(f"{name}: ord={ord!r} needs singular values, which are not there yet")
    values = getattr(declared, "public", None) or declared.call  # type: ignore[union-attr]
    singular = values(moveaxis(x, (rows, columns), (-2, -1)))
    reduce = reductions.sum if ord == "nuc" else _extreme(singular, ord)
    result: Tensor = reduce.public(singular, axis=-1)
    return expand_dims.public(result, axis=(rows, columns)) if keepdims else result


@function(
    numpy=(np.linalg.norm,), computed=True, methods=("norm",),
    examples=(
        (((3,),), {}), (((3, 4),), {}), (((3, 4), 1), {}), (((2, 3, 4),), dict(axis=1)), (((3, 4), "fro"), {}),
        (((3, 4), 3), dict(axis=0, keepdims=True)), (((2, 3, 4), 1, static((1, 2))), {}),
        (((2, 3, 4), -1, static((2, 0)), True), {}),
    ),
)  # fmt: skip
def norm(
    x: TensorLike, ord: Literal["fro", "nuc"] | float | None = None, axis: Axes | None = None, keepdims: bool = False
) -> Tensor:
    """The Euclidean norm of all elements; a norm of vectors along one axis, of matrices in two, as NumPy's norm.

    `vector_norm` and `matrix_norm` say which. The derivative is 0 at 0.

    >>> import tensorgraph as tg
    >>> tg.norm([[3.0, 4.0]]), tg.norm([[3.0, 4.0], [0.0, 1.0]], axis=1)
    (tensor(5., f32), tensor([5., 1.], f32))
    """
    x = of(x, "norm: x")
    if ord is None and axis is None:
        return vector_norm.public(x, keepdims=keepdims)  # type: ignore[no-any-return]
    if axis is None:
        if x.ndim not in (1, 2):
            raise ValueError(f"norm: ord={ord!r} is of vectors or matrices; say of which axis of shape {x.shape}")
        axis = 0 if x.ndim == 1 else (0, 1)
    if isinstance(axis, (int, np.integer)) or len(axis) == 1:
        if isinstance(ord, str):
            raise ValueError(f"norm: ord={ord!r} is of matrices; name two axes")
        result: Tensor = vector_norm.public(x, axis=axis, keepdims=keepdims, ord=2 if ord is None else ord)
        return result
    if ord is None:
        return vector_norm.public(x, axis=tuple(axis), keepdims=keepdims)  # type: ignore[no-any-return]
    return _matrix_norm(x, _two_axes(x, axis, "norm"), keepdims, ord, "norm")
