"""Types of values without the values: examples for tracing and drawing."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.arguments import checked
from tensorgraph.engine.aval import Aval, DType, Shape, canonical_dtype, default_dtype

__all__ = ["bool_", "f16", "f32", "f64", "i8", "i16", "i32", "i64", "spec", "u8", "u16", "u32", "u64"]


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
    """``f32[64, 784]``: the type's name indexed by a shape; ``f32`` alone is a dtype, and 0-d as an example."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __getitem__(self, shape: int | tuple[int, ...]) -> Aval:
        return spec(shape, self.name)

    @property
    def dtype(self) -> np.dtype[Any]:
        """What `numpy.dtype` reads, so that ``dtype=f32`` is understood everywhere, by NumPy too."""
        return canonical_dtype(self.name)

    def __repr__(self) -> str:
        return f"tensorgraph.{self.name}"


f16, f32, f64 = (Typed(name) for name in ("f16", "f32", "f64"))
i8, i16, i32, i64 = (Typed(name) for name in ("i8", "i16", "i32", "i64"))
u8, u16, u32, u64 = (Typed(name) for name in ("u8", "u16", "u32", "u64"))
bool_ = Typed("bool")
