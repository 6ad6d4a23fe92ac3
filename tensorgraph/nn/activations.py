"""Activations as layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

from tensorgraph.arguments import Count, Finite, checked
from tensorgraph.engine import init
from tensorgraph.engine.aval import FloatDType
from tensorgraph.engine.op import Op
from tensorgraph.engine.tensor import Tensor
from tensorgraph.nn.linear import parameter
from tensorgraph.nn.module import Module
from tensorgraph.nn.names import input_of
from tensorgraph.ops import activations as ops
from tensorgraph.ops.exponential import leaky_relu, relu, sigmoid, softplus, tanh
from tensorgraph.ops.shape import reshape
from tensorgraph.ops.softmax import log_softmax, softmax

__all__ = [
    "CELU", "ELU", "GELU", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU", "LogSigmoid", "LogSoftmax", "Mish",
    "PReLU", "ReLU", "ReLU6", "SELU", "SiLU", "Sigmoid", "Softmax", "Softplus", "Softsign", "Tanh",
]  # fmt: skip


class _Activation(Module):
    """A layer that is one op of one input; what its constructor takes are the op's attributes."""

    atomic = True
    op: Op

    def forward(self, x: Any) -> Tensor:
        return self.op.public(x, **self.config())  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        own, usual = self.config(), self.op.attrs
        return ", ".join(f"{name}={value!r}" for name, value in own.items() if value != usual[name])


class _Plain(_Activation):
    """One without attributes."""

    def forward(self, x: Any) -> Tensor:
        return self.op.public(x)  # type: ignore[no-any-return]


class ReLU(_Plain):
    """``max(x, 0)``; the derivative at 0 is 0."""

    op = relu


class ReLU6(_Plain):
    """``min(max(x, 0), 6)``."""

    op = ops.relu6


class Tanh(_Plain):
    """The hyperbolic tangent."""

    op = tanh


class Sigmoid(_Plain):
    """``1/(1 + exp(-x))``."""

    op = sigmoid


class LogSigmoid(_Plain):
    """The logarithm of that."""

    op = ops.log_sigmoid


class SiLU(_Plain):
    """``x·sigmoid(x)``, also called Swish."""

    op = ops.silu


class Mish(_Plain):
    """``x·tanh(softplus(x))``."""

    op = ops.mish


class Softplus(_Plain):
    """``log(1 + exp(x))``."""

    op = softplus


class Softsign(_Plain):
    """``x/(1 + |x|)``."""

    op = ops.softsign


class SELU(_Plain):
    """Scaled `ELU` that keeps mean 0 and variance 1."""

    op = ops.selu


class Hardsigmoid(_Plain):
    """``x/6 + 1/2`` within [0, 1]."""

    op = ops.hardsigmoid


class Hardswish(_Plain):
    """``x·hardsigmoid(x)``."""

    op = ops.hardswish


class GELU(_Activation):
    """``x·Φ(x)``, Φ the distribution function of the normal distribution; with "tanh" its approximation."""

    op = ops.gelu

    @checked
    def __init__(self, approximate: Literal["none", "tanh"] = "none") -> None:
        self.approximate = approximate

    def config(self) -> dict[str, Any]:
        return {"approximate": self.approximate}


class _Alpha(_Activation):
    @checked
    def __init__(self, alpha: Finite = 1.0) -> None:
        self.alpha = float(alpha)

    def config(self) -> dict[str, Any]:
        return {"alpha": self.alpha}


class ELU(_Alpha):
    """x above 0, ``alpha·(exp(x) - 1)`` elsewhere."""

    op = ops.elu


class CELU(_Alpha):
    """x above 0, ``alpha·(exp(x/alpha) - 1)`` elsewhere."""

    op = ops.celu


class Hardtanh(_Activation):
    """x within [min_val, max_val]."""

    op = ops.hardtanh

    @checked
    def __init__(self, min_val: Finite = -1.0, max_val: Finite = 1.0) -> None:
        self.min_val, self.max_val = float(min_val), float(max_val)

    def config(self) -> dict[str, Any]:
        return {"min_val": self.min_val, "max_val": self.max_val}


class LeakyReLU(_Activation):
    """x where positive, ``slope·x`` elsewhere."""

    op = leaky_relu

    @checked
    def __init__(self, slope: Finite = 0.01) -> None:
        self.slope = float(slope)

    def config(self) -> dict[str, Any]:
        return {"slope": self.slope}


QUARTER = init.constant.using(value=0.25)


class PReLU(Module):
    """x where positive, ``slope·x`` elsewhere, with one slope for all, or one a channel, that is learnt.

    Parameters
    ----------
    channels : int
        1, or the size of axis 1.
    slope_init : str or callable
        By default 0.25 everywhere (He and others, 2015).
    dtype : dtype-like, optional

    Attributes
    ----------
    slope : Parameter
        Shape (channels,).
    """

    atomic = True
    torch_state: ClassVar[Any] = {"slope": "weight"}

    @checked
    def __init__(
        self,
        channels: Count = 1,
        *,
        slope_init: str | Callable[..., Any] = QUARTER,
        dtype: FloatDType | None = None,
    ) -> None:
        self.channels = channels
        self.slope = parameter((channels,), slope_init, dtype)

    def forward(self, x: Any) -> Tensor:
        x = input_of(self, x)
        slope: Any = self.slope
        if self.channels > 1:
            if x.ndim < 2 or x.shape[1] != self.channels:
                raise ValueError(f"{self.label} has {self.channels} channels on axis 1, got shape {x.shape}")
            slope = reshape.public(slope, shape=(self.channels, *[1] * (x.ndim - 2)))
        return ops.prelu.public(x, slope)  # type: ignore[no-any-return]

    def config(self) -> dict[str, Any]:
        return {"channels": self.channels, "dtype": self.slope.dtype.name}

    def extra_repr(self) -> str:
        return "" if self.channels == 1 else str(self.channels)


class _Rowwise(_Activation):
    @checked
    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def config(self) -> dict[str, Any]:
        return {"axis": self.axis}


class Softmax(_Rowwise):
    """Probabilities from logits along an axis.

    For training, leave it out and give the logits to `tensorgraph.softmax_cross_entropy`.
    """

    op = softmax


class LogSoftmax(_Rowwise):
    """Logarithms of probabilities from logits along an axis."""

    op = log_softmax
