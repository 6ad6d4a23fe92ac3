"""NumPy's functions that cut and join, where ``tensorgraph`` calls the same otherwise or composes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgraph.engine.aval import canonical_axis
from tensorgraph.engine.tensor import Tensor
from tensorgraph.ops import differences, shape
from tensorgraph.ops.moving import each, of, take, together
from tensorgraph.ops.pieces import cut

__all__ = ["concat", "concatenate", "diff", "resize", "rollaxis", "split"]


def split(x: Any, indices_or_sections: Any, axis: int = 0) -> list[Tensor]:
    """A tensor cut into equal parts along an axis, or at these places.

    `tensorgraph.split` takes the sizes of the parts.
    """
    return cut(x, indices_or_sections, axis, True, "split")


def concat(arrays: Sequence[Any], /, axis: int | None = 0) -> Tensor:
    """Tensors joined along an axis, or all their elements in a row without one. `concatenate` is the same."""
    if axis is None:
        arrays, axis = [x.reshape(-1) for x in each(arrays, "concat: arrays")], 0
    return shape.concatenate.public(arrays, axis=axis)  # type: ignore[no-any-return]


concatenate = concat


def resize(x: Any, new_shape: Any) -> Tensor:
    """The elements in a row, again and again, in another shape."""
    x = of(x, "resize: x")
    return take(x.reshape(-1), np.resize(np.arange(x.size), new_shape))  # type: ignore[no-any-return]


def rollaxis(x: Any, axis: int, start: int = 0) -> Tensor:
    """An axis moved before another one. `moveaxis` is easier to read."""
    x = of(x, "rollaxis: x")
    axis = canonical_axis(axis, x.ndim)
    start = start + x.ndim if start < 0 else start
    if not 0 <= start <= x.ndim:
        raise ValueError(f"rollaxis: start {start} is out of range for {x.ndim} dimensions")
    order = [n for n in range(x.ndim) if n != axis]
    order.insert(start - (axis < start), axis)
    return shape.transpose.public(x, axes=tuple(order))  # type: ignore[no-any-return]


def diff(x: Any, /, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Tensor:
    """Differences of neighbours along an axis, `n` times; `prepend` and `append` are values before and after it.

    ``tensorgraph.diff`` compares graphs.

    Examples
    --------
    >>> import tensorgraph.numpy as tnp
    >>> tnp.diff(tnp.asarray([1, 2, 4, 7]))
    tensor([1, 2, 3], i64)
    """
    if n == 0 and type(n) is int:
        prepend = append = None  # which NumPy does not join then either
    given = {k: v for k, v in dict(prepend=prepend, x=x, append=append).items() if v is not None}
    made = dict(zip(given, together("numpy.diff", **given), strict=True))
    x = made["x"]
    line = list(x.shape)
    line[canonical_axis(axis, x.ndim)] = 1
    parts = [part if part.ndim else shape.broadcast_to.public(part, tuple(line)) for part in made.values()]
    joined = shape.concatenate.public(parts, axis=axis) if len(parts) > 1 else x
    return differences.diff.public(joined, n=n, axis=axis)  # type: ignore[no-any-return]
