"""Named arrays in a safetensors container: plain bytes with a checksum; nothing is ever unpickled."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tensorgraph.arguments import Count, Name, PathLike, checked
from tensorgraph.files.atomic import atomic_write
from tensorgraph.files.errors import FileFormatError, MissingExtraError

__all__ = ["load_tensors", "read_metadata", "save_tensors"]

# safetensors' names of the dtypes that a NumPy array and a Tensor can hold
DTYPES = {
    "BOOL": "bool", "U8": "uint8", "U16": "uint16", "U32": "uint32", "U64": "uint64", "I8": "int8", "I16": "int16",
    "I32": "int32", "I64": "int64", "F16": "float16", "F32": "float32", "F64": "float64",
}  # fmt: skip
# all that is ours stands under one key: safetensors writes several keys in an order that changes from run to run
KEY = "tensorgraph"


@checked
def save_tensors(
    path: PathLike,
    arrays: Mapping[str, Any],
    metadata: Mapping[str, Any] | None = None,
    *,
    format: Name = "tensors",
    version: Count = 1,
    private: bool = False,
) -> None:
    """Save named arrays and structured metadata in one safetensors file, atomically.

    Parameters
    ----------
    path : path-like
        The file, by custom ``*.safetensors``.
    arrays : mapping of str to array
        Anything `numpy.asarray` takes, and Tensors: bool, integers, float16, float32, float64, of any shape, 0-d and
        empty included. The bits, the order of the names and the shapes come back; byte order and strides do not.
    metadata : mapping, optional
        What JSON can say: nested dicts with string keys, lists, strings, numbers, booleans, None. Tuples come back as
        lists; NumPy scalars as Python numbers; nan and infinities are kept.
    format : str
        The name of what the file holds; `load_tensors` refuses a file of another name.
    version : int
        The version of that format, from 1; `load_tensors` refuses a newer one.
    private : bool
        Whether a new file is for its owner alone (0600), whatever the umask.

    Raises
    ------
    MissingExtraError
        If safetensors is not installed.
    TypeError
        If a name is not a string, a dtype has no place in the format (complex, text, objects), or the metadata holds
        something that JSON cannot say.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> from tensorgraph.files import load_tensors, save_tensors
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "model.safetensors")
    ...     save_tensors(path, {"weight": np.eye(2), "step": 7}, {"classes": ["cat", "dog"]})
    ...     arrays, metadata = load_tensors(path)
    >>> arrays["weight"], int(arrays["step"]), metadata
    (array([[1., 0.],
           [0., 1.]]), 7, {'classes': ['cat', 'dog']})
    """
    if type(format) is not str or type(version) is not int or version < 1:
        raise TypeError(f"format is a string and version a whole number from 1, got {format!r} and {version!r}")
    safetensors = _safetensors()
    plain = {_name(name): _plain_array(name, value) for name, value in arrays.items()}
    envelope: dict[str, Any] = {
        "format": format,
        "version": version,
        "names": list(plain),
        "metadata": dict(metadata or {}),
    }
    _check_json(envelope["metadata"], "metadata")
    envelope = json.loads(_to_json(envelope))  # as it will be read, so that the checksum is over the same text
    envelope["crc32"] = _checksum(envelope, plain)
    atomic_write(path, safetensors.numpy.save(plain, metadata={KEY: _to_json(envelope)}), private=private)


@checked
def load_tensors(
    path: PathLike, *, format: Name = "tensors", version: Count = 1
) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, Any]]:
    """Load what `save_tensors` saved; the whole file is checked before anything is returned.

    Parameters
    ----------
    path : path-like
        The file.
    format, version
        What the caller can read: files of another format, or of a newer version, are refused.

    Returns
    -------
    arrays : dict of str to numpy.ndarray
        New, writable arrays in the order in which they were saved.
    metadata : dict
        The metadata.

    Raises
    ------
    MissingExtraError
        If safetensors is not installed.
    FileNotFoundError
        If there is no such file.
    FileFormatError
        If the file is damaged, cut off, or was not written by `save_tensors` in this format.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from tensorgraph.files import load_tensors, save_tensors
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "model.safetensors")
    ...     save_tensors(path, {"w": [1.0, 2.0]})
    ...     path.write_bytes(path.read_bytes()[:-1])  # cut off
    ...     load_tensors(path)
    Traceback (most recent call last):
    tensorgraph.files.FileFormatError: ...
    """
    safetensors = _safetensors()
    where = repr(os.fspath(path))
    data = Path(path).read_bytes()
    envelope = _open_envelope(where, _read_header(where, data, len(data)), format, version)
    try:
        found = safetensors.numpy.load(data)
    except Exception as error:  # the reader of another project: whatever it says, the file is what is wrong
        raise FileFormatError(f"{where} is damaged ({error}); restore it from a copy or save it again") from error
    expected = envelope.pop("crc32")
    if sorted(found) != sorted(envelope["names"]) or _checksum(envelope, found) != expected:
        raise FileFormatError(f"{where} is damaged: its checksum is wrong; restore it from a copy or save it again")
    # found arrays may lie on read-only bytes; a copy is writable and aligned
    return {name: np.array(found[name]) for name in envelope["names"]}, envelope["metadata"]


def read_metadata(path: PathLike, *, format: str, version: int) -> dict[str, Any]:
    """The metadata of what `save_tensors` saved, without its arrays, whose checksum is not looked at.

    Raises
    ------
    FileNotFoundError, FileFormatError
        As `load_tensors`.
    """
    where = repr(os.fspath(path))
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(8)
        data = start + file.read(min(int.from_bytes(start, "little"), size))
    envelope = _open_envelope(where, _read_header(where, data, size), format, version)
    return envelope["metadata"]  # type: ignore[no-any-return]


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise MissingExtraError(
            'saving and loading need safetensors: install it with `pip install "tensorgraph-engine[save]"`'
        ) from error
    return safetensors


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"the arrays' names are strings, got {name!r} ({type(name).__name__})")
    if name == "__metadata__":
        raise ValueError("'__metadata__' is kept by the safetensors format; give the array another name")
    return name


def _plain_array(name: str, value: Any) -> np.ndarray[Any, Any]:
    """A contiguous array in this machine's byte order."""
    if not isinstance(value, np.ndarray) and hasattr(value, "numpy"):
        value = value.numpy()
    array = np.asarray(value)
    if array.dtype.name not in DTYPES.values():
        raise TypeError(
            f"array {name!r} has dtype {array.dtype}; a file holds bool, integers, float16, float32 and float64, "
            "so convert it with .astype(...) first"
        )
    return array.astype(array.dtype.newbyteorder("="), order="C", copy=False)


