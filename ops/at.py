"""What ``x.at[key]`` adds, multiplies and compares in a copy: an element named twice is met twice."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgraph.engine.declare import op
from tensorgraph.engine.keys import join_key
from tensorgraph.engine.op import Op
from tensorgraph.engine.op import index as indexing
from tensorgraph.ops.along import add_along_axis, take_along_axis
from tensorgraph.ops.creation import arange, beside
from tensorgraph.ops.index import (
    getitem,
    put_batch,
    put_infer,
    refuse_leading_ones,
    scatter_add,
    selected_places,
    storable,
)  # fmt: skip
from tensorgraph.ops.kernels.scatter import scatter_rows
from tensorgraph.ops.logic import equal, greater, isnan, less, logical_and, logical_or, where
from tensorgraph.ops.scans import earlier, later, linear_recurrence
from tensorgraph.ops.shape import astype, broadcast_to, reshape
from tensorgraph.ops.sorting import argsort

# rows up to which they are added one by one in their own dtype
FEW = 8


def _copied(x: Any, v: Any, indices: Any, key: Any) -> Any:
    if v.dtype is not x.dtype:
        storable(v, x)
    refuse_leading_ones(v, x, indices, key)
    return x.copy()


def _add_at(x: Any, v: Any, indices: Any, *, key: Any) -> Any:
    out = _copied(x, v, indices, key)
    if not indices:
        out[join_key(key, ())] += v
        return out
    count = math.prod(np.broadcast_shapes(*[i.shape for i in indices])) if len(indices) > 1 else indices[0].size
    if x.dtype.kind != "f" or (count <= FEW and x.dtype != np.float16):
        np.add.at(out, join_key(key, indices), v)
        return out
    places, axes = selected_places(x.shape, key, indices)
    rows, columns = math.prod(x.shape[:axes]), math.prod(x.shape[axes:])
    g = np.broadcast_to(v, (*places.shape, *x.shape[axes:])).reshape(places.size, columns)
    table, places = out.reshape(rows, columns), places.reshape(-1)  # x.copy() lies in C order
    if g.dtype != x.dtype:
        g = g.astype(x.dtype)
    scatter_rows(g, places, rows, table)
    return out


def _one_by_one(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """The oracle: an element after the other."""

    def oracle(x: Any, v: Any, indices: Any, *, key: Any) -> Any:
        out = x.copy()
        places = np.asarray(np.arange(x.size).reshape(x.shape)[join_key(key, indices)])
        for place, value in zip(places.flat, np.broadcast_to(v, places.shape).flat, strict=True):
            out.flat[place] = function(out.flat[place], value)
        return out

    return oracle


_EXAMPLES: tuple[Any, ...] = (
    (((3, 4), (4,), []), dict(key=(1,))),
    (((3, 4), (), []), dict(key=(("slice", 0, 2, None), 1))),
    (((3, 4), (3, 4), [np.array([0, 2, 2])]), dict(key=(("index", 0),))),
    (((3, 4), (2,), [np.array([0, 2]), np.array([1, 1])]), dict(key=(("index", 0), ("index", 1)))),
)

add_at: Op = op(
    "add_at(x, v, [indices], *, key)", _add_at, indexing, native="gather:native_add_at", infer_rule=put_infer,
    batch=put_batch,
    vjp=dict(x=lambda g: g, v=lambda g, indices, key: getitem(g, indices, key=key), indices=None),
    traits=("linear", "increasing", "keeps order"), flops=lambda x, v, indices, *, key: v.size,
    examples=(
        *_EXAMPLES, (((30,), (12,), [np.array([0, 2, 2, 5, 2, 2, 2, 2, 2, -1, 29, 7])]), dict(key=(("index", 0),))),
    ),
    oracle=_one_by_one(operator.add),
    doc="A copy of x with `v` added at a key; ``x.at[key].add(v)``. An element that is named twice is added to twice.",
)  # fmt: skip


def _multiply_at(x: Any, v: Any, indices: Any, *, key: Any) -> Any:
    out = _copied(x, v, indices, key)
    place = join_key(key, indices)
    if not indices:
        out[place] *= v
        return out
    if x.dtype.kind == "f" and max(i.size for i in indices) > FEW:  # every product rounds
        out = out.astype(np.longdouble if x.dtype == np.float64 else np.float64)
    np.multiply.at(out, place, v)
    with np.errstate(over="ignore"):
        return out.astype(x.dtype, copy=False)


def _factor_back(g: Any, x: Any, v: Any, indices: Any, key: Any) -> Any:
    """Of each factor: what stood there, times the other factors of the element."""
    chosen = getitem(g, indices, key=key) * getitem(x, indices, key=key)
    return chosen * _others(v, tuple(x.shape), indices, key, tuple(chosen.shape)) if indices else chosen


def _others(v: Any, shape: tuple[int, ...], indices: Any, key: Any, selected: tuple[int, ...]) -> Any:
    """For each value the product of the others that go to the same element.

    The plan: values are sorted by their element, so that those of one are neighbours; from the left and from the right
    a recurrence, which begins anew with each element, multiplies what came before; both are brought back in order.
    """
    size = math.prod(selected)
    numbers = reshape(beside(v, arange, start=math.prod(shape)), shape=shape)
    places = reshape(getitem(numbers, indices, key=key), shape=(size,))
    kind = str(v.dtype)
    v = reshape(broadcast_to(v, shape=selected), shape=(size,))
    if size < 2:
        return reshape(v * 0.0 + 1.0, shape=selected)
    order = argsort(places, axis=0)
    places, v = take_along_axis(places, order, axis=0), take_along_axis(v, order, axis=0)
    same = equal(places, _neighbours(places))
    each = beside(v, arange, start=size)
    same = logical_and(same, greater(each, 0))  # a single element does not go on from the last to the first
    going = astype(same, dtype=kind)
    before = linear_recurrence(where(same, later(v, 0, 1.0), 0.0), 1.0 - going, axis=0)
    same = logical_and(equal(places, _neighbours(places, -1)), less(each, size - 1))
    going = astype(same, dtype=kind)
    behind = linear_recurrence(where(same, earlier(v, 0, 1.0), 0.0), 1.0 - going, axis=0, reverse=True)
    back = add_along_axis(before * behind, order, axis=0, shape=(size,))
    return reshape(back, shape=selected)


def _neighbours(x: Any, by: int = 1) -> Any:
    """The elements one place on, or back, around the end."""
    size = x.shape[0]
    return take_along_axis(x, (beside(x, arange, start=size) - by) % size, axis=0)


multiply_at: Op = op(
    "multiply_at(x, v, [indices], *, key)", _multiply_at, indexing, infer_rule=put_infer, batch=put_batch,
    vjp=dict(
        x=lambda g, v, indices, key: multiply_at(g, v, indices, key=key), v=_factor_back, indices=None,
    ), traits=("keeps order", "analytic"), flops=lambda x, v, indices, *, key: v.size,
    examples=(
        *_EXAMPLES, (((4,), (11,), [np.array([0, 2, 2, 1, 2, 2, -1, 2, 2, -1, 0])]), dict(key=(("index", 0),))),
    ),
    oracle=_one_by_one(operator.mul),
    on_numpy="equal places wait for each other, and NumPy's ufunc.at goes through them",
    doc="A copy of x multiplied by `v` at a key; ``x.at[key].multiply(v)``. An element that is named twice takes both.",
)  # fmt: skip


def _alike(a: Any, b: Any) -> Any:
    return logical_or(equal(a, b), logical_and(isnan(a), isnan(b)))


def _shares(g: Any, x: Any, v: Any, out: Any, indices: Any, key: Any) -> tuple[Any, Any, Any]:
    """Which elements of x, and which values, are the result; and the gradient for each of those that are."""
    v = v if v.dtype == x.dtype else astype(v, dtype=str(x.dtype))
    own, new = _alike(x, out), _alike(v, getitem(out, indices, key=key))
    kind = str(g.dtype)
    ties = astype(own, dtype=kind) + scatter_add(astype(new, dtype=kind), indices, key=key, shape=tuple(x.shape))
    return own, new, g / ties


def _extreme_x(g: Any, x: Any, v: Any, out: Any, indices: Any, key: Any) -> Any:
    own, _, share = _shares(g, x, v, out, indices, key)
    return where(own, share, 0.0)


def _extreme_v(g: Any, x: Any, v: Any, out: Any, indices: Any, key: Any) -> Any:
    _, new, share = _shares(g, x, v, out, indices, key)
    return where(new, getitem(share, indices, key=key), 0.0)


def _extreme(name: str, ufunc: np.ufunc, which: str) -> Op:
    def forward(x: Any, v: Any, indices: Any, *, key: Any) -> Any:
        out = _copied(x, v, indices, key)
        place = join_key(key, indices)
        if indices:
            with np.errstate(invalid="ignore"):  # of NaN
                ufunc.at(out, place, v)
        else:
            out[place] = ufunc(out[place], v)
        return out

    return op(
        f"{name}(x, v, [indices], *, key)", forward, indexing, infer_rule=put_infer, batch=put_batch,
        vjp=dict(x=_extreme_x, v=_extreme_v, indices=None), traits=("extremum", "keeps order"), examples=_EXAMPLES,
        flops=lambda x, v, indices, *, key: v.size,
        oracle=_one_by_one(ufunc), on_numpy="equal places wait for each other, and NumPy's ufunc.at goes through them",
        doc=f"""A copy of x with the {which} of what stands there and `v` at a key; ``x.at[key].{name[:3]}(v)``.

        NaN wins. The gradient is shared equally among all that are the {which}.
        """,
    )  # fmt: skip


minimum_at = _extreme("minimum_at", np.minimum, "smallest")
maximum_at = _extreme("maximum_at", np.maximum, "largest")
