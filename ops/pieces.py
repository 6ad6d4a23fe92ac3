"""Tensors cut into pieces and put together of pieces."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from tensorgraph.arguments import Count
from tensorgraph.engine.aval import canonical_axis
from tensorgraph.engine.functions import function, static
from tensorgraph.engine.tensor import Tensor
from tensorgraph.ops import creation, shape
from tensorgraph.ops.moving import each, moveaxis, of, ravel, taken, together

__all__: list[str] = []

TensorLike = Any
Axes = int | Sequence[int]

# empty pieces beyond which a number of them is a mistake
MOST = 1 << 20
MOST_SLICES = 8  # of which a tensor is put together

# cutting --------------------------------------------------------------------------------------------------------------


def cut(x: Any, parts: Any, axis: int, equal: bool, name: str) -> list[Tensor]:
    """So many parts along an axis, or those between places."""
    x = of(x, f"{name}: x")
    n = x.shape[canonical_axis(axis, x.ndim)]
    if isinstance(parts, (int, np.integer)):
        count = int(parts)
        if count < 1 or (equal and n % count) or count > MOST + n:
            raise ValueError(f"{name}: {n} elements along axis {axis} cannot be cut into {parts} equal parts")
        size, more = divmod(n, count)
        places = np.cumsum([0] + [size + 1] * more + [size] * (count - more)).tolist()
    else:
        places = [0, *(min(max(int(p) + n * (int(p) < 0), 0), n) for p in parts), n]
    return [taken(x, slice(a, max(a, b)), canonical_axis(axis, x.ndim)) for a, b in pairwise(places)]


@function(numpy=(np.array_split,), also=("tensor_split",), methods=("tensor_split",), examples=(
    (((5, 2), 2), {}), (((2, 6), 3, 1), {}), (((5,), static((1, 3))), {}), (((3,), static((2, -2, 7))), {}),
))  # fmt: skip
def array_split(x: TensorLike, sections: Axes, axis: int = 0) -> list[Tensor]:
    """So many parts along an axis, the first ones longer by one where they cannot be equal; or cut at these places.

    `split` takes the sizes of the parts.

    >>> import tensorgraph as tg
    >>> [part.shape for part in tg.array_split(tg.zeros(5), 2)]
    [(3,), (2,)]
    """
    return cut(x, sections, axis, False, "array_split")


@function(numpy=(np.hsplit,), methods=("hsplit",), examples=((((2, 4), 2), {}), (((4,), static((1,))), {})))
def hsplit(x: TensorLike, sections: Axes) -> list[Tensor]:
    """Equal parts along the second axis, of a vector along its only one; or cut at these places."""
    x = of(x, "hsplit: x")
    return cut(x, sections, 1 if x.ndim > 1 else 0, True, "hsplit")


@function(numpy=(np.vsplit,), methods=("vsplit",), examples=((((4, 2), 2), {}),))
def vsplit(x: TensorLike, sections: Axes) -> list[Tensor]:
    """Equal parts along the first of at least two axes; or cut at these places."""
    x = of(x, "vsplit: x")
    if x.ndim < 2:
        raise ValueError(f"vsplit: x must have two axes at least, got shape {x.shape}")
    return cut(x, sections, 0, True, "vsplit")


@function(numpy=(np.dsplit,), methods=("dsplit",), examples=((((2, 1, 4), 2), {}),))
def dsplit(x: TensorLike, sections: Axes) -> list[Tensor]:
    """Equal parts along the third axis; or cut at these places."""
    x = of(x, "dsplit: x")
    if x.ndim < 3:
        raise ValueError(f"dsplit: x must have three axes at least, got shape {x.shape}")
    return cut(x, sections, 2, True, "dsplit")


@function(methods=("chunk",), examples=((((5, 2), 3), {}), (((2, 6), 4, 1), {})))
def chunk(x: TensorLike, chunks: Count, axis: int = 0) -> tuple[Tensor, ...]:
    """At most so many parts along an axis, all of one size but the last, as PyTorch's `chunk`.

    >>> import tensorgraph as tg
    >>> [part.shape for part in tg.chunk(tg.zeros(5), 3)]
    [(2,), (2,), (1,)]
    """
    x = of(x, "chunk: x")
    k = canonical_axis(axis, x.ndim)
    size = max(-(-x.shape[k] // chunks), 1)
    starts = range(0, max(x.shape[k], 1), size)
    return tuple(taken(x, slice(start, min(start + size, x.shape[k])), k) for start in starts)


# windows --------------------------------------------------------------------------------------------------------------


def _windows(x: Tensor, axis: int, size: int, step: int, name: str) -> Tensor:
    """Those along an axis, their elements along a new last one."""
    n = x.shape[axis]
    if not 0 < size <= n:
        raise ValueError(f"{name}: a window of {size} does not lie within {n} elements along axis {axis}")
    first = shape.expand_dims.public(creation.arange.public((n - size) // step + 1), axis=-1) * step
    places = first + creation.arange.public(size)
    return moveaxis(taken(x, places, axis), axis + 1, -1)  # type: ignore[no-any-return]


@function(numpy=(np.lib.stride_tricks.sliding_window_view,), examples=(
    (((5,), 3), {}), (((4, 5), static((2, 3))), {}), (((4, 5), 2, 1), {}), (((4,), static((2, 2)), static((0, 0))), {}),
))  # fmt: skip
def sliding_window_view(x: TensorLike, window_shape: Axes, axis: Axes | None = None) -> Tensor:
    """Every window of a size along axes, all of them by default; the windows' own axes come last. A copy.

    >>> import tensorgraph as tg
    >>> tg.sliding_window_view(tg.tensor([1.0, 2.0, 3.0]), 2)
    tensor([[1., 2.],
            [2., 3.]], f32)
    """
    x = of(x, "sliding_window_view: x")
    sizes = (window_shape,) if isinstance(window_shape, (int, np.integer)) else tuple(window_shape)
    if axis is None:
        axes = tuple(range(x.ndim))
    else:
        given = (axis,) if isinstance(axis, (int, np.integer)) else axis
        axes = tuple(canonical_axis(a, x.ndim) for a in given)
    if len(sizes) != len(axes):
        raise ValueError(f"sliding_window_view: window_shape {window_shape} for {len(axes)} axes")
    for k, size in zip(axes, sizes, strict=True):
        x = _windows(x, k, size, 1, "sliding_window_view")
    return x  # type: ignore[no-any-return]


@function(methods=("unfold",), examples=((((7,), 0, 3, 2), {}), (((2, 5), -1, 2), {}), (((4, 2), 0, 4, 3), {})))
def unfold(x: TensorLike, axis: int, size: Count, step: Count = 1) -> Tensor:
    """Windows along one axis, `step` apart, their elements along a new last axis: as PyTorch's ``Tensor.unfold``.

    >>> import tensorgraph as tg
    >>> tg.arange(5).unfold(0, 3, 2).tolist()
    [[0, 1, 2], [2, 3, 4]]
    """
    x = of(x, "unfold: x")
    return _windows(x, canonical_axis(axis, x.ndim), size, step, "unfold")


# putting in, taking out, putting together -----------------------------------------------------------------------------


@function(numpy=(np.append,), examples=((((2, 2), (3,)), {}), (((2, 2), (1, 2), 0), {})))
def append(x: TensorLike, values: TensorLike, axis: int | None = None) -> Tensor:
    """Values behind the end of an axis, or of all elements in a row where it is None. Nothing is changed."""
    x, values = together("append", x=x, values=values)
    if axis is None:
        x, values, axis = ravel(x), ravel(values), 0
    return shape.concatenate.public([x, values], axis=axis)  # type: ignore[no-any-return]


@function(numpy=(np.insert,), examples=(
    (((3,), 1, ()), {}), (((2, 3), static([0, 2]), (2, 2), 1), {}), (((3, 2), 1, (2,), 0), {}),
    (((3, 2), static([-1]), (1, 2), 0), {}), (((2, 3), 1, (2, 2), 1), {}),
))  # fmt: skip
def insert(x: TensorLike, places: Axes | slice, values: TensorLike, axis: int | None = None) -> Tensor:
    """With values put in before places along an axis, or among all elements in a row where it is None.

    >>> import tensorgraph as tg
    >>> tg.insert(tg.tensor([1.0, 3.0]), 1, 2.0)
    tensor([1., 2., 3.], f32)
    """
    x, values = together("insert", x=x, values=values)
    if axis is None:
        x, axis = ravel(x), 0
    k = canonical_axis(axis, x.ndim)
    if values.ndim < x.ndim:
        values = shape.reshape.public(values, shape=(*(1,) * (x.ndim - values.ndim), *values.shape))
    order = np.arange(x.shape[k])
    if isinstance(places, (int, np.integer)):  # as many as there are, of which the first axis counts them
        values = moveaxis(values, 0, k)
        more = values.shape[k]
    elif isinstance(places, slice):
        more = len(order[places])
    elif len(places) == 1:
        places, more = places[0], values.shape[k]
    else:
        more = len(places)
    chosen = np.insert(order, places, np.arange(more) + len(order))
    full = (*x.shape[:k], more, *x.shape[k + 1 :])
    values = shape.astype.public(shape.broadcast_to.public(values, shape=full), dtype=x.dtype.name)
    return _chosen(shape.concatenate.public([x, values], axis=k), chosen, k)


@function(numpy=(np.delete,), examples=((((4,), 1), {}), (((3, 4), static([0, -1]), 1), {})))
def delete(x: TensorLike, places: Axes | slice, axis: int | None = None) -> Tensor:
    """Without the elements at places along an axis, or among all elements in a row where it is None.

    >>> import tensorgraph as tg
    >>> tg.delete(tg.tensor([1.0, 2.0, 3.0]), 1)
    tensor([1., 3.], f32)
    """
    x = of(x, "delete: x")
    if axis is None:
        x, axis = ravel(x), 0
    k = canonical_axis(axis, x.ndim)
    return _chosen(x, np.delete(np.arange(x.shape[k]), places), k)


def _chosen(x: Tensor, places: np.ndarray[Any, Any], axis: int) -> Tensor:
    """The elements at places along an axis: a few slices put together where they are such, whatever the size.

    So a graph captures no array as long as the axis, whose size may be a name.
    """
    ends = [0, *(np.flatnonzero(np.diff(places) != 1) + 1).tolist(), len(places)]
    if len(ends) > MOST_SLICES + 1 or len(places) == 0:
        return taken(x, places, axis)
    parts = [taken(x, slice(int(places[a]), int(places[b - 1]) + 1), axis) for a, b in pairwise(ends)]
    return parts[0] if len(parts) == 1 else shape.concatenate.public(parts, axis=axis)


def _depth(blocks: Any) -> int:
    if not isinstance(blocks, list):
        return 0
    depths = {_depth(b) for b in blocks}
    if len(depths) != 1:
        raise ValueError("block: the lists must be nested equally deep everywhere, and none may be empty")
    return depths.pop() + 1


def _leaves(blocks: Any) -> list[Any]:
    return [leaf for b in blocks for leaf in _leaves(b)] if isinstance(blocks, list) else [blocks]


@function(numpy=(np.block,), examples=((([(2,), (3,)],), {}), (([(2, 2), (2, 1)],), {})))
def block(blocks: Sequence[Any]) -> Tensor:
    """A tensor of blocks: the innermost lists are joined along the last axis, those around them along the one before.

    >>> import tensorgraph as tg
    >>> tg.block([[tg.eye(2), tg.zeros((2, 1))]]).shape
    (2, 3)
    """
    depth = _depth(blocks)
    parts = each(list(_leaves(blocks)), "block: blocks")
    ndim, following = max(depth, *(part.ndim for part in parts)), iter(parts)

    def joined(item: Any, level: int) -> Tensor:
        if isinstance(item, list):
            return shape.concatenate.public([joined(i, level + 1) for i in item], axis=level - depth)  # type: ignore[no-any-return]
        t = next(following)
        return shape.reshape.public(t, shape=(*(1,) * (ndim - t.ndim), *t.shape))  # type: ignore[no-any-return]

    return joined(blocks, 0)


@function(examples=((((2, 3), (1, 2)), {}), (((2,), (2, 1)), {})))
def block_diag(*xs: TensorLike) -> Tensor:
    """Matrices along the diagonal of one that is 0 elsewhere; vectors are rows.

    >>> import tensorgraph as tg
    >>> tg.block_diag([[1.0]], [[2.0, 3.0]])
    tensor([[1., 0., 0.],
            [0., 2., 3.]], f32)
    """
    parts = together("block_diag", **{f"xs[{i}]": x for i, x in enumerate(xs)})
    parts = [shape.reshape.public(t, shape=(1, t.size)) if t.ndim < 2 else t for t in parts]
    if not parts or any(t.ndim > 2 for t in parts):
        raise ValueError(f"block_diag: expected matrices, got shapes {[t.shape for t in parts]}")
    width, before, rows = sum(t.shape[1] for t in parts), 0, []
    for t in parts:
        rows.append(shape.pad.public(t, widths=((0, 0), (before, width - before - t.shape[1]))))
        before += t.shape[1]
    return shape.concatenate.public(rows, axis=0)  # type: ignore[no-any-return]
