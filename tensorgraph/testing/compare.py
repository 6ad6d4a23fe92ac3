"""How equal is equal: one tolerance table, and a comparison that looks at non-finite values first."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.arguments import Natural, NonNegative, checked
from tensorgraph.engine.aval import DType

__all__ = ["DIFFERENCES", "ULPS", "assert_close", "assert_same"]

Array = np.ndarray[Any, Any]

# allowed error in units of the last place of the output's scale, by order of derivative
ULPS = {0: 8, 1: 32, 2: 256}

# allowed error of a difference quotient in float64, relative to its scale: rounding of about 1e-15 over a step of 1e-4,
# with a hundredfold margin for cancellation inside the function
DIFFERENCES = 1e-9


def _plain(value: Any) -> Array:
    """The numbers of an array or a tensor."""
    return value.detach().numpy() if hasattr(value, "detach") else np.asarray(value)


def _pattern(array: Array) -> Array:
    """0 where finite, 1 for NaN, 2 and 3 for the infinities."""
    if array.dtype.kind not in "fc":
        return np.zeros(array.shape, np.int8)
    return np.isnan(array) * np.int8(1) + np.isposinf(array) * np.int8(2) + np.isneginf(array) * np.int8(3)


def _where(array: Array) -> str:
    """The first true position, for messages."""
    return str(tuple(int(i) for i in np.argwhere(array)[0]))


@checked
def assert_close(
    got: Any, expected: Any, *, order: Natural = 0, scale: Any = None, ulps: NonNegative | None = None,
    reason: str = "", dtype: DType | None = None, what: str = "values",
) -> None:  # fmt: skip
    """Assert that numbers agree to so many units of the last place; patterns of non-finite values come first.

    Parameters
    ----------
    got, expected : array-like
        Of one shape. Integers and booleans must be equal.
    order : {0, 1, 2}
        Order of the derivative, which chooses the row of the tolerance table.
    scale : array-like, optional
        What an error is relative to; the largest finite absolute value of `expected` unless given.
    ulps : float, optional
        Another tolerance than the table's. Needs a `reason`.
    reason : str
    dtype : dtype-like, optional
        Whose unit of the last place counts; `got`'s unless given.
    what : str
        Named in the message.

    Raises
    ------
    AssertionError
        Naming the position, both numbers and the error in units of the last place.

    Examples
    --------
    >>> from tensorgraph.testing import assert_close
    >>> assert_close([1.0, 2.0], [1.0, 2.0 + 1e-15])
    >>> assert_close([1.0, float("nan")], [1.0, 2.0])
    Traceback (most recent call last):
        ...
    AssertionError: values: nan at (1,), expected 2.0
    """
    if ulps is not None and not reason:
        raise ValueError("a tolerance other than the table's needs its reason")
    a, b = _plain(got), _plain(expected)
    if a.shape != b.shape:
        raise AssertionError(f"{what}: shape {a.shape}, expected {b.shape}")
    if a.dtype.kind != "f" and b.dtype.kind != "f":
        if not np.array_equal(a, b):
            at = a != b
            raise AssertionError(f"{what}: {a[at][0]} at {_where(at)}, expected {b[at][0]}")
        return
    wrong = _pattern(a) != _pattern(b)
    if wrong.any():
        raise AssertionError(f"{what}: {a[wrong][0]} at {_where(wrong)}, expected {b[wrong][0]}")
    finite = np.isfinite(a)
    unit = np.finfo(a.dtype if dtype is None else dtype)
    wide = np.longdouble if np.longdouble in (a.dtype.type, b.dtype.type) or a.dtype == np.float64 else np.float64
    fa: Any = np.where(finite, a, 0).astype(wide)
    fb: Any = np.where(finite, b, 0).astype(wide)
    if scale is None:
        scale = np.abs(fb).max(initial=0)
    # below the smallest normal number the spacing no longer shrinks
    size = np.maximum(np.broadcast_to(np.asarray(scale, wide), a.shape), wide(unit.tiny))
    allowed = ULPS[order] if ulps is None else ulps
    error = np.abs(fa - fb) / (size * wide(unit.eps))
    bad = error > allowed
    if bad.any():
        worst = np.unravel_index(int(np.argmax(error)), a.shape)
        raise AssertionError(
            f"{what}: {a[worst]!r} at {tuple(map(int, worst))}, expected {b[worst]!r}: off by "
            f"{float(error[worst]):.3g} ulp, allowed {allowed} ({int(bad.sum())} of {a.size} values are off)"
        )


@checked
def assert_same(got: Any, expected: Any, what: str = "values") -> None:
    """Assert equal shape, dtype and bits (NaN equals NaN, 0.0 differs from -0.0)."""
    a, b = _plain(got), _plain(expected)
    if (a.shape, a.dtype) != (b.shape, b.dtype):
        raise AssertionError(f"{what}: {a.dtype}{a.shape}, expected {b.dtype}{b.shape}")
    if a.dtype.kind == "f":
        same = (a == b) & (np.signbit(a) == np.signbit(b)) | np.isnan(a) & np.isnan(b)
    else:
        same = a == b
    if not same.all():
        at = ~same
        raise AssertionError(f"{what}: {a[at][0]!r} at {_where(at)}, expected exactly {b[at][0]!r}")
