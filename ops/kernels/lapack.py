"""Linear systems on arrays: NumPy's LAPACK, and SciPy's where it is installed and gains.

NumPy has no factorisation that can be kept and none of triangular systems. SciPy has both, of one matrix at a time and
at a cost of some microseconds a call, so it is for large ones; it is imported when the first of these comes.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from tensorgraph.engine.op import float_dtype

__all__ = ["factor", "kept_types", "solve_kept", "solve_triangle", "working"]

Array = np.ndarray[Any, Any]
LARGE = 64  # rows from which a factorisation is worth being kept
_HALF = np.dtype(np.float16)
_NONE = -1  # the pivots of what was not kept


def working(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """What LAPACK computes in: float16 in float32, integers in the default dtype."""
    return np.dtype(np.float32) if dtype == _HALF else float_dtype(dtype)


@cache
def _scipy() -> Any:
    """SciPy's LAPACK, or None."""
    try:
        lapack = import_module("scipy.linalg.lapack")
    except ImportError:
        return None
    return lapack


def _large(a: Array) -> Any:
    return _scipy() if a.ndim == 2 and len(a) >= LARGE else None


def _routine(lapack: Any, name: str, a: Array) -> Any:
    return getattr(lapack, ("d" if a.dtype == np.float64 else "s") + name)


def kept_types(shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Shapes and dtypes of what `factor` gives."""
    return (shape, working(dtype)), (shape[:-1], np.dtype(np.int32))


def factor(a: Array) -> tuple[Array, Array]:
    """The LU factors of a matrix and their pivots; where they are not worth being kept, pivots of -1 say so."""
    lapack = _large(a)
    if lapack is None:
        return np.broadcast_to(np.zeros((), a.dtype), a.shape), np.full(a.shape[:-1], _NONE, np.int32)
    lu, pivots, _ = _routine(lapack, "getrf", a)(a)
    return lu, np.asarray(pivots, np.int32)


def solve_kept(a: Array, b: Array, lu: Array, pivots: Array, transposed: bool) -> Array:
    """x of ``a @ x == b``, or of ``a.mT @ x == b``, for columns b.

    Raises
    ------
    numpy.linalg.LinAlgError
        Where `a` is singular.
    """
    if not pivots.size or pivots.flat[0] == _NONE or b.ndim != 2:
        return np.linalg.solve(a.swapaxes(-1, -2) if transposed else a, b)
    zero = np.flatnonzero(lu.diagonal() == 0)
    if zero.size:
        raise np.linalg.LinAlgError(f"the matrix is singular: pivot {int(zero[0])} is 0")
    x, _ = _routine(_scipy(), "getrs", lu)(lu, pivots, b, trans=int(transposed))
    return np.ascontiguousarray(x)


def solve_triangle(a: Array, b: Array, lower: bool, transposed: bool, unit: bool) -> Array:
    """x of ``a @ x == b`` for columns b, of a triangle of `a` alone.

    Raises
    ------
    numpy.linalg.LinAlgError
        Where there is a 0 on the diagonal.
    """
    if not unit:
        zero = np.argwhere(np.diagonal(a, axis1=-2, axis2=-1) == 0)
        if zero.size:
            raise np.linalg.LinAlgError(
                f"the triangular matrix is singular: element {int(zero[0][-1])} of its diagonal is 0"
            )
    lapack = _large(a)
    if lapack is not None and b.ndim == 2 and b.shape[1]:
        # in Fortran's order the transposed matrix lies there already
        x, _ = _routine(lapack, "trtrs", a)(a.T, b, lower=not lower, trans=int(not transposed), unitdiag=int(unit))
        return np.ascontiguousarray(x)
    triangle = np.tril(a) if lower else np.triu(a)
    if unit:
        n = np.arange(a.shape[-1])
        triangle[..., n, n] = 1
    return np.linalg.solve(triangle.swapaxes(-1, -2) if transposed else triangle, b)
