"""Modified Bessel functions of the first kind, and the multivariate gamma function."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgraph.arguments import Count
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.declare import op
from tensorgraph.engine.functions import function
from tensorgraph.engine.op import Op, elementwise, float_dtype
from tensorgraph.engine.tensor import Tensor
from tensorgraph.ops.exponential import as_float
from tensorgraph.ops.kernels.bessel import MOST_ORDER, bessel_i_of
from tensorgraph.ops.moving import of
from tensorgraph.ops.special import lgamma

__all__: list[str] = []

TensorLike = Any


def _order(n: Any) -> int:
    if type(n) is not int or not 0 <= n <= MOST_ORDER:
        raise ValueError(f"n must be an integer from 0 to {MOST_ORDER}, got {n!r}")
    return n


def _infer(x: Aval, *, n: Any) -> Aval:
    _order(n)
    return Aval(x.shape, float_dtype(x.dtype))


def _slope(g: Any, x: Any, n: int) -> Any:
    above = bessel_i(x, n=n + 1)
    return g * (above if n == 0 else (bessel_i(x, n=n - 1) + above) * 0.5)


def _oracle(x: Any, *, n: int) -> Any:
    """The mean of exp(x cos t) cos nt over a half turn, by the rule of middles, which converges as fast as a series."""
    t = (np.arange(96, dtype=x.dtype) + x.dtype.type(0.5)) * (x.dtype.type(np.pi) / 96)
    if x.dtype == np.longdouble:
        t = (np.arange(96, dtype=x.dtype) + x.dtype.type(0.5)) * (4 * np.arctan(np.longdouble(1)) / 96)
    wide = x[..., None]
    return np.mean(np.exp(wide * np.cos(t)) * np.cos(n * t), -1)


bessel_i: Op = op(
    "bessel_i(x, *, n: int)",
    lambda x, *, n: bessel_i_of(as_float(x), _order(n)), elementwise, dtype="float",
    infer_rule=_infer, flops=400, scratch=20, domain=(-3.0, 3.0), vjp=dict(x=_slope), oracle=_oracle,
    examples=((((3, 4),), dict(n=0)), (((5,),), dict(n=1)), (((2, 3),), dict(n=3))),
    on_numpy="its series and fractions are long, and each number needs one of them",
    doc="""The modified Bessel function of the first kind of order n.

    >>> import tensorgraph as tg
    >>> tg.bessel_i([0.0, 1.0], n=1)
    tensor([0.       , 0.5651591], f32)
    """,
)  # fmt: skip


@function(numpy=(np.i0,), computed=True, examples=((((3, 4),), {}),))
def i0(x: TensorLike) -> Tensor:
    """The modified Bessel function of the first kind of order 0.

    >>> import tensorgraph as tg
    >>> tg.i0([0.0, 1.0])
    tensor([1.       , 1.2660658], f32)
    """
    return bessel_i.public(of(x, "i0: x"), n=0)  # type: ignore[no-any-return]


@function(computed=True, examples=((((3, 4),), {}),))
def i1(x: TensorLike) -> Tensor:
    """The modified Bessel function of the first kind of order 1, the derivative of `i0`.

    >>> import tensorgraph as tg
    >>> tg.i1([0.0, 1.0])
    tensor([0.       , 0.5651591], f32)
    """
    return bessel_i.public(of(x, "i1: x"), n=1)  # type: ignore[no-any-return]


@function(computed=True, examples=())
def multigammaln(a: TensorLike, d: Count) -> Tensor:
    """The logarithm of the gamma function of `d` dimensions, of numbers above (d - 1) / 2; infinite or NaN beyond.

    >>> import tensorgraph as tg
    >>> tg.multigammaln([2.0, 3.0], 2).numpy().round(4)
    array([0.4516, 1.5502], dtype=float32)
    """
    a = of(a, "multigammaln: a")
    out = lgamma.public(a)
    for j in range(1, d):
        out = out + lgamma.public(a - 0.5 * j)
    return out + 0.25 * d * (d - 1) * math.log(math.pi)  # type: ignore[no-any-return]
