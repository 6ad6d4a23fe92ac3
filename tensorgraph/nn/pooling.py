"""Pools as layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from tensorgraph.arguments import Count, Natural, checked
from tensorgraph.engine.tensor import Tensor
from tensorgraph.nn.module import Module
from tensorgraph.nn.names import input_of
from tensorgraph.ops import pools

__all__ = [
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d", "MaxPool1d", "MaxPool2d", "MaxPool3d",
]  # fmt: skip


class _Pool(Module):
    """A layer that calls a pool with the attributes of its own."""

    atomic = True
    pool: Callable[..., Any]
    usual: ClassVar[dict[str, Any]] = {}

    def forward(self, x: Any) -> Tensor:
        return type(self).pool(input_of(self, x), **self.config())  # type: ignore[no-any-return]

    def config(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.usual}

    def extra_repr(self) -> str:
        first, *others = self.config().items()
        return ", ".join([str(first[1]), *(f"{k}={v!r}" for k, v in others if v != self.usual[k])])


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, (list, tuple)) else value


class _MaxPool(_Pool):
    usual: ClassVar[dict[str, Any]] = dict(kernel_size=None, stride=None, padding=0, dilation=1, ceil_mode=False)

    @checked
    def __init__(
        self,
        kernel_size: Count | Sequence[Count],
        stride: Count | Sequence[Count] | None = None,
        padding: Natural | str | Sequence[Any] = 0,
        dilation: Count | Sequence[Count] = 1,
        ceil_mode: bool = False,
    ) -> None:
        self.kernel_size, self.stride, self.padding = _tuples(kernel_size), _tuples(stride), _tuples(padding)
        self.dilation, self.ceil_mode = _tuples(dilation), ceil_mode

    config = _Pool.config  # of this constructor


class MaxPool1d(_MaxPool):
    """`tensorgraph.max_pool1d`."""

    pool = staticmethod(pools.max_pool1d)


class MaxPool2d(_MaxPool):
    """`tensorgraph.max_pool2d`: the maximum of each window; the stride is by default the window's size.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> tg.nn.MaxPool2d(2), tg.nn.MaxPool2d(2)(tg.ones((64, 6, 24, 24))).shape
    (MaxPool2d(2), (64, 6, 12, 12))
    """

    pool = staticmethod(pools.max_pool2d)


class MaxPool3d(_MaxPool):
    """`tensorgraph.max_pool3d`."""

    pool = staticmethod(pools.max_pool3d)


class _AvgPool(_Pool):
    usual: ClassVar[dict[str, Any]] = dict(
        kernel_size=None, stride=None, padding=0, ceil_mode=False, count_include_pad=True
    )

    @checked
    def __init__(
        self,
        kernel_size: Count | Sequence[Count],
        stride: Count | Sequence[Count] | None = None,
        padding: Natural | str | Sequence[Any] = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        self.kernel_size, self.stride, self.padding = _tuples(kernel_size), _tuples(stride), _tuples(padding)
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    config = _Pool.config  # of this constructor


class AvgPool1d(_AvgPool):
    """`tensorgraph.avg_pool1d`."""

    pool = staticmethod(pools.avg_pool1d)


class AvgPool2d(_AvgPool):
    """`tensorgraph.avg_pool2d`: the mean of each window; the stride is by default the window's size."""

    pool = staticmethod(pools.avg_pool2d)


class AvgPool3d(_AvgPool):
    """`tensorgraph.avg_pool3d`."""

    pool = staticmethod(pools.avg_pool3d)


class _Adaptive(_Pool):
    usual: ClassVar[dict[str, Any]] = dict(output_size=None)

    @checked
    def __init__(self, output_size: Count | Sequence[Count | None]) -> None:
        self.output_size = _tuples(output_size)

    config = _Pool.config  # of this constructor


class AdaptiveAvgPool1d(_Adaptive):
    """`tensorgraph.adaptive_avg_pool1d`."""

    pool = staticmethod(pools.adaptive_avg_pool1d)


class AdaptiveAvgPool2d(_Adaptive):
    """`tensorgraph.adaptive_avg_pool2d`: the means of so many windows; 1 pools each channel as a whole.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> tg.nn.AdaptiveAvgPool2d(1)(tg.ones((8, 3, 7, 5))).shape
    (8, 3, 1, 1)
    """

    pool = staticmethod(pools.adaptive_avg_pool2d)


class AdaptiveAvgPool3d(_Adaptive):
    """`tensorgraph.adaptive_avg_pool3d`."""

    pool = staticmethod(pools.adaptive_avg_pool3d)


class AdaptiveMaxPool1d(_Adaptive):
    """`tensorgraph.adaptive_max_pool1d`."""

    pool = staticmethod(pools.adaptive_max_pool1d)


class AdaptiveMaxPool2d(_Adaptive):
    """`tensorgraph.adaptive_max_pool2d`."""

    pool = staticmethod(pools.adaptive_max_pool2d)


class AdaptiveMaxPool3d(_Adaptive):
    """`tensorgraph.adaptive_max_pool3d`."""

    pool = staticmethod(pools.adaptive_max_pool3d)