def _to_json(value: Any) -> str:
    # NumPy's scalars are all that `_check_json` lets through and json does not know
    return json.dumps(value, default=lambda scalar: scalar.item(), separators=(",", ":"))


def _check_json(value: Any, where: str, depth: int = 0) -> None:
    """Refuse what JSON would change without a word (keys that are no strings) or cannot say."""
    if depth > 100:
        raise ValueError("the metadata is nested more than 100 deep, or contains itself")
    if isinstance(value, Mapping):
        if not isinstance(value, dict):
            raise TypeError(f"{where} is a {type(value).__name__}; JSON needs a dict: pass dict(...)")
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"{where} has the key {key!r}; JSON keys are strings: pass str({key!r})")
            _check_json(item, f"{where}[{key!r}]", depth + 1)
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            _check_json(item, f"{where}[{i}]", depth + 1)
    elif isinstance(value, np.ndarray):
        raise TypeError(f"{where} is an array; save it among the arrays, or pass .tolist()")
    elif value is not None and not isinstance(value, str | bool | int | float | np.bool | np.integer | np.floating):
        raise TypeError(f"{where} is of type {type(value).__name__}, which JSON cannot say; convert it first")


def _checksum(envelope: Mapping[str, Any], arrays: Mapping[str, np.ndarray[Any, Any]]) -> int:
    """CRC-32 over the metadata and over every array's name, dtype, shape and bytes."""
    crc = zlib.crc32(_to_json(envelope).encode())
    for name in envelope["names"]:
        array = arrays[name]
        crc = zlib.crc32(_to_json([name, array.dtype.name, list(array.shape)]).encode(), crc)
        if array.size:
            crc = zlib.crc32(array.reshape(-1).view(np.uint8).data, crc)
    return crc


