"""Convolutions of sequences as NumPy's; those of layers are `conv1d` and its like."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from tensorgraph.engine.functions import function
from tensorgraph.engine.tensor import Tensor, tensor
from tensorgraph.ops.contraction import matmul
from tensorgraph.ops.moving import of
from tensorgraph.ops.pieces import sliding_window_view
from tensorgraph.ops.shape import flip, pad

__all__: list[str] = []

TensorLike = Any
Mode = Literal["full", "same", "valid"]


def _both(a: Any, v: Any, name: str) -> tuple[Tensor, Tensor]:
    floats = [x.dtype for x in (a, v) if isinstance(x, (Tensor, np.ndarray)) and x.dtype.kind == "f"]
    if floats:  # numbers in a list take the dtype of the other
        a, v = (tensor(x, floats[0]) if isinstance(x, (list, tuple)) else x for x in (a, v))
    a, v = of(a, f"{name}: a"), of(v, f"{name}: v")
    for x in (a, v):
        if x.ndim != 1 or not x.size:
            raise ValueError(f"{name}: expected sequences of at least one number, got {a.aval} and {v.aval}")
    return a, v


def _slid(a: Tensor, v: Tensor, mode: str) -> Tensor:
    """The shorter v along a: where both meet at all, at each place of a, or where v lies within a."""
    n = v.size
    left = {"full": n - 1, "same": n // 2, "valid": 0}[mode]
    right = n - 1 - left if mode == "same" else left
    padded = pad.public(a, ((left, right),)) if left or right else a
    return matmul.public(sliding_window_view(padded, n), v)  # type: ignore[no-any-return]


@function(numpy=(np.correlate,), computed=True, examples=(
    (((5,), (3,)), {}), (((4,), (2,), "same"), {}), (((2,), (5,), "full"), {}), (((2,), (5,), "same"), {}),
))  # fmt: skip
def correlate(a: TensorLike, v: TensorLike, mode: Mode = "valid") -> Tensor:
    """Sums of a times v, at every place to which v can be moved: where it lies within a, or ``mode``.

    Parameters
    ----------
    a, v : tensor of one axis
    mode : "full", "same" or "valid"
        Where both meet at all, at as many places as the longer has, or where the shorter lies within it.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> tg.correlate([1.0, 2.0, 3.0], [1.0, 10.0])
    tensor([21., 32.], f32)
    """
    a, v = _both(a, v, "correlate")
    return _slid(a, v, mode) if v.size <= a.size else flip.public(_slid(v, a, mode))


@function(numpy=(np.convolve,), computed=True, examples=(
    (((5,), (3,)), {}), (((4,), (2,), "same"), {}), (((2,), (5,), "valid"), {}), (((3,), (6,), "same"), {}),
))  # fmt: skip
def convolve(a: TensorLike, v: TensorLike, mode: Mode = "full") -> Tensor:
    """The coefficients of the product of two polynomials: `correlate` with v turned round.

    Parameters
    ----------
    a, v : tensor of one axis
    mode : "full", "same" or "valid"
        Where both meet at all, at as many places as the longer has, or where the shorter lies within it.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> tg.convolve([1.0, 2.0], [1.0, 3.0])
    tensor([1., 5., 6.], f32)
    """
    a, v = _both(a, v, "convolve")
    long, short = (a, v) if v.size <= a.size else (v, a)
    return _slid(long, flip.public(short), mode)
