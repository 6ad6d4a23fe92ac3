"""x Φ(x) and its slope, for each number, Φ being the distribution function of the normal distribution.

The plan, for float32: (1) Φ(-a) = exp(-a²/2) R(a), where R is a quotient of polynomials, fitted to 6e-9 by least
squares whose weights grow where the error is large; (2) a is taken apart so that the first part of a² is exact, since
far out every digit of it counts; (3) the exponential is a polynomial to 4e-9 whose exponent is added to as an integer,
2^64 too large so that it is a normal number, which R makes good; (4) it is the density too, so that the slope
Φ(x) + x φ(x) costs little more than the value. float64 takes Φ from the error function.

With tanh in the place of the error function (Hendrycks & Gimpel 2016) the value is x s, where s is the logistic
function of u = √(8/π) (x + 0.044715 x³), and the slope s (1 + x u' (1 - s)); s and 1 - s both come from exp(-|u|).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgraph.jit import Kernel, compiled, helper, kernel, share, uniform, variants
from tensorgraph.ops.kernels.bits import bits, from_bits, select
from tensorgraph.ops.kernels.errors import head, ndtr, size
from tensorgraph.ops.kernels.exponentials import exp_low, exp_low_sum

__all__ = ["FLAT", "TANH_CUBE", "TANH_SCALE", "gelu_of", "gelu_pulled", "pull", "tanh_pull", "tanh_value", "value"]

Array = np.ndarray[Any, Any]

_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
# where Φ(-a) is no number of float32, or of float64, any more; further out x stops: 0 times infinity would be NaN
_END32, _END64 = np.float32(15.0), np.float64(40.0)
_BELL32, _BELL64 = np.float32(0.3989422804014327 * 2.0**-64), np.float64(0.3989422804014327)
_HALF, _ONE = np.float32(0.5), np.float32(1.0)
# exp(-u/2) = 2^-k exp(-r/2), u = 2 ln2 k + r with |r| <= ln2; adding _ROUND rounds to k + 64, in the lowest bits
_OF_TWO, _ROUND, _HIGH, _LOW = (
    np.float32(c) for c in (-0.7213475204444817, 12582912.0 + 64.0, 1.38629150390625, 2.8572136406188345e-06)
)
_E = tuple(np.float32(c) for c in (0.125, -0.02083311825, 0.00260413314, -0.0002616154987, 2.180523978e-05))
# R = M / N; M of what e is too large by
_M = tuple(np.float32(c * 2.0**-64) for c in (48.02864408, 42.19633407, 17.6715467, 3.926920353, 0.3989465597))
_N = tuple(np.float32(c) for c in (96.05728755, 161.0353377, 115.8015734, 45.28216245, 9.843917139))
TANH_SCALE, TANH_CUBE = 1.5957691216057308, 0.044715
# from here on the hyperbolic tangent is 1 in every dtype
FLAT = 30.0
# numbers from which a kernel is worth being called, or compiled, and numbers that the formula takes at a time
FEW, BLOCK = 256, 4096
# seconds a number
COST = 0.9e-9


@helper
def _larger(a: Any, b: Any) -> Any:
    """The larger one; NaN wins. Both are of one dtype, and so is the choice."""
    return select((a >= b) | (a != a), a, b)


@helper
def _parts32(x: Any) -> Any:
    """Φ(x), the density, and x no further out than counts, in float32."""
    c, m, n = _E, _M, _N
    near = select(x < -_END32, -_END32, x)
    near = select(near > _END32, _END32, near)
    a = size(near)
    h = head(a)
    square, rest = h * h, (a - h) * (a + h)
    t = square * _OF_TWO + _ROUND
    k = t - _ROUND
    r = square + k * _HIGH + k * _LOW + rest
    p = ((((c[4] * r + c[3]) * r + c[2]) * r + c[1]) * r + c[0]) * r - _HALF
    e = from_bits(np.int32(bits(p * r + _ONE) + np.int32(bits(t) << 23)))
    p = ((((m[4] * a + m[3]) * a + m[2]) * a + m[1]) * a) + m[0]
    q = e * (p / (((((a + n[4]) * a + n[3]) * a + n[2]) * a + n[1]) * a + n[0]))
    return select(x < np.float32(0.0), q, _ONE - q), e * _BELL32, near


@helper
def _parts64(x: Any) -> Any:
    """The like in float64."""
    a = size(x)
    a = select(a > _END64, _END64, a)
    h = head(a)
    e = exp_low_sum(-0.5 * (h * h), -0.5 * ((a - h) * (a + h)))
    near = select(x < -_END64, -_END64, select(x > _END64, _END64, x))
    return ndtr(x), e * _BELL64, near


_parts = variants("normal_parts", _parts32, _parts64)


@helper
def _bounded32(x: Any) -> Any:
    """x, but no further below 0 than counts; NaN stays."""
    return select(x < -_END32, -_END32, x)


@helper
def _bounded64(x: Any) -> Any:
    """The like in float64."""
    return select(x < -_END64, -_END64, x)


_bounded = variants("bounded_below", _bounded32, _bounded64)


@helper
def value(x: Any) -> Any:
    """x Φ(x)."""
    p, _, _ = _parts(x)
    return _bounded(x) * p


@helper
def _slope(x: Any) -> Any:
    p, e, near = _parts(x)
    return p + near * e


@helper
def _tanh_parts32(x: Any) -> Any:
    """s, 1 - s, x no further out than counts, and the derivative of u."""
    t = select(x < np.float32(-FLAT), np.float32(-FLAT), select(x > np.float32(FLAT), np.float32(FLAT), x))
    square = t * t
    u = t * (np.float32(TANH_SCALE) + np.float32(TANH_SCALE * TANH_CUBE) * square)
    e = exp_low(-size(u))
    small = e / (_ONE + e)
    large = _ONE / (_ONE + e)
    slope = np.float32(TANH_SCALE) + np.float32(3 * TANH_SCALE * TANH_CUBE) * square
    return select(u < np.float32(0.0), small, large), select(u < np.float32(0.0), large, small), t, slope


@helper
def _tanh_parts64(x: Any) -> Any:
    """The like in float64."""
    t = select(x < -FLAT, -FLAT, select(x > FLAT, FLAT, x))
    square = t * t
    u = t * (TANH_SCALE + TANH_SCALE * TANH_CUBE * square)
    e = exp_low(-size(u))
    small = e / (1.0 + e)
    large = 1.0 / (1.0 + e)
    slope = TANH_SCALE + 3 * TANH_SCALE * TANH_CUBE * square
    return select(u < 0.0, small, large), select(u < 0.0, large, small), t, slope


_tanh_parts = variants("tanh_parts", _tanh_parts32, _tanh_parts64)


@helper
def tanh_value(x: Any) -> Any:
    """The approximation by tanh."""
    s, _, near, _ = _tanh_parts(x)
    return _larger(x, near) * s


@helper
def _tanh_slope(x: Any) -> Any:
    s, rest, near, slope = _tanh_parts(x)
    return s + s * (near * slope * rest)


@helper
def pull(g: Any, x: Any) -> Any:
    """g times the slope of x Φ(x)."""
    return g * _slope(x)


@helper
def tanh_pull(g: Any, x: Any) -> Any:
    """g times the slope of the approximation."""
    return g * _tanh_slope(x)


@kernel(apart=True)
def _value_each(x: Any, out: Any, lo: int, hi: int) -> None:
    part, into = x[lo:hi], out[lo:hi]  # whose indices are known not to be negative: the loop vectorises
    for i in range(part.size):
        into[i] = value(part[i])


@kernel(apart=True)
def _pull_each(g: Any, x: Any, out: Any, lo: int, hi: int) -> None:
    pulled, part, into = g[lo:hi], x[lo:hi], out[lo:hi]
    for i in range(part.size):
        into[i] = pull(pulled[i], part[i])


@kernel(apart=True)
def _tanh_value_each(x: Any, out: Any, lo: int, hi: int) -> None:
    part, into = x[lo:hi], out[lo:hi]
    for i in range(part.size):
        into[i] = tanh_value(part[i])


@kernel(apart=True)
def _tanh_pull_each(g: Any, x: Any, out: Any, lo: int, hi: int) -> None:
    pulled, part, into = g[lo:hi], x[lo:hi], out[lo:hi]
    for i in range(part.size):
        into[i] = tanh_pull(pulled[i], part[i])


def gelu_of(x: Array, tanh: bool) -> Array:
    """x Φ(x) of each number, or the approximation by tanh; float16 by way of float32."""
    return _each(_tanh_value_each if tanh else _value_each, tanh_value if tanh else value, (x,), x.dtype)


def gelu_pulled(g: Array, x: Array, tanh: bool) -> Array:
    """g times the slope of that at x, of one shape, in the dtype in which they meet."""
    kind = np.result_type(g, x)
    return _each(_tanh_pull_each if tanh else _pull_each, tanh_pull if tanh else pull, (g, x), kind)


def _each(loop: Kernel, formula: Callable[..., Any], arrays: tuple[Array, ...], kind: np.dtype[Any]) -> Array:
    """The function of each number, by the kernel where that pays."""
    work = _FLOAT64 if kind == _FLOAT64 else _FLOAT32
    flat = [uniform(a, work).reshape(-1) for a in arrays]
    n = flat[0].size
    out = np.empty(n, work)
    if n >= FEW and compiled():
        share(loop, (*flat, out), n, n * COST)
    else:
        with np.errstate(all="ignore"):
            for start in range(0, n, BLOCK):
                out[start : start + BLOCK] = formula(*[a[start : start + BLOCK] for a in flat])
    return out.reshape(arrays[0].shape).astype(kind, copy=False)
