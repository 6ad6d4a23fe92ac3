"""Convolutions by the number of their axes, as they are usually called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tensorgraph.engine.functions import function
from tensorgraph.engine.tensor import Tensor
from tensorgraph.ops import shape
from tensorgraph.ops.convolution import convolution, transposed_convolution
from tensorgraph.ops.moving import of
from tensorgraph.ops.windows import edges, per_axis, require_bias

__all__: list[str] = []

TensorLike = Any


def with_examples(x: Any, count: int, name: str) -> tuple[Tensor, bool]:
    """A tensor of (examples, channels, positions...), and whether it was one example without the first axis."""
    t = of(x, f"{name}: x")
    if t.ndim == count + 1:
        return shape.reshape.public(t, shape=(1, *t.shape)), True
    if t.ndim != count + 2:
        raise ValueError(
            f"{name}: x must have {count + 2} axes, (examples, channels, {count} of positions), or {count + 1} for one "
            f"example, got shape {t.shape}"
        )
    return t, False


def without_examples(y: Tensor, single: bool) -> Tensor:
    return shape.reshape.public(y, shape=y.shape[1:]) if single else y


def _conv(count: int, x: Any, weight: Any, bias: Any, **attrs: Any) -> Tensor:
    x, single = with_examples(x, count, f"conv{count}d")
    return without_examples(convolution.public(x, weight, bias, **attrs), single)


@function(
    computed=True, examples=((((2, 3, 7), (4, 3, 3), (4,)), dict(stride=2, padding=1)), (((3, 7), (4, 3, 3)), {}))
)
def conv1d(
    x: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence[int] | Sequence[Sequence[int]] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """`convolution` of (examples, channels, length), or of one example without the first axis."""
    return _conv(1, x, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups)


@function(
    computed=True,
    examples=((((2, 3, 5, 4), (4, 3, 3, 3), (4,)), dict(padding="same")), (((3, 5, 4), (4, 3, 2, 2)), {})),
)
def conv2d(
    x: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence[int] | Sequence[Sequence[int]] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """`convolution` of (examples, channels, height, width), or of one example without the first axis.

    >>> import tensorgraph as tg
    >>> tg.conv2d(tg.ones((64, 1, 28, 28)), tg.ones((6, 1, 5, 5))).shape
    (64, 6, 24, 24)
    """
    return _conv(2, x, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups)


@function(computed=True, examples=((((2, 2, 4, 3, 3), (3, 2, 2, 2, 2), (3,)), {}),))
def conv3d(
    x: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence[int] | Sequence[Sequence[int]] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """`convolution` of (examples, channels, depth, height, width), or of one example without the first axis."""
    return _conv(3, x, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups)


def _transposed(
    count: int,
    x: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
) -> Tensor:
    name = f"conv_transpose{count}d"
    x, single = with_examples(x, count, name)
    steps = per_axis(stride, count, f"{name}: stride", 1)
    extra = per_axis(output_padding, count, f"{name}: output_padding", 0)
    wide = per_axis(dilation, count, f"{name}: dilation", 1)
    if any(e >= max(s, d) for e, s, d in zip(extra, steps, wide, strict=True)):
        raise ValueError(f"{name}: output_padding must be less than stride or dilation, got {output_padding}")
    more: tuple[int, ...] = ()
    if any(e >= s for e, s in zip(extra, steps, strict=True)):
        # what is put in at the end is first what the padding would cut away, and then zeros and the bias
        pairs = edges(padding, x.shape[2:], (1,) * count, steps, wide)
        more = tuple(max(e - hi, 0) for e, (_, hi) in zip(extra, pairs, strict=True))
        padding = tuple((lo, max(hi - e, 0)) for e, (lo, hi) in zip(extra, pairs, strict=True))
        extra = (0,) * count
    own = None if any(more) else bias
    y = transposed_convolution.public(
        x, weight, own, stride=stride, padding=padding, dilation=dilation, groups=groups, output_padding=extra
    )
    if any(more):
        y = shape.pad.public(y, widths=((0, 0), (0, 0), *((0, m) for m in more)))
        if bias is not None:
            bias = of(bias, f"{name}: bias")
            require_bias(bias, y.shape[1])
            y = y + shape.reshape.public(bias, shape=(-1, *(1,) * count))
    return without_examples(y, single)


@function(
    computed=True,
    examples=((((2, 3, 5), (3, 4, 3), (4,)), dict(stride=2, output_padding=1)), (((3, 5), (3, 2, 3)), {})),
)
def conv_transpose1d(
    x: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | Sequence[Sequence[int]] = 0,
    output_padding: int | Sequence[int] = 0,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
) -> Tensor:
    """`transposed_convolution` of (examples, channels, length), or of one example without the first axis."""
    return _transposed(1, x, weight, bias, stride, padding, output_padding, groups, dilation)


@function(
    computed=True,
    examples=(
        (((2, 3, 3, 4), (3, 2, 3, 3), (2,)), dict(padding=1)),
        (((2, 4, 3, 2), (4, 2, 2, 2), (4,)), dict(groups=2, dilation=3, padding=1, output_padding=2)),
    ),
)
def conv_transpose2d(
    x: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | Sequence[Sequence[int]] = 0,
    output_padding: int | Sequence[int] = 0,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
) -> Tensor:
    """`transposed_convolution` of (examples, channels, height, width), or of one example without the first axis.

    >>> import tensorgraph as tg
    >>> tg.conv_transpose2d(tg.ones((1, 8, 7, 7)), tg.ones((8, 4, 4, 4)), stride=2, padding=1).shape
    (1, 4, 14, 14)
    """
    return _transposed(2, x, weight, bias, stride, padding, output_padding, groups, dilation)


@function(computed=True, examples=((((1, 2, 2, 3, 2), (2, 3, 2, 2, 2), (3,)), dict(stride=2)),))
def conv_transpose3d(
    x: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | Sequence[Sequence[int]] = 0,
    output_padding: int | Sequence[int] = 0,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
) -> Tensor:
    """`transposed_convolution` of (examples, channels, depth, height, width), or of one example without the first."""
    return _transposed(3, x, weight, bias, stride, padding, output_padding, groups, dilation)
