"""The logarithm of the beta function and what its derivatives are made of, on arrays of float64.

The plan: three logarithms of gamma where both arguments are below 10; else by Stirling's formula with what is large
taken out of it by hand, since Γ(a) and Γ(a + b) are almost equal there (as R's lbeta, after TOMS 708). The gap between
two polygammas whose arguments are near one another is a series in their distance.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgraph.ops.kernels.gammas import digamma, lgamma, polygamma, stirling_rest

__all__ = ["betaln", "polygamma_gap"]

Array = np.ndarray[Any, Any]

_LARGE = 10.0
_NEAR = 1 / 20  # of b to a, from where polygammas are expanded
_TERMS = 13


def betaln(a: Array, b: Array) -> Array:
    """log |Γ(a) Γ(b) / Γ(a + b)|: infinite where one is 0."""
    a, b = np.broadcast_arrays(np.asarray(a, np.float64), np.asarray(b, np.float64))
    with np.errstate(all="ignore"):
        p, q = np.minimum(a, b), np.maximum(a, b)
        out = np.asarray(lgamma(p) + lgamma(q) - lgamma(p + q))
        large = (p > 0) & (q >= _LARGE) & np.isfinite(q)
        out[large] = _large(p[large], q[large])
        out[(p > 0) & (q == np.inf)] = -np.inf
        out[((p == 0) | (q == 0)) & ~np.isnan(p)] = np.inf
    return out


def _large(p: Array, q: Array) -> Array:
    share = p / (p + q)
    rest = stirling_rest(q) - stirling_rest(p + q)
    one = lgamma(p) + p - p * np.log(p + q) + (q - 0.5) * np.log1p(-share)
    both = -0.5 * np.log(q) + 0.5 * math.log(2 * math.pi) + stirling_rest(np.maximum(p, _LARGE))
    both = both + (p - 0.5) * np.log(share) + q * np.log1p(-share)
    out: Array = np.where(p < _LARGE, one, both) + rest
    return out


def polygamma_gap(a: Array, b: Array, n: int) -> Array:
    """The polygamma function of order n (0: digamma) of a, less that of a + b."""
    a, b = np.broadcast_arrays(np.asarray(a, np.float64), np.asarray(b, np.float64))
    with np.errstate(all="ignore"):
        out = np.asarray(_polygamma(a, n) - _polygamma(a + b, n))
        near = (a > 0) & (np.abs(b) < _NEAR * a) & np.isfinite(a)
        x, d = a[near], b[near]
        if x.size:
            out[near] = -sum(_polygamma(x, n + k) * d**k / math.factorial(k) for k in range(1, _TERMS))
    return out


def _polygamma(x: Array, n: int) -> Array:
    return polygamma(x, n) if n else digamma(x)
