"""The logarithm of the normal distribution function Φ and its derivatives, on arrays, in float64.

The plan: (1) above 0, log(1 - Φ(-x)); (2) down to -12, the logarithm of Φ, and its derivatives from the first, the
density over Φ, by its differential equation m' = -m (x + m); (3) below, the asymptotic series of log Φ, term by term.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from tensorgraph.ops.kernels.gammas import in_float64
from tensorgraph.ops.kernels.pointwise import ndtr_of

__all__ = ["log_ndtr", "log_ndtr_slope"]

Array = np.ndarray[Any, Any]

_FAR = -12.0
_TERMS = 16


@functools.cache
def _log_series() -> tuple[float, ...]:
    """The coefficients of x^-2, x^-4, ... in log(1 - 1/x² + 3/x⁴ - 15/x⁶ ...)."""
    terms = [1.0]
    for k in range(1, _TERMS):
        terms.append(-terms[-1] * (2 * k - 1))
    logs: list[float] = []
    for n in range(1, _TERMS):
        logs.append(terms[n] - sum(k * logs[k - 1] * terms[n - k] for k in range(1, n)) / n)
    return tuple(logs)


@in_float64
def log_ndtr(x: Array) -> Array:
    """log Φ(x), right also where Φ is 0 in its dtype."""
    far = np.minimum(x, _FAR)
    square = 1 / (far * far)
    rest = np.polynomial.polynomial.polyval(square, [0.0, *_log_series()])
    below = -0.5 * far * far - np.log(-far) - 0.5 * math.log(2 * math.pi) + rest
    near = np.where(x > 0, np.log1p(-ndtr_of(-np.abs(x))), np.log(ndtr_of(np.maximum(x, _FAR))))
    return np.where(x < _FAR, below, near)


@in_float64
def log_ndtr_slope(x: Array, n: int) -> Array:
    """The derivative of order n of `log_ndtr`, n at least 1."""
    far = np.minimum(x, _FAR)
    powers = [(-1.0) ** n * math.prod(range(2 * k, 2 * k + n)) * c for k, c in enumerate(_log_series(), 1)]
    below = np.polynomial.polynomial.polyval(1 / (far * far), [0.0, *powers]) / far**n
    below = below - (-1.0) ** (n - 1) * math.factorial(n - 1) / far**n - (far if n == 1 else n == 2)
    below = np.where(far == -np.inf, np.inf if n == 1 else -float(n == 2), below)
    near = np.clip(x, _FAR, 40.0)
    head = np.floor(near * 256 + 0.5) / 256  # x² in two parts, of which the first is exact
    density = np.exp(-0.5 * head * head) * np.exp(-0.5 * (near - head) * (near + head)) / math.sqrt(2 * math.pi)
    parts = [density / ndtr_of(near)]
    for k in range(n - 1):
        before = parts[k - 1] if k else 0.0
        squares = sum(parts[i] * parts[k - i] for i in range(k + 1))
        parts.append(-(near * parts[k] + before + squares) / (k + 1))
    return np.where(x < _FAR, below, parts[n - 1] * math.factorial(n - 1) + 0 * np.where(np.isinf(x), 0.0, x))
