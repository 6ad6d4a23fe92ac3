"""Words that are NumPy's functions, and in compiled loops the processor's or the C library's."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.jit import helper

__all__ = ["ceil", "copysign", "fmod", "nextafter", "rint", "signbit", "sqrt", "trunc"]


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


@helper(plain=np.copysign)
def copysign(a: Any, b: Any) -> Any:
    """|a| with the sign of b."""
    return np.copysign(a, b)


@helper(plain=np.fmod)
def fmod(a: Any, b: Any) -> Any:
    """What is left of a when whole b are taken away, with the sign of a."""
    return np.fmod(a, b)


@helper(plain=np.nextafter)
def nextafter(a: Any, b: Any) -> Any:
    """The number next to a towards b."""
    return np.nextafter(a, b)


@helper(plain=np.sqrt)
def sqrt(x: Any) -> Any:
    """Square root, NaN below 0."""
    return np.sqrt(x)
