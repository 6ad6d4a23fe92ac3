"""Loops over functions that NumPy does not have: many times faster than their formulas on arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgraph.jit import Kernel, compiled, kernel, share, uniform
from tensorgraph.ops.kernels.errors import erf, erfc, ndtr

__all__ = ["FAR_BELOW", "erf_of", "erfc_of", "ndtr_of"]

Array = np.ndarray[Any, Any]

_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
# a number in the place of those below it, -inf too, beside a factor that is 0 there: 0 times infinity would be NaN
FAR_BELOW = -10000.0
# numbers from which a kernel is worth being called, or compiled
FEW = 256
# numbers that the formula takes at a time, so that what is between its steps stays in the cache
BLOCK = 4096


@kernel(apart=True)
def _erf_each(x: Any, out: Any, lo: Any, hi: Any) -> None:
    part, into = x[lo:hi], out[lo:hi]  # whose indices are known not to be negative: the loop vectorises
    for i in range(part.size):
        into[i] = erf(part[i])


@kernel(apart=True)
def _erfc_each(x: Any, out: Any, lo: Any, hi: Any) -> None:
    part, into = x[lo:hi], out[lo:hi]  # whose indices are known not to be negative: the loop vectorises
    for i in range(part.size):
        into[i] = erfc(part[i])


@kernel(apart=True)
def _ndtr_each(x: Any, out: Any, lo: Any, hi: Any) -> None:
    part, into = x[lo:hi], out[lo:hi]  # whose indices are known not to be negative: the loop vectorises
    for i in range(part.size):
        into[i] = ndtr(part[i])


def erf_of(x: Array) -> Array:
    """The error function of each number; float16 by way of float32."""
    return _each(_erf_each, erf, x, 3e-9)


def erfc_of(x: Array) -> Array:
    """The complement of the error function of each number."""
    return _each(_erfc_each, erfc, x, 3e-9)


def ndtr_of(x: Array) -> Array:
    """The distribution function of the normal distribution at each number."""
    return _each(_ndtr_each, ndtr, x, 3e-9)


def _each(loop: Kernel, formula: Callable[[Any], Any], x: Array, cost: float) -> Array:
    """The function of each number, by the kernel where that pays, which takes `cost` seconds a number."""
    work = _FLOAT64 if x.dtype == _FLOAT64 else _FLOAT32
    flat = uniform(x, work).reshape(-1)
    out = np.empty(flat.size, work)
    if flat.size >= FEW and compiled():
        share(loop, (flat, out), flat.size, flat.size * cost)
    else:
        with np.errstate(all="ignore"):
            for start in range(0, flat.size, BLOCK):
                out[start : start + BLOCK] = formula(flat[start : start + BLOCK])
    return out.reshape(x.shape).astype(x.dtype, copy=False)
