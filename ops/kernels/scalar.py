"""The words of scalar functions: with Python's operators, all that an op's `scalar` is written in.

Each takes Python floats, NumPy's scalars and arrays, and stands in compiled loops, where it neither branches nor calls
and so vectorises. A power of float64 is the one word that calls the C library.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.jit import Helper, chosen_by_type, formula, helper
from tensorgraph.ops.kernels.bits import bits, select
from tensorgraph.ops.kernels.exponentials import exp, exp_low, expm1, log, log1p, sigmoid, tanh
from tensorgraph.ops.kernels.trigonometry import cos, sin

__all__ = [
    "absolute",
    "clip",
    "cos",
    "exp",
    "exp_low",
    "expm1",
    "floor",
    "isfinite",
    "isinf",
    "leaky_relu",
    "log",
    "log1p",
    "maximum",
    "minimum",
    "power",
    "relu",
    "select",
    "sigmoid",
    "sign",
    "sin",
    "softplus",
    "sqrt",
    "tanh",
    "tanh_slope",
]


@helper(plain=np.absolute)
def absolute(x: Any) -> Any:
    """|x|."""
    return abs(x)


@helper(plain=np.sqrt)
def sqrt(x: Any) -> Any:
    """Square root, NaN below 0."""
    return np.sqrt(x)


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


@formula
def tanh_slope(x: Any) -> Any:
    """4 e^-2|x| / (1 + e^-2|x|)^2."""
    return 4 * exp_low(-2 * absolute(x)) / ((1 + exp_low(-2 * absolute(x))) * (1 + exp_low(-2 * absolute(x))))


_INF = np.float64(np.inf)


@helper
def _narrow_power(a: Any, b: Any) -> Any:
    """a to the power b in float32, by way of float64, which has the digits that the logarithm needs."""
    x, y = np.float64(a), np.float64(b)
    size = exp(y * log(abs(x)))
    broken = np.floor(y) != y
    odd = (np.floor(0.5 * y) != 0.5 * y) & (np.floor(y) == y)
    size = select((bits(x) < 0) & odd, -size, size)
    size = select((x < 0.0) & (x > -_INF) & (abs(y) < _INF) & broken, np.float64(np.nan), size)
    one = (y == 0.0) | (x == 1.0) | ((abs(x) == 1.0) & (abs(y) == _INF))
    return np.float32(select(one, np.float64(1.0), size))


@helper
def _wide_power(a: Any, b: Any) -> Any:
    return a**b


def _power(numba: Any) -> Any:
    narrow, wide = _narrow_power.built(numba), _wide_power.built(numba)

    def choose(a: Any, b: Any) -> Any:
        return narrow.py_func if a == b == numba.types.float32 else wide.py_func

    options = {k: v for k, v in narrow.targetoptions.items() if k != "nopython"}
    return chosen_by_type(numba, "power", ("a", "b"), choose, options)


# a to the power b, as NumPy's
power = Helper(np.power, _power, digest=lambda: f"power({_narrow_power.digest()})")
