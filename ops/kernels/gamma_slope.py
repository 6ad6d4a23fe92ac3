"""How a gamma variate moves with its shape parameter, on arrays.

A variate x of shape a is held at its place in the distribution, F(x; a) = const, so dx/da = -(dF/da) / f with the
density f (Figurnov, Mohamed and Mnih, "Implicit reparameterization gradients", 2018). The plan: (1) below 1/2 the
series of F, all of whose terms are positive; (2) elsewhere dF/da is an integral of t^(a-1) exp(-t) (log t - ψ(a)) from
0 to x, and minus the same from x to infinity: of the two that one is taken in which log t - ψ(a) never changes sign, so
nothing cancels; (3) with t = x exp(-s), or x exp(s), the integrand over the density is exp(φ(s)) x |log t - ψ(a)| with
a concave φ, φ(0) = 0; (4) the upper end is where φ has fallen to -46, by Newton from the right, which comes nearer from
one side; (5) Gauss and Legendre's rule up to there.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from tensorgraph.ops.kernels.gammas import digamma

__all__ = ["end_of", "gamma_slope_of", "rule"]

Array = np.ndarray[Any, Any]

_FALL = 46.0  # exp(-46) is 1e-20
_NODES = 64
_TERMS = 18
_CHUNK = 1 << 14  # numbers at once: times the nodes, 8 MB


@functools.cache
def rule() -> tuple[Array, Array]:
    """Gauss and Legendre's nodes and weights from 0 to 1; to NumPy's Newton's steps give back two digits."""
    x: Array = np.polynomial.legendre.leggauss(_NODES)[0].astype(np.longdouble)
    for _ in range(2):
        before: Array = np.ones_like(x)
        value = x
        for n in range(2, _NODES + 1):
            before, value = value, ((2 * n - 1) * x * value - (n - 1) * before) / n
        slope = _NODES * (x * value - before) / (x * x - 1)
        x = x - value / slope
    return ((x + 1) / 2).astype(np.float64), (1 / ((1 - x * x) * slope * slope)).astype(np.float64)


def gamma_slope_of(a: Array, x: Array) -> Array:
    """The derivative by its shape a of a gamma variate x; 0 at 0, NaN where a or x is no such number."""
    a, x = np.broadcast_arrays(np.asarray(a, np.float64), np.asarray(x, np.float64))
    out: Array = np.where((a > 0) & (x == 0), 0.0, np.nan)
    usual = (a > 0) & (x > 0) & np.isfinite(a) & np.isfinite(x)
    of, at = a[usual], x[usual]
    slopes = np.empty(of.shape)
    small = at < 0.5
    slopes[small] = _series(of[small], at[small])
    large = np.flatnonzero(~small)
    for start in range(0, large.size, _CHUNK):
        part = large[start : start + _CHUNK]
        slopes[part] = _integral(of[part], at[part])
    out[usual] = slopes
    return out


def _series(a: Array, x: Array) -> Array:
    """Σ x^(n+1) / (a (a+1) ... (a+n)) · (ψ(a+n+1) - log x)."""
    term = x / a
    factor = digamma(a + 1) - np.log(x)
    out: Array = term * factor
    for n in range(1, _TERMS):
        factor = factor + 1 / (a + n)
        term = term * (x / (a + n))
        out = out + term * factor
    return out


def _integral(a: Array, x: Array) -> Array:
    gap = np.log(x) - digamma(a)  # of its sign the side is chosen
    side = np.where(gap < 0, -1.0, 1.0)

    def fall(s: Array, a: Array, x: Array, side: Array) -> Array:
        """φ(s) = ±a s - x (exp(±s) - 1): what the integrand has lost, as a logarithm."""
        lost: Array = side * a * s - x * np.expm1(side * s)
        return lost

    with np.errstate(over="ignore", invalid="ignore"):
        end = end_of(fall, a, x, side)
        nodes, weights = rule()
        s = end[:, None] * nodes
        terms = np.exp(fall(s, a[:, None], x[:, None], side[:, None])) * (np.abs(gap)[:, None] + s)
        out: Array = x * end * (terms @ weights)
    return out


def end_of(fall: Any, a: Array, x: Array, side: Array) -> Array:
    """Where φ = -46: from beyond it Newton's steps come back without passing it, since φ is concave."""
    high = np.where(side < 0, (_FALL + x) / a, 1.0)  # to the left φ is at most x - a s
    for _ in range(60):
        short = fall(high, a, x, side) > -_FALL
        if not short.any():
            break
        high = np.where(short, 2 * high, high)
    for _ in range(60):
        value = fall(high, a, x, side) + _FALL
        slope = side * a - x * side * np.exp(side * high)
        step = np.where(np.isfinite(value) & (slope < 0), value / slope, high / 2)
        nearer = high - step
        if (np.abs(step) <= 1e-3 * high).all():
            break
        high = np.maximum(nearer, high * 0.25)
    return high
