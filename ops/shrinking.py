"""Activations composed of ops: gates, and what leaves out the numbers near 0."""

from __future__ import annotations

from typing import Any

from tensorgraph.arguments import Finite, NonNegative
from tensorgraph.engine.aval import canonical_axis
from tensorgraph.engine.functions import function
from tensorgraph.engine.tensor import Tensor
from tensorgraph.ops.arithmetic import sign
from tensorgraph.ops.exponential import sigmoid
from tensorgraph.ops.logic import where
from tensorgraph.ops.shape import split
from tensorgraph.ops.softmax import softmax
from tensorgraph.ops.statistics import float_of

__all__: list[str] = []

TensorLike = Any


@function(computed=True, examples=((((3, 4),), {}), (((4, 3),), dict(axis=0))))
def glu(x: TensorLike, axis: int = -1) -> Tensor:
    """One half of x along an axis times the sigmoid of the other (Dauphin and others, 2017).

    >>> import tensorgraph as tg
    >>> tg.glu([3.0, 5.0, 0.0, 0.0])
    tensor([1.5, 2.5], f32)
    """
    x = float_of(x, "glu: x")
    n = x.shape[canonical_axis(axis, x.ndim)]
    if n % 2:
        raise ValueError(f"glu: axis {axis} is cut into two halves and needs an even size, got {n} of shape {x.shape}")
    part, gate = split.public(x, sizes=(n // 2, n // 2), axis=axis)
    return part * sigmoid.public(gate)  # type: ignore[no-any-return]


@function(computed=True, examples=((((3, 4),), {}), (((3, 4),), dict(axis=0))))
def softmin(x: TensorLike, axis: int = -1) -> Tensor:
    """`softmax` of -x: the smallest elements weigh most.

    >>> import tensorgraph as tg
    >>> tg.softmin([0.0, 0.0])
    tensor([0.5, 0.5], f32)
    """
    return softmax.public(-float_of(x, "softmin: x"), axis=axis)  # type: ignore[no-any-return]


@function(computed=True, examples=((((3, 4), 0.1, 20.0), {}),))
def threshold(x: TensorLike, threshold: Finite, value: float) -> Tensor:
    """x above `threshold`, and `value` elsewhere, where the derivative is 0; NaN passes through.

    >>> import tensorgraph as tg
    >>> tg.threshold([0.5, 2.0], 1.0, -3.0)
    tensor([-3.,  2.], f32)
    """
    x = float_of(x, "threshold: x")
    return where.public(x <= threshold, value, x)  # type: ignore[no-any-return]


@function(computed=True, examples=((((3, 4),), {}), (((3, 4),), dict(lambd=0.25))))
def hardshrink(x: TensorLike, lambd: NonNegative = 0.5) -> Tensor:
    """x further than `lambd` from 0, and 0 elsewhere, where the derivative is 0; NaN passes through.

    >>> import tensorgraph as tg
    >>> tg.hardshrink([-1.0, 0.3, 2.0])
    tensor([-1.,  0.,  2.], f32)
    """
    x = float_of(x, "hardshrink: x")
    return where.public((x >= -lambd) & (x <= lambd), 0.0, x)  # type: ignore[no-any-return]


@function(computed=True, examples=((((3, 4),), {}), (((3, 4),), dict(lambd=0.25))))
def softshrink(x: TensorLike, lambd: NonNegative = 0.5) -> Tensor:
    """x nearer to 0 by `lambd`, and 0 where it is no further off, where the derivative is 0; NaN passes through.

    >>> import tensorgraph as tg
    >>> tg.softshrink([-1.0, 0.3, 2.0])
    tensor([-0.5,  0. ,  1.5], f32)
    """
    x = float_of(x, "softshrink: x")
    return where.public((x >= -lambd) & (x <= lambd), 0.0, x - lambd * sign.public(x))  # type: ignore[no-any-return]
