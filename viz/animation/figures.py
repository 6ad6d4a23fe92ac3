"""What is told of an array at a step: its spread, its extremes, what is not finite, and a histogram."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Figures", "figures_of"]

BARS = 24


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of an array.

    Attributes
    ----------
    mean, deviation, low, high : float
        Of its finite numbers.
    norm : float
        The root of the sum of their squares.
    zeros, broken : float
        The share of zeros, and of what is not finite.
    bars : tuple of int
        How many numbers fall in each of 24 equal parts from `low` to `high`.
    """

    mean: float
    deviation: float
    low: float
    high: float
    norm: float
    zeros: float
    broken: float
    bars: tuple[int, ...]


def figures_of(array: np.ndarray[Any, Any]) -> Figures | None:
    """The figures of numbers; None for an array without any.

    Examples
    --------
    >>> import numpy as np
    >>> found = figures_of(np.array([0.0, 1.0, 2.0, np.nan]))
    >>> found.mean, found.high, found.zeros, found.broken, sum(found.bars)
    (1.0, 2.0, 0.25, 0.25, 3)
    """
    if array.size == 0 or array.dtype.kind not in "fiub":
        return None
    numbers = array.astype(np.float64).ravel()
    finite = numbers[np.isfinite(numbers)]
    broken = 1.0 - finite.size / numbers.size
    if finite.size == 0:
        return Figures(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, broken, (0,) * BARS)
    low, high = float(finite.min()), float(finite.max())
    scale = max(abs(low), abs(high)) or 1.0  # squares of the largest numbers would overflow
    scaled = finite / scale
    at = (scaled - low / scale) * (BARS / ((high / scale - low / scale) or 1.0))
    bars = np.bincount(np.minimum(at.astype(np.int64), BARS - 1), minlength=BARS)
    with np.errstate(over="ignore"):
        return Figures(
            float(scaled.mean() * scale), float(scaled.std() * scale), low, high,
            float(np.sqrt(np.square(scaled).sum()) * scale), float(np.mean(numbers == 0)), broken, tuple(bars.tolist()),
        )  # fmt: skip
