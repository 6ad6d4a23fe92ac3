"""Sine, cosine and tangent that loops vectorise, of numbers of any size.

The plan: (1) of usual numbers whole quarter turns are taken off with pi/2 in parts, the first so short that products
with it are exact; (2) of large ones, which a vector rarely has: x is M 2^k with a whole number M, and of x in quarter
turns, M 2^k 2/pi, whole turns do not matter, so 2^k 2/pi is read modulo 4 from the digits of 2/pi, 26 digits at a time
from a table of windows; M in one or two parts times a window is exact, the products are added with their rounding
errors, and whole quarter turns taken off; (3) the rest, at most an eighth of a turn, goes into polynomials for sine
and cosine, of float32 in float32; (4) the quarter chooses which, and the sign. Nothing is lost near multiples of pi,
however large.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.jit import EXACT_ZERO, Helper, helper, variants
from tensorgraph.ops.kernels.bits import any_of, bits, from_bits, select, size32, size64

__all__ = ["cos", "sin", "tan"]

# 2/pi, binary digits after the point
_TWO_OVER_PI = (
    "a2f9836e4e441529fc2757d1f534ddc0db6295993c439041fe5163abdebbc561b7246e3a424dd2e006492eea09d1921cfe1deb1cb129a73ee8"
    "8235f52ebb4484e99c7026b45f7e413991d639835339f49c845f8bbdf9283b1ff897ffde05980fef2f118b5a0a6d1f6d367ecf27cb09b74f46"
    "3f669e5fea2d7527bac7ebe5f17b3d0739f78a5292ea6bfb5fb11f8d5d0856033046fc7b6babf0cf"
)
_LEAST = 40  # smaller exponents count as this: the sine is then the number, the cosine 1
_WIDTH = 26  # digits of a window


def _windows() -> np.ndarray[Any, Any]:
    """Windows on the digits of 2/pi from each digit on, the first digit of a window worth 2."""
    digits = np.unpackbits(np.frombuffer(bytes.fromhex(_TWO_OVER_PI), np.uint8)).astype(np.float64)
    digits = np.concatenate([np.zeros(_LEAST + 54), digits])
    seen: Any = np.lib.stride_tricks.sliding_window_view(digits, _WIDTH) @ 2.0 ** (1 - np.arange(_WIDTH))
    return np.ascontiguousarray(seen)


_WINDOWS = _windows()
_MANTISSA, _HIDDEN, _LOWER = np.int64((1 << 52) - 1), np.int64(1 << 52), np.int64((1 << 26) - 1)
_POSITIVE = np.int64(0x7FFFFFFFFFFFFFFF)
_LOWEST, _SINGLE = np.int64(1023 - _LEAST), np.int64(29)
_WHOLE, _ROUND, _QUARTER = np.float64(2.0**52), np.float64(6755399441055744.0), np.float64(np.pi / 2)
_WHOLE_BITS = np.float64(2.0**52).view(np.int64)
_ZERO32, _ZERO64, _HALF, _ONE = np.float32(0), np.float64(0), np.float64(0.5), np.float64(1)
_HALF32, _ONE32, _INF32, _INF64 = np.float32(0.5), np.float32(1), np.float32(np.inf), np.float64(np.inf)
_NO32, _ODD32, _TWO_QUARTERS32 = np.int32(0), np.int32(1), np.int32(2)
_PER_QUARTER = np.float64(2 / np.pi)
# pi/2 in parts, and what is left of it behind the first and the second, of fdlibm
_Q1, _Q1_LOW = np.float64(1.57079632673412561417e00), np.float64(6.07710050650619224932e-11)
_Q2, _Q2_LOW = np.float64(6.07710050630396597660e-11), np.float64(2.02226624879595063154e-21)
_FAR32, _FAR64 = np.float32(2.0**20), np.float64(2.0**15)  # from where products with parts are not exact enough
# what the windows after the first are worth
_W1, _W2, _W3, _W4, _W5 = (np.float64(2.0 ** (-_WIDTH * j)) for j in range(1, 6))
# sin r = r + r^3 S(r^2) and cos r = 1 - r^2/2 + r^4 C(r^2) for |r| <= pi/4, of Sun's fdlibm (freely granted)
_S = (
    -1.66666666666666324348e-01, 8.33333333332248946124e-03, -1.98412698298579493134e-04, 2.75573137070700676789e-06,
    -2.50507602534068634195e-08, 1.58969099521155010221e-10,
)  # fmt: skip
_C = (
    4.16666666666666019037e-02, -1.38888888888741095749e-03, 2.48015872894767294178e-05, -2.75573143513906633035e-07,
    2.08757232129817482790e-09, -1.13596475577881948265e-11,
)  # fmt: skip
# the same in float32, of Cephes (freely granted)
_S32 = tuple(np.float32(c) for c in (-1.6666654611e-1, 8.3321608736e-3, -1.9515295891e-4))
_C32 = tuple(np.float32(c) for c in (4.166664568298827e-2, -1.388731625493765e-3, 2.443315711809948e-5))


@helper
def _row(i: Any) -> Any:
    """Where the first window lies for the number with the bits `i`."""
    k = np.int64((i >> 52) - _LOWEST)
    return select(k > 0, k, np.int64(0))


@helper
def _window(row: Any) -> Any:
    return _WINDOWS[np.uint64(row)]


@helper
def _number(i: Any) -> Any:
    """A whole number below 2^52 as float64."""
    return from_bits(np.int64(i | _WHOLE_BITS)) - _WHOLE


@helper
def _turns(t: Any) -> Any:
    """Quarter turns in a number to which _ROUND was added, but for whole turns."""
    return np.int64(bits(t) & 3)


@helper(flags=())
def _far32(x: Any) -> Any:
    """What is left of |x| without quarter turns, and these but for whole turns.

    x is float64 with the digits of float32, so that M is one part.
    """
    i = bits(x) & _POSITIVE
    row = _row(i) + _SINGLE
    m = _number((i & _MANTISSA | _HIDDEN) >> 29)
    first = m * _window(row)
    t = first + _ROUND
    rest = (first - (t - _ROUND)) + m * (_window(row + _WIDTH) * _W1)
    u = rest + _ROUND
    rest = (rest - (u - _ROUND)) + m * (_window(row + 2 * _WIDTH) * _W2 + _window(row + 3 * _WIDTH) * _W3)
    return rest * _QUARTER, _turns(t) + _turns(u)


@helper(flags=())
def _far64(x: Any) -> Any:
    """What is left of |x| without quarter turns, and these but for whole turns, x float64."""
    i = bits(x) & _POSITIVE
    row = _row(i)
    whole = i & _MANTISSA | _HIDDEN
    upper, lower = _number(whole >> _WIDTH), _number(whole & _LOWER)
    w1, w2, w3 = _window(row + _WIDTH), _window(row + 2 * _WIDTH), _window(row + 3 * _WIDTH)
    w4 = _window(row + 4 * _WIDTH)
    # products that have whole quarter turns in them
    a, b, c, d = lower * _window(row), upper * w1, lower * (w1 * _W1), upper * (w2 * _W1)
    ra, rb, rc, rd = a + _ROUND, b + _ROUND, c + _ROUND, d + _ROUND
    rest = ((a - (ra - _ROUND)) + (b - (rb - _ROUND))) + ((c - (rc - _ROUND)) + (d - (rd - _ROUND)))
    re = rest + _ROUND
    rest = rest - (re - _ROUND)
    quarter = _turns(ra) + _turns(rb) + _turns(rc) + _turns(rd) + _turns(re)
    # the others; each is exact, and so is a sum together with what its rounding lost
    a, b = lower * (w2 * _W2), upper * (w3 * _W2)
    middle = a + b
    t = middle - a
    lost = (a - (middle - t)) + (b - t)
    a, b = lower * (w3 * _W3), upper * (w4 * _W3)
    low = a + b
    t = low - a
    lost = lost + ((a - (low - t)) + (b - t))
    total = rest + middle
    t = total - rest
    lost = lost + ((rest - (total - t)) + (middle - t))
    last = total + low
    t = last - total
    lost = lost + ((total - (last - t)) + (low - t))
    w5 = _window(row + 5 * _WIDTH)
    tiny = lower * (w4 * _W4 + w5 * _W5) + upper * (w5 * _W4 + _window(row + 6 * _WIDTH) * _W5)
    rest = last + (lost + tiny)
    return rest * _QUARTER, quarter


@helper(flags=())
def _rest32(x: Any) -> Any:
    """What is left of a float32 without quarter turns, in float64, and these but for whole turns."""
    w = np.float64(x)
    t = w * _PER_QUARTER + _ROUND
    n = t - _ROUND
    rest, quarter = (w - n * _Q1) - n * _Q1_LOW, bits(t)
    far = (size32(x) >= _FAR32) & (size32(x) < _INF32)
    if any_of(far):
        r, q = _far32(w)
        rest = select(far, select(w < _ZERO64, -r, r), rest)
        quarter = select(far, select(w < _ZERO64, -q, q), quarter)
    return rest, quarter


@helper(flags=())
def _rest64(x: Any) -> Any:
    """What is left of a float64 without quarter turns, what rounding leaves of that, and quarters but for turns."""
    t = x * _PER_QUARTER + _ROUND
    n = t - _ROUND
    a, w = x - n * _Q1, n * _Q2
    b = a - w
    back = b - a
    low = ((a - (b - back)) - (w + back)) - n * _Q2_LOW
    rest = b + low
    less, quarter = (b - rest) + low, bits(t)
    far = (size64(x) >= _FAR64) & (size64(x) < _INF64)
    if any_of(far):
        r, q = _far64(x)
        rest, less = select(far, select(x < _ZERO64, -r, r), rest), select(far, _ZERO64, less)
        quarter = select(far, select(x < _ZERO64, -q, q), quarter)
    return rest, less, quarter


@helper(flags=EXACT_ZERO)
def _waves32(rest: Any) -> Any:
    """Sine and cosine of at most an eighth of a turn, given in float64, in float32."""
    r = np.float32(rest)
    z, s, c = r * r, _S32, _C32
    sine = r + r * z * ((s[2] * z + s[1]) * z + s[0])
    cosine = _ONE32 - (_HALF32 * z - z * z * ((c[2] * z + c[1]) * z + c[0]))
    return sine, cosine


@helper(flags=EXACT_ZERO)
def _waves64(r: Any, less: Any) -> Any:
    """Sine and cosine of r + less, at most an eighth of a turn, in float64."""
    z, s, c = r * r, _S, _C
    v = z * r
    tail = s[1] + z * (s[2] + z * (s[3] + z * (s[4] + z * s[5])))
    sine = r - ((z * (_HALF * less - v * tail) - less) - v * s[0])
    tail = z * (c[0] + z * (c[1] + z * (c[2] + z * (c[3] + z * (c[4] + z * c[5])))))
    cosine = _ONE - (_HALF * z - (z * tail - r * less))
    return sine, cosine


@helper(flags=EXACT_ZERO)
def _wave32(x: Any, more: Any) -> Any:
    """Sine of x and so many quarter turns in float32."""
    rest, quarter = _rest32(x)
    sine, cosine = _waves32(rest)
    quarter = np.int32(quarter + more)
    y = select((quarter & _ODD32) == _NO32, sine, cosine)
    return from_bits(np.int32(bits(y) ^ np.int32((quarter & _TWO_QUARTERS32) << 30)))


@helper(flags=EXACT_ZERO)
def _wave64(x: Any, more: Any) -> Any:
    """Sine of x and so many quarter turns in float64."""
    rest, less, quarter = _rest64(x)
    sine, cosine = _waves64(rest, less)
    quarter = quarter + more
    y = select((quarter & 1) == 0, sine, cosine)
    return from_bits(np.int64(bits(y) ^ np.int64((quarter & 2) << 62)))


@helper
def sin32(x: Any) -> Any:
    """sin x in float32."""
    return select(x == _ZERO32, x, _wave32(x, np.int64(0)))


@helper
def sin64(x: Any) -> Any:
    """sin x in float64."""
    return select(x == _ZERO64, x, _wave64(x, np.int64(0)))


@helper
def cos32(x: Any) -> Any:
    """cos x in float32."""
    return _wave32(x, np.int64(1))


@helper
def cos64(x: Any) -> Any:
    """cos x in float64."""
    return _wave64(x, np.int64(1))


@helper(flags=EXACT_ZERO)
def tan32(x: Any) -> Any:
    """tan x in float32."""
    rest, quarter = _rest32(x)
    sine, cosine = _waves32(rest)
    even = (np.int32(quarter) & _ODD32) == _NO32
    return select(x == _ZERO32, x, select(even, sine, -cosine) / select(even, cosine, sine))


@helper(flags=EXACT_ZERO)
def tan64(x: Any) -> Any:
    """tan x in float64."""
    rest, less, quarter = _rest64(x)
    sine, cosine = _waves64(rest, less)
    even = (quarter & 1) == 0
    return select(x == _ZERO64, x, select(even, sine, -cosine) / select(even, cosine, sine))


sin: Helper = variants("sin", sin32, sin64)
cos: Helper = variants("cos", cos32, cos64)
tan: Helper = variants("tan", tan32, tan64)
