"""Arrays as kernels take them."""

from __future__ import annotations

from typing import Any

import numpy as np


class _Window:
    """Stands for the memory of an array that is marked read-only; keeps it alive."""

    __slots__ = ("__array_interface__", "owner")

    def __init__(self, owner: np.ndarray[Any, Any]) -> None:
        self.owner = owner
        interface = dict(owner.__array_interface__)
        interface["data"] = (interface["data"][0], False)
        self.__array_interface__ = interface


def uniform(x: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """`x` as the one kind of array that kernels are compiled for: C-contiguous, aligned, native, not read-only.

    Read-only arrays are another type for Numba and would compile every kernel twice. Kernels never write to what
    they take as input, so the mark is dropped without a copy.

    Parameters
    ----------
    x : ndarray
        Any layout.
    dtype : dtype
        Wanted dtype.

    Returns
    -------
    ndarray
        `x` itself where it is so already, a view where only the mark is in the way, else a copy.
    """
    if x.dtype is dtype and x.flags.carray and type(x) is np.ndarray:
        return x
    x = np.require(x, dtype, ["C", "A", "E"]).reshape(x.shape)
    return x if x.flags.writeable else np.asarray(_Window(x))
