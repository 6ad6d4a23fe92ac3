"""Normalisation of groups of channels and of single channels, composed of ops."""

from __future__ import annotations

from typing import Any

from tensorgraph.arguments import Count, Finite, NonNegative
from tensorgraph.engine.functions import function
from tensorgraph.engine.tensor import Tensor
from tensorgraph.ops.arithmetic import square
from tensorgraph.ops.layer_norm import layer_norm
from tensorgraph.ops.moving import of
from tensorgraph.ops.shape import astype, pad, reshape

__all__: list[str] = []

TensorLike = Any


def _float(name: str, x: Any, axes: int) -> Tensor:
    made = of(x, f"{name}: x")
    if made.dtype.kind != "f":
        raise TypeError(f"{name}: x must be floats, got {made.aval}; convert it with .astype('float32')")
    if made.ndim < axes:
        raise ValueError(f"{name}: x needs the shape (N, C, ...) with {axes} axes or more, got {made.shape}")
    return made


def _per_channel(name: str, y: Tensor, gamma: Any, beta: Any) -> Tensor:
    """y times gamma plus beta, which are one a channel of axis 1, in y's dtype."""
    shape = (y.shape[1], *[1] * (y.ndim - 2))
    for what, value in (("gamma", gamma), ("beta", beta)):
        if value is None:
            continue
        line = of(value, f"{name}: {what}")
        if line.shape != (y.shape[1],) or line.dtype.kind != "f":
            raise ValueError(f"{name}: {what} must be float of shape ({y.shape[1]},), one a channel, got {line.aval}")
        line = reshape.public(line, shape=shape)
        line = line if line.dtype == y.dtype else astype.public(line, dtype=y.dtype.name)
        y = y * line if what == "gamma" else y + line
    return y


@function(computed=True, examples=(
    (((2, 4, 3), 2), {}), (((2, 4, 3), 2, (4,), (4,)), {}), (((2, 6), 3, (6,)), dict(eps=1e-3))),
)  # fmt: skip
def group_norm(
    x: TensorLike,
    groups: Count,
    gamma: TensorLike | None = None,
    beta: TensorLike | None = None,
    *,
    eps: NonNegative = 1e-5,
) -> Tensor:
    """Channels in groups, each example's group normalised by its own mean and biased variance.

    For x of shape (N, C, ...), with gamma and beta of shape (C,) or left out. `groups` divides C; with one group it is
    the layer normalisation of a whole example, with C of them `instance_norm`. (Wu & He 2018, arXiv 1803.08494)

    >>> import tensorgraph as tg
    >>> tg.group_norm(tg.tensor([[1.0, 3.0, 5.0, 9.0]]), 2, eps=0.0)
    tensor([[-1.,  1., -1.,  1.]], f32)
    """
    x = _float("group_norm", x, 2)
    n, channels = x.shape[:2]
    if channels % groups:
        raise ValueError(f"group_norm: {channels} channels cannot be divided into {groups} groups")
    parts = reshape.public(x, shape=(n, groups, channels // groups, *x.shape[2:]))
    y, _, _ = layer_norm.public(parts, axis=2, eps=float(eps))
    return _per_channel("group_norm", reshape.public(y, shape=x.shape), gamma, beta)


@function(computed=True, examples=((((2, 3, 4),), {}), (((2, 3, 2, 3), (3,), (3,)), dict(eps=1e-3))))
def instance_norm(
    x: TensorLike, gamma: TensorLike | None = None, beta: TensorLike | None = None, *, eps: NonNegative = 1e-5
) -> Tensor:
    """Each channel of each example normalised by its own mean and biased variance.

    For x of shape (N, C, L), (N, C, H, W) and so on, with gamma and beta of shape (C,) or left out. One number a
    channel raises: its variance is 0. (Ulyanov, Vedaldi & Lempitsky 2016, arXiv 1607.08022)
    """
    x = _float("instance_norm", x, 3)
    if x.size and x.size == x.shape[0] * x.shape[1]:
        raise ValueError(f"instance_norm: each channel needs more than one number, got shape {x.shape}")
    y, _, _ = layer_norm.public(x, axis=2, eps=float(eps))
    return _per_channel("instance_norm", y, gamma, beta)


@function(computed=True, examples=((((2, 5, 3), 3), {}), (((2, 4), 2), dict(alpha=0.5, beta=0.5, k=2.0))))
def local_response_norm(
    x: TensorLike, size: Count, *, alpha: Finite = 1e-4, beta: Finite = 0.75, k: Finite = 1.0
) -> Tensor:
    """x over ``(k + alpha·(mean of squares over size neighbouring channels))^beta``.

    For x of shape (N, C, ...); beyond the first and the last channel there are zeros. (Krizhevsky, Sutskever & Hinton
    2012)
    """
    x = _float("local_response_norm", x, 2)
    before = size // 2
    widths = tuple((before, size - 1 - before) if i == 1 else (0, 0) for i in range(x.ndim))
    squares = pad.public(square.public(x), widths=widths)
    total: Any = sum(squares[:, i : i + x.shape[1]] for i in range(size))
    return x / (float(k) + float(alpha) / size * total) ** float(beta)  # type: ignore[no-any-return]
