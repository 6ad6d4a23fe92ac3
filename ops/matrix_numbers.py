"""Numbers of matrices: trace, rank, condition; and matrices of matrices."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from tensorgraph.engine.aval import Aval, canonical_axis
from tensorgraph.engine.batching import BatchCall
from tensorgraph.engine.declare import op
from tensorgraph.engine.functions import function
from tensorgraph.engine.op import Op
from tensorgraph.engine.sums import total
from tensorgraph.engine.tensor import Tensor
from tensorgraph.ops import creation, logic, reduction, shape
from tensorgraph.ops.moving import diagonal, of
from tensorgraph.ops.norms import norm
from tensorgraph.ops.singular import svdvals
from tensorgraph.ops.solving import (
    algebra,
    inv,
    slogdet_parts,
)  # fmt: skip
from tensorgraph.ops.structure import stop_gradient

__all__: list[str] = []

TensorLike = Any


def _trace(x: Any, *, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    a, b = _matrix_axes(x.shape, axis1, axis2)
    return np.asarray(total(np.diagonal(x, offset, a, b), -1))


def _matrix_axes(shape: tuple[int, ...], axis1: int, axis2: int) -> tuple[int, int]:
    if len(shape) < 2:
        raise ValueError(f"trace: x must have two axes at least, got shape {shape}")
    a, b = canonical_axis(axis1, len(shape)), canonical_axis(axis2, len(shape))
    if a == b:
        raise ValueError(f"trace: axis1 and axis2 must differ, got {axis1} and {axis2}")
    return a, b


def _trace_infer(x: Aval, *, offset: int, axis1: int, axis2: int) -> Aval:
    a, b = _matrix_axes(x.shape, axis1, axis2)
    if type(offset) is not int:
        raise TypeError(f"trace: offset must be an integer, got {offset!r}")
    return Aval(tuple(n for i, n in enumerate(x.shape) if i not in (a, b)), np.add.reduce(np.zeros(0, x.dtype)).dtype)


def _trace_back(g: Any, x_aval: Any, offset: int, axis1: int, axis2: int) -> Any:
    a, b = _matrix_axes(x_aval.shape, axis1, axis2)
    rows, columns, k = (x_aval.shape[a], x_aval.shape[b], offset)
    rows, columns, k = (rows, columns, k) if a < b else (columns, rows, -k)
    here = creation.beside(g, creation.eye, n=rows, m=columns, k=k, dtype="bool")
    sizes = [n if i in (a, b) else 1 for i, n in enumerate(x_aval.shape)]
    wide_g = shape.reshape(g, shape=tuple(1 if i in (a, b) else n for i, n in enumerate(x_aval.shape)))
    return logic.where(shape.reshape(here, shape=tuple(sizes)), wide_g, 0.0)


def _trace_batch(call: BatchCall) -> Any:
    a, b = _matrix_axes(call.shape(0), call.attrs["axis1"], call.attrs["axis2"])
    return call.run(call.args[0], axis1=a + 1, axis2=b + 1)


trace: Op = op(
    "trace(x, *, offset: int = 0, axis1: int = 0, axis2: int = 1)", _trace, algebra, infer_rule=_trace_infer,
    numpy=(np.trace,), methods=("trace",), batch=_trace_batch, vjp=dict(x=_trace_back), traits=("linear",),
    flops=lambda x, *, offset, axis1, axis2: x.size // max(x.shape[axis1], 1),
    examples=(
        (((3, 4),), {}), (((2, 3, 4),), dict(offset=1, axis1=1, axis2=2)), (((3, 4, 2),), dict(axis1=-1, axis2=0)),
        (((0, 2),), {}), (((2, 3),), dict(offset=-1)),
    ),
    on_numpy="a diagonal is few numbers, which NumPy sums where they lie",
    doc="""The sum of the diagonal of matrices, which are the first two axes unless `axis1` and `axis2` say others.

    ``tg.numpy.trace`` and ``np.trace`` of a tensor, and ``x.trace()``; `tensorgraph.trace` records a graph.

    >>> import tensorgraph as tg
    >>> tg.tensor([[1.0, 2.0], [3.0, 4.0]]).trace()
    tensor(5., f32)
    """,
)  # fmt: skip


@function(
    numpy=(getattr(np.linalg, "trace", None),), computed=True,
    examples=((((3, 4),), {}), (((2, 3, 3),), dict(offset=1)), (((3, 4),), dict(dtype="float64"))),
)  # fmt: skip
def matrix_trace(x: TensorLike, offset: int = 0, dtype: Any = None) -> Tensor:
    """The sum of the diagonal of matrices (..., m, n), in a dtype: `tensorgraph.linalg.trace`.

    >>> import tensorgraph as tg
    >>> tg.linalg.trace(tg.ones((2, 3, 3)))
    tensor([3., 3.], f32)
    """
    total = trace.public(x if dtype is None else shape.astype.public(x, dtype), offset=offset, axis1=-2, axis2=-1)
    return total if dtype is None else shape.astype.public(total, dtype)  # type: ignore[no-any-return]


@function(
    numpy=(getattr(np.linalg, "diagonal", None),), examples=((((3, 4),), {}), (((2, 3, 3),), dict(offset=1)))
)  # fmt: skip
def matrix_diagonal(x: TensorLike, offset: int = 0) -> Tensor:
    """The diagonals of matrices (..., m, n): `tensorgraph.linalg.diagonal`.

    >>> import tensorgraph as tg
    >>> tg.linalg.diagonal(tg.ones((2, 3, 4))).shape
    (2, 3)
    """
    return diagonal(x, offset, -2, -1)  # type: ignore[no-any-return]


@function(numpy=(np.linalg.matrix_rank,), examples=(), computed=True)
def matrix_rank(x: TensorLike, rtol: TensorLike | None = None) -> Tensor:
    """How many singular values are more than `rtol` times the largest; by default max(m, n) times the dtype's epsilon.

    Of several matrices each may have an `rtol` of its own.

    >>> import tensorgraph as tg
    >>> tg.linalg.matrix_rank([[1.0, 2.0], [2.0, 4.0]])
    tensor(1, i64)
    """
    x = of(x, "matrix_rank: x")
    s = stop_gradient.public(svdvals.public(x))
    if not s.shape[-1]:
        return reduction.sum.public(s > 0, axis=-1)  # type: ignore[no-any-return]
    limit = max(x.shape[-2:]) * float(np.finfo(s.dtype).eps)
    if rtol is not None:
        limit = shape.expand_dims.public(of(rtol, "matrix_rank: rtol"), axis=-1)
    return reduction.sum.public(s > limit * s[..., :1], axis=-1)  # type: ignore[no-any-return]


@function(
    numpy=(np.linalg.cond,), computed=True,
    examples=((((3, 3),), {}), (((3, 2),), {}), (((2, 3, 3), 1), {}), (((3, 3), "fro"), {}), (((3, 3), -2), {})),
)  # fmt: skip
def matrix_cond(x: TensorLike, p: Literal["fro", "nuc"] | float | None = None) -> Tensor:
    """The condition of matrices, `tensorgraph.linalg.cond`: the norm times that of the inverse, by which errors grow.

    Parameters
    ----------
    x : tensor of shape (..., m, n)
    p : {None, 2, -2, "fro", "nuc", 1, -1, inf, -inf}
        None is 2, the largest singular value over the smallest. Of a singular matrix the condition is infinite.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> tg.linalg.cond([[2.0, 0.0], [0.0, 0.5]])
    tensor(4., f32)
    """
    x = of(x, "matrix_cond: x")
    if p is None or p in (2, -2):
        s = svdvals.public(x)
        over, under = (s[..., -1], s[..., 0]) if p == -2 else (s[..., 0], s[..., -1])
        nothing = under == 0.0
        return logic.where.public(nothing, math.inf, over / logic.where.public(nothing, 1.0, under))  # type: ignore[no-any-return]
    singular = slogdet_parts.public(stop_gradient.public(x))[0] == 0.0
    one = creation.eye.public(x.shape[-1], dtype=x.dtype.name)
    known = logic.where.public(shape.expand_dims.public(singular, axis=(-2, -1)), one, x)
    out = norm(known, ord=p, axis=(-2, -1)) * norm(inv.public(known), ord=p, axis=(-2, -1))
    return logic.where.public(singular, math.inf, out)  # type: ignore[no-any-return]
