"""Keys of indexing: what ``x[key]`` means, and which shape it selects.

A key is split into what is static (integers, slices, new axes) and index tensors; the static part is an attribute in
which ``("index", k)`` stands for the k-th index tensor.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from tensorgraph.engine import modes
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.cells import Cell
from tensorgraph.engine.tape import describe_source, user_source
from tensorgraph.engine.tensor import Tensor, TraceError, as_array

__all__ = ["SingleMask", "block_of", "infer_key", "join_key", "known_numbers", "on_new_axes", "split_key"]


class SingleMask(TypeError):
    """A boolean without axes stands in a key: see `on_new_axes`."""


def on_new_axes(key: Any, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[Any, ...]]:
    """A key with single booleans as one without: each takes from a new axis, as NumPy defines it, its element or none.

    Gives where the new axes stand, and the key for the tensor that has them.
    """
    items = key if isinstance(key, tuple) else (key,)
    sizes = [0 if item is None or item is Ellipsis or _is_single(item) else _axes_of(item) for item in items]
    axis, axes, changed = 0, [], []
    for item, size in zip(items, sizes, strict=True):
        if _is_single(item):
            axes.append(axis)
            changed.append(np.zeros(int(bool(item)), np.int64))
            axis += 1
        else:
            changed.append(item)
            axis += len(shape) - sum(sizes) if item is Ellipsis else size
    return tuple(axes), tuple(changed)


def known_numbers(x: Tensor) -> np.ndarray[Any, Any] | None:
    """The numbers of a tensor where they are known now; None for what a trace computes and for its cells."""
    if modes.current().trace is not None and (type(x._value) is not np.ndarray or isinstance(x, Cell)):
        return None
    values: np.ndarray[Any, Any] = x._value
    return values


def _is_single(item: Any) -> bool:
    return isinstance(item, (bool, np.bool_)) or (
        isinstance(item, (Tensor, np.ndarray)) and item.ndim == 0 and item.dtype.kind == "b"
    )


def _axes_of(item: Any) -> int:
    """How many axes an item of a key takes: a mask as many as it has."""
    array = np.asarray(item) if isinstance(item, list) else item
    return int(array.ndim) if getattr(getattr(array, "dtype", None), "kind", "") == "b" else 1


def split_key(key: Any, shape: tuple[int, ...]) -> tuple[tuple[Any, ...], list[Any]]:
    """The static form of an indexing key for a tensor of this shape, and its index tensors.

    A boolean index with numbers becomes the integer indices of its true elements, as NumPy defines it.
    """
    # The plan: an item at a time. Slices, integers, None and ... become literals; an array or a list takes a number and
    # goes to `indices`; a mask becomes the positions where it is true, one array an axis, which needs numbers and so is
    # refused in a trace. NumPy is then asked whether masks fit, without memory of the tensor's size.
    if type(key) is int:
        return (key,), []
    if type(key) is np.ndarray and key.dtype.kind in "iu" and key.dtype.isnative:
        return (("index", 0),), [key]
    static: list[Any] = []
    indices: list[Any] = []
    masks = False
    for item in key if isinstance(key, tuple) else (key,):
        if type(item) is int:
            static.append(item)
        elif item is None or item is Ellipsis:
            static.append("newaxis" if item is None else "...")
        elif isinstance(item, slice):
            static.append(("slice", _bound(item.start), _bound(item.stop), _bound(item.step)))
        elif type(item) is np.ndarray and item.dtype.kind in "iu" and item.dtype.isnative:
            static.append(("index", len(indices)))
            indices.append(item)
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
                    raise SingleMask("a single boolean in an index")
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


def _bound(b: Any) -> int | None:
    return b if b is None or type(b) is int else operator.index(b)


def join_key(static: tuple[Any, ...], indices: Any) -> tuple[Any, ...]:
    """The NumPy key of a static form and its index arrays."""
    key: list[Any] = []
    for item in static:
        if type(item) is int:
            key.append(item)
        elif item == "newaxis":
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


def infer_key(x: Aval, indices: list[Aval], key: Any) -> tuple[int, ...]:
    try:
        if indices:
            return _selected(x.shape, join_key(key, indices))
        # a zero-stride stand-in costs no memory
        return np.broadcast_to(np.empty((), bool), x.shape)[join_key(key, ())].shape  # type: ignore[no-any-return]
    except IndexError as error:
        raise IndexError(f"{error} (the tensor is {x})") from None


def block_of(x: Aval, indices: list[Aval], key: Any) -> tuple[int, int, bool]:
    """Where what index tensors take stands in the result: its first axis, how many it has, and whether they are in
    front because they are taken from places apart."""
    _, block, places = _parts(x.shape, join_key(key, indices))
    return places[0] if len(places) == 1 else 0, len(block), len(places) > 1


def _selected(shape: tuple[int, ...], key: tuple[Any, ...]) -> tuple[int, ...]:
    """The shape that a key with index tensors selects, by NumPy's rules and with no memory taken."""
    sizes, block, places = _parts(shape, key)
    at = places[0] if len(places) == 1 else 0  # what is taken from places apart stands in front
    return (*sizes[:at], *block, *sizes[at:])


def _parts(shape: tuple[int, ...], key: tuple[Any, ...]) -> tuple[list[int], tuple[int, ...], list[int]]:
    """The sizes of the axes that stay, those of what index tensors take, and where in the first that stands."""
    # An axis at a time: what a slice leaves, what an ellipsis stands for, 1 for None; integers and index tensors take
    # theirs away, and where they stand is noted. Index tensors are broadcast to one block; NumPy's errors, in NumPy's
    # words.
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
    return sizes, block, places
