"""The fully connected layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from tensorgraph.arguments import Count, Natural, checked
from tensorgraph.engine import init
from tensorgraph.engine.aval import FloatDType
from tensorgraph.engine.cells import Parameter
from tensorgraph.engine.tensor import Tensor
from tensorgraph.nn.module import Module
from tensorgraph.nn.names import input_of
from tensorgraph.nn.torch_names import transposed
from tensorgraph.ops.contraction import matmul

__all__ = ["Linear", "parameter"]


def parameter(shape: tuple[int, ...], initialiser: Any, dtype: Any = None, seed: int | None = None) -> Parameter:
    """A parameter drawn by an initialiser, which it remembers.

    Examples
    --------
    >>> from tensorgraph.nn.linear import parameter
    >>> parameter((2,), "ones").initialiser
    'ones()'
    """
    draw = init.named(initialiser)
    made = Parameter(draw(shape, dtype, seed=seed) if isinstance(draw, init.Initialiser) else draw(shape), dtype=dtype)
    if made.shape != shape:
        raise ValueError(f"the initialiser {init.text_of(draw)} gave shape {made.shape}, expected {shape}")
    made.initialiser = init.text_of(draw)
    return made


class Linear(Module):
    """``x @ weight + bias`` on the last axis.

    Parameters
    ----------
    inputs, outputs : int
    bias : bool
        Leave it out before a batch norm, which takes its effect away.
    weight_init, bias_init : str or callable
        An initialiser of `tensorgraph.nn.init` or its name; any callable of a shape will do. As PyTorch starts a linear
        layer: "torch_uniform", for both.
    seed : int, optional
        Of the weight's numbers; otherwise they come from the process-wide generator.
    dtype : dtype-like, optional

    Attributes
    ----------
    weight : Parameter
        Shape (inputs, outputs).
    bias : Parameter or None
        Shape (outputs,).

    Examples
    --------
    >>> import tensorgraph as tg
    >>> layer = tg.nn.Linear(3, 2, seed=0)
    >>> layer(tg.ones((5, 3))).shape
    (5, 2)
    """

    atomic = True
    torch_state: ClassVar[Any] = {"weight": transposed("weight")}

    @checked
    def __init__(
        self,
        inputs: Count,
        outputs: Count,
        bias: bool = True,
        *,
        weight_init: str | Callable[..., Any] = "he_normal",
        bias_init: str | Callable[..., Any] = "zeros",
        seed: Natural | None = None,
        dtype: FloatDType | None = None,
    ) -> None:
        self.inputs, self.outputs = inputs, outputs
        self.weight = parameter((self.inputs, self.outputs), weight_init, dtype, seed)
        self.bias = parameter((self.outputs,), init.for_bias(bias_init, self.inputs), dtype) if bias else None

    def forward(self, x: Any) -> Tensor:
        if not isinstance(x, Tensor):
            x = input_of(self, x)
        shape = x.shape
        if not shape or shape[-1] != self.inputs:
            hint = "; flatten it first with nn.Flatten()" if len(shape) > 2 else ""
            raise ValueError(f"{self.label} takes {self.inputs} features on the last axis, got shape {shape}{hint}")
        y = matmul.public(x, self.weight)
        bias = self.bias
        return y if bias is None else y + bias  # type: ignore[no-any-return]

    def config(self) -> dict[str, Any]:
        return dict(inputs=self.inputs, outputs=self.outputs, bias=self.bias is not None, dtype=self.weight.dtype.name)

    def extra_repr(self) -> str:
        return f"{self.inputs}, {self.outputs}" + ("" if self.bias is not None else ", bias=False")
