"""NumPy's own forms of functions that the standard and ``tensorgraph`` call otherwise: both are taken."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgraph.engine.tensor import Tensor
from tensorgraph.numpy.calls import refuse_out
from tensorgraph.numpy.interchange import asarray, require_cpu
from tensorgraph.ops import counting, creation, factors, logic, products, reduction, searching, sorting
from tensorgraph.ops import shape as shaping
from tensorgraph.ops.moving import broadcast_arrays, moveaxis, of, swapaxes, together, tril, triu
from tensorgraph.ops.statistics import float_of
from tensorgraph.ops.structure import alias

__all__ = [
    "argpartition", "argsort", "asanyarray", "ascontiguousarray", "copy", "cross", "interp", "iscomplex",
    "iscomplexobj", "isreal", "isrealobj", "linspace", "ndim", "partition", "real_if_close", "searchsorted", "shape",
    "size", "sort", "std", "var", "where",
]  # fmt: skip

ABSENT = object()
argpartition, partition = sorting.argpartition, sorting.partition
interp = searching.interp
asanyarray = ascontiguousarray = asarray


def _moment(
    declared: Any, x: Any, axis: Any, dtype: Any, keepdims: Any, correction: float, picked: Any
) -> Tensor:  # fmt: skip
    x = x if dtype is None else shaping.astype.public(x, dtype)
    return declared.public(x, axis, keepdims=keepdims, correction=correction, where=picked)  # type: ignore[no-any-return]


def var(
    x: Any, /, axis: Any = None, dtype: Any = None, out: None = None, ddof: float = 0, keepdims: Any = False,
    *, correction: float = 0.0, where: Any = True,
) -> Tensor:  # fmt: skip
    """The variance; `correction`, which NumPy calls `ddof`, is taken off the number of elements."""
    refuse_out("numpy.var", out)
    return _moment(reduction.var, x, axis, dtype, keepdims, correction or ddof, where)


def std(
    x: Any, /, axis: Any = None, dtype: Any = None, out: None = None, ddof: float = 0, keepdims: Any = False,
    *, correction: float = 0.0, where: Any = True,
) -> Tensor:  # fmt: skip
    """The standard deviation; `correction`, which NumPy calls `ddof`, is taken off the number of elements."""
    refuse_out("numpy.std", out)
    return _moment(reduction.std, x, axis, dtype, keepdims, correction or ddof, where)


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
    x1, x2 = products.both(x1, x2, "cross", "x1", "x2")
    result: Tensor = products.cross(moveaxis(x1, a, -1), moveaxis(x2, b, -1), axis=-1)
    return moveaxis(result, -1, c)  # type: ignore[no-any-return]


def copy(x: Any, /, order: str = "K", subok: bool = False) -> Tensor:
    """The same numbers under a name of their own. Tensors never change: no copy is needed."""
    return alias.public(x)  # type: ignore[no-any-return]


def linspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, retstep: bool = False, dtype: Any = None,
    axis: int = 0, *, device: Any = None,
) -> Any:  # fmt: skip
    """`num` numbers evenly from `start` to `stop`, along an axis of its own where these are tensors.

    Examples
    --------
    >>> import tensorgraph.numpy as tnp
    >>> tnp.linspace(0.0, 1.0, 3)
    tensor([0. , 0.5, 1. ], f32)
    >>> tnp.linspace(tnp.asarray([0.0, 1.0]), 2.0, 3)
    tensor([[0. , 1. ],
            [1. , 1.5],
            [2. , 2. ]], f32)
    """
    require_cpu(device, "numpy.linspace")
    parts = max(num - 1 if endpoint else num, 1)
    if all(isinstance(end, (int, float)) for end in (start, stop)):
        numbers: Tensor = creation.linspace.public(start, stop, num, endpoint, dtype)
        return (numbers, (stop - start) / parts) if retstep else numbers
    ends = together("numpy.linspace", start=start, stop=stop)
    first, last = broadcast_arrays(*[float_of(end, "linspace: ends") for end in ends])
    step = (last - first) / parts
    places = shaping.reshape.public(creation.arange.public(0, num, 1, dtype=first.dtype), (num,) + (1,) * first.ndim)
    # from both ends, so that the last one is `stop` itself
    share = places / parts
    values = first * (1 - share) + last * share
    values = moveaxis(values if dtype is None else shaping.astype.public(values, dtype), 0, axis)
    return (values, step) if retstep else values


def shape(x: Any, /) -> tuple[int, ...]:
    """The number of elements along each axis."""
    return tuple(x.shape) if isinstance(x, Tensor) else np.shape(x)


def iscomplexobj(x: Any, /) -> bool:
    """False: every tensor is real."""
    return np.iscomplexobj(x) if not isinstance(x, Tensor) else False


def isrealobj(x: Any, /) -> bool:
    """True: every tensor is real."""
    return not iscomplexobj(x)


def iscomplex(x: Any, /) -> Tensor:
    """False everywhere: every tensor is real."""
    return creation.zeros.public(of(x, "iscomplex: x").shape, "bool")  # type: ignore[no-any-return]


def isreal(x: Any, /) -> Tensor:
    """True everywhere: every tensor is real."""
    return creation.ones.public(of(x, "isreal: x").shape, "bool")  # type: ignore[no-any-return]


def real_if_close(x: Any, /, tol: float = 100) -> Tensor:
    """x itself: every tensor is real."""
    return of(x, "real_if_close: x")


def mirrored(a: Any, upper: bool) -> Tensor:
    """Symmetric matrices of which only one triangle is read."""
    own, other = (triu(a), triu(a, 1)) if upper else (tril(a), tril(a, -1))
    return own + swapaxes(other, -1, -2)  # type: ignore[no-any-return]


def eigh(a: Any, UPLO: str = "L") -> Any:
    """NumPy's form of `eigh`, which reads one triangle where ours takes the symmetric part."""
    return factors.eigh(mirrored(of(a, "eigh: a"), _is_upper(UPLO)))


def eigvalsh(a: Any, UPLO: str = "L") -> Any:
    """NumPy's form of `eigvalsh`, which reads one triangle where ours takes the symmetric part."""
    return factors.eigvalsh.public(mirrored(of(a, "eigvalsh: a"), _is_upper(UPLO)))


def _is_upper(UPLO: str) -> bool:
    if UPLO not in ("L", "l", "U", "u"):
        raise ValueError(f"UPLO must be 'L' or 'U', got {UPLO!r}")
    return UPLO in "Uu"


LINALG = {np.linalg.eigh: eigh, np.linalg.eigvalsh: eigvalsh}
"""NumPy's functions of its room `linalg` that are not ours of the same name."""


def ndim(x: Any, /) -> int:
    """The number of axes."""
    return x.ndim if isinstance(x, Tensor) else int(np.ndim(x))


def size(x: Any, /, axis: Any = None) -> int:
    """The number of elements, or the length of an axis, or of several the product."""
    sizes = x.shape if isinstance(x, Tensor) else np.shape(x)
    axes = range(len(sizes)) if axis is None else axis if isinstance(axis, (tuple, list)) else (axis,)
    return math.prod(sizes[a] for a in axes)
