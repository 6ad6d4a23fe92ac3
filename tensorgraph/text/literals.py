"""Python values in a text: printed so that they come back with their type, sign and every bit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgraph.engine.aval import Aval, Number, canonical_dtype, short_dtype

__all__ = ["INLINE", "array_text", "aval_text", "literal_text", "quoted", "read_array",
           "shown", "written_key"]  # fmt: skip

INLINE = 32  # elements of a captured array up to which it is written out


def literal_text(value: Any) -> str:
    """A literal: a number, a string, None, a tuple of literals.

    Examples
    --------
    >>> literal_text((1, 0.1, float("-inf"), True, "relu"))
    '(1, 0.1, float("-inf"), True, "relu")'
    """
    if type(value) is float and not math.isfinite(value):
        return f'float("{value}")'
    if type(value) in (tuple, list):
        inside = ", ".join(literal_text(item) for item in value)
        if type(value) is list:
            return f"[{inside}]"
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    if value is Ellipsis:
        return "..."
    if type(value) is str:
        return quoted(value)
    return shown(value)


def written_key(key: Any) -> tuple[Any, ...]:
    """A key of integers, slices, ``None`` and ``...`` as the attribute of an op.

    Examples
    --------
    >>> written_key((slice(None), 3, None, ...))
    (('slice', None, None, None), 3, 'newaxis', '...')
    """
    found: list[Any] = []
    for item in key if type(key) is tuple else (key,):
        if isinstance(item, slice):
            found.append(("slice", item.start, item.stop, item.step))
        elif item is None or item is ...:
            found.append("newaxis" if item is None else "...")
        elif type(item) is int:
            found.append(item)
        else:
            raise TypeError(f"s_[...] is of integers, slices, None and ..., got {shown(item)}")
    return tuple(found)


def shown(value: Any) -> str:
    """What an object says of itself, or ``...`` where it says only where in memory it lies."""
    text = repr(value)
    return "..." if " at 0x" in text else text


def quoted(text: str) -> str:
    """A string in double quotes where it has none itself."""
    return repr(text) if '"' in text or not text.isprintable() or "\\" in text else f'"{text}"'


def aval_text(aval: Aval) -> str:
    """A type as Python writes it: ``f32[64, 10]``, and ``f32`` for a value without axes.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> aval_text(tg.f32[64, 10]), aval_text(tg.f32[()])
    ('f32[64, 10]', 'f32')
    """
    if type(aval) is Number:
        return str(aval)
    name = short_dtype(aval.dtype)
    name = "bool_" if name == "bool" else name
    return f"{name}[{', '.join(map(str, aval.shape))}]" if aval.shape else name


def array_text(array: np.ndarray[Any, Any]) -> str | None:
    """``tensor([0, 1, 2], "int64")`` for a small array that comes back to the last bit, else None."""
    if array.size > INLINE or array.ndim > 2 or 0 in array.shape:
        return None
    plain = np.where(np.isnan(array), np.array(np.nan, array.dtype), array) if array.dtype.kind == "f" else array
    again = read_array(plain.tolist(), array.dtype.name)  # as it is read: every NaN the usual one
    same = again.shape == array.shape and again.tobytes() == np.ascontiguousarray(array).tobytes()
    return f'tensor({literal_text(array.tolist())}, "{array.dtype.name}")' if same else None


def read_array(values: Any, dtype: Any) -> np.ndarray[Any, Any]:
    """The array of nested lists of numbers."""
    return np.array(values, canonical_dtype(dtype))
