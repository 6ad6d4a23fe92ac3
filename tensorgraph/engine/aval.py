"""What is known of a value before it exists: its shape and its dtype.

An *aval* (abstract value, JAX's word) is what shape rules compute with, what a graph's variables carry and what error
messages print. This file knows NumPy and kinds of arguments, and nothing else of the library.
"""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import index
from typing import Annotated, Any, TypeAlias

import numpy as np

from tensorgraph.arguments import AxisError, Kind, Range, Unfit, checked, shown

__all__ = ["Aval", "DType", "FloatDType", "Number", "Shape", "aval_of", "broadcast_shapes", "canonical_axis",
           "canonical_dtype", "default_dtype", "set_default_dtype", "short_dtype"]  # fmt: skip

SHORT = {
    "bool": "bool", "int8": "i8", "int16": "i16", "int32": "i32", "int64": "i64", "uint8": "u8", "uint16": "u16",
    "uint32": "u32", "uint64": "u64", "float16": "f16", "float32": "f32", "float64": "f64",
}  # fmt: skip
LONG = {short: long for long, short in SHORT.items()}
# NumPy's one object for each of them, in native byte order, so that `is` compares; by every name it is usually given
NATIVE: dict[Any, np.dtype[Any]] = {
    key: np.dtype(long) for long, short in SHORT.items() for key in (long, short, np.dtype(long), np.dtype(long).type)
}

_default = np.dtype(np.float32)
_default_lock = threading.Lock()


def default_dtype() -> np.dtype[Any]:
    """The dtype that Python floats and float functions of integers get (float32 unless set).

    Examples
    --------
    >>> import tensorgraph as tg
    >>> tg.default_dtype()
    dtype('float32')
    """
    return _default


@checked
def set_default_dtype(dtype: FloatDType) -> None:
    """Set the process-wide default float dtype.

    Parameters
    ----------
    dtype : dtype-like
        float16, float32 or float64.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> tg.set_default_dtype("float64"); tg.tensor(0.5).dtype
    dtype('float64')
    >>> tg.set_default_dtype("float32")
    """
    global _default
    with _default_lock:
        _default = dtype


def canonical_dtype(dtype: Any) -> np.dtype[Any]:
    """A supported dtype in native byte order; short names such as ``"f32"`` are understood."""
    try:
        return NATIVE[dtype]
    except (KeyError, TypeError):
        pass
    try:
        if dtype is None:  # NumPy would read float64
            raise TypeError("None is no dtype")
        if hasattr(dtype, "shape") and not isinstance(dtype, (type, np.dtype)):  # NumPy would read the dtype of it
            raise TypeError("a value, or the type of one")
        if isinstance(dtype, str) and len(dtype) > 20:  # no name is so long, and NumPy would read a little language
            raise TypeError("too long")
        result = np.dtype(dtype)
    except (TypeError, ValueError, SyntaxError) as error:
        came = shown(dtype)
        came += "; several sizes are one argument, a tuple: write (2, 3) for 2, 3" if type(dtype) is int else ""
        raise TypeError(f"expected a dtype such as 'float32', 'f32' or numpy.int64, got {came}") from error
    if result.name not in SHORT:
        if result.kind == "c":
            raise TypeError(f"complex numbers are not supported (got {result}); pass the real and imaginary parts")
        raise TypeError(f"dtype {result} is not supported; expected one of {', '.join(SHORT)}")
    return NATIVE[result.name]


def _dtype(value: Any, kind: Kind) -> np.dtype[Any]:
    try:
        return canonical_dtype(value) if value is not None else kind.refuse(value)
    except TypeError as error:
        raise Unfit(kind.expected, value, str(error).partition("; ")[2]) from None


def _own_dtype(dtype: Any) -> np.dtype[Any]:
    try:
        return canonical_dtype(dtype)
    except TypeError as error:
        raise TypeError(f"Aval: dtype: {error}") from None


def _float_dtype(value: Any, kind: Kind) -> np.dtype[Any]:
    dtype = _dtype(value, kind)
    return dtype if dtype.kind == "f" else kind.refuse(dtype.name)


Extent: TypeAlias = Annotated[
    int, Range(0, sys.maxsize, word="a non-negative integer", remedy=f"no axis is longer than {sys.maxsize}")
]
Shape: TypeAlias = Extent | Sequence[Extent]
DType: TypeAlias = Annotated[Any, Kind("a dtype such as 'float32', 'f32' or numpy.int64", _dtype)]
FloatDType: TypeAlias = Annotated[Any, Kind("a float dtype (float16, float32 or float64)", _float_dtype)]


@lru_cache(256)  # NumPy makes the name anew each time
def short_dtype(dtype: np.dtype[Any]) -> str:
    """``f32`` for float32, as printed in graphs and messages."""
    return SHORT.get(dtype.name, dtype.name)


