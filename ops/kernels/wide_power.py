"""Powers of float64 that loops over them vectorise: no branch, no table, no call.

A logarithm of base 2 in two numbers, of which the first has few bits, is multiplied by the exponent, which is cut in
two as well, so that the products of first parts are exact; what is behind the point is put through the exponential.
(The way of cutting is that of FDLIBM, Sun Microsystems 1993.) The largest relative error found is 0.92 of 2^-52.
"""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import Any

import numpy as np

from tensorgraph.jit import EXACT_ZERO, helper
from tensorgraph.ops.kernels.bits import bits, from_bits, select
from tensorgraph.ops.kernels.exponentials import exp_tail64

__all__ = ["wide_power"]

_MASK = np.int64(-(1 << 27))  # of the bits of a number 26 are left that count


def _parts(value: Decimal) -> tuple[Any, Any, Any]:
    """A number, the bits of it that are left, and the rest."""
    whole = np.float64(value)
    first = (whole.view(np.int64) & _MASK).view(np.float64)
    return whole, first, np.float64(value - Decimal(float(first)))


with localcontext() as _digits:
    _digits.prec = 50
    _SCALE, _SCALE_1, _SCALE_2 = _parts(2 / (3 * Decimal(2).ln()))
    _LN2 = np.float64(Decimal(2).ln())
# atanh(s) = s / 3 (3 + z + z² rest(z)), where z = s² is below 0.0295: a Chebyshev fit, right to 3e-18
_C = tuple(
    np.float64(x)
    for x in (
        0.6, 0.4285714285714405, 0.3333333333248383, 0.272727275030892,
        0.23076892443777647, 0.20002207040770967, 0.1755935450923681, 0.17584767935814777,
    )
)  # fmt: skip
_ZERO, _ONE, _TWO, _THREE, _HALF = (np.float64(x) for x in (0, 1, 2, 3, 0.5))
_INF, _NAN = np.float64(np.inf), np.float64(np.nan)
_TINY, _LIFT, _LIFTED = np.float64(np.finfo(np.float64).tiny), np.float64(2.0**54), np.float64(54)
_MIDDLE = np.float64(np.sqrt(0.5)).view(np.int64)  # the mantissa is taken from [sqrt(1/2), sqrt(2))
_FAR = np.float64(2.0**64)  # an exponent beyond which every number but 1 leaves the range
_BEYOND = np.float64(1100)
_ROUND = np.float64(6755399441055744.0)
_ROUND_BITS = _ROUND.view(np.int64)


@helper(flags=EXACT_ZERO)
def _cut(x: Any) -> Any:
    """A number with the bits that are left of it."""
    return from_bits(np.int64(bits(x) & _MASK))


@helper(flags=EXACT_ZERO)
def _size(m: Any, y: Any) -> Any:
    """m to the power y for 0 < m < infinity."""
    y = select(y > _FAR, _FAR, y)
    y = select(y < -_FAR, -_FAR, y)
    low = m < _TINY
    i = np.int64(bits(select(low, m * _LIFT, m)) - _MIDDLE)
    n = np.float64(np.int64(i >> 52)) - select(low, _LIFTED, _ZERO)
    f = from_bits(np.int64((i & np.int64(0xFFFFFFFFFFFFF)) + _MIDDLE)) - _ONE
    # s = f / (2 + f) and its square, in two parts each
    below = _TWO + f
    over = _ONE / below
    s = f * over
    s1, below1 = _cut(s), _cut(below)
    s2 = ((f - s1 * below1) - s1 * (f - (below1 - _TWO))) * over
    z, c = s * s, _C
    rest = ((c[7] * z + c[6]) * z + c[5]) * z + c[4]
    rest = (((rest * z + c[3]) * z + c[2]) * z + c[1]) * z + c[0]
    rest = z * z * rest + s2 * (s1 + s)
    square = s1 * s1
    t1 = _cut(_THREE + square + rest)
    t2 = rest - ((t1 - _THREE) - square)
    # the logarithm of the mantissa, then that of m, of base 2
    u = s1 * t1
    v = s2 * t1 + t2 * s
    p1 = _cut(u + v)
    l1 = _SCALE_1 * p1
    l2 = _SCALE_2 * p1 + (v - (p1 - u)) * _SCALE
    log1 = _cut((l1 + l2) + n)
    log2 = l2 - ((log1 - n) - l1)
    y1 = _cut(y)
    low_part = (y - y1) * log1 + y * log2
    high_part = y1 * log1
    q = low_part + high_part
    q = select(q > _BEYOND, _BEYOND, q)
    q = select(q < -_BEYOND, -_BEYOND, q)
    t = q + _ROUND
    k = np.int64(bits(t) - _ROUND_BITS)
    d = (high_part - (t - _ROUND)) + low_part
    r = select((d > _ONE) | (d < -_ONE), _ZERO, d) * _LN2
    h = np.int64(k >> 1)
    one = from_bits(np.int64((h + 1023) << 52))
    other = from_bits(np.int64((k - h + 1023) << 52))
    return ((exp_tail64(r) * r + _ONE) * r + _ONE) * one * other


@helper(flags=EXACT_ZERO)
def wide_power(a: Any, b: Any) -> Any:
    """a to the power b in float64."""
    m = from_bits(np.int64(bits(a) & np.int64(0x7FFFFFFFFFFFFFFF)))
    far = m == _INF
    size = select((m == _ZERO) | far, select((b > _ZERO) ^ far, _ZERO, _INF), _size(m, b))
    whole = np.floor(b) == b
    odd = (np.floor(_HALF * b) != _HALF * b) & whole
    size = select((bits(a) < np.int64(0)) & odd, -size, size)
    size = select((a < _ZERO) & ~far & ~whole, _NAN, size)
    size = select((m == m) & (b == b), size, _NAN)
    one = (b == _ZERO) | (a == _ONE) | ((m == _ONE) & ((b == _INF) | (b == -_INF)))
    return select(one, _ONE, size)