def _read_header(where: str, data: bytes, size: int) -> dict[str, Any]:
    """The JSON header of a safetensors file: 8 bytes of length (little endian), then that many bytes of text."""
    if size < 8:
        raise FileFormatError(f"{where} has {size} bytes, too few for a safetensors file; save it again")
    length = int.from_bytes(data[:8], "little")
    if data[8:9] != b"{" or length > size - 8:
        raise FileFormatError(f"{where} {_what_is_wrong(data)}; restore it from a copy or save it again")
    try:
        header = json.loads(data[8 : 8 + length].decode(), object_pairs_hook=_unique)
        # every end of a tensor's bytes, for a plain word about files that were cut off
        ends = [item["data_offsets"][1] for key, item in header.items() if key != "__metadata__"]
        dtypes = {key: item["dtype"] for key, item in header.items() if key != "__metadata__"}
        missing = max(ends, default=0) - (size - 8 - length)
    except (ValueError, RecursionError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise FileFormatError(
            f"{where} has a damaged header ({error}); restore it from a copy or save it again"
        ) from error
    if missing > 0:
        raise FileFormatError(f"{where} is cut off: {missing} bytes are missing; copy it again or save it again")
    for name, dtype in dtypes.items():
        if not isinstance(dtype, str) or dtype not in DTYPES:
            raise FileFormatError(
                f"{where} holds {name!r} with dtype {dtype!r}, expected one of {', '.join(DTYPES)}; "
                "convert it with the program that wrote it"
            )
    return header  # type: ignore[no-any-return]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object and refuse two entries of one name (the later would hide the earlier)."""
    result = dict(pairs)
    if len(result) != len(pairs):
        names = [key for key, _ in pairs]
        raise ValueError(f"the name {next(n for n in names if names.count(n) > 1)!r} stands there twice")
    return result


def _what_is_wrong(data: bytes) -> str:
    if data.startswith(b"PK\x03\x04"):
        return "is a zip archive (an .npz file, or one of PyTorch's), not a safetensors file"
    if data.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")) and data[8:9] != b"{":
        return "is a Python pickle, which is never loaded because it can run any code, not a safetensors file"
    if data.startswith(b"\x93NUMPY"):
        return "is an .npy file, not a safetensors file"
    if data[8:9] == b"{":
        return f"is cut off or damaged: its header should have {int.from_bytes(data[:8], 'little')} bytes"
    return "is not a safetensors file"


def _open_envelope(where: str, header: Mapping[str, Any], format: str, version: int) -> dict[str, Any]:
    """The envelope of a file of this format, and of no newer version."""
    envelope = _read_envelope(where, header)
    if envelope["format"] != format:
        raise FileFormatError(
            f"{where} holds {envelope['format']!r}, expected {format!r}; load it with the function that reads that"
        )
    if envelope["version"] > version:
        raise FileFormatError(
            f"{where} is {format!r} of version {envelope['version']}, this tensorgraph reads up to {version}; "
            "upgrade with `pip install --upgrade tensorgraph-engine`"
        )
    return envelope


def _read_envelope(where: str, header: Mapping[str, Any]) -> dict[str, Any]:
    """What `save_tensors` wrote under its key, checked for type."""
    others = header.get("__metadata__")
    if not isinstance(others, dict) or KEY not in others:
        raise FileFormatError(
            f"{where} is a safetensors file of another program; read its arrays with safetensors.numpy.load_file"
        )
    try:
        envelope = json.loads(others[KEY], object_pairs_hook=_unique)
        kinds = {"format": str, "version": int, "names": list, "metadata": dict, "crc32": int}
        for key, kind in kinds.items():
            if type(envelope[key]) is not kind:
                raise ValueError(f"{key} is not of type {kind.__name__}")
        if not all(isinstance(name, str) for name in envelope["names"]):
            raise ValueError("a name is not a string")
    except (ValueError, RecursionError, TypeError, KeyError) as error:
        raise FileFormatError(
            f"{where} has damaged metadata ({error}); restore it from a copy or save it again"
        ) from error
    return envelope  # type: ignore[no-any-return]
