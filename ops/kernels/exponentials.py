"""Exponentials and logarithms that loops over them vectorise: no branch, no table, no call.

Every function is a range reduction, a polynomial and a reconstruction by the exponent's bits. Both sides of a choice
are computed and one is selected, so LLVM turns a loop over any of them into vector code, and the same body takes
arrays. They are right over the whole range: subnormal numbers, overflow to infinity, ``exp(-inf) == 0`` exactly, NaN,
and signed zeros.

The polynomials are Chebyshev fits computed with 60 digits; their own relative error is below 2e-9 (float32) and
4e-16 times a factor that is small where it is added (float64).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.jit import EXACT_ZERO, Helper, helper, variants
from tensorgraph.ops.kernels.bits import bits, from_bits, select

__all__ = [
    "between_exp", "between_log", "exp", "exp2", "exp_low", "exp_low_sum", "exp_tail64", "expm1", "half_exp32",
    "half_exp64", "log",
    "log1p", "log1p32", "log1p64", "log2", "log10", "sigmoid", "tanh",
]  # fmt: skip


def _singles(*values: float) -> tuple[Any, ...]:
    return tuple(np.float32(v) for v in values)


def _doubles(*values: float) -> tuple[Any, ...]:
    return tuple(np.float64(v) for v in values)


_ZERO32, _HALF32, _ONE32, _TWO32 = _singles(0, 0.5, 1, 2)
_ZERO64, _HALF64, _ONE64, _TWO64 = _doubles(0, 0.5, 1, 2)
_INF32, _INF64 = np.float32(np.inf), np.float64(np.inf)
_NAN32, _NAN64 = np.float32(np.nan), np.float64(np.nan)

# x = n ln2 + r with |r| <= ln2/2. Adding 1.5 * 2^23 (2^52) rounds to an integer and leaves it in the low bits.
# ln2 in two parts, the first with so few bits that n times it is exact.
_LOG2E32, _ROUND32, _HIGH32, _LOW32 = _singles(
    1.4426950408889634, 12582912.0, 0.693145751953125, 1.4286068203094172e-06
)
_LOG2E64, _ROUND64, _HIGH64, _LOW64 = _doubles(
    1.4426950408889634, 6755399441055744.0, float.fromhex("0x1.62e42fee00000p-1"), 1.908214929270587816e-10
)
_LN2_32, _LN2_64 = np.float32(np.log(2.0)), np.float64(np.log(2.0))
_ROUND_BITS32, _ROUND_BITS64 = _ROUND32.view(np.int32), _ROUND64.view(np.int64)
_LIFTED_ONE32, _LIFTED_ONE64 = np.float32(2.0**64).view(np.int32), np.float64(2.0**128).view(np.int64)
_DROP32, _DROP64 = np.float32(2.0**-64), np.float64(2.0**-128)
# (e^r - 1 - r) / r^2
_E32 = _singles(
    0.5000000013498177864,
    0.1666666668165917913,
    0.04166646460202654156,
    0.008333310889582077194,
    0.001393368586261717359,
    0.0001989103065437032774,
)
_E64 = _doubles(
    0.5,
    0.1666666666666667101,
    0.04166666666666666977,
    0.008333333333326112053,
    0.001388888888888373183,
    0.0001984126987490125923,
    0.00002480158732560532278,
    2.755725529796964439e-6,
    2.755727357010213967e-7,
    2.510525953844849342e-8,
    2.091471734171637595e-9,
)


@helper
def _tail32(r: Any) -> Any:
    """(e^r - 1 - r) / r^2 for |r| <= ln2/2."""
    c = _E32
    return ((((c[5] * r + c[4]) * r + c[3]) * r + c[2]) * r + c[1]) * r + c[0]


@helper
def exp_tail64(r: Any) -> Any:
    """(e^r - 1 - r) / r^2 for |r| <= ln2/2."""
    c = _E64
    q = (((((c[10] * r + c[9]) * r + c[8]) * r + c[7]) * r + c[6]) * r + c[5]) * r + c[4]
    return (((q * r + c[3]) * r + c[2]) * r + c[1]) * r + c[0]


@helper
def exp32(x: Any) -> Any:
    """e^x in float32."""
    x = select(x < np.float32(-110.0), np.float32(-110.0), x)
    x = select(x > np.float32(100.0), np.float32(100.0), x)
    t = x * _LOG2E32 + _ROUND32
    n = t - _ROUND32
    r = (x - n * _HIGH32) - n * _LOW32
    k = np.int32(bits(t) - _ROUND_BITS32)
    # 2^k in two factors: the product may be subnormal, or infinite, though each factor is not
    h = np.int32(k >> 1)
    a = from_bits(np.int32((h + 127) << 23))
    b = from_bits(np.int32((k - h + 127) << 23))
    return ((_tail32(r) * r + _ONE32) * r + _ONE32) * a * b


@helper
def exp64(x: Any) -> Any:
    """e^x in float64."""
    x = select(x < np.float64(-760.0), np.float64(-760.0), x)
    x = select(x > np.float64(720.0), np.float64(720.0), x)
    t = x * _LOG2E64 + _ROUND64
    n = t - _ROUND64
    r = (x - n * _HIGH64) - n * _LOW64
    k = np.int64(bits(t) - _ROUND_BITS64)
    h = np.int64(k >> 1)
    a = from_bits(np.int64((h + 1023) << 52))
    b = from_bits(np.int64((k - h + 1023) << 52))
    return ((exp_tail64(r) * r + _ONE64) * r + _ONE64) * a * b


@helper
def half_exp32(x: Any) -> Any:
    """e^x / 2 in float32 for x >= 0: a number also where e^x is not."""
    x = select(x > np.float32(100.0), np.float32(100.0), x)
    t = x * _LOG2E32 + _ROUND32
    n = t - _ROUND32
    r = (x - n * _HIGH32) - n * _LOW32
    k = np.int32(bits(t) - _ROUND_BITS32 - 1)
    h = np.int32(k >> 1)
    a = from_bits(np.int32((h + 127) << 23))
    b = from_bits(np.int32((k - h + 127) << 23))
    return ((_tail32(r) * r + _ONE32) * r + _ONE32) * a * b


@helper
def half_exp64(x: Any) -> Any:
    """e^x / 2 in float64 for x >= 0: a number also where e^x is not."""
    x = select(x > np.float64(720.0), np.float64(720.0), x)
    t = x * _LOG2E64 + _ROUND64
    n = t - _ROUND64
    r = (x - n * _HIGH64) - n * _LOW64
    k = np.int64(bits(t) - _ROUND_BITS64 - 1)
    h = np.int64(k >> 1)
    a = from_bits(np.int64((h + 1023) << 52))
    b = from_bits(np.int64((k - h + 1023) << 52))
    return ((exp_tail64(r) * r + _ONE64) * r + _ONE64) * a * b


@helper
def exp232(x: Any) -> Any:
    """2^x in float32."""
    x = select(x < np.float32(-160.0), np.float32(-160.0), x)
    x = select(x > np.float32(140.0), np.float32(140.0), x)
    t = x + _ROUND32
    r = (x - (t - _ROUND32)) * _LN2_32
    k = np.int32(bits(t) - _ROUND_BITS32)
    h = np.int32(k >> 1)
    a = from_bits(np.int32((h + 127) << 23))
    b = from_bits(np.int32((k - h + 127) << 23))
    return ((_tail32(r) * r + _ONE32) * r + _ONE32) * a * b


@helper
def exp264(x: Any) -> Any:
    """2^x in float64."""
    x = select(x < np.float64(-1090.0), np.float64(-1090.0), x)
    x = select(x > np.float64(1030.0), np.float64(1030.0), x)
    t = x + _ROUND64
    r = (x - (t - _ROUND64)) * _LN2_64
    k = np.int64(bits(t) - _ROUND_BITS64)
    h = np.int64(k >> 1)
    a = from_bits(np.int64((h + 1023) << 52))
    b = from_bits(np.int64((k - h + 1023) << 52))
    return ((exp_tail64(r) * r + _ONE64) * r + _ONE64) * a * b


@helper
def exp_low_sum32(x: Any, rest: Any) -> Any:
    """e^(x + rest) in float32 for x <= 0 and what it was rounded by."""
    x = select(x < np.float32(-110.0), np.float32(-110.0), x)
    t = x * _LOG2E32 + _ROUND32
    n = t - _ROUND32
    r = (x - n * _HIGH32) - n * _LOW32 + rest
    # 2^(k+64), always a normal number; the rounding constant's own bits are shifted out
    a = from_bits(np.int32(np.int32(bits(t) << 23) + _LIFTED_ONE32))
    return ((_tail32(r) * r + _ONE32) * r + _ONE32) * a * _DROP32


@helper
def exp_low_sum64(x: Any, rest: Any) -> Any:
    """e^(x + rest) in float64 for x <= 0 and what it was rounded by."""
    x = select(x < np.float64(-760.0), np.float64(-760.0), x)
    t = x * _LOG2E64 + _ROUND64
    n = t - _ROUND64
    r = (x - n * _HIGH64) - n * _LOW64 + rest
    a = from_bits(np.int64(np.int64(bits(t) << 52) + _LIFTED_ONE64))
    return ((exp_tail64(r) * r + _ONE64) * r + _ONE64) * a * _DROP64


@helper
def exp_low32(x: Any) -> Any:
    """e^x in float32 for x <= 0: fewer instructions, as no result overflows."""
    return exp_low_sum32(x, _ZERO32)


@helper
def exp_low64(x: Any) -> Any:
    """e^x in float64 for x <= 0: fewer instructions, as no result overflows."""
    return exp_low_sum64(x, _ZERO64)


@helper(flags=EXACT_ZERO)
def half_expm1_32(y: Any) -> Any:
    """(e^y - 1) / 2 in float32, for -30 <= y <= 89."""
    t = y * _LOG2E32 + _ROUND32
    n = t - _ROUND32
    r = (y - n * _HIGH32) - n * _LOW32
    p = r + r * r * _tail32(r)
    # 2^(n-1), a number also where 2^n is not
    s = from_bits(np.int32((np.int32(bits(t) - _ROUND_BITS32) + 126) << 23))
    return s * p + (s - _HALF32)


@helper(flags=EXACT_ZERO)
def expm132(x: Any) -> Any:
    """e^x - 1 in float32."""
    y = select(x < np.float32(-30.0), np.float32(-30.0), x)
    y = select(y > np.float32(89.0), np.float32(89.0), y)
    return select(x == _ZERO32, x, half_expm1_32(y) * _TWO32)


@helper(flags=EXACT_ZERO)
def half_expm1_64(y: Any) -> Any:
    """(e^y - 1) / 2 in float64, for -50 <= y <= 710."""
    t = y * _LOG2E64 + _ROUND64
    n = t - _ROUND64
    r = (y - n * _HIGH64) - n * _LOW64
    p = r + r * r * exp_tail64(r)
    # 2^(n-1), a number also where 2^n is not
    s = from_bits(np.int64((np.int64(bits(t) - _ROUND_BITS64) + 1022) << 52))
    return s * p + (s - _HALF64)


@helper(flags=EXACT_ZERO)
def expm164(x: Any) -> Any:
    """e^x - 1 in float64."""
    y = select(x < np.float64(-50.0), np.float64(-50.0), x)
    y = select(y > np.float64(710.0), np.float64(710.0), y)
    return select(x == _ZERO64, x, half_expm1_64(y) * _TWO64)


# ln(1 + f) = f - f^2/2 + s (f^2/2 + R(s^2)) with s = f / (2 + f), where 2 atanh(s) = 2 s + s R(s^2), R = s^2 Q(s^2)
_L32 = _singles(0.6666666655404201243, 0.400001222118106494, 0.2855077863319196543, 0.2333161447184349923)
_L64 = _doubles(
    0.6666666666666669708,
    0.3999999999989889051,
    0.2857142862625383761,
    0.2222221108937949621,
    0.181828924325368712,
    0.1533161172205500789,
    0.1461780715341732496,
)
# sqrt(1/2) as bits: the mantissa is taken from [sqrt(1/2), sqrt(2))
_MIDDLE32, _MIDDLE64 = np.float32(np.sqrt(0.5)).view(np.int32), np.float64(np.sqrt(0.5)).view(np.int64)
_TINY32, _TINY64 = np.finfo(np.float32).tiny, np.finfo(np.float64).tiny
_LIFT32, _LIFT64 = np.float32(2.0**25), np.float64(2.0**54)


# the logarithm of 2 to base 10, in two parts, the first with so few bits that n times it is exact
_LOG2_HIGH32, _LOG2_LOW32, _LOG10E32 = _singles(0.301025390625, 4.605038981195214e-06, 0.4342944819032518)
_LOG2_HIGH64, _LOG2_LOW64, _LOG10E64 = _doubles(
    float.fromhex("0x1.34413509f6000p-2"), 3.694239077158931e-13, 0.4342944819032518
)


@helper
def _logarithm32(f: Any, n: Any, c: Any) -> Any:
    """ln of 2^n (1 + f), plus c, in float32; f in [sqrt(1/2) - 1, sqrt(2) - 1]."""
    s = f / (_TWO32 + f)
    z = s * s
    half = _HALF32 * f * f
    q = ((_L32[3] * z + _L32[2]) * z + _L32[1]) * z + _L32[0]
    return n * _HIGH32 - ((half - (s * (half + z * q) + (n * _LOW32 + c))) - f)


@helper
def _logarithm64(f: Any, n: Any, c: Any) -> Any:
    """ln of 2^n (1 + f), plus c, in float64; f in [sqrt(1/2) - 1, sqrt(2) - 1]."""
    s = f / (_TWO64 + f)
    z = s * s
    half = _HALF64 * f * f
    q = (((((_L64[6] * z + _L64[5]) * z + _L64[4]) * z + _L64[3]) * z + _L64[2]) * z + _L64[1]) * z + _L64[0]
    return n * _HIGH64 - ((half - (s * (half + z * q) + (n * _LOW64 + c))) - f)


@helper
def _apart32(x: Any) -> Any:
    """n and f of x = 2^n (1 + f), f in [sqrt(1/2) - 1, sqrt(2) - 1], of a positive float32."""
    small = x < _TINY32
    i = np.int32(bits(select(small, x * _LIFT32, x)) - _MIDDLE32)
    n = np.float32(np.int32(i >> 23)) - select(small, np.float32(25.0), _ZERO32)
    return n, from_bits(np.int32((i & np.int32(0x7FFFFF)) + _MIDDLE32)) - _ONE32


@helper
def _at_ends32(y: Any, x: Any) -> Any:
    """y, the logarithm of x, where x is a positive number, and what it is elsewhere."""
    y = select(x == _ZERO32, -_INF32, y)
    y = select(x == _INF32, x, y)
    return select(x >= _ZERO32, y, _NAN32)


@helper
def log32(x: Any) -> Any:
    """ln x in float32."""
    n, f = _apart32(x)
    return _at_ends32(_logarithm32(f, n, _ZERO32), x)


@helper
def log232(x: Any) -> Any:
    """The logarithm of base 2 in float32."""
    n, f = _apart32(x)
    return _at_ends32(n + _logarithm32(f, _ZERO32, _ZERO32) * _LOG2E32, x)


@helper
def log1032(x: Any) -> Any:
    """The logarithm of base 10 in float32."""
    n, f = _apart32(x)
    y = n * _LOG2_LOW32 + _logarithm32(f, _ZERO32, _ZERO32) * _LOG10E32
    return _at_ends32(n * _LOG2_HIGH32 + y, x)


@helper
def _apart64(x: Any) -> Any:
    """n and f of x = 2^n (1 + f), f in [sqrt(1/2) - 1, sqrt(2) - 1], of a positive float64."""
    small = x < _TINY64
    i = np.int64(bits(select(small, x * _LIFT64, x)) - _MIDDLE64)
    n = np.float64(np.int64(i >> 52)) - select(small, np.float64(54.0), _ZERO64)
    return n, from_bits(np.int64((i & np.int64(0xFFFFFFFFFFFFF)) + _MIDDLE64)) - _ONE64


@helper
def _at_ends64(y: Any, x: Any) -> Any:
    """y, the logarithm of x, where x is a positive number, and what it is elsewhere."""
    y = select(x == _ZERO64, -_INF64, y)
    y = select(x == _INF64, x, y)
    return select(x >= _ZERO64, y, _NAN64)


@helper
def log64(x: Any) -> Any:
    """ln x in float64."""
    n, f = _apart64(x)
    return _at_ends64(_logarithm64(f, n, _ZERO64), x)


@helper
def log264(x: Any) -> Any:
    """The logarithm of base 2 in float64."""
    n, f = _apart64(x)
    return _at_ends64(n + _logarithm64(f, _ZERO64, _ZERO64) * _LOG2E64, x)


@helper
def log1064(x: Any) -> Any:
    """The logarithm of base 10 in float64."""
    n, f = _apart64(x)
    y = n * _LOG2_LOW64 + _logarithm64(f, _ZERO64, _ZERO64) * _LOG10E64
    return _at_ends64(n * _LOG2_HIGH64 + y, x)


@helper(flags=EXACT_ZERO)
def log1p32(x: Any) -> Any:
    """ln(1 + x) in float32."""
    u = _ONE32 + x
    i = np.int32(bits(u) - _MIDDLE32)
    k = np.int32(i >> 23)
    n = np.float32(k)
    m = from_bits(np.int32((i & np.int32(0x7FFFFF)) + _MIDDLE32))
    # what rounding 1 + x lost, relative to it; where the exponent is 0 nothing was taken out and f is x itself
    lost = select(x < _ONE32, x - (u - _ONE32), _ONE32 - (u - x)) / u
    direct = k == 0
    result = _logarithm32(select(direct, x, m - _ONE32), n, select(direct, _ZERO32, lost))
    result = select(u == _ZERO32, -_INF32, result)
    result = select((x == _INF32) | (x == _ZERO32), x, result)
    return select(x >= -_ONE32, result, _NAN32)


@helper(flags=EXACT_ZERO)
def log1p64(x: Any) -> Any:
    """ln(1 + x) in float64."""
    u = _ONE64 + x
    i = np.int64(bits(u) - _MIDDLE64)
    k = np.int64(i >> 52)
    n = np.float64(k)
    m = from_bits(np.int64((i & np.int64(0xFFFFFFFFFFFFF)) + _MIDDLE64))
    lost = select(x < _ONE64, x - (u - _ONE64), _ONE64 - (u - x)) / u
    direct = k == 0
    result = _logarithm64(select(direct, x, m - _ONE64), n, select(direct, _ZERO64, lost))
    result = select(u == _ZERO64, -_INF64, result)
    result = select((x == _INF64) | (x == _ZERO64), x, result)
    return select(x >= -_ONE64, result, _NAN64)


@helper(flags=EXACT_ZERO)
def tanh32(x: Any) -> Any:
    """tanh x in float32."""
    a = from_bits(np.int32(bits(x) & np.int32(0x7FFFFFFF)))
    a = select(a > np.float32(12.0), np.float32(12.0), a)
    t = half_expm1_32(a + a)
    y = t / (t + _ONE32)
    sign = np.int32(bits(x) & np.int32(-0x80000000))
    return from_bits(np.int32(bits(y) | sign))


@helper(flags=EXACT_ZERO)
def tanh64(x: Any) -> Any:
    """tanh x in float64."""
    a = from_bits(np.int64(bits(x) & np.int64(0x7FFFFFFFFFFFFFFF)))
    a = select(a > np.float64(22.0), np.float64(22.0), a)
    t = half_expm1_64(a + a)
    y = t / (t + _ONE64)
    sign = np.int64(bits(x) & np.int64(-0x8000000000000000))
    return from_bits(np.int64(bits(y) | sign))


@helper
def sigmoid32(x: Any) -> Any:
    """1 / (1 + e^-x) in float32, accurate in both tails."""
    e = exp_low32(from_bits(np.int32(bits(x) | np.int32(-0x80000000))))
    return select(x >= _ZERO32, _ONE32, e) / (_ONE32 + e)


@helper
def sigmoid64(x: Any) -> Any:
    """1 / (1 + e^-x) in float64, accurate in both tails."""
    e = exp_low64(from_bits(np.int64(bits(x) | np.int64(-0x8000000000000000))))
    return select(x >= _ZERO64, _ONE64, e) / (_ONE64 + e)


# powers of float32 go by float64, in which none of them, and no number on the way, leaves the range: a logarithm and
# an exponential right to 2^-32
_BETWEEN_L = _doubles(0.6666666655445165, 0.40000121876972, 0.2855081659971155, 0.23330581938241896)
_BETWEEN_E = _doubles(
    0.500000001346581, 0.16666666681623232, 0.041666464925285904, 0.0083333109254809, 0.0013933649996309251,
    0.00019890990824673654,
)  # fmt: skip


@helper
def between_log(x: Any) -> Any:
    """ln x in float64 for x >= 0 with the digits of float32, right to some 32 digits."""
    i = np.int64(bits(x) - _MIDDLE64)
    n = np.float64(np.int64(i >> 52))
    f = from_bits(np.int64((i & np.int64(0xFFFFFFFFFFFFF)) + _MIDDLE64)) - _ONE64
    s = f / (_TWO64 + f)
    z, c = s * s, _BETWEEN_L
    y = n * _LN2_64 + (s + s) + s * z * (((c[3] * z + c[2]) * z + c[1]) * z + c[0])
    return select(x == _ZERO64, -_INF64, select(x == _INF64, x, select(x == x, y, x)))


@helper
def between_exp(x: Any) -> Any:
    """e^x in float64, right to some 32 digits; beyond the range of float32, a number beyond it."""
    x = select(x < np.float64(-200.0), np.float64(-200.0), x)
    x = select(x > np.float64(200.0), np.float64(200.0), x)
    t = x * _LOG2E64 + _ROUND64
    r = x - (t - _ROUND64) * _LN2_64
    c = _BETWEEN_E
    tail = ((((c[5] * r + c[4]) * r + c[3]) * r + c[2]) * r + c[1]) * r + c[0]
    return (tail * r * r + r + _ONE64) * from_bits(np.int64((bits(t) - _ROUND_BITS64 + 1023) << 52))


exp: Helper = variants("exp", exp32, exp64)
exp2: Helper = variants("exp2", exp232, exp264)
exp_low: Helper = variants("exp_low", exp_low32, exp_low64)
exp_low_sum: Helper = variants("exp_low_sum", exp_low_sum32, exp_low_sum64, inputs=("x", "rest"))
expm1: Helper = variants("expm1", expm132, expm164)
log: Helper = variants("log", log32, log64)
log2: Helper = variants("log2", log232, log264)
log10: Helper = variants("log10", log1032, log1064)
log1p: Helper = variants("log1p", log1p32, log1p64)
tanh: Helper = variants("tanh", tanh32, tanh64)
sigmoid: Helper = variants("sigmoid", sigmoid32, sigmoid64)
