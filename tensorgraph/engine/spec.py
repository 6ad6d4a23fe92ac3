"""Types of values without the values: examples for tracing and drawing."""

from __future__ import annotations

import keyword
from typing import Any, overload

import numpy as np

from tensorgraph.arguments import checked
from tensorgraph.engine.aval import Aval, DType, Shape, canonical_dtype, default_dtype, short_dtype
from tensorgraph.engine.tree import flatten

__all__ = [
    "Sized", "bool_", "f16", "f32", "f64", "float16", "float32", "float64", "i8", "i16", "i32", "i64", "int8", "int16",
    "int32", "int64", "spec", "u8", "u16", "u32", "u64", "uint8", "uint16", "uint32", "uint64", "require_sizes",
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


# what a text means something else by
NAMES = frozenset({"f16", "f32", "f64", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "bool_", "tg"})


class Sized:
    """A type some of whose sizes are names: ``tensorgraph.f32["N", 64]``, an example for a trace of any ``N``.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> one = tg.f32["N", 64]
    >>> one, one.dims, one.at(N=3)
    (f32[N, 64], ('N',), f32[3, 64])
    """

    __slots__ = ("dtype", "shape")

    def __init__(self, shape: tuple[int | str, ...], dtype: np.dtype[Any]) -> None:
        for size in shape:
            if isinstance(size, str) and not (
                size.isidentifier() and not keyword.iskeyword(size) and size not in NAMES
            ):
                raise ValueError(f"the name of a size is a plain one such as 'N' or 'batch', got {size!r}")
        # a size that is no name is what sizes are elsewhere
        spec(tuple(size for size in shape if not isinstance(size, str)), dtype)
        self.shape = shape
        self.dtype = dtype

    @property
    def dims(self) -> tuple[str, ...]:
        """The names, in order."""
        return tuple(dict.fromkeys(size for size in self.shape if isinstance(size, str)))

    def at(self, **sizes: int) -> Aval:
        """The type for these sizes."""
        return Aval(tuple(sizes[size] if isinstance(size, str) else size for size in self.shape), self.dtype)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sized) and (self.shape, self.dtype) == (other.shape, other.dtype)

    def __hash__(self) -> int:
        return hash((self.shape, self.dtype))

    def __repr__(self) -> str:
        return f"{short_dtype(self.dtype)}[{', '.join(map(str, self.shape))}]"


def require_sizes(door: str, *examples: Any) -> None:
    """Refuse names of sizes where only a graph of given sizes will do.

    Raises
    ------
    TypeError
        Naming the function and what to write.
    """
    for leaf in flatten(list(examples))[0]:
        if isinstance(leaf, Sized):
            given = leaf.at(**dict.fromkeys(leaf.dims, 32))
            raise TypeError(
                f"{door} needs sizes, and {leaf!r} leaves {leaf.dims[0]} open: write one, such as {given!r}; "
                "trace, draw and lint take names of sizes"
            )


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

    @overload
    def __getitem__(self, shape: int | tuple[int, ...]) -> Aval: ...  # type: ignore[overload-overlap]

    @overload
    def __getitem__(self, shape: str | tuple[int | str, ...]) -> Sized: ...

    def __getitem__(self, shape: Any) -> Any:
        sizes = (shape,) if isinstance(shape, str) else shape
        if isinstance(sizes, tuple) and any(isinstance(size, str) for size in sizes):
            return Sized(sizes, self.dtype)
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
