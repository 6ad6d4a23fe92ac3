"""Convolutions as layers. (LeCun et al. 1998)"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tensorgraph.arguments import Count, Natural, checked
from tensorgraph.arguments.checks import kinds_of
from tensorgraph.engine import init
from tensorgraph.engine.aval import FloatDType
from tensorgraph.engine.tensor import Tensor
from tensorgraph.nn.linear import parameter
from tensorgraph.nn.module import Module
from tensorgraph.nn.names import input_of
from tensorgraph.ops.convolution import convolution, transposed_convolution
from tensorgraph.ops.sliding import with_examples, without_examples
from tensorgraph.ops.windows import per_axis

__all__ = ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]


def _with_fans(initialiser: str | Callable[..., Any], fan_in: int, fan_out: int) -> Any:
    """The initialiser, told how many numbers meet in an output and how many outputs a number meets."""
    draw = init.named(initialiser)
    if isinstance(draw, init.Initialiser) and "fan_in" in kinds_of(draw.draw) and "fan_in" not in draw.options:
        return draw.using(fan_in=max(fan_in, 1), fan_out=max(fan_out, 1))
    return draw


class _Conv(Module):
    """What the layers of one, two and three axes share."""

    atomic = True
    count = 0
    transposed = False

    @checked
    def __init__(
        self,
        inputs: Count,
        outputs: Count,
        kernel_size: Count | Sequence[Count],
        stride: Count | Sequence[Count] = 1,
        padding: Natural | str | Sequence[Any] = 0,
        dilation: Count | Sequence[Count] = 1,
        groups: Count = 1,
        bias: bool = True,
        *,
        weight_init: str | Callable[..., Any] = "he_normal",
        bias_init: str | Callable[..., Any] = init.zeros,
        seed: Natural | None = None,
        dtype: FloatDType | None = None,
    ) -> None:
        self._build(inputs, outputs, kernel_size, stride, padding, dilation, groups)
        self._draw(bias, weight_init, bias_init, seed, dtype)

    def _build(
        self, inputs: int, outputs: int, kernel_size: Any, stride: Any, padding: Any, dilation: Any, groups: int
    ) -> None:
        name = type(self).__name__
        for what, channels in (("inputs", inputs), ("outputs", outputs)):
            if channels % groups:
                raise ValueError(f"{name}: groups must divide {what}, {channels}, got {groups}")
        self.inputs, self.outputs, self.groups = inputs, outputs, groups
        self.kernel_size = per_axis(kernel_size, self.count, f"{name}: kernel_size", 1)
        self.stride = per_axis(stride, self.count, f"{name}: stride", 1)
        self.dilation = per_axis(dilation, self.count, f"{name}: dilation", 1)
        self.padding = _tuples(padding)

    def _draw(self, bias: bool, weight_init: Any, bias_init: Any, seed: int | None, dtype: Any) -> None:
        window = math.prod(self.kernel_size)
        if self.transposed:
            shape: tuple[int, ...] = (self.inputs, self.outputs // self.groups, *self.kernel_size)
            steps = math.prod(self.stride)
            fans = self.inputs // self.groups * window // steps, self.outputs // self.groups * window
            if init.named(weight_init) is init.torch_uniform:  # PyTorch counts as if it were a convolution
                fans = fans[::-1]
        else:
            shape = (self.outputs, self.inputs // self.groups, *self.kernel_size)
            fans = self.inputs // self.groups * window, self.outputs // self.groups * window
        self.weight = parameter(shape, _with_fans(weight_init, *fans), dtype, seed)
        self.bias = parameter((self.outputs,), init.for_bias(bias_init, fans[0]), dtype) if bias else None

    def _input(self, x: Any) -> tuple[Tensor, bool]:
        t, single = with_examples(input_of(self, x), self.count, self.label)
        if t.shape[1] != self.inputs:
            last = t.shape[-1] == self.inputs
            hint = "; are the channels last? move them: tg.moveaxis(x, -1, 1)" if last else ""
            raise ValueError(f"{self.label} takes {self.inputs} channels on axis 1, got shape {t.shape}{hint}")
        return t, single

    def forward(self, x: Any) -> Tensor:
        t, single = self._input(x)
        y = convolution.public(
            t, self.weight, self.bias, stride=_short(self.stride), padding=self.padding, dilation=_short(self.dilation),
            groups=self.groups,
        )  # fmt: skip
        return without_examples(y, single)

    def config(self) -> dict[str, Any]:
        return dict(
            inputs=self.inputs, outputs=self.outputs, kernel_size=self.kernel_size, stride=self.stride,
            padding=self.padding, dilation=self.dilation, groups=self.groups, bias=self.bias is not None,
            dtype=self.weight.dtype.name,
        )  # fmt: skip

    def extra_repr(self) -> str:
        parts = [str(self.inputs), str(self.outputs), str(_short(self.kernel_size))]
        for name, usual in (("stride", 1), ("padding", 0), ("dilation", 1), ("groups", 1), ("output_padding", 0)):
            value = _short(getattr(self, name, usual))
            if value != usual:
                parts.append(f"{name}={value!r}")
        return ", ".join(parts) + ("" if self.bias is not None else ", bias=False")


def _short(value: Any) -> Any:
    """One number where all axes have the same."""
    return value[0] if isinstance(value, tuple) and len({*map(str, value)}) == 1 and len(value) else value


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, (list, tuple)) else value


class Conv1d(_Conv):
    """`tensorgraph.convolution` over (examples, channels, length); parameters as of `Conv2d`.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> tg.nn.Conv1d(16, 32, 5, padding="same", seed=0)(tg.ones((8, 16, 100))).shape
    (8, 32, 100)
    """

    count = 1


class Conv2d(_Conv):
    """`tensorgraph.convolution` over (examples, channels, height, width), or one example without the first axis.

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    kernel_size, stride, dilation : int or sequence of int
        For all axes, or one an axis.
    padding : int, sequence of int or of pairs, "same" or "valid"
        Zeros that are put in at the sides.
    groups : int
        Parts of the channels that are kept apart; `inputs` of them make it depthwise.
    bias : bool
        Leave it out before a batch norm, which takes its effect away.
    weight_init, bias_init : str or callable
        An initialiser of `tensorgraph.nn.init` or its name; fan-in is the number of products in an output.
    seed : int, optional
    dtype : dtype-like, optional

    Attributes
    ----------
    weight : Parameter
        Shape (outputs, inputs / groups, \\*kernel_size).
    bias : Parameter or None
        Shape (outputs,).

    Examples
    --------
    >>> import tensorgraph as tg
    >>> layer = tg.nn.Conv2d(1, 6, 5, seed=0)
    >>> layer, layer(tg.ones((64, 1, 28, 28))).shape
    (Conv2d(1, 6, 5), (64, 6, 24, 24))
    """

    count = 2


class Conv3d(_Conv):
    """`tensorgraph.convolution` over (examples, channels, depth, height, width); parameters as of `Conv2d`."""

    count = 3


class _ConvTranspose(_Conv):
    transposed = True

    @checked
    def __init__(
        self,
        inputs: Count,
        outputs: Count,
        kernel_size: Count | Sequence[Count],
        stride: Count | Sequence[Count] = 1,
        padding: Natural | Sequence[Any] = 0,
        output_padding: Natural | Sequence[Natural] = 0,
        groups: Count = 1,
        bias: bool = True,
        dilation: Count | Sequence[Count] = 1,
        *,
        weight_init: str | Callable[..., Any] = "he_normal",
        bias_init: str | Callable[..., Any] = init.zeros,
        seed: Natural | None = None,
        dtype: FloatDType | None = None,
    ) -> None:
        self._build(inputs, outputs, kernel_size, stride, padding, dilation, groups)
        name = type(self).__name__
        self.output_padding = per_axis(output_padding, self.count, f"{name}: output_padding", 0)
        if any(e >= s for e, s in zip(self.output_padding, self.stride, strict=True)):
            raise ValueError(
                f"{name}: output_padding must be less than the stride, {self.stride}, got {output_padding}"
            )
        self._draw(bias, weight_init, bias_init, seed, dtype)

    def forward(self, x: Any) -> Tensor:
        t, single = self._input(x)
        y = transposed_convolution.public(
            t, self.weight, self.bias, stride=_short(self.stride), padding=self.padding, dilation=_short(self.dilation),
            groups=self.groups, output_padding=_short(self.output_padding),
        )  # fmt: skip
        return without_examples(y, single)

    def config(self) -> dict[str, Any]:
        return super().config() | {"output_padding": self.output_padding}


class ConvTranspose1d(_ConvTranspose):
    """`tensorgraph.transposed_convolution` over (examples, channels, length); parameters as of `ConvTranspose2d`."""

    count = 1


class ConvTranspose2d(_ConvTranspose):
    """`tensorgraph.transposed_convolution` over (examples, channels, height, width).

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    kernel_size, stride, padding, dilation, groups, bias, weight_init, bias_init, seed, dtype
        As of `Conv2d`; the padding is cut off from the result, in numbers.
    output_padding : int or sequence of int
        Made at the end besides, less than the stride: a convolution with stride has one result for several sizes.

    Attributes
    ----------
    weight : Parameter
        Shape (inputs, outputs / groups, \\*kernel_size).
    bias : Parameter or None
        Shape (outputs,).

    Examples
    --------
    >>> import tensorgraph as tg
    >>> layer = tg.nn.ConvTranspose2d(8, 4, 4, stride=2, padding=1, seed=0)
    >>> layer, layer(tg.ones((1, 8, 7, 7))).shape
    (ConvTranspose2d(8, 4, 4, stride=2, padding=1), (1, 4, 14, 14))
    """

    count = 2


class ConvTranspose3d(_ConvTranspose):
    """`tensorgraph.transposed_convolution` over (examples, channels, depth, height, width); see `ConvTranspose2d`."""

    count = 3
