"""NumPy's functions that cut and join, where ``tensorgraph`` calls the same otherwise or composes it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from tensorgraph.engine.aval import canonical_axis
from tensorgraph.engine.tensor import Tensor
from tensorgraph.ops import differences, shape
from tensorgraph.ops.moving import of

__all__ = ["append", "array_split", "diff", "dsplit", "hsplit", "rollaxis", "split", "vsplit"]


def _split(x: Any, parts: Any, axis: int, equal: bool, name: str) -> list[Tensor]:
    x = of(x, f"{name}: x")
    n = x.shape[canonical_axis(axis, x.ndim)]
    if isinstance(parts, Sequence) or (hasattr(parts, "ndim") and parts.ndim == 1):
        places = [0, *(min(max(int(p) + n * (int(p) < 0), 0), n) for p in parts), n]
        bounds = [(a, max(a, b)) for a, b in pairwise(places)]
    else:
        count = int(parts)
        if count < 1 or (equal and n % count):
            raise ValueError(f"{name}: {n} elements along axis {axis} cannot be cut into {parts} equal parts")
        size, more = divmod(n, count)
        sizes = [size + 1] * more + [size] * (count - more)
        starts = [sum(sizes[:i]) for i in range(count)]
        bounds = [(a, a + s) for a, s in zip(starts, sizes, strict=True)]
    key: list[Any] = [slice(None)] * x.ndim
    result = []
    for start, stop in bounds:
        key[axis] = slice(start, stop)
        result.append(x[tuple(key)])
    return result


def split(x: Any, indices_or_sections: Any, axis: int = 0) -> list[Tensor]:
    """A tensor cut into equal parts along an axis, or at these places.

    `tensorgraph.split` takes the sizes of the parts.
    """
    return _split(x, indices_or_sections, axis, True, "split")


def array_split(x: Any, indices_or_sections: Any, axis: int = 0) -> list[Tensor]:
    """As `split`, the first parts one longer where the number of parts does not divide the axis."""
    return _split(x, indices_or_sections, axis, False, "array_split")


def hsplit(x: Any, indices_or_sections: Any) -> list[Tensor]:
    """`split` along the second axis, of a vector along its one."""
    x = of(x, "hsplit: x")
    return _split(x, indices_or_sections, 1 if x.ndim > 1 else 0, True, "hsplit")


def vsplit(x: Any, indices_or_sections: Any) -> list[Tensor]:
    """`split` along the first of at least two axes."""
    x = of(x, "vsplit: x")
    if x.ndim < 2:
        raise ValueError(f"vsplit: x must have 2 or more axes, got {x.aval}")
    return _split(x, indices_or_sections, 0, True, "vsplit")


def dsplit(x: Any, indices_or_sections: Any) -> list[Tensor]:
    """`split` along the third axis."""
    x = of(x, "dsplit: x")
    if x.ndim < 3:
        raise ValueError(f"dsplit: x must have 3 or more axes, got {x.aval}")
    return _split(x, indices_or_sections, 2, True, "dsplit")


def append(x: Any, values: Any, axis: int | None = None) -> Tensor:
    """Values after the end of an axis, or of all elements in a row without one."""
    x, values = of(x, "append: x"), of(values, "append: values")
    if axis is None:
        x, values, axis = x.reshape(-1), values.reshape(-1), 0
    return shape.concatenate.public([x, values], axis=axis)  # type: ignore[no-any-return]


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
    x = of(x, "diff: x")
    line = list(x.shape)
    line[canonical_axis(axis, x.ndim)] = 1
    ends = [end if end is None else of(end, "diff: prepend and append") for end in (prepend, append)]
    ends = [shape.broadcast_to.public(end, tuple(line)) if end is not None and not end.ndim else end for end in ends]
    parts = [part for part in (ends[0], x, ends[1]) if part is not None]
    joined = shape.concatenate.public(parts, axis=axis) if len(parts) > 1 else x
    return differences.diff.public(joined, n=n, axis=axis)  # type: ignore[no-any-return]
