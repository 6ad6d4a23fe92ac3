"""NumPy's own forms of functions that the standard and ``tensorgraph`` call otherwise: both are taken."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgraph.engine.tensor import Tensor
from tensorgraph.numpy.calls import refuse_out
from tensorgraph.numpy.interchange import asarray
from tensorgraph.ops import counting, logic, products, reduction, searching, shape, sorting
from tensorgraph.ops.moving import moveaxis, of
from tensorgraph.ops.structure import alias

__all__ = [
    "argpartition", "argsort", "asanyarray", "ascontiguousarray", "copy", "cross", "interp", "ndim", "partition",
    "searchsorted", "size", "sort", "std", "var", "where",
]  # fmt: skip

ABSENT = object()
argpartition, partition = sorting.argpartition, sorting.partition
interp = searching.interp
asanyarray = ascontiguousarray = asarray


def _moment(declared: Any, x: Any, axis: Any, dtype: Any, keepdims: Any, correction: float) -> Tensor:
    x = x if dtype is None else shape.astype.public(x, dtype)
    return declared.public(x, axis, keepdims=keepdims, correction=correction)  # type: ignore[no-any-return]


def var(
    x: Any, /, axis: Any = None, dtype: Any = None, out: None = None, ddof: float = 0, keepdims: Any = False,
    *, correction: float = 0.0,
) -> Tensor:  # fmt: skip
    """The variance; `correction`, which NumPy calls `ddof`, is taken off the number of elements."""
    refuse_out("numpy.var", out)
    return _moment(reduction.var, x, axis, dtype, keepdims, correction or ddof)


def std(
    x: Any, /, axis: Any = None, dtype: Any = None, out: None = None, ddof: float = 0, keepdims: Any = False,
    *, correction: float = 0.0,
) -> Tensor:  # fmt: skip
    """The standard deviation; `correction`, which NumPy calls `ddof`, is taken off the number of elements."""
    refuse_out("numpy.std", out)
    return _moment(reduction.std, x, axis, dtype, keepdims, correction or ddof)


def _sorted(declared: Any, x: Any, axis: int | None, order: Any, descending: bool) -> Tensor:
    if order is not None:
        raise TypeError("order= is for arrays with fields, which tensors have not; leave it away")
    x, axis = (x, axis) if axis is not None else (of(x, "sort: x").reshape(-1), 0)
    return declared.public(x, axis=axis, descending=descending)  # type: ignore[no-any-return]


def sort(
    x: Any, /, axis: int | None = -1, kind: Any = None, order: None = None, *, descending: bool = False,
    stable: Any = True,
) -> Tensor:  # fmt: skip
    """In order along an axis, or all elements without one; whatever the `kind`, the stable one is any."""
    return _sorted(sorting.sort, x, axis, order, descending)


def argsort(
    x: Any, /, axis: int | None = -1, kind: Any = None, order: None = None, *, descending: bool = False,
    stable: Any = True,
) -> Tensor:  # fmt: skip
    """The indices that put elements in order; whatever the `kind`, the stable one is any."""
    return _sorted(sorting.argsort, x, axis, order, descending)


def searchsorted(x1: Any, x2: Any, /, side: str = "left", sorter: Any = None) -> Tensor:
    """Where elements of `x2` would stand in the sorted `x1`."""
    return searching.searchsorted.public(x1, x2, sorter, side=side)  # type: ignore[no-any-return]


def where(condition: Any, x1: Any = ABSENT, x2: Any = ABSENT, /) -> Any:
    """Elements of `x1` where the condition holds, else of `x2`; the places where it holds, without them."""
    if x1 is ABSENT:
        return counting.nonzero(condition)
    if x2 is ABSENT:
        raise TypeError("where: either both or neither of x1 and x2 should be given")
    return logic.where.public(condition, x1, x2)


def cross(x1: Any, x2: Any, /, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> Tensor:
    """The cross product of vectors along an axis, which the result has at `axisc`."""
    a, b, c = (axisa, axisb, axisc) if axis is None else (axis, axis, axis)
    result: Tensor = products.cross(moveaxis(x1, a, -1), moveaxis(x2, b, -1), axis=-1)
    return moveaxis(result, -1, c)  # type: ignore[no-any-return]


def copy(x: Any, /, order: str = "K", subok: bool = False) -> Tensor:
    """The same numbers under a name of their own. Tensors never change: no copy is needed."""
    return alias.public(x)  # type: ignore[no-any-return]


def ndim(x: Any, /) -> int:
    """The number of axes."""
    return x.ndim if isinstance(x, Tensor) else int(np.ndim(x))


def size(x: Any, /, axis: Any = None) -> int:
    """The number of elements, or the length of an axis, or of several the product."""
    sizes = x.shape if isinstance(x, Tensor) else np.shape(x)
    axes = range(len(sizes)) if axis is None else axis if isinstance(axis, (tuple, list)) else (axis,)
    return math.prod(sizes[a] for a in axes)
