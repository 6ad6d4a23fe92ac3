"""Keys of indexing: what ``x[key]`` means, and which shape it selects.

A key is split into what is static (integers, slices, new axes) and index tensors; the static part is an attribute in
which ``("index", k)`` stands for the k-th index tensor.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from tensorgraph.arguments import shown
from tensorgraph.engine import modes
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.cells import Cell
from tensorgraph.engine.open_sizes import OpenSize
from tensorgraph.engine.tape import describe_source, user_source
from tensorgraph.engine.tensor import Tensor, TraceError, as_array

__all__ = [
    "ALL", "FIRST", "SingleMask", "WholeMask", "WrongIndex", "block_of", "infer_key", "join_key", "known_numbers",
    "on_new_axes", "split_key",
]  # fmt: skip


ALL = ("slice", None, None, None)
FIRST = (("index", 0),)


class SingleMask(TypeError):
    """A boolean without axes stands in a key: see `on_new_axes`."""


class WholeMask(TypeError):
    """A key is one mask of several axes: its `positions` in a row, where the tensor has the `shape`."""

    def __init__(self, mask: np.ndarray[Any, Any], shape: tuple[int, ...]) -> None:
        super().__init__()
        self.positions = mask.reshape(-1).nonzero()[0]
        self.shape = (mask.size, *shape[mask.ndim :])


class WrongIndex(TypeError, IndexError):
    """What is no index, which NumPy calls an IndexError."""


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

    Raises
    ------
    SingleMask, WholeMask
        Where the key is better taken from another shape.
    """
    # The plan: an item at a time. Slices, integers, None and ... become literals; an array or what NumPy takes for one
    # gets a number and goes to `indices`; a mask becomes the positions where it is true, one array an axis, which needs
    # numbers and so is refused in a trace. NumPy is then asked whether masks fit, without memory of the tensor's size.
    if type(key) is int:
        return (key,), []
    if type(key) is np.ndarray:
        kind = key.dtype.kind
        if kind in "iu" and key.dtype.isnative:
            return FIRST, [key]
        if kind == "b" and key.ndim == 1 and shape and key.size == shape[0]:
            return FIRST, [key.nonzero()[0]]
    items = key if isinstance(key, tuple) else (key,)
    static: list[Any] = []
    indices: list[Any] = []
    masked = False
    for item in items:
        if type(item) is int or type(item) is OpenSize:
            static.append(item)
        elif item is None or item is Ellipsis:
            static.append("newaxis" if item is None else "...")
        elif type(item) is slice:
            static.append(("slice", _bound(item.start), _bound(item.stop), _bound(item.step)))
        elif isinstance(item, np.integer):
            static.append(int(item))
        elif type(index := _index(item)) is int:
            static.append(index)
        elif index.dtype.kind == "b":
            masked = True
            mask = _mask(index)
            if len(items) == 1 and mask.shape == shape[: mask.ndim]:
                if mask.ndim == 1:
                    return FIRST, [mask.nonzero()[0]]
                raise WholeMask(mask, shape)
            for position in mask.nonzero():
                static.append(("index", len(indices)))
                indices.append(position)
        else:
            static.append(("index", len(indices)))
            indices.append(index)
    if masked:  # a mask must have the shape of the axes it stands for: let NumPy say so
        numbers = tuple([_stand_in(item) for item in items])
        np.broadcast_to(np.empty((), bool), shape)[numbers]
    return tuple(static), indices


def _index(item: Any) -> Any:
    """What an item of a key that is no literal is: an integer, or an array or Tensor of integers or booleans."""
    if isinstance(item, (list, tuple, range)):
        item = np.asarray(item) if isinstance(item, range) else as_array(_plain(item))
        if not item.size:
            return np.zeros(item.shape, np.int64)
    if isinstance(item, (bool, np.bool_)):
        return np.asarray(item)
    if isinstance(item, (Tensor, np.ndarray)):
        if item.dtype.kind not in "iub":
            raise WrongIndex(
                f"arrays used as indices must be of integer (or boolean) type, got {item.dtype}; convert with "
                ".astype('int64')"
            )
        return item if isinstance(item, Tensor) or item.dtype.isnative else as_array(item)
    try:
        return operator.index(item)
    except TypeError:
        raise WrongIndex(f"an index holds integers, slices, None, ... and integer tensors, got {shown(item)}") from None


MOST_AXES = 64  # of an array


def _plain(items: Any, depth: int = 0) -> Any:
    """A list as an index, its tensors as numbers where these are known."""
    if isinstance(items, (list, tuple)):
        if depth == MOST_AXES:
            raise WrongIndex(f"an index holds integers in at most {MOST_AXES} lists, and one is nested deeper")
        return [_plain(item, depth + 1) for item in items]
    if isinstance(items, Tensor):
        values = known_numbers(items)
        if values is None:
            raise TraceError(
                f"a list as an index holds a value of the trace{describe_source(user_source())}; write "
                "tensorgraph.stack([...]) in its place"
            )
        return values
    return items


def _mask(mask: Any) -> np.ndarray[Any, Any]:
    """The numbers of a boolean index with axes."""
    if isinstance(mask, Tensor):
        values = known_numbers(mask)
        if values is None:
            raise TraceError(
                "a boolean index selects a number of elements that depends on numbers, which a trace does not "
                f"have{describe_source(user_source())}; use tensorgraph.where(mask, x, 0) and reduce, or integer "
                "indices"
            )
        mask = values
    if mask.ndim == 0:
        raise SingleMask("a single boolean in an index")
    return mask  # type: ignore[no-any-return]


def _stand_in(item: Any) -> Any:
    """An item of a key for NumPy to look at its shape: 0 for an integer tensor that has no numbers."""
    if isinstance(item, Tensor):
        values = known_numbers(item)
        return 0 if values is None else values
    return [_stand_in(i) for i in item] if isinstance(item, list) else item


def _bound(b: Any) -> Any:
    return b if b is None or type(b) is int or type(b) is OpenSize else operator.index(b)


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


def _is_whole(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool)


def _require_static(key: Any, count: int) -> None:
    """Refuse what is no static form of a key with so many index arrays, as a text may give it."""
    numbers: list[Any] = []
    for item in key if isinstance(key, tuple) else (None,):
        if isinstance(item, tuple) and len(item) == 2 and item[0] == "index":
            numbers.append(item[1])
        elif isinstance(item, tuple) and len(item) == 4 and item[0] == "slice":
            if not all(bound is None or _is_whole(bound) for bound in item[1:]):
                raise TypeError(f"a slice in a key has integers or None, got {item!r}")
        elif not (_is_whole(item) or (isinstance(item, str) and item in ("newaxis", "..."))):
            raise TypeError(
                'a key is a tuple of integers, "newaxis", "...", ("slice", start, stop, step) and ("index", n), '
                f"got {key!r}"
            )
    if len(numbers) != count or any(not _is_whole(n) for n in numbers) or set(numbers) != set(range(count)):
        raise TypeError(f"a key names each of its {count} index tensors once, got {key!r}")


def infer_key(x: Aval, indices: list[Aval], key: Any) -> tuple[int, ...]:
    _require_static(key, len(indices))
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
