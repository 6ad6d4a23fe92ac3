"""Indexing: reading elements and writing into copies."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgraph.engine.aval import Aval
from tensorgraph.engine.batching import BatchCall, moved, reshaped, widened
from tensorgraph.engine.declare import op
from tensorgraph.engine.keys import (
    ALL,
    FIRST,
    SingleMask,
    WholeMask,
    block_of,
    infer_key,
    join_key,
    on_new_axes,
    split_key,
)
from tensorgraph.engine.op import Op
from tensorgraph.engine.op import index as indexing
from tensorgraph.engine.tensor import Tensor
from tensorgraph.ops.creation import arange, beside, canonical_shape, zeros
from tensorgraph.ops.kernels.along import add_shared
from tensorgraph.ops.kernels.scatter import scatter_rows
from tensorgraph.ops.kernels.taking import take_whole
from tensorgraph.ops.logic import equal, where
from tensorgraph.ops.shape import expand_dims, reshape, transpose


def _fits(v: Any, selected: tuple[int, ...]) -> None:
    if np.broadcast_shapes(v.shape, selected) != selected:
        raise ValueError(f"values of shape {v.shape} do not fit the selection's shape {selected}")


def refuse_leading_ones(v: Any, like: Any, indices: Any, key: Any) -> None:
    """NumPy lets values have more axes than their place where those are of size 1; the shape rules do not."""
    if v.ndim and v.shape[0] == 1:
        _fits(v, infer_key(Aval(like.shape, like.dtype), [Aval(i.shape, i.dtype) for i in indices], key))


# batches of keys ---------------------------------------------------------------------------------------------------


def _examples_of(
    call: BatchCall, shape: tuple[int, ...], indices: Any, on: Any
) -> tuple[Any, Any, tuple[int, int, bool]]:
    """The key and the index tensors of all examples at once, and where in one example's selection these stand.

    With index tensors of its own for each example, the number of the example becomes one more index tensor; what they
    take then stands behind it, before all else.
    """
    key = call.attrs["key"]
    avals = [Aval(i.shape[1:] if o else i.shape, i.dtype) for i, o in zip(indices, on, strict=True)]
    if not avals:
        return (ALL, *key), [], (0, 0, False)
    at, ndim, apart = block_of(Aval(shape, bool), avals, key)
    if not any(on):
        return (ALL, *key), indices, (at, ndim, apart)
    own = [widened(i, ndim, o) for i, o in zip(indices, on, strict=True)]
    number = reshaped(beside(own[0], arange, start=call.size), call.size, *(1,) * ndim)
    return (("index", len(own)), *key), [*own, number], (at, ndim, apart)


def _getitem_batch(call: BatchCall) -> Any:
    (x, indices), (x_on, on) = call.args, call.on
    if not x_on:  # each example takes its own elements of the same tensor
        avals = [Aval(i.shape[1:] if o else i.shape, i.dtype) for i, o in zip(indices, on, strict=True)]
        at, ndim, _ = block_of(Aval(x.shape, bool), avals, call.attrs["key"])
        return moved(call.run(x, [widened(i, ndim, o) for i, o in zip(indices, on, strict=True)]), at, 0)
    key, own, (at, ndim, apart) = _examples_of(call, call.shape(0), indices, on)
    out = call.run(x, own, key=key)
    if any(on):
        return _block_to(out, 1, 1 + at, ndim)
    return moved(out, ndim if apart else 0, 0)


def _block_to(x: Any, source: int, target: int, ndim: int) -> Any:
    """Some axes in a row moved to another place."""
    rest = [i for i in range(len(x.shape)) if not source <= i < source + ndim]
    order = (*rest[:target], *range(source, source + ndim), *rest[target:])
    return x if order == tuple(range(len(order))) else transpose(x, axes=order)


def _laid(v: Any, v_on: bool, selected: tuple[int, ...], own: bool, place: tuple[int, int, bool]) -> Any:
    """Values as what the key of all examples selects: with the batch axis, or so that they broadcast over it."""
    at, ndim, apart = place
    if not v_on:
        v = reshaped(v, 1, *v.shape)
    v = widened(v, len(selected), True)
    if own:
        return _block_to(v, 1 + at, 1, ndim)
    return moved(v, 0, ndim if apart else 0)


def _scatter_batch(call: BatchCall) -> Any:
    (g, indices), (g_on, on) = call.args, call.on
    shape = canonical_shape(call.attrs["shape"])
    key, own, place = _examples_of(call, shape, indices, on)
    selected = infer_key(Aval(shape, bool), call.avals()[1], call.attrs["key"])
    return call.run(_laid(g, g_on, selected, any(on), place), own, key=key, shape=(call.size, *shape))


def put_batch(call: BatchCall) -> Any:
    (_, v, indices), (_, v_on, on) = call.args, call.on
    shape = call.shape(0)
    key, own, place = _examples_of(call, shape, indices, on)
    selected = infer_key(Aval(shape, bool), call.avals()[2], call.attrs["key"])
    return call.run(call.whole(0), _laid(v, v_on, selected, any(on), place), own, key=key)


def _getitem_infer(x: Aval, indices: list[Aval], *, key: Any) -> Aval:
    return Aval(infer_key(x, indices, key), x.dtype)


def _taken_axis(key: Any) -> int | None:
    """The axis that one index tensor takes from, where the rest of the key is all of the other axes; else None."""
    axis = None
    for i, item in enumerate(key):
        if type(item) is tuple and item[0] == "index":
            if axis is not None:
                return None
            axis = i
        elif item != ALL and not (item == "..." and axis is not None):
            return None
    return axis


def _getitem(x: Any, indices: Any, *, key: Any) -> Any:
    if len(indices) == 1 and (axis := 0 if key is FIRST else _taken_axis(key)) is not None and x.flags.c_contiguous:
        index = indices[0]
        # for whole rows this is two to five times faster than a key
        if index.dtype.kind in "iu" and index.dtype != np.uint64 and axis < x.ndim:
            return take_whole(x, index, axis)
    return x[join_key(key, indices)]


getitem: Op = op(
    "getitem(x, [indices], *, key)", _getitem, indexing, native="gather:native_getitem",
    infer_rule=_getitem_infer, batch=_getitem_batch,
    vjp=dict(
        x=lambda g, x_aval, indices, key: scatter_add(g, indices, key=key, shape=tuple(x_aval.shape)), indices=None
    ), traits=("view", "gathers", "moves", "linear"),
    examples=(
        (((3, 4), []), dict(key=(1,))),
        (((3, 4), []), dict(key=(("slice", None, None, -1), ("slice", 0, 3, 2)))),
        (((3, 4), []), dict(key=("...", "newaxis", 2))),
        (((3, 4), [np.array([0, 2, 2])]), dict(key=(("index", 0),))),
        (((3, 4), [np.array([0, 2, 2]), np.array([1, 1, 1])]), dict(key=(("index", 0), ("index", 1)))),
        (((3, 2, 4), [np.array([[0, 1]])]), dict(key=(("slice", None, None, None), ("index", 0), 1))),
    ),
    doc="``x[key]``: the elements a NumPy key selects.",
)  # fmt: skip


def selected_places(shape: tuple[int, ...], key: Any, indices: Any) -> tuple[Any, int]:
    """What a key with index tensors selects, as numbers of rows of its first axes, and how many axes those are.

    The axes behind the last that the key names are selected whole: they are the columns.
    """
    named = list(key)
    while named[-1] in ("...", ALL):
        named.pop()
    if len(named) <= len(shape) and all(type(item) is tuple and item[0] == "index" for item in named):
        return _rows(shape, [indices[item[1]] for item in named]), len(named)
    if "..." in named:  # which stands for more axes where those behind are left out
        named = list(key)
    axes = len(shape) if "..." in named else sum(item != "newaxis" for item in named)
    numbers = np.arange(math.prod(shape[:axes])).reshape(shape[:axes])
    return _getitem(numbers, indices, key=tuple(named)), axes


def _rows(shape: tuple[int, ...], indices: list[Any]) -> Any:
    """Index tensors of the first axes as numbers of rows."""
    rows: Any = 0
    for axis, (n, index) in enumerate(zip(shape, indices, strict=False)):
        if index.dtype.kind not in "iu":
            raise IndexError(f"an index tensor holds integers, got {Aval(index.shape, index.dtype)}")
        if index.size:
            low, high = index.min(), index.max()
            if high >= n or low < -n:
                raise IndexError(f"index {high if high >= n else low} is out of bounds for axis {axis} with size {n}")
            if low < 0:
                index = np.where(index < 0, index + n, index)
        index = index.astype(np.int64, copy=False)
        rows = rows * n + index if axis else index
    return rows


def _scatter_add(g: Any, indices: Any, *, key: Any, shape: Any) -> Any:
    shape = canonical_shape(shape)
    if not indices:
        out = np.zeros(shape, g.dtype)
        refuse_leading_ones(g, out, indices, key)
        out[join_key(key, indices)] = g
        return out
    if len(indices) == 1 and (axis := _taken_axis(key)) and axis < len(shape) and indices[0].dtype.kind in "iu":
        shared = add_shared(g, indices[0], axis, shape)
        if shared is not None:
            return shared
    places, axes = selected_places(shape, key, indices)
    selected = (*places.shape, *shape[axes:])
    if g.shape != selected:
        _fits(g, selected)
        g = np.broadcast_to(g, selected)
    rows, columns = math.prod(shape[:axes]), math.prod(shape[axes:])
    g = g.reshape(places.size, columns)
    return scatter_rows(g, places.reshape(-1), rows).reshape(shape)


def _scatter_infer(g: Aval, indices: list[Aval], *, key: Any, shape: Any) -> Aval:
    out = Aval(canonical_shape(shape), g.dtype)
    _fits(g, infer_key(out, indices, key))
    return out


scatter_add: Op = op(
    "scatter_add(g, [indices], *, key, shape)", _scatter_add, indexing, infer_rule=_scatter_infer,
    native="gather:native_scatter_add",
    batch=_scatter_batch,
    flops=lambda g, indices, *, key, shape: g.size if indices else 0,
    vjp=dict(g=lambda g, indices, key: getitem(g, indices, key=key), indices=None),
    traits=("linear", "keeps order", "increasing"),
    examples=(
        (((4,), []), dict(key=(1,), shape=(3, 4))),
        (((3, 4), [np.array([0, 2, 2])]), dict(key=(("index", 0),), shape=(3, 4))),
    ),
    doc="Zeros of a shape with `g` added at a key: what `getitem` undoes.",
)  # fmt: skip


def storable(v: Any, x: Any) -> None:
    if not np.can_cast(v.dtype, x.dtype, "same_kind"):
        raise TypeError(
            f"values of {v.dtype} cannot be stored in a tensor of {x.dtype} without loss; convert them with "
            f".astype('{x.dtype}')"
        )


def _put(x: Any, v: Any, indices: Any, *, key: Any) -> Any:
    if v.dtype is not x.dtype:
        storable(v, x)
    refuse_leading_ones(v, x, indices, key)
    out = x.copy()
    out[join_key(key, indices)] = v
    return out


def put_infer(x: Aval, v: Aval, indices: list[Aval], *, key: Any) -> Aval:
    storable(v, x)
    _fits(v, infer_key(x, indices, key))
    return Aval(x.shape, x.dtype)


def _put_x(g: Any, indices: Any, key: Any) -> Any:
    return put(g, np.zeros((), g.dtype), indices, key=key)


def _put_v(g: Any, x_aval: Any, indices: Any, key: Any) -> Any:
    chosen = getitem(g, indices, key=key)
    if not indices:
        return chosen
    # where an element is written twice the last write stands: number the writes and see whose number is found
    numbers = reshape(beside(chosen, arange, start=math.prod(chosen.shape)), shape=tuple(chosen.shape))
    stood = put(beside(chosen, zeros, shape=x_aval.shape, dtype="int64"), numbers, indices, key=key)
    return where(equal(getitem(stood, indices, key=key), numbers), chosen, 0.0)


put: Op = op(
    "put(x, v, [indices], *, key)", _put, indexing, native="joining:native_put", infer_rule=put_infer, batch=put_batch,
    vjp=dict(x=_put_x, v=_put_v, indices=None), traits=("moves", "analytic", "keeps order"),
    examples=(
        (((3, 4), (4,), []), dict(key=(1,))),
        (((3, 4), (), []), dict(key=(("slice", 0, 2, None), 1))),
        (((3, 4), (3, 4), [np.array([0, 2, 2])]), dict(key=(("index", 0),))),
    ),
    doc="A copy of x with `v` written at a key; ``x.at[key].set(v)``. The last write to an element stands.",
)  # fmt: skip


def _getitem_method(self: Tensor, key: Any) -> Tensor:
    try:
        static, indices = split_key(key, self.shape)
    except SingleMask:
        axes, key = on_new_axes(key, self.shape)
        return expand_dims.public(self, axis=axes)[key]  # type: ignore[no-any-return]
    except WholeMask as mask:
        return getitem.public(reshape.public(self, shape=mask.shape), [mask.positions], key=FIRST)  # type: ignore[no-any-return]
    return getitem.public(self, indices, key=static)  # type: ignore[no-any-return]


setattr(Tensor, "__getitem__", _getitem_method)  # noqa: B010
