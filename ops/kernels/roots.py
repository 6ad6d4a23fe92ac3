"""Cubic roots, and the length of a vector of two, in loops that vectorise.

A cubic root begins with a third of the number's bits, which is right to 4%, and goes on by Halley's steps, each of
which has three times as many digits. Numbers that would leave the range on the way are brought nearer to 1 first.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.jit import EXACT_ZERO, Helper, helper, variants
from tensorgraph.ops.kernels.bits import bits, from_bits, select, signed32, signed64, size32, size64

__all__ = ["cbrt", "hypot"]

_ZERO32, _ONE32, _INF32 = np.float32(0), np.float32(1), np.float32(np.inf)
_ZERO64, _ONE64, _INF64 = np.float64(0), np.float64(1), np.float64(np.inf)
_THIRD32, _THIRD64 = np.float32(1 / 3), np.float64(1 / 3)
# two thirds of the exponent's bias, with what makes the first guess best
_BIAS32, _BIAS64 = np.int32(709921077), np.int64(0x2A9F7893782DA1CE)
# beyond these a number, and its cube, is scaled: by 2^±66, of which the root is 2^±22, in float64 by 2^±300
_LOW32, _HIGH32 = np.float32(2.0**-80), np.float32(2.0**80)
_LOW64, _HIGH64 = np.float64(2.0**-400), np.float64(2.0**400)
_UP32, _DOWN32, _BACK_UP32, _BACK_DOWN32 = (np.float32(2.0**n) for n in (66, -66, -22, 22))
_UP64, _DOWN64, _BACK_UP64, _BACK_DOWN64 = (np.float64(2.0**n) for n in (660, -660, -220, 220))


@helper(flags=EXACT_ZERO)
def _nearer32(a: Any, y: Any) -> Any:
    """A better cubic root of a than y, in float32."""
    cube = y * y * y
    return y + y * ((a - cube) / (cube + cube + a))


@helper(flags=EXACT_ZERO)
def _nearer64(a: Any, y: Any) -> Any:
    """A better cubic root of a than y, in float64."""
    cube = y * y * y
    return y + y * ((a - cube) / (cube + cube + a))


@helper(flags=EXACT_ZERO)
def cbrt32(x: Any) -> Any:
    """The cubic root in float32."""
    a = size32(x)
    low, high = a < _LOW32, a > _HIGH32
    a = a * select(low, _UP32, select(high, _DOWN32, _ONE32))
    y = from_bits(np.int32(np.int32(np.float32(bits(a)) * _THIRD32) + _BIAS32))
    y = _nearer32(a, _nearer32(a, y)) * select(low, _BACK_UP32, select(high, _BACK_DOWN32, _ONE32))
    return select((x == _ZERO32) | (x - x != _ZERO32), x, signed32(y, x))


@helper(flags=EXACT_ZERO)
def cbrt64(x: Any) -> Any:
    """The cubic root in float64."""
    a = size64(x)
    low, high = a < _LOW64, a > _HIGH64
    a = a * select(low, _UP64, select(high, _DOWN64, _ONE64))
    y = from_bits(np.int64(np.int64(np.float64(bits(a)) * _THIRD64) + _BIAS64))
    y = _nearer64(a, _nearer64(a, _nearer64(a, y))) * select(low, _BACK_UP64, select(high, _BACK_DOWN64, _ONE64))
    return select((x == _ZERO64) | (x - x != _ZERO64), x, signed64(y, x))


@helper(flags=EXACT_ZERO)
def hypot32(a: Any, b: Any) -> Any:
    """√(a² + b²) in float32, by float64, in which no square is too large or too small."""
    x, y = np.float64(a), np.float64(b)
    length = np.float32(np.sqrt(x * x + y * y))
    return select((size32(a) == _INF32) | (size32(b) == _INF32), _INF32, length)


@helper(flags=EXACT_ZERO)
def hypot64(a: Any, b: Any) -> Any:
    """√(a² + b²) in float64."""
    x, y = size64(a), size64(b)
    top = select(x > y, x, y)
    low, high = top < _LOW64, top > _HIGH64
    scale = select(low, _UP64, select(high, _DOWN64, _ONE64))
    x, y = x * scale, y * scale
    length = np.sqrt(x * x + y * y) * select(low, _DOWN64, select(high, _UP64, _ONE64))
    return select((size64(a) == _INF64) | (size64(b) == _INF64), _INF64, length)


cbrt: Helper = variants("cbrt", cbrt32, cbrt64)
hypot: Helper = variants("hypot", hypot32, hypot64, inputs=("a", "b"))
