"""How many there are: positions of what is not zero, different elements, sets, counts.

The shape of most of these results depends on numbers. Where only a trace's values are given that is refused, with the
remedy; `nonzero`, `argwhere`, `flatnonzero` and the like take ``size=``, by which it is known.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tensorgraph.arguments.kinds import Natural
from tensorgraph.engine.aval import canonical_axis
from tensorgraph.engine.functions import function, static
from tensorgraph.engine.keys import known_numbers
from tensorgraph.engine.tape import describe_source, user_source
from tensorgraph.engine.tensor import Tensor, TraceError, as_array, wrap
from tensorgraph.ops import shape as shapes
from tensorgraph.ops.creation import arange, full, ones
from tensorgraph.ops.index import scatter_add
from tensorgraph.ops.logic import isnan, not_equal, where
from tensorgraph.ops.moving import of, ravel, together
from tensorgraph.ops.reduction import sum
from tensorgraph.ops.scans import cumulative_sum
from tensorgraph.ops.sorting import argsort
from tensorgraph.ops.structure import stop_gradient


class UniqueCounts(NamedTuple):
    """The different elements and how often each is there."""

    values: Tensor
    counts: Tensor


class UniqueInverse(NamedTuple):
    """The different elements and, for each element, the position of its like among them."""

    values: Tensor
    inverse_indices: Tensor


class UniqueAll(NamedTuple):
    """The different elements, where each is first, the position of each element's like, and how often it is there."""

    values: Tensor
    indices: Tensor
    inverse_indices: Tensor
    counts: Tensor


def _numbers(x: Tensor, name: str, remedy: str) -> np.ndarray[Any, Any]:
    """The numbers of a tensor, or the error of a trace that has none."""
    values = known_numbers(x)
    if values is None:
        raise TraceError(
            f"{name}: the size of the result depends on numbers, which a trace does not have"
            f"{describe_source(user_source())}; {remedy}"
        )
    return values


def _made(values: Any) -> Tensor:
    return wrap(as_array(np.asarray(values)))


# what is not zero ---------------------------------------------------------------------------------------------------

_MASK = "compute it outside, give size=, or go on with a mask: tg.where(mask, x, 0)"


@function(
    examples=((((3, 4),), {}), ((static([0, 3, 0]),), {}),), numpy=(np.flatnonzero,),
    counted=True,
)  # fmt: skip
def flatnonzero(x: Any, size: Natural | None = None, fill_value: int = 0) -> Tensor:
    """The positions of the elements that are not zero, in all of them in a row.

    With `size` the first so many, and `fill_value` for those that are not there: a shape that a trace knows.

    >>> import tensorgraph as tg
    >>> tg.flatnonzero([0.0, 2.0, 3.0]), tg.flatnonzero([0.0, 2.0], size=2, fill_value=-1)
    (tensor([1, 2], i64), tensor([ 1, -1], i64))
    """
    x = of(x, "flatnonzero: x")
    if size is None:
        return _made(np.flatnonzero(_numbers(x, "flatnonzero", _MASK)))
    hit = not_equal.public(ravel(x), 0)
    first = argsort.public(~hit)[:size]
    first = where.public(arange.public(min(size, x.size)) < sum.public(hit), first, fill_value)
    more = size - min(size, x.size)
    return shapes.pad.public(first, widths=((0, more),), value=fill_value) if more else first  # type: ignore[no-any-return]


def _unravelled(flat: Tensor, shape: tuple[int, ...], fill_value: int, size: int | None) -> tuple[Tensor, ...]:
    out: list[Tensor] = []
    rest = flat
    for n in reversed(shape):
        out.insert(0, rest % max(n, 1))
        rest = rest // max(n, 1)
    return tuple(out) if size is None else tuple(where.public(flat < 0, fill_value, i) for i in out)


