"""Words that are NumPy's functions, and in compiled loops the processor's or the C library's."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.jit import helper

__all__ = [
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "ceil", "copysign", "cosh", "exp2",
    "hypot", "log10", "log2", "nextafter", "rint", "signbit", "sinh", "sqrt", "tan", "trunc",
]  # fmt: skip


@helper(plain=np.tan)
def tan(x: Any) -> Any:
    """Tangent."""
    return np.tan(x)


@helper(plain=np.arcsin)
def asin(x: Any) -> Any:
    """Inverse of the sine."""
    return np.arcsin(x)


@helper(plain=np.arccos)
def acos(x: Any) -> Any:
    """Inverse of the cosine."""
    return np.arccos(x)


@helper(plain=np.arctan)
def atan(x: Any) -> Any:
    """Inverse of the tangent."""
    return np.arctan(x)


@helper(plain=np.sinh)
def sinh(x: Any) -> Any:
    """Hyperbolic sine."""
    return np.sinh(x)


@helper(plain=np.cosh)
def cosh(x: Any) -> Any:
    """Hyperbolic cosine."""
    return np.cosh(x)


@helper(plain=np.arcsinh)
def asinh(x: Any) -> Any:
    """Inverse of the hyperbolic sine."""
    return np.arcsinh(x)


@helper(plain=np.arccosh)
def acosh(x: Any) -> Any:
    """Inverse of the hyperbolic cosine."""
    return np.arccosh(x)


@helper(plain=np.arctanh)
def atanh(x: Any) -> Any:
    """Inverse of the hyperbolic tangent."""
    return np.arctanh(x)


@helper(plain=np.exp2)
def exp2(x: Any) -> Any:
    """2^x."""
    return np.exp2(x)


@helper(plain=np.log2)
def log2(x: Any) -> Any:
    """Logarithm of base 2."""
    return np.log2(x)


@helper(plain=np.log10)
def log10(x: Any) -> Any:
    """Logarithm of base 10."""
    return np.log10(x)


@helper(plain=np.cbrt)
def cbrt(x: Any) -> Any:
    """Cubic root."""
    return np.cbrt(x)


@helper(plain=np.ceil)
def ceil(x: Any) -> Any:
    """The smallest whole number that is not below x."""
    return np.ceil(x)


@helper(plain=np.trunc)
def trunc(x: Any) -> Any:
    """x without what is behind the point."""
    return np.trunc(x)


@helper(plain=np.rint)
def rint(x: Any) -> Any:
    """The nearest whole number, the even one of two."""
    return np.rint(x)


@helper(plain=np.signbit)
def signbit(x: Any) -> Any:
    """Whether the sign is minus."""
    return np.signbit(x)


@helper(plain=np.arctan2)
def atan2(a: Any, b: Any) -> Any:
    """The angle of the point (b, a)."""
    return np.arctan2(a, b)


@helper(plain=np.hypot)
def hypot(a: Any, b: Any) -> Any:
    """√(a² + b²)."""
    return np.hypot(a, b)


@helper(plain=np.copysign)
def copysign(a: Any, b: Any) -> Any:
    """|a| with the sign of b."""
    return np.copysign(a, b)


@helper(plain=np.nextafter)
def nextafter(a: Any, b: Any) -> Any:
    """The number next to a towards b."""
    return np.nextafter(a, b)


@helper(plain=np.sqrt)
def sqrt(x: Any) -> Any:
    """Square root, NaN below 0."""
    return np.sqrt(x)
