"""Modified Bessel functions of the first kind of whole order, on arrays.

The plan: (1) up to the larger of 30 and the order's square the power series, whose terms all have one sign, each made
of the one before; exp(-|x|) is multiplied into the first, so that nothing overflows before the end; (2) beyond, the
asymptotic series in 1/x, which is right to the last digit there; (3) exp|x| comes last. In float64, narrower floats by
way of that.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__ = ["MOST_ORDER", "bessel_i_of"]

Array = np.ndarray[Any, Any]

MOST_ORDER = 24
_FAR = 30.0
_TERMS = 30


def bessel_i_of(x: Array, n: int) -> Array:
    """I_n(x)."""
    size = np.abs(np.asarray(x, np.float64))
    out = np.empty_like(size)
    near = ~(size > max(_FAR, float(n * n)))
    with np.errstate(all="ignore"):
        out[near] = _series(size[near], n)
        out[~near] = _asymptotic(size[~near], n)
        half = np.exp(0.5 * size)  # whose square overflows where the result does, and not before
        out = np.where(np.isinf(size), np.inf, out * half * half)
        if n % 2:
            out = np.copysign(out, x)
        return out.astype(x.dtype)


def _series(x: Array, n: int) -> Array:
    """Σ (x/2)^(n+2k) / (k! (n+k)!) · exp(-x)."""
    half = 0.5 * x
    term = np.exp(-x) * half**n / math.factorial(n)
    out = term.copy()
    square = half * half
    largest = float(np.max(x, initial=0.0, where=np.isfinite(x)))
    for k in range(1, int(1.5 * largest) + _TERMS):
        term = term * (square / (k * (n + k)))
        out = out + term
    return out


def _asymptotic(x: Array, n: int) -> Array:
    """(1 - (4n² - 1) / 8x + (4n² - 1)(4n² - 9) / 2! (8x)² - ...) / √(2πx)."""
    term = np.ones_like(x)
    out = term.copy()
    for k in range(1, _TERMS):
        term = term * (-(4 * n * n - (2 * k - 1) ** 2) / (k * 8.0 * x))
        out = out + term
    return out / (math.sqrt(2 * math.pi) * np.sqrt(x))  # 2 pi x may leave the range
