"""Inverses of sine, cosine and tangent that loops vectorise: a choice of what is divided, and one polynomial.

The arc of a tangent is that of a quotient, smaller over larger; above tan(π/8) it is π/4 and the arc of another
quotient, so that one division serves both. The arc of a sine above 1/2 is made of that of half the other side. The
polynomials are fits at Chebyshev's points, computed with 60 digits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.jit import EXACT_ZERO, Helper, helper, variants
from tensorgraph.ops.kernels.bits import bits, select, signed32, signed64, size32, size64

__all__ = ["acos", "asin", "atan", "atan2"]


def _singles(*values: float) -> tuple[Any, ...]:
    return tuple(np.float32(v) for v in values)


def _doubles(*values: float) -> tuple[Any, ...]:
    return tuple(np.float64(v) for v in values)


_ZERO32, _HALF32, _ONE32, _TWO32 = _singles(0, 0.5, 1, 2)
_ZERO64, _HALF64, _ONE64, _TWO64 = _doubles(0, 0.5, 1, 2)
_INF32, _INF64 = np.float32(np.inf), np.float64(np.inf)
_LARGE32, _LARGE64 = np.float32(2.0**126), np.float64(2.0**1022)
_EIGHTH32, _EIGHTH64 = np.float32(np.sqrt(2) - 1), np.float64(np.sqrt(2) - 1)  # tan(π/8)
# π/4 and π/2, and what rounding leaves of them
_QUARTER32, _QUARTER_LOW32 = np.float32(np.pi / 4), np.float32(-2.185569414336896e-08)
_RIGHT32, _RIGHT_LOW32 = np.float32(np.pi / 2), np.float32(-4.371139000186241e-08)
_QUARTER64, _QUARTER_LOW64 = np.float64(np.pi / 4), np.float64(3.061616997868383e-17)
_RIGHT64, _RIGHT_LOW64 = np.float64(np.pi / 2), np.float64(6.123233995736766e-17)

# (atan(t) / t - 1) / t² of t² up to tan²(π/8)
_A32 = _singles(
    -0.3333333327922454, 0.1999997724823353, -0.14284150629730288, 0.11071354571201351, -0.08624598215196126,
    0.0504793743204009,
)  # fmt: skip
_A64 = _doubles(
    -0.3333333333333333, 0.19999999999995516, -0.14285714284665682, 0.11111111015187018, -0.0909090457530649,
    0.07692183125376892, -0.06664510525508936, 0.05858140904866328, -0.05085407834589484, 0.039230447784793086,
    -0.019175404711104925,
)  # fmt: skip
# (asin(t) / t - 1) / t² of t² up to 1/4
_B32 = _singles(
    0.16666666337430908, 0.07500094543497424, 0.04459940152851218, 0.03110066273549457, 0.017149238357677253,
    0.03369084720283012,
)  # fmt: skip
_B64 = _doubles(
    0.16666666666666669, 0.07499999999998433, 0.04464285714635543, 0.030381944138531247, 0.02237217294214989,
    0.017352392720869973, 0.013971212973552933, 0.011479177415184906, 0.01032281435018578, 0.005457506718640358,
    0.01740087944269402, -0.014851887071247204, 0.028757851367421566,
)  # fmt: skip


@helper(flags=EXACT_ZERO)
def _slope32(low: Any, high: Any) -> Any:
    """The angle whose tangent is low / high, 0 <= low <= high."""
    steep = low > _EIGHTH32 * high
    t = select(steep, low - high, low) / select(steep, low + high, high)
    z, a = t * t, _A32
    tail = t * z * (((((a[5] * z + a[4]) * z + a[3]) * z + a[2]) * z + a[1]) * z + a[0])
    return select(steep, _QUARTER32, _ZERO32) + (t + (tail + select(steep, _QUARTER_LOW32, _ZERO32)))


@helper(flags=EXACT_ZERO)
def _slope64(low: Any, high: Any) -> Any:
    """The angle whose tangent is low / high, 0 <= low <= high."""
    steep = low > _EIGHTH64 * high
    t = select(steep, low - high, low) / select(steep, low + high, high)
    z, a = t * t, _A64
    upper = ((((a[10] * z + a[9]) * z + a[8]) * z + a[7]) * z + a[6]) * z + a[5]
    tail = t * z * (((((upper * z + a[4]) * z + a[3]) * z + a[2]) * z + a[1]) * z + a[0])
    return select(steep, _QUARTER64, _ZERO64) + (t + (tail + select(steep, _QUARTER_LOW64, _ZERO64)))


@helper(flags=EXACT_ZERO)
def atan32(x: Any) -> Any:
    """The angle whose tangent is x in float32."""
    size = size32(x)
    beyond = size > _ONE32
    y = _slope32(select(beyond, _ONE32, size), select(beyond, size, _ONE32))
    return signed32(select(beyond, _RIGHT32 - (y - _RIGHT_LOW32), y), x)


@helper(flags=EXACT_ZERO)
def atan64(x: Any) -> Any:
    """The angle whose tangent is x in float64."""
    size = size64(x)
    beyond = size > _ONE64
    y = _slope64(select(beyond, _ONE64, size), select(beyond, size, _ONE64))
    return signed64(select(beyond, _RIGHT64 - (y - _RIGHT_LOW64), y), x)


@helper(flags=EXACT_ZERO)
def atan232(a: Any, b: Any) -> Any:
    """The angle of the point (b, a) in float32."""
    up, along = size32(a), size32(b)
    corner = (up == _INF32) & (along == _INF32)
    up, along = select(corner, _ONE32, up), select(corner, _ONE32, along)
    beyond = up > along
    low, high = select(beyond, along, up), select(beyond, up, along)
    high = select((high == _ZERO32) & (low == _ZERO32), _ONE32, high)
    scale = select(high > _LARGE32, np.float32(0.25), _ONE32)  # the sum of both is a number
    y = _slope32(low * scale, high * scale)
    y = select(beyond, _RIGHT32 - (y - _RIGHT_LOW32), y)
    behind = bits(b) < np.int32(0)
    y = select(behind, _TWO32 * _RIGHT32 - (y - _TWO32 * _RIGHT_LOW32), y)
    return signed32(y, a)


@helper(flags=EXACT_ZERO)
def atan264(a: Any, b: Any) -> Any:
    """The angle of the point (b, a) in float64."""
    up, along = size64(a), size64(b)
    corner = (up == _INF64) & (along == _INF64)
    up, along = select(corner, _ONE64, up), select(corner, _ONE64, along)
    beyond = up > along
    low, high = select(beyond, along, up), select(beyond, up, along)
    high = select((high == _ZERO64) & (low == _ZERO64), _ONE64, high)
    scale = select(high > _LARGE64, np.float64(0.25), _ONE64)  # the sum of both is a number
    y = _slope64(low * scale, high * scale)
    y = select(beyond, _RIGHT64 - (y - _RIGHT_LOW64), y)
    behind = bits(b) < np.int64(0)
    y = select(behind, _TWO64 * _RIGHT64 - (y - _TWO64 * _RIGHT_LOW64), y)
    return signed64(y, a)


@helper(flags=EXACT_ZERO)
def _bow32(z: Any) -> Any:
    """asin(√z) / √z - 1 of z up to 1/4."""
    b = _B32
    return z * (((((b[5] * z + b[4]) * z + b[3]) * z + b[2]) * z + b[1]) * z + b[0])


@helper(flags=EXACT_ZERO)
def _bow64(z: Any) -> Any:
    """asin(√z) / √z - 1 of z up to 1/4."""
    b = _B64
    upper = ((((((b[12] * z + b[11]) * z + b[10]) * z + b[9]) * z + b[8]) * z + b[7]) * z + b[6]) * z + b[5]
    return z * (((((upper * z + b[4]) * z + b[3]) * z + b[2]) * z + b[1]) * z + b[0])


@helper(flags=EXACT_ZERO)
def asin32(x: Any) -> Any:
    """The angle whose sine is x in float32."""
    size = size32(x)
    wide = size > _HALF32
    half = _HALF32 * (_ONE32 - size)
    z = select(wide, half, size * size)
    t = select(wide, np.sqrt(half), size)
    y = t + t * _bow32(z)
    return signed32(select(wide, _RIGHT32 - (_TWO32 * y - _RIGHT_LOW32), y), x)


@helper(flags=EXACT_ZERO)
def asin64(x: Any) -> Any:
    """The angle whose sine is x in float64."""
    size = size64(x)
    wide = size > _HALF64
    half = _HALF64 * (_ONE64 - size)
    z = select(wide, half, size * size)
    t = select(wide, np.sqrt(half), size)
    y = t + t * _bow64(z)
    return signed64(select(wide, _RIGHT64 - (_TWO64 * y - _RIGHT_LOW64), y), x)


@helper(flags=EXACT_ZERO)
def acos32(x: Any) -> Any:
    """The angle whose cosine is x in float32."""
    size = size32(x)
    wide = size > _HALF32
    half = _HALF32 * (_ONE32 - size)
    z = select(wide, half, size * size)
    t = select(wide, np.sqrt(half), size)
    y = t + t * _bow32(z)
    near = _RIGHT32 - (select(x < _ZERO32, -y, y) - _RIGHT_LOW32)
    far = select(x < _ZERO32, _TWO32 * _RIGHT32 - (_TWO32 * y - _TWO32 * _RIGHT_LOW32), _TWO32 * y)
    return select(wide, far, near)


@helper(flags=EXACT_ZERO)
def acos64(x: Any) -> Any:
    """The angle whose cosine is x in float64."""
    size = size64(x)
    wide = size > _HALF64
    half = _HALF64 * (_ONE64 - size)
    z = select(wide, half, size * size)
    t = select(wide, np.sqrt(half), size)
    y = t + t * _bow64(z)
    near = _RIGHT64 - (select(x < _ZERO64, -y, y) - _RIGHT_LOW64)
    far = select(x < _ZERO64, _TWO64 * _RIGHT64 - (_TWO64 * y - _TWO64 * _RIGHT_LOW64), _TWO64 * y)
    return select(wide, far, near)


asin: Helper = variants("asin", asin32, asin64)
acos: Helper = variants("acos", acos32, acos64)
atan: Helper = variants("atan", atan32, atan64)
atan2: Helper = variants("atan2", atan232, atan264, inputs=("a", "b"))
