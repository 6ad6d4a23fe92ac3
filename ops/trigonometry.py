"""Trigonometric and hyperbolic functions, their inverses, and what is made of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgraph.engine.declare import op
from tensorgraph.engine.op import Op, elementwise
from tensorgraph.ops.arithmetic import absolute, sqrt
from tensorgraph.ops.exponential import as_float, cos
from tensorgraph.ops.kernels import scalar as scalars
from tensorgraph.ops.logic import equal, where
from tensorgraph.ops.rounding import round, trunc


def _complement(x: Any) -> Any:
    """1 - x², whose digits are kept near 1 and whose derivative's are near 0."""
    inner = absolute(x) < 0.5
    small = where(inner, x, 0.0)
    return where(inner, 1 - small * small, (1 - x) * (1 + x))


tan = op(
    "tan(x)", np.tan, elementwise, scalar=scalars.tan, methods=("tan",), dtype="float", domain=(-1.2, 1.2),
    vjp=dict(x=lambda g, out: g + (g * out) * out),
    traits=("analytic", "exponential"),
    doc="Tangent of x radians.",
)  # fmt: skip
asin = op(
    "asin(x)", np.arcsin, elementwise, scalar=scalars.asin, methods=("asin",), also=("arcsin",), dtype="float",
    domain=(-0.9, 0.9),
    vjp=dict(x=lambda g, x: g / sqrt(_complement(x))),
    traits=("analytic", "exponential", "root", "bounded above", "bounded below"),
    doc="The angle in [-π/2, π/2] whose sine is x; NaN outside [-1, 1], an infinite derivative at the ends.",
)  # fmt: skip
acos = op(
    "acos(x)", np.arccos, elementwise, scalar=scalars.acos, methods=("acos",), also=("arccos",), dtype="float",
    domain=(-0.9, 0.9),
    vjp=dict(x=lambda g, x: -(g / sqrt(_complement(x)))),
    traits=("analytic", "exponential", "root", "bounded above", "bounded below"),
    doc="The angle in [0, π] whose cosine is x; NaN outside [-1, 1], an infinite derivative at the ends.",
)  # fmt: skip
atan = op(
    "atan(x)", np.arctan, elementwise, scalar=scalars.atan, methods=("atan",), also=("arctan",), dtype="float",
    vjp=dict(x=lambda g, x: g / (1 + x * x)),
    traits=("analytic", "exponential", "bounded above", "bounded below", "increasing"),
    doc="The angle in [-π/2, π/2] whose tangent is x.",
)  # fmt: skip


def _leg(a: Any, b: Any) -> Any:
    """a / √(a² + b²); 0 where both are 0, and of an infinite a beside a finite b its sign."""
    r = np.hypot(a, b)
    beyond = np.isinf(a) & np.isfinite(b)
    out = np.divide(a, r, out=np.zeros_like(r), where=(r != 0) & ~beyond)
    return np.copysign(np.ones_like(r), a, out=out, where=beyond) if beyond.any() else out


def _leg_a(g: Any, a: Any, b: Any) -> Any:
    other = leg(b, a)
    return _over(g * other * other, a, b)


def _over(g: Any, a: Any, b: Any) -> Any:
    """g / √(a² + b²); where both are 0, g."""
    r = hypot(a, b)
    return g / where(equal(r, 0), 1.0, r)


leg: Op = op(
    "leg(a, b)", _leg, elementwise, scalar=scalars.leg, dtype="float", domain={"b": (0.5, 2.5)}, flops=3,
    vjp=dict(a=_leg_a, b=lambda g, a, b: -_over(g * leg(a, b) * leg(b, a), a, b)),
    traits=("root", "bounded above", "bounded below", "internal"),
    oracle=lambda a, b: a / np.sqrt(a * a + b * b),
    doc="""The derivative of `hypot` by a, a / hypot(a, b), and 0 where both are 0.

    Of one side much longer than the other the derivative has digits that hypot itself has not.
    """,
)  # fmt: skip
hypot: Op = op(
    "hypot(a, b)", np.hypot, elementwise, scalar=scalars.hypot, dtype="float",
    vjp=dict(a=lambda g, a, b: g * leg(a, b), b=lambda g, a, b: g * leg(b, a)),
    traits=("root", "commutative", "bounded below"),
    doc="√(a² + b²) without overflow; the derivative where both are 0 is 0.",
)  # fmt: skip


