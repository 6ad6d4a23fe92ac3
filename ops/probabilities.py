"""What distributions are made of: incomplete gamma functions, the logarithms of the beta function and of the normal."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.engine.aval import Aval
from tensorgraph.engine.declare import op
from tensorgraph.engine.op import Op, elementwise, float_dtype
from tensorgraph.ops.exponential import as_float
from tensorgraph.ops.kernels import incomplete_gamma, log_beta, log_normal
from tensorgraph.ops.special import polygamma

_MOST = 12  # orders of derivatives, which nobody asks for and whose factorials still have all digits
_GAMMA: dict[str, Any] = dict(
    dtype="float", domain={"a": (0.4, 4.0), "x": (0.3, 6.0)}, flops=800, scratch=1100,
)  # fmt: skip


def _in_float64(function: Any, *inputs: Any) -> Any:
    """Narrower floats by way of float64; the result is of the type that their op says."""
    typed = tuple(Aval(v.shape, v.dtype) if isinstance(v, (np.ndarray, np.generic)) else v for v in inputs)
    assert elementwise.infer is not None
    kind = elementwise.infer(gammainc, typed, {}).dtype
    return function(*map(np.asarray, inputs)).astype(kind, copy=False)


def _orders(of: Op, a: Any, b: Any, **orders: Any) -> Any:
    if not all(type(n) is int and 0 <= n <= _MOST for n in orders.values()):
        raise ValueError(f"orders of derivatives are integers from 0 to {_MOST}, got {orders}")
    assert elementwise.infer is not None
    return elementwise.infer(of, (a, b), {})


gammainc: Op = op(
    "gammainc(a, x)", lambda a, x: _in_float64(incomplete_gamma.lower, a, x), elementwise, **_GAMMA,
    vjp=dict(
        a=lambda g, a, x: g * gammainc_slope(a, x, i=1, j=0), x=lambda g, a, x: g * gammainc_slope(a, x, i=0, j=1)
    ),
    traits=("bounded above", "bounded below"),
    on_numpy="its series and fractions are long, and each number needs one of them",
    doc="""The regularised lower incomplete gamma function P: the share of a gamma variate of shape a that is below x.

    NaN for negative a or x. It has all derivatives, by a too.

    >>> import tensorgraph as tg
    >>> tg.gammainc(1.0, [0.0, 1.0, 2.0])
    tensor([0.        , 0.63212055, 0.86466473], f32)
    """,
)  # fmt: skip
gammaincc = op(
    "gammaincc(a, x)", lambda a, x: _in_float64(incomplete_gamma.upper, a, x), elementwise, **_GAMMA,
    vjp=dict(
        a=lambda g, a, x: -(g * gammainc_slope(a, x, i=1, j=0)), x=lambda g, a, x: -(g * gammainc_slope(a, x, i=0, j=1))
    ),
    traits=("bounded above", "bounded below"),
    on_numpy="its series and fractions are long, and each number needs one of them",
    doc="The regularised upper incomplete gamma function, 1 - `gammainc`, right also where that is tiny.",
)  # fmt: skip
gammainc_slope: Op = op(
    "gammainc_slope(a, x, *, i: int, j: int)",
    lambda a, x, *, i, j: _in_float64(lambda a, x: incomplete_gamma.slope(a, x, i, j), a, x), elementwise, **_GAMMA,
    infer_rule=lambda a, x, *, i, j: _orders(gammainc_slope, a, x, i=i, j=j), traits=("internal",),
    examples=((((3, 4), (3, 4)), dict(i=1, j=0)), (((3,), (3,)), dict(i=0, j=2)), (((2, 3), (3,)), dict(i=1, j=1))),
    vjp=dict(
        a=lambda g, a, x, i, j: g * gammainc_slope(a, x, i=i + 1, j=j),
        x=lambda g, a, x, i, j: g * gammainc_slope(a, x, i=i, j=j + 1),
    ),
    on_numpy="its series and fractions are long, and each number needs one of them",
    doc="The derivative of `gammainc`, i times by a and j times by x.",
)  # fmt: skip
betaln = op(
    "betaln(a, b)", lambda a, b: _in_float64(log_beta.betaln, a, b), elementwise, dtype="float",
    domain={"a": (1.3, 4.0), "b": (1.3, 4.0)}, flops=300, scratch=60, traits=("commutative",),
    vjp=dict(a=lambda g, a, b: g * polygamma_gap(a, b, n=0), b=lambda g, a, b: g * polygamma_gap(b, a, n=0)),
    on_numpy="its series and fractions are long, and each number needs one of them",
    doc="""The logarithm of |B(a, b)|, the beta function Γ(a) Γ(b) / Γ(a + b), right also where these are huge.

    >>> import tensorgraph as tg
    >>> tg.betaln(2.0, 3.0)
    tensor(-2.4849067, f32)
    """,
)  # fmt: skip
polygamma_gap: Op = op(
    "polygamma_gap(a, b, *, n: int)",
    lambda a, b, *, n: _in_float64(lambda a, b: log_beta.polygamma_gap(a, b, n), a, b), elementwise, dtype="float",
    domain={"a": (0.5, 3.0), "b": (0.3, 3.0)}, flops=600, scratch=60, traits=("internal",),
    infer_rule=lambda a, b, *, n: _orders(polygamma_gap, a, b, n=n),
    examples=((((3, 4), (3, 4)), dict(n=0)), (((3,), (3,)), dict(n=1))),
    vjp=dict(
        a=lambda g, a, b, n: g * polygamma_gap(a, b, n=n + 1), b=lambda g, a, b, n: -(g * polygamma(a + b, n=n + 1))
    ),
    on_numpy="its series and fractions are long, and each number needs one of them",
    doc="`polygamma` of order n (0: `digamma`) of a, less that of a + b.",
)  # fmt: skip
log_ndtr = op(
    "log_ndtr(x)", lambda x: log_normal.log_ndtr(as_float(x)), elementwise, dtype="float", flops=100, scratch=30,
    vjp=dict(x=lambda g, x: g * log_ndtr_slope(x, n=1)), traits=("bounded above", "increasing"),
    on_numpy="its series and fractions are long, and each number needs one of them",
    doc="""The logarithm of `ndtr`, right also where `ndtr` is 0 in its dtype.

    >>> import tensorgraph as tg
    >>> tg.log_ndtr([-30.0, 0.0])
    tensor([-454.32126  ,   -0.6931472], f32)
    """,
)  # fmt: skip


def _order(x: Aval, *, n: Any) -> Aval:
    if type(n) is not int or not 1 <= n <= _MOST:
        raise ValueError(f"n is an integer from 1 to {_MOST}, got {n!r}")
    return Aval(x.shape, float_dtype(x.dtype))


log_ndtr_slope: Op = op(
    "log_ndtr_slope(x, *, n: int)", lambda x, *, n: log_normal.log_ndtr_slope(as_float(x), n), elementwise,
    dtype="float", infer_rule=_order, flops=200, scratch=40, traits=("internal",),
    examples=((((3, 4),), dict(n=1)), (((5,),), dict(n=2))),
    vjp=dict(x=lambda g, x, n: g * log_ndtr_slope(x, n=n + 1)),
    on_numpy="its series and fractions are long, and each number needs one of them",
    doc="The derivative of order n of `log_ndtr`.",
)  # fmt: skip
