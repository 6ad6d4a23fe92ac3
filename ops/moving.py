"""Functions that put elements elsewhere, composed of ops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from tensorgraph.engine.aval import broadcast_shapes, canonical_axis
from tensorgraph.engine.functions import function, static
from tensorgraph.engine.numbers import TracedScalar, is_number
from tensorgraph.engine.operands import SCALARS, array_beside, convert, weak_items
from tensorgraph.engine.tensor import Tensor, wrap
from tensorgraph.ops import arithmetic, creation, logic, shape

__all__: list[str] = []

TensorLike = Any
Axes = int | Sequence[int]


def of(x: Any, what: str, beside: Sequence[Any] = ()) -> Tensor:
    """An argument as a tensor, Python's floats with the digits of the arguments `beside`."""
    if type(x) in SCALARS:
        return wrap(array_beside(x, beside))
    if x is None:
        raise TypeError(f"{what}: expected a tensor, got None")
    made: Tensor = convert(x, lambda: what, True, beside)  # the result may be the argument itself
    return made


def together(name: str, **values: Any) -> list[Tensor]:
    """Arguments of a function as tensors, a number in the dtype of the floats that it meets: it has all its digits."""
    given = tuple(values.values())
    made = {
        key: v if is_number(v) or isinstance(v, np.generic) else of(v, f"{name}: {key}", given)
        for key, v in values.items()
    }
    tensors = [v for v in made.values() if isinstance(v, Tensor) and not (is_number(v) or type(v) is TracedScalar)]
    floats = [v.dtype for v in tensors if v.dtype.kind == "f"]
    kind = np.result_type(*floats) if floats else None
    return [v if any(v is t for t in tensors) else number(v, kind, f"{name}: {key}") for key, v in made.items()]


def number(x: Any, kind: np.dtype[Any] | None, what: str) -> Tensor:
    """A number in a dtype of floats, if that is told: Python's, traced or not, or NumPy's."""
    if kind is None or isinstance(x, (bool, np.bool_)):
        return of(x, what)
    if type(x) in SCALARS or isinstance(x, np.generic):
        return wrap(np.asarray(x, kind))
    return arithmetic.multiply.public(x, np.ones((), kind))  # type: ignore[no-any-return]


def each(xs: Any, what: str) -> list[Tensor]:
    if isinstance(xs, Tensor):
        return list(xs)
    return [of(x, what) for x in weak_items(xs)]


def _axes(axis: Axes, ndim: int) -> tuple[int, ...]:
    axes = tuple([canonical_axis(a, ndim) for a in ((axis,) if isinstance(axis, (int, np.integer)) else axis)])
    if len({*axes}) != len(axes):
        raise ValueError(f"an axis is named twice: {axis}")
    return axes


def taken(x: Tensor, places: Any, axis: int) -> Tensor:
    key: list[Any] = [slice(None)] * x.ndim
    key[axis] = places
    return x[tuple(key)]


# order of axes ------------------------------------------------------------------------------------------------------


@function(
    numpy=(np.moveaxis,), also=("movedim",), methods=("moveaxis", "movedim"),
    examples=((((2, 3, 4), 0, -1), {}), (((2, 3, 4), static((0, 1)), static((-1, 0))), {})),
)  # fmt: skip
def moveaxis(x: TensorLike, source: Axes, destination: Axes) -> Tensor:
    """Axes moved to other places, the others in their order.

    >>> import tensorgraph as tg
    >>> tg.moveaxis(tg.zeros((2, 3, 4)), 0, -1).shape
    (3, 4, 2)
    """
    x = of(x, "moveaxis: x")
    given, wanted = _axes(source, x.ndim), _axes(destination, x.ndim)
    if len(given) != len(wanted):
        raise ValueError(f"moveaxis: {len(given)} axes to be moved to {len(wanted)} places")
    order = [n for n in range(x.ndim) if n not in given]
    for to, axis in sorted(zip(wanted, given, strict=True)):
        order.insert(to, axis)
    return shape.transpose.public(x, axes=tuple(order))  # type: ignore[no-any-return]


@function(numpy=(np.swapaxes,), also=("swapdims",), methods=("swapaxes",), examples=((((2, 3, 4), 0, -1), {}),))
def swapaxes(x: TensorLike, axis1: int, axis2: int) -> Tensor:
    """Two axes exchanged."""
    x = of(x, "swapaxes: x")
    order = list(range(x.ndim))
    a, b = canonical_axis(axis1, x.ndim), canonical_axis(axis2, x.ndim)
    order[a], order[b] = order[b], order[a]
    return shape.transpose.public(x, axes=tuple(order))  # type: ignore[no-any-return]


