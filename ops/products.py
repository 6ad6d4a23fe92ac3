"""Products of vectors and matrices under their names; all are `matmul` or products as `einsum` writes them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from tensorgraph.engine.aval import canonical_axis
from tensorgraph.engine.functions import function
from tensorgraph.engine.tensor import Tensor
from tensorgraph.ops import arithmetic, shape
from tensorgraph.ops.contract import contract_axes
from tensorgraph.ops.contraction import matmul
from tensorgraph.ops.moving import moveaxis, of, ravel, swapaxes, together
from tensorgraph.ops.paths import chain_of, planned
from tensorgraph.ops.subscripts import LETTERS

__all__: list[str] = []

TensorLike = Any


def both(a: Any, b: Any, name: str, first: str = "a", second: str = "b") -> tuple[Tensor, Tensor]:
    x, y = together(name, **{first: a, second: b})
    return x, y


def _product(a: Tensor, b: Tensor, text: str) -> Tensor:
    return contract_axes.public(a, b, subscripts=text)  # type: ignore[no-any-return]


def _stacked(a: Tensor, b: Tensor, own_a: str, own_b: str, output: str) -> Tensor:
    """The product of the last axes, batched over those before them."""
    free = [c for c in LETTERS if c not in own_a + own_b][: max(a.ndim - len(own_a), b.ndim - len(own_b))]
    stack_a, stack_b = ("".join(free[len(free) - (x.ndim - len(own)) :]) for x, own in ((a, own_a), (b, own_b)))
    return _product(a, b, f"{stack_a}{own_a},{stack_b}{own_b}->{''.join(free)}{output}")


def _require_equal(name: str, what: str, m: int, n: int, a: Tensor, b: Tensor) -> None:
    if m != n:
        raise ValueError(f"{name}: {what} must be equal, got {m} of shape {a.shape} and {n} of shape {b.shape}")


def _require_axes(name: str, what: str, x: Tensor, n: int) -> None:
    if x.ndim < n:
        raise ValueError(f"{name}: {what} must have {('one axis', 'two axes')[n - 1]} at least, got shape {x.shape}")


@function(
    computed=True, numpy=(getattr(np, "vecdot", None), np.linalg.vecdot), methods=("vecdot",), examples=(
        (((2, 3), (2, 3)), {}), (((3,), (3,)), {}), (((2, 1, 3), (4, 3)), {}), (((3, 2), (3, 2)), dict(axis=0)),
    ),
)  # fmt: skip
def vecdot(x1: TensorLike, x2: TensorLike, axis: int = -1) -> Tensor:
    """The sums of products along an axis, broadcast over the others.

    Raises
    ------
    ValueError
        Where the axis has two sizes.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> tg.vecdot(tg.tensor([[1.0, 2.0], [3.0, 4.0]]), tg.tensor([1.0, 10.0]))
    tensor([21., 43.], f32)
    """
    a, b = both(x1, x2, "vecdot", "x1", "x2")
    _require_axes("vecdot", "x1", a, 1)
    _require_axes("vecdot", "x2", b, 1)
    a, b = moveaxis(a, axis, -1), moveaxis(b, axis, -1)
    _require_equal("vecdot", f"the sizes along axis {axis}", a.shape[-1], b.shape[-1], a, b)
    return _stacked(a, b, "z", "z", "")


@function(
    computed=True,
    numpy=(getattr(np, "matvec", None),),
    examples=((((2, 3), (3,)), {}), (((4, 2, 3), (4, 3)), {}), (((2, 3), (4, 3)), {})),
)
def matvec(x1: TensorLike, x2: TensorLike) -> Tensor:
    """Matrices (..., m, n) times vectors (..., n): (..., m).

    >>> import tensorgraph as tg
    >>> tg.matvec(tg.ones((5, 2, 3)), tg.ones((5, 3))).shape
    (5, 2)
    """
    a, b = both(x1, x2, "matvec", "x1", "x2")
    _require_axes("matvec", "x1", a, 2)
    _require_axes("matvec", "x2", b, 1)
    _require_equal("matvec", "the last axes", a.shape[-1], b.shape[-1], a, b)
    return _stacked(a, b, "yz", "z", "y")


@function(
    computed=True,
    numpy=(getattr(np, "vecmat", None),),
    examples=((((2,), (2, 3)), {}), (((4, 2), (4, 2, 3)), {}), (((4, 2), (2, 3)), {})),
)
def vecmat(x1: TensorLike, x2: TensorLike) -> Tensor:
    """Vectors (..., m) times matrices (..., m, n): (..., n).

    >>> import tensorgraph as tg
    >>> tg.vecmat(tg.ones((5, 2)), tg.ones((5, 2, 3))).shape
    (5, 3)
    """
    a, b = both(x1, x2, "vecmat", "x1", "x2")
    _require_axes("vecmat", "x1", a, 1)
    _require_axes("vecmat", "x2", b, 2)
    _require_equal("vecmat", "the last axis of x1 and the second-last of x2", a.shape[-1], b.shape[-2], a, b)
    return _stacked(a, b, "y", "yz", "z")


@function(
    computed=True, numpy=(np.dot,), methods=("dot",), examples=(
        (((3,), (3,)), {}), (((2, 3), (3, 4)), {}), (((2, 3), (3,)), {}), (((), (2,)), {}), (((2, 3), (2, 3, 4)), {}),
    ),
)  # fmt: skip
def dot(a: TensorLike, b: TensorLike) -> Tensor:
    """NumPy's product: of vectors the sum of products, of matrices the product; a number multiplies each element.

    Of more axes the last of `a` and the second-last of `b` are summed and all others are the result's, without
    broadcasting, which `matmul` does.

    >>> import tensorgraph as tg
    >>> tg.dot(tg.ones((2, 3)), tg.ones((5, 3, 4))).shape
    (2, 5, 4)
    """
    x, y = both(a, b, "dot")
    if not x.ndim or not y.ndim:
        return arithmetic.multiply.public(x, y)  # type: ignore[no-any-return]
    axis = max(y.ndim - 2, 0)
    _require_equal("dot", "the last axis of a and the second-last of b", x.shape[-1], y.shape[axis], x, y)
    if x.ndim <= 2 and y.ndim <= 2:
        return matmul.public(x, y)  # type: ignore[no-any-return]
    return tensordot(x, y, ((x.ndim - 1,), (axis,)))  # type: ignore[no-any-return]


@function(
    computed=True,
    numpy=(np.inner,),
    methods=("inner",),
    examples=((((3,), (3,)), {}), (((2, 3), (4, 3)), {}), (((), (2,)), {}), (((2, 3), (3,)), {})),
)
def inner(a: TensorLike, b: TensorLike) -> Tensor:
    """The sums of products along the last axes of both, for all pairs of the others.

    >>> import tensorgraph as tg
    >>> tg.inner(tg.ones((2, 3)), tg.ones((4, 3))).shape
    (2, 4)
    """
    x, y = both(a, b, "inner")
    if not x.ndim or not y.ndim:
        return arithmetic.multiply.public(x, y)  # type: ignore[no-any-return]
    _require_equal("inner", "the last axes", x.shape[-1], y.shape[-1], x, y)
    return tensordot(x, y, ((x.ndim - 1,), (y.ndim - 1,)))  # type: ignore[no-any-return]


@function(
    computed=True,
    numpy=(np.vdot,),
    methods=("vdot",),
    examples=((((3,), (3,)), {}), (((2, 3), (2, 3)), {}), (((2, 3), (6,)), {})),
)
def vdot(a: TensorLike, b: TensorLike) -> Tensor:
    """The sum of products of all elements of two tensors, in a row.

    >>> import tensorgraph as tg
    >>> tg.vdot(tg.ones((2, 3)), tg.ones((2, 3)))
    tensor(6., f32)
    """
    x, y = both(a, b, "vdot")
    _require_equal("vdot", "the numbers of elements", x.size, y.size, x, y)
    return matmul.public(ravel(x), ravel(y))  # type: ignore[no-any-return]


def _summed_axes(axes: Any, a: Tensor, b: Tensor) -> tuple[list[int], list[int]]:
    """The axes that `tensordot` sums over, in `a` and in `b`."""
    if isinstance(axes, (int, np.integer)):
        n = int(axes)
        if not 0 <= n <= min(a.ndim, b.ndim):
            raise ValueError(
                f"tensordot: axes={n} of shapes {a.shape} and {b.shape}; it is between 0 and both numbers of axes"
            )
        return list(range(a.ndim - n, a.ndim)), list(range(n))
    if not isinstance(axes, (tuple, list)) or len(axes) != 2:
        raise ValueError(f"tensordot: axes must be a number of axes, or those of a and those of b, got {axes!r}")
    own_a, own_b = ([one] if isinstance(one, (int, np.integer)) else list(one) for one in axes)
    if len(own_a) != len(own_b):
        raise ValueError(f"tensordot: axes names {len(own_a)} axes of a and {len(own_b)} of b")
    places_a = [canonical_axis(i, a.ndim) for i in own_a]
    places_b = [canonical_axis(i, b.ndim) for i in own_b]
    if len(set(places_a)) < len(places_a) or len(set(places_b)) < len(places_b):
        raise ValueError(f"tensordot: axes names an axis twice: {axes!r}")
    return places_a, places_b


@function(
    computed=True, numpy=(np.tensordot, np.linalg.tensordot), examples=(
        (((2, 3, 4), (3, 4, 5)), {}), (((2, 3, 4), (4, 3, 5)), dict(axes=((1, 2), (1, 0)))), (((2,), (3,)),
        dict(axes=0)),
        (((2, 3), (3, 4)), dict(axes=1)), (((2, 3), (4, 2)), dict(axes=(0, 1))),
    ),
)  # fmt: skip
def tensordot(a: TensorLike, b: TensorLike, axes: int | Sequence[Any] = 2) -> Tensor:
    """The product of two tensors summed over axes of both.

    Parameters
    ----------
    a, b : tensors
    axes : int or (axes of a, axes of b)
        Over how many of the last axes of `a` and the first of `b` is summed, or over which.

    Returns
    -------
    Tensor
        With the other axes of `a`, then those of `b`.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> tg.tensordot(tg.ones((2, 3, 4)), tg.ones((4, 3, 5)), axes=((1, 2), (1, 0))).shape
    (2, 5)
    """
    x, y = both(a, b, "tensordot")
    places_x, places_y = _summed_axes(axes, x, y)
    for i, j in zip(places_x, places_y, strict=True):
        _require_equal("tensordot", f"the sizes along axis {i} of a and axis {j} of b", x.shape[i], y.shape[j], x, y)
    if x.ndim + y.ndim - len(places_x) > len(LETTERS):
        raise ValueError(f"tensordot: shapes {x.shape} and {y.shape} have more than {len(LETTERS)} axes")
    first = list(LETTERS[: x.ndim])
    second = list(LETTERS[x.ndim : x.ndim + y.ndim])
    for i, j in zip(places_x, places_y, strict=True):
        second[j] = first[i]
    output = [c for i, c in enumerate(first) if i not in places_x] + [
        c for j, c in enumerate(second) if j not in places_y
    ]
    return _product(x, y, f"{''.join(first)},{''.join(second)}->{''.join(output)}")


@function(
    computed=True,
    numpy=(np.outer, np.linalg.outer),
    also=("ger",),
    methods=("outer",),
    examples=((((2,), (3,)), {}), (((2, 2), (3,)), {})),
)
def outer(a: TensorLike, b: TensorLike) -> Tensor:
    """All products of an element of `a` and one of `b`, both taken in a row.

    >>> import tensorgraph as tg
    >>> tg.outer([1.0, 2.0], [1.0, 10.0])
    tensor([[ 1., 10.],
            [ 2., 20.]], f32)
    """
    x, y = both(a, b, "outer")
    return _product(ravel(x), ravel(y), "i,j->ij")


@function(
    computed=True, numpy=(np.kron,), methods=("kron",),
    examples=((((2, 3), (3, 2)), {}), (((2,), (3,)), {}), (((2,), (2, 3)), {}), (((), (2,)), {})),
)  # fmt: skip
def kron(a: TensorLike, b: TensorLike) -> Tensor:
    """Kronecker's product: every element of `a` times the whole of `b`, side by side.

    >>> import tensorgraph as tg
    >>> tg.kron(tg.tensor([1.0, 10.0]), tg.tensor([1.0, 2.0]))
    tensor([ 1.,  2., 10., 20.], f32)
    """
    x, y = both(a, b, "kron")
    ndim = max(x.ndim, y.ndim)
    sizes_x, sizes_y = ((1,) * (ndim - t.ndim) + t.shape for t in (x, y))
    wide_x = shape.reshape.public(x, shape=tuple(n for size in sizes_x for n in (size, 1)))
    wide_y = shape.reshape.public(y, shape=tuple(n for size in sizes_y for n in (1, size)))
    full = tuple(m * n for m, n in zip(sizes_x, sizes_y, strict=True))
    return shape.reshape.public(arithmetic.multiply.public(wide_x, wide_y), shape=full)  # type: ignore[no-any-return]


@function(
    computed=True, numpy=(np.linalg.cross,), methods=("cross",),
    examples=((((3,), (3,)), {}), (((2, 3), (2, 3)), {}), (((3, 2), (3, 2)), dict(axis=0)), (((4, 1, 3), (2, 3)), {})),
)  # fmt: skip
def cross(x1: TensorLike, x2: TensorLike, axis: int = -1) -> Tensor:
    """The vectors perpendicular to two vectors of three elements along an axis, broadcast over the others.

    >>> import tensorgraph as tg
    >>> tg.cross([1.0, 0.0, 0.0], [0.0, 1.0, 0.0])
    tensor([0., 0., 1.], f32)
    """
    a, b = both(x1, x2, "cross", "x1", "x2")
    for what, x in (("x1", a), ("x2", b)):
        _require_axes("cross", what, x, 1)
        if x.shape[canonical_axis(axis, x.ndim)] != 3:
            remedy = "; of two elements it is x1[0] * x2[1] - x1[1] * x2[0]" if x.shape[axis] == 2 else ""
            raise ValueError(f"cross: {what} must have three elements along axis {axis}, got shape {x.shape}{remedy}")
    a, b = moveaxis(a, axis, 0), moveaxis(b, axis, 0)
    (a0, a1, a2), (b0, b1, b2) = a, b
    made = shape.stack.public([a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0])
    return moveaxis(made, 0, axis)  # type: ignore[no-any-return]


@function(
    computed=True, numpy=(np.linalg.multi_dot,), also=("chain_matmul",), examples=(
        (([(2, 3), (3, 4), (4, 2)],), {}), (([(3,), (3, 4), (4,)],), {}), (([(2, 3), (3, 2)],), {}),
    ),
)  # fmt: skip
def multi_dot(arrays: Sequence[TensorLike]) -> Tensor:
    """The product of a chain of matrices, in the order that costs least; the first and the last may be vectors.

    >>> import tensorgraph as tg
    >>> tg.multi_dot([tg.ones((10, 100)), tg.ones((100, 5)), tg.ones((5, 50))]).shape
    (10, 50)
    """
    parts = [of(x, f"multi_dot: arrays[{i}]") for i, x in enumerate(arrays)]
    if len(parts) < 2:
        raise ValueError(f"multi_dot: two tensors at least, got {len(parts)}")
    for i, x in enumerate(parts):
        ends = i in (0, len(parts) - 1)
        if x.ndim != 2 and not (ends and x.ndim == 1):
            raise ValueError(
                f"multi_dot: arrays[{i}] must be a matrix{', or a vector' if ends else ''}, got shape {x.shape}"
            )
    for i, (x, y) in enumerate(pairwise(parts)):
        _require_equal(
            "multi_dot", f"the last axis of arrays[{i}] and the first of the next", x.shape[-1], y.shape[0], x, y
        )
    rows = 1 if parts[0].ndim == 1 else parts[0].shape[0]
    columns = 1 if parts[-1].ndim == 1 else parts[-1].shape[1]
    cut = planned(chain_of, (rows, *[x.shape[0] for x in parts[1:]], columns))

    def product(i: int, j: int) -> Tensor:
        if i == j:
            return parts[i]
        k = cut[i, j]
        return matmul.public(product(i, k), product(k + 1, j))  # type: ignore[no-any-return]

    return product(0, len(parts) - 1)


@function(
    numpy=(getattr(np, "matrix_transpose", None), np.linalg.matrix_transpose), methods=("matrix_transpose",),
    also=("adjoint",),
    examples=((((2, 3),), {}), (((4, 2, 3),), {})),
)  # fmt: skip
def matrix_transpose(x: TensorLike) -> Tensor:
    """The last two axes exchanged.

    >>> import tensorgraph as tg
    >>> tg.matrix_transpose(tg.zeros((4, 2, 3))).shape
    (4, 3, 2)
    """
    x = of(x, "matrix_transpose: x")
    _require_axes("matrix_transpose", "x", x, 2)
    return swapaxes(x, -1, -2)  # type: ignore[no-any-return]
