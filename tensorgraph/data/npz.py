"""NPZ: NumPy's own archive of named arrays, read without trusting what it says of itself."""

from __future__ import annotations

import io
import math
import os
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from tensorgraph.arguments import ClassNames, Name, PathLike, checked
from tensorgraph.data.arrays import Array, cast_floats, float_dtype
from tensorgraph.data.dataset import Dataset
from tensorgraph.data.idx import CHUNK, DEFLATE_RATIO
from tensorgraph.engine.aval import FloatDType
from tensorgraph.files import FileFormatError

__all__ = ["npy_header", "read_npz"]


class _NoSuchArray(ValueError):
    """The archive is whole; the name asked for is not in it."""


@checked
def read_npz(
    path: PathLike,
    *,
    x: Name = "x",
    y: Name | None = "y",
    class_names: ClassNames | None = None,
    dtype: FloatDType | None = None,
) -> Dataset:
    """Read samples and labels from an ``.npz`` archive.

    Parameters
    ----------
    path : path-like
        The file, as `numpy.savez` or `numpy.savez_compressed` writes it.
    x, y : str
        The names of the arrays in the archive, such as ``"x_train"``; ``y=None`` for data without labels. Other
        arrays in it are not read.
    class_names : sequence of str, optional
        What the labels mean.
    dtype : float dtype, optional
        Float arrays are cast to it, to the library's default unless given; integers stay integers.

    Returns
    -------
    Dataset
        The samples and labels.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FileFormatError
        If the file is damaged or cut off, holds Python objects (nothing is ever unpickled), or promises more than it
        holds (memory is taken for what is there).
    ValueError
        If there is no array of that name; the message lists those there are.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> from tensorgraph.data import read_npz
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "shapes.npz")
    ...     np.savez_compressed(path, x=np.zeros((4, 3)), y=[0, 1, 1, 0])
    ...     read_npz(path)
    Dataset(shapes, 4 samples, x: float32[4, 3], y: int64[4])
    """
    where = repr(os.fspath(path))
    wanted = [x] if y is None else [x, y]
    float_type = float_dtype(dtype)
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(6)
        if start == b"\x93NUMPY":
            raise FileFormatError(f"{where} is a single .npy array; open it with open_npy(path) and make a Dataset")
        try:
            with zipfile.ZipFile(file) as archive:
                arrays = [_member(archive, name, where, size) for name in wanted]
        except (FileFormatError, MemoryError):
            raise
        except _NoSuchArray as error:
            raise ValueError(str(error)) from None
        except Exception as error:  # zipfile and zlib name a damaged archive in a dozen ways
            raise FileFormatError(
                f"{where} is not a whole .npz archive ({error}); save or download it again"
            ) from error
    for name, array in zip(wanted, arrays):
        if array.ndim == 0 or len(array) != len(arrays[0]):
            raise FileFormatError(
                f"{where} holds {wanted[0]!r} of shape {arrays[0].shape} and {name!r} of shape {array.shape}; "
                "their first axes run over the samples and must be equal"
            )
    columns = [cast_floats(array, float_type, f"{where}: {name!r}") for name, array in zip(wanted, arrays)]
    return Dataset(columns[0], None if y is None else columns[1], class_names, name=Path(path).stem)


def _member(archive: zipfile.ZipFile, name: str, where: str, size: int) -> Array:
    infos = {info.filename: info for info in archive.infolist()}
    info = infos.get(f"{name}.npy", infos.get(name))
    if info is None:
        known = ", ".join(repr(other.removesuffix(".npy")) for other in infos) or "none"
        raise _NoSuchArray(f"{where} has no array {name!r}; its arrays are {known}: pass x= and y= by name")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise FileFormatError(f"{where} packs {name!r} by a method that NumPy does not write; save it again with NumPy")
    most = min(info.compress_size, size) * (1 if info.compress_type == zipfile.ZIP_STORED else DEFLATE_RATIO)
    if info.file_size > most:
        raise FileFormatError(
            f"{where} promises {info.file_size} bytes of {name!r} in {info.compress_size}, which is impossible: "
            "it is damaged; save or download it again"
        )
    with archive.open(info) as member:
        return _array(member, name, where, info.file_size)


def npy_header(head: IO[bytes], name: str, where: str, size: int) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether column by column, and dtype of an .npy of `size` bytes, whose beginning is then at the numbers.

    `head` is a piece, because the header's length field would be believed too.
    """
    try:
        version = np.lib.format.read_magic(head)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"version {version} of .npy is for arrays with named fields")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(head)
    except Exception as error:
        raise FileFormatError(
            f"{where} has a damaged header of {name!r} ({error}); save or download it again"
        ) from error
    if dtype.kind not in "biuf":
        what = "Python objects, which are never unpickled" if dtype.hasobject else f"{dtype}"
        raise FileFormatError(f"{where} holds {name!r} of {what}; save it as an array of numbers")
    expected = math.prod(shape) * dtype.itemsize
    if any(type(n) is not int or n < 0 for n in shape) or head.tell() + expected != size:
        raise FileFormatError(
            f"{where} promises {name!r} of {dtype}{list(shape)}, {expected} bytes, and holds {size - head.tell()}: "
            "it is damaged; save or download it again"
        )
    return shape, fortran, dtype


def _array(member: IO[bytes], name: str, where: str, size: int) -> Array:
    """Read one .npy: its header is believed only as far as there are bytes for it."""
    head = io.BytesIO(member.read(min(size, CHUNK)))
    shape, fortran, dtype = npy_header(head, name, where, size)
    expected = math.prod(shape) * dtype.itemsize
    data = bytearray(head.read())
    while chunk := member.read(CHUNK):
        data += chunk
    if len(data) != expected:
        raise FileFormatError(f"{where} is cut off within {name!r}: {len(data)} of {expected} bytes; save it again")
    array: Array = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
    return array if dtype.isnative else array.astype(dtype.newbyteorder("="))