@function(numpy=(np.rot90,), examples=((((2, 3),), {}), (((2, 3, 4), 3, static((1, 2))), {}), (((2, 3), 2), {})))
def rot90(x: TensorLike, k: int = 1, axes: Sequence[int] = (0, 1)) -> Tensor:
    """Turned by k right angles in the plane of two axes, from the first towards the second."""
    x = of(x, "rot90: x")
    if len(axes) != 2:
        raise ValueError(f"rot90: axes must be two, got {len(axes)}")
    a, b = (canonical_axis(axis, x.ndim) for axis in axes)
    if a == b:
        raise ValueError(f"rot90: axes must be two different ones, got {tuple(axes)}")
    k %= 4
    if k == 2:
        return shape.flip.public(x, axis=(a, b))  # type: ignore[no-any-return]
    if k == 1:
        return swapaxes(shape.flip.public(x, axis=b), a, b)  # type: ignore[no-any-return]
    return x if k == 0 else shape.flip.public(swapaxes(x, a, b), axis=b)  # type: ignore[no-any-return]


@function(numpy=(np.fliplr,), examples=((((2, 3),), {}),))
def fliplr(x: TensorLike) -> Tensor:
    """The second axis backwards."""
    return shape.flip.public(x, axis=1)  # type: ignore[no-any-return]


@function(numpy=(np.flipud,), examples=((((2, 3),), {}),))
def flipud(x: TensorLike) -> Tensor:
    """The first axis backwards."""
    return shape.flip.public(x, axis=0)  # type: ignore[no-any-return]


# shapes -------------------------------------------------------------------------------------------------------------


@function(numpy=(np.ravel,), methods=("ravel",), examples=((((2, 3),), {}), (((),), {})))
def ravel(x: TensorLike) -> Tensor:
    """All elements along one axis."""
    return shape.reshape.public(of(x, "ravel: x"), shape=(-1,))  # type: ignore[no-any-return]


@function(
    methods=("flatten",), examples=((((2, 3, 4),), {}), (((2, 3, 4), 1), {}), (((2, 3, 4), 0, 1), {}), (((),), {}))
)
def flatten(x: TensorLike, start_axis: int = 0, end_axis: int = -1) -> Tensor:
    """The axes from `start_axis` to `end_axis`, both included, made one.

    >>> import tensorgraph as tg
    >>> tg.zeros((2, 3, 4)).flatten(1).shape
    (2, 12)
    """
    x = of(x, "flatten: x")
    if not x.ndim:
        return shape.reshape.public(x, shape=(1,))  # type: ignore[no-any-return]
    a, b = canonical_axis(start_axis, x.ndim), canonical_axis(end_axis, x.ndim)
    if a > b:
        raise ValueError(f"flatten: start_axis {start_axis} comes after end_axis {end_axis}")
    joined = math.prod(x.shape[a : b + 1])
    return shape.reshape.public(x, shape=(*x.shape[:a], joined, *x.shape[b + 1 :]))  # type: ignore[no-any-return]


