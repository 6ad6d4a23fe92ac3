"""Layers that normalise each example by itself, in training as at test time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from tensorgraph.arguments import Count, NonNegative, checked
from tensorgraph.engine import init
from tensorgraph.engine.aval import FloatDType
from tensorgraph.engine.tensor import Tensor
from tensorgraph.nn.linear import parameter
from tensorgraph.nn.module import Module
from tensorgraph.nn.names import input_of
from tensorgraph.ops.layer_norm import layer_norm, rms_norm
from tensorgraph.ops.normalization import group_norm, instance_norm

__all__ = ["GroupNorm", "InstanceNorm", "LayerNorm", "RMSNorm"]


class _Norm(Module):
    atomic = True
    torch_state: ClassVar[Any] = {"gamma": "weight", "beta": "bias"}

    def _affine(self, shape: tuple[int, ...], gamma: bool, beta: bool, dtype: Any) -> None:
        self.gamma = parameter(shape, init.ones, dtype) if gamma else None
        self.beta = parameter(shape, init.zeros, dtype) if beta else None

    def _dtype(self) -> str | None:
        return None if self.gamma is None else self.gamma.dtype.name


class LayerNorm(_Norm):
    """Each example normalised over its last axes, then scaled by gamma and shifted by beta.

    Parameters
    ----------
    shape : int or sequence of int
        The sizes of the axes that are normalised together.
    eps : float
        Added to the variance.
    affine : bool
        Whether there are gamma and beta.
    bias : bool
        Whether there is beta beside gamma.
    dtype : dtype-like, optional

    Attributes
    ----------
    gamma, beta : Parameter or None
        Of that shape.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> tg.nn.LayerNorm(2, eps=0.0)(tg.tensor([[1.0, 3.0]])).tolist()
    [[-1.0, 1.0]]
    """

    @checked
    def __init__(
        self,
        shape: Count | Sequence[Count],
        *,
        eps: NonNegative = 1e-5,
        affine: bool = True,
        bias: bool = True,
        dtype: FloatDType | None = None,
    ) -> None:
        self.shape = (shape,) if isinstance(shape, int) else tuple(shape)
        if not self.shape:
            raise ValueError("LayerNorm: shape needs one size or more, those of the last axes")
        self.eps = float(eps)
        self._affine(self.shape, affine, affine and bias, dtype)

    def forward(self, x: Any) -> Tensor:
        x = _fitting(self, x, self.shape)
        y, _, _ = layer_norm.public(x, self.gamma, self.beta, axis=-len(self.shape), eps=self.eps)
        return y  # type: ignore[no-any-return]

    def config(self) -> dict[str, Any]:
        affine, bias = self.gamma is not None, self.beta is not None or self.gamma is None
        return dict(shape=list(self.shape), eps=self.eps, affine=affine, bias=bias, dtype=self._dtype())

    def extra_repr(self) -> str:
        return _said(self, str(self.shape[0] if len(self.shape) == 1 else self.shape), 1e-5)


class RMSNorm(_Norm):
    """Each example over the root of its mean square along its last axes, then scaled by gamma.

    Parameters
    ----------
    shape : int or sequence of int
        The sizes of the axes that are taken together.
    eps : float
        Added to the mean square.
    affine : bool
        Whether there is gamma.
    dtype : dtype-like, optional

    Attributes
    ----------
    gamma : Parameter or None
        Of that shape.
    """

    @checked
    def __init__(
        self,
        shape: Count | Sequence[Count],
        *,
        eps: NonNegative = 1e-6,
        affine: bool = True,
        dtype: FloatDType | None = None,
    ) -> None:
        self.shape = (shape,) if isinstance(shape, int) else tuple(shape)
        if not self.shape:
            raise ValueError("RMSNorm: shape needs one size or more, those of the last axes")
        self.eps = float(eps)
        self._affine(self.shape, affine, False, dtype)

    def forward(self, x: Any) -> Tensor:
        x = _fitting(self, x, self.shape)
        return rms_norm.public(x, self.gamma, axis=-len(self.shape), eps=self.eps)  # type: ignore[no-any-return]

    def config(self) -> dict[str, Any]:
        return dict(shape=list(self.shape), eps=self.eps, affine=self.gamma is not None, dtype=self._dtype())

    def extra_repr(self) -> str:
        return _said(self, str(self.shape[0] if len(self.shape) == 1 else self.shape), 1e-6)


class GroupNorm(_Norm):
    """Channels in groups, each example's group normalised by itself, then scaled and shifted by channel.

    Parameters
    ----------
    groups, channels : int
        The channels are on axis 1, and the groups divide them.
    eps : float
    affine : bool
        Whether there are gamma and beta, of shape (channels,).
    dtype : dtype-like, optional
    """

    @checked
    def __init__(
        self,
        groups: Count,
        channels: Count,
        *,
        eps: NonNegative = 1e-5,
        affine: bool = True,
        dtype: FloatDType | None = None,
    ) -> None:
        if channels % groups:
            raise ValueError(f"GroupNorm: {channels} channels cannot be divided into {groups} groups")
        self.groups, self.channels, self.eps = groups, channels, float(eps)
        self._affine((channels,), affine, affine, dtype)

    def forward(self, x: Any) -> Tensor:
        x = _with_channels(self, x, self.channels)
        y: Tensor = group_norm(x, self.groups, self.gamma, self.beta, eps=self.eps)
        return y

    def config(self) -> dict[str, Any]:
        return dict(
            groups=self.groups, channels=self.channels, eps=self.eps, affine=self.gamma is not None, dtype=self._dtype()
        )

    def extra_repr(self) -> str:
        return _said(self, f"{self.groups}, {self.channels}", 1e-5)


class InstanceNorm(_Norm):
    """Each channel of each example normalised by itself: (N, C, L), (N, C, H, W), (N, C, D, H, W).

    Parameters
    ----------
    channels : int
        On axis 1.
    eps : float
    affine : bool
        Whether there are gamma and beta, of shape (channels,); by default not, as in PyTorch.
    dtype : dtype-like, optional
    """

    @checked
    def __init__(
        self, channels: Count, *, eps: NonNegative = 1e-5, affine: bool = False, dtype: FloatDType | None = None
    ) -> None:
        self.channels, self.eps = channels, float(eps)
        self._affine((channels,), affine, affine, dtype)

    def forward(self, x: Any) -> Tensor:
        x = _with_channels(self, x, self.channels)
        y: Tensor = instance_norm(x, self.gamma, self.beta, eps=self.eps)
        return y

    def config(self) -> dict[str, Any]:
        return dict(channels=self.channels, eps=self.eps, affine=self.gamma is not None, dtype=self._dtype())

    def extra_repr(self) -> str:
        return _said(self, str(self.channels), 1e-5) + (", affine=True" if self.gamma is not None else "")


def _fitting(layer: Module, x: Any, shape: tuple[int, ...]) -> Tensor:
    made: Tensor = x if isinstance(x, Tensor) else input_of(layer, x)
    if made.shape[-len(shape) :] != shape:
        fits = [i for i, n in enumerate(made.shape) if (n,) == shape]
        hint = f"; the axis {fits[0]} has that size: move it to the end" if len(fits) == 1 else ""
        raise ValueError(f"{layer.label} normalises last axes of the sizes {shape}, got shape {made.shape}{hint}")
    return made


def _with_channels(layer: Module, x: Any, channels: int) -> Tensor:
    made: Tensor = x if isinstance(x, Tensor) else input_of(layer, x)
    if made.ndim < 2 or made.shape[1] != channels:
        raise ValueError(f"{layer.label} has {channels} channels on axis 1, got shape {made.shape}")
    return made


def _said(layer: Any, sizes: str, eps: float) -> str:
    parts = [sizes] + ([f"eps={layer.eps:g}"] if layer.eps != eps else [])
    if layer.gamma is None and not isinstance(layer, InstanceNorm):
        parts.append("affine=False")
    elif layer.beta is None and isinstance(layer, LayerNorm):
        parts.append("bias=False")
    return ", ".join(parts)
