"""Special functions: of errors, and of gamma."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgraph.engine.aval import Aval
from tensorgraph.engine.declare import op
from tensorgraph.engine.op import Op, elementwise, float_dtype
from tensorgraph.ops.arithmetic import clip
from tensorgraph.ops.exponential import as_float, exp
from tensorgraph.ops.kernels import gammas
from tensorgraph.ops.kernels import scalar as scalars
from tensorgraph.ops.kernels.gamma_slope import gamma_slope_of
from tensorgraph.ops.kernels.pointwise import erf_of, erfc_of, ndtr_of
from tensorgraph.ops.rounding import floor

_SLOPE = 2 / math.sqrt(math.pi)


def bell(x: Any, by: float = 1.0) -> Any:
    """exp(-x²), or of x² times a power of 2.

    Its digits do not drown in those of x²: x is taken apart so that the first part of x² is exact.
    """
    x = clip(x, a_min=-40.0, a_max=40.0)
    head = floor(x * 256.0 + 0.5) * (1 / 256)
    return exp(head * head * -by) * exp((x - head) * (x + head) * -by)


def normal_density(x: Any) -> Any:
    """The density of the normal distribution."""
    return bell(x, 0.5) * (1 / math.sqrt(2 * math.pi))


erf = op(
    "erf(x)", lambda x: erf_of(as_float(x)), elementwise, direct=True, methods=("erf",), dtype="float",
    scalar=scalars.erf, flops=40,
    vjp=dict(x=lambda g, x: g * (_SLOPE * bell(x))), traits=("bounded above", "bounded below", "increasing"),
    doc="""The error function, 2/√π times the integral of exp(-t²) from 0 to x.

    >>> import tensorgraph as tg
    >>> tg.erf([0.0, 1.0])
    tensor([0.       , 0.8427008], f32)
    """,
)  # fmt: skip
erfc = op(
    "erfc(x)", lambda x: erfc_of(as_float(x)), elementwise, direct=True, methods=("erfc",), dtype="float",
    scalar=scalars.erfc, flops=40,
    vjp=dict(x=lambda g, x: -(g * (_SLOPE * bell(x)))), traits=("bounded above", "bounded below"),
    doc="1 - erf(x), right also where that is tiny.",
)  # fmt: skip
ndtr = op(
    "ndtr(x)", lambda x: ndtr_of(as_float(x)), elementwise, dtype="float", scalar=scalars.ndtr, flops=50,
    vjp=dict(x=lambda g, x: g * normal_density(x)), traits=("bounded above", "bounded below", "increasing"),
    doc="The distribution function of the normal distribution, right also where it is tiny.",
)  # fmt: skip
erfinv = op(
    "erfinv(x)", lambda x: gammas.erfinv(as_float(x)), elementwise, methods=("erfinv",), dtype="float",
    domain=(-0.9, 0.9), flops=150,
    scratch=20, vjp=dict(x=lambda g, out: g * (exp(out * out) / _SLOPE)),
    on_numpy="its series and fractions are long, and each number needs one of them",
    doc="The number whose error function is x; infinite at -1 and 1, NaN beyond.",
)  # fmt: skip
ndtri = op(
    "ndtri(p)", lambda p: gammas.ndtri(as_float(p)), elementwise, dtype="float", domain=(0.05, 0.95), flops=300,
    scratch=20, vjp=dict(p=lambda g, out: g / normal_density(out)),
    on_numpy="its series and fractions are long, and each number needs one of them",
    doc="""The inverse of `ndtr`: the number below which a normal variate is with probability p.

    Infinite at 0 and 1, NaN beyond.

    >>> import tensorgraph as tg
    >>> tg.ndtri([0.025, 0.5])
    tensor([-1.959964,  0.      ], f32)
    """,
)  # fmt: skip
lgamma = op(
    "lgamma(x)", lambda x: gammas.lgamma(as_float(x)), elementwise, also=("gammaln",), dtype="float", flops=100,
    scratch=20, domain=(0.3, 3.0), vjp=dict(x=lambda g, x: g * digamma(x)),
    on_numpy="its series and fractions are long, and each number needs one of them",
    doc="The logarithm of |Γ(x)|; infinite at 0 and at negative whole numbers.",
)  # fmt: skip
digamma: Op = op(
    "digamma(x)", lambda x: gammas.digamma(as_float(x)), elementwise, also=("psi",), dtype="float", flops=100,
    scratch=20, domain=(0.3, 3.0), vjp=dict(x=lambda g, x: g * polygamma(x, n=1)),
    on_numpy="its series and fractions are long, and each number needs one of them",
    doc="The derivative of `lgamma`; infinite at 0, NaN at negative whole numbers.",
)  # fmt: skip


def _order(n: Any) -> int:
    if type(n) is not int or not 1 <= n <= 50:
        raise ValueError(f"n must be an integer from 1 to 50, got {n!r}; of order 0 it is digamma")
    return n


def _polygamma_infer(x: Aval, *, n: Any) -> Aval:
    _order(n)
    return Aval(x.shape, float_dtype(x.dtype))


polygamma: Op = op(
    "polygamma(x, *, n: int)", lambda x, *, n: gammas.polygamma(as_float(x), _order(n)), elementwise, dtype="float",
    infer_rule=_polygamma_infer, flops=200, scratch=20, domain=(0.5, 3.0),
    vjp=dict(x=lambda g, x, n: g * polygamma(x, n=n + 1)), examples=((((3, 4),), dict(n=1)), (((5,),), dict(n=2))),
    on_numpy="its series and fractions are long, and each number needs one of them",
    doc="The derivative of order n of `digamma`.",
)  # fmt: skip


def _gamma_slope(a: Any, x: Any) -> Any:
    return gamma_slope_of(a, x).astype(float_dtype(np.result_type(a, x)), copy=False)


gamma_slope = op(
    "gamma_slope(a, x)", _gamma_slope, elementwise, dtype="float", flops=300,
    scratch=100, domain={"a": (0.3, 5.0), "x": (0.2, 5.0)}, vjp=dict(a=None, x=None), traits=("internal",),
    on_numpy="its series and fractions are long, and each number needs one of them",
    doc="The derivative by its shape a of a gamma variate x, held at its place in the distribution; no second one.",
)  # fmt: skip
