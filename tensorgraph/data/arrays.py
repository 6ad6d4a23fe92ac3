"""How the data room takes arrays: one conversion, one check, one message each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, TypeAlias

import numpy as np

from tensorgraph.arguments import RAW, Kind, Unfit, is_raw
from tensorgraph.data.rows import Rows
from tensorgraph.engine.aval import canonical_dtype, default_dtype

Array = np.ndarray[Any, np.dtype[Any]]

# rows are worked on in blocks of about this many elements, so that float64 copies stay small (8 MB)
BLOCK = 1 << 20


def as_array(value: Any, name: str) -> Array:
    """A NumPy array of numbers or booleans from anything `numpy.asarray` takes, or from a Tensor.

    Rows in a file stay there, and are used as an array is.
    """
    if isinstance(value, Rows):
        return value  # type: ignore[return-value]
    if hasattr(value, "mask"):
        raise TypeError(f"{name} is a masked array, whose hidden numbers do not count: fill them, array.filled(value)")
    if not isinstance(value, np.ndarray) and hasattr(value, "numpy"):
        value = value.numpy()
    try:
        array: Array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} cannot be made an array ({error}); its rows must have equal lengths") from error
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"{name} has dtype {array.dtype}, expected numbers or booleans; convert it to float or integer codes first"
        )
    return array


def _numbers(value: Any, kind: Kind) -> Array:
    """An array of any shape; of what is none, the remedy."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf" and not hasattr(value, "mask"):
        return value
    if isinstance(value, Rows):
        return value  # type: ignore[return-value]
    if isinstance(value, (str, set, frozenset, dict)) or value is None or callable(value):
        kind.refuse(value, "a set has no order: pass a list" if isinstance(value, (set, frozenset)) else "")
    if is_raw(value):
        kind.refuse(value, RAW)
    if isinstance(value, Iterator):
        kind.refuse(value, "read it into a list first: list(...)")
    try:
        return as_array(value, "it")
    except (TypeError, ValueError) as error:
        raise Unfit(kind.expected, value, str(error), type(error)) from None


Numbers: TypeAlias = Annotated[Any, Kind("an array of numbers or booleans", _numbers)]


def same_length(arrays: list[Array], names: list[str]) -> int:
    """The common length of the arrays' first axis."""
    for array, name in zip(arrays, names):
        if array.ndim == 0:
            raise ValueError(f"{name} is a single number, expected an array whose first axis runs over the samples")
    lengths = [len(array) for array in arrays]
    if len(set(lengths)) > 1:
        told = ", ".join(f"{name} {length}" for name, length in zip(names, lengths))
        raise ValueError(f"the arrays have different numbers of samples ({told}); their first axes must be equal")
    return lengths[0]


def float_dtype(dtype: Any) -> np.dtype[Any]:
    """The float dtype asked for, or the library's default dtype for None."""
    return default_dtype() if dtype is None else canonical_dtype(dtype)


def cast_floats(array: Array, dtype: np.dtype[Any], name: str) -> Array:
    """The array in the given dtype if it holds floats; integers and booleans stay what they are."""
    if array.dtype.kind != "f" or array.dtype == dtype:
        return array
    try:
        with np.errstate(over="raise"):
            return array.astype(dtype, copy=False)
    except FloatingPointError as error:
        raise ValueError(
            f"{name} holds numbers beyond {dtype}; normalise them first, or pass a wider dtype="
        ) from error


def check_finite(array: Array, what: str, first_row: int = 0) -> None:
    """Raise for the first nan or infinity, with its position. What is large is looked at block by block."""
    if array.dtype.kind != "f" or getattr(array, "finite", False):
        return
    if array.ndim == 0 or array.size <= BLOCK:
        _check_block(np.asarray(array), what, first_row)
        return
    for start, rows in blocks(array):
        _check_block(rows, what, first_row + start)


def _check_block(array: Array, what: str, first_row: int) -> None:
    if bool(np.isfinite(array).all()):
        return
    index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
    value = array[index]
    index = (index[0] + first_row, *index[1:]) if index else index
    raise ValueError(
        f"{what} holds {value} at position {index}, expected finite numbers; remove such rows or fill the gaps first"
    )


def blocks(x: Array) -> Iterator[tuple[int, Array]]:
    """The rows in blocks of bounded size, with the number of each block's first row."""
    step = max(1, BLOCK // max(1, x.size // max(1, len(x))))
    for start in range(0, len(x), step):
        yield start, x[start : start + step]


def bounds(labels: Array) -> tuple[int, int]:
    """The least and the greatest of at least one whole number."""
    pairs = [(int(rows.min()), int(rows.max())) for _, rows in blocks(labels)]
    return min(low for low, _ in pairs), max(high for _, high in pairs)


def count(value: Any, name: str, least: int = 1) -> int:
    """A whole number not below `least`; booleans and fractions are refused."""
    if isinstance(value, bool | np.bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} is a whole number, got {value!r} ({type(value).__name__})")
    if value < least:
        raise ValueError(f"{name} is at least {least}, got {value}")
    return int(value)
