"""Hyperbolic functions and their inverses that loops vectorise, made of one exponential or one logarithm each."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.jit import EXACT_ZERO, Helper, helper, variants
from tensorgraph.ops.kernels.bits import select, signed32, signed64, size32, size64
from tensorgraph.ops.kernels.exponentials import half_exp32, half_exp64, log1p32, log1p64

__all__ = ["acosh", "asinh", "atanh", "cosh", "sinh"]


def _singles(*values: float) -> tuple[Any, ...]:
    return tuple(np.float32(v) for v in values)


def _doubles(*values: float) -> tuple[Any, ...]:
    return tuple(np.float64(v) for v in values)


_ZERO32, _HALF32, _ONE32, _TWO32, _LN2_32 = _singles(0, 0.5, 1, 2, np.log(2.0))
_ZERO64, _HALF64, _ONE64, _TWO64, _LN2_64 = _doubles(0, 0.5, 1, 2, np.log(2.0))
_NAN32, _NAN64 = np.float32(np.nan), np.float64(np.nan)
# beyond which x + √(x² ± 1) is 2x, and the square of which is a number
_FAR32, _FAR64 = np.float32(2.0**30), np.float64(2.0**60)
# (sinh(x) / x - 1) / x² of x² up to 1
_S32 = _singles(0.16666666646842135, 0.00833333967591706, 0.00019838101968683888, 2.8062802582276946e-06)
_S64 = _doubles(
    0.16666666666666666, 0.008333333333333299, 0.00019841269841324198, 2.7557319191381816e-06,
    2.5052117695907823e-08, 1.6057679623801638e-10, 7.746178593018827e-13,
)  # fmt: skip


@helper(flags=EXACT_ZERO)
def sinh32(x: Any) -> Any:
    """sinh x in float32."""
    size = size32(x)
    z, s = size * size, _S32
    near = size + size * (z * (((s[3] * z + s[2]) * z + s[1]) * z + s[0]))
    half = half_exp32(size)
    return signed32(select(size < _ONE32, near, half - np.float32(0.25) / half), x)


@helper(flags=EXACT_ZERO)
def sinh64(x: Any) -> Any:
    """sinh x in float64."""
    size = size64(x)
    z, s = size * size, _S64
    upper = ((s[6] * z + s[5]) * z + s[4]) * z + s[3]
    near = size + size * (z * (((upper * z + s[2]) * z + s[1]) * z + s[0]))
    half = half_exp64(size)
    return signed64(select(size < _ONE64, near, half - np.float64(0.25) / half), x)


@helper
def cosh32(x: Any) -> Any:
    """cosh x in float32."""
    half = half_exp32(size32(x))
    return half + np.float32(0.25) / half


@helper
def cosh64(x: Any) -> Any:
    """cosh x in float64."""
    half = half_exp64(size64(x))
    return half + np.float64(0.25) / half


@helper(flags=EXACT_ZERO)
def asinh32(x: Any) -> Any:
    """The number whose hyperbolic sine is x, in float32."""
    size = size32(x)
    far = size > _FAR32
    near = select(far, _ONE32, size)
    beyond = near + near * near / (_ONE32 + np.sqrt(near * near + _ONE32))
    y = log1p32(select(far, size, beyond)) + select(far, _LN2_32, _ZERO32)
    return signed32(y, x)


@helper(flags=EXACT_ZERO)
def asinh64(x: Any) -> Any:
    """The number whose hyperbolic sine is x, in float64."""
    size = size64(x)
    far = size > _FAR64
    near = select(far, _ONE64, size)
    beyond = near + near * near / (_ONE64 + np.sqrt(near * near + _ONE64))
    y = log1p64(select(far, size, beyond)) + select(far, _LN2_64, _ZERO64)
    return signed64(y, x)


@helper(flags=EXACT_ZERO)
def acosh32(x: Any) -> Any:
    """The number whose hyperbolic cosine is x, in float32."""
    far = x > _FAR32
    t = select(far, _ONE32, x - _ONE32)
    y = log1p32(select(far, x, t + np.sqrt(t * (t + _TWO32)))) + select(far, _LN2_32, _ZERO32)
    return select(x >= _ONE32, y, _NAN32)


@helper(flags=EXACT_ZERO)
def acosh64(x: Any) -> Any:
    """The number whose hyperbolic cosine is x, in float64."""
    far = x > _FAR64
    t = select(far, _ONE64, x - _ONE64)
    y = log1p64(select(far, x, t + np.sqrt(t * (t + _TWO64)))) + select(far, _LN2_64, _ZERO64)
    return select(x >= _ONE64, y, _NAN64)


@helper(flags=EXACT_ZERO)
def atanh32(x: Any) -> Any:
    """The number whose hyperbolic tangent is x, in float32."""
    size = size32(x)
    y = _HALF32 * log1p32((_TWO32 * size) / (_ONE32 - size))
    return select(size <= _ONE32, signed32(y, x), _NAN32)


@helper(flags=EXACT_ZERO)
def atanh64(x: Any) -> Any:
    """The number whose hyperbolic tangent is x, in float64."""
    size = size64(x)
    y = _HALF64 * log1p64((_TWO64 * size) / (_ONE64 - size))
    return select(size <= _ONE64, signed64(y, x), _NAN64)


sinh: Helper = variants("sinh", sinh32, sinh64)
cosh: Helper = variants("cosh", cosh32, cosh64)
asinh: Helper = variants("asinh", asinh32, asinh64)
acosh: Helper = variants("acosh", acosh32, acosh64)
atanh: Helper = variants("atanh", atanh32, atanh64)
