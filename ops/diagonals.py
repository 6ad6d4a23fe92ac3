"""Matrices that are made of a diagonal, of powers or of ones below a diagonal."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.arguments import Natural
from tensorgraph.engine.aval import canonical_dtype, default_dtype
from tensorgraph.engine.functions import function
from tensorgraph.engine.tensor import Tensor
from tensorgraph.ops import creation, scans, shape
from tensorgraph.ops.moving import diag, moveaxis, of, ravel, together

__all__: list[str] = []

TensorLike = Any


@function(examples=(((3,), {}), ((2, 3, -1), {})), computed=True)
def tri(n: Natural, m: Natural | None = None, k: int = 0, dtype: Any = None) -> Tensor:
    """n by m ones on diagonal k and below it, 0 above.

    >>> import tensorgraph as tg
    >>> tg.tri(2, 3).tolist()
    [[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]]
    """
    rows, columns = creation.arange.public(n), creation.arange.public(n if m is None else m)
    below = columns <= shape.reshape.public(rows, shape=(n, 1)) + k
    return shape.astype.public(below, dtype=(default_dtype() if dtype is None else canonical_dtype(dtype)).name)  # type: ignore[no-any-return]


@function(numpy=(np.diagflat,), methods=("diagflat",), examples=((((2, 2),), {}), (((3,), -1), {})))
def diagflat(x: TensorLike, k: int = 0) -> Tensor:
    """The matrix with all elements of x on diagonal k."""
    return diag(ravel(of(x, "diagflat: x")), k)  # type: ignore[no-any-return]


@function(methods=("diag_embed",), examples=((((2, 3),), {}), (((2, 3), 1, 0, 2), {})))
def diag_embed(x: TensorLike, offset: int = 0, axis1: int = -2, axis2: int = -1) -> Tensor:
    """Matrices with the lines along x's last axis on a diagonal, as PyTorch's `diag_embed`: what `diagonal` undoes.

    >>> import tensorgraph as tg
    >>> tg.diag_embed([[1.0, 2.0]]).tolist()
    [[[1.0, 0.0], [0.0, 2.0]]]
    """
    x = of(x, "diag_embed: x")
    if not x.ndim:
        raise ValueError("diag_embed: x must have one axis at least, got shape ()")
    n = x.shape[-1] + abs(offset)
    place = creation.arange.public(x.shape[-1])
    zeros = creation.zeros.public(shape=(*x.shape[:-1], n, n), dtype=x.dtype.name)
    out = zeros.at[..., place - min(offset, 0), place + max(offset, 0)].set(x)
    return moveaxis(out, (-2, -1), (axis1, axis2))  # type: ignore[no-any-return]


@function(methods=("fill_diagonal",), examples=((((3, 3), 2.0), {}), (((2, 4), (2,)), {}), (((2, 2, 2), 1.0), {})))
def fill_diagonal(x: TensorLike, values: TensorLike) -> Tensor:
    """A copy with values on the main diagonal: of a matrix, or of a tensor whose axes are all of one size.

    >>> import tensorgraph as tg
    >>> tg.fill_diagonal(tg.ones((2, 2)), 5.0).tolist()
    [[5.0, 1.0], [1.0, 5.0]]
    """
    x, values = together("fill_diagonal", x=x, values=values)
    if x.ndim < 2 or (x.ndim > 2 and len({*x.shape}) > 1):
        raise ValueError(f"fill_diagonal: x must be a matrix, or all of its axes of one size, got shape {x.shape}")
    place = creation.arange.public(min(x.shape))
    return x.at[(place,) * x.ndim].set(shape.astype.public(values, dtype=x.dtype.name))  # type: ignore[no-any-return]


@function(numpy=(np.vander,), computed=True, examples=((((3,), 4), {}), (((3,), 2, True), {})))
def vander(x: TensorLike, n: Natural | None = None, increasing: bool = False) -> Tensor:
    """The powers 0 to n - 1 of the elements of a vector as rows, falling unless `increasing`.

    >>> import tensorgraph as tg
    >>> tg.vander([2.0, 3.0], 3).tolist()
    [[4.0, 2.0, 1.0], [9.0, 3.0, 1.0]]
    """
    x = of(x, "vander: x")
    if x.ndim != 1:
        raise ValueError(f"vander: x must have one axis, got shape {x.shape}")
    columns = x.size if n is None else n
    column = shape.reshape.public(x, shape=(x.size, 1))
    if not columns:
        return column[:, :0]  # type: ignore[no-any-return]
    factors = shape.broadcast_to.public(column, shape=(x.size, columns - 1))
    powers = scans.cumulative_prod.public(factors, axis=1, include_initial=True)
    return powers if increasing else shape.flip.public(powers, axis=1)  # type: ignore[no-any-return]
