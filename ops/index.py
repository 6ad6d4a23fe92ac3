"""Indexing: reading elements, writing into copies, and sorting.

A key is split into what is static (integers, slices, new axes) and index tensors; the static part is an attribute in
which ``("index", k)`` stands for the k-th index tensor.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from tensorgraph import modes
from tensorgraph.aval import Aval, canonical_axis
from tensorgraph.cells import Cell
from tensorgraph.declare import op
from tensorgraph.op import Op
from tensorgraph.op import index as indexing
from tensorgraph.ops.creation import canonical_shape
from tensorgraph.ops.logic import equal, where
from tensorgraph.tape import describe_source, user_source
from tensorgraph.tensor import Tensor, TraceError, as_array


def split_key(key: Any, shape: tuple[int, ...]) -> tuple[tuple[Any, ...], list[Any]]:
    """The static form of an indexing key for a tensor of this shape, and its index tensors.

    A boolean index with numbers becomes the integer indices of its true elements, as NumPy defines it.
    """
    static: list[Any] = []
    indices: list[Any] = []
    masks = False
    for item in key if isinstance(key, tuple) else (key,):
        if item is None or item is Ellipsis:
            static.append("newaxis" if item is None else "...")
        elif isinstance(item, slice):
            bounds = (item.start, item.stop, item.step)
            static.append(("slice", *[None if b is None else operator.index(b) for b in bounds]))
        elif isinstance(item, (int, np.integer)) and not isinstance(item, (bool, np.bool_)):
            static.append(int(item))
        elif isinstance(item, (Tensor, np.ndarray, list, bool, np.bool_)):
            if isinstance(item, list) and np.size(item) == 0:
                item = np.zeros(np.shape(item), np.int64)
            array = item if isinstance(item, Tensor) else as_array(item)
            if array.dtype.kind not in "iub" and array.size:
                raise TypeError(f"an index must be of integers or booleans, got {array.dtype}")
            if array.dtype.kind == "b":
                masks = True
                if isinstance(array, Tensor) and type(array._value) is np.ndarray and not isinstance(array, Cell):
                    array = array._value
            if array.dtype.kind == "b" and isinstance(array, Tensor) and modes.current().trace is not None:
                raise TraceError(
                    "a boolean index selects a number of elements that depends on numbers, which a trace does not "
                    f"have{describe_source(user_source())}; use tensorgraph.where(mask, x, 0) and reduce, or integer "
                    "indices"
                )
            if array.dtype.kind == "b":
                if array.ndim == 0:
                    raise TypeError("a single boolean is not an index; use x[None] for a new axis")
                for position in np.nonzero(np.asarray(array)):
                    static.append(("index", len(indices)))
                    indices.append(position)
                continue
            static.append(("index", len(indices)))
            indices.append(array)
        else:
            raise TypeError(f"an index holds integers, slices, None, ... and integer tensors, got {item!r}")
    if masks:  # a mask must have the shape of the axes it stands for: let NumPy say so
        numbers = tuple(
            i._value if isinstance(i, Tensor) and type(i._value) is np.ndarray else 0 if isinstance(i, Tensor) else i
            for i in (key if isinstance(key, tuple) else (key,))
        )
        np.broadcast_to(np.empty((), bool), shape)[numbers]
    return tuple(static), indices


def join_key(static: tuple[Any, ...], indices: Any) -> tuple[Any, ...]:
    """The NumPy key of a static form and its index arrays."""
    key: list[Any] = []
    for item in static:
        if item == "newaxis":
            key.append(None)
        elif item == "...":
            key.append(Ellipsis)
        elif isinstance(item, tuple) and item[0] == "slice":
            key.append(slice(*item[1:]))
        elif isinstance(item, tuple):
            index = indices[item[1]]
            if index.dtype.kind not in "iu":
                raise IndexError(f"an index tensor holds integers, got {Aval(index.shape, index.dtype)}")
            key.append(index)
        else:
            key.append(item)
    return tuple(key)


def _infer_key(x: Aval, indices: list[Aval], key: Any) -> tuple[int, ...]:
    try:
        if indices:
            return _selected(x.shape, join_key(key, indices))
        # a zero-stride stand-in costs no memory
        return np.broadcast_to(np.empty((), bool), x.shape)[join_key(key, ())].shape  # type: ignore[no-any-return]
    except IndexError as error:
        raise IndexError(f"{error} (the tensor is {x})") from None


def _selected(shape: tuple[int, ...], key: tuple[Any, ...]) -> tuple[int, ...]:
    """The shape that a key with index tensors selects, by NumPy's rules and with no memory taken."""
    consumed = sum(item is not None and item is not Ellipsis for item in key)
    if sum(item is Ellipsis for item in key) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    if consumed > len(shape):
        raise IndexError(f"too many indices for array: array is {len(shape)}-dimensional, but {consumed} were indexed")
    sizes: list[int] = []  # of the axes that no integer or index tensor takes
    places: list[int] = []  # where those stand that do, one a run of them
    empty: list[int] = []  # the axes of no elements that index tensors take from
    axis, running = 0, False
    for item in key:
        basic = item is None or item is Ellipsis or isinstance(item, slice)
        if item is None:
            sizes.append(1)
        elif item is Ellipsis:
            sizes += shape[axis : axis + len(shape) - consumed]
            axis += len(shape) - consumed
        else:
            n = shape[axis]
            if isinstance(item, slice):
                sizes.append(len(range(*item.indices(n))))
            elif isinstance(item, int) and not -n <= item < n:
                raise IndexError(f"index {item} is out of bounds for axis {axis} with size {n}")
            elif n == 0 and not item.shape:
                raise IndexError(f"index 0 is out of bounds for axis {axis} with size 0")
            elif n == 0:
                empty.append(axis)
            axis += 1
        if not basic and not running:
            places.append(len(sizes))
        running = not basic
    sizes += shape[axis:]
    taken = [item.shape for item in key if isinstance(item, Aval)]
    try:
        block = np.broadcast_shapes(*taken)
    except ValueError:
        said = " ".join(map(str, taken))
        raise IndexError(
            f"shape mismatch: indexing arrays could not be broadcast together with shapes {said}"
        ) from None
    if empty and 0 not in block:
        raise IndexError(f"index 0 is out of bounds for axis {empty[0]} with size 0")
    at = places[0] if len(places) == 1 else 0  # what is taken from places apart stands in front
    return (*sizes[:at], *block, *sizes[at:])


