"""Layers that make images larger and smaller, or put their pixels elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from tensorgraph.arguments import Count, Positive, checked
from tensorgraph.engine.tensor import Tensor
from tensorgraph.nn.module import Module
from tensorgraph.nn.names import input_of
from tensorgraph.ops import resampling

__all__ = ["PixelShuffle", "PixelUnshuffle", "Upsample"]


class Upsample(Module):
    """`tensorgraph.interpolate`: give `size` or `scale_factor`.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> tg.nn.Upsample(scale_factor=2, mode="bilinear")(tg.ones((1, 3, 4, 5))).shape
    (1, 3, 8, 10)
    """

    atomic = True

    @checked
    def __init__(
        self,
        size: Count | Sequence[Count] | None = None,
        scale_factor: Positive | Sequence[Positive] | None = None,
        mode: Literal["nearest", "nearest-exact", "linear", "bilinear", "trilinear", "bicubic", "area"] = "nearest",
        align_corners: bool = False,
    ) -> None:
        if (size is None) == (scale_factor is None):
            raise ValueError("Upsample: give size or scale_factor, one of them")
        self.size = tuple(size) if isinstance(size, (tuple, list)) else size
        self.scale_factor = tuple(scale_factor) if isinstance(scale_factor, (tuple, list)) else scale_factor
        self.mode, self.align_corners = mode, align_corners

    def forward(self, x: Any) -> Tensor:
        return resampling.interpolate(input_of(self, x), **self.config())  # type: ignore[no-any-return]

    def config(self) -> dict[str, Any]:
        return dict(
            size=self.size, scale_factor=self.scale_factor, mode=self.mode, align_corners=self.align_corners
        )  # fmt: skip

    def extra_repr(self) -> str:
        size = f"size={self.size}" if self.size is not None else f"scale_factor={self.scale_factor}"
        return f"{size}, mode={self.mode!r}" + (", align_corners=True" if self.align_corners else "")


class PixelShuffle(Module):
    """`tensorgraph.pixel_shuffle`."""

    atomic = True

    @checked
    def __init__(self, upscale_factor: Count) -> None:
        self.upscale_factor = upscale_factor

    def forward(self, x: Any) -> Tensor:
        return resampling.pixel_shuffle(input_of(self, x), self.upscale_factor)  # type: ignore[no-any-return]

    def config(self) -> dict[str, Any]:
        return {"upscale_factor": self.upscale_factor}

    def extra_repr(self) -> str:
        return str(self.upscale_factor)


class PixelUnshuffle(Module):
    """`tensorgraph.pixel_unshuffle`."""

    atomic = True

    @checked
    def __init__(self, downscale_factor: Count) -> None:
        self.downscale_factor = downscale_factor

    def forward(self, x: Any) -> Tensor:
        return resampling.pixel_unshuffle(input_of(self, x), self.downscale_factor)  # type: ignore[no-any-return]

    def config(self) -> dict[str, Any]:
        return {"downscale_factor": self.downscale_factor}

    def extra_repr(self) -> str:
        return str(self.downscale_factor)
