"""What dtypes are and what becomes of several: the standard's functions of data types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tensorgraph.arguments import shown
from tensorgraph.engine import spec
from tensorgraph.engine.aval import SHORT, Aval, canonical_dtype
from tensorgraph.engine.op import promote
from tensorgraph.engine.spec import Typed
from tensorgraph.engine.tensor import Tensor

__all__ = ["broadcast_shapes", "can_cast", "finfo", "iinfo", "isdtype", "issubdtype", "result_type"]

# the standard's dtypes that are real, and its kinds by NumPy's letters
STANDARD = [name for name in SHORT if name != "float16"]
KINDS = {
    "bool": "b", "signed integer": "i", "unsigned integer": "u", "integral": "iu", "real floating": "f",
    "complex floating": "c", "numeric": "iufc",
}  # fmt: skip


def named(dtype: Any) -> Typed:
    """The dtype as ``tensorgraph.float32`` and the like."""
    name = canonical_dtype(dtype).name
    return spec.bool_ if name == "bool" else getattr(spec, name)


def _dtype(value: Any) -> np.dtype[Any]:
    """Of a tensor or an array its dtype, or a dtype itself."""
    return value.dtype if isinstance(value, (Tensor, np.ndarray)) else canonical_dtype(value)


@dataclass(frozen=True)
class FloatInfo:
    """What `finfo` gives, as Python numbers."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: Typed
    tiny: float
    resolution: float


@dataclass(frozen=True)
class IntegerInfo:
    """What `iinfo` gives, as Python numbers."""

    bits: int
    max: int
    min: int
    dtype: Typed


def finfo(type: Any, /) -> FloatInfo:
    """The limits of a float dtype, or of that of a tensor.

    Examples
    --------
    >>> import tensorgraph as tg, tensorgraph.numpy as tnp
    >>> tnp.finfo(tg.float64).eps
    2.220446049250313e-16
    """
    kind = _dtype(type)
    if kind.kind != "f":
        raise TypeError(f"finfo: expected a float dtype, got {kind}; iinfo is for integers")
    known = np.finfo(kind)
    eps, tiny, resolution = float(known.eps), float(known.tiny), float(known.resolution)
    return FloatInfo(known.bits, eps, float(known.max), float(known.min), tiny, named(kind), tiny, resolution)


def iinfo(type: Any, /) -> IntegerInfo:
    """The limits of an integer dtype, or of that of a tensor."""
    kind = _dtype(type)
    if kind.kind not in "iu":
        raise TypeError(f"iinfo: expected an integer dtype, got {kind}; finfo is for floats")
    known = np.iinfo(kind)
    return IntegerInfo(known.bits, int(known.max), int(known.min), named(kind))


def isdtype(dtype: Any, kind: Any) -> bool:
    """Whether a dtype is of a kind: a word such as ``"integral"``, a dtype, or a tuple of them.

    Examples
    --------
    >>> import tensorgraph as tg, tensorgraph.numpy as tnp
    >>> tnp.isdtype(tg.int8, "integral"), tnp.isdtype(tg.int8, (tg.uint8, "real floating"))
    (True, False)
    """
    own = canonical_dtype(dtype)
    for one in kind if isinstance(kind, tuple) else (kind,):
        if isinstance(one, tuple):
            raise TypeError(f"isdtype: kind must be a word, a dtype or one tuple of them, got {shown(kind)}")
        if isinstance(one, str) and " " in one and one not in KINDS:
            raise ValueError(f"isdtype: kind must be of {', '.join(map(repr, KINDS))}, got {shown(one)}")
        if own.kind in KINDS[one] if isinstance(one, str) and one in KINDS else own == canonical_dtype(one):
            return True
    return False


def issubdtype(dtype: Any, kind: Any) -> bool:
    """NumPy's `issubdtype`, of tensors' dtypes."""
    return bool(np.issubdtype(_dtype(dtype), kind.dtype if isinstance(kind, Typed) else kind))


def can_cast(from_: Any, to: Any, /) -> bool:
    """Whether every number of a dtype, or of a tensor's, is one of another."""
    return bool(np.can_cast(_dtype(from_), canonical_dtype(to)))


def result_type(*arrays_and_dtypes: Any) -> np.dtype[Any]:
    """The dtype that an operation gives for these: tensors, dtypes and Python numbers, which are weak.

    Examples
    --------
    >>> import tensorgraph as tg, tensorgraph.numpy as tnp
    >>> tnp.result_type(tg.int8, tg.uint8), tnp.result_type(tg.float32, 1.5)
    (dtype('int16'), dtype('float32'))
    """
    values = [value if type(value) in (bool, int, float) else Aval((), _dtype(value)) for value in arrays_and_dtypes]
    if not values:
        raise ValueError("result_type: expected at least one tensor or dtype")
    return promote(*values)


def broadcast_shapes(*shapes: Any) -> tuple[int, ...]:
    """The shape that these shapes become by broadcasting.

    Examples
    --------
    >>> import tensorgraph.numpy as tnp
    >>> tnp.broadcast_shapes((2, 1), (3,))
    (2, 3)
    """
    return np.broadcast_shapes(*shapes)
