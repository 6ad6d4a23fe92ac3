"""The logarithm of the gamma function and its derivatives, and the inverse of the error function, on arrays.

The plan: (1) left of 1/2 by reflection; (2) up to 5/2 the logarithm of gamma has zeros, so it is a series around 1 or 2
there, exact near them; (3) between, products lead back to 2, sums of 1/x^k lead on to 12; (4) from there asymptotic
series. All of it in float64, narrower floats by way of that.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgraph.ops.kernels.pointwise import erf_of, erfc_of

__all__ = ["digamma", "erfinv", "in_float64", "lgamma", "lgamma_beside_one", "ndtri", "polygamma", "stirling_rest"]

Array = np.ndarray[Any, Any]

_EULER = 0.57721566490153286060651209
# Bernoulli's numbers B2, B4, ...
_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)
_FAR = 12.0  # from where asymptotic series are right to the last digit
_TERMS = 30
# the positive zero of digamma, in two parts
_ROOT, _ROOT_REST = 1.4616321449683622, 9.549995429965697715e-17


def _zeta_tail(k: int) -> float:
    """ζ(k) - 1, by the first terms and the integral of the rest with its corrections (Euler, Maclaurin)."""
    n = 16
    rest = n ** (1.0 - k) / (k - 1) + 0.5 * n ** -float(k)
    rising = float(k)
    for j, b in enumerate(_BERNOULLI):
        rest += b / math.factorial(2 * j + 2) * rising * n ** -(k + 2 * j + 1.0)
        rising *= (k + 2 * j + 1) * (k + 2 * j + 2)
    return math.fsum([float(m) ** -k for m in range(2, n)] + [rest])


# log Γ(2 + t) = (1 - γ) t + Σ (-1)^k (ζ(k) - 1) t^k / k
_AROUND_TWO = [0.0, 1.0 - _EULER, *[(-1) ** k * _zeta_tail(k) / k for k in range(2, _TERMS)]]


def in_float64(function: Callable[..., Array]) -> Callable[..., Array]:
    def widened(x: Array, *rest: Any) -> Array:
        with np.errstate(all="ignore"):
            return function(np.asarray(x, np.float64), *rest).astype(x.dtype)

    return widened


def _distance(x: Array) -> Array:
    """How far x is from the nearest whole number, with its sign."""
    return x - np.round(x)


@in_float64
def lgamma(x: Array) -> Array:
    """log |Γ(x)|: infinite at 0 and at negative whole numbers."""
    mirrored = x < 0.5
    y = np.where(mirrored, 1 - x, x)
    out = np.empty_like(y)
    near = y < 2.5
    t = y[near] - 2
    low = t < -0.5  # around 1: Γ(2 + t) is (1 + t) Γ(1 + t), and t + 1 is exact
    t = np.where(low, t + 1, t)
    out[near] = np.polynomial.polynomial.polyval(t, _AROUND_TWO) - np.where(low, np.log1p(t), 0)
    between = (y >= 2.5) & (y < _FAR)
    z, factor = y[between], np.ones(np.count_nonzero(between))
    while (large := z >= 2.5).any():
        z = np.where(large, z - 1, z)
        factor = np.where(large, factor * z, factor)
    out[between] = np.log(factor) + np.polynomial.polynomial.polyval(z - 2, _AROUND_TWO)
    far = ~(near | between)
    z = y[far]
    out[far] = _stirling(z)
    sine = np.abs(np.sin(np.pi * _distance(x)))
    reflected = np.log(np.pi / sine) - out
    out = np.where(mirrored, reflected, out)
    # left of 1/2 and right of -1/2 by Γ(x + 1) = x Γ(x): the sine of a tiny number has no digits to spare
    small = mirrored & (x > -0.5)
    t = x[small]
    out[small] = np.polynomial.polynomial.polyval(t, _AROUND_TWO) - np.log1p(t) - np.log(np.abs(t))
    return np.where(np.isinf(x), np.inf, out)


def _stirling(z: Array) -> Array:
    return (z - 0.5) * np.log(z) - z + 0.5 * math.log(2 * math.pi) + stirling_rest(z)


def stirling_rest(z: Array) -> Array:
    """What log Γ(z) is beyond Stirling's formula, for z from 10 on."""
    inverse = 1 / z
    series = np.polynomial.polynomial.polyval(
        inverse * inverse, [b / (2 * k * (2 * k - 1)) for k, b in enumerate(_BERNOULLI, 1)]
    )  # fmt: skip
    out: Array = inverse * series
    return out


def lgamma_beside_one(t: Array) -> Array:
    """log Γ(1 + t) for t from -1/2 to 1/2, right also where it is tiny."""
    out: Array = np.polynomial.polynomial.polyval(t, _AROUND_TWO) - np.log1p(t)
    return out


