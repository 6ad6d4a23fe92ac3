"""Arrays as kernels take them."""

from __future__ import annotations

from typing import Any

import numpy as np


class _Window:
    """Stands for the memory of an array that is marked read-only, or for all that lies between; keeps it alive."""

    __slots__ = ("__array_interface__", "owner")

    def __init__(self, owner: np.ndarray[Any, Any], before: int = 0, size: int | None = None) -> None:
        self.owner = owner
        interface = dict(owner.__array_interface__)
        interface["data"] = (interface["data"][0] - before * owner.itemsize, False)
        if size is not None:
            interface.update(shape=(size,), strides=None)
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


def memory_row(x: np.ndarray[Any, Any], before: int, size: int) -> np.ndarray[Any, Any]:
    """The memory that an array of any layout lies in as one row, for kernels that only read it.

    Parameters
    ----------
    x : ndarray
        Aligned and native.
    before : int
        How many elements lie before the first one, where axes are walked backwards.
    size : int
        How many there are from the lowest to the highest address.

    Returns
    -------
    ndarray
        A view, also where `x` is read-only.
    """
    if x.size == size and x.flags.carray:
        return x.reshape(size)
    return np.asarray(_Window(x, before, size))
