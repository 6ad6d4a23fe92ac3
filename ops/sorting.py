"""Sorting: values, orders, the largest few."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgraph.arguments import Count
from tensorgraph.engine.aval import Aval, canonical_axis
from tensorgraph.engine.batching import shifted
from tensorgraph.engine.declare import op
from tensorgraph.engine.functions import function, static
from tensorgraph.engine.op import index as indexing
from tensorgraph.engine.tensor import Tensor
from tensorgraph.ops.along import add_along_axis, take_along_axis
from tensorgraph.ops.kernels.along import take_along
from tensorgraph.ops.kernels.orders import order_of
from tensorgraph.ops.moving import each, of, ravel


def _flag(value: Any, name: str) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def _order(x: Any, axis: int, descending: Any, stable: Any) -> tuple[Any, int]:
    k = canonical_axis(axis, x.ndim)
    _flag(stable, "stable")
    return order_of(x, k, _flag(descending, "descending")), k


def _sort(x: Any, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Any:
    order, k = _order(x, axis, descending, stable)
    return take_along(x, order, k), order


def _comparisons(x: Aval, *, axis: int, **attrs: Any) -> int:
    """Comparisons of a merge sort."""
    return x.size * max(x.shape[axis] - 1, 0).bit_length()


def _sort_infer(x: Aval, *, axis: int, descending: Any, stable: Any) -> Aval:
    canonical_axis(axis, x.ndim)
    _flag(descending, "descending"), _flag(stable, "stable")
    return x


_SORTED: tuple[Any, ...] = (
    (((3, 4),), {}), (((3, 4),), dict(axis=0)), (((2, 5),), dict(descending=True)), (((0, 3),), dict(axis=0)),
)  # fmt: skip

sort = op(
    "sort(x, *, axis=-1, descending: bool = False, stable: bool = True)", _sort, indexing, residuals=("order",),
    numpy=(np.sort,), methods=("sort",), batch=shifted(),
    traits=("increasing", "idempotent"), residual_types=lambda x, **attrs: Aval(x.shape, np.int64),
    flops=_comparisons, scratch=lambda x, **attrs: 8 * x.size, infer_rule=_sort_infer,
    vjp=dict(x=lambda g, order, x_aval, axis: add_along_axis(g, order, axis=axis, shape=tuple(x_aval.shape))),
    oracle=lambda x, *, axis=-1, descending=False, stable=True: np.flip(np.sort(x, axis), axis)
    if descending else np.sort(x, axis),
    examples=_SORTED,
    on_numpy="NumPy sorts, with vectors where the processor has them",
    doc="""Elements in ascending order along an axis, NaN last; descending, NaN first.

    Ties stay in their old order, also in a descending sort: sorting is always stable. The gradient goes back to where
    each element came from.

    >>> import tensorgraph as tg
    >>> tg.sort([2.0, 3.0, 1.0], descending=True)
    tensor([3., 2., 1.], f32)
    """,
)  # fmt: skip


def _argsort(x: Any, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Any:
    return _order(x, axis, descending, stable)[0]


def _argsort_infer(x: Aval, **attrs: Any) -> Aval:
    return Aval(_sort_infer(x, **attrs).shape, np.int64)


def _stable_order(x: Any, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Any:
    k = axis % x.ndim
    if not descending:
        return np.argsort(x, axis, kind="stable")
    return x.shape[k] - 1 - np.flip(np.argsort(np.flip(x, k), k, kind="stable"), k)


argsort = op(
    "argsort(x, *, axis=-1, descending: bool = False, stable: bool = True)", _argsort, indexing, numpy=(np.argsort,),
    methods=("argsort",), batch=shifted(), dtype="int", traits=("positions",), flops=_comparisons,
    scratch=lambda x, **attrs: 8 * x.size, infer_rule=_argsort_infer, oracle=_stable_order, examples=_SORTED,
    on_numpy="NumPy sorts, with vectors where the processor has them",
    doc="""The positions that sort a tensor along an axis; NaN and ties as `sort`, which is stable.

    >>> import tensorgraph as tg
    >>> tg.argsort([2.0, 3.0, 1.0])
    tensor([2, 0, 1], i64)
    """,
)  # fmt: skip


def _few(x: Aval, k: Any, axis: Any) -> tuple[int, int]:
    at = canonical_axis(axis, x.ndim)
    if not isinstance(k, (int, np.integer)) or isinstance(k, bool):
        raise TypeError(f"k must be an integer, got {k!r}")
    if not 0 <= k <= x.shape[at]:
        raise ValueError(f"k must be from 0 to {x.shape[at]}, the size of axis {axis} of {x}, got {k}")
    return int(k), at


def _top_k(x: Any, *, k: int, axis: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    _flag(sorted, "sorted")
    k, at = _few(Aval(x.shape, x.dtype), k, axis)
    order = order_of(x, at, _flag(largest, "largest"), k)
    return take_along(x, order, at), order


def _top_infer(x: Aval, *, k: int, axis: int, largest: Any, sorted: Any) -> tuple[Aval, Aval]:
    k, at = _few(x, k, axis)
    _flag(largest, "largest"), _flag(sorted, "sorted")
    shape = (*x.shape[:at], k, *x.shape[at + 1 :])
    return Aval(shape, x.dtype), Aval(shape, np.int64)


def _top_oracle(x: Any, *, k: int, axis: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    order = np.take(_stable_order(x, axis=axis, descending=largest), np.arange(k), axis)
    return np.take_along_axis(x, order, axis), order


top_k = op(
    "top_k(x, *, k: int, axis: int = -1, largest: bool = True, sorted: bool = True) -> values, indices", _top_k,
    indexing, also=("topk",), methods=("top_k", "topk"), batch=shifted(), infer_rule=_top_infer, flops=_comparisons,
    vjp=dict(
        x=lambda g_values, indices, x_aval, axis: add_along_axis(
            g_values, indices, axis=canonical_axis(axis, len(x_aval.shape)), shape=tuple(x_aval.shape)
        )
    ),
    oracle=_top_oracle,
    examples=(
        (((3, 5),), dict(k=2)), (((4, 3),), dict(k=3, axis=0, largest=False)), (((2, 3),), dict(k=0)),
    ),
    on_numpy="NumPy sorts, with vectors where the processor has them",
    doc="""The k largest elements along an axis, in descending order, and their positions; the smallest, ascending, if
    not `largest`.

    NaN counts as larger than any number, and of equal elements the first are taken. They are in order whether or not
    they need be (`sorted`).

    >>> import tensorgraph as tg
    >>> values, indices = tg.top_k([1.0, 3.0, 2.0], 2)
    >>> values.tolist(), indices.tolist()
    ([3.0, 2.0], [1, 2])
    """,
)  # fmt: skip


def _kth(x: Tensor, kth: Any, axis: int) -> None:
    n = x.shape[canonical_axis(axis, x.ndim)]
    for k in [kth] if isinstance(kth, (int, np.integer)) else kth:
        if not -n <= k < n:
            raise ValueError(f"kth must be from {-n} to {n - 1} for an axis of size {n}, got {k}")


@function(examples=((((2, 5), 1), {}), (((4, 3), 2, 0), {})), computed=True)
def partition(x: Any, kth: int | Sequence[int], axis: int | None = -1) -> Tensor:
    """The elements along an axis, the kth where sorting puts it, smaller ones before and larger ones behind.

    Here they are all in order, which is one such arrangement.
    """
    x, axis = (ravel(x), 0) if axis is None else (of(x, "partition: x"), axis)
    _kth(x, kth, axis)
    return sort.public(x, axis=axis)  # type: ignore[no-any-return]


@function(examples=((((2, 5), 1), {}),), computed=True)
def argpartition(x: Any, kth: int | Sequence[int], axis: int | None = -1) -> Tensor:
    """The positions by which `partition` takes the elements."""
    x, axis = (ravel(x), 0) if axis is None else (of(x, "argpartition: x"), axis)
    _kth(x, kth, axis)
    return argsort.public(x, axis=axis)  # type: ignore[no-any-return]


@function(examples=((((2, 5), 2), {}), (((4, 3), 4, 0), dict(keepdims=True))), methods=("kthvalue",), computed=True)
def kthvalue(x: Any, k: Count, axis: int = -1, keepdims: bool = False) -> tuple[Tensor, Tensor]:
    """The kth smallest element along an axis, 1 for the smallest, and its position: the first of equal ones.

    NaN counts as larger than any number. The gradient goes to the element at that position.

    >>> import tensorgraph as tg
    >>> value, index = tg.kthvalue([3.0, 1.0, 2.0], 2)
    >>> float(value), int(index)
    (2.0, 2)
    """
    x = of(x, "kthvalue: x")
    place = canonical_axis(axis, x.ndim)
    if k > x.shape[place]:
        raise ValueError(f"kthvalue: k must be from 1 to {x.shape[place]}, the size of axis {axis}, got {k}")
    index = argsort.public(x, axis=axis)[(slice(None),) * place + (slice(k - 1, k),)]
    value = take_along_axis.public(x, index, axis=axis)
    return (value, index) if keepdims else (value.squeeze(place), index.squeeze(place))


@function(numpy=(np.lexsort,), examples=(((static([[3, 1, 1], [2, 2, 0]]),), {}),))
def lexsort(keys: Sequence[Any], axis: int = -1) -> Tensor:
    """The positions that sort by several keys of one shape: first by the last, ties by the one before it.

    >>> import tensorgraph as tg
    >>> tg.lexsort(([1, 0, 2], [5, 5, 3]))
    tensor([2, 1, 0], i64)
    """
    each_key = each(keys, "lexsort: keys")
    if not each_key:
        raise TypeError("lexsort: needs at least one key")
    order = argsort.public(each_key[0], axis=axis)
    for key in each_key[1:]:
        order = take_along_axis.public(
            order, argsort.public(take_along_axis.public(key, order, axis=axis), axis=axis), axis=axis
        )
    return order  # type: ignore[no-any-return]
