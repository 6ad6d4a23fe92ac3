"""Numbers about numbers, composed of ops: weighted means, ranges, counts, covariance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgraph.engine.functions import function, static
from tensorgraph.engine.op import float_dtype
from tensorgraph.engine.tensor import Tensor
from tensorgraph.ops import contraction, logic, reduction, shape
from tensorgraph.ops.moving import of

__all__: list[str] = []

TensorLike = Any
Axes = int | Sequence[int]


def float_of(x: Any, what: str, beside: Sequence[Any] = ()) -> Tensor:
    """An argument as a tensor of floats."""
    t = of(x, what, beside)
    kind = float_dtype(t.dtype)
    return t if t.dtype == kind else shape.astype.public(t, dtype=kind.name)


@function(numpy=(np.count_nonzero,), methods=("count_nonzero",), computed=True,
          examples=((((3, 4),), {}), (((3, 4), 0), {}), (((2, 3, 4), static((0, 2))), {})))  # fmt: skip
def count_nonzero(x: TensorLike, axis: Axes | None = None, keepdims: bool = False) -> Tensor:
    """How many elements are not 0, over `axis`; NaN is not 0.

    >>> import tensorgraph as tg
    >>> tg.count_nonzero([[0.0, 2.0], [3.0, 4.0]], axis=0)
    tensor([1, 2], i64)
    """
    return reduction.sum.public(of(x, "count_nonzero: x") != 0, axis=axis, keepdims=keepdims)  # type: ignore[no-any-return]


@function(numpy=(np.ptp,), methods=("ptp",), computed=True,
          examples=((((3, 4),), {}), (((3, 4), 0), {}), (((3, 4), 1), dict(keepdims=True))))  # fmt: skip
def ptp(x: TensorLike, axis: Axes | None = None, keepdims: bool = False) -> Tensor:
    """From the smallest to the largest element over `axis`, whose gradients ties share."""
    x = of(x, "ptp: x")
    top = reduction.max.public(x, axis=axis, keepdims=keepdims)
    return top - reduction.min.public(x, axis=axis, keepdims=keepdims)  # type: ignore[no-any-return]


@function(
    numpy=(np.average,), computed=True,
    examples=(
        (((3, 4),), {}), (((3, 4), 0, (3,)), {}), (((2, 3), None, (2, 3)), {}), (((2, 3, 4), static((0, 2))), {}),
    ),
)  # fmt: skip
def average(
    x: TensorLike, axis: Axes | None = None, weights: TensorLike | None = None, returned: bool = False,
    keepdims: bool = False,
) -> Any:  # fmt: skip
    """The mean over `axis`, in which elements count as much as their weights say.

    Parameters
    ----------
    x : tensor
    axis : int or sequence of int, optional
        All axes by default.
    weights : tensor, optional
        Of x's shape, or with `axis` of the shape of those axes, in their order. Their sum must not be 0, which gives
        NaN or infinity.
    returned : bool
        Whether the sum of the weights is given too.
    keepdims : bool

    Examples
    --------
    >>> import tensorgraph as tg
    >>> tg.average([1.0, 2.0, 4.0], weights=[1.0, 1.0, 2.0])
    tensor(2.75, f32)
    """
    x = float_of(x, "average: x")
    if weights is None:
        mean = reduction.mean.public(x, axis=axis, keepdims=keepdims)
        n = reduction.count(x, axis)
        return (mean, mean * 0.0 + n) if returned else mean
    w = of(weights, "average: weights", (x,))
    if w.shape != x.shape:
        given = (axis,) if isinstance(axis, (int, np.integer)) else axis
        axes = [] if given is None else [a + x.ndim if a < 0 else a for a in given]
        if axis is None or w.shape != tuple(x.shape[a] for a in axes if a < x.ndim):
            raise ValueError(f"average: weights of shape {w.shape} are neither of {x.shape} nor of axis {axis} of it")
        w = shape.transpose.public(w, axes=tuple(int(a) for a in np.argsort(axes)))
        w = shape.reshape.public(w, shape=tuple(n if i in axes else 1 for i, n in enumerate(x.shape)))
    w = shape.broadcast_to.public(w, shape=x.shape)
    whole = reduction.sum.public(w, axis=axis, keepdims=keepdims)
    mean = reduction.sum.public(x * w, axis=axis, keepdims=keepdims) / whole
    return (mean, shape.astype.public(whole, dtype=mean.dtype.name)) if returned else mean


def _observations(x: Tensor, y: Any, rowvar: bool, name: str) -> Tensor:
    """Variables as rows."""
    parts = [x] if y is None else [x, float_of(y, f"{name}: y", (x,))]
    for i, part in enumerate(parts):
        if part.ndim > 2:
            raise ValueError(f"{name}: of matrices of variables and observations, got shape {part.shape}")
        if part.ndim < 2:
            parts[i] = shape.reshape.public(part, shape=(1, part.size))
        elif not rowvar:
            parts[i] = shape.transpose.public(part)
    return parts[0] if len(parts) == 1 else shape.concatenate.public(parts, axis=0)


@function(numpy=(np.cov,), methods=("cov",), computed=True,
          examples=((((2, 5),), {}), (((5,),), {}), (((4,), (4,)), {}), (((5, 2), None, False), {})))  # fmt: skip
def cov(
    x: TensorLike, y: TensorLike | None = None, rowvar: bool = True, bias: bool = False, ddof: int | None = None,
    fweights: TensorLike | None = None, aweights: TensorLike | None = None,
) -> Tensor:  # fmt: skip
    """The covariance of variables, which are rows, or columns where `rowvar` is False.

    Parameters
    ----------
    x : tensor
        (variables, observations), or the observations of one variable.
    y : tensor, optional
        Further variables.
    rowvar : bool
    bias : bool
        Divide by the number of observations, not by one less.
    ddof : int, optional
        Divide by the number less this.
    fweights : tensor of integers, optional
        How often each observation counts.
    aweights : tensor, optional
        How much it counts.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> tg.cov([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]])
    tensor([[1., 2.],
            [2., 4.]], f32)
    """
    rows = _observations(float_of(x, "cov: x"), y, rowvar, "cov")
    less = (0 if bias else 1) if ddof is None else ddof
    n = rows.shape[1]
    weights = [of(w, f"cov: {name}") for w, name in ((fweights, "fweights"), (aweights, "aweights")) if w is not None]
    for w in weights:
        if w.shape != (n,):
            raise ValueError(f"cov: one weight an observation, shape ({n},), got {w.shape}")
    if fweights is not None and weights[0].dtype.kind not in "iu":
        raise TypeError(f"cov: fweights are whole numbers, got {weights[0].dtype}")
    if not weights:
        off = reduction.centred(rows, (1,))
        divisor: Any = max(n - less, 0)
        weighted = off
    else:
        weights = [shape.astype.public(w, dtype=rows.dtype.name) for w in weights]
        w = weights[0] if len(weights) == 1 else weights[0] * weights[1]
        whole = w.sum()
        off = rows - reduction.sum.public(rows * w, axis=1, keepdims=True) / whole
        weighted = off * w
        divisor = whole - less if aweights is None else whole - less * reduction.sum.public(w * weights[-1]) / whole
    product = contraction.matmul.public(weighted, shape.transpose.public(off))
    out = product * (1.0 / divisor if divisor else np.nan) if isinstance(divisor, int) else product / divisor
    return shape.squeeze.public(out)  # type: ignore[no-any-return]


@function(numpy=(np.corrcoef,), methods=("corrcoef",), computed=True,
          examples=((((2, 5),), {}), (((4,), (4,)), {}), (((5, 3), None, False), {})))  # fmt: skip
def corrcoef(x: TensorLike, y: TensorLike | None = None, rowvar: bool = True) -> Tensor:
    """The correlation of variables, which are rows, or columns where `rowvar` is False; NaN beside a constant.

    >>> import tensorgraph as tg
    >>> tg.round(tg.corrcoef([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]), decimals=3)
    tensor([[ 1., -1.],
            [-1.,  1.]], f32)
    """
    rows = _observations(float_of(x, "corrcoef: x"), y, rowvar, "corrcoef")
    off = reduction.centred(rows, (1,))
    deviation = reduction.std.public(rows, axis=1, keepdims=True)
    unit = off / logic.where.public(deviation == 0.0, np.nan, deviation)
    out = contraction.matmul.public(unit, shape.transpose.public(unit)) / rows.shape[1]
    return shape.squeeze.public(logic.where.public(out > 1, 1.0, logic.where.public(out < -1, -1.0, out)))  # type: ignore[no-any-return]
