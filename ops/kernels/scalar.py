"""The words of scalar functions: with Python's operators, all that an op's `scalar` is written in.

Each takes Python floats, NumPy's scalars and arrays, and stands in compiled loops, where it neither branches nor calls
and so vectorises. The words of `tensorgraph.ops.kernels.libm` call the C library.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.jit import Helper, chosen_by_type, formula, helper, variants
from tensorgraph.ops.kernels.arcs import acos, asin, atan, atan2
from tensorgraph.ops.kernels.bits import bits, select
from tensorgraph.ops.kernels.errors import erf, erfc, ndtr
from tensorgraph.ops.kernels.exponentials import (
    between_exp,
    between_log,
    exp,
    exp2,
    exp_low,
    expm1,
    log,
    log1p,
    log2,
    log10,
    sigmoid,
    tanh,
)
from tensorgraph.ops.kernels.hyperbolic import acosh, asinh, atanh, cosh, sinh
from tensorgraph.ops.kernels.libm import ceil, copysign, fmod, nextafter, rint, signbit, sqrt, trunc
from tensorgraph.ops.kernels.roots import cbrt, hypot
from tensorgraph.ops.kernels.trigonometry import cos, sin, tan
from tensorgraph.ops.kernels.wide_power import wide_power

__all__ = [
    "absolute",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "cbrt",
    "ceil",
    "celu",
    "clamped",
    "clip",
    "copysign",
    "cos",
    "cosh",
    "degrees",
    "elu",
    "erf",
    "erfc",
    "exp",
    "exp2",
    "exp_low",
    "expm1",
    "floor",
    "finite",
    "fmax",
    "fmin",
    "fmod",
    "hardsigmoid",
    "hardswish",
    "hypot",
    "isfinite",
    "isinf",
    "leaky_relu",
    "leg",
    "log",
    "log10",
    "log1p",
    "log2",
    "log_sigmoid",
    "logaddexp",
    "logaddexp2",
    "logit",
    "maximum",
    "minimum",
    "mish",
    "ndtr",
    "nextafter",
    "over_cosh",
    "power",
    "radians",
    "relu",
    "relu6",
    "rint",
    "select",
    "selu",
    "sigmoid",
    "sign",
    "signbit",
    "silu",
    "sin",
    "sinc",
    "sinh",
    "softplus",
    "softsign",
    "sqrt",
    "tan",
    "tanh",
    "tanhshrink",
    "trunc",
    "xlog1py",
    "xlogy",
]


@helper(plain=np.absolute)
def absolute(x: Any) -> Any:
    """|x|."""
    return abs(x)


@helper(plain=np.floor)
def floor(x: Any) -> Any:
    """The largest whole number that is not above x."""
    return np.floor(x)


@helper(plain=np.sign)
def sign(x: Any) -> Any:
    """-1, 0 or 1, and NaN for NaN."""
    return np.sign(x)


@helper(plain=np.maximum)
def maximum(a: Any, b: Any) -> Any:
    """The larger one; NaN wins."""
    return select((a >= b) | (a != a), a, b)


@helper(plain=np.minimum)
def minimum(a: Any, b: Any) -> Any:
    """The smaller one; NaN wins."""
    return select((a <= b) | (a != a), a, b)


@helper(plain=np.fmax)
def fmax(a: Any, b: Any) -> Any:
    """The larger one; a number wins over a NaN."""
    return select((a >= b) | (b != b), a, b)


@helper(plain=np.fmin)
def fmin(a: Any, b: Any) -> Any:
    """The smaller one; a number wins over a NaN."""
    return select((a <= b) | (b != b), a, b)


@helper
def clip(x: Any, a_min: Any, a_max: Any) -> Any:
    """x between two bounds, either of which may be None: that is known when the code is compiled."""
    y = x if a_min is None else maximum(x, a_min)
    return y if a_max is None else minimum(y, a_max)


@helper(plain=np.isinf)
def isinf(x: Any) -> Any:
    """Whether x is infinite."""
    return (x == x) & (x - x != x - x)


@helper(plain=np.isfinite)
def isfinite(x: Any) -> Any:
    """Whether x is neither infinite nor NaN."""
    return x - x == x - x


@formula
def relu(x: Any) -> Any:
    """max(x, 0)."""
    return maximum(x, 0)


@formula
def leaky_relu(x: Any, slope: Any) -> Any:
    """x above 0, slope x elsewhere."""
    return select(x > 0, x, slope * x)


@formula
def softplus(x: Any) -> Any:
    """log(1 + e^x), of e^-|x| only, so that nothing overflows."""
    return maximum(x, 0) + log1p(exp_low(-absolute(x)))


@helper
def _within32(x: Any) -> Any:
    """|x|, no more than of which the hyperbolic cosine is a float32."""
    return minimum(absolute(x), np.float32(87))


@helper
def _within64(x: Any) -> Any:
    """|x|, no more than of which the hyperbolic cosine is a float64."""
    return minimum(absolute(x), np.float64(708))


_within = variants("within", _within32, _within64)


@formula
def over_cosh(a: Any, x: Any) -> Any:
    """a / cosh(x)²."""
    e = exp_low(-_within(x))
    s = 2.0 * e / (1.0 + e * e)  # 1 / cosh(x)
    return a * s * s


_INF32, _NAN32 = np.float32(np.inf), np.float32(np.nan)


@helper
def _narrow_power(a: Any, b: Any) -> Any:
    """a to the power b in float32, by way of float64, which has the digits that the logarithm needs."""
    size = np.float32(between_exp(np.float64(b) * between_log(np.float64(absolute(a)))))
    odd = (np.floor(np.float32(0.5) * b) != np.float32(0.5) * b) & (np.floor(b) == b)
    size = select((bits(a) < np.int32(0)) & odd, -size, size)
    size = select((a < np.float32(0)) & (a > -_INF32) & (absolute(b) < _INF32) & (b != np.floor(b)), _NAN32, size)
    one = (b == np.float32(0)) | (a == np.float32(1)) | ((absolute(a) == np.float32(1)) & (absolute(b) == _INF32))
    return select(one, np.float32(1), size)


@helper
def _any_power(a: Any, b: Any) -> Any:
    return a**b


def _power(numba: Any) -> Any:
    narrow, wide, other = (one.built(numba) for one in (_narrow_power, wide_power, _any_power))

    def choose(a: Any, b: Any) -> Any:
        if a == b == numba.types.float32:
            return narrow.py_func
        return wide.py_func if a == b == numba.types.float64 else other.py_func

    options = {k: v for k, v in narrow.targetoptions.items() if k != "nopython"}
    return chosen_by_type(numba, "power", ("a", "b"), choose, options)


# a to the power b, as NumPy's
power = Helper(
    np.power, _power, digest=lambda: f"power({_narrow_power.digest()}{wide_power.digest()})",
    pair=(_narrow_power, wide_power),
)  # fmt: skip


# beside a factor that is 0 far below, x stops somewhere: 0 times infinity would be NaN
@formula
def silu(x: Any) -> Any:
    """x times its logistic function."""
    return maximum(x, -10000.0) * sigmoid(x)


@formula
def log_sigmoid(x: Any) -> Any:
    """log of the logistic function."""
    return minimum(x, 0) - log1p(exp_low(-absolute(x)))


@formula
def mish(x: Any) -> Any:
    """x tanh(softplus x)."""
    return maximum(x, -10000.0) * tanh(softplus(x))


@formula
def softsign(x: Any) -> Any:
    """x / (1 + |x|)."""
    return select(isinf(x), copysign(1.0, x), x / select(isinf(x), 1.0, 1 + absolute(x)))


@formula
def tanhshrink(x: Any) -> Any:
    """x - tanh(x); near 0, where that cancels, by the continued fraction of tanh, which is x / (1 + u)."""
    s = minimum(x * x, 1.0)
    u = s / (3 + s / (5 + s / (7 + s / (9 + s / (11 + s / (13 + s / (15 + s / (17 + s / 19))))))))
    return select(absolute(x) < 1.0, x * (u / (1 + u)), x - tanh(x))


@formula
def elu(x: Any, alpha: Any) -> Any:
    """x above 0, alpha (e^x - 1) elsewhere."""
    return select(x > 0, x, alpha * expm1(minimum(x, 0)))


@formula
def celu(x: Any, alpha: Any) -> Any:
    """x above 0, alpha (e^(x / alpha) - 1) elsewhere."""
    return select(x > 0, x, alpha * expm1(minimum(x, 0) / alpha))


@formula
def selu(x: Any) -> Any:
    """Scaled elu."""
    return select(x > 0, 1.0507009873554805 * x, 1.7580993408473766 * expm1(minimum(x, 0)))


@formula
def clamped(x: Any, low: Any, high: Any) -> Any:
    """x within two bounds."""
    return minimum(maximum(x, low), high)


@formula
def hardsigmoid(x: Any) -> Any:
    """x / 6 + 1/2 within 0 and 1."""
    return minimum(maximum(x / 6 + 0.5, 0), 1)


@formula
def hardswish(x: Any) -> Any:
    """x times that."""
    return maximum(x, -10000.0) * minimum(maximum(x / 6 + 0.5, 0), 1)


@formula
def relu6(x: Any) -> Any:
    """x within 0 and 6."""
    return minimum(maximum(x, 0), 6)


@formula
def radians(x: Any) -> Any:
    """Degrees in radians."""
    return x * 0.017453292519943295


@formula
def degrees(x: Any) -> Any:
    """Radians in degrees."""
    return x * 57.29577951308232


@formula
def sinc(x: Any) -> Any:
    """sin(pi x) / (pi x), half turns taken off before pi comes in."""
    y = select(x == 0, 1.0, x)
    halves = rint(y)
    sign = 1.0 - 2.0 * absolute(halves - 2.0 * trunc(0.5 * halves))
    return select(x == 0, 1.0, sign * sin(3.141592653589793 * (y - halves)) / (3.141592653589793 * y))


@formula
def logit(x: Any) -> Any:
    """log(x / (1 - x)), near 1/2 by what is exact there."""
    near = absolute(x - 0.5) < 0.25
    centred = log1p((2.0 * x - 1.0) / select(near, 1.0 - x, 1.0))
    return select(near, centred, log(x) - log1p(-x))


@formula
def logaddexp(a: Any, b: Any) -> Any:
    """log(e^a + e^b), of e^-|a - b| only, so that nothing overflows."""
    return maximum(a, b) + log1p(exp_low(-absolute(select(a == b, 0.0, a - b))))


@formula
def logaddexp2(a: Any, b: Any) -> Any:
    """The like with powers of 2."""
    return maximum(a, b) + 1.4426950408889634 * log1p(exp2(-absolute(select(a == b, 0.0, a - b))))


@helper
def _largest32(x: Any) -> Any:
    return np.float32(3.4028234663852886e38)


@helper
def _largest64(x: Any) -> Any:
    return np.float64(1.7976931348623157e308)


largest = variants("largest", _largest32, _largest64)


@helper
def finite(x: Any, nan: Any, posinf: Any, neginf: Any) -> Any:
    """x, with numbers in place of NaN and infinities, by default the largest there are for these."""
    top = largest(x) if posinf is None else posinf
    low = -largest(x) if neginf is None else neginf
    y = select(x > largest(x), top, x)
    return select(x == x, select(x < -largest(x), low, y), nan)


@formula
def xlogy(a: Any, b: Any) -> Any:
    """a log b, and 0 where a is 0."""
    nothing = (a == 0) & (b == b)
    return select(nothing, 0.0, a * log(select(nothing, 1.0, b)))


@formula
def xlog1py(a: Any, b: Any) -> Any:
    """a log1p(b), and 0 where a is 0."""
    nothing = (a == 0) & (b == b)
    return select(nothing, 0.0, a * log1p(select(nothing, 0.0, b)))


@formula
def leg(a: Any, b: Any) -> Any:
    """a / √(a² + b²); 0 where both are 0, and of an infinite a beside a finite b its sign."""
    r = hypot(a, b)
    beyond = isinf(a) & isfinite(b)
    return select(beyond, copysign(1.0, a), a / select((r == 0) | beyond, 1.0, r))
