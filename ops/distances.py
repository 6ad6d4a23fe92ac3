"""Vectors of length 1, and distances between vectors, composed of ops."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.arguments import NonNegative
from tensorgraph.engine.functions import function
from tensorgraph.engine.tensor import Tensor
from tensorgraph.ops.arithmetic import maximum, sqrt, square
from tensorgraph.ops.creation import arange, full
from tensorgraph.ops.norms import vector_norm
from tensorgraph.ops.rounding import floor
from tensorgraph.ops.shape import astype, expand_dims
from tensorgraph.ops.statistics import float_of

__all__: list[str] = []

TensorLike = Any


def _vectors(x: Any, what: str, axes: int) -> Tensor:
    vectors: Tensor = float_of(x, what)
    if vectors.ndim < axes:
        wanted = "(..., vectors, elements)" if axes == 2 else "(..., elements)"
        raise ValueError(f"{what} needs the shape {wanted}, got {vectors.shape}")
    return vectors


@function(computed=True, examples=((((3, 4),), {}), (((3, 4, 2),), dict(p=1.0)), (((3, 4),), dict(axis=0, p=3.0))))
def normalize(x: TensorLike, p: float = 2.0, axis: int = 1, eps: NonNegative = 1e-12) -> Tensor:
    """Vectors along an axis over their norms, which `vector_norm` gives with ``ord=p``: all have the norm 1.

    A norm below `eps` is taken for that, so that zeros stay zeros. The axis is by default 1, as in PyTorch.

    >>> import tensorgraph as tg
    >>> tg.normalize([[3.0, 4.0], [0.0, 0.0]])
    tensor([[0.6, 0.8],
            [0. , 0. ]], f32)
    """
    x = float_of(x, "normalize: x")
    least = max(float(eps), float(np.finfo(x.dtype).tiny))  # which float16 has no number as small as eps for
    return x / maximum.public(vector_norm.public(x, axis=axis, keepdims=True, ord=p), least)  # type: ignore[no-any-return]


@function(computed=True, examples=((((3, 4), (3, 4)), {}), (((3, 4), (4,)), dict(p=1.0, keepdims=True))))
def pairwise_distance(
    a: TensorLike, b: TensorLike, p: float = 2.0, eps: NonNegative = 1e-6, keepdims: bool = False
) -> Tensor:
    """The distances of vectors (..., elements) of a from those of b, each from its own; they broadcast.

    `eps` is added to each difference, as in PyTorch, so that a distance of 0 has a slope; p is as `vector_norm`'s
    ``ord``.

    >>> import tensorgraph as tg
    >>> tg.pairwise_distance([[3.0, 0.0]], [[0.0, 4.0]], eps=0.0)
    tensor([5.], f32)
    """
    d = _vectors(a, "pairwise_distance: a", 1) - _vectors(b, "pairwise_distance: b", 1) + eps
    return vector_norm.public(d, axis=-1, keepdims=keepdims, ord=p)  # type: ignore[no-any-return]


@function(computed=True, examples=((((3, 4), (2, 4)), {}), (((2, 3, 4), (2, 2, 4)), dict(p=1.0))))
def cdist(a: TensorLike, b: TensorLike, p: float = 2.0) -> Tensor:
    """The distance of every vector of a (..., n, elements) from every one of b (..., m, elements): (..., n, m).

    All differences are in memory at once; equal vectors have a gradient of 0.

    >>> import tensorgraph as tg
    >>> tg.cdist([[0.0, 0.0], [3.0, 0.0]], [[0.0, 4.0]])
    tensor([[4.],
            [5.]], f32)
    """
    x, y = _vectors(a, "cdist: a", 2), _vectors(b, "cdist: b", 2)
    if x.shape[-1] != y.shape[-1]:
        raise ValueError(f"cdist: vectors of a and b need one length, got shapes {x.shape} and {y.shape}")
    d = expand_dims.public(x, axis=-2) - expand_dims.public(y, axis=-3)
    return vector_norm.public(d, axis=-1, ord=p)  # type: ignore[no-any-return]


def _pairs(n: int) -> tuple[Tensor, Tensor]:
    """Both indices of every pair of n, in the order of the first: computed, since n may be a name in a graph.

    Before row i stand i * (2n - 1 - i) / 2 pairs. A row is the smaller root of that for a pair's number, rounded down:
    it is exact where the root is whole, and further from a whole number than float64 rounds while n is below 10**8.
    """
    count = max(n * (n - 1) // 2, 0)
    number = arange.public(count)
    width = full.public(shape=(), value=2 * n - 1, dtype="int64")
    root = sqrt.public(astype.public(square.public(width) - 8 * number, dtype="float64"))
    first = astype.public(floor.public((width - root) / 2.0), dtype="int64")
    return first, number - first * (width - first) // 2 + first + 1


@function(computed=True, examples=((((4, 3),), {}), (((3, 2),), dict(p=1.0))))
def pdist(x: TensorLike, p: float = 2.0) -> Tensor:
    """The distances of vectors (n, elements) from each other: of the first from all others, of the second from those
    behind it, and so on.

    >>> import tensorgraph as tg
    >>> tg.pdist([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    tensor([3., 4., 5.], f32)
    """
    x = float_of(x, "pdist: x")
    if x.ndim != 2:
        raise ValueError(f"pdist: x needs the shape (vectors, elements), got {x.shape}")
    first, second = _pairs(x.shape[0])
    return vector_norm.public(x[first] - x[second], axis=-1, ord=p)  # type: ignore[no-any-return]
