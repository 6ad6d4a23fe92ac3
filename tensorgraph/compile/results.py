"""What a runner gives, apart from what it was given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["apart"]

ndarray = np.ndarray


def apart(value: Any, given: Sequence[Any]) -> Any:
    """A result, copied where it lies in the memory of what was given."""
    for array in given:
        if type(array) is ndarray and (
            value is array or (value.base is not None and np.may_share_memory(value, array))
        ):
            return value.copy("K")
    return value