@function(
    examples=((((3, 4),), {}), ((static([0, 3, 0]),), {})), numpy=(np.nonzero,), methods=("nonzero",), counted=True,
)  # fmt: skip
def nonzero(x: Any, size: Natural | None = None, fill_value: int = 0) -> tuple[Tensor, ...]:
    """The positions of the elements that are not zero: a tuple with the indices along each axis.

    With `size` the first so many, and `fill_value` for those that are not there: a shape that a trace knows. It is not
    defined of a tensor without axes.

    >>> import tensorgraph as tg
    >>> tg.nonzero([[0.0, 2.0], [3.0, 0.0]])
    (tensor([0, 1], i64), tensor([1, 0], i64))
    """
    x = of(x, "nonzero: x")
    if not x.ndim:
        raise ValueError("nonzero: x must have an axis, got a tensor without; write x.reshape(1), or x != 0")
    if size is None:
        return tuple(_made(i) for i in np.nonzero(_numbers(x, "nonzero", _MASK)))
    return _unravelled(flatnonzero(x, size, -1), x.shape, fill_value, size)


@function(
    examples=((((3, 4),), {}), ((static([0, 3, 0]),), {})), numpy=(np.argwhere,), methods=("argwhere",), counted=True
)  # fmt: skip
def argwhere(x: Any, size: Natural | None = None, fill_value: int = 0) -> Tensor:
    """The positions of the elements that are not zero, one a row: what PyTorch's nonzero gives.

    With `size` the first so many, and `fill_value` for those that are not there: a shape that a trace knows.
    """
    x = of(x, "argwhere: x")
    if size is None:
        return _made(np.argwhere(_numbers(x, "argwhere", _MASK)))
    if not x.ndim:
        raise ValueError("argwhere: x must have an axis where size is given")
    return shapes.stack.public([*nonzero(x, size, fill_value)], axis=1)  # type: ignore[no-any-return]


# what is different --------------------------------------------------------------------------------------------------

_OUTSIDE = "compute it outside of the trace"
_SIZE = "compute it outside of the trace, or give size="


def _unique(x: Any, name: str, equal_nan: bool = False) -> tuple[Tensor, Any, Any, Any]:
    """The different elements, taken from x so that gradients go back to the first of each, and NumPy's three others."""
    x = of(x, f"{name}: x")
    numbers = _numbers(x, name, _OUTSIDE)
    _, first, inverse, counts = np.unique(numbers, True, True, True, equal_nan=equal_nan)
    return ravel(x)[first], first, inverse.reshape(x.shape), counts


@function(examples=((((3, 4),), {}),), numpy=(getattr(np, "unique_values", None),),
          counted=True)  # fmt: skip
def unique_values(x: Any) -> Tensor:
    """The different elements in ascending order; every NaN is one. The gradient goes to the first of each."""
    return _unique(x, "unique_values")[0]


@function(examples=((((3, 4),), {}), ((static([[3, 1], [1, 2]]),), {})), numpy=(getattr(np, "unique_counts", None),),
          counted=True)  # fmt: skip
def unique_counts(x: Any) -> tuple[Tensor, ...]:
    """The different elements and how often each is there: a named tuple ``values, counts``."""
    values, _, _, counts = _unique(x, "unique_counts")
    return UniqueCounts(values, _made(counts))


@function(examples=((((3, 4),), {}), ((static([[3, 1], [1, 2]]),), {})), numpy=(getattr(np, "unique_inverse", None),),
          counted=True)  # fmt: skip
def unique_inverse(x: Any) -> tuple[Tensor, ...]:
    """The different elements and each element's position among them: a named tuple ``values, inverse_indices``."""
    values, _, inverse, _ = _unique(x, "unique_inverse")
    return UniqueInverse(values, _made(inverse))


@function(examples=((((3, 4),), {}), ((static([[3, 1], [1, 2]]),), {})), numpy=(getattr(np, "unique_all", None),),
          counted=True)  # fmt: skip
def unique_all(x: Any) -> tuple[Tensor, ...]:
    """The different elements and all that is told of them: ``values, indices, inverse_indices, counts``."""
    values, *rest = _unique(x, "unique_all")
    return UniqueAll(values, *map(_made, rest))