@in_float64
def digamma(x: Array) -> Array:
    """The derivative of log Γ: infinite at 0, NaN at negative whole numbers."""
    mirrored = x < 0.5
    y = np.where(mirrored, 1 - x, x)
    total = np.zeros_like(y)
    while (small := y < _FAR).any():
        total = np.where(small, total - 1 / y, total)
        y = np.where(small, y + 1, y)
    inverse = 1 / y
    series = np.polynomial.polynomial.polyval(
        inverse * inverse, [0.0, *[b / (2 * k) for k, b in enumerate(_BERNOULLI, 1)]]
    )
    out = np.asarray(np.log(y) - 0.5 * inverse - series + total)
    off = x - _ROOT
    near = np.abs(off) < 0.25  # where the value is small: a series around its zero
    out[near] = np.polynomial.polynomial.polyval(off[near] - _ROOT_REST, _around_root())
    turn = np.pi * _distance(x)
    out = np.where(mirrored, out - np.pi / np.tan(turn), out)
    out = np.where((x < 0) & (turn == 0), np.nan, out)
    return np.where(x == 0, -np.copysign(np.inf, x), out)


@in_float64
def polygamma(x: Array, n: int) -> Array:
    """The derivative of order n of `digamma`, n at least 1; at 0 and at negative whole numbers its limit from above."""
    mirrored = x < 0.5
    y = np.where(mirrored, 1 - x, x)
    out = (-1) ** (n + 1) * math.factorial(n) * _hurwitz(n + 1, y)
    # ψ(1 - x) - ψ(x) = π cot πx, differentiated n times: a polynomial of the cotangent
    of_cotangent = np.array([0.0, 1.0])
    for _ in range(n):
        of_cotangent = -math.pi * np.polynomial.polynomial.polymul(
            np.polynomial.polynomial.polyder(of_cotangent), [1.0, 0.0, 1.0]
        )
    cotangent = 1 / np.tan(np.pi * _distance(x))
    reflected = (-1) ** n * out - math.pi * np.polynomial.polynomial.polyval(cotangent, of_cotangent)
    out = np.where(mirrored, reflected, out)
    return np.where(mirrored & (_distance(x) == 0), np.inf if n % 2 else -np.inf, out)


@functools.cache
def _around_root() -> list[float]:
    root = np.array([_ROOT])
    return [0.0, *(float((-1) ** (k + 1) * _hurwitz(k + 1, root)[0]) for k in range(1, 24))]


def _hurwitz(s: int, y: Array) -> Array:
    """Σ (y + k)^-s over k from 0, for y at least 1/2."""
    total = np.zeros_like(y)
    far = _FAR + s
    while (small := y < far).any():
        total = np.where(small, total + y**-s, total)
        y = np.where(small, y + 1, y)
    total = total + y ** (1 - s) / (s - 1) + 0.5 * y**-s
    rising = float(s)
    for j, b in enumerate(_BERNOULLI):
        total = total + b / math.factorial(2 * j + 2) * rising * y ** -(s + 2 * j + 1)
        rising *= (s + 2 * j + 1) * (s + 2 * j + 2)
    return total


def _winitzki(size: Array) -> Array:
    """Nearly the inverse of the error function, of log(1 - x²)."""
    half = 2 / (math.pi * 0.147) + 0.5 * size
    out: Array = np.sqrt(np.maximum(np.sqrt(half * half - size / 0.147) - half, 0))
    return out


@in_float64
def ndtri(p: Array) -> Array:
    """The number below which a normal variate is with probability p: infinite at 0 and 1, NaN beyond."""
    q = np.minimum(p, 1 - p)  # exact from 1/2 on
    rest = 2 * q
    y = _winitzki(np.log(rest) + np.log1p(1 - rest))
    for _ in range(3):
        over = 1 / (y * y)
        tail = (1 - over * (0.5 - over * (0.75 - over * 1.875))) / (y * math.sqrt(math.pi))  # erfc(y) exp(y²) far out
        tail = np.where(y < 20, erfc_of(y) * np.exp(np.minimum(y, 20) ** 2), tail)
        off = (rest / erfc_of(y) - 1) * tail * (0.5 * math.sqrt(math.pi))
        y = np.where(np.isfinite(off), y - off / (1 + y * off), y)
    y = np.where(q == 0, np.inf, y)
    far = np.where(p < 0.5, -y, y) * math.sqrt(2)
    near = erfinv(np.clip(2 * p - 1, -0.5, 0.5)) * math.sqrt(2)
    return np.where((p < 0) | (p > 1), np.nan, np.where(np.abs(p - 0.5) <= 0.25, near, far))


@in_float64
def erfinv(x: Array) -> Array:
    """The number whose error function is x: infinite at -1 and 1, NaN beyond."""
    a = np.minimum(np.abs(x), 1)
    rest = 1 - a  # exact where it is small
    # a guess, and Halley's steps, of which each has three times the digits
    y = np.where(a < 1e-3, a * (0.5 * math.sqrt(math.pi)), _winitzki(np.log(rest) + np.log1p(a)))
    for _ in range(3):
        off = np.where(a < 0.5, erf_of(y) - a, rest - erfc_of(y)) * (0.5 * math.sqrt(math.pi)) * np.exp(y * y)
        y = np.where(np.isfinite(off), y - off / (1 + y * off), y)
    y = np.where(a == 1, np.inf, y)
    return np.where(np.abs(x) > 1, np.nan, np.copysign(y, x))