def _fits(v: Any, selected: tuple[int, ...]) -> None:
    if np.broadcast_shapes(v.shape, selected) != selected:
        raise ValueError(f"values of shape {v.shape} do not fit the selection's shape {selected}")


def _refuse_leading_ones(v: Any, like: Any, indices: Any, key: Any) -> None:
    """NumPy lets values have more axes than their place where those are of size 1; the shape rules do not."""
    if v.ndim and v.shape[0] == 1:
        _fits(v, _infer_key(Aval(like.shape, like.dtype), [Aval(i.shape, i.dtype) for i in indices], key))


def _getitem_infer(x: Aval, indices: list[Aval], *, key: Any) -> Aval:
    return Aval(_infer_key(x, indices, key), x.dtype)


getitem: Op = op(
    "getitem(x, [indices], *, key)", lambda x, indices, *, key: x[join_key(key, indices)], indexing,
    infer_rule=_getitem_infer, linear=True, view=True,
    vjp=dict(
        x=lambda g, x_aval, indices, key: scatter_add(g, indices, key=key, shape=tuple(x_aval.shape)), indices=None
    ),
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


def _scatter_add(g: Any, indices: Any, *, key: Any, shape: Any) -> Any:
    out = np.zeros(canonical_shape(shape), g.dtype)
    if indices:
        # NumPy's add.at reads outside its memory where g has too many axes
        _fits(g, _infer_key(Aval(out.shape, out.dtype), [Aval(i.shape, i.dtype) for i in indices], key))
        np.add.at(out, join_key(key, indices), g)
    else:
        _refuse_leading_ones(g, out, indices, key)
        out[join_key(key, indices)] = g
    return out


def _scatter_infer(g: Aval, indices: list[Aval], *, key: Any, shape: Any) -> Aval:
    out = Aval(canonical_shape(shape), g.dtype)
    _fits(g, _infer_key(out, indices, key))
    return out


scatter_add: Op = op(
    "scatter_add(g, [indices], *, key, shape)", _scatter_add, indexing, infer_rule=_scatter_infer, linear=True,
    flops=lambda g, indices, *, key, shape: g.size if indices else 0,
    vjp=dict(g=lambda g, indices, key: getitem(g, indices, key=key), indices=None),
    examples=(
        (((4,), []), dict(key=(1,), shape=(3, 4))),
        (((3, 4), [np.array([0, 2, 2])]), dict(key=(("index", 0),), shape=(3, 4))),
    ),
    doc="Zeros of a shape with `g` added at a key: what `getitem` undoes.",
)  # fmt: skip


def _storable(v: Any, x: Any) -> None:
    if not np.can_cast(v.dtype, x.dtype, "same_kind"):
        raise TypeError(
            f"values of {v.dtype} cannot be stored in a tensor of {x.dtype} without loss; convert them with "
            f".astype('{x.dtype}')"
        )


def _put(x: Any, v: Any, indices: Any, *, key: Any) -> Any:
    if v.dtype is not x.dtype:
        _storable(v, x)
    _refuse_leading_ones(v, x, indices, key)
    out = x.copy()
    out[join_key(key, indices)] = v
    return out


def _put_infer(x: Aval, v: Aval, indices: list[Aval], *, key: Any) -> Aval:
    _storable(v, x)
    _fits(v, _infer_key(x, indices, key))
    return Aval(x.shape, x.dtype)


def _put_x(g: Any, indices: Any, key: Any) -> Any:
    return put(g, np.zeros((), g.dtype), indices, key=key)


def _put_v(g: Any, x_aval: Any, indices: Any, key: Any) -> Any:
    chosen = getitem(g, indices, key=key)
    if not indices:
        return chosen
    # where an element is written twice the last write stands: number the writes and see whose number is found
    numbers = np.arange(int(np.prod(chosen.shape)), dtype=np.int64).reshape(chosen.shape)
    stood = put(np.zeros(x_aval.shape, np.int64), numbers, indices, key=key)
    return where(equal(getitem(stood, indices, key=key), numbers), chosen, 0.0)


put: Op = op(
    "put(x, v, [indices], *, key)", _put, indexing, infer_rule=_put_infer,
    vjp=dict(x=_put_x, v=_put_v, indices=None),
    examples=(
        (((3, 4), (4,), []), dict(key=(1,))),
        (((3, 4), (), []), dict(key=(("slice", 0, 2, None), 1))),
        (((3, 4), (3, 4), [np.array([0, 2, 2])]), dict(key=(("index", 0),))),
    ),
    doc="A copy of x with `v` written at a key; ``x.at[key].set(v)``. The last write to an element stands.",
)  # fmt: skip


def _along_infer(x: Aval, indices: Aval, *, axis: int) -> Aval:
    k = canonical_axis(axis, x.ndim)
    if indices.dtype.kind not in "iu":
        raise IndexError(f"an index tensor holds integers, got {indices}")
    if indices.ndim != x.ndim:
        raise ValueError(f"indices need as many axes as x, got {indices.ndim} and {x.ndim}")
    shapes = [tuple(1 if i == k else n for i, n in enumerate(a.shape)) for a in (x, indices)]
    rest = np.broadcast_shapes(*shapes)
    return Aval(tuple(indices.shape[k] if i == k else n for i, n in enumerate(rest)), x.dtype)


take_along_axis: Op = op(
    "take_along_axis(x, indices, *, axis=-1)",
    lambda x, indices, *, axis=-1: np.take_along_axis(x, indices, canonical_axis(axis, x.ndim)), indexing,
    infer_rule=_along_infer,
    numpy=(np.take_along_axis,), linear=True,
    vjp=dict(
        x=lambda g, indices, x_aval, axis: add_along_axis(g, indices, axis=axis, shape=tuple(x_aval.shape)),
        indices=None,
    ),
    examples=((((3, 4), np.array([[0], [3], [1]])), dict(axis=1)), (((3, 4), np.array([[0, 1, 1, 2]])), dict(axis=0))),
    doc="Elements picked along an axis by an index tensor of as many axes.",
)  # fmt: skip


def _add_along_axis(g: Any, indices: Any, *, axis: int, shape: Any) -> Any:
    aval = _add_along_infer(Aval(g.shape, g.dtype), Aval(indices.shape, indices.dtype), axis=axis, shape=shape)
    out = np.zeros(aval.shape, g.dtype)
    k = canonical_axis(axis, out.ndim)
    indices = np.broadcast_to(indices, g.shape)
    # an axis of size 1 was repeated: all of it comes back to the one place
    grid = np.ogrid[tuple(slice(n) for n in g.shape)]
    places = (n if out.shape[i] > 1 else np.zeros_like(n) for i, n in enumerate(grid))
    np.add.at(out, tuple(indices if i == k else n for i, n in enumerate(places)), g)
    return out


def _add_along_infer(g: Aval, indices: Aval, *, axis: Any, shape: Any) -> Aval:
    out = Aval(canonical_shape(shape), g.dtype)
    taken = _along_infer(out, indices, axis=axis)
    if taken.shape != g.shape:
        raise ValueError(f"indices of shape {indices.shape} take {taken.shape} from {out.shape}, so g cannot be {g}")
    return out


add_along_axis: Op = op(
    "add_along_axis(g, indices, *, axis, shape)", _add_along_axis, indexing, infer_rule=_add_along_infer, linear=True,
    flops=lambda g, indices, *, axis, shape: g.size,
    vjp=dict(g=lambda g, indices, axis: take_along_axis(g, indices, axis=axis), indices=None),
    examples=((((3, 1), np.array([[0], [3], [1]])), dict(axis=1, shape=(3, 4))),),
    doc="Zeros of a shape with `g` added along an axis: what `take_along_axis` undoes.",
)  # fmt: skip


def _sort(x: Any, *, axis: int = -1) -> Any:
    k = canonical_axis(axis, x.ndim)
    order = np.argsort(x, axis=k, kind="stable")
    return np.take_along_axis(x, order, k), order


def _sort_flops(x: Aval, *, axis: int) -> int:
    """Comparisons of a merge sort."""
    n = x.shape[axis]
    return x.size * max(n - 1, 0).bit_length()


sort = op(
    "sort(x, *, axis=-1)", _sort, indexing, residuals=("order",), numpy=(np.sort,), method="sort", analytic=False,
    flops=_sort_flops, scratch=lambda x, *, axis: 8 * x.size,
    infer_rule=lambda x, *, axis: Aval(x.shape, (canonical_axis(axis, x.ndim), x.dtype)[1]),
    vjp=dict(x=lambda g, order, x_aval, axis: add_along_axis(g, order, axis=axis, shape=tuple(x_aval.shape))),
    examples=((((3, 4),), {}), (((3, 4),), dict(axis=0))),
    doc="Elements in ascending order along an axis, NaN last, ties in their old order.",
)  # fmt: skip


def _getitem_method(self: Tensor, key: Any) -> Tensor:
    static, indices = split_key(key, self.shape)
    return getitem.public(self, indices, key=static)  # type: ignore[no-any-return]


setattr(Tensor, "__getitem__", _getitem_method)  # noqa: B010
