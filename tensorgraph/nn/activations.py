"""Activations as layers."""

from __future__ import annotations

from typing import Any

from tensorgraph.arguments import Finite, checked
from tensorgraph.engine.op import Op
from tensorgraph.engine.tensor import Tensor
from tensorgraph.nn.module import Module
from tensorgraph.ops.exponential import leaky_relu, relu, sigmoid, tanh
from tensorgraph.ops.softmax import log_softmax, softmax

__all__ = ["LeakyReLU", "LogSoftmax", "ReLU", "Sigmoid", "Softmax", "Tanh"]


class _Activation(Module):
    """A layer that is one op of one input."""

    atomic = True
    op: Op

    def forward(self, x: Any) -> Tensor:
        return self.op.public(x)  # type: ignore[no-any-return]


class ReLU(_Activation):
    """``max(x, 0)``; the derivative at 0 is 0."""

    op = relu


class Tanh(_Activation):
    """The hyperbolic tangent."""

    op = tanh


class Sigmoid(_Activation):
    """``1/(1 + exp(-x))``."""

    op = sigmoid


class LeakyReLU(Module):
    """x where positive, ``slope·x`` elsewhere."""

    atomic = True

    @checked
    def __init__(self, slope: Finite = 0.01) -> None:
        self.slope = float(slope)

    def forward(self, x: Any) -> Tensor:
        return leaky_relu.public(x, slope=self.slope)  # type: ignore[no-any-return]

    def config(self) -> dict[str, Any]:
        return {"slope": self.slope}

    def extra_repr(self) -> str:
        return f"slope={self.slope:g}"


class _Rowwise(Module):
    atomic = True
    op: Op

    @checked
    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def forward(self, x: Any) -> Tensor:
        return self.op.public(x, axis=self.axis)  # type: ignore[no-any-return]

    def config(self) -> dict[str, Any]:
        return {"axis": self.axis}

    def extra_repr(self) -> str:
        return "" if self.axis == -1 else f"axis={self.axis}"


class Softmax(_Rowwise):
    """Probabilities from logits along an axis.

    For training, leave it out and give the logits to `tensorgraph.softmax_cross_entropy`.
    """

    op = softmax


class LogSoftmax(_Rowwise):
    """Logarithms of probabilities from logits along an axis."""

    op = log_softmax