@function(
    examples=((((3, 4),), {}), ((static([[3, 1], [1, 2]]), True, True, True), {})), numpy=(np.unique,),
    methods=("unique",), counted=True,
)  # fmt: skip
def unique(
    x: Any, return_index: bool = False, return_inverse: bool = False, return_counts: bool = False,
    axis: int | None = None, *, equal_nan: bool = True, size: Natural | None = None, fill_value: float | None = None,
) -> Any:  # fmt: skip
    """The different elements in ascending order, or slices along an axis; with more as NumPy's function of the name.

    The gradient goes to the first of each.

    With `size` the first so many of the different elements: a shape that a trace knows. Where there are fewer, the
    smallest of them stands for those that are not there, or `fill_value`; of these the index is that of the smallest,
    the count 0, and no gradient flows. In the inverse an element for which there was no place has the position that it
    would have, `size` or more.

    >>> import tensorgraph as tg
    >>> tg.unique([3.0, 1.0, 3.0])
    tensor([1., 3.], f32)
    >>> tg.trace(lambda x: tg.unique(x, size=3, fill_value=0.0), tg.f32[3])(tg.tensor([3.0, 1.0, 3.0]))
    tensor([1., 3., 0.], f32)
    """
    x = of(x, "unique: x")
    wanted = (return_index, return_inverse, return_counts)
    if size is not None:
        if axis is not None:
            raise ValueError(f"unique: size= counts elements, of all axes; leave out axis={axis}")
        values, *rest = _unique_sized(x, size, fill_value, equal_nan)
    elif fill_value is not None:
        raise ValueError("unique: fill_value stands for elements that are not there, of which size= is needed")
    else:
        axis = None if axis is None else canonical_axis(axis, x.ndim)
        numbers = _numbers(x, "unique", _SIZE)
        _, first, inverse, counts = np.unique(numbers, True, True, True, axis=axis, equal_nan=equal_nan)
        values = ravel(x)[first] if axis is None else _slices(x, first, axis)
        rest = [_made(v) if w else None for v, w in zip((first, inverse, counts), wanted, strict=True)]
    more = [v for v, w in zip(rest, wanted, strict=True) if w]
    return (values, *more) if more else values


def _unique_sized(x: Tensor, size: int, fill_value: float | None, equal_nan: bool) -> tuple[Any, Any, Any, Any]:
    """So many of the different elements, where each is first, the positions among them, and the counts."""
    # The plan: (1) sort, each like after its first; (2) mark where a new element begins, and number the marks;
    # (3) take the elements at the first `size` marks; (4) count the numbers, and bring them back into the order of x.
    flat = ravel(x)
    if not flat.size and size and fill_value is None:
        raise ValueError(f"unique: x is empty, {x.aval}: give fill_value=, which stands for its elements")
    if fill_value is not None and x.dtype.kind != "f" and not float(fill_value).is_integer():
        raise TypeError(f"unique: fill_value must be one of x's numbers, {x.dtype}, got {fill_value!r}")
    order = argsort.public(flat)
    ordered = stop_gradient.public(flat)[order]
    new = ordered[1:] != ordered[:-1]
    if equal_nan and x.dtype.kind == "f":
        new = new & ~(isnan.public(ordered[1:]) & isnan.public(ordered[:-1]))
    marks = shapes.concatenate.public([ones.public(shape=(min(flat.size, 1),), dtype="bool"), new])
    number = cumulative_sum.public(marks) - 1
    places = flatnonzero(marks, size, -1)
    there = places >= 0
    if fill_value is None:
        filling = ordered[0] if flat.size else 0
    else:
        filling = full.public(shape=(), value=fill_value, dtype=x.dtype.name)
    if flat.size:
        first = order[where.public(there, places, 0)]
        values = where.public(there, flat[first], filling)
    else:
        first, values = arange.public(size) * 0, shapes.broadcast_to.public(filling, shape=(size,))
    inverse = shapes.reshape.public(number[argsort.public(order)], shape=x.shape)
    counts = bincount(number, length=max(flat.size, size))[:size]
    return values, first, inverse, counts


def _slices(x: Tensor, places: Any, axis: int) -> Tensor:
    return x[(slice(None),) * axis + (places,)]


# sets ---------------------------------------------------------------------------------------------------------------

