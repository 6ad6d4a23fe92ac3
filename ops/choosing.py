"""Choosing among tensors by conditions and by numbers, and positions as numbers and as indices."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tensorgraph.arguments.kinds import Natural
from tensorgraph.engine.aval import broadcast_shapes
from tensorgraph.engine.functions import function, static
from tensorgraph.engine.keys import known_numbers
from tensorgraph.engine.modes import current
from tensorgraph.engine.tensor import Tensor, as_array, wrap
from tensorgraph.ops.along import take_along_axis
from tensorgraph.ops.arithmetic import clip
from tensorgraph.ops.counting import flatnonzero
from tensorgraph.ops.creation import arange
from tensorgraph.ops.logic import where
from tensorgraph.ops.moving import each, of, take
from tensorgraph.ops.scans import cumulative_sum
from tensorgraph.ops.searching import searchsorted
from tensorgraph.ops.shape import broadcast_to, stack

# by conditions ------------------------------------------------------------------------------------------------------


@function(
    numpy=(np.compress,),
    examples=(((static([True, False, True]), (3, 2), 0), {}), ((static([False, True]), (2, 2)), {})),
)  # fmt: skip
def compress(condition: Any, x: Any, axis: int | None = None) -> Tensor:
    """The slices of x along an axis where a condition of one axis holds; of all elements in a row where axis is None.

    In a trace the condition must be known: a list, or an array.
    """
    condition = of(condition, "compress: condition")
    if condition.ndim != 1:
        raise ValueError(f"compress: condition must have one axis, got {condition.aval}")
    return take(x, flatnonzero(condition), axis)  # type: ignore[no-any-return]


@function(numpy=(np.extract,), examples=(((static([[True, False], [True, True]]), (2, 2)), {}),))
def extract(condition: Any, x: Any) -> Tensor:
    """The elements of x, in a row, where a condition holds: ``x[condition]``."""
    return take(x, flatnonzero(condition))  # type: ignore[no-any-return]


@function(
    numpy=(np.select,),
    examples=((
        ([static([True, False, False]), static([True, True, False])], [(3,), (3,)]), {},
    ),),
)  # fmt: skip
def select(conditions: Sequence[Any], choices: Sequence[Any], default: Any = 0) -> Tensor:
    """Each element from the first of `choices` whose condition holds there, else `default`.

    >>> import tensorgraph as tg
    >>> x = tg.tensor([1.0, 2.0, 3.0])
    >>> tg.select([x < 1.5, x < 2.5], [x * 10.0, x * 100.0])
    tensor([ 10., 200.,   0.], f32)
    """
    if len(conditions) != len(choices) or not len(conditions):
        raise ValueError(
            f"select: as many choices as conditions, at least one; got {len(choices)} and {len(conditions)}"
        )
    result = default
    for condition, choice in zip(reversed(conditions), reversed(choices), strict=True):
        condition = of(condition, "select: conditions")
        if condition.dtype.kind != "b":
            raise TypeError(f"select: conditions must be booleans, got {condition.aval}")
        result = where.public(condition, choice, result)
    return result  # type: ignore[no-any-return]


@function(numpy=(np.piecewise,), examples=((((3,), [static([True, False, False])], [2.0, -1.0]), {}),), computed=True)
def piecewise(x: Any, conditions: Sequence[Any], functions: Sequence[Any]) -> Tensor:
    """A function that is another one in each of several parts.

    Parameters
    ----------
    x : tensor
    conditions : sequence of boolean tensors
        Of x's shape. Where several hold the last decides, as in NumPy.
    functions : sequence of callables or numbers
        One a condition, and one more for where none holds, 0 where it is left out.

    Notes
    -----
    Each function is given all of x, and the results are put together by `where`: one that gives NaN or infinity outside
    its part needs an argument that is safe there, ``tg.where(condition, x, 1.0)``, for the gradient's sake.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> x = tg.tensor([-2.0, 3.0])
    >>> tg.piecewise(x, [x < 0, x >= 0], [lambda v: -v, lambda v: v * v])
    tensor([2., 9.], f32)
    """
    x = of(x, "piecewise: x")
    parts = [*conditions] if isinstance(conditions, (list, tuple)) else [conditions]
    if len(functions) not in (len(parts), len(parts) + 1):
        raise ValueError(
            f"piecewise: as many functions as conditions, or one more; got {len(functions)} and {len(parts)}"
        )

    def value(f: Callable[..., Any] | float) -> Any:
        return f(x) if callable(f) else f

    result = value(functions[-1]) if len(functions) > len(parts) else 0
    for condition, f in zip(parts, functions, strict=False):
        result = where.public(condition, value(f), result)
    return broadcast_to.public(result, shape=x.shape).astype(x.dtype)  # type: ignore[no-any-return]


@function(
    numpy=(np.choose,), examples=(
        ((static([[0, 1], [1, 0]]), [(2, 2), (2,)]), {}), ((static([2, 0]), [(2,), (), (2,)]), {}),
    ),
)  # fmt: skip
def choose(x: Any, choices: Sequence[Any]) -> Tensor:
    """Each element from the one of `choices` that x, of integers from 0 to below their number, names; all broadcast.

    >>> import tensorgraph as tg
    >>> tg.choose([1, 0], [[1.0, 2.0], [10.0, 20.0]])
    tensor([10.,  2.], f32)
    """
    index, parts = of(x, "choose: x"), each(choices, "choose: choices")
    if index.dtype.kind not in "iu":
        raise TypeError(f"choose: x must be integers, got {index.aval}")
    if not parts:
        raise ValueError("choose: choices must not be empty")
    shape = broadcast_shapes(index.shape, *[p.shape for p in parts])
    numbers = known_numbers(index)
    if numbers is not None and numbers.size and numbers.min() < 0:
        raise ValueError(f"choose: x must be from 0 to {len(parts) - 1}, got {numbers.min()}")
    whole = stack.public([broadcast_to.public(p, shape=shape) for p in parts], axis=0)
    index = broadcast_to.public(index, shape=shape)
    return take_along_axis.public(whole, index[None], axis=0)[0]  # type: ignore[no-any-return]


# positions ----------------------------------------------------------------------------------------------------------


def _require_inside(index: Tensor, n: int, axis: int, name: str) -> None:
    numbers = known_numbers(index)
    if numbers is not None and numbers.size and (numbers.min() < 0 or numbers.max() >= n):
        outside = numbers.min() if numbers.min() < 0 else numbers.max()
        raise ValueError(f"{name}: index {outside} is out of bounds for axis {axis} with size {n}")


@function(
    numpy=(np.ravel_multi_index,),
    examples=((([static([0, 1, 1]), static([2, 0, 1])], static((2, 3))), {}),),
)  # fmt: skip
def ravel_multi_index(multi_index: Sequence[Any], dims: Sequence[int]) -> Tensor:
    """The positions among all elements in a row of what indices along each axis name.

    >>> import tensorgraph as tg
    >>> tg.ravel_multi_index(([0, 1], [2, 0]), (2, 3))
    tensor([2, 3], i64)
    """
    parts = each(multi_index, "ravel_multi_index: multi_index")
    if len(parts) != len(dims) or not parts:
        raise ValueError(f"ravel_multi_index: one index an axis; got {len(parts)} for {len(dims)} axes")
    flat: Any = 0
    for k, (index, n) in enumerate(zip(parts, dims, strict=True)):
        if index.dtype.kind not in "iu":
            raise TypeError(f"ravel_multi_index: indices must be integers, got {index.aval}")
        _require_inside(index, n, k, "ravel_multi_index")
        flat = flat * n + index.astype("int64")
    return flat  # type: ignore[no-any-return]


@function(
    numpy=(np.unravel_index,), examples=(((static([0, 5, 3]), static((2, 3))), {}), ((4, static((5,))), {}))
)  # fmt: skip
def unravel_index(indices: Any, shape: Sequence[int]) -> tuple[Tensor, ...]:
    """Positions among all elements in a row as indices along each axis of a shape.

    >>> import tensorgraph as tg
    >>> tg.unravel_index(5, (2, 3))
    (tensor(1, i64), tensor(2, i64))
    """
    rest = of(indices, "unravel_index: indices")
    if rest.dtype.kind not in "iu":
        raise TypeError(f"unravel_index: indices must be integers, got {rest.aval}")
    numbers, n = known_numbers(rest), math.prod(shape)
    if numbers is not None and numbers.size and (numbers.min() < 0 or numbers.max() >= n):
        outside = numbers.min() if numbers.min() < 0 else numbers.max()
        raise ValueError(f"unravel_index: index {outside} is out of bounds for array with size {n}")
    rest = rest.astype("int64")
    out: list[Tensor] = []
    for size in reversed(shape):
        out.insert(0, rest % max(size, 1))
        rest = rest // max(size, 1)
    return tuple(out)


def _within(k: int, n: int, m: int | None) -> int:
    """A diagonal outside of a matrix as one just outside."""
    return max(-n - 1, min(k, n + 1 if m is None else m + 1))


def _triangle(n: int, m: int, k: int, upper: bool) -> tuple[Tensor, Tensor]:
    """The indices of a triangle; in a graph they are computed, so that its size may be any."""
    k = _within(k, n, m)
    rows, columns = np.triu_indices(n, k, m) if upper else np.tril_indices(n, k, m)
    if current().trace is None:
        return _constant(rows), _constant(columns)
    row = arange.public(n)
    first = clip.public(row + k, 0, m) if upper else row * 0  # columns of each row, and how many
    many = m - first if upper else clip.public(row + (k + 1), 0, m)
    ends, flat = cumulative_sum.public(many), arange.public(len(rows))
    row = searchsorted.public(ends, flat, side="right")
    return row, flat - take(ends - many - first, row)


def _constant(values: Any) -> Tensor:
    return wrap(as_array(np.asarray(values, np.int64)))


@function(examples=(((3,), {}), ((3, -1, 4), {})))
def tril_indices(n: Natural, k: int = 0, m: Natural | None = None) -> tuple[Tensor, Tensor]:
    """The indices of the lower triangle of an (n, m) matrix, up to its k-th diagonal."""
    return _triangle(n, n if m is None else m, k, upper=False)


@function(examples=(((3,), {}), ((3, 1, 4), {})))
def triu_indices(n: Natural, k: int = 0, m: Natural | None = None) -> tuple[Tensor, Tensor]:
    """The indices of the upper triangle of an (n, m) matrix, from its k-th diagonal on."""
    return _triangle(n, n if m is None else m, k, upper=True)


@function(examples=(((3,), {}), ((2, 3), {})))
def diag_indices(n: Natural, ndim: Natural = 2) -> tuple[Tensor, ...]:
    """The indices of the main diagonal of a tensor of `ndim` axes of size n."""
    if ndim > 64:
        raise ValueError(f"diag_indices: ndim must be at most 64, got {ndim}")
    return tuple(_constant(i) for i in np.diag_indices(n, ndim))


@function(examples=((((3, 4),), {}),), numpy=(np.tril_indices_from,))
def tril_indices_from(x: Any, k: int = 0) -> tuple[Tensor, Tensor]:
    """`tril_indices` of a matrix."""
    n, m = of(x, "tril_indices_from: x").shape
    return tril_indices(n, k, m)  # type: ignore[no-any-return]


@function(examples=((((3, 4),), {}),), numpy=(np.triu_indices_from,))
def triu_indices_from(x: Any, k: int = 0) -> tuple[Tensor, Tensor]:
    """`triu_indices` of a matrix."""
    n, m = of(x, "triu_indices_from: x").shape
    return triu_indices(n, k, m)  # type: ignore[no-any-return]


@function(examples=(((static((2, 3)),), {}),))
def indices(dimensions: Sequence[int]) -> Tensor:
    """The index along each axis of every place of a shape: (axes, *shape)."""
    return _constant(np.indices(tuple(dimensions)))
