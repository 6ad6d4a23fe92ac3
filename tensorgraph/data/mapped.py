"""Arrays that stay in their file: NPY and IDX, mapped into memory, a page of which is read when it is looked at."""

from __future__ import annotations

import io
import math
import os
from typing import Any

import numpy as np

from tensorgraph.arguments import PathLike, checked
from tensorgraph.data.arrays import Array
from tensorgraph.data.idx import CHUNK, read_header
from tensorgraph.data.npz import npy_header
from tensorgraph.files import FileFormatError

__all__ = ["open_idx", "open_npy"]


@checked
def open_npy(path: PathLike) -> Array:
    """Open an ``.npy`` file without reading it: rows are read when they are looked at.

    Parameters
    ----------
    path : path-like
        The file, as `numpy.save` or `numpy.lib.format.open_memmap` writes it.

    Returns
    -------
    numpy.memmap
        Read-only, in the file's shape and dtype. `Dataset`, `Loader`, `split`, `Normalizer` and `fit` take it as any
        array and hold no more of it in memory than a batch or a block; shuffling is a full permutation all the same.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FileFormatError
        If it is damaged, cut off or longer than it says, holds Python objects (nothing is ever unpickled), or is
        written column by column (its rows do not lie together).

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> from tensorgraph.data import Dataset, open_npy
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(folder.name, "x.npy")
    >>> np.save(path, np.zeros((1000, 3), np.float32))
    >>> Dataset(open_npy(path), np.zeros(1000, int))
    Dataset(1000 samples, x: float32[1000, 3], y: int64[1000])
    >>> folder.cleanup()
    """
    where = repr(os.fspath(path))
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = io.BytesIO(file.read(CHUNK))
        if head.getvalue()[:2] == b"PK":
            raise FileFormatError(f"{where} is an .npz archive, whose arrays are packed: read_npz reads it")
        shape, fortran, dtype = npy_header(head, "array", where, size)
    if fortran and len(shape) > 1 and math.prod(shape) > 0:
        raise FileFormatError(
            f"{where} is written column by column, so that a row is all over the file; save it as "
            "numpy.ascontiguousarray(x)"
        )
    return _mapped(path, shape, dtype, head.tell())


@checked
def open_idx(path: PathLike) -> Array:
    """Open an IDX file, the format of MNIST, without reading it: rows are read when they are looked at.

    Parameters
    ----------
    path : path-like
        The file, not compressed.

    Returns
    -------
    numpy.memmap
        Read-only, in the file's shape and dtype, of which numbers of several bytes are big endian: batches, and what
        is computed with it, are not. It is taken as `open_npy`'s.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FileFormatError
        If it is gzipped, damaged, cut off or longer than it says.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> from tensorgraph.data import open_idx, write_idx
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(folder.name, "images")
    >>> write_idx(path, np.zeros((5, 28, 28), np.uint8))
    >>> open_idx(path).shape
    (5, 28, 28)
    >>> folder.cleanup()
    """
    where = repr(os.fspath(path))
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if file.read(2) == b"\x1f\x8b":
            raise FileFormatError(f"{where} is gzipped, so that it cannot be mapped: unpack it, or use read_idx")
        file.seek(0)
        shape, dtype = read_header(file, where, size, exact=True)
        return _mapped(path, shape, dtype, file.tell())


def _mapped(path: Any, shape: tuple[int, ...], dtype: np.dtype[Any], offset: int) -> Array:
    if math.prod(shape) == 0:  # no file can be mapped for nothing
        return np.empty(shape, dtype)
    try:
        return np.memmap(path, dtype, "r", offset, shape)
    except ValueError as error:  # more axes than an array can have
        raise FileFormatError(f"{os.fspath(path)!r} has shape {shape}, which no array can have ({error})") from error