atan2 = op(
    "atan2(a, b)", np.arctan2, elementwise, scalar=scalars.atan2, also=("arctan2",), dtype="float",
    domain={"b": (0.5, 2.5)},
    vjp=dict(a=lambda g, a, b: _over(g * leg(b, a), a, b), b=lambda g, a, b: -_over(g * leg(a, b), a, b)),
    traits=("exponential", "bounded above", "bounded below"),
    doc="The angle of the point (b, a) in [-π, π], by the signs of both; the derivative where both are 0 is 0.",
)  # fmt: skip
sinh: Op = op(
    "sinh(x)", np.sinh, elementwise, scalar=scalars.sinh, methods=("sinh",), dtype="float",
    vjp=dict(x=lambda g, x: g * cosh(x)),
    traits=("analytic", "exponential", "increasing"),
    doc="Hyperbolic sine.",
)  # fmt: skip
cosh: Op = op(
    "cosh(x)", np.cosh, elementwise, scalar=scalars.cosh, methods=("cosh",), dtype="float",
    vjp=dict(x=lambda g, x: g * sinh(x)),
    traits=("analytic", "exponential", "bounded below"),
    doc="Hyperbolic cosine.",
)  # fmt: skip
asinh = op(
    "asinh(x)", np.arcsinh, elementwise, scalar=scalars.asinh, methods=("asinh",), also=("arcsinh",), dtype="float",
    vjp=dict(x=lambda g, x: g / hypot(x, 1.0)),
    traits=("analytic", "exponential", "increasing"),
    doc="The number whose hyperbolic sine is x.",
)  # fmt: skip
acosh = op(
    "acosh(x)", np.arccosh, elementwise, scalar=scalars.acosh, methods=("acosh",), also=("arccosh",), dtype="float",
    domain=(2.5, 6.0),
    vjp=dict(x=lambda g, x: g / (sqrt(x - 1) * sqrt(x + 1))), traits=("analytic", "exponential", "root"),
    doc="The number whose hyperbolic cosine is x; NaN below 1, an infinite derivative at 1.",
)  # fmt: skip
atanh = op(
    "atanh(x)", np.arctanh, elementwise, scalar=scalars.atanh, methods=("atanh",), also=("arctanh",), dtype="float",
    domain=(-0.8, 0.8),
    vjp=dict(x=lambda g, x: g / _complement(x)), traits=("analytic", "exponential"),
    doc="The number whose hyperbolic tangent is x; infinite at -1 and 1, NaN beyond.",
)  # fmt: skip

# degrees and radians are linear in one another
deg2rad = op(
    "deg2rad(x)", np.deg2rad, elementwise, scalar=scalars.radians, also=("radians",), dtype="float",
    vjp=dict(x=lambda g: g * (math.pi / 180)), traits=("linear", "increasing"),
    doc="Degrees in radians.",
)  # fmt: skip
rad2deg = op(
    "rad2deg(x)", np.rad2deg, elementwise, scalar=scalars.degrees, also=("degrees",), dtype="float",
    vjp=dict(x=lambda g: g * (180 / math.pi)), traits=("linear", "increasing"),
    doc="Radians in degrees.",
)  # fmt: skip

# sinc' = (cos πx - sinc x) / x cancels near 0, where its series is exact: of x², these times x
_NEAR = 0.5


def _turned(x: Any) -> tuple[Any, Any]:
    """x less half turns, of which π times x would lose digits, and the sign that sine and cosine have after them."""
    halves = round(x)
    return x - halves, 1 - 2 * absolute(halves - 2 * trunc(halves * 0.5))


def _sinc(x: Any) -> Any:
    x = as_float(x)
    y = np.where(x == 0, 1, x)
    rest, sign = _turned(y)
    return np.where(x == 0, 1, sign * np.sin(math.pi * rest) / (math.pi * y)).astype(x.dtype)


_SERIES = [(-1) ** k * math.pi ** (2 * k) * (2 * k) / math.factorial(2 * k + 1) for k in range(1, 13)]


def _sinc_x(g: Any, x: Any, out: Any) -> Any:
    near = absolute(x) < _NEAR
    small = where(near, x, 0.0)
    q = small * small
    slope = q * _SERIES[-1]
    for c in _SERIES[-2:0:-1]:
        slope = q * (slope + c)
    rest, sign = _turned(x)
    far = (sign * cos(math.pi * rest) - out) / where(near, 1.0, x)
    return g * where(near, small * (slope + _SERIES[0]), far)


sinc = op(
    "sinc(x)", _sinc, elementwise, scalar=scalars.sinc, numpy=(np.sinc,), dtype="float", flops=4, scratch=2,
    vjp=dict(x=_sinc_x), traits=("bounded above", "bounded below"),
    doc="sin(πx)/(πx), 1 at 0.",
)  # fmt: skip
