"""Types of values without the values: examples for tracing and drawing."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.arguments import checked
from tensorgraph.engine.aval import Aval, DType, Shape, canonical_dtype, default_dtype

__all__ = [
    "bool_", "f16", "f32", "f64", "float16", "float32", "float64", "i8", "i16", "i32", "i64", "int8", "int16", "int32",
    "int64", "spec", "u8", "u16", "u32", "u64", "uint8", "uint16", "uint32", "uint64",
]  # fmt: skip


@checked
def spec(shape: Shape = (), dtype: DType | None = None) -> Aval:
    """A value-free example: shape and dtype (the default dtype unless said).

    Examples
    --------
    >>> import tensorgraph as tg
    >>> tg.spec((64, 784), "float32")
    f32[64, 784]
    >>> tg.spec((64,), "int64") == tg.i64[64]
    True
    """
    return Aval((shape,) if isinstance(shape, int) else tuple(shape), default_dtype() if dtype is None else dtype)


class Typed:
    """A dtype by name: NumPy's, to which it is equal, and indexed by a shape a type (``f32[64, 784]``).

    It is accepted wherever a dtype is, by NumPy too; as an example for a trace it is the type of a number of it.

    Examples
    --------
    >>> import numpy as np, tensorgraph as tg
    >>> tg.float32 is tg.f32, tg.f32 == np.float32, hash(tg.f32) == hash(np.dtype("float32"))
    (True, True, True)
    >>> tg.float32[64, 784]
    f32[64, 784]
    """

    __slots__ = ("dtype", "short")

    def __init__(self, short: str) -> None:
        self.short = short
        self.dtype: np.dtype[Any] = canonical_dtype(short)  # what `numpy.dtype` reads

    def __getitem__(self, shape: int | tuple[int, ...]) -> Aval:
        return spec(shape, self.dtype)

    @property
    def name(self) -> str:
        return self.dtype.name

    @property
    def kind(self) -> str:
        return self.dtype.kind

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    def __eq__(self, other: object) -> Any:
        return self is other or (type(other) is not Typed and self.dtype == other)

    def __hash__(self) -> int:
        return hash(self.dtype)

    def __reduce__(self) -> str:
        return self.short if self.short != "bool" else "bool_"  # the one object of this name

    def __repr__(self) -> str:
        return f"tensorgraph.{self.short}"


f16, f32, f64 = (Typed(name) for name in ("f16", "f32", "f64"))
i8, i16, i32, i64 = (Typed(name) for name in ("i8", "i16", "i32", "i64"))
u8, u16, u32, u64 = (Typed(name) for name in ("u8", "u16", "u32", "u64"))
bool_ = Typed("bool")
float16, float32, float64 = f16, f32, f64
int8, int16, int32, int64 = i8, i16, i32, i64
uint8, uint16, uint32, uint64 = u8, u16, u32, u64