class Aval:
    """Shape and dtype of a value that may not exist yet.

    Parameters
    ----------
    shape : int or sequence of int
    dtype : dtype-like

    Examples
    --------
    >>> from tensorgraph.engine.aval import Aval
    >>> Aval((64, 10), "float32")
    f32[64, 10]
    """

    __slots__ = ("dtype", "shape")

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __init__(self, shape: int | Sequence[int], dtype: Any) -> None:
        try:
            sizes = tuple(map(index, shape if isinstance(shape, (tuple, list)) else (shape,)))
        except TypeError:
            sizes = (-1,)
        if (sizes and min(sizes) < 0) or isinstance(shape, bool):
            raise ValueError(f"Aval: shape must be a sequence (each a non-negative integer), got {shown(shape)}")
        _put_shape(self, sizes)
        _put_dtype(self, dtype if isinstance(dtype, np.dtype) else _own_dtype(dtype))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("an Aval is immutable")

    def __reduce__(self) -> tuple[Any, ...]:
        return Aval, (self.shape, self.dtype.name)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def __eq__(self, other: object) -> bool:
        return type(other) is Aval and self.shape == other.shape and self.dtype == other.dtype

    def __hash__(self) -> int:
        return hash((self.shape, self.dtype))

    def __repr__(self) -> str:
        return f"{short_dtype(self.dtype)}[{', '.join(map(str, self.shape))}]"


_put_shape: Callable[[Aval, tuple[int, ...]], None] = Aval.__dict__["shape"].__set__
_put_dtype: Callable[[Aval, np.dtype[Any]], None] = Aval.__dict__["dtype"].__set__


class Number(Aval):
    """The type of a Python number, which is weak: it takes the dtype of what it meets.

    Parameters
    ----------
    kind : type
        float, int or bool.

    Examples
    --------
    >>> from tensorgraph.engine.aval import Number
    >>> Number(float), Number(float).dtype, Number(float).shape
    (float, dtype('float64'), ())
    """

    __slots__ = ("kind",)

    kind: type

    def __init__(self, kind: type) -> None:
        super().__init__((), {float: "float64", int: "int64", bool: "bool"}[kind])
        _put_kind(self, kind)

    @property
    def sample(self) -> Any:
        """A number of this type, for rules that look at types alone."""
        return self.kind(1)

    def __reduce__(self) -> tuple[Any, ...]:
        return Number, (self.kind,)

    def __eq__(self, other: object) -> bool:
        return type(other) is Number and self.kind is other.kind

    def __hash__(self) -> int:
        return hash(self.kind)

    def __repr__(self) -> str:
        return self.kind.__name__


_put_kind: Callable[[Number, type], None] = Number.__dict__["kind"].__set__


def aval_of(value: Any) -> Aval:
    """The aval of an array, whose shape and dtype need no looking at."""
    aval: Aval = object.__new__(Aval)
    _put_shape(aval, value.shape)
    _put_dtype(aval, value.dtype)
    return aval


def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """NumPy's broadcast shape.

    Raises
    ------
    ValueError
        Naming the two sizes that differ and their axis, counted from the last as NumPy aligns them.
    """
    first = shapes[0] if shapes else ()
    if all(shape == first for shape in shapes):
        return first
    ndim = max(map(len, shapes))
    out = []
    for position in range(-ndim, 0):
        size = 1
        for shape in shapes:
            n = shape[position] if len(shape) >= -position else 1
            if n != 1:
                if size not in (1, n):
                    listed = " and ".join(str(s) for s in shapes)
                    raise ValueError(
                        f"shapes {listed} do not broadcast: axis {position} has sizes {size} and {n} "
                        "(sizes must be equal or 1, aligned at the last axis)"
                    )
                size = n
        out.append(size)
    return tuple(out)


def canonical_axis(axis: Any, ndim: int, what: str = "axis") -> int:
    """A non-negative axis; raises AxisError naming the valid range."""
    if isinstance(axis, bool) or not isinstance(axis, (int, np.integer)):
        raise TypeError(f"{what} must be an integer, got {axis!r}")
    if not -ndim <= axis < ndim:
        valid = f"expected {-ndim} to {ndim - 1}" if ndim else "a 0-d tensor has no axes"
        raise AxisError(f"{what} {axis} is out of range for {ndim} dimensions: {valid}")
    return int(axis) % ndim


def canonical_axes(axis: Any, ndim: int) -> tuple[int, ...]:
    """Axes as a sorted tuple of non-negative integers; None means all of them."""
    if axis is None:
        return tuple(range(ndim))
    if not isinstance(axis, (tuple, list)):
        return (canonical_axis(axis, ndim),)
    axes = tuple(canonical_axis(a, ndim) for a in axis)
    if len(set(axes)) != len(axes):
        raise ValueError(f"axis {axis} names an axis twice")
    return tuple(sorted(axes))