_SETS: tuple[Any, ...] = (((static([3, 1, 2]), static([[1, 5]])), {}), (((4,), (3,)), {}))


@function(examples=_SETS, numpy=(np.union1d,), counted=True)
def union1d(x: Any, y: Any) -> Tensor:
    """The different elements of both, in ascending order."""
    return unique(shapes.concatenate.public([ravel(v) for v in together("union1d", x=x, y=y)]))  # type: ignore[no-any-return]


@function(examples=_SETS, numpy=(np.intersect1d,), counted=True)
def intersect1d(x: Any, y: Any) -> Tensor:
    """The different elements that are in both, in ascending order, taken from x."""
    x = of(x, "intersect1d: x")
    a, b = _numbers(x, "intersect1d", _OUTSIDE), _numbers(of(y, "intersect1d: y"), "intersect1d", _OUTSIDE)
    common, first, _ = np.intersect1d(a, b, return_indices=True)
    return ravel(x)[first].astype(common.dtype)  # type: ignore[no-any-return]


@function(examples=_SETS, numpy=(np.setdiff1d,), counted=True)
def setdiff1d(x: Any, y: Any) -> Tensor:
    """The different elements of x that are not in y, in ascending order."""
    x, y = together("setdiff1d", x=x, y=y)
    x = unique(x)
    a = _numbers(x, "setdiff1d", _OUTSIDE)
    return x[np.flatnonzero(~np.isin(a, _numbers(y, "setdiff1d", _OUTSIDE)))]  # type: ignore[no-any-return]


@function(examples=_SETS, numpy=(np.setxor1d,), counted=True)
def setxor1d(x: Any, y: Any) -> Tensor:
    """The different elements that are in one of the two, in ascending order."""
    both = shapes.concatenate.public([unique(v) for v in together("setxor1d", x=x, y=y)])
    _, first, counts = np.unique(_numbers(both, "setxor1d", _OUTSIDE), return_index=True, return_counts=True)
    return both[first[counts == 1]]  # type: ignore[no-any-return]


# counts -------------------------------------------------------------------------------------------------------------


@function(examples=((((static([0, 2, 2])),), {}), ((static([0, 1]), None, 4), {})), numpy=(np.bincount,), counted=True,
          methods=("bincount",))  # fmt: skip
def bincount(x: Any, weights: Any = None, minlength: Natural = 0, length: Natural | None = None) -> Tensor:
    """How often each number from 0 on is among x; with weights, their sums.

    Parameters
    ----------
    x : tensor of integers
        (n,), none below 0.
    weights : tensor, optional
        (n,): summed for each number, in their dtype. Differentiable.
    minlength : int
        The least size of the result, which is one more than the largest number.
    length : int, optional
        The size of the result, of which a trace has to be told; a number that is not below it raises.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> tg.bincount([0, 2, 2]), tg.bincount([0, 2, 2], weights=[1.0, 2.0, 3.0])
    (tensor([1, 0, 2], i64), tensor([1., 0., 5.], f32))
    """
    x = of(x, "bincount: x")
    if x.dtype.kind not in "iub" or x.ndim != 1:
        raise TypeError(f"bincount: x must be integers along one axis, got {x.aval}")
    if length is None or known_numbers(x) is not None:
        numbers = _numbers(x, "bincount", "give length=, the size of the result")
        if numbers.size and numbers.min() < 0:
            at = int(np.argmax(numbers < 0))
            raise ValueError(f"bincount: x must not be negative, got {numbers[at]} at {at}")
        largest = int(numbers.max()) if numbers.size else -1
        length = max(largest + 1, minlength) if length is None else length
    x = x.astype("int64") if x.dtype.kind == "b" else x
    one = _made(np.ones((), np.int64))
    each = shapes.broadcast_to.public(one, shape=x.shape) if weights is None else of(weights, "bincount: weights")
    if each.shape != x.shape:
        raise ValueError(f"bincount: weights must have the shape of x, got {each.shape} and {x.shape}")
    return scatter_add.public(each, [x], key=(("index", 0),), shape=(length,))  # type: ignore[no-any-return]
