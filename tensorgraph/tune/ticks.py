"""Where an axis of a hyperparameter has its marks, in places of its scale, and what they say."""

from __future__ import annotations

import math
from typing import Any

from tensorgraph.tune.scales import Choice, Ewa, Int, Log, LogInt, Pow2, Scale

__all__ = ["ticks"]

MOST = 6


def ticks(scale: Scale) -> list[tuple[float, str]]:
    """Places and words of the marks, at most about six."""
    if isinstance(scale, Choice):
        return [(scale.place(option), str(option)) for option in scale.options]
    if isinstance(scale, Pow2):
        low, high = (int(end) for end in scale.ends())
        return [(float(k), str(1 << k)) for k in range(low, high + 1, -(-(high - low + 1) // MOST))]
    if isinstance(scale, LogInt):
        return [(scale.place(value), str(value)) for value in scale.spaced(5)]
    if isinstance(scale, Int):
        return [(float(k), str(k)) for k in range(scale.low, scale.high + 1, -(-(scale.high - scale.low + 1) // MOST))]
    if isinstance(scale, Log):
        return _decades(scale, lambda k: (float(k), _short(10.0**k)))
    if isinstance(scale, Ewa):
        return _decades(scale, lambda k: (float(k), _short(1.0 - 10.0**-k)))
    values = scale.spaced(5)
    return list(zip(values, _words(values, 3)))


def _decades(scale: Scale, mark: Any) -> list[tuple[float, str]]:
    """Whole powers of ten; of a range that has not two of them some values between."""
    low, high = scale.ends()
    whole = range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)
    if len(whole) >= 2:
        return [mark(k) for k in whole[:: -(-len(whole) // MOST)]]
    values = scale.spaced(4)
    return list(zip(map(scale.place, values), _words(values, 3 if isinstance(scale, Log) else 5)))


def _words(values: list[float], digits: int) -> list[str]:
    """Values in as few digits as tell them apart, at least so many."""
    words = [f"{value:.{digits}g}" for value in values]
    return words if len({*words}) == len({*values}) or digits >= 17 else _words(values, digits + 1)


def _short(value: float) -> str:
    """A power of ten, or one less a power of ten."""
    return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e") if value < 1e-3 or value >= 1e4 else f"{value:.10g}"
