"""The incomplete gamma functions P and Q = 1 - P and all their derivatives, on arrays of float64.

The plan, with f(t) = t^(a-1) exp(-t) / Γ(a), the density of which P(a, x) is the integral from 0 to x, Q that beyond:
1. near 0, P is a series of positive terms, and Q, where it is small with a, one that does not subtract from 1;
2. elsewhere the smaller of both: with t = x exp(∓s) it is x f(x) times an integral of exp(φ(s)), φ concave, φ(0) = 0,
   by Gauss and Legendre's rule up to where φ is -46 (as in `gamma_slope`);
3. derivatives by a bring a polynomial of log t into the integral, or make power series of the terms;
4. derivatives by x are those of f, whose logarithm is known as a series in both.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgraph.ops.kernels.gamma_slope import end_of, gamma_slope_of, rule
from tensorgraph.ops.kernels.gammas import digamma, lgamma, lgamma_beside_one, polygamma, stirling_rest

__all__ = ["lower", "slope", "upper"]

Array = np.ndarray[Any, Any]

_NEAR = 8.0  # up to where P is a series
_NEARER = 1.5  # and its derivatives by a, whose terms differ in sign
_TERMS = 48
_CHUNK = 1 << 14  # numbers at once: times the nodes, 8 MB


def lower(a: Array, x: Array) -> Array:
    """P(a, x), between 0 and 1; NaN for negative numbers."""
    return _parted(a, x, _lower, 0.0, 1.0)


def upper(a: Array, x: Array) -> Array:
    """Q(a, x) = 1 - P(a, x), right also where it is tiny."""
    return _parted(a, x, _upper, 1.0, 0.0)


def slope(a: Array, x: Array, i: int, j: int) -> Array:
    """The derivative of P, `i` times by a and `j` times by x, at least one of them."""
    if j:
        out = _parted(a, x, lambda a, x: _density(a, x, i, j - 1), math.nan, 0.0)
        if (i, j) == (0, 1):
            out = np.where((x == 0) & (a > 0), np.where(a < 1, np.inf, np.where(a == 1, 1.0, 0.0)), out)
        return out
    return _parted(a, x, lambda a, x: _by_shape(a, x, i), 0.0, 0.0)


def _parted(a: Array, x: Array, function: Callable[[Array, Array], Array], nothing: float, all_: float) -> Array:
    """The function where both are ordinary, and its limits elsewhere: at 0 `nothing`, at infinity `all_`."""
    a, x = np.broadcast_arrays(np.asarray(a, np.float64), np.asarray(x, np.float64))
    out = np.full(a.shape, np.nan)
    out[(a > 0) & (x == 0)] = nothing
    out[(a == 0) & (x > 0) | (np.isfinite(a) & (a >= 0) & (x == np.inf))] = all_
    out[(a == np.inf) & (x >= 0) & np.isfinite(x)] = nothing
    usual = (a > 0) & (x > 0) & np.isfinite(a) & np.isfinite(x)
    of, at = a[usual], x[usual]
    found = np.empty(of.shape)
    with np.errstate(all="ignore"):
        for start in range(0, of.size, _CHUNK):
            part = slice(start, start + _CHUNK)
            found[part] = function(of[part], at[part])
    out[usual] = found
    return out


def _chosen(a: Array, x: Array, *parts: tuple[Array, Callable[[Array, Array], Array]]) -> Array:
    """Each number by the first function whose condition holds."""
    out, left = np.empty(a.shape), np.ones(a.shape, bool)
    for condition, function in parts:
        here = condition & left
        if here.any():
            out[here] = function(a[here], x[here])
        left &= ~here
    return out


def _lower(a: Array, x: Array) -> Array:
    return _chosen(
        a, x, (x < _NEAR, _series), (x < a, lambda a, x: _integral(a, x, -1.0)), (x >= a, lambda a, x: 1 - _upper(a, x))
    )


def _upper(a: Array, x: Array) -> Array:
    flat = a <= np.where(x <= 0.5, -0.4 / np.log(x), 1.1 * x)
    return _chosen(
        a, x, ((x < 1.1) & flat, _series_of_rest), ((x < a) | (x < 1.1), lambda a, x: 1 - _lower(a, x)),
        (x >= 1.1, lambda a, x: _integral(a, x, 1.0)),
    )  # fmt: skip


def _log_weight(a: Array, x: Array) -> Array:
    """log(x f(x)) = a log x - x - log Γ(a), of large a by how far x is from a."""
    u = (x - a) / a
    beyond = np.where(np.abs(u) < 0.5, _log1p_beyond(u), np.log(x / a) - u)
    large = a * beyond + 0.5 * np.log(a / (2 * math.pi)) - stirling_rest(np.maximum(a, 10.0))
    out: Array = np.where(a < 10, a * np.log(x) - x - lgamma(a), large)
    return out


def _log1p_beyond(u: Array) -> Array:
    """log(1 + u) - u for u from -1/2 to 1/2."""
    r = u / (u + 2)
    out: Array = (
        2 * r * np.polynomial.polynomial.polyval(r * r, [0.0, *[1 / (2 * k + 1) for k in range(1, 16)]]) - r * u
    )
    return out


def _expm1_beyond(y: Array) -> Array:
    """exp(y) - 1 - y."""
    near = y * y * np.polynomial.polynomial.polyval(y, [1 / math.factorial(k) for k in range(2, 20)])
    out: Array = np.where(np.abs(y) < 0.5, near, np.expm1(y) - y)
    return out


def _series(a: Array, x: Array) -> Array:
    """P: x f(x) / a times Σ x^n / ((a + 1) ... (a + n))."""
    term = np.ones_like(a)
    total = np.ones_like(a)
    for n in range(1, _TERMS):
        term = term * (x / (a + n))
        total += term
    small = np.minimum(a, 0.5)  # Γ(a) is huge there, and Γ(a + 1) is not
    weight = np.where(
        a < 0.5, np.exp(small * np.log(x) - x - lgamma_beside_one(small)), np.exp(_log_weight(a, x)) / a
    )  # fmt: skip
    out: Array = np.minimum(weight * total, 1.0)
    return out


def _series_of_rest(a: Array, x: Array) -> Array:
    """Q: 1 - x^a / Γ(a + 1) · (1 + Σ a (-x)^n / (n! (a + n)))."""
    power = a * np.log(x) - np.where(a < 0.5, lgamma_beside_one(np.minimum(a, 0.5)), lgamma(a + 1))
    term = np.ones_like(a)
    total = np.zeros_like(a)
    for n in range(1, _TERMS):
        term = term * (-x / n)
        total += term * (a / (a + n))
    out: Array = -np.expm1(power) - np.exp(power) * total
    return out


def _integral(a: Array, x: Array, side: float, order: int = 0) -> Array:
    """x f(x) ∫ exp(φ(s)) B(log t - ψ(a)) ds with t = x exp(side s): what is below x for -1, beyond it for 1.

    B is the polynomial that the derivative of this order by a brings: of f it makes f B.
    """

    def fall(s: Array, a: Array, x: Array, side: Any) -> Array:
        """φ(s) = side a s - x (exp(side s) - 1)"""
        lost: Array = side * (a - x) * s - x * _expm1_beyond(side * s)
        return lost

    end = end_of(fall, a, x, np.full(a.shape, side))
    nodes, weights = rule()
    s = end[:, None] * nodes
    terms = np.exp(fall(s, a[:, None], x[:, None], side))
    if order:
        logs = [(np.log(x) - digamma(a))[:, None] + side * s]
        logs += [-polygamma(a, n)[:, None] for n in range(1, order)]
        bell = [np.ones_like(s)]  # complete Bell polynomials
        for n in range(1, order + 1):
            bell.append(sum(math.comb(n - 1, k) * bell[n - 1 - k] * logs[k] for k in range(n)))  # type: ignore[arg-type]
        terms = terms * bell[order]
    out: Array = np.exp(_log_weight(a, x)) * end * (terms @ weights)
    return out


def _by_shape(a: Array, x: Array, order: int) -> Array:
    """The derivative of P by a alone."""
    if order == 1:
        return -gamma_slope_of(a, x) * _density(a, x, 0, 0)
    return _chosen(
        a, x, (x < _NEARER, lambda a, x: _series_by_shape(a, x, order)),
        (x < a, lambda a, x: _integral(a, x, -1.0, order)), (x >= a, lambda a, x: -_integral(a, x, 1.0, order)),
    )  # fmt: skip


def _series_by_shape(a: Array, x: Array, order: int) -> Array:
    """`_series` as a power series in a small change of a, of which this is a coefficient times a factorial."""
    term = [np.ones_like(a), *[np.zeros_like(a) for _ in range(order)]]
    total = list(term)
    for n in range(1, _TERMS):
        quotient = term[0] / (a + n)
        divided = [quotient]
        for part in term[1:]:  # by a + n + ε
            quotient = (part - quotient) / (a + n)
            divided.append(quotient)
        term = [part * x for part in divided]
        total = [t + part for t, part in zip(total, term, strict=True)]
    logs = [_log_weight(a, x) - np.log(a), np.log(x) - digamma(a + 1)]
    logs += [-polygamma(a + 1, k - 1) / math.factorial(k) for k in range(2, order + 1)]
    weight = [np.exp(logs[0])]
    for n in range(1, order + 1):
        weight.append(sum(k * logs[k] * weight[n - k] for k in range(1, n + 1)) / n)
    out: Array = sum(weight[k] * total[order - k] for k in range(order + 1)) * math.factorial(order)
    return out


def _density(a: Array, x: Array, i: int, j: int) -> Array:
    """f, differentiated `i` times by a and `j` times by x: by the series of its logarithm in both, and of its exp."""
    logs = {(m, n): np.zeros_like(a) for m in range(i + 1) for n in range(j + 1)}
    for n in range(1, j + 1):
        power = (-1) ** (n + 1) / (n * x**n)
        logs[0, n] = (a - 1) * power - (n == 1)
        if i:
            logs[1, n] = power
    for m in range(1, i + 1):
        logs[m, 0] = np.log(x) - digamma(a) if m == 1 else -polygamma(a, m - 1) / math.factorial(m)
    exps = {(0, 0): np.exp(_log_weight(a, x)) / x}
    for n in range(1, j + 1):
        exps[0, n] = sum(k * logs[0, k] * exps[0, n - k] for k in range(1, n + 1)) / n  # type: ignore[assignment]
    for m in range(1, i + 1):
        for n in range(j + 1):
            parts = [k * logs[k, o] * exps[m - k, n - o] for k in range(1, m + 1) for o in range(n + 1)]
            exps[m, n] = sum(parts) / m  # type: ignore[assignment]
    return exps[i, j] * (math.factorial(i) * math.factorial(j))
