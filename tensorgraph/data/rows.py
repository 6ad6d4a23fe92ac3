"""Rows that stay in a file until they are asked for: what a data set holds in place of an array that would not fit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__ = ["Picked", "Rows", "in_file", "pick"]

Array = np.ndarray[Any, np.dtype[Any]]


class Rows:
    """An array's rows, read when they are asked for: ``rows[3]``, ``rows[10:20]``, ``rows[[5, 1]]`` are new arrays.

    Loaders, `Dataset`, `split`, `Normalizer`, `fit`, `predict` and `evaluate` take it where an array may stand, and
    read batches and blocks of it. ``numpy.asarray(rows)`` reads all. For a format of one's own: a class with `shape`,
    `dtype` and `read`.

    Attributes
    ----------
    shape : tuple of int
        (N, ...)
    dtype : numpy.dtype
    finite : bool
        Whether it is known that every number is finite.

    Examples
    --------
    >>> import numpy as np
    >>> from tensorgraph.data import Dataset, Rows, minibatches
    >>> class Squares(Rows):
    ...     shape, dtype = (1000, 1), np.dtype("float32")
    ...     def read(self, rows):
    ...         return np.square(rows, dtype="float32")[:, None]
    >>> x, y = next(iter(minibatches(Dataset(Squares(), np.arange(1000)), batch_size=3)))
    >>> bool((x[:, 0] == y**2).all())
    True
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    finite: bool = False

    def read(self, rows: Array) -> Array:
        """The rows at these positions, each from 0 to N − 1, as a new array."""
        raise NotImplementedError

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Array:
        if isinstance(key, tuple) or key is None or key is Ellipsis:
            raise TypeError(
                f"rows in a file are taken by an integer, a slice or an array of positions, got {key!r}; index what "
                "comes: rows[10:20][:, 0]"
            )
        if isinstance(key, slice):
            return self.read(np.arange(*key.indices(len(self))))
        index = np.asarray(key)
        if index.dtype.kind == "b":
            if index.shape != (len(self),):
                raise IndexError(f"a mask of rows has the shape ({len(self)},), got {index.shape}")
            index = np.flatnonzero(index)
        if index.size == 0:
            index = index.astype(np.int64)
        if index.dtype.kind not in "iu" or index.ndim > 1:
            raise TypeError(f"rows in a file are taken by whole numbers along one axis, got {index.dtype}{index.shape}")
        outside = (index < -len(self)) | (index >= len(self))
        if outside.any():
            raise IndexError(f"row {int(index[outside].flat[0])} is none of the {len(self)} rows")
        found = self.read(np.atleast_1d(np.where(index < 0, index + len(self), index)))
        return found if index.ndim else found[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("rows in a file are read to make an array of them, which copies")
        return self[:].astype(self.dtype if dtype is None else dtype, copy=False)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.dtype}[{', '.join(map(str, self.shape))}])"


class Picked(Rows):
    """Some rows of others, in an order of their own; nothing is read before it is asked for."""

    def __init__(self, rows: Any, index: Array) -> None:
        self._rows, self._index = rows, index
        self.shape, self.dtype = (len(index), *rows.shape[1:]), rows.dtype.newbyteorder("=")
        self.finite = getattr(rows, "finite", False)

    def read(self, rows: Array) -> Array:
        found: Array = self._rows[self._index[rows]]
        return np.asarray(found).astype(self.dtype, copy=False)


def in_file(array: Any) -> bool:
    """Whether an array's numbers are in a file: `Rows`, a `numpy.memmap`, or a view of one."""
    while array is not None:
        if isinstance(array, Rows | np.memmap):
            return True
        array = getattr(array, "base", None)
    return False


def pick(array: Any, index: Array) -> Any:
    """The rows at these positions: copied, or left in the file they are in."""
    if not in_file(array):
        return array[index]
    chosen = np.arange(len(array))[index]
    return Picked(array._rows, array._index[chosen]) if isinstance(array, Picked) else Picked(array, chosen)
