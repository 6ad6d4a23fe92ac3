"""IDX, the format of MNIST: a magic number, the dimensions, then the elements, all big endian; often gzipped."""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from typing import Any, BinaryIO

import numpy as np

from tensorgraph.arguments import PathLike, checked
from tensorgraph.data.arrays import Array, Numbers
from tensorgraph.files import FileFormatError, atomic_file

__all__ = ["read_header", "read_idx", "write_idx"]

# the third byte of the magic number says the type
TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
# deflate makes at most 1032 bytes of one: a file that promises more is lying
DEFLATE_RATIO = 1032
CHUNK = 1 << 20


@checked
def read_idx(path: PathLike) -> Array:
    """Read an IDX file, plain or gzipped (seen from its content, not its name).

    Parameters
    ----------
    path : path-like
        The file, such as ``train-images-idx3-ubyte.gz``.

    Returns
    -------
    numpy.ndarray
        The array, in its own shape and dtype (uint8, int8, int16, int32, float32 or float64), writable.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FileFormatError
        If the file is damaged, cut off, goes on after the last element, or is not IDX. Memory is taken for what the
        file holds, never for what its header promises.

    References
    ----------
    Y. LeCun, C. Cortes and C. Burges, The MNIST database of handwritten digits.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> from tensorgraph.data import Dataset, read_idx, write_idx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     images, labels = pathlib.Path(folder, "images.gz"), pathlib.Path(folder, "labels")
    ...     write_idx(images, np.zeros((5, 28, 28), np.uint8))
    ...     write_idx(labels, np.arange(5, dtype=np.uint8))
    ...     Dataset(read_idx(images), read_idx(labels))
    Dataset(5 samples, x: uint8[5, 28, 28], y: uint8[5])
    """
    where = repr(os.fspath(path))
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        zipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        try:
            if not zipped:
                return _read(file, where, size, exact=True)
            with gzip.GzipFile(fileobj=file) as content:
                return _read(content, where, size * DEFLATE_RATIO, exact=False)  # type: ignore[arg-type]
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise FileFormatError(f"{where} is a damaged or cut off gzip file ({error}); download it again") from error


def read_header(file: BinaryIO, where: str, most: int, *, exact: bool) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of a stream of at most `most` bytes (`exact`: just as many), which is then at the data."""
    magic = file.read(4)
    if len(magic) < 4:
        raise FileFormatError(f"{where} has {len(magic)} bytes, too few for an IDX file; download it again")
    zero, code, ndim = struct.unpack(">HBB", magic)
    if zero or code not in TYPES:
        raise FileFormatError(
            f"{where} begins with 0x{magic.hex()}, expected an IDX magic number such as 0x00000803: "
            "it is no IDX file, or a damaged one"
        )
    dims = file.read(4 * ndim)
    if len(dims) < 4 * ndim:
        raise FileFormatError(f"{where} ends within its {ndim} dimensions; download it again")
    shape = struct.unpack(f">{ndim}I", dims)
    dtype = np.dtype(TYPES[code])
    expected = math.prod(shape) * dtype.itemsize
    room = most - 4 - 4 * ndim
    if expected > room or (exact and expected != room):
        raise _wrong_size(where, shape, dtype, expected, f"{'' if exact else 'at most '}{room}")
    return shape, dtype


def _read(file: BinaryIO, where: str, most: int, *, exact: bool) -> Array:
    """Read from a stream that holds at most `most` bytes (`exact`: just as many)."""
    shape, dtype = read_header(file, where, most, exact=exact)
    expected = math.prod(shape) * dtype.itemsize
    data = bytearray()
    while len(data) < expected and (chunk := file.read(min(CHUNK, expected - len(data)))):
        data += chunk
    if len(data) < expected:
        raise _wrong_size(where, shape, dtype, expected, str(len(data)))
    if file.read(1):
        raise _wrong_size(where, shape, dtype, expected, "more")
    try:
        array = np.frombuffer(data, dtype).reshape(shape)
    except ValueError as error:  # more axes, or longer ones beside an empty one, than an array can have
        raise FileFormatError(f"{where} has shape {shape}, which no array can have ({error})") from error
    if not array.dtype.isnative:
        array = array.byteswap(inplace=True).view(dtype.newbyteorder("="))
    return array


def _wrong_size(where: str, shape: tuple[int, ...], dtype: np.dtype[Any], expected: int, came: str) -> FileFormatError:
    return FileFormatError(
        f"{where} promises {dtype.name}{list(shape)}, {expected} bytes, and holds {came}: it is cut off or damaged; "
        "download it again"
    )


@checked
def write_idx(path: PathLike, array: Numbers) -> None:
    """Write an array as an IDX file, atomically; gzipped if the name ends in ``.gz``.

    Parameters
    ----------
    path : path-like
        The file.
    array : array
        uint8, int8, int16, int32, float32 or float64, of at most 64 axes.

    Raises
    ------
    TypeError
        If the format has no such dtype.
    ValueError
        If a dimension does not fit in 32 bits.
    """
    values = np.asarray(array.numpy() if hasattr(array, "numpy") else array)
    codes = {np.dtype(name).newbyteorder("="): code for code, name in TYPES.items()}
    code = codes.get(values.dtype.newbyteorder("="))
    if code is None:
        raise TypeError(
            f"an IDX file holds {', '.join(d.name for d in codes)}, got {values.dtype}; convert with .astype(...)"
        )
    if any(d >= 1 << 32 for d in values.shape):
        raise ValueError(f"shape {values.shape} has a dimension that does not fit in IDX's 32 bits")
    header = struct.pack(f">HBB{values.ndim}I", 0, code, values.ndim, *values.shape)
    content = values.astype(TYPES[code], order="C", copy=False)
    with atomic_file(path) as file:
        if os.fspath(path).endswith(".gz"):
            # no name and no time inside: equal arrays give equal files
            with gzip.GzipFile(fileobj=file, mode="wb", filename="", mtime=0) as zipped:
                zipped.write(header)
                zipped.write(content.tobytes())
        else:
            file.write(header)
            file.write(content.tobytes())