@function(examples=((((2, 12), 1, static((3, 4))), {}), (((2, 12), -1, static((-1, 4))), {})))
def unflatten(x: TensorLike, axis: int, sizes: Sequence[int]) -> Tensor:
    """One axis made several; one of the sizes may be -1."""
    x = of(x, "unflatten: x")
    k = canonical_axis(axis, x.ndim)
    free = [n for n in sizes if n == -1]
    known = math.prod([n for n in sizes if n != -1])
    if len(free) > 1 or (free and (not known or x.shape[k] % known)) or (not free and known != x.shape[k]):
        raise ValueError(f"unflatten: {x.shape[k]} elements along axis {axis} do not make {tuple(sizes)}")
    full = [x.shape[k] // known if n == -1 else n for n in sizes]
    return shape.reshape.public(x, shape=(*x.shape[:k], *full, *x.shape[k + 1 :]))  # type: ignore[no-any-return]


def _at_least(x: Any, ndim: int, before: int, name: str) -> Tensor:
    """With axes of size 1 put in, so many of them `before` the others."""
    t = of(x, f"{name}: x")
    missing = max(ndim - t.ndim, 0)
    first = min(before if t.ndim else missing, missing)
    if not missing:
        return t
    return shape.reshape.public(t, shape=(*(1,) * first, *t.shape, *(1,) * (missing - first)))  # type: ignore[no-any-return]


def _each_at_least(xs: Sequence[Any], ndim: int, name: str) -> Any:
    results = tuple(_at_least(x, ndim, 1 if np.ndim(x) == 1 or ndim < 3 else 0, name) for x in xs)
    return results[0] if len(results) == 1 else results


@function(numpy=(np.atleast_1d,), examples=((((),), {}), (((3,),), {}), (((), (2, 3)), {})))
def atleast_1d(*xs: TensorLike) -> Any:
    """With one axis at least; several tensors give a tuple."""
    return _each_at_least(xs, 1, "atleast_1d")


@function(numpy=(np.atleast_2d,), examples=((((),), {}), (((3,),), {}), (((2, 3),), {})))
def atleast_2d(*xs: TensorLike) -> Any:
    """With two axes at least; a vector becomes a row."""
    return _each_at_least(xs, 2, "atleast_2d")


@function(numpy=(np.atleast_3d,), examples=((((),), {}), (((3,),), {}), (((2, 3),), {})))
def atleast_3d(*xs: TensorLike) -> Any:
    """With three axes at least, as NumPy puts them in: a vector in the middle, a matrix in front."""
    return _each_at_least(xs, 3, "atleast_3d")


# joining, taking apart, repeating -----------------------------------------------------------------------------------


@function(methods=("unstack", "unbind"), also=("unbind",), numpy=(getattr(np, "unstack", None),),
          examples=((((2, 3),), {}), (((2, 3), ), dict(axis=-1))))  # fmt: skip
def unstack(x: TensorLike, axis: int = 0) -> tuple[Tensor, ...]:
    """The parts along an axis, each without it."""
    x = of(x, "unstack: x")
    k = canonical_axis(axis, x.ndim)
    return tuple(taken(x, i, k) for i in range(x.shape[k]))


def _joined(xs: Any, name: str, ndim: int, axis: int) -> Tensor:
    parts = [_at_least(x, ndim, 1, name) for x in each(xs, f"{name}: xs")]
    return shape.concatenate.public(parts, axis=axis)  # type: ignore[no-any-return]


@function(numpy=(np.hstack,), examples=((([(2, 3), (2, 1)],), {}), (([(2,), (3,)],), {})))
def hstack(xs: Sequence[TensorLike]) -> Tensor:
    """Tensors joined along their second axis, vectors along their only one."""
    parts = [_at_least(x, 1, 1, "hstack") for x in each(xs, "hstack: xs")]
    axis = 0 if parts and parts[0].ndim == 1 else 1
    return shape.concatenate.public(parts, axis=axis)  # type: ignore[no-any-return]


@function(numpy=(np.vstack,), also=("row_stack",), examples=((([(2, 3), (1, 3)],), {}), (([(3,), (3,)],), {})))
def vstack(xs: Sequence[TensorLike]) -> Tensor:
    """Tensors joined along their first axis; vectors are rows."""
    return _joined(xs, "vstack", 2, 0)


@function(numpy=(np.dstack,), examples=((([(2, 3), (2, 3)],), {}), (([(3,), (3,)],), {})))
def dstack(xs: Sequence[TensorLike]) -> Tensor:
    """Tensors joined along their third axis."""
    parts = [atleast_3d(x) for x in each(xs, "dstack: xs")]
    return shape.concatenate.public(parts, axis=2)  # type: ignore[no-any-return]


@function(numpy=(np.column_stack,), examples=((([(2, 3), (2,)],), {}), (([(3,), (3,)],), {})))
def column_stack(xs: Sequence[TensorLike]) -> Tensor:
    """Vectors as the columns of a matrix; matrices beside one another."""
    parts = [shape.reshape.public(x, shape=(-1, 1)) if x.ndim < 2 else x for x in each(xs, "column_stack: xs")]
    return shape.concatenate.public(parts, axis=1)  # type: ignore[no-any-return]


@function(numpy=(np.tile,), methods=("tile",), examples=((((2, 3), 2), {}), (((2, 3), static((2, 1, 3))), {}),
                                                        (((3,), static((2, 0))), {})))  # fmt: skip
def tile(x: TensorLike, repetitions: Axes) -> Tensor:
    """The whole of x several times along each axis, the last axis by the last number.

    >>> import tensorgraph as tg
    >>> tg.tile(tg.tensor([1.0, 2.0]), 2)
    tensor([1., 2., 1., 2.], f32)
    """
    x = of(x, "tile: x")
    times = (repetitions,) if isinstance(repetitions, (int, np.integer)) else tuple(repetitions)
    if any(n < 0 for n in times):
        raise ValueError(f"tile: repetitions must not be negative, got {times}")
    ndim = max(x.ndim, len(times))
    sizes, times = (1,) * (ndim - x.ndim) + x.shape, (1,) * (ndim - len(times)) + times
    apart = [n for size in sizes for n in (1, size)]
    full = [n for pair in zip(times, sizes, strict=True) for n in pair]
    wide = shape.broadcast_to.public(shape.reshape.public(x, shape=tuple(apart)), shape=tuple(full))
    return shape.reshape.public(wide, shape=tuple(a * b for a, b in zip(times, sizes, strict=True)))  # type: ignore[no-any-return]


@function(numpy=(np.repeat,), also=("repeat_interleave",), methods=("repeat_interleave",),
          examples=((((2, 3), 2), {}), (((2, 3), 2, 1), {}), (((2, 3), static([1, 0, 2]), -1), {})))  # fmt: skip
def repeat(x: TensorLike, repeats: int | Sequence[int] | np.ndarray[Any, Any], axis: int | None = None) -> Tensor:
    """Each element several times after itself along an axis; of all elements in a row where `axis` is None.

    >>> import tensorgraph as tg
    >>> tg.repeat(tg.tensor([1.0, 2.0]), 2)
    tensor([1., 1., 2., 2.], f32)
    """
    x = of(x, "repeat: x")
    if axis is None:
        x, axis = ravel(x), 0
    k = canonical_axis(axis, x.ndim)
    counts = np.asarray(repeats)
    if counts.dtype.kind not in "iu" or counts.ndim > 1 or (counts < 0).any():
        raise ValueError(f"repeat: repeats must be integers that are not negative, got {repeats!r}")
    if counts.size != 1:
        if counts.size != x.shape[k]:
            raise ValueError(f"repeat: {counts.size} repeats for {x.shape[k]} elements along axis {axis}")
        return taken(x, np.repeat(np.arange(x.shape[k]), counts), k)
    n = int(counts.reshape(()))
    before, size, after = x.shape[:k], x.shape[k], x.shape[k + 1 :]
    apart = shape.reshape.public(x, shape=(*before, size, 1, *after))
    wide = shape.broadcast_to.public(apart, shape=(*before, size, n, *after))
    return shape.reshape.public(wide, shape=(*before, size * n, *after))  # type: ignore[no-any-return]


@function(numpy=(np.roll,), methods=("roll",), examples=((((5,), 2), {}), (((2, 3), 1), {}), (((2, 3), -1, 1), {}),
                                                        (((2, 3), static((1, 2)), static((0, 1))), {})))  # fmt: skip
def roll(x: TensorLike, shift: Axes, axis: Axes | None = None) -> Tensor:
    """Elements moved along an axis, those that leave it at its end back in at its beginning.

    >>> import tensorgraph as tg
    >>> tg.roll(tg.tensor([1.0, 2.0, 3.0]), 1)
    tensor([3., 1., 2.], f32)
    """
    x = of(x, "roll: x")
    if axis is None:
        total = shift if isinstance(shift, (int, np.integer)) else sum(shift)
        return shape.reshape.public(roll(ravel(x), total, 0), shape=x.shape)  # type: ignore[no-any-return]
    axes = [canonical_axis(a, x.ndim) for a in ((axis,) if isinstance(axis, (int, np.integer)) else axis)]
    shifts = [shift] * len(axes) if isinstance(shift, (int, np.integer)) else list(shift)
    if len(shifts) != len(axes):
        raise ValueError(f"roll: {len(shifts)} shifts for {len(axes)} axes")
    for by, k in zip(shifts, axes, strict=True):
        n = x.shape[k]
        by = by % n if n else 0
        if by:
            x = shape.concatenate.public([taken(x, slice(n - by, n), k), taken(x, slice(0, n - by), k)], axis=k)
    return x  # type: ignore[no-any-return]


# parts of matrices ----------------------------------------------------------------------------------------------------


def _triangle(x: Any, k: int, lower: bool, name: str) -> Tensor:
    t = of(x, f"{name}: x")
    if t.ndim < 2:
        raise ValueError(f"{name}: x must have two axes at least, got shape {t.shape}")
    rows, columns = (creation.arange.public(n) for n in t.shape[-2:])
    diagonals = columns - shape.reshape.public(rows, shape=(-1, 1))
    inside = diagonals <= k if lower else diagonals >= k
    zero: Any = False if t.dtype.kind == "b" else 0.0 if t.dtype.kind == "f" else 0
    return logic.where.public(inside, t, zero)  # type: ignore[no-any-return]


@function(numpy=(np.tril,), methods=("tril",), examples=((((3, 4),), {}), (((2, 3, 3), -1), {})))
def tril(x: TensorLike, k: int = 0) -> Tensor:
    """The lower triangle of matrices, 0 above diagonal k."""
    return _triangle(x, k, True, "tril")


@function(numpy=(np.triu,), methods=("triu",), examples=((((3, 4),), {}), (((2, 3, 3), 1), {})))
def triu(x: TensorLike, k: int = 0) -> Tensor:
    """The upper triangle of matrices, 0 below diagonal k."""
    return _triangle(x, k, False, "triu")


@function(numpy=(np.diagonal,), methods=("diagonal",),
          examples=((((3, 4),), {}), (((3, 3), -1), {}), (((2, 3, 4), 1, 1, 2), {})))  # fmt: skip
def diagonal(x: TensorLike, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """A diagonal of matrices, along the last axis of the result."""
    x = of(x, "diagonal: x")
    if x.ndim < 2:
        raise ValueError(f"diagonal: x must have two axes at least, got shape {x.shape}")
    x = moveaxis(x, (axis1, axis2), (-2, -1))
    rows, columns = x.shape[-2:]
    count = max(min(rows + min(offset, 0), columns - max(offset, 0)), 0)
    place = creation.arange.public(count)
    return x[..., place - min(offset, 0), place + max(offset, 0)]  # type: ignore[no-any-return]


@function(numpy=(np.diag,), methods=("diag",), examples=((((3,),), {}), (((3,), 1), {}), (((3, 4), -1), {})))
def diag(x: TensorLike, k: int = 0) -> Tensor:
    """The matrix with x on diagonal k, or of a matrix its diagonal."""
    x = of(x, "diag: x")
    if x.ndim == 2:
        return diagonal(x, k)  # type: ignore[no-any-return]
    if x.ndim != 1:
        raise ValueError(f"diag: x must have one axis or two, got shape {x.shape}")
    n = x.shape[0] + abs(k)
    place = creation.arange.public(x.shape[0])
    zeros = creation.zeros.public(shape=(n, n), dtype=x.dtype.name)
    return zeros.at[place - min(k, 0), place + max(k, 0)].set(x)  # type: ignore[no-any-return]


# several tensors at once ----------------------------------------------------------------------------------------------


@function(numpy=(np.broadcast_arrays,), also=("broadcast_tensors",), examples=((((2, 1), (3,)), {}),))
def broadcast_arrays(*xs: TensorLike) -> tuple[Tensor, ...]:
    """All in the shape that they have together."""
    tensors = [of(x, "broadcast_arrays: xs") for x in xs]
    full = broadcast_shapes(*[t.shape for t in tensors])
    return tuple([t if t.shape == full else shape.broadcast_to.public(t, shape=full) for t in tensors])


@function(
    numpy=(np.meshgrid,), examples=((((2,), (3,)), {}), (((2,), (3,)), dict(indexing="ij")), (((2,), (3,), (4,)), {}))
)
def meshgrid(*xs: TensorLike, indexing: Literal["xy", "ij"] = "xy") -> tuple[Tensor, ...]:
    """The coordinates of all points of a grid, from those along each side; "xy" has the second side first."""
    tensors = [of(x, "meshgrid: xs") for x in xs]
    for t in tensors:
        if t.ndim > 1:
            raise ValueError(f"meshgrid: each side must have one axis, got shape {t.shape}")
    sizes = [t.size for t in tensors]
    order = list(range(len(tensors)))
    if indexing == "xy" and len(order) > 1:
        order[0], order[1] = 1, 0
    full = tuple(sizes[i] for i in order)
    grids = []
    for i, t in enumerate(tensors):
        apart = [1] * len(order)
        apart[order.index(i)] = t.size
        grids.append(shape.broadcast_to.public(shape.reshape.public(t, shape=tuple(apart)), shape=full))
    return tuple(grids)


@function(
    numpy=(np.take,), methods=("take",), examples=(
        (((4, 3), static([0, 2]), 0), {}), (((4, 3), static([[1], [0]]), -1), {}), (((4, 3), static([0, 11])), {}),
    ),
)  # fmt: skip
def take(x: TensorLike, indices: Any, axis: int | None = None) -> Tensor:
    """The elements at positions along an axis; among all of them in a row where `axis` is None."""
    x = of(x, "take: x")
    if axis is None:
        x, axis = ravel(x), 0
    places = indices if isinstance(indices, Tensor) else np.asarray(indices)
    if places.dtype.kind not in "iu":
        raise TypeError(f"take: indices must be integers, got {places.dtype}")
    return taken(x, places, canonical_axis(axis, x.ndim))
